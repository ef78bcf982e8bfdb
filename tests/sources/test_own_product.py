"""A product that a stranger adds: one file and one line in the registry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from biastf_xr.cube import ingest, open_cube
from biastf_xr.sources import PRODUCTS, build_product

MODULE = '''\
"""Images of the toy sensor, a file for each layer."""

import re
from dataclasses import dataclass

from biastf_xr.sources.base import Encoding, Product


@dataclass(frozen=True, kw_only=True)
class Toy(Product):
    """Toy images.

    Attributes
    ----------
    mask_haze : bool
        Whether hazy pixels are masked.
    """

    name = "toy"
    title = "toy"
    expects = "TOY_20210401_nir.tif"
    kind = "fine"
    patterns = (re.compile(r"(?P<id>TOY_(?P<date>[0-9]{8}))_(?P<layer>[a-z0-9]+)[.]tif"),)
    layer_names = {"b1": "red", "b2": "nir", "qa": "qa"}
    needed = ("red", "nir", "qa")
    bands = ("red", "nir")
    asset_keys = {"red": ("b1",), "nir": ("b2",), "qa": ("qa",)}
    flags = {"qa": {"always": (0,), "mask_haze": (3,)}}
    encoding = Encoding(factor=0.01, fill=(255,))
    mask_haze: bool = False
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Add the product as a stranger would, and write three scenes, the last without a band."""
    (tmp_path / "toy_sensor.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PRODUCTS, "toy", "toy_sensor:Toy")
    layers = {"b1": 10, "b2": 40, "qa": 0}
    scenes = tmp_path / "scenes"
    for day in ("20210401", "20210417", "20210503"):
        for layer, value in layers.items():
            if (day, layer) != ("20210503", "b2"):
                write(scenes / f"TOY_{day}_{layer}.tif", value)
    yield tmp_path
    sys.modules.pop("toy_sensor", None)


def write(path, value):
    """Write an image with fill in the first pixel, a cloud in the second, haze in the third."""
    path.parent.mkdir(exist_ok=True)
    values = np.full((64, 64), value, np.uint8)
    values[0, :3] = (0, 1, 8) if "qa" in path.name else (255, value, value)
    profile = {"driver": "GTiff", "height": 64, "width": 64, "count": 1, "dtype": "uint8"}
    grid = {"crs": "EPSG:32755", "transform": from_origin(455000, 6171000, 30, 30)}
    with rasterio.open(path, "w", **profile, **grid) as file:
        file.write(values, 1)


def test_it_is_ingested_with_its_own_options(toy):
    found = ingest(build_product("toy"), toy / "scenes", toy / "fine.zarr", kind="fine")
    assert len(found.added) == 2
    assert "['nir']" in str(found.rejected)
    cube = open_cube(toy / "fine.zarr").load()
    np.testing.assert_allclose(cube["nir"][0, 1:], 0.4, atol=1e-4)
    np.testing.assert_array_equal(np.isnan(cube["red"][0, 0, :4]), [True, True, False, False])
    masked = ingest(
        build_product("toy", mask_haze=True), toy / "scenes", toy / "clear.zarr", kind="fine"
    )
    assert len(masked.added) == 2
    clear = open_cube(toy / "clear.zarr").load()
    np.testing.assert_array_equal(np.isnan(clear["red"][0, 0, :4]), [True, True, True, False])


def command(folder, *words):
    """Run the command of a program that knows the product, in a process of its own."""
    program = (
        "from biastf_xr.sources import PRODUCTS; PRODUCTS['toy'] = 'toy_sensor:Toy'; "
        "from biastf_xr.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True, text=True, check=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"},
    )  # fmt: skip
    return done.stdout


def test_help_init_and_doctor_know_it(toy):
    assert "toy" in command(toy, "ingest", "--help").split("Products:")[1].split("Examples")[0]
    (toy / "coarse").mkdir()
    file = toy / "region.toml"
    folders = "--set", f"fine.folder={toy / 'scenes'}", "--set", f"coarse.folder={toy / 'coarse'}"
    command(toy, "init", file, *folders)
    assert 'product = "toy"' in file.read_text()
    drivers = [line for line in command(toy, "doctor", "--json").splitlines() if "toy" in line]
    assert len(drivers) == 1


def test_reference_and_catalogues_know_it(toy, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "docs" / "_ext")
    import reference_pages

    section = reference_pages.product_section("toy")
    assert 'product = "toy"' in section
    assert "TOY_20210401_nir.tif" in section
    assert "| `mask_haze` | bool | `false` | Whether hazy pixels are masked. |" in section
    assert section in reference_pages.configuration_page()
    assert build_product("stac", like="toy").bands == ("red", "nir")
