"""The variant "plus" of BiaSTF as a fusion method."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from biastf_xr.errors import CheckpointError
from biastf_xr.grid import covered_area
from biastf_xr.methods._sides import combine, from_both
from biastf_xr.methods.base import Block, Float, LearnedMethod, Prediction, Prepared, bound
from biastf_xr.methods.plus._card import NAME, PlusCard, PlusOptions
from biastf_xr.methods.plus._change import (
    PARTS,
    Explained,
    added_by,
    anomaly_of,
    as_seen,
    details_of,
    explain,
    fields_of,
    look,
    mean_support,
    noise_in,
    whole,
)
from biastf_xr.methods.plus._fit import learn
from biastf_xr.methods.plus._uncertainty import (
    REACH,
    local_square,
    nearest_days,
    sigma_of_terms,
    terms,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from biastf_xr._series import Smoothing
    from biastf_xr._summary import Summary
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.methods.base import FitRun, SceneView

# Where known dates leave less than this share of what is explained, the user is warned.
HALF = 0.5

# Coarse pixels beyond those of the interpolation that count: the blur of the footprint and the
# windows of slopes, position and likeness.
COARSE_MARGIN = 3

# Fine pixels that count, in coarse pixels: what the interpolation touches, the windows around it,
# and the blur around those.
FINE_REACH = 3.5

# Target dates whose whole coarse images are in memory together.
BATCH = 16


@dataclass(frozen=True, repr=False)
class Plus(LearnedMethod):
    """Bring the change that the coarse sensor sees to the fine grid, with nothing but estimates.

    What the fit finds on the known dates, in this order: the *footprint* of the coarse sensor; its
    *response* to change, drawn to 1 where it says little; its *noise*.

    A prediction is interpolation in time between the base images plus six parts, each times a
    share.  Interpolated to the fine grid are (1) the *mean* of the coarse anomaly, (2) what of it
    the base images *explain*, and (3) the *rest*, less the noise.  Detail below the coarse pixel is
    (4) the same *mixture* of the base images' detail, (5) the local *slope* of the anomaly on the
    base images times their detail, and (6) the *position* between the two base dates that inverse
    coarse change gives.  Shares are those that predict every known date best from its neighbours;
    all 0 is interpolation in time, so a coarse series that says nothing is left out.

    Every prediction comes with the standard deviation of its error.  No network is involved.  The
    steps are this project's, not the paper's.

    Attributes
    ----------
    checkpoint : pathlib.Path
        The model.
    sha256 : str
        Its hash.
    card : PlusCard
        What was learned.
    uncertain : bool
        Whether the standard deviation of the error is given too.
    fine_halo : int
        Follows from the grids.

    References
    ----------
    Li Y., Li J., He L., Chen J., Plaza A., Sci. China Inf. Sci. 63, 140302, 2020,
    doi 10.1007/s11432-019-2805-y, for the bias of change.
    """

    checkpoint: Path
    sha256: str
    card: PlusCard = field(repr=False, hash=False)
    uncertain: bool = True
    name: str = NAME
    fine_halo: int = bound(0)

    coarse_halo = COARSE_MARGIN
    halo = REACH
    options: ClassVar[type] = PlusOptions
    cards: ClassVar[type] = PlusCard
    at_once: ClassVar[bool] = True

    @property
    def smoothing(self) -> Smoothing | None:
        """Return how the coarse series is smoothed."""
        return self.card.smoothing

    @classmethod
    def fit(cls, pair: CubePair, options: PlusOptions, run: FitRun) -> Plus:
        """Fit on the clear dates of the cubes.

        Eager.  The coarse cube is held in memory near the fine dates; fine images are read tile by
        tile.  One clear date is enough: what cannot be learned then is assumed, and the card says
        so.
        """
        days = cls.training_days(pair, options, run.base_rule)
        return cls.write(run, learn(pair, days, options, run.progress))

    def bind(self, pair: CubePair) -> Self:
        """Size the halo on the grids; see `Method.bind`."""
        if set(pair.bands) != set(self.card.bands):
            raise CheckpointError(
                f"the model was fitted on the bands {list(self.card.bands)}, these cubes have "
                f"{list(pair.bands)}; it mixes bands and needs the same. Select them, or fit again."
            )
        super().bind(pair)
        return replace(self, fine_halo=int(np.ceil(FINE_REACH * pair.alignment.ratio)) + 1)

    def prepare(self, scene: SceneView) -> dict[np.datetime64, Prepared]:
        """Explain the anomaly of every target date from whole coarse images.

        The fine image of every base date is seen once, the coarse ones in batches of dates.
        """
        seen = self._seen(scene)
        days, targets = scene.days, scene.targets
        bases = dict(zip(days, scene.coarse(days, bases=True), strict=True)) if days else {}
        bands = len(scene.bands)
        found = {day: self._blank(day, days, targets.size, bands) for day in days}
        uses = {day: set(scene.targets_of(day).tolist()) for day in days}
        wanted = sorted(set().union(*uses.values())) if uses else []
        for start in range(0, len(wanted), BATCH):
            some = wanted[start : start + BATCH]
            images, support = scene.coarse(targets[some]), scene.support(targets[some])
            for t, image, worth in zip(some, images, support, strict=True):
                explained = partial(self._explain, image, mean_support(worth))
                near = [day for day in days if t in uses[day]]
                for day in near:
                    own = found[day].dates
                    own["one"][t] = explained([bases[day]], [seen[day]], None)
                    if day > targets[t]:
                        continue
                    for after in (d for d in near if d > targets[t]):
                        share = float((targets[t] - day) / (after - day))
                        flanks = [bases[day], bases[after]], [seen[day], seen[after]]
                        own[str(after)][t] = explained(*flanks, share)
        return found

    def _blank(self, day: Any, days: Any, targets: int, bands: int) -> Prepared:
        """Make room for what is found of a base date."""
        arrays: dict[str, Any] = {"one": np.zeros((targets, bands, bands + 5), np.float32)}
        for after in days:
            if after > day:
                arrays[str(after)] = np.zeros((targets, bands, 2 * bands + 5), np.float32)
        return Prepared({}, arrays)

    def _explain(
        self,
        target: Float,
        support: float,
        bases: Sequence[Float],
        seen: Sequence[Float],
        share: float | None,
    ) -> Float:
        card = self.card
        anomaly = anomaly_of(target, bases, share or 0.0, card.response)
        doubt = card.doubt["one" if share is None else "two"]
        noise = doubt * noise_in(card.scatter, card.response, share, support)
        return explain(anomaly, seen, noise).packed()

    def _seen(self, scene: SceneView) -> dict[np.datetime64, Float]:
        """Return whole base images as the coarse sensor would see them."""
        alignment = scene.alignment
        covered = covered_area(alignment.rows, alignment.cols, alignment.shape)
        parts = scene.fold(partial(look, alignment=alignment), list.__add__)
        return {day: whole(found, covered, self.card.footprint) for day, found in parts.items()}

    def fuse(self, block: Block) -> Prediction:
        """Predict; see `Method.fuse`.

        No value is negative where the base images are not: an abrupt darkening that the mixture
        spreads over brighter pixels ends at zero.
        """
        bases = [b for b in (block.before, block.after) if b is not None]
        pair = len(bases) == 2
        kind, first = ("two" if pair else "one"), bases[0]
        known = first.prepared.dates[str(bases[1].day) if pair else "one"]  # type: ignore[union-attr]
        alignment, under = block.upsample.alignment, block.upsample.coarse
        window = block.tile.padded(self.fine_halo)
        inside = window.clipped(alignment.shape)
        cut = inside.within(window)
        seen = [as_seen(b.fine[:, *cut], inside, alignment, under, self.card.footprint)
                for b in bases]  # fmt: skip
        trim = self.fine_halo - self.halo
        fine = [b.fine[:, trim : b.fine.shape[1] - trim, trim : b.fine.shape[2] - trim]
                for b in bases]  # fmt: skip
        details = details_of(fine, seen, block.upsample)
        difference = fine[1] - fine[0] if pair else None
        apart = None if difference is None or not self.uncertain else local_square(difference)
        floor = np.minimum(0, np.minimum(fine[0], fine[-1]))
        inner = (..., slice(REACH, -REACH), slice(REACH, -REACH))
        weights = np.array(self.card.error[kind], np.float32)
        values = np.empty((len(block.days), len(block.bands), *block.tile.shape), np.float32)
        sigma = np.empty_like(values) if self.uncertain else None
        for t, day in enumerate(block.days):
            share = float((day - first.day) / (bases[1].day - first.day)) if pair else 0.0
            near = nearest_days(day, [b.day for b in bases])
            coarse = [b.coarse for b in bases]
            found = Explained.unpack(known[t])
            fields = fields_of(block.coarse[t], coarse, seen, share, self.card.response, found)
            low, detail = added_by(fields, details, block.upsample, self.card.shares[kind])
            value = fine[0] + low + detail
            if difference is not None:
                value += np.float32(share) * difference
            np.maximum(value, floor, out=value)
            values[t] = value[inner]
            if sigma is not None:
                sigma[t] = sigma_of_terms(terms(apart, (near, share), low, detail), weights)
        if pair:
            made = from_both(values)
        elif block.before is not None:
            made = combine(values, None, None)
        else:
            made = combine(None, values, None)
        return replace(made, sigma=sigma)

    def describe(self) -> dict[str, Any]:
        """Describe; see `Method.describe`."""
        described = {"footprint": self.card.footprint, "shares": dict(self.card.shares)}
        return super().describe() | described | self.card.rule

    def remarks(self) -> list[str]:
        """Return what the uncertainty is made from, and a warning of coarse images of no help."""
        card = self.card
        known = ", ".join(
            f"{n} dates from {k} base date{'s' if k == 'two' else ''}"
            for k, n in card.calibrated.items()
        )
        assumed = "" if all(card.calibrated.values()) else " (0: assumed)"
        said = [f"uncertainty from {known}{assumed}"]
        least = min(shares[PARTS.index("explained")] for shares in card.shares.values())
        if least < HALF:
            said.append(
                "warning: the coarse images did not help on the dates that are known: predictions "
                f"stay near interpolation in time ({least:.0%} of what they explain is taken). "
                "Check the coarse series: `biastf-xr info`, registration, cloud masks."
            )
        return said

    def summarise(self) -> Summary:
        """Return what was learned, by band and by number of base dates."""
        import pandas as pd

        summary, card = super().summarise(), self.card
        by_band = {
            "response of the coarse sensor": card.response,
            "noise of a coarse observation": card.noise,
            "noise beside the fine image": card.scatter,
        }
        shares = {kind: dict(zip(PARTS, v, strict=True)) for kind, v in card.shares.items()}
        by_sides = pd.DataFrame(shares).T.add_prefix("share of ")
        by_sides["known dates"] = card.calibrated
        by_sides["observed coverage of 68 %"] = card.coverage
        tables = {
            "by band": pd.DataFrame(by_band, index=pd.Index(card.bands, name="band"), dtype=float),
            "by number of base dates; shares of 0 are interpolation in time": (
                by_sides.rename_axis("base dates")
            ),
        }
        summary.facts["footprint"] = f"{card.footprint:g} coarse pixels beyond its own"
        summary.facts["options"] = ", ".join(f"{k} {v}" for k, v in card.rule.items())
        return replace(summary, tables=tables)
