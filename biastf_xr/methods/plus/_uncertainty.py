"""How wrong a prediction may be: the variance of its error as a sum of five terms.

``var = c0 + c1 * d + c2 * w * D2 + c3 * L2 + c4 * T2`` per band: ``d`` are the days to the nearest
base date, over `DAYS`; ``D2`` is the squared difference of the two base images, ``w = 4 t (1 - t)``
with the share ``t`` of the time between them; ``L2`` and ``T2`` are the squares of what the
prediction puts on top of the base images: what is interpolated from the coarse images, and the
detail below their pixels.  ``D2`` and ``T2`` are averaged over a small window.  With one base date
there is no ``D2``.  The terms are fitted to the squared errors of known dates, predicted from those
around them; one factor then makes the intervals hold on dates that the terms were not fitted to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from biastf_xr.grid import Float

# Side of the window in fine pixels, and how far it reaches.
WINDOW = 5
REACH = WINDOW // 2

# Less than this share of a window that is there counts as none.
LEAST_SHARE = 1e-3

# Days over which an error grows by one unit of its term.
DAYS = 10.0

# Terms where no known date tells: half a hundredth of reflectance, a quarter of the difference of
# the base images, all of the change.  Wide on purpose.
ASSUMED = (2.5e-5, 0.0, 0.25, 1.0, 1.0)

# Probabilities at which the fit compares nominal with observed coverage, and their limits in
# standard deviations.
LEVELS = np.arange(0.1, 0.96, 0.05)

# Factors on the standard deviation that are tried.
FACTORS = np.arange(0.5, 3.05, 0.025)

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


def nearest_days(day: np.datetime64, bases: Sequence[np.datetime64]) -> float:
    """Return the days to the nearest base date."""
    return float(min(abs((day - base).astype(int)) for base in bases))


def terms(apart: Float | None, time: tuple[float, float], low: Float, detail: Float) -> Float:
    """Return what the five terms multiply.

    `apart`: Shape ``(band, y, x)``: `local_square` of the difference of the two base images;
    None with one date.
    `time`: Days to the nearest base date, and the share of the time between the two that has
    passed.
    `low`, `detail`: Shape ``(band, y + 4, x + 4)``: what the prediction adds to the base images.
    """
    days, share = time
    sharp = local_square(detail)
    out = np.ones((5, *sharp.shape), np.float32)
    out[1] = days / DAYS
    out[2] = 0 if apart is None else np.float32(4 * share * (1 - share)) * apart
    np.square(low[:, REACH:-REACH, REACH:-REACH], out=out[3])
    out[4] = sharp
    return out


def sigma_of_terms(parts: Float, weights: NDArray[np.float32]) -> Float:
    """Return the standard deviation."""
    sigma: Float = np.sqrt(np.einsum("kbyx,bk->byx", parts, weights, optimize=True))
    return sigma


def from_one(weights: Sequence[float]) -> tuple[float, ...]:
    """Return the terms for two base dates where only those for one are known: no narrower."""
    return (*weights[:2], max(weights[2], ASSUMED[2]), *weights[3:])


def fit_terms(errors: Sequence[Float], parts: Sequence[Float]) -> NDArray[np.float64]:
    """Fit the weights of the terms of one band.

    Non-negative least squares on the squared errors, weighted by the variances themselves.  Then
    one factor brings the observed coverage nearest to the nominal one, because errors have heavier
    tails than a normal distribution; with several dates, on each date with weights fitted to the
    others.

    `errors`: By known date, shape ``(n,)``, reflectance, no NaN.
    `parts`: By known date, shape ``(term, n)``.
    """
    squares = [e.astype(np.float64) ** 2 for e in errors]
    design = [p.astype(np.float64) for p in parts]
    apart = []
    for k, (square, part) in enumerate(zip(squares, design, strict=True)):
        others = [n for n in range(len(squares)) if n != k] or [k]
        weights = _weights([squares[n] for n in others], [design[n] for n in others])
        apart.append(np.sqrt(square / (weights @ part)))
    ratio = np.concatenate(apart)
    worst = [np.abs(observed(ratio / f) - LEVELS).max() for f in FACTORS]
    return np.asarray(_weights(squares, design) * FACTORS[int(np.argmin(worst))] ** 2)


def _weights(squares: Sequence[Any], design: Sequence[Any]) -> NDArray[np.float64]:
    from scipy.optimize import nnls

    square, part = np.concatenate(squares), np.concatenate(design, axis=1)
    weights = np.array(ASSUMED)
    for _ in range(ROUNDS):
        variance = np.maximum(weights @ part, 1e-10)
        weights = nnls((part / variance).T, square / variance)[0]
    weights[0] = max(weights[0], 1e-8)
    return np.asarray(weights)


def observed(ratio: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the share of errors within the intervals of `LEVELS`."""
    from scipy.stats import norm

    limits = norm.ppf(0.5 + LEVELS / 2)
    return np.array([float((ratio <= limit).mean()) for limit in limits])
