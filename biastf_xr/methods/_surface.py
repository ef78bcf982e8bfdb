"""Thin-plate spline through coarse pixels, on fine pixels, from the coarse pixels nearby.

On a regular grid the spline through a square of coarse pixels is, at a given place among them, the
same weighted sum of their values wherever the square lies.  So the weights are solved for once per
place and applied by matrix products.

The spline through some of the points is that through all of them once the others have the values
at which it does not bend: missing coarse pixels are given those, and the same weights serve.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.grid import AxisMap, Upsampler
    from biastf_xr.methods.base import Float

# Places among coarse pixels that differ by less are one.
ROUNDED = 9

# Below this determinant of their moments points lie on a line; on a grid the least other is 1.
FLAT = 1e-6


def spline_weights(points: Any, places: Any) -> NDArray[np.float64]:
    """Return the weights of values at some points in the thin-plate spline at other places.

    The spline ``sum_i a_i r_i**2 ln r_i + b_0 + b_1 y + b_2 x`` passes through every point and
    bends least (Duchon 1977).

    `points`: Shape ``(n, 2)``, where values are given. Points on one line, or fewer than three,
    leave the plane open; the flattest one is taken.
    """
    points, places = np.asarray(points, np.float64), np.asarray(places, np.float64)
    centre = points.mean(axis=0)
    wanted = np.column_stack([_bend(places, points), np.ones(len(places)), places - centre])
    weights: NDArray[np.float64] = wanted @ _solution(points)[:, : len(points)]
    return weights


def _solution(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix that makes the coefficients ``a, b`` of values; 3 rows and columns more."""
    count = len(points)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _bend(points, points)
    system[:count, count], system[:count, count + 1 :] = 1, points - points.mean(axis=0)
    system[count:, :count] = system[:count, count:].T
    invert = np.linalg.inv if _plane(points) else np.linalg.pinv
    return np.asarray(invert(system), np.float64)


def _plane(points: NDArray[Any]) -> bool:
    """Return whether points determine a plane."""
    steps = points - points[:1]
    (a, b), c = np.einsum("ni,ni->i", steps, steps), steps[:, 0] @ steps[:, 1]
    return bool(a * b - c * c > FLAT)


def spline_up(values: Float, upsample: Upsampler, neighbours: int) -> Float:
    """Interpolate coarse images to a fine window by thin-plate splines.

    Around every coarse pixel the spline passes through the square of `neighbours` coarse pixels on
    a side, moved inwards at the edge of the grid; fine pixels take the spline of the coarse pixel
    that contains their centre.  About ``2 neighbours**2`` operations per fine pixel and image.

    `values`: Shape ``(n, h, w)`` over the coarse window of `upsample`, which must reach
    ``neighbours - 1`` coarse pixels around the fine window where the grid has them; NaN is left
    out.
    Returned: Shape ``(n, Y, X)``; NaN in coarse pixels that are missing themselves.
    """
    fine, coarse, alignment = upsample.fine, upsample.coarse, upsample.alignment
    rows = _runs(alignment.rows, fine.y0, fine.y1, neighbours)
    cols = _runs(alignment.cols, fine.x0, fine.x1, neighbours)
    out = np.full((len(values), *fine.shape), np.nan, np.float32)
    missing = np.asarray(~np.isfinite(values).all(axis=0))
    gaps = bool(missing.any())
    for (high, y_places), some_rows in rows.items():
        for (wide, x_places), some_cols in cols.items():
            weights = _weights(high, wide, y_places, x_places)
            for y, first_row, cell_row in some_rows:
                band = values[:, first_row - coarse.y0 : first_row - coarse.y0 + high]
                for part in _apart(some_cols):
                    starts = np.array([c[1] - coarse.x0 for c in part])
                    picked = band[:, :, starts[:, None] + np.arange(wide)].transpose(2, 0, 1, 3)
                    shape = len(part), len(values), len(y_places), len(x_places)
                    made = picked.reshape(*shape[:2], -1).astype(np.float64)
                    i = first_row - coarse.y0
                    holes = [missing[i : i + high, j : j + wide] if gaps else None for j in starts]
                    own = [missing[cell_row - coarse.y0, c[2] - coarse.x0] for c in part]
                    for n, hole in enumerate(holes):
                        if hole is not None and not own[n] and hole.any():
                            _fill(made[n], hole)
                    surface = (made.reshape(-1, made.shape[2]) @ weights.T).reshape(shape)
                    for n, (x, _, __) in enumerate(part):
                        if not own[n]:
                            stop = y + len(y_places), x + len(x_places)
                            out[:, y : stop[0], x : stop[1]] = surface[n]
    return out


def _apart(cells: list[Any]) -> list[list[Any]]:
    """Cut a list into parts that keep the products small."""
    return [cells[i : i + 64] for i in range(0, len(cells), 64)]


def _fill(values: NDArray[np.float64], holes: NDArray[np.bool_]) -> None:
    """Return the missing values of a square ``(n, points)`` those that leave its spline unbent."""
    points, hole = np.argwhere(~holes), holes.ravel()
    if _plane(points):
        bending = _bending(*holes.shape)[hole]
        known = values[:, ~hole] @ bending[:, ~hole].T
        values[:, hole] = -np.linalg.solve(bending[:, hole], known.T).T
    else:
        values[:, hole] = values[:, ~hole] @ spline_weights(points, np.argwhere(holes)).T


@lru_cache(maxsize=64)
def _bending(high: int, wide: int) -> NDArray[np.float64]:
    """Return the matrix that makes the coefficients ``a`` of the values of a square."""
    count = high * wide
    return _solution(_grid(range(high), range(wide)).astype(np.float64))[:count, :count]


Runs = dict[tuple[int, tuple[float, ...]], list[tuple[int, int, int]]]


def _runs(axis: AxisMap, start: int, stop: int, neighbours: int) -> Runs:
    """Group the coarse pixels under a run of fine ones by where fine centres lie in their square.

    By size of the square and places in it: first fine pixel from `start`, first coarse pixel of
    the square, and the coarse pixel itself.
    """
    position = np.clip(axis.position(np.arange(start, stop)), 0, axis.size - 1)
    cell = np.floor(position + 0.5).astype(int)
    size = min(neighbours, axis.size)
    groups: Runs = {}
    for j in np.unique(cell):
        inside = np.flatnonzero(cell == j)
        first = int(np.clip(j - size // 2, 0, axis.size - size))
        places = tuple(np.round(position[inside] - first, ROUNDED).tolist())
        groups.setdefault((size, places), []).append((int(inside[0]), first, int(j)))
    return groups


@lru_cache(maxsize=4096)
def _weights(
    high: int, wide: int, y_places: tuple[float, ...], x_places: tuple[float, ...]
) -> NDArray[np.float64]:
    return spline_weights(_grid(range(high), range(wide)), _grid(y_places, x_places))


def _grid(y: Any, x: Any) -> NDArray[np.float64]:
    """List the places of a grid, row by row."""
    return np.column_stack([np.repeat(y, len(x)), np.tile(x, len(y))])


def _bend(a: Any, b: Any) -> NDArray[np.float64]:
    """Return ``r**2 ln r`` between all points of two sets."""
    square = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
    bend: NDArray[np.float64] = 0.5 * square * np.log(np.where(square > 0, square, 1.0))
    return bend
