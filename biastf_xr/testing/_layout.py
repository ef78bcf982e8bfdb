"""Dates and grids of the synthetic region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from biastf_xr._days import to_days
from biastf_xr.errors import TargetDateError

if TYPE_CHECKING:
    import datetime as dt

    from numpy.typing import NDArray

DateLike: TypeAlias = "str | dt.date | np.datetime64[Any]"

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
# Coarse pixels of landscape beyond the coarse grid, for the footprint to fall on.
PAD = 2
# As archives deliver south of the equator: northern zone, pixel edges at odd multiples of 15 m.
_ORIGIN = (455_985.0, -3_828_975.0)


@dataclass(frozen=True, kw_only=True)
class RegionLayout:
    """Where and when; the fields are those of `SyntheticRegion`."""

    shape: tuple[int, int] = (384, 384)
    ratio: int = 16
    start: str = "2021-04-01"
    days: int = 176
    fine_revisit: int = 16
    seed: int = 2021
    resolution: float = 30.0
    crs: str = "EPSG:32655"
    coarse_margin: int = 2
    missed: float = 0.0

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the names of the bands, in the order of the band axis."""
        return BANDS

    @property
    def dates(self) -> NDArray[np.datetime64]:
        """All days of the season, datetime64[ns], shape (day,)."""
        first = to_days(self.start, "start")[0]
        days = first + np.arange(self.days).astype("timedelta64[D]")
        return np.asarray(days, "datetime64[ns]")

    @property
    def fine_dates(self) -> NDArray[np.datetime64]:
        """Return the days on which the fine sensor passes, datetime64[ns]."""
        return self.dates[:: self.fine_revisit]

    @property
    def coarse_dates(self) -> NDArray[np.datetime64]:
        """Return the days on which the coarse sensor passes: all of them."""
        return self.dates

    @property
    def event_date(self) -> np.datetime64:
        """Day on which the flood breaks out and crests, between two fine passes."""
        return np.datetime64(self.dates[self.event_day])

    @property
    def fine_geobox(self) -> GeoBox:
        """Grid of the fine sensor."""
        size = self.resolution
        return GeoBox(self.shape, Affine(size, 0, _ORIGIN[0], 0, -size, _ORIGIN[1]), self.crs)

    @property
    def coarse_geobox(self) -> GeoBox:
        """Grid of the coarse sensor: starts at the fine origin less the margin, covers it all."""
        return self._coarse_grid(1)

    @property
    def state_geobox(self) -> GeoBox:
        """Grid of the coarse sensor's quality layer, of pixels twice as large."""
        return self._coarse_grid(2)

    @property
    def after_event(self) -> int:
        """Position in `fine_dates` of the first pass after the event."""
        passes = len(self.fine_dates)
        return max(1, min(passes - 2, round(0.55 * passes)))

    @property
    def event_day(self) -> int:
        """Day of the event: seven days before a fine pass, if passes are that far apart."""
        lead = min(7, max(1, self.fine_revisit // 2))
        return min(self.after_event * self.fine_revisit - lead, self.days - 1)

    @property
    def coarse_shape(self) -> tuple[int, int]:
        """Return the rows and columns of the coarse grid."""
        rows, cols = (-(-n // self.ratio) + 2 * self.coarse_margin for n in self.shape)
        return rows, cols

    @property
    def canvas_shape(self) -> tuple[int, int]:
        """Return the rows and columns of the landscape, in fine pixels."""
        rows, cols = ((n + 2 * PAD) * self.ratio for n in self.coarse_shape)
        return rows, cols

    @property
    def canvas_window(self) -> tuple[slice, slice]:
        """Fine grid within the canvas."""
        first = (self.coarse_margin + PAD) * self.ratio
        return slice(first, first + self.shape[0]), slice(first, first + self.shape[1])

    def _coarse_grid(self, factor: int) -> GeoBox:
        """Return the grid of coarse pixels enlarged by a factor."""
        lead = self.coarse_margin * self.ratio * self.resolution
        size = self.resolution * self.ratio * factor
        rows, cols = (-(-n // factor) for n in self.coarse_shape)
        corner = (_ORIGIN[0] - lead, _ORIGIN[1] + lead)
        return GeoBox((rows, cols), Affine(size, 0, corner[0], 0, -size, corner[1]), self.crs)

    def day_of(self, date: DateLike) -> int:
        """Turn a date into days since the start."""
        day = int((to_days(date)[0] - to_days(self.start, "start")[0]).astype(int))
        if not 0 <= day < self.days:
            raise TargetDateError(
                f"{date} is outside the season, which runs for {self.days} days from {self.start}. "
                "Pass a day of the season or build the region with more `days`."
            )
        return day
