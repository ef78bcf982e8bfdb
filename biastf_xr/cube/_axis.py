"""The time axis of fine and coarse cubes: one index for every day, growing at either end.

A day keeps its index however late its scene arrives, so writing one never moves another, and a
reader that opened the cube earlier still reads the right days.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._ledger import stored_days
from biastf_xr.cube.stores.base import open_group
from biastf_xr.errors import CubeStructureError

if TYPE_CHECKING:
    from collections.abc import Callable

    import zarr

    from biastf_xr.cube.stores.base import CubeStore

Day = np.datetime64
ONE_DAY = np.timedelta64(1, "D")


def days_between(first: Day, last: Day) -> np.ndarray[Any, np.dtype[Any]]:
    """Return every day from the first to the last."""
    return np.arange(first, last + ONE_DAY, dtype="datetime64[D]")


def grow(root: zarr.Group, last: Day) -> None:
    """Add days at the end of the axis up to the last; readers see them at the next checkpoint."""
    days = stored_days(root)
    if last > days[-1]:
        append_days(root, days_between(days[-1] + ONE_DAY, last))


def append_days(root: zarr.Group, new: np.ndarray[Any, np.dtype[Any]]) -> None:
    """Add days at the end of the axis; readers see them at the next checkpoint."""
    time: Any = root["time"]
    count = time.shape[0]
    for array in _along_time(root):
        array.resize((count + new.size, *array.shape[1:]))
    time = root["time"]
    time[count:] = _seconds(new)


def insert_days(store: CubeStore, new: np.ndarray[Any, np.dtype[Any]]) -> None:
    """Insert days before the last one of a fused cube; compressed chunks are copied as they are."""
    _rebuild(store, f"days from {new[0]} on", lambda days, _: np.union1d(days, new))


def prepend(store: CubeStore, first: Day) -> None:
    """Add days from the first, or up to one chunk earlier; chunks are copied as they are."""

    def longer(days: Any, step: int) -> Any:
        """Return the days with whole chunks before them."""
        chunks = -(-int((days[0] - first).astype(int)) // step)
        return days_between(days[0] - chunks * step * ONE_DAY, days[-1])

    _rebuild(store, f"a scene is of {first}", longer)


def _rebuild(store: CubeStore, message: str, longer: Callable[[Any, int], Any]) -> None:
    """Copy a cube to a longer axis, on which every chunk in time stays whole.

    `longer`: Returns the new days from the old ones and the days in a chunk.
    """
    old = open_group(store.reader(), url=store.url, use_consolidated=False)
    days = stored_days(old)
    if not store.replaces_at_once:
        raise CubeStructureError(
            f"{store.url} starts on {days[0]}, {message}: that would "
            "move every object of a plain store behind a URL. Leave those days out with `start`, "
            "rebuild the cube with --overwrite, or keep it in Icechunk."
        )
    timed = {a.path: a for a in _along_time(old)}
    step = max(int((a.shards or a.chunks)[0]) for a in timed.values() if a.ndim > 1)
    every = longer(days, step)
    indices = np.searchsorted(every, days)

    def moved(key: str) -> str | None:
        """Return the new name of a chunk; one-dimensional arrays are written below."""
        array, mark, chunk = key.partition("/c/")
        if array not in timed or not mark:
            return key if mark else None
        first, *rest = chunk.split("/")
        if not rest:
            return None
        return "/".join([f"{array}/c", str(indices[int(first) * step] // step), *rest])

    with store.build(message, replace=True) as edit:
        copy_objects(old.store, edit.store, lambda key: None if "/c/" in key else key)
        for array in _along_time(edit.group):
            array.resize((every.size, *array.shape[1:]))
            if array.ndim == 1:
                values = array[:]
                values[indices] = timed[array.path][:]
                array[:] = values
        time: Any = edit.group["time"]
        time[:] = _seconds(every)
        copy_objects(old.store, edit.store, moved)


def _along_time(group: Any) -> list[Any]:
    import zarr

    arrays: list[Any] = [a for _, a in group.members(max_depth=None) if isinstance(a, zarr.Array)]
    return [a for a in arrays if (a.metadata.dimension_names or ("",))[0] == "time"]


def _seconds(days: Any) -> Any:
    return days.astype("datetime64[s]").astype("int64")


def copy_objects(source: Any, target: Any, rename: Callable[[str], str | None]) -> None:
    """Copy objects of a store, compressed as they are, to the names that `rename` returns."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    async def copy() -> None:
        async for key in source.list():
            name = rename(key)
            if name is not None:
                await target.set(name, await source.get(key, default_buffer_prototype()))

    sync(copy())
