"""UTM zones, whose northern and southern half differ by a constant.

Landsat and HLS are delivered in the northern half everywhere, south of the equator with negative
northings: the same pixels as in the southern half, 10,000,000 m further down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from biastf_xr.errors import GridMismatchError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from odc.geo.geom import Geometry

LONLAT = "EPSG:4326"
NORTH, SOUTH = 326, 327
FALSE_NORTHING = 10_000_000.0
# Where UTM ends, in degrees of latitude.
LAST_NORTH, LAST_SOUTH = 84, -80


def zone_of(crs: Any) -> tuple[int, int] | None:
    """Return the half (`NORTH` or `SOUTH`) and the number of a UTM zone of WGS 84."""
    half, number = divmod((crs is not None and crs.epsg) or 0, 100)
    return (half, number) if half in {NORTH, SOUTH} and 1 <= number <= 60 else None


def up_to(crs: Any, other: Any) -> float | None:
    """Return how much further up a place is in the other half of a UTM zone; None if it is none."""
    own, there = zone_of(crs), zone_of(other)
    if own is None or there is None or own[1] != there[1] or own[0] == there[0]:
        return None
    return FALSE_NORTHING if there[0] == SOUTH else -FALSE_NORTHING


def restated(geobox: GeoBox, crs: Any) -> GeoBox:
    """Return a grid in a CRS, if that is the other half of its own UTM zone; else as it is."""
    from odc.geo.geobox import GeoBox

    up = up_to(geobox.crs, crs)
    if up is None:
        return geobox
    a = geobox.affine
    return GeoBox(geobox.shape, type(a)(a.a, a.b, a.c, a.d, a.e, a.f + up), crs)


def in_crs(region: Geometry, crs: Any) -> Geometry:
    """Return a region in a CRS, its straight edges bent as the projection bends them."""
    if region.crs == crs:
        return region
    step = 0.01 if region.crs is not None and region.crs.geographic else 1000.0
    return region.to_crs(crs, resolution=step)


def _centre(region: Geometry) -> tuple[float, float]:
    """Return the longitude and latitude of a region's centre."""
    lon, lat = region.centroid.to_crs(LONLAT).coords[0]
    return lon, lat


def central_zone(region: Geometry) -> int:
    """Return the number of the UTM zone that a region's centre lies in."""
    return int((_centre(region)[0] + 180) % 360 // 6) + 1


def zone_around(region: Geometry) -> Any:
    """Return the UTM zone of a region's centre; a region that is in UTM already keeps its own."""
    from odc.geo import CRS

    if zone_of(region.crs):
        return region.crs
    lat = _centre(region)[1]
    if not LAST_SOUTH <= lat <= LAST_NORTH:
        polar = "EPSG:3413" if lat > 0 else "EPSG:3031"
        raise GridMismatchError(
            f"the region's centre is at latitude {lat:.1f}, and UTM ends at {LAST_NORTH} degrees "
            f'north and {-LAST_SOUTH} south. State a polar CRS, as crs = "{polar}".'
        )
    half = NORTH if lat >= 0 else SOUTH
    return CRS(f"EPSG:{half * 100 + central_zone(region)}")


def overlaps(geobox: GeoBox, region: Geometry) -> bool:
    """Return whether a grid in metres, and a region, have something in common."""
    if geobox.crs is None or not metric(geobox.crs):
        return False
    a, b = geobox.boundingbox, in_crs(region, geobox.crs).boundingbox
    return bool(a.left < b.right and b.left < a.right and a.bottom < b.top and b.bottom < a.top)


def metric(crs: Any) -> bool:
    """Return whether a CRS is a plane in metres."""
    return bool(crs is not None and crs.projected and str(crs.units[0]).startswith("met"))
