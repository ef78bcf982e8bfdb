"""What the system refuses, with what to do about it."""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from biastf_xr._urls import public
from biastf_xr.errors import BiastfError, ConfigError, CubeStructureError, StoreWriteError

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILES = "Raise the limit (`ulimit -n 4096`), or use fewer workers"
_PLACE = "Correct the permissions, or name another folder"

# What to do about each error of the system.
REMEDIES = {
    errno.ENOSPC: "Free space on the disk",
    errno.EDQUOT: "Free space within the quota, or have it raised",
    errno.EFBIG: "Name a folder on a disk that holds files of this size",
    errno.EMFILE: _FILES,
    errno.ENFILE: "End other programs, or raise fs.file-max of the machine",
    errno.ENOMEM: "Free memory, or use fewer workers",
    errno.EACCES: _PLACE,
    errno.EPERM: _PLACE,
    errno.EROFS: "The disk can only be read: name another folder",
    errno.ENOENT: "Correct the path",
    errno.ENOTDIR: "Correct the path: a file stands where a folder is meant",
    errno.EEXIST: "Correct the path: a file stands where a folder is meant",
    errno.EISDIR: "Correct the path: a folder stands where a file is meant",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EIO: "Check the disk, or the network that it hangs on",
    errno.ESTALE: "Check the network that the disk hangs on",
}

# Of the machine, not of the file that was at hand.
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

# As Rust writes the number of an error.
_RUST = re.compile(r"(?:os error |Os \{ code: )(\d+)")


def number_of(error: BaseException | None) -> int | None:
    """Return the number of the system's error that is behind one, however libraries wrap it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        found = getattr(error, "errno", None)
        if isinstance(found, int) and found:
            return found
        text = str(error)
        if told := _RUST.search(text):
            return int(told[1])
        for number in REMEDIES:  # GDAL has the text alone
            if os.strerror(number) in text:
                return number
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None


def remedy(error: BaseException) -> str:
    """Return what to do about an error of the system."""
    number = number_of(error)
    return REMEDIES.get(number or 0, "Correct what it names")


def is_shortage(error: BaseException) -> bool:
    """Return whether the machine lacks something, whatever it was that was read or written."""
    return isinstance(error, MemoryError) or number_of(error) in SHORTAGES


@contextmanager
def writing_to(url: str) -> Iterator[None]:
    """Name what is written in errors of the system, and what to do about each."""
    try:
        yield
    except BiastfError:
        raise
    except Exception as error:
        if not (isinstance(error, OSError) or _RUST.search(str(error))):
            raise
        raise StoreWriteError(
            f"{url} cannot be written ({error}). {remedy(error)}, and run the same command again; "
            "what was finished before is kept."
        ) from error


@contextmanager
def reading(url: object) -> Iterator[None]:
    """Name the store or object that is read in errors over what it holds; those of the system stay.

    Libraries raise whatever they like over what is damaged, also for lack of memory.
    """
    try:
        yield
    except (BiastfError, OSError):
        raise
    except Exception as error:
        raise damaged(url, f"{type(error).__name__}: {error}") from error


def damaged(url: object, what: str) -> CubeStructureError:
    """Return the error over a store that holds what no cube does."""
    return CubeStructureError(
        f"{public(url)} is damaged, or no cube: {what}. Restore it from a copy, or make it again "
        "(--overwrite)."
    )


@cache
def check_projections() -> None:
    """Refuse a database of projections that is of another program, by what points to it."""
    from rasterio import Env
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        with Env():  # which keeps what GDAL says from the terminal
            CRS.from_epsg(32633)
    except CRSError as error:
        named = [name for name in ("PROJ_DATA", "PROJ_LIB") if os.environ.get(name)]
        pointing = " and ".join(f"{name}={os.environ[name]}" for name in named)
        advice = (
            f"{pointing} leads to another program's; unset {' and '.join(named)}"
            if named
            else "Install rasterio again: pip install --force-reinstall rasterio"
        )
        raise ConfigError(
            f"no projection can be looked up in the database of PROJ ({error}). {advice}."
        ) from error
