"""Fuse lazily: an xarray Dataset whose chunks are units, for notebooks and small regions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._spec import SUSPECT
from biastf_xr.fusion._fusion import Fusion
from biastf_xr.fusion._kernel import (
    CoarseSeries,
    coarse_dates,
    coarse_window,
    fill_coarse,
    fuse_unit,
)
from biastf_xr.fusion._scene import prepare
from biastf_xr.methods import DEFAULT_METHOD

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr.fusion._plan import FusionRule, Unit
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
    fusion = Fusion.between(
        fine, coarse, None, method, dates=dates, withhold=(), tile=tile, chunk=tile, rule=rule,
        options=options,
    )  # fmt: skip
    return _graph(fusion, prepare(fusion.method, fusion.pair, fusion.plan))


def _graph(fusion: Fusion, states: dict[np.datetime64, Prepared]) -> xr.Dataset:
    """Build one delayed call per unit and put the results together."""
    import dask.array as da
    from dask.delayed import delayed

    pair, plan, method = fusion.pair, fusion.plan, fusion.method
    fine, coarse = stack(pair.fine, plan.bands, 0), stack(pair.coarse, plan.bands, 1)
    flags = stack(pair.fine, ("screen",), 0)[0] if "screen" in pair.fine else None
    variables = fusion.spec.variables
    parts: dict[str, dict[int, list[Any]]] = {name: {} for name in variables}
    run = delayed(_fuse_arrays, pure=True)
    for unit in plan.units():
        days = sorted({*unit.bracket.base_dates, *unit.bracket.targets} & set(pair.fine_days))
        padded = unit.tile.padded(method.fine_halo).clipped(plan.alignment.shape)
        window = coarse_window(unit, method, plan.alignment)
        span = coarse_dates(unit, pair.coarse_days, plan.rule)
        suspects = None
        if unit.bracket.observed and flags is not None:
            index = int(np.searchsorted(pair.fine_days, unit.bracket.targets[0]))
            suspects = flags[index, *unit.tile.slices] >= SUSPECT
        result = run(
            unit,
            method,
            {d: states[d].of(unit.dates) for d in unit.bracket.base_dates if d in states},
            {d: fine[:, int(np.searchsorted(pair.fine_days, d)), *padded.slices] for d in days},
            padded,
            CoarseSeries(pair.coarse_days[span], coarse[span][..., *window.slices], window),
            plan.alignment,
            plan.bands,
            plan.rule,
            suspects,
        )
        shape = (len(unit.bracket.targets), *unit.tile.shape)
        for name, variable in variables.items():
            part = da.from_delayed(result[name], shape, dtype=variable.fill.dtype)
            parts[name].setdefault(unit.number, []).append(part)
    ds = fusion.template()
    across = plan.tiles.counts[1]
    for name, of_tile in parts.items():
        # Every tile has the same brackets: nothing is left out for want of clear pixels.
        columns = [da.concatenate(of_tile[n]) for n in range(len(plan.tiles))]
        rows = [columns[i : i + across] for i in range(0, len(columns), across)]
        ds[name].data = da.block(rows)
    return ds


def stack(ds: xr.Dataset, bands: tuple[str, ...], axis: int) -> Any:
    """Return a cube as one lazy array (time, y, x) with an axis of bands.

    Parameters
    ----------
    ds : xarray.Dataset
        The cube.
    bands : tuple of str
        Its variables.
    axis : int
        Where the axis of bands goes.

    Returns
    -------
    dask.array.Array
        Four dimensions.
    """
    import dask.array as da

    arrays = [da.asarray(ds[band].transpose("time", "y", "x").data) for band in bands]
    return da.stack(arrays, axis=axis)


def _fuse_arrays(
    unit: Unit,
    method: Method,
    states: dict[np.datetime64, Prepared],
    images: dict[np.datetime64, Any],
    padded: Tile,
    series: CoarseSeries,
    alignment: Alignment,
    bands: tuple[str, ...],
    rule: FusionRule,
    suspects: Any,
) -> dict[str, NDArray[Any]]:
    """Fuse one unit from arrays in memory."""

    def read(day: np.datetime64, tile: Tile) -> Float:
        image: Float = np.asarray(images[day], np.float32)[:, *tile.within(padded)]
        return image

    over = None if suspects is None else lambda _day, _tile: np.asarray(suspects)
    series = replace(series, values=np.asarray(series.values, np.float32))
    coarse = fill_coarse(unit, series, rule, method.smoothing)
    fused = fuse_unit(unit, method, states, read, coarse, alignment, bands, over)
    return fused.variables(bands)
