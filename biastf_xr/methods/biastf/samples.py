"""Training samples: patches of coarse change and of its bias, drawn from the cubes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.brackets import BracketRule, usable_dates
from biastf_xr.errors import MissingPairError
from biastf_xr.grid import Tile, Upsampler, Upsampling, box_mean

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr.cube.guards import CubePair
    from biastf_xr.methods.base import Float
    from biastf_xr.methods.biastf.settings import SampleRule

Day = np.datetime64


@dataclass(frozen=True)
class Samples:
    """Patches of coarse change with the bias of that change.

    Attributes
    ----------
    change : ndarray of float32
        Shape ``(N, band, P + 2 * halo, P + 2 * halo)``: dC on the fine grid, no NaN.
    bias : ndarray of float32
        Shape ``(N, band, P, P)``: ``dF - dC``; NaN where not clear.
    held_out : ndarray of bool
        Shape ``(N,)``: kept for early stopping.
    pairs : tuple of tuple of str
        The pairs of days used.
    """

    change: Float
    bias: Float
    held_out: NDArray[np.bool_]
    pairs: tuple[tuple[str, str], ...]


def draw_samples(
    pair: CubePair,
    rule: SampleRule,
    *,
    halo: int,
    upsampling: Upsampling,
    base_rule: BracketRule,
    seed: int,
) -> Samples:
    """Draw patches over all pairs of clear dates; reads only the windows it needs.

    Only values that both sensors observed clearly on both days are used: nothing is filled in.

    Parameters
    ----------
    pair : CubePair
        The cubes; read window by window.
    rule : SampleRule
        How to draw.
    halo : int
        Receptive radius of the network.
    upsampling : {"bilinear", "nearest"}
        How the coarse change is brought to the fine grid.
    base_rule : BracketRule
        Which fine dates are clear enough.
    seed : int
        Seed of the draw and of the split.

    Returns
    -------
    Samples
        The patches.

    Raises
    ------
    MissingPairError
        If fewer than two clear dates exist, or their clear areas do not overlap.
    """
    days = usable_dates(pair, base_rule)
    days = days[np.isin(days, pair.coarse_days)]
    reach = np.timedelta64(rule.max_pair_gap, "D")
    pairs = [(a, b) for a, b in combinations(days, 2) if b - a <= reach]
    if not pairs:
        raise MissingPairError(
            f"training needs at least two dates that are clear in both cubes and at most "
            f"{rule.max_pair_gap} days apart; found {[str(d) for d in days]}. "
            "Add scenes, or fuse with method='direct', which needs no training."
        )
    rng = np.random.default_rng(seed)
    patch = min(rule.patch, *pair.alignment.shape)
    cells, held = _split(_cells(pair.alignment.shape, patch), pair.alignment.shape, rule, rng)
    quota = -(-rule.count // len(pairs))
    changes: list[Float] = []
    biases: list[Float] = []
    split: list[bool] = []
    used: list[tuple[str, str]] = []
    reader = _Reader(pair, halo, upsampling)
    for a, b in pairs:
        taken = 0
        for index in rng.permutation(len(cells)):
            if taken == quota:
                break
            change, bias = reader.sample(a, b, cells[index])
            if np.isfinite(bias[0]).mean() >= rule.min_clear:
                changes.append(change)
                biases.append(bias)
                split.append(bool(held[index]))
                taken += 1
        if taken:
            used.append((str(a), str(b)))
    if not changes:
        raise MissingPairError(
            f"no patch of {patch} px is at least {rule.min_clear:.0%} clear in both cubes on both "
            f"days of any of {len(pairs)} pairs. Lower `min_clear`, or use method='direct'."
        )
    mask = np.array(split)
    if mask.all() or not mask.any():
        # Too few blocks for the draw to hit both sides: keep every fifth patch.
        mask = np.arange(mask.size) % 5 == 4
    return Samples(np.stack(changes), np.stack(biases), mask, tuple(used))


def fill_for_network(seen: Float, step: Float, upsample: Upsampler, how: Upsampling) -> Float:
    """Fill missing changes so that a network can read across a gap.

    A missing coarse pixel takes the mean of its valid neighbours, else no change.  The prediction
    itself stays missing there: this only keeps NaN out of the convolutions.

    Parameters
    ----------
    seen : ndarray of float32
        Shape ``(..., Y, X)``: the change on the fine grid; NaN is missing.
    step : ndarray of float32
        Shape ``(..., h, w)``: the same on the coarse grid.
    upsample : Upsampler
        What made `seen` of `step`.
    how : {"bilinear", "nearest"}
        The interpolation.

    Returns
    -------
    ndarray of float32
        `seen` without NaN.
    """
    missing = ~np.isfinite(seen)
    if not missing.any():
        return seen
    around = np.where(np.isfinite(step), step, box_mean(step, 3))
    filled = upsample(np.nan_to_num(around, copy=False, nan=0.0), how)
    return np.where(missing, filled, seen)


class _Reader:
    """Reads patches; a whole date stays cached as long as consecutive patches come from it."""

    def __init__(self, pair: CubePair, halo: int, upsampling: Upsampling) -> None:
        self.pair, self.halo, self.upsampling = pair, halo, upsampling
        self._dates: dict[tuple[str, Day], Float] = {}

    def sample(self, a: Day, b: Day, tile: Tile) -> tuple[Float, Float]:
        """Give the change with halo and the bias without, both (band, rows, cols)."""
        alignment = self.pair.alignment
        padded = tile.padded(self.halo)
        window = alignment.coarse_tile(padded, margin=1)
        step = self._step("coarse", a, b, window)
        upsample = Upsampler(alignment, padded, window)
        seen = upsample(step, self.upsampling)
        change = fill_for_network(seen, step, upsample, self.upsampling)
        core = (slice(self.halo, self.halo + tile.shape[0]),
                slice(self.halo, self.halo + tile.shape[1]))  # fmt: skip
        bias = self._step("fine", a, b, tile) - seen[:, core[0], core[1]]
        clear = np.isfinite(bias).all(axis=0)
        return change, np.where(clear, bias, np.float32(np.nan))

    def _step(self, which: str, a: Day, b: Day, window: Tile) -> Float:
        """Give the change of one sensor over a window inside its grid."""
        rows, cols = window.slices
        return self._date(which, b)[:, rows, cols] - self._date(which, a)[:, rows, cols]

    def _date(self, which: str, day: Day) -> Float:
        if (which, day) not in self._dates:
            ds: xr.Dataset = getattr(self.pair, which)
            held = [k for k in self._dates if k[0] == which]
            if len(held) > 1:
                del self._dates[held[0]]
            days: Any = self.pair.fine_days if which == "fine" else self.pair.coarse_days
            image = ds.isel(time=int(np.searchsorted(days, day)))
            self._dates[which, day] = np.stack(
                [np.asarray(image[band].values, np.float32) for band in self.pair.bands]
            )
        return self._dates[which, day]


def _cells(shape: tuple[int, int], patch: int) -> list[Tile]:
    """Lay patches over the scene, each overlapping the next by half."""
    step = max(patch // 2, 1)
    ys, xs = (range(0, n - patch + 1, step) for n in shape)
    return [Tile(y, y + patch, x, x + patch) for y in ys for x in xs]


def _split(
    cells: list[Tile], shape: tuple[int, int], rule: SampleRule, rng: np.random.Generator
) -> tuple[list[Tile], NDArray[np.bool_]]:
    """Hold out whole blocks of patches; what straddles the line is on neither side."""
    side = (cells[0].y1 - cells[0].y0) * rule.hold_out_block
    rows, cols = (-(-n // side) for n in shape)
    count = max(1, round(rule.hold_out * rows * cols))
    held = (np.argsort(rng.permutation(rows * cols)) < count).reshape(rows, cols)
    kept, flags = [], []
    for cell in cells:
        y = slice(cell.y0 // side, (cell.y1 - 1) // side + 1)
        x = slice(cell.x0 // side, (cell.x1 - 1) // side + 1)
        if held[y, x].all() or not held[y, x].any():
            kept.append(cell)
            flags.append(bool(held[y, x].all()))
    return kept, np.array(flags)
