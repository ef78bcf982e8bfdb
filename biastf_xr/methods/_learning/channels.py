"""What goes into a network: the coarse change, filled and denoised, and base images beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.grid import box_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biastf_xr.grid import Upsampler, Upsampling
    from biastf_xr.methods.base import Float

# Standard deviations after which the denoising filter is cut.
CUT = 3.0


def standardise(images: Float, channels: Sequence[tuple[float, float]]) -> Float:
    """Bring the images of a network's input to its units.

    `images`: Shape ``(..., channel, Y, X)``, reflectance.
    """
    table = np.array(channels, np.float32)[:, :, None, None]
    made: Float = (images - table[:, 0]) / table[:, 1]
    return made


def fill_for_network(seen: Float, step: Float, upsample: Upsampler, how: Upsampling) -> Float:
    """Fill missing values so that a network can read across a gap.

    A missing coarse pixel takes the mean of its valid neighbours, else zero, which of a change is
    none.  The prediction itself stays missing there: this only keeps NaN out of the convolutions.

    `seen`: Shape ``(..., Y, X)``: the values on the fine grid; NaN is missing.
    `step`: Shape ``(..., h, w)``: the same on the coarse grid.
    """
    missing = ~np.isfinite(seen)
    if not missing.any():
        return seen
    around = np.where(np.isfinite(step), step, box_mean(step, 3))
    filled = upsample(np.nan_to_num(around, copy=False, nan=0.0), how)
    return np.where(missing, filled, seen)


def smooth_coarse(values: Float, sigma: float) -> Float:
    """Denoise coarse images by a Gaussian on their own grid, missing values left out.

    The paper works on coarse images as they were delivered; denoising them is a reading that
    pays where the coarse sensor is noisy.

    `values`: Shape ``(..., h, w)``; NaN is missing.
    `sigma`: Standard deviation in coarse pixels; 0 for no change.
    Returned: Same shape; NaN where `values` are. A pixel depends on those within
    `smooth_radius`.
    """
    if sigma == 0:
        return values
    valid = np.isfinite(values)
    total = _blurred(np.where(valid, values, np.float32(0)), sigma)
    weight = _blurred(valid.astype(np.float32), sigma)
    with np.errstate(invalid="ignore", divide="ignore"):
        smooth: Float = np.where(valid, total / weight, np.float32(np.nan))
    return smooth


def smooth_radius(sigma: float) -> int:
    """Return the reach of `smooth_coarse`.

    `sigma`: Standard deviation in coarse pixels.
    """
    return int(np.ceil(CUT * sigma))


def _blurred(values: Float, sigma: float) -> Float:
    """Convolve by shifts: a pixel's sum does not depend on where the array is cut."""
    reach = smooth_radius(sigma)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    margin = [(0, 0)] * (values.ndim - 2) + [(reach, reach)] * 2
    padded = np.pad(values, margin)
    rows, cols = values.shape[-2:]
    tall = sum(tap * padded[..., k : k + rows, :] for k, tap in enumerate(taps))
    wide: Float = sum(tap * tall[..., k : k + cols] for k, tap in enumerate(taps))
    return wide
