"""The steps of an update: each does its work, or in a dry run only looks at what there is to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from biastf_xr._update.accuracy import accuracy_of, choose_trial, score_trial
from biastf_xr._update.exports import EXPORTED, days_to_export, export_days
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import MissingPairError

if TYPE_CHECKING:
    from biastf_xr._update.records import Accuracy
    from biastf_xr.config import Config
    from biastf_xr.region import Evaluation, Progress, Region

DONE, NOTHING_NEW, SKIPPED, PLANNED = "done", "nothing new", "skipped", "planned"

# Rejected scenes whose reasons go into a record.
REASONS = 5


@dataclass
class Context:
    """What the steps of one run share.

    `dry_run`: Whether they only look.
    `scored_before`: Accuracy that an earlier run found.
    `fine_news`: Whether fine scenes came, changed or went.
    `changed`: Whether any step has changed anything.
    """

    region: Region
    progress: Progress
    dry_run: bool = False
    scored_before: Accuracy | None = None
    fine_news: bool = False
    changed: bool = False
    evaluation: Evaluation | None = None
    accuracy: Accuracy | None = None

    def missing(self) -> str:
        """Return why a dry run cannot look further yet."""
        lacking = self.region.missing_inputs()
        return f"known once {lacking} {'is' if lacking == 'the model' else 'are'} there"


@dataclass(frozen=True)
class Result:
    """What came of a step that did not fail.

    `counts`: Numbers and short texts.
    `note`: Why it was skipped, or what else is to be said.
    `value`: What the step of the region returned.
    """

    outcome: str = DONE
    counts: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    value: Any = None


def ingest(run: Context) -> Result:
    """Bring both cubes up to date with their archives."""
    done = run.region.ingest(dry_run=run.dry_run, progress=run.progress)
    sensors = {"fine": done.fine, "coarse": done.coarse}
    news = {kind: bool(report.days if run.dry_run else report.added or report.removed)
            for kind, report in sensors.items()}  # fmt: skip
    run.fine_news = news["fine"]
    run.changed |= any(news.values())
    if run.dry_run:
        scenes = {f"{kind} scenes to read": sum(map(len, report.days.values()))
                  for kind, report in sensors.items()}  # fmt: skip
        return Result(PLANNED, scenes)
    counts = {
        f"{kind} {what}": len(getattr(report, what))
        for kind, report in sensors.items()
        for what in ("added", "replaced", "removed", "rejected")
        if getattr(report, what)
    }
    suspect = len(done.screening.suspected) if done.screening else 0
    counts |= {"fine days with something suspected": suspect} if suspect else {}
    rejected = done.fine.rejected | done.coarse.rejected
    reasons = [f"{name}: {why}" for name, why in sorted(rejected.items())[:REASONS]]
    outcome = DONE if run.changed else NOTHING_NEW
    return Result(outcome, counts, "; ".join(reasons), done)


def reason_to_fit(config: Config, *, fine_news: bool) -> str:
    """Return why the method is to be fitted; empty if it is not."""
    method = config.method
    if not method.learned or method.refit == "never":
        return ""
    if not method.checkpoint.exists():
        return "there is no model"
    return "fine scenes arrived" if method.refit == "new-scenes" and fine_news else ""


def train(run: Context) -> Result:
    """Fit the method where the policy says so."""
    config = run.region.config
    why = reason_to_fit(config, fine_news=run.fine_news)
    if run.dry_run:
        stays = "the model stays" if config.method.learned else f"{config.method.name} needs no fit"
        return Result(PLANNED, note=f"fit, because {why}" if why else stays)
    if not why:
        return Result(NOTHING_NEW)
    fitted = run.region.fit(progress=run.progress)
    run.changed = True
    return Result(DONE, {"dates": len(fitted.days)}, f"Fitted because {why}.", fitted)


def fuse(run: Context) -> Result:
    """Make the days and tiles that are missing or that new inputs change."""
    if run.dry_run:
        if run.region.missing_inputs():
            return Result(PLANNED, note=run.missing())
        left = run.region.plan(trial=False).totals
        note = "as the cubes are now; the scenes to read add to it" if run.changed else ""
        return Result(PLANNED, _counts(left.units, left.pixels), note)
    done = run.region.fuse(revise=True, progress=run.progress)
    run.changed |= done.pixels > 0
    counts = _counts(done.units, done.pixels) | {
        "recomputed": done.revised, "looked at": done.unchanged,
    }  # fmt: skip
    counts = {name: count for name, count in counts.items() if count}
    return Result(DONE if done.pixels else NOTHING_NEW, counts, value=done)


def _counts(units: int, pixels: int) -> dict[str, Any]:
    return {"units": units, "Mpx and dates": round(pixels / 1e6, 3)}


def evaluate(run: Context) -> Result:
    """Score the newest scene that can be withheld."""
    config = run.region.config
    if run.dry_run and not config.fuse.withhold and run.region.missing_inputs():
        return Result(PLANNED, note=run.missing())
    if not (run.dry_run or run.changed) and run.scored_before is not None:
        return Result(NOTHING_NEW)
    try:
        trial = choose_trial(run.region)
        if run.dry_run:
            return Result(PLANNED, {"scene": trial.date}, trial.how)
        run.evaluation = score_trial(run.region, trial, pictures="report" in config.update.steps)
    except MissingPairError as error:
        return Result(PLANNED if run.dry_run else SKIPPED, note=f"Not scored: {error}")
    found = run.accuracy = accuracy_of(run.evaluation, trial, config.method.name)
    counts: dict[str, Any] = {"scene": found.date, "pixels": found.pixels}
    if found.ratio is not None:
        counts["error ratio"] = round(found.ratio, 4)
    return Result(DONE, counts, trial.how)


def report(run: Context) -> Result:
    """Write the report of the evaluation beside the status page."""
    if run.dry_run:
        return Result(PLANNED, note="if the newest withheld scene is scored")
    if run.evaluation is None or run.accuracy is None:
        return Result(NOTHING_NEW)
    about = {"fused cube": run.region.config.fuse.output, "withheld": run.accuracy.how}
    title = f"Accuracy on the scene of {run.accuracy.date}"
    run.evaluation.write_report(run.region.folder / "report.html", title=title, **about)
    return Result()


def export(run: Context) -> Result:
    """Write the days that were made as GeoTIFFs."""
    config = run.region.config
    if config.update.export is None:
        return Result(SKIPPED, note="`export` names no folder.")
    if run.dry_run:
        if not store_at(config.fuse.output).exists():
            return Result(PLANNED, note="known once the fused cube is there")
        days = days_to_export(config.fuse.output, run.region.folder / EXPORTED)
        return Result(PLANNED, {"days": len(days)}, "and the days that are made")
    files = export_days(run.region, config.update.export)
    return Result(DONE if files else NOTHING_NEW, {"files": len(files)} if files else {})


def publish(run: Context) -> Result:
    """Bring the STAC catalogue up to date."""
    config = run.region.config
    section = config.update
    if section.publish is None:
        return Result(SKIPPED, note="`publish` names no folder.")
    if run.dry_run and not store_at(config.fuse.output).exists():
        return Result(PLANNED, note="known once the fused cube is there")
    done = run.region.publish(
        section.publish, licence=section.licence, dry_run=run.dry_run, progress=run.progress
    )
    if run.dry_run:
        days = len(done.added) + len(done.updated)
        return Result(PLANNED, {"days": days}, "and the days that are made")
    counts = {
        what: len(getattr(done, what))
        for what in ("added", "updated", "removed")
        if getattr(done, what)
    }
    return Result(DONE if counts else NOTHING_NEW, counts, value=done)


Step = Callable[[Context], Result]

STEPS: dict[str, Step] = {
    "ingest": ingest,
    "train": train,
    "fuse": fuse,
    "evaluate": evaluate,
    "report": report,
    "export": export,
    "publish": publish,
}
