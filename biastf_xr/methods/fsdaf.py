"""FSDAF: class changes, a smooth surface, and residuals shared out (Zhu et al. 2016)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from biastf_xr.errors import MethodError
from biastf_xr.methods._coarse_cells import NONE, OUTSIDE, Cells
from biastf_xr.methods._compiled import compiled
from biastf_xr.methods._options import bound, option
from biastf_xr.methods._scene_classes import MOST_CLASSES, classify, prepare, read_class_map
from biastf_xr.methods._shared import shared
from biastf_xr.methods._sides import Weights, inside_grid
from biastf_xr.methods._similar import (
    DN,
    WindowMethod,
    WindowUnit,
    check_range,
    gather,
    known_of,
    most_similar,
    share_weights,
    similarity_threshold,
    window_distances,
)
from biastf_xr.methods._surface import spline_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Upsampling
    from biastf_xr.methods.base import Base, Block, Float, Prepared, SceneView

# A weight of a residual beyond this many times the mean is set to the mean; what keeps weights
# finite is 1e-6 of a digital number, as published.
_MOST_SHARE, _TINY_SHARE = 10.0, 1e-6 * DN


@dataclass(frozen=True, kw_only=True)
class FSDAF(WindowMethod):
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
    classes : int
        Number of k-means classes; published programs try 4 to 6 and start from 4.
    class_map : ndarray of int or str, optional
        Classes of your own instead: shape ``(y, x)`` of the whole fine grid, any positive codes, 0
        for none; or the path of a raster file with one band on that grid.
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
    reach, cell : int
        Half a window and a coarse pixel in fine pixels; `bind` sets them.

    Notes
    -----
    A coarse pixel is made of the fine pixels whose centres it contains.  Coarse pixels with a cloud
    or across the edge of the scene are left out of the unmixing, unless there are fewer others than
    classes; where less than half of one is clear its residual is 0.  Of coarse pixels equally pure
    some are drawn from all over the scene.  A class without a pure coarse pixel takes the mean
    coarse change of the scene.  A result outside `valid_range` becomes ``F_k + C - C_k`` within it.

    References
    ----------
    Zhu X., Helmer E.H., Gao F., Liu D., Chen J., Lefsky M.A., Remote Sens. Environ. 172, 2016,
    165-177, doi 10.1016/j.rse.2015.11.016.  Classes by k-means instead of ISODATA.
    """

    name: str = "fsdaf"
    window: int = shared("window", default=41)
    window_unit: WindowUnit = shared("window_unit")
    similar: int = shared("similar")
    classes: int = option(4, least=1, most=MOST_CLASSES)
    class_map: Any = field(default=None, repr=False, compare=False)
    seed: int = shared("seed")
    pure: int = option(100, least=1, rare=True)
    least_fraction: float = option(0.01, rare=True)
    trim: float = option(0.1, least=0, below=0.5, rare=True)
    clean: float = option(1e-4, least=0, below=0.5, rare=True)
    spline_neighbours: int = option(7, odd=True)
    valid_range: tuple[float, float] = shared("valid_range")
    weights: Weights = shared("weights")
    weight_window: int = shared("weight_window")
    upsampling: Upsampling = shared("upsampling")
    reach: int = bound(0)
    cell: int = bound(0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self)

    @property
    def fine_halo(self) -> int:
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
        sized = super().bind(pair)
        classes = (
            None if self.class_map is None else read_class_map(self.class_map, alignment.shape)
        )
        return replace(sized, cell=int(np.ceil(alignment.ratio)), class_map=classes)

    def prepare(self, scene: SceneView) -> dict[np.datetime64, Prepared]:
        """Classify every base image, and unmix the class changes of its targets."""
        return prepare(self, scene)

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
        cells = Cells.under(block, self.halo)
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
        described = super().describe()
        if self.class_map is not None:
            text = self.class_map
            if not isinstance(text, str | Path):
                values = np.ascontiguousarray(self.class_map, np.int16)
                text = hashlib.blake2b(values.tobytes(), digest_size=8).hexdigest()
            described["class_map"] = str(text)
        return described

    def _labels(self, block: Block, clean: Float, centres: Float) -> NDArray[np.int16]:
        """Return the class of every pixel of the base image with halo."""
        window, shape = block.tile.padded(self.fine_halo), block.upsample.alignment.shape
        inside = inside_grid(window, shape)
        labels = np.where(inside, np.int16(NONE), np.int16(OUTSIDE))
        if self.class_map is None:
            classify(clean, centres, labels)
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
            w = toward * h + abs(r) * (1 - h) + _TINY_SHARE
            change[y, x] = w
            total[rows[y], cols[x], 0] += w
            number[rows[y], cols[x]] += 1
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            if labels[y, x] < 0:
                continue
            i, j = rows[y], cols[x]
            w = change[y, x] * number[i, j] / total[i, j, 0]
            w = 1.0 if w > _MOST_SHARE else w
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
