"""Files of fitted methods: safetensors with a JSON card that says all that made the model."""

from __future__ import annotations

import atexit
import datetime as dt
import hashlib
import json
import reprlib
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._files import open_regular, read_bytes, write_bytes
from biastf_xr._outside import clean
from biastf_xr.errors import CheckpointError
from biastf_xr.methods._options import LARGEST
from biastf_xr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray
    from pydantic import TypeAdapter, ValidationError

# A model may serve another grid if its ratio of pixel sizes differs by no more than this.
RATIO_TOLERANCE = 0.05

# Bytes of the longest header, which has the card: of a hundred networks and a thousand epochs half.
LONGEST_HEADER = 8 * 2**20

# Characters of what is told of a damaged model.
LONGEST_TOLD = 500


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
    """Read the card of a model, whatever method it is of; nothing of it is checked yet."""
    with _opened(path) as file:
        return _fields_of(file)


def read_card(path: Path, kind: type) -> tuple[Any, str]:
    """Read the card of a model of a kind, and the hash of the file; check card and arrays."""
    with _opened(path) as file:
        found = _fields_of(file)
        newest: Any = next(f.default for f in fields(kind) if f.name == "format")
        version = found.get("format")
        if isinstance(version, int) and version > newest:
            writer = reprlib.repr(found.get("versions"))
            raise CheckpointError(
                f"{path} is from a newer version of biastf_xr ({writer}; this is {__version__}): "
                f"card format {version}, this version reads up to {newest}. "
                "Update biastf_xr, or fit the model again with this version."
            )
        card = _adapter(kind).validate_json(file.metadata()["card"])
        _check_numbers(asdict(card))
        for day in card.days:
            if str(dt.date.fromisoformat(day)) != day:
                raise ValueError(f"days: {day!r} is no date as 2021-04-01")
        _check_arrays(file, card.arrays)
        with open_regular(path) as whole:
            sha256 = hashlib.file_digest(whole, "sha256").hexdigest()  # type: ignore[arg-type]
    return card, sha256


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Name a model in whatever is wrong with it."""
    from pydantic import ValidationError
    from safetensors import SafetensorError

    try:
        yield
    except CheckpointError:
        raise
    except (SafetensorError, ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
        told = _told(error) if isinstance(error, ValidationError) else str(error)
        told = f"no entry {told}" if isinstance(error, KeyError) else told
        told = f"{told[:LONGEST_TOLD]}..." if len(told) > LONGEST_TOLD else told
        raise CheckpointError(
            f"{path} is no model of biastf_xr, or its card or arrays are damaged ({told}). Restore "
            "the file, or fit the model again."
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import safe_open

    with blaming(path):
        if not path.is_file():
            raise CheckpointError(
                f"no checkpoint at {path}. Fit a method first: biastf_xr.fit(...).save(path), or "
                "`biastf-xr train`."
            )
        with open_regular(path) as start:
            header = int.from_bytes(start.read(8), "little")
        if header > LONGEST_HEADER:
            raise ValueError(f"a header of {header} bytes, expected at most {LONGEST_HEADER}")
        with safe_open(path, framework="np") as file:
            yield file


def _fields_of(file: Any) -> dict[str, Any]:
    from pydantic_core import from_json

    found = from_json((file.metadata() or {})["card"])
    if not isinstance(found, dict):
        raise TypeError(f"its card is a {type(found).__name__}, expected a table")
    return found


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    """Return what checks a card against the types of its dataclass."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _told(error: ValidationError) -> str:
    """Return what is wrong with the fields of a card, the first few of them."""
    found = error.errors(include_url=False)
    lines = [
        f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {reprlib.repr(e['input'])}"
        for e in found[:3]
    ]
    return "; ".join([*lines, *([f"and {len(found) - 3} more"] if found[3:] else [])])


def _check_numbers(value: Any, where: str = "") -> None:
    """Check that all numbers of a card, also those of any type, are finite as float32."""
    if isinstance(value, dict):
        for key, part in value.items():
            _check_numbers(part, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for n, part in enumerate(value):
            _check_numbers(part, f"{where}.{n}")
    elif isinstance(value, int | float) and not abs(value) <= LARGEST:
        raise ValueError(f"{where} is {reprlib.repr(value)}, expected a finite number")


def _check_arrays(file: Any, wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Check the arrays of a model against those its card declares, before one is read."""
    found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise ValueError(f"array {name}: {found.get(name)}, expected {wanted.get(name)}")
    for name in found:
        if not (np.abs(file.get_tensor(name)) <= LARGEST).all():
            raise ValueError(f"array {name} has numbers that are NaN or infinite")


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
