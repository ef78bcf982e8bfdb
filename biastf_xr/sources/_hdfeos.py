"""Grids of HDF-EOS2 granules (HDF4), window by window.

The grid of a MODIS land tile stands in the attribute ``StructMetadata.0`` (HDF-EOS2 Library User's
Guide); the sinusoidal projection is that of the MODIS land grid, a sphere of radius 6371007.181 m.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from biastf_xr.errors import ConfigError, SceneError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr
    from odc.geo.geobox import GeoBox

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"

# The HDF4 library is not safe for threads.
_LOCK = threading.Lock()


class GranuleArray(BackendArray):
    """One data set of a granule; reads only what is indexed."""

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


def open_granule(path: Path, names: Mapping[str, str]) -> xr.Dataset:
    """Open data sets of a granule on the grid of the finest one; pixels are read when indexed.

    Data sets with half as many rows and columns (1 km beside 500 m) are repeated.

    `names`: Name of every layer, by the data set it is read from.
    """
    import xarray as xr
    from odc.geo.xr import xr_coords

    with _LOCK:
        granule = _open(path)
        try:
            found = granule.datasets()
            metadata = str(granule.attributes().get("StructMetadata.0", ""))
        except _error() as error:
            raise _unreadable(path, error) from error
        finally:
            granule.end()
    missing = sorted(set(names) - set(found))
    if missing:
        raise SceneError(
            f"{path} lacks the data sets {missing}; it has {sorted(found)[:12]}. Is it another "
            "product, or another form of it? Download it again."
        )
    shape = max((tuple(found[name][1]) for name in names), key=lambda s: s[0])
    data = {}
    for name, layer in names.items():
        _, size, kind, _ = found[name]
        raw = GranuleArray(path, name, tuple(size), _numpy_type(kind))
        variable = xr.Variable(("y", "x"), indexing.LazilyIndexedArray(raw))
        factor, rest = divmod(shape[0], size[0])
        if rest or size[1] * factor != shape[1]:
            raise SceneError(f"{path}: {name} has {tuple(size)} pixels beside {shape}; expected a "
                             "whole part of them.")  # fmt: skip
        if factor > 1:
            y, x = (np.arange(n) // factor for n in shape)
            variable = variable.isel(y=y, x=x)
        data[layer] = variable
    return xr.Dataset(data, dict(xr_coords(_grid(path, metadata, shape))))


def scale_of(path: Path, name: str) -> float | None:
    """Read the scale factor that a granule states for a data set."""
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
