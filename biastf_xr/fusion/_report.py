"""What a run reports: outcomes of units, its progress, its log in JSON lines, its record."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biastf_xr._files import open_own
from biastf_xr._outside import json_text
from biastf_xr._summary import Summary, Told
from biastf_xr._system import writing_to

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class UnitOutcome:
    """What came of a unit."""

    slot: int
    lines: NDArray[np.uint64] | None = None  # what the ledger is to say; None if it failed
    store: Any = None  # what was written through; with Icechunk it holds the changes
    pixels: int = 0  # pixels and dates made
    unchanged: int = 0  # dates that were found to be as they are
    seconds: dict[str, float] = field(default_factory=dict)  # to read, wait, infer, write
    memory: int = 0  # bytes resident in the worker
    worker: str = ""
    error: BaseException | None = None  # why it failed
    trace: str = ""  # the traceback on the worker


@dataclass
class RunState:
    """How far a run has come.

    `done`: Units done or given up.
    `pixels`: Pixels and dates made.
    `unchanged`: Dates of tiles that were found to be as they are.
    `memory`: Bytes resident, by worker.
    `seconds`: Time spent in each stage, over all workers.
    `started`: When it began, in seconds of `time.perf_counter`.
    """

    total: int
    done: int = 0
    pixels: int = 0
    unchanged: int = 0
    memory: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @property
    def elapsed(self) -> float:
        """Return the seconds since it began."""
        return time.perf_counter() - self.started

    @property
    def rate(self) -> float:
        """Return the megapixels and dates made per second."""
        return self.pixels / 1e6 / max(self.elapsed, 1e-9)

    def add(self, outcome: UnitOutcome) -> None:
        """Count a unit."""
        self.done += 1
        self.pixels += outcome.pixels
        self.unchanged += outcome.unchanged
        self.memory[outcome.worker] = outcome.memory
        for stage, seconds in outcome.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


# Called after every unit.
RunProgress = Callable[[RunState], None]


@dataclass(frozen=True)
class FailedUnit:
    """A unit that failed every time it was tried.

    `trace`: Its traceback on the worker.
    """

    tile: str
    dates: tuple[str, ...]
    bases: tuple[str, ...]
    error: str
    trace: str


@dataclass(frozen=True, repr=False)
class RunReport(Told):
    """What a run did.

    `units`: Units that were made.
    `kept`: Dates of tiles that were there already.
    `revised`: Dates of tiles that were recomputed because their inputs changed.
    `unchanged`: Dates of tiles whose new coarse scenes were found to change nothing.
    `pixels`: Pixels and dates made.
    `seconds`: How long it took.
    `stages`: Seconds spent to read, wait, infer and write, over all workers.
    `failed`: Units that could not be made.
    """

    path: str
    units: int = 0
    kept: int = 0
    revised: int = 0
    unchanged: int = 0
    pixels: int = 0
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    failed: tuple[FailedUnit, ...] = ()

    def _summary(self) -> Summary:
        facts = {
            "made": f"{self.units} units, {self.pixels / 1e6:.2f} Mpx and dates "
            f"in {self.seconds:.1f} s",
            "dates of tiles": f"{self.kept} there already, {self.revised} recomputed, "
            f"{self.unchanged} found unchanged",
        }
        if self.stages:
            facts["workers"] = ", ".join(f"{k} {v:.1f} s" for k, v in self.stages.items())
        failed = [f"failed: {u.tile}, {u.dates[0]} to {u.dates[-1]}: {u.error}"
                  for u in self.failed]  # fmt: skip
        return Summary(f"Fused cube {self.path}", facts, notes=tuple(failed))


class RunLog:
    """Writes one JSON object a line, each with its UTC time."""

    def __init__(self, path: str | Path | None) -> None:
        self._file = None
        if path is not None:
            with writing_to(str(path)):
                self._file = open_own(Path(path), "a")

    def write(self, event: str, **about: Any) -> None:
        """Write one line."""
        if self._file is None:
            return
        line = {"time": utc_now(), "event": event, **about}
        with contextlib.suppress(OSError):  # a full disk stops the run elsewhere, by its name
            self._file.write(json_text(line) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


def utc_now() -> str:
    """Return the time."""
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def library_versions() -> dict[str, str]:
    """Return the versions of what computes and writes, without loading it."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("biastf-xr", "numpy", "torch", "zarr", "numcodecs", "dask", "icechunk"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
