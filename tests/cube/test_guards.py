"""Cubes that do not fit together are refused before anything is computed."""

from __future__ import annotations

import numpy as np
import pytest
from checks import facts, some

from biastf_xr.cube import open_cube
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.cube.stores._regular import RegularStore
from biastf_xr.errors import (
    CubeStructureError,
    GridMismatchError,
    MissingPairError,
    ReflectanceRangeError,
)


def test_fitting_cubes_are_paired(make_pair):
    fine, coarse = make_pair()
    pair = pair_cubes(fine, coarse[["nir", "red"]])
    assert pair.bands == ("red", "nir")
    assert [*pair.coarse.data_vars] == ["red", "nir"]
    assert pair.alignment.ratio == pytest.approx(4)
    assert [str(d) for d in pair.fine_days] == ["2021-04-01", "2021-04-09", "2021-04-17"]
    assert pair.coarse_days.size == 17


def test_resolution_of_times_does_not_matter(make_pair):
    fine, coarse = make_pair()
    pair_cubes(fine.assign_coords(time=fine["time"].astype("M8[us]")), coarse)


def test_clock_time_of_an_acquisition_does_not_matter(make_pair):
    fine, coarse = make_pair()
    pair_cubes(fine.assign_coords(time=fine["time"] + np.timedelta64(10, "h")), coarse)


def test_ingested_cubes_are_paired_without_reading_pixels(small_cubes, monkeypatch):
    asked, get = [], RegularStore.get

    async def noted(store, key, *args, **kwargs):
        asked.append(key)
        return await get(store, key, *args, **kwargs)

    monkeypatch.setattr(RegularStore, "get", noted)
    fine = open_cube(small_cubes.fine)
    pair_cubes(fine, open_cube(small_cubes.coarse))
    pair_cubes(fine.isel(time=[0, 2]), open_cube(small_cubes.coarse, chunks=None))
    pixels = tuple(f"{band}/c/" for band in fine.data_vars)
    assert not [key for key in some(asked) if key.startswith(pixels)]


@pytest.mark.parametrize("which", ["fine", "coarse"])
def test_band_on_one_side_only_is_named(make_pair, which):
    cubes = dict(zip(("fine", "coarse"), make_pair(bands=("red", "nir", "swir1")), strict=True))
    cubes[which] = cubes[which].drop_vars("swir1")
    other = "coarse" if which == "fine" else "fine"
    message = facts(f"{other} cube ['swir1']", "['nir', 'red']")
    with pytest.raises(CubeStructureError, match=message):
        pair_cubes(**cubes)


def test_cubes_without_a_common_day_are_refused_with_both_spans(make_pair):
    fine, coarse = make_pair(fine_days=(0, 16), coarse_days=range(1, 10))
    with pytest.raises(
        MissingPairError, match=facts("2021-04-01 to 2021-04-17", "2021-04-02 to 2021-04-10")
    ):
        pair_cubes(fine, coarse)


def test_unsorted_dates_are_refused(make_pair):
    fine, coarse = make_pair()
    with pytest.raises(CubeStructureError, match=facts("fine cube", "2021-04-09", "sortby")):
        pair_cubes(fine.isel(time=[0, 2, 1]), coarse)


def test_repeated_dates_are_refused(make_pair):
    fine, coarse = make_pair()
    with pytest.raises(
        CubeStructureError, match=facts("coarse cube", "2021-04-03", "drop_duplicates")
    ):
        pair_cubes(fine, coarse.isel(time=[0, 1, 2, 2, 3]))


def test_cube_without_dates_is_refused(make_pair):
    fine, coarse = make_pair()
    with pytest.raises(CubeStructureError, match="fine cube"):
        pair_cubes(fine.isel(time=[]), coarse)


def test_times_that_are_not_dates_are_refused(make_pair):
    fine, coarse = make_pair()
    with pytest.raises(CubeStructureError, match=facts("coarse cube", "int64", "2021-06-15")):
        pair_cubes(fine, coarse.assign_coords(time=range(17)))


def test_unscaled_values_are_refused_with_the_remedy(make_pair):
    fine, coarse = make_pair()
    with pytest.raises(ReflectanceRangeError, match=facts("coarse cube", "median", "factor")):
        pair_cubes(fine, coarse * 1e4)


def test_arithmetic_on_an_ingested_cube_is_checked_too(small_cubes):
    fine, coarse = open_cube(small_cubes.fine), open_cube(small_cubes.coarse)
    bands = coarse.drop_vars("clear")
    with pytest.raises(ReflectanceRangeError, match="coarse cube"):
        pair_cubes(fine, (bands * 1e4).assign_attrs(coarse.attrs))


def test_empty_band_is_refused_by_name(make_pair):
    fine, coarse = make_pair()
    with pytest.raises(ReflectanceRangeError, match=facts("fine cube", "nir")):
        pair_cubes(fine.assign(nir=fine["nir"] * np.nan), coarse)


def test_other_dims_are_refused_and_told(make_pair):
    fine, coarse = make_pair()
    with pytest.raises(CubeStructureError, match=facts("fine cube", "('y', 'x', 'time')")):
        pair_cubes(fine.transpose("y", "x", "time"), coarse)
    with pytest.raises(CubeStructureError, match=facts("coarse cube", "('y', 'x')")):
        pair_cubes(fine, coarse.isel(time=0))
    with pytest.raises(CubeStructureError, match=facts("fine cube", "(time, y, x)", "float")):
        pair_cubes((fine * 1e4).astype("int16"), coarse)


def test_grids_that_do_not_fit_are_refused(make_pair):
    fine, coarse = make_pair()
    with pytest.raises(GridMismatchError, match="swapped"):
        pair_cubes(coarse, fine)
    with pytest.raises(
        GridMismatchError, match=facts("coarse cube", "along y", "-2.38..3.38", "0..4")
    ):
        pair_cubes(fine, coarse.isel(y=slice(3, None)))
    with pytest.raises(GridMismatchError, match=facts("EPSG:32755", "EPSG:32756", "[grid]")):
        pair_cubes(fine, make_pair(crs="EPSG:32756")[1])
