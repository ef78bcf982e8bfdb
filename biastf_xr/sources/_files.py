"""Raster files of a scene, and the days in their names."""

from __future__ import annotations

import datetime as dt
import tarfile
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr._files import read_bytes
from biastf_xr._system import check_projections
from biastf_xr._urls import archive_of, split_image
from biastf_xr.errors import GridMismatchError, SceneError
from biastf_xr.sources._rasters import open_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import xarray as xr
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from biastf_xr.sources._rasters import Readable

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"


def read_text(path: Path | str) -> str:
    """Read a text file, also from a tar archive."""
    archive = archive_of(path)
    try:
        if archive is None:
            return read_bytes(path).decode("utf-8", "replace")
        name = str(path).rpartition("}/")[2]
        with tarfile.open(archive, "r:") as opened:
            content = opened.extractfile(name)
            return content.read().decode("utf-8", "replace") if content else ""
    except (OSError, KeyError, tarfile.TarError) as error:
        raise SceneError(f"{path} cannot be read ({error}). Download it again.") from error


def open_raster(path: Path | str, how: Readable) -> xr.DataArray:
    """Open a raster that may be read, dims ``(band, y, x)``; pixels are read when indexed."""
    check_projections()
    in_netcdf = str(path).startswith("netcdf:")
    array: xr.DataArray = _image(path, how) if in_netcdf else open_array(path, how)
    return array


def _image(path: Path | str, how: Readable) -> xr.DataArray:
    """Open one band of a variable of a NetCDF file."""
    name, band = split_image(path)
    opened = open_array(name, how, masked=False, decode_times=False)
    crs = opened.rio.crs
    if crs is not None and crs.is_geographic and abs(opened["x"]).max() > 360:
        crs = SINUSOIDAL  # of whose projection GDAL knows the sphere alone
    days = opened.dims[0]
    image: xr.DataArray = opened.isel({days: [band - 1]}).rename({days: "band"})
    image = image.drop_vars(set(image.coords) - {"x", "y"})
    image.encoding.pop("grid_mapping", None)
    image.attrs.pop("grid_mapping", None)
    return image if crs is None else image.rio.write_crs(crs, grid_mapping_name="spatial_ref")


def open_layer(
    path: Path | str,
    how: Readable,
    *,
    crs: str | None = None,
    transform: Affine | None = None,
    forced: bool = False,
) -> xr.DataArray:
    """Open a raster in native units on its grid, or on the one that is stated where it has none.

    `forced`: Whether the stated grid holds against the file's own.
    """
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    array = open_raster(path, how)
    if crs is not None and transform is not None:
        geobox = GeoBox((array.sizes["y"], array.sizes["x"]), transform, crs)
        if not forced:
            _check_stated(path, array, geobox)
        array = array.drop_vars(["y", "x", "spatial_ref"], errors="ignore")
        return array.assign_coords(dict(xr_coords(geobox, dims=("y", "x"))))
    if array.rio.crs is None:
        raise GridMismatchError(
            f'{path} carries no CRS. State the grid: `grid = {{crs = "EPSG:...", '
            "resolution = 30, origin = [x, y]}` of the options of the sensor, as "
            "--set fine.options.grid=... on the command line."
        )
    _check_placed(path, array)
    return _name_crs(array)


def _check_stated(path: Path | str, array: xr.DataArray, stated: GeoBox) -> None:
    """Refuse a stated grid that contradicts the file's own."""
    from biastf_xr.grid import describe, geobox_of

    if array.rio.crs is None or array.rio.transform(recalc=False).is_identity:
        return
    own = geobox_of(_name_crs(array).to_dataset(name="image"), str(path), degrees=True)
    if own.crs != stated.crs or not own.affine.almost_equals(stated.affine, 1e-3):
        raise GridMismatchError(
            f"{path} says that it lies on {describe(own)}; the option `grid` states "
            f"{describe(stated)}. Take `grid` out, which is for files that carry none; if the file "
            "is wrong, take its CRS out (`rio edit-info --unset-crs`)."
        )


def _check_placed(path: Path | str, array: xr.DataArray) -> None:
    """Refuse rasters that are not placed by rows and columns."""
    a = array.rio.transform(recalc=False)
    if {"y", "x"} - set(array.coords):
        how = f"rotated (transform {tuple(a)[:6]})" if a.b or a.d else "placed by control points"
        remedy = "Warp it first, for instance with gdalwarp"
    elif a.is_identity:
        how, remedy = "not placed: it has a CRS and no transform", "Download it again"
    else:
        return
    raise GridMismatchError(f"{path} is {how}. {remedy}, or move it out of the folder.")


def _name_crs(array: xr.DataArray) -> xr.DataArray:
    """State the EPSG code of a UTM grid on the WGS 84 ellipsoid whose datum has no name.

    HLS has such files beside files of the same tile with the code, and the two CRS do not compare
    equal.  Any other CRS is left as it is.
    """
    import odc.geo.xr  # noqa: F401  (registers the .odc accessor)

    crs = array.odc.crs
    if crs.epsg is not None or crs.proj.utm_zone is None or crs.proj.ellipsoid.name != "WGS 84":
        return array
    zone: str = crs.proj.utm_zone
    named: xr.DataArray = array.rio.write_crs(
        (32600 if zone.endswith("N") else 32700) + int(zone[:-1])
    )
    return named


def join_layers(scene_id: str, layers: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """Put the layers of a scene, which have the same pixels, into one Dataset."""
    import odc.geo.xr  # noqa: F401  (registers the .odc accessor)
    import xarray as xr

    from biastf_xr.grid import ALIGNMENT_TOLERANCE, describe

    name, first = next(iter(layers.items()))
    grid, joined = first.odc.geobox, {name: first}
    for other, layer in layers.items():
        box = layer.odc.geobox
        ends = (np.array(g.boundingbox.bbox) for g in (box, grid))
        # Rounding in metadata is no other grid.
        off = np.abs(np.subtract(*ends)).max() / abs(grid.affine.a)
        if box.shape != grid.shape or box.crs != grid.crs or off > ALIGNMENT_TOLERANCE:
            raise GridMismatchError(
                f"scene {scene_id}: its layers do not lie on one grid: {name} lies on "
                f"{describe(grid)}, {other} on {describe(box)}. Download them again, or move the "
                "scene out of the folder."
            )
        joined[other] = layer.assign_coords(y=first["y"], x=first["x"])
    return xr.Dataset(joined)


def bit(flags: xr.DataArray, *positions: int) -> xr.DataArray:
    """Return where any of the bits is set; 0 is the least significant."""
    mask = np.asarray(sum(1 << p for p in positions)).astype(flags.dtype)
    return (flags & mask) != 0


def lacking(files: Mapping[str, Path | str], layers: Iterable[str]) -> str:
    """Return the `Scene.problem` of missing files; empty if nothing is missing."""
    missing = [layer for layer in layers if layer not in files]
    if not missing:
        return ""
    return f"lacks the layers {missing}; found {sorted(files)}. Download the missing files."


def read_day(text: str) -> tuple[np.datetime64, str]:
    """Read a day written YYYYDDD, YYYYMMDD or Y-M-D; or return NaT and a `Scene.problem`."""
    try:
        if "-" in text:
            day = dt.date(*map(int, text.split("-")))
        elif len(text) == 7:
            year, number = int(text[:4]), int(text[4:])
            day = dt.date(year, 1, 1) + dt.timedelta(days=number - 1)
            if day.year != year:
                raise ValueError(f"{year} has no day {number}")  # noqa: TRY301
        else:
            day = dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError as error:
        problem = f"the date in its name, {text!r}, is not a day ({error}). Correct the file name."
        return np.datetime64("NaT", "D"), problem
    return np.datetime64(day), ""
