"""Screen a fine cube in its store, and keep what was found with it."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr._summary import Summary, Told
from biastf_xr.cube._cube import Cube, drop_days
from biastf_xr.cube._guards import CubePair, pair_cubes
from biastf_xr.cube._screening import ScreenRecord, ensure_screening, write_screening
from biastf_xr.cube._spec import SUSPECT
from biastf_xr.fusion._provenance import Archive
from biastf_xr.fusion._screen import BLOCK, SQUARE, Roster, Screening, ScreenRule
from biastf_xr.grid import Tile, split_tiles

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from biastf_xr.cube._spec import Progress
    from biastf_xr.cube.stores.base import Edit

# Shards that are judged side by side; each holds the images of a block in memory.
THREADS = 4

# Days that a report lists.
WORST = 12


@dataclass(frozen=True, repr=False)
class ScreenReport(Told):
    """What screening did to a fine cube.

    Attributes
    ----------
    path : str
        The cube.
    days : dict of str to float
        Suspected share of the clear pixels of every day that was screened now.
    unchanged : int
        Days that had been screened before, from the same scenes.
    """

    path: str
    days: dict[str, float] = field(default_factory=dict)
    unchanged: int = 0

    @property
    def suspected(self) -> dict[str, float]:
        """Return the share of the days of which something is suspected, most first."""
        some = {day: share for day, share in self.days.items() if share}
        return dict(sorted(some.items(), key=lambda one: (one[1], one[0]), reverse=True))

    def _summary(self) -> Summary:
        import pandas as pd

        done = (
            f"{len(self.days)} days compared with the others, {self.unchanged} as before; "
            f"something is suspected on {len(self.suspected)}"
        )
        rows = [(day, f"{share:.1%}") for day, share in [*self.suspected.items()][:WORST]]
        worst = pd.DataFrame(rows, columns=["day", "suspected"])
        caption = "suspected of cloud or shadow, share of the clear pixels"
        facts = {"cube": self.path, "screening": done}
        return Summary("Screening", facts, {caption: worst} if rows else {})


def update_screen(
    fine: Cube | str | Path,
    coarse: Cube | str | Path,
    *,
    withhold: Any = (),
    rule: ScreenRule | None = None,
    progress: Progress | None = None,
) -> ScreenReport:
    """Screen the days of a fine cube whose scenes, or those around them, are new.

    Eager, in threads of this process.  What is suspected stays in the cube and is flagged in its
    variable ``screen``; see `screen`.

    Parameters
    ----------
    fine, coarse : Cube, str or pathlib.Path
        The cubes.
    withhold : array_like of dates
        Fine scenes that take no part, neither judged nor as witnesses.
    rule : ScreenRule, optional
        When an observation is suspected.
    progress : callable, optional
        Called with the last day of a block, the number of parts done, and the number in all.

    Returns
    -------
    ScreenReport
        What was done.

    Raises
    ------
    GridMismatchError, CubeStructureError, MissingPairError
        If the cubes do not fit together.
    StoreLockedError, StoreWriteError
        If another process writes to the fine cube, or it cannot be written.
    """
    fine, coarse, rule = Cube.of(fine).reopened(), Cube.of(coarse), rule or ScreenRule()
    images = fine.to_xarray(chunks=None).drop_vars("screen", errors="ignore")
    held = np.intersect1d(to_days(withhold, "withhold"), to_days(images["time"]))
    pair = pair_cubes(drop_days(images, held), coarse.to_xarray(chunks=None))
    roster = Roster.of(pair, rule)
    made_of = _made_of(roster, pair, (fine, coarse), rule)
    known = fine.screening
    todo = [n for n, day in enumerate(pair.fine_days)
            if day not in known or known[day].made_of != made_of[n]]  # fmt: skip
    report = ScreenReport(fine.path, unchanged=pair.fine_days.size - len(todo))
    if not todo:
        return report
    run = _StoreRun(fine, coarse, pair, Screening.of(pair, roster, todo, rule))
    with fine.store.lock(), fine.store.edit("screening") as edit:
        ensure_screening(edit.group, fine.spec)
        starts = range(0, len(todo), BLOCK)
        for part, start in enumerate(starts, 1):
            dates = todo[start : start + BLOCK]
            shares = run.block(edit, dates, [made_of[n] for n in dates])
            report.days.update(shares)
            edit.checkpoint(f"{pair.fine_days[dates[0]]} to {pair.fine_days[dates[-1]]}")
            if progress:
                progress(str(pair.fine_days[dates[-1]]), part, len(starts))
    return report


def clear_screen(fine: Cube | str | Path) -> int:
    """Take what screening flagged out of a fine cube.

    Parameters
    ----------
    fine : Cube, str or pathlib.Path
        The cube.

    Returns
    -------
    int
        How many days had been screened.
    """
    fine = Cube.of(fine).reopened()
    indices = [int(n) for n in np.flatnonzero(np.isin(fine.days, list(fine.screening)))]
    if indices:
        with fine.store.lock(), fine.store.edit("screening taken out") as edit:
            array: Any = edit.group["screen"]
            for n in indices:
                array[n] = 0
            write_screening(edit.group, dict.fromkeys(indices))
    return len(indices)


@dataclass(frozen=True)
class _StoreRun:
    """What all blocks of a screening from store to store share."""

    fine: Cube
    coarse: Cube
    pair: CubePair
    work: Screening

    def block(self, edit: Edit, dates: list[int], made_of: list[str]) -> dict[str, float]:
        """Judge some dates, shard by shard, and record them; return their suspected shares."""
        days = self.work.roster.days[dates]
        indices = [int(n) for n in np.searchsorted(self.fine.days, days)]
        write_screening(edit.group, dict.fromkeys(indices))
        array: Any = edit.group["screen"]
        size = self.fine.layout.shards[1:]
        tiles = list(split_tiles(self.work.alignment.shape, size))
        suspect, seen = np.zeros(len(dates), np.int64), np.zeros(len(dates), np.int64)
        hashes = [hashlib.blake2b(digest_size=8) for _ in dates]
        with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
            judged = pool.map(lambda tile: self._judge(dates, tile), tiles)
            for tile, (flags, clear) in zip(tiles, judged, strict=True):
                for n, (index, image) in enumerate(zip(indices, flags, strict=True)):
                    array[(index, *tile.slices)] = image
                    left_out = image >= SUSPECT
                    hashes[n].update(np.packbits(left_out).tobytes())
                    suspect[n] += left_out.sum()
                seen += clear
        shares = suspect / np.maximum(seen, 1)
        write_screening(edit.group, {
            index: ScreenRecord(made_of[n], hashes[n].hexdigest() if suspect[n] else "",
                                float(shares[n]))
            for n, index in enumerate(indices)
        })  # fmt: skip
        return dict(zip(map(str, days), map(float, shares), strict=True))

    def _judge(self, dates: list[int], tile: Tile) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Judge a shard, square by square; count its clear pixels too."""
        flags = np.zeros((len(dates), *tile.shape), np.uint8)
        clear = np.zeros(len(dates), np.int64)
        for s in split_tiles(tile.shape, (SQUARE, SQUARE)):
            square = Tile(s.y0 + tile.y0, s.y1 + tile.y0, s.x0 + tile.x0, s.x1 + tile.x0)
            flags[:, *s.slices], counts = self._square(dates, square)
            clear += counts
        return flags, clear

    def _square(self, dates: list[int], square: Tile) -> tuple[Any, Any]:
        work, (read_fine, read_coarse) = self.work, self._readers
        padded, under = work.window(square)
        index = np.searchsorted(self.fine.days, work.roster.days)
        images = {n: read_fine(int(index[n]), padded) for n in work.needed(dates)}
        days = self.pair.coarse_days[work.coarse_near(dates, self.pair.coarse_days)]
        series = read_coarse(np.searchsorted(self.coarse.days, days), under).swapaxes(0, 1)
        found = work.flags(dates, square, images.__getitem__, (days, series))
        own = (images[n][:, *square.within(padded)] for n in dates)
        return found, np.array([np.isfinite(i).all(axis=0).sum() for i in own], np.int64)

    @cached_property
    def _readers(self) -> tuple[Any, Any]:
        """Return what reads windows of the two cubes, opened once."""
        bands = self.pair.bands
        return self.fine.reader(bands, suspects=True), self.coarse.reader(bands)


def _made_of(
    roster: Roster, pair: CubePair, cubes: tuple[Cube, Cube], rule: ScreenRule
) -> list[str]:
    """Return, for every date, a hash of all that its flags follow from."""
    fine, coarse = (Archive.of(cube, sensor, screened=False).hashes(days) for cube, sensor, days in
                    zip(cubes, ("fine", "coarse"), (pair.fine_days, pair.coarse_days),
                        strict=True))  # fmt: skip
    gap = np.timedelta64(rule.coarse_max_gap, "D")
    found = []
    for n in range(roster.days.size):
        linked = roster.around([n], rule.rounds)
        low = max(linked[0] - rule.around, 0)
        high = min(linked[-1] + rule.around, roster.days.size - 1) + 1
        days = roster.days[low:high]
        near = (pair.coarse_days >= days[0] - gap) & (pair.coarse_days <= days[-1] + gap)
        total = hashlib.blake2b(f"{rule}{roster.witnesses[low:high]}".encode(), digest_size=8)
        parts = (days.astype("int64"), roster.partial[low:high], fine[low:high], coarse[near])
        for part in parts:
            total.update(part.tobytes())
        found.append(total.hexdigest())
    return found
