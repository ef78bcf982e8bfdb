"""One round of a hold-out design: what is withheld, and how it is kept out of reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.cube._cube import bands_of, drop_days
from biastf_xr.cube._spec import to_days

if TYPE_CHECKING:
    import xarray as xr

    from biastf_xr.grid import Tile

    Day = np.datetime64


@dataclass(frozen=True)
class Fold:
    """One round: what is withheld, what is predicted.

    `score`: Dates to predict and to score.
    `withheld`: Fine dates that are unreachable, those to score among them; all others stay.
    `until`: Last day of the coarse series that is reachable; all of it by default.
    `parts`: Parts of the area, rows of columns. A learned method predicts each of them as
    fitted on the others; by default it is fitted on the whole area.
    """

    score: tuple[Day, ...]
    withheld: tuple[Day, ...]
    until: Day | None = None
    parts: tuple[tuple[Tile, ...], ...] = ()

    def reachable(self, fine: xr.Dataset, coarse: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
        """Take out of the cubes what no method may see."""
        rest = drop_days(fine, self.withheld)
        if self.until is not None:
            coarse = coarse.isel(time=to_days(coarse["time"].values) <= self.until)
        return rest, coarse


def without_part(fine: xr.Dataset, part: Tile) -> xr.Dataset:
    """Mask a part of the area in every scene, so that nothing can be learned from it.

    Returned: Lazy: bands are NaN in the part, masks 0. The coordinate ``clear_fraction`` is
    that of the rest of the area (one pass over one band).
    """
    import xarray as xr

    outside = np.ones((fine.sizes["y"], fine.sizes["x"]), bool)
    outside[part.slices] = False
    keep = xr.DataArray(outside, dims=("y", "x"))
    masked = {
        name: v.where(keep, np.nan if v.dtype.kind == "f" else 0).astype(v.dtype)
        for name, v in fine.data_vars.items()
        if {"y", "x"} <= set(v.dims)
    }
    rest = fine.assign({n: v.transpose(*fine[n].dims) for n, v in masked.items()})
    clear = rest[bands_of(fine)[0]].notnull().sum(("y", "x")).values / max(outside.sum(), 1)
    return rest.assign_coords(clear_fraction=("time", clear))
