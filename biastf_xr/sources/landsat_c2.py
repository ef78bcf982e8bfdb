"""Landsat Collection 2 Level-2 surface reflectance, per-band GeoTIFFs as downloaded.

File names, scale, fill and QA_PIXEL bits follow the USGS Landsat 8-9 Collection 2 Level 2
Science Product Guide (LSDS-1619) and its Landsat 4-7 counterpart (LSDS-1618).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from biastf_xr._urls import is_url
from biastf_xr.errors import SceneError
from biastf_xr.sources._files import lacking, read_text
from biastf_xr.sources.base import Encoding, Product, Refused, Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import xarray as xr

_DAYS = r"_(?P<date>\d{8})_(?P<processed>\d{8})_"
_LAYER = r"(?P<layer>SR_B[1-7]|QA_PIXEL|QA_RADSAT|SR_QA_AEROSOL|SR_ATMOS_OPACITY|MTL)\.(?:TIF|txt)$"
_SENSOR = r"(?P<sensor>L[CETO](?P<craft>0[45789]))"
_SCENE = rf"(?P<id>{_SENSOR}_L2S[PR]_(?P<place>\d{{6}}){_DAYS}02_(?P<tier>T1|T2|RT))_{_LAYER}"
# Analysis-ready data, tiles of Albers grids of the contiguous United States, Alaska and Hawaii.
_ARD = rf"(?P<id>{_SENSOR}_(?P<place>(?:CU|AK|HI)_\d{{6}}){_DAYS}02)_{_LAYER}"
_KEY = "{sensor}_{place}_{date}"


def _other(rest: str, *, but: str = "$") -> re.Pattern[str]:
    """Return the pattern of files of a scene of any level and collection, but of some."""
    return re.compile(
        rf"(?!{but})(?P<id>(?P<sensor>L[CETOM]\d\d)_(?P<level>L[12][A-Z]{{2}})_(?P<place>\d{{6}}){_DAYS}"
        rf"(?P<collection>\d\d)_(?:T1|T2|RT|A1|A2)){rest}$",
        re.IGNORECASE,
    )


_LEVEL = (
    "is {level} of collection {collection}; expected L2SP or L2SR of collection 02. Order the "
    "surface reflectance (Level-2) of Collection 2."
)
_PACKED = (
    "is packed in a form that cannot be read in place. Unpack it, or keep the .tar as delivered."
)
_QUALITY = {"QA_PIXEL": "QA_PIXEL", "QA_RADSAT": "QA_RADSAT", "MTL": "MTL"}
# QA_RADSAT of Landsat 4 to 7: 0-4, 6 saturated in band 1-5, 7; 5 and 8 in the thermal band 6 (low
# and high gain), which is not read; 9 dropped pixel.
_TM_FLAGS = {"QA_RADSAT": {"always": (0, 1, 2, 3, 4, 6, 9)}}
_CRAFT = re.compile(r"L[CETO]0([45789])_", re.IGNORECASE)
_AEROSOL = ("SR_QA_AEROSOL", "SR_ATMOS_OPACITY")
_AEROSOL_KEYS = ("qa_aerosol", "atmos_opacity", "SR_QA_AEROSOL.TIF", "SR_ATMOS_OPACITY.TIF")
_TM = {"SR_B1": "blue", "SR_B2": "green", "SR_B3": "red", "SR_B4": "nir", "SR_B5": "swir1",
       "SR_B7": "swir2"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LandsatC2(Product):
    """Landsat 4 to 9, Collection 2 Level 2.

    Files as downloaded, unpacked or in the ``.tar``: ``SR_B*``, ``QA_PIXEL`` and ``QA_RADSAT``, and
    for `mask_aerosol` ``SR_QA_AEROSOL`` (Landsat 8 and 9, level "high") and ``SR_ATMOS_OPACITY``
    (Landsat 4 to 7, above 0.3); of analysis-ready data (ARD) the tiles.  Where a ``_MTL.txt`` lies
    beside them, its level, collection and scale are checked.  Satellites may be mixed.  Of two
    processings of one pass the later is taken; real-time data give way to the final tiers.  Clouds,
    cloud shadows, fill and pixels saturated in one of the six bands are always masked.

    Attributes
    ----------
    mask_dilated : bool
        Whether pixels near clouds are masked too.
    """

    name: ClassVar = "landsat-c2-l2"
    title: ClassVar = "Landsat Collection 2 Level-2"
    expects: ClassVar = (
        "LC08_L2SP_093084_20200101_20200823_02_T1_SR_B4.TIF, the same in "
        "LC08_L2SP_093084_20200101_20200823_02_T1.tar, or "
        "LC08_CU_027018_20200724_20210426_02_SR_B4.TIF"
    )
    kind: ClassVar = "fine"
    patterns: ClassVar = (re.compile(_SCENE, re.IGNORECASE), re.compile(_ARD, re.IGNORECASE))
    refused: ClassVar = (
        Refused(
            pattern=_other(r"_\w+\.(?:TIF|txt)", but=r"L\w{3}_L2S[PR]_\d{6}_\d{8}_\d{8}_02_"),
            key=_KEY, why=_LEVEL,
            example="LC08_L1TP_090084_20160121_20170405_01_T1_B4.TIF",
        ),
        Refused(
            pattern=_other(r"\.(?:tar\.gz|tgz|zip)"), key=_KEY, why=_PACKED,
            example="LC08_L2SP_093084_20200101_20200823_02_T1.tar.gz",
        ),
        Refused(
            pattern=re.compile(
                r"(?P<id>L[CETO]0[45789]_?\w+(?:-SC\d+)?)\.(?:tar\.gz|tgz|zip)$", re.IGNORECASE
            ),
            why=_PACKED, example="LC080930842020010101T1-SC20200901000000.tar.gz",
        ),
        Refused(
            pattern=_other(r"\.tar"), key=_KEY,
            why="cannot be read as a tar archive, or is empty. Download it again.",
            example="LC08_L2SP_093084_20200101_20200823_02_T1.tar",
        ),
        Refused(
            pattern=re.compile(
                r"(?P<id>L[CETO]\d\d_(?:CU|AK|HI)_\d{6}_(?P<date>\d{8})_\d{8}_C01_V\d\d)",
                re.IGNORECASE,
            ),
            why="is analysis-ready data of collection 01; expected 02. Order Collection 2.",
            example="LC08_CU_027009_20130701_20170729_C01_V01_SRB1.tif",
        ),
    )  # fmt: skip
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
    # 65455 is what larger numbers are clipped to.
    encoding: ClassVar = Encoding(factor=2.75e-5, offset=-0.2, fill=(0,), low=1, high=65454)
    wavelengths: ClassVar = {
        "blue": 0.482, "green": 0.561, "red": 0.655, "nir": 0.865, "swir1": 1.609, "swir2": 2.201,
    }  # fmt: skip
    mask_dilated: bool = True
    mask_cirrus: bool = True
    mask_snow: bool = False
    mask_aerosol: bool = False

    def choose(self, scenes: Iterable[Scene], folder: Path | str) -> list[Scene]:
        """Take the scenes with images; see `Product.choose`."""
        return super().choose((s for s in scenes if set(s.files) != {"MTL"}), folder)

    def layer_of(self, name: re.Match[str]) -> str:
        """Return the layer of a file, which the band numbers of its satellite tell."""
        layer = name["layer"].upper()
        if layer in _AEROSOL:
            return "aerosol" if self.mask_aerosol else ""
        if int(name["craft"]) >= 8:
            return super().layer_of(name)
        return (_TM | _QUALITY).get(layer, "")

    def keys_of(self, names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Return the asset keys, with the aerosol if it is asked for."""
        keys = dict(super().keys_of(names))
        return keys | {"aerosol": _AEROSOL_KEYS} if self.mask_aerosol else keys

    def describe(
        self, names: Mapping[str, re.Match[str]], files: Mapping[str, Path | str]
    ) -> Scene:
        """Describe a scene by the names of its files."""
        name = next(iter(names.values()))
        date, problem = self.read_day(name["date"])
        key = _KEY.format(**name.groupdict() | {"sensor": name["sensor"].upper()})
        # Real-time data, tier RT, give way to the final tiers of the same day of processing.
        version = f"{name['processed']}_{name.groupdict().get('tier') != 'RT':d}"
        needed = (*self.needed, "aerosol") if self.mask_aerosol else self.needed
        return Scene(name["id"], date, files, key, version, problem or lacking(files, needed))

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene lazily, digital numbers and quality layers; see `Product.open_scene`."""
        files = dict(scene.files)
        metadata = files.pop("MTL", None)
        if metadata and not is_url(metadata):
            self._check_metadata(metadata)
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

    def usable(self, raw: xr.Dataset) -> Mapping[str, Any]:
        """Return where the numbers of each band may be used; see `Product.usable`."""
        usable = super().usable(raw)
        if "aerosol" not in raw:
            return usable
        aerosol = raw["aerosol"]
        # SR_QA_AEROSOL, Landsat 8 and 9: bits 6-7 the level, 3 high.  SR_ATMOS_OPACITY, Landsat 4
        # to 7: thousandths, hazy above 0.3.
        hazy = (aerosol >> 6) == 3 if aerosol.dtype == np.uint8 else aerosol > 300
        return {band: clear & ~hazy for band, clear in usable.items()}

    def _check_metadata(self, path: Path | str) -> None:
        """Check the metadata file of a scene against what is declared here."""
        text = read_text(path)
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
