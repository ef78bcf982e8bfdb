"""The example configurations of clusters: each is read, and what it would start is checked."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
from pathlib import Path

import pytest
import yaml

from biastf_xr.cluster import keywords, render
from biastf_xr.config import read_config

FOLDER = Path(__file__).parents[2] / "pipelines" / "clusters"
KINDS = {
    "local_gpu": "cuda",
    "slurm": "slurm",
    "pbs": "pbs",
    "kubernetes": "kubernetes",
    "gateway": "gateway",
    "address": "address",
}


def spec_of(name):
    return read_config(FOLDER / f"{name}.toml").cluster.spec()


def lines_of(name):
    return render(spec_of(name)).splitlines()


def test_every_file_is_known_and_told_of():
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(KINDS)
    told = (FOLDER / "README.md").read_text()
    for name in KINDS:
        assert f"`{name}.toml`" in told


@pytest.mark.parametrize("name", KINDS)
def test_every_file_is_read(name):
    config = read_config(FOLDER / f"{name}.toml")
    assert config.cluster.spec().kind == KINDS[name]
    assert (config.method.device == "cuda") == config.cluster.spec().gpu
    for path in (config.fine.cube, config.coarse.cube, config.fuse.output):
        assert path.startswith("/data/region/cubes/")
    assert render(config.cluster.spec())


def test_slurm_script():
    lines = lines_of("slurm")
    for line in (
        "#SBATCH -p gpu",
        "#SBATCH -A my-project",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=64G",
        "#SBATCH -t 04:00:00",
        "export OMP_NUM_THREADS=8",
        "module load cuda",
    ):
        assert lines.count(line) == 1, line
    assert [line for line in lines if "gpu:1" in line] == ["#SBATCH --gres=gpu:1"]
    script = render(spec_of("slurm"))
    assert "--nthreads 3 --memory-limit 64.00GiB" in script
    assert "--resources GPU=1 --dashboard-address 127.0.0.1:0 --interface ib0" in script
    assert "--tls-ca-file CA --tls-cert CERT --tls-key KEY" in script


def test_pbs_script():
    lines = lines_of("pbs")
    for line in (
        "#PBS -q normal",
        "#PBS -A my-project",
        "#PBS -l select=1:ncpus=16:mem=32768MB",
        "#PBS -l walltime=08:00:00",
        "#PBS -j oe",
        "export OMP_NUM_THREADS=4",
    ):
        assert lines.count(line) == 1, line
    script = render(spec_of("pbs"))
    assert "--nthreads 2 --memory-limit 8.00GiB --nworkers 4" in script
    assert "--resources" not in script
    assert "--local-directory $TMPDIR" in script


@pytest.mark.parametrize("name", ["slurm", "pbs"])
def test_the_script_is_the_one_that_is_submitted(name):
    import dask_jobqueue

    cls = {"slurm": dask_jobqueue.SLURMCluster, "pbs": dask_jobqueue.PBSCluster}[name]
    with cls(**keywords(spec_of(name)) | {"interface": "lo"}) as cluster:
        script = cluster.job_script()
    expected = lines_of(name)
    found = re.sub(r"(--tls-\S+) \S+/\.dask-jobqueue\.\S+", r"\1 FILE", script).splitlines()
    assert found[: len(expected) - 2] == expected[: len(expected) - 2]
    told = next(line for line in expected if "dask_worker" in line).replace("ib0", "lo")
    sent = next(line for line in found if "dask_worker" in line)
    told = re.sub(r"(--tls-\S+) \S+", r"\1 FILE", told.replace(" --interface lo", ""))
    assert told[told.index("--nthreads") :] in sent.replace(" --interface lo", "")


def test_gpu_is_asked_for_where_no_directive_names_it():
    spec = spec_of("slurm")
    options = {k: v for k, v in spec.options.items() if k != "job_extra_directives"}
    bare = dataclasses.replace(spec, options=options)
    assert keywords(bare)["job_extra_directives"] == ["--gres=gpu:1"]
    pbs = dataclasses.replace(spec, kind="pbs", options={"cores": 4})
    assert keywords(pbs)["resource_spec"] == "select=1:ncpus=4:mem=65536MB:ngpus=1"


def test_kubernetes_manifest_is_the_committed_one():
    assert render(spec_of("kubernetes")) == (FOLDER / "kubernetes.yaml").read_text()


def test_kubernetes_manifest():
    resource = yaml.safe_load(render(spec_of("kubernetes")))
    assert resource["kind"] == "DaskCluster"
    worker, scheduler = (resource["spec"][part]["spec"] for part in ("worker", "scheduler"))
    assert resource["spec"]["worker"]["replicas"] == 4
    (container,) = worker["containers"]
    command = " ".join(container["args"])
    assert command.startswith("dask worker --name $(DASK_WORKER_NAME)")
    assert "--nthreads 3 --memory-limit 32GiB" in command
    assert command.endswith("--resources GPU=1")
    assert container["resources"]["limits"] == {
        "cpu": "8",
        "memory": "32768Mi",
        "nvidia.com/gpu": "1",
    }
    (mount,), (volume,) = container["volumeMounts"], worker["volumes"]
    assert mount == {"name": volume["name"], "mountPath": "/data"}
    assert volume["persistentVolumeClaim"] == {"claimName": "region-data"}
    assert scheduler["containers"][0]["args"][:2] == ["dask", "scheduler"]
    assert "resources" not in scheduler["containers"][0]
    found = keywords(spec_of("kubernetes"))
    assert found["custom_cluster_spec"] == resource
    assert found["namespace"] == "fusion"


def closed(schema):
    """Let a schema refuse the keys that a Kubernetes server would drop in silence."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema["properties"], dict) and "type" in schema:
        found.setdefault("additionalProperties", False)
    return found


def test_kubernetes_manifest_fits_the_definition_of_the_operator():
    pytest.importorskip("dask_kubernetes", reason="the extra k8s is not installed")
    jsonschema = pytest.importorskip("jsonschema")
    files = importlib.metadata.files("dask-kubernetes")
    file = next(f for f in files if f.match("crds/daskcluster.yaml"))
    version = yaml.safe_load(file.read_text())["spec"]["versions"][0]
    schema = closed(version["schema"]["openAPIV3Schema"])
    schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
    manifest = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text())
    jsonschema.validate(manifest, schema)
    manifest["spec"]["worker"]["spec"]["containers"][0]["comand"] = []
    with pytest.raises(jsonschema.ValidationError, match="comand"):
        jsonschema.validate(manifest, schema)


def test_keywords_are_those_of_the_classes():
    from biastf_xr.cluster._keywords import keywords_of, load_class

    pytest.importorskip("dask_kubernetes", reason="the extra k8s is not installed")
    pytest.importorskip("dask_gateway", reason="the extra gateway is not installed")
    for name in ("kubernetes", "gateway"):
        spec = spec_of(name)
        assert set(keywords(spec)) <= keywords_of(load_class(spec))


def test_gateway_keywords():
    spec = spec_of("gateway")
    assert keywords(spec) == {
        "address": "https://gateway.example.org",
        "auth": "jupyterhub",
        "cluster_options": {
            "image": "registry.example.org/biastf-xr:0.1.0",
            "worker_cores": 4,
            "worker_memory": 16,
        },
    }
    assert ".scale(10)" in render(spec)


def test_cuda_keywords():
    assert keywords(spec_of("local_gpu")) == {
        "n_workers": None,
        "threads_per_worker": 3,
        "dashboard_address": "127.0.0.1:0",
        "security": True,
        "memory_limit": "48GiB",
        "resources": {"GPU": 1},
    }


def test_commands_beside_an_address():
    text = (FOLDER / "address.toml").read_text()
    assert "dask scheduler --port 8786 --dashboard-address 127.0.0.1:" in text
    scheduler, worker = lines_of("address")
    assert scheduler == "dask scheduler --dashboard-address 127.0.0.1:0"
    assert "--nthreads 2" in worker
    assert worker.startswith("dask worker tls://10.0.0.5:8786")
    assert worker.endswith("--resources GPU=1 --dashboard-address 127.0.0.1:0")
    assert "dask worker tls://10.0.0.5:8786 --nthreads 2" in text
