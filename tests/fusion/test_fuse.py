"""Fusing: one kernel, two drivers, the same result however the work is cut."""

from __future__ import annotations

import dataclasses
import json

import dask
import numpy as np
import pytest
import xarray as xr
from checks import facts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import biastf_xr
from biastf_xr.brackets import BracketRule
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.cube._spec import NO_COARSE_GAP, STATUS, VALID_MAX, VALID_MIN
from biastf_xr.errors import (
    CubeStructureError,
    GridMismatchError,
    MissingPairError,
    ReflectanceRangeError,
    TargetDateError,
)
from biastf_xr.fusion._plan import FusionRule, build_plan
from biastf_xr.methods import get_method
from biastf_xr.methods.base import Prepared
from biastf_xr.methods.interpolation import Direct

WITH = (STATUS["fused_two_sided"], STATUS["fused_before_only"], STATUS["fused_after_only"])


def cloud(ds, seed, share):
    """Mask square clouds in all bands."""
    ds = ds.copy(deep=True)
    rng = np.random.default_rng(seed)
    for t in range(ds.sizes["time"]):
        mask = rng.random((ds.sizes["y"], ds.sizes["x"])) < share
        for band in ds.data_vars:
            ds[band].values[t][mask] = np.nan
    return ds


@pytest.fixture(scope="module")
def cloudy(make_pair):
    """Cubes with gaps in both sensors: 70 x 60 fine pixels, a ratio that is no whole number."""
    fine, coarse = make_pair(shape=(70, 60), ratio=5, fine_days=(0, 6, 11, 16), seed=4)
    return cloud(fine, 1, 0.2), cloud(coarse, 2, 0.3)


@pytest.mark.parametrize("name", ["nearest", "linear", "direct", "biastf"])
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tile=st.integers(16, 80), days=st.integers(1, 16))
def test_any_tile_size_gives_the_same_cube(cloudy, random_model, name, tile, days):
    method = random_model(ratio=5.0) if name == "biastf" else name
    dates = ["2021-04-03", "2021-04-07", "2021-04-10"]
    whole = biastf_xr.fuse(*cloudy, method, dates=dates, tile=100).load()
    rule = FusionRule(dates_per_unit=days)
    cut = biastf_xr.fuse(*cloudy, method, dates=dates, tile=tile, rule=rule).load()
    for name_ in ("status_flag", "coarse_gap"):
        np.testing.assert_array_equal(cut[name_], whole[name_])
    for band in ("red", "nir"):
        np.testing.assert_array_equal(cut[band], whole[band])


def test_a_tile_sees_only_its_halo(cloudy, random_model):
    """What lies beyond the halo cannot matter, because it is never read."""
    from biastf_xr.fusion._kernel import (
        CoarseSeries,
        coarse_dates,
        coarse_window,
        fill_coarse,
        fuse_unit,
    )

    method = random_model(ratio=5.0)
    pair = pair_cubes(*cloudy)
    plan = build_plan(pair, method, ["2021-04-03"], tile=(20, 20))
    unit = list(plan.units())[4]
    inside = unit.tile.padded(method.fine_halo).clipped(plan.alignment.shape)
    asked = []

    def read(day, tile):
        asked.append(tile)
        image = pair.fine.sel(time=day)
        return np.stack([image[b].values[tile.slices] for b in pair.bands])

    window = coarse_window(unit, method, plan.alignment)
    span = coarse_dates(unit, pair.coarse_days, plan.rule)
    values = np.stack([pair.coarse[b].values for b in pair.bands], 1)
    series = CoarseSeries(pair.coarse_days[span], values[span][..., *window.slices], window)
    coarse = fill_coarse(unit, series, plan.rule)
    fuse_unit(unit, method, {}, read, coarse, plan.alignment, plan.bands)
    assert asked
    assert all(t == inside for t in asked)


@pytest.mark.parametrize("name", ["direct", "biastf"])
def test_the_coarse_window_is_just_large_enough(cloudy, random_model, name):
    """One coarse pixel less on every side changes the result."""
    from biastf_xr.fusion._kernel import (
        CoarseSeries,
        coarse_dates,
        coarse_window,
        fill_coarse,
        fuse_unit,
    )
    from biastf_xr.grid import Tile

    method = random_model(ratio=5.0) if name == "biastf" else get_method(name)
    fine, coarse = cloudy[0], cloudy[1].fillna(0.2)
    pair = pair_cubes(fine, coarse)
    plan = build_plan(pair, method, ["2021-04-03"], tile=(20, 20))
    unit = list(plan.units())[4]
    window = coarse_window(unit, method, plan.alignment)
    span = coarse_dates(unit, pair.coarse_days, plan.rule)
    values = np.stack([pair.coarse[b].values for b in pair.bands], 1)[span]

    def read(day, tile):
        image = pair.fine.sel(time=day)
        return np.stack([image[b].values[tile.slices] for b in pair.bands])

    def run(w):
        series = CoarseSeries(pair.coarse_days[span], values[..., *w.slices], w)
        coarse = fill_coarse(unit, series, plan.rule)
        args = (unit, method, {}, read, coarse, plan.alignment, plan.bands)
        return fuse_unit(*args).reflectance

    whole = run(Tile(0, coarse.sizes["y"], 0, coarse.sizes["x"]))
    np.testing.assert_allclose(run(window), whole, atol=2e-6)
    short = Tile(window.y0 + 1, window.y1 - 1, window.x0 + 1, window.x1 - 1)
    # The network's own reach covers the window of the weights here.
    assert (np.abs(run(short) - whole).max() > 1e-5) == (name == "direct")
    shorter = Tile(window.y0 + 2, window.y1 - 2, window.x0 + 2, window.x1 - 2)
    with pytest.raises(GridMismatchError, match=facts(shorter)):
        run(shorter)


def test_it_is_lazy(small_cubes):
    def refuse(*_, **__):
        raise AssertionError("computed")

    fine, coarse = (biastf_xr.open_cube(p) for p in small_cubes)
    fine["clear_fraction"].load()
    with dask.config.set(scheduler=refuse):
        made = biastf_xr.fuse(fine, coarse, "direct")
    assert all(v.chunks is not None for v in made.data_vars.values())


def test_the_fused_dataset_has_what_a_user_expects(cloudy):
    made = biastf_xr.fuse(*cloudy, "direct")
    assert dict(made.sizes) == {"time": 17, "y": 70, "x": 60}
    assert made.red.dtype == np.float32
    assert made.status_flag.dtype == np.uint8
    assert made.odc.geobox == cloudy[0].odc.geobox
    assert json.loads(made.attrs["biastf_method"])["method"] == "direct"
    day = made.sel(time="2021-04-03")
    assert day.before == np.datetime64("2021-04-01")
    assert day.after == np.datetime64("2021-04-07")
    assert np.isnat(made.sel(time="2021-04-01").before)


def test_observed_pixels_are_kept_and_clouded_ones_are_made(cloudy):
    fine, _ = cloudy
    made = biastf_xr.fuse(*cloudy, "linear", dates=["2021-04-07"]).isel(time=0).load()
    seen = np.isfinite(fine["nir"][1].values)
    assert (made.status_flag.values[seen] == STATUS["observed"]).all()
    np.testing.assert_array_equal(made["nir"].values[seen], fine["nir"][1].values[seen])
    assert np.isin(made.status_flag.values[~seen], (*WITH, STATUS["no_pair"])).all()
    rule = FusionRule(keep_observed=False)
    again = biastf_xr.fuse(*cloudy, "linear", dates=["2021-04-07"], rule=rule).load()
    assert not (again.status_flag == STATUS["observed"]).any()


def test_the_nearest_pair_clear_on_both_sides_makes_a_pixel(make_pair):
    fine, coarse = make_pair(fine_days=(0, 4, 12, 16))
    for band in fine.data_vars:
        fine[band][1, 0, 0] = np.nan  # nearest before is clouded
        fine[band][:2, 1, 1] = np.nan  # nothing before is clear
        fine[band][:, 2, 2] = np.nan  # nothing at all
    made = biastf_xr.fuse(fine, coarse, "linear", dates=["2021-04-09"]).isel(time=0).load()
    nir, status = made["nir"].values, made["status_flag"].values
    whole = fine["nir"].values
    np.testing.assert_allclose(nir[5, 5], (whole[1] + whole[2])[5, 5] / 2, atol=1e-6)
    np.testing.assert_allclose(nir[0, 0], (whole[0, 0, 0] * 4 + whole[2, 0, 0] * 8) / 12, atol=1e-6)
    assert status[0, 0] == STATUS["fused_two_sided"]
    np.testing.assert_allclose(nir[1, 1], whole[2, 1, 1])
    assert status[1, 1] == STATUS["fused_after_only"]
    assert np.isnan(nir[2, 2])
    assert status[2, 2] == STATUS["no_pair"]


def test_a_pixel_the_coarse_sensor_never_saw_says_so(make_pair):
    fine, coarse = make_pair(ratio=4, margin=1)
    for band in coarse.data_vars:
        coarse[band][:, 2, 2] = np.nan
    made = biastf_xr.fuse(fine, coarse, "direct", dates=["2021-04-05"]).isel(time=0).load()
    hole = made["status_flag"].values == STATUS["no_coarse"]
    assert hole.any()
    assert np.isnan(made["nir"].values[hole]).all()
    assert np.isfinite(made["nir"].values[~hole]).all()
    assert (made["coarse_gap"].values == NO_COARSE_GAP).sum() == 16
    line = biastf_xr.fuse(fine, coarse, "linear", dates=["2021-04-05"]).isel(time=0).load()
    assert np.isfinite(line["nir"].values).all()


def test_a_coarse_cube_on_the_fine_grid_works(make_pair):
    fine, coarse = make_pair(ratio=1, margin=0, fine_days=(0, 16))
    made = biastf_xr.fuse(fine, coarse, "direct", dates=["2021-04-05"], weights="time")
    before = fine["red"][0] + coarse["red"][4].values - coarse["red"][0].values
    after = fine["red"][1] + coarse["red"][4].values - coarse["red"][16].values
    expected = np.clip(0.75 * before + 0.25 * after, VALID_MIN, VALID_MAX)
    np.testing.assert_allclose(made["red"][0], expected, atol=1e-6)


def test_predictions_are_clipped_to_the_valid_range(make_pair):
    fine, coarse = make_pair(fine_days=(0, 16))
    for base, day, limit in ((0.0, 1.5, VALID_MAX), (1.0, -0.15, VALID_MIN)):
        near, far = fine.copy(deep=True), coarse.copy(deep=True)
        near["red"] += 0.8 - 0.8 * base
        far["red"] += base
        far["red"][4] = day
        made = biastf_xr.fuse(near, far, "direct", dates=["2021-04-05"], weights="time").load()
        np.testing.assert_array_equal(made["red"], np.float32(limit))
        assert (made["nir"] != np.float32(limit)).all()


def test_withheld_scenes_cannot_matter(cloudy):
    """Poison what is withheld; nothing may change."""
    from biastf_xr.cube._cube import drop_days

    fine, coarse = cloudy
    poisoned = fine.copy(deep=True)
    poisoned["red"][1] = poisoned["nir"][1] = np.nan
    a, b = (
        biastf_xr.fuse(drop_days(f, ["2021-04-07"]), coarse, "direct", dates=["2021-04-07"]).load()
        for f in (fine, poisoned)
    )
    xr.testing.assert_equal(a, b)
    with pytest.raises(TargetDateError, match=facts("2021-04-08", "2021-04-07", "2021-04-12")):
        drop_days(fine, ["2021-04-08"])


def test_cubes_that_do_not_fit_are_refused(make_pair):
    fine, coarse = make_pair()
    with pytest.raises(GridMismatchError, match="swapped"):
        biastf_xr.fuse(coarse, fine, "direct")
    with pytest.raises(CubeStructureError, match=facts("fine cube ['red']", "['nir']")):
        biastf_xr.fuse(fine, coarse.drop_vars("red"), "direct")
    with pytest.raises(ReflectanceRangeError, match="factor = 1e-4"):
        biastf_xr.fuse(fine * 10000, coarse, "direct")
    late = coarse.assign_coords(time=coarse.time + np.timedelta64(90, "D"))
    with pytest.raises(
        MissingPairError, match=facts("2021-04-01 to 2021-04-17", "2021-06-30 to 2021-07-16")
    ):
        biastf_xr.fuse(fine, late, "direct")
    with pytest.raises(TargetDateError, match=facts("2022-01-01", "2021-04-01 to 2021-04-17")):
        biastf_xr.fuse(fine, coarse, "direct", dates=["2022-01-01"])


def test_a_plan_covers_every_pixel_and_date_once(cloudy):
    plan = build_plan(pair_cubes(*cloudy), get_method("direct"), "daily", tile=(16, 32))
    count = np.zeros((17, 70, 60), int)
    for unit in plan.units():
        for date in unit.dates:
            count[date, *unit.tile.slices] += 1
        assert plan.targets[list(unit.dates)].tolist() == [t.item() for t in unit.bracket.targets]
    assert (count == 1).all()
    everything = np.ones((17, len(plan.tiles)), bool)
    assert plan.runs(everything).sum() == len(list(plan.units()))


@dataclasses.dataclass(frozen=True)
class Brightest(Direct):
    """Repeats the brightest pixel of the earlier scene, times the scene's mean coarse target."""

    def prepare(self, scene):
        brightest = scene.fold(lambda _day, image, _tile: np.nanmax(image), max)
        means = np.zeros(scene.targets.size)
        means[:] = [scene.coarse(day).mean() for day in scene.targets]
        return {d: Prepared({"top": np.array(v)}, {"mean": means}) for d, v in brightest.items()}

    def side(self, block, base):
        made = super().side(block, base)
        known = base.prepared
        value = (known.scene["top"] * known.dates["mean"])[:, None, None, None]
        return np.broadcast_to(value, made.shape).astype(np.float32)


def test_a_method_sees_whole_scenes_whatever_the_tiles(cloudy):
    rule = FusionRule(keep_observed=False)
    fine, coarse = cloudy[0].fillna(0.3), cloudy[1].fillna(0.2)
    days = ["2021-04-03", "2021-04-04"]
    made = biastf_xr.fuse(fine, coarse, Brightest(weights="time"), dates=days, tile=16, rule=rule)
    tops = fine.to_array().max(("variable", "y", "x"))
    means = coarse.to_array().mean(("variable", "y", "x")).sel(time=days).values
    for n, share in enumerate((4 / 6, 3 / 6)):
        expected = means[n] * (share * float(tops[0]) + (1 - share) * float(tops[1]))
        np.testing.assert_allclose(made["red"][n].values, expected, rtol=1e-5)


def test_one_pair_years_apart_is_enough_and_a_limit_says_so(make_pair):
    fine, coarse = make_pair(fine_days=(0,), coarse_days=(0, 736))
    made = biastf_xr.fuse(fine, coarse, "direct", dates=["2023-04-07"])
    assert np.isfinite(made["red"]).all()
    assert (made["status_flag"] == STATUS["fused_before_only"]).all()
    rule = FusionRule(bracket=BracketRule(max_gap=100))
    with pytest.raises(MissingPairError, match=facts("100 days", "max_gap", "2021-04-01")):
        biastf_xr.fuse(fine, coarse, "direct", dates=["2023-04-07"], rule=rule)


def test_a_day_without_any_coarse_image_nearby_says_so(make_pair):
    fine, coarse = make_pair(fine_days=(0, 200), coarse_days=(0, 200))
    made = biastf_xr.fuse(fine, coarse, "direct", dates=["2021-07-01"])
    assert (made["status_flag"] == STATUS["no_coarse"]).all()
    assert (made["coarse_gap"] == NO_COARSE_GAP).all()


def test_further_base_dates_are_read_only_where_pixels_are_open(make_pair):
    from biastf_xr.fusion._kernel import CoarseSeries, coarse_window, fill_coarse, fuse_unit

    pair = pair_cubes(*make_pair(fine_days=(0, 4, 12, 16)))
    method = get_method("linear")
    plan = build_plan(pair, method, ["2021-04-09"])
    (unit,) = plan.units()
    series = CoarseSeries(
        pair.coarse_days,
        np.stack([pair.coarse[b].values for b in pair.bands], 1),
        coarse_window(unit, method, plan.alignment),
    )
    asked = []

    def read(day, tile):
        asked.append(str(day))
        image = pair.fine.sel(time=day)
        return np.stack([image[b].values[tile.slices] for b in pair.bands])

    coarse = fill_coarse(unit, series, plan.rule)
    fuse_unit(unit, method, {}, read, coarse, plan.alignment, plan.bands)
    assert sorted(asked) == ["2021-04-05", "2021-04-13"]
