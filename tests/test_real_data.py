"""Real two-sensor images, where they lie beside the checkout: Landsat/MODIS and HLS/VIIRS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checks import facts

import biastf_xr
from biastf_xr.cube import ingest
from biastf_xr.errors import GridMismatchError
from biastf_xr.evaluation import evaluate
from biastf_xr.methods import get_method
from biastf_xr.sources import build_product

DATA = Path(__file__).parents[2] / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real images are not beside this checkout"
)
GRID = {"crs": "EPSG:32613", "resolution": 30.0}
TARGET = "2001-07-11"


def product(letter, **options):
    return build_product(
        "geotiff",
        layers=("green", "red", "nir"),
        pattern=f"{letter}_%Y%m%d.tif",
        factor=1e-4,
        **options,
    )


@pytest.fixture(scope="module")
def boreas(tmp_path_factory):
    """Ingest BOREAS: the coarse images as delivered, on the fine grid, and on their true grid."""
    folder = tmp_path_factory.mktemp("boreas")
    source = DATA / "boreas"
    ingest(product("L", grid=GRID), source, folder / "fine.zarr", kind="fine")
    ingest(product("M", grid=GRID), source, folder / "delivered.zarr", kind="coarse")
    true = {"kind": "coarse", "native_resolution": 500.0}
    ingest(product("M", grid=GRID), source, folder / "true.zarr", **true)
    return {p.stem: biastf_xr.open_cube(p) for p in folder.iterdir()}


@pytest.mark.parametrize(
    ("coarse", "method", "options", "rmse", "ergas"),
    [
        # Figures of an independent computation on the same files.
        ("delivered", "linear", {}, 0.01151, 0.8363),
        ("delivered", "nearest", {}, 0.01013, 0.9875),
        ("delivered", "direct", {"weights": "equal"}, 0.00819, 0.8178),
        ("delivered", "direct", {"weights": "time"}, 0.00796, 0.7645),
        # Scored there on the 97.5 % of pixels inside whole coarse pixels.
        ("true", "direct", {"weights": "time"}, 0.00696, 0.6934),
    ],
)
def test_boreas_free_baselines_agree_with_an_independent_program(
    boreas, coarse, method, options, rmse, ergas
):
    built = get_method(method, **options)
    scores = evaluate(boreas["fine"], boreas[coarse], [built], dates=[TARGET])
    # A built method takes the place of the baseline of its name.
    rows = scores.table.query("band == 'mean' and method == @method").groupby("measure").last()
    tolerance = 0.02 if coarse == "true" else 0.005
    assert rows.loc["RMSE", "value"] == pytest.approx(rmse, rel=tolerance)
    assert boreas[coarse].sizes["x"] == (24 if coarse == "true" else 384)
    if coarse == "delivered":
        # ERGAS there used the true ratio of pixel sizes, 0.06.
        assert rows.loc["ERGAS", "value"] * 0.06 == pytest.approx(ergas, rel=tolerance)


def test_boreas_without_a_stated_grid_is_refused_by_naming_the_option(tmp_path):
    with pytest.raises(
        GridMismatchError, match=facts("L_20010524.tif", "--set fine.options.grid=")
    ):
        ingest(product("L"), DATA / "boreas", tmp_path / "x.zarr", kind="fine")
    assert not list(tmp_path.iterdir())


def test_salton_sea_is_fused_every_day_through_its_gaps(tmp_path):
    cubes = []
    for kind in ("fine", "coarse"):
        tiffs = build_product("geotiff", layers=("nir",), pattern=f"%Y-%m-%d_{kind}.tif")
        ingest(tiffs, DATA / "salton_sea" / kind, tmp_path / f"{kind}.zarr", kind=kind)
        cubes.append(biastf_xr.open_cube(tmp_path / f"{kind}.zarr"))
    days = np.arange("2020-10-02", "2020-11-12", dtype="datetime64[D]")
    made = biastf_xr.fuse(*cubes, "direct", dates=days).load()
    assert made.sizes["time"] == 41
    seen = np.isfinite(made["nir"].values)
    assert seen.mean() > 0.98
    flags = made["status_flag"].values
    assert np.isin(flags[seen], [1, 2, 3, 4]).all()
    assert np.isin(flags[~seen], [5, 6]).all()
