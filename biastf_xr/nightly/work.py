"""The steps of a scheduled run.  Each does its work and says what came of it in a few numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from biastf_xr.errors import MissingPairError

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.config import Config
    from biastf_xr.cube._ingest import IngestReport
    from biastf_xr.evaluation import Gallery, Scores
    from biastf_xr.nightly.records import Accuracy

DONE, NOTHING_NEW, SKIPPED = "done", "nothing new", "skipped"

# Rejected scenes whose reasons go into a record.
REASONS = 5


@dataclass
class Night:
    """What the steps of one run hand to each other.

    `folder`: Folder of the scheduled job.
    `scored_before`: Of an earlier run.
    `fine_news`: Whether fine scenes came, changed or went.
    `changed`: Whether any step has changed anything.
    """

    config: Config
    folder: Path
    scored_before: Accuracy | None = None
    fine_news: bool = False
    changed: bool = False
    scores: Scores | None = None
    gallery: Gallery | None = None
    accuracy: Accuracy | None = None


@dataclass(frozen=True)
class Result:
    """What came of a step that did not fail.

    `outcome`: "done", "nothing new" or "skipped".
    `counts`: Numbers and short texts.
    `note`: Why it was skipped, or what else is to be said.
    """

    outcome: str = DONE
    counts: dict[str, Any] = field(default_factory=dict)
    note: str = ""


def ingest(night: Night) -> Result:
    """Bring both cubes up to date with their archives."""
    from biastf_xr.steps.ingest import ingest_step

    fine, coarse = ingest_step(night.config)
    night.fine_news = _news(fine)
    changed = night.fine_news or _news(coarse)
    night.changed |= changed
    counts = {
        f"{kind} {what}": len(getattr(report, what))
        for kind, report in (("fine", fine), ("coarse", coarse))
        for what in ("added", "replaced", "removed", "rejected")
        if getattr(report, what)
    }
    rejected = fine.rejected | coarse.rejected
    reasons = [f"{name}: {why}" for name, why in sorted(rejected.items())[:REASONS]]
    return Result(DONE if changed else NOTHING_NEW, counts, "; ".join(reasons))


def _news(report: IngestReport) -> bool:
    return bool(report.added or report.replaced or report.removed)


def wants_fit(config: Config, *, fine_news: bool) -> str:
    """Return why the method is to be fitted."""
    method = config.method
    if not method.learned or method.refit == "never":
        return ""
    if not method.checkpoint.exists():
        return "there is no model"
    return "fine scenes arrived" if method.refit == "new-scenes" and fine_news else ""


def train(night: Night) -> Result:
    """Fit the method where the policy says so."""
    from biastf_xr.steps.train import train_step

    why = wants_fit(night.config, fine_news=night.fine_news)
    if not why:
        return Result(NOTHING_NEW)
    fitted = train_step(night.config)
    night.changed = True
    dates = len(fitted.describe().get("trained_on", ())) if fitted is not None else 0
    return Result(DONE, {"dates": dates}, f"Fitted because {why}.")


def fuse(night: Night) -> Result:
    """Make the days and tiles that are missing or that new inputs change."""
    from biastf_xr.steps.fuse import fuse_step

    report = fuse_step(night.config, revise=True)
    made = report.pixels > 0
    night.changed |= made
    counts = {
        "units": report.units,
        "Mpx and dates": round(report.pixels / 1e6, 3),
        "made anew": report.revised,
        "looked at": report.unchanged,
    }
    return Result(
        DONE if made else NOTHING_NEW, {name: count for name, count in counts.items() if count}
    )


def evaluate(night: Night) -> Result:
    """Score the newest withheld scene."""
    from biastf_xr.evaluation import Gallery
    from biastf_xr.nightly.accuracy import choose_trial, score_trial

    if not night.changed and night.scored_before is not None:
        return Result(NOTHING_NEW)
    gallery = Gallery() if "report" in night.config.nightly.steps else None
    try:
        trial = choose_trial(night.config)
        night.scores, night.accuracy = score_trial(night.config, trial, gallery)
    except MissingPairError as error:
        return Result(SKIPPED, note=f"Not scored: {error}")
    night.gallery = gallery
    counts: dict[str, Any] = {"scene": night.accuracy.date, "pixels": night.accuracy.pixels}
    if night.accuracy.ratio is not None:
        counts["error ratio"] = round(night.accuracy.ratio, 4)
    return Result(DONE, counts, trial.how)


def report(night: Night) -> Result:
    """Write the report of tonight's evaluation beside the status page."""
    from biastf_xr.evaluation import write_report

    if night.scores is None or night.accuracy is None:
        return Result(NOTHING_NEW)
    config = night.config
    about = {
        "fine cube": config.fine.cube,
        "coarse cube": config.coarse.cube,
        "fused cube": config.fuse.output,
        "withheld": night.accuracy.how,
    }
    partial = night.folder / ".report.partial.html"
    title = f"Accuracy on the scene of {night.accuracy.date}"
    try:
        write_report(partial, night.scores, title=title, run=about, gallery=night.gallery)
        for ending in (".json", ".html"):
            partial.with_suffix(ending).replace(night.folder / f"report{ending}")
    finally:
        for ending in (".json", ".html"):
            partial.with_suffix(ending).unlink(missing_ok=True)
    return Result()


def export(night: Night) -> Result:
    """Write the days that were made as GeoTIFFs."""
    from biastf_xr.nightly.handover import export_days

    if night.config.nightly.export is None:
        return Result(SKIPPED, note="`export` names no folder.")
    files = export_days(night.config, night.folder)
    return Result(DONE if files else NOTHING_NEW, {"files": len(files)} if files else {})


def publish(night: Night) -> Result:
    """Bring the STAC catalogue up to date."""
    from biastf_xr.steps.keep import publish_step

    section = night.config.nightly
    if section.publish is None:
        return Result(SKIPPED, note="`publish` names no folder.")
    report = publish_step(night.config.fuse.output, section.publish, licence=section.licence)
    counts = {
        what: len(getattr(report, what))
        for what in ("added", "updated", "removed")
        if getattr(report, what)
    }
    return Result(DONE if counts else NOTHING_NEW, counts)


Step = Callable[[Night], Result]

STEPS: dict[str, Step] = {
    "ingest": ingest,
    "train": train,
    "fuse": fuse,
    "evaluate": evaluate,
    "report": report,
    "export": export,
    "publish": publish,
}
