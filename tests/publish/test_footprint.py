"""The outline of a cube in longitude and latitude, as RFC 7946 and STAC have it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from pyproj import Transformer
from shapely.geometry import Point, shape

from biastf_xr.publish._stac import footprint


def outline(epsg, corner, size=1000, shape=(40, 60)):
    box = GeoBox(shape, Affine(size, 0, corner[0], 0, -size, corner[1]), f"EPSG:{epsg}")
    return *footprint(xr.Dataset(coords=xr_coords(box))), box


def places(box, seed=0):
    """Return positions inside a grid and around it, in degrees, and whether they are inside."""
    u, v = np.random.default_rng(seed).uniform(-0.4, 1.4, (2, 400))
    x, y = box.affine * (u * box.shape[1], v * box.shape[0])
    lon, lat = Transformer.from_crs(box.crs.epsg, 4326, always_xy=True).transform(x, y)
    edge = np.minimum(np.abs(u - np.round(u)), np.abs(v - np.round(v))) < 0.01  # curves, as chords
    return lon[~edge], lat[~edge], ((u > 0) & (u < 1) & (v > 0) & (v < 1))[~edge]


@pytest.mark.parametrize(
    ("epsg", "corner", "crosses"),
    [
        (32655, (460_000, -3_830_000), False),
        (32701, (160_000, 8_120_000), True),
        (32760, (790_000, 8_120_000), True),
        (32601, (390_000, 8_010_000), True),  # 72 degrees north
        (3832, (3_300_000, -1_900_000), True),
    ],
)
def test_the_polygon_holds_the_pixels_and_nothing_else(epsg, corner, crosses):
    geometry, (west, south, east, north), box = outline(epsg, corner)
    assert geometry["type"] == ("MultiPolygon" if crosses else "Polygon")
    assert (west > east) == crosses
    polygon = shape(geometry)
    assert polygon.is_valid
    assert -180 <= polygon.bounds[0] < polygon.bounds[2] <= 180
    parts = polygon.geoms if crosses else [polygon]
    assert all(part.exterior.is_ccw for part in parts)
    width = (east - west) % 360
    assert width < 6
    lon, lat, inside = places(box)
    assert [polygon.contains(Point(*p)) for p in zip(lon, lat, strict=True)] == inside.tolist()
    held = ((lon - west) % 360 <= width) & (lat >= south) & (lat <= north)
    assert held[inside].all()
    assert not held.all()


@pytest.mark.parametrize(("epsg", "pole"), [(3413, 90), (3031, -90)])
def test_a_cube_around_a_pole(epsg, pole):
    geometry, box, grid = outline(epsg, (-20_000, 25_000))
    assert box[0::2] == [-180, 180]
    assert pole in box
    polygon = shape(geometry)
    assert polygon.is_valid
    lon, lat, inside = places(grid)
    assert [polygon.contains(Point(*p)) for p in zip(lon, lat, strict=True)] == inside.tolist()
