"""Fuse from Zarr to Zarr: plan, do what is missing, record what was done."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._cube import write_window
from biastf_xr.cube._spec import STATUS
from biastf_xr.cube.stores import locate, store_at
from biastf_xr.errors import (
    BiastfError,
    ClusterLostError,
    FusionRunError,
    StoreLockedError,
    StoreWriteError,
    WorkerDiedError,
)
from biastf_xr.fusion import _ledger as books
from biastf_xr.fusion._crew import ClusterCrew, Queue, ThreadCrew
from biastf_xr.fusion._output import Output, Work, find_work, open_output, work_left
from biastf_xr.fusion._report import (
    FailedUnit,
    RunLog,
    RunProgress,
    RunReport,
    RunState,
    library_versions,
    utc_now,
)
from biastf_xr.fusion._worker import Job, UnitOutcome, forget_inputs, run_task
from biastf_xr.methods import get_method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client
    from numpy.typing import NDArray

    from biastf_xr.cube.stores.base import Edit
    from biastf_xr.fusion._crew import Crew, Done
    from biastf_xr.fusion._inputs import Inputs
    from biastf_xr.fusion._plan import FusionRule, Unit
    from biastf_xr.methods.base import Method

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
    fine: str | Path,
    coarse: str | Path,
    output: str | Path,
    method: str | Method = "direct",
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
    fine, coarse : str or pathlib.Path
        The cubes; every worker must be able to read them.
    output : str or pathlib.Path
        The store to write: a folder, a URL, or ``icechunk://folder``.
    method : str or Method
        Name of a method that needs no training, or a fitted method.
    dates : "daily" or array_like of dates
        "daily" is every day of the coarse season.  Other dates of the output stay as they are.
    withhold : array_like of dates
        Fine scenes that must not be used, for scoring.
    tile : int
        Largest shard of a new output, and the unit of work, in pixels.
    rule : FusionRule, optional
        How base dates and coarse gaps are dealt with.
    client : distributed.Client or callable, optional
        Cluster to run on, as from `biastf_xr.cluster.connect`, or what gives one, called only if
        there is something to do; without one, threads of this process.
    gpu : bool
        Whether only workers with the abstract resource "GPU" do units.
    overwrite : bool
        Replace a store that is there by a new one, at once.
    revise : bool
        Whether a cube made with another method or rule may be made anew in place.
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
    built = get_method(method, **options)
    plan_options = {"dates": dates, "withhold": withhold, "rule": rule}
    fine, coarse, output = (locate(p, Path()) for p in (fine, coarse, output))
    journal = RunLog(log)
    try:
        with store_at(output).lock() as token:
            place = open_output(
                fine, coarse, output, built, tile=tile, overwrite=overwrite, revise=revise,
                **plan_options,
            )  # fmt: skip
            left = work_left(output, place.inputs)
            if not left.todo.any():
                journal.write("nothing to do", output=output, plan=place.inputs.digest())
                return RunReport(output, kept=left.todo.size)
            inputs, plan = place.inputs, place.inputs.plan
            job = Job(
                fine, coarse, output, inputs.method, plan.bands, plan.alignment, plan.rule,
                secrets.token_hex(4), token,
            )  # fmt: skip
            given = client() if callable(client) else client
            crew: Crew = ThreadCrew() if given is None else ClusterCrew(given, gpu=gpu)
            try:
                return _Run(job, place, crew, journal, progress).execute()
            finally:
                crew.close()
                forget_inputs()
    except BiastfError as error:
        journal.write("error", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        journal.close()


@dataclass(frozen=True)
class _Trial:
    """A unit that is to be done, and how often it has failed."""

    unit: Unit
    slot: int
    tries: int = 0
    deaths: int = 0


@dataclass
class _Run:
    """One run: hands out units, takes their outcomes, keeps the ledger."""

    job: Job
    place: Output
    crew: Crew
    log: RunLog
    progress: RunProgress | None
    state: RunState = field(default_factory=lambda: RunState(0))
    lines: list[NDArray[np.uint64]] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    failed: list[FailedUnit] = field(default_factory=list)
    units: int = 0
    flushed: float = field(default_factory=time.monotonic)

    @property
    def inputs(self) -> Inputs:
        return self.place.inputs

    def execute(self) -> RunReport:
        """Do all that is to be done."""
        place, plan = self.place, self.inputs.plan
        with place.store.edit("fused", hidden=True) as edit:
            place.extend(edit)
            ledger = books.open_ledger(edit.store, write=True)
            recovered = books.replay_journal(ledger)
            work = find_work(self.inputs, ledger, place.places)
            blocks = list(self._blocks(work.todo))
            self.state = RunState(sum(self._count(work, block) for block in blocks))
            report = self._begin(edit, ledger, work, recovered)
            for block in blocks:
                self._do(edit, work, block)
                self._flush(edit)
                if place.store.transactional:
                    edit.publish(f"{plan.targets[block[0]]} to {plan.targets[block[-1]]}")
            report = self._end(edit, work)
        if self.failed:
            first = self.failed[0]
            raise FusionRunError(
                f"{len(self.failed)} of {self.state.total} units failed each time they were tried; "
                f"all others are in {self.job.output}. The first: {first.tile}, "
                f"{first.dates[0]} to {first.dates[-1]}: {first.error}. The log has the "
                "tracebacks; the same command tries them again."
            )
        return report

    # --- before and after -------------------------------------------------------------------------

    def _begin(self, edit: Edit, ledger: Any, work: Work, recovered: int) -> RunReport:
        """Write down what this run is going to do."""
        inputs, plan = self.inputs, self.inputs.plan
        self.log.write(
            "start", run=self.job.run, output=self.job.output, plan=inputs.digest(),
            units=self.state.total, recovered=recovered, setting=json.loads(inputs.setting),
        )  # fmt: skip
        report = RunReport(self.job.output, kept=int((~work.todo).sum()))
        if not work.todo.any():
            return report
        self.place.prepare(work)
        self.place.remember(ledger, work)
        books.remember(ledger, "runs", [self._record("running")])
        if not self.place.store.transactional:
            books.start_journal(ledger, int(work.todo.sum()), plan.rule.dates_per_unit)
        self.place.describe(edit)
        edit.checkpoint("plan of the run")
        return report

    def _record(self, how: str) -> str:
        return json.dumps(
            {
                "run": self.job.run,
                "state": how,
                "at": utc_now(),
                "plan": self.inputs.digest(),
                "setting": json.loads(self.inputs.setting),
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
        ledger = books.open_ledger(edit.store, write=True)
        books.replay_journal(ledger)  # units that failed while they were made anew
        if self.state.total:
            books.replace_last(ledger, "runs", self._record("ended"))
            self.place.add_history(edit, f"fused {self.units} units, {len(self.failed)} failed")
        state = self.state
        report = RunReport(
            self.job.output, self.units, int((~work.todo).sum()),
            int((work.todo & work.there).sum()) - state.unchanged, state.unchanged, state.pixels,
            state.elapsed, dict(state.seconds), tuple(self.failed),
        )  # fmt: skip
        self.log.write(
            "end", run=self.job.run, units=report.units, kept=report.kept, pixels=report.pixels,
            seconds=round(report.seconds, 2), stages=report.stages, failed=len(report.failed),
        )  # fmt: skip
        return report

    # --- the units --------------------------------------------------------------------------------

    def _blocks(self, todo: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
        """Cut the dates into what becomes visible together."""
        dates = np.flatnonzero(todo.any(axis=1))
        size = dates.size
        if self.place.store.transactional:
            size = BLOCK * self.inputs.plan.rule.dates_per_unit
        for start in range(0, dates.size, max(size, 1)):
            yield dates[start : start + size]

    def _count(self, work: Work, block: NDArray[np.intp]) -> int:
        """Count the units of a block."""
        todo = np.zeros_like(work.todo)
        todo[block] = work.todo[block]
        return int(self.inputs.plan.runs(todo).sum())

    def _tiles(self, work: Work, block: NDArray[np.intp]) -> Iterator[list[_Trial]]:
        """List the units of a block, tile by tile."""
        plan, slot = self.inputs.plan, self.units + len(self.failed)
        for tile in range(len(plan.tiles)):
            wanted = block[work.todo[block, tile]]
            if wanted.size:
                units = plan.units_of(tile, wanted)
                yield [_Trial(unit, slot + n) for n, unit in enumerate(units)]
                slot += len(units)

    def _do(self, edit: Edit, work: Work, block: NDArray[np.intp]) -> None:
        """Do the units of a block, never more than a few per worker in flight."""
        queue = Queue(self._tiles(work, block))
        busy: Counter[str] = Counter()
        trials: dict[int, _Trial] = {}
        workers, looked = self.crew.workers(), time.monotonic()
        while True:
            if time.monotonic() - looked > LOOK:
                workers, looked = self.crew.workers(), time.monotonic()
            for name, threads in workers.items():
                while busy[name] < threads + WAITING and (trial := queue.next_for(name)):
                    task = self.place.task(trial.unit, trial.slot, work)
                    self.crew.submit(trial.slot, name, run_task, self.job, task, edit.fork())
                    trials[trial.slot] = trial
                    busy[name] += 1
            if not trials and queue.empty():
                break
            done = self.crew.wait(LOOK)
            if done is not None:
                busy[done.worker] -= 1
                trial = trials.pop(done.key)
                if done.error is None:
                    self._take(edit, done.result)
                else:
                    self._missed(edit, work, queue, trial, done)
            if time.monotonic() - self.flushed > FLUSH:
                self._flush(edit)

    def _take(self, edit: Edit, outcome: UnitOutcome) -> None:
        self.units += 1
        self.state.add(outcome)
        self.lines.append(outcome.lines)
        self.slots.append(outcome.slot)
        edit.merge([outcome.store])
        self.log.write(
            "unit", slot=outcome.slot, tile=int(outcome.lines[0, 1]),
            places=[int(p) for p in outcome.lines[:, 0]],
            pixels=outcome.pixels, worker=outcome.worker, memory=outcome.memory,
            seconds={k: round(v, 4) for k, v in outcome.seconds.items()},
        )  # fmt: skip
        if self.progress:
            self.progress(self.state)

    def _missed(self, edit: Edit, work: Work, queue: Queue, trial: _Trial, done: Done) -> None:
        """Try a failed unit again, or give it up and go on with the others."""
        error, unit = done.error, trial.unit
        died = isinstance(error, WorkerDiedError)
        trial = replace(trial, tries=trial.tries + (not died), deaths=trial.deaths + died)
        said = f"{type(error).__name__}: {error}"
        self.log.write(
            "error",
            slot=trial.slot,
            tries=trial.tries,
            deaths=trial.deaths,
            error=said,
            worker=done.worker,
            tile=unit.tile,
            dates=list(map(str, unit.bracket.targets)),
            bases=list(map(str, unit.bracket.base_dates)),
            traceback=done.trace,
        )
        if isinstance(error, FATAL):
            self._flush(edit)
            raise error
        if died and (found := self._finished(edit, trial)):
            self._take(edit, found)
            return
        if trial.tries < TRIES and trial.deaths < DEATHS:
            queue.put_back(trial, last=trial.deaths >= SUSPECT)
            return
        self.state.done += 1
        bracket, tile = unit.bracket, unit.tile
        where = f"rows {tile.y0}:{tile.y1}, columns {tile.x0}:{tile.x1}"
        self.log.write("failed", slot=trial.slot, error=said)
        dates, bases = (tuple(map(str, d)) for d in (bracket.targets, bracket.base_dates))
        self.failed.append(FailedUnit(where, dates, bases, said, done.trace))
        self._flag(edit, work, unit)
        if self.progress:
            self.progress(self.state)

    def _finished(self, edit: Edit, trial: _Trial) -> UnitOutcome | None:
        """Find a unit in the journal whose worker died after it had finished it."""
        if self.place.store.transactional:
            return None
        lines = books.read_slot(books.open_ledger(edit.store), trial.slot)
        if not len(lines):
            return None
        pixels = len(lines) * int(np.prod(trial.unit.tile.shape))
        return UnitOutcome(trial.slot, lines, edit.store, pixels, 0, {}, 0, "a worker that died")

    def _flag(self, edit: Edit, work: Work, unit: Unit) -> None:
        """Flag what could not be made, where nothing was made before."""
        for date in unit.dates:
            if not work.there[date, unit.number]:
                place = int(self.place.places[date])
                flag = np.full((1, *unit.tile.shape), STATUS["failed"], np.uint8)
                write_window(edit.store, slice(place, place + 1), unit.tile, {"status_flag": flag})

    def _flush(self, edit: Edit) -> None:
        """Move what was done to the record."""
        if self.lines:
            ledger = books.open_ledger(edit.store, write=True)
            books.write_lines(ledger, np.concatenate(self.lines))
            if not self.place.store.transactional:
                books.shorten_journal(ledger, self.slots)
            self.lines, self.slots = [], []
        if self.place.store.transactional:
            edit.checkpoint(f"{self.state.done} of {self.state.total} units")
        self.flushed = time.monotonic()
