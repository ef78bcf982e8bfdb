"""What each hold-out design leaves reachable, and that the rest cannot matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from checks import facts

import biastf_xr
from biastf_xr.cube import PAIR_FLAG
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.errors import LeakError, MissingPairError, TargetDateError
from biastf_xr.evaluation import evaluate
from biastf_xr.evaluation._designs import (
    DESIGNS,
    Forward,
    LeaveGap,
    LeaveOneOut,
    LeaveRegion,
    design_named,
    without_part,
)
from biastf_xr.evaluation._predictions import predict_fold
from biastf_xr.evaluation._scores import ScoreBook
from biastf_xr.grid import Tile
from biastf_xr.methods import BASELINES
from biastf_xr.methods.biastf import NetworkShape, SampleRule, TrainRule
from biastf_xr.methods.interpolation import Linear

QUICK = {
    "network": NetworkShape(filters=(4, 4, 4)),
    "samples": SampleRule(patch=8, count=12, min_clear=0.3),
    "train": TrainRule(epochs=1),
}
FINE_DAYS = (0, 5, 11, 16, 20)
NAMES = [f"2021-04-{1 + d:02d}" for d in FINE_DAYS]
ALL = (
    LeaveOneOut(),
    LeaveOneOut(together=True),
    LeaveGap(days=6),
    Forward(),
    LeaveRegion(rows=1, columns=2),
)


def test_a_scene_that_disagrees_with_the_coarse_one_is_scored_only_if_it_is_named(make_pair):
    fine, coarse = make_pair(fine_days=FINE_DAYS, coarse_days=range(21))
    flags = np.full(len(NAMES), PAIR_FLAG["good"], np.uint8)
    flags[2] = PAIR_FLAG["low_correlation"]
    doubted = fine.assign_coords(pair_flag=("time", flags))
    chosen = [str(day) for day in LeaveOneOut().choose(pair_cubes(doubted, coarse))]
    assert chosen == [NAMES[1], NAMES[3]]
    assert NAMES[2] in [str(day) for day in LeaveOneOut().choose(pair_cubes(fine, coarse))]
    assert evaluate(doubted, coarse, "linear", dates=[NAMES[2]]).dates["date"].tolist() == [
        NAMES[2]
    ]


@pytest.fixture
def pair(make_pair):
    return make_pair(fine_days=FINE_DAYS, coarse_days=range(21))


def folds(design, pair, *names):
    checked = pair_cubes(*pair)
    days = np.array(names, "M8[D]") if names else design.choose(checked)
    return design.folds(checked, days)


def text(days):
    return [str(d) for d in days]


# --- what is withheld ---------------------------------------------------------------------------


def test_leave_one_out_withholds_each_inner_date_or_all_at_once(pair):
    assert [text(f.withheld) for f in folds(LeaveOneOut(), pair)] == [[d] for d in NAMES[1:-1]]
    (fold,) = folds(LeaveOneOut(together=True), pair)
    assert text(fold.score) == text(fold.withheld) == NAMES[1:-1]
    assert fold.until is None
    assert fold.parts == ()


def test_leave_gap_withholds_what_lies_around(pair):
    (fold,) = folds(LeaveGap(days=6), pair)
    assert text(fold.score) == [NAMES[2]]
    assert text(fold.withheld) == NAMES[1:4]
    rest, coarse = fold.reachable(*pair)
    assert text(rest.time.values.astype("M8[D]")) == [NAMES[0], NAMES[4]]
    assert coarse.sizes["time"] == 21
    (named,) = folds(LeaveGap(days=6), pair, NAMES[1])
    assert text(named.withheld) == NAMES[:3]


def test_forward_withholds_the_present_and_the_future(pair):
    made = folds(Forward(), pair)
    assert [text(f.score) for f in made] == [[d] for d in NAMES[2:]]
    rest, coarse = made[0].reachable(*pair)
    assert text(rest.time.values.astype("M8[D]")) == NAMES[:2]
    assert text(coarse.time.values.astype("M8[D]"))[-1] == NAMES[2]
    assert len(folds(Forward(history=1), pair)) == 4


def test_leave_region_cuts_the_area_without_gap_or_overlap(pair):
    for fold in folds(LeaveRegion(rows=2, columns=3), pair):
        seen = np.zeros((24, 20), int)
        for row in fold.parts:
            for part in row:
                seen[part.slices] += 1
        assert (seen == 1).all()
        assert (len(fold.parts), len(fold.parts[0])) == (2, 3)
        assert len(fold.withheld) == 1


def test_what_is_masked_is_a_part_in_every_scene(pair):
    fine, _ = pair
    fine = fine.assign(clear=(("time", "y", "x"), np.ones((5, 24, 20), "u1")))
    fine["red"][1, 2:4] = np.nan
    part = Tile(0, 24, 10, 20)
    rest = without_part(fine, part)
    for band in ("red", "nir"):
        assert rest[band].dtype == "float32"
        assert rest[band][:, :, 10:].isnull().all()
        np.testing.assert_array_equal(rest[band][:, :, :10], fine[band][:, :, :10])
    assert rest["clear"].dtype == "uint8"
    assert (rest["clear"][:, :, 10:] == 0).all()
    assert (rest["clear"][:, :, :10] == 1).all()
    expected = [1, 22 / 24, 1, 1, 1]
    np.testing.assert_allclose(rest["clear_fraction"].values, expected)


# --- poison -------------------------------------------------------------------------------------


def predictions(rounds, checked):
    """Predict with an untrained and a learned method, as `evaluate` does."""
    methods = {name: name for name in (*BASELINES, "biastf")}
    images = {}
    for fold in rounds:
        book = ScoreBook(("red", "nir"), 0.25)
        for made in predict_fold(checked, methods, fold, book, fit_options=QUICK):
            images |= {name: np.asarray(image) for name, image in made.images.items()}
        assert book.notes == []
    assert set(images) == set(methods)
    return images


@pytest.fixture(scope="module")
def clean(make_pair):
    """Predict from cubes as they are, once per design."""
    pair = make_pair(fine_days=FINE_DAYS, coarse_days=range(21))
    return {design: predictions(folds(design, pair, NAMES[2]), pair_cubes(*pair)) for design in ALL}


@pytest.mark.parametrize("poison", [np.nan, 77.0], ids=["nan", "garbage"])
@pytest.mark.parametrize("design", ALL, ids=lambda d: d.describe()[:30])
def test_what_is_withheld_cannot_matter(design, poison, pair, clean):
    fine, coarse = (ds.copy(deep=True) for ds in pair)
    rounds = folds(design, pair, NAMES[2])
    (fold,) = rounds
    for ds, hidden in (
        (fine, np.isin(fine.time.values.astype("M8[D]"), fold.withheld)),
        (coarse, coarse.time.values.astype("M8[D]") > (fold.until or np.datetime64("2099-01-01"))),
    ):
        for band in ("red", "nir"):
            ds[band][hidden] = poison
    poisoned = replace(pair_cubes(*pair), fine=fine, coarse=coarse)
    expected, found = clean[design], predictions(rounds, poisoned)
    for name, image in expected.items():
        np.testing.assert_array_equal(found[name], image, err_msg=name)
        assert np.isfinite(image).any(), name


@pytest.mark.parametrize("poison", [np.nan, 0.9], ids=["nan", "garbage"])
def test_a_part_cannot_matter_to_what_is_fitted_on_the_others(poison, pair):
    fine, coarse = pair
    part = Tile(0, 24, 0, 10)
    other = fine.copy(deep=True)
    for band in ("red", "nir"):
        other[band][:, :, :10] = poison
    made = []
    for cube in (fine, other):
        model = biastf_xr.fit(without_part(cube, part), coarse, "biastf", **QUICK)
        made.append(biastf_xr.fuse(fine, coarse, model, dates=["2021-04-03"]).load())
    xr.testing.assert_equal(made[0].drop_attrs(), made[1].drop_attrs())


def test_each_part_is_predicted_by_the_model_of_the_others(pair, monkeypatch):
    from biastf_xr.evaluation import _predictions as module

    seen = []

    def stand_in(fine, coarse, method, **options):
        """Return a method that can be told by its predictions."""
        seen.append(np.isfinite(fine["nir"].values).all(axis=0))
        return module.get_method("linear" if len(seen) % 2 else "nearest")

    monkeypatch.setattr(module, "fit", stand_in)
    images = predictions(folds(LeaveRegion(rows=1, columns=2), pair, NAMES[2]), pair_cubes(*pair))
    assert [s[:, :10].all() and not s[:, 10:].any() for s in seen] == [False, True]
    left, right = images["biastf"][..., :10], images["biastf"][..., 10:]
    np.testing.assert_array_equal(left, images["linear"][..., :10])
    np.testing.assert_array_equal(right, images["nearest"][..., 10:])


# --- scores by design ---------------------------------------------------------------------------


@pytest.mark.parametrize("design", ALL, ids=lambda d: d.describe()[:30])
def test_every_design_is_scored(design, pair):
    scores = evaluate(*pair, "direct", design=design)
    assert list(scores.summary().index) == list(BASELINES)
    assert np.isfinite(scores.table["value"]).all()
    assert scores.design == design.describe()
    assert len(scores.dates) == sum(len(f.score) for f in folds(design, pair))


def test_the_distance_to_the_nearest_base_grows_with_the_gap(pair):
    near = evaluate(*pair, "direct", dates=[NAMES[2]])
    far = evaluate(*pair, "direct", dates=[NAMES[2]], design=LeaveGap(days=6))
    past = evaluate(*pair, "direct", dates=[NAMES[2]], design=Forward())
    assert near.dates["distance"].tolist() == [5]
    assert far.dates["distance"].tolist() == [9]
    assert past.dates[["before", "after"]].to_numpy().tolist() == [[NAMES[1], ""]]
    assert list(near.by_class("distance").columns) == ["5 to 8"]
    assert list(far.by_class("distance").columns) == ["9 to 16"]


def test_a_method_that_needs_both_sides_is_noted_where_there_is_one(pair):
    class TwoSidedOnly(Linear):
        needs_two_sides = True

    methods = {"picky": TwoSidedOnly(), "direct": "direct"}
    assert "picky" in evaluate(*pair, methods, dates=[NAMES[2]]).summary().index
    with pytest.raises(MissingPairError, match=facts("picky", "2021-04-12")):
        evaluate(*pair, methods, dates=[NAMES[2]], design=Forward())


def test_a_fold_without_enough_dates_to_fit_is_noted_and_the_others_are_scored(pair):
    scores = evaluate(
        *pair, "biastf", dates=[NAMES[1], NAMES[3]], design=Forward(), fit_options=QUICK
    )
    (note,) = scores.notes
    assert (note.date, note.method) == (NAMES[1], "biastf")
    assert "could not be fitted" in str(note)
    by_date = scores.by_date()
    assert np.isnan(by_date.loc[NAMES[1], "biastf"])
    assert np.isfinite(by_date.loc[NAMES[3], "biastf"])
    assert scores.methods["biastf"]["fitted"] == "in every fold"


def test_a_function_that_fits_is_called_in_every_fold(pair):
    seen = []

    def recipe(fine, coarse):
        seen.append((text(fine.time.values.astype("M8[D]")), coarse.sizes["time"]))
        return Linear()

    scores = evaluate(*pair, {"mine": recipe}, dates=NAMES[2:4], design=Forward())
    assert seen == [(NAMES[:2], 12), (NAMES[:3], 17)]
    assert scores.methods["mine"]["fitted"] == "in every fold"
    by_date = scores.by_date()
    np.testing.assert_array_equal(by_date["mine"], by_date["linear"])
    assert "recipe" in evaluate(*pair, recipe, dates=[NAMES[2]]).summary().index


# --- refusals -----------------------------------------------------------------------------------


def test_a_model_that_saw_what_the_design_withholds_is_refused(pair, random_model):
    model = random_model()  # fitted on the first and the fourth date
    with pytest.raises(LeakError, match=facts("biastf", "2021-04-17")):
        evaluate(*pair, model, dates=[NAMES[2]], design=LeaveGap(days=6))
    with pytest.raises(LeakError, match=facts("biastf", "2021-04-17")):
        evaluate(*pair, model, dates=[NAMES[2]], design=Forward())
    with pytest.raises(LeakError, match="biastf"):
        evaluate(*pair, model, dates=[NAMES[2]], design=LeaveRegion())
    assert "biastf" in evaluate(*pair, model, dates=[NAMES[2]]).summary().index


def test_designs_that_make_no_sense_are_refused(pair):
    with pytest.raises(TargetDateError, match="0 days"):
        LeaveGap(days=0)
    with pytest.raises(TargetDateError, match="1 x 1"):
        LeaveRegion(rows=1, columns=1)
    with pytest.raises(MissingPairError, match=facts("30 days", "90%", "`min_clear`")):
        LeaveGap(days=30).choose(pair_cubes(*pair))
    with pytest.raises(MissingPairError, match=facts("5 dates", "needs 9", "`min_clear`")):
        Forward(history=9).choose(pair_cubes(*pair))
    with pytest.raises(TargetDateError, match=facts("forward", "'together'", "history")):
        evaluate(*pair, "direct", design="forward,together=true")


def test_designs_have_names():
    assert [design_named(name).name for name in DESIGNS] == list(DESIGNS)
    assert design_named("leave-gap, days=9") == LeaveGap(days=9)
    assert design_named("leave-region,rows=1,columns=3,min_clear=0.5") == LeaveRegion(
        rows=1, columns=3, min_clear=0.5
    )
    with pytest.raises(
        TargetDateError, match=facts("leave-two-out", "leave-one-out", "leave-region")
    ):
        design_named("leave-two-out")
    with pytest.raises(TargetDateError, match=facts("leave-gap", "'rows'", "days")):
        design_named("leave-gap,rows=3")
    with pytest.raises(TargetDateError, match=facts("days", "leave-gap", "'many'")):
        design_named("leave-gap,days=many")
