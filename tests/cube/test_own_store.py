"""A kind of store that a stranger adds: one class, one line."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr

import biastf_xr
from biastf_xr.config import read_config
from biastf_xr.cube import ingest
from biastf_xr.cube.stores import STORES, store_at
from biastf_xr.cube.stores.base import CubeStore, Edit
from biastf_xr.errors import CubeExistsError, CubeStructureError
from biastf_xr.sources import build_product

HELD: dict[str, dict] = {}


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


@pytest.fixture
def drawer(monkeypatch):
    """Register the store as a stranger would."""
    monkeypatch.setitem(STORES, "drawer", f"{__name__}:DrawerStore")
    yield
    HELD.clear()


def test_a_store_of_ones_own_holds_a_whole_run(drawer, small_scenes, small_cubes, tmp_path):
    fine, coarse, fused = (f"drawer://{name}" for name in ("fine", "coarse", "fused"))
    ingest(build_product("landsat-c2-l2"), small_scenes.landsat, fine, kind="fine")
    ingest(build_product("mod09ga"), small_scenes.modis, coarse, kind="coarse")
    days = ["2021-04-10", "2021-04-11"]
    assert biastf_xr.plan(fine, coarse, fused, "linear", dates=days, trial=False).totals.done == 0
    assert biastf_xr.write_fused(fine, coarse, fused, "linear", dates=days).units == 1
    assert biastf_xr.write_fused(fine, coarse, fused, "linear", dates=days).units == 0
    biastf_xr.write_fused(*small_cubes, tmp_path / "same.zarr", "linear", dates=days)
    made, same = (biastf_xr.open_cube(p).load() for p in (fused, tmp_path / "same.zarr"))
    for name in same.data_vars:
        np.testing.assert_array_equal(made[name], same[name])
    xr.testing.assert_equal(made, same)


def test_a_store_of_ones_own_is_an_address_in_a_configuration(drawer, tmp_path):
    text = """
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
    (tmp_path / "region.toml").write_text(text)
    config = read_config(tmp_path / "region.toml")
    assert config.fine.cube == "drawer://fine"
    assert config.coarse.cube == str(tmp_path / "coarse.zarr")
    assert store_at(config.fuse.output).beside.name == "fused"
    with pytest.raises(CubeStructureError, match="no cube at drawer://fine"):
        biastf_xr.open_cube(config.fine.cube)
