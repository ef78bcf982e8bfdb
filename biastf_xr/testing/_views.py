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
    """One overpass of the fine sensor; QA bits flag all clouds, shadows and their rim."""

    reflectance: FloatArray  # (band, y, x), clouds included; NaN outside the swath
    qa_pixel: NDArray[np.uint16]  # Landsat Collection-2 bits
    missed: NDArray[np.bool_]  # clouds and shadows that these bits miss
    clear: NDArray[np.bool_]  # true clear sky in the swath


@dataclass(frozen=True, kw_only=True, eq=False)
class CoarseScene:
    """One day of the coarse sensor.

    `state_1km` has pixels twice as large; bits 0 to 2 are zero where there is no cloud or shadow.
    """

    reflectance: FloatArray  # (band, y, x), clouds and view effects included; NaN: none
    state_1km: NDArray[np.uint16]  # MOD09GA bits
    view_zenith: float  # degrees
    clear: NDArray[np.bool_]  # true clear sky


def grow(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Dilate a mask."""
    return np.asarray(ndi.binary_dilation(mask, ndi.generate_binary_structure(2, 2), steps))


def blocks(array: FloatArray, reduce: Callable[..., FloatArray]) -> FloatArray:
    """Reduce blocks of 2 x 2 pixels; an odd last row or column is repeated."""
    rows, cols = array.shape
    even = np.pad(array, ((0, rows % 2), (0, cols % 2)), mode="edge")
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2)
    return np.asarray(reduce(blocks, axis=(1, 3)), dtype=np.float32)


def stack_scenes(
    scenes: Iterable[tuple[FloatArray, NDArray[np.bool_]]],
    dates: NDArray[np.datetime64],
    geobox: GeoBox,
) -> xr.Dataset:
    """Stack (reflectance, clear mask) of dates into a Dataset: NaN where not clear, and `clear`."""
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
