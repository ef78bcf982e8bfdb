"""The paper's maps in closed form, and the drawings of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from checks import facts
from matplotlib.image import imread

from biastf_xr._days import to_days
from biastf_xr.cube._cube import drop_days
from biastf_xr.cube._spec import VALID_MAX, VALID_MIN
from biastf_xr.errors import CubeStructureError, TargetDateError
from biastf_xr.evaluation.metrics import rmse
from biastf_xr.fusion import fuse
from biastf_xr.paper import _figures as figures
from biastf_xr.paper._figures import draw_all, draw_bias
from biastf_xr.paper._maps import (
    Case,
    bias_error_map,
    bias_map,
    case_of,
)
from biastf_xr.pictures._canvas import thin

BANDS = ("green", "red", "nir")


@pytest.fixture
def images():
    """Return truth, base, coarse and coarse base image."""
    rng = np.random.default_rng(3)
    return [rng.uniform(0.05, 0.5, (3, 30, 24)).astype(np.float32) for _ in range(4)]


@pytest.fixture
def case(images):
    truth, base, coarse, coarse_base = images
    rng = np.random.default_rng(4)
    noisy = truth + rng.normal(0, 0.02, truth.shape).astype(np.float32)
    noisy[:, :3, :5] = np.nan
    made = {"perfect": truth, "noisy": noisy, "direct": base + coarse - coarse_base}
    return Case("a date", BANDS, made, truth, base, coarse, coarse_base)


def test_perfect_prediction_has_no_error_and_the_true_bias(images):
    truth, *known = images
    assert (bias_error_map(truth, truth, *known) == 0).all()
    base, coarse, coarse_base = known
    np.testing.assert_array_equal(bias_map(truth, *known), (truth - base) - (coarse - coarse_base))


def test_transfer_of_the_coarse_change_has_no_bias(images):
    truth, base, coarse, coarse_base = images
    direct = base + (coarse - coarse_base)
    np.testing.assert_allclose(bias_map(direct, base, coarse, coarse_base), 0, atol=1e-6)
    true_bias = bias_map(truth, base, coarse, coarse_base)
    error = bias_error_map(direct, truth, base, coarse, coarse_base)
    np.testing.assert_allclose(error, true_bias**2, atol=1e-6)


def test_prediction_without_change_has_the_coarse_change_as_bias(images):
    _, base, coarse, coarse_base = images
    np.testing.assert_array_equal(
        bias_map(base, base, coarse, coarse_base), -(coarse - coarse_base)
    )


def test_error_of_the_bias_is_that_of_the_prediction(images, case):
    truth, *known = images
    error = bias_error_map(case.images["noisy"], truth, *known)
    assert np.sqrt(np.nanmean(error)) == pytest.approx(rmse(case.images["noisy"], truth), rel=1e-4)
    assert np.isnan(error[:, :3, :5]).all()
    assert np.isfinite(error).sum() == truth.size - 3 * 15


def test_two_dates_swapped_have_the_opposite_bias(images):
    truth, base, coarse, coarse_base = images
    there = bias_map(truth, base, coarse, coarse_base)
    np.testing.assert_allclose(bias_map(base, truth, coarse_base, coarse), -there, atol=1e-6)


def test_method_that_transfers_changes_has_no_bias_in_a_real_fusion(make_pair):
    fine, coarse = make_pair()
    base, day = (str(d)[:10] for d in fine["time"].values[:2])
    rest = drop_days(fine, to_days(fine["time"].values[1:]))
    image = fuse(rest, coarse, "direct", dates=[day]).isel(time=0)
    made = np.stack([image[b].values for b in ("red", "nir")])
    case = case_of({"direct": made}, fine, coarse, day, base)
    bias = bias_map(made, case.base, case.coarse, case.coarse_base)
    valid = (made > VALID_MIN) & (made < VALID_MAX)
    assert valid.mean() > 0.98
    np.testing.assert_allclose(bias[valid], 0, atol=1e-6)
    np.testing.assert_array_equal(case.truth[1], fine["nir"].sel(time=day))
    thin = case_of({"direct": made[:, ::3, ::3]}, fine, coarse, day, base, every=3)
    np.testing.assert_array_equal(thin.coarse, case.coarse[:, ::3, ::3])
    assert (thin.label, thin.bands) == (day, ("red", "nir"))
    with pytest.raises(TargetDateError, match=facts("1999-01-01", "2021-04-01", "2021-04-17")):
        case_of({"direct": made}, fine, coarse, "1999-01-01", base)


def test_every_figure_is_drawn(tmp_path, case):
    made = draw_all(case, tmp_path / "new", "08")
    assert set(made) == {"predictions", "bias", "residuals"}
    for path in made.values():
        pixels = imread(path)
        assert path.name.startswith("08_")
        assert pixels.shape[0] > 200
        assert pixels[..., :3].std() > 0.05  # something is drawn


def test_methods_share_their_colours(tmp_path, case, monkeypatch):
    scales = []
    plain = figures._draw_row

    def spy(figure, axes, places, maps, label):
        plain(figure, axes, places, maps, label)
        shown = [a.get_images()[0] for a in axes if a.get_images()]
        scales.append((label, {(*i.get_clim(), i.get_cmap().name) for i in shown}, len(shown)))

    monkeypatch.setattr(figures, "_draw_row", spy)
    draw_bias(case, tmp_path / "bias.png", "red")
    assert [label for label, *_ in scales] == [
        "change, reflectance", "bias, reflectance", "squared error of the bias, reflectance²",
    ]  # fmt: skip
    for label, clims, count in scales:
        ((low, high, colours),) = clims
        assert count == (3 if label.startswith("squared") else 4)
        if label.startswith("squared"):
            assert (low, colours) == (0, "magma")
        else:
            assert (low, colours) == (-high, "RdBu_r")


def test_large_images_are_thinned_and_odd_ones_drawn(tmp_path, case, monkeypatch):
    monkeypatch.setattr(figures, "thin", partial(thin, most=8))
    assert figures.thin(case.truth).shape == (3, 8, 6)
    nothing = replace(case, images={"nothing": np.full_like(case.truth, np.nan)})
    for path in draw_all(nothing, tmp_path, "empty").values():
        assert path.exists()


def test_wrong_shapes_and_bands_are_refused(tmp_path, case):
    with pytest.raises(CubeStructureError, match=facts("'coarse': (3, 2, 2)", "(3, 30, 24)")):
        replace(case, coarse=case.coarse[:, :2, :2])
    with pytest.raises(CubeStructureError, match="prediction"):
        replace(case, images={})
    with pytest.raises(CubeStructureError, match=facts("'swir1'", "['green', 'red', 'nir']")):
        draw_bias(case, tmp_path / "x.png", "swir1")


def test_drawing_needs_no_pyplot():
    code = "import sys, biastf_xr.paper._figures; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
