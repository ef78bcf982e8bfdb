"""The steps that make and keep cubes: ingest both sensors, on one grid, and compare them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from biastf_xr.errors import ConfigError, SceneError
from biastf_xr.steps.show_cubes import show_report
from biastf_xr.steps.terminal import console, progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    import xarray as xr
    from odc.geo.geobox import GeoBox

    from biastf_xr.config import ClusterSection, Config, GridSection, Source
    from biastf_xr.cube._ingest import IngestReport

# Coarse pixels of this size where the coarse scenes have another CRS and no grid is stated.
COARSE_RESOLUTION = 480.0


def ingest_step(
    config: Config, *, overwrite: bool = False, strict: bool = False
) -> tuple[IngestReport, IngestReport]:
    """Bring both cubes up to date with their archives, then compare the two sensors."""
    from biastf_xr.cube._quality import archive_shift

    with tasks_on(config.cluster) as executor:
        fine_grid, coarse_grid = grids(config.grid)
        fine = ingest_source(config.fine, "fine", fine_grid, executor, overwrite=overwrite)
        coarse_grid = coarse_grid or _grid_over(config, overwrite=overwrite)
        source = config.coarse.model_copy(
            update={"shift": _known_shift(config, overwrite=overwrite)}
        )
        coarse = ingest_source(source, "coarse", coarse_grid, executor, overwrite=overwrite)
        table = check_step(config)
        shift = archive_shift(table) if table is not None else None
        if config.coarse.shift == "auto" and shift is not None and source.shift == (0.0, 0.0):
            source = source.model_copy(update={"shift": tuple(round(v, 1) for v in shift)})
            console.print(f"every coarse scene is moved by {source.shift} and ingested again")
            grid = coarse_grid or _grid_around(config, source)
            coarse = ingest_source(source, "coarse", grid, executor, overwrite=True)
            check_step(config)
    rejected = fine.rejected | coarse.rejected
    if strict and rejected:
        raise SceneError(f"{len(rejected)} scenes were rejected: {sorted(rejected)[:5]}.")
    return fine, coarse


def grids(section: GridSection | None) -> tuple[GeoBox | None, GeoBox | None]:
    """Build the analysis grids."""
    if section is None:
        return None, None
    from biastf_xr.grid import coarse_grid, fine_grid, read_region

    fine = fine_grid(
        read_region(section.region),
        crs=section.crs,
        resolution=section.resolution,
        anchor=section.anchor,
    )
    return fine, coarse_grid(fine, resolution=section.coarse_resolution, margin=section.margin)


def _grid_over(config: Config, *, overwrite: bool) -> GeoBox | None:
    """Return a coarse grid over the fine cube where the coarse scenes lie in another CRS."""
    from biastf_xr.cube._cube import open_cube
    from biastf_xr.cube.stores import store_at
    from biastf_xr.grid import coarse_grid, geobox_of
    from biastf_xr.sources import build_product

    if store_at(config.coarse.cube).exists() and not overwrite:
        return None  # the cube keeps the grid that it has
    product = build_product(config.coarse.product, **config.coarse.options)
    fine = geobox_of(open_cube(config.fine.cube, chunks=None), "fine cube")
    for scene in product.find_scenes(config.coarse.folder):
        if scene.problem:
            continue
        try:
            found = geobox_of(product.open_scene(scene), scene.id)
        except SceneError:
            continue
        if found.crs == fine.crs:
            return None
        console.print(
            f"coarse scenes lie in another CRS than the fine cube: brought to pixels of "
            f"{COARSE_RESOLUTION:g} m over it. A [grid] section chooses otherwise.",
            markup=False,
        )
        return coarse_grid(fine, resolution=COARSE_RESOLUTION)
    return None


def _known_shift(config: Config, *, overwrite: bool) -> tuple[float, float]:
    """Return the displacement to correct: as stated, or as an earlier run measured it."""
    from biastf_xr.cube._cube import open_cube
    from biastf_xr.cube.stores import store_at

    if config.coarse.shift != "auto":
        return config.coarse.shift
    if overwrite or not store_at(config.coarse.cube).exists():
        return 0.0, 0.0
    x, y = open_cube(config.coarse.cube, chunks=None).attrs["biastf_shift"]
    return float(x), float(y)


def _grid_around(config: Config, source: Source) -> GeoBox:
    """Return the coarse grid with its corner moved, grown so that it covers the fine."""
    from biastf_xr.cube._cube import open_cube
    from biastf_xr.grid import geobox_of, shifted

    found = geobox_of(open_cube(config.coarse.cube, chunks=None), "coarse cube")
    assert source.shift != "auto"
    return shifted(found, *source.shift).pad(
        *(int(abs(v) // found.affine.a) + 1 for v in source.shift)
    )


def check_step(config: Config) -> xr.Dataset | None:
    """Compare the two sensors on the days that both have, and say what is in doubt."""
    from biastf_xr.cube._quality import explain, update_quality
    from biastf_xr.cube._spec import PAIR_FLAG

    with progress_bar("compare the sensors", "days") as advance:
        table = update_quality(
            config.fine.cube,
            config.coarse.cube,
            progress=lambda day, done, total: advance(done, total, day),
        )
    if table is None:
        console.print("no day is in both cubes: the sensors cannot be compared")
        return None
    flags = table["pair_flag"].values
    counts = {name: int((flags == value).sum()) for name, value in PAIR_FLAG.items()}
    told = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if n)
    console.print(f"pairs of one day: {told}")
    for name, consequence in (
        ("low_correlation", "left out of pairs"),
        ("shifted", 'correct it with `shift = "auto"` in [coarse]'),
    ):
        for day in table["time"].values[flags == PAIR_FLAG[name]]:
            text = f"{str(day)[:10]} {explain(table, day)}; {consequence}"
            console.print(text, highlight=False, soft_wrap=True)
    return table


@contextmanager
def tasks_on(cluster: ClusterSection) -> Iterator[Executor | None]:
    """Return where the tasks of an ingest run."""
    spec = cluster.spec()
    if spec.kind == "in-process" or (spec.kind == "local" and spec.workers is None):
        yield None
        return
    from biastf_xr.cluster import tasks_on_demand

    with tasks_on_demand(spec) as executor:
        yield executor


def ingest_source(
    source: Source,
    kind: Any,
    grid: GeoBox | None = None,
    executor: Executor | None = None,
    *,
    overwrite: bool = False,
) -> IngestReport:
    """Bring one sensor's cube up to date with its archive."""
    from biastf_xr.cube._ingest import ingest
    from biastf_xr.sources import build_product

    product = build_product(source.product, **source.options)
    if source.shift == "auto":
        raise ConfigError('shift = "auto" is for the coarse sensor.')
    with progress_bar(f"ingest {kind}", "scenes") as advance:
        report = ingest(
            product,
            source.folder,
            source.cube,
            kind=kind,
            grid=grid,
            start=str(source.start) if source.start else None,
            end=str(source.end) if source.end else None,
            exclude=tuple(map(str, source.exclude)),
            native_resolution=source.native_resolution,
            shift=source.shift,
            resampling=source.resampling,
            overwrite=overwrite,
            executor=executor,
            progress=lambda name, done, total: advance(done, total, name),
        )
    show_report(report, kind)
    return report
