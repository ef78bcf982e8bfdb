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
    Mixture,
    as_seen,
    change_of,
    look,
    mean_support,
    mixture_of,
    spread_out,
    to_interpolate,
    whole,
)
from biastf_xr.methods.plus._fit import learn
from biastf_xr.methods.plus._uncertainty import REACH, local_square, sigma_of_terms, terms

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from biastf_xr._series import Smoothing
    from biastf_xr._summary import Summary
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.methods.base import FitRun, SceneView

# Below this trust of a fit in the coarse images the user is warned.
HALF_TRUST = 0.5

# Coarse pixels beyond those of the interpolation that count: the blur of the footprint and the
# windows of position, likeness and variety.
COARSE_MARGIN = 3

# Fine pixels that count, in coarse pixels: what the interpolation touches, and the blur around it.
FINE_REACH = 2.5

# Target dates whose whole coarse images are in memory together.
BATCH = 16


@dataclass(frozen=True, repr=False)
class Plus(LearnedMethod):
    """Bring the change that the coarse sensor sees to the fine grid, in five steps.

    1. The coarse series is smoothed in time, abrupt changes kept apart.
    2. Coarse changes are divided by the coarse sensor's response to what the fine one sees.
    3. Between two base dates every place has a *position*: fields that change one after the other
       do not all follow the calendar.
    4. What the position leaves of the coarse change is explained by the base images of all bands,
       and the same mixture is applied to the fine base images.
    5. The rest is interpolated.

    Steps 4 and 5 are weighted by the number of observations behind them.  If the coarse images did
    not help on the dates that the fit knows, all of it is reduced (``card.trust``), down to plain
    interpolation in time.
    Every prediction comes with the standard deviation of its error.

    The learned sensor bias of the paper is ``response``, and what the mixture adds; no network is
    involved.  The steps are this project's, not the paper's.

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
        """Estimate the mixture of every target date from whole coarse images.

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
                mean = mean_support(worth)
                near = [day for day in days if t in uses[day]]
                for day in near:
                    own = found[day].dates
                    own["support"][t] = mean
                    own["one"][t] = self._mixture(image, [bases[day]], [seen[day]], 0.0)
                    if day > targets[t]:
                        continue
                    for after in (d for d in near if d > targets[t]):
                        share = float((targets[t] - day) / (after - day))
                        flanks = [bases[day], bases[after]], [seen[day], seen[after]]
                        own[str(after)][t] = self._mixture(image, *flanks, share)
        return found

    def _blank(self, day: Any, days: Any, targets: int, bands: int) -> Prepared:
        """Make room for what is found of a base date."""
        arrays: dict[str, Any] = {"support": np.zeros(targets, np.float32)}
        arrays["one"] = np.zeros((targets, bands, bands + 5), np.float32)
        for after in days:
            if after > day:
                arrays[str(after)] = np.zeros((targets, bands, 2 * bands + 5), np.float32)
        return Prepared({}, arrays)

    def _mixture(
        self, target: Float, bases: Sequence[Float], seen: Sequence[Float], share: float
    ) -> Float:
        change = change_of(target, bases, share, self.card.sensors, self.card.options)
        rule = self.card.options
        seen_all = np.concatenate(seen)
        return mixture_of(change.anomaly, seen_all, rule.ridge, explain=rule.mixture).packed()

    def _seen(self, scene: SceneView) -> dict[np.datetime64, Float]:
        """Return whole base images as the coarse sensor would see them."""
        alignment = scene.alignment
        covered = covered_area(alignment.rows, alignment.cols, alignment.shape)
        parts = scene.fold(partial(look, alignment=alignment), list.__add__)
        return {
            day: whole(found, covered, self.card.options.footprint) for day, found in parts.items()
        }

    def fuse(self, block: Block) -> Prediction:
        """Predict; see `Method.fuse`."""
        bases = [b for b in (block.before, block.after) if b is not None]
        alignment, under = block.upsample.alignment, block.upsample.coarse
        window = block.tile.padded(self.fine_halo)
        inside = window.clipped(alignment.shape)
        cut, blur = inside.within(window), self.card.options.footprint
        seen = np.concatenate(
            [as_seen(b.fine[:, *cut], inside, alignment, under, blur) for b in bases]
        )
        trim = self.fine_halo - self.halo
        fine = [b.fine[:, trim : b.fine.shape[1] - trim, trim : b.fine.shape[2] - trim]
                for b in bases]  # fmt: skip
        difference = fine[1] - fine[0] if len(bases) == 2 else None
        apart = None if difference is None or not self.uncertain else local_square(difference)
        values = np.empty((len(block.days), len(block.bands), *block.tile.shape), np.float32)
        sigma = np.empty_like(values) if self.uncertain else None
        for t, day in enumerate(block.days):
            values[t], error = self._predict(block, t, day, bases, fine, seen, (difference, apart))
            if sigma is not None:
                sigma[t] = error
        if len(bases) == 2:
            made = from_both(values)
        elif block.before is not None:
            made = combine(values, None, None)
        else:
            made = combine(None, values, None)
        return replace(made, sigma=sigma)

    def _predict(
        self,
        block: Block,
        t: int,
        day: np.datetime64,
        bases: Any,
        fine: list[Float],
        seen: Float,
        differences: tuple[Float | None, Float | None],
    ) -> tuple[Float, Float | None]:
        """Predict one date: values and, if asked for, the standard deviation of their error.

        No value is negative where the base images are not: an abrupt darkening that the mixture
        spreads over brighter pixels ends at zero.
        """
        first = bases[0]
        known = first.prepared.dates
        pair = len(bases) == 2
        share = float((day - first.day) / (bases[1].day - first.day)) if pair else 0.0
        mixture = Mixture.unpack(known[str(bases[1].day) if pair else "one"][t])
        change = change_of(
            block.coarse[t], [b.coarse for b in bases], share, self.card.sensors, self.card.options
        )
        rule = self.card.options
        rest = to_interpolate(change, seen, mixture, block.support[t], rule.noise_local)
        fields = block.upsample(rest, "bilinear")
        kind = "two" if pair else "one"
        difference, apart = differences
        trust = np.float32(self.card.trust[kind])
        added = trust * spread_out(fields[1:], fine, mixture, float(known["support"][t]), rule)
        value = fine[0] + added
        if difference is not None:
            value += (np.float32(share) + trust * (fields[0] - np.float32(share))) * difference
        np.maximum(value, np.minimum(0, np.minimum(fine[0], fine[-1])), out=value)
        inner = slice(REACH, -REACH)
        value = value[:, inner, inner]
        if not self.uncertain:
            return value, None
        weights = np.array(self.card.error[kind], np.float32)
        return value, sigma_of_terms(terms(apart, share, added), weights)

    def describe(self) -> dict[str, Any]:
        """Describe; see `Method.describe`."""
        described = {"trust": dict(self.card.trust), **self.card.rule}
        return super().describe() | described

    def remarks(self) -> list[str]:
        """Return what the uncertainty is made from, and a warning of coarse images of no help."""
        card = self.card
        known = ", ".join(
            f"{n} dates from {k} base date{'s' if k == 'two' else ''}"
            for k, n in card.calibrated.items()
        )
        assumed = "" if all(card.calibrated.values()) else " (0: assumed)"
        said = [f"uncertainty from {known}{assumed}"]
        if min(card.trust.values()) < HALF_TRUST:
            said.append(
                "warning: the coarse images did not help on the dates that are known: predictions "
                f"stay near interpolation in time (trust {card.trust}). Check the coarse series: "
                "`biastf-xr info`, registration, cloud masks."
            )
        return said

    def summarise(self) -> Summary:
        """Return what was learned, by band and by number of base dates."""
        import pandas as pd

        summary, card = super().summarise(), self.card
        by_band = {
            "response of the coarse sensor": card.response,
            "noise of a coarse observation": card.noise,
            "change not shared": card.spread,
        }
        by_sides = {
            "trust in the coarse images": card.trust,
            "dates of the uncertainty": card.calibrated,
            "observed coverage of 68 %": card.coverage,
        }
        tables = {
            "by band": pd.DataFrame(by_band, index=pd.Index(card.bands, name="band"), dtype=float),
            "by number of base dates; a trust of 0 is interpolation in time": pd.DataFrame(
                by_sides
            ).rename_axis("base dates"),
        }
        summary.facts["options"] = ", ".join(f"{k} {v}" for k, v in card.rule.items())
        return replace(summary, tables=tables)
