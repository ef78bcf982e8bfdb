"""Landsat Collection 2 Level 2 as downloaded: names, bands, scale, quality bits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from checks import facts

from biastf_xr.errors import ConfigError, GridMismatchError, SceneError
from biastf_xr.sources import build_product

COLOURS = ("blue", "green", "red", "nir", "swir1", "swir2")
OLI_BANDS, TM_BANDS = (2, 3, 4, 5, 6, 7), (1, 2, 3, 4, 5, 7)
SHAPE = (4, 16)
CLEAR = 21824


def tiff(path, values, *, corner=(300_000.0, 4_000_000.0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1,
        dtype=values.dtype, crs="EPSG:32613", transform=Affine(30, 0, corner[0], 0, -30, corner[1]),
    ) as file:  # fmt: skip
        file.write(values, 1)


def scene_id(sensor="LC08", day="20210401", level="L2SP"):
    return f"{sensor}_{level}_034032_{day}_{day}_02_T1"


def write_scene(folder, *, sensor="LC08", day="20210401", qa=CLEAR, saturated=0, dn=None):
    """Write all seven reflectance bands that exist; band number n holds the number 10000 + n."""
    name = scene_id(sensor, day)
    for n in range(1, 8):
        if sensor in {"LT04", "LT05", "LE07"} and n == 6:
            continue
        values = np.full(SHAPE, 10_000 + n, np.uint16) if dn is None else dn
        tiff(folder / name / f"{name}_SR_B{n}.TIF", values)
    tiff(folder / name / f"{name}_QA_PIXEL.TIF", np.broadcast_to(qa, SHAPE).astype(np.uint16))
    tiff(folder / name / f"{name}_QA_RADSAT.TIF",
         np.broadcast_to(saturated, SHAPE).astype(np.uint16))  # fmt: skip
    return folder / name


def reflectance(folder, **options):
    product = build_product("landsat-c2-l2", **options)
    (scene,) = product.find_scenes(folder)
    return product.to_reflectance(product.open_scene(scene)).compute()


@pytest.mark.parametrize(
    ("sensor", "numbers"),
    [
        ("LC08", OLI_BANDS),
        ("LC09", OLI_BANDS),
        ("LE07", TM_BANDS),
        ("LT05", TM_BANDS),
        ("LT04", TM_BANDS),
    ],
)
def test_bands_are_numbered_as_on_the_sensor(tmp_path, sensor, numbers):
    write_scene(tmp_path, sensor=sensor)
    ds = reflectance(tmp_path)
    assert set(ds.data_vars) == set(COLOURS)
    for colour, number in zip(COLOURS, numbers, strict=True):
        assert ds[colour].dtype == np.float32
        np.testing.assert_allclose(ds[colour], (10_000 + number) * 2.75e-5 - 0.2, atol=1e-7)


def test_scale_and_fill(tmp_path):
    dn = np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE) * 1000
    write_scene(tmp_path, dn=dn)
    got = reflectance(tmp_path)["nir"].to_numpy()
    assert np.isnan(got[0, 0])
    np.testing.assert_allclose(got.ravel()[1:], dn.ravel()[1:] * 2.75e-5 - 0.2, atol=2e-7)


@pytest.mark.parametrize(
    ("options", "masked"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"mask_dilated": False}, {0, 2, 3, 4}),
        ({"mask_cirrus": False}, {0, 1, 3, 4}),
        ({"mask_snow": True}, {0, 1, 2, 3, 4, 5}),
        ({"mask_dilated": False, "mask_cirrus": False}, {0, 3, 4}),
    ],
)
def test_each_quality_bit_masks_as_documented(tmp_path, options, masked):
    write_scene(tmp_path, qa=(1 << np.arange(16)).astype(np.uint16))
    ds = reflectance(tmp_path, **options)
    for colour in COLOURS:
        missing = np.isnan(ds[colour].to_numpy())
        assert {int(b) for b in np.flatnonzero(missing.any(0))} == masked
        assert (missing.all(0) == missing.any(0)).all()


# Bits of QA_RADSAT as the product guides number them.
SATURATED = {
    "LT05": {"blue": 0, "green": 1, "red": 2, "nir": 3, "swir1": 4, "thermal": 5, "swir2": 6,
             "dropped": 9},
    "LE07": {"blue": 0, "green": 1, "red": 2, "nir": 3, "swir1": 4, "low gain": 5, "swir2": 6,
             "high gain": 8, "dropped": 9},
    "LC08": {"coastal": 0, "blue": 1, "green": 2, "red": 3, "nir": 4, "swir1": 5, "swir2": 6,
             "cirrus": 8, "occluded": 11},
}  # fmt: skip
SATURATED["LT04"], SATURATED["LC09"] = SATURATED["LT05"], SATURATED["LC08"]


@pytest.mark.parametrize("sensor", SATURATED)
def test_only_bits_of_the_six_bands_and_lost_pixels_mask(tmp_path, sensor):
    write_scene(tmp_path, sensor=sensor, saturated=(1 << np.arange(16)).astype(np.uint16))
    missing = np.isnan(reflectance(tmp_path)["red"].to_numpy())
    used = {*COLOURS, "dropped", "occluded"} & SATURATED[sensor].keys()
    assert {int(b) for b in np.flatnonzero(missing.all(0))} == {SATURATED[sensor][n] for n in used}


def test_satellite_that_is_not_known_is_masked_by_the_bits_of_any():
    product = build_product("landsat-c2-l2")
    any_bit = {*range(7), 9, 11}
    assert {*product.flags_of(xr.Dataset())["QA_RADSAT"]["always"]} == any_bit


REAL = Path(__file__).parents[3] / "shared" / "data" / "real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not here")
ITEMS = {
    "LC09": "LC09_L2SP_010065_20220129_02_T1.json",
    "LE07": "LE07_L2SP_021030_20100109_02_T1.json",
    "LT05": "LT05_L2SP_010067_19860424_02_T2.json",
}
COMMON = dict(zip(COLOURS, ("blue", "green", "red", "nir08", "swir16", "swir22"), strict=True))


@needs_real
@pytest.mark.parametrize("sensor", ITEMS)
def test_bits_are_those_that_real_items_state(sensor):
    assets = json.loads((REAL / "stac_items" / ITEMS[sensor]).read_text())["assets"]
    product = build_product("landsat-c2-l2")
    numbers = set()
    for layer, common in COMMON.items():
        (band,) = assets[product.asset_keys[layer][0]]["eo:bands"]
        assert band["common_name"] == common
        numbers.add("band" + band["name"][-1])
    flags = product.flags_of(xr.Dataset(attrs={"craft": int(sensor[2:])}))
    stated = {b["name"]: b["offset"] for b in assets["qa_radsat"]["classification:bitfields"]}
    assert {*flags["QA_RADSAT"]["always"]} == {
        stated[name] for name in stated.keys() & (numbers | {"dropped", "occlusion"})
    }
    stated = {b["name"]: b["offset"] for b in assets["qa_pixel"]["classification:bitfields"]}
    meaning = {"always": ("fill", "cloud", "cloud_shadow"), "mask_dilated": ("dilated_cloud",),
               "mask_snow": ("snow",)}  # fmt: skip
    for option, names in meaning.items():
        assert {*flags["QA_PIXEL"][option]} == {stated[name] for name in names}
    assert stated.get("cirrus", 2) == flags["QA_PIXEL"]["mask_cirrus"][0]


@needs_real
@pytest.mark.parametrize("sensor", ["LC08", "LE07", "LT05"])
def test_real_scene_is_clear_where_its_quality_says_so(sensor):
    (folder,) = (REAL / "landsat_c2_l2_60px").glob(f"{sensor}*")
    product = build_product("landsat-c2-l2")
    (scene,) = product.find_scenes(folder)
    raw = product.open_scene(scene).load()
    made = product.to_reflectance(raw)
    radsat, pixel = raw["QA_RADSAT"].to_numpy(), raw["QA_PIXEL"].to_numpy()
    ruled_out = [(pixel >> bit & 1) == 1 for bit in (0, 1, 3, 4)]
    ruled_out += [((pixel >> 2) & 1 == 1) & (sensor == "LC08")]
    ruled_out += [(radsat >> SATURATED[sensor][band] & 1) == 1 for band in COLOURS]
    clear = ~np.logical_or.reduce(ruled_out)
    assert 0.05 < clear.mean() < 0.95
    for colour in COLOURS:
        number = raw[colour].to_numpy()
        want = np.where(clear & (number > 0), number * 2.75e-5 - 0.2, np.nan)
        np.testing.assert_allclose(made[colour], want, atol=2e-7)


def test_pixel_saturated_in_any_band_is_masked_in_all(tmp_path):
    saturated = np.zeros(SHAPE, np.uint16)
    saturated[1, 2], saturated[3, 4] = 1 << 4, 1 << 11
    write_scene(tmp_path, saturated=saturated)
    ds = reflectance(tmp_path)
    for colour in COLOURS:
        np.testing.assert_array_equal(np.isnan(ds[colour]), saturated != 0)


def test_scenes_are_found_in_subfolders_in_order_of_date_and_opened_lazily(tmp_path):
    for day in ("20210503", "20210401", "20210417"):
        write_scene(tmp_path / "deep" / day, day=day)
    tiff(tmp_path / "LC08_L2SP_034032_20210401_ST_B10.TIF", np.zeros(SHAPE, np.uint16))
    (tmp_path / "README.txt").write_text("nothing")
    product = build_product("landsat-c2-l2")
    scenes = product.find_scenes(tmp_path)
    assert [str(s.date) for s in scenes] == ["2021-04-01", "2021-04-17", "2021-05-03"]
    assert scenes[0].id == scene_id()
    raw = product.open_scene(scenes[0])
    assert set(raw.data_vars) == {*COLOURS, "QA_PIXEL", "QA_RADSAT"}
    assert raw["nir"].dtype == np.uint16
    assert not any(v.variable._in_memory for v in raw.data_vars.values())


@pytest.mark.parametrize(
    ("layer", "name"), [("SR_B5", "nir"), ("QA_PIXEL", "QA_PIXEL"), ("QA_RADSAT", "QA_RADSAT")]
)
def test_missing_layer_is_named_with_its_scene(tmp_path, layer, name):
    folder = write_scene(tmp_path)
    (folder / f"{scene_id()}_{layer}.TIF").unlink()
    (scene,) = build_product("landsat-c2-l2").find_scenes(tmp_path)
    assert scene.id == scene_id()
    assert f"['{name}']" in scene.problem


def test_layers_of_one_scene_must_share_a_grid(tmp_path):
    folder = write_scene(tmp_path)
    band = folder / f"{scene_id()}_SR_B4.TIF"
    tiff(band, np.full(SHAPE, 9000, np.uint16), corner=(300_030.0, 4_000_000.0))
    product = build_product("landsat-c2-l2")
    (scene,) = product.find_scenes(tmp_path)
    with pytest.raises(GridMismatchError, match=facts(scene_id(), "layers", "red", "300030")):
        product.open_scene(scene)


@pytest.mark.parametrize("content", [b"", b"not a raster"])
def test_unreadable_file_is_named(tmp_path, content):
    folder = write_scene(tmp_path)
    (folder / f"{scene_id()}_SR_B4.TIF").write_bytes(content)
    product = build_product("landsat-c2-l2")
    (scene,) = product.find_scenes(tmp_path)
    with pytest.raises(SceneError, match=facts("SR_B4.TIF")):
        product.open_scene(scene)


def test_empty_folder_has_no_scenes_and_a_missing_one_is_refused(tmp_path):
    product = build_product("landsat-c2-l2")
    assert product.find_scenes(tmp_path) == []
    with pytest.raises(SceneError, match=facts("absent", "Landsat")):
        product.find_scenes(tmp_path / "absent")


def test_unknown_product_and_unknown_option_are_refused():
    with pytest.raises(ConfigError, match=facts("'landsat'", "'landsat-c2-l2'")):
        build_product("landsat")
    with pytest.raises(ConfigError, match="mask_clouds"):
        build_product("landsat-c2-l2", mask_clouds=True)


def mtl(folder, *, level="L2SP", collection="02", mult="2.75e-05", add="-0.2"):
    """Write the metadata file with the groups that matter, in the form of the archive."""
    (folder / f"{folder.name}_MTL.txt").write_text(
        f"""GROUP = LANDSAT_METADATA_FILE
  GROUP = PRODUCT_CONTENTS
    PROCESSING_LEVEL = "{level}"
    COLLECTION_NUMBER = {collection}
  END_GROUP = PRODUCT_CONTENTS
  GROUP = LEVEL2_SURFACE_REFLECTANCE_PARAMETERS
    REFLECTANCE_MULT_BAND_1 = {mult}
    REFLECTANCE_ADD_BAND_1 = {add}
  END_GROUP = LEVEL2_SURFACE_REFLECTANCE_PARAMETERS
  GROUP = LEVEL1_PROCESSING_RECORD
    PROCESSING_LEVEL = "L1TP"
  END_GROUP = LEVEL1_PROCESSING_RECORD
  GROUP = LEVEL1_RADIOMETRIC_RESCALING
    REFLECTANCE_MULT_BAND_1 = 2.0000E-05
    REFLECTANCE_ADD_BAND_1 = -0.100000
  END_GROUP = LEVEL1_RADIOMETRIC_RESCALING
END_GROUP = LANDSAT_METADATA_FILE
END
"""
    )


def test_metadata_file_that_agrees_is_passed(tmp_path):
    mtl(write_scene(tmp_path))
    assert "MTL" not in reflectance(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"level": "L1TP"}, "PROCESSING_LEVEL"),
        ({"collection": "01"}, "COLLECTION_NUMBER"),
        ({"mult": "1.0e-04"}, "REFLECTANCE_MULT"),
        ({"add": "0.0"}, "REFLECTANCE_ADD"),
    ],
)
def test_metadata_file_of_another_product_is_refused(tmp_path, change, told):
    mtl(write_scene(tmp_path), **change)
    product = build_product("landsat-c2-l2")
    with pytest.raises(SceneError, match=f"{told}.*expected"):
        product.open_scene(product.find_scenes(tmp_path)[0])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("LC08_L1TP_034032_20210401_20210409_02_T1_B4.TIF", "L1TP of collection 02"),
        ("LC08_L1TP_034032_20210401_20210409_01_T1_sr_band4.tif", "L1TP of collection 01"),
    ],
)
def test_other_levels_and_collections_are_named(tmp_path, name, told):
    tiff(tmp_path / name, np.ones(SHAPE, np.uint16))
    (other,) = build_product("landsat-c2-l2").find_scenes(tmp_path)
    assert told in other.problem
    assert "expected L2SP" in other.problem
    # Beside the right scene of the same pass it is nobody's business.
    write_scene(tmp_path)
    (scene,) = build_product("landsat-c2-l2").find_scenes(tmp_path)
    assert not scene.problem
