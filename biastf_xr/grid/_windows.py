"""Windows that slide over pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from biastf_xr.grid._tiles import Float


def box_mean(values: Float, window: int) -> Float:
    """Average over a square window, cut at the array's edge, missing values left out.

    `values`: Shape ``(..., h, w)``; NaN is missing.
    """
    if window == 1:
        return values
    valid = np.isfinite(values)
    total = _box_sum(np.where(valid, values, np.float32(0)), window)
    count = _box_sum(valid.astype(np.float32), window)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Float = np.where(count > 0, total / count, np.float32(np.nan))
    return mean


def _box_sum(values: Float, window: int) -> Float:
    """Sum over the window by shifts: exact and independent of where the array is cut."""
    reach = window // 2
    margin = [(0, 0)] * (values.ndim - 2) + [(reach, reach)] * 2
    padded = np.pad(values, margin)
    rows, cols = values.shape[-2:]
    tall = padded[..., :rows, :].copy()
    for k in range(1, window):
        tall += padded[..., k : k + rows, :]
    wide = tall[..., :cols].copy()
    for k in range(1, window):
        wide += tall[..., k : k + cols]
    return wide
