"""How fast a season is read, by pixel, by field and by map, from the layouts that cubes have.

    python benchmarks/bench_downstream.py [pixels on a side] [days]

Writes a cube of two bands in the layout of fine and fused cubes, a date a chunk, copies it for time
series and back for maps, and reads two bands of each with plain xarray: one pixel on all days, a
field of 32 x 32 pixels on all days, the whole map of one day.  Files are put out of the system's
cache before every read; the median of five reads at different places is shown.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from biastf_xr.cube import CubeSpec, Layout, rechunk
from biastf_xr.cube._cube import window_writer
from biastf_xr.cube._template import build_template, write_template
from biastf_xr.cube.stores import store_at
from biastf_xr.grid import split_tiles

if TYPE_CHECKING:
    from collections.abc import Callable

BANDS, FIELD, REPEATS = ("red", "nir"), 32, 5


def write_cube(path: Path, side: int, days: int) -> None:
    """Write a season of a smooth landscape with noise, date by date."""
    shape = (side, side)
    geobox = GeoBox(shape, Affine(30, 0, 455_985, 0, -30, 6_171_015), "EPSG:32755")
    layout = Layout.build("fine", shape)
    spec = CubeSpec("fine", BANDS, geobox, layout)
    times = np.datetime64("2021-01-01") + np.arange(days)
    rng = np.random.default_rng(0)
    waves = np.add.outer(np.sin(np.arange(side) / 37), np.cos(np.arange(side) / 23)) / 4
    with store_at(path).build("benchmark", replace=False) as edit:
        write_template(build_template(spec, times), spec, edit.store)
        write = window_writer(edit.store)
        for day in range(days):
            season = 0.3 + 0.1 * np.sin(day / days * np.pi)
            noise = rng.normal(0, 0.01, (len(BANDS), *shape))
            images = np.clip(season * (1 + waves) + noise, 0, 1).astype(np.float32)
            for tile in split_tiles(shape, layout.shards[1:]):
                window = dict(zip(BANDS, images[:, None, *tile.slices], strict=True))
                write(slice(day, day + 1), tile, window)


def forget(path: Path) -> None:
    """Ask the system to put the files of a store out of its cache."""
    for file in path.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def seconds(path: Path, read: Callable[[xr.Dataset, int], Any]) -> float:
    """Time some reads, each of another place, of files that are not in the cache."""
    taken = []
    for repeat in range(REPEATS):
        forget(path)
        ds = xr.open_zarr(path, chunks=None)[list(BANDS)]
        started = time.perf_counter()
        read(ds, repeat)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def pixel(ds: xr.Dataset, repeat: int) -> None:
    """Read one pixel on all days."""
    place = (repeat * 97 + 41) % ds.sizes["y"]
    ds.isel(y=place, x=place).load()


def field(ds: xr.Dataset, repeat: int) -> None:
    """Read a field on all days."""
    place = (repeat * 97 + 41) % (ds.sizes["y"] - FIELD)
    ds.isel(y=slice(place, place + FIELD), x=slice(place, place + FIELD)).load()


def whole_map(ds: xr.Dataset, repeat: int) -> None:
    """Read the map of one day."""
    ds.isel(time=(repeat * 97 + 41) % ds.sizes["time"]).load()


def main(side: int = 1024, days: int = 366) -> None:
    """Write, copy, read, print."""
    warnings.filterwarnings("ignore", message="Consolidated metadata")
    with tempfile.TemporaryDirectory() as folder:
        daily, series, maps = (Path(folder) / f"{n}.zarr" for n in ("daily", "series", "maps"))
        started = time.perf_counter()
        write_cube(daily, side, days)
        size = 4 * len(BANDS) * side * side * days / 1e6
        print(f"{side} x {side} pixels, {days} days, {len(BANDS)} bands: {size:.0f} MB")
        print(f"written in {time.perf_counter() - started:.1f} s")
        copies = rechunk(daily, series), rechunk(series, maps, "maps")
        for report in copies:
            print(
                f"copied for {report.purpose} in {report.seconds:.1f} s: "
                f"{report.size / 1e6 / report.seconds:.0f} MB/s, about "
                f"{report.memory / 1e6:.0f} MB held"
            )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(f"largest memory of the process: {peak:.0f} MB\n")
        print(f"{'milliseconds':28}{'daily':>10}{'timeseries':>12}{'ratio':>8}")
        reads = {
            "one pixel, all days": pixel,
            f"{FIELD} x {FIELD} pixels, all days": field,
            "whole map, one day": whole_map,
        }
        for name, read in reads.items():
            slow, fast = (1000 * seconds(path, read) for path in (daily, series))
            print(f"{name:28}{slow:10.1f}{fast:12.1f}{slow / fast:8.2f}")
        stored = {
            p.stem: sum(f.stat().st_size for f in p.rglob("*")) / 1e6 for p in (daily, series)
        }
        print("\n" + ", ".join(f"{k} takes {v:.0f} MB on disk" for k, v in stored.items()))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
