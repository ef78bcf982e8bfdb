"""Checkpoints: safetensors with a JSON card that tells all that made the model."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from biastf_xr.errors import CheckpointError
from biastf_xr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import nn

    from biastf_xr.methods.biastf._inference import ReadyNetwork
    from biastf_xr.methods.biastf._sides import ErrorLaw
    from biastf_xr.methods.biastf.settings import Inputs
    from biastf_xr.methods.training._loop import Layers

# Cards of format 1 are read too: what they lack has the meaning of its default.
FORMAT = 2

# Numbers of the convolutions; reflectance itself is float32 throughout.
Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS = ("fp32", "bf16", "fp16")

# The fast form of the second layer makes so many rows at once, with kernels of this side only.
BLOCK, FAST_KERNEL = 4, 5


@dataclass(frozen=True)
class Card:
    """What made a model.

    `bands`: Bands it has a network for.
    `ratio`: Coarse over fine pixel size it was trained at.
    `resolution`: Fine pixel size it was trained at, in units of the CRS.
    `filters`, `kernels`, `bias`: The network; see `NetworkShape`.
    `scales`: Per network (of BiaSTF, per band), the scales of change and bias.
    `pairs`: Pairs of days it was trained on.
    `settings`: Options of the fit.
    `history`: Per network, training and hold-out loss after every epoch.
    `seed`: Seed of everything random.
    `versions`: Versions of the libraries.
    `format`: Version of this card.
    `method`: Name of the method.
    `inputs`: What goes into the networks; see `NetworkShape`.
    `channels`: Per network, offset and scale of every image that goes in, where it is not the
    change alone.
    `outputs`: Images that come out of a network.
    `laws`: Per band, how the squared error of one side grows; see `fit_error_law`.
    `data`: What the model was fitted on: grid, dates, number and hash of the samples.
    `start`: Of a warm start, the hash of the model it began with, and the dates that one has
    seen of the same ground.
    `notes`: Per network, what a reader should know, as that there was nothing to learn.
    """

    bands: tuple[str, ...]
    ratio: float
    resolution: float
    filters: tuple[int, ...]
    kernels: tuple[int, ...]
    bias: bool
    scales: dict[str, tuple[float, float]]
    pairs: tuple[tuple[str, str], ...]
    settings: dict[str, Any]
    history: dict[str, list[tuple[float, float]]]
    seed: int
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT
    method: str = "biastf"
    inputs: Inputs = "change"
    channels: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    outputs: int = 1
    laws: dict[str, ErrorLaw] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    start: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def days(self) -> tuple[str, ...]:
        """Return the fine dates the model has seen, ascending; of a warm start, the first model's.

        Dates that the first model has seen of other ground are left out.
        """
        return tuple(sorted({d for p in self.pairs for d in p} | {*self.start.get("days", ())}))

    @property
    def all_bands(self) -> bool:
        """Return whether a network looks at all bands at once."""
        return self.inputs == "all-changes" or self.outputs > 1

    @property
    def halo(self) -> int:
        """Return the fine pixels around a window that its result depends on, to the last bit.

        The receptive radius; where predictions come in blocks of rows, the rest of a block too.
        """
        blocks = takes_blocks(self.filters, self.kernels)
        return sum(k // 2 for k in self.kernels) + (BLOCK - 1 if blocks else 0)

    def layers(self, network: str) -> Layers:
        """Return the layers of a network."""
        from biastf_xr.methods.training._loop import Layers

        channels = len(self.channels.get(network) or [0])
        return Layers((channels, *self.filters, self.outputs), self.kernels, self.bias)


def takes_blocks(filters: Sequence[int], kernels: Sequence[int]) -> bool:
    """Return whether the second layer has a fast form that makes several rows at once."""
    inner, made = filters[:2]
    return kernels[1] == FAST_KERNEL and inner >= 32 and made >= 16 and (inner | made) % 16 == 0


def library_versions() -> dict[str, str]:
    """Return the versions that can change a model."""
    import numpy as np
    import torch

    return {
        "biastf_xr": __version__,
        "torch": str(torch.__version__),
        "numpy": str(np.__version__),
        "python": platform.python_version(),
    }


class Fitted(Protocol):
    """What a checkpoint keeps of a network."""

    @property
    def network(self) -> nn.Sequential:
        """Return the network."""
        ...


def write_checkpoint(path: Path, card: Card, models: Mapping[str, Fitted]) -> str:
    """Write a model.

    `path`: File to write; written beside its place and moved there when complete.
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


def read_fields(path: Path) -> dict[str, Any]:
    """Read what a checkpoint says of itself, whatever method it is of."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint at {path}. Fit a method first: biastf_xr.fit(...).save(path), or "
            "`biastf-xr train`."
        )
    try:
        with safe_open(path, framework="np") as file:
            fields: dict[str, Any] = json.loads((file.metadata() or {})["card"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a BiaSTF checkpoint or was damaged ({error})."
        ) from error
    return fields


def read_card(path: Path) -> tuple[Card, str]:
    """Read a model's card."""
    fields = read_fields(path)
    if fields.get("format") not in range(1, FORMAT + 1):
        writer = fields.get("versions", {}).get("biastf_xr")
        raise CheckpointError(
            f"{path} is from a newer version of biastf_xr ({writer}; this is {__version__}): "
            f"card format {fields.get('format')}, this version reads up to {FORMAT}. "
            "Update biastf_xr, or fit the model again with this version."
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

    `device`: "cpu", "cuda", or "cuda:1" and so on.
    """
    from biastf_xr.methods.biastf._inference import ReadyNetwork, place_on

    card, states = read_weights(path, sha256)
    place = place_on(device, precision)
    networks = {}
    for name, state in states.items():
        network = card.layers(name).build()
        network.load_state_dict(state)
        networks[name] = ReadyNetwork(network.eval(), place)
    return networks


def read_weights(path: str, sha256: str) -> tuple[Card, dict[str, OrderedDict[str, torch.Tensor]]]:
    """Read card and weights of a checkpoint."""
    from safetensors.torch import load

    data = _read_unaltered(path, sha256)
    card, _ = read_card(Path(path))
    tensors = load(data)
    states = {
        network: OrderedDict(
            (name.removeprefix(f"{network}."), tensor)
            for name, tensor in tensors.items()
            if name.startswith(f"{network}.")
        )
        for network in card.scales
    }
    return card, states


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
