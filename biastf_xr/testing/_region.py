"""The synthetic region: geometry, dates, truth, scenes and cubes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage as ndi

from biastf_xr.errors import TargetDateError
from biastf_xr.testing import _sensors as sensors
from biastf_xr.testing._ground import Ground
from biastf_xr.testing._landscape import build_landscape
from biastf_xr.testing._layout import BANDS, PAD, RegionLayout
from biastf_xr.testing._sky import CLOUD_COLOUR, CloudField, Sky, build_sky
from biastf_xr.testing._views import CoarseScene, FineScene, blocks, grow, stack_scenes

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr.testing._landscape import FloatArray
    from biastf_xr.testing._layout import DateLike


_COARSE_DRIFT = 8
_LARGEST_TRACE = 0.02


@dataclass(frozen=True, kw_only=True)
class SyntheticRegion(RegionLayout):
    """A seeded farmed river plain, seen by a fine sensor every 16 days and a coarse one daily.

    Parcels smaller and larger than a coarse pixel follow the calendar of their crop, each with its
    own timing; rain wets the ground in patterns; lucerne is mown; a flood breaks out between two
    fine passes and takes weeks to drain.  The coarse sensor responds to change with gains that
    depend on band and cover, looks through a wide footprint that is slightly misplaced, and is
    disturbed by view angle.  Both have clouds and shadows.  Nothing is computed before it is asked
    for; the static landscape is kept for the last few regions used.

    `shape`: Rows and columns of the fine grid.
    `ratio`: Fine pixels along the side of a coarse pixel.
    `start`: First day, ISO format; the crop calendar is that of the southern temperate zone.
    `days`: Length of the season in days.
    `fine_revisit`: Days between fine passes, the first on the first day.
    `seed`: Equal arguments and equal seed give equal values, in any order of calls.
    `resolution`: Side of a fine pixel in CRS units (metres).
    `coarse_margin`: Coarse pixels by which the coarse grid extends beyond the fine one on every
    side.
    `missed`: Share of the clouds, with their shadows, that the mask of the fine sensor misses.
    """

    def truth(self, date: DateLike) -> FloatArray:
        """Evaluate reflectance on the fine grid without clouds and noise, shape (band, y, x)."""
        rows, cols = self.canvas_window
        return _surface(self, self.day_of(date))[:, rows, cols].copy()

    def coarse_truth(self, date: DateLike) -> FloatArray:
        """Evaluate reflectance on the coarse grid without clouds, view effects and noise."""
        day = self.day_of(date)
        return self._observe(day, 0.0, _coarse_surface(self, day))

    @np.errstate(under="ignore")
    def fine_scene(self, date: DateLike) -> FineScene:
        """Take a fine scene."""
        day = self.day_of(date)
        if day % self.fine_revisit:
            raise TargetDateError(
                f"the fine sensor does not pass on {date}; expected one of `fine_dates`: "
                f"{self.fine_dates.astype('datetime64[D]')}."
            )
        sky = _sky(self).clouds(day)
        rows, cols = self.canvas_window
        opacity, shade = sky.opacity[rows, cols], sky.shade[rows, cols]
        rng = np.random.default_rng([self.seed, 61, day])
        seen = self.truth(date) * (1.0 - shade)
        seen += opacity * (CLOUD_COLOUR[:, None, None] - seen)
        seen += np.asarray(rng.normal(0.0, sensors.FINE_NOISE, seen.shape), dtype=np.float32)
        fill = self._outside_swath(day // self.fine_revisit)
        seen[:, fill] = np.nan
        missed = self._missed(day, sky)
        qa = sensors.landsat_qa(
            cloud=(sky.cloudy & ~missed)[rows, cols],
            shadow=grow(sky.shaded & ~missed, 1)[rows, cols],
            near_cloud=grow(sky.cloudy & ~missed, 3)[rows, cols],
            water=_ground(self).water(day)[rows, cols],
            fill=fill,
            thin=sky.thin,
        )
        clear = ~(sky.cloudy | sky.shaded)[rows, cols] & ~fill
        missed = missed[rows, cols] & ~fill
        return FineScene(
            reflectance=seen.astype(np.float32), qa_pixel=qa, missed=missed, clear=clear
        )

    @np.errstate(under="ignore")
    def coarse_scene(self, date: DateLike) -> CoarseScene:
        """Take a coarse scene."""
        day = self.day_of(date)
        sky = _sky(self).clouds(day, drift=_COARSE_DRIFT)
        view = sensors.view_angle(day)
        layers = _flags(sky, _ground(self).water(day))
        cloud, shadow, water, opacity = self._observe(day, view, layers)
        light = (1.0 - sky.opacity) * (1.0 - sky.shade)
        rng = np.random.default_rng([self.seed, 62, day])
        seen = self._observe(day, view, _coarse_surface(self, day) * light)
        seen *= sensors.view_factor(view, seen.shape[1:], rng)
        seen += opacity * CLOUD_COLOUR[:, None, None]
        seen += rng.normal(0.0, sensors.COARSE_NOISE, seen.shape).astype(np.float32)
        gap = self._orbit_gap(day)
        seen[:, gap] = np.nan
        clouded = blocks(cloud, np.max) > _LARGEST_TRACE
        state = sensors.modis_state(
            cloud=blocks(cloud, np.max),
            shadow=blocks(shadow, np.max),
            water=blocks(water, np.mean),
            adjacent=grow(clouded, 1),
            fill=blocks(gap.astype(np.float32), np.min) > 0,
            thin=sky.thin,
        )
        clear = (cloud <= _LARGEST_TRACE) & (shadow <= _LARGEST_TRACE) & ~gap
        return CoarseScene(reflectance=seen, state_1km=state, view_zenith=abs(view), clear=clear)

    def fine_cube(self) -> xr.Dataset:
        """Take all fine scenes, without clouds and shadows but those `missed`."""
        taken = map(self.fine_scene, self.fine_dates)
        scenes = ((s.reflectance, s.clear | s.missed) for s in taken)
        return stack_scenes(scenes, self.fine_dates, self.fine_geobox)

    def coarse_cube(self) -> xr.Dataset:
        """Take all coarse scenes, clouds and shadows removed with the true mask; in memory."""
        scenes = ((s.reflectance, s.clear) for s in map(self.coarse_scene, self.coarse_dates))
        return stack_scenes(scenes, self.coarse_dates, self.coarse_geobox)

    def truth_cube(self, dates: Iterable[DateLike]) -> xr.Dataset:
        """Evaluate the truth on several days."""
        days = self.dates[[self.day_of(date) for date in dates]]
        everywhere = np.ones(self.shape, dtype=bool)
        return stack_scenes(((self.truth(d), everywhere) for d in days), days, self.fine_geobox)

    def _observe(self, day: int, view: float, stack: FloatArray) -> FloatArray:
        """Look at layers of the canvas through the coarse footprint."""
        shift, blur = sensors.misregistration(self.seed, day), sensors.blur_at(view)
        down, right = (
            sensors.footprint(
                self.coarse_shape[axis],
                self.canvas_shape[axis],
                ratio=self.ratio,
                pad=PAD,
                shift=shift[axis],
                blur=blur[axis],
            )
            for axis in (0, 1)
        )
        return np.asarray(down @ (stack @ right.T), dtype=np.float32)

    def _missed(self, day: int, sky: CloudField) -> NDArray[np.bool_]:
        """Choose the clouds and shadows of a pass that its mask misses, on the canvas."""
        dirty = sky.cloudy | sky.shaded
        if not self.missed:
            return np.zeros_like(dirty)
        number, count = ndi.label(dirty)
        chosen = np.random.default_rng([self.seed, 64, day]).random(count + 1) < self.missed
        return np.asarray(chosen[number] & dirty)

    def _outside_swath(self, position: int) -> NDArray[np.bool_]:
        """Cut a slanted corner off one fine pass in four."""
        y, x = np.mgrid[0 : self.shape[0], 0 : self.shape[1]]
        reach = 0.2 * min(self.shape)
        return np.asarray((position % 4 == 1) & (x + 0.25 * y < reach - 0.55 * y))

    def _orbit_gap(self, day: int) -> NDArray[np.bool_]:
        """Leave a slanted stripe of the coarse grid unobserved on one day in about fourteen."""
        rng = np.random.default_rng([self.seed, 63, day])
        y, x = np.mgrid[0 : self.coarse_shape[0], 0 : self.coarse_shape[1]]
        centre, width = rng.uniform(0.0, self.coarse_shape[1]), rng.uniform(1.0, 4.0)
        stripe = abs(x - centre - 0.2 * (y - y.mean())) < width
        return np.asarray((rng.random() < 0.07) & bool(day % self.fine_revisit) & stripe)


@lru_cache(maxsize=4)
def _ground(region: SyntheticRegion) -> Ground:
    """Draw the static landscape once per region."""
    first = region.dates[0].astype("datetime64[D]")
    return Ground(
        landscape=build_landscape(
            region.canvas_shape, region.canvas_window, np.random.default_rng([region.seed, 30])
        ),
        rain=_sky(region).rain,
        first_day_of_year=float((first - first.astype("datetime64[Y]")).astype(int)),
        event_day=region.event_day,
    )


@lru_cache(maxsize=4)
def _sky(region: SyntheticRegion) -> Sky:
    """Draw the weather once per region."""
    return build_sky(
        region.canvas_shape,
        region.canvas_window,
        days=region.days,
        acquisitions=range(0, region.days, region.fine_revisit),
        after_event=region.after_event,
        seed=region.seed,
    )


@lru_cache(maxsize=2)
def _surface(region: SyntheticRegion, day: int) -> FloatArray:
    """Evaluate fine reflectance on the canvas; kept, as truth and coarse scene both need it."""
    stack = _ground(region).reflectance(day)
    stack.flags.writeable = False
    return stack


def _coarse_surface(region: SyntheticRegion, day: int) -> FloatArray:
    """Evaluate on the canvas what the coarse sensor's bands respond to."""
    gain, offset = sensors.coarse_response()
    landscape = _ground(region).landscape
    cover = landscape.calendar.cover
    fine = _surface(region, day)
    out = np.empty_like(fine)
    for band in range(len(BANDS)):
        out[band] = fine[band] * gain[band][cover][landscape.label]
        out[band] += offset[band][cover][landscape.label]
    return out


def _flags(sky: CloudField, water: NDArray[np.bool_]) -> FloatArray:
    """Stack cloud, shadow and water as shares of a canvas pixel, and the clouds' opacity."""
    return np.stack([sky.cloudy, sky.shaded, water, sky.opacity]).astype(np.float32)
