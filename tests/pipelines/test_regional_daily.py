"""Nights of the scheduled job on a small archive that grows, and what may happen to them."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from biastf_xr.region import Region

JOB = Path(__file__).parents[2] / "pipelines" / "regional_daily"


# Of the small region, whose fine scenes are of April 1 and 17 and of May 3.
SEASON = '[coarse]\nstart = "2021-04-14"\nend = "2021-05-03"'


def lay_out(scenes, folder):
    """Lay out a region whose archive lacks the last fine scene."""
    archive = folder / "archive"
    shutil.copytree(scenes.landsat, archive / "landsat")
    shutil.copytree(scenes.modis, archive / "modis")
    last = max((archive / "landsat").iterdir())
    late = folder / "late"
    last.rename(late)
    text = (JOB / "config.toml").read_text().replace("[coarse]", SEASON)
    text = text.replace("[cluster]", '[cluster]\nkind = "in-process"')
    config = folder / "config.toml"
    config.write_text(text)
    return config, late, last


@pytest.fixture
def region(small_scenes, tmp_path):
    return lay_out(small_scenes, tmp_path)


@pytest.fixture(scope="module")
def one_night(small_scenes, tmp_path_factory):
    """Run the first night of a region that is fused without a model, and scores nothing."""
    config, *_ = lay_out(small_scenes, tmp_path_factory.mktemp("night"))
    without_model(config)
    assert Region.from_file(config).update().outcome == "done"
    return config.parent


@pytest.fixture
def second_night(one_night, tmp_path):
    """Return a copy of that region, ready for its second night."""
    shutil.copytree(one_night, tmp_path, dirs_exist_ok=True)
    last = tmp_path / "archive" / "landsat" / "LC08_L2SP_093084_20210503_20210512_02_T1"
    return tmp_path / "config.toml", tmp_path / "late", last


def without_model(config):
    text = config.read_text().replace('name = "biastf-plus"', 'name = "direct"')
    text = text.replace("[update]", '[update]\nsteps = ["ingest", "train", "fuse"]')
    config.write_text(text)


@pytest.fixture
def night(monkeypatch):
    """Return a function that runs a night and gives its exit code."""

    def run(config, *options):
        monkeypatch.setattr(sys, "argv", ["main.py", str(config), *options])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(JOB / "main.py"), run_name="__main__")
        return int(end.value.code)

    return run


def records(config):
    folder = config.parent / "cubes" / "fused.nights" / "runs"
    return [json.loads(path.read_text()) for path in sorted(folder.iterdir(), key=lambda p: p.stem)]


def page(config):
    return (config.parent / "cubes" / "fused.nights" / "status.html").read_text()


def test_two_nights_and_a_late_scene(region, night, capsys):
    config, late, place = region
    config.write_text(config.read_text().replace('refit = "if-missing"', 'refit = "new-scenes"'))
    fused = config.parent / "cubes" / "fused.zarr"
    assert night(config, "--dry-run") == 0
    assert not (config.parent / "cubes").exists()
    assert night(config) == 0
    first = xr.open_zarr(fused)
    assert first.sizes["time"] == 20
    after = first["after"].values
    model = (config.parent / "model.safetensors").read_bytes()
    before = (fused / "zarr.json").stat().st_mtime_ns
    capsys.readouterr()

    assert night(config) == 0
    assert "nothing new" in capsys.readouterr().out
    assert (fused / "zarr.json").stat().st_mtime_ns == before

    late.rename(place)
    assert night(config) == 0
    second = xr.open_zarr(fused)
    assert np.isnat(after[5])
    assert second["after"].values[5] == np.datetime64(_day(place))
    assert (config.parent / "model.safetensors").read_bytes() != model
    assert not list(config.parent.rglob("*.partial"))
    assert [r["outcome"] for r in records(config)] == ["done", "nothing new", "done"]
    scored = [r["accuracy"]["date"] for r in records(config) if r["accuracy"]]
    assert scored == [_day(place)]  # one pair of dates on the first night: none to hold out
    assert "Not scored" in records(config)[0]["steps"][3]["note"]
    assert page(config).count("✓ done") == 2


def test_a_lost_archive_is_one_message_and_leaves_the_cube(second_night, night, capsys):
    config, late, place = second_night
    archive = config.parent / "archive" / "modis"
    archive.rename(config.parent / "elsewhere")
    late.rename(place)
    capsys.readouterr()
    assert night(config) == 2
    message = capsys.readouterr().err
    assert message.startswith("error (SceneError) in ingest: ")
    assert "Traceback" not in message
    assert xr.open_zarr(config.parent / "cubes" / "fused.zarr").sizes["time"] == 20
    assert "SceneError" in page(config)
    (config.parent / "elsewhere").rename(archive)
    assert night(config) == 0
    assert records(config)[-1]["outcome"] == "done"


def test_a_damaged_chunk_costs_some_units_until_it_is_repaired(second_night, night):
    config, late, place = second_night
    chunk = config.parent / "cubes" / "fine.zarr" / "red" / "c" / "16" / "0" / "0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2])
    late.rename(place)
    assert night(config) == 3
    failed = records(config)[-1]
    assert failed["outcome"] == "incomplete"
    assert next(s["error"] for s in failed["steps"] if s["error"]) == "FusionRunError"
    assert "biastf-xr verify" in page(config)
    chunk.write_bytes(whole)
    assert night(config) == 0
    flags = xr.open_zarr(config.parent / "cubes" / "fused.zarr")["status_flag"].values
    assert not (flags == 7).any()  # failed


def test_a_killed_night_is_completed_by_the_next(region, night):
    config, _, _ = region
    without_model(config)
    command = [sys.executable, str(JOB / "main.py"), str(config)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    coarse = config.parent / "cubes" / "coarse.zarr"
    end = time.monotonic() + 120
    while not coarse.exists() and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert night(config) == 0
    assert [r["outcome"] for r in records(config)] == ["died", "done"]
    fused = xr.open_zarr(config.parent / "cubes" / "fused.zarr")
    assert fused.sizes["time"] == 20
    assert not (fused["status_flag"].values == 0).any()  # unwritten


def test_a_configuration_with_a_mistake_needs_a_person(region, night, capsys):
    config, _, _ = region
    config.write_text(config.read_text().replace("[update]", "[update]\nmax_ages = 3"))
    assert night(config) == 2
    assert "max_age" in capsys.readouterr().err


def _day(folder: Path) -> str:
    found = re.search(r"_(\d{4})(\d{2})(\d{2})_", folder.name)
    assert found
    return "-".join(found.groups())
