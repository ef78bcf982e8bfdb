"""Copies of a cube in another layout: for series of pixels, or for whole maps."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from biastf_xr._summary import Summary, Told, size
from biastf_xr._system import reading, writing_to
from biastf_xr.cube._axis import copy_objects
from biastf_xr.cube._cube import Cube
from biastf_xr.cube._encoding import table_codecs
from biastf_xr.cube._hashes import COPY, COPY_ARRAY, hashes_of
from biastf_xr.cube._spec import Layout
from biastf_xr.cube._template import history
from biastf_xr.cube.stores import locate, store_at
from biastf_xr.cube.stores.base import open_group
from biastf_xr.errors import ConfigError, CubeExistsError, CubeStructureError
from biastf_xr.grid import split_tiles

if TYPE_CHECKING:
    import zarr

    from biastf_xr.cube._spec import Progress
    from biastf_xr.cube.stores.base import CubeStore, Edit
    from biastf_xr.grid import Tile

Purpose = Literal["timeseries", "maps"]

# Largest chunk and shard of a copy for series: about 1.5 MB and 96 MB of one band of a year.
SERIES_DAYS, SERIES_CHUNK, SERIES_SHARD = 366, 32, 256

# A copy of a shorter cube has room for so many days in its first chunk.
FEWEST_DAYS = 64

# How often a block is in memory while it is copied: as read, in chunks, compressed.
HELD = 3

PIXELS = ("time", "y", "x")


@dataclass(frozen=True, repr=False)
class RechunkReport(Told):
    """What a copy took, or would take.

    Attributes
    ----------
    path : str
        The copy.
    purpose : {"timeseries", "maps"}
        What its layout is for.
    layout : Layout
        Its chunks and shards.
    days : int
        Days in the copy.
    changed : int
        Days that are new, or made from other scenes than in the copy that was there.
    written : int
        Shards read from the cube and written in the new layout.
    kept : int
        Shards taken over from the copy that was there, compressed as they are.
    size : int
        Bytes of the pixels, not compressed.
    memory : int
        Bytes that all threads together hold at most, about.
    seconds : float
        Time it took; 0 for a dry run.
    """

    path: str
    purpose: Purpose
    layout: Layout
    days: int
    changed: int
    written: int
    kept: int
    size: int
    memory: int
    seconds: float = 0.0

    def _summary(self) -> Summary:
        return Summary(
            f"Copy {self.path} for {self.purpose}",
            {
                "days": f"{self.days}, {self.changed} new or changed",
                "chunks, shards": f"{self.layout.chunks}, {self.layout.shards}",
                "shards": f"{self.written} written, {self.kept} taken over",
                "size": f"{size(self.size)} not compressed; about {size(self.memory)} in memory",
            },
        )


@dataclass(frozen=True)
class _Block:
    """A part of one variable that is read at once and written as whole shards."""

    name: str
    times: slice
    tile: Tile
    size: int


def rechunk(
    path: str | Path,
    output: str | Path,
    purpose: Purpose = "timeseries",
    *,
    memory: int = 1 << 30,
    workers: int | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> RechunkReport:
    """Copy a cube to a layout that suits how it is read.

    The copy has the same variables, values, coordinates and attributes, and opens with plain
    ``xr.open_zarr`` or `open_cube`.  "timeseries" has up to 366 days and 32 x 32 pixels in a chunk;
    "maps" has the layout of a fused cube, one day and up to 256 x 256 pixels.  It is built beside
    its place and appears when it is complete; after an interruption run it again.

    Run again, it brings the copy up to date: shards of which no day has changed are taken over
    compressed as they are, the others are read from the cube.  A copy that is up to date is left
    alone.  A copy keeps its layout as it grows; `overwrite` chooses it again.

    Parameters
    ----------
    path : str or pathlib.Path
        The cube.
    output : str or pathlib.Path
        The copy.
    purpose : {"timeseries", "maps"}
        What the layout is for.
    memory : int
        Bytes to stay below, about; at least one block, some hundreds of MB for a large cube, is
        held.
    workers : int, optional
        Threads; by default one per core, as far as `memory` allows.
    overwrite : bool
        Rebuild the copy, and replace a cube that is there and no copy of this one.
    dry_run : bool
        Only say what would be done.
    progress : callable, optional
        Called after every block with the name of its variable, the number done and the number in
        all.

    Returns
    -------
    RechunkReport
        What was done, or would be.

    Raises
    ------
    CubeExistsError
        If there is a cube at `output` that is no copy of this one.
    CubeStructureError, ConfigError
        If there is no cube at `path`, or it is `output` itself.
    """
    started = time.perf_counter()
    store = store_at(output)
    if locate(path, Path()) == locate(output, Path()):
        raise ConfigError(f"{path} cannot be copied onto itself. Choose another output.")
    source = Cube(path).group
    origin = store_at(path).name
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(store.lock())
        old = None if overwrite else _older_copy(store, origin, purpose, source)
        work = _plan(source, old, store.url, purpose, memory, workers or os.cpu_count() or 1)
        report = work.report
        if dry_run or (old is not None and not report.changed):
            return report
        stack.enter_context(writing_to(store.url))
        line = f"copied from {origin} for {purpose}"
        edit = stack.enter_context(store.build(line, replace=overwrite or old is not None))
        attrs = dict(source.attrs) | {"biastf_copy_of": origin, "biastf_layout": purpose}
        _write_structure(edit, work, attrs | {"history": history(source.attrs, line)})
        _take_over(edit, work)
        _write_blocks(edit, work, progress)
    return replace(report, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class _Work:
    """What there is to copy: the blocks to write, and the steps in time that an older copy has."""

    source: zarr.Group
    old: zarr.Group | None
    hashes: dict[np.datetime64, str]
    blocks: list[_Block]
    kept: frozenset[int]
    threads: int
    report: RechunkReport


def _plan(
    source: zarr.Group,
    old: zarr.Group | None,
    url: str,
    purpose: Purpose,
    memory: int,
    threads: int,
) -> _Work:
    """Compare a cube with the copy that is there."""
    arrays = _pixel_arrays(source)
    layout = layout_for(purpose, arrays[0].shape) if old is None else _layout_of(old)
    with reading(source.store):
        hashes = hashes_of(source)
    with reading(url):
        before = [] if old is None else list(hashes_of(old).items())
    now = list(hashes.items())
    same = [n < len(before) and before[n] == day and bool(day[1]) for n, day in enumerate(now)]
    steps = [same[i : i + layout.time] for i in range(0, len(same), layout.time)]
    stale = [n for n, days in enumerate(steps) if not all(days)]
    blocks = [b for a in arrays for b in _blocks(a, layout, stale, memory // threads)]
    held = HELD * max((b.size for b in blocks), default=0)
    threads = max(1, min(threads, memory // (held or 1)))
    kept = frozenset(range(len(steps))) - frozenset(stale)
    shards = int(np.prod(layout.tiles(arrays[0].shape[1:]))) * len(arrays)
    report = RechunkReport(
        url, purpose, layout, len(now), same.count(False) + max(len(before) - len(now), 0),
        len(stale) * shards, len(kept) * shards, sum(int(a.nbytes) for a in arrays), threads * held,
    )  # fmt: skip
    return _Work(source, old, hashes, blocks, kept, threads, report)


def layout_for(purpose: Purpose, shape: tuple[int, ...]) -> Layout:
    """Choose the layout of a copy."""
    if purpose == "maps":
        return Layout.build("fused", shape[1:])  # type: ignore[arg-type]
    if purpose != "timeseries":
        raise ConfigError(f"no layout for {purpose!r}; expected 'timeseries' or 'maps'.")
    flat = Layout.build("fused", shape[1:], chunk=SERIES_CHUNK, shard=SERIES_SHARD)  # type: ignore[arg-type]
    return replace(flat, time=int(np.clip(shape[0], FEWEST_DAYS, SERIES_DAYS)))


def _layout_of(group: zarr.Group) -> Layout:
    array = _pixel_arrays(group)[0]
    return Layout(*array.chunks, *array.shards[1:])


def _arrays(group: zarr.Group) -> dict[str, Any]:
    return dict(sorted(group.arrays()))


def _pixel_arrays(group: zarr.Group) -> list[Any]:
    """Return the arrays with pixels, by name."""
    found = [a for a in _arrays(group).values() if a.metadata.dimension_names == PIXELS]
    if not found or not found[0].shape[0]:
        raise CubeStructureError(f"{group.store} has no days to copy.")
    return found


def _blocks(array: Any, layout: Layout, steps: list[int], memory: int) -> list[_Block]:
    """Cut some time steps of a variable into blocks of whole shards, long in time if there is room.

    A chunk of the source that is long in time is decoded once for every block that needs it.
    """
    days, shard = array.shape[0], int(np.prod(layout.shards)) * array.dtype.itemsize
    room = max(1, memory // (HELD * shard))
    runs = np.split(np.array(steps, int), np.flatnonzero(np.diff(steps) != 1) + 1)
    spans = [
        slice(int(run[i]) * layout.time, min((int(run[i:][:room][-1]) + 1) * layout.time, days))
        for run in runs
        for i in range(0, len(run), room)
    ]
    return [
        _Block(array.basename, span, tile, (span.stop - span.start) * shard // layout.time)
        for span in spans
        for tile in split_tiles(array.shape[1:], layout.shards[1:])
    ]


def _older_copy(
    store: CubeStore, origin: str, purpose: Purpose, source: zarr.Group
) -> zarr.Group | None:
    """Open the copy that is there; None if there is none."""
    if not store.exists():
        return None
    old = open_group(store.reader(), url=store.url, use_consolidated=False)
    if (old.attrs.get("biastf_copy_of"), old.attrs.get("biastf_layout")) != (origin, purpose):
        raise CubeExistsError(
            f"{store.url} already exists and is no copy of {origin} for {purpose}. Choose another "
            "output, or replace it with --overwrite (overwrite=True)."
        )
    have, want = ({a.basename: a.shape[1:] for a in _pixel_arrays(g)} for g in (old, source))
    if have != want or not store.replaces_at_once:
        raise CubeExistsError(
            f"{store.url} is a copy of {origin} that cannot be brought up to date: it has other "
            "variables, another grid, or lies behind a URL where nothing is replaced at once. "
            "Rebuild it with --overwrite (overwrite=True)."
        )
    return old


def _write_structure(edit: Edit, work: _Work, attrs: dict[str, Any]) -> None:
    """Write everything but the pixels: metadata as in the cube, except for chunks and shards."""
    import zarr

    root = zarr.open_group(edit.store, mode="a", use_consolidated=False, attributes=attrs)
    layout = work.report.layout
    for name, array in _arrays(work.source).items():
        pixels = array.metadata.dimension_names == PIXELS
        with reading(f"{work.source.store}/{name}"):
            zarr.from_array(
                edit.store,
                data=array,
                name=name,
                write_data=not pixels,
                chunks=layout.chunks if pixels else "keep",
                shards=layout.shards if pixels else "keep",
                fill_value=array.fill_value,
                attributes=dict(array.attrs),
            )
    hashes = np.array(list(work.hashes.values()), np.dtypes.StringDType())
    kept = root.create_group(COPY).create_array(
        COPY_ARRAY, shape=hashes.shape, chunks=hashes.shape, dtype="string", fill_value="",
        dimension_names=("time",), compressors=table_codecs(),
    )  # fmt: skip
    kept[:] = hashes


def _take_over(edit: Edit, work: _Work) -> None:
    """Copy the shards of an older copy of which no day has changed, compressed as they are."""
    if work.old is None:
        return
    names = {a.basename for a in _pixel_arrays(work.source)}

    def kept(key: str) -> str | None:
        """Return the name of a shard that is taken over."""
        array, mark, chunk = key.partition("/c/")
        unchanged = mark and array in names and int(chunk.split("/")[0]) in work.kept
        return key if unchanged else None

    copy_objects(work.old.store, edit.store, kept)


def _write_blocks(edit: Edit, work: _Work, progress: Progress | None) -> None:
    root = open_group(edit.store, "r+", use_consolidated=False)
    readers = {a.basename: a for a in _pixel_arrays(work.source)}
    writers = {a.basename: a for a in _pixel_arrays(root)}

    def copy(block: _Block) -> str:
        """Copy one block."""
        where = (block.times, *block.tile.slices)
        with reading(f"{work.source.store}/{block.name}"):
            pixels = readers[block.name][where]
        writers[block.name][where] = pixels
        return block.name

    with ThreadPoolExecutor(work.threads) as pool:
        futures = [pool.submit(copy, block) for block in work.blocks]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                name = future.result()
                if progress:
                    progress(name, done, len(futures))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
