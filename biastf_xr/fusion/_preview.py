"""Look at a run before it starts: what, from which dates, how much, how long."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._summary import Summary, Told
from biastf_xr.brackets import Bracket
from biastf_xr.cube._cube import drop_days, layout_of, open_cube
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.cube.stores import locate, store_at
from biastf_xr.errors import CubeStructureError
from biastf_xr.fusion._kernel import CoarseImages, coarse_window, fuse_unit
from biastf_xr.fusion._output import open_pair, plan_inputs, work_left
from biastf_xr.fusion._overview import OWN_SCENE
from biastf_xr.fusion._plan import Unit, build_plan
from biastf_xr.fusion._template import fused_spec
from biastf_xr.grid import Tile
from biastf_xr.methods import LEARNED, get_method

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.cube._spec import Layout
    from biastf_xr.fusion._plan import FusionPlan, FusionRule
    from biastf_xr.grid import Alignment
    from biastf_xr.methods.base import Method

# Bytes of the companions of a pixel and date: flag, coarse gap, two distances.
COMPANIONS = 6

# Arrays of a unit's size in a worker's memory at once: the output and one prediction from each
# side, what is being combined, and what the unit before it still writes.
ARRAYS_IN_HAND = 5
WORKER_FLOOR = 450 * 2**20

# Side of the square on which the speed is tried.
TRIAL = 256


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
        """Return the totals for people.

        Returns
        -------
        dict of str
            By name.
        """
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
        return Summary(title, self.lines(), {"target dates": self.table})


def size(count: float) -> str:
    """Write a number of bytes for people.

    Parameters
    ----------
    count : float
        Bytes.

    Returns
    -------
    str
        With its unit.
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            break
        count /= 1024
    return f"{count:,.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """Write a time for people.

    Parameters
    ----------
    seconds : float
        Seconds.

    Returns
    -------
    str
        With its unit.
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def plan(
    fine: str | Path | xr.Dataset,
    coarse: str | Path | xr.Dataset,
    output: str | Path | None = None,
    method: str | Method = "direct",
    *,
    dates: Any = "daily",
    withhold: Any = (),
    tile: int = 1024,
    rule: FusionRule | None = None,
    trial: bool = True,
    **options: Any,
) -> Preview:
    """Return what `write_fused` would do, or `fuse` with opened cubes; reads metadata only.

    Parameters
    ----------
    fine, coarse : str, pathlib.Path or xarray.Dataset
        The cubes: both as stores, of which the plan knows where scenes are clear, or both opened.
    output : str or pathlib.Path, optional
        The store that would be written; what is in it is taken into account.  With stores only.
    method : str or Method
        Name of a method that needs no training, or a fitted method.
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
    stores = [c for c in (fine, coarse) if isinstance(c, str | Path)]
    if len(stores) == 1 or (output is not None and not stores):
        raise CubeStructureError(
            "a plan needs the paths of both cubes, or both cubes opened and no output. What an "
            "output was made from is known of stores only: give their paths."
        )
    built = get_method(method, **options)
    if stores:
        one, other = (locate(p, Path()) for p in stores)
        work = _of_stores(one, other, output, built, dates, withhold, tile, rule)
    else:
        work = _of_opened(fine, coarse, built, dates, withhold, tile, rule)
    totals = _totals(work)
    if trial:
        seconds = try_speed(work.method, work.plan)
        pixels = totals.pixels * (totals.two_sided + totals.one_sided / 2)
        totals = replace(totals, cpu_seconds=seconds * pixels / 1e6)
    return Preview(work.plan, _table(work), totals)


@dataclass(frozen=True)
class _Job:
    """What is to be done, whatever the cubes are."""

    plan: FusionPlan
    method: Method
    layout: Layout
    coarse_days: NDArray[np.datetime64]
    todo: NDArray[np.bool_]


def _of_stores(
    fine: str,
    coarse: str,
    output: str | Path | None,
    method: Method,
    dates: Any,
    withhold: Any,
    tile: int,
    rule: FusionRule | None,
) -> _Job:
    pair = open_pair(fine, coarse, withhold)
    built = method.bind(pair)
    layout = fused_spec(pair, built, shard=tile).layout
    there = output is not None and store_at(output).exists()
    if output is not None and there:
        layout = layout_of(open_cube(output, chunks=None, days="all"))
    inputs = plan_inputs(fine, coarse, pair, built, dates, rule, layout)
    todo = work_left(str(output), inputs).todo if there else _everything(inputs.plan)
    return _Job(inputs.plan, built, layout, pair.coarse_days, todo)


def _of_opened(
    fine: Any, coarse: Any, method: Method, dates: Any, withhold: Any, tile: int,
    rule: FusionRule | None,
) -> _Job:  # fmt: skip
    pair: CubePair = pair_cubes(drop_days(fine, withhold), coarse)
    built = method.bind(pair)
    layout = fused_spec(pair, built, shard=tile).layout
    plan = build_plan(pair, built, dates, rule, tile=(layout.shard_y, layout.shard_x))
    return _Job(plan, built, layout, pair.coarse_days, _everything(plan))


def _everything(plan: FusionPlan) -> NDArray[np.bool_]:
    return np.ones((plan.targets.size, len(plan.tiles)), bool)


def _totals(work: _Job) -> Totals:
    plan, layout = work.plan, work.layout
    pixels = plan.tiles.pixels()
    before, after = plan.nearest()
    sides = (before >= 0).astype(np.int8) + (after >= 0)
    area = work.todo * pixels
    total = int(area.sum())
    shares = [float((area * (sides == n)).sum() / max(total, 1)) for n in (2, 1, 0)]
    bands = len(plan.bands)
    learned = work.method.name in LEARNED
    passes = float((area * sides).sum()) * bands / 1e6 if learned else 0.0
    used = np.zeros_like(plan.covered)
    for side in (before, after):
        date, tile = np.nonzero(work.todo & (side >= 0))
        used[side[date, tile], tile] = True
    ratio = max(plan.alignment.ratio, 1.0)
    coarse = work.coarse_days.size * int((pixels * work.todo.any(axis=0)).sum()) / ratio**2
    largest = layout.shard_y * layout.shard_x * plan.rule.dates_per_unit * bands * 4
    return Totals(
        tiles=len(plan.tiles),
        units=int(plan.runs(work.todo).sum()),
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


def _table(work: _Job) -> pd.DataFrame:
    """Build one row for each run of dates that share their base dates and their fate."""
    import pandas as pd

    plan = work.plan
    share = plan.tiles.pixels() / plan.tiles.pixels().sum()
    near_before, near_after = plan.nearest()
    sides = (near_before >= 0).astype(np.int8) + (near_after >= 0)
    before, after = plan.base_dates()
    rows: list[dict[str, Any]] = []
    for n, day in enumerate(plan.targets):
        row = {
            "before": _day(before[n]),
            "after": _day(after[n]),
            "two-sided": f"{share @ (sides[n] == 2):.0%}",
            "one-sided": f"{share @ (sides[n] == 1):.0%}",
            "done": f"{share @ ~work.todo[n]:.0%}",
            "note": _note(work, n, share, sides[n]),
        }
        if rows and all(rows[-1][k] == v for k, v in row.items()):
            rows[-1]["last"], rows[-1]["days"] = str(day), rows[-1]["days"] + 1
        else:
            rows.append({"first": str(day), "last": str(day), "days": 1, **row})
    return pd.DataFrame(rows)


def _day(day: np.datetime64) -> str:
    return "-" if np.isnat(day) else str(day)[:10]


def _note(work: _Job, target: int, share: Any, sides: NDArray[np.int8]) -> str:
    """Return why a date, or a part of it, cannot be made."""
    plan, rule = work.plan, work.plan.rule
    apart = np.abs((work.coarse_days - plan.targets[target]).astype(int)).min()
    reach = rule.coarse_max_gap if rule.coarse_gaps == "fill" else 0
    if plan.observed[target]:
        return OWN_SCENE
    if apart > reach:
        return f"cannot be made: no coarse scene within {reach} days"
    none = float(share @ (sides == 0))
    if none:
        limit = rule.bracket.max_gap
        within = f" within {limit} days" if limit else ""
        what = "cannot be made" if none == 1 else f"{none:.0%} cannot be made"
        return f"{what}: no clear fine scene{within}"
    return f"coarse gap of {apart} days filled in time" if apart else ""


@dataclass(frozen=True)
class _MadeUpScene:
    """A square of noise, as `biastf_xr.methods.base.SceneView`."""

    bands: tuple[str, ...]
    alignment: Alignment
    days: list[np.datetime64]
    targets: NDArray[np.datetime64]
    square: Tile

    def fold(self, look: Any, merge: Any) -> dict[np.datetime64, Any]:
        """Look at the square."""
        return {day: look(day, _noise(len(self.bands), *self.square.shape), self.square)
                for day in self.days}  # fmt: skip

    def targets_of(self, day: np.datetime64) -> NDArray[np.intp]:
        """Return every target."""
        return np.arange(self.targets.size)

    def coarse(self, days: Any, *, bases: bool = False) -> NDArray[np.float32]:
        """Return noise over the whole coarse grid."""
        return _noise(np.size(days), len(self.bands), *self.alignment.coarse_shape)

    def support(self, days: Any) -> NDArray[np.float32]:
        """Return one observation everywhere."""
        return np.ones((np.size(days), *self.alignment.coarse_shape), np.float32)


def _noise(*shape: int) -> NDArray[np.float32]:
    """Make up reflectance."""
    return np.random.default_rng(0).uniform(0.0, 0.5, shape).astype(np.float32)


def try_speed(method: Method, plan: FusionPlan) -> float:
    """Try how long the method takes, on a made-up square with two base dates.

    Parameters
    ----------
    method : Method
        The method; it runs in this process, whatever the device of the workers.
    plan : FusionPlan
        For bands, grids and base dates.

    Returns
    -------
    float
        CPU seconds per megapixel and date, two-sided.
    """
    on_cpu = replace(method, device="cpu") if hasattr(method, "device") else method  # type: ignore[type-var]
    square = Tile(0, TRIAL, 0, TRIAL).clipped(plan.alignment.shape)
    day = np.datetime64("2000-01-02")
    bracket = Bracket((day,), (day - 1,), (day + 1,))
    unit = Unit(square, bracket, (0,))
    window = coarse_window(unit, on_cpu, plan.alignment)
    bands = len(plan.bands)
    coarse = CoarseImages(
        window,
        _noise(1, bands, *window.shape),
        np.zeros((1, *window.shape), np.uint8),
        {d: _noise(bands, *window.shape) for d in bracket.base_dates},
        np.ones((1, *window.shape), np.float32),
    )
    days = list(bracket.base_dates)
    scene = _MadeUpScene(plan.bands, plan.alignment, days, np.array([day]), square)
    best = np.inf
    for _ in range(2):  # the first loads what the method needs
        states = on_cpu.prepare(scene)
        started = time.process_time()
        fuse_unit(
            unit, on_cpu, states, lambda _, t: _noise(bands, *t.shape), coarse, plan.alignment,
            plan.bands,
        )  # fmt: skip
        best = min(best, time.process_time() - started)
    return best / (square.shape[0] * square.shape[1] / 1e6)
