"""A small fused cube, for what is done with one downstream."""

from __future__ import annotations

import shutil

import pytest

DAYS = [f"2021-04-{d:02d}" for d in range(15, 20)]


@pytest.fixture(scope="session")
def fused_cube(small_cubes, tmp_path_factory):
    """Fuse five days around a scene, with sigmas, once; not to be changed by a test."""
    import biastf_xr

    folder = tmp_path_factory.mktemp("fused")
    model = biastf_xr.fit(*map(biastf_xr.open_cube, small_cubes)).save(folder / "m.safetensors")
    biastf_xr.write_fused(*small_cubes, folder / "fused.zarr", model, dates=DAYS)
    return folder / "fused.zarr"


@pytest.fixture
def own_cube(fused_cube, tmp_path):
    """Return a copy of the fused cube that a test may change."""
    return shutil.copytree(fused_cube, tmp_path / "fused.zarr")
