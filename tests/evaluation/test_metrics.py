"""The measures, against scikit-image and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from checks import facts
from skimage.metrics import structural_similarity

from biastf_xr.errors import CubeStructureError
from biastf_xr.evaluation.metrics import (
    MEASURES,
    bias,
    cc,
    ergas,
    mae,
    r2,
    rmse,
    sam,
    score_image,
    ssim,
    ssim_gaussian,
)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    reference = rng.uniform(0.05, 0.5, (3, 20, 30))
    return (reference + rng.normal(0, 0.02, reference.shape)).astype("f4"), reference.astype("f4")


def test_a_perfect_prediction(images):
    _, r = images
    assert rmse(r, r) == 0
    assert cc(r, r) == pytest.approx(1)
    assert ssim(r[0], r[0]) == pytest.approx(1)
    assert ergas(r, r, 0.06) == 0
    assert sam(r, r) == pytest.approx(0, abs=1e-3)


def test_closed_forms(images):
    _, r = images
    assert rmse(r + 0.1, r) == pytest.approx(0.1, rel=1e-5)
    assert cc(-r, r) == pytest.approx(-1)
    assert sam(3 * r, r) == pytest.approx(0, abs=1e-3)
    a, b = np.array([[[1.0]], [[0.0]]]), np.array([[[1.0]], [[1.0]]])
    assert sam(a, b) == pytest.approx(np.pi / 4)
    shifted = r * 1.1
    relative = [0.1 * np.sqrt(np.mean(x.astype("f8") ** 2)) / x.mean() for x in r]
    assert ergas(shifted, r, 1 / 20) == pytest.approx(
        5 * np.sqrt(np.mean(np.square(relative))), rel=1e-4
    )


def test_closed_forms_of_errors(images):
    p, r = (x.astype("f8") for x in images)
    assert bias(r + 0.1, r) == pytest.approx(0.1)
    assert mae(r - 0.1, r) == pytest.approx(0.1)
    assert mae(p, r) == pytest.approx(np.abs(p - r).mean())
    assert r2(np.full_like(r, r.mean()), r) == pytest.approx(0, abs=1e-12)
    assert r2(p, r) == pytest.approx(1 - ((p - r) ** 2).sum() / ((r - r.mean()) ** 2).sum())
    assert r2(2 * r, r) < cc(2 * r, r) ** 2
    assert np.isnan(r2(r, r * 0 + 0.3))


def test_every_measure_is_given_per_band_or_jointly(images):
    scores = score_image(*images, "abc", 0.06)
    assert list(dict.fromkeys(m for m, _ in scores)) == list(MEASURES)
    joint = {m for m in MEASURES if (m, "a") not in scores}
    assert joint == {"ERGAS", "SAM"}
    assert all(np.isfinite(v) for v in scores.values())


def test_ssim_is_scikit_image_with_one_window(images):
    p, r = images[0][0, :20, :19], images[1][0, :20, :19]
    size = 19
    expected = structural_similarity(
        p[:size].astype("f8"), r[:size].astype("f8"), win_size=size, data_range=1.0,
        use_sample_covariance=False,
    )  # fmt: skip
    assert ssim(p[:size], r[:size]) == pytest.approx(expected, abs=1e-6)


def test_the_paper_law_between_rmse_cc_and_ssim():
    """Table 3, band 5 of BiaSTF: RMSE .0340 and CC .9365 imply the printed SSIM .9394."""
    variance = 0.0340**2 / (2 * (1 - 0.9365))
    c2 = 0.03**2
    assert (2 * 0.9365 * variance + c2) / (2 * variance + c2) == pytest.approx(0.9394, abs=2.5e-3)


def test_missing_pixels_are_left_out(images):
    p, r = (x.copy() for x in images)
    expected = score_image(p[:, :, :20], r[:, :, :20], "abc", 0.06)
    p[:, :, 20:] = np.nan
    r[1, :, 20:] = 77
    found = score_image(p, r, "abc", 0.06)
    # Windows of the Gaussian SSIM near the cut are left out at the border, not in the image.
    found, expected = ({k: v for k, v in x.items() if k[0] != "SSIM11"} for x in (found, expected))
    assert found == pytest.approx(expected)
    inner = ssim_gaussian(p[0][:, :20], r[0][:, :20])
    assert ssim_gaussian(p[0], r[0]) == pytest.approx(inner, abs=0.01)


def test_the_table_value_is_the_mean_of_the_bands(images):
    scores = score_image(*images, ("green", "red", "nir"), 0.06)
    bands = [scores["RMSE", b] for b in ("green", "red", "nir")]
    assert scores["RMSE", "mean"] == pytest.approx(np.mean(bands))
    assert ("ERGAS", "green") not in scores


def test_nothing_valid_gives_nan_and_other_shapes_are_refused(images):
    p, r = images
    assert np.isnan(rmse(p * np.nan, r))
    assert np.isnan(sam(p * np.nan, r))
    assert np.isnan(cc(p * 0, r))
    with pytest.raises(CubeStructureError, match=facts((3, 20, 30), (2, 20, 30))):
        rmse(p, r[:2])


def test_one_band_has_no_spectral_angle():
    images = np.random.default_rng(0).uniform(0.1, 0.5, (2, 1, 20, 20))
    measures = {m for m, _ in score_image(*images, ["nir"], 0.1)}
    assert measures == set(MEASURES) - {"SAM"}
