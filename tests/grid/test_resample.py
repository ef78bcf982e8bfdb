"""From scenes to windows of the analysis grid: copies, means, interpolation; the same in tiles."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from biastf_xr.grid import plan_resampling, shifted
from biastf_xr.sources._granules import SINUSOIDAL, tile_transform

UTM = "EPSG:32755"
SIN = GeoBox((300, 320), Affine(463.3127, 0, 13_400_000, 0, -463.3127, -3_800_000), SINUSOIDAL)


def box(shape=(40, 50), corner=(600.0, 9000.0), size=30.0, crs=UTM):
    return GeoBox(shape, Affine(size, 0, corner[0], 0, -size, corner[1]), crs)


def whole(source, target, image, how="auto"):
    """Resample a whole image, shape (band, y, x)."""
    plan = plan_resampling(source, target, how)
    rows, cols = plan.window.slices
    return plan(np.ascontiguousarray(image[:, rows, cols]))


def over_sinusoidal():
    """Return a UTM grid of 480 m in the middle of the sinusoidal one."""
    centre = SIN[130:170, 140:180].extent.to_crs("utm").boundingbox
    crs = SIN[130:170, 140:180].extent.to_crs("utm").crs
    return GeoBox((30, 36), Affine(480, 0, centre.left, 0, -480, centre.top), crs)


def field(geobox):
    """Return a smooth field anywhere, evaluated at the pixel centres on the sinusoidal plane."""
    y = geobox.affine.f + (np.arange(geobox.shape[0]) + 0.5) * geobox.affine.e
    x = geobox.affine.c + (np.arange(geobox.shape[1]) + 0.5) * geobox.affine.a
    x, y = np.meshgrid(x, y)
    if geobox.crs != SIN.crs:
        x, y = geobox.crs.transformer_to_crs(SIN.crs)(x, y)
    return (0.3 + 0.1 * np.sin(x / 900) * np.cos(y / 1100)).astype("f4")[None]


@given(st.integers(-30, 30), st.integers(-30, 30))
def test_scenes_of_the_same_pixels_are_cut_and_padded_without_a_change(dy, dx):
    source = box()
    image = np.random.default_rng(0).normal(size=(2, 40, 50)).astype("f4")
    image[:, 5, 7] = np.nan
    target = box(corner=(600 + 30 * dx, 9000 - 30 * dy))
    padded = np.pad(image, ((0, 0), (40, 40), (40, 40)), constant_values=np.nan)
    want = padded[:, 40 + dy : 80 + dy, 40 + dx : 90 + dx]
    np.testing.assert_array_equal(whole(source, target, image), want)


def test_larger_pixels_are_means_by_area():
    image = np.random.default_rng(0).normal(size=(1, 40, 50)).astype("f4")
    got = whole(box(), box((10, 12), size=120.0), image)
    want = image[:, :40, :48].reshape(1, 10, 4, 12, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    # Any ratio and offset: the sum over the common area stays.
    target = box((20, 25), corner=(600 - 7, 9000 + 11), size=77.7)
    plan = plan_resampling(box(), target)
    ones = plan(np.ones((1, *plan.window.shape), "f4"))
    np.testing.assert_allclose(ones[np.isfinite(ones)], 1, rtol=1e-6)


def test_half_of_a_mean_must_be_valid():
    image = np.ones((1, 8, 8), "f4")
    image[0, :4, :3] = np.nan
    image[0, 4:, :2] = np.nan
    got = whole(box((8, 8)), box((2, 2), size=120.0), image)
    np.testing.assert_array_equal(np.isnan(got[0]), [[True, False], [False, False]])


@pytest.mark.parametrize("how", ["nearest", "bilinear", "cubic", "average"])
def test_a_tile_alone_equals_the_same_part_of_the_whole(how):
    image = np.random.default_rng(0).normal(size=(2, *SIN.shape)).astype("f4")
    image[:, np.random.default_rng(1).random(SIN.shape) < 0.1] = np.nan
    target = over_sinusoidal()
    everything = whole(SIN, target, image, how)
    for rows, cols in ((slice(0, 7), slice(3, 9)), (slice(11, 30), slice(20, 36))):
        np.testing.assert_array_equal(whole(SIN, target[rows, cols], image, how),
                                      everything[:, rows, cols])  # fmt: skip


def test_cubic_is_the_closest_of_the_kernels_and_nearest_is_never_taken_by_itself():
    target, image = over_sinusoidal(), field(SIN)
    truth = field(target)
    error = {
        how: float(np.sqrt(np.mean((whole(SIN, target, image, how) - truth) ** 2)))
        for how in ("nearest", "bilinear", "cubic", "average", "auto")
    }
    assert error["auto"] == error["cubic"] < error["bilinear"] < error["average"] < error["nearest"]
    assert error["nearest"] > 5 * error["cubic"]


def test_missing_pixels_stay_missing_and_flags_are_never_mixed():
    target, image = over_sinusoidal(), field(SIN)
    hole = np.zeros(SIN.shape, bool)
    hole[140:150, 150:165] = True
    image[:, hole] = np.nan
    got = whole(SIN, target, image)
    plan = plan_resampling(SIN, target)
    rows, cols = plan.window.slices
    flags = plan.categories(np.where(hole, 7, 3).astype("u1")[rows, cols], 255)
    assert set(np.unique(flags)) == {3, 7}
    # The kernel reaches half a pixel around the hole at most.
    assert (np.isnan(got[0]) == (flags == 7)).mean() > 0.97
    assert np.isfinite(got[0][flags == 3]).mean() > 0.97


def test_scene_elsewhere_has_no_plan():
    assert plan_resampling(box(), box(corner=(90_000, 9000))) is None
    assert plan_resampling(box(), box((4, 4), corner=(90_000, 9000), size=480.0)) is None
    assert plan_resampling(SIN, box(crs="EPSG:32632")) is None


def test_moved_scene_is_read_from_where_it_belongs():
    image = np.random.default_rng(0).normal(size=(1, 40, 50)).astype("f4")
    moved = whole(shifted(box(), 60, -90), box(), image)
    np.testing.assert_array_equal(moved[:, 3:, 2:], image[:, :-3, :-2])
    assert np.isnan(moved[:, :3]).all()


# --- across the 180th meridian ------------------------------------------------------------------


@pytest.mark.parametrize("epsg", [32701, 32760])
@pytest.mark.parametrize("how", ["cubic", "average"])
def test_tiles_on_both_sides_of_the_180th_meridian_meet(epsg, how):
    """Show a plane in x and y of the target, but for a pixel on the seam."""
    middle, _ = CRS("EPSG:4326").transformer_to_crs(CRS(f"EPSG:{epsg}"))(180, -17.2)
    target = GeoBox((64, 80), Affine(480, 0, middle - 19_200, 0, -480, 8_112_000), f"EPSG:{epsg}")
    parts = []
    for tile in ("h35v10", "h00v10"):
        source = GeoBox((2400, 2400), tile_transform(tile, 2400), SINUSOIDAL)
        plan = plan_resampling(source, target, how)
        rows, cols = plan.window.slices
        y, x = (
            start + (np.arange(span.start, span.stop) + 0.5) * step
            for start, span, step in (
                (source.affine.f, rows, source.affine.e), (source.affine.c, cols, source.affine.a),
            )
        )  # fmt: skip
        x, y = np.meshgrid(x, y)
        lon, _ = source.crs.transformer_to_crs("EPSG:4326")(x, y)
        there_x, there_y = source.crs.transformer_to_crs(target.crs)(x, y)
        # Beyond the map there is nothing.
        inside = np.isfinite(there_x) & (np.abs(there_x - middle) < 100_000)
        inside &= (lon > 0) == (tile == "h35v10")
        plane = (there_x - middle) / 1e5 + (there_y - 8_100_000) / 3e5
        parts.append(plan(np.where(inside, plane, np.nan).astype("f4")[None])[0])
    assert all(np.isfinite(part).any() for part in parts)
    found = np.where(np.isfinite(parts[0]), parts[0], parts[1])
    y = target.affine.f - (np.arange(64) + 0.5) * 480
    x = target.affine.c + (np.arange(80) + 0.5) * 480
    want = (x - middle) / 1e5 + (y[:, None] - 8_100_000) / 3e5
    lon, _ = target.crs.transformer_to_crs("EPSG:4326")(*np.meshgrid(x, y))
    away = (180 - np.abs(lon)) * 106_000
    assert np.isfinite(found[away > 500]).all()
    error = np.abs(found - want)
    assert np.nanmax(error) < 6e-3  # a pixel, on the seam itself
    assert np.nanmax(error[away > 1500]) < (3e-4 if how == "cubic" else 3e-3)


@pytest.mark.parametrize("west", [-180.0, 0.0])
def test_longitudes_of_a_scene_may_run_to_180_or_to_360(west):
    source = GeoBox((1800, 3600), Affine(0.1, 0, west, 0, -0.1, 90), "EPSG:4326")
    lon, lat = west + (np.arange(3600) + 0.5) * 0.1, 90 - (np.arange(1800) + 0.5) * 0.1
    image = np.broadcast_to(np.cos(np.radians(lon)) * 0.1 + lat[:, None] * 1e-3, source.shape)
    for crs, corner in (
        ("EPSG:32701", (160_000, 8_200_000)),  # across 180
        ("EPSG:32731", (160_000, 8_200_000)),  # across 0
        ("EPSG:32755", (460_000, 8_200_000)),
    ):
        target = GeoBox((20, 24), Affine(5000, 0, corner[0], 0, -5000, corner[1]), crs)
        found = whole(source, target, image.astype("f4")[None], "bilinear")[0]
        x, y = np.meshgrid(corner[0] + (np.arange(24) + 0.5) * 5000,
                           corner[1] - (np.arange(20) + 0.5) * 5000)  # fmt: skip
        there = target.crs.transformer_to_crs("EPSG:4326")(x, y)
        want = np.cos(np.radians(there[0])) * 0.1 + there[1] * 1e-3
        np.testing.assert_allclose(found, want, atol=2e-4)
