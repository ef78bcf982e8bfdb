"""The variant "plus" of BiaSTF: what each step does, tiles, uncertainty, models on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from checks import facts

import biastf_xr
from biastf_xr.cube._cube import bands_of, drop_days
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.errors import CheckpointError, MethodError, MissingPairError
from biastf_xr.evaluation import evaluate
from biastf_xr.grid import AxisMap, Tile, Upsampler, aggregate
from biastf_xr.methods.plus._change import (
    PARTS,
    Explained,
    added_by,
    anomaly_of,
    as_seen,
    blurred,
    details_of,
    explain,
    explained_by,
    fields_of,
    noise_in,
    parts_of,
    position_of,
    slopes_of,
)
from biastf_xr.methods.plus._fit import (
    PRIOR,
    coarse_noise,
    footprint_of,
    response_of,
    scatter_of,
)
from biastf_xr.methods.plus._uncertainty import (
    ASSUMED,
    LEVELS,
    fit_terms,
    from_one,
    local_square,
    nearest_days,
    observed,
    sigma_of_terms,
    terms,
)

PLAIN = {"smoothing": 0.0}


def seen_by_both(fine: xr.Dataset, coarse: xr.Dataset) -> xr.Dataset:
    """Return the coarse cube as the mean of the fine one on its dates, margins by repetition."""
    pair = pair_cubes(fine, coarse)
    made = coarse.sel(time=fine.time).copy(deep=True)
    rows, cols = pair.alignment.rows, pair.alignment.cols
    for band in pair.bands:
        for t in range(made.sizes["time"]):
            mean = aggregate(fine[band].values[t], rows, cols)
            filled = xr.DataArray(mean, dims=("y", "x")).interpolate_na("y", method="nearest",
                fill_value="extrapolate").interpolate_na("x", method="nearest",
                fill_value="extrapolate")  # fmt: skip
            made[band][t] = filled.values
    return made


@pytest.fixture
def agreeing(make_pair):
    """Four dates on which the coarse sensor sees the mean of the fine one, smooth in space."""
    fine, coarse = make_pair(shape=(64, 72), fine_days=(0, 10, 20, 30), coarse_days=range(31))
    y, x = np.mgrid[0:64, 0:72] / 64
    cover = np.random.default_rng(3).uniform(0.0, 1.0, (64, 72)).astype(np.float32)
    for k, band in enumerate(("red", "nir")):
        for t in range(4):
            fine[band][t] = (0.1 + 0.1 * k + 0.05 * cover * (1 + t * (k + 1)) + 0.02 * y * x
                             ).astype(np.float32)  # fmt: skip
    return fine, seen_by_both(fine, coarse)


# The steps.


def test_the_position_follows_the_coarse_image_not_the_calendar():
    before = np.zeros((2, 9, 9), np.float32)
    after = np.full((2, 9, 9), 0.2, np.float32)
    target = before.copy()
    target[:, :, 5:] = 0.2  # the right part has changed already
    ahead = position_of(target, [before, after], 0.3)
    np.testing.assert_allclose(ahead[:, :3], -0.3, atol=1e-3)
    np.testing.assert_allclose(ahead[:, 7:], 0.7, atol=1e-3)
    target[0, 0, 0] = np.nan
    assert np.isfinite(position_of(target, [before, after], 0.3)).all()


def test_where_nothing_moves_the_position_is_in_the_middle_and_changes_nothing():
    image = np.full((2, 4, 4), 0.1, np.float32)
    np.testing.assert_allclose(position_of(image, [image, image], 0.4), 0.1, rtol=1e-5)
    np.testing.assert_allclose(anomaly_of(image, [image, image], 0.4, [1, 1]), 0, atol=1e-7)


def test_the_anomaly_is_what_departs_from_time_over_the_response():
    before, after = np.zeros((1, 3, 3), np.float32), np.full((1, 3, 3), 0.1, np.float32)
    target = np.full((1, 3, 3), 0.06, np.float32)
    np.testing.assert_allclose(anomaly_of(target, [before], 0.0, [1.5]), 0.04, rtol=1e-6)
    both = anomaly_of(target, [before, after], 0.3, [1.5])
    np.testing.assert_allclose(both, 0.02, rtol=1e-6)


def test_noise_of_an_anomaly_adds_up_from_its_images():
    noise, response = np.array([0.01, 0.02]), np.array([1.0, 2.0])
    np.testing.assert_allclose(noise_in(noise, response, None, 1.0), 2e-4)
    np.testing.assert_allclose(noise_in(noise, response, 0.5, 1.0), 1.5e-4)
    np.testing.assert_allclose(noise_in(noise, response, 0.5, 3.0), 0.5e-4)


def test_a_mixture_of_base_bands_is_found_and_leaves_little():
    rng = np.random.default_rng(0)
    seen = rng.uniform(0, 0.5, (4, 24, 24)).astype(np.float32)
    weights = np.array([[0.5, -0.2, 0, 0.1], [0, 0.3, 0.3, 0]])
    anomaly = (np.tensordot(weights, seen, 1) + 0.02).astype(np.float32)
    anomaly[:, 0, 0] = np.nan
    found = explain(anomaly, [seen[:2], seen[2:]], np.zeros(2))
    np.testing.assert_allclose(found.weights, weights, atol=0.03)  # drawn to 0 a little
    rest = anomaly - found.mean[:, None, None] - explained_by(found, seen)
    assert np.nanstd(rest) < 0.06 * np.nanstd(anomaly)
    again = Explained.unpack(found.packed())
    for name in ("weights", "constant", "mean", "gain", "hold"):
        np.testing.assert_allclose(getattr(again, name), getattr(found, name), rtol=1e-6)


def test_too_few_pixels_explain_nothing():
    seen = np.random.default_rng(0).uniform(0, 0.5, (4, 3, 3)).astype(np.float32)
    anomaly = seen * 0.5
    found = explain(anomaly, [seen], np.zeros(1))
    assert not found.weights.any()  # 9 pixels, 5 numbers
    np.testing.assert_allclose(found.mean, anomaly.mean(axis=(1, 2)), rtol=1e-6)
    missing = explain(np.full((4, 3, 3), np.nan, np.float32), [seen], np.zeros(4))
    assert np.isfinite(missing.packed()).all()


def test_of_the_rest_noise_is_taken_off():
    anomaly = np.random.default_rng(0).normal(0, 0.02, (1, 40, 40)).astype(np.float32)
    even = [np.full((1, 40, 40), 0.2, np.float32)]
    gains = [float(explain(anomaly, even, np.array([v])).gain[0]) for v in (0.0, 2e-4, 8e-4)]
    np.testing.assert_allclose(gains, [1, 0.5, 0], atol=0.05)


@pytest.mark.parametrize("dates", [1, 2])
def test_slopes_are_those_of_the_window(dates):
    rng = np.random.default_rng(1)
    seen = [rng.uniform(0, 0.5, (1, 20, 20)).astype(np.float32) for _ in range(dates)]
    anomaly = 0.4 * seen[0] + (0.3 * (seen[1] - seen[0]) if dates == 2 else 0)
    slopes = slopes_of(anomaly.astype(np.float32), seen, np.full((1, 2), 1e-7))
    np.testing.assert_allclose(slopes[0], 0.4, atol=0.01)
    if dates == 2:
        np.testing.assert_allclose(slopes[1], 0.3, atol=0.01)
    held = slopes_of(anomaly.astype(np.float32), seen, np.full((1, 2), 1e3))
    assert np.abs(held).max() < 1e-3
    anomaly[:] = np.nan
    assert not slopes_of(anomaly, seen, np.full((1, 2), 1e-7)).any()


def scene_in_parts(dates):
    """Return a small scene: fields, details, and what interpolates."""
    from biastf_xr.grid import Alignment

    alignment = Alignment(AxisMap(1 / 4, 0, 10), AxisMap(1 / 4, 0, 10), (40, 40))
    up = Upsampler(alignment, Tile(0, 40, 0, 40), Tile(0, 10, 0, 10))
    rng = np.random.default_rng(2)
    fine = [rng.uniform(0, 0.5, (2, 40, 40)).astype(np.float32) for _ in range(dates)]
    seen = [aggregate(f, alignment.rows, alignment.cols) for f in fine]
    bases = [s + rng.normal(0, 0.01, s.shape).astype(np.float32) for s in seen]
    target = (bases[0] * 1.2).astype(np.float32)
    share = 0.4 if dates == 2 else 0.0
    found = explain(anomaly_of(target, bases, share, [1, 1]), seen, np.full(2, 1e-5))
    fields = fields_of(target, bases, seen, share, [1, 1], found)
    return fields, details_of(fine, seen, up), up


@pytest.mark.parametrize("dates", [1, 2])
def test_what_is_added_is_the_sum_of_the_parts_times_their_shares(dates):
    fields, details, up = scene_in_parts(dates)
    shares = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    parts = parts_of(fields, details, up)
    assert len(parts) == len(PARTS)
    low, detail = added_by(fields, details, up, shares)
    np.testing.assert_allclose(low, np.tensordot(shares[:3], parts[:3], 1), atol=1e-6)
    np.testing.assert_allclose(detail, np.tensordot(shares[3:], parts[3:], 1), atol=1e-6)
    nothing = added_by(fields, details, up, (0,) * 6)
    assert not np.stack(nothing).any()


def test_the_footprint_of_the_coarse_sensor_is_found():
    rng = np.random.default_rng(0)
    averages = [rng.uniform(0, 0.5, (2, 40, 40)).astype(np.float32) for _ in range(2)]
    for blur in (0.0, 0.5, 0.8):
        coarse = np.stack([blurred(image, blur) * 1.3 + 0.02 for image in averages])
        noisy = coarse + rng.normal(0, 0.01, coarse.shape).astype(np.float32)
        assert footprint_of(noisy, averages) == pytest.approx(blur, abs=0.11)


def test_a_response_is_drawn_to_one_by_what_it_does_not_explain():
    rng = np.random.default_rng(0)
    seen = [rng.uniform(0, 0.5, (1, 40, 40)).astype(np.float32) for _ in range(3)]
    exact = np.stack(seen) * np.float32(1.4)
    np.testing.assert_allclose(response_of(exact, seen), 1.4, rtol=1e-3)
    noisy = exact + rng.normal(0, 0.28, exact.shape).astype(np.float32)
    assert 1.05 < response_of(noisy, seen)[0] < 1.3
    nothing = rng.uniform(0, 0.5, exact.shape).astype(np.float32)
    np.testing.assert_allclose(response_of(nothing, seen), 1, atol=0.01)
    np.testing.assert_array_equal(response_of(exact[:1], seen[:1]), 1)


def test_scatter_is_half_of_what_lasts_and_all_of_what_says_nothing():
    rng = np.random.default_rng(0)
    seen = [rng.uniform(0, 0.5, (1, 60, 60)).astype(np.float32)]
    near = np.stack(seen) + rng.normal(0, 0.002, (1, 1, 60, 60)).astype(np.float32)
    np.testing.assert_allclose(scatter_of(near, seen), 0.001, rtol=0.1)
    alien = rng.normal(0.3, 0.1, near.shape).astype(np.float32)
    np.testing.assert_allclose(scatter_of(alien, seen), 0.1, rtol=0.1)


def test_a_footprint_keeps_even_ground_and_gaps():
    image = np.full((1, 5, 5), 0.3, np.float32)
    image[0, 2, 2] = np.nan
    out = blurred(image, 0.5)
    assert np.isnan(out[0, 2, 2])
    np.testing.assert_allclose(out[np.isfinite(out)], 0.3, rtol=1e-6)
    point = np.zeros((1, 5, 5), np.float32)
    point[0, 2, 2] = 1
    side = np.exp(-2.0)
    np.testing.assert_allclose(blurred(point, 0.5)[0, 2, 1], side / (1 + 2 * side) ** 2, rtol=1e-5)


@pytest.mark.parametrize("ratio", [4.0, 16 / 3])
def test_sums_over_areas_are_those_of_a_dense_overlap(ratio):
    axis = AxisMap(1 / ratio, 0.3, 9)
    edges = np.arange(33) / ratio + 0.3
    coarse = np.arange(9)[:, None]
    dense = np.clip(np.minimum(edges[1:], coarse + 1) - np.maximum(edges[:-1], coarse), 0, None)
    values = np.random.default_rng(0).uniform(0, 1, (2, 32, 32)).astype(np.float32)
    values[0, 3:20, 5:9] = np.nan
    valid = np.isfinite(values)
    total = dense @ np.where(valid, values, 0) @ dense.T
    weight = dense @ valid.astype(float) @ dense.T
    covered = np.outer(dense.sum(1), dense.sum(1))
    with np.errstate(all="ignore"):
        expected = np.where((weight >= (0.5 - 1e-9) * covered) & (covered > 0), total / weight,
                            np.nan)  # fmt: skip
    np.testing.assert_allclose(aggregate(values, axis, axis), expected, rtol=1e-6)


# The whole method.


def test_a_change_that_the_base_bands_explain_is_predicted_at_once(agreeing):
    fine, coarse = agreeing
    day = str(fine.time.values[2])[:10]
    rest = drop_days(fine, [day])
    model = biastf_xr.fit(rest, coarse, **PLAIN)
    image = biastf_xr.fuse(rest, coarse, model, dates=[day]).load()
    for band in ("red", "nir"):
        truth = fine[band].sel(time=day).values.squeeze()
        wrong = image[band].values[0] - truth
        assert np.abs(wrong).max() < 2e-3
        free = biastf_xr.fuse(rest, coarse, "linear", dates=[day])[band].values[0] - truth
        assert np.square(wrong).mean() <= np.square(free).mean() + 1e-8


def test_no_change_gives_the_base_image(agreeing):
    fine, coarse = agreeing
    still, same = fine.copy(deep=True), coarse.copy(deep=True)
    for band in ("red", "nir"):
        for t in range(4):
            still[band][t], same[band][t] = fine[band][0].values, coarse[band][0].values
    day = str(fine.time.values[1])[:10]
    rest = drop_days(still, [day])
    model = biastf_xr.fit(rest, same)
    image = biastf_xr.fuse(rest, same, model, dates=[day]).load()
    np.testing.assert_allclose(image["nir"].values[0], still["nir"].values[0], atol=2e-6)


def test_a_constant_band_stays_constant(agreeing):
    fine, coarse = (ds.copy(deep=True) for ds in agreeing)
    fine["red"][:], coarse["red"][:] = 0.2, 0.2
    day = str(fine.time.values[1])[:10]
    rest = drop_days(fine, [day])
    image = biastf_xr.fuse(rest, coarse, biastf_xr.fit(rest, coarse), dates=[day]).load()
    np.testing.assert_allclose(image["red"].values, 0.2, atol=1e-5)
    assert np.isfinite(image["red_sigma"].values).all()


def test_an_abrupt_darkening_ends_at_zero(agreeing):
    fine, coarse = agreeing
    day = str(fine.time.values[1])[:10]
    rest = drop_days(fine, [day])
    model = biastf_xr.fit(rest, coarse, **PLAIN)
    dark = coarse.copy(deep=True)
    for band in bands_of(fine):
        dark[band][1] = np.linspace(-0.19, -0.15, dark[band][1].size).reshape(dark[band][1].shape)
    made, plain = (biastf_xr.fuse(rest, c, model, dates=[day]).load() for c in (dark, coarse))
    for band in bands_of(fine):
        assert float(made[band].min()) == 0
        assert float(plain[band].min()) > 0


@pytest.fixture(scope="module")
def region():
    from biastf_xr.testing._region import SyntheticRegion

    made = SyntheticRegion(shape=(96, 112), ratio=16, seed=5, days=64)
    fine, coarse = made.fine_cube(), made.coarse_cube()
    return fine, coarse, biastf_xr.fit(fine, coarse)


DAYS = ["2021-04-10", "2021-05-05", "2021-05-19"]


@pytest.mark.parametrize("tile", [41, 64])
def test_no_tile_shows(region, tile):
    fine, coarse, model = region
    whole = biastf_xr.fuse(fine, coarse, model, dates=DAYS).load()
    parts = biastf_xr.fuse(fine, coarse, model, dates=DAYS, tile=tile).load()
    for name in whole.data_vars:
        np.testing.assert_allclose(parts[name], whole[name], atol=3e-7, err_msg=str(name))
    assert np.isfinite(whole["nir"].values[1:]).mean() > 0.9


def test_a_date_does_not_depend_on_the_others(region):
    fine, coarse, model = region
    whole = biastf_xr.fuse(fine, coarse, model, dates=DAYS).load()
    one = biastf_xr.fuse(fine, coarse, model, dates=DAYS[1:2]).load()
    np.testing.assert_array_equal(one["nir"].values[0], whole["nir"].values[1])


def test_a_coarse_series_without_information_is_worth_little(region):
    """Noise in place of the coarse images: not worse than linear by more than two in a hundred."""
    fine, coarse, _ = region
    rng, noisy = np.random.default_rng(0), coarse.copy(deep=True)
    for band in bands_of(coarse):
        values = noisy[band].values
        level, spread = np.nanmean(values), np.nanstd(values)
        made = rng.normal(level, spread, values.shape).astype(np.float32)
        noisy[band].values = np.where(np.isfinite(values), made, np.float32(np.nan))
    scores = evaluate(fine, noisy, "biastf-plus", design="leave-one-out,min_clear=0.7").summary()
    assert scores.loc["biastf-plus", "RMSE"] < 1.02 * scores.loc["linear", "RMSE"]
    model = biastf_xr.fit(fine, noisy)
    assert model.card.shares["one"][PARTS.index("explained")] < 0.5
    assert any("did not help" in said for said in model.remarks())
    assert model.describe()["shares"] == model.card.shares


def test_a_coarse_series_that_helps_is_taken(region):
    shares = dict(zip(PARTS, region[2].card.shares["two"], strict=True))
    assert shares["explained"] > 0.8
    assert not any("did not help" in said for said in region[2].remarks())


def test_where_no_date_tells_shares_are_the_documented_ones(agreeing):
    fine, coarse = agreeing
    assert biastf_xr.fit(fine.isel(time=[0]), coarse).card.shares == PRIOR


# Uncertainty.


def test_the_standard_deviation_is_stored_beside_the_bands(region, tmp_path):
    fine, coarse, model = region
    fused = biastf_xr.fuse(fine, coarse, model, dates=DAYS)
    assert bands_of(fused) == bands_of(fine)
    assert fused["nir"].attrs["ancillary_variables"].endswith("nir_sigma")
    made = fused.load()
    there = np.isfinite(made["nir"].values)
    assert (np.isfinite(made["nir_sigma"].values) == there).all()
    seen = made["status_flag"].values == 4
    assert (made["nir_sigma"].values[seen] == 0).all()
    assert (made["nir_sigma"].values[there & ~seen] > 0).all()
    plain = biastf_xr.load_method(model.save(tmp_path / "m.safetensors").checkpoint,
                                  uncertain=False)  # fmt: skip
    bare = biastf_xr.fuse(fine, coarse, plain, dates=DAYS)
    assert "nir_sigma" not in bare
    np.testing.assert_array_equal(bare["nir"].values, made["nir"].values)


def test_the_fit_finds_the_terms_of_the_variance():
    rng = np.random.default_rng(0)
    parts = np.stack([np.ones(40_000), *rng.exponential(0.001, (4, 40_000))]).astype(np.float32)
    true = np.array([1e-4, 0.1, 0.2, 0.3, 0.5])
    error = (rng.normal(size=40_000) * np.sqrt(true @ parts)).astype(np.float32)
    found = fit_terms([error[:20_000], error[20_000:]], [parts[:, :20_000], parts[:, 20_000:]])
    np.testing.assert_allclose(found @ parts, true @ parts, rtol=0.12)
    inside = observed(np.abs(error) / np.sqrt(found @ parts))
    assert np.abs(inside - LEVELS).max() < 0.02


def test_dates_that_differ_widen_the_intervals():
    rng = np.random.default_rng(0)
    parts = [np.ones((5, 4000), np.float32) for _ in range(4)]
    alike = [rng.normal(0, 0.01, 4000).astype(np.float32) for _ in range(4)]
    apart = [e * f for e, f in zip(alike, (0.2, 0.5, 1, 3), strict=True)]
    together = [np.sqrt(np.mean(np.concatenate(e) ** 2)) for e in (alike, apart)]
    sigma = [np.sqrt(fit_terms(e, parts).sum()) for e in (alike, apart)]
    np.testing.assert_allclose(sigma[0], together[0], rtol=0.1)
    inside = np.mean([np.abs(e) < 1.645 * sigma[1] for e in apart])
    assert inside > 0.8


def test_with_two_base_dates_that_nothing_tells_of_intervals_are_no_narrower():
    assert from_one((1e-4, 0.1, 0.0, 0.3, 0.4)) == (1e-4, 0.1, ASSUMED[2], 0.3, 0.4)


def test_terms_follow_the_definition():
    detail, low = np.zeros((1, 9, 9), np.float32), np.full((1, 9, 9), 0.2, np.float32)
    detail[0, 4, 4] = 0.5
    flat = local_square(np.full((1, 9, 9), 0.1, np.float32))
    parts = terms(flat, (4.0, 0.5), low, detail)
    assert parts.shape == (5, 1, 5, 5)
    np.testing.assert_allclose(parts[1], 0.4)
    np.testing.assert_allclose(parts[2], 0.01, rtol=1e-5)
    np.testing.assert_allclose(parts[3], 0.04, rtol=1e-5)
    np.testing.assert_allclose(parts[4], 0.25 / 25, rtol=1e-5)
    sigma = sigma_of_terms(parts, np.array([[1e-4, 0, 1, 1, 1]], np.float32))
    np.testing.assert_allclose(sigma, np.sqrt(1e-4 + 0.01 + 0.04 + 0.01), rtol=1e-5)
    np.testing.assert_allclose(terms(None, (4.0, 0.0), low, detail)[2], 0)
    days = np.array(["2021-04-01", "2021-04-20"], "datetime64[D]")
    assert nearest_days(np.datetime64("2021-04-17"), list(days)) == 3
    detail[0, :, :3] = np.nan
    np.testing.assert_allclose(local_square(detail)[0, 2, 2], 0.25 / 20, rtol=1e-5)
    assert local_square(np.full((1, 9, 9), np.nan, np.float32)).max() == 0


# The fit, models on disk, bad input.


def test_noise_and_jitter_are_those_of_the_series(make_pair):
    fine, coarse = make_pair(shape=(32, 32), coarse_days=range(40), margin=8)
    rng = np.random.default_rng(0)
    shape = coarse["red"].shape
    ground = rng.uniform(0.1, 0.5, shape[1:])
    ground[:, : shape[2] // 2] = 0.2
    for band in ("red", "nir"):
        coarse[band].values = (ground + rng.normal(0, 0.01, shape)).astype(np.float32)
    noise, jitter = coarse_noise(pair_cubes(fine, coarse))
    np.testing.assert_allclose(noise, 0.01, rtol=0.1)
    np.testing.assert_allclose(jitter, 0, atol=0.03)


def test_the_response_of_the_coarse_sensor_is_found(agreeing):
    fine, coarse = agreeing
    for band, scale in (("red", 1.4), ("nir", 0.7)):
        coarse[band].values = coarse[band].values * np.float32(scale)
    model = biastf_xr.fit(fine, coarse)
    assert model.card.bands == ("red", "nir")
    np.testing.assert_allclose(model.card.response, (1.4, 0.7), rtol=0.03)


def test_the_same_cubes_give_the_same_bytes(agreeing, tmp_path):
    files = [biastf_xr.fit(*agreeing, path=tmp_path / f"{n}.safetensors").checkpoint
             for n in range(2)]  # fmt: skip
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_saved_model_is_the_same_method(agreeing, tmp_path):
    model = biastf_xr.fit(*agreeing).save(tmp_path / "m.safetensors")
    again = biastf_xr.load_method(tmp_path / "m.safetensors", device="cpu")
    assert again == model
    assert again.card == model.card
    assert again.describe()["trained_on"] == [str(d)[:10] for d in agreeing[0].time.values]
    assert again.describe()["method"] == "biastf-plus"


def test_one_date_is_enough_and_the_card_says_what_is_assumed(agreeing):
    fine, coarse = agreeing
    model = biastf_xr.fit(fine.isel(time=[0]), coarse)
    assert model.card.calibrated == {"one": 0, "two": 0}
    day = str(fine.time.values[2])[:10]
    image = biastf_xr.fuse(fine.isel(time=[0]), coarse, model, dates=[day]).load()
    assert np.isfinite(image["nir"].values).all()
    assert (image["status_flag"].values == 2).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothing": -1.0}, facts("smoothing", "-1.0")),
        ({"network": None}, facts("'biastf-plus'", "network", "'smoothing'")),
        ({"variant": "paper"}, facts("variant", "fit(fine, coarse, 'biastf')")),
        ({"variant": "minus"}, facts("variant", "'biastf-plus', 'biastf'")),
    ],
)
def test_wrong_options_are_named(agreeing, options, message):
    with pytest.raises(MethodError, match=message):
        biastf_xr.fit(*agreeing, **options)


def test_no_clear_date_in_both_cubes_is_said(agreeing):
    fine, coarse = agreeing
    fine = fine.copy(deep=True)
    for band in ("red", "nir"):
        fine[band][1:] = np.nan  # only the first date is clear, and the coarse cube lacks it
    with pytest.raises(
        MissingPairError,
        match=facts("4", "100.0%", "20.0%", "`min_clear`", "2021-04-11 to 2021-05-01"),
    ):
        biastf_xr.fit(fine, coarse.isel(time=slice(1, None)))


def test_cubes_it_was_not_made_for_are_refused(agreeing, make_pair):
    model = biastf_xr.fit(*agreeing)
    fine, coarse = agreeing
    with pytest.raises(CheckpointError, match=facts("['red', 'nir']", "have ['nir']")):
        biastf_xr.fuse(fine[["nir"]], coarse[["nir"]], model)
    with pytest.raises(CheckpointError, match=facts("4.00", "6.00")):
        biastf_xr.fuse(*make_pair(ratio=6), model)


def test_a_model_of_a_newer_version_is_refused(agreeing, tmp_path):
    from safetensors.numpy import save

    model = biastf_xr.fit(*agreeing)
    card = {**model.card.__dict__, "format": 99}
    path = tmp_path / "new.safetensors"
    path.write_bytes(save({}, metadata={"card": json.dumps(card)}))
    with pytest.raises(
        CheckpointError, match=facts("new.safetensors", "99", "reads up to 1", "Update")
    ):
        biastf_xr.load_method(path)
    del card["response"]
    path.write_bytes(save({}, metadata={"card": json.dumps(card | {"format": 1})}))
    with pytest.raises(CheckpointError, match=facts("new.safetensors", "card", "response")):
        biastf_xr.load_method(path)


def test_the_window_of_a_base_image_gives_the_same_coarse_pixels(region):
    fine, coarse, _ = region
    alignment = pair_cubes(fine, coarse).alignment
    image = np.stack([fine[b].values[0] for b in bands_of(fine)])
    everything = Tile(0, alignment.shape[0], 0, alignment.shape[1])
    under = Tile(0, alignment.coarse_shape[0], 0, alignment.coarse_shape[1])
    whole = as_seen(image, everything, alignment, under, 0.5)
    window = Tile(16, 96, 16, 112)
    part = as_seen(image[:, *window.slices], window, alignment, under, 0.5)
    inner = alignment.coarse_tile(Tile(56, 72, 56, 72)).slices
    np.testing.assert_allclose(part[:, *inner], whole[:, *inner], rtol=1e-6)


def test_a_stored_cube_has_the_same_values_and_is_done_once(small_cubes, tmp_path):
    fine, coarse = (biastf_xr.open_cube(p) for p in small_cubes)
    model = biastf_xr.fit(fine, coarse, path=tmp_path / "m.safetensors")
    days = [str(d)[:10] for d in coarse.time.values[3:9]]
    stored = tmp_path / "fused.zarr"
    report = biastf_xr.write_fused(*small_cubes, stored, model, dates=days, tile=48)
    assert report.pixels > 0
    lazy = biastf_xr.fuse(fine, coarse, model, dates=days, tile=64).load()
    made = xr.open_zarr(stored).load()
    for band in bands_of(fine):
        # Stored with 12 bits of mantissa.
        np.testing.assert_allclose(made[band], lazy[band], rtol=2**-12, atol=1e-6)
        name = f"{band}_sigma"
        np.testing.assert_allclose(made[name], lazy[name], rtol=2**-12, atol=1e-6)
    again = biastf_xr.write_fused(*small_cubes, stored, model, dates=days, tile=48)
    assert again.pixels == 0
