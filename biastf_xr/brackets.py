"""Which clear base dates flank each target date, and why some have none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr.cube._spec import PAIR_FLAG
from biastf_xr.errors import MissingPairError, TargetDateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr.cube._guards import CubePair

Day = np.datetime64

# Base dates a side; the ledger of a fused cube names those used in one number of 64 bits.
MOST_LAYERS = 32


@dataclass(frozen=True)
class Layer:
    """One pair of base dates.

    Attributes
    ----------
    before, after : numpy.datetime64 or None
        Base date on each side of the targets; None where there is none.
    """

    before: Day | None
    after: Day | None

    @property
    def two_sided(self) -> bool:
        """Return whether there is a base date on both sides."""
        return self.before is not None and self.after is not None


@dataclass(frozen=True)
class Bracket:
    """Consecutive target dates that share their base dates.

    Attributes
    ----------
    targets : tuple of numpy.datetime64
        Dates to predict, ascending.
    before, after : tuple of numpy.datetime64
        Base dates on each side, from near to far.
    observed : bool
        Whether the (single) target is itself a fine acquisition, whose clear pixels are kept.
    """

    targets: tuple[Day, ...]
    before: tuple[Day, ...] = ()
    after: tuple[Day, ...] = ()
    observed: bool = False

    @property
    def base_dates(self) -> tuple[Day, ...]:
        """Return every base date, ascending."""
        return (*self.before[::-1], *self.after)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Return the pairs by the days between them, then the single dates.

        A pixel takes the first layer whose dates are all clear there, which is the pair of its
        nearest clear dates.  A base date that is clear nowhere changes nothing for the others.
        """
        pairs = sorted(
            ((b, a) for b in self.before for a in self.after), key=lambda p: (p[1] - p[0], p[1])
        )
        return (
            *(Layer(b, a) for b, a in pairs),
            *(Layer(b, None) for b in self.before),
            *(Layer(None, a) for a in self.after),
        )


@dataclass(frozen=True, kw_only=True)
class BracketRule:
    """How base dates are chosen.

    Attributes
    ----------
    max_gap : int, optional
        Largest distance in days between a target and a base date; None for any distance.
    max_layers : int
        How many base dates to try on each side where the nearest is clouded, at most 32; counted
        over the whole region, so that the result does not depend on the tiling, and without
        those below `min_clear`.
    min_clear : float
        Smallest clear fraction of a fine scene that is shown on its own day and serves as a base;
        one below takes part, with what of it the other dates confirm, if the cube is screened.
    """

    max_gap: int | None = None
    max_layers: int = 4
    min_clear: float = 0.2

    def __post_init__(self) -> None:
        if not 1 <= self.max_layers <= MOST_LAYERS:
            raise TargetDateError(
                f"max_layers is {self.max_layers}; expected 1 to {MOST_LAYERS} base dates a side."
            )


@dataclass(frozen=True)
class Reach:
    """Which base dates each target may use, as indices in an ascending list of base dates.

    Attributes
    ----------
    first, split, resume, last : ndarray of int
        One per target: the base dates ``first:split`` lie before it, ``resume:last`` after it.
    """

    first: NDArray[np.intp]
    split: NDArray[np.intp]
    resume: NDArray[np.intp]
    last: NDArray[np.intp]

    @property
    def sides(self) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], ...]:
        """Return the first and the end index of the base dates before and after the targets."""
        return (self.first, self.split), (self.resume, self.last)


def reach_of(base: Any, targets: Any, rule: BracketRule, full: Any = None) -> Reach:
    """Find the base dates within reach of every target.

    Parameters
    ----------
    base, targets : ndarray of datetime64[D]
        Ascending.
    rule : BracketRule
        Limits.
    full : ndarray of bool, optional
        Which base dates count for `max_layers`; the others are nearer layers beside them.  All by
        default.

    Returns
    -------
    Reach
        The indices; a target is never its own base date.
    """
    split, resume = (np.searchsorted(base, targets, side) for side in ("left", "right"))
    # How many base dates that count lie before each one, and where they are.
    count = np.insert(np.cumsum(np.ones(len(base), bool) if full is None else full), 0, 0)
    where = np.flatnonzero(np.diff(count))
    nth = np.append(where, len(base))
    before, after = count[split] - rule.max_layers, count[resume] + rule.max_layers - 1
    first = np.where(before >= 0, nth[np.maximum(before, 0)], 0)
    last = np.where(after < where.size, nth[np.minimum(after, where.size)] + 1, len(base))
    first = np.maximum(np.minimum(first, split), split - MOST_LAYERS)
    last = np.minimum(np.maximum(last, resume), resume + MOST_LAYERS)
    if rule.max_gap is not None:
        gap = np.timedelta64(rule.max_gap, "D")
        first = np.maximum(first, np.searchsorted(base, targets - gap, "left"))
        last = np.minimum(last, np.searchsorted(base, targets + gap, "right"))
    return Reach(np.minimum(first, split), split, resume, np.maximum(last, resume))


def clear_fractions(fine: xr.Dataset, bands: Sequence[str]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the clear fraction of every fine scene, without what is suspected.

    Eager where the cube does not carry it: one pass over the first band.

    Parameters
    ----------
    fine : xarray.Dataset
        Fine cube.
    bands : sequence of str
        Its bands.

    Returns
    -------
    ndarray of float
        One value per date, 0 to 1.
    """
    if "clear_fraction" in fine.coords:
        clear: NDArray[np.float64] = np.asarray(fine["clear_fraction"].values, np.float64)
        if "screen" not in fine or "suspect_fraction" not in fine.coords:
            return clear
        left: NDArray[np.float64] = 1 - np.nan_to_num(fine["suspect_fraction"].values)
        return clear * left
    return np.asarray(fine[bands[0]].notnull().mean(("y", "x")).values, np.float64)


def doubted(fine: xr.Dataset) -> np.ndarray[Any, np.dtype[Any]]:
    """Return which fine scenes disagree with the coarse image of their day.

    Parameters
    ----------
    fine : xarray.Dataset
        Fine cube.

    Returns
    -------
    ndarray of bool
        One value per date; see `biastf_xr.cube._quality`.
    """
    if "pair_flag" not in fine.coords:
        return np.zeros(fine.sizes["time"], bool)
    return np.asarray(fine["pair_flag"].values == PAIR_FLAG["low_correlation"])


def screened(fine: xr.Dataset) -> np.ndarray[Any, np.dtype[Any]]:
    """Return which fine scenes were compared with the other dates.

    Parameters
    ----------
    fine : xarray.Dataset
        Fine cube.

    Returns
    -------
    ndarray of bool
        One value per date; see `biastf_xr.fusion.screen`.
    """
    done = np.full(fine.sizes["time"], "screen" in fine)
    if "suspect_fraction" in fine.coords:
        done &= np.isfinite(fine["suspect_fraction"].values)
    return done


def base_dates(pair: CubePair, rule: BracketRule) -> tuple[Any, NDArray[np.bool_]]:
    """List the fine dates whose clear pixels are shown on their day and serve as a base.

    Parameters
    ----------
    pair : CubePair
        The cubes.
    rule : BracketRule
        The choice.

    Returns
    -------
    days : ndarray of datetime64[D]
        Those of `usable_dates`, and the screened ones below `min_clear`.
    full : ndarray of bool
        Which are those of `usable_dates`.

    Raises
    ------
    MissingPairError
        If there is no usable date.
    """
    usable = usable_dates(pair, rule)
    some = _eligible(pair) & screened(pair.fine) & (clear_fractions(pair.fine, pair.bands) > 0)
    every = np.union1d(pair.fine_days[some], usable)
    return every, np.isin(every, usable)


def _eligible(pair: CubePair) -> NDArray[np.bool_]:
    """Return which fine scenes lie in the coarse season and agree with the image of their day."""
    days, (first, last) = pair.fine_days, pair.season
    eligible: NDArray[np.bool_] = (days >= first) & (days <= last) & ~doubted(pair.fine)
    return eligible


def usable_dates(pair: CubePair, rule: BracketRule) -> np.ndarray[Any, np.dtype[Any]]:
    """List the fine dates that are clear enough to learn from, and to serve as a base.

    Parameters
    ----------
    pair : CubePair
        The cubes.
    rule : BracketRule
        The choice.

    Returns
    -------
    ndarray of datetime64[D]
        Fine dates inside the coarse season that are clear enough and agree with the coarse image
        of their day.

    Raises
    ------
    MissingPairError
        If there is none.
    """
    days, (first, last) = pair.fine_days, pair.season
    clear = clear_fractions(pair.fine, pair.bands)
    enough = clear >= max(rule.min_clear, 1e-9)
    usable: np.ndarray[Any, np.dtype[Any]] = days[enough & _eligible(pair)]
    if usable.size == 0:
        raise MissingPairError(
            f"none of the {days.size} fine scenes can serve as a base date: the clearest has "
            f"{clear.max():.1%} clear pixels, {rule.min_clear:.1%} are asked for (`min_clear`); "
            f"{int(doubted(pair.fine).sum())} are left out because the two sensors disagree "
            f"(pair_flag); and the coarse cube spans {first} to {last}."
        )
    return usable


def choose_targets(
    pair: CubePair, dates: Any, *, fill: bool = True
) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the dates to predict.

    Parameters
    ----------
    pair : CubePair
        The cubes.
    dates : "daily" or array_like of dates
        "daily" is every day of the coarse season; otherwise the days asked for.
    fill : bool
        Whether "daily" counts days without a coarse scene.

    Returns
    -------
    ndarray of datetime64[D]
        Ascending and unique.

    Raises
    ------
    TargetDateError
        If a date is unreadable, repeated, or outside the coarse season.
    """
    first, last = pair.season
    if isinstance(dates, str) and dates == "daily":
        return np.arange(first, last + np.timedelta64(1, "D")) if fill else pair.coarse_days
    days = to_days(dates, 'dates, if not "daily",')
    if days.size == 0:
        raise TargetDateError("no date to predict. Expected 'daily' or at least one date.")
    ordered = np.unique(days)
    if ordered.size != days.size:
        raise TargetDateError(f"dates are repeated: {days.size} given, {ordered.size} different.")
    outside = ordered[(ordered < first) | (ordered > last)]
    if outside.size:
        raise TargetDateError(
            f"{', '.join(map(str, outside[:5]))} outside the coarse season {first} to {last}. "
            "Ingest the coarse scenes of that time first."
        )
    return ordered


def build_brackets(
    base: Iterable[Day],
    targets: Iterable[Day],
    rule: BracketRule,
    *,
    keep: Iterable[Day] = (),
    full: Any = None,
) -> list[Bracket]:
    """Group target dates by the base dates that flank them.

    A target is never its own base date.

    Parameters
    ----------
    base : iterable of datetime64[D]
        Dates that may serve as a base, ascending.
    targets : iterable of datetime64[D]
        Dates to predict, ascending.
    rule : BracketRule
        Limits.
    keep : iterable of datetime64[D]
        Fine acquisitions whose clear pixels are kept where they are a target.
    full : ndarray of bool, optional
        Which base dates count for `max_layers`; all by default.

    Returns
    -------
    list of Bracket
        In order of time; together they hold every target once.
    """
    days, wanted, scenes = (to_days(list(v)) for v in (base, targets, keep))
    kept, reach = set(scenes), reach_of(days, wanted, rule, full)
    sides = [
        (tuple(days[reach.first[t] : reach.split[t]][::-1]),
         tuple(days[reach.resume[t] : reach.last[t]]))
        for t in range(wanted.size)
    ]  # fmt: skip
    return [
        Bracket(tuple(wanted[run]), *sides[run[0]], bool(wanted[run[0]] in kept))
        for run in group_targets(sides, [day in kept for day in wanted])
    ]


def group_targets(
    sides: Sequence[Any], observed: Sequence[bool], most: int | None = None
) -> list[list[int]]:
    """Group consecutive targets that share their base dates; observed ones stand alone.

    Parameters
    ----------
    sides : sequence
        What must be equal within a group, one per target.
    observed : sequence of bool
        Which targets are acquisitions themselves.
    most : int, optional
        Longest group.

    Returns
    -------
    list of list of int
        Indices of the targets, group by group.
    """
    runs: list[list[int]] = []
    for i, (side, seen) in enumerate(zip(sides, observed, strict=True)):
        last = runs[-1] if runs else None
        joins = (
            last is not None
            and not seen
            and not observed[last[0]]
            and sides[last[0]] == side
            and (most is None or len(last) < most)
        )
        if last is not None and joins:
            last.append(i)
        else:
            runs.append([i])
    return runs
