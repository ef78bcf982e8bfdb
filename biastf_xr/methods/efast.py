"""EFAST-style mosaics: coarse change on base images, weighted by time and distance to cloud."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from biastf_xr.methods._options import bound, option
from biastf_xr.methods._shared import shared
from biastf_xr.methods._sides import add_change, inside_grid
from biastf_xr.methods.base import Base, Block, Float, TwoSided

if TYPE_CHECKING:
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Upsampling

# The weight of a pixel that touches a cloud, against 1 far away from any.
_NEAR_CLOUD = 1e-3


@dataclass(frozen=True, kw_only=True)
class EFAST(TwoSided):
    """Add the coarse change to each base image, and weight by time and by distance to cloud.

    ``sum_k w_k (F_k + C - C_k) / sum_k w_k`` with ``w_k = exp(-days**2 / (2 sigma**2)) s_k``;
    ``s_k`` rises from almost 0 at the edge of a cloud or gap of the base image to 1 at
    `cloud_distance`: what cloud masks miss lies at their edges.  With one base
    date, or without clouds at equal distances in time, it is "direct" with equal weights.

    Cost: one interpolation of the coarse change per base date, band and target date, and a distance
    transform per base date.

    Attributes
    ----------
    sigma : float
        Days; standard deviation of the weight in time.
    cloud_distance : float
        Coarse pixels beyond which a cloud counts no more; 0 leaves clouds out of the weights.
    fine_halo : int
        Fine pixels of `cloud_distance`; `bind` sets it.

    References
    ----------
    After the open program EFAST of DHI-GRAS.  It mosaics every scene of a season in one sum; here
    the two base dates nearest in time take part, the next ones where they are clouded.
    """

    name: str = "efast"
    sigma: float = option(20.0, above=0)
    cloud_distance: float = option(1.0, least=0)
    upsampling: Upsampling = shared("upsampling")
    fine_halo: int = bound(0)

    def bind(self, pair: CubePair) -> Self:
        """Measure the distance to cloud in fine pixels; see `Method.bind`."""
        return replace(self, fine_halo=int(np.ceil(self.cloud_distance * pair.alignment.ratio)))

    def side(self, block: Block, base: Base) -> Float:
        """Add the coarse change to the base image; see `TwoSided.side`."""
        return add_change(block, base, self.upsampling)

    def weight(self, block: Block) -> Float:
        """Weight the two sides by time and distance to cloud; see `TwoSided.weight`."""
        before, after = block.sides
        days = [(block.days - base.day).astype(int) for base in (before, after)]
        # Of w1 / (w1 + w2) only the ratio matters, which does not underflow far from both.
        ratio = np.exp((days[0] ** 2 - days[1] ** 2) / (2.0 * self.sigma**2))
        odds = ratio[:, None, None, None] * (self._clear(block, after) / self._clear(block, before))
        weight: Float = (1 / (1 + odds)).astype(np.float32)
        return weight

    def _clear(self, block: Block, base: Base) -> Float:
        """Score the distance to cloud, shape ``(y, x)``; one number where all is clear."""
        from scipy.ndimage import distance_transform_edt

        if not self.fine_halo:
            return np.ones((1, 1), np.float32)
        window = block.tile.padded(self.fine_halo)
        clear = np.isfinite(base.fine).all(axis=0)
        clear |= ~inside_grid(window, block.upsample.alignment.shape)
        if clear.all():
            return np.ones((1, 1), np.float32)
        distance = distance_transform_edt(clear)[block.fine_core]
        score: Float = np.clip(distance / self.fine_halo, _NEAR_CLOUD, 1).astype(np.float32)
        return score
