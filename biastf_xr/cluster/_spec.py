"""What a cluster is: where its workers run, how many there are and what each of them has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from biastf_xr.cluster._presets import PRESETS, Preset
from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """A cluster to start, or one to connect to.

    Attributes
    ----------
    kind : str
        Where the work is done: "in-process" (threads of this process), "local" (processes of
        this machine), "address" (a running scheduler), "cuda" (one process for each GPU of this
        machine), "slurm", "pbs", "kubernetes", "gateway", or the import path of any class of Dask
        clusters, for instance "dask_jobqueue.SGECluster": its keywords are `options`, and `workers`
        are asked for with its method ``scale``.
    address : str, optional
        Scheduler of a running cluster, for instance "tls://10.0.0.5:8786"; of kind "gateway" the
        URL of the gateway.  An address makes of "local" the kind "address".
    workers : int, optional
        Worker processes to start; by default one for each core ("local") or GPU ("cuda").  Not
        used with a scheduler's address.
    threads : int
        Units that a worker has in hand: one computes while another reads or writes.  Of a class an
        option states it.
    memory : str
        Memory of each worker, for instance "16GiB"; "auto" shares out the machine's.  Of a class
        an option states it.
    gpu : bool
        Each worker owns one GPU, which it announces as the abstract resource ``GPU``.  Always so
        of kind "cuda".
    options : dict
        Keywords of the class behind the kind, and ``timeout``: seconds to wait for the first
        worker.
    """

    kind: str = "local"
    address: str | None = None
    workers: int | None = None
    threads: int = 2
    memory: str = "auto"
    gpu: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind == "local" and self.address:
            object.__setattr__(self, "kind", "address")
        if self.kind == "cuda":
            object.__setattr__(self, "gpu", True)
        _check_values(self)
        _check_kind(self)

    @property
    def preset(self) -> Preset:
        """Return what is known of the kind."""
        return PRESETS.get(self.kind) or Preset(
            cls=self.kind, timeout=600, hint="[cluster.options] holds its keywords.", scales=True
        )

    @property
    def timeout(self) -> float:
        """Return the seconds to wait for the first worker."""
        return float(self.options.get("timeout", self.preset.timeout))

    @property
    def keywords(self) -> dict[str, Any]:
        """Return the options that are keywords of the class."""
        return {name: value for name, value in self.options.items() if name != "timeout"}

    @property
    def memory_bytes(self) -> int | None:
        """Return the memory of a worker in bytes; None for "auto"."""
        return None if self.memory == "auto" else _parse_memory(self.memory)

    @property
    def resources(self) -> dict[str, float]:
        """Return the abstract resources that a worker announces."""
        return {"GPU": 1} if self.gpu else {}

    def __str__(self) -> str:
        """Return which cluster it is, for messages."""
        return f'a cluster of kind "{self.kind}"'


def _parse_memory(text: str) -> int:
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(text))
    except ValueError as error:
        raise ConfigError(
            f'memory of [cluster] is {text!r}; expected "auto" or a size such as "16GiB".'
        ) from error


def _check_values(spec: ClusterSpec) -> None:
    if spec.kind not in PRESETS and "." not in spec.kind:
        raise ConfigError(
            f"kind of [cluster] is {spec.kind!r}; expected one of {', '.join(PRESETS)}, or the "
            "import path of a class of Dask clusters."
        )
    for name, value in (("workers", spec.workers), ("threads", spec.threads)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} of [cluster] is {value}; expected at least 1.")
    if spec.memory != "auto":
        _parse_memory(spec.memory)
    if not isinstance(spec.options.get("timeout", 1), int | float):
        raise ConfigError(
            f"timeout of [cluster.options] is {spec.options['timeout']!r}; expected seconds."
        )


def _check_kind(spec: ClusterSpec) -> None:
    """Refuse what does not go with the kind, and what it cannot do without."""
    if spec.kind == "address" and not spec.address:
        raise ConfigError(
            'kind "address" needs the address of a scheduler, for instance "tls://10.0.0.5:8786".'
        )
    if spec.address and spec.kind not in {"address", "gateway"}:
        raise ConfigError(
            f'an address goes with the kinds "address" and "gateway"; got {spec.address!r} with '
            f"kind {spec.kind!r}. Leave one of them out."
        )
    if spec.kind not in PRESETS and (spec.memory != "auto" or spec.threads != 2):
        raise ConfigError(
            f"memory of [cluster] is {spec.memory!r}, threads {spec.threads}, for {spec}; state "
            "them in [cluster.options] with the keywords of the class."
        )
    if "workers" in spec.preset.needs and spec.workers is None:
        raise ConfigError(f"kind {spec.kind!r} needs `workers`: how many to ask for.")
    if "memory" in spec.preset.needs and spec.memory == "auto":
        raise ConfigError(
            f'kind {spec.kind!r} needs `memory`, what a job asks for, for instance "16GiB".'
        )
