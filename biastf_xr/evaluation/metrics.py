"""The measures of the field, on reflectance 0 to 1, over pixels valid in both images.

Each takes a prediction and its reference as whole images in memory, of any equal shape where
nothing else is stated; NaN is left out, and the measure is NaN where no valid pixel is left.
`biastf_xr.evaluation._image_sums` computes the same from sums taken window by window.  Definitions
follow Li et al. (2020) as far as its tables determine them; where they leave a choice the docstring
states which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from biastf_xr.evaluation._image_sums import MEASURES, ImageSums, ergas_of, spectral_angles
from biastf_xr.evaluation._moments import Mean, Moments
from biastf_xr.evaluation._spatial import edge_map, ssim_map, texture_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating]

__all__ = [
    "MEASURES", "bias", "cc", "edge", "ergas", "mae", "r2", "rmse", "sam", "score_image", "ssim",
    "ssim_gaussian", "texture",
]  # fmt: skip


def rmse(prediction: Array, reference: Array) -> float:
    """Return the root mean square error, in reflectance."""
    return Moments.of(prediction, reference).rmse


def mae(prediction: Array, reference: Array) -> float:
    """Return the mean absolute error, in reflectance."""
    return Moments.of(prediction, reference).mae


def bias(prediction: Array, reference: Array) -> float:
    """Return the mean error, prediction less reference, in reflectance."""
    return Moments.of(prediction, reference).bias


def cc(prediction: Array, reference: Array) -> float:
    """Return Pearson's correlation coefficient; NaN where either image is constant."""
    return Moments.of(prediction, reference).cc


def r2(prediction: Array, reference: Array) -> float:
    """Return the coefficient of determination, ``1 - sum (P - R)^2 / sum (R - mean R)^2``.

    Not the square of `cc`: an offset or a wrong amplitude counts as error.  Below 0 for what is
    worse than the mean of the scene; NaN where the reference is constant.
    """
    return Moments.of(prediction, reference).r2


def ssim(prediction: Array, reference: Array, data_range: float = 1.0) -> float:
    """Return the structural similarity over one window, the whole image.

    Global and with a data range of 1, as the paper's tables obey; most later papers use an 11 x 11
    Gaussian window instead, `ssim_gaussian`, and their figures are not comparable.  `data_range` is
    L of the constants (0.01 L)^2 and (0.03 L)^2.  NaN with fewer than two valid pixels.
    """
    return Moments.of(prediction, reference).ssim(data_range)


def ssim_gaussian(prediction: Array, reference: Array, data_range: float = 1.0) -> float:
    """Return the mean structural similarity in a Gaussian window of 11 x 11 pixels.

    Images of shape ``(y, x)``; NaN where no valid pixel is 5 pixels from the border.  `data_range`
    as of `ssim`.
    """
    return Mean.of(ssim_map(prediction, reference, data_range)).value


def edge(prediction: Array, reference: Array) -> float:
    """Return the mean normalised difference of edges, -1 to 1, best 0.

    Images of shape ``(y, x)``.  Negative where the prediction is too smooth.
    """
    return Mean.of(edge_map(prediction, reference)).value


def texture(prediction: Array, reference: Array) -> float:
    """Return the mean normalised difference of local binary patterns, -1 to 1, best 0.

    Images of shape ``(y, x)``.
    """
    return Mean.of(texture_map(prediction, reference)).value


def ergas(prediction: Array, reference: Array, ratio: float) -> float:
    """Return ERGAS, the relative dimensionless global error in synthesis; lower is better.

    ``100 (h/l) sqrt(mean_b (RMSE_b / mean_b)^2)`` with the mean of the reference, of images of
    shape ``(band, ...)``.  `ratio` is h/l, fine over coarse pixel size: 0.06 for 30 m and 500 m.
    """
    pairs = zip(prediction, reference, strict=True)
    return ergas_of([Moments.of(p, r) for p, r in pairs], ratio)


def sam(prediction: Array, reference: Array) -> float:
    """Return the mean spectral angle in radians; 0 for a single band.

    Images of shape ``(band, ...)``; pixels with NaN in any band or with a zero vector are left out.
    """
    return Mean.of(spectral_angles(prediction, reference)).value


def score_image(
    prediction: Array, reference: Array, bands: Sequence[str], ratio: float
) -> dict[tuple[str, str], float]:
    """Return all measures of one predicted image by measure and band.

    Images of shape ``(band, y, x)``, `bands` names the first axis, `ratio` is as of `ergas`.  Band
    "mean" is the arithmetic mean of the bands, of ERGAS and SAM the joint value; one band has no
    SAM.
    """
    return ImageSums.of(prediction, reference).measures(bands, ratio)
