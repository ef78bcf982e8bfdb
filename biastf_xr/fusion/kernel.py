"""Fuse one unit: the only place where inputs, layers and a method meet.  NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube.spec import STATUS
from biastf_xr.fusion.coarse import fill_in_time
from biastf_xr.grid import Tile, Upsampler, read_padded, split_tiles
from biastf_xr.methods.base import Base, Block, Float, Method, Prediction, SideMemo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.brackets import Layer
    from biastf_xr.fusion.plan import FusionRule, Unit
    from biastf_xr.grid import Alignment

# Reads a fine image of one day: (day, tile inside the grid) -> (band, y, x), NaN where masked.
FineReader = Callable[[np.datetime64, Tile], Float]

# A layer that can fill less than this share of a tile works on squares of PATCH pixels.
WHOLE_TILE = 0.5
PATCH = 32


@dataclass(frozen=True)
class CoarseSeries:
    """The coarse images around a unit, as observed.

    Attributes
    ----------
    days : ndarray of datetime64[D]
        Ascending.
    values : ndarray of float32
        Shape ``(time, band, h, w)`` over `window`; NaN is missing.
    window : Tile
        Coarse pixels, on the coarse grid.
    """

    days: NDArray[np.datetime64]
    values: Float
    window: Tile


@dataclass(frozen=True)
class Fused:
    """Output of a unit.

    Attributes
    ----------
    reflectance : ndarray of float32
        Shape ``(time, band, y, x)``; NaN where it could not be made.
    status_flag : ndarray of uint8
        Shape ``(time, y, x)``; see `biastf_xr.cube.spec.STATUS`.
    coarse_gap : ndarray of uint8
        Shape ``(time, y, x)``: days to the nearest coarse observation used.
    """

    reflectance: Float
    status_flag: NDArray[np.uint8]
    coarse_gap: NDArray[np.uint8]

    def variables(self, bands: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """Give the variables of the fused cube.

        Parameters
        ----------
        bands : tuple of str
            Names of the band axis.

        Returns
        -------
        dict of ndarray
            Arrays of shape ``(time, y, x)`` by variable name.
        """
        out: dict[str, NDArray[Any]] = {b: self.reflectance[:, i] for i, b in enumerate(bands)}
        return out | {"status_flag": self.status_flag, "coarse_gap": self.coarse_gap}


def coarse_dates(unit: Unit, days: Any, rule: FusionRule) -> NDArray[np.intp]:
    """Find the coarse dates a unit may need: those near enough to a target or a base date.

    Parameters
    ----------
    unit : Unit
        The unit.
    days : ndarray of datetime64[D]
        Days of the coarse cube.
    rule : FusionRule
        For the reach of gap filling.

    Returns
    -------
    ndarray of int
        Indices into `days`, ascending.
    """
    wanted = np.array([*unit.bracket.targets, *unit.bracket.base_dates], "datetime64[D]")
    apart = np.abs((days[:, None] - wanted).astype(int))
    return np.flatnonzero((apart <= rule.coarse_max_gap).any(axis=1))


def fuse_unit(
    unit: Unit,
    method: Method,
    states: dict[Layer, Any],
    read_fine: FineReader,
    coarse: CoarseSeries,
    alignment: Alignment,
    bands: tuple[str, ...],
    rule: FusionRule,
) -> Fused:
    """Fuse one tile for all target dates of its bracket.

    The pair of nearest base dates is used first; where one of its scenes was masked the next pair
    takes over, pixel by pixel, so that a method always sees one consistent pair.  Pixels without
    any pair clear on both sides are made from the nearest clear date on one side.

    Parameters
    ----------
    unit : Unit
        What to make.
    method : Method
        The method.
    states : dict
        What the method prepared, by layer.
    read_fine : callable
        Reads fine images; called only for what is needed.
    coarse : CoarseSeries
        Coarse images around the unit, over ``coarse_window``.
    alignment : Alignment
        How the grids lie.
    bands : tuple of str
        Bands, in the order of the arrays.
    rule : FusionRule
        The choices.

    Returns
    -------
    Fused
        The result.
    """
    bracket, tile = unit.bracket, unit.tile
    targets = np.array(bracket.targets, "datetime64[D]")
    filled, gap = fill_in_time(coarse.values, coarse.days, targets, rule.coarse_max_gap)
    shape = (targets.size, *tile.shape)
    reflectance = np.full((targets.size, len(bands), *tile.shape), np.nan, np.float32)
    status = np.zeros(shape, np.uint8)
    if bracket.observed:
        image = read_fine(bracket.targets[0], tile)
        seen = np.isfinite(image).all(axis=0)
        reflectance[0][:, seen] = image[:, seen]
        status[0][seen] = STATUS["observed"]
    memo = SideMemo(tile, (targets.size, len(bands)))
    inputs = _Inputs(unit, method, read_fine, coarse, alignment, bands, rule, targets, filled, memo)
    for layer in bracket.layers:
        open_ = (status == 0).any(axis=0)
        if not open_.any():
            break  # no further base date is read
        usable = open_ & inputs.clear(layer)
        for window in _windows(usable, tile):
            rows, cols = _inside(window, tile)
            part = inputs.predict(layer, window, states.get(layer))
            _take(part, layer, reflectance[..., rows, cols], status[:, rows, cols])
    upsample = Upsampler(alignment, tile, coarse.window)
    fine_gap = upsample(gap.astype(np.float32), "nearest").astype(np.uint8)
    missing = status == 0
    if missing.any():
        dark = ~np.isfinite(upsample(filled)).all(axis=1)
        status[missing & dark] = STATUS["no_coarse"]
        status[missing & ~dark] = STATUS["no_pair"]
    return Fused(reflectance, status, fine_gap)


def coarse_window(unit: Unit, method: Method, alignment: Alignment) -> Tile:
    """Find the coarse pixels a unit needs.

    Parameters
    ----------
    unit : Unit
        The unit.
    method : Method
        For its halos.
    alignment : Alignment
        How the grids lie.

    Returns
    -------
    Tile
        Window on the coarse grid.
    """
    return alignment.coarse_tile(unit.tile.padded(method.halo), margin=method.coarse_halo)


@dataclass(frozen=True)
class _Inputs:
    """What all layers and windows of a unit share; base images are read once, when needed."""

    unit: Unit
    method: Method
    read_fine: FineReader
    coarse: CoarseSeries
    alignment: Alignment
    bands: tuple[str, ...]
    rule: FusionRule
    targets: NDArray[np.datetime64]
    filled: Float
    memo: SideMemo
    bases: dict[np.datetime64, Base] = field(default_factory=dict)
    masks: dict[np.datetime64, NDArray[np.bool_]] = field(default_factory=dict)

    def base(self, day: np.datetime64) -> Base:
        """Give a base date over the whole padded tile."""
        if day not in self.bases:
            padded = self.unit.tile.padded(self.method.halo)
            fine = read_padded(lambda t: self.read_fine(day, t), padded, self.alignment.shape)
            coarse, _ = fill_in_time(
                self.coarse.values, self.coarse.days, np.array([day]), self.rule.coarse_max_gap
            )
            self.bases[day] = Base(day, fine, coarse[0])
        return self.bases[day]

    def clear(self, layer: Layer) -> NDArray[np.bool_]:
        """Tell where the base dates of a layer are clear, shape (y, x) of the tile."""
        if self.method.needs_two_sides and not layer.two_sided:
            return np.zeros(self.unit.tile.shape, bool)
        days = [day for day in (layer.before, layer.after) if day is not None]
        clear: NDArray[np.bool_] = np.logical_and.reduce([self._clear_on(day) for day in days])
        return clear

    def _clear_on(self, day: np.datetime64) -> NDArray[np.bool_]:
        """Tell where one base date is clear; every layer it takes part in asks."""
        if day not in self.masks:
            rows, cols = self.unit.tile.shape
            halo = self.method.halo
            fine = self.base(day).fine[:, halo : halo + rows, halo : halo + cols]
            self.masks[day] = np.asarray(np.isfinite(fine).all(axis=0))
        return self.masks[day]

    def predict(self, layer: Layer, window: Tile, state: Any) -> Prediction:
        padded = window.padded(self.method.halo)
        block = Block(
            bands=self.bands,
            before=self._cut(layer.before, window),
            after=self._cut(layer.after, window),
            days=self.targets,
            coarse=self.filled,
            upsample=Upsampler(self.alignment, padded, self.coarse.window),
            tile=window,
            halo=self.method.halo,
            memo=self.memo,
        )
        return self.method.fuse(block, state)

    def _cut(self, day: np.datetime64 | None, window: Tile) -> Base | None:
        """Cut a base date to a window with halo."""
        if day is None:
            return None
        whole = self.base(day)
        rows, cols = _inside(window.padded(2 * self.method.halo), self.unit.tile)
        shift = 2 * self.method.halo
        fine = whole.fine[:, rows.start + shift : rows.stop, cols.start + shift : cols.stop]
        return Base(day, fine, whole.coarse)


def _windows(usable: NDArray[np.bool_], tile: Tile) -> list[Tile]:
    """Choose what to predict: the whole tile, or runs of squares that have a usable pixel."""
    if usable.mean() > WHOLE_TILE:
        return [tile]
    runs: list[Tile] = []
    for w in split_tiles(tile.shape, (PATCH, PATCH)):
        if usable[w.slices].any():
            if runs and (runs[-1].y0, runs[-1].x1) == (w.y0, w.x0):
                runs[-1] = Tile(w.y0, w.y1, runs[-1].x0, w.x1)
            else:
                runs.append(w)
    return [Tile(r.y0 + tile.y0, r.y1 + tile.y0, r.x0 + tile.x0, r.x1 + tile.x0) for r in runs]


def _inside(window: Tile, tile: Tile) -> tuple[slice, slice]:
    """Give the slices of a window into the arrays of the tile around it."""
    return (
        slice(window.y0 - tile.y0, window.y1 - tile.y0),
        slice(window.x0 - tile.x0, window.x1 - tile.x0),
    )


def _take(part: Prediction, layer: Layer, reflectance: Float, status: NDArray[np.uint8]) -> None:
    """Put a prediction where nothing stands yet, in place."""
    made = part.status == STATUS["fused_two_sided"] if layer.two_sided else part.status != 0
    open_ = (status == 0) & made
    if open_.all():
        reflectance[...] = part.reflectance
        status[...] = part.status
        return
    np.copyto(reflectance, part.reflectance, where=open_[:, None])
    np.copyto(status, part.status, where=open_)
