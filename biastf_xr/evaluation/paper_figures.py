"""The figures of the paper, of a run of its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube.guards import pair_cubes
from biastf_xr.cube.store import bands_of
from biastf_xr.evaluation.figures import (
    DRAWN,
    Case,
    draw_bias,
    draw_predictions,
    draw_residuals,
    on_fine_grid,
)
from biastf_xr.evaluation.paper import image_of
from biastf_xr.evaluation.paper_tables import columns_of

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.evaluation.paper import PaperRun
    from biastf_xr.grid import Upsampling


def draw_target(run: PaperRun, pair: int, band: str = "nir") -> dict[str, Path]:
    """Draw the paper's figures of one target with all its predictions.

    Parameters
    ----------
    run : PaperRun
        The run.
    pair : int
        Ordinal of the target.
    band : str
        Band of the maps.

    Returns
    -------
    dict of pathlib.Path
        The pictures, by "predictions", "bias" and "residuals"; none if no method has a result.
        Changes are counted from the pair before the target.
    """
    scores = run.scores[run.scores["pair"] == pair]
    methods = [m for m in columns_of(run) if m in set(scores["method"])]
    if not methods:
        return {}
    step = max(-(-max(run.fine.sizes["y"], run.fine.sizes["x"]) // DRAWN), 1)
    joint = scores[scores["band"] == "mean"].pivot_table(
        index="method", columns="measure", values="value"
    )
    notes = {m: f"RMSE {joint.loc[m, 'RMSE']:.4f}  CC {joint.loc[m, 'CC']:.3f}" for m in methods}
    whole = _case(run, pair, methods, None, step, "nearest", notes)
    single = _case(run, pair, methods, band, 1, "bilinear", {})
    folder = run.folder / "figures"
    return {
        "predictions": draw_predictions(whole, folder / f"{pair:02d}_predictions.png"),
        "bias": draw_bias(single, folder / f"{pair:02d}_bias_{band}.png", band),
        "residuals": draw_residuals(single, folder / f"{pair:02d}_residuals_{band}.png", band),
    }


def _case(
    run: PaperRun,
    pair: int,
    methods: list[str],
    band: str | None,
    step: int,
    upsampling: Upsampling,
    notes: dict[str, str],
) -> Case:
    """Load one band, or every n-th pixel of all, of everything that the figures show."""
    protocol = run.protocol
    bands = bands_of(run.fine) if band is None else (band,)
    alignment = pair_cubes(run.fine, run.coarse).alignment
    fine, coarse = run.fine[list(bands)], run.coarse[list(bands)]
    before, day = protocol.day(pair - 1), protocol.day(pair)

    def thin(image: Any) -> Any:
        return image[..., ::step, ::step]

    def predicted(method: str) -> Any:
        image = run.prediction(pair, method).isel(
            y=slice(None, None, step), x=slice(None, None, step)
        )
        return np.stack([image[b].values for b in bands])

    low = [thin(on_fine_grid(image_of(coarse, d), alignment, upsampling)) for d in (day, before)]
    high = [thin(image_of(fine, d)) for d in (day, before)]
    return Case(
        f"{protocol.dataset.upper()} pair {pair}, {day}",
        bands,
        {m: predicted(m) for m in methods},
        truth=high[0],
        base=high[1],
        coarse=low[0],
        coarse_base=low[1],
        notes=notes,
    )
