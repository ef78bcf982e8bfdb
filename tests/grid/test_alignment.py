"""Tiles, the step from coarse to fine pixels and back, and what two grids must share."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from checks import facts
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from biastf_xr.errors import CubeStructureError, GridMismatchError
from biastf_xr.grid import (
    Alignment,
    AxisMap,
    Tile,
    Upsampler,
    aggregate,
    align,
    geobox_of,
    read_padded,
    split_tiles,
)

CRS = "EPSG:32755"
RATIOS = st.sampled_from([1.0, 2.0, 3.0, 4.0, 16.0, 16.67, 7.3])
HOW = st.sampled_from(["bilinear", "nearest"])


def box(shape, resolution=30.0, corner=(0.0, 0.0), crs=CRS):
    return GeoBox(shape, Affine(resolution, 0, corner[0], 0, -resolution, corner[1]), crs)


def dataset(geobox):
    import xarray as xr

    data = (("time", *geobox.dims), np.zeros((1, *geobox.shape), "f4"))
    return xr.Dataset({"red": data}, coords={"time": [0], **xr_coords(geobox)}).rename(
        {d: n for d, n in zip(geobox.dims, ("y", "x"), strict=True) if d != n}
    )


# --- tiles --------------------------------------------------------------------------------------

sides = st.integers(1, 40)


@given(shape=st.tuples(sides, sides), size=st.tuples(sides, sides))
def test_tiles_cover_the_grid_exactly_once(shape, size):
    count = np.zeros(shape, int)
    for tile in split_tiles(shape, size):
        assert tile.shape[0] <= size[0]
        assert tile.shape[1] <= size[1]
        count[tile.slices] += 1
    assert (count == 1).all()


@given(
    y=st.integers(0, 10), x=st.integers(0, 10), h=sides, w=sides, halo=st.integers(0, 15),
    shape=st.tuples(st.integers(12, 40), st.integers(12, 40)),
)  # fmt: skip
def test_padded_read_equals_a_window_of_the_padded_grid(y, x, h, w, halo, shape):
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    tile = Tile(y, min(y + h, shape[0]), x, min(x + w, shape[1])).padded(halo)
    got = read_padded(lambda t: image[:, *t.slices], tile, shape)
    far = np.pad(image, [(0, 0), (20, 60), (20, 60)], constant_values=np.nan)
    want = far[:, tile.y0 + 20 : tile.y1 + 20, tile.x0 + 20 : tile.x1 + 20]
    np.testing.assert_array_equal(got, want)
    assert got.shape[1:] == tile.shape


def test_clipped_tile_lies_inside():
    assert Tile(2, 5, 3, 9).padded(4).clipped((7, 30)) == Tile(0, 7, 0, 13)


# --- coarse to fine -----------------------------------------------------------------------------


@st.composite
def alignments(draw):
    """Return a coarse grid that covers a fine grid, at a random offset."""
    ratio = draw(RATIOS)
    scale, shape = 1 / ratio, (draw(st.integers(3, 60)), draw(st.integers(3, 60)))
    axes = []
    for n in shape:
        margin = draw(st.integers(0, 3))
        part = draw(st.integers(0, 3)) if ratio == 1.0 else draw(st.floats(0, 1, width=32))
        shift = margin + part
        axes.append(
            AxisMap(scale, shift, int(np.ceil(n * scale + shift)) + draw(st.integers(0, 2)))
        )
    return Alignment(*axes, shape)


@st.composite
def windows(draw, shape):
    """Return a window that may reach outside the grid, or lie outside it."""
    y, x = (draw(st.integers(-n // 2 - 3, n + 2)) for n in shape)
    h, w = (draw(st.integers(1, n + 4)) for n in shape)
    return Tile(y, y + h, x, x + w)


def field(alignment, seed, missing):
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 1, (2, *alignment.coarse_shape)).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    return values


@settings(max_examples=300, deadline=None)
@given(data=st.data(), how=HOW, missing=st.sampled_from([0.0, 0.3, 0.9]), seed=st.integers(0, 99))
def test_window_of_the_result_is_the_result_of_the_window(data, how, missing, seed):
    alignment = data.draw(alignments())
    window = data.draw(windows(alignment.shape))
    margin = data.draw(st.integers(0, 2))
    values = field(alignment, seed, missing)
    part = alignment.coarse_tile(window, margin)
    assert part.clipped(alignment.coarse_shape) == part
    got = Upsampler(alignment, window, part)(values[:, *part.slices], how)
    whole = Tile(0, alignment.shape[0], 0, alignment.shape[1])
    around = Tile(
        min(window.y0, 0), max(window.y1, whole.y1), min(window.x0, 0), max(window.x1, whole.x1)
    )
    everything = Tile(0, alignment.coarse_shape[0], 0, alignment.coarse_shape[1])
    want = Upsampler(alignment, around, everything)(values, how)
    want = want[:, window.y0 - around.y0 :, window.x0 - around.x0 :]
    np.testing.assert_array_equal(got, want[:, : window.shape[0], : window.shape[1]])
    assert got.dtype == np.float32


@settings(max_examples=100, deadline=None)
@given(data=st.data(), how=HOW, missing=st.sampled_from([0.0, 0.3]), seed=st.integers(0, 99))
def test_input_is_left_as_it_is(data, how, missing, seed):
    alignment = data.draw(alignments())
    values = field(alignment, seed, missing)
    before = values.copy()
    whole = Tile(0, alignment.shape[0], 0, alignment.shape[1])
    Upsampler(alignment, whole, Tile(0, *alignment.coarse_shape[:1], 0, alignment.coarse_shape[1]))(
        values, how
    )
    np.testing.assert_array_equal(values, before)


@settings(max_examples=60, deadline=None)
@given(alignment=alignments(), a=st.floats(-1, 1), b=st.floats(-1, 1))
def test_bilinear_reproduces_linear_fields_between_the_outer_centres(alignment, a, b):
    h, w = alignment.coarse_shape
    row, col = np.mgrid[0:h, 0:w]
    values = (0.3 + a * row / h + b * col / w).astype(np.float32)
    whole = Tile(0, alignment.shape[0], 0, alignment.shape[1])
    got = Upsampler(alignment, whole, Tile(0, h, 0, w))(values)
    y = alignment.rows.position(np.arange(whole.y1))[:, None]
    x = alignment.cols.position(np.arange(whole.x1))[None, :]
    want = 0.3 + a * y / h + b * x / w
    inner = (y >= 0) & (y <= h - 1) & (x >= 0) & (x <= w - 1)
    np.testing.assert_allclose(got[inner], want[inner], atol=2e-6)


@settings(max_examples=60, deadline=None)
@given(alignment=alignments(), seed=st.integers(0, 99), missing=st.sampled_from([0.0, 0.4]))
def test_nearest_gives_the_value_of_the_pixel_that_contains_the_centre(alignment, seed, missing):
    values = field(alignment, seed, missing)
    h, w = alignment.coarse_shape
    whole = Tile(0, alignment.shape[0], 0, alignment.shape[1])
    got = Upsampler(alignment, whole, Tile(0, h, 0, w))(values, "nearest")
    y, x = (
        (np.arange(n) + 0.5) * axis.scale + axis.shift
        for n, axis in zip(alignment.shape, (alignment.rows, alignment.cols), strict=True)
    )
    # A centre on the very edge between two pixels belongs to either.
    assume(min(abs(v - np.round(v)).min() for v in (y, x)) > 1e-9 or alignment.ratio == 1)
    y, x = (np.clip(np.floor(v).astype(int), 0, n - 1) for v, n in ((y, h), (x, w)))
    np.testing.assert_array_equal(got, values[:, y[:, None], x[None, :]])


def test_edge_pixel_is_repeated_beyond_the_outermost_centres():
    alignment = Alignment(AxisMap(0.25, 0.0, 2), AxisMap(0.25, 0.0, 2), (8, 8))
    values = np.array([[1, 2], [3, 4]], np.float32)
    got = Upsampler(alignment, Tile(-3, 11, -3, 11), Tile(0, 2, 0, 2))(values)
    assert (got[:5, :5] == 1).all()
    np.testing.assert_allclose(got[-5:, -5:], 4, rtol=1e-6)


def test_missing_neighbours_share_their_weight_until_they_hold_half():
    alignment = Alignment(AxisMap(0.25, 0.0, 1), AxisMap(0.25, 0.0, 2), (4, 8))
    values = np.array([[0.4, np.nan]], np.float32)
    got = Upsampler(alignment, Tile(0, 4, 0, 8), Tile(0, 1, 0, 2))(values)[0]
    # Fine centres lie at -0.375 .. 1.375; the missing pixel weighs as much as the position.
    np.testing.assert_allclose(got[:4], 0.4, rtol=1e-6)
    assert np.isnan(got[4:]).all()


def test_one_grid_for_both_picks_pixels_unchanged():
    alignment = align(box((5, 6)), box((7, 9), corner=(-30.0, 30.0)))
    assert alignment.ratio == 1.0
    values = np.arange(63, dtype=np.float32).reshape(7, 9) / 3
    values[2, 2] = np.nan
    tile = Tile(1, 4, 0, 6)
    part = alignment.coarse_tile(tile)
    for how in ("bilinear", "nearest"):
        got = Upsampler(alignment, tile, part)(values[part.slices], how)
        np.testing.assert_array_equal(got, values[2:5, 1:7])


# --- fine to coarse -----------------------------------------------------------------------------


def brute_force(values, rows, cols):
    """Average by walking over every pair of pixels; NaN below half of the covered area."""
    out = np.full((rows.size, cols.size), np.nan)
    for j in range(rows.size):
        for i in range(cols.size):
            total = weight = covered = 0.0
            for y in range(values.shape[0]):
                top = y * rows.scale + rows.shift
                dy = min(top + rows.scale, j + 1) - max(top, j)
                for x in range(values.shape[1]):
                    left = x * cols.scale + cols.shift
                    area = max(dy, 0) * max(min(left + cols.scale, i + 1) - max(left, i), 0)
                    covered += area
                    if np.isfinite(values[y, x]):
                        weight += area
                        total += area * values[y, x]
            if covered and weight >= 0.5 * covered * (1 - 1e-9):
                out[j, i] = total / weight
    return out


@pytest.mark.parametrize(("ratio", "shift"), [(2.0, 0.0), (2.7, 0.0), (3.3, 0.4), (1.0, 0.0)])
@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_aggregation_weighs_by_area(ratio, shift, missing):
    rng = np.random.default_rng(1)
    values = rng.uniform(0, 1, (9, 11)).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    rows, cols = (AxisMap(1 / ratio, shift, int(np.ceil(n / ratio + shift))) for n in (9, 11))
    got = aggregate(values, rows, cols)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, brute_force(values, rows, cols), rtol=1e-6)


@given(ratio=RATIOS, constant=st.floats(0, 1, width=32), n=st.integers(5, 40))
@settings(deadline=None)
def test_aggregate_of_a_constant_is_the_constant(ratio, constant, n):
    axis = AxisMap(1 / ratio, 0.0, int(np.ceil(n / ratio - 1e-9)))
    got = aggregate(np.full((2, n, n), constant, np.float32), axis, axis)
    np.testing.assert_array_equal(got, np.float32(constant))


@pytest.mark.parametrize("ratio", [2, 4, 6, 10, 14])
def test_pixel_with_exactly_half_its_area_valid_is_kept(ratio):
    axis = AxisMap(1 / ratio, 0.0, 3)
    values = np.full((3 * ratio, 3 * ratio), 0.25, np.float32)
    values[:, ::2] = np.nan
    np.testing.assert_array_equal(aggregate(values, axis, axis), np.float32(0.25))
    values[::ratio, 1] = np.nan
    got = aggregate(values, axis, axis)
    assert np.isnan(got[:, 0]).all()
    assert np.isfinite(got[:, 1:]).all()


def test_aggregate_then_upsample_keeps_a_plane():
    row, col = np.mgrid[0:48, 0:48]
    plane = (0.1 + row / 200 + col / 300).astype(np.float32)
    axis = AxisMap(1 / 4, 0.0, 12)
    coarse = aggregate(plane, axis, axis)
    fine = Upsampler(Alignment(axis, axis, (48, 48)), Tile(2, 46, 2, 46), Tile(0, 12, 0, 12))(
        coarse
    )
    np.testing.assert_allclose(fine, plane[2:46, 2:46], atol=1e-6)


# --- what two grids must share ------------------------------------------------------------------


def test_alignment_of_two_grids():
    alignment = align(box((100, 80)), box((9, 8), 480.0, (-480.0, 240.0)))
    assert alignment.ratio == pytest.approx(16)
    assert alignment.rows.shift == pytest.approx(0.5)
    assert alignment.cols.shift == pytest.approx(1.0)
    assert alignment.coarse_shape == (9, 8)
    assert alignment.shape == (100, 80)


@pytest.mark.parametrize(
    ("coarse", "message"),
    [
        (box((9, 9), 480.0, crs="EPSG:32756"), facts("EPSG:32755", "EPSG:32756", "[grid]")),
        (box((400, 400), 15.0), "swapped"),
        (box((6, 9), 480.0), facts("along y", "-0.47..5.72", "0..5")),
        (box((9, 9), 480.0, (60.0, 0.0)), facts("coarse cube", "along x")),
        (box((100, 80), 30.0, (30.0, 0.0)), facts("coarse cube", "along x")),
        (
            GeoBox((9, 9), Affine(480.0, 0, 0, 0, -240.0, 0), CRS),
            facts("480 x 240", "16 and 8"),
        ),
    ],
    ids=["crs", "swapped", "short", "shifted", "shifted on one grid", "oblong"],
)
def test_grids_that_do_not_fit_are_refused(coarse, message):
    with pytest.raises(GridMismatchError, match=message):
        align(box((100, 80)), coarse)


def test_rounding_in_the_metadata_is_no_mismatch():
    nudged = box((7, 5), 480.0, (0.2, -0.2))
    assert align(box((100, 80)), nudged).ratio == pytest.approx(16)


@pytest.mark.parametrize("shape", [(5, 6), (1, 6), (5, 1), (1, 1)])
def test_grid_is_read_from_coordinates(shape):
    geobox = box(shape, 463.3, (100.0, 900.0))
    assert geobox_of(dataset(geobox), "cube") == geobox


def test_grid_without_crs_is_refused_with_the_remedy():
    ds = dataset(box((5, 6))).drop_vars("spatial_ref")
    for name in ("y", "x"):
        ds[name].attrs.clear()
    with pytest.raises(
        GridMismatchError, match=facts("fine cube", "CRS", "fine.options.grid", "assign_crs")
    ):
        geobox_of(ds, "fine cube")


def test_rotated_grid_is_refused():
    rotated = GeoBox((5, 6), Affine.translation(100, 900) * Affine.rotation(20) * Affine.scale(30, -30), CRS)  # noqa: E501  # fmt: skip
    with pytest.raises(
        GridMismatchError, match=facts("fine cube", "rotated", "28.190778623577252")
    ):
        geobox_of(dataset(rotated), "fine cube")


def test_south_up_grid_is_refused():
    ds = dataset(box((5, 6)))
    with pytest.raises(
        GridMismatchError,
        match=facts("fine cube", "(30.0, 0.0, 0.0, 0.0, 30.0, -150.0)", "y descending"),
    ):
        geobox_of(ds.isel(y=slice(None, None, -1)), "fine cube")


def test_uneven_coordinates_are_refused():
    ds = dataset(box((5, 6))).isel(y=[0, 1, 3, 4])
    with pytest.raises(CubeStructureError, match=facts("fine cube", "y coordinate")):
        geobox_of(ds, "fine cube")


def test_cube_without_coordinates_is_refused():
    with pytest.raises(CubeStructureError, match=facts("['y', 'x']", "(time, y, x)")):
        geobox_of(dataset(box((5, 6))).drop_vars(["y", "x"]), "fine cube")
