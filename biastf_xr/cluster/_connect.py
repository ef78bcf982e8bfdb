"""Start a cluster or find a running one, and show what would be started."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import stat
import tempfile
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biastf_xr.cluster._guard import check_guard
from biastf_xr.cluster._keywords import (
    LOOPBACK,
    check_options,
    keywords,
    keywords_of,
    load_class,
    processes_of,
)
from biastf_xr.cluster._kubernetes import worker_environment
from biastf_xr.cluster._spec import ClusterSpec
from biastf_xr.errors import BiastfError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from distributed import Client

# Seconds in which a running scheduler has to answer.
ANSWER = 10.0
# Stand for the scheduler and the files of the run in what is only shown.
SCHEDULER = "tls://SCHEDULER:8786"
TLS_FILES = {"tls_ca_file": "CA", "tls_worker_cert": "CERT", "tls_worker_key": "KEY"}
QUEUES = ("slurm", "pbs")


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
        If the cluster does not start or answer, or an option is unusable; or if a script calls this
        outside ``if __name__ == "__main__":``, where workers of this machine would run it again.
    """
    if isinstance(spec, ClusterSpec):
        spec = dataclasses.replace(spec, **fields)
    else:
        spec = ClusterSpec(**(fields | {"address": spec} if spec else fields))
    with ExitStack() as stack:
        yield None if spec.kind == "in-process" else _client(spec, stack)


def _client(spec: ClusterSpec, stack: ExitStack) -> Client:
    from distributed import Client

    if spec.kind == "address":
        check_options(spec, spec.preset.options)
        _check_certificate(str(spec.address))
        cluster, timeout = spec.address, min(ANSWER, spec.timeout)
    else:
        cluster, timeout = stack.enter_context(_started(spec)), spec.timeout
    with _starting(spec):
        client: Client = stack.enter_context(Client(cluster, timeout=timeout, set_as_default=False))
    _await_worker(client, spec)
    return client


def _check_certificate(address: str) -> None:
    """Refuse a scheduler with TLS where Dask's configuration names no certificate for it."""
    import dask
    from distributed import Security

    loader = dask.config.get("distributed.client.security-loader", None)
    if loader or not address.startswith("tls:"):
        return
    held = Security().get_tls_config_for_role("client")
    if not (held["ca_file"] and held["cert"]):
        raise ConfigError(
            f"{address} asks for a certificate, and the configuration of Dask names none. State "
            "`distributed.comm.tls.ca-file`, `.client.cert` and `.client.key` in a file in "
            "~/.config/dask, as docs/howto/cluster.md shows."
        )


@contextmanager
def _started(spec: ClusterSpec) -> Iterator[Any]:
    """Start a cluster with its workers, and close it."""
    import dask

    found = keywords(spec)
    cls = _checked_class(spec)
    settings: dict[str, Any] = {}
    if LOOPBACK in (found | found.get("scheduler_options", {})).values():
        link = str(dask.config.get("distributed.dashboard.link", ""))
        settings["distributed.dashboard.link"] = link.replace("{host}", LOOPBACK.partition(":")[0])
    if spec.kind in {"local", "cuda"}:
        if found.get("processes", True):
            check_guard()
        settings |= _settings(spec, found["n_workers"])
    elif spec.kind == "kubernetes":
        from dask_kubernetes.operator.kubecluster.kubecluster import CreateMode

        found |= {"create_mode": CreateMode.CREATE_ONLY, "shutdown_on_close": True}
    elif spec.kind in QUEUES:
        if shutil.which(cls.job_cls.submit_command) is None:
            raise ConfigError(
                f"{spec} submits jobs with `{cls.job_cls.submit_command}`, which is not on the "
                "PATH. Run on a login node of the batch system."
            )
        found["job_cls"] = _noting_failure(cls.job_cls)
    with dask.config.set(settings | {"temporary-directory": _own_folder()}):
        with _starting(spec):
            cluster = cls(**found)
        with cluster:
            with _starting(spec):
                if spec.kind in QUEUES:
                    jobs = -(-(spec.workers or 1) // processes_of(spec))
                    cluster.sync(_submit, cluster, jobs=jobs)
                elif spec.workers and spec.preset.scales:
                    cluster.scale(spec.workers)
            yield cluster


def _own_folder() -> str:
    """Return a folder that nobody else can write to; Dask puts it on ``sys.path``.

    Its own would be one that whoever comes first makes.  Runs share it, so that what a killed one
    left goes with the next.
    """
    import dask

    parent = Path(dask.config.get("temporary-directory", None) or tempfile.gettempdir())
    folder = parent / f"biastf-xr-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    about = folder.lstat()
    private = stat.S_ISDIR(about.st_mode) and not about.st_mode & 0o077
    if private and about.st_uid == os.getuid():
        return str(folder)
    return tempfile.mkdtemp(prefix="biastf-xr-", dir=parent)


def _checked_class(spec: ClusterSpec) -> Any:
    """Import the class, and refuse options that it does not know."""
    cls = load_class(spec)
    if spec.kind in {"local", "cuda"}:
        from distributed import LocalCluster, Nanny, Worker

        check_options(spec, keywords_of(cls, LocalCluster, Nanny, Worker))
    elif spec.kind in QUEUES:
        check_options(spec, keywords_of(cls, cls.job_cls))
    return cls


def _settings(spec: ClusterSpec, workers: int | None) -> dict[str, Any]:
    """Return the configuration of Dask for workers of this machine; killed ones start again."""
    import dask
    from dask.system import CPU_COUNT

    if not workers:
        from dask_cuda.utils import get_n_gpus

        with _starting(spec):  # counts through the driver's library, without a CUDA context
            workers = max(1, int(get_n_gpus()))
    preload = dask.config.get("distributed.worker.preload", [])
    return {
        "distributed.nanny.pre-spawn-environ": worker_environment(CPU_COUNT // workers),
        # A worker that dies again while Dask looks whether it came back would lose its nanny.
        "distributed.deploy.lost-worker-timeout": "1h",
        "distributed.worker.preload": [
            *([preload] if isinstance(preload, str) else preload),
            "biastf_xr.cluster._interrupts",
        ],
    }


def _noting_failure(job_class: Any) -> Any:
    """Derive a job that is marked as failed when it is refused, as a closing cluster expects."""
    from distributed import Status

    class NotingFailure(job_class):  # type: ignore[misc]
        async def start(self) -> None:
            try:
                await super().start()
            except Exception:
                self.status = Status.failed
                raise

    return NotingFailure


async def _submit(cluster: Any, *, jobs: int) -> None:
    """Submit all jobs; unlike `scale` this raises what the batch system says against one."""
    while len(cluster.worker_spec) < jobs:
        cluster.worker_spec.update(cluster.new_worker_spec())
    await cluster


@contextmanager
def _starting(spec: ClusterSpec) -> Iterator[None]:
    """Explain whatever a class of clusters raises while it starts."""
    try:
        yield
    except BiastfError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ConfigError(f"{spec} did not start: {reason}. {spec.preset.hint}") from error


def _await_worker(client: Client, spec: ClusterSpec) -> None:
    """Wait for the first worker, and see that it has what tasks will ask of it."""
    try:
        client.wait_for_workers(1, timeout=spec.timeout)
    except TimeoutError as error:
        raise ConfigError(
            f"no worker of {spec} arrived within {spec.timeout:g} s. {spec.preset.hint} `timeout` "
            "in [cluster.options] waits longer."
        ) from error
    if spec.gpu and "GPU" not in client.run_on_scheduler(_resources):
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
        "address"; else the call.

    Raises
    ------
    ConfigError
        If an option is unusable.
    """
    if spec.kind == "in-process":
        return "threads of this process\n"
    if spec.kind == "address":
        resources = " --resources GPU=1" if spec.gpu else ""
        worker = f"{spec.address} --nthreads {spec.threads} --memory-limit {spec.memory}"
        dashboard = f"--dashboard-address {LOOPBACK}"
        return f"dask scheduler {dashboard}\ndask worker {worker}{resources} {dashboard}\n"
    if spec.kind in QUEUES:
        job = _checked_class(spec).job_cls
        taken = keywords_of(job) - {"name"}
        found = {name: value for name, value in keywords(spec).items() if name in taken}
        if found.get("security") is True:
            from distributed import Security

            found |= {"security": Security(**TLS_FILES), "protocol": "tls://"}
        return str(job(SCHEDULER, name="worker", **found).job_script())
    found = keywords(spec)
    if spec.kind == "kubernetes":
        import yaml

        return str(yaml.safe_dump(found["custom_cluster_spec"], sort_keys=False))
    call = ", ".join(f"{name}={value!r}" for name, value in found.items())
    scale = f".scale({spec.workers})\n" if spec.workers and spec.preset.scales else ""
    return f"{spec.preset.cls}({call})\n{scale}"


@contextmanager
def tasks_on_demand(spec: ClusterSpec | str | None = None, **fields: Any) -> Iterator[Executor]:
    """Return an executor that connects with its first task, and close what it opened.

    An update that finds nothing new starts no cluster.

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
