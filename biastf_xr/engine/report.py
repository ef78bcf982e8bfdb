"""What a run says of itself: its progress, its log in JSON lines, its record, its outcome."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biastf_xr.cube.stores.lock import writing_to
from biastf_xr.summary import Summary, Told

if TYPE_CHECKING:
    from biastf_xr.engine.worker import UnitOutcome


@dataclass
class RunState:
    """How far a run has come.

    Attributes
    ----------
    total : int
        Units to do.
    done : int
        Units done or given up.
    pixels : int
        Pixels and dates made.
    unchanged : int
        Dates of tiles that were found to be as they are.
    memory : dict of int
        Bytes resident, by worker.
    seconds : dict of float
        Time spent in each stage, over all workers.
    started : float
        When it began, in seconds of `time.perf_counter`.
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
        """Give the seconds since it began."""
        return time.perf_counter() - self.started

    @property
    def rate(self) -> float:
        """Give the megapixels and dates made per second."""
        return self.pixels / 1e6 / max(self.elapsed, 1e-9)

    def add(self, outcome: UnitOutcome) -> None:
        """Count a unit.

        Parameters
        ----------
        outcome : UnitOutcome
            What came of it.
        """
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

    Attributes
    ----------
    tile : str
        Rows and columns.
    dates : tuple of str
        Its target dates.
    bases : tuple of str
        Its base dates.
    error : str
        The last error.
    trace : str
        Its traceback on the worker.
    """

    tile: str
    dates: tuple[str, ...]
    bases: tuple[str, ...]
    error: str
    trace: str


@dataclass(frozen=True, repr=False)
class RunReport(Told):
    """What a run did.

    Attributes
    ----------
    path : str
        The fused cube.
    units : int
        Units that were made.
    kept : int
        Dates of tiles that were there already.
    revised : int
        Dates of tiles that were made anew because their inputs changed.
    unchanged : int
        Dates of tiles whose new coarse scenes were found to change nothing.
    pixels : int
        Pixels and dates made.
    seconds : float
        How long it took.
    stages : dict of float
        Seconds spent to read, wait, infer and write, over all workers.
    failed : tuple of FailedUnit
        Units that could not be made.
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
        told = {
            "cube": self.path,
            "made": f"{self.units} units, {self.pixels / 1e6:.2f} Mpx and dates "
            f"in {self.seconds:.1f} s",
            "dates of tiles": f"{self.kept} there already, {self.revised} made anew, "
            f"{self.unchanged} found unchanged",
        }
        if self.stages:
            told["workers"] = ", ".join(f"{k} {v:.1f} s" for k, v in self.stages.items())
        failed = [f"failed: {u.tile}, {u.dates[0]} to {u.dates[-1]}: {u.error}"
                  for u in self.failed]  # fmt: skip
        return Summary("Run", told, notes=tuple(failed))


class RunLog:
    """Writes one JSON object a line, each with its UTC time.

    Parameters
    ----------
    path : str or pathlib.Path, optional
        File to append to; none if left out.
    """

    def __init__(self, path: str | Path | None) -> None:
        self._file = None
        if path is not None:
            with writing_to(str(path)):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                self._file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115  (see close)

    def write(self, event: str, **about: Any) -> None:
        """Write one line.

        Parameters
        ----------
        event : str
            What happened.
        **about
            JSON-serialisable details.
        """
        if self._file is None:
            return
        line = {"time": utc_now(), "event": event, **about}
        with contextlib.suppress(OSError):  # a full disk stops the run elsewhere, by its name
            self._file.write(json.dumps(line, default=str) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


def utc_now() -> str:
    """Give the time.

    Returns
    -------
    str
        ISO format, UTC.
    """
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def library_versions() -> dict[str, str]:
    """Give the versions of what computes and writes, without loading it.

    Returns
    -------
    dict of str
        By name.
    """
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("biastf-xr", "numpy", "torch", "zarr", "numcodecs", "dask", "icechunk"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
