"""What a cube was made from: for every day the scenes, their versions, and whether it is finished.

The records lie in the Zarr array ``ingest/record``, one JSON text per day, so that they are
written through the same store (with Icechunk: in the same commit) as the pixels.  Beside them
``ingest/clear_pixels`` counts the clear pixels of every shard, so that a fusion is planned without
reading pixels.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from biastf_xr._system import reading
from biastf_xr._urls import archive_of, lasting
from biastf_xr.cube._encoding import table_codecs
from biastf_xr.cube._spec import TIME_UNITS
from biastf_xr.errors import CubeStructureError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import zarr
    from numpy.typing import NDArray

    from biastf_xr.cube._spec import CubeSpec
    from biastf_xr.sources.base import Scene

Day = np.datetime64
T = TypeVar("T")

GROUP, ARRAY, CLEAR_ARRAY = "ingest", "record", "clear_pixels"
RECORD_CHUNK = 256

# Attribute of the ledger: every pixel was looked at, whether it is reflectance.
CHECKED = "checked"


@dataclass(frozen=True)
class Entry:
    """One scene in a cube."""

    key: str
    id: str
    version: str
    fingerprint: str  # hash of its files' names, sizes and times
    clear: float = 0.0  # share of the cube's pixels that it alone has clear

    def __post_init__(self) -> None:
        texts = self.key, self.id, self.version, self.fingerprint
        if not (all(isinstance(text, str) for text in texts) and is_number(self.clear)):
            raise TypeError(f"{self} is no scene of a ledger")


@dataclass(frozen=True)
class DayRecord:
    """What one day of a cube was made from."""

    entries: tuple[Entry, ...]  # in the order of composition
    finished: bool = True  # False after an interruption

    def text(self) -> str:
        """Return the record as it is stored."""
        return json.dumps({"finished": self.finished, "scenes": [asdict(e) for e in self.entries]})

    @classmethod
    def parse(cls, text: str) -> DayRecord:
        """Read a stored record."""
        found = json.loads(text)
        return cls(tuple(Entry(**e) for e in found["scenes"]), bool(found["finished"]))


def is_number(value: Any) -> bool:
    """Return whether a value of a record is a number; a truth is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def entry_of(scene: Scene, clear: float = 0.0) -> Entry:
    """Describe a scene as it now lies in the archive."""
    return Entry(scene.acquisition, scene.id, scene.version, fingerprint(scene), clear)


def fingerprint(scene: Scene) -> str:
    """Hash the names, sizes and times of change of a scene's files; reads no pixel.

    A URL that was signed anew names the same file.
    """
    parts = [scene.id, scene.version]
    for layer, file in sorted(scene.files.items()):
        parts.append(f"{layer}={Path(file).name if isinstance(file, Path) else lasting(file)}")
        try:
            state = (archive_of(file) or Path(file)).stat()
        except OSError:
            continue
        parts.append(f"{state.st_size}/{state.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def create_ledger(root: zarr.Group, spec: CubeSpec, days: int) -> None:
    """Make the empty ledger of a new cube."""
    group = root.create_group(GROUP, attributes={CHECKED: True})
    group.create_array(
        ARRAY, shape=(days,), chunks=(RECORD_CHUNK,), dtype="string", fill_value="",
        dimension_names=("time",), compressors=table_codecs(),
    )  # fmt: skip
    tiles = spec.layout.tiles(spec.shape)
    group.create_array(
        CLEAR_ARRAY, shape=(days, *tiles), chunks=(spec.layout.time, *tiles), dtype="uint32",
        fill_value=0, dimension_names=("time", "tile_y", "tile_x"), compressors=table_codecs(),
    )  # fmt: skip


def is_checked(group: zarr.Group) -> bool:
    """Return whether `ingest` looked at every pixel of a cube; an older one did not."""
    return GROUP in group and bool(group[GROUP].attrs.get(CHECKED))


def read_clear_pixels(group: zarr.Group) -> dict[Day, NDArray[np.uint32]] | None:
    """Read how many clear pixels every shard of a cube has, day by day."""
    if f"{GROUP}/{CLEAR_ARRAY}" not in group:
        return None
    counts: Any = group[f"{GROUP}/{CLEAR_ARRAY}"][:]  # type: ignore[index]
    return dict(zip(stored_days(group), counts, strict=True))


def has_ledger(group: zarr.Group) -> bool:
    """Return whether a cube was written by an ingest."""
    return f"{GROUP}/{ARRAY}" in group


def read_ledger(group: zarr.Group) -> dict[Day, DayRecord]:
    """Read the records of a cube."""
    try:
        texts: Any = group[f"{GROUP}/{ARRAY}"][:]  # type: ignore[index]
    except KeyError as error:
        raise CubeStructureError(
            f"{group.store} has no ledger ({GROUP}/{ARRAY}): it was not written by ingest and "
            "cannot be extended. Choose another path, or rebuild it with --overwrite."
        ) from error
    return parse_texts(group, ARRAY, texts, DayRecord.parse)


def parse_texts(
    group: zarr.Group, name: str, texts: Any, parse: Callable[[str], T]
) -> dict[Day, T]:
    """Read the records of days from their texts; days without one are left out."""
    found = {}
    for day, text in zip(stored_days(group), texts, strict=True):
        if text:
            with reading(f"{name} of {day} in {group.store}"):
                found[day] = parse(str(text))
    return found


def write_records(root: zarr.Group, records: Mapping[int, DayRecord | None]) -> None:
    """Write the records of some days by their index; None takes a record away."""
    texts = {index: r.text() if r else "" for index, r in records.items()}
    write_along_time(root[f"{GROUP}/{ARRAY}"], texts)


def write_along_time(array: Any, values: Mapping[int, Any]) -> None:
    """Write values at scattered indices of a one-dimensional array."""
    if not values:
        return
    first, last = min(values), max(values)
    block = np.array(array[first : last + 1])
    for index, value in values.items():
        block[index - first] = value
    array[first : last + 1] = block


def stored_days(group: zarr.Group) -> np.ndarray[Any, np.dtype[Any]]:
    """Read the time axis of a cube."""
    array: Any = group["time"]
    if array.attrs.get("units") != TIME_UNITS:
        raise CubeStructureError(
            f"the times of {group.store} have the units {array.attrs.get('units')!r}; expected "
            f"{TIME_UNITS!r}. Restore the cube from a copy, or make it again."
        )
    return np.asarray(array[:], "int64").astype("datetime64[s]").astype("datetime64[D]")
