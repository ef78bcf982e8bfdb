"""What a fusion will do: base dates of every target, tiles, and one unit of work for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from biastf_xr._summary import Summary, Told
from biastf_xr.brackets import (
    Bracket,
    BracketRule,
    Reach,
    base_dates,
    choose_targets,
    group_targets,
    reach_of,
)
from biastf_xr.errors import MissingPairError, TargetDateError
from biastf_xr.grid import Tile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Alignment
    from biastf_xr.methods.base import Method

CoarseGaps = Literal["fill", "leave"]

# What becomes of a target date that has a fine scene.
OWN_SCENE = "its own scene is kept"


@dataclass(frozen=True, kw_only=True)
class FusionRule:
    """How a fusion chooses its inputs.

    Attributes
    ----------
    bracket : BracketRule
        How base dates are chosen.
    coarse_gaps : {"fill", "leave"}
        Whether a target date's coarse pixels without a clear observation are filled in time, or
        left missing (days without a coarse scene are then no targets of "daily").
    coarse_max_gap : int
        Largest distance in days over which a coarse gap is filled in time.
    keep_observed : bool
        Whether pixels of a fine scene on a target date are kept as they are, where that scene may
        serve as a base date of others.
    dates_per_unit : int
        Most target dates computed together; bounds the memory of a unit.
    """

    bracket: BracketRule = BracketRule()  # noqa: RUF009  (frozen)
    coarse_gaps: CoarseGaps = "fill"
    coarse_max_gap: int = 16
    keep_observed: bool = True
    dates_per_unit: int = 8

    @property
    def own_gap(self) -> int:
        """Return the days over which a target date's own coarse gaps are filled."""
        return self.coarse_max_gap if self.coarse_gaps == "fill" else 0

    def __post_init__(self) -> None:
        if not 0 <= self.coarse_max_gap <= 254:
            raise TargetDateError(
                f"coarse_max_gap is {self.coarse_max_gap}; expected 0 to 254 days."
            )
        if self.coarse_gaps not in ("fill", "leave"):
            raise TargetDateError(f"coarse_gaps is {self.coarse_gaps!r}; expected fill or leave.")
        if self.dates_per_unit < 1:
            raise TargetDateError(f"dates_per_unit is {self.dates_per_unit}; expected at least 1.")


@dataclass(frozen=True)
class TileGrid:
    """The tiles of the output, numbered row by row."""

    shape: tuple[int, int]  # rows and columns of the fine grid
    size: tuple[int, int]  # rows and columns of a tile; the last ones may be smaller

    @property
    def counts(self) -> tuple[int, int]:
        """Return the rows and columns of tiles."""
        return -(-self.shape[0] // self.size[0]), -(-self.shape[1] // self.size[1])

    def __len__(self) -> int:
        return self.counts[0] * self.counts[1]

    def __getitem__(self, number: int) -> Tile:
        row, col = divmod(number, self.counts[1])
        y, x = row * self.size[0], col * self.size[1]
        return Tile(y, y + self.size[0], x, x + self.size[1]).clipped(self.shape)

    def pixels(self) -> NDArray[np.int64]:
        """Return the number of pixels of every tile."""
        sides = []
        for n, step, count in zip(self.shape, self.size, self.counts, strict=True):
            sides.append(np.minimum(step, n - step * np.arange(count, dtype=np.int64)))
        return np.multiply.outer(*sides).ravel()


@dataclass(frozen=True)
class Unit:
    """One tile of one bracket: read once, computed together, written as whole shards.

    Attributes
    ----------
    tile : Tile
        Output window.
    bracket : Bracket
        Target dates and base dates.
    dates : tuple of int
        Indices of the target dates among those of the plan.
    number : int
        Number of the tile.
    slot : int
        Number of the unit in its run.
    """

    tile: Tile
    bracket: Bracket
    dates: tuple[int, ...]
    number: int = 0
    slot: int = 0


@dataclass(frozen=True, repr=False)
class FusionPlan(Told):
    """All that is decided before the first pixel is read.

    Attributes
    ----------
    bands : tuple of str
        Bands to fuse.
    alignment : Alignment
        How the coarse grid lies under the fine one.
    rule : FusionRule
        The choices made.
    targets : ndarray of datetime64[D]
        Dates to predict, ascending.
    base : ndarray of datetime64[D]
        Fine dates that may serve as a base, ascending.
    reach : Reach
        Which of them each target may use.
    observed : ndarray of bool
        Which targets are fine acquisitions whose clear pixels are kept.
    tiles : TileGrid
        The tiles.
    covered : ndarray of bool
        Shape ``(base, tile)``: where a base date has a clear pixel.  What it has none of is never
        read.
    seen : ndarray of bool
        Shape ``(target, tile)``: where an observed target has a clear pixel.
    """

    bands: tuple[str, ...]
    alignment: Alignment
    rule: FusionRule
    targets: NDArray[np.datetime64]
    base: NDArray[np.datetime64]
    reach: Reach
    observed: NDArray[np.bool_]
    tiles: TileGrid
    covered: NDArray[np.bool_]
    seen: NDArray[np.bool_]

    def _summary(self) -> Summary:
        days, base, tiles = self.targets, self.base, self.tiles
        before, after = self.base_dates()
        none = int((np.isnat(before) & np.isnat(after)).sum())
        fills, gap = self.rule.coarse_gaps == "fill", self.rule.coarse_max_gap
        facts = {
            "bands": ", ".join(self.bands),
            "target dates": f"{days.size}, {days[0]} to {days[-1]}; {none} without a base date, "
            f"{int(self.observed.sum())} with a fine scene of the day",
            "base dates": f"{base.size}, {base[0]} to {base[-1]}",
            "tiles": f"{len(tiles)} of at most {tiles.size[0]} x {tiles.size[1]} pixels, "
            f"{tiles.shape[0]} x {tiles.shape[1]} in all",
            "coarse gaps": f"filled over at most {gap} days" if fills else "left",
        }
        return Summary("Plan of a fusion", facts)

    def bracket_of(self, target: int, tile: int) -> Bracket:
        """Return the base dates of one target in one tile."""
        before, after = self.bases_of(target, tile)
        days = tuple(self.base[before[::-1]]), tuple(self.base[after])
        return Bracket((self.targets[target],), *days, bool(self.seen[target, tile]))

    def bases_of(self, target: int, tile: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the indices of the base dates of one target in one tile."""
        reach, covered = self.reach, self.covered[:, tile]
        before = np.arange(reach.first[target], reach.split[target])
        after = np.arange(reach.resume[target], reach.last[target])
        return before[covered[before]], after[covered[after]]

    def units_of(self, tile: int, wanted: NDArray[np.intp] | None = None) -> list[Unit]:
        """List the work on one tile in order of time, for the targets wanted; all by default."""
        dates = range(self.targets.size) if wanted is None else wanted
        singles = [self.bracket_of(int(t), tile) for t in dates]
        sides = [(b.before, b.after) for b in singles]
        runs = group_targets(sides, [b.observed for b in singles], self.rule.dates_per_unit)
        return [
            Unit(
                self.tiles[tile],
                replace(singles[run[0]], targets=tuple(singles[i].targets[0] for i in run)),
                tuple(int(dates[i]) for i in run),
                tile,
            )
            for run in runs
        ]

    def units(self, todo: NDArray[np.bool_] | None = None) -> Iterator[Unit]:
        """List the work, or what is to do of it, so that base images are read once a tile."""
        for tile in range(len(self.tiles)):
            if todo is None:
                yield from self.units_of(tile)
            elif todo[:, tile].any():
                yield from self.units_of(tile, np.flatnonzero(todo[:, tile]))

    def nearest(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the nearest base date before and after, (target, tile): index, -1 for none."""
        number = np.arange(self.base.size, dtype=np.int32)[:, None]
        none = np.full((1, len(self.tiles)), -1, np.int32)
        last = np.maximum.accumulate(np.where(self.covered, number, np.int32(-1)), axis=0)
        big = np.int32(self.base.size)
        onward = np.where(self.covered, number, big)[::-1]
        following = np.minimum.accumulate(onward, axis=0)[::-1]
        before = np.concatenate([none, last])[self.reach.split]
        after = np.concatenate([following, none + 1 + big])[self.reach.resume]
        before[before < self.reach.first[:, None]] = -1
        after[after >= self.reach.last[:, None]] = -1
        return before, after

    def base_dates(self) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]]:
        """Return the nearest base date on each side of every target."""
        none = np.datetime64("NaT", "s")
        days = self.base.astype("datetime64[s]")
        sides = []
        for index, there in (
            (self.reach.split - 1, self.reach.split > self.reach.first),
            (self.reach.resume, self.reach.last > self.reach.resume),
        ):
            sides.append(np.where(there, days[np.clip(index, 0, days.size - 1)], none))
        return sides[0], sides[1]

    def runs(self, todo: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return where a unit begins, in the shape of `todo`: as often as `units` has units."""
        begins = np.zeros_like(todo)
        share = self._identity()
        last = np.zeros(todo.shape[1], share.dtype)
        length = np.full(todo.shape[1], self.rule.dates_per_unit, np.int64)
        alone = np.ones(todo.shape[1], bool)
        for t in range(todo.shape[0]):
            new = alone | self.seen[t] | (share[t] != last) | (length == self.rule.dates_per_unit)
            begins[t] = todo[t] & new
            length = np.where(todo[t], np.where(new, 1, length + 1), length)
            last = np.where(todo[t], share[t], last)
            alone = np.where(todo[t], self.seen[t], alone)
        return begins

    def _identity(self) -> NDArray[np.uint64]:
        """Return a number per target and tile that is equal where the base dates are."""
        rng = np.random.default_rng(0)
        numbers = rng.integers(1, 2**63, (self.base.size, 2), dtype=np.uint64)
        total = np.zeros((self.targets.size, len(self.tiles)), np.uint64)
        for side, (low, high) in enumerate(self.reach.sides):
            total += window_sums(self.covered, numbers[:, side], low, high)
        return total


def window_sums(
    covered: NDArray[np.bool_],
    numbers: NDArray[np.uint64],
    low: NDArray[np.intp],
    high: NDArray[np.intp],
) -> NDArray[np.uint64]:
    """Sum numbers of covered base dates over a window a target: (target, tile), modulo 2**64."""
    running = np.zeros((covered.shape[0] + 1, covered.shape[1]), np.uint64)
    np.cumsum(covered * numbers[:, None], axis=0, dtype=np.uint64, out=running[1:])
    return running[high] - running[low]


def build_plan(
    pair: CubePair,
    method: Method,
    dates: Any = "daily",
    rule: FusionRule | None = None,
    *,
    tile: tuple[int, int] | None = None,
    clear: ClearPixels | None = None,
) -> FusionPlan:
    """Decide what a fusion will do; reads metadata only.

    One tile for the whole grid, and fine scenes clear everywhere, by default.
    """
    rule = rule or FusionRule()
    targets = choose_targets(pair, dates, fill=rule.coarse_gaps == "fill")
    base, full = base_dates(pair, rule.bracket)
    observed = np.isin(targets, base) & rule.keep_observed
    grid = TileGrid(pair.alignment.shape, tile or pair.alignment.shape)
    covered = np.ones((base.size, len(grid)), bool)
    seen = np.repeat(observed[:, None], len(grid), axis=1)
    if clear is not None:
        covered = clear.over(base, grid, method.fine_halo)
        seen &= clear.over(targets, grid, 0)
    reach = reach_of(base, targets, rule.bracket, full)
    plan = FusionPlan(
        pair.bands, pair.alignment, rule, targets, base, reach, observed, grid, covered, seen
    )
    _refuse_nothing(plan)
    return plan


def _refuse_nothing(plan: FusionPlan) -> None:
    base = plan.base
    reached = any((high > low).any() for low, high in plan.reach.sides)
    if not (reached or plan.observed.any()):
        raise MissingPairError(
            f"none of the {plan.targets.size} dates asked for has a base date within "
            f"{plan.rule.bracket.max_gap} days (`max_gap`); clear fine scenes: "
            f"{', '.join(map(str, base[:10]))}{' ...' if base.size > 10 else ''}. "
            "Raise max_gap, or ingest scenes nearer in time."
        )


@dataclass(frozen=True)
class ClearPixels:
    """Where the scenes of a fine cube have clear pixels, shard by shard."""

    counts: dict[np.datetime64, NDArray[np.uint32]]  # clear pixels per shard, by day
    shard: tuple[int, int]  # rows and columns of a shard

    def over(self, days: Any, grid: TileGrid, halo: int) -> NDArray[np.bool_]:
        """Return which days have a clear pixel in or near which tile."""
        if not len(days):
            return np.zeros((0, len(grid)), bool)
        nothing = np.zeros_like(next(iter(self.counts.values())))
        some = np.stack([self.counts.get(day, nothing) for day in days]) > 0
        for axis in (0, 1):
            some = self._along(some, axis, grid, halo)
        return some.reshape(len(days), -1)

    def _along(self, some: Any, axis: int, grid: TileGrid, halo: int) -> Any:
        """Look along one axis: is there anything in the shards under a tile."""
        start = np.arange(grid.counts[axis]) * grid.size[axis]
        stop = np.minimum(start + grid.size[axis], grid.shape[axis])
        first = np.maximum(start - halo, 0) // self.shard[axis]
        last = -(-np.minimum(stop + halo, grid.shape[axis]) // self.shard[axis])
        total = np.cumsum(some, axis=axis + 1, dtype=np.int32)
        total = np.insert(total, 0, 0, axis=axis + 1)
        return total.take(last, axis + 1) > total.take(first, axis + 1)
