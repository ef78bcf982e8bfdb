"""STAC: a generated static catalogue of COGs gives the same cube as the files themselves."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import rasterio.shutil
import test_granules
import test_hls
import test_viirs
import xarray as xr
from checks import facts, some

from biastf_xr.cube import ingest, open_cube
from biastf_xr.errors import ConfigError, SceneError, TargetDateError
from biastf_xr.sources import build_product, product_class
from biastf_xr.sources.stac import _meet

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

    monkeypatch.setattr(client.Client, "open", lambda *_, **__: Stub())
    where = {"bbox": (1.0, 2.0, 3.0, 4.0), "datetime": "2021-04-01/2021-05-01"}
    product = build_product("stac", like="landsat-c2-l2", collections=["landsat-c2l2-sr"], **where)
    assert len(product.find_scenes("https://stac.example/v1")) == 3
    assert asked == {"collections": ["landsat-c2l2-sr"], **where}
    with pytest.raises(
        ConfigError, match=facts("https://stac.example/v1", "collections", "bbox", "datetime")
    ):
        list(build_product("stac", like="hls").find_scenes("https://stac.example/v1"))


def test_mistakes_are_named(tmp_path, monkeypatch):
    with pytest.raises(
        ConfigError, match=facts("'sentinel'", "'hls'", "'landsat-c2-l2'", "'mod09ga'")
    ):
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


# --- items without a catalogue ------------------------------------------------------------------


def item(folder, names, *, id_, keys=None, **properties):
    """Write an item of files, whatever its keys are, in a folder of its own."""
    keys = keys or [f"asset {n}" for n in range(len(names))]
    made = {
        "type": "Feature", "stac_version": "1.0.0", "id": id_, "geometry": None, "links": [],
        "properties": {"datetime": "2021-04-01T00:00:00Z", **properties},
        "assets": {
            key: {"href": str(name)}
            for key, name in zip(keys, names, strict=True)
        },
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{id_}.json"
    path.write_text(json.dumps(made))
    return path


@pytest.fixture
def scenes(small_scenes, tmp_path):
    """Copy a scene of the small region, and an item beside its files whose URLs lead nowhere."""
    first = build_product("landsat-c2-l2").find_scenes(small_scenes.landsat)[0]
    names = []
    for file in first.files.values():
        shutil.copy(file, tmp_path / file.name)
        names.append(f"http://127.0.0.1:9/{file.name}")
    return item(tmp_path, names, id_=f"{first.id}_SR")


def test_item_delivered_with_a_scene_reads_the_files_beside_it(scenes):
    product = build_product("stac", like="landsat-c2-l2")
    (there,) = build_product("landsat-c2-l2").find_scenes(scenes.parent)
    for where in (scenes, scenes.parent):
        (found,) = product.find_scenes(where)
        assert found == there
        xr.testing.assert_identical(
            product.open_scene(found).load(),
            build_product("landsat-c2-l2").open_scene(there).load(),
        )


def test_one_file_may_hold_many_items(scenes, tmp_path):
    one = json.loads(scenes.read_text())
    many = tmp_path / "answer.geojson"
    many.write_text(json.dumps({"type": "FeatureCollection", "features": [one, one]}))
    scenes.unlink()
    (found,) = build_product("stac", like="landsat-c2-l2").find_scenes(many)
    assert not found.problem
    assert set(found.files) >= {"blue", "nir", "QA_PIXEL"}
    assert build_product("stac", like="landsat-c2-l2").find_scenes(tmp_path)[0] == found


def test_keys_that_are_ends_of_names_are_known(tmp_path):
    """As USGS wrote items until 2021, with files renamed by whoever stored them."""
    keys = [*(f"SR_B{n}.TIF" for n in range(1, 8)), "QA_PIXEL.TIF", "QA_RADSAT.TIF", "MTL.txt"]
    names = [f"/archive/{n}.tif" for n in range(len(keys))]
    name = "LC08_L2SR_081119_20200101_20200823_02_T2"
    path = item(tmp_path, names, id_=name, keys=keys)
    (found,) = build_product("stac", like="landsat-c2-l2", allow=["file"]).find_scenes(path)
    assert (found.id, found.problem) == (name, "")
    assert str(found.files["blue"]) == "/archive/1.tif"
    assert str(found.files["swir2"]) == "/archive/6.tif"


def test_file_that_is_no_item_and_folder_without_one_are_named(tmp_path):
    product = build_product("stac", like="hls")
    with pytest.raises(SceneError, match=facts(tmp_path, "item")):
        product.find_scenes(tmp_path)
    for text in ("not json", "[]", '{"type": "Feature"}'):
        (tmp_path / "odd.json").write_text(text)
        with pytest.raises(SceneError, match=facts("odd.json", "item")):
            product.find_scenes(tmp_path / "odd.json")


def test_item_of_another_product_says_which(tmp_path):
    path = item(tmp_path, ["a/HLS.L30.T55HCV.2020001T000000.v2.0.B02.tif"], id_="x", keys=["blue"])
    (found,) = build_product("stac", like="landsat-c2-l2").find_scenes(path)
    assert 'like = "hls"' in found.problem
    path = item(tmp_path, ["a/b.tif"], id_="y", keys=["blau"])
    (found,) = build_product("stac", like="landsat-c2-l2").find_scenes(path)
    assert re.match(facts("['blau']", "option assets"), found.problem)


def test_keys_of_stactools_are_known_for_both_sensors_of_hls(tmp_path):
    keys = ("blue", "green", "red", "nir_narrow", "swir_1", "swir_2", "fmask")
    for sensor in ("L30", "S30"):
        id_ = f"HLS.{sensor}.T19LDD.2022165T144027.v2.0"
        item(tmp_path, [f"/x/{key}.tif" for key in keys], id_=id_, keys=keys)
    for scene in some(build_product("stac", like="hls", allow=["file"]).find_scenes(tmp_path)):
        assert not scene.problem
        assert str(scene.files["swir1"]) == "/x/swir_1.tif"


# --- the product's own options and files --------------------------------------------------------


def test_tile_and_preference_of_hls_are_honoured(tmp_path):
    folders = [test_hls.write_scene(tmp_path, sensor) for sensor in ("L30", "S30")]
    folders.append(test_hls.write_scene(tmp_path, "L30", tile="13TFF"))
    for folder in folders:
        item(tmp_path / "items", sorted(folder.glob("*.tif")), id_=folder.name)
    hls = {"like": "hls", "allow": ["file"], "options": {"tile": "13TFE", "prefer": "S30"}}
    found = build_product("stac", **hls).find_scenes(tmp_path / "items")
    assert [s.id.split(".")[1:3] for s in found] == [["S30", "T13TFE"], ["L30", "T13TFE"]]
    with pytest.raises(SceneError, match=facts("13TFE", "13TFF")):
        build_product("stac", like="hls", allow=["file"]).find_scenes(tmp_path / "items")


def test_granules_of_both_kinds_are_found(tmp_path):
    pytest.importorskip("pyhdf")
    modis = test_granules.write(
        tmp_path / "modis" / "files" / test_granules.name(), test_granules.mod09()
    )
    item(tmp_path / "modis", [modis], id_="MOD09GA.A2020001.h29v12.061", keys=["hdf"])
    product = build_product("stac", like="mod09ga")
    (scene,) = product.find_scenes(tmp_path / "modis")
    assert scene.key == "MOD09GA.A2020001.h29v12"
    assert product.to_reflectance(product.open_scene(scene))["view_zenith"][0, 0] == 23
    viirs = test_viirs.write(tmp_path / "viirs" / "files" / test_viirs.name(), test_viirs.vnp09())
    item(tmp_path / "viirs", [viirs], id_="VNP09GA", keys=["data"])
    product = build_product("stac", like="vnp09ga")
    (scene,) = product.find_scenes(tmp_path / "viirs")
    assert float(product.to_reflectance(product.open_scene(scene))["red"][0, 0]) > 0


# --- logins ---------------------------------------------------------------------------------------


def test_files_of_planetary_computer_are_signed_when_they_are_read(scenes, monkeypatch):
    signed = []

    def sign(url):
        signed.append(url)
        return f"{url}?sig=secret"

    monkeypatch.setitem(sys.modules, "planetary_computer", SimpleNamespace(sign=sign))
    for file in scenes.parent.glob("*.TIF"):
        file.unlink()
    product = build_product(
        "stac", like="landsat-c2-l2", login="planetary-computer", allow=["http"]
    )
    (scene,) = product.find_scenes(scenes)
    # A cube knows its scenes by their files: a signature would make every scene a new one.
    assert signed == []
    assert not any("sig" in str(file) for file in scene.files.values())
    with pytest.raises(SceneError, match=facts("127.0.0.1:9")) as caught:
        product.open_scene(scene)
    assert len(signed) == len(scene.files)
    assert "secret" not in str(caught.value)


# Hands out the files of a folder to who has the token.  A process of its own: the lock of Python is
# held while GDAL opens a file.
SERVER = """
import http.server, pathlib, re, sys

class Guarded(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") != "Bearer open sesame":
            self.answer(401, b"")
            return
        content = (pathlib.Path(sys.argv[1]) / self.path.strip("/")).read_bytes()
        part = re.match("bytes=([0-9]+)-([0-9]*)", self.headers.get("Range", ""))
        if part is None:
            self.answer(200, content)
            return
        first, last = int(part[1]), min(int(part[2] or len(content)), len(content) - 1)
        range_ = f"bytes {first}-{last}/{len(content)}"
        self.answer(206, content[first : last + 1], **{"Content-Range": range_})

    do_HEAD = do_GET

    def answer(self, code, content, **headers):
        self.send_response(code)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.fixture
def guarded(scenes):
    """Serve the files of a scene to who has a token, and write an item that points there."""
    command = [sys.executable, "-c", SERVER, str(scenes.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        port = server.stdout.readline().strip()
        there = scenes.parent / "item" / "item.json"
        there.parent.mkdir()
        there.write_text(scenes.read_text().replace("127.0.0.1:9/", f"127.0.0.1:{port}/"))
        yield there
        server.terminate()


@pytest.fixture
def account(monkeypatch):
    """Have the client of NASA Earthdata, with a login by token."""
    from biastf_xr.sources import _login

    def login(strategy):
        if strategy != "netrc":
            raise RuntimeError("no variable EARTHDATA_TOKEN")

    client = SimpleNamespace(login=login, get_edl_token=lambda: {"access_token": "open sesame"})
    monkeypatch.setitem(sys.modules, "earthaccess", client)
    monkeypatch.setattr("biastf_xr.sources.stac.TOKEN_HOSTS", ("127.0.0.1",))
    _login.earthdata.cache_clear()
    yield client
    _login.earthdata.cache_clear()


def test_files_of_earthdata_are_read_with_the_token_of_the_login(
    guarded, account, scenes, tmp_path
):
    product = build_product("stac", like="landsat-c2-l2", login="earthdata", allow=["http"])
    report = ingest(product, guarded, tmp_path / "behind.zarr", kind="fine")
    assert not report.rejected
    ingest(build_product("stac", like="landsat-c2-l2"), scenes, tmp_path / "c.zarr", kind="fine")
    made, want = (open_cube(tmp_path / f"{name}.zarr").load() for name in ("behind", "c"))
    xr.testing.assert_equal(made, want)


def test_files_behind_a_login_are_not_read_without(guarded, tmp_path):
    product = build_product("stac", like="landsat-c2-l2", allow=["http"])
    with pytest.raises(SceneError, match=facts("127.0.0.1", "401")):
        ingest(product, guarded, tmp_path / "behind.zarr", kind="fine")


def test_lack_of_a_login_and_of_an_extra_are_named(monkeypatch, account):
    from biastf_xr.sources import _login

    def login(strategy):
        raise RuntimeError(f"nothing for {strategy}")

    monkeypatch.setattr(account, "login", login)
    product = build_product("stac", like="hls", login="earthdata")
    with pytest.raises(ConfigError, match=facts("earthdata", "netrc", "EARTHDATA_TOKEN")):
        _ = product.gdal_options
    for package, extra in (("earthaccess", "earthdata"), ("planetary_computer",) * 2):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ConfigError, match=rf"biastf-xr\[{extra.replace('_', '-')}\]"):
            _login.need(package, extra.replace("_", "-"))


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("https://planetarycomputer.microsoft.com/api/stac/v1", "planetary-computer"),
        ("https://cmr.earthdata.nasa.gov/stac/LPCLOUD", "earthdata"),
    ],
)
def test_apis_that_ask_for_a_login_are_known(url, login):
    pytest.importorskip("pystac_client")
    where = {"collections": ["x"], "bbox": (1.0, 2.0, 3.0, 4.0), "datetime": "2021-04-01"}
    with pytest.raises(ConfigError, match=facts(url, f'login = "{login}"')):
        build_product("stac", like="hls", **where).find_scenes(url)
    with pytest.raises(ConfigError, match=facts("'me'", "earthdata")):
        build_product("stac", like="hls", login="me")


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ((179, -18, -179, -16), (-179.5, -17, -178, -15), True),  # across the 180th meridian
        ((179, -18, -179, -16), (178, -17, -179.9, -15), True),
        ((179, -18, -179, -16), (170, -17, 178, -15), False),
        ((179, -18, -179, -16), (-179.5, -15, -178, -14), False),
        ((10, 50, 11, 51), (10.5, 50.5, 0, 12, 52, 900), True),  # with heights
        ((10, 50, 11, 51), (11.5, 50.5, 12, 52), False),
        ((-180, -90, 180, 90), (10, 50, 11, 51), True),
    ],
)
def test_boxes_meet_on_a_globe(one, other, meet):
    assert _meet(one, other) is meet
    assert len(other) == 6 or _meet(other, one) is meet


def test_items_of_one_id_in_two_collections_are_two_scenes(tmp_path):
    features = []
    for part in ("west", "east"):
        when = dt.datetime(2021, 4, 1, 1, tzinfo=dt.UTC)
        item = pystac.Item("20210401", SQUARE, CORNERS[0] + CORNERS[2], when, {}, collection=part)
        for key in KEYS.values():
            item.add_asset(key, pystac.Asset(f"https://example.org/{part}/{key}.tif"))
        features.append(item.to_dict(include_self_link=False, transform_hrefs=False))
    file = tmp_path / "items.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    first, second = build_product("stac", like="landsat-c2-l2").find_scenes(file)
    assert not first.problem + second.problem
    assert (first.acquisition, second.acquisition) == ("20210401", "20210401 of east")
    assert "west" in str(first.files["nir"])
    assert "east" in str(second.files["nir"])


@pytest.mark.parametrize(
    ("period", "days"),
    [
        ("2021-04-01/2021-04-10", 1), ("20210401/20210401", 1), ("2021-04-01", 1),
        ("../2021-04-10", 1), ("2021-04-02/..", 2), ("2021-04-17T12:00:00Z/2021-05-30", 2),
    ],
)  # fmt: skip
def test_a_period_is_read_as_days_are(catalogue, period, days):
    product = build_product("stac", like="landsat-c2-l2", datetime=period)
    assert len(product.find_scenes(catalogue)) == days


@pytest.mark.parametrize("period", ["2021-04", "2021-4-1/2021-05-01", "2021091", "a/b/c"])
def test_a_period_that_is_none_is_refused(period):
    with pytest.raises((ConfigError, TargetDateError), match=facts("datetime")):
        build_product("stac", like="landsat-c2-l2", datetime=period)


def test_items_behind_links_are_found_and_dead_links_named(tmp_path):
    item = pystac.Item("one", SQUARE, None, dt.datetime(2021, 4, 1, tzinfo=dt.UTC), {})
    for key in KEYS.values():
        item.add_asset(key, pystac.Asset(f"https://example.org/{key}.tif"))
    folder = tmp_path / "items"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "one.json").write_text(json.dumps(item.to_dict()))
    (folder / "linked").symlink_to(folder / "a")
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    one, gone = build_product("stac", like="landsat-c2-l2").find_scenes(folder)
    assert (one.id, one.problem, gone.id) == ("one", "", "gone")
    assert "nowhere" in gone.problem
