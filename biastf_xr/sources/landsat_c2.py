"""Landsat Collection 2 Level-2 surface reflectance, per-band GeoTIFFs as downloaded.

File names, scale, fill and QA_PIXEL bits follow the USGS Landsat 8-9 Collection 2 Level 2
Science Product Guide (LSDS-1619) and its Landsat 4-7 counterpart (LSDS-1618).
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from biastf_xr.errors import SceneError
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

NAME = re.compile(
    r"(?P<id>(?P<sensor>L[CETO](?P<craft>0[45789]))_L2S[PR]_(?P<place>\d{6})_(?P<date>\d{8})_"
    r"(?P<processed>\d{8})_02_(?P<tier>T1|T2|RT))_"
    r"(?P<layer>SR_B[1-7]|QA_PIXEL|QA_RADSAT)\.TIF$",
    re.IGNORECASE,
)
# Other levels and collections, named so that they are not overlooked.
OTHER = re.compile(
    r"(?P<id>(?P<sensor>L[CETOM]\d\d)_(?P<level>L[12][A-Z]{2})_(?P<place>\d{6})_"
    r"(?P<date>\d{8})_(?P<processed>\d{8})_(?P<collection>\d\d)_(?:T1|T2|RT))_\w+\.TIF$",
    re.IGNORECASE,
)
MTL = re.compile(
    r"(?P<id>L[CETO]0\d_L2S[PR]_\d{6}_\d{8}_\d{8}_02_(?:T1|T2|RT))_MTL\.txt$", re.IGNORECASE
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
        """Return the bands, by colour."""
        return COLOURS

    @property
    def extras(self) -> dict[str, dict[str, Any]]:
        """Return the further layers: none."""
        return {}

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the scenes under a folder, by date; see `Product.find_scenes`."""
        found: dict[str, dict[str, Path]] = defaultdict(dict)
        names: dict[str, re.Match[str]] = {}
        others: dict[str, re.Match[str]] = {}
        for path in sorted(require_folder(folder, "Landsat Collection 2 Level-2").rglob("*")):
            if metadata := MTL.match(path.name):
                found[metadata["id"]]["MTL"] = path
            match = NAME.match(path.name)
            if not match:
                other = OTHER.match(path.name)
                if other and (other["level"].upper()[1] == "1" or other["collection"] != "02"):
                    others[other["id"]] = other
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
        scenes = [_scene(names[key], files) for key, files in found.items() if key in names]
        taken = {scene.key for scene in scenes}
        # A Level-1 bundle beside the Level-2 one of the same pass does no harm.
        scenes += [s for s in map(_other, others.values()) if s.key not in taken]
        return in_order(scenes)

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene lazily, digital numbers and quality layers; see `Product.open_scene`."""
        files = dict(scene.files)
        if metadata := files.pop("MTL", None):
            check_metadata(Path(metadata))
        return join_layers(scene.id, open_layers(replace(scene, files=files)))

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask an opened scene, lazily; see `Product.to_reflectance`."""
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


def check_metadata(path: Path) -> None:
    """Check the metadata file of a scene against what is read from it here."""
    text = path.read_text(encoding="utf-8", errors="replace")
    group = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"
    inside = re.search(rf"GROUP = {group}(.*?)END_GROUP = {group}", text, re.DOTALL)
    stated: dict[str, set[str]] = defaultdict(set)
    for entry in re.finditer(r"^\s*(\w+) = \"?([^\"\n]+)\"?\s*$", text, re.MULTILINE):
        if entry[1] in ("PROCESSING_LEVEL", "COLLECTION_NUMBER"):
            stated[entry[1]].add(entry[2].strip())
    for entry in re.finditer(
        r"(REFLECTANCE_(?:MULT|ADD))_BAND_\w+ = (\S+)", inside[1] if inside else ""
    ):
        stated[entry[1]].add(entry[2])
    wrong = {}
    if not any(v.startswith("L2S") for v in stated["PROCESSING_LEVEL"] or {"L2SP"}):
        wrong["PROCESSING_LEVEL"] = "L2SP or L2SR"
    if stated["COLLECTION_NUMBER"] - {"02", "2"}:
        wrong["COLLECTION_NUMBER"] = "02"
    for name, expected in (("REFLECTANCE_MULT", SCALE), ("REFLECTANCE_ADD", OFFSET)):
        if any(not np.isclose(float(v), expected, rtol=1e-4) for v in stated[name]):
            wrong[name] = f"{expected:g}"
    if wrong:
        told = ", ".join(f"{n} {sorted(stated[n])} (expected {e})" for n, e in wrong.items())
        raise SceneError(f"{path} states {told}. Is it another product? Download the scene again.")


def _other(name: re.Match[str]) -> Scene:
    """Describe a scene of another level or collection, which cannot be used."""
    date, problem = _day(name["date"])
    problem = problem or (
        f"is {name['level']} of collection {name['collection']}; expected L2SP or L2SR of "
        "collection 02. Order the surface reflectance (Level-2) of Collection 2."
    )
    key = f"{name['sensor'].upper()}_{name['place']}_{name['date']}"
    return Scene(name["id"], date, {}, key, problem=problem)


def _day(text: str) -> tuple[np.datetime64, str]:
    """Read the date in a name; or say why it is none."""
    try:
        return np.datetime64(dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))), ""
    except ValueError as error:
        return np.datetime64("NaT", "D"), unreadable_date(text, error)


def _scene(name: re.Match[str], files: dict[str, Path]) -> Scene:
    day = name["date"]
    date, problem = _day(day)
    problem = problem or lacking(files, [*COLOURS, "QA_PIXEL", "QA_RADSAT"])
    return Scene(
        name["id"],
        date,
        files,
        key=f"{name['sensor'].upper()}_{name['place']}_{day}",
        # Real-time data, tier RT, give way to the final tiers of the same day of processing.
        version=f"{name['processed']}_{name['tier'] != 'RT':d}",
        problem=problem,
    )
