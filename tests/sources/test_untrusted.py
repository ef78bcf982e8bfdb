"""Rasters and catalogues of a stranger: what they name elsewhere is neither read nor asked for."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import test_forms
import test_granules
import test_landsat_c2 as landsat
import test_viirs
from checks import facts, some

from biastf_xr.cube import ingest
from biastf_xr.errors import ConfigError, MethodError, SceneError
from biastf_xr.methods._scene_classes import read_class_map
from biastf_xr.publish._thumbnail import thumbnail
from biastf_xr.sources import PRODUCTS, build_product, product_class
from biastf_xr.sources._rasters import Readable, open_array, open_file

PACKAGE = Path(product_class.__code__.co_filename).parents[1]
SECRET = 23_456  # the number of the canary: no cube may hold it
NAME = f"{landsat.scene_id()}_SR_B4.TIF"
ROWS, COLUMNS = landsat.SHAPE


class Canary:
    """A socket that listens and answers nothing."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/secret.tif"

    def asked(self):
        self.socket.settimeout(0.2)
        try:
            self.socket.accept()[0].close()
        except TimeoutError:
            return False
        return True


@pytest.fixture
def canary(monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "1")  # for the controls, which do ask
    found = Canary()
    yield found
    found.socket.close()


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "private" / "secret.tif"
    landsat.tiff(path, np.full(landsat.SHAPE, SECRET, np.uint16))
    return path


@pytest.fixture
def scene(tmp_path):
    return landsat.write_scene(tmp_path / "scenes")


def vrt(source):
    """Describe a file, or a URL, as an image of the scene."""
    corner = "300000.0, 30.0, 0.0, 4000000.0, 0.0, -30.0"
    return f"""<VRTDataset rasterXSize="{COLUMNS}" rasterYSize="{ROWS}"><SRS>EPSG:32613</SRS>
    <GeoTransform>{corner}</GeoTransform><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>
    <SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
    </VRTRasterBand></VRTDataset>"""


def descriptions(secret, canary):
    """Return files that are no image themselves, and lead to one: what each is, and its text."""
    window = f"""<DataWindow><UpperLeftX>300000</UpperLeftX><UpperLeftY>4000000</UpperLeftY>
    <LowerRightX>300480</LowerRightX><LowerRightY>3999880</LowerRightY><SizeX>{COLUMNS}</SizeX>
    <SizeY>{ROWS}</SizeY></DataWindow><Projection>EPSG:32613</Projection><BandsCount>1</BandsCount>"""
    return {
        "a VRT of a file": vrt(secret),
        "a VRT of a URL": vrt(f"/vsicurl/{canary.url}"),
        "a VRT behind spaces": " \n" + vrt(secret),
        "WMS": f'<GDAL_WMS><Service name="TMS"><ServerUrl>{canary.url}</ServerUrl></Service>'
        f"{window}</GDAL_WMS>",
        "a tile index": f"<GDALTileIndexDataset><IndexDataset>{secret}</IndexDataset>"
        "</GDALTileIndexDataset>",
        "a header of ENVI": "ENVI\nsamples = 16\nlines = 4\nbands = 1\n",
        "a list of tiles": f"#GDAL\n{secret}\n",
    }


def numbers(product, folder):
    """Return every number that a cube would have of a folder."""
    (found,) = product.find_scenes(folder)
    assert not found.problem
    return product.to_reflectance(product.open_scene(found)).compute()


# --- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [*descriptions("", Canary())])
def test_descriptions_of_other_data_are_refused_by_name(scene, secret, canary, which, tmp_path):
    (scene / NAME).write_text(descriptions(secret, canary)[which])
    product = build_product("landsat-c2-l2")
    with pytest.raises(SceneError, match=facts(NAME, "GTiff", "allow")):
        numbers(product, scene)
    with pytest.raises(SceneError, match=facts(NAME)):
        ingest(product, scene, tmp_path / "fine.zarr", kind="fine")
    geotiff = build_product("geotiff", pattern="*_%Y%m%d_02_T1_SR_B4.TIF", layers=["red"])
    with pytest.raises(SceneError, match=facts(NAME)):
        numbers(geotiff, scene)
    assert not canary.asked()


def test_a_vrt_that_is_allowed_is_read(scene, secret, canary):
    """The control of the tests here: what they keep out is reached where it is allowed."""
    (scene / NAME).write_text(vrt(secret))
    found = numbers(build_product("landsat-c2-l2", allow=["VRT"]), scene)
    np.testing.assert_allclose(found["red"], SECRET * 2.75e-5 - 0.2, atol=1e-6)
    (scene / NAME).write_text(vrt(f"/vsicurl/{canary.url}"))
    with pytest.raises((SceneError, OSError)):
        numbers(build_product("landsat-c2-l2", allow=["VRT"]), scene)
    assert canary.asked()


@pytest.mark.parametrize("allow", [["vrt"], ["TIFF"], "secret", [5]])
def test_what_may_be_allowed_is_told(allow):
    with pytest.raises(ConfigError, match=facts("allow", "VRT", "http")):
        build_product("landsat-c2-l2", allow=allow)


def test_what_may_be_opened_is_no_part_of_what_a_cube_is_made_of():
    plain, more = (build_product("hls", allow=allow) for allow in ((), ("VRT", "http")))
    assert plain == more
    assert plain.record == more.record


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_product_names_formats_that_hold_their_own_pixels(name):
    assert {*product_class(name).formats} <= {"GTiff", "netCDF", "ENVI"}


def test_a_file_of_any_other_format_is_refused(secret, tmp_path):
    """Whatever GDAL can write: drivers come and go with its releases."""
    with rasterio.Env() as env:
        drivers = {*env.drivers()} - {"GTiff", "COG"}
    tried = []
    for driver in sorted(drivers):
        path = tmp_path / driver / NAME
        path.parent.mkdir()
        try:
            rasterio.shutil.copy(secret, path, driver=driver)
            rasterio.open(path).close()
        except Exception:  # noqa: BLE001  (no image of one file; drivers raise anything)
            continue
        tried.append(driver)
        with pytest.raises(SceneError, match=facts(NAME)):
            open_array(path, Readable())
    assert {"VRT", "PNG", "ENVI"} <= {*tried}


def test_a_description_inside_a_tar_is_refused(scene, secret, tmp_path):
    (scene / NAME).write_text(vrt(secret))
    bundle = tmp_path / "in" / "bundle.tar"
    bundle.parent.mkdir()

    def pack():
        with tarfile.open(bundle, "w") as opened:
            for file in sorted(scene.iterdir()):
                opened.add(file, file.name)

    pack()
    with pytest.raises(SceneError, match=facts("bundle.tar", NAME)):
        numbers(build_product("landsat-c2-l2"), bundle.parent)
    landsat.tiff(scene / NAME, np.full(landsat.SHAPE, 10_004, np.uint16))
    pack()
    assert np.isfinite(numbers(build_product("landsat-c2-l2"), bundle.parent)["red"]).all()


def test_an_image_that_names_others_is_refused(scene, secret, canary):
    for target in (secret, f"/vsicurl/{canary.url}", f"GTIFF_DIR:1:{secret}"):
        with rasterio.open(scene / NAME, "r+") as file:
            file.update_tags(ns="SUBDATASETS", SUBDATASET_1_NAME=str(target))
        with pytest.raises(SceneError, match=facts(NAME, "other data sets")):
            numbers(build_product("landsat-c2-l2"), scene)
    assert not canary.asked()


def test_an_image_that_names_its_overviews_is_refused(scene, secret, canary):
    for target in (secret, f"/vsicurl/{canary.url}"):
        with rasterio.open(scene / NAME, "r+") as file:
            file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(target))
        with pytest.raises(SceneError, match=facts(NAME, "overviews")):
            numbers(build_product("landsat-c2-l2"), scene)
        with pytest.raises(SceneError, match=facts(NAME, "overviews")):
            thumbnail({"red": scene / NAME})
    assert not canary.asked()
    with rasterio.open(scene / NAME) as file:  # the control: GDAL itself does ask
        file.read(1, out_shape=(2, 8))
    assert canary.asked()


def test_a_path_of_gdals_own_is_no_file(secret, canary, tmp_path, monkeypatch):
    for path in (f"/vsicurl/{canary.url}", f"/vsisubfile/0,{secret}", "/vsistdin/"):
        with pytest.raises(SceneError, match=facts(path.split("/")[1])), open_file(path):
            pass
        with pytest.raises(SceneError), open_file(Path(path)):
            pass
    assert not canary.asked()
    # A name that reads as a scheme is the name of a file.
    landsat.tiff(tmp_path / "zip:a.tif", np.full(landsat.SHAPE, 7, np.uint16))
    monkeypatch.chdir(tmp_path)
    for name in ("zip:a.tif", Path("zip:a.tif")):
        assert (open_array(name, Readable()) == 7).all()


def test_rasters_are_opened_in_one_place():
    calls = re.compile(r"rasterio\.open\b(?!\(\s*\w+,\s*\"w\")|open_rasterio\b|DatasetReader\b")
    places = {
        str(path.relative_to(PACKAGE))
        for path in some([*PACKAGE.rglob("*.py")])
        if calls.search(path.read_text())
    }
    assert places == {"sources/_rasters.py"}


def test_a_class_map_is_an_image(secret, tmp_path):
    path = tmp_path / "classes.tif"
    path.write_text(vrt(secret))
    with pytest.raises(MethodError, match=facts("classes.tif", "GTiff")):
        read_class_map(path, landsat.SHAPE)


# --- files beside a raster ----------------------------------------------------------------------

PAM = """<PAMDataset>
<Metadata domain="SUBDATASETS"><MDI key="SUBDATASET_1_NAME">{0}</MDI></Metadata>
<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{0}</MDI></Metadata>
<PAMRasterBand band="1"><Scale>5</Scale></PAMRasterBand></PAMDataset>"""


def test_what_lies_beside_a_file_of_a_product_is_not_looked_at(scene, secret, canary):
    want = numbers(build_product("landsat-c2-l2"), scene)
    for source in (secret, f"/vsicurl/{canary.url}"):
        for ending in ("msk", "ovr", "MSK", "OVR"):
            (scene / f"{NAME}.{ending}").write_text(vrt(source))
        (scene / f"{NAME}.aux.xml").write_text(PAM.format(source))
        (scene / NAME.replace(".TIF", ".tfw")).write_text("9\n0\n0\n9\n0\n0\n")
        assert numbers(build_product("landsat-c2-l2"), scene).equals(want)
    assert not canary.asked()


def folder_of(tmp_path):
    path = tmp_path / "any" / "L_20210401.tif"
    landsat.tiff(path, np.full(landsat.SHAPE, 4_000, np.uint16))
    return path, build_product("geotiff", pattern="L_%Y%m%d.tif", layers=["red"], factor=1e-4)


@pytest.mark.parametrize("ending", ["msk", "MSK"])
def test_a_mask_beside_a_geotiff_is_an_image(tmp_path, secret, canary, ending):
    path, product = folder_of(tmp_path)
    for source in (secret, f"/vsicurl/{canary.url}"):
        path.with_name(f"{path.name}.{ending}").write_text(vrt(source))
        with pytest.raises(SceneError, match=facts(f"{path.name}.{ending}", "GTiff")):
            numbers(product, path.parent)
    assert not canary.asked()


def test_overviews_beside_a_geotiff_are_not_looked_at(tmp_path, secret, canary):
    path, product = folder_of(tmp_path)
    for source in (secret, f"/vsicurl/{canary.url}"):
        path.with_name(f"{path.name}.ovr").write_text(vrt(source))
        np.testing.assert_allclose(numbers(product, path.parent)["red"], 0.4, atol=1e-6)
    path.with_name(f"{path.name}.aux.xml").write_text(PAM.format(secret))
    with pytest.raises(SceneError, match=facts(path.name, "other data sets")):
        numbers(product, path.parent)
    assert not canary.asked()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ending", ["msk", "aux.xml", "tfw"])
def test_a_pipe_beside_a_geotiff_is_not_waited_for(tmp_path, ending):
    path, product = folder_of(tmp_path)
    pipe = path.with_suffix(".tfw") if ending == "tfw" else path.with_name(f"{path.name}.{ending}")
    os.mkfifo(pipe)
    (scene,) = (scene for scene in product.find_scenes(path.parent) if not scene.problem)
    with pytest.raises(SceneError, match=facts(pipe.name, "pipe", "regular file")):
        product.open_scene(scene)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("suffix", ["tif", "nc", "tar"])
def test_a_pipe_in_the_place_of_a_scene_is_listed_and_not_waited_for(tmp_path, suffix):
    path, product = folder_of(tmp_path)
    pipe = path.with_name(f"L_20210402.{suffix}")
    os.mkfifo(pipe)
    report = ingest(product, path.parent, tmp_path / "fine.zarr", kind="fine")
    assert [*report.added] == [path.name]
    assert any(pipe.name in name and "pipe" in why for name, why in report.rejected.items())


# --- HDF and NetCDF -----------------------------------------------------------------------------


def as_bytes(tmp_path, values):
    """Write numbers as a file that is nothing but them."""
    path = tmp_path / "secret.bin"
    path.write_bytes(np.full_like(values, SECRET).tobytes())
    return path


def elsewhere(file, where, name, values, tmp_path):
    """Put a data set into an HDF5 file whose numbers lie in another one."""
    h5py = test_viirs.h5py
    if where == "external storage":
        source = [(str(as_bytes(tmp_path, values)), 0, values.nbytes)]
        file.create_dataset(name, values.shape, values.dtype, external=source)
        return
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["x"] = np.full_like(values, SECRET)
    if where == "an external link":
        file[name] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")
    else:
        layout = h5py.VirtualLayout(values.shape, values.dtype)
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", values.shape)
        file.create_virtual_dataset(name, layout)


WHERE = ("external storage", "an external link", "a virtual data set")


@pytest.mark.parametrize("where", WHERE)
def test_an_hdf5_granule_holds_its_own_numbers(tmp_path, where):
    path = test_viirs.write(tmp_path / "in" / test_viirs.name(), test_viirs.vnp09())
    red = "HDFEOS/GRIDS/VIIRS_Grid_500m_2D/Data Fields/SurfReflect_I1_1"
    with test_viirs.h5py.File(path, "r+") as file:
        values = file[red][:]
        del file[red]
        elsewhere(file, where, red, values, tmp_path)
        assert (file[red][:] == SECRET).all()  # any reader would be led there
    product = build_product("vnp09ga")
    (scene,) = product.find_scenes(tmp_path / "in")
    with pytest.raises(SceneError, match=facts(path.name, "SurfReflect_I1_1", "other files")):
        product.open_scene(scene).load()


@pytest.mark.parametrize("where", WHERE)
def test_netcdf_of_appeears_holds_its_own_numbers(tmp_path, where):
    test_forms.order_netcdf(tmp_path / "in", "MOD09GA.061", test_forms.daily())
    path = tmp_path / "in" / "MOD09GA.061_500m_aid0001.nc"
    with test_viirs.h5py.File(path, "r+") as file:
        values = file["sur_refl_b01_1"][:]
        del file["sur_refl_b01_1"]
        elsewhere(file, where, "sur_refl_b01_1", values, tmp_path)
    scenes = build_product("mod09ga").find_scenes(tmp_path / "in")
    (named,) = [s.problem for s in scenes if s.id == path.name]
    assert re.match(facts(path, "sur_refl_b01_1", "other files"), named)
    assert all(s.problem for s in some(scenes))


def test_an_hdf4_granule_holds_its_own_numbers(tmp_path):
    pytest.importorskip("pyhdf")
    from pyhdf.SD import SD, SDC

    path = test_granules.write(tmp_path / "in" / test_granules.name(), test_granules.mod09())
    product = build_product("mod09ga")
    (scene,) = product.find_scenes(path.parent)
    product.open_scene(scene).load()
    file = SD(str(path), SDC.WRITE)
    data = file.create("more", SDC.INT16, (4, 4))
    data.setexternalfile(str(as_bytes(tmp_path, np.zeros((4, 4), np.int16))), 0)
    data.endaccess()
    file.end()
    # Any reader would be led there; HDF4 has the other order of bytes.
    assert (SD(str(path)).select("more")[:] == np.int16(SECRET).byteswap()).all()
    with pytest.raises(SceneError, match=facts(path.name, "other files")):
        product.open_scene(scene)


@pytest.mark.parametrize("cut", [5, 9, 40, 300])
def test_lists_of_elements_that_are_damaged_are_named(tmp_path, cut):
    pytest.importorskip("pyhdf")
    path = test_granules.write(tmp_path / test_granules.name(), test_granules.mod09())
    content = bytearray(path.read_bytes())
    content[4:10] = b"\x00\x05\x00\x00\x00\x04"  # a list that is followed by itself
    path.write_bytes(content[:cut])
    product = build_product("mod09ga")
    with pytest.raises(SceneError, match=facts(path.name, "HDF4")):
        product.open_scene(product.find_scenes(tmp_path)[0])


def test_netcdf_is_not_opened_for_a_product_that_has_none(tmp_path):
    test_forms.order_netcdf(tmp_path, "MOD09GA.061", test_forms.daily())
    with pytest.raises(SceneError, match=facts("500m_aid0001.nc", "GTiff")):
        open_array(tmp_path / "MOD09GA.061_500m_aid0001.nc", Readable())


# --- catalogues ---------------------------------------------------------------------------------

LAYERS = product_class("landsat-c2-l2").asset_keys


def write_item(path, href, **changes):
    """Write an item whose files lie where `href` says, by the key of each."""
    made = {
        "type": "Feature", "stac_version": "1.0.0", "id": landsat.scene_id(), "geometry": None,
        "links": [], "properties": {"datetime": "2021-04-01T00:00:00Z"},
        "assets": {keys[0]: {"href": href.format(keys[0])} for keys in LAYERS.values()},
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made | changes))
    return path


def write_files(folder):
    for n, keys in enumerate(LAYERS.values()):
        landsat.tiff(folder / f"{keys[0]}.tif", np.full(landsat.SHAPE, 10_000 + n, np.uint16))


def stac(**options):
    return build_product("stac", like="landsat-c2-l2", **options)


@pytest.mark.parametrize(
    "href",
    [
        "http://127.0.0.1:{port}/{{}}.tif", "HTTP://127.0.0.1:{port}/{{}}.tif",
        "ftp://127.0.0.1:{port}/{{}}.tif", "gs://bucket/{{}}.tif",
        "zip+https://127.0.0.1:{port}/{{}}.zip!a.tif", "/vsicurl/http://127.0.0.1:{port}/{{}}.tif",
        "/vsicurl?url=http%3A%2F%2F127.0.0.1:{port}%2F{{}}", "vrt://{outside}/{{}}.tif",
        "file://{outside}/{{}}.tif", "{outside}/{{}}.tif", "../outside/{{}}.tif",
        "../items/../outside/{{}}.tif", "/vsitar/{{{{{outside}}}}}/{{}}.tif",
    ],
)  # fmt: skip
def test_files_out_of_reach_are_named_and_not_asked_for(tmp_path, canary, href):
    write_files(tmp_path / "outside")
    href = href.format(port=canary.port, outside=tmp_path / "outside")
    write_item(tmp_path / "items" / "item.json", href)
    for where in (tmp_path / "items", tmp_path / "items" / "item.json"):
        (scene,) = stac().find_scenes(where)
        assert re.search("allow = ", scene.problem), scene
    with pytest.raises(SceneError, match=facts(landsat.scene_id(), "allow")):
        ingest(stac(), tmp_path / "items", tmp_path / "fine.zarr", kind="fine")
    assert not canary.asked()


@pytest.mark.parametrize("href", ["{outside}/{{}}.tif", "file://{outside}/{{}}.tif"])
def test_files_elsewhere_are_read_where_that_is_allowed(tmp_path, href):
    write_files(tmp_path / "outside")
    write_item(tmp_path / "items" / "item.json", href.format(outside=tmp_path / "outside"))
    (scene,) = stac(allow=["file"]).find_scenes(tmp_path / "items")
    assert not scene.problem
    assert stac(allow=["file"]).open_scene(scene)["nir"].shape == landsat.SHAPE


def test_links_are_followed_within_the_folder_only(tmp_path):
    root, outside = tmp_path / "items", tmp_path / "outside"
    write_files(outside)
    write_files(root / "inside")
    write_item(root / "item.json", "here/{}.tif")
    for target, reached in ((root / "inside", True), (outside, False)):
        (root / "here").unlink(missing_ok=True)
        (root / "here").symlink_to(target)
        (scene,) = stac().find_scenes(root)
        assert (not scene.problem) is reached, scene.problem
    # Of the files themselves, also of those that lie beside their item.
    for keys in LAYERS.values():
        (root / f"{keys[0]}.tif").symlink_to(outside / f"{keys[0]}.tif")
    write_item(root / "item.json", "https://example.org/{}.tif")
    (scene,) = stac().find_scenes(root)
    assert re.match(facts("blue.tif", root, 'allow = ["file"]'), scene.problem)
    (root / "here").unlink()
    # And of the items.
    (root / "item.json").rename(outside / "item.json")
    (root / "linked").symlink_to(outside)
    with pytest.raises(SceneError, match=facts(root, "item.json", 'allow = ["file"]')):
        stac().find_scenes(root)
    (root / "linked").unlink()
    (root / "linked").symlink_to("linked")
    write_item(root / "item.json", "linked/_{}.tif")
    assert "linked" in stac().find_scenes(root)[0].problem


def catalogue(path, *links):
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {"type": "Catalog", "id": "top", "stac_version": "1.0.0", "description": "-",
            "links": [{"rel": rel, "href": href} for rel, href in links]}  # fmt: skip
    path.write_text(json.dumps(made))
    return path


@pytest.mark.parametrize("rel", ["item", "child"])
def test_links_of_a_catalogue_lead_no_further(tmp_path, canary, rel):
    write_item(tmp_path / "outside" / "item.json", "https://example.org/{}.tif")
    for href in (f"http://127.0.0.1:{canary.port}/item.json", "../outside/item.json",
                 f"ftp://127.0.0.1:{canary.port}/item.json", f"file://{tmp_path}/outside/item.json",
                 str(tmp_path / "outside" / "item.json")):  # fmt: skip
        top = catalogue(tmp_path / "in" / "catalog.json", (rel, href))
        for where in (top, top.parent):
            with pytest.raises(SceneError, match=facts("allow = ")):
                stac().find_scenes(where)
    assert not canary.asked()
    catalogue(top, ("item", "../outside/item.json"))
    assert len(stac(allow=["file"]).find_scenes(top)) == 1


def test_a_catalogue_that_holds_itself_ends(tmp_path):
    top = catalogue(tmp_path / "catalog.json", ("child", "./catalog.json"))
    with pytest.raises(SceneError, match=facts(top)):
        stac().find_scenes(top)


@pytest.mark.parametrize(
    "changes",
    [
        {"assets": 5}, {"assets": {"blue": 5}}, {"assets": {"blue": {"href": 5}}}, {"bbox": ["x"]},
        {"properties": 5}, {"properties": {"datetime": 5}}, {"links": 5}, {"id": None},
        {"id": ["x"]}, {"links": ["self"]},
    ],
)  # fmt: skip
def test_items_of_any_content_are_named(tmp_path, changes):
    path = write_item(tmp_path / "item.json", "{}.tif", **changes)

    def problems():
        try:
            return [s.problem for s in stac(bbox=(1.0, 2.0, 3.0, 4.0)).find_scenes(path)]
        except SceneError as error:
            return [str(error)]

    assert all(some(problems()))


# Serves a catalogue, an API with pages, and redirects.  A process of its own: the lock of Python is
# held while GDAL opens a file.
SERVER = """
import http.server, json, pathlib, sys

folder, other = pathlib.Path(sys.argv[1]), sys.argv[2]

class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        here = f"http://127.0.0.1:{self.server.server_address[1]}"
        name = self.path.partition("?")[0].strip("/")
        if name.startswith("to/"):
            self.send_response(302)
            self.send_header("Location", other + "/" + name[3:])
            self.end_headers()
            return
        content = (folder / name).read_bytes().replace(b"HERE", here.encode())
        self.send_response(200)
        self.send_header("Content-Length", len(content))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    do_HEAD = do_GET

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.fixture
def serve(tmp_path):
    """Serve a folder; what it has below "to" is elsewhere."""
    (tmp_path / "served").mkdir()
    running = []

    def start(other="https://example.org"):
        command = [sys.executable, "-c", SERVER, str(tmp_path / "served"), other]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return f"http://127.0.0.1:{running[-1].stdout.readline().strip()}"

    yield start
    for server in running:
        server.kill()
        server.communicate()


def elsewhere_of(canary, secret):
    return [f"ftp://127.0.0.1:{canary.port}", f"file://{secret.parent}"]


@pytest.mark.parametrize("place", [0, 1])
def test_a_redirect_leads_to_no_other_scheme(serve, canary, secret, tmp_path, place):
    where = serve(elsewhere_of(canary, secret)[place])
    write_item(tmp_path / "item.json", f"{where}/to/secret.tif?{{}}")
    (scene,) = stac(allow=["http"]).find_scenes(tmp_path / "item.json")
    with pytest.raises(SceneError, match=facts(f"{where}/to/secret.tif", "http")) as caught:
        stac(allow=["http"]).open_scene(scene)
    assert re.search("leads to (ftp|file)://", str(caught.value))
    for start in (f"{where}/to/catalog.json", f"{where}/to/stac"):
        with pytest.raises(SceneError, match=r"leads to (ftp|file)://"):
            stac(allow=["http"], **ASKED).find_scenes(start)
    assert not canary.asked()


def test_gdal_alone_would_follow_a_redirect(serve, canary):
    """The control: why redirects are looked at before GDAL is."""
    where = serve(f"ftp://127.0.0.1:{canary.port}")
    with pytest.raises(rasterio.errors.RasterioIOError):
        rasterio.open(f"{where}/to/secret.tif")
    assert canary.asked()


def test_redirects_within_the_allowed_schemes_are_followed(serve, tmp_path):
    write_files(tmp_path / "served")
    where = serve(serve())
    write_item(tmp_path / "item.json", f"{where}/to/{{}}.tif")
    (scene,) = stac(allow=["http"]).find_scenes(tmp_path / "item.json")
    assert stac(allow=["http"]).open_scene(scene)["nir"].load().shape == landsat.SHAPE


ASKED = {"collections": ["c"], "bbox": (1.0, 2.0, 3.0, 4.0), "datetime": "2021-04-01"}


def api(folder, following, **item):
    """Write an API: its page of items is followed by another."""
    href = item.pop("href", "https://example.org/{}.tif")
    made = json.loads(write_item(folder / "item", href, **item).read_text())
    links = [{"rel": "next", "href": following, "method": "GET"}] if following else []
    page = {"type": "FeatureCollection", "features": [made], "links": links}
    (folder / "search").write_text(json.dumps(page))
    top = json.loads(catalogue(folder / "stac").read_text())
    top["links"] = [{"rel": "search", "href": "HERE/search", "type": "application/geo+json",
                      "method": "POST"}]  # fmt: skip
    top["conformsTo"] = ["https://api.stacspec.org/v1.0.0/core",
                         "https://api.stacspec.org/v1.0.0/item-search"]  # fmt: skip
    (folder / "stac").write_text(json.dumps(top))


def test_pages_of_an_api_lead_no_further(serve, canary, tmp_path):
    where = serve(f"ftp://127.0.0.1:{canary.port}")
    page = tmp_path / "private.json"
    page.write_text(json.dumps({"type": "FeatureCollection", "features": [], "links": []}))
    api(tmp_path / "served", "")
    assert len(stac(allow=["http"], **ASKED).find_scenes(f"{where}/stac")) == 1
    said = r"(leads to|lies at) ftp://|is a file of this machine"
    for following in (f"ftp://127.0.0.1:{canary.port}/p", "HERE/to/p", f"file://{page}", str(page)):
        api(tmp_path / "served", following)
        with pytest.raises(SceneError, match=said):
            stac(allow=["http"], **ASKED).find_scenes(f"{where}/stac")
    with pytest.raises(SceneError, match=facts(where, 'allow = ["http"]')):
        stac(**ASKED).find_scenes(f"{where}/stac")
    assert not canary.asked()


def test_a_catalogue_behind_a_url_names_no_file_of_this_machine(serve, tmp_path):
    write_files(tmp_path / "outside")
    where = serve()
    mine = {"links": [{"rel": "self", "href": str(tmp_path / "outside" / "item.json")}]}
    for href in (f"{tmp_path}/outside/{{}}.tif", f"file://{tmp_path}/outside/{{}}.tif"):
        api(tmp_path / "served", "", href=href)
        (scene,) = stac(allow=["http"], **ASKED).find_scenes(f"{where}/stac")
        assert scene.problem
        assert not scene.files
    api(tmp_path / "served", "", **mine)  # whose files would lie beside the item
    (scene,) = stac(allow=["http"], **ASKED).find_scenes(f"{where}/stac")
    assert str(tmp_path / "outside") in scene.problem


def test_the_token_of_a_login_goes_to_who_gave_it_only(tmp_path, monkeypatch):
    def asked():
        raise AssertionError("a login was made")

    monkeypatch.setattr("biastf_xr.sources.stac.earthdata", asked)
    for host in ("example.org", "nasa.gov.example.org", "example-nasa.gov", "nasa.gov@example.org"):
        write_item(tmp_path / "item.json", f"https://{host}/{{}}.tif")
        (scene,) = stac(login="earthdata").find_scenes(tmp_path / "item.json")
        assert re.match(facts("example", "token", ".nasa.gov"), scene.problem)
    write_item(tmp_path / "item.json", "https://data.lpdaac.earthdatacloud.nasa.gov/{}.tif")
    (scene,) = stac(login="earthdata").find_scenes(tmp_path / "item.json")
    assert not scene.problem
