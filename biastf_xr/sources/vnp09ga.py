"""VNP09GA v2 daily surface reflectance of VIIRS (Suomi NPP; VJ109GA, VJ209GA of NOAA-20, -21).

Bands, scale, fill and the bits of QF1, QF2 and QF7 follow the VIIRS Surface Reflectance User's
Guide (Roger, Vermote, Devadiga, Ray) and the layer table of VNP09GA (LP DAAC,
doi:10.5067/VIIRS/VNP09GA.002).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import xarray as xr

from biastf_xr.errors import ConfigError
from biastf_xr.sources._hdfeos5 import open_granule
from biastf_xr.sources.base import Scene, bit, in_order, join_layers, require_folder, scale
from biastf_xr.sources.mod09ga import granule_scene, how_seen, seen_attrs

Platform = Literal["all", "snpp", "noaa20", "noaa21"]

GRANULE = re.compile(
    r"(?P<product>V(?:NP|J1|J2)09GA)\.A(?P<date>\d{7})\.(?P<tile>h\d\dv\d\d)\."
    r"(?P<collection>\d{3})\.(?P<processed>\d{13})\.h5$",
    re.IGNORECASE,
)
SATELLITE = {"VNP": "snpp", "VJ1": "noaa20", "VJ2": "noaa21"}
COLLECTION = "002"

# Imagery bands I have 500 m, moderate bands M 1 km.
BANDS = {
    "SurfReflect_M3_1": "blue",
    "SurfReflect_M4_1": "green",
    "SurfReflect_I1_1": "red",
    "SurfReflect_I2_1": "nir",
    "SurfReflect_I3_1": "swir1",
    "SurfReflect_M11_1": "swir2",
}
LAYERS = BANDS | {
    "SurfReflect_QF1_1": "QF1",
    "SurfReflect_QF2_1": "QF2",
    "SurfReflect_QF7_1": "QF7",
    "SensorZenith_1": "view_zenith",
    "obscov_500m_1": "obs_coverage",
}
SCALE, VALID_MIN, VALID_MAX = 1e-4, -100, 16000

# QF1: bits 2-3 cloud (00 confidently clear, 01 probably clear, 10 and 11 cloudy), 4 night.
# QF2: 3 cloud shadow, 4 heavy aerosol, 6 and 7 thin cirrus.  QF7: 1 adjacent to cloud.
PROBABLY_CLEAR, CLOUDY, NIGHT = 2, 3, 4
SHADOW, AEROSOL, CIRRUS, ADJACENT = 3, 4, (6, 7), 1


@dataclass(frozen=True, kw_only=True)
class Vnp09ga:
    """VNP09GA, VJ109GA and VJ209GA v2, HDF5 granules as downloaded.

    Blue, green and swir2 are 1-km bands; each of their pixels is repeated onto the four 500-m
    pixels it contains.

    Attributes
    ----------
    mask_probably_clear, mask_aerosol, mask_cirrus, mask_adjacent : bool
        Whether pixels that are only probably clear, under heavy aerosol, under thin cirrus, or next
        to a cloud are masked too.  Clouds, cloud shadows and night always are.
    max_view_zenith : float
        Largest view zenith angle in degrees.
    platform : {"all", "snpp", "noaa20", "noaa21"}
        Which to take; of several, Suomi NPP comes first on every pixel, then NOAA-20.
    """

    name: ClassVar[str] = "vnp09ga"
    expects: ClassVar[str] = "VNP09GA.A2020001.h29v12.002.2021111040506.h5"
    mask_probably_clear: bool = False
    mask_aerosol: bool = True
    mask_cirrus: bool = False
    mask_adjacent: bool = False
    max_view_zenith: float = 90.0
    platform: Platform = "all"

    def __post_init__(self) -> None:
        if self.platform not in get_args(Platform):
            raise ConfigError(
                f"platform is {self.platform!r}; expected one of {get_args(Platform)}."
            )

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands, by colour."""
        return tuple(BANDS.values())

    @property
    def extras(self) -> dict[str, dict[str, Any]]:
        """Return the further layers: how the pixel was seen."""
        return seen_attrs()

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the scenes under a folder, by date; see `Product.find_scenes`."""
        scenes = []
        for path in sorted(require_folder(folder, "VNP09GA v2").rglob("*")):
            match = GRANULE.match(path.name)
            if match and self.platform in ("all", SATELLITE[match["product"][:3].upper()]):
                scenes.append(granule_scene(match, path, COLLECTION))
        rank = list(SATELLITE)
        # Sorting is stable: within a day the satellites keep their order.
        by_satellite = sorted(scenes, key=lambda s: rank.index(s.id[:3].upper()))
        return in_order(by_satellite, by_id=False)

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene, digital numbers and quality; see `Product.open_scene`."""
        path = Path(scene.files["granule"])
        tile = scene.acquisition.rsplit(".", 1)[-1]
        return join_layers(scene.id, open_granule(path, LAYERS, tile))

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask a scene; see `Product.to_reflectance`."""
        masked = bit(raw["QF1"], CLOUDY, NIGHT, *[PROBABLY_CLEAR] * self.mask_probably_clear)
        masked |= bit(raw["QF2"], SHADOW, *[AEROSOL] * self.mask_aerosol)
        if self.mask_cirrus:
            masked |= bit(raw["QF2"], *CIRRUS)
        if self.mask_adjacent:
            masked |= bit(raw["QF7"], ADJACENT)
        seen = how_seen(raw)
        # Unknown angles are stored as a number that is larger than any angle.
        known = raw["view_zenith"] >= 0
        masked |= known & (seen["view_zenith"] > self.max_view_zenith)
        ready = {}
        for band in BANDS.values():
            valid = ~masked & (raw[band] >= VALID_MIN) & (raw[band] <= VALID_MAX)
            ready[band] = scale(raw[band], factor=SCALE, offset=0.0, valid=valid)
        return xr.Dataset(ready | seen)
