"""Grids as archives deliver them: what has the cube's pixels is copied, what has not is warped.

The scenes are white noise, which any interpolation would smooth.
"""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from biastf_xr._sensors import grids, ingest_source
from biastf_xr.config import build_config
from biastf_xr.cube._cube import open_cube
from biastf_xr.grid import geobox_of

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
