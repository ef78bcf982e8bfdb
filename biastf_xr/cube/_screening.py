"""What a fine cube keeps of its screening: flags by pixel, a share and a record by day.

The flags are the variable ``screen``, the share the coordinate ``suspect_fraction``, NaN for a day
that was not screened.  The record says what the flags were made from, and their hash, by which a
fused cube knows that the image of a day has changed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._encoding import encoding_of, table_codecs
from biastf_xr.cube._ledger import (
    GROUP,
    RECORD_CHUNK,
    is_number,
    parse_texts,
    stored_days,
    write_along_time,
)
from biastf_xr.cube._template import build_template

if TYPE_CHECKING:
    from collections.abc import Mapping

    import zarr

    from biastf_xr.cube._spec import CubeSpec

ARRAY, FLAGS, SHARE = f"{GROUP}/screening", "screen", "suspect_fraction"


@dataclass(frozen=True)
class ScreenRecord:
    """How one day was screened.

    `made_of`: Hash of the scenes that were looked at, and of the rule.
    `flags`: Hash of the flags; empty if nothing is suspected.
    `share`: Suspected share of the clear pixels.
    """

    made_of: str
    flags: str
    share: float

    def __post_init__(self) -> None:
        texts = self.made_of, self.flags
        if not (all(isinstance(text, str) for text in texts) and is_number(self.share)):
            raise TypeError(f"{self} is no record of a screening")

    def text(self) -> str:
        """Return the record as it is stored."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> ScreenRecord:
        """Read a stored record."""
        return cls(**json.loads(text))


def read_screening(group: zarr.Group) -> dict[np.datetime64, ScreenRecord]:
    """Read the records of a cube, by day; those of days that were not screened are left out."""
    if ARRAY not in group:
        return {}
    texts: Any = group[ARRAY][:]  # type: ignore[index]
    return parse_texts(group, ARRAY, texts, ScreenRecord.parse)


def write_screening(root: zarr.Group, records: Mapping[int, ScreenRecord | None]) -> None:
    """Write the records of some days.

    `records`: By index on the time axis; None for a day that is to be screened again.
    """
    if ARRAY not in root:
        return
    write_along_time(root[ARRAY], {n: r.text() if r else "" for n, r in records.items()})
    share = {n: np.float32(r.share if r else np.nan) for n, r in records.items()}
    write_along_time(root[SHARE], share)


def create_screening(root: zarr.Group, days: int) -> None:
    """Make the empty records of a cube."""
    root.create_array(
        ARRAY, shape=(days,), chunks=(RECORD_CHUNK,), dtype="string", fill_value="",
        dimension_names=("time",), compressors=table_codecs(),
    )  # fmt: skip


def ensure_screening(root: zarr.Group, spec: CubeSpec) -> None:
    """Add flags and records to a fine cube that was written without them."""
    if ARRAY in root or spec.kind != "fine":
        return
    days = stored_days(root)
    template = build_template(spec, days)
    missing = template[[FLAGS]].drop_vars([n for n in template.coords if n != SHARE])
    encoding = {n: e for n, e in encoding_of(spec, days.size).items() if n in missing.variables}
    missing.to_zarr(
        root.store, group=root.path or None, mode="a", compute=False, zarr_format=3,
        consolidated=False, encoding=encoding,
    )  # fmt: skip
    create_screening(root, days.size)
