"""Scenes of the two sensors, and the cubes made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage as ndi
import xarray as xr
from odc.geo.xr import xr_coords

from biastf_xr.testing._layout import BANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from biastf_xr.testing._landscape import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class FineScene:
    """One overpass of the fine sensor.

    `reflectance`: shape (band, y, x), with clouds, shadows and noise; NaN outside the swath.
    `qa_pixel`: shape (y, x), landsat Collection-2 quality bits; they flag all clouds and
    shadows and a rim around them.
    `clear`: shape (y, x), true clear sky inside the swath, which no real product knows.
    """

    reflectance: FloatArray
    qa_pixel: NDArray[np.uint16]
    clear: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class CoarseScene:
    """One day of the coarse sensor.

    `reflectance`: shape (band, y, x), with clouds, shadows, view-angle effects and noise; NaN
    where there is no observation.
    `state_1km`: shape (ceil(y / 2), mOD09GA state bits on pixels twice as large, sharing the
    upper left corner; a pixel whose bits 0 to 2 are zero holds no cloud and no shadow.
    `view_zenith`: View zenith angle, degrees.
    `clear`: shape (y, x), true clear sky, which no real product knows.
    """

    reflectance: FloatArray
    state_1km: NDArray[np.uint16]
    view_zenith: float
    clear: NDArray[np.bool_]


def grow(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Dilate a mask.

    `mask`: shape (y, x), any mask.
    Returned: shape (y, x), contains `mask`.
    """
    return np.asarray(ndi.binary_dilation(mask, ndi.generate_binary_structure(2, 2), steps))


def blocks(array: FloatArray, reduce: Callable[..., FloatArray]) -> FloatArray:
    """Reduce blocks of 2 x 2 pixels; where the count is odd the last row or column is repeated.

    `array`: shape (y, x), any layer.
    Returned: shape (ceil(y / 2), one value a block.
    """
    rows, cols = array.shape
    even = np.pad(array, ((0, rows % 2), (0, cols % 2)), mode="edge")
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2)
    return np.asarray(reduce(blocks, axis=(1, 3)), dtype=np.float32)


def stack_scenes(
    scenes: Iterable[tuple[FloatArray, NDArray[np.bool_]]],
    dates: NDArray[np.datetime64],
    geobox: GeoBox,
) -> xr.Dataset:
    """Stack scenes into a Dataset with one variable per band.

    `scenes`: (ndarray, ndarray), reflectance of shape (band, y, x) and clear mask of shape (y,
    x), one a date.
    `dates`: shape (time,), their dates.
    Returned: In memory, dims ``(time, y, x)``: float32 bands, NaN where not clear, and uint8
    `clear`.
    """
    bands = np.empty((len(BANDS), len(dates), *geobox.shape), dtype=np.float32)
    flags = np.empty((len(dates), *geobox.shape), dtype=np.uint8)
    for i, (reflectance, clear) in enumerate(scenes):
        bands[:, i] = np.where(clear, reflectance, np.nan)
        flags[i] = clear
    dims = ("time", "y", "x")
    variables = {name: (dims, bands[b]) for b, name in enumerate(BANDS)}
    return xr.Dataset(
        {**variables, "clear": (dims, flags)}, coords={"time": dates, **xr_coords(geobox)}
    )
