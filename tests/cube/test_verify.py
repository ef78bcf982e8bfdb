"""Verification: sound cubes pass; every kind of damage is found, with its day and place."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import zarr
from checks import facts

import biastf_xr
from biastf_xr.cube import verify
from biastf_xr.cube._ledger import DayRecord, write_records
from biastf_xr.errors import CubeStructureError


@pytest.fixture
def cube(small_cubes, tmp_path):
    shutil.copytree(small_cubes.fine, tmp_path / "cube.zarr")
    return tmp_path / "cube.zarr"


def change(path, name, where, value):
    zarr.open_group(path, mode="r+", use_consolidated=False)[name][where] = value


def only(path, variable, what, day="2021-04-17"):
    """Verify, and expect findings of one variable alone."""
    found = verify(path).findings
    assert {f.variable for f in found} == {variable}
    assert any(what in f.what for f in found), found
    assert any(day in f.day for f in found), found


@pytest.mark.parametrize("which", ["fine", "coarse"])
def test_ingested_cubes_are_sound(small_cubes, which):
    seen = []
    result = verify(getattr(small_cubes, which), progress=lambda *a: seen.append(a))
    assert result.sound, result.findings
    assert result.pixels > 0
    assert result.days >= 2
    assert seen[-1][1] == seen[-1][2]


def test_fused_cube_is_sound(small_cubes, tmp_path):
    path = biastf_xr.write_fused(*small_cubes, tmp_path / "f.zarr", "direct").path
    assert verify(path).sound
    change(path, "status_flag", (3, slice(0, 2), slice(0, 3)), 77)
    found = verify(path).findings
    assert any("6 pixels: no known flag" in f.what for f in found)
    assert any("made, but missing" in f.what for f in found)


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damaged_chunk_is_found_by_its_checksum(cube, damage):
    file = cube / "nir" / "c" / "16" / "0" / "0"
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[len(data) // 3] ^= 0x10
    else:
        del data[len(data) // 2 :]
    file.write_bytes(bytes(data))
    only(cube, "nir", "cannot be decoded")


def test_values_out_of_range_are_counted(cube):
    seen = np.argwhere(zarr.open_group(cube)["clear"][0] == 1)[:3]
    for y, x in seen:
        change(cube, "red", (0, int(y), int(x)), 3.5)
    only(cube, "red", "3 pixels: outside -0.2 to 1.6", "2021-04-01")


def test_mask_that_contradicts_the_bands_is_found(cube):
    y, x = np.argwhere(zarr.open_group(cube)["clear"][0] == 1)[0]
    change(cube, "red", (0, int(y), int(x)), np.nan)
    only(cube, "clear", "clear, but not in every band", "2021-04-01")


def test_source_that_is_no_scene_is_found(cube):
    y, x = np.argwhere(zarr.open_group(cube)["clear"][0] == 1)[0]
    change(cube, "source", (0, int(y), int(x)), 9)
    only(cube, "source", "from a scene that is not in `scenes`", "2021-04-01")


def test_wrong_clear_fraction_is_found(cube):
    change(cube, "clear_fraction", 0, 0.123)
    only(cube, "clear_fraction", "says 0.1230; the pixels", "2021-04-01")


def test_unfinished_day_is_found(cube):
    group = zarr.open_group(cube, mode="r+", use_consolidated=False)
    write_records(group, {16: DayRecord((), finished=False)})
    only(cube, "ingest/record", "was not finished")


def test_missing_cube_is_refused(tmp_path):
    with pytest.raises(CubeStructureError, match=facts("absent.zarr")):
        verify(tmp_path / "absent.zarr")
