"""What a raster file itself says of its bands: fill, scale, order, and a mask of its own."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from biastf_xr.errors import SceneError
from biastf_xr.sources._rasters import open_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from biastf_xr.sources._rasters import Readable

# Names of bands by what descriptions call them.
_COLOURS = {
    "blue": "blue", "green": "green", "red": "red", "nir": r"nir|nir ?0?8|nir narrow|near infrared",
    "swir1": r"swir ?1|swir ?16|sw ?ir1", "swir2": r"swir ?2|swir ?22|sw ?ir2",
}  # fmt: skip
# Bands that have the word of a colour in their name and are another one.
_OTHERS = r"edge|coastal|chlorophyll|quality|mask"
# Begins the names of layers with masks that files have of their own; no band is called so.
OWN_MASK = "mask of the file"


@dataclass(frozen=True)
class StatedBand:
    """What a file says of one of its bands.

    `number`: From 1 on.
    `fill`: Numbers that it calls missing.
    `scale`, `offset`: 1 and 0 where it does not say.
    `name`: Its description.
    `colour`: Its colour interpretation.
    `masked`: Whether a mask goes with it.
    """

    number: int
    fill: tuple[float, ...]
    scale: float
    offset: float
    name: str
    colour: str
    masked: bool

    @property
    def scaled(self) -> bool:
        """Return whether it says a scale."""
        return (self.scale, self.offset) != (1.0, 0.0)


def stated_of(path: Path | str, layer: xr.DataArray, how: Readable) -> StatedBand:
    """Return what the file of a layer says of its first band.

    Behind a URL a mask is not looked for: every file would be asked for one more time.
    """
    if isinstance(path, Path):
        return stated_bands(path, how)[0]
    attrs = layer.attrs
    fill = (float(attrs["_FillValue"]),) if "_FillValue" in attrs else ()
    scale, offset = float(attrs.get("scale_factor", 1)), float(attrs.get("add_offset", 0))
    return StatedBand(1, fill, scale, offset, "", "", masked=False)


def stated_bands(path: Path | str, how: Readable) -> tuple[StatedBand, ...]:
    """Read what a file says of its bands, once."""
    try:
        state = Path(path).stat()
    except OSError:
        return _read_bands(path, how, 0, 0)
    return _read_bands(path, how, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4096)
def _read_bands(path: Path | str, how: Readable, _time: int, _size: int) -> tuple[StatedBand, ...]:
    from rasterio.enums import MaskFlags

    with open_file(path, how) as file:
        shared = file.tags()
        found = []
        for i in file.indexes:
            tags = shared | file.tags(i)
            texts = [tags.get(name, "") for name in ("_FillValue", "missing_value")]
            fill = [file.nodatavals[i - 1], *map(_number, texts)]
            scale, offset = file.scales[i - 1], file.offsets[i - 1]
            if (scale, offset) == (1.0, 0.0):
                scale = _number(tags.get("scale_factor", "")) or 1.0
                offset = _number(tags.get("add_offset", "")) or 0.0
            flags = file.mask_flag_enums[i - 1]
            plain = {MaskFlags.all_valid, MaskFlags.nodata} & set(flags)
            name, colour = file.descriptions[i - 1] or "", file.colorinterp[i - 1].name
            known = tuple(sorted({float(v) for v in fill if v is not None}))
            found.append(StatedBand(i, known, scale, offset, name, colour, not plain))
    return tuple(found)


def refuse_other_order(
    path: Path | str, layers: Sequence[str], stated: Sequence[StatedBand], dtype: Any
) -> None:
    """Refuse a file that describes its bands in another order than the one stated."""
    wrong = [(band, layer, said) for band, layer in zip(stated, layers, strict=True)
             if (said := _other_band(band, layer, layers, dtype))]  # fmt: skip
    if wrong:
        told = ", ".join(f"band {b.number} is {said!r}, not {layer}" for b, layer, said in wrong)
        raise SceneError(
            f"{path} says of its bands: {told}. Put `layers` ({', '.join(layers)}) in the order of "
            "the file, or correct what it says."
        )


def _other_band(band: StatedBand, layer: str, layers: Sequence[str], dtype: Any) -> str:
    """Return what a file calls a band, if that is another band than the layer."""
    if band.colour == "palette":
        return "a palette"
    own = layer.casefold()
    for text in (band.name, band.colour if _meant(dtype, layers) else ""):
        words = re.sub(r"[^a-z0-9]+", " ", text.casefold()).strip()
        names = [c for c, word in _COLOURS.items() if re.search(rf"\b(?:{word})\b", words)]
        said = words if words in {x.casefold() for x in layers} else ""
        if len(names) == 1 and not re.search(_OTHERS, words):
            said = names[0]
        if said and said != own and (own in _COLOURS or said in {x.casefold() for x in layers}):
            return text
    return ""


def _meant(dtype: Any, layers: Sequence[str]) -> bool:
    """Return whether the colours of a file mean something: GDAL gives them to any three bytes."""
    return np.dtype(dtype) != np.uint8 or {"blue", "green", "red"} == {*layers[:3]}


def open_mask(path: Path | str, band: int, like: xr.DataArray, how: Readable) -> xr.DataArray:
    """Return where the file's own mask lets a band be used; pixels are read when indexed.

    `like`: The band.
    """
    import xarray as xr

    data = indexing.LazilyIndexedArray(_MaskArray(path, band, like.shape, how))
    return xr.DataArray(xr.Variable(("y", "x"), data), coords=like.coords)


class _MaskArray(BackendArray):
    """The mask of one band, whichever way the file has it; reads only what is indexed."""

    def __init__(self, path: Path | str, band: int, shape: tuple[int, ...], how: Readable) -> None:
        self.path, self.band, self.shape, self.how = path, band, shape, how
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, key: Any) -> Any:
        support = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: Any) -> Any:
        spans, rest = [], []
        for k, n in zip(key, self.shape, strict=True):
            span = range(n)[k] if isinstance(k, slice) else range(int(k), int(k) + 1)
            spans.append((span.start, max(span.stop, span.start)))
            rest.append(slice(None, None, span.step) if isinstance(k, slice) else 0)
        if any(start == stop for start, stop in spans):
            return np.zeros([b - a for a, b in spans], np.uint8)[tuple(rest)]
        with open_file(self.path, self.how) as file:
            return file.read_masks(self.band, window=tuple(spans))[tuple(rest)]


def own_masks(raw: xr.Dataset) -> Any:
    """Return where the masks of a scene's own files let it be used; everywhere without one.

    What is half transparent is a blend with what lies outside.
    """
    usable: Any = True
    for name in raw.data_vars:
        if str(name).startswith(OWN_MASK):
            usable = usable & raw[name].isin(_opaque(raw[name].dtype))
    return usable


def _opaque(dtype: np.dtype[Any]) -> tuple[float, ...]:
    """Return what masks, and alpha bands that GDAL makes no mask of, have where all is visible."""
    if dtype.kind == "f":
        return 1.0, 255.0
    return 255, int(np.iinfo(dtype).max)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
