"""Who does the units of a run: threads of this process, or the workers of a Dask cluster."""

from __future__ import annotations

import queue
import traceback
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from biastf_xr.errors import ClusterLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client

# Units in hand in this process: one in the inference lane, one that reads or writes.
THREADS = 2

# The abstract resource of workers that own a GPU; a unit takes a share of it, so that the unit in
# the inference lane and those that read or write fit on one GPU.
RESOURCE, SHARE = "GPU", 0.01


LOST = (
    "the Dask scheduler does not answer any more. Units finished so far are kept; start the "
    "cluster and run the same command again."
)


@dataclass(frozen=True)
class Done:
    """A unit that came back.

    Attributes
    ----------
    key : int
        Its number.
    worker : str
        Who had it.
    result : object
        What it returned; None if it failed.
    error : BaseException or None
        Why it failed.
    trace : str
        The traceback on the worker.
    """

    key: int
    worker: str
    result: Any
    error: BaseException | None = None
    trace: str = ""


class Crew(Protocol):
    """Somebody to do units."""

    def workers(self) -> dict[str, int]:
        """Tell who is there and how many units each may have in hand.

        Returns
        -------
        dict of int
            By name.
        """
        ...

    def submit(self, key: int, worker: str, call: Callable[..., Any], *args: Any) -> None:
        """Hand a unit to a worker.

        Parameters
        ----------
        key : int
            Its number.
        worker : str
            Who should do it; another may, if that one is gone.
        call : callable
            What to do.
        *args
            With what.
        """
        ...

    def wait(self, seconds: float) -> Done | None:
        """Wait for a unit to come back.

        Parameters
        ----------
        seconds : float
            Longest time to wait.

        Returns
        -------
        Done or None
            The unit; None if none came.

        Raises
        ------
        ClusterLostError
            If there is nobody left.
        """
        ...

    def close(self) -> None:
        """Let nothing more be done."""
        ...


class ThreadCrew:
    """Threads of this process."""

    NAME = "this process"

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "biastf-unit")
        self._back: queue.Queue[Done] = queue.Queue()

    def workers(self) -> dict[str, int]:
        """Tell who is there; see `Crew.workers`.

        Returns
        -------
        dict of int
            One worker.
        """
        return {self.NAME: THREADS}

    def submit(self, key: int, worker: str, call: Callable[..., Any], *args: Any) -> None:
        """Hand over a unit; see `Crew.submit`.

        Parameters
        ----------
        key : int
            Its number.
        worker : str
            This process.
        call : callable
            What to do.
        *args
            With what.
        """

        def _back(future: Future[Any]) -> None:
            """Put what came of the unit where `wait` finds it."""
            error = future.exception()
            if error is None:
                self._back.put(Done(key, worker, future.result()))
            else:
                trace = "".join(traceback.format_exception(error))
                self._back.put(Done(key, worker, None, error, trace))

        self._pool.submit(call, *args).add_done_callback(_back)

    def wait(self, seconds: float) -> Done | None:
        """Wait for a unit; see `Crew.wait`.

        Parameters
        ----------
        seconds : float
            Longest time to wait.

        Returns
        -------
        Done or None
            The unit.
        """
        try:
            return self._back.get(timeout=seconds)
        except queue.Empty:
            return None

    def close(self) -> None:
        """End the threads; see `Crew.close`."""
        self._pool.shutdown(cancel_futures=True)


class ClusterCrew:
    """The workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
        The cluster.
    gpu : bool
        Whether units go to workers with the resource "GPU" only.
    """

    def __init__(self, client: Client, *, gpu: bool) -> None:
        self._client = client
        self._resources = {RESOURCE: SHARE} if gpu else None
        self._back: queue.Queue[Any] = queue.Queue()
        self._futures: dict[int, tuple[Any, str]] = {}

    def workers(self) -> dict[str, int]:
        """Tell who is there; see `Crew.workers`.

        Returns
        -------
        dict of int
            Threads by address, of workers that may do units.
        """
        self._require_scheduler()
        try:
            known = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError) as error:
            raise ClusterLostError(LOST) from error
        return {
            address: int(about["nthreads"])
            for address, about in known.items()
            if self._resources is None or RESOURCE in about.get("resources", {})
        }

    def submit(self, key: int, worker: str, call: Callable[..., Any], *args: Any) -> None:
        """Hand over a unit; see `Crew.submit`.

        Parameters
        ----------
        key : int
            Its number.
        worker : str
            Address.
        call : callable
            What to do.
        *args
            With what.
        """
        future = self._client.submit(
            call, *args, workers=[worker], allow_other_workers=True, pure=False,
            resources=self._resources,
        )  # fmt: skip
        self._futures[key] = future, worker
        future.add_done_callback(lambda _: self._back.put(key))

    def wait(self, seconds: float) -> Done | None:
        """Wait for a unit; see `Crew.wait`.

        Parameters
        ----------
        seconds : float
            Longest time to wait.

        Returns
        -------
        Done or None
            The unit.
        """
        try:
            key = self._back.get(timeout=seconds)
        except queue.Empty:
            self._require_scheduler()
            return None
        future, worker = self._futures.pop(key)
        try:
            if future.status == "finished":
                return Done(key, worker, future.result())
            if future.status in ("cancelled", "lost"):
                self._require_scheduler()
                return Done(key, worker, None, ClusterLostError("the unit was cancelled"))
            trace = "".join(traceback.format_tb(future.traceback()))
            return Done(key, worker, None, future.exception(), trace)
        finally:
            future.release()

    def close(self) -> None:
        """Cancel what is not done; see `Crew.close`."""
        if self._client.status == "running":
            self._client.cancel([future for future, _ in self._futures.values()])
        self._futures.clear()

    def _require_scheduler(self) -> None:
        if self._client.status != "running":
            raise ClusterLostError(LOST)


class Queue:
    """Hands units out so that a worker stays on a tile, whose base images it has read.

    Parameters
    ----------
    tiles : iterator of list
        Units, tile by tile.
    """

    def __init__(self, tiles: Iterator[list[Any]]) -> None:
        self._tiles = tiles
        self._lanes: dict[str, deque[Any]] = {}
        self._again: deque[Any] = deque()

    def next_for(self, worker: str) -> Any | None:
        """Give the next unit for a worker.

        Parameters
        ----------
        worker : str
            Its name.

        Returns
        -------
        object or None
            The next of its tile, else of a new tile, else of the later half of what another has
            before it; None if there is nothing left.
        """
        if self._again:
            return self._again.popleft()
        lane = self._lanes.setdefault(worker, deque())
        if not lane:
            lane.extend(next(self._tiles, ()))
        if not lane:
            longest = max(self._lanes.values(), key=len)
            taken = [longest.pop() for _ in range((len(longest) + 1) // 2)]
            lane.extend(reversed(taken))
        return lane.popleft() if lane else None

    def put_back(self, unit: Any) -> None:
        """Take a unit back that failed.

        Parameters
        ----------
        unit : object
            The unit.
        """
        self._again.append(unit)
