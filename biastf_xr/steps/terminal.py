"""How the steps speak: one console, progress, small tables."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

Row = TypeVar("Row")

console = Console()

# Where output is no terminal (a log file, CI) progress is a line at every such fraction.
LOG_EVERY = 0.2

# Rows of a table, unless everything is to be told.
FEW, MANY = 20, 60


@dataclass
class _Voice:
    """How much is told."""

    everything: bool = False


_voice = _Voice()


def speak(*, quiet: bool = False, everything: bool = False, aside: bool = False) -> None:
    """Settle how the steps speak from now on.

    `everything`: Tell every row of a table, and every scene and unit in a log.
    `aside`: Speak on standard error, because standard output belongs to a program.
    """
    console.quiet = quiet
    console.stderr = aside
    _voice.everything = everything


def shown(rows: Sequence[Row], most: int = FEW) -> Sequence[Row]:
    """Return the rows of a table that are told."""
    return rows if _voice.everything else rows[:most]


def tell_rest(rows: Sequence[Any], most: int = FEW, what: str = "more") -> None:
    """Return how many rows were not told."""
    left = len(rows) - len(shown(rows, most))
    if left:
        console.print(f"... and {left} {what} (--verbose tells all)", highlight=False)


@contextmanager
def progress_bar(task: str, unit: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """Show progress: a bar on a terminal, a few lines in a log."""
    if not console.is_terminal:
        said = [-LOG_EVERY]

        def log(done: int, total: int | None, note: str) -> None:
            share = done / total if total else 1.0
            if _voice.everything or total is None or share - said[0] >= LOG_EVERY or done == total:
                said[0] = share
                of = f" of {total}" if total else ""
                console.print(f"{task}: {done}{of} {unit} {note}".rstrip(), highlight=False)

        yield log
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        handle = bar.add_task(task, total=None, note="")

        def advance(done: int, total: int | None, note: str) -> None:
            bar.update(handle, completed=done, total=total, note=note)

        yield advance
        seen = bar.tasks[0]
        bar.update(handle, total=seen.total or seen.completed, completed=seen.total, note="")


def facts(title: str, rows: dict[str, Any]) -> None:
    """Print names and values."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in rows.items():
        table.add_row(key, str(value))
    console.print(table)


def frame_table(title: str, frame: pd.DataFrame) -> None:
    """Print a table of numbers."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(str(frame.index.name or ""))
    for column in frame.columns:
        table.add_column(str(column), justify="right")
    for name, row in frame.iterrows():
        table.add_row(str(name), *(f"{v:.5f}" for v in row))
    console.print(table)
