"""The deployments of the nightly job: each is checked by the tools of its scheduler, or by hand."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

from biastf_xr.config import Config
from biastf_xr.errors import ExitCode

FOLDER = Path(__file__).parents[2] / "pipelines" / "regional_daily"
CODES = {int(code) for code in ExitCode}


def needs(tool):
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"needs {tool} on the path")


def test_every_deployment_is_told_of_and_has_a_readme():
    folders = {p.name for p in FOLDER.iterdir() if p.is_dir() and not p.name.startswith("__")}
    assert folders == {"cron", "systemd", "kubernetes", "slurm", "prefect"}
    told = (FOLDER / "README.md").read_text()
    for name in folders:
        assert f"`{name}/`" in told
        assert (FOLDER / name / "README.md").is_file()


# --- cron -----------------------------------------------------------------------------------------


def cron_lines():
    lines = (FOLDER / "cron" / "crontab").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    settings = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]+=", line))
    jobs = [line for line in lines if not re.match(r"[A-Z]+=", line)]
    return settings, jobs


def run_cron_line(tmp_path, script):
    """Run the command of the crontab as cron does, with a stand-in for the job."""
    _, (job,) = cron_lines()
    command = job.split(None, 5)[5]
    assert "%" not in command  # cron would end the line there
    tool = tmp_path / "bin" / "biastf-xr"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    setting = {"REGION": str(tmp_path), "BIN": str(tool.parent), "PATH": os.environ["PATH"]}
    return subprocess.Popen(
        ["/bin/sh", "-c", command], env=setting, stdout=subprocess.PIPE, text=True
    )


@needs("flock")
def test_the_crontab_runs_one_job_at_a_time_and_mails_only_failures(tmp_path):
    settings, (job,) = cron_lines()
    assert set(settings) == {"SHELL", "MAILTO", "REGION", "BIN"}
    assert job.split()[:5] == ["30", "3", "*", "*", "*"]
    said, _ = run_cron_line(tmp_path, 'echo "$@"; exit 0').communicate(timeout=30)
    assert said == ""
    assert (tmp_path / "nightly.log").read_text() == "update config.toml\n"
    said, _ = run_cron_line(tmp_path, "exit 3").communicate(timeout=30)
    assert "exit code 3" in said
    first = run_cron_line(tmp_path, "touch begun; sleep 5")
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    said, _ = run_cron_line(tmp_path, "touch twice").communicate(timeout=30)
    assert "exit code 4" in said
    assert not (tmp_path / "twice").exists()
    first.kill()
    first.communicate()


@needs("logrotate")
def test_the_log_rotation_is_read(tmp_path):
    shutil.copy(FOLDER / "cron" / "logrotate.conf", tmp_path)
    command = ["logrotate", "--debug", "--state", tmp_path / "state", tmp_path / "logrotate.conf"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "error" not in done.stderr


# --- systemd --------------------------------------------------------------------------------------


def units_of(name):
    text = (FOLDER / "systemd" / name).read_text()
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_units_know_the_exit_codes():
    service = units_of("biastf-xr@.service")
    assert {*map(int, service["SuccessExitStatus"].split())} == {
        ExitCode.CHECK_FAILED, ExitCode.BUSY,
    }  # fmt: skip
    assert {*map(int, service["RestartPreventExitStatus"].split())} == {
        ExitCode.NEEDS_A_PERSON, ExitCode.INTERRUPTED,
    }  # fmt: skip
    assert service["ExecStart"].endswith("biastf-xr update config.toml")
    assert service["WorkingDirectory"] == service["ReadWritePaths"] == "/srv/%i"
    assert units_of("biastf-xr@.timer")["Persistent"] == "true"


@needs("systemd-analyze")
def test_systemd_finds_nothing_wrong(tmp_path):
    for kind in ("service", "timer"):
        text = (FOLDER / "systemd" / f"biastf-xr@.{kind}").read_text()
        (tmp_path / f"biastf-xr@region.{kind}").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "biastf-xr" in line]
    assert (done.returncode, said) == (0, [])


# --- Kubernetes -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def objects():
    text = (FOLDER / "kubernetes" / "region.yaml").read_text()
    return {item["kind"]: item for item in yaml.safe_load_all(text)}


def test_objects_hang_together(objects):
    assert set(objects) == {
        "ServiceAccount", "Role", "RoleBinding", "PersistentVolumeClaim", "ConfigMap", "CronJob",
    }  # fmt: skip
    versions = {kind: item["apiVersion"] for kind, item in objects.items()}
    assert versions["CronJob"] == "batch/v1"
    assert versions["Role"] == versions["RoleBinding"] == "rbac.authorization.k8s.io/v1"
    assert {item["metadata"]["namespace"] for item in objects.values()} == {"fusion"}
    labels = [item["metadata"]["labels"] for item in objects.values()]
    assert all(one == labels[0] for one in labels)
    binding = objects["RoleBinding"]
    assert binding["roleRef"]["name"] == objects["Role"]["metadata"]["name"]
    (subject,) = binding["subjects"]
    account = objects["ServiceAccount"]["metadata"]["name"]
    assert (subject["kind"], subject["name"]) == ("ServiceAccount", account)
    pod = objects["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account
    (container,) = pod["containers"]
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert set(mounts) == set(volumes)
    claim = objects["PersistentVolumeClaim"]["metadata"]["name"]
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == claim
    assert volumes["config"]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    (file,) = objects["ConfigMap"]["data"]
    assert container["args"] == ["update", f"{mounts['config']}/{file}"]
    assert container["resources"]["limits"]["memory"]
    assert pod["securityContext"]["runAsNonRoot"]


def test_exit_codes_and_restarts_of_the_cronjob(objects):
    spec = objects["CronJob"]["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy wants it
    evicted, ended = job["podFailurePolicy"]["rules"]
    assert evicted["action"] == "Ignore"
    assert ended["action"] == "FailJob"
    codes = ended["onExitCodes"]
    assert codes["containerName"] == pod["containers"][0]["name"]
    again = {ExitCode.DONE, ExitCode.TRY_AGAIN, ExitCode.INTERRUPTED}
    assert set(codes["values"]) == CODES - {int(code) for code in again}
    assert job["backoffLimit"] >= 1


def test_the_driver_may_make_the_cluster_of_its_configuration(objects):
    config = Config.model_validate(tomllib.loads(objects["ConfigMap"]["data"]["config.toml"]))
    spec = config.cluster.spec()
    assert spec.kind == "kubernetes"
    assert spec.options["namespace"] == "fusion"
    claim = objects["PersistentVolumeClaim"]
    assert spec.options["claims"] == {"/data": claim["metadata"]["name"]}
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    pod = objects["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert spec.options["image"] == pod["containers"][0]["image"]
    allowed = {
        (resource, verb)
        for rule in objects["Role"]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    for verb in ("get", "list", "watch", "create", "patch", "delete"):
        assert ("daskclusters", verb) in allowed
    assert {("pods", "list"), ("services", "get")} <= allowed
    assert ("pods", "create") not in allowed  # the operator makes them
    for path in (config.fine.cube, config.coarse.cube, config.fuse.output):
        assert path.startswith("/data/")


# --- SLURM ----------------------------------------------------------------------------------------


@pytest.fixture
def slurm(tmp_path):
    """Lay out the scripts with stand-ins for SLURM and for the job."""
    folder = tmp_path / "slurm"
    shutil.copytree(FOLDER / "slurm", folder)
    tools = tmp_path / "bin"
    tools.mkdir()

    def tool(name, script):
        (tools / name).write_text(f"#!/bin/bash\n{script}\n")
        (tools / name).chmod(0o755)

    tool("sbatch", f'printf "%s\\n" "$@" > {tmp_path}/sbatch.txt')
    tool("scontrol", f'printf "%s " "$@" >> {tmp_path}/scontrol.txt')
    tool("biastf-xr", f'echo "$@" >> {tmp_path}/ran.txt; exit ${{CODE:-0}}')
    path = {"PATH": f"{tools}:{os.environ['PATH']}"}
    return folder, path, tool


def task(folder, path, number, **setting):
    setting |= {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_JOB_ID": "7"}
    return subprocess.Popen(
        ["bash", str(folder / "nightly.sbatch"), str(folder / "regions.txt")], env=path | setting
    )


@pytest.mark.parametrize("name", ["nightly.sbatch", "submit.sh"])
def test_scripts_are_bash(name):
    subprocess.run(["bash", "-n", str(FOLDER / "slurm" / name)], check=True)
    if shutil.which("shellcheck"):
        command = ["shellcheck", "-s", "bash", str(FOLDER / "slurm" / name)]
        subprocess.run(command, check=True)


def test_an_array_has_a_task_for_every_region(slurm, tmp_path):
    folder, path, _ = slurm
    subprocess.run([str(folder / "submit.sh")], env=path, check=True)
    said = (tmp_path / "sbatch.txt").read_text().splitlines()
    assert said == [
        "--array=0-1%4", str(folder / "nightly.sbatch"), str(folder / "regions.txt"),
    ]  # fmt: skip
    for number in (0, 1):
        assert task(folder, path, number).wait(timeout=30) == 0
    ran = (tmp_path / "ran.txt").read_text().splitlines()
    assert ran == [
        "update /data/regions/murrumbidgee/config.toml",
        "update /data/regions/coleambally/config.toml",
    ]
    (folder / "regions.txt").write_text("# none\n")
    done = subprocess.run([str(folder / "submit.sh")], env=path, capture_output=True, check=False)
    assert done.returncode == 2


@pytest.mark.parametrize(("code", "again"), [(0, False), (1, False), (2, False), (3, True)])
def test_a_task_hands_its_code_on_and_requeues_what_goes_on(slurm, tmp_path, code, again):
    folder, path, _ = slurm
    assert task(folder, path, 1, CODE=str(code)).wait(timeout=30) == code
    asked = tmp_path / "scontrol.txt"
    assert asked.exists() == again
    if again:
        assert asked.read_text() == "requeue 7_1 "
        assert task(folder, path, 1, CODE="3", SLURM_RESTART_COUNT="2").wait(timeout=30) == 3
        assert asked.read_text() == "requeue 7_1 "


def test_a_task_passes_the_time_limit_on(slurm, tmp_path):
    folder, path, tool = slurm
    tool("biastf-xr", f"trap 'exit 130' TERM; touch {tmp_path}/begun; while :; do sleep 0.1; done")
    run = task(folder, path, 0)
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=30) == 130
    assert (tmp_path / "scontrol.txt").read_text() == "requeue 7_0 "


# --- Prefect --------------------------------------------------------------------------------------


def test_the_flow():
    """Run the flow in a process of its own, where the warnings and settings of Prefect stay.

    On a real server where the extra `prefect` is installed, else with a stand-in.
    """
    script = Path(__file__).with_name("prefect_flow.py")
    done = subprocess.run(
        [sys.executable, str(script), str(FOLDER)],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "the flow does what its README says"
