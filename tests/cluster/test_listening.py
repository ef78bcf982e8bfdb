"""What listens during a run: on loopback alone, and only to who has the certificate of the run."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import yaml
from checks import facts, some

from biastf_xr.cluster import connect, dashboard
from biastf_xr.errors import ConfigError
from biastf_xr.region import _about

GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "cluster.md"

CONFIG = """
[fine]
product = "landsat-c2-l2"
folder = "{landsat}"
cube = "{fine}"
[coarse]
product = "mod09ga"
folder = "{modis}"
cube = "{coarse}"
[method]
name = "linear"
[fuse]
output = "fused.zarr"
start = 2021-04-15
end = 2021-04-16
[cluster]
workers = 2
"""

SEARCHED = "__import__('sys').path"

# Keeps the units of a run from starting until a file is there.
HOLD = """
import pathlib, time
def wait():
    pathlib.Path("held").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
def dask_setup(worker):
    for _ in range(worker.state.nthreads):
        worker.executor.submit(wait)
"""


def processes(*pids):
    """Return processes with their children, by default this one."""
    first = [psutil.Process(pid) for pid in pids or (None,)]
    return [process for one in first for process in (one, *one.children(recursive=True))]


def listening(*pids):
    """Return the hosts and ports on which processes and their children listen."""
    found = set()
    for process in processes(*pids):
        with suppress(psutil.NoSuchProcess):
            for at in process.net_connections("all"):
                if at.family == socket.AF_UNIX:
                    assert not at.laddr, at
                elif at.status == psutil.CONN_LISTEN or at.type == socket.SOCK_DGRAM:
                    found.add(tuple(at.laddr))
    return found


def fallen(ports, folder):
    """Have each port run code that leaves a file, as someone without the certificate; return which.

    Somebody else speaks plainly, with a certificate of his own, or without one.
    """
    from distributed import Security, rpc

    anonymous = ssl.create_default_context()
    anonymous.check_hostname, anonymous.verify_mode = False, ssl.CERT_NONE
    ways = {
        "tcp": {},
        "tls": Security.temporary().get_connection_args("client"),
        "tls without": {"ssl_context": anonymous},
    }

    async def strike(port, way, handler):
        mark = folder / f"{port} {way} {handler}"
        address = f"{way[:3]}://127.0.0.1:{port}"
        async with rpc(address, connection_args=ways[way], timeout=1) as server:
            ask = {"function": pickle.dumps(mark.touch), "reply": True}
            await asyncio.wait_for(getattr(server, handler)(**ask), 3)

    async def strike_all():
        tries = [strike(*each) for each in some(cases)]
        await asyncio.gather(*tries, return_exceptions=True)

    # A scheduler, and a worker or its nanny.
    handlers = ("run_function", "run")
    cases = [(port, way, handler) for port in ports for way in ways for handler in handlers]
    asyncio.run(strike_all())
    return {int(path.name.partition(" ")[0]) for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "canaries"
    path.mkdir()
    return path


def check(found, folder):
    """Check what is listened on."""
    assert len(found) > 3  # scheduler and worker, each with a web page
    assert {host for host, _ in found} == {"127.0.0.1"}
    assert fallen({port for _, port in found}, folder) == set()


def test_without_certificates_code_of_anybody_is_run(folder):
    before = listening()
    with connect(workers=1, options={"security": False}) as client:
        assert client.scheduler.address.startswith("tcp:")
        ports = {port for _, port in listening() - before}
        assert len(fallen(ports, folder)) == 3, "scheduler, worker, nanny"
        assert re.search(facts("no TLS", client.scheduler.address), _about(client))


def test_nobody_else_runs_code_in_a_cluster_of_python(folder):
    from distributed import Client, Security

    before = listening()
    with connect(workers=1) as client:
        check(listening() - before, folder)
        assert client.submit(sum, [1, 2]).result(timeout=30) == 3
        own = dashboard(client)
        assert own is None or own.startswith("http://127.0.0.1:")
        for address, security, said in (
            (client.scheduler.address, Security.temporary(), "certificate"),
            (client.scheduler.address.replace("tls:", "tcp:"), None, r"reset|[Tt]imed out"),
        ):
            with pytest.raises(OSError, match=said):
                Client(address, security=security, timeout=1, set_as_default=False)
        shown = [" ".join(process.cmdline()) for process in processes()]
        assert not any("PRIVATE KEY" in words for words in shown)
        assert client.security.tls_client_key.splitlines()[1]  # in memory


def test_nobody_else_runs_code_in_a_run_of_the_command_line(
    tmp_path, folder, small_scenes, small_cubes
):
    paths = small_scenes._asdict() | small_cubes._asdict()
    (tmp_path / "hold.py").write_text(HOLD)
    (tmp_path / "config.toml").write_text(CONFIG.format(**paths))
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-m", "biastf_xr", "fuse", "config.toml"],
        cwd=tmp_path,
        env=os.environ | {"DASK_DISTRIBUTED__WORKER__PRELOAD": "hold", "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "held").exists():
                assert run.poll() is None, run.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            check(listening(run.pid), folder)
        finally:
            (tmp_path / "go").touch()
        said, _ = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert (tmp_path / "fused.zarr").is_dir()
    assert "no TLS" not in said


def test_jobs_of_a_batch_system_listen_to_nobody_else(batch_system, folder):
    """The jobs are processes of this machine, though no children of this one."""
    before = listening()
    options = {"timeout": 60, "interface": "lo"}
    with connect(kind="slurm", workers=1, memory="1GiB", options=options) as client:
        here = f"{client.scheduler.address}"
        jobs = [p for p in psutil.process_iter(["cmdline"]) if here in (p.info["cmdline"] or ())]
        files = [Path(w) for w in some(jobs)[0].cmdline() if ".dask-jobqueue." in w]
        assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3
        check(listening(None, *(p.pid for p in jobs)) - before, folder)
        searched = client.submit(eval, SEARCHED).result(timeout=30)
        (own,) = {at.partition("/dask-scratch-space")[0] for at in searched if "dask-s" in at}
        assert Path(own).stat().st_mode & 0o077 == 0
    del client
    gc.collect()  # the cluster, whose files they are
    assert not any(file.exists() for file in files)


def test_threads_as_workers_listen_to_nobody_else(folder):
    before = listening()
    options = {"n_workers": 1, "processes": False}
    with connect(kind="distributed.LocalCluster", options=options) as client:
        assert client.submit(os.getpid).result(timeout=30) == os.getpid()
        check(listening() - before, folder)


def test_a_scheduler_is_reached_by_the_certificate_that_the_guide_makes(
    tmp_path, folder, running, monkeypatch
):
    import dask

    if shutil.which("openssl") is None:
        pytest.skip("no openssl, with which the guide makes a certificate")
    guide = GUIDE.read_text()
    (command,) = re.findall(r"^openssl .*$", guide, re.MULTILINE)
    (settings,) = re.findall(r"^```yaml\n(.*?)```", guide, re.MULTILINE | re.DOTALL)
    settings = settings.replace("/home/me", str(tmp_path))
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "tls.yaml").write_text(settings)
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path))
    local = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
    (port,) = free_ports(1)
    address = f"tls://127.0.0.1:{port}"
    with (
        running("scheduler", *local, "--port", port, cwd=tmp_path) as scheduler,
        running("worker", address, *local, "--nthreads", "1", cwd=tmp_path) as worker,
        dask.config.set(dask.config.merge(dask.config.config, yaml.safe_load(settings))),
        connect(address, options={"timeout": 60}) as client,
    ):
        assert client.submit(sum, [1, 2]).result(timeout=30) == 3
        assert "no TLS" not in _about(client)
        check(listening(scheduler.pid, worker.pid), folder)
    missing = facts(address, "distributed.comm.tls.ca-file", "docs/howto/cluster.md")
    with pytest.raises(ConfigError, match=missing), connect(address):
        pass


def free_ports(count):
    """Return ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [str(one.getsockname()[1]) for one in sockets]


@pytest.mark.parametrize("planted", ["dask-scratch-space", f"biastf-xr-{os.getuid()}"])
def test_no_module_comes_from_a_folder_that_others_can_write_to(tmp_path, monkeypatch, planted):
    """Dask puts its folder for spills on ``sys.path``, and takes one that is there for its own."""
    theirs = tmp_path / planted
    theirs.mkdir()
    theirs.chmod(0o777)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with connect(workers=1) as client:
        for places in (sys.path, client.submit(eval, SEARCHED).result(timeout=30)):
            for place in some([Path(p) for p in places if p.startswith(str(tmp_path))]):
                own = tmp_path / place.relative_to(tmp_path).parts[0]
                assert own != theirs
                assert own.stat().st_mode & 0o077 == 0
    assert not any(theirs.iterdir())
