"""Why a set is hard: what the coarse sensor tells of the change, and what is left if it told all.

For every withheld date of the sets of `accuracy.py`, with the nearest base dates, printed are

- `follows`: correlation, at the coarse scale, of what the coarse image departs from interpolation
  in time with what the fine image does; as a mean over bands.  Where it is near 0 no method can
  gain from the coarse image of the day;
- RMSE, over that of the better of `linear` and `direct`, of `biastf-plus`; of interpolation in time
  plus the *true* departure at the coarse scale, interpolated (`coarse known`); of the same after
  the mixture of the base bands was fitted to the true departure at the coarse scale (`+ mixture`);
  and of a mixture of the base bands fitted to the truth pixel by pixel (`fine mixture`).

    python benchmarks/limits.py FOLDER [--set boreas]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from accuracy import SETS, cubes

import biastf_xr
from biastf_xr.brackets import BracketRule, usable_dates
from biastf_xr.cube._cube import drop_days
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.fusion import FusionRule
from biastf_xr.grid import Tile, Upsampler, aggregate
from biastf_xr.methods.plus._change import explain, explained_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr


def stack(ds: xr.Dataset, day: Any, bands: tuple[str, ...]) -> Any:
    """Return one date, shape (band, y, x)."""
    return np.stack([ds[b].sel(time=str(day)).values.squeeze() for b in bands]).astype(np.float32)


def rmse(image: Any, truth: Any) -> float:
    """Return the RMSE as a mean over bands."""
    return float(np.sqrt(np.nanmean((image - truth) ** 2, axis=(1, 2))).mean())


def judge(fine: xr.Dataset, coarse: xr.Dataset, day: Any, rule: FusionRule) -> list[float]:
    """Return the figures of one date."""
    rest = drop_days(fine, [day])
    pair = pair_cubes(rest, coarse)
    alignment, bands = pair.alignment, pair.bands
    days = usable_dates(pair, rule.bracket)
    flanks = [*days[days < day][-1:], *days[days > day][:1]]
    share = float((day - flanks[0]) / (flanks[1] - flanks[0])) if len(flanks) == 2 else 0.0
    images = [stack(fine, d, bands) for d in flanks]
    seen = [stack(coarse, d, bands) for d in flanks]
    start = images[0] + np.float32(share) * (images[-1] - images[0])
    expected = seen[0] + np.float32(share) * (seen[-1] - seen[0])
    truth = stack(fine, day, bands)
    rows, cols = alignment.rows, alignment.cols
    need = aggregate(truth - start, rows, cols)
    told = stack(coarse, day, bands) - expected
    follows = []
    for a, b in zip(need, told, strict=True):
        there = np.isfinite(a) & np.isfinite(b)
        follows.append(np.corrcoef(a[there], b[there])[0, 1])
    up = Upsampler(alignment, Tile(0, alignment.shape[0], 0, alignment.shape[1]),
                   Tile(0, alignment.coarse_shape[0], 0, alignment.coarse_shape[1]))  # fmt: skip
    bases = np.concatenate(images)
    below = aggregate(bases, rows, cols)
    sure = np.zeros(len(bands))
    mixture = explain(need, np.split(below, len(flanks)), sure)
    level = mixture.mean[:, None, None]
    left = need - level - explained_by(mixture, below)
    mixed = start + level + explained_by(mixture, bases) + up(left)
    fitted = explain(truth - start, np.split(bases, len(flanks)), sure)
    best = start + fitted.mean[:, None, None] + explained_by(fitted, bases)
    free = [
        rmse(
            stack(biastf_xr.fuse(rest, coarse, m, dates=[day], rule=rule).load(), day, bands), truth
        )
        for m in ("linear", "direct")
    ]
    plus = biastf_xr.fit(rest, coarse, base_rule=rule.bracket)
    made = biastf_xr.fuse(rest, coarse, plus, dates=[day], rule=rule).load()
    ours = stack(made, day, bands)
    errors = (rmse(v, truth) / min(free) for v in (ours, start + up(need), mixed, best))
    return [float(np.mean(follows)), *errors]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table per set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=SETS, help="one set only")
    given = parser.parse_args(arguments)
    for name in [given.set] if given.set else SETS:
        chosen = SETS[name]
        rule = FusionRule(bracket=BracketRule(min_clear=chosen.min_clear))
        with tempfile.TemporaryDirectory() as work:
            fine, coarse = cubes(name, given.folder, Path(work))
            print(f"\n{name}\n\n{'':12s} follows  plus  coarse known  + mixture  fine mixture")
            for day in np.array(chosen.dates, "datetime64[D]"):
                f, plus, known, mixed, best = judge(fine, coarse, day, rule)
                print(f"{day!s:12s} {f:7.2f} {plus:5.2f} {known:13.2f} {mixed:10.2f} {best:13.2f}",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
