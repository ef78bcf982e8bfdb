"""Where a cube lives: plain Zarr or Icechunk, on disk or behind a URL, under one small contract."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from biastf_xr.cube.stores.base import CubeStore

ICECHUNK = "icechunk"


def store_at(path: str | Path) -> CubeStore:
    """Give the store at a path or URL, whether it exists or not.

    Parameters
    ----------
    path : str or pathlib.Path
        A folder, or a URL that fsspec opens (``s3://bucket/cube.zarr``, ``memory://cube.zarr``):
        plain Zarr.  ``icechunk://folder`` and ``icechunk+s3://bucket/prefix``, or a folder that
        holds an Icechunk repository: Icechunk.

    Returns
    -------
    CubeStore
        The store; nothing is opened yet.

    Raises
    ------
    ConfigError
        If the scheme is unknown or its package is not installed.
    """
    scheme, rest = _split(str(path))
    if scheme.split("+")[0] == ICECHUNK:
        from biastf_xr.cube.stores.icechunk_store import IcechunkStore

        return IcechunkStore(rest, scheme.partition("+")[2])
    if scheme:
        from biastf_xr.cube.stores.plain import RemoteStore

        return RemoteStore(str(path))
    folder = Path(path)
    if (folder / "snapshots").is_dir() and not (folder / "zarr.json").exists():
        from biastf_xr.cube.stores.icechunk_store import IcechunkStore

        return IcechunkStore(str(folder), "")
    from biastf_xr.cube.stores.plain import FolderStore

    return FolderStore(folder)


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
    scheme, rest = _split(str(path))
    if scheme == ICECHUNK:
        return f"{ICECHUNK}://{(folder / rest).resolve()}"
    return str(path) if scheme else str((folder / path).resolve())


def _split(path: str) -> tuple[str, str]:
    """Split a URL into scheme and rest; the scheme of a folder is empty."""
    scheme, mark, rest = path.partition("://")
    if not mark:
        return "", path
    if not rest:
        raise ConfigError(f"{path!r} names no store; expected something after {scheme}://.")
    return scheme, rest
