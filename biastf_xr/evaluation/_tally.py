"""What is kept of one withheld date: sums per method, class of change, distance and coverage.

Lazy images are scored window by window in one pass, so that no whole image is held.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.evaluation._calibration import Inside
from biastf_xr.evaluation._image_sums import TILE, ImageSums, windows
from biastf_xr.evaluation._judged import common_pixels
from biastf_xr.evaluation._moments import Additive, Moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.evaluation._image_sums import Core
    from biastf_xr.evaluation._judged import Judged

    Float = NDArray[np.float32]

# The image without any change: what the true change of a pixel is measured from.
UNCHANGED = "nearest"

# Upper edges of the classes: root mean square change over the bands in reflectance, and days.
CHANGE_EDGES = (0.01, 0.02, 0.05, 0.10)
DISTANCE_EDGES = (4, 8, 16, 32)
CHANGE_CLASSES = ("below 0.01", "0.01 to 0.02", "0.02 to 0.05", "0.05 to 0.10", "above 0.10")
DISTANCE_CLASSES = ("1 to 4", "5 to 8", "9 to 16", "17 to 32", "over 32")

# Method, kind ("change" or "distance"), class.
ClassKey = tuple[str, str, str]


@dataclass(frozen=True)
class Tally(Additive):
    """What is kept of a window, a date, or several.

    `pixels`: Pixels that all methods are scored on.
    `classes`: By method, kind and class; one per band.
    `inside`: By method that states its uncertainty; one per band.
    `predicted`: Pixels that each method predicted in all bands.
    """

    pixels: int = 0
    images: dict[str, ImageSums] = field(default_factory=dict)
    classes: dict[ClassKey, tuple[Moments, ...]] = field(default_factory=dict)
    inside: dict[str, tuple[Inside, ...]] = field(default_factory=dict)
    area: int = 0
    predicted: dict[str, int] = field(default_factory=dict)


def tally_date(judged: Judged, tile: int = TILE) -> Tally:
    """Score one date, window by window; eager.

    `judged`: The images and the truth, lazy or in memory.
    """
    from dask.base import compute
    from dask.delayed import delayed

    shape = judged.truth.shape[-2:]
    lazy = hasattr(judged.truth, "dask")
    run: Any = delayed(tally_window, pure=False) if lazy else tally_window
    parts = []
    for window, core in windows(shape, tile):
        cut = window.slices
        images = {name: image[:, *cut] for name, image in judged.images.items()}
        sigma = {name: image[:, *cut] for name, image in judged.sigma.items()}
        parts.append(run(images, judged.truth[:, *cut], sigma, judged.apart[cut], core))
    done = compute(*parts) if lazy else parts
    total: Tally = reduce(add, done)
    return total


def tally_window(
    images: dict[str, Float], truth: Float, sigma: dict[str, Float], apart: Any, core: Core
) -> Tally:
    """Score one window with halo.

    `images`: Predictions by method, shape ``(band, y, x)``.
    `apart`: Shape ``(y, x)``: days to the nearest base date; 0 is unknown.
    """
    common = common_pixels(images, truth)
    inner = (slice(None), *core)
    real = np.where(common, truth, np.nan)
    seen = {name: np.where(common, image, np.nan) for name, image in images.items()}
    tally = Tally(
        pixels=int(common[core].sum()),
        images={name: ImageSums.of(image, real, core) for name, image in seen.items()},
        area=common[core].size,
        predicted={n: int(np.isfinite(i[inner]).all(axis=0).sum()) for n, i in images.items()},
    )
    cut = {name: image[inner] for name, image in seen.items()}
    inside = {n: _inside(cut[n] - real[inner], s[inner]) for n, s in sigma.items()}
    classes = _class_maps(cut, real[inner], np.asarray(apart)[core])
    return replace(tally, classes=_by_class(cut, real[inner], classes), inside=inside)


def _inside(error: Float, sigma: Float) -> tuple[Inside, ...]:
    return tuple(Inside.of(e, s) for e, s in zip(error, sigma, strict=True))


def _class_maps(
    images: dict[str, Float], truth: Float, apart: Any
) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Return which pixels belong to which class of change and of distance."""
    maps: dict[tuple[str, str], NDArray[np.bool_]] = {}
    if UNCHANGED in images:
        change = np.sqrt(np.mean((truth - images[UNCHANGED]) ** 2, axis=0))
        index = np.digitize(change, CHANGE_EDGES)
        seen = np.isfinite(change)
        maps |= {("change", c): seen & (index == i) for i, c in enumerate(CHANGE_CLASSES)}
    index = np.digitize(apart, DISTANCE_EDGES, right=True)
    maps |= {("distance", c): (apart > 0) & (index == i) for i, c in enumerate(DISTANCE_CLASSES)}
    return maps


def _by_class(
    images: dict[str, Float], truth: Float, maps: dict[tuple[str, str], NDArray[np.bool_]]
) -> dict[ClassKey, tuple[Moments, ...]]:
    return {
        (name, *key): tuple(Moments.of(p[mask], r[mask]) for p, r in zip(image, truth, strict=True))
        for key, mask in maps.items()
        if mask.any()
        for name, image in images.items()
    }
