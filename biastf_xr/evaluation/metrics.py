"""The measures of the field, on reflectance 0 to 1, over pixels valid in both images.

Definitions follow Li et al. (2020) as far as its tables determine them; where they leave a choice
the docstring says which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.errors import CubeStructureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.floating]

MEASURES = ("RMSE", "CC", "SSIM", "ERGAS", "SAM")


def _valid(prediction: Array, reference: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if prediction.shape != reference.shape:
        raise CubeStructureError(
            f"prediction has shape {prediction.shape}, reference {reference.shape}; expected equal."
        )
    good = np.isfinite(prediction) & np.isfinite(reference)
    return prediction[good].astype(np.float64), reference[good].astype(np.float64)


def rmse(prediction: Array, reference: Array) -> float:
    """Give the root mean square error.

    Parameters
    ----------
    prediction, reference : ndarray
        Any equal shape; NaN is left out.

    Returns
    -------
    float
        In reflectance; NaN without a valid pixel.
    """
    p, r = _valid(prediction, reference)
    return float(np.sqrt(np.mean((p - r) ** 2))) if p.size else np.nan


def cc(prediction: Array, reference: Array) -> float:
    """Give Pearson's correlation coefficient.

    Parameters
    ----------
    prediction, reference : ndarray
        Any equal shape; NaN is left out.

    Returns
    -------
    float
        -1 to 1; NaN where either is constant.
    """
    p, r = _valid(prediction, reference)
    if p.size < 2 or p.std() == 0 or r.std() == 0:
        return np.nan
    return float(np.corrcoef(p, r)[0, 1])


def ssim(prediction: Array, reference: Array, data_range: float = 1.0) -> float:
    """Give the structural similarity over one window, the whole image.

    Global and with a data range of 1, as the paper's tables obey; most later papers use an 11 x 11
    Gaussian window instead, and their figures are not comparable.

    Parameters
    ----------
    prediction, reference : ndarray
        Any equal shape; NaN is left out.
    data_range : float
        L of the constants (0.01 L)^2 and (0.03 L)^2.

    Returns
    -------
    float
        At most 1; NaN without a valid pixel.
    """
    p, r = _valid(prediction, reference)
    if p.size < 2:
        return np.nan
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mp, mr = p.mean(), r.mean()
    covariance = np.mean((p - mp) * (r - mr))
    return float(
        (2 * mp * mr + c1)
        * (2 * covariance + c2)
        / ((mp**2 + mr**2 + c1) * (p.var() + r.var() + c2))
    )


def ergas(prediction: Array, reference: Array, ratio: float) -> float:
    """Give ERGAS, the relative dimensionless global error in synthesis.

    ``100 (h/l) sqrt(mean_b (RMSE_b / mean_b)^2)`` with the mean of the reference.

    Parameters
    ----------
    prediction, reference : ndarray
        Shape ``(band, ...)``; NaN is left out.
    ratio : float
        h/l, fine over coarse pixel size: 0.06 for 30 m and 500 m.

    Returns
    -------
    float
        Lower is better.
    """
    parts: list[float] = []
    for p, r in zip(prediction, reference, strict=True):
        mean = float(np.mean(_valid(p, r)[1])) if np.isfinite(p).any() else np.nan
        parts.append((rmse(p, r) / mean) ** 2 if mean else np.nan)
    return float(100 * ratio * np.sqrt(np.mean(parts)))


def sam(prediction: Array, reference: Array) -> float:
    """Give the mean spectral angle.

    Parameters
    ----------
    prediction, reference : ndarray
        Shape ``(band, ...)``; pixels with NaN in any band or with a zero vector are left out.

    Returns
    -------
    float
        Radians; 0 for a single band.
    """
    bands = prediction.shape[0]
    p = prediction.reshape(bands, -1).astype(np.float64)
    r = reference.reshape(bands, -1).astype(np.float64)
    length = np.linalg.norm(p, axis=0) * np.linalg.norm(r, axis=0)
    good = np.isfinite(length) & (length > 0)
    if not good.any():
        return np.nan
    cosine = np.clip((p * r).sum(0)[good] / length[good], -1, 1)
    return float(np.arccos(cosine).mean())


def score_image(
    prediction: Array, reference: Array, bands: Sequence[str], ratio: float
) -> dict[tuple[str, str], float]:
    """Give all measures of one predicted image.

    Parameters
    ----------
    prediction, reference : ndarray
        Shape ``(band, y, x)``.
    bands : sequence of str
        Names of the band axis.
    ratio : float
        Fine over coarse pixel size, for ERGAS.

    Returns
    -------
    dict of float
        By measure and band; band "mean" is the arithmetic mean of the bands for RMSE, CC and
        SSIM, and the joint value for ERGAS and SAM.
    """
    scores: dict[tuple[str, str], float] = {}
    for name, measure in (("RMSE", rmse), ("CC", cc), ("SSIM", ssim)):
        values = [measure(p, r) for p, r in zip(prediction, reference, strict=True)]
        scores |= {(name, b): v for b, v in zip(bands, values, strict=True)}
        scores[name, "mean"] = float(np.mean(values))
    scores["ERGAS", "mean"] = ergas(prediction, reference, ratio)
    scores["SAM", "mean"] = sam(prediction, reference)
    return scores
