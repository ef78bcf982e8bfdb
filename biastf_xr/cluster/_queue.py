"""Clusters of batch jobs: SLURM and PBS."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from biastf_xr.cluster._backends import load_class, starting
from biastf_xr.cluster._machine import worker_environment
from biastf_xr.cluster._spec import check_options, keywords_of
from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from biastf_xr.cluster._spec import ClusterSpec

SCHEDULER = "tcp://SCHEDULER:8786"  # stands for the scheduler in a script that is only shown
STATED = {
    "n_workers": "workers",
    "memory": "memory",
    "job_mem": "memory",
    "job_cpu": "options.cores",
    "job_cls": "kind",
}


def slurm_arguments(spec: ClusterSpec) -> dict[str, Any]:
    """Return the arguments of `dask_jobqueue.SLURMCluster`.

    `spec`: The cluster. Its option ``cores`` is the number of CPUs that a job asks for; where
    no directive of a job with a GPU names one, ``--gres=gpu:1`` is added.
    """
    arguments = _shared(spec) | {"job_cpu": _cpus(spec)}
    directives = list(arguments.get("job_extra_directives", ()))
    if spec.gpu and not any("gpu" in line for line in directives):
        directives.append("--gres=gpu:1")
    return arguments | {"job_extra_directives": directives}


def pbs_arguments(spec: ClusterSpec) -> dict[str, Any]:
    """Return the arguments of `dask_jobqueue.PBSCluster`.

    `spec`: The cluster. Its option ``cores`` is the number of CPUs that a job asks for, unless
    ``resource_spec`` states everything.
    """
    gpu = ":ngpus=1" if spec.gpu else ""
    memory = -(-_memory(spec) // 2**20)
    return {"resource_spec": f"select=1:ncpus={_cpus(spec)}:mem={memory}MB{gpu}"} | _shared(spec)


ARGUMENTS = {"slurm": slurm_arguments, "pbs": pbs_arguments}


def _shared(spec: ClusterSpec) -> dict[str, Any]:
    """Return what all batch systems take; "cores" are theirs, the threads of a job's workers."""
    options = {name: value for name, value in spec.options.items() if name != "timeout"}
    processes = _processes(spec)
    environment = worker_environment(_cpus(spec) // processes)
    resources = ["--resources", "GPU=1"] if spec.gpu else []
    return options | {
        "processes": processes,
        "cores": spec.threads * processes,
        "memory": f"{_memory(spec)}B",
        "worker_extra_args": [*resources, *options.get("worker_extra_args", ())],
        "job_script_prologue": [
            *(f"export {name}={value}" for name, value in environment.items()),
            *options.get("job_script_prologue", ()),
        ],
        "scheduler_options": {"dashboard_address": ":0"} | options.get("scheduler_options", {}),
    }


def _processes(spec: ClusterSpec) -> int:
    processes = int(spec.options.get("processes", 1))
    if spec.gpu and processes > 1:
        raise ConfigError(
            f"processes of [cluster.options] is {processes} with gpu = true; expected 1, one "
            "process for each GPU. Ask for more workers instead."
        )
    return processes


def _cpus(spec: ClusterSpec) -> int:
    return int(spec.options.get("cores", spec.threads * _processes(spec)))


def _memory(spec: ClusterSpec) -> int:
    """Return the memory of a job in bytes."""
    assert spec.memory_bytes is not None
    return spec.memory_bytes * _processes(spec)


def _loaded(spec: ClusterSpec) -> Any:
    cls = load_class(spec.kind)
    check_options(spec, keywords_of(cls, cls.job_cls), STATED)
    return cls


def job_script(spec: ClusterSpec) -> str:
    """Return the script that is submitted for each job, without submitting it."""
    cls = _loaded(spec)
    arguments = ARGUMENTS[spec.kind](spec)
    taken = keywords_of(cls.job_cls) - {"name"}
    job = cls.job_cls(
        SCHEDULER, name="worker", **{k: v for k, v in arguments.items() if k in taken}
    )
    return str(job.job_script())


@contextmanager
def open_queue(spec: ClusterSpec) -> Iterator[Any]:
    """Start a scheduler in this process and submit the jobs."""
    cls = _loaded(spec)
    command = cls.job_cls.submit_command
    if shutil.which(command) is None:
        raise ConfigError(
            f'a cluster of kind "{spec.kind}" submits jobs with `{command}`, which is not on the '
            "PATH. Run on a login node of the batch system."
        )
    with starting(spec.kind):
        cluster = cls(job_cls=_noting_failure(cls.job_cls), **ARGUMENTS[spec.kind](spec))
    with cluster:
        with starting(spec.kind):
            cluster.sync(_submit, cluster, jobs=-(-(spec.workers or 1) // _processes(spec)))
        yield cluster


def _noting_failure(job_class: Any) -> Any:
    """Derive a job that is marked as failed when it is refused, as a closing cluster expects."""
    from distributed import Status

    class Job(job_class):  # type: ignore[misc]
        async def start(self) -> None:
            try:
                await super().start()
            except Exception:
                self.status = Status.failed
                raise

    return Job


async def _submit(cluster: Any, *, jobs: int) -> None:
    """Submit all jobs; unlike `scale` this raises what the batch system says against one."""
    while len(cluster.worker_spec) < jobs:
        cluster.worker_spec.update(cluster.new_worker_spec())
    await cluster
