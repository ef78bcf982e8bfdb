"""The change since the base dates at the coarse scale: position in time, mixture, the rest.

``C`` are coarse images, ``H`` base images as the coarse sensor would see them, both on the coarse
grid; everything works on the whole grid and, with a margin, on a window of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.grid import Float, Tile, aggregate, area_sums, box_mean, mean_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biastf_xr.grid import Alignment
    from biastf_xr.methods.plus._card import PlusOptions, Sensors

# A mixture of fewer coarse pixels than this many for each of its numbers is not estimated.
PIXELS_EACH = 3


@dataclass(frozen=True)
class Change:
    """The change of one target date since the base dates, at the coarse scale.

    `position`: Shape ``(h, w)``: 0 at the earlier base date, 1 at the later; 0 with one date.
    `anomaly`: Shape ``(band, h, w)``: what the coarse image departs from that position, in the
    fine sensor's reflectance; NaN where missing.
    """

    position: Float
    anomaly: Float


def as_seen(fine: Float, window: Tile, alignment: Alignment, under: Tile, blur: float) -> Float:
    """Return fine images as the coarse sensor would see them.

    The mean over the coarse pixel, then a Gaussian blur.

    `fine`: Shape ``(band, Y, X)``; NaN where masked or outside the grid.
    `under`: Coarse pixels to give; those that the window covers in part are of that part.
    `blur`: Standard deviation in coarse pixels, at most 1.
    Returned: Shape ``(band, h, w)``; NaN where less than half of a pixel is valid.
    """
    rows = alignment.rows.within(window.y0, under.y0, under.shape[0])
    cols = alignment.cols.within(window.x0, under.x0, under.shape[1])
    return blurred(aggregate(fine, rows, cols), blur)


Part = tuple[Tile, Any, Any]


def look(_: np.datetime64, image: Float, tile: Tile, *, alignment: Alignment) -> list[Part]:
    """Sum a tile over coarse pixels."""
    under = alignment.coarse_tile(tile)
    rows = alignment.rows.within(tile.y0, under.y0, under.shape[0])
    cols = alignment.cols.within(tile.x0, under.x0, under.shape[1])
    return [(under, *area_sums(image, rows, cols))]


def whole(parts: list[Part], covered: Any, blur: float) -> Float:
    """Join sums over tiles into an image as the coarse sensor would see it.

    `covered`: Area of every coarse pixel that the fine grid covers.
    `blur`: Standard deviation of the footprint in coarse pixels.
    """
    shape = (len(parts[0][1]), *covered.shape)
    total, weight = np.zeros(shape), np.zeros(shape)
    for under, sums, areas in parts:
        rows, cols = under.slices
        total[:, rows, cols] += sums
        weight[:, rows, cols] += areas
    return blurred(mean_of(total, weight, covered), blur)


def blurred(image: Float, sigma: float) -> Float:
    """Blur with the three central taps of a Gaussian, missing values left out.

    `image`: Shape ``(..., h, w)``; NaN stays NaN.
    `sigma`: In pixels; 0 for none.
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
    target: Float, bases: Sequence[Float], share: float, sensors: Sensors, rule: PlusOptions
) -> Change:
    """Compare a coarse target image with those of the base dates.

    Between two dates every pixel has a position: the one at which the line from one coarse image
    to the other comes nearest to the target's in all bands together, held to the share of time by
    `PlusOptions.position`.  A field that was mown between them is at 0 until then and at 1 after.

    `target`: Shape ``(band, h, w)``; NaN is missing.
    `bases`: Coarse images of the one or two base dates, earlier first.
    `share`: Share of the time between the two dates that has passed.
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


@dataclass(frozen=True)
class Mixture:
    """What of an anomaly the base images explain.

    `weights`: Shape ``(band, P)``: coefficients of all bands of all base images.
    `constant`: Shape ``(band,)``: makes the mean of what they explain zero.
    `mean`: Shape ``(band,)``: mean of the anomaly.
    `energy`: Shape ``(3,)``: mean squares, over bands, of the mean, of what is explained and of
    the rest.
    """

    weights: Float
    constant: Float
    mean: Float
    energy: Float

    def packed(self) -> Float:
        """Return all of it as one array, shape ``(band, P + 5)``; see `unpack`."""
        energy = np.broadcast_to(self.energy, (len(self.mean), 3))
        columns = [self.weights, self.constant[:, None], self.mean[:, None], energy]
        return np.concatenate(columns, axis=1).astype(np.float32)

    @classmethod
    def unpack(cls, packed: Float) -> Mixture:
        """Take a mixture out of an array."""
        return cls(packed[:, :-5], packed[:, -5], packed[:, -4], packed[0, -3:])


def mixture_of(anomaly: Float, seen: Float, ridge: float, *, explain: bool = True) -> Mixture:
    """Explain an anomaly by the base images, per band, over all pixels where both are there.

    Least squares with intercept and light shrinkage: what explains the coarse image explains the
    fine one too, because seeing coarsely is linear.

    `seen`: Shape ``(P, h, w)``: all bands of all base dates as the coarse sensor would see
    them.
    `ridge`: Shrinkage, as a share of the variance of the standardised bands.
    """
    bands, count = len(anomaly), len(seen)
    there = np.isfinite(anomaly).all(axis=0) & np.isfinite(seen).all(axis=0)
    y, x = anomaly[:, there].astype(np.float64), seen[:, there].astype(np.float64)
    weights, constant = np.zeros((bands, count)), np.zeros(bands)
    pixels = x.shape[1]
    mean = y.mean(axis=1) if pixels else np.zeros(bands)
    if explain and pixels >= PIXELS_EACH * (count + 1):
        centre, scale = x.mean(axis=1, keepdims=True), x.std(axis=1, keepdims=True)
        scale = np.maximum(scale, 1e-6)
        z = (x - centre) / scale
        normal = z @ z.T / pixels + ridge * np.eye(count)
        weights = (np.linalg.solve(normal, z @ (y - mean[:, None]).T / pixels) / scale).T
        constant = -(weights @ centre)[:, 0]
    explained = weights @ x + constant[:, None]
    rest = y - mean[:, None] - explained
    energy = [(mean**2).mean(), *((v**2).mean() if pixels else 0.0 for v in (explained, rest))]
    return Mixture(*(np.asarray(v, np.float32) for v in (weights, constant, mean, energy)))


def left_over(anomaly: Float, seen: Float, mixture: Mixture) -> Float:
    """Return what a mixture leaves of an anomaly.

    `seen`: Shape ``(P, h, w)``; where a band is missing the mixture explains nothing.
    """
    explained = np.tensordot(mixture.weights, seen, 1) + mixture.constant[:, None, None]
    explained = np.where(np.isfinite(explained), explained, np.float32(0))
    rest: Float = anomaly - explained - mixture.mean[:, None, None]
    return rest


def gain(support: Float | float, energy: float, noise: float) -> Float:
    """Return how much of what was seen is believed, as a Wiener filter does.

    `energy`: Its mean square, reflectance squared.
    `noise`: Standard deviation of the noise of one observation, reflectance.
    """
    power = np.asarray(support, np.float32) * np.float32(energy)
    if noise == 0:
        return np.ones_like(power)
    share: Float = power / (power + np.float32(noise**2))
    return share


def to_interpolate(
    change: Change, seen: Float, mixture: Mixture, support: Float, noise: float
) -> Float:
    """Return what of a change is interpolated: the position, and the rest as far as believed.

    Returned: Shape ``(1 + band, h, w)``.
    """
    rest = left_over(change.anomaly, seen, mixture)
    rest *= gain(support, mixture.energy[2], noise)
    return np.concatenate([change.position[None], rest])


def spread_out(
    rest: Float, fine: list[Float], mixture: Mixture, support: float, rule: PlusOptions
) -> Float:
    """Bring an anomaly to the fine grid: what the mixture explains, its mean, and the rest.

    `rest`: Shape ``(band, y, x)``: what the mixture leaves, interpolated.
    `fine`: Base images, shape ``(band, y, x)``.
    `support`: Observations behind the coarse image, as a mean over the scene.
    """
    believed = gain(support, mixture.energy[1], rule.noise_mixture)
    level = mixture.mean * gain(support, mixture.energy[0], rule.noise_mean)
    constant = mixture.constant * believed + level
    added: Float = rest + constant[:, None, None].astype(np.float32)
    if rule.mixture:
        weights = (mixture.weights * believed).astype(np.float32)
        pixels = np.concatenate(fine).reshape(weights.shape[1], -1)
        added += (weights @ pixels).reshape(added.shape)
    return added


def mean_support(support: Float) -> float:
    """Return the mean number of observations where there are any."""
    return float(support[support > 0].mean()) if (support > 0).any() else 0.0
