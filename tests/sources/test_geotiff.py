"""Folders of GeoTIFFs with a date in the name: patterns, bands, missing values, stated grids."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from checks import facts

from biastf_xr.cube import ingest
from biastf_xr.errors import ConfigError, GridMismatchError, SceneError
from biastf_xr.grid import geobox_of
from biastf_xr.sources import build_product
from biastf_xr.sources._rasters import without_grid_warning

LAYERS = ("green", "red", "nir")


def write(path, values=None, *, crs="EPSG:32613", nodata=None, dtype="int16"):
    """Write an image; by default band i holds 1000 * (i + 1), and -9999 in the first pixel."""
    if values is None:
        values = np.full((3, 4, 5), 1, dtype) * np.array([1000, 2000, 3000]).reshape(-1, 1, 1)
        values[:, 0, 0] = -9999
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {} if crs is None else {"crs": crs, "transform": Affine(30, 0, 600, 0, -30, 900)}
    with without_grid_warning(), rasterio.open(
        path, "w", driver="GTiff", count=values.shape[0], height=values.shape[1],
        width=values.shape[2], dtype=dtype, nodata=nodata, **place,
    ) as file:  # fmt: skip
        file.write(values.astype(dtype))
    return path


def folder_of(pattern="L_%Y%m%d.tif", **options):
    return build_product("geotiff", layers=LAYERS, pattern=pattern, **options)


def read(folder, **options):
    product = folder_of(**options)
    (scene,) = product.find_scenes(folder)
    return product.to_reflectance(product.open_scene(scene)).compute()


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("L_%Y%m%d.tif", "L_20010711.tif"),
        ("%Y-%m-%d.tif", "2001-07-11.tif"),
        ("*_%Y-%m-%d_*.tif", "fine_x_2001-07-11_v2.tif"),
        ("MOD_A%Y%j.tif", "MOD_A2001192.tif"),
        ("%d.%m.%Y.tif", "11.7.2001.tif"),
    ],
)
def test_date_is_read_from_the_name(tmp_path, pattern, name):
    write(tmp_path / "deep" / name)
    write(tmp_path / f"{name}.bak.tiff")
    write(tmp_path / "other_2001.tif")
    (scene,) = folder_of(pattern).find_scenes(tmp_path)
    assert scene.date == np.datetime64("2001-07-11")
    assert scene.id == f"deep/{name}"


def test_dot_in_a_pattern_is_a_dot(tmp_path):
    write(tmp_path / "L_20010711xtif")
    assert folder_of().find_scenes(tmp_path) == []


@pytest.mark.parametrize(
    "pattern",
    ["L_*.tif", "L_%Y.tif", "L_%m%d.tif", "L_%Y%m.tif", "L_%y%m%d.tif", "%Y/%Y%m%d.tif"],
)
def test_pattern_that_does_not_tell_one_date_is_refused(pattern):
    with pytest.raises(ConfigError, match=facts(pattern, "%Y", "%m", "%d", "%j")):
        folder_of(pattern)


@pytest.mark.parametrize(
    ("pattern", "name", "day"),
    [("L_%Y%m%d.tif", "L_20010732.tif", "2001-07-32"), ("L_%Y%j.tif", "L_2001366.tif", "2001366")],
)
def test_name_with_a_day_that_does_not_exist_is_refused(tmp_path, pattern, name, day):
    write(tmp_path / name)
    (scene,) = folder_of(pattern).find_scenes(tmp_path)
    assert scene.id == name
    assert np.isnat(scene.date)
    assert day in scene.problem


def test_scenes_are_in_order_of_date_and_opened_lazily(tmp_path):
    for day in ("20010711", "20001231", "20010102"):
        write(tmp_path / f"L_{day}.tif")
    product = folder_of()
    scenes = product.find_scenes(tmp_path)
    assert [str(s.date) for s in scenes] == ["2000-12-31", "2001-01-02", "2001-07-11"]
    raw = product.open_scene(scenes[0])
    assert raw["red"].dtype == np.int16
    assert not any(v.variable._in_memory for v in raw.data_vars.values())


def test_bands_are_in_the_order_of_the_file_and_scaled(tmp_path):
    write(tmp_path / "L_20010711.tif")
    ds = read(tmp_path, factor=1e-4, offset=0.05)
    for value, band in zip((0.1, 0.2, 0.3), LAYERS, strict=True):
        assert ds[band].dtype == np.float32
        np.testing.assert_allclose(ds[band][1:], value + 0.05, rtol=1e-6)


@pytest.mark.parametrize(
    ("tag", "options", "missing"),
    [
        (None, {}, False),
        (-9999, {}, True),
        (None, {"nodata": -9999}, True),
        (None, {"nodata": -9999.0}, True),
        (0, {"nodata": -9999}, True),
        (None, {"valid_min": 0}, True),
        (None, {"valid_max": 2500}, False),
    ],
)
def test_missing_value_is_the_tag_of_the_file_or_the_option(tmp_path, tag, options, missing):
    write(tmp_path / "L_20010711.tif", nodata=tag)
    ds = read(tmp_path, factor=1e-4, **options)
    assert bool(np.isnan(ds["red"][0, 0])) is missing
    assert not np.isnan(ds["red"][1:]).any()
    assert bool(np.isnan(ds["nir"][1:]).all()) is ("valid_max" in options)


def test_nan_and_infinity_are_missing_in_files_of_floats(tmp_path):
    values = np.full((3, 4, 5), 0.25)
    values[0, 0, :3] = np.nan, np.inf, -3.4e38
    write(tmp_path / "L_20010711.tif", values, dtype="float32", nodata=-3.4e38)
    ds = read(tmp_path)
    np.testing.assert_array_equal(np.isnan(ds["green"][0]), [True, True, True, False, False])
    assert not np.isnan(ds["red"]).any()


def test_nodata_beyond_the_type_of_the_file_is_never_met(tmp_path):
    write(tmp_path / "L_20010711.tif", np.full((3, 4, 5), 7), dtype="uint8")
    assert not np.isnan(read(tmp_path, nodata=-9999)["red"]).any()


def test_wrong_number_of_bands_is_refused_with_both_numbers(tmp_path):
    write(tmp_path / "L_20010711.tif", np.zeros((2, 4, 5)))
    with pytest.raises(
        SceneError,
        match=facts("L_20010711.tif", "2 bands", "3 (green, red, nir)", "`layers`"),
    ):
        read(tmp_path)


def test_file_without_crs_is_refused_with_the_option_to_give(tmp_path):
    write(tmp_path / "L_20010711.tif", crs=None)
    with pytest.raises(
        GridMismatchError,
        match=facts("L_20010711.tif", "CRS", "`grid = ", "--set fine.options.grid"),
    ):
        read(tmp_path)


def test_stated_grid_is_that_of_the_cube(tmp_path):
    write(tmp_path / "L_20010711.tif", crs=None)
    grid = {"crs": "EPSG:32613", "resolution": 25, "origin": [600, 900]}
    geobox = geobox_of(read(tmp_path, grid=grid), "scene")
    assert geobox.crs.epsg == 32613
    assert geobox.affine == Affine(25, 0, 600, 0, -25, 900)
    assert tuple(geobox.shape) == (4, 5)


def test_stated_grid_that_contradicts_the_file_is_refused_with_both(tmp_path):
    write(tmp_path / "L_20010711.tif", crs="EPSG:32755")
    grid = {"crs": "EPSG:32613", "resolution": 25, "origin": [600, 900]}
    with pytest.raises(
        GridMismatchError, match=facts("L_20010711.tif", "EPSG:32755", "EPSG:32613", "`grid`")
    ):
        read(tmp_path, grid=grid)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"crs": "EPSG:32613", "size": 30}, "size"),
        ({"crs": "nonsense", "resolution": 30}, "nonsense"),
        ({"crs": "EPSG:32613", "resolution": 0}, facts("grid", "resolution", "0")),
        ({"crs": "EPSG:32613", "resolution": 30, "origin": [1]}, facts("grid", "origin", "1")),
    ],
)
def test_unusable_stated_grid_is_refused_at_once(grid, message):
    with pytest.raises(ConfigError, match=message):
        folder_of(grid=grid)


def test_truncated_file_is_a_scene_error_when_read(tmp_path):
    from biastf_xr.cube import ingest

    rng = np.random.default_rng(0)
    path = write(tmp_path / "scenes" / "L_20010711.tif", rng.integers(0, 9999, (3, 64, 64)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SceneError, match=r"L_20010711\.tif"):
        ingest(folder_of(factor=1e-4), path.parent, tmp_path / "cube.zarr", kind="fine")
    assert [p.name for p in tmp_path.iterdir()] == ["scenes"]


def test_file_that_is_no_raster_is_a_scene_error(tmp_path):
    (tmp_path / "L_20010711.tif").write_text("not a raster")
    with pytest.raises(SceneError, match=facts("L_20010711.tif")):
        read(tmp_path)


def test_empty_folder_has_no_scenes_and_a_missing_one_is_refused(tmp_path):
    assert folder_of().find_scenes(tmp_path) == []
    with pytest.raises(SceneError, match=facts("absent", "GeoTIFF")):
        folder_of().find_scenes(tmp_path / "absent")


def test_missing_options_are_named():
    with pytest.raises(ConfigError, match=facts("'geotiff'", "'pattern'")):
        build_product("geotiff", layers=LAYERS)


def test_mask_beside_the_image_is_taken(tmp_path):
    write(tmp_path / "SR_20210401.tif")
    mask = np.ones((1, 4, 5), np.uint8)
    mask[0, 1, 1] = 2
    mask[0, 2, 2] = 4
    write(tmp_path / "QA_20210401.tif", mask, dtype="uint8")
    masked = {"pattern": "SR_%Y%m%d.tif", "mask_pattern": "QA_%Y%m%d.tif"}
    ds = read(tmp_path, **masked, clear_values=[1, 4])
    assert np.isnan(ds.red[1, 1])
    assert int(np.isnan(ds.red).sum()) == 1
    ds = read(tmp_path, **masked, masked_bits=[1, 2])
    assert int(np.isnan(ds.nir).sum()) == 2


def test_masks_of_tiles_go_with_their_tiles(tmp_path):
    for tile, value in (("a", 1), ("b", 0)):
        write(tmp_path / f"{tile}_20210401_SR.tif")
        write(tmp_path / f"{tile}_20210401_QA.tif", np.full((1, 4, 5), value), dtype="uint8")
    product = folder_of("*_%Y%m%d_SR.tif", mask_pattern="*_%Y%m%d_QA.tif", clear_values=[1])
    a, b = (product.to_reflectance(product.open_scene(s)) for s in product.find_scenes(tmp_path))
    assert not np.isnan(a.red).any()
    assert np.isnan(b.red).all()


def test_mask_that_is_missing_or_means_nothing_is_told(tmp_path):
    write(tmp_path / "SR_20210401.tif")
    options = {"pattern": "SR_%Y%m%d.tif", "mask_pattern": "QA_%Y%m%d.tif"}
    (scene,) = folder_of(**options, clear_values=[1]).find_scenes(tmp_path)
    assert "has no mask QA_%Y%m%d.tif" in scene.problem
    for wrong in ({}, {"clear_values": [1], "masked_bits": [0]}):
        with pytest.raises(
            ConfigError, match=facts("QA_%Y%m%d.tif", "clear_values", "masked_bits")
        ):
            folder_of(**options, **wrong)
    with pytest.raises(ConfigError, match=facts("mask_pattern", "clear_values (1,)")):
        folder_of(clear_values=[1])
    write(tmp_path / "QA_20210401.tif", np.ones((1, 8, 5)), dtype="uint8")
    product = folder_of(**options, clear_values=[1])
    with pytest.raises(GridMismatchError, match=facts("SR_20210401.tif", "mask file", "8 x 5")):
        product.open_scene(product.find_scenes(tmp_path)[0])


# --- a file for each band -----------------------------------------------------------------------


def bands_apart(folder, pattern, texts, day="20210401"):
    """Write a file for each band; the nth has the number 1000 n, fill in the nth pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    grid = {"crs": "EPSG:32755", "transform": Affine(30, 0, 455000, 0, -30, 6171000)}
    for n, text in enumerate(texts, 1):
        values = np.full((4, 4), 1000 * n, np.int16)
        values[0, n] = -9999
        path = folder / pattern.replace("{layer}", text).replace("%Y%m%d", day)
        profile = {"driver": "GTiff", "height": 4, "width": 4, "count": 1, "dtype": "int16"}
        with rasterio.open(path, "w", nodata=-9999, **profile, **grid) as file:
            file.write(values, 1)
    return path


@pytest.mark.parametrize(
    ("layers", "texts"),
    [(("red", "nir"), ("red", "nir")), ({"red": "B4", "nir": "B8A"}, ("B4", "B8A"))],
)
def test_each_band_may_have_a_file_of_its_own(tmp_path, layers, texts):
    pattern = "S2_%Y%m%d_{layer}.tif"
    for folder, day in (("a", "20210401"), ("b", "20210411")):
        bands_apart(tmp_path / folder, pattern, texts, day)
    product = build_product("geotiff", layers=layers, pattern=pattern, factor=1e-4)
    assert product.bands == ("red", "nir")
    scenes = product.find_scenes(tmp_path)
    assert [str(s.date) for s in scenes] == ["2021-04-01", "2021-04-11"]
    for scene in scenes:
        ready = product.to_reflectance(product.open_scene(scene))
        np.testing.assert_allclose(ready["red"].values[1], 0.1, rtol=1e-6)
        np.testing.assert_allclose(ready["nir"].values[1], 0.2, rtol=1e-6)
        assert np.flatnonzero(np.isnan(ready["nir"])).tolist() == [2]
    report = ingest(product, tmp_path, tmp_path / "c.zarr", kind="fine")
    assert len(report.added) == 2


def test_files_of_one_band_are_kept_apart_by_what_the_stars_say(tmp_path):
    for tile in ("T1", "T2"):
        bands_apart(tmp_path, f"{tile}_%Y%m%d_{{layer}}.tif", ("red", "nir"))
    product = build_product("geotiff", layers=("red", "nir"), pattern="*_%Y%m%d_{layer}.tif")
    scenes = product.find_scenes(tmp_path)
    assert [{f.name[:2] for f in s.files.values()} for s in scenes] == [{"T1"}, {"T2"}]


def test_mask_lies_beside_the_files_of_its_bands(tmp_path):
    bands_apart(tmp_path, "S_%Y%m%d_{layer}.tif", ("red", "nir", "QA"))
    options = {"mask_pattern": "S_%Y%m%d_QA.tif", "clear_values": (3000,)}
    product = build_product(
        "geotiff", layers=("red", "nir"), pattern="S_%Y%m%d_{layer}.tif", **options
    )
    (scene,) = product.find_scenes(tmp_path)
    ready = product.to_reflectance(product.open_scene(scene))
    assert np.flatnonzero(np.isnan(ready["red"])).tolist() == [1, 3]


def test_mistakes_with_files_of_bands_are_named(tmp_path):
    with pytest.raises(ConfigError, match=facts("{layer}", "L_%Y%m%d.tif", "layers")):
        build_product("geotiff", layers={"red": "B4"}, pattern="L_%Y%m%d.tif")
    last = bands_apart(tmp_path, "S_%Y%m%d_{layer}.tif", ("B1", "B11"))
    last.unlink()
    layers = {"red": "B1", "nir": "B11"}
    product = build_product("geotiff", layers=layers, pattern="S_%Y%m%d_{layer}.tif")
    (scene,) = product.find_scenes(tmp_path)
    assert "['nir']" in scene.problem
    bands_apart(tmp_path, "S_%Y%m%d_{layer}.tif", ("B1", "B11"))
    product = build_product("geotiff", layers=layers, pattern="S_%Y%m%d_{layer}*.tif")
    scenes = product.find_scenes(tmp_path)
    assert sum("['red', 'nir']" in scene.problem for scene in scenes) == 1
    assert all(scene.problem for scene in scenes)
