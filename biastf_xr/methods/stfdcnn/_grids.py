"""The middle resolution: pixels of several fine ones, anchored to the whole fine grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from biastf_xr.grid import Tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.methods.base import Float


Scalar = TypeVar("Scalar", bound="np.generic")


def covering(fine: Tile, factor: int, margin: int = 0) -> Tile:
    """Find the pixels of the middle resolution that touch a fine window.

    `factor`: Fine pixels, a side, in one of them.
    Returned: Window in pixels of the middle resolution; it may reach outside the grid.
    """
    return Tile(
        fine.y0 // factor - margin,
        -(-fine.y1 // factor) + margin,
        fine.x0 // factor - margin,
        -(-fine.x1 // factor) + margin,
    )


def fine_of(window: Tile, factor: int) -> Tile:
    """Return the fine pixels of a window of the middle resolution.

    `window`: Window in pixels of the middle resolution.
    `factor`: Fine pixels, a side, in one of them.
    """
    return Tile(*(factor * n for n in (window.y0, window.y1, window.x0, window.x1)))


def cut(values: NDArray[Scalar], held: Tile, wanted: Tile) -> NDArray[Scalar]:
    """Cut a window out of an array of the window around it."""
    return values[..., *wanted.within(held)]


def downsample(values: Float, factor: int) -> Float:
    """Average fine pixels over those of the middle resolution, missing ones left out.

    `values`: Shape ``(..., factor * h, factor * w)``, from the first fine pixel of one; NaN is
    missing.
    `factor`: Fine pixels, a side, in one.
    Returned: Shape ``(..., h, w)``; NaN where more than half of the fine pixels are missing.
    The order of every sum is the same wherever the window lies.
    """
    valid = np.isfinite(values)
    whole = bool(valid.all())
    total = _sum(values if whole else np.where(valid, values, np.float32(0)), factor)
    if whole:
        return total / np.float32(factor**2)
    count = _sum(valid.astype(np.float32), factor)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(2 * count >= factor**2, total / count, np.float32(np.nan))


def _sum(values: Float, factor: int) -> Float:
    rows = values[..., ::factor, :].copy()
    for k in range(1, factor):
        rows += values[..., k::factor, :]
    cols = rows[..., ::factor].copy()
    for k in range(1, factor):
        cols += rows[..., k::factor]
    return cols


def upsample(values: Float, held: Tile, wanted: Tile, factor: int) -> Float:
    """Interpolate from the middle resolution to fine pixels, bilinear between pixel centres.

    The paper's interpolation is not verified; this is a reading.

    `held`: Window in pixels of the middle resolution, one more on every side than touch
    `wanted`.
    `factor`: Fine pixels, a side, in one.
    """
    tall = _lerp(values, np.arange(wanted.y0, wanted.y1), held.y0, factor, -2)
    return _lerp(tall, np.arange(wanted.x0, wanted.x1), held.x0, factor, -1)


def _lerp(values: Float, pixels: NDArray[np.int64], first: int, factor: int, axis: int) -> Float:
    position = (pixels + 0.5) / factor - 0.5
    low = np.floor(position).astype(np.int64)
    weight = (position - low).astype(np.float32).reshape((-1, 1) if axis == -2 else (-1,))
    a, b = (values.take(low - first + n, axis=axis) for n in (0, 1))
    made: Float = a + weight * (b - a)
    return made
