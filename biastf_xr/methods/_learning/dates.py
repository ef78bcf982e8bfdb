"""Which dates are learned from, and which are kept for early stopping."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.brackets import BracketRule, usable_dates
from biastf_xr.errors import MissingPairError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.methods._learning.rules import SampleRule

Day = np.datetime64
Group = tuple[Day, ...]

# With fewer dates, one held out would take too many pairs from those learned from.
LEAST_DATES = 6


def training_days(pair: CubePair, rule: SampleRule, base_rule: BracketRule) -> list[Day]:
    """List the dates that are clear in both cubes and may be learned from."""
    days = usable_dates(pair, base_rule)
    days = days[pair.paired(days)]
    if rule.target is not None:
        days = days[days != Day(rule.target, "D")]
    return list(days)


def training_pairs(pair: CubePair, rule: SampleRule, base_rule: BracketRule) -> list[Group]:
    """List the pairs of dates to learn a change from.

    The paper does not say which pairs it trains on; the choices are readings.
    """
    days = training_days(pair, rule, base_rule)
    reach = np.timedelta64(rule.max_pair_gap, "D")
    near = near_target(days, rule)
    chosen = combinations(near, 2) if rule.dates == "all" else pairwise(near)
    pairs: list[Group] = [(a, b) for a, b in chosen if b - a <= reach]
    if not pairs:
        where = {
            "all": "",
            "flanking": f", one before and one after {rule.target}",
            "earlier": f", both before {rule.target}",
        }[rule.dates]
        raise MissingPairError(
            f"training needs at least two dates that are clear in both cubes{where} and at most "
            f"{rule.max_pair_gap} days apart; found {len(days)}: {[str(d) for d in days]}. "
            "Add scenes, load a model fitted elsewhere (biastf_xr.load_method), or fuse with "
            "method='direct', which needs no training."
        )
    return pairs


def near_target(days: Sequence[Day], rule: SampleRule) -> list[Day]:
    """Choose the days that the rule's `dates` names: all, those around its target, or before it."""
    if rule.dates == "all" or rule.target is None:
        return list(days)
    target = Day(rule.target, "D")
    before, after = [d for d in days if d < target], [d for d in days if d > target]
    return before if rule.dates == "earlier" else [*before[-1:], *after[:1]]


def split_dates(
    groups: Sequence[Group], share: float, rng: np.random.Generator
) -> tuple[list[Group], list[Group]]:
    """Hold out dates: a group with a date held out is not learned from."""
    days = sorted({day for group in groups for day in group})
    count = max(1, round(share * len(days))) if share else 0
    if len(days) < LEAST_DATES or not count:
        return list(groups), list(groups)
    held = set(rng.permutation(np.array(days))[:count])
    kept = [g for g in groups if not held & set(g)]
    others = [g for g in groups if held & set(g)]
    return (kept, others) if kept and others else (list(groups), list(groups))
