"""FSDAF: class changes, a smooth surface, and residuals shared out (Zhu et al. 2016)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from biastf_xr.errors import MethodError
from biastf_xr.grid._alignment import ALIGNMENT_TOLERANCE
from biastf_xr.methods._compiled import compiled
from biastf_xr.methods._similar import (
    DN,
    WindowUnit,
    add_moments,
    check_range,
    check_window,
    deviation_of,
    gather,
    known_of,
    moments_of,
    most_similar,
    share_weights,
    similarity_threshold,
    window_distances,
    window_reach,
)
from biastf_xr.methods._surface import spline_up
from biastf_xr.methods.base import (
    Base,
    Block,
    Float,
    Prepared,
    Weights,
    bound,
    check_choices,
    check_positive,
    check_weights,
    inside_grid,
)
from biastf_xr.methods.interpolation import WeightedSides

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import AxisMap, Tile, Upsampling
    from biastf_xr.methods.base import SceneView

CHOICES: dict[str, tuple[Any, ...]] = {"upsampling": ("bilinear", "nearest")}

# Histograms that find extreme values span this reflectance, in steps of a digital number.
LOWEST, HIGHEST = -0.5, 2.0

# Pixels of a scene that k-means looks at, and target dates whose coarse images are read together.
SAMPLE, BATCH = 40_000, 16

# A weight of a residual beyond this many times the mean is set to the mean; what keeps weights
# finite is 1e-6 of a digital number, as published.
MOST_SHARE, TINY_SHARE = 10.0, 1e-6 * DN

# The class of a pixel that is missing or has none, and of one that lies off the grid.
NONE, OUTSIDE = -1, -2

# Classes a scene may have.
MOST_CLASSES = 100

# A coarse pixel is whole if so much of it is clear, and usable if half of it is.
WHOLE, HALF = 0.999, 0.5


@dataclass(frozen=True, kw_only=True)
class FSDAF(WeightedSides):
    """Add the change of a pixel's class, share out what the coarse sensor saw besides, and smooth.

    From one base date, per band: (1) the scene is classified; (2) the change of every class is
    unmixed from the coarse change of its purest coarse pixels; (3) the temporal prediction adds the
    class change to the base image; (4) a thin-plate spline through the coarse target image is the
    spatial prediction; (5) what the temporal prediction leaves of the coarse change is shared out
    within each coarse pixel, towards the spatial prediction where the surroundings are of one
    class; (6) the change is averaged over similar pixels of a window.

    One base date is enough; of two, each predicts alone and the predictions are weighted.
    Classes, unmixing, extreme values and standard deviations are of the whole scene, not of
    blocks: no edge shows.

    Cost: the search visits ``window**2`` pixels with 6 operations per band, and the homogeneity
    takes 4 per class, once per base date; each band and target date then costs
    ``2 spline_neighbours**2 + 2 similar`` operations and some 40 for the residuals.

    Attributes
    ----------
    window : int
        Side of the window of similar pixels and of homogeneity, odd.
    window_unit : {"fine", "coarse"}
        Whether `window` counts fine or coarse pixels.
    similar : int
        How many similar pixels the change is averaged over.
    classes : int
        Number of k-means classes; published programs try 4 to 6 and start from 4.
    class_map : ndarray of int or str, optional
        Classes of your own instead: shape ``(y, x)`` of the whole fine grid, any positive codes, 0
        for none; or the path of a raster file with one band on that grid.
    seed : int
        Of k-means, and of the draw among coarse pixels that are equally pure.
    pure : int
        Coarse pixels per class, the purest ones, that the change is unmixed from.
    least_fraction : float
        A class must cover more than this fraction of them.
    trim : float
        Fraction of them left out at either end of the range of coarse changes.
    clean : float
        Fraction of the scene's pixels at either end whose values are taken for errors, as are
        those outside `valid_range`, and are brought to the nearest value inside.
    spline_neighbours : int
        Side in coarse pixels of the square that the spline passes through, odd.
    valid_range : tuple of float
        Smallest and largest reflectance.  A result outside becomes ``F_k + C - C_k`` within it.
    weights : {"change", "time", "equal"}
        How the predictions from the two base dates are weighted.
    weight_window : int
        Side in coarse pixels of the window of "change", odd.
    upsampling : {"bilinear", "nearest"}
        How the coarse change of a result outside the valid range is brought to the fine grid.
    reach, cell : int
        Half a window and a coarse pixel in fine pixels; `bind` sets them.

    Notes
    -----
    A coarse pixel is made of the fine pixels whose centres it contains.  Coarse pixels with a cloud
    or across the edge of the scene are left out of the unmixing, unless there are fewer others than
    classes; where less than half of one is clear its residual is 0.  Of coarse pixels equally pure
    some are drawn from all over the scene.  A class without a pure coarse pixel takes the mean
    coarse change of the scene.

    References
    ----------
    Zhu X., Helmer E.H., Gao F., Liu D., Chen J., Lefsky M.A., Remote Sens. Environ. 172, 2016,
    165-177, doi 10.1016/j.rse.2015.11.016.  Classes by k-means instead of ISODATA.
    """

    name: str = "fsdaf"
    window: int = 41
    window_unit: WindowUnit = "fine"
    similar: int = 20
    classes: int = 4
    class_map: Any = field(default=None, repr=False, compare=False)
    seed: int = 0
    pure: int = 100
    least_fraction: float = 0.01
    trim: float = 0.1
    clean: float = 1e-4
    spline_neighbours: int = 7
    valid_range: tuple[float, float] = (0.0, 1.0)
    weights: Weights = "change"
    weight_window: int = 3
    upsampling: Upsampling = "bilinear"
    reach: int = bound(0)
    cell: int = bound(0)

    def __post_init__(self) -> None:
        check_window(self.window, self.window_unit, self.name)
        check_window(self.spline_neighbours, "coarse", f"{self.name}, spline_neighbours")
        check_weights(self.weights, self.weight_window)
        check_choices(self, CHOICES)
        check_positive(self, "pure", "classes")
        check_range(self)
        if not 1 <= self.similar <= 255:
            raise MethodError(f"{self.name}: similar is {self.similar!r}; expected 1 to 255.")
        if not 0 <= self.trim < 0.5 or not 0 <= self.clean < 0.5:
            raise MethodError(
                f"{self.name}: trim is {self.trim}, clean is {self.clean}; expected 0 to 0.5."
            )
        if not 1 <= self.classes <= MOST_CLASSES:
            raise MethodError(
                f"{self.name}: classes is {self.classes}; expected 1 to {MOST_CLASSES}."
            )

    @property
    def fine_halo(self) -> int:  # type: ignore[override]
        """Return the halo of the base images: smoothing, a whole coarse pixel, homogeneity."""
        return 2 * self.reach + self.cell

    @property
    def halo(self) -> int:
        """Return the halo of interpolated coarse images: smoothing and a whole coarse pixel."""
        return self.reach + self.cell

    @property
    def coarse_halo(self) -> int:
        """Return the coarse halo: the spline's square, or the weights' window."""
        return max(self.spline_neighbours, self.weight_window // 2)

    def bind(self, pair: CubePair) -> Self:
        """Size the window, and read a class map; see `Method.bind`."""
        alignment = pair.alignment
        if alignment.ratio < 1.5:
            raise MethodError(
                f"{self.name}: coarse images lie on the fine grid (ratio {alignment.ratio:.2f}), "
                "where coarse pixels have no fractions of classes. Ingest them with their "
                "`native_resolution`, or average them to it: coarse.coarsen(y=16, x=16, "
                'boundary="trim").mean().'
            )
        reach = window_reach(self.window, self.window_unit, pair, self.name)
        classes = None if self.class_map is None else _read_map(self.class_map, alignment.shape)
        return replace(self, reach=reach, cell=int(np.ceil(alignment.ratio)), class_map=classes)

    def prepare(self, scene: SceneView) -> dict[np.datetime64, Prepared]:
        """Classify every base image, and unmix the class changes of its targets.

        One pass over the base images finds statistics and a sample for k-means, a second one the
        fractions of the classes in coarse pixels; with a class map one pass does.
        """
        look = _Look(scene.alignment.rows, scene.alignment.cols, class_map=self.class_map)
        seen = scene.fold(replace(look, step=_step(scene.alignment.shape)).at, _join)
        limits = {
            day: _clean_limits(s["values"], self.clean, self.valid_range) for day, s in seen.items()
        }
        if self.class_map is None:
            centres = {day: self._centres(s["sample"], limits[day]) for day, s in seen.items()}
            shares = scene.fold(replace(look, centres=centres, limits=limits).at, _join)
        else:
            none = np.zeros((int(self.class_map.max()), len(scene.bands)))
            centres, shares = dict.fromkeys(seen, none), seen
        return {
            day: self._unmix(scene, day, shares[day], {
                **deviation_of(seen[day]["moments"]),
                "centres": centres[day].astype(np.float32),
                "limits": limits[day].astype(np.float32),
            })
            for day in seen
        }  # fmt: skip

    def side(self, block: Block, base: Base) -> Float:
        """Predict from one base date; see `TwoSided.side`.

        Returned: Shape ``(time, band, y, x)``; NaN where the base image or the coarse change is
        missing.
        """
        known, reach = known_of(base), self.reach
        fine = base.fine
        seen = np.asarray(np.isfinite(fine).all(axis=0))
        lowest, highest = known.scene["limits"][:, :, None, None]
        clean = np.where(seen, np.clip(fine, lowest, highest), np.float32(np.nan))
        labels = self._labels(block, clean, known.scene["centres"])
        cells = _Cells.under(block, self.halo)
        count = len(known.scene["centres"])
        same = np.empty(cells.shape, np.float32)
        _homogeneity(labels, reach, count, same)
        inner = slice(reach, -reach or None)
        labels, clean = labels[inner, inner], clean[:, inner, inner]
        # From here on: the tile, smoothing and a whole coarse pixel around.
        shares, usable = cells.fractions(labels, count)
        coarse = np.asarray(
            np.isfinite(block.coarse).all(axis=1) & np.isfinite(base.coarse).all(axis=0)
        )
        found, raw = self._similar(clean[:, self.cell : -self.cell, self.cell : -self.cell], known)
        weights = np.zeros_like(raw)
        shape = block.days.size, len(block.bands), *block.tile.shape
        out = np.empty(shape, np.float32)
        change = np.empty(cells.shape, np.float32)
        core, cut = block.fine_core, slice(self.cell, -self.cell)
        for t in range(shape[0]):
            there = cells.spread(coarse[t]) & (labels >= 0)
            share_weights(found, raw, there[cut, cut], reach, weights)
            surface = spline_up(block.coarse[t], block.upsample, self.spline_neighbours)
            moved = known.dates["change"][t]
            for b in range(shape[1]):
                seen_change = block.coarse[t, b] - base.coarse[b]
                rest = cells.cut(seen_change) - shares @ moved[:, b]
                rest = np.where(usable & np.isfinite(rest), rest, 0.0)
                _distribute(
                    clean[b], labels, surface[b], same, moved[:, b].astype(np.float32), rest,
                    cells.rows, cells.cols, known.dates["range"][t, :, b], change,
                )  # fmt: skip
                made = out[t, b]
                gather(np.where(there, change, 0)[cut, cut], reach, found, weights, made)
                made += fine[b][core]
                outside = (made < self.valid_range[0]) | (made > self.valid_range[1])
                if outside.any():
                    plain = block.upsample(seen_change, self.upsampling)[block.core]
                    own = cells.spread(seen_change)[block.core]  # beside missing coarse pixels
                    plain = np.where(np.isfinite(plain), plain, own)
                    made[outside] = np.clip(fine[b][core] + plain, *self.valid_range)[outside]
                made[~there[block.core]] = np.nan
        return out

    def describe(self) -> dict[str, Any]:
        """Describe; see `Method.describe`."""
        told = super().describe()
        if self.class_map is not None:
            text = self.class_map
            if not isinstance(text, str | Path):
                values = np.ascontiguousarray(self.class_map, np.int16)
                text = hashlib.blake2b(values.tobytes(), digest_size=8).hexdigest()
            told["class_map"] = str(text)
        return told

    def _centres(self, sample: Float, limits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Find the classes of a sample ``(pixel, band)``; in ascending order of reflectance."""
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        values = np.clip(sample.astype(np.float64), limits[0], limits[1])
        distinct = len(np.unique(values, axis=0))
        if not distinct:
            return np.zeros((1, sample.shape[1]))
        with threadpool_limits(1):  # sums in one order
            means = KMeans(min(self.classes, distinct), n_init=4, random_state=self.seed)
            centres = means.fit(values).cluster_centers_
        ordered: NDArray[np.float64] = centres[np.lexsort(centres.T[::-1])]
        return ordered

    def _labels(self, block: Block, clean: Float, centres: Float) -> NDArray[np.int16]:
        """Return the class of every pixel of the base image with halo."""
        window, shape = block.tile.padded(self.fine_halo), block.upsample.alignment.shape
        inside = inside_grid(window, shape)
        labels = np.where(inside, np.int16(NONE), np.int16(OUTSIDE))
        if self.class_map is None:
            _classify(clean, centres, labels)
            return labels
        on_grid = window.clipped(shape)
        labels[inside] = self.class_map[on_grid.slices].astype(np.int16).ravel() - 1
        labels[inside & ~np.isfinite(clean[0])] = NONE
        return labels

    def _similar(self, image: Float, known: Prepared) -> tuple[Any, Float]:
        """Find the pixels whose change is averaged, and their weights."""
        side, scale = 2 * self.reach + 1, max(self.reach, 1)
        classes = len(known.scene["centres"])
        distance = window_distances(side) / scale
        found = most_similar(
            image, side, self.similar, scale=1.0, relative=True, floor=1e-5,
            nearness=10 + distance, threshold=similarity_threshold(known, classes, None),
        )  # fmt: skip
        raw = np.zeros(found.place.shape, np.float32)
        _similarity(
            image, self.reach, found.place, found.number, found.offsets,
            distance.astype(np.float32), raw,
        )  # fmt: skip
        return found, raw

    def _unmix(
        self, scene: SceneView, day: np.datetime64, seen: Any, common: dict[str, Any]
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
            _purest(fractions[..., c], self.pure, self.least_fraction, self.seed)
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
                    change[t, :, b] = self._class_change(moved[b], fractions, pure)
                flat = image.reshape(bands, -1)
                seen_low, seen_high = (
                    f(flat, axis=1, where=np.isfinite(flat), initial=v)
                    for f, v in ((np.min, np.inf), (np.max, -np.inf))
                )
                low = np.where(there[:, None], lowest + change[t], np.inf).min(axis=0)
                high = np.where(there[:, None], highest + change[t], -np.inf).max(axis=0)
                limits[t, 0] = np.maximum(np.minimum(low, seen_low), self.valid_range[0])
                limits[t, 1] = np.minimum(np.maximum(high, seen_high), self.valid_range[1])
        return Prepared(common, {"change": change, "range": limits})

    def _class_change(self, moved: Float, fractions: Float, pure: list[Any]) -> Float:
        """Unmix one band's coarse change ``(pixel,)`` into that of the classes."""
        rows: list[Any] = []
        for places in pure:
            here = places[np.isfinite(moved[places])]
            if here.size:
                low, high = np.quantile(moved[here], [self.trim, 1 - self.trim])
                rows.append(here[(moved[here] >= low) & (moved[here] <= high)])
        known = np.isfinite(moved)
        usual = float(moved[known].mean()) if known.any() else 0.0
        found = np.full(len(pure), usual)
        if rows:
            used = np.concatenate(rows)
            matrix = fractions.reshape(-1, len(pure))[used].astype(np.float64)
            named = matrix.max(axis=0) > self.least_fraction
            target = moved[used] - matrix[:, ~named].sum(axis=1) * usual
            found[named] = np.linalg.lstsq(matrix[:, named], target, rcond=None)[0]
        return found.astype(np.float32)


def _read_map(given: Any, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a class map, check it, and number its classes 1, 2 and so on."""
    if isinstance(given, str | Path):
        import rasterio

        try:
            with rasterio.open(given) as file:
                given = file.read(1)
        except rasterio.errors.RasterioIOError as error:
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
    # Codes with gaps (11, 21, 95) are numbered anew: similarity depends on the number of classes.
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
            _classify(
                np.clip(image, limits[0], limits[1]).astype(np.float32),
                self.centres[day].astype(np.float32), labels,
            )  # fmt: skip
            count = len(self.centres[day])
        cells = _Cells(
            *(_cell(a, *span) for a, span in (
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


def _cell(axis: AxisMap, start: int, stop: int) -> NDArray[np.int64]:
    """Return the coarse pixel that holds the centre of every fine pixel."""
    position = axis.position(np.arange(start, stop))
    return np.clip(np.floor(position + 0.5), 0, axis.size - 1).astype(np.int64)


class _Cells:
    """The coarse pixels under a fine window: row and column of each fine pixel's, from `first`."""

    def __init__(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> None:
        self.first = int(rows[0]), int(cols[0])
        self.rows, self.cols = rows - rows[0], cols - cols[0]
        self.shape = rows.size, cols.size
        self.origin = (0, 0)
        self.inside = np.ones(self.shape, np.bool_)

    @classmethod
    def under(cls, block: Block, margin: int) -> _Cells:
        """Return those under a block with margin; pixels off the grid belong to none."""
        window, alignment = block.tile.padded(margin), block.upsample.alignment
        cells = cls(
            _cell(alignment.rows, window.y0, window.y1), _cell(alignment.cols, window.x0, window.x1)
        )
        coarse = block.upsample.coarse
        cells.origin = cells.first[0] - coarse.y0, cells.first[1] - coarse.x0
        return cells

    def cut(self, image: Float) -> Float:
        """Cut the coarse pixels out of an image over the block's coarse window."""
        row, col = self.origin
        part: Float = image[..., row : row + self.rows[-1] + 1, col : col + self.cols[-1] + 1]
        return part

    def spread(self, image: NDArray[Any]) -> NDArray[Any]:
        """Spread values of coarse pixels over their fine pixels."""
        row, col = self.origin
        spread: NDArray[Any] = image[row + self.rows[:, None], col + self.cols]
        return spread

    def count(self, labels: NDArray[np.int16], count: int) -> NDArray[np.int64]:
        """Count the pixels of every class, and last those of none, per coarse pixel."""
        counts = np.zeros((self.rows[-1] + 1, self.cols[-1] + 1, count + 1), np.int64)
        _count(labels, self.rows, self.cols, counts)
        return counts

    def fractions(self, labels: NDArray[np.int16], count: int) -> tuple[Float, NDArray[np.bool_]]:
        """Return the fractions ``(h, w, class)`` of what is clear, and where that is half."""
        counts = self.count(labels, count)
        clear = counts[..., :count].sum(axis=-1)
        shares = counts[..., :count] / np.maximum(clear, 1)[..., None]
        return shares, np.asarray(clear >= HALF * counts.sum(axis=-1))


@compiled
def _count(labels: Any, rows: Any, cols: Any, counts: Any) -> None:  # pragma: no cover
    last = counts.shape[2] - 1
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            c = labels[y, x]
            if c > OUTSIDE:
                counts[rows[y], cols[x], c if c >= 0 else last] += 1


@compiled
def _classify(image: Any, centres: Any, labels: Any) -> None:  # pragma: no cover
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


@compiled
def _homogeneity(  # noqa: C901
    labels: Any, reach: Any, count: Any, out: Any
) -> None:  # pragma: no cover
    """Return the share of the window's clear pixels that are of the centre's class."""
    rows, cols = out.shape
    wide, side = labels.shape[1], 2 * reach + 1
    tall = np.zeros((count, wide), np.int64)
    run = np.zeros(count, np.int64)
    for y in range(-side + 1, rows):
        for x in range(wide):
            c = labels[y + side - 1, x]
            if c >= 0:
                tall[c, x] += 1
            if y > 0:
                c = labels[y - 1, x]
                if c >= 0:
                    tall[c, x] -= 1
        if y < 0:
            continue
        run[:] = 0
        total = 0
        for x in range(-side + 1, cols):
            for c in range(count):
                step = tall[c, x + side - 1]
                if x > 0:
                    step -= tall[c, x - 1]
                run[c] += step
                total += step
            if x >= 0:
                c = labels[y + reach, x + reach]
                out[y, x] = run[c] / total if c >= 0 else 0.0


@compiled
def _similarity(
    image: Any, reach: Any, place: Any, number: Any, offsets: Any, distance: Any, out: Any
) -> None:  # pragma: no cover
    """Return the weight ``1 / ((1 + distance) (1 + spectral distance))`` of similar pixels."""
    for y in range(number.shape[0]):
        for x in range(number.shape[1]):
            r, c = y + reach, x + reach
            for j in range(number[y, x]):
                o = place[y, x, j]
                i, k = r + offsets[o, 0], c + offsets[o, 1]
                s = np.float32(0)
                for b in range(image.shape[0]):
                    centre = image[b, r, c]
                    s += abs(image[b, i, k] - centre) / max(centre, np.float32(DN))
                out[y, x, j] = 1 / ((1 + distance[o]) * (1 + s))


@compiled
def _distribute(
    fine: Any, labels: Any, surface: Any, same: Any, moved: Any, rest: Any, rows: Any, cols: Any,
    limits: Any, change: Any,
) -> None:  # pragma: no cover  # fmt: skip
    """Add class change and residual to the base image, within limits; give the change.

    The residual of a coarse pixel is shared out by ``E_ho H + |R| (1 - H)``: towards the surface
    where it lies on the residual's side and the surroundings are of one class, evenly elsewhere.
    """
    total = np.zeros((rest.shape[0], rest.shape[1], 2))
    number = np.zeros(rest.shape, np.int64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            c = labels[y, x]
            if c < 0:
                continue
            r = rest[rows[y], cols[x]]
            ahead = surface[y, x] - (fine[y, x] + moved[c])
            toward = abs(ahead) if ahead * r > 0 else 0.0
            h = same[y, x]
            w = toward * h + abs(r) * (1 - h) + TINY_SHARE
            change[y, x] = w
            total[rows[y], cols[x], 0] += w
            number[rows[y], cols[x]] += 1
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            if labels[y, x] < 0:
                continue
            i, j = rows[y], cols[x]
            w = change[y, x] * number[i, j] / total[i, j, 0]
            w = 1.0 if w > MOST_SHARE else w
            change[y, x] = w
            total[i, j, 1] += w
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            c = labels[y, x]
            if c < 0:
                continue
            i, j = rows[y], cols[x]
            value = (
                fine[y, x] + moved[c] + rest[i, j] * change[y, x] * number[i, j] / total[i, j, 1]
            )
            change[y, x] = min(max(value, limits[0]), limits[1]) - fine[y, x]
