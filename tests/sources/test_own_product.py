"""A product that a stranger adds: one file, known by the entry point of its package."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

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


SCRIPT = """
import json
import numpy as np
from biastf_xr.cube import ingest, open_cube
from biastf_xr.sources import build_product
found = {"bands": build_product("stac", like="toy").bands}
for options in ({}, {"mask_haze": True}):
    cube = f"{len(options)}.zarr"
    summary = ingest(build_product("toy", **options), "scenes", cube, kind="fine")
    images = open_cube(cube).load()
    found[cube] = {
        "added": len(summary.added), "rejected": str(summary.rejected),
        "values": np.unique(images["nir"][0, 1:]).tolist(),
        "missing": np.isnan(images["red"][0, 0, :4]).values.tolist(),
    }
print(json.dumps(found))
"""


@pytest.fixture
def run(install, tmp_path):
    """Install the product as its package would, and write three scenes, the last without a band."""
    layers = {"b1": 10, "b2": 40, "qa": 0}
    for day in ("20210401", "20210417", "20210503"):
        for layer, value in layers.items():
            if (day, layer) != ("20210503", "b2"):
                write(tmp_path / "scenes" / f"TOY_{day}_{layer}.tif", value)
    return install({"toy_sensor": MODULE}, products={"toy": "toy_sensor:Toy"})


def write(path, value):
    """Write an image with fill in the first pixel, a cloud in the second, haze in the third."""
    path.parent.mkdir(exist_ok=True)
    values = np.full((64, 64), value, np.uint8)
    values[0, :3] = (0, 1, 8) if "qa" in path.name else (255, value, value)
    profile = {"driver": "GTiff", "height": 64, "width": 64, "count": 1, "dtype": "uint8"}
    grid = {"crs": "EPSG:32755", "transform": from_origin(455000, 6171000, 30, 30)}
    with rasterio.open(path, "w", **profile, **grid) as file:
        file.write(values, 1)


def test_it_is_ingested_with_its_own_options(run):
    found = json.loads(run("-c", SCRIPT).splitlines()[-1])
    assert found["bands"] == ["red", "nir"]
    for cube, missing in (("0.zarr", [True, True, False, False]), ("1.zarr", [True] * 3 + [False])):
        assert found[cube]["added"] == 2
        assert "['nir']" in found[cube]["rejected"]
        np.testing.assert_allclose(found[cube]["values"], 0.4, atol=1e-4)
        assert found[cube]["missing"] == missing


def test_help_init_and_doctor_know_it(run, tmp_path):
    described = run("-m", "biastf_xr", "ingest", "--help")
    assert "toy" in described.split("Products:")[1].split("Examples")[0]
    (tmp_path / "coarse").mkdir()
    folders = "--set", "fine.folder=scenes", "--set", "coarse.folder=coarse"
    run("-m", "biastf_xr", "init", "region.toml", *folders)
    assert 'product = "toy"' in (tmp_path / "region.toml").read_text()
    lines = run("-m", "biastf_xr", "doctor", "--json").splitlines()
    assert len([line for line in lines if "toy" in line]) == 1


def test_reference_knows_it(run):
    section = run("-c", "import reference_pages as r; print(r.product_section('toy'))").strip()
    assert 'product = "toy"' in section
    assert "TOY_20210401_nir.tif" in section
    assert "| `mask_haze` | bool | `false` | Whether hazy pixels are masked. |" in section
    assert section in run("-c", "import reference_pages as r; print(r.configuration_page())")
