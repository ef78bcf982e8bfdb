"""Cubes that lie about themselves: every command names what is wrong, in little time and memory.

Commands run in forks of one process, which may not take more memory and time than the bound.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from checks import facts
from numcodecs import blosc, zstd
from typer.testing import CliRunner

import biastf_xr
from biastf_xr.cli._app import app
from biastf_xr.cube import open_cube, verify
from biastf_xr.cube._cube import Cube
from biastf_xr.cube.stores import store_at
from biastf_xr.cube.stores._bounded import zstd_size
from biastf_xr.errors import CubeStructureError

# What a command may need more than with an honest cube.
BYTES, SECONDS = 500 << 20, 5

# What one needs with an honest cube: room for the stacks of threads, and for what it imports.
HONEST_BYTES, HONEST_SECONDS = 500 << 20, 10

CONFIG = """
[fine]
product = "landsat-c2-l2"
folder = "{scenes.landsat}"
cube = "fine.zarr"

[coarse]
product = "mod09ga"
folder = "{scenes.modis}"
cube = "coarse.zarr"

[method]
name = "direct"

[fuse]
output = "fused.zarr"
start = 2021-04-16
end = 2021-04-17

[cluster]
kind = "in-process"
"""

COMMANDS = {
    "info": ["info", "fine.zarr"],
    "verify": ["verify", "fine.zarr"],
    "plan": ["plan", "config.toml", "--dry-run"],
    "ingest": ["ingest", "config.toml"],
    "fuse": ["fuse", "config.toml"],
    "update": ["update", "config.toml"],
}

# Those of which one is tried with each lie.
OTHERS = ("plan", "ingest", "fuse", "update")

# Reads a folder, limits and the words of a command as a line of JSON; answers with how it ended.
SERVER = """
import json, os, resource, sys, tempfile
import psutil
import biastf_xr.region, biastf_xr.cube, biastf_xr._update.job, biastf_xr._update.status
import rioxarray, zarr, xarray, distributed, matplotlib.pyplot
from biastf_xr.cli import main

for line in sys.stdin:
    folder, memory, seconds, words = json.loads(line)
    told = tempfile.TemporaryFile()
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.dup2(told.fileno(), 1)
        os.dup2(told.fileno(), 2)
        sys.argv = ["biastf-xr", *words]
        most = psutil.Process().memory_info().vms + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 99
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    told.seek(0)
    text = told.read().decode("utf-8", "replace")
    print(json.dumps([os.waitstatus_to_exitcode(status), text]), flush=True)
"""


@pytest.fixture(scope="module")
def run():
    """Return what runs a command in a folder with limits, and returns its exit code and output."""
    small = {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "COLUMNS": "300"}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], text=True, env=os.environ | small,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as server:  # fmt: skip

        def _run(folder: Path, words: list[str]) -> tuple[int, str]:
            limits = HONEST_BYTES + BYTES, HONEST_SECONDS + SECONDS
            server.stdin.write(json.dumps([str(folder), *limits, words]) + "\n")
            server.stdin.flush()
            code, told = json.loads(server.stdout.readline())
            return code, told

        yield _run
        server.stdin.close()


@pytest.fixture
def folder(small_scenes, small_cubes, tmp_path):
    """Copy the small cubes beside the configuration of a run."""
    for path in small_cubes:
        shutil.copytree(path, tmp_path / path.name)
    (tmp_path / "config.toml").write_text(CONFIG.format(scenes=small_scenes))
    return tmp_path


@pytest.fixture
def cube(folder):
    return folder / "fine.zarr"


# --- what a cube may say --------------------------------------------------------------------------


def change(cube, name, **values):
    """Change the metadata of an array, or of the cube: in its own file and in the consolidated."""
    root = json.loads((cube / "zarr.json").read_text())
    if name:
        found = root["consolidated_metadata"]["metadata"][name]
        found.update(values)
        (cube / name / "zarr.json").write_text(json.dumps(found))
    else:
        root.update(values)
    (cube / "zarr.json").write_text(json.dumps(root))


def arrays_of(cube):
    root = json.loads((cube / "zarr.json").read_text())
    nodes = root["consolidated_metadata"]["metadata"]
    return {name: about for name, about in nodes.items() if about["node_type"] == "array"}


def lengthen(cube, axis, size):
    """Say in all arrays at once that an axis is long, in one chunk."""
    for name, about in arrays_of(cube).items():
        names = about.get("dimension_names") or []
        shape = [size if n == axis else m for n, m in zip(names, about["shape"], strict=False)]
        if axis in names:
            change(cube, name, shape=shape)


def frame(size):
    """Return a frame of Zstandard that is valid, small, and unpacks to many zeros."""
    blocks = [min(1 << 17, size - at) for at in range(0, size, 1 << 17)]
    run_length = 1 << 1
    packed = b"".join(
        struct.pack("<I", n << 3 | run_length | (at == len(blocks) - 1))[:3] + b"\0"
        for at, n in enumerate(blocks)
    )
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + packed


def shard(chunk, start=0, length=None):
    """Return a shard of one chunk; by its index it may lie elsewhere."""
    index = struct.pack("<QQ", start, len(chunk) if length is None else length)
    return chunk + index + crc32c(index)


def crc32c(data):
    import google_crc32c

    return struct.pack("<I", google_crc32c.value(data))


def blosc_that_says(size):
    """Return a chunk as `red` has, which says that it unpacks to another size."""
    packed = bytearray(blosc.compress(np.zeros(96 * 80, "f4"), b"zstd", 5))
    packed[4:8] = struct.pack("<I", size)
    return bytes(packed) + crc32c(bytes(packed))


def put(cube, key, data):
    path = next((cube / key).rglob("*")) if (cube / key).is_dir() else cube / key
    packed = data if key == RED else data + crc32c(data)  # shards have their own
    (path if path.is_file() else cube / key).write_bytes(packed)


def sparse(cube, key):
    with (cube / key).open("r+b") as file:
        file.truncate(8 << 30)


def set_time(cube, values):
    put(cube, "time/c/0", zstd.compress(np.resize(np.asarray(values, "<i8"), 4096).tobytes()))


def sharded(**values):
    """Return the codecs of `red` with other values."""
    return [{"name": "sharding_indexed", "configuration": {
        "chunk_shape": [1, 96, 80], "codecs": [{"name": "bytes"}], "index_location": "end",
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}},
                         {"name": "crc32c"}],
    } | values}]  # fmt: skip


def regular(*shape):
    return {"name": "regular", "configuration": {"chunk_shape": [*shape]}}


SCENE = 16  # index of the second scene
RED = f"red/c/{SCENE}/0/0"

LIES = {
    "a chunk of days that unpacks to gigabytes": (
        lambda c: put(c, "time/c/0", frame(1 << 29)), "time/c/0", 1 << 29,
    ),
    "texts that unpack to gigabytes": (
        lambda c: put(c, "scenes/c/0", frame(8 << 30)), "scenes/c/0", 8 << 30,
    ),
    "a ledger that unpacks to gigabytes": (
        lambda c: put(c, "ingest/record/c/0", frame(8 << 30)), "ingest/record/c/0", 8 << 30,
    ),
    "more texts than a chunk has": (
        lambda c: put(c, "scenes/c/0", zstd.compress(struct.pack("<I", 2**32 - 1))), "fine.zarr",
    ),
    "a chunk that does not say its size": (
        lambda c: put(c, "time/c/0", b"\x28\xb5\x2f\xfd\x00\x58" + frame(4096 * 8)[13:]),
        "time/c/0", "does not say",
    ),
    "pixels that unpack to gigabytes": (
        lambda c: put(c, RED, shard(blosc_that_says(2**31 - 17))), RED, 2**31 - 17, 96 * 80 * 4,
    ),
    "a chunk of a shard that has gigabytes": (
        lambda c: put(c, RED, shard(blosc_that_says(96 * 80 * 4), 0, 8 << 30)), RED,
    ),
    "a chunk of a shard that lies elsewhere": (
        lambda c: put(c, RED, shard(blosc_that_says(96 * 80 * 4), 2**63, 100)), RED, 2**63,
    ),
    "a file of gigabytes": (lambda c: sparse(c, "time/c/0"), "time/c/0"),
    "a shard of gigabytes": (lambda c: sparse(c, RED), RED),
    "a ledger of gigabytes": (lambda c: sparse(c, "ingest/record/c/0"), "ingest/record/c/0"),
    "metadata of gigabytes": (lambda c: sparse(c, "zarr.json"), "zarr.json"),
    "attributes of many megabytes": (
        lambda c: change(c, "", attributes={"title": "x" * (20 << 20)}), "zarr.json", 1 << 24,
    ),
    "brackets in brackets": (
        lambda c: (c / "zarr.json").write_text("[" * 10**6), "zarr.json",
    ),
    "a billion days": (lambda c: lengthen(c, "time", 10**9), 10**9, "time"),
    "a billion rows": (lambda c: lengthen(c, "y", 10**9), 10**9, "along y"),
    "a billion days of one array": (lambda c: change(c, "time", shape=[10**9]), 10**9, "time"),
    "a ledger of a billion counts": (
        lambda c: change(c, "ingest/clear_pixels", shape=[33, 10**5, 10**5]), "clear_pixels",
        33 * 10**10,
    ),
    "a negative size": (lambda c: change(c, "y", shape=[-96]), "-96"),
    "chunks of a billion days": (
        lambda c: change(c, "time", chunk_grid=regular(10**9)), "time", 10**9,
    ),
    "shards of a billion pixels": (
        lambda c: change(c, "red", chunk_grid=regular(1, 96 * 10**5, 80 * 10**4)), "red",
    ),
    "a billion chunks in a shard": (
        lambda c: change(c, "red", chunk_grid=regular(1, 4096, 4096),
                         codecs=sharded(chunk_shape=[1, 1, 1])), "red", 4096**2,
    ),
    "chunks of nothing": (lambda c: change(c, "time", chunk_grid=regular(0)), "time"),
    "texts for pixels": (lambda c: change(c, "red", data_type="string"), "red"),
    "objects for pixels": (lambda c: change(c, "red", data_type="object"), "red", "object"),
    "values of a gigabyte each": (
        lambda c: change(c, "red", data_type="r8589934592", fill_value="AA=="), "r8589934592",
    ),
    "an odd value for what is missing": (
        lambda c: change(c, "red", fill_value={"odd": [1]}), "fine.zarr", "odd",
    ),
    "an unbounded codec": (
        lambda c: change(c, "time", codecs=[
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "gzip", "configuration": {"level": 9}},
        ]), "time", "gzip",
    ),
    "packed twice": (
        lambda c: change(c, "time", codecs=[
            {"name": "bytes", "configuration": {"endian": "little"}},
            *[{"name": "zstd", "configuration": {"level": 0, "checksum": False}}] * 2,
        ]), "time", "zstd",
    ),
    "days without units": (
        lambda c: change(c, "time", attributes={}), "time", "seconds since 1970-01-01",
    ),
    "days of another unit": (
        lambda c: change(c, "time", attributes={"units": "days since 1970-01-01"}), "time",
        "days since 1970-01-01",
    ),
    "days without end": (lambda c: set_time(c, np.arange(4096) * 10**14), "time"),
    "days before all time": (lambda c: set_time(c, [-(2**62)]), "time"),
}  # fmt: skip

# Found where pixels or the ledger are read; `info` and the like do not need them, and end well.
OF_PIXELS = {kind for kind, (_, *said) in LIES.items() if RED in said}
DEEP = OF_PIXELS | {kind for kind, (_, *said) in LIES.items() if "ingest/record/c/0" in said}


@pytest.mark.parametrize(("number", "kind"), [*enumerate(LIES)])
def test_every_command_names_a_lie_within_bounds(run, folder, cube, number, kind):
    lie, *said = LIES[kind]
    lie(cube)
    before = contents(cube)
    for name in ("info", "verify", OTHERS[number % len(OTHERS)]):
        code, told = run(folder, COMMANDS[name])
        assert code in ((0, 1, 2, 3) if kind in DEEP else (1, 2)), (name, code, told[-3000:])
        assert "Traceback" not in told, (name, told[-3000:])
        if code and name in ("info", "verify", "plan"):
            for fact in said:
                assert str(fact) in told, (name, told)
        assert name != "verify" or code
    assert contents(cube) == before or kind in OF_PIXELS


def contents(cube):
    return {p: p.stat().st_mtime_ns for p in cube.rglob("*") if p.is_file()}


def test_an_honest_cube_passes_within_the_same_bounds(run, folder):
    for words in COMMANDS.values():
        code, told = run(folder, words)
        assert code == 0, told


@pytest.mark.parametrize("kind", [k for k in LIES if k not in OF_PIXELS])
def test_python_names_a_lie_too(cube, kind):
    LIES[kind][0](cube)
    with pytest.raises(CubeStructureError, match=facts(cube.name)):
        _read_all(cube)


def _read_all(cube):
    opened = Cube(cube)
    opened.to_xarray()
    assert opened.ledger
    assert opened.clear_pixels


# --- what a scene may say -------------------------------------------------------------------------


def raster(path, **values):
    """Replace a raster by one of other sizes, in which nothing is written."""
    with rasterio.open(path) as file:
        profile = file.profile | values
    with rasterio.open(path, "w", **profile, SPARSE_OK="TRUE"):
        pass


SCENES = {
    "one strip of gigabytes": (
        {"height": 60_000, "width": 60_000, "tiled": False, "blockysize": 60_000}, 7_200_000_000,
    ),
    "one tile of gigabytes": (
        {"tiled": True, "blockxsize": 60_000, "blockysize": 60_000}, 7_200_000_000,
    ),
    "a billion columns": (
        {"width": 10**9, "tiled": True, "blockxsize": 4096, "blockysize": 4096}, 10**9,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SCENES)
def test_a_scene_that_lies_is_rejected_within_bounds(run, folder, small_scenes, tmp_path, kind):
    shutil.copytree(small_scenes.landsat, tmp_path / "landsat")
    file = next((tmp_path / "landsat").rglob("*20210417*/*SR_B4.TIF"))
    values, fact = SCENES[kind]
    raster(file, **values)
    text = CONFIG.format(scenes=small_scenes._replace(landsat=tmp_path / "landsat"))
    (folder / "config.toml").write_text(text)
    code, told = run(folder, ["ingest", "config.toml", "--overwrite"])
    assert "Traceback" not in told, told
    assert code == 0
    assert file.name in told
    assert str(fact) in told


# --- headers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_791, 65_792, 1 << 20, 40_000_000])
@pytest.mark.parametrize("checksum", [False, True])
def test_the_size_of_a_frame_is_read_from_its_header(size, checksum):
    data = np.zeros(size, "u1")
    assert zstd_size(zstd.compress(data, checksum=checksum)[:18]) == size


def test_the_frames_of_these_tests_are_valid():
    assert zstd.decompress(frame(1 << 20)) == bytes(1 << 20)


# --- what is honest -------------------------------------------------------------------------------


def test_a_cube_that_is_open_travels_with_its_bounds(cube):
    ds = open_cube(cube)
    there = pickle.loads(pickle.dumps(ds))
    np.testing.assert_array_equal(there["red"].values, ds["red"].values)
    put(cube, RED, shard(blosc_that_says(2**31 - 17)))
    with pytest.raises(CubeStructureError, match=facts(RED, 2**31 - 17)):
        pickle.loads(pickle.dumps(ds))["red"].load()


# --- damage ---------------------------------------------------------------------------------------


def findings(cube):
    return {f"{f.variable} {f.day} {f.what}" for f in verify(cube).findings}


def write(name, where, value):
    return lambda c: zarr.open_group(c, mode="r+", use_consolidated=False)[name].__setitem__(
        where, value
    )


def drop(name):
    def _drop(cube):
        root = json.loads((cube / "zarr.json").read_text())
        del root["consolidated_metadata"]["metadata"][name]
        (cube / "zarr.json").write_text(json.dumps(root))
        shutil.rmtree(cube / name)

    return _drop


DAY = 86_400
FIRST = int(np.datetime64("2021-04-01", "s").astype(int))
AXIS = FIRST + DAY * np.arange(33)

# What is done, the variable that is named, and facts.
FAULTS = {
    "a variable is missing": (drop("clear"), "clear", "missing"),
    "a coordinate is missing": (drop("scenes"), "scenes", "missing"),
    "an axis is missing": (drop("x"), "x", "missing"),
    "pixels of another type": (
        lambda c: change(c, "source", data_type="int32"), "source", "int32", "uint8",
    ),
    "days of another type": (lambda c: change(c, "time", data_type="float64"), "time", "float64"),
    "a shorter variable": (lambda c: change(c, "red", shape=[7, 96, 80]), "red", 7, 33),
    "other shards": (
        lambda c: change(c, "red", chunk_grid=regular(2, 96, 80)), "red", "(2, 96, 80)",
    ),
    "other dimensions": (lambda c: change(c, "scenes", dimension_names=["x"]), "scenes", "x"),
    "a shorter ledger": (
        lambda c: change(c, "ingest/record", shape=[5]), "ingest/record", 5, 33,
    ),
    "days twice": (
        lambda c: set_time(c, np.where(np.arange(4096) == 5, FIRST, FIRST + DAY * np.arange(4096))
                           - DAY * (np.arange(4096) > 9)), "time", "twice",
    ),
    "days backwards": (lambda c: set_time(c, AXIS[::-1]), "time", "ascend"),
    "pixels without a place": (write("x", 3, np.nan), "x", "steps"),
    "pixels at unequal steps": (write("y", 3, 6_000_000.0), "y", "steps"),
    "an unknown kind": (
        lambda c: change(c, "", attributes=attributes(c) | {"biastf_kind": 5}), "biastf_kind", 5,
    ),
    "a number for a text": (
        lambda c: change(c, "", attributes=attributes(c) | {"history": 5}), "history", 5,
    ),
    "no range": (
        lambda c: change(c, "red", attributes=arrays_of(c)["red"]["attributes"]
                         | {"valid_min": "low"}), "red", "low",
    ),
}  # fmt: skip


def attributes(cube):
    return json.loads((cube / "zarr.json").read_text())["attributes"]


@pytest.mark.parametrize("kind", FAULTS)
def test_verify_lists_what_is_wrong_with_the_structure_and_others_refuse_it(cube, kind):
    fault, variable, *said = FAULTS[kind]
    fault(cube)
    found = [f for f in verify(cube).findings if f.variable == variable]
    assert any(all(str(fact) in f.what for fact in said) for f in found), verify(cube).findings
    with pytest.raises(CubeStructureError, match=facts(cube.name)):
        open_cube(cube)


def test_verify_counts_clear_pixels_by_shard(cube):
    write("ingest/clear_pixels", (SCENE, 0, 0), 99)(cube)
    assert [f.variable for f in verify(cube).findings] == ["ingest/clear_pixels"]
    assert any("2021-04-17" in told and "99" in told for told in findings(cube))


def test_verify_compares_the_ledger_with_the_scenes(cube):
    write("ingest/record", SCENE, "")(cube)
    assert [(f.variable, f.day) for f in verify(cube).findings] == [("ingest/record", "2021-04-17")]


@pytest.mark.parametrize("text", [
    "x", "{}", "[]", '{"finished": 1, "scenes": [{"a": 1}]}', '{"finished": 1, "scenes": 5}',
    '{"finished": true, "scenes": [{"key": 1, "id": 2, "version": 3, "fingerprint": 4}]}',
    "[" * 100_000,
])  # fmt: skip
def test_a_damaged_record_is_named_by_its_day(cube, text):
    write("ingest/record", SCENE, text)(cube)
    with pytest.raises(CubeStructureError, match=facts("record", "2021-04-17", cube.name)):
        Cube(cube).ledger  # noqa: B018
    assert any(f.variable == "ingest/record" for f in verify(cube).findings)


@pytest.mark.parametrize("name", ["time", "red", "ingest", "ingest/record"])
@pytest.mark.parametrize("text", ["{", "5", "{}", '{"node_type": "array"}'])
def test_metadata_that_only_writers_read_is_named_too(folder, cube, name, text):
    """What is consolidated is sound; a writer reads the file of each array."""
    (cube / name / "zarr.json").write_text(text)
    with (
        pytest.raises(CubeStructureError, match=facts(f"{name}/zarr.json")),
        store_at(cube).edit("test") as edit,
    ):
        assert dict(edit.group.members(max_depth=None))


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"[1]", b"[" * 10**6, b'{"since": [1]}', b"5"])
def test_a_damaged_lock_that_somebody_holds_is_a_named_refusal(run, folder, content):
    with store_at(folder / "fine.zarr").lock():
        (folder / ".fine.zarr.lock").write_bytes(content)
        code, told = run(folder, COMMANDS["ingest"])
    assert (code, "Traceback" in told) == (4, False), told
    assert "fine.zarr" in told


@pytest.mark.parametrize("name", ["info", "export", "publish", "rechunk"])
def test_pixels_that_cannot_be_read_are_named(small_cubes, tmp_path, name):
    made = biastf_xr.write_fused(*small_cubes, tmp_path / "f.zarr", "nearest", dates=["2021-04-16"])
    cube = Path(made.path)
    for file in filter(Path.is_file, (cube / "status_flag/c").rglob("*")):
        data = bytearray(file.read_bytes())
        data[len(data) // 3] ^= 0xFF
        file.write_bytes(bytes(data))
    words = {
        "info": [cube], "rechunk": [cube, tmp_path / "copy.zarr"],
        "export": [cube, tmp_path / "cogs", "--bands", "status_flag"],
        "publish": [cube, tmp_path / "stac"],
    }  # fmt: skip
    done = CliRunner().invoke(app, [name, *map(str, words[name])])
    assert isinstance(done.exception, CubeStructureError), done.exception
    assert "status_flag" in str(done.exception)
    assert not list(tmp_path.glob("**/*.tif")) or name == "publish"
