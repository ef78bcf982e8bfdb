"""Other programs and surroundings: settings of NumPy's, threads, notebooks, locales, paths."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import dask
import numpy as np
import pytest
import xarray as xr
from checks import facts, some

import biastf_xr
from biastf_xr.cube import ingest, open_cube
from biastf_xr.errors import ExitCode
from biastf_xr.sources import build_product
from biastf_xr.testing import SyntheticRegion


class Here(Executor):
    """Runs each task where it is submitted, under the caller's settings."""

    def submit(self, fn, /, *args, **kwargs):
        done = Future()
        done.set_result(fn(*args, **kwargs))
        return done


@pytest.fixture(autouse=True)
def strict():
    """Raise on everything, and run every task in this thread, which settings are of."""
    with np.errstate(all="raise"), dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.parametrize("name", ["linear", "biastf-plus", "starfm", "fsdaf", "fitfc"])
def test_methods_work(small_cubes, name):
    fine, coarse = open_cube(small_cubes.fine), open_cube(small_cubes.coarse)
    method = biastf_xr.fit(fine, coarse) if name == "biastf-plus" else name
    found = biastf_xr.fuse(fine, coarse, method, tile=48).isel(time=slice(10, 14)).load()
    assert np.isfinite(found["nir"].values).mean() > 0.5


def test_ingest_works(small_scenes, tmp_path):
    for product, folder, kind in (
        ("landsat-c2-l2", small_scenes.landsat, "fine"),
        ("mod09ga", small_scenes.modis, "coarse"),
    ):
        path = tmp_path / f"{kind}.zarr"
        report = ingest(build_product(product), folder, path, kind=kind, executor=Here())
        assert report.added
        assert not report.rejected


def test_evaluate_works(small_cubes):
    fine, coarse = open_cube(small_cubes.fine), open_cube(small_cubes.coarse)
    scores = biastf_xr.evaluate(fine, coarse, ["linear"], dates=["2021-04-17"])
    assert len(scores.table)
    assert np.isfinite(scores.table["value"]).all()


def test_a_season_without_change_is_fused(make_pair):
    """Changes of next to nothing, whose squares are zero."""
    fine, coarse = make_pair(shape=(64, 72), fine_days=(0, 10, 20, 30), coarse_days=range(31))
    for ds in (fine, coarse):
        for band in ("red", "nir"):
            ds[band][:] = ds[band][0].values
    image = biastf_xr.fuse(fine, coarse, biastf_xr.fit(fine, coarse), dates=["2021-04-06"]).load()
    np.testing.assert_allclose(image["nir"][0], fine["nir"][0], atol=2e-6)


def test_the_generated_region_is_drawn():
    region = SyntheticRegion(shape=(144, 128), seed=3)
    scenes = [region.coarse_scene(day) for day in region.coarse_dates]
    assert all(scene.reflectance.any() for scene in some(scenes))


def in_a_thread(work):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def in_a_running_loop(work):
    """Call what blocks from a coroutine, as a cell of a notebook does."""

    async def cell():
        return work()

    return asyncio.run(cell())


@pytest.mark.parametrize("where", [in_a_thread, in_a_running_loop])
def test_units_run_in_a_thread_and_in_a_notebook(where, small_cubes, tmp_path):
    found = {}
    for name, start in (("here", lambda work: work()), ("there", where)):
        path = tmp_path / f"{name}.zarr"
        report = start(
            lambda path=path: biastf_xr.write_fused(
                *small_cubes, path, "linear", dates=["2021-04-16"], tile=48
            )
        )
        assert report.units
        assert not report.failed
        found[name] = start(lambda path=path: open_cube(path).load())
    xr.testing.assert_equal(found["here"].drop_attrs(), found["there"].drop_attrs())


CONFIG = """
[fine]
product = "landsat-c2-l2"
folder = "landsat"
cube = "fine.zarr"

[coarse]
product = "mod09ga"
folder = "modis"
cube = "coarse.zarr"

[method]
name = "linear"

[fuse]
output = "fused.zarr"
start = 2021-04-15
end = 2021-04-18
tile = 48

[cluster]
kind = "in-process"
"""


def test_a_run_is_the_same_in_any_surroundings(small_scenes, small_cubes, tmp_path):
    """Letters, markup and formulas in paths; no locale, home or colour; a far zone."""
    folder = tmp_path / "Über $x_1$ <b> [red] 日本"
    folder.mkdir()
    for name, there in small_scenes._asdict().items():
        (folder / name).symlink_to(there)
    config = folder / "config.toml"
    config.write_text(CONFIG, "utf-8")
    left = {
        k: v for k, v in os.environ.items() if k != "HOME" and not k.startswith(("LC_", "LANG"))
    }
    around = left | {"LC_ALL": "C", "TZ": "Pacific/Kiritimati", "NO_COLOR": "1"}

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", "biastf_xr", *map(str, words)],
            env=around, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        assert b"\x1b" not in done.stdout
        return done.stdout.decode()

    run("update", config)
    run("status", config)
    told = run("info", folder / "fused.zarr")
    for fact in (str(folder / "fused.zarr"), "2021-04-15 to 2021-04-18"):
        assert fact in told
    pages = list(some([*folder.rglob("*.html")]))
    assert all("<b>" not in page.read_text("utf-8") for page in pages)
    assert any("&lt;b&gt;" in page.read_text("utf-8") for page in pages)
    dates = ["2021-04-15", "2021-04-16", "2021-04-17", "2021-04-18"]
    here = biastf_xr.fuse(*map(open_cube, small_cubes), "linear", dates=dates, tile=48)
    there = open_cube(folder / "fused.zarr")
    np.testing.assert_allclose(there["nir"], here["nir"], atol=2e-4)


def test_python_that_skips_assertions_is_refused_by_name(small_cubes):
    """Zarr loses metadata that it takes in assert statements."""
    done = subprocess.run(
        [sys.executable, "-O", "-m", "biastf_xr", "info", str(small_cubes.fine)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == ExitCode.NEEDS_A_PERSON
    assert re.search(facts("ConfigError", "-O", "PYTHONOPTIMIZE", small_cubes.fine), done.stderr)
