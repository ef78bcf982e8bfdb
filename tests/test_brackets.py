"""Which base dates a target gets."""

from __future__ import annotations

import numpy as np
import pytest
from checks import facts
from hypothesis import given
from hypothesis import strategies as st

from biastf_xr.brackets import (
    BracketRule,
    Layer,
    build_brackets,
    choose_targets,
    usable_dates,
)
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.errors import MissingPairError, TargetDateError

START = np.datetime64("2021-04-01")


def day(n):
    return START + np.timedelta64(n, "D")


def brackets(base, targets, keep=(), **rule):
    return build_brackets(
        map(day, base), map(day, targets), BracketRule(**rule), keep=map(day, keep)
    )


def test_days_between_two_scenes_share_one_bracket():
    found = brackets([0, 16, 32], range(1, 16), max_layers=1)
    assert len(found) == 1
    assert found[0].targets == tuple(day(n) for n in range(1, 16))
    assert found[0].layers == (
        Layer(day(0), day(16)),
        Layer(day(0), None),
        Layer(None, day(16)),
    )


def test_pairs_come_from_near_to_far_then_single_dates():
    (bracket,) = brackets([0, 10, 20, 40], [15], max_layers=2)
    assert bracket.layers[:4] == (
        Layer(day(10), day(20)),
        Layer(day(0), day(20)),
        Layer(day(10), day(40)),
        Layer(day(0), day(40)),
    )
    assert [layer.two_sided for layer in bracket.layers] == [True] * 4 + [False] * 4
    assert bracket.base_dates == (day(0), day(10), day(20), day(40))


def test_a_target_before_the_first_scene_is_one_sided():
    (bracket,) = brackets([10, 20], [3, 4], max_layers=2)
    assert bracket.layers == (Layer(None, day(10)), Layer(None, day(20)))


def test_beyond_the_largest_gap_there_is_no_base():
    (bracket,) = brackets([0, 100], [50], max_gap=40)
    assert bracket.layers == ()


def test_a_scene_is_never_its_own_base_and_stands_alone():
    found = brackets([0, 16, 32], range(14, 19), keep=[16])
    assert [b.observed for b in found] == [False, True, False]
    assert found[1].targets == (day(16),)
    assert day(16) not in found[1].base_dates
    assert found[1].layers[0] == Layer(day(0), day(32))


@given(
    base=st.sets(st.integers(0, 90), min_size=1, max_size=12),
    targets=st.sets(st.integers(0, 90), min_size=1, max_size=40),
    max_gap=st.integers(1, 60),
    max_layers=st.integers(1, 4),
)
def test_every_target_is_made_once_from_its_nearest_dates(base, targets, max_gap, max_layers):
    base, targets = sorted(base), sorted(targets)
    found = brackets(base, targets, max_gap=max_gap, max_layers=max_layers)
    assert [t for b in found for t in b.targets] == [day(n) for n in targets]
    for bracket in found:
        for target in bracket.targets:
            before = [n for n in base if day(n) < target and target - day(n) <= max_gap]
            after = [n for n in base if day(n) > target and day(n) - target <= max_gap]
            assert target not in bracket.base_dates
            first = bracket.layers[0] if bracket.layers else Layer(None, None)
            if before and after:
                assert first == Layer(day(before[-1]), day(after[0]))
            assert bool(bracket.layers) == bool(before or after)
            sides = {layer.before for layer in bracket.layers} - {None}
            assert sides == {day(n) for n in before[::-1][:max_layers]}


def test_daily_is_every_day_of_the_coarse_season(make_pair):
    pair = pair_cubes(*make_pair(coarse_days=[0, 3, 8, 16]))
    assert choose_targets(pair, "daily").tolist() == [day(n).item() for n in range(17)]


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (["2022-01-01"], facts("2022-01-01", "2021-04-01 to 2021-04-17")),
        (["soon"], "soon"),
        ([], "'daily'"),
        (["2021-04-03", "2021-04-03"], facts("2", "1 different")),
    ],
)
def test_unusable_targets_are_refused(make_pair, dates, message):
    with pytest.raises(TargetDateError, match=message):
        choose_targets(pair_cubes(*make_pair()), dates)


def test_targets_come_in_order_whatever_the_order_given(make_pair):
    pair = pair_cubes(*make_pair())
    assert choose_targets(pair, ["2021-04-09", "2021-04-02"]).tolist() == [
        day(1).item(),
        day(8).item(),
    ]


def test_clouded_scenes_are_no_base(make_pair):
    fine, coarse = make_pair()
    for band in fine.data_vars:
        fine[band][1, :22] = np.nan
    pair = pair_cubes(fine, coarse)
    assert usable_dates(pair, BracketRule(min_clear=0.5)).tolist() == [
        day(0).item(),
        day(16).item(),
    ]
    with pytest.raises(MissingPairError, match=facts("3", "100.0%", "101.0%", "`min_clear`")):
        usable_dates(pair, BracketRule(min_clear=1.01))


def test_without_a_limit_the_nearest_scene_serves_however_far():
    (bracket,) = brackets([0], [900])
    assert bracket.layers == (Layer(day(0), None),)
