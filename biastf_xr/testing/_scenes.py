"""Write the synthetic region as the files that a user would have downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._files import own_folder, replacing
from biastf_xr.testing._sensors import STATE_FILL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from biastf_xr.testing._region import SyntheticRegion

    Progress = Callable[[int, int], object]

_LANDSAT_LAYERS = ("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7")
_LANDSAT_SCALE, _LANDSAT_OFFSET = 2.75e-5, -0.2
_LANDSAT_PROCESSING_DAYS = 9
_MODIS_LAYERS = (
    "sur_refl_b03_1",
    "sur_refl_b04_1",
    "sur_refl_b01_1",
    "sur_refl_b02_1",
    "sur_refl_b06_1",
    "sur_refl_b07_1",
)
_MODIS_FILL, _MODIS_VALID = -28672, (-100, 16000)
_TILE = 256


def write_landsat(
    region: SyntheticRegion, folder: Path, progress: Progress | None = None
) -> list[Path]:
    """Write every fine scene as Landsat 8 Collection-2 Level-2 files, one folder per scene.

    `folder`: Made if need be; files already there are replaced.
    `progress`: Called with the number of scenes done and the number of all scenes.
    Returned: The files, scene by scene: ``SR_B2`` to ``SR_B7``, ``QA_PIXEL`` and ``QA_RADSAT``,
    uint16. Bands hold ``(reflectance + 0.2) / 2.75e-5``, 0 outside the swath.
    """
    written = []
    for i, date in enumerate(region.fine_dates):
        scene = region.fine_scene(date)
        dn = np.rint((scene.reflectance - _LANDSAT_OFFSET) / _LANDSAT_SCALE)
        numbers = np.where(np.isnan(dn), 0, np.clip(dn, 1, 65535)).astype(np.uint16)
        name = _landsat_name(date)
        own_folder(folder / name)
        layers = dict(zip(_LANDSAT_LAYERS, numbers, strict=True))
        layers["QA_PIXEL"] = scene.qa_pixel
        layers["QA_RADSAT"] = np.zeros_like(scene.qa_pixel)
        for layer, values in layers.items():
            nodata = {"QA_PIXEL": 1, "QA_RADSAT": None}.get(layer, 0)
            path = folder / name / f"{name}_{layer}.TIF"
            _write(path, values, region.fine_geobox, nodata=nodata)
            written.append(path)
        if progress is not None:
            progress(i + 1, len(region.fine_dates))
    return written


def write_mod09ga(
    region: SyntheticRegion, folder: Path, progress: Progress | None = None
) -> list[Path]:
    """Write every coarse scene as MOD09GA v6.1 GeoTIFFs named as AppEEARS names them.

    The files lie on the region's own projected grid, as after a request with reprojection, not on
    the sinusoidal grid.

    `folder`: Made if need be; files already there are replaced.
    `progress`: Called with the number of days done and the number of all days.
    Returned: The files, day by day: six bands, int16, ``reflectance * 10000`` with fill -28672,
    and ``state_1km``, uint16 with fill 65535, on pixels twice as large.
    """
    written = []
    for i, date in enumerate(region.coarse_dates):
        scene = region.coarse_scene(date)
        dn = np.clip(np.rint(scene.reflectance * 10_000.0), *_MODIS_VALID)
        numbers = np.where(np.isnan(dn), _MODIS_FILL, dn).astype(np.int16)
        day = date.astype("datetime64[D]").item()
        for layer, values in zip(_MODIS_LAYERS, numbers, strict=True):
            path = folder / f"MOD09GA.061_{layer}_doy{day:%Y%j}000000_aid0001.tif"
            _write(path, values, region.coarse_geobox, nodata=_MODIS_FILL)
            written.append(path)
        path = folder / f"MOD09GA.061_state_1km_1_doy{day:%Y%j}000000_aid0001.tif"
        _write(path, scene.state_1km, region.state_geobox, nodata=STATE_FILL)
        written.append(path)
        if progress is not None:
            progress(i + 1, len(region.coarse_dates))
    return written


def _landsat_name(date: np.datetime64) -> str:
    """Build a Landsat product identifier."""
    taken = date.astype("datetime64[D]")
    processed = (taken + _LANDSAT_PROCESSING_DAYS).item()
    return f"LC08_L2SP_093084_{taken.item():%Y%m%d}_{processed:%Y%m%d}_02_T1"


def _write(path: Path, values: NDArray[Any], geobox: GeoBox, *, nodata: int | None) -> None:
    """Write one layer as a compressed GeoTIFF, tiled when it is large enough."""
    import rasterio

    options: dict[str, Any] = {"compress": "deflate"}
    if min(values.shape) >= _TILE:
        options |= {"tiled": True, "blockxsize": _TILE, "blockysize": _TILE}
    with (
        replacing(path) as partial,
        rasterio.open(
            partial,
            "w",
            driver="GTiff",
            height=values.shape[0],
            width=values.shape[1],
            count=1,
            dtype=values.dtype.name,
            crs=str(geobox.crs),
            transform=geobox.transform,
            nodata=nodata,
            **options,
        ) as target,
    ):
        target.write(values, 1)
