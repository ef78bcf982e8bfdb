"""What a fused cube was made from, tile by tile and date by date.

In the group ``fusion`` of the cube lie

- ``record``: of every date and tile the numbers of `FIELDS`, all 0 where nothing was made;
- ``recipes`` and ``scenes``: the texts that the numbers stand for, added to and never changed;
- ``runs``: one JSON text per run;
- ``journal``: what workers finished since `record` was last written.

A worker of a plain store writes its lines of the journal after its pixels, so that they are never
there without them, and before it recomputes pixels, lines that say so; the driver moves lines to
`record`.  With Icechunk pixels and record go into one commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._encoding import table_codecs
from biastf_xr.errors import CubeStructureError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import zarr
    from numpy.typing import NDArray

GROUP = "fusion"

# What is recorded of a date and tile: the hashes of `Provenance`, the hash of the
# coarse images used, the number of the recipe counted from 1, which of its base dates were looked
# at (a bit for each), and how many of them on each side (`pack_depth`).
FIELDS = ("fine", "coarse", "content", "recipe", "bases", "depth")
FINE, COARSE, CONTENT, RECIPE, BASES, DEPTH = range(len(FIELDS))

# Stands for all base dates of a side.
ALL = 255

# A line of the journal: index of the date, number of the tile, and the fields.
LINE = 2 + len(FIELDS)

TABLES = ("recipes", "scenes", "runs")
TABLE_CHUNK = 64


def create_ledger(root: zarr.Group, days: int, tiles: tuple[int, int]) -> None:
    """Make the empty ledger of a new fused cube."""
    group = root.create_group(GROUP)
    group.create_array(
        "record", shape=(days, *tiles, len(FIELDS)), chunks=(1, *tiles, len(FIELDS)),
        dtype="uint64", fill_value=0, dimension_names=("time", "tile_y", "tile_x", "field"),
        attributes={"fields": list(FIELDS)}, compressors=table_codecs(),
    )  # fmt: skip
    for name in TABLES:
        group.create_array(
            name, shape=(0,), chunks=(TABLE_CHUNK,), dtype="string", fill_value="",
            compressors=table_codecs(),
        )  # fmt: skip


def open_ledger(root: zarr.Group) -> zarr.Group:
    """Return the ledger of an opened fused cube."""
    if f"{GROUP}/record" not in root:
        raise CubeStructureError(
            f"{root.store} has no ledger ({GROUP}/record): it was written by an older biastf_xr or "
            "by something else, and cannot be continued. Choose another output, or --overwrite."
        )
    group: Any = root[GROUP]
    found: zarr.Group = group
    return found


def pack_depth(before: int, after: int) -> int:
    """Pack how many base dates a side a tile depends on; `ALL` where further ones may matter."""
    return 1 << 16 | before << 8 | after


def unpack_depth(packed: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Unpack how many base dates a side tiles depend on; 0, nothing made, gives `ALL`."""
    number = packed.astype(np.intp)
    none = number == 0
    before, after = (np.where(none, ALL, n & ALL) for n in (number >> 8, number))
    return before, after


def write_lines(ledger: zarr.Group, lines: NDArray[np.uint64]) -> None:
    """Put lines into the record."""
    array: Any = ledger["record"]
    for index in np.unique(lines[:, 0]):
        chunk = array[int(index)]
        of_day = lines[lines[:, 0] == index]
        chunk.reshape(-1, len(FIELDS))[of_day[:, 1].astype(int)] = of_day[:, 2:]
        array[int(index)] = chunk


def remember(ledger: zarr.Group, table: str, texts: Iterable[str]) -> dict[str, int]:
    """Add texts to a table, unless they are there."""
    array: Any = ledger[table]
    known = {str(text): n for n, text in enumerate(array[:], 1)} if array.shape[0] else {}
    new = [text for text in dict.fromkeys(texts) if text not in known]
    if new:
        start = array.shape[0]
        array.resize((start + len(new),))
        array[start:] = np.array(new, np.dtypes.StringDType())
    return known | {text: n for n, text in enumerate(new, len(known) + 1)}


def replace_last(ledger: zarr.Group, table: str, text: str) -> None:
    """Replace the last text of a table."""
    array: Any = ledger[table]
    array[array.shape[0] - 1 :] = np.array([text], np.dtypes.StringDType())


# --- the journal ----------------------------------------------------------------------------------


def start_journal(ledger: zarr.Group, slots: int, dates: int) -> None:
    """Make an empty journal."""
    ledger.create_array(
        "journal", shape=(max(slots, 1), dates, LINE), chunks=(1, dates, LINE), dtype="uint64",
        fill_value=0, overwrite=True, compressors=table_codecs(),
    )  # fmt: skip


def add_to_journal(store: Any, slot: int, lines: NDArray[np.uint64]) -> None:
    """Write what a unit finished: one object, whole or not at all."""
    import zarr

    array: Any = zarr.open_array(store, path=f"{GROUP}/journal", mode="r+", zarr_format=3)
    row = np.zeros(array.shape[1:], np.uint64)
    row[: len(lines)] = lines
    array[slot] = row


def replay_journal(ledger: zarr.Group) -> int:
    """Move the journal that an interrupted run left into the record, and remove it."""
    if "journal" not in ledger:
        return 0
    lines, slots = read_journal(ledger)
    write_lines(ledger, lines)
    del ledger["journal"]
    return len(slots)


def read_journal(ledger: zarr.Group) -> tuple[NDArray[np.uint64], list[int]]:
    """Read the journal."""
    empty = np.zeros((0, LINE), np.uint64)
    if "journal" not in ledger:
        return empty, []
    array: Any = ledger["journal"]
    slots = sorted(_slots(ledger))
    found = [empty, *(array[slot] for slot in slots)]
    lines = np.concatenate(found)
    return lines[lines[:, 2 + RECIPE] != 0], slots


def read_slot(ledger: zarr.Group, slot: int) -> NDArray[np.uint64]:
    """Read what a unit has finished, if it has."""
    row = np.asarray(ledger["journal"][slot], np.uint64)  # type: ignore[index]
    done: NDArray[np.uint64] = row[row[:, 2 + FINE] != 0]
    return done


def begun(lines: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the lines that say that pixels are being recomputed, from those of the end."""
    out = lines.copy()
    out[:, 2:] = 0
    out[:, 2 + RECIPE] = lines[:, 2 + RECIPE]
    return out


def _slots(ledger: zarr.Group) -> list[int]:
    """List the slots that were written, by the names of their objects."""
    from zarr.core.sync import sync

    prefix = f"{ledger.path}/journal/c/"

    async def names() -> list[str]:
        return [key async for key in ledger.store.list_prefix(prefix)]

    parts = (key.removeprefix(prefix).split("/") for key in sync(names()))
    # A killed writer leaves files with other names behind.
    return [int(p[0]) for p in parts if len(p) == 3 and p[2].isdigit()]


def shorten_journal(ledger: zarr.Group, slots: Iterable[int]) -> None:
    """Remove lines that are in the record."""
    from zarr.core.sync import sync

    async def remove() -> None:
        """Delete the objects."""
        for slot in slots:
            await ledger.store.delete(f"{ledger.path}/journal/c/{slot}/0/0")

    sync(remove())
