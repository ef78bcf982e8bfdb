"""Orders of AppEEARS: names of its GeoTIFFs, and NetCDF as an archive of them.

A NetCDF file holds layers of one pixel size, on all days.  Layer and day are known here by the name
that AppEEARS gives a GeoTIFF of the same order, so that products know only one form.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr._urls import image_in
from biastf_xr.sources._rasters import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from biastf_xr.sources._rasters import Readable

_NETCDF = re.compile(
    r"(?P<order>\w+\.\d{3})_\d+k?m(?P<end>_aid\d+(?:_\d{1,2}[NS])?)\.nc$", re.IGNORECASE
)

# The first area of an order; most have no other.
_FIRST = "aid0001"


def geotiffs(product: str, collection: str = "061") -> re.Pattern[str]:
    """Return the pattern of GeoTIFFs, by a regular expression of the product."""
    return re.compile(
        rf"(?P<product>{product})\.(?P<order>{collection})_(?P<layer>\w+?)_doy(?P<date>\d{{7}})"
        r"(?:\d{6})?(?:_(?P<area>aid\d+))?(?:_(?P<zone>\d{1,2}[NS]))?\.tif$",
        re.IGNORECASE,
    )


def area_of(name: re.Match[str]) -> str:
    """Return what tells the areas and UTM zones of an order apart; the first area has no name."""
    area, zone = (name["area"] or _FIRST).lower(), name["zone"]
    return ("" if area == _FIRST else f".{area}") + (f".{zone.upper()}" if zone else "")


def images_of(path: Path, how: Readable) -> Iterator[tuple[str, str]]:
    """Name every layer and day of a NetCDF file, as `image_in` has them; none of another file."""
    name = _NETCDF.match(path.name)
    if not name or "netCDF" not in how.formats or not path.is_file():
        return
    try:
        with open_file(path, how) as file:
            parts = file.subdatasets or [file.tags(1)["NETCDF_VARNAME"]]
        for variable in (part.rpartition(":")[2] for part in parts):
            with open_file(image_in(path, variable, 1).rpartition("#")[0], how) as layer:
                for band, day in enumerate(_days(layer.tags()), 1):
                    text = f"{day.astype('M8[Y]')}{_number(day):03d}"
                    image = image_in(path, variable, band)
                    yield f"{name['order']}_{variable}_doy{text}{name['end']}.tif", image
    except (KeyError, ValueError):
        return


def _days(tags: dict[str, str]) -> list[np.datetime64]:
    """Return the days of a layer; AppEEARS counts them in our calendar, whatever it calls it."""
    unit, _, start = tags["time#units"].partition(" since ")
    if unit != "days":
        raise ValueError(unit)
    numbers = tags.get("NETCDF_DIM_time_VALUES") or tags["NETCDF_DIM_time"]
    first = np.datetime64(start.split()[0].split("T")[0], "D")
    return [first + int(float(number)) for number in numbers.strip("{}").split(",")]


def _number(day: np.datetime64) -> int:
    """Return the day of the year."""
    return int((day - day.astype("M8[Y]").astype("M8[D]")).astype(int)) + 1
