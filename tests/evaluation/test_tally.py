"""Scores taken window by window are those of the whole image."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from biastf_xr.evaluation._calibration import LEVELS, Inside
from biastf_xr.evaluation._image_sums import ImageSums, windows
from biastf_xr.evaluation._judged import Judged
from biastf_xr.evaluation._moments import Mean, Moments
from biastf_xr.evaluation._spatial import HALO
from biastf_xr.evaluation._tally import Tally, tally_date
from biastf_xr.evaluation.metrics import score_image

BANDS = ("red", "nir")
DAY = np.datetime64("2021-04-06")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(3)
    truth = rng.uniform(0.02, 0.5, (2, 61, 47)).astype("f4")
    made = {
        "nearest": truth + rng.normal(0, 0.04, truth.shape).astype("f4"),
        "other": truth + rng.normal(0.01, 0.02, truth.shape).astype("f4"),
    }
    truth[:, 20:31, 5:25] = np.nan
    made["other"][1, 50:, 40:] = np.nan
    return made, truth


def predicted(images, wrap=lambda array: array):
    made, truth = images
    apart = np.where(np.arange(47) < 20, 3, 40) * np.ones((61, 1), int)
    sigma = {"other": wrap(np.full(truth.shape, 0.02, "f4"))}
    made = {k: wrap(v) for k, v in made.items()}
    return Judged(DAY, BANDS, made, wrap(truth), apart=wrap(apart), sigma=sigma)


@pytest.mark.parametrize("tile", [7, 16, 40])
def test_any_windows_give_the_figures_of_the_whole_image(images, tile):
    whole, cut = tally_date(predicted(images), 512), tally_date(predicted(images), tile)
    assert cut.pixels == whole.pixels > 0
    assert cut.predicted == whole.predicted
    for name, sums in whole.images.items():
        expected = sums.measures(BANDS, 0.25)
        found = cut.images[name].measures(BANDS, 0.25)
        assert found == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert cut.classes.keys() == whole.classes.keys()
    for key, moments in whole.classes.items():
        for a, b in zip(cut.classes[key], moments, strict=True):
            assert a.count == b.count
            assert a.rmse == pytest.approx(b.rmse, rel=1e-10)
    assert cut.inside == whole.inside


def test_lazy_images_are_scored_as_those_in_memory(images):
    lazy = predicted(images, lambda a: da.from_array(a, chunks=(*(1,) * (a.ndim - 2), 13, 20)))
    a, b = tally_date(lazy, 16), tally_date(predicted(images), 16)
    assert a == b
    assert tally_date(lazy.load(), 16) == b


def test_the_figures_are_those_of_the_pixels_that_all_methods_have(images):
    made, truth = images
    common = np.isfinite(truth).all(0) & np.isfinite(made["other"]).all(0)
    tally = tally_date(predicted(images), 30)
    assert tally.pixels == common.sum()
    for name, image in made.items():
        expected = score_image(
            np.where(common, image, np.nan), np.where(common, truth, np.nan), BANDS, 0.25
        )
        found = tally.images[name].measures(BANDS, 0.25)
        assert found == pytest.approx(expected, rel=1e-10, abs=1e-12)
        error = (image - truth)[0][common].astype("f8")
        assert found["RMSE", "red"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)


def test_classes_hold_every_pixel_once(images):
    made, truth = images
    tally = tally_date(predicted(images), 30)
    for kind in ("change", "distance"):
        counts = [m[0].count for (name, k, _), m in tally.classes.items()
                  if name == "other" and k == kind]  # fmt: skip
        assert sum(counts) == tally.pixels
        assert len(counts) > 1
    common = np.isfinite(truth).all(0) & np.isfinite(made["other"]).all(0)
    change = np.sqrt(((truth - made["nearest"]) ** 2).mean(0))
    big = common & (change >= 0.05) & (change < 0.1)
    moments = tally.classes["other", "change", "0.05 to 0.10"]
    error = (made["other"] - truth)[1][big].astype("f8")
    assert moments[1].count == big.sum()
    assert moments[1].rmse == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)
    assert moments[1].bias == pytest.approx(error.mean(), rel=1e-5)
    near = tally.classes["other", "distance", "1 to 4"][0].count
    assert near == common[:, :20].sum()


def test_windows_cover_an_image_once():
    seen = np.zeros((23, 31), int)
    for window, core in windows((23, 31), 9):
        seen[window.slices][core] += 1
        assert max(window.shape) <= 9 + 2 * HALO
    assert (seen == 1).all()


def test_moments_merge_in_any_order_and_keep_what_is_exact():
    rng = np.random.default_rng(0)
    p, r = rng.normal(0.3, 1e-4, (2, 3001))
    whole = Moments.of(p, r)
    parts = [
        Moments.of(a, b) for a, b in zip(np.split(p, [7, 900]), np.split(r, [7, 900]), strict=True)
    ]
    for order in ((0, 1, 2), (2, 0, 1)):
        merged = Moments()
        for i in order:
            merged = merged + parts[i]
        for name in ("rmse", "mae", "bias", "cc", "r2"):
            assert getattr(merged, name) == pytest.approx(getattr(whole, name), rel=1e-9), name
        assert merged.ssim() == pytest.approx(whole.ssim(), rel=1e-12)
    assert whole.cc == pytest.approx(np.corrcoef(p, r)[0, 1], rel=1e-12)
    flat = Moments.of(np.full(10, 0.1), r[:10]) + Moments.of(np.full(7, 0.1), r[:7])
    assert np.isnan(flat.cc)
    same = Moments.of(r, r) + Moments.of(r[:5], r[:5])
    assert same.rmse == same.mae == same.bias == 0
    assert np.isnan(Moments().rmse)
    assert np.isnan(Mean().value)


def test_sums_of_nothing_change_nothing(images):
    made, truth = images
    tally = tally_date(predicted(images), 30)
    assert Tally() + tally == tally
    sums = ImageSums.of(made["nearest"], truth)
    nothing = ImageSums.of(made["nearest"] * np.nan, truth)
    assert (sums + nothing).measures(BANDS, 1) == sums.measures(BANDS, 1)


# --- calibration --------------------------------------------------------------------------------


def test_a_true_uncertainty_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    sigma = rng.uniform(0.01, 0.05, 200_000)
    error = rng.normal(0, sigma)
    np.testing.assert_allclose(Inside.of(error, sigma).shares, LEVELS, atol=0.004)
    half = Inside.of(error, sigma / 2, [0.6827]).shares
    assert half == pytest.approx(0.3829, abs=0.005)  # P(|z| < 1/2)
    double = Inside.of(error, 2 * sigma, [0.6827]).shares
    assert double == pytest.approx(0.9545, abs=0.005)  # P(|z| < 2)


def test_coverage_leaves_missing_values_out_and_merges():
    error, sigma = np.array([0.0, 1.0, np.nan, 3.0]), np.array([1.0, 1.0, 1.0, np.nan])
    assert Inside.of(error, sigma, [0.5]).shares == pytest.approx([0.5])
    assert np.isnan(Inside.of(error * np.nan, sigma, [0.5]).shares).all()
    parts = Inside.of(error[:1], sigma[:1]) + Inside() + Inside.of(error[1:], sigma[1:])
    assert parts == Inside.of(error, sigma)
