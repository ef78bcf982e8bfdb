"""Grids of HDF-EOS5 granules (HDF5), window by window.

A granule of the MODIS land grid is laid out by its tile: the sphere is cut into 36 by 18 tiles,
tile h00v00 in the north west, all of one size in the sinusoidal projection (MODIS land grid; the
VIIRS land products share it).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.errors import SceneError
from biastf_xr.sources._hdfeos import SINUSOIDAL
from biastf_xr.sources.base import open_layer, without_grid_warning

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr
    from affine import Affine

# Side of a tile in metres: a tenth of a quarter of the sphere's equator, less rounding.
TILE_SIDE = 1111950.519667


def open_granule(
    path: Path | str, names: Mapping[str, str], tile: str, size: int | None = None
) -> dict[str, xr.DataArray]:
    """Open data sets of a granule on its tile; pixels are read when indexed.

    Data sets with fewer rows and columns (1 km beside 500 m) are repeated.

    `names`: Name of every layer, by the data set it is read from.
    `size`: Rows, and columns, to repeat the data sets to; by default those of the finest.
    """
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    found = data_sets(path)
    missing = sorted(set(names) - set(found))
    if missing:
        raise SceneError(
            f"{path} lacks the data sets {missing}; it has {sorted(found)[:12]}. Is it another "
            "product, or another form of it? Download it again."
        )
    pixels = tile_transform(tile, 1)  # stands in until the size is known; replaced below
    opened = {
        name: open_layer(found[name], crs=SINUSOIDAL, transform=pixels).isel(band=0, drop=True)
        for name in names
    }
    size = size or max(data.sizes["y"] for data in opened.values())
    pixels = tile_transform(tile, size)
    grid = dict(xr_coords(GeoBox((size, size), pixels, SINUSOIDAL)))
    layers = {}
    for name, layer in names.items():
        data = opened[name]
        factor, rest = divmod(size, data.sizes["y"])
        if rest or data.sizes["x"] * factor != size:
            raise SceneError(
                f"{path}: {name} has {tuple(data.shape)} pixels beside {size} x {size}; expected a "
                "whole part of them. Is it a subset of a tile?"
            )
        if factor > 1:
            repeated = np.arange(size) // factor
            data = data.isel(y=repeated, x=repeated)
        layers[layer] = data.drop_vars(["y", "x", "spatial_ref"]).assign_coords(grid)
    return layers


def data_sets(path: Path | str) -> dict[str, str]:
    """List the data sets of a granule."""
    import rasterio
    import rasterio.errors

    try:
        with without_grid_warning(), rasterio.open(path) as opened:
            found = list(opened.subdatasets)
    except rasterio.errors.RasterioError as error:
        raise SceneError(
            f"{path}: cannot be read as HDF5 ({error}). Download it again; if every granule says "
            "so, this build of GDAL has no HDF5 driver: install rasterio from PyPI."
        ) from error
    return {name.rsplit("/", 1)[-1]: name for name in found}


def tile_transform(tile: str, size: int) -> Affine:
    """Return the pixel-to-CRS transform of a tile."""
    from affine import Affine

    match = re.fullmatch(r"h(\d\d)v(\d\d)", tile)
    if not match or int(match[1]) > 35 or int(match[2]) > 17:
        raise SceneError(f"{tile!r} is not a tile of the land grid, as h29v12 is.")
    left, top = (int(match[1]) - 18) * TILE_SIDE, (9 - int(match[2])) * TILE_SIDE
    pixel = TILE_SIDE / size
    return Affine(pixel, 0.0, left, 0.0, -pixel, top)
