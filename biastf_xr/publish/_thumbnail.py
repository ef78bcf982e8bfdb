"""A small picture of one date, from its COGs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Longest edge in pixels; COGs have overviews, so that few are read.
EDGE = 512

# True colour, false colour, or one band as grey, whichever a cube has bands for.
COLOURS = (("red", "green", "blue"), ("nir", "red", "green"))

# Reflectance shown as full brightness; the same on every date, so that dates compare.
FULL = {"nir": 0.5, "swir1": 0.45, "swir2": 0.35}
FULL_VISIBLE = 0.25


def thumbnail(files: Mapping[str, Path]) -> bytes:
    """Draw a date.

    Returned: A PNG, at most 512 pixels long; transparent where a band is missing.
    """
    import matplotlib.image

    first = next(iter(files))
    bands = next((c for c in COLOURS if set(c) <= set(files)), (first,) * 3)
    image = np.stack([_read(files[b]) / FULL.get(b, FULL_VISIBLE) for b in bands], axis=-1)
    seen = np.isfinite(image).all(axis=-1, keepdims=True)
    shown = np.where(seen, np.clip(image, 0, 1), 0)
    rgba = (np.concatenate([shown, seen], axis=-1) * 255).round().astype(np.uint8)
    out = io.BytesIO()
    matplotlib.image.imsave(out, rgba, format="png")
    return out.getvalue()


def _read(path: Path) -> np.ndarray:
    from biastf_xr.sources._rasters import open_file

    with open_file(path) as file:
        step = max(file.shape) / min(max(file.shape), EDGE)
        shape = tuple(max(1, round(n / step)) for n in file.shape)
        values = file.read(1, out_shape=shape, masked=True).astype(np.float32) * file.scales[0]
        return np.ma.filled(values, np.nan)
