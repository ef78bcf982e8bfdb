"""Stores on disk: open a cube, write whole shards, publish a finished cube at once."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from biastf_xr.cube.encoding import round_mantissa
from biastf_xr.cube.spec import STRUCTURE_VERSION, CubeSpec, Layout, sort_bands
from biastf_xr.errors import CubeExistsError, CubeStructureError
from biastf_xr.grid import Tile, geobox_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import xarray as xr
    import zarr
    from numpy.typing import NDArray


def open_cube(
    path: str | Path, *, chunks: Literal["shards"] | Mapping[str, int] | None = "shards"
) -> xr.Dataset:
    """Open a cube lazily.

    Plain ``xr.open_zarr(path)`` gives the same data; this one checks the structure and chooses
    chunks that equal the stored shards, the right unit for processing.

    Parameters
    ----------
    path : str or pathlib.Path
        The Zarr store.
    chunks : "shards", mapping or None
        Dask chunks; None for arrays read on access without Dask (good for a few points).

    Returns
    -------
    xarray.Dataset
        Lazy; dims ``(time, y, x)``, float32 bands in reflectance units with NaN where missing,
        uint8 masks, the CRS in the coordinate ``spatial_ref``.

    Raises
    ------
    CubeStructureError
        If there is no cube at `path`, or one of another structure version.
    """
    import xarray as xr

    path = Path(path)
    if not (path / "zarr.json").exists():
        raise CubeStructureError(
            f"no cube at {path}: expected a Zarr v3 store (a folder with zarr.json). "
            "Write one with `biastf-xr ingest`."
        )
    ds: xr.Dataset = xr.open_zarr(path, chunks=None)
    found = ds.attrs.get("biastf_structure")
    if found != STRUCTURE_VERSION:
        raise CubeStructureError(
            f"{path} has structure version {found!r}, this biastf_xr reads {STRUCTURE_VERSION}. "
            "Ingest the scenes again, or open it with plain xarray."
        )
    if chunks is None:
        return ds
    if chunks == "shards":
        layout = layout_of(ds)
        chunks = {"time": layout.time, "y": layout.shard_y, "x": layout.shard_x}
    return ds.chunk(dict(chunks))


def bands_of(ds: xr.Dataset) -> tuple[str, ...]:
    """Give the band variables of a cube: by colour in spectral order, then the others by name.

    Parameters
    ----------
    ds : xarray.Dataset
        A cube.

    Returns
    -------
    tuple of str
        Names of the floating-point variables with dims ``(time, y, x)``.
    """
    names = [
        str(name)
        for name, var in ds.data_vars.items()
        if var.dims == ("time", "y", "x") and var.dtype.kind == "f"
    ]
    return sort_bands(names)


def layout_of(ds: xr.Dataset) -> Layout:
    """Read the layout of an opened cube from its encoding.

    Parameters
    ----------
    ds : xarray.Dataset
        A cube opened from a store.

    Returns
    -------
    Layout
        Its chunks and shards.
    """
    encoding = ds[bands_of(ds)[0]].encoding
    time, y, x = encoding["chunks"]
    shards = encoding.get("shards") or encoding["chunks"]
    return Layout(time, y, x, shards[1], shards[2])


def spec_of(ds: xr.Dataset) -> CubeSpec:
    """Describe an opened cube.

    Parameters
    ----------
    ds : xarray.Dataset
        A cube opened from a store.

    Returns
    -------
    CubeSpec
        Its structure, without the attributes.
    """
    kind = ds.attrs["biastf_kind"]
    return CubeSpec(kind, bands_of(ds), geobox_of(ds, f"{kind} cube"), layout_of(ds))


def window_reader(path: str | Path, bands: tuple[str, ...]) -> Any:
    """Open the band arrays of a store for direct window reads, without a graph.

    Parameters
    ----------
    path : str or pathlib.Path
        The Zarr store.
    bands : tuple of str
        Bands to read.

    Returns
    -------
    callable
        Takes a time index, or an array of them, and a `Tile` inside the grid; gives float32 of
        shape ``(band, ..., y, x)``.
    """
    import zarr

    group = zarr.open_group(path, mode="r")
    arrays = [_array(group, band) for band in bands]

    def read(time: int | NDArray[np.intp], tile: Tile) -> NDArray[np.float32]:
        """Read one window of every band."""
        where = (time, *tile.slices)
        return np.stack([np.asarray(a.oindex[where], np.float32) for a in arrays])

    return read


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    import zarr

    array = group[name]
    if not isinstance(array, zarr.Array):
        raise CubeStructureError(f"{name} in {group.store} is not an array")
    return array


def write_window(
    path: str | Path, times: slice, tile: Tile, data: Mapping[str, NDArray[Any]]
) -> None:
    """Write one window of a cube; float bands are rounded on the way.

    Parameters
    ----------
    path : str or pathlib.Path
        The Zarr store.
    times : slice
        Time indices.
    tile : Tile
        Rows and columns; to be safe beside other writers it must be made of whole shards.
    data : mapping of str to ndarray
        Variables of shape ``(time, y, x)``.
    """
    import zarr

    group = zarr.open_group(path, mode="r+")
    rows, cols = tile.slices
    for name, values in data.items():
        packed = round_mantissa(values) if values.dtype.kind == "f" else values
        _array(group, name)[times, rows, cols] = packed


def recover(path: str | Path) -> Path:
    """Put a store back in its place if `publishing` was killed between its two renames.

    Parameters
    ----------
    path : str or pathlib.Path
        Where the store belongs.

    Returns
    -------
    pathlib.Path
        The same path.
    """
    path = Path(path)
    if _retired(path).exists() and not path.exists():
        _retired(path).rename(path)
    return path


def _retired(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


@contextmanager
def publishing(path: str | Path, *, replace: bool) -> Iterator[Path]:
    """Build a store beside its place and move it there when it is complete.

    A reader sees the old store or the finished new one, never a half-written one; if the body
    raises, the old store is untouched and the unfinished one is removed.

    Parameters
    ----------
    path : str or pathlib.Path
        Where the store belongs.
    replace : bool
        Whether a store that is there may be replaced.

    Yields
    ------
    pathlib.Path
        Where to build it.

    Raises
    ------
    CubeExistsError
        If there is something at `path` and `replace` is false.
    """
    path = recover(path)
    if path.exists() and not replace:
        raise CubeExistsError(
            f"{path} already exists and is left as it is. "
            "Choose another output, or ask to replace it (`--overwrite`, overwrite=True)."
        )
    partial, retired = path.with_name(f".{path.name}.partial"), _retired(path)
    for leftover in (partial, retired):
        shutil.rmtree(leftover, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.exists():
        path.rename(retired)
    partial.rename(path)
    shutil.rmtree(retired, ignore_errors=True)
