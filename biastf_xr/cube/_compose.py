"""One window of one group of days: read the scenes, mask, resample, compose, write whole shards.

Everything here runs inside a task, next to the pixels: no scene is ever read whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._outside import visible
from biastf_xr._system import is_shortage, remedy, writing_to
from biastf_xr.cube._cube import write_window
from biastf_xr.cube._plausible import Spike, check_image, check_scale
from biastf_xr.cube.stores.base import open_group
from biastf_xr.errors import BiastfError, GridMismatchError, SceneError
from biastf_xr.grid import describe, geobox_of, plan_resampling, same_lattice, shifted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from biastf_xr.cube._spec import CubeSpec
    from biastf_xr.grid import Resampling, Tile
    from biastf_xr.sources.base import Product, Scene

# Memory that GDAL may keep of files it has read, in a process.
GDAL_CACHE = 64 * 2**20


@dataclass(frozen=True)
class IngestOptions:
    """What all tasks of an ingest share.  Small: it travels to the workers."""

    product: Product
    spec: CubeSpec
    lattice: GeoBox | None  # whose pixels scenes must share; None: they are resampled
    shift: tuple[float, float] = (0.0, 0.0)  # x and y by which scenes are moved, CRS units
    resampling: Resampling = "auto"  # to the cube's grid


@dataclass(frozen=True)
class Window:
    """The work of one task: the shards of a group of days at one tile."""

    times: slice  # the group's part of the time axis
    days: Mapping[int, tuple[Scene, ...]]  # by index, in the order of composition
    keep: bool  # whether other days of the group are in the cube and must stay
    tile: Tile


@dataclass
class WindowOutcome:
    """What a task found."""

    store: Any  # that it wrote through
    clear: dict[int, int] = field(default_factory=dict)  # clear pixels of days, by index
    scenes: dict[str, int] = field(default_factory=dict)  # clear pixels of scenes that reach it
    problems: dict[str, str] = field(default_factory=dict)  # by scene; then nothing is written


def ingest_window(
    job: IngestOptions, store: Any, window: Window, *, write: bool = True
) -> WindowOutcome:
    """Read, compose and write one window; or only try whether every scene can be read."""
    import rasterio

    outcome = WindowOutcome(store)
    images: dict[int, dict[str, NDArray[Any]]] = {}
    options = {"GDAL_CACHEMAX": GDAL_CACHE, **job.product.readable.options()}
    with rasterio.Env(**options, **job.product.gdal_options):
        for index, scenes in window.days.items():
            image = _compose(job, scenes, window.tile, outcome)
            outcome.clear[index] = int(image["clear"].sum())
            images[index] = image
    if write and not outcome.problems:
        with writing_to("the cube"):
            _write(job, store, window, images)
    return outcome


def _compose(
    job: IngestOptions, scenes: tuple[Scene, ...], tile: Tile, outcome: WindowOutcome
) -> dict[str, NDArray[Any]]:
    """Compose the scenes of a day: a pixel comes from the first scene that is clear there."""
    image = {name: np.full(tile.shape, v.fill) for name, v in job.spec.variables.items()}
    bands = np.stack([image[band] for band in job.spec.bands])
    for n, scene in enumerate(scenes, 1):
        try:
            read = _read(job, scene, tile)
        except Exception as error:  # noqa: BLE001  (files hold anything, and libraries raise it)
            outcome.problems[scene.id] = why_unusable(scene, error)
            continue
        if read is None:
            continue
        values, extras = read
        valid = np.isfinite(values).all(axis=0)
        outcome.scenes[scene.id] = int(valid.sum())
        take = valid & (image["source"] == 0)
        np.copyto(bands, values, where=take)
        image["source"][take] = n
        for name, layer in extras.items():
            image[name][take] = layer[take]
    image["clear"] = (image["source"] > 0).astype(np.uint8)
    return image | dict(zip(job.spec.bands, bands, strict=True))


def why_unusable(scene: Scene, error: Exception) -> str:
    """Return why a scene cannot be used; raise what is no fault of it, as the next would fail too.

    Raises
    ------
    SceneError
        If the machine lacks something.
    """
    if is_shortage(error):
        raise SceneError(
            f"scene {scene.id} cannot be read ({error.__cause__ or error}). {remedy(error)}, and "
            "run the same command again."
        ) from error
    if isinstance(error, BiastfError):
        return str(error)
    return visible(
        f"cannot be read ({type(error).__name__}: {error}). Download it again, or move it out of "
        "the folder."
    )


def _read(
    job: IngestOptions, scene: Scene, tile: Tile
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.uint8]]] | None:
    """Read the part of a scene that lies under a tile, on the tile's pixels; None if there is none.

    A pixel is clear in every band or missing in every band.
    """
    raw = job.product.open_scene(scene)
    found = geobox_of(raw, f"scene {scene.id}", degrees=job.lattice is None)
    source = shifted(found, *job.shift)
    _check_lattice(job, source)
    rows, cols = tile.slices
    plan = plan_resampling(source, job.spec.geobox[rows, cols], job.resampling)
    if plan is None:
        return None
    y, x = plan.window.slices
    part = _load(raw.isel(y=y, x=x), scene)
    ready = job.product.to_reflectance(part)
    values = np.stack([ready[b].values for b in job.spec.bands])
    remedy = partial(_say_missing, job, scene, part)
    clear = check_image(values, "its pixels", job.spec.bands, remedy, job.product.blanks(part))
    check_scale(values, "its pixels")
    np.copyto(values, np.float32(np.nan), where=~clear)
    extras = {
        name: plan.categories(ready[name].values, int(job.spec.variables[name].fill))
        for name in job.spec.extras
    }
    return plan(values), extras


def _say_missing(job: IngestOptions, scene: Scene, part: xr.Dataset, spike: Spike) -> str:
    """Name the file, the number in it, and the option that says what the number means."""
    band = job.spec.bands[spike.band or 0]
    number = f"{part[band].values[spike.at]:g}" if band in part else f"{spike.value:g}"
    file = scene.files.get(band) or " and ".join(sorted({str(f) for f in scene.files.values()}))
    if not hasattr(job.product, "nodata"):
        return f"{file} has {number} there. Download it again."
    if not spike.alike:
        return f"{file} has {number} in one of them. Give the scale, or valid_min and valid_max."
    keep = f" If it is measured: valid_min and valid_max around {number}."
    return (
        f"{file} has {number} there. If it stands for missing pixels, add nodata = {number} to the "
        f"options of the sensor.{keep if spike.band is None else ''}"
    )


def _load(part: xr.Dataset, scene: Scene) -> xr.Dataset:
    try:
        return part.load()
    except BiastfError:
        raise
    except OSError as error:
        raise SceneError(
            f"cannot be read ({error.__cause__ or error}): {_broken(part, scene)}. "
            "Download it again."
        ) from error


def _broken(part: xr.Dataset, scene: Scene) -> str:
    """Name the files that cannot be read; all of them where that is not known."""
    files = {n: f for n, f in scene.files.items() if n in part and not _readable(part[n])}
    names = sorted({str(f) for f in (files or scene.files).values()})
    return names[0] if len(names) == 1 else f"one of {names}"


def _readable(layer: xr.DataArray) -> bool:
    try:
        layer.load()
    except OSError:
        return False
    return True


def _check_lattice(job: IngestOptions, source: GeoBox) -> None:
    if job.lattice is None or same_lattice(source, job.lattice):
        return
    raise GridMismatchError(
        f"lies on {describe(source)}, the cube on {describe(job.lattice)}: other pixels. "
        "State the grid (`[grid]` with a region) to have every scene brought to it, or move the "
        "scene out of the folder."
    )


def _write(
    job: IngestOptions, store: Any, window: Window, images: Mapping[int, Mapping[str, NDArray[Any]]]
) -> None:
    """Write the days of a window; other days of its shards keep what they have."""
    start = window.times.start
    shape = (window.times.stop - start, *window.tile.shape)
    group = open_group(store, use_consolidated=False) if window.keep else None
    data = {}
    for name, (_, fill) in job.spec.variables.items():
        block = np.full(shape, fill)
        if group is not None:
            array: Any = group[name]
            block[...] = array[(window.times, *window.tile.slices)]
        for index, image in images.items():
            block[index - start] = image[name]
        data[name] = block
    write_window(store, window.times, window.tile, data)
