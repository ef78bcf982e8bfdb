"""Fuse lazily: an xarray Dataset whose chunks are units, for notebooks and small regions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube.guards import CubePair, pair_cubes
from biastf_xr.cube.spec import CubeSpec, Layout
from biastf_xr.cube.template import build_template, history_line
from biastf_xr.fusion.kernel import CoarseSeries, coarse_dates, coarse_window, fuse_unit
from biastf_xr.fusion.plan import FusionPlan, FusionRule, Unit, build_plan
from biastf_xr.methods import get_method

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr.grid import Tile
    from biastf_xr.methods.base import Float, Method


def fuse(
    fine: xr.Dataset,
    coarse: xr.Dataset,
    method: str | Method = "direct",
    *,
    dates: Any = "daily",
    tile: int = 512,
    rule: FusionRule | None = None,
    **options: Any,
) -> xr.Dataset:
    """Predict the fine image of every date asked for.

    Lazy: nothing is read before the result is computed, and only what the result needs.  Any tile
    size gives the same values.

    Parameters
    ----------
    fine, coarse : xarray.Dataset
        Cubes as from `open_cube`: dims ``(time, y, x)``, one float32 variable per band in
        reflectance, NaN where missing.  The coarse cube lies on its own grid, or on the fine one.
    method : str or Method
        Name of a method that needs no training, or a fitted method from `fit` or `load_method`.
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
        the nearest base dates.  NaN where no clear pair is within reach.

    Raises
    ------
    MethodError
        If the method is unknown or not fitted.
    GridMismatchError, CubeStructureError, MissingPairError, TargetDateError
        If the cubes do not fit together or a date cannot be predicted.
    """
    built = get_method(method, **options)
    pair = pair_cubes(fine, coarse)
    plan = build_plan(pair, built, dates, rule)
    states = prepare_states(built, pair, plan)
    spec = fused_spec(pair, built, shard=tile)
    return _graph(pair, built, plan, states, spec, (tile, tile))


def prepare_states(method: Method, pair: CubePair, plan: FusionPlan) -> dict[Any, Any]:
    """Let a method look at the whole scene, once per pair of base dates.

    Parameters
    ----------
    method : Method
        The method.
    pair : CubePair
        The cubes.
    plan : FusionPlan
        The brackets.

    Returns
    -------
    dict
        State by layer; layers that need none are left out.
    """
    layers = {layer for bracket in plan.brackets for layer in bracket.layers}
    states = {layer: method.prepare(pair, layer) for layer in layers}
    return {layer: state for layer, state in states.items() if state is not None}


def fused_spec(pair: CubePair, method: Method, shard: int) -> CubeSpec:
    """Describe the cube that a fusion makes.

    Parameters
    ----------
    pair : CubePair
        The inputs.
    method : Method
        The method.
    shard : int
        Largest shard in pixels.

    Returns
    -------
    CubeSpec
        The structure, with provenance attributes.
    """
    shape = pair.alignment.shape
    described = method.describe()
    attrs = {
        "source": f"{pair.fine.attrs.get('source', 'fine cube')}, "
        f"{pair.coarse.attrs.get('source', 'coarse cube')}",
        "history": history_line(f"fused with {described['method']}"),
        "biastf_method": json.dumps(described, sort_keys=True),
    }
    layout = Layout.build("fused", shape, shard=shard)
    return CubeSpec("fused", pair.bands, pair.geobox, layout, attrs)


def fused_template(spec: CubeSpec, plan: FusionPlan) -> xr.Dataset:
    """Build the lazy, empty Dataset of a fused cube.

    Parameters
    ----------
    spec : CubeSpec
        As from `fused_spec`.
    plan : FusionPlan
        For the dates.

    Returns
    -------
    xarray.Dataset
        Lazy.
    """
    import xarray as xr

    before, after = plan.base_dates()
    coords = {
        "before": xr.Variable("time", before, {"long_name": "nearest base date before"}),
        "after": xr.Variable("time", after, {"long_name": "nearest base date after"}),
    }
    return build_template(spec, plan.targets, coords)


def _graph(
    pair: CubePair,
    method: Method,
    plan: FusionPlan,
    states: dict[Any, Any],
    spec: CubeSpec,
    tile: tuple[int, int],
) -> xr.Dataset:
    """Build one delayed call per unit and put its parts in their places."""
    import dask.array as da
    from dask.delayed import delayed

    fine, coarse = (_Stack.of(ds, plan.bands) for ds in (pair.fine, pair.coarse))
    names = [*plan.bands, *spec.masks]
    parts: dict[str, list[Any]] = {name: [] for name in names}
    run, shared = delayed(_fuse_arrays, pure=True), plan.shared()
    for unit in plan.units(tile):
        days = sorted({*unit.bracket.base_dates, *unit.bracket.targets} & set(fine.days))
        padded = unit.tile.padded(method.halo).clipped(plan.alignment.shape)
        window = coarse_window(unit, method, plan.alignment)
        span = coarse_dates(unit, coarse.days, plan.rule)
        layers = {k: v for k, v in states.items() if k in unit.bracket.layers}
        result = run(
            unit,
            method,
            layers,
            {day: fine.window(int(np.searchsorted(fine.days, day)), padded) for day in days},
            padded,
            coarse.days[span],
            coarse.window(span, window),
            window,
            shared,
        )
        shape = (len(unit.bracket.targets), *unit.tile.shape)
        for name in names:
            dtype = np.float32 if name in plan.bands else np.uint8
            parts[name].append(da.from_delayed(result[name], shape, dtype=dtype))
    ds = fused_template(spec, plan)
    across = -(-plan.alignment.shape[1] // tile[1])
    down = -(-plan.alignment.shape[0] // tile[0])
    for name in names:
        # Units come bracket by bracket, row by row.
        rows = [parts[name][i : i + across] for i in range(0, len(parts[name]), across)]
        ds[name].data = da.block([rows[i : i + down] for i in range(0, len(rows), down)])
    return ds


def _fuse_arrays(
    unit: Unit,
    method: Method,
    states: dict[Any, Any],
    images: dict[np.datetime64, Any],
    padded: Tile,
    days: Any,
    series: Any,
    window: Tile,
    plan: FusionPlan,
) -> dict[str, NDArray[Any]]:
    """Fuse one unit from arrays in memory."""

    def read(day: np.datetime64, tile: Tile) -> Float:
        rows = slice(tile.y0 - padded.y0, tile.y1 - padded.y0)
        cols = slice(tile.x0 - padded.x0, tile.x1 - padded.x0)
        image: Float = np.asarray(images[day], np.float32)[:, rows, cols]
        return image

    values = np.asarray(series, np.float32).swapaxes(0, 1)
    fused = fuse_unit(
        unit,
        method,
        states,
        read,
        CoarseSeries(days, values, window),
        plan.alignment,
        plan.bands,
        plan.rule,
    )
    return fused.variables(plan.bands)


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
