"""Every real file beside the checkout is read, or refused as its record of origin says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from checks import facts, some

from biastf_xr.errors import SceneError
from biastf_xr.sources import build_product

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"
pytestmark = pytest.mark.skipif(
    not REAL.is_dir(), reason="the real files are not beside this checkout"
)
COLOURS = {"blue", "green", "red", "nir", "swir1", "swir2"}
FOLDERS = {
    "hdfeos2_other", "hls_fmask", "hls_headers_only", "landsat_c2_l2_512px", "landsat_c2_l2_60px",
    "landsat_mtl", "mcd43a4_cog_240px", "mod09ga_hdf4", "stac_items",
}  # fmt: skip


def copied(file, folder, name=None):
    """Put a file into a folder, under another name if one is given."""
    folder.mkdir(exist_ok=True)
    shutil.copy(file, folder / (name or file.name))
    return folder


def ready(product, scene):
    """Return a scene in reflectance, once its numbers are those of the ground."""
    assert not scene.problem
    made = product.to_reflectance(product.open_scene(scene)).load()
    for band in product.bands:
        values = made[band].values
        clear = values[np.isfinite(values)]
        assert clear.size
        assert -0.1 < np.median(clear) < 0.9
    return made


def test_every_folder_is_tested_here():
    assert {path.name for path in REAL.iterdir() if path.is_dir()} == FOLDERS


def test_landsat_scenes_of_three_satellites_are_read():
    product = build_product("landsat-c2-l2")
    scenes = product.find_scenes(REAL / "landsat_c2_l2_60px")
    assert [scene.key for scene in scenes] == [
        "LT05_090084_19980308", "LE07_090084_20210331", "LC08_098084_20210503",
    ]  # fmt: skip
    for scene in scenes:
        made = ready(product, scene)
        # Red soil and dry grass of inland Australia: more light the longer the wave.
        assert made["swir1"].median() > made["red"].median() > made["blue"].median()


def test_landsat_scene_of_512_pixels_is_read():
    product = build_product("landsat-c2-l2")
    (scene,) = product.find_scenes(REAL / "landsat_c2_l2_512px")
    # Rain forest: much near infrared.
    made = ready(product, scene)
    assert made["nir"].median() > 2 * made["red"].median()


def test_item_delivered_with_a_scene_reads_its_files():
    pytest.importorskip("pystac")
    (path,) = (REAL / "landsat_c2_l2_60px").rglob("*_stac.json")
    product = build_product("stac", like="landsat-c2-l2")
    (scene,) = product.find_scenes(path)
    assert scene in build_product("landsat-c2-l2").find_scenes(path.parent)
    ready(product, scene)


def test_metadata_alone_is_no_scene_and_level_1_is_refused():
    scenes = build_product("landsat-c2-l2").find_scenes(REAL / "landsat_mtl")
    assert sorted(scene.id for scene in scenes) == [
        "LC08_L1TP_090084_20160121_20170405_01_T1", "LC08_L1TP_090084_20160121_20200907_02_T1",
    ]  # fmt: skip
    for scene in scenes:
        assert re.match(facts("L1TP", "L2SP"), scene.problem)


@pytest.mark.parametrize("name", [path.name for path in (REAL / "landsat_mtl").glob("*L2S*")])
def test_metadata_of_level_2_agrees_with_what_is_declared(name):
    build_product("landsat-c2-l2")._check_metadata(REAL / "landsat_mtl" / name)


def test_granule_of_collection_006_is_refused_and_reads_as_061(tmp_path):
    pytest.importorskip("pyhdf")
    (file,) = (REAL / "mod09ga_hdf4").glob("*.hdf")
    product = build_product("mod09ga")
    (scene,) = product.find_scenes(file.parent)
    assert re.match(facts("006", "061"), scene.problem)
    (scene,) = product.find_scenes(copied(file, tmp_path, file.name.replace(".006.", ".061.")))
    raw = product.open_scene(scene)
    assert raw["red"].shape == (2400, 2400)
    made = product.to_reflectance(raw)
    seen = made["view_zenith"].values
    assert 0 < seen[seen != 255].max() < 90
    # Antarctica, h14v17: what is not masked is bright.
    clear = made["red"].values[np.isfinite(made["red"].values)]
    assert clear.size == 0 or np.median(clear) > 0.5


def test_granules_as_cogs_are_a_scene(tmp_path):
    product = build_product("mcd43a4")
    (scene,) = product.find_scenes(REAL / "mcd43a4_cog_240px")
    assert (scene.key, str(scene.date)) == ("MCD43A4.A2017006.h21v11", "2017-01-06")
    made = ready(product, scene)
    # The same files under the names of AppEEARS are the same scene.
    for file in (REAL / "mcd43a4_cog_240px").glob("*.TIF"):
        number, quality = re.search(r"_B0(\d)(qa)?", file.name).groups()
        text = "BRDF_Albedo_Band_Mandatory_Quality" if quality else "Nadir_Reflectance"
        copied(file, tmp_path, f"MCD43A4.061_{text}_Band{number}_doy2017006_aid0001.tif")
    (other,) = product.find_scenes(tmp_path)
    assert ready(product, other).equals(made)


@pytest.mark.parametrize("name", ["MOD10A2", "MOD13A2"])
def test_other_products_of_the_land_grid_are_refused(name):
    scenes = build_product("mod09ga").find_scenes(REAL / "hdfeos2_other")
    (scene,) = [scene for scene in scenes if scene.id.startswith(name)]
    assert scene.problem.startswith(f"is {name}")


@pytest.mark.parametrize("tile", ["06WVS", "13RCN"])
def test_quality_layer_alone_is_no_scene(tile):
    (scene,) = build_product("hls", tile=tile).find_scenes(REAL / "hls_fmask")
    assert "'nir'" in scene.problem
    assert "'Fmask'" not in scene.problem.partition("found")[0]


@pytest.mark.parametrize("name", ["HLS.L30.T06WVS.2024120T211159", "HLS.S30.T13RCN.2024128T173909"])
def test_quality_of_whole_tiles_masks(name):
    import rioxarray

    fmask = rioxarray.open_rasterio(REAL / "hls_fmask" / f"{name}.v2.0.Fmask.tif").isel(band=0)
    product = build_product("hls", mask_aerosol=True)
    bands = {band: fmask.astype("int16") * 0 + 1000 for band in product.bands}
    made = product.to_reflectance(fmask.to_dataset(name="Fmask").assign(bands))
    values = fmask.values
    # Cloud, shadow, next to either, aerosol level 3; the fill value is all of them.
    masked = ((values & 0b1110) > 0) | ((values >> 6) == 3)
    np.testing.assert_array_equal(np.isnan(made["red"].values), masked)
    assert 0.02 < masked.mean() < 0.999


@pytest.mark.parametrize("name", ["HLS.L30.T19LBJ.2020239T144556", "HLS.S30.T35VLJ.2021168T100559"])
def test_damaged_tile_has_a_grid_but_no_pixels(name, tmp_path):
    file = REAL / "hls_headers_only" / f"{name}.v2.0.B01.tif"
    product = build_product("hls")
    for layer in ("B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12", "Fmask"):
        copied(file, tmp_path, file.name.replace("B01", layer))
    (scene,) = product.find_scenes(tmp_path)
    raw = product.open_scene(scene)
    assert raw.odc.crs.epsg in (32619, 32719, 32635)
    with pytest.raises((SceneError, OSError)):
        raw.load()


ITEMS = {
    "HLS.L30.T19LDD.2022165T144027.v2.0.json": ("hls", "B06"),
    "HLS.S30.T19LDD.2022166T144741.v2.0.json": ("hls", "B11"),
    "LC08_L2SP_028030_20200114_20200824_02_T1_SR.json": ("landsat-c2-l2", "SR_B6"),
    "LC08_L2SP_047027_20201204_02_T1.json": ("landsat-c2-l2", "SR_B6"),
    "LC08_L2SR_081119_20200101_20200823_02_T2.json": ("landsat-c2-l2", "SR_B6"),
    "LC09_L2SP_010065_20220129_02_T1.json": ("landsat-c2-l2", "SR_B6"),
    "LE07_L2SP_021030_20100109_02_T1.json": ("landsat-c2-l2", "SR_B5"),
    "LE07_L2SP_044033_20210329_20210424_02_T1_SR.json": ("landsat-c2-l2", "SR_B5"),
    "LT05_L2SP_010067_19860424_02_T2.json": ("landsat-c2-l2", "SR_B5"),
    "LT05_L2SP_010067_19860424_20200918_02_T2_SR_stac.json": ("landsat-c2-l2", "SR_B5"),
    "ga_ls8c_ard_3-1-0_088080_2020-05-25_final.stac-item.json": ("dea-ard", "band06"),
}
TEMPLATE = "planetary-computer_hls2-l30_collection-template.json"


def test_every_item_is_tested_here():
    assert {path.name for path in (REAL / "stac_items").iterdir()} == {*ITEMS, TEMPLATE}


@pytest.mark.parametrize("name", ITEMS)
def test_item_is_known_whatever_its_keys(name):
    pytest.importorskip("pystac")
    like, swir1 = ITEMS[name]
    path = REAL / "stac_items" / name
    (scene,) = build_product("stac", like=like, allow=["file", "http"]).find_scenes(path)
    assert not scene.problem
    assert set(scene.files) >= COLOURS
    assert re.search(rf"[._]{swir1}\b", str(scene.files["swir1"]))
    # The wavelength that the item states for the asset is that of the first short-wave infrared.
    for asset in json.loads(path.read_text())["assets"].values():
        if asset["href"].endswith(Path(str(scene.files["swir1"])).name):
            about = (asset.get("eo:bands") or [{}])[0]
            centre = about.get("center_wavelength", 1.6) if isinstance(about, dict) else 1.6
            assert centre == pytest.approx(1.6, abs=0.06)
    others = {"hls": "landsat-c2-l2", "landsat-c2-l2": "hls", "dea-ard": "hls"}
    (scene,) = build_product("stac", like=others[like]).find_scenes(path)
    assert f'like = "{like}"' in scene.problem


def test_folder_of_items_is_read(tmp_path):
    pytest.importorskip("pystac")
    product = build_product("stac", like="landsat-c2-l2", collections=["landsat-c2-l2"])
    assert len(some(product.find_scenes(REAL / "stac_items"))) == 4
