"""The classes behind the kinds of clusters: which they are, and what to install for them."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from biastf_xr.errors import BiastfError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

CLASSES = {
    "local": "distributed.LocalCluster",
    "cuda": "dask_cuda.LocalCUDACluster",
    "slurm": "dask_jobqueue.SLURMCluster",
    "pbs": "dask_jobqueue.PBSCluster",
    "kubernetes": "dask_kubernetes.operator.KubeCluster",
    "gateway": "dask_gateway.Gateway",
}
EXTRAS = {"cuda": "cuda", "slurm": "hpc", "pbs": "hpc", "kubernetes": "k8s", "gateway": "gateway"}
HINTS = {
    "local": "See the log of the workers.",
    "address": (
        "Start one with `dask scheduler` and `dask worker`, or leave the address out for a local "
        "cluster."
    ),
    "cuda": "Check with `nvidia-smi` that this machine's GPUs are seen.",
    "slurm": "See `squeue --me` and the jobs' output; `biastf_xr.cluster.render` shows the script.",
    "pbs": "See `qstat` and the jobs' output; `biastf_xr.cluster.render` shows the script.",
    "kubernetes": "See `kubectl get daskclusters,pods`; the Dask operator has to be installed.",
    "gateway": "Check the address, the credentials and the options that the gateway offers.",
}


def load_class(kind: str) -> Any:
    """Import the class behind a kind of cluster."""
    module, _, name = CLASSES[kind].rpartition(".")
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise ConfigError(
            f'a cluster of kind "{kind}" needs {module.partition(".")[0]}, which is not usable '
            f'here ({error}). Install it: pip install "biastf-xr[{EXTRAS[kind]}]".'
        ) from error


@contextmanager
def starting(kind: str) -> Iterator[None]:
    """Explain whatever a backend raises while it starts."""
    try:
        yield
    except BiastfError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ConfigError(
            f'a cluster of kind "{kind}" did not start: {said}. {HINTS[kind]}'
        ) from error
