"""Grids as archives deliver them: what has the cube's pixels is copied, what has not is warped.

The scenes are white noise, which any interpolation would smooth.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from checks import facts
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.control import GroundControlPoint

from biastf_xr import fuse
from biastf_xr._doctor import check_run
from biastf_xr._sensors import grids, ingest_both, ingest_source
from biastf_xr.cli._init import refuse_degrees
from biastf_xr.config import build_config
from biastf_xr.cube._cube import open_cube
from biastf_xr.errors import BiastfError, ConfigError, GridMismatchError
from biastf_xr.grid import fine_grid, geobox_of, read_region
from biastf_xr.sources import build_product
from biastf_xr.sources._files import open_layer
from biastf_xr.sources._rasters import Readable

SHAPE = (80, 100)
# A Landsat scene in New South Wales: pixel edges at odd multiples of 15 m from the equator.
NORTH = Affine(30, 0, 455_985, 0, -30, -3_828_975)
SOUTH = Affine(30, 0, 455_985, 0, -30, -3_828_975 + 10_000_000)
MULTIPLES = Affine(30, 0, 455_985, 0, -30, 6_171_015)
# Inside it, in degrees.
REGION = [146.5264, -34.6189, 146.5461, -34.6062]


def noise(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(500, 4000, shape).astype(np.int16)


def write(path, values, transform=NORTH, crs="EPSG:32655", **profile):
    """Write an image of one band."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype=values.dtype,
        crs=crs, transform=transform, **profile,
    ) as file:  # fmt: skip
        file.write(values, 1)


def config_of(folder, **grid):
    """Describe a run on a folder of images of one band, whose grid is stated in part."""
    options = {"pattern": "*_%Y%m%d.tif", "layers": ["nir"], "factor": 1e-4}
    sensors = {
        kind: {"product": "geotiff", "folder": kind, "cube": f"{kind}.zarr", "options": options}
        for kind in ("fine", "coarse")
    }
    section = {"grid": {"region": REGION} | grid} if grid else {}
    return build_config(sensors | section, folder / "run.toml")


def built(folder, **grid):
    """Ingest the fine scenes; the cube."""
    config = config_of(folder, **grid)
    ingest_source(config.fine, "fine", grids(config)[0])
    return open_cube(config.fine.cube, chunks=None).load()


def at_pixels_of(cube, values, transform):
    """Cut the pixels of a cube out of a scene that has them."""
    corner = geobox_of(cube, "cube").affine
    row = (corner.f - transform.f) / transform.e
    col = (corner.c - transform.c) / transform.a
    assert row == round(row)
    assert col == round(col)
    rows, cols = cube.sizes["y"], cube.sizes["x"]
    return values[round(row) : round(row) + rows, round(col) : round(col) + cols]


def assert_copied(cube, values, transform=NORTH, day=0):
    want = at_pixels_of(cube, values, transform) * 1e-4
    np.testing.assert_allclose(cube["nir"].values[day], want, atol=6.2e-5)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [("EPSG:32655", NORTH), ("EPSG:32755", SOUTH)],
    ids=["northern zone", "southern zone"],
)
def test_scenes_keep_their_zone_and_their_pixels_under_a_region(tmp_path, crs, transform):
    values = noise()
    write(tmp_path / "fine" / "L_20210101.tif", values, transform, crs)
    cube = built(tmp_path, crs="scenes")
    assert f"EPSG:{geobox_of(cube, 'cube').crs.epsg}" == crs
    assert_copied(cube, values, transform)
    assert cube["nir"].notnull().all()


@pytest.mark.parametrize("crs", ["utm", "EPSG:32755"])
def test_scenes_of_the_other_half_of_the_zone_are_copied(tmp_path, crs):
    values = noise()
    write(tmp_path / "fine" / "L_20210101.tif", values)
    cube = built(tmp_path, crs=crs)
    assert geobox_of(cube, "cube").crs.epsg == 32755
    assert_copied(cube, values, SOUTH)


def test_scenes_of_both_halves_share_a_cube_where_their_pixels_do(tmp_path):
    values = [noise(seed) for seed in range(2)]
    write(tmp_path / "fine" / "L_20210101.tif", values[0])
    write(tmp_path / "fine" / "L_20210102.tif", values[1], SOUTH, "EPSG:32755")
    # At whole multiples of the pixel from the other origin, which 10,000,000 m is not.
    write(tmp_path / "fine" / "L_20210103.tif", values[0], MULTIPLES, "EPSG:32755")
    config = config_of(tmp_path)
    report = ingest_source(config.fine, "fine")
    assert list(report.added) == ["L_20210101.tif", "L_20210102.tif"]
    assert "EPSG:32755" in report.rejected["L_20210103.tif"]
    cube = open_cube(config.fine.cube, chunks=None)
    for day in range(2):
        assert_copied(cube, values[day], day=day)


def test_pixels_of_another_lattice_are_interpolated_where_they_lie(tmp_path):
    y, x = np.mgrid[:80, :100]
    plane = (1000 + 20 * x + 10 * y).astype(np.int16)
    write(tmp_path / "fine" / "L_20210101.tif", noise())
    write(tmp_path / "fine" / "L_20210102.tif", plane, MULTIPLES, "EPSG:32755")
    cube = built(tmp_path, crs="scenes")
    east, south = cube["x"].values - MULTIPLES.c, MULTIPLES.f - 10_000_000 - cube["y"].values
    want = 1000 + 20 * (east / 30 - 0.5) + 10 * (south / 30 - 0.5)[:, None]
    np.testing.assert_allclose(cube["nir"].values[1], want * 1e-4, atol=1e-4)


def test_a_cube_keeps_its_zone_whatever_comes_later(tmp_path):
    values = noise()
    write(tmp_path / "fine" / "L_20210102.tif", values)
    before = geobox_of(built(tmp_path, crs="scenes"), "cube")
    off = Affine.translation(7, 11) * SOUTH
    write(tmp_path / "fine" / "L_20210101.tif", noise(1), off, "EPSG:32755")
    config = config_of(tmp_path, crs="scenes")
    assert grids(config)[0] == before
    assert geobox_of(built(tmp_path, crs="scenes"), "cube") == before
    # Built anew it takes those of the first scene.
    anew = grids(config, anew=True)[0]
    assert anew.crs.epsg == 32755
    assert anew.affine.c % 30 == (455_985 + 7) % 30


def test_of_scenes_in_two_zones_the_region_s_own_gives_the_grid(tmp_path):
    values = noise()
    west = GeoBox(SHAPE, NORTH, "EPSG:32655").to_crs("EPSG:32654", resolution=30)
    write(tmp_path / "fine" / "L_20210101.tif", noise(1, west.shape), west.affine, "EPSG:32654")
    write(tmp_path / "fine" / "L_20210102.tif", values)
    cube = built(tmp_path, crs="scenes")
    assert geobox_of(cube, "cube").crs.epsg == 32655
    assert_copied(cube, values, NORTH, 1)
    assert cube["nir"].notnull().all()


# --- pixels that are not square -----------------------------------------------------------------


def stretched(folder, coarse, *, height=30.0, native=None):
    """Describe fine images of 29.9 x 30 m, and coarse ones of some size, and write both."""
    fine = Affine(29.9, 0, NORTH.c, 0, -height, NORTH.f)
    write(folder / "fine" / "L_20210101.tif", noise(), fine)
    write(folder / "coarse" / "M_20210101.tif", *coarse(fine))
    config = config_of(folder)
    sensor = config.coarse.model_copy(update={"native_resolution": native})
    return config.model_copy(update={"coarse": sensor})


def test_images_of_oblong_pixels_are_averaged_to_their_true_size(tmp_path):
    values = noise(2)
    config = stretched(tmp_path, lambda fine: (values, fine), native=299)
    *_, pairs, _ = ingest_both(config, lambda *_: None, overwrite=False, dry_run=False)
    assert pairs is not None  # the two grids fit
    cube = open_cube(config.coarse.cube, chunks=None)
    assert geobox_of(cube, "cube").affine == Affine(299, 0, NORTH.c, 0, -300, NORTH.f)
    want = values.reshape(8, 10, 10, 10).mean(axis=(1, 3)) * 1e-4
    np.testing.assert_allclose(cube["nir"].values[0], want, atol=6.2e-5)


def test_pixels_that_do_not_fit_are_refused_before_a_cube_is_built(tmp_path):
    square = lambda _: (noise(2, (9, 11)), Affine(480, 0, NORTH.c, 0, -480, NORTH.f))  # noqa: E731
    for folder, coarse, options, said in (
        ("square", square, {}, ("29.9 x 30", "480 x 480", "[grid]")),
        ("oblong", lambda fine: (noise(2), fine), {"height": 60.0, "native": 299},
         ("29.9 x 60", "299", "600", "[grid]")),
    ):  # fmt: skip
        config = stretched(tmp_path / folder, coarse, **options)
        with pytest.raises(GridMismatchError, match=facts(*said)):
            ingest_both(config, lambda *_: None, overwrite=False, dry_run=False)
        assert {p.name for p in (tmp_path / folder).iterdir()} == {"fine", "coarse"}


# --- degrees ------------------------------------------------------------------------------------


def in_degrees(folder, kind="fine", size=0.00027):
    """Write a plane in degrees over the region; what it is at a longitude and latitude."""
    beyond = max(0.01, 6 * size)
    west, north = REGION[0] - beyond, REGION[3] + beyond
    shape = (int((north - REGION[1] + beyond) / size), int((REGION[2] + beyond - west) / size))
    lon = west + (np.arange(shape[1]) + 0.5) * size
    lat = north - (np.arange(shape[0]) + 0.5) * size

    def plane(lon, lat):
        return 0.1 + (lon - REGION[0]) * 2 + (lat - REGION[1])

    values = np.round(plane(lon, lat[:, None]) * 1e4).astype(np.int16)
    transform = Affine(size, 0, west, 0, -size, north)
    write(folder / kind / "L_20210101.tif", values, transform, "EPSG:4326")
    return plane


def test_scenes_in_degrees_are_warped_to_a_grid(tmp_path):
    plane = in_degrees(tmp_path)
    cube = built(tmp_path, crs="scenes")
    box = geobox_of(cube, "cube")
    assert box.crs.epsg == 32755  # scenes in degrees have no zone: that of the region
    to_degrees = Transformer.from_crs(32755, 4326, always_xy=True).transform
    lon, lat = to_degrees(*np.meshgrid(cube["x"], cube["y"]))
    np.testing.assert_allclose(cube["nir"].values[0], plane(lon, lat), atol=1.2e-4)


def test_scenes_in_degrees_are_refused_without_a_grid(tmp_path):
    in_degrees(tmp_path)
    config = config_of(tmp_path)
    with pytest.raises(GridMismatchError, match=facts("L_20210101.tif", "EPSG:4326", "[grid]")):
        ingest_source(config.fine, "fine")
    (check,) = [c for c in check_run(config) if c.name == "fine pixels"]
    assert check.verdict == "wrong"
    assert "EPSG:4326" in check.found
    assert "[grid]" in check.advice
    with pytest.raises(ConfigError, match=facts("L_20210101.tif", "EPSG:4326", "--region")):
        refuse_degrees(tmp_path / "fine")
    (check,) = [c for c in check_run(config_of(tmp_path, crs="utm")) if c.name == "fine pixels"]
    assert check.verdict == "ok"


def test_a_dataset_in_degrees_is_refused_by_every_name_of_its_dims(make_pair):
    fine, coarse = make_pair()
    lat, lon = np.linspace(-34, -34.01, fine.sizes["y"]), np.linspace(146, 146.01, fine.sizes["x"])
    degrees = fine.drop_vars("spatial_ref").assign_coords(y=lat, x=lon)
    named = degrees.rename(y="latitude", x="longitude")
    degrees = degrees.odc.assign_crs("EPSG:4326")
    for ds, fact in ((degrees, "EPSG:4326"), (named, "latitude")):
        for pair in ((ds, coarse), (coarse, ds)):
            with pytest.raises(BiastfError, match=facts(fact, "reproject")):
                fuse(*pair, method="direct")
        with pytest.raises(BiastfError, match=facts(fact, "reproject")):
            geobox_of(ds, "the cube")


def test_coarse_scenes_in_degrees_are_brought_to_the_fine_cube(tmp_path):
    write(tmp_path / "fine" / "L_20210101.tif", noise())
    plane = in_degrees(tmp_path, "coarse", 0.0045)
    config = config_of(tmp_path)
    ingest_both(config, lambda *_: None, overwrite=False, dry_run=False)
    cube = open_cube(config.coarse.cube, chunks=None).load()
    to_degrees = Transformer.from_crs(32655, 4326, always_xy=True).transform
    lon, lat = to_degrees(*np.meshgrid(cube["x"], cube["y"]))
    found, want = cube["nir"].values[0], plane(lon, lat)
    there = np.isfinite(found)
    assert there.sum() >= 12
    np.testing.assert_allclose(found[there], want[there], atol=1.2e-3)


def test_coarse_scenes_in_the_other_half_of_the_zone_keep_their_pixels(tmp_path):
    write(tmp_path / "fine" / "L_20210101.tif", noise())
    values = noise(3, (9, 11))
    corner = Affine(480, 0, NORTH.c - 960, 0, -480, SOUTH.f + 960)
    write(tmp_path / "coarse" / "M_20210101.tif", values, corner, "EPSG:32755")
    config = config_of(tmp_path)
    ingest_both(config, lambda *_: None, overwrite=False, dry_run=False)
    cube = open_cube(config.coarse.cube, chunks=None).load()
    assert geobox_of(cube, "cube").crs.epsg == 32655
    np.testing.assert_allclose(cube["nir"].values[0], values * 1e-4, atol=6.2e-5)


# --- how files are placed -----------------------------------------------------------------------


def placed_by_points(path, values, _):
    corners = [
        GroundControlPoint(row, col, *(NORTH * (col, row))) for row in (0, 80) for col in (0, 100)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype="int16"
    ) as file:
        file.write(values, 1)
        file.gcps = (corners, rasterio.crs.CRS.from_epsg(32655))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("transform", "writer", "fact"),
    [
        (NORTH * Affine.rotation(10), write, "rotated"),
        (NORTH * Affine.shear(5), write, "rotated"),
        (Affine.identity(), write, "no transform"),
        (Affine(-30, 0, NORTH.c + 3000, 0, -30, NORTH.f), write, "x ascending"),
        (Affine(30, 0, NORTH.c, 0, 30, NORTH.f - 2400), write, "y descending"),
        (None, placed_by_points, "control points"),
    ],
    ids=["rotated", "sheared", "no transform", "westward", "southern row first", "control points"],
)
@pytest.mark.parametrize("grid", [{}, {"crs": "utm"}], ids=["own pixels", "region"])
def test_files_that_are_placed_otherwise_are_refused_by_name(
    tmp_path, transform, writer, fact, grid
):
    writer(tmp_path / "fine" / "L_20210101.tif", noise(), transform)
    with pytest.raises(BiastfError, match=facts("L_20210101.tif", fact)):
        built(tmp_path, **grid)


def test_a_file_of_points_lies_where_gdal_says(tmp_path):
    """As those of Landsat: half a pixel is taken off what is stored."""
    path, values = tmp_path / "fine" / "L_20210101.tif", noise()
    write(path, values)
    with rasterio.open(path, "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    assert_copied(built(tmp_path, crs="scenes"), values)


@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        (Affine.translation(15, 0) * NORTH, "EPSG:32655"),
        (Affine.translation(0, 30) * NORTH, "EPSG:32655"),
        (NORTH, "EPSG:32654"),
        (Affine(30.02, 0, NORTH.c, 0, -30, NORTH.f), "EPSG:32655"),
    ],
    ids=["half a pixel", "a pixel", "zone", "size"],
)
def test_layers_of_a_scene_on_two_grids_are_refused(tmp_path, transform, crs):
    scene = tmp_path / "LC08_L2SP_093084_20200101_20200823_02_T1"
    for layer in ("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7", "QA_PIXEL", "QA_RADSAT"):
        here = (transform, crs) if layer == "QA_PIXEL" else (NORTH, "EPSG:32655")
        write(scene / f"{scene.name}_{layer}.TIF", noise().astype(np.uint16), *here)
    product = build_product("landsat-c2-l2")
    (found,) = product.find_scenes(tmp_path)
    with pytest.raises(GridMismatchError, match=facts(scene.name, "QA_PIXEL", "px of 30")):
        product.open_scene(found)


def test_layers_that_differ_by_rounding_are_one_scene(tmp_path):
    scene = tmp_path / "LC08_L2SP_093084_20200101_20200823_02_T1"
    for n, layer in enumerate(
        ("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7", "QA_PIXEL", "QA_RADSAT")
    ):
        here = Affine(30 + n * 1e-7, 0, NORTH.c + n * 1e-4, 0, -30, NORTH.f)
        write(scene / f"{scene.name}_{layer}.TIF", noise(n).astype(np.uint16), here)
    product = build_product("landsat-c2-l2")
    (found,) = product.find_scenes(tmp_path)
    raw = product.open_scene(found).load()
    np.testing.assert_array_equal(raw["QA_RADSAT"], noise(7))


# --- real files ---------------------------------------------------------------------------------

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not here")
def test_real_files_south_of_the_equator_are_in_the_northern_zone():
    tile = REAL / "hls_headers_only" / "HLS.L30.T19LBJ.2020239T144556.v2.0.B01.tif"
    header = geobox_of(open_layer(tile, Readable()).to_dataset(name="a"), "tile")
    assert header == fine_grid(read_region("MGRS:19LBJ"), scenes=header)
    for scene in sorted((REAL / "landsat_c2_l2_60px").iterdir()):
        product = build_product("landsat-c2-l2")
        (found,) = product.find_scenes(scene)
        box = geobox_of(product.open_scene(found), "scene")
        assert box.crs.epsg // 100 == 326
        assert box.affine.f < 0
        assert (box.affine.c % 30, box.affine.f % 30) == (15, 15)  # decimated, corners kept
