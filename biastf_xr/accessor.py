"""``ds.biastf``: the functions of this package as methods of a Dataset.

Registered when ``biastf_xr`` is imported.  Every method hands over to the function it names, which
loads with the first call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.evaluation import Scores
    from biastf_xr.fusion._overview import Brackets
    from biastf_xr.fusion._preview import Preview
    from biastf_xr.methods.base import Method
    from biastf_xr.pictures._animation import Animation
    from biastf_xr.pictures._canvas import Drawing


@xr.register_dataset_accessor("biastf")  # type: ignore[no-untyped-call]
class BiastfAccessor:
    """Fuse, judge and look at a cube.

    `plan`, `brackets`, `fuse`, `fit` and `evaluate` are for a fine cube; `score`, `status`,
    `distance` and `compare` for a fused one; the other pictures for any.

    Parameters
    ----------
    ds : xarray.Dataset
        The cube, dims ``(time, y, x)``.
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def __repr__(self) -> str:
        offers = [name for name in vars(type(self)) if not name.startswith("_")]
        return f"ds.biastf offers {', '.join(offers)}; help(ds.biastf.fuse) and so on"

    def plan(
        self,
        coarse: xr.Dataset,
        method: str | Method = "biastf-plus",
        **options: Any,
    ) -> Preview:
        """Return what `fuse` would do; see `biastf_xr.plan`.

        Parameters
        ----------
        coarse : xarray.Dataset
            The coarse cube.
        method : str or Method
            Name of a method, or a fitted method.
        **options
            Options of `biastf_xr.plan`: dates, withhold, rule, and those of the method.

        Returns
        -------
        Preview
            The plan, a table of dates, and totals.
        """
        from biastf_xr.fusion._preview import plan

        return plan(self._ds, coarse, None, method, **options)

    def brackets(self, coarse: xr.Dataset, **options: Any) -> Brackets:
        """Return which base dates flank every target date, and which scenes are no base.

        Parameters
        ----------
        coarse : xarray.Dataset
            The coarse cube.
        **options
            Dates to predict, and the rule for base dates and coarse gaps: ``dates``, ``rule``.

        Returns
        -------
        Brackets
            A sequence of `Bracket`; `left_out` has the scenes that are no base, and why.
        """
        from biastf_xr.fusion._overview import list_brackets

        return list_brackets(self._ds, coarse, **options)

    def fuse(
        self,
        coarse: xr.Dataset,
        method: str | Method = "biastf-plus",
        **options: Any,
    ) -> xr.Dataset:
        """Predict the fine image of every date asked for, lazily; see `biastf_xr.fuse`.

        Parameters
        ----------
        coarse : xarray.Dataset
            The coarse cube.
        method : str or Method
            Name of a method, or a fitted method.
        **options
            Options of `biastf_xr.fuse`: dates, tile, rule, and those of the method.

        Returns
        -------
        xarray.Dataset
            Lazy, on the fine grid.
        """
        from biastf_xr.fusion._lazy import fuse

        return fuse(self._ds, coarse, method, **options)

    def fit(self, coarse: xr.Dataset, method: str = "biastf-plus", **options: Any) -> Method:
        """Fit a method on the clear dates; eager; see `biastf_xr.fit`.

        Parameters
        ----------
        coarse : xarray.Dataset
            The coarse cube.
        method : str
            Name of the method.
        **options
            Options of `biastf_xr.fit`.

        Returns
        -------
        Method
            The fitted method.
        """
        from biastf_xr.methods import fit

        return fit(self._ds, coarse, method, **options)

    def evaluate(
        self, coarse: xr.Dataset, methods: Any = ("biastf-plus",), **options: Any
    ) -> Scores:
        """Withhold scenes, predict them and score the predictions; see `biastf_xr.evaluate`.

        Parameters
        ----------
        coarse : xarray.Dataset
            The coarse cube.
        methods : str, Method, callable, sequence or dict of them
            What is scored.
        **options
            Options of `biastf_xr.evaluate`.

        Returns
        -------
        Scores
            The measures.
        """
        from biastf_xr.evaluation import evaluate

        return evaluate(self._ds, coarse, methods, **options)

    def score(self, fine: xr.Dataset, coarse: xr.Dataset, dates: Any, **options: Any) -> Scores:
        """Score this cube, of any origin, on scenes that were withheld from it.

        Parameters
        ----------
        fine : xarray.Dataset
            Fine cube that holds the withheld scenes.
        coarse : xarray.Dataset
            Coarse cube, for the baselines.
        dates : array_like of dates
            The withheld dates.
        **options
            Options of `biastf_xr.evaluation.score_cube`.

        Returns
        -------
        Scores
            The measures of the cube and of the baselines.
        """
        from biastf_xr.evaluation import score_cube

        return score_cube(self._ds, fine, coarse, dates, **options)

    def quicklook(self, dates: Any = None, **options: Any) -> Drawing:
        """Show one date or a few; see `biastf_xr.pictures.draw_quicklook`.

        Parameters
        ----------
        dates : date or sequence of dates, optional
            What to show; six equally spaced by default.
        **options
            Options of `biastf_xr.pictures.draw_quicklook`: colours, limits, path.

        Returns
        -------
        Drawing
            The figure.
        """
        from biastf_xr.pictures import draw_quicklook

        return draw_quicklook(self._ds, dates, **options)

    def animate(self, coarse: xr.Dataset | None = None, **options: Any) -> Animation:
        """Show the season, beside the coarse images if given; see `biastf_xr.pictures.animate`.

        Parameters
        ----------
        coarse : xarray.Dataset, optional
            The coarse cube.
        **options
            Options of `biastf_xr.pictures.animate`.

        Returns
        -------
        Animation
            A player in a notebook; ``save(path)`` writes a GIF.
        """
        from biastf_xr.pictures import animate

        return animate(self._ds, coarse, **options)

    def series(self, *, x: float, y: float, **options: Any) -> Drawing:
        """Show one pixel on every day; see `biastf_xr.pictures.draw_series`.

        Parameters
        ----------
        x, y : float
            The pixel's position, inside the cube, in units of its CRS.
        **options
            Options of `biastf_xr.pictures.draw_series`: band, scenes, coarse, path.

        Returns
        -------
        Drawing
            The figure.
        """
        from biastf_xr.pictures import draw_series

        return draw_series(self._ds, x=x, y=y, **options)

    def calendar(self, *others: xr.Dataset, path: str | Path | None = None) -> Drawing:
        """Show which days this cube and others have, and how clear they are.

        Parameters
        ----------
        *others : xarray.Dataset
            Further cubes, shown beside it.
        path : str or pathlib.Path, optional
            File to write.

        Returns
        -------
        Drawing
            As from `biastf_xr.pictures.draw_calendar`.
        """
        from biastf_xr.pictures import draw_calendar

        return draw_calendar([self._ds, *others], path=path)

    def status(self, dates: Any = None, *, path: str | Path | None = None) -> Drawing:
        """Show how the pixels of a fused cube were made; see `biastf_xr.pictures.draw_status`.

        Parameters
        ----------
        dates : date or sequence of dates, optional
            Dates of the maps; three equally spaced by default.
        path : str or pathlib.Path, optional
            File to write.

        Returns
        -------
        Drawing
            The figure.
        """
        from biastf_xr.pictures import draw_status

        return draw_status(self._ds, dates, path=path)

    def distance(self, day: Any, *, path: str | Path | None = None) -> Drawing:
        """Show how many days away the base images were; see `biastf_xr.pictures.draw_distance`.

        Parameters
        ----------
        day : date
            The date.
        path : str or pathlib.Path, optional
            File to write.

        Returns
        -------
        Drawing
            The figure.
        """
        from biastf_xr.pictures import draw_distance

        return draw_distance(self._ds, day, path=path)

    def compare(self, day: Any, fine: xr.Dataset, coarse: xr.Dataset, **options: Any) -> Drawing:
        """Show a fused date beside its inputs; see `biastf_xr.pictures.draw_comparison`.

        Parameters
        ----------
        day : date
            The date.
        fine, coarse : xarray.Dataset
            The cubes it was made from.
        **options
            Options of `biastf_xr.pictures.draw_comparison`: band, colours, path.

        Returns
        -------
        Drawing
            The figure.
        """
        from biastf_xr.pictures import draw_comparison

        return draw_comparison(self._ds, day, fine, coarse, **options)
