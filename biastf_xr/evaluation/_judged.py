"""Predictions of a withheld date, beside what they should have been."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
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
    `images`: Predictions by method, shape ``(band, y, x)``, reflectance, NaN where there is none;
    Dask until `load`.
    `truth`: The withheld scene, same shape; NaN where not clear.
    `before`, `after`: Nearest reachable base dates; None where there is none.
    `apart`: Shape ``(y, x)``: days to the nearer base date used at a pixel; 0 where there is none.
    `sigma`: Stated standard deviation of the error, by method, shape ``(band, y, x)``; only of
    methods that state one.
    `coarse`: The coarse image of the date on its own grid, shape ``(band, h, w)``; None where
    the coarse cube has none that day.
    """

    day: Day
    bands: tuple[str, ...]
    images: dict[str, Any]
    truth: Any
    before: Day | None = None
    after: Day | None = None
    apart: Any = 0
    sigma: dict[str, Any] = field(default_factory=dict)
    coarse: Any = None

    @cached_property
    def common(self) -> NDArray[np.bool_]:
        """Return the pixels that are scored, shape ``(y, x)``, of what is in memory."""
        return common_pixels(self.images, self.truth)

    def load(self) -> Judged:
        """Compute everything at once."""
        from dask.base import compute

        names = ("images", "sigma", "apart", "truth", "coarse")
        loaded = compute(*(getattr(self, name) for name in names))
        return replace(self, **dict(zip(names, loaded, strict=True)))


def common_pixels(images: dict[str, Float], truth: Float) -> NDArray[np.bool_]:
    """Find the pixels on which all methods can be compared.

    `images`: Predictions by method, shape ``(band, y, x)``.
    Returned: Shape ``(y, x)``: finite in every image and the truth, in all bands.
    """
    common: NDArray[np.bool_] = np.asarray(np.isfinite(truth).all(axis=0))
    for image in images.values():
        common = common & np.isfinite(image).all(axis=0)
    return common
