"""The fusion model of both stages: high-pass modulation of each side, and the sides weighted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.methods._sides import change_weight

if TYPE_CHECKING:
    from biastf_xr.methods.base import Float
    from biastf_xr.methods.stfdcnn._networks import HighPass

# Guards of the ratio, not verified: the smallest transitional reflectance, and its range.
DARKEST, LEAST_RATIO, MOST_RATIO = 1e-3, 0.2, 5.0


def modulate(image: Float, then: Float, now: Float, form: HighPass) -> Float:
    """Bring an image to another date by what its transitional images tell.

    ``U_2 + (U_2 / U_k) (L_k - U_k)``, the details scaled with the level, or ``L_k + (U_2 - U_k)``.
    The first form is recalled from a paper of the same authors on one pair, the second is that of
    a re-implementation; both are readings.

    `then`, `now`: ``U_k`` and ``U_2``, the transitional images of both dates.
    """
    if form == "additive":
        return image + (now - then)
    ratio = np.clip(now / np.maximum(then, np.float32(DARKEST)), LEAST_RATIO, MOST_RATIO)
    made: Float = (ratio * image).astype(np.float32, copy=False)
    return made


def fuse_stage(
    images: tuple[Float, Float],
    transitional: tuple[Float, Float, Float],
    *,
    form: HighPass,
    window: int,
) -> Float:
    """Fuse both sides: ``v_1 P_1 + v_3 P_3``, ``v_k`` inverse to ``|U_2 - U_k|``.

    `transitional`: ``U_1``, ``U_2`` and ``U_3``, with `window` // 2 pixels of margin.
    `window`: Side of the window that averages the change for the weights, odd; 1 for single
    pixels.
    """
    before, now, after = transitional
    margin = window // 2
    rows, cols = now.shape[-2:]
    core = slice(margin, rows - margin), slice(margin, cols - margin)
    weight = change_weight(now - before, now - after, window)[..., *core]
    first, last = (
        modulate(image, then[..., *core], now[..., *core], form)
        for image, then in zip(images, (before, after), strict=True)
    )
    made: Float = last + weight * (first - last)
    return made
