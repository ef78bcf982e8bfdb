"""What every command has: its flags, how much it says, in which form, and how it ends."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand
from typer.models import ArgumentInfo

from biastf_xr._outside import json_text, visible
from biastf_xr._tables import plain
from biastf_xr.cli._flags import FLAGS, changes_of, flag_parameters, help_of, read_settings
from biastf_xr.errors import ExitCode
from biastf_xr.sources import PRODUCTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

START, RUN, CUBES, MORE = "Start", "A run, from one TOML file", "Cubes and models", "More"

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]

EPILOG = (
    "Options of every command, explained by `biastf-xr --help`: --json, --quiet, --verbose, "
    "--debug, --dry-run"
)
SETS = "; `--set section.key=value` overrides any other key of the file."


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command found, where its exit code is not 0."""

    value: Any
    code: int = 0


@dataclasses.dataclass
class Common:
    """The options of all commands, as typed."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    dry_run: bool = False
    changes: tuple[str, ...] = ()


COMMON = Common()


class Command(TyperCommand):
    """A command whose flags are explained by the configuration, once somebody asks."""

    def format_help(self, *args: Any) -> None:
        """Explain the flags, then print the help."""
        self.explain()
        super().format_help(*args)

    def explain(self) -> None:
        """Take the help of each flag of a run from the documentation of its key."""
        for option in self.params:
            name = str(option.name).replace("_", "-")
            if name in FLAGS and getattr(option, "help", "") == f"[{FLAGS[name].key}]":
                option.help = help_of(name)  # type: ignore[attr-defined]

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the arguments; say how a key is set that has no flag."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            unknown = getattr(error, "option_name", None)
            if unknown and type(error).__name__ == "NoSuchOption":
                error.message += _without_flag(unknown)  # type: ignore[attr-defined]
            raise


def _without_flag(name: str) -> str:
    """Return how to set the keys that have the name of an unknown flag."""
    from biastf_xr._keys import known_keys
    from biastf_xr.config import Config

    name = name.lstrip("-").removeprefix("no-")
    known = [FLAGS[name].key] if name in FLAGS else known_keys(Config)
    ways = [
        f"--set {key}=..." for key in known if name in {*FLAGS, *key.replace("_", "-").split(".")}
    ]
    return f". Use {' or '.join(ways)}" if ways else ""


def command(
    commands: list[Callable[[typer.Typer], None]],
    name: str | None = None,
    *,
    panel: str,
    flags: tuple[str, ...] = (),
    interrupted: str = "Nothing was changed.",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add a function to `commands`, which the program makes a command of.

    The function is given what it names: `config`, the configuration with what was typed over it;
    `changes`, what was typed; `dry_run`.  Its result is printed if asked for.

    `flags`: Those of `FLAGS` that the command shows; with "fine" it runs without a file too.
    `interrupted`: What to say after Ctrl-C: what is kept, and how to go on.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function, eval_str=True, locals={"Config": Any})
        own = [p.replace(kind=p.KEYWORD_ONLY) for p in signature.parameters.values()]
        common = {"config", "changes", "dry_run"} & set(signature.parameters)
        shown = [p for p in flag_parameters(flags) if p.name not in signature.parameters]

        @functools.wraps(function)
        def run(**given: Any) -> None:
            _set_output()
            typed = {flag: given.get(flag.replace("-", "_")) for flag in flags}
            for parameter in shown:
                del given[parameter.name]
            try:
                found = function(**given | _common(common, given, typed))
            except KeyboardInterrupt:
                typer.echo(f"\ninterrupted. {interrupted}", err=True)
                raise typer.Exit(ExitCode.INTERRUPTED) from None
            answer = found if isinstance(found, Answer) else Answer(found)
            if COMMON.json:
                typer.echo(json_text(plain(answer.value), indent=1))
            if answer.code:
                raise typer.Exit(answer.code)

        file = [_file_parameter(needed="fine" not in flags)] if "config" in common else []
        own = [p for p in own if p.name not in common]
        parameters = sorted([*file, *shown, *own], key=_is_option)
        described: Any = run
        described.__signature__ = signature.replace(parameters=parameters)
        described.__annotations__ = {}  # typer takes those of the signature
        described.__doc__ = (function.__doc__ or "").replace("{products}", ", ".join(PRODUCTS))
        epilog = EPILOG + (SETS if common & {"config", "changes"} else "")

        def register(app: typer.Typer) -> None:
            app.command(name, cls=Command, rich_help_panel=panel, epilog=epilog)(run)

        commands.append(register)
        return function

    return decorate


def _common(names: set[str], given: dict[str, Any], typed: dict[str, Any]) -> dict[str, Any]:
    """Return what a command names of the options of all commands."""
    from biastf_xr.errors import ConfigError

    if COMMON.changes and not names & {"config", "changes"}:
        raise ConfigError(f"--set {COMMON.changes[0]}: this command reads no configuration.")
    found: dict[str, Any] = {"dry_run": COMMON.dry_run}
    if names & {"config", "changes"}:
        found["changes"] = changes_of(typed, COMMON.changes)
    if "config" in names:
        found["config"] = read_settings(given["config"], found["changes"])
    return {name: found[name] for name in names}


def _is_option(parameter: inspect.Parameter) -> bool:
    """Return whether a parameter is an option; arguments come first."""
    return not isinstance(parameter.annotation.__metadata__[0], ArgumentInfo)


def _file_parameter(*, needed: bool) -> inspect.Parameter:
    """Return the parameter that takes the file."""
    argument = typer.Argument(help="TOML file of the run.", metavar="CONFIG.toml")
    return inspect.Parameter(
        "config",
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if needed else None,
        annotation=Annotated[Path if needed else Path | None, argument],
    )


def _set_output() -> None:
    """Print as much as asked for."""
    from biastf_xr.cli._terminal import set_output

    set_output(quiet=COMMON.quiet, everything=COMMON.verbose, aside=COMMON.json)


def days(values: Iterable[str] | None) -> tuple[str, ...]:
    """Return the dates that were typed as ISO texts."""
    from biastf_xr._days import to_days

    return tuple(map(str, to_days(values or (), "--date")))


def fail(error: Exception, code: ExitCode) -> None:
    """End a command with an error, in the form that was asked for."""
    from rich.console import Console
    from rich.text import Text

    name = type(error).__name__
    if COMMON.json:
        found = {"error": name, "message": str(error), "exit_code": int(code)}
        try:
            typer.echo(json_text(found))
        except BrokenPipeError:  # Who was to read it is gone.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    text = Text.assemble(("error", "bold red"), visible(f" ({name}): {error}"))
    Console(stderr=True).print(text, soft_wrap=True)
    sys.exit(code)
