"""How a coarse grid lies under a fine one, and the steps between their pixels.

Every resampling here is a closed-form function of a pixel's position on the whole grid, so a
window of the result equals the same window of the whole result, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from biastf_xr.errors import CubeStructureError, GridMismatchError
from biastf_xr.grid._tiles import Float, Tile
from biastf_xr.grid._zones import restated

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

Upsampling = Literal["bilinear", "nearest"]

# A pixel edge may be off by this fraction of a fine pixel: rounding in metadata, not a shift.
ALIGNMENT_TOLERANCE = 0.01


@dataclass(frozen=True)
class AxisMap:
    """Where the pixels of a fine axis lie on a coarse axis.

    Fine pixel ``i`` has its centre at coarse coordinate ``(i + 0.5) * scale + shift - 0.5``,
    where coarse pixel ``j`` has its centre at ``j``.

    `scale`: Fine pixel size over coarse pixel size (at most 1).
    `shift`: Position of the fine grid's first edge on the coarse axis, in coarse pixels.
    `size`: Number of coarse pixels on the axis.
    """

    scale: float
    shift: float
    size: int

    def position(self, pixel: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the coarse coordinate of fine pixel centres."""
        return (pixel.astype(np.float64) + 0.5) * self.scale + self.shift - 0.5

    def window(self, start: int, stop: int, margin: int) -> tuple[int, int]:
        """Find the coarse pixels that a run of fine pixels needs.

        `margin`: Coarse pixels to add on both sides, beyond those the interpolation itself touches.
        """
        low, high = self.position(np.array([start, stop - 1]))
        first = max(int(np.floor(low)) - margin, 0)
        last = min(int(np.floor(high)) + 2 + margin, self.size)
        # Beyond the outermost centres the interpolation still touches the last two pixels.
        return min(first, max(self.size - 2, 0)), max(last, min(2, self.size))

    def within(self, fine: int, coarse: int, size: int) -> AxisMap:
        """Return the axis as a window of either grid has it.

        `fine`, `coarse`: First pixels of the windows.
        `size`: Coarse pixels of the window.
        """
        return AxisMap(self.scale, self.shift + fine * self.scale - coarse, size)


@dataclass(frozen=True)
class Alignment:
    """How a coarse grid lies under a fine grid; CRS equal, axes parallel, any ratio.

    `shape`: Rows and columns of the fine grid.
    """

    rows: AxisMap
    cols: AxisMap
    shape: tuple[int, int]

    @property
    def ratio(self) -> float:
        """Return the coarse pixel size over the fine pixel size."""
        return 1.0 / self.rows.scale

    @property
    def coarse_shape(self) -> tuple[int, int]:
        """Return the rows and columns of the coarse grid."""
        return self.rows.size, self.cols.size

    def coarse_tile(self, fine: Tile, margin: int = 0) -> Tile:
        """Find the coarse window under a fine tile.

        `margin`: Coarse pixels to add on every side where there are any.
        """
        y0, y1 = self.rows.window(fine.y0, fine.y1, margin)
        x0, x1 = self.cols.window(fine.x0, fine.x1, margin)
        return Tile(y0, y1, x0, x1)


def _axis(fine0: float, fine_res: float, coarse0: float, coarse_res: float, n: int) -> AxisMap:
    return AxisMap(fine_res / coarse_res, (fine0 - coarse0) / coarse_res, n)


def geobox_of(ds: xr.Dataset, what: str, *, degrees: bool = False) -> GeoBox:
    """Read the grid of a cube or a scene from its coordinates.

    `ds`: With ``y`` and ``x`` pixel-centre coordinates and a ``spatial_ref``.
    `what`: Name of it in error messages, for instance "fine cube".
    `degrees`: Whether it may lie in degrees: a scene that is about to be warped.
    """
    import odc.geo.xr  # noqa: F401  (registers the .odc accessor)

    missing = [d for d in ("y", "x") if d not in ds.coords]
    if missing:
        raise CubeStructureError(
            f"{what} has no coordinate {missing}; got {list(ds.coords)}. "
            f"Expected dims (time, y, x) with pixel-centre coordinates.{in_degrees(ds)}"
        )
    geobox: GeoBox | None = ds.odc.geobox
    if geobox is None:
        raise CubeStructureError(
            f"{what}: its y and x coordinates are not a regular grid. "
            "Expected evenly spaced pixel centres."
        )
    if geobox.crs is None:
        raise GridMismatchError(
            f"{what} has no CRS. State the grid when you ingest it (option `grid`, or "
            "--set fine.options.grid=...), or assign one: ds.odc.assign_crs('EPSG:...')."
        )
    if geobox.crs.geographic and not degrees:
        raise GridMismatchError(f"{what} lies on {describe(geobox)}.{REMEDY}")
    if not geobox.axis_aligned or geobox.affine.e >= 0 or geobox.affine.a <= 0:
        raise GridMismatchError(
            f"{what} is rotated or not north-up (transform {tuple(geobox.affine)[:6]}). "
            "Expected x ascending and y descending: ds.sortby('x').sortby('y', ascending=False), "
            "or warp what is rotated."
        )
    for name, step, start in (
        ("y", geobox.affine.e, geobox.affine.f),
        ("x", geobox.affine.a, geobox.affine.c),
    ):
        centres = start + (np.arange(ds.sizes[name]) + 0.5) * step
        if np.abs(ds[name].values - centres).max() > ALIGNMENT_TOLERANCE * abs(step):
            raise CubeStructureError(
                f"{what}: its {name} coordinate is not evenly spaced pixel centres. "
                "Select a contiguous block of pixels, or resample to a regular grid."
            )
    return geobox


REMEDY = (
    " Pixels in degrees are no squares: expected a projected CRS. State a [grid] with a region, to "
    "which scenes are brought; bring a Dataset to one by ds.odc.reproject('EPSG:...', "
    "resolution=...)."
)


def in_degrees(ds: xr.Dataset) -> str:
    """Return what to do about dims that are named as those of degrees are; or nothing."""
    named = sorted({"lat", "lon", "latitude", "longitude"} & set(map(str, ds.dims)))
    return f" {named} are degrees.{REMEDY}" if named else ""


def describe(geobox: GeoBox) -> str:
    """Return what a grid is, in one line."""
    a, name = geobox.affine, crs_name(geobox.crs)
    return (
        f"{name}, {geobox.shape[0]} x {geobox.shape[1]} px of {a.a:g} at ({a.c:.10g}, {a.f:.10g})"
    )


def crs_name(crs: Any) -> str:
    """Name a CRS by its EPSG code, or in words."""
    if crs is None:
        return "no CRS"
    if crs.epsg:
        return f"EPSG:{crs.epsg}"
    made_by = crs.proj.coordinate_operation
    named = crs.proj.name != "unknown" or not made_by
    return str(crs.proj.name if named else made_by.method_name)


def same_lattice(a: GeoBox, b: GeoBox) -> bool:
    """Return whether two grids have the same pixels where they overlap.

    Returned: True if CRS and pixel size are equal and the origins differ by whole pixels; the
    halves of a UTM zone are one CRS.
    """
    b = restated(b, a.crs)
    size = (a.affine.a, a.affine.e)
    if a.crs != b.crs or not np.allclose(size, (b.affine.a, b.affine.e), rtol=1e-6):
        return False
    shift = np.array([a.affine.c - b.affine.c, a.affine.f - b.affine.f]) / size
    return bool((np.abs(shift - np.round(shift)) < ALIGNMENT_TOLERANCE).all())


def align(fine: GeoBox, coarse: GeoBox) -> Alignment:
    """Work out how a coarse grid lies under a fine grid.

    `fine`, `coarse`: North-up grids. The coarse pixel may be any factor >= 1 larger, need not
    be a whole multiple, and may be the fine pixel itself (coarse images delivered on the fine
    grid).
    """
    if fine.crs != coarse.crs:
        raise GridMismatchError(
            f"fine cube is in {crs_name(fine.crs)}, coarse cube in {crs_name(coarse.crs)}; "
            "expected the same CRS. State a [grid], to which both are brought when they are "
            "ingested, or reproject the coarse scenes first."
        )
    check_ratio(fine, coarse)
    rows = _axis(fine.affine.f, fine.affine.e, coarse.affine.f, coarse.affine.e, coarse.shape[0])
    cols = _axis(fine.affine.c, fine.affine.a, coarse.affine.c, coarse.affine.a, coarse.shape[1])
    alignment = Alignment(rows, cols, (int(fine.shape[0]), int(fine.shape[1])))
    _check_cover(alignment)
    return alignment


def check_ratio(fine: GeoBox, coarse: GeoBox) -> None:
    """Check that coarse pixels are larger than fine ones, and as much in one direction as across.

    `fine`, `coarse`: Grids of one CRS.
    """
    a, b = fine.affine, coarse.affine
    if b.a < a.a * (1 - 1e-6):
        raise GridMismatchError(
            f"coarse pixel ({b.a:g}) is smaller than the fine pixel ({a.a:g}); are the two cubes "
            "swapped?"
        )
    if not np.isclose(b.e / a.e, b.a / a.a, rtol=1e-3):
        raise GridMismatchError(
            f"fine pixels are {a.a:g} x {-a.e:g} (x, y), coarse ones {b.a:g} x {-b.e:g}: "
            f"{b.a / a.a:g} and {b.e / a.e:g} times as large; expected one ratio. State a [grid] "
            "with a region, to whose square pixels both sensors are brought."
        )


def _check_cover(alignment: Alignment) -> None:
    for name, axis, n in (
        ("y", alignment.rows, alignment.shape[0]),
        ("x", alignment.cols, alignment.shape[1]),
    ):
        low, high = axis.position(np.array([0, n - 1]))
        slack = 0.5 + ALIGNMENT_TOLERANCE * axis.scale
        if low < -slack or high > axis.size - 1 + slack:
            raise GridMismatchError(
                f"coarse cube does not cover the fine cube along {name}: fine pixels lie at coarse "
                f"positions {low:.2f}..{high:.2f}, coarse pixels at 0..{axis.size - 1}. "
                "Crop the fine cube or extend the coarse one."
            )


@dataclass(frozen=True)
class Upsampler:
    """Interpolate a coarse window to a fine window.

    Bilinear between coarse pixel centres, the edge pixel repeated beyond the outermost centres.
    Where some of the four neighbours are missing the others share their weight; the result is
    NaN where the missing ones hold at least half of it.

    `alignment`: The relation of the grids.
    `fine`: Fine window; it may reach outside the fine grid.
    `coarse`: Coarse window that covers it, as from `Alignment.coarse_tile`.
    """

    alignment: Alignment
    fine: Tile
    coarse: Tile

    def __call__(self, values: Float, how: Upsampling = "bilinear") -> Float:
        """Interpolate.

        `values`: Shape ``(..., h, w)`` with the coarse window's rows and columns; NaN is missing.
        """
        if self._same_grid():
            return self._shifted(values)
        rows = _taps(self.alignment.rows, self.fine.y0, self.fine.y1, self.coarse.y0, how)
        cols = _taps(self.alignment.cols, self.fine.x0, self.fine.x1, self.coarse.x0, how)
        for (low, high, _), size in ((rows, values.shape[-2]), (cols, values.shape[-1])):
            if low.min() < 0 or high.max() >= size:
                raise GridMismatchError(
                    f"the coarse window {self.coarse} does not hold what the fine window "
                    f"{self.fine} needs; take it from Alignment.coarse_tile."
                )
        valid = np.isfinite(values)
        if valid.all():
            return _lerp(_lerp(values, rows, -2), cols, -1)
        total = _lerp(_lerp(np.where(valid, values, np.float32(0)), rows, -2), cols, -1)
        weight = _lerp(_lerp(valid.astype(np.float32), rows, -2), cols, -1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(weight > 0.5, total / weight, np.float32(np.nan))

    def _same_grid(self) -> bool:
        rows, cols = self.alignment.rows, self.alignment.cols
        return all(
            abs(a.scale - 1) < 1e-9 and abs(a.shift - round(a.shift)) < ALIGNMENT_TOLERANCE
            for a in (rows, cols)
        )

    def _shifted(self, values: Float) -> Float:
        """Pick pixels where both grids have the same pixels, repeating the edge outside."""
        rows, cols = self.alignment.rows, self.alignment.cols
        y = np.arange(self.fine.y0, self.fine.y1) + round(rows.shift) - self.coarse.y0
        x = np.arange(self.fine.x0, self.fine.x1) + round(cols.shift) - self.coarse.x0
        if y[0] == 0 and x[0] == 0 and values.shape[-2:] == (y.size, x.size):
            return values
        y = np.clip(y, 0, values.shape[-2] - 1)
        x = np.clip(x, 0, values.shape[-1] - 1)
        return values.take(y, axis=-2).take(x, axis=-1)


Taps = tuple[NDArray[np.int64], NDArray[np.int64], Float]


def _taps(axis: AxisMap, start: int, stop: int, first: int, how: Upsampling) -> Taps:
    """Return, for each fine pixel, its two coarse neighbours and the weight of the second."""
    position = np.clip(axis.position(np.arange(start, stop)), 0, axis.size - 1)
    if how == "nearest":
        pixel = np.floor(position + 0.5).astype(np.int64) - first
        return pixel, pixel, np.zeros(pixel.size, np.float32)
    low = np.minimum(np.floor(position), max(axis.size - 2, 0)).astype(np.int64)
    high = np.minimum(low + 1, axis.size - 1)
    return low - first, high - first, (position - low).astype(np.float32)


def _lerp(values: Float, taps: Taps, axis: int) -> Float:
    low, high, weight = taps
    weight = weight.reshape((-1, 1) if axis == -2 else (-1,))
    a = values.take(low, axis=axis)
    b = values.take(high, axis=axis)
    b -= a
    b *= weight
    b += a
    return b


def aggregate(values: Float, rows: AxisMap, cols: AxisMap) -> Float:
    """Average fine pixels over the coarse pixels that contain them, by area.

    `values`: Shape ``(..., H, W)`` on the whole fine grid; NaN is missing and left out.
    `rows`, `cols`: Where the fine axes lie on the coarse axes; any ratio, whole or not.
    Returned: Shape ``(..., h, w)``; NaN where less than half of a coarse pixel's covered area
    is valid.
    """
    return mean_of(*area_sums(values, rows, cols), covered_area(rows, cols, values.shape[-2:]))


def area_sums(
    values: Float, rows: AxisMap, cols: AxisMap
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum fine pixels over the coarse pixels that contain them, by area.

    `values`: Shape ``(..., H, W)``; NaN is missing and left out.
    `rows`, `cols`: Where the fine axes lie on the coarse axes.
    `total`, `weight`: Shape ``(..., h, w)``: sum of values, and the area of those that are
    there, in coarse pixels.
    """
    a, b = overlap(rows, values.shape[-2]), overlap(cols, values.shape[-1])
    valid = np.isfinite(values)
    filled = values if valid.all() else np.where(valid, values, 0.0)
    return _over_areas(filled, a, b), _over_areas(valid, a, b)


def covered_area(rows: AxisMap, cols: AxisMap, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the area of coarse pixels that fine pixels cover.

    `rows`, `cols`: Where the fine axes lie on the coarse axes.
    """
    sums = [overlap(axis, n).sum(axis=1) for axis, n in zip((rows, cols), shape, strict=True)]
    return np.outer(*(np.asarray(s).ravel() for s in sums))


def mean_of(
    total: NDArray[np.float64], weight: NDArray[np.float64], covered: NDArray[np.float64]
) -> Float:
    """Divide sums by their area where enough of it is there.

    Returned: The means; NaN where less than half of the covered area is valid.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        # Exactly half is enough, whatever the rounding of the two sums.
        enough = (weight >= (0.5 - 1e-9) * covered) & (covered > 0)
        return np.where(enough, total / weight, np.nan).astype(np.float32)


def _over_areas(values: NDArray[Any], a: Any, b: Any) -> NDArray[np.float64]:
    flat = values.reshape(-1, *values.shape[-2:])
    sums = [(b @ (a @ image.astype(np.float64)).T).T for image in flat]
    return np.stack(sums).reshape(*values.shape[:-2], a.shape[0], b.shape[0])


def overlap(axis: AxisMap, n: int) -> Any:
    """Return the length of each fine pixel inside each coarse pixel.

    `axis`: Where the fine axis lies on the coarse axis.
    `n`: Fine pixels, from the first on.
    """
    from scipy.sparse import csr_array

    edges = np.arange(n + 1) * axis.scale + axis.shift
    low, high = edges[:-1], edges[1:]
    first = np.floor(low + 1e-12).astype(np.int64)
    fine = np.arange(n)
    # A fine pixel, at most as large as a coarse one, lies in one or two of them.
    parts = [(first, np.minimum(high, first + 1) - low), (first + 1, high - (first + 1))]
    index = np.concatenate([p for p, _ in parts])
    length = np.concatenate([np.clip(v, 0.0, None) for _, v in parts])
    keep = (index >= 0) & (index < axis.size) & (length > 0)
    entries = length[keep], (index[keep], np.concatenate([fine, fine])[keep])
    return csr_array(entries, shape=(axis.size, n))
