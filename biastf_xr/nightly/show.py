"""What the terminal shows of a scheduled run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from biastf_xr.nightly.outcomes import Outcome, failure_of
from biastf_xr.steps.terminal import console

if TYPE_CHECKING:
    from biastf_xr.nightly.records import NightReport


def show_night(report: NightReport) -> None:
    """Print what a run did, or would do; an error goes to standard error, in one message."""
    planned = report.outcome is Outcome.PLANNED
    table = Table(title="what a run would do" if planned else "the run", title_justify="left",
                  box=SIMPLE_HEAD, padding=(0, 1, 0, 0))  # fmt: skip
    for name in ("step", "outcome", "seconds", "counts", "note"):
        table.add_column(name, overflow="fold")
    for step in report.steps:
        counts = ", ".join(f"{name} {value}" for name, value in step.counts.items())
        took = "" if planned else f"{step.seconds:.1f}"
        table.add_row(step.name, step.outcome, took, counts, step.note)
    console.print(table)
    for warning in report.warnings:
        console.print(f"[yellow]warning[/]: {warning}")
    if report.outcome is Outcome.NOTHING_NEW:
        console.print("nothing new: the fused cube is up to date")
    failed = report.failed
    if failed is not None:
        print(f"error ({failed.error}) in {failed.name}: {failed.message}", file=sys.stderr)  # noqa: T201
        print(failure_of(failed.error).repair, file=sys.stderr)  # noqa: T201
    console.print(f"{report.outcome}: exit code {int(report.exit_code)}", highlight=False)
