"""MOD09GA and MYD09GA v6.1 daily surface reflectance: HDF4 granules, or GeoTIFFs of AppEEARS.

Bands, scale, fill, `state_1km` and `QC_500m` bits follow the MODIS Surface Reflectance User's
Guide, Collection 6.1 (Vermote et al., tables 13 to 15); scale and range of the sensor zenith angle
the layer table of MOD09GA v6.1 (LP DAAC, doi:10.5067/MODIS/MOD09GA.061).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import xarray as xr

from biastf_xr.errors import ConfigError, SceneError
from biastf_xr.sources.base import (
    Scene,
    bit,
    in_order,
    join_layers,
    julian_day,
    lacking,
    open_layers,
    require_folder,
    scale,
)

Platform = Literal["both", "terra", "aqua"]

TIFF = re.compile(
    r"(?P<product>M[OY]D09GA)\.061_"
    r"(?P<layer>sur_refl_b0[1-7]_1|state_1km_1|QC_500m_1|obscov_500m_1|SensorZenith_1)_"
    r"doy(?P<date>\d{7})(?:\d{6})?(?:_aid\d+)?\.tif$",
    re.IGNORECASE,
)
GRANULE = re.compile(
    r"(?P<product>M[OY]D09GA)\.A(?P<date>\d{7})\.(?P<tile>h\d\dv\d\d)\.(?P<collection>\d{3})\."
    r"(?P<processed>\d{13})\.hdf$",
    re.IGNORECASE,
)
BANDS = {
    "sur_refl_b03_1": "blue",
    "sur_refl_b04_1": "green",
    "sur_refl_b01_1": "red",
    "sur_refl_b02_1": "nir",
    "sur_refl_b06_1": "swir1",
    "sur_refl_b07_1": "swir2",
}
NEEDED = {**BANDS, "state_1km_1": "state_1km"}
KEPT = {"QC_500m_1": "QC_500m", "obscov_500m_1": "obs_coverage", "SensorZenith_1": "view_zenith"}
LAYERS = NEEDED | KEPT
COLLECTION = "061"

# The scale stands here and not in the file: some granules state its inverse.
SCALE, VALID_MIN, VALID_MAX = 1e-4, -100, 16000
UNKNOWN = 255

# Bits of state_1km: 0-1 cloud state (00 clear), 2 cloud shadow, 8-9 cirrus, 10 internal cloud
# algorithm, 13 adjacent to cloud.
CLOUD_STATE, SHADOW, CIRRUS, INTERNAL_CLOUD, ADJACENT = (0, 1), 2, (8, 9), 10, 13
# QC_500m holds four bits for each band, from bit 2 on: 0 is the highest quality, 8 a dead detector
# that was interpolated (band 6 of Aqua); everything else is noisy, faulty or missing.
QUALITY_BIT = {f"sur_refl_b0{n}_1": 4 * n - 2 for n in range(1, 8)}
GOOD_QUALITY = (0, 8)


@dataclass(frozen=True, kw_only=True)
class Mod09ga:
    """MOD09GA (Terra) and MYD09GA (Aqua) v6.1.

    Attributes
    ----------
    mask_cirrus, mask_internal, mask_adjacent : bool
        Whether pixels with any cirrus, with the internal cloud flag, or next to a cloud are masked
        too.  Pixels whose cloud state is not "clear", and cloud shadows, always are.
    mask_quality : bool
        Whether a band is masked where `QC_500m` calls it noisy, faulty or not corrected.  GeoTIFFs
        ordered without that layer are taken as they are.
    max_view_zenith : float
        Largest view zenith angle in degrees; pixels seen further from the side are masked where
        the angle is known.
    platform : {"both", "terra", "aqua"}
        Which to take; of both, Terra comes first on every pixel.
    """

    name: ClassVar[str] = "mod09ga"
    expects: ClassVar[str] = (
        "MOD09GA.A2020001.h29v12.061.2020003040506.hdf, or "
        "MOD09GA.061_sur_refl_b01_1_doy2020001_aid0001.tif"
    )
    mask_cirrus: bool = False
    mask_internal: bool = True
    mask_adjacent: bool = False
    mask_quality: bool = True
    max_view_zenith: float = 90.0
    platform: Platform = "both"

    def __post_init__(self) -> None:
        if self.platform not in get_args(Platform):
            raise ConfigError(
                f"platform is {self.platform!r}; expected one of {get_args(Platform)}."
            )

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands, by colour."""
        return tuple(BANDS.values())

    @property
    def extras(self) -> dict[str, dict[str, Any]]:
        """Return the further layers: how the pixel was seen."""
        return seen_attrs()

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the scenes under a folder, by date; see `Product.find_scenes`."""
        scenes: list[Scene] = []
        tiffs: dict[tuple[str, str], dict[str, Path | str]] = defaultdict(dict)
        for path in sorted(require_folder(folder, "MOD09GA v6.1").rglob("*")):
            if match := GRANULE.match(path.name):
                scenes.append(granule_scene(match, path))
            elif (match := TIFF.match(path.name)) and _layer(match["layer"]):
                tiffs[match["date"], match["product"].upper()][_layer(match["layer"])] = path
        for (day, product), files in tiffs.items():
            date, problem = julian_day(day)
            problem = problem or lacking(files, NEEDED.values())
            scenes.append(Scene(f"{product}.061.A{day}", date, files, problem=problem))
        letters = {"both": "OY", "terra": "O", "aqua": "Y"}[self.platform]
        return in_order(s for s in scenes if s.id[1].upper() in letters)

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene, digital numbers and quality; see `Product.open_scene`.

        The 1-km layers are repeated onto the 500-m pixels they contain; where there is no state,
        all its bits are set.
        """
        if "granule" in scene.files:
            from biastf_xr.sources._hdfeos import open_granule, scale_of

            path = Path(scene.files["granule"])
            check_scale(path, scale_of(path, "sur_refl_b01_1"))
            return open_granule(path, LAYERS)
        layers = open_layers(scene)
        raw = join_layers(scene.id, {b: layers.pop(b) for b in BANDS.values()})
        for name, layer in layers.items():
            raw[name] = _on_pixels(layer, raw)
        return raw

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask a scene; see `Product.to_reflectance`."""
        bits = [*CLOUD_STATE, SHADOW]
        bits += list(CIRRUS) * self.mask_cirrus
        bits += [INTERNAL_CLOUD] * self.mask_internal
        bits += [ADJACENT] * self.mask_adjacent
        clear = ~bit(raw["state_1km"], *bits)
        seen = how_seen(raw)
        clear &= (seen["view_zenith"] <= self.max_view_zenith) | (seen["view_zenith"] == UNKNOWN)
        ready = {}
        for layer, band in BANDS.items():
            valid = clear & (raw[band] >= VALID_MIN) & (raw[band] <= VALID_MAX)
            if self.mask_quality and "QC_500m" in raw:
                quality = (raw["QC_500m"] >> QUALITY_BIT[layer]) & 15
                valid &= quality.isin(GOOD_QUALITY)
            ready[band] = scale(raw[band], factor=SCALE, offset=0.0, valid=valid)
        return xr.Dataset(ready | seen)


def seen_attrs() -> dict[str, dict[str, Any]]:
    """Return the attributes of the layers of `how_seen`."""
    return {
        "view_zenith": {
            "long_name": "sensor zenith angle; 255 where unknown",
            "units": "degree",
            "_fill": UNKNOWN,
        },
        "obs_coverage": {
            "long_name": "share of the pixel that the observation covers; 255 where unknown",
            "units": "percent",
            "_fill": UNKNOWN,
        },
    }


def granule_scene(name: re.Match[str], path: Path, collection: str = COLLECTION) -> Scene:
    """Describe an HDF4 granule by its name.

    `name`: With the groups product, date, tile, collection and processed.
    """
    date, problem = julian_day(name["date"])
    problem = problem or other_collection(name["collection"], collection)
    key = f"{name['product'].upper()}.A{name['date']}.{name['tile'].lower()}"
    return Scene(path.stem, date, {"granule": path}, key, name["processed"], problem)


def other_collection(found: str, expected: str) -> str:
    """Return that a granule is of another collection than expected."""
    if found == expected:
        return ""
    return (
        f"is of collection {found}; expected {expected}. Order it anew, or keep collections apart."
    )


def check_scale(path: Path, stated: float | None) -> None:
    """Refuse a granule that states another scale than the product has.

    `stated`: Its attribute; the product's scale and its inverse both occur.
    """
    if stated is not None and not any(np.isclose(stated, s) for s in (SCALE, 1 / SCALE)):
        raise SceneError(
            f"{path} states the scale factor {stated:g}; expected {SCALE:g} or its inverse. "
            "Is it another product?"
        )


def _layer(text: str) -> str:
    """Return the name of a layer as it is used here; empty for a band that is not."""
    known = {name.lower(): layer for name, layer in LAYERS.items()}
    return known.get(text.lower(), "")


def _on_pixels(layer: xr.DataArray, raw: xr.Dataset) -> xr.DataArray:
    """Repeat a coarser layer onto the pixels around each of its centres."""
    if layer.sizes["y"] == raw.sizes["y"] and layer.sizes["x"] == raw.sizes["x"]:
        return layer.drop_vars("spatial_ref").assign_coords(y=raw["y"], x=raw["x"])
    # Each 500-m centre lies nearest to the centre of the 1-km pixel around it.
    return layer.drop_vars("spatial_ref").reindex(
        y=raw["y"],
        x=raw["x"],
        method="nearest",
        tolerance=0.51 * abs(layer.rio.resolution()[0]),
        fill_value=np.iinfo(layer.dtype).max,
    )


def how_seen(raw: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return from where, and how much of, the pixels were seen.

    `raw`: With ``view_zenith`` in hundredths of a degree and ``obs_coverage`` in percent, where
    there are such layers.
    """
    unknown = xr.full_like(raw["red"], UNKNOWN, dtype=np.uint8)
    seen = {"view_zenith": unknown, "obs_coverage": unknown}
    if "view_zenith" in raw:
        angle = raw["view_zenith"]  # hundredths of a degree
        known = (angle >= 0) & (angle <= 9000)
        seen["view_zenith"] = (angle / 100).round().where(known, UNKNOWN).astype(np.uint8)
    if "obs_coverage" in raw:
        share = raw["obs_coverage"]
        seen["obs_coverage"] = share.where((share >= 0) & (share <= 100), UNKNOWN).astype(np.uint8)
    return seen
