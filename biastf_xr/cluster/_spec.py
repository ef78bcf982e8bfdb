"""What a cluster is: where its workers run, how many there are and what each of them has."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, get_args

from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Kind = Literal["in-process", "local", "address", "cuda", "slurm", "pbs", "kubernetes", "gateway"]

# Seconds to wait for the first worker. A job may queue for long, a process starts at once.
TIMEOUT: dict[str, float] = {
    "local": 60,
    "address": 60,
    "cuda": 120,
    "slurm": 3600,
    "pbs": 3600,
    "kubernetes": 600,
    "gateway": 600,
}


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """A cluster to start, or one to connect to.

    Attributes
    ----------
    kind : str
        Where the work is done: "in-process" (threads of this process), "local" (processes of
        this machine), "address" (a running scheduler), "cuda" (one process for each GPU of this
        machine), "slurm", "pbs", "kubernetes" or "gateway".
    address : str, optional
        Scheduler of a running cluster, for instance "tcp://10.0.0.5:8786"; of kind "gateway" the
        URL of the gateway.  An address makes of "local" the kind "address".
    workers : int, optional
        Worker processes to start; by default one for each core ("local") or GPU ("cuda").  Not
        used with a scheduler's address.
    threads : int
        Units that a worker has in hand: one computes while another reads or writes.
    memory : str
        Memory of each worker, for instance "16GiB"; "auto" shares out the machine's.
    gpu : bool
        Each worker owns one GPU, which it announces as the abstract resource ``GPU``.  Always so
        of kind "cuda".
    options : dict
        Keywords of the backend's own class, and ``timeout``: seconds to wait for the first
        worker.
    """

    kind: Kind = "local"
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
        _check_address(self)
        _check_needs(self)

    @property
    def timeout(self) -> float:
        """Return the seconds to wait for the first worker."""
        return float(self.options.get("timeout", TIMEOUT.get(self.kind, 0)))

    @property
    def memory_bytes(self) -> int | None:
        """Return the memory of a worker in bytes; None for "auto"."""
        return None if self.memory == "auto" else _parse_memory(self.memory)

    @property
    def resources(self) -> dict[str, float]:
        """Return the abstract resources that a worker announces."""
        return {"GPU": 1} if self.gpu else {}


def _parse_memory(text: str) -> int:
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(text))
    except ValueError as error:
        raise ConfigError(
            f'memory of [cluster] is {text!r}; expected "auto" or a size such as "16GiB".'
        ) from error


def _check_values(spec: ClusterSpec) -> None:
    if spec.kind not in get_args(Kind):
        raise ConfigError(
            f"kind of [cluster] is {spec.kind!r}; expected one of {', '.join(get_args(Kind))}."
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


def _check_address(spec: ClusterSpec) -> None:
    if spec.kind == "address" and not spec.address:
        raise ConfigError(
            'kind "address" needs the address of a scheduler, for instance "tcp://10.0.0.5:8786".'
        )
    if spec.address and spec.kind not in {"address", "gateway"}:
        raise ConfigError(
            f'an address goes with the kinds "address" and "gateway"; got {spec.address!r} with '
            f"kind {spec.kind!r}. Leave one of them out."
        )


def _check_needs(spec: ClusterSpec) -> None:
    """Refuse a batch system without what every job has to state."""
    if spec.kind in {"slurm", "pbs", "kubernetes", "gateway"} and spec.workers is None:
        raise ConfigError(f"kind {spec.kind!r} needs `workers`: how many to ask for.")
    if spec.kind in {"slurm", "pbs"} and spec.memory == "auto":
        raise ConfigError(
            f'kind {spec.kind!r} needs `memory`, what a job asks for, for instance "16GiB".'
        )


def keywords_of(*classes: type) -> set[str]:
    """Collect the keywords that the constructors of classes and of their bases take.

    Parameters
    ----------
    *classes : type
        The classes.

    Returns
    -------
    set of str
        The names.
    """
    found: set[str] = set()
    for base in {base for cls in classes for base in cls.__mro__ if "__init__" in vars(base)}:
        if base is not object:
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            found |= {p.name for p in parameters if p.kind not in {p.VAR_KEYWORD, p.VAR_POSITIONAL}}
    return found - {"self", "loop", "asynchronous"}


def check_options(spec: ClusterSpec, known: Iterable[str], stated: Mapping[str, str]) -> None:
    """Refuse an option that the backend does not know, or that a key of [cluster] states.

    Parameters
    ----------
    spec : ClusterSpec
        The cluster.
    known : iterable of str
        Names that the backend knows.
    stated : mapping of str to str
        Names that follow from a key of [cluster], with that key.

    Raises
    ------
    ConfigError
        If there is one.
    """
    known = {"timeout", *known} - set(stated)
    for name in spec.options:
        if name in stated:
            raise ConfigError(
                f"option `{name}` of [cluster.options] follows from `{stated[name]}` of "
                "[cluster]. State it there."
            )
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"Did you mean `{close[0]}`?" if close else f"Known: {', '.join(sorted(known))}."
            raise ConfigError(
                f"unknown option `{name}` of [cluster.options] for kind {spec.kind!r}. {hint}"
            )
