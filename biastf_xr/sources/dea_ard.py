"""Landsat analysis-ready data of Digital Earth Australia, Collection 3: NBART, per-band GeoTIFFs.

Surface reflectance corrected for terrain and for view and sun angle.  Names, scale, fill and
classes of Fmask follow the product pages of Geoscience Australia (ga_ls5t_ard_3, ga_ls7e_ard_3,
ga_ls8c_ard_3, ga_ls9c_ard_3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from biastf_xr.sources._files import lacking
from biastf_xr.sources.base import Encoding, Product, Scene
from biastf_xr.sources.landsat_c2 import LandsatC2

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

_NAME = (
    r"ga_(?P<sensor>ls(?P<craft>[5789])[ct]?e?)_(?:nbart|oa)_(?P<version>\d+-\d+-\d+)_"
    r"(?P<place>\d{6})_(?P<date>\d{4}-\d\d-\d\d)_(?P<maturity>final|interim|nrt)_"
    r"(?P<layer>band\d\d|fmask)\.tif$"
)
_TM = {"band01": "blue", "band02": "green", "band03": "red", "band04": "nir", "band05": "swir1",
       "band07": "swir2", "fmask": "fmask"}  # fmt: skip
_MATURITY = ("nrt", "interim", "final")
_CLEAR, _SNOW, _WATER = 1, 4, 5


@dataclass(frozen=True, kw_only=True)
class DeaArd(Product):
    """Landsat 5 to 9 of Digital Earth Australia (``ga_ls8c_ard_3`` and the like), NBART.

    Clouds, cloud shadows and fill of ``oa_fmask`` are always masked.  Final scenes take the place
    of interim ones and of near real time.
    """

    name: ClassVar = "dea-ard"
    title: ClassVar = "Landsat of Digital Earth Australia"
    expects: ClassVar = (
        "ga_ls8c_nbart_3-1-0_088080_2020-05-25_final_band04.tif and "
        "ga_ls8c_oa_3-1-0_088080_2020-05-25_final_fmask.tif"
    )
    kind: ClassVar = "fine"
    patterns: ClassVar = (re.compile(_NAME),)
    layer_names: ClassVar = {
        "band02": "blue", "band03": "green", "band04": "red", "band05": "nir", "band06": "swir1",
        "band07": "swir2", "fmask": "fmask",
    }  # fmt: skip
    needed: ClassVar = tuple(layer_names.values())
    asset_keys: ClassVar = {
        "blue": ("nbart_blue",), "green": ("nbart_green",), "red": ("nbart_red",),
        "nir": ("nbart_nir",), "swir1": ("nbart_swir_1",), "swir2": ("nbart_swir_2",),
        "fmask": ("oa_fmask",),
    }  # fmt: skip
    encoding: ClassVar = Encoding(factor=1e-4, fill=(-999,))
    wavelengths: ClassVar = LandsatC2.wavelengths
    mask_snow: bool = False

    def scene_id(self, name: re.Match[str]) -> str:
        """Return the dataset that a file is of."""
        return "ga_{sensor}_ard_{version}_{place}_{date}_{maturity}".format(**name.groupdict())

    def layer_of(self, name: re.Match[str]) -> str:
        """Return the layer of a file, which the band numbers of its satellite tell."""
        return super().layer_of(name) if int(name["craft"]) >= 8 else _TM.get(name["layer"], "")

    def describe(
        self, names: Mapping[str, re.Match[str]], files: Mapping[str, Path | str]
    ) -> Scene:
        """Describe a scene by the names of its files."""
        name = next(iter(names.values()))
        date, problem = self.read_day(name["date"])
        key = "ga_{sensor}_{place}_{date}".format(**name.groupdict())
        numbers = ".".join(f"{int(n):03}" for n in name["version"].split("-"))
        version = f"{_MATURITY.index(name['maturity'])}.{numbers}"
        problem = problem or lacking(files, self.needed)
        return Scene(self.scene_id(name), date, files, key, version, problem)

    def usable(self, raw: xr.Dataset) -> Mapping[str, Any]:
        """Return where the numbers of each band may be used; see `Product.usable`."""
        # Fmask: 0 no data, 1 clear, 2 cloud, 3 shadow, 4 snow, 5 water.
        clear = (_CLEAR, _WATER) if self.mask_snow else (_CLEAR, _SNOW, _WATER)
        return dict.fromkeys(self.bands, raw["fmask"].isin(clear))
