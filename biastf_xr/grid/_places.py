"""The pixels of a cube at given places: the nearest, if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.errors import GridMismatchError
from biastf_xr.grid._alignment import ALIGNMENT_TOLERANCE, crs_name
from biastf_xr.grid._zones import LONLAT, up_to

if TYPE_CHECKING:
    import xarray as xr


def pixels_at(
    ds: xr.Dataset, what: str, *, x: Any, y: Any, of: xr.Dataset | None = None
) -> xr.Dataset:
    """Return the pixels in which places lie; refuse places outside the cube.

    `what`: Name of the cube in error messages, for instance "fine cube".
    `x`, `y`: One place in units of the CRS, or the coordinates of rows and columns of them.
    `of`: The cube in whose CRS the places are; by default `ds`.
    """
    import odc.geo.xr  # noqa: F401  (registers the .odc accessor)

    own, crs = ds.odc.crs, None if of is None else of.odc.crs
    if crs is not None and own is not None and crs != own:
        up = up_to(crs, own)
        if up is None:
            raise GridMismatchError(
                f"{what} lies in {crs_name(own)}, the places in {crs_name(crs)}; expected one CRS."
            )
        y = y + up
    places, reach = {"x": x, "y": y}, _reach(ds)
    for name, (low, high, step) in reach.items():
        slack = ALIGNMENT_TOLERANCE * step
        if np.min(places[name]) < low - slack or np.max(places[name]) > high + slack:
            raise GridMismatchError(_outside(what, places, reach, own))
    found: xr.Dataset = ds.sel(places, method="nearest")
    return found


def _reach(ds: xr.Dataset) -> dict[str, tuple[float, float, float]]:
    """Return where the pixels of both axes begin and end, and their size."""
    centres = {name: ds[name].values.astype(float) for name in ("x", "y")}
    steps = {name: float(np.abs(np.diff(v)).max()) for name, v in centres.items() if v.size > 1}
    reach = {}
    for name, values in centres.items():
        step = steps.get(name, max(steps.values(), default=0.0))
        reach[name] = float(values.min() - step / 2), float(values.max() + step / 2), step
    return reach


def _outside(what: str, places: Any, reach: dict[str, tuple[float, float, float]], crs: Any) -> str:
    at, have = (
        " and ".join(f"{name} {text}" for name, text in parts)
        for parts in (
            ((name, _span(np.min(v), np.max(v))) for name, v in places.items()),
            ((name, _span(*v[:2])) for name, v in reach.items()),
        )
    )
    text = f"{at} is outside {what}, which has {have} in {crs_name(crs)}."
    x, y = places["x"], places["y"]
    if crs is None or not crs.projected or np.ndim(x) or abs(x) > 180 or abs(y) > 90:
        return text
    from odc.geo import CRS

    there = CRS(LONLAT).transformer_to_crs(crs)(x, y)
    return f"{text} If these are degrees: they are x {there[0]:.0f}, y {there[1]:.0f}."


def _span(low: float, high: float) -> str:
    return f"{low:.10g}" if low == high else f"{low:.10g} to {high:.10g}"
