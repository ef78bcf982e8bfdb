"""The paper's protocol end to end, on downloads with real names and headers, and smaller images."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from checks import facts, some
from envi_files import envi, write_download
from typer.testing import CliRunner

from biastf_xr.cli._app import app
from biastf_xr.cli._paper import method_options
from biastf_xr.cube._encoding import round_mantissa
from biastf_xr.errors import (
    ConfigError,
    CubeExistsError,
    FusionRunError,
    MethodError,
    SceneError,
)
from biastf_xr.methods import METHODS, fit
from biastf_xr.methods.biastf import NetworkShape, SampleRule, TrainRule
from biastf_xr.paper import _paper as paper
from biastf_xr.paper import benchmark_sets
from biastf_xr.paper._inputs import expected_file, find_download
from biastf_xr.paper._paper import run_paper
from biastf_xr.paper._protocol import CROPS, Cell, PaperProtocol
from biastf_xr.paper._published import published
from biastf_xr.paper._tables import beside_published, measure_tables
from biastf_xr.paper.benchmark_sets import COLOURS, SETS

SHAPE = (120, 100)
TINY = {
    "network": NetworkShape(filters=(2, 2, 2)),
    "samples": SampleRule(count=12, patch=16),
    "train": TrainRule(epochs=1),
}
TINY_FLAGS = [
    "--set", "biastf.network.filters=[2, 2, 2]", "--set", "biastf.samples.count=12",
    "--set", "biastf.samples.patch=16", "--set", "biastf.train.epochs=1",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small():
    """Make the sets small."""
    with pytest.MonkeyPatch.context() as patch:
        tiny = {name: replace(about, shape=SHAPE) for name, about in SETS.items()}
        patch.setattr(benchmark_sets, "SETS", tiny)
        yield


def days_of(dataset, *pairs):
    return [SETS[dataset].dates[p - 1] for p in pairs]


@pytest.fixture(scope="module")
def cia(tmp_path_factory):
    """Return a download of CIA with pairs 9 to 12, and its numbers."""
    root = tmp_path_factory.mktemp("cia")
    return root, write_download(root, "cia", SHAPE, days_of("cia", 9, 10, 11, 12))


@pytest.fixture(scope="module")
def run(cia, tmp_path_factory):
    """Run two targets of CIA by the library, once."""
    protocol = PaperProtocol(
        dataset="cia", methods=("linear", "direct", "biastf"), targets=(10, 11),
        options={"biastf": TINY},
    )  # fmt: skip
    return run_paper(cia[0], tmp_path_factory.mktemp("out"), protocol)


def reflectance(numbers):
    values = numbers.astype(np.float32) * np.float32(1e-4)
    return round_mantissa(np.where(numbers < 0, np.float32(np.nan), values))


def scores_of(made, true):
    """Score in plain numpy, from the definitions."""
    good = np.isfinite(made).all(0) & np.isfinite(true).all(0)
    p, r = made[:, good].astype(float), true[:, good].astype(float)
    rmse = np.sqrt(((p - r) ** 2).mean(1))
    found = {("RMSE", b): v for b, v in zip(COLOURS, rmse, strict=True)}
    found |= {("CC", b): np.corrcoef(*x)[0, 1] for b, *x in zip(COLOURS, p, r, strict=True)}
    for b, x, y in zip(COLOURS, p, r, strict=True):
        cov = np.cov(x, y, ddof=0)
        found["SSIM", b] = (
            (2 * x.mean() * y.mean() + 1e-4) * (2 * cov[0, 1] + 9e-4)
            / ((x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (cov[0, 0] + cov[1, 1] + 9e-4))
        )  # fmt: skip
    for m in ("RMSE", "CC", "SSIM"):
        found[m, "mean"] = np.mean([found[m, b] for b in COLOURS])
    found["ERGAS", "mean"] = 5 * np.sqrt(((rmse / r.mean(1)) ** 2).mean())
    cosine = (p * r).sum(0) / np.linalg.norm(p, axis=0) / np.linalg.norm(r, axis=0)
    found["SAM", "mean"] = np.arccos(np.clip(cosine, -1, 1)).mean()
    return found


@pytest.mark.parametrize("dataset", ["cia", "lgc"])
@pytest.mark.parametrize("sensor", ["landsat", "modis"])
def test_expected_files_are_those_of_the_download(dataset, sensor):
    about = SETS[dataset]
    assert expected_file(dataset, sensor, about.dates[0]) == about.example[sensor]
    for day in about.dates:
        match = re.fullmatch(about.pattern[sensor], expected_file(dataset, sensor, day))
        date = np.datetime64(match["year"]) + np.timedelta64(int(match["doy"]) - 1, "D")
        assert str(date.astype("datetime64[D]")) == day


def test_linear_equals_a_computation_by_hand(run, cia):
    t1, t2, t3 = (np.datetime64(d) for d in days_of("cia", 9, 10, 11))
    f1, f2, f3 = (reflectance(cia[1][str(t)][0]) for t in (t1, t2, t3))
    share = (t2 - t1) / (t3 - t1)
    want = scores_of(f1 + np.float32(share) * (f3 - f1), f2)
    part = run.scores[(run.scores["pair"] == 10) & (run.scores["method"] == "linear")]
    got = {(r.measure, r.band): r.value for r in part.itertuples()}
    assert set(got) == set(want)
    for key, value in want.items():
        assert got[key] == pytest.approx(value, rel=1e-3), key
    assert set(part["pixels"]) == {SHAPE[0] * SHAPE[1] - 5}
    assert set(part["date"]) == {"2002-02-22"}


def test_learned_method_is_fitted_on_the_flanking_pair(run):
    made = json.loads((run.folder / "cells" / "11_biastf.json").read_text())
    assert made["made_by"]["trained_on"] == days_of("cia", 10, 12)
    keep = np.isin(run.fine["time"].values.astype("datetime64[D]").astype(str),
                   days_of("cia", 10, 12))  # fmt: skip
    rest = run.fine.isel(time=keep)
    again = fit(rest, run.coarse, "biastf", **TINY)
    from biastf_xr.fusion import fuse

    image = fuse(rest, run.coarse, again, dates=days_of("cia", 11)).isel(time=0)
    kept = run.prediction(11, "biastf")
    for band in COLOURS:
        np.testing.assert_allclose(kept[band], image[band], rtol=2**-12, atol=1e-7)
    assert kept.odc.geobox == run.fine.odc.geobox


def test_published_values_stand_beside(run):
    table = beside_published(run).set_index(["pair", "measure", "band", "method"])
    for row in published("cia").itertuples():
        if row.pair in (10, 11):
            assert (
                table.loc[(row.pair, row.measure, row.band, row.method), "published"] == row.value
            )
    cell = table.loc[(10, "RMSE", "nir", "biastf")]
    assert cell["published"] == 0.0286
    assert cell["difference"] == pytest.approx(cell["value"] - 0.0286)
    assert cell["ratio"] == pytest.approx(cell["value"] / 0.0286)
    assert np.isnan(table.loc[(10, "RMSE", "nir", "stfdcnn"), "value"])
    assert np.isnan(table.loc[(10, "RMSE", "nir", "linear"), "published"])


def test_tables_have_the_layout_of_the_paper(run):
    found = {b.title: b for b in measure_tables(run)}
    assert len(found) == 10
    dates = found["Table 2a, CIA, ERGAS"]
    assert list(dates.ours.index) == ["10 2002-02-22", "11 2002-03-10", "mean of 2"]
    assert list(dates.ours.columns[:4]) == ["estarfm", "fsdaf", "stfdcnn", "biastf"]
    assert dates.paper.loc["11 2002-03-10", "biastf"] == 0.8131
    assert dates.paper.loc["mean of 2", "fsdaf"] == pytest.approx((0.8097 + 0.9474) / 2)
    bands = found["Table 3, CIA, pair 10, RMSE"]
    assert list(bands.ours.index) == [*COLOURS, "mean of 6"]
    ours = bands.ours.loc["mean of 6", "linear"]
    assert ours == pytest.approx(dates_value(run, "linear", "RMSE"))
    lines = dates.lines()
    assert [what for _, what, *_ in lines[:4]] == ["project", "paper", "difference", "ratio"]
    _, _, texts, best = lines[1]
    assert texts[3] == "0.7720"
    assert best.index(True) == 3
    _, _, texts, best = lines[0]
    values = {m: float(t) for m, t in zip(dates.ours.columns, texts, strict=True) if t}
    assert dates.ours.columns[best.index(True)] == min(values, key=values.get)


def dates_value(run, method, measure):
    s = run.scores
    keep = (s["pair"] == 10) & (s["method"] == method) & (s["measure"] == measure)
    return s[keep & (s["band"] == "mean")]["value"].item()


def test_finished_results_are_kept_and_others_refused(run, cia, monkeypatch):
    def never(*_, **__):
        raise AssertionError("computed anew")

    with monkeypatch.context() as patch:
        patch.setattr(paper, "_make", never)
        again = run_paper(cia[0], run.folder, run.protocol)
    assert (len(again.made), len(again.kept)) == (0, 6)
    pd.testing.assert_frame_equal(again.scores, run.scores)
    other = replace(run.protocol, options={"direct": {"window": 5}}, methods=("linear", "direct"))
    with pytest.raises(
        CubeExistsError, match=facts("2 results", "10_direct", "options", "--revise")
    ):
        run_paper(cia[0], run.folder, other)
    (run.folder / "cells" / "10_linear.json").unlink()
    again = run_paper(cia[0], run.folder, replace(run.protocol, methods=("linear",)))
    assert again.made == (Cell(10, "linear"),)
    assert again.kept == (Cell(11, "linear"),)


def test_interrupted_run_goes_on(cia, tmp_path, monkeypatch):
    protocol = PaperProtocol(dataset="cia", methods=("nearest", "linear"), targets=(10,))
    write = paper._write_prediction

    def stop(path, image):
        if "linear" in path.name:
            raise KeyboardInterrupt
        write(path, image)

    with monkeypatch.context() as patch:
        patch.setattr(paper, "_write_prediction", stop)
        with pytest.raises(KeyboardInterrupt):
            run_paper(cia[0], tmp_path, protocol)
    steps = []
    rest = run_paper(cia[0], tmp_path, protocol, progress=lambda *step: steps.append(step))
    assert (rest.kept, rest.made) == ((Cell(10, "nearest"),), (Cell(10, "linear"),))
    assert steps == [("predict", 0, 1, "2002-02-22 linear"), ("predict", 1, 1, "")]


def test_target_is_out_of_reach(tmp_path):
    """Another fine image of the target changes the scores, and no pixel of the predictions."""
    days = days_of("lgc", 1, 2, 3, 4)
    images = write_download(tmp_path / "a", "lgc", SHAPE, days)
    protocol = PaperProtocol(
        dataset="lgc", methods=("biastf",), targets=(3,), training="earlier",
        options={"biastf": TINY},
    )  # fmt: skip
    first = run_paper(tmp_path / "a", tmp_path / "out", protocol)
    before = first.prediction(3, "biastf").load()
    poison = images[days[2]][0][:, ::-1].copy()
    envi(tmp_path / "a" / expected_file("lgc", "landsat", days[2]), poison, "bsq")
    path = tmp_path / "a" / expected_file("lgc", "landsat", days[2])
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 10))
    with pytest.raises(CubeExistsError, match=facts("1 results", "03_biastf", "files", "--revise")):
        run_paper(tmp_path / "a", tmp_path / "out", protocol)
    second = run_paper(tmp_path / "a", tmp_path / "out", protocol, revise=True)
    assert second.made == (Cell(3, "biastf"),)
    after = second.prediction(3, "biastf").load()
    for band in COLOURS:
        np.testing.assert_array_equal(before[band], after[band])
    assert (first.scores["value"].to_numpy() != second.scores["value"].to_numpy()).all()
    made = json.loads((tmp_path / "out" / "cells" / "03_biastf.json").read_text())
    assert made["made_by"]["trained_on"] == days[:2]


def test_one_pair_methods_see_the_earlier_pair_only(cia, tmp_path):
    protocol = PaperProtocol(
        dataset="cia", methods=("nearest",), targets=(11,), one_pair=("nearest",)
    )
    assert protocol.bases(11, "nearest") == tuple(days_of("cia", 10))
    assert protocol.bases(11, "linear") == tuple(days_of("cia", 10, 12))
    assert PaperProtocol(dataset="cia").bases(11, "fsdaf") == tuple(days_of("cia", 10))
    image = run_paper(cia[0], tmp_path, protocol).prediction(11, "nearest")["nir"].values
    # Pair 12 is nearer in time.
    np.testing.assert_allclose(image, reflectance(cia[1][days_of("cia", 10)[0]][0])[3], rtol=2**-12)


def test_training_dates_of_every_reading():
    protocol = PaperProtocol(dataset="cia", training="earlier")
    assert protocol.trained_on(8) == SETS["cia"].dates[:7]
    assert replace(protocol, training="flanking").trained_on(8) == tuple(days_of("cia", 7, 9))
    others = replace(protocol, training="others").trained_on(8)
    assert len(others) == 16
    assert "2002-01-12" not in others
    assert protocol.targets == tuple(range(8, 15))
    assert PaperProtocol(dataset="lgc").targets == tuple(range(7, 14))
    assert protocol.methods == METHODS


def test_crop_and_delivered_pixels(cia, tmp_path, monkeypatch):
    monkeypatch.setitem(CROPS, "cia", (20, 10, 60, 80))
    protocol = PaperProtocol(
        dataset="cia", methods=("direct",), targets=(10,), crop=True, coarse="delivered"
    )
    got = run_paper(cia[0], tmp_path, protocol)
    assert got.prediction(10, "direct")["red"].shape == (60, 80)
    assert set(got.scores["pixels"]) == {60 * 80}
    assert got.coarse.sizes["x"] == SHAPE[1]
    monkeypatch.setitem(CROPS, "cia", (20, 10, 600, 80))
    with pytest.raises(ConfigError, match=facts("620", "90", "120", "100")):
        run_paper(cia[0], tmp_path / "b", replace(protocol, coarse="native"))


def test_wrong_downloads_are_told(cia, tmp_path):
    with pytest.raises(SceneError, match="nowhere"):
        find_download("cia", tmp_path / "nowhere", ["2002-02-22"])
    with pytest.raises(
        SceneError,
        match=facts("landsat", "LGC/Landsat/2004_107_Apr16/20040416_TM.int", "datasets lgc"),
    ):
        find_download("lgc", cia[0], ["2004-12-12"])
    days = days_of("cia", 9, 10, 11)
    write_download(tmp_path, "cia", SHAPE, days)
    missing = expected_file("cia", "modis", days[1])
    (tmp_path / missing).unlink()
    short = tmp_path / expected_file("cia", "landsat", days[0])
    short.write_bytes(short.read_bytes()[:-100])
    envi(tmp_path / expected_file("cia", "landsat", days[1]), np.ones((6, 9, 8), "i2"), "bil")
    headless = tmp_path / expected_file("cia", "modis", days[2])
    headless.with_name(headless.name + ".hdr").unlink()
    wrong = (f"{missing} (modis, 2002-02-22)", "143,900", "144,000", (9, 8), (120, 100), ".hdr")
    with pytest.raises(SceneError, match=facts("4 files of CIA", *wrong)):
        run_paper(tmp_path, tmp_path / "out", PaperProtocol(dataset="cia", targets=(10,)))
    assert not (tmp_path / "out").exists()


def test_impossible_protocols_are_refused():
    for options, message in (
        ({"dataset": "ahb"}, "ahb"),
        ({"dataset": "cia", "targets": (17,)}, facts("target 17", "cia", "2 to 16")),
        ({"dataset": "cia", "methods": ("kriging",)}, facts("'kriging'", "'starfm'")),
        ({"dataset": "cia", "methods": ()}, facts("method", "'starfm'")),
        (
            {"dataset": "cia", "training": "all"},
            facts("training", "'all'", "['flanking', 'earlier', 'others']"),
        ),
        (
            {"dataset": "cia", "coarse": "fine"},
            facts("coarse", "'fine'", "['native', 'delivered']"),
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            PaperProtocol(**options)


def test_options_reach_their_methods():
    given = {
        "biastf": {"train": {"epochs": 3, "batch": 2}, "weight_window": 5},
        "starfm": {"similarity": "all"}, "fsdaf": {"seed": 7},
    }  # fmt: skip
    got = method_options(["biastf", "starfm", "linear", "fsdaf"], given)
    assert got["fsdaf"] == {"seed": 7}
    assert got["biastf"] == given["biastf"]
    assert got["starfm"] == {"similarity": "all"}
    assert got["linear"] == {}
    for wrong, error, message in (
        ({"efast": {"window": 5}}, ConfigError, facts("efast", "['biastf', 'starfm']")),
        ({"starfm": {"windows": 5}}, MethodError, facts("'starfm'", "windows", "'window'")),
        ({"biastf": {"train": {"epoch": 5}}}, MethodError, facts("'biastf'", "train.epoch")),
        ({"starfm": {"precision": "fp16"}}, MethodError, facts("'starfm'", "precision")),
    ):
        with pytest.raises(error, match=message):
            method_options(["biastf", "starfm"], wrong)


def test_command_prints_both_results_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    root, out = tmp_path / "download", tmp_path / "out"
    write_download(root, "lgc", SHAPE, days_of("lgc", 7, 8, 9))
    call = ["paper", "--dataset", "lgc", "--root", str(root), "--output", str(out), "--target", "8",
            "--method", "direct", "--method", "fsdaf", "--method", "biastf",
            "--set", "fsdaf.window=11", *TINY_FLAGS]  # fmt: skip
    done = CliRunner().invoke(app, call, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "Table 2b, LGC, RMSE" in done.output
    assert "Table 4, LGC, pair 8, SSIM" in done.output
    assert "3 results computed, 0 kept" in done.output
    assert "inferred" in done.output
    table = pd.read_csv(out / "paper_lgc.csv")
    twin = json.loads((out / "paper_lgc.json").read_text())
    assert len(twin["table"]) == len(table)
    assert twin["protocol"]["targets"] == {"8": "2004-12-12"}
    row = table[(table.measure == "SAM") & (table.method == "biastf")]
    assert row["published"].item() == 0.2156
    text = f"{row['value'].item():.4f}"
    assert text in done.output
    assert text in (out / "paper_lgc.md").read_text()
    assert "0.2156" in done.output
    names = sorted(p.name for p in (out / "figures").iterdir())
    assert names == ["08_bias_nir.png", "08_predictions.png", "08_residuals_nir.png"]

    kept = {p: p.stat().st_mtime_ns for p in (out / "cells").rglob("*") if p.is_file()}
    done = CliRunner().invoke(app, [*call, "--set", "paper.figures=false"], catch_exceptions=False)
    assert "0 results computed, 3 kept" in done.output
    assert kept == {p: p.stat().st_mtime_ns for p in some(kept)}
    (root / expected_file("lgc", "modis", "2004-12-12")).unlink()
    with pytest.raises(
        SceneError, match=facts("1 files", "LGC/MODIS/2004_347_Dec12/MOD09GA_A2004347.sur_refl.int")
    ):
        CliRunner().invoke(app, call, catch_exceptions=False)


def test_method_that_cannot_do_it_does_not_stop_the_others(cia, tmp_path):
    call = ["paper", "--dataset", "cia", "--root", str(cia[0]), "--output", str(tmp_path),
            "--target", "10", "--method", "fsdaf", "--method", "linear",
            "--set", "paper.coarse=delivered", "--set", "paper.figures=false"]  # fmt: skip
    with pytest.raises(FusionRunError, match=facts("1 results", "10_fsdaf", "MethodError")):
        CliRunner().invoke(app, call, catch_exceptions=False)
    twin = json.loads((tmp_path / "paper_cia.json").read_text())
    assert "native_resolution" in twin["failed"]["10_fsdaf"]
    assert {row["method"] for row in twin["table"] if row["value"] is not None} == {"linear"}
    assert "No result: 10_fsdaf" in (tmp_path / "paper_cia.md").read_text()


def test_help_shows_an_example():
    done = CliRunner().invoke(app, ["paper", "--help"], catch_exceptions=False)
    assert "biastf-xr paper --dataset cia" in done.output
    assert "inferred" in done.output
