"""Links, pipes and devices that others have put where we write and read: refused by name.

A canary lies elsewhere; whatever is tried, it stays as it was.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import socket
import stat
from pathlib import Path

import numpy as np
import pytest
import zarr
from checks import facts, some
from typer.testing import CliRunner

import biastf_xr
from biastf_xr import Region, _files
from biastf_xr._update.status import write_status
from biastf_xr.cli._app import app
from biastf_xr.cli._demo import run_demo
from biastf_xr.config import read_config
from biastf_xr.cube.stores import store_at
from biastf_xr.cube.stores._lock import beside, holder_of, lock_folder
from biastf_xr.errors import (
    BiastfError,
    CheckpointError,
    ConfigError,
    CubeStructureError,
    SceneError,
    StoreWriteError,
)
from biastf_xr.fusion._report import RunLog
from biastf_xr.grid import read_region
from biastf_xr.methods import load_method
from biastf_xr.methods._learning import files, loop
from biastf_xr.paper import _paper
from biastf_xr.publish.catalogue import publish
from biastf_xr.sources import build_product
from biastf_xr.sources._elsewhere import refuse_data_elsewhere
from biastf_xr.sources._rasters import open_file
from biastf_xr.testing import write_landsat


@pytest.fixture
def canary(tmp_path):
    """Return a folder that nothing may change; look at it at the end."""
    folder = tmp_path / "precious"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt", "zarr.json"):
        (folder / name).write_text(f"precious {name}")
    before = tree(folder)
    yield folder
    assert tree(folder) == before


@pytest.fixture
def shared(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


def tree(folder):
    """Describe all below a folder: kinds, contents, modes, times and numbers."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        about = path.lstat()
        content = None
        if stat.S_ISREG(about.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(about.st_mode):
            content = path.readlink()
        found[str(path.relative_to(folder))] = (
            about.st_mode, about.st_ino, about.st_mtime_ns, about.st_nlink, content
        )  # fmt: skip
    return found


def plant(kind, path, canary):
    """Put something in the way of a file; return what keeps it there."""
    if kind == "link":
        path.symlink_to(canary / "a.txt")
    elif kind == "link to nothing":
        path.symlink_to(canary / "new.txt")
    elif kind == "link to a folder":
        path.symlink_to(canary)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")  # nodes are made by root alone
    else:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket is short
        found = socket.socket(socket.AF_UNIX)
        found.bind(path.name)
        os.chdir(here)
        return found
    return None


# What waits for a pipe waits for ever.
in_time = pytest.mark.timeout(100, func_only=True)

LINKS = ["link", "link to nothing", "link to a folder"]
KINDS = [*LINKS, "pipe", "folder", "device", "socket"]


# --- files ----------------------------------------------------------------------------------------


def test_an_unfinished_file_lies_where_nobody_else_may_write(tmp_path):
    before = os.umask(0)
    try:
        with _files.replacing(tmp_path / "a.json") as partial:
            assert stat.S_IMODE(partial.parent.stat().st_mode) == 0o700
            partial.write_text("x")
    finally:
        os.umask(before)


def test_names_of_unfinished_files_cannot_be_foretold(tmp_path):
    names = set()
    for _ in range(20):
        with _files.replacing(tmp_path / "a.json") as partial:
            names.add(partial.parent.name)
            partial.touch()
        with _files.new_folder(tmp_path / "a.zarr") as folder:
            names.add(folder.name)
    assert len(names) == 40


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_modes_are_those_of_the_umask(shared, umask):
    before = os.umask(umask)
    try:
        _files.write_text(shared / "a.json", "x")
        _files.own_folder(shared / "own")
        with _files.open_own(shared / "log", "a") as file:
            file.write("x")
        with store_at(shared / "a.zarr").build("test", replace=False) as edit:
            zarr.create_group(edit.store).create_array("n", data=np.arange(3))
    finally:
        os.umask(before)
    for path in shared.rglob("*"):
        full = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == full & ~umask, path


@pytest.mark.parametrize("kind", LINKS[:2])
def test_a_file_takes_the_place_of_a_link(kind, shared, canary):
    plant(kind, shared / "a.json", canary)
    _files.write_text(shared / "a.json", "new")
    assert not (shared / "a.json").is_symlink()
    assert (shared / "a.json").read_text() == "new"


@pytest.mark.parametrize("kind", ["link to a folder", "pipe", "folder", "device", "socket"])
def test_what_is_no_file_is_not_replaced(kind, shared, canary):
    kept = plant(kind, shared / "a.json", canary)
    before = tree(shared)
    with pytest.raises(StoreWriteError, match=facts(shared / "a.json")):
        _files.write_text(shared / "a.json", "new")
    after = tree(shared)
    assert {k: v for k, v in after.items() if k != "."} == {
        k: v for k, v in before.items() if k != "."
    }
    del kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["a", "a+"])
def test_a_file_of_ours_is_no_link_and_no_pipe(kind, mode, shared, canary):
    kept = plant(kind, shared / "log", canary)
    with pytest.raises(StoreWriteError, match=facts(shared / "log")):
        _files.open_own(shared / "log", mode)
    del kept


def test_a_file_with_a_second_name_is_not_written(shared, canary):
    os.link(canary / "a.txt", shared / "log")
    with pytest.raises(StoreWriteError, match=facts(shared / "log", "hard link")):
        _files.open_own(shared / "log", "a")
    (shared / "log").unlink()


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "folder"])
def test_a_folder_of_ours_is_no_link(kind, shared, canary):
    kept = plant(kind, shared / "runs", canary)
    with pytest.raises(StoreWriteError, match=facts(shared / "runs")):
        _files.own_folder(shared / "runs")
    del kept


@pytest.mark.parametrize("kind", LINKS)
def test_a_link_is_neither_removed_nor_followed(kind, shared, canary):
    plant(kind, shared / "old", canary)
    with pytest.raises(StoreWriteError, match=facts(shared / "old", "link")):
        _files.remove(shared / "old")
    assert (shared / "old").is_symlink()


def test_links_in_what_is_removed_are_not_followed(shared, canary):
    (shared / "old" / "in").mkdir(parents=True)
    plant("link to a folder", shared / "old" / "in" / "x", canary)
    plant("link", shared / "old" / "y", canary)
    _files.remove(shared / "old")
    assert not (shared / "old").exists()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "socket", "link to a folder"])
def test_what_is_no_file_is_not_read(kind, shared, canary):
    kept = plant(kind, shared / "a", canary)
    for read in (_files.read_bytes, _files.check_regular):
        with pytest.raises(OSError, match=facts(shared / "a")):
            read(shared / "a")
    del kept


def test_a_file_that_somebody_names_may_be_a_link(shared, canary):
    plant("link", shared / "a", canary)
    _files.check_regular(shared / "a")
    assert _files.read_bytes(shared / "a") == b"precious a.txt"


# --- locks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_is_no_link_and_no_pipe(kind, shared, canary):
    kept = plant(kind, shared / ".a.zarr.lock", canary)
    with (
        pytest.raises(StoreWriteError, match=facts(shared / ".a.zarr.lock")),
        lock_folder(shared / "a.zarr"),
    ):
        pytest.fail("the lock was given")
    assert os.path.lexists(shared / ".a.zarr.lock")
    with pytest.raises(OSError, match=facts(".a.zarr.lock")):
        holder_of(shared / "a.zarr")
    del kept


def test_a_lock_with_a_second_name_is_not_emptied(shared, canary):
    os.link(canary / "a.txt", shared / ".a.zarr.lock")
    with pytest.raises(StoreWriteError), lock_folder(shared / "a.zarr"):
        pytest.fail("the lock was given")
    (shared / ".a.zarr.lock").unlink()


@pytest.mark.parametrize("text", ["", "{", "[1]", "\0\xff", '{"process": null}'])
def test_a_damaged_lock_names_what_it_can(text, shared):
    import subprocess
    import sys

    code = (
        "import sys, pathlib; from biastf_xr.cube.stores._lock import lock_folder\n"
        f"with lock_folder(pathlib.Path({str(shared / 'a.zarr')!r})):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        beside(shared / "a.zarr").write_bytes(text.encode("latin-1"))
        assert isinstance(holder_of(shared / "a.zarr"), dict)
        with (
            pytest.raises(BlockingIOError, match=facts(shared / "a.zarr")),
            lock_folder(shared / "a.zarr"),
        ):
            pytest.fail("the lock was given")
        other.kill()


def test_two_names_of_a_store_have_one_lock(shared, tmp_path):
    (tmp_path / "disk" / "a.zarr").mkdir(parents=True)
    (shared / "b.zarr").symlink_to(tmp_path / "disk" / "a.zarr")
    with (
        lock_folder(shared / "b.zarr"),
        pytest.raises(BlockingIOError),
        lock_folder(tmp_path / "disk" / "a.zarr"),
    ):
        pytest.fail("the lock was given twice")


# --- stores ---------------------------------------------------------------------------------------


def fill(folder, value=1):
    zarr.create_group(folder).create_array("n", data=np.full((4, 4), value), chunks=(2, 2))


def values(url):
    return set(np.asarray(zarr.open_group(store_at(url).reader(), mode="r")["n"]).ravel().tolist())


def build(url, value=2, *, replace=True):
    store = store_at(url)
    with store.lock(), store.build("test", replace=replace) as edit:
        zarr.create_group(edit.store, overwrite=True).create_array("n", data=np.full(4, value))


@pytest.mark.parametrize("there", [True, False])
def test_a_store_behind_a_link_is_built_where_it_leads(shared, tmp_path, there):
    disk = tmp_path / "disk"
    disk.mkdir()
    if there:
        fill(disk / "a.zarr")
    (shared / "b.zarr").symlink_to(disk / "a.zarr")
    build(shared / "b.zarr")
    assert (shared / "b.zarr").is_symlink()
    assert [p.name for p in disk.iterdir()] == ["a.zarr"]
    assert values(shared / "b.zarr") == values(disk / "a.zarr") == {2}
    store_at(shared / "b.zarr").delete()
    assert not (disk / "a.zarr").exists()


def test_a_store_in_a_folder_behind_a_link_is_written(shared, tmp_path):
    (tmp_path / "disk").mkdir()
    (shared / "cubes").symlink_to(tmp_path / "disk")
    build(shared / "cubes" / "a.zarr")
    assert values(tmp_path / "disk" / "a.zarr") == {2}


@pytest.mark.parametrize("end", ["old", "lock"])
def test_links_beside_a_store_are_refused(shared, canary, end):
    fill(shared / "a.zarr")
    plant("link to a folder", shared / f".a.zarr.{end}", canary)
    before = tree(shared / "a.zarr")
    with pytest.raises(StoreWriteError, match=facts(f".a.zarr.{end}")):
        build(shared / "a.zarr")
    assert tree(shared / "a.zarr") == before
    assert values(shared / "a.zarr") == {1}


def test_a_link_in_the_place_of_a_retired_copy_is_no_store(shared, canary):
    fill(canary.parent / "other.zarr")
    (shared / ".a.zarr.old").symlink_to(canary.parent / "other.zarr")
    assert not store_at(shared / "a.zarr").exists()
    with pytest.raises(StoreWriteError, match=facts(".a.zarr.old")):
        build(shared / "a.zarr")


def test_readers_find_an_interrupted_store_and_leave_it(shared):
    fill(shared / ".a.zarr.old")
    before = tree(shared)
    store = store_at(shared / "a.zarr")
    assert store.exists()
    assert values(shared / "a.zarr") == {1}
    assert tree(shared) == before
    with store.lock():
        assert values(shared / "a.zarr") == {1}
    assert [p.name for p in shared.iterdir()] == ["a.zarr"]


def test_a_store_that_moves_while_it_is_read_is_no_missing_pixel(shared):
    fill(shared / "a.zarr")
    array = zarr.open_group(store_at(shared / "a.zarr").reader(), mode="r")["n"]
    (shared / "a.zarr").rename(shared / "b.zarr")
    with pytest.raises(FileNotFoundError):
        array[:]


PLACES = {
    "zarr.json": "file", "n/zarr.json": "file", "n/c/1/0": "file",
    "n": "folder", "n/c": "folder", "n/c/1": "folder",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_regular_file_is_not_read_as_one(kind, place, shared, canary):
    fill(shared / "a.zarr")
    path = shared / "a.zarr" / place
    if PLACES[place] == "folder":
        if kind == "folder":
            pytest.skip("a folder is meant")
        shutil.rmtree(path)
    else:
        path.unlink()
    kept = plant(kind, path, canary)
    with pytest.raises(CubeStructureError, match=facts(shared / "a.zarr" / place)):
        values(shared / "a.zarr")
    del kept


@pytest.mark.parametrize("place", ["n", "n/c", "n/c/1"])
def test_a_linked_folder_of_a_store_is_not_written_into(place, shared, canary):
    fill(shared / "a.zarr")
    path = shared / "a.zarr" / place
    copy = canary.parent / "moved"
    path.rename(copy)
    path.symlink_to(copy)
    before = tree(copy)
    with (
        pytest.raises(CubeStructureError, match=facts(shared / "a.zarr" / place)),
        store_at(shared / "a.zarr").edit("test") as edit,
    ):
        edit.group["n"][:] = 5
    assert tree(copy) == before


def test_a_linked_chunk_is_replaced_and_what_it_led_to_stays(shared, canary):
    fill(shared / "a.zarr")
    chunk = shared / "a.zarr" / "n" / "c" / "1" / "0"
    chunk.unlink()
    chunk.symlink_to(canary / "a.txt")
    with store_at(shared / "a.zarr").edit("test") as edit:
        edit.group["n"][:] = 5
    assert values(shared / "a.zarr") == {5}


@pytest.mark.parametrize("key", ["../precious/new", "n/../../precious/new", ".."])
def test_no_key_leads_out_of_a_store(key, shared, canary):
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    fill(shared / "a.zarr")
    with store_at(shared / "a.zarr").edit("test") as edit:
        value = default_buffer_prototype().buffer.from_bytes(b"x")
        for asked in (edit.store.set(key, value), edit.store.get(key), edit.store.delete(key),
                      edit.store.delete_dir(key)):  # fmt: skip
            with pytest.raises(CubeStructureError, match=facts(key)):
                sync(asked)


def test_links_in_a_store_are_not_passed_over_by_a_copy(shared, canary):
    from zarr.core.sync import sync

    async def keys(store):
        return [key async for key in store.list()]

    fill(shared / "a.zarr")
    assert len(some(sync(keys(store_at(shared / "a.zarr").reader())))) > 4
    (shared / "a.zarr" / "n" / "x").symlink_to(canary)
    with pytest.raises(CubeStructureError, match=facts(shared / "a.zarr/n/x")):
        sync(keys(store_at(shared / "a.zarr").reader()))


@in_time
@pytest.mark.parametrize("kind", ["link", "pipe", "folder behind a link"])
@pytest.mark.parametrize("part", ["refs", "snapshots", "manifests", "chunks"])
def test_an_icechunk_store_holds_regular_files(kind, part, shared, tmp_path):
    pytest.importorskip("icechunk")
    store = store_at(f"icechunk://{shared / 'a'}")
    with store.lock(), store.build("test", replace=False) as edit:
        zarr.create_group(edit.store).create_array("n", data=np.arange(9000), chunks=(900,))
    (shared / "b").symlink_to(shared / "a")
    assert values(f"icechunk://{shared / 'b'}") == set(range(9000))
    path = next(p for p in (shared / "a" / part).rglob("*") if p.is_file())
    if kind == "folder behind a link":
        path = shared / "a" / part
    path.rename(tmp_path / "moved")
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "moved")
    before = tree(tmp_path / "moved")
    for refused in (store.exists, store.reader, store.versions, store.delete):
        with pytest.raises(CubeStructureError, match=facts(path)):
            refused()
    assert tree(tmp_path / "moved") == before


def test_the_store_keeps_what_zarr_asks_of_a_store(shared):
    from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync
    from zarr.storage import LocalStore

    from biastf_xr.cube.stores._regular import RegularStore

    prototype = default_buffer_prototype()
    (shared / "a").mkdir()
    ours, plain = RegularStore(shared / "a"), LocalStore(shared / "a")
    value = prototype.buffer.from_bytes(bytes(range(100)))
    sync(ours.set("x/y/z", value))
    parts = [None, RangeByteRequest(3, 9), RangeByteRequest(90, 1000), RangeByteRequest(200, 300),
             OffsetByteRequest(40), SuffixByteRequest(7), SuffixByteRequest(700)]  # fmt: skip
    for part in parts:
        got, want = (sync(s.get("x/y/z", prototype, part)).to_bytes() for s in (ours, plain))
        assert got == want
    # Of what is not there no memory is asked for, as a hostile index of a shard could.
    assert len(sync(ours.get("x/y/z", prototype, RangeByteRequest(90, 10**15)))) == 10
    pairs = [("x/y/z", part) for part in parts]
    found = sync(ours.get_partial_values(prototype, pairs))
    assert [f.to_bytes() for f in found] == [
        sync(plain.get("x/y/z", prototype, p)).to_bytes() for p in parts
    ]
    assert sync(ours.get("x/none", prototype)) is None
    sync(ours.set_if_not_exists("x/y/z", prototype.buffer.from_bytes(b"other")))
    assert ours.get_sync("x/y/z").to_bytes() == value.to_bytes()
    ours.set_sync("x/y/z", prototype.buffer.from_bytes(b"other"))
    assert ours.get_sync("x/y/z").to_bytes() == b"other"
    assert [p.name for p in (shared / "a/x/y").iterdir()] == ["z"]
    sync(ours.delete("x/none/at/all"))
    sync(ours.delete_dir("x/y"))
    assert not (shared / "a/x/y").exists()
    with pytest.raises(ValueError, match="read-only"):
        sync(RegularStore(shared / "a", read_only=True).set("b", value))


# --- scenes, models, configurations ---------------------------------------------------------------

NODES = ["pipe", "device", "socket", "folder"]


@in_time
@pytest.mark.parametrize("kind", NODES)
def test_a_configuration_is_a_regular_file(kind, shared, canary):
    kept = plant(kind, shared / "config.toml", canary)
    with pytest.raises(ConfigError, match=facts(shared / "config.toml")):
        read_config(shared / "config.toml")
    with pytest.raises(ConfigError, match=facts(shared / "config.toml")):
        read_region(str(shared / "config.toml"))
    del kept


@in_time
@pytest.mark.parametrize("kind", NODES)
def test_a_model_is_a_regular_file(kind, shared, canary):
    kept = plant(kind, shared / "m.safetensors", canary)
    with pytest.raises(CheckpointError, match=facts(shared / "m.safetensors")):
        load_method(shared / "m.safetensors")
    with pytest.raises(CheckpointError, match=facts(shared / "m.safetensors")):
        files.read_unaltered(str(shared / "m.safetensors"), "0" * 64)
    del kept


@in_time
@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("landsat-c2-l2", "LC08_L2SP_093084_20210401_20210410_02_T1_SR_B4.TIF"),
        ("landsat-c2-l2", "LC08_L2SP_093084_20210401_20210410_02_T1_MTL.txt"),
        ("landsat-c2-l2", "LC08_L2SP_093084_20210401_20210410_02_T1.tar"),
        ("mod09ga", "MOD09GA.A2021091.h29v12.061.2021093041430.hdf"),
        ("mod09ga", "MOD09GA.061_sur_refl_b01_1_doy2021091000000_aid0001.tif"),
        ("vnp09ga", "VNP09GA.A2021091.h29v12.002.2021093041430.h5"),
        ("mod09ga", "MOD09GA.061_500m_aid0001.nc"),
    ],
)
def test_a_scene_is_made_of_regular_files(kind, product, name, shared, canary):
    kept = plant(kind, shared / name, canary)
    found = build_product(product).find_scenes(shared)
    assert name in " ".join(scene.id + scene.problem for scene in some(found))
    assert all(scene.problem for scene in found)
    with pytest.raises(SceneError, match=facts(name)), open_file(shared / name):
        pytest.fail("it was opened")
    with pytest.raises(SceneError, match=facts(name)):
        refuse_data_elsewhere(shared / name)
    del kept


@in_time
def test_items_of_a_catalogue_are_regular_files(shared, canary):
    pytest.importorskip("pystac")
    product = build_product("stac", like="landsat-c2-l2")
    os.mkfifo(shared / "item.json")
    (shared / "catalog.json").write_text(
        json.dumps({"type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "d",
                    "links": [{"rel": "item", "href": "./item.json"}]})
    )  # fmt: skip
    for place in (shared, shared / "item.json"):
        with pytest.raises(SceneError, match=facts("item.json")):
            product.find_scenes(str(place))


# --- what a job leaves ----------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path, shared, small_scenes, small_cubes):
    for which, path in small_cubes._asdict().items():
        shutil.copytree(path, shared / f"{which}.zarr")
    (shared / "config.toml").write_text(
        CONFIG.format(**small_scenes._asdict(), models=tmp_path / "models")
    )
    return read_config(shared / "config.toml")


CONFIG = """
[fine]
product = "landsat-c2-l2"
folder = "{landsat}"
cube = "fine.zarr"
[coarse]
product = "mod09ga"
folder = "{modis}"
cube = "coarse.zarr"
[method]
name = "direct"
[fuse]
output = "fused.zarr"
start = 2021-04-15
end = 2021-04-16
tile = 96
[cluster]
kind = "in-process"
[update]
steps = ["ingest", "fuse"]
"""


def test_the_folder_of_a_job_that_somebody_names_may_be_a_link(shared, tmp_path, config):
    (tmp_path / "nights").mkdir()
    (shared / "runs").symlink_to(tmp_path / "nights")
    (shared / "other.toml").write_text((shared / "config.toml").read_text() + 'folder = "runs"\n')
    write_status(read_config(shared / "other.toml"))
    assert (tmp_path / "nights" / "status.html").exists()


@pytest.mark.parametrize("place", ["fused.nights", "fused.nights/runs", "fused.nights/log.jsonl"])
def test_the_folder_of_a_job_is_no_link(place, shared, canary, config):
    (shared / place).parent.mkdir(exist_ok=True)
    (shared / place).symlink_to(canary / ("a.txt" if place.endswith("jsonl") else ""))
    report = Region(config).update()
    assert report.exit_code
    assert str(shared / place) in report.error


def test_the_log_of_a_run_is_no_link(shared, canary):
    (shared / "log").symlink_to(canary / "a.txt")
    with pytest.raises(StoreWriteError, match=facts(shared / "log")):
        RunLog(shared / "log")
    os.link(canary / "a.txt", shared / "log2")
    with pytest.raises(StoreWriteError, match=facts(shared / "log2")):
        RunLog(shared / "log2")
    (shared / "log2").unlink()


def test_a_model_is_written_where_its_link_leads_and_nowhere_else(shared, tmp_path, canary,
                                                                    random_model):  # fmt: skip
    (tmp_path / "disk").mkdir()
    (shared / "model.safetensors").symlink_to(tmp_path / "disk" / "real.safetensors")
    for name in (".model.safetensors.partial", ".real.safetensors.partial"):
        (shared / name).symlink_to(canary / "a.txt")
        (tmp_path / "disk" / name).symlink_to(canary / "a.txt")
    (tmp_path / "disk" / "real.safetensors.json").symlink_to(canary / "a.txt")
    saved = random_model().save(shared / "model.safetensors")
    assert saved.checkpoint == tmp_path / "disk" / "real.safetensors"
    assert load_method(shared / "model.safetensors").sha256 == saved.sha256


def test_the_state_of_a_fit_is_not_kept_behind_a_link(shared, canary):
    torch = pytest.importorskip("torch")
    (shared / ".m.fit").symlink_to(canary)
    with pytest.raises(StoreWriteError, match=facts(shared / ".m.fit")):
        loop.write_state(shared / ".m.fit" / "red.pt", "k", {"a": torch.zeros(1)})
    (shared / "red.pt").symlink_to(shared / "other.pt")
    loop.write_state(shared / "other.pt", "k", {"a": torch.zeros(1)})
    assert loop.read_state(shared / "other.pt", "k") is not None
    assert loop.read_state(shared / "red.pt", "k") is None


def test_the_folders_of_a_catalogue_are_no_links(shared, tmp_path, small_cubes):
    folder, elsewhere = shared / "stac", tmp_path / "elsewhere"
    days = ["2021-04-01", "2021-04-17"]
    publish(small_cubes.fine, folder, dates=days, layers=["red"])
    for day in some([p for p in folder.iterdir() if p.is_dir()]):
        shutil.copytree(day, elsewhere / day.name)
        shutil.rmtree(day)
        day.symlink_to(elsewhere / day.name)
    before = tree(elsewhere)
    for change in ({"dates": days, "layers": ["red", "nir"]}, {"dates": days[:1]}):
        with pytest.raises(StoreWriteError, match=facts(folder / "fine_2021", "symbolic link")):
            publish(small_cubes.fine, folder, **{"layers": ["red"]} | change)
        assert tree(elsewhere) == before


@pytest.mark.parametrize(
    "name", ["scenes", "cubes", "scenes/modis", "cubes/fused.zarr", "model.safetensors"]
)
def test_the_demo_leads_nowhere_else(name, shared, canary):
    (shared / name).parent.mkdir(exist_ok=True)
    (shared / name).symlink_to(canary)
    with pytest.raises(StoreWriteError, match=facts(shared / name)):
        run_demo(shared, size=32, days=8, changes={})


@pytest.mark.parametrize("name", ["predictions", "predictions/1_direct.zarr"])
def test_results_of_the_paper_lead_nowhere_else(name, shared, canary, make_pair):
    (shared / name).parent.mkdir(exist_ok=True)
    (shared / name).symlink_to(canary)
    image = make_pair()[0].isel(time=0, drop=True)
    with pytest.raises(StoreWriteError, match=facts(shared / name)):
        _paper._write_prediction(shared / "predictions" / "1_direct.zarr", image)


def test_generated_scenes_lead_nowhere_else(shared, canary, small_region):
    with pytest.raises(KeyboardInterrupt):
        write_landsat(small_region, shared, stop)
    (scene,) = [p for p in shared.iterdir() if p.is_dir()]
    band = next(scene.glob("*_SR_B2.TIF"))
    band.unlink()
    band.symlink_to(canary / "a.txt")
    with pytest.raises(KeyboardInterrupt):
        write_landsat(small_region, shared, stop)
    assert not band.is_symlink()
    shutil.rmtree(scene)
    scene.symlink_to(canary)
    with pytest.raises(StoreWriteError, match=facts(scene)):
        write_landsat(small_region, shared, stop)


def stop(*_):
    raise KeyboardInterrupt


# --- readers --------------------------------------------------------------------------------------

READERS = [
    "info fine.zarr fused.zarr", "info icechunk://ice", "verify icechunk://ice",
    "roll-back icechunk://ice", "verify fine.zarr", "verify fused.zarr", "plan config.toml",
    "cluster config.toml", "ingest config.toml --dry-run", "train config.toml --dry-run",
    "fuse config.toml --dry-run", "update config.toml --dry-run", "status config.toml --dry-run",
    "tidy config.toml --dry-run", "evaluate config.toml --dry-run --date 2021-04-17",
    "export fused.zarr tifs --dry-run", "publish fused.zarr stac --dry-run",
    "rechunk fused.zarr copy.zarr --for maps --dry-run", "demo --output fused.demo --dry-run",
]  # fmt: skip


def test_reading_commands_change_nothing(shared, config, monkeypatch):
    """Also where a killed run has left locks, unfinished files and a store under another name."""
    monkeypatch.chdir(shared)
    pytest.importorskip("icechunk")
    for output in ("fused.zarr", "icechunk://ice"):
        biastf_xr.write_fused("fine.zarr", "coarse.zarr", output, "direct", dates=["2021-04-15"])
    write_status(config)
    (shared / "fused.zarr").rename(shared / ".fused.zarr.old")
    (shared / ".coarse.zarr.lock").write_text("{}")
    (shared / ".fine.zarr.0123abcd.partial").mkdir()
    (shared / ".fine.zarr.lock").symlink_to(shared / "config.toml")
    before = tree(shared)
    for words in READERS:
        done = CliRunner().invoke(app, words.split())
        assert done.exit_code == 0, (words, done.output)
        assert tree(shared) == before, words
    assert biastf_xr.open_cube("fused.zarr").load().sizes["time"] == 1
    assert tree(shared) == before


@in_time
@pytest.mark.parametrize("place", ["zarr.json", "time/c/0", "red/c", "ingest"])
def test_commands_name_what_is_no_regular_file(place, shared, canary, config, monkeypatch):
    """None waits for a pipe, none goes on as if a pixel were missing."""
    monkeypatch.chdir(shared)
    path = shared / "fine.zarr" / place
    if path.is_dir():
        path = next(p for p in sorted(path.rglob("*")) if p.is_file() and p.name != "zarr.json")
    path.unlink()
    os.mkfifo(path)
    told = {}
    for words in ("info fine.zarr", "verify fine.zarr", "fuse config.toml", "export fine.zarr t"):
        done = CliRunner().invoke(app, words.split())
        assert isinstance(done.exception, BiastfError | SystemExit | None), done.exception
        told[words] = f"{done.output} {done.exception}".replace("\n", "")
    assert "pipe" in told["verify fine.zarr"], told
    assert place == "ingest" or "pipe" in told["export fine.zarr t"], told


# --- one place ------------------------------------------------------------------------------------

ROOT = Path(biastf_xr.__file__).parents[1]
PLACE = ("_files.py", "_lock.py", "_plain.py", "_regular.py")

# What makes, moves or removes by itself, or opens whatever it finds.
MAKERS = {
    "mkdir", "makedirs", "mkstemp", "rmtree", "rmdir", "touch", "symlink_to", "hardlink_to",
    "copyfile", "copy2", "copytree", "NamedTemporaryFile", "LocalStore", "chmod",
}  # fmt: skip
# What writes to a name or an object: of a file that replaces another, or of a store that is edited.
WRITERS = {"write_text", "write_bytes", "savefig", "to_csv", "to_zarr", "to_netcdf", "to_json"}
GIVEN = {"partial", "file", "store", "edit.store", "root.store"}
# Where what is written or read is nobody else's: a test of the disk, files of the package, the
# program itself, a folder of this process.
ALLOWED = {
    ("_doctor.py", "write_bytes"), ("_guard.py", "read_bytes"), ("_html.py", "read_text"),
    ("status.py", "read_text"), ("benchmark_sets.py", "read_text"), ("_published.py", "open"),
    ("_tables.py", "to_json"), ("_reach.py", "read_text"), ("stac.py", "read_text"),
    ("_command.py", "open"), ("_connect.py", "mkdir"),
}  # fmt: skip


def calls():
    for folder in ("biastf_xr", "pipelines"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield path, node


def subject(call):
    """Return what a call writes to: its first argument, or the path whose method it is."""
    of_path = isinstance(call.func, ast.Attribute) and call.func.attr.startswith("write_")
    found = call.func.value if of_path else call.args[0] if call.args else None
    return ast.unparse(found) if found is not None else "nothing"


def is_wrong(call, name):
    if name in MAKERS:
        return True
    method = isinstance(call.func, ast.Attribute)  # functions of these names are ours
    if name in WRITERS:
        return method and subject(call) not in GIVEN
    if name in ("read_text", "read_bytes"):
        return method
    if name != "open":
        return False
    owner = ast.unparse(call.func.value) if method else "builtins"
    if owner == "rasterio" and any(ast.unparse(a) == "'w'" for a in call.args[1:2]):
        return subject(call) not in {"partial", "plain"}
    return owner not in {"rasterio", "tarfile", "client.Client", "_icechunk().Repository"}


def test_files_are_made_and_read_in_one_place():
    seen, found = set(), []
    for path, call in calls():
        func = call.func
        name = getattr(func, "attr", getattr(func, "id", ""))
        seen.add(name)
        if path.name in PLACE or (path.name, name) in ALLOWED or not is_wrong(call, name):
            continue
        found.append(f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)[:80]}")
    assert {"savefig", "to_csv", "to_zarr", "write_text", "open", "rmtree"} <= seen
    assert not found, "\n".join(["use biastf_xr._files:", *found])


@pytest.mark.parametrize(
    "line",
    ["open('x', 'w')", "path.open('rb')", "path.write_text('x')", "figure.savefig(path)",
     "table.to_csv(path)", "path.mkdir()", "shutil.rmtree(path)", "path.read_bytes()",
     "rasterio.open(path, 'w', driver='GTiff')", "os.open(path, 0)", "ds.to_zarr(path)"],
)  # fmt: skip
def test_what_goes_around_it_is_seen(line):
    (call,) = [n for n in ast.walk(ast.parse(line)) if isinstance(n, ast.Call)]
    assert is_wrong(call, getattr(call.func, "attr", getattr(call.func, "id", "")))
