"""Commands that say how good the result is."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from biastf_xr.cli._app import MORE, RUN, app
from biastf_xr.cli._command import DryRun, command
from biastf_xr.cli._parameters import DAY, CoarseCube, ConfigFile, FineCube, MethodOption
from biastf_xr.cli._settings import (
    days,
    design_of,
    method_section,
    read_settings,
    settings_of_flags,
)


@command(app, panel=RUN)
def evaluate(
    context: typer.Context,
    config: ConfigFile = None,
    fine: FineCube = None,
    coarse: CoarseCube = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Method, or a checkpoint; may be repeated, as of several the first takes "
            "`--option`. `biastf-plus`, the default, is fitted anew without each date."
        ),
    ] = None,
    option: MethodOption = None,
    date: Annotated[
        list[datetime] | None,
        typer.Option(
            formats=DAY, help="Date to withhold; may be repeated. Default: every inner one."
        ),
    ] = None,
    cube: Annotated[
        str | None, typer.Option(help="Score this fused cube instead of predicting.")
    ] = None,
    design: Annotated[
        str | None,
        typer.Option(
            help="What is withheld: leave-one-out (the default), leave-gap, forward or "
            "leave-region."
        ),
    ] = None,
    gap_days: Annotated[
        int | None,
        typer.Option(help="leave-gap: scenes so many days before and after go too; default 32."),
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(help="leave-region: rows x columns of parts, as 2x2, the default."),
    ] = None,
    min_clear: Annotated[
        float, typer.Option(help="Clear fraction a date needs to be withheld by default.")
    ] = 0.9,
    csv: Annotated[Path | None, typer.Option(help="Write every figure to this file.")] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a report to this HTML file, and its numbers beside it as JSON."),
    ] = None,
    dry_run: DryRun = False,
) -> Any:
    """Score on withheld fine scenes, always beside the free baselines, and say what is better.

    With a configuration, scores its fused cube on its withheld dates; where it withholds none, or
    with `--design`, withholds scenes and predicts them anew.

    Examples: `biastf-xr evaluate config.toml --report report.html`, or

    `biastf-xr evaluate --fine fine.zarr --coarse coarse.zarr --date 2001-07-11 --method biastf
    --method estarfm`

    A cloudy season, 24 days on either side of each date without a scene:

    `biastf-xr evaluate config.toml --design leave-gap --gap-days 24`

    Near real time, from the past alone; and fitted on three quarters of the area, scored on the
    fourth:

    `biastf-xr evaluate config.toml --design forward`

    `biastf-xr evaluate config.toml --design leave-region --parts 2x2`
    """
    from biastf_xr.evaluation._report import report_data
    from biastf_xr.steps.evaluate import evaluate_step
    from biastf_xr.steps.preview import preview_evaluate_step

    names = method or ["biastf-plus"]
    chosen = design_of(design, gap_days, parts)
    if config is not None:
        beside = ("date", "cube", "design", "gap_days", "parts", "min_clear", "csv", "report")
        settings = read_settings(config, context, *beside)
    else:
        settings = settings_of_flags(fine, coarse, method=method_section(names[0], option))
    what: dict[str, Any] = {
        "dates": days(date),
        "cube": cube,
        "also": tuple(names[1:]),
        "design": chosen,
        "min_clear": min_clear,
    }
    if dry_run:
        return preview_evaluate_step(settings, **what)
    return report_data(evaluate_step(settings, **what, csv=csv, report=report))


@command(app, panel=MORE, interrupted="What is finished is kept; the same command goes on.")
def paper(
    dataset: Annotated[str, typer.Option(help="cia or lgc.")],
    root: Annotated[Path, typer.Option(help="Folder into which the download was unpacked.")],
    method: Annotated[
        list[str] | None, typer.Option(help="Method to run; may be repeated. Default: all.")
    ] = None,
    target: Annotated[
        list[int] | None,
        typer.Option(help="Pair to predict, as 10; may be repeated. Default: those of the paper."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of everything. Default: paper_cia or paper_lgc.")
    ] = None,
    training: Annotated[
        str,
        typer.Option(
            help="Pairs that a learned method is fitted on for each target: flanking (beside it), "
            "earlier (all before it), or others (all but it)."
        ),
    ] = "flanking",
    coarse: Annotated[
        str, typer.Option(help="MODIS at its native 500 m, or on the 25 m grid as delivered.")
    ] = "native",
    crop: Annotated[
        bool, typer.Option("--crop/--full", help="Other authors' crop, or the whole frame.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="METHOD.NAME=VALUE, as estarfm.window=31 or biastf.train.epochs=10; may be "
            "repeated."
        ),
    ] = None,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
    revise: Annotated[
        bool, typer.Option("--revise", help="Replace results of other settings.")
    ] = False,
    dry_run: DryRun = False,
) -> Any:
    """Run the protocol of Li et al. (2020) on its data, and print both results cell by cell.

    Predicts pairs 8 to 14 of CIA, or 7 to 13 of LGC, with every method, and puts the scores beside
    Tables 2 to 4 of the paper. Finished results are kept: after an interruption the same command
    goes on. Exit code 3: some results are missing.

    The paper's dates, the order of its first three columns, base dates and training data are
    inferred, not published; the tables say so.

    Example: `biastf-xr paper --dataset cia --root downloads --method estarfm --method biastf
    --target 10`
    """
    from biastf_xr.methods import METHODS
    from biastf_xr.paper._protocol import Protocol
    from biastf_xr.steps.paper import method_options, paper_step, preview_paper

    names = tuple(dict.fromkeys(method or METHODS))
    protocol = Protocol(
        dataset=dataset,
        methods=names,
        targets=tuple(sorted(set(target or ()))),
        training=training,  # type: ignore[arg-type]
        coarse=coarse,  # type: ignore[arg-type]
        crop=crop,
    )
    protocol = replace(protocol, options=method_options(names, option))
    folder = output or Path(f"paper_{dataset}")
    if dry_run:
        return preview_paper(root, folder, protocol, revise=revise)
    run = paper_step(root, folder, protocol, revise=revise, figures=figures)
    return {"folder": run.folder, "scores": run.scores}


cluster = typer.Typer(help="Where a run does its work.", no_args_is_help=True)
app.add_typer(cluster, name="cluster")
