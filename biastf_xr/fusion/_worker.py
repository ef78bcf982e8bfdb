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

from biastf_xr.cube._cube import layout_of, open_cube, window_reader, window_writer
from biastf_xr.cube._spec import STATUS, to_days
from biastf_xr.cube.stores import store_at
from biastf_xr.cube.stores._lock import writing_to
from biastf_xr.errors import StoreLockedError
from biastf_xr.fusion._kernel import (
    CoarseImages,
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
from biastf_xr.fusion._window_cache import WindowCache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.fusion._plan import FusionRule, Unit
    from biastf_xr.grid import Alignment, Tile
    from biastf_xr.methods.base import Float, Method, Prepared

# One inference at a time in a process: its threads are the cores' or the GPU's whole share.
LANE = threading.Lock()

# Windows of base images and coarse series that the next units of a tile will ask for again.
CACHE_BYTES = 96 * 2**20


@dataclass(frozen=True)
class Job:
    """What every unit of a run shares.  Small: it travels to the workers.

    `fine`, `coarse`: The stores to read.
    `output`: The store to write.
    `alignment`: How the coarse grid lies under the fine one.
    `run`: Name of the run; what a worker remembers is of one run.
    `token`: The driver's lock on the output.
    """

    fine: str
    coarse: str
    output: str
    method: Method
    bands: tuple[str, ...]
    alignment: Alignment
    rule: FusionRule
    run: str
    token: str


@dataclass(frozen=True)
class Task:
    """One unit with what the ledger will say of it.

    `slot`: Number of the unit in its run.
    `lines`: Shape ``(date, LINE)``: lines of the journal, the digest of the coarse images still
    0.
    `known`: Digest of the coarse images from which each date was made before, where only scenes
    of the coarse sensor have changed since; 0 where it must be made in any case.
    `rewrites`: Whether pixels that are there are made anew.
    `words`: Numbers of the base dates on each side, from near to far.
    `bits`: By date, the bits that name them in the recipe.
    `states`: What the method prepared, by base date, for the unit's dates.
    """

    slot: int
    unit: Unit
    lines: NDArray[np.uint64]
    known: tuple[int, ...]
    rewrites: bool
    words: tuple[NDArray[np.uint64], NDArray[np.uint64]]
    bits: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    states: dict[np.datetime64, Prepared] = field(default_factory=dict)

    def name_bases(self, lines: NDArray[np.uint64]) -> None:
        """Complete the lines by what follows from the number of base dates looked at, in place."""
        sides = unpack_depth(lines[:, 2 + DEPTH])
        for n, depths in enumerate(zip(*sides, strict=True)):
            word, bases = int(lines[n, 2 + FINE]), 0
            for side, depth in enumerate(depths):
                word += sum(int(w) for w in self.words[side][:depth])
                bases |= sum(self.bits[n][side][:depth])
            lines[n, 2 + FINE], lines[n, 2 + BASES] = max(word % 2**64, 1), bases

    @property
    def places(self) -> list[int]:
        """Return the places of the dates on the time axis of the output."""
        return [int(p) for p in self.lines[:, 0]]


@dataclass(frozen=True)
class UnitOutcome:
    """What came of a unit.

    `lines`: What the ledger is to say.
    `store`: What was written through; with Icechunk it holds the changes.
    `pixels`: Pixels and dates made.
    `unchanged`: Dates that were found to be as they are.
    `seconds`: Time spent to read, wait, infer and write.
    `memory`: Bytes resident in the worker.
    """

    slot: int
    lines: NDArray[np.uint64]
    store: Any
    pixels: int
    unchanged: int
    seconds: dict[str, float]
    memory: int
    worker: str


def run_task(job: Job, task: Task, store: Any) -> UnitOutcome:
    """Read, fuse and write one unit."""
    clock = _Clock()
    inputs = _inputs(job)
    coarse = fill_coarse(task.unit, inputs.series(task.unit), job.rule, job.method.smoothing)
    contents = coarse.digests(task.states)
    lines = task.lines.copy()
    lines[:, 2 + CONTENT] = contents
    changed = [
        i for i, (new, old) in enumerate(zip(contents, task.known, strict=True)) if new != old
    ]
    pixels = 0
    if changed:
        unit, coarse = _of_dates(task.unit, changed), coarse.of(changed)
        inputs.prefetch(unit)
        clock.stop("read")
        with LANE:
            clock.stop("wait")
            states = {day: state.of(changed) for day, state in task.states.items()}
            fused = _infer(job, inputs, unit, states, coarse)
        clock.stop("infer")
        pixels = int(fused.status_flag.size)
        depth = pack_depth(*(fused.depth if fused.closed else (ALL, ALL)))
        lines[changed, 2 + DEPTH] = depth
        task.name_bases(lines)
        _write(job, store, task, changed, fused, lines)
    else:
        task.name_bases(lines)
    if not store_at(job.output).transactional:
        with writing_to(job.output):
            add_to_journal(store, task.slot, lines)
    clock.stop("write")
    return UnitOutcome(
        task.slot, lines, store, pixels, len(contents) - len(changed), clock.seconds,
        resident(), f"{os.uname().nodename}:{os.getpid()}",
    )  # fmt: skip


def _infer(
    job: Job,
    inputs: _Inputs,
    unit: Unit,
    states: dict[np.datetime64, Prepared],
    coarse: CoarseImages,
) -> Fused:
    method = job.method
    return fuse_unit(unit, method, states, inputs.fine_image, coarse, job.alignment, job.bands)


def _of_dates(unit: Unit, dates: list[int]) -> Unit:
    bracket = replace(unit.bracket, targets=tuple(unit.bracket.targets[i] for i in dates))
    return replace(unit, bracket=bracket, dates=tuple(unit.dates[i] for i in dates))


def _write(
    job: Job,
    store: Any,
    task: Task,
    dates: list[int],
    fused: Fused,
    lines: NDArray[np.uint64],
) -> None:
    """Write whole shards, the flag last: where it is set, everything else of the date is there."""
    output = store_at(job.output)
    if not output.held_by(job.token):
        raise StoreLockedError(
            f"{job.output}: the run that this unit belongs to has ended or was killed, so it is "
            "not written. Nothing is to be done: the next run makes it."
        )
    data = fused.variables(job.bands)
    flag = {"status_flag": data.pop("status_flag")}
    blank = {"status_flag": np.full_like(flag["status_flag"], STATUS["unwritten"])}
    with writing_to(job.output):
        anew = task.rewrites and not output.transactional
        if anew:
            add_to_journal(store, task.slot, begun(lines))
        write = window_writer(store)
        for part, times in _neighbours([task.places[i] for i in dates]):
            for step in (*((blank,) if anew else ()), data, flag):
                write(times, task.unit.tile, {name: v[part] for name, v in step.items()})


def _neighbours(places: list[int]) -> list[tuple[slice, slice]]:
    """Cut places into runs without a gap: the slice of the list, and that of the axis."""
    cuts = [0, *(n for n in range(1, len(places)) if places[n] != places[n - 1] + 1), len(places)]
    return [(slice(a, b), slice(places[a], places[b - 1] + 1)) for a, b in itertools.pairwise(cuts)]


class _Clock:
    """Times of the stages of a unit."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def resident() -> int:
    """Return the bytes that this process has resident."""
    import psutil

    return int(psutil.Process().memory_info().rss)


class _Inputs:
    """The two cubes of a run, opened once per process, and the windows kept of them."""

    def __init__(self, job: Job) -> None:
        self.job = job
        bands = job.bands
        self.read_fine, self.fine_days, _ = _open(job.fine, bands)
        self.read_coarse, self.coarse_days, self.step = _open(job.coarse, bands)
        self.cache = WindowCache(CACHE_BYTES)

    def fine_image(self, day: np.datetime64, tile: Tile) -> Float:
        """Return one fine image; read once for all units of the tile."""
        place = int(np.searchsorted(self.fine_days, day))
        image: Float = self.cache.get(("fine", place, tile), lambda: self.read_fine(place, tile))
        return image

    def prefetch(self, unit: Unit) -> None:
        """Read what the unit will surely need: the nearest base date on each side."""
        job, bracket = self.job, unit.bracket
        tile = unit.tile.padded(job.method.fine_halo).clipped(job.alignment.shape)
        for day in (*bracket.before[:1], *bracket.after[:1]):
            self.fine_image(day, tile)

    def series(self, unit: Unit) -> CoarseSeries:
        """Return the coarse images around a unit, in blocks of days as they are stored."""
        job = self.job
        window = coarse_window(unit, job.method, job.alignment)
        dates = coarse_dates(unit, self.coarse_days, job.rule)
        shape = (0, len(job.bands), *window.shape)
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
_OPEN: dict[str, _Inputs] = {}


def _inputs(job: Job) -> _Inputs:
    """Return the inputs of a run; those of an earlier one are let go."""
    with _OPENING:
        if job.run not in _OPEN:
            _OPEN.clear()
            _OPEN[job.run] = _Inputs(job)
        return _OPEN[job.run]


def forget_inputs() -> None:
    """Let go of what this process has read."""
    with _OPENING:
        _OPEN.clear()


def _open(path: str, bands: tuple[str, ...]) -> tuple[Any, NDArray[np.datetime64], int]:
    """Open a store's arrays; give their days and how many of them a chunk has."""
    ds = open_cube(path, chunks=None, days="all")
    return window_reader(path, bands), to_days(ds["time"].values), layout_of(ds).time
