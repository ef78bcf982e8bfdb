"""Plain Zarr: a folder, or whatever fsspec opens."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from biastf_xr.cube.stores._lock import holds_folder, lock_folder, lock_object
from biastf_xr.cube.stores.base import CubeStore, Edit
from biastf_xr.errors import ConfigError, CubeExistsError, CubeStructureError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _checkpointed(edit: Edit, message: str) -> Iterator[Edit]:
    yield edit
    edit.checkpoint(message)


def _refuse_existing(url: str, *, replace: bool) -> None:
    if not replace:
        raise CubeExistsError(
            f"{url} already exists and is left as it is. "
            "Choose another output, or ask to replace it (`--overwrite`, overwrite=True)."
        )


@dataclass(frozen=True)
class FolderStore(CubeStore):
    """A plain Zarr store in a folder."""

    path: Path
    replaces_at_once: ClassVar[bool] = True

    @classmethod
    def at(cls, url: str, base: Path | None) -> FolderStore:
        """Return the store in a folder; see `CubeStore.at`."""
        return cls(Path(url) if base is None else (base / url).resolve())

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
        return (self._recovered() / "zarr.json").exists()

    def reader(self, version: str | None = None) -> Any:
        """Open it for reading; see `CubeStore.reader`."""
        from zarr.storage import LocalStore

        if version is not None:
            raise self.without_versions(version)
        return LocalStore(self._recovered(), read_only=True)

    def lock(self) -> AbstractContextManager[str]:
        """Keep every other writer out; see `CubeStore.lock`."""
        return lock_folder(self.path)

    def held_by(self, token: str) -> bool:
        """Return whether a holder still has the lock; see `CubeStore.held_by`."""
        return holds_folder(self.path, token)

    def edit(self, message: str, *, hidden: bool = False) -> AbstractContextManager[Edit]:
        """Change the cube that is there; see `CubeStore.edit`."""
        from zarr.storage import LocalStore

        return _checkpointed(Edit(LocalStore(self._recovered())), message)

    @contextmanager
    def build(self, message: str, *, replace: bool) -> Iterator[Edit]:
        """Build the store beside its place and move it there when it is complete.

        A reader sees the old store or the finished new one; if the body raises, the old store is
        untouched and the unfinished one is removed.

        `replace`: Whether a store that is there may be replaced.
        """
        from zarr.storage import LocalStore

        path = self._recovered()
        if path.exists() and not self.exists():
            raise CubeStructureError(
                f"no cube at {path}, but something else, which is left alone. Choose another path."
            )
        if path.exists():
            _refuse_existing(self.url, replace=replace)
        partial, retired = path.with_name(f".{path.name}.partial"), self._retired
        for leftover in (partial, retired):
            shutil.rmtree(leftover, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            edit = Edit(LocalStore(partial))
            yield edit
            edit.checkpoint(message)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if path.exists():
            path.rename(retired)
        partial.rename(path)
        shutil.rmtree(retired, ignore_errors=True)

    def delete(self) -> None:
        """Remove the store; see `CubeStore.delete`."""
        shutil.rmtree(self._recovered(), ignore_errors=True)

    @property
    def _retired(self) -> Path:
        return self.path.with_name(f".{self.path.name}.old")

    def _recovered(self) -> Path:
        """Put the store back in its place if `build` was killed between its two renames."""
        if self._retired.exists() and not self.path.exists():
            self._retired.rename(self.path)
        return self.path


@dataclass(frozen=True)
class RemoteStore(CubeStore):
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
        filesystem, path = self._open()
        return bool(filesystem.exists(f"{path.rstrip('/')}/zarr.json"))

    def reader(self, version: str | None = None) -> Any:
        """Open it for reading; see `CubeStore.reader`."""
        if version is not None:
            raise self.without_versions(version)
        return self._store(read_only=True)

    def lock(self) -> AbstractContextManager[str]:
        """Keep every other writer out; see `CubeStore.lock`."""
        filesystem, path = self._open()
        return lock_object(filesystem, path, self.url)

    def held_by(self, token: str) -> bool:
        """Return whether a holder still has the lock; see `CubeStore.held_by`."""
        filesystem, path = self._open()
        try:
            return token in filesystem.cat_file(f"{path.rstrip('/')}.lock").decode()
        except FileNotFoundError:
            return False

    def edit(self, message: str, *, hidden: bool = False) -> AbstractContextManager[Edit]:
        """Change the cube that is there; see `CubeStore.edit`."""
        return _checkpointed(Edit(self._store(read_only=False)), message)

    @contextmanager
    def build(self, message: str, *, replace: bool) -> Iterator[Edit]:
        """Build the store in its place.

        `replace`: Whether a store that is there may be replaced.
        """
        if self.exists():
            _refuse_existing(self.url, replace=replace)
            self.delete()
        try:
            edit = Edit(self._store(read_only=False))
            yield edit
            edit.checkpoint(message)
        except BaseException:
            self.delete()
            raise

    def delete(self) -> None:
        """Remove the store; see `CubeStore.delete`."""
        filesystem, path = self._open()
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)

    def _open(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            filesystem, path = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise ConfigError(
                f"{self.url}: {error}. For s3:// install the extra: "
                'pip install "biastf-xr[remote]".'
            ) from error
        return filesystem, str(path)

    def _store(self, *, read_only: bool) -> Any:
        from zarr.storage import FsspecStore

        self._open()
        return FsspecStore.from_url(self.url, read_only=read_only)
