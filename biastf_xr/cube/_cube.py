"""A cube opened once; its xarray door; writing whole shards."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from biastf_xr._days import to_days
from biastf_xr._system import damaged, reading
from biastf_xr.cube._encoding import round_mantissa
from biastf_xr.cube._hashes import hashes_of
from biastf_xr.cube._ledger import DayRecord, is_checked, read_clear_pixels, read_ledger
from biastf_xr.cube._plausible import check_image
from biastf_xr.cube._screened import without_suspects
from biastf_xr.cube._screening import ScreenRecord, read_screening
from biastf_xr.cube._spec import (
    STANDARD_ERROR,
    STRUCTURE_VERSION,
    CubeSpec,
    Layout,
    sigma_of,
    sort_bands,
)
from biastf_xr.cube._structure import faults_of, wrong_axes
from biastf_xr.cube.stores import locate, store_at
from biastf_xr.cube.stores.base import open_group
from biastf_xr.errors import CubeStructureError, TargetDateError
from biastf_xr.grid import Tile, geobox_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import xarray as xr
    import zarr
    from numpy.typing import NDArray


# In the encoding of bands that were looked at when they were ingested: arithmetic loses it.
CHECKED = "biastf_checked"


class Cube:
    """A cube in a store, opened once: when it is first asked for something.

    What it says stays as it was then; `reopened` looks again.  It travels to another process as
    its path.

    Parameters
    ----------
    path : str or pathlib.Path
        The store: a folder, a URL, or an Icechunk repository; see
        `biastf_xr.cube.stores.store_at`.
    version : str, optional
        Of an Icechunk store: the snapshot or tag to read; the newest by default.

    Attributes
    ----------
    store : CubeStore
        Where it is.

    Examples
    --------
    >>> cube = Cube("fine.zarr")
    >>> cube.kind, cube.bands[-1], cube.to_xarray().sizes["time"]
    ('fine', 'swir2', 3)
    """

    def __init__(self, path: str | Path, *, version: str | None = None) -> None:
        self.path, self.version, self.store = str(path), version, store_at(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Cube, version=self.version), (locate(self.path, Path()),)

    @classmethod
    def of(cls, cube: Cube | str | Path) -> Cube:
        """Return a cube itself, or the one at a path, which is made absolute.

        Parameters
        ----------
        cube : Cube, str or pathlib.Path
            The cube.

        Returns
        -------
        Cube
            The cube.
        """
        return cube if isinstance(cube, Cube) else cls(locate(cube, Path()))

    def exists(self) -> bool:
        """Return whether there is something in the store.

        Returns
        -------
        bool
            Asked of the store every time.
        """
        return self.store.exists()

    def reopened(self) -> Cube:
        """Return the cube as it is now.

        Returns
        -------
        Cube
            Opened when it is asked for something.
        """
        return Cube(self.path, version=self.version)

    @cached_property
    def group(self) -> zarr.Group:
        """Return its Zarr group, for reading; its structure is that of a cube."""
        self._refuse_faults()
        return self._group

    @cached_property
    def _group(self) -> zarr.Group:
        """Open its Zarr group."""
        try:
            return open_group(self.store.reader(self.version), url=self.store.url)
        except FileNotFoundError as error:
            raise CubeStructureError(
                f"no cube at {self.path}: expected a Zarr v3 store (a folder with zarr.json). "
                "Write one with `biastf-xr ingest`."
            ) from error

    @cached_property
    def _dataset(self) -> xr.Dataset:
        with reading(self.path):
            return dataset_of(self._group)

    @cached_property
    def faults(self) -> tuple[tuple[str, str], ...]:
        """Return what is wrong with its structure: the variable, and what it is."""
        version = self._group.attrs.get("biastf_structure")
        if version != STRUCTURE_VERSION:
            raise CubeStructureError(
                f"{self.path} has structure version {version!r}, this biastf_xr reads "
                f"{STRUCTURE_VERSION}. Ingest the scenes again, or open it with plain xarray."
            )
        with reading(self.path):
            found = tuple(faults_of(self._group))
            return found or tuple(wrong_axes(self._dataset))

    def _refuse_faults(self) -> None:
        if self.faults:
            told = "; ".join(f"{name} {what}".strip() for name, what in self.faults[:3])
            raise damaged(self.path, f"{told}. `biastf-xr verify` lists all that is wrong")

    @cached_property
    def _all_days(self) -> xr.Dataset:
        """Open all its days, read on access; coordinates along time are loaded."""
        self._refuse_faults()
        ds = self._dataset
        with reading(self.path):
            coords = {name: c.load() for name, c in ds.coords.items() if c.dims == ("time",)}
        for band in bands_of(ds):
            ds[band].encoding[CHECKED] = self.checked
        return ds.assign_coords(coords)

    @cached_property
    def checked(self) -> bool:
        """Return whether its pixels were looked at when it was ingested."""
        return is_checked(self.group)

    @property
    def kind(self) -> str:
        """Return what it holds: fine, coarse or fused."""
        return str(self._all_days.attrs["biastf_kind"])

    @property
    def bands(self) -> tuple[str, ...]:
        """Return its bands, in their one order."""
        return bands_of(self._all_days)

    @property
    def layout(self) -> Layout:
        """Return its chunks and shards."""
        return layout_of(self._all_days)

    @property
    def spec(self) -> CubeSpec:
        """Return its structure, without the attributes."""
        return spec_of(self._all_days)

    @property
    def days(self) -> NDArray[np.datetime64]:
        """Return every day on its time axis, with a scene or without."""
        return to_days(self._all_days["time"])

    @cached_property
    def ledger(self) -> dict[np.datetime64, DayRecord]:
        """Return what a fine or coarse cube was ingested from, by day."""
        with reading(self.path):
            return read_ledger(self.group)

    @cached_property
    def screening(self) -> dict[np.datetime64, ScreenRecord]:
        """Return how the days of a fine cube were screened; without those that were not."""
        with reading(self.path):
            return read_screening(self.group)

    @cached_property
    def clear_pixels(self) -> dict[np.datetime64, NDArray[np.uint32]] | None:
        """Return how many clear pixels every shard has, by day; None if that was not counted."""
        with reading(self.path):
            return read_clear_pixels(self.group)

    @cached_property
    def day_hashes(self) -> dict[np.datetime64, str]:
        """Return a hash of what every day was made from; empty where that is not known."""
        with reading(self.path):
            return hashes_of(self.group)

    def to_xarray(
        self,
        *,
        chunks: Literal["shards"] | Mapping[str, int] | None = "shards",
        days: Literal["observed", "all"] = "observed",
    ) -> xr.Dataset:
        """Return the cube as a lazy Dataset.

        Parameters
        ----------
        chunks : "shards", mapping or None
            Dask chunks; None for arrays read on access without Dask.
        days : {"observed", "all"}
            "observed" keeps the days that have a scene.

        Returns
        -------
        xarray.Dataset
            As from `open_cube`.
        """
        ds = self._all_days
        ds = _observed(ds) if days == "observed" and "scenes" in ds.coords else ds.copy()
        if chunks is None:
            return ds
        along_time = {name: c for name, c in ds.coords.items() if c.dims == ("time",)}
        if chunks == "shards":
            layout = self.layout
            chunks = {"time": layout.time, "y": layout.shard_y, "x": layout.shard_x}
        return ds.chunk(dict(chunks)).assign_coords(along_time)

    def reader(
        self, bands: tuple[str, ...], *, suspects: bool = False
    ) -> Callable[[Any, Tile], NDArray[np.float32]]:
        """Return what reads windows of some bands, without a graph.

        Parameters
        ----------
        bands : tuple of str
            Bands to read.
        suspects : bool
            Whether fine observations that are suspected are read too.

        Returns
        -------
        callable
            Takes a time index, or an array of them, and a `Tile` inside the grid; returns float32
            of shape ``(band, ..., y, x)``.
        """
        arrays = [_array(self.group, band) for band in bands]

        def read(time: Any, tile: Tile) -> NDArray[np.float32]:
            """Read one window of every band."""
            where = (time, *tile.slices)
            values = np.stack([np.asarray(a.oindex[where], np.float32) for a in arrays])
            if not self.checked:
                self._check(values.reshape(len(bands), -1, *tile.shape), bands)
            flags = None if suspects else self.screen_flags(time, tile)
            return values if flags is None else without_suspects(values, flags)

        return read

    def _check(self, values: NDArray[np.float32], bands: tuple[str, ...]) -> None:
        """Mask what is no reflectance, date by date; refuse an image that has much of it."""
        for n in range(values.shape[1]):
            image = values[:, n]
            clear = check_image(image, self.path, bands, lambda _: "Ingest its scenes again.")
            np.copyto(image, np.float32(np.nan), where=~clear)

    def screen_flags(self, time: Any, tile: Tile) -> NDArray[np.uint8] | None:
        """Read a window of what screening says of a fine cube.

        Parameters
        ----------
        time : int or array_like of int
            Index on the time axis, or several.
        tile : Tile
            Window inside the grid.

        Returns
        -------
        ndarray of uint8 or None
            Shape ``(..., y, x)``, values of `SCREEN`; None if the cube has no such variable.
        """
        array = self._flags
        return None if array is None else np.asarray(array.oindex[(time, *tile.slices)])

    @cached_property
    def _flags(self) -> zarr.Array[Any] | None:
        return _array(self.group, "screen") if "screen" in self.group else None


def open_cube(
    path: str | Path,
    *,
    chunks: Literal["shards"] | Mapping[str, int] | None = "shards",
    days: Literal["observed", "all"] = "observed",
    version: str | None = None,
) -> xr.Dataset:
    """Open a cube lazily.

    Plain ``xr.open_zarr(path)`` gives the same data; this one checks the structure, leaves out
    the days without a scene and chooses chunks that equal the stored shards, the right unit for
    processing.

    Parameters
    ----------
    path : str or pathlib.Path
        The store: a folder, a URL, or an Icechunk repository; see
        `biastf_xr.cube.stores.store_at`.
    chunks : "shards", mapping or None
        Dask chunks; None for arrays read on access without Dask (good for a few points).
    days : {"observed", "all"}
        Fine and coarse cubes hold every day of their season; "observed" keeps the
        days that have a scene.
    version : str, optional
        Of an Icechunk store: the snapshot or tag to read; the newest by default.

    Returns
    -------
    xarray.Dataset
        Lazy; dims ``(time, y, x)``, float32 bands in reflectance units with NaN where missing,
        uint8 masks, the CRS in the coordinate ``spatial_ref``.

    Raises
    ------
    CubeStructureError
        If there is no cube at `path`, or one of another structure version.

    Examples
    --------
    >>> fine = open_cube("fine.zarr")
    >>> fine["nir"].dtype, fine.sizes["time"]
    (dtype('float32'), 3)
    """
    return Cube(path, version=version).to_xarray(chunks=chunks, days=days)


def dataset_of(group: zarr.Group) -> xr.Dataset:
    """Open the arrays of a Zarr group as a Dataset read on access, without opening it again."""
    import xarray as xr
    from xarray.backends import ZarrStore

    store = ZarrStore(group, mode="r", use_zarr_fill_value_as_mask=False)
    found: xr.Dataset = xr.open_dataset(store, chunks=None)
    return found


def _observed(ds: xr.Dataset) -> xr.Dataset:
    """Keep the days that have a scene; a slice where there is one every day."""
    have = np.flatnonzero(ds["scenes"].values != "")
    whole = have.size and have.size == have[-1] - have[0] + 1
    return ds.isel(time=slice(have[0], have[-1] + 1) if whole else have)


def bands_of(ds: xr.Dataset) -> tuple[str, ...]:
    """Return the bands of a cube: by colour in spectral order, then the others by name.

    A companion of others is none, even if a mean in time has made it a float.
    """
    floats = {
        str(name): var.attrs
        for name, var in ds.data_vars.items()
        if var.dims == ("time", "y", "x") and var.dtype.kind == "f"
    }
    companions = {
        name
        for attrs in floats.values()
        for name in str(attrs.get("ancillary_variables", "")).split()
    }
    return sort_bands(
        name
        for name, attrs in floats.items()
        if name not in companions
        and not str(attrs.get("standard_name", "")).endswith(STANDARD_ERROR)
    )


def layout_of(ds: xr.Dataset) -> Layout:
    """Read the layout of an opened cube from its encoding."""
    encoding = ds[bands_of(ds)[0]].encoding
    time, y, x = encoding["chunks"]
    shards = encoding.get("shards") or encoding["chunks"]
    return Layout(time, y, x, shards[1], shards[2])


def drop_days(ds: xr.Dataset, days: Any) -> xr.Dataset:
    """Take dates out of a cube, so that nothing downstream can read them."""
    drop = to_days(days, "the day to withhold")
    if not drop.size:
        return ds
    have = to_days(ds["time"])
    missing = drop[~np.isin(drop, have)]
    if missing.size:
        raise TargetDateError(
            f"cannot withhold {', '.join(map(str, missing))}: the fine cube has no scene that day. "
            f"It has {', '.join(map(str, have[:20]))}{' ...' if have.size > 20 else ''}."
        )
    return ds.isel(time=np.flatnonzero(~np.isin(have, drop)))


def spec_of(ds: xr.Dataset) -> CubeSpec:
    """Describe an opened cube."""
    kind = ds.attrs["biastf_kind"]
    bands = bands_of(ds)
    uncertain = kind == "fused" and sigma_of(bands[0]) in ds
    geobox = geobox_of(ds, f"{kind} cube")
    return CubeSpec(kind, bands, geobox, layout_of(ds), uncertain=uncertain)


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    import zarr

    array = group[name]
    if not isinstance(array, zarr.Array):
        raise CubeStructureError(f"{name} in {group.store} is not an array")
    return array


def window_writer(store: Any) -> Callable[[slice, Tile, Mapping[str, NDArray[Any]]], None]:
    """Open a cube for writing windows, its arrays once each."""
    group = open_group(store, "r+", use_consolidated=False)
    arrays: dict[str, zarr.Array[Any]] = {}

    def write(times: slice, tile: Tile, data: Mapping[str, NDArray[Any]]) -> None:
        """Write one window of some variables."""
        rows, cols = tile.slices
        for name, values in data.items():
            if name not in arrays:
                arrays[name] = _array(group, name)
            packed = round_mantissa(values) if values.dtype.kind == "f" else values
            arrays[name][times, rows, cols] = packed

    return write


def write_window(store: Any, times: slice, tile: Tile, data: Mapping[str, NDArray[Any]]) -> None:
    """Write one window of a cube, whole shards beside other writers; float bands are rounded."""
    window_writer(store)(times, tile, data)
