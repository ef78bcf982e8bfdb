"""MOD09GQ and MYD09GQ v6.1, red and near infrared at 250 m, with the cloud state of MOD09GA.

MOD09GQ tells nothing of clouds: it is read beside MOD09GA of the same day.  Bits of `QC_250m_1`
follow the MODIS Surface Reflectance User's Guide, Collection 6.1; names the layer table of MOD09GQ
v6.1 (LP DAAC, doi:10.5067/MODIS/MOD09GQ.061).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from biastf_xr.sources._appeears import area_of, geotiffs
from biastf_xr.sources._files import join_layers, lacking
from biastf_xr.sources._land_grid import far, granules, version_of
from biastf_xr.sources.base import Product, Scene
from biastf_xr.sources.mod09ga import Mod09ga

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

    import xarray as xr

_BANDS = {"sur_refl_b01_1": "red", "sur_refl_b02_1": "nir", "QC_250m_1": "QC_250m"}
_STATE = {"state_1km_1": "state_1km", "SensorZenith_1": "view_zenith"}
# Lowest bit of the quality of each band.
_SHIFTS = {"red": 4, "nir": 8}


@dataclass(frozen=True, kw_only=True)
class Mod09gq(Mod09ga):
    """MOD09GQ (Terra) and MYD09GQ (Aqua) v6.1: two bands, for fine cubes of red and nir.

    Granules of MOD09GA of the same days lie beside them, or the layers ``state_1km_1`` and
    ``SensorZenith_1`` of it in an order of AppEEARS: their cloud state masks these bands.
    """

    name: ClassVar = "mod09gq"
    title: ClassVar = "MOD09GQ with MOD09GA v6.1"
    expects: ClassVar = (
        "MOD09GQ.A2020001.h29v12.061.2020003040506.hdf and "
        "MOD09GA.A2020001.h29v12.061.2020003040506.hdf"
    )
    kind: ClassVar = ""  # a folder of MOD09GA alone is that product
    patterns: ClassVar = (granules("M[OY]D09G[AQ]", "hdf"), geotiffs("M[OY]D09G[AQ]"))
    refused: ClassVar = ()
    layer_names: ClassVar = _BANDS | _STATE
    needed: ClassVar = ("red", "nir", "state_1km")

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands, by colour."""
        return "red", "nir"

    def scene_id(self, name: re.Match[str]) -> str:
        """Return what the two products of a scene share: satellite, day, and tile or area."""
        groups = name.groupdict()
        place = "." + groups["tile"].lower() if "tile" in groups else area_of(name)
        return f"{name['product'][:3].upper()}09GQ.A{name['date']}{place}"

    def layer_of(self, name: re.Match[str]) -> str:
        """Return the layer, or the product of a granule; bands are those of MOD09GQ alone."""
        layer, form = super().layer_of(name), name["product"][5:].upper()
        if layer == "granule":
            return form
        return layer if layer in (_BANDS if form == "GQ" else _STATE).values() else ""

    def describe(
        self, names: Mapping[str, re.Match[str]], files: Mapping[str, Path | str]
    ) -> Scene:
        """Describe a scene by the names of its granules, or of the GeoTIFFs of both products."""
        granules = {form: name for form, name in names.items() if form in ("GQ", "GA")}
        if not granules:
            return Product.describe(self, names, files)
        key = self.scene_id(next(iter(granules.values())))
        date, problem = self.read_day(key.split(".")[1][1:])
        files = {form: files[form] for form in granules}
        problem = problem or lacking(files, ("GQ", "GA"))
        for name in granules.values():
            problem = problem or self.other_collection(name)
        problem = problem or next(filter(None, map(far, files.values())), "")
        version = max(version_of(name) for name in granules.values())
        return Scene(f"{key}.{version}", date, files, key, version, problem)

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene, digital numbers and quality; see `Product.open_scene`."""
        if "GQ" not in scene.files:
            return super().open_scene(scene)
        from biastf_xr.sources import _granules

        path = Path(scene.files["GQ"])
        self.check_scale(path)
        layers = _granules.open_hdf4(path, _BANDS)
        size = layers["red"].sizes["y"]
        layers |= _granules.open_hdf4(Path(scene.files["GA"]), _STATE, size)
        return join_layers(scene.id, layers)

    def usable(self, raw: xr.Dataset) -> dict[str, Any]:
        """Return where the numbers of each band may be used; see `Product.usable`."""
        usable = super().usable(raw)
        if not (self.mask_quality and "QC_250m" in raw):
            return usable
        return {
            band: clear & ((raw["QC_250m"] >> _SHIFTS[band]) & 15).isin((0, 8))
            for band, clear in usable.items()
        }
