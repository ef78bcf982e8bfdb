"""What ingest costs: beside a bare read-and-write loop, in memory, on disk, and opening a cube.

``python benchmarks/bench_ingest.py [--size 2048]`` prints every figure from this one run.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
LAYERS = ("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7", "QA_PIXEL", "QA_RADSAT")
DAYS = ("20210401", "20210417")


def write_scenes(folder: Path, size: int) -> int:
    """Write Landsat scenes of smooth, noisy ground; give their bytes of pixels."""
    import rasterio
    from affine import Affine
    from scipy.ndimage import gaussian_filter

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    ground = 12_000 + 3000 * gaussian_filter(rng.normal(size=(size, size)), 8) * 20
    total = 0
    for day in DAYS:
        for layer in LAYERS:
            values = np.full((size, size), 21824, np.uint16)
            if layer.startswith("SR"):
                values = (ground + rng.normal(0, 60, ground.shape)).clip(7300, 40_000)
                values = values.astype(np.uint16)
            if layer == "QA_RADSAT":
                values[:] = 0
            total += values.nbytes
            name = f"LC08_L2SP_093084_{day}_20210601_02_T1_{layer}.TIF"
            with rasterio.open(
                folder / name, "w", driver="GTiff", count=1, height=size, width=size,
                dtype="uint16", crs="EPSG:32655", tiled=True, blockxsize=512, blockysize=512,
                compress="deflate", transform=Affine(30, 0, 300_015, 0, -30, 6_200_015),
            ) as file:  # fmt: skip
                file.write(values, 1)
    return total


def bare_loop(folder: Path, path: Path, size: int) -> None:
    """Read every file with rasterio and write the same pixels with zarr: the least there is."""
    import rasterio
    import zarr

    from biastf_xr.cube._encoding import codecs

    group = zarr.create_group(path)
    shard, chunk = min(1024, size), min(256, size)
    for layer in LAYERS:
        kind = "float32" if layer.startswith("SR") else "uint8"
        group.create_array(
            layer, shape=(len(DAYS), size, size), dtype=kind, chunks=(1, chunk, chunk),
            shards=(1, shard, shard), compressors=codecs(4 if kind == "float32" else 1),
        )  # fmt: skip
    for t, day in enumerate(DAYS):
        for layer in LAYERS:
            array: Any = group[layer]
            with rasterio.open(
                folder / f"LC08_L2SP_093084_{day}_20210601_02_T1_{layer}.TIF"
            ) as file:
                for y in range(0, size, shard):
                    for x in range(0, size, shard):
                        part = file.read(1, window=((y, y + shard), (x, x + shard)))
                        if layer.startswith("SR"):
                            part = part.astype(np.float32) * np.float32(2.75e-5)
                            part = (part.view(np.uint32) & np.uint32(0xFFFFF800)).view(np.float32)
                        array[t, y : y + shard, x : x + shard] = part


def run_ingest(folder: Path, path: Path) -> None:
    """Ingest the scenes."""
    from biastf_xr.cube import ingest
    from biastf_xr.sources import build_product

    ingest(build_product("landsat-c2-l2"), folder, path, kind="fine")


def peak_of(folder: Path, path: Path) -> float:
    """Ingest in a process of its own; give its peak memory above that of its imports, in MiB."""
    code = (
        "import sys; import biastf_xr.cube._ingest, rioxarray, zarr, scipy.ndimage;"
        "sys.path.insert(0, sys.argv[3]); from bench_ingest import run_ingest, Path;"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]);"
        "base = peak(); run_ingest(Path(sys.argv[1]), Path(sys.argv[2]));"
        "print((peak() - base) / 1024)"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run(  # noqa: S603  (this file, in a process of its own)
        [sys.executable, "-c", code, str(folder), str(path), here],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def cpu() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(action: Any) -> tuple[float, float]:
    """Return wall and CPU seconds of an action."""
    wall, spent = time.perf_counter(), cpu()
    action()
    return time.perf_counter() - wall, cpu() - spent


def write_long_cube(path: Path, days: int) -> None:
    """Write a small fine cube of many days with a scene every eighth."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from biastf_xr.cube import CubeSpec, Layout
    from biastf_xr.cube._cube import write_window
    from biastf_xr.cube._template import build_template, write_template
    from biastf_xr.cube.stores import store_at
    from biastf_xr.grid import Tile

    box = GeoBox((256, 256), Affine(30, 0, 0, 0, -30, 0), "EPSG:32655")
    spec = CubeSpec("fine", BANDS, box, Layout.build("fine", (256, 256)))
    axis = np.datetime64("2019-01-01") + np.arange(days)
    seen = np.arange(days) % 8 == 0
    about = {
        "clear_fraction": ("time", np.where(seen, 1, np.nan).astype(np.float32)),
        "scenes": ("time", np.where(seen, '["s"]', "").astype(np.dtypes.StringDType())),
    }
    image = {b: np.full((1, 256, 256), 0.2, np.float32) for b in BANDS}
    with store_at(path).build("benchmark", replace=True) as edit:
        write_template(build_template(spec, axis, about), spec, edit.store)
        for place in np.flatnonzero(seen):
            write_window(edit.store, slice(place, place + 1), Tile(0, 256, 0, 256), image)


def opening(path: Path) -> tuple[float, float]:
    """Return milliseconds to open a cube, and to its first pixel."""
    from biastf_xr.cube import open_cube

    best = [np.inf, np.inf]
    for _ in range(5):
        start = time.perf_counter()
        ds = open_cube(path, chunks=None)
        opened = time.perf_counter()
        ds["nir"][-1, 5, 5].load()
        best = [min(best[0], opened - start), min(best[1], time.perf_counter() - opened)]
    return best[0] * 1e3, best[1] * 1e3


def packings(size: int) -> None:
    """Compare the stored form with int16: bytes, error, write and read."""
    import zarr
    from scipy.ndimage import gaussian_filter

    from biastf_xr.cube._encoding import codecs, round_mantissa

    rng = np.random.default_rng(1)
    image = (
        0.2 + gaussian_filter(rng.normal(size=(size, size)), 8) + rng.normal(0, 0.002, (size,) * 2)
    )
    image, chunk = image.astype(np.float32), min(256, size)
    print(
        f"\n{'packing of ' + str(size) + ' x ' + str(size):28s} B/px   max error  write s  read s"
    )
    for name, array in (
        ("float32, 12-bit mantissa", round_mantissa(image)),
        ("float32, whole", image),
        ("int16 of 0.0001", np.round(image * 1e4).astype(np.int16)),
    ):
        store: dict[str, Any] = {}
        target = zarr.create_array(
            zarr.storage.MemoryStore(store), shape=array.shape, dtype=array.dtype,
            chunks=(chunk, chunk), shards=(size, size), compressors=codecs(array.dtype.itemsize),
        )  # fmt: skip
        wrote, _ = timed(lambda t=target, a=array: t.__setitem__(slice(None), a))
        got: list[Any] = []
        read, _ = timed(
            lambda t=target, g=got: g.append(
                t[:] * np.float32(1e-4) if t.dtype == np.int16 else t[:]
            )
        )
        used = sum(len(v.to_bytes()) for v in store.values())
        error = float(np.abs(got[0] - image).max())
        print(f"{name:28s} {used / array.size:5.2f} {error:10.1e} {wrote:8.3f} {read:7.3f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run everything and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048, help="Rows and columns of a scene.")
    parser.add_argument("--rounds", type=int, default=5, help="How often both are timed.")
    given = parser.parse_args(arguments)
    size = given.size
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = write_scenes(folder / "scenes", size)
        run_ingest(folder / "scenes", folder / "warm.zarr")  # imports and file caches
        rounds = []
        for n in range(given.rounds):  # in turn, so that both see the same machine
            bare = timed(lambda n=n: bare_loop(folder / "scenes", folder / f"bare{n}.zarr", size))
            ours = timed(lambda n=n: run_ingest(folder / "scenes", folder / f"cube{n}.zarr"))
            rounds.append((bare, ours))
        times = np.array(rounds)  # round, which, wall or CPU
        middle = np.median(times, axis=0)
        ratio = times[:, 1] / times[:, 0]
        print(f"{len(DAYS)} scenes of {size} x {size}, 8 layers, {os.cpu_count()} cores; medians "
              f"of {given.rounds}")  # fmt: skip
        for name, (wall, spent) in zip(("bare rasterio + zarr", "ingest"), middle, strict=True):
            rate = source / 1e6 / wall
            print(f"{name:22s} {wall:6.2f} s wall, {spent:6.2f} s CPU, {rate:6.1f} MB/s of source")
        for name, column in (("wall", 0), ("CPU", 1)):
            of = ratio[:, column]
            print(f"ingest / bare loop     {np.median(of):.2f} {name} ({of.min():.2f} to "
                  f"{of.max():.2f})")  # fmt: skip
        pixels = len(DAYS) * size * size * len(BANDS)
        used = sum(f.stat().st_size for f in (folder / "cube0.zarr").rglob("*") if f.is_file())
        print(f"on disk                {used / pixels:.2f} bytes per pixel and band; int16 has 2")
        large = folder / "large"
        write_scenes(large, 2 * size)
        small_peak = peak_of(folder / "scenes", folder / "p1.zarr")
        large_peak = peak_of(large, folder / "p2.zarr")
        print(f"peak memory            {small_peak:.0f} MiB; scenes 4x larger {large_peak:.0f} MiB")
        for name, days in (("1 month", 31), ("5 years", 1826)):
            write_long_cube(folder / "long.zarr", days)
            opened, first = opening(folder / "long.zarr")
            print(f"open a cube of {name}  {opened:.1f} ms, first pixel {first:.1f} ms")
    packings(size)


if __name__ == "__main__":
    main()
