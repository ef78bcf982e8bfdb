"""The commands, in the order in which `--help` lists them."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    name="biastf-xr",
    help="Daily fine-resolution reflectance cubes from Landsat and MODIS.\n\n"
    "A run is one TOML file, which `init` writes: `ingest`, `train`, `plan`, `fuse`, `evaluate` "
    "read it in turn; `update` brings everything up to date. "
    "Every step also takes flags for the common case. Start with `biastf-xr demo`.\n\n"
    "Exit codes: 0 done; 1 a check failed; 2 an error that needs a person; 3 some units failed, "
    "and the same command tries them again; 4 another run is at work; 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cluster = typer.Typer(help="Where a run does its work.", no_args_is_help=True)
datasets = typer.Typer(help="The published benchmark sets.", no_args_is_help=True)

START, RUN, CUBES, MORE = "Start", "A run, from one TOML file", "Cubes and models", "More"


def _print_version(value: bool) -> None:  # noqa: FBT001  (typer gives it so)
    if value:
        from biastf_xr.version import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Take the options of all commands."""


# Each module registers its commands; the order is that of `--help`.
from biastf_xr.cli import _start, _ingest, _train, _runs, _scores, _cubes, _reference  # noqa: E402, F401, I001

app.add_typer(datasets, name="datasets", rich_help_panel=MORE)
app.add_typer(cluster, name="cluster", rich_help_panel=MORE)
