"""The program: the options of all commands, and the commands in the order of `--help`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from biastf_xr.cli import _cubes, _more, _runs, _start
from biastf_xr.cli._command import COMMON, Common

FLAGS_OF_ALL = {"--json", "--quiet", "-q", "--verbose", "-v", "--debug", "--dry-run"}

# Commands that have another name now.
RENAMED = {
    ("cluster", "render"): "cluster",
    ("datasets", "list"): "datasets",
    ("datasets", "info"): "datasets",
    ("versions",): "roll-back",
}


class Program(TyperGroup):
    """Reads the options of all commands wherever they stand."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Move the options of all commands to the front; know old names of commands."""
        common, rest = self.split(args)
        for old, new in RENAMED.items():
            if tuple(rest[: len(old)]) == old:
                rest[: len(old)] = [new]
                if not ctx.resilient_parsing:
                    described = f"`{' '.join(old)}` is `{new}` now; see `biastf-xr {new} --help`."
                    typer.secho(f"warning: {described}", fg="yellow", err=True)
        return super().parse_args(ctx, [*common, *rest])

    def split(self, args: list[str]) -> tuple[list[str], list[str]]:
        """Return the options of all commands, and everything else."""
        common: list[str] = []
        rest: list[str] = []
        words = iter(args)
        for word in words:
            name = word.partition("=")[0]
            if word == "--":
                rest += [word, *words]
            elif name in FLAGS_OF_ALL:
                common.append(word)
            elif name != "--set":
                rest.append(word)
            elif (value := word.partition("=")[2] or next(words, None)) is not None:
                common += [name, value]
            else:
                raise typer.BadParameter("expected section.key=value after --set.")
        return common, rest


app = typer.Typer(
    name="biastf-xr",
    cls=Program,
    help="Daily fine-resolution reflectance cubes from Landsat and MODIS.\n\n"
    "A run is one TOML file, which `init` writes: `ingest`, `train`, `plan`, `fuse`, `evaluate` "
    "read it in turn; `update` brings everything up to date. "
    "A flag overrides the file, the file the defaults. Start with `biastf-xr demo`.\n\n"
    "Exit codes: 0 done; 1 a check failed; 2 an error that needs a person; 3 some units failed, "
    "and the same command tries them again; 4 another run is at work; 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:  # noqa: FBT001  (typer gives it so)
    if value:
        from biastf_xr.version import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[  # noqa: ARG001
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the result as JSON; what people read goes to standard error."
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print every row, and every scene and unit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Set any key of the configuration, over the file and the flags: the value as in "
            "TOML, or a plain word; may be repeated. As `--set fuse.tile=512`.",
        ),
    ] = None,
) -> None:
    """Take the options of all commands, which may stand before or after the command."""
    typed = Common(json, quiet, verbose, debug, dry_run, tuple(changes or ()))
    vars(COMMON).update(vars(typed))


for _module in (_start, _runs, _cubes, _more):
    for _add in _module.COMMANDS:
        _add(app)
