"""From scene files to cubes: values, reruns, refusals that leave nothing behind."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from affine import Affine
from checks import facts

from biastf_xr.cube import ingest
from biastf_xr.cube._cube import layout_of, open_cube
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import (
    CubeStructureError,
    GridMismatchError,
    ReflectanceRangeError,
    SceneError,
    StoreLockedError,
    StoreWriteError,
)
from biastf_xr.sources import build_product

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
LANDSAT = build_product("landsat-c2-l2")
TIFFS = build_product(
    "geotiff", layers=("red", "nir"), pattern="L_%Y%m%d.tif", factor=1e-4, nodata=-9999
)


def write_tiff(folder, day, *, size=(24, 20), value=None, corner=(600, 900), resolution=30):
    """Write a scene of two bands; random by default, one pixel missing."""
    rng = np.random.default_rng(int(day))
    values = rng.integers(200, 5000, (2, *size)) if value is None else np.full((2, *size), value)
    values[0, 0, 0] = -9999
    folder.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        folder / f"L_{day}.tif", "w", driver="GTiff", count=2, height=size[0], width=size[1],
        dtype="int16", crs="EPSG:32613",
        transform=Affine(resolution, 0, corner[0], 0, -resolution, corner[1]),
    ) as file:  # fmt: skip
        file.write(values.astype("int16"))
    return values


def contents(path):
    """Every file below a folder, with its bytes and its time of change."""
    return {
        str(f.relative_to(path)): (f.read_bytes(), f.stat().st_mtime_ns)
        for f in sorted(path.rglob("*"))
        if f.is_file()
    }


@pytest.fixture
def scenes(tmp_path):
    """Write three scenes."""
    folder = tmp_path / "scenes"
    for day in ("20010401", "20010409", "20010417"):
        write_tiff(folder, day)
    return folder


@pytest.fixture
def store(tmp_path, scenes):
    """Ingest the three scenes."""
    path = tmp_path / "cube.zarr"
    ingest(TIFFS, scenes, path, kind="fine")
    return path


def refused(error, message, folder, path, product=TIFFS, **options):
    """Ingest, expect a refusal, and check that nothing beside the cube was touched."""
    before = contents(path.parent)
    with pytest.raises(error, match=message):
        ingest(product, folder, path, **{"kind": "fine", **options})
    assert contents(path.parent) == before
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".")]


def days_of(path):
    """List the days that have a scene."""
    return [str(d) for d in open_cube(path)["time"].values.astype("M8[D]")]


# --- values -------------------------------------------------------------------------------------


def test_cube_holds_the_clear_pixels_of_every_scene(small_cubes, small_region):
    ds = open_cube(small_cubes.fine).load()
    for date in small_region.fine_dates:
        scene = small_region.fine_scene(date)
        clear = (scene.qa_pixel & 0b11111) == 0
        day = ds.sel(time=date)
        np.testing.assert_array_equal(day["clear"], clear)
        for i, band in enumerate(BANDS):
            # Half a digital number and half a unit of the rounded mantissa.
            error = np.abs(day[band] - scene.reflectance[i]).to_numpy()[clear]
            assert error.max() < 1.4e-5 + 6.2e-5
        assert float(day["clear_fraction"]) == pytest.approx(clear.mean(), abs=1e-6)


def test_coarse_cube_holds_the_clear_pixels_of_every_day(small_cubes, small_region):
    ds = open_cube(small_cubes.coarse).load()
    assert ds.sizes == {"time": 48, "y": 10, "x": 9}
    for date in small_region.dates[::7]:
        scene = small_region.coarse_scene(date)
        day = ds.sel(time=date)
        clear = (day["clear"] == 1).to_numpy()
        assert not (clear & ~scene.clear).any()
        if clear.any():
            assert np.abs(day["nir"] - scene.reflectance[3]).to_numpy()[clear].max() < 1.2e-4
    assert float(ds["clear"].mean()) > 0.3


def test_pixel_missing_in_one_band_is_missing_in_all(store):
    ds = open_cube(store).load()
    assert np.isnan(ds["nir"][:, 0, 0]).all()
    assert (ds["clear"][:, 0, 0] == 0).all()
    assert int(ds["clear"].sum()) == 3 * (24 * 20 - 1)


def test_report_tells_what_was_done(tmp_path, scenes):
    seen = []
    report = ingest(
        TIFFS, scenes, tmp_path / "cube.zarr", kind="fine", progress=lambda *a: seen.append(a)
    )
    ids = ("L_20010401.tif", "L_20010409.tif", "L_20010417.tif")
    assert report.path == str(tmp_path / "cube.zarr")
    assert report.added == pytest.approx(dict.fromkeys(ids, 479 / 480))
    assert not any([report.excluded, report.rejected, report.replaced, report.unchanged])
    assert seen == [(name, i + 1, 3) for i, name in enumerate(ids)]


def test_provenance_is_in_the_attributes(store):
    ds = xr.open_zarr(store)
    attrs = ds.attrs
    assert json.loads(str(ds["scenes"].values[8])) == ["L_20010409.tif"]
    assert ds.sizes["time"] == 17
    assert np.isnan(ds["clear_fraction"].values[1])
    assert "ingested 3 scenes" in attrs["history"]
    assert attrs["source"] == "geotiff"
    assert attrs["Conventions"] == "CF-1.11"


@pytest.mark.parametrize("kind", ["fine", "coarse"])
def test_small_shards_hold_the_same_values(tmp_path, kind):
    for day in ("20010401", "20010409", "20010417"):
        write_tiff(tmp_path / "scenes", day, size=(70, 100))
    for shard in (1024, 32):
        ingest(TIFFS, tmp_path / "scenes", tmp_path / f"{shard}.zarr", kind=kind, shard=shard)
    whole, parts = open_cube(tmp_path / "1024.zarr"), open_cube(tmp_path / "32.zarr")
    assert layout_of(whole).shards[1:] == (70, 100)
    assert layout_of(parts).shards[1:] == (32, 32)
    assert set(np.unique(whole["source"])) == {0, 1}
    for name in ("red", "nir", "clear", "clear_fraction"):
        np.testing.assert_array_equal(whole[name], parts[name])


def test_native_resolution_averages_to_the_true_grid(tmp_path):
    values = write_tiff(tmp_path / "scenes", "20010401", size=(24, 20)).astype(float)
    path = tmp_path / "coarse.zarr"
    ingest(TIFFS, tmp_path / "scenes", path, kind="coarse", native_resolution=120, shard=1024)
    ds = open_cube(path).load()
    geobox = ds.odc.geobox
    assert tuple(geobox.shape) == (6, 5)
    assert geobox.affine == Affine(120, 0, 600, 0, -120, 900)
    values[:, 0, 0] = np.nan  # missing in one band is missing in all
    for i, band in enumerate(("red", "nir")):
        want = np.nanmean(values[i].reshape(6, 4, 5, 4).transpose(0, 2, 1, 3), axis=(2, 3)) * 1e-4
        np.testing.assert_allclose(ds[band][0], want, rtol=2**-12)


def test_native_resolution_need_not_be_a_multiple(tmp_path):
    write_tiff(tmp_path / "scenes", "20010401", size=(40, 40), value=2500)
    ingest(TIFFS, tmp_path / "scenes", tmp_path / "c.zarr", kind="coarse", native_resolution=463.3)
    ds = open_cube(tmp_path / "c.zarr").load()
    assert ds["red"].shape == (1, 3, 3)
    np.testing.assert_allclose(ds["nir"], 0.25, rtol=2**-12)


def test_native_resolution_in_small_shards_is_the_same(tmp_path):
    write_tiff(tmp_path / "scenes", "20010401", size=(90, 90))
    for shard in (8, 1024):
        ingest(
            TIFFS, tmp_path / "scenes", tmp_path / f"{shard}.zarr", kind="coarse", shard=shard,
            native_resolution=70,
        )  # fmt: skip
    np.testing.assert_array_equal(
        open_cube(tmp_path / "8.zarr")["red"], open_cube(tmp_path / "1024.zarr")["red"]
    )


def test_season_and_excluded_days(tmp_path, scenes):
    path = tmp_path / "cube.zarr"
    write_tiff(scenes, "20010425")
    report = ingest(
        TIFFS, scenes, path, kind="fine", start="2001-04-09", end="2001-04-25",
        exclude=("2001-04-17",),
    )  # fmt: skip
    assert report.excluded == ("L_20010417.tif",)
    assert days_of(path) == ["2001-04-09", "2001-04-25"]


# --- again --------------------------------------------------------------------------------------


def test_rerun_with_the_same_scenes_changes_nothing(scenes, store):
    before = contents(store)
    report = ingest(TIFFS, scenes, store, kind="fine")
    assert report.added == {}
    assert len(report.unchanged) == 3
    assert contents(store) == before


def test_rerun_of_the_landsat_flow_changes_nothing(small_cubes, small_scenes):
    before = contents(small_cubes.fine)
    report = ingest(LANDSAT, small_scenes.landsat, small_cubes.fine, kind="fine")
    assert report.added == {}
    assert len(report.unchanged) == 3
    assert contents(small_cubes.fine) == before


def test_new_scene_is_added_in_order_of_time(tmp_path, scenes, store):
    old = open_cube(store).load()
    write_tiff(scenes, "20010405")
    report = ingest(TIFFS, scenes, store, kind="fine")
    assert list(report.added) == ["L_20010405.tif"]
    new = open_cube(store).load()
    assert days_of(store) == ["2001-04-01", "2001-04-05", "2001-04-09", "2001-04-17"]
    xr.testing.assert_equal(new.sel(time=old["time"]), old)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_store_of_a_run_killed_between_the_renames_is_taken_up_again(scenes, store):
    before = contents(store)
    store.rename(store.with_name(".cube.zarr.old"))
    assert ingest(TIFFS, scenes, store, kind="fine").added == {}
    assert contents(store) == before


def test_scene_gone_from_the_folder_stays_in_the_cube(scenes, store):
    before = contents(store)
    (scenes / "L_20010409.tif").unlink()
    report = ingest(TIFFS, scenes, store, kind="fine")
    assert report.kept == ("L_20010409.tif",)
    assert contents(store) == before
    assert len(days_of(store)) == 3


def test_day_excluded_later_is_taken_out_again(scenes, store):
    report = ingest(TIFFS, scenes, store, kind="fine", exclude=("2001-04-09",))
    assert [str(d) for d in report.removed] == ["2001-04-09"]
    assert days_of(store) == ["2001-04-01", "2001-04-17"]
    assert np.isnan(open_cube(store, days="all")["red"].sel(time="2001-04-09")).all()
    assert "took out 2001-04-09" in xr.open_zarr(store).attrs["history"]
    before = contents(store)
    assert not ingest(TIFFS, scenes, store, kind="fine", exclude=("2001-04-09",)).removed
    assert contents(store) == before
    ingest(TIFFS, scenes, store, kind="fine")
    assert len(days_of(store)) == 3


@pytest.mark.parametrize("kind", ["fine", "coarse"])
@pytest.mark.parametrize("backend", ["folder", "memory", "icechunk"])
def test_scenes_in_any_order_make_the_same_cube(tmp_path, kind, backend):
    roots = {"folder": str(tmp_path), "memory": f"memory://{tmp_path.name}-{kind}",
             "icechunk": f"icechunk://{tmp_path}"}  # fmt: skip
    if backend == "icechunk":
        pytest.importorskip("icechunk")
    days = ["20010401", "20010403", "20010420", "20010421", "20010509"]
    for day in days:
        write_tiff(tmp_path / "all", day)
    ingest(TIFFS, tmp_path / "all", tmp_path / "at_once.zarr", kind=kind)
    path = f"{roots[backend]}/late.zarr"
    # A plain store behind a URL cannot grow towards the past.
    for day in [days[i] for i in ((0, 3, 2, 4, 1) if backend == "memory" else (3, 1, 4, 0, 2))]:
        write_tiff(tmp_path / "arriving", day)
        report = ingest(TIFFS, tmp_path / "arriving", path, kind=kind)
        assert len(report.added) == 1
    late, at_once = open_cube(path).load(), open_cube(tmp_path / "at_once.zarr").load()
    assert late["time"].to_index().is_monotonic_increasing
    xr.testing.assert_equal(late, at_once)
    plain = xr.open_zarr(store_at(path).reader(), consolidated=store_at(path).consolidated)
    assert (np.diff(plain["time"].values).astype("m8[D]").astype(int) == 1).all()


def test_cube_behind_a_url_refuses_days_before_its_first(tmp_path):
    url = f"memory://{tmp_path.name}/cube.zarr"
    write_tiff(tmp_path / "scenes", "20010409")
    ingest(TIFFS, tmp_path / "scenes", url, kind="fine")
    write_tiff(tmp_path / "scenes", "20010401")
    with pytest.raises(
        CubeStructureError, match=facts("cube.zarr", "2001-04-09", "2001-04-01", "--overwrite")
    ):
        ingest(TIFFS, tmp_path / "scenes", url, kind="fine")
    assert days_of(url) == ["2001-04-09"]


def test_icechunk_keeps_every_version(tmp_path, scenes):
    pytest.importorskip("icechunk")
    path = f"icechunk://{tmp_path}/cube"
    ingest(TIFFS, scenes, path, kind="fine")
    first, _, message = store_at(path).versions()[0]
    assert "ingest of geotiff" in message
    write_tiff(scenes, "20010425")
    ingest(TIFFS, scenes, path, kind="fine")
    assert open_cube(path).sizes["time"] == 4
    assert open_cube(path, version=first).sizes["time"] == 3
    assert open_cube(tmp_path / "cube").sizes["time"] == 4  # a folder is recognised
    count = len(store_at(path).versions())
    ingest(TIFFS, scenes, path, kind="fine")
    assert len(store_at(path).versions()) == count
    with pytest.raises(CubeStructureError, match="'nope'"):
        open_cube(path, version="nope")


def test_exchanged_file_takes_the_place_of_the_old_one(scenes, store):
    other = open_cube(store).load()
    values = write_tiff(scenes, "20010409", value=777)
    report = ingest(TIFFS, scenes, store, kind="fine")
    assert report.replaced == {"L_20010409.tif": "L_20010409.tif"}
    new = open_cube(store).load()
    np.testing.assert_allclose(new["nir"][1, 1:], values[1, 1:] * 1e-4, rtol=2**-13)
    xr.testing.assert_equal(new["nir"][::2], other["nir"][::2])
    assert "replaced L_20010409.tif" in new.attrs["history"].splitlines()[-1]


def test_newer_processing_replaces_the_older_and_never_the_other_way(small_scenes, tmp_path):
    folder, path = tmp_path / "scenes", tmp_path / "cube.zarr"
    shutil.copytree(small_scenes.landsat, folder)
    ingest(LANDSAT, folder, path, kind="fine")
    old = [f for f in folder.rglob("*.TIF") if "_20210417_20210426_" in f.name]
    for file in old:
        newer = file.with_name(file.name.replace("_20210426_", "_20210601_"))
        shutil.copy(file, newer)
    report = ingest(LANDSAT, folder, path, kind="fine")
    new, was = next(iter(report.replaced.items()))
    assert "_20210601_" in new
    assert "_20210426_" in was
    for file in list(folder.rglob("*_20210601_*")):
        file.unlink()
    report = ingest(LANDSAT, folder, path, kind="fine")
    assert report.replaced == report.added == {}


def test_unreadable_replacement_leaves_the_day_as_it_was(scenes, store):
    before = open_cube(store).load()
    (scenes / "L_20010409.tif").write_bytes((scenes / "L_20010409.tif").read_bytes()[:700])
    report = ingest(TIFFS, scenes, store, kind="fine")
    assert list(report.rejected) == ["L_20010409.tif"]
    xr.testing.assert_equal(open_cube(store).load(), before)


def test_scenes_of_one_day_are_composed(tmp_path, scenes):
    a = write_tiff(scenes, "20010425", size=(24, 10))
    (scenes / "east").mkdir()
    b = write_tiff(scenes / "east", "20010425", size=(24, 14), corner=(780, 900), value=900)
    path = tmp_path / "cube.zarr"
    ingest(replace(TIFFS, pattern="L_%Y%m%d.tif"), scenes, path, kind="fine")
    day = open_cube(path).sel(time="2001-04-25").load()
    names = json.loads(str(day["scenes"].values))
    assert sorted(names) == ["L_20010425.tif", "east/L_20010425.tif"]
    assert len(names) == 2
    first = int(names.index("L_20010425.tif")) + 1
    image = {first: a[1], 3 - first: b[1]}
    source = day["source"].values
    assert set(np.unique(source)) == {0, 1, 2}
    assert (source[1:, :6] == first).all()
    assert (source[:, 10:] == 3 - first).all()
    np.testing.assert_allclose(day["nir"].values[1:, :6], image[first][1:, :6] * 1e-4, rtol=2**-13)
    np.testing.assert_allclose(day["nir"].values[:, 10:], image[3 - first][:, 4:] * 1e-4,
                               rtol=2**-13)  # fmt: skip


def test_tasks_may_run_on_a_dask_cluster(tmp_path, scenes):
    from biastf_xr.cluster import connect

    ingest(TIFFS, scenes, tmp_path / "here.zarr", kind="fine", shard=16)
    paths = [tmp_path / "there.zarr"]
    with connect(workers=2, threads=1) as client:
        if importlib.util.find_spec("icechunk"):
            paths.append(f"icechunk://{tmp_path}/there")
        for path in paths:
            executor = client.get_executor(pure=False)
            ingest(TIFFS, scenes, path, kind="fine", shard=16, executor=executor)
    for path in paths:
        xr.testing.assert_equal(open_cube(path).load(), open_cube(tmp_path / "here.zarr").load())


def test_cluster_starts_with_the_first_task(tmp_path, scenes, monkeypatch):
    from biastf_xr import cluster
    from biastf_xr.cluster import _connect

    started = []
    connect = cluster.connect
    monkeypatch.setattr(_connect, "connect", lambda *a, **k: started.append(1) or connect(*a, **k))
    for expected in (1, 1):
        with cluster.tasks_on_demand(workers=1) as executor:
            ingest(TIFFS, scenes, tmp_path / "cube.zarr", kind="fine", executor=executor)
        assert len(started) == expected
    assert open_cube(tmp_path / "cube.zarr").sizes["time"] == 3


def test_interrupted_run_is_completed_by_the_next(tmp_path, scenes, monkeypatch):
    from biastf_xr.cube import _fill as module

    for day in range(10, 30):
        write_tiff(scenes, f"200105{day}")
    path = tmp_path / "cube.zarr"
    monkeypatch.setattr(module, "BATCH_GROUPS", 4)

    def stop(name, done, total):
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(TIFFS, scenes, path, kind="fine", progress=stop)
    part = open_cube(path)
    assert 0 < part.sizes["time"] < 23
    report = ingest(TIFFS, scenes, path, kind="fine")
    assert 0 < len(report.unchanged) < 23
    assert len(report.unchanged) + len(report.added) == 23
    ingest(TIFFS, scenes, tmp_path / "whole.zarr", kind="fine")
    xr.testing.assert_equal(open_cube(path).load(), open_cube(tmp_path / "whole.zarr").load())


KILLED = """
import os, sys
from biastf_xr.cube import _compose as compose, _ingest as ingest
from biastf_xr.sources import build_product
write, count = compose.write_window, [0]
def dying(*args):
    count[0] += 1
    if count[0] == int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    write(*args)
compose.write_window = dying
product = build_product("geotiff", layers=("red", "nir"), pattern="L_%Y%m%d.tif", factor=1e-4,
                        nodata=-9999)
ingest.ingest(product, sys.argv[1], sys.argv[2], kind="fine", shard=16)
"""


@pytest.mark.parametrize("moment", [1, 5])
def test_killed_process_loses_nothing_that_was_finished(tmp_path, scenes, moment):
    path = tmp_path / "cube.zarr"
    command = [sys.executable, "-c", KILLED, str(scenes), str(path), str(moment)]
    assert subprocess.run(command, check=False).returncode == -9
    ingest(TIFFS, scenes, path, kind="fine", shard=16)
    ingest(TIFFS, scenes, tmp_path / "whole.zarr", kind="fine", shard=16)
    xr.testing.assert_equal(open_cube(path).load(), open_cube(tmp_path / "whole.zarr").load())
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".partial")]


def test_second_ingest_at_once_is_refused_by_name(scenes, store):
    holder = facts("cube.zarr", f"process {os.getpid()}")
    with store_at(store).lock(), pytest.raises(StoreLockedError, match=holder):
        ingest(TIFFS, scenes, store, kind="fine")
    ingest(TIFFS, scenes, store, kind="fine")


def test_full_disk_keeps_what_was_finished(tmp_path, scenes, store, monkeypatch):
    from biastf_xr.cube import _compose as compose

    before = open_cube(store).load()
    write_tiff(scenes, "20010425")

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(compose, "write_window", full)
        with pytest.raises(StoreWriteError, match="No space left"):
            ingest(TIFFS, scenes, store, kind="fine")
    xr.testing.assert_equal(open_cube(store).load(), before)
    ingest(TIFFS, scenes, store, kind="fine")
    assert len(days_of(store)) == 4


# --- bad input: the good stays usable -----------------------------------------------------------


def taken(scenes, path, bad, reason, product=TIFFS, **options):
    """Ingest, and check that one scene is rejected for a reason and the three others are in."""
    report = ingest(product, scenes, path, **{"kind": "fine", **options})
    assert list(report.rejected) == [bad]
    assert re.search(reason, report.rejected[bad]), report.rejected[bad]
    assert len(report.added) == 3
    assert days_of(path) == ["2001-04-01", "2001-04-09", "2001-04-17"]


def test_truncated_file_is_named(tmp_path, scenes):
    write_tiff(scenes, "20010425", size=(200, 200))
    file = scenes / "L_20010425.tif"
    file.write_bytes(file.read_bytes()[:20_000])
    taken(scenes, tmp_path / "cube.zarr", "L_20010425.tif", r"cannot be .*L_20010425\.tif")


def test_truncated_layer_is_named_and_no_other(small_scenes, tmp_path):
    folder = tmp_path / "scenes"
    shutil.copytree(small_scenes.landsat, folder)
    scene = next(p for p in sorted(folder.iterdir()) if "_20210417_" in p.name)
    file = scene / f"{scene.name}_SR_B5.TIF"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    report = ingest(LANDSAT, folder, tmp_path / "cube.zarr", kind="fine")
    (reason,) = report.rejected.values()
    assert str(file) in reason
    assert "QA_PIXEL" not in reason


def test_file_that_is_no_raster_is_named(tmp_path, scenes):
    (scenes / "L_20010425.tif").write_text("not a raster")
    taken(scenes, tmp_path / "cube.zarr", "L_20010425.tif", r"L_20010425\.tif: cannot be opened")


def test_unreadable_date_is_named(tmp_path, scenes):
    write_tiff(scenes, "20010425")
    (scenes / "L_20010425.tif").rename(scenes / "L_20011325.tif")
    taken(scenes, tmp_path / "cube.zarr", "L_20011325.tif", "is not a day")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("failure", [ValueError, KeyError, OSError, SceneError, RuntimeError])
def test_failure_of_any_kind_rejects_one_scene_and_no_other(
    tmp_path, scenes, monkeypatch, failure, first
):
    """Libraries raise anything over a damaged file, and the first scene gives the grid."""
    day = "20010325" if first else "20010425"
    write_tiff(scenes, day)

    class Fussy(type(TIFFS)):
        def open_scene(self, scene):
            if day in scene.id:
                raise failure("layers of 60 m and 30 m")
            return super().open_scene(scene)

    product = Fussy(**vars(TIFFS))
    taken(scenes, tmp_path / "cube.zarr", f"L_{day}.tif", "layers of 60 m", product)


def test_first_scene_in_degrees_is_named_and_the_others_are_taken(tmp_path, scenes):
    write_tiff(scenes, "20010325")
    with rasterio.open(scenes / "L_20010325.tif", "r+") as file:
        file.crs = "EPSG:4326"
        file.transform = Affine(0.001, 0, 9, 0, -0.001, 50)
    taken(scenes, tmp_path / "cube.zarr", "L_20010325.tif", "4326")


def test_second_crs_in_a_folder_is_named(tmp_path, scenes):
    write_tiff(scenes, "20010425")
    with rasterio.open(scenes / "L_20010425.tif", "r+") as file:
        file.crs = "EPSG:32614"
    taken(scenes, tmp_path / "cube.zarr", "L_20010425.tif", r"EPSG:32614.*EPSG:32613.*\[grid\]")


def test_scene_elsewhere_is_named_and_not_looked_at_again(tmp_path, scenes):
    write_tiff(scenes, "20010425", corner=(6000, 900))
    path = tmp_path / "cube.zarr"
    taken(scenes, path, "L_20010425.tif", "outside the cube's region")
    before = contents(path)
    assert ingest(TIFFS, scenes, path, kind="fine").added == {}
    assert contents(path) == before


def test_scale_already_applied_is_named(tmp_path, scenes):
    write_tiff(scenes, "20010425")
    with rasterio.open(scenes / "L_20010425.tif") as file:
        profile, values = file.profile, file.read()
    with rasterio.open(scenes / "L_20010425.tif", "w", **profile | {"dtype": "float32"}) as file:
        file.write((values * 1e-4).astype("float32"))
    taken(scenes, tmp_path / "cube.zarr", "L_20010425.tif", "scaled already")


def test_cloudy_scene_is_taken_and_told(tmp_path, scenes):
    write_tiff(scenes, "20010425", value=-9999)
    report = ingest(TIFFS, scenes, tmp_path / "cube.zarr", kind="fine")
    assert report.added["L_20010425.tif"] == 0
    assert float(open_cube(tmp_path / "cube.zarr")["clear_fraction"][-1]) == 0


def test_folder_that_cannot_be_written_is_named(tmp_path, scenes):
    (tmp_path / "file").touch()  # no folder can be made in it, whoever asks
    with pytest.raises(StoreWriteError, match=facts("file/cube.zarr", "Correct the path")):
        ingest(TIFFS, scenes, tmp_path / "file" / "cube.zarr", kind="fine")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_folder_without_permission_is_named(tmp_path, scenes):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StoreWriteError, match=facts("locked", "permissions")):
        ingest(TIFFS, scenes, tmp_path / "locked" / "cube.zarr", kind="fine")


def test_disk_full_outside_the_pixels_is_named_too(tmp_path, scenes, store, monkeypatch):
    from biastf_xr.cube import _ingest as module

    def full(*args):
        raise OSError(28, "No space left on device")

    write_tiff(scenes, "20010425")
    before = open_cube(store).load()
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_records", full)
        with pytest.raises(StoreWriteError, match=facts("cube.zarr", "No space left")):
            ingest(TIFFS, scenes, store, kind="fine")
    xr.testing.assert_equal(open_cube(store).load(), before)
    assert ingest(TIFFS, scenes, store, kind="fine").added.keys() == {"L_20010425.tif"}


def test_second_committer_of_an_icechunk_store_is_told(tmp_path, scenes):
    pytest.importorskip("icechunk")
    url = f"icechunk://{tmp_path}/cube"
    ingest(TIFFS, scenes, url, kind="fine")
    with store_at(url).edit("first") as first:
        second = store_at(url).edit("second").__enter__()
        for name, edit in (("first", first), ("second", second)):
            zarr.open_group(edit.store, mode="r+").attrs["who"] = name
    with pytest.raises(StoreLockedError, match=facts("cube", "another writer")):
        second.checkpoint("second")
    assert open_cube(url).attrs["who"] == "first"


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "grid", [{"corner": (615, 900)}, {"resolution": 31}], ids=["half a pixel", "coarser"]
)
def test_scene_on_another_grid_is_named(tmp_path, scenes, grid):
    write_tiff(scenes, "20010425", **grid)
    taken(scenes, tmp_path / "cube.zarr", "L_20010425.tif", "lies on .* the cube on")


def test_scene_of_another_extent_is_cut_and_padded(tmp_path, scenes):
    # Two columns to the left and three rows down of the others, and larger.
    dn = write_tiff(scenes, "20010425", size=(30, 25), corner=(540, 810))
    path = tmp_path / "cube.zarr"
    ingest(TIFFS, scenes, path, kind="fine")
    made = open_cube(path)["nir"].sel(time="2001-04-25").values
    assert made.shape == (24, 20)
    assert np.isnan(made[:3]).all()
    np.testing.assert_allclose(made[3:], dn[1, :21, 2:22] * 1e-4, rtol=2**-13)


def test_late_scene_that_comes_first_keeps_the_extent_of_the_cube(scenes, store):
    write_tiff(scenes, "20010301", size=(26, 26), corner=(540, 960))
    ingest(TIFFS, scenes, store, kind="fine")
    cube = open_cube(store)
    assert cube["nir"].shape == (4, 24, 20)
    assert np.isfinite(cube["nir"][0]).all()


def test_store_of_other_bands_is_refused(scenes, store):
    other = build_product("geotiff", layers=("red", "swir1"), pattern="L_%Y%m%d.tif", factor=1e-4)
    message = r"bands \['red', 'nir'\].*\['red', 'swir1'\].*--overwrite"
    refused(CubeStructureError, message, scenes, store, other)


def test_store_of_another_kind_is_refused(scenes, store):
    refused(CubeStructureError, r"is a fine cube.*a coarse cube", scenes, store, kind="coarse")


def test_store_on_another_grid_is_refused(tmp_path, store):
    write_tiff(tmp_path / "other", "20010401", resolution=31)
    before = open_cube(store).load()
    with pytest.raises(
        SceneError,
        match=facts("other", "L_20010401.tif", "24 x 20 px of 31", "24 x 20 px of 30", "[grid]"),
    ):
        ingest(TIFFS, tmp_path / "other", store, kind="fine")
    xr.testing.assert_identical(open_cube(store).load(), before)


def test_folder_that_is_no_cube_is_left_alone(tmp_path, scenes):
    path = tmp_path / "cube.zarr"
    path.mkdir()
    (path / "precious.txt").write_text("mine")
    refused(CubeStructureError, "something else, which is left alone", scenes, path)
    refused(CubeStructureError, "something else", scenes, path, overwrite=True)


def test_unscaled_values_are_refused_with_the_remedy(tmp_path, scenes):
    raw = build_product("geotiff", layers=("red", "nir"), pattern="L_%Y%m%d.tif")
    message = r"3 rejected.*L_20010401\.tif: its pixels: median value .*factor = 1e-4"
    refused(SceneError, message, scenes, tmp_path / "cube.zarr", raw)


def test_scenes_without_a_clear_pixel_are_refused(tmp_path):
    for day in ("20010401", "20010402"):
        write_tiff(tmp_path / "scenes", day, value=-9999)
    refused(
        ReflectanceRangeError, facts("2 scenes", "L_20010401.tif, L_20010402.tif", "nodata"),
        tmp_path / "scenes", tmp_path / "cube.zarr",
    )  # fmt: skip


def test_native_resolution_finer_than_the_files_is_refused(tmp_path, scenes):
    refused(
        GridMismatchError, "native_resolution 15 is smaller", scenes, tmp_path / "cube.zarr",
        native_resolution=15,
    )  # fmt: skip


def test_folder_without_scenes_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    message = facts("no scene of geotiff", "empty", "expected files")
    refused(SceneError, message, tmp_path / "empty", tmp_path / "cube.zarr")


def test_season_without_scenes_is_refused_with_both_spans(tmp_path, scenes):
    refused(
        SceneError, r"none of the 3 scenes.*2001-04-01 to 2001-04-17.*2005-01-01", scenes,
        tmp_path / "cube.zarr", start="2005-01-01", end="2005-12-31",
    )  # fmt: skip


def test_a_rerun_with_other_options_of_the_product_is_refused(scenes, store):
    other = replace(TIFFS, nodata=7.0)
    refused(CubeStructureError, r"nodata=7\.0.*--overwrite", scenes, store, other)
