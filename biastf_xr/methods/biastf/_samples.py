"""Training samples of BiaSTF: patches of coarse change and of its bias, drawn from the cubes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.methods._learning.channels import fill_for_network, smooth_coarse, smooth_radius
from biastf_xr.methods._learning.dates import training_pairs
from biastf_xr.methods._learning.patches import PatchReader, draw_patches, held_days
from biastf_xr.methods.biastf._network import WITH_IMAGES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.brackets import BracketRule
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Upsampling
    from biastf_xr.methods._learning.patches import Patch
    from biastf_xr.methods._learning.rules import SampleRule
    from biastf_xr.methods.base import Float


@dataclass(frozen=True)
class Samples:
    """Patches of coarse change with the bias of that change.

    `change`: Shape ``(N, band, P + 2 * halo, P + 2 * halo)``: dC on the fine grid, no NaN.
    `bias`: Shape ``(N, band, P, P)``: ``dF - dC``; NaN where not clear.
    `held_out`: Shape ``(N,)``: kept for early stopping.
    `pairs`: The pairs of days used.
    `days`: Shape ``(N,)``: days between the two dates.
    `held_days`: Dates that only patches held out are of.
    `fine`, `coarse`: Shape ``(N, 2, band, P + 2 * halo, P + 2 * halo)``: the images of both
    dates on the fine grid, no NaN; None where no network asks for them.
    """

    change: Float
    bias: Float
    held_out: NDArray[np.bool_]
    pairs: tuple[tuple[str, str], ...]
    days: NDArray[np.int64]
    held_days: tuple[str, ...] = ()
    fine: Float | None = None
    coarse: Float | None = None

    def sha256(self) -> str:
        """Return a hash of all values."""
        total = hashlib.sha256()
        for part in (self.change, self.bias, self.held_out, self.fine, self.coarse):
            if part is not None:
                total.update(np.ascontiguousarray(part).tobytes())
        return total.hexdigest()


@dataclass(frozen=True)
class _Drawn:
    change: Float
    bias: Float
    fine: Float | None
    coarse: Float | None


@dataclass(frozen=True)
class _Cutter:
    """Makes a sample of a patch."""

    halo: int
    upsampling: Upsampling
    denoise: float
    inputs: str
    min_clear: float

    def __call__(self, patch: Patch) -> _Drawn | None:
        halo, how, upsample = self.halo, self.upsampling, patch.upsample
        size = patch.site.tile.shape[0]
        core = slice(halo, halo + size)
        step = smooth_coarse(patch.coarse[1] - patch.coarse[0], self.denoise)
        seen = upsample(step, how)
        margin = (patch.fine.shape[-1] - size) // 2
        inner = patch.fine[..., margin : margin + size, margin : margin + size]
        bias = inner[1] - inner[0] - seen[:, core, core]
        clear = np.isfinite(bias).all(axis=0)
        if clear.mean() < self.min_clear:
            return None
        change = fill_for_network(seen, step, upsample, how)
        bias = np.where(clear, bias, np.float32(np.nan))
        if self.inputs not in WITH_IMAGES:
            return _Drawn(change, bias, None, None)
        image = smooth_coarse(patch.coarse, self.denoise)
        coarse = fill_for_network(upsample(image, how), image, upsample, how)
        fine = np.where(np.isfinite(patch.fine), patch.fine, coarse)
        return _Drawn(change, bias, fine, coarse if "coarse" in self.inputs else None)


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
    cut = _Cutter(halo, upsampling, denoise, inputs, rule.min_clear)
    drawn = draw_patches(reader, groups, rule, cut, seed=seed)
    sites, parts = [site for site, _ in drawn], [part for _, part in drawn]
    return Samples(
        change=np.stack([p.change for p in parts]),
        bias=np.stack([p.bias for p in parts]),
        held_out=np.array([site.held_out for site in sites]),
        pairs=tuple(sorted({(str(s.days[0]), str(s.days[1])) for s in sites})),
        days=np.array([(s.days[1] - s.days[0]).astype(int) for s in sites]),
        held_days=held_days(sites),
        fine=_stacked([p.fine for p in parts]),
        coarse=_stacked([p.coarse for p in parts]),
    )


def _stacked(parts: list[Float | None]) -> Float | None:
    there = [part for part in parts if part is not None]
    return np.stack(there) if there else None
