"""Predictions of a withheld date, beside what they should have been."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float32]
    Day = np.datetime64


@dataclass(frozen=True)
class Judged:
    """One withheld date: every method's image, the truth, and what they were made from.

    Attributes
    ----------
    day : numpy.datetime64
        The date.
    bands : tuple of str
        Names of the band axis.
    images : dict of ndarray of float32
        Predictions by method, shape ``(band, y, x)``, reflectance, NaN where there is none.
    truth : ndarray of float32
        The withheld scene, same shape; NaN where not clear.
    before, after : numpy.datetime64 or None
        Nearest reachable base dates; None where there is none.
    common : ndarray of bool
        Shape ``(y, x)``: pixels that are scored, those that the scene shows clearly and every
        method predicted in all bands.
    sigma : dict of ndarray of float32
        Stated standard deviation of the error, by method, shape ``(band, y, x)``; only of methods
        that state one.
    coarse : ndarray of float32, optional
        The coarse image of the date on its own grid, shape ``(band, h, w)``; None where the coarse
        cube has none that day.
    """

    day: Day
    bands: tuple[str, ...]
    images: dict[str, Float]
    truth: Float
    before: Day | None
    after: Day | None
    common: NDArray[np.bool_]
    sigma: dict[str, Float] = field(default_factory=dict)
    coarse: Float | None = None


@dataclass(frozen=True)
class Predicted:
    """The same before it is computed.

    Attributes
    ----------
    day : numpy.datetime64
        The date.
    bands : tuple of str
        Names of the band axis.
    images, sigma : dict of array
        By method, shape ``(band, y, x)``; Dask or NumPy.
    before, after : numpy.datetime64 or None
        Nearest reachable base dates.
    apart : array
        Shape ``(y, x)``: days to the nearer base date used at a pixel; 0 where there is none.
    truth : array, optional
        The withheld scene, once there is something to compare.
    coarse : array, optional
        The coarse image of the date.
    """

    day: Day
    bands: tuple[str, ...]
    images: dict[str, Any]
    sigma: dict[str, Any]
    before: Day | None
    after: Day | None
    apart: Any
    truth: Any = None
    coarse: Any = None

    def load(self) -> Predicted:
        """Compute everything at once.

        Returns
        -------
        Predicted
            In memory.
        """
        from dask.base import compute

        lazy = (self.images, self.sigma, self.apart, self.truth, self.coarse)
        images, sigma, apart, truth, coarse = compute(*lazy)
        return Predicted(
            self.day, self.bands, images, sigma, self.before, self.after, apart, truth, coarse
        )

    def judged(self) -> Judged:
        """Put it beside the truth; of what is in memory.

        Returns
        -------
        Judged
            With the pixels that are scored.
        """
        return Judged(
            self.day, self.bands, self.images, self.truth, self.before, self.after,
            common_pixels(self.images, self.truth), self.sigma, self.coarse,
        )  # fmt: skip


def common_pixels(images: dict[str, Float], truth: Float) -> NDArray[np.bool_]:
    """Find the pixels on which all methods can be compared.

    Parameters
    ----------
    images : dict of ndarray
        Predictions by method, shape ``(band, y, x)``.
    truth : ndarray
        The withheld scene.

    Returns
    -------
    ndarray of bool
        Shape ``(y, x)``: finite in every image and the truth, in all bands.
    """
    common: NDArray[np.bool_] = np.asarray(np.isfinite(truth).all(axis=0))
    for image in images.values():
        common = common & np.isfinite(image).all(axis=0)
    return common
