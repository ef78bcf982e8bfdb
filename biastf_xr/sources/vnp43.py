"""VNP43IA4 and VNP43MA4 v2, nadir reflectance of VIIRS (VJ143, VJ243 of NOAA-20, -21).

The VIIRS counterpart of MCD43A4: daily, from sixteen days, seen as if from straight above, dated by
the ninth day.  Bands, scale, fill and quality follow the layer tables of VNP43IA4 and VNP43MA4 (LP
DAAC, doi:10.5067/VIIRS/VNP43IA4.002, doi:10.5067/VIIRS/VNP43MA4.002).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from biastf_xr.errors import ConfigError
from biastf_xr.sources._hdfeos5 import open_granule
from biastf_xr.sources.base import (
    Scene,
    in_order,
    join_layers,
    julian_day,
    lacking,
    require_folder,
)
from biastf_xr.sources.mcd43a4 import Quality, nadir_reflectance
from biastf_xr.sources.mod09ga import other_collection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

GRANULE = re.compile(
    r"(?P<satellite>VNP|VJ1|VJ2)43(?P<form>IA4|MA4)\.A(?P<date>\d{7})\.(?P<tile>h\d\dv\d\d)\."
    r"(?P<collection>\d{3})\.(?P<processed>\d{13})\.h5$",
    re.IGNORECASE,
)
COLLECTION = "002"
# Imagery bands have 500 m, moderate bands 1 km, each in a file of its own.
COLOURS = {
    "IA4": {"I1": "red", "I2": "nir", "I3": "swir1"},
    "MA4": {"M3": "blue", "M4": "green", "M11": "swir2"},
}


@dataclass(frozen=True, kw_only=True)
class Vnp43:
    """VNP43IA4 with VNP43MA4 v2, nadir BRDF-adjusted reflectance, HDF5 granules as downloaded.

    Blue, green and swir2 are 1-km bands; each of their pixels is repeated onto the four 500-m
    pixels it contains.

    Attributes
    ----------
    quality : {"magnitude", "full"}
        Worst inversion to take, as of `biastf_xr.sources.mcd43a4.Mcd43a4`.
    """

    name: ClassVar[str] = "vnp43"
    expects: ClassVar[str] = (
        "VNP43IA4.A2020001.h29v12.002.2021111040506.h5 and "
        "VNP43MA4.A2020001.h29v12.002.2021111040506.h5"
    )
    quality: Quality = "magnitude"

    def __post_init__(self) -> None:
        if self.quality not in get_args(Quality):
            raise ConfigError(f"quality is {self.quality!r}; expected one of {get_args(Quality)}.")

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands, by colour."""
        return ("blue", "green", "red", "nir", "swir1", "swir2")

    @property
    def extras(self) -> Mapping[str, dict[str, Any]]:
        """Return the further layers: none."""
        return {}

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the scenes under a folder, by date; see `Product.find_scenes`."""
        found: dict[tuple[str, ...], dict[str, re.Match[str]]] = defaultdict(dict)
        where: dict[str, Path] = {}
        for path in sorted(require_folder(folder, "VNP43IA4 and VNP43MA4 v2").rglob("*")):
            match = GRANULE.match(path.name)
            if not match:
                continue
            place = (match["satellite"].upper(), match["date"], match["tile"].lower())
            form = match["form"].upper()
            # Of two processings the later one, in order of name, is taken.
            found[place][form] = match
            where[match.string] = path
        scenes = []
        for (satellite, day, tile), forms in found.items():
            date, problem = julian_day(day)
            files: dict[str, Path | str] = {form: where[m.string] for form, m in forms.items()}
            problem = problem or lacking(files, COLOURS)
            for match in forms.values():
                problem = problem or other_collection(match["collection"], COLLECTION)
            version = max(m["processed"] for m in forms.values())
            key = f"{satellite}43.A{day}.{tile}"
            scenes.append(Scene(f"{key}.{version}", date, files, key, version, problem))
        return in_order(scenes)

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene, digital numbers and quality; see `Product.open_scene`."""
        tile = scene.acquisition.rsplit(".", 1)[-1]
        size = None  # that of the imagery bands, which come first
        layers: dict[str, xr.DataArray] = {}
        for form, bands in COLOURS.items():
            names = {f"Nadir_Reflectance_{n}": colour for n, colour in bands.items()}
            names |= {f"BRDF_Albedo_Band_Mandatory_Quality_{n}": f"{colour}_quality"
                      for n, colour in bands.items()}  # fmt: skip
            layers |= open_granule(scene.files[form], names, tile, size)
            size = layers["red"].sizes["y"]
        return join_layers(scene.id, layers)

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask a scene; see `Product.to_reflectance`."""
        return nadir_reflectance(raw, self.bands, self.quality)
