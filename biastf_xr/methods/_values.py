"""What goes into a method and what comes out of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from biastf_xr.errors import MethodError

if TYPE_CHECKING:
    from collections.abc import Callable

    from biastf_xr.grid import Alignment, Tile, Upsampler, Upsampling

Float = NDArray[np.float32]
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
        """Keep some of the target dates, by their indices; the rest as it is."""
        return Prepared(self.scene, {name: v[list(dates)] for name, v in self.dates.items()})

    def digest(self, date: int) -> bytes:
        """Return what one target date owes to it, by its index: equal for equal statistics."""
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
        """Look at the fine image of every base date, tile by tile; return a summary of each.

        `look`: Takes the day, an image ``(band, y, x)`` with NaN where masked, and its tile;
        returns a small summary.
        `merge`: Joins two summaries; called in the order of the tiles, whatever the chunks.
        """
        ...

    def targets_of(self, day: np.datetime64) -> NDArray[np.intp]:
        """Return the indices into `targets` of those that may use a base date, ascending."""
        ...

    def coarse(self, days: Any, *, bases: bool = False) -> Float:
        """Read whole coarse images, gaps filled in time as for the tiles.

        `days`: Target dates, or base dates, as `bases` says.
        Returned: Shape ``(time, band, h, w)``; NaN where nothing is near enough.
        """
        ...

    def support(self, days: Any) -> Float:
        """Return how many observations the coarse images of target dates are made of.

        Returned: Shape ``(time, h, w)``; see `Block.support`.
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

        `window`: Part of the unit's tile.
        `predict`: Computes it, shape ``(time, band, y, x)``.
        Returned: Not to be changed in place.
        """
        if day not in self._values and window == self.tile:
            self._values[day], self._known[day] = predict(), np.ones(self.tile.shape, bool)
        rows, cols = window.within(self.tile)
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

        Returned: Shape ``(time, Y, X)`` with the halo of `upsample`.
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
        Shape ``(time, y, x)``, values of `biastf_xr.cube.STATUS`.
    sigma : ndarray of float32 or None
        Shape of `reflectance`: standard deviation of its error, from methods that are `uncertain`.
    """

    reflectance: Float
    status: NDArray[np.uint8]
    sigma: Float | None = None
