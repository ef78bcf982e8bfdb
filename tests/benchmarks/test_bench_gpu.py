"""The proof for a GPU runs on a processor, with no package that such a machine may lack."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"

# Packages that a machine for training may lack.
ABSENT = (
    "dask", "distributed", "zarr", "odc", "pyproj", "shapely", "rasterio", "rioxarray", "affine",
    "typer", "rich", "numba", "sklearn", "matplotlib", "fsspec", "yaml", "psutil",
)  # fmt: skip


RUN = """
import sys


class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        absent = name.split(".")[0] in %r
        return None if absent else self.finder.find_spec(name, path, target)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import bench_gpu

sys.exit(bench_gpu.main(["--toy", "--json", sys.argv[1]]))
"""


def test_all_of_it_runs_at_toy_size(tmp_path):
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(FOLDER), str(FOLDER.parent)])}
    done = subprocess.run(
        [sys.executable, "-c", RUN % (ABSENT,), str(tmp_path / "gpu.json")],
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    parts = {row["part"] for row in found["checks"]}
    assert parts == {"network", "training", "reflectance", "memory"}
    assert all(row["ok"] for row in found["checks"])
    assert len(found["speeds"]) == 33
    assert all(row["card"] > 0 for row in found["speeds"])
    for row in (*found["checks"], *found["speeds"]):
        assert f"| {row['what']} |" in done.stdout or f": {row['what']} |" in done.stdout


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.5, "kept"), (2, "NOT KEPT"), (math.nan, "NOT KEPT")]
)
def test_a_bound_that_is_not_kept_shows(monkeypatch, value, verdict):
    monkeypatch.syspath_prepend(FOLDER)
    import bench_gpu

    found = bench_gpu.Findings()
    found.below("network", "biastf", value, 1)
    assert found.table().splitlines()[2].endswith(f"| {verdict} |")
