"""The keywords of the class behind a kind of cluster, made of the keys of [cluster]."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biastf_xr.cluster._kubernetes import manifest, worker_environment
from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from biastf_xr.cluster._spec import ClusterSpec

# Where dashboards listen.  Dask reads ":0" as every interface, and a worker without a dashboard
# listens all the same.
LOOPBACK = "127.0.0.1:0"


def keywords(spec: ClusterSpec) -> dict[str, Any]:
    """Return the keywords of the class of clusters.

    Parameters
    ----------
    spec : ClusterSpec
        The cluster.

    Returns
    -------
    dict
        The options, and what follows from the other keys.

    Raises
    ------
    ConfigError
        If an option is unusable.
    """
    if spec.preset.options:
        check_options(spec, spec.preset.options)
    if spec.kind in {"local", "cuda"}:
        return _guarded(_of_machine(spec))
    if spec.kind in {"slurm", "pbs"}:
        return _guarded(_of_queue(spec))
    if spec.kind == "gateway":
        return {"address": spec.address, **spec.keywords}
    if spec.kind == "kubernetes":
        first = spec.preset.options.index("namespace")
        own = {n: v for n, v in spec.keywords.items() if n in spec.preset.options[first:]}
        pods = {"custom_cluster_spec": manifest(spec), "n_workers": spec.workers, "quiet": True}
        return own | pods
    return _of_class(spec)


def _guarded(found: dict[str, Any]) -> dict[str, Any]:
    """Have Dask make certificates for the run, unless ``security`` is said not to be wanted."""
    found = found | {"security": found.get("security", True)}
    return {name: value for name, value in found.items() if (name, value) != ("security", False)}


def _of_class(spec: ClusterSpec) -> dict[str, Any]:
    """Return the options; to classes of the families that are known here, what guards them."""
    from distributed import LocalCluster

    cls = load_class(spec)
    if LocalCluster in getattr(cls, "__mro__", ()):
        return _guarded({"dashboard_address": LOOPBACK} | spec.keywords)
    if hasattr(cls, "job_cls"):
        return _guarded(spec.keywords | _of_jobs(cls.job_cls.config_name, spec.keywords))
    return spec.keywords


def _of_jobs(system: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of a batch system that say what listens, and where secrets and spills go.

    Dask puts the folder for spills on ``sys.path``, so it must not be one that others can write to.
    """
    import dask

    def told(name: str) -> Any:
        key = f"jobqueue.{system}.{name.replace('_', '-')}"
        return options.get(name) or dask.config.get(key, None) or ()

    return {
        "scheduler_options": {"dashboard_address": LOOPBACK, **dict(told("scheduler_options"))},
        "shared_temp_directory": told("shared_temp_directory") or str(Path.cwd()),
        "worker_extra_args": ["--dashboard-address", LOOPBACK, *told("worker_extra_args")],
        "job_script_prologue": [
            *told("job_script_prologue"),
            "export DASK_TEMPORARY_DIRECTORY=$(mktemp -d)",
            """trap 'rm -rf "$DASK_TEMPORARY_DIRECTORY"' EXIT""",
        ],
    }


def _of_machine(spec: ClusterSpec) -> dict[str, Any]:
    from dask.system import CPU_COUNT

    found = {"threads_per_worker": spec.threads, "dashboard_address": LOOPBACK} | spec.keywords
    if spec.kind == "local":
        found = {"n_workers": spec.workers or CPU_COUNT, "processes": True} | found
    else:
        found = {"n_workers": spec.workers} | found
    if spec.resources:
        found["resources"] = spec.resources
    if spec.memory != "auto":  # left out, the class divides the memory by the workers
        found["memory_limit"] = spec.memory
    return found


def processes_of(spec: ClusterSpec) -> int:
    """Return the workers of a batch job."""
    processes = int(spec.options.get("processes", 1))
    if spec.gpu and processes > 1:
        raise ConfigError(
            f"processes of [cluster.options] is {processes} with gpu = true; expected 1, one "
            "process for each GPU. Ask for more workers instead."
        )
    return processes


def _of_queue(spec: ClusterSpec) -> dict[str, Any]:
    """Return the keywords of batch systems; "cores" are theirs, the threads of a job's workers.

    As an option ``cores`` is the number of CPUs that a job asks for.  Where nothing names a GPU
    for a job that needs one, it is asked for.
    """
    options, processes = spec.keywords, processes_of(spec)
    cpus = int(options.get("cores", spec.threads * processes))
    memory = (spec.memory_bytes or 0) * processes
    environment = worker_environment(cpus // processes)
    jobs = _of_jobs(spec.kind, options)
    found = (
        options
        | jobs
        | {
            "processes": processes,
            "cores": spec.threads * processes,
            "memory": f"{memory}B",
            "worker_extra_args": [
                *(["--resources", "GPU=1"] if spec.gpu else []),
                *jobs["worker_extra_args"],
            ],
            "job_script_prologue": [
                *(f"export {name}={value}" for name, value in environment.items()),
                *jobs["job_script_prologue"],
            ],
        }
    )
    if spec.kind == "pbs":
        gpu = ":ngpus=1" if spec.gpu else ""
        return {"resource_spec": f"select=1:ncpus={cpus}:mem={-(-memory // 2**20)}MB{gpu}"} | found
    directives = list(options.get("job_extra_directives", ()))
    if spec.gpu and not any("gpu" in line for line in directives):
        directives.append("--gres=gpu:1")
    return found | {"job_cpu": cpus, "job_extra_directives": directives}


def load_class(spec: ClusterSpec) -> Any:
    """Import the class of clusters."""
    path = spec.preset.cls
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        package = module.partition(".")[0]
        extra = spec.preset.extra
        remedy = f'Install it: pip install "biastf-xr[{extra}]".' if extra else (
            f"Expected the import path of a class; correct {path!r}, or install what it is part of."
        )  # fmt: skip
        raise ConfigError(
            f"{spec} needs {package or path}, which is not usable here ({error}). {remedy}"
        ) from error


def keywords_of(*classes: type) -> set[str]:
    """Return the keywords that the constructors of classes and of their bases take."""
    found: set[str] = set()
    for base in {base for cls in classes for base in cls.__mro__ if "__init__" in vars(base)}:
        if base is not object:
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            found |= {p.name for p in parameters if p.kind not in {p.VAR_KEYWORD, p.VAR_POSITIONAL}}
    return found - {"self", "loop", "asynchronous"}


def check_options(spec: ClusterSpec, known: Iterable[str]) -> None:
    """Refuse an option that the class does not know, or that a key of [cluster] states."""
    stated = spec.preset.stated
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
