"""The figures of the paper, of a run of its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._cube import bands_of
from biastf_xr.evaluation._figures import DRAWN, draw_bias, draw_predictions, draw_residuals
from biastf_xr.evaluation._maps import case_of
from biastf_xr.paper._tables import columns_of

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.evaluation._maps import Case
    from biastf_xr.paper._paper import PaperRun


def draw_target(run: PaperRun, pair: int, band: str = "nir") -> dict[str, Path]:
    """Draw the paper's figures of one target with all its predictions."""
    scores = run.scores[run.scores["pair"] == pair]
    methods = [m for m in columns_of(run) if m in set(scores["method"])]
    if not methods:
        return {}
    joint = scores[scores["band"] == "mean"].pivot_table(
        index="method", columns="measure", values="value"
    )
    notes = {m: f"RMSE {joint.loc[m, 'RMSE']:.4f}  CC {joint.loc[m, 'CC']:.3f}" for m in methods}
    step = max(-(-max(run.fine.sizes["y"], run.fine.sizes["x"]) // DRAWN), 1)
    # All bands of every n-th pixel, or every pixel of one band: never the whole of all methods.
    whole = _case(run, pair, methods, every=step, upsampling="nearest", notes=notes)
    single = _case(run, pair, methods, band)
    folder = run.folder / "figures"
    return {
        "predictions": draw_predictions(whole, folder / f"{pair:02d}_predictions.png"),
        "bias": draw_bias(single, folder / f"{pair:02d}_bias_{band}.png", band),
        "residuals": draw_residuals(single, folder / f"{pair:02d}_residuals_{band}.png", band),
    }


def _case(
    run: PaperRun, pair: int, methods: list[str], *bands: str, every: int = 1, **options: Any
) -> Case:
    """Load the predictions, and what they are judged by."""
    protocol = run.protocol
    names = list(bands or bands_of(run.fine))
    thin = {"y": slice(None, None, every), "x": slice(None, None, every)}
    images = {}
    for method in methods:
        image = run.prediction(pair, method).isel(thin)
        images[method] = np.stack([image[b].values for b in names])
    return case_of(
        images,
        run.fine[names],
        run.coarse[names],
        protocol.day(pair),
        protocol.day(pair - 1),
        label=f"{protocol.dataset.upper()} pair {pair}, {protocol.day(pair)}",
        every=every,
        **options,
    )
