"""STARFM, ESTARFM, Fit-FC and EFAST, against what can be said in closed form."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from checks import facts

import biastf_xr
from biastf_xr.cube import STATUS
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.errors import MethodError
from biastf_xr.fusion import FusionRule
from biastf_xr.methods import get_method
from biastf_xr.methods.estarfm import ESTARFM
from biastf_xr.methods.fitfc import _block_mean, _cubic_up, _line_fit

TWO, FALLBACK = STATUS["fused_two_sided"], STATUS["fused_fallback"]
BANDS = ("red", "nir")

METHODS = {
    "efast": get_method("efast", cloud_distance=2.0),
    "fitfc": get_method("fitfc", window=9, similar=6),
    "fitfc fine": get_method(
        "fitfc", window=7, similar=6, regression_window=9, regression_unit="fine"
    ),
    "starfm": get_method("starfm", window=9, classes=4, pairs=2),
    "starfm one pair": get_method("starfm", window=9, pairs=1, classes=4, temporal_weight="always"),
    "starfm all bands": get_method(
        "starfm",
        window=9,
        pairs=2,
        similarity="all",
        classes=3,
        filtering="strict",
        weighting="log",
    ),
    "starfm coarse window": get_method("starfm", window=3, window_unit="coarse", classes=4),
    "estarfm": get_method("estarfm", window=11, similar=8, classes=2),
    "estarfm all": get_method("estarfm", window=9, similar=0, classes=2, conversion="deviation"),
}


def stripes(shape, seed=0):
    """Draw a scene of three surfaces, far apart in both bands, whole digital numbers."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, (shape[0] // 8 + 1, shape[1] // 8 + 1)).repeat(8, 0).repeat(8, 1)
    kind = kind[: shape[0], : shape[1]]
    return kind, np.array([[0.05, 0.12, 0.2], [0.3, 0.22, 0.1]])


@pytest.fixture
def surfaces(make_pair):
    """Cubes of a scene of pure surfaces; coarse pixels hold the mean reflectance of the scene."""
    fine, coarse = make_pair(shape=(48, 44), fine_days=(0, 16))
    kind, levels = stripes((48, 44))
    for i, band in enumerate(BANDS):
        fine[band][:] = levels[i][kind].astype("f4")
        coarse[band][:] = np.float32(levels[i].mean())
    return fine, coarse


def fuse(pair, method, day="2021-04-05", **options):
    return biastf_xr.fuse(*pair, method, dates=[day], **options).isel(time=0).load()


def cloud(ds, seed, share, size=1):
    ds = ds.copy(deep=True)
    rng = np.random.default_rng(seed)
    rows, cols = ds.sizes["y"], ds.sizes["x"]
    for t in range(ds.sizes["time"]):
        mask = rng.random((-(-rows // size), -(-cols // size))) < share
        mask = mask.repeat(size, 0).repeat(size, 1)[:rows, :cols]
        for band in ds.data_vars:
            ds[band].values[t][mask] = np.nan
    return ds


@pytest.fixture(scope="module")
def cloudy(make_pair):
    """Cubes with gaps in both sensors: 70 x 60 fine pixels, smooth scenes with noise."""
    fine, coarse = make_pair(shape=(70, 60), ratio=5, fine_days=(0, 6, 11, 16), seed=4)
    y, x = np.mgrid[:70, :60] / 9
    v, u = np.mgrid[: coarse.sizes["y"], : coarse.sizes["x"]] / 2
    for i, band in enumerate(BANDS):
        fine[band][:] = (0.25 + 0.1 * np.sin(y + i) * np.cos(x) + 0.1 * fine[band]).round(4)
        coarse[band][:] = (0.25 + 0.1 * np.sin(v + i) * np.cos(u) + 0.1 * coarse[band]).round(4)
    return cloud(fine, 1, 0.15, 6), cloud(coarse, 2, 0.3)


@pytest.mark.parametrize("name", METHODS)
def test_any_tile_size_gives_the_same_cube(cloudy, name):
    """Tiles of any size; here they cut through clouds, windows and coarse pixels."""
    method, dates = METHODS[name], ["2021-04-03", "2021-04-10"]
    whole = biastf_xr.fuse(*cloudy, method, dates=dates, tile=100).load()
    tile, days = 17 + 2 * len(name), 1 + len(name) % 2
    rule = FusionRule(dates_per_unit=days)
    cut = biastf_xr.fuse(*cloudy, method, dates=dates, tile=tile, rule=rule).load()
    np.testing.assert_array_equal(cut["status_flag"], whole["status_flag"])
    for band in BANDS:
        np.testing.assert_allclose(cut[band], whole[band], atol=3e-7, rtol=0)
    assert np.isfinite(whole["red"]).mean() > 0.6


@pytest.mark.parametrize("name", METHODS)
def test_without_a_coarse_change_since_the_earlier_date_the_earlier_scene_stands(surfaces, name):
    fine, coarse = surfaces
    for band in BANDS:
        fine[band][1] = fine[band][1] + np.float32(0.03)
        coarse[band][16] = coarse[band][16] + np.float32(0.03)
    weights = {} if name.startswith("estarfm") or name == "efast" else {"weights": "change"}
    made = fuse((fine, coarse), dataclasses.replace(METHODS[name], **weights))
    np.testing.assert_allclose(made["nir"], fine["nir"][0], atol=2e-5)


def test_efast_weights_its_two_sides_by_time_alone(surfaces):
    fine, coarse = surfaces
    fine["nir"][1] = fine["nir"][1] + np.float32(0.03)  # the coarse sensor sees nothing of it
    made = fuse((fine, coarse), METHODS["efast"])
    earlier = 1 / (1 + np.exp((4**2 - 12**2) / (2 * 20**2)))  # 4 and 12 days, sigma 20
    np.testing.assert_allclose(made["nir"], fine["nir"][0] + (1 - earlier) * 0.03, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_a_uniform_change_is_transferred_exactly(surfaces, name):
    fine, coarse = surfaces
    steps = np.float32(0.002) * np.arange(17, dtype="f4")
    for band in BANDS:
        coarse[band][:] = coarse[band].values + steps[:, None, None]
        fine[band][1] = fine[band][1] + steps[16]
    made = fuse(surfaces, METHODS[name])
    for band in BANDS:
        np.testing.assert_allclose(made[band], fine[band][0] + steps[4], atol=2e-6)


@pytest.mark.parametrize("name", METHODS)
def test_swapping_the_two_sides_in_time_gives_the_same_image(cloudy, name):
    clear = [ds.isel(time=slice(None)).fillna(0.25) for ds in cloudy]
    pair = clear[0].isel(time=[0, 3]), clear[1]
    made = fuse(pair, METHODS[name], "2021-04-09")
    mirrored = [ds.isel(time=slice(None, None, -1)).assign_coords(time=ds.time) for ds in pair]
    again = fuse(mirrored, METHODS[name], "2021-04-09")
    np.testing.assert_allclose(made["nir"], again["nir"], atol=2e-6)


@pytest.mark.parametrize("name", METHODS)
def test_reflectance_times_ten_gives_the_result_times_ten(cloudy, name):
    """Options in reflectance grow with it; images stay whole digital numbers."""
    small = [(ds.fillna(0.25) * 0.1).round(4).astype("f4") for ds in cloudy]
    large = [(ds * 10).round(3).astype("f4") for ds in small]
    method = METHODS[name]
    if name.startswith("starfm"):
        grown = {k: 10 * getattr(method, k)
                 for k in ("uncertainty_fine", "uncertainty_coarse", "offset")}  # fmt: skip
    elif name.startswith("estarfm"):
        grown = {"least_change": 10 * method.least_change, "valid_range": (0.0, 10.0)}
    else:
        grown = {}
    made, tenth = fuse(large, dataclasses.replace(method, **grown)), fuse(small, method)
    # The floor of the weights by change is no option, and where coarse values hardly vary the
    # slope of Fit-FC magnifies their rounding.
    far = np.abs(made["nir"] - 10 * tenth["nir"]).values
    assert np.quantile(far, 0.99) < 1e-4
    assert far.max() < 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_missing_pixels_are_left_out_of_every_window_and_band(cloudy, name):
    """What lies under a mask cannot matter, and a mask in one band hides the pixel in all."""
    fine, coarse = (ds.isel(time=slice(None)).fillna(0.25) for ds in cloudy)
    fine = fine.isel(time=[0, 3]).copy(deep=True)
    hole = (slice(20, 26), slice(30, 37))
    values = []
    for bands in (("red",), BANDS):
        masked = fine.copy(deep=True)
        for band in bands:
            masked[band].values[0][hole] = np.nan
        masked[BANDS[1]].values[0][hole] *= 0.1 if bands == ("red",) else 1
        values.append(fuse((masked, coarse), METHODS[name]))
    for band in BANDS:
        np.testing.assert_array_equal(values[0][band], values[1][band])
    inside = values[0]["status_flag"].values[hole]
    one_side = name not in {"estarfm", "estarfm all"}
    assert (inside == STATUS["fused_after_only" if one_side else "no_pair"]).all()
    outside = np.ones((70, 60), bool)
    outside[hole] = False
    assert np.isfinite(values[0]["nir"].values[outside]).all()


@pytest.mark.parametrize("name", METHODS)
def test_coarse_gaps_that_cannot_be_filled_do_not_spread(cloudy, name):
    fine, coarse = (ds.isel(time=slice(None)).fillna(0.25) for ds in cloudy)
    coarse = coarse.copy(deep=True)
    for band in BANDS:
        coarse[band].values[:, 6:8, 6:8] = np.nan
    made = fuse((fine.isel(time=[0, 3]), coarse), METHODS[name])
    gone = made["status_flag"].values == STATUS["no_coarse"]
    assert 50 < gone.sum() < 250
    assert np.isfinite(made["nir"].values[~gone]).all()
    assert np.isnan(made["nir"].values[gone]).all()


def test_estarfm_falls_back_where_no_pixel_is_similar_and_says_so(make_pair):
    fine, coarse = make_pair(shape=(40, 36), fine_days=(0, 16))
    made = fuse((fine, coarse), get_method("estarfm", window=9, classes=200.0))
    assert (made["status_flag"] == FALLBACK).all()
    assert np.isfinite(made["nir"]).all()
    plain = fuse((fine, coarse), ESTARFM(window=9, classes=200.0, few="base"))
    low, high = (fine["nir"][:2].reduce(f, "time") for f in (np.minimum.reduce, np.maximum.reduce))
    assert ((plain["nir"] >= low - 1e-6) & (plain["nir"] <= high + 1e-6)).all()


def test_estarfm_replaces_what_leaves_the_valid_range_and_says_so(surfaces):
    fine, coarse = surfaces
    for band in BANDS:
        coarse[band][4] = coarse[band][4] + np.float32(0.85)
    made = fuse((fine, coarse), get_method("estarfm", window=9, conversion="none"))
    out = fine["red"][0].values > 0.15
    assert 0 < out.mean() < 1
    assert (made["status_flag"].values[out] == FALLBACK).all()
    np.testing.assert_allclose(made["red"].values[out], fine["red"][0].values[out], atol=1e-5)


def test_estarfm_stretches_the_coarse_change_to_the_fine_scale(surfaces):
    """Fine change is three times the coarse one: V is 3, where the change suffices to tell."""
    fine, coarse = surfaces
    rng = np.random.default_rng(0)
    shape = coarse["red"].shape[1:]
    for i, band in enumerate(BANDS):
        bright = (0.1 + 0.1 * i + 0.02 * rng.random(shape)).astype("f4")
        for t in range(17):
            coarse[band].values[t] = bright + np.float32(0.05 * t / 16)
        up = coarse[band][0].values.repeat(4, 0).repeat(4, 1)[4:-4, 4:-4][:48, :44]
        fine[band].values[0] = (0.05 + 3 * (up - bright.min())).round(4)
        fine[band].values[1] = (fine[band].values[0] + 0.15).round(4)
    options = {"window": 15, "classes": 1.0, "upsampling": "nearest"}
    made = fuse((fine, coarse), get_method("estarfm", **options))
    expected = fine["nir"][0] + np.float32(3 * 0.05 * 4 / 16)
    assert float(np.abs(made["nir"] - expected).mean()) < 2e-3
    flat = fuse((fine, coarse), get_method("estarfm", conversion="none", **options))
    # Without V each side is off by two thirds of its own change, and the weights balance them.
    early = fine["nir"][0] + 0.05 * 4 / 16
    assert float(np.abs(flat["nir"] - early).mean()) > 5e-3


def test_starfm_weighs_reliable_pixels_more(surfaces):
    """A pixel whose sensors agree and did not change outweighs one with a difference."""
    fine, coarse = surfaces
    one = fine.isel(time=[0])
    for band in BANDS:
        one[band].values[:] = 0.3
        coarse[band].values[:] = 0.31
        coarse[band].values[4, :, :7] = 0.36
        coarse[band].values[4, :, 7:] = 0.32
    near_edge = fuse((one, coarse), get_method("starfm", window=21, temporal_weight="always"))
    made = near_edge["nir"].values
    assert made[24, 40] == pytest.approx(0.31, abs=1e-4)
    # At the border the pixels that changed less win over the larger change of the centre itself.
    direct = fuse((one, coarse), "direct")["nir"].values
    assert made[24, 21] < direct[24, 21] - 0.01


def test_starfm_in_reflectance_is_starfm_in_digital_numbers(cloudy):
    """`offset` is the 1 that programs add to digital numbers; adding 1 to reflectance is not it."""
    fine, coarse = (ds.fillna(0.25) for ds in cloudy)
    made = fuse((fine, coarse), get_method("starfm", window=9))
    wrong = fuse((fine, coarse), get_method("starfm", window=9, offset=1.0))
    assert float(np.abs(made["nir"] - wrong["nir"]).max()) > 1e-3


def test_a_line_is_fitted_in_every_window():
    rng = np.random.default_rng(0)
    x = rng.uniform(0.1, 0.4, (20, 24)).astype("f4")
    y = np.float32(1.7) * x - np.float32(0.05)
    y[3, 4] = np.nan
    slope, rest = _line_fit(x, y, 2)
    np.testing.assert_allclose(slope, 1.7, atol=1e-4)
    np.testing.assert_allclose(rest, -0.05, atol=3e-5)
    slope, rest = _line_fit(np.full_like(x, 0.3), y, 2)
    assert (slope == 1).all()
    assert (rest == 0).all()


def test_cubic_convolution_reproduces_a_quadratic_and_block_means_conserve():
    from biastf_xr.grid import AxisMap

    axis = AxisMap(0.25, 0.0, 12)
    place = np.arange(12.0)
    values = (0.1 + 0.01 * place[:, None] ** 2 + 0.02 * place).astype("f4")
    made = _cubic_up(values, axis, axis, (0, 0), (12, 36), (12, 36), -0.5)
    position = axis.position(np.arange(12, 36))
    np.testing.assert_allclose(
        made, 0.1 + 0.01 * position[:, None] ** 2 + 0.02 * position, atol=1e-5
    )
    part = _cubic_up(values[2:11, 3:12], axis, axis, (2, 3), (16, 30), (20, 36), -0.5)
    np.testing.assert_array_equal(part, made[4:18, 8:24])
    image = np.random.default_rng(1).random((20, 20)).astype("f4")
    odd = AxisMap(1 / 3.3, 0.0, 6)
    means, first = _block_mean(image, odd, odd, (0, 0), (20, 20))
    assert means.shape == (6, 6)
    assert first == (0, 0)
    assert means[0, 0] == pytest.approx(
        (image[:3, :3].sum() + 0.3 * (image[3, :3].sum() + image[:3, 3].sum())
         + 0.09 * image[3, 3]) / 3.3**2, rel=1e-6)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("starfm", {"window": 99}, facts("starfm", "99 x 99", "24 x 20", "`window`")),
        ("estarfm", {"window": 9, "window_unit": "coarse"}, r"\(9 coarse pixels\)"),
        ("starfm", {"pairs": 3}, facts("starfm", "pairs", "3", "[1, 2]")),
        ("starfm", {"filtering": "both"}, facts("filtering", "'both'", "['loose', 'strict']")),
        ("starfm", {"classes": 0}, facts("starfm", "classes", "0")),
        ("starfm", {"uncertainty_fine": -1}, facts("starfm", "uncertainty")),
        ("estarfm", {"similar": 3}, facts("similar", "3", "least_similar (5)")),
        ("estarfm", {"valid_range": (1, 0)}, "valid_range"),
        ("fitfc", {"regression_window": 1}, facts("regression_window", "1", "3")),
        ("fitfc", {"similar": 0}, facts("similar", "0", "from 1 to 255")),
        ("fitfc", {"regression_window": 25}, facts("regression_window", "25", "(8, 7)")),
        ("efast", {"sigma": -2}, facts("sigma", "-2", "above 0")),
        ("efast", {"clouds": 2}, facts("'efast'", "clouds", "['cloud_distance'")),
        ("linear", {"window": 3}, facts("'linear'", "window")),
    ],
)
def test_unusable_options_are_refused(make_pair, name, options, message):
    small = {} if "window" in options or name == "efast" else {"window": 9}
    with pytest.raises(MethodError, match=message):
        biastf_xr.fuse(*make_pair(), name, dates=["2021-04-05"], **(small | options))


def test_an_option_that_only_matches_a_program_names_the_preset(make_pair):
    with pytest.warns(FutureWarning, match=facts("'estarfm'", "few", 'preset = "imagefusion"')):
        old = get_method("estarfm", few="base")
    new = get_method("estarfm", preset="imagefusion", window=9)
    assert (old.few, new.few, new.conversion, new.window) == ("base", "base", "deviation", 9)
    assert "preset" not in new.describe()
    with pytest.raises(MethodError, match=facts("preset", "'envi'", "['imagefusion', 'author']")):
        get_method("estarfm", preset="envi")


def test_estarfm_refuses_a_single_scene_and_fitfc_a_coarse_grid_that_is_the_fine_one(make_pair):
    fine, coarse = make_pair(shape=(60, 60), fine_days=(0,))
    with pytest.raises(MethodError, match=facts("estarfm", "starfm, fsdaf, fitfc, direct")):
        biastf_xr.fuse(fine, coarse, "estarfm", dates=["2021-04-05"])
    fine, coarse = make_pair(shape=(60, 60), ratio=1)
    with pytest.raises(
        MethodError, match=facts("fitfc", "native_resolution", "regression_unit='fine'")
    ):
        biastf_xr.fuse(fine, coarse, "fitfc", dates=["2021-04-05"])


@pytest.mark.parametrize("name", METHODS)
def test_a_constant_band_is_no_obstacle(surfaces, name):
    fine, coarse = surfaces
    fine["red"][:] = np.float32(0.2)
    coarse["red"][:] = np.float32(0.2)
    made = fuse((fine, coarse), METHODS[name])
    np.testing.assert_allclose(made["red"], 0.2, atol=1e-6)


def test_methods_survive_pickling_and_describe_themselves(surfaces):
    import json
    import pickle

    pair = pair_cubes(*surfaces)
    for method in METHODS.values():
        told = method.describe()
        assert json.loads(json.dumps(told))["method"] == method.name
        assert "reach" not in told
        bound = method.bind(pair)
        assert pickle.loads(pickle.dumps(bound)) == bound
        assert bound.describe() == told
