"""Layouts, the order of bands, daily labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biastf_xr._days import to_days
from biastf_xr.cube._spec import Layout, sort_bands

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
