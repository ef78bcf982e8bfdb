"""What each step of the variant "plus" of BiaSTF is worth: every step switched off in turn.

On the generated region (its clear inner scenes withheld in turn, the first after the abrupt event
among them) and, with FOLDER, on the real sets of `accuracy.py`.  Printed are RMSE as a mean over
bands and dates; the ratio to the better of `linear` and `direct` of each date, as a mean and of
the worst date; and CPU seconds of fit and prediction, as a mean over dates.

    python benchmarks/ablation.py [FOLDER] [--set boreas]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from accuracy import SETS, cubes

import biastf_xr
from biastf_xr.brackets import BracketRule
from biastf_xr.cube._cube import drop_days
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.evaluation._designs import inner_dates
from biastf_xr.fusion import FusionRule
from biastf_xr.testing._region import SyntheticRegion

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

# The full method, and what is changed in every other row.
ROWS: dict[str, dict[str, Any]] = {
    "plus": {},
    "no smoothing in time": {"smoothing": 0.0},
    "no response of the coarse sensor": {"response": False},
    "no footprint": {"footprint": 0.0},
    "position by time alone": {"position": 0.0},
    "no mixture of base bands": {"mixture": False},
    "no Wiener filter": {"noise_mean": 0.0, "noise_mixture": 0.0, "noise_local": 0.0},
    "no local rest": {"noise_local": 1e9},
}


def errors(image: xr.Dataset, truth: xr.Dataset, bands: tuple[str, ...]) -> float:
    """Return the RMSE, as a mean over bands."""
    wrong = [image[b].values[0] - truth[b].values[0] for b in bands]
    return float(np.mean([np.sqrt(np.nanmean(w**2)) for w in wrong]))


def table(name: str, fine: xr.Dataset, coarse: xr.Dataset, days: Any, rule: FusionRule) -> None:
    """Print the rows of one set."""
    found: dict[str, list[tuple[float, float, float]]] = {row: [] for row in ROWS}
    for day in days:
        rest, truth = drop_days(fine, [day]), fine.sel(time=[str(day)]).load()
        bands = pair_cubes(fine, coarse).bands
        free = [
            errors(biastf_xr.fuse(rest, coarse, m, dates=[day], rule=rule).load(), truth, bands)
            for m in ("linear", "direct")
        ]
        for row, options in ROWS.items():
            started = time.process_time()
            model = biastf_xr.fit(rest, coarse, base_rule=rule.bracket, **options)
            image = biastf_xr.fuse(rest, coarse, model, dates=[day], rule=rule).load()
            spent, rmse = time.process_time() - started, errors(image, truth, bands)
            found[row].append((rmse, rmse / min(free), spent))
    print(f"\n{name}: {len(days)} date(s)\n\n{'':34s}   RMSE  ratio  worst  CPU s")
    for row, values in found.items():
        rmse, ratio, spent = np.mean(values, axis=0)
        worst = max(v[1] for v in values)
        print(f"{row:34s} {rmse:.4f} {ratio:6.3f} {worst:6.3f} {spent:6.1f}", flush=True)


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
