"""Refuse what would lead to a wrong result: the checks between two cubes and on each alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import middle_of, to_days
from biastf_xr.cube._cube import CHECKED, bands_of
from biastf_xr.cube._plausible import Spike, check_image, check_scale
from biastf_xr.cube._screened import leave_out_suspects
from biastf_xr.cube._spec import SPAN
from biastf_xr.errors import (
    CubeStructureError,
    GridMismatchError,
    MissingPairError,
    ReflectanceRangeError,
    TargetDateError,
)
from biastf_xr.grid import Alignment, align, describe, geobox_of, in_degrees

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from biastf_xr.cube._spec import CubeSpec


@dataclass(frozen=True)
class CubePair:
    """A fine and a coarse cube that were found to fit together."""

    fine: xr.Dataset  # without what screening suspects
    coarse: xr.Dataset  # with the same bands in the same order
    bands: tuple[str, ...]
    geobox: GeoBox
    alignment: Alignment  # how the coarse grid lies under the fine one
    observed: xr.Dataset  # the fine cube with what screening suspects

    @property
    def coarse_geobox(self) -> GeoBox:
        """Return the grid of the coarse cube."""
        return geobox_of(self.coarse, "coarse cube")

    @cached_property
    def fine_days(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the days of the fine cube."""
        return to_days(self.fine["time"])

    @cached_property
    def coarse_days(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the days of the coarse cube."""
        return to_days(self.coarse["time"])

    @property
    def span(self) -> tuple[int, int]:
        """Return the first and last day that a coarse image stands for, counted from its own."""
        return span_of(self.coarse)

    @property
    def season(self) -> tuple[Any, Any]:
        """Return the first and the last day that a coarse image stands for."""
        return season_of(self.coarse)

    def coarse_of(self, days: Any) -> NDArray[np.intp]:
        """Find the coarse image that stands for each day; see `images_of`."""
        return images_of(self.coarse, days)

    def paired(self, days: Any) -> NDArray[np.bool_]:
        """Return for which days there is a coarse image."""
        return self.coarse_of(days) >= 0


def pair_cubes(fine: xr.Dataset, coarse: xr.Dataset) -> CubePair:
    """Check that a fine and a coarse cube fit together, by metadata.

    Cubes that `ingest` did not write are looked at too; see `_checked`.
    """
    fine, coarse = check_cube(fine, "fine cube"), check_cube(coarse, "coarse cube")
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
    screened = leave_out_suspects(fine, bands)
    pair = CubePair(screened, coarse[[*bands]], bands, geobox, alignment, fine)
    if not pair.paired(pair.fine_days).any():
        first, last = pair.span
        days = f", each for the days {first} to {last} around it" if first or last else ""
        raise MissingPairError(
            "no coarse image stands for the day of a fine one: fine "
            f"{_extent(pair.fine_days)}, coarse {_extent(pair.coarse_days)}{days}. "
            "Ingest the coarse scenes of the fine acquisition days; of composites those around "
            f'them, with their days stated: span = [0, 15], or coarse.attrs["{SPAN}"] = [0, 15].'
        )
    return pair


def on_days(ds: xr.Dataset, what: str) -> xr.Dataset:
    """Label the images of a cube with their UTC days, composites with the middle of theirs."""
    if "time" not in ds.coords or ds["time"].dims != ("time",):
        return ds
    try:
        days = to_days(ds["time"], "a time").astype("datetime64[s]")
    except TargetDateError as error:
        raise CubeStructureError(
            f"{what} has times of type {ds['time'].dtype}: {error} Open it with decoded times, "
            "or assign dates."
        ) from error
    if middle := int(middle_of(span_of(ds)).astype(int)):
        days = days + np.timedelta64(middle, "D")
        ds = ds.assign_attrs({SPAN: [n - middle for n in span_of(ds)]})
    naive = isinstance(ds["time"].dtype, np.dtype) and ds["time"].dtype.kind == "M"
    if naive and np.array_equal(ds["time"].values, days):
        return ds
    return ds.assign_coords(time=("time", days, ds["time"].attrs))


def check_cube(ds: xr.Dataset, what: str) -> xr.Dataset:
    """Return one cube, checked on its own, labelled with days, with NaN for no reflectance."""
    ds = on_days(ds, what)
    bands = bands_of(ds)
    if not bands or "time" not in ds.coords:
        raise CubeStructureError(
            f"{what} has no float variable with dims (time, y, x); got "
            f"{ {str(n): v.dims for n, v in ds.data_vars.items()} }. "
            f"Expected one variable per band.{in_degrees(ds)}"
        )
    check_days(to_days(ds["time"]), what)
    return _checked(ds, bands, what)


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


def span_of(ds: xr.Dataset) -> tuple[int, int]:
    """Return the first and last day that an image of a cube stands for, counted from its own."""
    span = ds.attrs.get(SPAN, (0, 0))
    try:
        first, last = (int(n) for n in span)
    except (TypeError, ValueError) as error:
        raise CubeStructureError(
            f"the attribute {SPAN} is {span!r}; expected the first and the last day that an image "
            "stands for, counted from its own, as [0, 15]."
        ) from error
    return first, last


def season_of(ds: xr.Dataset) -> tuple[Any, Any]:
    """Return the first and the last day that an image of a cube stands for."""
    days, (first, last) = to_days(ds["time"]), span_of(ds)
    return days[0] + np.timedelta64(first, "D"), days[-1] + np.timedelta64(last, "D")


def images_of(ds: xr.Dataset, days: Any) -> NDArray[np.intp]:
    """Find the image that stands for each day: the nearest whose span holds it; -1 for none."""
    held, (first, last) = to_days(ds["time"]).astype(int), span_of(ds)
    wanted = to_days(days).astype(int)
    after = np.searchsorted(held, wanted)
    far = np.iinfo(np.int64).max
    earlier, later = np.maximum(after - 1, 0), np.minimum(after, held.size - 1)
    since = np.where(after > 0, wanted - held[earlier], far)
    until = np.where(after < held.size, held[later] - wanted, far)
    since, until = np.where(since > last, far, since), np.where(until > -first, far, until)
    none = np.minimum(since, until) == far
    found: NDArray[np.intp] = np.where(none, -1, np.where(since <= until, earlier, later))
    return found


def _extent(days: Any) -> str:
    return f"{days[0]} to {days[-1]} ({days.size} days)"


def _checked(ds: xr.Dataset, bands: tuple[str, ...], what: str) -> xr.Dataset:
    """Return a cube with NaN where it holds no reflectance; refuse one that has much of it.

    What is in memory is looked at now, what is read on access when it is read.  A cube as `ingest`
    wrote it was looked at then, unless somebody has computed with it since.
    """
    known = all(ds[band].encoding.get(CHECKED) for band in bands)
    if all(isinstance(ds[band].variable._data, np.ndarray) for band in bands):  # noqa: SLF001
        return _checked_now(ds, bands, what)
    if known and not ds.chunks:
        return ds
    if not known:
        _check_sample(ds, bands, what)
    lazy = ds[list(bands)].chunk({})
    look = partial(_check_block, what=what)
    return ds.assign(
        {
            band: lazy[band].copy(data=lazy[band].data.map_blocks(look, band, dtype="float32"))
            for band in bands
        }
    )


def _checked_now(ds: xr.Dataset, bands: tuple[str, ...], what: str) -> xr.Dataset:
    _check_filled(ds, bands, what)
    check_scale(np.stack([ds[band].isel(_some(ds)).values for band in bands]), what)
    changed: dict[str, Any] = {}
    for n, day in enumerate(to_days(ds["time"].values)):
        image = np.stack([np.asarray(ds[band].values[n], np.float32) for band in bands])
        clear = _check(image, f"{what} on {day}", bands)
        for band, values in zip(bands, image, strict=True):
            if (np.isfinite(values) & ~clear).any():
                at = changed.setdefault(band, ds[band].values.copy())[n]
                at[np.isfinite(values) & ~clear] = np.nan
    return ds.assign({band: ds[band].copy(data=data) for band, data in changed.items()})


def _check_block(block: Any, band: str, *, what: str) -> Any:
    """Check a block of one band, date by date."""
    values = np.array(block, np.float32)
    for image in values:
        image[~_check(image[None], what, (band,), blanks=())] = np.nan
    return values


def _check(
    image: Any, what: str, bands: tuple[str, ...], blanks: tuple[float, ...] = (0.0,)
) -> Any:
    return check_image(image, what, bands, _masked, blanks if len(bands) > 1 else ())


def _masked(spike: Spike) -> str:
    return f"If it stands for missing pixels, mask it: ds.where(ds != {spike.value:g})."


def _check_sample(ds: xr.Dataset, bands: tuple[str, ...], what: str) -> None:
    """Look at some pixels of every date."""
    _checked_now(ds[list(bands)].isel(_some(ds)).load(), bands, what)


def _some(ds: xr.Dataset) -> dict[str, slice]:
    """Return steps to about 64 pixels along each axis."""
    return {d: slice(None, None, max(1, ds.sizes[d] // 64)) for d in ("y", "x")}


def _check_filled(ds: xr.Dataset, bands: tuple[str, ...], what: str) -> None:
    for band in bands:
        if not np.isfinite(ds[band].values).any():
            raise ReflectanceRangeError(
                f"{what}: band {band} has no valid value. "
                "Check the fill value and the mask of its source."
            )
