"""Export the days that were made: each day once for every state it has in the fused cube.

The ledger of the fused cube is compared with what was exported before, so that an export that
failed is made up for by the next run.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr._files import read_bytes, write_text
from biastf_xr.cube._cube import Cube
from biastf_xr.cube._ledger import stored_days
from biastf_xr.fusion._ledger import RECIPE, open_ledger

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.region import Region

EXPORTED = "exported.json"


def days_to_export(output: str, notes: Path) -> dict[str, str]:
    """List the days whose present state was not exported yet; reads the ledger only."""
    group = Cube(output).group
    record = np.asarray(open_ledger(group)["record"][:])  # type: ignore[index]
    known = _read_notes(notes)
    found = {}
    for day, row in zip(stored_days(group), record, strict=True):
        if row[..., RECIPE].any():
            digest = hashlib.sha256(np.ascontiguousarray(row).tobytes()).hexdigest()[:16]
            if known.get(str(day)) != digest:
                found[str(day)] = digest
    return found


def _read_notes(notes: Path) -> dict[str, str]:
    """Read what was exported."""
    with suppress(OSError, ValueError):
        found: dict[str, str] = json.loads(read_bytes(notes))
        return found
    return {}


def export_days(region: Region, folder: Path) -> list[Path]:
    """Write the new days of the fused cube as Cloud-Optimised GeoTIFFs, and remember them."""
    section, notes = region.config.update, region.folder / EXPORTED
    days = days_to_export(region.config.fuse.output, notes)
    if not days:
        return []
    bands = list(section.export_variables) or None
    files = region.export(folder, dates=days, bands=bands, overwrite=True)
    write_text(notes, json.dumps(_read_notes(notes) | days, indent=1) + "\n")
    return files
