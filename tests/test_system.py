"""What the system refuses, and texts as people save them."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checks import facts, some

from biastf_xr._doctor import check_machine
from biastf_xr._files import read_text
from biastf_xr._system import REMEDIES, is_shortage, number_of, remedy, writing_to
from biastf_xr.config import read_config
from biastf_xr.cube import ingest
from biastf_xr.errors import ConfigError, SceneError, StoreWriteError
from biastf_xr.grid import read_region
from biastf_xr.sources import build_product

ROOT = Path(__file__).parents[1]
TOML = '[fine]\nproduct = "hls"\nfolder = {}\ncube = "f.zarr"\n[coarse]\nproduct = "mod09ga"\n\
folder = "c"\ncube = "c.zarr"\n'


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free space"),
        (errno.EDQUOT, "quota"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "fs.file-max"),
        (errno.EACCES, "permissions"),
        (errno.EROFS, "only be read"),
        (errno.ENOTDIR, "folder is meant"),
        (errno.ENOMEM, "memory"),
    ],
)
def test_every_error_of_the_system_has_its_own_advice(number, advice):
    with pytest.raises(StoreWriteError, match=facts("x.zarr", os.strerror(number), advice)), \
         writing_to("x.zarr"):  # fmt: skip
        raise OSError(number, os.strerror(number), "x.zarr/c/0")
    others = {text for known, text in REMEDIES.items() if advice not in text}
    assert remedy(OSError(number, "")) not in others


def test_number_is_found_however_libraries_wrap_it():
    """GDAL has the text alone, Rust the number in words, others the error as a cause."""
    assert number_of(OSError(f"'/a/b.tif': {os.strerror(errno.EMFILE)}")) == errno.EMFILE
    assert number_of(RuntimeError("No space left on device (os error 28)")) == errno.ENOSPC
    wrapped = OSError("Read failed")
    wrapped.__cause__ = OSError(errno.EIO, "Input/output error")
    assert number_of(wrapped) == errno.EIO
    assert number_of(OSError("not a raster")) is None
    assert number_of(ValueError("a mistake of ours")) is None


def test_what_is_no_error_of_the_system_keeps_its_kind():
    with pytest.raises(ValueError, match="ours"), writing_to("x.zarr"):
        raise ValueError("a mistake of ours")
    with pytest.raises(StoreWriteError, match="Free space"), writing_to("x"):
        raise RuntimeError("cannot write (os error 28)")


def test_too_many_open_files_stop_an_ingest_and_reject_no_scene(
    tmp_path, small_scenes, monkeypatch
):
    from biastf_xr.cube import _compose

    def out_of_files(part, scene):
        raise OSError(f"'{next(iter(scene.files.values()))}': {os.strerror(errno.EMFILE)}")

    monkeypatch.setattr(_compose, "_load", out_of_files)
    product, cube = build_product("landsat-c2-l2"), tmp_path / "fine.zarr"
    with pytest.raises(SceneError, match=facts("LC08_", "Too many open files", "ulimit -n")):
        ingest(product, small_scenes.landsat, cube, kind="fine")
    assert is_shortage(OSError(errno.EMFILE, ""))
    monkeypatch.undo()
    report = ingest(product, small_scenes.landsat, cube, kind="fine")
    assert report.added
    assert not report.rejected


# --- data of another program ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PROJ_DATA", "PROJ_LIB"])
def test_projections_of_another_program_are_named_with_what_to_unset(
    tmp_path, small_cubes, small_scenes, name
):
    def run(*words):
        command = [sys.executable, "-m", "biastf_xr", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=env, check=False)

    (tmp_path / "other").mkdir()
    env = os.environ | {name: str(tmp_path / "other"), "COLUMNS": "400", "PYTHONPATH": str(ROOT)}
    said = facts(f"{name}={tmp_path / 'other'}", f"unset {name}")
    (tmp_path / "region.toml").write_text(
        f'fine = {{product = "landsat-c2-l2", folder = "{small_scenes.landsat}", cube = "f"}}\n'
        f'coarse = {{product = "mod09ga", folder = "{small_scenes.modis}", cube = "c.zarr"}}\n'
    )
    doctor = run("doctor", tmp_path / "region.toml", tmp_path)
    assert doctor.returncode == 1, doctor.stderr
    assert re.search(said, doctor.stdout)
    for words in (
        ("publish", small_cubes.fine, tmp_path / "catalogue"),
        ("export", small_cubes.fine, tmp_path / "cogs"),
        ("ingest", tmp_path / "region.toml"),
    ):
        done = run(*words)
        assert done.returncode == 2, done.stderr
        assert re.search(said, done.stderr)
        assert "Traceback" not in done.stderr


def test_data_of_another_gdal_is_a_note_of_the_doctor(tmp_path, monkeypatch):
    monkeypatch.setenv("GDAL_DATA", str(tmp_path))
    (check,) = (c for c in check_machine(tmp_path) if c.name == "data")
    assert check.verdict == "note"
    assert re.search(facts(tmp_path, "unset GDAL_DATA"), check.found + check.advice)


# --- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_configuration_is_read_with_any_mark_and_line_end(tmp_path, mark, end):
    path = tmp_path / "region.toml"
    text = TOML.format('"Täler"').replace("\n", end)
    path.write_bytes(mark + text.encode())
    assert read_config(path).fine.folder == str(tmp_path / "Täler")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_region_is_read_with_any_mark(tmp_path, mark):
    ring = [[8, 49], [9, 49], [9, 50], [8, 49]]
    path = tmp_path / "Tal.geojson"
    path.write_bytes(mark + json.dumps({"type": "Polygon", "coordinates": [ring]}).encode())
    assert tuple(read_region(path).boundingbox) == (8, 49, 9, 50)


@pytest.mark.parametrize(("encoding", "found"), [("utf-16", "UTF-16"), ("latin-1", "0xe4")])
def test_text_in_another_encoding_is_refused_by_name(tmp_path, encoding, found):
    path = tmp_path / "region.toml"
    path.write_text(TOML.format('"Täler"'), encoding)
    with pytest.raises(ConfigError, match=facts(path, "UTF-8", found)):
        read_config(path)
    with pytest.raises(ConfigError, match=facts(path, "UTF-8", found)):
        read_region(path)
    with pytest.raises(ConfigError, match=facts(path)):
        read_text(path)


@pytest.mark.parametrize(
    "folder",
    [
        r'"data\fine"', r'"data\tiles"', r'"data\new"', r'"data\back"', r'"C:\Users\me"',
        r'"data\scenes"', r'"C:\data"', r'"C:\xdata"', '"C:\\data\\"',
    ],
)  # fmt: skip
def test_path_of_windows_in_double_quotes_is_refused_with_the_remedy(tmp_path, folder):
    """Half of them are no TOML; the others are, of another name: a form feed is no folder."""
    path = tmp_path / "region.toml"
    path.write_text(TOML.format(folder))
    with pytest.raises(ConfigError, match=facts(path, "single quotes", "data/fine")):
        read_config(path)


def test_path_of_windows_in_single_quotes_and_scripts_are_taken(tmp_path):
    path = tmp_path / "region.toml"
    script = "[cluster]\nkind = 'slurm'\nworkers = 2\nmemory = '4GiB'\n"
    script += 'options.job_script_prologue = ["a\\tb"]\n'
    path.write_text(TOML.format(r"'data\fine'") + script)
    assert read_config(path).fine.folder.endswith(r"data\fine")


def test_mistake_of_toml_without_a_backslash_speaks_of_none(tmp_path):
    path = tmp_path / "region.toml"
    path.write_text("[fine]\nfolder = a\n")
    with pytest.raises(ConfigError, match=facts(path, "line 2")) as caught:
        read_config(path)
    assert "single quotes" not in str(caught.value)


# --- folders -----------------------------------------------------------------------------------


def test_folder_that_disappears_while_it_is_searched_is_passed_over(
    tmp_path, small_scenes, monkeypatch
):
    from biastf_xr.sources import _folders

    product = build_product("landsat-c2-l2")
    expected = [scene.id for scene in product.find_scenes(small_scenes.landsat)]
    shutil.copytree(small_scenes.landsat, tmp_path / "scenes")
    gone = tmp_path / "scenes" / "a [partial] download"
    gone.mkdir()
    look = os.scandir

    def tidied_up(place):
        if gone.exists() and place != tmp_path / "scenes":
            gone.rmdir()
        return look(place)

    monkeypatch.setattr(_folders.os, "scandir", tidied_up)
    assert [scene.id for scene in product.find_scenes(tmp_path / "scenes")] == expected
    assert not gone.exists()


def test_every_text_is_read_and_written_in_utf_8():
    """Whatever the locale: `LC_ALL=C` of a scheduled job has not all letters."""
    unsaid = re.compile(r"\.(?:read_text\(\)|write_text\([^\n]*\)$|open\((?:\"[ar]\+?\")?\))")
    found = [
        f"{path.name}: {line.strip()}"
        for path in some(sorted((ROOT / "biastf_xr").rglob("*.py")))
        for line in path.read_text("utf-8").splitlines()
        if unsaid.search(line) and "utf-8" not in line
    ]
    assert found == []
