"""Tiles of a grid, with halos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Tile:
    """A rectangle of pixels, end-exclusive, in the coordinates of the whole grid.

    `y0`, `y1`, `x0`, `x1`: Rows ``y0:y1`` and columns ``x0:x1``. May reach outside the grid
    (negative) when padded.
    """

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return the row and column slices into the whole grid."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def within(self, held: Tile) -> tuple[slice, slice]:
        """Return the row and column slices into an array of a tile around this one."""
        rows = slice(self.y0 - held.y0, self.y1 - held.y0)
        return rows, slice(self.x0 - held.x0, self.x1 - held.x0)

    def padded(self, halo: int) -> Tile:
        """Grow the tile by a number of pixels on every side.

        `halo`: Pixels to add on each side; the result may reach outside the grid.
        """
        return Tile(self.y0 - halo, self.y1 + halo, self.x0 - halo, self.x1 + halo)

    def clipped(self, shape: tuple[int, int]) -> Tile:
        """Cut the tile to the grid."""
        return Tile(
            max(self.y0, 0), min(self.y1, shape[0]), max(self.x0, 0), min(self.x1, shape[1])
        )


def split_tiles(shape: tuple[int, int], size: tuple[int, int]) -> Iterator[Tile]:
    """Cover a grid with tiles, row by row.

    `size`: Rows and columns of a tile; the last ones may be smaller.
    """
    for y in range(0, shape[0], size[0]):
        for x in range(0, shape[1], size[1]):
            yield Tile(y, min(y + size[0], shape[0]), x, min(x + size[1], shape[1]))


def sample_tiles(shape: tuple[int, int], side: int, count: int) -> Iterator[Tile]:
    """Return windows spread over a grid, row by row: all of a small one.

    `side`: Their largest side.
    `count`: How many, along each axis that is longer.
    """
    ends = [min(side, size) for size in shape]
    starts = [np.linspace(0, size - end, count if size > end else 1).astype(int)
              for size, end in zip(shape, ends, strict=True)]  # fmt: skip
    for y in map(int, starts[0]):
        for x in map(int, starts[1]):
            yield Tile(y, y + ends[0], x, x + ends[1])


def read_padded(read: Any, tile: Tile, shape: tuple[int, int], fill: float = np.nan) -> Float:
    """Read a tile that may reach outside the grid, filling what lies outside.

    `read`: Takes a `Tile` inside the grid and returns an array whose last two axes have its
    shape.
    """
    inside = tile.clipped(shape)
    data = np.asarray(read(inside), dtype=np.float32)
    if inside == tile:
        return data
    margin = [(0, 0)] * (data.ndim - 2) + [
        (inside.y0 - tile.y0, tile.y1 - inside.y1),
        (inside.x0 - tile.x0, tile.x1 - inside.x1),
    ]
    return np.pad(data, margin, constant_values=np.float32(fill))
