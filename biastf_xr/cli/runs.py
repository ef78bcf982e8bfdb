"""Commands that plan and make the fused cube."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from biastf_xr.engine.preview import Preview

from biastf_xr.cli.app import RUN, app
from biastf_xr.cli.command import DryRun, command
from biastf_xr.cli.parameters import (
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
from biastf_xr.cli.settings import fuse_section, method_section, read_settings, settings_of_flags


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
    """Give a plan for programs."""
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


@command(app, panel=RUN, interrupted="What is finished is kept; the same command goes on.")
def update(
    config: NeededConfig,
    dry_run: DryRun = False,
) -> Any:
    """Bring everything up to date: ingest what is new, refit if `refit` says so, fuse what changed.

    The scheduled job. A late or reprocessed scene, or a filled coarse gap, makes only the dates and
    tiles anew that it changes; run twice, the second does nothing.

    Example: `biastf-xr update config.toml`
    """
    from biastf_xr.config import read_config
    from biastf_xr.steps.preview import preview_ingest_step
    from biastf_xr.steps.update import update_step

    settings = read_config(config)
    return preview_ingest_step(settings) if dry_run else {"made": update_step(settings)}
