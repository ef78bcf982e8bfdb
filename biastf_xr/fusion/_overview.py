"""Look at brackets: which base dates flank every target date, and which scenes are no base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr._summary import Summary, Told
from biastf_xr.brackets import (
    base_dates,
    build_brackets,
    choose_targets,
    clear_fractions,
    doubted,
)
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.fusion._plan import OWN_SCENE, FusionRule

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from biastf_xr.brackets import Bracket
    from biastf_xr.cube._guards import CubePair


@dataclass(frozen=True, repr=False)
class Brackets(Told, Sequence["Bracket"]):
    """The brackets of some target dates: a sequence of `Bracket` that can be looked at."""

    brackets: tuple[Bracket, ...]  # in order of time
    rule: FusionRule  # how base dates were chosen
    left_out: dict[str, str] = field(default_factory=dict)  # why a scene is no base, by day

    def __len__(self) -> int:
        return len(self.brackets)

    def __getitem__(self, index: Any) -> Any:
        return self.brackets[index]

    @property
    def table(self) -> pd.DataFrame:
        """Return one row per bracket: targets, base dates from near to far, layers, and a note."""
        import pandas as pd

        rows = [
            {
                "first": str(b.targets[0]),
                "last": str(b.targets[-1]),
                "days": len(b.targets),
                "before": ", ".join(map(str, b.before)) or "-",
                "after": ", ".join(map(str, b.after)) or "-",
                "layers": len(b.layers),
                "note": self._note(b),
            }
            for b in self.brackets
        ]
        return pd.DataFrame(rows)

    def _note(self, bracket: Bracket) -> str:
        if bracket.observed:
            return OWN_SCENE
        if bracket.layers:
            return "" if bracket.before and bracket.after else "base dates on one side only"
        limit = self.rule.bracket.max_gap
        within = f" within {limit} days" if limit else ""
        return f"cannot be predicted: no clear fine scene{within}"

    def _summary(self) -> Summary:
        import pandas as pd

        rule, days = self.rule.bracket, sum(len(b.targets) for b in self.brackets)
        sides = [sum(len(b.targets) for b in self.brackets if bool(b.before) + bool(b.after) == n)
                 for n in (2, 1, 0)]  # fmt: skip
        gap = "any distance" if rule.max_gap is None else f"at most {rule.max_gap} days away"
        facts = {
            "target dates": f"{days}; base dates on both sides of {sides[0]}, on one side of "
            f"{sides[1]}, on none of {sides[2]}",
            "base dates": f"at least {rule.min_clear:.0%} clear, {gap}, up to {rule.max_layers} "
            "a side; a pixel takes the nearest that are clear there",
        }
        tables = {"brackets": self.table}
        if self.left_out:
            rows = pd.DataFrame({"scene": self.left_out.keys(), "why": self.left_out.values()})
            tables["fine scenes that serve as no base"] = rows
        return Summary(f"{len(self)} brackets", facts, tables)


def list_brackets(
    fine: xr.Dataset, coarse: xr.Dataset, *, dates: Any = "daily", rule: FusionRule | None = None
) -> Brackets:
    """Return which base dates `fuse` uses for which target dates; reads metadata only."""
    rule, pair = rule or FusionRule(), pair_cubes(fine, coarse)
    targets = choose_targets(pair, dates, fill=rule.coarse_gaps == "fill")
    base, full = base_dates(pair, rule.bracket)
    keep = base if rule.keep_observed else to_days([])
    made = build_brackets(base, targets, rule.bracket, keep=keep, full=full)
    return Brackets(tuple(made), rule, _left_out(pair, base, rule))


def _left_out(pair: CubePair, base: Any, rule: FusionRule) -> dict[str, str]:
    """Return of every fine scene that is no base date why."""
    clear, doubt = clear_fractions(pair.fine, pair.bands), doubted(pair.fine)
    first, last = pair.season
    why = {}
    for index in np.flatnonzero(~np.isin(pair.fine_days, base)):
        day = pair.fine_days[index]
        if not first <= day <= last:
            why[str(day)] = f"outside the coarse season {first} to {last}"
        elif doubt[index]:
            why[str(day)] = "disagrees with the coarse image of the day"
        else:
            least = rule.bracket.min_clear
            why[str(day)] = f"{clear[index]:.1%} clear, {least:.1%} are asked for"
    return why
