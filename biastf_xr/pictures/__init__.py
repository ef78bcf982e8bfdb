"""Pictures a person wants to see of cubes, models and runs.

Every function returns a figure that a notebook shows by itself, and saves it where a path is given;
matplotlib loads with the first picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from biastf_xr._exports import lazy_exports

if TYPE_CHECKING:
    from biastf_xr.pictures._animation import Animation, animate
    from biastf_xr.pictures._bias import draw_bias, learned_bias
    from biastf_xr.pictures._calendar import draw_calendar
    from biastf_xr.pictures._canvas import Drawing
    from biastf_xr.pictures._flags import count_status, draw_distance, draw_status
    from biastf_xr.pictures._frames import draw_comparison, draw_quicklook
    from biastf_xr.pictures._series import draw_series
    from biastf_xr.pictures._sheet import draw_sheet
    from biastf_xr.pictures._work import count_units, draw_work

__all__ = [
    "Animation",
    "Drawing",
    "animate",
    "count_status",
    "count_units",
    "draw_bias",
    "draw_calendar",
    "draw_comparison",
    "draw_distance",
    "draw_quicklook",
    "draw_series",
    "draw_sheet",
    "draw_status",
    "draw_work",
    "learned_bias",
]

__getattr__ = lazy_exports(
    __name__,
    {name: f"{__name__}._{module}" for module, names in {
        "animation": ("Animation", "animate"),
        "bias": ("draw_bias", "learned_bias"),
        "calendar": ("draw_calendar",),
        "canvas": ("Drawing",),
        "flags": ("count_status", "draw_distance", "draw_status"),
        "frames": ("draw_comparison", "draw_quicklook"),
        "series": ("draw_series",),
        "sheet": ("draw_sheet",),
        "work": ("count_units", "draw_work"),
    }.items() for name in names},
)  # fmt: skip
