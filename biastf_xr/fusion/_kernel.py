"""Fuse one unit: the only place where inputs, layers and a method meet.  NumPy in, NumPy out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._series import days_near, images_on
from biastf_xr.cube._spec import STATUS, VALID_MAX, VALID_MIN, sigma_of
from biastf_xr.grid import Tile, Upsampler, read_padded, split_tiles
from biastf_xr.methods.base import Base, Block, Float, Method, Prediction, SideMemo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr._series import Smoothing
    from biastf_xr.brackets import Layer
    from biastf_xr.fusion._plan import FusionRule, Unit
    from biastf_xr.grid import Alignment
    from biastf_xr.methods.base import Prepared

# Reads a fine image of one day: (day, tile inside the grid) -> (band, y, x), NaN where masked.
FineReader = Callable[[np.datetime64, Tile], Float]
# Reads where the fine image of a day is suspected, shape (y, x), in the same way.
SuspectReader = Callable[[np.datetime64, Tile], "NDArray[np.bool_]"]

# What a layer of two base dates may make; what it makes from one of them a later layer makes.
TWO_SIDED = (STATUS["fused_two_sided"], STATUS["fused_fallback"])

# Days to a base date are kept in 16 bits.
MOST_GAP = 65535

# A layer that can fill less than this share of a tile works on squares of PATCH pixels.
WHOLE_TILE = 0.5
PATCH = 32


@dataclass(frozen=True)
class CoarseSeries:
    """The coarse images around a unit, as observed."""

    days: NDArray[np.datetime64]
    values: Float  # (time, band, h, w) over the window; NaN is missing
    window: Tile  # on the coarse grid


@dataclass(frozen=True)
class CoarseImages:
    """The coarse images that a unit works with, gaps filled in time."""

    window: Tile  # on the coarse grid
    targets: Float  # (time, band, h, w); NaN where nothing is near enough
    gap: NDArray[np.uint8]  # (time, h, w): days to the nearest observation used
    bases: dict[np.datetime64, Float]  # (band, h, w), by base date
    support: Float  # (time, h, w): how many observations the targets are made of

    def hashes(self, states: dict[np.datetime64, Prepared]) -> list[int]:
        """Return what every target date owes to coarse images and states, in 64 bits."""
        common = hashlib.blake2b(digest_size=8)
        for image in self.bases.values():
            common.update(image.tobytes())
        numbers = []
        for n, (image, gap) in enumerate(zip(self.targets, self.gap, strict=True)):
            own = common.copy()
            for day in sorted(states):
                own.update(states[day].digest(n))
            own.update(image.tobytes())
            own.update(gap.tobytes())
            own.update(self.support[n].tobytes())
            numbers.append(int.from_bytes(own.digest(), "big"))
        return numbers

    def of(self, dates: list[int]) -> CoarseImages:
        """Keep some of the target dates."""
        kept = {name: getattr(self, name)[dates] for name in ("targets", "gap", "support")}
        return replace(self, **kept)


@dataclass
class Fused:
    """Output of a unit; a pixel is made once, by the first layer that can."""

    reflectance: Float  # (time, band, y, x); NaN where it could not be made
    status_flag: NDArray[np.uint8]  # (time, y, x); see `biastf_xr.cube.STATUS`
    coarse_gap: NDArray[np.uint8]  # days to the nearest coarse observation used
    base_before: NDArray[np.uint16]  # days to the base date used on each side; 0 where none was
    base_after: NDArray[np.uint16]
    sigma: Float | None = None  # standard deviation of its error; 0 where observed
    depth: tuple[int, int] = (0, 0)  # how many base dates before and after were looked at
    closed: bool = False  # whether base dates further away cannot matter

    @classmethod
    def blank(cls, shape: tuple[int, int, int, int], *, uncertain: bool) -> Fused:
        """Return the output before anything is made."""
        plane = (shape[0], *shape[2:])
        return cls(
            np.empty(shape, np.float32),  # filled where nothing was made, at the end
            np.zeros(plane, np.uint8),
            np.empty(plane, np.uint8),
            np.zeros(plane, np.uint16),
            np.zeros(plane, np.uint16),
            np.zeros(shape, np.float32) if uncertain else None,
        )

    def keep(self, image: Float) -> None:
        """Keep the clear pixels of the target's own acquisition."""
        seen = np.isfinite(image).all(axis=0)
        self.reflectance[0][:, seen] = image[:, seen]
        self.status_flag[0][seen] = STATUS["observed"]

    def take(self, part: Prediction, layer: Layer, days: Any, where: Any) -> None:
        """Put a prediction where nothing stands yet, clipped to the valid range."""
        rows, cols = where
        status = self.status_flag[:, rows, cols]
        made = np.isin(part.status, TWO_SIDED) if layer.two_sided else part.status != 0
        open_ = (status == 0) & made
        values = np.clip(part.reflectance, np.float32(VALID_MIN), np.float32(VALID_MAX))
        np.copyto(self.reflectance[..., rows, cols], values, where=open_[:, None])
        np.copyto(status, part.status, where=open_)
        if part.sigma is not None and self.sigma is not None:
            np.copyto(self.sigma[..., rows, cols], part.sigma, where=open_[:, None])
        for day, gaps in ((layer.before, self.base_before), (layer.after, self.base_after)):
            if day is not None:
                apart = np.minimum(np.abs((days - day).astype(int)), MOST_GAP).astype(np.uint16)
                np.copyto(gaps[:, rows, cols], apart[:, None, None], where=open_)

    def over(self, suspects: NDArray[np.bool_]) -> None:
        """Flag what was predicted though there is an observation, which is suspected."""
        made = ~np.isin(self.status_flag[0], (0, STATUS["observed"]))
        self.status_flag[0][made & suspects] = STATUS["fused_over_suspect"]

    def finish(self, dark: NDArray[np.bool_]) -> None:
        """Flag what no layer could make; `dark`: (time, y, x), where there is no coarse image."""
        missing = self.status_flag == 0
        for values in (self.reflectance, self.sigma):
            if values is not None:
                np.copyto(values, np.float32(np.nan), where=missing[:, None])
        self.status_flag[missing & dark] = STATUS["no_coarse"]
        self.status_flag[missing & ~dark] = STATUS["no_pair"]

    def variables(self, bands: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """Return the variables of the fused cube."""
        out: dict[str, NDArray[Any]] = {b: self.reflectance[:, i] for i, b in enumerate(bands)}
        names = ("status_flag", "coarse_gap", "base_before", "base_after")
        out |= {name: getattr(self, name) for name in names}
        if self.sigma is not None:
            out |= {sigma_of(b): self.sigma[:, i] for i, b in enumerate(bands)}
        return out


def coarse_dates(unit: Unit, days: Any, rule: FusionRule) -> NDArray[np.intp]:
    """Find the coarse dates a unit may need: those near enough to a target or a base date."""
    wanted = [*unit.bracket.targets, *unit.bracket.base_dates]
    return days_near(days, wanted, rule.coarse_max_gap)


def fill_coarse(
    unit: Unit, series: CoarseSeries, rule: FusionRule, smoothing: Smoothing | None = None
) -> CoarseImages:
    """Fill the coarse gaps of a unit's target and base dates in time, or smooth the series."""
    bases, reach = unit.bracket.base_dates, rule.coarse_max_gap
    values, days = series.values, series.days
    targets, gap, support = images_on(
        values, days, unit.bracket.targets, rule.own_gap, reach, smoothing
    )
    images, _, _ = images_on(values, days, bases, reach, reach, smoothing)
    by_day = dict(zip(bases, images, strict=True))
    return CoarseImages(series.window, targets, gap, by_day, support)


@np.errstate(under="ignore")
def fuse_unit(
    unit: Unit,
    method: Method,
    states: dict[np.datetime64, Prepared],
    read_fine: FineReader,
    coarse: CoarseImages,
    alignment: Alignment,
    bands: tuple[str, ...],
    suspects: SuspectReader | None = None,
) -> Fused:
    """Fuse one tile for all target dates of its bracket.

    The pair of nearest base dates is used first; where one of its scenes was masked the next pair
    takes over, pixel by pixel, so that a method always sees one consistent pair.  Pixels without
    any pair clear on both sides are made from the nearest clear date on one side.

    `states`: What the method prepared, by base date, for the unit's target dates.
    `read_fine`: Reads fine images; called only for what is needed.
    `suspects`: Reads where the image of an observed target is suspected; nowhere by default.
    """
    bracket, tile = unit.bracket, unit.tile
    targets = np.array(bracket.targets, "datetime64[D]")
    fused = Fused.blank((targets.size, len(bands), *tile.shape), uncertain=method.uncertain)
    if bracket.observed:
        fused.keep(read_fine(bracket.targets[0], tile))
    memo = SideMemo(tile, (targets.size, len(bands)))
    bases = _Bases(unit, method, states, read_fine, coarse, alignment, bands, targets, memo)
    fused.closed = bracket.observed and bool((fused.status_flag != 0).all())
    for layer in bracket.layers:
        open_ = (fused.status_flag == 0).any(axis=0)
        if not open_.any():
            fused.closed = fused.closed or layer.two_sided
            break  # no further base date is read
        usable = open_ & bases.clear(layer)
        for window in _windows(usable, tile, max(method.halo, method.fine_halo)):
            fused.take(bases.predict(layer, window), layer, targets, window.within(tile))
    if bracket.observed and suspects is not None:
        fused.over(suspects(bracket.targets[0], tile))
    upsample = Upsampler(alignment, tile, coarse.window)
    fused.coarse_gap = upsample(coarse.gap.astype(np.float32), "nearest").astype(np.uint8)
    if (fused.status_flag == 0).any():
        fused.finish(np.asarray(~np.isfinite(upsample(coarse.targets)).all(axis=1)))
    before, after = (sum(d in bases.masks for d in side)
                     for side in (bracket.before, bracket.after))  # fmt: skip
    fused.depth = before, after
    return fused


def coarse_window(unit: Unit, method: Method, alignment: Alignment) -> Tile:
    """Find the coarse pixels a unit needs."""
    return alignment.coarse_tile(unit.tile.padded(method.halo), margin=method.coarse_halo)


@dataclass(frozen=True)
class _Bases:
    """What all layers and windows of a unit share; base images are read once, when needed."""

    unit: Unit
    method: Method
    states: dict[np.datetime64, Prepared]
    read_fine: FineReader
    coarse: CoarseImages
    alignment: Alignment
    bands: tuple[str, ...]
    targets: NDArray[np.datetime64]
    memo: SideMemo
    bases: dict[np.datetime64, Base] = field(default_factory=dict)
    masks: dict[np.datetime64, NDArray[np.bool_]] = field(default_factory=dict)

    def base(self, day: np.datetime64) -> Base:
        """Return a base date over the whole padded tile."""
        if day not in self.bases:
            padded = self.unit.tile.padded(self.method.fine_halo)
            fine = read_padded(lambda t: self.read_fine(day, t), padded, self.alignment.shape)
            self.bases[day] = Base(day, fine, self.coarse.bases[day], self.states.get(day))
        return self.bases[day]

    def clear(self, layer: Layer) -> NDArray[np.bool_]:
        """Return where the base dates of a layer are clear, shape (y, x) of the tile."""
        if self.method.needs_two_sides and not layer.two_sided:
            return np.zeros(self.unit.tile.shape, bool)
        days = [day for day in (layer.before, layer.after) if day is not None]
        clear: NDArray[np.bool_] = np.logical_and.reduce([self._clear_on(day) for day in days])
        return clear

    def _clear_on(self, day: np.datetime64) -> NDArray[np.bool_]:
        """Return where one base date is clear; every layer it takes part in asks."""
        if day not in self.masks:
            rows, cols = self.unit.tile.shape
            halo = self.method.fine_halo
            fine = self.base(day).fine[:, halo : halo + rows, halo : halo + cols]
            self.masks[day] = np.asarray(np.isfinite(fine).all(axis=0))
        return self.masks[day]

    def predict(self, layer: Layer, window: Tile) -> Prediction:
        padded = window.padded(self.method.halo)
        block = Block(
            bands=self.bands,
            before=self._cut(layer.before, window),
            after=self._cut(layer.after, window),
            days=self.targets,
            coarse=self.coarse.targets,
            upsample=Upsampler(self.alignment, padded, self.coarse.window),
            tile=window,
            halo=self.method.halo,
            fine_halo=self.method.fine_halo,
            memo=self.memo,
            support=self.coarse.support,
        )
        return self.method.fuse(block)

    def _cut(self, day: np.datetime64 | None, window: Tile) -> Base | None:
        """Cut a base date to a window with halo."""
        if day is None:
            return None
        whole = self.base(day)
        rows, cols = window.padded(2 * self.method.fine_halo).within(self.unit.tile)
        shift = 2 * self.method.fine_halo
        fine = whole.fine[:, rows.start + shift : rows.stop, cols.start + shift : cols.stop]
        return replace(whole, fine=fine)


def _windows(usable: NDArray[np.bool_], tile: Tile, halo: int) -> list[Tile]:
    """Choose what to predict: the whole tile, or runs of squares that have a usable pixel.

    With their halos runs can be more than the tile with its own.
    """
    if usable.mean() > WHOLE_TILE:
        return [tile]
    runs: list[Tile] = []
    for w in split_tiles(tile.shape, (PATCH, PATCH)):
        if usable[w.slices].any():
            if runs and (runs[-1].y0, runs[-1].x1) == (w.y0, w.x0):
                runs[-1] = Tile(w.y0, w.y1, runs[-1].x0, w.x1)
            else:
                runs.append(w)
    whole, parts = (
        sum((w.shape[0] + 2 * halo) * (w.shape[1] + 2 * halo) for w in windows)
        for windows in ([tile], runs)
    )
    if parts > whole:
        return [tile]
    return [Tile(r.y0 + tile.y0, r.y1 + tile.y0, r.x0 + tile.x0, r.x1 + tile.x0) for r in runs]
