"""Scenes of a STAC catalogue, static or behind an API, read as one of the other products.

A catalogue only says where files are: masks, scale and grid are those of the product that the
items hold (`like`), and windows, mosaics and reprojection are the ingest's own, so that neither
stackstac nor odc-stac is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from biastf_xr._urls import is_url
from biastf_xr.errors import ConfigError, SceneError
from biastf_xr.sources import PRODUCTS, build_product, product_class
from biastf_xr.sources._files import lacking
from biastf_xr.sources.base import Product, Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import xarray as xr


@dataclass(frozen=True, kw_only=True)
class Stac(Product):
    """Items of a STAC catalogue.

    Attributes
    ----------
    like : str
        Product that the items hold: "landsat-c2-l2" or "hls".
    options : dict
        Options of that product, for instance ``mask_snow = true``.
    collections : tuple of str
        Collections to take; of a static catalogue all by default.
    bbox : tuple of float, optional
        West, south, east, north in degrees.  An API needs it.
    datetime : str, optional
        Period, as "2021-04-01/2021-06-30".  An API needs it.
    assets : dict of str
        Asset keys that differ from the usual ones, by layer.
    """

    name: ClassVar = "stac"
    title: ClassVar = "STAC"
    required: ClassVar = 'like = "landsat-c2-l2"         # product that the items hold\n'
    expects: ClassVar = "a catalog.json, a folder that holds one, or the URL of an API"
    like: str
    options: Mapping[str, Any] = field(default_factory=dict)
    collections: tuple[str, ...] = ()
    bbox: tuple[float, float, float, float] | None = None
    datetime: str | None = None
    assets: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = sorted(name for name in PRODUCTS if product_class(name).asset_keys)
        if self.like not in known:
            raise ConfigError(f"like is {self.like!r}; expected one of {known}.")
        keys = self._product().asset_keys
        unknown = sorted(set(self.assets) - set(keys))
        if unknown:
            raise ConfigError(f"assets: no layers {unknown}; expected {sorted(keys)}.")
        object.__setattr__(self, "collections", tuple(self.collections))

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands, by colour."""
        return self._product().bands

    @property
    def extras(self) -> Mapping[str, dict[str, Any]]:
        """Return the further layers."""
        return self._product().extras

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the items of a catalogue, by date; see `Product.find_scenes`.

        `folder`: A static catalogue, the folder of one, or the URL of an API.
        """
        return self.in_order(self._scene(item) for item in self._items(str(folder)))

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open an item as the product that it holds; see `Product.open_scene`."""
        return self._product().open_scene(scene)

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask as the product does; see `Product.to_reflectance`."""
        return self._product().to_reflectance(raw)

    def _product(self) -> Product:
        return build_product(self.like, **self.options)

    def _items(self, where: str) -> Iterable[Any]:
        static = where.endswith(".json") or not is_url(where)
        return self._static(where) if static else self._search(where)

    def _static(self, where: str) -> Iterable[Any]:
        """Walk a catalogue of files."""
        pystac = _need("pystac")
        path = Path(where)
        if path.is_dir():
            path = path / "catalog.json"
        try:
            catalogue = pystac.Catalog.from_file(str(path) if not is_url(where) else where)
        except (OSError, ValueError, pystac.STACError) as error:
            raise SceneError(
                f"no STAC catalogue can be read at {where} ({error}). Expected {self.expects}."
            ) from error
        for item in catalogue.get_items(recursive=True):
            if self.collections and item.collection_id not in self.collections:
                continue
            if self._inside(item):
                yield item

    def _inside(self, item: Any) -> bool:
        """Return whether an item of a static catalogue is of the region and time asked for."""
        if self.bbox and item.bbox:
            west, south, east, north = self.bbox
            a, b, c, d = item.bbox
            if a > east or c < west or b > north or d < south:
                return False
        if self.datetime and item.datetime:
            first, _, last = self.datetime.partition("/")
            day = f"{item.datetime:%Y-%m-%d}"
            return first[:10] <= day <= (last or first)[:10]
        return True

    def _search(self, url: str) -> Iterable[Any]:
        """Ask an API."""
        client = _need("pystac_client")
        if not (self.collections and self.bbox and self.datetime):
            raise ConfigError(
                f"{url} is an API: the options collections, bbox and datetime must say what to "
                "take of it."
            )
        search = client.Client.open(url).search(
            collections=list(self.collections), bbox=self.bbox, datetime=self.datetime
        )
        found: Iterable[Any] = search.items()
        return found

    def _scene(self, item: Any) -> Scene:
        files: dict[str, Path | str] = {}
        product = self._product()
        hrefs = [asset.href for asset in item.assets.values()]
        known, problem = product.asset_keys, ""
        try:
            known = product.keys_of([item.id, item.collection_id or "", *hrefs])
        except SceneError as error:
            problem = str(error)
        for layer, usual in known.items():
            keys = (self.assets[layer],) if layer in self.assets else usual
            asset = next((item.assets[k] for k in keys if k in item.assets), None)
            if asset is not None:
                files[layer] = _local(asset.get_absolute_href() or asset.href)
        problem = problem or lacking(files, known)
        date = np.datetime64("NaT", "D")
        if item.datetime is None:
            problem = "has no datetime. Correct the item."
        else:
            date = np.datetime64(item.datetime.replace(tzinfo=None), "D")
        stamps = item.properties
        version = str(stamps.get("updated") or stamps.get("created") or "")
        return Scene(item.id, date, files, item.id, version, problem)


def _need(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            'STAC catalogues need an extra: pip install "biastf-xr[stac]".'
        ) from error


def _local(href: str) -> Path | str:
    """Return the path of a file on this machine, or the URL as it is."""
    if href.startswith("file://"):
        href = href.removeprefix("file://")
    return href if is_url(href) else Path(href)
