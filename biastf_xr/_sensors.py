"""Bring the cubes of both sensors up to date, on grids that fit, and compare the sensors."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from biastf_xr.cube._cube import open_cube
from biastf_xr.cube._ingest import averaged, ingest
from biastf_xr.cube._quality import archive_shift, update_quality, why_no_shift
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import BiastfError, ConfigError
from biastf_xr.sources import build_product

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    import xarray as xr
    from odc.geo.geobox import GeoBox
    from odc.geo.geom import Geometry

    from biastf_xr.config import ClusterSection, Config, Source
    from biastf_xr.cube._ingest import IngestReport

    Progress = Callable[[str, int, int | None, str], None]

# Size of the coarse pixels where the coarse scenes have another CRS and no grid is stated.
COARSE_RESOLUTION = 480.0
# Scenes that are opened, at most, to find one in the zone of the region.
LOOKED_AT = 16


def ingest_both(
    config: Config, progress: Progress, *, overwrite: bool, dry_run: bool
) -> tuple[IngestReport, IngestReport, xr.Dataset | None, str]:
    """Ingest both sensors and compare them; with `shift = "auto"` correct what that measures.

    Returned: What was done to both, how well they agree, and what became of `shift = "auto"`.
    """
    if dry_run:
        look = partial(ingest_source, overwrite=overwrite, dry_run=True)
        return look(config.fine, "fine"), look(config.coarse, "coarse"), None, ""
    there = not overwrite and all(store_at(s.cube).exists() for s in (config.fine, config.coarse))
    if config.grid is None and not there:  # of cubes that are there it was checked
        _check_pixels(config)
    with _tasks_on(config.cluster) as executor:
        one = partial(ingest_source, executor=executor, progress=progress)
        fine_grid, coarse_grid = grids(config, anew=overwrite)
        fine = one(config.fine, "fine", fine_grid, overwrite=overwrite)
        new = overwrite or not store_at(config.coarse.cube).exists()
        if new and coarse_grid is None:
            coarse_grid = _grid_over(config, progress)
        source = config.coarse
        if source.shift == "auto":
            known = (0.0, 0.0) if new else _shift_of(source.cube)
            source = source.model_copy(update={"shift": known})
        coarse = one(source, "coarse", coarse_grid, overwrite=overwrite)
        pairs = _compare(config, progress)
        moved = ""
        if config.coarse.shift == "auto" and source.shift == (0.0, 0.0):
            shift = archive_shift(pairs) if pairs is not None else None
            if shift is None:
                moved = f'shift = "auto" moves nothing: {why_no_shift(pairs)}'
                progress("registration", 1, 1, moved)
            else:
                source = source.model_copy(update={"shift": tuple(round(v, 1) for v in shift)})
                moved = f"every coarse scene is moved by {source.shift} and ingested again"
                progress("registration", 1, 1, moved)
                grid = coarse_grid or _grid_around(source)
                coarse = one(source, "coarse", grid, overwrite=True)
                pairs = _compare(config, progress)
    return fine, coarse, pairs, moved


def ingest_source(
    source: Source,
    kind: Any,
    grid: GeoBox | None = None,
    *,
    executor: Executor | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring the cube of one sensor up to date with its archive."""
    if source.shift == "auto" and not dry_run:
        raise ConfigError('shift = "auto" is for the coarse sensor.')
    return ingest(
        build_product(source.product, **source.options),
        source.folder,
        source.cube,
        kind=kind,
        grid=grid,
        start=source.start,
        end=source.end,
        exclude=source.exclude,
        native_resolution=source.native_resolution,
        shift=(0.0, 0.0) if source.shift == "auto" else source.shift,
        resampling=source.resampling,
        overwrite=overwrite,
        dry_run=dry_run,
        executor=executor,
        progress=progress and (lambda name, n, total: progress(f"ingest {kind}", n, total, name)),
    )


def grids(config: Config, *, anew: bool = False) -> tuple[GeoBox | None, GeoBox | None]:
    """Return the fine and the coarse analysis grid; None where the scenes keep their pixels.

    `anew`: Whether a fine cube that is there is about to be replaced: if not, its zone and pixels
    are kept, whatever scenes have come since.
    """
    section = config.grid
    if section is None:
        return None, None
    from biastf_xr.grid import coarse_grid, fine_grid, read_region

    region = read_region(section.region)
    stated = section.crs != "scenes" and section.anchor is not None
    fine = fine_grid(
        region,
        crs=section.crs,
        resolution=section.resolution,
        anchor=section.anchor,
        scenes=None if stated else _pixels(config.fine, region, anew=anew),
    )
    return fine, coarse_grid(fine, resolution=section.coarse_resolution, margin=section.margin)


def _pixels(source: Source, region: Geometry, *, anew: bool) -> GeoBox | None:
    """Return the grid of the fine cube, or of a scene of the region; None if there is neither.

    Of scenes in several zones one in the zone of the region's centre, if there is one.
    """
    from biastf_xr.grid import central_zone, geobox_of, overlaps, zone_of

    if not anew and store_at(source.cube).exists():
        return geobox_of(open_cube(source.cube, chunks=None), "fine cube")
    first = None
    with suppress(BiastfError):  # which ingest says
        for grid in islice(scene_grids(source), LOOKED_AT):
            if overlaps(grid, region):
                zone = zone_of(grid.crs)
                if zone is None or zone[1] == central_zone(region):
                    return grid
                first = first or grid
    return first


def scene_grids(source: Source) -> Iterator[GeoBox]:
    """Return the grids of the scenes of a sensor that can be opened, one after another."""
    from biastf_xr.grid import geobox_of

    if source.product == "cube":
        return
    product = build_product(source.product, **source.options)
    for scene in product.find_scenes(source.folder):
        if not scene.problem:
            with suppress(BiastfError):
                yield geobox_of(product.open_scene(scene), f"scene {scene.id}", degrees=True)


@contextmanager
def _tasks_on(cluster: ClusterSection) -> Iterator[Executor | None]:
    """Yield where the tasks of an ingest run; None for threads of this process."""
    spec = cluster.spec()
    if spec.kind == "in-process" or (spec.kind == "local" and spec.workers is None):
        yield None
        return
    from biastf_xr.cluster import tasks_on_demand

    with tasks_on_demand(spec) as executor:
        yield executor


def _check_pixels(config: Config) -> None:
    """Check that the pixels of both sensors fit, before the first one is read."""
    from biastf_xr.grid import check_ratio, restated

    fine, coarse = (next(scene_grids(s), None) for s in (config.fine, config.coarse))
    if fine is not None and coarse is not None:
        coarse = restated(coarse, fine.crs)
        if coarse.crs == fine.crs:
            check_ratio(fine, averaged(coarse, config.coarse.native_resolution))


def _grid_over(config: Config, progress: Progress) -> GeoBox | None:
    """Return a coarse grid over the fine cube where the coarse scenes lie in another CRS.

    In the other half of its UTM zone they keep their pixels.
    """
    from biastf_xr.grid import coarse_grid, geobox_of, restated

    fine = geobox_of(open_cube(config.fine.cube, chunks=None), "fine cube")
    found = next(scene_grids(config.coarse), None)
    if found is None or found.crs == fine.crs:
        return None
    if (same := restated(found, fine.crs)).crs == fine.crs:
        return averaged(same, config.coarse.native_resolution)
    text = (
        f"coarse scenes lie in another CRS than the fine cube: brought to pixels of "
        f"{COARSE_RESOLUTION:g} m over it. A [grid] section chooses otherwise."
    )
    progress("grid", 1, 1, text)
    return coarse_grid(fine, resolution=COARSE_RESOLUTION)


def _shift_of(cube: str) -> tuple[float, float]:
    """Return the displacement that an earlier run measured and corrected."""
    x, y = open_cube(cube, chunks=None).attrs["biastf_shift"]
    return float(x), float(y)


def _grid_around(source: Source) -> GeoBox:
    """Return the coarse grid with its corner moved, grown so that it covers the fine one."""
    from biastf_xr.grid import geobox_of, shifted

    found = geobox_of(open_cube(source.cube, chunks=None), "coarse cube")
    assert source.shift != "auto"
    return shifted(found, *source.shift).pad(
        *(int(abs(v) // found.affine.a) + 1 for v in source.shift)
    )


def _compare(config: Config, progress: Progress) -> xr.Dataset | None:
    """Compare the two sensors on the days that both have."""
    return update_quality(
        config.fine.cube,
        config.coarse.cube,
        progress=lambda day, done, total: progress("compare the sensors", done, total, day),
    )
