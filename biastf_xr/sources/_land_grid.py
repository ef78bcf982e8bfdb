"""What the products of the MODIS land grid share: names of files, granules, quality, view."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from biastf_xr._urls import is_url
from biastf_xr.errors import SceneError
from biastf_xr.sources._appeears import area_of
from biastf_xr.sources._files import join_layers, lacking
from biastf_xr.sources.base import Encoding, Product, Refused, Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import xarray as xr

# Inversions of the BRDF model that nadir reflectance may come from.
Quality = Literal["magnitude", "full"]

UNKNOWN = 255


def granules(product: str, suffix: str) -> re.Pattern[str]:
    """Return the pattern of granules as downloaded, by a regular expression of the product."""
    return re.compile(rf"{_granule(product)}\.{suffix}$", re.IGNORECASE)


def cogs(product: str) -> re.Pattern[str]:
    """Return the pattern of granules as COGs, one for each layer."""
    return re.compile(rf"{_granule(product)}_(?P<layer>\w+)\.tif$", re.IGNORECASE)


def _granule(product: str) -> str:
    # Near-real-time granules end in NRT, or their product in N or _NRT.
    return (
        rf"(?P<id>(?P<product>{product})(?:N|_NRT)?\.A(?P<date>\d{{7}})\.(?P<tile>h\d\dv\d\d)\."
        r"(?P<collection>\d{3})(?:\.(?P<processed>\d{13}))?(?:\.NRT)?)"
    )


def tile_of(scene: Scene) -> str:
    """Return the tile that the name of an acquisition has."""
    return scene.acquisition.split(".")[2][:6]


def not_reflectance(product: str, example: str) -> Refused:
    """Return the refusal of other products of the land grid, by a regular expression."""
    return Refused(
        pattern=re.compile(
            rf"(?P<other>{product}\w*)\.(?:A(?P<date>\d{{7}})|\d{{3}}_).*\.(?:hdf|h5|tif|nc)$",
            re.IGNORECASE,
        ),
        example=example,
        why=(
            "is {other}, which is not a daily surface reflectance that is read. Order MOD09GA, "
            "MOD09A1, MCD43A4, VNP09GA or VNP43IA4, or read it as GeoTIFF with product = "
            '"geotiff".'
        ),
    )


def other_order(product: str, collection: str, example: str) -> Refused:
    """Return the refusal of orders of AppEEARS of another collection."""
    return Refused(
        pattern=re.compile(
            rf"(?P<id>(?P<product>{product})\.(?P<order>(?!{collection})\d{{3}})_).*\.(?:tif|nc)$",
            re.IGNORECASE,
        ),
        example=example,
        why=f"is of collection {{order}}; expected {collection}. Order it again.",
    )


def version_of(name: re.Match[str]) -> str:
    """Return the stamp of a granule; near real time gives way to the final processing."""
    near = "NRT" in name["id"].upper() or name["id"][len(name["product"])] != "."
    return ("0" if near else "") + (name["processed"] or "")


class LandGridProduct(Product):
    """A product of the MODIS land grid.

    `collection`: The one that is read.
    `scaled`: Data set of HDF4 granules whose scale is compared with `encoding`.
    `short_names`: Name of layers by what COGs call them, beside `layer_names`.
    """

    kind: ClassVar[Literal["fine", "coarse", ""]] = "coarse"
    collection: ClassVar[str]
    scaled: ClassVar[str] = ""
    short_names: ClassVar[Mapping[str, str]] = {}

    def scene_id(self, name: re.Match[str]) -> str:
        """Return the granule, or the product, day and area of an order of AppEEARS."""
        if "tile" in name.groupdict():
            return name["id"]
        return f"{name['product'].upper()}.{name['order']}.A{name['date']}{area_of(name)}"

    def layer_of(self, name: re.Match[str]) -> str:
        """Return the layer of a file; a granule holds all of them."""
        if "layer" not in name.groupdict():
            return "granule"
        return super().layer_of(name) or self.short_names.get(name["layer"], "")

    def describe(
        self, names: Mapping[str, re.Match[str]], files: Mapping[str, Path | str]
    ) -> Scene:
        """Describe a scene by the names of its files."""
        name = names.get("granule", next(iter(names.values())))
        if "tile" not in name.groupdict():
            return super().describe(names, files)
        date, problem = self.read_day(name["date"])
        key = f"{name['product'].upper()}.A{name['date']}.{name['tile'].lower()}"
        if "granule" in files:
            files = {"granule": files["granule"]}
            problem = problem or self.other_collection(name) or far(files["granule"])
        else:
            # COGs in the cloud are of collection 006 as well; bands, scale and fill are the same.
            of_old = name["collection"] in ("006", self.collection)
            problem = problem or ("" if of_old else self.other_collection(name))
            problem = problem or lacking(files, self.needed)
        return Scene(self.scene_id(name), date, files, key, version_of(name), problem)

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

        Layers of larger pixels (1 km beside 500 m) are repeated onto the pixels they contain.
        """
        if "granule" not in scene.files:
            return super().open_scene(scene)
        from biastf_xr.sources import _granules

        path = scene.files["granule"]
        if str(path).lower().endswith(".h5"):
            tile = tile_of(scene)
            return join_layers(scene.id, _granules.open_hdf5(Path(path), self.layer_names, tile))
        self.check_scale(Path(path))
        return join_layers(scene.id, _granules.open_hdf4(Path(path), self.layer_names))

    def join(self, scene_id: str, layers: Mapping[str, xr.DataArray]) -> xr.Dataset:
        """Put the layers on the grid of the smallest pixels; larger ones are repeated."""
        sizes = {name: abs(layer.rio.resolution()[0]) for name, layer in layers.items()}
        smallest = min(sizes.values())
        fine = {name: layer for name, layer in layers.items() if sizes[name] < 1.5 * smallest}
        raw = join_layers(scene_id, fine)
        coarse = {name: layers[name] for name in layers if name not in fine}
        return raw.assign({name: _on_pixels(layer, raw) for name, layer in coarse.items()})

    def check_scale(self, path: Path) -> None:
        """Refuse an HDF4 granule that states another scale."""
        from biastf_xr.sources import _granules

        stated, known = _granules.scale_of(path, self.scaled), self.encoding.factor
        # Some granules state the inverse of the scale.
        if stated is not None and not np.isclose(stated, (known, 1 / known)).any():
            raise SceneError(
                f"{path} states the scale factor {stated:g}; expected {known:g} or its inverse. "
                "Is it another product?"
            )


def far(file: Path | str) -> str:
    """Return the problem of a granule behind a URL."""
    if not is_url(file):
        return ""
    return f"lies at {file}; granules are read from files of this machine only. Download it."


def _on_pixels(layer: xr.DataArray, raw: xr.Dataset) -> xr.DataArray:
    """Repeat a layer onto the smaller pixels whose centres each of its pixels contains.

    Outside of it numbers are the largest there are: no reflectance, and every bit set.
    """
    kind = layer.dtype
    return layer.drop_vars("spatial_ref").reindex(
        y=raw["y"],
        x=raw["x"],
        method="nearest",
        tolerance=0.51 * abs(layer.rio.resolution()[0]),
        fill_value=np.nan if kind.kind == "f" else np.iinfo(kind).max,
    )


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
