"""The change since the base dates at the coarse scale: position in time, mixture, the rest.

``C`` are coarse images, ``H`` base images as the coarse sensor would see them, both on the coarse
grid; everything works on the whole grid and, with a margin, on a window of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.grid import AxisMap, Float, Tile, aggregate, box_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from biastf_xr.grid import Alignment
    from biastf_xr.methods.plus.settings import PlusRule

# A mixture of fewer coarse pixels than this many for each of its numbers is not estimated.
PIXELS_EACH = 3


@dataclass(frozen=True)
class Sensors:
    """How the two sensors compare, by band; estimated once, in the fit.

    Attributes
    ----------
    response : ndarray of float32
        What the coarse sensor makes of a fine change of 1.
    spread : ndarray of float32
        Standard deviation of coarse change minus response times fine change, reflectance.
    """

    response: Float
    spread: Float


@dataclass(frozen=True)
class Change:
    """The change of one target date since the base dates, at the coarse scale.

    Attributes
    ----------
    position : ndarray of float32
        Shape ``(h, w)``: 0 at the earlier base date, 1 at the later; 0 with one date.
    anomaly : ndarray of float32
        Shape ``(band, h, w)``: what the coarse image departs from that position, in the fine
        sensor's reflectance; NaN where missing.
    """

    position: Float
    anomaly: Float


def as_seen(fine: Float, window: Tile, alignment: Alignment, under: Tile, blur: float) -> Float:
    """Give fine images as the coarse sensor would see them.

    The mean over the coarse pixel, then a Gaussian blur.

    Parameters
    ----------
    fine : ndarray of float32
        Shape ``(band, Y, X)``; NaN where masked or outside the grid.
    window : Tile
        Where it lies on the fine grid.
    alignment : Alignment
        How the grids lie.
    under : Tile
        Coarse pixels to give; those that the window covers in part are of that part.
    blur : float
        Standard deviation in coarse pixels, at most 1.

    Returns
    -------
    ndarray of float32
        Shape ``(band, h, w)``; NaN where less than half of a pixel is valid.
    """
    axes = (
        (alignment.rows, window.y0, under.y0, under.shape[0]),
        (alignment.cols, window.x0, under.x0, under.shape[1]),
    )
    rows, cols = (
        AxisMap(axis.scale, axis.shift + first * axis.scale - start, size)
        for axis, first, start, size in axes
    )
    return blurred(aggregate(fine, rows, cols), blur)


def blurred(image: Float, sigma: float) -> Float:
    """Blur with the three central taps of a Gaussian, missing values left out.

    Parameters
    ----------
    image : ndarray of float32
        Shape ``(..., h, w)``; NaN stays NaN.
    sigma : float
        In pixels; 0 for none.

    Returns
    -------
    ndarray of float32
        Same shape.
    """
    if sigma == 0:
        return image
    side = np.float32(np.exp(-0.5 / sigma**2))
    valid = np.isfinite(image)
    total, weight = np.where(valid, image, np.float32(0)), valid.astype(np.float32)
    total, weight = (_spread(_spread(v, side, -2), side, -1) for v in (total, weight))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Float = np.where(valid, total / weight, np.float32(np.nan))
    return mean


def _spread(values: Float, side: np.float32, axis: int) -> Float:
    out = values.copy()
    near, far = [slice(None)] * values.ndim, [slice(None)] * values.ndim
    near[axis], far[axis] = slice(1, None), slice(None, -1)
    out[tuple(near)] += side * values[tuple(far)]
    out[tuple(far)] += side * values[tuple(near)]
    return out


def change_of(
    target: Float, bases: Sequence[Float], share: float, sensors: Sensors, rule: PlusRule
) -> Change:
    """Compare a coarse target image with those of the base dates.

    Between two dates every pixel has a position: the one at which the line from one coarse image
    to the other comes nearest to the target's in all bands together, held to the share of time by
    `PlusRule.position`.  A field that was mown between them is at 0 until then and at 1 after.

    Parameters
    ----------
    target : ndarray of float32
        Shape ``(band, h, w)``; NaN is missing.
    bases : sequence of ndarray of float32
        Coarse images of the one or two base dates, earlier first.
    share : float
        Share of the time between the two dates that has passed.
    sensors : Sensors
        Response and spread.
    rule : PlusRule
        The options.

    Returns
    -------
    Change
        Position and anomaly.
    """
    before = bases[0]
    step, moved = bases[-1] - before, target - before
    position = np.zeros(target.shape[1:], np.float32)
    if len(bases) == 2:
        position[:] = share
        if rule.position:
            scale = 1 / np.maximum(sensors.spread, np.float32(1e-3))[:, None, None]
            along, own = (step * scale * moved * scale).mean(0), ((step * scale) ** 2).mean(0)
            along, own = (box_mean(v, rule.position_window) for v in (along, own))
            held = (along + np.float32(rule.position * share)) / (own + np.float32(rule.position))
            found = np.isfinite(held)
            position[found] = np.clip(held, 0, 1)[found]
        moved = moved - position * step
    return Change(position, (moved / sensors.response[:, None, None]).astype(np.float32))


def mixture_of(anomaly: Float, seen: Float, ridge: float, *, explain: bool = True) -> Float:
    """Explain an anomaly by the base images, per band, over all pixels where both are there.

    Least squares with intercept and light shrinkage: what explains the coarse image explains the
    fine one too, because seeing coarsely is linear.

    Parameters
    ----------
    anomaly : ndarray of float32
        Shape ``(band, h, w)``.
    seen : ndarray of float32
        Shape ``(P, h, w)``: all bands of all base dates as the coarse sensor would see them.
    ridge : float
        Shrinkage, as a share of the variance of the standardised bands.
    explain : bool
        Whether to; otherwise only the mean is given.

    Returns
    -------
    ndarray of float32
        Shape ``(band, P + 2)``: coefficients; their constant, which makes the mean of what they
        explain zero; the mean of the anomaly.
    """
    there = np.isfinite(anomaly).all(axis=0) & np.isfinite(seen).all(axis=0)
    y, x = anomaly[:, there].astype(np.float64), seen[:, there].astype(np.float64)
    out = np.zeros((len(anomaly), len(seen) + 2), np.float32)
    if not there.any():
        return out
    mean = y.mean(axis=1, keepdims=True)
    out[:, -1] = mean[:, 0]
    count = x.shape[1]
    if not explain or count < PIXELS_EACH * (len(seen) + 1):
        return out
    centre, scale = x.mean(axis=1, keepdims=True), x.std(axis=1, keepdims=True)
    x = (x - centre) / np.maximum(scale, 1e-6)
    normal = x @ x.T / count + ridge * np.eye(len(x))
    weights = np.linalg.solve(normal, x @ (y - mean).T / count) / np.maximum(scale, 1e-6)
    out[:, :-2], out[:, -2] = weights.T, -(weights.T @ centre)[:, 0]
    return out


def left_over(anomaly: Float, seen: Float, mixture: Float) -> Float:
    """Give what a mixture leaves of an anomaly.

    Parameters
    ----------
    anomaly : ndarray of float32
        Shape ``(band, h, w)``.
    seen : ndarray of float32
        Shape ``(P, h, w)``; where a band is missing the mixture explains nothing.
    mixture : ndarray of float32
        As from `mixture_of`.

    Returns
    -------
    ndarray of float32
        Shape of the anomaly; NaN where that is missing.
    """
    explained = np.tensordot(mixture[:, :-2], seen, 1) + mixture[:, -2, None, None]
    explained = np.where(np.isfinite(explained), explained, np.float32(0))
    rest: Float = anomaly - explained - mixture[:, -1, None, None]
    return rest


def gain(support: NDArray[np.float32] | float, noise: float) -> Float:
    """Give how much of what was seen is believed.

    Parameters
    ----------
    support : float or ndarray of float32
        How many observations it is made of.
    noise : float
        Noise over signal of one.

    Returns
    -------
    ndarray of float32
        ``n / (n + noise)``, the gain of a Wiener filter; 1 without noise.
    """
    if noise == 0:
        return np.ones_like(np.asarray(support, np.float32))
    n = np.asarray(support, np.float32)
    share: Float = n / (n + np.float32(noise))
    return share
