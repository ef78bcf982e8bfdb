"""What the terminal shows of the steps of a run, done or planned."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cli._terminal import (
    MANY,
    console,
    count_rest,
    facts,
    frame_table,
    list_table,
    new_table,
    say,
    shown,
    table,
)

if TYPE_CHECKING:
    import xarray as xr

    from biastf_xr._update.leftovers import Leftover
    from biastf_xr._update.records import StepRecord, UpdateReport
    from biastf_xr.cube._ingest import IngestReport
    from biastf_xr.evaluation import Scores
    from biastf_xr.fusion._preview import Preview
    from biastf_xr.fusion._report import RunReport
    from biastf_xr.region import Evaluation, Fitted, Ingested

# Measures that fit a terminal; a report has all.
SHOWN_MEASURES = ("RMSE", "CC", "SSIM", "SSIM11", "ERGAS", "SAM", "EDGE")


def show_ingest(done: Ingested, *, dry_run: bool = False) -> None:
    """Print what an ingest of both cubes did."""
    show_cube_ingest(done.fine, "fine", dry_run=dry_run)
    show_cube_ingest(done.coarse, "coarse", dry_run=dry_run)
    if dry_run:
        return
    if done.pairs is None:
        console.print("no day is in both cubes: the sensors cannot be compared")
    else:
        _show_pairs(done.pairs)


def show_cube_ingest(report: IngestReport, kind: str, *, dry_run: bool = False) -> None:
    """Print what an ingest took, masked and rejected, and why; or what it would take."""
    if dry_run:
        _show_scenes(report, kind)
        return
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
        list_table(f"rejected {kind} scenes", ("scene", "why"), list(report.rejected.items()))


def _show_scenes(report: IngestReport, kind: str) -> None:
    """Print which scenes an ingest would read."""
    scenes = [f"{day}  {name}" for day, names in report.days.items() for name in names]
    facts(
        f"{kind} cube {report.path}",
        {
            "scenes to read": f"{len(scenes)} on {len(report.days) - len(report.removed)} days",
            "of those newer processings": len(report.replaced),
            "days to take out": ", ".join(map(str, report.removed)) or "none",
            "unchanged": len(report.unchanged),
            "gone from the folder, kept": len(report.kept),
            "excluded": len(report.excluded),
            "rejected": len(report.rejected),
        },
    )
    for line in (*shown(scenes), *(f"rejected  {k}: {v}" for k, v in report.rejected.items())):
        say(line)
    count_rest(scenes, what="more scenes")


def _show_pairs(pairs: xr.Dataset) -> None:
    """Print how well the sensors agree, and which days are in doubt."""
    from biastf_xr.cube._quality import explain
    from biastf_xr.cube._spec import PAIR_FLAG

    flags = pairs["pair_flag"].values
    counts = {name: int((flags == value).sum()) for name, value in PAIR_FLAG.items()}
    parts = [f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if n]
    console.print(f"pairs of one day: {', '.join(parts)}")
    for name, consequence in (
        ("low_correlation", "left out of pairs"),
        ("shifted", 'correct it with `shift = "auto"` in [coarse]'),
    ):
        for day in pairs["time"].values[flags == PAIR_FLAG[name]]:
            say(f"{str(day)[:10]} {explain(pairs, day)}; {consequence}")


def show_fit(done: Fitted) -> dict[str, Any]:
    """Print what a fit learned from; return what the model says of itself."""
    if not done.learned:
        console.print(f"method {done.method} needs no training")
        return {"checkpoint": None}
    model: Any = done.model
    first, last = done.days[0], done.days[-1]
    text = f"fitted on {len(done.days)} dates ({first} to {last}) in {done.seconds:.0f} s"
    losses = f"; losses in {done.picture}" if done.picture else ""
    console.print(f"model [bold]{done.checkpoint}[/]: {text}{losses}")
    for remark in model.remarks():
        console.print(remark, markup=False)
    return {"checkpoint": str(done.checkpoint), **model.describe()}


def show_fit_plan(plan: Fitted) -> dict[str, Any]:
    """Print what a fit would learn from."""
    found: dict[str, Any] = {"method": plan.method, "learned": plan.learned}
    if plan.learned:
        found |= {
            "checkpoint": str(plan.checkpoint),
            "checkpoint exists": plan.checkpoint.exists(),
            "bands": list(plan.bands),
            "withheld": list(plan.withheld),
            "days": list(plan.days),
        }
    facts("the fit", found)
    return found


def show_plan(preview: Preview) -> dict[str, Any]:
    """Print what a run would do."""
    grid = new_table("target dates")
    names = ("days", "before", "after", "two-sided", "one-sided", "done", "note")
    grid.add_column("dates", no_wrap=True)
    for name in names:
        grid.add_column(name.replace("-", "-\n"), no_wrap=name in ("before", "after"))
    rows = preview.table.to_dict("records")
    for row in shown(rows, MANY):
        until = "" if row["first"] == row["last"] else f" .. {row['last'][5:]}"
        grid.add_row(f"{row['first']}{until}", *(str(row[name]) for name in names))
    console.print(grid)
    count_rest(rows, MANY, "more runs of dates")
    facts("the run", preview.lines())
    return {"dates": preview.table, "totals": preview.totals}


def show_run(report: RunReport) -> None:
    """Print what a run did."""
    parts = [f"{report.units} units, {report.pixels / 1e6:.1f} Mpx and dates made"]
    parts += [
        f"{count} dates of tiles {what}"
        for count, what in (
            (report.revised, "recomputed because their inputs changed"),
            (report.unchanged, "looked at and unchanged"),
            (report.kept, "there already"),
        )
        if count
    ]
    console.print(
        f"fused cube [bold]{report.path}[/] in {report.seconds:.0f} s: {', '.join(parts)}"
    )
    if report.stages:
        seconds = ", ".join(f"{k} {v:.0f} s" for k, v in report.stages.items())
        console.print(f"workers: {seconds}", highlight=False)


def show_evaluation_plan(plan: Evaluation) -> dict[str, Any]:
    """Print what an evaluation would withhold and predict."""
    if plan.cube is not None:
        found: dict[str, Any] = {"cube": plan.cube, "scored": list(plan.dates)}
        facts("the evaluation", found)
        return found
    found = {"design": plan.design, "methods": list(plan.methods)}
    facts("the evaluation", found)
    folds = [
        {"withheld": list(map(str, fold.withheld)), "scored": list(map(str, fold.score))}
        for fold in plan.folds
    ]
    for fold in shown(folds):
        console.print(f"without {', '.join(fold['withheld'])}: {', '.join(fold['scored'])}")
    count_rest(folds, what="more rounds")
    return found | {"folds": folds}


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


# --- updates --------------------------------------------------------------------------------------


def show_step(step: StepRecord, value: Any) -> None:
    """Print what a step of an update did."""
    show: Any = {"ingest": show_ingest, "train": show_fit, "fuse": show_run}.get(step.name)
    if show is not None and value is not None:
        show(value)


def show_update(report: UpdateReport) -> None:
    """Print what an update did, or would do; an error goes to standard error, in one message."""
    from biastf_xr._update.outcomes import Outcome

    planned = report.outcome is Outcome.PLANNED
    rows = [
        (s.name, s.outcome, "" if planned else f"{s.seconds:.1f}", s.numbers(), s.note)
        for s in report.steps
    ]
    title = "what a run would do" if planned else "the run"
    table(title, ("step", "outcome", "seconds", "counts", "note"), rows)
    for warning in report.warnings:
        console.print(f"[yellow]warning[/]: {warning}")
    if report.outcome is Outcome.NOTHING_NEW:
        console.print("nothing new: the fused cube is up to date")
    if report.error:
        print(report.error, file=sys.stderr)  # noqa: T201
    console.print(f"{report.outcome}: exit code {int(report.exit_code)}", highlight=False)


def show_leftovers(found: tuple[Leftover, ...], *, dry_run: bool) -> None:
    """Print what killed runs left."""
    from biastf_xr.fusion._preview import size

    if not found:
        console.print("nothing is left behind")
    for one in found:
        did = f"stays: {one.kept}" if one.kept else "would be removed" if dry_run else "removed"
        console.print(f"{one.what} {one.path} ({size(one.size)}): {did}", highlight=False)
