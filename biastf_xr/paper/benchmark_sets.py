"""The published benchmark sets, as their downloads lay them out.

Layouts, sizes and dates: Emelyanova et al., Remote Sens. Environ. 133, 2013 (CIA, LGC) and Li et
al., Sci. China Inf. Sci. 63, 140301, 2020 (AHB, Tianjin, Daxing), and public readers of both.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import xarray as xr

from biastf_xr.errors import ConfigError
from biastf_xr.sources._files import open_layer, read_day
from biastf_xr.sources.base import Encoding, Product, Scene

Sensor = Literal["landsat", "modis"]
COLOURS = ("blue", "green", "red", "nir", "swir1", "swir2")


@dataclass(frozen=True)
class BenchmarkSet:
    """What a benchmark set is, and where to get it.

    `title`, `source`, `reference`: What it shows; where the download is; what to cite.
    `shape`: Rows and columns of every image.
    `crs`: CRS of the grid; the sets of 2020 carry none, and any projected one will do.
    `resolution`: Pixel size in metres.
    `corner`: x and y of the upper left corner.
    `valid`: Range of usable numbers; outside is fill.
    `pattern`: Regular expression of the path below the folder, by sensor, with the date in the
    groups ``year`` and ``doy``, or ``y``, ``m`` and ``d``.
    `example`: A path that matches, by sensor.
    `dates`: Days of the pairs, ISO format.
    `native_resolution`: True pixel size of the MODIS images, which are delivered on the Landsat
    grid.
    """

    title: str
    source: str
    reference: str
    shape: tuple[int, int]
    crs: str
    resolution: float
    corner: tuple[float, float]
    factor: float
    valid: tuple[float, float]
    pattern: dict[str, str]
    example: dict[str, str]
    dates: tuple[str, ...]
    native_resolution: float = 500.0


def _read_sets() -> dict[str, BenchmarkSet]:
    """Read the table of sets beside this module; lists of it become tuples."""
    text = resources.files(__package__).joinpath("benchmark_sets.toml").read_text("utf-8")
    sets: dict[str, dict[str, Any]] = tomllib.loads(text)
    for about in sets.values():
        about.update({key: tuple(v) for key, v in about.items() if isinstance(v, list)})
    return {name: BenchmarkSet(**about) for name, about in sets.items()}


SETS = _read_sets()


@dataclass(frozen=True, kw_only=True)
class Benchmark(Product):
    """One sensor of a benchmark set.

    Attributes
    ----------
    which : {"cia", "lgc", "ahb", "tianjin", "daxing"}
        The set.
    sensor : {"landsat", "modis"}
        The sensor.  MODIS comes on the Landsat grid: ingest it with ``native_resolution = 500``.
    """

    name: ClassVar = "benchmark"
    title: ClassVar = "benchmark"
    formats: ClassVar = ("ENVI", "GTiff")
    beside: ClassVar = True
    expects: ClassVar = "the tree of the download, as `biastf-xr datasets` shows it"
    which: str
    sensor: Sensor

    def __post_init__(self) -> None:
        known_set(self.which)
        self.check_choice("sensor", get_args(Sensor))

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the images under a folder, by date; see `Product.find_scenes`."""
        root = Path(folder)
        pattern = re.compile(rf"(?:.*/)?{known_set(self.which).pattern[self.sensor]}")
        scenes = []
        paths, lost = self.look(root)
        for path in paths:
            name = path.relative_to(root).as_posix()
            # The sensor's folder may itself be the one that was given.
            match = pattern.fullmatch(name) or pattern.fullmatch(f"{root.name}/{name}")
            if match and "QA" not in path.name:
                csiro = "doy" in pattern.groupindex
                date, problem = read_day(
                    match["year"] + match["doy"] if csiro else "-".join(match.group("y", "m", "d"))
                )
                scenes.append(Scene(name, date, {"image": path}, problem=problem))
        return [*self.in_order(scenes), *lost]

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open an image, in its own numbers; see `Product.open_scene`."""
        from affine import Affine

        about = known_set(self.which)
        x, y = about.corner
        grid = Affine(about.resolution, 0, x, 0, -about.resolution, y)
        image = open_layer(
            scene.files["image"], self.readable, crs=about.crs, transform=grid, forced=True
        )
        return xr.Dataset({b: image.isel(band=i, drop=True) for i, b in enumerate(COLOURS)})

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask an image; see `Product.to_reflectance`."""
        about = known_set(self.which)
        encoding = Encoding(factor=about.factor, low=about.valid[0], high=about.valid[1])
        # Some headers call the signed numbers unsigned; negative ones are fill.
        signed = {b: raw[b].astype(np.int16) if raw[b].dtype == np.uint16 else raw[b]
                  for b in COLOURS}  # fmt: skip
        return xr.Dataset({b: encoding.decode(signed[b]) for b in COLOURS})


def known_set(which: str) -> BenchmarkSet:
    """Return a benchmark set by name."""
    if which not in SETS:
        raise ConfigError(f"no benchmark set {which!r}; expected one of {sorted(SETS)}.")
    return SETS[which]


def check_folder(which: str, folder: Path | str) -> list[str]:
    """Compare a download with what is expected of it."""
    about, wrong = known_set(which), []
    wanted = set(about.dates)
    for sensor in get_args(Sensor):
        product = Benchmark(which=which, sensor=sensor)
        scenes = product.find_scenes(folder)
        found = {str(s.date) for s in scenes}
        if not found:
            wrong.append(f"{sensor}: no image; expected files such as {about.example[sensor]}")
            continue
        wrong += [f"{sensor}: no image of {day}" for day in sorted(wanted - found)]
        wrong += [f"{sensor}: {scene.id} {scene.problem}" for scene in scenes if scene.problem]
        for scene in scenes:
            if scene.problem:
                continue
            image = product.open_scene(scene)
            if tuple(image.sizes[d] for d in ("y", "x")) != about.shape:
                wrong.append(
                    f"{sensor}: {scene.id} has {dict(image.sizes)}; expected {about.shape}"
                )
    return wrong
