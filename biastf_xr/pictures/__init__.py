"""Pictures a person wants to see of cubes, models and runs.

Every function gives a figure that a notebook shows by itself, and saves it where a path is given;
matplotlib loads with the first picture.
"""

from biastf_xr.pictures._animation import Animation, animate
from biastf_xr.pictures._bias import draw_bias, learned_bias
from biastf_xr.pictures._calendar import draw_calendar
from biastf_xr.pictures._flags import count_status, draw_distance, draw_status
from biastf_xr.pictures._frames import draw_comparison, draw_quicklook
from biastf_xr.pictures._series import draw_series
from biastf_xr.pictures._work import count_units, draw_work

__all__ = [
    "Animation",
    "animate",
    "count_status",
    "count_units",
    "draw_bias",
    "draw_calendar",
    "draw_comparison",
    "draw_distance",
    "draw_quicklook",
    "draw_series",
    "draw_status",
    "draw_work",
    "learned_bias",
]
