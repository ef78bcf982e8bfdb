"""Harmonized Landsat Sentinel-2 (HLS) v2.0, L30 and S30 as one series, GeoTIFFs as downloaded.

File names, bands, scale, fill and Fmask bits follow the HLS Product User Guide, version 2.0 (NASA
LP DAAC, HLS_User_Guide_V2.pdf; Fmask in its section 6.4, table 9).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from biastf_xr.errors import ConfigError, SceneError
from biastf_xr.sources._appeears import area_of, geotiffs
from biastf_xr.sources.base import Encoding, Product, Refused, Scene
from biastf_xr.sources.landsat_c2 import LandsatC2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import xarray as xr


Sensor = Literal["L30", "S30"]

_NAME = (
    r"(?P<id>HLS\.(?P<sensor>[LS]30)\.T(?P<tile>\d{2}[A-Z]{3})\.(?P<date>\d{7})T\d{6}\.v2\.0)\."
    r"(?P<layer>B\d[\dA]|Fmask|BLUE|GREEN|RED|NIR1|SWIR[12]|FMASK)(?:\.subset)?\.tif$"
)
# As the script HLS_SuPER renames the bands of both sensors.
_COMMON = {"BLUE": "blue", "GREEN": "green", "RED": "red", "NIR1": "nir", "SWIR1": "swir1",
           "SWIR2": "swir2", "FMASK": "Fmask"}  # fmt: skip
# In ids of scenes and collections: HLS.L30, HLSL30.v2.0, hls2-l30.
_SENSOR = re.compile(r"hls2?[._-]?([LS]30)", re.IGNORECASE)
_S30_KEYS = {
    "nir": ("B8A", "nir_narrow"), "swir1": ("B11", "swir_1"), "swir2": ("B12", "swir_2"),
}  # fmt: skip
_LAYERS = {"B02": "blue", "B03": "green", "B04": "red", "Fmask": "Fmask"}


@dataclass(frozen=True, kw_only=True)
class Hls(Product):
    """HLS v2.0 of one MGRS tile: L30 (Landsat 8 and 9) and S30 (Sentinel-2).

    GeoTIFFs as LP DAAC delivers them, six bands and ``Fmask``; both make one series.  With a
    ``[grid]`` a cube may hold several tiles.  Clouds, cloud shadows and fill are always masked.
    The cirrus bit is reserved in v2.0, so `mask_cirrus` matters only where a producer sets it.

    Attributes
    ----------
    tile : str, optional
        The MGRS tile to take, as "55HCV"; needed if the folder holds several.
    prefer : {"L30", "S30"}
        Which one comes first on a day that has both; the other fills what is not clear there.
    """

    name: ClassVar = "hls"
    title: ClassVar = "HLS v2.0"
    expects: ClassVar = (
        "HLS.L30.T55HCV.2020001T000000.v2.0.B02.tif, of the script HLS_SuPER "
        "HLS.S30.T55HCV.2020001T000000.v2.0.B8A.subset.tif, or of AppEEARS "
        "HLSL30.020_B02_doy2020001_aid0001_55S.tif or HLSS30.020_30m_aid0001_55S.nc"
    )
    formats: ClassVar = ("GTiff", "netCDF")
    kind: ClassVar = "fine"
    patterns: ClassVar = (re.compile(_NAME), geotiffs("HLS(?P<sensor>[LS]30)", "020"))
    refused: ClassVar = (
        Refused(
            pattern=re.compile(r"HLS\.[LS]30\.T\w{5}\.(?P<date>\d{7})(?:T\d{6})?\.v1\.\d.*\.hdf"),
            example="HLS.L30.T18SUJ.2017123.v1.4.hdf", why="is HLS v1; order v2.0.",
        ),
        Refused(
            pattern=re.compile(r"HLS\.T\w{5}\..*\.subset\.nc4$"),
            example="HLS.T17SLU.2020-10-24.2020-11-10.subset.nc4",
            why="is a NetCDF of HLS_SuPER. Order COG of it (-of COG), or NetCDF of AppEEARS.",
        ),
        Refused(
            pattern=re.compile(r"(?P<id>HLS[._].*)\.(?:zip|tar\.gz|tgz)$"),
            example="HLS.L30.T55HCV.2020001T000000.v2.0.zip",
            why="is packed in a form that cannot be read in place. Unpack it.",
        ),
    )  # fmt: skip
    layer_names: ClassVar = {**_LAYERS, "B05": "nir", "B06": "swir1", "B07": "swir2"}
    needed: ClassVar = ("blue", "green", "red", "nir", "swir1", "swir2", "Fmask")
    # As LP DAAC, for L30, and stactools name them; those of S30 in `keys_of`.
    asset_keys: ClassVar = {
        "blue": ("B02", "blue"), "green": ("B03", "green"), "red": ("B04", "red"),
        "nir": ("B05", "nir_narrow"), "swir1": ("B06", "swir_1"), "swir2": ("B07", "swir_2"),
        "Fmask": ("Fmask", "fmask"),
    }  # fmt: skip
    # 0 cirrus, 1 cloud, 2 next to cloud or shadow, 3 cloud shadow, 4 snow, 5 water, 6-7 aerosol
    # level.  The fill value, 255, has all of them set.
    flags: ClassVar = {
        "Fmask": {
            "always": (1, 3), "mask_adjacent": (2,), "mask_cirrus": (0,), "mask_snow": (4,),
        },
    }  # fmt: skip
    # The product has no valid range; this is that of reflectance.
    encoding: ClassVar = Encoding(factor=1e-4, fill=(-9999,), low=-1999, high=15999)
    wavelengths: ClassVar = LandsatC2.wavelengths
    mask_adjacent: bool = True
    mask_cirrus: bool = False
    mask_snow: bool = False
    mask_aerosol: bool = False
    tile: str | None = None
    prefer: Sensor = "L30"

    def __post_init__(self) -> None:
        self.check_choice("prefer", get_args(Sensor))
        if self.tile is not None:
            match = re.fullmatch(r"T?(\d{2}[A-Z]{3})", str(self.tile).upper())
            if not match:
                raise ConfigError(f'tile is {self.tile!r}; expected an MGRS tile, as "55HCV".')
            # One spelling: cubes compare products by their options.
            object.__setattr__(self, "tile", match[1])

    def choose(self, scenes: Iterable[Scene], folder: Path | str) -> list[Scene]:
        """Take the scenes of the tile; see `Product.choose`."""
        found = super().choose(scenes, folder)
        tiles = sorted({_tile(scene) for scene in found} - {""})
        if self.tile is None and len(tiles) > 1:
            raise SceneError(
                f"{folder} holds several MGRS tiles: {tiles}. Choose one with the option "
                f'tile, as tile = "{tiles[0]}", or keep every tile in a folder of its own.'
            )
        if self.tile is not None and tiles and self.tile not in tiles:
            raise SceneError(
                f"{folder} holds no scene of the tile {self.tile}; it has {tiles}. "
                "Correct the option tile or the folder."
            )
        # An item of a catalogue may have an id that tells no tile.
        return [s for s in found if self.tile is None or _tile(s) in (self.tile, "")]

    def scene_id(self, name: re.Match[str]) -> str:
        """Return the scene, or the sensor, day and area of an order of AppEEARS."""
        if "order" not in name.groupdict():
            return super().scene_id(name)
        return f"HLS.{name['sensor'].upper()}.A{name['date']}{area_of(name)}"

    def layer_of(self, name: re.Match[str]) -> str:
        """Return the layer of a file; the near infrared like that of OLI is B8A of Sentinel-2."""
        if name["layer"] in _COMMON:
            return _COMMON[name["layer"]]
        if name["sensor"] == "L30":
            return super().layer_of(name)
        return (_LAYERS | {"B8A": "nir", "B11": "swir1", "B12": "swir2"}).get(name["layer"], "")

    def keys_of(self, names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Return the asset keys of L30 or S30: B11 is thermal in the one and swir1 in the other."""
        found = {m[1].upper() for name in names for m in [_SENSOR.search(name)] if m}
        if len(found) != 1:
            raise SceneError(
                f"names {sorted(found) or 'no product'} in its id, collection and files; expected "
                "L30 or S30, as in HLS.L30.T55HCV.2020001T000000.v2.0. Correct the item."
            )
        return self.asset_keys if found == {"L30"} else {**self.asset_keys, **_S30_KEYS}

    def usable(self, raw: xr.Dataset) -> Mapping[str, Any]:
        """Return where the numbers of each band may be used; see `Product.usable`."""
        usable = super().usable(raw)
        if not self.mask_aerosol:
            return usable
        hazy = (raw["Fmask"] >> 6) == 3
        return {band: clear & ~hazy for band, clear in usable.items()}

    def rank(self, scene: Scene) -> tuple[Any, ...]:
        """Return where a scene comes among those of its day: the preferred sensor first."""
        return f".{self.prefer}." not in scene.id, scene.id


def _tile(scene: Scene) -> str:
    """Return the MGRS tile that a scene's id names, if it does."""
    name = re.search(r"\.T(\d{2}[A-Z]{3})\.", scene.id)
    return name[1] if name else ""
