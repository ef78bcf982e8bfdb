"""Cost and memory of every method, in units of the bare network, from one run.

The unit is the CPU time per megapixel and band of one bare fp32 forward pass of the paper's network
at 64/32/32 filters (channels_last, windows of 256 pixels).  Costs are per megapixel, band and
target date of one tile of six bands at a ratio of 16, on one thread, for one target date and for
16 target dates of one bracket; compilation and the look at the whole scene are not in them, the
latter has a column of its own: CPU seconds per megapixel and base date, all bands.  Memory is the
largest resident size of a process that fuses one date of a tile of 1024 x 1024 x 6, beyond what it
holds before it has read any image.

    python benchmarks/bench_methods.py [--size 512] [--only starfm]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402  (after the threads are set)

from biastf_xr.brackets import Bracket  # noqa: E402
from biastf_xr.fusion._kernel import CoarseImages, coarse_window, fuse_unit  # noqa: E402
from biastf_xr.fusion._plan import Unit  # noqa: E402
from biastf_xr.grid import Alignment, AxisMap, Tile  # noqa: E402
from biastf_xr.methods import get_method  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
RATIO, MARGIN, DAY = 16, 2, np.datetime64("2021-04-01")

# Method, options and base dates of each row; aims in units for one date and for 16.
ROWS: dict[str, tuple[str, dict[str, Any], int, float | None, float | None]] = {
    "direct": ("direct", {}, 2, None, None),
    "efast": ("efast", {}, 2, 0.3, 0.1),
    "fitfc, one pair": ("fitfc", {}, 1, 1.5, 1.0),
    "starfm, one pair": ("starfm", {}, 1, 8, 3),
    "starfm, two pairs": ("starfm", {"pairs": 2}, 2, 12, 4),
    "estarfm": ("estarfm", {}, 2, 6, 0.7),
    "estarfm, all similar pixels": ("estarfm", {"similar": 0}, 2, 6, 0.7),
    "fsdaf, one pair": ("fsdaf", {}, 1, 6, 3),
}


def scene(shape: tuple[int, ...], seed: int) -> Any:
    """Make up reflectance with fields, texture and whole digital numbers."""
    rng = np.random.default_rng(seed)
    rows, cols = shape[-2:]
    fields = rng.uniform(0.05, 0.4, (*shape[:-2], rows // 24 + 2, cols // 24 + 2))
    image = fields.repeat(24, -2).repeat(24, -1)[..., :rows, :cols]
    return (image + rng.normal(0, 0.015, shape)).clip(0.001, 1).round(4).astype(np.float32)


class Square:
    """A square scene in memory: what a driver hands to `fuse_unit`, and the look of `prepare`."""

    def __init__(self, size: int, dates: int, sides: int) -> None:
        cells = size // RATIO + 2 * MARGIN
        axis = AxisMap(1 / RATIO, float(MARGIN), cells)
        self.alignment = Alignment(axis, axis, (size, size))
        self.bands = BANDS
        self.targets = DAY + np.arange(1, dates + 1)
        bases = [DAY, DAY + 1 + dates][:sides]
        self.days = [np.datetime64(d) for d in bases]
        self.images = {d: scene((6, size, size), i) for i, d in enumerate(self.days)}
        self.cells = {d: scene((6, cells, cells), 10 + i) for i, d in enumerate(self.days)}
        self.now = scene((dates, 6, cells, cells), 20)
        bracket = Bracket(tuple(self.targets), (self.days[0],), tuple(self.days[1:]))
        self.unit = Unit(Tile(0, size, 0, size), bracket, tuple(range(dates)))

    def fold(self, look: Any, merge: Any) -> dict[np.datetime64, Any]:
        """Look at the square; see `SceneView.fold`."""
        return {d: look(d, self.images[d], self.unit.tile) for d in self.days}

    def targets_of(self, day: np.datetime64) -> Any:
        """Return every target."""
        return np.arange(self.targets.size)

    def coarse(self, days: Any, *, bases: bool = False) -> Any:
        """Return coarse images; see `SceneView.coarse`."""
        if bases:
            return np.stack([self.cells[d] for d in days])
        return self.now[: np.size(days)]

    def support(self, days: Any) -> Any:
        """Return one observation everywhere; see `SceneView.support`."""
        return np.ones((np.size(days), *self.now.shape[-2:]), np.float32)

    def fuse(self, method: Any, states: Any) -> Any:
        """Fuse the whole square."""
        window = coarse_window(self.unit, method, self.alignment)
        rows, cols = window.slices
        gap = np.zeros((len(self.now), *window.shape), np.uint8)
        bases = {d: v[:, rows, cols] for d, v in self.cells.items()}
        images = CoarseImages(
            window, self.now[..., rows, cols], gap, bases, np.ones(gap.shape, np.float32)
        )

        def read(day: np.datetime64, tile: Tile) -> Any:
            return self.images[day][:, *tile.slices]

        return fuse_unit(self.unit, method, states, read, images, self.alignment, BANDS)


class _Pair:
    """What `bind` asks of cubes."""

    def __init__(self, square: Square) -> None:
        self.alignment, self.bands, self.fine_days = square.alignment, BANDS, square.days


def bound(row: str, square: Square) -> Any:
    """Build the method of a row for a square."""
    name, options, *_ = ROWS[row]
    return get_method(name, **options).bind(_Pair(square))  # type: ignore[arg-type]


def cost(row: str, size: int, dates: int) -> tuple[float, float]:
    """Return CPU seconds per megapixel, band and date; and of the look, per megapixel and base."""
    sides = ROWS[row][2]
    small = Square(128, 1, sides)
    method = bound(row, small)
    small.fuse(method, method.prepare(small))  # compiles
    square = Square(size, dates, sides)
    method = bound(row, square)
    start = time.process_time()
    states = method.prepare(square)
    looked = time.process_time() - start
    best = np.inf
    for _ in range(2 if dates == 1 else 1):
        start = time.process_time()
        square.fuse(method, states)
        best = min(best, time.process_time() - start)
    mega = size * size / 1e6
    return best / (mega * len(BANDS) * dates), looked / (mega * sides)


def memory(row: str, size: int) -> float:
    """Return the MiB that one date of a tile of six bands takes, in a process of its own."""
    small = Square(128, 1, ROWS[row][2])
    method = bound(row, small)
    small.fuse(method, method.prepare(small))
    before = peak()
    square = Square(size, 1, ROWS[row][2])
    method = bound(row, square)
    square.fuse(method, method.prepare(square))
    return peak() - before


def peak() -> float:
    """Return the largest resident size so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def unit() -> float:
    """Return the CPU seconds per megapixel of one bare forward pass of the network."""
    import torch

    from biastf_xr.methods.biastf import NetworkShape

    torch.set_num_threads(1)
    network: Any = NetworkShape().layers().build().eval()
    network = network.to(memory_format=torch.channels_last)
    image = torch.rand(1, 1, 256, 256).to(memory_format=torch.channels_last)
    times = []
    with torch.inference_mode():
        network(image)
        for _ in range(9):
            start = time.process_time()
            network(image)
            times.append(time.process_time() - start)
    return float(np.median(times)) / (256 * 256 / 1e6)


def child(row: str, size: int, what: str) -> Any:
    """Measure in a fresh process."""
    line = [sys.executable, __file__, "--child", what, "--only", row, "--size", str(size)]
    done = subprocess.run(line, check=True, capture_output=True, text=True)  # noqa: S603
    return json.loads(done.stdout.splitlines()[-1])


def measure(row: str, size: int, what: str) -> Any:
    """Measure one figure of one row."""
    if what == "memory":
        return memory(row, size)
    return cost(row, size, int(what))


def aim(value: float, wanted: float | None) -> str:
    """Write a cost beside its aim."""
    return f"{value:7.2f}" + (f" (aim {wanted:g})" if wanted is not None else "")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512, help="rows and columns of the timed tile")
    parser.add_argument("--tile", type=int, default=1024, help="the same where memory is measured")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        print(json.dumps(measure(given.only, given.size, given.child)))
        return
    one = unit()
    print(f"unit: {one:.2f} CPU s per Mpx and band, one bare forward pass of the network\n")
    print(f"{'method':28s} {'units, 1 date':>20s} {'units, 16 dates':>20s} "
          f"{'CPU s/(Mpx band date)':>22s} {'look, CPU s/Mpx':>16s} {'MiB':>6s}")  # fmt: skip
    for row, (_, _, _, aim_one, aim_many) in ROWS.items():
        if given.only not in row:
            continue
        (single, look), (many, _) = child(row, given.size, "1"), child(row, given.size, "16")
        print(f"{row:28s} {aim(single / one, aim_one):>20s} {aim(many / one, aim_many):>20s} "
              f"{single:11.2f} {many:10.2f} {look:16.2f} {child(row, given.tile, 'memory'):6.0f}",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
