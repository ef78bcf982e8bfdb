"""Windowed SSIM, edges and texture, against scikit-image and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.feature import local_binary_pattern
from skimage.filters import roberts_neg_diag, roberts_pos_diag
from skimage.metrics import structural_similarity

from biastf_xr.evaluation._spatial import (
    HALO,
    binary_patterns,
    normalised_difference,
    roberts_edges,
    ssim_map,
)
from biastf_xr.evaluation.metrics import edge, ssim_gaussian, texture


@pytest.fixture
def images():
    rng = np.random.default_rng(1)
    reference = rng.uniform(0.05, 0.5, (40, 37))
    return reference + rng.normal(0, 0.05, reference.shape), reference


def test_ssim_is_scikit_image_with_a_gaussian_window(images):
    expected, whole = structural_similarity(
        *images, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0,
        full=True,
    )  # fmt: skip
    assert ssim_gaussian(*images) == pytest.approx(expected, abs=1e-12)
    inner = slice(HALO, -HALO)
    found = ssim_map(*images)
    np.testing.assert_allclose(found[inner, inner], whole[inner, inner], atol=1e-12)
    assert np.isnan(found[:HALO]).all()
    assert np.isfinite(found).sum() == 30 * 27


def test_ssim_leaves_missing_pixels_out_of_its_windows(images):
    p, r = (x.copy() for x in images)
    p[20, 18] = np.nan
    r[20, 18] = 1e6
    found = ssim_map(p, r)
    assert np.isnan(found[20, 18])
    assert np.isfinite(found[HALO:-HALO, HALO:-HALO]).sum() == 30 * 27 - 1
    far = ssim_map(*images)
    np.testing.assert_allclose(found[30:35, 5:10], far[30:35, 5:10], atol=1e-12)
    assert found[20, 19] == pytest.approx(far[20, 19], abs=0.2)


def test_ssim_of_an_image_smaller_than_its_window_is_not_a_number(images):
    assert np.isnan(ssim_gaussian(images[0][:10], images[1][:10]))


def test_edges_are_the_two_diagonals_of_roberts(images):
    image = images[0]
    found = roberts_edges(image)[1:-1, 1:-1]
    expected = np.abs(roberts_pos_diag(image)) + np.abs(roberts_neg_diag(image))
    np.testing.assert_allclose(found, expected[1:-1, 1:-1], atol=1e-12)


def test_an_edge_has_its_height():
    step = np.zeros((6, 6))
    step[:, 3:] = 0.2
    found = roberts_edges(step)
    assert found[0, 2] == pytest.approx(0.4)
    assert np.nansum(found) == pytest.approx(5 * 0.4)
    assert np.isnan(found[-1]).all()
    assert np.isnan(found[:, -1]).all()


def test_patterns_are_those_of_scikit_image(images):
    image = (images[0] * 1000).astype(int)
    found = binary_patterns(image)[1:-1, 1:-1].astype(int)
    straight = local_binary_pattern(image, 4, 1)[1:-1, 1:-1].astype(int)
    for bit in range(4):
        np.testing.assert_array_equal(found >> (2 * bit) & 1, straight >> bit & 1)
    diagonal = local_binary_pattern(image, 8, np.sqrt(2))[2:-2, 2:-2].astype(int)
    for bit in (1, 3, 5, 7):
        np.testing.assert_array_equal(found[1:-1, 1:-1] >> bit & 1, diagonal >> bit & 1)


def test_missing_pixels_spoil_their_neighbours_only(images):
    image = images[0].copy()
    image[10, 10] = np.nan
    assert np.isnan(binary_patterns(image)[9:12, 9:12]).all()
    assert np.isfinite(binary_patterns(image)[1:-1, 1:-1]).sum() == 38 * 35 - 9
    assert np.isnan(roberts_edges(image)[9:11, 9:11]).all()
    assert np.isfinite(roberts_edges(image)).sum() == 39 * 36 - 4


def test_a_smooth_prediction_has_negative_edges_and_a_sharp_one_positive(images):
    _, r = images
    mean = r.mean()
    assert edge(r, r) == 0
    assert texture(r, r) == 0
    assert edge(mean + 0.5 * (r - mean), r) == pytest.approx(-1 / 3)
    assert edge(mean + 3 * (r - mean), r) == pytest.approx(1 / 2)
    assert texture(mean + 3 * (r - mean), r) == 0
    assert edge(np.full_like(r, mean), r) == -1


def test_a_normalised_difference_of_nothing_and_nothing_is_zero():
    found = normalised_difference(np.array([0.0, 1, 0, np.nan]), np.array([0.0, 0, 2, 1]))
    np.testing.assert_array_equal(found, [0, 1, -1, np.nan])
