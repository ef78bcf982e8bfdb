"""Where a cube lives: plain Zarr or Icechunk, on disk or behind a URL, under one small contract."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from biastf_xr._registry import with_installed
from biastf_xr._urls import split_url
from biastf_xr.errors import ConfigError, CubeStructureError

if TYPE_CHECKING:
    from biastf_xr.cube.stores.base import CubeStore, Version

# The class of every kind of store, by the scheme of its URL: what stands before "+", if there is
# one.  A path has no scheme; a scheme that is not here is one of fsspec.  Packages add theirs by
# entry points.
STORES = with_installed(
    "stores",
    {
        "": "biastf_xr.cube.stores._plain:FolderStore",
        "*": "biastf_xr.cube.stores._plain:RemoteStore",
        "icechunk": "biastf_xr.cube.stores._icechunk_store:IcechunkStore",
    },
)


def store_at(path: str | Path, base: Path | None = None) -> CubeStore:
    """Return the store at a path or URL, whether it exists or not.

    Parameters
    ----------
    path : str or pathlib.Path
        A folder, or a URL that fsspec opens (``s3://bucket/cube.zarr``, ``memory://cube.zarr``):
        plain Zarr.  ``icechunk://folder`` and ``icechunk+s3://bucket/prefix``, or a folder that
        holds an Icechunk repository: Icechunk.  Further schemes as in `STORES`.
    base : pathlib.Path, optional
        What a relative folder is relative to; it stays relative by default.

    Returns
    -------
    CubeStore
        The store; nothing is opened yet.

    Raises
    ------
    ConfigError
        If the scheme is unknown or its package is not installed, or Python was started with -O.
    """
    if not __debug__:
        raise ConfigError(
            "Python was started with -O (or PYTHONOPTIMIZE is set), under which Zarr cannot open "
            f"{path}: it reads in assert statements. Start Python without."
        )
    scheme, rest = split_url(path)
    if scheme and not rest:
        raise ConfigError(f"{path!r} names no store; expected something after {scheme}://.")
    kind = scheme.partition("+")[0]
    found = _class_of(kind if kind in STORES else "*")
    if not scheme:
        folder = (base or Path()) / path
        if folder.is_dir() and not (folder / "zarr.json").exists():
            kinds = map(_class_of, STORES)
            found = next((k for k in kinds if k.recognises(folder)), found)
    return found.at(str(path), base)


def _class_of(scheme: str) -> type[CubeStore]:
    found: type[CubeStore] = resolve_name(STORES[scheme])
    return found


def versions(path: str | Path) -> list[Version]:
    """List the versions of a cube, newest first.

    Parameters
    ----------
    path : str or pathlib.Path
        The cube, as for `store_at`.

    Returns
    -------
    list of Version
        Id, UTC time and message; `biastf_xr.open_cube` reads any of them.  Empty for plain Zarr.

    Raises
    ------
    CubeStructureError
        If there is no cube.
    """
    return _existing(path).versions()


def roll_back(path: str | Path, to: str) -> Version:
    """Make an earlier version of a cube the one that readers see; nothing is lost.

    The version that was newest keeps a tag, ``rolled-back-<id>``, to read it or to go back to it.
    The ledger goes back with the pixels, so the next run makes what is missing then; a scene that
    must not come back has to be excluded first.

    Parameters
    ----------
    path : str or pathlib.Path
        The cube, in Icechunk.
    to : str
        Id of a version, or a tag.

    Returns
    -------
    Version
        What readers see now.

    Raises
    ------
    CubeStructureError
        If there is no cube, it keeps no versions, or has no such version.
    StoreLockedError
        If another process writes to it.
    """
    store = _existing(path)
    with store.lock():
        return store.roll_back(to)


def _existing(path: str | Path) -> CubeStore:
    store = store_at(path)
    if not store.exists():
        raise CubeStructureError(f"no cube at {path}. Check the path.")
    return store


def locate(path: str | Path, folder: Path) -> str:
    """Make the path of a store absolute; URLs stay as they are.

    Parameters
    ----------
    path : str or pathlib.Path
        As for `store_at`.
    folder : pathlib.Path
        What a relative path is relative to.

    Returns
    -------
    str
        The path or URL.
    """
    return store_at(path, folder).url
