"""The window loops in numba, as the methods use them, beside the same work in torch.

Two pieces of work on a made-up scene of one digital number's step, one thread, same inputs:

dense
    STARFM, one pair, one date: for every pixel of the window around every pixel compare it with
    the centre, test its differences, weight, and add to two sums.  `STARFM._window`, which makes
    the terms that do not depend on the window as well; torch is given the same terms.
search
    The 20 most similar pixels of the window over all planes: `most_similar` with a threshold, as
    ESTARFM and FSDAF search, and without, as Fit-FC does.  In torch the keys of a batch of
    offsets are made, joined to the best so far, and `torch.topk` keeps the best; or every offset is
    inserted into the sorted list by a chain of minima and maxima of whole tiles.

torch works in place, tile by tile, and visits the offsets in the same order; results are compared.

    python benchmarks/bench_kernels.py [--size 256] [--window 51]
"""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402  (after the threads are set)
import torch  # noqa: E402

from biastf_xr.methods._similar import (  # noqa: E402
    DN,
    SLACK,
    most_similar,
    row_order,
    window_distances,
    window_offsets,
)
from biastf_xr.methods.starfm import STARFM  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

COUNT, BATCH = 20, 128

# Whole keys and places share a 64-bit number: the place is the fraction.
PLACES = 8192


def scene(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Make up reflectance with fields, texture and whole digital numbers."""
    rng = np.random.default_rng(seed)
    rows, cols = shape[-2:]
    fields = rng.uniform(0.05, 0.4, (*shape[:-2], rows // 24 + 2, cols // 24 + 2))
    image = fields.repeat(24, -2).repeat(24, -1)[..., :rows, :cols]
    return (image + rng.normal(0, 0.015, shape)).clip(0.001, 1).round(4).astype(np.float32)


def spent(work: Callable[[], Any], times: int = 2) -> tuple[float, Any]:
    """Return the CPU seconds of the best of some runs, and the result."""
    best, made = np.inf, None
    for _ in range(times):
        start = time.process_time()
        made = work()
        best = min(best, time.process_time() - start)
    return best, made


def tiles(size: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut a square into tiles: first row, first column, rows, columns."""
    for y in range(0, size, side):
        for x in range(0, size, side):
            yield y, x, min(side, size - y), min(side, size - x)


class Dense:
    """The dense pass over one band."""

    def __init__(self, size: int, window: int) -> None:
        self.size, self.reach = size, window // 2
        self.method = STARFM(window=window, reach=window // 2)
        wide = size + 2 * self.reach
        self.fine, self.then, self.now = (scene((1, wide, wide), seed)[None] for seed in (0, 1, 2))
        self.limit = np.full((1, 1), 0.02 + SLACK, np.float32)
        self.level = self.fine.mean(axis=(0, 2, 3))
        side = 2 * self.reach + 1
        order = row_order(side)
        self.offsets = window_offsets(side)[order].tolist()
        self.near = (1 / (1 + 2 * window_distances(side) / side))[order].tolist()

    def in_numba(self) -> NDArray[np.float32]:
        """Run the package's own pass."""
        made, _ = self.method._window(self.fine, self.then, self.now, self.limit, self.level)  # noqa: SLF001
        band: NDArray[np.float32] = made[0, 0]
        return band

    def terms(self) -> tuple[torch.Tensor, ...]:
        """Make what does not depend on the window, as `STARFM._window` does."""
        fine, then, now = (torch.from_numpy(v[0, 0]) for v in (self.fine, self.then, self.now))
        spectral, change = (then - fine).abs(), now - then
        differs = (spectral + self.method.offset) / self.method.offset
        error = np.hypot(self.method.uncertainty_fine, self.method.uncertainty_coarse)
        limit = np.hypot(error, np.sqrt(2) * self.method.uncertainty_coarse) / self.method.offset
        exact = differs < float(np.float32(limit * (1 - 2e-3)))
        # Where the weight is exactly 1 the distance does not count; elsewhere it divides.
        weight = torch.where(exact, 0.0, 1 / differs)
        return fine, spectral, change.abs(), weight, exact.float(), fine + change - self.level[0]

    def in_torch(self, side: int) -> NDArray[np.float32]:
        """Run the same in torch, one tile after the other, every step in place."""
        fine, spectral, temporal, weight, exact, moved = self.terms()
        h, limit = self.reach, float(self.limit[0, 0])
        method, out = self.method, np.empty((self.size, self.size), np.float32)
        error = np.hypot(method.uncertainty_fine, method.uncertainty_coarse)
        slack_s = float(np.float32(error + SLACK))
        slack_t = float(np.float32(np.sqrt(2) * method.uncertainty_coarse + SLACK))
        for y, x, rows, cols in tiles(self.size, side):
            inner = slice(y + h, y + h + rows), slice(x + h, x + h + cols)
            centre = fine[inner].contiguous()
            most_s, most_t = spectral[inner] + slack_s, temporal[inner] + slack_t
            total, norm = torch.zeros(rows, cols), torch.zeros(rows, cols)
            step, share = torch.empty(rows, cols), torch.empty(rows, cols)
            alike, good, also = (torch.empty(rows, cols, dtype=torch.bool) for _ in range(3))
            for (dy, dx), near in zip(self.offsets, self.near, strict=True):
                at = slice(y + h + dy, y + h + dy + rows), slice(x + h + dx, x + h + dx + cols)
                torch.sub(fine[at], centre, out=step)
                torch.lt(step.abs_(), limit, out=alike)
                torch.lt(spectral[at], most_s, out=good)
                torch.lt(temporal[at], most_t, out=also)
                alike.logical_and_(good.logical_or_(also))
                torch.add(exact[at], weight[at], alpha=near, out=share)
                share.mul_(alike)
                norm.add_(share)
                total.addcmul_(share, moved[at])
            made = total.div_(norm).add_(float(self.level[0]))
            # A pixel whose own difference is zero decides alone.
            alone = torch.minimum(spectral[inner], temporal[inner]) < SLACK
            own = moved[inner] + float(self.level[0])
            out[y : y + rows, x : x + cols] = torch.where(alone, own, made).numpy()
        return out


class Search:
    """The search for the most similar pixels."""

    def __init__(self, size: int, window: int, planes: int, *, limited: bool) -> None:
        self.size, self.window, self.reach = size, window, window // 2
        wide = size + 2 * self.reach
        self.image = scene((planes, wide, wide), 5)
        self.limit = 0.1 if limited else np.inf
        self.offsets = window_offsets(window).tolist()

    def in_numba(self) -> NDArray[np.int64]:
        """Run the package's own search; give places and -1 where there is none."""
        found = most_similar(
            self.image, self.window, COUNT, scale=1.0, threshold=self.limit,
            squared=not np.isfinite(self.limit),
        )  # fmt: skip
        there = np.arange(COUNT) < found.number[..., None]
        return np.where(there, found.place.astype(np.int64), -1)

    def keys(self, whole: torch.Tensor, centre: torch.Tensor, at: Any, work: Any) -> torch.Tensor:
        """Return the whole-numbered unlikeness to the pixels at one offset."""
        key, step, bad = work
        key.zero_()
        for plane, middle in zip(whole, centre, strict=True):
            torch.sub(plane[at], middle, out=step)
            if np.isfinite(self.limit):
                step.abs_()
                torch.ge(step, self.limit / DN, out=bad)
                key.add_(step).masked_fill_(bad, torch.inf)
            else:
                key.addcmul_(step, step)
        result: torch.Tensor = key
        return result

    def in_torch(self, side: int, batch: int) -> NDArray[np.int64]:
        """Run the same in torch, with `topk` over batches of offsets, or by insertion (0)."""
        whole = torch.from_numpy(np.rint(self.image * np.float32(1 / DN)))
        out = np.empty((self.size, self.size, COUNT), np.int64)
        h = self.reach
        for y, x, rows, cols in tiles(self.size, side):
            inner = slice(y + h, y + h + rows), slice(x + h, x + h + cols)
            centre = whole[:, inner[0], inner[1]].contiguous()
            views = [
                (slice(y + h + dy, y + h + dy + rows), slice(x + h + dx, x + h + dx + cols))
                for dy, dx in self.offsets
            ]
            work = (
                torch.empty(rows, cols), torch.empty(rows, cols),
                torch.empty(rows, cols, dtype=torch.bool),
            )  # fmt: skip
            if batch:
                best = self._topk(whole, centre, views, work, batch)
            else:
                best = self._insert(whole, centre, views, work).permute(1, 2, 0)
            place = ((best - best.floor()) * PLACES).round().nan_to_num(-1.0)
            out[y : y + rows, x : x + cols] = place.long().numpy()
        return out

    def _topk(self, whole: Any, centre: Any, views: Any, work: Any, batch: int) -> torch.Tensor:
        """Keep the best of the best so far and a batch of offsets."""
        keys = torch.full((*work[0].shape, COUNT + batch), torch.inf, dtype=torch.float64)
        for first in range(0, len(views), batch):
            part = views[first : first + batch]
            for n, at in enumerate(part):
                key = keys[..., COUNT + n]
                key.copy_(self.keys(whole, centre, at, work)).add_((first + n) / PLACES)
            keys[..., COUNT + len(part) :] = torch.inf
            keys[..., :COUNT] = torch.topk(keys, COUNT, dim=-1, largest=False).values
        return keys[..., :COUNT]

    def _insert(self, whole: Any, centre: Any, views: Any, work: Any) -> torch.Tensor:
        """Push every offset through the sorted list, whole planes at a time."""
        shape = work[0].shape
        best = torch.full((COUNT, *shape), torch.inf, dtype=torch.float64)
        more, less = (torch.empty(shape, dtype=torch.float64) for _ in range(2))
        for n, at in enumerate(views):
            more.copy_(self.keys(whole, centre, at, work)).add_(n / PLACES)
            if not bool((more < best[-1]).any()):
                continue
            for k in range(COUNT):
                torch.maximum(best[k], more, out=less)
                torch.minimum(best[k], more, out=best[k])
                more, less = less, more
        return best


def report(
    label: str, seconds: float, mega: float, ratio: float | None = None, note: str = ""
) -> None:
    """Print one row."""
    times = "" if ratio is None else f"{ratio:.1f}"
    print(f"{label:46s} {seconds / mega:9.2f} {times:>7s}  {note}".rstrip(), flush=True)


def dense(size: int, window: int, sides: tuple[int, ...]) -> None:
    """Measure the dense pass."""
    work = Dense(size, window)
    work.in_numba()  # compiles
    mega = size * size / 1e6
    unit, made = spent(work.in_numba)
    print(f"dense pass, one band, window {window}: CPU s per Mpx and band, ratio")
    report("numba, STARFM._window", unit, mega)
    for side in sides:
        seconds, other = spent(lambda side=side: work.in_torch(side), 1)  # type: ignore[misc]
        note = f"largest difference {np.abs(made - other).max():.0e}"
        report(f"torch, tiles of {side}", seconds, mega, seconds / unit, note)


def search(size: int, window: int, planes: int, sides: tuple[int, ...], *, limited: bool) -> None:
    """Measure the search."""
    work = Search(size, window, planes, limited=limited)
    work.in_numba()  # compiles
    mega = size * size / 1e6 * planes
    unit, made = spent(work.in_numba)
    kind = "with a threshold" if limited else "squared differences"
    print(f"\nthe {COUNT} most similar, {planes} planes, {kind}: CPU s per Mpx and plane, ratio")
    report("numba, most_similar", unit, mega)
    for side in sides:
        for batch, how in ((BATCH, f"topk of {BATCH} offsets"), (0, "insertion")):
            seconds, other = spent(lambda a=(side, batch): work.in_torch(*a), 1)  # type: ignore[misc]
            note = f"{100 * (made == other).mean():.2f} % of places equal"
            report(f"torch, {how}, tiles of {side}", seconds, mega, seconds / unit, note)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=256, help="rows and columns of the scene")
    parser.add_argument("--window", type=int, default=51)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with torch.inference_mode():
        dense(given.size, given.window, (64, 128, 256))
        search(given.size, given.window, 6, (128, 256), limited=False)
        search(given.size, given.window, 12, (256,), limited=True)


if __name__ == "__main__":
    main()
