"""Fuse from Zarr to Zarr: plan, do what is missing, record what was done."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._axis import append_days
from biastf_xr.cube._cube import Cube, write_window
from biastf_xr.cube._ledger import stored_days
from biastf_xr.cube._spec import STATUS
from biastf_xr.cube._template import add_history
from biastf_xr.errors import (
    BiastfError,
    ClusterLostError,
    FusionRunError,
    StoreLockedError,
    StoreWriteError,
    WorkerDiedError,
)
from biastf_xr.fusion import _ledger
from biastf_xr.fusion._fusion import Fusion, Work
from biastf_xr.fusion._pool import ClusterPool, Queue, ThreadPool
from biastf_xr.fusion._provenance import AFTER, BEFORE
from biastf_xr.fusion._report import (
    FailedUnit,
    RunLog,
    RunProgress,
    RunReport,
    RunState,
    UnitOutcome,
    library_versions,
    utc_now,
)
from biastf_xr.fusion._scene import prepare
from biastf_xr.fusion._worker import RunContext, UnitRecord, forget_windows, run_unit
from biastf_xr.methods import DEFAULT_METHOD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from distributed import Client
    from numpy.typing import NDArray

    from biastf_xr.cube.stores.base import Edit
    from biastf_xr.fusion._plan import FusionRule, Unit
    from biastf_xr.fusion._pool import WorkerPool
    from biastf_xr.methods.base import Method, Prepared

# A worker has as many units in hand as it has threads, and one that waits.
WAITING = 1

# How often a unit is tried, and how many workers may die while they have it in hand.
TRIES, DEATHS = 3, 8

# After so many deaths a unit waits until all others are done: it may be what kills them.
SUSPECT = 3

# Seconds between two looks at who is there.
LOOK = 1.0

# Seconds between two times that what was done is moved to the record.
FLUSH = 30.0

# Blocks of dates of a transactional store, in units: a block becomes visible when it is complete.
BLOCK = 2

# No other unit can do better after one of these.
FATAL = (StoreWriteError, StoreLockedError, ClusterLostError)


def write_fused(
    fine: Cube | str | Path,
    coarse: Cube | str | Path,
    output: Cube | str | Path,
    method: str | Method = DEFAULT_METHOD,
    *,
    dates: Any = "daily",
    withhold: Any = (),
    tile: int = 1024,
    rule: FusionRule | None = None,
    client: Client | Callable[[], Client | None] | None = None,
    gpu: bool = False,
    overwrite: bool = False,
    revise: bool = False,
    progress: RunProgress | None = None,
    log: str | Path | None = None,
    **options: Any,
) -> RunReport:
    """Fuse two stores into a third, or bring that one up to date.

    Eager.  One unit per output tile and bracket reads its own window, computes all target dates
    together and writes whole shards; no pixel travels between workers.  What the output's ledger
    says was made from the same inputs is not made again: the same call after an interruption does
    what is missing, and after a late scene what that scene changes.

    Parameters
    ----------
    fine, coarse : Cube, str or pathlib.Path
        The cubes; every worker must be able to read them.
    output : Cube, str or pathlib.Path
        The store to write: a folder, a URL, or ``icechunk://folder``.
    method : str or Method
        Name of a method, or a fitted method.  "biastf-plus" given by name is fitted first, which
        takes seconds; networks must be fitted before.
        Withheld scenes take no part in the fit.  To go on with the same model when scenes
        arrive, hand over a fitted one.
    dates : "daily" or array_like of dates
        "daily" is every day of the coarse season.  Other dates of the output stay as they are.
    withhold : array_like of dates
        Fine scenes that must not be used, for scoring.
    tile : int
        Largest shard of a new output, and the unit of work, in pixels.
    rule : FusionRule, optional
        How base dates and coarse gaps are dealt with.
    client : distributed.Client or callable, optional
        Cluster to run on, as from `biastf_xr.cluster.connect`, or what returns one, called only if
        there is something to do; without one, threads of this process.
    gpu : bool
        Whether only workers with the abstract resource "GPU" do units.
    overwrite : bool
        Replace a store that is there by a new one, at once.
    revise : bool
        Whether a cube made with another method or rule may be recomputed in place.
    progress : callable, optional
        Called after every unit with a `RunState`.
    log : str or pathlib.Path, optional
        File to which JSON lines are appended.
    **options
        Options of a method given by name.

    Returns
    -------
    RunReport
        What was done.

    Raises
    ------
    FusionRunError
        If units failed every time they were tried; all others were made.
    CubeStructureError, MethodError
        If the output was made otherwise than is now asked.
    StoreLockedError, StoreWriteError, ClusterLostError
        If another process writes the output, it cannot be written, or the cluster is gone; what
        was finished is kept.
    GridMismatchError, MissingPairError, TargetDateError
        If the inputs do not fit together.
    """
    fine, coarse, output = map(Cube.of, (fine, coarse, output))
    events = RunLog(log)
    try:
        with output.store.lock() as token:
            fusion = Fusion.between(
                fine, coarse, output, method, dates=dates, withhold=withhold, tile=tile, rule=rule,
                overwrite=overwrite, options=options,
            )  # fmt: skip
            output = fusion.claim_output(overwrite=overwrite, revise=revise)
            left = fusion.work_left()
            if not left.todo.any():
                events.write("nothing to do", output=output.path, plan=fusion.provenance.hash())
                return RunReport(output.path, kept=left.todo.size)
            context = RunContext(
                fine, coarse, output, fusion.method, fusion.plan.bands, fusion.plan.alignment,
                fusion.plan.rule, secrets.token_hex(4), token,
            )  # fmt: skip
            given = client() if callable(client) else client
            pool: WorkerPool = ThreadPool() if given is None else ClusterPool(given, gpu=gpu)
            try:
                return _FusionRun(fusion, context, pool, events, progress).execute()
            finally:
                pool.close()
                forget_windows()
    except BiastfError as error:
        events.write("error", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        events.close()


class _FusionRun:
    """One run: hands out units, takes their outcomes, keeps the ledger."""

    def __init__(
        self,
        fusion: Fusion,
        context: RunContext,
        pool: WorkerPool,
        log: RunLog,
        progress: RunProgress | None,
    ) -> None:
        self.fusion, self.plan, self.provenance = fusion, fusion.plan, fusion.provenance
        self.context, self.output = context, context.output
        self.pool, self.log, self.progress = pool, log, progress
        self.transactional = self.output.store.transactional
        self.state = RunState(0)
        # Of all targets: their indices on the time axis of the output, and their recipes.
        self.indices = np.zeros(0, np.intp)
        self.recipes: dict[int, int] = {}
        # What the method prepared, by base date, for all targets.
        self.states: dict[np.datetime64, Prepared] = {}
        # What is done and not in the record yet.
        self.outcomes: list[UnitOutcome] = []
        self.flushed = time.monotonic()
        self.failed: list[FailedUnit] = []
        self.tries: Counter[int] = Counter()
        self.deaths: Counter[int] = Counter()
        self.units = 0

    def execute(self) -> RunReport:
        """Do all that is to be done."""
        plan = self.plan
        with self.output.store.edit("fused", hidden=True) as edit:
            self._extend(edit)
            ledger = _ledger.open_ledger(edit.group)
            recovered = _ledger.replay_journal(ledger)
            work = self.fusion.compare(ledger, self.indices)
            blocks = list(self._blocks(work.todo))
            self.state = RunState(sum(self._count(work, block) for block in blocks))
            report = self._begin(edit, ledger, work, recovered)
            for block in blocks:
                self._do(edit, work, block)
                self._flush(edit)
                if self.transactional:
                    edit.publish(f"{plan.targets[block[0]]} to {plan.targets[block[-1]]}")
            report = self._end(edit, work)
        if self.failed:
            first = self.failed[0]
            raise FusionRunError(
                f"{len(self.failed)} of {self.state.total} units failed each time they were tried; "
                f"all others are in {self.output.path}. The first: {first.tile}, "
                f"{first.dates[0]} to {first.dates[-1]}: {first.error}. The log has the "
                "tracebacks; the same command tries them again."
            )
        return report

    # --- before and after -------------------------------------------------------------------------

    def _extend(self, edit: Edit) -> None:
        """Append targets to the time axis; those in between are there already."""
        targets, days = self.plan.targets, stored_days(edit.group)
        new = targets[~np.isin(targets, days)]
        if new.size:
            append_days(edit.group, new)
            edit.checkpoint(f"days up to {new[-1]}")
            days = np.concatenate([days, new])
        self.indices = np.searchsorted(days, targets)

    def _begin(self, edit: Edit, ledger: Any, work: Work, recovered: int) -> RunReport:
        """Write down what this run is going to do, and let the method look at whole scenes."""
        provenance, run = self.provenance, self.context.run
        self.log.write(
            "start", run=run, output=self.output.path, plan=provenance.hash(),
            units=self.state.total, recovered=recovered, setting=json.loads(provenance.setting),
        )  # fmt: skip
        report = RunReport(self.output.path, kept=int((~work.todo).sum()))
        wanted = np.asarray(work.todo.any(axis=1))
        if not wanted.any():
            return report
        self.states = prepare(self.fusion.method, self.fusion.pair, self.plan, wanted)
        texts = {int(t): provenance.recipe(int(t)) for t in np.flatnonzero(wanted)}
        _ledger.remember(ledger, "scenes", provenance.scene_texts(np.flatnonzero(wanted)))
        numbers = _ledger.remember(ledger, "recipes", texts.values())
        self.recipes = {t: numbers[text] for t, text in texts.items()}
        _ledger.remember(ledger, "runs", [self._record("running")])
        if not self.transactional:
            _ledger.start_journal(ledger, int(work.todo.sum()), self.plan.rule.dates_per_unit)
        for name, days in zip(("before", "after"), self.plan.base_dates(), strict=True):
            array: Any = edit.group[name]
            values = array[:]
            values[self.indices] = days.astype("datetime64[s]").view("int64")
            array[:] = values
        edit.group.attrs.update(self.fusion.attrs())
        edit.checkpoint("plan of the run")
        return report

    def _record(self, how: str) -> str:
        return json.dumps(
            {
                "run": self.context.run,
                "state": how,
                "at": utc_now(),
                "plan": self.provenance.hash(),
                "setting": json.loads(self.provenance.setting),
                "versions": library_versions(),
                "units": self.units,
                "failed": len(self.failed),
                "pixels": self.state.pixels,
                "seconds": round(self.state.elapsed, 1),
                "stages": {k: round(v, 1) for k, v in self.state.seconds.items()},
            }
        )

    def _end(self, edit: Edit, work: Work) -> RunReport:
        """Record the run."""
        ledger, state = _ledger.open_ledger(edit.group), self.state
        _ledger.replay_journal(ledger)  # units that failed while they were recomputed
        if state.total:
            _ledger.replace_last(ledger, "runs", self._record("ended"))
            add_history(edit.group, f"fused {self.units} units, {len(self.failed)} failed")
        report = RunReport(
            self.output.path, self.units, int((~work.todo).sum()),
            int((work.todo & work.there).sum()) - state.unchanged, state.unchanged, state.pixels,
            state.elapsed, dict(state.seconds), tuple(self.failed),
        )  # fmt: skip
        self.log.write(
            "end", run=self.context.run, units=report.units, kept=report.kept,
            pixels=report.pixels, seconds=round(report.seconds, 2), stages=report.stages,
            failed=len(report.failed),
        )  # fmt: skip
        return report

    # --- the units --------------------------------------------------------------------------------

    def _blocks(self, todo: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
        """Cut the dates into what becomes visible together."""
        dates = np.flatnonzero(todo.any(axis=1))
        size = BLOCK * self.plan.rule.dates_per_unit if self.transactional else dates.size
        for start in range(0, dates.size, max(size, 1)):
            yield dates[start : start + size]

    def _count(self, work: Work, block: NDArray[np.intp]) -> int:
        """Count the units of a block."""
        todo = np.zeros_like(work.todo)
        todo[block] = work.todo[block]
        return int(self.plan.runs(todo).sum())

    def _tiles(self, work: Work, block: NDArray[np.intp]) -> Iterator[list[Unit]]:
        """List the units of a block, tile by tile."""
        slot = self.units + len(self.failed)
        for tile in range(len(self.plan.tiles)):
            wanted = block[work.todo[block, tile]]
            if wanted.size:
                units = self.plan.units_of(tile, wanted)
                yield [replace(unit, slot=slot + n) for n, unit in enumerate(units)]
                slot += len(units)

    def _unit_record(self, unit: Unit, work: Work) -> UnitRecord:
        """Write what the ledger will say of a unit."""
        provenance, tile, dates = self.provenance, unit.number, list(unit.dates)
        lines = np.zeros((len(dates), _ledger.LINE), np.uint64)
        lines[:, 0], lines[:, 1] = self.indices[dates], tile
        lines[:, 2 + _ledger.FINE] = provenance.own_hashes[dates, tile]
        lines[:, 2 + _ledger.COARSE] = provenance.coarse_hashes[dates, tile]
        lines[:, 2 + _ledger.RECIPE] = [self.recipes[t] for t in dates]
        lines[:, 2 + _ledger.DEPTH] = work.depth[dates, tile]
        before, after = self.plan.bases_of(dates[0], tile)
        hashes = provenance.base_hashes
        bases = unit.bracket.base_dates if self.states else ()
        return UnitRecord(
            lines,
            known=tuple(int(v) for v in work.known[dates, tile]),
            rewrites=bool(work.there[dates, tile].any()),
            hashes=(hashes[before[::-1]] * BEFORE, hashes[after] * AFTER),
            bits=tuple(provenance.bits(t, tile) for t in dates),
            states={day: self.states[day].of(dates) for day in bases if day in self.states},
        )

    def _do(self, edit: Edit, work: Work, block: NDArray[np.intp]) -> None:
        """Do the units of a block, never more than a few per worker in flight."""
        queue = Queue(self._tiles(work, block))
        busy: Counter[str] = Counter()
        in_hand: dict[int, tuple[Unit, str]] = {}
        workers, looked = self.pool.workers(), time.monotonic()
        while True:
            if time.monotonic() - looked > LOOK:
                workers, looked = self.pool.workers(), time.monotonic()
            for name, threads in workers.items():
                while busy[name] < threads + WAITING and (unit := queue.next_for(name)):
                    record = self._unit_record(unit, work)
                    arguments = (self.context, unit, record, edit.fork())
                    self.pool.submit(unit.slot, name, run_unit, *arguments)
                    in_hand[unit.slot] = unit, name
                    busy[name] += 1
            if not in_hand and queue.empty():
                break
            outcome = self.pool.wait(LOOK)
            if outcome is not None:
                unit, name = in_hand.pop(outcome.slot)
                busy[name] -= 1
                if outcome.error is None:
                    self._take(edit, outcome)
                else:
                    self._missed(edit, work, queue, unit, replace(outcome, worker=name))
            if time.monotonic() - self.flushed > FLUSH:
                self._flush(edit)

    def _take(self, edit: Edit, outcome: UnitOutcome) -> None:
        assert outcome.lines is not None
        self.units += 1
        self.state.add(outcome)
        self.outcomes.append(replace(outcome, store=None))
        edit.merge([outcome.store])
        self.log.write(
            "unit", slot=outcome.slot, tile=int(outcome.lines[0, 1]),
            places=[int(p) for p in outcome.lines[:, 0]],
            pixels=outcome.pixels, worker=outcome.worker, memory=outcome.memory,
            seconds={k: round(v, 4) for k, v in outcome.seconds.items()},
        )  # fmt: skip
        if self.progress:
            self.progress(self.state)

    def _missed(
        self, edit: Edit, work: Work, queue: Queue, unit: Unit, outcome: UnitOutcome
    ) -> None:
        """Try a failed unit again, or give it up and go on with the others."""
        error, slot, bracket = outcome.error, unit.slot, unit.bracket
        died = isinstance(error, WorkerDiedError)
        (self.deaths if died else self.tries)[slot] += 1
        message = f"{type(error).__name__}: {error}"
        dates, bases = (tuple(map(str, d)) for d in (bracket.targets, bracket.base_dates))
        self.log.write(
            "error", slot=slot, tries=self.tries[slot], deaths=self.deaths[slot], error=message,
            worker=outcome.worker, tile=unit.tile, dates=dates, bases=bases,
            traceback=outcome.trace,
        )  # fmt: skip
        if isinstance(error, FATAL):
            self._flush(edit)
            raise error
        if died and (found := self._finished(edit, unit)):
            self._take(edit, found)
            return
        if self.tries[slot] < TRIES and self.deaths[slot] < DEATHS:
            queue.put_back(unit, last=self.deaths[slot] >= SUSPECT)
            return
        self.state.done += 1
        tile = unit.tile
        where = f"rows {tile.y0}:{tile.y1}, columns {tile.x0}:{tile.x1}"
        self.log.write("failed", slot=slot, error=message)
        self.failed.append(FailedUnit(where, dates, bases, message, outcome.trace))
        self._flag(edit, work, unit)
        if self.progress:
            self.progress(self.state)

    def _finished(self, edit: Edit, unit: Unit) -> UnitOutcome | None:
        """Find a unit in the journal whose worker died after it had finished it."""
        if self.transactional:
            return None
        lines = _ledger.read_slot(_ledger.open_ledger(edit.group), unit.slot)
        if not len(lines):
            return None
        pixels = len(lines) * int(np.prod(unit.tile.shape))
        return UnitOutcome(unit.slot, lines, edit.store, pixels, worker="a worker that died")

    def _flag(self, edit: Edit, work: Work, unit: Unit) -> None:
        """Flag what could not be made, where nothing was made before."""
        for date in unit.dates:
            if not work.there[date, unit.number]:
                index = int(self.indices[date])
                flag = np.full((1, *unit.tile.shape), STATUS["failed"], np.uint8)
                write_window(edit.store, slice(index, index + 1), unit.tile, {"status_flag": flag})

    def _flush(self, edit: Edit) -> None:
        """Move what was done to the record."""
        lines = [outcome.lines for outcome in self.outcomes if outcome.lines is not None]
        if lines:
            ledger = _ledger.open_ledger(edit.group)
            _ledger.write_lines(ledger, np.concatenate(lines))
            if not self.transactional:
                _ledger.shorten_journal(ledger, [outcome.slot for outcome in self.outcomes])
            self.outcomes = []
        if self.transactional:
            edit.checkpoint(f"{self.state.done} of {self.state.total} units")
        self.flushed = time.monotonic()
