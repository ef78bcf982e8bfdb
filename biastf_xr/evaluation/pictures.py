"""Pictures of a fused cube beside what it was made from and what it should have been."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube.spec import PAIR_FLAG, sigma_of, to_days
from biastf_xr.cube.store import bands_of, open_cube

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

TRUE_COLOUR = ("red", "green", "blue")
FALSE_COLOUR = ("nir", "red", "green")


def composite(
    ds: xr.Dataset, colours: Sequence[str], limits: tuple[float, float] | None = None
) -> NDArray[np.float64]:
    """Make a displayable image of one date.

    Parameters
    ----------
    ds : xarray.Dataset
        One date of a cube, dims ``(y, x)``.
    colours : sequence of str
        Bands for red, green and blue; with a single band the image is grey.
    limits : tuple of float, optional
        Reflectance shown as black and white; by default the 2nd and 98th percentile.

    Returns
    -------
    ndarray of float64
        Shape ``(y, x, 3)``, 0 to 1; missing pixels are light grey.
    """
    image = np.stack([np.asarray(ds[c].values, np.float64) for c in colours], axis=-1)
    low, high = limits or stretch(ds, colours)
    shown = np.clip((image - low) / (high - low), 0, 1)
    missing = ~np.isfinite(image).all(axis=-1)
    shown[missing] = 0.85
    return shown


def stretch(ds: xr.Dataset, colours: Sequence[str]) -> tuple[float, float]:
    """Choose the reflectance range to display.

    Parameters
    ----------
    ds : xarray.Dataset
        One or more dates of a cube.
    colours : sequence of str
        Bands.

    Returns
    -------
    tuple of float
        2nd and 98th percentile over all of them.
    """
    values = np.concatenate([np.asarray(ds[c].values).ravel() for c in colours])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (2, 98))
    return float(low), float(max(high, low + 1e-3))


def choose_colours(bands: Sequence[str]) -> tuple[str, ...]:
    """Choose three bands to show: false colour, where vegetation is red, if there is near infrared.

    Parameters
    ----------
    bands : sequence of str
        Bands of a cube.

    Returns
    -------
    tuple of str
        Three names, or one name three times.
    """
    for colours in (FALSE_COLOUR, TRUE_COLOUR):
        if set(colours) <= set(bands):
            return colours
    return (bands[0],) * 3


def picture_sheet(
    path: Path,
    fused: xr.Dataset,
    fine: xr.Dataset,
    coarse: xr.Dataset,
    withheld: Sequence[Any],
    baselines: Mapping[str, xr.Dataset],
    *,
    title: str = "",
) -> Path:
    """Draw one sheet: withheld dates side by side, the season in frames, a pixel through time.

    Eager for the dates it shows.

    Parameters
    ----------
    path : pathlib.Path
        PNG to write.
    fused : xarray.Dataset
        Fused cube.
    fine, coarse : xarray.Dataset
        The cubes it was made from; `fine` holds the withheld scenes.
    withheld : sequence of dates
        Dates to compare, one row each.
    baselines : mapping of str to xarray.Dataset
        Other predictions of the withheld dates, by name.
    title : str
        Heading.

    Returns
    -------
    pathlib.Path
        The picture.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    bands = bands_of(fused)
    colours = choose_colours(bands)
    days = to_days(list(withheld))
    columns = ["coarse", "withheld scene", *baselines, "fused"]
    width = max(len(columns), 6)
    rows = len(days) + 2
    figure = Figure(figsize=(2.5 * width, 2.75 * rows + 0.6), layout="constrained")
    grid = figure.add_gridspec(rows, width)
    for r, day in enumerate(days):
        truth = _at(fine, day)
        limits = stretch(truth, colours)
        images = [_at(coarse, day), truth, *(_at(b, day) for b in baselines.values()),
                  _at(fused, day)]  # fmt: skip
        for c, (name, image) in enumerate(zip(columns, images, strict=True)):
            axis = figure.add_subplot(grid[r, c])
            axis.imshow(composite(image, colours, limits), interpolation="nearest")
            error = "" if c < 2 else f"\nRMSE {_rmse(image, truth, bands):.4f}"
            axis.set_title(f"{name}{f', {day}' if c == 0 else ''}{error}", fontsize=9)
            axis.set_axis_off()
    _season(figure, grid[len(days), :], fused, fine, days, width, colours)
    _series(figure, grid[len(days) + 1, :], fused, fine, days, bands)
    figure.suptitle(
        title or f"{', '.join(dict.fromkeys(colours))} as red, green, blue", fontsize=11
    )
    with mpl.rc_context({"savefig.dpi": 110}):
        figure.savefig(path)
    return path


def _season(
    figure: Any,
    place: Any,
    fused: xr.Dataset,
    fine: xr.Dataset,
    withheld: Any,
    width: int,
    colours: Any,
) -> None:
    """Show equally spaced days of the fused season."""
    strip = place.subgridspec(1, width)
    index = np.linspace(0, fused.sizes["time"] - 1, width).round().astype(int)
    frames = fused.isel(time=index).load()
    limits = stretch(frames, colours)
    scenes = to_days(fine["time"].values)
    scenes = scenes[~np.isin(scenes, withheld)]
    for i in range(width):
        frame = frames.isel(time=i)
        day = to_days(frame["time"].values)
        axis = figure.add_subplot(strip[0, i])
        axis.imshow(composite(frame, colours, limits), interpolation="nearest")
        apart = int(np.abs((scenes - day).astype(int)).min())
        axis.set_title(f"{day}\n{apart} days from a scene", fontsize=8)
        axis.set_axis_off()


def _series(
    figure: Any, place: Any, fused: xr.Dataset, fine: xr.Dataset, withheld: Any, bands: Any
) -> None:
    """Show the pixel that changes most, every day, with the fine observations."""
    band = "nir" if "nir" in bands else bands[0]
    sample = fused[band].isel(time=slice(None, None, 8)).load()
    spread = sample.max("time") - sample.min("time")
    spread = spread.where(sample.notnull().all("time"))
    filled = np.nan_to_num(spread.values, nan=-1.0)
    y, x = np.unravel_index(int(np.argsort(filled.ravel())[int(filled.size * 0.98)]), filled.shape)
    daily = fused[band].isel(y=y, x=x).load()
    seen = fine[band].isel(y=y, x=x).load()
    axis = figure.add_subplot(place)
    axis.plot(daily["time"], daily, lw=1.2, color="tab:green", label="fused, every day")
    if sigma_of(band) in fused:
        spread = fused[sigma_of(band)].isel(y=y, x=x).load()
        axis.fill_between(daily["time"].values, daily - spread, daily + spread, lw=0, alpha=0.2,
                          color="tab:green", label="its standard deviation")  # fmt: skip
    hidden = np.isin(to_days(seen["time"].values), withheld)
    axis.plot(seen["time"][~hidden], seen[~hidden], "o", ms=5, color="black", label="fine scenes")
    axis.plot(seen["time"][hidden], seen[hidden], "D", ms=6, mfc="none", color="tab:red",
              label="withheld fine scenes")  # fmt: skip
    axis.set_ylabel(f"{band} reflectance")
    axis.set_title(f"one pixel (row {y}, column {x}) through the season", fontsize=9)
    axis.legend(fontsize=8, ncols=4, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)


def _at(ds: xr.Dataset, day: Any) -> xr.Dataset:
    return ds.isel(time=int(np.flatnonzero(to_days(ds["time"].values) == day)[0])).load()


def _rmse(image: xr.Dataset, truth: xr.Dataset, bands: Any) -> float:
    from biastf_xr.evaluation.metrics import rmse

    return float(np.mean([rmse(image[b].values, truth[b].values) for b in bands]))


def calendar(paths: Sequence[str | Path], path: Path) -> Path:
    """Draw which days each cube has, and how clear they are.

    Parameters
    ----------
    paths : sequence of str or pathlib.Path
        Fine or coarse cubes.
    path : pathlib.Path
        PNG to write.

    Returns
    -------
    pathlib.Path
        The picture: a panel per cube, a row per month, a column per day of the month; grey where
        there is no scene, crossed where the two sensors disagree and the day is left out of pairs.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cubes = [open_cube(p, chunks=None) for p in paths]
    days = [to_days(ds["time"].values) for ds in cubes]
    months = np.arange(
        min(d[0] for d in days).astype("datetime64[M]"),
        max(d[-1] for d in days).astype("datetime64[M]") + 1,
    )
    figure = Figure(figsize=(6 * len(cubes) + 1, 0.9 + 0.25 * len(months)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(cubes), squeeze=False)[0]
    shown: Any = None
    for axes, ds, have, name in zip(panels, cubes, days, paths, strict=True):
        month = have.astype("datetime64[M]")
        rows = (month - months[0]).astype(int)
        cols = (have - month.astype("datetime64[D]")).astype(int)
        image = np.full((len(months), 31), np.nan)
        image[rows, cols] = ds["clear_fraction"].values
        axes.set_facecolor("0.92")
        shown = axes.imshow(image, vmin=0, vmax=1, cmap="YlGnBu", aspect="auto")
        if "pair_flag" in ds.coords:
            doubt = ds["pair_flag"].values == PAIR_FLAG["low_correlation"]
            axes.plot(cols[doubt], rows[doubt], "x", color="crimson", label="left out of pairs")
            if doubt.any():
                axes.legend(loc="upper right", fontsize=8)
        axes.set_title(f"{ds.attrs['biastf_kind']}: {str(name).rstrip('/').rpartition('/')[2]}")
        axes.set_yticks(range(len(months)), [str(m) for m in months], fontsize=7)
        axes.set_xticks(range(0, 31, 5), [str(d) for d in range(1, 32, 5)])
        axes.set_xlabel("day of the month")
    figure.colorbar(shown, ax=list(panels), label="clear fraction")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
