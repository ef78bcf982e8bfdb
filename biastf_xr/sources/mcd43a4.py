"""MCD43A4 v6.1, nadir reflectance: HDF4 granules, or GeoTIFFs of AppEEARS.

Daily, from sixteen days of Terra and Aqua, seen as if from straight above: no view angle disturbs
the series, but a sudden change appears over several days.  The date is the ninth of the sixteen
days, as in the file name.  Bands, scale, fill and quality follow the layer table of MCD43A4 v6.1
(LP DAAC, doi:10.5067/MODIS/MCD43A4.061).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

from biastf_xr.sources._appeears import geotiffs
from biastf_xr.sources._land_grid import (
    NadirReflectance,
    Quality,
    cogs,
    granules,
    not_reflectance,
    other_order,
)
from biastf_xr.sources.mod09ga import Mod09ga

_COLOURS = {3: "blue", 4: "green", 1: "red", 2: "nir", 6: "swir1", 7: "swir2"}


@dataclass(frozen=True, kw_only=True)
class Mcd43a4(NadirReflectance):
    """MCD43A4 v6.1, nadir BRDF-adjusted reflectance.

    The series has no effect of the view angle, but a sudden change is spread over its sixteen days.
    """

    name: ClassVar = "mcd43a4"
    title: ClassVar = "MCD43A4 v6.1"
    expects: ClassVar = (
        "MCD43A4.A2020001.h29v12.061.2020010040506.hdf, "
        "MCD43A4N.A2024061.h29v12.061.2024070040506.hdf, "
        "MCD43A4.A2017006.h21v11.006.2017018074804_B01.TIF, or of AppEEARS "
        "MCD43A4.061_Nadir_Reflectance_Band1_doy2020001_aid0001.tif or MCD43A4.061_500m_aid0001.nc"
    )
    formats: ClassVar = ("GTiff", "netCDF")
    patterns: ClassVar = (granules("MCD43A4", "hdf"), cogs("MCD43A4"), geotiffs("MCD43A4"))
    refused: ClassVar = (
        other_order("MCD43A4", "061", "MCD43A4.006_Nadir_Reflectance_Band1_doy2020001_aid0001.tif"),
        not_reflectance("MCD(?!43A4N?[._])", "MCD43A3.A2020001.h29v12.061.2020010040506.hdf"),
    )
    layer_names: ClassVar = {f"Nadir_Reflectance_Band{n}": band for n, band in _COLOURS.items()} | {
        f"BRDF_Albedo_Band_Mandatory_Quality_Band{n}": f"{band}_quality"
        for n, band in _COLOURS.items()
    }
    short_names: ClassVar = {f"B{n:02}": band for n, band in _COLOURS.items()} | {
        f"B{n:02}qa": f"{band}_quality" for n, band in _COLOURS.items()
    }
    needed: ClassVar = tuple(layer_names.values())
    collection: ClassVar = "061"
    scaled: ClassVar = "Nadir_Reflectance_Band1"
    wavelengths: ClassVar = Mod09ga.wavelengths
    quality: Quality = "magnitude"

    def __post_init__(self) -> None:
        self.check_choice("quality", get_args(Quality))
