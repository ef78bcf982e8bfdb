"""MODIS granules in HDF4: grid, scale, masks, mosaics onto UTM, and what is wrong with them."""

from __future__ import annotations

import re

import numpy as np
import pytest
import test_viirs
from checks import facts, some

from biastf_xr.cube import ingest, open_cube
from biastf_xr.errors import SceneError
from biastf_xr.grid import coarse_grid, fine_grid, read_region
from biastf_xr.sources import _granules as hdfeos
from biastf_xr.sources import build_product

pytest.importorskip("pyhdf")

SIDE = 1111950.519667  # of a MODIS land tile, in metres
COLOURS = {3: "blue", 4: "green", 1: "red", 2: "nir", 6: "swir1", 7: "swir2"}
N = 240  # pixels of the generated tiles: ten times larger than real ones

STRUCT = """GROUP=GridStructure
\tGROUP=GRID_1
\t\tGridName="MODIS_Grid_1km_2D"
\t\tXDim={half}
\t\tYDim={half}
\t\tUpperLeftPointMtrs=({left:.6f},{top:.6f})
\t\tLowerRightMtrs=({right:.6f},{bottom:.6f})
\t\tProjection=GCTP_SNSOID
\t\tProjParams=(6371007.181000,0,0,0,0,0,0,0,0,0,0,0,0)
\tEND_GROUP=GRID_1
END_GROUP=GridStructure
"""


def corner(h, v):
    return (h - 18) * SIDE, (9 - v) * SIDE


def write(path, layers, tile=(29, 12), *, scale=10000.0):
    """Write a granule: data sets by name, int16 ones with a scale factor, and StructMetadata.0."""
    from pyhdf.SD import SD, SDC

    kinds = {"i1": SDC.INT8, "u1": SDC.UINT8, "i2": SDC.INT16, "u2": SDC.UINT16, "u4": SDC.UINT32}
    left, top = corner(*tile)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = SD(str(path), SDC.WRITE | SDC.CREATE)
    for name, values in layers.items():
        data = file.create(name, kinds[values.dtype.str[1:]], values.shape)
        data.setcompress(SDC.COMP_DEFLATE, 1)
        data[:] = values
        if values.dtype == np.int16 and "refl" in name.lower():
            data.scale_factor = scale
        data.endaccess()
    text = STRUCT.format(half=N // 2, left=left, top=top, right=left + SIDE, bottom=top - SIDE)
    setattr(file, "StructMetadata.0", text)
    file.end()
    return path


def mod09(value=1000, **changes):
    layers = {f"sur_refl_b0{n}_1": np.full((N, N), value + n, np.int16) for n in range(1, 8)}
    layers["state_1km_1"] = np.zeros((N // 2, N // 2), np.uint16)
    layers["QC_500m_1"] = np.zeros((N, N), np.uint32)
    layers["obscov_500m_1"] = np.full((N, N), 80, np.int8)
    layers["SensorZenith_1"] = np.full((N // 2, N // 2), 2345, np.int16)
    return layers | changes


def name(day="2020001", tile="h29v12", product="MOD09GA", collection="061", stamp="2020003040506"):
    return f"{product}.A{day}.{tile}.{collection}.{stamp}.hdf"


def opened(folder, **options):
    product = build_product("mod09ga", **options)
    (scene,) = product.find_scenes(folder)
    assert not scene.problem
    return product, scene, product.open_scene(scene)


def test_granule_lies_on_its_sinusoidal_tile(tmp_path):
    write(tmp_path / name(), mod09())
    _, scene, raw = opened(tmp_path)
    assert str(scene.date) == "2020-01-01"
    assert scene.key == "MOD09GA.A2020001.h29v12"
    assert scene.version == "2020003040506"
    geobox = raw.odc.geobox
    assert geobox.shape == (N, N)
    assert (geobox.affine.c, geobox.affine.f) == pytest.approx(corner(29, 12))
    assert geobox.affine.a == pytest.approx(SIDE / N)
    assert "6371007.181" in geobox.crs.to_wkt()


def test_bands_are_in_their_order_and_scaled_whatever_the_attribute_says(tmp_path):
    for folder, scale in (("direct", 1e-4), ("inverse", 10000.0)):
        write(tmp_path / folder / name(), mod09(), scale=scale)
        product, _, raw = opened(tmp_path / folder)
        ready = product.to_reflectance(raw.isel(y=slice(0, 4), x=slice(0, 4)).load())
        for number, colour in COLOURS.items():
            np.testing.assert_allclose(ready[colour], (1000 + number) * 1e-4, rtol=1e-6)
        assert (ready["view_zenith"] == 23).all()
        assert (ready["obs_coverage"] == 80).all()
    write(tmp_path / "other" / name(), mod09(), scale=0.5)
    product = build_product("mod09ga")
    with pytest.raises(SceneError, match=facts("MOD09GA.A2020001", "0.5", "0.0001")):
        product.open_scene(product.find_scenes(tmp_path / "other")[0])


def test_only_the_window_is_read(tmp_path, monkeypatch):
    values = np.arange(N * N, dtype=np.int64).reshape(N, N) % 15000
    write(tmp_path / name(), mod09(sur_refl_b01_1=values.astype(np.int16)))
    _, _, raw = opened(tmp_path)
    read = []
    inner = hdfeos.Hdf4Array._read

    def counted(self, key):
        got = inner(self, key)
        read.append(got.size)
        return got

    monkeypatch.setattr(hdfeos.Hdf4Array, "_read", counted)
    part = raw.isel(y=slice(101, 111), x=slice(30, 37)).load()
    np.testing.assert_array_equal(part["red"], values[101:111, 30:37])
    assert max(read) <= 70
    assert len(read) == 10


def test_state_of_a_kilometre_masks_its_four_pixels(tmp_path):
    state = np.zeros((N // 2, N // 2), np.uint16)
    state[2, 3] = 0b01
    state[4, 5] = 1 << 10
    state[6, 7] = 1 << 13
    write(tmp_path / name(), mod09(state_1km_1=state))
    product, _, raw = opened(tmp_path)
    missing = np.isnan(product.to_reflectance(raw.load())["red"].values)
    want = np.zeros((N, N), bool)
    want[4:6, 6:8] = want[8:10, 10:12] = True
    np.testing.assert_array_equal(missing, want)
    strict = build_product("mod09ga", mask_adjacent=True, mask_internal=False)
    missing = np.isnan(strict.to_reflectance(raw.load())["red"].values)
    assert missing[12:14, 14:16].all()
    assert not missing[8:10, 10:12].any()


def test_quality_of_a_band_masks_that_band_alone(tmp_path):
    quality = np.zeros((N, N), np.uint32)
    quality[0, 0] = 0b1100 << 2  # band 1, red: a constant in place of a value
    quality[0, 1] = 0b1000 << 22  # band 6, swir1: a dead detector, interpolated
    quality[0, 2] = 0b0111 << 6  # band 2, nir: a noisy detector
    write(tmp_path / name(), mod09(QC_500m_1=quality))
    product, _, raw = opened(tmp_path)
    row = product.to_reflectance(raw.isel(y=[0]).load())
    missing = {b: np.flatnonzero(np.isnan(row[b].values[0])).tolist() for b in COLOURS.values()}
    assert missing == {b: [] for b in COLOURS.values()} | {"red": [0], "nir": [2]}
    loose = build_product("mod09ga", mask_quality=False)
    assert np.isfinite(loose.to_reflectance(raw.isel(y=[0]).load())["red"]).all()


def test_pixels_seen_from_far_aside_may_be_masked(tmp_path):
    angle = np.full((N // 2, N // 2), 6500, np.int16)
    angle[0, 0] = 500
    write(tmp_path / name(), mod09(SensorZenith_1=angle))
    product, _, raw = opened(tmp_path, max_view_zenith=50)
    assert int(np.isfinite(product.to_reflectance(raw.load())["red"]).sum()) == 4


def test_platforms_and_collections_are_told_apart(tmp_path):
    for product in ("MYD09GA", "MOD09GA"):
        write(tmp_path / name(product=product), mod09())
    write(tmp_path / name(day="2020002", collection="006"), mod09())
    scenes = build_product("mod09ga").find_scenes(tmp_path)
    assert [s.id[:3] for s in scenes] == ["MOD", "MYD", "MOD"]
    assert re.match(facts("006", "061"), scenes[2].problem)
    aqua = build_product("mod09ga", platform="aqua").find_scenes(tmp_path)
    assert [s.id[:3] for s in aqua] == ["MYD"]


def test_damaged_granules_are_named(tmp_path):
    path = write(tmp_path / name(), mod09())
    path.write_bytes(path.read_bytes()[:3000])
    product = build_product("mod09ga")
    (scene,) = product.find_scenes(tmp_path)
    with pytest.raises(SceneError, match=facts("MOD09GA.A2020001", "HDF4")):
        product.open_scene(scene).load()
    layers = mod09()
    del layers["state_1km_1"]
    write(tmp_path / "b" / name(), layers)
    with pytest.raises(SceneError, match=facts("MOD09GA.A2020001", "['state_1km_1']")):
        product.open_scene(product.find_scenes(tmp_path / "b")[0])


def test_a_damaged_granule_ends_neither_the_program_nor_the_reading_of_others(tmp_path):
    """The HDF4 library frees memory twice, or refuses every file from then on."""
    sound = write(tmp_path / "sound" / name(), mod09())
    product = build_product("mod09ga")
    (scene,) = product.find_scenes(sound.parent)
    want, data = product.open_scene(scene).load(), sound.read_bytes()
    rng, named = np.random.default_rng(0), []
    for n in range(40):
        part = tmp_path / f"{n}"
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[rng.integers(0, 6000, rng.integers(1, 40))] ^= np.uint8(1 << rng.integers(0, 8))
        part.mkdir()
        (part / name()).write_bytes(damaged)
        try:
            product.open_scene(product.find_scenes(part)[0]).load()
        except SceneError as error:
            named.append(str(part / name()) in str(error))
        if n % 10 == 0:
            assert product.open_scene(scene).load().identical(want)
    assert all(some(named))


def test_a_granule_that_says_that_it_is_endless_is_refused_before_it_is_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = test_viirs.write(tmp_path / test_viirs.name(), test_viirs.vnp09())
    with h5py.File(path, "r+") as file:
        at = "HDFEOS/GRIDS/VIIRS_Grid_500m_2D/Data Fields/SurfReflect_I1_1"
        del file[at]
        file.create_dataset(at, (10**9, 10**9), "i2", chunks=(64, 64))
    product = build_product("vnp09ga")
    with pytest.raises(SceneError, match=facts(path.name, "SurfReflect_I1_1", 10**9, 4800)):
        product.open_scene(product.find_scenes(tmp_path)[0])


def test_a_granule_of_one_endless_chunk_is_refused_before_it_is_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = test_viirs.write(tmp_path / test_viirs.name(), test_viirs.vnp09())
    with h5py.File(path, "r+") as file:
        at = "HDFEOS/GRIDS/VIIRS_Grid_500m_2D/Data Fields/SurfReflect_I1_1"
        shape = file[at].shape
        del file[at]
        size = (30_000, 60_000)
        file.create_dataset(at, shape, "i2", maxshape=size, chunks=size)
    product = build_product("vnp09ga")
    with pytest.raises(SceneError, match=facts(path.name, 2 * 30_000 * 60_000)):
        product.open_scene(product.find_scenes(tmp_path)[0])


def test_nadir_reflectance_takes_the_inversions_asked_for(tmp_path):
    quality = np.zeros((N, N), np.uint8)
    quality[0, 0], quality[0, 1] = 1, 255
    layers = {f"Nadir_Reflectance_Band{n}": np.full((N, N), 1000 + n, np.int16) for n in COLOURS}
    layers["Nadir_Reflectance_Band2"][0, 2] = 32767
    layers |= {f"BRDF_Albedo_Band_Mandatory_Quality_Band{n}": quality for n in COLOURS}
    write(tmp_path / name(product="MCD43A4"), layers)
    for option, want in (("magnitude", [1, 2]), ("full", [0, 1, 2])):
        product = build_product("mcd43a4", quality=option)
        (scene,) = product.find_scenes(tmp_path)
        ready = product.to_reflectance(product.open_scene(scene).isel(y=[0]).load())
        assert np.flatnonzero(np.isnan(ready["nir"].values[0])).tolist() == want
        np.testing.assert_allclose(ready["blue"].values[0, 5], 0.1003, rtol=1e-6)


def ground(x, y):
    """Return a smooth reflectance anywhere on the sinusoidal plane."""
    return 0.2 + 0.1 * np.sin(x / 40_000) * np.cos(y / 30_000)


def test_tiles_of_a_day_become_one_utm_cube(tmp_path):
    """Two tiles meet inside the region; the seam must not show, and nearest would miss by far."""
    seam = corner(29, 12)[1] - SIDE  # between v12 and v13
    for tile in ((29, 12), (29, 13)):
        left, top = corner(*tile)
        x = left + (np.arange(N) + 0.5) * SIDE / N
        y = top - (np.arange(N) + 0.5) * SIDE / N
        values = np.round(ground(*np.meshgrid(x, y)) * 10000).astype(np.int16)
        layers = mod09() | {f"sur_refl_b0{n}_1": values for n in range(1, 8)}
        for day in ("2020001", "2020002"):
            if (tile, day) != ((29, 13), "2020002"):  # one tile is missing on the second day
                write(tmp_path / "s" / name(day, f"h{tile[0]:02d}v{tile[1]:02d}"), layers, tile)
    from odc.geo.geom import point

    lon, lat = (
        point(corner(29, 12)[0] + SIDE / 2, seam, hdfeos.SINUSOIDAL).to_crs("EPSG:4326").coords[0]
    )
    fine = fine_grid(read_region([lon - 0.5, lat - 0.5, lon + 0.5, lat + 0.5]), resolution=480)
    grid = coarse_grid(fine, resolution=4800, margin=1)
    path = tmp_path / "coarse.zarr"
    report = ingest(build_product("mod09ga"), tmp_path / "s", path, kind="coarse", grid=grid)
    assert len(report.added) == 3
    assert not report.rejected
    ds = open_cube(path).load()
    assert ds.odc.geobox == grid
    gx, gy = np.meshgrid(ds["x"], ds["y"])
    there = grid.crs.transformer_to_crs(hdfeos.SINUSOIDAL)(gx, gy)
    truth = ground(*there)
    assert np.isfinite(ds["red"][0]).all()
    error = np.abs(ds["red"][0].values - truth)
    # At the seam a pixel is taken from one side alone; the nearest pixel would be off by 7e-3.
    assert error.max() < 2.5e-3
    assert np.quantile(error, 0.9) < 3e-4
    assert set(np.unique(ds["source"][0])) == {1, 2}
    # The missing tile leaves its part empty, and the other as it was.
    gone = np.isnan(ds["red"][1].values)
    assert 0.3 < gone.mean() < 0.7
    np.testing.assert_array_equal(gone, ds["clear"][1] == 0)
    first, second = ds["red"].values
    np.testing.assert_array_equal(second[~gone], first[~gone])
    assert set(np.unique(ds["view_zenith"][0])) == {23}
    again = ingest(build_product("mod09ga"), tmp_path / "s", path, kind="coarse")
    assert not again.added
