"""Cloud-Optimised GeoTIFFs for GIS users: one file per date and band."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from biastf_xr._days import to_days
from biastf_xr._files import replacing
from biastf_xr._outside import visible
from biastf_xr._system import check_projections, reading
from biastf_xr.cube._cube import bands_of, layout_of, open_cube
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import ConfigError, CubeExistsError, TargetDateError
from biastf_xr.grid import geobox_of, split_tiles
from biastf_xr.sources._rasters import open_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr

    from biastf_xr.cube._spec import Progress


# The packing of "int16", as in the archives.
FACTOR, NODATA, LIMIT = 1e-4, -9999, 32767


def export_cogs(
    path: str | Path,
    folder: str | Path,
    *,
    dates: Iterable[str] | None = None,
    bands: Iterable[str] | None = None,
    dtype: Literal["float32", "int16"] = "float32",
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write a cube's images as Cloud-Optimised GeoTIFFs.

    Reads and writes window by window; a file appears when it is complete.

    Parameters
    ----------
    path : str or pathlib.Path
        The cube.
    folder : str or pathlib.Path
        Where the files go, as ``<cube>_<YYYYMMDD>_<band>.tif``.
    dates : iterable of str, optional
        ISO dates; all by default.
    bands : iterable of str, optional
        Variables, masks and flags too; by default the reflectance bands.
    dtype : {"float32", "int16"}
        How reflectance is stored: as it is, missing as NaN; or as numbers of 0.0001, missing as
        -9999.
    overwrite : bool
        Replace files that are there.
    dry_run : bool
        Only say which files would be written.
    progress : callable, optional
        Called after every file with its name, the number done and the number in all.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    TargetDateError, ConfigError
        If the cube has no such date or variable.
    CubeExistsError
        If a file is there.
    StoreWriteError
        If a file cannot be written.
    """
    check_projections()
    ds = open_cube(path, chunks=None)
    names = _names(ds, bands)
    indices = _indices(ds, dates)
    stem = store_at(path).name.removesuffix(".zarr")
    jobs = [
        (index, name, Path(folder) / f"{stem}_{day.astype(str).replace('-', '')}_{name}.tif")
        for index, day in indices
        for name in names
    ]
    there = [target for *_, target in jobs if target.exists()]
    if there and not overwrite:
        raise CubeExistsError(
            f"{there[0]} already exists{f' and {len(there) - 1} more' if there[1:] else ''}. "
            "Choose another folder, or replace them with --overwrite."
        )
    for done, (index, name, target) in enumerate([] if dry_run else jobs, 1):
        write_cog(ds, index, name, target, dtype)
        if progress:
            progress(target.name, done, len(jobs))
    return [target for *_, target in jobs]


def _names(ds: xr.Dataset, bands: Iterable[str] | None) -> list[str]:
    if bands is None:
        return list(bands_of(ds))
    wanted = list(bands)
    known = [str(n) for n, v in ds.data_vars.items() if v.dims == ("time", "y", "x")]
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ConfigError(f"the cube has no {unknown}; expected some of {sorted(known)}.")
    return wanted


def _indices(ds: xr.Dataset, dates: Iterable[str] | None) -> list[tuple[int, Any]]:
    days = to_days(ds["time"])
    wanted = days if dates is None else to_days(dates, "the date to export")
    missing = [str(d) for d in wanted if d not in set(days)]
    if missing:
        raise TargetDateError(
            f"the cube has no image of {', '.join(missing)}; it has {days.size} from {days[0]} to "
            f"{days[-1]}."
        )
    return [(int(np.flatnonzero(days == d)[0]), d) for d in wanted]


def write_cog(
    ds: xr.Dataset,
    index: int,
    name: str,
    target: Path,
    dtype: Literal["float32", "int16"] = "float32",
) -> None:
    """Write one image as a Cloud-Optimised GeoTIFF with overviews.

    The image is written window by window to a plain file, then turned into the COG, which is moved
    to its place when it is complete.

    `name`: Variable with dims ``(time, y, x)``.
    `dtype`: As for `export_cogs`; integer variables stay as they are.
    """
    import rasterio
    import rasterio.shutil

    geobox = geobox_of(ds, name)
    layout = layout_of(ds)
    image = ds[name].isel(time=index)
    packed = image.dtype.kind == "f" and dtype == "int16"
    profile = {
        "driver": "GTiff", "count": 1, "height": geobox.shape[0], "width": geobox.shape[1],
        "dtype": "int16" if packed else image.dtype.name, "crs": str(geobox.crs),
        "transform": geobox.affine, "tiled": min(geobox.shape) >= 16, "compress": "zstd",
        "nodata": NODATA if packed else np.nan if image.dtype.kind == "f" else None,
    }  # fmt: skip
    kind = image.dtype.kind
    with replacing(target) as cog:
        plain = cog.with_name(f"plain-{cog.name}")
        with rasterio.open(plain, "w", **profile) as file:
            for tile in split_tiles(
                (ds.sizes["y"], ds.sizes["x"]), (layout.shard_y, layout.shard_x)
            ):
                rows, cols = tile.slices
                with reading(f"{name}, for {target.name},"):
                    values = image.isel(y=rows, x=cols).values
                window = ((tile.y0, tile.y1), (tile.x0, tile.x1))
                file.write(_pack(values) if packed else values, 1, window=window)
            file.set_band_description(1, name)
            made = visible(ds.attrs.get("history", ""), keep="\n")
            file.update_tags(date=str(image["time"].values)[:10], history=made)
            if packed:
                file.scales, file.offsets = (FACTOR,), (0.0,)
        average = "AVERAGE" if kind == "f" else "NEAREST"
        with open_file(plain) as file:
            rasterio.shutil.copy(file, cog, driver="COG", compress="DEFLATE",
                                 predictor="YES", resampling=average)  # fmt: skip


def _pack(values: Any) -> Any:
    """Round to int16; what does not fit takes the largest value that does."""
    numbers = np.clip(np.round(values / FACTOR), NODATA + 1, LIMIT)
    return np.where(np.isfinite(values), numbers, NODATA).astype(np.int16)
