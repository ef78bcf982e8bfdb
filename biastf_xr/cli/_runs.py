"""Commands that plan and make the fused cube."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from biastf_xr.fusion._preview import Preview

from biastf_xr.cli._app import CUBES, RUN, app
from biastf_xr.cli._command import Answer, DryRun, command
from biastf_xr.cli._parameters import (
    Address,
    CoarseCube,
    ConfigFile,
    End,
    FineCube,
    Method,
    MethodOption,
    NeededConfig,
    Output,
    Overwrite,
    Precision,
    Revise,
    Start,
    Tile,
    Withhold,
    Workers,
)
from biastf_xr.cli._settings import fuse_section, method_section, read_settings, settings_of_flags


@command(app, panel=RUN)
def plan(
    context: typer.Context,
    config: ConfigFile = None,
    fine: FineCube = None,
    coarse: CoarseCube = None,
    method: Method = "direct",
    option: MethodOption = None,
    output: Output = "fused.zarr",
    start: Start = None,
    end: End = None,
    withhold: Withhold = None,
    tile: Tile = 1024,
    trial: Annotated[
        bool, typer.Option(help="Try the method for a few seconds, to estimate the time.")
    ] = True,
) -> Any:
    """Show what `fuse` would do: dates and their base dates, how much, how long. Reads no pixel.

    Examples: `biastf-xr plan config.toml`, or

    `biastf-xr plan --fine fine.zarr --coarse coarse.zarr --method model.safetensors`
    """
    from biastf_xr.steps.fuse import plan_step

    if config is not None:
        settings = read_settings(config, context, "trial")
    else:
        section = fuse_section(output, start, end, withhold, tile)
        settings = settings_of_flags(
            fine, coarse, method=method_section(method, option), fuse=section
        )
    return _told(plan_step(settings, trial=trial))


def _told(preview: Preview) -> dict[str, Any]:
    """Return a plan for programs."""
    return {"dates": preview.table, "totals": preview.totals}


@command(app, panel=RUN, interrupted="What is finished is kept; the same command goes on.")
def fuse(
    context: typer.Context,
    config: ConfigFile = None,
    fine: FineCube = None,
    coarse: CoarseCube = None,
    method: Method = "direct",
    option: MethodOption = None,
    output: Output = "fused.zarr",
    start: Start = None,
    end: End = None,
    withhold: Withhold = None,
    tile: Tile = 1024,
    device: Annotated[str, typer.Option(help="Torch device of the workers, cpu or cuda.")] = "cpu",
    precision: Precision = "fp32",
    workers: Workers = None,
    address: Address = None,
    revise: Revise = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> Any:
    """Predict the fine image of every day and write it into the fused cube.

    What the cube has from the same inputs is kept: after an interruption the same command does
    what is missing, after a late scene what that scene changes. Exit code 3: some units failed.

    Examples: `biastf-xr fuse config.toml`, or

    `biastf-xr fuse --fine fine.zarr --coarse coarse.zarr --method model.safetensors
    --start 2020-10-02 --end 2020-11-11 --output fused.zarr`
    """
    from biastf_xr.steps.fuse import fuse_step, plan_step

    if config is not None:
        settings = read_settings(config, context, "overwrite", "revise")
    else:
        settings = settings_of_flags(
            fine,
            coarse,
            method=method_section(method, option) | {"device": device, "precision": precision},
            fuse=fuse_section(output, start, end, withhold, tile),
            cluster={"workers": workers, "address": address},
        )
    if dry_run:
        return _told(plan_step(settings, trial=False))
    return fuse_step(settings, overwrite=overwrite, revise=revise)


@command(app, panel=RUN)
def update(
    config: NeededConfig,
    dry_run: DryRun = False,
) -> Any:
    """Bring everything up to date: ingest what is new, refit if `refit` says so, fuse what changed.

    The scheduled job. A late or reprocessed scene, or a filled coarse gap, makes only the dates and
    tiles anew that it changes; run twice, the second does nothing. It scores the newest withheld
    scene, keeps a record of every run and writes a status page; `[nightly]` says what else.

    Example: `biastf-xr update config.toml`
    """
    from biastf_xr.config import read_config
    from biastf_xr.nightly import update as run_night
    from biastf_xr.nightly.show import show_night

    report = run_night(read_config(config), dry_run=dry_run)
    show_night(report)
    return Answer(report, int(report.exit_code))


@command(app, panel=RUN)
def status(config: NeededConfig, dry_run: DryRun = False) -> Any:
    """Write the status page of the scheduled job anew, from its records and the cubes as they are.

    Example: `biastf-xr status config.toml`
    """
    from biastf_xr.config import read_config
    from biastf_xr.nightly import status_path, write_status
    from biastf_xr.steps.terminal import console

    settings = read_config(config)
    page = status_path(settings) if dry_run else write_status(settings)
    console.print(f"{'would write' if dry_run else 'wrote'} {page}", markup=False, soft_wrap=True)
    return {"page": page}


@command(app, panel=CUBES)
def tidy(config: NeededConfig, dry_run: DryRun = False) -> Any:
    """Remove what killed runs left: unfinished builds, retired copies, locks, temporary files.

    Only what no living process owns goes; what stays says why.

    Example: `biastf-xr tidy config.toml --dry-run`
    """
    from biastf_xr.config import read_config
    from biastf_xr.nightly.leftovers import show_leftovers
    from biastf_xr.nightly.leftovers import tidy as tidy_up

    found = tidy_up(read_config(config), dry_run=dry_run)
    show_leftovers(found, dry_run=dry_run)
    return found
