"""The demo as a newcomer runs it, on the smallest region."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

COMMAND = Path(sys.executable).with_name("biastf-xr")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "out"
    arguments = [
        "demo",
        "--output",
        folder,
        "--size",
        "96",
        "--days",
        "64",
        "--set",
        "cluster.workers=1",
    ]
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done


def test_demo_leaves_scenes_cubes_model_scores_and_pictures(demo):
    folder, done = demo
    for name in ("scenes/landsat", "scenes/modis", "cubes", "demo.toml", "model.safetensors"):
        assert (folder / name).exists(), name
    assert (folder / "demo.png").stat().st_size > 10_000
    rows = (folder / "scores.csv").read_text().splitlines()
    for name in ("biastf", "direct", "linear"):
        assert any(name in row for row in rows), name
    assert "Traceback" not in done.stderr
    assert not [p for p in (folder / "cubes").iterdir() if p.name.startswith(".")]


def test_cubes_of_the_demo_open_with_plain_xarray(demo):
    folder, _ = demo
    sizes = {"fine": 49, "coarse": 64, "fused": 64}
    for name, days in sizes.items():
        ds = xr.open_zarr(folder / "cubes" / f"{name}.zarr")
        assert ds.sizes["time"] == days
        assert ds["nir"].dtype == np.float32
        assert "spatial_ref" in ds.coords
    fused = xr.open_zarr(folder / "cubes" / "fused.zarr").load()
    assert (fused["status_flag"] != 0).all()
    assert float(np.isfinite(fused["nir"]).mean()) > 0.9


def test_printed_snippet_works(demo):
    _, done = demo
    snippet = done.stdout[done.stdout.index("import xarray as xr") :]
    ran = subprocess.run(
        [sys.executable, "-c", snippet], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "<xarray.DataArray 'nir'" in ran.stdout


def test_configuration_of_the_demo_drives_the_other_commands(demo):
    from biastf_xr.config import read_config

    folder, _ = demo
    config = read_config(folder / "demo.toml")
    assert config.fuse.output == str((folder / "cubes" / "fused.zarr").resolve())
    assert 1 <= len(config.fuse.withhold) <= 2
    assert config.cluster.workers == 1
