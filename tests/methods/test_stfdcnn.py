"""STFDCNN: closed forms of its stages, the middle resolution, and the method as a whole."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from checks import facts
from scipy.ndimage import gaussian_filter

import biastf_xr
from biastf_xr.cube import STATUS
from biastf_xr.errors import CheckpointError, MethodError, MissingPairError
from biastf_xr.grid import Tile
from biastf_xr.methods._learning.card import Card, Layers
from biastf_xr.methods._learning.networks import write_networks
from biastf_xr.methods._learning.rules import SampleRule, TrainRule
from biastf_xr.methods.stfdcnn import STFDCNN, STFDCNNOptions
from biastf_xr.methods.stfdcnn._grids import covering, cut, downsample, fine_of, upsample
from biastf_xr.methods.stfdcnn._modulation import fuse_stage, modulate

BANDS = ("red", "nir")
DATES = ["2021-04-03", "2021-04-07"]
QUICK = {
    "filters": (8, 4),
    "kernels": (5, 3, 3),
    "samples": SampleRule(patch=16, count=120),
    "train": TrainRule(epochs=20, patience=20, learning_rate=5e-3, batch=2),
}


@pytest.fixture(scope="module")
def make_model(tmp_path_factory):
    """Return the factory of models with random or silent networks."""

    def make(*, silent=False, bands="each", factor=3, ratio=5.0, **options):
        options_ = STFDCNNOptions(filters=(4, 3), kernels=(3, 3, 3), bands=bands)
        models = {}
        for stage in ("nlm", "sr"):
            for name, places in options_.groups(BANDS).items():
                count = len(places)
                network = Layers((count, 4, 3, count), (3, 3, 3)).build(len(models)).eval()
                generator = torch.Generator().manual_seed(len(models))
                with torch.no_grad():
                    if not silent:
                        network[-1].weight.normal_(0, 0.3, generator=generator)
                models[f"{name}.{stage}"] = network.state_dict()
        card = Card(
            method="stfdcnn", bands=BANDS, ratio=ratio, resolution=30.0, filters=(4, 3),
            kernels=(3, 3, 3), bias=True, outputs=2 if bands == "together" else 1,
            scales=dict.fromkeys(models, (1.0, 0.05)),
            channels=dict.fromkeys(models, [(0.25, 0.1)] * count),
            pairs=(("2021-04-01", "2021-04-01"),), history={}, seed=0,
            settings={"factor": factor, "highpass": "additive", "weight_window": 1,
                      "upsampling": "bilinear"},
        )  # fmt: skip
        path = tmp_path_factory.mktemp("stfdcnn") / "model.safetensors"
        write_networks(path, card, models)
        return biastf_xr.load_method(path, **options)

    return make


# The middle resolution.


def test_middle_pixels_are_anchored_to_the_grid():
    assert covering(Tile(7, 12, -1, 3), 4, margin=1) == Tile(0, 4, -2, 2)
    assert fine_of(Tile(1, 3, -1, 2), 4) == Tile(4, 12, -4, 8)
    values = np.arange(6 * 8, dtype="f4").reshape(6, 8)
    whole = Tile(2, 8, 0, 8)
    np.testing.assert_array_equal(cut(values, whole, Tile(3, 5, 4, 8)), values[1:3, 4:8])


def test_averages_leave_gaps_out_and_need_half():
    values = np.random.default_rng(0).normal(size=(2, 12, 18)).astype("f4")
    expected = values.reshape(2, 4, 3, 6, 3).mean((2, 4))
    np.testing.assert_allclose(downsample(values, 3), expected, atol=1e-6)
    holed = np.ones((6, 3), "f4")
    holed[0, 0] = np.nan
    holed[3:6, :2] = np.nan
    np.testing.assert_array_equal(downsample(holed, 3), [[1.0], [np.nan]])


def test_interpolation_keeps_a_plane_and_depends_on_no_window():
    held = Tile(-1, 5, 1, 7)
    rows, cols = np.meshgrid(np.arange(-1, 5), np.arange(1, 7), indexing="ij")
    plane = (2.0 * rows - cols).astype("f4")
    wanted = Tile(0, 15, 9, 20)
    made = upsample(plane, held, wanted, 4)
    y, x = ((np.arange(a, b) + 0.5) / 4 - 0.5 for a, b in ((0, 15), (9, 20)))
    np.testing.assert_allclose(made, 2 * y[:, None] - x, atol=1e-5)
    part = Tile(3, 9, 10, 13)
    np.testing.assert_array_equal(upsample(plane, held, part, 4), cut(made, wanted, part))


# The fusion model.


@pytest.mark.parametrize("form", ["multiplicative", "additive"])
def test_perfect_transitional_images_give_the_truth(form):
    images = np.random.default_rng(0).uniform(0.1, 0.4, (3, 2, 9, 9)).astype("f4")
    made = fuse_stage((images[0], images[2]), tuple(images), form=form, window=1)
    np.testing.assert_allclose(made, images[1], rtol=1e-5)


def test_modulation_is_of_details_or_of_levels_and_guarded():
    image, then, now = (np.full((1, 1), v, "f4") for v in (0.3, 0.2, 0.4))
    assert modulate(image, then, now, "multiplicative") == pytest.approx(0.6)
    assert modulate(image, then, now, "additive") == pytest.approx(0.5)
    zero = np.zeros((1, 1), "f4")
    assert modulate(image, zero, now, "multiplicative") == pytest.approx(0.3 * 5)
    assert modulate(image, now, zero, "multiplicative") == pytest.approx(0.3 * 0.2)


def test_the_side_that_changed_less_weighs_more():
    images = np.stack([np.full((1, 5, 5), v, "f4") for v in (1.0, 0.0)])
    levels = tuple(np.full((1, 7, 7), v, "f4") for v in (0.30, 0.31, 0.34))
    made = fuse_stage((images[0], images[1]), levels, form="additive", window=3)
    weight = 0.03 / 0.04
    expected = weight * (1 + 0.01) + (1 - weight) * (0 - 0.03)
    assert made.shape == (1, 5, 5)
    np.testing.assert_allclose(made, expected, rtol=1e-3)


# The method.


def test_silent_networks_without_change_interpolate(make_pair, make_model):
    fine, coarse = make_pair(shape=(40, 35), ratio=5, fine_days=(0, 8), coarse_days=range(9))
    for band in coarse.data_vars:
        coarse[band][:] = coarse[band].values[:1]
    for highpass in ("additive", "multiplicative"):
        method = make_model(silent=True, highpass=highpass)
        made = biastf_xr.fuse(fine, coarse, method, dates=["2021-04-03"])
        expected = fine["nir"].mean("time")
        if highpass == "additive":
            np.testing.assert_allclose(made["nir"][0], expected, atol=2e-5)
        else:
            assert np.isfinite(made["nir"]).all()
    still = coarse.copy(deep=True)
    for band in still.data_vars:
        still[band][8] = still[band][8] + 0.2
        fine[band][1] = fine[band][0] + 0.3
    made = biastf_xr.fuse(fine, still, make_model(silent=True), dates=["2021-04-03"])
    np.testing.assert_allclose(made["red"][0], fine["red"][0], atol=1e-3)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"weight_window": 3, "highpass": "multiplicative"},
        {"bands": "together"},
        {"factor": 4, "upsampling": "nearest"},
    ],
)
def test_the_result_does_not_depend_on_the_tiles(make_pair, make_model, form):
    fine, coarse = make_pair(shape=(61, 47), ratio=5, margin=2, seed=3)
    for band in fine.data_vars:
        fine[band][0, :15, 20:] = np.nan
        coarse[band][4, 3:6, 2:5] = np.nan
    method = make_model(**form)
    whole = biastf_xr.fuse(fine, coarse, method, dates=DATES, tile=100).load()
    assert np.isfinite(whole["nir"]).mean() > 0.4
    for tile in (16, 29):
        made = biastf_xr.fuse(fine, coarse, method, dates=DATES, tile=tile).load()
        for name in (*BANDS, "status_flag"):
            np.testing.assert_array_equal(made[name], whole[name])


def test_both_sides_are_needed_and_gaps_stay(make_pair, make_model):
    fine, coarse = make_pair(shape=(40, 35), ratio=5, fine_days=(4, 8), coarse_days=range(9))
    made = biastf_xr.fuse(fine, coarse, make_model(), dates=["2021-04-02"])
    assert (made["status_flag"] == STATUS["no_pair"]).all()
    clouded = fine.copy(deep=True)
    clouded["red"][0, 5, 6] = np.nan
    made = biastf_xr.fuse(clouded, coarse, make_model(), dates=["2021-04-07"]).load()
    assert np.argwhere(np.isnan(made["nir"][0].values)).tolist() == [[5, 6]]
    assert (made["status_flag"].values == STATUS["fused_two_sided"]).sum() == 40 * 35 - 1


def test_halos_and_factor_follow_from_the_settings(make_model):
    method = make_model(weight_window=3)
    assert method.factor == 3
    assert method.fine_halo == 1 + 3 + 2 * 3
    assert method.halo == method.fine_halo + 3 * (1 + 3)
    assert STFDCNNOptions().factor_for(20) == 10
    assert STFDCNNOptions().factor_for(16) == 8
    assert STFDCNNOptions().factor_for(1) == 10
    assert STFDCNNOptions(factor=4).factor_for(16) == 4


def test_unusable_options_are_refused(make_model, random_model, tmp_path):
    with pytest.raises(MethodError, match=facts("factor", "1", "2")):
        STFDCNNOptions(factor=1)
    with pytest.raises(MethodError, match=facts((64, 32), (9, 5))):
        STFDCNNOptions(kernels=(9, 5))
    with pytest.raises(
        MethodError, match=facts("highpass", "'none'", "['multiplicative', 'additive']")
    ):
        make_model(highpass="none")
    with pytest.raises(CheckpointError, match=facts("random.safetensors", "'biastf'", "'stfdcnn'")):
        STFDCNN.load(random_model().checkpoint)
    model = make_model()
    strange = dataclasses.replace(model.card, method="other")
    path = tmp_path / "other.safetensors"
    write_networks(path, strange, {})
    with pytest.raises(
        CheckpointError,
        match=facts("other.safetensors", "'other'", "['biastf-plus', 'biastf', 'stfdcnn']"),
    ):
        biastf_xr.load_method(path)


def test_all_bands_at_once_need_all_bands(make_pair, make_model):
    fine, coarse = (ds[["nir"]] for ds in make_pair(shape=(40, 35), ratio=5))
    with pytest.raises(CheckpointError, match=facts("['red', 'nir']", "['nir']")):
        biastf_xr.fuse(fine, coarse, make_model(bands="together"), dates=DATES)


# Fitting.


@pytest.fixture(scope="module")
def textured(make_pair):
    """Cubes of a growing texture, whose fine sensor sees brighter than the coarse one."""
    fine, coarse = make_pair(shape=(96, 96), ratio=8, fine_days=(0, 4, 8), coarse_days=range(9))
    rng = np.random.default_rng(1)
    fields = [gaussian_filter(rng.normal(size=(112, 112)), sigma) for sigma in (10, 1.5)]
    texture = 0.2 + sum(0.03 * field / field.std() for field in fields).clip(-0.15)
    for b, band in enumerate(BANDS):
        for n in range(9):
            image = texture * (1 + 0.08 * n) + 0.02 * b
            coarse[band][n] = image.reshape(14, 8, 14, 8).mean((1, 3)) * 0.8
            if n % 4 == 0:
                fine[band][n // 4] = image[8:-8, 8:-8]
    return fine, coarse


@pytest.fixture(scope="module")
def fitted(textured, tmp_path_factory):
    fine, coarse = textured
    path = tmp_path_factory.mktemp("fit") / "model.safetensors"
    rest = fine.isel(time=[0, 2])
    return biastf_xr.fit(rest, coarse, method="stfdcnn", path=path, **QUICK)


def test_a_fit_improves_on_the_nearest_image(textured, fitted):
    fine, coarse = textured
    rest = fine.isel(time=[0, 2])

    def error(method):
        made = biastf_xr.fuse(rest, coarse, method, dates=["2021-04-05"])["nir"][0]
        return float(np.sqrt(((made - fine["nir"][1]) ** 2).mean()))

    assert error(fitted) < 0.5 * error("nearest")
    best = {n: min(held for _, held in losses) for n, losses in fitted.card.history.items()}
    assert set(best) == {"red.nlm", "nir.nlm", "red.sr", "nir.sr"}
    assert all(v < 0.9 for v in best.values())


def test_a_fit_is_kept_loaded_and_told_apart(textured, fitted, tmp_path):
    assert fitted.factor == 4
    saved = fitted.save(tmp_path / "m.safetensors")
    again = biastf_xr.load_method(tmp_path / "m.safetensors")
    assert isinstance(again, STFDCNN)
    assert again.describe() == fitted.describe()
    assert fitted.describe()["trained_on"] == ["2021-04-01", "2021-04-09"]
    fine, coarse = textured
    a, b = (
        biastf_xr.fuse(fine, coarse, m, dates=["2021-04-03"])["red"].values for m in (saved, again)
    )
    np.testing.assert_array_equal(a, b)
    assert saved.plot_history(tmp_path / "losses.png").exists()


def test_a_score_on_a_date_it_has_seen_is_refused(textured, fitted):
    from biastf_xr.errors import LeakError
    from biastf_xr.evaluation import evaluate

    with pytest.raises(LeakError):
        evaluate(*textured, [fitted], dates=["2021-04-09"])


def test_all_bands_at_once_start_from_another_and_the_same_bytes(textured, fitted):
    together = QUICK | {"bands": "together", "train": TrainRule(epochs=2, batch=8)}
    a, b = (biastf_xr.fit(*textured, method="stfdcnn", **together) for _ in range(2))
    assert a.sha256 == b.sha256
    assert set(a.card.history) == {"all.nlm", "all.sr"}
    made = biastf_xr.fuse(*textured, a, dates=["2021-04-03"])
    assert np.isfinite(made["nir"]).all()
    warm = biastf_xr.fit(*textured, method="stfdcnn", start=fitted.checkpoint, **QUICK)
    assert warm.card.start["sha256"] == fitted.sha256
    with pytest.raises(CheckpointError, match=facts("model.safetensors", "outputs", "1", "2")):
        biastf_xr.fit(*textured, method="stfdcnn", start=fitted.checkpoint, **together)


def test_no_date_to_learn_from_is_refused(textured):
    rule = SampleRule(dates="earlier", target="2021-04-01")
    with pytest.raises(MissingPairError, match=facts("'earlier'", "2021-04-01", "'direct'")):
        biastf_xr.fit(*textured, method="stfdcnn", samples=rule)


def test_one_band_together_is_that_band(textured):
    fine, coarse = (ds[["nir"]] for ds in textured)
    model = biastf_xr.fit(fine, coarse, "stfdcnn", **QUICK | {"bands": "together"})
    assert set(model.card.history) == {"nir.nlm", "nir.sr"}
    made = biastf_xr.fuse(fine, coarse, model, dates=["2021-04-03"])
    assert np.isfinite(made["nir"]).all()
