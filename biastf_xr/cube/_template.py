"""Build the empty store of a cube: all metadata and coordinates, no pixels."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._encoding import encoding_of
from biastf_xr.cube._spec import (
    PAIR_FLAG,
    STRUCTURE_VERSION,
    CubeSpec,
    band_attrs,
    dtype_of,
    fill_of,
    sigma_of,
    to_days,
)
from biastf_xr.errors import GridMismatchError
from biastf_xr.version import __version__

if TYPE_CHECKING:
    import xarray as xr
    import zarr

TITLES = {
    "fine": "Fine-resolution surface reflectance",
    "coarse": "Coarse-resolution surface reflectance",
    "fused": "Daily fine-resolution surface reflectance by spatio-temporal fusion",
}


def build_template(spec: CubeSpec, times: Any, coords: dict[str, Any] | None = None) -> xr.Dataset:
    """Build the lazy Dataset that has a cube's structure and no data.

    `coords`: More coordinates along ``time``, for instance ``before`` and ``after``.
    """
    import dask.array as da
    import xarray as xr
    from odc.geo.xr import xr_coords

    days = to_days(times).astype("datetime64[s]")
    shape = (days.size, *spec.shape)
    grid = dict(xr_coords(spec.geobox))
    masks = spec.masks
    floats = {
        band: band_attrs(band, [*masks, *([sigma_of(band)] if spec.uncertain else [])])
        for band in spec.bands
    } | spec.sigmas
    data = {
        band: xr.Variable(
            ("time", "y", "x"),
            da.full(shape, np.float32(np.nan), chunks=shape),
            attrs,
        )
        for band, attrs in floats.items()
    }
    for mask, attrs in masks.items():
        empty = da.full(shape, fill_of(attrs), dtype=dtype_of(attrs), chunks=shape)
        shown = {k: v for k, v in attrs.items() if not k.startswith("_")}
        data[mask] = xr.Variable(("time", "y", "x"), empty, shown)
    for variable in data.values():
        # In the encoding, so that a plain xr.open_zarr puts spatial_ref among the coordinates.
        variable.encoding["grid_mapping"] = "spatial_ref"
        variable.encoding["coordinates"] = "spatial_ref"
    time = xr.Variable("time", days, {"standard_name": "time", "long_name": "day of observation"})
    if spec.kind != "fused":
        coords = _day_coords(days.size, spec.kind) | (coords or {})
    ds = xr.Dataset(data, coords={"time": time, **grid, **(coords or {})})
    ds["y"].attrs.update(standard_name="projection_y_coordinate", axis="Y")
    ds["x"].attrs.update(standard_name="projection_x_coordinate", axis="X")
    ds.attrs = cube_attrs(spec)
    return ds


def _day_coords(days: int, kind: str) -> dict[str, Any]:
    """Build the coordinates of fine and coarse cubes along their days; as unwritten."""
    import xarray as xr

    fraction = {
        "long_name": "clear fraction of the day's scenes; NaN without a scene",
        "units": "1",
    }
    scenes = {"long_name": "ids of the day's scenes, in the order in which they were composed"}
    coords = {
        "clear_fraction": xr.Variable("time", np.full(days, np.nan, np.float32), fraction),
        "scenes": xr.Variable("time", np.full(days, "", np.dtypes.StringDType()), scenes),
    }
    if kind != "fine":
        return coords
    pair = {
        "long_name": "whether the fine and the coarse image of the day agree",
        "flag_values": list(PAIR_FLAG.values()),
        "flag_meanings": " ".join(PAIR_FLAG),
    }
    return coords | {"pair_flag": xr.Variable("time", np.zeros(days, np.uint8), pair)}


def cube_attrs(spec: CubeSpec) -> dict[str, Any]:
    """Return the attributes of a whole cube."""
    crs = spec.geobox.crs
    if crs is None:
        raise GridMismatchError("the cube's grid has no CRS; state one when ingesting.")
    code = {"proj:code": f"EPSG:{crs.epsg}"} if crs.epsg else {"proj:wkt2": crs.to_wkt()}
    return {
        "Conventions": "CF-1.11",
        "title": TITLES[spec.kind],
        "references": "https://doi.org/10.1007/s11432-019-2805-y",
        "biastf_kind": spec.kind,
        "biastf_structure": STRUCTURE_VERSION,
        "biastf_version": __version__,
        **code,
        "spatial:transform": list(spec.geobox.affine)[:6],
        "spatial:shape": list(spec.shape),
        **spec.attrs,
    }


def history_line(text: str) -> str:
    """Stamp one line of a cube's history."""
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ} biastf_xr {__version__}: {text}"


def add_history(group: zarr.Group, text: str) -> None:
    """Add a line to the history of a cube."""
    lines = [*str(group.attrs.get("history", "")).splitlines(), history_line(text)]
    group.attrs["history"] = "\n".join(line for line in lines if line)


def write_template(template: xr.Dataset, spec: CubeSpec, store: Any) -> None:
    """Write the metadata and coordinates of a cube; pixels stay unwritten.

    `store`: An empty store; its metadata is consolidated by whoever publishes it.
    """
    template.to_zarr(
        store,
        mode="w-",
        compute=False,
        zarr_format=3,
        consolidated=False,
        encoding=encoding_of(spec, template.sizes["time"]),
    )
