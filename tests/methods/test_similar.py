"""Similar pixels, against a search that sorts whole windows."""

from __future__ import annotations

import numpy as np
import pytest
from checks import facts
from hypothesis import given, settings
from hypothesis import strategies as st

from biastf_xr.errors import MethodError
from biastf_xr.methods._similar import (
    add_moments,
    deviation_of,
    gather,
    moments_of,
    most_similar,
    window_distances,
    window_mean,
    window_offsets,
)

COUNT = 6


def scene(seed, planes=2, shape=(14, 150)):
    rng = np.random.default_rng(seed)
    image = np.round(rng.uniform(0.05, 0.09, (planes, *shape)), 4).astype("f4")
    image[:, rng.random(shape) < 0.1] = np.nan
    return image


def by_sorting(image, window, key):
    """Rank every window with NumPy; give places and numbers."""
    reach, offsets = window // 2, window_offsets(window)
    rows, cols = (n - 2 * reach for n in image.shape[1:])
    places, numbers = np.zeros((rows, cols, COUNT), int), np.zeros((rows, cols), int)
    whole = np.rint(image.astype("f8") * 1e4)
    for y in range(rows):
        for x in range(cols):
            centre = whole[:, y + reach, x + reach][:, None]
            there = whole[:, y + reach + offsets[:, 0], x + reach + offsets[:, 1]]
            rank = key(there - centre, centre)
            order = np.argsort(rank, kind="stable")[:COUNT]
            order = order[np.isfinite(rank[order])]
            places[y, x, : len(order)], numbers[y, x] = order, len(order)
    return places, numbers


def same(found, expected):
    places, numbers = expected
    np.testing.assert_array_equal(found.number, numbers)
    for j in range(COUNT):
        there = numbers > j
        np.testing.assert_array_equal(found.place[..., j][there], places[..., j][there])


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 99))
def test_the_nearest_in_spectrum_are_found_and_of_equal_ones_the_nearer(seed):
    image = scene(seed)

    def key(step, _):
        total = (step**2).sum(0)
        return np.where(np.isfinite(total), total, np.inf)

    same(most_similar(image, 9, COUNT, scale=1.0, squared=True), by_sorting(image, 9, key))


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 99))
def test_only_pixels_below_the_threshold_in_every_plane_count(seed):
    image = scene(seed)
    limits = np.array([0.00995, 0.00555])

    def key(step, _):
        near = (np.abs(step) * 1e-4 < limits[:, None]).all(0)
        return np.where(near, np.abs(step).sum(0), np.inf)

    found = most_similar(image, 9, COUNT, scale=1.0, threshold=limits)
    same(found, by_sorting(image, 9, key))
    assert found.number.min() < COUNT


def test_distance_and_the_value_of_the_centre_can_weigh():
    image = scene(3)
    nearness = 10 + window_distances(9) / 4

    def key(step, centre):
        total = (1e-5 + (np.abs(step) / centre).sum(0)) * nearness
        return np.where(np.isfinite(total), total, np.inf)

    found = most_similar(image, 9, COUNT, scale=1.0, relative=True, floor=1e-5, nearness=nearness)
    places, numbers = by_sorting(image, 9, key)
    np.testing.assert_array_equal(found.number, numbers)
    # 32-bit keys may swap what is equal but for rounding.
    assert (found.place == places).mean() > 0.999


def test_the_centre_comes_first_and_a_missing_centre_has_none():
    image = scene(1)
    found = most_similar(image, 5, COUNT, scale=1.0)
    there = np.isfinite(image[0, 2:-2, 2:-2])
    assert (found.place[there][:, 0] == 0).all()
    assert (found.number[~there] == 0).all()


def test_gathering_is_the_weighted_sum():
    image = np.nan_to_num(scene(2))
    found = most_similar(image, 5, COUNT, scale=1.0)
    weights = np.random.default_rng(0).random(found.place.shape).astype("f4")
    out = np.empty(found.number.shape, "f4")
    gather(image[1], 2, found, weights, out)
    y, x = 4, 77
    steps = found.offsets[found.place[y, x]] + [y + 2, x + 2]
    expected = (weights[y, x] * image[1][steps[:, 0], steps[:, 1]]).sum()
    assert out[y, x] == pytest.approx(expected, rel=1e-6)


def test_window_means_leave_out_what_is_not_seen():
    image = scene(5)[0]
    seen = np.isfinite(image)
    made = window_mean(image, seen, 3)
    windows = np.lib.stride_tricks.sliding_window_view(image, (7, 7))
    np.testing.assert_allclose(made, np.nanmean(windows.astype("f8"), axis=(2, 3)), rtol=1e-9)
    assert np.isnan(window_mean(image, seen & False, 3)).all()


def test_statistics_of_parts_join_to_those_of_the_whole():
    image = scene(7, shape=(40, 50)).astype("f4")
    cut = [moments_of(image[:, :, s])
           for s in (slice(0, 13), slice(13, 13), slice(13, 50))]  # fmt: skip
    joined = deviation_of(add_moments(add_moments(cut[0], cut[1]), cut[2]))
    clear = image[:, np.isfinite(image).all(0)].astype("f8")
    np.testing.assert_allclose(joined["std"], clear.std(1), rtol=1e-12)
    np.testing.assert_allclose(joined["mean"], clear.mean(1), rtol=1e-12)
    assert joined["pixels"] == clear.shape[1]


def test_offsets_are_every_pixel_of_the_window_near_ones_first():
    offsets = window_offsets(7)
    assert len(np.unique(offsets, axis=0)) == 49
    assert (np.diff(window_distances(7)) >= 0).all()
    assert offsets[0].tolist() == [0, 0]


@pytest.mark.parametrize("window", [4, 0, -3, 5.0, True])
def test_windows_without_a_centre_are_refused(window):
    from biastf_xr.methods import get_method

    with pytest.raises(MethodError, match=facts("starfm", "window", window, "odd")):
        get_method("starfm", window=window)
