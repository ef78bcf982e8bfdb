"""Fill the gaps of the coarse series in time.

Clouds hide part of the coarse sensor's view on most days.  A pixel without a clear observation on
a day takes the straight line between the nearest clear observations before and after it, or the
one on the only side that has any; both must lie within a limit of days.  The distance to the
nearest observation used is kept, so that a reader can tell seen from filled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube.spec import NO_COARSE_GAP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.methods.base import Float


def fill_in_time(
    values: Float, days: Any, wanted: Any, max_gap: int
) -> tuple[Float, NDArray[np.uint8]]:
    """Give the coarse images of the days wanted, gaps filled in time.

    Parameters
    ----------
    values : ndarray of float32
        Shape ``(time, band, h, w)``; NaN is missing.
    days : ndarray of datetime64[D]
        Days of `values`, ascending.
    wanted : ndarray of datetime64[D]
        Days to give, any order; they need not be among `days`.
    max_gap : int
        Largest distance in days to an observation used, at most 254.

    Returns
    -------
    ndarray of float32
        Shape ``(len(wanted), band, h, w)``; NaN where no observation is near enough.
    ndarray of uint8
        Shape ``(len(wanted), h, w)``: days to the nearest observation used, 0 where seen that
        day, 255 where there is none.
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
