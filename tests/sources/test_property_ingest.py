"""Whatever a folder holds: a pixel is the true value or missing, or its scene is refused by name.

Folders are made at random from a seed, which the name of a failed test tells.  A `Delivery` is one
file as somebody may have written it; what is to become of it follows from how it was made and not
from what the package does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from biastf_xr.cube import ingest, open_cube
from biastf_xr.errors import BiastfError
from biastf_xr.sources import build_product

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from biastf_xr.cube import IngestReport
    from biastf_xr.sources.base import Product

BANDS = ("green", "red", "nir")
SHAPE = (80, 72)
SEEDS = range(40)

# Factor and offset by type of number; the fill numbers that are met in each.
SCALES = {
    "int16": [(1e-4, 0.0), (1e-4, -0.1), (2e-5, 0.0)],
    "uint16": [(1e-4, 0.0), (2.75e-5, -0.2), (1e-4, -0.1), (2e-5, 0.0)],
    "float32": [(1.0, 0.0), (1e-4, 0.0), (0.01, 0.0)],
    "uint8": [(0.004, 0.0)],
}
FILLS = {
    "int16": (-9999, -28672, -32768, 32767, 20_000, 0, -1000),
    "uint16": (0, 65535, 65534, 9999),
    "float32": (-9999.0, -3.4e38, 1e20, 0.0, -1.0),
    "uint8": (0, 255),
}
# How a file says where it has fill; "nothing" leaves it to be found.
WAYS = ("tag", "text", "each band", "mask", ".msk", "alpha", "option", "nothing")
# How it says its scale.
SCALINGS = ("option", "tag", "both", "text", "contradiction")


@dataclass
class Delivery:
    """One file: its numbers, where they were measured, and how it tells.

    `fate`: "taken": every measured pixel is in the cube; "refused"; "either": then no pixel of it
    may be wrong.
    """

    day: str
    numbers: np.ndarray[Any, Any]
    measured: np.ndarray[Any, Any]
    reflectance: np.ndarray[Any, Any]
    fill: float
    way: str
    scaling: str
    scale: tuple[float, float]
    fate: str
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the name of the file."""
        return f"L_{self.day}.tif"

    def write(self, folder: Path) -> None:
        """Write the file, and what lies beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        planes, tags = self.numbers, dict(self.tags)
        nodata = self.fill if self.way == "tag" else None
        if self.way == "alpha":
            most = np.iinfo(planes.dtype).max if planes.dtype.kind in "iu" else 1
            opaque = np.where(self.measured, most, 0).astype(planes.dtype)
            planes = np.concatenate([planes, opaque[None]])
        if self.way == "text":
            tags["_FillValue"] = repr(self.fill)
        factor, offset = self.scale
        if self.scaling == "text":
            tags |= {"scale_factor": repr(factor), "add_offset": repr(offset)}
        wrong = 2.0 if self.scaling == "contradiction" else 1.0
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=self.way == "mask"), rasterio.open(
            folder / self.name, "w", driver="GTiff", height=SHAPE[0], width=SHAPE[1],
            count=len(planes), dtype=planes.dtype, crs="EPSG:32755", nodata=nodata,
            transform=from_origin(455_985, 6_171_015, 30, 30),
        ) as file:  # fmt: skip
            colours = [ColorInterp.gray, *[ColorInterp.undefined] * 2, ColorInterp.alpha]
            file.colorinterp = colours[: len(planes)]
            if self.scaling in ("tag", "both", "contradiction"):
                file.scales, file.offsets = (wrong * factor,) * len(planes), (offset,) * len(planes)
            file.update_tags(**tags)
            file.write(planes)
            if self.way in ("mask", ".msk"):
                file.write_mask(self.measured)
        if self.way == "each band":
            said = f"<NoDataValue>{self.fill!r}</NoDataValue></PAMRasterBand>"
            bands = "".join(f'<PAMRasterBand band="{n}">{said}' for n in (1, 2, 3))
            beside = folder / f"{self.name}.aux.xml"
            beside.write_text(f"<PAMDataset>{bands}</PAMDataset>")


def scenery(rng: np.random.Generator, kind: str) -> np.ndarray[Any, Any]:
    """Make reflectance with shadows below 0 and snow above 1, as far as the numbers reach."""
    truth = rng.uniform(0.02, 0.5, (3, *SHAPE))
    if kind != "uint8":
        truth[:, :2] = rng.uniform(-0.19, 0.02, (3, 2, SHAPE[1]))
        truth[:, 2:5] = rng.uniform(0.9, 1.55, (3, 3, SHAPE[1]))
    return truth


def gaps(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Choose where nothing was measured: nowhere, single pixels, a border, a part, nearly all."""
    measured = np.ones(SHAPE, bool)
    how = rng.integers(6)
    if how in (1, 2):
        count = int(rng.choice([1, 2, 5, 60]))
        measured.ravel()[rng.permutation(measured.size)[:count]] = False
    elif how == 3:
        measured[:, : rng.integers(1, 40)] = False
    elif how == 4:
        measured = rng.random(SHAPE) < rng.uniform(0.2, 0.99)
    elif how == 5:
        measured[: SHAPE[0] - rng.integers(3, 20)] = False
    return measured


def deliveries(seed: int) -> Iterator[Delivery]:
    """Make the files of one folder: of one type and scale, each telling it its own way."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice([*SCALES]))
    scale = SCALES[kind][rng.integers(len(SCALES[kind]))]
    stated = rng.random() < 0.7  # whether the options have the scale
    fill = FILLS[kind][rng.integers(len(FILLS[kind]))]
    known = rng.random() < 0.3  # whether the options have the fill
    for n in range(rng.integers(1, 4)):
        truth, measured = scenery(rng, kind), gaps(rng)
        low, high = (-np.inf, np.inf) if kind == "float32" else (1, np.iinfo(kind).max - 2)
        low = low if kind != "int16" else -30_000
        numbers = (truth - scale[1]) / scale[0]
        numbers = numbers if kind == "float32" else np.clip(numbers.round(), low, high)
        numbers = numbers.astype(kind)
        numbers[numbers == np.array(fill, kind)] += np.array(1, kind)
        way = "option" if known else str(rng.choice([w for w in WAYS if w != "option"]))
        numbers[:, ~measured] = fill
        choices = ("option", "both", "contradiction") if stated else ("tag", "text")
        scaling = str(rng.choice(choices, p=(0.5, 0.35, 0.15) if stated else (0.5, 0.5)))
        if scale == (1.0, 0.0):
            scaling = "option"
        fate = "either" if way == "nothing" and not measured.all() else "taken"
        fate = "refused" if scaling == "contradiction" else fate
        reflectance = numbers.astype("float64") * scale[0] + scale[1]
        day = f"2021040{n + 1}"
        yield Delivery(day, numbers, measured, reflectance, float(fill), way, scaling, scale, fate)


def options_of(found: list[Delivery]) -> dict[str, Any]:
    """Return the options that somebody gives who knows what the files do not say."""
    options: dict[str, Any] = {"layers": BANDS, "pattern": "L_%Y%m%d.tif"}
    if found[0].scaling in ("option", "both", "contradiction"):
        options |= dict(zip(("factor", "offset"), found[0].scale, strict=True))
    return options | ({"nodata": found[0].fill} if found[0].way == "option" else {})


def ingested(product: Product, folder: Path, path: Path) -> tuple[IngestReport | None, str]:
    """Ingest a folder; return the report, or what the refusal of all of it says."""
    try:
        return ingest(product, folder, path, kind="fine", shard=48), ""
    except BiastfError as error:
        return None, str(error)


@pytest.mark.parametrize("seed", SEEDS)
def test_pixel_is_true_or_missing_or_its_scene_is_refused_by_name(tmp_path, seed):
    found = list(deliveries(seed))
    for delivery in found:
        delivery.write(tmp_path / "in")
    product = build_product("geotiff", **options_of(found))
    report, error = ingested(product, tmp_path / "in", tmp_path / "cube.zarr")
    if report is None:
        assert not any(d.fate == "taken" and d.measured.any() for d in found), error
        assert any(d.name in error for d in found), error
        return
    assert {*report.added} | {*report.rejected} == {d.name for d in found}
    cube = open_cube(tmp_path / "cube.zarr").load()
    for delivery in found:
        if delivery.name in report.rejected:
            assert delivery.fate != "taken", report.rejected[delivery.name]
            assert delivery.name in report.rejected[delivery.name]
            continue
        assert delivery.fate != "refused", delivery
        image = cube.sel(time=f"{delivery.day[:4]}-{delivery.day[4:6]}-{delivery.day[6:]}")
        seen = np.isfinite(image[list(BANDS)].to_array()).all("variable").values
        assert not (seen & ~delivery.measured).any(), delivery
        assert (seen == delivery.measured).all(), delivery
        for band, truth in zip(BANDS, delivery.reflectance, strict=True):
            np.testing.assert_allclose(image[band].values[seen], truth[seen], rtol=2e-4, atol=1e-6)


def test_all_ways_and_fates_occur():
    """Fail if the folders above became tame: every way, scaling and fate is among them."""
    made = [d for seed in SEEDS for d in deliveries(seed)]
    assert {d.way for d in made} == {*WAYS}
    assert {d.scaling for d in made} == {*SCALINGS}
    assert {d.fate for d in made} == {"taken", "refused", "either"}
    undeclared = {(d.numbers.dtype.name, d.fill) for d in made if d.fate == "either"}
    assert len(undeclared) > 4
