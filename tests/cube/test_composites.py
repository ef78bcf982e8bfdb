"""Composites of several days: dated by their middle, paired by the days that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import xarray as xr
from checks import facts
from rasterio.transform import from_origin

import biastf_xr
from biastf_xr.cube import ingest, open_cube
from biastf_xr.cube._guards import images_of, pair_cubes, span_of
from biastf_xr.cube._quality import check_pairs
from biastf_xr.errors import ConfigError, CubeStructureError, MissingPairError
from biastf_xr.sources import build_product

DAY = np.timedelta64(1, "D")
# Reflectance in time has its kinks on the middle days of the composites of 16 days.
NAMED = np.array(["2021-04-07", "2021-04-23", "2021-05-09"], "M8[D]")
MIDDLE, LEVEL = NAMED + 8 * DAY, np.array([0.1, 0.3, 0.2])
FINE = np.array(["2021-04-12", "2021-05-13"], "M8[D]")


def ground(days):
    """Return the reflectance of every pixel on some days."""
    days = np.asarray(days, "M8[D]")
    return np.interp(days.astype(int), MIDDLE.astype(int), LEVEL)


def write(path, level, pixels, size):
    values = np.full((1, pixels, pixels), level, np.float32)
    values += np.float32(1e-3) * np.arange(pixels)  # not one value everywhere
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": "EPSG:32755"}
    grid = {"height": pixels, "width": pixels, "transform": from_origin(6e5, 6e6, size, size)}
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(path, "w", **profile, **grid) as file:
        file.write(values)


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """Ingest two fine scenes and three composites named by their first day."""
    folder = tmp_path_factory.mktemp("composites")
    for day in FINE:
        write(folder / "fine" / f"F_{day}.tif", ground([day])[0], 24, 30)
    for day, level in zip(NAMED, LEVEL, strict=True):
        write(folder / "coarse" / f"C_{day}.tif", level, 6, 120)
    fine = build_product("geotiff", layers=["nir"], pattern="F_%Y-%m-%d.tif")
    coarse = build_product("geotiff", layers=["nir"], pattern="C_%Y-%m-%d.tif", span=[0, 15])
    ingest(fine, folder / "fine", folder / "fine.zarr", kind="fine")
    ingest(coarse, folder / "coarse", folder / "coarse.zarr", kind="coarse")
    return open_cube(folder / "fine.zarr"), open_cube(folder / "coarse.zarr")


def test_a_composite_is_dated_by_its_middle_and_knows_its_days(cubes):
    fine, coarse = cubes
    np.testing.assert_array_equal(coarse["time"].values.astype("M8[D]"), MIDDLE)
    assert (span_of(coarse), span_of(fine)) == ((-8, 7), (0, 0))


def test_a_fine_scene_is_paired_with_the_composite_of_its_day(cubes):
    pair = pair_cubes(*cubes)
    assert not np.isin(pair.fine_days, pair.coarse_days).any()
    np.testing.assert_array_equal(pair.coarse_of(FINE), [0, 2])
    assert check_pairs(*cubes).sizes["time"] == 2


def test_every_day_is_fused_to_the_true_value(cubes):
    """The dates of the composites are right to the day, or the kinks would lie elsewhere."""
    made = biastf_xr.fuse(*cubes, "direct").load()
    days = made["time"].values.astype("M8[D]")
    assert (days[0], days[-1]) == (NAMED[0], NAMED[-1] + 15 * DAY)
    seen = (days >= MIDDLE[0]) & (days <= MIDDLE[-1])
    middle = made["nir"].values[seen][:, 12, 12] - 12e-3
    np.testing.assert_allclose(middle, ground(days[seen]), atol=0.005)


def test_a_method_learns_from_the_fine_days_of_composites(cubes):
    fitted = biastf_xr.fit(*cubes, "biastf-plus")
    assert fitted.card.days == tuple(map(str, FINE))
    assert np.isfinite(biastf_xr.fuse(*cubes, fitted)["nir"].values).all()


def test_composites_that_stand_for_no_fine_day_are_refused_with_their_days(cubes):
    fine, coarse = cubes
    with pytest.raises(MissingPairError, match=facts("2021-04-12", "2021-05-01", "-8", "7")):
        pair_cubes(fine, coarse.isel(time=[1]))


def test_a_dataset_of_ones_own_is_labelled_with_the_middle_of_its_days(cubes):
    """As somebody has it who did not ingest: named by the first of sixteen days."""
    fine, coarse = cubes
    own = coarse.assign_coords(time=NAMED.astype("M8[ns]")).assign_attrs(biastf_span=[0, 15])
    whole = biastf_xr.fuse(fine, coarse, "direct")
    xr.testing.assert_identical(biastf_xr.fuse(fine, own, "direct")["nir"], whole["nir"])
    with pytest.raises(MissingPairError, match=facts("biastf_span", "[0, 15]")):
        pair_cubes(fine, own.drop_attrs(deep=False))


@pytest.mark.parametrize("span", [7, [1], ["a", "b"]])
def test_a_span_of_a_dataset_that_is_none_is_refused(cubes, span):
    fine, coarse = cubes
    with pytest.raises(CubeStructureError, match=facts("biastf_span", str(span))):
        pair_cubes(fine, coarse.assign_attrs(biastf_span=span))


def test_the_future_in_a_composite_is_not_scored_forward(cubes):
    with pytest.raises(MissingPairError, match=facts("7 days", "2021-05-13")):
        biastf_xr.evaluate(*cubes, "direct", design="forward", dates="2021-05-13")


@pytest.mark.parametrize("span", [[0], [3, 1], [0, 1.5], [0, 4000], ["0", "15"]])
def test_a_span_that_is_none_is_refused(span):
    with pytest.raises(ConfigError, match=facts("span", "[0, 15]")):
        build_product("geotiff", layers=["nir"], pattern="C_%Y%j.tif", span=span)


def test_the_image_of_a_day_is_the_nearest_whose_span_holds_it(cubes):
    _, coarse = cubes
    rng = np.random.default_rng(0)
    for _ in range(300):
        first, last = -int(rng.integers(0, 12)), int(rng.integers(0, 12))
        held = np.sort(rng.choice(200, rng.integers(1, 20), replace=False))
        time = np.datetime64("2021-01-01", "D") + held
        cube = coarse.isel(time=[0]).drop_vars(["time", "scenes", "clear_fraction"])
        cube = cube.isel(time=np.zeros(held.size, int)).assign_coords(time=time.astype("M8[s]"))
        cube.attrs["biastf_span"] = [first, last]
        days = rng.integers(-20, 220, 50)
        apart = np.abs(days[:, None] - held).astype(float)
        since = days[:, None] - held
        apart[(since < first) | (since > last)] = np.inf
        nearest = np.where(np.isinf(apart.min(axis=1)), -1, apart.argmin(axis=1))
        found = images_of(cube, np.datetime64("2021-01-01", "D") + days)
        np.testing.assert_array_equal(found, nearest)
