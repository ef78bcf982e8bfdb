"""How the two sensors see the ground: bandpass, footprint, noise and quality bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import erf

from biastf_xr.testing._phenology import Cover

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.testing._landscape import FloatArray

FINE_NOISE = 0.002
COARSE_NOISE = 0.003
# Constant misregistration of the coarse sensor (y, x) and its daily spread, in coarse pixels.
_SHIFT, _JITTER = (0.21, -0.17), 0.16
# Gaussian blur (y, x) on top of the pixel's own box, in coarse pixels.
_BLUR = (0.40, 0.50)
_STEEPEST_VIEW = 62.0

# Response of the coarse sensor to a change that the fine sensor sees as 1.
_BAND_GAIN = np.array([1.40, 1.25, 0.76, 0.64, 0.72, 1.30])
_BAND_PIVOT = np.array([0.060, 0.090, 0.100, 0.260, 0.230, 0.030])
_BAND_OFFSET = np.array([0.008, 0.003, -0.003, 0.006, -0.004, 0.005])
# Departure of a cover from the band gain: short-wave bands (blue green red) and the others.
_COVER_GAIN = {
    Cover.WATER: (0.06, 0.12),
    Cover.FOREST: (-0.05, 0.12),
    Cover.GRASS: (0.03, 0.08),
    Cover.BUILT: (0.05, 0.05),
    Cover.PASTURE: (0.02, 0.05),
    Cover.SUMMER: (-0.06, -0.08),
    Cover.WINTER: (-0.02, -0.06),
    Cover.CANOLA: (0.08, -0.04),
    Cover.LUCERNE: (-0.04, -0.10),
    Cover.ORCHARD: (0.00, 0.06),
    Cover.FALLOW: (0.07, 0.10),
}

_QA_FILL, _QA_DILATED, _QA_CIRRUS, _QA_CLOUD, _QA_SHADOW = 1, 2, 4, 8, 16
_QA_CLEAR, _QA_WATER = 1 << 6, 1 << 7
_QA_LOW = (1 << 8) | (1 << 10) | (1 << 12) | (1 << 14)
_QA_CLOUD_HIGH, _QA_SHADOW_HIGH, _QA_CIRRUS_HIGH = 3 << 8, 3 << 10, 3 << 14
STATE_FILL = 65535


def coarse_response() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return gain and offset of the coarse sensor over the fine one, shape (band, cover).

    The gains stand for bandpass, directional effects and atmospheric residue together.
    """
    visible = np.arange(6) < 3
    departure = np.array([np.where(visible, *_COVER_GAIN[c]) for c in Cover]).T
    gain = _BAND_GAIN[:, None] * (1.0 + departure)
    offset = (1.0 - gain) * _BAND_PIVOT[:, None] + _BAND_OFFSET[:, None]
    return gain.astype(np.float32), offset.astype(np.float32)


def misregistration(seed: int, day: int) -> tuple[float, float]:
    """Return the coarse sensor's geolocation error on a day."""
    jitter = np.random.default_rng([seed, 51, day]).normal(0.0, _JITTER, 2)
    return float(_SHIFT[0] + jitter[0]), float(_SHIFT[1] + jitter[1])


def view_angle(day: int) -> float:
    """Return the coarse sensor's signed view zenith angle on a day."""
    return float(_STEEPEST_VIEW * np.sin(2.0 * np.pi * (day * 7 % 16 + 0.35) / 16.0))


def footprint(
    coarse: int, canvas: int, *, ratio: int, pad: int, shift: float, blur: float
) -> FloatArray:
    """Build the weights with which coarse pixels see canvas pixels along one axis; rows sum to 1.

    `shift`, `blur`: Misregistration and standard deviation of the blur, in coarse pixels.
    """
    at = (np.arange(canvas) + 0.5) / ratio
    centre = np.arange(coarse) + pad + 0.5 + shift
    away = at[None, :] - centre[:, None]
    scale = np.sqrt(2.0) * blur
    weights = erf((away + 0.5) / scale) - erf((away - 0.5) / scale)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def blur_at(view: float) -> tuple[float, float]:
    """Return the blur of the footprint, which widens along the scan away from nadir."""
    return _BLUR[0], float(_BLUR[1] / np.cos(np.deg2rad(view)))


def view_factor(view: float, shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Draw the factor of view angle (degrees) and atmosphere on reflectance: (band, y, x)."""
    relative = view / _STEEPEST_VIEW
    directional = 0.045 * relative + 0.03 * relative**2
    level = 1.0 + directional + rng.normal(0.0, 0.018) + rng.normal(0.0, 0.012, 6)
    slope = rng.normal(0.0, 0.010, 2)
    y, x = np.linspace(-1, 1, shape[0])[:, None], np.linspace(-1, 1, shape[1])[None, :]
    tilt = slope[0] * y + slope[1] * x
    return np.asarray(level[:, None, None] + tilt, dtype=np.float32)


def landsat_qa(
    *,
    cloud: NDArray[np.bool_],
    shadow: NDArray[np.bool_],
    near_cloud: NDArray[np.bool_],
    water: NDArray[np.bool_],
    fill: NDArray[np.bool_],
    thin: bool,
) -> NDArray[np.uint16]:
    """Set the bits of QA_PIXEL: 21824 is clear land, 22280 cloud, 23888 shadow, 1 fill."""
    qa = np.full(cloud.shape, _QA_LOW, dtype=np.uint16)
    qa[~(cloud | near_cloud)] |= np.uint16(_QA_CLEAR)
    qa[water & ~cloud] |= np.uint16(_QA_WATER)
    qa[near_cloud & ~cloud] |= np.uint16(_QA_DILATED)
    if thin:
        qa[cloud] |= np.uint16(_QA_CIRRUS | _QA_CIRRUS_HIGH | _QA_CLEAR)
    else:
        qa[cloud] |= np.uint16(_QA_CLOUD | _QA_CLOUD_HIGH)
    qa[shadow & ~cloud] |= np.uint16(_QA_SHADOW | _QA_SHADOW_HIGH)
    qa[fill] = _QA_FILL
    return qa


def modis_state(
    *,
    cloud: FloatArray,
    shadow: FloatArray,
    water: FloatArray,
    adjacent: NDArray[np.bool_],
    fill: NDArray[np.bool_],
    thin: bool,
) -> NDArray[np.uint16]:
    """Set the bits of a MOD09GA ``state_1km`` band; shares are of the 1-km pixel, 65535 is fill."""
    cloudy, mixed = cloud > 0.5, (cloud > 0.02) & (cloud <= 0.5)
    state = np.where(cloudy, 1, np.where(mixed, 2, 0)).astype(np.uint16)
    state |= ((shadow > 0.02) & ~cloudy).astype(np.uint16) << 2
    state |= np.where(water > 0.5, 3, 1).astype(np.uint16) << 3
    state |= np.where(cloudy | mixed, 2, 1).astype(np.uint16) << 6
    if thin:
        state |= np.where(cloudy | mixed, 2, 0).astype(np.uint16) << 8
    state |= (cloudy | mixed).astype(np.uint16) << 10
    state |= (adjacent & ~(cloudy | mixed)).astype(np.uint16) << 13
    state[fill] = STATE_FILL
    return state
