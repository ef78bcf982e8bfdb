"""The simple baselines, which cost next to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.methods.base import (
    Base,
    Block,
    Float,
    SceneFree,
    TwoSided,
    Weights,
    bound,
    change_weight,
    check_weights,
    time_weight,
)

if TYPE_CHECKING:
    from biastf_xr.grid import Upsampling


class _Repeat(TwoSided, SceneFree):
    """What interpolation in time shares: each side is its base image, whatever the day."""

    name: str
    halo: int = 0
    coarse_halo: int = 0

    def side(self, block: Block, base: Base) -> Float:
        """Repeat the base image; see `TwoSided.side`."""
        rows, cols = block.fine_core
        return np.repeat(base.fine[None, :, rows, cols], block.days.size, axis=0)


@dataclass(frozen=True, kw_only=True)
class Nearest(_Repeat):
    """Repeat the clear fine image that is nearest in time; the earlier one at equal distance.

    Attributes
    ----------
    name : str
        "nearest".
    """

    name: str = "nearest"

    def weight(self, block: Block) -> Float:
        """Choose the nearer side; see `TwoSided.weight`."""
        earlier: Float = (_time_weight(block) >= 0.5).astype(np.float32)
        return earlier


@dataclass(frozen=True, kw_only=True)
class Linear(_Repeat):
    """Interpolate the two fine images linearly in time; one side alone is repeated.

    Attributes
    ----------
    name : str
        "linear".
    """

    name: str = "linear"

    def weight(self, block: Block) -> Float:
        """Weight by distance in time; see `TwoSided.weight`."""
        return _time_weight(block)


@dataclass(frozen=True, kw_only=True)
class Direct(TwoSided, SceneFree):
    """Transfer the coarse change as it is: ``F_k + (C - C_k)`` from both sides.

    This is the assumption that BiaSTF relaxes, equation (2) of its formulation with no bias.

    Attributes
    ----------
    name : str
        "direct".
    weights : {"change", "time", "equal"}
        How the two sides are weighted: by inverse coarse change, by distance in time, or equally.
    window : int
        Side in coarse pixels of the window that averages the coarse change for the weights, odd.
    upsampling : {"bilinear", "nearest"}
        How the coarse change is brought to the fine grid.
    """

    name: str = "direct"
    weights: Weights = "change"
    window: int = 3
    upsampling: Upsampling = "bilinear"
    halo: int = bound(0)

    def __post_init__(self) -> None:
        check_weights(self.weights, self.window)

    @property
    def coarse_halo(self) -> int:
        """Return the coarse halo: the reach of the weights' window."""
        return self.window // 2

    def side(self, block: Block, base: Base) -> Float:
        """Add the coarse change to the base image; see `TwoSided.side`."""
        return add_change(block, base, self.upsampling)

    def weight(self, block: Block) -> Float:
        """Weight the two sides; see `TwoSided.weight`."""
        return two_sided_weight(block, self.weights, self.window, self.upsampling)


class WeightedSides(TwoSided):
    """A method whose two sides are weighted by its options of these names.

    `weights`: How the two predictions are weighted.
    `weight_window`: Side in coarse pixels of the window of "change", odd.
    `upsampling`: How coarse weights are brought to the fine grid.
    """

    weights: Weights
    weight_window: int
    upsampling: Upsampling

    def weight(self, block: Block) -> Float:
        """Weight the two sides; see `TwoSided.weight`."""
        return two_sided_weight(block, self.weights, self.weight_window, self.upsampling)


def add_change(block: Block, base: Base, upsampling: Upsampling) -> Float:
    """Add the interpolated coarse change since a base date to its fine image.

    `upsampling`: How the coarse change is brought to the fine grid.
    Returned: Shape ``(time, band, y, x)``, without halo; NaN where one of the images is
    missing.
    """
    rows, cols = block.core
    change = block.upsample(block.coarse - base.coarse, upsampling)[..., rows, cols]
    return base.fine[..., *block.fine_core] + change


def two_sided_weight(block: Block, weights: Weights, window: int, upsampling: Upsampling) -> Float:
    """Return the weight of the earlier side on the fine grid, without halo.

    `window`: Side in coarse pixels of the window of "change".
    `upsampling`: How coarse weights are brought to the fine grid.
    """
    if weights == "equal":
        return np.full((1, 1, 1, 1), 0.5, np.float32)
    if weights == "time":
        return _time_weight(block)
    before, after = block.sides
    weight = change_weight(block.coarse - before.coarse, block.coarse - after.coarse, window)
    rows, cols = block.core
    return block.upsample(weight, upsampling)[..., rows, cols]


def _time_weight(block: Block) -> Float:
    before, after = block.sides
    return time_weight(before.day, after.day, block.days)[:, None, None, None]
