"""All measures of one predicted image, from sums that are taken window by window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from biastf_xr.evaluation._moments import Additive, Mean, Moments
from biastf_xr.evaluation._spatial import HALO, edge_map, ssim_map, texture_map
from biastf_xr.grid import Tile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.floating]
    Core = tuple[slice, slice]

# What is best of each: the lowest value, the highest, or zero.
BEST = {
    "RMSE": "low", "MAE": "low", "bias": "zero", "CC": "high", "R2": "high", "SSIM": "high",
    "SSIM11": "high", "ERGAS": "low", "SAM": "low", "EDGE": "zero", "LBP": "zero",
}  # fmt: skip
MEASURES = tuple(BEST)

# Rows and columns that are scored together.
TILE = 512

WHOLE = (slice(None), slice(None))


@dataclass(frozen=True)
class BandSums(Additive):
    """What is kept of one band.

    `ssim`, `edge`, `texture`: Of the maps of `biastf_xr.evaluation._spatial`.
    """

    moments: Moments
    ssim: Mean
    edge: Mean
    texture: Mean

    @classmethod
    def of(cls, prediction: Array, reference: Array, core: Core) -> Self:
        """Look at one band of one window.

        `prediction`, `reference`: Shape ``(y, x)``, with a halo of `spatial.HALO` pixels where the
        image goes on.
        """
        maps = (ssim_map, edge_map, texture_map)
        means = (Mean.of(m(prediction, reference)[core]) for m in maps)
        return cls(Moments.of(prediction[core], reference[core]), *means)

    def measures(self) -> dict[str, float]:
        """Return the measures that a single band has."""
        m = self.moments
        return {
            "RMSE": m.rmse, "MAE": m.mae, "bias": m.bias, "CC": m.cc, "R2": m.r2,
            "SSIM": m.ssim(), "SSIM11": self.ssim.value, "EDGE": self.edge.value,
            "LBP": self.texture.value,
        }  # fmt: skip


@dataclass(frozen=True)
class ImageSums(Additive):
    """What is kept of one image; sums of windows add up to those of the image."""

    bands: tuple[BandSums, ...]
    angle: Mean

    @classmethod
    def of(cls, prediction: Array, reference: Array, core: Core = WHOLE) -> Self:
        """Look at one window.

        `prediction`, `reference`: Shape ``(band, y, x)``, with a halo of `spatial.HALO` pixels
        where the image goes on.
        `core`: The window without halo; by default all of it.
        """
        pairs = zip(prediction, reference, strict=True)
        inner = (slice(None), *core)
        angle = Mean.of(spectral_angles(prediction[inner], reference[inner]))
        return cls(tuple(BandSums.of(p, r, core) for p, r in pairs), angle)

    def measures(self, bands: Sequence[str], ratio: float) -> dict[tuple[str, str], float]:
        """Return every measure; one band has no spectral angle."""
        single = [band.measures() for band in self.bands]
        joint = {"ERGAS": ergas_of([b.moments for b in self.bands], ratio), "SAM": self.angle.value}
        scores: dict[tuple[str, str], float] = {}
        for name in MEASURES:
            if name in joint:
                if name != "SAM" or len(bands) > 1:
                    scores[name, "mean"] = joint[name]
                continue
            values = [of_band[name] for of_band in single]
            scores |= {(name, band): v for band, v in zip(bands, values, strict=True)}
            scores[name, "mean"] = float(np.mean(values))
        return scores


def ergas_of(bands: Sequence[Moments], ratio: float) -> float:
    """Return ERGAS from the moments of the bands; NaN where a reference has a mean of zero."""
    parts = [(m.rmse / m.mean_r) ** 2 if m.mean_r else np.nan for m in bands]
    return float(100 * ratio * np.sqrt(np.mean(parts)))


def spectral_angles(prediction: Array, reference: Array) -> NDArray[np.float64]:
    """Return the angle between two spectra, pixel by pixel.

    Returned: Shape ``(pixel,)``, radians; NaN where a band is missing or a spectrum is zero.
    """
    bands = prediction.shape[0]
    p = prediction.reshape(bands, -1).astype(np.float64)
    r = reference.reshape(bands, -1).astype(np.float64)
    length = np.linalg.norm(p, axis=0) * np.linalg.norm(r, axis=0)
    good = np.isfinite(length) & (length > 0)
    angles = np.full(length.shape, np.nan)
    angles[good] = np.arccos(np.clip((p * r).sum(0)[good] / length[good], -1, 1))
    return angles


def windows(shape: tuple[int, int], size: int = TILE) -> Iterator[tuple[Tile, Core]]:
    """Cut an image into windows with halos.

    `size`: Rows and columns of a window without halo.
    """
    for y in range(0, shape[0], size):
        for x in range(0, shape[1], size):
            tile = Tile(y, y + size, x, x + size).clipped(shape)
            padded = tile.padded(HALO).clipped(shape)
            yield padded, tile.within(padded)
