"""The contract of a store: read it, lock it, change it, build it from nothing."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from biastf_xr._system import reading
from biastf_xr._urls import public, split_url
from biastf_xr.errors import CubeExistsError, CubeStructureError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    import zarr


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


def open_group(
    store: Any, mode: Literal["r", "r+", "a"] = "r", *, url: str = "", **options: Any
) -> zarr.Group:
    """Open the root group of a store of which nothing is believed.

    FileNotFoundError is the caller's: it knows what is missing.

    Parameters
    ----------
    store : zarr.abc.store.Store
        The store, whose sizes are bounded from here on.
    mode : {"r", "r+", "a"}
        As of `zarr.open_group`.
    url : str
        What messages call it; by default its own name.
    **options
        Of `zarr.open_group`.

    Returns
    -------
    zarr.Group
        The group.
    """
    import zarr

    from biastf_xr.cube.stores._bounded import Bounded

    bounded = Bounded(store, url or str(store))
    with reading(bounded.url):
        return zarr.open_group(bounded, mode=mode, zarr_format=3, **options)


class Edit:
    """A change of a cube that is under way.

    As it stands it suits a store in which chunks appear as they are written and structure at
    checkpoints, when the metadata is consolidated.

    Parameters
    ----------
    store : zarr.abc.store.Store
        What to write through, in this process.
    """

    def __init__(self, store: Any) -> None:
        self.store = store
        self._group: zarr.Group | None = None

    @property
    def group(self) -> zarr.Group:
        """Return the root group to change, opened once; the cube must be there."""
        if self._group is None:
            self._group = open_group(self.store, "r+", use_consolidated=False)
        return self._group

    def fork(self) -> Any:
        """Return a picklable store that workers may write chunks through.

        Everything written so far must have been made visible by `checkpoint`.

        Returns
        -------
        zarr.abc.store.Store
            The store; each worker hands it back when it is done.
        """
        return self.store

    def merge(self, forks: Iterable[Any]) -> None:
        """Take over what workers wrote.

        Parameters
        ----------
        forks : iterable of zarr.abc.store.Store
            What the workers handed back.
        """

    def checkpoint(self, message: str) -> None:
        """Make everything written so far visible to readers.

        Parameters
        ----------
        message : str
            What was done, for the log of versions.
        """
        import zarr

        from biastf_xr.cube.stores._bounded import Bounded

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            # One object, so that all arrays grow at once for a reader.
            zarr.consolidate_metadata(Bounded(self.store, str(self.store)))

    def publish(self, message: str) -> None:
        """Make everything visible that an edit with ``hidden`` has held back.

        Parameters
        ----------
        message : str
            What was done, for the log of versions.
        """
        self.checkpoint(message)


class CubeStore(ABC):
    """A place where a cube is or may be.

    A new kind of store is a class with these methods and a line in `biastf_xr.cube.stores.STORES`;
    a package of yours adds one by the entry point ``biastf_xr.stores``, named as its scheme.

    Attributes
    ----------
    url : str
        Its name in messages; `biastf_xr.cube.stores.store_at` takes it back.
    consolidated : bool
        Whether its metadata is consolidated.
    transactional : bool
        Whether changes become visible together, in a commit.
    replaces_at_once : bool
        Whether a reader of a cube that is rebuilt sees either the old or the new one.
    media_type : str
        What a catalogue calls it.
    """

    url: str
    consolidated: ClassVar[bool] = True
    transactional: ClassVar[bool] = False
    replaces_at_once: ClassVar[bool] = False
    media_type: ClassVar[str] = "application/vnd.zarr; version=3"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({public(self.url)!r})"

    @classmethod
    @abstractmethod
    def at(cls, url: str, base: Path | None) -> CubeStore:
        """Return the store at a URL or path; opens nothing.

        Parameters
        ----------
        url : str
            With its scheme.
        base : pathlib.Path, optional
            What a relative folder is relative to; it stays relative by default.

        Returns
        -------
        CubeStore
            The store.
        """

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Return whether a folder without a scheme holds a store of this kind.

        Parameters
        ----------
        folder : pathlib.Path
            A folder that is there and is no plain Zarr.

        Returns
        -------
        bool
            False by default.
        """
        return False

    @property
    def folder(self) -> Path | None:
        """Return where it lies on this machine; None for a store behind a URL."""
        return None

    @property
    def name(self) -> str:
        """Return the last part of its path."""
        return Path(split_url(public(self.url))[1]).name

    @property
    def beside(self) -> Path:
        """Return a path of its name beside it; in the working folder if it lies behind a URL."""
        return self.folder or Path(self.name)

    @abstractmethod
    def exists(self) -> bool:
        """Return whether there is something.

        Returns
        -------
        bool
            True if there is a Zarr group.
        """

    @abstractmethod
    def reader(self, version: str | None = None) -> Any:
        """Open it for reading.

        Parameters
        ----------
        version : str, optional
            Of a store that keeps versions: a snapshot or tag; the newest by default.

        Returns
        -------
        zarr.abc.store.Store
            What xarray and zarr read through; raises FileNotFoundError, at the latest when it is
            read, if there is nothing.
        """

    def versions(self) -> list[Version]:
        """List the versions, newest first.

        Returns
        -------
        list of Version
            Empty for a store that keeps none.
        """
        return []

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
        raise self.without_versions(to)

    def without_versions(self, version: str) -> CubeStructureError:
        """Return the refusal of a store that keeps no versions.

        Parameters
        ----------
        version : str
            What was asked for.

        Returns
        -------
        CubeStructureError
            To be raised.
        """
        return CubeStructureError(
            f"{self.url} is plain Zarr and keeps no versions; asked for {version!r}. "
            "Only Icechunk stores (icechunk://...) keep them."
        )

    def refuse_existing(self, *, replace: bool) -> None:
        """Refuse to build over a cube that is there; see `build`.

        Parameters
        ----------
        replace : bool
            Whether it may be replaced.
        """
        if not replace and self.exists():
            raise CubeExistsError(
                f"{self.url} already exists and is left as it is. "
                "Choose another output, or ask to replace it (`--overwrite`, overwrite=True)."
            )

    @abstractmethod
    def lock(self) -> AbstractContextManager[str]:
        """Keep every other writer out, until the block is left or the process dies.

        Returns
        -------
        context manager of str
            A token for `held_by`; raises `StoreLockedError`, naming the holder, if somebody else
            writes.
        """

    @abstractmethod
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

    @abstractmethod
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

    @abstractmethod
    def build(self, message: str, *, replace: bool) -> AbstractContextManager[Edit]:
        """Build the cube from nothing; it appears when the block ends cleanly.

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

    @abstractmethod
    def delete(self) -> None:
        """Remove the cube."""
