"""What killed runs leave behind, and its removal: only what no living process owns."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biastf_xr._update.health import paths_of
from biastf_xr._update.records import folder_of
from biastf_xr._urls import is_url, split_url
from biastf_xr.cube.stores import store_at
from biastf_xr.cube.stores._lock import holder_of, lock_folder
from biastf_xr.errors import StoreLockedError

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
        path = store_at(url).folder
        if path is None:
            yield from _of_remote(url)
            continue
        holder = holder_of(path)
        kept = "" if holder is None else f"process {holder.get('process', '?')} writes the store"
        partial, retired, lock = (
            path.with_name(f".{path.name}.{end}") for end in ("partial", "old", "lock")
        )
        if partial.exists():
            yield Leftover(str(partial), "unfinished build", _size_of(partial), path, kept)
        if retired.exists():
            why = kept or ("" if path.exists() else "the store itself is missing; it is put back")
            yield Leftover(str(retired), "retired copy", _size_of(retired), path, why)
        if lock.exists():
            yield Leftover(str(lock), "lock", _size_of(lock), path, kept)
    folder = folder_of(config)
    lock = folder.with_name(f".{folder.name}.lock")
    if lock.exists():
        kept = "" if holder_of(folder) is None else "a run is at work"
        yield Leftover(str(lock), "lock", _size_of(lock), folder, kept)


def _of_remote(url: str) -> Iterator[Leftover]:
    """Look for the lock of a plain store behind a URL; Icechunk has none there."""
    store = store_at(url)
    if store.transactional:
        return
    from fsspec.core import url_to_fs

    filesystem, path = url_to_fs(url)
    name = f"{path.rstrip('/')}.lock"
    if filesystem.exists(name):
        holder = json.loads(filesystem.cat_file(name) or b"{}")
        place = f"{split_url(url)[0]}://{name}"
        yield Leftover(place, "lock", kept=_alive(holder))


def _alive(holder: dict[str, Any]) -> str:
    """Return why a holder may live."""
    who = f"process {holder.get('process', '?')} on {holder.get('host', '?')}"
    if holder.get("host") != socket.gethostname():
        return f"{who} cannot be asked from here; remove it by hand if that is gone"
    try:
        os.kill(int(holder["process"]), 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return f"{who} is alive"


def _of_files(config: Config) -> Iterator[Leftover]:
    """Look for temporary files of records, model and exports."""
    folder, model = folder_of(config), config.method.checkpoint
    places = [(folder, ".*.partial"), (folder / "runs", ".*.partial"),
              (model.parent, f".{model.name}.*partial")]  # fmt: skip
    if config.update.export is not None:
        places += [(config.update.export, f".*.{part}.tif") for part in ("plain", "cog")]
    for place, pattern in places:
        for path in sorted(place.glob(pattern)):
            young = time.time() - path.stat().st_mtime < DAY
            kept = "less than a day old: a process may still write it" if young else ""
            yield Leftover(str(path), "temporary file", _size_of(path), folder, kept)


def _size_of(path: Path) -> int:
    """Count the bytes of a file or folder."""
    files = path.rglob("*") if path.is_dir() else [path]
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
    except StoreLockedError as error:
        return replace(found, kept=str(error))
    return found


def _remove(found: Leftover) -> None:
    path = Path(found.path)
    if is_url(found.path):
        from fsspec.core import url_to_fs

        filesystem, name = url_to_fs(found.path)
        filesystem.rm_file(name)
    elif path.is_dir():
        shutil.rmtree(path)
    elif found.what != "lock":  # giving the lock back removes its file
        path.unlink(missing_ok=True)
