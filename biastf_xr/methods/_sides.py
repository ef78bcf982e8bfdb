"""Predictions from two sides: what each adds, how they are weighted and merged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from biastf_xr.cube._spec import STATUS
from biastf_xr.errors import MethodError
from biastf_xr.grid import box_mean
from biastf_xr.methods._values import Float, Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.grid import Tile, Upsampling
    from biastf_xr.methods._values import Base, Block

Weights = Literal["change", "time", "equal"]

# Added to the coarse change in the inverse-change weights: a tenth of a digital number of
# reflectance x 10000, far below any sensor's noise.
CHANGE_FLOOR = 1e-5


def add_change(block: Block, base: Base, upsampling: Upsampling) -> Float:
    """Add the interpolated coarse change since a base date to its fine image.

    Returned: Shape ``(time, band, y, x)``, without halo; NaN where one of the images is
    missing.
    """
    change = block.upsample(block.coarse - base.coarse, upsampling)[..., *block.core]
    return base.fine[..., *block.fine_core] + change


def two_sided_weight(block: Block, weights: Weights, window: int, upsampling: Upsampling) -> Float:
    """Return the weight of the earlier side on the fine grid, without halo.

    `window`: Side in coarse pixels of the window of "change".
    """
    if weights == "equal":
        return np.full((1, 1, 1, 1), 0.5, np.float32)
    before, after = block.sides
    if weights == "time":
        return time_weight(before.day, after.day, block.days)[:, None, None, None]
    weight = change_weight(block.coarse - before.coarse, block.coarse - after.coarse, window)
    return block.upsample(weight, upsampling)[..., *block.core]


def time_weight(before: np.datetime64, after: np.datetime64, days: Any) -> Float:
    """Return the weight of the earlier side by distance in time: 1 at `before`, 0 at `after`."""
    span = (after - before).astype(int)
    weight: Float = ((after - days).astype(int) / span).astype(np.float32)
    return weight


def change_weight(change_before: Float, change_after: Float, window: int) -> Float:
    """Return the weight of the earlier side by inverse coarse change.

    ``w = (1/|dC_before|) / (1/|dC_before| + 1/|dC_after|)``, with the absolute change averaged
    over a window of coarse pixels.  The weighting of BiaSTF's two sides is not published; this
    reading follows STFDCNN, SPSTFM and ESTARFM, which the paper cites.

    `change_before`, `change_after`: Shape ``(..., h, w)``: target minus base on the coarse grid;
    NaN is missing.
    `window`: Side of the window in coarse pixels, odd.
    Returned: Same shape; 0.5 where both are zero, NaN where one is missing.
    """
    a = box_mean(np.abs(change_before), window) + np.float32(CHANGE_FLOOR)
    b = box_mean(np.abs(change_after), window) + np.float32(CHANGE_FLOOR)
    weight: Float = (b / (a + b)).astype(np.float32, copy=False)
    return weight


def combine(before: Float | None, after: Float | None, weight: Float | None) -> Prediction:
    """Merge the two one-sided predictions: the weighted sum where both are, else the one that is.

    A pixel is predicted in all bands or in none.

    `before`, `after`: Shape ``(time, band, y, x)``; NaN where that side has no prediction; None
    where there is no such side.
    `weight`: Weight of the earlier side, broadcastable; None where a side is None.
    """
    if before is None or after is None:
        one = before if before is not None else after
        if one is None:
            raise MethodError("there is no side to combine.")
        name = "fused_before_only" if before is not None else "fused_after_only"
        return _whole(one.copy(), STATUS[name])  # a side may be remembered for other blocks
    if weight is None:
        raise MethodError("two sides are combined without weights.")
    result = before - after
    result *= weight
    result += after
    both = np.asarray(np.isfinite(result).all(axis=1))
    if both.all():
        return Prediction(result, np.full(both.shape, STATUS["fused_two_sided"], np.uint8))
    has_before = np.asarray(np.isfinite(before).all(axis=1))
    has_after = np.asarray(np.isfinite(after).all(axis=1))
    status = np.select(
        [both, has_before, has_after],
        [STATUS["fused_two_sided"], STATUS["fused_before_only"], STATUS["fused_after_only"]],
        STATUS["unwritten"],
    ).astype(np.uint8)
    result = np.where(both[:, None], result, np.where(has_before[:, None], before, after))
    result[np.broadcast_to((status == STATUS["unwritten"])[:, None], result.shape)] = np.nan
    return Prediction(result, status)


def from_both(values: Float, fallback: NDArray[np.bool_] | None = None) -> Prediction:
    """Return what a method made from both base dates at once.

    `values`: Shape ``(time, band, y, x)``; NaN where it could not be made; a pixel is predicted
    in all bands or in none.
    `fallback`: Shape ``(time, y, x)``: where a band was made by the method's fallback.
    """
    made: Any = STATUS["fused_two_sided"]
    if fallback is not None:
        made = np.where(fallback, STATUS["fused_fallback"], made)
    return _whole(values, made)


def _whole(values: Float, made: Any) -> Prediction:
    """Keep the pixels that are predicted in all bands, with their status."""
    good = np.asarray(np.isfinite(values).all(axis=1))
    status = np.where(good, made, STATUS["unwritten"]).astype(np.uint8)
    if not good.all():
        values = np.where(good[:, None], values, np.float32(np.nan))
    return Prediction(values, status)


def inside_grid(window: Tile, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels of a window, which may reach outside, lie on a grid of this shape."""
    rows, cols = np.arange(window.y0, window.y1), np.arange(window.x0, window.x1)
    inside: NDArray[np.bool_] = np.logical_and.outer(
        (rows >= 0) & (rows < shape[0]), (cols >= 0) & (cols < shape[1])
    )
    return inside
