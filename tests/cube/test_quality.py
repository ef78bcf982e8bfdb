"""Do the sensors agree: displacements measured, undetected clouds caught, good days passed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from checks import facts

from biastf_xr.brackets import BracketRule, usable_dates
from biastf_xr.config import build_config
from biastf_xr.cube import PAIR_FLAG, Cube, ingest, open_cube
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.cube._quality import (
    PairRule,
    archive_shift,
    check_pairs,
    explain,
    read_quality,
    update_quality,
)
from biastf_xr.cube._registration import correlation_surface, find_peak
from biastf_xr.grid import aggregate, geobox_of
from biastf_xr.grid._alignment import AxisMap
from biastf_xr.sources import build_product

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real images are not here")


def smooth(rng, shape, sigma):
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.normal(size=shape), sigma)
    return noise / noise.std()


def archive(days=5, *, move=(0, 0), seed=0):
    """Build a fine cube of structure at many scales and its coarse views, displaced by pixels.

    `move`: how far the content of the coarse images is displaced, in fine pixels, down and right.
    """
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    rng = np.random.default_rng(seed)
    n, pad, ratio = 240, 48, 12
    ground = 0.2 + 0.05 * sum(smooth(rng, (n + 2 * pad,) * 2, s) for s in (3, 12, 40))
    time = np.datetime64("2021-04-01", "ns") + np.arange(days) * np.timedelta64(8, "D")
    fine, coarse = [], []
    axis = AxisMap(1 / ratio, 0.0, n // ratio)
    for _ in range(days):
        ground = ground + 0.02 * smooth(rng, ground.shape, 15)
        fine.append(ground[pad:-pad, pad:-pad])
        y, x = pad - move[0], pad - move[1]
        view = ground[y : y + n, x : x + n].astype("f4")
        coarse.append(
            aggregate(view[None], axis, axis)[0] + rng.normal(0, 0.003, (n // ratio,) * 2)
        )
    box = GeoBox.from_bbox((0, 0, n * 30, n * 30), "EPSG:32755", resolution=30)
    cubes = []
    for images, grid in ((fine, box), (coarse, box.zoom_out(ratio))):
        data = {"nir": (("time", "y", "x"), np.stack(images).astype("f4"))}
        cubes.append(xr.Dataset(data, {"time": time, **xr_coords(grid)}))
    return cubes


@pytest.mark.parametrize("move", [(0, 0), (6, 16), (-5, 3), (1.5, -0.5)])
def test_peak_of_two_images_is_their_displacement(move):
    from scipy.ndimage import shift

    rng = np.random.default_rng(1)
    image = smooth(rng, (120, 110), 3)
    moved = shift(image, move, order=3, mode="nearest")
    moved[40:60, 30:50] = np.nan
    rows, cols, r = find_peak(correlation_surface(image, moved, 20)[0])
    assert (rows, cols) == pytest.approx((-move[0], -move[1]), abs=0.1)
    assert r > 0.9


def test_correlation_at_rest_is_the_plain_one():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 30, 40))
    b += a
    b[3:9, 5:30] = np.nan
    seen = np.isfinite(b)
    surface, count = correlation_surface(a, b, 2)
    assert surface[2, 2] == pytest.approx(np.corrcoef(a[seen], b[seen])[0, 1])
    assert count[2, 2] == seen.sum()


@pytest.mark.parametrize("move", [(0, 0), (8, -10), (-14, 3)])
def test_displacement_of_an_archive_is_measured_in_metres(move):
    fine, coarse = archive(move=move)
    # Clouds in the fine image do not matter.
    fine["nir"][1, 50:130, 20:120] = np.nan
    table = check_pairs(fine, coarse)
    # Rows count down, northing up: what moves the coarse image back.
    for name, want in (("shift_x", -30 * move[1]), ("shift_y", 30 * move[0])):
        np.testing.assert_allclose(table[name], want, atol=0.12 * 360)
    flag = "shifted" if np.hypot(*move) > 6 else "good"
    assert (table["pair_flag"] == PAIR_FLAG[flag]).all()
    assert archive_shift(table) == pytest.approx((-30 * move[1], 30 * move[0]), abs=0.08 * 360)


def test_relation_is_the_regression_of_the_averaged_fine_image():
    fine, coarse = archive()
    coarse = (coarse - 0.02) / 1.25
    table = check_pairs(fine, coarse)
    assert float(table["slope"].mean()) == pytest.approx(1.25, abs=0.03)
    assert float(table["offset"].mean()) == pytest.approx(0.02, abs=0.01)
    assert (table["correlation"] > 0.95).all()
    assert (table["pixels"] == 400).all()


def test_undetected_cloud_is_flagged_with_its_reason_and_left_out_of_pairs():
    fine, coarse = archive()
    fine["nir"][2, 60:220, 10:200] += 0.3 * (1 + smooth(np.random.default_rng(3), (160, 190), 6))
    table = check_pairs(fine, coarse)
    flags = table["pair_flag"].values
    assert flags[2] == PAIR_FLAG["low_correlation"]
    assert (np.delete(flags, 2) == PAIR_FLAG["good"]).all()
    assert "nir: r 0." in explain(table, fine["time"].values[2])
    assert "cloud" in explain(table, fine["time"].values[2])
    known = fine.assign_coords(pair_flag=("time", flags))
    days = usable_dates(pair_cubes(known, coarse), BracketRule())
    assert len(days) == 4
    assert len(usable_dates(pair_cubes(fine, coarse), BracketRule())) == 5


def test_day_with_too_little_in_common_is_not_judged():
    fine, coarse = archive()
    fine["nir"][1, 30:] = np.nan
    table = check_pairs(fine, coarse, rule=PairRule(min_pixels=60))
    assert table["pair_flag"].values[1] == PAIR_FLAG["too_few_pixels"]
    assert "coarse pixels are clear" in explain(table, fine["time"].values[1])


def test_embedded_region_passes_on_every_clear_day(small_cubes):
    fine, coarse = (open_cube(p, chunks=None) for p in small_cubes)
    table = check_pairs(fine, coarse)
    assert not (table["pair_flag"] == PAIR_FLAG["low_correlation"]).any()
    assert not (table["pair_flag"] == PAIR_FLAG["shifted"]).any()


def write(folder, name, images, days, resolution):
    import rasterio
    from affine import Affine

    folder.mkdir(exist_ok=True)
    for day, image in zip(days, images, strict=True):
        with rasterio.open(
            folder / f"{name}_{day}.tif", "w", driver="GTiff", count=1, height=image.shape[0],
            width=image.shape[1], dtype="float32", crs="EPSG:32755",
            transform=Affine(resolution, 0, 0, 0, -resolution, 7200),
        ) as file:  # fmt: skip
            file.write(image.astype("f4"), 1)


def test_table_is_kept_with_the_cube_and_only_new_days_are_checked(tmp_path):
    fine, coarse = archive()
    days = [str(d)[:10] for d in fine["time"].values]
    for count in (4, 5):
        for name, ds, size in (("F", fine, 30), ("C", coarse, 360)):
            write(tmp_path / "scenes", name, ds["nir"].values[:count], days[:count], size)
            product = build_product("geotiff", layers=("nir",), pattern=f"{name}_%Y-%m-%d.tif")
            kind = {"F": "fine", "C": "coarse"}[name]
            ingest(
                product,
                tmp_path / "scenes",
                tmp_path / f"{name}.zarr",
                kind=kind,
                overwrite=count == 5,
            )
        seen = []
        update_quality(
            tmp_path / "F.zarr", tmp_path / "C.zarr", progress=lambda d, *_, s=seen: s.append(d)
        )
        assert seen == days[:count]
        update_quality(
            tmp_path / "F.zarr", tmp_path / "C.zarr", progress=lambda *_: pytest.fail("again")
        )
    assert read_quality(Cube(tmp_path / "F.zarr")).sizes == {"time": 5, "band": 1}
    assert open_cube(tmp_path / "F.zarr")["pair_flag"].values.tolist() == [1] * 5
    plain = xr.open_zarr(tmp_path / "F.zarr")
    assert plain["pair_flag"].values.sum() == 5


def test_shift_auto_brings_the_archive_into_place_once(tmp_path):
    from biastf_xr.region import Region

    fine, coarse = archive(3, move=(8, -10))
    days = [str(d)[:10] for d in fine["time"].values]
    for new in (slice(0, 2), slice(2, 3)):
        write(tmp_path / "scenes", "F", fine["nir"].values[new], days[new], 30)
        write(tmp_path / "scenes", "C", coarse["nir"].values[new], days[new], 360)
        (tmp_path / "run.toml").write_text(
            """
            [fine]
            product = "geotiff"
            folder = "scenes"
            cube = "F.zarr"
            options = { layers = ["nir"], pattern = "F_%Y-%m-%d.tif" }
            [coarse]
            product = "geotiff"
            folder = "scenes"
            cube = "C.zarr"
            shift = "auto"
            options = { layers = ["nir"], pattern = "C_%Y-%m-%d.tif" }
            """
        )
        stages = []
        done = Region.from_file(tmp_path / "run.toml").ingest(
            progress=lambda stage, *_, seen=stages: seen.append(stage)
        )
        report = done.coarse
        # The first run measures and corrects; the next takes the new scene with that correction.
        assert ("registration" in stages) == (new.start == 0)
        assert not (done.pairs["pair_flag"] == PAIR_FLAG["shifted"]).any()
        assert list(report.added) == [f"C_{day}.tif" for day in days[new]]
    table = read_quality(Cube(tmp_path / "F.zarr"))
    assert (table["pair_flag"].values == PAIR_FLAG["good"]).all()
    cube = open_cube(tmp_path / "C.zarr")
    # The content was moved down and left: it has to go up and right.
    assert cube.attrs["biastf_shift"] == pytest.approx([300, 240], abs=40)
    outer = geobox_of(cube, "C").extent
    assert outer.contains(geobox_of(open_cube(tmp_path / "F.zarr"), "F").extent)


def test_small_scenes_that_are_not_alike_are_not_called_displaced():
    """What is left of a small image under a large displacement is alike by chance."""
    fine, _ = archive(6, seed=1)
    _, coarse = archive(6, seed=2)
    for side in (11, 14, 18):
        part = {"y": slice(side * 12), "x": slice(side * 12)}
        small = {"y": slice(side), "x": slice(side)}
        table = check_pairs(fine.isel(part), coarse.isel(small))
        assert not (table["pair_flag"] == PAIR_FLAG["shifted"]).any()
        assert not (table["shift_pixels"] > side / 4 + 1).any()
        assert archive_shift(table) is None


def test_shift_auto_says_what_it_cannot_tell(tmp_path):
    from biastf_xr.region import Region

    fine, coarse = archive(2, move=(8, -10))
    days = [str(d)[:10] for d in fine["time"].values]
    write(tmp_path / "scenes", "F", fine["nir"].values[:, :96, :96], days, 30)
    write(tmp_path / "scenes", "C", coarse["nir"].values[:, :8, :8], days, 360)
    options = {
        kind: {"layers": ["nir"], "pattern": f"{letter}_%Y-%m-%d.tif"}
        for kind, letter in (("fine", "F"), ("coarse", "C"))
    }
    sensors = {
        kind: {
            "product": "geotiff",
            "folder": "scenes",
            "cube": f"{kind}.zarr",
            "options": options[kind],
        }
        for kind in options
    }
    sensors["coarse"]["shift"] = "auto"
    said = []
    region = Region(build_config(sensors, tmp_path / "run.toml"))
    done = region.ingest(progress=lambda *about: said.append(about))
    for text in (done.moved, next(about for about in said if about[0] == "registration")[-1]):
        assert re.match(facts("moves nothing", "64", "100"), text)
    assert "moves nothing" in str(done)


@needs_shared
@pytest.mark.parametrize(
    ("name", "shift", "flag"),
    [("boreas", (0, 0), "good"), ("boreas_as_delivered", (480, -180), "shifted")],
)
@pytest.mark.parametrize("native", [480, None])
def test_displaced_images_of_boreas_are_caught(tmp_path, name, shift, flag, native):
    for kind, letter in (("fine", "L"), ("coarse", "M")):
        product = build_product(
            "geotiff", layers=("green", "red", "nir"), pattern=f"{letter}_%Y%m%d.tif", factor=1e-4,
            grid={"crs": "EPSG:32613", "resolution": 30},
        )  # fmt: skip
        ingest(
            product, SHARED / name, tmp_path / f"{kind}.zarr", kind=kind,
            native_resolution=native if kind == "coarse" else None,
        )  # fmt: skip
    rule = PairRule() if native else PairRule(psf=16.0)
    table = update_quality(tmp_path / "fine.zarr", tmp_path / "coarse.zarr", rule=rule)
    assert geobox_of(open_cube(tmp_path / "coarse.zarr"), "coarse").affine.a == (native or 30)
    assert (table["pair_flag"] == PAIR_FLAG[flag]).all()
    measured = archive_shift(table, rule)
    assert measured == pytest.approx(shift, abs=60)  # two fine pixels
