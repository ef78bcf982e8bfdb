"""Measures of what lies around a pixel: windowed SSIM, edges, texture.

All work on one band, shape ``(y, x)``, and on any window of an image: a map is NaN where the window
does not hold what the pixel needs, so that windows which overlap by `HALO` pixels give the map of
the whole image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from biastf_xr.evaluation._moments import K1, K2

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.floating]
    Double = NDArray[np.float64]

# The Gaussian window of Wang et al. (2004): 11 x 11 pixels, standard deviation 1.5.
SIGMA, HALO = 1.5, 5

# The eight neighbours (row, column), from the right counter-clockwise; the first is bit 0.
NEIGHBOURS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def ssim_map(prediction: Array, reference: Array, data_range: float = 1.0) -> Double:
    """Return the structural similarity around every pixel, in a Gaussian window of 11 x 11.

    Means, variances and covariance are weighted by the window over the pixels that are valid in
    both images; on complete images this is scikit-image's ``structural_similarity`` with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``.

    `prediction`, `reference`: Shape ``(y, x)``; NaN is missing.
    `data_range`: L of the constants (0.01 L)^2 and (0.03 L)^2.
    Returned: Shape ``(y, x)``; NaN where either image is, and within 5 pixels of the border.

    References
    ----------
    Wang et al. (2004), IEEE Trans. Image Process. 13, 600-612, doi 10.1109/TIP.2003.819861.
    """
    good = np.isfinite(prediction) & np.isfinite(reference)
    good[:HALO] = good[-HALO:] = good[:, :HALO] = good[:, -HALO:] = False
    out = np.full(good.shape, np.nan)
    if not good.any():
        return out
    seen = np.isfinite(prediction) & np.isfinite(reference)
    p, r = (np.where(seen, image, 0).astype(np.float64) for image in (prediction, reference))
    weight = 1.0 if seen.all() else _blur(seen.astype(np.float64))[good]
    mp, mr, squares, mpr = (_blur(v)[good] / weight for v in (p, r, p * p + r * r, p * r))
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    spread = squares - mp * mp - mr * mr
    out[good] = (
        (2 * mp * mr + c1) * (2 * (mpr - mp * mr) + c2) / ((mp**2 + mr**2 + c1) * (spread + c2))
    )
    return out


def _blur(values: Double) -> Double:
    blurred: Double = gaussian_filter(values, SIGMA, mode="constant", radius=HALO)
    return blurred


def roberts_edges(image: Array) -> Double:
    """Return the strength of edges by Roberts' cross.

    `image`: Shape ``(y, x)``; NaN is missing.
    Returned: ``|I(y,x) - I(y+1,x+1)| + |I(y,x+1) - I(y+1,x)|``; NaN where one of the four is
    missing, and in the last row and column.
    """
    values = image.astype(np.float64)
    out = np.full(values.shape, np.nan)
    down = values[:-1, :-1] - values[1:, 1:]
    up = values[:-1, 1:] - values[1:, :-1]
    out[:-1, :-1] = np.abs(down) + np.abs(up)
    return out


def binary_patterns(image: Array) -> Double:
    """Return the local binary pattern of every pixel.

    `image`: Shape ``(y, x)``; NaN is missing.
    Returned: 0 to 255: a bit for each of the eight neighbours that is not below the pixel, from
    the right one counter-clockwise; NaN where one of the nine is missing, and at the border.

    References
    ----------
    Ojala et al. (1996), Pattern Recognition 29, 51-59, doi 10.1016/0031-3203(95)00067-4.
    """
    out = np.full(image.shape, np.nan)
    rows, cols = image.shape
    if rows < 3 or cols < 3:
        return out
    centre = image[1:-1, 1:-1]
    codes, complete = np.zeros(centre.shape), np.isfinite(centre)
    for bit, (dy, dx) in enumerate(NEIGHBOURS):
        other = image[1 + dy : rows - 1 + dy, 1 + dx : cols - 1 + dx]
        codes += (other >= centre) * 2.0**bit
        complete &= np.isfinite(other)
    out[1:-1, 1:-1] = np.where(complete, codes, np.nan)
    return out


def normalised_difference(prediction: Double, reference: Double) -> Double:
    """Return ``(P - R) / (P + R)`` of two maps that are nowhere negative.

    `prediction`, `reference`: Shape ``(y, x)``; NaN is missing.
    Returned: -1 to 1; 0 where both are 0; NaN where either is missing.
    """
    total = prediction + reference
    flat = total == 0
    return np.where(flat, 0.0, (prediction - reference) / np.where(flat, 1.0, total))


def edge_map(prediction: Array, reference: Array) -> Double:
    """Compare the edges of two images, pixel by pixel.

    The all-round assessment of Zhu et al. (2022) puts the error of edges and texture beside that of
    reflectance.  This reading takes the normalised difference over all pixels.

    `prediction`, `reference`: Shape ``(y, x)``; NaN is missing.
    Returned: -1 to 1: below 0 where the prediction is too smooth, above 0 where it is too
    sharp.

    References
    ----------
    Zhu et al. (2022), Remote Sens. Environ. 274, 113002, doi 10.1016/j.rse.2022.113002.
    """
    return _compared(roberts_edges, prediction, reference)


def texture_map(prediction: Array, reference: Array) -> Double:
    """Compare the texture of two images by their local binary patterns, pixel by pixel.

    `prediction`, `reference`: Shape ``(y, x)``; NaN is missing.
    Returned: Normalised difference of the patterns, -1 to 1; see `edge_map` for the source.
    """
    return _compared(binary_patterns, prediction, reference)


def _compared(look: Callable[[Array], Double], prediction: Array, reference: Array) -> Double:
    """Compare what is seen in both images."""
    seen = np.isfinite(prediction) & np.isfinite(reference)
    images = (np.where(seen, image, np.nan) for image in (prediction, reference))
    return normalised_difference(*map(look, images))
