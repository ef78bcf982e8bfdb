"""Training samples of STFDCNN: what each network gets and should give, from single clear dates."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.errors import MissingPairError
from biastf_xr.methods._learning.channels import fill_for_network
from biastf_xr.methods._learning.dates import training_days
from biastf_xr.methods._learning.patches import PatchReader, draw_patches, held_days
from biastf_xr.methods.stfdcnn._grids import covering, cut, downsample, fine_of, upsample
from biastf_xr.methods.stfdcnn._networks import LSR_PATCH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.brackets import BracketRule
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Tile, Upsampling
    from biastf_xr.methods._learning.dates import Group
    from biastf_xr.methods._learning.patches import Patch
    from biastf_xr.methods._learning.rules import SampleRule
    from biastf_xr.methods.base import Float


@dataclass(frozen=True)
class TwoSamples:
    """Samples of both networks.

    `coarse`: Shape ``(N, band, ...)``: the coarse image at the middle resolution, with the
    network's margin, no NaN.
    `middle`: The fine image at the middle resolution, without margin; NaN where not clear.
    `blurred`: The fine image at the middle resolution, interpolated to fine pixels, with
    margin, no NaN.
    `fine`: The fine image, without margin; NaN where not clear.
    `held_out`: Shape ``(N,)``: kept for early stopping.
    `days`, `held_days`: Dates of the samples; those that only samples held out are of.
    """

    coarse: Float
    middle: Float
    blurred: Float
    fine: Float
    held_out: NDArray[np.bool_]
    days: tuple[str, ...]
    held_days: tuple[str, ...]

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the days as a card has them."""
        return tuple((day, day) for day in self.days)

    def sha256(self) -> str:
        """Return a hash of all values."""
        total = hashlib.sha256()
        for part in (self.coarse, self.middle, self.blurred, self.fine, self.held_out):
            total.update(np.ascontiguousarray(part).tobytes())
        return total.hexdigest()


@dataclass(frozen=True)
class _Drawn:
    coarse: Float
    middle: Float
    blurred: Float
    fine: Float


@dataclass(frozen=True)
class _Cutter:
    """Makes the samples of a patch."""

    factor: int
    radius: int
    upsampling: Upsampling
    min_clear: float
    fine_halo: int

    def __call__(self, patch: Patch) -> _Drawn | None:
        tile, factor = patch.site.tile, self.factor
        held = tile.padded(self.fine_halo)
        fine = patch.fine[0]
        clear = np.isfinite(fine).all(axis=0)
        inner = cut(clear, held, tile)
        seen = patch.upsample(patch.coarse[0], self.upsampling)
        own = np.isfinite(cut(seen, patch.upsample.fine, tile)).all(axis=0)
        if (inner & own).mean() < self.min_clear:
            return None
        coarse = fill_for_network(seen, patch.coarse[0], patch.upsample, self.upsampling)
        middle = np.where(clear, fine, np.float32(np.nan))
        filled = np.where(np.isfinite(fine), fine, cut(coarse, patch.upsample.fine, held))
        return _Drawn(
            self._coarse(coarse, patch.upsample.fine, tile),
            downsample(cut(middle, held, tile), factor),
            self._blurred(filled, held, tile),
            np.where(inner & own, cut(fine, held, tile), np.float32(np.nan)),
        )

    def _coarse(self, coarse: Float, held: Tile, tile: Tile) -> Float:
        wide = covering(tile, self.factor, self.radius)
        return downsample(cut(coarse, held, fine_of(wide, self.factor)), self.factor)

    def _blurred(self, filled: Float, held: Tile, tile: Tile) -> Float:
        wide = tile.padded(self.radius)
        window = covering(wide, self.factor, 1)
        middle = downsample(cut(filled, held, fine_of(window, self.factor)), self.factor)
        return upsample(middle, window, wide, self.factor)


def training_dates(pair: CubePair, rule: SampleRule, base_rule: BracketRule) -> list[Group]:
    """List the single dates to learn from.

    `rule`: All clear dates, the two around its target, or those before it.
    """
    days = training_days(pair, rule, base_rule)
    if rule.target is not None and rule.dates != "all":
        target = np.datetime64(rule.target, "D")
        before, after = [d for d in days if d < target], [d for d in days if d > target]
        days = before if rule.dates == "earlier" else [*before[-1:], *after[:1]]
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
    make = _Cutter(factor, radius, upsampling, rule.min_clear, fine_halo)
    drawn = draw_patches(reader, dates, replace(rule, count=count), make, seed=seed)
    sites, parts = [site for site, _ in drawn], [part for _, part in drawn]
    return TwoSamples(
        coarse=np.stack([p.coarse for p in parts]),
        middle=np.stack([p.middle for p in parts]),
        blurred=np.stack([p.blurred for p in parts]),
        fine=np.stack([p.fine for p in parts]),
        held_out=np.array([site.held_out for site in sites]),
        days=tuple(sorted({str(d) for s in sites for d in s.days})),
        held_days=held_days(sites),
    )
