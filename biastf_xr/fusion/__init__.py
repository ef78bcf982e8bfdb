"""Fusing: a plan of units, one kernel per unit, and two drivers (lazy graph, batch run)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biastf_xr._exports import lazy_exports

if TYPE_CHECKING:
    from biastf_xr.fusion._lazy import fuse
    from biastf_xr.fusion._plan import FusionPlan, FusionRule, Unit
    from biastf_xr.fusion._preview import Preview, Totals, plan
    from biastf_xr.fusion._report import RunReport, RunState
    from biastf_xr.fusion._run import write_fused
    from biastf_xr.fusion._screen import ScreenRule, screen
    from biastf_xr.fusion._screen_store import ScreenReport, clear_screen, update_screen

__all__ = [
    "FusionPlan",
    "FusionRule",
    "Preview",
    "RunReport",
    "RunState",
    "ScreenReport",
    "ScreenRule",
    "Totals",
    "Unit",
    "clear_screen",
    "fuse",
    "plan",
    "screen",
    "update_screen",
    "write_fused",
]

__getattr__ = lazy_exports(
    __name__,
    {name: f"{__name__}._{module}" for module, names in {
        "lazy": ("fuse",),
        "plan": ("FusionPlan", "FusionRule", "Unit"),
        "preview": ("Preview", "Totals", "plan"),
        "report": ("RunReport", "RunState"),
        "run": ("write_fused",),
        "screen": ("ScreenRule", "screen"),
        "screen_store": ("ScreenReport", "clear_screen", "update_screen"),
    }.items() for name in names},
)  # fmt: skip
