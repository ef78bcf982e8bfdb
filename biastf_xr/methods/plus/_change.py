"""The change since the base dates: what of it the coarse images tell, and where inside a pixel.

``C`` are coarse images, ``H`` base images as the coarse sensor would see them, both on the coarse
grid; everything works on the whole grid and, with a margin, on a window of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.grid import Float, Tile, aggregate, area_sums, box_mean, mean_of
from biastf_xr.methods._sides import change_weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from biastf_xr.grid import Alignment, Upsampler

# What a prediction adds to interpolation in time, in the order of `parts_of`.
PARTS = ("mean", "explained", "rest", "mixture", "slope", "position")

# Shrinkage of the mixture, as a share of the variance of the standardised base bands.
RIDGE = 0.03

# A mixture of fewer coarse pixels than this many for each of its numbers is not estimated.
PIXELS_EACH = 3

# Side in coarse pixels of the windows of slopes, of position and of gaps; and what holds a slope
# to 0, as a share of the variance of the base image over the scene.
WINDOW, SLOPE_HOLD = 3, 0.2


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


def anomaly_of(target: Float, bases: Sequence[Float], share: float, response: Any) -> Float:
    """Return what a coarse image departs from interpolation in time, as the fine sensor sees it.

    `target`: Shape ``(band, h, w)``; NaN is missing.
    `bases`: Coarse images of the one or two base dates, earlier first.
    `share`: Share of the time between the two dates that has passed; 0 with one.
    `response`: By band, what the coarse sensor makes of a fine change of 1.
    """
    before, after = bases[0], bases[-1]
    moved = target - before if len(bases) == 1 else target - before - share * (after - before)
    anomaly: Float = (moved / np.asarray(response)[:, None, None]).astype(np.float32)
    return anomaly


def noise_in(noise: Any, response: Any, share: float | None, support: float) -> NDArray[np.float64]:
    """Return the variance of noise in an anomaly, by band.

    `noise`: Standard deviation of the noise of one coarse observation, by band.
    `share`: As of `anomaly_of`; None with one base date.
    `support`: Observations behind a coarse image, as a mean over the scene.
    """
    images = 2.0 if share is None else 1 + share**2 + (1 - share) ** 2
    variance = (np.asarray(noise, np.float64) / np.asarray(response, np.float64)) ** 2
    return variance * (images / max(support, 0.1))


@dataclass(frozen=True)
class Explained:
    """What of an anomaly the base images explain, and how much of the rest is believed.

    `weights`: Shape ``(band, P)``: coefficients of all bands of all base images.
    `constant`: Shape ``(band,)``: makes the mean of what they explain zero.
    `mean`: Shape ``(band,)``: mean of the anomaly.
    `gain`: Shape ``(band,)``: gain of a Wiener filter for the rest, 0 to 1.
    `hold`: Shape ``(band, 2)``: variance that holds the slopes to 0, on the earlier base image and
    on the difference of the two.
    """

    weights: NDArray[Any]
    constant: NDArray[Any]
    mean: NDArray[Any]
    gain: NDArray[Any]
    hold: NDArray[Any]

    def packed(self) -> Float:
        """Return all of it as one array, shape ``(band, P + 5)``; see `unpack`."""
        columns = (self.weights, self.constant, self.mean, self.gain, self.hold)
        return np.column_stack(columns).astype(np.float32)

    @classmethod
    def unpack(cls, packed: Float) -> Explained:
        """Take it out of an array."""
        constant, mean, gain = packed[:, -5:-2].T
        return cls(packed[:, :-5], constant, mean, gain, packed[:, -2:])


def explain(anomaly: Float, seen: Sequence[Float], noise: Any) -> Explained:
    """Explain an anomaly by the base images, per band, over all pixels where both are there.

    Least squares with intercept and light shrinkage: what explains the coarse image explains the
    fine one too, because seeing coarsely is linear.  Of the mean square of the rest, noise is
    taken off; what remains is believed.

    `seen`: Every base date as the coarse sensor would see it, shape ``(band, h, w)``.
    `noise`: As from `noise_in`.
    """
    features = np.concatenate(seen)
    bands, count = len(anomaly), len(features)
    there = np.isfinite(anomaly).all(axis=0) & np.isfinite(features).all(axis=0)
    y, x = anomaly[:, there].astype(np.float64), features[:, there].astype(np.float64)
    weights, constant = np.zeros((bands, count)), np.zeros(bands)
    pixels = x.shape[1]
    mean = y.mean(axis=1) if pixels else np.zeros(bands)
    if pixels >= PIXELS_EACH * (count + 1):
        centre, scale = x.mean(axis=1, keepdims=True), x.std(axis=1, keepdims=True)
        z = (x - centre) / np.maximum(scale, 1e-9)
        normal = z @ z.T + RIDGE * pixels * np.eye(count)
        weights = np.linalg.solve(normal, z @ (y - mean[:, None]).T).T / np.maximum(scale, 1e-9).T
        constant = -(weights @ centre)[:, 0]
    found = Explained(weights, constant, mean, np.zeros(bands), np.zeros((bands, 2)))
    rest = anomaly - mean[:, None, None] - explained_by(found, features)
    power = np.array([_mean_square(band) for band in rest])
    gain = np.maximum(power - noise, 0) / np.maximum(power, 1e-12)
    spread = [[_variance(band) for band in s] for s in (seen[0], seen[-1] - seen[0])]
    hold = SLOPE_HOLD * np.array(spread).T
    return replace(found, gain=gain, hold=np.maximum(hold, 1e-9))


def explained_by(found: Explained, features: Float) -> Float:
    """Return what of an anomaly the base images explain, on the coarse grid; 0 where missing.

    `features`: Shape ``(P, h, w)``.
    """
    weights = found.weights.astype(np.float32)
    explained = np.tensordot(weights, features, 1) + found.constant[:, None, None]
    return np.where(np.isfinite(explained), explained, 0).astype(np.float32)


def _mean_square(values: Float) -> float:
    good = values[np.isfinite(values)]
    return float(np.mean(good.astype(np.float64) ** 2)) if good.size else 0.0


def _variance(values: Float) -> float:
    good = values[np.isfinite(values)]
    return float(np.var(good.astype(np.float64))) if good.size else 0.0


def slopes_of(anomaly: Float, seen: Sequence[Float], hold: Any) -> Float:
    """Regress an anomaly on the base images of its own band, in a window around every pixel.

    `seen`: As of `explain`.
    `hold`: As of `Explained`.
    Returned: Shape ``(1 or 2, band, h, w)``: slope on the earlier base image and, with two, on
    their difference; 0 where nothing is known.
    """
    bases = [seen[0]] if len(seen) == 1 else [seen[0], seen[1] - seen[0]]
    there = np.isfinite(anomaly) & np.isfinite(sum(bases))
    y, *x = (np.where(there, v, np.float32(np.nan)) for v in (anomaly, *bases))
    y_mean, *x_mean = (box_mean(v, WINDOW) for v in (y, *x))
    held = [h[:, None, None].astype(np.float32) for h in np.asarray(hold).T]
    own = [box_mean(v * v, WINDOW) - m * m + h for v, m, h in zip(x, x_mean, held, strict=False)]
    along = [box_mean(v * y, WINDOW) - m * y_mean for v, m in zip(x, x_mean, strict=True)]
    if len(x) == 1:
        slopes = [along[0] / own[0]]
    else:
        both = box_mean(x[0] * x[1], WINDOW) - x_mean[0] * x_mean[1]
        size = own[0] * own[1] - both * both
        slopes = [(own[1] * along[0] - both * along[1]) / size,
                  (own[0] * along[1] - both * along[0]) / size]  # fmt: skip
    found = np.stack(slopes)
    return np.where(np.isfinite(found), found, 0).astype(np.float32)


def position_of(target: Float, bases: Sequence[Float], share: float) -> Float:
    """Return how far beyond the calendar every place is on its way from one base date to the other.

    By inverse coarse change, all bands together; see `biastf_xr.methods._sides.change_weight`.

    Returned: Shape ``(h, w)``, -1 to 1; 0 where nothing is known.
    """
    earlier = change_weight(target - bases[0], target - bases[1], WINDOW).mean(axis=0)
    ahead = (1 - share) - earlier
    return np.where(np.isfinite(ahead), ahead, 0).astype(np.float32)


def details_of(fine: Sequence[Float], seen: Sequence[Float], up: Upsampler) -> Float:
    """Return the detail of the base images below the coarse pixel.

    `fine`: Base images on the fine window of `up`, shape ``(band, Y, X)``.
    Returned: Shape ``(1 or 2, band, Y, X)``: of the earlier base image and, with two, of their
    difference; 0 where the surroundings are missing, NaN where the fine image is.
    """
    found = []
    for image, coarse in zip(fine, seen, strict=True):
        filled = np.where(np.isfinite(coarse), coarse, box_mean(coarse, WINDOW))
        level = up(filled)
        found.append(np.where(np.isfinite(level), image - level, image * 0))
    if len(found) == 2:
        found[1] = found[1] - found[0]
    return np.stack(found)


@dataclass(frozen=True)
class Fields:
    """What of a change is interpolated to the fine grid.

    `low`: Shape ``(part, band, h, w)``: mean, explained and rest.
    `slopes`: As of `slopes_of`.
    `position`: As of `position_of`; zeros with one base date.
    `weights`: Shape ``(band, P)``, of the mixture, on the earlier image and on the difference.
    """

    low: Float
    slopes: Float
    position: Float
    weights: Float


def fields_of(
    target: Float,
    bases: Sequence[Float],
    seen: Sequence[Float],
    share: float,
    response: Any,
    found: Explained,
) -> Fields:
    """Return what of a change is interpolated; NaN where the coarse images are missing."""
    anomaly = anomaly_of(target, bases, share, response)
    mean = np.broadcast_to(found.mean[:, None, None], anomaly.shape).astype(np.float32)
    explained = explained_by(found, np.concatenate(seen))
    rest = (anomaly - mean - explained) * found.gain[:, None, None].astype(np.float32)
    slopes = slopes_of(anomaly, seen, found.hold)
    weights = found.weights
    position = np.zeros(anomaly.shape[1:], np.float32)
    if len(bases) == 2:
        position = position_of(target, bases, share)
        first, second = np.split(weights, 2, axis=1)
        weights = np.concatenate([first + second, second], axis=1)
    return Fields(np.stack([mean, explained, rest]), slopes, position, weights.astype(np.float32))


def mixture_of(weights: Float, details: Float) -> Float:
    """Return what the mixture makes of the detail of the base images.

    `details`: As from `details_of`.
    """
    stacked = details.reshape(weights.shape[1], -1)
    return (weights @ stacked).reshape(details.shape[1:])


def parts_of(fields: Fields, details: Float, up: Upsampler) -> Float:
    """Return the parts of what is added to interpolation in time, in the order of `PARTS`.

    Returned: Shape ``(part, band, Y, X)``.
    """
    low, slopes, ahead = up(fields.low), up(fields.slopes), up(fields.position)
    slope = (slopes * details).sum(axis=0)
    position = ahead * details[-1] if len(details) == 2 else np.zeros_like(slope)
    return np.stack([*low, mixture_of(fields.weights, details), slope, position])


def added_by(fields: Fields, details: Float, up: Upsampler, shares: Any) -> tuple[Float, Float]:
    """Return what is added to interpolation in time: the sum of the parts, each times its share.

    Returned: Two arrays of shape ``(band, Y, X)``: what is interpolated, and the detail.
    """
    share = dict(zip(PARTS, np.asarray(shares, np.float32), strict=True))
    low = np.tensordot(np.array([share[p] for p in PARTS[:3]], np.float32), fields.low, 1)
    factors = share["slope"] * fields.slopes
    if len(details) == 2:
        factors[1] += share["position"] * fields.position
    raised = up(np.concatenate([low[None], factors]))
    detail = mixture_of(share["mixture"] * fields.weights, details)
    for factor, own in zip(raised[1:], details, strict=True):
        detail += factor * own
    return raised[0], detail


def mean_support(support: Float) -> float:
    """Return the mean number of observations where there are any."""
    return float(support[support > 0].mean()) if (support > 0).any() else 0.0
