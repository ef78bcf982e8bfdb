"""What the commands print with: one console, progress, small tables."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
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
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pandas as pd

Row = TypeVar("Row")

console = Console()

# Where output is no terminal (a log file, CI) progress is a line at every such fraction.
LOG_EVERY = 0.2

# Rows of a table, unless all are wanted.
FEW, MANY = 20, 60

# What the stages count; the note of any other stage is printed as it is.
UNITS = {
    "compare the sensors": "days",
    "draw": "targets",
    "evaluate": "predictions",
    "export": "files",
    "fuse": "units",
    "ingest": "scenes",
    "ingest coarse": "scenes",
    "ingest fine": "scenes",
    "predict": "results",
    "publish": "dates",
    "rechunk": "blocks",
    "train": "steps",
    "verify": "chunks of days",
    "write Landsat Collection 2 Level-2 GeoTIFFs": "scenes",
    "write MOD09GA GeoTIFFs": "scenes",
}


@dataclass
class _Output:
    """How much is printed."""

    everything: bool = False


_output = _Output()


def set_output(*, quiet: bool = False, everything: bool = False, aside: bool = False) -> None:
    """Set how much is printed from now on.

    `everything`: Every row of a table, and every scene and unit in a log.
    `aside`: Print to standard error, because standard output belongs to a program.
    """
    console.quiet = quiet
    console.stderr = aside
    _output.everything = everything


def say(text: str) -> None:
    """Print a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def shown(rows: Sequence[Row], most: int = FEW) -> Sequence[Row]:
    """Return the rows of a table that are printed."""
    return rows if _output.everything else rows[:most]


def count_rest(rows: Sequence[Any], most: int = FEW, what: str = "more") -> None:
    """Print how many rows were left out."""
    left = len(rows) - len(shown(rows, most))
    if left:
        console.print(f"... and {left} {what} (--verbose prints all)", highlight=False)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int | None, str], None]]:
    """Show the progress of a step, stage by stage: see `biastf_xr.region.Progress`."""
    with ExitStack() as stack:
        current: dict[str, Any] = {}

        def advance(stage: str, done: int, total: int | None, note: str) -> None:
            if stage not in UNITS:
                console.print(note, highlight=False, markup=False)
                return
            if stage not in current:
                stack.close()
                current.clear()
                current[stage] = stack.enter_context(_bar(stage, UNITS[stage]))
            current[stage](done, total, note)

        yield advance


@contextmanager
def progress_of(stage: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show the progress of a single stage, as the functions of the library report it."""
    with stages() as advance:
        yield lambda name, done, total: advance(stage, done, total, name)


@contextmanager
def _bar(task: str, unit: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """Show progress: a bar on a terminal, a few lines in a log."""
    if not console.is_terminal:
        last = [-LOG_EVERY]

        def log(done: int, total: int | None, note: str) -> None:
            share = done / total if total else 1.0
            if _output.everything or total is None or share - last[0] >= LOG_EVERY or done == total:
                last[0] = share
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
    grid = Table(title=title, title_justify="left", show_header=False)
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for key, value in rows.items():
        grid.add_row(key, ", ".join(value) if isinstance(value, list | tuple) else str(value))
    console.print(grid)


def table(title: str, columns: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of texts."""
    grid = new_table(title)
    for name in columns:
        grid.add_column(name, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console.print(grid)


def list_table(title: str, columns: Iterable[str], rows: Sequence[Sequence[str]]) -> None:
    """Print the first rows of a table of texts, and how many there are more."""
    table(title, columns, shown(rows))
    count_rest(rows)


def frame_table(title: str, frame: pd.DataFrame) -> None:
    """Print a table of numbers."""
    grid = new_table(title)
    grid.add_column(str(frame.index.name or ""))
    for column in frame.columns:
        grid.add_column(str(column), justify="right")
    for name, row in frame.iterrows():
        grid.add_row(str(name), *(f"{v:.5f}" for v in row))
    console.print(grid)


def new_table(title: str) -> Table:
    """Return an empty table in the style of the commands."""
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
