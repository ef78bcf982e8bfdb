"""Fitting: what is learned, from what, and how it is kept."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from checks import facts

import biastf_xr
from biastf_xr.brackets import BracketRule
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.errors import CheckpointError, MethodError, MissingPairError
from biastf_xr.methods._learning.card import Card
from biastf_xr.methods._learning.channels import fill_for_network
from biastf_xr.methods._learning.files import read_card
from biastf_xr.methods._learning.inference import load_networks
from biastf_xr.methods.biastf import BiaSTF, NetworkShape, SampleRule, TrainRule
from biastf_xr.methods.biastf._samples import draw_samples

QUICK = {
    "network": NetworkShape(filters=(8, 4, 4)),
    "samples": SampleRule(patch=16, count=40),
    "train": TrainRule(epochs=6, patience=6, learning_rate=2e-3),
}


@pytest.fixture(scope="module")
def biased(make_pair):
    """Cubes whose fine sensor sees half of every coarse change: the bias is -dC / 2."""
    fine, coarse = make_pair(shape=(96, 96), ratio=8, fine_days=(0, 8, 16), seed=3)
    from biastf_xr.grid import Tile, Upsampler

    pair = pair_cubes(fine, coarse)
    tile = Tile(0, 96, 0, 96)
    upsample = Upsampler(pair.alignment, tile, pair.alignment.coarse_tile(tile))
    for band in pair.bands:
        series = coarse[band].values * 0.2
        coarse[band][:] = series
        seen = upsample(series[[0, 8, 16]])
        base = fine[band][0].values
        fine[band][:] = base + (seen - seen[0]) / 2
    return fine, coarse


@pytest.fixture(scope="module")
def fitted(biased, tmp_path_factory):
    path = tmp_path_factory.mktemp("fit") / "model.safetensors"
    return biastf_xr.fit(*biased, "biastf", path=path, **QUICK)


def test_a_learnable_bias_is_learned(biased, fitted):
    fine, coarse = biased
    rest = fine.isel(time=[0, 2])
    truth = fine["nir"][1].values

    def error(method):
        made = biastf_xr.fuse(rest, coarse, method, dates=["2021-04-09"])["nir"][0].values
        return np.sqrt(np.mean((made - truth) ** 2))

    assert error(fitted) < 0.5 * error("direct")
    assert all(loss[-1][1] < 0.5 for loss in fitted.card.history.values())


def test_the_same_seed_gives_the_same_model_and_another_does_not(biased, fitted):
    again, other = (biastf_xr.fit(*biased, "biastf", seed=s, **QUICK) for s in (0, 1))
    networks = [load_networks(str(m.checkpoint), m.sha256, "cpu") for m in (fitted, again, other)]
    states = [torch.cat([p.ravel() for p in n["nir"].parameters()]) for n in networks]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_samples_are_the_bias_of_change_of_clear_pairs_only(biased):
    fine, coarse = (ds.copy(deep=True) for ds in biased)
    for band in fine.data_vars:
        fine[band][1, :40] = np.nan
    pair = pair_cubes(fine, coarse)
    drawn = draw_samples(
        pair,
        SampleRule(patch=16, count=60, min_clear=0.3),
        halo=3,
        upsampling="bilinear",
        base_rule=BracketRule(),
        seed=0,
    )
    assert drawn.change.shape[1:] == (2, 22, 22)
    assert drawn.bias.shape[1:] == (2, 16, 16)
    assert np.isfinite(drawn.change).all()
    inner = drawn.change[:, :, 3:-3, 3:-3]
    seen = np.isfinite(drawn.bias)
    assert 0 < (~seen).sum() < seen.size
    np.testing.assert_allclose(drawn.bias[seen], -inner[seen] / 2, atol=2e-5)
    assert drawn.held_out.any()
    assert not drawn.held_out.all()
    assert drawn.pairs[0] == ("2021-04-01", "2021-04-09")


def test_what_the_coarse_sensor_did_not_see_is_no_sample(biased):
    fine, coarse = (ds.copy(deep=True) for ds in biased)
    for band in coarse.data_vars:
        coarse[band][8] = np.nan
        coarse[band][16, :, :7] = np.nan
    pair = pair_cubes(fine, coarse)
    rule = SampleRule(patch=16, count=60, min_clear=0.05)
    drawn = draw_samples(pair, rule, halo=3, upsampling="nearest", base_rule=BracketRule(), seed=0)
    assert drawn.pairs == (("2021-04-01", "2021-04-17"),)
    assert np.isfinite(drawn.bias).any(axis=(1, 2, 3)).all()
    whole = draw_samples(
        pair_cubes(*biased), rule, halo=3, upsampling="nearest", base_rule=BracketRule(), seed=0
    )
    assert 0 < len(drawn.bias) < len(whole.bias)


def test_held_out_patches_share_no_pixel_with_the_others():
    from biastf_xr.methods._learning.patches import lay_cells, split_cells

    rule = SampleRule(patch=16, hold_out=0.3, hold_out_block=2)
    cells, held = split_cells(lay_cells((200, 168), 16), (200, 168), rule, np.random.default_rng(5))
    count = np.zeros((2, 200, 168), int)
    for cell, flag in zip(cells, held, strict=True):
        count[int(flag), *cell.slices] += 1
    assert not ((count[0] > 0) & (count[1] > 0)).any()
    assert (count[1] > 0).mean() > 0.1
    assert (count[0] > 0).mean() > 0.3


def test_the_card_tells_what_made_the_model(fitted):
    card, sha256 = read_card(fitted.checkpoint, Card)
    assert card.days == ("2021-04-01", "2021-04-09", "2021-04-17")
    assert card.bands == ("red", "nir")
    assert card.ratio == pytest.approx(8)
    assert card.settings["samples"]["patch"] == 16
    assert {"torch", "numpy", "biastf_xr"} <= set(card.versions)
    assert sha256 == fitted.sha256
    assert set(card.history) == {"red", "nir"}
    assert fitted.halo == 7


def test_save_and_load_give_the_same_predictions(biased, fitted, tmp_path):
    saved = fitted.save(tmp_path / "kept" / "model.safetensors")
    loaded = biastf_xr.load_method(tmp_path / "kept" / "model.safetensors", weights="time")
    assert loaded.weights == "time"
    a, b = (biastf_xr.fuse(*biased, m, dates=["2021-04-05"])["nir"].values for m in (fitted, saved))
    np.testing.assert_array_equal(a, b)


def test_an_altered_checkpoint_is_refused(biased, fitted, tmp_path):
    copy = fitted.save(tmp_path / "model.safetensors")
    data = bytearray(copy.checkpoint.read_bytes())
    data[-5] ^= 0xFF
    copy.checkpoint.write_bytes(data)
    with pytest.raises(CheckpointError, match=facts("model.safetensors", "sha256", "load_method")):
        biastf_xr.fuse(*biased, copy, dates=["2021-04-05"]).load()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"\x10" + b"\0" * 30])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=facts("model.safetensors")):
        BiaSTF.load(path)


def test_a_checkpoint_of_a_newer_version_is_refused(fitted, tmp_path):
    from safetensors.torch import save_file

    fields = fitted.card.__dict__ | {"format": 99}
    path = tmp_path / "new.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"card": json.dumps(fields)})
    with pytest.raises(CheckpointError, match=facts("new.safetensors", "99", "up to 2")):
        BiaSTF.load(path)
    with pytest.raises(CheckpointError, match=facts("none.safetensors", "biastf-xr train")):
        BiaSTF.load(tmp_path / "none.safetensors")


def test_a_model_is_refused_by_cubes_it_does_not_fit(make_pair, fitted):
    with pytest.raises(CheckpointError, match=facts("['blue']", "['red', 'nir']")):
        biastf_xr.fuse(*make_pair(ratio=8, bands=("blue", "nir")), fitted)
    with pytest.raises(CheckpointError, match=facts("8.00", "4.00")):
        biastf_xr.fuse(*make_pair(ratio=4), fitted)


def test_weights_load_once_per_process(biased, fitted):
    load_networks.cache_clear()
    biastf_xr.fuse(*biased, fitted, dates="daily", tile=32).load(scheduler="synchronous")
    assert load_networks.cache_info().misses == 1


def test_no_bias_network_equals_the_direct_method(biased, random_model):
    model = random_model(ratio=8.0)
    zero = dataclasses.replace(model.card, scales=dict.fromkeys(model.card.bands, (1.0, 0.0)))
    silent = dataclasses.replace(model, card=zero)
    for day in ("2021-04-03", "2021-04-13"):
        a, b = (biastf_xr.fuse(*biased, m, dates=[day])["red"].values for m in (silent, "direct"))
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_true_bias_gives_an_exact_prediction(biased):
    from biastf_xr.methods.base import TwoSided
    from biastf_xr.methods.interpolation import Direct

    fine, coarse = biased
    truth = fine.isel(time=1)
    stacked = np.stack([truth[b].values for b in ("red", "nir")])

    @dataclasses.dataclass(frozen=True)
    class Oracle(Direct):
        def side(self, block, base):
            rows, cols = block.tile.slices
            plain = Direct.side(self, block, base)
            return plain + (stacked[None, :, rows, cols] - plain)

    assert issubclass(Oracle, TwoSided)
    made = biastf_xr.fuse(fine.isel(time=[0, 2]), coarse, Oracle(), dates=["2021-04-09"])
    np.testing.assert_allclose(made["nir"][0], truth["nir"], atol=1e-6)


def test_too_few_dates_are_refused_with_what_is_needed(biased):
    fine, coarse = biased
    with pytest.raises(MissingPairError, match=facts("two dates", "1: ['2021-04-01']", "'direct'")):
        biastf_xr.fit(fine.isel(time=[0]), coarse, "biastf", **QUICK)
    with pytest.raises(
        MissingPairError, match=facts("3 days", "'2021-04-01', '2021-04-09', '2021-04-17'")
    ):
        biastf_xr.fit(fine, coarse, "biastf", samples=SampleRule(max_pair_gap=3))


def test_pairs_without_a_common_clear_area_are_refused(biased):
    fine, coarse = biased[0].isel(time=[0, 1]).copy(deep=True), biased[1]
    for band in fine.data_vars:
        fine[band][0, :48] = np.nan
        fine[band][1, 48:] = np.nan
    told = r"too few clear pixels.*: 0 patches of 16 px.*at least 2 are needed.*load a.*'direct'"
    with pytest.raises(MissingPairError, match=told):
        biastf_xr.fit(fine, coarse, "biastf", **QUICK)


def test_a_diverging_loss_is_an_error(biased):
    rule = TrainRule(epochs=8, patience=8, learning_rate=1e12)
    with pytest.raises(MethodError, match=facts("band red", "nan", "epoch 1", "learning rate")):
        biastf_xr.fit(*biased, "biastf", **(QUICK | {"train": rule}))


def test_an_unknown_option_is_refused(biased):
    with pytest.raises(MethodError, match=facts("'biastf'", "epoch", "'train'")):
        biastf_xr.fit(*biased, "biastf", epoch=3)


def test_gaps_are_filled_for_the_network_from_their_neighbours():
    from biastf_xr.grid import Alignment, AxisMap, Tile, Upsampler

    alignment = Alignment(AxisMap(0.5, 0, 4), AxisMap(0.5, 0, 4), (8, 8))
    upsample = Upsampler(alignment, Tile(0, 8, 0, 8), Tile(0, 4, 0, 4))
    step = np.full((1, 4, 4), 2.0, "f4")
    step[0, 1, 1] = np.nan
    seen = upsample(step)
    assert np.isnan(seen).any()
    filled = fill_for_network(seen, step, upsample, "bilinear")
    np.testing.assert_allclose(filled, 2)
    nothing = np.full((1, 4, 4), np.nan, "f4")
    filled = fill_for_network(upsample(nothing), nothing, upsample, "bilinear")
    assert not filled.any()
