"""Read a whole cube back and list what is wrong with it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._summary import Summary, Told
from biastf_xr.cube._cube import Cube, bands_of
from biastf_xr.cube._ledger import DayRecord
from biastf_xr.cube._spec import MADE, STATUS
from biastf_xr.errors import CubeStructureError
from biastf_xr.grid import Tile, split_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import xarray as xr

    from biastf_xr.cube._spec import Layout, Progress


# The most values of a variable that are read at once.
WINDOW = 1 << 24

# `clear_fraction` is kept as float32 and counted scene by scene.
TOLERANCE = 1e-4

# The masks and flags that are compared with the bands.
FLAGS = {"fine": ("clear", "source"), "coarse": ("clear", "source"), "fused": ("status_flag",)}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    day : str
        The day, or empty for the whole cube.
    variable : str
        The variable.
    where : str
        Rows and columns, or empty.
    what : str
        What is wrong.
    """

    day: str
    variable: str
    where: str
    what: str


@dataclass(repr=False)
class Verification(Told):
    """What a check found.

    Attributes
    ----------
    path : str
        The cube.
    days : int
        Days with pixels that were read.
    pixels : int
        Pixels read, over all variables.
    findings : list of Finding
        What is wrong; empty for a sound cube.
    """

    path: str
    days: int = 0
    pixels: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Return whether nothing is wrong."""
        return not self.findings

    def _summary(self) -> Summary:
        import pandas as pd

        state = "sound" if self.sound else "damaged"
        read = f"{self.days} days, {self.pixels:,} values read"
        tables = {} if self.sound else {"findings": pd.DataFrame(self.findings)}
        return Summary(f"{self.path} is {state}: {read}", tables=tables)


def verify(path: str | Path, *, progress: Progress | None = None) -> Verification:
    """Read every pixel of a cube, shard by shard, and check it.

    Checked are: that every chunk can be decoded and its checksum holds; that masks, `source`,
    `clear_fraction` and status flags agree with the bands; that values lie in their valid range;
    that the time axis is daily; and that no day was left unfinished.

    Parameters
    ----------
    path : str or pathlib.Path
        The store.
    progress : callable, optional
        Called after every window.

    Returns
    -------
    Verification
        What was found.  Damage never raises.

    Raises
    ------
    CubeStructureError
        If there is no cube at `path`.
    """
    cube = Cube(path)
    result = Verification(str(path))
    result.findings += [Finding("", name, "", what) for name, what in cube.faults]
    if cube.faults:  # by which the pixels would be misread
        return result
    ds = cube.to_xarray(chunks=None, days="all")
    fused = cube.kind == "fused"
    if not fused and (np.diff(cube.days).astype(int) != 1).any():
        result.findings.append(Finding("", "time", "", "the axis has not every day once"))
    if not fused and "biastf_copy_of" not in ds.attrs:
        _check_ledger(cube, ds, result)
    layout, shape = cube.layout, cube.spec.shape
    tiles = _windows(layout, shape)
    step, days = layout.time, ds.sizes["time"]
    starts = range(0, days, step)
    clear = np.zeros((days, *layout.tiles(shape)))
    for done, start in enumerate(starts, 1):
        times = slice(start, start + step)
        for tile in tiles:
            rows, cols = tile.slices
            count = _check_window(ds.isel(time=times, y=rows, x=cols), tile, result)
            clear[times, tile.y0 // layout.shard_y, tile.x0 // layout.shard_x] += count
            if tile is tiles[0]:
                result.days += int(np.count_nonzero(count > 0))
        if progress:
            progress(_day(ds, start), done, len(starts))
    if not fused:
        _check_fractions(ds, clear.sum(axis=(1, 2)), result)
        _check_counts(cube, clear, result)
    return result


def _windows(layout: Layout, shape: tuple[int, int]) -> list[Tile]:
    """Cut a cube into shards, and large shards into windows of whole chunks that fit in memory."""
    side = math.isqrt(WINDOW // layout.time)
    size = max(layout.y, side // layout.y * layout.y), max(layout.x, side // layout.x * layout.x)
    return [
        Tile(shard.y0 + t.y0, shard.y0 + t.y1, shard.x0 + t.x0, shard.x0 + t.x1)
        for shard in split_tiles(shape, layout.shards[1:])
        for t in split_tiles(shard.shape, size)
    ]


def _day(ds: xr.Dataset, index: int) -> str:
    return str(ds["time"].values[index])[:10]


def _check_ledger(cube: Cube, ds: xr.Dataset, result: Verification) -> None:
    try:
        ledger = cube.ledger
    except (CubeStructureError, OSError) as error:
        result.findings.append(Finding("", "ingest/record", "", f"cannot be read: {error}"))
        return
    for day, text in zip(cube.days, ds["scenes"].values, strict=True):
        record, what = ledger.get(day, DayRecord(())), ""
        ids = [entry.id for entry in record.entries]
        if not record.finished:
            what = "was not finished: an ingest was interrupted. Run it again"
        elif text and text != json.dumps(ids):
            what = f"has the scenes {ids}, the cube {text}"
        if what:
            result.findings.append(Finding(str(day), "ingest/record", "", what))


def _check_window(window: xr.Dataset, tile: Tile, result: Verification) -> Any:
    """Check a window of every variable; return its clear pixels by day, NaN if it is damaged."""
    where = f"rows {tile.y0}:{tile.y1}, columns {tile.x0}:{tile.x1}"
    data = {}
    for name, variable in window.data_vars.items():
        if variable.dims != ("time", "y", "x"):
            continue
        try:
            data[str(name)] = variable.values
        except Exception as error:  # noqa: BLE001  (codecs raise whatever they like)
            what = f"cannot be decoded ({type(error).__name__}: {error})"
            days = f"{_day(window, 0)} .. {_day(window, -1)}"
            result.findings.append(Finding(days, str(name), where, what))
    result.pixels += sum(v.size for v in data.values())
    for name, bad, what in _faults(window, data):
        for t in np.flatnonzero(bad.any(axis=(1, 2))):
            text = f"{int(bad[t].sum())} pixels: {what}"
            result.findings.append(Finding(_day(window, int(t)), name, where, text))
    if not {*bands_of(window), *FLAGS[window.attrs["biastf_kind"]]} <= set(data):
        return np.full(window.sizes["time"], np.nan)
    clear = data["clear"] == 1 if "clear" in data else np.ones_like(data["status_flag"])
    return clear.sum(axis=(1, 2))


def _faults(window: xr.Dataset, data: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield what can be wrong with a window: the variable, where it is so, and what it is."""
    bands, kind = bands_of(window), window.attrs["biastf_kind"]
    for band in set(bands) & set(data):
        low, high = (float(window[band].attrs[k]) for k in ("valid_min", "valid_max"))
        with np.errstate(invalid="ignore"):
            bad = (data[band] < low) | (data[band] > high)
        yield band, bad, f"outside {low:g} to {high:g}"
    if not {*bands, *FLAGS[kind]} <= set(data):
        return
    finite = np.stack([np.isfinite(data[b]) for b in bands])
    if kind == "fused":
        status = data["status_flag"]
        good = [STATUS[name] for name in MADE]
        wrong = np.isin(status, good) != finite.all(0)
        yield "status_flag", wrong, "made, but missing in a band, or the reverse"
        yield "status_flag", ~np.isin(status, list(STATUS.values())), "no known flag"
        yield "status_flag", status == STATUS["unwritten"], "never written"
        yield "status_flag", status == STATUS["failed"], "could not be made; fuse again"
        return
    clear, source = data["clear"] == 1, data["source"]
    scenes = np.array([str(s).count('", "') + 1 if s else 0 for s in window["scenes"].values])
    yield "clear", finite.all(0) != clear, "clear, but not in every band, or the reverse"
    yield "clear", finite.any(0) & ~clear, "a value where not clear"
    yield "source", (source > 0) != clear, "clear without a source, or the reverse"
    yield "source", source > scenes[:, None, None], "from a scene that is not in `scenes`"


def _check_counts(cube: Cube, clear: Any, result: Verification) -> None:
    """Compare the stored counts of clear pixels, by which fusions are planned, with the pixels."""
    try:
        stored = cube.clear_pixels or {}
    except (CubeStructureError, OSError) as error:
        result.findings.append(Finding("", "ingest/clear_pixels", "", f"cannot be read: {error}"))
        return
    for day, counted, found in zip(cube.days, stored.values(), clear, strict=False):
        if not (np.isnan(found) | (counted == found)).all():
            what = f"says {int(counted.sum())} clear pixels; there are {np.nansum(found):.0f}"
            result.findings.append(Finding(str(day), "ingest/clear_pixels", "", what))


def _check_fractions(ds: xr.Dataset, clear: Any, result: Verification) -> None:
    """Compare the stored clear fractions with the pixels."""
    stored = ds["clear_fraction"].values
    found = clear / (ds.sizes["y"] * ds.sizes["x"])
    for index, (want, got, scenes) in enumerate(zip(stored, found, ds["scenes"].values,
                                                    strict=True)):  # fmt: skip
        if np.isnan(got):
            continue
        if not scenes and got > 0:
            what = "pixels on a day without a scene"
        elif scenes and not np.isclose(want, got, atol=TOLERANCE):
            what = f"says {want:.4f}; the pixels {got:.4f}"
        else:
            continue
        result.findings.append(Finding(_day(ds, index), "clear_fraction", "", what))
