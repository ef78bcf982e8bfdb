"""`ds.biastf` hands over to the functions, and leaves lazy what is lazy."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from checks import facts

import biastf_xr
from biastf_xr.brackets import BracketRule
from biastf_xr.errors import CubeStructureError, TargetDateError
from biastf_xr.fusion import FusionRule


@pytest.fixture
def cubes(small_cubes):
    return biastf_xr.open_cube(small_cubes.fine), biastf_xr.open_cube(small_cubes.coarse)


@pytest.fixture
def no_computing():
    """Refuse every computation of Dask."""

    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        yield


def test_stored_cubes_stay_lazy_whatever_part_of_them_is_selected(cubes, no_computing):
    fine, coarse = cubes
    part = fine.sel(x=slice(None, float(fine.x[63]))).isel(y=slice(0, 48))
    days = coarse.sel(time=slice("2021-04-03", "2021-05-10"))
    part.biastf.plan(days, "direct", dates=["2021-04-20"], trial=False)
    part.biastf.brackets(days)
    fused = part.biastf.fuse(days, "linear", tile=32)
    assert isinstance(fused, xr.Dataset)
    assert fused["nir"].chunks[1:] == ((32, 16), (32, 32))
    assert fused.biastf.fuse.__self__._ds is fused


def test_result_is_that_of_the_function_and_does_not_depend_on_chunks(make_pair):
    fine, coarse = make_pair()
    plain = biastf_xr.fuse(fine, coarse, "direct").compute()
    xr.testing.assert_identical(
        fine.biastf.fuse(coarse, "direct").compute().drop_attrs(), plain.drop_attrs()
    )
    chunked = fine.chunk(time=2, y=7, x=9).biastf.fuse(coarse.chunk(time=5), "direct", tile=11)
    np.testing.assert_array_equal(chunked["nir"], plain["nir"])
    assert chunked["nir"].attrs == plain["nir"].attrs


def test_history_goes_on_and_attributes_tell_what_was_done(make_pair):
    fine, coarse = make_pair()
    fine.attrs["history"] = "made up\nand changed"
    fused = fine.biastf.fuse(coarse, "linear")
    *before, last = fused.attrs["history"].splitlines()
    assert before == ["made up", "and changed"]
    assert "planned with linear" in last
    assert fused.attrs["biastf_kind"] == "fused"
    assert '"method": "linear"' in fused.attrs["biastf_method"]


def test_means_in_time_can_be_fused_and_looked_at(cubes):
    fine, coarse = cubes[0], cubes[1].load()
    two_daily = coarse.resample(time="2D").mean()
    fused = fine.biastf.fuse(two_daily, "linear", dates=["2021-04-11"])
    assert set(fused.data_vars) >= {"red", "nir", "status_flag"}
    assert "clear" not in fused
    assert np.isfinite(fused["nir"]).mean() > 0.5
    days = ["2021-04-10", "2021-04-11", "2021-04-30"]
    weekly = fine.biastf.fuse(coarse, "linear", dates=days).resample(time="14D").mean()
    assert weekly.biastf.quicklook()._repr_png_()[:4] == b"\x89PNG"


def test_groups_can_be_fused_one_by_one(make_pair):
    fine, coarse = make_pair(fine_days=(0, 8, 35, 40), coarse_days=range(45))
    whole = fine.biastf.fuse(coarse, "nearest")

    def month(part):
        days = coarse.time.dt.month == part.time.dt.month[0]
        return part.biastf.fuse(coarse.sel(time=days), "nearest")

    parts = fine.groupby("time.month").map(month)
    assert parts.sizes["time"] == 45
    april = slice("2021-04-01", "2021-04-20")
    np.testing.assert_allclose(
        parts["nir"].sel(time=april), whole["nir"].sel(time=april), atol=1e-6
    )


def test_a_client_changes_nothing(make_pair):
    from distributed import Client

    fine, coarse = make_pair()
    alone = fine.biastf.fuse(coarse).compute()
    chunked = fine.chunk(time=1), coarse.chunk(time=4)
    local = dict.fromkeys(("dashboard_address", "worker_dashboard_address"), "127.0.0.1:0")
    with Client(processes=False, n_workers=1, **local) as client:
        there = chunked[0].biastf.fuse(chunked[1])
        xr.testing.assert_equal(there.compute(), alone)
        assert client.scheduler_info()["workers"]


def test_fit_evaluate_and_score_agree_with_the_functions(make_pair):
    fine, coarse = make_pair(fine_days=(0, 5, 11, 16))
    day = "2021-04-06"
    model = fine.drop_sel(time=day).biastf.fit(coarse, "linear")
    assert model.name == "linear"
    scores = fine.biastf.evaluate(coarse, "direct", dates=[day])
    fused = fine.drop_sel(time=day).biastf.fuse(coarse, "direct", dates=[day])
    scored = fused.biastf.score(fine, coarse, [day], name="mine")
    assert scored.by_date().loc[day, "mine"] == pytest.approx(scores.by_date().loc[day, "direct"])
    assert "against best rival" in repr(scores)


def test_plan_of_opened_cubes_is_that_of_their_stores(small_cubes, cubes):
    fine, coarse = cubes
    opened = fine.biastf.plan(coarse, "linear", withhold=["2021-04-17"], trial=False)
    stored = biastf_xr.plan(*small_cubes, method="linear", withhold=["2021-04-17"], trial=False)
    assert list(opened.table["before"]) == list(stored.table["before"])
    assert opened.totals.dates == stored.totals.dates
    assert opened.totals.pixels == stored.totals.pixels
    for mixed in ((small_cubes.fine, coarse), (fine, small_cubes.coarse)):
        with pytest.raises(CubeStructureError, match="paths"):
            biastf_xr.plan(*mixed)
    with pytest.raises(CubeStructureError, match="output"):
        biastf_xr.plan(fine, coarse, "fused.zarr")


def test_brackets_say_which_dates_are_used_and_why_not(make_pair):
    fine, coarse = make_pair(fine_days=(0, 8, 16), coarse_days=range(30))
    fine = fine.assign_coords(clear_fraction=("time", [1.0, 0.05, 1.0]))
    brackets = fine.biastf.brackets(coarse)
    assert sum(len(b.targets) for b in brackets) == 30
    assert brackets[0].observed
    assert brackets.left_out == {"2021-04-09": "5.0% clear, 20.0% are asked for"}
    assert (brackets.table["note"] == "base dates on one side only").sum() == 1
    near = FusionRule(bracket=BracketRule(max_gap=5))
    last = fine.biastf.brackets(coarse, rule=near).table.iloc[-1]
    assert last["note"] == "cannot be predicted: no clear fine scene within 5 days"
    assert (last["before"], last["layers"]) == ("-", 0)
    assert "2021-04-09" in brackets._repr_html_()


def test_dates_that_are_not_there_are_refused(make_pair):
    fine, _ = make_pair()
    with pytest.raises(
        TargetDateError, match=facts("1999-01-01", "3 dates", "2021-04-01", "2021-04-17")
    ):
        fine.biastf.quicklook("1999-01-01")
