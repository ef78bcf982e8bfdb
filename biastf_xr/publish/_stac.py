"""The STAC description of a cube: plain dictionaries, ready to be written as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._html import link
from biastf_xr._outside import visible
from biastf_xr.cube._export import FACTOR, NODATA
from biastf_xr.cube._spec import STANDARD_ERROR
from biastf_xr.errors import ConfigError
from biastf_xr.grid import geobox_of
from biastf_xr.sources import PRODUCTS, product_class

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import xarray as xr
    from odc.geo.geobox import GeoBox

STAC_VERSION = "1.1.0"

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
RASTER = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
EO = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"
CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
XARRAY_ASSETS = "https://stac-extensions.github.io/xarray-assets/v1.0.0/schema.json"
ZARR = "https://stac-extensions.github.io/zarr/v1.0.0/schema.json"

GEOJSON, JSON, PNG = "application/geo+json", "application/json", "image/png"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"

# Points on every side of an outline.
EDGE_POINTS = 8

COMMON_NAMES = {
    "blue": "blue", "green": "green", "red": "red",
    "nir": "nir", "swir1": "swir16", "swir2": "swir22",
}  # fmt: skip


@dataclass(frozen=True)
class Description:
    """What a catalogue states of its cube beyond what is in the cube.

    `id`: Id of the collection; the ids of items begin with it.
    `licence`: An SPDX identifier or expression, or "other".
    `licence_url`: Where its text is; needed for "other" to mean something.
    `providers`: STAC providers: `name`, and if you like `description`, `roles`, `url`.
    """

    id: str
    title: str
    description: str
    licence: str = "other"
    licence_url: str | None = None
    providers: tuple[Mapping[str, Any], ...] = ()
    keywords: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        nameless = [p for p in self.providers if not p.get("name")]
        if nameless:
            raise ConfigError(f"a provider without a name: {dict(nameless[0])}.")
        for url in (self.licence_url, *(p.get("url") for p in self.providers)):
            link(url or "", "the address of a licence or provider")
        if not self.licence:
            raise ConfigError("the licence is empty; expected an SPDX identifier or 'other'.")


def layer_asset(ds: xr.Dataset, name: str, dtype: str) -> dict[str, Any]:
    """Describe the COGs of one variable: an entry of ``item_assets``.

    `dtype`: How reflectance is stored; see `biastf_xr.cube.export_cogs`.
    """
    variable = ds[name]
    attrs = variable.attrs
    asset: dict[str, Any] = {"title": visible(attrs.get("long_name", name)), "type": COG}
    if variable.dtype.kind != "f":
        asset |= {"roles": ["data", "quality"], "data_type": variable.dtype.name}
        classes = _classes(attrs)
        return asset | ({"classification:classes": classes} if classes else {})
    uncertain = str(attrs.get("standard_name", "")).endswith(STANDARD_ERROR)
    asset["roles"] = ["data", "uncertainty" if uncertain else "reflectance"]
    if dtype == "int16":
        packing = {"raster:scale": FACTOR, "raster:offset": 0.0}
        asset |= {"data_type": "int16", "nodata": NODATA, **packing}
    else:
        asset |= {"data_type": "float32", "nodata": "nan"}
    asset["unit"] = attrs.get("units", "1")
    asset["bands"] = [{"name": name} | ({} if uncertain else _optics(ds, name))]
    return asset


def _optics(ds: xr.Dataset, band: str) -> dict[str, Any]:
    """Return common name and wavelength of a band, where they are known."""
    if band not in COMMON_NAMES:
        return {}
    product = str(ds.attrs.get("source", "")).split(",")[0].strip()
    known = product_class(product).wavelengths if product in PRODUCTS else {}
    wavelength = {"eo:center_wavelength": known[band]} if band in known else {}
    return {"eo:common_name": COMMON_NAMES[band], **wavelength}


def _classes(attrs: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = str(attrs.get("flag_meanings", "")).split()
    values = np.atleast_1d(attrs.get("flag_values", []))
    return [
        {"value": int(value), "name": name, "description": name.replace("_", " ")}
        for value, name in zip(values, names, strict=True)
    ]


def store_asset(
    href: str, media_type: str, *, consolidated: bool, title: str = "The cube"
) -> dict[str, Any]:
    """Describe the store of a cube."""
    asset = {"href": href, "title": title, "roles": ["data"], "type": media_type}
    if not consolidated:
        return asset
    return asset | {
        "zarr:node_type": "group",
        "zarr:zarr_format": 3,
        "zarr:consolidated": True,
        "xarray:open_kwargs": {"engine": "zarr", "consolidated": True, "chunks": {}},
    }


def item_of(
    ds: xr.Dataset,
    day: np.datetime64,
    identity: tuple[str, str],
    assets: Mapping[str, Mapping[str, Any]],
    digest: str,
) -> dict[str, Any]:
    """Describe one date.

    `digest`: What the files were made from; empty while they are being made.
    """
    item, collection = identity
    start = f"{day.astype('datetime64[s]')}Z"
    end = f"{(day + np.timedelta64(1, 'D')).astype('datetime64[s]') - np.timedelta64(1, 's')}Z"
    polygon, bbox = footprint(ds)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": _extensions(assets.values(), PROJECTION),
        "id": item,
        "geometry": polygon,
        "bbox": bbox,
        "properties": {
            "datetime": start,
            "start_datetime": start,
            "end_datetime": end,
            **_grid(ds),
            "biastf:digest": digest,
        },
        "collection": collection,
        "links": [
            {"rel": rel, "href": "../collection.json", "type": JSON}
            for rel in ("root", "parent", "collection")
        ],
        "assets": {name: dict(asset) for name, asset in assets.items()},
    }


def collection_of(
    ds: xr.Dataset,
    days: Sequence[np.datetime64],
    items: Sequence[tuple[str, str]],
    layers: Mapping[str, Mapping[str, Any]],
    assets: Mapping[str, Mapping[str, Any]],
    about: Description,
) -> dict[str, Any]:
    """Describe the whole cube."""
    _, bbox = footprint(ds)
    last = (days[-1] + np.timedelta64(1, "D")).astype("datetime64[s]") - np.timedelta64(1, "s")
    links = [
        {"rel": "root", "href": "./collection.json", "type": JSON, "title": about.title},
        *({"rel": "item", "href": href, "type": GEOJSON, "title": name} for name, href in items),
    ]
    if about.licence_url:
        links.append({"rel": "license", "href": about.licence_url})
    if str(ds.attrs.get("references", "")).startswith("https://doi.org/"):
        links.append({"rel": "cite-as", "href": str(ds.attrs["references"])})
    grid = _grid(ds)
    summaries = {k: [v] for k, v in grid.items() if k in ("gsd", "proj:code")}
    made = [*layers.values(), *assets.values()]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": _extensions(made, PROJECTION),
        "id": about.id,
        "title": about.title,
        "description": about.description,
        "license": about.licence,
        **({"keywords": list(about.keywords)} if about.keywords else {}),
        **({"providers": [dict(p) for p in about.providers]} if about.providers else {}),
        "extent": {
            "spatial": {"bbox": [bbox]},
            "temporal": {"interval": [[f"{days[0].astype('datetime64[s]')}Z", f"{last}Z"]]},
        },
        "summaries": summaries,
        "item_assets": {name: dict(asset) for name, asset in layers.items()},
        "assets": {name: dict(asset) for name, asset in assets.items()},
        "links": links,
    }


def _extensions(assets: Iterable[Mapping[str, Any]], *always: str) -> list[str]:
    """Name the extensions whose fields are used."""
    text = str([dict(a) for a in assets])
    prefixes = {
        "'raster:": RASTER, "'eo:": EO, "'classification:": CLASSIFICATION,
        "'xarray:": XARRAY_ASSETS, "'zarr:": ZARR,
    }  # fmt: skip
    return [*always, *(uri for prefix, uri in prefixes.items() if prefix in text)]


def footprint(ds: xr.Dataset) -> tuple[dict[str, Any], list[float]]:
    """Return the outline of a cube in longitude and latitude (RFC 7946).

    Returned: A GeoJSON polygon, two of them if the cube lies across the 180th meridian; and west,
    south, east, north, west then being the greater; degrees with seven decimals.
    """
    lon, lat = _outline(geobox_of(ds, "the cube"))
    turned = lon[-1] - lon[0]
    if abs(turned) > 180:  # around a pole
        pole = 90.0 if np.mean(lat) > 0 else -90.0
        lon, lat = np.append(lon, lon[[-1, 0]]), np.append(lat, [pole, pole])
    box = [float(np.round(v, 7)) for v in (lon.min(), lat.min(), lon.max(), lat.max())]
    box[0::2] = [-180.0, 180.0] if abs(turned) > 180 else map(_within_a_turn, box[0::2])
    polygons = _cut(lon, lat)
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}, box
    return {"type": "MultiPolygon", "coordinates": polygons}, box


def _outline(geobox: GeoBox) -> tuple[Any, Any]:
    """Return longitudes, without a jump, and latitudes around a grid; the first point is last."""
    from rasterio.warp import transform

    rows, cols = geobox.shape
    corners = np.array([(0, rows), (cols, rows), (cols, 0), (0, 0), (0, rows)], float)
    # Straight edges of the grid are curves in degrees.
    steps = np.linspace(0, 1, EDGE_POINTS, endpoint=False)[:, None]
    sides = [a + steps * (b - a) for a, b in pairwise(corners)]
    xs, ys = geobox.affine * np.concatenate([*sides, corners[:1]]).T
    lon, lat = transform(geobox.crs, "EPSG:4326", xs, ys)
    return np.unwrap(lon, period=360), np.asarray(lat)


def _within_a_turn(lon: float) -> float:
    """Return a longitude from -180 to 180."""
    return lon if abs(lon) <= 180 else float(np.round((lon + 180) % 360 - 180, 7))


def _cut(lon: Any, lat: Any) -> list[list[list[list[float]]]]:
    """Cut a polygon at the 180th meridian; its parts as coordinates, counterclockwise."""
    from shapely import Polygon, box, get_parts, union_all
    from shapely.affinity import translate
    from shapely.geometry.polygon import orient

    whole = Polygon(np.stack([lon, lat], axis=-1))
    parts = [
        translate(whole, -turn).intersection(box(-180, -90, 180, 90)) for turn in (-360, 0, 360)
    ]
    # Around a pole the parts touch.
    cut = [p for p in get_parts(union_all(parts)) if p.geom_type == "Polygon"]
    rings = [np.round(orient(part).exterior.coords, 7).tolist() for part in cut]
    return [[ring] for ring in sorted(rings, key=lambda ring: -max(ring)[0])]


def _grid(ds: xr.Dataset) -> dict[str, Any]:
    geobox = geobox_of(ds, "the cube")
    crs: Any = geobox.crs
    code = {"proj:code": f"EPSG:{crs.epsg}"} if crs.epsg else {"proj:wkt2": crs.to_wkt()}
    metric = {} if crs.geographic else {"gsd": abs(float(geobox.resolution.x))}
    return {
        **metric,
        **code,
        "proj:shape": [int(n) for n in geobox.shape],
        "proj:transform": [float(v) for v in tuple(geobox.affine)[:6]],
    }
