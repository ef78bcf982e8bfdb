"""Cost of the whole fusion beside the bare network, and peak memory at two region sizes.

Everything in a row of the table comes from one process on one thread: the bare forward passes
(channels-last, 256-pixel micro-tiles, fp32, filters 64/32/32) of exactly the images that the fusion
needs, then the whole run from Zarr to Zarr.  Run it with ``make bench``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402  (after the threads are set)

if TYPE_CHECKING:
    from biastf_xr.methods.base import Float

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
RATIO, DATES, SIDES = 16, 8, 2


def cpu_seconds() -> float:
    """Give the CPU time of this process, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def write_cubes(folder: Path, size: int) -> tuple[Path, Path]:
    """Write a clear fine cube of two dates and a daily coarse cube between them."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from biastf_xr.cube.spec import CubeKind, CubeSpec, Layout
    from biastf_xr.cube.store import write_window
    from biastf_xr.cube.stores import store_at
    from biastf_xr.cube.template import build_template, write_template
    from biastf_xr.grid import split_tiles

    rng = np.random.default_rng(0)
    start = np.datetime64("2021-04-01")
    paths = folder / "fine.zarr", folder / "coarse.zarr"
    n = size // RATIO + 2
    grids = {
        "fine": GeoBox((size, size), Affine(30, 0, 0, 0, -30, 0), "EPSG:32755"),
        "coarse": GeoBox((n, n), Affine(480, 0, -480, 0, -480, 480), "EPSG:32755"),
    }
    axis = start + np.arange(17)
    days = {"fine": [0, 16], "coarse": list(range(17))}
    kinds: tuple[CubeKind, ...] = ("fine", "coarse")
    for path, kind in zip(paths, kinds, strict=True):
        rows, cols = grids[kind].shape
        layout = Layout.build(kind, (rows, cols))
        spec = CubeSpec(kind, BANDS, grids[kind], layout)
        seen = np.isin(np.arange(axis.size), days[kind])
        scenes = np.where(seen, '["scene"]', "").astype(np.dtypes.StringDType())
        about = {
            "clear_fraction": ("time", np.where(seen, 1, np.nan).astype(np.float32)),
            "scenes": ("time", scenes),
        }
        with store_at(path).build("benchmark", replace=False) as edit:
            write_template(build_template(spec, axis, about), spec, edit.store)
            for places in np.split(np.flatnonzero(seen), range(layout.time, 17, layout.time)):
                for place in places if kind == "fine" else [places]:
                    span = slice(int(np.min(place)), int(np.max(place)) + 1)
                    for tile in split_tiles(spec.shape, layout.shards[1:]):
                        shape = (span.stop - span.start, *tile.shape)
                        data: dict[str, Any] = {
                            b: rng.uniform(0.05, 0.4, shape).astype(np.float32) for b in BANDS
                        }
                        data["clear"] = np.ones(shape, np.uint8)
                        write_window(edit.store, span, tile, data)
    return paths


def write_model(path: Path) -> None:
    """Write a checkpoint with random weights: cost does not depend on them."""
    import torch

    from biastf_xr.methods.biastf.checkpoint import Card, write_checkpoint
    from biastf_xr.methods.biastf.network import build_network
    from biastf_xr.methods.biastf.settings import NetworkShape
    from biastf_xr.methods.biastf.train import BandModel

    shape = NetworkShape()
    models = {}
    for i, band in enumerate(BANDS):
        network = build_network(shape, i)
        with torch.no_grad():
            network[-1].weight.normal_(0, 0.05)  # type: ignore[operator]
        models[band] = BandModel(network, 0.1, 0.01, [(1.0, 1.0)])
    settings = {"weights": "change", "window": 3, "upsampling": "bilinear"}
    card = Card(
        bands=BANDS,
        ratio=RATIO,
        resolution=30.0,
        filters=shape.filters,
        kernels=shape.kernels,
        bias=True,
        scales=dict.fromkeys(BANDS, (0.1, 0.01)),
        pairs=(),
        settings=settings,
        history={},
        seed=0,
    )
    write_checkpoint(path, card, models)


def measure(folder: Path, size: int) -> dict[str, float]:
    """Measure one region size in this process."""
    import torch

    import biastf_xr
    from biastf_xr.methods.biastf.checkpoint import load_networks
    from biastf_xr.methods.biastf.network import apply_network

    torch.set_num_threads(1)
    fine, coarse = write_cubes(folder, size)
    model = biastf_xr.load_method(folder / "model.safetensors")
    days = [str(np.datetime64("2021-04-05") + n) for n in range(DATES)]
    networks = load_networks(str(model.checkpoint), model.sha256, "cpu")  # type: ignore[attr-defined]
    noise = np.random.default_rng(1).normal(size=(DATES, size + 14, size + 14))
    images: Float = noise.astype(np.float32)
    apply_network(networks["red"], images[:1, :270, :270], radius=7, origin=(0, 0))
    start = cpu_seconds()
    for band in BANDS:
        for _ in range(SIDES):
            apply_network(networks[band], images, radius=7, origin=(0, 0))
    bare = cpu_seconds() - start
    del noise, images
    # One date first: imports and compiled code are no cost of a long run.
    biastf_xr.write_fused(fine, coarse, folder / "warm.zarr", model, dates=days[:1], tile=512)
    start = cpu_seconds()
    biastf_xr.write_fused(fine, coarse, folder / "fused.zarr", model, dates=days, tile=512)
    whole = cpu_seconds() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"size": size, "bare": bare, "whole": whole, "peak": peak}


def main() -> None:
    """Measure every size in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.folder, options.child)))
        return
    print(f"{len(BANDS)} bands, {DATES} dates, two-sided, ratio {RATIO}, tiles of 512, one thread")
    print("CPU s per megapixel, band and date (a date is two forward passes)")
    print(f"{'region':>8} {'network':>9} {'whole':>9} {'ratio':>7} {'peak MiB':>9}")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            write_model(Path(name) / "model.safetensors")
            command = [sys.executable, __file__, "--child", str(size), "--folder", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        row = json.loads(done.stdout.splitlines()[-1])
        unit = size**2 / 1e6 * len(BANDS) * DATES
        print(
            f"{size:>6}^2 {row['bare'] / unit:>9.3f} {row['whole'] / unit:>9.3f} "
            f"{row['whole'] / row['bare']:>7.3f} {row['peak']:>9.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
