"""Withheld dates, predicted from what a fold leaves reachable, beside the truth."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from biastf_xr.errors import MissingPairError
from biastf_xr.evaluation._designs import without_part
from biastf_xr.evaluation._judged import Judged
from biastf_xr.fusion._lazy import fuse
from biastf_xr.methods import LEARNED, fit, get_method
from biastf_xr.methods.base import Method

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import xarray as xr

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.evaluation._designs import Fold
    from biastf_xr.evaluation._scores import ScoreBook
    from biastf_xr.fusion._plan import FusionRule
    from biastf_xr.grid import Tile

    Day = np.datetime64

# Fits a method on what is left of the fine and the coarse cube.
Recipe = Callable[["xr.Dataset", "xr.Dataset"], Method]

# What can be scored: a name, a built method, or how one is fitted.
Candidate: TypeAlias = "str | Method | Recipe"

# Called before every prediction with the date and the method.
EvaluationProgress = Callable[[str, str], None]

# Ends the name of a variable that holds the standard deviation of a band's error.
SIGMA = "_sigma"


def predict_fold(
    pair: CubePair,
    methods: Mapping[str, Candidate],
    fold: Fold,
    book: ScoreBook,
    *,
    rule: FusionRule | None = None,
    fit_options: dict[str, Any] | None = None,
    progress: EvaluationProgress | None = None,
) -> Iterator[Judged]:
    """Predict the dates of one fold from what it leaves reachable.

    `pair`: The whole cubes; what the fold withholds is read for the truth alone.
    `methods`: By the name in the tables; learned ones given by name, and callables, are fitted
    here.
    `book`: Collects the descriptions of the methods, and notes on what could not be done.
    """
    rest, seen = fold.reachable(pair.observed, pair.coarse)
    built: dict[str, list[list[Method]]] = {}
    for name, method in methods.items():
        try:
            built[name] = _build(method, rest, seen, fold, fit_options)
        except MissingPairError as error:
            for day in fold.score:
                book.note(str(day), name, f"could not be fitted: {error}")
            continue
        book.methods[name] = _description(method, built[name][0][0])
    for day in fold.score:
        cubes: dict[str, list[list[xr.Dataset]]] = {}
        try:
            for name, grid in built.items():
                if progress:
                    progress(str(day), name)
                cubes[name] = [
                    [fuse(rest, seen, one, dates=[day], rule=rule) for one in row] for row in grid
                ]
        except MissingPairError as error:
            book.note(str(day), "", str(error))
            continue
        yield _assembled(day, pair, cubes, built, fold, book)


def _build(
    method: Candidate,
    fine: xr.Dataset,
    coarse: xr.Dataset,
    fold: Fold,
    options: dict[str, Any] | None,
) -> list[list[Method]]:
    """Return the method of every part of the area; one for all where there is nothing to fit."""
    if isinstance(method, Method):
        return [[method]]
    recipe = _recipe(method, options)
    if recipe is None:
        return [[get_method(str(method))]]
    if not fold.parts:
        return [[recipe(fine, coarse)]]
    return [[recipe(without_part(fine, part), coarse) for part in row] for row in fold.parts]


def _recipe(method: Candidate, options: dict[str, Any] | None = None) -> Recipe | None:
    """Return how a method is fitted in a fold; None where there is nothing to fit."""
    if isinstance(method, str):
        return partial(fit, method=method, **(options or {})) if method in LEARNED else None
    return None if isinstance(method, Method) else method


def _description(method: Candidate, built: Method) -> dict[str, Any]:
    """Return the description of a method; if fitted in every fold, only what all folds share."""
    described = built.describe()
    if _recipe(method) is not None:
        own = ("trained_on", "checkpoint_sha256")
        return {k: v for k, v in described.items() if k not in own} | {"fitted": "in every fold"}
    return described


def _assembled(
    day: Day,
    pair: CubePair,
    cubes: dict[str, list[list[xr.Dataset]]],
    built: dict[str, list[list[Method]]],
    fold: Fold,
    book: ScoreBook,
) -> Judged:
    """Bring the fused cubes of one date to lazy images, beside the truth and the coarse image."""
    bands = pair.bands
    base = cubes["nearest"][0][0]
    before, after = (_day(base[side].values[0]) for side in ("before", "after"))
    images, sigma = {}, {}
    for name, grid in cubes.items():
        if built[name][0][0].needs_two_sides and (before is None or after is None):
            side = "before" if before is None else "after"
            book.note(
                str(day), name, f"needs base dates on both sides, and there is none {side} it."
            )
            continue
        images[name] = _mosaic(grid, fold.parts, lambda ds: band_stack(ds, bands))
        if sigma_stack(grid[0][0], bands) is not None:
            sigma[name] = _mosaic(grid, fold.parts, lambda ds: sigma_stack(ds, bands))
    truth = band_stack(pair.observed.isel(time=pair.fine_days == day), bands)
    here = pair.coarse_of([day])
    coarse = band_stack(pair.coarse.isel(time=here), bands) if here[0] >= 0 else None
    return Judged(day, bands, images, truth, before, after, _apart(base), sigma, coarse)


def _mosaic(
    grid: list[list[xr.Dataset]], parts: tuple[tuple[Tile, ...], ...], image: Callable[..., Any]
) -> Any:
    """Take each part of the area from its own cube."""
    import dask.array as da

    if len(grid) == 1 and len(grid[0]) == 1:
        return image(grid[0][0])
    return da.block(
        [
            [image(ds)[:, *part.slices] for ds, part in zip(row, tiles, strict=True)]
            for row, tiles in zip(grid, parts, strict=True)
        ]
    )


def band_stack(ds: xr.Dataset, bands: tuple[str, ...], ending: str = "") -> Any:
    """Return the bands of one date as one array.

    `ending`: What the names of the variables have after that of the band.
    """
    import dask.array as da

    planes = (ds[band + ending].isel(time=0).transpose("y", "x") for band in bands)
    return da.stack([da.asarray(plane.data) for plane in planes])


def sigma_stack(ds: xr.Dataset, bands: tuple[str, ...]) -> Any:
    """Return the stated standard deviations of one date.

    `ds`: A cube with a single date; variables such as ``red_sigma`` hold them.
    """
    stated = {band + SIGMA for band in bands} <= set(ds.data_vars)
    return band_stack(ds, bands, SIGMA) if stated else None


def _apart(ds: xr.Dataset) -> Any:
    """Return the days to the nearer base date of every pixel; 0 where there is none."""
    import dask.array as da

    sides = [da.asarray(ds[f"base_{side}"].isel(time=0).data) for side in ("before", "after")]
    before, after = (side.astype(np.int64) for side in sides)
    one_sided = da.maximum(before, after)
    return da.where((before > 0) & (after > 0), da.minimum(before, after), one_sided)


def _day(value: np.datetime64) -> np.datetime64 | None:
    return None if np.isnat(value) else value.astype("datetime64[D]")
