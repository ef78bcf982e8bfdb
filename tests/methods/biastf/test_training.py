"""The machinery of training: samples, dates, resumption, warm starts, who does the work."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import xarray as xr
from checks import facts, some

import biastf_xr
from biastf_xr.brackets import BracketRule
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.errors import CheckpointError, MethodError, MissingPairError
from biastf_xr.grid import Tile
from biastf_xr.methods._learning.card import Card, Layers, read_weights
from biastf_xr.methods._learning.dates import split_dates, training_pairs
from biastf_xr.methods._learning.files import read_card
from biastf_xr.methods._learning.loop import FitJob, run_job
from biastf_xr.methods._learning.patches import PatchReader, Site, draw_patches
from biastf_xr.methods._learning.pool import run_jobs
from biastf_xr.methods._learning.rules import SampleRule as SharedRule
from biastf_xr.methods.biastf import NetworkShape, SampleRule, TrainRule
from biastf_xr.methods.biastf._network import INPUTS
from biastf_xr.methods.biastf._samples import draw_samples

QUICK = {
    "network": NetworkShape(filters=(6, 4, 4)),
    "samples": SampleRule(patch=16, count=30),
    "train": TrainRule(epochs=3, patience=3, learning_rate=2e-3),
}


@pytest.fixture(scope="module")
def cubes(make_pair):
    """Cubes of seven dates whose fine sensor sees half of the change and adds texture to it."""
    fine, coarse = make_pair(shape=(80, 64), ratio=8, fine_days=range(0, 14, 2), seed=5)
    for band in coarse.data_vars:
        coarse[band][:] *= 0.3
        seen = np.repeat(np.repeat(coarse[band].values[::2][:7, 1:-1, 1:-1], 8, 1), 8, 2)
        base = fine[band][0].values
        fine[band][:] = base * (1 + 0.2 * (seen - seen[0])) + (seen - seen[0]) / 2
    return fine, coarse


# Dates.


def day(n):
    return np.datetime64("2021-04-01") + n


def pairs_of(cubes, **rule):
    made = training_pairs(pair_cubes(*cubes), SharedRule(**rule), BracketRule())
    return [tuple((d - day(0)).astype(int) for d in pair) for pair in made]


def test_training_pairs_are_those_of_the_option(cubes):
    target = "2021-04-07"  # day 6, a fine date
    everything = pairs_of(cubes)
    assert len(everything) == 21
    others = pairs_of(cubes, target=target)
    assert len(others) == 15
    assert all(6 not in pair for pair in others)
    assert pairs_of(cubes, dates="flanking", target=target) == [(4, 8)]
    assert pairs_of(cubes, dates="earlier", target=target) == [(0, 2), (2, 4)]
    with pytest.raises(MissingPairError, match=facts("2021-04-01", "2021-04-03", "load_method")):
        pairs_of(cubes, dates="flanking", target="2021-04-01")
    with pytest.raises(MethodError, match=facts("'earlier'", "`target`", "'all'")):
        SampleRule(dates="earlier")


def test_the_target_s_fine_image_is_never_used(cubes):
    fine, coarse = cubes
    poisoned = fine.copy(deep=True)
    for band in poisoned.data_vars:
        poisoned[band][3] = 0.9
    for rule in ({"dates": "flanking"}, {"dates": "earlier"}, {"dates": "all"}):
        samples = SampleRule(patch=16, count=20, target="2021-04-07", **rule)
        a, b = (
            biastf_xr.fit(f, coarse, "biastf", **(QUICK | {"samples": samples}))
            for f in (fine, poisoned)
        )
        assert a.sha256 == b.sha256
        assert "2021-04-07" not in a.describe()["trained_on"]


def test_dates_are_held_out_where_there_are_enough():
    groups = [(day(i), day(j)) for i in range(7) for j in range(i + 1, 7)]
    kept, others = split_dates(groups, 0.2, np.random.default_rng(0))
    (held,) = {d for g in others for d in g if all(d in o for o in others)}
    assert len(kept) == 15
    assert len(others) == 6
    assert not any(held in g for g in kept)
    few = groups[:3]
    assert split_dates(few, 0.2, np.random.default_rng(0)) == (few, few)
    assert split_dates(groups, 0.0, np.random.default_rng(0)) == (groups, groups)


# Samples.


def draw(cubes, inputs="change", **rule):
    rule = {"patch": 16, "count": 40} | rule
    return draw_samples(
        pair_cubes(*cubes), SampleRule(**rule), halo=3, upsampling="bilinear",
        base_rule=BracketRule(), seed=0, inputs=inputs,
    )  # fmt: skip


def test_hold_out_is_of_other_places_and_other_dates(cubes):
    pair = pair_cubes(*cubes)
    reader = PatchReader(pair, 16, 0)
    rule = SampleRule(patch=16, count=60, hold_out_block=2)
    drawn = draw_patches(
        reader, training_pairs(pair, rule, BracketRule()), rule, lambda p: p, seed=3
    )
    sites = [site for site, _ in drawn]
    learned = {d for s in sites if not s.held_out for d in s.days}
    assert all(set(s.days) - learned for s in some([s for s in sites if s.held_out]))
    marks = np.zeros((2, *pair.alignment.shape), bool)
    for site in sites:
        marks[int(site.held_out), *site.tile.slices] = True
    assert not (marks[0] & marks[1]).any()
    assert marks.any((1, 2)).all()


def test_samples_hold_both_images_where_they_go_in(cubes):
    drawn = draw(cubes, "change+fine+coarse")
    np.testing.assert_allclose(drawn.coarse[:, 1] - drawn.coarse[:, 0], drawn.change, atol=1e-6)
    inner = drawn.fine[..., 3:-3, 3:-3]
    np.testing.assert_allclose(
        inner[:, 1] - inner[:, 0] - drawn.change[..., 3:-3, 3:-3], drawn.bias, atol=1e-6
    )
    assert np.isfinite(drawn.fine).all()
    assert draw(cubes).fine is None


def test_balance_evens_out_how_much_has_changed(make_pair):
    fine, coarse = make_pair(shape=(160, 160), ratio=8, fine_days=(0, 4, 8), seed=2)
    for band in coarse.data_vars:
        coarse[band][:] = 0.2 + 0.002 * (coarse[band].values - 0.26)
        coarse[band][8, :6] += 0.2  # a few places change a lot
    sizes = {
        balance: np.abs(draw((fine, coarse), count=100, balance=balance).change).mean((1, 2, 3))
        for balance in ("none", "change")
    }
    shares = {k: (v > 0.05).mean() for k, v in sizes.items()}
    assert shares["change"] > 1.4 * shares["none"]
    assert 0.3 < shares["change"] < 0.95


class Watched(xr.backends.BackendArray):
    """An image series that notes how much of it is asked for at once."""

    def __init__(self, values, seen):
        self.values, self.seen = values, seen
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, key):
        return xr.core.indexing.explicit_indexing_adapter(
            key, self.shape, xr.core.indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key):
        part = self.values[key]
        self.seen.append(part.size)
        return part


def watched(ds, seen):
    lazy = {
        band: (ds[band].dims, xr.core.indexing.LazilyIndexedArray(Watched(ds[band].values, seen)))
        for band in ds.data_vars
    }
    return xr.Dataset(lazy, coords=ds.coords)


def test_only_windows_are_read(make_pair):
    fine, coarse = make_pair(shape=(600, 560), ratio=8, fine_days=(0, 4, 8), bands=("nir",), seed=2)
    pair = pair_cubes(fine, coarse)
    seen = {"fine": [], "coarse": []}
    lazy = type(pair)(
        watched(fine, seen["fine"]), watched(coarse, seen["coarse"]), pair.bands, pair.geobox,
        pair.alignment, fine,
    )  # fmt: skip
    reader = PatchReader(lazy, 32, 7, fine_halo=7)
    rule = SampleRule(count=60)
    groups = [(day(0), day(4)), (day(0), day(8)), (day(4), day(8))]
    drawn = draw_patches(reader, groups, rule, lambda patch: patch, seed=0)
    assert len(drawn) >= 60
    assert max(seen["fine"]) <= (256 + 32 + 14) ** 2 < fine["nir"][0].size
    assert max(seen["coarse"]) < coarse["nir"][0].size
    assert len(seen["fine"]) <= 3 * 9 * 2  # every window of every date, but for a second round
    whole = PatchReader(pair, 32, 7, fine_halo=7)
    for site, patch in drawn[:5]:
        same = whole.read(site)
        np.testing.assert_array_equal(same.fine, patch.fine)
        np.testing.assert_array_equal(same.coarse, patch.coarse)
        at = site.tile
        inner = fine["nir"].sel(time=site.days[0].astype("datetime64[ns]")).values[at.slices]
        np.testing.assert_array_equal(patch.fine[0, 0, 7:-7, 7:-7], inner)


# One network.


def job(epochs=4, state=None, precision="fp32", **changes):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 1, 1, 14, 14)).astype("f4")
    given = {
        "name": "nir",
        "layers": Layers((1, 4, 1), (3, 3)),
        "inputs": np.concatenate([x, -x], 1),
        "targets": np.concatenate([x, -x], 1)[..., 2:-2, 2:-2] * np.float32(0.5),
        "held_out": np.arange(20) % 4 == 0,
        "rule": TrainRule(epochs=epochs, learning_rate=5e-3, batch=4, precision=precision),
        "seed": 1,
        "state": state,
    }
    return FitJob(**(given | changes))


def same(a, b):
    return all(np.array_equal(a.weights[n], b.weights[n]) for n in a.weights)


def test_bfloat16_takes_the_same_path_and_learns_alike():
    plain, half = run_job(job(12)), run_job(job(12, precision="bf16"))
    assert not same(plain, half)
    assert half.weights["0.weight"].dtype == np.float32
    assert half.history[-1][1] == pytest.approx(plain.history[-1][1], rel=0.2)
    assert plain.history[-1][1] < 0.7
    with pytest.raises(MethodError, match=facts("'fp16'", "'cpu'", "'cuda'")):
        TrainRule(precision="fp16")


def test_float16_leaves_no_step_out():
    level = np.random.default_rng(0).normal(size=(20, 1, 1, 1, 1)).astype("f4")
    x = level + np.zeros((20, 2, 1, 14, 14), "f4")  # gradients of alike pixels add up
    data = {"inputs": x, "targets": x[..., 2:-2, 2:-2]}
    rule = TrainRule(epochs=3, learning_rate=5e-3, batch=4)
    object.__setattr__(rule, "precision", "fp16")  # refused on a processor, for its slowness
    plain, half = run_job(job(3, **data)), run_job(job(rule=rule, **data))
    assert not same(plain, half)
    np.testing.assert_allclose(half.history, plain.history, rtol=0.01)


def test_errors_of_the_held_out_are_those_of_the_weights_kept():
    made = run_job(job(6))
    best = min(held for _, held in made.history)
    targets = job().targets[job().held_out]
    assert np.isnan(made.errors[~job().held_out]).all()
    assert np.nanmean(made.errors) == pytest.approx(best * np.mean(targets**2), rel=1e-5)


def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(tmp_path):
    class KilledError(Exception):
        pass

    def kill(name, epoch, fitted, held):
        if epoch == 2:
            raise KilledError

    whole = run_job(job(6))
    state = tmp_path / "nir.pt"
    with pytest.raises(KilledError):
        run_job(job(6, state), kill)
    epochs = []
    again = run_job(job(6, state), lambda *told: epochs.append(told[1]))
    assert epochs == [3, 4, 5, 6]
    assert same(whole, again)
    assert again.history == whole.history
    state.write_bytes(state.read_bytes()[:100])
    assert same(whole, run_job(job(6, state)))
    other = run_job(job(6, state, seed=2))
    assert len(other.history) == 6
    assert not same(whole, other)


def test_threads_and_a_client_give_the_same_bytes():
    jobs = [job(3, name=n, seed=s) for s, n in enumerate(("red", "nir", "blue"))]
    heard = []

    class Client:
        def scatter(self, value, **_):
            return value

        def submit(self, function, *given, **_):
            return function, given

        def gather(self, futures):
            with ThreadPoolExecutor(1) as pool:
                return [pool.submit(function, *given).result() for function, given in futures]

    before = torch.get_num_threads()
    here = run_jobs(jobs, progress=lambda *told: heard.append(told[:2]))
    there = run_jobs(jobs, client=Client(), progress=lambda *told: heard.append(told[:2]))
    assert torch.get_num_threads() == before
    assert list(here) == ["red", "nir", "blue"]
    assert all(same(here[n], there[n]) for n in here)
    assert sorted(heard[:9]) == sorted(heard[9:])


def test_one_failure_stops_the_others_and_is_what_is_raised():
    heard = []

    def progress(name, epoch, fitted, held):
        heard.append(epoch)
        if name == "red":
            raise ZeroDivisionError("the reason")

    with pytest.raises(ZeroDivisionError, match="the reason"):
        run_jobs([job(3000, name="nir"), job(3000, name="red", seed=3)], progress=progress)
    assert max(heard) < 2000


# A whole fit.


def test_an_interrupted_fit_ends_with_the_same_bytes(cubes, tmp_path):
    whole = biastf_xr.fit(*cubes, "biastf", path=tmp_path / "whole.safetensors", **QUICK)
    path = tmp_path / "model.safetensors"

    def kill(note, done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        biastf_xr.fit(*cubes, "biastf", path=path, progress=kill, **QUICK)
    assert not path.exists()
    assert list((tmp_path / ".model.safetensors.fit").glob("*.pt"))
    first = []
    made = biastf_xr.fit(
        *cubes, "biastf", path=path, progress=lambda *told: first.append(told[1]), **QUICK
    )
    assert min(first) > 1
    assert path.read_bytes() == whole.checkpoint.read_bytes()
    assert made.sha256 == whole.sha256
    assert not (tmp_path / ".model.safetensors.fit").exists()


def test_the_card_and_its_copy_tell_what_made_the_model(cubes, tmp_path):
    path = tmp_path / "model.safetensors"
    model = biastf_xr.fit(*cubes, "biastf", path=path, denoise=0.5, **QUICK)
    card = model.card
    assert card.format == 2
    assert card.method == "biastf"
    assert card.data["grid"].startswith("EPSG:32755, 80 x 64 px of 30")
    assert card.data["fine_days"] == ("2021-04-01", "2021-04-13", 7)
    assert card.data["samples"] > card.data["held_out"] > 0
    assert len(card.data["samples_sha256"]) == 64
    assert len(card.data["held_out_days"]) == 1
    assert set(card.laws) == {"red", "nir"}
    assert card.settings["denoise"] == model.denoise == 0.5
    told = json.loads((tmp_path / "model.safetensors.json").read_text())
    assert told["sha256"] == model.sha256
    assert told["seconds"] > 0
    moved = model.save(tmp_path / "kept" / "m.safetensors")
    assert (tmp_path / "kept" / "m.safetensors.json").exists()
    assert moved.sha256 == model.sha256
    assert moved.plot_history(tmp_path / "losses.png").read_bytes()[:4] == b"\x89PNG"


def test_a_card_of_the_first_format_is_read(random_model, tmp_path):
    from safetensors.torch import load_file, save_file

    model = random_model()
    new = ("method", "inputs", "channels", "outputs", "laws", "data", "start", "notes")
    fields = {k: v for k, v in model.card.__dict__.items() if k not in new} | {"format": 1}
    path = tmp_path / "old.safetensors"
    save_file(load_file(model.checkpoint), path, metadata={"card": json.dumps(fields)})
    old = biastf_xr.load_method(path)
    assert old.card.inputs == "change"
    assert old.halo == model.halo


@pytest.mark.parametrize("inputs", INPUTS)
def test_every_input_is_fitted_and_fuses(cubes, inputs):
    shape = NetworkShape(filters=(6, 4, 4), inputs=inputs)
    model = biastf_xr.fit(*cubes, "biastf", weights="learned", **(QUICK | {"network": shape}))
    assert model.describe()["inputs"] == inputs
    made = biastf_xr.fuse(*cubes, model, dates=["2021-04-04"]).load()
    assert np.isfinite(made["nir"]).all()
    assert all(losses[-1][0] < 1 for losses in model.card.history.values())


def test_workers_of_a_cluster_give_the_same_bytes(cubes):
    from biastf_xr.cluster import connect

    here = biastf_xr.fit(*cubes, "biastf", **QUICK)
    with connect(workers=1, threads=2) as client:
        there = biastf_xr.fit(*cubes, "biastf", client=client, **QUICK)
    assert there.sha256 == here.sha256


# Warm starts.


@pytest.fixture(scope="module")
def first(cubes):
    return biastf_xr.fit(*cubes, "biastf", **QUICK)


def test_a_warm_start_refines_and_is_recorded(cubes, first):
    rule = TrainRule(epochs=1, learning_rate=1e-9)
    again = biastf_xr.fit(*cubes, "biastf", start=first.checkpoint, **(QUICK | {"train": rule}))
    assert again.card.start["sha256"] == first.sha256
    assert again.card.scales == first.card.scales
    _, begun = read_weights(str(first.checkpoint), first.sha256)
    _, ended = read_weights(str(again.checkpoint), again.sha256)
    for name, value in begun["nir"].items():
        torch.testing.assert_close(ended["nir"][name], value, atol=1e-6, rtol=0)
    best = min(held for _, held in first.card.history["nir"])
    assert again.card.history["nir"][0][1] == pytest.approx(best, rel=1e-3)


def test_dates_that_the_first_model_saw_of_the_same_ground_stay_seen(cubes, first, make_pair):
    fine, coarse = cubes
    some = fine.isel(time=slice(0, 3))
    again = biastf_xr.fit(some, coarse, "biastf", start=first.checkpoint, **QUICK)
    assert set(again.describe()["trained_on"]) == set(first.card.days)
    moved = [ds.assign_coords(x=ds.x + 1e5) for ds in (some, coarse)]
    elsewhere = biastf_xr.fit(*moved, "biastf", start=first.checkpoint, **QUICK)
    assert len(elsewhere.describe()["trained_on"]) == 3


def test_a_start_that_does_not_fit_is_refused(cubes, first, make_pair):
    wide = QUICK | {"network": NetworkShape(filters=(8, 4, 4))}
    with pytest.raises(
        CheckpointError, match=facts("biastf.safetensors", "filters", (6, 4, 4), (8, 4, 4))
    ):
        biastf_xr.fit(*cubes, "biastf", start=first.checkpoint, **wide)
    seeing = QUICK | {"network": NetworkShape(filters=(6, 4, 4), inputs="change+fine")}
    with pytest.raises(CheckpointError, match=facts("inputs", "'change'", "'change+fine'")):
        biastf_xr.fit(*cubes, "biastf", start=first.checkpoint, **seeing)
    with pytest.raises(CheckpointError, match=facts("bands", ("red", "nir"), ("nir",))):
        biastf_xr.fit(*(ds[["nir"]] for ds in cubes), "biastf", start=first.checkpoint, **QUICK)
    with pytest.raises(CheckpointError, match=facts("biastf.safetensors", "8.00", "4.00")):
        biastf_xr.fit(*make_pair(ratio=4), "biastf", start=first.checkpoint, **QUICK)


# Bad input.


def test_a_constant_band_is_left_without_a_network_and_said_so(cubes):
    fine, coarse = (ds.copy(deep=True) for ds in cubes)
    fine["red"][:] = 0.1
    coarse["red"][:] = 0.1
    with pytest.warns(UserWarning, match="network red"):
        model = biastf_xr.fit(fine, coarse, "biastf", **QUICK)
    card, _ = read_card(model.checkpoint, Card)
    assert set(card.notes) == {"red"}
    assert not card.history["red"]
    assert len(card.history["nir"]) > 0
    made = biastf_xr.fuse(fine, coarse, model, dates=["2021-04-04"])
    np.testing.assert_allclose(made["red"], 0.1, atol=1e-6)


def test_a_site_has_a_place_in_the_order_of_reading():
    reader = PatchReader(None, 32, 0)
    corners = ((300, 0), (0, 300), (0, 0))
    sites = [Site((day(0),), Tile(y, y + 32, x, x + 32), held_out=False) for y, x in corners]
    assert sorted(sites, key=reader.order) == sites[::-1]


def test_a_patch_is_held_out_however_few_there_are(cubes):
    few = QUICK | {"samples": SampleRule(patch=16, count=2, hold_out_block=40)}
    model = biastf_xr.fit(*cubes, "biastf", **few)
    assert model.card.data["samples"] > model.card.data["held_out"] >= 1
    assert np.isfinite(list(model.card.history.values())).all()
