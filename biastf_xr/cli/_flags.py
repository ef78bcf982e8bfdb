"""Flags of a run: each is another name of one key of the configuration, and overrides the file."""

from __future__ import annotations

import dataclasses
import inspect
import tomllib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from biastf_xr._outside import toml_text, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from biastf_xr.config import Config


def complete_method(typed: str) -> list[str]:
    """Complete the name of a method."""
    from biastf_xr.methods import METHODS

    return [name for name in METHODS if name.startswith(typed)]


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag of a run: its key, what to type, and what help says beside the key's own meaning."""

    key: str
    metavar: str
    many: bool = False
    more: str = ""
    complete: Callable[[str], list[str]] | None = None


FLAGS = {
    "fine": Flag("fine.cube", "CUBE"),
    "coarse": Flag("coarse.cube", "CUBE"),
    "fine-folder": Flag("fine.folder", "FOLDER"),
    "coarse-folder": Flag("coarse.folder", "FOLDER"),
    "region": Flag("grid.region", "REGION"),
    "method": Flag(
        "method.name",
        "METHOD",
        more="Or the checkpoint of a fitted one.",
        complete=complete_method,
    ),
    "checkpoint": Flag("method.checkpoint", "FILE"),
    "output": Flag("fuse.output", "CUBE"),
    "start": Flag("fuse.start", "DAY"),
    "end": Flag("fuse.end", "DAY"),
    "withhold": Flag("fuse.withhold", "DAY", many=True, more="May be repeated."),
    "workers": Flag("cluster.workers", "N"),
}


def flag_parameters(names: Iterable[str]) -> list[inspect.Parameter]:
    """Return the parameters that typer makes flags of."""
    found = []
    for name in names:
        flag = FLAGS[name]
        option = typer.Option(
            f"--{name}", metavar=flag.metavar, autocompletion=flag.complete, help=f"[{flag.key}]"
        )
        kind = list[str] | None if flag.many else str | None
        found.append(
            inspect.Parameter(
                name.replace("-", "_"),
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind, option],
            )
        )
    return found


def help_of(name: str) -> str:
    """Return what a flag means, from the documentation of its key."""
    from biastf_xr._keys import leaf_keys
    from biastf_xr.config import Config

    flag = FLAGS[name]
    key = leaf_keys(Config)[flag.key]
    default = "" if key.default in (None, (), dataclasses.MISSING) else f"; default {key.default}"
    meaning = " ".join(key.meaning.replace("`", "").split())
    if name == "method":
        meaning = f"{meaning.rstrip('.')}: {', '.join(get_args(key.kind))}."
    return " ".join(filter(None, [meaning, flag.more, f"[{flag.key}{default}]"]))


def changes_of(typed: dict[str, Any], texts: Iterable[str] = ()) -> dict[str, Any]:
    """Return flags and the texts of `--set` as nested sections; `--set` has the last word."""
    from biastf_xr._keys import merged

    changes: dict[str, Any] = {}
    for name, value in typed.items():
        if name == "method" and value:
            one = value[0] if isinstance(value, list) else value
            changes = merged(changes, {"method": _method(one)})
        elif value:
            section, key = FLAGS[name.replace("_", "-")].key.split(".")
            changes = merged(changes, {section: {key: value}})
    for text in texts:
        changes = merged(changes, _parse(text))
    return changes


def read_settings(path: Path | None, changes: dict[str, Any]) -> Config:
    """Read the file, or none, with what was typed over it; show which keys have new names."""
    from biastf_xr.config import read_config
    from biastf_xr.errors import ConfigError

    if path is None:
        typed = {sensor: changes.get(sensor, {}) for sensor in ("fine", "coarse")}
        if not all(typed.values()) and not any("product" in about for about in typed.values()):
            raise ConfigError("give a configuration file, or --fine and --coarse.")
        for sensor, about in typed.items():
            if "product" not in about:  # a cube that is there
                there = {"product": "cube", "folder": ".", "cube": f"{sensor}.zarr"}
                changes = changes | {sensor: there | about}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DeprecationWarning)
        config = read_config(path, changes)
    for warning in caught:
        typer.secho(visible(f"warning: {warning.message}"), fg="yellow", err=True)
    return config


def _parse(text: str) -> dict[str, Any]:
    """Read ``--set``: section.key=value, the value as in TOML, or a plain word."""
    from biastf_xr.errors import ConfigError

    name, mark, value = text.partition("=")
    try:
        if mark and "." in name:
            return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        try:
            return tomllib.loads(f"{name} = {toml_text(value.strip())}")
        except tomllib.TOMLDecodeError:
            pass
    raise ConfigError(f"--set is {text!r}; expected section.key=value, as fuse.tile=512.")


def _method(text: str) -> dict[str, Any]:
    """Read ``--method``: a name, or the path of a checkpoint."""
    from biastf_xr.errors import ConfigError
    from biastf_xr.methods import METHODS, name_of_model

    if text in METHODS:
        return {"name": text}
    if not Path(text).exists():
        raise ConfigError(
            f"--method is {text!r}; expected one of {', '.join(METHODS)}, or the file of a fitted "
            "method."
        )
    return {"name": name_of_model(text), "checkpoint": text, "refit": "never"}
