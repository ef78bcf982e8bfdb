"""Forms of files: archives, what every product declares, and what is refused by name."""

from __future__ import annotations

import re
import shutil
import tarfile

import numpy as np
import pytest
import rasterio
import test_granules
import test_viirs
import xarray as xr
from affine import Affine
from checks import facts, some

from biastf_xr.cube import ingest, open_cube
from biastf_xr.errors import SceneError
from biastf_xr.sources import PRODUCTS, build_product, product_class
from biastf_xr.sources._unread import OTHERS

GRID = {"crs": "EPSG:32755", "transform": Affine(30, 0, 455010, 0, -30, 6171000)}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9]+[._][A-Za-z0-9._-]+[A-Za-z0-9]")
FORMS = [(name, form) for name in PRODUCTS for form in product_class(name).refused]


def write(path, values, **profile):
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = {**GRID, **profile}
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1,
        dtype=values.dtype, **grid,
    ) as file:  # fmt: skip
        file.write(values, 1)
    return path


def landsat(folder, scene, **layers):
    """Write a scene of 8 rows and columns, band n with the number 8000 + 100 n."""
    numbers = {f"SR_B{n}": np.full((8, 8), 8000 + 100 * n, np.uint16) for n in range(1, 8)}
    numbers |= {"QA_PIXEL": np.zeros((8, 8), np.uint16), "QA_RADSAT": np.zeros((8, 8), np.uint16)}
    for layer, values in (numbers | layers).items():
        write(folder / f"{scene}_{layer}.TIF", values)
    return folder


def pack(folder, archive, mode="w", prefix=""):
    """Put the files of a folder into an archive, and take the folder away."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, mode) as file:
        for path in sorted(folder.iterdir()):
            file.add(path, prefix + path.name)
    shutil.rmtree(folder)
    return archive


# --- what every product declares ----------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in PRODUCTS if product_class(n).patterns])
def test_files_that_a_product_expects_are_its_own(name):
    cls = product_class(name)
    read = (".tif", ".hdf", ".h5")
    examples = [e for e in NAME.findall(cls.expects) if e.lower().endswith(read)]
    for example in some(examples):
        assert any(pattern.match(example) for pattern in cls.patterns), example
    for other in PRODUCTS:
        # MOD09GQ is read beside MOD09GA.
        if other != name and {other, name} != {"mod09ga", "mod09gq"}:
            for pattern in product_class(other).patterns:
                assert not any(map(pattern.match, examples)), other


@pytest.mark.parametrize(("name", "form"), FORMS, ids=[form.example for _, form in FORMS])
def test_every_other_form_is_refused_with_words_of_its_own(name, form):
    cls = product_class(name)
    assert not any(pattern.match(form.example) for pattern in cls.patterns)
    first = next(other for other in cls.refused if other.pattern.match(form.example))
    assert first is form
    assert not re.search(r"[{}]", "".join(s.problem + s.key for s in cls.refuse(cls, form.example)))


@pytest.mark.parametrize("form", OTHERS, ids=[form.example for form in OTHERS])
def test_folder_of_what_no_product_reads_says_what_it_is(tmp_path, form):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / form.example).touch()
    (tmp_path / "a.txt").touch()
    with pytest.raises(SceneError, match=facts(form.example, form.why, "no scene of vnp09ga")):
        ingest(build_product("vnp09ga"), tmp_path, tmp_path / "c.zarr", kind="coarse")


def test_folder_of_another_product_says_which(tmp_path):
    (tmp_path / "MOD09GA.A2020001.h29v12.061.2020003040506.hdf").touch()
    with pytest.raises(SceneError, match=facts('product = "mod09ga"')):
        ingest(build_product("hls"), tmp_path, tmp_path / "c.zarr", kind="fine")


# --- archives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "LC08/"])
def test_bundle_is_read_in_place(small_scenes, small_cubes, tmp_path, prefix):
    there = tmp_path / "odd {name} 100%!"
    for scene in build_product("landsat-c2-l2").find_scenes(small_scenes.landsat):
        for file in scene.files.values():
            (tmp_path / scene.id).mkdir(exist_ok=True)
            shutil.copy(file, tmp_path / scene.id)
        pack(tmp_path / scene.id, there / f"{scene.id}.tar", prefix=prefix)
    product = build_product("landsat-c2-l2")
    report = ingest(product, there, tmp_path / "fine.zarr", kind="fine")
    assert not report.rejected
    xr.testing.assert_equal(
        open_cube(tmp_path / "fine.zarr").load(), open_cube(small_cubes.fine).load()
    )
    assert not ingest(product, there, tmp_path / "fine.zarr", kind="fine").added
    # An archive that was exchanged is read again.
    scenes = product.find_scenes(there)
    archive = there / f"{scenes[0].id}.tar"
    archive.write_bytes(archive.read_bytes() + bytes(1024))
    again = ingest(product, there, tmp_path / "fine.zarr", kind="fine")
    assert list(again.added) == [scenes[0].id]


def test_metadata_in_a_bundle_is_checked(tmp_path):
    name = "LC08_L2SP_093084_20200101_20200823_02_T1"
    folder = landsat(tmp_path / "a", name)
    (folder / f"{name}_MTL.txt").write_text('    PROCESSING_LEVEL = "L1TP"\n')
    archive = pack(folder, tmp_path / f"{name}.tar")
    product = build_product("landsat-c2-l2")
    with pytest.raises(SceneError, match=facts(archive, "L1TP", "L2SP")):
        product.open_scene(product.find_scenes(tmp_path)[0])


def test_packed_and_cut_off_bundles_are_refused_until_they_are_unpacked(tmp_path):
    name = "LC08_L2SP_093084_20200101_20200823_02_T1"
    archive = pack(landsat(tmp_path / "a", name), tmp_path / "d" / f"{name}.tar")
    archive.write_bytes(archive.read_bytes()[:200])
    product = build_product("landsat-c2-l2")
    (scene,) = product.find_scenes(archive.parent)
    assert re.match(facts("tar", "Download"), scene.problem)
    archive.unlink()
    zipped = pack(landsat(tmp_path / "a", name), tmp_path / "d" / f"{name}.tar.gz", "w:gz")
    (scene,) = product.find_scenes(zipped.parent)
    assert (str(scene.date), scene.files) == ("2020-01-01", {})
    assert "Unpack" in scene.problem
    landsat(zipped.parent, name)
    (scene,) = product.find_scenes(zipped.parent)
    assert not scene.problem


# --- Landsat and HLS ----------------------------------------------------------------------------


def test_tile_of_analysis_ready_data_is_read(tmp_path):
    for craft in ("LC08", "LT05"):
        landsat(tmp_path / "ard", f"{craft}_CU_027018_20000619_20210425_02")
    product = build_product("landsat-c2-l2")
    old, new = sorted(product.find_scenes(tmp_path), key=lambda s: s.id, reverse=True)
    assert (old.key, str(old.date)) == ("LT05_CU_027018_20000619", "2000-06-19")
    for scene, red in ((old, 8300), (new, 8400)):
        ready = product.to_reflectance(product.open_scene(scene))
        np.testing.assert_allclose(ready["red"], red * 2.75e-5 - 0.2, rtol=1e-6)


def test_heavy_aerosol_is_masked_if_asked_for(tmp_path):
    quality = np.zeros((8, 8), np.uint8)
    quality[0, :4] = (0b11000000, 0b10000000, 0b01000000, 0b11000010)
    opacity = np.zeros((8, 8), np.int16)
    opacity[0, :4] = (301, 300, -9999, 900)
    name = "L{}_L2SP_093084_20200101_20200823_02_T1"
    landsat(tmp_path, name.format("C08"), SR_QA_AEROSOL=quality)
    landsat(tmp_path, name.format("E07"), SR_ATMOS_OPACITY=opacity)
    for options, masked in (({}, []), ({"mask_aerosol": True}, [0, 3])):
        product = build_product("landsat-c2-l2", **options)
        for scene in some(product.find_scenes(tmp_path)):
            ready = product.to_reflectance(product.open_scene(scene))
            assert np.flatnonzero(np.isnan(ready["red"])).tolist() == masked
            assert ("aerosol" in scene.files) == bool(options)
    (tmp_path / f"{name.format('C08')}_SR_QA_AEROSOL.TIF").unlink()
    problems = [s.problem for s in product.find_scenes(tmp_path)]
    assert sum("['aerosol']" in problem for problem in problems) == 1


def test_heavy_aerosol_of_hls_is_masked_if_asked_for():
    fmask = np.array([[0b11000000, 0b10000000, 0b01000000, 0b11100000]], np.uint8)
    raw = xr.Dataset({"Fmask": (("y", "x"), fmask)})
    raw = raw.assign(
        {b: (("y", "x"), np.full((1, 4), 500, np.int16)) for b in build_product("hls").bands}
    )
    for aerosol, masked in ((False, []), (True, [0, 3])):
        ready = build_product("hls", mask_aerosol=aerosol).to_reflectance(raw)
        assert np.flatnonzero(np.isnan(ready["nir"])).tolist() == masked


def test_digital_earth_australia_is_read_and_final_scenes_come_first(tmp_path):
    fmask = np.array([[1, 0, 2, 3, 4, 5]], np.uint8)
    for sensor, first in (("ls8c", 2), ("ls7e", 1)):
        bands = (*range(first, first + 5), 7)
        for maturity in ("interim", "final"):
            name = f"ga_{sensor}_{{}}_3-1-0_088080_2020-05-25_{maturity}_{{}}.tif"
            for n, band in enumerate(bands):
                values = np.full((1, 6), 1000 + n, np.int16)
                values[0, 5] = -999
                write(tmp_path / name.format("nbart", f"band{band:02}"), values)
            write(tmp_path / name.format("oa", "fmask"), fmask)
    product = build_product("dea-ard")
    scenes = product.find_scenes(tmp_path)
    assert len(scenes) == 4
    assert len({scene.key for scene in scenes}) == 2
    assert max(scenes, key=lambda s: s.version).id.endswith("final")
    for scene in scenes:
        assert not scene.problem
        raw = product.open_scene(scene)
        for n, band in enumerate(("blue", "green", "red", "nir", "swir1", "swir2")):
            row = product.to_reflectance(raw)[band].values[0]
            want = [0.1 + n * 1e-4, *[np.nan] * 3, 0.1 + n * 1e-4, np.nan]
            np.testing.assert_allclose(row, want, rtol=1e-6)
        snowy = build_product("dea-ard", mask_snow=True).to_reflectance(raw)["red"].values[0]
        assert np.isfinite(snowy).tolist() == [True, *[False] * 5]


# --- MODIS and VIIRS ----------------------------------------------------------------------------

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
MODIS = {"blue": 3, "green": 4, "red": 1, "nir": 2, "swir1": 6, "swir2": 7}


def modis(path, values, size=500.0):
    """Write a GeoTIFF on the sinusoidal grid."""
    grid = {"crs": SINUSOIDAL, "transform": Affine(size, 0, 1e5, 0, -size, 4e6)}
    return write(path, values, **grid)


def only(folder, product, **options):
    """Return the one scene of a folder, in reflectance."""
    product = build_product(product, **options)
    (scene,) = product.find_scenes(folder)
    assert not scene.problem
    return scene, product.to_reflectance(product.open_scene(scene).load())


@pytest.mark.parametrize("stamp", ["NRT", "2020001120000.NRT"])
def test_near_real_time_gives_way_to_the_final_granule(tmp_path, stamp):
    pytest.importorskip("pyhdf")
    near = f"MOD09GA.A2020001.h29v12.061.{stamp}.hdf"
    test_granules.write(tmp_path / near, test_granules.mod09(2000))
    scene, ready = only(tmp_path, "mod09ga")
    assert str(scene.date) == "2020-01-01"
    np.testing.assert_allclose(ready["red"], 0.2001, rtol=1e-6)
    test_granules.write(tmp_path / test_granules.name(), test_granules.mod09(1000))
    offered = build_product("mod09ga").find_scenes(tmp_path)
    assert len({scene.acquisition for scene in offered}) == 1
    assert max(offered, key=lambda s: s.version).id == test_granules.name().removesuffix(".hdf")


def test_near_real_time_of_nadir_reflectance_is_the_same_acquisition(tmp_path):
    names = [
        "MCD43A4N.A2024061.h29v12.061.2024070040506.hdf",
        "MCD43A4.A2024061.h29v12.061.2024071040506.hdf",
    ]
    for name in names:
        (tmp_path / name).touch()
    near, final = sorted(build_product("mcd43a4").find_scenes(tmp_path), key=lambda s: s.version)
    assert (near.key, near.id) == (final.key, names[0].removesuffix(".hdf"))
    assert near.date == final.date


@pytest.mark.parametrize("short", [True, False])
def test_granules_as_cogs_are_read(tmp_path, short):
    stem = "MCD43A4.A2017006.h21v11.006.2017018074804"
    for number in range(1, 8):
        band = np.full((4, 4), 1000 * number, np.int16)
        quality = np.zeros((4, 4), np.uint8)
        band[0, 0], quality[0, 1], quality[0, 2] = 32767, 1, 255
        names = (f"B{number:02}", f"B{number:02}qa") if short else (
            f"Nadir_Reflectance_Band{number}", f"BRDF_Albedo_Band_Mandatory_Quality_Band{number}"
        )  # fmt: skip
        suffix = "TIF" if short else "tif"
        for name, values in zip(names, (band, quality), strict=True):
            modis(tmp_path / f"{stem}_{name}.{suffix}", values)
    scene, ready = only(tmp_path, "mcd43a4", quality="full")
    assert (scene.key, scene.version) == ("MCD43A4.A2017006.h21v11", "2017018074804")
    for colour, number in MODIS.items():
        row = ready[colour].values[0]
        np.testing.assert_allclose(row, [np.nan, np.nan, np.nan, number / 10], rtol=1e-6)


def test_composite_of_eight_days_is_dated_by_their_middle(tmp_path):
    pytest.importorskip("pyhdf")
    n = test_granules.N
    layers = {f"sur_refl_b0{b}": np.full((n, n), 1000 + b, np.int16) for b in range(1, 8)}
    state = np.zeros((n, n), np.uint16)
    state[0, 0] = 1
    quality = np.zeros((n, n), np.uint32)
    quality[0, 1] = 0b1100 << 2
    layers |= {"sur_refl_state_500m": state, "sur_refl_qc_500m": quality}
    layers["sur_refl_vzen"] = np.full((n, n), 2345, np.int16)
    test_granules.write(tmp_path / test_granules.name(product="MOD09A1"), layers)
    scene, ready = only(tmp_path, "mod09a1")
    assert str(scene.date) == "2020-01-05"
    assert np.flatnonzero(np.isnan(ready["red"])).tolist() == [0, 1]
    assert np.flatnonzero(np.isnan(ready["nir"])).tolist() == [0]
    np.testing.assert_allclose(ready["swir2"][1], 0.1007, rtol=1e-6)
    assert (ready["view_zenith"] == 23).all()


def test_bands_of_250_m_are_masked_by_the_state_of_a_kilometre(tmp_path):
    pytest.importorskip("pyhdf")
    n = test_granules.N
    quality = np.zeros((2 * n, 2 * n), np.uint16)
    quality[9, 9] = 0b1100 << 8
    layers = {f"sur_refl_b0{b}_1": np.full((2 * n, 2 * n), 1000 + b, np.int16) for b in (1, 2)}
    file = tmp_path / test_granules.name(product="MOD09GQ")
    test_granules.write(file, layers | {"QC_250m_1": quality})
    (scene,) = build_product("mod09gq").find_scenes(tmp_path)
    assert "['GA']" in scene.problem
    state = np.zeros((n // 2, n // 2), np.uint16)
    state[1, 1] = 1
    beside = test_granules.mod09(5000, state_1km_1=state)
    test_granules.write(tmp_path / test_granules.name(), beside)
    _, ready = only(tmp_path, "mod09gq")
    missing = np.isnan(ready["red"].values)
    assert missing[4:8, 4:8].all()
    assert missing.sum() == 16
    assert np.isnan(ready["nir"].values).sum() == 17
    np.testing.assert_allclose(ready["nir"][0], 0.1002, rtol=1e-6)


def order(folder, product, layers, *, area="aid0001"):
    """Write an order of AppEEARS as GeoTIFFs, one per layer and day.

    `layers`: By name, the pixel size and the numbers of all days.
    """
    for name, (size, numbers) in layers.items():
        for day, values in zip(DAYS, numbers, strict=False):
            text = np.datetime64(day).item().strftime("%Y%j")
            modis(folder / f"{product}_{name}_doy{text}_{area}.tif", values, size)


def order_netcdf(folder, product, layers):
    """Write an order of AppEEARS as NetCDF, one file per pixel size, as it structures them."""
    h5py = pytest.importorskip("h5py")
    folder.mkdir(exist_ok=True)
    for size, text in ((500.0, "500m"), (1000.0, "1km")):
        here = {name: numbers for name, (own, numbers) in layers.items() if own == size}
        days, rows, cols = next(iter(here.values())).shape
        since = [(np.datetime64(day) - np.datetime64("2000-01-01")).astype(int) for day in DAYS]
        axes = {
            "time": np.array(since[:days]),
            "ydim": 4e6 - size * (np.arange(rows) + 0.5),
            "xdim": 1e5 + size * (np.arange(cols) + 0.5),
        }
        about = {
            "time": {"units": "days since 2000-01-01 00:00:00", "calendar": "julian"},
            "ydim": {"standard_name": "projection_y_coordinate", "units": "meter"},
            "xdim": {"standard_name": "projection_x_coordinate", "units": "meter"},
            "crs": {"grid_mapping_name": "sinusoidal"},
        } | {name: {"grid_mapping": "crs"} for name in here}
        with h5py.File(folder / f"{product}_{text}_aid0001.nc", "w") as file:
            for name, values in {**axes, **here, "crs": np.int8(0)}.items():
                file[name] = values
                file[name].attrs.update({k: np.bytes_(v) for k, v in about[name].items()})
            for name in ("earth_radius", "semi_major_axis", "semi_minor_axis"):
                file["crs"].attrs[name] = 6371007.181
            for place, axis in enumerate(axes):
                file[axis].make_scale(axis)
                for name in here:
                    file[name].dims[place].attach_scale(file[axis])


def same(number, shape=(3, 4, 8), kind=np.int16):
    return np.full(shape, number, kind)


def daily():
    """Return the layers of MOD09GA: of band b 1000 b plus the day's number, one cloud a day."""
    day = np.arange(3, dtype=np.int16)[:, None, None]
    state = same(0, (3, 2, 4), np.uint16)
    state[[0, 1, 2], 0, [0, 1, 2]] = 1
    bands = {f"sur_refl_b0{b}_1": (500.0, same(1000 * b) + day) for b in range(1, 8)}
    return bands | {"state_1km_1": (1000.0, state)}


DAYS = ("2021-03-31", "2021-04-01", "2021-04-03")


def test_netcdf_of_appeears_is_read_as_its_geotiffs(tmp_path):
    order(tmp_path / "tiff", "MOD09GA.061", daily())
    order_netcdf(tmp_path / "netcdf", "MOD09GA.061", daily())
    product = build_product("mod09ga")
    tiffs, images = (product.find_scenes(tmp_path / form) for form in ("tiff", "netcdf"))
    assert [str(s.date) for s in images] == list(DAYS)
    for n, (tiff, image) in enumerate(zip(some(tiffs), images, strict=True)):
        assert (tiff.id, tiff.key) == (image.id, image.key)
        want, got = (product.open_scene(scene) for scene in (tiff, image))
        assert got.odc.geobox == want.odc.geobox
        ready = product.to_reflectance(got).drop_vars("spatial_ref")
        xr.testing.assert_equal(ready, product.to_reflectance(want).drop_vars("spatial_ref"))
        np.testing.assert_allclose(ready["red"].values[3], 0.1 + n * 1e-4, rtol=1e-5)
        cloud = np.isnan(ready["red"].values)
        assert cloud[:2, 2 * n : 2 * n + 2].all()
        assert cloud.sum() == 4


def test_netcdf_of_appeears_becomes_a_cube_and_is_read_again_if_exchanged(tmp_path):
    order_netcdf(tmp_path / "n", "MOD09GA.061", daily())
    arguments = build_product("mod09ga"), tmp_path / "n", tmp_path / "c.zarr"
    assert len(ingest(*arguments, kind="coarse").added) == 3
    assert not ingest(*arguments, kind="coarse").added
    for file in (tmp_path / "n").iterdir():
        file.unlink()
    order_netcdf(tmp_path / "n", "MOD09GA.061", daily())
    assert len(ingest(*arguments, kind="coarse").added) == 3


def test_viirs_by_appeears(tmp_path):
    flags = same(0, (1, 2, 4), np.uint8)
    flags[0, 0, 0] = 1 << 3
    small = (1, 2, 4)
    layers = {f"SurfReflect_I{b}_1": (500.0, same(1000 + b)) for b in (1, 2, 3)}
    layers |= {f"SurfReflect_M{b}_1": (1000.0, same(2000 + b, small)) for b in (3, 4, 11)}
    layers |= {f"SurfReflect_QF{b}_1": (1000.0, flags) for b in (1, 2, 7)}
    order(tmp_path, "VNP09GA.002", {name: (s, v[:1]) for name, (s, v) in layers.items()})
    scene, ready = only(tmp_path, "vnp09ga")
    assert str(scene.date) == DAYS[0]
    np.testing.assert_allclose(ready["nir"].values[3], 0.1002, rtol=1e-6)
    np.testing.assert_allclose(ready["swir2"].values[3], 0.2011, rtol=1e-6)
    assert np.isnan(ready["red"].values).sum() == 4


def test_nadir_reflectance_of_viirs_by_appeears(tmp_path):
    forms = {"I": (500.0, (1, 4, 8), (1, 2, 3)), "M": (1000.0, (1, 2, 4), (3, 4, 11))}
    for form, (size, shape, bands) in forms.items():
        layers = {f"Nadir_Reflectance_{form}{b}": (size, same(1000 + b, shape)) for b in bands}
        quality = same(0, shape, np.uint8)
        layers |= {f"BRDF_Albedo_Band_Mandatory_Quality_{form}{b}": (size, quality) for b in bands}
        order(tmp_path, f"VNP43{form}A4.002", layers)
    _, ready = only(tmp_path, "vnp43")
    np.testing.assert_allclose(ready["red"], 0.1001, rtol=1e-6)
    np.testing.assert_allclose(ready["green"], 0.1004, rtol=1e-6)


def test_granules_of_viirs_in_near_real_time(tmp_path):
    name = test_viirs.name(product="VNP09GA_NRT")
    test_viirs.write(tmp_path / name, test_viirs.vnp09())
    scene, _ = only(tmp_path, "vnp09ga")
    assert (scene.key, scene.version[0]) == ("VNP09GA.A2020001.h29v12", "0")


# --- HLS in other forms -------------------------------------------------------------------------

L30 = {"B02": 300, "B03": 400, "B04": 500, "B05": 3000, "B06": 2000, "B07": 1000, "B11": 29000}
S30 = {"B02": 310, "B03": 410, "B04": 510, "B05": 1, "B06": 2, "B07": 3, "B8A": 3010, "B11": 2010,
       "B12": 1010}  # fmt: skip
SUPER = {"B02": "BLUE", "B03": "GREEN", "B04": "RED", "B05": "NIR1", "B06": "SWIR1", "B07": "SWIR2"}


@pytest.mark.parametrize("form", ["subset", "common", "appeears"])
def test_hls_of_other_deliverers(tmp_path, form):
    for sensor, numbers in (("L30", L30), ("S30", S30)):
        for band, number in {**numbers, "Fmask": 0}.items():
            kind = np.uint8 if band == "Fmask" else np.int16
            layer = band
            if form == "common" and sensor == "L30":
                layer = {**SUPER, "Fmask": "FMASK"}.get(band, "TIR1")
            name = (
                f"HLS{sensor}.020_{band}_doy2021091_aid0001_55S.tif" if form == "appeears"
                else f"HLS.{sensor}.T55HCV.2021091T001122.v2.0.{layer}.subset.tif"
            )  # fmt: skip
            write(tmp_path / name, np.full((4, 4), number, kind))
    product = build_product("hls", prefer="S30")
    scenes = product.find_scenes(tmp_path)
    assert [str(s.date) for s in scenes] == ["2021-04-01"] * 2
    for scene, swir1 in zip(scenes, (0.201, 0.2), strict=True):
        assert not scene.problem
        ready = product.to_reflectance(product.open_scene(scene))
        np.testing.assert_allclose(ready["swir1"], swir1, rtol=1e-6)
        np.testing.assert_allclose(ready["nir"], 0.1 + swir1, rtol=1e-6)
