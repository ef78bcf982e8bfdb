"""What the products of the MODIS land grid share: names of files, granules, quality, view."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from biastf_xr.errors import SceneError
from biastf_xr.sources._files import join_layers
from biastf_xr.sources.base import Encoding, Product, Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import xarray as xr

# Inversions of the BRDF model that nadir reflectance may come from.
Quality = Literal["magnitude", "full"]

UNKNOWN = 255

# The first area of an order.
_FIRST = "aid0001"


def granules(product: str, suffix: str) -> re.Pattern[str]:
    """Return the pattern of granules as downloaded, by a regular expression of the product."""
    return re.compile(
        rf"(?P<product>{product})\.A(?P<date>\d{{7}})\.(?P<tile>h\d\dv\d\d)\."
        rf"(?P<collection>\d{{3}})\.(?P<processed>\d{{13}})\.{suffix}$",
        re.IGNORECASE,
    )


def appeears(product: str) -> re.Pattern[str]:
    """Return the pattern of GeoTIFFs of AppEEARS, collection 6.1."""
    return re.compile(
        rf"(?P<product>{product})\.061_(?P<layer>\w+?)_doy(?P<date>\d{{7}})(?:\d{{6}})?"
        r"(?:_(?P<area>aid\d+))?\.tif$",
        re.IGNORECASE,
    )


def tile_of(scene: Scene) -> str:
    """Return the tile that the name of an acquisition has."""
    return scene.acquisition.split(".")[2][:6]


class LandGridProduct(Product):
    """A product of the MODIS land grid.

    `collection`: The one that is read.
    `scaled`: Data set of HDF4 granules whose scale is compared with `encoding`.
    """

    kind: ClassVar = "coarse"
    collection: ClassVar[str]
    scaled: ClassVar[str] = ""

    def scene_id(self, name: re.Match[str]) -> str:
        """Return the granule, or of GeoTIFFs the product, the day and the area of the order."""
        if "tile" in name.groupdict():
            return Path(name.string).stem
        # Most orders have one area, which needs no name.
        area = "" if (name["area"] or _FIRST).lower() == _FIRST else f".{name['area'].lower()}"
        return f"{name['product'].upper()}.061.A{name['date']}{area}"

    def layer_of(self, name: re.Match[str]) -> str:
        """Return the layer of a file; a granule holds all of them."""
        return "granule" if "tile" in name.groupdict() else super().layer_of(name)

    def describe(
        self, names: Mapping[str, re.Match[str]], files: Mapping[str, Path | str]
    ) -> Scene:
        """Describe a scene by the names of its files."""
        if "granule" not in files:
            return super().describe(names, files)
        name = names["granule"]
        date, problem = self.read_day(name["date"])
        key = f"{name['product'].upper()}.A{name['date']}.{name['tile'].lower()}"
        problem = problem or self.other_collection(name)
        return Scene(self.scene_id(name), date, files, key, name["processed"], problem)

    def other_collection(self, name: re.Match[str]) -> str:
        """Return the problem of a granule of another collection than expected."""
        if name["collection"] == self.collection:
            return ""
        return (
            f"is of collection {name['collection']}; expected {self.collection}. Order it again, "
            "or keep collections apart."
        )

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene, digital numbers and quality; see `Product.open_scene`.

        The 1-km layers of a granule are repeated onto the 500-m pixels they contain.
        """
        if "granule" not in scene.files:
            return super().open_scene(scene)
        from biastf_xr.sources import _granules

        path = Path(scene.files["granule"])
        if path.suffix.lower() == ".h5":
            tile = tile_of(scene)
            return join_layers(scene.id, _granules.open_hdf5(path, self.layer_names, tile))
        stated, known = _granules.scale_of(path, self.scaled), self.encoding.factor
        # Some granules state the inverse of the scale.
        if stated is not None and not np.isclose(stated, (known, 1 / known)).any():
            raise SceneError(
                f"{path} states the scale factor {stated:g}; expected {known:g} or its inverse. "
                "Is it another product?"
            )
        return join_layers(scene.id, _granules.open_hdf4(path, self.layer_names))


class DailyReflectance(LandGridProduct):
    """Reflectance of one day, with the angle it was seen at: MOD09GA and its successors.

    `satellites`: Name of every satellite by what the names of its files begin with, in the order
    in which a mosaic takes them.
    """

    # 16000 is what larger numbers are clipped to.
    encoding: ClassVar = Encoding(factor=1e-4, low=-100, high=15999)
    satellites: ClassVar[Mapping[str, str]]
    platform: str
    max_view_zenith: float

    @property
    def extras(self) -> Mapping[str, dict[str, Any]]:
        """Return the further layers: how the pixel was seen."""
        return {
            "view_zenith": {
                "long_name": "sensor zenith angle; 255 where unknown",
                "units": "degree",
                "_fill": UNKNOWN,
            },
            "obs_coverage": {
                "long_name": "share of the pixel that the observation covers; 255 where unknown",
                "units": "percent",
                "_fill": UNKNOWN,
            },
        }

    def choose(self, scenes: Iterable[Scene], folder: Path | str) -> list[Scene]:
        """Take the scenes of the platform; see `Product.choose`."""
        found = super().choose(scenes, folder)
        if self.platform not in self.satellites.values():
            return found
        return [s for s in found if self.satellites[s.id[:3].upper()] == self.platform]

    def rank(self, scene: Scene) -> tuple[Any, ...]:
        """Return where a scene comes among those of its day: by satellite, then by id."""
        return list(self.satellites).index(scene.id[:3].upper()), scene.id

    def usable(self, raw: xr.Dataset) -> dict[str, Any]:
        """Return where the numbers of each band may be used; see `Product.usable`."""
        usable = dict(super().usable(raw))
        if self.max_view_zenith >= 90.0:
            return usable
        angle = _view_zenith(raw)
        near = (angle <= self.max_view_zenith) | (angle == UNKNOWN)
        return {band: clear & near for band, clear in usable.items()}

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask a scene; see `Product.to_reflectance`."""
        share = _whole(raw, "obs_coverage", 1, 100)
        seen = {"view_zenith": _view_zenith(raw), "obs_coverage": share}
        return super().to_reflectance(raw).assign(seen)


def _view_zenith(raw: xr.Dataset) -> xr.DataArray:
    return _whole(raw, "view_zenith", 100, 9000)


def _whole(raw: xr.Dataset, layer: str, unit: int, largest: int) -> xr.DataArray:
    """Return a layer in whole units as uint8; `UNKNOWN` where it, or its value, is unknown."""
    import xarray as xr

    if layer not in raw:
        return xr.full_like(raw["red"], UNKNOWN, dtype=np.uint8)
    values = raw[layer]
    known = (values >= 0) & (values <= largest)
    return (values / unit).round().where(known, UNKNOWN).astype(np.uint8)


class NadirReflectance(LandGridProduct):
    """Reflectance as if seen from straight above, with the inversion each band comes from."""

    encoding: ClassVar = Encoding(factor=1e-4, low=0, high=32766)
    quality: Quality

    def usable(self, raw: xr.Dataset) -> dict[str, Any]:
        """Return where the numbers of each band may be used; see `Product.usable`."""
        # Mandatory quality: 0 full inversion of the BRDF model, 1 of its magnitude only, 255 fill.
        worst = {"full": 0, "magnitude": 1}[self.quality]
        return {band: raw[f"{band}_quality"] <= worst for band in self.bands}
