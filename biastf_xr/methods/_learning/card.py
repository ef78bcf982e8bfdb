"""The card of a model of networks, and the shape of a network.  Loads no torch."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field
from typing_extensions import TypedDict

from biastf_xr.errors import MethodError
from biastf_xr.methods._learning import files
from biastf_xr.methods.base import ModelCard, Positive
from biastf_xr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import nn

# Cards of format 1 are read too: what they lack has the meaning of its default.
FORMAT = 2

# Numbers of the convolutions; reflectance itself is float32 throughout.
Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# What goes into the network of a band; see `biastf_xr.methods.biastf.NetworkShape`.
Inputs = Literal["change", "change+fine", "change+fine+coarse", "all-changes"]

# What an image is divided by.
Scale = Annotated[float, Field(ge=1e-30)]

# Of the logarithm of the expected squared error: constant, per reflectance changed, per day.
ErrorLaw = tuple[float, float, float]

# The fast form of the second layer makes so many rows at once, with kernels of this side only.
BLOCK, FAST_KERNEL = 4, 5


@dataclass(frozen=True)
class Layers:
    """A chain of convolutions with ReLU between them.

    `channels`: Channels before, between and after the layers.
    `kernels`: Sides of the filters, odd.
    `bias`: Whether the convolutions have an additive term.
    """

    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    bias: bool = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters, by the names that torch gives them."""
        found: dict[str, tuple[int, ...]] = {}
        for i, kernel in enumerate(self.kernels):
            found[f"{2 * i}.weight"] = (self.channels[i + 1], self.channels[i], kernel, kernel)
            if self.bias:
                found[f"{2 * i}.bias"] = (self.channels[i + 1],)
        return found

    def build(self, seed: int = 0) -> nn.Sequential:
        """Build the network: He initialisation, last layer zero, so that it answers zero.

        Convolutions are not padded: they see only data.
        """
        import torch
        from torch import nn

        generator = torch.Generator().manual_seed(seed)
        layers: list[nn.Module] = []
        for i, kernel in enumerate(self.kernels):
            conv = nn.Conv2d(self.channels[i], self.channels[i + 1], kernel, bias=self.bias)
            last = i == len(self.kernels) - 1
            with torch.no_grad():
                if last:
                    conv.weight.zero_()
                else:
                    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu", generator=generator)
                if conv.bias is not None:
                    conv.bias.zero_()
            layers += [conv] if last else [conv, nn.ReLU(inplace=True)]
        return channels_last(nn.Sequential(*layers))


def channels_last(network: nn.Sequential) -> nn.Sequential:
    """Lay the weights out for channels-last convolutions, the faster kind on CPU and GPU."""
    import torch

    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


class Data(TypedDict, total=False):
    """What a model was fitted on.

    `grid`: The fine grid in words.
    `extent`: Its left, bottom, right and top in degrees.
    `fine_days`, `coarse_days`: First, last and number.
    `samples`, `held_out`: Number of patches, and of those held out.
    `held_out_days`: Days that were held out as well.
    `samples_sha256`: Hash of the patches.
    """

    grid: str
    extent: tuple[float, float, float, float]
    fine_days: tuple[str, str, int]
    coarse_days: tuple[str, str, int]
    samples: int
    held_out: int
    held_out_days: tuple[str, ...]
    samples_sha256: str


class Start(TypedDict, total=False):
    """The model that a fit began with; empty where there was none.

    `sha256`: Its hash.
    `days`: Dates it has seen of the same ground.
    `data`: What it was fitted on.
    """

    sha256: str
    days: tuple[str, ...]
    data: Data


@dataclass(frozen=True, kw_only=True)
class Card(ModelCard):
    """What made a model of networks.

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

    resolution: Positive
    filters: tuple[int, ...]
    kernels: tuple[int, ...]
    bias: bool
    scales: dict[str, tuple[Scale, Scale]]
    pairs: tuple[tuple[str, str], ...]
    settings: dict[str, Any]
    history: dict[str, list[tuple[float, float]]]
    seed: int
    versions: dict[str, str] = field(default_factory=dict)
    format: Annotated[int, Field(ge=1)] = FORMAT
    method: str = "biastf"
    inputs: Inputs = "change"
    channels: dict[str, list[tuple[float, Scale]]] = field(default_factory=dict)
    outputs: int = 1
    laws: dict[str, ErrorLaw] = field(default_factory=dict)
    data: Data = field(default_factory=Data)
    start: Start = field(default_factory=Start)
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the network is one."""
        if not len(self.kernels) - 1 == len(self.filters) >= 2:
            raise MethodError(
                f"filters are {self.filters}, kernels {self.kernels}; expected two filters or "
                "more, and one kernel more than filters."
            )
        if any(n < 1 for n in self.filters) or any(k < 1 or k % 2 == 0 for k in self.kernels):
            raise MethodError(
                f"filters are {self.filters}, kernels {self.kernels}; expected positive and odd "
                "numbers."
            )

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
        channels = len(self.standards(network))
        return Layers((channels, *self.filters, self.outputs), self.kernels, self.bias)

    def standards(self, network: str) -> list[tuple[float, float]]:
        """Return offset and scale of every image that goes into a network."""
        return self.channels.get(network) or [(0.0, self.scales[network][0])]

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters of all networks; see `ModelCard.arrays`."""
        return {
            f"{network}.{name}": shape
            for network in self.scales
            for name, shape in self.layers(network).shapes().items()
        }


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


def read_weights(path: str, sha256: str) -> tuple[Card, dict[str, dict[str, torch.Tensor]]]:
    """Read card and weights of a model, network by network."""
    from safetensors.torch import load

    data = files.read_unaltered(path, sha256)
    card, _ = files.read_card(Path(path), Card)
    arrays = load(data)
    return card, {
        network: {name: arrays[f"{network}.{name}"] for name in card.layers(network).shapes()}
        for network in card.scales
    }
