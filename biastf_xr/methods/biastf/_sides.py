"""Weights of the two sides by the error that each is expected to have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import lsq_linear

from biastf_xr.grid import box_mean
from biastf_xr.methods._sides import CHANGE_FLOOR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from biastf_xr.methods._learning.card import ErrorLaw
    from biastf_xr.methods.base import Block, Float
    from biastf_xr.methods.biastf._samples import Samples

# Steps of the regression, and the patches below which the law is a constant.
STEPS, LEAST = 25, 12


def fit_error_law(
    samples: Samples, index: int, errors: NDArray[np.float64], bias_scale: float
) -> ErrorLaw:
    """Learn how a one-sided prediction's squared error grows with coarse change and with time.

    ``log v = a + b |dC| + c days``, ``b`` and ``c`` not negative, by a regression of squared
    errors of patches held out with a logarithmic link.  The paper does not weight by predicted
    error; this is a reading of its own.

    `errors`: Shape ``(N,)``: mean squared error of the held-out patches, NaN of the others, in
    units of ``bias_scale ** 2``.
    """
    known = np.isfinite(errors) & (errors > 0)
    squares = errors[known] * bias_scale**2
    if known.sum() < LEAST:
        return float(np.log(squares.mean())) if squares.size else 0.0, 0.0, 0.0
    size = np.abs(samples.change[known, index]).mean(axis=(1, 2), dtype=np.float64)
    days = samples.days[known].astype(np.float64)
    scales = np.array([1.0, max(size.max(), 1e-9), max(days.max(), 1.0)])
    design = np.stack([np.ones_like(size), size, days], axis=1) / scales
    low = [-np.inf, 0.0, 0.0]
    law = np.array([np.log(squares.mean()), 0.0, 0.0])
    for _ in range(STEPS):
        fitted = design @ law
        surprise = np.clip(squares * np.exp(-fitted) - 1, -1, 3)
        law = lsq_linear(design, fitted + surprise, bounds=(low, np.inf)).x
    a, b, c = (law / scales).tolist()
    return a, b, c


def learned_weight(block: Block, laws: Mapping[str, ErrorLaw], window: int) -> Float:
    """Weight the earlier side by inverse expected squared error.

    The errors of the two sides are taken as independent.

    `window`: Side in coarse pixels of the window that averages the change, odd.
    Returned: Shape ``(time, band, h, w)`` on the coarse grid; NaN where a change is missing.
    """
    before, after = block.sides
    law = np.array([laws[band] for band in block.bands], np.float32)
    change, time = law[:, 1, None, None], law[:, 2]
    sizes = [
        box_mean(np.abs(block.coarse - base.coarse), window) + np.float32(CHANGE_FLOOR)
        for base in (before, after)
    ]
    apart = np.abs((block.days - after.day).astype(int)) - np.abs(
        (block.days - before.day).astype(int)
    )
    log_ratio = change * (sizes[1] - sizes[0])
    log_ratio += (apart[:, None].astype(np.float32) * time)[..., None, None]
    weight: Float = (1 / (1 + np.exp(-log_ratio))).astype(np.float32, copy=False)
    return weight
