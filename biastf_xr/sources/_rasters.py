"""What GDAL may open, and the one place where it opens it.

A raster is bytes of a stranger.  GDAL knows some 150 formats, and several of them (VRT, WMS, tile
indexes) are descriptions of other data: any file, any URL.  So a product names its formats; what
lies beside a raster is not looked at unless it is part of it; a raster that names further data sets
is refused; and so is a path of GDAL's own ("/vsicurl/...") that a name or a catalogue brings along.
"""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._files import check_regular
from biastf_xr._urls import archive_of, is_url, split_url
from biastf_xr.errors import BiastfError, ConfigError, SceneError
from biastf_xr.sources._elsewhere import refuse_data_elsewhere
from biastf_xr.sources._requests import check_redirects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

# Schemes of URLs that files and catalogues may lie at, and those that the option `allow` may add;
# "file" stands for any file of this machine.
SCHEMES = ("https", "s3")
MORE_SCHEMES = ("http", "ftp", "gs", "az", "oss", "file")

# What GDAL reads with a raster, if it may: the name of the raster with these ends, or in its place.
BESIDE = (".msk", ".MSK", ".aux.xml", ".ovr", ".tfw", ".wld", ".hdr", ".HDR")

_ONE_IMAGE = (
    "Expected one image that holds its own numbers. Take it out of the file (gdal_translate), or "
    "move the file out of the folder."
)

# Pixels on a side of a raster, and bytes of a block of it, at most.
SIDE, BLOCK = 1 << 20, 1 << 28

# The filters of warnings are the process's: threads that change them take turns.
_FILTERS = threading.RLock()


@dataclass(frozen=True)
class Readable:
    """What may be opened.

    `formats`: Drivers of GDAL, in the order in which they are tried.
    `beside`: Whether files beside a raster of this machine are part of it: ``.aux.xml``, ``.msk``,
    ``.tfw``, ``.hdr``.
    `schemes`: Of URLs; "file" for files outside of the folder of a catalogue.
    """

    formats: tuple[str, ...] = ("GTiff",)
    beside: bool = False
    schemes: tuple[str, ...] = SCHEMES

    def with_more(self, allow: Iterable[str]) -> Readable:
        """Return this with the formats and schemes of the option `allow`."""
        given = (allow,) if isinstance(allow, str) else tuple(allow)
        schemes = tuple(name for name in given if name in (*SCHEMES, *MORE_SCHEMES))
        formats = tuple(str(name) for name in given if name not in schemes)
        if formats and (unknown := sorted({*formats} - _drivers())):
            raise ConfigError(
                f"allow is {list(given)}, of which {unknown} is unknown; expected drivers of GDAL, "
                f'as "VRT", and of the schemes {list(MORE_SCHEMES)}.'
            )
        return Readable((*self.formats, *formats), self.beside, (*self.schemes, *schemes))

    def formats_of(self, path: Path | str) -> tuple[str, ...]:
        """Return the formats that a file may have; NetCDF, which is looked into, by its name."""
        named = _netcdf_of(path) is not None
        return tuple(name for name in self.formats if (name == "netCDF") == named)

    def options(self, path: Path | str = "") -> Mapping[str, Any]:
        """Return the options of GDAL that keep it from looking at what lies beside a file."""
        beside = self.beside and not is_url(path)
        listing = "TRUE" if beside else "EMPTY_DIR"
        return {"GDAL_DISABLE_READDIR_ON_OPEN": listing, "GDAL_PAM_ENABLED": beside}


def _netcdf_of(path: Path | str) -> Path | None:
    """Return the NetCDF file that a path is, or is part of; None for any other."""
    file = (archive_of(path) if isinstance(path, str) else None) or Path(path)
    return file if file.suffix.lower() == ".nc" else None


@cache
def _drivers() -> frozenset[str]:
    import rasterio

    with rasterio.Env() as env:
        return frozenset(env.drivers())


@contextmanager
def open_file(path: Path | str, how: Readable = Readable()) -> Iterator[Any]:
    """Open a raster with the first of the formats that it has."""
    import rasterio

    with _opened(path, how, rasterio.open) as file:
        check_blocks(path, file)
        if file.tags(ns="OVERVIEWS"):  # which GDAL would open with whatever driver takes them
            raise SceneError(f"{path} names overviews in another file. {_ONE_IMAGE}")
        yield file


def check_blocks(path: Path | str, file: Any) -> None:
    """Check the sizes of an open raster; see `check_sizes`."""
    for (rows, cols), kind in zip(file.block_shapes, file.dtypes, strict=True):
        size = np.dtype(kind).itemsize if kind in np.sctypeDict else 16
        check_sizes(path, file.shape, rows * cols * size)


def check_sizes(path: Path | str, shape: tuple[int, ...], block: int) -> None:
    """Refuse a raster of more pixels than any has, or whose blocks do not fit in memory.

    A block, that is a tile, a strip or a chunk, is unpacked as a whole to read one pixel of it.
    """
    if max(shape, default=0) > SIDE or block > BLOCK:
        raise SceneError(
            f"{path} has {' x '.join(map(str, shape))} pixels, in blocks of {block} bytes; "
            f"expected at most {SIDE} on a side, and {BLOCK} bytes. Write it with smaller tiles "
            "(gdal_translate -co TILED=YES), or move it out of the folder."
        )


def open_array(path: Path | str, how: Readable, **options: Any) -> Any:
    """Open a raster that is one image, dims ``(band, y, x)``; pixels are read when indexed."""
    import rasterio
    import rioxarray
    from xarray import DataArray

    def opener(name: str, **options: Any) -> Any:
        with rasterio.open(name, **{key: options[key] for key in ("driver", "sharing")}) as file:
            check_blocks(path, file)  # before coordinates are made of its sizes
        return rioxarray.open_rasterio(name, **options)

    # Of the data sets that a file names, rioxarray opens those called so, with any driver: none.
    found = _opened(path, how, opener, variable=token_hex(16), **options)
    if not isinstance(found, DataArray):
        raise SceneError(f"{path} names other data sets. {_ONE_IMAGE}")
    return found


def _opened(path: Path | str, how: Readable, opener: Callable[..., Any], **options: Any) -> Any:
    import rasterio
    import rasterio.errors

    name, errors = _checked_name(path, how), []
    with opening(path), rasterio.Env(**how.options(path)):
        for driver in how.formats_of(path):
            try:
                return opener(name, driver=driver, sharing=False, **options)
            except rasterio.errors.RasterioIOError as error:
                errors.append(error)
        known = " or ".join(dict.fromkeys(how.formats))
        raise SceneError(
            f"{path}: cannot be opened as a raster of the format {known} "
            f"({errors[0] if errors else 'it is named as another'}). Download it again "
            "or convert it; a format that you trust goes into the option `allow` of the sensor, "
            'as allow = ["VRT"].'
        ) from next(iter(errors), None)


def _checked_name(path: Path | str, how: Readable) -> str:
    """Return what GDAL is asked to open; refuse what leads elsewhere than it says."""
    if is_url(path):
        scheme = split_url(path)[0].lower()
        if scheme not in how.schemes:
            raise SceneError(not_allowed(path, scheme))
        if scheme in ("http", "https"):
            check_redirects(str(path), how.schemes)
        return str(path)
    with opening(path):
        check_regular((archive_of(path) if isinstance(path, str) else None) or path)
    if netcdf := _netcdf_of(path):
        refuse_data_elsewhere(netcdf)
    if isinstance(path, str) and archive_of(path):
        return path
    # A relative path may begin as what GDAL or rasterio take for a scheme.
    name = str(Path(path).absolute())
    if name.startswith("/vsi"):
        raise SceneError(f"{path} is a path of GDAL's own; expected a file. Give the file itself.")
    if how.beside:
        with opening(path):
            _check_beside(name)
    return name


def _check_beside(name: str) -> None:
    """Refuse what GDAL would open with a raster and wait for, or take for another format."""
    stem = name.removesuffix(Path(name).suffix)
    for path in (*(name + end for end in BESIDE), *(stem + end for end in BESIDE)):
        with suppress(FileNotFoundError):
            check_regular(path)
            if path.lower().endswith(".msk"):  # which GDAL opens with whatever driver takes it
                with open_file(path):
                    pass


def not_allowed(href: Path | str, scheme: str) -> str:
    """Return the problem of what lies at a scheme that is not allowed."""
    return (
        f"{href} lies at {scheme}://; expected {' or '.join(f'{s}://' for s in SCHEMES)}. "
        f'If you trust it, say so in the options of the sensor: allow = ["{scheme}"].'
    )


@contextmanager
def opening(path: Path | str) -> Iterator[None]:
    """Open a raster without a warning of a grid that is not there; name one that is none."""
    import rasterio.errors

    try:
        with without_grid_warning():
            yield
    except BiastfError:
        raise
    except (rasterio.errors.RasterioError, OSError, UnicodeError) as error:
        raise SceneError(f"{path}: cannot be opened as a raster ({error}).") from error


@contextmanager
def without_grid_warning() -> Iterator[None]:
    """Open rasters that carry no grid without a warning: it is stated, or its lack is an error."""
    from rasterio.errors import NotGeoreferencedWarning

    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        # Scales are read by `_stated`, band by band.
        warnings.filterwarnings("ignore", "(Scales|Offsets) differ across bands")
        yield
