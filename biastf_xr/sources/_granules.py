"""Granules of the MODIS land grid, HDF-EOS2 (HDF4) and HDF-EOS5 (HDF5), window by window.

The sinusoidal projection is that of the MODIS land grid, a sphere of radius 6371007.181 m cut into
36 by 18 tiles of one size, h00v00 in the north west; the VIIRS land products share it.  The grid of
an HDF4 granule is in its attribute ``StructMetadata.0`` (HDF-EOS2 Library User's Guide), that of an
HDF5 granule follows from its tile.
"""

from __future__ import annotations

import math
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from biastf_xr.errors import ConfigError, SceneError
from biastf_xr.sources import _hdf4
from biastf_xr.sources._elsewhere import refuse_data_elsewhere
from biastf_xr.sources._files import SINUSOIDAL
from biastf_xr.sources._login import need
from biastf_xr.sources._rasters import check_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import xarray as xr
    from affine import Affine
    from odc.geo.geobox import GeoBox

    Grid = Callable[[tuple[int, int]], GeoBox]

# Side of a tile in metres: a tenth of a quarter of the sphere's equator, less rounding.
TILE_SIDE = 1111950.519667

# Rows and columns of the largest tiles, of 250 m.
MOST = 4800


def open_hdf4(
    path: Path, names: Mapping[str, str], size: int | None = None
) -> dict[str, xr.DataArray]:
    """Open data sets of an HDF4 granule on the grid of the finest one; see `_on_finest`.

    `size`: Rows, and columns, to repeat the data sets to; by default those of the finest.
    """
    with _reading_hdf4(path):
        sets, metadata = _hdf4.look(path)
    found = {name: Hdf4Array(path, name, shape, kind) for name, (shape, kind) in sets.items()}

    def grid(shape: tuple[int, int]) -> GeoBox:
        return _grid(path, metadata, shape)

    return _on_finest(path, names, found, grid, (size, size) if size else None)


def open_hdf5(
    path: Path, names: Mapping[str, str], tile: str, size: int | None = None
) -> dict[str, xr.DataArray]:
    """Open data sets of an HDF5 granule on its tile; see `_on_finest`.

    `size`: Rows, and columns, to repeat the data sets to; by default those of the finest.
    """
    from odc.geo.geobox import GeoBox

    refuse_data_elsewhere(path)
    found: dict[str, Hdf5Array] = {}
    blocks: list[int] = []

    def look(name: str, item: Any) -> None:
        if hasattr(item, "shape"):
            blocks.append(math.prod(item.chunks or ()) * item.dtype.itemsize)
            found[name.rsplit("/", 1)[-1]] = Hdf5Array(path, name, item.shape, item.dtype)

    with _hdf5(path) as granule:
        granule.visititems(look)
    check_sizes(path, (), max(blocks, default=0))

    def grid(shape: tuple[int, int]) -> GeoBox:
        return GeoBox(shape, tile_transform(tile, shape[0]), SINUSOIDAL)

    return _on_finest(path, names, found, grid, (size, size) if size else None)


def _on_finest(
    path: Path,
    names: Mapping[str, str],
    found: Mapping[str, GranuleArray],
    grid: Grid,
    shape: tuple[int, int] | None = None,
) -> dict[str, xr.DataArray]:
    """Open data sets on the grid of the finest one; pixels are read when indexed.

    Data sets with fewer rows and columns (1 km beside 500 m) are repeated.

    `names`: Name of every layer, by the data set it is read from.
    """
    from odc.geo.xr import xr_coords

    missing = sorted(set(names) - set(found))
    if missing:
        raise SceneError(
            f"{path} lacks the data sets {missing}; it has {sorted(found)[:12]}. Is it another "
            "product, or another form of it? Download it again."
        )
    data = {name: found[name].opened() for name in names}
    rows, cols = shape or max((layer.shape for layer in data.values()), key=lambda s: s[0])
    coords = dict(xr_coords(grid((rows, cols))))
    layers = {}
    for name, layer in data.items():
        factor, rest = divmod(rows, layer.shape[0])
        if rest or layer.shape[1] * factor != cols:
            raise SceneError(
                f"{path}: {name} has {layer.shape} pixels beside {(rows, cols)}; expected a whole "
                "part of them. Is it a subset of a tile?"
            )
        at = {"y": np.arange(rows) // factor, "x": np.arange(cols) // factor}
        layers[names[name]] = (layer.isel(at) if factor > 1 else layer).assign_coords(coords)
    return layers


def tile_transform(tile: str, size: int) -> Affine:
    """Return the pixel-to-CRS transform of a tile with so many rows and columns."""
    from affine import Affine

    match = re.fullmatch(r"h(\d\d)v(\d\d)", tile)
    if not match or int(match[1]) > 35 or int(match[2]) > 17:
        raise SceneError(f"{tile!r} is not a tile of the land grid, as h29v12 is.")
    left, top = (int(match[1]) - 18) * TILE_SIDE, (9 - int(match[2])) * TILE_SIDE
    pixel = TILE_SIDE / size
    return Affine(pixel, 0.0, left, 0.0, -pixel, top)


class GranuleArray(BackendArray):
    """One data set of a granule; reads only what is indexed."""

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: Any) -> None:
        self.path, self.name, self.shape, self.dtype = path, name, shape, np.dtype(dtype)

    def opened(self) -> xr.DataArray:
        """Return an image that is read when it is indexed; refuse what cannot be one."""
        import xarray as xr

        sides = len(self.shape) == 2 and all(1 <= side <= MOST for side in self.shape)
        if not sides or self.dtype.kind not in "iuf":
            raise SceneError(
                f"{self.path}: {self.name} is of type {self.dtype} and shape {self.shape}; "
                f"expected an image of numbers, at most {MOST} pixels a side. Download it again."
            )
        return xr.DataArray(xr.Variable(("y", "x"), indexing.LazilyIndexedArray(self)))

    def __getitem__(self, key: Any) -> Any:
        support = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: Any) -> Any:
        raise NotImplementedError


class Hdf4Array(GranuleArray):
    """One data set of an HDF4 granule."""

    def _read(self, key: Any) -> Any:
        with _reading_hdf4(self.path):
            return _hdf4.read(self.path, self.name, key)


class Hdf5Array(GranuleArray):
    """One data set of an HDF5 granule."""

    def _read(self, key: Any) -> Any:
        with _hdf5(self.path) as granule:
            return np.asarray(granule[self.name][key])


@contextmanager
def _hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 granule; name one that cannot be read."""
    h5py = need("h5py", "hdf5")
    try:
        with h5py.File(path, "r") as granule:
            yield granule
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise SceneError(f"{path}: cannot be read as HDF5 ({error}). Download it again.") from error


def scale_of(path: Path, name: str) -> float | None:
    """Read the scale factor that an HDF4 granule states for a data set."""
    with _reading_hdf4(path):
        return _hdf4.scale_of(path, name)


def _grid(path: Path, metadata: str, shape: tuple[int, int]) -> GeoBox:
    """Build the grid that ``StructMetadata.0`` describes, with the pixels of the finest layer."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    number = r"\(\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*\)"
    corners = [
        re.search(rf"{name}\s*=\s*{number}", metadata)
        for name in ("UpperLeftPointMtrs", "LowerRightMtrs")
    ]
    if not all(corners) or "GCTP_SNSOID" not in metadata:
        raise SceneError(
            f"{path} has no sinusoidal grid in StructMetadata.0. Expected a granule of the MODIS "
            "land grid; download it again."
        )
    left, top, right, bottom = (float(v) for c in corners if c for v in c.groups())
    size = (right - left) / shape[1], (bottom - top) / shape[0]
    return GeoBox(shape, Affine(size[0], 0, left, 0, size[1], top), SINUSOIDAL)


@contextmanager
def _reading_hdf4(path: Path) -> Iterator[None]:
    """Read an HDF4 granule that holds what it says; name one that cannot be read."""
    if not _hdf4.is_installed():
        raise ConfigError(
            'HDF4 granules need an extra: pip install "biastf-xr[hdf4]". Or order the GeoTIFF form.'
        )
    refuse_data_elsewhere(path)
    try:
        yield
    except _hdf4.Hdf4Error as error:
        raise SceneError(f"{path}: cannot be read as HDF4 ({error}). Download it again.") from error
