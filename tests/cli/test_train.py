"""Fitting from the command line: every option reaches the model."""

from __future__ import annotations

import pytest
from checks import facts
from typer.testing import CliRunner

import biastf_xr
from biastf_xr.cli._app import app
from biastf_xr.cli._flags import changes_of
from biastf_xr.config import read_config
from biastf_xr.errors import ConfigError, MissingPairError
from biastf_xr.methods import check_options


def sets(**values):
    """Write options of the method as they are typed; a double underscore is a dot."""
    keys = {f"method.options.{k.replace('__', '.')}": v for k, v in values.items()}
    return [text for key, value in keys.items() for text in ("--set", f"{key}={value}")]


SMALL = sets(train__epochs=1, samples__count=8)


@pytest.fixture(scope="module")
def train(small_cubes):
    """Return a function that fits by flags and returns the model."""

    def fit(path, *arguments):
        told = ("--fine", small_cubes.fine, "--coarse", small_cubes.coarse, "--checkpoint", path)
        method = () if "--method" in arguments else ("--method", "biastf")
        command = [str(a) for a in ("train", *told, *SMALL, *method, *arguments)]
        done = CliRunner().invoke(app, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return biastf_xr.load_method(path)

    return fit


@pytest.fixture(scope="module")
def first(train, tmp_path_factory):
    """Fit once with most options changed."""
    path = tmp_path_factory.mktemp("first") / "m.safetensors"
    return train(
        path,
        *sets(
            network__inputs="change+fine", weights="learned", denoise=0.5,
            samples__balance="change", samples__target="2021-04-17", train__precision="bf16",
        ),
    )  # fmt: skip


def test_the_options_of_a_fit_reach_the_model(first):
    assert first.card.inputs == "change+fine"
    assert (first.weights, first.denoise) == ("learned", 0.5)
    assert first.card.settings["samples"]["balance"] == "change"
    assert first.card.settings["train"]["precision"] == "bf16"
    assert first.describe()["trained_on"] == ["2021-04-01", "2021-05-03"]
    picture = first.checkpoint.with_name("m.safetensors.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_model_is_refined_and_shown(train, first, tmp_path):
    path = tmp_path / "refined.safetensors"
    refined = train(
        path, *sets(network__inputs="change+fine", start=first.checkpoint, resume="false")
    )
    assert refined.card.start["sha256"] == first.sha256
    shown = CliRunner().invoke(app, ["info", str(path)], catch_exceptions=False).output
    assert "refined from" in shown
    assert "change+fine" in shown


def test_stfdcnn_is_fitted_and_known_by_its_card(train, small_cubes, tmp_path):
    path = tmp_path / "s.safetensors"
    small = sets(factor=8, filters=[4, 4], kernels=[3, 3, 3])
    model = train(path, "--method", "stfdcnn", *small)
    assert (model.name, model.factor, model.card.filters) == ("stfdcnn", 8, (4, 4))
    told = ("--fine", small_cubes.fine, "--coarse", small_cubes.coarse, "--method", path)
    days = ("--set", "fuse.start=2021-04-15", "--set", "fuse.end=2021-04-16", "--dry-run")
    command = [str(a) for a in ("plan", *told, *days, "--output", tmp_path / "fused.zarr")]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert changes_of({"method": str(path)})["method"]["name"] == "stfdcnn"


def test_what_cannot_be_fitted_is_said(train, tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(ConfigError, match=facts("`method.options`", "`target`")):
        train(path, *sets(samples__dates="flanking"))
    with pytest.raises(MissingPairError, match=facts("2021-04-17", "['2021-04-01', '2021-05-03']")):
        train(path, *sets(samples__dates="earlier", samples__target="2021-04-17"))
    with pytest.raises(ConfigError, match=facts("inputs", "'texture'")):
        train(path, *sets(network__inputs="texture"))
    with pytest.raises(ConfigError, match=facts("'stfdcnn'", "factors", "'factor'")):
        train(path, "--method", "stfdcnn", *sets(factors=8))


def test_the_file_takes_the_same_options(tmp_path, small_cubes):
    text = f"""
[fine]
product = "cube"
folder = "."
cube = "{small_cubes.fine}"
[coarse]
product = "cube"
folder = "."
cube = "{small_cubes.coarse}"
[method]
name = "biastf"
train_on = "cluster"
[method.options]
start = "models/first.safetensors"
weights = "learned"
denoise = 0.5
[method.options.network]
inputs = "all-changes"
[method.options.samples]
dates = "flanking"
target = 2021-04-17
[method.options.train]
precision = "bf16"
"""
    path = tmp_path / "c.toml"
    path.write_text(text)
    method = read_config(path).method
    assert method.options["start"] == tmp_path / "models/first.safetensors"
    options = check_options("biastf", method.options)
    assert options.network.inputs == "all-changes"
    assert str(options.samples.target) == "2021-04-17"
    assert options.denoise == 0.5
    path.write_text(text.replace('"flanking"', '"nearest"'))
    with pytest.raises(ConfigError, match=facts("`method.options`", "dates", "'nearest'")):
        read_config(path)
