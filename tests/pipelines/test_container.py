"""The container file: read as the builder reads it, without building."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from checks import some
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def steps():
    """Read the instructions, continued lines joined."""
    text = (ROOT / "pipelines" / "container" / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = (re.sub(r"\s+", " ", line).strip() for line in text.splitlines())
    return [tuple(line.split(" ", 1)) for line in lines if line]


def ignored(path):
    """Return whether .dockerignore leaves a top-level path out; the last match counts."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and fnmatch.fnmatch(path, pattern):
            out = not line.startswith("!")
    return out


def test_what_is_copied_is_there_and_reaches_the_builder(steps):
    copied = [
        source
        for word, rest in steps
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert set(copied) == {
        "constraints.txt", "pyproject.toml", "README.md", "LICENSE", "biastf_xr", "pipelines",
    }  # fmt: skip
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not ignored(source), source
    for left in (".git", "tests", "docs", "demo_output", ".venv"):
        assert ignored(left)


def test_the_build_has_what_the_package_is_built_from():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [project["readme"], *project["license-files"]]
    assert not [name for name in needed if ignored(name)]


def test_every_install_is_pinned(steps, tmp_path):
    runs = [rest for word, rest in steps if word == "RUN"]
    installs = [part for run in runs for part in run.split("&&") if "pip install" in part]
    assert len(installs) == 2
    assert all("versions.txt" in install for install in installs)
    (cut,) = [run for run in runs if run.startswith("sed")]
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    subprocess.run(cut, shell=True, check=True, cwd=tmp_path)
    assert any("pip check" in run for run in runs)
    pins = [Requirement(line) for line in (tmp_path / "versions.txt").read_text().splitlines()]
    assert all(str(pin.specifier).startswith("==") for pin in pins)
    assert "torch" in [pin.name for pin in pins]


def test_torch_comes_from_where_the_builder_says(steps):
    arguments = dict(rest.split("=", 1) for word, rest in steps if word == "ARG")
    assert arguments["TORCH_INDEX"].endswith("/cpu")
    (install,) = [rest for word, rest in steps if word == "RUN" and "^torch==" in rest]
    assert '--index-url "${TORCH_INDEX}"' in install
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(arguments["EXTRAS"].split(",")) <= set(project["optional-dependencies"])
    assert arguments["PYTHON"] in project["requires-python"]


def test_it_runs_as_nobody_in_particular(steps):
    last = dict(steps)
    assert last["USER"] == "10001"
    assert "useradd --uid 10001" in " ".join(rest for word, rest in steps if word == "RUN")
    assert last["ENTRYPOINT"] == '["/opt/pipelines/container/entrypoint.sh"]'
    assert last["HEALTHCHECK"] == "NONE"
    words = [word for word, _ in steps]
    assert words.index("USER") < words.index("ENTRYPOINT")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash on the path")
def test_shell_of_every_run_is_read(steps):
    for run in some([rest for word, rest in steps if word == "RUN"]):
        subprocess.run(["bash", "-n", "-c", run], check=True)


@pytest.mark.parametrize(
    ("given", "run"),
    [
        (["update", "config.toml"], "biastf-xr update config.toml"),
        (["--help"], "biastf-xr --help"),
        (["dask", "worker", "--name", "a"], "dask worker --name a"),
        (["python", "-V"], "python -V"),
    ],
)
def test_the_entry_takes_jobs_and_workers(tmp_path, given, run):
    for name in ("biastf-xr", "dask", "python"):
        (tmp_path / name).write_text('#!/bin/sh\necho "$(basename "$0") $*"\n')
        (tmp_path / name).chmod(0o755)
    script = ROOT / "pipelines" / "container" / "entrypoint.sh"
    assert os.access(script, os.X_OK)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [str(script), *given], env=path, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == run
