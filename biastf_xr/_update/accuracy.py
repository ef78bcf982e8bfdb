"""The accuracy of an update: the newest fine scene that a prediction was not allowed to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._update.records import Accuracy
from biastf_xr.cube._cube import open_cube
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.errors import MissingPairError
from biastf_xr.evaluation._designs import clear_pairs

if TYPE_CHECKING:
    from biastf_xr.config import Config
    from biastf_xr.methods.base import Method
    from biastf_xr.region import Evaluation, Region

# Learned methods that are fitted in seconds, and so may be fitted again for a score.
QUICK = ("biastf-plus",)


@dataclass(frozen=True)
class Trial:
    """What is to be scored, and how.

    `candidate`: What predicts it; None where the fused cube is scored as it is.
    `how`: How the scene is withheld, as a sentence.
    """

    date: str
    candidate: str | Method | None
    how: str


def choose_trial(region: Region) -> Trial:
    """Choose the scene to score, and how it is predicted without having been seen."""
    config = region.config
    if config.fuse.withhold:
        how = "Withheld by the configuration; the fused cube is scored as it is."
        return Trial(str(max(config.fuse.withhold)), None, how)
    method = region.method()
    date = _newest_clear(config, inner=method.needs_two_sides)
    if date not in method.describe().get("trained_on", ()):
        learned = "The model in use was fitted without it. " if config.method.learned else ""
        return Trial(date, method, f"Held out of one prediction. {learned}".strip())
    if method.name in QUICK:
        how = "Held out of one prediction, by a model fitted again without it."
        return Trial(date, method.name, how)
    raise MissingPairError(
        f"the newest clear scene, {date}, was learned from, and a fit of {method.name} without it "
        "takes too long for every run. Name a scene in `withhold`, or wait for the next one."
    )


def _newest_clear(config: Config, *, inner: bool) -> str:
    """Return the newest fine scene that is clear and on a coarse day, if need be with one after."""
    fine, coarse = (open_cube(p, chunks=None) for p in (config.fine.cube, config.coarse.cube))
    days = clear_pairs(pair_cubes(fine, coarse), config.update.min_clear)
    last = -2 if inner else -1
    if days.size < 1 - last:
        raise MissingPairError(
            f"{days.size} fine scenes are at least {config.update.min_clear:.0%} clear and on a "
            f"day of the coarse cube; holding one out needs {1 - last}. Wait for scenes, or lower "
            "`min_clear` of [update]."
        )
    return str(days[last])


def score_trial(region: Region, trial: Trial, *, pictures: bool = False) -> Evaluation:
    """Score the scene, predicted without it."""
    cube = region.config.fuse.output if trial.candidate is None else None
    return region.evaluate(
        dates=(trial.date,), cube=cube, method=trial.candidate, pictures=pictures
    )


def accuracy_of(done: Evaluation, trial: Trial, method: str) -> Accuracy:
    """Return the accuracy for the record."""
    scores = done.scores
    assert scores is not None
    errors: Any = scores.by_date().loc[trial.date]
    row: Any = scores.dates.set_index("date").loc[trial.date]
    sides = (f"{side} {row[side]}" for side in ("before", "after") if row[side])
    return Accuracy(
        date=trial.date,
        method=method,
        rmse={str(k): float(v) for k, v in errors.items() if np.isfinite(v)},
        pixels=int(row["pixels"]),
        base=", ".join(sides),
        how=trial.how,
    )
