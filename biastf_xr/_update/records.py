"""The record of a scheduled run, and the folder in which runs are kept: one JSON file a run."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biastf_xr._files import own_folder, read_bytes, write_text
from biastf_xr._outside import json_text, visible
from biastf_xr._summary import Summary, Told
from biastf_xr._update.outcomes import Outcome, failure_of
from biastf_xr.fusion._report import library_versions, utc_now

if TYPE_CHECKING:
    from biastf_xr.config import Config
    from biastf_xr.errors import ExitCode


@dataclass(frozen=True)
class StepRecord:
    """What came of one step.

    `outcome`: "done", "nothing new", "skipped", "failed", "interrupted", "planned" or "not
    reached".
    `seconds`: How long it took.
    `counts`: Numbers and short texts: scenes added, units made.
    `note`: Why it was skipped, or what else is to be said.
    `error`, `message`: Type and text of the error; empty where there was none.
    """

    name: str
    outcome: str
    seconds: float = 0.0
    counts: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    error: str = ""
    message: str = ""

    def numbers(self) -> str:
        """Return the counts in one line."""
        return ", ".join(f"{name} {value}" for name, value in self.counts.items())


@dataclass(frozen=True)
class Accuracy:
    """How good the predictions of one withheld scene were.

    `rmse`: Root mean square error by method, reflectance, mean over bands; the same pixels for
    all.
    `pixels`: Pixels that were compared.
    `base`: Nearest base dates that the prediction could see.
    `how`: How it was withheld.
    """

    date: str
    method: str
    rmse: dict[str, float]
    pixels: int
    base: str
    how: str

    @property
    def ratio(self) -> float | None:
        """Return the error of the method over that of the better of linear and direct."""
        free = [self.rmse[name] for name in ("linear", "direct") if name in self.rmse]
        own = self.rmse.get(self.method)
        return None if own is None or not free or min(free) <= 0 else own / min(free)


@dataclass(frozen=True, repr=False)
class UpdateReport(Told):
    """What an update did, or would do.

    `run`: Its name: when it began, in UTC.
    `outcome`: What came of it.
    `seconds`: How long it took.
    `steps`: What came of every step, in their order.
    `newest`: Newest day of the cubes: "fine", "coarse", "fused"; ISO format, "" where there is
    none.
    `accuracy`: Of the newest withheld scene, where it was scored.
    `versions`: Of what computed and wrote.
    `process`: Number of the process.
    """

    run: str
    outcome: Outcome = Outcome.RUNNING
    seconds: float = 0.0
    steps: tuple[StepRecord, ...] = ()
    newest: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    accuracy: Accuracy | None = None
    output: str = ""
    versions: dict[str, str] = field(default_factory=library_versions)
    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)

    @property
    def exit_code(self) -> ExitCode:
        """Return the code that the job ends with."""
        return self.outcome.exit_code

    @property
    def failed(self) -> StepRecord | None:
        """Return the first step that failed."""
        return next((step for step in self.steps if step.error), None)

    @property
    def error(self) -> str:
        """Return what failed and how to repair it, as one message; empty if nothing failed."""
        step = self.failed
        if step is None:
            return ""
        repair = failure_of(step.error).repair
        what = visible(f"error ({step.error}) in {step.name}: {step.message}")
        return f"{what}\n{repair}"

    def _summary(self) -> Summary:
        import pandas as pd

        planned = self.outcome is Outcome.PLANNED
        rows = [
            {"step": step.name, "outcome": step.outcome,
             "seconds": "" if planned else f"{step.seconds:.1f}", "counts": step.numbers(),
             "note": step.note}
            for step in self.steps
        ]  # fmt: skip
        notes = [f"warning: {text}" for text in self.warnings]
        notes += self.error.splitlines()
        title = "what a run would do" if planned else "the run"
        end = f"{self.outcome}: exit code {int(self.exit_code)}"
        return Summary("Update", {"ended": end}, {title: pd.DataFrame(rows)}, tuple(notes))

    def text(self) -> str:
        """Return the record as it is stored."""
        record = asdict(self) | {"exit_code": int(self.exit_code)}
        return json_text(record, indent=1) + "\n"

    @classmethod
    def parse(cls, text: str) -> UpdateReport:
        """Read a stored record; keys of another version are left out."""
        found = json.loads(text)
        known = {f.name for f in fields(cls)}
        made = cls(**{k: v for k, v in found.items() if k in known})
        return replace(
            made,
            outcome=Outcome(made.outcome),
            steps=tuple(StepRecord(**step) for step in found.get("steps", ())),
            warnings=tuple(made.warnings),
            accuracy=Accuracy(**found["accuracy"]) if found.get("accuracy") else None,
        )


def folder_of(config: Config) -> Path:
    """Return the folder of the scheduled job."""
    return config.update.folder or Path("nights")


class RunRecords:
    """The folder of the records.

    `folder`: Folder of the scheduled job; the records lie in its subfolder ``runs``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"

    def new_name(self) -> str:
        """Return the name of a run that begins now."""
        stamp = utc_now().replace(":", "").replace("-", "")
        taken = len(list(self.runs.glob(f"{stamp}*.json")))
        return f"{stamp}-{taken + 1}" if taken else stamp

    def save(self, report: UpdateReport) -> None:
        """Write a record, at once."""
        write_text(own_folder(self.runs) / f"{report.run}.json", report.text())

    def read(self) -> list[UpdateReport]:
        """Read all records; files that are none are passed over."""
        found = []
        for path in sorted(self.runs.glob("*.json"), key=_stem, reverse=True):
            with suppress(OSError, ValueError, TypeError, KeyError):
                found.append(UpdateReport.parse(read_bytes(path).decode()))
        return found

    def close_dead(self) -> list[str]:
        """Record of runs that never ended that they died; only for who holds the lock."""
        dead = [report for report in self.read() if report.outcome is Outcome.RUNNING]
        for report in dead:
            self.save(replace(report, outcome=Outcome.DIED))
        return [report.run for report in dead]

    def prune(self, keep: int) -> int:
        """Remove the oldest records."""
        old = sorted(self.runs.glob("*.json"), key=_stem, reverse=True)[keep:]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)


def _stem(path: Path) -> str:
    """Return what records are sorted by: the second run of a second ends in -2."""
    return path.stem
