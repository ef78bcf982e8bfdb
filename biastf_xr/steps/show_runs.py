"""What the terminal shows of runs: what would be done, what was done, how good it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from biastf_xr.steps.terminal import MANY, console, facts, frame_table, shown, tell_rest

if TYPE_CHECKING:
    from biastf_xr.evaluation import Scores
    from biastf_xr.fusion._preview import Preview
    from biastf_xr.fusion._report import RunReport, RunState

# Measures that fit a terminal; a report has all.
SHOWN_MEASURES = ("RMSE", "CC", "SSIM", "SSIM11", "ERGAS", "SAM", "EDGE")


def show_plan(preview: Preview) -> None:
    """Print what a run would do."""
    table = Table(title="target dates", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = ("days", "before", "after", "two-sided", "one-sided", "done", "note")
    table.add_column("dates", no_wrap=True)
    for name in names:
        table.add_column(name.replace("-", "-\n"), no_wrap=name in ("before", "after"))
    rows = preview.table.to_dict("records")
    for row in shown(rows, MANY):
        until = "" if row["first"] == row["last"] else f" .. {row['last'][5:]}"
        table.add_row(f"{row['first']}{until}", *(str(row[name]) for name in names))
    console.print(table)
    tell_rest(rows, MANY, "more runs of dates")
    facts("the run", preview.lines())


def run_note(state: RunState) -> str:
    """Return how fast a run is, and how much memory its workers have."""
    from biastf_xr.fusion._preview import size

    memory = state.memory.values()
    told = f"; workers {size(min(memory))} to {size(max(memory))}" if memory else ""
    return f"{state.rate:.2f} Mpx/s{told}"


def show_run(report: RunReport) -> None:
    """Print what a run did."""
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
    """Print the measures: the mean over dates, RMSE per date and band, and the verdicts."""
    dates = scores.table["date"].nunique()
    pixels = scores.table.groupby("date")["pixels"].first()
    console.print(
        f"\n{dates} withheld date(s), {int(pixels.mean())} pixels each on average, the same for "
        f"all methods; ERGAS with fine/coarse = {scores.ratio:.4f}, SAM in radians\n{scores.design}"
    )
    summary = scores.summary()
    frame_table("mean over bands and dates", summary[[m for m in SHOWN_MEASURES if m in summary]])
    if dates > 1:
        by_date = scores.by_date()
        frame_table("RMSE by date", by_date.T if dates < by_date.shape[1] else by_date)
    frame_table("RMSE by band", scores.by_band())
    ratios = scores.ratio_table()
    lines = [
        f"{name}: {row['mean ratio']:.3f} of the better of linear and direct, at worst "
        f"{row['worst ratio']:.3f} on {row['worst date']}"
        for name, row in ratios.iterrows()
        if name not in ("nearest", "linear", "direct")
    ]
    lines += [str(one) for one in scores.comparisons()]
    lines += [f"{name}: stated uncertainty off by at most {gap:.1f} points of coverage"
              for name, gap in scores.calibration_gaps().items()]  # fmt: skip
    lines += [f"not computed: {note}" for note in scores.notes]
    for line in lines:
        console.print(line, markup=False, highlight=False)
