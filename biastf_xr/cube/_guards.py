"""Refuse what would lead to a wrong result: the checks between two cubes and on each alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._cube import bands_of
from biastf_xr.cube._spec import to_days
from biastf_xr.errors import (
    CubeStructureError,
    GridMismatchError,
    MissingPairError,
    ReflectanceRangeError,
)
from biastf_xr.grid import Alignment, align, describe, geobox_of, in_degrees

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from biastf_xr.cube._spec import CubeSpec

# Surface reflectance seldom exceeds 1.6 even over snow; a median above this is unscaled.
UNSCALED = 2.0
# No land or water is darker than this in every band over a whole window; a product's smallest
# value (Landsat's offset is -0.2) or a second factor of 1e-4 is.
SCALED_TWICE, ENOUGH = 1e-3, 100
# Rows and columns of a window that are looked at.
SAMPLED = 128


@dataclass(frozen=True)
class CubePair:
    """A fine and a coarse cube that were found to fit together."""

    fine: xr.Dataset
    coarse: xr.Dataset  # with the same bands in the same order
    bands: tuple[str, ...]
    geobox: GeoBox
    alignment: Alignment  # how the coarse grid lies under the fine one

    @property
    def coarse_geobox(self) -> GeoBox:
        """Return the grid of the coarse cube."""
        return geobox_of(self.coarse, "coarse cube")

    @property
    def fine_days(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the days of the fine cube."""
        return to_days(self.fine["time"].values)

    @property
    def coarse_days(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the days of the coarse cube."""
        return to_days(self.coarse["time"].values)


def pair_cubes(fine: xr.Dataset, coarse: xr.Dataset) -> CubePair:
    """Check that a fine and a coarse cube fit together, by metadata.

    Cubes that did not come from an ingested store are sampled for unscaled or empty values.
    """
    for ds, what in ((fine, "fine cube"), (coarse, "coarse cube")):
        check_cube(ds, what)
    bands, coarse_bands = bands_of(fine), bands_of(coarse)
    if set(bands) != set(coarse_bands):
        only_fine = sorted(set(bands) - set(coarse_bands))
        only_coarse = sorted(set(coarse_bands) - set(bands))
        raise CubeStructureError(
            f"bands differ: only in the fine cube {only_fine}, only in the coarse cube "
            f"{only_coarse}. Select the common ones first, for instance "
            f"fine[{sorted(set(bands) & set(coarse_bands))}]."
        )
    geobox = geobox_of(fine, "fine cube")
    alignment = align(geobox, geobox_of(coarse, "coarse cube"))
    pair = CubePair(fine, coarse[[*bands]], bands, geobox, alignment)
    if not np.isin(pair.fine_days, pair.coarse_days).any():
        raise MissingPairError(
            "the cubes have no day in common: fine "
            f"{_span(pair.fine_days)}, coarse {_span(pair.coarse_days)}. "
            "Ingest the coarse scenes of the fine acquisition days."
        )
    return pair


def check_cube(ds: xr.Dataset, what: str) -> None:
    """Check one cube on its own."""
    bands = bands_of(ds)
    if not bands or "time" not in ds.coords:
        raise CubeStructureError(
            f"{what} has no float variable with dims (time, y, x); got "
            f"{ {str(n): v.dims for n, v in ds.data_vars.items()} }. "
            f"Expected one variable per band.{in_degrees(ds)}"
        )
    if ds["time"].dtype.kind != "M":
        raise CubeStructureError(
            f"{what} has times of type {ds['time'].dtype}; expected datetime64. "
            "Open it with decoded times, or assign dates."
        )
    check_days(to_days(ds["time"].values), what)
    # Arithmetic keeps attributes but not the encoding that reading a store gives.
    stored = all("chunks" in ds[band].encoding for band in bands)
    if not stored or "biastf_structure" not in ds.attrs:
        _check_sample(ds, bands, what)


def check_days(days: Any, what: str) -> None:
    """Check that days ascend without repetition."""
    if days.size == 0:
        raise CubeStructureError(f"{what} has no dates.")
    steps = np.diff(days).astype(int)
    if (steps == 0).any():
        twice = days[1:][steps == 0]
        raise CubeStructureError(
            f"{what} has {twice[0]} twice. Keep one scene a day: ds.drop_duplicates('time')."
        )
    if (steps < 0).any():
        where = days[1:][steps < 0][0]
        raise CubeStructureError(f"{what} is not in order of time at {where}. ds.sortby('time').")


def check_reflectance(values: Any, what: str) -> None:
    """Check that values look like reflectance; NaN is missing."""
    down, right = (max(1, n // SAMPLED) for n in values.shape[-2:])
    some = values[..., ::down, ::right]
    finite = some[np.isfinite(some)]
    if finite.size and float(np.median(np.abs(finite))) > UNSCALED:
        raise ReflectanceRangeError(
            f"{what}: median value {float(np.median(finite)):g} is not surface reflectance "
            "(0 to 1). Give the product's scale, for instance factor = 1e-4."
        )
    if finite.size >= ENOUGH and float(np.quantile(finite, 0.99)) < SCALED_TWICE:
        raise ReflectanceRangeError(
            f"{what}: 99 % of the values are below {SCALED_TWICE:g} (median "
            f"{float(np.median(finite)):g}); they look scaled already. Expected the archive's "
            "digital numbers; for a folder of reflectance give factor = 1."
        )


def check_same_structure(found: CubeSpec, wanted: CubeSpec, where: str) -> None:
    """Check that a store has the structure that is about to be written."""
    if found.kind != wanted.kind or set(found.bands) != set(wanted.bands):
        raise CubeStructureError(
            f"{where} is a {found.kind} cube with bands {list(found.bands)}; the scenes would make "
            f"a {wanted.kind} cube with {list(wanted.bands)}. Choose another path, or replace the "
            "store with --overwrite."
        )
    if found.geobox != wanted.geobox:
        raise GridMismatchError(
            f"{where} lies on {describe(found.geobox)}; the scenes on {describe(wanted.geobox)}. "
            "Choose another path, or replace the store with --overwrite."
        )


def _span(days: Any) -> str:
    return f"{days[0]} to {days[-1]} ({days.size} days)"


def _check_sample(ds: xr.Dataset, bands: tuple[str, ...], what: str) -> None:
    steps = {d: max(1, ds.sizes[d] // 64) for d in ("y", "x")}
    for band in bands:
        sample = ds[band].isel({d: slice(None, None, s) for d, s in steps.items()}).values
        if not np.isfinite(sample).any():
            raise ReflectanceRangeError(
                f"{what}: band {band} has no valid value. "
                "Check the fill value and the mask of its source."
            )
        check_reflectance(sample, f"{what}, band {band}")
