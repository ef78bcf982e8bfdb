"""Programs that raise on every odd number of NumPy's, as `np.seterr(all="raise")` has it."""

from __future__ import annotations

from concurrent.futures import Executor, Future

import dask
import numpy as np
import pytest
from checks import some

import biastf_xr
from biastf_xr.cube import ingest, open_cube
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
