"""Coarse gaps filled in time, against a plain loop over pixels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from biastf_xr._series import Smoothing, fill_in_time, smooth_in_time, support_of
from biastf_xr.cube._spec import NO_COARSE_GAP

START = np.datetime64("2021-04-01")


def one_pixel(values, days, target, max_gap):
    """Fill one pixel of one band the slow way."""
    seen = [(d, v) for d, v in zip(days, values, strict=True) if np.isfinite(v)]
    before = [p for p in seen if 0 <= target - p[0] <= max_gap]
    after = [p for p in seen if 0 <= p[0] - target <= max_gap]
    if not before and not after:
        return np.nan, NO_COARSE_GAP
    gap = min(abs(p[0] - target) for p in before + after)
    if before and after:
        (d0, v0), (d1, v1) = before[-1], after[0]
        return (v0 if d1 == d0 else v0 + (v1 - v0) * (target - d0) / (d1 - d0)), gap
    return (before[-1] if before else after[0])[1], gap


@given(
    days=st.sets(st.integers(0, 40), min_size=1, max_size=12),
    targets=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    max_gap=st.integers(0, 20),
    missing=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_it_is_the_line_between_the_nearest_clear_days(days, targets, max_gap, missing, seed):
    days = np.array(sorted(days))
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 1, (days.size, 2, 3, 2)).astype("f4")
    hidden = rng.random((days.size, 3, 2)) < missing
    values[np.broadcast_to(hidden[:, None], values.shape)] = np.nan
    filled, gap = fill_in_time(values, START + days, START + np.array(targets), max_gap)
    for i, target in enumerate(targets):
        for y in range(3):
            for x in range(2):
                expected, distance = one_pixel(values[:, 1, y, x], days, target, max_gap)
                np.testing.assert_allclose(filled[i, 1, y, x], expected, atol=1e-6)
                assert gap[i, y, x] == distance


def test_a_day_that_was_seen_is_kept_to_the_bit():
    values = np.random.default_rng(0).normal(size=(5, 1, 4, 4)).astype("f4")
    days = START + np.arange(5)
    filled, gap = fill_in_time(values, days, days, 8)
    np.testing.assert_array_equal(filled, values)
    assert not gap.any()


def test_a_pixel_missing_in_one_band_is_missing():
    values = np.ones((3, 2, 1, 1), "f4")
    values[1, 0] = np.nan
    values[1, 1] = 9
    filled, gap = fill_in_time(values, START + np.arange(3), START + np.array([1]), 5)
    assert filled[0, 1, 0, 0] == 1
    assert gap[0, 0, 0] == 1


# Smoothing.

SMOOTHING = Smoothing(4.0, 0.3, (0.01,), (0.0,))


def smoothed(values, wanted, smoothing=SMOOTHING, reach=16, days=None):
    days = np.datetime64("2021-04-01") + np.arange(len(values)) if days is None else days
    wanted = days[np.atleast_1d(wanted)]
    filled, _ = fill_in_time(values, days, wanted, reach)
    return smooth_in_time(values, days, wanted, filled, reach, smoothing)


def test_a_straight_line_in_time_is_kept_and_noise_averaged():
    rng = np.random.default_rng(0)
    line = np.broadcast_to(np.linspace(0.2, 0.21, 33)[:, None, None, None], (33, 1, 8, 8))
    image, support = smoothed(line.astype(np.float32), 16)
    np.testing.assert_allclose(image[0], line[16], atol=1e-6)
    np.testing.assert_allclose(support, np.exp(-np.abs(np.arange(-16, 17)) / 4).sum(), rtol=1e-5)
    noisy = (line + rng.normal(0, 0.01, line.shape)).astype(np.float32)
    assert (smoothed(noisy, 16)[0][0] - line[16]).std() < 0.45 * (noisy[16] - line[16]).std()


def test_an_abrupt_change_stays_where_it_is():
    values = np.full((33, 1, 5, 5), 0.2, np.float32)
    values[16:] = 0.5
    (before, after), support = smoothed(values, [15, 16])
    np.testing.assert_allclose(before, 0.2, atol=1e-4)
    np.testing.assert_allclose(after, 0.5, atol=1e-4)
    assert (support < smoothed(np.full_like(values, 0.2), [15, 16])[1]).all()


def test_a_difference_within_the_jitter_of_uneven_ground_is_noise():
    ground = np.random.default_rng(0).uniform(0.1, 0.5, (1, 6, 6)).astype(np.float32)
    values = np.repeat(ground[None], 9, axis=0)
    values[4] += np.float32(0.05)
    kept = smoothed(values, 4)[0][0]
    shared = smoothed(values, 4, Smoothing(4.0, 0.3, (0.01,), (0.5,)))[0][0]
    assert (np.abs(kept - values[4]) < np.abs(shared - values[4])).all()


def test_missing_images_take_no_part_and_gaps_are_read_off_the_line():
    values = np.full((9, 1, 2, 2), 0.3, np.float32)
    values[4] = np.nan
    values[:, :, 0, 0] = np.nan
    image, support = smoothed(values, 4)
    assert np.isnan(image[0, 0, 0, 0])
    assert support[0, 0, 0] == 0
    np.testing.assert_allclose(image[0, 0, 1], 0.3, rtol=1e-6)
    left, _ = smoothed(values, 4, reach=16)
    none = smooth_in_time(values, np.datetime64("2021-04-01") + np.arange(9),
                          np.array(["2021-04-05"], "datetime64[D]"),
                          np.full((1, 1, 2, 2), np.nan, np.float32), 16, SMOOTHING)[0]  # fmt: skip
    assert np.isnan(none).all()
    assert np.isfinite(left[0, 0, 1]).all()


def test_a_series_of_few_dates_stays_as_it_is():
    values = np.random.default_rng(0).uniform(0.1, 0.5, (3, 1, 4, 4)).astype(np.float32)
    days = np.array(["2001-05-24", "2001-07-11", "2001-08-12"], "datetime64[D]")
    image, support = smoothed(values, [0, 1, 2], days=days)
    np.testing.assert_allclose(image, values, rtol=1e-6)
    np.testing.assert_array_equal(support, 1)


def test_a_window_of_the_images_is_smoothed_alike():
    rng = np.random.default_rng(0)
    values = rng.uniform(0.1, 0.3, (12, 1, 12, 12)).astype(np.float32)
    whole, _ = smoothed(values, 6)
    part, _ = smoothed(values[..., 2:, 2:], 6)
    np.testing.assert_array_equal(part[..., 2:, 2:], whole[..., 4:, 4:])


def test_support_without_smoothing_falls_with_the_gap():
    gap = np.array([0, 1, 3, 255], np.uint8)
    np.testing.assert_allclose(support_of(gap), [1, 0.5, 0.25, 0])
