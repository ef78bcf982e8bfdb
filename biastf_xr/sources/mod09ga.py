"""MOD09GA and MYD09GA v6.1 daily surface reflectance: HDF4 granules, or GeoTIFFs of AppEEARS.

Bands, scale, fill, `state_1km` and `QC_500m` bits follow the MODIS Surface Reflectance User's
Guide, Collection 6.1 (Vermote et al., tables 13 to 15); scale and range of the sensor zenith angle
the layer table of MOD09GA v6.1 (LP DAAC, doi:10.5067/MODIS/MOD09GA.061).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from biastf_xr.sources._appeears import geotiffs
from biastf_xr.sources._land_grid import (
    DailyReflectance,
    cogs,
    granules,
    not_reflectance,
    other_order,
)

if TYPE_CHECKING:
    import re

    import xarray as xr

    from biastf_xr.sources.base import Refused

Platform = Literal["both", "terra", "aqua"]

NUMBERS = {"blue": 3, "green": 4, "red": 1, "nir": 2, "swir1": 6, "swir2": 7}
_BANDS = {f"sur_refl_b0{number}_1": band for band, number in NUMBERS.items()}


@dataclass(frozen=True, kw_only=True)
class Mod09ga(DailyReflectance):
    """MOD09GA (Terra) and MYD09GA (Aqua) v6.1.

    Granules in HDF4, with the extra ``hdf4``, and as COGs, and what AppEEARS delivers.  Near real
    time gives way to the final granule.  View zenith
    angle and observation coverage are kept in the cube.  Pixels whose cloud state is not "clear",
    and cloud shadows, are always masked.  `platform` is "terra", "aqua", or "both": Terra then
    comes first on every pixel.

    Attributes
    ----------
    mask_internal : bool
        Whether pixels with the internal cloud flag are masked too.
    mask_quality : bool
        Whether a band is masked where `QC_500m` calls it noisy, faulty or not corrected.  GeoTIFFs
        ordered without that layer are taken as they are.
    """

    name: ClassVar = "mod09ga"
    title: ClassVar = "MOD09GA v6.1"
    expects: ClassVar = (
        "MOD09GA.A2020001.h29v12.061.2020003040506.hdf, MOD09GA.A2024061.h29v12.061.NRT.hdf, "
        "MOD09GA.A2020001.h29v12.061.2020003040506_sur_refl_b01_1.tif, or of AppEEARS "
        "MOD09GA.061_sur_refl_b01_1_doy2020001_aid0001.tif or MOD09GA.061_500m_aid0001.nc"
    )
    formats: ClassVar = ("GTiff", "netCDF")
    patterns: ClassVar[tuple[re.Pattern[str], ...]] = (
        granules("M[OY]D09GA", "hdf"), cogs("M[OY]D09GA"), geotiffs("M[OY]D09GA"),
    )  # fmt: skip
    refused: ClassVar[tuple[Refused, ...]] = (
        other_order("M[OY]D09GA", "061", "MOD09GA.006_sur_refl_b01_1_doy2020001_aid0001.tif"),
        not_reflectance("M[OY]D(?!09)", "MOD13A2.A2016145.h18v04.061.2016166145124.hdf"),
    )
    layer_names: ClassVar = {
        **_BANDS, "state_1km_1": "state_1km", "QC_500m_1": "QC_500m",
        "obscov_500m_1": "obs_coverage", "SensorZenith_1": "view_zenith",
    }  # fmt: skip
    needed: ClassVar = (*_BANDS.values(), "state_1km")
    collection: ClassVar = "061"
    satellites: ClassVar = {"MOD": "terra", "MYD": "aqua"}
    scaled: ClassVar = "sur_refl_b01_1"
    # 0-1 cloud state (00 clear), 2 cloud shadow, 8-9 cirrus, 10 internal cloud algorithm, 13 next
    # to a cloud.
    flags: ClassVar = {
        "state_1km": {
            "always": (0, 1, 2), "mask_cirrus": (8, 9), "mask_internal": (10,),
            "mask_adjacent": (13,),
        },
    }  # fmt: skip
    wavelengths: ClassVar = {
        "blue": 0.469, "green": 0.555, "red": 0.645, "nir": 0.8585, "swir1": 1.64, "swir2": 2.13,
    }  # fmt: skip
    mask_cirrus: bool = False
    mask_internal: bool = True
    mask_adjacent: bool = False
    mask_quality: bool = True
    max_view_zenith: float = 90.0
    platform: Platform = "both"

    def __post_init__(self) -> None:
        self.check_choice("platform", get_args(Platform))

    def usable(self, raw: xr.Dataset) -> dict[str, Any]:
        """Return where the numbers of each band may be used; see `Product.usable`."""
        usable = super().usable(raw)
        if not (self.mask_quality and "QC_500m" in raw):
            return usable
        # Four bits for each band, from bit 2 on: 0 is the highest quality, 8 a dead detector that
        # was interpolated (band 6 of Aqua); everything else is noisy, faulty or missing.
        shifts = {band: 4 * number - 2 for band, number in NUMBERS.items()}
        good = {band: ((raw["QC_500m"] >> shift) & 15).isin((0, 8))
                for band, shift in shifts.items()}  # fmt: skip
        return {band: clear & good[band] for band, clear in usable.items()}
