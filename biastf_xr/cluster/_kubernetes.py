"""The resource that the Dask operator of a Kubernetes cluster makes pods from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from biastf_xr.cluster._spec import ClusterSpec

# A network's activations are tens of MiB and come and go with every tile. By default Dask has the
# allocator return them to the system each time, and every page has to be faulted in again.
KEEP_MEMORY = str(256 * 2**20)
IDLE = 3600  # seconds without work after which the operator removes a cluster
SCHEDULER_PORTS = (("tcp-comm", 8786), ("http-dashboard", 8787))


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker process.

    The numerical libraries read it when they load, so it has to be there before the process is.

    `threads`: Threads of the numerical libraries: the cores that the worker may call its own.
    """
    count = str(max(1, threads))
    memory = dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), KEEP_MEMORY)
    libraries = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return memory | dict.fromkeys(libraries, count)


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
    options = spec.options
    cores = options.get("cores", spec.threads)
    sizes: dict[str, Any] = {"cpu": str(cores)}
    if spec.memory_bytes is not None:
        sizes["memory"] = f"{-(-spec.memory_bytes // 2**20)}Mi"
    command = f"dask worker --name $(DASK_WORKER_NAME) --nthreads {spec.threads}".split()
    command += f"--memory-limit {spec.memory} --dashboard-address 127.0.0.1:0".split()
    container = {
        "name": "worker",
        "image": options["image"],
        "args": command + (["--resources", "GPU=1"] if spec.gpu else []),
        "env": _named(worker_environment(int(cores)) | options.get("env", {})),
        "resources": {
            "requests": sizes,
            "limits": sizes | ({"nvidia.com/gpu": "1"} if spec.gpu else {}),
        },
    }
    pod = {**options.get("pod", {}), "containers": [container]}
    if claims := options.get("claims"):
        container["volumeMounts"] = [{"name": c, "mountPath": path} for path, c in claims.items()]
        pod["volumes"] = [
            {"name": c, "persistentVolumeClaim": {"claimName": c}}
            for c in dict.fromkeys(claims.values())
        ]
    return {"replicas": spec.workers, "spec": pod}


def _scheduler(spec: ClusterSpec, name: str) -> dict[str, Any]:
    health = {"port": "http-dashboard", "path": "/health"}
    container = {
        "name": "scheduler",
        "image": spec.options["image"],
        "args": ["dask", "scheduler", "--host", "0.0.0.0"],  # noqa: S104  (a pod's own network)
        "env": _named(spec.options.get("env", {})),
        "ports": [_port(*port) for port in SCHEDULER_PORTS],
        "readinessProbe": {"httpGet": health, "periodSeconds": 1, "timeoutSeconds": 300},
        "livenessProbe": {"httpGet": dict(health), "initialDelaySeconds": 15, "periodSeconds": 20},
    }
    service = {
        "type": spec.options.get("service", "ClusterIP"),
        "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
        "ports": [
            {"name": port, "protocol": "TCP", "port": number, "targetPort": port}
            for port, number in SCHEDULER_PORTS
        ],
    }
    return {"spec": {"containers": [container]}, "service": service}


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _named(values: dict[str, Any]) -> list[dict[str, str]]:
    return [{"name": name, "value": str(value)} for name, value in values.items()]
