"""The kinds of clusters, as data: the class behind each, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A kind of cluster.

    `cls`: Import path of the class.
    `extra`: What to install for it.
    `timeout`: Seconds to wait for the first worker. A job may queue for long, a process starts at
    once.
    `hint`: Where to look if it does not start.
    `needs`: Keys of [cluster] that it cannot do without.
    `stated`: Keywords of the class that follow from a key of [cluster], with that key.
    `options`: Keywords that [cluster.options] may hold; empty: those of the class.
    `scales`: Whether workers are asked for with its method ``scale``.
    """

    cls: str = ""
    extra: str = ""
    timeout: float = 60
    hint: str = ""
    needs: tuple[str, ...] = ()
    stated: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    scales: bool = False


_MACHINE = {
    "n_workers": "workers", "threads_per_worker": "threads", "nthreads": "threads",
    "memory_limit": "memory", "resources": "gpu", "processes": "kind",
}  # fmt: skip
_QUEUE = {
    "n_workers": "workers", "memory": "memory", "job_mem": "memory", "job_cpu": "options.cores",
    "job_cls": "kind",
}  # fmt: skip
_JOBS = "and the jobs' output; `biastf_xr.cluster.render` shows the script."

PRESETS = {
    "in-process": Preset(timeout=0),
    "local": Preset(
        cls="distributed.LocalCluster", stated=_MACHINE, hint="See the log of the workers."
    ),
    "address": Preset(
        hint="Start one with `dask scheduler` and `dask worker`, or leave the address out for a "
        "local cluster.",
        options=("timeout",),
    ),
    "cuda": Preset(
        cls="dask_cuda.LocalCUDACluster",
        extra="cuda",
        timeout=120,
        stated=_MACHINE,
        hint="Check with `nvidia-smi` that this machine's GPUs are seen.",
    ),
    "slurm": Preset(
        cls="dask_jobqueue.SLURMCluster",
        extra="hpc",
        timeout=3600,
        needs=("workers", "memory"),
        stated=_QUEUE,
        hint=f"See `squeue --me` {_JOBS}",
    ),
    "pbs": Preset(
        cls="dask_jobqueue.PBSCluster",
        extra="hpc",
        timeout=3600,
        needs=("workers", "memory"),
        stated=_QUEUE,
        hint=f"See `qstat` {_JOBS}",
    ),
    "kubernetes": Preset(
        cls="dask_kubernetes.operator.KubeCluster",
        extra="k8s",
        timeout=600,
        needs=("workers", "options.image"),
        stated={
            "n_workers": "workers",
            "worker_command": "threads, memory, gpu",
            "resources": "memory, gpu, options.cores",
        },
        # Up to `idle_timeout` the manifest is made from them; the others are the class's own.
        options=(
            "name", "image", "cores", "env", "claims", "pod", "service", "idle_timeout",
            "namespace", "resource_timeout", "port_forward_cluster_ip", "scheduler_forward_port",
        ),
        hint="See `kubectl get daskclusters,pods`; the Dask operator has to be installed.",
    ),
    "gateway": Preset(
        cls="dask_gateway.GatewayCluster",
        extra="gateway",
        timeout=600,
        needs=("workers",),
        stated={"n_workers": "workers", "address": "address"},
        options=("proxy_address", "public_address", "auth", "cluster_options"),
        scales=True,
        hint="Check the address, the credentials and the options that the gateway offers.",
    ),
}  # fmt: skip
