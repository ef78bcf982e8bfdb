"""STAC: a generated static catalogue of COGs gives the same cube as the files themselves."""

from __future__ import annotations

import datetime as dt
import shutil
import sys

import pytest
import rasterio.shutil
import xarray as xr
from checks import facts, some

from biastf_xr.cube import ingest, open_cube
from biastf_xr.errors import ConfigError, SceneError
from biastf_xr.sources import build_product, product_class

pystac = pytest.importorskip("pystac")

CORNERS = [[146.5, -34.63], [146.55, -34.63], [146.55, -34.6], [146.5, -34.6], [146.5, -34.63]]
SQUARE = {"type": "Polygon", "coordinates": [CORNERS]}
KEYS = {layer: keys[0] for layer, keys in product_class("landsat-c2-l2").asset_keys.items()}


@pytest.fixture(scope="module")
def catalogue(small_scenes, tmp_path_factory):
    """Write the scenes of the small region as a self-contained catalogue of COGs."""
    root = tmp_path_factory.mktemp("stac")
    top = pystac.Catalog("archive", "scenes of a test")
    for scene in build_product("landsat-c2-l2").find_scenes(small_scenes.landsat):
        when = dt.datetime.fromisoformat(str(scene.date)).replace(hour=1, tzinfo=dt.UTC)
        item = pystac.Item(scene.id, SQUARE, [146.5, -34.63, 146.55, -34.6], when, {})
        folder = root / "landsat" / scene.id
        folder.mkdir(parents=True)
        for layer, file in scene.files.items():
            cog = folder / f"{layer}.tif"
            rasterio.shutil.copy(file, cog, driver="COG")
            item.add_asset(KEYS[layer], pystac.Asset(f"../landsat/{scene.id}/{layer}.tif"))
        top.add_item(item)
    top.normalize_hrefs(str(root))
    for item in top.get_items():
        for asset in item.assets.values():
            asset.href = str(root / asset.href.removeprefix("../"))
        item.make_asset_hrefs_relative()
    top.save(pystac.CatalogType.SELF_CONTAINED)
    return root


def test_catalogue_gives_the_cube_of_its_files(catalogue, small_cubes, tmp_path):
    product = build_product("stac", like="landsat-c2-l2")
    report = ingest(product, catalogue, tmp_path / "fine.zarr", kind="fine")
    assert len(report.added) == 3
    made, want = open_cube(tmp_path / "fine.zarr").load(), open_cube(small_cubes.fine).load()
    xr.testing.assert_equal(made, want)
    assert ingest(product, catalogue, tmp_path / "fine.zarr", kind="fine").added == {}


def test_catalogue_may_be_moved(catalogue, tmp_path):
    shutil.copytree(catalogue, tmp_path / "moved")
    product = build_product("stac", like="landsat-c2-l2")
    scene = product.find_scenes(tmp_path / "moved" / "catalog.json")[0]
    assert str(scene.files["nir"]).startswith(str(tmp_path / "moved"))
    assert product.open_scene(scene)["nir"].shape == (96, 80)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"datetime": "2021-04-10/2021-04-30"}, 1),
        ({"datetime": "2021-04-01"}, 1),
        ({"bbox": (146.0, -35.0, 147.0, -34.0)}, 3),
        ({"bbox": (10.0, 50.0, 11.0, 51.0)}, 0),
        ({"collections": ("other",)}, 0),
    ],
)
def test_items_are_chosen_by_place_time_and_collection(catalogue, options, count):
    assert (
        len(build_product("stac", like="landsat-c2-l2", **options).find_scenes(catalogue)) == count
    )


def test_item_without_an_asset_is_named(catalogue):
    product = build_product("stac", like="landsat-c2-l2", assets={"nir": "nir99"})
    scenes = product.find_scenes(catalogue)
    assert all("['nir']" in s.problem for s in some(scenes))


def test_api_is_asked_for_what_the_options_say(monkeypatch, catalogue):
    client = pytest.importorskip("pystac_client")
    asked = {}

    class Stub:
        """An API that answers with the items of the static catalogue."""

        def search(self, **query):
            asked.update(query)
            return self

        def items(self):
            return pystac.Catalog.from_file(str(catalogue / "catalog.json")).get_items()

    monkeypatch.setattr(client.Client, "open", lambda _: Stub())
    where = {"bbox": (1.0, 2.0, 3.0, 4.0), "datetime": "2021-04-01/2021-05-01"}
    product = build_product("stac", like="landsat-c2-l2", collections=["landsat-c2l2-sr"], **where)
    assert len(product.find_scenes("https://stac.example/v1")) == 3
    assert asked == {"collections": ["landsat-c2l2-sr"], **where}
    with pytest.raises(
        ConfigError, match=facts("https://stac.example/v1", "collections", "bbox", "datetime")
    ):
        list(build_product("stac", like="hls").find_scenes("https://stac.example/v1"))


def test_mistakes_are_named(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=facts("'sentinel'", "['hls', 'landsat-c2-l2']")):
        build_product("stac", like="sentinel")
    with pytest.raises(ConfigError, match="mask_clouds"):
        build_product("stac", like="hls", options={"mask_clouds": True})
    with pytest.raises(ConfigError, match=facts("['nur']", "'nir'")):
        build_product("stac", like="hls", assets={"nur": "B05"})
    product = build_product("stac", like="hls")
    with pytest.raises(SceneError, match=facts(tmp_path, "catalog.json")):
        product.find_scenes(tmp_path)
    monkeypatch.setitem(sys.modules, "pystac", None)
    with pytest.raises(ConfigError, match=r"biastf-xr\[stac\]"):
        product.find_scenes(tmp_path)
