"""Commands of Dask, and a batch system that is none."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest


@pytest.fixture(scope="session")
def running():
    """Return what runs a command of Dask until its block ends."""
    return _running


@contextmanager
def _running(*command, cwd):
    """Run a command of Dask until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *command],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def batch_system(tmp_path, monkeypatch):
    """Stand in for SLURM: a job is a process of this machine."""
    commands = {
        "sbatch": 'setsid sh "$1" > job.log 2>&1 &\necho "Submitted batch job $!"\nsleep 0.3',
        "scancel": 'kill -- "-$1"',
    }

    def put(name, text):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)

    for name, text in commands.items():
        put(name, text)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    return put
