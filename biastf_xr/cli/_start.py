"""Commands for the first minutes: look at a demo, write a configuration, check the machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biastf_xr.cli._command import START, Answer, Overwrite, command
from biastf_xr.cli._flags import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS: list[Callable[[typer.Typer], None]] = []


@command(COMMANDS, panel=START, interrupted="The same command starts the demo again.")
def demo(
    output: Annotated[Path, typer.Option(help="Folder to work in.")] = Path("demo_output"),
    size: Annotated[int, typer.Option(min=96, help="Rows and columns of the region.")] = 256,
    days: Annotated[int, typer.Option(min=64, help="Length of the season.")] = 144,
    *,
    changes: dict[str, Any],
    dry_run: bool,
) -> Any:
    """Run the whole job on the generated region: scenes to a scored daily cube, with pictures.

    Example: `biastf-xr demo --output demo_output`
    """
    from biastf_xr.cli._demo import preview_demo, run_demo

    if dry_run:
        return preview_demo(output, size=size, days=days)
    return run_demo(output, size=size, days=days, changes=changes)


@command(COMMANDS, panel=START, flags=("fine-folder", "coarse-folder", "region"))
def init(
    path: Annotated[Path, typer.Argument(help="File to write.", metavar="CONFIG.toml")] = Path(
        "region.toml"
    ),
    *,
    overwrite: Overwrite = False,
    changes: dict[str, Any],
    dry_run: bool,
) -> Any:
    """Write the commented TOML file of a run, asking for the folders and the region.

    What is not given as a flag is asked for; where nobody can answer, it is an error. The products
    are guessed from the files, unless `--set fine.product=hls` names one. A region is
    west,south,east,north in degrees, a GeoJSON file, or a code as MGRS:32UMA; without one the
    scenes' own pixels are kept.

    Examples: `biastf-xr init`, or

    `biastf-xr init region.toml --fine-folder scenes/landsat --coarse-folder scenes/modis`
    """
    from biastf_xr.cli._init import refuse_degrees, render_config, write_config
    from biastf_xr.cli._terminal import say
    from biastf_xr.errors import ConfigError

    known = {"fine": {"folder", "product"}, "coarse": {"folder", "product"}, "grid": {"region"}}
    for section, values in changes.items():
        for key in set(values) - known.get(section, set()):
            raise ConfigError(
                f"--set {section}.{key}: the file is written with fine.folder, fine.product, "
                "coarse.folder, coarse.product and grid.region; edit it for anything else."
            )
    sensors = {sensor: changes.get(sensor, {}) for sensor in ("fine", "coarse")}
    asked = not all(s.get("folder") for s in sensors.values())
    archives = {
        sensor: _archive(sensor, s.get("folder"), s.get("product"), path.parent)
        for sensor, s in sensors.items()
    }
    region = changes.get("grid", {}).get("region")
    if region is None and asked:
        region = _ask("Region, as west,south,east,north (empty: the scenes' own pixels)", "")
    if not region:
        refuse_degrees(path.parent / archives["fine"].folder)
    text = render_config(path.name, **archives, region=region or None)
    if dry_run:
        for line in text.splitlines():
            say(line)
    else:
        write_config(path, text, overwrite=overwrite)
        say(f"wrote {path}; next: biastf-xr doctor {path}")
    return {"path": path, "text": text}


def _archive(sensor: str, folder: str | None, product: str | None, beside: Path) -> Any:
    """Settle one sensor: its folder, and what its scenes are."""
    import os

    from biastf_xr._urls import is_url
    from biastf_xr.cli._init import Archive, guess_product
    from biastf_xr.cli._terminal import say
    from biastf_xr.errors import ConfigError

    folder = folder or _ask(f"Folder of the {sensor} scenes")
    local = not is_url(folder)
    if local and not Path(folder).is_dir():
        raise ConfigError(f"no folder {folder}; expected the one with the {sensor} scenes.")
    choice = ""
    if product is None:
        guess, count, choice = guess_product(Path(folder), sensor) if local else (None, 0, "")
        product = guess or "geotiff"
        found = f"{count} scenes of {guess}" if guess else "no scenes of a known product: geotiff"
        say(f"{folder}: {found}")
        if choice:
            say(choice)
    inside = os.path.relpath(folder, beside.resolve()) if local else folder
    return Archive(product, Path(inside).as_posix() if local else inside, choice)


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


@command(COMMANDS, panel=START)
def doctor(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="TOML file of a run, and the folder that runs will write to. Default: this one.",
            metavar="[CONFIG.toml] [FOLDER]",
        ),
    ] = None,
    *,
    changes: dict[str, Any],
) -> Any:
    """Look at this machine: versions, GPUs, GDAL, codecs, memory, clock, write access.

    With a configuration, also at its folders, cubes and model. Exit code 1: something is wrong.

    Examples: `biastf-xr doctor`, or `biastf-xr doctor region.toml /data`
    """
    from biastf_xr._doctor import check_machine
    from biastf_xr.cli._info import show_checks
    from biastf_xr.region import Region

    files = [path for path in paths or () if path.suffix == ".toml"]
    folders = [path for path in paths or () if path not in files] or [Path()]
    if files:
        checks = Region(read_settings(files[0], changes)).doctor(folders[0])
    else:
        checks = check_machine(folders[0])
    show_checks(checks)
    return Answer(checks, int(any(c.verdict == "wrong" for c in checks)))
