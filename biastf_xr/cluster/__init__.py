"""Connect to a Dask cluster, whichever: one `ClusterSpec`, one `connect`.

Nothing of Dask is imported with this package; a backend loads with the first connection to it.
"""

from __future__ import annotations

import dataclasses
import re
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

from biastf_xr.cluster._backends import CLASSES, HINTS, starting
from biastf_xr.cluster._gateway import cluster_arguments, gateway_arguments, open_gateway
from biastf_xr.cluster._kubernetes import kubernetes_arguments, manifest_yaml, open_kubernetes
from biastf_xr.cluster._machine import cuda_arguments, local_arguments, open_machine
from biastf_xr.cluster._queue import job_script, open_queue, pbs_arguments, slurm_arguments
from biastf_xr.cluster._spec import ClusterSpec, Kind, check_options
from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from distributed import Client

__all__ = [
    "ClusterSpec",
    "Kind",
    "cluster_arguments",
    "connect",
    "cuda_arguments",
    "dashboard",
    "gateway_arguments",
    "kubernetes_arguments",
    "local_arguments",
    "pbs_arguments",
    "render",
    "slurm_arguments",
    "tasks_on_demand",
]

# Seconds in which a running scheduler has to answer.
ANSWER = 10.0


@contextmanager
def connect(spec: ClusterSpec | str | None = None, **fields: Any) -> Iterator[Client | None]:
    """Return a client, and close what was opened for it.

    Parameters
    ----------
    spec : ClusterSpec or str, optional
        The cluster, or the address of a running scheduler; by default a local cluster.
    **fields
        Fields of `ClusterSpec` that differ from it.

    Yields
    ------
    distributed.Client or None
        The client, when the first worker is there; None of kind "in-process", where the caller
        runs the work in threads of its own process.

    Raises
    ------
    ConfigError
        If the cluster does not start or answer, or an option is unusable.
    """
    spec = _specified(spec, fields)
    with ExitStack() as stack:
        yield None if spec.kind == "in-process" else _open(spec, stack)


def _specified(spec: ClusterSpec | str | None, fields: dict[str, Any]) -> ClusterSpec:
    if isinstance(spec, ClusterSpec):
        return dataclasses.replace(spec, **fields)
    return ClusterSpec(**(fields | {"address": spec} if spec else fields))


def _open(spec: ClusterSpec, stack: ExitStack) -> Client:
    from distributed import Client

    opener = _OPENERS[spec.kind]
    cluster = stack.enter_context(opener(spec))
    with starting(spec.kind):
        timeout = min(ANSWER, spec.timeout) if spec.kind == "address" else spec.timeout
        client: Client = stack.enter_context(Client(cluster, timeout=timeout, set_as_default=False))
    _await_worker(client, spec)
    return client


def _at_address(spec: ClusterSpec) -> AbstractContextManager[str]:
    check_options(spec, (), {})
    assert spec.address is not None
    return nullcontext(spec.address)


_OPENERS: dict[str, Callable[[ClusterSpec], AbstractContextManager[Any]]] = {
    "local": open_machine,
    "cuda": open_machine,
    "address": _at_address,
    "slurm": open_queue,
    "pbs": open_queue,
    "kubernetes": open_kubernetes,
    "gateway": open_gateway,
}


def _await_worker(client: Client, spec: ClusterSpec) -> None:
    """Wait for the first worker, and see that it has what tasks will ask of it."""
    try:
        client.wait_for_workers(1, timeout=spec.timeout)
    except TimeoutError as error:
        raise ConfigError(
            f'no worker of the cluster of kind "{spec.kind}" arrived within {spec.timeout:g} s. '
            f"{HINTS[spec.kind]} `timeout` in [cluster.options] waits longer."
        ) from error
    offered = client.run_on_scheduler(_resources)
    if spec.gpu and "GPU" not in offered:
        raise ConfigError(
            "gpu = true, but no worker of the cluster announces the resource GPU. Start the "
            "workers with `dask worker ... --resources GPU=1`."
        )


def _resources(dask_scheduler: Any) -> list[str]:
    return [name for name, workers in dask_scheduler.resources.items() if workers]


def render(spec: ClusterSpec) -> str:
    """Show what `connect` would start, without starting it.

    Parameters
    ----------
    spec : ClusterSpec
        The cluster.

    Returns
    -------
    str
        The job script of "slurm" and "pbs", the manifest of "kubernetes", the commands of
        "address"; else the calls.

    Raises
    ------
    ConfigError
        If an option is unusable.
    """
    if spec.kind in {"slurm", "pbs"}:
        return job_script(spec)
    if spec.kind == "kubernetes":
        return manifest_yaml(spec)
    if spec.kind == "address":
        return _commands(spec)
    return _calls(spec)


def _commands(spec: ClusterSpec) -> str:
    resources = " --resources GPU=1" if spec.gpu else ""
    worker = f"dask worker {spec.address} --nthreads {spec.threads} --memory-limit {spec.memory}"
    return f"dask scheduler\n{worker}{resources}\n"


def _calls(spec: ClusterSpec) -> str:
    if spec.kind == "in-process":
        return "threads of this process\n"
    build = {"local": local_arguments, "cuda": cuda_arguments, "gateway": gateway_arguments}
    text = f"{CLASSES[spec.kind]}({_keywords(build[spec.kind](spec))})\n"
    if spec.kind == "gateway":
        text += f".new_cluster({_keywords(cluster_arguments(spec))})\n.scale({spec.workers})\n"
    return text


def _keywords(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


@contextmanager
def tasks_on_demand(spec: ClusterSpec | str | None = None, **fields: Any) -> Iterator[Executor]:
    """Return an executor that connects with its first task, and close what it opened.

    A nightly run that finds nothing new starts no cluster.

    Parameters
    ----------
    spec : ClusterSpec or str, optional
        As of `connect`.
    **fields
        As of `connect`.

    Yields
    ------
    concurrent.futures.Executor
        Runs tasks on the cluster; one that dies with its worker is run once more.
    """
    with ExitStack() as stack:

        def connected() -> Executor:
            client = stack.enter_context(connect(spec, **fields))
            if client is None:
                return stack.enter_context(ThreadPoolExecutor())
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


def dashboard(client: Client | None) -> str | None:
    """Return the address of the cluster's dashboard.

    Parameters
    ----------
    client : distributed.Client, optional
        The client.

    Returns
    -------
    str or None
        The link; None without a client, or where the `dashboard` extra is not installed.
    """
    try:
        import bokeh  # noqa: F401
    except ImportError:
        return None
    link = str((client and client.dashboard_link) or "")
    return link if re.match(r"https?://", link) else None
