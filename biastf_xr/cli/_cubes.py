"""Commands that show, check and hand on cubes and models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biastf_xr.cli._command import CUBES, Answer, Overwrite, command, days

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS: list[Callable[[typer.Typer], None]] = []

Cube = Annotated[
    str, typer.Argument(help="A cube: a folder, a URL, or icechunk://folder.", metavar="CUBE")
]


@command(COMMANDS, panel=CUBES)
def info(
    paths: Annotated[
        list[str],
        typer.Argument(help="Cubes, or the file of a fitted method.", metavar="CUBE..."),
    ],
    picture: Annotated[
        Path | None, typer.Option(help="Draw the calendar of the cubes into this PNG.")
    ] = None,
) -> Any:
    """Show what a cube or a checkpoint holds: grid, dates, gaps, size, a calendar, the history.

    Examples: `biastf-xr info demo_output/cubes/fused.zarr`, or

    `biastf-xr info fine.zarr coarse.zarr --picture calendar.png`
    """
    from biastf_xr.cli._info import show_cube, show_model

    found = [show_model(Path(p)) if Path(p).is_file() else show_cube(p) for p in paths]
    if picture is not None:
        from biastf_xr.cli._terminal import say
        from biastf_xr.pictures import draw_calendar

        draw_calendar(paths, path=picture)
        say(f"calendar in {picture}")
    return found[0] if len(found) == 1 else found


@command(COMMANDS, panel=CUBES)
def verify(path: Cube) -> Any:
    """Read a whole cube back: checksums, masks, ranges, unfinished days. Exit code 1 if damaged.

    Example: `biastf-xr verify fine.zarr`
    """
    from biastf_xr.cli._terminal import progress_of, show
    from biastf_xr.cube import verify as verify_cube

    with progress_of("verify") as progress:
        found = verify_cube(path, progress=progress)
    show(found)
    return Answer(found, 0 if found.sound else 1)


@command(COMMANDS, panel=CUBES, interrupted="Files that are there are complete.")
def export(
    path: Cube,
    folder: Annotated[Path, typer.Argument(help="Where the files go.")],
    date: Annotated[
        list[str] | None,
        typer.Option(metavar="DAY", help="Date to export; may be repeated. Default: all."),
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="As red,nir or status_flag. Default: all bands.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, or int16 (numbers of 0.0001).")] = "float32",
    overwrite: Overwrite = False,
    *,
    dry_run: bool,
) -> Any:
    """Write Cloud-Optimised GeoTIFFs for GIS, one per date and band.

    Example: `biastf-xr export fused.zarr cogs --date 2020-10-20 --bands nir`
    """
    from biastf_xr.cli._terminal import progress_of, say
    from biastf_xr.cube import export_cogs

    with progress_of("export") as progress:
        files = export_cogs(
            path,
            folder,
            dates=days(date) or None,
            bands=_names(bands),
            dtype=_one_of("--dtype", dtype, ("float32", "int16")),
            overwrite=overwrite,
            dry_run=dry_run,
            progress=progress,
        )
    where = "would be written to" if dry_run else "in"
    say(f"{len(files)} Cloud-Optimised GeoTIFFs {where} {folder}")
    return files


@command(COMMANDS, panel=CUBES, interrupted="Finished dates are kept; the same command goes on.")
def publish(
    path: Cube,
    folder: Annotated[Path, typer.Argument(help="Where the catalogue goes.")],
    licence: Annotated[
        list[str] | None,
        typer.Option(
            help="SPDX identifier of the data's licence, as CC-BY-4.0, or where its text is; may "
            "be repeated, for both."
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the collection.")] = None,
    date: Annotated[
        list[str] | None,
        typer.Option(metavar="DAY", help="Date to publish; may be repeated. Default: all."),
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(help="As red,nir,status_flag. Default: bands, sigmas and status_flag."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="int16 (numbers of 0.0001), or float32.")] = "int16",
    *,
    dry_run: bool,
) -> Any:
    """Write a static STAC catalogue: an item of Cloud-Optimised GeoTIFFs for every date.

    Run again, it writes the dates that are new or recomputed, and keeps the rest. Any web server,
    or a folder, serves it; pystac and odc.stac open it.

    Example: `biastf-xr publish fused.zarr catalogue --licence CC-BY-4.0`
    """
    from biastf_xr.cli._terminal import progress_of, show
    from biastf_xr.publish.catalogue import publish as publish_cube

    with progress_of("publish") as progress:
        report = publish_cube(
            path,
            folder,
            licence=next((text for text in licence or () if "://" not in text), "other"),
            licence_url=next((text for text in licence or () if "://" in text), None),
            title=title,
            dates=days(date) or None,
            layers=_names(bands),
            dtype=_one_of("--dtype", dtype, ("int16", "float32")),
            dry_run=dry_run,
            progress=progress,
        )
    show(report, dry_run=dry_run)
    return report


@command(
    COMMANDS, panel=CUBES, interrupted="The copy does not show yet; the same command starts again."
)
def rechunk(
    path: Cube,
    output: Annotated[str, typer.Argument(help="The copy: a folder, a URL, or icechunk://.")],
    purpose: Annotated[
        str, typer.Option("--for", help="timeseries (long time chunks), or maps (one day each).")
    ] = "timeseries",
    memory: Annotated[
        float, typer.Option(min=0.1, help="GiB to stay below, all threads together.")
    ] = 1.0,
    overwrite: Overwrite = False,
    *,
    dry_run: bool,
) -> Any:
    """Copy a cube to a layout that suits how it is read.

    A fused cube has one day in a chunk: maps are read fast, the series of a pixel touches a chunk a
    day. Run again, the copy is brought up to date.

    Example: `biastf-xr rechunk fused.zarr series.zarr --for timeseries`
    """
    from biastf_xr.cli._terminal import progress_of, show
    from biastf_xr.cube import rechunk as rechunk_cube

    with progress_of("rechunk") as progress:
        report = rechunk_cube(
            path,
            output,
            _one_of("--for", purpose, ("timeseries", "maps")),
            memory=int(memory * 2**30),
            overwrite=overwrite,
            dry_run=dry_run,
            progress=progress,
        )
    show(report, dry_run=dry_run)
    return report


@command(COMMANDS, "roll-back", panel=CUBES)
def roll_back(
    path: Cube,
    to: Annotated[
        str | None, typer.Argument(help="A version. Default: list them.", metavar="VERSION")
    ] = None,
    *,
    dry_run: bool,
) -> Any:
    """List the versions of a cube in Icechunk, or make one the one that readers see.

    Nothing is lost: the version that was newest keeps a tag. The next run makes what is missing
    then: exclude the scene that must not come back first.

    Examples: `biastf-xr roll-back icechunk://cubes/fused`, newest first, and

    `biastf-xr roll-back icechunk://cubes/fused VDKJ1YXM6TT2W0RKMX20`
    """
    import pandas as pd

    from biastf_xr._summary import Summary
    from biastf_xr.cli._terminal import say, show
    from biastf_xr.cube.stores import roll_back as go_back
    from biastf_xr.cube.stores import versions
    from biastf_xr.errors import CubeStructureError

    found = versions(path) if to is None or dry_run else [go_back(path, to)]
    if to is None:
        table = pd.DataFrame(found, columns=["version", "made", "what was done"])
        if found:
            show(Summary(path, tables={"versions": table}))
        else:
            say(f"{path} is plain Zarr, which keeps no versions; icechunk:// stores do.")
        return [version._asdict() for version in found]
    if dry_run and to not in {version.id for version in found}:
        raise CubeStructureError(
            f"{path} has no version {to}; `biastf-xr roll-back {path}` lists them."
        )
    version = next(v for v in found if v.id == to or not dry_run)
    did = "would be" if dry_run else "is"
    say(f"{path} {did} as of {version.time}: {version.message}")
    return version._asdict()


def _names(text: str | None) -> list[str] | None:
    """Read a list of variables."""
    return [name.strip() for name in text.split(",")] if text else None


def _one_of(flag: str, value: str, known: tuple[str, ...]) -> Any:
    """Refuse a value that is not known."""
    from biastf_xr.errors import ConfigError

    if value not in known:
        raise ConfigError(f"{flag} is {value!r}; expected {' or '.join(known)}.")
    return value
