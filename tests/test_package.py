"""The package as imported and as installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import biastf_xr

HEAVY = ("torch", "distributed", "dask", "rasterio", "rioxarray", "zarr", "matplotlib")
COMMAND = Path(sys.executable).with_name("biastf-xr")


def loaded_by(statement: str) -> list[str]:
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout))
    return [name for name in HEAVY if name in modules]


def test_import_loads_nothing_heavier_than_xarray():
    assert loaded_by("import biastf_xr") == []


def test_command_line_loads_nothing_heavy_before_a_command_runs():
    assert loaded_by("import biastf_xr.cli._app") == []


def test_help_names_every_command():
    done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "ingest", "train", "fuse", "evaluate", "info"):
        assert command in done.stdout
    assert done.stderr == ""


def test_public_names_are_sorted_and_all_there():
    assert biastf_xr.__all__ == sorted(biastf_xr.__all__)
    assert dir(biastf_xr) == biastf_xr.__all__
    for name in biastf_xr.__all__:
        assert getattr(biastf_xr, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="fuze"):
        _ = biastf_xr.fuze


def test_version_is_that_of_the_installed_distribution():
    from importlib.metadata import version

    assert biastf_xr.__version__ == version("biastf-xr")


def test_every_error_is_a_biastf_error_and_a_builtin():
    from biastf_xr import errors

    leaves = [
        e
        for e in vars(errors).values()
        if isinstance(e, type) and issubclass(e, Exception) and e is not errors.BiastfError
    ]
    assert len(leaves) > 5
    for leaf in leaves:
        assert issubclass(leaf, errors.BiastfError)
        builtin = [b for b in leaf.__mro__ if b.__module__ == "builtins"]
        assert builtin[0] not in {Exception, BaseException}, leaf
