"""Let a method look at whole scenes before the first tile, lazily and tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from biastf_xr._series import days_near, images_on
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
    """The cubes of a plan as `biastf_xr.methods.base.SceneView`."""

    bands: tuple[str, ...]
    alignment: Alignment
    targets: NDArray[np.datetime64]
    plan: FusionPlan
    pair: CubePair
    days: list[np.datetime64]  # base dates that the wanted targets may use, ascending
    wanted: NDArray[np.bool_]  # which targets will be made
    smoothing: Smoothing | None = None  # of the coarse series, for the method

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
        index = int(np.searchsorted(self.plan.base, day))
        sides = [(low <= index) & (index < high) for low, high in self.plan.reach.sides]
        return np.flatnonzero(np.any(sides, axis=0) & self.wanted)

    def coarse(self, days: Any, *, bases: bool = False) -> Float:
        """Read whole coarse images, gaps filled in time; see `SceneView.coarse`."""
        return self._images(days, bases=bases)[0]

    def support(self, days: Any) -> Float:
        """Return how many observations images are made of; see `SceneView.support`."""
        return self._images(days, bases=False)[1]

    def _images(self, days: Any, *, bases: bool) -> tuple[Float, Float]:
        """Return whole coarse images with their support, as `fill_coarse` makes those of a unit."""
        rule, wanted = self.plan.rule, np.atleast_1d(np.asarray(days, "datetime64[D]"))
        reach, held = rule.coarse_max_gap, self.pair.coarse_days
        near = days_near(held, wanted, reach)
        loaded = load_bands(self.pair.coarse[list(self.bands)].isel(time=near), self.bands)
        own = reach if bases else rule.own_gap
        series = loaded.swapaxes(0, 1)
        images, _, support = images_on(series, held[near], wanted, own, reach, self.smoothing)
        return images, support


def _see(
    look: Callable[[np.datetime64, Float, Tile], T],
    day: np.datetime64,
    image: xr.Dataset,
    bands: tuple[str, ...],
    tile: Tile,
) -> T:
    """Load a window, wherever this runs, and look at it."""
    return look(day, load_bands(image, bands), tile)


def load_bands(ds: xr.Dataset, bands: tuple[str, ...]) -> Float:
    """Load the bands of a cube, first axis."""
    dims = [d for d in ("time", "y", "x") if d in ds.dims]
    return np.stack([np.asarray(ds[b].transpose(*dims).values, np.float32) for b in bands])


@np.errstate(under="ignore")
def prepare(
    method: Method,
    pair: CubePair,
    plan: FusionPlan,
    wanted: NDArray[np.bool_] | None = None,
) -> dict[np.datetime64, Prepared]:
    """Let a method look at the whole scene before the first tile."""
    wanted = np.ones(plan.targets.size, bool) if wanted is None else wanted
    used = np.zeros(plan.base.size, bool)
    for t in np.flatnonzero(wanted):
        for low, high in plan.reach.sides:
            used[low[t] : high[t]] = True
    days = list(plan.base[used])
    return method.prepare(
        WholeScene(
            plan.bands, plan.alignment, plan.targets, plan, pair, days, wanted, method.smoothing
        )
    )
