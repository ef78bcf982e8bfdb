"""Fill the gaps of the coarse series in time.

Clouds hide part of the coarse sensor's view on most days.  A pixel without a clear observation on
a day takes the straight line between the nearest clear observations before and after it, or the
one on the only side that has any; both must lie within a limit of days.  The distance to the
nearest observation used is kept, so that a reader can tell seen from filled.

A method may ask for a series that is smoothed in time besides (`Smoothing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._spec import NO_COARSE_GAP
from biastf_xr.grid import box_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.grid import Float

# Side in coarse pixels of the window over which two images are compared.
ALIKE_WINDOW = 3

# What holds the slope of the fitted line back, in units of its length squared: observations on one
# side only would carry it away.
SLOPE_HOLD = 0.3


@dataclass(frozen=True)
class Smoothing:
    """How the coarse series is smoothed in time before a method sees it.

    Every image becomes a weighted straight-line fit of the clear images around it:
    ``exp(-|days| / length)`` times ``exp(-tolerance * excess)``, where the excess is by how much
    the squared difference of the two images, in units of the sensor's noise and averaged over
    bands and 3 x 3 coarse pixels, exceeds what noise alone gives.  Noise is averaged out; what
    changes abruptly is kept apart.

    The noise variance of an observation is ``noise**2 + jitter**2 * V``, where ``V`` is the
    variance among the 3 x 3 coarse pixels around it: where neighbours differ, small errors of
    position are errors of reflectance.

    `tolerance`: How fast weight is lost with the excess.
    `noise`: Standard deviation of one coarse observation of even ground, by band, reflectance.
    `jitter`: By band, what a difference of 1 among neighbours adds to it.
    """

    length: float
    tolerance: float
    noise: tuple[float, ...]
    jitter: tuple[float, ...]


def fill_in_time(
    values: Float, days: Any, wanted: Any, max_gap: int
) -> tuple[Float, NDArray[np.uint8]]:
    """Return the coarse images of the days wanted, gaps filled in time.

    `values`: Shape ``(time, band, h, w)``; NaN is missing.
    `wanted`: Days to give, any order; they need not be among `days`.
    `max_gap`: Largest distance in days to an observation used, at most 254.
    Returned: Shape ``(len(wanted), band, h, w)``; NaN where no observation is near enough.
    Returned: Shape ``(len(wanted), h, w)``: days to the nearest observation used, 0 where seen
    that day, 255 where there is none.
    """
    number = days.astype("datetime64[D]").astype(np.int64)
    target = np.asarray(wanted, "datetime64[D]").astype(np.int64)
    seen = np.isfinite(values).all(axis=1)
    count = len(number)
    if count == 0:
        shape = (target.size, *values.shape[1:])
        nothing = np.full((target.size, *values.shape[2:]), NO_COARSE_GAP, np.uint8)
        return np.full(shape, np.nan, np.float32), nothing
    index = np.arange(count)[:, None, None]
    # The latest observation up to each day of the series, the earliest from it on; -1, count: none.
    last = np.maximum.accumulate(np.where(seen, index, -1), axis=0)
    following = np.minimum.accumulate(np.where(seen, index, count)[::-1], axis=0)[::-1]
    shape = values.shape[2:]
    out = np.empty((target.size, values.shape[1], *shape), np.float32)
    gap = np.empty((target.size, *shape), np.uint8)
    none, never = np.full(shape, -1), np.full(shape, count)
    for i, day in enumerate(target):
        at = int(np.searchsorted(number, day, side="right")) - 1
        onward = int(np.searchsorted(number, day, side="left"))
        a = last[at] if at >= 0 else none
        b = following[onward] if onward < count else never
        before = np.where(a >= 0, day - number[np.maximum(a, 0)], max_gap + 1)
        after = np.where(b < count, number[np.minimum(b, count - 1)] - day, max_gap + 1)
        has_a, has_b = before <= max_gap, after <= max_gap
        span = np.maximum(before + after, 1)
        weight = np.where(has_a & has_b, before / span, np.where(has_b, 1.0, 0.0))
        weight = np.where(before == 0, 0.0, weight).astype(np.float32)
        early = np.take_along_axis(values, np.maximum(a, 0)[None, None], axis=0)[0]
        late = np.take_along_axis(values, np.minimum(b, count - 1)[None, None], axis=0)[0]
        out[i] = np.where(weight == 0, early, np.where(weight == 1, late,
                          early + weight * (late - early)))  # fmt: skip
        nearest = np.where(has_a | has_b, np.minimum(before, after), NO_COARSE_GAP)
        out[i][:, ~(has_a | has_b)] = np.nan
        gap[i] = nearest.astype(np.uint8)
    return out, gap


def days_near(days: Any, wanted: Any, reach: int) -> NDArray[np.intp]:
    """Find the days within reach of any of the days wanted, as indices."""
    apart = np.abs((days[:, None] - np.asarray(wanted, "datetime64[D]")).astype(int))
    return np.flatnonzero((apart <= reach).any(axis=1))


def images_on(
    values: Float, days: Any, wanted: Any, own: int, reach: int, smoothing: Smoothing | None
) -> tuple[Float, NDArray[np.uint8], Float]:
    """Return the coarse images of the days wanted, their gaps in days, and their support.

    `own`: Largest distance over which a gap is filled.
    `reach`: Largest distance of an image that takes part in smoothing.
    """
    images, gap = fill_in_time(values, days, wanted, own)
    if smoothing is None:
        return images, gap, support_of(gap)
    smooth, support = smooth_in_time(values, days, wanted, images, reach, smoothing)
    return smooth, gap, support


def support_of(gap: NDArray[np.uint8]) -> Float:
    """Return what images filled in time are worth: 1 / (1 + days of the gap), or 0 for none."""
    worth = 1.0 / (1.0 + gap.astype(np.float32))
    support: Float = np.where(gap == NO_COARSE_GAP, 0.0, worth).astype(np.float32)
    return support


def smooth_in_time(
    values: Float, days: Any, wanted: Any, filled: Float, reach: int, smoothing: Smoothing
) -> tuple[Float, Float]:
    """Return the coarse images of the days wanted as fits to the clear images around them.

    A weighted straight line in time through the observations within reach, read off on the day;
    the weights are those of `Smoothing`.  Where the day itself was not
    seen, nothing is compared and only time counts.

    `values`: Shape ``(time, band, h, w)``; NaN is missing.
    `filled`: Shape ``(len(wanted), band, h, w)``, as from `fill_in_time`: NaN stays NaN.
    """
    number = np.asarray(days, "datetime64[D]").astype(np.int64)
    out, support = np.empty_like(filled), np.zeros(filled[:, 0].shape, np.float32)
    hold = np.float32(SLOPE_HOLD * smoothing.length**2)
    for i, day in enumerate(np.asarray(wanted, "datetime64[D]").astype(np.int64)):
        near = np.flatnonzero(np.abs(number - day) <= reach)
        apart = (number[near] - day).astype(np.float32)
        images = values[near]
        seen = np.asarray(np.isfinite(images).all(axis=1))
        images = np.where(seen[:, None], images, np.float32(0))
        weight = np.exp(-np.abs(apart) / np.float32(smoothing.length))[:, None, None] * seen
        own = np.flatnonzero(apart == 0)
        if own.size:
            weight = weight * _likeness(images, seen, int(own[0]), smoothing)
        t = apart[:, None, None]
        s0, s1 = weight.sum(axis=0), (weight * t).sum(axis=0)
        s2 = (weight * t**2).sum(axis=0) + hold
        level, moment = (np.einsum("nyx,nbyx->byx", w, images) for w in (weight, weight * t))
        with np.errstate(invalid="ignore", divide="ignore"):
            fit = (s2 * level - s1 * moment) / (s0 * s2 - s1**2)
        out[i] = np.where(np.isfinite(filled[i]), fit, np.float32(np.nan))
        support[i] = s0
    return out, support


def variety(image: Float) -> Float:
    """Return the variance among a pixel and its eight neighbours; NaN is left out."""
    centred = image - np.float32(0.2)  # keeps the difference of squares exact enough
    mean = box_mean(centred, ALIKE_WINDOW)
    spread: Float = np.maximum(box_mean(centred**2, ALIKE_WINDOW) - mean**2, 0)
    return spread


def _likeness(images: Float, seen: NDArray[np.bool_], own: int, smoothing: Smoothing) -> Float:
    """Weight images by how far they differ from one of them beyond noise; 1 where it is missing."""
    even, jitter = (
        np.asarray(v, np.float32)[:, None, None] for v in (smoothing.noise, smoothing.jitter)
    )
    day = np.where(seen[own], images[own], np.float32(np.nan))
    variance = even**2 + jitter**2 * np.nan_to_num(variety(day), nan=0.0)
    squares = (images - images[own]) ** 2 / variance
    excess = squares.mean(axis=1) / 2  # the difference of two observations has twice the variance
    excess[~(seen & seen[own])] = np.nan
    excess = np.nan_to_num(box_mean(excess, ALIKE_WINDOW), nan=0.0)
    alike = np.exp(-np.float32(smoothing.tolerance) * np.maximum(excess - 1, 0))
    likeness: Float = np.where(seen[own], alike, np.float32(1))
    return likeness
