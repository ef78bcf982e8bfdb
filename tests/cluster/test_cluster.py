"""Clusters: what is refused, what starts here, and what comes in through an address."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest
from checks import facts

from biastf_xr.cluster import (
    ClusterSpec,
    connect,
    dashboard,
    keywords,
    render,
    tasks_on_demand,
)
from biastf_xr.cluster._kubernetes import manifest
from biastf_xr.errors import ConfigError

SLURM = {"kind": "slurm", "workers": 1, "memory": "1GiB"}
LOOPBACK = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")


def test_importing_it_loads_no_dask():
    code = "import sys, biastf_xr.cluster; print({'dask', 'distributed', 'torch'} & {*sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


@pytest.mark.parametrize("runs", ["script", "module"])
def test_script_without_a_guard_is_refused_at_once_with_its_line(tmp_path, runs):
    script = tmp_path / "a script.py" if runs == "script" else tmp_path / "mine.py"
    call = (
        "    with connect(workers=1) as client:\n        print(client.submit(sum, [1, 2]).result())"
    )
    head = "from biastf_xr.cluster import connect\n\ndef main():\n" + call + "\n\n"
    command = [sys.executable, *([script] if runs == "script" else ["-m", "mine"])]
    options = {"capture_output": True, "text": True, "cwd": tmp_path, "timeout": 120}
    script.write_text(head + "main()\n")
    done = subprocess.run(command, **options, check=False)
    said = facts(script, "line 7", 'if __name__ == "__main__":')
    assert re.search(said, done.stderr.splitlines()[-1]), done.stderr
    assert len(done.stderr.splitlines()) < 30
    script.write_text(head + 'if __name__ == "__main__":\n    main()\n')
    done = subprocess.run(command, **options, check=False)
    assert done.stdout == "3\n", done.stderr


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "lsf"}, facts("kind", "'lsf'", "in-process, local")),
        ({"workers": 0}, facts("workers", "[cluster]", "0")),
        ({"threads": 0}, facts("threads", "[cluster]", "0")),
        ({"memory": "much"}, facts("memory", "'much'", '"auto"')),
        ({"options": {"timeout": "1h"}}, facts("timeout", "[cluster.options]", "'1h'", "seconds")),
        ({"kind": "address"}, facts("address", "tls://")),
        ({"kind": "slurm", "address": "tcp://a:1", "workers": 1}, facts("'tcp://a:1'", "'slurm'")),
        ({"kind": "slurm", "memory": "1GiB"}, facts("'slurm'", "`workers`")),
        ({"kind": "pbs", "workers": 1}, facts("'pbs'", "`memory`")),
    ],
)
def test_unusable_specs_are_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        ClusterSpec(**fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"options": {"dashbord_address": ":0"}},
            facts("`dashbord_address`", "`dashboard_address`"),
        ),
        ({"options": {"n_workers": 2}}, facts("`n_workers`", "`workers`", "[cluster]")),
        (
            {"address": "tcp://127.0.0.1:9", "options": {"queue": "a"}},
            facts("`queue`", "'address'", "timeout"),
        ),
        (SLURM | {"options": {"partition": "gpu"}}, facts("`partition`", "'slurm'", "queue")),
        (SLURM | {"options": {"job_cpu": 4}}, facts("`job_cpu`", "`options.cores`")),
        (
            {"kind": "kubernetes", "workers": 1, "options": {"imag": "a"}},
            facts("`imag`", "`image`"),
        ),
        ({"kind": "kubernetes", "workers": 1}, facts("kubernetes", "`image`", "[cluster.options]")),
        (
            {"kind": "gateway", "workers": 1, "options": {"image": "a"}},
            facts("`image`", "'gateway'", "public_address"),
        ),
    ],
)
def test_unknown_options_are_named(fields, said):
    with pytest.raises(ConfigError, match=said), connect(ClusterSpec(**fields)):
        pass


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [
        ("cuda", "dask_cuda", "cuda"),
        ("slurm", "dask_jobqueue", "hpc"),
        ("kubernetes", "dask_kubernetes.operator", "k8s"),
        ("gateway", "dask_gateway", "gateway"),
    ],
)
def test_a_missing_extra_is_named(kind, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    options = {"image": "a"} if kind == "kubernetes" else {}
    spec = ClusterSpec(kind=kind, workers=1, memory="1GiB", options=options)
    with pytest.raises(ConfigError, match=rf'pip install "biastf-xr\[{extra}\]"'), connect(spec):
        pass


def test_an_address_makes_the_kind():
    assert ClusterSpec(address="tcp://a:1").kind == "address"
    assert ClusterSpec(kind="gateway", address="https://a", workers=1).kind == "gateway"
    assert ClusterSpec(kind="cuda").resources == {"GPU": 1}
    assert ClusterSpec().resources == {}


def test_memory_is_shared_out_where_it_is_not_stated():
    assert "memory_limit" not in keywords(ClusterSpec())
    assert keywords(ClusterSpec(memory="2GiB"))["memory_limit"] == "2GiB"


def test_in_process_there_is_no_client():
    with connect(ClusterSpec(kind="in-process")) as client:
        assert client is None
        assert dashboard(client) is None
    with tasks_on_demand(kind="in-process") as executor:
        assert executor.submit(os.getpid).result() == os.getpid()
    assert render(ClusterSpec(kind="in-process")) == "threads of this process\n"


def test_a_local_worker_owns_a_gpu_and_its_cores():
    from dask.system import CPU_COUNT

    with connect(workers=1, gpu=True, memory="1GiB") as client:
        assert client.submit(os.getpid, resources={"GPU": 1}).result(timeout=30) != os.getpid()
        threads = client.submit(os.getenv, "OMP_NUM_THREADS").result(timeout=30)
        assert threads == os.environ.get("OMP_NUM_THREADS", str(CPU_COUNT))
        assert list(client.nthreads().values()) == [2]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory, running):
    """Start a scheduler as a process of its own and give its file."""
    folder = tmp_path_factory.mktemp("scheduler")
    file = folder / "scheduler.json"
    options = [*LOOPBACK, "--port", "0"]
    with running("scheduler", *options, "--scheduler-file", str(file), cwd=folder):
        deadline = time.monotonic() + 30
        while not (file.exists() and file.stat().st_size):
            assert time.monotonic() < deadline, "the scheduler did not start"
            time.sleep(0.05)
        yield file


def address_in(file):
    import json

    return json.loads(file.read_text())["address"]


def await_no_workers(address):
    """Wait until the scheduler has seen that its workers left."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        deadline = time.monotonic() + 20
        while client.nthreads():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_workers_without_a_gpu_are_not_taken_for_such(scheduler, tmp_path, running):
    spec = ClusterSpec(address=address_in(scheduler), gpu=True, options={"timeout": 20})
    with (
        running("worker", spec.address, "--nthreads", "1", *LOOPBACK, cwd=tmp_path),
        pytest.raises(ConfigError, match="--resources GPU=1"),
        connect(spec),
    ):
        pass
    await_no_workers(spec.address)


def test_tasks_run_on_a_cluster_of_separate_processes(scheduler, tmp_path, running):
    address = address_in(scheduler)
    options = ["--nthreads", "2", "--resources", "GPU=1", *LOOPBACK]
    with running("worker", address, *options, cwd=tmp_path) as process:
        with connect(address, gpu=True, options={"timeout": 20}) as client:
            pid = client.submit(os.getpid, resources={"GPU": 1}).result(timeout=20)
            assert pid not in {os.getpid(), process.pid}
            assert list(client.nthreads().values()) == [2]
        with tasks_on_demand(address) as executor:
            assert executor.submit(os.getpid).result(timeout=20) == pid
    await_no_workers(address)


def test_an_address_where_nothing_answers_is_told_at_once():
    started = time.monotonic()
    spec = ClusterSpec(address="tcp://127.0.0.1:9", options={"timeout": 1})
    with (
        pytest.raises(
            ConfigError, match=facts("tcp://127.0.0.1:9", "dask scheduler", "dask worker")
        ),
        connect(spec),
    ):
        pass
    assert time.monotonic() - started < 5


def test_a_scheduler_without_workers_is_told(scheduler):
    spec = ClusterSpec(address=address_in(scheduler), options={"timeout": 1})
    with pytest.raises(ConfigError, match=facts("1 s", "`timeout`")), connect(spec):
        pass


def test_jobs_are_submitted_and_their_workers_used(batch_system):
    options = {"cores": 3, "timeout": 30, "interface": "lo"}
    with connect(ClusterSpec(**SLURM, gpu=True, options=options)) as client:
        asked = client.submit(os.getenv, "OMP_NUM_THREADS", resources={"GPU": 1})
        assert asked.result(timeout=20) == "3"
        assert list(client.nthreads().values()) == [2]


def test_what_the_batch_system_says_against_a_job_is_told(batch_system):
    batch_system("sbatch", "echo 'error: invalid account' >&2; exit 1")
    with (
        pytest.raises(ConfigError, match=facts("slurm", "invalid account", "squeue --me")),
        connect(ClusterSpec(**SLURM, options={"interface": "lo"})),
    ):
        pass


def test_without_a_batch_system_no_job_is_submitted(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ConfigError, match=facts("slurm", "`sbatch`", "PATH")),
        connect(ClusterSpec(**SLURM)),
    ):
        pass


def test_several_workers_of_a_job_share_no_gpu():
    options = {"processes": 2}
    with pytest.raises(ConfigError, match=facts("processes", "2", "gpu")):
        keywords(ClusterSpec(**SLURM, gpu=True, options=options))
    assert keywords(ClusterSpec(**SLURM, options=options))["memory"] == f"{2 * 2**30}B"


def test_a_pod_may_have_more_but_not_other_containers():
    options = {"image": "a", "pod": {"containers": [], "priorityClassName": "low"}}
    spec = ClusterSpec(kind="kubernetes", workers=1, options=options)
    pod = manifest(spec)["spec"]["worker"]["spec"]
    assert pod["priorityClassName"] == "low"
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "2"}


def test_any_class_of_clusters_is_taken_with_its_own_keywords():
    options = {"n_workers": 0, "threads_per_worker": 3}
    spec = ClusterSpec(kind="distributed.LocalCluster", workers=1, options=options)
    assert render(spec) == (
        "distributed.LocalCluster(dashboard_address='127.0.0.1:0', n_workers=0, "
        "threads_per_worker=3, security=True)\n"
        ".scale(1)\n"
    )
    with connect(spec) as client:
        assert client.submit(os.getpid).result(timeout=30) != os.getpid()
        assert list(client.nthreads().values()) == [3]


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("no_such_package.Cluster", {}, ("no_such_package", "install")),
        ("distributed.NoCluster", {}, ("distributed.NoCluster", "import path")),
        ("concurrent.futures.ThreadPoolExecutor", {"wokers": 2}, ("ThreadPoolExecutor", "wokers")),
    ],
)
def test_a_class_that_cannot_be_used_is_named(kind, options, named):
    with (
        pytest.raises(ConfigError, match=facts(*named)),
        connect(ClusterSpec(kind=kind, options=options)),
    ):
        pass
