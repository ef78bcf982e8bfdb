"""The one contract of every fusion method, and what several methods share.

Whatever drives a method (the lazy graph, a cluster run, a test) hands it the same `Block` and
takes the same `Prediction`; the method never learns who asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from biastf_xr.cube.spec import STATUS
from biastf_xr.errors import MethodError

if TYPE_CHECKING:
    from collections.abc import Callable

    from biastf_xr.brackets import Layer
    from biastf_xr.cube.guards import CubePair
    from biastf_xr.grid import Tile, Upsampler

Float = NDArray[np.float32]
Weights = Literal["change", "time", "equal"]
WEIGHTS: tuple[Weights, ...] = ("change", "time", "equal")

# Added to the coarse change in the inverse-change weights: a tenth of a digital number of
# reflectance x 10000, far below any sensor's noise.
CHANGE_FLOOR = 1e-5


@dataclass(frozen=True)
class Base:
    """One base date of a block.

    Attributes
    ----------
    day : numpy.datetime64
        The date.
    fine : ndarray of float32
        Shape ``(band, Y, X)``, the fine image with the method's `fine_halo` on every side; NaN
        where masked or outside the cube.
    coarse : ndarray of float32
        Shape ``(band, h, w)``, the coarse image on its own grid; NaN where missing.
    """

    day: np.datetime64
    fine: Float
    coarse: Float


class SideMemo:
    """Remembers one-sided predictions of a unit, so that no base date is computed twice.

    A base date takes part in several pairs of a bracket; what follows from it alone does not
    depend on the other date.

    Parameters
    ----------
    tile : Tile
        The unit's output window.
    shape : tuple of int
        Number of target dates and of bands.
    """

    def __init__(self, tile: Tile, shape: tuple[int, int]) -> None:
        self.tile, self.shape = tile, shape
        self._values: dict[np.datetime64, Float] = {}
        self._known: dict[np.datetime64, NDArray[np.bool_]] = {}

    def recall(self, day: np.datetime64, window: Tile, predict: Callable[[], Float]) -> Float:
        """Give the one-sided prediction of a window, computing it only if part of it is new.

        Parameters
        ----------
        day : numpy.datetime64
            Base date.
        window : Tile
            Part of the unit's tile.
        predict : callable
            Computes it, shape ``(time, band, y, x)``.

        Returns
        -------
        ndarray of float32
            The prediction; not to be changed in place.
        """
        if day not in self._values and window == self.tile:
            self._values[day], self._known[day] = predict(), np.ones(self.tile.shape, bool)
        rows = slice(window.y0 - self.tile.y0, window.y1 - self.tile.y0)
        cols = slice(window.x0 - self.tile.x0, window.x1 - self.tile.x0)
        if day not in self._values:
            # Memory is taken by the system page by page, when a page is first written.
            self._values[day] = np.empty((*self.shape, *self.tile.shape), np.float32)
            self._known[day] = np.zeros(self.tile.shape, bool)
        values, known = self._values[day][..., rows, cols], self._known[day][rows, cols]
        if not known.all():
            values[...] = predict()
            known[...] = True
        return values


@dataclass(frozen=True)
class Block:
    """What a method needs to predict one tile for all target dates of a bracket.

    Attributes
    ----------
    bands : tuple of str
        Bands, in the order of the arrays.
    before, after : Base or None
        The base dates; None where there is none on that side.
    days : ndarray of datetime64[D]
        Target dates, ascending.
    coarse : ndarray of float32
        Shape ``(time, band, h, w)``, coarse images of the target dates on their own grid.
    upsample : Upsampler
        Interpolates coarse arrays ``(..., h, w)`` to the padded fine window ``(..., Y, X)``.
    tile : Tile
        The output window on the whole fine grid, without halo.
    halo : int
        Fine pixels of margin in what `upsample` gives.
    fine_halo : int
        Fine pixels of margin in the base images.
    memo : SideMemo
        One-sided predictions that stand already.
    """

    bands: tuple[str, ...]
    before: Base | None
    after: Base | None
    days: NDArray[np.datetime64]
    coarse: Float
    upsample: Upsampler
    tile: Tile
    halo: int
    fine_halo: int
    memo: SideMemo

    @property
    def sides(self) -> tuple[Base, Base]:
        """Give both base dates of a block that has both."""
        if self.before is None or self.after is None:
            raise MethodError("the block has one base date; two are needed here.")
        return self.before, self.after

    @property
    def core(self) -> tuple[slice, slice]:
        """Give the slices that cut the halo off an upsampled array."""
        return self._core(self.halo)

    @property
    def fine_core(self) -> tuple[slice, slice]:
        """Give the slices that cut the halo off a base image."""
        return self._core(self.fine_halo)

    def _core(self, halo: int) -> tuple[slice, slice]:
        rows, cols = self.tile.shape
        return slice(halo, halo + rows), slice(halo, halo + cols)


@dataclass(frozen=True)
class Prediction:
    """What a method predicts for a block.

    Attributes
    ----------
    reflectance : ndarray of float32
        Shape ``(time, band, y, x)`` without halo; NaN where it could not be predicted.
    status : ndarray of uint8
        Shape ``(time, y, x)``, values of `biastf_xr.cube.spec.STATUS`.
    """

    reflectance: Float
    status: NDArray[np.uint8]


@runtime_checkable
class Method(Protocol):
    """A fusion method.

    Attributes
    ----------
    name : str
        Its name in `fuse`, `evaluate` and configuration files.
    halo : int
        Fine pixels around a tile whose coarse change, interpolated to them, influences its result.
    fine_halo : int
        Fine pixels around a tile whose base images influence its result: so much more is read.
    coarse_halo : int
        Coarse pixels around a tile that influence its result, beyond the interpolation's own.
    needs_two_sides : bool
        Whether it cannot predict from one base date alone.
    """

    @property
    def name(self) -> str:
        """Give the name."""
        ...

    @property
    def halo(self) -> int:
        """Give the halo of the interpolated change."""
        ...

    @property
    def fine_halo(self) -> int:
        """Give the halo of the base images."""
        ...

    @property
    def coarse_halo(self) -> int:
        """Give the coarse halo."""
        ...

    @property
    def needs_two_sides(self) -> bool:
        """Tell whether both base dates are needed."""
        ...

    def check(self, pair: CubePair) -> None:
        """Refuse cubes the method cannot work on.

        Parameters
        ----------
        pair : CubePair
            The cubes.
        """
        ...

    def prepare(self, pair: CubePair, layer: Layer) -> Any:
        """Look at the whole scene once per pair of base dates.

        Parameters
        ----------
        pair : CubePair
            The cubes, lazy.
        layer : Layer
            The base dates.

        Returns
        -------
        object
            A small picklable state handed to `fuse`; None where nothing is needed.
        """
        ...

    def fuse(self, block: Block, state: Any) -> Prediction:
        """Predict one tile for all target dates of a bracket, NumPy in and NumPy out.

        Parameters
        ----------
        block : Block
            The inputs.
        state : object
            As from `prepare`.

        Returns
        -------
        Prediction
            The result, without halo.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Give what a reader of the fused cube should know of the method.

        Returns
        -------
        dict
            JSON-serialisable parameters.
        """
        ...


class TwoSided:
    """A method that predicts from each base date alone and weights the two predictions.

    Subclasses give `side` and `weight`; `fuse` follows, and no base date is computed twice.
    """

    needs_two_sides: bool = False
    fine_halo: int = 0

    def side(self, block: Block, base: Base) -> Float:
        """Predict from one base date.

        Parameters
        ----------
        block : Block
            The inputs.
        base : Base
            The base date, one of the block's.

        Returns
        -------
        ndarray of float32
            Shape ``(time, band, y, x)`` without halo; NaN where it cannot be made.
        """
        raise TypeError(f"{type(self).__name__} does not say how it predicts from one side.")

    def weight(self, block: Block) -> Float:
        """Weight the earlier side; called only where both sides exist.

        Parameters
        ----------
        block : Block
            The inputs.

        Returns
        -------
        ndarray of float32
            Broadcastable to ``(time, band, y, x)``.
        """
        raise TypeError(f"{type(self).__name__} does not say how it weights its sides.")

    def fuse(self, block: Block, state: Any) -> Prediction:
        """Predict; see `Method.fuse`.

        Parameters
        ----------
        block : Block
            The inputs.
        state : None
            Nothing.

        Returns
        -------
        Prediction
            The weighted sum where both sides exist, the one that exists elsewhere.
        """
        before, after = (
            None
            if base is None
            else block.memo.recall(base.day, block.tile, partial(self.side, block, base))
            for base in (block.before, block.after)
        )
        if before is None or after is None:
            return combine(before, after, None)
        return combine(before, after, self.weight(block))


class SceneFree:
    """Default `prepare` and `check` of methods that need no look at the whole scene."""

    def check(self, pair: CubePair) -> None:
        """Accept every pair of cubes.

        Parameters
        ----------
        pair : CubePair
            The cubes.
        """

    def prepare(self, pair: CubePair, layer: Layer) -> None:
        """Do nothing: the method works on the block alone.

        Parameters
        ----------
        pair : CubePair
            The cubes.
        layer : Layer
            The base dates.
        """


def check_weights(weights: str, window: int) -> None:
    """Check the choice of a two-sided weighting.

    Parameters
    ----------
    weights : str
        Its name.
    window : int
        Side of its window in coarse pixels.

    Raises
    ------
    MethodError
        If the name is not one of `WEIGHTS` or the window is not odd.
    """
    if weights not in WEIGHTS:
        raise MethodError(f"unknown weights {weights!r}; expected one of {list(WEIGHTS)}.")
    if window < 1 or window % 2 == 0:
        raise MethodError(f"window is {window}; expected an odd number of coarse pixels.")


def time_weight(before: np.datetime64, after: np.datetime64, days: Any) -> Float:
    """Give the weight of the earlier side by distance in time.

    Parameters
    ----------
    before, after : numpy.datetime64
        Base dates.
    days : ndarray of datetime64[D]
        Target dates.

    Returns
    -------
    ndarray of float32
        Shape ``(time,)``: 1 at `before`, 0 at `after`, linear between.
    """
    span = (after - before).astype(int)
    weight: Float = ((after - days).astype(int) / span).astype(np.float32)
    return weight


def change_weight(change_before: Float, change_after: Float, window: int) -> Float:
    """Give the weight of the earlier side by inverse coarse change.

    ``w = (1/|dC_before|) / (1/|dC_before| + 1/|dC_after|)``, with the absolute change averaged
    over a window of coarse pixels.  The weighting of BiaSTF's two sides is not published; this
    reading follows STFDCNN, SPSTFM and ESTARFM, which the paper cites.

    Parameters
    ----------
    change_before, change_after : ndarray of float32
        Shape ``(..., h, w)``: target minus base on the coarse grid; NaN is missing.
    window : int
        Side of the window in coarse pixels, odd.

    Returns
    -------
    ndarray of float32
        Shape ``(..., h, w)`` on the coarse grid; 0.5 where both are zero, NaN where one is missing.
    """
    a = box_mean(np.abs(change_before), window) + np.float32(CHANGE_FLOOR)
    b = box_mean(np.abs(change_after), window) + np.float32(CHANGE_FLOOR)
    weight: Float = (b / (a + b)).astype(np.float32, copy=False)
    return weight


def box_mean(values: Float, window: int) -> Float:
    """Average over a square window, cut at the array's edge, missing values left out.

    Parameters
    ----------
    values : ndarray of float32
        Shape ``(..., h, w)``; NaN is missing.
    window : int
        Side in pixels, odd.

    Returns
    -------
    ndarray of float32
        Same shape; NaN where the whole window is missing.
    """
    if window == 1:
        return values
    valid = np.isfinite(values)
    total = _box_sum(np.where(valid, values, np.float32(0)), window)
    count = _box_sum(valid.astype(np.float32), window)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Float = np.where(count > 0, total / count, np.float32(np.nan))
    return mean


def _box_sum(values: Float, window: int) -> Float:
    """Sum over the window by shifts: exact and independent of where the array is cut."""
    reach = window // 2
    margin = [(0, 0)] * (values.ndim - 2) + [(reach, reach)] * 2
    padded = np.pad(values, margin)
    rows, cols = values.shape[-2:]
    tall = padded[..., :rows, :].copy()
    for k in range(1, window):
        tall += padded[..., k : k + rows, :]
    wide = tall[..., :cols].copy()
    for k in range(1, window):
        wide += tall[..., k : k + cols]
    return wide


def combine(before: Float | None, after: Float | None, weight: Float | None) -> Prediction:
    """Merge the two one-sided predictions.

    Parameters
    ----------
    before, after : ndarray of float32 or None
        Shape ``(time, band, y, x)``; NaN where that side has no prediction; None where there is no
        such side.
    weight : ndarray of float32 or None
        Weight of the earlier side, broadcastable; None where a side is None.

    Returns
    -------
    Prediction
        The weighted sum where both sides exist, the one that exists elsewhere.  A pixel is
        predicted in all bands or in none.
    """
    if before is None or after is None:
        one = before if before is not None else after
        if one is None:
            raise MethodError("there is no side to combine.")
        name = "fused_before_only" if before is not None else "fused_after_only"
        good = np.asarray(np.isfinite(one).all(axis=1))
        status = np.where(good, STATUS[name], STATUS["unwritten"]).astype(np.uint8)
        return Prediction(np.where(good[:, None], one, np.float32(np.nan)), status)
    if weight is None:
        raise MethodError("two sides are combined without weights.")
    result = before - after
    result *= weight
    result += after
    both = np.asarray(np.isfinite(result).all(axis=1))
    if both.all():
        return Prediction(result, np.full(both.shape, STATUS["fused_two_sided"], np.uint8))
    has_before = np.asarray(np.isfinite(before).all(axis=1))
    has_after = np.asarray(np.isfinite(after).all(axis=1))
    status = np.select(
        [both, has_before, has_after],
        [STATUS["fused_two_sided"], STATUS["fused_before_only"], STATUS["fused_after_only"]],
        STATUS["unwritten"],
    ).astype(np.uint8)
    result = np.where(both[:, None], result, np.where(has_before[:, None], before, after))
    result[np.broadcast_to((status == STATUS["unwritten"])[:, None], result.shape)] = np.nan
    return Prediction(result, status)
