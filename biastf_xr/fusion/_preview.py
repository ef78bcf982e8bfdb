"""Look at a run before it starts: what, from which dates, how much, how long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._summary import Summary, Told, duration, size
from biastf_xr.cube._cube import Cube
from biastf_xr.errors import CubeStructureError
from biastf_xr.fusion._fusion import Fusion
from biastf_xr.fusion._plan import OWN_SCENE
from biastf_xr.fusion._speed import try_speed
from biastf_xr.methods import DEFAULT_METHOD, LEARNED

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr.cube._spec import Layout
    from biastf_xr.fusion._plan import FusionPlan, FusionRule
    from biastf_xr.methods.base import Method

# Bytes of the companions of a pixel and date: flag, coarse gap, two distances.
COMPANIONS = 6

# Arrays of a unit's size in a worker's memory at once: the output and one prediction from each
# side, what is being combined, and what the unit before it still writes.
ARRAYS_IN_HAND = 5
WORKER_FLOOR = 450 * 2**20


@dataclass(frozen=True)
class Totals:
    """How much a run is.

    Attributes
    ----------
    tiles, units : int
        Tiles, and units to do.
    dates : int
        Target dates.
    pixels : int
        Pixels and dates to make.
    done : float
        Share of the pixels and dates that is there already.
    two_sided, one_sided, without : float
        Share of the pixels and dates with base dates on both sides, on one, on none.
    passes : float
        Megapixels that pass through a network of a learned method, over bands, dates and sides.
    bytes_read, bytes_written : int
        Decoded bytes.
    memory : int
        Estimated bytes of a worker.
    cpu_seconds : float or None
        Estimated CPU time; None where it was not tried.
    """

    tiles: int
    units: int
    dates: int
    pixels: int
    done: float
    two_sided: float
    one_sided: float
    without: float
    passes: float
    bytes_read: int
    bytes_written: int
    memory: int
    cpu_seconds: float | None = None


@dataclass(frozen=True, repr=False)
class Preview(Told):
    """What a run would do.

    Attributes
    ----------
    plan : FusionPlan
        Every decision; `plan.units()` lists the work.
    table : pandas.DataFrame
        One row per run of target dates: first and last day, number of days, nearest base dates,
        shares of the pixels by sides and of those done, and why dates cannot be made.
    totals : Totals
        How much it is.
    """

    plan: FusionPlan
    table: pd.DataFrame
    totals: Totals

    def lines(self) -> dict[str, str]:
        """Return the totals for people."""
        t = self.totals
        rows = {
            "work": f"{t.units:,} units on {t.tiles:,} tiles; {t.dates} dates; "
            f"{t.pixels / 1e6:,.1f} Mpx and dates to make, {t.done:.1%} is there",
            "sides": f"{t.two_sided:.1%} with base dates on both sides, {t.one_sided:.1%} on one, "
            f"{t.without:.1%} on none",
            "forward passes": f"{t.passes:,.1f} Mpx over bands, dates and sides",
            "bytes, decoded": f"{size(t.bytes_read)} to read, {size(t.bytes_written)} to write",
            "memory": f"about {size(t.memory)} per worker",
        }
        if t.cpu_seconds is not None:
            rows["time"] = f"about {duration(t.cpu_seconds)} of CPU time, by a short trial"
        return rows

    def _summary(self) -> Summary:
        days = self.plan.targets
        title = f"Plan: {days.size} dates, {days[0]} to {days[-1]}"
        ends = zip(self.table["first"], self.table["last"], strict=True)
        dates = [first if first == last else f"{first} .. {last[5:]}" for first, last in ends]
        table = self.table.drop(columns=["first", "last"]).rename(
            columns={"two-sided": "both sides", "one-sided": "one side"})  # fmt: skip
        table.insert(0, "dates", dates)
        return Summary(title, self.lines(), {"target dates": table})


def plan(
    fine: Cube | str | Path | xr.Dataset,
    coarse: Cube | str | Path | xr.Dataset,
    output: Cube | str | Path | None = None,
    method: str | Method = DEFAULT_METHOD,
    *,
    dates: Any = "daily",
    withhold: Any = (),
    tile: int = 1024,
    rule: FusionRule | None = None,
    trial: bool = True,
    **options: Any,
) -> Preview:
    """Return what `write_fused` would do, or `fuse` with opened cubes.

    Reads metadata only, unless the method is given by name and must be fitted.

    Parameters
    ----------
    fine, coarse : Cube, str, pathlib.Path or xarray.Dataset
        The cubes: both as stores, of which the plan knows where scenes are clear, or both opened.
    output : Cube, str or pathlib.Path, optional
        The store that would be written; what is in it is taken into account.  With stores only.
    method : str or Method
        Name of a method, or a fitted method.  "biastf-plus" given by name is fitted first, which
        takes seconds; networks must be fitted before.
    dates : "daily" or array_like of dates
        Dates to predict.
    withhold : array_like of dates
        Fine scenes that must not be used.
    tile : int
        Largest tile, where the output does not exist.
    rule : FusionRule, optional
        How base dates and coarse gaps are dealt with.
    trial : bool
        Whether to try the method's speed on made-up pixels, for the time.
    **options
        Options of a method given by name.

    Returns
    -------
    Preview
        The plan, a table of dates, and totals.

    Raises
    ------
    GridMismatchError, MissingPairError, TargetDateError
        If the inputs do not fit together.
    CubeStructureError
        If one cube is opened and the other is not, or an output is given with opened cubes.
    """
    one, other = (Cube.of(c) if isinstance(c, str | Path) else c for c in (fine, coarse))
    stores = [isinstance(cube, Cube) for cube in (one, other)]
    if any(stores) != all(stores) or (output is not None and not any(stores)):
        raise CubeStructureError(
            "a plan needs the paths of both cubes, or both cubes opened and no output. What an "
            "output was made from is known of stores only: give their paths."
        )
    target = None if output is None else Cube.of(output)
    fusion = Fusion.between(
        one, other, target, method, dates=dates, withhold=withhold, tile=tile, rule=rule,
        options=options,
    )  # fmt: skip
    plan, days, todo = fusion.plan, fusion.pair.coarse_days, fusion.work_left().todo
    totals = _totals(plan, fusion.method, fusion.spec.layout, days, todo)
    if trial:
        seconds = try_speed(fusion.method, plan)
        pixels = totals.pixels * (totals.two_sided + totals.one_sided / 2)
        totals = replace(totals, cpu_seconds=seconds * pixels / 1e6)
    return Preview(plan, _table(plan, days, todo), totals)


def _totals(
    plan: FusionPlan, method: Method, layout: Layout, coarse_days: Any, todo: NDArray[np.bool_]
) -> Totals:
    pixels = plan.tiles.pixels()
    nearest = plan.nearest()
    sides = _sides(*nearest)
    area = todo * pixels
    total = int(area.sum())
    shares = [float((area * (sides == n)).sum() / max(total, 1)) for n in (2, 1, 0)]
    bands = len(plan.bands)
    learned = method.name in LEARNED
    passes = float((area * sides).sum()) * bands / 1e6 if learned else 0.0
    used = np.zeros_like(plan.covered)
    for side in nearest:
        date, tile = np.nonzero(todo & (side >= 0))
        used[side[date, tile], tile] = True
    ratio = max(plan.alignment.ratio, 1.0)
    coarse = coarse_days.size * int((pixels * todo.any(axis=0)).sum()) / ratio**2
    largest = layout.shard_y * layout.shard_x * plan.rule.dates_per_unit * bands * 4
    return Totals(
        tiles=len(plan.tiles),
        units=int(plan.runs(todo).sum()),
        dates=plan.targets.size,
        pixels=total,
        done=1 - total / max(int(pixels.sum()) * plan.targets.size, 1),
        two_sided=shares[0],
        one_sided=shares[1],
        without=shares[2],
        passes=passes,
        bytes_read=int((used * pixels).sum() + coarse) * bands * 4,
        bytes_written=total * (bands * 4 + COMPANIONS),
        memory=WORKER_FLOOR + ARRAYS_IN_HAND * largest,
    )


def _sides(before: NDArray[np.int32], after: NDArray[np.int32]) -> NDArray[np.int8]:
    """Count the sides with a base date for every target and tile."""
    return (before >= 0).astype(np.int8) + (after >= 0)


def _table(plan: FusionPlan, coarse_days: Any, todo: NDArray[np.bool_]) -> pd.DataFrame:
    """Build one row for each run of dates that share their base dates and their fate."""
    import pandas as pd

    share = plan.tiles.pixels() / plan.tiles.pixels().sum()
    sides = _sides(*plan.nearest())
    before, after = plan.base_dates()
    rows: list[dict[str, Any]] = []
    for n, day in enumerate(plan.targets):
        row = {
            "before": _day(before[n]),
            "after": _day(after[n]),
            "two-sided": f"{share @ (sides[n] == 2):.0%}",
            "one-sided": f"{share @ (sides[n] == 1):.0%}",
            "done": f"{share @ ~todo[n]:.0%}",
            "note": _note(plan, coarse_days, n, share, sides[n]),
        }
        if rows and all(rows[-1][k] == v for k, v in row.items()):
            rows[-1]["last"], rows[-1]["days"] = str(day), rows[-1]["days"] + 1
        else:
            rows.append({"first": str(day), "last": str(day), "days": 1, **row})
    return pd.DataFrame(rows)


def _day(day: np.datetime64) -> str:
    return "-" if np.isnat(day) else str(day)[:10]


def _note(
    plan: FusionPlan, coarse_days: Any, target: int, share: Any, sides: NDArray[np.int8]
) -> str:
    """Return why a date, or a part of it, cannot be made."""
    rule = plan.rule
    apart = np.abs((coarse_days - plan.targets[target]).astype(int)).min()
    if plan.observed[target]:
        return OWN_SCENE
    if apart > rule.own_gap:
        return f"cannot be made: no coarse scene within {rule.own_gap} days"
    none = float(share @ (sides == 0))
    if none:
        limit = rule.bracket.max_gap
        within = f" within {limit} days" if limit else ""
        what = "cannot be made" if none == 1 else f"{none:.0%} cannot be made"
        return f"{what}: no clear fine scene{within}"
    return f"coarse gap of {apart} days filled in time" if apart else ""
