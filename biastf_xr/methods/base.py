"""The one contract of every fusion method, and what several methods share.

Whatever drives a method (the lazy graph, a cluster run, a test) hands it the same `Block` and
takes the same `Prediction`; the method never learns who asked.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from biastf_xr.cube._spec import STATUS
from biastf_xr.errors import MethodError
from biastf_xr.grid import box_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from biastf_xr._series import Smoothing
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Alignment, Tile, Upsampler, Upsampling

Float = NDArray[np.float32]
Weights = Literal["change", "time", "equal"]
WEIGHTS: tuple[Weights, ...] = ("change", "time", "equal")

# Added to the coarse change in the inverse-change weights: a tenth of a digital number of
# reflectance x 10000, far below any sensor's noise.
CHANGE_FLOOR = 1e-5


T = TypeVar("T")


@dataclass(frozen=True)
class Prepared:
    """What a method learned of a whole scene before the first tile: statistics of one base date.

    Small: it travels to the workers with every unit.

    Attributes
    ----------
    scene : dict of ndarray
        What holds for the base date.
    dates : dict of ndarray
        What holds for each target date, along the first axis.
    """

    scene: dict[str, NDArray[Any]]
    dates: dict[str, NDArray[Any]] = field(default_factory=dict)

    def of(self, dates: Any) -> Prepared:
        """Keep some of the target dates.

        Parameters
        ----------
        dates : list of int
            Their places.

        Returns
        -------
        Prepared
            The rest as it is.
        """
        return Prepared(self.scene, {name: v[list(dates)] for name, v in self.dates.items()})

    def digest(self, date: int) -> bytes:
        """Return what one target date owes to it.

        Parameters
        ----------
        date : int
            Its place.

        Returns
        -------
        bytes
            Equal for equal statistics.
        """
        total = hashlib.blake2b(digest_size=8)
        parts = [*self.scene.items(), *((name, v[date]) for name, v in self.dates.items())]
        parts = [(name, v) for name, v in parts if np.any(v)]  # what is all zero says nothing
        for name, values in sorted(parts, key=lambda part: part[0]):
            total.update(name.encode())
            total.update(np.ascontiguousarray(values).tobytes())
        return total.digest()


class SceneView(Protocol):
    """The whole scene, as a method may look at it before the first tile is fused.

    Nothing of it is in memory: every call is a pass over the data, tile by tile.

    Attributes
    ----------
    bands : tuple of str
        Bands, in the order of the arrays.
    alignment : Alignment
        How the coarse grid lies under the fine one.
    days : list of numpy.datetime64
        Base dates that will be used, ascending.
    targets : ndarray of datetime64[D]
        Target dates of the plan, ascending.
    """

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands."""
        ...

    @property
    def alignment(self) -> Alignment:
        """Return how the grids lie."""
        ...

    @property
    def days(self) -> list[np.datetime64]:
        """Return the base dates."""
        ...

    @property
    def targets(self) -> NDArray[np.datetime64]:
        """Return the target dates."""
        ...

    def fold(
        self, look: Callable[[np.datetime64, Float, Tile], T], merge: Callable[[T, T], T]
    ) -> dict[np.datetime64, T]:
        """Look at the fine image of every base date, tile by tile.

        Parameters
        ----------
        look : callable
            Takes the day, an image ``(band, y, x)`` with NaN where masked, and its tile; gives a
            small summary.
        merge : callable
            Joins two summaries; called in the order of the tiles, whatever the chunks.

        Returns
        -------
        dict
            The summary of every base date.
        """
        ...

    def targets_of(self, day: np.datetime64) -> NDArray[np.intp]:
        """Return the places of the targets that may use a base date.

        Parameters
        ----------
        day : numpy.datetime64
            The base date.

        Returns
        -------
        ndarray of int
            Places in `targets`, ascending.
        """
        ...

    def coarse(self, days: Any, *, bases: bool = False) -> Float:
        """Read whole coarse images, gaps filled in time as for the tiles.

        Parameters
        ----------
        days : array_like of datetime64[D]
            Target dates, or base dates.
        bases : bool
            Whether they are base dates.

        Returns
        -------
        ndarray of float32
            Shape ``(time, band, h, w)``; NaN where nothing is near enough.
        """
        ...

    def support(self, days: Any) -> Float:
        """Return how many observations the coarse images of target dates are made of.

        Parameters
        ----------
        days : array_like of datetime64[D]
            Target dates.

        Returns
        -------
        ndarray of float32
            Shape ``(time, h, w)``; see `Block.support`.
        """
        ...


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
    prepared : Prepared or None
        What the method's `prepare` gave for the date; its `dates` are those of the block.
    """

    day: np.datetime64
    fine: Float
    coarse: Float
    prepared: Prepared | None = None


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
        """Return the one-sided prediction of a window, computing it only if part of it is new.

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
    support : ndarray of float32
        Shape ``(time, h, w)``: how many observations `coarse` is made of.  With `Smoothing` the
        sum of its weights; otherwise 1 where seen on the day, less with distance where filled.
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
    support: Float

    @property
    def sides(self) -> tuple[Base, Base]:
        """Return both base dates of a block that has both."""
        if self.before is None or self.after is None:
            raise MethodError("the block has one base date; two are needed here.")
        return self.before, self.after

    def seen(self, upsampling: Upsampling) -> NDArray[np.bool_]:
        """Return where the interpolated coarse images of the target dates are there in all bands.

        Parameters
        ----------
        upsampling : {"bilinear", "nearest"}
            How they are brought to the fine grid.

        Returns
        -------
        ndarray of bool
            Shape ``(time, Y, X)`` with the halo of `upsample`.
        """
        seen = np.ones((len(self.coarse), *self.upsample.fine.shape), np.bool_)
        for image, there in zip(self.coarse, seen, strict=True):
            if not np.isfinite(image).all():  # interpolation makes no gaps of its own
                there[:] = np.isfinite(self.upsample(image, upsampling)).all(axis=0)
        return seen

    @property
    def core(self) -> tuple[slice, slice]:
        """Return the slices that cut the halo off an upsampled array."""
        return self._core(self.halo)

    @property
    def fine_core(self) -> tuple[slice, slice]:
        """Return the slices that cut the halo off a base image."""
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
        Shape ``(time, y, x)``, values of `biastf_xr.cube._spec.STATUS`.
    sigma : ndarray of float32 or None
        Shape of `reflectance`: standard deviation of its error, from methods that are `uncertain`.
    """

    reflectance: Float
    status: NDArray[np.uint8]
    sigma: Float | None = None


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
    smoothing : Smoothing or None
        How the coarse series is smoothed for it; None for as observed.
    uncertain : bool
        Whether its predictions come with their `Prediction.sigma`.
    """

    @property
    def name(self) -> str:
        """Return the name."""
        ...

    @property
    def halo(self) -> int:
        """Return the halo of the interpolated change."""
        ...

    @property
    def fine_halo(self) -> int:
        """Return the halo of the base images."""
        ...

    @property
    def coarse_halo(self) -> int:
        """Return the coarse halo."""
        ...

    @property
    def needs_two_sides(self) -> bool:
        """Return whether both base dates are needed."""
        ...

    @property
    def smoothing(self) -> Smoothing | None:
        """Return how the coarse series is smoothed."""
        ...

    @property
    def uncertain(self) -> bool:
        """Return whether predictions come with a standard deviation."""
        ...

    def bind(self, pair: CubePair) -> Method:
        """Refuse cubes the method cannot work on, or give it as it works on them.

        Called before anything else: what depends on the grids, halos for instance, stands after.

        Parameters
        ----------
        pair : CubePair
            The cubes.

        Returns
        -------
        Method
            The method for these cubes.
        """
        ...

    def prepare(self, scene: SceneView) -> dict[np.datetime64, Prepared]:
        """Look at the whole scene once, before the first tile.

        Parameters
        ----------
        scene : SceneView
            The scene.

        Returns
        -------
        dict
            By base date, what `Base.prepared` will hold; empty where nothing is needed.
        """
        ...

    def fuse(self, block: Block) -> Prediction:
        """Predict one tile for all target dates of a bracket, NumPy in and NumPy out.

        Parameters
        ----------
        block : Block
            The inputs.

        Returns
        -------
        Prediction
            The result, without halo.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return what a reader of the fused cube should know of the method.

        Returns
        -------
        dict
            JSON-serialisable parameters.
        """
        ...


class Plain:
    """What most methods have in common: the coarse series as observed, no uncertainty."""

    smoothing: Smoothing | None = None
    uncertain: bool = False


class TwoSided(Plain):
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

    def fuse(self, block: Block) -> Prediction:
        """Predict; see `Method.fuse`.

        Parameters
        ----------
        block : Block
            The inputs.

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

    def describe(self) -> dict[str, Any]:
        """Describe; see `Method.describe`.

        Returns
        -------
        dict
            The options.
        """
        return options_of(self)


def from_both(values: Float, fallback: NDArray[np.bool_]) -> Prediction:
    """Return what a method made from both base dates at once.

    Parameters
    ----------
    values : ndarray of float32
        Shape ``(time, band, y, x)``; NaN where it could not be made.
    fallback : ndarray of bool
        Shape ``(time, y, x)``: where a band was made by the method's fallback.

    Returns
    -------
    Prediction
        A pixel is predicted in all bands or in none.
    """
    good = np.asarray(np.isfinite(values).all(axis=1))
    made = np.where(fallback, STATUS["fused_fallback"], STATUS["fused_two_sided"])
    status = np.where(good, made, STATUS["unwritten"]).astype(np.uint8)
    if not good.all():
        values = np.where(good[:, None], values, np.float32(np.nan))
    return Prediction(values, status)


class SceneFree:
    """Default `bind` and `prepare` of methods that need no look at the whole scene."""

    def bind(self, pair: CubePair) -> Self:
        """Accept every pair of cubes.

        Parameters
        ----------
        pair : CubePair
            The cubes.

        Returns
        -------
        Method
            The method itself.
        """
        return self

    def prepare(self, scene: SceneView) -> dict[np.datetime64, Prepared]:
        """Do nothing: the method works on the block alone.

        Parameters
        ----------
        scene : SceneView
            The scene.

        Returns
        -------
        dict
            Empty.
        """
        return {}


def inside_grid(window: Tile, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels of a window lie on the grid.

    Parameters
    ----------
    window : Tile
        It may reach outside.
    shape : tuple of int
        Rows and columns of the grid.

    Returns
    -------
    ndarray of bool
        Shape of the window.
    """
    rows, cols = np.arange(window.y0, window.y1), np.arange(window.x0, window.x1)
    inside: NDArray[np.bool_] = np.logical_and.outer(
        (rows >= 0) & (rows < shape[0]), (cols >= 0) & (cols < shape[1])
    )
    return inside


def check_choices(method: Any, choices: dict[str, tuple[Any, ...]]) -> None:
    """Check options that are one of a few values.

    Parameters
    ----------
    method : Method
        The method.
    choices : dict of tuple
        The values of each option.

    Raises
    ------
    MethodError
        If an option has another value.
    """
    for name, values in choices.items():
        if getattr(method, name) not in values:
            raise MethodError(
                f"{method.name}: {name} is {getattr(method, name)!r}; expected one of "
                f"{list(values)}."
            )


def check_positive(method: Any, *names: str) -> None:
    """Check options that must be positive numbers, or None where that is their default.

    Parameters
    ----------
    method : Method
        The method.
    *names : str
        The options.

    Raises
    ------
    MethodError
        If one is not.
    """
    for name in names:
        value = getattr(method, name)
        if value is not None and not value > 0:
            raise MethodError(f"{method.name}: {name} is {value!r}; expected more than 0.")


def options_of(method: Any) -> dict[str, Any]:
    """Return the options of a method that is a dataclass, as `Method.describe` tells them.

    Parameters
    ----------
    method : Method
        The method; fields with the metadata ``bound`` follow from the cubes and are left out.

    Returns
    -------
    dict
        The name as "method", and the options.
    """
    told = {
        f.name: getattr(method, f.name)
        for f in fields(method)
        if f.name != "name" and not f.metadata.get("bound")
    }
    return {"method": method.name, **told}


def bound(default: Any) -> Any:
    """Declare a field that `Method.bind` sets.

    Parameters
    ----------
    default : object
        Its value before.

    Returns
    -------
    dataclasses.Field
        The field.
    """
    return field(default=default, repr=False, metadata={"bound": True})


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
    """Return the weight of the earlier side by distance in time.

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
    """Return the weight of the earlier side by inverse coarse change.

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
