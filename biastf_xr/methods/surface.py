"""Thin-plate spline through coarse pixels, on fine pixels, from the coarse pixels nearby.

On a regular grid the spline through a square of coarse pixels is, at a given place among them, the
same weighted sum of their values wherever the square lies.  So the weights are solved for once per
place and applied by matrix products.
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


def spline_weights(points: Any, places: Any) -> NDArray[np.float64]:
    """Give the weights of values at some points in the thin-plate spline at other places.

    The spline ``sum_i a_i r_i**2 ln r_i + b_0 + b_1 y + b_2 x`` passes through every point and
    bends least (Duchon 1977).

    Parameters
    ----------
    points : array_like
        Shape ``(n, 2)``, where values are given.  Points on one line, or fewer than three, leave
        the plane open; the flattest one is taken.
    places : array_like
        Shape ``(m, 2)``, where the spline is wanted.

    Returns
    -------
    ndarray of float64
        Shape ``(m, n)``; rows add up to 1.
    """
    points, places = np.asarray(points, np.float64), np.asarray(places, np.float64)
    count = len(points)
    centre = points.mean(axis=0)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _bend(points, points)
    system[:count, count], system[:count, count + 1 :] = 1, points - centre
    system[count:, :count] = system[:count, count:].T
    wanted = np.column_stack([_bend(places, points), np.ones(len(places)), places - centre])
    plane = np.linalg.matrix_rank(system[:count, count:]) == 3
    inverse = np.linalg.inv(system) if plane else np.linalg.pinv(system)
    weights: NDArray[np.float64] = (wanted @ inverse)[:, :count]
    return weights


def spline_up(values: Float, upsample: Upsampler, neighbours: int) -> Float:
    """Interpolate coarse images to a fine window by thin-plate splines.

    Around every coarse pixel the spline passes through the square of `neighbours` coarse pixels on
    a side, moved inwards at the edge of the grid; fine pixels take the spline of the coarse pixel
    that contains their centre.  About ``2 neighbours**2`` operations per fine pixel and image.

    Parameters
    ----------
    values : ndarray of float32
        Shape ``(n, h, w)`` over the coarse window of `upsample`, which must reach
        ``neighbours - 1`` coarse pixels around the fine window where the grid has them; NaN is
        left out.
    upsample : Upsampler
        The windows and how the grids lie.
    neighbours : int
        Side of the square, odd.

    Returns
    -------
    ndarray of float32
        Shape ``(n, Y, X)``; NaN in coarse pixels that are missing themselves.
    """
    fine, coarse, alignment = upsample.fine, upsample.coarse, upsample.alignment
    rows = _runs(alignment.rows, fine.y0, fine.y1, neighbours)
    cols = _runs(alignment.cols, fine.x0, fine.x1, neighbours)
    out = np.full((len(values), *fine.shape), np.nan, np.float32)
    missing = np.asarray(~np.isfinite(values).all(axis=0))
    for (high, y_places), some_rows in rows.items():
        for (wide, x_places), some_cols in cols.items():
            weights = _weights(high, wide, y_places, x_places)
            for y, first_row, cell_row in some_rows:
                band = values[:, first_row - coarse.y0 : first_row - coarse.y0 + high]
                for part in _apart(some_cols):
                    starts = np.array([c[1] - coarse.x0 for c in part])
                    picked = band[:, :, starts[:, None] + np.arange(wide)].transpose(2, 0, 1, 3)
                    made = picked.reshape(len(part) * len(values), -1).astype(np.float64)
                    shape = len(part), len(values), len(y_places), len(x_places)
                    surface = (made @ weights.T).reshape(shape)
                    for n, (x, first_col, cell_col) in enumerate(part):
                        stop = y + len(y_places), x + len(x_places)
                        target = out[:, y : stop[0], x : stop[1]]
                        target[:] = surface[n]
                        i, j = first_row - coarse.y0, first_col - coarse.x0
                        holes = missing[i : i + high, j : j + wide]
                        if holes.any():
                            own = missing[cell_row - coarse.y0, cell_col - coarse.x0]
                            target[:] = np.nan if own else _around(
                                values[:, i : i + high, j : j + wide], ~holes, y_places, x_places
                            )  # fmt: skip
    return out


def _apart(cells: list[Any]) -> list[list[Any]]:
    """Cut a list into parts that keep the products small."""
    return [cells[i : i + 64] for i in range(0, len(cells), 64)]


def _around(
    values: Float, known: NDArray[np.bool_], y_places: Any, x_places: Any
) -> NDArray[np.float64]:
    """Interpolate within one coarse pixel from those of its neighbours that are there."""
    points = np.argwhere(known)
    weights = spline_weights(points, _grid(y_places, x_places))
    made: NDArray[np.float64] = values[:, known].astype(np.float64) @ weights.T
    return made.reshape(len(values), len(y_places), len(x_places))


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
    points = np.argwhere(np.ones((high, wide), np.bool_))
    return spline_weights(points, _grid(y_places, x_places))


def _grid(y: Any, x: Any) -> NDArray[np.float64]:
    """List the places of a grid, row by row."""
    return np.column_stack([np.repeat(y, len(x)), np.tile(x, len(y))])


def _bend(a: Any, b: Any) -> NDArray[np.float64]:
    """Give ``r**2 ln r`` between all points of two sets."""
    square = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
    bend: NDArray[np.float64] = 0.5 * square * np.log(np.where(square > 0, square, 1.0))
    return bend
