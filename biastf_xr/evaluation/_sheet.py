"""One sheet with all of a run: withheld dates, the season, a pixel through time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._cube import bands_of
from biastf_xr.cube._spec import sigma_of, to_days
from biastf_xr.pictures._colour import choose_colours, composite, stretch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import xarray as xr


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

    `fine`, `coarse`: The cubes it was made from; `fine` holds the withheld scenes.
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
