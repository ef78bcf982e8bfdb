"""What FSDAF learns of a whole scene: its classes, and how much each changes (Zhu et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.errors import MethodError
from biastf_xr.grid._alignment import ALIGNMENT_TOLERANCE
from biastf_xr.methods._coarse_cells import HALF, NONE, Cells, cells_of
from biastf_xr.methods._compiled import compiled
from biastf_xr.methods._similar import DN, add_moments, deviation_of, moments_of
from biastf_xr.methods.base import Float, Prepared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.grid import AxisMap, Tile
    from biastf_xr.methods.base import SceneView

# Histograms that find extreme values span this reflectance, in steps of a digital number.
LOWEST, HIGHEST = -0.5, 2.0

# Pixels of a scene that k-means looks at, and target dates whose coarse images are read together.
SAMPLE, BATCH = 40_000, 16

# Classes a scene may have.
MOST_CLASSES = 100

# A coarse pixel is whole if so much of it is clear.
WHOLE = 0.999


def prepare(method: Any, scene: SceneView) -> dict[np.datetime64, Prepared]:
    """Classify every base image, and unmix the class changes of its targets, as `FSDAF` asks.

    One pass over the base images finds statistics and a sample for k-means, a second one the
    fractions of the classes in coarse pixels; with a class map one pass does.
    """
    look = _Look(scene.alignment.rows, scene.alignment.cols, class_map=method.class_map)
    seen = scene.fold(replace(look, step=_step(scene.alignment.shape)).at, _join)
    limits = {
        day: _clean_limits(s["values"], method.clean, method.valid_range) for day, s in seen.items()
    }
    if method.class_map is None:
        centres = {day: _centres(method, s["sample"], limits[day]) for day, s in seen.items()}
        shares = scene.fold(replace(look, centres=centres, limits=limits).at, _join)
    else:
        none = np.zeros((int(method.class_map.max()), len(scene.bands)))
        centres, shares = dict.fromkeys(seen, none), seen
    return {
        day: _unmix(method, scene, day, shares[day], {
            **deviation_of(seen[day]["moments"]),
            "centres": centres[day].astype(np.float32),
            "limits": limits[day].astype(np.float32),
        })
        for day in seen
    }  # fmt: skip


def _centres(method: Any, sample: Float, limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the classes of a sample ``(pixel, band)``; in ascending order of reflectance."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    values = np.clip(sample.astype(np.float64), limits[0], limits[1])
    distinct = len(np.unique(values, axis=0))
    if not distinct:
        return np.zeros((1, sample.shape[1]))
    with threadpool_limits(1):  # sums in one order
        means = KMeans(min(method.classes, distinct), n_init=4, random_state=method.seed)
        centres = means.fit(values).cluster_centers_
    ordered: NDArray[np.float64] = centres[np.lexsort(centres.T[::-1])]
    return ordered


def _unmix(
    method: Any, scene: SceneView, day: np.datetime64, seen: Any, common: dict[str, Any]
) -> Prepared:
    """Find the change of every class on every target date, and the range it may lead to."""
    count, bands = common["centres"].shape
    fractions, clear = _fractions(seen["cells"], count, scene.alignment.coarse_shape)
    alignment = scene.alignment
    within = np.logical_and.outer(
        _within(alignment.rows, alignment.shape[0]), _within(alignment.cols, alignment.shape[1])
    )
    whole = (clear >= WHOLE) & within
    if whole.sum() < count:
        whole = clear >= HALF
    fractions = np.where(whole[..., None], fractions, 0)
    pure = [
        _purest(fractions[..., c], method.pure, method.least_fraction, method.seed)
        for c in range(count)
    ]
    lowest, highest = (np.clip(seen[k], *common["limits"]) for k in ("low", "high"))
    there = np.isfinite(seen["low"]).all(axis=1)
    change = np.full((scene.targets.size, count, bands), np.nan, np.float32)
    limits = np.full((scene.targets.size, 2, bands), np.nan, np.float32)
    targets = scene.targets_of(day)
    before = scene.coarse([day], bases=True)[0]
    for first in range(0, targets.size, BATCH):
        some = targets[first : first + BATCH]
        for t, image in zip(some, scene.coarse(scene.targets[some]), strict=True):
            moved = (image - before).reshape(bands, -1)
            for b in range(bands):
                change[t, :, b] = _class_change(method, moved[b], fractions, pure)
            flat = image.reshape(bands, -1)
            seen_low, seen_high = (
                f(flat, axis=1, where=np.isfinite(flat), initial=v)
                for f, v in ((np.min, np.inf), (np.max, -np.inf))
            )
            low = np.where(there[:, None], lowest + change[t], np.inf).min(axis=0)
            high = np.where(there[:, None], highest + change[t], -np.inf).max(axis=0)
            limits[t, 0] = np.maximum(np.minimum(low, seen_low), method.valid_range[0])
            limits[t, 1] = np.minimum(np.maximum(high, seen_high), method.valid_range[1])
    return Prepared(common, {"change": change, "range": limits})


def _class_change(method: Any, moved: Float, fractions: Float, pure: list[Any]) -> Float:
    """Unmix one band's coarse change ``(pixel,)`` into that of the classes."""
    rows: list[Any] = []
    for places in pure:
        here = places[np.isfinite(moved[places])]
        if here.size:
            low, high = np.quantile(moved[here], [method.trim, 1 - method.trim])
            rows.append(here[(moved[here] >= low) & (moved[here] <= high)])
    known = np.isfinite(moved)
    usual = float(moved[known].mean()) if known.any() else 0.0
    found = np.full(len(pure), usual)
    if rows:
        used = np.concatenate(rows)
        matrix = fractions.reshape(-1, len(pure))[used].astype(np.float64)
        named = matrix.max(axis=0) > method.least_fraction
        target = moved[used] - matrix[:, ~named].sum(axis=1) * usual
        found[named] = np.linalg.lstsq(matrix[:, named], target, rcond=None)[0]
    return found.astype(np.float32)


def read_class_map(given: Any, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a class map, check it, and number its classes 1, 2 and so on."""
    if isinstance(given, str | Path):
        from biastf_xr.sources._rasters import open_file

        try:
            with open_file(Path(given)) as file:
                given = file.read(1)
        except OSError as error:
            raise MethodError(f"fsdaf: the class map {given} cannot be read: {error}.") from error
    values = np.asarray(given)
    if values.shape != shape:
        raise MethodError(
            f"fsdaf: the class map is {values.shape}, the fine grid {shape}; expected one class "
            "per fine pixel."
        )
    whole = np.nan_to_num(values)
    codes = np.unique(whole)
    named = codes[codes > 0]
    if (codes != np.rint(codes)).any() or codes[0] < 0 or not 1 <= named.size <= MOST_CLASSES:
        raise MethodError(
            f"fsdaf: the class map holds {codes.size} values from {codes[0]:g} to {codes[-1]:g}; "
            f"expected 1 to {MOST_CLASSES} classes, whole numbers from 1, and 0 for no class."
        )
    # Codes with gaps (11, 21, 95) are renumbered: similarity depends on the number of classes.
    classes: NDArray[np.uint8] = np.searchsorted(named, whole).astype(np.uint8)
    classes += whole > 0
    return classes


def _step(shape: tuple[int, int]) -> int:
    """Return the step between the rows and columns that k-means looks at."""
    return max(int(np.sqrt(shape[0] * shape[1] / SAMPLE)), 1)


@dataclass(frozen=True)
class _Look:
    """A look at a tile of a base image: statistics, or with classes what they cover."""

    rows: AxisMap
    cols: AxisMap
    step: int = 0
    centres: dict[Any, Any] | None = None
    limits: dict[Any, Any] | None = None
    class_map: Any = None

    def at(self, day: np.datetime64, image: Float, tile: Tile) -> dict[str, Any]:
        """Summarise a tile."""
        seen: dict[str, Any] = {}
        clear = np.asarray(np.isfinite(image).all(axis=0))
        if self.step:
            rows = slice(-tile.y0 % self.step, None, self.step)
            cols = slice(-tile.x0 % self.step, None, self.step)
            seen["moments"] = moments_of(image)
            seen["sample"] = image[:, rows, cols][:, clear[rows, cols]].T
            numbers = np.rint((image[:, clear] - LOWEST) / DN).astype(np.int64)
            size = round((HIGHEST - LOWEST) / DN)
            numbers = np.clip(numbers, 0, size)
            seen["values"] = np.stack([np.bincount(n, minlength=size + 1) for n in numbers])
        if self.centres is None and self.class_map is None:
            return seen
        labels = np.full(image.shape[1:], NONE, np.int16)
        if self.class_map is not None:
            labels[:] = self.class_map[tile.slices].astype(np.int16) - 1
            labels[~clear] = NONE
            count = int(self.class_map.max())
        elif self.centres is not None and self.limits is not None:
            limits = self.limits[day][..., None, None]
            classify(
                np.clip(image, limits[0], limits[1]).astype(np.float32),
                self.centres[day].astype(np.float32), labels,
            )  # fmt: skip
            count = len(self.centres[day])
        cells = Cells(
            *(cells_of(a, *span) for a, span in (
                (self.rows, (tile.y0, tile.y1)), (self.cols, (tile.x0, tile.x1))
            ))
        )  # fmt: skip
        low, high = np.full((count, len(image)), np.inf), np.full((count, len(image)), -np.inf)
        for c in range(count):
            mine = image[:, labels == c]
            if mine.size:
                low[c], high[c] = mine.min(axis=1), mine.max(axis=1)
        return {**seen, "cells": [(cells.first, cells.count(labels, count))],
                "low": low, "high": high}  # fmt: skip


_JOINS: dict[str, Any] = {
    "moments": add_moments,
    "sample": lambda a, b: np.concatenate([a, b]),
    "values": np.add,
    "cells": lambda a, b: a + b,
    "low": np.minimum,
    "high": np.maximum,
}


def _join(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Join what was seen of two tiles."""
    return {name: _JOINS[name](a[name], b[name]) for name in a}


def _clean_limits(
    counts: NDArray[np.int64], share: float, valid: tuple[float, float]
) -> NDArray[np.float64]:
    """Find the smallest and largest values that are no errors, shape ``(2, band)``."""
    found = np.empty((2, len(counts)))
    reflectance = LOWEST + DN * np.arange(counts.shape[1])
    right = (reflectance >= valid[0] - DN / 2) & (reflectance <= valid[1] + DN / 2)
    for b, values in enumerate(counts):
        there, running = np.flatnonzero(values), np.cumsum(values)
        good = there[right[there]]
        if not there.size:
            found[:, b] = -np.inf, np.inf
            continue
        last = running[-1] - 1
        ends = [int(np.searchsorted(running, q * last, side="right"))
                for q in (share, 1 - share)]  # fmt: skip
        inside = good[(good > ends[0]) & (good < ends[1])] if share else good
        inside = inside if inside.size else good if good.size else there
        found[:, b] = LOWEST + DN * inside[0], LOWEST + DN * inside[-1]
    return found


def _within(axis: AxisMap, size: int) -> NDArray[np.bool_]:
    """Return which coarse pixels of an axis lie within the fine grid, but for rounding."""
    pixel, slack = np.arange(axis.size), ALIGNMENT_TOLERANCE * axis.scale
    within: NDArray[np.bool_] = (pixel >= axis.shift - slack) & (
        pixel + 1 <= axis.shift + size * axis.scale + slack
    )
    return within


def _purest(fraction: Float, most: int, least: float, seed: int) -> NDArray[np.intp]:
    """Return the places of the coarse pixels with most of a class, largest fraction first.

    Of those as pure as the last one some are drawn at random: the first ones would all lie at the
    upper edge of a large scene.
    """
    flat = fraction.ravel()
    places = np.flatnonzero(flat > least)
    places = places[np.argsort(-flat[places], kind="stable")]
    if places.size <= most:
        return places
    last = flat[places[most - 1]]
    sure, tied = places[flat[places] > last], places[flat[places] == last]
    drawn = np.random.default_rng(seed).permutation(tied.size)[: most - sure.size]
    return np.concatenate([sure, tied[np.sort(drawn)]])


def _fractions(
    parts: list[Any], count: int, shape: tuple[int, int]
) -> tuple[Float, NDArray[np.float64]]:
    """Return fractions ``(h, w, class)`` of what is clear, and its share, from counts of tiles."""
    total = np.zeros((*shape, count + 1), np.int64)
    for (row, col), counts in parts:
        rows, cols = counts.shape[:2]
        total[row : row + rows, col : col + cols] += counts
    clear = total[..., :count].sum(axis=-1)
    fractions = total[..., :count] / np.maximum(clear, 1)[..., None]
    return fractions.astype(np.float32), clear / np.maximum(total.sum(axis=-1), 1)


@compiled
def classify(image: Any, centres: Any, labels: Any) -> None:  # pragma: no cover
    """Return the nearest centre of every pixel; those with a missing band keep their label."""
    bands = image.shape[0]
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            best, found = np.float32(np.inf), -1
            for c in range(centres.shape[0]):
                total = np.float32(0)
                for b in range(bands):
                    d = image[b, y, x] - centres[c, b]
                    total += d * d
                if total < best:
                    best, found = total, c
            if found >= 0:
                labels[y, x] = found
