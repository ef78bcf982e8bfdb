"""What the terminal shows: progress, tables, summaries."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
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
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pandas as pd

    from biastf_xr.evaluation.holdout import Scores

console = Console()

# Where output is no terminal (a log file, CI) progress is a line at every such fraction.
LOG_EVERY = 0.2


@contextmanager
def progress_bar(task: str, unit: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """Show progress: a bar on a terminal, a few lines in a log.

    Parameters
    ----------
    task : str
        What is being done.
    unit : str
        What is being counted.

    Yields
    ------
    callable
        Takes the number done, the number in all (None where unknown) and a note.
    """
    if not console.is_terminal:
        said = [-LOG_EVERY]

        def log(done: int, total: int | None, note: str) -> None:
            share = done / total if total else 1.0
            if total is None or share - said[0] >= LOG_EVERY or done == total:
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


def show_scores(scores: Scores) -> None:
    """Print the measures: the mean over dates, RMSE per date, RMSE per band.

    Parameters
    ----------
    scores : Scores
        The measures.
    """
    dates = scores.table["date"].nunique()
    pixels = scores.table.groupby("date")["pixels"].first()
    console.print(
        f"\n{dates} withheld date(s), {int(pixels.mean())} pixels each on average, the same for "
        f"all methods; ERGAS with fine/coarse = {scores.ratio:.4f}, SAM in radians"
    )
    _table("mean over bands and dates", scores.summary())
    if dates > 1:
        _table("RMSE by date", scores.by_date())
    _table("RMSE by band", scores.by_band())


def _table(title: str, frame: pd.DataFrame) -> None:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(str(frame.index.name or ""))
    for column in frame.columns:
        table.add_column(str(column), justify="right")
    for name, row in frame.iterrows():
        table.add_row(str(name), *(f"{v:.5f}" for v in row))
    console.print(table)


def show_cube(path: Path) -> None:
    """Print what a cube holds.

    Parameters
    ----------
    path : pathlib.Path
        The store.
    """
    from biastf_xr.cube.store import bands_of, layout_of, open_cube
    from biastf_xr.grid import geobox_of

    ds = open_cube(path, chunks=None)
    geobox = geobox_of(ds, str(path))
    crs = ds.attrs.get("proj:code", "CRS in spatial_ref")
    layout = layout_of(ds)
    days = ds["time"].values.astype("datetime64[D]")
    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    rows: dict[str, Any] = {
        "kind": ds.attrs["biastf_kind"],
        "bands": ", ".join(bands_of(ds)),
        "grid": f"{geobox.shape[0]} x {geobox.shape[1]} px of {geobox.affine.a:g}, {crs}",
        "dates": f"{days.size}, {days[0]} to {days[-1]}",
        "chunks, shards": f"{layout.chunks}, {layout.shards}",
        "on disk": f"{size / 2**20:.1f} MiB",
        "history": ds.attrs.get("history", ""),
    }
    if "clear_fraction" in ds.coords:
        clear = ds["clear_fraction"].values
        rows["clear"] = f"mean {clear.mean():.0%}; {int((clear == 0).sum())} dates with none"
    if "biastf_method" in ds.attrs:
        rows["method"] = ds.attrs["biastf_method"]
    if "status_flag" in ds:
        rows["pixels"] = _status_shares(ds)
    _rows(str(path), rows)
    if "clear_fraction" in ds.coords:
        marks = "".join(" .:-=+*#%@"[min(int(c * 9.999), 9)] for c in ds["clear_fraction"].values)
        console.print(f"clear fraction by date ( none, @ all): [{marks}]", markup=False)


def _status_shares(ds: Any) -> str:
    from biastf_xr.cube.spec import STATUS

    counts = np.zeros(256, np.int64)
    for t in range(ds.sizes["time"]):
        counts += np.bincount(ds["status_flag"][t].values.ravel(), minlength=256)
    names = {v: k for k, v in STATUS.items()}
    total = max(int(counts.sum()), 1)
    return ", ".join(f"{names[v]} {counts[v] / total:.1%}" for v in names if counts[v])


def show_model(path: Path) -> None:
    """Print what made a model.

    Parameters
    ----------
    path : pathlib.Path
        The checkpoint.
    """
    from biastf_xr.methods.biastf.checkpoint import read_card

    card, sha256 = read_card(path)
    held = {b: min([1.0, *(loss[1] for loss in h)]) for b, h in card.history.items()}
    _rows(
        str(path),
        {
            "method": "biastf",
            "bands": ", ".join(card.bands),
            "ratio": f"{card.ratio:.2f}",
            "network": f"filters {card.filters}, kernels {card.kernels}",
            "trained on": ", ".join(card.days),
            "pairs": len(card.pairs),
            "held-out loss": ", ".join(f"{b} {v:.2f}" for b, v in held.items())
            + " (1 is no bias learned)",
            "seed": card.seed,
            "versions": ", ".join(f"{k} {v}" for k, v in card.versions.items()),
            "sha256": sha256,
        },
    )


def _rows(title: str, rows: dict[str, Any]) -> None:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in rows.items():
        table.add_row(key, str(value))
    console.print(table)
