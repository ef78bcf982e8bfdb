"""Two nights of the nightly job on a small archive that grows."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

JOB = Path(__file__).parents[2] / "pipelines" / "regional_daily"


@pytest.fixture
def region(small_scenes, tmp_path):
    """Lay out a region whose archive lacks the last fine scene."""
    archive = tmp_path / "archive"
    shutil.copytree(small_scenes.landsat, archive / "landsat")
    shutil.copytree(small_scenes.modis, archive / "modis")
    last = max((archive / "landsat").iterdir())
    late = tmp_path / "late"
    last.rename(late)
    text = (JOB / "config.toml").read_text()
    text = text.replace('refit = "if-missing"', 'refit = "new-scenes"', 1)
    text = text.replace("# workers = 4", "workers = 1 #")
    config = tmp_path / "config.toml"
    config.write_text(text)
    return config, late, last


def night(config, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["main.py", str(config)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(JOB / "main.py"), run_name="__main__")
    return end.value.code


def test_two_nights_and_a_late_scene(region, monkeypatch, capsys):
    config, late, place = region
    fused = config.parent / "cubes" / "fused.zarr"
    assert night(config, monkeypatch) == 0
    first = xr.open_zarr(fused)
    assert first.sizes["time"] == 48
    after = first["after"].values
    model = (config.parent / "model.safetensors").read_bytes()
    before = (fused / "zarr.json").stat().st_mtime_ns
    capsys.readouterr()

    assert night(config, monkeypatch) == 0
    assert "nothing new" in capsys.readouterr().out
    assert (fused / "zarr.json").stat().st_mtime_ns == before

    late.rename(place)
    assert night(config, monkeypatch) == 0
    second = xr.open_zarr(fused)
    assert np.isnat(after[20])
    assert second["after"].values[20] == np.datetime64(_day(place))
    assert (config.parent / "model.safetensors").read_bytes() != model
    assert not list(config.parent.rglob("*.partial"))


def test_an_error_is_one_message_and_leaves_the_cube(region, monkeypatch, capsys):
    config, _, _ = region
    shutil.rmtree(config.parent / "archive" / "modis")
    assert night(config, monkeypatch) == 2
    message = capsys.readouterr().err
    assert message.startswith("error (SceneError): ")
    assert "Traceback" not in message
    assert not (config.parent / "cubes" / "fused.zarr").exists()


def _day(folder: Path) -> str:
    found = re.search(r"_(\d{4})(\d{2})(\d{2})_", folder.name)
    assert found
    return "-".join(found.groups())
