"""Clouds, their shadows, and rain over the synthetic region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from biastf_xr.testing._landscape import FloatArray, fractal_noise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CLOUD_COLOUR = np.array([0.66, 0.67, 0.68, 0.71, 0.50, 0.36], dtype=np.float32)
_SHADOW_DEPTH = 0.55
_TRACE = 0.02
_NEARLY_CLEAR = 0.05
_DRYING_DAYS = 6.0
_SPIN_UP_DAYS = 30


@dataclass(frozen=True, kw_only=True, eq=False)
class CloudField:
    """Sky at one overpass, on the canvas."""

    opacity: FloatArray  # (y, x): share of the light that clouds replace
    shade: FloatArray  # (y, x): share of the light that shadows take away
    thin: bool  # whether the clouds are cirrus

    @property
    def cloudy(self) -> NDArray[np.bool_]:
        """Return which pixels clouds brighten noticeably."""
        return self.opacity > _TRACE

    @property
    def shaded(self) -> NDArray[np.bool_]:
        """Return which pixels outside clouds shadows darken noticeably."""
        return (self.shade > _TRACE) & ~self.cloudy


@dataclass(frozen=True, kw_only=True, eq=False)
class Sky:
    """Weather of a season."""

    cover: NDArray[np.float64]  # (day,): share of the fine grid under cloud
    rain: NDArray[np.float64]  # (pattern, day): wetness that each rain pattern adds
    textures: tuple[FloatArray, ...]  # (y, x): fields that clouds are cut from, broken to layered
    window: tuple[slice, slice]  # fine grid within the canvas
    seed: int  # of the daily draws

    def clouds(self, day: int, drift: int = 0) -> CloudField:
        """Draw the clouds of a day, moved east by `drift` fine pixels since the fine overpass."""
        cover = float(self.cover[day])
        rng = np.random.default_rng([self.seed, 41, day])
        texture = self.textures[2 if cover > 0.85 else int(rng.integers(0, 2))]
        thin = bool(rng.random() < 0.08)
        texture = np.roll(texture, rng.integers(0, texture.shape), axis=(0, 1))
        if rng.random() < 0.5:
            texture = texture[::-1, ::-1]
        opacity = np.zeros(texture.shape, dtype=np.float32)
        if cover > 0.0:
            level = float(np.quantile(texture[self.window], 1.0 - cover))
            if cover < _NEARLY_CLEAR:  # then around the fine grid too, where the coarse one reaches
                level = max(level, float(np.quantile(texture, 1.0 - cover)))
            level -= 0.4 * max(0.0, cover - 0.9) * 10.0
            opacity = np.clip((texture - level) / 0.4, 0.0, 1.0) * np.float32(0.3 if thin else 1)
        # The morning sun stands in the north-east of this southern region.
        offset = (int(rng.integers(10, 22)), -int(rng.integers(6, 14)))
        shade = _SHADOW_DEPTH * np.roll(opacity, offset, axis=(0, 1)) * (1.0 - opacity)
        move = (0, drift)
        return CloudField(
            opacity=np.roll(opacity, move, axis=(0, 1)).astype(np.float32),
            shade=np.roll(shade, move, axis=(0, 1)).astype(np.float32),
            thin=thin and cover > 0.0,
        )


def build_sky(
    shape: tuple[int, int],
    window: tuple[slice, slice],
    *,
    days: int,
    acquisitions: Sequence[int],
    after_event: int,
    seed: int,
) -> Sky:
    """Draw the weather of a season; first, last and `after_event` acquisition are nearly clear."""
    rng = np.random.default_rng([seed, 40])
    latent = np.zeros(days + _SPIN_UP_DAYS)
    for day in range(1, len(latent)):
        latent[day] = 0.5 * latent[day - 1] + np.sqrt(0.75) * rng.standard_normal()
    cover = np.interp(
        ndtr(latent), [0.0, 0.55, 0.60, 0.84, 0.87, 1.0], [0.0, 0.0, 0.02, 0.45, 0.97, 1.0]
    )
    wet = (cover > 0.6) & (rng.random(len(cover)) < 0.55)
    rain = _rain(wet, rng)[:, _SPIN_UP_DAYS:]
    cover = cover[_SPIN_UP_DAYS:]
    cover[list(acquisitions)] = _acquisition_cover(len(acquisitions), after_event, rng)
    textures = tuple(
        fractal_noise(shape, rng, slope=slope, longest=longest)
        for slope, longest in ((1.9, 60.0), (2.1, 140.0), (2.1, 260.0))
    )
    return Sky(cover=cover, rain=rain, textures=textures, window=window, seed=seed)


def _rain(wet: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    """Turn rain days into the drying wetness of every pattern."""
    since = np.arange(len(wet))[None, :] - np.flatnonzero(wet)[:, None]
    decay = np.where(since >= 0, np.exp(-np.maximum(since, 0) / _DRYING_DAYS), 0.0)
    decay *= rng.uniform(0.35, 1.0, (len(since), 1))
    pattern = rng.integers(0, 4, len(since))
    return np.stack([decay[pattern == p].sum(axis=0) for p in range(4)])


def _acquisition_cover(
    count: int, after_event: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the cover of the fine passes: half nearly clear, the rest partly or mostly cloudy."""
    kinds = np.zeros(count, dtype=np.int64)
    free = [i for i in range(1, count - 1) if i != after_event]
    partly, mostly = round(0.27 * count), round(0.2 * count)
    kinds[rng.permutation(np.array(free, dtype=np.int64))[: partly + mostly]] = 1
    chosen = rng.permutation(np.flatnonzero(kinds))
    kinds[chosen[:mostly]] = 2
    ranges = np.array([[0.0, 0.02], [0.15, 0.4], [0.6, 0.95]])[kinds]
    return np.asarray(rng.uniform(ranges[:, 0], ranges[:, 1]), dtype=np.float64)
