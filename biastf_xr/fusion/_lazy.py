"""Fuse lazily: an xarray Dataset whose chunks are units, for notebooks and small regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._guards import CubePair, pair_cubes
from biastf_xr.cube._spec import dtype_of
from biastf_xr.fusion._fusion import fused_spec, fused_template
from biastf_xr.fusion._kernel import (
    CoarseSeries,
    coarse_dates,
    coarse_window,
    fill_coarse,
    fuse_unit,
)
from biastf_xr.fusion._plan import FusionPlan, FusionRule, Unit, build_plan
from biastf_xr.fusion._scene import prepare
from biastf_xr.methods import DEFAULT_METHOD, ready_method

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr.cube._spec import CubeSpec
    from biastf_xr.grid import Alignment, Tile
    from biastf_xr.methods.base import Float, Method, Prepared


def fuse(
    fine: xr.Dataset,
    coarse: xr.Dataset,
    method: str | Method = DEFAULT_METHOD,
    *,
    dates: Any = "daily",
    tile: int = 512,
    rule: FusionRule | None = None,
    **options: Any,
) -> xr.Dataset:
    """Predict the fine image of every date asked for.

    Lazy: nothing is read before the result is computed, and only what the result needs; but a
    method that is fitted here, or looks at whole scenes first, reads for that at once.  Any tile
    size gives the same values.

    Parameters
    ----------
    fine, coarse : xarray.Dataset
        Cubes as from `open_cube`: dims ``(time, y, x)``, one float32 variable per band in
        reflectance, NaN where missing.  The coarse cube lies on its own grid, or on the fine one.
    method : str or Method
        Name of a method, or a fitted method from `fit` or `load_method`.  "biastf-plus" given by
        name is fitted first, which takes seconds; networks must be fitted before.
    dates : "daily" or array_like of dates
        "daily" is every day of the coarse season.
    tile : int
        Rows and columns of an output chunk.
    rule : FusionRule, optional
        How base dates and coarse gaps are dealt with.
    **options
        Options of a method given by name.

    Returns
    -------
    xarray.Dataset
        Lazy, on the fine grid: the bands; ``status_flag`` (how each pixel was made);
        ``coarse_gap`` (days to the coarse observation used); coordinates ``before`` and ``after``,
        the nearest base dates.  NaN where no clear pair is within reach.  A chunk in time is a run
        of dates with the same base dates, so chunks differ in length: ``.chunk(time=1)`` before
        ``to_zarr``, or `biastf_xr.write_fused`, which goes from store to store.

    Raises
    ------
    MethodError
        If the method is unknown or not fitted.
    GridMismatchError, CubeStructureError, MissingPairError, TargetDateError
        If the cubes do not fit together or a date cannot be predicted.

    Examples
    --------
    >>> import biastf_xr
    >>> fine, coarse = biastf_xr.open_cube("fine.zarr"), biastf_xr.open_cube("coarse.zarr")
    >>> daily = biastf_xr.fuse(fine, coarse, "direct")
    >>> daily["nir"].dims, daily.sizes["time"]
    (('time', 'y', 'x'), 48)
    >>> day = daily["status_flag"].sel(time="2021-04-10").compute()  # only what this day needs
    """
    pair = pair_cubes(fine, coarse)
    built = ready_method(method, pair, rule.bracket if rule else None, options).bind(pair)
    plan = build_plan(pair, built, dates, rule, tile=(tile, tile))
    states = prepare(built, pair, plan)
    return _graph(pair, built, plan, states, fused_spec(pair, built, shard=tile))


def _graph(
    pair: CubePair,
    method: Method,
    plan: FusionPlan,
    states: dict[np.datetime64, Prepared],
    spec: CubeSpec,
) -> xr.Dataset:
    """Build one delayed call per unit and put the results together."""
    import dask.array as da
    from dask.delayed import delayed

    fine, coarse = (_Stack.of(ds, plan.bands) for ds in (pair.fine, pair.coarse))
    types = dict.fromkeys(plan.bands, "float32")
    types |= {name: dtype_of(attrs) for name, attrs in spec.masks.items()}
    types |= dict.fromkeys(spec.sigmas, "float32")
    parts: dict[str, dict[int, list[Any]]] = {name: {} for name in types}
    run = delayed(_fuse_arrays, pure=True)
    for unit in plan.units():
        days = sorted({*unit.bracket.base_dates, *unit.bracket.targets} & set(fine.days))
        padded = unit.tile.padded(method.fine_halo).clipped(plan.alignment.shape)
        window = coarse_window(unit, method, plan.alignment)
        span = coarse_dates(unit, coarse.days, plan.rule)
        result = run(
            unit,
            method,
            {d: states[d].of(unit.dates) for d in unit.bracket.base_dates if d in states},
            {day: fine.window(int(np.searchsorted(fine.days, day)), padded) for day in days},
            padded,
            coarse.days[span],
            coarse.window(span, window),
            window,
            plan.alignment,
            plan.bands,
            plan.rule,
        )
        shape = (len(unit.bracket.targets), *unit.tile.shape)
        for name, dtype in types.items():
            part = da.from_delayed(result[name], shape, dtype=dtype)
            parts[name].setdefault(unit.number, []).append(part)
    ds = fused_template(spec, plan)
    across = plan.tiles.counts[1]
    for name, of_tile in parts.items():
        # Every tile has the same brackets: nothing is left out for want of clear pixels.
        columns = [da.concatenate(of_tile[n]) for n in range(len(plan.tiles))]
        rows = [columns[i : i + across] for i in range(0, len(columns), across)]
        ds[name].data = da.block(rows)
    return ds


def _fuse_arrays(
    unit: Unit,
    method: Method,
    states: dict[np.datetime64, Prepared],
    images: dict[np.datetime64, Any],
    padded: Tile,
    days: Any,
    series: Any,
    window: Tile,
    alignment: Alignment,
    bands: tuple[str, ...],
    rule: FusionRule,
) -> dict[str, NDArray[Any]]:
    """Fuse one unit from arrays in memory."""

    def read(day: np.datetime64, tile: Tile) -> Float:
        rows = slice(tile.y0 - padded.y0, tile.y1 - padded.y0)
        cols = slice(tile.x0 - padded.x0, tile.x1 - padded.x0)
        image: Float = np.asarray(images[day], np.float32)[:, rows, cols]
        return image

    values = np.asarray(series, np.float32).swapaxes(0, 1)
    coarse = fill_coarse(unit, CoarseSeries(days, values, window), rule, method.smoothing)
    return fuse_unit(unit, method, states, read, coarse, alignment, bands).variables(bands)


@dataclass(frozen=True)
class _Stack:
    """The bands of a cube as one lazy array (band, time, y, x)."""

    days: NDArray[np.datetime64]
    data: Any

    @classmethod
    def of(cls, ds: xr.Dataset, bands: tuple[str, ...]) -> _Stack:
        import dask.array as da

        arrays = [da.asarray(ds[band].transpose("time", "y", "x").data) for band in bands]
        return cls(ds["time"].values.astype("datetime64[D]"), da.stack(arrays))

    def window(self, time: int | NDArray[np.intp], tile: Tile) -> Any:
        rows, cols = tile.slices
        return self.data[:, time, rows, cols]
