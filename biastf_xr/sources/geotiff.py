"""Any folder of GeoTIFFs with a date in the file name: the escape hatch for everything else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xarray as xr

from biastf_xr.errors import ConfigError, SceneError
from biastf_xr.sources._files import bit, join_layers, lacking, open_layer
from biastf_xr.sources._patterns import Named, check_pattern, read_name
from biastf_xr.sources._stated import (
    OWN_MASK,
    StatedBand,
    open_mask,
    refuse_other_order,
    stated_bands,
)
from biastf_xr.sources.base import NO_DAY, Encoding, Product, Scene

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from affine import Affine

# Numbers that files have where nothing was measured, besides the ends of their type.
USUAL_FILL = (-32768, -28672, -10000, -9999, -999, -99, -1, 9999, 20000, 32766, 32767, 65534, 65535)
_MASK = "mask file"  # no band is called so
_IMAGE, _BESIDE = "image", "mask"  # files of a scene
_LAYER = "{layer}"


@dataclass(frozen=True)
class StatedGrid:
    """The grid of files that carry none.

    Attributes
    ----------
    crs : str
        Coordinate reference system, for instance "EPSG:32613".
    resolution : float
        Pixel size in units of the CRS.
    origin : tuple of float
        x and y of the outer corner of the upper left pixel.
    """

    crs: str
    resolution: float
    origin: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        from odc.geo import CRS, CRSError

        try:
            CRS(self.crs)
        except CRSError as error:
            raise ConfigError(f"grid: {self.crs!r} is not a CRS, as EPSG:32613 is.") from error
        if not self.resolution > 0 or len(self.origin) != 2:
            raise ConfigError(
                f"grid: resolution is {self.resolution}, origin {self.origin}; expected a positive "
                "pixel size and [x, y] of the upper left corner."
            )

    @property
    def transform(self) -> Affine:
        """Return the pixel-to-CRS transform, north up."""
        from affine import Affine

        x, y = self.origin
        return Affine(self.resolution, 0.0, x, 0.0, -self.resolution, y)


@dataclass(frozen=True, kw_only=True)
class GeotiffFolder(Product):
    """GeoTIFFs, one per date, with the bands inside, or one per date and band.

    Attributes
    ----------
    layers : tuple of str, or dict of str
        Band names in the order of the file; for a file per band what names say for ``{layer}`` in
        `pattern`, by band name, if it is another text.
    pattern : str
        File name with ``%Y``, ``%m``, ``%d`` or ``%j`` for the date, ``*`` for anything else and
        ``?`` for one character, and ``{layer}`` for the band if each has a file of its own.
    factor, offset : float
        ``reflectance = value * factor + offset``; by default the scale and offset tags of the file,
        or 1 and 0.
    nodata : float, optional
        Value of missing pixels.  NaN always is missing; the file's own nodata tags, mask and alpha
        band are honoured too.
    valid_min, valid_max : float
        Range of usable values, before scaling.
    grid : StatedGrid, optional
        The grid of files that carry none.
    span : tuple of int
        First and last day that an image stands for, counted from the day in its name: ``[0, 15]``
        for composites of 16 days named by the first.  The middle is their day in the cube.
    mask_pattern : str, optional
        File name of the mask that lies beside every image, written as `pattern`.  The mask of an
        image has its date, and the same text for every ``*`` if both patterns have as many.
    clear_values : tuple of int
        Values of the mask whose pixels may be used; or
    masked_bits : tuple of int
        bits of the mask that rule a pixel out, 0 is the least significant.
    """

    name: ClassVar = "geotiff"
    title: ClassVar = "GeoTIFF"
    expects: ClassVar = "whatever the option `pattern` says"
    required: ClassVar = """\
pattern = "{letter}_%Y%m%d.tif"         # the date in the names of the files
layers = ["green", "red", "nir"] # bands in the order of the file
factor = 1e-4                    # reflectance per unit
# nodata = -9999
"""
    tables: ClassVar = {"grid": StatedGrid}
    beside: ClassVar = True
    layers: tuple[str, ...] | Mapping[str, str]
    pattern: str
    factor: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    valid_min: float = -np.inf
    valid_max: float = np.inf
    grid: StatedGrid | None = None
    span: tuple[int, int] = (0, 0)
    mask_pattern: str | None = None
    clear_values: tuple[int, ...] = ()
    masked_bits: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        # Configuration files give lists and tables.
        named = isinstance(self.layers, Mapping)
        layers = dict(self.layers) if isinstance(self.layers, Mapping) else tuple(self.layers)
        object.__setattr__(self, "layers", layers)
        if self.pattern.count(_LAYER) != 1 and (named or _LAYER in self.pattern):
            raise ConfigError(
                f"layers is {self.layers}, pattern {self.pattern!r}; expected {_LAYER} in the "
                "pattern once if each band has a file of its own, and only then layers that are a "
                "table."
            )
        if isinstance(self.grid, dict):
            object.__setattr__(self, "grid", StatedGrid(**self.grid))
        object.__setattr__(self, "span", tuple(self.span))
        object.__setattr__(self, "clear_values", tuple(self.clear_values))
        object.__setattr__(self, "masked_bits", tuple(self.masked_bits))
        check_pattern(self.pattern, "pattern")
        if self.mask_pattern is not None:
            check_pattern(self.mask_pattern, "mask_pattern")
        whole = len(self.span) == 2 and all(type(n) is int for n in self.span)
        if not (whole and -366 <= self.span[0] <= self.span[1] <= 366):
            raise ConfigError(
                f"span is {list(self.span)}; expected the first and the last day that an image "
                "stands for, counted from the day in its name, as [0, 15]."
            )
        meaning = bool(self.clear_values) + bool(self.masked_bits)
        if meaning != (self.mask_pattern is not None):
            raise ConfigError(
                f"mask_pattern is {self.mask_pattern!r}, clear_values {self.clear_values}, "
                f"masked_bits {self.masked_bits}; expected a pattern with one of the two that say "
                "what the mask means, or none of the three."
            )

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands, in the order of the file."""
        return tuple(self.layers)

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the files that match the pattern, by date; see `Product.find_scenes`."""
        paths, lost = self.look(folder)
        masks = self._masks(paths)
        taken = {mask for beside in masks.values() for mask, _ in beside}
        scenes = []
        for named, found in self._images([path for path in paths if path not in taken]):
            date, problem = self.read_day(named.day) if named.day else (NO_DAY, named.problem)
            files: dict[str, Path | str] = dict(found)
            first = next(iter(found.values()))
            if _LAYER in self.pattern:
                problem = problem or lacking(files, self.bands)
            if self.mask_pattern is not None and not problem:
                beside = masks.get((first.parent, named.day), [])
                its_own = [mask for mask, its in beside if self._goes_with(its, named)]
                problem = _no_mask(self.mask_pattern, its_own)
                if its_own:
                    files[_BESIDE] = its_own[0]
            scenes.append(Scene(str(first.relative_to(folder)), date, files, problem=problem))
        return [*self.in_order(scenes), *lost]

    def _images(self, paths: list[Path]) -> Iterator[tuple[Named, dict[str, Path]]]:
        """List what the pattern matches: the name and the files of every image, by layer."""
        if _LAYER not in self.pattern:
            named = ((read_name(self.pattern, path.name), path) for path in paths)
            yield from ((name, {_IMAGE: path}) for name, path in named if name)
            return
        texts = self.layers if isinstance(self.layers, Mapping) else {b: b for b in self.layers}
        patterns = {layer: self.pattern.replace(_LAYER, text) for layer, text in texts.items()}
        together: dict[Any, tuple[Named, dict[str, Path]]] = {}
        for path in paths:
            read = {layer: read_name(pattern, path.name) for layer, pattern in patterns.items()}
            found = {layer: name for layer, name in read.items() if name}
            if not found:
                continue
            (layer, name), *others = found.items()
            if others:
                why = f"is of the layers {list(found)} under the pattern {self.pattern}. Write ? "
                yield Named("", problem=f"{why}for single characters in place of *."), {layer: path}
            elif not name.day:
                yield name, {layer: path}
            else:
                key = path.parent, name.day, name.stars
                together.setdefault(key, (name, {}))[1][layer] = path
        yield from together.values()

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene lazily, in native units; see `Product.open_scene`.

        A mask that a file has of its own is one more layer.
        """
        layers: dict[str, xr.DataArray] = {}
        encodings: dict[str, Encoding] = {}
        apart = _LAYER in self.pattern
        for name, path in scene.files.items():
            if name != _BESIDE:
                self._add(path, (name,) if apart else self.bands, layers, encodings)
        if _BESIDE in scene.files:
            layers[_MASK] = self._open(scene.files[_BESIDE]).isel(band=0, drop=True)
        return join_layers(scene.id, layers).assign_attrs(encodings=encodings)

    def _add(
        self,
        path: Path | str,
        bands: tuple[str, ...],
        layers: dict[str, xr.DataArray],
        encodings: dict[str, Encoding],
    ) -> None:
        """Add the bands of a file, its own masks, and what its numbers mean."""
        image, stated = self._open(path), _stated(path, stated_bands(path, self.readable), bands)
        refuse_other_order(path, bands, stated, image.dtype)
        if image.dtype.kind not in "iuf":
            raise SceneError(f"{path} holds {image.dtype}; expected integers or floats.")
        mine = Encoding(
            factor=self.factor,
            offset=self.offset,
            fill=() if self.nodata is None else (self.nodata,),
            low=self.valid_min,
            high=self.valid_max,
        )
        for band, said in zip(bands, stated, strict=True):
            layers[band] = image.isel(band=said.number - 1, drop=True)
            encodings[band] = mine.agreed(said, path)
        own = [said for said in stated if said.masked]
        for said in own[:1] if len(own) == len(stated) else own:
            name = f"{OWN_MASK} {bands[0]} {said.number}"
            layers[name] = open_mask(path, said.number, layers[bands[0]], self.readable)
        # GDAL makes a mask of alpha for some types of numbers only.
        every = stated_bands(path, self.readable)
        alpha = [said.number for said in every if said.colour == "alpha"]
        if alpha and not own:
            layers[f"{OWN_MASK} {bands[0]}"] = image.isel(band=alpha[0] - 1, drop=True)

    def usable(self, raw: xr.Dataset) -> dict[str, Any]:
        """Return where the numbers of each band may be used; see `Product.usable`."""
        usable: Any = True
        if _MASK in raw:
            mask = raw[_MASK]
            by_value = bool(self.clear_values)
            usable = mask.isin(self.clear_values) if by_value else ~bit(mask, *self.masked_bits)
        return dict.fromkeys(self.bands, usable)

    def blanks(self, raw: xr.Dataset) -> tuple[float, ...]:
        """Return what the usual fill numbers become that nobody declared; see `Product.blanks`.

        Where `valid_min` or `valid_max` is stated, numbers on the right side of it are measured.
        """
        first, kind = self.bands[0], raw[self.bands[0]].dtype
        ends = (np.iinfo(kind).min, np.iinfo(kind).max) if kind.kind in "iu" else ()
        # One band alone may well have any of them, but not often the ends.
        usual = USUAL_FILL if len(self.bands) > 1 else ()
        numbers = np.array(sorted({0, *usual, *ends}), "float64")
        if np.isfinite([self.valid_min, self.valid_max]).any():
            numbers = numbers[(numbers < self.valid_min) | (numbers > self.valid_max)]
        decoded = raw.attrs["encodings"][first].decode(xr.DataArray(numbers))
        return tuple(float(v) for v in decoded.values if np.isfinite(v))

    def _open(self, path: Path | str) -> xr.DataArray:
        if self.grid is None:
            return open_layer(path, self.readable)
        return open_layer(path, self.readable, crs=self.grid.crs, transform=self.grid.transform)

    def _masks(self, paths: list[Path]) -> dict[tuple[Path, str], list[tuple[Path, Named]]]:
        """Find the masks, by folder and day."""
        found: dict[tuple[Path, str], list[tuple[Path, Named]]] = defaultdict(list)
        for path in paths if self.mask_pattern else ():
            named = read_name(str(self.mask_pattern), path.name)
            if named and named.day:
                found[path.parent, named.day].append((path, named))
        return found

    def _goes_with(self, mask: Named, image: Named) -> bool:
        """Return whether the stars of a mask may be those of an image, if both have as many."""
        same = str(self.mask_pattern).count("*") == self.pattern.count("*")
        return not same or bool(mask.stars & image.stars)


def _no_mask(pattern: str, found: list[Path]) -> str:
    """Return why an image has not one mask."""
    if len(found) == 1:
        return ""
    if not found:
        return f"has no mask {pattern} beside it. Add the file, or leave out mask_pattern."
    return (
        f"has several masks: {', '.join(mask.name for mask in found)}. Write mask_pattern with a "
        "* for what images and masks have in common, as often as pattern has one."
    )


def _stated(
    path: Path | str, found: Sequence[StatedBand], bands: tuple[str, ...]
) -> list[StatedBand]:
    """Return what a file says of its bands: of all but alpha."""
    kept = [band for band in found if band.colour != "alpha"]
    alpha = [band.number for band in found if band.colour == "alpha"]
    if len(kept) == len(bands):
        if alpha and alpha != [len(found)]:
            raise SceneError(
                f"{path} says that band {alpha[0]} of {len(found)} is alpha; expected the last. "
                "GDAL's option ALPHA=YES says so of the second band, whatever it holds. Say "
                f"in the file which is: rio edit-info --colorinterp {alpha[0]}=undefined,"
                f"{len(found)}=alpha."
            )
        return kept
    if len(found) == len(bands):
        raise SceneError(
            f"{path} says that band {alpha[0]} is alpha: what may be used. `layers` calls it "
            f"{bands[alpha[0] - 1]}. Leave it out of `layers`; if it is no alpha, say so "
            f"in the file: rio edit-info --colorinterp {alpha[0]}=undefined."
        )
    raise SceneError(
        f"{path} has {len(kept)} bands{' and alpha' if alpha else ''}; expected {len(bands)} "
        f"({', '.join(bands)}). Give `layers` in the order of the file, or write {_LAYER} in "
        "`pattern` if each band has a file of its own."
    )
