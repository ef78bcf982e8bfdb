"""How every pixel of a fused cube was made: maps and counts of flags and of distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr.errors import CubeStructureError
from biastf_xr.pictures._canvas import (
    Drawing,
    at_day,
    drawing,
    finished,
    flags_of,
    panels,
    scale_bar,
    show_map,
    thinned,
)
from biastf_xr.pictures._colour import MISSING, STATUS_COLOURS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray


def count_status(fused: xr.Dataset) -> pd.DataFrame:
    """Count how the pixels of every date were made; eager, date by date.

    Returned: Dates as rows, the flags that occur as columns, shares of the pixels.
    """
    import pandas as pd

    names = flags_of(fused)
    flag = fused["status_flag"]
    images = (flag.isel(time=index).values for index in range(flag.sizes["time"]))
    counts = np.array([np.bincount(image.ravel(), minlength=256) for image in images])
    shares = counts / counts.sum(axis=1, keepdims=True)
    days = pd.Index([str(d) for d in to_days(flag["time"])], name="date")
    return pd.DataFrame({n: shares[:, v] for v, n in names.items() if counts[:, v].any()}, days)


def draw_status(fused: xr.Dataset, dates: Any = None, *, path: str | Path | None = None) -> Drawing:
    """Show how pixels were made: a map of some dates, and the shares of all of them.

    Eager: reads the flag of every date.

    `dates`: Dates of the maps; three equally spaced by default.
    """
    from matplotlib.patches import Patch

    shares, names = count_status(fused), flags_of(fused)
    have = to_days(fused["time"])
    if dates is None:
        dates = have[np.unique(np.linspace(0, have.size - 1, 5).round().astype(int)[1:-1])]
    chosen = to_days(dates)
    figure = drawing(9.5, 4.9)
    grid = figure.add_gridspec(2, chosen.size, height_ratios=(3, 2))
    for index, day in enumerate(chosen):
        axis = figure.add_subplot(grid[0, index])
        image = thinned(at_day(fused, day))
        axis.imshow(_painted(image["status_flag"].values, names), interpolation="nearest")
        axis.set_title(str(day), fontsize=9)
        axis.set_axis_off()
        if index == 0:
            scale_bar(axis, image)
    axis = figure.add_subplot(grid[1, :])
    found = [str(name) for name in shares.columns]
    colours = [STATUS_COLOURS.get(name, "0.5") for name in found]
    axis.stackplot(have.astype("datetime64[s]"), shares.T.to_numpy(), colors=colours, step="mid",
                   linewidth=0)  # fmt: skip
    axis.set(ylim=(0, 1), xlim=(have[0], have[-1]), ylabel="share of the pixels")
    axis.spines[["top", "right"]].set_visible(False)
    means = shares.mean()
    handles = [
        Patch(color=colour, label=f"{name.replace('_', ' ')} {means[name]:.1%}")
        for name, colour in zip(found, colours, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.suptitle("How pixels were made: status_flag", fontsize=10)
    return finished(figure, path)


def draw_distance(fused: xr.Dataset, day: Any, *, path: str | Path | None = None) -> Drawing:
    """Show how many days away the base images and coarse observations of every pixel were.

    Eager for the one date.
    """
    from biastf_xr.cube._spec import NO_COARSE_GAP

    titles = {
        "base_before": ("fine scene before", 0),
        "base_after": ("fine scene after", 0),
        "coarse_gap": ("clear coarse observation", NO_COARSE_GAP),
    }
    lacking = sorted(set(titles) - {str(name) for name in fused.data_vars})
    if lacking:
        raise CubeStructureError(f"the cube has no {lacking} to draw; expected a fused cube.")
    image = thinned(at_day(fused, day)[[*titles]]).load()
    figure, axes = panels(3, (image.sizes["y"], image.sizes["x"]))
    for axis, (name, (title, none)) in zip(axes, titles.items(), strict=True):
        days = image[name].where(image[name] != none).values
        top = float(days[np.isfinite(days)].max(initial=1))
        show_map(figure, axis, days, title, "days away", cmap="viridis", vmin=0, vmax=top)
    scale_bar(axes[0], image)
    figure.suptitle(f"{to_days(day)[0]}: days to what every pixel was made from", fontsize=10)
    return finished(figure, path)


def _painted(flags: Any, names: Mapping[int, str]) -> NDArray[np.float64]:
    """Return the colour of every flag."""
    from matplotlib.colors import to_rgb

    colours = np.full((256, 3), MISSING)
    for value, name in names.items():
        colours[value] = to_rgb(STATUS_COLOURS.get(name, "0.5"))
    painted: NDArray[np.float64] = colours[np.asarray(flags).astype(int)]
    return painted
