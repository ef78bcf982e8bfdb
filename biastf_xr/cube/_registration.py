"""How far the coarse image of a day is displaced against the fine one.

The fine image, blurred with the coarse sensor's point spread function, is correlated with the
coarse image over a range of displacements; the peak is refined below a pixel.  The correlation is
the normalised one over the pixels valid in both images (Padfield, "Masked object registration in
the Fourier domain", IEEE Trans. Image Process. 21(5), 2012, doi:10.1109/TIP.2011.2181402), so that
clouds need not be filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# Share of the smaller image that must remain under a displacement.
OVERLAP = 0.5


@dataclass(frozen=True)
class Shift:
    """A measured displacement."""

    x: float  # by which the coarse image must be moved, CRS units, east positive; or NaN
    y: float  # the same, north positive
    correlation: float  # of the two images then


NO_SHIFT = Shift(float("nan"), float("nan"), float("nan"))


def blur(image: Any, sigma: float) -> Any:
    """Blur an image with a Gaussian, leaving missing pixels out of every mean."""
    from scipy.ndimage import gaussian_filter

    valid = np.isfinite(image)
    total = gaussian_filter(np.where(valid, image, 0.0), sigma, mode="constant")
    weight = gaussian_filter(valid.astype(float), sigma, mode="constant")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(valid, total / weight, np.nan)


def correlation_surface(fine: Any, coarse: Any, reach: int) -> tuple[Any, Any]:
    """Correlate two images over displacements.

    `fine`, `coarse`: Shape ``(y, x)`` on the same pixels; NaN is missing.
    Returned: Correlation for moving the coarse image by ``-reach..reach`` rows and columns,
    shape ``(2 * reach + 1, 2 * reach + 1)``; NaN where too little overlaps.
    """
    from scipy import fft

    shape = tuple(fft.next_fast_len(n + 2 * reach) for n in fine.shape)
    parts = []
    for image in (fine, coarse):
        valid = np.isfinite(image)
        centred = np.where(valid, image - np.mean(image[valid]), 0.0)
        parts.append([fft.rfft2(p, shape) for p in (valid.astype(float), centred, centred**2)])
    (mf, f, ff), (mc, c, cc) = parts

    def cross(a: Any, b: Any) -> Any:
        """Correlate two spectra, and cut out the displacements within reach."""
        full = fft.irfft2(a * np.conj(b), shape)
        rows, cols = (np.arange(-reach, reach + 1) % n for n in shape)
        return full[np.ix_(rows, cols)]

    count = np.maximum(np.round(cross(mf, mc)), 0)
    least = OVERLAP * min(np.isfinite(fine).sum(), np.isfinite(coarse).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        sum_f, sum_c = cross(f, mc), cross(mf, c)
        covariance = cross(f, c) - sum_f * sum_c / count
        var_f = cross(ff, mc) - sum_f**2 / count
        var_c = cross(mf, cc) - sum_c**2 / count
        product = var_f * var_c
        surface = covariance / np.sqrt(np.where(product > 1e-24, product, np.nan))
    return np.where(count >= max(least, 16), surface, np.nan), count


def find_peak(surface: Any) -> tuple[float, float, float]:
    """Find the peak of a correlation surface below a pixel: rows, columns, correlation, or NaN."""
    none = (float("nan"),) * 3
    if not np.isfinite(surface).any():
        return none
    row, col = np.unravel_index(int(np.nanargmax(surface)), surface.shape)
    if not (0 < row < surface.shape[0] - 1 and 0 < col < surface.shape[1] - 1):
        return none
    around = surface[row - 1 : row + 2, col - 1 : col + 2]
    if not np.isfinite(around).all():
        return none
    middle = (surface.shape[0] - 1) / 2
    dy, dx = _vertex(around[:, 1]), _vertex(around[1])
    return row - middle + dy, col - middle + dx, float(around[1, 1])


def _vertex(values: Any) -> float:
    """Return the top of the parabola through three values, from the middle one."""
    low, mid, high = values
    bend = low - 2 * mid + high
    return float(0.5 * (low - high) / bend) if bend < 0 else 0.0
