"""Scenes of a STAC catalogue, static or behind an API, read as one of the other products.

A catalogue only says where files are: names, masks, scale and grid are those of the product that
the items hold (`like`), and windows, mosaics and reprojection are the ingest's own, so that neither
stackstac nor odc-stac is needed.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args
from urllib.parse import urlsplit

import numpy as np

from biastf_xr._days import to_days
from biastf_xr._files import read_bytes
from biastf_xr._urls import is_url
from biastf_xr.errors import BiastfError, ConfigError, SceneError
from biastf_xr.sources import PRODUCTS, build_product, product_class
from biastf_xr.sources._files import lacking
from biastf_xr.sources._folders import walk
from biastf_xr.sources._login import HOSTS, TOKEN_HOSTS, Login, earthdata, need, sign
from biastf_xr.sources._reach import Reach
from biastf_xr.sources._requests import why_refused
from biastf_xr.sources.base import Product, Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import xarray as xr

    Files = Mapping[str, Path | str]

EXPECTED = "a catalog.json, a file of items, a folder of either, or the URL of an API"


@dataclass(frozen=True, kw_only=True)
class Stac(Product):
    """Items of a STAC catalogue.

    Files are known by their names as in a folder, whatever USGS, LP DAAC, Planetary Computer,
    stactools or Digital Earth Australia call the assets; those with names of their own by the keys
    of their assets.  Files beside an item come before its URLs.  HDF4 is read from this machine
    only.

    Attributes
    ----------
    like : str
        Product that the items hold, as "landsat-c2-l2", "hls" or "mod09ga".
    options : dict
        Options of that product, for instance ``mask_snow = true``.
    collections : tuple of str
        Collections to take; of a static catalogue all by default.
    bbox : tuple of float, optional
        West, south, east, north in degrees.  An API needs it.
    datetime : str, optional
        First and last day, as "2021-04-01/2021-06-30", or ".." for either.  An API needs it.
    assets : dict of str
        Asset keys that differ from the usual ones, by layer.
    login : {"none", "planetary-computer", "earthdata"}
        Who hands out the files: those of Planetary Computer are signed, with the extra
        ``planetary-computer``; those of NASA Earthdata asked for with the token of your account,
        with the extra ``earthdata``: run ``earthaccess.login(persist=True)`` once, or set the
        variable ``EARTHDATA_TOKEN``.
    """

    name: ClassVar = "stac"
    title: ClassVar = "STAC"
    required: ClassVar = 'like = "landsat-c2-l2"         # product that the items hold\n'
    expects: ClassVar = EXPECTED
    like: str
    options: Mapping[str, Any] = field(default_factory=dict)
    collections: tuple[str, ...] = ()
    bbox: tuple[float, float, float, float] | None = None
    datetime: str | None = None
    assets: Mapping[str, str] = field(default_factory=dict)
    login: Login = "none"

    def __post_init__(self) -> None:
        known = sorted(name for name in PRODUCTS if product_class(name).patterns)
        if self.like not in known:
            raise ConfigError(f"like is {self.like!r}; expected one of {known}.")
        keys = self._product().asset_keys
        unknown = sorted(set(self.assets) - set(keys))
        if unknown:
            raise ConfigError(f"assets: no layers {unknown}; expected {sorted(keys)}.")
        object.__setattr__(self, "collections", tuple(self.collections))
        if self.datetime is not None:
            object.__setattr__(self, "datetime", _period(str(self.datetime)))
        self.check_choice("login", get_args(Login))

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands, by colour."""
        return self._product().bands

    @property
    def span(self) -> tuple[int, int]:
        """Return the first and last day of an image, counted from the day in its name."""
        return self._product().span

    @property
    def extras(self) -> Mapping[str, dict[str, Any]]:
        """Return the further layers."""
        return self._product().extras

    @property
    def gdal_options(self) -> Mapping[str, str]:
        """Return the options of GDAL that the files are read with."""
        return earthdata() if self.login == "earthdata" else {}

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the scenes of a catalogue, by date; see `Product.find_scenes`.

        `folder`: A static catalogue, a file of items, a folder of either, or the URL of an API.
        """
        product = self._product()
        reach = Reach(str(folder), self.readable.schemes)
        scenes: list[Scene] = []
        named: list[tuple[str, Path | str]] = []
        stamps: dict[Path | str, str] = {}
        home: dict[str, str] = {}
        with _reading(reach):
            for item in self._items(reach):
                files = _files_of(item)
                names = _names_of(item, files, product)
                problem = "" if names or self.assets else _other(files)
                try:
                    # Folders of this machine say nothing about what lies in them.
                    called = [str(f) if is_url(f) else _basename(f) for f in files.values()]
                    keys = product.keys_of([item.id, item.collection_id or "", *called])
                except SceneError as error:
                    problem = problem or str(error)
                collection = item.collection_id or ""
                if home.setdefault(item.id, collection) != collection:
                    item.id += f" of {collection}"  # an id is that of one item in a collection only
                by_keys = None
                if not problem and (self.assets or not names):
                    known = {**keys, **{layer: (key,) for layer, key in self.assets.items()}}
                    by_keys = _by_keys(item, files, known, product)
                taken = (by_keys.files if by_keys else names).values()
                problem = problem or reach.problem(taken) or self._withheld(taken)
                if problem:
                    scenes.append(_scene_of(item, {}, problem, product))
                elif by_keys:
                    scenes.append(by_keys)
                else:
                    # Items may hold parts of one scene: the names of the files tell.
                    named += names.items()
                    stamps |= dict.fromkeys(names.values(), _stamp(item))
        for scene in product.scenes_of(named):
            stamp = max(stamps[file] for file in scene.files.values()) if scene.files else ""
            scenes.append(replace(scene, version=scene.version or stamp))
        local = not is_url(str(folder)) and Path(folder).is_dir()
        return [*product.choose(scenes, folder), *(self.look(folder)[1] if local else [])]

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open an item as the product that it holds; see `Product.open_scene`."""
        import rasterio

        # Signed when it is read, not when it is found: a signature is soon out of date, and is no
        # part of what the cube knows its scenes by.
        if self.login == "planetary-computer":
            scene = replace(scene, files=sign(scene.files))
        with rasterio.Env(**self.gdal_options):
            return self._product().open_scene(scene)

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask as the product does; see `Product.to_reflectance`."""
        return self._product().to_reflectance(raw)

    def _product(self) -> Product:
        return build_product(self.like, **{"allow": self.allow, **self.options})

    def _withheld(self, files: Iterable[Path | str]) -> str:
        """Return the problem of files to whose host the token of the login does not go."""
        for file in files if self.login == "earthdata" else ():
            host = urlsplit(str(file)).hostname or ""
            if is_url(file) and not host.endswith(TOKEN_HOSTS):
                return (
                    f"lies at {host}; the token of earthdata is sent to NASA alone "
                    f'({", ".join(TOKEN_HOSTS)}). Read it with login = "none".'
                )
        return ""

    def _items(self, reach: Reach) -> Iterator[Any]:
        where = reach.where
        if is_url(where) and not where.endswith("json"):
            yield from self._search(reach)
            return
        for item in _static(where, reach):
            if self._inside(item):
                yield item

    def _inside(self, item: Any) -> bool:
        """Return whether an item is of the collections, region and time asked for."""
        if self.collections and item.collection_id not in self.collections:
            return False
        if self.bbox and item.bbox and not _meet(self.bbox, item.bbox):
            return False
        if self.datetime and (when := _time_of(item)):
            first, _, last = self.datetime.partition("/")
            day = str(to_days(when)[0])
            return first.replace("..", "") <= day <= (last.replace("..", "") or "9999")
        return True

    def _search(self, reach: Reach) -> Iterator[Any]:
        """Ask an API."""
        client, url = need("pystac_client", "stac"), reach.where
        if not (self.collections and self.bbox and self.datetime):
            raise ConfigError(
                f"{url} is an API: the options collections, bbox and datetime must say what to "
                "take of it."
            )
        asked = next((login for login, host in HOSTS.items() if host in url), self.login)
        if asked != self.login:
            raise ConfigError(
                f'login is "{self.login}"; the files of {url} can only be read with login = '
                f'"{asked}".'
            )
        api = client.Client.open(url, stac_io=reach.stac_io(static=False))
        yield from api.search(
            collections=list(self.collections), bbox=self.bbox, datetime=self.datetime
        ).items()


# --- items ----------------------------------------------------------------------------------------


def _meet(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two boxes have something in common; west > east is across 180 degrees."""
    half = len(other) // 2  # which may have heights
    (west, south, east, north), (a, b, c, d) = one, (*other[:2], *other[half : half + 2])
    if b > north or d < south:
        return False
    width, reach = (east - west) % 360 or 360 * (east != west), (c - a) % 360 or 360 * (c != a)
    return bool((a - west) % 360 <= width or (west - a) % 360 <= reach)


def _period(text: str) -> str:
    """Return a period as the standard writes it, first and last day."""
    days = text.split("/")
    if len(days) > 2:
        raise ConfigError(f'datetime is {text!r}; expected "2021-04-01/2021-06-30".')
    ends = [d if d in ("", "..") else str(to_days(d, "datetime")[0]) for d in days]
    return "/".join(end or ".." for end in (ends * 2)[:2])


def _static(where: str, reach: Reach) -> Iterator[Any]:
    """Walk the items of a catalogue of files, of one file, or of the files of a folder."""
    pystac = need("pystac", "stac")
    path = Path(where)
    if not is_url(where) and path.is_dir():
        tops = [path / "catalog.json", path / "collection.json"]
        files = [top for top in tops if top.is_file()][:1] or _files_of_items(path)
        if not files:
            raise SceneError(f"no STAC catalogue or item lies in {where}. Expected {EXPECTED}.")
        for file in files:
            yield from _static(str(file), reach)
        return
    reader = reach.stac_io(static=True)
    content = json.loads(reader.read_text(where))
    if content["type"] in ("Feature", "FeatureCollection"):
        # Not brought to STAC's present version: that would ask for its collection's URL.
        for item in content.get("features", [content]):
            yield pystac.Item.from_dict(item, href=where, migrate=False)
    else:
        yield from pystac.Catalog.from_file(where, reader).get_items(recursive=True)


@contextmanager
def _reading(reach: Reach) -> Iterator[None]:
    """Name a catalogue that cannot be read, and what it leads to that is out of reach."""
    try:
        yield
    except BiastfError:
        raise
    except Exception as error:  # catalogues hold anything, and libraries raise it
        if isinstance(error.__cause__, BiastfError):  # of a link that pystac followed
            raise error.__cause__ from None
        why = why_refused(error, reach.schemes)
        raise SceneError(
            f"{reach.where}, as a STAC catalogue or item, {why}. Expected {EXPECTED}."
        ) from error


def _files_of_items(folder: Path) -> list[Path]:
    """List the files under a folder that are STAC items, or several."""
    found = []
    for path in walk(folder)[0]:
        if not (path.suffix.lower().endswith("json") and path.is_file()):
            continue
        text = read_bytes(path).decode("utf-8", "replace")
        if '"stac_version"' in text and '"Feature' in text:
            found.append(path)
    return found


def _files_of(item: Any) -> dict[str, Path | str]:
    """Return the path or URL of every asset, by key; a file beside the item comes first."""
    own = item.get_self_href() or ""
    files: dict[str, Path | str] = {}
    for key, asset in item.assets.items():
        href = (asset.get_absolute_href() or asset.href).removeprefix("file://")
        beside = Path(own).parent / _basename(href)
        if own and not is_url(own) and beside.is_file():
            files[key] = beside
        else:
            files[key] = href if is_url(href) else Path(href)
    return files


def _basename(file: Path | str) -> str:
    """Return the name of a file, or of what is behind a URL."""
    return str(file).partition("?")[0].rpartition("/")[2]


def _names_of(item: Any, files: Files, product: Product) -> dict[str, Path | str]:
    """Return the files that are a product's, by the name it knows them by.

    It is the file's own, or the item's id with the key: "SR_B2.TIF" of USGS, "B02" of LP DAAC.
    """
    scene = item.id.removesuffix("_SR")
    found: dict[str, Path | str] = {}
    for key, file in files.items():
        for name in (_basename(file), f"{scene}_{key}", f"{scene}.{key}.tif"):
            match = product.match(name)
            if match and product.layer_of(match):
                found.setdefault(name, file)
                break
    return found


def _other(files: Files) -> str:
    """Return the problem of an item whose files are those of another product."""
    names = [_basename(file) for file in files.values()]
    for other in PRODUCTS:
        if any(p.match(name) for p in product_class(other).patterns for name in names):
            return f'has the files of another product, as {names[0]}. State like = "{other}".'
    return ""


def _by_keys(
    item: Any, files: Files, keys: Mapping[str, tuple[str, ...]], product: Product
) -> Scene:
    """Describe an item by the keys of its assets."""
    found = {
        layer: next(files[key] for key in usual if key in files)
        for layer, usual in keys.items()
        if any(key in files for key in usual)
    }
    if len(found) == len(keys) > 0:
        return _scene_of(item, found, "", product)
    remedy = "Say which asset is which layer in the option assets" if keys else "Choose another"
    problem = lacking(found, keys) or f"has no file such as {product.expects}."
    problem = f"{problem} Its assets are {sorted(files)}. {remedy}."
    return _scene_of(item, found, problem, product)


def _scene_of(item: Any, files: Files, problem: str, product: Product) -> Scene:
    """Describe an item by itself."""
    date: np.datetime64 = np.datetime64("NaT", "D")
    if when := _time_of(item):
        date, _ = product.read_day(str(to_days(when)[0]))
    else:
        problem = problem or "has no datetime. Correct the item."
    return Scene(item.id, date, files, item.id, _stamp(item), problem)


def _time_of(item: Any) -> Any:
    """Return the time of an item; composites have a first day and a last, and often no other."""
    return item.datetime or item.common_metadata.start_datetime


def _stamp(item: Any) -> str:
    """Return when an item was last changed."""
    stamps = item.properties
    return str(stamps.get("updated") or stamps.get("created") or "")
