"""Fuse from Zarr to Zarr: every worker reads its own windows and writes whole shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube.guards import CubePair, pair_cubes
from biastf_xr.cube.spec import to_days
from biastf_xr.cube.store import open_cube, window_reader, write_window
from biastf_xr.cube.stores import locate, store_at
from biastf_xr.cube.template import write_template
from biastf_xr.errors import ConfigError, FusionRunError, TargetDateError
from biastf_xr.fusion.kernel import CoarseSeries, coarse_dates, coarse_window, fuse_unit
from biastf_xr.fusion.lazy import fused_spec, fused_template, prepare_states
from biastf_xr.fusion.plan import FusionPlan, FusionRule, Unit, build_plan
from biastf_xr.methods import get_method

if TYPE_CHECKING:
    from distributed import Client
    from numpy.typing import NDArray

    from biastf_xr.grid import Tile
    from biastf_xr.methods.base import Float, Method

# Called after every unit with the number done and the number in all.
RunProgress = Callable[[int, int], None]

# Units handed to the cluster per worker thread before the first is done.
IN_FLIGHT = 3


@dataclass(frozen=True)
class Job:
    """What every unit of a run shares.  Small: it travels to the workers.

    Attributes
    ----------
    fine, coarse : str
        The stores to read.
    output : zarr.abc.store.Store
        The store to write.
    method : Method
        The method.
    states : dict
        What it prepared.
    plan : FusionPlan
        The plan, without its brackets (each unit carries its own).
    """

    fine: str
    coarse: str
    output: Any
    method: Method
    states: dict[Any, Any]
    plan: FusionPlan


def write_fused(
    fine: str | Path,
    coarse: str | Path,
    output: str | Path,
    method: str | Method = "direct",
    *,
    dates: Any = "daily",
    withhold: Any = (),
    tile: int = 1024,
    rule: FusionRule | None = None,
    client: Client | None = None,
    overwrite: bool = False,
    progress: RunProgress | None = None,
    **options: Any,
) -> str:
    """Fuse two stores into a third.

    Eager.  One task per output tile and bracket reads its own window with halo, computes all
    target dates together and writes whole shards; no pixel travels between workers.  The store
    appears when it is complete; if a unit fails, nothing is published.

    Parameters
    ----------
    fine, coarse : str or pathlib.Path
        The cubes; every worker must be able to read them.
    output : str or pathlib.Path
        The store to write: plain Zarr, in a folder or behind a URL.
    method : str or Method
        Name of a method that needs no training, or a fitted method.
    dates : "daily" or array_like of dates
        "daily" is every day of the coarse season.
    withhold : array_like of dates
        Fine scenes that must not be used, for scoring.
    tile : int
        Largest shard, and the unit of work, in pixels.
    rule : FusionRule, optional
        How base dates and coarse gaps are dealt with.
    client : distributed.Client, optional
        Cluster to run on, as from `biastf_xr.cluster.connect`; without one the units run one after
        another in this process.
    overwrite : bool
        Replace a store that is there.
    progress : callable, optional
        Called after every unit.
    **options
        Options of a method given by name.

    Returns
    -------
    str
        The store.

    Raises
    ------
    CubeExistsError
        If the output is there and may not be replaced.
    FusionRunError
        If a unit failed.
    MethodError, GridMismatchError, CubeStructureError, MissingPairError, TargetDateError
        If the inputs do not fit together.
    """
    fine, coarse, output = (locate(p, Path()) for p in (fine, coarse, output))
    store = store_at(output)
    if not store.consolidated:
        raise ConfigError(
            f"{output} is an Icechunk repository; fused cubes are written to plain Zarr. "
            "Choose a folder, or a URL such as s3://bucket/fused.zarr."
        )
    built = get_method(method, **options)
    pair, plan = plan_run(fine, coarse, built, dates=dates, withhold=withhold, rule=rule)
    spec = fused_spec(pair, built, shard=tile)
    states = prepare_states(built, pair, plan)
    with store.lock(), store.build("fused", replace=overwrite) as edit:
        write_template(fused_template(spec, plan), spec, edit.store)
        job = Job(fine, coarse, edit.fork(), built, states, plan.shared())
        units = list(plan.units(spec.layout.shards[1:]))
        if client is None:
            _run_here(job, units, progress)
        else:
            _run_on_cluster(client, job, units, progress)
    return output


def plan_run(
    fine: str | Path,
    coarse: str | Path,
    method: Method,
    *,
    dates: Any = "daily",
    withhold: Any = (),
    rule: FusionRule | None = None,
) -> tuple[CubePair, FusionPlan]:
    """Check the inputs of a run and decide what it will do; reads metadata only.

    Parameters
    ----------
    fine, coarse : str or pathlib.Path
        The cubes.
    method : Method
        The method.
    dates : "daily" or array_like of dates
        Dates to predict.
    withhold : array_like of dates
        Fine scenes that must not be used.
    rule : FusionRule, optional
        How inputs are chosen.

    Returns
    -------
    CubePair
        The cubes, without the withheld scenes.
    FusionPlan
        The plan.
    """
    cube = drop_days(open_cube(fine, chunks=None), withhold)
    pair = pair_cubes(cube, open_cube(coarse, chunks=None))
    return pair, build_plan(pair, method, dates, rule)


def drop_days(ds: Any, days: Any) -> Any:
    """Take dates out of a cube, so that nothing downstream can read them.

    Parameters
    ----------
    ds : xarray.Dataset
        The cube.
    days : array_like of dates
        Dates to drop.

    Returns
    -------
    xarray.Dataset
        The cube without them, lazy.

    Raises
    ------
    TargetDateError
        If a date is not in the cube.
    """
    drop = to_days(np.asarray(list(days), "datetime64[ns]"))
    have = to_days(ds["time"].values)
    missing = drop[~np.isin(drop, have)]
    if missing.size:
        raise TargetDateError(
            f"cannot withhold {', '.join(map(str, missing))}: the fine cube has no scene that day. "
            f"It has {', '.join(map(str, have[:20]))}{' ...' if have.size > 20 else ''}."
        )
    return ds.isel(time=np.flatnonzero(~np.isin(have, drop)))


def run_unit(job: Job, unit: Unit) -> int:
    """Read, fuse and write one unit; runs on a worker.

    Parameters
    ----------
    job : Job
        What all units share.
    unit : Unit
        The unit.

    Returns
    -------
    int
        Pixels and dates written.
    """
    bands, plan = job.plan.bands, job.plan
    read_fine, fine_days = _open(job.fine, bands)
    read_coarse, coarse_days = _open(job.coarse, bands)
    window = coarse_window(unit, job.method, plan.alignment)
    span = coarse_dates(unit, coarse_days, plan.rule)
    series = CoarseSeries(coarse_days[span], read_coarse(span, window).swapaxes(0, 1), window)

    def read(day: np.datetime64, tile: Tile) -> Float:
        """Read one fine image."""
        image: Float = read_fine(int(np.searchsorted(fine_days, day)), tile)
        return image

    fused = fuse_unit(unit, job.method, job.states, read, series, plan.alignment, bands, plan.rule)
    write_window(job.output, unit.times, unit.tile, fused.variables(bands))
    return int(fused.status_flag.size)


@lru_cache(maxsize=8)
def _open(path: str, bands: tuple[str, ...]) -> tuple[Any, NDArray[np.datetime64]]:
    """Open a store's arrays once per process."""
    days = to_days(open_cube(path, chunks=None, days="all")["time"].values)
    return window_reader(path, bands), days


def _run_here(job: Job, units: list[Unit], progress: RunProgress | None) -> None:
    for done, unit in enumerate(units, 1):
        run_unit(job, unit)
        if progress:
            progress(done, len(units))


def _run_on_cluster(
    client: Client, job: Job, units: list[Unit], progress: RunProgress | None
) -> None:
    """Keep a few units per thread in flight, so that the scheduler never holds the whole run."""
    from distributed import as_completed

    shared = client.scatter(job, broadcast=True, hash=False)
    threads = max(sum(client.nthreads().values()), 1)
    queue: Iterator[Unit] = iter(units)

    def submit(unit: Unit) -> Any:
        return client.submit(run_unit, shared, unit, pure=False, retries=1)

    first = [submit(u) for u in islice(queue, threads * IN_FLIGHT)]
    running = as_completed(first, loop=client.loop)
    failed: list[str] = []
    for done, future in enumerate(running, 1):
        if future.status == "error":
            failed.append(f"{type(future.exception()).__name__}: {future.exception()}")
        future.release()
        if progress:
            progress(done, len(units))
        following = next(queue, None) if not failed else None
        if following is not None:
            running.add(submit(following))
    if failed:
        raise FusionRunError(
            f"{len(failed)} of {len(units)} units failed; nothing was published. "
            f"The first: {failed[0]}"
        )
