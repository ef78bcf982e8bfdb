"""What many tests share: the small synthetic region, its cubes, and tiny cubes in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import xarray as xr

ORIGIN = (455_985.0, 6_171_015.0)


class ScenePaths(NamedTuple):
    """Folders of scenes, as a user would have downloaded them."""

    landsat: Path
    modis: Path


class CubePaths(NamedTuple):
    """Stores of the two cubes."""

    fine: Path
    coarse: Path


ROOT = Path(__file__).parents[1]


def _refuse_others(event: str, arguments: tuple) -> None:
    """Refuse to listen on more than loopback, whoever asks for it in a process of the tests."""
    if event == "socket.bind" and isinstance(arguments[1], tuple):
        assert arguments[1][0] in {"127.0.0.1", "::1", "localhost"}, arguments[1]


sys.addaudithook(_refuse_others)


@pytest.fixture
def install(tmp_path):
    """Return a function that installs a stranger's package, and returns what runs Python beside it.

    It takes the text of modules by name, and the classes by group of entry points and name.
    """

    def _install(modules: dict[str, str], **groups: dict[str, str]) -> Callable[..., str]:
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        about = tmp_path / "stranger-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
        lines = [
            f"[biastf_xr.{group}]\n" + "".join(f"{name} = {at}\n" for name, at in classes.items())
            for group, classes in groups.items()
        ]
        (about / "entry_points.txt").write_text("".join(lines))
        return _run

    def _run(*words: object, fails: bool = False) -> str:
        places = [str(tmp_path), str(ROOT / "docs" / "_ext"), str(ROOT)]
        paths = os.pathsep.join([*places, os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, *map(str, words)], capture_output=True, text=True, check=False,
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths, "COLUMNS": "300"}, timeout=280,
        )  # fmt: skip
        assert (done.returncode != 0) is fails, done.stderr
        return done.stderr if fails else done.stdout

    return _install


@pytest.fixture(scope="session")
def small_region():
    """Return the region of the tests: 96 x 80 fine pixels, 48 days, three fine passes."""
    from biastf_xr.testing import SyntheticRegion

    return SyntheticRegion(shape=(96, 80), days=48)


@pytest.fixture(scope="session")
def small_scenes(small_region, tmp_path_factory) -> ScenePaths:
    """Write the scene files of the small region, once; not to be changed by a test."""
    from biastf_xr.testing import write_landsat, write_mod09ga

    folder = tmp_path_factory.mktemp("scenes")
    write_landsat(small_region, folder / "landsat")
    write_mod09ga(small_region, folder / "modis")
    return ScenePaths(folder / "landsat", folder / "modis")


@pytest.fixture(scope="session")
def small_cubes(small_scenes, tmp_path_factory) -> CubePaths:
    """Ingest the small region, once; not to be changed by a test."""
    from biastf_xr.cube import ingest
    from biastf_xr.sources import build_product

    folder = tmp_path_factory.mktemp("cubes")
    paths = CubePaths(folder / "fine.zarr", folder / "coarse.zarr")
    ingest(build_product("landsat-c2-l2"), small_scenes.landsat, paths.fine, kind="fine")
    ingest(build_product("mod09ga"), small_scenes.modis, paths.coarse, kind="coarse")
    return paths


@pytest.fixture(scope="session")
def make_pair():
    """Return the factory of tiny cubes in memory."""
    return _make_pair


def _make_pair(
    *,
    shape: tuple[int, int] = (24, 20),
    ratio: int = 4,
    margin: int = 1,
    bands: tuple[str, ...] = ("red", "nir"),
    fine_days: Iterable[int] = (0, 8, 16),
    coarse_days: Iterable[int] = range(17),
    crs: str = "EPSG:32755",
    resolution: float = 30.0,
    start: str = "2021-04-01",
    seed: int = 0,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Build a fine and a coarse cube that fit together; random reflectance, nothing missing.

    The coarse grid has the fine grid's origin less `margin` coarse pixels, and covers it.
    """
    rng = np.random.default_rng(seed)
    x, y = ORIGIN
    step = resolution * ratio
    coarse_shape = tuple(-(-n // ratio) + 2 * margin for n in shape)
    fine = cube(rng, fine_days, shape, bands, (x, y), resolution, crs, start)
    corner = (x - margin * step, y + margin * step)
    coarse = cube(rng, coarse_days, coarse_shape, bands, corner, step, crs, start)
    return fine, coarse


def cube(rng, days, shape, bands, corner, resolution, crs, start) -> xr.Dataset:
    """Build one cube in memory."""
    import xarray as xr
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    geobox = GeoBox(shape, Affine(resolution, 0, corner[0], 0, -resolution, corner[1]), crs)
    time = np.datetime64(start, "ns") + np.array([*days], "timedelta64[D]")
    size = (time.size, *shape)
    data = {b: (("time", "y", "x"), rng.uniform(0.02, 0.5, size).astype("f4")) for b in bands}
    return xr.Dataset(data, coords={"time": time, **xr_coords(geobox)})


@pytest.fixture(scope="session")
def random_model(tmp_path_factory):
    """Return the factory of BiaSTF models whose weights are random, so that every pixel matters."""

    def make(
        bands=("red", "nir"), ratio=4.0, filters=(4, 3, 2), seed=0, inputs="change", **options
    ):
        import torch

        from biastf_xr.methods._learning.card import Card
        from biastf_xr.methods._learning.networks import write_networks
        from biastf_xr.methods.biastf import BiaSTF, NetworkShape

        shape = NetworkShape(filters=filters, inputs=inputs)
        count = shape.channels(len(bands))
        channels = [] if inputs == "change" else [(0.0, 0.05), (0.2, 0.1), (0.1, 0.1)][:count]
        models = {}
        for i, band in enumerate(bands):
            network = shape.layers(count).build(seed + i).eval()
            generator = torch.Generator().manual_seed(seed + 100 + i)
            with torch.no_grad():
                network[-1].weight.normal_(0, 0.3, generator=generator)
            models[band] = network.state_dict()
        card = Card(
            bands=tuple(bands),
            ratio=ratio,
            resolution=30.0,
            filters=filters,
            kernels=shape.kernels,
            bias=True,
            scales=dict.fromkeys(models, (0.05, 0.02)),
            pairs=(("2021-04-01", "2021-04-17"),),
            settings={"weights": "change", "weight_window": 3, "upsampling": "bilinear"},
            history={band: [(1.0, 1.0)] for band in models},
            seed=seed,
            inputs=inputs,
            channels={b: channels for b in bands if channels},
            laws=dict.fromkeys(bands, (-9.0, 20.0, 0.05)),
        )
        path = tmp_path_factory.mktemp("model") / "random.safetensors"
        write_networks(path, card, models)
        return BiaSTF.load(path, **options)

    return make
