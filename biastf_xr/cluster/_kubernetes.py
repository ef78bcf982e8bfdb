"""Clusters of pods, made by the Dask operator of a Kubernetes cluster."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from biastf_xr.cluster._backends import load_class, starting
from biastf_xr.cluster._machine import worker_environment
from biastf_xr.cluster._spec import check_options
from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from biastf_xr.cluster._spec import ClusterSpec

# What the manifest is made from, and what goes to the class that creates it.
MANIFEST = {"name", "image", "cores", "env", "claims", "pod", "service", "idle_timeout"}
CREATION = {"namespace", "resource_timeout", "port_forward_cluster_ip", "scheduler_forward_port"}
STATED = {
    "n_workers": "workers",
    "worker_command": "threads, memory, gpu",
    "resources": "memory, gpu, options.cores",
}
IDLE = 3600  # seconds without work after which the operator removes a cluster


def kubernetes_arguments(spec: ClusterSpec) -> dict[str, Any]:
    """Return the arguments of `dask_kubernetes.operator.KubeCluster`."""
    options = {name: value for name, value in spec.options.items() if name in CREATION}
    return options | {
        "custom_cluster_spec": manifest(spec),
        "n_workers": spec.workers,
        "quiet": True,
    }


def manifest(spec: ClusterSpec) -> dict[str, Any]:
    """Return the resource that the Dask operator makes a cluster from.

    Unlike `dask_kubernetes.operator.make_cluster_spec` it starts the scheduler with ``dask
    scheduler``, since recent Dask has no ``dask-scheduler``, gives a GPU to workers only, and
    mounts volumes.

    `spec`: The cluster. Of its options ``image`` is needed; ``name``, ``cores`` (CPUs of a
    worker), ``env`` (variables), ``claims`` (a mount path with the name of its
    PersistentVolumeClaim, for each), ``pod`` (more keys of the workers' pod, for instance
    ``nodeSelector``), ``service`` (type of the scheduler's service) and ``idle_timeout``
    (seconds) may be there.
    """
    check_options(spec, MANIFEST | CREATION, STATED)
    if "image" not in spec.options:
        raise ConfigError(
            'kind "kubernetes" needs `image` in [cluster.options]: a container image with '
            "biastf-xr, the same version as here."
        )
    name = spec.options.get("name", "biastf-xr")
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {
            "idleTimeout": spec.options.get("idle_timeout", IDLE),
            "worker": _worker(spec),
            "scheduler": _scheduler(spec, name),
        },
    }


def _worker(spec: ClusterSpec) -> dict[str, Any]:
    cores = spec.options.get("cores", spec.threads)
    sizes: dict[str, Any] = {"cpu": str(cores)}
    if spec.memory_bytes is not None:
        sizes["memory"] = f"{-(-spec.memory_bytes // 2**20)}Mi"
    limits = sizes | ({"nvidia.com/gpu": "1"} if spec.gpu else {})
    environment = worker_environment(int(cores)) | spec.options.get("env", {})
    container = {
        "name": "worker",
        "image": spec.options["image"],
        "args": _worker_command(spec),
        "env": _named(environment),
        "resources": {"requests": sizes, "limits": limits},
        "ports": [_port("http-dashboard", 8788)],
        **_mounts(spec),
    }
    pod = {**spec.options.get("pod", {}), "containers": [container], **_volumes(spec)}
    return {"replicas": spec.workers, "spec": pod}


def _worker_command(spec: ClusterSpec) -> list[str]:
    command = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"]
    command += ["--nthreads", str(spec.threads), "--memory-limit", spec.memory]
    command += ["--dashboard", "--dashboard-address", "8788"]
    return command + (["--resources", "GPU=1"] if spec.gpu else [])


def _scheduler(spec: ClusterSpec, name: str) -> dict[str, Any]:
    health = {"port": "http-dashboard", "path": "/health"}
    container = {
        "name": "scheduler",
        "image": spec.options["image"],
        "args": ["dask", "scheduler", "--host", "0.0.0.0"],  # noqa: S104  (a pod's own network)
        "env": _named(spec.options.get("env", {})),
        "ports": [_port("tcp-comm", 8786), _port("http-dashboard", 8787)],
        "readinessProbe": {"httpGet": health, "periodSeconds": 1, "timeoutSeconds": 300},
        "livenessProbe": {"httpGet": dict(health), "initialDelaySeconds": 15, "periodSeconds": 20},
    }
    return {"spec": {"containers": [container]}, "service": _service(spec, name)}


def _service(spec: ClusterSpec, name: str) -> dict[str, Any]:
    ports = (("tcp-comm", 8786), ("http-dashboard", 8787))
    return {
        "type": spec.options.get("service", "ClusterIP"),
        "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
        "ports": [
            {"name": port, "protocol": "TCP", "port": number, "targetPort": port}
            for port, number in ports
        ],
    }


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _named(values: dict[str, Any]) -> list[dict[str, str]]:
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def _mounts(spec: ClusterSpec) -> dict[str, Any]:
    claims = spec.options.get("claims", {})
    mounts = [{"name": claim, "mountPath": path} for path, claim in claims.items()]
    return {"volumeMounts": mounts} if mounts else {}


def _volumes(spec: ClusterSpec) -> dict[str, Any]:
    claims = dict.fromkeys(spec.options.get("claims", {}).values())
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
    return {"volumes": volumes} if volumes else {}


def manifest_yaml(spec: ClusterSpec) -> str:
    """Write the resource that the Dask operator makes a cluster from."""
    import yaml

    return str(yaml.safe_dump(manifest(spec), sort_keys=False))


@contextmanager
def open_kubernetes(spec: ClusterSpec) -> Iterator[Any]:
    """Create the pods of a cluster, and delete them."""
    arguments = kubernetes_arguments(spec)
    cls = load_class(spec.kind)
    from dask_kubernetes.operator.kubecluster.kubecluster import CreateMode

    with starting(spec.kind):
        cluster = cls(create_mode=CreateMode.CREATE_ONLY, shutdown_on_close=True, **arguments)
    with cluster:
        yield cluster
