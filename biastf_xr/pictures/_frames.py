"""A few dates of a cube side by side, and one date beside what it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr.cube._cube import bands_of
from biastf_xr.cube._spec import sigma_of
from biastf_xr.grid import pixels_at
from biastf_xr.pictures._canvas import (
    Drawing,
    at_day,
    band_to_show,
    finished,
    panels,
    scale_bar,
    show_image,
    show_map,
    thinned,
)
from biastf_xr.pictures._colour import choose_colours, describe_colours, stretch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr

# Dates that are shown where none is asked for.
FRAMES = 6


def draw_quicklook(
    ds: xr.Dataset,
    dates: Any = None,
    *,
    colours: str | Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
    path: str | Path | None = None,
) -> Drawing:
    """Show one date or a few, all with the same stretch.

    Eager for the dates it shows, of which it reads what is drawn.

    `limits`: Reflectance shown as black and white; by default the 2nd and 98th percentile of
    what is shown.
    """
    chosen = choose_colours(bands_of(_stacked(ds)), colours)
    images = thinned(_frames(_stacked(ds), dates)[[*dict.fromkeys(chosen)]]).load()
    limits = limits or stretch(images, chosen)
    figure, axes = panels(images.sizes["time"], (images.sizes["y"], images.sizes["x"]), across=3)
    for index, axis in enumerate(axes):
        image = images.isel(time=index)
        show_image(axis, image, chosen, limits, str(to_days(image["time"])[0]))
    scale_bar(axes[0], images)
    figure.suptitle(describe_colours(chosen, limits), fontsize=10)
    return finished(figure, path)


def draw_comparison(
    fused: xr.Dataset,
    day: Any,
    fine: xr.Dataset,
    coarse: xr.Dataset,
    *,
    band: str | None = None,
    colours: str | Sequence[str] | None = None,
    path: str | Path | None = None,
) -> Drawing:
    """Show a fused date between its fine base images, with the coarse image it follows.

    Eager for the one date.

    `fused`: Fused cube; its standard deviation is shown where it has one.
    `band`: Of the standard deviation; near infrared by default, where there is one.
    """
    day = to_days(day)[0]
    made = thinned(at_day(fused, day, "the fused cube"))
    chosen = choose_colours(bands_of(_stacked(made)), colours)
    band = band_to_show(_stacked(made), band)
    images = {}
    for side in ("before", "after"):
        base = made[side].values if side in made.coords else np.datetime64("NaT")
        if not np.isnat(base):
            image = thinned(at_day(fine, base, "the fine cube"))
            images[f"fine, {to_days(base)[0]}"] = image
    days = to_days(coarse["time"])
    if day in days:
        seen = at_day(coarse, day)
        nearest = pixels_at(seen, "the coarse cube", x=made["x"], y=made["y"], of=made)
        images[f"coarse, {day}"] = nearest
    images[f"fused, {day}"] = made
    images = {title: image.load() for title, image in images.items()}
    order = sorted(images, key=lambda title: (title.split(", ")[1], title))
    limits = stretch(images[f"fused, {day}"], chosen)
    sigma = sigma_of(band)
    count = len(order) + (sigma in made)
    figure, axes = panels(count, (made.sizes["y"], made.sizes["x"]), across=5)
    for axis, title in zip(axes, order, strict=False):
        show_image(axis, images[title], chosen, limits, title)
    scale_bar(axes[0], made)
    if sigma in made:
        show_map(
            figure, axes[-1], made[sigma].values, f"uncertainty of {band}",
            "standard deviation, reflectance", cmap="cividis", vmin=0,
        )  # fmt: skip
    figure.suptitle(describe_colours(chosen, limits), fontsize=10)
    return finished(figure, path)


def _stacked(ds: xr.Dataset) -> xr.Dataset:
    """Return a time axis to a single date."""
    return ds if "time" in ds.dims else ds.expand_dims("time")


def _frames(ds: xr.Dataset, dates: Any) -> xr.Dataset:
    """Choose the dates to show."""
    import xarray as xr

    if dates is None:
        count = min(FRAMES, ds.sizes["time"])
        indices = np.linspace(0, ds.sizes["time"] - 1, count).round().astype(int)
        return ds.isel(time=indices)
    wanted = [at_day(ds, day) for day in to_days(dates)]
    return xr.concat(wanted, "time", coords="minimal", compat="override", join="override")
