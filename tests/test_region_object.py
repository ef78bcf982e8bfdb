"""A region as one object: every step is silent, reports its progress, and can be asked first."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

import pytest

import biastf_xr
from biastf_xr import Region
from biastf_xr.errors import (
    ConfigError,
    ExitCode,
    GridMismatchError,
    StoreLockedError,
    StoreWriteError,
)
from biastf_xr.sources.landsat_c2 import LandsatC2
from biastf_xr.sources.mod09ga import Mod09ga

TEXT = """
[fine]
product = "landsat-c2-l2"
folder = "{scenes.landsat}"
cube = "fine.zarr"
[coarse]
product = "mod09ga"
folder = "{scenes.modis}"
cube = "coarse.zarr"
start = 2021-04-14
end = 2021-05-03
[fuse]
output = "fused.zarr"
start = 2021-04-15
end = 2021-04-18
[cluster]
kind = "in-process"
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory, small_scenes):
    """Write the file of a region."""
    path = tmp_path_factory.mktemp("region") / "region.toml"
    path.write_text(TEXT.format(scenes=small_scenes))
    return path


def files_of(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


class Steps:
    """Do every step of a region, ask it before, and keep what it prints and reports."""

    def __init__(self, path):
        self.folder, self.region = path.parent, Region.from_file(path)
        self.stages, self.printed = [], io.StringIO()

    def progress(self, stage, done, total, note):
        assert total is None or 0 <= done <= total
        assert isinstance(note, str)
        self.stages.append(stage)

    def plan(self, name, *args, **options):
        """Return what a step would do; it must write nothing."""
        before = files_of(self.folder)
        with redirect_stdout(self.printed), redirect_stderr(self.printed):
            found = getattr(self.region, name)(*args, **options)
        assert files_of(self.folder) == before
        return found

    def do(self, name, *args, **options):
        with redirect_stdout(self.printed), redirect_stderr(self.printed):
            return getattr(self.region, name)(*args, progress=self.progress, **options)


@pytest.fixture(scope="module")
def steps(path):
    return Steps(path)


@pytest.fixture(scope="module")
def ingested(steps):
    assert steps.region.missing_inputs() == "the cubes"
    return steps.plan("ingest", dry_run=True), steps.do("ingest")


@pytest.fixture(scope="module")
def fitted(steps, ingested):
    assert steps.region.missing_inputs() == "the model"
    return steps.plan("fit", dry_run=True), steps.do("fit")


@pytest.fixture(scope="module")
def fused(steps, fitted):
    assert steps.region.missing_inputs() == ""
    return steps.plan("plan", trial=False), steps.do("fuse")


@pytest.mark.parametrize("kind", ["fine", "coarse"])
def test_an_ingest_takes_what_its_dry_run_names(ingested, kind):
    plan, report = (getattr(found, kind) for found in ingested)
    assert plan.days == report.days
    assert {name for names in plan.days.values() for name in names} == set(report.added)
    assert report.added
    assert not plan.added


def test_an_ingest_compares_the_sensors(steps, ingested):
    assert ingested[0].pairs is None
    assert ingested[1].pairs.sizes["time"] == 2
    assert not steps.plan("ingest", dry_run=True).fine.days
    assert {"ingest fine", "ingest coarse", "compare the sensors"} <= set(steps.stages)


def test_an_archive_is_listed_once_where_the_cubes_are_there(steps, ingested, monkeypatch):
    listed = []
    for product in (LandsatC2, Mod09ga):
        find = product.find_scenes
        monkeypatch.setattr(
            product, "find_scenes", lambda self, at, find=find: listed.append(at) or find(self, at)
        )
    steps.region.ingest()
    assert len(listed) == len(set(listed)) == 2


@pytest.mark.parametrize("error", [StoreLockedError, StoreWriteError, GridMismatchError])
def test_what_stops_the_screening_stops_the_ingest(steps, ingested, monkeypatch, error):
    def fails(*_args, **_options):
        raise error("as it is")

    monkeypatch.setattr("biastf_xr.fusion._screen_store.update_screen", fails)
    with pytest.raises(error, match="as it is"):
        steps.region.ingest()


def test_a_chunk_that_cannot_be_read_is_left_to_the_fusion(steps, ingested, monkeypatch):
    def fails(*_args, **_options):
        raise ValueError("checksum of c/0")

    monkeypatch.setattr("biastf_xr.fusion._screen_store.update_screen", fails)
    said = []
    done = steps.region.ingest(progress=lambda *what: said.append(what))
    assert done.screening is None
    assert [note for stage, *_, note in said if stage == "screening" and "checksum of c/0" in note]


def test_a_fit_learns_from_what_its_dry_run_names(steps, fitted):
    plan, done = fitted
    assert (plan.days, plan.bands, plan.model) == (done.days, done.bands, None)
    assert done.model.describe()["trained_on"] == list(done.days)
    assert done.checkpoint.exists()
    assert "train" in steps.stages


def test_a_run_does_what_was_planned(steps, fused):
    plan, done = fused
    assert (done.units, done.pixels) == (plan.totals.units, plan.totals.pixels)
    assert done.units > 0
    assert steps.plan("plan", trial=False).totals.units == 0
    assert {"cluster", "fuse"} <= set(steps.stages)


def test_an_evaluation_predicts_what_its_dry_run_names(steps, fused):
    plan = steps.plan("evaluate", dates=["2021-04-17"], dry_run=True)
    done = steps.do("evaluate", dates=["2021-04-17"], pictures=True)
    assert plan.scores is None
    assert (plan.folds, plan.methods, plan.design) == (done.folds, done.methods, done.design)
    assert set(done.scores.by_date().columns) == set(plan.methods)
    page = done.write_report(steps.folder / "report.html")
    assert steps.region.config.fine.cube in page.read_text()
    with pytest.raises(ConfigError, match="dry run"):
        plan.write_report(steps.folder / "none.html")
    with pytest.raises(ConfigError, match=r"report\.pdf"):
        done.write_report(steps.folder / "report.pdf")


def test_days_are_exported_and_published_as_planned(steps, fused):
    cogs, catalogue, days = steps.folder / "cogs", steps.folder / "stac", ["2021-04-16"]
    plan = steps.plan("export", cogs, dates=days, dry_run=True)
    assert steps.do("export", cogs, dates=days) == plan
    assert plan
    assert all(file.exists() for file in plan)
    plan = steps.plan("publish", catalogue, dry_run=True)
    assert steps.do("publish", catalogue).added == plan.added
    assert len(plan.added) == 4
    assert {"export", "publish"} <= set(steps.stages)


def test_an_update_hands_on_what_every_step_did(steps, fused):
    plan = steps.plan("update", dry_run=True)
    assert {step.name: step.counts for step in plan.steps}["fuse"]["units"] == 0
    found = []
    report = steps.do("update", on_step=lambda step, value: found.append((step, value)))
    assert report.exit_code == ExitCode.DONE
    assert tuple(step for step, _ in found) == report.steps
    assert not found[0][1].fine.days
    page = steps.region.status()
    assert steps.plan("status", dry_run=True) == page == steps.region.folder / "status.html"
    assert all(one.what == "lock" for one in steps.plan("tidy", dry_run=True))
    wrong = [c for c in steps.region.doctor(steps.folder) if c.verdict == "wrong"]
    assert not [check for check in wrong if check.topic == "this run"]
    assert steps.printed.getvalue() == ""


def test_a_file_and_what_overrides_it(path):
    region = Region.from_file(path, {"method": {"name": "direct"}})
    assert region.method() == biastf_xr.methods.get_method("direct")
    fitted = region.fit()
    assert (fitted.learned, fitted.model) == (False, region.method())
    assert region.fit(dry_run=True).model is None
    assert region.grids() == (None, None)
    with pytest.raises(ConfigError, match=r"none\.toml"):
        Region.from_file(path.with_name("none.toml"))
    with pytest.raises(ConfigError, match=r"fused\.zarr"):
        region.evaluate(cube="fused.zarr", design=biastf_xr.evaluation.LeaveOneOut())
