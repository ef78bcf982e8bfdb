"""Commands that follow one TOML file, from scenes to scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biastf_xr.cli._command import CUBES, MORE, RUN, Answer, Overwrite, command, days
from biastf_xr.cli._flags import complete_method

if TYPE_CHECKING:
    from collections.abc import Callable

    from biastf_xr._update.records import StepRecord
    from biastf_xr.config import Config
    from biastf_xr.fusion._preview import Preview

COMMANDS: list[Callable[[typer.Typer], None]] = []


@command(
    COMMANDS,
    panel=RUN,
    flags=("fine", "coarse"),
    interrupted="What is finished is kept; the same command goes on.",
)
def ingest(
    config: Config,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Fail if a scene is rejected.")] = False,
    overwrite: Overwrite = False,
    dry_run: bool,
) -> Any:
    """Bring cubes up to date with their archives: only what is new, late or reprocessed is read.

    Scenes that cannot be used are listed with the reason and do not stop the others. Without a
    file, the sensors are ingested whose product is named.

    Products: {products}.

    Examples: `biastf-xr ingest config.toml` (both cubes, and a check of the two sensors), or

    `biastf-xr ingest --fine fine.zarr --set fine.product=hls --set fine.folder=scenes`, or

    `biastf-xr ingest --fine fine.zarr --set fine.product=geotiff --set fine.folder=scenes
    --set fine.options.pattern=L_%Y%m%d.tif --set 'fine.options.layers=["green", "red", "nir"]'`
    """
    from biastf_xr._sensors import grids, ingest_source
    from biastf_xr._summary import Summary
    from biastf_xr.cli._terminal import show, stages
    from biastf_xr.errors import ConfigError
    from biastf_xr.region import Region

    region = Region(config)
    sources = {kind: getattr(config, kind) for kind in ("fine", "coarse")}
    stated = [kind for kind, source in sources.items() if source.product != "cube"]
    if not stated:
        raise ConfigError(
            "nothing to ingest. Give a configuration file, or of a sensor the product, the folder "
            "and the cube: --fine fine.zarr --set fine.product=hls --set fine.folder=scenes."
        )
    if len(stated) == 2:
        with stages() as progress:
            done = region.ingest(overwrite=overwrite, dry_run=dry_run, progress=progress)
        show(done, dry_run=dry_run)
        _refuse(done.fine.rejected | done.coarse.rejected, strict=strict and not dry_run)
        return {"fine": done.fine, "coarse": done.coarse}
    kind = stated[0]
    anew = overwrite and kind == "fine"
    grid = None if dry_run else grids(config, anew=anew)[kind == "coarse"]
    with stages() as progress:
        report = ingest_source(
            sources[kind], kind, grid, overwrite=overwrite, dry_run=dry_run, progress=progress
        )
    show(replace(Summary.of(report), title=f"Ingest, {kind} cube"), dry_run=dry_run)
    _refuse(report.rejected, strict=strict and not dry_run)
    return report


def _refuse(rejected: dict[str, str], *, strict: bool) -> None:
    """End with an error if a scene was rejected and that was asked for."""
    from biastf_xr.errors import SceneError

    if strict and rejected:
        raise SceneError(f"{len(rejected)} scenes were rejected: {sorted(rejected)[:5]}.")


@command(
    COMMANDS,
    panel=RUN,
    flags=("fine", "coarse", "method", "checkpoint", "withhold"),
    interrupted="Finished epochs are kept; the same command goes on.",
)
def train(config: Config, *, dry_run: bool) -> Any:
    """Fit a method on the clear dates of two cubes.

    `biastf-plus`, the default, takes seconds. Networks (`biastf`, `stfdcnn`) take minutes; their
    losses are drawn beside the model.

    Examples: `biastf-xr train config.toml`, or

    `biastf-xr train --fine fine.zarr --coarse coarse.zarr --withhold 2001-07-11`, or

    `biastf-xr train config.toml --method biastf --set method.options.train.epochs=50`
    """
    from biastf_xr.cli._terminal import show, stages
    from biastf_xr.region import Region

    with stages() as progress:
        done = Region(config).fit(dry_run=dry_run, progress=progress)
    show(done, dry_run=dry_run)
    found: dict[str, Any] = {"method": done.method, "learned": done.learned}
    if done.learned:
        names = ("checkpoint", "bands", "withheld", "days")
        found |= {name: getattr(done, name) for name in names}
        found["checkpoint exists"] = done.checkpoint.exists()
    return found | (done.model.describe() if done.model else {})


@command(COMMANDS, panel=RUN, flags=("fine", "coarse", "method", "output"))
def plan(config: Config, *, dry_run: bool) -> Any:
    """Show what `fuse` would do: dates and their base dates, how much, how long.

    The method is tried for a few seconds, to estimate the time; with `--dry-run` it is not.

    Examples: `biastf-xr plan config.toml`, or

    `biastf-xr plan --fine fine.zarr --coarse coarse.zarr --method model.safetensors`
    """
    from biastf_xr.region import Region

    return _show_plan(Region(config).plan(trial=not dry_run))


def _show_plan(preview: Preview) -> dict[str, Any]:
    from biastf_xr.cli._terminal import show

    show(preview)
    return {"dates": preview.table, "totals": preview.totals}


@command(
    COMMANDS,
    panel=RUN,
    flags=("fine", "coarse", "method", "output", "start", "end", "withhold", "workers"),
    interrupted="What is finished is kept; the same command goes on.",
)
def fuse(
    config: Config,
    *,
    revise: Annotated[
        bool,
        typer.Option("--revise", help="Recompute a cube of another method or rule, in place."),
    ] = False,
    overwrite: Overwrite = False,
    dry_run: bool,
) -> Any:
    """Predict the fine image of every day and write it into the fused cube.

    What the cube has from the same inputs is kept: after an interruption the same command does
    what is missing, after a late scene what that scene changes. Exit code 3: some units failed.

    Examples: `biastf-xr fuse config.toml`, or

    `biastf-xr fuse --fine fine.zarr --coarse coarse.zarr --method model.safetensors
    --start 2020-10-02 --end 2020-11-11 --output fused.zarr`
    """
    from biastf_xr.cli._terminal import show, stages
    from biastf_xr.region import Region

    region = Region(config)
    if dry_run:
        return _show_plan(region.plan(trial=False))
    with stages() as progress:
        report = region.fuse(overwrite=overwrite, revise=revise, progress=progress)
    show(report)
    return report


@command(COMMANDS, panel=RUN, flags=("fine", "coarse", "method"))
def evaluate(
    config: Config,
    *,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD",
            help="Method, or a checkpoint; may be repeated: of several, the options of the "
            "configuration are those of the first. A learned one is fitted without each date. "
            "[method.name]",
            autocompletion=complete_method,
        ),
    ] = None,
    date: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DAY", help="Date to withhold; may be repeated. Default: every inner one."
        ),
    ] = None,
    cube: Annotated[
        str | None, typer.Option(help="Score this fused cube instead of predicting.")
    ] = None,
    design: Annotated[
        str | None,
        typer.Option(
            help="What is withheld: leave-one-out (the default), leave-gap, forward or "
            "leave-region, with options: leave-gap,days=32; leave-region,rows=2,columns=2; "
            "forward,history=2; leave-one-out,together=true; of any, min_clear=0.9, the clear "
            "fraction of a date that it chooses."
        ),
    ] = None,
    report: Annotated[
        list[Path] | None,
        typer.Option(
            help="Write a report to this HTML file, and its numbers beside it as JSON; or every "
            "figure to a CSV file. May be repeated."
        ),
    ] = None,
    dry_run: bool,
) -> Any:
    """Score on withheld fine scenes, always beside the simple baselines, and say what is better.

    With a configuration, scores its fused cube on its withheld dates; where it withholds none, or
    with `--method` or `--design`, withholds scenes and predicts them.

    Examples: `biastf-xr evaluate config.toml --report report.html`, or

    `biastf-xr evaluate config.toml --method fsdaf --method estarfm`, or

    `biastf-xr evaluate --fine fine.zarr --coarse coarse.zarr --date 2001-07-11 --report scores.csv`

    A cloudy season, 24 days on either side of each date without a scene:

    `biastf-xr evaluate config.toml --design leave-gap,days=24`

    Near real time, from the past alone; and fitted on three quarters of the area, scored on the
    fourth:

    `biastf-xr evaluate config.toml --design forward`

    `biastf-xr evaluate config.toml --design leave-region,rows=2,columns=2`
    """
    from biastf_xr._tables import write_csv
    from biastf_xr.cli._terminal import say, show, stages
    from biastf_xr.errors import ConfigError
    from biastf_xr.evaluation._designs import design_named
    from biastf_xr.evaluation._report import report_data
    from biastf_xr.region import Region

    files = {path.suffix.removesuffix("l"): path for path in report or ()}
    for ending, path in files.items():
        if ending not in {".htm", ".csv"}:
            raise ConfigError(f"the report is {path}; expected a name that ends in .html or .csv.")
    names = method or []
    chosen = None if design is None else design_named(design)
    dates = days(date)
    if names and not dates and cube is None and chosen is None:
        dates = tuple(map(str, config.fuse.withhold))
    with stages() as progress:
        done = Region(config).evaluate(
            dates=dates,
            cube=cube,
            also=tuple(names[1:]),
            design=chosen,
            pictures=".htm" in files,
            dry_run=dry_run,
            progress=progress,
        )
    show(done, dry_run=dry_run)
    if done.scores is None:
        folds = [{"withheld": fold.withheld, "scored": fold.score} for fold in done.folds]
        found = {"design": done.design, "methods": done.methods, "folds": folds}
        return found if done.cube is None else {"cube": done.cube, "scored": done.dates}
    if ".csv" in files:
        write_csv(done.scores.table, files[".csv"])
        say(f"every figure in {files['.csv']}")
    if ".htm" in files:
        page = done.write_report(files[".htm"])
        say(f"report in {page}, its numbers in {page.with_suffix('.json')}")
    return report_data(done.scores)


@command(COMMANDS, panel=RUN)
def update(config: Config, *, dry_run: bool) -> Any:
    """Bring everything up to date: ingest what is new, refit if `refit` says so, fuse what changed.

    The scheduled job. A late or reprocessed scene, or a filled coarse gap, recomputes only the
    dates and tiles that it changes; run twice, the second does nothing. It scores the newest
    withheld scene, keeps a record of every run and writes a status page; `[update]` says what
    else.

    Example: `biastf-xr update config.toml`
    """
    from biastf_xr._summary import Summary, Told
    from biastf_xr.cli._terminal import show, stages
    from biastf_xr.region import Region

    def show_step(_: StepRecord, value: Any) -> None:
        if isinstance(value, Told):
            show(value)

    with stages() as progress:
        report = Region(config).update(dry_run=dry_run, progress=progress, on_step=show_step)
    about = Summary.of(report)
    said = report.error.splitlines()
    show(replace(about, notes=tuple(note for note in about.notes if note not in said)))
    if said:
        typer.echo(report.error, err=True)
    return Answer(report, report.exit_code)


@command(COMMANDS, panel=RUN)
def status(config: Config, *, dry_run: bool) -> Any:
    """Write the status page of the scheduled job from its records and the cubes as they are.

    Example: `biastf-xr status config.toml`
    """
    from biastf_xr.cli._terminal import say
    from biastf_xr.region import Region

    page = Region(config).status(dry_run=dry_run)
    say(f"{'would write' if dry_run else 'wrote'} {page}")
    return {"page": page}


@command(COMMANDS, panel=CUBES)
def tidy(config: Config, *, dry_run: bool) -> Any:
    """Remove what killed runs left: unfinished builds, retired copies, locks, temporary files.

    Only what no living process owns goes; what stays says why.

    Example: `biastf-xr tidy config.toml --dry-run`
    """
    import pandas as pd

    from biastf_xr._summary import Summary, size
    from biastf_xr.cli._terminal import show
    from biastf_xr.region import Region

    found = Region(config).tidy(dry_run=dry_run)
    did = "would be removed" if dry_run else "removed"
    rows = [
        {"what": one.what, "path": one.path, "size": size(one.size),
         "done": f"stays: {one.kept}" if one.kept else did}
        for one in found
    ]  # fmt: skip
    notes = () if found else ("nothing is left behind",)
    show(Summary("Leftovers", tables={"": pd.DataFrame(rows)} if rows else {}, notes=notes))
    return found


@command(COMMANDS, panel=MORE)
def cluster(config: Config) -> Any:
    """Print the job script, manifest or commands of the `[cluster]` section; starts nothing.

    Example: `biastf-xr cluster pipelines/clusters/slurm.toml`
    """
    from biastf_xr.cli._terminal import console
    from biastf_xr.cluster import render

    text = render(config.cluster.spec())
    console.print(text, soft_wrap=True, end="")
    return {"rendered": text}
