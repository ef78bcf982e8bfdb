"""Read, fuse and write one unit, on whatever runs it: a thread here or a worker of a cluster.

A worker has a few units in hand at once, each in its own thread.  One of them at a time is in the
inference lane; meanwhile the others read their windows or write their shards, so that neither the
processor nor the GPU waits for the store.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._system import writing_to
from biastf_xr.cube._cube import window_writer
from biastf_xr.cube._spec import STATUS, SUSPECT
from biastf_xr.errors import StoreLockedError
from biastf_xr.fusion._kernel import (
    CoarseSeries,
    Fused,
    coarse_dates,
    coarse_window,
    fill_coarse,
    fuse_unit,
)
from biastf_xr.fusion._ledger import (
    ALL,
    BASES,
    CONTENT,
    DEPTH,
    FINE,
    add_to_journal,
    begun,
    pack_depth,
    unpack_depth,
)
from biastf_xr.fusion._report import UnitOutcome
from biastf_xr.fusion._window_cache import WindowCache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.cube._cube import Cube
    from biastf_xr.fusion._plan import FusionRule, Unit
    from biastf_xr.grid import Alignment, Tile
    from biastf_xr.methods.base import Float, Method, Prepared

# One inference at a time in a process: its threads are the cores' or the GPU's whole share.
LANE = threading.Lock()

# Windows of base images and coarse series that the next units of a tile will ask for again.
CACHE_BYTES = 96 * 2**20


@dataclass(frozen=True)
class RunContext:
    """What every unit of a run shares.  Small: it travels to the workers."""

    fine: Cube
    coarse: Cube
    output: Cube
    method: Method
    bands: tuple[str, ...]
    alignment: Alignment
    rule: FusionRule
    run: str  # what a worker keeps is of one run
    token: str  # the driver's lock on the output


@dataclass(frozen=True)
class UnitRecord:
    """What the ledger will say of a unit."""

    lines: NDArray[np.uint64]  # (date, LINE), of the journal; the hash of coarse images still 0
    known: tuple[int, ...]  # hash of the coarse images of an earlier make; 0: make it anyway
    rewrites: bool  # whether pixels that are there are recomputed
    hashes: tuple[NDArray[np.uint64], NDArray[np.uint64]]  # of the base dates a side, near to far
    bits: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]  # by date: name the bases
    states: dict[np.datetime64, Prepared] = field(default_factory=dict)  # by base date

    def name_bases(self, lines: NDArray[np.uint64]) -> None:
        """Complete the lines by what follows from the number of base dates looked at, in place."""
        sides = unpack_depth(lines[:, 2 + DEPTH])
        for n, depths in enumerate(zip(*sides, strict=True)):
            total, bases = int(lines[n, 2 + FINE]), 0
            for side, depth in enumerate(depths):
                total += sum(int(h) for h in self.hashes[side][:depth])
                bases |= sum(self.bits[n][side][:depth])
            lines[n, 2 + FINE], lines[n, 2 + BASES] = max(total % 2**64, 1), bases


def run_unit(context: RunContext, unit: Unit, record: UnitRecord, store: Any) -> UnitOutcome:
    """Read, fuse and write one unit."""
    clock, method = _Clock(), context.method
    windows = _windows_of(context)
    coarse = fill_coarse(unit, windows.series(unit), context.rule, method.smoothing)
    contents = coarse.hashes(record.states)
    lines = record.lines.copy()
    lines[:, 2 + CONTENT] = contents
    changed = [n for n, (new, old) in enumerate(zip(contents, record.known, strict=True))
               if new != old]  # fmt: skip
    pixels = 0
    if changed:
        part, coarse = _of_dates(unit, changed), coarse.of(changed)
        windows.prefetch(part)
        clock.stop("read")
        with LANE:
            clock.stop("wait")
            states = {day: state.of(changed) for day, state in record.states.items()}
            fused = fuse_unit(
                part, method, states, windows.fine_image, coarse, context.alignment,
                context.bands, windows.suspects,
            )  # fmt: skip
        clock.stop("infer")
        pixels = int(fused.status_flag.size)
        lines[changed, 2 + DEPTH] = pack_depth(*(fused.depth if fused.closed else (ALL, ALL)))
        record.name_bases(lines)
        _write(context, store, unit, changed, fused, lines, rewrites=record.rewrites)
    else:
        record.name_bases(lines)
    if not context.output.store.transactional:
        with writing_to(context.output.path):
            add_to_journal(store, unit.slot, lines)
    clock.stop("write")
    return UnitOutcome(
        unit.slot, lines, store, pixels, len(contents) - len(changed), clock.seconds,
        _resident(), f"{os.uname().nodename}:{os.getpid()}",
    )  # fmt: skip


def _of_dates(unit: Unit, dates: list[int]) -> Unit:
    bracket = replace(unit.bracket, targets=tuple(unit.bracket.targets[i] for i in dates))
    return replace(unit, bracket=bracket, dates=tuple(unit.dates[i] for i in dates))


def _write(
    context: RunContext,
    store: Any,
    unit: Unit,
    dates: list[int],
    fused: Fused,
    lines: NDArray[np.uint64],
    *,
    rewrites: bool,
) -> None:
    """Write whole shards, the flag last: where it is set, everything else of the date is there."""
    output = context.output
    if not output.store.held_by(context.token):
        raise StoreLockedError(
            f"{output.path}: the run that this unit belongs to has ended or was killed, so it is "
            "not written. Nothing is to be done: the next run makes it."
        )
    data = fused.variables(context.bands)
    flag = {"status_flag": data.pop("status_flag")}
    blank = {"status_flag": np.full_like(flag["status_flag"], STATUS["unwritten"])}
    with writing_to(output.path):
        in_place = rewrites and not output.store.transactional
        if in_place:
            add_to_journal(store, unit.slot, begun(lines))
        write = window_writer(store)
        for part, times in _neighbours([int(lines[i, 0]) for i in dates]):
            for step in (*((blank,) if in_place else ()), data, flag):
                write(times, unit.tile, {name: v[part] for name, v in step.items()})


def _neighbours(indices: list[int]) -> list[tuple[slice, slice]]:
    """Cut indices into runs without a gap: the slice of the list, and that of the axis."""
    ends = (n for n in range(1, len(indices)) if indices[n] != indices[n - 1] + 1)
    cuts = [0, *ends, len(indices)]
    return [
        (slice(a, b), slice(indices[a], indices[b - 1] + 1)) for a, b in itertools.pairwise(cuts)
    ]


class _Clock:
    """Times of the stages of a unit."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def _resident() -> int:
    """Return the bytes that this process has resident."""
    import psutil

    return int(psutil.Process().memory_info().rss)


class _Windows:
    """The two cubes of a run, opened once per process, and the windows kept of them."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.read_fine, self.fine_days = context.fine.reader(context.bands), context.fine.days
        self.read_coarse = context.coarse.reader(context.bands)
        self.coarse_days, self.step = context.coarse.days, context.coarse.layout.time
        self.cache = WindowCache(CACHE_BYTES)

    def fine_image(self, day: np.datetime64, tile: Tile) -> Float:
        """Return one fine image; read once for all units of the tile."""
        index = int(np.searchsorted(self.fine_days, day))
        image: Float = self.cache.get(("fine", index, tile), lambda: self.read_fine(index, tile))
        return image

    def suspects(self, day: np.datetime64, tile: Tile) -> NDArray[np.bool_]:
        """Return where a fine image is suspected."""
        flags = self.context.fine.screen_flags(int(np.searchsorted(self.fine_days, day)), tile)
        return np.zeros(tile.shape, bool) if flags is None else flags >= SUSPECT

    def prefetch(self, unit: Unit) -> None:
        """Read what the unit will surely need: the nearest base date on each side."""
        context, bracket = self.context, unit.bracket
        tile = unit.tile.padded(context.method.fine_halo).clipped(context.alignment.shape)
        for day in (*bracket.before[:1], *bracket.after[:1]):
            self.fine_image(day, tile)

    def series(self, unit: Unit) -> CoarseSeries:
        """Return the coarse images around a unit, in blocks of days as they are stored."""
        context = self.context
        window = coarse_window(unit, context.method, context.alignment)
        dates = coarse_dates(unit, self.coarse_days, context.rule)
        shape = (0, len(context.bands), *window.shape)
        parts = [np.zeros(shape, np.float32)]
        for block in np.unique(dates // self.step):
            start = int(block) * self.step
            values = self._block(start, window)
            parts.append(values[dates[dates // self.step == block] - start])
        return CoarseSeries(self.coarse_days[dates], np.concatenate(parts), window)

    def _block(self, start: int, window: Tile) -> Float:
        times = slice(start, min(start + self.step, self.coarse_days.size))
        block: Float = self.cache.get(
            ("coarse", start, window), lambda: self.read_coarse(times, window).swapaxes(0, 1)
        )
        return block


_OPENING = threading.Lock()
_OPEN: dict[str, _Windows] = {}


def _windows_of(context: RunContext) -> _Windows:
    """Return the windows of a run; those of an earlier one are let go."""
    with _OPENING:
        if context.run not in _OPEN:
            _OPEN.clear()
            _OPEN[context.run] = _Windows(context)
        return _OPEN[context.run]


def forget_windows() -> None:
    """Let go of what this process has read."""
    with _OPENING:
        _OPEN.clear()
