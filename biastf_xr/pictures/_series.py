"""One pixel through the season, with what was observed there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr.cube._spec import sigma_of
from biastf_xr.grid import pixels_at
from biastf_xr.pictures._canvas import Drawing, band_to_show, drawing, finished, flags_of
from biastf_xr.pictures._colour import BLACK, BLUE, ORANGE, STATUS_COLOURS

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr


def draw_series(
    ds: xr.Dataset,
    *,
    x: float,
    y: float,
    band: str | None = None,
    scenes: xr.Dataset | None = None,
    coarse: xr.Dataset | None = None,
    path: str | Path | None = None,
) -> Drawing:
    """Show the pixel at a position on every day.

    Eager for this pixel.

    `ds`: A daily cube; of a fused one the standard deviation of the error is shown as a band,
    and how every day was made as marks below.
    `x`, `y`: The position, inside the cube, in units of its CRS.
    `band`: The band; near infrared by default, where there is one.
    `scenes`: Fine cube: its observations of the pixel are shown as points.
    `coarse`: Coarse cube: its observations around the pixel are shown as small points.
    """
    band = band_to_show(ds, band)
    names = [n for n in (band, sigma_of(band), "status_flag") if n in ds]
    pixel = pixels_at(ds[names], "the cube", x=x, y=y).load()
    here: dict[str, Any] = {"x": x, "y": y, "of": ds}
    figure = drawing(9.5, 3.4)
    axis = figure.subplots()
    if coarse is not None:
        seen = pixels_at(coarse[[band]], "the coarse cube", **here)[band].load()
        axis.plot(_days(seen), seen, ".", ms=3.5, color=ORANGE, label="coarse, as observed")
    draw_curve(axis, pixel, band)
    if scenes is not None:
        seen = pixels_at(scenes[[band]], "the fine cube", **here)[band].load()
        axis.plot(_days(seen), seen, "o", ms=5, color=BLACK, label="fine scenes")
    if "status_flag" in pixel:
        _mark_status(axis, pixel, _days(pixel))
    axis.set_title(f"pixel at x {float(pixel['x']):.0f}, y {float(pixel['y']):.0f}", fontsize=10)
    figure.legend(loc="outside lower center", fontsize=8, frameon=False, ncols=4)
    return finished(figure, path)


def draw_curve(axis: Any, pixel: xr.Dataset, band: str) -> None:
    """Draw a pixel of a daily cube on every day, with its standard deviation where there is one."""
    days, values = _days(pixel), pixel[band].values
    if sigma_of(band) in pixel:
        spread = pixel[sigma_of(band)].values
        axis.fill_between(days, values - spread, values + spread, color=BLUE, alpha=0.22, lw=0,
                          label="± 1 standard deviation of the error")  # fmt: skip
    axis.plot(days, values, color=BLUE, lw=1.3, label="daily cube")
    axis.set_ylabel(f"{band} reflectance")
    axis.spines[["top", "right"]].set_visible(False)


def _days(ds: Any) -> Any:
    return to_days(ds["time"]).astype("datetime64[s]")


def _mark_status(axis: Any, pixel: xr.Dataset, days: Any) -> None:
    """Mark below the curve how every day was made."""
    flags = pixel["status_flag"].values
    low = axis.get_ylim()[0]
    for value, name in flags_of(pixel).items():
        there = flags == value
        if there.any():
            colour, label = STATUS_COLOURS.get(name, "0.5"), name.replace("_", " ")
            marks = np.full(there.sum(), low)
            axis.plot(days[there], marks, "s", ms=3.2, clip_on=False, color=colour, label=label)
    axis.set_ylim(bottom=low)
