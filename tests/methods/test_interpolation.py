"""The simple baselines and the weights, against what can be said in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from checks import facts
from hypothesis import given
from hypothesis import strategies as st

import biastf_xr
from biastf_xr.cube._spec import STATUS, VALID_MAX, VALID_MIN
from biastf_xr.errors import MethodError
from biastf_xr.grid import box_mean
from biastf_xr.methods import get_method
from biastf_xr.methods._sides import change_weight, combine
from biastf_xr.methods.interpolation import Direct, Linear

TWO = STATUS["fused_two_sided"]


def fuse(pair, method, day="2021-04-05", **options):
    result = biastf_xr.fuse(*pair, method, dates=[day], **options)
    return result.isel(time=0).load()


@pytest.fixture
def two_dates(make_pair):
    """Fine scenes on days 0 and 16, coarse ones every day."""
    return make_pair(fine_days=(0, 16))


def test_linear_is_linear_in_time(two_dates):
    fine, _ = two_dates
    made = fuse(two_dates, "linear")
    expected = 0.75 * fine["nir"][0] + 0.25 * fine["nir"][1]
    np.testing.assert_allclose(made["nir"], expected, atol=1e-6)
    assert (made["status_flag"] == TWO).all()


@pytest.mark.parametrize(
    ("day", "scene"), [("2021-04-05", 0), ("2021-04-12", 1), ("2021-04-09", 0)]
)
def test_nearest_repeats_the_nearer_scene_and_the_earlier_of_two(two_dates, day, scene):
    made = fuse(two_dates, "nearest", day)
    np.testing.assert_allclose(made["red"], two_dates[0]["red"][scene], atol=1e-6)


@pytest.mark.parametrize("weights", ["change", "time", "equal"])
def test_direct_transfers_a_uniform_change_exactly(two_dates, weights):
    fine, coarse = two_dates
    for band in fine.data_vars:
        base = fine[band][0].values
        level = coarse[band][0].values
        steps = 0.01 * np.arange(coarse.sizes["time"], dtype="f4")
        coarse[band][:] = level + steps[:, None, None]
        fine[band][1] = base + steps[-1]
    made = fuse(two_dates, "direct", weights=weights)
    np.testing.assert_allclose(made["nir"], fine["nir"][0] + 0.04, atol=2e-6)


def test_without_a_coarse_change_since_the_earlier_date_the_earlier_scene_stands(two_dates):
    fine, coarse = two_dates
    for band in coarse.data_vars:
        coarse[band][:16] = coarse[band][0]
        coarse[band][16] = coarse[band][0] + 0.1
    made = fuse(two_dates, "direct")
    np.testing.assert_allclose(made["nir"], fine["nir"][0], atol=1e-4)


def test_swapping_the_two_sides_in_time_gives_the_same_image(two_dates):
    fine, coarse = two_dates
    made = fuse(two_dates, "direct", "2021-04-09")
    mirrored = [
        ds.isel(time=slice(None, None, -1)).assign_coords(time=ds.time) for ds in (fine, coarse)
    ]
    again = fuse(mirrored, "direct", "2021-04-09")
    np.testing.assert_allclose(made["nir"], again["nir"], atol=1e-6)


def test_reflectance_times_ten_gives_the_result_times_ten(two_dates):
    small = [ds * np.float32(0.1) for ds in two_dates]
    made, tenth = fuse(two_dates, "direct"), fuse(small, "direct")
    expected = np.clip(10 * tenth["nir"], VALID_MIN, VALID_MAX)
    np.testing.assert_allclose(made["nir"], expected, atol=2e-4)


def test_one_side_alone_is_used_and_flagged(two_dates):
    fine, coarse = two_dates
    made = fuse((fine.isel(time=[0]), coarse), "direct")
    assert (made["status_flag"] == STATUS["fused_before_only"]).all()
    made = fuse((fine.isel(time=[1]), coarse), "direct")
    assert (made["status_flag"] == STATUS["fused_after_only"]).all()
    assert np.isnat(made["before"])


def test_a_pixel_clouded_on_one_side_takes_the_other(two_dates):
    fine, coarse = two_dates
    for band in fine.data_vars:
        fine[band][0, 3, 5] = np.nan
    made = fuse((fine, coarse), "linear")
    assert made["status_flag"][3, 5] == STATUS["fused_after_only"]
    np.testing.assert_allclose(made["nir"][3, 5], fine["nir"][1, 3, 5])
    assert (made["status_flag"] == TWO).sum() == made["status_flag"].size - 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "best"}, facts("'best'", "['change', 'time', 'equal']")),
        ({"weight_window": 4}, "odd"),
        ({"halo_": 1}, "halo_"),
    ],
)
def test_unusable_options_are_refused(options, message):
    with pytest.raises(MethodError, match=message):
        get_method("direct", **options)


def test_a_learned_method_by_name_is_refused_with_the_way_to_fit_it(make_pair):
    with pytest.raises(
        MethodError, match=facts("'biastf'", "biastf_xr.fit(fine, coarse", "load_method")
    ):
        biastf_xr.fuse(*make_pair(), "biastf")
    with pytest.raises(MethodError, match=facts("'starfm2'", "'starfm'")):
        biastf_xr.fuse(*make_pair(), "starfm2")
    with pytest.raises(MethodError, match="weights"):
        biastf_xr.fuse(*make_pair(), Linear(), weights="time")


def test_weights_follow_the_inverse_change():
    before, after = np.full((2, 5, 5), 0.01, "f4"), np.full((2, 5, 5), -0.03, "f4")
    np.testing.assert_allclose(change_weight(before, after, 3), 0.75, atol=1e-3)
    np.testing.assert_allclose(change_weight(before * 0, after * 0, 3), 0.5)


@given(seed=st.integers(0, 99), window=st.sampled_from([1, 3, 5]), gaps=st.booleans())
def test_box_mean_is_the_mean_of_what_is_there(seed, window, gaps):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(7, 6)).astype("f4")
    if gaps:
        values[rng.random(values.shape) < 0.5] = np.nan
    found, reach = box_mean(values, window), window // 2
    for y in range(7):
        for x in range(6):
            part = values[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
            expected = np.nanmean(part) if np.isfinite(part).any() else np.nan
            np.testing.assert_allclose(found[y, x], expected, atol=1e-5)


def test_a_pixel_is_predicted_in_all_bands_or_in_none():
    before = np.ones((1, 2, 1, 3), "f4")
    after = np.zeros((1, 2, 1, 3), "f4")
    before[0, 0, 0, 0] = np.nan
    after[0, :, 0, 0] = np.nan
    after[0, 1, 0, 1] = np.nan
    made = combine(before, after, np.full((1, 1, 1, 1), 0.25, "f4"))
    assert np.isnan(made.reflectance[0, :, 0, 0]).all()
    assert made.status.tolist() == [[[0, STATUS["fused_before_only"], TWO]]]
    np.testing.assert_allclose(made.reflectance[0, :, 0, 1:], [[1, 0.25], [1, 0.25]])


def test_direct_describes_itself():
    assert Direct(weights="time").describe()["weights"] == "time"
