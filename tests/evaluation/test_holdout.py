"""Scores on scenes that were never seen."""

from __future__ import annotations

import numpy as np
import pytest
from checks import facts

import biastf_xr
from biastf_xr.cube._cube import drop_days
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.errors import CubeStructureError, GridMismatchError, LeakError, MissingPairError
from biastf_xr.evaluation import evaluate, score_cube
from biastf_xr.evaluation._designs import inner_dates
from biastf_xr.evaluation.metrics import MEASURES
from biastf_xr.methods.biastf import NetworkShape, SampleRule, TrainRule
from biastf_xr.pictures import draw_sheet

QUICK = {
    "network": NetworkShape(filters=(4, 4, 4)),
    "samples": SampleRule(patch=8, count=12),
    "train": TrainRule(epochs=1),
}


@pytest.fixture
def pair(make_pair):
    return make_pair(fine_days=(0, 5, 11, 16))


def test_every_inner_date_is_left_out_in_turn_beside_the_baselines(pair):
    scores = evaluate(*pair, "biastf", fit_options=QUICK)
    assert list(scores.by_date().index) == ["2021-04-06", "2021-04-12"]
    assert list(scores.summary().index) == ["nearest", "linear", "direct", "biastf"]
    assert list(scores.summary().columns) == list(MEASURES)
    assert list(scores.by_band().columns) == ["red", "nir", "mean"]
    assert scores.ratio == pytest.approx(0.25)
    assert np.isfinite(scores.table["value"]).all()


def test_a_learned_method_is_fitted_without_the_date_it_is_scored_on(pair, monkeypatch):
    from biastf_xr.evaluation import _predictions as predictions

    seen = []
    real = predictions.fit

    def spy(fine, coarse, method, **options):
        seen.append(fine.time.values.astype("datetime64[D]").astype(str).tolist())
        return real(fine, coarse, method, **options)

    monkeypatch.setattr(predictions, "fit", spy)
    evaluate(*pair, "biastf", fit_options=QUICK, dates=["2021-04-06", "2021-04-12"])
    assert [("2021-04-06" in s, "2021-04-12" in s) for s in seen] == [(False, True), (True, False)]
    seen.clear()
    at_once = "leave-one-out,together=true"
    days = ["2021-04-06", "2021-04-12"]
    evaluate(*pair, "biastf", fit_options=QUICK, dates=days, design=at_once)
    assert seen == [["2021-04-01", "2021-04-17"]]


def test_a_model_that_saw_the_date_is_refused(pair):
    model = biastf_xr.fit(*pair, "biastf", **QUICK)
    with pytest.raises(LeakError, match=facts("biastf", "2021-04-06")):
        evaluate(*pair, model, dates=["2021-04-06"])
    blind = biastf_xr.fit(drop_days(pair[0], ["2021-04-06"]), pair[1], "biastf", **QUICK)
    assert "biastf" in evaluate(*pair, blind, dates=["2021-04-06"]).summary().index


def test_the_figures_are_those_of_the_images(pair):
    fine, coarse = pair
    scores = evaluate(fine, coarse, "linear", dates=["2021-04-06"])
    expected = fine["nir"][0] * 6 / 11 + fine["nir"][2] * 5 / 11
    error = float(np.sqrt(((expected - fine["nir"][1]) ** 2).mean()))
    assert scores.by_band().loc["linear", "nir"] == pytest.approx(error, rel=1e-4)


def test_too_few_clear_dates_are_refused(make_pair):
    with pytest.raises(MissingPairError, match=facts("2 dates", "needs 3", "`min_clear`")):
        evaluate(*make_pair(fine_days=(0, 16)), "linear")


def test_nothing_to_score_is_an_error(pair):
    fine, coarse = pair
    fine["red"][1] = fine["nir"][1] = np.nan
    with pytest.raises(MissingPairError, match=facts("2021-04-06", "direct", "linear", "nearest")):
        evaluate(fine, coarse, "linear", dates=["2021-04-06"])


def test_inner_dates_are_clear_and_have_both_sides(pair):
    fine, coarse = pair
    fine["red"][1, :12] = fine["nir"][1, :12] = np.nan
    days = inner_dates(pair_cubes(fine, coarse), 0.9)
    assert [str(d) for d in days] == ["2021-04-12"]


def test_a_stored_cube_is_scored_beside_the_baselines(small_cubes, tmp_path):
    fine, coarse = (biastf_xr.open_cube(p) for p in small_cubes)
    day = str(fine.time.values[1])[:10]
    path = biastf_xr.write_fused(
        *small_cubes, tmp_path / "f.zarr", "direct", dates=[day], withhold=[day]
    ).path
    scores = score_cube(biastf_xr.open_cube(path), fine, coarse, [day], name="mine")
    by_band = scores.by_band()
    np.testing.assert_allclose(by_band.loc["mine"], by_band.loc["direct"], rtol=1e-3)


def test_a_cube_that_kept_the_scene_is_refused(small_cubes, tmp_path):
    fine, coarse = (biastf_xr.open_cube(p) for p in small_cubes)
    day = str(fine.time.values[1])[:10]
    path = biastf_xr.write_fused(*small_cubes, tmp_path / "f.zarr", "direct", dates=[day]).path
    cube = biastf_xr.open_cube(path)
    with pytest.raises(LeakError, match=facts("2021-04-17", "withhold")):
        score_cube(cube, fine, coarse, [day])
    with pytest.raises(CubeStructureError, match="2021-04-01"):
        score_cube(cube, fine, coarse, [str(fine.time.values[0])[:10]])
    with pytest.raises(
        CubeStructureError, match=facts("['nir']", "['blue', 'green', 'red', 'swir1', 'swir2']")
    ):
        score_cube(cube.drop_vars("nir"), fine, coarse, [day])
    with pytest.raises(GridMismatchError, match=facts((95, 80), (96, 80))):
        score_cube(cube.isel(y=slice(1, None)), fine, coarse, [day])


def test_a_cube_of_a_model_that_saw_the_scene_is_refused(small_cubes, tmp_path):
    fine, coarse = (biastf_xr.open_cube(p) for p in small_cubes)
    day = str(fine.time.values[1])[:10]
    model = biastf_xr.fit(fine, coarse, "biastf", **QUICK)
    path = biastf_xr.write_fused(
        *small_cubes, tmp_path / "f.zarr", model, dates=[day], withhold=[day]
    ).path
    with pytest.raises(LeakError, match=facts("2021-04-17", "withhold")):
        score_cube(biastf_xr.open_cube(path), fine, coarse, [day])


def test_the_sheet_shows_what_was_withheld(pair, tmp_path):
    fine, coarse = pair
    day = ["2021-04-06"]
    fused = biastf_xr.fuse(drop_days(fine, day), coarse, "direct")
    line = biastf_xr.fuse(drop_days(fine, day), coarse, "linear", dates=day)
    path = tmp_path / "sheet.png"
    draw_sheet(fused, fine, coarse, day, {"linear": line}, path=path)
    from matplotlib.image import imread

    pixels = imread(path)
    assert pixels.shape[0] > 400
    assert pixels[..., :3].std() > 0.1
