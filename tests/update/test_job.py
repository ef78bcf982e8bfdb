"""The scheduled job: outcomes, records, checks, one run at a time."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
from dataclasses import replace

import pytest
from checks import facts

from biastf_xr._update.accuracy import choose_trial
from biastf_xr._update.health import coverage, newest_days
from biastf_xr._update.outcomes import FAILURES, Outcome, failure_of, outcome_of
from biastf_xr._update.records import RunRecords, StepRecord, UpdateReport
from biastf_xr._update.steps import STEPS, Result
from biastf_xr.cube import open_cube
from biastf_xr.cube.stores._lock import lock_folder
from biastf_xr.errors import (
    BiastfError,
    ExitCode,
    FusionRunError,
    MissingPairError,
    SceneError,
    StoreLockedError,
)
from biastf_xr.region import Region

TODAY = dt.date(2021, 5, 20)
ALL = ("train", "fuse", "evaluate", "report", "export")
SCORED = ("train", "fuse", "evaluate")


def log_of(config):
    lines = (config.update.folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def with_step(monkeypatch, name, work):
    monkeypatch.setitem(STEPS, name, work)


def raises(error):
    def step(night):
        raise error

    return step


# --- what a run does ------------------------------------------------------------------------------


def test_a_run_makes_scores_reports_and_exports_and_the_next_does_nothing(region, tmp_path):
    config = region('export = "cogs"\nexport_variables = ["nir"]', steps=ALL)
    report = Region(config).update(today=TODAY)
    assert (report.outcome, report.exit_code) == (Outcome.DONE, 0)
    assert [step.name for step in report.steps] == list(config.update.steps)
    assert report.newest == {"fine": "2021-05-03", "coarse": "2021-05-18", "fused": "2021-04-18"}
    assert report.accuracy.date == "2021-05-03"  # the newest, with no scene after it
    assert report.accuracy.base == "before 2021-04-17"
    assert set(report.accuracy.rmse) == {"nearest", "linear", "direct"}
    assert report.accuracy.rmse["direct"] > 0
    assert len(list((tmp_path / "cogs").glob("fused_202104*_nir.tif"))) == 4
    folder = config.update.folder
    assert folder == tmp_path / "fused.nights"
    assert {p.name for p in folder.iterdir()} >= {"status.html", "report.html", "report.json"}
    assert [line["step"] for line in log_of(config) if line["event"] == "step"] == [
        step.name for step in report.steps
    ]
    assert UpdateReport.parse(report.text()) == report

    pictures = {p: p.stat().st_mtime_ns for p in (tmp_path / "cogs").iterdir()}
    again = Region(config).update(today=TODAY)
    assert (again.outcome, again.exit_code) == (Outcome.NOTHING_NEW, 0)
    assert {step.outcome for step in again.steps} == {"nothing new"}
    assert again.accuracy is None
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cogs").iterdir()} == pictures
    assert [r.run for r in RunRecords(folder).read()] == [again.run, report.run]
    assert not list(tmp_path.rglob("*.partial*"))


def test_a_dry_run_says_what_and_writes_nothing(region, tmp_path):
    config = region(steps=("ingest", "fuse", "evaluate"))
    before = sorted(tmp_path.rglob("*"))
    report = Region(config).update(dry_run=True)
    assert (report.outcome, report.exit_code) == (Outcome.PLANNED, 0)
    steps = {step.name: step for step in report.steps}
    assert steps["fuse"].counts["units"] == 3
    assert steps["evaluate"].counts == {"scene": "2021-05-03"}
    assert steps["ingest"].counts == {"fine scenes to read": 0, "coarse scenes to read": 0}
    assert steps["train"].outcome == "skipped"
    assert sorted(tmp_path.rglob("*")) == before


def test_an_export_that_failed_is_made_up_for(region, tmp_path, monkeypatch):
    config = region('export = "cogs"\nexport_variables = ["nir"]', steps=("fuse", "export"))
    (tmp_path / "cogs").write_text("a file where the folder should be")
    report = Region(config).update(today=TODAY)
    assert report.exit_code == ExitCode.NEEDS_A_PERSON
    assert (report.failed.name, report.failed.error) == ("export", "StoreWriteError")
    (tmp_path / "cogs").unlink()
    report = Region(config).update(today=TODAY)
    assert report.steps[-1].counts == {"files": 4}


def test_the_section_is_read_by_the_name_that_it_had(region, tmp_path):
    new = region("keep = 7")
    path = tmp_path / "config.toml"
    path.write_text(path.read_text().replace("[update]", "[nightly]"))
    with pytest.warns(DeprecationWarning, match=facts("nightly", "update")):
        old = Region.from_file(path)
    assert old.config == new
    assert old.config.update.keep == 7


# --- what may go wrong ----------------------------------------------------------------------------


def test_a_failure_in_the_middle_is_recorded_and_ends_the_run(region, monkeypatch):
    config = region(steps=ALL)
    with_step(monkeypatch, "fuse", raises(SceneError("no scene")))
    report = Region(config).update(today=TODAY)
    assert (report.outcome, report.exit_code) == (Outcome.FAILED, 2)
    assert [step.outcome for step in report.steps] == [
        "nothing new", "failed", "not reached", "not reached", "not reached",
    ]  # fmt: skip
    assert (report.failed.error, report.failed.message) == ("SceneError", "no scene")
    assert RunRecords(config.update.folder).read() == [report]
    (trace,) = [line["trace"] for line in log_of(config) if line.get("trace")]
    assert "Traceback" in trace
    assert "SceneError" in (config.update.folder / "status.html").read_text()


def test_an_error_that_nobody_foresaw_is_recorded_too(region, monkeypatch):
    config = region()
    with_step(monkeypatch, "fuse", raises(ZeroDivisionError("by zero")))
    report = Region(config).update(today=TODAY)
    assert (report.exit_code, report.failed.error) == (2, "ZeroDivisionError")


def test_units_that_failed_do_not_keep_the_rest_from_being_scored(region, monkeypatch):
    config = region(steps=SCORED)
    fuse = STEPS["fuse"]

    def partly(night):
        fuse(night)
        raise FusionRunError("1 of 2 units failed")

    with_step(monkeypatch, "fuse", partly)
    report = Region(config).update(today=TODAY)
    assert (report.outcome, report.exit_code) == (Outcome.INCOMPLETE, 3)
    assert report.accuracy is not None


def test_sigterm_ends_a_run_as_interrupted(region, monkeypatch):
    config = region()

    def stopped(night):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    with_step(monkeypatch, "fuse", stopped)
    before = signal.getsignal(signal.SIGTERM)
    report = Region(config).update(today=TODAY)
    assert (report.outcome, report.exit_code) == (Outcome.INTERRUPTED, 130)
    assert report.steps[0].outcome == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is before
    assert Region(config).update(today=TODAY).outcome is Outcome.INTERRUPTED


def test_a_second_run_at_once_says_so_and_leaves_no_record(region):
    config = region()
    with lock_folder(config.update.folder):
        report = Region(config).update(today=TODAY)
    assert (report.outcome, report.exit_code) == (Outcome.BUSY, 4)
    assert str(os.getpid()) in report.failed.message
    assert not list(config.update.folder.rglob("*.json"))


def test_another_writer_of_the_cube_is_another_run_at_work(region):
    config = region()
    from pathlib import Path

    with lock_folder(Path(config.fuse.output)):
        report = Region(config).update(today=TODAY)
    assert (report.failed.name, report.exit_code) == ("fuse", 4)


def test_a_run_that_died_is_told_of_by_the_next(region):
    config = region()
    book = RunRecords(config.update.folder)
    book.save(UpdateReport("20210518T030000Z", steps=(StepRecord("ingest", "done"),)))
    Region(config).update(today=TODAY)
    assert [r.outcome for r in book.read()] == [Outcome.DONE, Outcome.DIED]
    assert "killed" in (config.update.folder / "status.html").read_text()


def test_records_that_cannot_be_written_need_a_person(region, tmp_path):
    config = region()
    (tmp_path / "fused.nights").write_text("a file")
    report = Region(config).update(today=TODAY)
    assert (report.exit_code, report.failed.error) == (2, "StoreWriteError")


def test_old_records_go_and_damaged_ones_are_passed_over(region):
    config = region("keep = 2")
    book = RunRecords(config.update.folder)
    for n in range(4):
        book.save(UpdateReport(f"2021051{n}T030000Z", outcome=Outcome.DONE))
    (book.runs / "20210519T030000Z.json").write_text("{")
    Region(config).update(today=TODAY)
    assert len(list(book.runs.iterdir())) == 2
    assert len(book.read()) == 1


# --- checks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("max_age = { fine = 16 }", "Newest fine scene: 2021-05-03 is 17 days old"),
        ("max_age = { coarse = 1 }", "Newest coarse scene: 2021-05-18 is 2 days old"),
        ("max_age = { fused = 31 }", "Newest fused day: 2021-04-18 is 32 days old"),
        ("max_error_ratio = 0.9", "direct has 1.000 of the error"),
    ],
)
def test_a_failed_check_is_a_warning(region, limit, told):
    config = region(limit, steps=SCORED if "error" in limit else ("fuse",))
    for _ in range(2):  # a night with nothing new warns as well
        report = Region(config).update(today=TODAY)
        assert (report.outcome, report.exit_code) == (Outcome.WARNING, 1)
        assert told in report.warnings[0]
    assert told in (config.update.folder / "status.html").read_text()


def test_limits_that_hold_are_no_warning(region):
    limits = "max_age = { fine = 17, coarse = 2, fused = 32 }\nmax_error_ratio = 1.0"
    assert Region(region(limits, steps=SCORED)).update(today=TODAY).warnings == ()


def test_coverage_counts_what_the_flags_say(region):
    config = region()
    assert coverage(config.fuse.output, 7) is None
    assert newest_days(config)["fused"] == ""
    Region(config).update(today=TODAY)
    found = coverage(config.fuse.output, 3)
    assert found.days == ("2021-04-16", "2021-04-17", "2021-04-18")
    flags = open_cube(config.fuse.output)["status_flag"].values[1:]
    for name, value in (("observed", 4), ("fused_two_sided", 1)):
        assert found.shares[name] == pytest.approx((flags == value).mean(axis=(1, 2)))
    assert found.made() == pytest.approx((1, 1, 1))


# --- accuracy -------------------------------------------------------------------------------------


def test_the_newest_withheld_scene_is_scored_in_the_cube(region):
    config = region(fuse='withhold = ["2021-04-17"]', steps=SCORED)
    report = Region(config).update(today=TODAY)
    assert report.accuracy.date == "2021-04-17"
    assert "Withheld by the configuration" in report.accuracy.how
    assert report.accuracy.base == "before 2021-04-01, after 2021-05-03"


def test_a_scene_that_the_model_has_seen_is_predicted_by_one_that_has_not(region):
    config = region(method="biastf-plus", steps=SCORED)
    report = Region(config).update(today=TODAY)
    assert report.exit_code == 0
    assert "fitted again without it" in report.accuracy.how
    assert report.accuracy.rmse["biastf-plus"] > 0


def test_a_network_that_has_seen_the_scene_is_not_scored(region, random_model, monkeypatch):
    config = region()
    model = random_model()
    seen = {"trained_on": ["2021-05-03"], "method": "biastf"}
    monkeypatch.setattr(type(model), "describe", lambda _: seen)
    monkeypatch.setattr(Region, "method", lambda _: model)
    with pytest.raises(MissingPairError, match=facts("2021-05-03", "biastf", "withhold")):
        choose_trial(Region(config))
    seen["trained_on"] = ["2021-04-01"]
    assert choose_trial(Region(config)).candidate is model


def test_no_clear_scene_is_a_skipped_step(region):
    report = Region(region("min_clear = 1.0", steps=SCORED)).update(today=TODAY)
    (step,) = [step for step in report.steps if step.name == "evaluate"]
    assert step.outcome == "skipped"
    assert "min_clear" in step.note
    assert report.exit_code == 0


# --- words ----------------------------------------------------------------------------------------


def test_every_error_of_the_package_has_a_meaning():
    def leaves(cls):
        for sub in cls.__subclasses__():
            yield sub.__name__
            yield from leaves(sub)

    known = {name for failure in FAILURES for name in failure.errors}
    assert set(leaves(BiastfError)) <= known
    assert failure_of("KeyError").anchor == "other"
    assert all(code.meaning and code.remedy for code in ExitCode)


def test_what_an_error_makes_of_a_run():
    assert outcome_of(FusionRunError("")).exit_code == 3
    assert outcome_of(StoreLockedError("")).exit_code == 4
    assert outcome_of(KeyboardInterrupt()).exit_code == 130
    assert outcome_of(SceneError("")).exit_code == 2
    assert replace(UpdateReport("x"), outcome=Outcome.WARNING).exit_code == 1


def test_an_unusable_scene_is_a_warning_where_none_is_allowed(region, monkeypatch):
    with_step(monkeypatch, "ingest", lambda _: Result("nothing new", {"fine rejected": 1}))
    config = region("max_rejected = 0", steps=("ingest",))
    report = Region(config).update(today=TODAY)
    assert (report.outcome, report.exit_code) == (Outcome.WARNING, 1)
    assert report.warnings == (
        "1 scenes cannot be used, allowed are 0 (max_rejected); the step ingest says why.",
    )
    allowed = Region(region("max_rejected = 1", steps=("ingest",))).update(today=TODAY)
    assert allowed.warnings == ()


def test_a_run_publishes_the_catalogue_and_the_next_keeps_it(region, tmp_path):
    config = region('publish = "catalogue"\nlicence = "CC-BY-4.0"', steps=("fuse", "publish"))
    planned = {s.name: s for s in Region(config).update(dry_run=True).steps}
    assert planned["publish"].note == "known once the fused cube is there"
    made = {s.name: s for s in Region(config).update(today=TODAY).steps}
    assert made["publish"].counts == {"added": 4}
    assert '"CC-BY-4.0"' in (tmp_path / "catalogue" / "collection.json").read_text()
    again = {s.name: s for s in Region(config).update(today=TODAY).steps}
    assert again["publish"].outcome == "nothing new"
    planned = {s.name: s for s in Region(config).update(dry_run=True).steps}
    assert planned["publish"].counts == {"days": 0}
