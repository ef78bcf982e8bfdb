"""MCD43A4 v6.1, nadir reflectance: HDF4 granules, or GeoTIFFs of AppEEARS.

Daily, from sixteen days of Terra and Aqua, seen as if from straight above: no view angle disturbs
the series, but a sudden change appears over several days.  The date is the ninth of the sixteen
days, as in the file name.  Bands, scale, fill and quality follow the layer table of MCD43A4 v6.1
(LP DAAC, doi:10.5067/MODIS/MCD43A4.061).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import xarray as xr

from biastf_xr.errors import ConfigError
from biastf_xr.sources.base import (
    Scene,
    in_order,
    join_layers,
    julian_day,
    lacking,
    open_layers,
    require_folder,
    scale,
)
from biastf_xr.sources.mod09ga import check_scale, granule_scene

if TYPE_CHECKING:
    from collections.abc import Mapping

Quality = Literal["magnitude", "full"]

COLOURS = {3: "blue", 4: "green", 1: "red", 2: "nir", 6: "swir1", 7: "swir2"}
LAYERS = {f"Nadir_Reflectance_Band{n}": colour for n, colour in COLOURS.items()} | {
    f"BRDF_Albedo_Band_Mandatory_Quality_Band{n}": f"{colour}_quality"
    for n, colour in COLOURS.items()
}
TIFF = re.compile(
    r"MCD43A4\.061_(?P<layer>\w+?_Band[1-7])_doy(?P<date>\d{7})(?:\d{6})?(?:_aid\d+)?\.tif$",
    re.IGNORECASE,
)
GRANULE = re.compile(
    r"(?P<product>MCD43A4)\.A(?P<date>\d{7})\.(?P<tile>h\d\dv\d\d)\.(?P<collection>\d{3})\."
    r"(?P<processed>\d{13})\.hdf$",
    re.IGNORECASE,
)
SCALE, FILL, VALID_MAX = 1e-4, 32767, 32766
# Mandatory quality: 0 full inversion of the BRDF model, 1 of its magnitude only, 255 fill.
WORST = {"full": 0, "magnitude": 1}


@dataclass(frozen=True, kw_only=True)
class Mcd43a4:
    """MCD43A4 v6.1, nadir BRDF-adjusted reflectance.

    Attributes
    ----------
    quality : {"magnitude", "full"}
        Worst inversion to take.  Magnitude inversions, from few observations, are noisier but are
        what there is in cloudy weeks.
    """

    name: ClassVar[str] = "mcd43a4"
    expects: ClassVar[str] = (
        "MCD43A4.A2020001.h29v12.061.2020010040506.hdf, or "
        "MCD43A4.061_Nadir_Reflectance_Band1_doy2020001_aid0001.tif"
    )
    quality: Quality = "magnitude"

    def __post_init__(self) -> None:
        if self.quality not in get_args(Quality):
            raise ConfigError(f"quality is {self.quality!r}; expected one of {get_args(Quality)}.")

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands, by colour."""
        return tuple(COLOURS.values())

    @property
    def extras(self) -> Mapping[str, dict[str, Any]]:
        """Return the further layers: none."""
        return {}

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the scenes under a folder, by date; see `Product.find_scenes`."""
        scenes: list[Scene] = []
        tiffs: dict[str, dict[str, Path | str]] = defaultdict(dict)
        known = {name.lower(): layer for name, layer in LAYERS.items()}
        for path in sorted(require_folder(folder, "MCD43A4 v6.1").rglob("*")):
            if match := GRANULE.match(path.name):
                scenes.append(granule_scene(match, path))
            elif (match := TIFF.match(path.name)) and match["layer"].lower() in known:
                tiffs[match["date"]][known[match["layer"].lower()]] = path
        for day, files in tiffs.items():
            date, problem = julian_day(day)
            problem = problem or lacking(files, LAYERS.values())
            scenes.append(Scene(f"MCD43A4.061.A{day}", date, files, problem=problem))
        return in_order(scenes)

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene, digital numbers and quality; see `Product.open_scene`."""
        if "granule" in scene.files:
            from biastf_xr.sources._hdfeos import open_granule, scale_of

            path = Path(scene.files["granule"])
            check_scale(path, scale_of(path, "Nadir_Reflectance_Band1"))
            return open_granule(path, LAYERS)
        return join_layers(scene.id, open_layers(scene))

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask a scene; see `Product.to_reflectance`."""
        return nadir_reflectance(raw, self.bands, self.quality)


def nadir_reflectance(raw: xr.Dataset, bands: tuple[str, ...], quality: Quality) -> xr.Dataset:
    """Scale and mask nadir reflectance by the inversion it comes from.

    `raw`: Digital numbers of the bands, and ``BAND_quality`` of each.
    """
    ready = {}
    for band in bands:
        valid = raw[f"{band}_quality"] <= WORST[quality]
        valid &= (raw[band] >= 0) & (raw[band] <= VALID_MAX)
        ready[band] = scale(raw[band], factor=SCALE, offset=0.0, valid=valid)
    return xr.Dataset(ready)
