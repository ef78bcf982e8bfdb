"""From scene files to cubes: values, reruns, refusals that leave nothing behind."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine

from biastf_xr.cube.ingest import ingest
from biastf_xr.cube.store import layout_of, open_cube
from biastf_xr.errors import (
    CubeStructureError,
    GridMismatchError,
    ReflectanceRangeError,
    SceneError,
)
from biastf_xr.sources import build_product

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
LANDSAT = build_product("landsat-c2-l2")
TIFFS = build_product(
    "geotiff", layers=("red", "nir"), pattern="L_%Y%m%d.tif", factor=1e-4, nodata=-9999
)


def write_tiff(folder, day, *, size=(24, 20), value=None, corner=(600, 900), resolution=30):
    """Write a scene of two bands; random by default, one pixel missing."""
    rng = np.random.default_rng(int(day))
    values = rng.integers(200, 5000, (2, *size)) if value is None else np.full((2, *size), value)
    values[0, 0, 0] = -9999
    folder.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        folder / f"L_{day}.tif", "w", driver="GTiff", count=2, height=size[0], width=size[1],
        dtype="int16", crs="EPSG:32613",
        transform=Affine(resolution, 0, corner[0], 0, -resolution, corner[1]),
    ) as file:  # fmt: skip
        file.write(values.astype("int16"))
    return values


def contents(path):
    """Every file below a folder, with its bytes and its time of change."""
    return {
        str(f.relative_to(path)): (f.read_bytes(), f.stat().st_mtime_ns)
        for f in sorted(path.rglob("*"))
        if f.is_file()
    }


@pytest.fixture
def scenes(tmp_path):
    """Write three scenes."""
    folder = tmp_path / "scenes"
    for day in ("20010401", "20010409", "20010417"):
        write_tiff(folder, day)
    return folder


@pytest.fixture
def store(tmp_path, scenes):
    """Ingest the three scenes."""
    path = tmp_path / "cube.zarr"
    ingest(TIFFS, scenes, path, kind="fine")
    return path


def refused(error, message, folder, path, product=TIFFS, **options):
    """Ingest, expect a refusal, and check that nothing beside the cube was touched."""
    before = contents(path.parent)
    with pytest.raises(error, match=message):
        ingest(product, folder, path, **{"kind": "fine", **options})
    assert contents(path.parent) == before
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".")]


# --- values -------------------------------------------------------------------------------------


def test_cube_holds_the_clear_pixels_of_every_scene(small_cubes, small_region):
    ds = open_cube(small_cubes.fine).load()
    for date in small_region.fine_dates:
        scene = small_region.fine_scene(date)
        clear = (scene.qa_pixel & 0b11111) == 0
        day = ds.sel(time=date)
        np.testing.assert_array_equal(day["clear"], clear)
        for i, band in enumerate(BANDS):
            # Half a digital number and half a unit of the rounded mantissa.
            error = np.abs(day[band] - scene.reflectance[i]).to_numpy()[clear]
            assert error.max() < 1.4e-5 + 6.2e-5
        assert float(day["clear_fraction"]) == pytest.approx(clear.mean(), abs=1e-6)


def test_coarse_cube_holds_the_clear_pixels_of_every_day(small_cubes, small_region):
    ds = open_cube(small_cubes.coarse).load()
    assert ds.sizes == {"time": 48, "y": 10, "x": 9}
    for date in small_region.dates[::7]:
        scene = small_region.coarse_scene(date)
        day = ds.sel(time=date)
        clear = (day["clear"] == 1).to_numpy()
        assert not (clear & ~scene.clear).any()
        if clear.any():
            assert np.abs(day["nir"] - scene.reflectance[3]).to_numpy()[clear].max() < 1.2e-4
    assert float(ds["clear"].mean()) > 0.3


def test_pixel_missing_in_one_band_is_missing_in_all(store):
    ds = open_cube(store).load()
    assert np.isnan(ds["nir"][:, 0, 0]).all()
    assert (ds["clear"][:, 0, 0] == 0).all()
    assert int(ds["clear"].sum()) == 3 * (24 * 20 - 1)


def test_report_tells_what_was_done(tmp_path, scenes):
    seen = []
    report = ingest(
        TIFFS, scenes, tmp_path / "cube.zarr", kind="fine", progress=lambda *a: seen.append(a)
    )
    ids = ("L_20010401.tif", "L_20010409.tif", "L_20010417.tif")
    assert report.path == tmp_path / "cube.zarr"
    assert report.added == ids
    assert report.excluded == ()
    assert tuple(report.clear_fraction) == ids
    assert list(report.clear_fraction.values()) == pytest.approx([479 / 480] * 3)
    assert seen == [(name, i + 1, 3) for i, name in enumerate(ids)]


def test_provenance_is_in_the_attributes(store):
    attrs = xr.open_zarr(store).attrs
    assert json.loads(attrs["biastf_scenes"])[0] == "L_20010401.tif"
    assert "ingested 3 scenes" in attrs["history"]
    assert attrs["source"] == "geotiff"
    assert attrs["Conventions"] == "CF-1.11"


@pytest.mark.parametrize("kind", ["fine", "coarse"])
def test_small_shards_hold_the_same_values(tmp_path, kind):
    for day in ("20010401", "20010409", "20010417"):
        write_tiff(tmp_path / "scenes", day, size=(70, 100))
    for shard in (1024, 32):
        ingest(TIFFS, tmp_path / "scenes", tmp_path / f"{shard}.zarr", kind=kind, shard=shard)
    whole, parts = open_cube(tmp_path / "1024.zarr"), open_cube(tmp_path / "32.zarr")
    assert layout_of(whole).shards[1:] == (70, 100)
    assert layout_of(parts).shards[1:] == (32, 32)
    for name in ("red", "nir", "clear", "clear_fraction"):
        np.testing.assert_array_equal(whole[name], parts[name])


def test_native_resolution_averages_to_the_true_grid(tmp_path):
    values = write_tiff(tmp_path / "scenes", "20010401", size=(24, 20)).astype(float)
    path = tmp_path / "coarse.zarr"
    ingest(TIFFS, tmp_path / "scenes", path, kind="coarse", native_resolution=120, shard=1024)
    ds = open_cube(path).load()
    geobox = ds.odc.geobox
    assert tuple(geobox.shape) == (6, 5)
    assert geobox.affine == Affine(120, 0, 600, 0, -120, 900)
    values[0, 0, 0] = np.nan
    for i, band in enumerate(("red", "nir")):
        want = np.nanmean(values[i].reshape(6, 4, 5, 4).transpose(0, 2, 1, 3), axis=(2, 3)) * 1e-4
        np.testing.assert_allclose(ds[band][0], want, rtol=2**-12)


def test_native_resolution_need_not_be_a_multiple(tmp_path):
    write_tiff(tmp_path / "scenes", "20010401", size=(40, 40), value=2500)
    ingest(TIFFS, tmp_path / "scenes", tmp_path / "c.zarr", kind="coarse", native_resolution=463.3)
    ds = open_cube(tmp_path / "c.zarr").load()
    assert ds["red"].shape == (1, 3, 3)
    np.testing.assert_allclose(ds["nir"], 0.25, rtol=2**-12)


def test_native_resolution_in_small_shards_is_the_same(tmp_path):
    write_tiff(tmp_path / "scenes", "20010401", size=(90, 90))
    for shard in (8, 1024):
        ingest(
            TIFFS, tmp_path / "scenes", tmp_path / f"{shard}.zarr", kind="coarse", shard=shard,
            native_resolution=70,
        )  # fmt: skip
    np.testing.assert_array_equal(
        open_cube(tmp_path / "8.zarr")["red"], open_cube(tmp_path / "1024.zarr")["red"]
    )


def test_season_and_excluded_days(tmp_path, scenes):
    path = tmp_path / "cube.zarr"
    write_tiff(scenes, "20010425")
    report = ingest(
        TIFFS, scenes, path, kind="fine", start="2001-04-09", end="2001-04-25",
        exclude=("2001-04-17",),
    )  # fmt: skip
    assert report.excluded == ("L_20010417.tif",)
    days = open_cube(path)["time"].values.astype("M8[D]")
    assert [str(d) for d in days] == ["2001-04-09", "2001-04-25"]


# --- again --------------------------------------------------------------------------------------


def test_rerun_with_the_same_scenes_changes_nothing(scenes, store):
    before = contents(store)
    report = ingest(TIFFS, scenes, store, kind="fine")
    assert report.added == ()
    assert list(report.clear_fraction.values()) == pytest.approx([479 / 480] * 3)
    assert contents(store) == before


def test_rerun_of_the_landsat_flow_changes_nothing(small_cubes, small_scenes):
    before = contents(small_cubes.fine)
    report = ingest(LANDSAT, small_scenes.landsat, small_cubes.fine, kind="fine")
    assert report.added == ()
    assert len(report.clear_fraction) == 3
    assert contents(small_cubes.fine) == before


def test_new_scene_is_added_in_order_of_time(tmp_path, scenes, store):
    old = open_cube(store).load()
    write_tiff(scenes, "20010405")
    report = ingest(TIFFS, scenes, store, kind="fine")
    assert report.added == ("L_20010405.tif",)
    assert list(report.clear_fraction)[1] == "L_20010405.tif"
    new = open_cube(store).load()
    days = new["time"].values.astype("M8[D]")
    assert [str(d) for d in days] == ["2001-04-01", "2001-04-05", "2001-04-09", "2001-04-17"]
    xr.testing.assert_equal(new.sel(time=old["time"]), old)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_store_of_a_run_killed_between_the_renames_is_taken_up_again(scenes, store):
    before = contents(store)
    store.rename(store.with_name(".cube.zarr.old"))
    assert ingest(TIFFS, scenes, store, kind="fine").added == ()
    assert contents(store) == before


def test_vanished_scene_is_refused_by_name_and_accepted_on_request(scenes, store):
    (scenes / "L_20010409.tif").unlink()
    refused(CubeStructureError, r"no longer taken.*L_20010409\.tif.*--overwrite", scenes, store)
    report = ingest(TIFFS, scenes, store, kind="fine", overwrite=True)
    assert len(report.clear_fraction) == 2
    assert open_cube(store).sizes["time"] == 2


# --- refusals -----------------------------------------------------------------------------------


def test_two_scenes_of_one_day_are_refused(tmp_path, scenes):
    shutil.copytree(scenes, scenes / "again")
    refused(SceneError, "two scenes of one day", scenes, tmp_path / "cube.zarr")


def test_two_scenes_of_one_day_are_fine_where_the_day_is_excluded(tmp_path, scenes):
    (scenes / "again").mkdir()
    shutil.copy(scenes / "L_20010409.tif", scenes / "again")
    ingest(TIFFS, scenes, tmp_path / "cube.zarr", kind="fine", exclude=("2001-04-09",))
    assert open_cube(tmp_path / "cube.zarr").sizes["time"] == 2


@pytest.mark.parametrize(
    "grid", [{"corner": (615, 900)}, {"resolution": 31}], ids=["half a pixel", "coarser"]
)
def test_scene_on_another_grid_is_refused_by_name(tmp_path, scenes, grid):
    write_tiff(scenes, "20010425", **grid)
    message = r"scene L_20010425\.tif lies on .* the cube on"
    refused(GridMismatchError, message, scenes, tmp_path / "cube.zarr")


def test_scene_of_another_extent_is_cut_and_padded(tmp_path, scenes):
    # Two columns to the left and three rows down of the others, and larger.
    dn = write_tiff(scenes, "20010425", size=(30, 25), corner=(540, 810))
    path = tmp_path / "cube.zarr"
    ingest(TIFFS, scenes, path, kind="fine")
    made = open_cube(path)["nir"].sel(time="2001-04-25").values
    assert made.shape == (24, 20)
    assert np.isnan(made[:3]).all()
    np.testing.assert_allclose(made[3:], dn[1, :21, 2:22] * 1e-4, rtol=2**-13)


def test_late_scene_that_comes_first_keeps_the_extent_of_the_cube(scenes, store):
    write_tiff(scenes, "20010301", size=(26, 26), corner=(540, 960))
    ingest(TIFFS, scenes, store, kind="fine")
    cube = open_cube(store)
    assert cube["nir"].shape == (4, 24, 20)
    assert np.isfinite(cube["nir"][0]).all()


def test_scene_elsewhere_is_refused(tmp_path, scenes):
    write_tiff(scenes, "20010425", corner=(6000, 900))
    refused(SceneError, "do not overlap", scenes, tmp_path / "cube.zarr")


def test_store_of_other_bands_is_refused(scenes, store):
    other = build_product("geotiff", layers=("red", "swir1"), pattern="L_%Y%m%d.tif", factor=1e-4)
    message = r"bands \['red', 'nir'\].*\['red', 'swir1'\].*--overwrite"
    refused(CubeStructureError, message, scenes, store, other)


def test_store_of_another_kind_is_refused(scenes, store):
    refused(CubeStructureError, r"is a fine cube.*a coarse cube", scenes, store, kind="coarse")


def test_store_on_another_grid_is_refused(tmp_path, store):
    write_tiff(tmp_path / "other", "20010401", resolution=31)
    refused(GridMismatchError, r"cube\.zarr lies on .*\(24, 20\) px", tmp_path / "other", store)


def test_folder_that_is_no_cube_is_left_alone(tmp_path, scenes):
    path = tmp_path / "cube.zarr"
    path.mkdir()
    (path / "precious.txt").write_text("mine")
    refused(CubeStructureError, "no cube at", scenes, path)


def test_unscaled_values_are_refused_with_the_remedy(tmp_path, scenes):
    raw = build_product("geotiff", layers=("red", "nir"), pattern="L_%Y%m%d.tif")
    message = r"scene L_20010401\.tif: median value .*factor = 1e-4"
    refused(ReflectanceRangeError, message, scenes, tmp_path / "cube.zarr", raw)


def test_failing_update_leaves_the_old_store(scenes, store):
    write_tiff(scenes, "20010425")
    (scenes / "L_20010426.tif").write_text("not a raster")
    refused(SceneError, r"L_20010426\.tif", scenes, store)


def test_scenes_without_a_clear_pixel_are_refused(tmp_path):
    for day in ("20010401", "20010402"):
        write_tiff(tmp_path / "scenes", day, value=-9999)
    refused(
        ReflectanceRangeError, "not one clear pixel in 2 scenes", tmp_path / "scenes",
        tmp_path / "cube.zarr",
    )  # fmt: skip


def test_one_scene_without_a_clear_pixel_is_kept(tmp_path, scenes):
    write_tiff(scenes, "20010425", value=-9999)
    report = ingest(TIFFS, scenes, tmp_path / "cube.zarr", kind="fine")
    assert report.clear_fraction["L_20010425.tif"] == 0


def test_native_resolution_finer_than_the_files_is_refused(tmp_path, scenes):
    refused(
        GridMismatchError, "native_resolution 15 is smaller", scenes, tmp_path / "cube.zarr",
        native_resolution=15,
    )  # fmt: skip


def test_folder_without_scenes_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(SceneError, "no scene of this product in", tmp_path / "empty", tmp_path / "cube.zarr")


def test_season_without_scenes_is_refused_with_both_spans(tmp_path, scenes):
    refused(
        SceneError, r"none of the 3 scenes.*2001-04-01 to 2001-04-17.*2005-01-01", scenes,
        tmp_path / "cube.zarr", start="2005-01-01", end="2005-12-31",
    )  # fmt: skip


def test_a_rerun_with_other_options_of_the_product_is_refused(scenes, store):
    other = replace(TIFFS, nodata=7.0)
    refused(CubeStructureError, r"nodata=7\.0.*--overwrite", scenes, store, other)
