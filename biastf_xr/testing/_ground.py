"""Reflectance of the ground on the canvas, day by day, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.testing._phenology import MUDDY_WATER, PETALS, Cover

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.testing._landscape import FloatArray, Landscape

_FALLING_DAYS = 20.0
_DRAINING_DAYS = 9.0
_WET_DARKENING = (0.22, 0.22, 0.22, 0.22, 0.28, 0.34)
_NEIGHBOUR = 0.12


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """The landscape with its weather and the flood."""

    landscape: Landscape  # what does not change
    rain: NDArray[np.float64]  # (pattern, day): wetness that each pattern adds
    first_day_of_year: float  # of day 0; 1 January is 0
    event_day: int  # on which the flood crests; before day 0 there is none

    def reflectance(self, day: int) -> FloatArray:
        """Evaluate reflectance without clouds and noise, shape (band, y, x), 0.001..1."""
        land, calendar = self.landscape, self.landscape.calendar
        doy = self.first_day_of_year + day
        label = land.label
        flood, mud = self.flood(day)
        after = mud * np.float32(0.55)

        petals = calendar.petals(doy)[None, :]
        canopy = (calendar.canopy * (1.0 - petals) + PETALS[:, None] * petals).astype(np.float32)
        background = calendar.background(doy)
        green = np.minimum(calendar.green(doy)[label] * land.vigour, np.float32(0.98))
        green *= 1.0 - after * self._drowns()[label]
        wet = np.tensordot(self.rain[:, day].astype(np.float32), land.rain_patterns, axes=1)
        wet = np.minimum(np.maximum(wet, mud), 1.0) * self._soaks()[label]

        out = np.empty((6, *label.shape), dtype=np.float32)
        bare = (1.0 - green) * land.tone
        # Tree crowns stand out of the water.
        sheet = flood * np.where(calendar.cover == Cover.FOREST, 0.4, 1.0).astype(np.float32)[label]
        leafy = green * land.tone
        for band, darkening in enumerate(_WET_DARKENING):
            dry = background[band][label]
            value = dry * (1.0 - np.float32(darkening) * wet) * bare + canopy[band][label] * leafy
            out[band] = value + sheet * (np.float32(MUDDY_WATER[band]) - value)
        return np.clip(_soften(out), 0.001, 1.0)

    def flood(self, day: int) -> tuple[FloatArray, FloatArray]:
        """Return the share under flood water, and how far the ground still shows it: (y, x)."""
        height = self.landscape.flood_height
        since = day - self.event_day
        if since < 0:
            nothing = np.zeros_like(height)
            return nothing, nothing
        level = np.exp(-since / _FALLING_DAYS)
        flood = 1.0 / (1.0 + np.exp(np.clip((height - level) / 0.025, -30.0, 30.0)))
        drained = since + _FALLING_DAYS * np.log(height)
        mud = np.where(height < 1.0, np.exp(-np.maximum(drained, 0.0) / _DRAINING_DAYS), 0.0)
        return flood.astype(np.float32), mud.astype(np.float32)

    def water(self, day: int) -> NDArray[np.bool_]:
        """Return where lakes, the river or the flood cover most of the pixel, shape (y, x)."""
        lasting = self.landscape.calendar.cover == Cover.WATER
        return np.asarray(lasting[self.landscape.label] | (self.flood(day)[0] > 0.5))

    def _soaks(self) -> FloatArray:
        """Return how much the ground of a parcel darkens when wet."""
        cover = self.landscape.calendar.cover
        soaks = np.where(cover == Cover.BUILT, 0.35, 1.0)
        return np.where(cover == Cover.WATER, 0.0, soaks).astype(np.float32)

    def _drowns(self) -> FloatArray:
        """Return how much the canopy of a parcel suffers from standing water."""
        return np.where(self.landscape.calendar.cover == Cover.FOREST, 0.1, 1.0).astype(np.float32)


def _soften(stack: FloatArray) -> FloatArray:
    """Mix every pixel with its four neighbours, as the fine sensor's own footprint does."""
    for axis in (1, 2):
        padded = np.pad(stack, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        middle = [slice(None)] * 3
        before, after = middle.copy(), middle.copy()
        before[axis], after[axis] = slice(None, -2), slice(2, None)
        neighbours = padded[tuple(before)] + padded[tuple(after)]
        stack = stack * np.float32(1.0 - 2.0 * _NEIGHBOUR) + neighbours * np.float32(_NEIGHBOUR)
    return stack
