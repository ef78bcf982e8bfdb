"""What can be chosen about STFDCNN, with the reading behind every default.  Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from biastf_xr.errors import MethodError

HighPass = Literal["multiplicative", "additive"]
BandChoice = Literal["each", "together"]

# Side of a training patch in pixels of the middle resolution.
LSR_PATCH = 8

# The paper's factor for its ratio of 20 between the pixels, from memory: 25 m to 250 m.
PAPER_FACTOR = 10


@dataclass(frozen=True, kw_only=True)
class TwoNetworks:
    """The two networks and what stands between them.

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
    """

    factor: int | None = None
    filters: tuple[int, ...] = (64, 32)
    kernels: tuple[int, ...] = (9, 5, 5)
    bands: BandChoice = "each"

    def __post_init__(self) -> None:
        if self.factor is not None and self.factor < 2:
            raise MethodError(f"factor is {self.factor}; expected 2 fine pixels or more.")
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
        if self.bands not in {"each", "together"}:
            raise MethodError(f"bands is {self.bands!r}; expected 'each' or 'together'.")

    @property
    def radius(self) -> int:
        """Return the receptive radius of either network, in pixels of its grid."""
        return sum(k // 2 for k in self.kernels)

    def factor_for(self, ratio: float) -> int:
        """Return the factor for a ratio of pixel sizes.

        Parameters
        ----------
        ratio : float
            Coarse over fine pixel size.

        Returns
        -------
        int
            Fine pixels, a side, in a pixel of the middle resolution.
        """
        if self.factor is not None:
            return self.factor
        return PAPER_FACTOR if ratio < 2 else max(2, round(ratio / 2))
