"""Stores: what plain xarray sees, whole windows, and publishing at once."""

from __future__ import annotations

import json
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import xarray as xr
import zarr
from checks import facts

from biastf_xr.cube import CubeSpec, Layout
from biastf_xr.cube._cube import (
    Cube,
    bands_of,
    layout_of,
    open_cube,
    spec_of,
    write_window,
)
from biastf_xr.cube._template import build_template, write_template
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import CubeExistsError, CubeStructureError
from biastf_xr.grid import Tile, geobox_of

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")


@pytest.fixture
def empty(tmp_path, make_pair):
    """Write a cube of three days, two with a scene; chunks of 8, shards of 16."""
    fine, _ = make_pair(shape=(24, 40))
    layout = Layout.build("fine", (24, 40), chunk=8, shard=16)
    spec = CubeSpec("fine", ("red", "nir"), geobox_of(fine, "fine"), layout)
    scenes = ("time", np.array(['["a"]', "", '["b"]'], np.dtypes.StringDType()))
    days = np.datetime64("2021-04-01") + np.arange(3)
    with store_at(tmp_path / "cube.zarr").build("test", replace=False) as edit:
        write_template(build_template(spec, days, {"scenes": scenes}), spec, edit.store)
    return tmp_path / "cube.zarr"


# --- plain xarray -------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["fine", "coarse"])
def test_plain_xarray_opens_a_cube_without_a_warning(small_cubes, small_region, which):
    path = getattr(small_cubes, which)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = xr.open_zarr(path)
        values = ds.compute()
    extras = {"view_zenith", "obs_coverage"} if which == "coarse" else {"screen"}
    assert set(ds.data_vars) == {*BANDS, "clear", "source"} | extras
    assert ds["time"].dtype.kind == "M"
    dates = small_region.fine_dates if which == "fine" else small_region.coarse_dates
    assert (np.diff(ds["time"].to_numpy()) == np.timedelta64(1, "D")).all()
    np.testing.assert_array_equal(ds["time"].values[ds["scenes"].values != ""], dates)
    values = values.sel(time=dates)
    assert "spatial_ref" in ds.coords
    assert ds["clear"].dtype == np.uint8
    for band in BANDS:
        assert ds[band].dtype == np.float32
        assert ds[band].dims == ("time", "y", "x")
        assert ds[band].attrs["units"] == "1"
        assert ds[band].attrs["grid_mapping"] == "spatial_ref"
        missing = np.isnan(values[band])
        assert 0 < float(missing.mean()) < 0.9
        np.testing.assert_array_equal(missing, values["clear"] == 0)


@pytest.mark.parametrize("which", ["fine", "coarse"])
def test_grid_is_read_by_both_geospatial_libraries(small_cubes, small_region, which):
    import odc.geo.xr  # noqa: F401
    import rioxarray  # noqa: F401

    ds = xr.open_zarr(getattr(small_cubes, which))
    geobox = getattr(small_region, f"{which}_geobox")
    assert ds.odc.geobox == geobox
    assert ds["nir"].odc.geobox == geobox
    assert ds.rio.crs.to_epsg() == 32655
    assert ds["nir"].rio.crs.to_epsg() == 32655
    assert ds["nir"].rio.transform() == geobox.affine
    assert np.isnan(ds["nir"].rio.encoded_nodata or ds["nir"].rio.nodata)


def test_part_of_a_cube_keeps_its_own_grid(small_cubes, small_region):
    part = open_cube(small_cubes.fine).isel(y=slice(10, 30), x=slice(5, 6))
    assert geobox_of(part, "part") == small_region.fine_geobox[10:30, 5:6]


# --- open ---------------------------------------------------------------------------------------


def test_dask_chunks_equal_the_shards(empty):
    ds = open_cube(empty)
    assert layout_of(ds) == Layout(1, 8, 8, 16, 16)
    assert ds["red"].chunks == ((1, 1), (16, 8), (16, 16, 8))
    assert ds["clear"].chunks == ds["red"].chunks


def test_days_without_a_scene_are_left_out_unless_asked_for(empty):
    days = ["2021-04-01", "2021-04-02", "2021-04-03"]
    assert list(open_cube(empty)["time"].values.astype("M8[D]").astype(str)) == days[::2]
    assert list(open_cube(empty, days="all")["time"].values.astype("M8[D]").astype(str)) == days


def test_chunks_may_be_chosen_or_left_out(empty):
    assert open_cube(empty, chunks={"y": 24, "x": 40})["red"].chunks[1:] == ((24,), (40,))
    direct = open_cube(empty, chunks=None)
    assert direct["red"].chunks is None
    xr.testing.assert_identical(direct.load(), open_cube(empty).load())


def test_cube_is_described_as_it_was_specified(empty, make_pair):
    spec = spec_of(open_cube(empty, chunks=None))
    assert spec.kind == "fine"
    assert spec.bands == ("red", "nir")
    assert spec.layout == Layout(1, 8, 8, 16, 16)
    assert spec.geobox == geobox_of(make_pair(shape=(24, 40))[0], "fine")


def test_bands_are_floats_with_all_three_dims_in_their_one_order(small_cubes):
    ds = open_cube(small_cubes.coarse, chunks=None)
    assert bands_of(ds) == BANDS


def test_no_store_is_refused(tmp_path):
    with pytest.raises(CubeStructureError, match=facts("absent", "biastf-xr ingest")):
        open_cube(tmp_path / "absent")
    with pytest.raises(CubeStructureError, match=facts(tmp_path, "biastf-xr ingest")):
        open_cube(tmp_path)


@pytest.mark.parametrize("version", [1, None])
def test_store_of_another_structure_version_is_refused(empty, version):
    meta = json.loads((empty / "zarr.json").read_text())
    del meta["attributes"]["biastf_structure"]
    if version is not None:
        meta["attributes"]["biastf_structure"] = version
    (empty / "zarr.json").write_text(json.dumps(meta))
    with pytest.raises(CubeStructureError, match=facts("cube.zarr", f"version {version}", "2")):
        open_cube(empty)


# --- windows ------------------------------------------------------------------------------------


def test_window_is_written_within_the_stated_error_and_nothing_around_it(empty):
    rng = np.random.default_rng(0)
    values = rng.uniform(-0.2, 1.6, (1, 8, 16)).astype(np.float32)
    values[0, 0, :3] = np.nan
    tile = Tile(16, 24, 0, 16)
    clear = np.isfinite(values).astype(np.uint8)
    with store_at(empty).edit("test") as edit:
        write_window(edit.store, slice(1, 2), tile, {"red": values, "clear": clear})
    ds = xr.open_zarr(empty).load()
    got = ds["red"][1, 16:24, :16].to_numpy()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(values[0]))
    seen = clear[0] == 1
    assert (np.abs(got - values[0])[seen] <= 2.0**-13 * np.abs(values[0])[seen]).all()
    np.testing.assert_array_equal(ds["clear"][1, 16:24, :16], clear[0])
    assert int(np.isfinite(ds["red"]).sum()) == seen.sum()
    assert np.isnan(ds["nir"]).all()
    assert int(ds["clear"].sum()) == seen.sum()


def test_window_reader_gives_what_xarray_gives(small_cubes):
    read = Cube(small_cubes.coarse).reader(("nir", "red"))
    ds = xr.open_zarr(small_cubes.coarse)
    tile = Tile(2, 7, 3, 9)
    want = np.stack([ds[b][:, 2:7, 3:9].to_numpy() for b in ("nir", "red")])
    got = read(slice(3, 9), tile)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want[:, 3:9])
    np.testing.assert_array_equal(read(5, tile), want[:, 5])


# --- publishing ---------------------------------------------------------------------------------


@contextmanager
def building(path, *, replace):
    with store_at(path).build("test", replace=replace) as edit:
        yield edit.store.root


def fill(folder, text):
    zarr.create_group(folder, attributes={"content": text})


def content(path):
    return zarr.open_group(path, mode="r").attrs["content"]


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_store_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "deep" / "cube.zarr"
    with building(path, replace=False) as partial:
        fill(partial, "new")
        assert not path.exists()
    assert content(path) == "new"
    assert names(path.parent) == ["cube.zarr"]


def test_store_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "cube.zarr"
    fill(path, "old")
    with building(path, replace=True) as partial:
        fill(partial, "new")
        assert content(path) == "old"
    assert content(path) == "new"
    assert names(tmp_path) == ["cube.zarr"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failing_body_leaves_the_old_store_and_nothing_else(tmp_path, error):
    path = tmp_path / "cube.zarr"
    fill(path, "old")

    def build():
        with building(path, replace=True) as partial:
            fill(partial, "half")
            raise error

    with pytest.raises(error):
        build()
    assert content(path) == "old"
    assert names(tmp_path) == ["cube.zarr"]


def test_existing_store_is_kept_unless_told_to_replace_it(tmp_path):
    path = tmp_path / "cube.zarr"
    fill(path, "old")
    with (
        pytest.raises(CubeExistsError, match=facts("cube.zarr", "--overwrite")),
        building(path, replace=False),
    ):
        pytest.fail("the body must not run")
    assert content(path) == "old"


@pytest.mark.parametrize("replace", [True, False])
def test_run_killed_between_the_renames_loses_nothing(tmp_path, replace):
    path = tmp_path / "cube.zarr"
    fill(tmp_path / ".cube.zarr.old", "old")
    fill(tmp_path / ".cube.zarr.partial", "new, of the killed run")

    def build():
        with building(path, replace=replace):
            assert content(path) == "old"
            raise RuntimeError

    with pytest.raises((CubeExistsError, RuntimeError)):
        build()
    assert content(path) == "old"


def test_leftovers_of_a_killed_run_do_not_enter_the_next(tmp_path):
    path = tmp_path / "cube.zarr"
    fill(tmp_path / ".cube.zarr.partial", "half")
    with building(path, replace=False) as partial:
        assert not [*partial.iterdir()]
        fill(partial, "new")
    assert names(tmp_path) == ["cube.zarr"]


def test_folder_that_is_no_cube_is_never_replaced(tmp_path):
    path = tmp_path / "cube.zarr"
    path.mkdir()
    (path / "precious.txt").write_text("mine")
    with (
        pytest.raises(CubeStructureError, match=facts("cube.zarr")),
        building(path, replace=True),
    ):
        pytest.fail("the body must not run")
    assert (path / "precious.txt").read_text() == "mine"
