"""Commands that show, check and hand on cubes and models."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from biastf_xr.cli.app import CUBES, app
from biastf_xr.cli.command import Answer, command
from biastf_xr.cli.parameters import DAY, Cube, Overwrite
from biastf_xr.cli.settings import days


@command(app, panel=CUBES)
def info(
    path: Annotated[str, typer.Argument(help="A cube, or the file of a fitted method.")],
    other: Annotated[
        list[str] | None, typer.Option("--beside", help="Another cube for the calendar.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the calendar into this PNG.")] = None,
) -> Any:
    """Show what a cube or a checkpoint holds: grid, dates, gaps, size, a calendar, the history.

    Examples: `biastf-xr info demo_output/cubes/fused.zarr`, or

    `biastf-xr info fine.zarr --beside coarse.zarr --picture calendar.png`
    """
    from biastf_xr.steps.show_cubes import show_cube
    from biastf_xr.steps.show_models import show_model

    if Path(path).is_file():
        return show_model(Path(path))
    found = show_cube(path)
    if picture is not None:
        from biastf_xr.evaluation.pictures import calendar
        from biastf_xr.steps.terminal import console

        console.print(f"calendar in {calendar([path, *(other or [])], picture)}")
    return found


@command(app, panel=CUBES)
def verify(path: Cube) -> Any:
    """Read a whole cube back: checksums, masks, ranges, unfinished days. Exit code 1 if damaged.

    Example: `biastf-xr verify fine.zarr`
    """
    from biastf_xr.steps.keep import verify_step

    found = verify_step(path)
    return Answer(found, 0 if found.sound else 1)


@command(app, panel=CUBES, interrupted="Files that are there are complete.")
def export(
    path: Cube,
    folder: Annotated[Path, typer.Argument(help="Where the files go.")],
    date: Annotated[
        list[datetime] | None,
        typer.Option(formats=DAY, help="Date to export; may be repeated. Default: all."),
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="As red,nir or status_flag. Default: all bands.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, or int16 (numbers of 0.0001).")] = "float32",
    overwrite: Overwrite = False,
) -> Any:
    """Write Cloud-Optimised GeoTIFFs for GIS, one per date and band.

    Example: `biastf-xr export fused.zarr cogs --date 2020-10-20 --bands nir`
    """
    from biastf_xr.errors import ConfigError
    from biastf_xr.steps.keep import export_step

    if dtype not in {"float32", "int16"}:
        raise ConfigError(f"--dtype is {dtype!r}; expected float32 or int16.")
    names = [b.strip() for b in bands.split(",")] if bands else None
    return export_step(
        path, folder, dates=days(date), bands=names, dtype=dtype, overwrite=overwrite
    )
