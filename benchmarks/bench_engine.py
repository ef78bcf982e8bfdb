"""Speed and scale of the fusion engine: `python benchmarks/bench_engine.py`, or some of its parts.

Every figure is a ratio of things measured in one run, each in a process of its own.

cost      CPU time of the whole run, Zarr to Zarr, over that of the bare forward passes
reads     bytes read from the cubes over the bytes of every chunk needed, each once
growth    peak memory and CPU time per pixel and date as region and season grow
workers   wall-clock time with one worker process over that with two
overhead  CPU time of driver and scheduler per unit
plan      time and memory to plan a cube of 100,000 x 100,000 pixels and 365 dates
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
# As `biastf_xr.cluster` sets it for workers.
for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):
    os.environ.setdefault(name, str(256 * 2**20))

import numpy as np  # noqa: E402  (after the threads are set)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from biastf_xr.methods.base import Float, Method

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
RATIO = 16
START = np.datetime64("2021-04-01")
FULL, SMALL = (64, 32, 32), (4, 4, 4)
Row = dict[str, Any]


def cpu_seconds() -> float:
    """Return the CPU time of this process, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mebibytes() -> float:
    """Return the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


# --- cubes and models ---------------------------------------------------------------------------


def spec_of(kind: Any, size: int, bands: tuple[str, ...] = BANDS) -> Any:
    """Describe a square cube; the coarse one has a margin of one pixel."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from biastf_xr.cube import CubeSpec, Layout

    n = size if kind == "fine" else size // RATIO + 2
    step, corner = (30, 0) if kind == "fine" else (480, 480)
    geobox = GeoBox((n, n), Affine(step, 0, -corner, 0, -step, corner), "EPSG:32755")
    return CubeSpec(kind, bands, geobox, Layout.build(kind, (n, n)), {"source": "benchmark"})


def write_cube(
    path: Path, kind: Any, size: int, days: int, seen: Sequence[int], bands: tuple[str, ...] = BANDS
) -> Path:
    """Write a cube that is clear on the days seen; random reflectance."""
    from biastf_xr.cube._cube import write_window
    from biastf_xr.cube.stores import store_at
    from biastf_xr.grid import split_tiles

    rng = np.random.default_rng(0)
    spec = spec_of(kind, size, bands)
    step = spec.layout.time
    with store_at(path).build("benchmark", replace=False) as edit:
        write_empty(edit.store, spec, days, seen)
        for start in sorted({place // step * step for place in seen}):
            span = slice(start, min(start + step, days))
            for tile in split_tiles(spec.shape, spec.layout.shards[1:]):
                shape = (span.stop - span.start, *tile.shape)
                data: Row = {
                    band: rng.uniform(0.05, 0.4, shape).astype(np.float32) for band in bands
                }
                write_window(edit.store, span, tile, data)
    return path


def write_empty(store: Any, spec: Any, days: int, seen: Sequence[int]) -> None:
    """Write a cube's metadata, with one clear scene on each of the days seen."""
    import zarr

    from biastf_xr.cube._ledger import DayRecord, Entry, create_ledger, write_records
    from biastf_xr.cube._template import build_template, write_template

    axis = START + np.arange(days)
    there = np.isin(np.arange(days), seen)
    scenes = np.where(there, '["scene"]', "").astype(np.dtypes.StringDType())
    about = {
        "clear_fraction": ("time", np.where(there, 1, np.nan).astype(np.float32)),
        "scenes": ("time", scenes),
    }
    write_template(build_template(spec, axis, about), spec, store)
    group = zarr.open_group(store, mode="r+", use_consolidated=False)
    create_ledger(group, spec, days)
    counts: Any = group["ingest/clear_pixels"]
    for place in seen:
        counts[place] = 1
    write_records(
        group, {int(p): DayRecord((Entry("scene", f"scene {p}", "1", "0"),)) for p in seen}
    )


def write_model(
    path: Path, filters: tuple[int, int, int], bands: tuple[str, ...] = BANDS
) -> Method:
    """Write a checkpoint with random weights: cost does not depend on them."""
    import torch

    import biastf_xr
    from biastf_xr.methods._learning.card import Card
    from biastf_xr.methods._learning.networks import write_networks
    from biastf_xr.methods.biastf import NetworkShape

    shape = NetworkShape(filters=filters)
    models = {}
    for i, band in enumerate(bands):
        network = shape.layers().build(i)
        with torch.no_grad():
            network[-1].weight.normal_(0, 0.05)  # type: ignore[operator]
        models[band] = network.state_dict()
    settings = {"weights": "change", "weight_window": 3, "upsampling": "bilinear"}
    card = Card(
        bands=bands,
        ratio=RATIO,
        resolution=30.0,
        filters=shape.filters,
        kernels=shape.kernels,
        bias=True,
        scales=dict.fromkeys(bands, (0.1, 0.01)),
        pairs=(),
        settings=settings,
        history={},
        seed=0,
    )
    write_networks(path, card, models)
    return biastf_xr.load_method(path)


def days_of(first: int, count: int) -> list[str]:
    """Name days by their place."""
    return [str(START + n) for n in range(first, first + count)]


# --- the parts, each in a process of its own -----------------------------------------------------


def cost(folder: Path, size: int, dates: int) -> Row:
    """Measure the bare forward passes of exactly the images of a run, and the run."""
    import torch

    import biastf_xr
    from biastf_xr.methods._learning.inference import apply_network, load_networks

    torch.set_num_threads(1)
    fine = write_cube(folder / "fine.zarr", "fine", size, 17, [0, 16])
    coarse = write_cube(folder / "coarse.zarr", "coarse", size, 17, range(17))
    model: Any = write_model(folder / "model.safetensors", FULL)
    networks = load_networks(str(model.checkpoint), model.sha256, "cpu", "fp32")
    halo = model.halo
    side = size + 2 * halo
    noise = np.random.default_rng(1).normal(size=(dates, side, side))
    images: Float = noise.astype(np.float32)
    # A short run first: imports and the first touch of memory are no cost of a long one.
    biastf_xr.write_fused(fine, coarse, folder / "warm.zarr", model, dates=days_of(4, 1))
    rows = []
    for turn in range(3):
        start = cpu_seconds()
        for band in BANDS:
            for _ in range(2):
                apply_network(networks[band], images, origin=(0, 0), margin=halo)
        bare = cpu_seconds() - start
        start = cpu_seconds()
        biastf_xr.write_fused(
            fine, coarse, folder / f"fused{turn}.zarr", model, dates=days_of(4, dates)
        )
        rows.append((bare, cpu_seconds() - start))
    unit = size**2 / 1e6 * len(BANDS) * dates
    ratios = sorted(whole / bare for bare, whole in rows)
    return {
        "network, CPU s per Mpx, band and date": statistics.median(b for b, _ in rows) / unit,
        "whole run, the same": statistics.median(w for _, w in rows) / unit,
        "whole run / network, median (aim 1.15)": ratios[1],
        "lowest, highest": f"{ratios[0]:.3f}, {ratios[-1]:.3f}",
    }


def reads(folder: Path, size: int) -> Row:
    """Count the bytes of a season of several brackets."""
    import biastf_xr
    from biastf_xr.cube.stores._regular import RegularStore

    fine = write_cube(folder / "fine.zarr", "fine", size, 65, range(0, 65, 8))
    coarse = write_cube(folder / "coarse.zarr", "coarse", size, 65, range(65))
    count = [0]
    real = RegularStore.get

    async def counted(self: Any, key: str, *args: Any, **kwargs: Any) -> Any:
        found = await real(self, key, *args, **kwargs)
        if found is not None and "/c/" in key and key.split("/", maxsplit=1)[0] in BANDS:
            count[0] += len(found)
        return found

    RegularStore.get = counted  # type: ignore[method-assign]
    try:
        biastf_xr.write_fused(fine, coarse, folder / "fused.zarr", "direct", tile=1024)
    finally:
        RegularStore.get = real  # type: ignore[method-assign]
    stored = [
        f.stat().st_size
        for cube in (fine, coarse)
        for band in BANDS
        for f in (cube / band / "c").rglob("*")
        if f.is_file()
    ]
    return {
        "read, MiB": count[0] / 2**20,
        "stored, MiB": sum(stored) / 2**20,
        "read / stored (aim 1.3)": count[0] / sum(stored),
    }


def growth(folder: Path, size: int, dates: int, tile: int) -> Row:
    """Run the whole path with small filters, so that large regions take minutes."""
    import torch

    import biastf_xr

    torch.set_num_threads(1)
    last = dates + 8
    fine = write_cube(folder / "fine.zarr", "fine", size, last + 1, range(0, last + 1, 9))
    coarse = write_cube(folder / "coarse.zarr", "coarse", size, last + 1, range(last + 1))
    model = write_model(folder / "model.safetensors", SMALL)
    wanted = [d for n, d in enumerate(days_of(0, last + 1)) if n % 9]
    biastf_xr.write_fused(fine, coarse, folder / "warm.zarr", model, dates=wanted[:1], tile=tile)
    before = cpu_seconds()
    report = biastf_xr.write_fused(
        fine, coarse, folder / "fused.zarr", model, dates=wanted[:dates], tile=tile
    )
    return {
        "cpu": (cpu_seconds() - before) / report.pixels * 1e6,
        "peak": peak_mebibytes(),
        "units": report.units,
    }


def workers(folder: Path, count: int, size: int) -> Row:
    """Time a run of 64 tiles on a local cluster."""
    import biastf_xr
    from biastf_xr.cluster import ClusterSpec, connect

    bands = BANDS[:2]
    fine = write_cube(folder / "fine.zarr", "fine", size, 17, [0, 16], bands)
    coarse = write_cube(folder / "coarse.zarr", "coarse", size, 17, range(17), bands)
    model = write_model(folder / "model.safetensors", FULL, bands)
    with connect(ClusterSpec(workers=count, options={})) as client:
        warm: Row = {"dates": days_of(1, count), "tile": size // 4, "client": client}
        biastf_xr.write_fused(fine, coarse, folder / "warm.zarr", model, **warm)
        started = time.perf_counter()
        biastf_xr.write_fused(
            fine, coarse, folder / "fused.zarr", model, dates=days_of(4, 8), tile=size // 8,
            client=client,
        )  # fmt: skip
        return {"seconds": time.perf_counter() - started}


def overhead(folder: Path, size: int, rest: int, security: int) -> Row:
    """Run many small units; the scheduler lives in this process."""
    import biastf_xr
    from biastf_xr.cluster import connect

    bands = BANDS[:1]
    fine = write_cube(folder / "fine.zarr", "fine", size, 17, [0, 16], bands)
    coarse = write_cube(folder / "coarse.zarr", "coarse", size, 17, range(17), bands)
    with connect(workers=1, options={"security": bool(security)}) as client:
        assert client is not None
        for n in range(3):
            client.submit(abs, n).result()
        before, started = cpu_seconds(), time.perf_counter()
        for n in range(300):
            client.submit(abs, n, pure=False).result()
        empty = cpu_seconds() - before, time.perf_counter() - started
        options: Row = {"client": client, "tile": 32, "dates": days_of(4, 1)}
        biastf_xr.write_fused(
            fine, coarse, folder / "warm.zarr", "linear", client=client, tile=size // 4,
            dates=days_of(4, 1),
        )  # fmt: skip
        before = cpu_seconds()
        time.sleep(rest)
        idle = (cpu_seconds() - before) / rest
        before = cpu_seconds()
        report = biastf_xr.write_fused(fine, coarse, folder / "f.zarr", "linear", **options)
        used = cpu_seconds() - before - idle * report.seconds
    return {
        "units": report.units,
        "CPU ms per unit above an idle cluster (aim 5)": used / report.units * 1e3,
        "the same of Dask's empty tasks": (empty[0] - idle * empty[1]) / 300 * 1e3,
    }


def plan(folder: Path, size: int, dates: int) -> Row:
    """Plan over cubes that have all metadata and no pixels: a swath of tiles is seen every day."""
    import zarr

    from biastf_xr.cube.stores import store_at

    for kind in ("fine", "coarse"):
        with store_at(folder / f"{kind}.zarr").build("benchmark", replace=False) as edit:
            write_empty(edit.store, spec_of(kind, size), dates, range(dates))
            if kind == "fine":
                group = zarr.open_group(edit.store, mode="r+", use_consolidated=False)
                counts: Any = group["ingest/clear_pixels"]
                rng = np.random.default_rng(0)
                for day in range(dates):
                    column = np.arange(counts.shape[2])
                    swath = (column - day * 7) % 16 < 3
                    counts[day] = swath * (rng.random(counts.shape[1:]) < 0.7)
    code = (
        "import resource, sys, time; import biastf_xr, biastf_xr.fusion._preview, pandas;"
        "from biastf_xr.brackets import BracketRule; from biastf_xr.fusion._plan import FusionRule;"
        "imports = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10;"
        "rule = FusionRule(bracket=BracketRule(max_layers=32, max_gap=32));"
        "t = time.perf_counter();"
        "p = biastf_xr.plan(sys.argv[1], sys.argv[2], rule=rule, trial=False);"
        "t = time.perf_counter() - t;"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10;"
        "import json; print(json.dumps([t, imports, peak, p.totals.tiles, p.totals.units]))"
    )
    command = [sys.executable, "-c", code, str(folder / "fine.zarr"), str(folder / "coarse.zarr")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    seconds, imports, peak, tiles, units = json.loads(done.stdout.splitlines()[-1])
    return {
        "tiles": tiles,
        "units": units,
        "seconds (aim 10)": seconds,
        "peak memory, MiB (aim 500)": peak,
        "of which imports, MiB": imports,
    }


# --- the report -----------------------------------------------------------------------------------


def child(part: str, *numbers: int) -> Row:
    """Run a part in a process of its own, in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, __file__, "--child", part, name, *map(str, numbers)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
        if done.returncode:
            raise RuntimeError(done.stderr[-4000:])
        row: Row = json.loads(done.stdout.splitlines()[-1])
        return row


def show(title: str, row: Row) -> None:
    """Print figures under a title."""
    print(f"\n{title}")
    for what, value in row.items():
        told = f"{value:,.3f}" if isinstance(value, float) else value
        print(f"  {what:<46}{told:>16}", flush=True)


def report_growth(divide: int) -> None:
    """Compare regions and seasons."""
    side, tile = 1024 // divide, 512 // divide
    base = child("growth", side, 8, tile)
    rows = {f"{side}^2, 8 dates": base}
    for size, dates in ((4 * side, 8), (side, 64)):
        rows[f"{size}^2, {dates} dates"] = child("growth", size, dates, tile)
    rows[f"{2 * side}^2, tiles of {2 * tile}"] = child("growth", 2 * side, 8, 2 * tile)
    print(f"\ngrowth: whole run, 6 bands, filters 4/4/4, one thread, tiles of {tile}")
    print(
        f"  {'':<20}{'units':>7}{'CPU s per Mpx-date':>20}{'ratio':>8}{'peak MiB':>10}{'ratio':>8}"
    )
    for name, row in rows.items():
        ratios = row["cpu"] / base["cpu"], row["peak"] / base["peak"]
        print(
            f"  {name:<20}{row['units']:>7}{row['cpu']:>20.3f}{ratios[0]:>8.3f}"
            f"{row['peak']:>10.0f}{ratios[1]:>8.3f}",
            flush=True,
        )


def report_workers(divide: int) -> None:
    """Compare one worker process with two, in turn."""
    turns = [
        tuple(child("workers", count, 1024 // divide)["seconds"] for count in (1, 2))
        for _ in range(3 if divide == 1 else 1)
    ]
    ratios = sorted(one / two for one, two in turns)
    show(
        f"workers: one process / two processes, wall clock, 64 tiles of {128 // divide}",
        {
            "median (aim 1.85)": statistics.median(ratios),
            "lowest, highest": f"{ratios[0]:.3f}, {ratios[-1]:.3f}",
            "seconds with one, with two": f"{turns[-1][0]:.1f}, {turns[-1][1]:.1f}",
        },
    )


def report_cost(divide: int) -> None:
    """Compare a run with the bare network."""
    side = 1024 // divide
    show(f"cost: {side}^2, 6 bands, 2 dates, two-sided", child("cost", side, 2))


def report_reads(divide: int) -> None:
    """Compare what is read with what is stored."""
    side = 2048 // divide
    show(f"reads: {side}^2, 9 scenes, 65 days", child("reads", side))


def report_overhead(divide: int) -> None:
    """Measure what a unit costs driver and scheduler."""
    for title, security in (("with TLS", True), ("without", False)):
        row = child("overhead", 1024 // divide, max(5 // divide, 1), int(security))
        show(f"overhead: tiles of 32, 1 worker, {title}", row)


def report_plan(divide: int) -> None:
    """Measure the planning of a large cube."""
    side = 100_000 // divide
    show(f"plan: {side:,}^2, 365 dates", child("plan", side, 365))


REPORTS: dict[str, Callable[[int], None]] = {
    "cost": report_cost,
    "reads": report_reads,
    "growth": report_growth,
    "workers": report_workers,
    "overhead": report_overhead,
    "plan": report_plan,
}
PARTS = {f.__name__: f for f in (cost, reads, growth, workers, overhead, plan)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="parts to measure; all by default")
    parser.add_argument("--divide", type=int, default=1, help="divide all sizes by this")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        part, folder, *numbers = options.parts
        print(json.dumps(PARTS[part](Path(folder), *map(int, numbers))))
        return
    unknown = set(options.parts) - set(REPORTS)
    if unknown:
        parser.error(f"unknown parts {sorted(unknown)}; expected some of {list(REPORTS)}")
    for part in options.parts or REPORTS:
        REPORTS[part](options.divide)


if __name__ == "__main__":
    main()
