"""A region of interest becomes the two analysis grids."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biastf_xr._files import read_text
from biastf_xr.errors import ConfigError, GridMismatchError
from biastf_xr.grid._zones import LONLAT, NORTH, in_crs, metric, restated, zone_around

if TYPE_CHECKING:
    from collections.abc import Sequence

    from odc.geo.geobox import GeoBox
    from odc.geo.geom import Geometry

MGRS = re.compile(r"(?:MGRS:)?T?(\d{1,2})([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])", re.IGNORECASE)
BANDS = "CDEFGHJKLMNPQRSTUVWX"
# Letters of the columns of 100-km squares by zone modulo 3, and of their rows.
COLUMNS = {1: "ABCDEFGH", 2: "JKLMNPQR", 0: "STUVWXYZ"}
ROWS = "ABCDEFGHJKLMNPQRSTUV"
# Sentinel-2 tiles: their side, and the lattice that their upper left corner is moved out to.
TILE_SIDE, TILE_SNAP = 109_800, 60

WRS = re.compile(r"WRS2?:(\d{3})[-/]?(\d{3})", re.IGNORECASE)
# The orbit of Landsat 4 to 9: 233 revolutions in 16 days, 248 rows each.
INCLINATION, PATHS, SCENE_ROWS, REPEAT_DAYS = 98.2, 233, 248, 16
FIRST_PATH, EQUATOR_ROW = -64.6, 60
SCENE_WIDTH, SCENE_HEIGHT = 185_000.0, 180_000.0
FLATTENING = 1 / 298.257223563

# Degrees of longitude of the widest region across the 180th meridian.
WIDEST = 180
# Pixels along a side beyond which a region is a mistake rather than a plan.
LARGEST = 400_000


def read_region(region: str | Path | Sequence[float], *, crs: str = LONLAT) -> Geometry:
    """Read a region of interest.

    `region`: ``[west, south, east, north]``, west > east across the 180th meridian; the path of a
    GeoJSON file (degrees as in RFC 7946, or the CRS that it states);
    ``"MGRS:55HBU"``, which is exactly the tile of Sentinel-2 and HLS; or ``"WRS:093084"``, path
    and row of Landsat 4 to 9, an approximate footprint computed from the orbit.
    `crs`: CRS of the four numbers.
    """
    if not isinstance(region, str | Path):
        return _box(region, crs)
    text = str(region)
    if match := WRS.fullmatch(text):
        return _wrs(int(match[1]), int(match[2]))
    if match := MGRS.fullmatch(text):
        return _mgrs(int(match[1]), *(part.upper() for part in match.groups()[1:]))
    return _geojson(Path(text))


def fine_grid(
    region: Geometry,
    *,
    crs: str = "scenes",
    resolution: float = 30.0,
    anchor: float | tuple[float, float] | None = None,
    scenes: GeoBox | None = None,
) -> GeoBox:
    """Return the grid of the fine cube: whole pixels that cover a region.

    `crs`: "scenes" for that of the scenes, where they have a projected one in metres; "utm" for
    the zone of the region's centre, as also where there are no such scenes; or a projected CRS.
    `anchor`: Where pixel edges lie: at whole multiples of the resolution plus this, or plus x and y
    of it. By default where those of the scenes lie, or at whole multiples.
    `scenes`: Grid of a scene.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    if resolution <= 0:
        raise ConfigError(f"resolution is {resolution:g}; expected a positive pixel size.")
    target = _crs(crs, region, scenes)
    if anchor is None:
        anchor = _edges(scenes, target, resolution)
    x, y = (anchor, anchor) if isinstance(anchor, float | int) else anchor
    box = in_crs(region, target).boundingbox
    left, bottom = (
        math.floor((v - a) / resolution + 1e-6) for v, a in ((box.left, x), (box.bottom, y))
    )
    right, top = (math.ceil((v - a) / resolution - 1e-6) for v, a in ((box.right, x), (box.top, y)))
    if max(right - left, top - bottom) > LARGEST:
        raise ConfigError(
            f"the region would have {top - bottom} x {right - left} pixels of {resolution:g}; "
            f"expected at most {LARGEST} a side. Check its coordinates, or split it."
        )
    corner = Affine(resolution, 0, left * resolution + x, 0, -resolution, top * resolution + y)
    return GeoBox((top - bottom, right - left), corner, target)


def _crs(name: str, region: Geometry, scenes: GeoBox | None) -> Any:
    """Return the CRS that is named, once it is known to fit pixels in metres."""
    from odc.geo import CRS, CRSError

    if name == "scenes" and scenes is not None and metric(scenes.crs):
        return scenes.crs
    if name in {"scenes", "utm"}:
        return zone_around(region)
    try:
        target = CRS(name)
    except CRSError as error:
        raise ConfigError(
            f"{name!r} is not a CRS; expected scenes, utm or one such as EPSG:32755."
        ) from error
    if not target.projected:
        raise GridMismatchError(
            f"{name} is geographic; its pixels would be degrees. Expected scenes, utm or a "
            "projected CRS."
        )
    return target


def _edges(scenes: GeoBox | None, crs: Any, resolution: float) -> tuple[float, float]:
    """Return the anchor with which every pixel is made of whole pixels of the scenes."""
    if scenes is None:
        return 0.0, 0.0
    a = restated(scenes, crs).affine
    pixels = resolution / a.a, resolution / -a.e
    whole = all(round(n) >= 1 and abs(n - round(n)) < 1e-6 for n in pixels)
    if restated(scenes, crs).crs != crs or not whole:
        return 0.0, 0.0
    return a.c % resolution, a.f % resolution


def coarse_grid(fine: GeoBox, *, resolution: float = 480.0, margin: int = 2) -> GeoBox:
    """Return the grid of the coarse cube: it covers the fine one with a margin.

    The upper left corners differ by whole coarse pixels, so that with a whole ratio every coarse
    edge is a fine edge.

    `margin`: Coarse pixels beyond the fine grid on every side.
    """
    from odc.geo.geobox import GeoBox

    a = fine.affine
    if resolution < a.a:
        raise GridMismatchError(
            f"coarse resolution {resolution:g} is smaller than the fine one ({a.a:g}); are the "
            "two swapped?"
        )
    rows, cols = (math.ceil(n * a.a / resolution - 1e-9) + 2 * margin for n in fine.shape)
    corner = type(a)(
        resolution, 0, a.c - margin * resolution, 0, -resolution, a.f + margin * resolution
    )
    return GeoBox((rows, cols), corner, fine.crs)


def _box(numbers: Sequence[float], crs: str) -> Geometry:
    from odc.geo.geom import box

    if len(numbers) != 4:
        raise ConfigError(f"region {list(numbers)} has {len(numbers)} numbers; expected [west, "
                          "south, east, north].")  # fmt: skip
    west, south, east, north = map(float, numbers)
    if crs == LONLAT:
        if not (max(abs(west), abs(east)) <= 360 and max(abs(south), abs(north)) <= 90):
            raise ConfigError(
                f"region {list(numbers)} is not in degrees; expected [west, south, east, north]."
            )
        # West of the 180th meridian to east of it (RFC 7946): a box, not the rest of the globe.
        if west > east and east + 360 - west <= WIDEST:
            east += 360
    if west >= east or south >= north or (crs == LONLAT and east - west > 360):
        raise ConfigError(
            f"region {list(numbers)} is empty or reversed; expected west < east and south < north, "
            f"or across the 180th meridian west > east and at most {WIDEST} degrees between them."
        )
    return box(west, south, east, north, crs)


def _geojson(path: Path) -> Geometry:
    from odc.geo.geom import Geometry, unary_union

    try:
        found = json.loads(read_text(path))
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(
            f"region {str(path)!r} is not a tile name (MGRS:55HBU, WRS:093084) and no GeoJSON "
            f"file can be read there ({error})."
        ) from error
    crs = _crs_of(found, path)
    polygons = [Geometry(p, crs) for p in _polygons(found)]
    if not polygons:
        raise ConfigError(
            f"{path} holds no polygon; expected a Polygon or MultiPolygon in degrees."
        )
    union = unary_union(polygons)
    assert union is not None
    if crs == LONLAT and _width(union) > WIDEST:
        # Cut at the 180th meridian (RFC 7946): what is west of Greenwich lies beyond 180.
        joined = unary_union([_eastward(polygon) for polygon in polygons])
        union = joined if joined is not None and _width(joined) < _width(union) else union
    _box(tuple(union.boundingbox), crs)  # the same checks
    return union


def _crs_of(found: Any, path: Path) -> str:
    """Return the CRS that a GeoJSON file states, as they did before RFC 7946; else degrees."""
    from odc.geo import CRS, CRSError

    stated = found.get("crs") if isinstance(found, dict) else None
    if not stated:
        return LONLAT
    name = stated.get("properties", {}).get("name", "") if isinstance(stated, dict) else ""
    try:
        crs = CRS(name)
    except CRSError as error:
        raise ConfigError(
            f"{path} states the CRS {stated}, which is none; expected degrees, or a name such as "
            "urn:ogc:def:crs:EPSG::32755."
        ) from error
    return LONLAT if crs.geographic else str(crs)


def _width(region: Geometry) -> float:
    box = region.boundingbox
    return float(box.right - box.left)


def _eastward(region: Geometry) -> Geometry:
    """Move what is west of Greenwich beyond the 180th meridian."""
    moved: Geometry = region.transform(lambda x, y: (x % 360, y))
    return moved


def _polygons(node: Any) -> list[Any]:
    """Collect the polygons of a GeoJSON object."""
    if not isinstance(node, dict):
        return []
    if node.get("type") in {"Polygon", "MultiPolygon"}:
        return [node]
    inner = [node.get("geometry"), *node.get("features", []), *node.get("geometries", [])]
    return [polygon for item in inner for polygon in _polygons(item)]


def _mgrs(zone: int, band: str, column: str, row: str) -> Geometry:
    """Return the Sentinel-2 tile of a 100-km square of the Military Grid Reference System."""
    from odc.geo.geom import box

    name = f"MGRS:{zone}{band}{column}{row}"
    letters = COLUMNS[zone % 3]
    if not 1 <= zone <= 60 or column not in letters:
        raise ConfigError(
            f"{name} is no tile; expected zone 1 to 60 and, there, a column of {letters}."
        )
    east = (letters.index(column) + 1) * 100_000
    # Rows repeat every 2000 km; those of even zones start five letters later.
    first = (ROWS.index(row) - (5 if zone % 2 == 0 else 0)) % 20 * 100_000
    south = BANDS.index(band) * 8 - 80
    # Northings from the equator, south of it negative: the lattice of the tiles is one for both
    # halves of a zone, and no whole multiple of it is the 10,000,000 m between them.
    north = first + math.ceil((_meridian_arc(south) - 100_000 - first) / 2_000_000) * 2_000_000
    left = east // TILE_SNAP * TILE_SNAP
    top = -(-(north + 100_000) // TILE_SNAP) * TILE_SNAP
    return box(left, top - TILE_SIDE, left + TILE_SIDE, top, f"EPSG:{NORTH * 100 + zone}")


def _meridian_arc(latitude: float) -> float:
    """Return the northing of a latitude on the central meridian of UTM, to some 100 m."""
    phi = math.radians(latitude)
    arc = 6_367_449.146 * phi - 16_038.509 * math.sin(2 * phi) + 16.833 * math.sin(4 * phi)
    return 0.9996 * arc


def _wrs(path: int, row: int) -> Geometry:
    """Return the approximate footprint of a Landsat scene, from the geometry of the orbit."""
    from odc.geo.geom import box, point

    if not (1 <= path <= PATHS and 1 <= row <= SCENE_ROWS):
        raise ConfigError(
            f"WRS:{path:03d}{row:03d} is no scene; expected path 1 to {PATHS} and row 1 to "
            f"{SCENE_ROWS}."
        )
    centre = point(*scene_centre(path, row), LONLAT)
    zone = zone_around(centre)
    x, y = centre.to_crs(zone).coords[0]
    half_x, half_y = SCENE_WIDTH / 2, SCENE_HEIGHT / 2
    return box(x - half_x, y - half_y, x + half_x, y + half_y, zone)


def scene_centre(path: int, row: int) -> tuple[float, float]:
    """Compute the nominal centre of a Landsat scene.

    Returned: Longitude and latitude in degrees; within about 10 km of the published centres.
    """
    along = math.radians((row - EQUATOR_ROW) * 360 / SCENE_ROWS)
    tilt = math.radians(INCLINATION)
    geocentric = -math.asin(math.sin(tilt) * math.sin(along))
    inertial = math.degrees(math.atan2(math.cos(tilt) * math.sin(along), math.cos(along)))
    turned = math.degrees(along) * REPEAT_DAYS / PATHS
    start = FIRST_PATH - (path - 1) * 360 / PATHS
    latitude = math.degrees(math.atan(math.tan(geocentric) / (1 - FLATTENING) ** 2))
    return (start + inertial - turned + 540) % 360 - 180, latitude
