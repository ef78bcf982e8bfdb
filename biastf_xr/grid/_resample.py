"""From a scene's pixels to a window of the analysis grid.

Positions are closed-form functions of a target pixel's coordinates, so that a window computed
alone equals the same window of the whole result.  Scenes are read window by window: a plan says
which pixels of the scene a target window needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from biastf_xr.grid._alignment import ALIGNMENT_TOLERANCE, same_lattice
from biastf_xr.grid._tiles import Float, Tile
from biastf_xr.grid._zones import restated

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Resampling = Literal["auto", "nearest", "bilinear", "cubic", "average"]
Positions = tuple[NDArray[np.float64], NDArray[np.float64]]

# Kernel of "auto" where the pixels are of similar size: docs/decisions/0014.
KERNEL: Literal["bilinear", "cubic"] = "cubic"
# Target pixels this much larger than the source's are averages, not samples, of them.
AVERAGE_FROM = 1.5
# Samples per target pixel and axis of "average" between different CRS: at least so many, and two
# for every source pixel.
SAMPLES = 4
# Coordinates are transformed exactly at every so many target pixels and linearly between: over
# 16 pixels of 30 m the curvature of a map projection is below a centimetre.
NODES = 16
# Between nodes that are further off a line, in pixels of the source, every pixel is transformed.
TORN = 0.05
# Metres in a degree of latitude, and of longitude at the equator.
DEGREE = 111_320.0


@dataclass(frozen=True)
class Plan:
    """How one window of the analysis grid is made from a scene.

    `window`: Rows and columns of the scene that are needed, inside it.
    `rows`, `cols`: Position of every sample in the scene, in its pixels; whole numbers are
    pixel centres. Shape ``(H * samples, W * samples)``, or ``(H, 1)`` and ``(1, W)`` where both
    grids have the same pixels.
    `shape`: Rows and columns of the scene.
    `samples`: Samples averaged per target pixel and axis.
    `kernel`: How a sample is taken.
    """

    window: Tile
    rows: NDArray[np.float64]
    cols: NDArray[np.float64]
    shape: tuple[int, int]
    samples: int
    kernel: str

    def __call__(self, values: Float) -> Float:
        """Bring an image to the target's pixels.

        `values`: Shape ``(band, h, w)`` of the window's pixels; NaN, in every band, where missing.
        Returned: Shape ``(band, H, W)``; NaN where less than half of a pixel's weight is valid.
        """
        if self.kernel in {"copy", "nearest"}:
            picked = self._pick(values, np.float32(np.nan))
        else:
            picked = self._interpolate(values)
        return self._average(picked) if self.samples > 1 else picked

    def categories(self, flags: NDArray[np.uint8], fill: int) -> NDArray[np.uint8]:
        """Bring flags to the target's pixels: the nearest, never a mixture.

        `flags`: Shape ``(h, w)`` of the window's pixels.
        """
        middle = slice(self.samples // 2, None, self.samples)
        picked: NDArray[np.uint8] = self._pick(flags, np.uint8(fill))[middle, middle]
        return picked

    def _local(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.rows - self.window.y0, self.cols - self.window.x0

    def _pick(self, values: NDArray[Any], fill: Any) -> NDArray[Any]:
        """Take the nearest pixels; `fill` outside the scene."""
        if self.kernel == "copy":
            return self._cut(values, fill)
        (h, w), (rows, cols) = self.window.shape, self._local()
        y, x = (np.floor(p + 0.5).astype(np.int64) for p in (rows, cols))
        inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
        picked = values[..., np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)]
        outside: Any = ~inside
        if outside.any():
            picked[..., outside] = fill
        return picked

    def _cut(self, values: NDArray[Any], fill: Any) -> NDArray[Any]:
        """Take a block of pixels as they are, padded where it reaches outside the scene."""
        (h, w), (rows, cols) = self.window.shape, self._local()
        y, x, height, width = int(rows[0, 0]), int(cols[0, 0]), rows.shape[0], cols.shape[1]
        if (y, x, height, width) == (0, 0, h, w):
            return values
        picked = np.full((*values.shape[:-2], height, width), fill)
        top, left = max(y, 0), max(x, 0)
        inside = values[..., top : y + height, left : x + width]
        down, right = top - y, left - x
        picked[..., down : down + inside.shape[-2], right : right + inside.shape[-1]] = inside
        return picked

    def _interpolate(self, values: Float) -> Float:
        """Interpolate; beside missing pixels cubic gives way to bilinear."""
        rows, cols = self._local()
        valid = np.isfinite(values[0])
        clean = values if valid.all() else np.where(valid, values, np.float32(0))
        weight = _sample(valid.astype(np.float32)[None], rows, cols, _linear, 2)[0]
        linear = _sample(clean, rows, cols, _linear, 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            # Exactly half is enough, whatever the rounding of the sum.
            result = np.where(weight >= 0.5 - 1e-6, linear / weight, np.float32(np.nan))
        if self.kernel == "cubic":
            whole = _sample(valid.astype(np.float32)[None], rows, cols, _box, 4)[0] > 15.5
            np.copyto(result, _sample(clean, rows, cols, _cubic, 4), where=whole)
        return result

    def _average(self, picked: Float) -> Float:
        k = self.samples
        bands, h, w = picked.shape
        blocks = picked.reshape(bands, h // k, k, w // k, k)
        valid = np.isfinite(blocks[0])
        count = valid.sum(axis=(1, 3), dtype=np.float32)
        total = np.where(valid, blocks, np.float32(0)).sum(axis=(2, 4), dtype=np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(count >= 0.5 * k * k, total / count, np.float32(np.nan))


@dataclass(frozen=True)
class AreaPlan:
    """How one window is averaged from a scene of the same CRS, exactly by area.

    `window`: Rows and columns of the scene that are needed, inside it.
    `rows`, `cols`: Share of every target pixel's height and width that a pixel of the window
    covers, shapes ``(H, h)`` and ``(W, w)``.
    """

    window: Tile
    rows: NDArray[np.float64]
    cols: NDArray[np.float64]

    def __call__(self, values: Float) -> Float:
        """Average an image; see `Plan.__call__`.

        `values`: Shape ``(band, h, w)`` of the window's pixels; NaN where missing.
        Returned: Shape ``(band, H, W)``; NaN where less than half of a pixel's area inside the
        scene is valid.
        """
        valid = np.isfinite(values[0])
        weight = self.rows @ valid.astype(np.float64) @ self.cols.T
        inside = self.rows.sum(1)[:, None] * self.cols.sum(1)[None, :]
        keep: Any = (weight > 0) & (weight >= (0.5 - 1e-9) * inside)
        result = np.full((values.shape[0], *keep.shape), np.nan, np.float32)
        for band, image in zip(result, values, strict=True):
            total = self.rows @ np.where(valid, image, 0.0).astype(np.float64) @ self.cols.T
            band[keep] = total[keep] / weight[keep]
        return result

    def categories(self, flags: NDArray[np.uint8], fill: int) -> NDArray[np.uint8]:
        """Take the flag of the pixel that covers most of each target pixel.

        `flags`: Shape ``(h, w)`` of the window's pixels.
        """
        picked: NDArray[np.uint8] = flags[np.ix_(self.rows.argmax(1), self.cols.argmax(1))]
        inside = np.logical_and.outer(self.rows.any(axis=1), self.cols.any(axis=1))
        picked[~inside] = fill
        return picked


def plan_resampling(
    source: GeoBox, target: GeoBox, how: Resampling = "auto"
) -> Plan | AreaPlan | None:
    """Work out how a window of the analysis grid is made from a scene; reads no pixel.

    Where both grids have the same pixels these are copied.  Target pixels at least 1.5 times
    larger are averages by area.  Everything else is interpolated.

    `source`: Grid of the whole scene, any CRS.
    `how`: The kernel; "auto" is the rule above, with "cubic".
    """
    source = restated(source, target.crs)
    if same_lattice(source, target):
        rows, cols = _offsets(source, target)
        return _plan(rows, cols, source, 1, "copy", margin=0)
    ratio = _pixel_ratio(source, target)
    if how == "auto":
        how = "average" if ratio >= AVERAGE_FROM else KERNEL
    if how == "average" and source.crs == target.crs:
        return _area_plan(source, target)
    samples = max(SAMPLES, 2 * int(np.ceil(ratio))) if how == "average" else 1
    rows, cols = _positions(source, target, samples)
    kernel = "nearest" if how == "average" else how
    return _plan(rows, cols, source, samples, kernel, margin=2)


def shifted(geobox: GeoBox, dx: float, dy: float) -> GeoBox:
    """Move a grid.

    `dx`, `dy`: How far, in units of its CRS; positive is east and north.
    """
    from odc.geo.geobox import GeoBox

    if dx == 0 and dy == 0:
        return geobox
    a = geobox.affine
    return GeoBox(geobox.shape, type(a)(a.a, a.b, a.c + dx, a.d, a.e, a.f + dy), geobox.crs)


def _plan(
    rows: Any, cols: Any, source: GeoBox, samples: int, kernel: str, *, margin: int
) -> Plan | None:
    shape = (int(source.shape[0]), int(source.shape[1]))
    spans = []
    for position, size in zip(_reached(rows, cols, shape), shape, strict=True):
        if position is None:
            return None
        low, high = position
        first, last = int(np.floor(low)) - margin, int(np.ceil(high)) + margin + 1
        spans.append((max(first, 0), min(last, size)))
    (y0, y1), (x0, x1) = spans
    return Plan(Tile(y0, y1, x0, x1), rows, cols, shape, samples, kernel)


def _reached(rows: Any, cols: Any, shape: tuple[int, int]) -> tuple[Any, Any]:
    """Return the range of positions inside the scene, by axis; None where there is none."""
    y = (rows > -0.5 - 1e-6) & (rows < shape[0] - 0.5 + 1e-6)
    x = (cols > -0.5 - 1e-6) & (cols < shape[1] - 0.5 + 1e-6)
    inside = y & x
    if not inside.any():
        return None, None
    if rows.shape != cols.shape:  # separable
        return (rows[y].min(), rows[y].max()), (cols[x].min(), cols[x].max())
    return (rows[inside].min(), rows[inside].max()), (cols[inside].min(), cols[inside].max())


def _area_plan(source: GeoBox, target: GeoBox) -> AreaPlan | None:
    a, b = source.affine, target.affine
    rows = _shares((b.f - a.f) / a.e, b.e / a.e, target.shape[0], source.shape[0])
    cols = _shares((b.c - a.c) / a.a, b.a / a.a, target.shape[1], source.shape[1])
    if rows is None or cols is None:
        return None
    (y0, y1, height), (x0, x1, width) = rows, cols
    return AreaPlan(Tile(y0, y1, x0, x1), height, width)


def _shares(
    start: float, step: float, count: int, size: int
) -> tuple[int, int, NDArray[np.float64]] | None:
    """Return the source pixels under a run of target pixels, and the length of each inside each."""
    edges = start + np.arange(count + 1) * step
    # Rounding in metadata must not add a sliver of the next pixel.
    whole = np.round(edges)
    np.copyto(edges, whole, where=np.abs(edges - whole) < ALIGNMENT_TOLERANCE)
    first, last = max(int(np.floor(edges[0])), 0), min(int(np.ceil(edges[-1])), size)
    if last <= first:
        return None
    pixel = np.arange(first, last)[None, :]
    inside = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return first, last, np.clip(inside, 0.0, None)


def _offsets(source: GeoBox, target: GeoBox) -> Positions:
    """Return positions of target pixels on a lattice they share with the source."""
    a, b = source.affine, target.affine
    row = round((b.f - a.f) / a.e) + np.arange(target.shape[0], dtype=np.float64)
    col = round((b.c - a.c) / a.a) + np.arange(target.shape[1], dtype=np.float64)
    return row[:, None], col[None, :]


def _pixel_ratio(source: GeoBox, target: GeoBox) -> float:
    """Return the target's pixel size over the source's, by area; degrees where the scene lies."""
    a, b = source.affine, target.affine
    area = abs(a.a * a.e)
    if source.crs is not None and source.crs.geographic:
        box = source.boundingbox
        area *= DEGREE**2 * np.cos(np.radians((box.bottom + box.top) / 2))
    return float(np.sqrt(abs(b.a * b.e) / area))


def _positions(source: GeoBox, target: GeoBox, samples: int) -> Positions:
    """Return the positions of target samples in the source, in its pixels."""
    y = _centres(target.affine.f, target.affine.e, target.shape[0], samples)
    x = _centres(target.affine.c, target.affine.a, target.shape[1], samples)
    if source.crs == target.crs:
        world_y, world_x = np.meshgrid(y, x, indexing="ij")
    else:
        world_y, world_x = _transformed(source, target, y, x)
    inverse = ~source.affine
    cols, rows = inverse * (world_x, world_y)
    rows, cols = np.asarray(rows) - 0.5, np.asarray(cols) - 0.5
    for position in (rows, cols):
        # Rounding in metadata must not decide between two pixels.
        whole = np.round(position)
        np.copyto(position, whole, where=np.abs(position - whole) < ALIGNMENT_TOLERANCE / 10)
        position[~np.isfinite(position)] = -10.0
    return rows, cols


def _centres(start: float, step: float, count: int, samples: int) -> NDArray[np.float64]:
    """Return sample coordinates, rounded so that they do not depend on the window's own corner."""
    return np.round(start + (np.arange(count * samples) + 0.5) * (step / samples), 6)


def _transformed(source: GeoBox, target: GeoBox, y: Any, x: Any) -> Positions:
    """Transform coordinates to the source's CRS: exactly at nodes, linearly between them.

    Between nodes that a line does not join, as across the 180th meridian, exactly everywhere.
    """
    nodes_y, low_y, part_y = _nodes(y, abs(target.affine.e) * NODES)
    nodes_x, low_x, part_x = _nodes(x, abs(target.affine.a) * NODES)
    nodes = _exactly(source, target, *np.meshgrid(nodes_y, nodes_x, indexing="ij"))
    middle = [(v[:-1] + v[1:]) / 2 for v in (nodes_y, nodes_x)]
    middles = _exactly(source, target, *np.meshgrid(*middle, indexing="ij"))
    torn = np.zeros(middles[0].shape, bool)
    result = []
    for values, there, size in zip(nodes, middles, (source.affine.e, source.affine.a), strict=True):
        mean = (values[:-1, :-1] + values[:-1, 1:] + values[1:, :-1] + values[1:, 1:]) / 4
        torn |= ~(np.abs(mean - there) <= TORN * abs(size))
        part = part_x[None, :]
        along = values[:, low_x] * (1 - part) + values[:, low_x + 1] * part
        part = part_y[:, None]
        result.append(along[low_y] * (1 - part) + along[low_y + 1] * part)
    if torn.any():
        rows, cols = np.nonzero(torn[np.ix_(low_y, low_x)])
        for values, there in zip(result, _exactly(source, target, y[rows], x[cols]), strict=True):
            values[rows, cols] = there
    return result[0], result[1]


def _exactly(source: GeoBox, target: GeoBox, y: Any, x: Any) -> Positions:
    """Transform coordinates to the source's CRS; longitudes to within half a turn of its middle."""
    assert target.crs is not None
    assert source.crs is not None
    there_x, there_y = map(np.asarray, target.crs.transformer_to_crs(source.crs)(x, y))
    if source.crs.geographic:
        box = source.boundingbox
        west = (box.left + box.right) / 2 - 180
        there_x = west + (there_x - west) % 360
    return there_y, there_x


def _nodes(centres: Any, step: float) -> tuple[Any, Any, Any]:
    """Return nodes at multiples of a step around coordinates, and where these lie between them."""
    position = centres / step
    first = int(np.floor(position.min()))
    nodes = np.arange(first, int(np.floor(position.max())) + 2) * step
    low = np.floor(position).astype(np.int64)
    return nodes, low - first, position - low


def _sample(values: Float, rows: Any, cols: Any, kernel: Any, width: int) -> Float:
    """Sum the pixels around each position, weighted; pixels outside the window count as 0."""
    h, w = values.shape[-2:]
    flat = values.reshape(values.shape[0], -1)
    y0 = np.floor(rows).astype(np.int64) - (width // 2 - 1)
    x0 = np.floor(cols).astype(np.int64) - (width // 2 - 1)
    total = np.zeros((values.shape[0], *rows.shape), np.float32)
    for i in range(width):
        y = y0 + i
        wy = np.where((y >= 0) & (y < h), kernel(rows - y), 0.0)
        base = np.clip(y, 0, h - 1) * w
        for j in range(width):
            x = x0 + j
            weight = wy * np.where((x >= 0) & (x < w), kernel(cols - x), 0.0)
            total += flat.take(base + np.clip(x, 0, w - 1), axis=1) * weight.astype(np.float32)
    return total


def _linear(distance: Any) -> Any:
    return np.clip(1.0 - np.abs(distance), 0.0, None)


def _box(distance: Any) -> Any:
    return np.ones_like(distance)


def _cubic(distance: Any) -> Any:
    """Evaluate the cubic convolution kernel of Keys (1981), a = -0.5."""
    d = np.abs(distance)
    near = (1.5 * d - 2.5) * d * d + 1.0
    far = ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
