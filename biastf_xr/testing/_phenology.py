"""What grows where and when: closed-form cover fractions and spectra per parcel."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
_YEAR = 365.25


class Cover(IntEnum):
    """Land cover of a parcel."""

    WATER = 0
    FOREST = 1
    GRASS = 2
    BUILT = 3
    PASTURE = 4
    SUMMER = 5
    WINTER = 6
    CANOLA = 7
    LUCERNE = 8
    ORCHARD = 9
    FALLOW = 10


# Reflectance in blue, green, red, nir, swir1, swir2.
_CANOPY = np.array(
    [
        [0.060, 0.075, 0.050, 0.030, 0.018, 0.012],  # water
        [0.026, 0.046, 0.032, 0.235, 0.125, 0.060],  # forest
        [0.042, 0.078, 0.058, 0.310, 0.215, 0.115],  # grass
        [0.045, 0.075, 0.055, 0.300, 0.200, 0.110],  # built: street trees
        [0.038, 0.080, 0.048, 0.380, 0.215, 0.105],  # pasture
        [0.026, 0.062, 0.034, 0.430, 0.185, 0.080],  # summer crop
        [0.028, 0.064, 0.032, 0.455, 0.195, 0.085],  # winter cereal
        [0.034, 0.084, 0.042, 0.480, 0.220, 0.100],  # canola
        [0.026, 0.068, 0.030, 0.520, 0.210, 0.090],  # lucerne
        [0.034, 0.064, 0.046, 0.340, 0.190, 0.095],  # orchard
        [0.045, 0.080, 0.060, 0.320, 0.220, 0.120],  # weeds on fallow
    ]
)
_DARK_SOIL = np.array([0.055, 0.075, 0.098, 0.150, 0.215, 0.185])
_RED_SOIL = np.array([0.070, 0.110, 0.185, 0.275, 0.355, 0.310])
_STRAW = np.array([0.100, 0.150, 0.205, 0.335, 0.390, 0.270])
_PAVING = np.array([0.120, 0.140, 0.155, 0.205, 0.235, 0.215])
_CLEAR_WATER = np.array([0.055, 0.068, 0.046, 0.024, 0.012, 0.008])
MUDDY_WATER = np.array([0.078, 0.112, 0.118, 0.068, 0.022, 0.014])
PETALS = np.array([0.045, 0.210, 0.200, 0.420, 0.200, 0.095])


@dataclass(frozen=True, kw_only=True, eq=False)
class CropCalendar:
    """Timing and colour of every parcel; all arrays share the first axis (parcel).

    Days are days of the year (1 January = 0) and repeat every year.
    """

    cover: NDArray[np.int64]  # (parcel,): `Cover` code
    base: NDArray[np.float64]  # (parcel,): green fraction outside the seasons
    seasons: NDArray[np.float64]  # (season, 5, parcel): amplitude, greening, browning, rise, fall
    straw: NDArray[np.float64]  # (4, parcel): lasting, stubble, day it appears, is ploughed in
    bloom: NDArray[np.float64]  # (2, parcel): peak petal fraction, its day
    mowing: NDArray[np.float64]  # (3, parcel): loss at a cut, day, days between
    canopy: NDArray[np.float64]  # (band, parcel): at full green cover
    ground: NDArray[np.float64]  # (band, parcel): dry, without straw
    straw_colour: NDArray[np.float64]  # (band, parcel)

    def green(self, day: float) -> FloatArray:
        """Evaluate the green fraction, shape (parcel,), 0..0.97."""
        total = self.base.copy()
        for amplitude, start, end, rise, fall in self.seasons:
            total += amplitude * _season(day, start, end, rise, fall)
        loss, cut, period = self.mowing
        total *= 1.0 - loss * np.exp(-np.mod(day - cut, period) / 11.0)
        return np.clip(total, 0.0, 0.97).astype(np.float32)

    def petals(self, day: float) -> FloatArray:
        """Evaluate the share of the canopy that is in flower, shape (parcel,), 0..1."""
        away = np.mod(day - self.bloom[1] + _YEAR / 2, _YEAR) - _YEAR / 2
        return np.asarray(self.bloom[0] * np.exp(-0.5 * (away / 13.0) ** 2), dtype=np.float32)

    def background(self, day: float) -> FloatArray:
        """Evaluate the reflectance of dry soil and straw under the canopy: (band, parcel)."""
        lasting, share, appears, ploughed = self.straw
        straw = np.clip(lasting + share * _season(day, appears, ploughed, 4.0, 2.0), 0.0, 0.95)
        clods = 0.22 * share * _season(day, ploughed, ploughed + 60.0, 1.5, 18.0)
        mixed = self.ground * (1.0 - clods) * (1.0 - straw) + self.straw_colour * straw
        return np.asarray(mixed, dtype=np.float32)


def draw_calendar(cover: NDArray[np.int64], rng: np.random.Generator) -> CropCalendar:
    """Draw timing and colour for every parcel from its `Cover` code."""
    n = len(cover)
    seasons = np.zeros((2, 5, n))
    seasons[:, 3:] = 10.0
    straw, bloom, mowing = np.zeros((4, n)), np.zeros((2, n)), np.zeros((3, n))
    mowing[2] = 40.0
    base = rng.uniform(0.02, 0.06, n)

    def normal(mean: float, spread: float) -> NDArray[np.float64]:
        """Draw one value for every parcel."""
        return rng.normal(mean, spread, n)

    def put(target: NDArray[np.float64], where: NDArray[np.bool_], *rows: object) -> None:
        """Set the rows of a table for some of the parcels."""
        for i, row in enumerate(rows):
            values = np.broadcast_to(np.asarray(row, dtype=np.float64), (n,))
            target[i, where] = values[where]

    is_ = {c: cover == c for c in Cover}
    vigour = np.clip(normal(1.0, 0.09), 0.7, 1.15)
    base[is_[Cover.FOREST]], base[is_[Cover.BUILT]], base[is_[Cover.WATER]] = 0.82, 0.08, 0.0

    grass = is_[Cover.GRASS] | is_[Cover.PASTURE]
    base[grass] = rng.uniform(0.12, 0.3, n)[grass]
    put(seasons[0], grass, 0.50 * vigour, normal(160, 22), normal(305, 12), normal(20, 3), 16.0)
    put(straw, grass, normal(0.50, 0.08))

    summer = is_[Cover.SUMMER]
    harvest = normal(122, 15)
    put(seasons[0], summer, 0.85 * vigour, normal(-20, 10), harvest, 12.0, normal(8.5, 1.0))
    double = summer & (rng.random(n) < 0.4)
    put(seasons[1], double, 0.75 * vigour, normal(196, 9), normal(318, 8), normal(13, 1.5), 8.0)
    put(straw, summer, 0.0, normal(0.75, 0.1), harvest + 3.0, np.maximum(normal(158, 20), harvest))

    cereal = is_[Cover.WINTER] | is_[Cover.CANOLA]
    early = np.where(is_[Cover.CANOLA], 14.0, 0.0)
    sown = normal(188, 15) - early
    put(seasons[0], cereal, 0.88 * vigour, sown, normal(312, 10), normal(12, 2), 9.0)
    put(straw, cereal, 0.0, normal(0.7, 0.12), normal(-45, 10), sown - normal(42, 6))
    put(bloom, is_[Cover.CANOLA], normal(0.5, 0.06), normal(238, 6))

    lucerne = is_[Cover.LUCERNE]
    base[lucerne] = rng.uniform(0.8, 0.95, n)[lucerne]
    put(mowing, lucerne, normal(0.7, 0.06), rng.uniform(0, 45, n), rng.uniform(36, 48, n))

    orchard = is_[Cover.ORCHARD]
    base[orchard] = rng.uniform(0.12, 0.25, n)[orchard]
    put(seasons[0], orchard, 0.5, normal(-98, 6), normal(138, 8), 7.0, 8.0)

    fallow = is_[Cover.FALLOW]
    put(seasons[0], fallow, rng.uniform(0.0, 0.45, n), normal(140, 30), normal(205, 25), 10.0, 3.0)
    put(straw, fallow, normal(0.1, 0.03), 0.5, normal(60, 20), normal(150, 40))
    return CropCalendar(
        cover=cover,
        base=base,
        seasons=seasons,
        straw=straw,
        bloom=bloom,
        mowing=mowing,
        canopy=_CANOPY[cover].T * (1.0 + 0.05 * rng.standard_normal((6, n))),
        ground=_ground(cover, rng),
        straw_colour=_STRAW[:, None] * (1.0 + 0.06 * rng.standard_normal((1, n))),
    )


def _ground(cover: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the colour of the ground: from grey clay to red loam, paving, or water."""
    n = len(cover)
    redness = np.clip(rng.normal(0.5, 0.24, n), 0.0, 1.0)
    ground = _DARK_SOIL[:, None] * (1.0 - redness) + _RED_SOIL[:, None] * redness
    ground = ground * (1.0 + 0.07 * rng.standard_normal((1, n)))
    ground[:, cover == Cover.BUILT] = _PAVING[:, None]
    ground[:, cover == Cover.WATER] = _CLEAR_WATER[:, None]
    return ground


def _season(
    day: float,
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    rise: NDArray[np.float64] | float,
    fall: NDArray[np.float64] | float,
) -> NDArray[np.float64]:
    """Evaluate a yearly double logistic between two days."""
    total = np.zeros(np.shape(start))
    for year in (-1.0, 0.0, 1.0):
        t = day + year * _YEAR
        total += _logistic((t - start) / rise) * _logistic((end - t) / fall)
    return total


def _logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate the logistic function without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), dtype=np.float64)
