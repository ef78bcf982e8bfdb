"""Whether a stated uncertainty is true: how often the error lies within it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.floating]

# Nominal coverages that are looked at.
LEVELS = (0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.683, 0.70, 0.80, 0.90, 0.95)


@dataclass(frozen=True)
class Inside:
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

    def __add__(self, other: Inside) -> Inside:
        if not (self.inside and other.inside):
            return self if self.inside else other
        both = zip(self.inside, other.inside, strict=True)
        return Inside(tuple(a + b for a, b in both), self.count + other.count)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Return the observed coverages; NaN of nothing."""
        return np.array(self.inside) / (self.count or np.nan)


def coverage(error: Array, sigma: Array, levels: Sequence[float] = LEVELS) -> NDArray[np.float64]:
    """Return how often the error is at most z sigma, z the quantile of `level` of a normal error.

    `error`: Prediction less truth, any shape; NaN is left out.
    `sigma`: Its stated standard deviation, same shape and unit.
    `levels`: Nominal coverages, each between 0 and 1; z is the two-sided normal quantile of
    each.
    Returned: Observed coverages, 0 to 1, one per level; equal to `levels` where sigma is true.
    """
    return Inside.of(error, sigma, levels).shares
