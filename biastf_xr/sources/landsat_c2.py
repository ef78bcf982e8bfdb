"""Landsat Collection 2 Level-2 surface reflectance, per-band GeoTIFFs as downloaded.

File names, scale, fill and QA_PIXEL bits follow the USGS Landsat 8-9 Collection 2 Level 2
Science Product Guide (LSDS-1619) and its Landsat 4-7 counterpart (LSDS-1618).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from biastf_xr._urls import is_url
from biastf_xr.errors import SceneError
from biastf_xr.sources._files import lacking
from biastf_xr.sources.base import Encoding, Product, Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import xarray as xr

_OVERPASS = r"_(?P<path_row>\d{6})_(?P<date>\d{8})_(?P<processed>\d{8})_"
_NAME = (
    rf"(?P<id>(?P<sensor>L[CETO](?P<craft>0[45789]))_L2S[PR]{_OVERPASS}02_(?P<tier>T1|T2|RT))_"
    r"(?P<layer>SR_B[1-7]|QA_PIXEL|QA_RADSAT|MTL)\.(?:TIF|txt)$"
)
# Other levels and collections, named so that they are not overlooked.
_OTHER = (
    rf"(?P<id>(?P<sensor>L[CETOM]\d\d)_(?P<level>L[12][A-Z]{{2}}){_OVERPASS}(?P<collection>\d\d)_"
    r"(?:T1|T2|RT))_\w+\.TIF$"
)
_QUALITY = {"QA_PIXEL": "QA_PIXEL", "QA_RADSAT": "QA_RADSAT", "MTL": "MTL"}
# QA_RADSAT of Landsat 4 to 7: 0-4, 6 saturated in band 1-5, 7; 5 and 8 in the thermal band 6 (low
# and high gain), which is not read; 9 dropped pixel.
_TM_FLAGS = {"QA_RADSAT": {"always": (0, 1, 2, 3, 4, 6, 9)}}
_CRAFT = re.compile(r"L[CETO]0([45789])_", re.IGNORECASE)
_TM = {"SR_B1": "blue", "SR_B2": "green", "SR_B3": "red", "SR_B4": "nir", "SR_B5": "swir1",
       "SR_B7": "swir2"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LandsatC2(Product):
    """Landsat 4 to 9, Collection 2 Level 2.

    Files as downloaded: ``SR_B*``, ``QA_PIXEL`` and ``QA_RADSAT``; where a ``_MTL.txt`` lies beside
    them, its level, collection and scale are checked.  Satellites may be mixed.  Of two processings
    of one pass the later is taken; real-time data give way to the final tiers.  Clouds, cloud
    shadows, fill and pixels saturated in one of the six bands are always masked.

    Attributes
    ----------
    mask_dilated : bool
        Whether pixels near clouds are masked too.
    """

    name: ClassVar = "landsat-c2-l2"
    title: ClassVar = "Landsat Collection 2 Level-2"
    expects: ClassVar = "LC08_L2SP_093084_20200101_20200823_02_T1_SR_B4.TIF"
    kind: ClassVar = "fine"
    patterns: ClassVar = (re.compile(_NAME, re.IGNORECASE), re.compile(_OTHER, re.IGNORECASE))
    layer_names: ClassVar = {"SR_B2": "blue", "SR_B3": "green", "SR_B4": "red", "SR_B5": "nir",
                        "SR_B6": "swir1", "SR_B7": "swir2", **_QUALITY}  # fmt: skip
    needed: ClassVar = (*_TM.values(), "QA_PIXEL", "QA_RADSAT")
    # As USGS and Planetary Computer name them.
    asset_keys: ClassVar = {
        "blue": ("blue",), "green": ("green",), "red": ("red",), "nir": ("nir08",),
        "swir1": ("swir16",), "swir2": ("swir22",), "QA_PIXEL": ("qa_pixel",),
        "QA_RADSAT": ("qa_radsat",),
    }  # fmt: skip
    # QA_PIXEL: 0 fill, 1 dilated cloud, 2 cirrus (unused of Landsat 4 to 7), 3 cloud, 4 cloud
    # shadow, 5 snow.  QA_RADSAT of Landsat 8 and 9: 0-6 saturated in band 1-7, 8 in band 9; 11
    # hidden by terrain.  Bands 1 and 9 are not read.
    flags: ClassVar = {
        "QA_PIXEL": {
            "always": (0, 3, 4), "mask_dilated": (1,), "mask_cirrus": (2,), "mask_snow": (5,),
        },
        "QA_RADSAT": {"always": (1, 2, 3, 4, 5, 6, 11)},
    }  # fmt: skip
    encoding: ClassVar = Encoding(factor=2.75e-5, offset=-0.2, fill=(0,))
    wavelengths: ClassVar = {
        "blue": 0.482, "green": 0.561, "red": 0.655, "nir": 0.865, "swir1": 1.609, "swir2": 2.201,
    }  # fmt: skip
    mask_dilated: bool = True
    mask_cirrus: bool = True
    mask_snow: bool = False

    def choose(self, scenes: Iterable[Scene], folder: Path | str) -> list[Scene]:
        """Take the scenes with images; see `Product.choose`."""
        found = [s for s in super().choose(scenes, folder) if set(s.files) != {"MTL"}]
        # A Level-1 bundle beside the Level-2 one of the same pass does no harm.
        taken = {scene.key for scene in found if scene.files}
        return [scene for scene in found if scene.files or scene.key not in taken]

    def layer_of(self, name: re.Match[str]) -> str:
        """Return the layer of a file; one of another level or collection is just "other"."""
        if level := name.groupdict().get("level"):
            return "other" if level.upper()[1] == "1" or name["collection"] != "02" else ""
        if int(name["craft"]) >= 8:
            return super().layer_of(name)
        return (_TM | _QUALITY).get(name["layer"].upper(), "")

    def describe(
        self, names: Mapping[str, re.Match[str]], files: Mapping[str, Path | str]
    ) -> Scene:
        """Describe a scene by the names of its files."""
        name = next(iter(names.values()))
        date, problem = self.read_day(name["date"])
        key = f"{name['sensor'].upper()}_{name['path_row']}_{name['date']}"
        if "other" in files:
            problem = problem or (
                f"is {name['level']} of collection {name['collection']}; expected L2SP or L2SR of "
                "collection 02. Order the surface reflectance (Level-2) of Collection 2."
            )
            return Scene(name["id"], date, {}, key, problem=problem)
        # Real-time data, tier RT, give way to the final tiers of the same day of processing.
        version = f"{name['processed']}_{name['tier'] != 'RT':d}"
        return Scene(name["id"], date, files, key, version, problem or lacking(files, self.needed))

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene lazily, digital numbers and quality layers; see `Product.open_scene`."""
        files = dict(scene.files)
        metadata = files.pop("MTL", None)
        if metadata and not is_url(metadata):
            self._check_metadata(Path(metadata))
        raw = super().open_scene(replace(scene, files=files))
        craft = _CRAFT.search(" ".join([scene.id, *(Path(f).name for f in files.values())]))
        raw.attrs["craft"] = int(craft[1]) if craft else 0
        return raw

    def flags_of(self, raw: xr.Dataset) -> Mapping[str, Mapping[str, Iterable[int]]]:
        """Return the bits of the satellite; of one that is not known, whatever rules out on any."""
        craft = raw.attrs.get("craft", 0)
        if craft >= 8:
            return self.flags
        if craft:
            return {**self.flags, **_TM_FLAGS}
        either = {*self.flags["QA_RADSAT"]["always"], *_TM_FLAGS["QA_RADSAT"]["always"]}
        return {**self.flags, "QA_RADSAT": {"always": either}}

    def _check_metadata(self, path: Path) -> None:
        """Check the metadata file of a scene against what is declared here."""
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise SceneError(f"{path} cannot be read ({error}). Download it again.") from error
        group = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"
        inside = re.search(rf"GROUP = {group}(.*?)END_GROUP = {group}", text, re.DOTALL)
        stated: dict[str, set[str]] = defaultdict(set)
        for entry in re.finditer(r"^\s*(\w+) = \"?([^\"\n]+)\"?\s*$", text, re.MULTILINE):
            if entry[1] in ("PROCESSING_LEVEL", "COLLECTION_NUMBER"):
                stated[entry[1]].add(entry[2].strip())
        scales = r"(REFLECTANCE_(?:MULT|ADD))_BAND_\w+ = (\S+)"
        for entry in re.finditer(scales, inside[1] if inside else ""):
            stated[entry[1]].add(entry[2])
        wrong = {}
        if not any(v.startswith("L2S") for v in stated["PROCESSING_LEVEL"] or {"L2SP"}):
            wrong["PROCESSING_LEVEL"] = "L2SP or L2SR"
        if stated["COLLECTION_NUMBER"] - {"02", "2"}:
            wrong["COLLECTION_NUMBER"] = "02"
        expected = {
            "REFLECTANCE_MULT": self.encoding.factor, "REFLECTANCE_ADD": self.encoding.offset,
        }  # fmt: skip
        for name, value in expected.items():
            if any(not np.isclose(float(v), value, rtol=1e-4) for v in stated[name]):
                wrong[name] = f"{value:g}"
        if wrong:
            listed = ", ".join(f"{n} {sorted(stated[n])} (expected {e})" for n, e in wrong.items())
            raise SceneError(
                f"{path} states {listed}. Is it another product? Download the scene again."
            )
