"""A kind of store that a stranger adds: one class, known by the entry point of its package."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import biastf_xr

MODULE = '''\
"""Cubes in the memory of this process."""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from biastf_xr.cube.stores.base import CubeStore, Edit
from biastf_xr.errors import CubeExistsError

HELD = {}


@dataclass(frozen=True)
class DrawerStore(CubeStore):
    """Plain Zarr in a dictionary, by the name after ``drawer://``."""

    url: str

    @classmethod
    def at(cls, url, base):
        return cls(url)

    def _open(self, *, read_only=False):
        from zarr.storage import MemoryStore

        return MemoryStore(HELD.setdefault(self.url, {}), read_only=read_only)

    def exists(self):
        return "zarr.json" in HELD.get(self.url, {})

    def reader(self, version=None):
        if version is not None:
            raise self.without_versions(version)
        return self._open(read_only=True)

    def lock(self):
        return nullcontext("mine")

    def held_by(self, token):
        return token == "mine"

    @contextmanager
    def edit(self, message, *, hidden=False):
        edit = Edit(self._open())
        yield edit
        edit.checkpoint(message)

    @contextmanager
    def build(self, message, *, replace):
        if self.exists() and not replace:
            raise CubeExistsError(self.url)
        self.delete()
        with self.edit(message) as edit:
            yield edit

    def delete(self):
        HELD.pop(self.url, None)
'''

RUN = """
import json, sys
import biastf_xr
from biastf_xr.cube import ingest
from biastf_xr.sources import build_product
landsat, modis, folder = sys.argv[1:]
fine, coarse, fused = (f"drawer://{name}" for name in ("fine", "coarse", "fused"))
ingest(build_product("landsat-c2-l2"), landsat, fine, kind="fine")
ingest(build_product("mod09ga"), modis, coarse, kind="coarse")
days = ["2021-04-10", "2021-04-11"]
done = biastf_xr.plan(fine, coarse, fused, "linear", dates=days, trial=False).totals.done
units = [biastf_xr.write_fused(fine, coarse, fused, "linear", dates=days).units for _ in range(2)]
biastf_xr.open_cube(fused).load().drop_encoding().to_zarr(folder + "/made.zarr")
print(json.dumps([done, *units]))
"""

ADDRESS = """
import json
import biastf_xr
from biastf_xr.config import read_config
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import CubeStructureError
config = read_config("region.toml")
try:
    biastf_xr.open_cube(config.fine.cube)
except CubeStructureError as error:
    refused = str(error)
beside = store_at(config.fuse.output).beside.name
print(json.dumps([config.fine.cube, config.coarse.cube, beside, refused]))
"""

REGION = """
[fine]
product = "landsat-c2-l2"
folder = "landsat"
cube = "drawer://fine"

[coarse]
product = "mod09ga"
folder = "modis"
cube = "coarse.zarr"

[fuse]
output = "drawer://fused"
"""


@pytest.fixture
def run(install):
    """Install the store as its package would; return what runs Python beside it."""
    return install({"drawers": MODULE}, stores={"drawer": "drawers:DrawerStore"})


def test_a_store_of_ones_own_holds_a_whole_run(run, small_scenes, small_cubes, tmp_path):
    scenes = small_scenes.landsat, small_scenes.modis
    assert json.loads(run("-c", RUN, *scenes, tmp_path).splitlines()[-1]) == [0, 1, 0]
    days = ["2021-04-10", "2021-04-11"]
    biastf_xr.write_fused(*small_cubes, tmp_path / "same.zarr", "linear", dates=days)
    same = biastf_xr.open_cube(tmp_path / "same.zarr").load()
    made = xr.open_zarr(tmp_path / "made.zarr").load()
    for name in same.data_vars:
        np.testing.assert_array_equal(made[name], same[name])
    xr.testing.assert_equal(made, same)


def test_a_store_of_ones_own_is_an_address_in_a_configuration(run, tmp_path):
    (tmp_path / "region.toml").write_text(REGION)
    fine, coarse, beside, refused = json.loads(run("-c", ADDRESS).splitlines()[-1])
    assert fine == "drawer://fine"
    assert coarse == str(tmp_path / "coarse.zarr")
    assert beside == "fused"
    assert "no cube at drawer://fine" in refused
