"""The run from store to store: what it writes, resumes, revises and refuses."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr
import zarr
from checks import facts

import biastf_xr
from biastf_xr.cube import STATUS, open_cube
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import (
    CubeStructureError,
    FusionRunError,
    MethodError,
    StoreLockedError,
    StoreWriteError,
)
from biastf_xr.fusion import FusionRule, _ledger
from biastf_xr.methods.interpolation import Direct

# Around the second fine scene, itself among them.
DAYS = [f"2021-04-{d:02d}" for d in range(13, 21)]
BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")


class Cubes(NamedTuple):
    fine: Path
    coarse: Path


@pytest.fixture
def cubes(small_cubes, tmp_path):
    """Return copies of the two cubes that a test may change."""
    folder = tmp_path / "in"
    paths = Cubes(folder / "fine.zarr", folder / "coarse.zarr")
    for source, target in zip(small_cubes, paths, strict=True):
        shutil.copytree(source, target)
    return paths


def chunks_of(path):
    """Read the bytes of every chunk of every variable with pixels."""
    path = Path(path)
    names = (*BANDS, "status_flag", "coarse_gap", "base_before", "base_after")
    files = sorted(p for name in names for p in (path / name).rglob("c/**/*") if p.is_file())
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


def touch_record(cube, day, **changes):
    """Change what a cube says its scenes of a day are, as after a reprocessing."""
    group = zarr.open_group(cube, mode="r+", use_consolidated=False)
    days = group["time"][:].astype("M8[s]").astype("M8[D]")
    place = int(np.searchsorted(days, np.datetime64(day)))
    record = json.loads(str(group["ingest/record"][place]))
    for scene in record["scenes"]:
        scene.update(changes)
    group["ingest/record"][place : place + 1] = np.array(
        [json.dumps(record)], np.dtypes.StringDType()
    )


def test_the_run_writes_what_the_lazy_graph_computes(small_cubes, tmp_path):
    fine, coarse = (open_cube(p) for p in small_cubes)
    lazy = biastf_xr.fuse(fine, coarse, "direct", dates=DAYS).load()
    output = tmp_path / "fused.zarr"
    report = biastf_xr.write_fused(*small_cubes, output, "direct", tile=48, dates=DAYS)
    assert report.pixels == 8 * 96 * 80
    stored = xr.open_zarr(output).load()
    names = ("status_flag", "coarse_gap", "base_before", "base_after", "before", "after", "time")
    for name in names:
        np.testing.assert_array_equal(stored[name], lazy[name])
    for band in ("blue", "swir2"):
        # 12 bits of mantissa: half a unit in the last place.
        np.testing.assert_allclose(stored[band], lazy[band], rtol=2**-13)
    assert stored.odc.geobox == fine.odc.geobox


def test_tiles_of_the_run_do_not_show(small_cubes, tmp_path):
    for n in (32, 1024):
        biastf_xr.write_fused(*small_cubes, tmp_path / f"{n}.zarr", "direct", tile=n, dates=DAYS)
    a, b = (xr.open_zarr(tmp_path / f"{n}.zarr").load() for n in (32, 1024))
    a.attrs = b.attrs = {}
    xr.testing.assert_equal(a, b)


def test_which_base_dates_made_a_pixel_is_recorded(small_cubes, tmp_path):
    output = tmp_path / "f.zarr"
    biastf_xr.write_fused(*small_cubes, output, "linear", dates=DAYS)
    fused = xr.open_zarr(output).load()
    two = fused["status_flag"] == STATUS["fused_two_sided"]
    assert two.any()
    assert (fused["base_before"].where(two, 1) > 0).all()
    alone = fused["status_flag"] == STATUS["fused_before_only"]
    assert (fused["base_after"].where(alone, 0) == 0).all()
    seen = fused["status_flag"] == STATUS["observed"]
    assert (fused["base_before"].where(seen, 0) == 0).all()
    day = fused["time"].values[:, None, None]
    used = day - fused["base_before"].values.astype("m8[D]")
    scenes = open_cube(small_cubes.fine)["time"].values
    assert set(np.unique(used[two.values]).astype("M8[D]")) <= set(scenes.astype("M8[D]"))


def test_a_cluster_writes_the_same_bytes(small_cubes, tmp_path, random_model):
    from biastf_xr.cluster import ClusterSpec, connect

    method = random_model(bands=BANDS, ratio=16.0)
    dates = [f"2021-04-{d:02d}" for d in range(3, 9)]
    options = {"dates": dates, "tile": 48}
    biastf_xr.write_fused(*small_cubes, tmp_path / "a.zarr", method, **options)
    seen = []
    with connect(ClusterSpec(workers=2, gpu=True)) as client:
        report = biastf_xr.write_fused(
            *small_cubes, tmp_path / "b.zarr", method, client=client, gpu=True,
            progress=lambda state: seen.append((state.done, state.total)), **options,
        )  # fmt: skip
    here, there = chunks_of(tmp_path / "a.zarr"), chunks_of(tmp_path / "b.zarr")
    assert len(here) > 20
    assert here == there
    assert seen[-1][0] == seen[-1][1] == len(seen) == report.units


# --- resuming -------------------------------------------------------------------------------------


class Interrupted(Direct):
    """Fails from the second column of tiles on, with the parameters of `Direct`."""

    def side(self, block, base):
        if block.tile.x0 > 0:
            raise RuntimeError("out of luck")
        return super().side(block, base)


def test_a_failing_unit_is_isolated_and_the_next_run_makes_only_it(small_cubes, tmp_path):
    output, log = tmp_path / "f.zarr", tmp_path / "log.jsonl"
    with pytest.raises(
        FusionRunError,
        match=facts("6 of 12 units", "f.zarr", "rows 0:48, columns 48:80", "out of luck"),
    ):
        biastf_xr.write_fused(*small_cubes, output, Interrupted(), tile=48, dates=DAYS, log=log)
    half = xr.open_zarr(output)
    west, east = (half["status_flag"].isel(x=s).values for s in (slice(48), slice(48, None)))
    assert STATUS["failed"] not in west
    assert (west != STATUS["unwritten"]).all()
    assert (east == STATUS["failed"]).any()
    events = [json.loads(line) for line in log.read_text().splitlines()]
    failed = [e for e in events if e["event"] == "failed"]
    errors = [e for e in events if e["event"] == "error" and "slot" in e]
    assert len(errors) == 3 * len(failed) > 0
    assert all("out of luck" in e["traceback"] and e["bases"] for e in errors)
    again = biastf_xr.write_fused(*small_cubes, output, "direct", tile=48, dates=DAYS, log=log)
    assert again.units == len(failed)
    biastf_xr.write_fused(*small_cubes, tmp_path / "whole.zarr", "direct", tile=48, dates=DAYS)
    assert chunks_of(output) == chunks_of(tmp_path / "whole.zarr")


def test_the_same_command_again_does_nothing(small_cubes, tmp_path):
    output = tmp_path / "f.zarr"
    first = biastf_xr.write_fused(*small_cubes, output, "linear", tile=48, dates=DAYS)
    before = chunks_of(output)
    second = biastf_xr.write_fused(*small_cubes, output, "linear", tile=48, dates=DAYS)
    assert first.units > 0
    assert (second.units, second.pixels) == (0, 0)
    assert second.kept == 8 * 4
    assert chunks_of(output) == before


@pytest.mark.parametrize("where", ["", "icechunk://"])
def test_more_days_are_added_at_either_end_and_between(small_cubes, tmp_path, where):
    output, whole = where + str(tmp_path / "f.zarr"), where + str(tmp_path / "whole.zarr")
    made = 0
    for days in (DAYS[2:4], DAYS[6:], DAYS[:2], DAYS):
        report = biastf_xr.write_fused(*small_cubes, output, "direct", tile=48, dates=days)
        made += report.pixels
    biastf_xr.write_fused(*small_cubes, whole, "direct", tile=48, dates=DAYS)
    a, b = (open_cube(p, chunks=None).load() for p in (output, whole))
    a.attrs = b.attrs = {}
    xr.testing.assert_identical(a, b)
    assert made == 8 * 96 * 80


def test_a_finished_unit_is_told_by_the_journal(small_cubes, tmp_path, monkeypatch):
    """A driver that dies before it moves the journal to the record loses nothing."""
    output = tmp_path / "f.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(_ledger, "write_lines", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            biastf_xr.write_fused(*small_cubes, output, "direct", tile=48, dates=DAYS)
    ledger = _ledger.open_ledger(zarr.open_group(store_at(output).reader(), mode="r"))
    lines, slots = _ledger.read_journal(ledger)
    assert len(slots) > 4
    assert not np.asarray(ledger["record"][:]).any()
    report = biastf_xr.write_fused(*small_cubes, output, "direct", tile=48, dates=DAYS)
    assert report.units == 0
    assert report.kept == len(lines) == 8 * 4


def test_the_ledger_names_the_scenes(small_cubes, tmp_path):
    output = tmp_path / "f.zarr"
    biastf_xr.write_fused(*small_cubes, output, "direct", tile=48, dates=DAYS)
    ledger = _ledger.open_ledger(zarr.open_group(store_at(output).reader(), mode="r"))
    record = ledger["record"][:]
    assert (record[..., _ledger.RECIPE] > 0).all()
    recipe = json.loads(str(ledger["recipes"][int(record[0, 0, 0, _ledger.RECIPE]) - 1]))
    scenes = {json.loads(str(t))["number"]: json.loads(str(t)) for t in ledger["scenes"][:]}
    bits = int(record[0, 0, 0, _ledger.BASES])
    used = [number for n, (_, number) in enumerate(recipe["bases"]) if bits >> n & 1]
    assert used
    assert all(scenes[number]["scenes"][0][0].startswith("LC0") for number in used)
    assert recipe["setting"]["method"]["method"] == "direct"
    run = json.loads(str(ledger["runs"][0]))
    assert run["state"] == "ended"
    assert run["versions"]["zarr"]


# --- revising -------------------------------------------------------------------------------------


def lift_clouds(cube):
    """Fill every scene of a cube with a value."""
    group = zarr.open_group(cube, mode="r+", use_consolidated=False)
    for place in np.flatnonzero(group["scenes"][:] != ""):
        for band in BANDS:
            group[band][place] = np.nan_to_num(group[band][place], nan=0.2)


def test_a_reprocessed_scene_redoes_only_what_it_changes(cubes, tmp_path):
    for cube in cubes:
        lift_clouds(cube)
    output = tmp_path / "f.zarr"
    biastf_xr.write_fused(*cubes, output, "direct", tile=48)
    days = open_cube(cubes.fine)["time"].values.astype("M8[D]")
    touch_record(cubes.fine, days[-1], version="zz")
    fused = open_cube(output, chunks=None)["time"].values.astype("M8[D]")
    # Between earlier scenes both dates are nearer; before the first, all scenes are candidates.
    concerned = ((fused > days[-2]) | (fused < days[0])).sum()
    report = biastf_xr.write_fused(*cubes, output, "direct", tile=48)
    assert report.revised == concerned * 4 < fused.size * 4
    assert report.pixels == report.revised * 96 * 80 // 4
    assert biastf_xr.write_fused(*cubes, output, "direct", tile=48).units == 0


def test_a_scene_without_a_clear_pixel_in_a_tile_does_not_matter_there(cubes, tmp_path):
    group = zarr.open_group(cubes.fine, mode="r+", use_consolidated=False)
    array = group["ingest/clear_pixels"]
    days = open_cube(cubes.fine)["time"].values.astype("M8[D]")
    axis = group["time"][:].astype("M8[s]").astype("M8[D]")
    assert (array[np.searchsorted(axis, days[0])] > 0).all()
    output = tmp_path / "f.zarr"
    biastf_xr.write_fused(*cubes, output, "direct", tile=48)
    array[int(np.searchsorted(axis, days[-1]))] = 0
    revised = biastf_xr.write_fused(*cubes, output, "direct", tile=48)
    assert revised.units > 0
    touch_record(cubes.fine, days[-1], version="zz")
    assert biastf_xr.write_fused(*cubes, output, "direct", tile=48).units == 0


def test_a_new_coarse_scene_that_fills_nothing_makes_nothing(cubes, tmp_path):
    """Other scenes of the days around may be exchanged: the digest of what is used decides."""
    output = tmp_path / "f.zarr"
    biastf_xr.write_fused(*cubes, output, "direct", tile=48, dates=DAYS)
    before = chunks_of(output)
    touch_record(cubes.coarse, "2021-04-16", version="zz")
    report = biastf_xr.write_fused(*cubes, output, "direct", tile=48, dates=DAYS)
    assert report.pixels == 0
    assert report.unchanged == 8 * 4
    assert chunks_of(output) == before
    assert biastf_xr.write_fused(*cubes, output, "direct", tile=48, dates=DAYS).units == 0


def test_a_filled_coarse_gap_redoes_the_dates_that_see_it(cubes, tmp_path):
    output = tmp_path / "f.zarr"
    biastf_xr.write_fused(*cubes, output, "direct", tile=48, dates=DAYS)
    group = zarr.open_group(cubes.coarse, mode="r+", use_consolidated=False)
    place = int(np.searchsorted(group["time"][:].astype("M8[s]"), np.datetime64("2021-04-17")))
    for band in BANDS:
        group[band][place] = np.where(np.isnan(group[band][place]), 0.3, group[band][place] + 0.01)
    touch_record(cubes.coarse, "2021-04-17", version="zz")
    report = biastf_xr.write_fused(*cubes, output, "direct", tile=48, dates=DAYS)
    assert report.pixels > 0
    fresh = tmp_path / "fresh.zarr"
    biastf_xr.write_fused(*cubes, fresh, "direct", tile=48, dates=DAYS)
    assert chunks_of(output) == chunks_of(fresh)


def test_a_one_sided_day_becomes_two_sided_when_the_next_scene_arrives(cubes, tmp_path):
    days = [str(d)[:10] for d in open_cube(cubes.fine)["time"].values]
    late = [d for d in DAYS if d > days[1]]
    output = tmp_path / "f.zarr"
    biastf_xr.write_fused(*cubes, output, "direct", dates=late, withhold=days[2:])
    before = xr.open_zarr(output)["status_flag"].values
    assert STATUS["fused_two_sided"] not in before
    biastf_xr.write_fused(*cubes, output, "direct", dates=late)
    after = xr.open_zarr(output)["status_flag"].values
    assert (after == STATUS["fused_two_sided"]).any()
    fresh = tmp_path / "fresh.zarr"
    biastf_xr.write_fused(*cubes, fresh, "direct", dates=late)
    assert chunks_of(output) == chunks_of(fresh)


def test_another_method_is_refused_unless_asked_for(small_cubes, tmp_path):
    output = tmp_path / "f.zarr"
    biastf_xr.write_fused(*small_cubes, output, "linear", dates=DAYS)
    before = chunks_of(output)
    with pytest.raises(
        MethodError, match=facts("f.zarr", "method", "linear", "nearest", "--revise")
    ):
        biastf_xr.write_fused(*small_cubes, output, "nearest", dates=DAYS)
    assert chunks_of(output) == before
    biastf_xr.write_fused(*small_cubes, output, "nearest", dates=DAYS, revise=True)
    assert json.loads(xr.open_zarr(output).attrs["biastf_method"])["method"] == "nearest"
    fresh = tmp_path / "fresh.zarr"
    biastf_xr.write_fused(*small_cubes, fresh, "nearest", dates=DAYS)
    assert chunks_of(output) == chunks_of(fresh)


def test_coarse_gaps_are_left_as_asked(small_cubes, tmp_path):
    filled, left = tmp_path / "filled.zarr", tmp_path / "left.zarr"
    biastf_xr.write_fused(*small_cubes, filled, "direct", dates=DAYS)
    rule = FusionRule(coarse_gaps="leave")
    biastf_xr.write_fused(*small_cubes, left, "direct", dates=DAYS, rule=rule)
    a, b = (xr.open_zarr(p).load() for p in (filled, left))
    seen = a["coarse_gap"].values == 0
    assert 0 < seen.mean() < 1
    assert ((b["coarse_gap"].values == 0) == seen).all()
    made = np.isin(b["status_flag"].values, [1, 2, 3])
    assert not made[~seen & (b["status_flag"].values != STATUS["observed"])].all()


# --- refusing -------------------------------------------------------------------------------------


def test_two_runs_on_one_cube(small_cubes, tmp_path):
    output = tmp_path / "f.zarr"
    with (
        store_at(output).lock(),
        pytest.raises(StoreLockedError, match=facts("f.zarr", f"process {os.getpid()}")),
    ):
        biastf_xr.write_fused(*small_cubes, output, "linear", dates=DAYS)


def test_something_else_at_the_output_is_left_alone(small_cubes, cubes, tmp_path):
    with pytest.raises(CubeStructureError, match=facts("fine.zarr", "fine cube")):
        biastf_xr.write_fused(*small_cubes, cubes.fine, "linear", dates=DAYS)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "keep").write_text("me")
    with pytest.raises(CubeStructureError, match="folder"):
        biastf_xr.write_fused(*small_cubes, tmp_path / "folder", "linear", dates=DAYS)


def test_overwrite_starts_anew(small_cubes, tmp_path):
    output = tmp_path / "f.zarr"
    biastf_xr.write_fused(*small_cubes, output, "linear", dates=DAYS)
    biastf_xr.write_fused(*small_cubes, output, "direct", dates=DAYS[:1], overwrite=True)
    assert xr.open_zarr(output).sizes["time"] == 1


def test_an_unwritable_output_is_named_and_what_is_finished_kept(
    small_cubes, tmp_path, monkeypatch
):
    from biastf_xr.fusion import _worker as worker

    output = tmp_path / "f.zarr"
    real, count = worker.window_writer, [0]

    def full(store):
        count[0] += 1
        if count[0] > 5:
            raise OSError(28, "No space left on device")
        return real(store)

    with monkeypatch.context() as patch:
        patch.setattr(worker, "window_writer", full)
        with pytest.raises(StoreWriteError, match=facts("f.zarr", "No space left")):
            biastf_xr.write_fused(*small_cubes, output, "direct", tile=48, dates=DAYS)
    report = biastf_xr.write_fused(*small_cubes, output, "direct", tile=48, dates=DAYS)
    assert report.kept > 0
    fresh = tmp_path / "fresh.zarr"
    biastf_xr.write_fused(*small_cubes, fresh, "direct", tile=48, dates=DAYS)
    assert chunks_of(output) == chunks_of(fresh)


@pytest.mark.parametrize("damage", ["corrupted", "missing"])
def test_a_damaged_input_chunk_is_an_error_and_never_a_number(cubes, tmp_path, damage):
    days = open_cube(cubes.fine, days="all")["time"].values.astype("M8[D]")
    place = int(np.searchsorted(days, open_cube(cubes.fine)["time"].values.astype("M8[D]")[1]))
    chunk = cubes.fine / f"red/c/{place}/0/0"
    if damage == "missing":
        chunk.unlink()
        output = tmp_path / "f.zarr"
        biastf_xr.write_fused(*cubes, output, "direct", tile=48, dates=DAYS)
        # Missing in one band is missing: no base there, and a flag that says so.
        assert STATUS["observed"] not in xr.open_zarr(output)["status_flag"].values
        return
    data = bytearray(chunk.read_bytes())
    data[len(data) // 3] ^= 0xFF
    chunk.write_bytes(data)
    with pytest.raises(FusionRunError, match=r"checksum|crc|Corrupt|decompress"):
        biastf_xr.write_fused(*cubes, tmp_path / "f.zarr", "direct", tile=48, dates=DAYS)


def test_what_a_dead_driver_left_running_does_not_write(small_cubes, tmp_path):
    """The lock is somebody else's: the unit is not written."""
    output = tmp_path / "f.zarr"
    biastf_xr.write_fused(*small_cubes, output, "linear", dates=DAYS[:1])
    with store_at(output).lock() as token:
        assert store_at(output).held_by(token)
    assert not store_at(output).held_by(token)
    with store_at(output).lock() as other:
        assert not store_at(output).held_by(token)
        assert other != token


# --- Icechunk -------------------------------------------------------------------------------------


def test_icechunk_shows_a_date_only_when_it_is_complete(small_cubes, tmp_path, monkeypatch):
    from biastf_xr.fusion import _run as run

    output = f"icechunk://{tmp_path / 'f.zarr'}"
    monkeypatch.setattr(run, "FLUSH", 0.0)
    seen = []

    def look(state):
        try:
            flags = open_cube(output, chunks=None)["status_flag"].values
        except CubeStructureError:
            return
        seen.append((flags != 0).mean(axis=(1, 2)))

    days = [f"2021-04-{d:02d}" for d in range(2, 30)]
    biastf_xr.write_fused(*small_cubes, output, "direct", tile=48, dates=days, progress=look)
    shares = np.stack(seen)
    assert set(np.unique(shares)) == {0.0, 1.0}
    whole = tmp_path / "plain.zarr"
    biastf_xr.write_fused(*small_cubes, whole, "direct", tile=48, dates=days)
    a, b = open_cube(output, chunks=None).load(), open_cube(whole, chunks=None).load()
    a.attrs = b.attrs = {}
    xr.testing.assert_identical(a, b)
    assert biastf_xr.write_fused(*small_cubes, output, "direct", dates=days).units == 0


def test_icechunk_goes_on_where_an_interrupted_run_stopped(small_cubes, tmp_path, monkeypatch):
    from biastf_xr.fusion import _run as run

    output = f"icechunk://{tmp_path / 'f.zarr'}"
    monkeypatch.setattr(run, "FLUSH", 0.0)

    def stop(state):
        if state.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        biastf_xr.write_fused(*small_cubes, output, "direct", tile=48, dates=DAYS, progress=stop)
    report = biastf_xr.write_fused(*small_cubes, output, "direct", tile=48, dates=DAYS)
    assert report.kept >= 4
    assert (open_cube(output, chunks=None)["status_flag"].values != 0).all()


def test_a_run_reports_its_speed_and_memory(small_cubes, tmp_path):
    states = []
    started = time.perf_counter()
    report = biastf_xr.write_fused(
        *small_cubes, tmp_path / "f.zarr", "linear", dates=DAYS,
        progress=lambda state: states.append((state.rate, dict(state.memory))),
    )  # fmt: skip
    assert states[-1][0] > 0
    assert all(v > 10e6 for v in states[-1][1].values())
    assert set(report.stages) == {"read", "wait", "infer", "write"}
    assert report.seconds <= time.perf_counter() - started


RIVALS = {
    "estarfm": {"window": 9, "similar": 8, "classes": 2.0},
    "fsdaf": {"window": 9, "similar": 6, "pure": 8, "spline_neighbours": 3},
}


def test_methods_that_look_at_whole_scenes_do_so_on_a_cluster_and_resume(small_cubes, tmp_path):
    from biastf_xr.cluster import ClusterSpec, connect

    fine, coarse = (open_cube(p) for p in small_cubes)
    with connect(ClusterSpec(workers=2)) as client:
        for name, options in RIVALS.items():
            output = tmp_path / f"{name}.zarr"
            run = {"dates": DAYS, "tile": 48, "client": client, **options}
            biastf_xr.write_fused(*small_cubes, output, name, **(run | {"dates": DAYS[:3]}))
            report = biastf_xr.write_fused(*small_cubes, output, name, **run)
            assert report.kept == 3 * 4
            stored = xr.open_zarr(output).load()
            lazy = biastf_xr.fuse(fine, coarse, name, dates=DAYS, **options).load()
            np.testing.assert_array_equal(stored["status_flag"], lazy["status_flag"])
            for band in ("green", "nir"):
                np.testing.assert_allclose(stored[band], lazy[band], rtol=2**-12, atol=2e-6)
            assert biastf_xr.write_fused(*small_cubes, output, name, **run).units == 0


def test_what_a_whole_scene_tells_is_part_of_what_a_date_was_made_from(cubes, tmp_path):
    """Coarse pixels far from a tile change the class changes of FSDAF everywhere."""
    run = {"dates": DAYS[:1], "tile": 48, **RIVALS["fsdaf"]}
    output, fresh = tmp_path / "f.zarr", tmp_path / "fresh.zarr"
    biastf_xr.write_fused(*cubes, output, "fsdaf", **run)
    group = zarr.open_group(cubes.coarse, mode="r+", use_consolidated=False)
    place = int(np.searchsorted(group["time"][:].astype("M8[s]"), np.datetime64(DAYS[0])))
    for band in BANDS:
        values = group[band][place]
        values[-3:, -3:] = 0.6
        group[band][place] = values
    touch_record(cubes.coarse, DAYS[0], version="zz")
    report = biastf_xr.write_fused(*cubes, output, "fsdaf", **run)
    assert report.unchanged == 0
    biastf_xr.write_fused(*cubes, fresh, "fsdaf", **run)
    assert chunks_of(output) == chunks_of(fresh)


def test_the_plan_tries_the_speed_of_every_method(small_cubes):
    for name, options in RIVALS.items():
        shown = biastf_xr.plan(*small_cubes, method=name, dates=DAYS, **options)
        assert shown.totals.cpu_seconds > 0
