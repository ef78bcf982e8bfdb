"""Let a method look at whole scenes before the first tile, lazily and tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from biastf_xr._series import fill_in_time, smooth_in_time, support_of
from biastf_xr.grid import Tile, split_tiles

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr._series import Smoothing
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.fusion._plan import FusionPlan
    from biastf_xr.grid import Alignment
    from biastf_xr.methods.base import Float, Method, Prepared

T = TypeVar("T")

# Scenes are looked at in squares of this side, whatever their chunks and the plan's tiles: sums
# then come out the same to the last bit.
LOOK = 1024


@dataclass(frozen=True)
class WholeScene:
    """The cubes of a plan as `biastf_xr.methods.base.SceneView`.

    `days`: Base dates that the wanted targets may use, ascending.
    `wanted`: Which targets will be made.
    `smoothing`: How the coarse series is smoothed for the method.
    """

    plan: FusionPlan
    pair: CubePair
    days: list[np.datetime64]
    wanted: NDArray[np.bool_]
    smoothing: Smoothing | None = None

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands."""
        return self.plan.bands

    @property
    def alignment(self) -> Alignment:
        """Return how the grids lie."""
        return self.plan.alignment

    @property
    def targets(self) -> NDArray[np.datetime64]:
        """Return the target dates of the plan."""
        return self.plan.targets

    def fold(
        self, look: Callable[[np.datetime64, Float, Tile], T], merge: Callable[[T, T], T]
    ) -> dict[np.datetime64, T]:
        """Look at the fine image of every base date, tile by tile; see `SceneView.fold`."""
        from dask.base import compute
        from dask.delayed import delayed

        see, join = delayed(_see, pure=False), delayed(merge, pure=False)
        found: dict[np.datetime64, Any] = {}
        for day in self.days:
            index = int(np.searchsorted(self.pair.fine_days, day))
            image = self.pair.fine[list(self.bands)].isel(time=index)
            for tile in split_tiles(self.alignment.shape, (LOOK, LOOK)):
                rows, cols = tile.slices
                part = see(look, day, image.isel(y=rows, x=cols), self.bands, tile)
                found[day] = join(found[day], part) if day in found else part
        summaries: dict[np.datetime64, T] = compute(found)[0]
        return summaries

    def targets_of(self, day: np.datetime64) -> NDArray[np.intp]:
        """Return which targets may use a base date; see `SceneView.targets_of`."""
        index, reach = int(np.searchsorted(self.plan.base, day)), self.plan.reach
        before = (reach.first <= index) & (index < reach.split)
        after = (reach.resume <= index) & (index < reach.last)
        return np.flatnonzero((before | after) & self.wanted)

    def coarse(self, days: Any, *, bases: bool = False) -> Float:
        """Read whole coarse images, gaps filled in time; see `SceneView.coarse`."""
        return self._images(days, bases=bases)[0]

    def support(self, days: Any) -> Float:
        """Return how many observations images are made of; see `SceneView.support`."""
        return self._images(days, bases=False)[1]

    def _images(self, days: Any, *, bases: bool) -> tuple[Float, Float]:
        """Return whole coarse images with their support, as `fill_coarse` makes those of a unit."""
        rule, wanted = self.plan.rule, np.atleast_1d(np.asarray(days, "datetime64[D]"))
        reach = rule.coarse_max_gap
        held = self.pair.coarse_days
        near = np.flatnonzero((np.abs((held[:, None] - wanted).astype(int)) <= reach).any(axis=1))
        loaded = _load(self.pair.coarse[list(self.bands)].isel(time=near), self.bands)
        series, own = loaded.swapaxes(0, 1), reach if bases or rule.coarse_gaps == "fill" else 0
        images, gap = fill_in_time(series, held[near], wanted, own)
        if self.smoothing:
            return smooth_in_time(series, held[near], wanted, images, reach, self.smoothing)
        return images, support_of(gap)


def _see(
    look: Callable[[np.datetime64, Float, Tile], T],
    day: np.datetime64,
    image: xr.Dataset,
    bands: tuple[str, ...],
    tile: Tile,
) -> T:
    """Load a window, wherever this runs, and look at it."""
    return look(day, _load(image, bands), tile)


def _load(ds: xr.Dataset, bands: tuple[str, ...]) -> Float:
    """Load the bands of a cube, first axis."""
    dims = [d for d in ("time", "y", "x") if d in ds.dims]
    return np.stack([np.asarray(ds[b].transpose(*dims).values, np.float32) for b in bands])


def prepare(
    method: Method,
    pair: CubePair,
    plan: FusionPlan,
    wanted: NDArray[np.bool_] | None = None,
) -> dict[np.datetime64, Prepared]:
    """Let a method look at the whole scene before the first tile."""
    wanted = np.ones(plan.targets.size, bool) if wanted is None else wanted
    reach, used = plan.reach, np.zeros(plan.base.size, bool)
    for t in np.flatnonzero(wanted):
        used[reach.first[t] : reach.split[t]] = True
        used[reach.resume[t] : reach.last[t]] = True
    days = list(plan.base[used])
    return method.prepare(WholeScene(plan, pair, days, wanted, method.smoothing))
