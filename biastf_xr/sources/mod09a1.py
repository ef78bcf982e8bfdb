"""MOD09A1 and MYD09A1 v6.1, the best observation of eight days: as MOD09GA, at 500 m throughout.

Bands, scale, fill and bits are those of MOD09GA; names follow the layer table of MOD09A1 v6.1 (LP
DAAC, doi:10.5067/MODIS/MOD09A1.061).  The date in the name is the first of the eight days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from biastf_xr.sources._appeears import geotiffs
from biastf_xr.sources._land_grid import cogs, granules, other_order
from biastf_xr.sources.mod09ga import NUMBERS, Mod09ga


@dataclass(frozen=True, kw_only=True)
class Mod09a1(Mod09ga):
    """MOD09A1 (Terra) and MYD09A1 (Aqua) v6.1, composites of eight days.

    Each pixel was seen on one of the eight days, in the cube it is dated by their middle: a sudden
    change may appear up to four days early or late.
    """

    name: ClassVar = "mod09a1"
    title: ClassVar = "MOD09A1 v6.1"
    expects: ClassVar = (
        "MOD09A1.A2020001.h29v12.061.2020010040506.hdf, "
        "MOD09A1.A2020001.h29v12.061.2020010040506_sur_refl_b01.tif, or of AppEEARS "
        "MOD09A1.061_sur_refl_b01_doy2020001_aid0001.tif or MOD09A1.061_500m_aid0001.nc"
    )
    patterns: ClassVar = (
        granules("M[OY]D09A1", "hdf"), cogs("M[OY]D09A1"), geotiffs("M[OY]D09A1"),
    )  # fmt: skip
    refused: ClassVar = (
        other_order("M[OY]D09A1", "061", "MOD09A1.006_sur_refl_b01_doy2020001_aid0001.tif"),
    )
    layer_names: ClassVar = {
        **{f"sur_refl_b0{number}": band for band, number in NUMBERS.items()},
        "sur_refl_state_500m": "state_1km", "sur_refl_qc_500m": "QC_500m",
        "sur_refl_vzen": "view_zenith",
    }  # fmt: skip
    scaled: ClassVar = "sur_refl_b01"

    @property
    def span(self) -> tuple[int, int]:
        """Return the first and last day of an image, counted from the day in its name."""
        return 0, 7
