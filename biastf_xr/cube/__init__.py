"""The cubes: what is stored, how it is encoded, and the only code that opens or writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biastf_xr._exports import lazy_exports

if TYPE_CHECKING:
    from biastf_xr.cube._cube import Cube, open_cube
    from biastf_xr.cube._export import export_cogs
    from biastf_xr.cube._ingest import IngestReport, ingest
    from biastf_xr.cube._quality import PairRule, check_pairs, update_quality
    from biastf_xr.cube._rechunk import RechunkReport, rechunk
    from biastf_xr.cube._spec import PAIR_FLAG, SCREEN, STATUS, CubeSpec, Layout
    from biastf_xr.cube._verify import Finding, Verification, verify

__all__ = [
    "PAIR_FLAG",
    "SCREEN",
    "STATUS",
    "Cube",
    "CubeSpec",
    "Finding",
    "IngestReport",
    "Layout",
    "PairRule",
    "RechunkReport",
    "Verification",
    "check_pairs",
    "export_cogs",
    "ingest",
    "open_cube",
    "rechunk",
    "update_quality",
    "verify",
]

__getattr__ = lazy_exports(
    __name__,
    {name: f"{__name__}._{module}" for module, names in {
        "cube": ("Cube", "open_cube"),
        "export": ("export_cogs",),
        "ingest": ("IngestReport", "ingest"),
        "quality": ("PairRule", "check_pairs", "update_quality"),
        "rechunk": ("RechunkReport", "rechunk"),
        "spec": ("PAIR_FLAG", "SCREEN", "STATUS", "CubeSpec", "Layout"),
        "verify": ("Finding", "Verification", "verify"),
    }.items() for name in names},
)  # fmt: skip
