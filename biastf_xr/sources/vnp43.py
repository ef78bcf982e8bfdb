"""VNP43IA4 and VNP43MA4 v2, nadir reflectance of VIIRS (VJ143, VJ243 of NOAA-20, -21).

The VIIRS counterpart of MCD43A4: daily, from sixteen days, seen as if from straight above, dated by
the ninth day.  Bands, scale, fill and quality follow the layer tables of VNP43IA4 and VNP43MA4 (LP
DAAC, doi:10.5067/VIIRS/VNP43IA4.002, doi:10.5067/VIIRS/VNP43MA4.002).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, get_args

from biastf_xr.sources._appeears import area_of, geotiffs
from biastf_xr.sources._files import join_layers, lacking
from biastf_xr.sources._land_grid import (
    NadirReflectance,
    Quality,
    far,
    granules,
    not_reflectance,
    other_order,
    tile_of,
    version_of,
)
from biastf_xr.sources.base import Product, Scene

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

    import xarray as xr

# Imagery bands have 500 m, moderate bands 1 km, each in a file of its own.
_FORMS = {
    "IA4": {"I1": "red", "I2": "nir", "I3": "swir1"},
    "MA4": {"M3": "blue", "M4": "green", "M11": "swir2"},
}


@dataclass(frozen=True, kw_only=True)
class Vnp43(NadirReflectance):
    """VNP43IA4 with VNP43MA4 v2, nadir BRDF-adjusted reflectance: HDF5, or of AppEEARS.

    Blue, green and swir2 are 1-km bands; each of their pixels is repeated onto the four 500-m
    pixels it contains.
    """

    name: ClassVar = "vnp43"
    title: ClassVar = "VNP43IA4 and VNP43MA4 v2"
    expects: ClassVar = (
        "VNP43IA4.A2020001.h29v12.002.2021111040506.h5 and "
        "VNP43MA4.A2020001.h29v12.002.2021111040506.h5, or of AppEEARS "
        "VNP43IA4.002_Nadir_Reflectance_I1_doy2020001_aid0001.tif"
    )
    formats: ClassVar = ("GTiff", "netCDF")
    patterns: ClassVar = (
        granules("(?:VNP|VJ1|VJ2)43[IM]A4", "h5"), geotiffs("(?:VNP|VJ1|VJ2)43[IM]A4", "002"),
    )  # fmt: skip
    refused: ClassVar = (
        other_order(
            "(?:VNP|VJ1|VJ2)43[IM]A4", "002",
            "VNP43IA4.001_Nadir_Reflectance_I1_doy2020001_aid0001.tif",
        ),
        not_reflectance(
            "V(?:NP|J1|J2)43(?![IM]A4)", "VNP43IA1.A2020001.h29v12.002.2021111040506.h5"
        ),
    )  # fmt: skip
    layer_names: ClassVar = {
        f"Nadir_Reflectance_{n}": band for form in _FORMS.values() for n, band in form.items()
    } | {
        f"BRDF_Albedo_Band_Mandatory_Quality_{n}": f"{band}_quality"
        for form in _FORMS.values() for n, band in form.items()
    }  # fmt: skip
    needed: ClassVar = tuple(layer_names.values())
    collection: ClassVar = "002"
    quality: Quality = "magnitude"

    def __post_init__(self) -> None:
        self.check_choice("quality", get_args(Quality))

    def scene_id(self, name: re.Match[str]) -> str:
        """Return what the two products of a scene share: satellite, day, and tile or area."""
        groups = name.groupdict()
        place = "." + groups["tile"].lower() if "tile" in groups else area_of(name)
        return f"{name['product'][:5].upper()}.A{name['date']}{place}"

    def layer_of(self, name: re.Match[str]) -> str:
        """Return the layer, or the form of a granule; of two processings the later counts."""
        layer = super().layer_of(name)
        return name["product"][5:].upper() if layer == "granule" else layer

    def describe(
        self, names: Mapping[str, re.Match[str]], files: Mapping[str, Path | str]
    ) -> Scene:
        """Describe a scene by the names of its granules, or of the GeoTIFFs of both products."""
        granules = {form: name for form, name in names.items() if form in _FORMS}
        if not granules:
            return Product.describe(self, names, files)
        key = self.scene_id(next(iter(granules.values())))
        date, problem = self.read_day(key.split(".")[1][1:])
        files = {form: files[form] for form in granules}
        problem = problem or lacking(files, _FORMS)
        for name in granules.values():
            problem = problem or self.other_collection(name)
        problem = problem or next(filter(None, map(far, files.values())), "")
        version = max(version_of(name) for name in granules.values())
        return Scene(f"{key}.{version}", date, files, key, version, problem)

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene, digital numbers and quality; see `Product.open_scene`."""
        from biastf_xr.sources._granules import open_hdf5

        if not set(_FORMS) <= set(scene.files):
            return super().open_scene(scene)
        tile = tile_of(scene)
        size = None  # that of the imagery bands, which come first
        layers: dict[str, xr.DataArray] = {}
        for form, bands in _FORMS.items():
            names = {f"Nadir_Reflectance_{n}": band for n, band in bands.items()}
            names |= {f"BRDF_Albedo_Band_Mandatory_Quality_{n}": f"{band}_quality"
                      for n, band in bands.items()}  # fmt: skip
            layers |= open_hdf5(Path(scene.files[form]), names, tile, size)
            size = layers["red"].sizes["y"]
        return join_layers(scene.id, layers)
