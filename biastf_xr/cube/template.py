"""Build the empty store of a cube: all metadata and coordinates, no pixels."""

from __future__ import annotations

import datetime as dt
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube.encoding import encoding_of
from biastf_xr.cube.spec import STRUCTURE_VERSION, CubeSpec, band_attrs, to_days
from biastf_xr.errors import GridMismatchError
from biastf_xr.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

TITLES = {
    "fine": "Fine-resolution surface reflectance",
    "coarse": "Coarse-resolution surface reflectance",
    "fused": "Daily fine-resolution surface reflectance by spatio-temporal fusion",
}


def build_template(spec: CubeSpec, times: Any, coords: dict[str, Any] | None = None) -> xr.Dataset:
    """Build the lazy Dataset that has a cube's structure and no data.

    Parameters
    ----------
    spec : CubeSpec
        The cube.
    times : array_like of datetime64
        Daily labels, ascending and unique.
    coords : dict, optional
        More coordinates along ``time``, for instance ``before`` and ``after``.

    Returns
    -------
    xarray.Dataset
        Lazy; bands read as NaN and masks as 0.
    """
    import dask.array as da
    import xarray as xr
    from odc.geo.xr import xr_coords

    days = to_days(times).astype("datetime64[s]")
    shape = (days.size, *spec.shape)
    grid = dict(xr_coords(spec.geobox))
    masks = spec.masks
    data = {
        band: xr.Variable(
            ("time", "y", "x"),
            da.full(shape, np.float32(np.nan), chunks=shape),
            band_attrs(band, list(masks)),
        )
        for band in spec.bands
    }
    for mask, attrs in masks.items():
        data[mask] = xr.Variable(
            ("time", "y", "x"), da.zeros(shape, dtype="uint8", chunks=shape), attrs
        )
    for variable in data.values():
        # In the encoding, so that a plain xr.open_zarr puts spatial_ref among the coordinates.
        variable.encoding["grid_mapping"] = "spatial_ref"
        variable.encoding["coordinates"] = "spatial_ref"
    time = xr.Variable("time", days, {"standard_name": "time", "long_name": "day of observation"})
    ds = xr.Dataset(data, coords={"time": time, **grid, **(coords or {})})
    ds["y"].attrs.update(standard_name="projection_y_coordinate", axis="Y")
    ds["x"].attrs.update(standard_name="projection_x_coordinate", axis="X")
    ds.attrs = cube_attrs(spec)
    return ds


def cube_attrs(spec: CubeSpec) -> dict[str, Any]:
    """Give the attributes of a whole cube.

    Parameters
    ----------
    spec : CubeSpec
        The cube.

    Returns
    -------
    dict
        CF attributes, the structure version and ``spec.attrs``.
    """
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
    """Stamp one line of a cube's history.

    Parameters
    ----------
    text : str
        What was done.

    Returns
    -------
    str
        The line with its UTC time.
    """
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ} biastf_xr {__version__}: {text}"


def write_template(template: xr.Dataset, spec: CubeSpec, path: Path) -> None:
    """Write the metadata and coordinates of a cube; pixels stay unwritten.

    Parameters
    ----------
    template : xarray.Dataset
        As from `build_template`.
    spec : CubeSpec
        The cube.
    path : pathlib.Path
        A store that does not exist yet.
    """
    with warnings.catch_warnings():
        # Every tool of today reads consolidated metadata of Zarr v3; zarr still warns about it.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        template.to_zarr(
            path,
            mode="w-",
            compute=False,
            zarr_format=3,
            consolidated=True,
            encoding=encoding_of(spec, template.sizes["time"]),
        )
