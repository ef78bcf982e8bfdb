"""What was typed, turned into configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from biastf_xr.cli._command import VOICE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import typer

    from biastf_xr.config import Config, Source
    from biastf_xr.evaluation import Design

# Flags of `train` that only networks have.
NETWORK_FLAGS = ("epochs", "samples", "inputs", "weights", "denoise", "dates", "target", "balance",
                 "device", "precision", "start", "workers", "address")  # fmt: skip


def days(values: Iterable[datetime] | None) -> tuple[str, ...]:
    """Write dates as ISO texts.

    Parameters
    ----------
    values : iterable of datetime.datetime, optional
        As typer gives them.

    Returns
    -------
    tuple of str
        ISO dates.
    """
    return tuple(f"{v:%Y-%m-%d}" for v in values or ())


def given(context: typer.Context, names: Iterable[str]) -> list[str]:
    """Return which of these flags were typed."""
    return [
        f"--{name.replace('_', '-')}"
        for name in names
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]


def refuse_network_flags(context: typer.Context) -> None:
    """Refuse flags of `train` that biastf-plus would silently ignore."""
    from biastf_xr.errors import ConfigError

    typed = given(context, NETWORK_FLAGS)
    if typed:
        raise ConfigError(
            f"{', '.join(typed)}: biastf-plus has no network. Leave them out, or name "
            "--method biastf or stfdcnn."
        )


def read_settings(path: Path, context: typer.Context, *beside: str) -> Config:
    """Read the file; refuse flags that it would silently overrule."""
    from biastf_xr.config import read_config
    from biastf_xr.errors import ConfigError

    anyway = ("config", "dry_run", *VOICE, *beside)
    typed = given(context, [n for n in context.params if n not in anyway])
    if typed:
        allowed = ", ".join(f"--{name.replace('_', '-')}" for name in beside) or "no flag"
        raise ConfigError(
            f"{', '.join(typed)} beside {path}: expected {allowed} with a configuration file, "
            "which states everything else. Write it into the file, or leave the file out."
        )
    return read_config(path)


def settings_of_flags(fine: str | None, coarse: str | None, **sections: Any) -> Config:
    """Build a configuration from flags."""
    import pydantic

    from biastf_xr.config import Config, explain
    from biastf_xr.errors import ConfigError

    if fine is None or coarse is None:
        raise ConfigError("give a configuration file, or --fine and --coarse.")
    try:
        return Config.model_validate(
            {
                "fine": {"product": "cube", "folder": ".", "cube": fine},
                "coarse": {"product": "cube", "folder": ".", "cube": coarse},
                **sections,
            }
        )
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error)) from error


def fuse_section(
    output: str, start: datetime | None, end: datetime | None, withhold: Any, tile: int
) -> dict[str, Any]:
    """Build the section of what to predict."""
    from biastf_xr.cube.stores import locate

    return {
        "output": locate(output, Path()),
        "start": start and start.date(),
        "end": end and end.date(),
        "withhold": days(withhold),
        "tile": tile,
    }


def method_section(text: str, options: list[str] | None = None) -> dict[str, Any]:
    """Read ``--method``: a name, or the path of a checkpoint; and its ``--option``."""
    from biastf_xr.errors import ConfigError
    from biastf_xr.methods import METHODS, name_of_model

    if text in METHODS:
        return {"name": text, "options": options_of(options)}
    if options:
        raise ConfigError(
            f"--option {options[0]} beside the checkpoint {text}, which has its options. Leave it "
            "out, or name a method."
        )
    if not Path(text).exists():
        raise ConfigError(
            f"--method is {text!r}; expected one of {', '.join(METHODS)}, or the file of a fitted "
            "method."
        )
    return {"name": name_of_model(text), "checkpoint": Path(text), "refit": "never"}


def design_of(name: str | None, gap_days: int | None, parts: str | None) -> Design | None:
    """Read ``--design`` and its options; None where none is given."""
    from biastf_xr.errors import ConfigError
    from biastf_xr.evaluation._designs import design_named

    if name is None and gap_days is None and parts is None:
        return None
    shape = None
    if parts is not None:
        rows, mark, columns = parts.partition("x")
        if not (mark and rows.strip().isdecimal() and columns.strip().isdecimal()):
            raise ConfigError(f"--parts is {parts!r}; expected rows x columns, as 2x2.")
        shape = int(rows), int(columns)
    return design_named(name or "leave-one-out", gap_days=gap_days, parts=shape)


def options_of(texts: list[str] | None) -> dict[str, Any]:
    """Read ``--option``: name=value, the value as in TOML, or a plain word."""
    import tomllib

    from biastf_xr.errors import ConfigError

    options: dict[str, Any] = {}
    for text in texts or ():
        name, mark, value = text.partition("=")
        if not mark:
            raise ConfigError(f"--option is {text!r}; expected name=value, as window=31.")
        try:
            options |= tomllib.loads(f"{name} = {value}")
        except tomllib.TOMLDecodeError:
            options[name.strip()] = value.strip()
    return options


def point(text: str) -> tuple[float, float]:
    """Read ``--origin``: x,y."""
    from biastf_xr.errors import ConfigError

    try:
        x, y = (float(v) for v in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--origin is {text!r}; expected x,y.") from error
    return x, y


def source_of_flags(
    product: str | None,
    folder: str | None,
    cube: str | None,
    *,
    geotiff: dict[str, Any],
    native_resolution: float | None,
    exclude: Iterable[datetime] | None,
    option: list[str] | None,
) -> Source:
    """Build the section of one sensor from the flags of `ingest`."""
    import pydantic

    from biastf_xr.config import Source, explain
    from biastf_xr.cube.stores import locate
    from biastf_xr.errors import ConfigError

    if product is None or folder is None or cube is None:
        raise ConfigError("give a configuration file, or --product, --folder and --cube.")
    options = _geotiff_options(**geotiff) if product == "geotiff" else {}
    try:
        return Source(
            product=product,
            folder=folder,
            cube=locate(cube, Path()),
            native_resolution=native_resolution,
            exclude=tuple(v.date() for v in exclude or ()),
            options=options | options_of(option),
        )
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error)) from error


def _geotiff_options(
    *,
    pattern: str | None,
    bands: str | None,
    factor: float,
    nodata: float | None,
    crs: str | None,
    resolution: float | None,
    origin: str,
) -> dict[str, Any]:
    """Read the flags that only plain GeoTIFFs have."""
    from biastf_xr.errors import ConfigError

    if pattern is None or bands is None:
        raise ConfigError("product geotiff needs --pattern and --bands.")
    layers = [b.strip() for b in bands.split(",")]
    options: dict[str, Any] = {"pattern": pattern, "layers": layers, "factor": factor}
    if nodata is not None:
        options["nodata"] = nodata
    if crs is not None:
        if resolution is None:
            raise ConfigError("--crs states the grid only together with --resolution.")
        options["grid"] = {"crs": crs, "resolution": resolution, "origin": point(origin)}
    return options
