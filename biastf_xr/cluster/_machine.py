"""Clusters of this machine: processes that share its cores, or one process for each GPU."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from biastf_xr.cluster._backends import load_class, starting
from biastf_xr.cluster._spec import check_options, keywords_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from biastf_xr.cluster._spec import ClusterSpec

# A network's activations are tens of MiB and come and go with every tile. By default Dask has the
# allocator return them to the system each time, and every page has to be faulted in again.
KEEP_MEMORY = str(256 * 2**20)
STATED = {
    "n_workers": "workers",
    "threads_per_worker": "threads",
    "nthreads": "threads",
    "memory_limit": "memory",
    "resources": "gpu",
    "processes": "kind",
}


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker process.

    The numerical libraries read it when they load, so it has to be there before the process is.

    `threads`: Threads of the numerical libraries: the cores that the worker may call its own.
    """
    count = str(max(1, threads))
    return {
        "MALLOC_TRIM_THRESHOLD_": KEEP_MEMORY,
        "MALLOC_MMAP_THRESHOLD_": KEEP_MEMORY,
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
    }


def local_arguments(spec: ClusterSpec) -> dict[str, Any]:
    """Return the arguments of `distributed.LocalCluster`."""
    from dask.system import CPU_COUNT

    return {"n_workers": spec.workers or CPU_COUNT, "processes": True} | _shared(spec)


def cuda_arguments(spec: ClusterSpec) -> dict[str, Any]:
    """Return the arguments of `dask_cuda.LocalCUDACluster`."""
    return {"n_workers": spec.workers} | _shared(spec)


def _shared(spec: ClusterSpec) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "threads_per_worker": spec.threads,
        "dashboard_address": ":0",
        **{name: value for name, value in spec.options.items() if name != "timeout"},
    }
    if spec.resources:
        arguments["resources"] = spec.resources
    if spec.memory != "auto":  # left out, the backend divides the memory by the workers
        arguments["memory_limit"] = spec.memory
    return arguments


@contextmanager
def open_machine(spec: ClusterSpec) -> Iterator[Any]:
    """Start a cluster on this machine; this process itself leaves the GPUs alone.

    Workers that are killed are started anew.
    """
    import dask
    from dask.system import CPU_COUNT
    from distributed import LocalCluster, Nanny, Worker

    cls = load_class(spec.kind)
    check_options(spec, keywords_of(cls, LocalCluster, Nanny, Worker), STATED)
    arguments = local_arguments(spec) if spec.kind == "local" else cuda_arguments(spec)
    workers = arguments["n_workers"] or _gpu_count()
    environment = worker_environment(CPU_COUNT // workers)
    settings = {
        "distributed.nanny.pre-spawn-environ": environment,
        # A worker that dies again while Dask looks whether it came back would lose its nanny.
        "distributed.deploy.lost-worker-timeout": "1h",
        "distributed.worker.preload": [
            *dask.config.get("distributed.worker.preload", []),
            "biastf_xr.cluster._interrupts",
        ],
    }
    with dask.config.set(settings):
        with starting(spec.kind):
            cluster = cls(**arguments)
        with cluster:
            yield cluster


def _gpu_count() -> int:
    """Count the GPUs of this machine through the driver's library, without a CUDA context."""
    from dask_cuda.utils import get_n_gpus

    with starting("cuda"):
        return max(1, int(get_n_gpus()))
