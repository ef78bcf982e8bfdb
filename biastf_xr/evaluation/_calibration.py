"""Whether a stated uncertainty is true: how often the error lies within it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Self

import numpy as np

from biastf_xr.evaluation._moments import Additive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.floating]

# Nominal coverages that are looked at.
LEVELS = (0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.683, 0.70, 0.80, 0.90, 0.95)


@dataclass(frozen=True)
class Inside(Additive):
    """How many errors lie within a multiple of their stated uncertainty; can be merged.

    `inside`: Pixels within it, one number per nominal coverage.
    """

    inside: tuple[int, ...] = ()
    count: int = 0

    @classmethod
    def of(cls, error: Array, sigma: Array, levels: Sequence[float] = LEVELS) -> Self:
        """Count.

        `error`, `sigma`: Error and its stated standard deviation, any equal shape; NaN in either is
        left out.
        `levels`: Nominal coverages, each between 0 and 1.
        """
        good = np.isfinite(error) & np.isfinite(sigma)
        size, spread = np.abs(error[good].astype(np.float64)), sigma[good].astype(np.float64)
        normal = NormalDist()
        factors = [normal.inv_cdf((1 + level) / 2) for level in levels]
        return cls(tuple(int((size <= z * spread).sum()) for z in factors), int(good.sum()))

    @property
    def shares(self) -> NDArray[np.float64]:
        """Return the observed coverages; NaN of nothing."""
        return np.array(self.inside) / (self.count or np.nan)
