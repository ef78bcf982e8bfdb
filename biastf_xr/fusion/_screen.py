"""Compare every fine observation with what the other dates predict for it.

Masks miss clouds and their shadows, and the clear pixels of a nearly clouded scene often are haze.
Two fine images of one place differ by what the coarse sensor saw change between their days, and by
noise.  A pixel whose difference to every near date is far out of the range that is usual for such
pairs is suspected.  A change of the ground is not: the coarse sensor sees it too, or the next fine
scene shows it again.

Published screening (Tmask, Zhu and Woodcock 2014) fits a yearly curve to a long series; here the
coarse sensor takes the place of the curve, so a few dates are enough.  The numbers in `ScreenRule`
are this project's, not published [assumed].
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import binary_dilation

from biastf_xr._series import days_near, fill_in_time
from biastf_xr.brackets import clear_fractions, doubted
from biastf_xr.cube._guards import CubePair, pair_cubes
from biastf_xr.cube._spec import SCREEN, SCREEN_ATTRS
from biastf_xr.fusion._lazy import stack
from biastf_xr.fusion._scene import load_bands
from biastf_xr.grid import Tile, Upsampler, box_mean, sample_tiles, split_tiles
from biastf_xr.methods._compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr.grid import Alignment, Float

    Pair = tuple[int, int]
    # Reads images of some dates: (index of the date, window) -> (band, y, x).
    Reader = Callable[[int, Tile], Float]

# A difference in units of its spread has this median (normal distribution).
MEDIAN_OF_NORMAL = 0.6745

# Windows along each axis on which the usual spread is measured, their side, and pixels needed.
WINDOWS, SIDE, ENOUGH = 2, 256, 100

# A share of the squared length of a difference: from it on all bands go the same way.
ONE_WAY = 0.5


@dataclass(frozen=True, kw_only=True)
class ScreenRule:
    """When a fine observation is suspected.  None of these is published; all are [assumed].

    Attributes
    ----------
    witnesses : int
        Fine dates on each side that an observation is compared with.
    seed, grow : float
        Root mean square over bands of the difference, in units of its usual spread: where the mean
        of 3 x 3 pixels exceeds `seed` a suspicion begins, and it spreads to neighbours above
        `grow`.
    reach : int
        How far it spreads, in pixels.
    floor : float
        Spread that is granted in any case: the uncertainty of surface reflectance.
    likeness, share : float
        The coarse sensor confirms a difference if its own change is like it (correlation over
        bands about zero) and at least this share of it: a change may fill part of a coarse pixel.
    rounds : int
        How often what was found is left out as a witness, and the rest judged again.
    around : int
        Dates on each side over which the usual spread is taken.
    min_clear : float
        In scenes with less clear pixels an observation must be confirmed by another date.
    coarse_max_gap : int
        Largest distance in days over which a coarse gap is filled in time.
    """

    witnesses: int = 3
    seed: float = 4.0
    grow: float = 2.0
    reach: int = 10
    floor: float = 0.005
    likeness: float = 0.5
    share: float = 0.15
    rounds: int = 3
    around: int = 8
    min_clear: float = 0.2
    coarse_max_gap: int = 16

    @property
    def halo(self) -> int:
        """Return how far a pixel is affected by others, in pixels."""
        return self.rounds * (self.reach + 1)


@dataclass(frozen=True)
class Roster:
    """Which dates of a series are compared with which.

    `days`: Fine days, ascending.
    `partial`: Which are mostly clouded.
    `witnesses`: Indices of the dates that each is compared with.
    """

    days: NDArray[np.datetime64]
    partial: NDArray[np.bool_]
    witnesses: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, pair: CubePair, rule: ScreenRule) -> Roster:
        """Choose the witnesses: the nearest dates that are clear enough and not doubted."""
        partial = clear_fractions(pair.fine, pair.bands) < rule.min_clear
        good = np.flatnonzero(~partial & ~doubted(pair.fine))
        chosen = []
        for n in range(partial.size):
            at, after = np.searchsorted(good, n), np.searchsorted(good, n, "right")
            near = good[max(at - rule.witnesses, 0) : at], good[after : after + rule.witnesses]
            chosen.append(tuple(int(i) for side in near for i in side))
        return cls(pair.fine_days, partial, tuple(chosen))

    def pairs(self, dates: Iterable[int]) -> list[Pair]:
        """List the pairs that some dates need, earlier date first."""
        return sorted({_pair(n, w) for n in dates for w in self.witnesses[n]})

    def around(self, dates: Iterable[int], rounds: int) -> list[int]:
        """List the dates that some depend on through their witnesses, themselves among them."""
        found = set(dates)
        for _ in range(rounds):
            found |= {w for n in found for w in self.witnesses[n]}
        return sorted(found)


def _pair(date: int, other: int) -> Pair:
    return min(date, other), max(date, other)


def usual_spread(
    roster: Roster,
    dates: Iterable[int],
    fine: Reader,
    coarse: Reader,
    shape: tuple[int, int],
    rule: ScreenRule,
) -> dict[Pair, Float]:
    """Measure, for the pairs that some dates need, the spread of the pairs around them.

    `dates`: Indices of the dates that are judged.
    `fine`, `coarse`: Read images on the fine grid.
    Returned: Per pair, shape ``(band,)``, reflectance.
    """
    wanted = roster.pairs(dates)
    if not wanted:
        return {}
    first, last = min(i for i, _ in wanted), max(j for _, j in wanted)
    near = range(max(first - rule.around, 0), min(last + rule.around, roster.days.size - 1) + 1)
    known = _spread_of(roster.pairs(near), fine, coarse, shape)
    spread = {}
    for i, j in wanted:
        low, high = i - rule.around, j + rule.around
        rows = [m for (a, b), m in known.items() if low <= a and b <= high]
        if rows:
            spread[i, j] = np.hypot(np.median(rows, axis=0), rule.floor).astype(np.float32)
    return spread


def _spread_of(
    pairs: list[Pair], fine: Reader, coarse: Reader, shape: tuple[int, int]
) -> dict[Pair, Float]:
    """Measure the spread of some pairs on sample windows; those with too few pixels are left out.

    `pairs`: By the earlier date; images that no later pair needs are let go.
    """
    parts: dict[Pair, list[Float]] = defaultdict(list)
    for window in sample_tiles(shape, SIDE, WINDOWS):
        kept: dict[int, Float] = {}
        for i, j in pairs:
            kept = {n: image for n, image in kept.items() if n >= i}
            for n in {i, j} - set(kept):
                kept[n] = fine(n, window) - coarse(n, window)
            apart = np.abs(kept[j] - kept[i]).reshape(kept[i].shape[0], -1)
            parts[i, j].append(apart[:, np.isfinite(apart).all(axis=0)])
    joined = {pair: np.concatenate(found, axis=1) for pair, found in parts.items()}
    return {pair: np.median(apart, axis=1) / MEDIAN_OF_NORMAL
            for pair, apart in joined.items() if apart.shape[1] >= ENOUGH}  # fmt: skip


def judge(
    roster: Roster,
    dates: list[int],
    fine: Callable[[int], Float],
    coarse: Callable[[int], Float],
    spread: dict[Pair, Float],
    rule: ScreenRule,
) -> dict[int, NDArray[np.uint8]]:
    """Judge the observations of some dates in one window.

    Pixels nearer than `ScreenRule.halo` to an edge of the window that is not an edge of the scene
    are not to be used.

    `fine`, `coarse`: Read the image of a date over the window, shape ``(band, y, x)``.
    Returned: By date, shape ``(y, x)``: values of `biastf_xr.cube.SCREEN`.
    """
    every = roster.around(dates, rule.rounds - 1)
    apart, tone = _differences(roster.pairs(every), fine, coarse, spread, rule)
    before: dict[int, NDArray[np.bool_]] = {}
    suspects: dict[int, NDArray[np.bool_]] = {}
    least: dict[int, Float] = {}
    for step in range(rule.rounds):
        before, suspects = suspects, {}
        for n in roster.around(dates, rule.rounds - 1 - step):
            there = [(w, apart[_pair(n, w)]) for w in roster.witnesses[n] if _pair(n, w) in apart]
            if there:
                least[n] = _agreement(there, before, majority=step > 0)
                suspects[n] = _coherent(least[n], rule)
    found = {}
    for n in dates:
        seen = np.isfinite(fine(n)).all(axis=0)
        out = np.full(seen.shape, SCREEN["not_screened"], np.uint8)
        if n in least:
            out[np.isfinite(least[n])] = SCREEN["agrees"]
            _name(out, suspects[n], n, roster.witnesses[n], tone, before)
        if roster.partial[n]:
            out[out == SCREEN["not_screened"]] = SCREEN["unconfirmed"]
        out[~seen] = SCREEN["not_screened"]
        found[n] = out
    return found


def _differences(
    pairs: list[Pair],
    fine: Callable[[int], Float],
    coarse: Callable[[int], Float],
    spread: dict[Pair, Float],
    rule: ScreenRule,
) -> tuple[dict[Pair, Float], dict[Pair, Float]]:
    """Compare two dates pixel by pixel; NaN where one is missing.

    Returned: How far apart they are, in units of the spread; and how alike in all bands, -1 to 1:
    1 where the later is brighter in all of them.
    """
    apart, tone = {}, {}
    for i, j in pairs:
        if (i, j) in spread:
            images = (fine(i), fine(j), coarse(i), coarse(j))
            weight = np.float32(1) / spread[i, j]
            apart[i, j], tone[i, j] = _compare(
                *images, weight, np.float32(rule.likeness), np.float32(rule.share)
            )
    return apart, tone


@compiled
def _compare(
    fine_i: Any, fine_j: Any, coarse_i: Any, coarse_j: Any, weight: Any, likeness: Any, share: Any
) -> Any:
    bands, rows, cols = fine_i.shape
    apart = np.empty((rows, cols), np.float32)
    tone = np.empty((rows, cols), np.float32)
    for y in range(rows):
        for x in range(cols):
            left = square = change = shared = mean = np.float32(0)
            for b in range(bands):
                f = (fine_j[b, y, x] - fine_i[b, y, x]) * weight[b]
                c = (coarse_j[b, y, x] - coarse_i[b, y, x]) * weight[b]
                u = f - c
                left += u * u
                square += f * f
                change += c * c
                shared += u * c
                mean += u
            # What stays as it was agrees, whatever its neighbours in the coarse pixel do.
            far = min(left, square) if not np.isnan(left) else left
            alike = shared > likeness * np.sqrt(left * change)
            if alike and change > share * share * left:
                far = np.float32(0)
            apart[y, x] = np.sqrt(far / bands)
            tone[y, x] = mean / np.sqrt(left * bands) if left > 0 else np.float32(0)
    return apart, tone


def _agreement(
    there: list[tuple[int, Float]], suspects: dict[int, NDArray[np.bool_]], *, majority: bool
) -> Float:
    """Return how far a pixel is from the witnesses that it agrees with best.

    Two dates that contradict each other do not say which is wrong: NaN with less than two
    witnesses.

    `suspects`: Pixels of witnesses that do not count.
    `majority`: Whether half of the witnesses must agree, not one.
    """
    stack = np.stack([apart for _, apart in there])
    enough = np.isfinite(stack).sum(axis=0) >= 2
    for n, (w, _) in enumerate(there):
        if w in suspects:
            stack[n][suspects[w]] = np.nan
    count = np.isfinite(stack).sum(axis=0)
    stack.sort(axis=0)  # NaN comes last
    rank = np.maximum(count // 2 - 1, 0) if majority else np.zeros_like(count)
    least: Float = np.take_along_axis(stack, rank[None], axis=0)[0]
    least[~enough | (count == 0)] = np.nan
    return least


def _coherent(least: Float, rule: ScreenRule) -> NDArray[np.bool_]:
    """Return where differences hang together."""
    may: NDArray[np.bool_] = least > rule.grow
    if not may.any():
        return may
    seed: NDArray[np.bool_] = may & (box_mean(least[None], 3)[0] > rule.seed)
    return binary_dilation(seed, mask=may, iterations=rule.reach) if seed.any() else seed


def _name(
    out: NDArray[np.uint8],
    suspect: NDArray[np.bool_],
    date: int,
    witnesses: tuple[int, ...],
    tone: dict[Pair, Float],
    suspects: dict[int, NDArray[np.bool_]],
) -> None:
    """Write what the suspicion is: brighter than the other dates, darker, or neither.

    `suspects`: Pixels of witnesses that do not count.
    """
    if not suspect.any():
        return
    rows, cols = np.nonzero(suspect)
    total, count = np.zeros(rows.size, np.float32), np.zeros(rows.size, np.float32)
    for w in witnesses:
        if _pair(date, w) not in tone:
            continue
        sign = np.float32(1 if w < date else -1)
        value = sign * tone[_pair(date, w)][rows, cols]
        use = np.isfinite(value)
        if w in suspects:
            use &= ~suspects[w][rows, cols]
        total[use] += value[use]
        count += use
    mean = total / np.maximum(count, 1)
    kind = np.where(mean > ONE_WAY, SCREEN["suspected_cloud"], SCREEN["suspected_event"])
    out[rows, cols] = np.where(mean < -ONE_WAY, SCREEN["suspected_shadow"], kind)


# --- whole cubes ----------------------------------------------------------------------------------

# Dates that are judged together, and the side of the squares in which that is done, in pixels.
BLOCK, SQUARE = 16, 512


@dataclass(frozen=True)
class Screening:
    """The screening of a fine series, with all that is decided before the first square.

    `spread`: Usual spread of every pair of dates.
    """

    roster: Roster
    spread: dict[Pair, Float]
    alignment: Alignment
    rule: ScreenRule

    @classmethod
    def of(
        cls, pair: CubePair, roster: Roster, dates: Iterable[int], rule: ScreenRule
    ) -> Screening:
        """Measure the usual spread for some dates on a few windows, which are read."""
        bands = list(pair.bands)

        def fine(n: int, window: Tile) -> Float:
            rows, cols = window.slices
            return load_bands(pair.fine[bands].isel(time=n, y=rows, x=cols), pair.bands)

        def coarse(n: int, window: Tile) -> Float:
            under = pair.alignment.coarse_tile(window)
            day, (rows, cols) = roster.days[[n]], under.slices
            near = days_near(pair.coarse_days, day, rule.coarse_max_gap)
            part = load_bands(pair.coarse[bands].isel(time=near, y=rows, x=cols), pair.bands)
            images, _ = fill_in_time(
                part.swapaxes(0, 1), pair.coarse_days[near], day, rule.coarse_max_gap
            )
            return Upsampler(pair.alignment, window, under)(images[0])

        wanted = roster.around(dates, rule.rounds - 1)
        spread = usual_spread(roster, wanted, fine, coarse, pair.alignment.shape, rule)
        return cls(roster, spread, pair.alignment, rule)

    def needed(self, dates: Iterable[int]) -> list[int]:
        """List the dates whose images are needed to judge some."""
        return self.roster.around(dates, self.rule.rounds)

    def coarse_near(self, dates: Iterable[int], days: NDArray[np.datetime64]) -> NDArray[np.intp]:
        """Find the coarse images, of those of some days, that are needed to judge some dates."""
        return days_near(days, self.roster.days[self.needed(dates)], self.rule.coarse_max_gap)

    def window(self, tile: Tile) -> tuple[Tile, Tile]:
        """Return the fine and the coarse pixels that are needed to judge a tile."""
        padded = tile.padded(self.rule.halo).clipped(self.alignment.shape)
        return padded, self.alignment.coarse_tile(padded)

    def flags(
        self,
        dates: list[int],
        tile: Tile,
        fine: Callable[[int], Float],
        series: tuple[NDArray[np.datetime64], Float],
    ) -> NDArray[np.uint8]:
        """Judge some dates in a tile.

        `fine`: Reads the image of a date over the padded window, shape ``(band, y, x)``.
        `series`: Coarse days and images around the dates, over the coarse window, shape
        ``(time, band, h, w)``.
        Returned: Shape ``(date, y, x)``: values of `SCREEN`.
        """
        padded, under = self.window(tile)
        needed = self.needed(dates)
        days, values = series
        filled, _ = fill_in_time(values, days, self.roster.days[needed], self.rule.coarse_max_gap)
        upsample = Upsampler(self.alignment, padded, under)
        fines = {n: fine(n) for n in needed}
        coarses = {n: upsample(image) for n, image in zip(needed, filled, strict=True)}
        found = judge(
            self.roster, dates, fines.__getitem__, coarses.__getitem__, self.spread, self.rule
        )
        return np.stack([found[n][tile.within(padded)] for n in dates])


def screen(fine: xr.Dataset, coarse: xr.Dataset, *, rule: ScreenRule | None = None) -> xr.Dataset:
    """Compare every fine observation with what the other dates and the coarse sensor say of it.

    Lazy, but a few windows are read at once to measure how much two images of one place usually
    differ.  The result does not depend on chunks.

    Parameters
    ----------
    fine, coarse : xarray.Dataset
        Cubes as `biastf_xr.fuse` takes them.
    rule : ScreenRule, optional
        When an observation is suspected.

    Returns
    -------
    xarray.Dataset
        The fine cube, its bands as they were, with the variable ``screen`` (uint8, ``(time, y,
        x)``; see `biastf_xr.cube.SCREEN`).  `fuse`, `fit`, `plan` and `evaluate` leave out what is
        suspected there; drop the variable to have it used.

    Raises
    ------
    GridMismatchError, CubeStructureError, MissingPairError
        If the cubes do not fit together.

    Examples
    --------
    >>> import biastf_xr
    >>> fine, coarse = biastf_xr.open_cube("fine.zarr"), biastf_xr.open_cube("coarse.zarr")
    >>> biastf_xr.fusion.screen(fine, coarse)["screen"].dtype
    dtype('uint8')
    """
    import dask.array as da
    import xarray as xr
    from dask.delayed import delayed

    rule = rule or ScreenRule()
    pair = pair_cubes(fine.drop_vars("screen", errors="ignore"), coarse)
    work = Screening.of(pair, Roster.of(pair, rule), range(pair.fine_days.size), rule)
    fines, coarses = stack(pair.fine, pair.bands, 0), stack(pair.coarse, pair.bands, 1)
    run = delayed(_flags_of, pure=True)
    shape = pair.alignment.shape
    blocks = []
    for start in range(0, pair.fine_days.size, BLOCK):
        dates = list(range(start, min(start + BLOCK, pair.fine_days.size)))
        near = work.coarse_near(dates, pair.coarse_days)
        rows: dict[int, list[Any]] = defaultdict(list)
        for tile in split_tiles(shape, (SQUARE, SQUARE)):
            padded, under = work.window(tile)
            images = {n: fines[:, n, *padded.slices] for n in work.needed(dates)}
            part = run(work, dates, tile, images, pair.coarse_days[near],
                       coarses[near][..., *under.slices])  # fmt: skip
            size = (len(dates), *tile.shape)
            rows[tile.y0].append(da.from_delayed(part, size, dtype="uint8"))
        blocks.append(da.block([rows[y] for y in sorted(rows)]))
    flags = xr.Variable(("time", "y", "x"), da.concatenate(blocks), SCREEN_ATTRS)
    chunks = fine[pair.bands[0]].chunksizes
    flags = flags.chunk(chunks) if chunks else flags
    return fine.drop_vars("suspect_fraction", errors="ignore").assign(screen=flags)


def _flags_of(
    work: Screening, dates: list[int], tile: Tile, images: dict[int, Any], days: Any, series: Any
) -> NDArray[np.uint8]:
    """Judge a tile from arrays in memory."""
    values = np.asarray(series, np.float32)
    return work.flags(dates, tile, lambda n: np.asarray(images[n], np.float32), (days, values))
