"""The workers that a run hands its units to: threads here, or the workers of a Dask cluster."""

from __future__ import annotations

import queue
import time
import traceback
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

from biastf_xr.errors import ClusterLostError, WorkerDiedError
from biastf_xr.fusion._report import UnitOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client

# Units in hand in this process: one in the inference lane, one that reads or writes.
THREADS = 2

# The abstract resource of workers that own a GPU; a unit takes a share of it, so that the unit in
# the inference lane and those that read or write fit on one GPU.
RESOURCE, SHARE = "GPU", 0.01


# Seconds to wait for a result before asking whether its worker is still there.
FETCH = 2.0

# Seconds to wait for a worker where there is none.
PATIENCE = 120.0

WHY = "it was killed, ran out of memory, or its machine is gone"
LOST = (
    "the Dask scheduler does not answer any more. Units finished so far are kept; start the "
    "cluster and run the same command again."
)


class ThreadPool:
    """Threads of this process."""

    NAME = "this process"

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "biastf-unit")
        self._back: queue.Queue[UnitOutcome] = queue.Queue()

    def workers(self) -> dict[str, int]:
        """Return the workers, and how many units each may have in hand."""
        return {self.NAME: THREADS}

    def submit(self, slot: int, worker: str, call: Callable[..., UnitOutcome], *args: Any) -> None:
        """Hand a unit to a worker."""

        def run() -> None:
            """Put what comes of the unit where `wait` finds it."""
            try:
                outcome = call(*args)
            except BaseException as error:  # noqa: BLE001  (whatever it is, the run decides)
                outcome = UnitOutcome(slot, error=error, trace=traceback.format_exc())
            self._back.put(outcome)

        self._threads.submit(run)

    def wait(self, seconds: float) -> UnitOutcome | None:
        """Wait for a unit to come back."""
        try:
            return self._back.get(timeout=seconds)
        except queue.Empty:
            return None

    def close(self) -> None:
        """End the threads, and what has not begun."""
        self._threads.shutdown(cancel_futures=True)


class ClusterPool:
    """The workers of a Dask cluster.

    `gpu`: Whether units go to workers with the resource "GPU" only.
    """

    def __init__(self, client: Client, *, gpu: bool) -> None:
        self._client = client
        self._resources = {RESOURCE: SHARE} if gpu else None
        self._back: queue.Queue[Any] = queue.Queue()
        self._futures: dict[int, tuple[Any, str]] = {}
        self._dead: set[int] = set()
        self._alone_since: float | None = None

    def workers(self) -> dict[str, int]:
        """Return the workers, and how many units each may have in hand."""
        known = self._known()
        there = {
            address: int(about["nthreads"])
            for address, about in known.items()
            if self._resources is None or RESOURCE in about.get("resources", {})
        }
        self._require_somebody(there)
        for slot, (future, worker) in self._futures.items():
            # Dask itself would wait for ever for the one that the unit was meant for.
            if worker not in known and slot not in self._dead and not future.done():
                self._dead.add(slot)
                self._back.put((slot, future))
        return there

    def _known(self) -> dict[str, Any]:
        """Ask the scheduler for its workers."""
        self._require_scheduler()
        try:
            found: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError) as error:
            raise ClusterLostError(LOST) from error
        return found

    def _result(self, future: Any, worker: str) -> UnitOutcome:
        """Fetch what a unit returned, unless its worker died before it was fetched."""
        while True:
            try:
                outcome: UnitOutcome = future.result(timeout=FETCH)
            except TimeoutError as error:
                if worker not in self._known():
                    raise WorkerDiedError(f"{worker} died; {WHY}") from error
            else:
                return outcome

    def _require_somebody(self, there: dict[str, int]) -> None:
        """Wait a while for workers to be restarted, but not for ever."""
        if there:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > PATIENCE:
            what = " that owns a GPU" if self._resources else ""
            raise ClusterLostError(
                f"for {PATIENCE:.0f} s the cluster has had no worker{what}. Units finished so far "
                "are kept; start workers and run the same command again."
            )

    def submit(self, slot: int, worker: str, call: Callable[..., UnitOutcome], *args: Any) -> None:
        """Hand a unit to a worker.

        `worker`: Address; if it dies, the unit comes back with an error.
        """
        future = self._client.submit(
            call, *args, workers=[worker], pure=False, resources=self._resources
        )
        self._futures[slot] = future, worker
        future.add_done_callback(lambda _: self._back.put((slot, future)))

    def wait(self, seconds: float) -> UnitOutcome | None:
        """Wait for a unit to come back."""
        try:
            slot, future = self._back.get(timeout=seconds)
        except queue.Empty:
            self._require_scheduler()
            return None
        found = self._futures.get(slot)
        if found is None or found[0] is not future:
            return None  # given up earlier; the unit may be with another worker now
        _, worker = self._futures.pop(slot)
        try:
            return self._outcome(slot, future, worker)
        except BaseException as error:
            if isinstance(error, ClusterLostError | KeyboardInterrupt):
                raise
            trace = "" if isinstance(error, WorkerDiedError) else traceback.format_exc()
            return UnitOutcome(slot, error=error, trace=trace)
        finally:
            future.release()

    def _outcome(self, slot: int, future: Any, worker: str) -> UnitOutcome:
        """Return what a unit returned, or raise why it did not."""
        if slot in self._dead and future.status != "finished":
            self._dead.discard(slot)
            self._client.cancel([future])
            raise WorkerDiedError(f"{worker} died; {WHY}")
        if future.status in ("cancelled", "lost"):
            self._require_scheduler()
            raise WorkerDiedError(f"{worker}: the unit was cancelled; {WHY}")
        return self._result(future, worker)

    def close(self) -> None:
        """Cancel what is not done."""
        if self._client.status == "running":
            self._client.cancel([future for future, _ in self._futures.values()])
        self._futures.clear()

    def _require_scheduler(self) -> None:
        if self._client.status != "running":
            raise ClusterLostError(LOST)


# Workers that units are handed to.
WorkerPool: TypeAlias = ThreadPool | ClusterPool


class Queue:
    """Hands units out so that a worker stays on a tile, whose base images it has read."""

    def __init__(self, tiles: Iterator[list[Any]]) -> None:
        self._tiles = tiles
        self._lanes: dict[str, deque[Any]] = {}
        self._again: deque[Any] = deque()
        self._last: deque[Any] = deque()

    def next_for(self, worker: str) -> Any | None:
        """Return the next unit for a worker."""
        if self._again:
            return self._again.popleft()
        lane = self._lanes.setdefault(worker, deque())
        if not lane:
            lane.extend(next(self._tiles, ()))
        if not lane:
            longest = max(self._lanes.values(), key=len)
            taken = [longest.pop() for _ in range((len(longest) + 1) // 2)]
            lane.extend(reversed(taken))
        if not lane and self._last:
            return self._last.popleft()
        return lane.popleft() if lane else None

    def empty(self) -> bool:
        """Return whether there is nothing left to hand out."""
        if not self._again and not any(self._lanes.values()):
            self._again.extend(next(self._tiles, ()))
        return not (self._again or self._last or any(self._lanes.values()))

    def put_back(self, unit: Any, *, last: bool = False) -> None:
        """Take a unit back that failed; the last ones are handed out when there is nothing else."""
        (self._last if last else self._again).append(unit)
