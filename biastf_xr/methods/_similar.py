"""Similar pixels: what STARFM, ESTARFM, FSDAF and Fit-FC share.

A pixel borrows from the pixels of a window around it that look like it on the base dates.  The
search depends neither on the target date nor on the band that is predicted, so it is done once per
bracket.  Kernels stream over the offsets of the window, near ones first, along runs of pixels that
stay in the cache; they hold no lock of the interpreter and use one thread, since tiles run side by
side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from biastf_xr.errors import MethodError
from biastf_xr.methods._compiled import compiled
from biastf_xr.methods._sides import two_sided_weight
from biastf_xr.methods.base import Base, Float, Method, Prepared, TwoSided

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Tile, Upsampling
    from biastf_xr.methods._sides import Weights
    from biastf_xr.methods.base import Block, SceneView

WindowUnit = Literal["fine", "coarse"]
UNITS: tuple[WindowUnit, ...] = get_args(WindowUnit)

# Pixels of a run, and how many of them are looked at together for one that improves its list.
RUN, GROUP = 256, 8

# A tenth of a thousandth: one digital number of reflectance x 10000, the step of most archives.
DN = 1e-4

# Tests against a threshold give way by this much: digital numbers that are equal must compare as
# equal after they have become 32-bit reflectance.
SLACK = 2e-7


@dataclass(frozen=True)
class Similar:
    """The most similar pixels of every pixel.

    `place`: Shape ``(y, x, count)``: places in `offsets`, the most similar first.
    `number`: Shape ``(y, x)``: how many there are; the rest of `place` means nothing.
    `offsets`: Shape ``(n, 2)``: rows and columns to the pixel.
    """

    place: NDArray[np.uint16]
    number: NDArray[np.uint8]
    offsets: NDArray[np.int32]


@lru_cache(maxsize=32)
def window_offsets(window: int) -> NDArray[np.int32]:
    """List the pixels of a square window, near ones first."""
    reach = window // 2
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    order = np.lexsort((-dx, -dy, dy * dy + dx * dx))
    return np.stack([dy[order], dx[order]], axis=1).astype(np.int32)


@lru_cache(maxsize=32)
def window_distances(window: int) -> NDArray[np.float64]:
    """Return the distance of the pixels of a window from its centre."""
    distance: NDArray[np.float64] = np.hypot(*window_offsets(window).T.astype(np.float64))
    return distance


@lru_cache(maxsize=32)
def row_order(window: int) -> NDArray[np.intp]:
    """Return the order in which the pixels of a window lie row by row."""
    return np.lexsort(window_offsets(window).T[::-1])


def window_reach(window: int, unit: WindowUnit, pair: CubePair, name: str) -> int:
    """Return the fine pixels that a window reaches from its centre, on the cubes of a pair."""
    side = window if unit == "fine" else 2 * round(window * pair.alignment.ratio / 2) + 1
    rows, cols = pair.alignment.shape
    if side > min(rows, cols):
        counted = "" if unit == "fine" else f" ({window} coarse pixels)"
        raise MethodError(
            f"{name}: the window is {side} x {side} fine pixels{counted}, the scene only "
            f"{rows} x {cols}. Choose an odd `window` of at most {min(rows, cols)} fine pixels."
        )
    return side // 2


class Windowed(Method):
    """A method that seeks pixels in a window of so many fine or coarse pixels."""

    window: int
    window_unit: WindowUnit
    reach: int

    @property
    def halo(self) -> int:
        """Return the halo of the interpolated coarse images: half a window."""
        return self.reach

    @property
    def fine_halo(self) -> int:
        """Return the halo of the base images: half a window."""
        return self.reach

    def bind(self, pair: CubePair) -> Self:
        """Size the window; see `Method.bind`."""
        reach = window_reach(self.window, self.window_unit, pair, self.name)
        return replace(self, reach=reach)  # type: ignore[type-var]


class WindowMethod(Windowed, TwoSided):
    """A method with a window whose two sides are weighted by the options of these names."""

    weights: Weights
    weight_window: int
    upsampling: Upsampling

    def weight(self, block: Block) -> Float:
        """Weight the two sides; see `TwoSided.weight`."""
        return two_sided_weight(block, self.weights, self.weight_window, self.upsampling)


def similarity_threshold(
    prepared: Prepared, classes: float, threshold: float | None
) -> NDArray[np.float64]:
    """Return the difference below which two pixels of a base image are similar.

    `prepared`: With the "std" of the base image over the whole scene.
    `classes`: Number of classes the scene is thought to have.
    Returned: Shape ``(band,)``, reflectance: ``2 std / classes``. In a band without any
    variation every pixel is similar.
    """
    std = prepared.scene["std"]
    found = 2 * std / classes if threshold is None else np.full(std.shape, threshold)
    return np.where(std > 0, found, np.inf)


def most_similar(
    image: Float,
    window: int,
    count: int,
    *,
    scale: Any,
    threshold: Any = np.inf,
    squared: bool = False,
    relative: bool = False,
    floor: float = 0.0,
    nearness: Any = 1.0,
) -> Similar:
    """Find the pixels of a window that look most like its centre.

    Images are compared in whole digital numbers, 1e-4 of reflectance.  The less similar the
    larger ``(floor + sum_p scale_p |image_p(i) - image_p(c)|) nearness(i)``; of equal ones the
    nearer counts as more similar.  About ``6 P window**2`` operations per pixel for P planes, and
    some ``count ln(window**2 / count)`` insertions into its list.

    `image`: Shape ``(P, y + window - 1, x + window - 1)``: planes to compare, with half a
    window of margin; NaN is missing and never similar.
    `threshold`: Only pixels whose difference is smaller in every plane are similar.
    `relative`: Divide each difference by the centre's value, at least one digital number.
    `nearness`: Factor of each pixel of the window, in the order of `window_offsets`.
    """
    reach, offsets = window // 2, window_offsets(window)
    planes, rows, cols = image.shape
    shape = rows - 2 * reach, cols - 2 * reach
    place, number = np.zeros((*shape, count), np.uint16), np.zeros(shape, np.uint8)
    # Whole digital numbers: what was equally similar in the archive is so here, to the last bit.
    whole = np.rint(np.asarray(image, np.float32) * np.float32(1 / DN))
    scales, thresholds = (
        np.broadcast_to(np.asarray(v, np.float64), (planes,)) for v in (scale, threshold)
    )
    unit = scales.max()  # a common factor changes no order, and whole numbers stay whole
    floor = floor / (unit * (1.0 if relative else DN**2 if squared else DN))
    scales, thresholds = (scales / unit).astype(np.float32), (thresholds / DN).astype(np.float32)
    near = np.broadcast_to(np.asarray(nearness, np.float32), (len(offsets),)).copy()
    limited = relative or bool(np.isfinite(thresholds).any())
    _most_similar(
        whole, reach, offsets, thresholds, scales, relative,
        squared, limited, np.float32(floor), near, place, number,
    )  # fmt: skip
    return Similar(place, number, offsets)


@compiled
def _most_similar(  # noqa: C901, PLR0912, PLR0915
    image: Any, reach: Any, offsets: Any, threshold: Any, scale: Any, relative: Any, squared: Any,
    limited: Any, floor: Any, nearness: Any, place: Any, number: Any,
) -> None:  # pragma: no cover  # fmt: skip
    planes, count = image.shape[0], place.shape[2]
    rows, cols = number.shape
    inf, zero, one = np.float32(np.inf), np.float32(0), np.float32(1)
    keys = np.empty((RUN, count), np.float32)
    worst, key = np.empty(RUN, np.float32), np.empty(RUN, np.float32)
    better = np.empty(RUN, np.int32)
    centre, factor = np.empty((planes, RUN), np.float32), np.empty((planes, RUN), np.float32)
    for x0 in range(0, cols, RUN):
        n = min(RUN, cols - x0)
        for y in range(rows):
            key[:], worst[:], keys[:] = inf, inf, inf
            for p in range(planes):
                line = image[p, y + reach, x0 + reach : x0 + reach + n]
                for x in range(n):
                    centre[p, x] = line[x]
                    factor[p, x] = scale[p] / max(line[x], one) if relative else scale[p]
            places, numbers = place[y, x0 : x0 + n], number[y, x0 : x0 + n]
            for o in range(offsets.shape[0]):
                first = x0 + reach + offsets[o, 1]
                near = nearness[o]
                r = y + reach + offsets[o, 0]
                for x in range(n):
                    key[x] = floor
                # Two planes at a time: the keys are loaded and stored half as often.
                for p in range(0, planes, 2):
                    q = min(p + 1, planes - 1)
                    last = q == p
                    line, other = image[p, r, first : first + n], image[q, r, first : first + n]
                    c, e = centre[p], centre[q]
                    second = zero if last else one
                    s, t = scale[p], scale[q] * second
                    if not limited:
                        if squared:
                            for x in range(n):
                                d, g = line[x] - c[x], other[x] - e[x]
                                key[x] += d * d * s + g * g * t
                        else:
                            for x in range(n):
                                d, g = abs(line[x] - c[x]), abs(other[x] - e[x])
                                key[x] += d * s + g * t
                        continue
                    limit, bound = threshold[p], threshold[q]
                    if relative:
                        s_c, t_c = factor[p], factor[q]
                        for x in range(n):
                            d, g = abs(line[x] - c[x]), abs(other[x] - e[x])
                            step = d * s_c[x] + g * t_c[x] * second
                            step = step if d < limit else inf
                            key[x] += step if g < bound else inf
                    elif squared:
                        for x in range(n):
                            d, g = abs(line[x] - c[x]), abs(other[x] - e[x])
                            step = d * d * s + g * g * t
                            step = step if d < limit else inf
                            key[x] += step if g < bound else inf
                    else:
                        for x in range(n):
                            d, g = abs(line[x] - c[x]), abs(other[x] - e[x])
                            step = d * s + g * t
                            step = step if d < limit else inf
                            key[x] += step if g < bound else inf
                found = np.int32(0)
                for x in range(RUN):
                    key[x] = key[x] * near
                    improves = np.int32(1) if key[x] < worst[x] else np.int32(0)
                    better[x] = improves
                    found |= improves
                if found == 0:
                    continue
                for g in range(0, n, GROUP):
                    found = np.int32(0)
                    for x in range(GROUP):
                        found |= better[g + x]
                    if found == 0:
                        continue
                    for x in range(g, min(g + GROUP, n)):
                        if better[x] == 0:
                            continue
                        mine, theirs = keys[x], places[x]
                        k = min(np.int64(numbers[x]), count - 1)
                        if numbers[x] < count:
                            numbers[x] += 1
                        while k > 0 and mine[k - 1] > key[x]:
                            mine[k] = mine[k - 1]
                            theirs[k] = theirs[k - 1]
                            k -= 1
                        mine[k] = key[x]
                        theirs[k] = o
                        if numbers[x] == count:
                            worst[x] = mine[count - 1]


def gather(image: Float, reach: int, found: Similar, weights: Float, out: Float) -> None:
    """Sum an image over the similar pixels of every pixel, weighted; about two operations each.

    `image`: Shape ``(y + 2 reach, x + 2 reach)``.
    `out`: Shape ``(y, x)``, written; 0 where there is no similar pixel.
    """
    image = np.ascontiguousarray(image, np.float32)
    _gather(image, reach, found.place, found.number, found.offsets, weights, out)


@compiled
def _gather(
    image: Any, reach: Any, place: Any, number: Any, offsets: Any, weights: Any, out: Any
) -> None:  # pragma: no cover
    rows, cols = number.shape
    steps = offsets[:, 0] * image.shape[1] + offsets[:, 1]
    flat = image.reshape(-1)
    for y in range(rows):
        for x in range(cols):
            here = (y + reach) * image.shape[1] + x + reach
            total = np.float32(0)
            for j in range(number[y, x]):
                total += weights[y, x, j] * flat[here + steps[place[y, x, j]]]
            out[y, x] = total


def share_weights(
    found: Similar, raw: Float, usable: NDArray[np.bool_], reach: int, out: Float
) -> None:
    """Normalise the weights of the usable similar pixels to a sum of 1.

    `raw`: Weights before, shape ``(y, x, count)``; or by place in the window, shape ``(n,)``.
    `usable`: Shape ``(y + 2 reach, x + 2 reach)``.
    `out`: Shape ``(y, x, count)``, written; 0 where nothing is usable.
    """
    by_place = raw.ndim == 1
    weights = raw[None, None] if by_place else raw
    _share(found.place, found.number, found.offsets, weights, by_place, usable, reach, out)


@compiled
def _share(
    place: Any, number: Any, offsets: Any, raw: Any, by_place: Any, usable: Any, reach: Any,
    out: Any,
) -> None:  # pragma: no cover  # fmt: skip
    rows, cols = number.shape
    for y in range(rows):
        for x in range(cols):
            total = np.float32(0)
            for j in range(number[y, x]):
                o = place[y, x, j]
                there = usable[y + reach + offsets[o, 0], x + reach + offsets[o, 1]]
                own = raw[0, 0, o] if by_place else raw[y, x, j]
                w = own if there else np.float32(0)
                out[y, x, j] = w
                total += w
            for j in range(number[y, x]):
                out[y, x, j] = out[y, x, j] / total if total > 0 else np.float32(0)


def window_mean(values: NDArray[Any], seen: NDArray[np.bool_], reach: int) -> NDArray[np.float64]:
    """Average an image over a square window, of the pixels that are seen.

    Sums run in double precision: where they start makes no difference that reflectance can show.

    `values`: Shape ``(y + 2 reach, x + 2 reach)``.
    `seen`: Same shape: which pixels count.
    Returned: Shape ``(y, x)``; NaN where no pixel of the window is seen.
    """
    out = np.empty([n - 2 * reach for n in values.shape])
    _window_mean(values, seen, reach, out)
    return out


@compiled
def _window_mean(values: Any, seen: Any, reach: Any, out: Any) -> None:  # pragma: no cover
    rows, cols = out.shape
    wide, side = values.shape[1], 2 * reach + 1
    total, count = np.zeros(wide), np.zeros(wide)
    for y in range(-side + 1, rows):
        below = values[y + side - 1], seen[y + side - 1]
        for x in range(wide):
            inside = below[1][x]
            total[x] += np.float64(below[0][x]) if inside else 0.0
            count[x] += 1.0 if inside else 0.0
        if y > 0:
            above = values[y - 1], seen[y - 1]
            for x in range(wide):
                inside = above[1][x]
                total[x] -= np.float64(above[0][x]) if inside else 0.0
                count[x] -= 1.0 if inside else 0.0
        if y < 0:
            continue
        run, number = 0.0, 0.0
        for x in range(side - 1):
            run += total[x]
            number += count[x]
        for x in range(cols):
            run += total[x + side - 1]
            number += count[x + side - 1]
            out[y, x] = run / number if number > 0 else np.nan
            run -= total[x]
            number -= count[x]


def known_of(base: Base) -> Prepared:
    """Return what `scene_deviation` found of a base date."""
    if base.prepared is None:
        raise MethodError(
            f"base date {base.day} comes without the statistics of its scene; hand the method's "
            "`prepare` to `fuse_unit`."
        )
    return base.prepared


def check_range(method: Any) -> None:
    """Check the option `valid_range` of a method."""
    limits = method.valid_range
    if len(limits) != 2 or not limits[0] < limits[1]:
        raise MethodError(
            f"{method.name}: valid_range is {limits!r}; expected the smallest and the largest "
            "reflectance."
        )


def scene_deviation(scene: SceneView) -> dict[np.datetime64, Prepared]:
    """Return the standard deviation of every base image over the whole scene, in one pass.

    Pixels with a missing band count in none.

    Returned: By base date: "std" and "mean", shape ``(band,)``, in reflectance; the former over
    the population, not a sample; "pixels", shape ``(1,)``, their number.
    """
    moments = scene.fold(_moments_of_tile, add_moments)
    return {day: Prepared(deviation_of(m)) for day, m in moments.items()}


def deviation_of(moments: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Turn moments into a standard deviation.

    `moments`: Shape ``(3, band)``: pixels, mean, sum of squared differences from it.
    """
    pixels = np.maximum(moments[0], 1)
    return {"std": np.sqrt(moments[2] / pixels), "mean": moments[1], "pixels": moments[0, :1]}


def moments_of(image: Float) -> NDArray[np.float64]:
    """Return what a standard deviation is made of.

    `image`: Shape ``(band, y, x)``; pixels with a missing band count in none.
    Returned: Shape ``(3, band)``: pixels, mean, sum of squared differences from it.
    """
    good = np.isfinite(image).all(axis=0)
    values = image[:, good].astype(np.float64)
    count = np.full(len(image), float(values.shape[1]))
    if not values.size:
        return np.stack([count, count * 0, count * 0])
    mean = values.mean(axis=1)
    return np.stack([count, mean, ((values - mean[:, None]) ** 2).sum(axis=1)])


def add_moments(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Join the moments of two parts of a scene (Chan, Golub and LeVeque 1979)."""
    count = a[0] + b[0]
    step, share = b[1] - a[1], b[0] / np.maximum(count, 1)
    return np.stack([count, a[1] + step * share, a[2] + b[2] + step**2 * a[0] * share])


def _moments_of_tile(_: np.datetime64, image: Float, __: Tile) -> NDArray[np.float64]:
    return moments_of(image)
