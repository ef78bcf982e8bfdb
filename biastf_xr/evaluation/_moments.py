"""Sums from which the pixel measures follow: taken chunk by chunk, merged in any order.

Two images are looked at once.  What is kept of them is a handful of numbers, so a scene of any size
is scored without holding it, and the result is that of the whole image to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from biastf_xr.errors import CubeStructureError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating]
    Double = NDArray[np.float64]

# Constants of SSIM, times the data range.
K1, K2 = 0.01, 0.03


class Additive:
    """A dataclass of sums: two of them add up field by field."""

    def __add__(self, other: Self) -> Self:
        """Merge what was taken of two parts."""
        parts: Any = self
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(parts))
        return type(self)(*(_merge(a, b) for a, b in pairs))


def _merge(a: Any, b: Any) -> Any:
    """Add two values; of dictionaries the values of common keys, of tuples the items."""
    if isinstance(a, dict):
        return a | {key: _merge(a[key], value) if key in a else value for key, value in b.items()}
    if isinstance(a, tuple):
        return tuple(_merge(x, y) for x, y in zip(a, b, strict=True)) if a and b else a or b
    return a + b


@dataclass(frozen=True)
class Mean(Additive):
    """A mean that can be merged.

    `total`: Sum of the values.
    """

    total: float = 0.0
    count: int = 0

    @classmethod
    def of(cls, values: Array) -> Self:
        """Sum up what is finite.

        `values`: Any shape; NaN is left out.
        """
        good = np.isfinite(values)
        return cls(float(values[good].sum(dtype=np.float64)), int(good.sum()))

    @property
    def value(self) -> float:
        """Return the mean; NaN of nothing."""
        return self.total / self.count if self.count else np.nan


@dataclass(frozen=True)
class Moments:
    """First and second moments of a prediction P and a reference R, and of their difference.

    Second moments are kept about the means, and merged as Chan et al. (1983) do, so that nothing
    cancels: a constant image has a variance of zero, a perfect prediction an error of zero.

    `count`: Pixels valid in both.
    `pp`, `rr`, `pr`: Sums of squared deviations, and of their products.
    `squared`, `absolute`: Sums of ``(P - R)^2`` and ``|P - R|``.

    References
    ----------
    Chan, Golub and LeVeque (1983), The American Statistician 37, 242-247,
    doi 10.1080/00031305.1983.10483115.
    """

    count: int = 0
    mean_p: float = 0.0
    mean_r: float = 0.0
    pp: float = 0.0
    rr: float = 0.0
    pr: float = 0.0
    squared: float = 0.0
    absolute: float = 0.0

    @classmethod
    def of(cls, prediction: Array, reference: Array) -> Self:
        """Take the moments of two images.

        `prediction`, `reference`: Any equal shape; pixels that are NaN in either are left out.
        """
        p, r = valid_pixels(prediction, reference)
        if not p.size:
            return cls()
        mean_p, mean_r = float(p.mean()), float(r.mean())
        error, dp, dr = p - r, p - mean_p, r - mean_r
        products = ((dp, dp), (dr, dr), (dp, dr), (error, error))
        pp, rr, pr, squared = (float((a * b).sum()) for a, b in products)
        return cls(p.size, mean_p, mean_r, pp, rr, pr, squared, float(np.abs(error).sum()))

    def __add__(self, other: Moments) -> Moments:
        if not (self.count and other.count):
            return self if self.count else other
        count = self.count + other.count
        step_p, step_r = other.mean_p - self.mean_p, other.mean_r - self.mean_r
        weight = self.count * other.count / count
        return Moments(
            count,
            self.mean_p + step_p * other.count / count,
            self.mean_r + step_r * other.count / count,
            self.pp + other.pp + step_p**2 * weight,
            self.rr + other.rr + step_r**2 * weight,
            self.pr + other.pr + step_p * step_r * weight,
            self.squared + other.squared,
            self.absolute + other.absolute,
        )

    @property
    def rmse(self) -> float:
        """Return the root mean square error, in reflectance."""
        return float(np.sqrt(self.squared / self.count)) if self.count else np.nan

    @property
    def mae(self) -> float:
        """Return the mean absolute error, in reflectance."""
        return self.absolute / self.count if self.count else np.nan

    @property
    def bias(self) -> float:
        """Return the mean error, prediction less reference, in reflectance."""
        return self.mean_p - self.mean_r if self.count else np.nan

    @property
    def cc(self) -> float:
        """Return Pearson's correlation coefficient; NaN where either image is constant."""
        if self._constant(self.pp, self.mean_p) or self._constant(self.rr, self.mean_r):
            return np.nan
        return float(np.clip(self.pr / np.sqrt(self.pp * self.rr), -1, 1))

    @property
    def r2(self) -> float:
        """Return the coefficient of determination; NaN where the reference is constant."""
        return np.nan if self._constant(self.rr, self.mean_r) else 1 - self.squared / self.rr

    def ssim(self, data_range: float = 1.0) -> float:
        """Return the structural similarity over all pixels as one window.

        `data_range`: L of the constants (0.01 L)^2 and (0.03 L)^2.
        """
        if self.count < 2:
            return np.nan
        c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
        mp, mr, n = self.mean_p, self.mean_r, self.count
        luminance = (2 * mp * mr + c1) / (mp**2 + mr**2 + c1)
        return float(luminance * (2 * self.pr / n + c2) / ((self.pp + self.rr) / n + c2))

    def _constant(self, spread: float, mean: float) -> bool:
        """Return whether deviations are no more than rounding."""
        rounding = self.count * (4 * float(np.finfo(float).eps) * mean) ** 2
        return self.count < 2 or spread <= rounding


def valid_pixels(prediction: Array, reference: Array) -> tuple[Double, Double]:
    """Return the values that are finite in both images, in double precision."""
    if prediction.shape != reference.shape:
        raise CubeStructureError(
            f"prediction has shape {prediction.shape}, reference {reference.shape}; expected equal."
        )
    good = np.isfinite(prediction) & np.isfinite(reference)
    return prediction[good].astype(np.float64), reference[good].astype(np.float64)
