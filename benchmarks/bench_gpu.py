"""Prove the networks on a GPU: results, training, memory, speed; one table, in minutes.

    PYTHONPATH=. python benchmarks/bench_gpu.py [--json gpu.json]

The machine needs a CUDA card, torch, numpy, scipy, pandas, xarray, packaging, pydantic and
safetensors, no other package: scenes are generated in memory, and fits and fusions run the
package's own code on them. Without a CUDA card, `--toy` runs all of it at toy size on the
processor, where a device that has little memory stands in for the card. The exit code is 1 if a
bound is not kept.

Bands are fitted on both devices from the same seed and compared by their losses; one model fuses
on both, in every precision; memory is taken away until the back-off is seen; forward passes and
whole tiles are timed beside the processor, all cores at once, and beside what the card can do:
arithmetic at the rate of a large matrix product, or memory at the rate of a large copy, each
layer reading its input and writing its output once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import numpy as np
import torch
import xarray as xr
from torch import nn

from biastf_xr.brackets import Bracket
from biastf_xr.cube._guards import CubePair
from biastf_xr.errors import MethodError
from biastf_xr.fusion import FusionRule, Unit
from biastf_xr.fusion._kernel import CoarseSeries, coarse_window, fill_coarse, fuse_unit
from biastf_xr.grid import Alignment, AxisMap, Tile
from biastf_xr.methods._learning import inference
from biastf_xr.methods._learning.card import Layers
from biastf_xr.methods._learning.inference import (
    CpuPlace,
    GpuPlace,
    ReadyNetwork,
    Size,
    apply_network,
    load_networks,
    run_in_batches,
)
from biastf_xr.methods._learning.loop import DTYPES
from biastf_xr.methods.base import FitRun
from biastf_xr.methods.biastf import BiaSTF
from biastf_xr.methods.stfdcnn import STFDCNN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from biastf_xr.methods._learning.card import Precision
    from biastf_xr.methods._learning.inference import Place
    from biastf_xr.methods.base import Float

CPU, CORES = torch.device("cpu"), os.cpu_count() or 1
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
METHODS: dict[str, Any] = {"biastf": BiaSTF, "stfdcnn": STFDCNN}
NETWORKS = {
    "biastf": Layers((1, 64, 32, 32, 1), (7, 5, 3, 3)),
    "stfdcnn": Layers((1, 64, 32, 1), (9, 5, 5)),
}

# What differences may be, by precision.  Of a network with random weights on noise, to double
# precision, as a share of the standard deviation of the result; of fused reflectance, to the same
# model on the processor in fp32, in 999 of 1000 pixels (where neither side changed, `stfdcnn`
# decides between them by rounding); of a loss, as a share of it.
NETWORK_BOUND = {"fp32": 1e-4, "bf16": 0.2, "fp16": 0.02}
FUSED_BOUND = {"fp32": 1e-5, "bf16": 1e-2, "fp16": 2e-3}
LOSS_BOUND = {"fp32": 0.01, "bf16": 0.05, "fp16": 0.05}

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    scene: int = 512
    ratio: int = 16
    bands: int = 3
    samples: int = 512
    epochs: int = 4
    tile: int = 1024
    dates: int = 16
    cpu_dates: int = 2
    workers: int = 8
    batch: int = 8
    matrix: int = 8192
    copied: int = 2**30
    rounds: int = 7


TOY = Sizes(
    scene=64, ratio=4, bands=1, samples=64, epochs=3, tile=32, dates=2, cpu_dates=1, workers=2,
    batch=4, matrix=64, copied=2**16, rounds=1,
)  # fmt: skip


class Card:
    """The CUDA card."""

    device = torch.device("cuda")

    def place(self, precision: Precision) -> GpuPlace:
        """Make the package's place."""
        return GpuPlace(self.device, precision)

    def installed(self) -> Any:
        """Make methods that name the device find it."""
        return nullcontext()

    def wait(self) -> None:
        """Wait until it has done all it was given."""
        torch.cuda.synchronize()

    def refused(self) -> int:
        """Count the allocations that failed so far."""
        return int(torch.cuda.memory_stats()["num_ooms"])

    @contextmanager
    def crowded(self, room: int) -> Iterator[None]:
        """Leave so many bytes free, as if other programs had the rest."""
        torch.cuda.empty_cache()
        taken = torch.cuda.mem_get_info()[0] - room
        other = torch.empty(max(taken, 0), dtype=torch.uint8, device=self.device)
        try:
            yield
        finally:
            del other
            torch.cuda.empty_cache()

    def describe(self) -> dict[str, Any]:
        """Name card and libraries."""
        card = torch.cuda.get_device_properties(0)
        return {
            "card": card.name,
            "memory GiB": round(card.total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
            "cudnn": int(torch.backends.cudnn.version() or 0),  # type: ignore[no-untyped-call]
        }


class ToyPlace(GpuPlace):
    """The processor as a card with room for so many bytes at once, that thinks it has more."""

    room, refused = 2**60, 0

    def free_bytes(self) -> int:
        """Count what it thinks is free."""
        return 2**26

    def run(self, network: ReadyNetwork, batch: torch.Tensor) -> torch.Tensor:
        """Run, or refuse for want of memory."""
        if batch[:, 0].numel() * network.pixel_bytes > ToyPlace.room:
            ToyPlace.refused += 1
            raise torch.OutOfMemoryError("out of memory")
        return super().run(network, batch)


class ToyCard(Card):
    """What stands in for the card on a machine without."""

    device = CPU

    def place(self, precision: Precision) -> GpuPlace:
        """Make the stand-in."""
        return ToyPlace(CPU, precision)

    def installed(self) -> Any:
        """Make methods that name a CUDA device find the stand-in."""

        def place_on(device: str, precision: Precision) -> Place:
            return self.place(precision) if device == "cuda" else CpuPlace(precision)

        return mock.patch.object(inference, "place_on", place_on)

    def wait(self) -> None:
        """Do nothing: it is done when it returns."""

    def refused(self) -> int:
        """Count what it refused."""
        return ToyPlace.refused

    @contextmanager
    def crowded(self, room: int) -> Iterator[None]:
        """Leave room for so many bytes."""
        ToyPlace.room = room
        try:
            yield
        finally:
            ToyPlace.room = 2**60

    def describe(self) -> dict[str, Any]:
        """Say that there is none."""
        return {"card": "none: the processor stands in, at toy size"}


@dataclass
class Findings:
    """Rows of the table, and all numbers."""

    checks: list[dict[str, Any]] = field(default_factory=list)
    speeds: list[dict[str, Any]] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def check(self, part: str, what: str, found: float | str, bound: float | str, ok: Any) -> None:
        """Keep the result of a check."""
        self.checks.append(
            {"part": part, "what": what, "found": found, "bound": bound, "ok": bool(ok)}
        )
        print(f"  {part}: {what}: {_number(found)} ({_number(bound)}) {_verdict(ok)}", flush=True)

    def below(self, part: str, what: str, found: float, bound: float) -> None:
        """Keep a number that must not be above its bound."""
        self.check(part, what, found, bound, found <= bound)

    def speed(
        self, what: str, card: float, cpu: float | None = None, **limits: float | None
    ) -> None:
        """Keep a speed in megapixels a second, with the processor's and what limits it."""
        self.speeds.append({"what": what, "card": card, "cpu": cpu, **limits})
        print(f"  {what}: {_number(card)}, CPU {_number(cpu)}, {limits}", flush=True)

    def table(self) -> str:
        """Write the table in Markdown."""
        rows = [
            "| checked | found | bound | |",
            "| --- | --- | --- | --- |",
            *(
                f"| {r['part']}: {r['what']} | {_number(r['found'])} | {_number(r['bound'])} | "
                f"{_verdict(r['ok'])} |"
                for r in self.checks
            ),
            "",
            "| Mpx/s | card | CPU | ratio | limit: memory | arithmetic | copies | of the limit |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for r in self.speeds:
            limits = [r.get(name) for name in ("memory", "arithmetic", "copies")]
            least = min((v for v in limits if v), default=None)
            cells = [
                r["card"], r["cpu"], r["card"] / r["cpu"] if r["cpu"] else None, *limits,
                f"{r['card'] / least:.0%}" if least else None,
            ]  # fmt: skip
            rows.append(f"| {r['what']} | {' | '.join(_number(c) for c in cells)} |")
        return "\n".join(rows)


def _number(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _verdict(ok: Any) -> str:
    return "kept" if ok else "NOT KEPT"


# Generated scenes.


def make_pair(size: int, ratio: int, bands: int, days: int) -> CubePair:
    """Make cubes of parcels whose seasons differ; the coarse sensor responds in its own way."""
    rng = np.random.default_rng(0)
    dates = np.datetime64("2021-04-01") + 8 * np.arange(days)
    side = 5 * ratio // 2
    cells = rng.integers(0, 40, (size // side + 1, size // side + 1))
    parcels = np.kron(cells, np.ones((side, side), int))[:size, :size]
    level, swing = rng.uniform(0.15, 0.4, (bands, 40)), rng.uniform(-0.05, 0.1, (bands, 40))
    phase, texture = rng.uniform(0, 2, 40), rng.normal(0, 0.01, (bands, size, size))
    fine, coarse = [], []
    for day in range(days):
        season = np.sin(0.35 * day + phase)
        truth = (level + swing * season)[:, parcels] + texture
        seen = truth.reshape(bands, size // ratio, ratio, size // ratio, ratio).mean((2, 4))
        fine.append(truth + rng.normal(0, 0.002, truth.shape))
        coarse.append(1.3 * seen - 0.02 + rng.normal(0, 0.001, seen.shape))
    axis = AxisMap(1 / ratio, 0.0, size // ratio)
    names = BANDS[:bands]
    grid = SimpleNamespace(
        affine=SimpleNamespace(a=30.0, c=0.0, f=0.0),
        crs=None,
        shape=(size, size),
        geographic_extent=SimpleNamespace(
            boundingbox=SimpleNamespace(left=0.0, bottom=0.0, right=1.0, top=1.0)
        ),
    )
    images = _cube(fine, names, dates)
    return CubePair(
        images, _cube(coarse, names, dates), names, cast("Any", grid),
        Alignment(axis, axis, (size, size)), images,
    )  # fmt: skip


def _cube(images: Sequence[Any], names: Sequence[str], dates: Any) -> xr.Dataset:
    stack = np.stack(images).astype(np.float32)
    variables = {name: (("time", "y", "x"), stack[:, i]) for i, name in enumerate(names)}
    return xr.Dataset(variables, coords={"time": dates.astype("datetime64[ns]")})


def fuse(pair: CubePair, method: Any, dates: int) -> Float:
    """Fuse the whole area on some days between the first date and the last."""
    days = pair.fine_days
    first, last = days[0], days[-1]
    targets = first + np.linspace(0, (last - first).astype(int), dates + 2).astype(int)[1:-1]
    bracket = Bracket(tuple(targets), (first,), (last,))
    unit = Unit(Tile(0, *pair.alignment.shape[:1], 0, pair.alignment.shape[1]), bracket, ())
    window = coarse_window(unit, method, pair.alignment)
    fine, coarse = _arrays(pair.fine, pair.bands), _arrays(pair.coarse, pair.bands)
    series = CoarseSeries(pair.coarse_days, coarse[:, :, *window.slices], window)

    def read(day: np.datetime64, tile: Tile) -> Float:
        image: Float = fine[int(np.searchsorted(days, day))][:, *tile.slices]
        return image

    images = fill_coarse(unit, series, FusionRule())
    return fuse_unit(unit, method, {}, read, images, pair.alignment, pair.bands).reflectance


def _arrays(cube: xr.Dataset, bands: Sequence[str]) -> Float:
    made: Float = np.stack([cube[band].values for band in bands], axis=1)
    return made


def random_network(layers: Layers) -> nn.Sequential:
    """Build a network whose every weight counts; its result is about as large as its input."""
    network = layers.build(1).eval()
    last = network[-1]
    if isinstance(last, nn.Conv2d):
        scale = (last.in_channels * last.kernel_size[0] ** 2) ** -0.5
        with torch.no_grad():
            last.weight.normal_(0, scale, generator=torch.Generator().manual_seed(2))
    return network


def noise(*shape: int) -> Float:
    """Draw an image of noise."""
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


# The parts.


@dataclass
class Bench:
    """All parts, on one card."""

    card: Card
    sizes: Sizes
    folder: Path
    found: Findings = field(default_factory=Findings)

    def part_networks(self) -> None:
        """Run every network in every precision; compare with double precision."""
        side = self.sizes.scene
        for name, layers in NETWORKS.items():
            network = random_network(layers)
            ready = ReadyNetwork(network, CpuPlace("fp32"))
            source = noise(2, side + 2 * ready.reach, side + 2 * ready.reach)
            trim = slice(ready.reach - ready.radius, (ready.radius - ready.reach) or None)
            with torch.inference_mode():
                double = random_network(layers).double()
                given = torch.from_numpy(source[:, None, trim, trim]).double()
                truth = double(given)[:, 0].numpy()
            places: dict[str, Place] = {p: self.card.place(p) for p in PRECISIONS}
            places |= {"CPU fp32": CpuPlace("fp32"), "CPU bf16": CpuPlace("bf16")}
            for kind, place in places.items():
                run = ReadyNetwork(network, place)
                made = apply_network(run, source, origin=(0, 0), margin=ready.reach)
                error = float(np.abs(made - truth).max() / truth.std())
                self.found.below("network", f"{name}, {kind}", error, NETWORK_BOUND[kind[-4:]])
                again = apply_network(run, source, origin=(0, 0), margin=ready.reach)
                if kind in PRECISIONS and not np.array_equal(made, again):
                    self.found.check("network", f"{name}, {kind}, again", "differs", "same", ok=0)

    def part_training(self) -> None:
        """Fit on both devices from the same seed; fuse with one model on both."""
        s = self.sizes
        pair = make_pair(s.scene, s.ratio, s.bands, 6)
        precisions = ("fp32", "bf16", "fp16") if self.card.device != CPU else ("fp32", "bf16")
        for name in METHODS:
            models: dict[str, Any] = {}
            for precision in precisions:
                cpu = models.get("CPU fp32") or self._fit(pair, name, "cpu", "fp32")
                models.setdefault("CPU fp32", cpu)
                own = self._fit(pair, name, self.card.device.type, precision)
                models[precision] = own
                self._compare_losses(f"{name}, {precision}", cpu.card.history, own.card.history)
            twice = self._fit(pair, name, self.card.device.type, "fp32", "again")
            same = twice.sha256 == models["fp32"].sha256
            self.found.check("training", f"{name}, fp32, twice", _same(same), "same bytes", same)
            same = self._interrupted(pair, name).sha256 == twice.sha256
            self.found.check(
                "training", f"{name}, fp32, interrupted and resumed", _same(same), "same bytes",
                same,
            )  # fmt: skip
            self._compare_fused(pair, name, models["CPU fp32"])

    def _fit(self, pair: CubePair, name: str, device: str, precision: str, tag: str = "") -> Any:
        s = self.sizes
        start = time.perf_counter()
        options = METHODS[name].options(
            train={"epochs": s.epochs, "device": device, "precision": precision, "batch": 16},
            samples={"count": s.samples},
            seed=5,
        )
        path = self.folder / f"{name}-{device}-{precision}{tag}.safetensors"
        model = METHODS[name].fit(pair, options, FitRun(path=path))
        took = time.perf_counter() - start
        passes = sum(len(losses) for losses in model.card.history.values())
        shown = passes * (model.card.data["samples"] - model.card.data["held_out"])
        self.found.details[f"fit {name} {device} {precision}{tag}"] = {
            "seconds": took, "samples a second": shown / took, "history": model.card.history,
        }  # fmt: skip
        return model

    def _compare_losses(self, what: str, cpu: dict[str, Any], own: dict[str, Any]) -> None:
        pairs = [
            (a, b)
            for name in cpu
            for one, other in zip(cpu[name], own[name], strict=True)
            for a, b in zip(one, other, strict=True)
        ]
        apart = float(np.max([abs(a - b) / a for a, b in pairs]))
        self.found.below("training", f"losses of {what}", apart, LOSS_BOUND[what[-4:]])
        least = min(b for _, b in pairs)
        self.found.below("training", f"lowest loss of {what}", least, 0.98)

    def _interrupted(self, pair: CubePair, name: str) -> Any:
        """Stop a fit after its second epoch, and go on."""
        device, calls = self.card.device.type, []

        def stop(*_: Any) -> None:
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt

        kind, path = METHODS[name], self.folder / f"{name}-resumed.safetensors"
        options = kind.options(
            train={"epochs": self.sizes.epochs, "device": device, "batch": 16},
            samples={"count": self.sizes.samples},
            seed=5,
        )
        try:
            kind.fit(pair, options, FitRun(path=path, progress=stop))
        except KeyboardInterrupt:
            return kind.fit(pair, options, FitRun(path=path))
        raise RuntimeError("the fit was not interrupted.")

    def _compare_fused(self, pair: CubePair, name: str, model: Any) -> None:
        kind = METHODS[name]
        with self.card.installed():
            load_networks.cache_clear()
            own = kind.load(model.checkpoint, device="cpu")
            truth = fuse(pair, own, 3)
            for precision in PRECISIONS:
                moved = kind.load(model.checkpoint, device="cuda", precision=precision)
                made = fuse(pair, moved, 3)
                apart = np.abs(made - truth)  # NaN where one has a gap, and then not below
                most = float(np.quantile(apart, 0.999))
                what = f"{name}, {precision}"
                self.found.below("reflectance", what, most, FUSED_BOUND[precision])
                self.found.details[f"largest difference of {what}"] = float(apart.max())
            load_networks.cache_clear()

    def part_memory(self) -> None:
        """Take memory away until the batch is halved, then until nothing fits."""
        s, place = self.sizes, self.card.place("fp32")
        network = ReadyNetwork(random_network(NETWORKS["biastf"]), place)
        margin, toy = network.radius, self.card.device == CPU
        images = noise(s.batch, s.tile + 2 * margin, s.tile + 2 * margin)
        expected = apply_network(network, images, origin=(0, 0), margin=margin)
        self.found.details["first size"] = place.size
        # Room for about a quarter of one batch, though the place remembers that all of it ran.
        before, place.size = self.card.refused(), Size(1024, s.batch)
        need = s.batch * (s.tile + 2 * margin) ** 2 * network.pixel_bytes
        with self.card.crowded(need // 4):
            made = apply_network(network, images, origin=(0, 0), margin=margin)
        refused = self.card.refused() - before
        self.found.check("memory", "out of memory", f"{refused} times", "at least once", refused)
        self.found.check(
            "memory", f"batch of {s.batch} halved", f"{place.size}", "smaller",
            place.size and place.size.batch < s.batch,
        )  # fmt: skip
        apart = float(np.abs(made - expected).max() / expected.std())
        self.found.below("memory", "result after back-off", apart, NETWORK_BOUND["fp32"])
        small = noise(1, 256 + 2 * margin, 256 + 2 * margin)
        said = "no error"
        with self._full():
            try:
                apply_network(network, small, origin=(0, 0), margin=margin)
            except MethodError as error:
                said = str(error)
            except RuntimeError as error:
                said = f"{type(error).__name__}: {error}"
        ok = "has no memory for one window" in said
        self.found.check("memory", "nothing fits", said.split(". ")[0], "says so", ok)
        again = apply_network(network, images, origin=(0, 0), margin=margin)
        apart = float(np.abs(again - expected).max() / expected.std())
        self.found.below("memory", "result once there is room", apart, NETWORK_BOUND["fp32"])
        if not toy:
            self.found.details["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30

    @contextmanager
    def _full(self) -> Iterator[None]:
        """Leave too little for one layer of one window."""
        if self.card.device == CPU:
            with self.card.crowded(0):
                yield
            return
        torch.cuda.empty_cache()
        total = torch.cuda.mem_get_info()[1]
        torch.cuda.set_per_process_memory_fraction(
            (torch.cuda.memory_reserved() + 6 * 2**20) / total
        )
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)

    def part_limits(self) -> None:
        """Measure what the card can do: a large product, a large copy, copies to and from it."""
        s, device, limits = (
            self.sizes,
            self.card.device,
            self.found.details.setdefault("limits", {}),
        )
        for precision in PRECISIONS:
            a = torch.randn(s.matrix, s.matrix, device=device).to(DTYPES[precision])
            took = self._time(partial(torch.matmul, a, a))
            limits[f"{precision} TFLOP/s"] = 2 * s.matrix**3 / took / 1e12
        source = torch.randint(0, 255, (2 * s.copied,), dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        limits["memory GB/s"] = 4 * s.copied / self._time(lambda: target.copy_(source)) / 1e9
        host = torch.zeros(s.copied, dtype=torch.uint8)
        there = source[: s.copied]
        kinds = {"pageable": host}
        if device != CPU:
            kinds["pinned"] = host.pin_memory()
        for kind, own in kinds.items():
            for way, (to, of) in {"to": (there, own), "from": (own, there)}.items():
                took = self._time(partial(to.copy_, of, non_blocking=True))
                limits[f"{kind} copy {way} the card GB/s"] = s.copied / took / 1e9
        print(f"  {json.dumps({k: round(v, 1) for k, v in limits.items()})}", flush=True)

    def part_speed(self) -> None:
        """Time forward passes, tiles of a band with copies, and whole tiles."""
        for name, layers in NETWORKS.items():
            for precision in PRECISIONS:
                self._forward(name, layers, precision)
        for precision in PRECISIONS:
            self._copies(precision)
        for name in METHODS:
            self._whole(name)

    def _forward(self, name: str, layers: Layers, precision: Precision) -> None:
        s = self.sizes
        network = random_network(layers)
        ready = ReadyNetwork(network, self.card.place(precision))
        side = s.tile + 2 * ready.radius
        mpx = s.batch * s.tile**2 / 1e6
        with torch.inference_mode():
            batch = torch.from_numpy(noise(s.batch, 1, side, side)).to(self.card.device)
            took = self._time(lambda: ready.place.run(ready, batch))
            free = batch.to(DTYPES[precision]).contiguous(memory_format=torch.channels_last)
            with torch.backends.cudnn.flags(
                enabled=True, benchmark=True, deterministic=False, allow_tf32=False
            ):
                fastest = self._time(lambda: ready(free))
        what = f"forward, {name}, {precision}"
        limits = self._limits_of(layers, precision)
        self.found.speed(what, mpx / took, self._cpu_speed(network, precision), **limits)
        self.found.speed(f"{what}, any algorithm of cuDNN", mpx / fastest, None, **limits)

    def _limits_of(self, layers: Layers, precision: Precision) -> dict[str, float | None]:
        limits, steps = self.found.details.get("limits", {}), range(len(layers.kernels))
        flops = sum(
            2 * layers.kernels[i] ** 2 * layers.channels[i] * layers.channels[i + 1] for i in steps
        )
        moved = sum(layers.channels[i] + layers.channels[i + 1] for i in steps)
        moved *= DTYPES[precision].itemsize
        rate, bandwidth = limits.get(f"{precision} TFLOP/s"), limits.get("memory GB/s")
        return {
            "arithmetic": rate * 1e6 / flops if rate else None,
            "memory": bandwidth * 1e3 / moved if bandwidth else None,
        }

    def _cpu_speed(self, network: nn.Sequential, precision: Precision) -> float | None:
        """Time an image on every core at once."""
        if precision == "fp16":
            return None
        ready = ReadyNetwork(network, CpuPlace(precision))
        image = noise(1, self.sizes.tile + 2 * ready.reach, self.sizes.tile + 2 * ready.reach)
        run = partial(apply_network, ready, image, origin=(0, 0), margin=ready.reach)
        took = _time(partial(_at_once, run, CORES), min(3, self.sizes.rounds))
        return CORES * self.sizes.tile**2 / 1e6 / took

    def _copies(self, precision: Precision) -> None:
        """Time all dates of one band of a tile: from memory to memory, and on the card alone."""
        s = self.sizes
        ready = ReadyNetwork(random_network(NETWORKS["biastf"]), self.card.place(precision))
        margin = ready.radius
        side = s.tile + 2 * margin
        images, mpx = noise(s.dates, side, side), s.dates * s.tile**2 / 1e6
        source = torch.from_numpy(images)

        def pageable() -> None:
            with torch.inference_mode():
                run_in_batches(ready, source.to(self.card.device), (0, 0), margin).cpu()

        def resident() -> None:
            with torch.inference_mode():
                run_in_batches(ready, held, (0, 0), margin)

        limits = self._limits_of(NETWORKS["biastf"], precision)
        rates = self.found.details.get("limits", {})
        ways = [rates.get(f"pinned copy {w} the card GB/s") for w in ("to", "from")]
        copies = 1e3 / 4 / sum(1 / w for w in ways) if all(ways) else None
        what = f"{s.dates} dates of a band, {precision}"
        took = self._time(lambda: apply_network(ready, images, origin=(0, 0), margin=margin))
        self.found.speed(f"{what}, copies pinned", mpx / took, None, **limits, copies=copies)
        self.found.speed(
            f"{what}, copies not pinned", mpx / self._time(pageable), None, **limits, copies=copies
        )
        held = source.to(self.card.device)
        self.found.speed(f"{what}, no copies", mpx / self._time(resident), None, **limits)

    def _whole(self, name: str) -> None:
        """Time whole tiles, reflectance in and out: what a unit of a run does."""
        s = self.sizes
        model = self.folder / f"{name}-cpu-fp32.safetensors"
        if not model.exists():
            return
        pair = make_pair(s.tile, s.ratio, s.bands, 2)
        kind, mpx = METHODS[name], s.bands * s.tile**2 / 1e6
        with self.card.installed():
            load_networks.cache_clear()
            for precision in PRECISIONS:
                cpu = None
                if precision != "fp16":
                    own = kind.load(model, device="cpu", precision=precision)
                    took = _fusing(pair, own, s.cpu_dates, CORES)
                    cpu = CORES * s.cpu_dates * mpx / took
                moved = kind.load(model, device="cuda", precision=precision)
                for workers in (1, s.workers):
                    took = _fusing(pair, moved, s.dates, workers)
                    what = f"whole tile, {name}, {precision}, {workers} at once"
                    self.found.speed(what, workers * s.dates * mpx / took, cpu)
            load_networks.cache_clear()

    def _time(self, run: Callable[[], Any]) -> float:
        def waited() -> None:
            run()
            self.card.wait()

        return _time(waited, self.sizes.rounds)


def _same(same: bool) -> str:  # noqa: FBT001
    return "same bytes" if same else "differs"


def _time(run: Callable[[], Any], rounds: int) -> float:
    """Take the median of the seconds of some runs, after one that is not counted."""
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _fusing(pair: CubePair, method: Any, dates: int, workers: int) -> float:
    """Time some fusions at once, after small ones that are not counted."""
    _at_once(partial(fuse, pair, method, 1), workers)
    start = time.perf_counter()
    _at_once(partial(fuse, pair, method, dates), workers)
    return time.perf_counter() - start


def _at_once(run: Callable[[], Any], count: int) -> None:
    """Run something in several threads at once, each with one core, as workers do."""

    def alone() -> None:
        torch.set_num_threads(1)  # of this thread
        run()

    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(alone) for _ in range(count)]:
            future.result()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts, print the table, write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="numbers to write")
    parser.add_argument("--toy", action="store_true", help="toy size, on the processor")
    options = parser.parse_args(arguments)
    if not options.toy and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} sees no CUDA card here; --toy runs without one.")
    card = ToyCard() if options.toy else Card()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(card, TOY if options.toy else Sizes(), Path(folder))
        found = bench.found
        found.machine |= card.describe() | {
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
            "processor": _processor(),
            "cores": CORES,
        }
        print(json.dumps(found.machine), flush=True)
        for part in ("networks", "training", "memory", "limits", "speed"):
            start = time.perf_counter()
            print(f"{part}:", flush=True)
            try:
                getattr(bench, f"part_{part}")()
            except Exception as error:  # noqa: BLE001  (the other parts are worth their run)
                traceback.print_exc()
                found.check(part, "ended early", f"{type(error).__name__}: {error}", "", ok=0)
            found.details[f"seconds of {part}"] = round(time.perf_counter() - start, 1)
            options.json.write_text(json.dumps(vars(found), indent=1, default=str))
    print(f"\n{json.dumps(found.machine | found.details.get('limits', {}))}\n\n{found.table()}")
    return 0 if all(row["ok"] for row in found.checks) else 1


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
