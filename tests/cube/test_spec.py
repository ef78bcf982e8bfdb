"""Layouts, the order of bands, daily labels."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from checks import facts
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from biastf_xr._days import to_days
from biastf_xr.cube._spec import CubeSpec, Layout, sort_bands
from biastf_xr.errors import CubeStructureError

GRID = GeoBox((64, 64), Affine(30, 0, 455_985, 0, -30, 6_171_015), "EPSG:32755")
sides = st.integers(1, 5000)


@given(
    kind=st.sampled_from(["fine", "coarse", "fused"]), shape=st.tuples(sides, sides),
    chunk=st.integers(8, 512), shard=st.integers(8, 2048),
)  # fmt: skip
def test_shard_is_a_whole_number_of_chunks(kind, shape, chunk, shard):
    layout = Layout.build(kind, shape, chunk=chunk, shard=shard)
    for whole, part in zip(layout.shards, layout.chunks, strict=True):
        assert part >= 1
        assert whole >= part
        assert whole % part == 0
    for whole, part, n in zip(layout.shards[1:], layout.chunks[1:], shape, strict=True):
        assert part <= min(chunk, n)
        assert whole < n + part
        assert whole <= shard


@given(kind=st.sampled_from(["fine", "fused"]), shape=st.tuples(sides, sides))
def test_shard_is_no_larger_than_asked_for(kind, shape):
    layout = Layout.build(kind, shape, shard=64)
    assert max(layout.shards) <= 64


def test_coarse_cubes_hold_many_dates_in_a_chunk_and_fine_ones_one():
    assert Layout.build("fine", (3000, 3000)).chunks == (1, 256, 256)
    assert Layout.build("fine", (3000, 3000)).shards == (1, 1024, 1024)
    assert Layout.build("coarse", (200, 200)).chunks == (16, 128, 128)
    assert Layout.build("fused", (300, 100)).shards == (1, 512, 100)


def test_bands_are_ordered_by_colour_then_by_name():
    names = ["swir2", "zeta", "nir", "alpha", "blue"]
    assert sort_bands(names) == ("blue", "nir", "swir2", "alpha", "zeta")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "D"])
def test_days_do_not_depend_on_the_resolution_of_times(unit):
    times = np.array(["2021-04-01T23:59:59", "2021-04-02T00:00:00"], f"M8[{unit}]")
    np.testing.assert_array_equal(to_days(times), np.array(["2021-04-01", "2021-04-02"], "M8[D]"))


@pytest.mark.parametrize(
    "name", ["red/edge", "..", ".nir", "a\\b", "", "nir\x1b[31m", "a\nb", "\u202enir", "\udcff",
             "clear", "source", "time", "spatial_ref", "ingest", "red"],
)  # fmt: skip
def test_names_that_a_store_would_lose_or_mistake_are_refused(name):
    layout = Layout.build("fine", (64, 64))
    with pytest.raises(CubeStructureError, match=facts(ascii(name))):
        CubeSpec("fine", ("red", name), GRID, layout)


@pytest.mark.parametrize("name", ["Band 4", "nir-narrow", "a$b", "[b]", "grün", "B8A.1"])
def test_other_names_are_taken(name):
    assert name in CubeSpec("fine", ("red", name), GRID, Layout.build("fine", (64, 64))).variables
