"""Checkpoints: safetensors with a JSON card that tells all that made the model."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from biastf_xr.errors import CheckpointError
from biastf_xr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biastf_xr.methods.biastf.inference import ReadyNetwork
    from biastf_xr.methods.biastf.train import BandModel

FORMAT = 1

# Numbers of the convolutions; reflectance itself is float32 throughout.
Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS = ("fp32", "bf16", "fp16")

# The fast form of the second layer makes so many rows at once, with kernels of this side only.
BLOCK, FAST_KERNEL = 4, 5


@dataclass(frozen=True)
class Card:
    """What made a model.

    Attributes
    ----------
    bands : tuple of str
        Bands it has a network for.
    ratio : float
        Coarse over fine pixel size it was trained at.
    resolution : float
        Fine pixel size it was trained at, in units of the CRS.
    filters, kernels, bias
        The network; see `NetworkShape`.
    scales : dict
        Per band, the scales of change and bias.
    pairs : tuple of tuple of str
        Pairs of days it was trained on.
    settings : dict
        Options of the fit.
    history : dict
        Per band, training and hold-out loss after every epoch.
    seed : int
        Seed of everything random.
    versions : dict
        Versions of the libraries.
    format : int
        Version of this card.
    """

    bands: tuple[str, ...]
    ratio: float
    resolution: float
    filters: tuple[int, int, int]
    kernels: tuple[int, int, int, int]
    bias: bool
    scales: dict[str, tuple[float, float]]
    pairs: tuple[tuple[str, str], ...]
    settings: dict[str, Any]
    history: dict[str, list[tuple[float, float]]]
    seed: int
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def days(self) -> tuple[str, ...]:
        """Give the fine dates the model has seen, ascending."""
        return tuple(sorted({d for pair in self.pairs for d in pair}))

    @property
    def halo(self) -> int:
        """Give the fine pixels around a window that its result depends on, to the last bit.

        The receptive radius; where predictions come in blocks of rows, the rest of a block too.
        """
        blocks = takes_blocks(self.filters, self.kernels)
        return sum(k // 2 for k in self.kernels) + (BLOCK - 1 if blocks else 0)


def takes_blocks(filters: Sequence[int], kernels: Sequence[int]) -> bool:
    """Tell whether the second layer has a fast form that makes several rows at once.

    Parameters
    ----------
    filters : sequence of int
        Output channels of the layers.
    kernels : sequence of int
        Sides of their filters.

    Returns
    -------
    bool
        True for kernels of `FAST_KERNEL` and channels in whole multiples of 16, enough to pay.
    """
    inner, made = filters[:2]
    return kernels[1] == FAST_KERNEL and inner >= 32 and made >= 16 and (inner | made) % 16 == 0


def library_versions() -> dict[str, str]:
    """Give the versions that can change a model.

    Returns
    -------
    dict of str
        Version by name.
    """
    import numpy as np
    import torch

    return {
        "biastf_xr": __version__,
        "torch": str(torch.__version__),
        "numpy": str(np.__version__),
        "python": platform.python_version(),
    }


def write_checkpoint(path: Path, card: Card, models: dict[str, BandModel]) -> str:
    """Write a model.

    Parameters
    ----------
    path : pathlib.Path
        File to write; written beside its place and moved there when complete.
    card : Card
        What made it.
    models : dict of BandModel
        The networks, by band.

    Returns
    -------
    str
        Sha256 of the file.
    """
    from safetensors.torch import save

    tensors = {
        f"{band}.{name}": tensor.contiguous()
        for band, model in models.items()
        for name, tensor in model.network.state_dict().items()
    }
    data = save(tensors, metadata={"card": json.dumps(card.__dict__, sort_keys=True)})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)
    return hashlib.sha256(data).hexdigest()


def read_card(path: Path) -> tuple[Card, str]:
    """Read a model's card.

    Parameters
    ----------
    path : pathlib.Path
        The checkpoint.

    Returns
    -------
    Card
        What made the model.
    str
        Sha256 of the file.

    Raises
    ------
    CheckpointError
        If the file is missing, unreadable, or of another format.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint at {path}. Fit a method first: biastf_xr.fit(...).save(path), or "
            "`biastf-xr train`."
        )
    try:
        with safe_open(path, framework="pt") as file:
            fields = json.loads((file.metadata() or {})["card"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a BiaSTF checkpoint or was damaged ({error})."
        ) from error
    if fields.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has card format {fields.get('format')}, this biastf_xr reads {FORMAT}. "
            "Fit the model again, or use the version that wrote it: "
            f"{fields.get('versions', {}).get('biastf_xr')}."
        )
    try:
        card = Card(**(fields | {k: tuple(fields[k]) for k in ("bands", "filters", "kernels")}))
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: its card is incomplete ({error}).") from error
    return card, hashlib.sha256(path.read_bytes()).hexdigest()


@lru_cache(maxsize=4)
def load_networks(
    path: str, sha256: str, device: str, precision: Precision = "fp32"
) -> dict[str, ReadyNetwork]:
    """Load the networks of a checkpoint and lay them out for a device, once per process.

    Parameters
    ----------
    path : str
        The checkpoint.
    sha256 : str
        Hash it must have.
    device : str
        "cpu", "cuda", or "cuda:1" and so on.
    precision : {"fp32", "bf16", "fp16"}
        Of the convolutions.

    Returns
    -------
    dict of ReadyNetwork
        Networks by band.

    Raises
    ------
    CheckpointError
        If the file is missing or has another hash.
    MethodError
        If the device is not on this worker.
    """
    from safetensors.torch import load

    from biastf_xr.methods.biastf.inference import ReadyNetwork, place_on
    from biastf_xr.methods.biastf.network import build_network
    from biastf_xr.methods.biastf.settings import NetworkShape

    data = _read_unaltered(path, sha256)
    card, _ = read_card(Path(path))
    shape = NetworkShape(filters=card.filters, kernels=card.kernels, bias=card.bias)
    tensors, place = load(data), place_on(device, precision)
    networks = {}
    for band in card.bands:
        network = build_network(shape)
        state = OrderedDict(
            (name.removeprefix(f"{band}."), tensor)
            for name, tensor in tensors.items()
            if name.startswith(f"{band}.")
        )
        network.load_state_dict(state)
        networks[band] = ReadyNetwork(network.eval(), place)
    return networks


def _read_unaltered(path: str, sha256: str) -> bytes:
    """Read a checkpoint and compare its hash."""
    try:
        data = Path(path).read_bytes()
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
