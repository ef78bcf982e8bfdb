"""Files on disk: the one place that makes, replaces, extends, removes and reads them.

Folders may be shared, and others may have put links, pipes or devices where we write and read.

- A path that somebody names may lead through links. It is his: a store, a model and what is locked
  are looked up once, where they are opened, and what lies beside them lies beside the real one.
- A name that we make up, beside that path or below it, is never a link: an unfinished file, a
  lock, a retired copy, the folder of an item, a chunk. One that is a link is somebody else's work:
  it is refused by name, and neither followed nor removed.
- A file that is written at once takes the place of a link, and never what that leads to.
- What is unfinished has a name that cannot be foretold, and lies where nobody else may write.
- What is read is a regular file.
"""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from biastf_xr._system import writing_to
from biastf_xr.errors import ConfigError, StoreWriteError

if TYPE_CHECKING:
    from collections.abc import Iterator

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
}


def real(path: str | Path) -> Path:
    """Return where a path that somebody names leads: absolute, and through no link."""
    return Path(os.path.realpath(path))


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file of the same name that nobody else reaches; it replaces the file at once.

    If the body raises, the file is untouched and the unfinished one is removed.
    """
    with writing_to(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise _refused(path, path.stat())
        with tempfile.TemporaryDirectory(
            prefix=f".{path.name}.", suffix=".partial", dir=path.parent
        ) as private:
            partial = Path(private) / path.name
            yield partial
            partial.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a small file, at once."""
    with replacing(path) as partial:
        partial.write_text(text, "utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file, at once."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def copy_file(source: Path, path: Path) -> None:
    """Write a copy of a file, at once."""
    with replacing(path) as partial:
        shutil.copyfile(source, partial)


def own_name(path: Path) -> Path:
    """Return a path whose name we make up; refuse it where it is a link."""
    if path.is_symlink():
        raise _refused(path, path.lstat())
    return path


def own_folder(path: Path) -> Path:
    """Make a folder of a name that we make up, or take the one that is there, if it is one."""
    with writing_to(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not is_folder(path):
            try:
                path.mkdir()
            except FileExistsError:
                if not is_folder(path):  # another thread's
                    raise _refused(path, path.lstat()) from None
    return path


def open_own(path: Path, mode: str) -> IO[str]:
    """Open a small text of a name that we make up; made if it is not there.

    `mode`: "a" to write at its end, "a+" to read it too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    how = os.O_RDWR if "+" in mode else os.O_WRONLY
    try:
        number = os.open(path, flags | how, 0o666)
    except OSError:
        if os.path.lexists(path) and not stat.S_ISREG((found := path.lstat()).st_mode):
            raise _refused(path, found) from None
        raise
    found = os.fstat(number)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(number)
        raise _refused(path, found)
    return os.fdopen(number, mode, encoding="utf-8", errors="replace")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside a path; what is still there at the end is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def unfinished(path: Path) -> list[Path]:
    """List what runs that were killed have left of a file or folder that they made."""
    name = glob.escape(f".{path.name}")
    return [*path.parent.glob(f"{name}.{'?' * 8}.partial"), *path.parent.glob(f"{name}.partial")]


def is_folder(path: Path) -> bool:
    """Return whether a folder of a name that we make up is there."""
    return path.is_dir() and not path.is_symlink()


def remove(path: Path) -> None:
    """Remove a file or folder of a name that we make up, if it is there."""
    if own_name(path).is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refused(path: Path, found: os.stat_result) -> StoreWriteError:
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "a file with a second name (a hard link)")
    return StoreWriteError(
        f"{path} is {kind}, which biastf_xr does not make, follow or replace; expected a name that "
        "is free, or of its own. Find out who made it and remove it, or name another folder."
    )


# --- reading --------------------------------------------------------------------------------------


def check_regular(path: str | Path) -> None:
    """Refuse what would never end or is no file, before a library opens it; as an OSError."""
    _check(Path(path).stat(), path)


def read_bytes(path: str | Path) -> bytes:
    """Read a regular file."""
    with open_regular(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """Read a text that a person saved: UTF-8, with a byte order mark or without.

    OSError is the caller's: it knows what is missing.
    """
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = data[:2] in {b"\xff\xfe", b"\xfe\xff"}
        found = "UTF-16" if wide else f"byte 0x{data[error.start]:02x} at {error.start}"
        raise ConfigError(
            f"{path} is no text in UTF-8 ({found}). Save it as UTF-8 in the editor."
        ) from error


def open_regular(path: str | Path, *, own: bool = False, at: int | None = None) -> IO[bytes]:
    """Open a regular file for reading; a pipe, a device, a socket, a folder is an OSError.

    `own`: Whether we have made up its name; then it is no link.
    `at`: Folder, open, that the path is relative to.
    """
    # Not to wait for who writes to a pipe.
    more = os.O_NONBLOCK | (os.O_NOFOLLOW if own else 0)
    file = open(  # noqa: SIM115  (who reads it closes it)
        path, "rb", opener=lambda name, flags: os.open(name, flags | more, dir_fd=at)
    )
    try:
        _check(os.fstat(file.fileno()), path)
    except OSError:
        file.close()
        raise
    return file


def _check(found: os.stat_result, path: Any) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise OSError(f"{path} is {kind}; expected a regular file")
