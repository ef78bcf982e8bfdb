"""Static landscape of the synthetic region: parcels, natural cover, roads and a river."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from biastf_xr.testing._phenology import Cover, CropCalendar, draw_calendar

FloatArray = NDArray[np.float32]

_BLOCK_SPACING = 84.0
_FIXED_COVERS = (Cover.WATER, Cover.FOREST, Cover.GRASS, Cover.BUILT)
_CROP_WEIGHTS = {
    Cover.PASTURE: 0.20,
    Cover.SUMMER: 0.15,
    Cover.WINTER: 0.32,
    Cover.CANOLA: 0.10,
    Cover.LUCERNE: 0.07,
    Cover.ORCHARD: 0.06,
    Cover.FALLOW: 0.10,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Landscape:
    """Everything about the ground that does not change with time, on the padded canvas."""

    label: NDArray[np.int32]  # (y, x): row of `calendar` of each pixel
    calendar: CropCalendar  # a row per parcel; first water, forest, grass, built-up land
    vigour: FloatArray  # (y, x): factor on the green fraction, mean 1
    tone: FloatArray  # (y, x): factor on the reflectance, mean 1: stones, tracks, shade
    flood_height: FloatArray  # (y, x): above the river, as a share of the flood's crest
    rain_patterns: FloatArray  # (pattern, y, x): where a shower falls, 0..1


def fractal_noise(
    shape: tuple[int, int], rng: np.random.Generator, *, slope: float, longest: float | None = None
) -> FloatArray:
    """Draw a periodic Gaussian field, mean 0 and deviation 1, amplitude ~ frequency ** -slope.

    `longest`: Wavelength in pixels above which the spectrum is flat.
    """
    fy = np.fft.fftfreq(shape[0])[:, None]
    fx = np.fft.rfftfreq(shape[1])[None, :]
    floor = 1.0 / max(shape) if longest is None else 1.0 / longest
    amplitude = np.maximum(np.hypot(fy, fx), floor) ** -slope
    amplitude[0, 0] = 0.0
    spectrum = np.fft.rfft2(rng.standard_normal(shape))
    field = np.fft.irfft2(spectrum * amplitude, s=shape)
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def build_landscape(
    shape: tuple[int, int], window: tuple[slice, slice], rng: np.random.Generator
) -> Landscape:
    """Draw a farmed river plain on a canvas, whose window the river crosses."""
    yy, xx = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    relief = fractal_noise(shape, rng, slope=1.8, longest=220.0)
    wild = fractal_noise(shape, rng, slope=1.9, longest=150.0)
    rough = fractal_noise(shape, rng, slope=1.0, longest=60.0)
    river = _river_distance(yy, xx, window, rng)

    parcel, farm, edge = _parcels(yy, xx, rng)
    label = parcel + len(_FIXED_COVERS)
    covers = _parcel_covers(parcel, farm, rng)

    label[edge] = _FIXED_COVERS.index(Cover.GRASS)
    natural = wild > 0.95
    label[natural] = np.where(
        (rough + 0.8 * relief)[natural] > 0.1,
        _FIXED_COVERS.index(Cover.FOREST),
        _FIXED_COVERS.index(Cover.GRASS),
    )
    trees = (rng.random(shape) < 0.006) | (rng.random(shape) < 0.03) & natural
    label[ndi.binary_dilation(trees) & (rough > -0.2)] = _FIXED_COVERS.index(Cover.FOREST)
    _draw_lines(label, yy, xx, farm, rng)
    _draw_town(label, yy, xx, window, rng)
    label[river < 9.0 + 4.0 * rough] = _FIXED_COVERS.index(Cover.FOREST)
    label[(wild < -2.15) | (river < 2.4)] = _FIXED_COVERS.index(Cover.WATER)

    size = min(window[0].stop - window[0].start, window[1].stop - window[1].start)
    reach = min(0.16 * size, 90.0)
    bumps = 0.22 * (relief - relief[window].min()) / 3.0 + 0.10 * rough
    height = np.maximum(river / reach + bumps * np.minimum(river / 6.0, 1.0), 0.02)
    return Landscape(
        label=label.astype(np.int32),
        calendar=draw_calendar(np.concatenate([np.array(_FIXED_COVERS), covers]), rng),
        vigour=_around_one(rough + 0.6 * relief, 0.11),
        tone=_around_one(fractal_noise(shape, rng, slope=0.7, longest=40.0), 0.035),
        flood_height=height.astype(np.float32),
        rain_patterns=np.stack([_rain_pattern(shape, rng) for _ in range(4)]),
    )


def _around_one(field: FloatArray, spread: float) -> FloatArray:
    """Turn a Gaussian field into a positive factor with mean near 1."""
    factor = np.clip(1.0 + spread * field, 1.0 - 3.0 * spread, 1.0 + 3.0 * spread)
    return np.asarray(factor, dtype=np.float32)


def _rain_pattern(shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Draw where a shower falls."""
    field = fractal_noise(shape, rng, slope=2.2, longest=300.0)
    return np.asarray(np.clip(0.6 + 0.28 * field, 0.0, 1.0), dtype=np.float32)


def _river_distance(
    yy: FloatArray, xx: FloatArray, window: tuple[slice, slice], rng: np.random.Generator
) -> FloatArray:
    """Return the distance in pixels to a meandering river that crosses the window."""
    rows = window[0].stop - window[0].start
    along = np.arange(xx.shape[1], dtype=np.float64)
    middle = window[0].start + rows * rng.uniform(0.42, 0.62)
    course = np.full(along.shape, middle)
    for wavelength, swing in ((0.9 * rows, 0.09 * rows), (70.0, 5.0), (31.0, 3.0)):
        course += swing * np.sin(2 * np.pi * (along / wavelength + rng.random()))
    channel = np.zeros(yy.shape, dtype=bool)
    steps = np.arange(0.0, along[-1], 0.1)
    line = np.interp(steps, along, course)
    inside = (line >= 0) & (line < yy.shape[0] - 1)
    channel[line[inside].astype(int), steps[inside].astype(int)] = True
    return np.asarray(ndi.distance_transform_edt(~channel), dtype=np.float32)


def _parcels(
    yy: FloatArray, xx: FloatArray, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Split the plain into farms and the farms into parcels; return parcel, farm and margins."""
    rows, cols = (int(np.ceil(n / _BLOCK_SPACING)) + 2 for n in yy.shape)
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"), -1).reshape(-1, 2)
    sites = (grid - 0.5 + rng.uniform(-0.38, 0.38, grid.shape)) * _BLOCK_SPACING
    _, nearest = cKDTree(sites).query(np.stack([yy, xx], -1))
    farm = np.asarray(nearest, dtype=np.int64)

    count = len(sites)
    angle = np.deg2rad(rng.normal(9.0, 5.0, count) + np.where(rng.random(count) < 0.2, 37.0, 0.0))
    width = np.exp(rng.uniform(np.log(5.0), np.log(32.0), count))
    length = np.clip(width * rng.uniform(1.0, 3.0, count), 9.0, 64.0)
    pivot = rng.random(count) < 0.10
    width = np.where(pivot, rng.uniform(18.0, 30.0, count), width)
    length = np.where(pivot, width, length)
    hedged = rng.random(count) < 0.5

    dy, dx = yy - sites[farm, 0], xx - sites[farm, 1]
    cos, sin = np.cos(angle)[farm], np.sin(angle)[farm]
    u = (cos * dx + sin * dy) / length[farm]
    v = (cos * dy - sin * dx) / width[farm]
    row = np.floor(v)
    stagger = np.where(pivot[farm], 0.0, np.modf(np.sin(row * 12.9898 + farm) * 43758.5453)[0])
    u = u + stagger
    column = np.floor(u)
    key = (farm * 1024 + (row.astype(np.int64) + 512)) * 1024 + (column.astype(np.int64) + 512)
    _, parcel = np.unique(key, return_inverse=True)
    fu, fv = u - column - 0.5, v - row - 0.5
    margin = np.minimum((0.5 - abs(fu)) * length[farm], (0.5 - abs(fv)) * width[farm])
    edge = np.where(pivot[farm], np.hypot(fu, fv) > 0.48, hedged[farm] & (margin < 0.5))
    return parcel.reshape(yy.shape).astype(np.int64), farm, edge


def _parcel_covers(
    parcel: NDArray[np.int64], farm: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose a crop for every parcel; a farm prefers a few crops."""
    count = int(parcel.max()) + 1
    owner = np.zeros(count, dtype=np.int64)
    owner[parcel.ravel()] = farm.ravel()
    crops = np.array([int(c) for c in _CROP_WEIGHTS])
    weights = np.array(list(_CROP_WEIGHTS.values()))
    taste = rng.dirichlet(weights * 7.0, size=int(farm.max()) + 1).cumsum(axis=1)
    pick = (rng.random(count)[:, None] > taste[owner]).sum(axis=1)
    return np.asarray(crops[np.minimum(pick, len(crops) - 1)], dtype=np.int64)


def _draw_lines(
    label: NDArray[np.int64],
    yy: FloatArray,
    xx: FloatArray,
    farm: NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    """Draw roads and tree lines along farm borders and two highways across, in place."""
    low, high = ndi.minimum_filter(farm, size=2), ndi.maximum_filter(farm, size=2)
    border, kind = low != high, (low * 7 + high * 13) % 3
    label[ndi.binary_dilation(border & (kind == 1))] = _FIXED_COVERS.index(Cover.FOREST)
    label[border & (kind == 0)] = _FIXED_COVERS.index(Cover.BUILT)
    for slope in (rng.uniform(0.1, 0.3), rng.uniform(-4.5, -2.5)):
        across = (yy - yy.mean()) - slope * (xx - xx.mean()) + rng.uniform(-0.2, 0.2) * len(yy)
        label[abs(across) / np.hypot(1.0, slope) < 0.9] = _FIXED_COVERS.index(Cover.BUILT)


def _draw_town(
    label: NDArray[np.int64],
    yy: FloatArray,
    xx: FloatArray,
    window: tuple[slice, slice],
    rng: np.random.Generator,
) -> None:
    """Draw one town with streets, gardens and parks inside the window, in place."""
    rows, cols = (w.stop - w.start for w in window)
    cy = window[0].start + rows * rng.uniform(0.15, 0.35)
    cx = window[1].start + cols * rng.uniform(0.2, 0.8)
    radius = min(0.065 * min(rows, cols), 60.0)
    town = np.hypot((yy - cy) / 0.8, xx - cx) < radius
    garden = (rng.random(label.shape) < 0.22) & (yy.astype(int) % 5 > 0) & (xx.astype(int) % 6 > 0)
    label[town] = _FIXED_COVERS.index(Cover.BUILT)
    label[town & garden] = _FIXED_COVERS.index(Cover.FOREST)
