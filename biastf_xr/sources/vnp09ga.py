"""VNP09GA v2 daily surface reflectance of VIIRS (Suomi NPP; VJ109GA, VJ209GA of NOAA-20, -21).

Bands, scale, fill and the bits of QF1, QF2 and QF7 follow the VIIRS Surface Reflectance User's
Guide (Roger, Vermote, Devadiga, Ray) and the layer table of VNP09GA (LP DAAC,
doi:10.5067/VIIRS/VNP09GA.002).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from biastf_xr.sources._appeears import geotiffs
from biastf_xr.sources._land_grid import DailyReflectance, granules, not_reflectance, other_order

Platform = Literal["all", "snpp", "noaa20", "noaa21"]


@dataclass(frozen=True, kw_only=True)
class Vnp09ga(DailyReflectance):
    """VNP09GA, VJ109GA and VJ209GA v2, HDF5 granules as downloaded, and by AppEEARS.

    Blue, green and swir2 are 1-km bands; each of their pixels is repeated onto the four 500-m
    pixels it contains.  Clouds, cloud shadows and night are always masked.  `platform` is "snpp",
    "noaa20", "noaa21", or "all": Suomi NPP then comes first on every pixel, then NOAA-20.

    Attributes
    ----------
    mask_probably_clear : bool
        Whether pixels that are only probably clear are masked too.
    """

    name: ClassVar = "vnp09ga"
    title: ClassVar = "VNP09GA v2"
    expects: ClassVar = (
        "VNP09GA.A2020001.h29v12.002.2021111040506.h5, or of AppEEARS "
        "VNP09GA.002_SurfReflect_I1_1_doy2020001_aid0001.tif or VNP09GA.002_500m_aid0001.nc"
    )
    formats: ClassVar = ("GTiff", "netCDF")
    patterns: ClassVar = (
        granules("V(?:NP|J1|J2)09GA", "h5"), geotiffs("V(?:NP|J1|J2)09GA", "002"),
    )  # fmt: skip
    refused: ClassVar = (
        other_order(
            "V(?:NP|J1|J2)09GA", "002", "VNP09GA.001_SurfReflect_I1_doy2020001_aid0001.tif"
        ),
        not_reflectance("V(?:NP|J1|J2)(?!09GA|43[IM]A4)", "VNP13A1.A2020001.h29v12.002.2021.h5"),
    )
    # Imagery bands I have 500 m, moderate bands M 1 km.
    layer_names: ClassVar = {
        "SurfReflect_M3_1": "blue", "SurfReflect_M4_1": "green", "SurfReflect_I1_1": "red",
        "SurfReflect_I2_1": "nir", "SurfReflect_I3_1": "swir1", "SurfReflect_M11_1": "swir2",
        "SurfReflect_QF1_1": "QF1", "SurfReflect_QF2_1": "QF2", "SurfReflect_QF7_1": "QF7",
        "SensorZenith_1": "view_zenith", "obscov_500m_1": "obs_coverage",
    }  # fmt: skip
    needed: ClassVar = tuple(layer for layer in layer_names.values() if "_" not in layer)
    collection: ClassVar = "002"
    satellites: ClassVar = {"VNP": "snpp", "VJ1": "noaa20", "VJ2": "noaa21"}
    # QF1: bits 2-3 cloud (00 confidently clear, 01 probably clear, 10 and 11 cloudy), 4 night.
    # QF2: 3 cloud shadow, 4 heavy aerosol, 6 and 7 thin cirrus.  QF7: 1 adjacent to cloud.
    flags: ClassVar = {
        "QF1": {"always": (3, 4), "mask_probably_clear": (2,)},
        "QF2": {"always": (3,), "mask_aerosol": (4,), "mask_cirrus": (6, 7)},
        "QF7": {"mask_adjacent": (1,)},
    }
    mask_probably_clear: bool = False
    mask_aerosol: bool = True
    mask_cirrus: bool = False
    mask_adjacent: bool = False
    max_view_zenith: float = 90.0
    platform: Platform = "all"

    def __post_init__(self) -> None:
        self.check_choice("platform", get_args(Platform))
