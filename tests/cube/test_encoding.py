"""Rounding of the mantissa: error, special values, agreement with double precision; checksums."""

from __future__ import annotations

import json

import numpy as np
import pytest
from checks import some
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from biastf_xr import write_fused
from biastf_xr.cube._encoding import MANTISSA_BITS, round_mantissa

SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)
float32 = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)
blocks = arrays(np.float32, st.integers(0, 50), elements=float32)
reflectance = arrays(np.float32, st.integers(1, 50), elements=st.floats(-0.25, 1.625, width=32))


def reference(values, bits=MANTISSA_BITS):
    """Round in double precision, half to even."""
    wide = values.astype(np.float64)
    _, exponent = np.frexp(wide)
    # Below the smallest normal number the spacing no longer shrinks.
    unit = np.ldexp(1.0, np.maximum(exponent, -125) - 1 - bits)
    with np.errstate(over="ignore", invalid="ignore"):
        return (np.rint(wide / unit) * unit).astype(np.float32)


@given(values=reflectance)
def test_relative_error_of_reflectance_is_within_the_stated_bound(values):
    got = round_mantissa(values)
    assert got.dtype == np.float32
    normal = np.abs(values) >= SMALLEST_NORMAL
    error = np.abs(got.astype(float) - values.astype(float))[normal]
    assert (error <= 2.0**-13 * np.abs(values[normal].astype(float))).all()
    assert (np.abs(got.astype(float) - values)[np.abs(values) < 1] <= 6.2e-5).all()


@settings(max_examples=300)
@given(values=blocks, bits=st.integers(1, 22))
def test_rounding_agrees_with_double_precision(values, bits):
    np.testing.assert_array_equal(round_mantissa(values, bits), reference(values, bits))


@given(values=blocks)
def test_rounding_twice_changes_nothing_more(values):
    once = round_mantissa(values)
    np.testing.assert_array_equal(round_mantissa(once).view(np.uint32), once.view(np.uint32))


@given(values=blocks)
def test_input_is_left_as_it_is(values):
    before = values.copy()
    round_mantissa(values)
    np.testing.assert_array_equal(values, before)


# Not-a-numbers of every payload: the canonical one, the all-ones one, and signalling ones.
NANS = [0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFF800001, 0x7FBFFFFF]


@pytest.mark.parametrize("bits", NANS, ids=hex)
def test_every_nan_stays_nan(bits):
    value = np.array([bits], np.uint32).view(np.float32)
    assert np.isnan(round_mantissa(value)).all()


def test_infinity_and_both_zeros_stay():
    values = np.array([np.inf, -np.inf, 0.0, -0.0], np.float32)
    np.testing.assert_array_equal(round_mantissa(values).view(np.uint32), values.view(np.uint32))


def test_ties_go_to_the_even_neighbour():
    step = np.float32(2.0**-12)
    values = np.array([1 + step / 2, 1 + step * 1.5, 1 + step * 2.5], np.float32)
    np.testing.assert_array_equal(round_mantissa(values), [1, 1 + 2 * step, 1 + 2 * step])


def test_shape_and_strides_of_the_input_do_not_matter():
    values = np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5)
    turned = values.transpose(2, 0, 1)[::2]
    np.testing.assert_array_equal(
        round_mantissa(turned), round_mantissa(values).transpose(2, 0, 1)[::2]
    )


def test_every_chunk_ends_with_a_checksum(small_cubes, tmp_path):
    """All but that of `spatial_ref`, whose number means nothing."""
    fused = tmp_path / "fused.zarr"
    write_fused(*small_cubes, fused, "nearest", dates=["2021-04-10"])
    for cube in (*small_cubes, fused):
        for file in some([*cube.rglob("zarr.json")]):
            node = json.loads(file.read_text())
            if node["node_type"] == "array" and file.parent.name != "spatial_ref":
                packed = node["codecs"][-1]
                inner = (
                    packed["configuration"]["codecs"] if "sharding" in packed["name"] else [packed]
                )
                assert inner[-1]["name"] == "crc32c", file
