"""Verdicts: whether one method is better than another on these dates.

Two methods are compared date by date on the same pixels.  The mean of the paired differences gets a
95 % interval: the wider of the percentile bootstrap over dates and Student's.  The bootstrap makes
no assumption on the distribution but is too narrow for few dates, where Student's holds it open.
A verdict is given only where the interval leaves zero out.  Dates that share base dates are not
independent of each other; the interval does not know that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from biastf_xr.evaluation._image_sums import BEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Verdict = Literal["better", "worse", "cannot tell"]

# Fewer dates than this give no verdict.
MIN_DATES = 3
RESAMPLES, LEVEL, SEED = 9999, 0.95, 0

REFERENCES = ("linear", "direct")
RIVAL = "best rival"


@dataclass(frozen=True)
class Comparison:
    """A method against a reference in one measure; its text is the finding.

    `role`: Why this reference: "best rival", or its name.
    `dates`: Dates on which both were scored.
    `difference`: Mean over the dates of method less reference; of measures that are best at
    zero, of their magnitudes.
    `low`, `high`: Its 95 % interval; NaN with too few dates.
    `verdict`: The finding.
    `reason`: Why there is no verdict.
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

    @property
    def against(self) -> str:
        """Return the reference, and whether it is the best rival."""
        return f"{RIVAL} {self.reference}" if self.role == RIVAL else self.reference

    def __str__(self) -> str:
        head = f"{self.method} against {self.against}: {self.verdict}"
        if np.isnan(self.low):
            return f"{head} ({self.reason})"
        return (
            f"{head} ({self.measure} {self.difference:+.5f}, {LEVEL:.0%} interval {self.low:+.5f} "
            f"to {self.high:+.5f}, {self.dates} dates)"
        )


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


def compare(
    by_date: pd.DataFrame, method: str, reference: str, measure: str = "RMSE", role: str = ""
) -> Comparison:
    """Compare two methods in one measure, mean over bands.

    `by_date`: Dates as rows, methods as columns, as from `Scores.by_date`.
    """
    wide = by_date[[method, reference]].dropna()
    if BEST[measure] == "zero":
        wide = wide.abs()
    d = (wide[method] - wide[reference]).to_numpy(np.float64)
    mean = float(d.mean()) if d.size else np.nan
    low = high = np.nan
    verdict: Verdict = "cannot tell"
    if d.size < MIN_DATES:
        reason = f"scored dates: {d.size}; at least {MIN_DATES} are needed"
    else:
        low, high = paired_interval(d)
        reason = "the interval holds zero" if low <= 0 <= high else ""
        if not reason:
            verdict = "better" if (mean > 0) == (BEST[measure] == "high") else "worse"
    return Comparison(
        method, reference, role or reference, measure, d.size, mean, low, high, verdict, reason
    )


def best_rival(by_date: pd.DataFrame, method: str, measure: str = "RMSE") -> str | None:
    """Find the best of all other methods: the one that is hardest to beat.

    `by_date`: The measure, mean over bands; what counts are the dates on which `method` was scored.
    """
    wide = by_date[by_date[method].notna()].drop(columns=method).dropna(axis=1)
    if wide.empty:
        return None
    means = (wide.abs() if BEST[measure] == "zero" else wide).mean()
    return str(means.idxmax() if BEST[measure] == "high" else means.idxmin())


def compare_with_rivals(by_date: pd.DataFrame, method: str, measure: str) -> list[Comparison]:
    """Compare a method with "linear", "direct" and its best rival; none without scores."""
    if by_date[method].notna().sum() == 0:
        return []
    rival = best_rival(by_date, method, measure)
    others = [r for r in REFERENCES if r in by_date and r != method]
    return [
        compare(by_date, method, other, measure, RIVAL if other == rival else other)
        for other in dict.fromkeys([*others, rival] if rival else others)
    ]
