"""HLS v2.0: names, bands of both sensors, scale, Fmask bits, one tile, one scene a day."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from checks import facts, some

from biastf_xr.cube import ingest, open_cube
from biastf_xr.errors import ConfigError, CubeStructureError, GridMismatchError, SceneError
from biastf_xr.sources import build_product

COLOURS = ("blue", "green", "red", "nir", "swir1", "swir2")
# Layers of the archive, each with the digital number that `write_scene` puts there.
L30 = {f"B{n:02d}": 1000 + n for n in (1, 2, 3, 4, 5, 6, 7, 9, 10, 11)}
S30 = {**{f"B{n:02d}": 2000 + n for n in range(1, 13)}, "B8A": 2088}
USED = {
    "L30": ("B02", "B03", "B04", "B05", "B06", "B07"),
    "S30": ("B02", "B03", "B04", "B8A", "B11", "B12"),
}
SHAPE = (4, 16)
CORNER = (600_000.0, 4_600_020.0)
# UTM zone 13 as some L30 files state it.
UNNAMED_DATUM = (
    'PROJCS["UTM Zone 13, Northern Hemisphere",'
    'GEOGCS["Unknown datum based upon the WGS 84 ellipsoid",'
    'DATUM["Not specified (based on WGS 84 spheroid)",'
    'SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]]],'
    'PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],'
    'PARAMETER["central_meridian",-105],PARAMETER["scale_factor",0.9996],'
    'PARAMETER["false_easting",500000],PARAMETER["false_northing",0],'
    'UNIT["metre",1,AUTHORITY["EPSG","9001"]],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
)


def tiff(path, values, *, corner=CORNER, crs="EPSG:32613"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1,
        dtype=values.dtype, crs=crs, transform=Affine(30, 0, corner[0], 0, -30, corner[1]),
    ) as file:  # fmt: skip
        file.write(values, 1)


def scene_id(sensor="L30", day="2021091", tile="13TFE", time="235959"):
    return f"HLS.{sensor}.T{tile}.{day}T{time}.v2.0"


def write_scene(folder, sensor="L30", *, fmask=0, dn=None, crs="EPSG:32613", corner=CORNER, **name):
    """Write every layer of the archive, also those that are not used."""
    key = scene_id(sensor, **name)
    for layer, number in {"L30": L30, "S30": S30}[sensor].items():
        values = np.full(SHAPE, number, np.int16) if dn is None else dn
        tiff(folder / key / f"{key}.{layer}.tif", values, crs=crs, corner=corner)
    flags = np.broadcast_to(fmask, SHAPE).astype(np.uint8)
    tiff(folder / key / f"{key}.Fmask.tif", flags, crs=crs, corner=corner)
    tiff(folder / key / f"{key}.SZA.tif", np.full(SHAPE, 4500, np.uint16), crs=crs, corner=corner)
    return folder / key


def ids(folder, **options):
    return [s.id for s in build_product("hls", **options).find_scenes(folder)]


def reflectance(folder, **options):
    product = build_product("hls", **options)
    (scene,) = product.find_scenes(folder)
    return product.to_reflectance(product.open_scene(scene)).compute()


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sensor", "numbers"), [("L30", L30), ("S30", S30)])
def test_bands_are_those_of_the_sensor(tmp_path, sensor, numbers):
    write_scene(tmp_path, sensor)
    ds = reflectance(tmp_path)
    assert tuple(ds.data_vars) == COLOURS == build_product("hls").bands
    for colour, layer in zip(COLOURS, USED[sensor], strict=True):
        assert ds[colour].dtype == np.float32
        np.testing.assert_allclose(ds[colour], numbers[layer] * 1e-4, rtol=1e-6)


def test_scale_and_fill(tmp_path):
    dn = np.zeros(SHAPE, np.int16)
    dn[0, :6] = (-9999, -9998, -1900, 0, 10_000, 32_767)
    write_scene(tmp_path, dn=dn)
    got = reflectance(tmp_path)["red"].to_numpy()[0, :6]
    np.testing.assert_allclose(got, [np.nan, np.nan, -0.19, 0, 1, np.nan], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "masked"),
    [
        ({}, {1, 2, 3}),
        ({"mask_adjacent": False}, {1, 3}),
        ({"mask_cirrus": True}, {0, 1, 2, 3}),
        ({"mask_snow": True}, {1, 2, 3, 4}),
        ({"mask_adjacent": False, "mask_cirrus": True, "mask_snow": True}, {0, 1, 3, 4}),
    ],
)
def test_each_bit_of_fmask_masks_as_documented(tmp_path, options, masked):
    write_scene(tmp_path, fmask=np.append(1 << np.arange(8), np.zeros(8, int)))
    ds = reflectance(tmp_path, **options)
    for colour in COLOURS:
        missing = np.isnan(ds[colour].to_numpy())
        assert {int(b) for b in np.flatnonzero(missing.any(0))} == masked
        assert (missing.all(0) == missing.any(0)).all()


def test_fill_of_fmask_is_masked_and_high_aerosol_over_water_is_not(tmp_path):
    fmask = np.zeros(SHAPE[1], int)
    fmask[[0, 1]] = 255, 0b1110_0000
    write_scene(tmp_path, fmask=fmask)
    missing = np.isnan(reflectance(tmp_path, mask_adjacent=False)["nir"].to_numpy())
    np.testing.assert_array_equal(missing.all(0), fmask == 255)


# --- files --------------------------------------------------------------------------------------


def test_scenes_of_both_sensors_are_in_order_of_date_and_opened_lazily(tmp_path):
    write_scene(tmp_path / "landsat", "L30", day="2021099")
    write_scene(tmp_path / "deep" / "sentinel", "S30", day="2021365")
    write_scene(tmp_path, "S30", day="2020366")
    tiff(tmp_path / "HLS.L30.T13TFE.2021001T173909.v1.5.B02.tif", np.zeros(SHAPE, np.int16))
    tiff(tmp_path / "HLS-VI.L30.T13TFE.2021001T173909.v2.0.EVI.tif", np.zeros(SHAPE, np.int16))
    product = build_product("hls")
    scenes = product.find_scenes(tmp_path)
    assert [str(s.date) for s in scenes] == ["2020-12-31", "2021-04-09", "2021-12-31"]
    assert scenes[0].id == "HLS.S30.T13TFE.2020366T235959.v2.0"
    raw = product.open_scene(scenes[0])
    assert set(raw.data_vars) == {*COLOURS, "Fmask"}
    assert (raw["nir"].dtype, raw["Fmask"].dtype) == (np.int16, np.uint8)
    assert not any(v.variable._in_memory for v in raw.data_vars.values())


@pytest.mark.parametrize("day", ["2021366", "2021000"])
def test_day_of_year_that_does_not_exist_is_refused(tmp_path, day):
    write_scene(tmp_path, day=day)
    (scene,) = build_product("hls").find_scenes(tmp_path)
    assert scene.id == scene_id(day=day)
    assert "not a day" in scene.problem


@pytest.mark.parametrize(
    ("sensor", "layer", "name"),
    [("L30", "B05", "nir"), ("S30", "B8A", "nir"), ("S30", "Fmask", "Fmask")],
)
def test_missing_layer_is_named_with_its_scene(tmp_path, sensor, layer, name):
    folder = write_scene(tmp_path, sensor)
    (folder / f"{scene_id(sensor)}.{layer}.tif").unlink()
    (scene,) = build_product("hls").find_scenes(tmp_path)
    assert scene.id == scene_id(sensor)
    assert f"['{name}']" in scene.problem


def test_layers_of_one_scene_must_share_a_grid(tmp_path):
    folder = write_scene(tmp_path)
    band = folder / f"{scene_id()}.B04.tif"
    tiff(band, np.full(SHAPE, 9000, np.int16), corner=(CORNER[0] + 30, CORNER[1]))
    product = build_product("hls")
    (scene,) = product.find_scenes(tmp_path)
    with pytest.raises(GridMismatchError, match=facts(scene_id(), "layers", "red", "600030")):
        product.open_scene(scene)


def test_empty_folder_has_no_scenes_and_a_missing_one_is_refused(tmp_path):
    assert ids(tmp_path) == ids(tmp_path, tile="13TFE") == []
    with pytest.raises(SceneError, match=facts("absent", "HLS")):
        ids(tmp_path / "absent")


# --- tiles and days -----------------------------------------------------------------------------


@pytest.fixture
def tiles(tmp_path):
    """Write three scenes of two tiles; one of the second tile lacks its Fmask."""
    write_scene(tmp_path, day="2021091")
    write_scene(tmp_path, "S30", day="2021092")
    folder = write_scene(tmp_path, day="2021091", tile="13TFF")
    (folder / f"{scene_id(tile='13TFF')}.Fmask.tif").unlink()
    return tmp_path


def test_several_tiles_are_refused_by_name(tiles):
    with pytest.raises(SceneError, match=facts("['13TFE', '13TFF']", 'tile = "13TFE"')):
        ids(tiles)


@pytest.mark.parametrize("tile", ["13TFE", "T13TFE", "t13tfe"])
def test_one_tile_is_chosen_and_the_others_are_not_looked_at(tiles, tile):
    assert ids(tiles, tile=tile) == [scene_id(), scene_id("S30", day="2021092")]
    assert build_product("hls", tile=tile) == build_product("hls", tile="13TFE")


def test_tile_that_is_not_there_is_refused_with_those_that_are(tiles):
    with pytest.raises(SceneError, match=facts("55HCV", "['13TFE', '13TFF']")):
        ids(tiles, tile="55HCV")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": "13"}, facts("tile", "'13'", "MGRS")),
        ({"prefer": "M30"}, facts("prefer", "'M30'", "L30", "S30")),
        ({"mask_cloud": False}, "mask_cloud"),
    ],
)
def test_unusable_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        build_product("hls", **options)


@pytest.mark.parametrize(("options", "first"), [({}, "L30"), ({"prefer": "S30"}, "S30")])
def test_day_with_both_sensors_lists_the_preferred_one_first(tmp_path, options, first):
    for sensor in ("L30", "S30"):
        write_scene(tmp_path, sensor, day="2021091")
    write_scene(tmp_path, "L30", day="2021090")
    write_scene(tmp_path, "S30", day="2021092")
    other = {"L30": "S30", "S30": "L30"}[first]
    both = [scene_id(first, "2021091"), scene_id(other, "2021091")]
    want = [scene_id("L30", "2021090"), *both, scene_id("S30", "2021092")]
    assert ids(tmp_path, **options) == want


# --- into a cube --------------------------------------------------------------------------------


def test_folder_of_both_sensors_becomes_one_cube(tmp_path):
    fmask = np.zeros(SHAPE, int)
    fmask[1, 3], fmask[2, 5] = 1 << 1, 255
    write_scene(tmp_path / "hls", "L30", day="2021091", crs=UNNAMED_DATUM, fmask=fmask)
    write_scene(tmp_path / "hls", "L30", day="2021094", crs=UNNAMED_DATUM)
    write_scene(tmp_path / "hls", "S30", day="2021094")
    write_scene(tmp_path / "hls", "S30", day="2021096")
    path = tmp_path / "fine.zarr"
    report = ingest(build_product("hls"), tmp_path / "hls", path, kind="fine")
    want = (scene_id(day="2021091"), scene_id(day="2021094"), scene_id("S30", day="2021096"))
    both = scene_id("S30", day="2021094")
    assert report.added == pytest.approx(dict(zip((*want, both), (62 / 64, 1, 1, 1), strict=True)))
    ds = open_cube(path).load()
    assert ds.odc.geobox.crs.epsg == 32613
    assert ds.odc.geobox.affine == Affine(30, 0, CORNER[0], 0, -30, CORNER[1])
    assert ds.attrs["source"] == "hls"
    assert json.loads(str(ds["scenes"].values[1])) == [want[1], both]
    np.testing.assert_array_equal(ds["clear"][0], fmask == 0)
    for colour, old, new in zip(COLOURS, USED["L30"], USED["S30"], strict=True):
        for t, number in ((1, L30[old]), (2, S30[new])):
            np.testing.assert_allclose(ds[colour][t], number * 1e-4, rtol=2**-12)
    with pytest.raises(CubeStructureError, match=facts("fine.zarr", "prefer='S30'", "--overwrite")):
        ingest(build_product("hls", prefer="S30"), tmp_path / "hls", path, kind="fine")


@pytest.mark.parametrize(
    ("crs", "epsg"),
    [
        (UNNAMED_DATUM, 32613),
        (UNNAMED_DATUM.replace('"false_northing",0', '"false_northing",10000000'), 32713),
        ("EPSG:3577", 3577),
        ("EPSG:26913", 26913),
        ("EPSG:3036", 3036),  # Moznet, UTM on the WGS 84 ellipsoid
    ],
)
def test_only_a_utm_grid_without_a_code_gets_one(tmp_path, crs, epsg):
    write_scene(tmp_path, crs=crs)
    product = build_product("hls")
    (scene,) = product.find_scenes(tmp_path)
    assert product.open_scene(scene).odc.geobox.crs.epsg == epsg


def test_two_scenes_of_one_sensor_and_day_are_composed(tmp_path):
    for time in ("173909", "191200"):
        write_scene(tmp_path / "hls", time=time)
    report = ingest(build_product("hls"), tmp_path / "hls", tmp_path / "c.zarr", kind="fine")
    assert len(report.added) == 2
    assert open_cube(tmp_path / "c.zarr").sizes["time"] == 1


# --- what the files say of themselves ------------------------------------------------------------


def change(folder, layer="B05", mask=None, **tags):
    """Change what one file says of itself."""
    (path,) = folder.glob(f"*.{layer}.tif")
    with rasterio.open(path, "r+") as file:
        for name, value in tags.items():
            setattr(file, name, value)
        if mask is not None:
            file.write_mask(mask)


def test_tags_of_the_archive_are_passed(tmp_path):
    folder = write_scene(tmp_path)
    for layer in USED["L30"]:
        change(folder, layer, scales=(1e-4,), offsets=(0.0,), nodata=-9999)
    np.testing.assert_allclose(reflectance(tmp_path)["nir"], 0.1005, rtol=1e-6)


def test_other_scale_is_refused_with_the_file(tmp_path):
    change(write_scene(tmp_path), scales=(2.75e-5,), offsets=(-0.2,))
    with pytest.raises(SceneError, match=facts("B05.tif", "2.75e-05", "-0.2", "0.0001")):
        reflectance(tmp_path)


def test_other_nodata_and_a_mask_are_honoured(tmp_path):
    dn = np.full(SHAPE, 1000, np.int16)
    dn[0] = 77
    folder = write_scene(tmp_path, dn=dn)
    mask = np.ones(SHAPE, bool)
    mask[1] = False
    change(folder, nodata=77, mask=mask)
    ds = reflectance(tmp_path)
    np.testing.assert_array_equal(np.isnan(ds["nir"]).all("x"), [True, True, False, False])
    np.testing.assert_array_equal(np.isnan(ds["red"]).any("x"), [False, True, False, False])


# --- through a catalogue ------------------------------------------------------------------------


def catalogue(folder, *sensors, name="{}", **item):
    """Write one scene of each sensor, and a catalogue whose items have all layers as assets."""
    pystac = pytest.importorskip("pystac")
    top = pystac.Catalog("archive", "scenes of a test")
    for sensor in sensors:
        scene = write_scene(folder, sensor)
        when = dt.datetime(2021, 4, 1, 12, tzinfo=dt.UTC)
        found = pystac.Item(name.format(scene.name), None, None, when, {}, **item)
        for file in some(sorted(scene.glob("*.tif"))):
            found.add_asset(file.name.split(".")[-2], pystac.Asset(str(file)))
        top.add_item(found)
    top.normalize_and_save(str(folder), pystac.CatalogType.ABSOLUTE_PUBLISHED)
    return folder / "catalog.json"


@pytest.mark.parametrize(("sensor", "numbers"), [("L30", L30), ("S30", S30)])
def test_bands_of_an_item_are_those_of_its_sensor(tmp_path, sensor, numbers):
    # All keys of the one sensor occur in the other too, with another meaning.
    product = build_product("stac", like="hls")
    (scene,) = product.find_scenes(catalogue(tmp_path, sensor))
    ds = product.to_reflectance(product.open_scene(scene))
    for colour, layer in zip(COLOURS, USED[sensor], strict=True):
        np.testing.assert_allclose(ds[colour], numbers[layer] * 1e-4, rtol=1e-6)


@pytest.mark.parametrize("sensor", ["L30", "S30"])
def test_item_of_one_sensor_does_not_take_the_band_of_the_other(tmp_path, sensor):
    where = catalogue(tmp_path, sensor)
    (path,) = where.parent.rglob(f"HLS.{sensor}*.json")
    item = json.loads(path.read_text())
    del item["assets"][{"L30": "B06", "S30": "B11"}[sensor]]
    path.write_text(json.dumps(item))
    (scene,) = build_product("stac", like="hls").find_scenes(where)
    assert "['swir1']" in scene.problem


def test_item_whose_names_contradict_each_other_is_refused(tmp_path):
    where = catalogue(tmp_path, "L30")
    (path,) = where.parent.rglob("HLS*.json")
    path.write_text(path.read_text().replace('"id": "HLS.L30', '"id": "HLS.S30'))
    (scene,) = build_product("stac", like="hls").find_scenes(where)
    assert "['L30', 'S30']" in scene.problem


def test_any_name_of_an_item_may_say_the_sensor():
    keys_of = build_product("hls").keys_of
    assert keys_of(["scene-1", "HLSS30_2.0"])["swir1"][0] == "B11"
    assert keys_of(["scene-1", "", "x/HLSL30.020/HLS.L30.T55HCV.B06.tif"])["swir1"][0] == "B06"
    with pytest.raises(SceneError, match=facts("no product", "L30", "S30")):
        keys_of(["scene-1", "", "a/B06.tif"])


REAL = Path(__file__).parents[3] / "shared" / "data" / "real" / "stac_items"
COMMON = dict(zip(COLOURS, ("blue", "green", "red", "nir", "swir16", "swir22"), strict=True))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real items are not beside this checkout")
def test_keys_are_those_that_planetary_computer_states():
    template = json.loads(
        (REAL / "planetary-computer_hls2-l30_collection-template.json").read_text()
    )
    keys = build_product("hls").keys_of(["hls2-l30"])
    stated = template["item_assets"]
    for layer, common in COMMON.items():
        assert stated[keys[layer][0]]["eo:bands"][0]["common_name"] == common
    assert keys["Fmask"][0] in stated
