"""Days at every door: read right, or refused by name; never another day."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from checks import facts

import biastf_xr
from biastf_xr._days import to_days
from biastf_xr.cube import ingest
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.errors import BiastfError, ConfigError, CubeStructureError, TargetDateError
from biastf_xr.sources import build_product

DAY = np.datetime64("2021-06-15", "D")
UTC_14 = dt.timezone(dt.timedelta(hours=10))  # midnight of the 15th is 14:00 of the 14th in UTC


class CfTime:
    """A time as cftime has it."""

    def __init__(self, text, calendar):
        self.text, self.calendar = text, calendar

    def isoformat(self):
        return self.text

    def __repr__(self):
        return f"CfTime({self.text}, {self.calendar})"


@pytest.mark.parametrize(
    "value",
    [
        "2021-06-15", "20210615", "2021-06-15T10:30:00Z", "20210615T103000", "2021-06-15 10:30",
        "2021-06-15T23:59:59.999999999", "2021-06-16T08:00+10:00", np.str_("20210615"),
        dt.date(2021, 6, 15), dt.datetime(2021, 6, 15, 23, 59),  # noqa: DTZ001
        dt.datetime(2021, 6, 16, 9, tzinfo=UTC_14), np.datetime64("2021-06-15T12", "h"),
        np.datetime64("2021-06-15", "ns"), pd.Timestamp("2021-06-15 23:00"),
        pd.Timestamp("2021-06-16 09:00", tz=UTC_14), pd.DatetimeIndex(["2021-06-15 10:00"]),
        pd.DatetimeIndex(["2021-06-16 09:00"], tz=UTC_14), pd.Series(["20210615"]),
        xr.DataArray(np.array(["2021-06-15T10:00"], "M8[us]")), np.array(["2021-06-15"]),
        np.array("2021-06-15", "M8[s]"), [dt.date(2021, 6, 15)], {"2021-06-15"},
        CfTime("2021-06-15T12:00:00", "standard"),
        CfTime("2021-06-15T12:00:00", "proleptic_gregorian"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_day_is_read_right(value):
    np.testing.assert_array_equal(to_days(value), [DAY])


@pytest.mark.parametrize(
    "value",
    [
        20210615, 2021166, 20210615.0, np.int64(20210615), np.array([20210615]), True, None, b"x",
        "2021166", "2021-166", "2021-6-15", "210615", "15.06.2021", "06/15/2021", "2021-06",
        "2021", "2021-W24-2", "20211506", "2021-02-29", "2021-06-15T25:00", "2021-06-15x10", "",
        "today", "daily", " 2021-06-15", "\u0662\u0660\u0662\u0661-06-15", "0021-06-15",
        "9999-12-31", np.datetime64("20210615"), np.datetime64("2021-06"), np.datetime64("NaT"),
        np.array(["2021-06", "2021-07"], "M8[M]"), pd.NaT, pd.Period("2021-06-15", "D"),
        dt.time(12), CfTime("2021-06-15", "360_day"), CfTime("2021-06-15", "noleap"),
        CfTime("2021-06-15", "julian"), np.datetime64("1850-01-01"), ["2021-06-15", 20210616],
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_day_for_certain_is_refused_by_name(value):
    with pytest.raises(TargetDateError, match=facts("the day of the test")):
        to_days(value, "the day of the test")


@pytest.mark.parametrize("value", [20210615, "2021166", np.datetime64("20210615"), 20210615.0])
def test_what_may_have_been_meant_is_shown(value):
    written = "2021-06-15" if not isinstance(value, float) else "expected"
    with pytest.raises(TargetDateError, match=facts(written, "2021")):
        to_days(value)


def test_cftime_itself_is_read():
    cftime = pytest.importorskip("cftime")
    times = xr.date_range("2021-06-15", periods=3, calendar="standard", use_cftime=True)
    np.testing.assert_array_equal(to_days(times), DAY + np.arange(3))
    with pytest.raises(TargetDateError, match="360_day"):
        to_days([cftime.datetime(2021, 6, 30, calendar="360_day")])


def test_every_way_to_write_a_day_is_the_same_day():
    """Random days and clock times: the true UTC day, whatever the form and the zone."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        moment = dt.datetime(1984, 1, 1, tzinfo=dt.UTC)
        moment += dt.timedelta(seconds=int(rng.integers(0, 60 * 365 * 86400)))
        zone = dt.timezone(dt.timedelta(minutes=15 * int(rng.integers(-48, 57))))
        there, here = moment.astimezone(zone), moment.replace(tzinfo=None)
        forms = [
            there, here, there.isoformat(), here.isoformat(), f"{here:%Y%m%d}", f"{here:%Y-%m-%d}",
            here.date(), f"{moment:%Y%m%dT%H%M%SZ}", np.datetime64(here, "s"),
            pd.Timestamp(there), pd.DatetimeIndex([there]),
        ]  # fmt: skip
        for form in forms:
            assert to_days(form)[0] == np.datetime64(moment.date()), form


# --- the doors ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cubes(make_pair):
    return make_pair()


@pytest.mark.parametrize("wrong", [20210403, "2021093", "2021-4-3", np.datetime64("20210403")])
def test_no_door_takes_another_day(cubes, small_scenes, tmp_path, wrong):
    fine, coarse = cubes
    product = build_product("mod09ga")
    fused = biastf_xr.fuse(fine, coarse, "direct", dates=["2021-04-03"])

    def ingested(**options):
        ingest(product, small_scenes.modis, tmp_path / "c.zarr", kind="coarse", **options)

    doors = [
        lambda: biastf_xr.fuse(fine, coarse, "direct", dates=[wrong]),
        lambda: fine.biastf.brackets(coarse, dates=wrong),
        lambda: biastf_xr.evaluate(fine, coarse, "direct", dates=[wrong]),
        lambda: biastf_xr.fit(fine, coarse, "biastf", samples={"target": wrong}),
        lambda: fused.biastf.score(fine, coarse, wrong),
        lambda: fine.biastf.quicklook([wrong]),
        lambda: fused.biastf.status(wrong),
        lambda: fused.biastf.distance(wrong),
        lambda: ingested(exclude=(wrong,)),
        lambda: ingested(start=wrong),
        lambda: ingested(end=wrong),
    ]
    for door in doors:
        with pytest.raises(BiastfError, match=str(wrong)):
            door()
    assert not (tmp_path / "c.zarr").exists()


def test_iso_basic_is_the_day_that_it_says(cubes):
    made = biastf_xr.fuse(*cubes, "direct", dates=["20210403", "20210406"])
    days = made["time"].values.astype("M8[D]")
    np.testing.assert_array_equal(days, np.array(["2021-04-03", "2021-04-06"], "M8[D]"))


@pytest.mark.parametrize(
    "written",
    ["20210403", "2021-04-03", dt.date(2021, 4, 3), dt.datetime(2021, 4, 3, 10)],  # noqa: DTZ001
)
def test_configuration_reads_days_as_the_library_does(written):
    from biastf_xr.config import Source

    source = Source(product="geotiff", folder=".", cube="c", exclude=[written], start=written)
    assert (source.exclude, source.start) == ((dt.date(2021, 4, 3),), dt.date(2021, 4, 3))


@pytest.mark.parametrize("wrong", ["20210403", "86400", '"2021093"', "10:00:00", "2021.0"])
def test_configuration_refuses_what_is_no_day(tmp_path, wrong):
    from biastf_xr.config import read_config

    sensors = "".join(
        f'[{s}]\nproduct = "geotiff"\nfolder = "."\ncube = "{s}.zarr"\n' for s in ("fine", "coarse")
    )
    file = tmp_path / "region.toml"
    file.write_text(f"{sensors}exclude = [{wrong}]\n[fuse]\noutput = 'f.zarr'\n")
    with pytest.raises(ConfigError, match=facts("coarse.exclude", "2021-06-15")):
        read_config(file)


def test_flags_read_days_as_the_library_does():
    from biastf_xr.cli._command import days

    assert days(["20210403", "2021-04-04T23:00-05:00"]) == ("2021-04-03", "2021-04-05")
    with pytest.raises(TargetDateError, match=facts("--date", "2021093", '"2021-04-03"')):
        days(["2021093"])


TIMES = {
    "a zone": lambda days: pd.DatetimeIndex(days).tz_localize("UTC").tz_convert("Australia/Sydney"),
    "a zone in objects": lambda days: np.array(
        [pd.Timestamp(d, tz="UTC").tz_convert("Asia/Tokyo") for d in days], object
    ),
    "a clock time": lambda days: days.astype("M8[s]") + np.timedelta64(82800, "s"),
    "seconds": lambda days: days.astype("M8[s]"),
    "cf": lambda days: np.array([CfTime(f"{d}T10:00:00", "standard") for d in days], object),
    "dates": lambda days: np.array([d.item() for d in days], object),
}


@pytest.mark.parametrize("form", TIMES)
def test_any_time_axis_is_fused_fitted_and_planned_by_utc_days(cubes, form):
    def labelled(ds):
        return ds.assign_coords(time=("time", TIMES[form](ds["time"].values.astype("M8[D]"))))

    fine, coarse = map(labelled, cubes)
    whole = biastf_xr.fuse(*cubes, "direct").load()
    made = biastf_xr.fuse(fine, coarse, "direct").load()
    xr.testing.assert_identical(made["nir"], whole["nir"])
    assert len(fine.biastf.brackets(coarse)) == len(cubes[0].biastf.brackets(cubes[1]))
    assert biastf_xr.fit(fine, coarse).card.days == biastf_xr.fit(*cubes).card.days
    days = {"dates": "2021-04-09"}
    scores = [biastf_xr.evaluate(*pair, "direct", **days) for pair in (cubes, (fine, coarse))]
    pd.testing.assert_frame_equal(scores[0].table, scores[1].table)


@pytest.mark.parametrize("calendar", ["360_day", "noleap", "julian"])
def test_a_calendar_without_our_days_is_refused(cubes, calendar):
    fine, coarse = cubes
    times = np.array([CfTime(f"2021-04-{d:02}", calendar) for d in (1, 9, 17)], object)
    with pytest.raises(CubeStructureError, match=facts("fine cube", calendar)):
        pair_cubes(fine.assign_coords(time=("time", times)), coarse)


def test_two_images_of_one_utc_day_are_refused(cubes):
    fine, coarse = cubes
    times = np.array(["2021-04-01T01", "2021-04-01T23", "2021-04-09"], "M8[h]").astype("M8[s]")
    with pytest.raises(CubeStructureError, match=facts("fine cube", "2021-04-01", "twice")):
        pair_cubes(fine.assign_coords(time=times), coarse)
