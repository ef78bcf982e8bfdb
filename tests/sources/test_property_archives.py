"""Whatever an archive delivers: each pixel is that of its place and day, and no scene goes missing.

A `World` is reflectance as a function of place and day; a `Shot` is a part of it as one of the
archives would deliver it.  A folder of them is made at random from a seed, with what lies about in
folders besides.  Every scene must be in the report, and every pixel of the cube must be what the
world was there on that day: exactly where pixels were copied, nearly where they were interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.enums import ColorInterp

from biastf_xr.cube import ingest, open_cube
from biastf_xr.errors import BiastfError
from biastf_xr.sources import build_product
from biastf_xr.sources._files import SINUSOIDAL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

    from biastf_xr.cube import IngestReport

SEEDS = range(36)
COLOURS = ("blue", "green", "red", "nir", "swir1", "swir2")
FIRST_DAY = np.datetime64("2021-04-01")
# What a processing that another replaces, or a pixel that is masked, is off by.
WRONG = 0.11
# Rounding of files and of the cube; interpolation of waves, and that beside missing pixels.
COPIED, INTERPOLATED, ONE_SIDED = 2e-4, 0.002, 0.03
# Side of the grid, and of the smallest and the largest scene.
SIDE, SMALL, LARGE = 60, 24, 48

PRODUCTS = ("landsat-c2-l2", "hls", "hls by AppEEARS", "geotiff", "mod09ga", "mcd43a4")
COARSE = ("mod09ga", "mcd43a4")
# How pixels are said to be missing, and what can be wrong with a file.
WAYS = ("flag", "fill", "mask", "tag")
DAMAGES = ("cut", "empty", "web page", "absent", "larger", "moved")
ODD = (
    "README.txt", ".DS_Store", "Thumbs.db", "order.zip", "browse_thumb_small.jpeg", "empty.tif",
    "download.tif.part", "statistics.tif.aux.xml", "checksums.md5", "granule-list (1).txt",
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """Reflectance everywhere: waves, and noise of single pixels where all are on one lattice."""

    crs: Any
    pixel: float
    corner: tuple[float, float]
    noise: float
    seed: int

    def steps(self, x: Any, y: Any, crs: Any) -> tuple[Any, Any]:
        """Return how many pixels a place lies right of the corner and below it."""
        x, y = transformer(str(crs), str(self.crs)).transform(x, y)
        return (x - self.corner[0]) / self.pixel, (self.corner[1] - y) / self.pixel

    def __call__(self, geobox: GeoBox, day: int, band: int) -> Any:
        """Return the reflectance of one band at the centres of pixels."""
        u, v = self.steps(*centres(geobox), geobox.crs)
        waves = 0.1 * np.sin(u / 6 + day + band) * np.cos(v / 7 + 2 * band)
        waves += 0.3 + 0.08 * np.sin((u + v) / 9 + 1.7 * day)
        noise = np.random.default_rng((self.seed, day, band)).uniform(-1, 1, (256, 256))
        return (
            waves + self.noise * noise[np.floor(v).astype(int) % 256, np.floor(u).astype(int) % 256]
        )

    def grid(self, row: int, col: int, shape: tuple[int, int]) -> GeoBox:
        """Return pixels of the world's own lattice."""
        left, top = self.corner[0] + col * self.pixel, self.corner[1] - row * self.pixel
        return GeoBox(shape, Affine(self.pixel, 0, left, 0, -self.pixel, top), self.crs)


@cache
def transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def centres(geobox: GeoBox) -> tuple[Any, Any]:
    rows, cols = np.mgrid[: geobox.shape[0], : geobox.shape[1]] + 0.5
    found: tuple[Any, Any] = geobox.affine * (cols, rows)
    return found


def epsg(geobox: GeoBox) -> int:
    return (geobox.crs and geobox.crs.epsg) or 0


def southern(geobox: GeoBox) -> GeoBox:
    """State pixels of a northern UTM zone in the southern half of it."""
    a = geobox.affine
    there = f"EPSG:{epsg(geobox) + 100}"
    return GeoBox(geobox.shape, Affine(a.a, a.b, a.c, a.d, a.e, a.f + 10_000_000), there)


@dataclass
class Shot:
    """One scene as it is delivered.

    `name`: What its id begins with; `version` tells processings of one apart.
    `clear`: Where it was measured and is said to be clear.
    `older`: Whether a later processing of it is there.
    """

    product: str
    name: str
    key: str
    day: int
    geobox: GeoBox
    clear: Any
    way: str
    place: str = ""
    version: int = 0
    older: bool = False
    damage: str = ""
    linked: str = ""
    layers: dict[str, Any] = field(default_factory=dict)

    @property
    def date(self) -> np.datetime64:
        return FIRST_DAY + self.day

    def write(self, world: World, folder: Path, rng: np.random.Generator) -> None:
        """Write its files, damaged if so decided, behind links if so decided."""
        target = folder / self.place
        place = folder.parent / "elsewhere" / self.key.replace("/", "_") if self.linked else target
        place.mkdir(parents=True, exist_ok=True)
        files = WRITERS[self.product](self, self.images(world), place)
        if self.damage:
            spoil(files[rng.integers(len(files))], self.damage)
        if self.linked:
            target.mkdir(parents=True, exist_ok=True)
        if self.linked == "folder":
            (target / f"link to {place.name}").symlink_to(place, target_is_directory=True)
        elif self.linked == "files":
            for path in files:
                if path.exists():
                    (target / path.name).symlink_to(path)

    def images(self, world: World) -> dict[str, Any]:
        """Return reflectance by colour; older processings, and pixels under cloud, are wrong."""
        images = {}
        for n, colour in enumerate(COLOURS):
            image = world(self.geobox, self.day, n) + WRONG * self.older
            images[colour] = np.where(self.clear, image, image + WRONG)
        return images

    def numbers(self, image: Any, encoding: tuple[float, float], dtype: str, fill: Any) -> Any:
        """Return what a file holds of an image."""
        found = np.round((image - encoding[1]) / encoding[0]).astype(dtype)
        return found if self.way in ("flag", "mask") else np.where(self.clear, found, fill)


def tiff(
    path: Path, bands: Any, geobox: GeoBox, *, clear: Any = None, alpha: bool = False, **said: Any
) -> Path:
    """Write a raster; `said` is what else the file says."""
    bands = np.atleast_3d(bands) if np.ndim(bands) == 2 else bands
    bands = bands.transpose(2, 0, 1) if bands.shape[-1] == 1 else bands
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(
        path, "w", driver="GTiff", count=len(bands), height=bands.shape[1], width=bands.shape[2],
        dtype=bands.dtype, crs=str(geobox.crs), transform=geobox.affine, **said,
    ) as file:  # fmt: skip
        if alpha:
            plain = [ColorInterp.undefined] * (len(bands) - 2)
            file.colorinterp = [ColorInterp.gray, *plain, ColorInterp.alpha]
        file.write(bands)
        if clear is not None:
            file.write_mask(clear)
    return path


def write_bands(
    shot: Shot, images: Mapping[str, Any], place: Path, name: str, bands: Mapping[str, str],
    encoding: tuple[float, float], dtype: str, fill: int, odd_fill: int,
) -> list[Path]:  # fmt: skip
    """Write a file for every band; `odd_fill` is a fill of its own that every file states."""
    files = []
    for colour, text in bands.items():
        said: dict[str, Any] = {"nodata": odd_fill} if shot.way == "tag" else {}
        number = odd_fill if shot.way == "tag" else fill
        values = shot.numbers(images[colour], encoding, dtype, number)
        if shot.way == "mask" and colour == "red":
            said["clear"] = shot.clear
        files.append(tiff(place / name.format(text), values, shot.geobox, **said))
    return files


def flags(shot: Shot, clear: int, cloud: int, dtype: str) -> Any:
    """Return a quality layer that knows of cloud, unless something else does."""
    known = shot.way == "flag"
    return np.where(shot.clear | (not known), clear, cloud).astype(dtype)


def landsat(shot: Shot, images: Mapping[str, Any], place: Path) -> list[Path]:
    new = shot.name.startswith(("LC08", "LC09"))
    numbers = (2, 3, 4, 5, 6, 7) if new else (1, 2, 3, 4, 5, 7)
    bands = {colour: f"SR_B{n}" for colour, n in zip(COLOURS, numbers, strict=True)}
    name = f"{shot.name}_{{}}.TIF"
    files = write_bands(shot, images, place, name, bands, (2.75e-5, -0.2), "uint16", 0, 5)
    quality = flags(shot, 21824 if new else 5440, 22280 if new else 5896, "uint16")
    tiff(place / name.format("ST_B10" if new else "ST_B6"), quality + 9, shot.geobox)
    return [
        *files,
        tiff(place / name.format("QA_PIXEL"), quality, shot.geobox),
        tiff(place / name.format("QA_RADSAT"), 0 * quality, shot.geobox),
    ]


def hls(shot: Shot, images: Mapping[str, Any], place: Path) -> list[Path]:
    texts = ("B02", "B03", "B04", "B05", "B06", "B07")
    if "S30" in shot.name:
        texts = ("B02", "B03", "B04", "B8A", "B11", "B12")
    bands = dict(zip(COLOURS, texts, strict=True))
    name = f"{shot.name}.{{}}.tif"
    if shot.product == "hls by AppEEARS":
        _, sensor, day, *area, _ = shot.name.split(".")
        name = f"HLS{sensor}.020_{{}}_doy{day[1:]}_{(area or ['aid0001'])[0]}_55S.tif"
    files = write_bands(shot, images, place, name, bands, (1e-4, 0), "int16", -9999, -1234)
    quality = flags(shot, 64, 66, "uint8")
    return [*files, tiff(place / name.format("Fmask"), quality, shot.geobox)]


def geotiff(shot: Shot, images: Mapping[str, Any], place: Path) -> list[Path]:
    way = {"flag": "alpha", "fill": "fill", "mask": "mask", "tag": "tag"}[shot.way]
    fill = -3000 if way == "tag" else -9999
    values = np.stack([shot.numbers(images[c], (1e-4, 0), "int16", fill) for c in COLOURS])
    said: dict[str, Any] = {"nodata": fill} if way == "tag" else {}
    if way == "mask":
        said["clear"] = shot.clear
    if way == "alpha":
        opaque = np.where(shot.clear, 32767, 0).astype("int16")
        values, said = np.concatenate([values, opaque[None]]), {"alpha": True}
    return [tiff(place / shot.name, values, shot.geobox, **said)]


def appeears(shot: Shot, images: Mapping[str, Any], place: Path) -> list[Path]:
    product, order, day, *area = shot.name.split(".")
    end = f"doy{day[1:]}000000_{(area or ['aid0001'])[0]}"
    name = f"{product}.{order}_{{}}_{end}.tif"
    numbers = dict(zip(COLOURS, (3, 4, 1, 2, 6, 7), strict=True))
    if shot.product == "mod09ga":
        bands = {colour: f"sur_refl_b0{n}_1" for colour, n in numbers.items()}
        files = write_bands(shot, images, place, name, bands, (1e-4, 0), "int16", -28672, -77)
        state = flags(shot, 8, 9, "uint16")
        return [*files, tiff(place / name.format("state_1km_1"), state, shot.geobox)]
    bands = {colour: f"Nadir_Reflectance_Band{n}" for colour, n in numbers.items()}
    files = write_bands(shot, images, place, name, bands, (1e-4, 0), "int16", 32767, 77)
    quality = flags(shot, shot.day % 2, 255, "uint8")
    for n in numbers.values():
        text = f"BRDF_Albedo_Band_Mandatory_Quality_Band{n}"
        files.append(tiff(place / name.format(text), quality, shot.geobox))
    return files


WRITERS = {
    "landsat-c2-l2": landsat, "hls": hls, "hls by AppEEARS": hls, "geotiff": geotiff,
    "mod09ga": appeears, "mcd43a4": appeears,
}  # fmt: skip


def spoil(path: Path, damage: str) -> None:
    """Damage a file as downloads, disks and people do."""
    if damage == "cut":
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 3)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "web page":
        path.write_text("<!DOCTYPE html><html><body>Sign in</body></html>")
    elif damage == "absent":
        path.unlink()
    else:
        with rasterio.open(path) as file:
            values, crs, a, nodata = file.read(), file.crs, file.transform, file.nodata
        path.unlink()
        if damage == "larger":
            values = values[:, :-1]
        a = Affine(a.a, a.b, a.c + a.a / 2 * (damage == "moved"), a.d, a.e, a.f)
        tiff(path, values, GeoBox(values.shape[1:], a, str(crs)), nodata=nodata)


@dataclass
class Folder:
    """A folder, and how it is ingested."""

    product: str
    world: World
    shots: list[Shot]
    grid: GeoBox | None
    odd: list[str]
    lost: list[str]
    loop: bool
    excluded: int | None
    twice: bool

    def write(self, folder: Path, shots: list[Shot], rng: np.random.Generator) -> None:
        """Write scenes, and what lies about."""
        folder.mkdir(parents=True, exist_ok=True)
        for shot in shots:
            shot.write(self.world, folder, rng)
        for name in self.odd:
            (folder / name).write_bytes(b"" if name == "empty.tif" else b"what lies about\n")
        for name in self.lost:
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(folder / "was here")
        if self.loop and not (folder / "round").is_symlink():
            (folder / "round").symlink_to(folder, target_is_directory=True)

    def options(self) -> dict[str, Any]:
        if self.product != "geotiff":
            return {}
        return {
            "layers": COLOURS, "pattern": "S?_%Y%m%d.tif", "factor": 1e-4, "nodata": -9999,
        }  # fmt: skip


def hidden(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    """Choose where a scene is clear: everywhere, but for a stripe, in a disc, nearly nowhere."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    how = rng.integers(5)
    clear = np.ones(shape, bool)
    if how == 1:
        clear[:, : rng.integers(1, shape[1] - 1)] = False
    elif how == 2:
        clear = np.hypot(rows - rng.integers(shape[0]), cols - rng.integers(shape[1])) > 12
    elif how == 3:
        clear = rng.random(shape) > 0.4
    elif how == 4:
        clear = (rows // 5 + cols // 7) % 3 > 0
    return clear


def names_of(product: str, rng: np.random.Generator, day: int) -> list[tuple[str, str]]:
    """Return the names of all scenes of a day, and the folder each lies in."""
    date = FIRST_DAY + day
    number = f"2021{(date - np.datetime64('2020-12-31')).astype(int):03d}"
    plain = str(date).replace("-", "")
    orders = [("", ""), ("orders/1", ".aid0002"), ("orders/2", ".aid0002"), ("", ".aid0003")]
    if product == "landsat-c2-l2":
        scenes = [f"{s}_L2SP_{p}_{plain}" for s in ("LC08", "LE07", "LT05", "LC09")
                  for p in ("093084", "093085")]  # fmt: skip
        made = [(name, str(rng.choice(["", name, "deep/er"]))) for name in scenes]
    elif product == "hls":
        scenes = [f"HLS.{s}.T55HFA.{number}T{t}.v2.0" for s in ("L30", "S30")
                  for t in ("235011", "235035")]  # fmt: skip
        made = [(name, str(rng.choice(["", name]))) for name in scenes]
    elif product == "hls by AppEEARS":
        made = [(f"HLS.{s}.A{number}{area}.55S", place)
                for s in ("L30", "S30") for place, area in orders]  # fmt: skip
    elif product == "geotiff":
        made = [(f"S{n}_{plain}.tif", place) for n in "123" for place in ("", "west", "east")]
    elif product == "mod09ga":
        made = [(f"{s}09GA.061.A{number}{area}", place)
                for s in ("MOD", "MYD") for place, area in orders]  # fmt: skip
    else:
        made = [(f"MCD43A4.061.A{number}{area}", place) for place, area in orders]
    return [made[n] for n in rng.permutation(len(made))]


def make(seed: int) -> Folder:
    """Make a folder from a seed."""
    rng = np.random.default_rng((1, seed))
    product = PRODUCTS[seed % len(PRODUCTS)]
    coarse = product in COARSE
    # Neighbouring zones, or a grid of other pixels: then the world has no noise.
    how = str(rng.choice(["copied", "copied", "copied", "moved", "neighbours"]))
    if how == "neighbours" and product in ("hls", *COARSE):
        how = "moved"
    pixel = 463.312716528 if coarse else 30.0
    crs = SINUSOIDAL if coarse else "EPSG:32655"
    corner = (12_000_000.0, -3_900_000.0) if coarse else (765_015.0, -3_880_005.0)
    world = World(
        CRS(crs).to_wkt() if coarse else crs, pixel, corner, 0.05 * (how == "copied"), seed
    )
    stated = how != "copied" or rng.random() < 0.5
    grid = world.grid(8, 8, (SIDE, SIDE)) if stated else None
    if grid is not None and how == "moved":
        a = grid.affine
        grid = GeoBox(grid.shape, a * Affine.translation(0.37, 0.61), grid.crs)
    if grid is not None and not coarse and rng.random() < 0.5:
        grid = southern(grid)
    shots: list[Shot] = []
    for day in sorted(rng.permutation(5)[: rng.integers(1, 3)]):
        for name, place in names_of(product, rng, int(day))[: rng.integers(1, 4)]:
            shots += shots_of(rng, world, product, name, place, int(day), how)
    return Folder(
        product, world, shots, grid,
        odd=[str(n) for n in rng.permutation(ODD)[: rng.integers(len(ODD))]],
        lost=["gone.tif"] * int(rng.random() < 0.3),
        loop=bool(rng.random() < 0.3),
        excluded=shots[-1].day if rng.random() < 0.2 and shots[0].day != shots[-1].day else None,
        twice=bool(rng.random() < 0.4),
    )  # fmt: skip


def shots_of(
    rng: np.random.Generator, world: World, product: str, name: str, place: str, day: int, how: str
) -> list[Shot]:
    """Make a scene, of Landsat in up to two processings."""
    shape = (int(rng.integers(SMALL, LARGE)), int(rng.integers(SMALL, LARGE)))
    row, col = (int(n) for n in rng.integers(0, SIDE - 10, 2))
    if rng.random() < 0.07:
        row = 300  # beyond any grid
    geobox = world.grid(row, col, shape)
    if how == "neighbours" and rng.random() < 0.5:
        x, y = transformer("EPSG:32655", "EPSG:32656").transform(geobox.affine.c, geobox.affine.f)
        corner = Affine(30, 0, x // 30 * 30 + 15, 0, -30, y // 30 * 30 + 15)
        geobox = GeoBox(shape, corner, "EPSG:32656")
    if product not in COARSE and rng.random() < 0.25:
        geobox = southern(geobox)
    key = f"{name}/{place}"
    # What is not there, and lies elsewhere as a whole, is no damage to a scene of one file.
    damages = DAMAGES[:3] if product == "geotiff" else DAMAGES
    shot = Shot(
        product, name, key, day, geobox, hidden(rng, shape), str(rng.choice(WAYS)), place,
        damage=str(rng.choice(damages)) if rng.random() < 0.2 else "",
        linked=str(rng.choice(["", "", "", "folder", "files"])),
    )  # fmt: skip
    if product != "landsat-c2-l2":
        return [shot]
    stamps = ("20210510_02_T1", "20210405_02_RT", "20210509_02_T2")
    shot.name, shot.key = f"{name}_{stamps[0]}", f"{key}0"
    if rng.random() < 0.6:
        return [shot]
    clear = np.ones(shape, bool)
    stamp = stamps[rng.integers(1, 3)]
    old = Shot(product, f"{name}_{stamp}", f"{key}1", day, geobox, clear, "flag", place, older=True)
    return [shot, old]


# --- what must have come of it --------------------------------------------------------------------


def reported(report: IngestReport) -> dict[str, set[str]]:
    """Return the ids of every list of a report."""
    return {
        "taken": {*report.added, *report.unchanged},
        "superseded": {*report.superseded},
        "excluded": {*report.excluded},
        "rejected": {*report.rejected},
    }


def ids_of(shot: Shot, ids: set[str]) -> list[str]:
    """Return the ids that may be a shot's: its name, and the folder if several have the name."""
    if shot.product == "geotiff":
        places = {shot.place, f"link to {shot.key.replace('/', '_')}"}
        own = [i for i in ids if i.rsplit("/", 1)[-1] == shot.name]
        return [i for i in own if i.removesuffix(shot.name).rstrip("/").endswith((*places,))]
    return [i for i in ids if i == shot.name or i.startswith(f"{shot.name} in ")]


def check_report(folder: Folder, report: IngestReport) -> None:
    """Check that every scene is in one list, as often as there are scenes of its name."""
    lists = reported(report)
    assert sum(map(len, lists.values())) == len(set().union(*lists.values()))
    every = set().union(*lists.values())
    for shot in folder.shots:
        alike = [s for s in folder.shots if s.name == shot.name]
        found = {i for s in alike for i in ids_of(s, every)}
        assert len(found) == len(alike), (shot.name, found, every)
        if len(alike) == 1:
            fate = {name for name, ids in lists.items() if ids & found}
            assert fate <= fates(folder, shot), (shot, report.rejected)
    assert {*folder.lost} <= lists["rejected"]
    known = {i for s in folder.shots for i in ids_of(s, every)} | {*folder.lost}
    assert every <= known, every - known


def fates(folder: Folder, shot: Shot) -> set[str]:
    """Return in which lists a scene may be."""
    if shot.day == folder.excluded:
        return {"excluded", "rejected"} if shot.damage else {"excluded"}
    if shot.damage:
        return {"rejected"}
    return {"taken", "superseded", "rejected"}


def same_pixels(geobox: GeoBox, other: GeoBox) -> bool:
    """Return whether two grids share their pixels, in either half of a UTM zone."""
    one, two = (southern(g) if 32600 < epsg(g) < 32661 else g for g in (geobox, other))
    steps = np.array([one.affine.c - two.affine.c, one.affine.f - two.affine.f]) / one.affine.a
    return (
        one.crs == two.crs
        and one.affine.a == two.affine.a
        and bool((abs(steps - steps.round()) < 1e-3).all())
    )


def check_pixels(folder: Folder, report: IngestReport, cube: xr.Dataset) -> None:
    """Check that every pixel of the cube is the world's, and every clear one is there."""
    geobox = cube.odc.geobox
    taken = reported(report)["taken"]
    for day in range(5):
        shots = [s for s in folder.shots if s.day == day and not s.older]
        used = [s for s in shots if not s.damage and day != folder.excluded]
        images = cube.sel(time=cube["time"].values == FIRST_DAY + day)
        if not images.sizes["time"]:
            assert not any(ids_of(s, taken) for s in used)
            continue
        image = images.isel(time=0)
        sure, may, torn = (np.zeros(geobox.shape, bool) for _ in range(3))
        for shot in used:
            if folder.grid is None and not same_pixels(shot.geobox, geobox):
                assert ids_of(shot, {*report.rejected}), shot
                continue
            certain, possible = under(geobox, shot)
            if certain.any() and len([s for s in shots if s.name == shot.name]) == 1:
                assert ids_of(shot, taken), (shot, report.rejected)
            sure, may, torn = sure | certain, may | possible, torn | (possible & ~certain)
        stale = any(s.damage and o.key[:-1] == s.key[:-1] for s in shots
                    for o in folder.shots if o.older)  # fmt: skip
        values = np.stack([image[colour].values for colour in COLOURS])
        seen = np.isfinite(values).all(0)
        assert (seen == np.isfinite(values).any(0)).all()
        assert (seen | ~sure).all(), f"day {day}: {(sure & ~seen).sum()} clear pixels are missing"
        if stale:  # an older processing may stand in for a damaged one
            continue
        assert (may | ~seen).all(), f"day {day}: {(seen & ~may).sum()} pixels from nowhere"
        for n, colour in enumerate(COLOURS):
            off = np.abs(values[n] - folder.world(geobox, day, n))
            copied = folder.world.noise > 0
            close = COPIED if copied else INTERPOLATED
            assert not (off > close)[seen & ~torn].any(), (
                day,
                colour,
                np.nanmax(off[seen & ~torn]),
            )
            rest = COPIED if copied else ONE_SIDED
            assert not (off > rest)[seen].any(), (day, colour, np.nanmax(off[seen]))


def under(geobox: GeoBox, shot: Shot) -> tuple[Any, Any]:
    """Return which pixels of the cube a shot must fill, and which it may fill."""
    x, y = centres(geobox)
    x, y = transformer(str(geobox.crs), str(shot.geobox.crs)).transform(x, y)
    cols, rows = ~shot.geobox.affine * (x, y)
    reach = 0 if same_pixels(geobox, shot.geobox) else 3
    padded = np.pad(shot.clear, 8 + reach)
    height, width = padded.shape
    found = []
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            r = np.clip(np.floor(rows).astype(int) + 8 + reach + dy, 0, height - 1)
            c = np.clip(np.floor(cols).astype(int) + 8 + reach + dx, 0, width - 1)
            found.append(padded[r, c])
    stack = np.stack(found)
    return stack.all(0), stack.any(0)


def bring(folder: Folder, root: Path, path: Path) -> tuple[IngestReport | None, str]:
    """Ingest; return the report, or what the refusal of all of it says."""
    product = build_product(folder.product.split()[0], **folder.options())
    out = [] if folder.excluded is None else [FIRST_DAY + folder.excluded]
    kind: Any = "coarse" if folder.product in COARSE else "fine"
    try:
        return ingest(product, root, path, kind=kind, grid=folder.grid, exclude=out, shard=48), ""
    except BiastfError as error:
        return None, str(error)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_scene_is_reported_and_every_pixel_is_of_its_place_and_day(tmp_path, seed):
    folder, rng = make(seed), np.random.default_rng(seed)
    root, path = tmp_path / "in", tmp_path / "cube.zarr"
    if folder.twice and folder.grid is not None and len(folder.shots) > 1:
        half = len(folder.shots) // 2
        folder.write(root, folder.shots[:half], rng)
        bring(folder, root, path)
        folder.write(root, folder.shots[half:], rng)
    else:
        folder.write(root, folder.shots, rng)
    report, error = bring(folder, root, path)
    if report is None:
        for shot in folder.shots:
            if not shot.damage and not shot.older and shot.day != folder.excluded and folder.grid:
                assert not under(folder.grid, shot)[0].any(), (shot, error)
        assert any(ids_of(s, {error}) or s.name in error for s in folder.shots), error
        return
    check_report(folder, report)
    cube = open_cube(path).load()
    check_pixels(folder, report, cube)
    again, error = bring(folder, root, path)
    if again is not None:
        # Scenes beyond the grid are remembered, and not looked at again.
        before, after = reported(report), reported(again)
        assert after["taken"] >= before["taken"]
        assert after["taken"] | after["rejected"] == before["taken"] | before["rejected"]
        assert open_cube(path).load().equals(cube)


def test_all_products_ways_and_damages_occur():
    """Fail if the folders above became tame."""
    folders = [make(seed) for seed in SEEDS]
    shots = [shot for folder in folders for shot in folder.shots]
    assert {f.product for f in folders} == {*PRODUCTS}
    assert {s.way for s in shots} == {*WAYS}
    assert {s.damage for s in shots} == {"", *DAMAGES}
    assert {s.linked for s in shots} == {"", "folder", "files"}
    assert {epsg(s.geobox) for s in shots} >= {32655, 32656, 32755}
    assert any(s.older for s in shots)
    assert any(f.twice and f.grid for f in folders)
    assert any(f.excluded is not None for f in folders)
    assert {n for f in folders for n in f.odd} == {*ODD}
