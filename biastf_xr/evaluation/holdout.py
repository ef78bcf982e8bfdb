"""Score methods on fine scenes they never saw."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.brackets import clear_fractions
from biastf_xr.cube.guards import CubePair, pair_cubes
from biastf_xr.cube.spec import STATUS, to_days
from biastf_xr.cube.store import bands_of, drop_days
from biastf_xr.errors import CubeStructureError, GridMismatchError, LeakError, MissingPairError
from biastf_xr.evaluation.metrics import score_image
from biastf_xr.fusion.lazy import fuse
from biastf_xr.grid import geobox_of
from biastf_xr.methods import BASELINES, LEARNED, fit

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from biastf_xr.fusion.plan import FusionRule
    from biastf_xr.methods.base import Float, Method

# Called before every prediction with the date and the method.
EvaluationProgress = Callable[[str, str], None]


@dataclass(frozen=True)
class Scores:
    """Measures of several methods on several dates.

    Attributes
    ----------
    table : pandas.DataFrame
        Columns date, method, measure, band, value, pixels.
    ratio : float
        Fine over coarse pixel size that ERGAS was computed with.
    """

    table: pd.DataFrame
    ratio: float

    def summary(self, band: str = "mean") -> pd.DataFrame:
        """Average the measures over the dates.

        Parameters
        ----------
        band : str
            A band, or "mean" over bands.

        Returns
        -------
        pandas.DataFrame
            Methods as rows in the order they were scored, measures as columns.
        """
        part = self.table[self.table["band"] == band]
        wide = part.pivot_table(index="method", columns="measure", values="value", sort=False)
        return wide[list(dict.fromkeys(part["measure"]))]

    def by_date(self, measure: str = "RMSE", band: str = "mean") -> pd.DataFrame:
        """Give one measure for every date.

        Parameters
        ----------
        measure : str
            The measure.
        band : str
            A band, or "mean".

        Returns
        -------
        pandas.DataFrame
            Dates as rows, methods as columns.
        """
        part = self.table[(self.table["measure"] == measure) & (self.table["band"] == band)]
        return part.pivot_table(index="date", columns="method", values="value", sort=False)

    def by_band(self, measure: str = "RMSE") -> pd.DataFrame:
        """Give one measure for every band, averaged over the dates.

        Parameters
        ----------
        measure : str
            The measure.

        Returns
        -------
        pandas.DataFrame
            Methods as rows, bands as columns.
        """
        part = self.table[self.table["measure"] == measure]
        wide = part.pivot_table(index="method", columns="band", values="value", sort=False)
        return wide[list(dict.fromkeys(part["band"]))]


def evaluate(
    fine: xr.Dataset,
    coarse: xr.Dataset,
    methods: Any = ("biastf",),
    *,
    dates: Any = None,
    together: bool = False,
    min_clear: float = 0.9,
    rule: FusionRule | None = None,
    fit_options: dict[str, Any] | None = None,
    progress: EvaluationProgress | None = None,
) -> Scores:
    """Withhold fine scenes, predict them, and score the predictions.

    Eager.  Leave-one-out by default: each date is withheld in turn, learned methods given by name
    are fitted anew without it, and its fine image is taken out of the cube before anything else
    happens.  The free baselines are always scored too, all methods on the same pixels: those that
    every method predicted and the withheld scene shows clearly.

    Parameters
    ----------
    fine, coarse : xarray.Dataset
        The cubes.
    methods : str, Method, sequence or dict of them
        Names (learned ones are fitted for every fold) or built methods; a dict gives them the
        names by which the tables call them.
    dates : array_like of dates, optional
        Dates to withhold; by default every inner date at least `min_clear` clear.
    together : bool
        Withhold all dates at once (one fit) instead of one at a time.
    min_clear : float
        Clear fraction that a date needs to be chosen by default.
    rule : FusionRule, optional
        How inputs are chosen.
    fit_options : dict, optional
        Options of `fit` for learned methods given by name.
    progress : callable, optional
        Called before every prediction.

    Returns
    -------
    Scores
        The measures.

    Raises
    ------
    LeakError
        If a fitted method was trained on a date it is to be scored on.
    MissingPairError
        If there is no date to withhold.
    """
    pair = pair_cubes(fine, coarse)
    named: dict[str, str | Method] = {name: name for name in BASELINES}
    if isinstance(methods, dict):
        named |= methods
    else:
        one = isinstance(methods, str) or hasattr(methods, "fuse")
        named |= {_name(m): m for m in ([methods] if one else methods)}
    days = inner_dates(pair, min_clear) if dates is None else to_days(list(np.atleast_1d(dates)))
    for method in named.values():
        _refuse_leak(method, days)
    folds = [days] if together else [np.array([d]) for d in days]
    rows: list[dict[str, Any]] = []
    for fold in folds:
        rest = drop_days(fine, fold)
        built = {n: _fit(m, rest, coarse, fit_options) for n, m in named.items()}
        for day in fold:
            images = {}
            for name, method in built.items():
                if progress:
                    progress(str(day), name)
                image = fuse(rest, coarse, method, dates=[day], rule=rule)
                images[name] = _stack(image, pair.bands)[0]
            truth = _stack(fine.isel(time=pair.fine_days == day), pair.bands)[0]
            rows += _score(str(day), images, truth, pair.bands, 1 / pair.alignment.ratio)
    return _scores(rows, 1 / pair.alignment.ratio)


def score_cube(
    fused: xr.Dataset,
    fine: xr.Dataset,
    coarse: xr.Dataset,
    dates: Any,
    *,
    name: str = "cube",
    rule: FusionRule | None = None,
) -> Scores:
    """Score a cube that is there, of any origin, on withheld fine scenes.

    Parameters
    ----------
    fused : xarray.Dataset
        The predictions, on the fine grid.
    fine : xarray.Dataset
        Fine cube that holds the withheld scenes.
    coarse : xarray.Dataset
        Coarse cube, for the free baselines and the resolution ratio.
    dates : array_like of dates
        The withheld dates; the baselines are computed without any of them.
    name : str
        What to call the cube in the tables.
    rule : FusionRule, optional
        How the baselines choose their inputs.

    Returns
    -------
    Scores
        The measures of the cube and of the free baselines, on the same pixels.

    Raises
    ------
    LeakError
        If the cube says that it kept or was trained on a scene of these dates.
    CubeStructureError, GridMismatchError
        If the cube is not on the fine grid, or lacks a band or a date.
    """
    days = to_days(list(np.atleast_1d(dates)))
    pair = pair_cubes(fine, coarse)
    _check_product(fused, pair, days)
    rest = drop_days(fine, days)
    have = to_days(fused["time"].values)
    rows: list[dict[str, Any]] = []
    for day in days:
        images = {
            method: _stack(fuse(rest, coarse, method, dates=[day], rule=rule), pair.bands)[0]
            for method in BASELINES
        }
        images[name] = _stack(fused.isel(time=have == day), pair.bands)[0]
        truth = _stack(fine.isel(time=pair.fine_days == day), pair.bands)[0]
        rows += _score(str(day), images, truth, pair.bands, 1 / pair.alignment.ratio)
    return _scores(rows, 1 / pair.alignment.ratio)


def inner_dates(pair: CubePair, min_clear: float) -> Any:
    """List the clear fine dates that have a clear date on both sides.

    Parameters
    ----------
    pair : CubePair
        The cubes.
    min_clear : float
        Smallest clear fraction.

    Returns
    -------
    ndarray of datetime64[D]
        The dates.

    Raises
    ------
    MissingPairError
        If there is none.
    """
    clear = clear_fractions(pair.fine, pair.bands) >= min_clear
    days = pair.fine_days[clear & np.isin(pair.fine_days, pair.coarse_days)]
    if days.size < 3:
        raise MissingPairError(
            f"only {days.size} dates are at least {min_clear:.0%} clear in the fine cube and "
            "present in the coarse one; leaving one out needs 3. Name the dates to withhold, or "
            "lower min_clear."
        )
    return days[1:-1]


def _fit(
    method: str | Method, fine: xr.Dataset, coarse: xr.Dataset, options: dict[str, Any] | None
) -> str | Method:
    if isinstance(method, str) and method in LEARNED:
        return fit(fine, coarse, method, **(options or {}))
    return method


def _name(method: str | Method) -> str:
    return method if isinstance(method, str) else method.name


def _refuse_leak(method: str | Method, days: Any) -> None:
    if isinstance(method, str):
        return
    seen = method.describe().get("trained_on", [])
    leaked = sorted(set(seen) & {str(d) for d in days})
    if leaked:
        raise LeakError(
            f"{method.name} was trained on {leaked}, which it is to be scored on. Fit it without: "
            "fit(fine.drop_sel(time=...), coarse), or give its name so that every fold fits its "
            "own."
        )


def _check_product(fused: xr.Dataset, pair: CubePair, days: Any) -> None:
    missing = sorted(set(pair.bands) - set(bands_of(fused)))
    if missing:
        raise CubeStructureError(
            f"the cube to score lacks the bands {missing}; it has {list(bands_of(fused))}."
        )
    if geobox_of(fused, "cube to score") != pair.geobox:
        raise GridMismatchError(
            f"the cube to score lies on {geobox_of(fused, 'cube')}, the withheld scenes on "
            f"{pair.geobox}; expected the same grid."
        )
    have = to_days(fused["time"].values)
    absent = days[~np.isin(days, have)]
    if absent.size:
        raise CubeStructureError(
            f"the cube to score has no prediction for {', '.join(map(str, absent))}."
        )
    made_by = json.loads(fused.attrs.get("biastf_method", "{}"))
    seen = sorted(set(made_by.get("trained_on", [])) & {str(d) for d in days})
    if seen:
        raise LeakError(
            f"the cube was made by a model that was trained on {seen}. Fit and fuse again with "
            "`withhold` set to these dates."
        )
    if "status_flag" in fused:
        status = fused["status_flag"].isel(time=np.isin(have, days)).values
        if (status == STATUS["observed"]).any():
            raise LeakError(
                f"the cube kept observed pixels on {', '.join(map(str, days))}: those scenes were "
                "not withheld when it was made. Fuse again with `withhold` set to these dates."
            )


def _stack(ds: xr.Dataset, bands: tuple[str, ...]) -> Float:
    """Load bands, shape (time, band, y, x); one computation for all of them."""
    loaded = ds[list(bands)].transpose("time", "y", "x").load()
    return np.stack([loaded[b].values for b in bands], axis=1)


def _score(
    day: str, images: dict[str, Float], truth: Float, bands: tuple[str, ...], ratio: float
) -> list[dict[str, Any]]:
    common = np.isfinite(truth).all(axis=0)
    for image in images.values():
        common &= np.isfinite(image).all(axis=0)
    if not common.any():
        shares = {m: f"{np.isfinite(i).all(axis=0).mean():.0%}" for m, i in images.items()}
        raise MissingPairError(
            f"{day}: no pixel is clear in the withheld scene and predicted by every method; "
            f"predicted shares are {shares}. Check the scene's clear fraction, and max_gap, "
            "min_clear and coarse_max_gap."
        )
    rows = []
    for method, image in images.items():
        scores = score_image(
            np.where(common, image, np.nan), np.where(common, truth, np.nan), bands, ratio
        )
        rows += [
            {"date": day, "method": method, "measure": measure, "band": band, "value": value,
             "pixels": int(common.sum())}
            for (measure, band), value in scores.items()
        ]  # fmt: skip
    return rows


def _scores(rows: list[dict[str, Any]], ratio: float) -> Scores:
    import pandas as pd

    return Scores(pd.DataFrame(rows), ratio)
