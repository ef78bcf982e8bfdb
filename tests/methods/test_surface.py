"""Thin-plate splines through coarse pixels, against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator

from biastf_xr.grid import Alignment, AxisMap, Tile, Upsampler
from biastf_xr.methods._surface import spline_up, spline_weights

SHAPE = (60, 54)


def setting(ratio, shift, seed=0):
    h, w = (int(np.ceil(n / ratio + shift)) + 1 for n in SHAPE)
    alignment = Alignment(AxisMap(1 / ratio, shift, h), AxisMap(1 / ratio, shift, w), SHAPE)
    rng = np.random.default_rng(seed)
    values = rng.random((2, h, w)).astype("f4")
    return alignment, values


def whole(alignment, values, neighbours):
    h, w = alignment.coarse_shape
    up = Upsampler(alignment, Tile(0, SHAPE[0], 0, SHAPE[1]), Tile(0, h, 0, w))
    return spline_up(values, up, neighbours)


def by_scipy(alignment, values, known=None):
    h, w = alignment.coarse_shape
    points = np.argwhere(np.ones((h, w), bool) if known is None else known)
    axes = [a.position(np.arange(n)) for a, n in
            ((alignment.rows, SHAPE[0]), (alignment.cols, SHAPE[1]))]  # fmt: skip
    places = np.clip(np.stack(np.meshgrid(*axes, indexing="ij"), -1), 0, [h - 1, w - 1])
    given = values[:, points[:, 0], points[:, 1]].T
    spline = RBFInterpolator(points.astype(float), given, kernel="thin_plate_spline")
    return spline(places.reshape(-1, 2)).T.reshape(len(values), *SHAPE)


@pytest.mark.parametrize(("ratio", "shift"), [(8, 0.0), (8, 1.0), (7.3, 0.37)])
def test_through_all_coarse_pixels_it_is_the_spline_of_scipy(ratio, shift):
    alignment, values = setting(ratio, shift)
    made = whole(alignment, values, 2 * max(alignment.coarse_shape) + 1)
    np.testing.assert_allclose(made, by_scipy(alignment, values), atol=1e-5)


def test_seven_neighbours_are_close_to_all_of_them():
    alignment, values = setting(8, 1.0)
    far = np.abs(whole(alignment, values, 7) - by_scipy(alignment, values))
    assert np.sqrt((far**2).mean()) < 0.01 * values.std()


def test_a_plane_is_reproduced_and_values_at_coarse_centres_are_kept():
    alignment, values = setting(5, 0.0)
    h, w = alignment.coarse_shape
    plane = (0.1 + 0.02 * np.arange(h)[:, None] + 0.03 * np.arange(w))[None].astype("f4")
    made = whole(alignment, plane, 5)
    y, x = alignment.rows.position(np.arange(60)), alignment.cols.position(np.arange(54))
    expected = 0.1 + 0.02 * np.clip(y, 0, h - 1)[:, None] + 0.03 * np.clip(x, 0, w - 1)
    np.testing.assert_allclose(made[0], expected, atol=1e-5)
    made = whole(alignment, values, 5)
    np.testing.assert_allclose(made[:, 2::5, 2::5][:, :11, :10], values[:, :11, :10], atol=1e-5)


@pytest.mark.parametrize(("ratio", "shift"), [(8, 1.0), (5.3, 0.37)])
def test_a_window_of_it_is_a_window_of_the_whole(ratio, shift):
    alignment, values = setting(ratio, shift)
    values[:, 3, 2] = np.nan
    fine = Tile(13, 41, 9, 30)
    coarse = alignment.coarse_tile(fine, margin=5)
    part = values[:, coarse.y0 : coarse.y1, coarse.x0 : coarse.x1]
    made = spline_up(part, Upsampler(alignment, fine, coarse), 5)
    expected = whole(alignment, values, 5)[:, 13:41, 9:30]
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_a_missing_coarse_pixel_is_left_out_and_has_no_surface():
    alignment, values = setting(8, 1.0)
    values[:, 4, 4] = np.nan
    made = whole(alignment, values, 99)
    hole = np.isnan(made[0])
    assert hole.sum() == 64
    known = np.isfinite(values[0])
    expected = by_scipy(alignment, np.nan_to_num(values), known)
    np.testing.assert_allclose(made[:, ~hole], expected[:, ~hole], atol=1e-5)


def test_a_square_with_little_left_is_interpolated_all_the_same():
    alignment, values = setting(8, 1.0)
    kept = np.full_like(values, np.nan)
    kept[:, ::2, 3] = values[:, ::2, 3]  # single pixels, one above the other
    made = whole(alignment, kept, 5)
    known = np.isfinite(made)
    assert known.any()
    assert np.abs(made[known]).max() < 5 * np.abs(values).max()


def test_points_on_a_line_take_the_flattest_spline():
    weights = spline_weights([[0, 0], [0, 1], [0, 2]], [[0, 1], [5, 1]])
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(weights[0], [0, 1, 0], atol=1e-6)
