"""Fine observations compared with the other dates, and what fusion makes of that."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import biastf_xr
from biastf_xr.brackets import BracketRule, base_dates, build_brackets
from biastf_xr.cube import SCREEN, STATUS, Cube, ingest, open_cube, rechunk
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.evaluation import evaluate
from biastf_xr.evaluation._designs import Fold
from biastf_xr.fusion import _screen as screening
from biastf_xr.fusion import clear_screen, screen, update_screen, write_fused
from biastf_xr.sources import build_product
from biastf_xr.testing import SyntheticRegion, write_landsat, write_mod09ga

SUSPECT = SCREEN["suspected_cloud"]


class Seen:
    """A region whose mask misses clouds, its cubes, and what is true of every pixel."""

    def __init__(self, **options):
        self.region = SyntheticRegion(**options)
        self.fine, self.coarse = self.region.fine_cube(), self.region.coarse_cube()
        scenes = [self.region.fine_scene(day) for day in self.region.fine_dates]
        self.missed = np.stack([s.missed for s in scenes])
        self.good = np.stack([s.clear for s in scenes])
        self.truth = np.stack([self.region.truth(day) for day in self.region.fine_dates])
        values = np.stack([self.fine[b].values for b in self.region.bands], axis=1)
        self.error = np.sqrt(np.mean((values - self.truth) ** 2, axis=1))


@pytest.fixture(scope="module")
def seen():
    """A season of 20 fine passes, a third of whose clouds the mask misses, with a flood."""
    return Seen(shape=(144, 128), days=160, fine_revisit=8, seed=3, missed=0.3)


@pytest.fixture(scope="module")
def flags(seen):
    return screen(seen.fine, seen.coarse)["screen"].values


def test_missed_clouds_and_shadows_are_suspected_and_little_else(seen, flags):
    grave = seen.missed & (seen.error > 0.05)
    assert grave.sum() > 5000
    suspected = flags >= SUSPECT
    assert suspected[grave].mean() > 0.85
    assert suspected[seen.good].mean() < 0.002
    assert not flags[~(seen.good | seen.missed)].any()


def test_a_cloud_is_called_bright_and_a_shadow_dark(seen, flags):
    values = np.stack([seen.fine[b].values for b in seen.region.bands], axis=1)
    brighter = (values - seen.truth).mean(axis=1) > 0
    named = flags[seen.missed & (flags >= SUSPECT)], brighter[seen.missed & (flags >= SUSPECT)]
    for name, bright in (("suspected_cloud", True), ("suspected_shadow", False)):
        of_this_kind = named[0] == SCREEN[name]
        assert of_this_kind.sum() > 100
        assert (named[1][of_this_kind] == bright).mean() > 0.95


def test_a_flood_survives(seen, flags):
    before, after = (
        seen.region.truth(seen.region.event_date + np.timedelta64(d, "D"))[3] for d in (-1, 1)
    )
    flooded = before - after > 0.1
    assert flooded.sum() > 500
    later = np.flatnonzero(seen.region.fine_dates > seen.region.event_date)[:2]
    for n in later:
        shown = flooded & seen.good[n]
        assert (flags[n][shown] >= SUSPECT).mean() < 0.02


def test_a_clean_series_is_left_alone():
    clean = Seen(shape=(96, 80), days=120, fine_revisit=8, seed=5)
    flags = screen(clean.fine, clean.coarse)["screen"].values
    assert (flags >= SUSPECT)[clean.good].mean() < 0.003
    assert (flags == SCREEN["agrees"])[clean.good].mean() > 0.7


def test_chunks_squares_and_blocks_change_nothing(seen, flags, monkeypatch):
    monkeypatch.setattr(screening, "SQUARE", 50)
    monkeypatch.setattr(screening, "BLOCK", 3)
    found = screen(seen.fine.chunk(time=4, x=33), seen.coarse.chunk(time=7))["screen"]
    np.testing.assert_array_equal(found.values, flags)


def test_one_date_alone_is_not_judged(seen):
    alone = seen.fine.isel(time=[2, 5])
    found = screen(alone, seen.coarse)["screen"].values
    assert set(np.unique(found)) <= {SCREEN["not_screened"], SCREEN["unconfirmed"]}


def test_fusion_gains(seen, flags):
    days = seen.region.dates[60:100:5]
    truth = np.stack([seen.region.truth(day) for day in days])

    def error(fine):
        fused = biastf_xr.fuse(fine, seen.coarse, "direct", dates=days)
        made = np.stack([fused[b].values for b in seen.region.bands], axis=1)
        return float(np.sqrt(np.nanmean((made - truth) ** 2)))

    screened = seen.fine.assign(screen=(("time", "y", "x"), flags))
    assert error(screened) < 0.6 * error(seen.fine)


def test_a_suspect_is_predicted_on_its_own_day_and_is_no_base_of_others(seen, flags):
    screened = seen.fine.assign(screen=(("time", "y", "x"), flags))
    n = int(np.argmax(((flags >= SUSPECT) & (seen.error > 0.05)).sum(axis=(1, 2))))
    day, pixels = seen.region.fine_dates[n], flags[n] >= SUSPECT
    next_day = day + np.timedelta64(1, "D")
    fused = biastf_xr.fuse(screened, seen.coarse, "direct", dates=[day, next_day])
    status = fused["status_flag"].values
    over = status[0][pixels]
    assert (over == STATUS["fused_over_suspect"]).mean() > 0.9
    assert not (over == STATUS["observed"]).any()
    kept = status[0] == STATUS["observed"]
    assert kept.any()
    np.testing.assert_array_equal(fused["nir"].values[0][kept], seen.fine["nir"].values[n][kept])
    assert (fused["base_before"].values[1][pixels] != 1).all()


# --- one rule: shown and a base, or neither -------------------------------------------------------


def test_a_mostly_clouded_scene_is_neither_shown_nor_a_base_unless_it_is_screened(seen, flags):
    screened = seen.fine.assign(screen=(("time", "y", "x"), flags))
    share = seen.fine["nir"].notnull().mean(("y", "x")).values
    left = seen.fine["nir"].where(flags < SUSPECT).notnull().mean(("y", "x")).values
    assert ((share < 0.2) & (left > 0)).any()
    for n in np.flatnonzero((share < 0.2) & (left > 0)):
        day = seen.region.fine_dates[n]
        for fine, taken in ((seen.fine, False), (screened, True)):
            pair = pair_cubes(fine, seen.coarse)
            days, full = base_dates(pair, BracketRule())
            assert (day.astype("datetime64[D]") in days) == taken
            assert full.sum() == ((left if taken else share) >= 0.2).sum()
            fused = biastf_xr.fuse(fine, seen.coarse, "direct", dates=[day])
            shown = fused["status_flag"].values[0] == STATUS["observed"]
            confirmed = flags[n] == SCREEN["agrees"]
            np.testing.assert_array_equal(shown, confirmed if taken else np.zeros_like(shown))


def test_partial_scenes_have_the_season_of_the_others(make_pair):
    fine, coarse = make_pair(fine_days=(0, 5, 12), coarse_days=range(8))
    share = np.array([1, 1, 0.1], np.float32)
    fine = fine.assign_coords(clear_fraction=("time", share))
    fine = fine.assign(screen=fine["red"].astype(np.uint8) * 0)
    for span, days in (((0, 0), 2), ((-4, 5), 3)):
        coarse.attrs["biastf_span"] = list(span)
        assert base_dates(pair_cubes(fine, coarse), BracketRule())[0].size == days


def test_partial_scenes_are_nearer_layers_that_do_not_count():
    base = np.array(["2021-01-01", "2021-01-05", "2021-01-10", "2021-01-20"], "datetime64[D]")
    full = np.array([True, False, True, False])
    rule = BracketRule(max_layers=1)
    (bracket,) = build_brackets(base, [np.datetime64("2021-01-07")], rule, full=full)
    assert bracket.before == (base[1], base[0])
    assert bracket.after == (base[2],)
    (bracket,) = build_brackets(base, [np.datetime64("2021-01-12")], rule, full=full)
    assert (bracket.before, bracket.after) == ((base[2],), (base[3],))


# --- in the store ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    region = SyntheticRegion(shape=(64, 64), days=64, fine_revisit=8, seed=7, missed=0.5)
    folder = tmp_path_factory.mktemp("archive")
    write_landsat(region, folder / "landsat")
    write_mod09ga(region, folder / "modis")
    ingest(build_product("mod09ga"), folder / "modis", folder / "coarse.zarr", kind="coarse")
    return folder


def take_in(archive, path, end=None):
    ingest(
        build_product("landsat-c2-l2"), archive / "landsat", path, kind="fine", shard=32, end=end
    )
    return path


def test_a_store_is_screened_as_a_dataset_is_and_only_when_something_is_new(archive, tmp_path):
    coarse = archive / "coarse.zarr"
    fine = take_in(archive, tmp_path / "fine.zarr", end="2021-05-12")
    first = update_screen(fine, coarse)
    assert len(first.days) == 6
    assert any(first.days.values())
    assert not update_screen(fine, coarse).days
    take_in(archive, fine)
    again = update_screen(fine, coarse)
    assert "2021-05-19" in again.days
    found = open_cube(fine)
    bare = found.drop_vars(["screen", "suspect_fraction"])
    fresh = screen(bare, open_cube(coarse))["screen"]
    np.testing.assert_array_equal(found["screen"].values, fresh.values)
    left_out = (found["screen"] >= SUSPECT).sum(("y", "x")) / found["clear"].sum(("y", "x"))
    np.testing.assert_allclose(found["suspect_fraction"], left_out, atol=1e-6)
    assert found["nir"].where(found["screen"] >= SUSPECT).notnull().any()  # the value stays


def test_a_fused_store_follows_the_screening(archive, tmp_path):
    coarse, fused = archive / "coarse.zarr", tmp_path / "fused.zarr"
    fine = take_in(archive, tmp_path / "fine.zarr")
    write_fused(fine, coarse, fused, "direct", tile=32)
    report = update_screen(fine, coarse)
    assert any(report.days.values())
    redone = write_fused(fine, coarse, fused, "direct", tile=32)
    assert redone.revised
    assert not write_fused(fine, coarse, fused, "direct", tile=32).units
    lazy = biastf_xr.fuse(open_cube(fine), open_cube(coarse), "direct", tile=32)
    stored = open_cube(fused)
    np.testing.assert_array_equal(stored["status_flag"], lazy["status_flag"])
    np.testing.assert_allclose(stored["nir"], lazy["nir"], atol=2e-4)
    assert (stored["status_flag"] == STATUS["fused_over_suspect"]).any()
    assert clear_screen(fine) == len(report.days)
    assert write_fused(fine, coarse, fused, "direct", tile=32).revised
    assert not (open_cube(fused)["status_flag"] == STATUS["fused_over_suspect"]).any()


def test_a_copy_for_series_follows_the_screening(archive, tmp_path):
    fine, copy = take_in(archive, tmp_path / "fine.zarr"), tmp_path / "series.zarr"
    rechunk(fine, copy)
    assert any(update_screen(fine, archive / "coarse.zarr").days.values())
    assert rechunk(fine, copy).written
    np.testing.assert_array_equal(xr.open_zarr(copy)["screen"], xr.open_zarr(fine)["screen"])
    assert not rechunk(fine, copy).written


def test_a_scene_that_is_exchanged_is_screened_again(archive, tmp_path):
    import shutil

    coarse = archive / "coarse.zarr"
    shutil.copytree(archive / "landsat", tmp_path / "landsat")
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    for folder in (tmp_path / "landsat").iterdir():
        shutil.move(str(folder), scenes / folder.name)
    fine = tmp_path / "fine.zarr"
    ingest(build_product("landsat-c2-l2"), scenes, fine, kind="fine")
    update_screen(fine, coarse)
    one = sorted(scenes.iterdir())[3]
    (next(one.glob("*B4.TIF"))).touch()
    ingest(build_product("landsat-c2-l2"), scenes, fine, kind="fine")
    day = np.datetime64("2021-04-25")
    assert day not in Cube(fine).screening
    assert np.isnan(open_cube(fine)["suspect_fraction"].sel(time=day))
    assert str(day) in update_screen(fine, coarse).days


def test_a_cube_that_was_written_before_there_was_screening(archive, tmp_path):
    import shutil

    import zarr

    fine = take_in(archive, tmp_path / "fine.zarr", end="2021-05-12")
    shutil.rmtree(fine / "screen")
    shutil.rmtree(fine / "suspect_fraction")
    shutil.rmtree(fine / "ingest" / "screening")
    zarr.consolidate_metadata(fine)
    assert "screen" not in open_cube(fine)
    take_in(archive, fine)  # goes on with it
    report = update_screen(fine, archive / "coarse.zarr")
    assert len(report.days) == 8
    plain = xr.open_zarr(fine)
    assert "suspect_fraction" in plain.coords
    assert plain["screen"].attrs["flag_meanings"].split() == list(SCREEN)


# --- evaluation -----------------------------------------------------------------------------------


def test_what_is_withheld_has_no_say_in_what_is_suspected(seen, flags):
    screened = seen.fine.assign(screen=(("time", "y", "x"), flags))
    day = seen.region.fine_dates[8].astype("datetime64[D]")
    rest, coarse = Fold((day,), (day,)).reachable(screened, seen.coarse)
    alone = screen(seen.fine.drop_sel(time=seen.region.fine_dates[8]), seen.coarse)
    np.testing.assert_array_equal(rest["screen"].values, alone["screen"].values)
    np.testing.assert_array_equal(rest["nir"].values, alone["nir"].values)
    assert coarse.sizes["time"] == seen.coarse.sizes["time"]


def test_scores_are_of_all_pixels_of_the_withheld_scene(seen, flags):
    every = seen.fine.assign(screen=(("time", "y", "x"), np.full_like(flags, SUSPECT)))
    none = seen.fine.assign(screen=(("time", "y", "x"), np.zeros_like(flags)))
    day = [str(seen.region.fine_dates[8])[:10]]
    a, b = (evaluate(fine, seen.coarse, "direct", dates=day) for fine in (every, none))
    assert a.dates["pixels"].equals(b.dates["pixels"])


def test_a_dataset_without_flags_is_taken_as_it_is(seen):
    fused = biastf_xr.fuse(seen.fine, seen.coarse, "direct", dates=seen.region.fine_dates[5:6])
    assert not (fused["status_flag"].values == STATUS["fused_over_suspect"]).any()
