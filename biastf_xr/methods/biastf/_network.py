"""The network of Table 1: four convolutions that turn a coarse change into its sensor bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, get_args

import numpy as np

from biastf_xr.errors import MethodError
from biastf_xr.methods._learning.card import Inputs, Layers
from biastf_xr.methods._options import check_fields, option

if TYPE_CHECKING:
    from biastf_xr.methods.base import Float

INPUTS: tuple[Inputs, ...] = get_args(Inputs)

# Inputs that hold base images.
WITH_IMAGES = ("change+fine", "change+fine+coarse")


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """Shape of the network.

    Attributes
    ----------
    filters : tuple of int
        n1, n2, n3 of Table 1.  The paper does not publish them; 64, 32, 32 follow SRCNN, whose
        symbols it uses, and DiCNN of the same authors.
    kernels : tuple of int
        Sides of the four filters, odd (Table 1: 7, 5, 3, 3).
    bias : bool
        Whether the convolutions have an additive term.  Without it no change gives no bias.
    inputs : {"change", "change+fine", "change+fine+coarse", "all-changes"}
        What goes into the network of a band: its coarse change; with it the fine base image, or
        the fine and the coarse base image, of the band; or the coarse changes of all bands.  The
        paper does not say; the change alone is the simplest reading.  Without the fine image the
        network cannot know texture.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    filters: tuple[int, int, int] = (64, 32, 32)
    kernels: tuple[int, int, int, int] = (7, 5, 3, 3)
    bias: bool = option(True, rare=True)
    inputs: Inputs = option("change", choices=INPUTS)

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.filters) != 3 or min(self.filters) < 1:
            raise MethodError(f"filters are {self.filters}; expected three positive numbers.")
        if len(self.kernels) != 4 or any(k < 1 or k % 2 == 0 for k in self.kernels):
            raise MethodError(f"kernels are {self.kernels}; expected four odd numbers.")

    @property
    def radius(self) -> int:
        """Return the receptive radius in fine pixels: how far a pixel's input reaches."""
        return sum(k // 2 for k in self.kernels)

    def channels(self, bands: int) -> int:
        """Count the images that go in, for cubes of so many bands."""
        alone = {"change": 1, "change+fine": 2, "change+fine+coarse": 3}
        return alone.get(self.inputs, bands)

    def layers(self, channels: int = 1) -> Layers:
        """Return the layers, for so many images that go in."""
        return Layers((channels, *self.filters, 1), tuple(self.kernels), self.bias)


def stack_channels(
    inputs: str, index: int, change: Float, fine: Float | None, coarse: Float | None
) -> Float:
    """Put the input of one band's network together.

    `change`: Shape ``(..., band, Y, X)``: coarse changes on the fine grid, no NaN.
    `fine`, `coarse`: Same shape, or broadcastable: the base images, no NaN; None where they do
    not go in.
    """
    if inputs == "all-changes":
        return change
    parts = [change[..., index, :, :]]
    if inputs != "change" and fine is not None:
        parts.append(fine[..., index, :, :])
    if inputs == "change+fine+coarse" and coarse is not None:
        parts.append(coarse[..., index, :, :])
    return np.stack(np.broadcast_arrays(*parts), axis=-3)
