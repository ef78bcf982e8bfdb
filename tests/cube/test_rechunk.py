"""Copies in another layout: the same cube, kept up to date, never half there."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from affine import Affine
from checks import facts
from odc.geo.geobox import GeoBox

from biastf_xr.cube import Cube, CubeSpec, Layout, verify
from biastf_xr.cube import _rechunk as module
from biastf_xr.cube._axis import grow
from biastf_xr.cube._cube import layout_of, open_cube, write_window
from biastf_xr.cube._ledger import DayRecord, Entry, create_ledger, write_records
from biastf_xr.cube._rechunk import layout_for, rechunk
from biastf_xr.cube._template import build_template, write_template
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import (
    ConfigError,
    CubeExistsError,
    CubeStructureError,
    StoreLockedError,
    StoreWriteError,
)
from biastf_xr.grid import Tile

SHAPE = (40, 36)
FIRST = np.datetime64("2021-04-12")


def write_days(edit, days, version="1"):
    """Write days of a cube with two bands: noise, and a record of what they were made from."""
    import zlib

    tile = Tile(0, SHAPE[0], 0, SHAPE[1])
    for day in days:
        rng = np.random.default_rng(zlib.crc32(f"{day} {version}".encode()))
        bands = {b: rng.uniform(0.02, 0.5, (1, *SHAPE)).astype("f4") for b in ("red", "nir")}
        write_window(edit.store, slice(day, day + 1), tile, bands)
        entry = Entry(f"scene {day}", f"scene {day}", version, version)
        write_records(edit.group, {day: DayRecord((entry,))})


@pytest.fixture
def cube(tmp_path):
    """Return a fine cube of four days, and a function that adds days or writes some anew."""
    path = tmp_path / "cube.zarr"
    geobox = GeoBox(SHAPE, Affine(30, 0, 455_985, 0, -30, 6_171_015), "EPSG:32755")
    layout = Layout(1, 16, 16, 32, 32)
    spec = CubeSpec("fine", ("red", "nir"), geobox, layout, {"history": "made by a test"})
    with store_at(path).build("test", replace=False) as edit:
        write_template(build_template(spec, [FIRST]), spec, edit.store)
        create_ledger(edit.group, spec, 1)
        write_days(edit, [0])

    def change(days, version="1"):
        with store_at(path).edit("test") as edit:
            grow(edit.group, FIRST + max(days))
            write_days(edit, days, version)
        return path

    change(range(1, 4))
    return change


def chunk_files(path):
    return {p.relative_to(path): p.read_bytes() for p in path.rglob("c/**/*") if p.is_file()}


@pytest.mark.parametrize("kind", ["fine", "coarse"])
def test_copy_is_the_same_cube_there_and_back(small_cubes, tmp_path, kind):
    path = getattr(small_cubes, kind)
    series, maps = tmp_path / "series.zarr", tmp_path / "maps.zarr"
    rechunk(path, series)
    rechunk(series, maps, "maps")
    want = xr.open_zarr(path).load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for copy in (series, maps):
            got = xr.open_zarr(copy).load()
            xr.testing.assert_identical(got.drop_attrs(deep=False), want.drop_attrs(deep=False))
            assert {k: v for k, v in got.attrs.items() if k in want.attrs and k != "history"} == {
                k: v for k, v in want.attrs.items() if k != "history"
            }
            for name, variable in want.variables.items():
                for key in ("compressors", "filters", "fill_value", "_FillValue", "units", "dtype"):
                    assert str(got[name].encoding.get(key)) == str(variable.encoding.get(key)), name
    assert got.attrs["biastf_copy_of"] == "series.zarr"
    assert got.attrs["history"].splitlines()[-1].endswith("copied from series.zarr for maps")
    assert len(got.attrs["history"].splitlines()) == 3
    assert layout_of(open_cube(maps)) == Layout.build("fused", want["clear"].shape[1:])
    assert verify(series).sound
    assert verify(maps).sound
    assert Cube(maps).day_hashes == Cube(path).day_hashes


def test_layout_for_series_is_long_in_time_and_small_in_space():
    assert layout_for("timeseries", (730, 2000, 2100)) == Layout(366, 32, 32, 256, 256)
    assert layout_for("timeseries", (200, 100, 20)) == Layout(200, 32, 20, 128, 20)
    assert layout_for("timeseries", (3, 100, 20)).time == 64
    assert layout_for("maps", (730, 2000, 2100)) == Layout(1, 256, 256, 1024, 1024)
    with pytest.raises(ConfigError, match=facts("'movies'", "'timeseries'", "'maps'")):
        layout_for("movies", (3, 100, 20))


@pytest.mark.parametrize("memory", [1, 100_000])
def test_memory_and_threads_change_nothing(cube, tmp_path, memory, monkeypatch):
    monkeypatch.setattr(module, "SERIES_DAYS", 3)
    monkeypatch.setattr(module, "FEWEST_DAYS", 1)
    monkeypatch.setattr(module, "SERIES_CHUNK", 8)
    monkeypatch.setattr(module, "SERIES_SHARD", 16)
    path = cube(range(4))
    rechunk(path, tmp_path / "c.zarr", memory=memory, workers=3)
    assert layout_of(open_cube(tmp_path / "c.zarr")) == Layout(3, 8, 8, 16, 16)
    xr.testing.assert_equal(xr.open_zarr(tmp_path / "c.zarr"), xr.open_zarr(path))


def test_blocks_are_whole_shards_within_memory(small_cubes):
    group = zarr.open_group(small_cubes.fine, mode="r")
    layout = Layout(1, 32, 32, 32, 32)
    shard = 32 * 32 * 4
    blocks = module._blocks(group["red"], layout, [0, 1, 2, 3, 10, 11], 3 * 3 * shard)
    assert max(b.size for b in blocks) == 3 * shard
    spans = [(b.times.start, b.times.stop) for b in blocks if b.tile.y0 == b.tile.x0 == 0]
    assert spans == [(0, 3), (3, 4), (10, 12)]
    assert len(blocks) == 3 * 9


def test_copy_is_brought_up_to_date_with_new_and_changed_days(cube, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FEWEST_DAYS", 2)
    monkeypatch.setattr(module, "SERIES_DAYS", 2)
    path, copy = cube([4]), tmp_path / "series.zarr"
    assert rechunk(path, copy, dry_run=True).changed == 5
    assert not copy.exists()
    first = rechunk(path, copy)
    assert (first.days, first.changed, first.kept) == (5, 5, 0)
    before = chunk_files(copy)
    assert rechunk(path, copy).written == 0
    assert chunk_files(copy) == before
    cube(range(5, 8))
    cube([1], version="2")
    planned = rechunk(path, copy, dry_run=True)
    seen = []
    report = rechunk(path, copy, progress=lambda *a: seen.append(a))
    # Two days share a step in time: of four steps, only that of days 2 and 3 is as it was.
    assert (report.days, report.changed) == (8, 4)
    assert (report.written, report.kept) == (3 * 5, 5)
    assert (planned.written, planned.kept) == (report.written, report.kept)
    assert [s[1:] for s in seen] == [(i + 1, len(seen)) for i in range(len(seen))]
    xr.testing.assert_equal(xr.open_zarr(copy), xr.open_zarr(path))
    assert not list(tmp_path.glob(".*"))


def test_unchanged_shards_are_not_read_again(cube, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FEWEST_DAYS", 2)
    monkeypatch.setattr(module, "SERIES_DAYS", 2)
    path, copy = cube(range(4)), tmp_path / "series.zarr"
    rechunk(path, copy)
    want = xr.open_zarr(path)["red"].isel(time=slice(2)).load()
    for chunk in (path / "red" / "c" / "0").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"damaged, and not looked at")
    cube([4])
    rechunk(path, copy)
    xr.testing.assert_equal(xr.open_zarr(copy)["red"].isel(time=slice(2)).load(), want)


def test_day_without_record_counts_as_changed(cube, tmp_path):
    path, copy = cube(range(4)), tmp_path / "series.zarr"
    del zarr.open_group(path, mode="r+", use_consolidated=False)["ingest"]
    with store_at(path).edit("test"):
        pass
    assert set(Cube(path).day_hashes.values()) == {""}
    rechunk(path, copy)
    assert rechunk(path, copy).changed == 4


def test_failure_leaves_the_older_copy(cube, tmp_path):
    path, copy = cube(range(4)), tmp_path / "series.zarr"
    rechunk(path, copy)
    before = chunk_files(copy)
    cube(range(4, 8))

    def fail(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreWriteError, match=facts("series.zarr", "No space left")):
        rechunk(path, copy, progress=fail)
    assert chunk_files(copy) == before
    assert not list(tmp_path.glob(".*"))
    assert rechunk(path, copy).changed == 4


def test_icechunk_takes_a_copy_in_one_version(cube, tmp_path):
    pytest.importorskip("icechunk")
    path, copy = cube(range(4)), f"icechunk://{tmp_path}/series"
    rechunk(path, copy)
    cube(range(4, 8))
    rechunk(path, copy)
    got = open_cube(copy, chunks=None, days="all")
    xr.testing.assert_equal(got.load(), xr.open_zarr(path).load())


def test_what_cannot_be_copied_is_said(small_cubes, cube, tmp_path):
    path, copy = cube(range(4)), tmp_path / "series.zarr"
    with pytest.raises(ConfigError, match=facts("cube.zarr")):
        rechunk(path, tmp_path / "x" / ".." / path.name)
    with pytest.raises(CubeStructureError, match=facts("nothing.zarr")):
        rechunk(tmp_path / "nothing.zarr", copy)
    shutil.copytree(small_cubes.coarse, copy)
    with pytest.raises(
        CubeExistsError, match=facts("series.zarr", "cube.zarr", "timeseries", "--overwrite")
    ):
        rechunk(path, copy)
    rechunk(path, copy, overwrite=True)
    with pytest.raises(
        CubeExistsError, match=facts("series.zarr", "cube.zarr", "maps", "--overwrite")
    ):
        rechunk(path, copy, "maps")
    with store_at(copy).lock(), pytest.raises(StoreLockedError):
        rechunk(path, copy)
    with store_at(path).edit("test") as edit:
        group = zarr.open_group(edit.store, mode="r+", use_consolidated=False)
        group.create_array("more", data=np.zeros(group["red"].shape, "u1"), chunks=(1, 40, 36),
                           dimension_names=("time", "y", "x"))  # fmt: skip
    with pytest.raises(CubeExistsError, match=facts("series.zarr", "cube.zarr", "--overwrite")):
        rechunk(path, copy)


@pytest.mark.parametrize("chunk", ["y/c/0", "red/c/0/0/0"])
def test_a_damaged_chunk_is_named(small_cubes, tmp_path, chunk):
    cube = tmp_path / "fine.zarr"
    shutil.copytree(small_cubes.fine, cube)
    data = bytearray((cube / chunk).read_bytes())
    data[len(data) // 2] ^= 1
    (cube / chunk).write_bytes(data)
    with pytest.raises(CubeStructureError, match=facts("fine.zarr", chunk.split("/")[0])):
        rechunk(cube, tmp_path / "copy.zarr")
