"""Training samples of STFDCNN: what each network gets and should give, from single clear dates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.errors import MissingPairError
from biastf_xr.methods._learning.channels import fill_for_network
from biastf_xr.methods._learning.dates import near_target, training_days
from biastf_xr.methods._learning.patches import PatchReader, SampleSet, draw_patches
from biastf_xr.methods.stfdcnn._grids import covering, cut, downsample, fine_of, upsample
from biastf_xr.methods.stfdcnn._networks import LSR_PATCH

if TYPE_CHECKING:
    from biastf_xr.brackets import BracketRule
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Tile, Upsampling
    from biastf_xr.methods._learning.dates import Group
    from biastf_xr.methods._learning.patches import Patch
    from biastf_xr.methods._learning.rules import SampleRule
    from biastf_xr.methods.base import Float


@dataclass(frozen=True, kw_only=True)
class TwoSamples(SampleSet):
    """Samples of both networks.

    `coarse`: Shape ``(N, band, ...)``: the coarse image at the middle resolution, with the
    network's margin, no NaN.
    `middle`: The fine image at the middle resolution, without margin; NaN where not clear.
    `blurred`: The fine image at the middle resolution, interpolated to fine pixels, with
    margin, no NaN.
    `fine`: The fine image, without margin; NaN where not clear.
    """

    coarse: Float
    middle: Float
    blurred: Float
    fine: Float
    arrays = ("coarse", "middle", "blurred", "fine", "held_out")


def training_dates(pair: CubePair, rule: SampleRule, base_rule: BracketRule) -> list[Group]:
    """List the single dates to learn from.

    `rule`: All clear dates, the two around its target, or those before it.
    """
    days = near_target(training_days(pair, rule, base_rule), rule)
    if not days:
        raise MissingPairError(
            "training needs at least one date that is clear in both cubes; found none that may be "
            f"used (dates={rule.dates!r}, target {rule.target}). Add scenes, load a model fitted "
            "elsewhere (biastf_xr.load_method), or fuse with method='direct'."
        )
    return [(day,) for day in days]


def draw_two_samples(
    pair: CubePair,
    rule: SampleRule,
    *,
    factor: int,
    radius: int,
    upsampling: Upsampling,
    base_rule: BracketRule,
    seed: int,
) -> TwoSamples:
    """Draw patches of clear dates; reads only the windows it needs.

    `rule`: How to draw; ``patch`` and ``count`` tell the area, in patches of 8 middle pixels a
    side.
    `factor`: Fine pixels, a side, in a pixel of the middle resolution.
    `upsampling`: How coarse images are brought to the fine grid.
    """
    side = factor * max(1, min(LSR_PATCH, min(pair.alignment.shape) // factor))
    count = max(16, round(rule.count * (rule.patch / side) ** 2))
    dates = training_dates(pair, rule, base_rule)
    fine_halo = factor * -(-(radius + 2 * factor) // factor)
    reader = PatchReader(pair, side, max(factor * radius, fine_halo), fine_halo)

    def lowered(image: Float, held: Tile, window: Tile) -> Float:
        """Average an image over a window of the middle resolution."""
        return downsample(cut(image, held, fine_of(window, factor)), factor)

    def make(patch: Patch) -> dict[str, Float] | None:
        """Make a sample of a patch."""
        tile, whole = patch.site.tile, patch.upsample.fine
        held, wide = tile.padded(fine_halo), tile.padded(radius)
        fine = patch.fine[0]
        clear = np.isfinite(fine).all(axis=0)
        inner = cut(clear, held, tile)
        seen = patch.upsample(patch.coarse[0], upsampling)
        own = np.isfinite(cut(seen, whole, tile)).all(axis=0)
        if (inner & own).mean() < rule.min_clear:
            return None
        coarse = fill_for_network(seen, patch.coarse[0], patch.upsample, upsampling)
        filled = np.where(np.isfinite(fine), fine, cut(coarse, whole, held))
        known, around = np.where(clear, fine, np.float32(np.nan)), covering(wide, factor, 1)
        return {
            "coarse": lowered(coarse, whole, covering(tile, factor, radius)),
            "middle": downsample(cut(known, held, tile), factor),
            "blurred": upsample(lowered(filled, held, around), around, wide, factor),
            "fine": np.where(inner & own, cut(fine, held, tile), np.float32(np.nan)),
        }

    return TwoSamples.of(draw_patches(reader, dates, replace(rule, count=count), make, seed=seed))
