"""Hand on the days that were made: each day once for every state it has in the fused cube.

`days_to_hand_on` compares the ledger of the fused cube with what was handed on before, so that a
night whose export failed is made up for by the next one.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.cube._cube import Cube
from biastf_xr.cube._ledger import stored_days
from biastf_xr.fusion._ledger import RECIPE, open_ledger
from biastf_xr.nightly.records import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.config import Config

EXPORTED = "exported.json"


def days_to_hand_on(output: str, notes: Path) -> dict[str, str]:
    """List the days whose present state was not handed on yet; reads the ledger only."""
    group = Cube(output).group
    record = np.asarray(open_ledger(group)["record"][:])  # type: ignore[index]
    known = read_notes(notes)
    found = {}
    for day, row in zip(stored_days(group), record, strict=True):
        if row[..., RECIPE].any():
            digest = hashlib.sha256(np.ascontiguousarray(row).tobytes()).hexdigest()[:16]
            if known.get(str(day)) != digest:
                found[str(day)] = digest
    return found


def read_notes(notes: Path) -> dict[str, str]:
    """Read what was handed on."""
    with suppress(OSError, ValueError):
        found: dict[str, str] = json.loads(notes.read_text("utf-8"))
        return found
    return {}


def export_days(config: Config, folder: Path) -> list[Path]:
    """Write the new days of the fused cube as Cloud-Optimised GeoTIFFs.

    `config`: The run; `[nightly] export` names the folder of the files.
    `folder`: Folder of the scheduled job, which remembers what was handed on.
    """
    from biastf_xr.cube._export import export_cogs

    section, notes = config.nightly, folder / EXPORTED
    assert section.export is not None
    days = days_to_hand_on(config.fuse.output, notes)
    if not days:
        return []
    variables = list(section.export_variables) or None
    files = export_cogs(
        config.fuse.output, section.export, dates=days, bands=variables, overwrite=True
    )
    write_text(notes, json.dumps(read_notes(notes) | days, indent=1) + "\n")
    return files
