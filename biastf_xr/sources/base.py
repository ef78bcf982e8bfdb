"""The contract of a satellite product, and what several products share."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import numpy as np

from biastf_xr.errors import GridMismatchError, SceneError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import xarray as xr
    from affine import Affine

# The filters of warnings are the process's: threads that change them take turns.
_FILTERS = threading.RLock()


@dataclass(frozen=True)
class Scene:
    """One acquisition as it lies in an archive.

    Attributes
    ----------
    id : str
        Name of the scene in the archive, with its processing stamp where the archive has one.
    date : numpy.datetime64
        UTC day of acquisition; NaT where it cannot be read.
    files : mapping of str to pathlib.Path or str
        Path or URL of every layer (bands and quality layers).
    key : str
        Name of the acquisition, the same however often it is processed; `id` if empty.
    version : str
        Processing stamp; of two scenes with one key the greater string is the newer.
    problem : str
        Why the scene cannot be used: what, expected, what to do.  Empty if nothing is wrong.
    """

    id: str
    date: np.datetime64
    files: Mapping[str, Path | str]
    key: str = ""
    version: str = ""
    problem: str = ""

    @property
    def acquisition(self) -> str:
        """Return the name that all processings of this acquisition share."""
        return self.key or self.id


class Product(Protocol):
    """A satellite product: finds scenes, opens them lazily in native units, knows its masks.

    Attributes
    ----------
    name : str
        Name used in configuration files.
    expects : str
        What its files are called, with an example; for messages.
    bands : tuple of str
        Bands it can deliver, by colour.
    extras : mapping of str to dict
        Further uint8 layers kept in the cube, by name, with their CF attributes.  Each has
        ``_fill`` (its value where nothing is known) besides.
    """

    name: ClassVar[str]
    expects: ClassVar[str]

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands, by colour."""
        ...

    @property
    def extras(self) -> Mapping[str, dict[str, Any]]:
        """Return the further layers, by name."""
        ...

    def find_scenes(self, folder: Path | str) -> list[Scene]:
        """List the scenes under a folder.

        Unusable scenes are listed too, with their `Scene.problem`.  Scenes of one day are listed
        in the order in which a mosaic takes them: a pixel comes from the first that is clear.

        Parameters
        ----------
        folder : pathlib.Path or str
            Searched with its subfolders; a str is the URL of a catalogue.

        Returns
        -------
        list of Scene
            Scenes in order of date.
        """
        ...

    def open_scene(self, scene: Scene) -> xr.Dataset:
        """Open a scene, every layer in its native units; pixels are read when indexed.

        Parameters
        ----------
        scene : Scene
            As from `find_scenes`.

        Returns
        -------
        xarray.Dataset
            Dims ``(y, x)``, one variable per layer, CRS in ``spatial_ref``.  Without Dask:
            ``raw.isel(y=..., x=...).load()`` reads just that window.
        """
        ...

    def to_reflectance(self, raw: xr.Dataset) -> xr.Dataset:
        """Scale and mask an opened scene, or a window of one.

        Parameters
        ----------
        raw : xarray.Dataset
            As from `open_scene`, in memory or with Dask arrays.

        Returns
        -------
        xarray.Dataset
            Bands as float32 reflectance, NaN where missing, clouded or shadowed; extras as uint8.
        """
        ...


def options_of(product: Product) -> str:
    """Return a product and the options that are not its defaults.

    Parameters
    ----------
    product : Product
        The product.

    Returns
    -------
    str
        For the cube's record: options that a later version adds do not change it.
    """
    given = ""
    for option in dataclasses.fields(cast("Any", product)):
        value = getattr(product, option.name)
        if value != option.default:
            given += f", {option.name}={value!r}"
    return product.name + given


def open_layer(
    path: Path | str, *, crs: str | None = None, transform: Affine | None = None
) -> xr.DataArray:
    """Open a raster file in native units; pixels are read when indexed.

    Parameters
    ----------
    path : pathlib.Path or str
        Any raster GDAL reads; a path or a URL.
    crs : str, optional
        CRS to state for a file that has none.
    transform : affine.Affine, optional
        Pixel-to-CRS transform to state together with `crs`.

    Returns
    -------
    xarray.DataArray
        Dims ``(band, y, x)``.

    Raises
    ------
    SceneError
        If the file cannot be opened.
    GridMismatchError
        If it carries no CRS and none is stated.
    """
    import rasterio.errors
    import rioxarray
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    try:
        with without_grid_warning():
            opened: Any = rioxarray.open_rasterio(path, masked=False)
    except (rasterio.errors.RasterioError, OSError) as error:
        raise SceneError(f"{path}: cannot be opened as a raster ({error}).") from error
    array: xr.DataArray = opened
    if crs is not None and transform is not None:
        geobox = GeoBox((array.sizes["y"], array.sizes["x"]), transform, crs)
        array = array.drop_vars(["y", "x", "spatial_ref"], errors="ignore")
        return array.assign_coords(dict(xr_coords(geobox)))
    if array.rio.crs is None:
        raise GridMismatchError(
            f'{path} carries no CRS. State the grid: `grid = {{crs = "EPSG:...", '
            "resolution = 30, origin = [x, y]}` in the configuration, or --crs, --resolution and "
            "--origin on the command line."
        )
    return array


@contextmanager
def without_grid_warning() -> Iterator[None]:
    """Open rasters that carry no grid without a warning: it is stated, or its lack is an error.

    Yields
    ------
    None
        While rasters are opened.
    """
    from rasterio.errors import NotGeoreferencedWarning

    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def open_layers(scene: Scene) -> dict[str, xr.DataArray]:
    """Open every file of a scene that has one layer a file.

    Parameters
    ----------
    scene : Scene
        The scene.

    Returns
    -------
    dict of xarray.DataArray
        Dims ``(y, x)``, by layer; read when indexed.
    """
    return {n: open_layer(path).isel(band=0, drop=True) for n, path in scene.files.items()}


def join_layers(scene_id: str, layers: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """Put the layers of a scene into one Dataset.

    Parameters
    ----------
    scene_id : str
        The scene.
    layers : mapping of str to xarray.DataArray
        Lazy, dims ``(y, x)``.

    Returns
    -------
    xarray.Dataset
        One variable per layer.

    Raises
    ------
    GridMismatchError
        If the layers have different pixels.
    """
    import xarray as xr

    try:
        xr.align(*layers.values(), join="exact", copy=False)
    except ValueError as error:
        raise GridMismatchError(
            f"scene {scene_id}: its layers {sorted(layers)} do not lie on one grid. "
            "Download them again, or move the scene out of the folder."
        ) from error
    return xr.Dataset(dict(layers))


def scale(dn: xr.DataArray, *, factor: float, offset: float, valid: Any) -> xr.DataArray:
    """Turn digital numbers into float32 reflectance.

    Parameters
    ----------
    dn : xarray.DataArray
        Digital numbers.
    factor, offset : float
        ``reflectance = dn * factor + offset``.
    valid : xarray.DataArray of bool
        Where the value may be used; NaN elsewhere.

    Returns
    -------
    xarray.DataArray
        Lazy, float32.
    """
    reflectance = dn.astype("float32") * np.float32(factor) + np.float32(offset)
    return reflectance.where(valid)


def bit(flags: xr.DataArray, *positions: int) -> xr.DataArray:
    """Test bits of a quality layer.

    Parameters
    ----------
    flags : xarray.DataArray
        Unsigned integers.
    *positions : int
        Bit numbers, 0 is the least significant.

    Returns
    -------
    xarray.DataArray of bool
        True where any of the bits is set.
    """
    mask = np.asarray(sum(1 << p for p in positions)).astype(flags.dtype)
    return (flags & mask) != 0


def day_of_year(year: int, number: int) -> dt.date:
    """Find a day by its number in the year.

    Parameters
    ----------
    year, number : int
        The year, and the number of the day from 1.

    Returns
    -------
    datetime.date
        The day.

    Raises
    ------
    ValueError
        If the year has no such day.
    """
    day = dt.date(year, 1, 1) + dt.timedelta(days=number - 1)
    if day.year != year:
        raise ValueError(f"{year} has no day {number}")
    return day


def require_folder(folder: Path | str, what: str) -> Path:
    """Check that a scene folder is there.

    Parameters
    ----------
    folder : pathlib.Path or str
        The folder.
    what : str
        The product, for the message.

    Returns
    -------
    pathlib.Path
        The same folder.

    Raises
    ------
    SceneError
        If it is not a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SceneError(f"{folder} is not a folder; expected one with {what} scenes.")
    return folder


def lacking(files: Mapping[str, Path | str], layers: Iterable[str]) -> str:
    """Return which files of a scene are missing.

    Parameters
    ----------
    files : mapping
        What was found.
    layers : iterable of str
        What is needed.

    Returns
    -------
    str
        A `Scene.problem`; empty if nothing is missing.
    """
    missing = [layer for layer in layers if layer not in files]
    if not missing:
        return ""
    return f"lacks the layers {missing}; found {sorted(files)}. Download the missing files."


def julian_day(text: str) -> tuple[np.datetime64, str]:
    """Read a day written as year and day of the year.

    Parameters
    ----------
    text : str
        Seven digits, YYYYDDD.

    Returns
    -------
    numpy.datetime64
        The day; NaT if there is no such day.
    str
        A `Scene.problem`; empty if the day is one.
    """
    try:
        return np.datetime64(day_of_year(int(text[:4]), int(text[4:]))), ""
    except ValueError as error:
        return np.datetime64("NaT", "D"), unreadable_date(text, error)


def unreadable_date(text: str, error: Exception) -> str:
    """Return that the date in a file name is not a day.

    Parameters
    ----------
    text : str
        What stands in the name.
    error : Exception
        Why it is no day.

    Returns
    -------
    str
        A `Scene.problem`.
    """
    return f"the date in its name, {text!r}, is not a day ({error}). Correct the file name."


def in_order(scenes: Iterable[Scene], *, by_id: bool = True) -> list[Scene]:
    """Put scenes in order of date; those without a date come last.

    Parameters
    ----------
    scenes : iterable of Scene
        Any order.
    by_id : bool
        Put scenes of one day in order of id; otherwise they keep their order.

    Returns
    -------
    list of Scene
        Ordered.
    """
    return sorted(scenes, key=lambda s: (np.isnat(s.date), s.date, s.id if by_id else ""))
