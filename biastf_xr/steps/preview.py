"""What the steps would do, without doing it: `--dry-run`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from biastf_xr.steps.terminal import console, facts, shown, tell_rest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biastf_xr.config import Config, Source
    from biastf_xr.evaluation import Design


def preview_ingest_step(config: Config, *, overwrite: bool = False) -> dict[str, Any]:
    """Return which scenes both cubes would take."""
    sensors = {"fine": config.fine, "coarse": config.coarse}
    return {
        kind: preview_source(source, kind, overwrite=overwrite) for kind, source in sensors.items()
    }


def preview_source(source: Source, kind: str, *, overwrite: bool = False) -> dict[str, Any]:
    """Return which scenes one cube would take; opens none."""
    from biastf_xr.cube._ingest import preview_ingest
    from biastf_xr.sources import build_product

    found = preview_ingest(
        build_product(source.product, **source.options),
        source.folder,
        source.cube,
        start=str(source.start) if source.start else None,
        end=str(source.end) if source.end else None,
        exclude=tuple(map(str, source.exclude)),
        overwrite=overwrite,
    )
    scenes = [f"{day}  {name}" for day, names in found.days.items() for name in names]
    gone = [day for day, names in found.days.items() if not names]
    facts(
        f"{kind} cube {found.path}",
        {
            "scenes to read": f"{len(scenes)} on {len(found.days) - len(gone)} days",
            "of those newer processings": len(found.replaced),
            "days to take out": ", ".join(gone) or "none",
            "unchanged": len(found.unchanged),
            "gone from the folder, kept": len(found.kept),
            "excluded": len(found.excluded),
            "rejected": len(found.rejected),
        },
    )
    for line in (*shown(scenes), *(f"rejected  {k}: {v}" for k, v in found.rejected.items())):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    tell_rest(scenes, what="more scenes")
    return asdict(found)


def preview_train_step(config: Config) -> dict[str, Any]:
    """Return what a fit would learn from."""
    from biastf_xr.cube._cube import drop_days, open_cube
    from biastf_xr.cube._guards import pair_cubes
    from biastf_xr.methods._learning.dates import training_days

    method = config.method
    told: dict[str, Any] = {"method": method.name, "learned": method.learned}
    if method.learned:
        fine = drop_days(open_cube(config.fine.cube), map(str, config.fuse.withhold))
        pair = pair_cubes(fine, open_cube(config.coarse.cube))
        days = training_days(pair, method.samples, config.fuse.rule().bracket)
        told |= {
            "checkpoint": str(method.checkpoint),
            "checkpoint exists": method.checkpoint.exists(),
            "bands": list(pair.bands),
            "withheld": list(map(str, config.fuse.withhold)),
            "days": list(map(str, days)),
        }
    facts("the fit", {k: ", ".join(v) if isinstance(v, list) else v for k, v in told.items()})
    return told


def preview_evaluate_step(
    config: Config,
    *,
    dates: Sequence[str] = (),
    cube: str | None = None,
    also: Sequence[str] = (),
    design: Design | None = None,
) -> dict[str, Any]:
    """Return what an evaluation would withhold and predict.

    `cube`: Fused cube that would be scored as it is.
    """
    import numpy as np

    from biastf_xr.cube._cube import open_cube
    from biastf_xr.cube._guards import pair_cubes
    from biastf_xr.evaluation import LeaveOneOut
    from biastf_xr.methods import BASELINES

    withheld = list(map(str, config.fuse.withhold))
    if cube is None and design is None and not dates and withheld:
        cube = config.fuse.output
    told: dict[str, Any]
    if cube is not None:
        told = {"cube": cube, "scored": list(dates) or withheld}
    else:
        pair = pair_cubes(open_cube(config.fine.cube), open_cube(config.coarse.cube))
        rule = design or LeaveOneOut()
        days = np.array(dates, "datetime64[D]") if dates else rule.choose(pair)
        folds = [
            {"withheld": list(map(str, fold.withheld)), "scored": list(map(str, fold.score))}
            for fold in rule.folds(pair, days)
        ]
        methods = [*dict.fromkeys((*BASELINES, config.method.name, *also))]
        told = {"design": rule.describe(), "methods": methods, "folds": folds}
    facts("the evaluation", {k: v for k, v in told.items() if k != "folds"})
    folds = told.get("folds", [])
    for fold in shown(folds):
        console.print(f"without {', '.join(fold['withheld'])}: {', '.join(fold['scored'])}")
    tell_rest(folds, what="more rounds")
    return told
