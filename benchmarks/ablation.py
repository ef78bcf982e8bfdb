"""What each ingredient of biastf-plus is worth: every one left out of a fitted model in turn.

On the generated region (its clear inner scenes withheld in turn, the first after the abrupt event
among them) and, with FOLDER, on the real sets of `accuracy.py`.  Printed are RMSE as a mean over
bands and dates, and the ratio to the better of `linear` and `direct` of each date, as a mean and of
the worst date.

    python benchmarks/ablation.py [FOLDER] [--set boreas]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from accuracy import SETS, cubes

import biastf_xr
from biastf_xr.brackets import BracketRule
from biastf_xr.cube._cube import drop_days
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.evaluation._designs import inner_dates
from biastf_xr.fusion import FusionRule
from biastf_xr.methods.plus._change import PARTS
from biastf_xr.methods.plus._fit import PRIOR
from biastf_xr.testing._region import SyntheticRegion

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from biastf_xr.methods.plus import Plus
    from biastf_xr.methods.plus._card import PlusCard

Change = Callable[["PlusCard"], dict[str, Any]]


def without(*parts: str) -> Change:
    """Leave parts out of a prediction."""

    def change(card: PlusCard) -> dict[str, Any]:
        kept = np.array([part not in parts for part in PARTS])
        return {"shares": {k: tuple(kept * v) for k, v in card.shares.items()}}

    return change


def alike(card: PlusCard) -> dict[str, Any]:
    """Take both sensors to respond alike."""
    return {"response": (1.0,) * len(card.bands)}


# Ingredient by ingredient: what is changed in the card of a model.
ROWS: dict[str, Change] = {
    "biastf-plus": lambda _: {},
    "no smoothing in time": lambda card: {"rule": card.rule | {"smoothing": 0.0}},
    "no footprint": lambda _: {"footprint": 0.0},
    "response of 1": alike,
    "no noise": lambda _: {"doubt": {"one": 0.0, "two": 0.0}},
    "noise as first estimated": lambda _: {"doubt": {"one": 1.0, "two": 1.0}},
    "shares as without known dates": lambda _: {"shares": dict(PRIOR)},
    "no detail": without("mixture", "slope", "position"),
    "no mixture": without("mixture"),
    "no local slope": without("slope"),
    "position by time alone": without("position"),
    "no rest": without("rest"),
}


def errors(image: xr.Dataset, truth: xr.Dataset, bands: tuple[str, ...]) -> float:
    """Return the RMSE, as a mean over bands."""
    wrong = [image[b].values[0] - truth[b].values[0] for b in bands]
    return float(np.mean([np.sqrt(np.nanmean(w**2)) for w in wrong]))


def table(name: str, fine: xr.Dataset, coarse: xr.Dataset, days: Any, rule: FusionRule) -> None:
    """Print the rows of one set."""
    found: dict[str, list[tuple[float, float]]] = {row: [] for row in ROWS}
    for day in days:
        rest, truth = drop_days(fine, [day]), fine.sel(time=[str(day)]).load()
        bands = pair_cubes(fine, coarse).bands
        free = [
            errors(biastf_xr.fuse(rest, coarse, m, dates=[day], rule=rule).load(), truth, bands)
            for m in ("linear", "direct")
        ]
        model = cast("Plus", biastf_xr.fit(rest, coarse, base_rule=rule.bracket))
        for row, change in ROWS.items():
            changed = replace(model, card=replace(model.card, **change(model.card)))
            image = biastf_xr.fuse(rest, coarse, changed, dates=[day], rule=rule).load()
            rmse = errors(image, truth, bands)
            found[row].append((rmse, rmse / min(free)))
    print(f"\n{name}: {len(days)} date(s)\n\n{'':30s}   RMSE  ratio  worst")
    for row, values in found.items():
        rmse, ratio = np.mean(values, axis=0)
        worst = max(v[1] for v in values)
        print(f"{row:30s} {rmse:.4f} {ratio:6.3f} {worst:6.3f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table per set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", help="real sets, as of accuracy.py")
    parser.add_argument("--set", choices=["region", *SETS], help="one set only")
    parser.add_argument("--size", type=int, default=256, help="pixels on a side of the region")
    parser.add_argument("--days", type=int, default=144, help="days of the region")
    given = parser.parse_args(arguments)
    if given.set in (None, "region"):
        region = SyntheticRegion(shape=(given.size, given.size), days=given.days)
        fine, coarse = region.fine_cube(), region.coarse_cube()
        days = inner_dates(pair_cubes(fine, coarse), 0.6)
        table("generated region", fine, coarse, days, FusionRule())
    for name in SETS if given.folder else ():
        if given.set in (None, name):
            with tempfile.TemporaryDirectory() as work:
                fine, coarse = cubes(name, given.folder, Path(work))
                rule = FusionRule(bracket=BracketRule(min_clear=SETS[name].min_clear))
                days = np.array(SETS[name].dates, "datetime64[D]")
                table(name, fine, coarse, days, rule)


if __name__ == "__main__":
    main()
