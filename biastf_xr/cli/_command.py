"""What every command has: how much it says, in which form, and how it ends."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

# 128 + SIGINT, as shells have it.
INTERRUPTED = 130

Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print the result as JSON; what people read goes to standard error."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print every row, and every scene and unit.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")
]

VOICE = {"json": Json, "quiet": Quiet, "verbose": Verbose, "debug": Debug}


@dataclass(frozen=True)
class Answer:
    """What a command found, where its exit code is not 0."""

    value: Any
    code: int = 0


@dataclass
class _Form:
    """The form that the running command answers in."""

    json: bool = False
    debug: bool = False


FORM = _Form()


def command(
    group: typer.Typer,
    name: str | None = None,
    *,
    panel: str | None = None,
    interrupted: str = "Nothing was changed.",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a command of a function: give it the common flags, print its result if asked to.

    `interrupted`: What to say after Ctrl-C: what is kept, and how to go on.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **given: Any) -> None:
            voice = {key: given.pop(key) for key in VOICE}
            _settle(**voice)
            try:
                found = function(*args, **given)
            except KeyboardInterrupt:
                typer.echo(f"\ninterrupted. {interrupted}", err=True)
                raise typer.Exit(INTERRUPTED) from None
            answer = found if isinstance(found, Answer) else Answer(found)
            if FORM.json:
                typer.echo(json.dumps(plain(answer.value), indent=1, ensure_ascii=False))
            if answer.code:
                raise typer.Exit(answer.code)

        _extend(run, function)
        group.command(name, rich_help_panel=panel)(run)
        return function

    return decorate


def _settle(*, json: bool, quiet: bool, verbose: bool, debug: bool) -> None:
    """Make the steps speak as asked."""
    from biastf_xr.steps.terminal import speak

    FORM.json, FORM.debug = json, debug
    speak(quiet=quiet, everything=verbose, aside=json)


def _extend(run: Callable[..., Any], function: Callable[..., Any]) -> None:
    """Add the common flags to what typer reads of a function."""
    signature = inspect.signature(function, eval_str=True)
    flags = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for key, kind in VOICE.items()
    ]
    parameters = [*signature.parameters.values(), *flags]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]


def plain(value: Any) -> Any:
    """Bring a result to what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    elif hasattr(value, "columns"):
        value = value.to_dict("records")
    elif getattr(getattr(value, "dtype", None), "kind", "") in ("b", "i", "u", "f"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def fail(error: Exception, code: int) -> None:
    """End a command with an error, in the form that was asked for."""
    from rich.console import Console

    name = type(error).__name__
    if FORM.json:
        typer.echo(json.dumps({"error": name, "message": str(error), "exit_code": code}))
    console = Console(stderr=True)
    console.print(f"[bold red]error[/] ({name}): ", end="")
    console.print(str(error), markup=False, highlight=False)
    sys.exit(code)
