"""The published benchmark sets, as their downloads lay them out.

Layouts, sizes and dates: Emelyanova et al., Remote Sens. Environ. 133, 2013 (CIA, LGC) and Li et
al., Sci. China Inf. Sci. 63, 140301, 2020 (AHB, Tianjin, Daxing), and public readers of both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
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
    groups ``day`` (YYYYDDD) or ``y``, ``m``, ``d``.
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


def _csiro(name: str, directory: str, files: str) -> dict[str, str]:
    return {
        "landsat": rf"(?:{name}/)?Landsat/(?P<year>\d{{4}})_(?P<doy>\d{{3}})_{directory}/{files}",
        "modis": rf"(?:{name}/)?MODIS/(?P<year>\d{{4}})_(?P<doy>\d{{3}})_{directory}/"
        r"MOD09GA_A\d{7}\.sur_refl\.int",
    }


def _asian(suffix: str = "") -> dict[str, str]:
    day = r"[_-](?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})" + suffix + r"\.tif"
    return {"landsat": rf"(?:.*/)?Landsat/L{day}", "modis": rf"(?:.*/)?MODIS/M{day}"}


_ASIA: dict[str, Any] = {
    "source": "the data page of the paper (Google Drive, Baidu)",
    "reference": "https://doi.org/10.1007/s11432-019-2785-y",
    "crs": "EPSG:32650",
    "resolution": 30.0,
    "corner": (0.0, 0.0),
    "factor": 1 / 255,
    "valid": (0, 255),
    "pattern": _asian(),
    "example": {"landsat": "Landsat/L_2017-5-7.tif", "modis": "MODIS/M_2017-5-7.tif"},
}
_DAXING = [
    "2013-09-01",
    "2013-11-04",
    "2014-04-29",
    "2014-08-19",
    "2014-09-04",
    "2014-10-06",
    "2014-12-25",
    "2015-02-11",
    "2015-03-15",
    "2015-04-16",
    "2015-05-18",
    "2015-08-22",
    "2016-02-14",
    "2016-12-14",
    "2017-05-07",
    "2017-07-10",
    "2017-09-12",
    "2017-10-30",
    "2017-11-15",
    "2018-02-03",
    "2018-04-08",
    "2018-10-01",
    "2018-12-04",
    "2019-01-21",
    "2019-05-29",
    "2019-06-14",
    "2019-08-17",
    "2019-09-18",
    "2019-11-05",
]
_TIANJIN = sorted({*_DAXING, "2016-05-04"} - {"2017-10-30", "2019-06-14", "2019-11-05"})

SETS: dict[str, BenchmarkSet] = {
    "cia": BenchmarkSet(
        title="Coleambally Irrigation Area: small irrigated fields, Landsat 7 and MOD09GA",
        source="CSIRO Data Access Portal, csiro:5846",
        reference="https://doi.org/10.4225/08/5111AC0BF1229",
        shape=(2040, 1720),
        crs="EPSG:20255",
        resolution=25.0,
        corner=(378_000.0, 6_170_000.0),
        factor=1e-4,
        valid=(0, 16_000),
        pattern=_csiro("CIA", r"\d{2}[a-z]{3}", r"L7\d\w*surf_ref\w*\.bil"),
        example={
            "landsat": "CIA/Landsat/2001_281_08oct/"
            "L71093084_08420011007_HRF_modtran_surf_ref_agd66.bil",
            "modis": "CIA/MODIS/2001_281_08oct/MOD09GA_A2001281.sur_refl.int",
        },
        dates=(
            "2001-10-08",
            "2001-10-17",
            "2001-11-02",
            "2001-11-09",
            "2001-11-25",
            "2001-12-04",
            "2002-01-05",
            "2002-01-12",
            "2002-02-13",
            "2002-02-22",
            "2002-03-10",
            "2002-03-17",
            "2002-04-02",
            "2002-04-11",
            "2002-04-18",
            "2002-04-27",
            "2002-05-04",
        ),
    ),
    "lgc": BenchmarkSet(
        title="Lower Gwydir Catchment: a large flood, Landsat 5 and MOD09GA",
        source="CSIRO Data Access Portal, csiro:5847",
        reference="https://doi.org/10.4225/08/5111AD2B7FEE6",
        shape=(2720, 3200),
        crs="EPSG:20255",
        resolution=25.0,
        corner=(0.0, 0.0),
        factor=1e-4,
        valid=(0, 16_000),
        pattern=_csiro("LGC", r"[A-Z][a-z]{2}\d{2}", r"\d{8}_TM\.int"),
        example={
            "landsat": "LGC/Landsat/2004_107_Apr16/20040416_TM.int",
            "modis": "LGC/MODIS/2004_107_Apr16/MOD09GA_A2004107.sur_refl.int",
        },
        dates=(
            "2004-04-16",
            "2004-05-02",
            "2004-07-05",
            "2004-08-06",
            "2004-08-22",
            "2004-10-25",
            "2004-11-26",
            "2004-12-12",
            "2004-12-28",
            "2005-01-13",
            "2005-01-29",
            "2005-02-14",
            "2005-03-02",
            "2005-04-03",
        ),
    ),
    "ahb": BenchmarkSet(
        title="Ar Horqin Banner: phenology and circular pastures, Landsat 8 and MOD09GA",
        shape=(2480, 2800),
        dates=(
            "2013-05-30",
            "2014-02-10",
            "2014-04-15",
            "2014-09-06",
            "2015-02-13",
            "2015-03-17",
            "2015-05-04",
            "2015-06-21",
            "2015-07-07",
            "2015-09-25",
            "2016-01-31",
            "2016-04-20",
            "2016-06-07",
            "2016-08-26",
            "2016-10-13",
            "2017-02-18",
            "2017-05-25",
            "2017-06-10",
            "2017-07-28",
            "2017-08-29",
            "2018-01-04",
            "2018-02-05",
            "2018-03-25",
            "2018-05-12",
            "2018-10-03",
            "2018-10-19",
            "2018-12-06",
        ),
        **_ASIA,
    ),
    "tianjin": BenchmarkSet(
        title="Tianjin: a city through the seasons, Landsat 8 and MOD02HKM",
        shape=(2100, 1970),
        dates=tuple(_TIANJIN),
        **_ASIA,
    ),
    "daxing": BenchmarkSet(
        title="Daxing: the building of an airport, Landsat 8 and MOD09GA",
        shape=(1640, 1640),
        dates=tuple(_DAXING),
        **_ASIA,
    ),
}


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
        for path in self.files(root):
            name = path.relative_to(root).as_posix()
            # The sensor's folder may itself be the one that was given.
            match = pattern.fullmatch(name) or pattern.fullmatch(f"{root.name}/{name}")
            if match and "QA" not in path.name:
                csiro = "doy" in pattern.groupindex
                date, problem = read_day(
                    match["year"] + match["doy"] if csiro else "-".join(match.group("y", "m", "d"))
                )
                scenes.append(Scene(name, date, {"image": path}, problem=problem))
        return self.in_order(scenes)

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open an image, in its own numbers; see `Product.open_scene`."""
        from affine import Affine

        about = known_set(self.which)
        x, y = about.corner
        grid = Affine(about.resolution, 0, x, 0, -about.resolution, y)
        image = open_layer(scene.files["image"], crs=about.crs, transform=grid)
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
        for scene in scenes:
            image = product.open_scene(scene)
            if tuple(image.sizes[d] for d in ("y", "x")) != about.shape:
                wrong.append(
                    f"{sensor}: {scene.id} has {dict(image.sizes)}; expected {about.shape}"
                )
    return wrong
