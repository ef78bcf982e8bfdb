"""ESTARFM: similar pixels of two pairs, and how fine change follows coarse (Zhu et al. 2010)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from biastf_xr.errors import MethodError
from biastf_xr.methods._compiled import compiled
from biastf_xr.methods._options import bound, option
from biastf_xr.methods._shared import shared
from biastf_xr.methods._sides import from_both
from biastf_xr.methods._similar import (
    SLACK,
    Windowed,
    WindowUnit,
    check_range,
    gather,
    known_of,
    most_similar,
    row_order,
    scene_deviation,
    similarity_threshold,
    window_distances,
    window_mean,
    window_offsets,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Tile, Upsampling
    from biastf_xr.methods.base import Block, Float, Prediction, Prepared, SceneView

_CONVERSIONS = {"means": 1, "deviation": 2, "none": 0}

# Keeps weights finite; the published programs add as much to products of digital numbers.
_TINY_WEIGHT, _TINY_CHANGE = 1e-7, 1e-14

# Pixels of a run of the full form: what a row of the window needs stays in the cache.
_RUN = 256

# Target dates that go through the window together in the full form.
_DATES = 4


@dataclass(frozen=True, kw_only=True)
class ESTARFM(Windowed):
    """Transfer the weighted coarse change of similar pixels, converted to the fine scale.

    The pixels ``i`` of a window that look like its centre ``c`` in all bands on both base dates
    get the weight ``1 / ((1 - R_i) d_i)``: ``R`` is the correlation of fine with coarse reflectance
    over bands and base dates, ``d = 1 + distance / reach``.  Each base date ``k`` predicts
    ``F_k(c) + V sum_i W_i (C(i) - C_k(i))``; the conversion coefficient ``V`` of a band is the
    slope of the fine on the coarse values of the similar pixels.  The two predictions are weighted
    inversely to the coarse change ``|mean C - C_k|`` of the window.

    Two base dates are needed: pixels without a clear pair stay missing.  The search, the weights
    and V depend only on the base dates, and are made once for all bands and target dates.

    Cost: for B bands the search visits ``window**2`` pixels with ``12 B`` operations each, once per
    pair of base dates.  With `similar` pixels kept, each band and target date then costs
    ``2 similar`` operations; without that limit ``2 window**2``.

    Attributes
    ----------
    classes : float
        A pixel is similar if it differs by less than ``2 std / classes`` of the base image, the
        standard deviation over the whole scene, in every band and on both base dates.
    least_similar : int
        With this many similar pixels or fewer, the fallback `few` is made.
    few : {"window", "base"}
        What is added to the base image there: the mean change of the window, or nothing.
    flat_correlation : float
        R where it is not defined because the values do not vary.
    conversion : {"means", "deviation", "none"}
        V is used where the coarse means of the similar pixels on the two base dates differ by at
        least `least_change`; where the standard deviation of their coarse values exceeds it; or
        nowhere, which leaves V at 1.
    least_change : float
        Reflectance, see `conversion`.
    significance : float
        Largest probability that the slope is due to chance (F test).
    most_conversion : float
        Largest V; where the slope is larger, or not positive, V is 1.
    reach : int
        Fine pixels from the centre to the window's edge; `bind` sets it.

    Notes
    -----
    Reflectance outside `valid_range` is replaced by the weighted mean of the similar pixels on the
    base dates; `status_flag` is 8 there and where the fallback `few` was made.  V amplifies the
    noise of the coarse change where the slope is large: try ``conversion="none"`` as well.

    References
    ----------
    Zhu X., Chen J., Gao F., Chen X., Masek J.G., Remote Sens. Environ. 114, 2010, 2610-2623,
    doi 10.1016/j.rse.2010.05.032.  The paper estimates V per coarse pixel; as in the author's
    programs there is one per window here.
    """

    name: str = "estarfm"
    window: int = shared("window")
    window_unit: WindowUnit = shared("window_unit")
    similar: int = shared("similar", least=0)
    classes: float = option(4.0, above=0)
    threshold: float | None = shared("threshold")
    least_similar: int = option(5, rare=True)
    few: Literal["window", "base"] = option(
        "window", choices=("window", "base"), preset="imagefusion"
    )
    flat_correlation: float = option(0.5, least=-1, most=1, preset="imagefusion")
    distance: float | None = shared("distance")
    conversion: Literal["means", "deviation", "none"] = option("means", choices=tuple(_CONVERSIONS))
    least_change: float = option(0.02, rare=True)
    significance: float = option(0.05, above=0, rare=True)
    most_conversion: float = option(5.0, above=0, rare=True)
    valid_range: tuple[float, float] = shared("valid_range")
    upsampling: Upsampling = shared("upsampling")
    reach: int = bound(0)

    needs_two_sides = True
    presets: ClassVar = {
        "imagefusion": {
            "similar": 0, "flat_correlation": 1.0, "distance": 25.5, "conversion": "deviation",
            "least_change": 0.002 * 2**0.5, "few": "base",
        },
        "author": {"similar": 0},
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self)
        if 0 < self.similar <= self.least_similar:
            raise MethodError(
                f"{self.name}: similar is {self.similar!r}; expected more than least_similar "
                f"({self.least_similar}) and at most 255 pixels, or 0 for all."
            )

    def bind(self, pair: CubePair) -> Self:
        """Size the window; see `Method.bind`."""
        if len(pair.fine_days) < 2:
            raise MethodError(
                f"{self.name} predicts between two fine scenes, and the fine cube has "
                f"{len(pair.fine_days)}. Ingest another scene, or choose a method that works from "
                "one: starfm, fsdaf, fitfc, direct."
            )
        return super().bind(pair)

    def prepare(self, scene: SceneView) -> dict[np.datetime64, Prepared]:
        """Take the standard deviation of every base image; see `Method.prepare`."""
        return scene_deviation(scene)

    def fuse(self, block: Block) -> Prediction:
        """Predict; see `Method.fuse`.

        Returned: NaN where the centre is missing in any image; flagged as a fallback where a band
        has too few similar pixels or leaves the valid range.
        """
        before, after = block.sides
        fine = np.stack([before.fine, after.fine])
        then = np.stack([block.upsample(b.coarse, self.upsampling) for b in (before, after)])
        limits = np.concatenate([self._limits(known_of(base)) for base in block.sides])
        known = np.asarray((np.isfinite(fine) & np.isfinite(then)).all(axis=(0, 1)))
        count = block.days.size
        shape = count, len(block.bands), *block.tile.shape
        values, fallback = np.empty(shape, np.float32), np.zeros((count, *shape[2:]), np.bool_)
        for seen, dates in self._by_view(block, known):
            image = np.where(seen, fine, np.float32(np.nan))
            self._bracket(block, image, then, limits, seen, dates, values, fallback)
        return from_both(values, fallback)

    def _limits(self, prepared: Prepared) -> NDArray[np.float64]:
        """Return the thresholds of similarity; the program takes the deviation of a sample."""
        pixels = np.maximum(prepared.scene["pixels"], 2)
        sample = np.sqrt(pixels / (pixels - 1)) if self.threshold is None else 1.0
        return similarity_threshold(prepared, self.classes, self.threshold) * sample

    def _by_view(
        self, block: Block, known: NDArray[np.bool_]
    ) -> list[tuple[NDArray[np.bool_], list[int]]]:
        """Group the target dates by the pixels that are there on all three dates."""
        groups: dict[bytes, tuple[NDArray[np.bool_], list[int]]] = {}
        for t, there in enumerate(block.seen(self.upsampling)):
            seen = known & there
            groups.setdefault(np.packbits(seen).tobytes(), (seen, []))[1].append(t)
        return list(groups.values())

    def _bracket(
        self, block: Block, fine: Float, then: Float, limits: Any, seen: NDArray[np.bool_],
        dates: list[int], values: Float, fallback: NDArray[np.bool_],
    ) -> None:  # fmt: skip
        """Predict some dates that share their pixels, into `values` and `fallback`."""
        reach, valid = self.reach, np.array(self.valid_range)
        unlike = np.empty(fine.shape[2:], np.float32)
        _decorrelate(fine, then, np.float32(self.flat_correlation), unlike)
        means = np.stack([[window_mean(c, seen, reach) for c in image] for image in then])
        search = (_Some if self.similar else _All)(self, fine, then, unlike, limits, block.tile)
        for first in range(0, len(dates), search.dates):
            some = dates[first : first + search.dates]
            now = np.stack([block.upsample(block.coarse[t], self.upsampling) for t in some])
            moved = search.means(now)
            for n, t in enumerate(some):
                for b in range(fine.shape[1]):
                    _finish(
                        fine[:, b], search.base[:, :, b], search.slope[b], moved[n, b],
                        means[:, b], window_mean(now[n, b], seen, reach), search.number, seen,
                        reach, self.least_similar, self.few == "window", valid, values[t, b],
                        fallback[t],
                    )  # fmt: skip


class _Search:
    """What the base dates of a tile give, for all bands and target dates.

    `number` of similar pixels ``(y, x)``; `slope`, the conversion coefficient ``(band, y, x)``;
    `base`, the weighted means of the similar pixels on the base dates, coarse and fine,
    ``(pair, 2, band, y, x)``.
    """

    dates = 1

    def __init__(
        self, method: ESTARFM, fine: Float, then: Float, unlike: Float, limits: Float, tile: Tile
    ) -> None:
        self.fine, self.then, self.unlike, self.limits = fine, then, unlike, limits
        self.reach, self.side, bands = method.reach, 2 * method.reach + 1, fine.shape[1]
        scale = method.distance or max(self.reach, 1)
        self.near = (1 + window_distances(self.side) / scale).astype(np.float32)
        self.test = np.array(
            [_CONVERSIONS[method.conversion], method.least_change, method.most_conversion]
        )
        self.table = _f_table(method.significance, 2 * (method.similar or self.side**2))
        self.number = np.zeros(tile.shape, np.int32)
        self.slope = np.ones((bands, *tile.shape), np.float32)
        self.base = np.empty((2, 2, bands, *tile.shape), np.float32)
        self.begin(method)

    def begin(self, method: ESTARFM) -> None:
        """Look at the base dates."""
        raise NotImplementedError

    def means(self, now: Float) -> Float:
        """Return the weighted means of images over the similar pixels."""
        raise NotImplementedError


class _Some(_Search):
    """The most similar pixels, remembered."""

    def begin(self, method: ESTARFM) -> None:
        """Find them, and weigh them."""
        planes = self.fine.reshape(-1, *self.fine.shape[2:])
        self.found = found = most_similar(
            planes, self.side, method.similar, scale=1 / self.limits, threshold=self.limits
        )
        self.weights = np.zeros(found.place.shape, np.float32)
        self.number[:] = found.number
        _weigh_some(
            self.fine, self.then, self.unlike, self.reach, found.place, found.number,
            found.offsets, self.near, self.test, self.table, self.slope, self.base, self.weights,
        )  # fmt: skip

    def means(self, now: Float) -> Float:
        """Return the weighted means of images over the similar pixels."""
        out = np.empty((*now.shape[:2], *self.number.shape), np.float32)
        for t in range(len(now)):
            for b in range(now.shape[1]):
                gather(now[t, b], self.reach, self.found, self.weights, out[t, b])
        return out


class _All(_Search):
    """Every pixel that passes the thresholds; the window is visited again for every few dates."""

    dates = _DATES

    def begin(self, method: ESTARFM) -> None:
        """Prepare the window."""
        order = row_order(self.side)
        self.offsets, self.near = window_offsets(self.side)[order], self.near[order]
        self.limits = (self.limits + SLACK).astype(np.float32)
        self.fresh = True

    def means(self, now: Float) -> Float:
        """Return the weighted means of images over the similar pixels; the first time all else."""
        bands = now.shape[1]
        planes = self.fine.reshape(-1, *self.fine.shape[2:])
        images, pair = now.reshape(-1, *now.shape[2:]), np.zeros((4, 0, 0, 0), np.float32)
        if self.fresh:
            bases = np.nan_to_num(np.stack([self.then, self.fine], axis=1))
            bases = bases.reshape(4, bands, *now.shape[2:])
            images = np.concatenate([bases.reshape(-1, *now.shape[2:]), images])
            pair = bases if self.test[0] else pair
        out = np.empty((len(images), *self.number.shape), np.float32)
        _weigh_all(
            planes, np.nan_to_num(self.unlike), pair, np.nan_to_num(images), self.reach,
            self.offsets, self.near, self.limits, self.test, self.table, self.number, self.slope,
            out,
        )  # fmt: skip
        if self.fresh:
            self.base[:] = out[: 4 * bands].reshape(self.base.shape)
            out, self.fresh = out[4 * bands :], False
        means: Float = out.reshape(*now.shape[:2], *self.number.shape)
        return means


@lru_cache(maxsize=8)
def _f_table(significance: float, most: int) -> Float:
    """Tabulate the F statistic with one degree of freedom above which a slope is significant."""
    from scipy.stats import f

    points = np.arange(most + 1)
    table: Float = np.where(points > 2, f.isf(significance, 1, np.maximum(points - 2, 1)), np.inf)
    return table


@compiled
def _decorrelate(fine: Any, then: Any, flat: Any, out: Any) -> None:  # pragma: no cover
    """Return ``1 - R`` of every pixel: fine with coarse over bands and base dates."""
    bands = fine.shape[1]
    n = 2.0 * bands
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            sf, sc, ff, cc, fc = 0.0, 0.0, 0.0, 0.0, 0.0
            if bands == 1:  # two points are always on a line
                for k in range(2):
                    f, c = np.float64(fine[k, 0, y, x]), np.float64(then[k, 0, y, x])
                    sf += abs(f - c) / max(f + c, 1e-12) / 2
                out[y, x] = min(max(sf, 0.0), 2.0)
                continue
            for k in range(2):
                for b in range(bands):
                    sf += fine[k, b, y, x]
                    sc += then[k, b, y, x]
            sf /= n
            sc /= n
            for k in range(2):
                for b in range(bands):
                    f, c = fine[k, b, y, x] - sf, then[k, b, y, x] - sc
                    ff += f * f
                    cc += c * c
                    fc += f * c
            # What is left of constant values by rounding is no variation.
            if ff > n * 1e-14 and cc > n * 1e-14:
                out[y, x] = max(1.0 - fc / np.sqrt(ff * cc), 0.0)
            else:
                out[y, x] = np.float32(1) - flat


@compiled
def _conversion(
    n: Any, s1: Any, s3: Any, sy: Any, sxx: Any, sxy: Any, syy: Any, test: Any, table: Any
) -> Any:  # pragma: no cover
    """Return V from sums over n similar pixels and both dates; x coarse, y fine."""
    if test[0] == 0 or n < 2:
        return 1.0
    points = 2 * n
    sx = s1 + s3
    xx, xy, yy = sxx - sx * sx / points, sxy - sx * sy / points, syy - sy * sy / points
    if test[0] == 1:
        enough = abs(s1 - s3) / n >= test[1] - SLACK
    else:
        enough = xx > 0 and np.sqrt(xx / (points - 1)) > test[1]
    if not enough or xx <= 0:
        return 1.0
    slope = xy / xx
    rest = max(yy - slope * xy, 1e-30)
    significant = slope * xy * (points - 2) / rest >= table[points]
    return slope if significant and 0 < slope <= test[2] else 1.0


@compiled
def _weigh_some(
    fine: Any, then: Any, unlike: Any, reach: Any, place: Any, number: Any, offsets: Any, near: Any,
    test: Any, table: Any, slope: Any, base: Any, weights: Any,
) -> None:  # pragma: no cover  # fmt: skip
    """Return weights, V and the weighted base images of every pixel from its similar pixels."""
    bands = fine.shape[1]
    rows, cols = number.shape
    for y in range(rows):
        for x in range(cols):
            n = np.int64(number[y, x])
            r, c = y + reach, x + reach
            total = 0.0
            for j in range(n):
                o = place[y, x, j]
                u = unlike[r + offsets[o, 0], c + offsets[o, 1]]
                w = 1.0 / (u * near[o] + _TINY_WEIGHT)
                weights[y, x, j] = w
                total += w
            for j in range(n):
                weights[y, x, j] /= total
            for b in range(bands):
                c0, f0 = then[0, b, r, c], fine[0, b, r, c]
                s1, s3, sy, sxx, sxy, syy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
                for k in range(2):
                    wc, wf = 0.0, 0.0
                    for j in range(n):
                        o = place[y, x, j]
                        i, m = r + offsets[o, 0], c + offsets[o, 1]
                        value, target = then[k, b, i, m], fine[k, b, i, m]
                        w = weights[y, x, j]
                        wc += w * value
                        wf += w * target
                        p, q = np.float64(value - c0), np.float64(target - f0)
                        if k == 0:
                            s1 += p
                        else:
                            s3 += p
                        sy += q
                        sxx += p * p
                        sxy += p * q
                        syy += q * q
                    base[k, 0, b, y, x], base[k, 1, b, y, x] = wc, wf
                slope[b, y, x] = _conversion(n, s1, s3, sy, sxx, sxy, syy, test, table)


@compiled
def _weigh_all(  # noqa: C901, PLR0912
    fine: Any, unlike: Any, pair: Any, images: Any, reach: Any, offsets: Any, near: Any,
    limits: Any, test: Any, table: Any, number: Any, slope: Any, means: Any,
) -> None:  # pragma: no cover  # fmt: skip
    """Return V, and weighted means of images, over every pixel that passes the thresholds.

    `fine` are the planes to compare.  `pair`, coarse and fine images of the base dates in turn
    ``(4, band, Y, X)`` or without bands where V is not asked for, and `images` are without NaN.
    """
    planes, count, bands = len(fine), len(images), pair.shape[1]
    rows, cols = number.shape
    zero, one, tiny = np.float32(0), np.float32(1), np.float32(_TINY_WEIGHT)
    alike, w = np.empty(_RUN, np.float32), np.empty(_RUN, np.float32)
    counts, norm = np.empty(_RUN, np.float32), np.empty(_RUN, np.float32)
    sums = np.empty((bands, 6, _RUN), np.float32)
    total = np.empty((count, _RUN), np.float32)
    for x0 in range(0, cols, _RUN):
        n = min(_RUN, cols - x0)
        here = x0 + reach
        for y in range(rows):
            row = y + reach
            counts[:], norm[:], sums[:], total[:] = zero, zero, zero, zero
            for o in range(offsets.shape[0]):
                r, c = row + offsets[o, 0], here + offsets[o, 1]
                distance = near[o]
                for p in range(planes):
                    centre, line = fine[p, row, here : here + n], fine[p, r, c : c + n]
                    limit = limits[p]
                    if p == 0:
                        for x in range(n):
                            alike[x] = one if abs(line[x] - centre[x]) < limit else zero
                    else:
                        for x in range(n):
                            same = one if abs(line[x] - centre[x]) < limit else zero
                            alike[x] *= same
                line = unlike[r, c : c + n]
                for x in range(n):
                    w[x] = alike[x] / (line[x] * distance + tiny)
                for x in range(n):
                    counts[x] += alike[x]
                for x in range(n):
                    norm[x] += w[x]
                for b in range(bands):
                    # Above the centre's value, so that sums are of small numbers.
                    c0, f0 = pair[0, b, row, here : here + n], pair[1, b, row, here : here + n]
                    c1, c3 = pair[0, b, r, c : c + n], pair[2, b, r, c : c + n]
                    f1, f3 = pair[1, b, r, c : c + n], pair[3, b, r, c : c + n]
                    s1, s3, sy = sums[b, 0], sums[b, 1], sums[b, 2]
                    sxx, sxy, syy = sums[b, 3], sums[b, 4], sums[b, 5]
                    for x in range(n):
                        m = alike[x]
                        p, q = m * (c1[x] - c0[x]), m * (c3[x] - c0[x])
                        s1[x] += p
                        s3[x] += q
                        sxx[x] += p * p + q * q
                    for x in range(n):
                        m = alike[x]
                        p, q = c1[x] - c0[x], c3[x] - c0[x]
                        f, g = m * (f1[x] - f0[x]), m * (f3[x] - f0[x])
                        sy[x] += f + g
                        sxy[x] += p * f + q * g
                        syy[x] += f * f + g * g
                for d in range(count):
                    line, sum_d = images[d, r, c : c + n], total[d]
                    for x in range(n):
                        sum_d[x] += w[x] * line[x]
            for x in range(n):
                number[y, x0 + x] = np.int32(counts[x])
                for b in range(bands):
                    s = sums[b]
                    slope[b, y, x0 + x] = _conversion(
                        np.int64(counts[x]), np.float64(s[0, x]), np.float64(s[1, x]),
                        np.float64(s[2, x]), np.float64(s[3, x]), np.float64(s[4, x]),
                        np.float64(s[5, x]), test, table,
                    )  # fmt: skip
                for d in range(count):
                    means[d, y, x0 + x] = total[d, x] / norm[x]


@compiled
def _finish(
    fine: Any, base: Any, slope: Any, moved: Any, means: Any, mean: Any, number: Any, seen: Any,
    reach: Any, least: Any, window: Any, valid: Any, out: Any, fallback: Any,
) -> None:  # pragma: no cover  # fmt: skip
    """Weight the two base dates of a band and date, with the fallbacks."""
    rows, cols = number.shape
    for y in range(rows):
        for x in range(cols):
            r, c = y + reach, x + reach
            if not seen[r, c]:
                out[y, x] = np.float32(np.nan)
                continue
            away_1 = abs(mean[y, x] - means[0, y, x]) + _TINY_CHANGE
            away_3 = abs(mean[y, x] - means[1, y, x]) + _TINY_CHANGE
            share = away_3 / (away_1 + away_3)
            f1, f3 = np.float64(fine[0, r, c]), np.float64(fine[1, r, c])
            if number[y, x] <= least:
                fallback[y, x] = True
                if window:
                    f1 += mean[y, x] - means[0, y, x]
                    f3 += mean[y, x] - means[1, y, x]
                out[y, x] = share * f1 + (1 - share) * f3
                continue
            f1 += slope[y, x] * (moved[y, x] - base[0, 0, y, x])
            f3 += slope[y, x] * (moved[y, x] - base[1, 0, y, x])
            value = share * f1 + (1 - share) * f3
            if value <= valid[0] or value >= valid[1]:
                fallback[y, x] = True
                value = share * base[0, 1, y, x] + (1 - share) * base[1, 1, y, x]
            out[y, x] = value
