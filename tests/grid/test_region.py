"""Regions of interest: boxes, files and tiles become snapped grids; mistakes are named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from affine import Affine
from checks import facts
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from pyproj import Transformer

from biastf_xr.errors import ConfigError, GridMismatchError
from biastf_xr.grid import align, coarse_grid, fine_grid, read_region, same_lattice
from biastf_xr.grid._region import scene_centre


def grid_at(crs, corner, shape, size=30):
    return GeoBox(shape, Affine(size, 0, corner[0], 0, -size, corner[1]), crs)


POLYGON = {"type": "Polygon", "coordinates": [[[146, -35], [147, -35], [146.5, -34.5], [146, -35]]]}


@pytest.mark.parametrize("anchor", [0.0, 15.0])
@pytest.mark.parametrize("resolution", [10.0, 30.0])
def test_box_becomes_whole_pixels_of_its_utm_zone_that_cover_it(anchor, resolution):
    region = read_region([145.9, -34.9, 146.2, -34.6])
    grid = fine_grid(region, resolution=resolution, anchor=anchor)
    assert grid.crs.epsg == 32755
    assert grid.affine.a == -grid.affine.e == resolution
    assert (grid.affine.c - anchor) % resolution == (grid.affine.f - anchor) % resolution == 0
    box, cover = region.to_crs(grid.crs, resolution=0.001).boundingbox, grid.boundingbox
    for low, inner in ((cover.left, box.left), (cover.bottom, box.bottom)):
        assert low <= inner + 1e-6
        assert inner - low < resolution
    assert cover.right >= box.right
    assert cover.top >= box.top


def test_northern_regions_take_northern_zones_and_a_crs_may_be_chosen():
    region = read_region([6.0, 50.0, 6.2, 50.1])
    assert fine_grid(region).crs.epsg == 32632
    assert fine_grid(region, crs="EPSG:3035").crs.epsg == 3035


@pytest.mark.parametrize(
    ("name", "epsg", "corner"),
    [
        ("MGRS:31UDQ", 32631, (399960, 5500020)),
        ("MGRS:32TPS", 32632, (600000, 5200020)),
        # South of the equator as they are delivered: the header of a file of HLS, and a mask of a
        # product of Sentinel-2 (6000040 in the southern zone).
        ("MGRS:19LBJ", 32619, (199980, -1099980)),
        ("MGRS:T53HNV", 32653, (499980, 6000040 - 10_000_000)),
        ("13TFE", 32613, (600000, 4500000)),
    ],
)
def test_mgrs_tile_is_the_grid_of_hls(name, epsg, corner):
    grid = fine_grid(read_region(name))
    assert grid.crs.epsg == epsg
    assert grid.shape == (3660, 3660)
    assert (grid.affine.c, grid.affine.f) == corner


def test_every_square_of_mgrs_lies_in_its_own_latitude_band():
    mgrs = pytest.importorskip("mgrs").MGRS()
    rng = np.random.default_rng(0)
    for lat, lon in zip(rng.uniform(-79, 83, 200), rng.uniform(-180, 180, 200), strict=True):
        name = mgrs.toMGRS(lat, lon, MGRSPrecision=0)
        zone, rest = (name[:-3], name[-3:])
        if 56 <= lat <= 64 or lat >= 72:
            continue  # zones of Norway and Svalbard are irregular
        easting, northing = _utm(lat, lon, int(zone))
        box = read_region(f"{zone}{rest}").boundingbox
        assert box.left - 1 <= easting < box.left + 100_100, name
        assert box.top - 100_100 <= northing <= box.top + 1, name


def _utm(lat, lon, zone):
    from odc.geo.geom import point

    epsg = 32600 + zone
    return point(lon, lat, "EPSG:4326").to_crs(f"EPSG:{epsg}").coords[0]


def test_a_scene_gives_the_zone_and_the_pixels():
    region = read_region([145.9, -34.9, 146.2, -34.6])
    landsat = grid_at("EPSG:32655", (455_985, -3_828_975), (4000, 4000))
    grid = fine_grid(region, scenes=landsat)
    assert grid.crs.epsg == 32655
    assert same_lattice(grid, landsat)
    # The same pixels in the other half of the zone, and in larger ones.
    for options in ({"crs": "utm"}, {"crs": "EPSG:32755"}, {"crs": "utm", "resolution": 60}):
        other = fine_grid(region, scenes=landsat, **options)
        assert other.crs.epsg == 32755
        assert (other.affine.c - 455_985) % 30 == (other.affine.f - 6_171_025) % 30 == 0
    # What is stated holds; pixels that do not fit, and degrees, give no lattice.
    assert fine_grid(region, scenes=landsat, anchor=7).affine.c % 30 == 7
    assert fine_grid(region, scenes=landsat, anchor=(7, 3)).affine.f % 30 == 3
    assert fine_grid(region, scenes=landsat, resolution=20).affine.c % 20 == 0
    degrees = grid_at("EPSG:4326", (145, -34), (500, 500), 0.00027)
    assert fine_grid(region, scenes=degrees) == fine_grid(region)


@pytest.mark.parametrize("lat", [85, -85])
def test_where_utm_ends_another_crs_is_asked_for(lat):
    region = read_region([10, lat - 1, 12, lat + 1])
    with pytest.raises(GridMismatchError, match=facts(f"{lat}.0", "84", "80", "EPSG:")):
        fine_grid(region, crs="utm")
    polar = grid_at("EPSG:3031" if lat < 0 else "EPSG:3413", (0, 0), (9, 9))
    assert fine_grid(region, scenes=polar, resolution=300).crs == polar.crs


@pytest.mark.parametrize(
    ("path", "row", "lon", "lat"),
    [(44, 34, -122.1, 37.48), (123, 32, 116.7, 40.33), (1, 60, -64.6, 0.0)],
)
def test_centres_of_landsat_scenes(path, row, lon, lat):
    assert scene_centre(path, row) == pytest.approx((lon, lat), abs=0.1)


def test_landsat_scene_becomes_a_box_around_its_centre():
    grid = fine_grid(read_region("WRS:123032"))
    assert grid.crs.epsg == 32650
    assert tuple(grid.shape) == pytest.approx((6000, 6167), abs=2)


@pytest.mark.parametrize("wrap", ["Polygon", "Feature", "FeatureCollection"])
def test_geojson_may_hold_its_polygons_anywhere(tmp_path, wrap):
    feature = {"type": "Feature", "geometry": POLYGON, "properties": {}}
    found = {
        "Polygon": POLYGON,
        "Feature": feature,
        "FeatureCollection": {"type": "FeatureCollection", "features": [feature]},
    }[wrap]
    path = tmp_path / "region.geojson"
    path.write_text(json.dumps(found))
    assert fine_grid(read_region(path)) == fine_grid(Geometry(POLYGON, "EPSG:4326"))


@pytest.mark.parametrize("epsg", [32701, 32760])
def test_a_region_may_lie_across_the_180th_meridian(tmp_path, epsg):
    east = 2 if epsg == 32701 else 0.5  # of 180 degrees; the rest of two and a half is west of it
    west, far = 180 - 2.5 + east, east - 180
    parts = [
        [[[w, -18], [e, -18], [e, -16], [w, -16], [w, -18]]] for w, e in ((west, 180), (-180, far))
    ]
    path = tmp_path / "cut.geojson"
    path.write_text(json.dumps({"type": "MultiPolygon", "coordinates": parts}))
    boxes = [west, -18, far, -16], [west, -18, 180 + east, -16]
    grids = [fine_grid(read_region(region)) for region in (*boxes, path)]
    assert grids[0] == grids[1] == grids[2]
    assert grids[0].crs.epsg == epsg
    # The corners lie inside, and little else does.
    to_grid = Transformer.from_crs(4326, epsg, always_xy=True).transform
    box = grids[0].boundingbox
    xs, ys = to_grid([west, far, west, far], [-18, -18, -16, -16])
    for found, want in ((box.left, min(xs)), (box.right, max(xs)),
                        (box.bottom, min(ys)), (box.top, max(ys))):  # fmt: skip
        assert found == pytest.approx(want, abs=2000)


def test_geojson_may_state_its_crs(tmp_path):
    ring = [[455_985, 6_171_025], [459_985, 6_171_025], [459_985, 6_168_025], [455_985, 6_171_025]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    for name in ("urn:ogc:def:crs:EPSG::32755", "EPSG:32755"):
        crs = {"type": "name", "properties": {"name": name}}
        (tmp_path / "utm.geojson").write_text(json.dumps(shape | {"crs": crs}))
        grid = fine_grid(read_region(tmp_path / "utm.geojson"), anchor=(15, 25))
        assert grid == grid_at("EPSG:32755", (455_985, 6_171_025), (100, 134))
    lonlat = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    (tmp_path / "lonlat.geojson").write_text(json.dumps(POLYGON | {"crs": lonlat}))
    (tmp_path / "plain.geojson").write_text(json.dumps(POLYGON))
    regions = [read_region(tmp_path / f"{name}.geojson") for name in ("lonlat", "plain")]
    assert fine_grid(regions[0]) == fine_grid(regions[1])
    broken = {"type": "name", "properties": {"name": "mars"}}
    (tmp_path / "broken.geojson").write_text(json.dumps(POLYGON | {"crs": broken}))
    with pytest.raises(ConfigError, match=facts("broken.geojson", "mars", "EPSG::")):
        read_region(tmp_path / "broken.geojson")


@pytest.mark.parametrize("ratio", [16, 15.444])
def test_coarse_grid_covers_the_fine_one_with_its_margin(ratio):
    fine = fine_grid(read_region([146, -34.9, 146.1, -34.8]))
    coarse = coarse_grid(fine, resolution=30 * ratio, margin=3)
    alignment = align(fine, coarse)
    assert alignment.ratio == pytest.approx(ratio)
    assert (alignment.rows.shift, alignment.cols.shift) == pytest.approx((3, 3))
    assert coarse.boundingbox.right - fine.boundingbox.right >= 3 * 30 * ratio - 1e-6


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ([147, -35, 146, -34], facts("[147, -35, 146, -34]", "west < east", "south < north")),
        ([0, -18, -179, -16], facts("180th meridian", "180 degrees")),
        ([455985, 6171015, 460000, 6180000], facts("455985", "degrees")),
        ([1, 2, 3], facts("[1, 2, 3]", "3", "[west, south, east, north]")),
        ("MGRS:55AAA", facts("MGRS:55AAA", "MGRS:55HBU", "WRS:093084")),
        ("MGRS:55HSU", facts("MGRS:55HSU", "ABCDEFGH")),
        ("WRS:234001", facts("WRS:234001", "1 to 233", "1 to 248")),
        ("nowhere.geojson", facts("nowhere.geojson", "GeoJSON")),
    ],
)
def test_unusable_regions_are_named(region, message):
    with pytest.raises(ConfigError, match=message):
        read_region(region)


def test_unusable_grids_are_named(tmp_path):
    region = read_region([146, -35, 147, -34])
    with pytest.raises(GridMismatchError, match=facts("EPSG:4326", "utm")):
        fine_grid(region, crs="EPSG:4326")
    with pytest.raises(ConfigError, match=facts("'mars'", "EPSG:")):
        fine_grid(region, crs="mars")
    with pytest.raises(ConfigError, match=facts("resolution", "0", "positive")):
        fine_grid(region, resolution=0)
    with pytest.raises(ConfigError, match=facts("1113440 x 923497", "400000")):
        fine_grid(region, resolution=0.1)
    with pytest.raises(GridMismatchError, match=facts("10", "30", "swapped")):
        coarse_grid(fine_grid(region), resolution=10)
    (tmp_path / "point.geojson").write_text('{"type": "Point", "coordinates": [1, 2]}')
    with pytest.raises(ConfigError, match=facts("point.geojson", "Polygon")):
        read_region(tmp_path / "point.geojson")
