"""What a method has learned of the bias between the two sensors, beside what was observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr.brackets import BracketRule
from biastf_xr.cube._cube import bands_of
from biastf_xr.fusion._lazy import fuse
from biastf_xr.fusion._plan import FusionRule
from biastf_xr.pictures._canvas import (
    Drawing,
    at_day,
    drawing,
    extent,
    finished,
    panel_height,
    show_numbers,
    thinned,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr

    from biastf_xr.methods.base import Method


def learned_bias(
    model: Method, fine: xr.Dataset, coarse: xr.Dataset, base: Any, day: Any
) -> tuple[xr.Dataset, xr.Dataset]:
    """Return the bias of change that a method predicts between two fine scenes, and the true one.

    The bias is the fine change less the coarse change.  The scene of `day` is predicted from that
    of `base` alone, so that one side is seen and not a weighted sum.  Lazy.

    `model`: A fitted method that predicts from one base date, as "biastf" and "biastf-plus" do.
    `base`, `day`: The date that changes are counted from, and the other one.
    `predicted`, `observed`: One variable per band, dims ``(y, x)``, reflectance; NaN where not
    clear on both dates.
    """
    bands = list(bands_of(fine))
    truth, start = (_bare(at_day(fine, d, "the fine cube"), bands) for d in (day, base))
    known = fine.isel(time=to_days(fine["time"]) == to_days(base)[0])
    how = {"upsampling": model.upsampling} if hasattr(model, "upsampling") else {}
    made, transferred = (
        _bare(fuse(known, coarse, method, dates=[day], rule=_RULE, **options).isel(time=0), bands)
        for method, options in ((model, {}), ("direct", how))
    )
    clear = truth.notnull() & start.notnull()
    return (made - transferred).where(clear), (truth - transferred).where(clear)


# A base date of any clearness.
_RULE = FusionRule(bracket=BracketRule(min_clear=0.0))


def _bare(image: xr.Dataset, bands: list[str]) -> xr.Dataset:
    """Keep the bands and their coordinates."""
    return image[bands].reset_coords(drop=True)


def draw_bias(
    model: Method,
    fine: xr.Dataset,
    coarse: xr.Dataset,
    base: Any,
    day: Any,
    *,
    bands: Sequence[str] | None = None,
    path: str | Path | None = None,
) -> Drawing:
    """Show the bias of change that a method predicts between two fine scenes beside the true one.

    Eager.  A pair that the model was fitted on shows what it has learned; one that was withheld,
    how much of it holds elsewhere.

    `base`, `day`: The date that changes are counted from, and the other one.
    Returned: The figure: a column per band with the observed bias above the predicted one on
    one colour scale; between them their correlation, the root mean square of the observed bias,
    and what the prediction leaves of it.
    """
    predicted, observed = (
        thinned(image).load() for image in learned_bias(model, fine, coarse, base, day)
    )
    names = list(bands or observed.data_vars)
    height = panel_height((observed.sizes["y"], observed.sizes["x"]))
    figure = drawing(2.2 * len(names) + 0.9, 1.75 * height + 1.0)
    grid = figure.subplots(2, len(names), squeeze=False)
    for column, band in enumerate(names):
        images = observed[band].values, predicted[band].values
        top = extent(images)
        for row, (what, image) in enumerate(zip(("observed", "predicted"), images, strict=True)):
            axis = grid[row, column]
            shown = show_numbers(axis, image, "", cmap="PuOr", vmin=-top, vmax=top)
            if column == 0:
                axis.set_ylabel(what)
        grid[0, column].set_title(band, fontsize=10)
        grid[1, column].set_title(_agreement(*images), fontsize=8)
        bar = figure.colorbar(shown, ax=list(grid[:, column]), location="bottom", pad=0.02)
        bar.ax.tick_params(labelsize=7)
    days = [str(to_days(d)[0]) for d in (base, day)]
    figure.suptitle(
        f"{model.name}: bias of the change from {days[0]} to {days[1]}, reflectance", fontsize=10
    )
    return finished(figure, path)


def _agreement(observed: Any, predicted: Any) -> str:
    """Return how much of the observed bias is predicted."""
    both = np.isfinite(observed) & np.isfinite(predicted)
    if both.sum() < 2 or not observed[both].std() or not predicted[both].std():
        return "nothing to compare"
    left = np.sqrt(np.mean((observed[both] - predicted[both]) ** 2))
    whole = np.sqrt(np.mean(observed[both] ** 2))
    like = np.corrcoef(observed[both], predicted[both])[0, 1]
    return f"r {like:.2f}\nRMS {whole:.4f}, left {left:.4f}"
