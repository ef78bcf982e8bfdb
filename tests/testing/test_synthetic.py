"""The generated region: repeatable, physical, readable, and hard enough to tell methods apart."""

from __future__ import annotations

import re

import numpy as np
import pytest
from checks import facts
from scipy.ndimage import map_coordinates

from biastf_xr.testing import SyntheticRegion, write_landsat, write_mod09ga

# odc-geo and rioxarray multiply transforms with `*`, which affine 3 announces to drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

SMALL = SyntheticRegion(shape=(96, 80), days=48)
DEFAULT = SyntheticRegion()
CLEAR_LAND, FILL = 21824, 1
# The coarse season is sampled to keep the file fast; the fine dates are among the sample.
EVERY = 4


def upsample(region, coarse):
    """Coarse reflectance on the fine grid, bilinearly."""
    y, x = ((np.arange(n) + 0.5) / region.ratio - 0.5 + region.coarse_margin for n in region.shape)
    at = np.meshgrid(y, x, indexing="ij")
    return np.stack([map_coordinates(band, at, order=1) for band in coarse])


def rmse(predicted, truth):
    return float(np.sqrt(np.mean((predicted - truth) ** 2, axis=(1, 2))).mean())


def direct(fine, coarse, before, target, after):
    """RMSE of the methods that learn nothing."""
    f1, f2, f3 = fine[before], fine[target], fine[after]
    c1, c2, c3 = coarse[before], coarse[target], coarse[after]
    w = (target - before) / (after - before)
    return {
        "nearest": rmse(f1 if w <= 0.5 else f3, f2),
        "linear": rmse((1 - w) * f1 + w * f3, f2),
        "F + dC": rmse((f1 + f3) / 2 + c2 - (c1 + c3) / 2, f2),
    }


def regression(fine, coarse, before, target, after):
    """RMSE of a linear regression with intercept, fitted on the truth itself."""
    f2 = fine[target]
    inputs = [fine[before], fine[after], coarse[before], coarse[target], coarse[after]]
    columns = np.concatenate(inputs).reshape(30, -1).T.astype(float)
    columns = np.column_stack([columns, np.ones(len(columns))])
    weights = np.linalg.lstsq(columns, f2.reshape(6, -1).T.astype(float))[0]
    return rmse((columns @ weights).T.reshape(f2.shape), f2)


@pytest.fixture(scope="module")
def season():
    """Fine truth, upsampled coarse truth, and clear share, at the fine dates of the default."""
    fine = [DEFAULT.truth(d) for d in DEFAULT.fine_dates]
    coarse = [upsample(DEFAULT, DEFAULT.coarse_truth(d)) for d in DEFAULT.fine_dates]
    clear = [float(DEFAULT.fine_scene(d).clear.mean()) for d in DEFAULT.fine_dates]
    return fine, coarse, clear


@pytest.fixture(scope="module")
def coarse_season():
    return [DEFAULT.coarse_scene(d) for d in DEFAULT.dates[::EVERY]]


# --- repeatable ---------------------------------------------------------------------------------


def test_equal_regions_agree_in_any_order_of_calls():
    dates = SMALL.dates[[3, 40, 17]]
    forward = [SMALL.truth(d) for d in dates]
    from biastf_xr.testing import _region as region

    for cached in (region._surface, region._ground, region._sky):
        cached.cache_clear()
    again = SyntheticRegion(shape=(96, 80), days=48)
    backward = [again.truth(d) for d in dates[::-1]][::-1]
    for a, b in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(forward[0], forward[1])


def test_scenes_repeat():
    day = SMALL.fine_dates[1]
    first, second = SMALL.fine_scene(day), SMALL.fine_scene(day)
    np.testing.assert_array_equal(first.reflectance, second.reflectance)
    np.testing.assert_array_equal(first.qa_pixel, second.qa_pixel)
    one, two = SMALL.coarse_scene(day), SMALL.coarse_scene(day)
    np.testing.assert_array_equal(one.reflectance, two.reflectance)
    np.testing.assert_array_equal(one.state_1km, two.state_1km)


def test_another_seed_is_another_region():
    other = SyntheticRegion(shape=(96, 80), days=48, seed=7)
    here, there = (r.truth(SMALL.dates[0])[3].ravel() for r in (SMALL, other))
    assert abs(np.corrcoef(here, there)[0, 1]) < 0.5
    clear = [r.coarse_cube()["clear"].to_numpy() for r in (SMALL, other)]
    assert np.mean(clear[0] != clear[1]) > 0.2


def test_result_is_the_callers_to_change():
    day = SMALL.dates[5]
    SMALL.truth(day)[:] = 9.0
    assert SMALL.truth(day).max() < 1.0


def test_dates_are_accepted_in_any_form():
    expected = SMALL.truth("2021-04-06")
    for same in (
        np.datetime64("2021-04-06"),
        SMALL.dates[5],
        SMALL.dates[5].astype("M8[D]").item(),
    ):
        np.testing.assert_array_equal(SMALL.truth(same), expected)


def test_days_outside_the_season_are_refused():
    with pytest.raises(ValueError, match=facts("2021-03-31", "48 days", "2021-04-01")):
        SMALL.truth("2021-03-31")
    with pytest.raises(
        ValueError, match=facts("2021-04-02", "2021-04-01", "2021-04-17", "2021-05-03")
    ):
        SMALL.fine_scene("2021-04-02")


# --- physical -----------------------------------------------------------------------------------


def test_reflectance_is_physical(season):
    fine, coarse, _ = season
    for f, c in zip(fine, coarse, strict=True):
        assert f.dtype == np.float32
        assert f.shape == (6, 384, 384)
        assert f.min() > 0.0
        assert f.max() < 0.75
        assert c.min() > 0.0
        assert c.max() < 0.75


def test_parcels_are_smaller_and_larger_than_a_coarse_pixel():
    from biastf_xr.testing._region import _ground

    land = _ground(DEFAULT).landscape
    sizes = np.bincount(land.label.ravel())[4:]
    pixel = DEFAULT.ratio**2
    assert np.mean(sizes[sizes > 0] < 0.5 * pixel) > 0.3
    assert np.sum(sizes > 2 * pixel) > 20


def test_phenology_makes_change_both_up_and_down(season):
    fine, _, _ = season
    ndvi = [(f[3] - f[2]) / (f[3] + f[2]) for f in fine]
    autumn, spring = ndvi[3] - ndvi[0], ndvi[-1] - ndvi[5]
    assert np.mean(autumn < -0.15) > 0.05
    assert np.mean(autumn > 0.10) > 0.03
    assert np.mean(spring > 0.15) > 0.2


def test_event_is_large_abrupt_and_between_fine_dates(season):
    fine, _, clear = season
    event = DEFAULT.event_date
    assert event not in DEFAULT.fine_dates
    after = int(np.searchsorted(DEFAULT.fine_dates, event))
    assert 1 <= after < len(fine) - 1
    assert clear[after] > 0.9
    day = np.timedelta64(1, "D")
    overnight = DEFAULT.truth(event)[3] - DEFAULT.truth(event - day)[3]
    usual = DEFAULT.truth(event - day)[3] - DEFAULT.truth(event - 2 * day)[3]
    assert np.mean(overnight < -0.1) > 0.1
    assert np.mean(abs(usual) > 0.1) < 0.001
    assert np.mean(fine[after][3] - fine[after - 1][3] < -0.1) > 0.05


# --- grids and cubes ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(96, 80), (75, 101), (32, 200)])
def test_coarse_grid_covers_the_fine_one(shape):
    region = SyntheticRegion(shape=shape, days=17, coarse_margin=1)
    fine, coarse, state = region.fine_geobox, region.coarse_geobox, region.state_geobox
    margin = region.ratio * region.resolution
    f, c = fine.extent.boundingbox, coarse.extent.boundingbox
    assert c.left == f.left - margin
    assert c.top == f.top + margin
    assert c.right >= f.right + margin
    assert c.bottom <= f.bottom - margin
    assert c.right < f.right + 2 * margin
    assert coarse.resolution.x == margin
    assert state.resolution.x == 2 * margin
    assert region.truth(region.dates[3]).shape == (6, *fine.shape)
    scene = region.coarse_scene(region.dates[3])
    assert scene.reflectance.shape == (6, *coarse.shape)
    assert scene.state_1km.shape == state.shape
    assert region.fine_scene(region.dates[16]).qa_pixel.shape == shape


def test_coarse_pixels_lie_where_the_fine_ones_do():
    coarse = DEFAULT.coarse_truth(DEFAULT.dates[0])
    inner = coarse[:, 2:-2, 2:-2]
    blocks = DEFAULT.truth(DEFAULT.dates[0]).reshape(6, 24, 16, 24, 16).mean(axis=(2, 4))
    in_place = np.corrcoef(inner[3].ravel(), blocks[3].ravel())[0, 1]
    displaced = np.corrcoef(inner[3, 1:].ravel(), blocks[3, :-1].ravel())[0, 1]
    assert in_place > 0.7
    assert in_place > displaced + 0.1


def test_cubes():
    fine, coarse = SMALL.fine_cube(), SMALL.coarse_cube()
    for cube, geobox, dates in (
        (fine, SMALL.fine_geobox, SMALL.fine_dates),
        (coarse, SMALL.coarse_geobox, SMALL.dates),
    ):
        assert list(cube.data_vars) == [*SMALL.bands, "clear"]
        assert cube["nir"].dims == ("time", "y", "x")
        assert cube["nir"].dtype == np.float32
        assert cube["clear"].dtype == np.uint8
        assert cube.odc.geobox == geobox
        assert "spatial_ref" in cube.coords
        np.testing.assert_array_equal(cube["time"], dates)
        assert cube["y"][0] > cube["y"][-1]
        np.testing.assert_array_equal(np.isfinite(cube["nir"]), cube["clear"] == 1)
    truth = SMALL.truth_cube(SMALL.fine_dates)
    assert bool((truth["clear"] == 1).all())
    assert float(abs(fine["nir"] - truth["nir"]).max()) < 0.03
    assert float(abs(fine["nir"] - truth["nir"]).std()) > 0.0005


# --- clouds and quality bits --------------------------------------------------------------------


def test_fine_quality_bits_flag_every_cloud_and_shadow():
    flagged_any = 0
    for date in DEFAULT.fine_dates:
        scene = DEFAULT.fine_scene(date)
        qa = scene.qa_pixel
        flagged = (qa & 0b11111) != 0
        assert not np.any(~scene.clear & ~flagged)
        assert np.mean(flagged & scene.clear) < 0.3
        good = ~flagged
        assert np.abs(scene.reflectance - DEFAULT.truth(date))[:, good].max() < 0.03
        assert np.all((qa[good] & ~np.uint16(128)) == CLEAR_LAND)
        np.testing.assert_array_equal(qa == FILL, np.isnan(scene.reflectance[0]))
        cloud = (qa & 0b1000) != 0
        assert np.all((qa[cloud] >> 8) & 3 == 3)
        flagged_any += int(cloud.any())
    assert flagged_any >= 5


def test_water_bit_marks_lakes_and_flood():
    before, after = (DEFAULT.fine_scene(DEFAULT.fine_dates[i]).qa_pixel for i in (4, 6))
    share = [np.mean((qa[qa != FILL] & 128) != 0) for qa in (before, after)]
    assert 0.01 < share[0] < 0.15
    assert share[1] > share[0] + 0.05


def test_state_bits_flag_every_cloud_and_shadow(coarse_season):
    for date, scene in zip(DEFAULT.dates[::EVERY], coarse_season, strict=True):
        usable = (scene.state_1km & 0b111) == 0
        usable = usable.repeat(2, 0).repeat(2, 1)[: DEFAULT.coarse_geobox.shape[0]]
        usable = usable[:, : DEFAULT.coarse_geobox.shape[1]]
        seen = usable & np.isfinite(scene.reflectance[0])
        assert not np.any(seen & ~scene.clear)
        if not seen.any():
            continue
        # View angle and haze change brightness by some per cent; clouds would by far more.
        error = np.abs(scene.reflectance - DEFAULT.coarse_truth(date))[0, seen]
        assert error.max() < 0.06
    assert {0, 1, 2} <= set(np.unique([s.state_1km & 3 for s in coarse_season]))


def test_cloudiness_of_both_sensors(season, coarse_season):
    _, _, clear = season
    assert clear[0] > 0.95
    assert clear[-1] > 0.95
    assert 5 <= sum(c > 0.9 for c in clear) <= 7
    assert sum(0.4 < c <= 0.9 for c in clear) >= 2
    assert sum(c <= 0.4 for c in clear) >= 2
    daily = np.array([s.clear.mean() for s in coarse_season])
    assert 0.30 < 1 - daily.mean() < 0.42
    assert np.sum(daily < 0.05) > 4
    assert np.sum(daily > 0.95) > 12


def test_small_regions_have_usable_pairs():
    for seed in (1, 2, 2021):
        region = SyntheticRegion(shape=(96, 80), days=48, seed=seed)
        for date in region.fine_dates:
            fine, coarse = region.fine_scene(date), region.coarse_scene(date)
            assert np.mean((fine.qa_pixel & 0b11111) == 0) > 0.7
            assert np.mean((coarse.state_1km & 0b111) == 0) > 0.5


def test_coarse_gaps_are_missing_on_some_days(coarse_season):
    gaps = [np.isnan(s.reflectance).any() for s in coarse_season]
    assert 1 <= sum(gaps) < 9
    assert all(
        (s.state_1km != 65535).all() for s, g in zip(coarse_season, gaps, strict=True) if not g
    )


def test_view_angle_disturbs_the_coarse_sensor(coarse_season):
    views = np.array([s.view_zenith for s in coarse_season])
    assert views.max() > 50
    assert views[:: 16 // EVERY].max() < 15
    ratios = [
        np.nanmean(np.where(s.clear, s.reflectance[3] / DEFAULT.coarse_truth(d)[3], np.nan))
        for d, s in zip(DEFAULT.dates[::EVERY], coarse_season, strict=True)
        if s.clear.mean() > 0.5
    ]
    assert 0.01 < np.std(ratios) < 0.08


# --- difficulty ---------------------------------------------------------------------------------


def test_direct_methods_leave_much_to_be_learned(season):
    fine, coarse, clear = season
    good = [i for i, c in enumerate(clear) if c > 0.9]
    withheld = [(good[k - 1], good[k], good[k + 1]) for k in range(1, len(good) - 1)]
    assert len(withheld) >= 4
    for before, target, after in withheld:
        score = direct(fine, coarse, before, target, after)
        floor = 1.3 * regression(fine, coarse, before, target, after)
        assert {name: value for name, value in score.items() if value < floor} == {}, target


def test_coarse_change_helps_around_the_event_and_hurts_elsewhere(season):
    fine, coarse, _ = season
    gain = {}
    for target in range(1, len(fine) - 1):
        score = direct(fine, coarse, target - 1, target, target + 1)
        gain[target] = score["linear"] / score["F + dC"]
    after = int(np.searchsorted(DEFAULT.fine_dates, DEFAULT.event_date))
    assert gain[after] > 1.3
    assert min(gain.values()) < 0.95


def test_sensors_respond_differently_to_change_in_every_band_and_season(season):
    fine, coarse, _ = season

    def block(stack):
        return stack.reshape(6, 8, 48, 8, 48).mean(axis=(2, 4)).reshape(6, -1)

    slopes = []
    for a, b in ((0, 2), (3, 5), (5, 6), (7, 10)):
        df, dc = block(fine[b] - fine[a]), block(coarse[b] - coarse[a])
        df, dc = df - df.mean(1, keepdims=True), dc - dc.mean(1, keepdims=True)
        slopes.append((df * dc).sum(1) / (df**2).sum(1))
    mean = np.mean(slopes, axis=0)
    assert np.all(mean[[2, 3, 4]] < 0.85)
    assert np.all(mean[[0, 5]] > 1.1)
    assert np.ptp(mean) > 0.4


def test_true_bias_gives_an_exact_prediction(season):
    fine, coarse, _ = season
    bias = (fine[6] - fine[5]) - (coarse[6] - coarse[5])
    np.testing.assert_allclose(fine[5] + (coarse[6] - coarse[5]) + bias, fine[6], atol=1e-6)
    without = rmse(fine[5] + (coarse[6] - coarse[5]), fine[6])
    assert without > 0.015


# --- files --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    region = SyntheticRegion(shape=(75, 90), days=33)
    folder, calls = tmp_path_factory.mktemp("archive"), []
    landsat = write_landsat(region, folder / "landsat", lambda *at: calls.append(at))
    modis = write_mod09ga(region, folder / "modis", lambda *at: calls.append(at))
    return region, landsat, modis, calls


def read(path):
    import rasterio

    with rasterio.open(path) as source:
        return source.read(1), source.transform, source.crs, source.nodata


def test_landsat_files(archive):
    region, paths, _, calls = archive
    assert len(paths) == 3 * 8
    assert calls[:3] == [(1, 3), (2, 3), (3, 3)]
    name = re.compile(r"LC08_L2SP_093084_(\d{8})_\d{8}_02_T1_(SR_B[2-7]|QA_PIXEL|QA_RADSAT)\.TIF")
    fills = 0
    for path in paths:
        found = name.fullmatch(path.name)
        assert found
        assert path.name.startswith(path.parent.name)
        day = f"{found[1][:4]}-{found[1][4:6]}-{found[1][6:]}"
        scene = region.fine_scene(day)
        values, transform, crs, nodata = read(path)
        assert values.dtype == np.uint16
        assert transform == region.fine_geobox.transform
        # As archives deliver south of the equator: northern zone, edges at odd halves of a pixel.
        assert crs.to_epsg() == 32655
        assert transform.f < 0
        assert transform.c % 30 == transform.f % 30 == 15
        if found[2] == "QA_PIXEL":
            np.testing.assert_array_equal(values, scene.qa_pixel)
        elif found[2] == "QA_RADSAT":
            assert not values.any()
        else:
            assert nodata == 0
            band = scene.reflectance[int(found[2][-1]) - 2]
            inside = values != 0
            np.testing.assert_array_equal(inside, np.isfinite(band))
            decoded = values[inside] * 2.75e-5 - 0.2
            np.testing.assert_allclose(decoded, band[inside], atol=1.4e-5)
            fills += int((~inside).sum())
    assert fills > 0


def test_mod09ga_files(archive):
    region, _, paths, calls = archive
    assert len(paths) == 33 * 7
    assert calls[-1] == (33, 33)
    order = {"03": 0, "04": 1, "01": 2, "02": 3, "06": 4, "07": 5}
    name = re.compile(r"MOD09GA\.061_(?:sur_refl_b(\d\d)|state_1km)_1_doy(\d{7})0{6}_aid0001\.tif")
    for path in paths[:70]:
        found = name.fullmatch(path.name)
        assert found
        date = region.dates[int(found[2]) - 2021091]
        scene = region.coarse_scene(date)
        values, transform, _, nodata = read(path)
        if found[1] is None:
            np.testing.assert_array_equal(values, scene.state_1km)
            assert transform == region.state_geobox.transform
            continue
        band = scene.reflectance[order[found[1]]]
        assert nodata == -28672
        assert values.dtype == np.int16
        assert transform == region.coarse_geobox.transform
        seen = values != -28672
        np.testing.assert_array_equal(seen, np.isfinite(band))
        np.testing.assert_allclose(values[seen] * 1e-4, band[seen], atol=5.1e-5)


def test_large_files_are_tiled(tmp_path):
    import rasterio

    region = SyntheticRegion(shape=(260, 300), days=1, coarse_margin=0)
    with rasterio.open(write_landsat(region, tmp_path)[0]) as source:
        assert source.block_shapes == [(256, 256)]
        assert source.compression.name == "deflate"


def test_the_products_of_this_package_read_the_files(archive):
    from biastf_xr.sources import build_product

    region, landsat, modis, _ = archive
    for name, folder, dates, geobox, take in (
        (
            "landsat-c2-l2",
            landsat[0].parents[1],
            region.fine_dates,
            region.fine_geobox,
            region.fine_scene,
        ),
        ("mod09ga", modis[0].parent, region.dates, region.coarse_geobox, region.coarse_scene),
    ):
        product = build_product(name)
        scenes = product.find_scenes(folder)
        np.testing.assert_array_equal([s.date for s in scenes], dates)
        values = product.to_reflectance(product.open_scene(scenes[0]))
        truth = take(dates[0])
        usable = np.isfinite(values["nir"].to_numpy())
        assert values["nir"].shape == geobox.shape
        assert usable.mean() > 0.6
        assert not np.any(usable & ~truth.clear)
