"""Connect to a Dask cluster: one of this machine's own, or one that is already there."""

from __future__ import annotations

import re
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from distributed import Client

# A network's activations are tens of MiB and come and go with every tile. By default Dask has the
# allocator return them to the system each time, and every page has to be faulted in again.
KEEP_MEMORY = str(256 * 2**20)
WORKER_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": KEEP_MEMORY,
    "MALLOC_MMAP_THRESHOLD_": KEEP_MEMORY,
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@contextmanager
def connect(
    address: str | None = None, *, workers: int | None = None, memory: str = "auto"
) -> Iterator[Client]:
    """Give a client, and close what was opened for it.

    Workers are processes with one thread each: the network's own threads are then the only
    parallelism inside a worker, and workers times threads equals the cores.

    Parameters
    ----------
    address : str, optional
        Scheduler of a running cluster, for instance "tcp://10.0.0.5:8786"; without one a
        `distributed.LocalCluster` is started.
    workers : int, optional
        Worker processes of the local cluster; by default one per core.
    memory : str
        Memory limit of a local worker, for instance "4GiB"; "auto" shares out the machine's.

    Yields
    ------
    distributed.Client
        The client.

    Raises
    ------
    ConfigError
        If the address cannot be reached or an option is unusable.
    """
    import dask
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster

    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}; expected at least 1.")
    if address:
        try:
            client = Client(address, timeout="10s", set_as_default=False)
            client.wait_for_workers(1, timeout=60)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"no Dask scheduler with workers answers at {address} ({error}). Start one with "
                "`dask scheduler` and `dask worker`, or leave the address out for a local cluster."
            ) from error
        try:
            yield client
        finally:
            client.close()
        return
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT}),
        LocalCluster(
            n_workers=workers or CPU_COUNT,
            threads_per_worker=1,
            processes=True,
            memory_limit=memory,
            dashboard_address=":0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def tasks_on_demand(
    address: str | None = None, *, workers: int | None = None, memory: str = "auto"
) -> Iterator[Executor]:
    """Give an executor that connects with its first task, and close what it opened.

    A nightly run that finds nothing new starts no cluster.

    Parameters
    ----------
    address : str, optional
        As of `connect`.
    workers : int, optional
        As of `connect`.
    memory : str
        As of `connect`.

    Yields
    ------
    concurrent.futures.Executor
        Runs tasks on the cluster; one that dies with its worker is run once more.
    """
    with ExitStack() as stack:

        def connected() -> Executor:
            client = stack.enter_context(connect(address, workers=workers, memory=memory))
            found: Executor = client.get_executor(pure=False, retries=1)
            return found

        yield _OnDemand(connected)


class _OnDemand(Executor):
    """An executor made with its first task."""

    def __init__(self, make: Callable[[], Executor]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Executor:
        return self._make()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._made.submit(fn, *args, **kwargs)


def dashboard(client: Client) -> str | None:
    """Give the address of the cluster's dashboard.

    Parameters
    ----------
    client : distributed.Client
        The client.

    Returns
    -------
    str or None
        The link; None where the `dashboard` extra is not installed.
    """
    try:
        import bokeh  # noqa: F401
    except ImportError:
        return None
    link = str(client.dashboard_link or "")
    return link if re.match(r"https?://", link) else None
