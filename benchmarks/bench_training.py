"""Cost of a fit of the generated region: seconds of processor time, samples a second, losses.

    python benchmarks/bench_training.py [--size 256] [--days 144] [--epochs 30] [--inputs change]

The region is written, ingested and fitted with the defaults of `biastf-xr train`.  Processor
seconds are those of all cores; on an idle machine with as many cores as bands the fit takes about
these seconds divided by the cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import biastf_xr
from biastf_xr.brackets import BracketRule
from biastf_xr.cube import ingest
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.methods.biastf import NetworkShape, SampleRule, TrainRule
from biastf_xr.methods.biastf._samples import draw_samples
from biastf_xr.sources import build_product
from biastf_xr.testing import SyntheticRegion, write_landsat, write_mod09ga

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def timed(what: str) -> Iterator[dict[str, float]]:
    """Print the seconds of a block: on the clock, and of all cores."""
    clock, cpu = time.perf_counter(), time.process_time()
    took: dict[str, float] = {}
    yield took
    took |= {"clock": time.perf_counter() - clock, "cpu": time.process_time() - cpu}
    print(f"{what:28} {took['clock']:7.1f} s, {took['cpu']:7.1f} CPU s")


def write_cubes(folder: Path, size: int, days: int) -> tuple[Any, Any]:
    """Write the region's scenes and ingest them."""
    region = SyntheticRegion(shape=(size, size), days=days)
    write_landsat(region, folder / "landsat")
    write_mod09ga(region, folder / "modis")
    ingest(build_product("landsat-c2-l2"), folder / "landsat", folder / "fine.zarr", kind="fine")
    ingest(build_product("mod09ga"), folder / "modis", folder / "coarse.zarr", kind="coarse")
    return biastf_xr.open_cube(folder / "fine.zarr"), biastf_xr.open_cube(folder / "coarse.zarr")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--days", type=int, default=144)
    parser.add_argument("--epochs", type=int, default=TrainRule().epochs)
    parser.add_argument("--count", type=int, default=SampleRule().count)
    parser.add_argument("--inputs", default="change")
    parser.add_argument("--method", default="biastf")
    told = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        fine, coarse = write_cubes(Path(name), told.size, told.days)
        report(fine, coarse, told)


def report(fine: Any, coarse: Any, told: argparse.Namespace) -> None:
    """Print what drawing and fitting cost."""
    rule = SampleRule(count=told.count)
    network = NetworkShape(inputs=told.inputs)
    pair = pair_cubes(fine, coarse)
    with timed("draw samples of biastf"):
        drawn = draw_samples(
            pair,
            rule,
            halo=network.radius,
            upsampling="bilinear",
            base_rule=BracketRule(),
            seed=0,
            inputs=network.inputs,
        )
    print(f"{len(drawn.bias)} samples of {len(drawn.pairs)} pairs, {drawn.held_out.sum()} held out")
    own: dict[str, Any] = {"network": network} if told.method == "biastf" else {}
    with timed(f"fit {told.method}, {len(pair.bands)} bands") as took:
        model: Any = biastf_xr.fit(
            fine, coarse, told.method, samples=rule, train=TrainRule(epochs=told.epochs), **own
        )
    history, data = model.card.history, model.card.data
    epochs = sum(len(losses) for losses in history.values())
    seen = epochs * (data["samples"] - data["held_out"])
    print(f"{epochs} epochs in all, {seen / took['cpu']:.0f} samples a CPU second")
    for name, losses in history.items():
        best = min([1.0, *(held for _, held in losses)])
        print(
            f"  {name:10} {len(losses):3} epochs, held-out loss {best:.3f} (1 is nothing learned)"
        )
    mean = np.mean([min([1.0, *(h for _, h in losses)]) for losses in history.values()])
    print(f"  {'mean':10} held-out loss {mean:.3f}")


if __name__ == "__main__":
    main()
