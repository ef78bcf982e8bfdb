"""What the terminal shows: progress, tables, summaries."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
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

    import pandas as pd

    from biastf_xr.cube.ingest import IngestReport
    from biastf_xr.cube.verify import Verification
    from biastf_xr.engine.preview import Preview
    from biastf_xr.engine.report import RunReport, RunState
    from biastf_xr.evaluation.scores import Scores

console = Console()

# Where output is no terminal (a log file, CI) progress is a line at every such fraction.
LOG_EVERY = 0.2

# Rows of a plan, and of a table of problems.
PLAN_ROWS = 60
SHOWN = 20

# Measures that fit a terminal; a report has all.
SHOWN_MEASURES = ("RMSE", "CC", "SSIM", "SSIM11", "ERGAS", "SAM", "EDGE")


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


def show_report(report: IngestReport, kind: str) -> None:
    """Print what an ingest took, masked and rejected, and why.

    Parameters
    ----------
    report : IngestReport
        What was done.
    kind : {"fine", "coarse"}
        Which cube it is.
    """
    clear = np.array(list(report.added.values()))
    parts = [f"{clear.size} scenes added"]
    if clear.size:
        parts.append(f"mean clear fraction {clear.mean():.0%}")
        parts.append(f"{int((clear == 0).sum())} without a clear pixel")
    parts += [
        f"{len(items)} {what}"
        for items, what in (
            (report.replaced, "replaced by a newer processing"),
            (report.unchanged, "unchanged"),
            (report.kept, "kept though gone from the folder"),
            (report.excluded, "excluded"),
            (report.removed, "days taken out"),
            (report.rejected, "rejected"),
        )
        if items
    ]
    console.print(f"{kind} cube [bold]{report.path}[/]: {', '.join(parts)}")
    if report.rejected:
        table = Table(title=f"rejected {kind} scenes", title_justify="left", box=SIMPLE_HEAD)
        table.add_column("scene", overflow="fold")
        table.add_column("why", overflow="fold")
        for name, why in list(report.rejected.items())[:SHOWN]:
            table.add_row(name, why)
        console.print(table)
        if len(report.rejected) > SHOWN:
            console.print(f"... and {len(report.rejected) - SHOWN} more")


def show_plan(preview: Preview) -> None:
    """Print what a run would do.

    Parameters
    ----------
    preview : Preview
        The plan.
    """
    table = Table(title="target dates", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = ("days", "before", "after", "two-sided", "one-sided", "done", "note")
    table.add_column("dates", no_wrap=True)
    for name in names:
        table.add_column(name.replace("-", "-\n"), no_wrap=name in ("before", "after"))
    rows = preview.table.to_dict("records")
    for row in rows[:PLAN_ROWS]:
        until = "" if row["first"] == row["last"] else f" .. {row['last'][5:]}"
        table.add_row(f"{row['first']}{until}", *(str(row[name]) for name in names))
    console.print(table)
    if len(rows) > PLAN_ROWS:
        console.print(f"... and {len(rows) - PLAN_ROWS} more runs of dates")
    _rows("the run", preview.lines())


def run_note(state: RunState) -> str:
    """Say how fast a run is, and how much memory its workers have.

    Parameters
    ----------
    state : RunState
        How far it is.

    Returns
    -------
    str
        A few words.
    """
    from biastf_xr.engine.preview import size

    memory = state.memory.values()
    told = f"; workers {size(min(memory))} to {size(max(memory))}" if memory else ""
    return f"{state.rate:.2f} Mpx/s{told}"


def show_run(report: RunReport) -> None:
    """Print what a run did.

    Parameters
    ----------
    report : RunReport
        What was done.
    """
    parts = [f"{report.units} units, {report.pixels / 1e6:.1f} Mpx and dates made"]
    parts += [
        f"{count} dates of tiles {what}"
        for count, what in (
            (report.revised, "made anew because their inputs changed"),
            (report.unchanged, "looked at and unchanged"),
            (report.kept, "there already"),
        )
        if count
    ]
    console.print(
        f"fused cube [bold]{report.path}[/] in {report.seconds:.0f} s: {', '.join(parts)}"
    )
    if report.stages:
        told = ", ".join(f"{k} {v:.0f} s" for k, v in report.stages.items())
        console.print(f"workers: {told}", highlight=False)


def show_scores(scores: Scores) -> None:
    """Print the measures: the mean over dates, RMSE per date and band, and the verdicts.

    Parameters
    ----------
    scores : Scores
        The measures.
    """
    from biastf_xr.evaluation.report import calibration_gaps, told
    from biastf_xr.evaluation.statistics import comparisons, ratio_table

    dates = scores.table["date"].nunique()
    pixels = scores.table.groupby("date")["pixels"].first()
    console.print(
        f"\n{dates} withheld date(s), {int(pixels.mean())} pixels each on average, the same for "
        f"all methods; ERGAS with fine/coarse = {scores.ratio:.4f}, SAM in radians\n{scores.design}"
    )
    summary = scores.summary()
    _table("mean over bands and dates", summary[[m for m in SHOWN_MEASURES if m in summary]])
    if dates > 1:
        by_date = scores.by_date()
        _table("RMSE by date", by_date.T if dates < by_date.shape[1] else by_date)
    _table("RMSE by band", scores.by_band())
    ratios = ratio_table(scores)
    lines = [
        f"{name}: {row['mean ratio']:.3f} of the better of linear and direct, at worst "
        f"{row['worst ratio']:.3f} on {row['worst date']}"
        for name, row in ratios.iterrows()
        if name not in ("nearest", "linear", "direct")
    ]
    lines += [told(one) for one in comparisons(scores)]
    lines += [f"{name}: stated uncertainty off by at most {gap:.1f} points of coverage"
              for name, gap in calibration_gaps(scores).items()]  # fmt: skip
    lines += [f"not computed: {note}" for note in scores.notes]
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _table(title: str, frame: pd.DataFrame) -> None:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(str(frame.index.name or ""))
    for column in frame.columns:
        table.add_column(str(column), justify="right")
    for name, row in frame.iterrows():
        table.add_row(str(name), *(f"{v:.5f}" for v in row))
    console.print(table)


def show_datasets() -> None:
    """Print the benchmark sets."""
    from biastf_xr.sources.benchmark_sets import SETS

    table = Table(box=SIMPLE_HEAD)
    for title in ("set", "pairs", "rows x columns", "what"):
        table.add_column(title, overflow="fold")
    for name, about in SETS.items():
        shape = f"{about.shape[0]} x {about.shape[1]}"
        table.add_row(name, str(len(about.dates)), shape, about.title)
    console.print(table)


def show_dataset(name: str, folder: Path | None) -> bool:
    """Print what a benchmark set is, and what a download lacks.

    Parameters
    ----------
    name : str
        The set.
    folder : pathlib.Path, optional
        A download.

    Returns
    -------
    bool
        False if the download lacks something.
    """
    from biastf_xr.sources.benchmark_sets import check_folder, known_set

    about = known_set(name)
    _rows(
        name,
        {
            "what": about.title,
            "get it from": about.source,
            "cite": about.reference,
            "images": f"{about.shape[0]} x {about.shape[1]}, {about.resolution:g} m, 6 bands",
            "pairs": f"{len(about.dates)}, {about.dates[0]} to {about.dates[-1]}",
            "Landsat files": about.example["landsat"],
            "MODIS files": about.example["modis"],
            "options": f'product = "benchmark", options = {{which = "{name}", sensor = "landsat"}} '
            f'and "modis", this one with native_resolution = {about.native_resolution:g}',
        },
    )
    if folder is None:
        return True
    wrong = check_folder(name, folder)
    for line in wrong[:SHOWN]:
        console.print(line, highlight=False)
    console.print(f"{len(wrong)} things missing or wrong" if wrong else f"{folder} is complete")
    return not wrong


def show_findings(result: Verification) -> None:
    """Print what a verification found.

    Parameters
    ----------
    result : Verification
        What was found.
    """
    read = f"{result.days} days, {result.pixels:,} values read"
    if result.sound:
        console.print(f"[bold]{result.path}[/] is sound: {read}")
        return
    console.print(f"[bold red]{result.path} is damaged[/]: {read}")
    table = Table(box=SIMPLE_HEAD)
    for title in ("day", "variable", "where", "what"):
        table.add_column(title, overflow="fold")
    for finding in result.findings[:SHOWN]:
        table.add_row(finding.day, finding.variable, finding.where, finding.what)
    console.print(table)
    if len(result.findings) > SHOWN:
        console.print(f"... and {len(result.findings) - SHOWN} more")


def show_cube(path: str | Path) -> None:
    """Print what a cube holds.

    Parameters
    ----------
    path : str or pathlib.Path
        The store.
    """
    from biastf_xr.cube.store import bands_of, layout_of, open_cube
    from biastf_xr.grid import describe, geobox_of

    ds = open_cube(path, chunks=None)
    layout = layout_of(ds)
    days = ds["time"].values.astype("datetime64[D]")
    rows: dict[str, Any] = {
        "kind": ds.attrs["biastf_kind"],
        "bands": ", ".join(bands_of(ds)),
        "grid": describe(geobox_of(ds, str(path))),
        "dates": f"{days.size}, {days[0]} to {days[-1]}" if days.size else "none",
        "chunks, shards": f"{layout.chunks}, {layout.shards}",
    }
    folder = Path(str(path))
    if folder.is_dir():
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        pixels = max(days.size * ds.sizes["y"] * ds.sizes["x"] * len(bands_of(ds)), 1)
        rows["on disk"] = f"{size / 2**20:.1f} MiB, {size / pixels:.2f} bytes per pixel and band"
    if "clear_fraction" in ds.coords and days.size:
        clear = ds["clear_fraction"].values
        rows["clear"] = f"mean {clear.mean():.0%}; {int((clear == 0).sum())} dates with none"
        gap, start = _longest_gap(days[clear > 0])
        rows["longest gap"] = f"{gap} days after {start}" if gap else "none"
    if "pair_flag" in ds.coords:
        from biastf_xr.cube.spec import PAIR_FLAG

        flags = ds["pair_flag"].values
        rows["pairs"] = ", ".join(
            f"{int((flags == v).sum())} {k.replace('_', ' ')}"
            for k, v in PAIR_FLAG.items()
            if (flags == v).any()
        )
    if "biastf_method" in ds.attrs:
        rows["method"] = ds.attrs["biastf_method"]
    if "status_flag" in ds:
        rows["pixels"] = _status_shares(ds)
    rows["history"] = ds.attrs.get("history", "")
    _rows(str(path), rows)
    if "clear_fraction" in ds.coords and days.size:
        for line in calendar_lines(days, ds["clear_fraction"].values):
            console.print(line, markup=False, highlight=False)


def _longest_gap(days: Any) -> tuple[int, Any]:
    """Give the longest run of days without a clear pixel, and the day before it."""
    if days.size < 2:
        return 0, None
    steps = np.diff(days).astype(int) - 1
    return int(steps.max()), days[int(steps.argmax())]


def _mark(share: float) -> str:
    return " -+#"[0 if share == 0 else 1 + min(int(share * 3), 2)]


def calendar_lines(days: Any, clear: Any) -> list[str]:
    """Draw a calendar in text: a line per month, a character per day.

    Parameters
    ----------
    days : ndarray of datetime64[D]
        Days that have a scene.
    clear : ndarray of float
        Clear fraction of each.

    Returns
    -------
    list of str
        The lines, the legend last.
    """
    lines = []
    months = days.astype("datetime64[M]")
    for month in np.arange(months[0], months[-1] + 1):
        first = month.astype("datetime64[D]")
        length = int(((month + 1).astype("datetime64[D]") - first).astype(int))
        marks = ["."] * length
        for day, share in zip(days[months == month], clear[months == month], strict=True):
            marks[int((day - first).astype(int))] = _mark(share)
        lines.append(f"{month}  {''.join(marks)}")
    return [
        *lines,
        "clear fraction: # two thirds or more, + one third, - less; blank: none; . no scene",
    ]


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
    from biastf_xr.methods import name_of_model
    from biastf_xr.methods.biastf.checkpoint import read_card

    if name_of_model(path) == "biastf-plus":
        _show_plus(path)
        return
    card, sha256 = read_card(path)
    held = {b: min([1.0, *(loss[1] for loss in h)]) for b, h in card.history.items()}
    _rows(
        str(path),
        {
            "method": card.method,
            "bands": ", ".join(card.bands),
            "ratio": f"{card.ratio:.2f}",
            "network": f"filters {card.filters}, kernels {card.kernels}",
            "inputs": card.inputs,
            "trained on": ", ".join(card.days),
            "pairs": len(card.pairs),
            "held-out loss": ", ".join(f"{b} {v:.2f}" for b, v in held.items())
            + " (1 is nothing learned)",
            **({"refined from": card.start["sha256"]} if card.start else {}),
            **(
                {"notes": "; ".join(f"{k}: {v}" for k, v in card.notes.items())}
                if card.notes
                else {}
            ),
            "seed": card.seed,
            "versions": ", ".join(f"{k} {v}" for k, v in card.versions.items()),
            "sha256": sha256,
        },
    )


def _show_plus(path: Path) -> None:
    from biastf_xr.methods.plus.model import read_model

    card, sha256 = read_model(path)

    def by_band(values: tuple[float, ...]) -> str:
        return ", ".join(f"{b} {v:.4g}" for b, v in zip(card.bands, values, strict=True))

    _rows(
        str(path),
        {
            "method": card.method,
            "bands": ", ".join(card.bands),
            "ratio": f"{card.ratio:.2f}",
            "options": ", ".join(f"{k} {v}" for k, v in card.rule.items()),
            "response of the coarse sensor": by_band(card.response),
            "noise of a coarse observation": by_band(card.noise),
            "change the fine sensor does not share": by_band(card.spread),
            "trust in the coarse images": ", ".join(
                f"{v:.2f} ({k} base date{'s' if k == 'two' else ''})" for k, v in card.trust.items()
            )
            + " (0 is interpolation in time)",
            "uncertainty fitted on": ", ".join(
                f"{n} dates ({k} base date{'s' if k == 'two' else ''})"
                for k, n in card.calibrated.items()
            ),
            "trained on": ", ".join(card.days),
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
