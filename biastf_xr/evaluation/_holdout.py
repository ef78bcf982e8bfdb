"""Score methods on fine scenes they never saw."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr.cube._cube import bands_of
from biastf_xr.cube._guards import CubePair, pair_cubes
from biastf_xr.cube._spec import STATUS
from biastf_xr.errors import (
    CubeStructureError,
    GridMismatchError,
    LeakError,
    MissingPairError,
)
from biastf_xr.evaluation._designs import Design, Fold, LeaveOneOut, design_named
from biastf_xr.evaluation._judged import Judged
from biastf_xr.evaluation._predictions import (
    Candidate,
    EvaluationProgress,
    band_stack,
    predict_fold,
    sigma_stack,
)
from biastf_xr.evaluation._scores import ScoreBook, Scores
from biastf_xr.evaluation._tally import tally_date
from biastf_xr.grid import geobox_of
from biastf_xr.methods import BASELINES
from biastf_xr.methods.base import Method

if TYPE_CHECKING:
    import xarray as xr

    from biastf_xr.fusion._plan import FusionRule

# Called with every date once its images are in memory.
OnPrediction = Callable[[Judged], None]


def evaluate(
    fine: xr.Dataset,
    coarse: xr.Dataset,
    methods: Any = ("biastf-plus",),
    *,
    design: Design | str = "leave-one-out",
    dates: Any = None,
    rule: FusionRule | None = None,
    fit_options: dict[str, Any] | None = None,
    progress: EvaluationProgress | None = None,
    on_prediction: OnPrediction | None = None,
) -> Scores:
    """Withhold fine scenes, predict them, and score the predictions.

    Eager, date by date and window by window.  What the design withholds is taken out of the cubes
    before anything else happens, and learned methods given by name are fitted without it in every
    fold.  The baselines are always scored too, all methods on the same pixels: those that every
    method predicted and the withheld scene shows clearly.

    Parameters
    ----------
    fine, coarse : xarray.Dataset
        The cubes.
    methods : str, Method, callable, sequence or dict of them
        Names (learned ones are fitted for every fold), built methods, or functions that take the
        fine and the coarse cube and return a fitted method, called for every fold.  The keys of a
        dict are the names that the tables use.
    design : Design or str
        What is withheld: `LeaveOneOut`, `LeaveGap`, `Forward` or `LeaveRegion`, or its name, with
        options as in ``"leave-gap,days=24"`` or ``"leave-one-out,together=true"``.
    dates : array_like of dates, optional
        Dates to score; by default the design chooses among those at least its `min_clear` clear.
    rule : FusionRule, optional
        How inputs are chosen.
    fit_options : dict, optional
        Options of `fit` for learned methods given by name.
    progress : callable, optional
        Called before every prediction.
    on_prediction : callable, optional
        Called with the images of every scored date, which are then held in memory one date at a
        time.

    Returns
    -------
    Scores
        The measures, and notes on what could not be computed.

    Raises
    ------
    LeakError
        If a fitted method was trained on what the design withholds.
    MissingPairError
        If there is no date to withhold, none on which all methods predicted a pixel, or a method
        could be scored on no date.
    """
    pair = pair_cubes(fine, coarse)
    design = design_named(design) if isinstance(design, str) else design
    named = _named(methods)
    days = design.choose(pair) if dates is None else to_days(dates, "the date to score")
    folds = design.folds(pair, days)
    for method in named.values():
        _refuse_leak(method, folds)
    book = ScoreBook(pair.bands, 1 / pair.alignment.ratio)
    for fold in folds:
        for judged in predict_fold(
            pair, named, fold, book, rule=rule, fit_options=fit_options, progress=progress
        ):
            _enter(book, judged, on_prediction)
    return _finished(book, design.describe(), named)


def score_cube(
    fused: xr.Dataset,
    fine: xr.Dataset,
    coarse: xr.Dataset,
    dates: Any,
    *,
    name: str = "cube",
    rule: FusionRule | None = None,
    on_prediction: OnPrediction | None = None,
) -> Scores:
    """Score a cube that is there, of any origin, on withheld fine scenes.

    Parameters
    ----------
    fused : xarray.Dataset
        The predictions, on the fine grid.
    fine : xarray.Dataset
        Fine cube that holds the withheld scenes.
    coarse : xarray.Dataset
        Coarse cube, for the baselines and the resolution ratio.
    dates : array_like of dates
        The withheld dates; the baselines are computed without any of them.
    name : str
        What to call the cube in the tables.
    rule : FusionRule, optional
        How the baselines choose their inputs.
    on_prediction : callable, optional
        Called with the images of every date.

    Returns
    -------
    Scores
        The measures of the cube and of the baselines, on the same pixels.

    Raises
    ------
    LeakError
        If the cube states that it kept or was trained on a scene of these dates.
    CubeStructureError, GridMismatchError
        If the cube is not on the fine grid, or lacks a band or a date.
    MissingPairError
        If there is no pixel to score.
    """
    days = to_days(dates, "the date to score")
    pair = pair_cubes(fine, coarse)
    _check_product(fused, pair, days)
    have = to_days(fused["time"])
    book = ScoreBook(pair.bands, 1 / pair.alignment.ratio)
    book.methods[name] = json.loads(fused.attrs.get("biastf_method", "{}"))
    baselines: dict[str, Candidate] = {baseline: baseline for baseline in BASELINES}
    for judged in predict_fold(pair, baselines, Fold(tuple(days), tuple(days)), book, rule=rule):
        cube = fused.isel(time=have == judged.day)
        images = judged.images | {name: band_stack(cube, pair.bands)}
        stated = {name: sigma} if (sigma := sigma_stack(cube, pair.bands)) is not None else {}
        whole = replace(judged, images=images, sigma=judged.sigma | stated)
        _enter(book, whole, on_prediction)
    return _finished(book, LeaveOneOut(together=True).describe(), {name: name})


def _enter(book: ScoreBook, judged: Judged, on_prediction: OnPrediction | None) -> None:
    """Score one date; hold its images in memory only if somebody wants to see them."""
    if on_prediction is not None:
        judged = judged.load()
    tally = tally_date(judged)
    book.add(judged, tally)
    if on_prediction is not None and tally.pixels:
        on_prediction(judged)


def _finished(book: ScoreBook, design: str, asked: dict[str, Any]) -> Scores:
    """Make the tables; refuse if a method that was asked for is in none."""
    missing = set(asked) - book.scored()
    if missing:
        why = [str(n) for n in book.notes if n.method in {"", *missing}]
        raise MissingPairError(
            f"{', '.join(sorted(missing))} could be scored on no date. " + " ".join(why)
        )
    return book.finish(design)


def _named(methods: Any) -> dict[str, Candidate]:
    """Return the methods by name, the baselines first."""
    named: dict[str, Candidate] = {name: name for name in BASELINES}
    if isinstance(methods, dict):
        return named | methods
    one = isinstance(methods, str | Method) or callable(methods)
    return named | {_name(m): m for m in ([methods] if one else methods)}


def _name(method: Any) -> str:
    if isinstance(method, str):
        return method
    return str(method.name if isinstance(method, Method) else method.__name__)


def _refuse_leak(method: Candidate, folds: list[Fold]) -> None:
    """Refuse a fitted method that has seen what a fold withholds."""
    if not isinstance(method, Method):
        return
    seen = set(method.describe().get("trained_on", []))
    leaked = sorted(seen & {str(day) for fold in folds for day in fold.withheld})
    if leaked:
        raise LeakError(
            f"{method.name} was trained on {leaked}, which it is to be scored on or must not have "
            "seen. Fit it without: fit(fine.drop_sel(time=...), coarse), or give its name so that "
            "every fold fits its own."
        )
    if seen and any(fold.parts for fold in folds):
        raise LeakError(
            f"{method.name} is fitted already, and whether without the parts of the area cannot be "
            "known. Give its name, so that it is fitted on the others; or score a model of another "
            "region by leaving out dates."
        )


def _check_product(fused: xr.Dataset, pair: CubePair, days: Any) -> None:
    missing = sorted(set(pair.bands) - set(bands_of(fused)))
    if missing:
        raise CubeStructureError(
            f"the cube to score lacks the bands {missing}; it has {list(bands_of(fused))}."
        )
    if geobox_of(fused, "cube to score") != pair.geobox:
        raise GridMismatchError(
            f"the cube to score lies on {geobox_of(fused, 'cube')}, the withheld scenes on "
            f"{pair.geobox}; expected the same grid."
        )
    have = to_days(fused["time"])
    absent = days[~np.isin(days, have)]
    if absent.size:
        raise CubeStructureError(
            f"the cube to score has no prediction for {', '.join(map(str, absent))}."
        )
    made_by = json.loads(fused.attrs.get("biastf_method", "{}"))
    seen = sorted(set(made_by.get("trained_on", [])) & {str(d) for d in days})
    if seen:
        raise LeakError(
            f"the cube was made by a model that was trained on {seen}. Fit and fuse again with "
            "`withhold` set to these dates."
        )
    if "status_flag" in fused:
        status = fused["status_flag"].isel(time=np.isin(have, days)).values
        if (status == STATUS["observed"]).any():
            raise LeakError(
                f"the cube kept observed pixels on {', '.join(map(str, days))}: those scenes were "
                "not withheld when it was made. Fuse again with `withhold` set to these dates."
            )
