"""VIIRS granules in HDF5: bands of two resolutions, masks, tiles, and what is wrong with them."""

from __future__ import annotations

import re

import numpy as np
import pytest
import rioxarray  # noqa: F401  (adds .rio)
from checks import facts

from biastf_xr.cube import ingest, open_cube
from biastf_xr.errors import SceneError
from biastf_xr.grid import coarse_grid, fine_grid, read_region
from biastf_xr.sources import build_product
from biastf_xr.sources._granules import tile_transform

h5py = pytest.importorskip("h5py")

N = 240  # pixels of the generated tiles: ten times larger than real ones
FILL = -28672


def write(path, fields):
    """Write a granule: data sets by grid and name, int16 ones with the product's attributes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_group("HDFEOS INFORMATION")["StructMetadata.0"] = np.bytes_("GROUP=Grid")
        for (grid, name), values in fields.items():
            folder = file.require_group(f"HDFEOS/GRIDS/{grid}/Data Fields")
            data = folder.create_dataset(name, data=values, chunks=True, compression="gzip")
            if values.dtype == np.int16:
                data.attrs["scale_factor"] = 1e-4
                data.attrs["_FillValue"] = np.int16(FILL)
    return path


def vnp09(**changes):
    fine, km = "VIIRS_Grid_500m_2D", "VIIRS_Grid_1km_2D"
    fields = {(fine, f"SurfReflect_I{n}_1"): np.full((N, N), 1000 + n, np.int16) for n in (1, 2, 3)}
    fields |= {
        (km, f"SurfReflect_M{n}_1"): np.full((N // 2, N // 2), 2000 + n, np.int16)
        for n in (1, 2, 3, 4, 5, 7, 8, 10, 11)
    }
    fields |= {
        (km, f"SurfReflect_QF{n}_1"): np.zeros((N // 2, N // 2), np.uint8) for n in range(1, 8)
    }
    fields[km, "SensorZenith_1"] = np.full((N // 2, N // 2), 2345, np.int16)
    fields[fine, "obscov_500m_1"] = np.full((N, N), 80, np.int8)
    for name, values in changes.items():
        key = next(k for k in fields if k[1] == name)
        fields[key] = values
    return fields


def name(product="VNP09GA", tile="h29v12", collection="002", stamp="2021111040506"):
    return f"{product}.A2020001.{tile}.{collection}.{stamp}.h5"


def ready(folder, product="vnp09ga", **options):
    product = build_product(product, **options)
    (scene,) = product.find_scenes(folder)
    assert not scene.problem
    return product.to_reflectance(product.open_scene(scene).load())


def test_bands_of_both_resolutions_lie_on_the_tile(tmp_path):
    km = np.arange((N // 2) ** 2, dtype=np.int16).reshape(N // 2, N // 2)
    write(tmp_path / name(), vnp09(SurfReflect_M3_1=km % 9000))
    scene = ready(tmp_path)
    assert dict(scene.sizes) == {"y": N, "x": N}
    # Tile h29v12 spans 110 to 120 degrees of the equator east, 30 to 40 degrees south.
    assert float(scene.x[0]) == pytest.approx(11 * 1111950.519667 + 1111950.519667 / N / 2)
    assert float(scene.y[-1]) == pytest.approx(-4 * 1111950.519667 + 1111950.519667 / N / 2)
    assert scene.rio.crs.to_dict()["proj"] == "sinu"
    np.testing.assert_allclose(scene.red, 0.1001, atol=1e-6)
    np.testing.assert_allclose(scene.nir, 0.1002, atol=1e-6)
    np.testing.assert_allclose(scene.swir1, 0.1003, atol=1e-6)
    np.testing.assert_allclose(scene.green, 0.2004, atol=1e-6)
    np.testing.assert_allclose(scene.swir2, 0.2011, atol=1e-6)
    repeated = np.repeat(np.repeat(km % 9000, 2, axis=0), 2, axis=1) * 1e-4
    np.testing.assert_allclose(scene.blue, repeated, atol=1e-6)
    assert np.unique(scene.view_zenith) == 23
    assert np.unique(scene.obs_coverage) == 80


def test_a_window_is_what_the_whole_has_there(tmp_path):
    km = np.arange((N // 2) ** 2, dtype=np.int16).reshape(N // 2, N // 2) % 9000
    write(tmp_path / name(), vnp09(SurfReflect_M3_1=km))
    product = build_product("vnp09ga")
    raw = product.open_scene(product.find_scenes(tmp_path)[0])
    window = {"y": slice(31, 77), "x": slice(100, 133)}
    np.testing.assert_array_equal(raw.isel(window).load()["blue"], raw.load()["blue"].isel(window))


@pytest.mark.parametrize(
    ("layer", "flags", "option", "always"),
    [
        ("QF1", 0b1000, None, True),  # probably cloudy
        ("QF1", 0b0100, "mask_probably_clear", False),
        ("QF1", 0b10000, None, True),  # night
        ("QF2", 0b1000, None, True),  # shadow
        ("QF2", 0b10000, "mask_aerosol", True),
        ("QF2", 0b1000000, "mask_cirrus", False),
        ("QF2", 0b10000000, "mask_cirrus", False),
        ("QF2", 0b100000, None, False),  # snow
        ("QF7", 0b10, "mask_adjacent", False),
    ],
)
def test_flags_of_a_kilometre_mask_its_four_pixels(tmp_path, layer, flags, option, always):
    quality = np.zeros((N // 2, N // 2), np.uint8)
    quality[3, 5] = flags
    write(tmp_path / name(), vnp09(**{f"SurfReflect_{layer}_1": quality}))
    expected = np.zeros((N, N), bool)
    expected[6:8, 10:12] = True
    scene = ready(tmp_path)
    for band in ("red", "blue"):
        assert (np.isnan(scene[band]).to_numpy() == (expected & always)).all()
    if option:
        turned = ready(tmp_path, **{option: not always})
        assert (np.isnan(turned["red"]).to_numpy() == (expected & (not always))).all()


def test_fill_is_missing_in_its_band_alone(tmp_path):
    red = np.full((N, N), 1001, np.int16)
    red[0, 0] = FILL
    red[0, 1] = 16001
    write(tmp_path / name(), vnp09(SurfReflect_I1_1=red))
    scene = ready(tmp_path)
    assert np.isnan(scene.red[0, :2]).all()
    assert int(np.isnan(scene.red).sum()) == 2
    assert not np.isnan(scene.nir).any()


def test_pixels_seen_from_far_aside_may_be_masked(tmp_path):
    zenith = np.full((N // 2, N // 2), 6600, np.int16)
    zenith[0] = -32767
    write(tmp_path / name(), vnp09(SensorZenith_1=zenith))
    assert not np.isnan(ready(tmp_path).red).any()
    masked = np.isnan(ready(tmp_path, max_view_zenith=60.0).red)
    assert not masked[:2].any()
    assert masked[2:].all()


def test_satellites_are_in_order_and_collections_apart(tmp_path):
    for product in ("VJ209GA", "VJ109GA", "VNP09GA"):
        write(tmp_path / name(product), vnp09())
    found = build_product("vnp09ga").find_scenes(tmp_path)
    assert [s.id[:3] for s in found] == ["VNP", "VJ1", "VJ2"]
    (only,) = build_product("vnp09ga", platform="noaa20").find_scenes(tmp_path)
    assert only.id.startswith("VJ109GA")
    write(tmp_path / "old" / name(collection="001"), vnp09())
    (old,) = build_product("vnp09ga").find_scenes(tmp_path / "old")
    assert re.match(facts("001", "002"), old.problem)


def test_damaged_granules_are_named(tmp_path):
    product = build_product("vnp09ga")
    whole = write(tmp_path / name(), vnp09())
    whole.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(SceneError, match=facts("VNP09GA.A2020001.h29v12.002", "HDF5")):
        product.open_scene(product.find_scenes(tmp_path)[0])
    fields = vnp09()
    del fields["VIIRS_Grid_1km_2D", "SurfReflect_QF2_1"]
    write(whole, fields)
    with pytest.raises(SceneError, match=facts("['SurfReflect_QF2_1']")):
        product.open_scene(product.find_scenes(tmp_path)[0])
    with pytest.raises(SceneError, match="h36v00"):
        tile_transform("h36v00", N)


def vnp43(form, value=1000, quality=0):
    bands = {"IA4": ("I1", "I2", "I3"), "MA4": ("M3", "M4", "M11")}[form]
    n = N if form == "IA4" else N // 2
    grid = "VIIRS_Grid_BRDF"
    fields = {(grid, f"Nadir_Reflectance_{b}"): np.full((n, n), value, np.uint16) for b in bands}
    return fields | {
        (grid, f"BRDF_Albedo_Band_Mandatory_Quality_{b}"): np.full((n, n), quality, np.uint8)
        for b in bands
    }


def test_nadir_reflectance_needs_both_forms(tmp_path):
    write(tmp_path / name("VNP43IA4"), vnp43("IA4", 3000))
    (half,) = build_product("vnp43").find_scenes(tmp_path)
    assert "MA4" in half.problem
    write(tmp_path / name("VNP43MA4"), vnp43("MA4", 2000, quality=1))
    scene = ready(tmp_path, "vnp43")
    np.testing.assert_allclose(scene.red, 0.3, atol=1e-6)
    np.testing.assert_allclose(scene.blue, 0.2, atol=1e-6)
    full = ready(tmp_path, "vnp43", quality="full")
    assert np.isnan(full.blue).all()
    assert not np.isnan(full.red).any()
    write(tmp_path / name("VNP43MA4"), vnp43("MA4", 32767))
    assert np.isnan(ready(tmp_path, "vnp43").swir2).all()


def test_granules_become_a_coarse_cube_in_utm(tmp_path):
    folder = tmp_path / "granules"
    for tile in ("h29v12", "h30v12"):
        write(folder / name(tile=tile), vnp09())
    fine = fine_grid(read_region([147.0, -35.3, 147.6, -34.9]), crs="EPSG:32755", resolution=30)
    grid = coarse_grid(fine, resolution=9600)
    report = ingest(
        build_product("vnp09ga"), folder, tmp_path / "coarse.zarr", kind="coarse", grid=grid
    )
    assert not report.rejected or len(report.added) == 1
    cube = open_cube(tmp_path / "coarse.zarr").load()
    np.testing.assert_allclose(cube.red, 0.1001, atol=1e-4)
    assert np.unique(cube.view_zenith) == 23
