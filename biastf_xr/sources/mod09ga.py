"""MOD09GA v6.1 daily surface reflectance, in the GeoTIFF form that AppEEARS delivers.

Bands, scale, fill and `state_1km` bits follow the MODIS Surface Reflectance User's Guide,
Collection 6.1 (Vermote et al.).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import xarray as xr

from biastf_xr.sources.base import (
    Scene,
    bit,
    join_layers,
    julian_day,
    open_layers,
    require_folder,
    require_layers,
    scale,
)

if TYPE_CHECKING:
    from pathlib import Path

NAME = re.compile(
    r"(?P<product>M[OY]D09GA)\.061_(?P<layer>sur_refl_b0[1-7]_1|state_1km_1)_"
    r"doy(?P<date>\d{7})(?:\d{6})?(?:_aid\d+)?\.tif$",
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
SCALE, VALID_MIN, VALID_MAX = 1e-4, -100, 16000

# Bits of state_1km: 0-1 cloud state (00 clear), 2 cloud shadow, 8-9 cirrus, 10 internal cloud
# algorithm, 13 adjacent to cloud.
CLOUD_STATE, SHADOW, CIRRUS, INTERNAL_CLOUD, ADJACENT = (0, 1), 2, (8, 9), 10, 13


@dataclass(frozen=True, kw_only=True)
class Mod09ga:
    """MOD09GA (Terra) or MYD09GA (Aqua) v6.1, GeoTIFF.

    Attributes
    ----------
    mask_cirrus, mask_internal, mask_adjacent : bool
        Whether pixels with any cirrus, with the internal cloud flag, or next to a cloud are masked
        too.  Pixels whose cloud state is not "clear", and cloud shadows, always are.
    """

    name: ClassVar[str] = "mod09ga"
    mask_cirrus: bool = False
    mask_internal: bool = True
    mask_adjacent: bool = False

    @property
    def bands(self) -> tuple[str, ...]:
        """Give the bands, by colour."""
        return tuple(BANDS.values())

    def find_scenes(self, folder: Path) -> list[Scene]:
        """List the scenes under a folder, by date; see `Product.find_scenes`.

        Parameters
        ----------
        folder : pathlib.Path
            Searched with its subfolders.

        Returns
        -------
        list of Scene
            Scenes in order of date.
        """
        found: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
        for path in sorted(require_folder(folder, "MOD09GA v6.1 GeoTIFF").rglob("*")):
            match = NAME.match(path.name)
            if not match:
                continue
            layer = match["layer"].lower()
            if layer == "state_1km_1" or layer in BANDS:
                layer = BANDS.get(layer, "state_1km")
                found[match["date"], match["product"].upper()][layer] = path
        scenes = []
        for (day, product), files in sorted(found.items()):
            key = f"{product}.061.A{day}"
            require_layers(key, files, [*BANDS.values(), "state_1km"])
            scenes.append(Scene(key, julian_day(key, day), files))
        return scenes

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene lazily, digital numbers and state; see `Product.open_scene`.

        The 1-km state is repeated onto the 500-m pixels it contains; where there is none, all its
        bits are set.

        Parameters
        ----------
        scene : Scene
            As from `find_scenes`.

        Returns
        -------
        xarray.Dataset
            Dims ``(y, x)``.
        """
        layers = open_layers(scene)
        state = layers.pop("state_1km")
        raw = join_layers(scene.id, layers)
        # Each 500-m centre lies nearest to the centre of the 1-km pixel around it.
        raw["state_1km"] = state.drop_vars("spatial_ref").reindex(
            y=raw["y"],
            x=raw["x"],
            method="nearest",
            tolerance=0.51 * abs(state.rio.resolution()[0]),
            fill_value=np.iinfo(state.dtype).max,
        )
        return raw

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
        bits = [*CLOUD_STATE, SHADOW]
        bits += list(CIRRUS) * self.mask_cirrus
        bits += [INTERNAL_CLOUD] * self.mask_internal
        bits += [ADJACENT] * self.mask_adjacent
        clear = ~bit(raw["state_1km"], *bits)
        return xr.Dataset(
            {
                band: scale(
                    raw[band],
                    factor=SCALE,
                    offset=0.0,
                    valid=clear & (raw[band] >= VALID_MIN) & (raw[band] <= VALID_MAX),
                )
                for band in BANDS.values()
            }
        )
