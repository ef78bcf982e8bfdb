"""Icechunk: versions, atomic commits, reading the past.

Kept to the calls that the 1.1 and 2.x releases share: `xarray.Dataset.to_zarr` on a session's
store, `Session.fork` and `Session.merge` for workers.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from biastf_xr._files import real
from biastf_xr._urls import split_url
from biastf_xr.cube.stores._lock import lock_folder
from biastf_xr.cube.stores.base import CubeStore, Edit, Version, open_group
from biastf_xr.errors import ConfigError, CubeStructureError, StoreLockedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BRANCH = "main"

# Where an edit with `hidden` keeps what is not published yet.
HIDDEN = "unpublished"

# Tags of versions that were newest when somebody rolled back, before their id.
ROLLED_BACK = "rolled-back-"


class IcechunkEdit(Edit):
    """A change of an Icechunk store: nothing is visible before a checkpoint, all of it after."""

    def __init__(self, repository: Any, url: str, branch: str = BRANCH) -> None:
        self._repository, self._url, self._branch = repository, url, branch
        self._session = repository.writable_session(branch)
        super().__init__(self._session.store)

    def fork(self) -> Any:
        """Return a picklable store for workers; see `Edit.fork`."""
        # Of a session of its own: the one that commits may go on before the workers are back.
        return self._repository.writable_session(self._branch).fork().store

    def merge(self, forks: Iterable[Any]) -> None:
        """Take over what workers wrote; see `Edit.merge`."""
        # Workers that are threads hand back one and the same store.
        unique = {id(fork): fork for fork in forks}.values()
        self._session.merge(*(fork.session for fork in unique))

    def checkpoint(self, message: str) -> None:
        """Commit; see `Edit.checkpoint`."""
        import icechunk

        if not self._session.has_uncommitted_changes:
            return
        try:
            self._session.commit(message)
        except icechunk.ConflictError as error:
            raise StoreLockedError(
                f"{self._url} was changed by another writer meanwhile ({error}). "
                "Nothing of this step was kept; run it again."
            ) from error
        self._session = self._repository.writable_session(self._branch)
        super().__init__(self._session.store)

    def publish(self, message: str) -> None:
        """Commit, and let readers see all commits; see `Edit.publish`."""
        self.checkpoint(message)
        if self._branch != BRANCH:
            self._repository.reset_branch(BRANCH, self._repository.lookup_branch(self._branch))


@dataclass(frozen=True, repr=False)
class IcechunkStore(CubeStore):
    """An Icechunk repository."""

    place: str  # a folder, or bucket and prefix
    protocol: str = ""  # empty for a folder
    consolidated: ClassVar[bool] = False
    transactional: ClassVar[bool] = True
    replaces_at_once: ClassVar[bool] = True
    media_type: ClassVar[str] = "application/x-icechunk"

    @classmethod
    def at(cls, url: str, base: Path | None) -> IcechunkStore:
        """Return the repository at ``icechunk://folder`` or behind another protocol."""
        scheme, place = split_url(url)
        protocol = scheme.partition("+")[2]
        if base is not None and not protocol:
            place = str(real(base / place))
        return cls(place, protocol)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Return whether a folder holds a repository."""
        return (folder / "snapshots").is_dir()

    @property
    def url(self) -> str:  # type: ignore[override]
        """Return its URL."""
        return f"icechunk{self.protocol and '+'}{self.protocol}://{self.place}"

    @property
    def folder(self) -> Path | None:
        """Return its folder; None behind a URL."""
        return None if self.protocol else Path(self.place)

    def exists(self) -> bool:
        """Return whether there is something; see `CubeStore.exists`."""
        try:
            open_group(self.reader(), url=self.url)
        except FileNotFoundError:
            return False
        return True

    def reader(self, version: str | None = None) -> Any:
        """Open it for reading; see `CubeStore.reader`."""
        # Asking Icechunk would make the folder.
        if not (self.recognises(self.folder) if self.folder else
                _icechunk().Repository.exists(self._storage())):  # fmt: skip
            raise FileNotFoundError(self.url)
        repository = self._repository()
        if version is None:
            return repository.readonly_session(BRANCH).store
        return repository.readonly_session(snapshot_id=self._find(repository, version)).store

    def versions(self) -> list[Version]:
        """List the versions, newest first; see `CubeStore.versions`."""
        return [_version(s) for s in self._repository().ancestry(branch=BRANCH)]

    def roll_back(self, to: str) -> Version:
        """Let readers see an earlier version; see `CubeStore.roll_back`.

        The versions after it get a tag, ``rolled-back-<id>``, so that they can still be read and
        `roll_back` can go forward to them again.  Unpublished work is dropped.
        """
        repository = self._repository()
        snapshot, newest = self._find(repository, to), repository.lookup_branch(BRANCH)
        tag = f"{ROLLED_BACK}{newest}"
        # Going forward again leaves nothing behind.
        leads = newest in (s.id for s in repository.ancestry(snapshot_id=snapshot))
        if not leads and tag not in repository.list_tags():
            repository.create_tag(tag, snapshot_id=newest)
        if HIDDEN in repository.list_branches():
            repository.delete_branch(HIDDEN)
        repository.reset_branch(BRANCH, snapshot)
        return self.versions()[0]

    def _find(self, repository: Any, version: str) -> str:
        """Return the snapshot that a version or tag stands for."""
        tags = repository.list_tags()
        if version in tags:
            return str(repository.lookup_tag(version))
        known = [s.id for s in repository.ancestry(branch=BRANCH)]
        before = [s.id for t in tags for s in repository.ancestry(tag=t)]
        if version not in (*known, *before):
            raise CubeStructureError(
                f"{self.url} has no version {version!r}; its last ones are {known[:5]}"
                f"{f', its tags {sorted(tags)}' if tags else ''}. Give one of them."
            )
        return version

    def lock(self) -> AbstractContextManager[str]:
        """Keep every other writer out; behind a URL two writers conflict when they commit."""
        return nullcontext("") if self.protocol else lock_folder(Path(self.place))

    def held_by(self, token: str) -> bool:
        """Return whether a holder still has the lock; see `CubeStore.held_by`."""
        return True

    @contextmanager
    def edit(self, message: str, *, hidden: bool = False) -> Iterator[IcechunkEdit]:
        """Change the cube that is there, hidden on a branch of its own; see `CubeStore.edit`."""
        repository = self._repository()
        edit = IcechunkEdit(repository, self.url, _branch_of(repository) if hidden else BRANCH)
        yield edit
        edit.publish(message)
        if hidden:
            repository.delete_branch(HIDDEN)

    @contextmanager
    def build(self, message: str, *, replace: bool) -> Iterator[IcechunkEdit]:
        """Rebuild the cube in one commit; older versions stay readable."""
        from zarr.core.sync import sync

        self.refuse_existing(replace=replace)
        repository = _icechunk().Repository.open_or_create(self._storage())
        edit = IcechunkEdit(repository, self.url)
        sync(edit.store.clear())
        yield edit
        edit.checkpoint(message)

    def delete(self) -> None:
        """Empty the newest version; older ones stay; see `CubeStore.delete`."""
        from zarr.core.sync import sync

        edit = IcechunkEdit(self._repository(), self.url)
        sync(edit.store.clear())
        edit.checkpoint("removed")

    def _storage(self) -> Any:
        from biastf_xr.cube.stores._regular import regular_files

        icechunk = _icechunk()
        if not self.protocol:
            if (place := real(self.place)).is_dir():
                for _ in regular_files(place):  # Icechunk opens whatever it finds
                    pass
            return icechunk.local_filesystem_storage(str(place))
        if self.protocol != "s3":
            raise ConfigError(
                f"{self.url}: expected icechunk://folder or icechunk+s3://bucket/prefix."
            )
        bucket, _, prefix = self.place.partition("/")
        return icechunk.s3_storage(bucket=bucket, prefix=prefix, from_env=True)

    def _repository(self) -> Any:
        return _icechunk().Repository.open(self._storage())


def _version(snapshot: Any) -> Version:
    return Version(snapshot.id, f"{snapshot.written_at:%Y-%m-%dT%H:%M:%SZ}", snapshot.message)


def _branch_of(repository: Any) -> str:
    """Return the branch of unpublished work; one that did not start from what is public is old."""
    public = repository.lookup_branch(BRANCH)
    if HIDDEN in repository.list_branches():
        if public in (s.id for s in repository.ancestry(branch=HIDDEN)):
            return HIDDEN
        repository.delete_branch(HIDDEN)
    repository.create_branch(HIDDEN, public)
    return HIDDEN


def _icechunk() -> Any:
    try:
        import icechunk
    except ImportError as error:
        raise ConfigError(
            'icechunk stores need an extra: pip install "biastf-xr[icechunk]".'
        ) from error
    # It warns that a folder is not safe for two committers at once; the lock sees to that.
    icechunk.set_logs_filter("error")
    return icechunk
