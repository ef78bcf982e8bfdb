"""What a fusion will do: brackets of target dates, tiles, and one unit of work for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.brackets import (
    Bracket,
    BracketRule,
    build_brackets,
    choose_targets,
    usable_dates,
)
from biastf_xr.errors import MissingPairError, TargetDateError
from biastf_xr.grid import Tile, split_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from biastf_xr.cube.guards import CubePair
    from biastf_xr.grid import Alignment
    from biastf_xr.methods.base import Method


@dataclass(frozen=True, kw_only=True)
class FusionRule:
    """How a fusion chooses its inputs.

    Attributes
    ----------
    bracket : BracketRule
        How base dates are chosen.
    coarse_max_gap : int
        Largest distance in days over which a coarse gap is filled in time.
    keep_observed : bool
        Whether clear pixels of a fine scene on a target date are kept as they are.
    dates_per_unit : int
        Most target dates computed together; bounds the memory of a unit.
    """

    bracket: BracketRule = BracketRule()  # noqa: RUF009  (frozen)
    coarse_max_gap: int = 16
    keep_observed: bool = True
    dates_per_unit: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.coarse_max_gap <= 254:
            raise TargetDateError(
                f"coarse_max_gap is {self.coarse_max_gap}; expected 0 to 254 days."
            )


@dataclass(frozen=True)
class Unit:
    """One tile of one bracket: read once, computed together, written as whole shards.

    Attributes
    ----------
    tile : Tile
        Output window.
    bracket : Bracket
        Target dates and base dates.
    first : int
        Index of the first target date on the time axis of the output.
    """

    tile: Tile
    bracket: Bracket
    first: int

    @property
    def times(self) -> slice:
        """Give the time indices of the output."""
        return slice(self.first, self.first + len(self.bracket.targets))


@dataclass(frozen=True)
class FusionPlan:
    """All that is decided before the first pixel is read.

    Attributes
    ----------
    bands : tuple of str
        Bands to fuse.
    alignment : Alignment
        How the coarse grid lies under the fine one.
    targets : ndarray of datetime64[D]
        Dates to predict.
    brackets : list of Bracket
        Their base dates; in order, together they hold every target once.
    rule : FusionRule
        The choices made.
    """

    bands: tuple[str, ...]
    alignment: Alignment
    targets: np.ndarray[Any, np.dtype[Any]]
    brackets: list[Bracket]
    rule: FusionRule

    def units(self, tile: tuple[int, int]) -> Iterator[Unit]:
        """List the work, bracket by bracket.

        Parameters
        ----------
        tile : tuple of int
            Rows and columns of a tile.

        Yields
        ------
        Unit
            Units that cover the output exactly once.
        """
        first = 0
        for bracket in self.brackets:
            for window in split_tiles(self.alignment.shape, tile):
                yield Unit(window, bracket, first)
            first += len(bracket.targets)

    def shared(self) -> FusionPlan:
        """Give what every unit needs of the plan, small enough to travel with each.

        Returns
        -------
        FusionPlan
            The plan without targets and brackets.
        """
        return FusionPlan(self.bands, self.alignment, self.targets[:0], [], self.rule)

    def base_dates(self) -> tuple[Any, Any]:
        """Give the nearest base date on each side of every target.

        Returns
        -------
        before, after : ndarray of datetime64[s]
            One per target; NaT where there is none.
        """
        none = np.datetime64("NaT")
        sides = [
            [
                (getattr(b.layers[0], side) if b.layers else None) or none
                for b in self.brackets
                for _ in b.targets
            ]
            for side in ("before", "after")
        ]
        before, after = (np.array(s, "datetime64[s]") for s in sides)
        return before, after


def build_plan(
    pair: CubePair, method: Method, dates: Any = "daily", rule: FusionRule | None = None
) -> FusionPlan:
    """Decide what a fusion will do; reads metadata only.

    Parameters
    ----------
    pair : CubePair
        The cubes.
    method : Method
        The method; it may refuse the cubes.
    dates : "daily" or array_like of dates
        Dates to predict.
    rule : FusionRule, optional
        How inputs are chosen.

    Returns
    -------
    FusionPlan
        The plan.

    Raises
    ------
    TargetDateError
        If a date lies outside the coarse season.
    MissingPairError
        If no fine scene can serve as a base.
    """
    rule = rule or FusionRule()
    method.check(pair)
    targets = choose_targets(pair, dates)
    base = usable_dates(pair, rule.bracket)
    keep: Any = pair.fine_days if rule.keep_observed else ()
    brackets = build_brackets(base, targets, rule.bracket, keep=keep)
    if not any(b.layers or b.observed for b in brackets):
        raise MissingPairError(
            f"none of the {targets.size} dates asked for has a base date within "
            f"{rule.bracket.max_gap} days (`max_gap`); clear fine scenes: "
            f"{', '.join(map(str, base[:10]))}{' ...' if base.size > 10 else ''}. "
            "Raise max_gap, or ingest scenes nearer in time."
        )
    return FusionPlan(
        pair.bands, pair.alignment, targets, _split(brackets, rule.dates_per_unit), rule
    )


def _split(brackets: list[Bracket], size: int) -> list[Bracket]:
    """Cut long brackets, so that memory does not grow with the gap between fine scenes."""
    return [
        Bracket(b.targets[i : i + size], b.layers, b.observed)
        for b in brackets
        for i in range(0, len(b.targets), size)
    ]
