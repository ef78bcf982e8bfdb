"""Coarse pixels as the fine pixels whose centres they contain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.methods._compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.grid import AxisMap
    from biastf_xr.methods.base import Block, Float

# The class of a pixel that is missing or has none, and of one that lies off the grid.
NONE, OUTSIDE = -1, -2

# A coarse pixel is usable if half of it is clear.
HALF = 0.5


def cells_of(axis: AxisMap, start: int, stop: int) -> NDArray[np.int64]:
    """Return the coarse pixel that holds the centre of every fine pixel."""
    position = axis.position(np.arange(start, stop))
    return np.clip(np.floor(position + 0.5), 0, axis.size - 1).astype(np.int64)


class Cells:
    """The coarse pixels under a fine window: row and column of each fine pixel's, from `first`."""

    def __init__(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> None:
        self.first = int(rows[0]), int(cols[0])
        self.rows, self.cols = rows - rows[0], cols - cols[0]
        self.shape = rows.size, cols.size
        self.origin = (0, 0)
        self.inside = np.ones(self.shape, np.bool_)

    @classmethod
    def under(cls, block: Block, margin: int) -> Cells:
        """Return those under a block with margin; pixels off the grid belong to none."""
        window, alignment = block.tile.padded(margin), block.upsample.alignment
        cells = cls(
            cells_of(alignment.rows, window.y0, window.y1),
            cells_of(alignment.cols, window.x0, window.x1),
        )
        coarse = block.upsample.coarse
        cells.origin = cells.first[0] - coarse.y0, cells.first[1] - coarse.x0
        return cells

    def cut(self, image: Float) -> Float:
        """Cut the coarse pixels out of an image over the block's coarse window."""
        row, col = self.origin
        part: Float = image[..., row : row + self.rows[-1] + 1, col : col + self.cols[-1] + 1]
        return part

    def spread(self, image: NDArray[Any]) -> NDArray[Any]:
        """Spread values of coarse pixels over their fine pixels."""
        row, col = self.origin
        spread: NDArray[Any] = image[row + self.rows[:, None], col + self.cols]
        return spread

    def count(self, labels: NDArray[np.int16], count: int) -> NDArray[np.int64]:
        """Count the pixels of every class, and last those of none, per coarse pixel."""
        counts = np.zeros((self.rows[-1] + 1, self.cols[-1] + 1, count + 1), np.int64)
        _count(labels, self.rows, self.cols, counts)
        return counts

    def fractions(self, labels: NDArray[np.int16], count: int) -> tuple[Float, NDArray[np.bool_]]:
        """Return the fractions ``(h, w, class)`` of what is clear, and where that is half."""
        counts = self.count(labels, count)
        clear = counts[..., :count].sum(axis=-1)
        shares = counts[..., :count] / np.maximum(clear, 1)[..., None]
        return shares, np.asarray(clear >= HALF * counts.sum(axis=-1))


@compiled
def _count(labels: Any, rows: Any, cols: Any, counts: Any) -> None:  # pragma: no cover
    last = counts.shape[2] - 1
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            c = labels[y, x]
            if c > OUTSIDE:
                counts[rows[y], cols[x], c if c >= 0 else last] += 1
