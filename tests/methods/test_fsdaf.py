"""FSDAF, step by step and in closed form."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import rasterio
from checks import facts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import biastf_xr
from biastf_xr.cube import STATUS
from biastf_xr.errors import MethodError
from biastf_xr.fusion import FusionRule
from biastf_xr.grid._alignment import AxisMap
from biastf_xr.methods import get_method
from biastf_xr.methods._scene_classes import _clean_limits, _purest, _within
from biastf_xr.methods.fsdaf import FSDAF, _distribute, _homogeneity

BANDS = ("red", "nir")
LEVELS = np.array([[0.05, 0.12, 0.2], [0.3, 0.22, 0.1]])
SMALL = {"window": 9, "similar": 6, "classes": 3, "spline_neighbours": 5}


def fuse(pair, method, day="2021-04-05", **options):
    return biastf_xr.fuse(*pair, method, dates=[day], **options).isel(time=0).load()


@pytest.fixture
def pure(make_pair):
    """Cubes of three surfaces, each a block of whole coarse pixels; the sensors agree."""
    fine, coarse = make_pair(shape=(48, 40), fine_days=(0, 16))
    kind = np.random.default_rng(3).integers(0, 3, (6, 5)).repeat(2, 0).repeat(2, 1)
    kind = np.pad(kind, 1, mode="edge")  # the coarse grid is wider by one pixel
    texture = np.random.default_rng(4).integers(-20, 21, (48, 40)) * 1e-4
    for i, band in enumerate(BANDS):
        coarse[band][:] = LEVELS[i][kind].astype("f4")
        small = LEVELS[i][kind[1:-1, 1:-1]].repeat(4, 0).repeat(4, 1)
        fine[band][:] = (small + texture).round(4).astype("f4")
    return fine, coarse, kind


@pytest.fixture(scope="module")
def cloudy(make_pair):
    """Cubes with gaps in both sensors: 70 x 60 fine pixels."""
    fine, coarse = make_pair(shape=(70, 60), ratio=5, fine_days=(0, 6, 11, 16), seed=4)
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:70, :60] / 9
    for i, band in enumerate(BANDS):
        fine[band][:] = (0.25 + 0.1 * np.sin(y + i) * np.cos(x) + 0.1 * fine[band]).round(4)
        coarse[band][:] = (0.2 + 0.2 * coarse[band]).round(4)
    for ds, share in ((fine, 0.15), (coarse, 0.3)):
        for t in range(ds.sizes["time"]):
            cloud = rng.random((ds.sizes["y"] // 5 + 1, ds.sizes["x"] // 5 + 1)) < share
            cloud = cloud.repeat(5, 0).repeat(5, 1)[: ds.sizes["y"], : ds.sizes["x"]]
            for band in BANDS:
                ds[band].values[t][cloud] = np.nan
    return fine, coarse


@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tile=st.integers(16, 80), days=st.integers(1, 16))
def test_any_tile_size_gives_the_same_cube(cloudy, tile, days):
    dates = ["2021-04-03", "2021-04-05", "2021-04-10"]
    whole = biastf_xr.fuse(*cloudy, "fsdaf", dates=dates, tile=100, **SMALL).load()
    rule = FusionRule(dates_per_unit=days)
    cut = biastf_xr.fuse(*cloudy, "fsdaf", dates=dates, tile=tile, rule=rule, **SMALL).load()
    np.testing.assert_array_equal(cut["status_flag"], whole["status_flag"])
    for band in BANDS:
        np.testing.assert_allclose(cut[band], whole[band], atol=1e-6, rtol=0)
    assert np.isfinite(whole["red"]).mean() > 0.6


def test_without_a_coarse_change_the_base_image_stands(cloudy):
    fine, coarse = (ds.fillna(0.25) for ds in cloudy)
    still = coarse.copy(deep=True)
    for band in BANDS:
        still[band][:] = coarse[band][0]
    made = fuse((fine.isel(time=[0]), still), "fsdaf", **SMALL)
    for band in BANDS:
        np.testing.assert_allclose(made[band], fine[band][0], atol=1e-6)


def test_a_uniform_change_is_transferred_exactly(cloudy):
    fine, coarse = (ds.fillna(0.25) for ds in cloudy)
    moved = coarse.copy(deep=True)
    for band in BANDS:
        moved[band][:] = coarse[band][0]
        moved[band][4] = coarse[band][0] + np.float32(0.03)
    made = fuse((fine.isel(time=[0]), moved), get_method("fsdaf", clean=0.0, **SMALL))
    for band in BANDS:
        np.testing.assert_allclose(made[band], fine[band][0] + 0.03, atol=2e-6)


def test_the_changes_of_the_classes_are_recovered_from_pure_coarse_pixels(pure):
    fine, coarse, kind = pure
    steps = np.array([[0.02, -0.03, 0.05], [-0.1, 0.04, 0.06]], "f4")
    expected = {}
    for i, band in enumerate(BANDS):
        coarse[band].values[4] = (LEVELS[i] + steps[i])[kind]
        change = steps[i][kind[1:-1, 1:-1]].repeat(4, 0).repeat(4, 1)
        expected[band] = fine[band][0].values + change
    one = fine.isel(time=[0]), coarse
    made = fuse(one, get_method("fsdaf", clean=0.0, **SMALL))
    for band in BANDS:
        np.testing.assert_allclose(made[band], expected[band], atol=1e-5)
    direct = fuse(one, "direct")
    assert float(np.abs(direct["nir"] - expected["nir"]).mean()) > 0.01


def test_a_class_map_of_ones_own_takes_the_place_of_k_means(pure, tmp_path):
    fine, coarse, kind = pure
    steps = np.array([0.02, -0.03, 0.05], "f4")
    for i, band in enumerate(BANDS):
        coarse[band].values[4] = (LEVELS[i] + steps)[kind]
    one = fine.isel(time=[0]), coarse
    classes = (kind[1:-1, 1:-1] + 1).repeat(4, 0).repeat(4, 1)
    path = tmp_path / "classes.tif"
    grid = {"height": 48, "width": 40, "transform": rasterio.Affine(30, 0, 0, 0, -30, 0)}
    with rasterio.open(path, "w", driver="GTiff", count=1, dtype="uint8", **grid) as file:
        file.write(classes.astype("u1"), 1)
    options = {k: v for k, v in SMALL.items() if k != "classes"}
    by_map, by_file = (get_method("fsdaf", class_map=m, **options) for m in (classes, str(path)))
    made, again = fuse(one, by_map), fuse(one, by_file)
    np.testing.assert_allclose(made["red"], fine["red"][0] + steps[classes - 1], atol=1e-5)
    np.testing.assert_array_equal(made["red"], again["red"])
    assert by_map.describe()["class_map"] != by_file.describe()["class_map"]


def test_swapping_the_two_sides_in_time_gives_the_same_image(cloudy):
    pair = [ds.fillna(0.25) for ds in cloudy]
    pair[0] = pair[0].isel(time=[0, 3])
    made = fuse(pair, "fsdaf", "2021-04-09", **SMALL)
    mirrored = [ds.isel(time=slice(None, None, -1)).assign_coords(time=ds.time) for ds in pair]
    again = fuse(mirrored, "fsdaf", "2021-04-09", **SMALL)
    np.testing.assert_allclose(made["nir"], again["nir"], atol=2e-6)


def test_reflectance_times_ten_gives_the_result_times_ten(cloudy):
    """`valid_range` grows with it.  Classes are given: k-means ends where rounding takes it."""
    small = [(ds.fillna(0.25) * 0.1).round(4).astype("f4") for ds in cloudy]
    large = [(ds * 10).round(3).astype("f4") for ds in small]
    classes = 1 + (large[0]["nir"][0].values > 0.25)
    options = {k: v for k, v in SMALL.items() if k != "classes"} | {"class_map": classes}
    made = fuse(large, get_method("fsdaf", weights="equal", **options))
    options["valid_range"] = (0.0, 0.1)
    tenth = fuse(small, get_method("fsdaf", weights="equal", **options))
    assert float(np.abs(made["nir"] - 10 * tenth["nir"]).max()) < 2e-4


def test_residuals_keep_the_mean_of_every_coarse_pixel():
    rng = np.random.default_rng(0)
    rows, cols = (np.arange(24) // 4 for _ in range(2))
    fine = rng.uniform(0.2, 0.3, (24, 24)).astype("f4")
    labels = rng.integers(0, 3, (24, 24)).astype("i2")
    labels[3, 5] = -1
    surface = rng.uniform(0.2, 0.3, (24, 24)).astype("f4")
    same = rng.random((24, 24)).astype("f4")
    moved, rest = np.array([0.01, -0.02, 0.0], "f4"), rng.normal(0, 0.02, (6, 6))
    change = np.empty((24, 24), "f4")
    limits = np.array([-1, 2], "f4")
    _distribute(fine, labels, surface, same, moved, rest, rows, cols, limits, change)
    known = labels >= 0
    added = np.where(known, change - moved[labels], 0)
    mean = added.reshape(6, 4, 6, 4).sum((1, 3)) / known.reshape(6, 4, 6, 4).sum((1, 3))
    np.testing.assert_allclose(mean, rest, atol=1e-7)


def test_homogeneity_is_the_share_of_the_windows_clear_pixels():
    labels = np.random.default_rng(0).integers(-1, 4, (20, 26)).astype("i2")
    out = np.empty((14, 20), "f4")
    _homogeneity(labels, 3, 4, out)
    for y, x in ((0, 0), (5, 7), (13, 19)):
        window, own = labels[y : y + 7, x : x + 7], labels[y + 3, x + 3]
        expected = (window == own).sum() / (window >= 0).sum() if own >= 0 else 0
        assert out[y, x] == pytest.approx(expected)


def test_extreme_values_are_brought_inside():
    counts = np.zeros((1, 25001), int)
    counts[0, [4000, 6000, 6001, 7000, 7500, 20000]] = [3, 5000, 4990, 5000, 4990, 3]
    low, high = _clean_limits(counts, 1e-4, (-1, 2))[:, 0]
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.25)
    low, high = _clean_limits(counts, 0.0, (-1, 2))[:, 0]
    assert low == pytest.approx(-0.1)
    assert high == pytest.approx(1.5)
    low, high = _clean_limits(counts, 0.0, (0, 1))[:, 0]
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.25)


def test_equally_pure_coarse_pixels_are_drawn_from_all_over_the_scene():
    fraction = np.zeros((40, 30), "f4")
    fraction[:, ::2] = 1
    fraction[39, 1] = 0.5
    places = _purest(fraction, 100, 0.01, seed=0)
    assert len(set(places)) == 100
    assert (fraction.ravel()[places] == 1).all()
    assert places.max() > 1100
    np.testing.assert_array_equal(places, _purest(fraction, 100, 0.01, seed=0))
    assert _purest(fraction, 1000, 0.01, seed=0)[-1] == 39 * 30 + 1


def test_coarse_pixels_across_the_edge_of_the_scene_are_not_pure():
    assert _within(AxisMap(0.25, 1.0, 5), 12).tolist() == [False, True, True, True, False]
    assert _within(AxisMap(0.25, 0.5, 5), 12).tolist() == [False, True, True, False, False]
    assert _within(AxisMap(0.25, 0.001, 3), 12).all()


def test_a_window_of_one_pixel_smooths_nothing(pure):
    fine, coarse, _ = pure
    made = fuse((fine, coarse), "fsdaf", **(SMALL | {"window": 1}))
    assert np.isfinite(made["nir"]).all()


def test_codes_of_a_class_map_do_not_matter(cloudy):
    kind = np.mgrid[:70, :60][0] // 20
    options = {k: v for k, v in SMALL.items() if k != "classes"}
    made = [
        fuse(cloudy, get_method("fsdaf", class_map=m, **options))["nir"].values
        for m in (kind, np.array([0, 11, 42, 255])[kind])
    ]
    np.testing.assert_array_equal(*made)
    assert np.isfinite(made[0][20:]).any()


def test_out_of_range_beside_missing_coarse_pixels_the_own_one_serves(pure):
    fine, coarse, _ = pure
    coarse = coarse.isel(time=[0, 4]).copy(deep=True)
    gone = np.random.default_rng(0).random(coarse["red"].shape[1:]) < 0.4
    for band in BANDS:
        coarse[band][1] = np.where(gone, np.nan, coarse[band][0] + 0.9)
    rule = FusionRule(coarse_max_gap=0)
    made = fuse((fine.isel(time=[0]), coarse), "fsdaf", rule=rule, **SMALL)
    there = ~gone[1:-1, 1:-1].repeat(4, 0).repeat(4, 1)
    np.testing.assert_array_equal(np.isfinite(made["red"]), there)


def test_missing_pixels_matter_to_no_other_band_or_pixel(cloudy):
    fine, coarse = (ds.fillna(0.25) for ds in cloudy)
    fine = fine.isel(time=[0]).copy(deep=True)
    hole = (slice(20, 26), slice(30, 37))
    made = []
    for bands in (("red",), BANDS):
        masked = fine.copy(deep=True)
        for band in bands:
            masked[band].values[0][hole] = np.nan
        made.append(fuse((masked, coarse), "fsdaf", **SMALL))
    for band in BANDS:
        np.testing.assert_array_equal(made[0][band], made[1][band])
    gone = np.zeros((70, 60), bool)
    gone[hole] = True
    assert np.isnan(made[0]["nir"].values[gone]).all()
    assert np.isfinite(made[0]["nir"].values[~gone]).all()
    assert (made[0]["status_flag"].values[gone] == STATUS["no_pair"]).all()


def test_constant_bands_and_few_colours_are_no_obstacle(pure):
    fine, coarse, _ = pure
    fine["red"][:] = np.float32(0.2)
    coarse["red"][:] = np.float32(0.2)
    made = fuse((fine, coarse), "fsdaf", **(SMALL | {"classes": 60}))
    np.testing.assert_allclose(made["red"], 0.2, atol=1e-6)
    for band in BANDS:
        fine[band][:] = np.float32(0.3)
    made = fuse((fine, coarse), "fsdaf", **SMALL)
    assert np.isfinite(made["nir"]).all()


def test_results_outside_the_valid_range_become_the_direct_transfer_within_it(pure):
    fine, coarse, _ = pure
    for band in BANDS:
        coarse[band][4] = coarse[band][0] + np.float32(0.9)
    made = fuse((fine.isel(time=[0]), coarse), "fsdaf", **SMALL)
    assert float(made["red"].max()) <= 1
    assert float(made["nir"].max()) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 61}, facts("fsdaf", "61 x 61", "48 x 40")),
        ({"spline_neighbours": 4}, facts("spline_neighbours", "4", "odd")),
        ({"trim": 0.5}, facts("trim", "0.5")),
        ({"classes": 101}, facts("classes", "101", "1 to 100")),
        ({"class_map": np.zeros((3, 3), int)}, facts((3, 3), (48, 40))),
        ({"class_map": np.full((48, 40), 1.5)}, facts("1.5", "whole numbers")),
        ({"class_map": np.zeros((48, 40), int)}, facts("1 values", "0 to 0")),
        ({"class_map": np.arange(48 * 40).reshape(48, 40)}, facts("1920 values", "1 to 100")),
        ({"class_map": "nowhere.tif"}, "nowhere.tif"),
        ({"reach": 3}, facts("'fsdaf'", "reach", "'class_map'")),
    ],
)
def test_unusable_options_are_refused(pure, options, message):
    with pytest.raises(MethodError, match=message):
        biastf_xr.fuse(*pure[:2], "fsdaf", dates=["2021-04-05"], **({"window": 9} | options))


def test_coarse_images_on_the_fine_grid_are_refused_with_the_way_out(make_pair):
    fine, coarse = make_pair(shape=(60, 60), ratio=1)
    with pytest.raises(MethodError, match=facts("fsdaf", "1.00", "native_resolution", "coarsen")):
        biastf_xr.fuse(fine, coarse, FSDAF(window=9), dates=["2021-04-05"])


def test_the_seed_makes_classes_the_same_again(cloudy):
    a, b = (fuse(cloudy, FSDAF(**SMALL, seed=5))["nir"].values for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert dataclasses.replace(FSDAF(), seed=1).describe()["seed"] == 1
