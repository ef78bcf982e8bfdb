"""Rasters and catalogues of a stranger: what they name elsewhere is neither read nor asked for."""

from __future__ import annotations

import re
import socket
import tarfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import test_forms
import test_granules
import test_landsat_c2 as landsat
import test_viirs
from checks import facts, some

from biastf_xr.cube import ingest
from biastf_xr.errors import ConfigError, MethodError, SceneError
from biastf_xr.methods._scene_classes import read_class_map
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
        with pytest.raises(SceneError, match=facts(NAME, "1 other data set")):
            numbers(build_product("landsat-c2-l2"), scene)
    assert not canary.asked()


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
    calls = re.compile(r"rasterio\.open\((?!\s*\w+,\s*\"w\")|open_rasterio\(|DatasetReader\(")
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
    with pytest.raises(SceneError, match=facts(path.name, "1 other data set")):
        numbers(product, path.parent)
    assert not canary.asked()


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
