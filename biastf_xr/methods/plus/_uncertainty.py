"""How wrong a prediction may be: the variance of its error as a sum of three terms.

``var = c0 + c1 * w * D2 + c2 * A2`` per band, where ``D2`` is the squared difference of the two
base images, ``w = 4 t (1 - t)`` with the share ``t`` of the time between them, and ``A2`` the
squared change that the prediction puts on top of the base images; both averaged over a small
window.  With one base date there is no ``D2``.  The terms are fitted to the squared errors of
known dates, predicted from those around them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.grid import Float

# Side of the window in fine pixels, and how far it reaches.
WINDOW = 5
REACH = WINDOW // 2

# Less than this share of a window that is there counts as none.
LEAST_SHARE = 1e-3

# Terms where no known date tells: a hundredth of reflectance, a tenth of the difference, half of
# the change.
ASSUMED = (2.5e-5, 0.1, 0.5)

# Probabilities at which the fit compares nominal with observed coverage, and their limits in
# standard deviations.
LEVELS = np.arange(0.1, 0.96, 0.05)

# Rounds of the weighted fit: weights follow from the variances of the round before.
ROUNDS = 3


def local_square(image: Float) -> Float:
    """Return the mean square in a small window around every pixel, missing values left out."""
    from scipy.ndimage import uniform_filter

    inner, sides = (..., slice(REACH, -REACH), slice(REACH, -REACH)), (1, WINDOW, WINDOW)
    valid = np.isfinite(image)
    if valid.all():
        whole: Float = uniform_filter(image**2, sides, mode="constant")[inner]
        return np.maximum(whole, 0)
    squares = np.where(valid, image, np.float32(0)) ** 2
    total, count = (
        uniform_filter(v.astype(np.float32), sides, mode="constant")[inner]
        for v in (squares, valid)
    )
    mean: Float = np.where(count > LEAST_SHARE, total / np.maximum(count, LEAST_SHARE), 0)
    return np.maximum(mean, 0).astype(np.float32)


def terms(apart: Float | None, share: float, change: Float) -> Float:
    """Return what the three terms multiply.

    `apart`: Shape ``(band, y, x)``: `local_square` of the difference of the two base images;
    None with one date.
    `share`: Share of the time between the base dates that has passed.
    `change`: Shape ``(band, y + 4, x + 4)``: what the prediction adds to the base images.
    """
    moved = local_square(change)
    out = np.ones((3, *moved.shape), np.float32)
    out[1] = 0 if apart is None else np.float32(4 * share * (1 - share)) * apart
    out[2] = moved
    return out


def sigma_of_terms(parts: Float, weights: NDArray[np.float32]) -> Float:
    """Return the standard deviation."""
    sigma: Float = np.sqrt(np.einsum("kbyx,bk->byx", parts, weights, optimize=True))
    return sigma


def fit_terms(error: Float, parts: Float) -> NDArray[np.float64]:
    """Fit the weights of the terms of one band.

    Non-negative least squares on the squared errors, weighted by the variances themselves; then
    one factor brings the observed coverage nearest to the nominal one, because errors have heavier
    tails than a normal distribution.

    `error`: Shape ``(n,)``, reflectance, no NaN.
    """
    from scipy.optimize import nnls

    squares, design = error.astype(np.float64) ** 2, parts.astype(np.float64)
    weights = np.array(ASSUMED)
    for _ in range(ROUNDS):
        variance = np.maximum(weights @ design, 1e-10)
        weights = nnls((design / variance).T, squares / variance)[0]
    weights[0] = max(weights[0], 1e-8)
    ratio = np.abs(error) / np.sqrt(weights @ design)
    factors = np.arange(0.5, 1.55, 0.025)
    worst = [np.abs(observed(ratio / f) - LEVELS).max() for f in factors]
    return np.asarray(weights * factors[int(np.argmin(worst))] ** 2)


def observed(ratio: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the share of errors within the intervals of `LEVELS`."""
    from scipy.stats import norm

    limits = norm.ppf(0.5 + LEVELS / 2)
    return np.array([float((ratio <= limit).mean()) for limit in limits])
