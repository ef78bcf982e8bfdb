"""Write the days of an ingest: tasks for groups of days and tiles, batch by batch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._compose import IngestOptions, Window, WindowOutcome, ingest_window
from biastf_xr.cube._ledger import (
    CLEAR_ARRAY,
    GROUP,
    DayRecord,
    entry_of,
    write_along_time,
    write_records,
)
from biastf_xr.cube._screening import write_screening
from biastf_xr.grid import split_tiles

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from biastf_xr.cube._selection import Selection
    from biastf_xr.cube._spec import Progress
    from biastf_xr.cube.stores.base import Edit
    from biastf_xr.sources.base import Scene

Day = np.datetime64


OUTSIDE = (
    "lies outside the cube's region. Move it out of the folder, or choose a larger region and "
    "another cube."
)

# Groups of days, and tasks, between two checkpoints.
BATCH_GROUPS, BATCH_TASKS = 16, 64


@dataclass
class IngestProgress:
    """How far a run has come."""

    selection: Selection  # what there is to do; unusable scenes become rejected ones
    before: dict[Day, DayRecord]  # what the days were made from before
    clear: dict[str, float] = field(default_factory=dict)  # clear fraction of scenes, by id
    removed: list[Day] = field(default_factory=list)
    done: int = 0

    def record(self, day: Day) -> DayRecord:
        """Return what a day was made from before this run."""
        return self.before.get(day, DayRecord(()))


def fill(
    edit: Edit,
    job: IngestOptions,
    run: IngestProgress,
    axis: Any,
    pool: Executor,
    progress: Progress | None,
) -> None:
    """Write the days, batch by batch; each batch becomes visible when it is complete.

    What was done is noted in `run`; `pool` runs a task for each group of days and tile.
    """
    days = run.selection.days
    step = job.spec.layout.time
    groups: dict[int, dict[int, tuple[Scene, ...]]] = {}
    for day in sorted(days):
        index = int(np.searchsorted(axis, day))
        groups.setdefault(index // step, {})[index] = days[day]
    tiles = list(split_tiles(job.spec.shape, job.spec.layout.shards[1:]))
    recorded = {int(np.searchsorted(axis, d)) for d, r in run.before.items() if r.entries}
    total = sum(map(len, days.values()))
    size = max(1, min(BATCH_GROUPS, BATCH_TASKS // len(tiles)))
    ids = sorted(groups)
    for i in range(0, len(ids), size):
        batch = {
            g: _windows(groups[g], g, step, tiles, recorded, axis.size) for g in ids[i : i + size]
        }
        _write_batch(edit, job, batch, pool, run)
        for g, windows in batch.items():
            _finish(edit, job, axis, windows, run, groups[g])
        for scene in (s for g in batch for scenes in groups[g].values() for s in scenes):
            run.done += 1
            if progress:
                progress(scene.id, run.done, total)
        edit.checkpoint(f"{axis[min(groups[ids[i]])]} and later")


_Windows = list[tuple[Window, WindowOutcome]]


def _windows(
    days: dict[int, tuple[Scene, ...]],
    group: int,
    step: int,
    tiles: list[Any],
    recorded: set[int],
    size: int,
) -> _Windows:
    times = slice(group * step, min((group + 1) * step, size))
    others = (recorded - set(days)) & set(range(times.start, times.stop))
    return [(Window(times, days, bool(others), tile), WindowOutcome(None)) for tile in tiles]


def _write_batch(
    edit: Edit, job: IngestOptions, batch: dict[int, _Windows], pool: Executor, run: IngestProgress
) -> None:
    """Run the tasks of a batch; groups with an unusable scene are done again without it."""
    fork = edit.fork()
    replacing = {
        g
        for g, windows in batch.items()
        for scenes in windows[0][0].days.values()
        if any(s.id in run.selection.replaced for s in scenes)
    }
    # What is in the cube is not overwritten before its replacement was read once from end to end.
    _run_tasks(job, fork, batch, replacing, pool, run, write=False)
    edit.merge(_run_tasks(job, fork, batch, set(batch), pool, run, write=True))


def _run_tasks(
    job: IngestOptions,
    fork: Any,
    batch: dict[int, _Windows],
    groups: set[int],
    pool: Executor,
    run: IngestProgress,
    *,
    write: bool,
) -> list[Any]:
    stores: list[Any] = []
    while groups:
        futures = {
            (g, n): pool.submit(ingest_window, job, fork, window, write=write)
            for g in sorted(groups)
            for n, (window, _) in enumerate(batch[g])
            if window.days
        }
        groups = set()
        for (g, n), future in futures.items():
            outcome = future.result()
            batch[g][n] = (batch[g][n][0], outcome)
            stores.append(outcome.store)
            if outcome.problems:
                run.selection.rejected |= outcome.problems
                groups.add(g)
        for g in groups:
            batch[g] = [(_without(window, run.selection), outcome) for window, outcome in batch[g]]
    return stores


def _without(window: Window, selection: Selection) -> Window:
    """Leave rejected scenes out; where one was to replace another, the day stays as it is."""
    days = {}
    for index, scenes in window.days.items():
        bad = [s.id for s in scenes if s.id in selection.rejected]
        if not any(b in selection.replaced for b in bad):
            days[index] = tuple(s for s in scenes if s.id not in bad)
    stay = set(window.days) - set(days)
    return replace(window, days=days, keep=window.keep or bool(stay))


def _finish(
    edit: Edit, job: IngestOptions, axis: Any, windows: _Windows, run: IngestProgress, indices: Any
) -> None:
    """Record the days of a group: from which scenes, and how clear they are."""
    pixels = float(np.prod(job.spec.shape))
    outcomes = [outcome for _, outcome in windows]
    written = windows[0][0].days
    records: dict[int, DayRecord | None] = {i: run.record(axis[i]) for i in indices}
    fraction, ids, counts = {}, {}, {}
    tiles = job.spec.layout.tiles(job.spec.shape)
    for index, scenes in written.items():
        clear = {s.id: sum(o.scenes.get(s.id, 0) for o in outcomes) / pixels for s in scenes}
        outside = {s.id for s in scenes if not any(s.id in o.scenes for o in outcomes)}
        run.selection.rejected |= dict.fromkeys(outside, OUTSIDE)
        run.clear |= {name: share for name, share in clear.items() if name not in outside}
        if not run.selection.days[axis[index]]:
            run.removed.append(axis[index])
        # Scenes outside are remembered too: they need not be looked at again.
        entries = tuple(entry_of(s, clear[s.id]) for s in scenes)
        records[index] = DayRecord(entries) if entries else None
        seen = len(outside) < len(scenes)
        counts[index] = np.reshape([o.clear[index] for o in outcomes], tiles)
        fraction[index] = sum(o.clear[index] for o in outcomes) / pixels if seen else np.nan
        # In the order of composition: the numbers in `source`.
        ids[index] = json.dumps([s.id for s in scenes]) if seen else ""
    write_along_time(edit.group["clear_fraction"], fraction)
    write_along_time(edit.group["scenes"], ids)
    write_along_time(edit.group[f"{GROUP}/{CLEAR_ARRAY}"], counts)
    write_records(edit.group, records)
    write_screening(edit.group, dict.fromkeys(written))
