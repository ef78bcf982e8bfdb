"""The model of a region: fitted, compared with the one in use, taken or not."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from biastf_xr.cube.stores._lock import lock_folder
from biastf_xr.methods import load_method

JOB = Path(__file__).parents[2] / "pipelines" / "train_region"
HELD_OUT = "2021-04-17"


@pytest.fixture(scope="module")
def job():
    """Return a function that runs the pipeline."""

    def run(config, *options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["main.py", str(config), *options])
            with pytest.raises(SystemExit) as end:
                runpy.run_path(str(JOB / "main.py"), run_name="__main__")
        return int(end.value.code)

    return run


@pytest.fixture(scope="module")
def first(small_scenes, small_cubes, tmp_path_factory, job):
    """Fit the first model of a region; any is taken."""
    folder = tmp_path_factory.mktemp("train")
    text = (JOB / "config.toml").read_text()
    for old, new in (
        ("archive/landsat", small_scenes.landsat), ("archive/modis", small_scenes.modis),
        ("cubes/fine.zarr", small_cubes.fine), ("cubes/coarse.zarr", small_cubes.coarse),
    ):  # fmt: skip
        text = text.replace(old, str(new))
    text = text.replace("ingest = true ", "ingest = false ").replace("= 0.0 ", "= 10.0 ")
    config = folder / "config.toml"
    config.write_text(text)
    assert job(config) == 0
    return config


@pytest.fixture
def region(first, tmp_path):
    shutil.copytree(first.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "config.toml"


def change(config, *pairs):
    text = config.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)


def decisions(config):
    folder = config.parent / "cubes" / "fused.nights" / "training"
    return [json.loads(p.read_text()) for p in sorted(folder.glob("*Z.json"))]


def test_the_first_model_is_compared_with_the_free_baselines(first):
    model = load_method(first.with_name("model.safetensors"))
    assert HELD_OUT not in model.describe()["trained_on"]
    (made,) = decisions(first)
    assert made["taken"]
    assert made["dates"] == [HELD_OUT]
    assert made["replaced"] == ""
    assert set(made["errors"]) == {"nearest", "linear", "direct", "new model"}
    assert not first.with_name("model.candidate.safetensors").exists()


def test_the_same_fit_changes_nothing(region, job, capsys):
    before = region.with_name("model.safetensors").stat().st_mtime_ns
    assert job(region) == 0
    assert "the fit gives the model that is in use" in capsys.readouterr().out
    assert region.with_name("model.safetensors").stat().st_mtime_ns == before


def test_another_model_is_taken_only_if_it_is_not_worse(region, job, capsys):
    model = region.with_name("model.safetensors")
    old = model.read_bytes()
    change(region, ("[fuse]", "options = { tolerance = 0.3 }\n\n[fuse]"), ("= 10.0 ", "= -0.9 "))
    assert job(region) == 1
    assert "not taken" in capsys.readouterr().out
    assert model.read_bytes() == old
    last = decisions(region)[-1]
    assert not last["taken"]
    assert {"new model", "model in use"} <= set(last["errors"])
    change(region, ("= -0.9 ", "= 10.0 "))
    assert job(region) == 0
    assert model.read_bytes() != old
    assert region.with_name("model.previous.safetensors").read_bytes() == old


def test_what_stops_it(region, job, capsys):
    assert job(region, "--dry-run") == 0
    assert HELD_OUT in capsys.readouterr().out
    with lock_folder(region.parent / "cubes" / "fused.nights"):
        assert job(region) == 4
    change(region, ("scenes = 3", "scene = 3"))
    assert job(region) == 2
    assert "`scene`" in capsys.readouterr().err


def test_the_example_is_read(job, capsys):
    assert job(JOB / "config.toml", "--dry-run") == 2  # there are no cubes
    assert "CubeStructureError" in capsys.readouterr().err
