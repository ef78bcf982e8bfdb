"""Training samples of BiaSTF: patches of coarse change and of its bias, drawn from the cubes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.methods._learning.channels import fill_for_network, smooth_coarse, smooth_radius
from biastf_xr.methods._learning.dates import training_pairs
from biastf_xr.methods._learning.patches import PatchReader, SampleSet, draw_patches
from biastf_xr.methods.biastf._network import WITH_IMAGES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.brackets import BracketRule
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Upsampling
    from biastf_xr.methods._learning.patches import Patch
    from biastf_xr.methods._learning.rules import SampleRule
    from biastf_xr.methods.base import Float


@dataclass(frozen=True, kw_only=True)
class Samples(SampleSet):
    """Patches of coarse change with the bias of that change.

    `change`: Shape ``(N, band, P + 2 * halo, P + 2 * halo)``: dC on the fine grid, no NaN.
    `bias`: Shape ``(N, band, P, P)``: ``dF - dC``; NaN where not clear.
    `days`: Shape ``(N,)``: days between the two dates.
    `fine`, `coarse`: Shape ``(N, 2, band, P + 2 * halo, P + 2 * halo)``: the images of both
    dates on the fine grid, no NaN; None where no network asks for them.
    """

    change: Float
    bias: Float
    days: NDArray[np.int64]
    fine: Float | None = None
    coarse: Float | None = None
    arrays = ("change", "bias", "held_out", "fine", "coarse")


def draw_samples(
    pair: CubePair,
    rule: SampleRule,
    *,
    halo: int,
    upsampling: Upsampling,
    base_rule: BracketRule,
    seed: int,
    inputs: str = "change",
    denoise: float = 0.0,
) -> Samples:
    """Draw patches over the pairs of clear dates; reads only the windows it needs.

    Only values that both sensors observed clearly on both days are used: nothing is filled in.

    `upsampling`: How the coarse change is brought to the fine grid.
    """
    groups = training_pairs(pair, rule, base_rule)
    reader = PatchReader(
        pair,
        min(rule.patch, *pair.alignment.shape),
        halo,
        fine_halo=halo if inputs in WITH_IMAGES else 0,
        coarse_halo=1 + smooth_radius(denoise),
    )

    def cut(patch: Patch) -> dict[str, Float] | None:
        """Make a sample of a patch."""
        upsample, tile, held = patch.upsample, patch.site.tile, patch.site.tile.padded(halo)
        step = smooth_coarse(patch.coarse[1] - patch.coarse[0], denoise)
        seen = upsample(step, upsampling)
        inner = patch.fine[..., *tile.within(tile.padded(reader.fine_halo))]
        bias = inner[1] - inner[0] - seen[..., *tile.within(held)]
        clear = np.isfinite(bias).all(axis=0)
        if clear.mean() < rule.min_clear:
            return None
        made = {
            "change": fill_for_network(seen, step, upsample, upsampling),
            "bias": np.where(clear, bias, np.float32(np.nan)),
        }
        if inputs in WITH_IMAGES:
            image = smooth_coarse(patch.coarse, denoise)
            coarse = fill_for_network(upsample(image, upsampling), image, upsample, upsampling)
            made["fine"] = np.where(np.isfinite(patch.fine), patch.fine, coarse)
            if "coarse" in inputs:
                made["coarse"] = coarse
        return made

    drawn = draw_patches(reader, groups, rule, cut, seed=seed)
    days = np.array([(site.days[1] - site.days[0]).astype(int) for site, _ in drawn])
    return Samples.of(drawn, days=days)
