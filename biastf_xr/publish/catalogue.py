"""Write a static STAC catalogue of a cube, and bring it up to date."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from biastf_xr._days import to_days
from biastf_xr._files import own_folder, read_bytes, remove, write_bytes
from biastf_xr._outside import visible
from biastf_xr._summary import Summary, Told, size
from biastf_xr._system import check_projections, writing_to
from biastf_xr._urls import lasting, public
from biastf_xr.cube._cube import Cube, bands_of
from biastf_xr.cube._export import write_cog
from biastf_xr.cube._spec import sigma_of
from biastf_xr.cube.stores._lock import lock_folder
from biastf_xr.errors import ConfigError, CubeExistsError, TargetDateError
from biastf_xr.publish import _stac as stac
from biastf_xr.publish._thumbnail import thumbnail

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import xarray as xr

    from biastf_xr.cube.stores.base import CubeStore

Progress = Callable[[str, int, int], None]
Day = np.datetime64

COLLECTION = "collection.json"
THUMBNAIL = "thumbnail"

# Part of what an item was made from: to be raised when files are made in another way.
FORM = 1


@dataclass(frozen=True, repr=False)
class PublishReport(Told):
    """What was published, or would be.

    Attributes
    ----------
    path : str
        The collection, root of the catalogue.
    added, updated, kept, removed : tuple of str
        ISO dates: new ones; those made again because the cube or the options have changed; those
        left as they are; those no longer in the cube.
    files : int
        Files written.
    size : int
        Bytes written; for a dry run, bytes of the pixels before compression.
    """

    path: str
    added: tuple[str, ...]
    updated: tuple[str, ...]
    kept: tuple[str, ...]
    removed: tuple[str, ...]
    files: int
    size: int

    def _summary(self) -> Summary:
        kinds = {"new": self.added, "updated": self.updated, "kept": self.kept,
                 "taken out": self.removed}  # fmt: skip
        dates = ", ".join(f"{len(days)} {what}" for what, days in kinds.items())
        files = f"{self.files}, {size(self.size)}"
        return Summary(f"STAC catalogue {self.path}", {"dates": dates, "files": files})


def publish(
    path: str | Path,
    folder: str | Path,
    *,
    licence: str = "other",
    licence_url: str | None = None,
    providers: Iterable[Mapping[str, Any]] = (),
    id: str | None = None,  # noqa: A002  (the name STAC has for it)
    title: str | None = None,
    description: str | None = None,
    keywords: Iterable[str] = (),
    dates: Iterable[str] | None = None,
    layers: Iterable[str] | None = None,
    dtype: Literal["int16", "float32"] = "int16",
    store_href: str | None = None,
    workers: int | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> PublishReport:
    """Write a static STAC catalogue of a cube: a collection, and an item of COGs for every date.

    All links are relative, so that the folder can be moved or served as it is.  Files appear when
    they are complete, the collection last.  Run again, it writes the dates that are new or that the
    cube has recomputed since, takes out those that are gone, and keeps the rest; an interrupted run
    is completed by the next.

    Parameters
    ----------
    path : str or pathlib.Path
        The cube.
    folder : str or pathlib.Path
        Where the catalogue goes: ``collection.json``, and a folder for every date.
    licence : str
        SPDX identifier or expression of the data's licence; "other" with `licence_url`.
    licence_url : str, optional
        Where the text of the licence is.
    providers : iterable of mapping, optional
        STAC providers: `name`, and if you like `description`, `roles`, `url`.
    id : str, optional
        Id of the collection; the name of the store by default.
    title, description : str, optional
        For people; by default from the attributes of the cube.
    keywords : iterable of str, optional
        For search.
    dates : iterable of str, optional
        ISO dates that the catalogue has; all that the cube has made by default.
    layers : iterable of str, optional
        Variables; by default the bands, their sigmas and `status_flag` or `clear`.
    dtype : {"int16", "float32"}
        How bands are stored: as numbers of 0.0001 with nodata -9999, or as they are.
    store_href : str, optional
        Where readers find the store; by default its URL, without user and query, or its path
        relative to `folder`.
    workers : int, optional
        Threads, one date each; one per core by default.
    dry_run : bool
        Only report what would be done.
    progress : callable, optional
        Called after every date with the id of its item, the number done and the number in all.

    Returns
    -------
    PublishReport
        What was done, or would be.

    Raises
    ------
    ConfigError, TargetDateError
        If the cube has no such variable or date.
    CubeExistsError
        If the folder holds the catalogue of another collection.
    StoreWriteError
        If a file cannot be written.
    """
    check_projections()
    source = Cube(path)
    ds, store = source.to_xarray(chunks=None), source.store
    stem = store.name.removesuffix(".zarr")
    about = stac.Description(
        id or stem,
        title or visible(ds.attrs.get("title", stem)),
        description or _describe(ds),
        licence,
        licence_url,
        tuple(providers),
        tuple(keywords),
    )
    catalogue = _Catalogue(ds, Path(folder), about.id, _layers(ds, layers), dtype)
    wanted = _wanted(ds, source.day_hashes, dates)
    plan = _Plan.compare(catalogue, wanted)
    if dry_run:
        cell = sum(_itemsize(ds[name], dtype) for name in catalogue.names)
        pixels = len(plan.todo) * ds.sizes["y"] * ds.sizes["x"]
        return plan.report(
            catalogue, len(plan.todo) * (len(catalogue.names) + 2) + 1, pixels * cell
        )
    href = store_href or _href(store, catalogue.folder)
    if lasting(href) != href:
        raise ConfigError(
            f"store_href holds a user, a password or a signature, which every reader of the "
            f"catalogue would see: {href}. Give the address without."
        )
    cube = stac.store_asset(href, store.media_type, consolidated=store.consolidated)
    with lock_folder(catalogue.folder), writing_to(str(catalogue.folder)):
        files = _write_items(catalogue, plan, workers or os.cpu_count() or 1, progress)
        files.append(_write_collection(catalogue, sorted(wanted), about, cube))
        for day in plan.removed:
            remove(catalogue.day_folder(day))
    return plan.report(catalogue, len(files), sum(f.stat().st_size for f in files))


@dataclass(frozen=True)
class _Catalogue:
    """What is published, where, and how."""

    ds: xr.Dataset
    folder: Path
    collection: str
    names: tuple[str, ...]
    dtype: Literal["int16", "float32"]

    def item(self, day: Day) -> str:
        """Return the id of a date's item."""
        return f"{self.collection}_{str(day).replace('-', '')}"

    def day_folder(self, day: Day) -> Path:
        """Return the folder of a date."""
        return self.folder / self.item(day)

    def record(self, day: Day) -> Path:
        """Return the file of a date's item."""
        return self.day_folder(day) / f"{self.item(day)}.json"

    def file(self, day: Day, name: str) -> Path:
        """Return the file of an asset."""
        suffix = "png" if name == THUMBNAIL else "tif"
        return self.day_folder(day) / f"{self.item(day)}_{name}.{suffix}"

    def digest(self, made_from: str) -> str:
        """Digest what the files of a date are made from; nothing where the cube has no record."""
        how = json.dumps([FORM, made_from, self.names, self.dtype, self.collection])
        return hashlib.sha256(how.encode()).hexdigest()[:16] if made_from else ""

    def layers(self) -> dict[str, dict[str, Any]]:
        """Describe the assets of every item."""
        picture = {"title": "Picture of the day", "type": stac.PNG, "roles": ["thumbnail"]}
        layers = {name: stac.layer_asset(self.ds, name, self.dtype) for name in self.names}
        return layers | {THUMBNAIL: picture}


@dataclass(frozen=True)
class _Plan:
    """Which dates are to be written, with the digest of each, and which to be removed."""

    todo: dict[Day, str]
    added: tuple[Day, ...]
    kept: tuple[Day, ...]
    removed: tuple[Day, ...]

    @classmethod
    def compare(cls, catalogue: _Catalogue, wanted: dict[Day, str]) -> _Plan:
        """Compare the catalogue with the cube."""
        there = _published(catalogue)
        digests = {day: catalogue.digest(made_from) for day, made_from in wanted.items()}
        kept = tuple(d for d in digests if d in there and _is_whole(catalogue, d, digests[d]))
        return cls(
            {day: digest for day, digest in digests.items() if day not in kept},
            tuple(d for d in digests if d not in there),
            kept,
            tuple(sorted(there - set(wanted))),
        )

    def report(self, catalogue: _Catalogue, files: int, size: int) -> PublishReport:
        """Return what was done."""
        updated = tuple(d for d in self.todo if d not in self.added)
        return PublishReport(
            str(catalogue.folder / COLLECTION), _iso(self.added), _iso(updated), _iso(self.kept),
            _iso(self.removed), files, size,
        )  # fmt: skip


def _iso(days: Iterable[Day]) -> tuple[str, ...]:
    return tuple(map(str, days))


def _published(catalogue: _Catalogue) -> set[Day]:
    """Return the dates in the catalogue that is there."""
    file = catalogue.folder / COLLECTION
    if not file.exists():
        # An interrupted first run has items and no collection yet.
        found = [
            p.name.removeprefix(f"{catalogue.collection}_")
            for p in catalogue.folder.glob("*/*.json")
        ]
    else:
        known = json.loads(read_bytes(file))
        if known.get("id") != catalogue.collection:
            raise CubeExistsError(
                f"{file} is the catalogue of {known.get('id')!r}, not of {catalogue.collection!r}. "
                "Choose another folder, or that id."
            )
        titles = [x["title"] for x in known["links"] if x["rel"] == "item"]
        found = [name.removeprefix(f"{catalogue.collection}_") for name in titles]
    days = (text.removesuffix(".json") for text in found)
    return {Day(f"{d[:4]}-{d[4:6]}-{d[6:]}") for d in days if len(d) == 8 and d.isdigit()}


def _is_whole(catalogue: _Catalogue, day: Day, digest: str) -> bool:
    """Return whether the files of a date are there, and from the same inputs."""
    try:
        record = json.loads(read_bytes(catalogue.record(day)))
        known = record["properties"].get("biastf:digest")
    except (OSError, ValueError, KeyError):
        return False
    files = (catalogue.file(day, name) for name in (*catalogue.names, THUMBNAIL))
    return bool(digest) and known == digest and all(f.exists() for f in files)


def _layers(ds: xr.Dataset, layers: Iterable[str] | None) -> tuple[str, ...]:
    known = [str(n) for n, v in ds.data_vars.items() if v.dims == ("time", "y", "x")]
    bands = bands_of(ds)
    if layers is None:
        usual = [*bands, *map(sigma_of, bands), "status_flag", "clear"]
        return tuple(name for name in usual if name in known)
    chosen = tuple(layers)
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise ConfigError(f"the cube has no {unknown}; expected some of {sorted(known)}.")
    if not set(chosen) & set(bands):
        raise ConfigError(f"no band among {list(chosen)}; expected at least one of {list(bands)}.")
    return chosen


def _wanted(ds: xr.Dataset, digests: dict[Day, str], dates: Iterable[str] | None) -> dict[Day, str]:
    """Return the dates to be in the catalogue, and what each was made from."""
    days = list(to_days(ds["time"]))
    if any(digests.values()):
        days = [d for d in days if digests[d]]  # what a fusion has not reached yet is no image
    if dates is not None:
        wanted = set(to_days(dates, "the date to publish"))
        missing = sorted(wanted - set(days))
        if missing:
            span = f"; it has {len(days)} from {days[0]} to {days[-1]}" if days else ""
            raise TargetDateError(f"the cube has no image of {', '.join(map(str, missing))}{span}.")
        days = sorted(wanted)
    if not days:
        raise TargetDateError("the cube has no image yet; fuse or ingest first.")
    return {day: digests[day] for day in days}


def _describe(ds: xr.Dataset) -> str:
    source = ds.attrs.get("source", "")
    text = str(ds.attrs.get("title", "Surface reflectance"))
    method = json.loads(ds.attrs.get("biastf_method", "{}")).get("method", "")
    parts = text, f", from {source}" if source else "", f", by {method}" if method else "", "."
    return visible("".join(parts))


def _itemsize(variable: xr.DataArray, dtype: str) -> int:
    packed = variable.dtype.kind == "f" and dtype == "int16"
    return 2 if packed else int(variable.dtype.itemsize)


def _href(store: CubeStore, folder: Path) -> str:
    """Return the path of a store as seen from a folder, or its URL."""
    if store.folder is None:
        return public(store.url)
    return Path(os.path.relpath(store.folder, folder)).as_posix()


def _write_items(
    catalogue: _Catalogue, plan: _Plan, threads: int, progress: Progress | None
) -> list[Path]:
    days = list(to_days(catalogue.ds["time"]))
    layers = catalogue.layers()
    files: list[Path] = []
    with ThreadPoolExecutor(threads) as pool:
        futures = {
            pool.submit(_write_item, catalogue, layers, day, days.index(day), digest): day
            for day, digest in plan.todo.items()
        }
        try:
            for done, future in enumerate(as_completed(futures), 1):
                files += future.result()
                if progress:
                    progress(catalogue.item(futures[future]), done, len(futures))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return files


def _write_item(
    catalogue: _Catalogue,
    layers: Mapping[str, Mapping[str, Any]],
    day: Day,
    index: int,
    digest: str,
) -> list[Path]:
    """Write the files of a date, its item last; until then one that is there is unfinished."""
    files = {name: catalogue.file(day, name) for name in layers}
    assets = {n: {"href": f"./{files[n].name}", **layers[n]} for n in layers}
    item = stac.item_of(
        catalogue.ds, day, (catalogue.item(day), catalogue.collection), assets, digest
    )
    record = catalogue.record(day)
    own_folder(record.parent)
    if record.exists():
        unfinished = item["properties"] | {"biastf:digest": ""}
        write_bytes(record, _text(item | {"properties": unfinished}))
    for name in catalogue.names:
        write_cog(catalogue.ds, index, name, files[name], catalogue.dtype)
    bands = {band: files[band] for band in bands_of(catalogue.ds) if band in catalogue.names}
    write_bytes(files[THUMBNAIL], thumbnail(bands))
    write_bytes(record, _text(item))
    written = [*files.values(), record]
    for stray in set(record.parent.glob(f"*{catalogue.item(day)}*")) - set(written):
        remove(stray)
    return written


def _write_collection(
    catalogue: _Catalogue, days: list[Day], about: stac.Description, cube: dict[str, Any]
) -> Path:
    items = [(catalogue.item(d), f"./{catalogue.item(d)}/{catalogue.item(d)}.json") for d in days]
    found = stac.collection_of(catalogue.ds, days, items, catalogue.layers(), {"zarr": cube}, about)
    file = catalogue.folder / COLLECTION
    write_bytes(file, _text(found))
    return file


def _text(value: Any) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
