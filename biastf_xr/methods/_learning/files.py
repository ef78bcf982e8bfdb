"""Files of fitted methods: safetensors with a JSON card that says all that made the model."""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._files import read_bytes, write_bytes
from biastf_xr._outside import clean
from biastf_xr.errors import CheckpointError
from biastf_xr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

# A model may serve another grid if its ratio of pixel sizes differs by no more than this.
RATIO_TOLERANCE = 0.05


def target(path: str | Path | None, name: str) -> Path:
    """Return the file that a fit writes: by default in a temporary folder of this process."""
    if path:
        return Path(path).resolve()
    folder = Path(tempfile.mkdtemp(prefix="biastf-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / f"{name}.safetensors"


def card_path(checkpoint: Path) -> Path:
    """Return where the readable copy of a model's card is."""
    return checkpoint.with_name(f"{checkpoint.name}.json")


def write_model(path: Path, card: Any, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write a model beside its place, move it there when complete, and return its hash."""
    from safetensors.numpy import save

    data = save(dict(arrays), metadata={"card": json.dumps(clean(asdict(card)), sort_keys=True)})
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def hash_arrays(arrays: Iterable[NDArray[Any]], head: bytes = b"") -> str:
    """Return a hash of arrays, in their order, after what stands before them."""
    total = hashlib.sha256(head)
    for array in arrays:
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def read_fields(path: Path) -> dict[str, Any]:
    """Read the card of a model, whatever method it is of."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint at {path}. Fit a method first: biastf_xr.fit(...).save(path), or "
            "`biastf-xr train`."
        )
    try:
        with safe_open(path, framework="np") as file:
            found: dict[str, Any] = json.loads((file.metadata() or {})["card"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a BiaSTF checkpoint or was damaged ({error})."
        ) from error
    return found


def read_card(path: Path, kind: type) -> tuple[Any, str]:
    """Read the card of a model of a kind, and the hash of the file."""
    found = read_fields(path)
    newest: Any = next(f.default for f in fields(kind) if f.name == "format")
    if found.get("format") not in range(1, newest + 1):
        writer = found.get("versions", {}).get("biastf_xr")
        raise CheckpointError(
            f"{path} is from a newer version of biastf_xr ({writer}; this is {__version__}): "
            f"card format {found.get('format')}, this version reads up to {newest}. "
            "Update biastf_xr, or fit the model again with this version."
        )
    try:
        card = kind(**{name: _tuples(value) for name, value in found.items()})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its card cannot be used ({error}).") from error
    return card, hashlib.sha256(path.read_bytes()).hexdigest()


def read_unaltered(path: str, sha256: str) -> bytes:
    """Read a model and compare its hash."""
    try:
        data = read_bytes(path)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read on this worker ({error}). "
            "Save it where every worker sees it: method.save('/shared/model.safetensors')."
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise CheckpointError(
            f"checkpoint {path} was altered: sha256 {found[:12]}..., expected {sha256[:12]}.... "
            "Load it again with load_method, or restore the file."
        )
    return data


def check_ratio(what: str, fitted: float, ratio: float) -> None:
    """Check that a model may serve cubes of a ratio of pixel sizes."""
    if abs(ratio / fitted - 1) > RATIO_TOLERANCE:
        raise CheckpointError(
            f"{what} was fitted at a ratio of coarse to fine pixel of {fitted:.2f}, these cubes "
            f"have {ratio:.2f}. Fit it on them."
        )


def _tuples(value: Any) -> Any:
    """Turn JSON's lists back into tuples."""
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return value
