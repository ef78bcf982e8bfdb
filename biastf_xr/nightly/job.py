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

from biastf_xr.cube.stores._lock import lock_folder
from biastf_xr.errors import BiastfError, FusionRunError, StoreLockedError
from biastf_xr.fusion._report import RunLog
from biastf_xr.nightly.health import failed_checks, newest_days
from biastf_xr.nightly.outcomes import Outcome, outcome_of
from biastf_xr.nightly.records import Accuracy, NightReport, RunBook, StepRecord, folder_of
from biastf_xr.nightly.work import STEPS, Night

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from biastf_xr.config import Config


LOG = "log.jsonl"


def update(
    config: Config,
    *,
    dry_run: bool = False,
    today: dt.date | None = None,
    progress: Callable[[NightReport], None] | None = None,
) -> NightReport:
    """Bring a region up to date: the scheduled job.

    Eager.  Ingests what is new, fits the method if `refit` says so, fuses what that changes, scores
    the newest withheld scene, writes the report, exports; then writes the record of the run and the
    status page.  A step that fails ends the run, except that units which failed do not keep the
    rest from being scored and handed on.  Everything that was finished is kept, and the next run
    goes on.

    `dry_run`: Say what each step would do, and write nothing.
    `today`: The day that ages are counted from; the day it is in UTC by default.
    """
    book = RunBook(folder_of(config))
    report = NightReport(book.new_name(), output=config.fuse.output)
    day = today or dt.datetime.now(dt.UTC).date()
    if dry_run:
        return _dry(config, report)
    try:
        with lock_folder(book.folder):
            return _Run(config, book, report, day, progress).execute()
    except StoreLockedError as error:
        return replace(report, outcome=Outcome.BUSY, steps=(_failed_step("start", 0.0, error),))
    except BiastfError as error:  # the records themselves cannot be written
        return replace(
            report, outcome=outcome_of(error), steps=(_failed_step("record", 0.0, error),)
        )


def _dry(config: Config, report: NightReport) -> NightReport:
    from biastf_xr.nightly.outlook import outlook

    try:
        return replace(report, outcome=Outcome.PLANNED, steps=outlook(config))
    except BiastfError as error:
        return replace(report, outcome=Outcome.FAILED, steps=(_failed_step("plan", 0.0, error),))


class _Run:
    """One run, which holds the lock."""

    def __init__(
        self,
        config: Config,
        book: RunBook,
        report: NightReport,
        today: dt.date,
        progress: Callable[[NightReport], None] | None,
    ) -> None:
        self.config, self.book, self.report = config, book, report
        self.today, self.progress = today, progress
        self.started = time.perf_counter()
        self.log = RunLog(book.folder / LOG)

    def execute(self) -> NightReport:
        """Do every step, and write down what came of it."""
        earlier = self.book.read()
        for name in self.book.close_dead():
            self._say("died", run=name)
        self._save()
        known = next((r.accuracy for r in earlier if r.accuracy), None)
        night = Night(self.config, self.book.folder, scored_before=known)
        try:
            with _interruptible():
                outcome = self._steps(night)
            self._conclude(night, known, outcome)
        except KeyboardInterrupt:
            self._end(Outcome.INTERRUPTED)
        finally:
            self.log.close()
        return self.report

    def _steps(self, night: Night) -> Outcome:
        """Do the steps until one fails."""
        incomplete = False
        for name, work in STEPS.items():
            if name not in self.config.nightly.steps:
                continue
            started = time.perf_counter()
            try:
                result = work(night)
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (recorded, by its name)
                self._add(_failed_step(name, time.perf_counter() - started, error), error)
                if isinstance(error, FusionRunError):
                    incomplete = night.changed = True
                    continue
                # What failed units leave may fail a later step; the next run tries both again.
                said = outcome_of(error)
                return Outcome.INCOMPLETE if incomplete and said is Outcome.FAILED else said
            seconds = round(time.perf_counter() - started, 2)
            self._add(StepRecord(name, result.outcome, seconds, result.counts, result.note))
        if incomplete:
            return Outcome.INCOMPLETE
        return Outcome.DONE if night.changed else Outcome.NOTHING_NEW

    def _conclude(self, night: Night, known: Accuracy | None, outcome: Outcome) -> None:
        """Look at what there is now, and end the record."""
        try:
            newest = newest_days(self.config)
        except (BiastfError, OSError, ValueError) as error:
            newest = {}
            self._say("error", step="checks", error=_said(error))
        accuracy = night.accuracy or known
        rejected = sum(
            count
            for step in self.report.steps
            for name, count in step.counts.items()
            if step.name == "ingest" and name.endswith("rejected")
        )
        warnings = failed_checks(
            self.config.nightly, newest, accuracy, self.today, rejected=rejected
        )
        if warnings and outcome in (Outcome.DONE, Outcome.NOTHING_NEW):
            outcome = Outcome.WARNING
        self.report = replace(
            self.report, newest=newest, warnings=warnings, accuracy=night.accuracy
        )
        self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        """Write the record and the status page."""
        from biastf_xr.nightly.status import write_status

        names = {step.name for step in self.report.steps}
        missed = [n for n in STEPS if n in self.config.nightly.steps and n not in names]
        steps = (*self.report.steps, *(StepRecord(name, "not reached") for name in missed))
        self.report = replace(self.report, outcome=outcome, steps=steps)
        self._save()
        self.book.prune(self.config.nightly.keep)
        self._say("end", outcome=str(outcome), exit_code=int(self.report.exit_code),
                  warnings=list(self.report.warnings))  # fmt: skip
        write_status(self.config, today=self.today)

    def _add(self, step: StepRecord, error: BaseException | None = None) -> None:
        """Record a step."""
        self.report = replace(self.report, steps=(*self.report.steps, step))
        about: dict[str, Any] = {"step": step.name, "outcome": step.outcome, "counts": step.counts,
                                 "seconds": step.seconds, "note": step.note}  # fmt: skip
        if error is not None:
            lines = traceback.format_exception(error)
            about |= {"error": step.error, "message": step.message, "trace": "".join(lines)}
        self._say("step", **about)
        self._save()
        if self.progress:
            self.progress(self.report)

    def _save(self) -> None:
        seconds = round(time.perf_counter() - self.started, 2)
        self.report = replace(self.report, seconds=seconds)
        self.book.save(self.report)

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
