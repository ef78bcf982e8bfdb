"""Build the empty store of a cube: all metadata and coordinates, no pixels."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr._outside import visible
from biastf_xr.cube._encoding import encoding_of
from biastf_xr.cube._spec import (
    PAIR_FLAG,
    STRUCTURE_VERSION,
    CubeSpec,
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
    """Build the lazy Dataset of a cube without data; `coords` are more of them along time."""
    import dask.array as da
    import xarray as xr
    from odc.geo.xr import xr_coords

    days = to_days(times).astype("datetime64[s]")
    shape = (days.size, *spec.shape)
    time = {"standard_name": "time", "long_name": "day of observation"}
    ds = xr.Dataset(
        {
            name: (("time", "y", "x"), da.full(shape, fill, chunks=shape), attrs)
            for name, (attrs, fill) in spec.variables.items()
        },
        {
            "time": ("time", days, time),
            **xr_coords(spec.geobox),
            **_day_coords(days.size, spec.kind),
        },
        cube_attrs(spec),
    ).assign_coords(coords or {})
    for variable in ds.data_vars.values():
        # In the encoding, so that a plain xr.open_zarr puts spatial_ref among the coordinates.
        variable.encoding |= {"grid_mapping": "spatial_ref", "coordinates": "spatial_ref"}
    ds["y"].attrs.update(standard_name="projection_y_coordinate", axis="Y")
    ds["x"].attrs.update(standard_name="projection_x_coordinate", axis="X")
    return ds


def _day_coords(days: int, kind: str) -> dict[str, Any]:
    """Build the coordinates of fine and coarse cubes along their days; as unwritten."""
    fraction = {
        "long_name": "clear fraction of the day's scenes; NaN without a scene",
        "units": "1",
    }
    scenes = {"long_name": "ids of the day's scenes, in the order in which they were composed"}
    pair = {
        "long_name": "whether the fine and the coarse image of the day agree",
        "flag_values": list(PAIR_FLAG.values()),
        "flag_meanings": " ".join(PAIR_FLAG),
    }
    suspect = {
        "long_name": "share of the day's clear pixels that screening suspects; NaN where not done",
        "units": "1",
    }
    coords: dict[str, Any] = {
        "clear_fraction": ("time", np.full(days, np.nan, np.float32), fraction),
        "scenes": ("time", np.full(days, "", np.dtypes.StringDType()), scenes),
        "pair_flag": ("time", np.zeros(days, np.uint8), pair),
        "suspect_fraction": ("time", np.full(days, np.nan, np.float32), suspect),
    }
    kept = {"fine": [*coords], "coarse": ["clear_fraction", "scenes"], "fused": []}
    return {name: coords[name] for name in kept[kind]}


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


def history(attrs: Any, text: str) -> str:
    """Return the history among attributes with one line more, which is stamped."""
    line = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ} biastf_xr {__version__}: {text}"
    lines = [*str(attrs.get("history", "")).splitlines(), line]
    return "\n".join(filter(None, map(visible, lines)))


def add_history(group: zarr.Group, text: str) -> None:
    """Add a line to the history of a cube."""
    group.attrs["history"] = history(group.attrs, text)


def write_template(template: xr.Dataset, spec: CubeSpec, store: Any) -> None:
    """Write the metadata and coordinates of a cube to an empty store; pixels stay unwritten."""
    template.to_zarr(
        store,
        mode="w-",
        compute=False,
        zarr_format=3,
        consolidated=False,
        encoding=encoding_of(spec, template.sizes["time"]),
    )
