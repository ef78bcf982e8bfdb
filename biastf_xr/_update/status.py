"""The status page of a scheduled job: one HTML file without scripts, made from the records."""

from __future__ import annotations

import datetime as dt
from importlib.resources import files
from typing import TYPE_CHECKING

from biastf_xr import _html as html
from biastf_xr._files import own_folder, write_text
from biastf_xr._html import escape
from biastf_xr._summary import duration
from biastf_xr._tables import Html, Table
from biastf_xr._update.charts import class_shares, coverage_chart, trend_chart
from biastf_xr._update.health import KINDS, age, coverage, newest_days
from biastf_xr._update.outcomes import Outcome, failure_of
from biastf_xr._update.records import RunRecords, StepRecord, UpdateReport, folder_of
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import BiastfError, ExitCode
from biastf_xr.fusion._report import library_versions, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from biastf_xr._update.health import Coverage
    from biastf_xr.config import Config

PAGE = "status.html"

# Runs that the page lists, points of the trend, and failures described at length.
RUNS, POINTS, FAILURES = 15, 30, 3

# Style of an outcome, and a mark that needs no colour.
STYLES = {
    Outcome.DONE: ("good", "✓"),
    Outcome.NOTHING_NEW: ("good", "✓"),
    Outcome.WARNING: ("warn", "!"),
    Outcome.INCOMPLETE: ("warn", "!"),
    Outcome.BUSY: ("warn", "!"),
    Outcome.INTERRUPTED: ("warn", "!"),
    Outcome.RUNNING: ("plain", "…"),
    Outcome.FAILED: ("bad", "✗"),
    Outcome.DIED: ("bad", "✗"),
}


def write_status(config: Config, *, today: dt.date | None = None) -> Path:
    """Write the status page from the records and the cubes as they are.

    `today`: The day that ages are counted from; the day it is in UTC by default.
    """
    path = status_path(config)
    own_folder(path.parent)
    write_text(path, status_page(config, today=today or dt.datetime.now(dt.UTC).date()))
    return path


def status_path(config: Config) -> Path:
    """Return where the status page is."""
    return folder_of(config) / PAGE


def status_page(config: Config, *, today: dt.date) -> str:
    """Make the status page."""
    runs = RunRecords(folder_of(config)).read()
    sections = [
        ("runs", "Last runs", _runs(runs)),
        ("freshness", "Freshness", _freshness(config, today)),
        ("coverage", "Coverage", _coverage(config)),
        ("accuracy", "Accuracy", _accuracy(config, runs)),
        ("failures", "Failures and how to repair them", _failures(config, runs)),
        ("versions", "Versions", _versions(config, runs)),
    ]
    style = (files("biastf_xr._update") / "templates" / "status.css").read_text("utf-8")
    title = f"Status of {_name(config)}"
    return html.page(title, sections, _lead(runs), style=style, sortable=False)


def _name(config: Config) -> str:
    return store_at(config.fuse.output).name


def _lead(runs: Sequence[UpdateReport]) -> str:
    """Return in one line how it is."""
    written = f'<p class="plain">Written {utc_now()}.</p>'
    if not runs:
        return f'<p class="state plain">No run yet.</p>{written}'
    last = runs[0]
    style, mark = STYLES.get(last.outcome, ("plain", ""))
    lines = "".join(f"<li>{escape(text)}</li>" for text in last.warnings)
    described = f"{mark} Last run {_when(last.run)}: {last.outcome}."
    if last.failed is not None:
        described += f" {last.failed.name}: {last.failed.error}."
    return (
        f'<p class="state {style}">{escape(described)}</p>'
        + (f'<ul class="warn">{lines}</ul>' if lines else "")
        + written
    )


def _when(run: str) -> str:
    """Write the name of a run as a time."""
    stamp, _, number = run.partition("-")
    with_number = f" ({number})" if number else ""
    try:
        found = dt.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    except ValueError:
        return run
    return f"{found:%Y-%m-%d %H:%M} UTC{with_number}"


# --- sections -------------------------------------------------------------------------------------


def _runs(runs: Sequence[UpdateReport]) -> str:
    if not runs:
        return "<p>There is no record of a run yet.</p>"
    rows = [
        (_when(run.run), _badge(run.outcome), _duration(run.seconds), int(run.exit_code),
         _did(run.steps), run.host)
        for run in runs[:RUNS]
    ]  # fmt: skip
    columns = ("began", "outcome", "took", "exit code", "what was done", "machine")
    steps = [
        (step.name, step.outcome, _duration(step.seconds), step.numbers(), step.note)
        for step in runs[0].steps
    ]
    codes = [(int(code), code.meaning, code.remedy) for code in ExitCode]
    return (
        Table(
            f"The last {len(rows)} of {len(runs)} recorded runs, newest first.", columns, rows
        ).html()
        + Table(
            "Steps of the last run.", ("step", "outcome", "took", "counts", "note"), steps
        ).html()
        + html.folded(
            "What the exit codes mean",
            Table("Exit codes.", ("code", "meaning", "to do"), codes).html(),
        )
    )


def _did(steps: Iterable[StepRecord]) -> str:
    parts = [f"{s.name}: {s.error or s.numbers()}" for s in steps if s.error or s.counts]
    return "; ".join(parts) or "nothing had changed"


def _badge(outcome: Outcome) -> Html:
    style, mark = STYLES.get(outcome, ("plain", ""))
    return Html(f'<span class="{style}">{mark} {escape(outcome)}</span>')


def _freshness(config: Config, today: dt.date) -> str:
    try:
        newest = newest_days(config)
    except (BiastfError, OSError, ValueError) as error:
        return f"<p>The cubes cannot be read: {escape(error)}</p>"
    rows = []
    for kind in KINDS:
        limit, old = getattr(config.update.max_age, kind), age(newest[kind], today)
        late = limit is not None and (old is None or old > limit)
        judged = "✓ fresh enough" if limit is not None else "no limit set"
        style = "bad" if late else "good" if limit is not None else "plain"
        rows.append((
            f"{kind} {'day' if kind == 'fused' else 'scene'}", newest[kind] or "none",
            "–" if old is None else old, "–" if limit is None else limit,
            Html(f'<span class="{style}">{"✗ too old" if late else judged}</span>'),
        ))  # fmt: skip
    columns = ("what", "newest", "days old", "allowed", "state")
    return Table(f"Newest days of the three cubes, before {today}.", columns, rows).html()


def _coverage(config: Config) -> str:
    try:
        found = coverage(config.fuse.output, 7 * config.update.weeks)
    except (BiastfError, OSError, ValueError, RuntimeError) as error:
        return f"<p>The fused cube cannot be read: {escape(error)}</p>"
    if found is None or not found.days:
        return "<p>There is no fused cube yet.</p>"
    return coverage_chart(found) + html.folded("Coverage in numbers", _coverage_table(found))


def _coverage_table(found: Coverage) -> str:
    shares = {k: v for k, v in class_shares(found).items() if any(v)}
    rows = [
        (day, *(f"{share[n]:.1%}" for share in shares.values()))
        for n, day in reversed(list(enumerate(found.days)))
    ]
    caption = "Share of the pixels by what they are, newest day first."
    return Table(caption, ("day", *shares), rows).html()


def _accuracy(config: Config, runs: Sequence[UpdateReport]) -> str:
    scored = [(_when(r.run), r.accuracy) for r in reversed(runs) if r.accuracy][-POINTS:]
    if not scored:
        return "<p>No scene has been scored yet.</p>"
    names = list(dict.fromkeys(name for _, a in scored for name in a.rmse))
    rows = [
        (when, a.date, a.base, *(_number(a.rmse.get(name)) for name in names), _number(a.ratio),
         f"{a.pixels:,}", a.how)
        for when, a in reversed(scored)
    ]  # fmt: skip
    columns = ("run", "scene", "base dates", *names, "ratio", "pixels", "how it was withheld")
    caption = (
        "Root mean square error, reflectance, mean over bands, on the same pixels for all methods; "
        "ratio: of the configured method over the better of linear and direct, below 1 is better."
    )
    there = (folder_of(config) / "report.html").exists()
    link = '<p><a href="report.html">Report of the newest evaluation</a></p>' if there else ""
    return trend_chart(scored) + link + Table(caption, columns, rows).html()


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _failures(config: Config, runs: Sequence[UpdateReport]) -> str:
    bad = [run for run in runs if run.failed or run.outcome is Outcome.DIED][:FAILURES]
    if not bad:
        return "<p>None of the recorded runs failed.</p>"
    since = "" if bad[0] is runs[0] else "<p>Later runs did not fail.</p>"
    return since + "".join(_failure(config, run) for run in bad)


def _failure(config: Config, run: UpdateReport) -> str:
    step = run.failed or StepRecord("run", "failed", error="Died")
    known = failure_of(step.error)
    book = config.update.handbook
    link = ""
    if book:
        where = html.anchor(f"{book}#{known.anchor}", f"{known.errors[0]} in the operations card")
        link = f"<p>{where}</p>"
    return (
        f'<div class="failure"><h3>{escape(_when(run.run))}: {escape(step.name)}, '
        f"{escape(step.error)}</h3>"
        + (f"<p><q>{escape(step.message)}</q></p>" if step.message else "")
        + f"<p><strong>What it means.</strong> {_code(known.meaning)}</p>"
        + f"<p><strong>How to repair.</strong> {_code(known.repair)}</p>{link}</div>\n"
    )


def _code(text: str) -> str:
    """Put what stands in backticks into code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{p}</code>" if n % 2 else p for n, p in enumerate(parts))


def _versions(config: Config, runs: Sequence[UpdateReport]) -> str:
    versions = runs[0].versions if runs else library_versions()
    places = {
        "fused cube": config.fuse.output,
        "records and log": folder_of(config),
        "operations card": config.update.handbook or "not set (`handbook` of [update])",
    }
    return html.facts(versions | places)


# --- pieces ---------------------------------------------------------------------------------------


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)
