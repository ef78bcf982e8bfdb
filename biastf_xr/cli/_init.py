"""Write the TOML file of a run: what the folders tell, and what a person answers."""

from __future__ import annotations

import textwrap
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from biastf_xr._files import replacing
from biastf_xr._outside import toml_text, visible
from biastf_xr.errors import BiastfError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TEMPLATE = """\
# A run of biastf-xr. Relative paths are relative to this file.
#   biastf-xr doctor {name}      is everything there
#   biastf-xr ingest {name}      scenes -> cubes
#   biastf-xr train {name}       compare the two sensors
#   biastf-xr plan {name}        what fuse would do
#   biastf-xr fuse {name}        every day
#   biastf-xr evaluate {name}    how good it is
#   biastf-xr update {name}      all of it, as a scheduled job
# Every key is described in the configuration reference of the documentation.

[fine]
product = "{fine.product}"
folder = {fine_folder}        # searched with its subfolders
cube = "cubes/fine.zarr"        # or "s3://bucket/fine.zarr", or "icechunk://cubes/fine"
# exclude = [2021-06-20]        # days with undetected cloud
{fine_options}
[coarse]
product = "{coarse.product}"
folder = {coarse_folder}
cube = "cubes/coarse.zarr"
# shift = "auto"                # measure and correct a displacement against the fine sensor
{coarse_options}
{grid}
[method]
name = "{default}"
# or {methods}
checkpoint = "model.safetensors"
refit = "if-missing"            # or "new-scenes": refit with every scene, recompute all days

[fuse]
output = "cubes/fused.zarr"
# start = 2021-03-01            # the coarse season by default
# end = 2021-10-31
# withhold = [2021-06-20]       # scenes to score on, used for nothing else
# tile = 1024                   # smaller needs less memory

[cluster]
# workers = 4                   # one per core by default
# address = "tcp://scheduler:8786"
"""

GRID = """\
[grid]
region = {region}
# crs = "scenes"                # zone and pixels of the fine scenes, which are copied; or "utm",
#                               # the zone of the region's centre, or "EPSG:3035"
# resolution = 30.0
# coarse_resolution = 480.0
"""

NO_GRID = """\
# [grid]                        # without it the scenes' own pixels are kept
# region = [8.3, 49.8, 8.7, 50.1]   # west, south, east, north; a GeoJSON file; "MGRS:32UMA"
"""


@dataclass(frozen=True)
class Archive:
    """Where the scenes of one sensor are.

    `folder`: Where they are, as the file is to say it.
    `open`: What a person has to choose among its options.
    """

    product: str
    folder: str
    open: str = ""


def guess_product(folder: Path, sensor: str) -> tuple[str | None, int, str]:
    """Return what the scenes of a folder are from their names, how many, and what is left open.

    What is left open is which of them are meant, as of several tiles.
    """
    from biastf_xr.sources import PRODUCTS, product_class
    from biastf_xr.sources._archives import with_members
    from biastf_xr.sources._folders import walk

    files = walk(folder)[0]
    counts = {}
    for name in PRODUCTS:
        product = product_class(name)
        if product.kind == sensor:
            with suppress(BiastfError):
                scenes = product().scenes_of(with_members(files, product().readable))
                counts[name] = sum(not s.problem for s in scenes)
    best = max(counts, key=lambda name: counts[name], default=None)
    if best is None or not counts[best]:
        return None, 0, ""
    try:
        product_class(best)().find_scenes(folder)
    except BiastfError as error:
        return best, counts[best], str(error)
    return best, counts[best], ""


def refuse_degrees(folder: Path) -> None:
    """Ask for a region where the first image of a folder is in degrees, which no cube can keep."""
    from biastf_xr.grid import describe, geobox_of
    from biastf_xr.sources._files import open_layer
    from biastf_xr.sources._folders import walk
    from biastf_xr.sources._rasters import Readable

    images = (p for p in walk(folder)[0] if p.suffix.lower() in {".tif", ".tiff"})
    path, grid = next(images, None), None
    with suppress(BiastfError):
        grid = path and geobox_of(
            open_layer(path, Readable()).to_dataset(name="image"), "", degrees=True
        )
    if grid and grid.crs and grid.crs.geographic:
        raise ConfigError(
            f"{path} lies on {describe(grid)}; pixels in degrees are no squares. Give the region, "
            "to whose grid the scenes are brought: --region west,south,east,north."
        )


def render_config(name: str, fine: Archive, coarse: Archive, region: str | None) -> str:
    """Write the file's text.

    `region`: Bounding box as "west,south,east,north", a GeoJSON file, or a code such as
    "MGRS:32UMA".
    """
    from biastf_xr.methods import DEFAULT_METHOD, METHODS

    grid = NO_GRID if region is None else GRID.format(region=_region(region))
    others = [method for method in METHODS if method != DEFAULT_METHOD]
    return TEMPLATE.format(
        name=visible(name),
        default=DEFAULT_METHOD,
        methods=", ".join(others),
        fine=fine,
        fine_folder=toml_text(fine.folder),
        coarse_folder=toml_text(coarse.folder),
        coarse=coarse,
        grid=grid,
        fine_options=_options("fine", fine),
        coarse_options=_options("coarse", coarse),
    )


def write_config(path: Path, text: str, *, overwrite: bool = False) -> Path:
    """Write the file, once it is known to be readable."""
    from biastf_xr.config import read_config

    if path.exists() and not overwrite:
        raise ConfigError(f"{path} is there already. Name another file, or --overwrite.")
    with replacing(path) as partial:
        partial.write_text(text, "utf-8")
        read_config(partial)
    return path


def _options(sensor: str, archive: Archive) -> str:
    """Write the options that the product cannot do without."""
    from biastf_xr.sources import product_class

    required = product_class(archive.product).required
    if archive.open:
        required = (
            "".join(f"# {line}\n" for line in textwrap.wrap(visible(archive.open), 96)) + required
        )
    if not required:
        return ""
    letter = "L" if sensor == "fine" else "M"
    return f"[{sensor}.options]\n{required}".replace("{letter}", letter)


def _region(text: str) -> str:
    """Write a region as TOML."""
    parts = text.replace(" ", "").split(",")
    if len(parts) == 1:
        return toml_text(text.strip())
    numbers = _numbers(parts)
    if len(numbers) != 4 or not _is_box(numbers):
        raise ConfigError(
            f"the region is {text!r}; expected west,south,east,north in degrees, a GeoJSON file, "
            'or a code such as "MGRS:32UMA" or "WRS:093084".'
        )
    return f"[{', '.join(f'{v:g}' for v in numbers)}]"


def _is_box(numbers: Sequence[float]) -> bool:
    from biastf_xr.grid import read_region

    with suppress(ConfigError):
        return bool(read_region(numbers))
    return False


def _numbers(parts: Sequence[str]) -> list[float]:
    try:
        return [float(part) for part in parts]
    except ValueError:
        return []
