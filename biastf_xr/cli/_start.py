"""Commands for the first minutes: look at a demo, write a configuration, check the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from biastf_xr.cli._app import START, app
from biastf_xr.cli._command import Answer, DryRun, command
from biastf_xr.cli._parameters import ConfigFile, Overwrite, Workers, complete_product


@command(app, panel=START, interrupted="The same command starts the demo anew.")
def demo(
    output: Annotated[Path, typer.Option(help="Folder to work in.")] = Path("demo_output"),
    size: Annotated[int, typer.Option(min=96, help="Rows and columns of the region.")] = 256,
    days: Annotated[int, typer.Option(min=64, help="Length of the season.")] = 144,
    workers: Workers = None,
    dry_run: DryRun = False,
) -> Any:
    """Run the whole job on the embedded region: scenes to a scored daily cube, with pictures.

    Example: `biastf-xr demo --output demo_output`
    """
    from biastf_xr.steps.demo import preview_demo, run_demo

    if dry_run:
        return preview_demo(output, size=size, days=days)
    return run_demo(output, size=size, days=days, workers=workers)


@command(app, panel=START)
def init(
    path: Annotated[Path, typer.Argument(help="File to write.", metavar="CONFIG.toml")] = Path(
        "region.toml"
    ),
    fine: Annotated[
        str | None, typer.Option("--fine-folder", help="Folder of the fine scenes.")
    ] = None,
    coarse: Annotated[
        str | None, typer.Option("--coarse-folder", help="Folder of the coarse scenes.")
    ] = None,
    fine_product: Annotated[
        str | None,
        typer.Option(help="Guessed from the files.", autocompletion=complete_product),
    ] = None,
    coarse_product: Annotated[
        str | None,
        typer.Option(help="Guessed from the files.", autocompletion=complete_product),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            help="west,south,east,north in degrees, a GeoJSON file, or MGRS:32UMA; without one "
            "the scenes' own pixels are kept."
        ),
    ] = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> Any:
    """Write the commented TOML file of a run, asking for the folders and the region.

    What is not given as a flag is asked for; where nobody can answer, it is an error.

    Examples: `biastf-xr init`, or

    `biastf-xr init region.toml --fine-folder scenes/landsat --coarse-folder scenes/modis`
    """
    from biastf_xr.steps.init import render_config, write_config
    from biastf_xr.steps.terminal import console

    asked = fine is None or coarse is None
    archives = {
        sensor: _archive(sensor, folder, product, path.parent)
        for sensor, folder, product in (
            ("fine", fine, fine_product),
            ("coarse", coarse, coarse_product),
        )
    }
    if region is None and asked:
        region = _ask("Region, as west,south,east,north (empty: the scenes' own pixels)", "")
    text = render_config(path.name, **archives, region=region or None)
    if dry_run:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
        write_config(path, text, overwrite=overwrite)
    return {"path": path, "text": text}


def _archive(sensor: str, folder: str | None, product: str | None, beside: Path) -> Any:
    """Settle one sensor: its folder, and what its scenes are."""
    import os

    from biastf_xr._urls import is_url
    from biastf_xr.errors import ConfigError
    from biastf_xr.steps.init import Archive, guess_product
    from biastf_xr.steps.terminal import console

    folder = folder or _ask(f"Folder of the {sensor} scenes")
    local = not is_url(folder)
    if local and not Path(folder).is_dir():
        raise ConfigError(f"no folder {folder}; expected the one with the {sensor} scenes.")
    if product is None:
        guess, count = guess_product(Path(folder), sensor) if local else (None, 0)
        product = guess or "geotiff"
        told = f"{count} scenes of {guess}" if guess else "no scenes of a known product: geotiff"
        console.print(f"{folder}: {told}", markup=False, highlight=False)
    inside = os.path.relpath(folder, beside.resolve()) if local else folder
    return Archive(product, Path(inside).as_posix() if local else inside)


def _ask(question: str, default: str | None = None) -> str:
    """Ask a person; where there is none, say which flag answers."""
    from biastf_xr.errors import ConfigError

    if not _is_a_person_there():
        raise ConfigError(
            f"{question}? Nobody can answer here. Give --fine-folder and --coarse-folder."
        )
    return str(typer.prompt(question, default=default, show_default=False, err=True))


def _is_a_person_there() -> bool:
    import sys

    return sys.stdin.isatty()


@command(app, panel=START)
def doctor(
    config: ConfigFile = None,
    folder: Annotated[Path, typer.Option(help="Folder that runs will write to.")] = Path(),
) -> Any:
    """Look at this machine: versions, GPUs, GDAL, codecs, memory, clock, write access.

    With a configuration, also at its folders, cubes and model. Exit code 1: something is wrong.

    Examples: `biastf-xr doctor`, or `biastf-xr doctor region.toml --folder /data`
    """
    from biastf_xr.config import read_config
    from biastf_xr.steps.doctor import doctor_step

    checks = doctor_step(folder, None if config is None else read_config(config))
    return Answer(checks, int(any(c.verdict == "wrong" for c in checks)))
