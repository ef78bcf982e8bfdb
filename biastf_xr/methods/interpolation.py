"""The simple baselines, which cost next to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.methods._shared import shared
from biastf_xr.methods._sides import Weights, add_change, two_sided_weight
from biastf_xr.methods.base import Base, Block, Float, TwoSided

if TYPE_CHECKING:
    from biastf_xr.grid import Upsampling


class _Repeat(TwoSided):
    """What interpolation in time shares: each side is its base image, whatever the day."""

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
        earlier: Float = (two_sided_weight(block, "time", 1, "bilinear") >= 0.5).astype(np.float32)
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
        return two_sided_weight(block, "time", 1, "bilinear")


@dataclass(frozen=True, kw_only=True)
class Direct(TwoSided):
    """Transfer the coarse change as it is: ``F_k + (C - C_k)`` from both sides.

    This is the assumption that BiaSTF relaxes, equation (2) of its formulation with no bias.

    Attributes
    ----------
    name : str
        "direct".
    """

    name: str = "direct"
    weights: Weights = shared("weights")
    weight_window: int = shared("weight_window", was="window")
    upsampling: Upsampling = shared("upsampling")

    @property
    def coarse_halo(self) -> int:
        """Return the coarse halo: the reach of the weights' window."""
        return self.weight_window // 2

    def side(self, block: Block, base: Base) -> Float:
        """Add the coarse change to the base image; see `TwoSided.side`."""
        return add_change(block, base, self.upsampling)

    def weight(self, block: Block) -> Float:
        """Weight the two sides; see `TwoSided.weight`."""
        return two_sided_weight(block, self.weights, self.weight_window, self.upsampling)
