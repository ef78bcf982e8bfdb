"""What screening finds of clouds that the fine mask misses, and what fusion gains by it.

On generated regions, whose mask misses a share of the clouds with their shadows.  Printed are, for
every region: the share found of what is missed (all of it, and what is off by more than 0.05
reflectance, root mean square over bands), the share of good pixels that is suspected, the same of
the pixels that the flood covers on the first two passes after it, and of a series whose mask misses
nothing; the root mean square error of all days fused without screening, with it, and with the true
mask.  With FOLDER, the suspected share of every scene of the real set `salton_sea` too, whose truth
nobody knows.

    python benchmarks/screening.py [FOLDER] [--seed 1 --seed 2] [--size 192]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from accuracy import cubes

import biastf_xr
from biastf_xr.cube import SCREEN
from biastf_xr.fusion import screen
from biastf_xr.testing import SyntheticRegion

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

SUSPECT = SCREEN["suspected_cloud"]

# A pixel is flooded if its near infrared falls by so much from the day before to the day after.
FLOODED = 0.1

# Days between two that are scored.
STEP = 3


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of the real sets")
    parser.add_argument("--seed", action="append", type=int, help="of a generated region")
    parser.add_argument("--size", type=int, default=192, help="side of the regions, fine pixels")
    parser.add_argument("--days", type=int, default=176, help="length of their season")
    parser.add_argument("--revisit", type=int, default=8, help="days between two fine passes")
    parser.add_argument("--missed", type=float, default=0.2, help="share of clouds missed")
    parser.add_argument("--method", default="biastf-plus")
    asked = parser.parse_args(words)
    rows = []
    for seed in asked.seed or (1, 2, 3, 4, 5):
        options = {"shape": (asked.size, asked.size), "days": asked.days, "seed": seed,
                   "fine_revisit": asked.revisit}  # fmt: skip
        rows.append({"seed": seed, **score(options, asked.missed, asked.method)})
    print(pd.DataFrame(rows).set_index("seed").T.to_string(float_format="{:.4f}".format))
    if asked.folder:
        with tempfile.TemporaryDirectory() as work:
            fine, coarse = cubes("salton_sea", asked.folder, Path(work))
            print(f"\nsalton_sea, suspected share of the clear pixels\n{suspected(fine, coarse)}")


def score(options: dict[str, Any], missed: float, method: str) -> dict[str, float]:
    """Screen one region, and fuse it in three ways."""
    region = SyntheticRegion(**options, missed=missed)
    fine, coarse = region.fine_cube(), region.coarse_cube()
    clean = SyntheticRegion(**options).fine_cube()
    scenes = [region.fine_scene(day) for day in region.fine_dates]
    good, bad = (np.stack([getattr(s, name) for s in scenes]) for name in ("clear", "missed"))
    started = time.perf_counter()
    screened = screen(fine, coarse).compute()
    seconds = time.perf_counter() - started
    suspect = screened["screen"].values >= SUSPECT
    values = np.stack([fine[b].values for b in region.bands], axis=1)
    truth = np.stack([region.truth(day) for day in region.fine_dates])
    grave = bad & (np.sqrt(np.mean((values - truth) ** 2, axis=1)) > 0.05)
    one = np.timedelta64(1, "D")
    before, after = (region.truth(region.event_date + step)[3] for step in (-one, one))
    flood = np.zeros_like(good)
    flood[np.flatnonzero(region.fine_dates > region.event_date)[:2]] = before - after > FLOODED
    days = region.dates[::STEP]
    target = np.stack([region.truth(day) for day in days])

    def error(cube: xr.Dataset) -> float:
        """Return the root mean square error of the days fused from a fine cube."""
        fused = biastf_xr.fuse(cube, coarse, method, dates=days)
        made = np.stack([fused[b].values for b in region.bands], axis=1)
        return float(np.sqrt(np.nanmean((made - target) ** 2)))

    left_alone = screen(clean, coarse)["screen"].values < SUSPECT
    return {
        "missed share of all pixels": float(bad.mean()),
        "found": share(suspect, bad),
        "found where off by > 0.05": share(suspect, grave),
        "good pixels suspected": share(suspect, good),
        "flooded pixels suspected": share(suspect, flood & good),
        "of a clean series": share(~left_alone, good),
        "RMSE not screened": error(fine),
        "RMSE screened": error(screened),
        "RMSE true mask": error(clean),
        "seconds per Mpx and date": seconds / (good.size / 1e6),
    }


def share(what: Any, of: Any) -> float:
    """Return which share of some pixels something holds for."""
    return float(what[of].mean()) if of.any() else float("nan")


def suspected(fine: xr.Dataset, coarse: xr.Dataset) -> str:
    """List the suspected share of every scene."""
    flags = screen(fine, coarse)["screen"].values
    clear = np.isfinite(fine["nir"].values)
    rows = {
        str(day)[:10]: [share(f >= SUSPECT, c), float(c.mean())]
        for day, f, c in zip(fine["time"].values, flags, clear, strict=True)
        if c.any()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["suspected", "clear"])
    return str(table.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
