"""Whether one method is better than another, or whether the dates cannot tell.

Two methods are compared date by date on the same pixels.  The mean of the paired differences gets a
95 % interval: the wider of the percentile bootstrap over dates and Student's.  The bootstrap makes
no assumption on the distribution but is too narrow for few dates, where Student's holds it open.
A verdict is given only where the interval leaves zero out.  Dates that share base dates are not
independent of each other; the interval does not know that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from biastf_xr.evaluation._image_sums import BEST
from biastf_xr.methods import BASELINES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from biastf_xr.evaluation._scores import Scores

Verdict = Literal["better", "worse", "cannot tell"]

# Fewer dates than this give no verdict.
MIN_DATES = 3
RESAMPLES, LEVEL, SEED = 9999, 0.95, 0

REFERENCES = ("linear", "direct")
RIVAL = "best rival"


@dataclass(frozen=True)
class Comparison:
    """A method against a reference in one measure.

    `role`: Why this reference: "best rival", or its name.
    `dates`: Dates on which both were scored.
    `difference`: Mean over the dates of method less reference; of measures that are best at
    zero, of their magnitudes.
    `low`, `high`: Its 95 % interval; NaN with too few dates.
    `verdict`: What the interval says.
    `reason`: Why it cannot be told.
    """

    method: str
    reference: str
    role: str
    measure: str
    dates: int
    difference: float
    low: float
    high: float
    verdict: Verdict
    reason: str = ""


def paired_interval(
    differences: Sequence[float] | np.ndarray[Any, Any],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[float, float]:
    """Return the interval of a mean of paired differences.

    `differences`: One per date, at least two.

    References
    ----------
    Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    from scipy.stats import t

    d = np.asarray(differences, np.float64)
    draws = np.random.default_rng(seed).integers(0, d.size, (resamples, d.size))
    tail = (1 - level) / 2
    low, high = np.quantile(d[draws].mean(axis=1), (tail, 1 - tail))
    half = float(t.ppf(1 - tail, d.size - 1)) * d.std(ddof=1) / np.sqrt(d.size)
    return float(min(low, d.mean() - half)), float(max(high, d.mean() + half))


def compare(scores: Scores, method: str, reference: str, measure: str = "RMSE") -> Comparison:
    """Compare two methods in one measure, mean over bands."""
    wide = scores.by_date(measure)[[method, reference]].dropna()
    if BEST[measure] == "zero":
        wide = wide.abs()
    d = (wide[method] - wide[reference]).to_numpy(np.float64)
    mean = float(d.mean()) if d.size else np.nan
    told = method, reference, reference, measure, d.size, mean
    if d.size < MIN_DATES:
        return Comparison(
            *told,
            np.nan,
            np.nan,
            "cannot tell",
            f"scored dates: {d.size}; at least {MIN_DATES} are needed",
        )
    low, high = paired_interval(d)
    if low <= 0 <= high:
        return Comparison(*told, low, high, "cannot tell", "the interval holds zero")
    gain = mean > 0 if BEST[measure] == "high" else mean < 0
    return Comparison(*told, low, high, "better" if gain else "worse")


def best_rival(scores: Scores, method: str, measure: str = "RMSE") -> str | None:
    """Find the best of all other methods: the one that is hardest to beat.

    `measure`: The measure, mean over bands and over the dates on which `method` was scored.
    """
    wide = scores.by_date(measure)
    wide = wide[wide[method].notna()].drop(columns=method).dropna(axis=1)
    if wide.empty:
        return None
    means = (wide.abs() if BEST[measure] == "zero" else wide).mean()
    return str(means.idxmax() if BEST[measure] == "high" else means.idxmin())


def comparisons(scores: Scores, measures: Sequence[str] = ("RMSE",)) -> list[Comparison]:
    """Compare every method with "linear", "direct" and its best rival."""
    scored = list(scores.by_date().columns)
    chosen = [m for m in scored if m not in BASELINES] or scored
    made = []
    for method in chosen:
        for measure in measures:
            if scores.by_date(measure)[method].notna().sum() == 0:
                continue
            rival = best_rival(scores, method, measure)
            others = [r for r in REFERENCES if r in scored and r != method]
            for other in dict.fromkeys([*others, rival] if rival else others):
                one = compare(scores, method, other, measure)
                made.append(replace(one, role=RIVAL) if other == rival else one)
    return made


def ratio_table(scores: Scores) -> pd.DataFrame:
    """Sum up the RMSE of every date over that of the best of "linear" and "direct"."""
    import pandas as pd

    ratios = scores.ratios(REFERENCES)
    rows = {
        method: {
            "dates": int(column.notna().sum()),
            "mean ratio": column.mean(),
            "worst ratio": column.max(),
            "worst date": column.idxmax(),
        }
        for method, column in ratios.items()
        if column.notna().any()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
