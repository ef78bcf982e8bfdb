"""What killed runs leave behind, and its removal: only what no living process owns."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biastf_xr._files import is_folder, real, remove, unfinished
from biastf_xr._update.health import paths_of
from biastf_xr._update.records import folder_of
from biastf_xr._urls import is_url, split_url
from biastf_xr.cube.stores import store_at
from biastf_xr.cube.stores._lock import beside, holder_of, is_dead, lock_folder, read_object
from biastf_xr.errors import StoreLockedError, StoreWriteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from biastf_xr.config import Config

# Files without a lock of their own count as left behind after so many seconds.
DAY = 24 * 3600.0


@dataclass(frozen=True)
class Leftover:
    """Something that a run left behind.

    `path`: File, folder or object.
    `lock`: What must be locked while it is removed.
    `kept`: Why it stays; empty if it may be, or was, removed.
    """

    path: str
    what: str
    size: int = 0
    lock: Path | None = None
    kept: str = ""


def remove_leftovers(config: Config, *, dry_run: bool = False) -> tuple[Leftover, ...]:
    """Remove what killed runs left beside the cubes, the model, the records and the exports.

    Unfinished builds and retired copies of a store are removed under the lock of the store, so
    never while a process writes it.  Temporary files that no lock guards have to be a day old.
    What would be needed is left: a retired copy whose store is missing, and the state of a fit,
    which the next fit goes on from.
    """
    found = [*_of_stores(config), *_of_files(config)]
    return tuple(found if dry_run else map(_removed, found))


def _of_stores(config: Config) -> Iterator[Leftover]:
    for url in paths_of(config):
        folder = store_at(url).folder
        if folder is None:
            yield from _of_remote(url)
            continue
        path = real(folder)
        kept = _owned(path)
        for partial in unfinished(path):
            yield Leftover(str(partial), "unfinished build", _size_of(partial), path, kept)
        retired = path.with_name(f".{path.name}.old")
        if os.path.lexists(retired):
            why = kept or ("" if path.exists() else "the store itself is missing; it is put back")
            yield Leftover(str(retired), "retired copy", _size_of(retired), path, why)
        yield from _lock_of(path, kept)
    yield from _lock_of(folder_of(config), _owned(folder_of(config)))


def _lock_of(path: Path, kept: str) -> Iterator[Leftover]:
    lock = beside(path)
    if os.path.lexists(lock):
        yield Leftover(str(lock), "lock", _size_of(lock), path, kept)


def _owned(path: Path) -> str:
    """Return why what is beside a store, or the folder of the job, stays."""
    try:
        holder = holder_of(path)
    except OSError as error:  # no lock of ours
        return str(error)
    return "" if holder is None else f"process {holder.get('process', '?')} is at work"


def _of_remote(url: str) -> Iterator[Leftover]:
    """Look for the lock of a plain store behind a URL; Icechunk has none there."""
    store = store_at(url)
    if store.transactional:
        return
    from fsspec.core import url_to_fs

    filesystem, path = url_to_fs(url)
    name = f"{path.rstrip('/')}.lock"
    if filesystem.exists(name):
        place = f"{split_url(url)[0]}://{name}"
        yield Leftover(place, "lock", kept=_alive(read_object(filesystem, name)))


def _alive(holder: dict[str, Any]) -> str:
    """Return why a holder may live."""
    who = f"process {holder.get('process', '?')} on {holder.get('host', '?')}"
    if holder.get("host") != socket.gethostname():
        return f"{who} cannot be asked from here; remove it by hand if that is gone"
    return "" if is_dead(holder) else f"{who} is alive"


def _of_files(config: Config) -> Iterator[Leftover]:
    """Look for temporary files of records, model and exports."""
    folder, model = folder_of(config), real(config.method.checkpoint)
    places = [folder, folder / "runs", *filter(None, [config.update.export])]
    found = [path for place in places for path in sorted(place.glob(".*.partial"))]
    for path in [*found, *unfinished(model)]:
        young = time.time() - path.lstat().st_mtime < DAY
        kept = "less than a day old: a process may still write it" if young else ""
        yield Leftover(str(path), "temporary file", _size_of(path), folder, kept)


def _size_of(path: Path) -> int:
    """Count the bytes of a file or folder."""
    files = path.rglob("*") if is_folder(path) else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def _removed(found: Leftover) -> Leftover:
    """Remove one thing, under the lock that guards it."""
    if found.kept:
        return found
    try:
        with ExitStack() as stack:
            if found.lock is not None:
                stack.enter_context(lock_folder(found.lock))
            _remove(found)
    except (StoreLockedError, StoreWriteError) as error:  # somebody's, or no work of ours
        return replace(found, kept=str(error))
    return found


def _remove(found: Leftover) -> None:
    path = Path(found.path)
    if is_url(found.path):
        from fsspec.core import url_to_fs

        filesystem, name = url_to_fs(found.path)
        filesystem.rm_file(name)
    elif found.what != "lock":  # giving the lock back removes its file
        remove(path)
