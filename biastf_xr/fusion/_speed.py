"""How long a method takes, tried on a made-up square."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.brackets import Bracket
from biastf_xr.fusion._kernel import CoarseImages, coarse_window, fuse_unit
from biastf_xr.fusion._plan import Unit
from biastf_xr.grid import Tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.fusion._plan import FusionPlan
    from biastf_xr.grid import Alignment
    from biastf_xr.methods.base import Method

# Side of the square on which the speed is tried.
TRIAL = 256


@dataclass(frozen=True)
class _MadeUpScene:
    """A square of noise, as `biastf_xr.methods.base.SceneView`."""

    bands: tuple[str, ...]
    alignment: Alignment
    days: list[np.datetime64]
    targets: NDArray[np.datetime64]
    square: Tile

    def fold(self, look: Any, merge: Any) -> dict[np.datetime64, Any]:
        """Look at the square."""
        return {day: look(day, _noise(len(self.bands), *self.square.shape), self.square)
                for day in self.days}  # fmt: skip

    def targets_of(self, day: np.datetime64) -> NDArray[np.intp]:
        """Return every target."""
        return np.arange(self.targets.size)

    def coarse(self, days: Any, *, bases: bool = False) -> NDArray[np.float32]:
        """Return noise over the whole coarse grid."""
        return _noise(np.size(days), len(self.bands), *self.alignment.coarse_shape)

    def support(self, days: Any) -> NDArray[np.float32]:
        """Return one observation everywhere."""
        return np.ones((np.size(days), *self.alignment.coarse_shape), np.float32)


def _noise(*shape: int) -> NDArray[np.float32]:
    """Make up reflectance."""
    return np.random.default_rng(0).uniform(0.0, 0.5, shape).astype(np.float32)


def try_speed(method: Method, plan: FusionPlan) -> float:
    """Return the CPU seconds a method takes here per megapixel and date with two base dates."""
    on_cpu = replace(method, device="cpu") if hasattr(method, "device") else method  # type: ignore[type-var]
    square = Tile(0, TRIAL, 0, TRIAL).clipped(plan.alignment.shape)
    day = np.datetime64("2000-01-02")
    bracket = Bracket((day,), (day - 1,), (day + 1,))
    unit = Unit(square, bracket, (0,))
    window = coarse_window(unit, on_cpu, plan.alignment)
    bands = len(plan.bands)
    coarse = CoarseImages(
        window,
        _noise(1, bands, *window.shape),
        np.zeros((1, *window.shape), np.uint8),
        {d: _noise(bands, *window.shape) for d in bracket.base_dates},
        np.ones((1, *window.shape), np.float32),
    )
    days = list(bracket.base_dates)
    scene = _MadeUpScene(plan.bands, plan.alignment, days, np.array([day]), square)
    best = np.inf
    for _ in range(2):  # the first loads what the method needs
        states = on_cpu.prepare(scene)
        started = time.process_time()
        fuse_unit(
            unit, on_cpu, states, lambda _, t: _noise(bands, *t.shape), coarse, plan.alignment,
            plan.bands,
        )  # fmt: skip
        best = min(best, time.process_time() - started)
    return best / (square.shape[0] * square.shape[1] / 1e6)
