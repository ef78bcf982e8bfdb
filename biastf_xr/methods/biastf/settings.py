"""What can be chosen about BiaSTF, with the reading behind every default.  Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from biastf_xr.errors import MethodError
from biastf_xr.methods.training.settings import SampleRule, TrainRule

__all__ = ["INPUTS", "Inputs", "NetworkShape", "SampleRule", "SideWeights", "TrainRule"]

Inputs = Literal["change", "change+fine", "change+fine+coarse", "all-changes"]
INPUTS: tuple[Inputs, ...] = get_args(Inputs)
SideWeights = Literal["change", "time", "equal", "learned"]


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
    bias: bool = True
    inputs: Inputs = "change"

    def __post_init__(self) -> None:
        if len(self.filters) != 3 or min(self.filters) < 1:
            raise MethodError(f"filters are {self.filters}; expected three positive numbers.")
        if len(self.kernels) != 4 or any(k < 1 or k % 2 == 0 for k in self.kernels):
            raise MethodError(f"kernels are {self.kernels}; expected four odd numbers.")
        if self.inputs not in INPUTS:
            raise MethodError(f"inputs is {self.inputs!r}; expected one of {list(INPUTS)}.")

    @property
    def radius(self) -> int:
        """Return the receptive radius in fine pixels: how far a pixel's input reaches."""
        return sum(k // 2 for k in self.kernels)

    def channels(self, bands: int) -> int:
        """Count the images that go in.

        Parameters
        ----------
        bands : int
            Bands of the cubes.

        Returns
        -------
        int
            Channels.
        """
        alone = {"change": 1, "change+fine": 2, "change+fine+coarse": 3}
        return alone.get(self.inputs, bands)
