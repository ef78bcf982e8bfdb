"""The contract of a store: read it, lock it, change it, build it anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager


class Version(NamedTuple):
    """A state of a cube that can be read again.

    Attributes
    ----------
    id : str
        What `CubeStore.reader` takes.
    time : str
        When it was made, UTC.
    message : str
        What was done.
    """

    id: str
    time: str
    message: str


class Edit(Protocol):
    """A change of a cube that is under way.

    Attributes
    ----------
    store : zarr.abc.store.Store
        What to write through, in this process.
    """

    @property
    def store(self) -> Any:
        """Return what to write through, in this process."""
        ...

    def fork(self) -> Any:
        """Return a picklable store that workers may write chunks through.

        Everything written so far must have been made visible by `checkpoint`.

        Returns
        -------
        zarr.abc.store.Store
            The store; each worker hands it back when it is done.
        """
        ...

    def merge(self, forks: Iterable[Any]) -> None:
        """Take over what workers wrote.

        Parameters
        ----------
        forks : iterable of zarr.abc.store.Store
            What the workers handed back.
        """
        ...

    def checkpoint(self, message: str) -> None:
        """Make everything written so far visible to readers.

        Parameters
        ----------
        message : str
            What was done, for the log of versions.
        """
        ...

    def publish(self, message: str) -> None:
        """Make everything visible that an edit with ``hidden`` has held back.

        Parameters
        ----------
        message : str
            What was done, for the log of versions.
        """
        ...


class CubeStore(Protocol):
    """A place where a cube is or may be.

    Attributes
    ----------
    url : str
        Its name in messages.
    consolidated : bool
        Whether its metadata is consolidated.
    transactional : bool
        Whether changes become visible together, in a commit.
    replaces_at_once : bool
        Whether a reader of a cube that is built anew sees either the old or the new one.
    """

    consolidated: ClassVar[bool]
    transactional: ClassVar[bool]
    replaces_at_once: ClassVar[bool]

    @property
    def url(self) -> str:
        """Return its name in messages."""
        ...

    def exists(self) -> bool:
        """Return whether there is something.

        Returns
        -------
        bool
            True if there is a Zarr group.
        """
        ...

    def reader(self, version: str | None = None) -> Any:
        """Open it for reading.

        Parameters
        ----------
        version : str, optional
            Of a store that keeps versions: a snapshot or tag; the newest by default.

        Returns
        -------
        zarr.abc.store.Store
            What xarray and zarr read through.
        """
        ...

    def versions(self) -> list[Version]:
        """List the versions, newest first.

        Returns
        -------
        list of Version
            Empty for a store that keeps none.
        """
        ...

    def roll_back(self, to: str) -> Version:
        """Make an earlier version the newest one; its holder must have the lock.

        Parameters
        ----------
        to : str
            As for `reader`.

        Returns
        -------
        Version
            What readers see now; raises `CubeStructureError` if there is no such version.
        """
        ...

    def lock(self) -> AbstractContextManager[str]:
        """Keep every other writer out, until the block is left or the process dies.

        Returns
        -------
        context manager of str
            A token for `held_by`; raises `StoreLockedError`, naming the holder, if somebody else
            writes.
        """
        ...

    def held_by(self, token: str) -> bool:
        """Return whether a holder still has the lock.

        Workers ask before they write: what a dead driver left running must not write beside the
        next one.

        Parameters
        ----------
        token : str
            As from `lock`.

        Returns
        -------
        bool
            False if the holder has died or given the lock back.
        """
        ...

    def edit(self, message: str, *, hidden: bool = False) -> AbstractContextManager[Edit]:
        """Change the cube that is there.

        Parameters
        ----------
        message : str
            What is done, for the log of versions.
        hidden : bool
            Where changes are transactional, keep what `Edit.checkpoint` makes durable from readers
            until `Edit.publish`, and go on with what an interrupted edit has left.

        Returns
        -------
        context manager of Edit
            A clean end makes the last changes visible.
        """
        ...

    def build(self, message: str, *, replace: bool) -> AbstractContextManager[Edit]:
        """Make the cube anew; it appears when the block ends cleanly.

        Parameters
        ----------
        message : str
            What is done, for the log of versions.
        replace : bool
            Whether a cube that is there may be replaced.

        Returns
        -------
        context manager of Edit
            An empty store.
        """
        ...

    def delete(self) -> None:
        """Remove the cube."""
        ...
