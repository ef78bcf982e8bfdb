"""One sheet with all of a run: withheld dates, the season, a pixel through time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr.cube._cube import bands_of
from biastf_xr.pictures._canvas import at_day, band_to_show, drawing, finished, show_image
from biastf_xr.pictures._colour import choose_colours, stretch
from biastf_xr.pictures._series import draw_curve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import xarray as xr

    from biastf_xr.pictures._canvas import Drawing


def draw_sheet(
    fused: xr.Dataset,
    fine: xr.Dataset,
    coarse: xr.Dataset,
    withheld: Sequence[Any],
    baselines: Mapping[str, xr.Dataset],
    *,
    title: str = "",
    path: str | Path | None = None,
) -> Drawing:
    """Draw one sheet: withheld dates side by side, the season in frames, a pixel through time.

    Eager for the dates it shows.

    `fine`, `coarse`: The cubes it was made from; `fine` holds the withheld scenes.
    """
    bands = bands_of(fused)
    colours = choose_colours(bands)
    days = to_days(withheld)
    cubes = {"coarse": coarse, "withheld scene": fine, **baselines, "fused": fused}
    width = max(len(cubes), 6)
    rows = len(days) + 2
    figure = drawing(2.5 * width, 2.75 * rows + 0.6)
    grid = figure.add_gridspec(rows, width)
    for row, day in enumerate(days):
        truth = at_day(fine, day).load()
        limits = stretch(truth, colours)
        for column, (name, cube) in enumerate(cubes.items()):
            image = at_day(cube, day).load()
            note = f", {day}" if column == 0 else ""
            error = "" if column < 2 else f"\nRMSE {_rmse(image, truth, bands):.4f}"
            axis = figure.add_subplot(grid[row, column])
            show_image(axis, image, colours, limits, f"{name}{note}{error}")
            axis.set_axis_off()
    _season(figure, grid[len(days), :], fused, fine, days, width, colours)
    _series(figure.add_subplot(grid[len(days) + 1, :]), fused, fine, days)
    figure.suptitle(
        title or f"{', '.join(dict.fromkeys(colours))} as red, green, blue", fontsize=11
    )
    return finished(figure, path)


def _season(
    figure: Any,
    cell: Any,
    fused: xr.Dataset,
    fine: xr.Dataset,
    withheld: Any,
    width: int,
    colours: Any,
) -> None:
    """Show equally spaced days of the fused season."""
    strip = cell.subgridspec(1, width)
    index = np.linspace(0, fused.sizes["time"] - 1, width).round().astype(int)
    frames = fused.isel(time=index).load()
    limits = stretch(frames, colours)
    scenes = to_days(fine["time"])
    scenes = scenes[~np.isin(scenes, withheld)]
    for i in range(width):
        frame = frames.isel(time=i)
        day = to_days(frame["time"])[0]
        apart = int(np.abs((scenes - day).astype(int)).min())
        axis = figure.add_subplot(strip[0, i])
        show_image(axis, frame, colours, limits, f"{day}\n{apart} days from a scene")
        axis.title.set_fontsize(8)
        axis.set_axis_off()


def _series(axis: Any, fused: xr.Dataset, fine: xr.Dataset, withheld: Any) -> None:
    """Show a pixel that changes much, every day, with the fine observations."""
    band = band_to_show(fused, None)
    sample = fused[band].isel(time=slice(None, None, 8)).load()
    spread = sample.max("time") - sample.min("time")
    spread = spread.where(sample.notnull().all("time"))
    filled = np.nan_to_num(spread.values, nan=-1.0)
    y, x = np.unravel_index(int(np.argsort(filled.ravel())[int(filled.size * 0.98)]), filled.shape)
    seen = fine[band].isel(y=y, x=x).load()
    draw_curve(axis, fused.isel(y=y, x=x), band)
    days = to_days(seen["time"])
    hidden = np.isin(days, withheld)
    axis.plot(days[~hidden], seen[~hidden], "o", ms=5, color="black", label="fine scenes")
    axis.plot(days[hidden], seen[hidden], "D", ms=6, mfc="none", color="tab:red",
              label="withheld fine scenes")  # fmt: skip
    axis.set_title(f"one pixel (row {y}, column {x}) through the season", fontsize=9)
    axis.legend(fontsize=8, ncols=4, frameon=False)


def _rmse(image: xr.Dataset, truth: xr.Dataset, bands: Sequence[str]) -> float:
    errors = [image[b].values.astype(np.float64) - truth[b].values for b in bands]
    return float(np.mean([np.sqrt(np.nanmean(error**2)) for error in errors]))
