"""The two networks of STFDCNN, and what stands between them.  Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from biastf_xr.errors import MethodError
from biastf_xr.methods._learning.networks import NetworkOptions
from biastf_xr.methods._options import option
from biastf_xr.methods._shared import shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biastf_xr.grid import Upsampling

HighPass = Literal["multiplicative", "additive"]
BandChoice = Literal["each", "together"]

# Side of a training patch in pixels of the middle resolution.
LSR_PATCH = 8

# What the names of the networks of the two stages end with.
STAGES = ("nlm", "sr")

# The paper's factor for its ratio of 20 between the pixels, from memory: 25 m to 250 m.
PAPER_FACTOR = 10


@dataclass(frozen=True, kw_only=True)
class STFDCNNOptions(NetworkOptions):
    """Options of the fit of "stfdcnn", beside those of every fit of networks.

    Attributes
    ----------
    factor : int, optional
        Fine pixels, a side, in a pixel of the middle resolution ("LSR").  By default half the
        ratio of coarse to fine pixel, which is the paper's 10 at its ratio of 20, from memory; 10
        where the coarse images come on a grid as fine.
    filters : tuple of int
        Filters of the layers before the last.  "Five-layer" networks are read as SRCNN, whose
        input and output count; 64 and 32 as there.
    kernels : tuple of int
        Sides of the filters, odd: 9, 5, 5 as in a re-implementation.
    bands : {"each", "together"}
        A network for each band, or one for all bands at once.  Not verified; each, as SRCNN.
    highpass : {"multiplicative", "additive"}
        How details are brought to the target date: scaled with the level, or added.
    """

    factor: int | None = option(None, least=2, most=128)
    filters: tuple[int, ...] = option((64, 32), rare=True)
    kernels: tuple[int, ...] = option((9, 5, 5), rare=True)
    bands: BandChoice = option("each", choices=get_args(BandChoice))
    highpass: HighPass = option("multiplicative", choices=get_args(HighPass))
    weight_window: int = shared("weight_window", default=1, was="window")
    upsampling: Upsampling = shared("upsampling")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.filters) < 2 or len(self.kernels) != len(self.filters) + 1:
            raise MethodError(
                f"filters are {self.filters}, kernels {self.kernels}; expected two filters or "
                "more, and one kernel more than filters."
            )
        if min(self.filters) < 1 or any(k < 1 or k % 2 == 0 for k in self.kernels):
            raise MethodError(
                f"filters are {self.filters}, kernels {self.kernels}; expected positive and odd "
                "numbers."
            )

    @property
    def radius(self) -> int:
        """Return the receptive radius of either network, in pixels of its grid."""
        return sum(k // 2 for k in self.kernels)

    def factor_for(self, ratio: float) -> int:
        """Return the factor for a ratio of coarse over fine pixel size."""
        if self.factor is not None:
            return self.factor
        return PAPER_FACTOR if ratio < 2 else max(2, round(ratio / 2))

    def groups(self, bands: Sequence[str]) -> dict[str, list[int]]:
        """Return the bands of every network of a stage, by its name without the stage."""
        if self.bands == "together" and len(bands) > 1:
            return {"all": list(range(len(bands)))}
        return {band: [i] for i, band in enumerate(bands)}
