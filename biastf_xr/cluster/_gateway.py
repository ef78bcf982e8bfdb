"""Clusters that a Dask Gateway server starts; their pods and machines are its business."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from biastf_xr.cluster._backends import load_class, starting
from biastf_xr.cluster._spec import check_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from biastf_xr.cluster._spec import ClusterSpec

SERVER = {"proxy_address", "public_address", "auth"}
STATED = {"n_workers": "workers", "address": "address"}


def gateway_arguments(spec: ClusterSpec) -> dict[str, Any]:
    """Return the arguments of `dask_gateway.Gateway`.

    `spec`: The cluster. Its option ``cluster_options`` is not among them.
    """
    check_options(spec, {*SERVER, "cluster_options"}, STATED)
    options = {name: value for name, value in spec.options.items() if name in SERVER}
    return {"address": spec.address} | options


def cluster_arguments(spec: ClusterSpec) -> dict[str, Any]:
    """Return the arguments of `dask_gateway.Gateway.new_cluster`.

    `spec`: The cluster. Its option ``cluster_options`` holds what the server lets its users
    choose, such as the image or the memory of a worker.
    """
    return {"shutdown_on_close": True, **spec.options.get("cluster_options", {})}


@contextmanager
def open_gateway(spec: ClusterSpec) -> Iterator[Any]:
    """Have the gateway start a cluster, and stop it."""
    arguments = gateway_arguments(spec)
    cls = load_class(spec.kind)
    with starting(spec.kind):
        gateway = cls(**arguments)
    with gateway:
        with starting(spec.kind):
            cluster = gateway.new_cluster(**cluster_arguments(spec))
        with cluster:
            with starting(spec.kind):
                cluster.scale(spec.workers)
            yield cluster
