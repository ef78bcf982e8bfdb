"""Pixels at places: those that hold them, and none for places outside."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from checks import facts
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from biastf_xr.errors import GridMismatchError
from biastf_xr.grid import pixels_at


def cube(epsg=32655, top=-3_828_975.0, shape=(6, 8)):
    box = GeoBox(shape, Affine(30, 0, 455_985, 0, -30, top), f"EPSG:{epsg}")
    values = np.arange(np.prod(shape)).reshape(shape)
    return xr.Dataset({"nir": (("y", "x"), values)}, xr_coords(box))


def test_a_place_is_in_the_pixel_around_it():
    for dx, dy, want in ((1, 1, 0), (29, 29, 0), (31, 1, 1), (239, 179, 47)):
        found = pixels_at(cube(), "the cube", x=455_985 + dx, y=-3_828_975 - dy)
        assert int(found["nir"]) == want
    # Rows and columns; and a cube in the other half of the zone.
    south = cube(32755, 6_171_025.0)
    for ds in (cube(), south):
        found = pixels_at(ds, "the cube", x=cube()["x"][2:4], y=cube()["y"][1:3], of=cube())
        np.testing.assert_array_equal(found["nir"], cube()["nir"][1:3, 2:4])


@pytest.mark.parametrize("shape", [(6, 8), (1, 8), (6, 1)])
def test_a_place_outside_is_refused_with_the_extent(shape):
    ds = cube(shape=shape)
    right, bottom = 455_985 + 30 * shape[1], -3_828_975 - 30 * shape[0]
    for x, y in ((455_984, -3_828_976), (right + 1, -3_828_976), (455_990, bottom - 1),
                 (455_990, -3_828_974)):  # fmt: skip
        message = facts(f"x {x}", f"y {y}", "the cube", "455985 to", "EPSG:32655")
        with pytest.raises(GridMismatchError, match=message):
            pixels_at(ds, "the cube", x=x, y=y)
    with pytest.raises(
        GridMismatchError, match=facts("the coarse cube", "456030 to 456210", "455985 to 456105")
    ):
        pixels_at(cube(shape=(6, 4)), "the coarse cube", x=cube()["x"][1:], y=cube()["y"])


def test_degrees_for_a_cube_in_metres_are_told_in_metres():
    message = facts("x 146.5202", "y -34.6039", "455985 to 456225", "x 456007, y -3829223")
    with pytest.raises(GridMismatchError, match=message):
        pixels_at(cube(), "the cube", x=146.5202, y=-34.6039)


def test_places_of_another_crs_are_refused():
    with pytest.raises(GridMismatchError, match=facts("EPSG:32655", "EPSG:32656")):
        pixels_at(cube(), "the cube", x=455_990, y=-3_828_990, of=cube(32656))
