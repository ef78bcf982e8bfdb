"""The scheduled job: every step in turn, each recorded, one run at a time."""

from __future__ import annotations

import datetime as dt
import signal
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from biastf_xr._files import own_folder
from biastf_xr._update.health import failed_checks, newest_days
from biastf_xr._update.outcomes import Outcome, outcome_of
from biastf_xr._update.records import Accuracy, RunRecords, StepRecord, UpdateReport
from biastf_xr._update.steps import SKIPPED, STEPS, Context, Result
from biastf_xr.cube.stores._lock import lock_folder
from biastf_xr.errors import BiastfError, FusionRunError, StoreLockedError
from biastf_xr.fusion._report import RunLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from biastf_xr.region import Progress, Region

    # Called after every step with its record and what the step returned.
    OnStep = Callable[[StepRecord, Any], None]

LOG = "log.jsonl"


def run_update(
    region: Region,
    *,
    dry_run: bool,
    today: dt.date | None,
    progress: Progress,
    on_step: OnStep | None,
) -> UpdateReport:
    """Do every step in turn, alone on the region; see `biastf_xr.region.Region.update`."""
    records = RunRecords(region.folder)
    report = UpdateReport(records.new_name(), output=region.config.fuse.output)
    day = today or dt.datetime.now(dt.UTC).date()
    if dry_run:
        return _look(region, report, progress)
    try:
        with lock_folder(records.folder):
            return _Run(region, records, report, day, progress, on_step).execute()
    except StoreLockedError as error:
        return replace(report, outcome=Outcome.BUSY, steps=(_failed_step("start", 0.0, error),))
    except BiastfError as error:  # the records themselves cannot be written
        return replace(
            report, outcome=outcome_of(error), steps=(_failed_step("record", 0.0, error),)
        )


def _look(region: Region, report: UpdateReport, progress: Progress) -> UpdateReport:
    """Ask every step what it would do."""
    run, steps = Context(region, progress, dry_run=True), []
    try:
        for name, step in STEPS.items():
            listed = name in region.config.update.steps
            result = step(run) if listed else Result(SKIPPED, note="not among `steps`")
            steps.append(StepRecord(name, result.outcome, 0.0, result.counts, result.note))
    except BiastfError as error:
        return replace(report, outcome=Outcome.FAILED, steps=(_failed_step("plan", 0.0, error),))
    return replace(report, outcome=Outcome.PLANNED, steps=tuple(steps))


class _Run:
    """One run, which holds the lock."""

    def __init__(
        self,
        region: Region,
        records: RunRecords,
        report: UpdateReport,
        today: dt.date,
        progress: Progress,
        on_step: OnStep | None,
    ) -> None:
        self.region, self.config, self.records, self.report = region, region.config, records, report
        self.today, self.progress, self.on_step = today, progress, on_step
        self.started = time.perf_counter()
        self.log = RunLog(own_folder(records.folder) / LOG)

    def execute(self) -> UpdateReport:
        """Do every step, and write down what came of it."""
        earlier = self.records.read()
        for name in self.records.close_dead():
            self._say("died", run=name)
        self._save()
        known = next((r.accuracy for r in earlier if r.accuracy), None)
        run = Context(self.region, self.progress, scored_before=known)
        try:
            with _interruptible():
                outcome = self._steps(run)
            self._conclude(run, known, outcome)
        except KeyboardInterrupt:
            self._end(Outcome.INTERRUPTED)
        finally:
            self.log.close()
        return self.report

    def _steps(self, run: Context) -> Outcome:
        """Do the steps until one fails."""
        incomplete = False
        for name, step in STEPS.items():
            if name not in self.config.update.steps:
                continue
            started = time.perf_counter()
            try:
                result = step(run)
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (recorded, by its name)
                self._add(_failed_step(name, time.perf_counter() - started, error), error)
                if isinstance(error, FusionRunError):
                    incomplete = run.changed = True
                    continue
                # What failed units leave may fail a later step; the next run tries both again.
                found = outcome_of(error)
                return Outcome.INCOMPLETE if incomplete and found is Outcome.FAILED else found
            seconds = round(time.perf_counter() - started, 2)
            record = StepRecord(name, result.outcome, seconds, result.counts, result.note)
            self._add(record, value=result.value)
        if incomplete:
            return Outcome.INCOMPLETE
        return Outcome.DONE if run.changed else Outcome.NOTHING_NEW

    def _conclude(self, run: Context, known: Accuracy | None, outcome: Outcome) -> None:
        """Look at what there is now, and end the record."""
        try:
            newest = newest_days(self.config)
        except (BiastfError, OSError, ValueError) as error:
            newest = {}
            self._say("error", step="checks", error=_said(error))
        accuracy = run.accuracy or known
        rejected = sum(
            count
            for step in self.report.steps
            for name, count in step.counts.items()
            if step.name == "ingest" and name.endswith("rejected")
        )
        warnings = failed_checks(
            self.config.update, newest, accuracy, self.today, rejected=rejected
        )
        if warnings and outcome in (Outcome.DONE, Outcome.NOTHING_NEW):
            outcome = Outcome.WARNING
        self.report = replace(self.report, newest=newest, warnings=warnings, accuracy=run.accuracy)
        self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        """Write the record and the status page."""
        from biastf_xr._update.status import write_status

        names = {step.name for step in self.report.steps}
        missed = [n for n in STEPS if n in self.config.update.steps and n not in names]
        steps = (*self.report.steps, *(StepRecord(name, "not reached") for name in missed))
        self.report = replace(self.report, outcome=outcome, steps=steps)
        self._save()
        self.records.prune(self.config.update.keep)
        self._say("end", outcome=str(outcome), exit_code=int(self.report.exit_code),
                  warnings=list(self.report.warnings))  # fmt: skip
        write_status(self.config, today=self.today)

    def _add(self, step: StepRecord, error: BaseException | None = None, value: Any = None) -> None:
        """Record a step."""
        self.report = replace(self.report, steps=(*self.report.steps, step))
        about: dict[str, Any] = {"step": step.name, "outcome": step.outcome, "counts": step.counts,
                                 "seconds": step.seconds, "note": step.note}  # fmt: skip
        if error is not None:
            lines = traceback.format_exception(error)
            about |= {"error": step.error, "message": step.message, "trace": "".join(lines)}
        self._say("step", **about)
        self._save()
        if self.on_step:
            self.on_step(step, value)

    def _save(self) -> None:
        seconds = round(time.perf_counter() - self.started, 2)
        self.report = replace(self.report, seconds=seconds)
        self.records.save(self.report)

    def _say(self, event: str, **about: Any) -> None:
        self.log.write(event, run=about.pop("run", self.report.run), **about)


def _failed_step(name: str, seconds: float, error: BaseException) -> StepRecord:
    return StepRecord(
        name,
        "interrupted" if isinstance(error, KeyboardInterrupt) else "failed",
        round(seconds, 2),
        error=type(error).__name__,
        message=str(error) or type(error).__name__,
    )


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def _interruptible() -> Iterator[None]:
    """Take SIGTERM, of service managers and batch systems, as Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
