"""Values that are no reflectance are missing, or the image is refused: at every door."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import xarray as xr
from checks import facts
from rasterio.transform import from_origin

import biastf_xr
from biastf_xr.cube import Cube, ingest, open_cube
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.cube._plausible import check_image, find_fill
from biastf_xr.errors import ReflectanceRangeError, SceneError
from biastf_xr.sources import build_product

SHAPE = (200, 200)
BANDS = ("green", "red", "nir")


def image(seed=0, shape=SHAPE):
    """Make reflectance of three bands, with shadows below 0 and snow above 1."""
    values = np.random.default_rng(seed).uniform(0.02, 0.5, (3, *shape)).astype(np.float32)
    values[:, :2] = np.linspace(-0.19, -0.01, 2 * shape[1]).reshape(2, -1)
    values[:, 2:4] = np.linspace(1.0, 1.59, 2 * shape[1]).reshape(2, -1)
    return values


def somewhere(count, seed=1, shape=SHAPE):
    """Choose pixels."""
    chosen = np.zeros(shape, bool)
    chosen.ravel()[np.random.default_rng(seed).permutation(chosen.size)[:count]] = True
    return chosen


# --- one image ----------------------------------------------------------------------------------


def test_shadows_and_snow_are_reflectance():
    clear, spike = find_fill(image(), (0.0,))
    assert clear.all()
    assert spike is None


def test_missing_pixels_are_not_clear_and_no_fault():
    values = image()
    values[1, 5], values[:, 6] = np.nan, np.nan
    values[0, 7] = np.inf
    clear, spike = find_fill(values)
    assert spike is None
    assert (~clear).sum() == 3 * SHAPE[1]
    assert not clear[5:8].any()


@pytest.mark.parametrize("value", [-0.9999, -2.8672, 3.2767, 6.5535, -0.2, 1.6, 2.0, 1.6022])
@pytest.mark.parametrize("bands", [[0], [2], [0, 1, 2]])
@pytest.mark.parametrize("count", [5, 400, 10_000, 39_000])
def test_spike_of_an_impossible_value_is_found(value, bands, count):
    values, where = image(), somewhere(count)
    for band in bands:
        values[band, where] = value
    clear, spike = find_fill(values)
    np.testing.assert_array_equal(clear, ~where)
    assert spike is not None
    assert (spike.value, spike.band) == (np.float32(value), bands[0])
    assert spike.alike
    assert spike.share == pytest.approx(count / where.size)
    assert where[spike.at]


@pytest.mark.parametrize("value", [-0.9999, 6.5535, -0.2, 1.6022])
def test_a_share_below_one_in_ten_thousand_is_missing(value):
    values, where = image(), somewhere(4)
    values[1, where] = value
    clear, spike = find_fill(values)
    np.testing.assert_array_equal(clear, ~where)
    assert spike is None


def test_tail_of_glare_is_missing_and_refuses_nothing():
    values, where = image(), somewhere(300)
    values[2, where] = np.random.default_rng(2).uniform(1.6, 1.99, 300)
    values[0, 8, :50] = np.random.default_rng(3).uniform(-0.4, -0.2, 50)
    clear, spike = find_fill(values)
    where[8, :50] = True
    np.testing.assert_array_equal(clear, ~where)
    assert spike is None


def test_fill_that_was_interpolated_has_many_values_and_is_found():
    values, where = image(), somewhere(300)
    values[2, where] = np.random.default_rng(2).uniform(-0.99, -0.2, 300)
    clear, spike = find_fill(values)
    np.testing.assert_array_equal(clear, ~where)
    assert spike is not None
    assert not spike.alike


def test_two_fill_values_are_found():
    values = image()
    values[:, 10:15], values[:, 15:21] = -0.9999, -2.8672
    _, spike = find_fill(values)
    assert spike is not None
    assert (spike.alike, spike.value) == (True, np.float32(-2.8672))


@pytest.mark.parametrize("blank", [0.0, 0.9999, -0.1])
def test_value_of_every_band_at_once_is_found(blank):
    values, where = image(), somewhere(10)
    values[:, where] = blank
    assert find_fill(values)[1] is None
    clear, spike = find_fill(values, (0.5, blank))
    np.testing.assert_array_equal(clear, ~where)
    assert spike is not None
    assert (spike.value, spike.band) == (np.float32(blank), None)


def test_zero_in_one_band_is_a_measurement():
    values = image()
    values[0, 20:80] = 0.0
    clear, spike = find_fill(values, (0.0,))
    assert clear.all()
    assert spike is None


def test_message_tells_band_value_and_share():
    values = image()
    values[1, :50] = -0.9999
    with pytest.raises(
        ReflectanceRangeError, match=facts("it: ", "25 %", "-0.9999", "band red", "do so")
    ):
        check_image(values, "it", BANDS, lambda _: "do so")


# --- ingest -------------------------------------------------------------------------------------


def write(path, numbers, **profile):
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = numbers.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=numbers.dtype,
        crs="EPSG:32755", transform=from_origin(455_985, 6_171_015, 30, 30), **profile,
    ) as file:  # fmt: skip
        file.write(numbers)


def product(**options):
    return build_product("geotiff", layers=BANDS, pattern="L_%Y%m%d.tif", **options)


SCALES = {
    "int16": (1e-4, 0.0), "uint16": (1e-4, 0.0), "float32": (1e-4, 0.0), "float64": (1.0, 0.0),
    "landsat": (2.75e-5, -0.2), "sentinel": (1e-4, -0.1), "uint8": (1 / 255, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("count", [5, 10_000])
@pytest.mark.parametrize(
    ("scale", "fill"),
    [
        ("int16", -9999), ("int16", -28672), ("int16", 32767), ("int16", -32768), ("int16", 0),
        ("int16", 20_000), ("int16", 9999), ("uint16", 65535), ("uint16", 0), ("float32", -9999),
        ("float32", 0), ("float64", -1), ("float64", -3.4e38), ("float64", 0), ("landsat", 0),
        ("landsat", 65535), ("sentinel", 0), ("sentinel", 65535), ("uint8", 0), ("uint8", 255),
    ],
)  # fmt: skip
def test_fill_without_a_tag_is_refused_and_masked_once_it_is_stated(tmp_path, scale, fill, count):
    factor, offset = SCALES[scale]
    kind = scale if scale in np.sctypeDict else "uint16"
    truth = np.clip(image(), 0.02, 0.98 if scale == "uint8" else 1.5)
    numbers = (truth.astype("float64") - offset) / factor
    numbers = (numbers.round() if np.dtype(kind).kind in "iu" else numbers).astype(kind)
    where = somewhere(count)
    numbers[:, where] = fill
    write(tmp_path / "in" / "L_20210401.tif", numbers)
    said = facts("L_20210401.tif", f"{100 * count / where.size:.3g} %", f"nodata = {fill:g}")
    with pytest.raises(SceneError, match=said):
        ingest(product(factor=factor, offset=offset), tmp_path / "in", tmp_path / "c", kind="fine")
    stated = product(factor=factor, offset=offset, nodata=fill)
    ingest(stated, tmp_path / "in", tmp_path / "c.zarr", kind="fine")
    got = open_cube(tmp_path / "c.zarr").load()
    want = numbers.astype("float32") * np.float32(factor) + np.float32(offset)
    for band, values in zip(BANDS, want, strict=True):
        np.testing.assert_allclose(got[band][0], np.where(where, np.nan, values), atol=2e-4)


def test_fill_that_is_rare_is_missing_in_the_cube(tmp_path):
    numbers, where = (image() * 1e4).round().astype("int16"), somewhere(3)
    numbers[:, where] = -9999
    write(tmp_path / "in" / "L_20210401.tif", numbers)
    ingest(product(factor=1e-4), tmp_path / "in", tmp_path / "c.zarr", kind="fine")
    got = open_cube(tmp_path / "c.zarr").load()
    assert (np.isnan(got["nir"][0]) == where).all()


def test_zero_that_is_measured_is_said_so(tmp_path):
    numbers = (np.clip(image(), 0, None) * 1e4).round().astype("int16")
    numbers[:, :40] = 0
    write(tmp_path / "in" / "L_20210401.tif", numbers)
    with pytest.raises(SceneError, match=facts("nodata = 0", "valid_min", "every band")):
        ingest(product(factor=1e-4), tmp_path / "in", tmp_path / "c.zarr", kind="fine")
    taken = product(factor=1e-4, valid_min=0)
    ingest(taken, tmp_path / "in", tmp_path / "c.zarr", kind="fine")
    assert np.isfinite(open_cube(tmp_path / "c.zarr")["nir"].values).all()


# --- Datasets of one's own ----------------------------------------------------------------------

DOORS = {
    "fuse": lambda fine, coarse: biastf_xr.fuse(fine, coarse, "direct").compute(),
    "fuse one band": lambda f, c: biastf_xr.fuse(f, c, "direct")[["nir"]].compute(),
    "fit": biastf_xr.fit,
    "plan": biastf_xr.plan,
    "evaluate": lambda fine, coarse: biastf_xr.evaluate(fine, coarse, ["linear"]),
}


@pytest.fixture
def cubes(make_pair):
    """Return two cubes in memory with 4 days that both have."""
    return make_pair(shape=(96, 80), fine_days=(0, 4, 8, 12), coarse_days=range(13))


def lazily(ds):
    """Return a cube that is read block by block, as a user may chunk it."""
    return ds.chunk({"time": 1, "y": 48, "x": 48})


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("form", [xr.Dataset.copy, lazily])
@pytest.mark.parametrize("which", ["fine", "coarse"])
def test_fill_in_a_dataset_is_refused_at_every_door(cubes, door, form, which):
    fine, coarse = cubes
    given = {"fine": fine, "coarse": coarse}
    ds = given[which]
    given[which] = ds.where((ds["x"] > ds["x"][ds.sizes["x"] // 4]) | ds["x"].isnull(), -9999)
    with pytest.raises(ReflectanceRangeError, match=facts(f"{which} cube", "-9999", ".where(")):
        DOORS[door](form(given["fine"]), form(given["coarse"]))


@pytest.mark.parametrize("form", [xr.Dataset.copy, lazily])
def test_fill_in_few_pixels_of_one_day_is_refused(cubes, form):
    fine, coarse = cubes
    fine["nir"][2, 33, 7:10] = -9999.0  # none of the pixels of a sample
    with pytest.raises(ReflectanceRangeError, match=facts("fine cube", "-9999", "band nir")):
        biastf_xr.fuse(form(fine), form(coarse), "direct").compute()


def test_day_of_the_fault_is_named(cubes):
    fine, coarse = cubes
    fine["nir"][2, 33, 7:10] = -9999.0
    with pytest.raises(ReflectanceRangeError, match="2021-04-09"):
        pair_cubes(fine, coarse)


@pytest.mark.parametrize("form", [xr.Dataset.copy, lazily])
def test_a_band_of_nothing_but_water_is_taken(cubes, form):
    fine, coarse = (ds.assign(nir=ds["nir"] * 1e-3) for ds in cubes)
    made = biastf_xr.fuse(form(fine), form(coarse), "direct").compute()
    assert np.isfinite(made["nir"]).all()


@pytest.mark.parametrize("form", [xr.Dataset.copy, lazily])
def test_cube_that_was_scaled_twice_is_refused(cubes, form):
    fine, coarse = cubes
    with pytest.raises(ReflectanceRangeError, match=facts("coarse cube", "scaled already")):
        pair_cubes(form(fine), form(coarse) * 1e-4)


@pytest.mark.parametrize("form", [xr.Dataset.copy, lazily])
def test_one_impossible_value_is_missing(cubes, form):
    fine, coarse = cubes
    want = fine["nir"].copy(deep=True)
    want[2, 33, 7] = np.nan
    fine["nir"][2, 33, 7] = -0.9999
    pair = pair_cubes(form(fine), form(coarse))
    xr.testing.assert_equal(pair.fine["nir"].compute(), want)
    assert fine["nir"][2, 33, 7] == np.float32(-0.9999)  # what the user gave stays as it is


def test_zero_in_every_band_of_a_dataset_is_refused(cubes):
    fine, coarse = cubes
    fine = fine.where(fine["x"] > fine["x"][20], 0.0)
    for form in (xr.Dataset.copy, lazily):
        with pytest.raises(ReflectanceRangeError, match=facts("0 in every band", ".where(")):
            pair_cubes(form(fine), form(coarse))


def test_change_of_a_cube_in_memory_is_seen(small_cubes):
    fine, coarse = open_cube(small_cubes.fine).load(), open_cube(small_cubes.coarse)
    fine["nir"][:, :10] = -9999.0
    with pytest.raises(ReflectanceRangeError, match=facts("fine cube", "-9999", "nir")):
        pair_cubes(fine, coarse)


@pytest.mark.parametrize("method", ["direct", "biastf-plus"])
def test_store_that_somebody_else_wrote_is_checked(small_cubes, tmp_path, method):
    ours = open_cube(small_cubes.fine, days="all").load()
    bands = [b for b in ours.data_vars if ours[b].dtype.kind == "f"]
    theirs = ours.assign({b: ours[b].fillna(-9999.0) for b in bands})
    for name in theirs.variables:
        theirs[name].encoding = {
            k: v for k, v in ours[name].encoding.items() if k in {"chunks", "shards"}
        }
    theirs.to_zarr(tmp_path / "theirs.zarr", zarr_format=3, consolidated=False)
    assert not Cube(tmp_path / "theirs.zarr").checked
    assert Cube(small_cubes.fine).checked
    with pytest.raises(ReflectanceRangeError, match="-9999"):
        biastf_xr.write_fused(
            tmp_path / "theirs.zarr", small_cubes.coarse, tmp_path / "fused.zarr", method
        )
    with pytest.raises(ReflectanceRangeError, match="-9999"):
        biastf_xr.fuse(
            open_cube(tmp_path / "theirs.zarr"), open_cube(small_cubes.coarse), method
        ).compute()
