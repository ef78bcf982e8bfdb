"""The benchmark sets: real names and layouts, smaller images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from checks import facts
from envi_files import envi

from biastf_xr.cube import ingest, open_cube
from biastf_xr.errors import ConfigError
from biastf_xr.paper import benchmark_sets
from biastf_xr.paper.benchmark_sets import SETS, check_folder
from biastf_xr.sources import build_product
from biastf_xr.sources._rasters import without_grid_warning

SHAPE = (60, 80)
COLOURS = ("blue", "green", "red", "nir", "swir1", "swir2")


@pytest.fixture
def small(monkeypatch):
    """Make the sets small."""
    tiny = {name: replace(about, shape=SHAPE) for name, about in SETS.items()}
    monkeypatch.setattr(benchmark_sets, "SETS", tiny)


def numbers(seed=0):
    values = np.random.default_rng(seed).integers(200, 5000, (6, *SHAPE)).astype(np.int16)
    values[:, 0, :5] = -999
    return values


@pytest.mark.parametrize(("name", "count"), [("cia", 17), ("lgc", 14), ("ahb", 27),
                                             ("tianjin", 27), ("daxing", 29)])  # fmt: skip
def test_dates_are_as_published(name, count):
    dates = SETS[name].dates
    assert len(dates) == count == len(set(dates))
    assert list(dates) == sorted(dates)


@pytest.mark.parametrize("name", sorted(SETS))
@pytest.mark.parametrize("sensor", ["landsat", "modis"])
def test_example_of_every_set_is_found_on_its_first_date(tmp_path, name, sensor):
    path = tmp_path / SETS[name].example[sensor]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    path.with_name(path.name + ".hdr").write_text("ENVI")
    (path.parent / "QA_surf_ref.bil").write_text("no image")
    product = build_product("benchmark", which=name, sensor=sensor)
    (scene,) = product.find_scenes(tmp_path)
    want = SETS[name].dates[0] if name in {"cia", "lgc"} else "2017-05-07"
    assert str(scene.date) == want
    (again,) = product.find_scenes(tmp_path / path.relative_to(tmp_path).parts[0])
    assert again.date == scene.date


def test_csiro_images_are_read_by_their_headers_and_become_cubes(tmp_path, small):
    about = SETS["cia"]
    values = {s: numbers(i) for i, s in enumerate(("landsat", "modis"))}
    envi(tmp_path / about.example["landsat"], values["landsat"], "bil")
    envi(tmp_path / about.example["modis"], values["modis"], "bsq")
    product = build_product("benchmark", which="cia", sensor="landsat")
    ingest(product, tmp_path, tmp_path / "fine.zarr", kind="fine")
    ds = open_cube(tmp_path / "fine.zarr").load()
    assert ds.odc.geobox.affine == Affine(25, 0, 378_000, 0, -25, 6_170_000)
    assert ds.odc.geobox.crs.epsg == 20255
    for i, band in enumerate(COLOURS):
        np.testing.assert_allclose(ds[band][0, 1:], values["landsat"][i, 1:] * 1e-4, rtol=2**-12)
        assert np.isnan(ds[band][0, 0, :5]).all()
    modis = build_product("benchmark", which="cia", sensor="modis")
    ingest(modis, tmp_path, tmp_path / "c.zarr", kind="coarse", native_resolution=500)
    assert open_cube(tmp_path / "c.zarr").odc.geobox.shape == (3, 4)


def test_threads_open_images_without_a_warning(tmp_path, small):
    path = tmp_path / SETS["lgc"].example["landsat"]
    envi(path, numbers(), "bsq")
    product = build_product("benchmark", which="lgc", sensor="landsat")
    (scene,) = product.find_scenes(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: product.open_scene(scene), range(80)))
    assert {tuple(image.sizes.values()) for image in opened} == {SHAPE}


def test_images_of_2020_are_scaled_from_bytes(tmp_path, small):
    path = tmp_path / "Daxing" / "Landsat" / "L-2014-4-29.tif"
    path.parent.mkdir(parents=True)
    values = np.random.default_rng(0).integers(1, 200, (6, *SHAPE)).astype(np.uint8)
    with (
        without_grid_warning(),
        rasterio.open(
            path, "w", driver="GTiff", count=6, height=SHAPE[0], width=SHAPE[1], dtype="uint8"
        ) as file,
    ):
        file.write(values)
    product = build_product("benchmark", which="daxing", sensor="landsat")
    (scene,) = product.find_scenes(tmp_path)
    assert str(scene.date) == "2014-04-29"
    ready = product.to_reflectance(product.open_scene(scene).load())
    np.testing.assert_allclose(ready["nir"], values[3] / 255, rtol=1e-6)


def test_download_is_compared_with_what_is_expected(tmp_path, small):
    assert any("no image; expected" in w for w in check_folder("lgc", tmp_path))
    about = SETS["lgc"]
    for sensor in ("landsat", "modis"):
        envi(tmp_path / about.example[sensor], numbers(), "bsq")
    wrong = check_folder("lgc", tmp_path)
    assert len(wrong) == 2 * (len(about.dates) - 1)
    assert "landsat: no image of 2004-05-02" in wrong
    envi(tmp_path / about.example["modis"], numbers()[:, :30], "bsq")
    assert any("expected (60, 80)" in w for w in check_folder("lgc", tmp_path))


def test_unknown_sets_and_sensors_are_refused():
    with pytest.raises(ConfigError, match=facts("'ci'", "['ahb', 'cia'")):
        build_product("benchmark", which="ci", sensor="modis")
    with pytest.raises(ConfigError, match=facts("sensor", "'viirs'", "('landsat', 'modis')")):
        build_product("benchmark", which="cia", sensor="viirs")
