"""Plans: which base dates every tile and date gets, how much work that is, and the preview."""

from __future__ import annotations

import numpy as np
import pytest
from checks import facts
from hypothesis import given, settings
from hypothesis import strategies as st

import biastf_xr
from biastf_xr.brackets import BracketRule, reach_of
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.errors import TargetDateError
from biastf_xr.fusion._plan import (
    OWN_SCENE,
    ClearPixels,
    FusionPlan,
    FusionRule,
    TileGrid,
    build_plan,
)
from biastf_xr.fusion._provenance import Archive, Provenance
from biastf_xr.methods import get_method

START = np.datetime64("2021-04-01")


def scattered(seed, *, bases, targets, max_layers, max_gap, share, per_unit):
    """Build a plan over 3 x 2 tiles in which scenes are clear here and there."""
    rng = np.random.default_rng(seed)
    base = START + np.sort(rng.choice(60, bases, replace=False))
    wanted = START + np.sort(rng.choice(60, targets, replace=False))
    rule = FusionRule(
        bracket=BracketRule(max_layers=max_layers, max_gap=max_gap), dates_per_unit=per_unit
    )
    tiles = TileGrid((25, 20), (10, 10))
    observed = np.isin(wanted, base)
    return FusionPlan(
        ("red",), None, rule, wanted, base, reach_of(base, wanted, rule.bracket), observed, tiles,
        rng.random((bases, len(tiles))) < share,
        observed[:, None] & (rng.random((targets, len(tiles))) < share),
    )  # fmt: skip


PLANS = st.builds(
    scattered,
    st.integers(0, 10_000),
    bases=st.integers(1, 20),
    targets=st.integers(1, 40),
    max_layers=st.integers(1, 5),
    max_gap=st.none() | st.integers(1, 30),
    share=st.sampled_from([0.2, 0.6, 1.0]),
    per_unit=st.integers(1, 9),
)


@settings(max_examples=60, deadline=None)
@given(plan=PLANS, seed=st.integers(0, 100))
def test_units_hold_what_is_to_be_made_once(plan, seed):
    todo = np.random.default_rng(seed).random((plan.targets.size, len(plan.tiles))) < 0.7
    made = np.zeros(todo.shape, int)
    units = list(plan.units(todo))
    for unit in units:
        made[list(unit.dates), unit.number] += 1
        assert 1 <= len(unit.dates) <= plan.rule.dates_per_unit
        assert unit.tile == plan.tiles[unit.number]
        for date in unit.dates:
            alone = plan.bracket_of(date, unit.number)
            assert (alone.before, alone.after) == (unit.bracket.before, unit.bracket.after)
            assert alone.observed == unit.bracket.observed
    np.testing.assert_array_equal(made, todo)
    assert plan.runs(todo).sum() == len(units)


@settings(max_examples=60, deadline=None)
@given(plan=PLANS)
def test_base_dates_are_the_nearest_that_are_clear_in_the_tile(plan):
    rule = plan.rule.bracket
    before, after = plan.nearest()
    for t, target in enumerate(plan.targets):
        near = [d for d in plan.base if d < target][::-1][: rule.max_layers]
        later = [d for d in plan.base if d > target][: rule.max_layers]
        if rule.max_gap is not None:
            near, later = (
                [d for d in side if abs((d - target).astype(int)) <= rule.max_gap]
                for side in (near, later)
            )
        for tile in range(len(plan.tiles)):
            clear = set(plan.base[plan.covered[:, tile]])
            bracket = plan.bracket_of(t, tile)
            assert bracket.before == tuple(d for d in near if d in clear)
            assert bracket.after == tuple(d for d in later if d in clear)
            for side, place in ((bracket.before, before), (bracket.after, after)):
                found = place[t, tile]
                assert (plan.base[found] == side[0]) if side else found == -1


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(3, 40),
    tile=st.integers(1, 45),
    shard=st.integers(1, 20),
    halo=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_where_scenes_are_clear_is_carried_from_shards_to_tiles(size, tile, shard, halo, seed):
    shape = (size, size + 3)
    shards = [-(-n // shard) for n in shape]
    counts = (np.random.default_rng(seed).random(shards) < 0.3).astype(np.uint32)
    grid = TileGrid(shape, (tile, tile))
    found = ClearPixels({START: counts}, (shard, shard)).over([START, START + 1], grid, halo)
    pixels = np.kron(counts, np.ones((shard, shard)))[: shape[0], : shape[1]]
    for n in range(len(grid)):
        around = grid[n].padded(halo).clipped(shape)
        first, last = (
            np.floor_divide([around.y0, around.x0], shard),
            -(-np.array([around.y1, around.x1]) // shard),
        )
        want = counts[first[0] : last[0], first[1] : last[1]].any()
        assert found[0, n] == want
        assert want or not pixels[around.slices].any()
    assert not found[1].any()


def test_tiles_cover_the_grid_once():
    grid = TileGrid((25, 20), (10, 8))
    count = np.zeros((25, 20), int)
    for n in range(len(grid)):
        count[grid[n].slices] += 1
    assert (count == 1).all()
    assert grid.pixels().tolist() == [np.prod(grid[n].shape) for n in range(len(grid))]


def hashes(plan, fine=(), **rule):
    """Return the hashes of a plan's inputs, with other versions of some fine scenes."""
    from dataclasses import replace

    plan = replace(plan, rule=replace(plan.rule, **rule))
    days = START + np.arange(60)
    archives = [
        Archive(sensor, {d: [["id", "2" if sensor == "fine" and d in fine else "1", "f"]]
                         for d in days})
        for sensor in ("fine", "coarse")
    ]  # fmt: skip
    return Provenance(plan, get_method("linear"), *archives, days)


@settings(max_examples=40, deadline=None)
@given(plan=PLANS, which=st.integers(0, 19))
def test_a_changed_scene_changes_the_number_of_what_it_is_in(plan, which):
    day = plan.base[which % plan.base.size]
    every = np.full(len(plan.tiles), plan.base.size)
    a, b = hashes(plan), hashes(plan, fine=[day])
    for t in range(plan.targets.size):
        changed = a.fine_hash(t, every, every) != b.fine_hash(t, every, every)
        for tile in range(len(plan.tiles)):
            bracket = plan.bracket_of(t, tile)
            own = bracket.observed and plan.targets[t] == day
            assert changed[tile] == (day in bracket.base_dates or own)
            # Of the nearest date alone, a change further away is no change.
            depth = np.ones(len(plan.tiles), int)
            near = a.fine_hash(t, depth, depth)[tile] != b.fine_hash(t, depth, depth)[tile]
            assert near == (day in (*bracket.before[:1], *bracket.after[:1]) or own)


def test_another_method_or_rule_changes_every_number():
    plan = scattered(1, bases=9, targets=20, max_layers=3, max_gap=None, share=1.0, per_unit=8)
    every = np.full(len(plan.tiles), 9)
    a = np.stack([hashes(plan).fine_hash(t, every, every) for t in range(20)])
    b = hashes(plan, coarse_max_gap=3)
    other = np.stack([b.fine_hash(t, every, every) for t in range(20)])
    assert (a != other).all()
    assert hashes(plan).hash() != b.hash()
    assert hashes(plan).hash() == hashes(plan).hash()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coarse_gaps": "guess"}, facts("coarse_gaps", "'guess'", "fill", "leave")),
        ({"coarse_max_gap": 300}, facts("coarse_max_gap", "300", "0 to 254")),
        ({"dates_per_unit": 0}, facts("dates_per_unit", "0")),
    ],
)
def test_unusable_rules_are_refused(options, message):
    with pytest.raises(TargetDateError, match=message):
        FusionRule(**options)
    with pytest.raises(TargetDateError, match=facts("max_layers", "33", "1 to 32")):
        BracketRule(max_layers=33)


def test_days_without_a_coarse_scene_are_no_targets_when_gaps_are_left(make_pair):
    pair = pair_cubes(*make_pair(coarse_days=[0, 3, 8, 16]))
    rule = FusionRule(coarse_gaps="leave")
    assert build_plan(pair, get_method("linear"), "daily", rule).targets.size == 4


# --- the preview ----------------------------------------------------------------------------------


def test_the_preview_tells_dates_sides_and_sizes(small_cubes):
    found = biastf_xr.plan(*small_cubes, method="linear", tile=48, trial=False)
    totals = found.totals
    assert totals.units == len(list(found.plan.units()))
    assert totals.pixels == 48 * 96 * 80
    assert totals.done == 0
    assert totals.two_sided + totals.one_sided + totals.without == pytest.approx(1)
    assert totals.passes == 0
    assert totals.bytes_written == totals.pixels * (6 * 4 + 6)
    assert found.table["days"].sum() == 48
    assert OWN_SCENE in set(found.table["note"])
    assert found.table["before"].iloc[0] == "-"
    for text in (repr(found), found._repr_html_()):
        assert "units on 4 tiles" in text
        assert "2021-04-01" in text


def test_the_preview_of_a_learned_method_counts_passes_and_tries_its_speed(
    small_cubes, random_model
):
    bands = ("blue", "green", "red", "nir", "swir1", "swir2")
    model = random_model(bands=bands, ratio=16.0)
    totals = biastf_xr.plan(*small_cubes, method=model).totals
    sides = 2 * totals.two_sided + totals.one_sided
    assert totals.passes == pytest.approx(totals.pixels * sides * 6 / 1e6)
    assert totals.cpu_seconds > 0


def test_the_preview_says_why_a_date_cannot_be_made(small_cubes):
    rule = FusionRule(bracket=BracketRule(max_gap=2))
    notes = biastf_xr.plan(*small_cubes, method="linear", rule=rule, trial=False).table["note"]
    assert "cannot be made: no clear fine scene within 2 days" in set(notes)


def test_the_preview_of_a_cube_that_is_there_says_what_is_left(small_cubes, tmp_path):
    output = tmp_path / "f.zarr"
    days = [f"2021-04-{d:02d}" for d in range(13, 21)]
    biastf_xr.write_fused(*small_cubes, output, "linear", dates=days, tile=48)
    done = biastf_xr.plan(*small_cubes, output, "linear", dates=days, trial=False)
    assert (done.totals.units, done.totals.done) == (0, 1)
    more = biastf_xr.plan(*small_cubes, output, "linear", trial=False)
    assert more.totals.done == pytest.approx(8 / 48)
    assert more.totals.tiles == 4


def test_planning_reads_no_pixel(small_cubes, tmp_path):
    """Every chunk of every band is broken; the plan is the same."""
    import shutil

    whole = biastf_xr.plan(*small_cubes, method="linear", trial=False)
    copies = [shutil.copytree(c, tmp_path / c.name) for c in small_cubes]
    for cube in copies:
        for name in ("blue", "green", "red", "nir", "swir1", "swir2", "clear", "source"):
            for chunk in (cube / name / "c").rglob("*"):
                if chunk.is_file():
                    chunk.write_bytes(b"broken")
    assert repr(biastf_xr.plan(*copies, method="linear", trial=False)) == repr(whole)
