"""Years and tiles of a small region: laid out, estimated, made, resumed."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from biastf_xr.config import read_config
from biastf_xr.cube import open_cube
from biastf_xr.grid import fine_grid, geobox_of, read_region

JOB = Path(__file__).parents[2] / "pipelines" / "backfill"

CONFIG = """
[fine]
product = "landsat-c2-l2"
folder = "archive/landsat"
cube = "fine.zarr"
[coarse]
product = "mod09ga"
folder = "archive/modis"
cube = "coarse.zarr"
[grid]
region = [146.524, -34.624, 146.541, -34.606]
anchor = 15
[method]
name = "direct"
[fuse]
output = "fused.zarr"
withhold = ["2019-04-17"]
[cluster]
kind = "in-process"
[update]
steps = ["ingest", "fuse"]
[backfill]
years = [2020, 2021]
first = "04-16"
last = "04-19"
overlap = 15
tile = 48
"""


@pytest.fixture
def region(small_scenes, tmp_path):
    (tmp_path / "archive").mkdir()
    for name, folder in zip(("landsat", "modis"), small_scenes, strict=True):
        (tmp_path / "archive" / name).symlink_to(folder)
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def backfill(monkeypatch, capsys):
    """Return a function that runs the pipeline; exit code and what was printed."""

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["main.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(JOB / "main.py"), run_name="__main__")
        said = capsys.readouterr()
        return int(end.value.code), said.out, said.err

    return run


def test_a_dry_run_lists_the_jobs_and_writes_nothing(region, backfill):
    code, said, _ = backfill(region, "--dry-run")
    assert code == 0
    assert said.count("not begun") == 8  # 2 x 2 tiles of at most 48 x 48, two years
    assert "known once the cubes of one job are there" in said
    assert {p.name for p in region.parent.iterdir()} == {"archive", "config.toml"}


def test_tiles_are_parts_of_one_lattice(region, backfill):
    code, said, _ = backfill(region, "--list")
    assert code == 0
    whole = fine_grid(
        read_region((146.524, -34.624, 146.541, -34.606)), crs="EPSG:32655", anchor=15
    )
    pixels = np.zeros(whole.shape, int)
    for path in said.split():
        config = read_config(path)
        assert config.fuse.withhold == ()
        tile = fine_grid(read_region(config.grid.region), crs=config.grid.crs, anchor=15)
        assert tile.crs == whole.crs
        row = round((whole.affine.f - tile.affine.f) / 30)
        col = round((tile.affine.c - whole.affine.c) / 30)
        assert (row % 48, col % 48) == (0, 0)
        pixels[row : row + tile.shape[0], col : col + tile.shape[1]] += 1
    assert (pixels == 2).all()  # each tile in two years
    config = read_config(said.split()[1])
    assert (str(config.fine.start), str(config.fine.end)) == ("2021-04-01", "2021-05-04")


def test_jobs_are_made_once_and_a_late_scene_makes_what_it_changes(region, backfill, tmp_path):
    region.write_text(CONFIG.replace("[2020, 2021]", "[2021]").replace("tile = 48", "tile = 64"))
    late = tmp_path / "late"
    archive = region.parent / "archive" / "landsat"
    scenes = archive.resolve()
    archive.unlink()
    archive.mkdir()
    for scene in scenes.iterdir():
        shutil.copytree(scene, archive / scene.name)
    last = max(archive.iterdir())
    last.rename(late)

    assert backfill(region, "--index", 1)[0] == 0  # a task of an array
    code, said, _ = backfill(region, "--dry-run")
    assert said.count("finished") == 1
    assert "of CPU time" in said or "in all" in said

    code, said, _ = backfill(region)
    assert code == 0
    folders = sorted((region.parent / "backfill").glob("*/2021"))
    assert len(folders) == said.count("--- ") == 2
    code, said, _ = backfill(region, "--dry-run")
    assert said.count("finished") == 2
    assert "about 0 s of CPU time" in said
    records = [sorted((f / "fused.nights" / "runs").iterdir()) for f in folders]
    assert all(json.loads(runs[-1].read_text())["exit_code"] == 0 for runs in records)
    cubes = [xr.open_zarr(f / "fused.zarr") for f in folders]
    assert all(cube.sizes["time"] == 4 for cube in cubes)
    assert np.isnat(cubes[0]["after"].values[2])

    code, said, _ = backfill(region)
    assert said.count("nothing new: exit code 0") == 2
    late.rename(last)
    assert backfill(region)[0] == 0
    assert xr.open_zarr(folders[0] / "fused.zarr")["after"].values[2] == np.datetime64("2021-05-03")
    assert geobox_of(open_cube(folders[0] / "fused.zarr"), "").affine.c % 30 == 15


def test_too_much_is_not_started(region, backfill):
    text = CONFIG.replace("[2020, 2021]", "[2021]").replace(
        "overlap", "max_cpu_hours = 1e-9\noverlap"
    )
    region.write_text(text.replace("tile = 48", "tile = 128"))
    code, said, complained = backfill(region)
    assert code == 2
    assert "max_cpu_hours" in complained
    assert "of CPU time" in said
    assert not list(region.parent.rglob("fused.zarr"))


def test_mistakes_are_one_message(region, backfill):
    code, _, said = backfill(region, "--index", 8)
    assert (code, "jobs 0 to 7" in said) == (2, True)
    region.write_text(CONFIG.replace("overlap = 15", "overlaps = 15"))
    code, _, said = backfill(region)
    assert (code, "`overlaps`" in said) == (2, True)
    region.write_text(
        CONFIG.replace("[grid]\n", "[grid]\nresolution = 30\n").replace("[2020, 2021]", "[]")
    )
    assert backfill(region)[0] == 2


def test_the_example_is_read(backfill):
    code, said, _ = backfill(JOB / "config.toml", "--dry-run")
    assert code == 0
    assert said.count("not begun") >= 9
