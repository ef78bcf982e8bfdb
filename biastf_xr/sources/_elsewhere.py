"""HDF files that keep their numbers elsewhere: in any file that the job can read.

HDF4 has external elements; HDF5, and so NetCDF-4, external storage, virtual data sets and external
links.  Products hold what they say themselves: a file with any of these is refused before a number
is read.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING, Any

from biastf_xr._files import open_regular
from biastf_xr.errors import SceneError
from biastf_xr.sources._login import need

if TYPE_CHECKING:
    from pathlib import Path

_HDF4, _NETCDF3 = b"\x0e\x03\x13\x01", b"CDF"
# Of the tags of HDF4: the bit of special elements, and of these the kind that lies in another file.
_SPECIAL, _EXTERNAL = 0x4000, 2


def refuse_data_elsewhere(path: Path) -> None:
    """Refuse an HDF4, HDF5 or NetCDF file that keeps numbers in other files; looked at once."""
    try:
        state = path.stat()
        _refuse(path, state.st_mtime_ns, state.st_size)
    except SceneError:
        raise
    except OSError as error:
        raise SceneError(f"{path} cannot be read ({error.strerror or error}).") from error


@functools.lru_cache(maxsize=4096)
def _refuse(path: Path, _time: int, _size: int) -> None:
    with open_regular(path) as file:
        magic = file.read(4)
        found = _in_hdf4(path, file) if magic == _HDF4 else []
    if magic != _HDF4 and not magic.startswith(_NETCDF3):
        found = _in_hdf5(path)
    if found:
        raise SceneError(
            f"{path} keeps numbers in other files: {found[0]}. Expected a file that holds its own. "
            "Download it again, or move it out of the folder."
        )


def _in_hdf4(path: Path, file: Any) -> list[str]:
    """List the external elements of an HDF4 file, by its lists of elements."""
    found, seen, block = [], set(), 4
    try:
        while block and block not in seen:
            seen.add(block)
            file.seek(block)
            count, block = struct.unpack(">hi", file.read(6))
            for tag, number, offset, _ in struct.iter_unpack(">HHii", file.read(12 * count)):
                if tag & _SPECIAL and not tag & 0x8000 and offset >= 0:
                    file.seek(offset)
                    if struct.unpack(">h", file.read(2))[0] == _EXTERNAL:
                        found.append(f"the element {tag & ~_SPECIAL}/{number}")
    except (struct.error, OSError, ValueError) as error:
        raise SceneError(f"{path}: cannot be read as HDF4. Download it again.") from error
    return found


def _in_hdf5(path: Path) -> list[str]:
    """List the data sets and links of an HDF5 file that lead out of it."""
    h5py = need("h5py", "hdf5")
    found = []

    def look(name: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            found.append(f"the link {name}")
        elif isinstance(link, h5py.HardLink):
            item = file[name]
            if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                found.append(f"the data set {name}")

    try:
        with h5py.File(path, "r") as file:
            file.visititems_links(look)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise SceneError(f"{path}: cannot be read as HDF5 ({error}). Download it again.") from error
    return found
