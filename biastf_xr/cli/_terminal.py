"""What the commands print with: one console, progress, small tables."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from rich.table import Column, Table
from rich.text import Text

from biastf_xr._outside import visible
from biastf_xr._summary import ROWS, Summary, lines_of
from biastf_xr._tables import LONG, shown
from biastf_xr._tables import Table as Cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from biastf_xr._summary import Told

# Nothing that is printed is markup: texts of users hold brackets, and colons.
console = Console(markup=False, highlight=False, emoji=False)

# Where output is no terminal (a log file, CI) progress is a line at every such fraction.
LOG_EVERY = 0.2

# Characters that a column of numbers takes.
COLUMN = 8

# Cells with a colour of their own.
STYLES = {"ok": "green", "note": "yellow", "wrong": "red"}

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
    "screen": "blocks of days",
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
    """Print a line; see `biastf_xr._outside.visible`."""
    console.print(visible(text), soft_wrap=True)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int | None, str], None]]:
    """Show the progress of a step, stage by stage: see `biastf_xr.region.Progress`."""
    with ExitStack() as stack:
        current: dict[str, Any] = {}

        def advance(stage: str, done: int, total: int | None, note: str) -> None:
            if stage not in UNITS:
                console.print(visible(note))
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
                say(f"{task}: {done}{of} {unit} {visible(note)}".rstrip())

        yield log
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit, markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", "dim", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        handle = bar.add_task(task, total=None, note="")

        def advance(done: int, total: int | None, note: str) -> None:
            bar.update(handle, completed=done, total=total, note=visible(note))

        yield advance
        seen = bar.tasks[0]
        bar.update(handle, total=seen.total or seen.completed, completed=seen.total, note="")


def show(what: Summary | Told, *, dry_run: bool = False) -> None:
    """Print a summary, or that of an object: facts, the first rows of tables, notes."""
    about = Summary.of(what)
    say(f"{about.title}{' (nothing was written)' if dry_run else ''}")
    grid = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    for name, value in about.facts.items():
        grid.add_row(Text(visible(name)), Text("\n".join(lines_of(value))))
    if about.facts:
        console.print(grid)
    for caption, frame in about.tables.items():
        rows = frame if _output.everything else frame.head(ROWS)
        for part in _parts(rows):
            console.print(_table(Cells.of(part, caption, named=frame.index.name is not None)))
        if len(rows) < len(frame):
            say(f"... and {len(frame) - len(rows)} more (--verbose prints all)")
    for note in about.notes:
        console.print(visible(note))


def _parts(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Cut a table whose rows have names into tables beneath each other that the terminal holds."""
    if frame.index.name is None:
        yield frame
        return
    names = max(len(str(name)) for name in (frame.index.name, *frame.index)) + 2
    widest = max([COLUMN, *(len(str(name)) for name in frame.columns)]) + 2
    across = max((console.width - names) // widest, 1)
    for first in range(0, frame.shape[1], across):
        yield frame.iloc[:, first : first + across]


def _table(cells: Cells) -> Table:
    """Lay out a table; only long texts are folded."""
    columns = zip(cells.columns, *cells.rows, strict=True)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left",
                  title=Text(visible(cells.caption)))  # fmt: skip
    for name, *values in columns:
        folded = any(isinstance(value, str) and len(value) > LONG for value in values)
        heading = Text(visible(name).replace(" ", "\n"))
        table.add_column(heading, no_wrap=not folded, overflow="fold")
    for row in cells.rows:
        texts = (visible(shown(value)) for value in row)
        table.add_row(*(Text(text, STYLES.get(text, "")) for text in texts))
    return table
