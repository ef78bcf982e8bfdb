"""The variant "plus" of BiaSTF as a fusion method."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from biastf_xr._series import Smoothing
from biastf_xr._summary import Summary, Told
from biastf_xr.errors import CheckpointError
from biastf_xr.grid import area_sums, covered_area, mean_of
from biastf_xr.methods._model_summary import summarise_plus
from biastf_xr.methods.base import (
    Block,
    Float,
    Plain,
    Prediction,
    Prepared,
    bound,
    combine,
    from_both,
)
from biastf_xr.methods.plus._change import (
    Mixture,
    Sensors,
    as_seen,
    blurred,
    change_of,
    gain,
    left_over,
    mixture_of,
)
from biastf_xr.methods.plus._model import NAME, PlusCard, read_model
from biastf_xr.methods.plus._uncertainty import REACH, local_square, sigma_of_terms, terms
from biastf_xr.methods.plus.settings import PlusRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Alignment, Tile
    from biastf_xr.methods.base import SceneView

# A model may serve another grid if its ratio of pixel sizes differs by no more than this.
RATIO_TOLERANCE = 0.05

# Coarse pixels beyond those of the interpolation that count: the blur of the footprint and the
# windows of position, likeness and variety.
COARSE_MARGIN = 3

# Fine pixels that count, in coarse pixels: what the interpolation touches, and the blur around it.
FINE_REACH = 2.5

# Target dates whose whole coarse images are in memory together.
BATCH = 16


@dataclass(frozen=True, repr=False)
class Plus(Told, Plain):
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

    needs_two_sides = False
    coarse_halo = COARSE_MARGIN
    halo = REACH

    def _summary(self) -> Summary:
        return summarise_plus(self.card, self.sha256)

    @cached_property
    def rule(self) -> PlusRule:
        """Return the options."""
        return PlusRule(**self.card.rule)

    @cached_property
    def sensors(self) -> Sensors:
        """Return how the two sensors compare."""
        response = np.array(self.card.response, np.float32)
        if not self.rule.response:
            response = np.ones_like(response)
        return Sensors(response, np.array(self.card.spread, np.float32))

    @property
    def smoothing(self) -> Smoothing | None:  # type: ignore[override]
        """Return how the coarse series is smoothed."""
        rule = self.rule
        if not rule.smoothing:
            return None
        noise = tuple(self.card.noise), tuple(self.card.jitter)
        return Smoothing(rule.smoothing, rule.tolerance, *noise)

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> Plus:
        """Load a fitted method.

        `**options`: ``uncertain``; those of where networks run mean nothing here.
        """
        path = Path(path).resolve()
        card, sha256 = read_model(path)
        own = {k: v for k, v in options.items() if k not in ("device", "precision")}
        return cls(path, sha256, card, **own)

    def save(self, path: str | Path) -> Plus:
        """Copy the model to a place of your own."""
        path = Path(path).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.checkpoint, path)
        return replace(self, checkpoint=path)

    def bind(self, pair: CubePair) -> Self:
        """Size the halo on the grids; see `Method.bind`."""
        if set(pair.bands) != set(self.card.bands):
            raise CheckpointError(
                f"the model was fitted on the bands {list(self.card.bands)}, these cubes have "
                f"{list(pair.bands)}; it mixes bands and needs the same. Select them, or fit again."
            )
        ratio = pair.alignment.ratio
        if abs(ratio / self.card.ratio - 1) > RATIO_TOLERANCE:
            raise CheckpointError(
                f"the model was fitted at a ratio of coarse to fine pixel of "
                f"{self.card.ratio:.2f}, these cubes have {ratio:.2f}. Fit it on them."
            )
        return replace(self, fine_halo=int(np.ceil(FINE_REACH * ratio)) + 1)

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
                mean = float(worth[worth > 0].mean()) if (worth > 0).any() else 0.0
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
        change = change_of(target, bases, share, self.sensors, self.rule)
        rule = self.rule
        seen_all = np.concatenate(seen)
        return mixture_of(change.anomaly, seen_all, rule.ridge, explain=rule.mixture).packed()

    def _seen(self, scene: SceneView) -> dict[np.datetime64, Float]:
        """Return whole base images as the coarse sensor would see them."""
        alignment = scene.alignment
        covered = covered_area(alignment.rows, alignment.cols, alignment.shape)
        parts = scene.fold(partial(look, alignment=alignment), list.__add__)
        return {day: whole(found, covered, self.rule.footprint) for day, found in parts.items()}

    def fuse(self, block: Block) -> Prediction:
        """Predict; see `Method.fuse`."""
        bases = [b for b in (block.before, block.after) if b is not None]
        alignment, under = block.upsample.alignment, block.upsample.coarse
        window = block.tile.padded(self.fine_halo)
        inside = window.clipped(alignment.shape)
        cut = (
            slice(inside.y0 - window.y0, inside.y1 - window.y0),
            slice(inside.x0 - window.x0, inside.x1 - window.x0),
        )
        seen = np.concatenate(
            [as_seen(b.fine[:, *cut], inside, alignment, under, self.rule.footprint) for b in bases]
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
            made = from_both(values, np.zeros((len(values), *block.tile.shape), np.bool_))
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
            block.coarse[t], [b.coarse for b in bases], share, self.sensors, self.rule
        )
        rest = left_over(change.anomaly, seen, mixture)
        rest *= gain(block.support[t], mixture.energy[2], self.rule.noise_local)
        fields = block.upsample(np.concatenate([change.position[None], rest]), "bilinear")
        kind = "two" if pair else "one"
        difference, apart = differences
        trust = np.float32(self.card.trust[kind])
        added = trust * self.spread(fields[1:], fine, mixture, float(known["support"][t]))
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

    def spread(self, rest: Float, fine: list[Float], mixture: Mixture, support: float) -> Float:
        """Bring the anomaly to the fine grid: what the mixture explains, its mean, and the rest.

        `rest`: Shape ``(band, y, x)``: what the mixture leaves, interpolated.
        `fine`: Base images, shape ``(band, y, x)``.
        `support`: Observations behind the coarse image, as a mean over the scene.
        """
        rule = self.rule
        believed = gain(support, mixture.energy[1], rule.noise_mixture)
        level = mixture.mean * gain(support, mixture.energy[0], rule.noise_mean)
        constant = mixture.constant * believed + level
        added: Float = rest + constant[:, None, None].astype(np.float32)
        if rule.mixture:
            weights = (mixture.weights * believed).astype(np.float32)
            pixels = np.concatenate(fine).reshape(weights.shape[1], -1)
            added += (weights @ pixels).reshape(added.shape)
        return added

    def describe(self) -> dict[str, Any]:
        """Describe; see `Method.describe`."""
        return {
            "method": self.name,
            **self.card.rule,
            "uncertain": self.uncertain,
            "trust": dict(self.card.trust),
            "checkpoint_sha256": self.sha256,
            "trained_on": list(self.card.days),
        }


Part = tuple["Tile", Any, Any]


def look(_: np.datetime64, image: Float, tile: Tile, *, alignment: Alignment) -> list[Part]:
    """Sum a tile over coarse pixels."""
    under = alignment.coarse_tile(tile)
    rows = alignment.rows.within(tile.y0, under.y0, under.shape[0])
    cols = alignment.cols.within(tile.x0, under.x0, under.shape[1])
    return [(under, *area_sums(image, rows, cols))]


def whole(parts: list[Part], covered: Any, blur: float) -> Float:
    """Join sums over tiles into an image as the coarse sensor would see it.

    `covered`: Area of every coarse pixel that the fine grid covers.
    `blur`: Standard deviation of the footprint in coarse pixels.
    """
    shape = (len(parts[0][1]), *covered.shape)
    total, weight = np.zeros(shape), np.zeros(shape)
    for under, sums, areas in parts:
        rows, cols = under.slices
        total[:, rows, cols] += sums
        weight[:, rows, cols] += areas
    return blurred(mean_of(total, weight, covered), blur)
