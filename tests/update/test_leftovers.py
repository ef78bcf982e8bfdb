"""What killed runs leave: found, told of, and removed only if nobody owns it."""

from __future__ import annotations

import os
import subprocess
import sys

import fsspec
import pytest
from checks import some
from typer.testing import CliRunner

from biastf_xr._update.leftovers import DAY, remove_leftovers
from biastf_xr.cli._app import app
from biastf_xr.config import read_config
from biastf_xr.cube.stores._lock import holder_of, lock_folder

TEXT = """
[fine]
product = "landsat-c2-l2"
folder = "landsat"
cube = "{fine}"
[coarse]
product = "mod09ga"
folder = "modis"
cube = "coarse.zarr"
[fuse]
output = "fused.zarr"
[update]
export = "cogs"
"""


@pytest.fixture
def region(tmp_path):
    return region_with(tmp_path, "fine.zarr")


def region_with(folder, fine):
    (folder / "config.toml").write_text(TEXT.format(fine=fine))
    return read_config(folder / "config.toml")


def make(path, *, old=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 100)
    if old:
        past = path.stat().st_mtime - DAY - 60
        for part in (path, path.parent):
            os.utime(part, (past, past))
    return path


def test_nothing_left_behind(region):
    assert remove_leftovers(region) == ()


def test_what_is_owned_by_nobody_goes(region, tmp_path):
    paths = [
        make(tmp_path / ".fused.zarr.partial" / "nir" / "c"),
        make(tmp_path / ".coarse.zarr.0123abcd.partial" / "zarr.json"),
        make(tmp_path / ".model.safetensors.0123abcd.partial" / "model.safetensors"),
        make(tmp_path / "fused.nights" / "runs" / ".a.json.1.partial" / "a.json"),
        make(tmp_path / "cogs" / ".fused_20210401_nir.tif.0123.partial" / "fused.tif"),
        make(tmp_path / ".coarse.zarr.lock"),
    ]
    planned = remove_leftovers(region, dry_run=True)
    assert len(planned) == 6
    assert sum(one.size for one in planned) == 600
    assert all(path.exists() for path in paths)
    assert not [one for one in remove_leftovers(region) if one.kept]
    assert not [path for path in paths if path.exists()]
    assert remove_leftovers(region) == ()


def test_a_young_file_stays(region, tmp_path):
    young = make(tmp_path / "cogs" / ".fused_20210401.tif.1.partial" / "a.tif", old=False)
    (found,) = remove_leftovers(region)
    assert "less than a day" in found.kept
    assert young.exists()


def test_a_build_of_a_living_process_stays(region, tmp_path):
    build = make(tmp_path / ".fused.zarr.partial" / "zarr.json")
    code = (
        "import sys, pathlib; from biastf_xr.cube.stores._lock import lock_folder\n"
        f"with lock_folder(pathlib.Path({str(tmp_path / 'fused.zarr')!r})):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        assert holder_of(tmp_path / "fused.zarr")["process"] == other.pid
        assert all(str(other.pid) in one.kept for one in some(remove_leftovers(region)))
        assert build.exists()
        other.kill()
        other.wait()
    assert holder_of(tmp_path / "fused.zarr") is None
    assert not [one for one in remove_leftovers(region) if one.kept]
    assert not build.exists()
    assert not (tmp_path / ".fused.zarr.lock").exists()


def test_a_lock_taken_after_the_look_keeps_it(region, tmp_path, monkeypatch):
    build = make(tmp_path / ".fused.zarr.partial" / "zarr.json")
    monkeypatch.setattr("biastf_xr._update.leftovers.holder_of", lambda _: None)
    with lock_folder(tmp_path / "fused.zarr"):
        assert all(one.kept for one in some(remove_leftovers(region)))
    assert build.exists()


def test_the_only_copy_of_a_store_stays(region, tmp_path):
    retired = make(tmp_path / ".fused.zarr.old" / "zarr.json")
    (found,) = remove_leftovers(region)
    assert "missing" in found.kept
    assert retired.exists()
    make(tmp_path / "fused.zarr" / "zarr.json")
    assert not remove_leftovers(region)[0].kept
    assert not retired.exists()


def test_locks_behind_a_url(tmp_path):
    config = region_with(tmp_path, "memory://tidy/fine.zarr")
    memory = fsspec.filesystem("memory")
    text = '{{"host": "{host}", "process": {pid}}}'
    memory.pipe_file("/tidy/fine.zarr.lock", text.format(host="elsewhere", pid=1).encode())
    assert "by hand" in remove_leftovers(config)[0].kept
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    here = text.format(host=__import__("socket").gethostname(), pid=done.pid)
    memory.pipe_file("/tidy/fine.zarr.lock", here.encode())
    assert not remove_leftovers(config)[0].kept
    assert not memory.exists("/tidy/fine.zarr.lock")


def test_the_command_lists_and_removes(region, tmp_path):
    build = make(tmp_path / ".fused.zarr.partial" / "zarr.json")
    config = str(tmp_path / "config.toml")
    said = CliRunner().invoke(app, ["tidy", config, "--dry-run"]).output
    assert "would be removed" in "".join(said.split("\n"))
    assert build.exists()
    assert "removed" in CliRunner().invoke(app, ["tidy", config]).output
    assert not build.exists()
    assert "nothing is left behind" in CliRunner().invoke(app, ["tidy", config]).output
