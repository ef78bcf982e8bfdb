"""Granules of the MODIS land grid, HDF-EOS2 (HDF4) and HDF-EOS5 (HDF5), window by window.

The sinusoidal projection is that of the MODIS land grid, a sphere of radius 6371007.181 m cut into
36 by 18 tiles of one size, h00v00 in the north west; the VIIRS land products share it.  The grid of
an HDF4 granule is in its attribute ``StructMetadata.0`` (HDF-EOS2 Library User's Guide), that of an
HDF5 granule follows from its tile.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from biastf_xr.errors import ConfigError, SceneError
from biastf_xr.sources._elsewhere import refuse_data_elsewhere
from biastf_xr.sources._files import SINUSOIDAL
from biastf_xr.sources._login import need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import xarray as xr
    from affine import Affine
    from odc.geo.geobox import GeoBox

    Grid = Callable[[tuple[int, int]], GeoBox]

# Side of a tile in metres: a tenth of a quarter of the sphere's equator, less rounding.
TILE_SIDE = 1111950.519667

# The HDF4 library is not safe for threads.
_LOCK = threading.Lock()


def open_hdf4(
    path: Path, names: Mapping[str, str], size: int | None = None
) -> dict[str, xr.DataArray]:
    """Open data sets of an HDF4 granule on the grid of the finest one; see `_on_finest`.

    `size`: Rows, and columns, to repeat the data sets to; by default those of the finest.
    """
    import xarray as xr

    with _LOCK:
        granule = _open(path)
        try:
            found = granule.datasets()
            metadata = str(granule.attributes().get("StructMetadata.0", ""))
        except _error() as error:
            raise _unreadable(path, error) from error
        finally:
            granule.end()

    def opened(name: str) -> xr.DataArray:
        _, size, kind, _ = found[name]
        raw = GranuleArray(path, name, tuple(size), _numpy_type(kind))
        return xr.DataArray(xr.Variable(("y", "x"), indexing.LazilyIndexedArray(raw)))

    def grid(shape: tuple[int, int]) -> GeoBox:
        return _grid(path, metadata, shape)

    return _on_finest(path, names, found, opened, grid, (size, size) if size else None)


def open_hdf5(
    path: Path, names: Mapping[str, str], tile: str, size: int | None = None
) -> dict[str, xr.DataArray]:
    """Open data sets of an HDF5 granule on its tile; see `_on_finest`.

    `size`: Rows, and columns, to repeat the data sets to; by default those of the finest.
    """
    import xarray as xr
    from odc.geo.geobox import GeoBox

    refuse_data_elsewhere(path)
    found: dict[str, Hdf5Array] = {}

    def look(name: str, item: Any) -> None:
        if len(getattr(item, "shape", ())) == 2:  # of groups, and of tables of numbers
            found[name.rsplit("/", 1)[-1]] = Hdf5Array(path, name, item.shape, item.dtype)

    with _hdf5(path) as granule:
        granule.visititems(look)

    def opened(name: str) -> xr.DataArray:
        return xr.DataArray(xr.Variable(("y", "x"), indexing.LazilyIndexedArray(found[name])))

    def grid(shape: tuple[int, int]) -> GeoBox:
        return GeoBox(shape, tile_transform(tile, shape[0]), SINUSOIDAL)

    return _on_finest(path, names, found, opened, grid, (size, size) if size else None)


def _on_finest(
    path: Path,
    names: Mapping[str, str],
    found: Mapping[str, Any],
    opened: Callable[[str], xr.DataArray],
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
    data = {name: opened(name) for name in names}
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
    """One data set of an HDF4 granule; reads only what is indexed."""

    def __init__(self, path: Path, name: str, shape: tuple[int, int], dtype: Any) -> None:
        self.path, self.name, self.shape, self.dtype = path, name, shape, np.dtype(dtype)

    def __getitem__(self, key: Any) -> Any:
        support = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: Any) -> Any:
        with _LOCK:
            granule = _open(self.path)
            try:
                return np.asarray(granule.select(self.name)[key])
            except (_error(), ValueError) as error:
                raise _unreadable(self.path, error) from error
            finally:
                granule.end()


class Hdf5Array(GranuleArray):
    """One data set of an HDF5 granule; reads only what is indexed."""

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
    with _LOCK:
        granule = _open(path)
        try:
            value = granule.select(name).attributes().get("scale_factor")
        finally:
            granule.end()
    return None if value is None else float(value)


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


def _open(path: Path) -> Any:
    try:
        from pyhdf.SD import SD
    except ImportError as error:
        raise ConfigError(
            'HDF4 granules need an extra: pip install "biastf-xr[hdf4]". Or order the GeoTIFF form.'
        ) from error
    refuse_data_elsewhere(path)
    try:
        return SD(str(path))
    except _error() as error:
        raise _unreadable(path, error) from error


def _error() -> type[Exception]:
    from pyhdf.error import HDF4Error

    found: type[Exception] = HDF4Error
    return found


def _unreadable(path: Path, error: Exception) -> SceneError:
    return SceneError(f"{path}: cannot be read as HDF4 ({error}). Download it again.")


def _numpy_type(code: int) -> Any:
    from pyhdf.SD import SDC

    names = {SDC.INT8: "i1", SDC.UINT8: "u1", SDC.INT16: "i2", SDC.UINT16: "u2",
             SDC.INT32: "i4", SDC.UINT32: "u4", SDC.FLOAT32: "f4", SDC.FLOAT64: "f8"}  # fmt: skip
    return np.dtype(names[code])
