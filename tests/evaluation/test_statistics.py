"""Verdicts: right where the dates tell, silent where they do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, ttest_1samp

from biastf_xr.evaluation import Scores
from biastf_xr.evaluation._statistics import best_rival, compare, paired_interval


def scores_of(measure="RMSE", **values):
    """Build scores from one value per date and method."""
    rows = [
        {"date": f"2021-04-{i + 1:02d}", "method": method, "measure": measure, "band": "mean",
         "value": value, "pixels": 10}
        for method, column in values.items() for i, value in enumerate(column)
    ]  # fmt: skip
    return Scores(pd.DataFrame(rows), 0.25)


def compare_all(**values):
    return compare(scores_of(**values).by_date(), "mine", "linear")


def test_the_interval_is_the_wider_of_bootstrap_and_student():
    rng = np.random.default_rng(2)
    for d in (rng.normal(0.01, 0.02, 5), rng.exponential(1, 60)):
        low, high = paired_interval(d)
        student = ttest_1samp(d, 0).confidence_interval(0.95)
        percentile = bootstrap(
            (d,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(9)
        ).confidence_interval
        spread = high - low
        assert low == pytest.approx(min(student.low, percentile.low), abs=0.02 * spread)
        assert high == pytest.approx(max(student.high, percentile.high), abs=0.02 * spread)
        assert (low, high) == paired_interval(d)
        assert paired_interval(-d) == pytest.approx((-high, -low), abs=0.02 * spread)


@pytest.mark.parametrize("dates", [3, 6, 12])
def test_methods_that_do_not_differ_are_seldom_told_apart(dates):
    rng = np.random.default_rng(dates)
    trials = rng.normal(0, 1, (400, dates))
    intervals = [paired_interval(d, resamples=500) for d in trials]
    wrong = np.mean([low > 0 or high < 0 for low, high in intervals])
    assert wrong < 0.075


def test_a_clear_difference_is_told_in_the_direction_of_the_measure():
    low, high = [0.010, 0.012, 0.011, 0.013], [0.020, 0.021, 0.022, 0.020]
    error = scores_of(linear=high, mine=low)
    assert compare(error.by_date(), "mine", "linear").verdict == "better"
    assert compare(error.by_date(), "linear", "mine").verdict == "worse"
    likeness = scores_of("CC", linear=high, mine=low)
    assert compare(likeness.by_date("CC"), "mine", "linear", "CC").verdict == "worse"
    zero = scores_of("EDGE", linear=[-v for v in high], mine=low)
    made = compare(zero.by_date("EDGE"), "mine", "linear", "EDGE")
    assert made.verdict == "better"
    assert made.difference == pytest.approx(np.mean(low) - np.mean(high))
    assert made.low < made.difference < made.high < 0


def test_noise_is_not_told():
    made = compare_all(linear=[0.02] * 4, mine=[0.01, 0.03, 0.015, 0.024])
    assert made.verdict == "cannot tell"
    assert made.reason == "the interval holds zero"
    assert made.low < 0 < made.high


def test_two_dates_tell_nothing_and_a_date_without_both_does_not_count():
    made = compare_all(linear=[0.02] * 3, mine=[0.01, 0.01, np.nan])
    assert (made.verdict, made.dates) == ("cannot tell", 2)
    assert "at least 3" in made.reason
    assert np.isnan(made.low)
    equal = compare_all(linear=[0.02] * 3, mine=[0.02] * 3)
    assert equal.verdict == "cannot tell"


def test_the_best_rival_is_the_hardest_to_beat():
    scores = scores_of(
        linear=[3.0, 3, 3], direct=[2.0, 4, 2], other=[1.0, 1, np.nan], mine=[2.0, 2, 2.5]
    )
    wide = scores.by_date()
    assert best_rival(wide, "mine") == "direct"  # `other` was not scored on every date
    assert best_rival(wide, "other") == "mine"
    made = scores.comparisons()
    roles = [(c.method, c.role, c.reference) for c in made]
    assert ("mine", "best rival", "direct") in roles
    assert ("mine", "linear", "linear") in roles
    assert {m for m, _, _ in roles} == {"other", "mine"}
    baselines = scores_of(linear=[3.0] * 3, direct=[2.0] * 3).comparisons()
    assert {c.method for c in baselines} == {"linear", "direct"}


def test_the_ratio_is_to_the_best_of_linear_and_direct_on_each_date():
    scores = scores_of(
        linear=[4.0, 2, 2], direct=[2.0, 4, 2], nearest=[1.0, 1, 1], mine=[1.0, 3, np.nan]
    )
    table = scores.ratio_table()
    assert table.loc["mine"].tolist() == [2, 1.0, 1.5, "2021-04-02"]
    assert table.loc["linear"].tolist() == [3, pytest.approx(4 / 3), 2.0, "2021-04-01"]
