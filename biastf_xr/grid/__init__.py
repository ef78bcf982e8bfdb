"""The analysis grid: tiles with halos, regions, and the steps between grids."""

from biastf_xr.grid._alignment import (
    ALIGNMENT_TOLERANCE,
    REMEDY,
    Alignment,
    AxisMap,
    Upsampler,
    Upsampling,
    aggregate,
    align,
    area_sums,
    check_ratio,
    covered_area,
    describe,
    geobox_of,
    in_degrees,
    mean_of,
    same_lattice,
)
from biastf_xr.grid._places import pixels_at
from biastf_xr.grid._region import coarse_grid, fine_grid, read_region
from biastf_xr.grid._resample import AreaPlan, Plan, Resampling, plan_resampling, shifted
from biastf_xr.grid._tiles import Float, Tile, read_padded, sample_tiles, split_tiles
from biastf_xr.grid._windows import box_mean
from biastf_xr.grid._zones import central_zone, overlaps, restated, zone_of

__all__ = [
    "ALIGNMENT_TOLERANCE",
    "REMEDY",
    "Alignment",
    "AreaPlan",
    "AxisMap",
    "Float",
    "Plan",
    "Resampling",
    "Tile",
    "Upsampler",
    "Upsampling",
    "aggregate",
    "align",
    "area_sums",
    "box_mean",
    "central_zone",
    "check_ratio",
    "coarse_grid",
    "covered_area",
    "describe",
    "fine_grid",
    "geobox_of",
    "in_degrees",
    "mean_of",
    "overlaps",
    "pixels_at",
    "plan_resampling",
    "read_padded",
    "read_region",
    "restated",
    "same_lattice",
    "sample_tiles",
    "shifted",
    "split_tiles",
    "zone_of",
]
