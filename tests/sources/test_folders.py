"""Folders of scenes: through links, and no file takes the place of another of its name."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import rasterio
from affine import Affine
from checks import facts, some
from odc.geo.geobox import GeoBox

from biastf_xr.cube import ingest, open_cube
from biastf_xr.cube._selection import usable
from biastf_xr.sources import build_product
from biastf_xr.sources._folders import walk
from biastf_xr.sources.base import Scene

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
X, Y, SIDE, PIXEL = 100_000.0, 4_000_000.0, 16, 500.0
COLOURS = {"blue": 3, "green": 4, "red": 1, "nir": 2, "swir1": 6, "swir2": 7}


def tiff(path, value, column=0, dtype="int16"):
    """Write one layer of an area: `column` areas to the right of the corner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((1, SIDE, SIDE), value, dtype)
    values[0, 0, 0] += dtype == "int16"
    corner = Affine(PIXEL, 0, X + column * SIDE * PIXEL, 0, -PIXEL, Y)
    profile = {"driver": "GTiff", "count": 1, "height": SIDE, "width": SIDE, "dtype": dtype}
    with rasterio.open(path, "w", crs=SINUSOIDAL, transform=corner, **profile) as file:
        file.write(values)


def order(folder, value, column, *, area="aid0001", day="2021091"):
    """Write what AppEEARS delivers of one area and day: every band has the value, all is clear."""
    for number in range(1, 8):
        name = f"MOD09GA.061_sur_refl_b0{number}_1_doy{day}000000_{area}.tif"
        tiff(folder / name, value, column)
    tiff(folder / f"MOD09GA.061_state_1km_1_doy{day}000000_{area}.tif", 0, column, "uint16")


def taken(folder, path, columns):
    """Ingest onto a grid over all areas, and return the red image of the day."""
    grid = GeoBox((SIDE, columns * SIDE), Affine(PIXEL, 0, X, 0, -PIXEL, Y), SINUSOIDAL)
    report = ingest(build_product("mod09ga"), folder, path, kind="coarse", grid=grid)
    assert not report.rejected
    return open_cube(path)["red"].isel(time=0).values


@pytest.mark.parametrize("apart", ["by area", "by folder", "by both"])
def test_every_area_of_an_order_is_in_the_cube(tmp_path, apart):
    for n in range(3):
        folder = tmp_path / "orders" / (f"order{n}" if apart != "by area" else "")
        area = f"aid000{n + 1}" if apart != "by folder" else "aid0001"
        order(folder, 1000 * (n + 1), n, area=area)
    red = taken(tmp_path / "orders", tmp_path / "coarse.zarr", 3)
    for n in range(3):
        part = red[:, n * SIDE : (n + 1) * SIDE]
        np.testing.assert_allclose(part[1:], 0.1 * (n + 1), atol=1e-4)


def test_an_area_that_comes_later_is_added(tmp_path):
    order(tmp_path / "orders" / "b", 1000, 0)
    assert np.isnan(taken(tmp_path / "orders", tmp_path / "c.zarr", 2)).sum() == SIDE**2
    order(tmp_path / "orders" / "c", 2000, 1)
    red = taken(tmp_path / "orders", tmp_path / "c.zarr", 2)
    assert (red[5, 5], red[5, SIDE + 5]) == pytest.approx((0.1, 0.2), abs=1e-4)


def test_an_area_beyond_the_grid_of_the_first_is_said(tmp_path):
    order(tmp_path / "order", 1000, 0)
    order(tmp_path / "order", 2000, 1, area="aid0002")
    product = build_product("mod09ga")
    report = ingest(product, tmp_path / "order", tmp_path / "c.zarr", kind="coarse")
    (why,) = report.rejected.values()
    assert "outside" in why


def test_a_copy_is_no_other_scene(tmp_path):
    order(tmp_path / "orders" / "one", 1000, 0)
    shutil.copytree(tmp_path / "orders" / "one", tmp_path / "orders" / "two")
    (scene,) = build_product("mod09ga").find_scenes(tmp_path / "orders")
    assert scene.id == "MOD09GA.061.A2021091"


def test_part_of_a_scene_that_differs_from_the_whole_is_named(tmp_path):
    order(tmp_path / "orders" / "one", 1000, 0)
    name = "MOD09GA.061_sur_refl_b01_1_doy2021091000000_aid0001.tif"
    tiff(tmp_path / "orders" / "two" / name, 7777)
    whole, part = build_product("mod09ga").find_scenes(tmp_path / "orders")
    assert not whole.problem
    assert whole.files["red"].parent.name == "one"
    assert "two" in part.id
    assert re.search(facts("lacks", "'nir'"), part.problem)


def test_two_files_of_one_layer_in_a_folder_are_refused_by_name(tmp_path):
    order(tmp_path / "order", 1000, 0)
    tiff(tmp_path / "order" / "MOD09GA.061_sur_refl_b01_1_doy2021091120000_aid0001.tif", 2000)
    (scene,) = build_product("mod09ga").find_scenes(tmp_path / "order")
    assert re.search(facts("red", "091000000", "091120000"), scene.problem)


@pytest.mark.parametrize("newer", ["a", "z"])
def test_the_later_processing_is_taken_wherever_it_lies(tmp_path, newer):
    pair = {"old": "2020111040506", "new": "2021111040506"}
    folders = {"new": newer, "old": "m"}
    for age, stamp in pair.items():
        for form in ("IA4", "MA4"):
            path = tmp_path / folders[age] / f"VNP43{form}.A2020001.h29v12.002.{stamp}.h5"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    (scene,) = build_product("vnp43").find_scenes(tmp_path)
    assert scene.version == pair["new"]
    assert {p.parent.name for p in some(scene.files).values()} == {newer}


def test_what_gives_way_to_a_later_processing_is_in_the_report(tmp_path):
    layers = [*(f"SR_B{n}" for n in range(1, 8)), "QA_PIXEL", "QA_RADSAT"]
    processed = ("20210402_02_RT", "20210410_02_T1", "20230101_02_T1")
    ids = [f"LC08_L2SP_034032_20210401_{ending}" for ending in processed]
    for name in ids:
        for layer in layers:
            tiff(tmp_path / "scenes" / f"{name}_{layer}.TIF", 20000, 0, "uint16")
        tiff(tmp_path / "scenes" / f"{name}_QA_PIXEL.TIF", 21824, 0, "uint16")
        tiff(tmp_path / "scenes" / f"{name}_QA_RADSAT.TIF", 0, 0, "uint16")
    found = ingest(
        build_product("landsat-c2-l2"), tmp_path / "scenes", tmp_path / "f.zarr", kind="fine",
        dry_run=True,
    )  # fmt: skip
    assert found.days == {"2021-04-01": (ids[2],)}
    assert found.superseded == {ids[0]: ids[1], ids[1]: ids[2]}
    assert "older" in str(found)


def test_two_scenes_of_one_name_and_version_are_never_one():
    """Also of a product of somebody else, whose names do not tell its scenes apart."""
    day = np.datetime64("2021-04-01")
    scenes = [Scene("s", day, {"red": f"{part}.tif"}) for part in ("west", "east")]
    offer = usable([*scenes, scenes[0]], start=None, end=None, exclude=frozenset())
    assert offer.days == {day: [scenes[0]]}
    assert re.search(facts("west.tif", "east.tif"), offer.rejected["s"])


# --- links ----------------------------------------------------------------------------------------


def test_scenes_behind_links_are_found_once(tmp_path):
    archive, folder = tmp_path / "archive", tmp_path / "folder"
    order(archive / "order", 1000, 0)
    folder.mkdir()
    (folder / "order").symlink_to(archive / "order", target_is_directory=True)
    (folder / "again").symlink_to(archive, target_is_directory=True)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    (archive / "order" / "up").symlink_to(archive, target_is_directory=True)
    (scene,) = build_product("mod09ga").find_scenes(folder)
    assert not scene.problem
    assert np.isfinite(taken(folder, tmp_path / "c.zarr", 1)).all()


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    order(tmp_path / "order", 1000, 0)
    (tmp_path / "order" / "gone").symlink_to(tmp_path / "was here")
    (tmp_path / "order" / "loop").symlink_to(tmp_path / "order" / "loop")
    red = tmp_path / "order" / "MOD09GA.061_sur_refl_b01_1_doy2021092000000_aid0001.tif"
    red.symlink_to(tmp_path / "was there.tif")
    report = ingest(build_product("mod09ga"), tmp_path / "order", tmp_path / "c", kind="coarse")
    assert set(report.rejected) == {"gone", "loop", red.name}
    assert re.search(facts("link", "was here"), report.rejected["gone"])
    assert len(report.added) == 1


@pytest.mark.parametrize("product", ["landsat-c2-l2", "hls", "mod09ga", "mcd43a4", "vnp09ga"])
def test_every_product_names_a_link_that_leads_nowhere(tmp_path, product):
    (tmp_path / "gone").symlink_to(tmp_path / "was here")
    (scene,) = build_product(product).find_scenes(tmp_path)
    assert "was here" in scene.problem


def test_random_trees_of_folders_and_links_are_walked_whole_and_once(tmp_path):
    rng = np.random.default_rng(0)
    for trial in range(30):
        root = tmp_path / str(trial)
        folders = [root]
        root.mkdir()
        for n in range(rng.integers(1, 8)):
            folders.append(folders[rng.integers(len(folders))] / f"d{n}")
            folders[-1].mkdir()
        files = set()
        for n in range(rng.integers(0, 12)):
            path = folders[rng.integers(len(folders))] / f"f{n}"
            path.touch()
            files.add(path.name)
        dead = set()
        for n in range(rng.integers(0, 8)):
            link = folders[rng.integers(len(folders))] / f"l{n}"
            if rng.random() < 0.3:
                link.symlink_to(root / "nowhere")
                dead.add(link)
            else:
                link.symlink_to(folders[rng.integers(len(folders))])
        found, lost = walk(root)
        assert found == sorted(found)
        assert sorted(p.name for p in found if p.is_file()) == sorted(files)
        assert set(lost) == dead
