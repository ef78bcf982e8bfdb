"""A Zarr store of regular files: no name in it leads out of it, or to what never ends."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore

from biastf_xr._files import open_regular
from biastf_xr.errors import CubeStructureError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

# What the system says of links, sockets and folders where others are meant; None is `open_regular`.
_OTHERS = {None, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO}

# Folders are opened to look up names in them, not to list them.
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)


class RegularStore(LocalStore):
    """Zarr's store in a folder, which follows no link in it and reads no pipe and no device.

    Every name is looked up in the open folder that it lies in, so nobody can put a link in its
    place meanwhile.  The folder itself may be reached through links.
    """

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read an object, or a part of it; None if it is not there."""
        if not self._is_open:
            await self._open()
        return await asyncio.to_thread(self._read, key, prototype, byte_range)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Read parts of objects."""
        reads = (self.get(key, prototype, byte_range) for key, byte_range in key_ranges)
        return await asyncio.gather(*reads)

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:  # noqa: FBT001, FBT002
        self._check_writable()
        if not self._is_open:
            await self._open()
        await asyncio.to_thread(self._write, key, value, exclusive=exclusive)

    async def delete(self, key: str) -> None:
        """Remove an object, or all below a name."""
        with suppress(FileNotFoundError), self._looked_up(key):
            await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove all below a name."""
        with suppress(FileNotFoundError), self._looked_up(prefix):
            await super().delete_dir(prefix)
            if not prefix:
                self.root.mkdir()

    async def list(self) -> AsyncIterator[str]:
        """List all objects."""
        for path in regular_files(self.root):
            yield path.relative_to(self.root).as_posix()

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read an object in this thread."""
        return self._read(key, prototype, byte_range)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write an object in this thread."""
        self._check_writable()
        self._write(key, value)

    def _read(
        self, key: str, prototype: BufferPrototype | None, part: ByteRequest | None
    ) -> Buffer | None:
        try:
            with (
                self._looked_up(key) as (folder, name),
                open_regular(name, at=folder, own=True) as file,
            ):
                first, end = _span(part, os.fstat(file.fileno()).st_size)
                file.seek(first)
                data = file.read(max(end - first, 0))
        except FileNotFoundError:
            if not self.root.exists():  # moved while it is read: its pixels are not missing
                raise
            return None
        return (prototype or default_buffer_prototype()).buffer.from_bytes(data)

    def _write(self, key: str, value: Buffer, *, exclusive: bool = False) -> None:
        """Write an object beside its place and move it there."""
        with self._looked_up(key, make=True) as (folder, name):
            partial = f"{name}.{secrets.token_hex(16)}.partial"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            number = os.open(partial, flags, 0o666, dir_fd=folder)
            try:
                with os.fdopen(number, "wb") as file:
                    file.write(value.as_buffer_like())
                move = os.link if exclusive else os.replace
                move(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(partial, dir_fd=folder)

    @contextmanager
    def _looked_up(self, key: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Yield the open folder that an object lies in, and its name there."""
        *parts, name = key.split("/")
        if ".." in (*parts, name):
            raise _refused(self.root / key, "leads out of the cube")
        folder = os.open(self.root, _FOLDER)
        try:
            for part in parts:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=folder)
                below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = below
            yield folder, name
        except OSError as error:
            if error.errno in _OTHERS:
                raise _refused(self.root / key, error.strerror or str(error)) from error
            raise
        finally:
            os.close(folder)


def regular_files(root: Path) -> Iterator[Path]:
    """List the files of a store, which holds regular files in plain folders only."""
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif entry.is_file(follow_symlinks=False):
                    yield path
                else:
                    raise _refused(path, "a link, a pipe or a device")


def _span(part: ByteRequest | None, size: int) -> tuple[int, int]:
    """Return where a part of an object begins and ends; no further than the object."""
    match part:
        case RangeByteRequest(start, end):
            return start, min(end, size)
        case OffsetByteRequest(offset):
            return offset, size
        case SuffixByteRequest(suffix):
            return max(size - suffix, 0), size
    return 0, size


def _refused(path: Path, why: str) -> CubeStructureError:
    return CubeStructureError(
        f"{path} is no regular file in plain folders ({why}). A cube has no links, pipes and "
        "devices: take it out, or copy the cube with what its links lead to (cp -rL)."
    )
