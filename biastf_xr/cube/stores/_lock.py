"""One writer per cube: locks that name their holder and do not outlive it."""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import socket
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from biastf_xr._files import open_own, open_regular, real
from biastf_xr._system import writing_to
from biastf_xr.errors import StoreLockedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# The most bytes of a lock that are read.
MOST = 1 << 12


def _me() -> dict[str, Any]:
    now = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    token = secrets.token_hex(8)
    return {"process": os.getpid(), "host": socket.gethostname(), "since": now, "token": token}


def _refusal(url: str, holder: dict[str, Any], remedy: str) -> StoreLockedError:
    return StoreLockedError(
        f"{url} is being written by process {holder.get('process', '?')} on "
        f"{holder.get('host', '?')}, since {holder.get('since', '?')}. {remedy}"
    )


def beside(path: Path) -> Path:
    """Return the file that stands for the lock of a store on disk, however that is named."""
    return (place := real(path)).with_name(f".{place.name}.lock")


@contextmanager
def lock_folder(path: Path) -> Iterator[str]:
    """Lock a store on disk by a file beside it; the system drops the lock if the process dies."""
    name = beside(path)
    with ExitStack() as stack:
        stack.enter_context(writing_to(str(path)))
        file = stack.enter_context(open_own(name, "a+"))
        if not _flock(file, name):
            holder = _read(_content(file))
            raise _refusal(str(path), holder, "Wait for it to end and run this again.")
        me = _me()
        file.truncate(0)
        file.write(json.dumps(me))
        file.flush()
        try:
            yield me["token"]
        finally:
            name.unlink(missing_ok=True)


def holds_folder(path: Path, token: str) -> bool:
    """Return whether a holder still has the lock of a store on disk."""
    try:
        with _opened(path) as file:
            return token.encode() in _content(file)
    except FileNotFoundError:
        return False


def holder_of(path: Path) -> dict[str, Any] | None:
    """Return who holds the lock of a store on disk; changes nothing."""
    try:
        with _opened(path) as file:
            return None if _flock(file, beside(path), shared=True) else _read(_content(file))
    except FileNotFoundError:
        return None


def _opened(path: Path) -> IO[bytes]:
    """Open the lock of a store on disk for reading."""
    return open_regular(beside(path), own=True)


def _content(file: IO[Any]) -> bytes:
    """Return what a lock says, as far as one says anything."""
    return os.pread(file.fileno(), MOST, 0)


def _read(text: bytes) -> dict[str, Any]:
    """Return the holder that a lock names; empty if it names none."""
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        return found if isinstance(found, dict) else {}
    return {}


def _flock(file: Any, name: Path, *, shared: bool = False) -> bool:
    """Try to lock an open file; False if another process holds it, or has just removed it."""
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        return os.path.samestat(name.lstat(), os.fstat(file.fileno()))
    except (BlockingIOError, FileNotFoundError):
        return False


@contextmanager
def lock_object(filesystem: Any, path: str, url: str) -> Iterator[str]:
    """Lock a store behind a URL by an object beside it, created only if it is not there."""
    name, me = f"{path}.lock", _me()
    with writing_to(url):
        holder = read_object(filesystem, name)
        if holder and is_dead(holder):
            filesystem.rm_file(name)
    try:
        filesystem.pipe_file(name, json.dumps(me).encode(), mode="create")
    except FileExistsError as error:
        remedy = f"Wait for it to end; if it is gone, remove {name} and run this again."
        raise _refusal(url, read_object(filesystem, name), remedy) from error
    try:
        with writing_to(url):
            yield me["token"]
    finally:
        filesystem.rm_file(name)


def holds_object(filesystem: Any, path: str, token: str) -> bool:
    """Return whether a holder still has the lock of a store behind a URL."""
    return read_object(filesystem, f"{path}.lock").get("token") == token


def read_object(filesystem: Any, name: str) -> dict[str, Any]:
    """Return the holder of a lock; empty where there is none."""
    try:
        return _read(filesystem.cat_file(name))
    except FileNotFoundError:
        return {}


def is_dead(holder: dict[str, Any]) -> bool:
    """Return whether a holder was a process of this machine that is no more."""
    if holder.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(holder["process"]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, KeyError, TypeError, ValueError, OverflowError):
        return False
    return False
