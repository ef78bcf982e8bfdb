"""Plain Zarr: a folder, or whatever fsspec opens."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from biastf_xr._files import is_folder, new_folder, real, remove, unfinished
from biastf_xr.cube.stores._lock import holds_folder, holds_object, lock_folder, lock_object
from biastf_xr.cube.stores.base import CubeStore, Edit
from biastf_xr.errors import ConfigError, CubeStructureError

if TYPE_CHECKING:
    from collections.abc import Iterator


class _PlainStore(CubeStore):
    """What plain stores have in common: no versions, and changes that are seen as they are made."""

    @abstractmethod
    def _opened(self, *, read_only: bool = False) -> Any:
        """Return the Zarr store."""

    def reader(self, version: str | None = None) -> Any:
        """Open it for reading; see `CubeStore.reader`."""
        if version is not None:
            raise self.without_versions(version)
        return self._opened(read_only=True)

    @contextmanager
    def edit(self, message: str, *, hidden: bool = False) -> Iterator[Edit]:
        """Change the cube that is there; see `CubeStore.edit`."""
        edit = Edit(self._opened())
        yield edit
        edit.checkpoint(message)


@dataclass(frozen=True, repr=False)
class FolderStore(_PlainStore):
    """A plain Zarr store in a folder, which may be reached through a link; none lies in it."""

    path: Path
    replaces_at_once: ClassVar[bool] = True

    @classmethod
    def at(cls, url: str, base: Path | None) -> FolderStore:
        """Return the store in a folder; see `CubeStore.at`."""
        return cls(Path(url) if base is None else real(base / url))

    @property
    def url(self) -> str:  # type: ignore[override]
        """Return the folder."""
        return str(self.path)

    @property
    def folder(self) -> Path:
        """Return the folder."""
        return self.path

    def exists(self) -> bool:
        """Return whether there is something; see `CubeStore.exists`."""
        return (self._readable / "zarr.json").exists()

    @contextmanager
    def lock(self) -> Iterator[str]:
        """Keep every other writer out; see `CubeStore.lock`."""
        with lock_folder(self._place) as token:
            self._recovered()
            yield token

    def held_by(self, token: str) -> bool:
        """Return whether a holder still has the lock; see `CubeStore.held_by`."""
        return holds_folder(self.path, token)

    @contextmanager
    def build(self, message: str, *, replace: bool) -> Iterator[Edit]:
        """Build the store beside its place and move it there when it is complete.

        A reader sees the old store or the finished new one; if the body raises, the old store is
        untouched and the unfinished one is removed.
        """
        from biastf_xr.cube.stores._regular import RegularStore

        path, retired = self._recovered(), self._retired
        if path.exists() and not self.exists():
            raise CubeStructureError(
                f"no cube at {path}, but something else, which is left alone. Choose another path."
            )
        self.refuse_existing(replace=replace)
        for leftover in (*unfinished(path), retired):
            remove(leftover)
        with new_folder(path) as partial:
            edit = Edit(RegularStore(partial))
            yield edit
            edit.checkpoint(message)
            if path.exists():
                path.rename(retired)
            partial.rename(path)
        with suppress(OSError):
            remove(retired)

    def delete(self) -> None:
        """Remove the store; see `CubeStore.delete`."""
        remove(self._recovered())

    def _opened(self, *, read_only: bool = False) -> Any:
        from biastf_xr.cube.stores._regular import RegularStore

        place = self._readable if read_only else self._recovered()
        return RegularStore(place, read_only=read_only)

    @cached_property
    def _place(self) -> Path:
        """Return where it lies: looked up once, so that it and what is beside it stay together."""
        return real(self.path)

    @property
    def _retired(self) -> Path:
        return self._place.with_name(f".{self._place.name}.old")

    @property
    def _readable(self) -> Path:
        """Return where it is now: `build` may have been killed between its two renames."""
        lost = not self._place.exists() and is_folder(self._retired)
        return self._retired if lost else self._place

    def _recovered(self) -> Path:
        """Put it back in its place if `build` was killed between its two renames; for writers."""
        if self._readable != self._place:
            self._retired.rename(self._place)
        return self._place


@dataclass(frozen=True, repr=False)
class RemoteStore(_PlainStore):
    """A plain Zarr store behind a URL that fsspec opens.

    Objects cannot be renamed there: `build` replaces the old store at its start, and if it fails
    removes what it wrote.
    """

    url: str

    @classmethod
    def at(cls, url: str, base: Path | None) -> RemoteStore:
        """Return the store at a URL; see `CubeStore.at`."""
        return cls(url)

    def exists(self) -> bool:
        """Return whether there is something; see `CubeStore.exists`."""
        filesystem, path = self._located()
        return bool(filesystem.exists(f"{path}/zarr.json"))

    def lock(self) -> AbstractContextManager[str]:
        """Keep every other writer out; see `CubeStore.lock`."""
        return lock_object(*self._located(), self.url)

    def held_by(self, token: str) -> bool:
        """Return whether a holder still has the lock; see `CubeStore.held_by`."""
        return holds_object(*self._located(), token)

    @contextmanager
    def build(self, message: str, *, replace: bool) -> Iterator[Edit]:
        """Build the store in its place."""
        self.refuse_existing(replace=replace)
        self.delete()
        try:
            with self.edit(message) as edit:
                yield edit
        except BaseException:
            self.delete()
            raise

    def delete(self) -> None:
        """Remove the store; see `CubeStore.delete`."""
        filesystem, path = self._located()
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)

    def _located(self) -> tuple[Any, str]:
        """Return the file system, and the path in it."""
        from fsspec.core import url_to_fs

        try:
            filesystem, path = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise ConfigError(
                f"{self.url}: {error}. For s3:// install the extra: "
                'pip install "biastf-xr[remote]".'
            ) from error
        return filesystem, str(path).rstrip("/")

    def _opened(self, *, read_only: bool = False) -> Any:
        from zarr.storage import FsspecStore

        self._located()
        return FsspecStore.from_url(self.url, read_only=read_only)
