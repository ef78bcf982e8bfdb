"""Coarse gaps filled in time, against a plain loop over pixels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from biastf_xr.cube.spec import NO_COARSE_GAP
from biastf_xr.series import fill_in_time

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
