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

    `bands`: Names of the band axis.
    `images`: Predictions by method, shape ``(band, y, x)``, reflectance, NaN where there is
    none.
    `truth`: The withheld scene, same shape; NaN where not clear.
    `before`, `after`: Nearest reachable base dates; None where there is none.
    `common`: Shape ``(y, x)``: pixels that are scored, those that the scene shows clearly and
    every method predicted in all bands.
    `sigma`: Stated standard deviation of the error, by method, shape ``(band, y, x)``; only of
    methods that state one.
    `coarse`: The coarse image of the date on its own grid, shape ``(band, h, w)``; None where
    the coarse cube has none that day.
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

    `bands`: Names of the band axis.
    `images`, `sigma`: By method, shape ``(band, y, x)``; Dask or NumPy.
    `before`, `after`: Nearest reachable base dates.
    `apart`: Shape ``(y, x)``: days to the nearer base date used at a pixel; 0 where there is
    none.
    `truth`: The withheld scene, once there is something to compare.
    `coarse`: The coarse image of the date.
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
        """Compute everything at once."""
        from dask.base import compute

        lazy = (self.images, self.sigma, self.apart, self.truth, self.coarse)
        images, sigma, apart, truth, coarse = compute(*lazy)
        return Predicted(
            self.day, self.bands, images, sigma, self.before, self.after, apart, truth, coarse
        )

    def judged(self) -> Judged:
        """Put it beside the truth; of what is in memory."""
        return Judged(
            self.day, self.bands, self.images, self.truth, self.before, self.after,
            common_pixels(self.images, self.truth), self.sigma, self.coarse,
        )  # fmt: skip


def common_pixels(images: dict[str, Float], truth: Float) -> NDArray[np.bool_]:
    """Find the pixels on which all methods can be compared.

    `images`: Predictions by method, shape ``(band, y, x)``.
    Returned: Shape ``(y, x)``: finite in every image and the truth, in all bands.
    """
    common: NDArray[np.bool_] = np.asarray(np.isfinite(truth).all(axis=0))
    for image in images.values():
        common = common & np.isfinite(image).all(axis=0)
    return common
