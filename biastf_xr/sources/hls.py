"""Harmonized Landsat Sentinel-2 (HLS) v2.0, L30 and S30 as one series, GeoTIFFs as downloaded.

File names, bands, scale, fill and Fmask bits follow the HLS Product User Guide, version 2.0 (NASA
LP DAAC, HLS_User_Guide_V2.pdf; Fmask in its section 6.4, table 9).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import xarray as xr

from biastf_xr.errors import ConfigError, SceneError
from biastf_xr.sources.base import (
    Scene,
    bit,
    join_layers,
    julian_day,
    lacking,
    open_layers,
    require_folder,
    scale,
)

if TYPE_CHECKING:
    from pathlib import Path

Sensor = Literal["L30", "S30"]

NAME = re.compile(
    r"(?P<id>HLS\.(?P<sensor>[LS]30)\.T(?P<tile>\d{2}[A-Z]{3})\.(?P<date>\d{7})T\d{6}\.v2\.0)\."
    r"(?P<layer>B\d[\dA]|Fmask)\.tif$"
)
TILE = re.compile(r"T?(\d{2}[A-Z]{3})")
COLOURS = ("blue", "green", "red", "nir", "swir1", "swir2")
# The narrow near infrared of Sentinel-2, B8A, is the counterpart of the one of OLI.
LAYERS = {
    "L30": dict(zip(("B02", "B03", "B04", "B05", "B06", "B07"), COLOURS, strict=True)),
    "S30": dict(zip(("B02", "B03", "B04", "B8A", "B11", "B12"), COLOURS, strict=True)),
}
SCALE, FILL = 1e-4, -9999

# Bits of Fmask; 5 is water, 6-7 the aerosol level.  Its fill value, 255, has all of them set.
CIRRUS, CLOUD, ADJACENT, SHADOW, SNOW = range(5)


@dataclass(frozen=True, kw_only=True)
class Hls:
    """HLS v2.0 of one MGRS tile: L30 (Landsat 8 and 9) and S30 (Sentinel-2).

    Attributes
    ----------
    mask_adjacent, mask_cirrus, mask_snow : bool
        Whether pixels next to clouds or shadows, under cirrus, or under snow are masked too.
        Clouds, cloud shadows and fill always are.  The cirrus bit is reserved in v2.0, so
        `mask_cirrus` matters only where a producer sets it.
    tile : str, optional
        The MGRS tile to take, as "55HCV"; needed if the folder holds several.
    prefer : {"L30", "S30"}
        Which one comes first on a day that has both; the other fills what is not clear there.
    """

    name: ClassVar[str] = "hls"
    expects: ClassVar[str] = "HLS.L30.T55HCV.2020001T000000.v2.0.B02.tif"
    mask_adjacent: bool = True
    mask_cirrus: bool = False
    mask_snow: bool = False
    tile: str | None = None
    prefer: Sensor = "L30"

    def __post_init__(self) -> None:
        if self.prefer not in get_args(Sensor):
            raise ConfigError(f'prefer is {self.prefer!r}; expected "L30" or "S30".')
        if self.tile is not None:
            match = TILE.fullmatch(str(self.tile).upper())
            if not match:
                raise ConfigError(f'tile is {self.tile!r}; expected an MGRS tile, as "55HCV".')
            # One spelling: cubes compare products by their options.
            object.__setattr__(self, "tile", match[1])

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands, by colour."""
        return COLOURS

    @property
    def extras(self) -> dict[str, dict[str, Any]]:
        """Return the further layers: none."""
        return {}

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the scenes of the tile under a folder, by date; see `Product.find_scenes`."""
        matches = [
            (path, match)
            for path in sorted(require_folder(folder, "HLS v2.0").rglob("*"))
            if (match := NAME.fullmatch(path.name))
        ]
        tile = self._choose_tile({match["tile"] for _, match in matches}, folder)
        found: dict[tuple[str, str, str], dict[str, Path]] = defaultdict(dict)
        for path, match in matches:
            layer = {**LAYERS[match["sensor"]], "Fmask": "Fmask"}.get(match["layer"])
            if match["tile"] == tile and layer is not None:
                found[match["date"], match["sensor"], match["id"]][layer] = path
        order = sorted(
            found.items(), key=lambda item: (item[0][0], item[0][1] != self.prefer, item[0])
        )
        return [_scene(key, day, files) for (day, _, key), files in order]

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene lazily, digital numbers and Fmask; see `Product.open_scene`."""
        return _name_crs(join_layers(scene.id, open_layers(scene)))

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask an opened scene, lazily; see `Product.to_reflectance`."""
        bits = [CLOUD, SHADOW]
        bits += [ADJACENT] * self.mask_adjacent
        bits += [CIRRUS] * self.mask_cirrus
        bits += [SNOW] * self.mask_snow
        clear = ~bit(raw["Fmask"], *bits)
        return xr.Dataset(
            {
                band: scale(raw[band], factor=SCALE, offset=0.0, valid=clear & (raw[band] != FILL))
                for band in COLOURS
            }
        )

    def _choose_tile(self, tiles: set[str], folder: Path | str) -> str | None:
        """Return the tile to take of those in the folder, or None if there are none."""
        if self.tile is None and len(tiles) > 1:
            raise SceneError(
                f"{folder} holds several MGRS tiles: {sorted(tiles)}. Choose one with the option "
                f'tile, as tile = "{min(tiles)}", or keep every tile in a folder of its own.'
            )
        if self.tile is not None and tiles and self.tile not in tiles:
            raise SceneError(
                f"{folder} holds no scene of the tile {self.tile}; it has {sorted(tiles)}. "
                "Correct the option tile or the folder."
            )
        return self.tile or next(iter(tiles), None)


def _scene(key: str, day: str, files: dict[str, Path]) -> Scene:
    date, problem = julian_day(day)
    return Scene(key, date, files, problem=problem or lacking(files, [*COLOURS, "Fmask"]))


def _name_crs(raw: xr.Dataset) -> xr.Dataset:
    """State the EPSG code of a UTM grid on the WGS 84 ellipsoid whose datum has no name.

    Such files occur beside files of the same tile with the code, and the two CRS do not compare
    equal although HLS defines one grid per tile.  Any other CRS is left as it is.
    """
    import odc.geo.xr  # noqa: F401  (registers the .odc accessor)

    crs = raw.odc.crs
    if crs.epsg is not None or crs.proj.utm_zone is None or crs.proj.ellipsoid.name != "WGS 84":
        return raw
    zone: str = crs.proj.utm_zone
    named: xr.Dataset = raw.rio.write_crs((32600 if zone.endswith("N") else 32700) + int(zone[:-1]))
    return named
