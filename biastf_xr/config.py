"""The one TOML file that drives every command: strict, every key documented by its field."""

from __future__ import annotations

import datetime as dt
import difflib
import re
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from biastf_xr._days import to_days
from biastf_xr._files import read_text, real
from biastf_xr._html import link
from biastf_xr._keys import known_keys, merged, taken
from biastf_xr._outside import clean
from biastf_xr._system import remedy
from biastf_xr._urls import is_url
from biastf_xr.brackets import MOST_LAYERS, BracketRule
from biastf_xr.cluster import ClusterSpec
from biastf_xr.cube.stores import locate, store_at
from biastf_xr.errors import BiastfError, ConfigError
from biastf_xr.fusion._plan import FusionRule
from biastf_xr.grid import Resampling  # noqa: TC001  (pydantic reads it)
from biastf_xr.methods import (
    DEFAULT_METHOD,
    LEARNED,
    METHODS,
    check_options,
    current_options,
    option_names,
)

# Dates are read as everywhere, not by pydantic, which takes numbers for seconds.
Day = Annotated[dt.date, BeforeValidator(lambda value: to_days(value, "this")[0].item())]

UpdateStep = Literal["ingest", "train", "fuse", "evaluate", "report", "export", "publish"]
UPDATE_STEPS: tuple[UpdateStep, ...] = get_args(UpdateStep)

# What to do about a path of Windows between double quotes.
BACKSLASH = (
    "In double quotes TOML takes a backslash for the start of a special character. Write paths of "
    "Windows in single quotes, as 'data\\fine', or with forward slashes, as \"data/fine\"."
)

# Keys that name a file, a folder or a store.
PLACES = ("fine.folder", "fine.cube", "coarse.folder", "coarse.cube", "grid.region",
          "method.checkpoint", "method.options.start", "fuse.output", "update.folder",
          "update.export", "update.publish")  # fmt: skip

# Old names of keys and sections, which are still read, and what they are called now.
RENAMED = {"nightly": "update"} | {
    f"update.max_age_{cube}": f"update.max_age.{cube}" for cube in ("fine", "coarse", "fused")
}
RENAMED |= {
    f"method.{name}": f"method.options.{name}"
    for name in ("seed", "start", "resume", "weights", "window", "upsampling", "denoise", "network",
                 "samples", "train")
}  # fmt: skip

# Keys of `[method]` that stay as they are where a flag names another method than the file.
OF_ANY_METHOD = ("checkpoint", "refit", "train_on", "device", "precision")

# Old keys that files hold for every method, and methods without such an option never read.
UNREAD = {"seed", "resume"}
UNREAD_UNTRAINED = UNREAD | {"start", "denoise", "network", "samples", "train"}


class Section(BaseModel):
    """A section of the file: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Yield the keys and their values without secrets, as a section shows itself."""
        yield from ((name, clean(value)) for name, value in super().__repr_args__())


class Source(Section):
    """Where the scenes of one sensor are, and the cube they become.

    Attributes
    ----------
    product : str
        What the scenes are, or "cube" for a cube that is there.
    folder : str
        Folder of the scenes, searched with its subfolders; for "stac" a catalogue or the URL of an
        API.
    cube : str
        The cube: a folder, a URL such as "s3://bucket/fine.zarr", or "icechunk://folder".
    start, end : datetime.date, optional
        First and last day to take.
    exclude : list of datetime.date
        Days to leave out, for instance with undetected cloud.
    native_resolution : float, optional
        True pixel size of coarse images that were delivered on a finer grid.
    shift : list of float, or "auto"
        How far to move every scene, [x, y] in units of its CRS; "auto", for the coarse sensor,
        measures it against the fine one.
    resampling : {"auto", "nearest", "bilinear", "cubic", "average"}
        How scenes with other pixels are brought to the grid.
    options : dict
        Options of the product, for instance ``mask_snow = true``; for "geotiff" its ``layers``,
        ``pattern``, ``factor``, ``nodata`` and ``grid``.
    """

    product: str
    folder: str
    cube: str
    start: Day | None = None
    end: Day | None = None
    exclude: tuple[Day, ...] = ()
    native_resolution: Annotated[float, Field(gt=0)] | None = None
    shift: tuple[float, float] | Literal["auto"] = (0.0, 0.0)
    resampling: Resampling = "auto"
    options: dict[str, Any] = Field(default_factory=dict)


class GridSection(Section):
    """The analysis grids, to which every scene is brought.

    Attributes
    ----------
    region : str or list of float
        [west, south, east, north] in degrees, across the 180th meridian with west > east, a GeoJSON
        file, "MGRS:55HBU" or "WRS:093084".
    crs : str
        "scenes" for that of the fine scenes, of several zones the one of the region's centre (south
        of the equator Landsat and HLS are in the northern zone, with negative northings); "utm" for
        the zone of the region's centre; or a projected CRS.  A fine cube that is there keeps its
        own.
    resolution : float
        Fine pixel size.
    anchor : float, or list of float, optional
        Pixel edges lie at whole multiples of the resolution plus this, or plus [x, y].  By default
        where those of the fine scenes lie, which are then copied, not interpolated.
    coarse_resolution : float
        Coarse pixel size; best a whole multiple of the fine one.
    margin : int
        Coarse pixels that the coarse grid has more than the fine one on every side.
    """

    region: str | tuple[float, float, float, float]
    crs: str = "scenes"
    resolution: Annotated[float, Field(gt=0)] = 30.0
    anchor: float | tuple[float, float] | None = None
    coarse_resolution: Annotated[float, Field(gt=0)] = 480.0
    margin: Annotated[int, Field(ge=1)] = 2


class MethodSection(Section):
    """How to fuse, and how a learned method is fitted.

    Attributes
    ----------
    name : str
        Name of the method.
    checkpoint : pathlib.Path
        Where a learned method is kept.
    refit : {"if-missing", "new-scenes", "never"}
        When `update` fits a learned method: where there is no checkpoint, or also whenever fine
        scenes arrive, which recomputes every date; "never" uses the checkpoint that is there.
    train_on : {"here", "cluster"}
        Who fits the networks: threads of this process, or the workers of `[cluster]`, one network
        each; the model has the same bytes.
    device : str
        Torch device that fuses, on every worker: "cpu", "cuda", "cuda:1"; training has its own,
        ``options.train.device``.
    precision : {"fp32", "bf16", "fp16"}
        Numbers of the convolutions that fuse; "fp16" on CUDA devices only.
    options : dict
        Options of the method: those of `biastf_xr.fit` for a learned one, of `biastf_xr.fuse` for
        the others, as ``similarity = "all"`` of "starfm"; the methods page lists them.
    """

    name: Literal[METHODS] = DEFAULT_METHOD  # type: ignore[valid-type]
    checkpoint: Path = Path("model.safetensors")
    refit: Literal["if-missing", "new-scenes", "never"] = "if-missing"
    train_on: Literal["here", "cluster"] = "here"
    device: str = "cpu"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    options: dict[str, Any] = Field(default_factory=dict)

    @pydantic.field_validator("options")
    @classmethod
    def _known_to_the_method(
        cls, options: dict[str, Any], info: pydantic.ValidationInfo
    ) -> dict[str, Any]:
        """Check the options against those of the method."""
        if "name" in info.data:
            options = current_options(info.data["name"], options)
            check_options(info.data["name"], options)
        return options

    @property
    def learned(self) -> bool:
        """Return whether the method needs fitting."""
        return self.name in LEARNED


class FuseSection(Section):
    """What to predict.

    Attributes
    ----------
    output : str
        The fused cube: a folder, a URL, or "icechunk://folder".
    start, end : datetime.date, optional
        First and last day; the coarse season by default.
    withhold : list of datetime.date
        Fine scenes that are neither trained on nor used, to score on.
    tile : int
        Largest shard, and the unit of work, in pixels.
    max_gap : int, optional
        Largest distance in days between a target and a base date; any by default.
    max_layers : int
        How many base dates to try on each side where the nearest is clouded.
    min_clear : float
        Smallest clear fraction of a fine scene that may serve as a base.
    coarse_gaps : {"fill", "leave"}
        Whether days and pixels without a clear coarse observation are filled in time or left out.
    coarse_max_gap : int
        Largest distance in days over which a coarse gap is filled in time.
    keep_observed : bool
        Whether clear pixels of a fine scene on a target date are kept as they are.
    screen : bool
        Whether `ingest` compares every fine observation with the other dates, and what is
        suspected of cloud or shadow is left out.
    """

    output: str = "fused.zarr"
    start: Day | None = None
    end: Day | None = None
    withhold: tuple[Day, ...] = ()
    tile: Annotated[int, Field(ge=16)] = 1024
    max_gap: Annotated[int, Field(gt=0)] | None = None
    max_layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)] = 4
    min_clear: Annotated[float, Field(ge=0, le=1)] = 0.2
    coarse_gaps: Literal["fill", "leave"] = "fill"
    coarse_max_gap: Annotated[int, Field(ge=0, le=254)] = 16
    keep_observed: bool = True
    screen: bool = True

    def rule(self) -> FusionRule:
        """Return the choices as the library takes them.

        Returns
        -------
        FusionRule
            The rule.
        """
        bracket = BracketRule(
            max_gap=self.max_gap, max_layers=self.max_layers, min_clear=self.min_clear
        )
        return FusionRule(
            bracket=bracket,
            coarse_gaps=self.coarse_gaps,
            coarse_max_gap=self.coarse_max_gap,
            keep_observed=self.keep_observed,
        )


class ClusterSection(Section):
    """Where to run.

    Attributes
    ----------
    kind : str
        Where the work is done: "in-process" (threads of this process), "local" (processes of this
        machine), "address" (a running scheduler), "cuda" (the GPUs of this machine), "slurm" or
        "pbs" (batch jobs), "kubernetes" (pods), "gateway" (wherever a Dask Gateway starts workers),
        or the import path of any class of Dask clusters, for instance "dask_jobqueue.SGECluster";
        ``class`` may be written for the last.
    address : str, optional
        Scheduler of a running Dask cluster, which makes the kind "address"; of kind "gateway" the
        URL of the gateway.
    workers : int, optional
        Worker processes to start; one per core or GPU of this machine by default.
    threads : int
        Units a worker has in hand: one computes while another reads or writes.
    memory : str
        Memory of a worker, for instance "16GiB"; "auto" shares out the machine's.
    gpu : bool
        Whether each worker owns one GPU, which it announces as the resource ``GPU``.
    options : dict
        Keywords of the backend's class, for instance ``queue = "gpu"``, and ``timeout``, the
        seconds to wait for the first worker.
    """

    kind: str = "local"
    address: str | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    threads: Annotated[int, Field(ge=1)] = 2
    memory: str = "auto"
    gpu: bool = False
    options: dict[str, Any] = Field(default_factory=dict)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _by_class(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "class" not in values:
            return values
        if "kind" in values:
            raise ValueError(
                f"class is {values['class']!r}, kind {values['kind']!r}: leave one out"
            )
        return {("kind" if key == "class" else key): value for key, value in values.items()}

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        self.spec()
        return self

    def spec(self) -> ClusterSpec:
        """Return the cluster as the library takes it.

        Returns
        -------
        ClusterSpec
            For `biastf_xr.cluster.connect`.
        """
        return ClusterSpec(**dict(self))


class MaxAge(Section):
    """How old the newest of each cube may be.

    Attributes
    ----------
    fine, coarse, fused : int, optional
        Days since the newest fine scene, coarse scene and fused day; any by default.
    """

    fine: Annotated[int, Field(ge=0)] | None = None
    coarse: Annotated[int, Field(ge=0)] | None = None
    fused: Annotated[int, Field(ge=0)] | None = None


class UpdateSection(Section):
    """The scheduled job, `biastf-xr update`.

    Attributes
    ----------
    folder : pathlib.Path, optional
        Where run records, log, status page and report go; by default `<fused cube>.nights` beside
        the fused cube, of a cube behind a URL in the folder of this file.
    steps : list of {"ingest", "train", "fuse", "evaluate", "report", "export", "publish"}
        What a run does, always in this order; "train" as `refit` says, "export" and "publish" where
        `export` and `publish` name a folder.
    keep : int
        Run records that are kept.
    weeks : int
        Weeks of the fused cube whose coverage the status page shows.
    min_clear : float
        Clear fraction of the newest scene that is scored where the file withholds none.
    max_age : MaxAge, optional
        Days that the newest of a cube may be old, for instance ``{ fine = 24, coarse = 5, fused =
        5 }``; older is a warning and exit code 1.
    max_error_ratio : float, optional
        Largest root mean square error of the newest scored scene over that of the better of
        "linear" and "direct"; more is a warning and exit code 1.
    max_rejected : int, optional
        Scenes of both archives that may be unusable; more is a warning and exit code 1.
    export : pathlib.Path, optional
        Folder for Cloud-Optimised GeoTIFFs of the days that were made.
    export_variables : list of str
        Variables to export; all bands by default.
    publish : pathlib.Path, optional
        Folder for a static STAC catalogue of the fused cube, brought up to date by every run.
    licence : str
        SPDX identifier of the licence that the catalogue states.
    handbook : str
        Address of the operations card, to which the status page links; http or https.
    """

    folder: Path | None = None
    steps: tuple[UpdateStep, ...] = UPDATE_STEPS
    keep: Annotated[int, Field(ge=1)] = 90
    weeks: Annotated[int, Field(ge=1, le=104)] = 6
    min_clear: Annotated[float, Field(gt=0, le=1)] = 0.7
    max_age: MaxAge = MaxAge()
    max_error_ratio: Annotated[float, Field(gt=0)] | None = None
    max_rejected: Annotated[int, Field(ge=0)] | None = None
    export: Path | None = None
    export_variables: tuple[str, ...] = ()
    publish: Path | None = None
    licence: str = "other"
    handbook: Annotated[str, AfterValidator(lambda value: link(value, "the handbook"))] = ""


class Config(Section):
    """The whole file.

    Attributes
    ----------
    fine, coarse : Source
        The two sensors.
    grid : GridSection, optional
        The analysis grids; without it the scenes' own pixels are kept where both sensors have one
        CRS.
    method : MethodSection
        How to fuse.
    fuse : FuseSection
        What to predict.
    cluster : ClusterSection
        Where to run.
    update : UpdateSection
        The scheduled job.
    """

    fine: Source
    coarse: Source
    grid: GridSection | None = None
    method: MethodSection = MethodSection()
    fuse: FuseSection = FuseSection()
    cluster: ClusterSection = ClusterSection()
    update: UpdateSection = UpdateSection()

    def fit_options(self) -> dict[str, Any]:
        """Return the options of a fit of the method.

        Returns
        -------
        dict
            For `biastf_xr.fit`, beside the cubes and the name of the method.
        """
        return {"base_rule": self.fuse.rule().bracket, **self.method.options}


def read_config(path: str | Path | None, changes: Mapping[str, Any] | None = None) -> Config:
    """Read a configuration file; relative paths are relative to its folder.

    Parameters
    ----------
    path : str or pathlib.Path, optional
        The TOML file; None for a configuration that is in `changes` alone.
    changes : mapping, optional
        Sections by name, whose values override those of the file. Their relative paths are
        relative to the working directory.

    Returns
    -------
    Config
        The configuration.

    Raises
    ------
    ConfigError
        If the file is missing, not TOML, or a key or value is not usable.

    Examples
    --------
    >>> from biastf_xr.config import read_config
    >>> read_config("region.toml", {"fuse": {"tile": 512}}).fuse.tile  # doctest: +SKIP
    512
    """
    if path is None:
        return build_config({}, None, changes)
    path = Path(path)
    try:
        text = read_text(path)
        data = tomllib.loads(text)
    except FileNotFoundError as error:
        raise ConfigError(
            f"no configuration at {path}. pipelines/regional_daily/config.toml is one to copy."
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} is no TOML file ({error}). {remedy(error)}.") from error
    except tomllib.TOMLDecodeError as error:
        advice = _slashes(text, error)
        raise ConfigError(f"{path} is not readable TOML: {error}.{advice}") from error
    return build_config(data, path, changes)


def _slashes(text: str, error: tomllib.TOMLDecodeError) -> str:
    """Return how to write a path of Windows, if that is what TOML could not read."""
    lines, told = text.splitlines(), re.search(r"line (\d+)", str(error))
    line = lines[int(told[1]) - 1] if told else lines[-1]
    return f" {BACKSLASH}" if "\\" in line else ""


def _refuse_control(data: Any, key: str = "") -> None:
    r"""Refuse texts in which TOML read a path of Windows as something else: "data\fine"."""
    if isinstance(data, Mapping):
        for name, value in data.items():
            if key != "cluster":  # whose texts may be scripts
                _refuse_control(value, f"{key}.{name}".lstrip("."))
    elif isinstance(data, list):
        for value in data:
            _refuse_control(value, key)
    elif isinstance(data, str) and re.search(r"[\x00-\x1f]", data):
        raise ConfigError(f"`{key}` is {data!r}, with a control character. {BACKSLASH}")


def build_config(
    data: dict[str, Any], path: Path | None, changes: Mapping[str, Any] | None = None
) -> Config:
    """Check the content of a configuration file; relative paths are relative to its folder.

    Parameters
    ----------
    data : dict
        Sections by name, as TOML gives them.
    path : pathlib.Path, optional
        Where the file is, or would be.
    changes : mapping, optional
        As for `read_config`.

    Returns
    -------
    Config
        The configuration.

    Raises
    ------
    ConfigError
        If a key or value is not usable.
    """
    where = f"{path}: " if path else ""
    data = _with_new_names(data)
    if changes:
        data = _changed(data, _with_new_names(changes))
    try:
        _refuse_control(data)
        config = Config.model_validate(data)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{where}{explain(error)}") from error
    except BiastfError as error:
        raise ConfigError(f"{where}{error}") from error
    return _resolve(config, path.resolve().parent if path else Path())


def _changed(data: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a file with other values; their paths are of the working directory."""
    for key in PLACES:
        _, value = taken(changes, *key.split("."))
        if isinstance(value, str | Path) and not _is_code(key, value):
            changes = merged(changes, _nested(key, locate(value, Path.cwd())))
    method = data.get("method", {})
    if isinstance(method, dict):
        named = method.get("name", MethodSection().name)
        if changes.get("method", {}).get("name", named) != named:  # keys chosen for another method
            data = data | {"method": {k: v for k, v in method.items() if k in OF_ANY_METHOD}}
    return merged(data, changes)


def _with_new_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return sections with the keys of old names under their new ones; warn of each."""
    found = dict(data)
    for old, new in RENAMED.items():
        found, value = taken(found, *old.split("."))
        if value is None:
            continue
        unread = _never_read(found, old)
        described = f"`{old}` means nothing to {unread!r}; leave it out" if unread else (
            f"`{old}` is `{new}` now; write that in its place"
        )  # fmt: skip
        warnings.warn(described, DeprecationWarning, stacklevel=4)
        if not unread:
            found = merged(_nested(new, value), found)  # of both names, the new one counts
    return found


def _never_read(data: Mapping[str, Any], key: str) -> str:
    """Return the method of a file if it has no such option as an old key, and never read it."""
    section, _, option = key.partition(".")
    method = data.get("method", {})
    name = method.get("name", DEFAULT_METHOD) if isinstance(method, dict) else ""
    if section != "method" or name not in METHODS or option in _heads(name):
        return ""
    return name if option in (UNREAD if name in LEARNED else UNREAD_UNTRAINED) else ""


def _heads(method: str) -> set[str]:
    """Return the options of a method, tables as one."""
    return {name.partition(".")[0] for name in option_names(method)}


def _nested(key: str, value: Any) -> dict[str, Any]:
    """Return the tables that hold the value of a key such as "fuse.tile"."""
    for part in reversed(key.split(".")):
        value = {part: value}
    found: dict[str, Any] = value
    return found


def _is_code(key: str, value: str | Path) -> bool:
    """Return whether a region is named by a code such as "MGRS:55HBU", not by a file."""
    return key == "grid.region" and ":" in str(value)


def explain(error: pydantic.ValidationError) -> str:
    """Return what is wrong with a configuration, naming the keys.

    Parameters
    ----------
    error : pydantic.ValidationError
        As raised by the sections.

    Returns
    -------
    str
        One sentence for all mistakes.
    """
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
            lines.append(f"unknown key `{where}`{_nearest(where)}")
        elif item["type"] == "missing":
            lines.append(f"missing key `{where}`")
        else:
            lines.append(f"`{where}`: {item['msg']} (got {item.get('input')!r})")
    return "; ".join(lines) + "."


def _nearest(key: str) -> str:
    """Return which key may be meant: one of the same name, else the one spelt most alike."""
    known = known_keys(Config)
    sections = {key.rpartition(".")[0] for key in known} - {""}
    name = key.rpartition(".")[2]
    alike = [k for k in known if k.rpartition(".")[2] == name] or difflib.get_close_matches(
        key, [*known, *sections], 1
    )
    if not alike:
        return ". Check its spelling and its section"
    return f"; did you mean {' or '.join(f'`{k}`' for k in alike)}?"


def _resolve(config: Config, folder: Path) -> Config:
    def source(s: Source) -> Source:
        where = s.folder if is_url(s.folder) else str(folder / s.folder)
        return s.model_copy(update={"folder": where, "cube": locate(s.cube, folder)})

    options = config.method.options
    if options.get("start") is not None:
        options = options | {"start": folder / options["start"]}
    method = config.method.model_copy(
        update={"checkpoint": folder / config.method.checkpoint, "options": options}
    )
    fuse = config.fuse.model_copy(update={"output": locate(config.fuse.output, folder)})
    changes = {
        "fine": source(config.fine),
        "coarse": source(config.coarse),
        "method": method,
        "fuse": fuse,
        "update": _resolve_update(config.update, fuse.output, folder),
    }
    grid = config.grid
    if grid and isinstance(grid.region, str) and not _is_code("grid.region", grid.region):
        changes["grid"] = grid.model_copy(update={"region": str(folder / grid.region)})
    return config.model_copy(update=changes)


def _resolve_update(section: UpdateSection, output: str, folder: Path) -> UpdateSection:
    """Return the scheduled job with its folders."""
    beside = folder / store_at(output).beside
    default = beside.with_name(f"{beside.name.removesuffix('.zarr')}.nights")
    place = real(folder / section.folder) if section.folder else default
    export = section.export and folder / section.export
    catalogue = section.publish and folder / section.publish
    return section.model_copy(update={"folder": place, "export": export, "publish": catalogue})
