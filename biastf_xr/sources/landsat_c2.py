"""Landsat Collection 2 Level-2 surface reflectance, per-band GeoTIFFs as downloaded.

File names, scale, fill and QA_PIXEL bits follow the USGS Landsat 8-9 Collection 2 Level 2
Science Product Guide (LSDS-1619) and its Landsat 4-7 counterpart (LSDS-1618).
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xarray as xr

from biastf_xr.sources.base import (
    Scene,
    bit,
    in_order,
    join_layers,
    lacking,
    open_layers,
    require_folder,
    scale,
    unreadable_date,
)

if TYPE_CHECKING:
    from pathlib import Path

NAME = re.compile(
    r"(?P<id>(?P<sensor>L[CETO](?P<craft>0[45789]))_L2S[PR]_(?P<place>\d{6})_(?P<date>\d{8})_"
    r"(?P<processed>\d{8})_02_(?P<tier>T1|T2|RT))_"
    r"(?P<layer>SR_B[1-7]|QA_PIXEL|QA_RADSAT)\.TIF$",
    re.IGNORECASE,
)
COLOURS = ("blue", "green", "red", "nir", "swir1", "swir2")
OLI = dict(zip((2, 3, 4, 5, 6, 7), COLOURS, strict=True))
TM = dict(zip((1, 2, 3, 4, 5, 7), COLOURS, strict=True))

SCALE, OFFSET, FILL = 2.75e-5, -0.2, 0

# Bits of QA_PIXEL.
QA_FILL, QA_DILATED, QA_CIRRUS, QA_CLOUD, QA_SHADOW, QA_SNOW = range(6)


@dataclass(frozen=True, kw_only=True)
class LandsatC2:
    """Landsat 4 to 9, Collection 2 Level 2.

    Attributes
    ----------
    mask_dilated, mask_cirrus, mask_snow : bool
        Whether pixels near clouds, under cirrus, or under snow are masked too.  Clouds, cloud
        shadows, fill and saturated pixels always are.
    """

    name: ClassVar[str] = "landsat-c2-l2"
    expects: ClassVar[str] = "LC08_L2SP_093084_20200101_20200823_02_T1_SR_B4.TIF"
    mask_dilated: bool = True
    mask_cirrus: bool = True
    mask_snow: bool = False

    @property
    def bands(self) -> tuple[str, ...]:
        """Give the bands, by colour."""
        return COLOURS

    @property
    def extras(self) -> dict[str, dict[str, Any]]:
        """Give the further layers: none."""
        return {}

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the scenes under a folder, by date; see `Product.find_scenes`.

        Parameters
        ----------
        folder : pathlib.Path or str
            Searched with its subfolders.

        Returns
        -------
        list of Scene
            Scenes in order of date.
        """
        found: dict[str, dict[str, Path]] = defaultdict(dict)
        names: dict[str, re.Match[str]] = {}
        for path in sorted(require_folder(folder, "Landsat Collection 2 Level-2").rglob("*")):
            match = NAME.match(path.name)
            if not match:
                continue
            colours = OLI if int(match["craft"]) >= 8 else TM
            layer = match["layer"].upper()
            if layer.startswith("SR_B"):
                colour = colours.get(int(layer[-1]))
                if colour is None:
                    continue
                layer = colour
            found[match["id"]][layer] = path
            names[match["id"]] = match
        return in_order(_scene(names[key], files) for key, files in found.items())

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene lazily, digital numbers and quality layers; see `Product.open_scene`.

        Parameters
        ----------
        scene : Scene
            As from `find_scenes`.

        Returns
        -------
        xarray.Dataset
            Dims ``(y, x)``.
        """
        return join_layers(scene.id, open_layers(scene))

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask an opened scene, lazily; see `Product.to_reflectance`.

        Parameters
        ----------
        raw : xarray.Dataset
            As from `open_scene`.

        Returns
        -------
        xarray.Dataset
            Float32 reflectance, NaN where masked.
        """
        bits = [QA_FILL, QA_CLOUD, QA_SHADOW]
        bits += [QA_DILATED] * self.mask_dilated
        bits += [QA_CIRRUS] * self.mask_cirrus
        bits += [QA_SNOW] * self.mask_snow
        clear = ~bit(raw["QA_PIXEL"], *bits) & (raw["QA_RADSAT"] == 0)
        return xr.Dataset(
            {
                band: scale(raw[band], factor=SCALE, offset=OFFSET, valid=clear & (raw[band] != 0))
                for band in COLOURS
            }
        )


def _scene(name: re.Match[str], files: dict[str, Path]) -> Scene:
    problem = lacking(files, [*COLOURS, "QA_PIXEL", "QA_RADSAT"])
    day = name["date"]
    date: np.datetime64 = np.datetime64("NaT", "D")
    try:
        date = np.datetime64(dt.date(int(day[:4]), int(day[4:6]), int(day[6:])))
    except ValueError as error:
        problem = unreadable_date(day, error)
    return Scene(
        name["id"],
        date,
        files,
        key=f"{name['sensor'].upper()}_{name['place']}_{day}",
        # Real-time data, tier RT, give way to the final tiers of the same day of processing.
        version=f"{name['processed']}_{name['tier'] != 'RT':d}",
        problem=problem,
    )
