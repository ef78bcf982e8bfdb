"""Hold-out designs: what a prediction may see, and what it is scored on.

A design turns the dates to score into folds.  What a fold withholds is taken out of the cubes by
`Fold.reachable` before anything else looks at them, so no method can come by it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from biastf_xr._days import to_days
from biastf_xr.brackets import clear_fractions, doubted
from biastf_xr.cube._cube import bands_of, drop_days
from biastf_xr.errors import MissingPairError, TargetDateError
from biastf_xr.fusion._plan import TileGrid
from biastf_xr.fusion._screen import screen

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Tile

    Day = np.datetime64
    Days = NDArray[np.datetime64]


@dataclass(frozen=True)
class Fold:
    """One round: what is withheld, what is predicted.

    `score`: Dates to predict and to score.
    `withheld`: Fine dates that are unreachable, those to score among them; all others stay.
    `until`: Last day of the coarse series that is reachable; all of it by default.
    `parts`: Parts of the area, rows of columns. A learned method predicts each of them as
    fitted on the others; by default it is fitted on the whole area.
    """

    score: tuple[Day, ...]
    withheld: tuple[Day, ...]
    until: Day | None = None
    parts: tuple[tuple[Tile, ...], ...] = ()

    def reachable(self, fine: xr.Dataset, coarse: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
        """Take out of the cubes what no method may see.

        A fine cube that is screened is screened again without it: the withheld scenes may have had
        a say in what is suspected.
        """
        rest = drop_days(fine, self.withheld)
        if self.until is not None:
            coarse = coarse.isel(time=to_days(coarse["time"]) <= self.until)
        return screen(rest, coarse) if "screen" in rest else rest, coarse


@dataclass(frozen=True, kw_only=True)
class Design(ABC):
    """What all designs share; a design says which fold a date makes.

    `name`: Its name on the command line.
    `min_clear`: Clear fraction that a date needs to be chosen where none are named.
    """

    name: ClassVar[str]
    min_clear: float = 0.9

    @abstractmethod
    def describe(self) -> str:
        """Return in one sentence what is withheld."""

    def choose(self, pair: CubePair) -> Days:
        """Choose the dates to score where none are named: by default `inner_dates`."""
        return self._choose(clear_pairs(pair, self.min_clear))

    def folds(self, pair: CubePair, days: Days) -> list[Fold]:
        """Lay out the rounds."""
        return [self._fold(pair, day) for day in days]

    def _choose(self, clear: Days) -> Days:
        if clear.size < 3:
            raise MissingPairError(
                f"only {clear.size} dates are at least {self.min_clear:.0%} clear in the fine cube "
                "and present in the coarse one; leaving one out needs 3. Name the dates to "
                "withhold, or lower `min_clear` of the design."
            )
        return clear[1:-1]

    def _fold(self, pair: CubePair, day: Day) -> Fold:
        return Fold((day,), (day,))


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(Design):
    """Withhold each date in turn; the dates that flank it stay.

    `together`: Whether all dates are withheld at once, with one fit, instead of one at a time.
    """

    name = "leave-one-out"
    together: bool = False

    def describe(self) -> str:
        """Return what is withheld."""
        if self.together:
            return "The fine scenes of all scored dates are withheld at once; all others stay."
        return "The fine scene of each scored date is withheld in turn; all others stay."

    def folds(self, pair: CubePair, days: Days) -> list[Fold]:
        """Lay out the rounds."""
        return [Fold(tuple(days), tuple(days))] if self.together else super().folds(pair, days)


@dataclass(frozen=True, kw_only=True)
class LeaveGap(Design):
    """Withhold every fine scene around the scored date, as a cloudy season does.

    `days`: Scenes at most so many days before or after are withheld too.
    """

    name = "leave-gap"
    days: int = 32

    def __post_init__(self) -> None:
        if self.days < 1:
            raise TargetDateError(f"the gap is {self.days} days; expected at least 1.")

    def describe(self) -> str:
        """Return what is withheld."""
        return f"Every fine scene within {self.days} days of the scored date is withheld."

    def _choose(self, clear: Days) -> Days:
        """Choose the dates that have a clear date on both sides of their gap."""
        gap = np.timedelta64(self.days, "D")
        chosen = clear[(clear - gap > clear[:1]) & (clear + gap < clear[-1:])]
        if not chosen.size:
            raise MissingPairError(
                f"none of the {clear.size} dates that are at least {self.min_clear:.0%} clear has "
                f"a clear date more than {self.days} days before and after it. Shorten the gap, "
                "name the dates to score, or lower `min_clear` of the design."
            )
        return chosen

    def _fold(self, pair: CubePair, day: Day) -> Fold:
        near = np.abs(pair.fine_days - day) <= np.timedelta64(self.days, "D")
        return Fold((day,), _withheld(pair, near, day))


@dataclass(frozen=True, kw_only=True)
class Forward(Design):
    """Predict from the past alone, as in near real time.

    Every fine scene from the scored date on is withheld, and the coarse series ends with that date;
    learned methods are fitted on what came before.

    `history`: Clear dates that must come before a date which is chosen by default.
    """

    name = "forward"
    history: int = 2

    def describe(self) -> str:
        """Return what is withheld."""
        return (
            "Every fine scene on or after the scored date is withheld, and every coarse image "
            "after it."
        )

    def _choose(self, clear: Days) -> Days:
        """Choose the dates that have enough clear dates before them."""
        if clear.size <= self.history:
            raise MissingPairError(
                f"only {clear.size} dates are at least {self.min_clear:.0%} clear in the fine cube "
                f"and present in the coarse one; predicting forward needs {self.history} before "
                "the first that is scored. Name the dates to score, or lower `min_clear` of the "
                "design."
            )
        return clear[self.history :]

    def _fold(self, pair: CubePair, day: Day) -> Fold:
        if pair.span[1] > 0:
            raise MissingPairError(
                f"a coarse image stands for up to {pair.span[1]} days after its own: what is known "
                f"on {day} has seen what comes after it. Choose another design, or a coarse "
                "product of single days."
            )
        return Fold((day,), _withheld(pair, pair.fine_days >= day, day), until=day)


@dataclass(frozen=True, kw_only=True)
class LeaveRegion(Design):
    """Fit on one part of the area and score on the other, dates left out one by one too.

    The area is cut into parts.  Each is predicted by learned methods as fitted on all the others,
    so that the whole image of a date is made of predictions by models that never saw that part.

    `rows`, `columns`: Into how many parts the area is cut.
    """

    name = "leave-region"
    rows: int = 2
    columns: int = 2

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1 or self.rows * self.columns < 2:
            raise TargetDateError(
                f"the area is cut into {self.rows} x {self.columns} parts; expected at least two."
            )

    def describe(self) -> str:
        """Return what is withheld."""
        return (
            f"The area is cut into {self.rows} x {self.columns} parts, and learned methods predict "
            "each as fitted on the others; the fine scene of each scored date is withheld in turn."
        )

    def _fold(self, pair: CubePair, day: Day) -> Fold:
        shape = pair.alignment.shape
        tiles = TileGrid(shape, (-(-shape[0] // self.rows), -(-shape[1] // self.columns)))
        down, across = tiles.counts
        parts = tuple(tuple(tiles[r * across + c] for c in range(across)) for r in range(down))
        return Fold((day,), (day,), parts=parts)


DESIGNS: dict[str, type[Design]] = {
    kind.name: kind for kind in (LeaveOneOut, LeaveGap, Forward, LeaveRegion)
}


def design_named(text: str) -> Design:
    """Return a design from its name and its options, as "leave-gap,days=24"."""
    name, *rest = (part.strip() for part in text.split(","))
    if name not in DESIGNS:
        raise TargetDateError(f"design is {name!r}; expected one of {', '.join(DESIGNS)}.")
    kind = DESIGNS[name]
    known = [f.name for f in fields(kind)]
    options = {}
    for part in rest:
        option, _, value = part.partition("=")
        if option.strip() not in known:
            raise TargetDateError(
                f"the design {name} has no option {option!r}; expected some of {', '.join(known)}."
            )
        try:
            options[option.strip()] = json.loads(value)
        except ValueError as error:
            raise TargetDateError(
                f"{option} of the design {name} is {value!r}; expected a number, true or false."
            ) from error
    return kind(**options)


def inner_dates(pair: CubePair, min_clear: float) -> Days:
    """List the clear fine dates that have a clear date on both sides."""
    return LeaveOneOut(min_clear=min_clear).choose(pair)


def clear_pairs(pair: CubePair, min_clear: float) -> Days:
    """List the fine dates that are clear, have a coarse image, and agree with it."""
    clear = (clear_fractions(pair.fine, pair.bands) >= min_clear) & ~doubted(pair.fine)
    days: Days = pair.fine_days[clear & pair.paired(pair.fine_days)]
    return days


def _withheld(pair: CubePair, chosen: Any, day: Day) -> tuple[Day, ...]:
    """Return the chosen fine dates, and the scored one whether or not there is a scene."""
    return tuple(np.union1d(pair.fine_days[chosen], [day]))


def without_part(fine: xr.Dataset, part: Tile) -> xr.Dataset:
    """Mask a part of the area in every scene, so that nothing can be learned from it.

    Returned: Lazy: bands are NaN in the part, masks 0. The coordinate ``clear_fraction`` is
    that of the rest of the area (one pass over one band).
    """
    import xarray as xr

    outside = np.ones((fine.sizes["y"], fine.sizes["x"]), bool)
    outside[part.slices] = False
    keep = xr.DataArray(outside, dims=("y", "x"))
    masked = {
        name: v.where(keep, np.nan if v.dtype.kind == "f" else 0).astype(v.dtype)
        for name, v in fine.data_vars.items()
        if {"y", "x"} <= set(v.dims)
    }
    rest = fine.assign({n: v.transpose(*fine[n].dims) for n, v in masked.items()})
    clear = rest[bands_of(fine)[0]].notnull().sum(("y", "x")).values / max(outside.sum(), 1)
    return rest.assign_coords(clear_fraction=("time", clear))
