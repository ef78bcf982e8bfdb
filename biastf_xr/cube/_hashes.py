"""What every day of a cube was made from, as one short text: by it copies know what has changed.

Read from the ledgers alone, so that it costs no pixel.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._ledger import ARRAY, GROUP, stored_days
from biastf_xr.cube._screening import ARRAY as SCREENING

if TYPE_CHECKING:
    import zarr

# Where a rechunked copy keeps the hashes of the days it holds.
COPY, COPY_ARRAY = "copy", "digest"

# Where a fused cube keeps what its pixels owe to scenes, and the fields that pixels depend on.
FUSED_ARRAY, FUSED_FIELDS = "fusion/record", ("fine", "content")

# Attributes that hold for every pixel.
STRUCTURE = (
    "biastf_kind",
    "biastf_structure",
    "biastf_product",
    "biastf_shift",
    "proj:code",
    "proj:wkt2",
    "spatial:transform",
    "spatial:shape",
)


def hashes_of(group: zarr.Group) -> dict[np.datetime64, str]:
    """Hash what every day of an opened cube, or of a rechunked copy of one, was made from.

    Two equal hashes stand for equal pixels; a day recomputed from the same scenes keeps its hash.
    """
    days = stored_days(group)
    if f"{COPY}/{COPY_ARRAY}" in group:
        copied: Any = group[f"{COPY}/{COPY_ARRAY}"]
        return dict(zip(days, map(str, copied[:]), strict=True))
    structure = json.dumps([group.attrs.get(name) for name in STRUCTURE])
    texts = _records(group)
    return {
        day: hashlib.sha256(f"{structure}{day}{text}".encode()).hexdigest()[:16] if text else ""
        for day, text in zip(days, texts or [""] * days.size, strict=True)
    }


def _records(group: zarr.Group) -> list[str]:
    """Return what the ledger says of every day; nothing for a cube without one."""
    if FUSED_ARRAY in group:
        record: Any = group[FUSED_ARRAY]
        indices = [list(record.attrs["fields"]).index(name) for name in FUSED_FIELDS]
        rows = record[:][..., indices]
        return [row.tobytes().hex() if row.any() else "" for row in rows]
    if f"{GROUP}/{ARRAY}" in group:
        ledger: Any = group[f"{GROUP}/{ARRAY}"]
        verdicts: Any = group[SCREENING] if SCREENING in group else np.full(ledger.shape, "")
        # A day without a scene is known too: it is empty.
        return [f"{a or 'no scene'}{b}" for a, b in zip(ledger[:], verdicts[:], strict=True)]
    return []
