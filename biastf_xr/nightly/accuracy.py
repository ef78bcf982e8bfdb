"""The accuracy of tonight: the newest fine scene that a prediction was not allowed to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._cube import open_cube
from biastf_xr.errors import MissingPairError
from biastf_xr.nightly.records import Accuracy

if TYPE_CHECKING:
    from biastf_xr.config import Config
    from biastf_xr.evaluation import Scores
    from biastf_xr.evaluation._holdout import OnPrediction
    from biastf_xr.methods.base import Method

# Learned methods that are fitted in seconds, and so may be fitted anew for a score.
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


def choose_trial(config: Config) -> Trial:
    """Choose the scene to score, and how it is predicted without having been seen.

    `config`: The run; its cubes are there, and the model of a learned method is fitted.
    """
    if config.fuse.withhold:
        return Trial(
            str(max(config.fuse.withhold)),
            None,
            "Withheld by the configuration; the fused cube is scored as it is.",
        )
    from biastf_xr.steps.train import built_method

    method = built_method(config)
    date = _newest_clear(config, inner=method.needs_two_sides)
    seen = date in method.describe().get("trained_on", ())
    if not seen:
        learned = "The model in use was fitted without it. " if config.method.learned else ""
        return Trial(date, method, f"Held out of one prediction. {learned}".strip())
    if method.name in QUICK:
        return Trial(
            date, method.name, "Held out of one prediction, by a model fitted anew without it."
        )
    raise MissingPairError(
        f"the newest clear scene, {date}, was learned from, and a fit of {method.name} without it "
        "takes too long for every night. Name a scene in `withhold`, or wait for the next one."
    )


def _newest_clear(config: Config, *, inner: bool) -> str:
    """Return the newest fine scene that is clear and on a coarse day, if need be with one after."""
    from biastf_xr.cube._guards import pair_cubes
    from biastf_xr.evaluation._designs import clear_pairs

    fine, coarse = (open_cube(p, chunks=None) for p in (config.fine.cube, config.coarse.cube))
    days = clear_pairs(pair_cubes(fine, coarse), config.nightly.min_clear)
    last = -2 if inner else -1
    if days.size < 1 - last:
        raise MissingPairError(
            f"{days.size} fine scenes are at least {config.nightly.min_clear:.0%} clear and on a "
            f"day of the coarse cube; holding one out needs {1 - last}. Wait for scenes, or lower "
            "`min_clear` of [nightly]."
        )
    return str(days[last])


def score_trial(
    config: Config, trial: Trial, on_prediction: OnPrediction | None = None
) -> tuple[Scores, Accuracy]:
    """Predict the scene without it, beside the free baselines, and score it."""
    from biastf_xr.evaluation import evaluate, score_cube
    from biastf_xr.steps.train import fit_options

    fine, coarse = open_cube(config.fine.cube), open_cube(config.coarse.cube)
    shared: dict[str, Any] = {"rule": config.fuse.rule(), "on_prediction": on_prediction}
    name = config.method.name
    if trial.candidate is None:
        fused = open_cube(config.fuse.output)
        scores = score_cube(fused, fine, coarse, [trial.date], name=name, **shared)
    else:
        fitting = fit_options(config) if isinstance(trial.candidate, str) else None
        scores = evaluate(
            fine, coarse, {name: trial.candidate}, dates=[trial.date], fit_options=fitting, **shared
        )
    return scores, _accuracy(scores, trial, name)


def _accuracy(scores: Scores, trial: Trial, name: str) -> Accuracy:
    errors: Any = scores.by_date().loc[trial.date]
    rmse = {str(k): float(v) for k, v in errors.items() if np.isfinite(v)}
    row: Any = scores.dates.set_index("date").loc[trial.date]
    sides = (f"{side} {row[side]}" for side in ("before", "after") if row[side])
    return Accuracy(
        date=trial.date,
        method=name,
        rmse=rmse,
        pixels=int(row["pixels"]),
        base=", ".join(sides),
        how=trial.how,
    )
