"""What is wrong with the structure of a cube, by its metadata and its axes; no pixel is read."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr.cube._spec import TIME_UNITS, Layout
from biastf_xr.errors import TargetDateError
from biastf_xr.grid import ALIGNMENT_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr
    import zarr

    Fault = tuple[str, str]  # the variable, and what is wrong with it

PIXELS, DAY, TILES = ("time", "y", "x"), ("time",), ("time", "tile_y", "tile_x")

# What every cube of a kind has, and what it may have: dimensions and type.
KINDS: dict[str, dict[str, tuple[tuple[str, ...], str]]] = {
    "fine": {"clear": (PIXELS, "uint8"), "source": (PIXELS, "uint8"),
             "clear_fraction": (DAY, "float32"), "scenes": (DAY, "string")},
    "fused": {"status_flag": (PIXELS, "uint8")},
}  # fmt: skip
KINDS["coarse"] = KINDS["fine"]
AXES = {"time": (("time",), "int64"), "y": (("y",), "float64"), "x": (("x",), "float64")}
MAY_HAVE = {
    "screen": (PIXELS, "uint8"), "pair_flag": (DAY, "uint8"), "suspect_fraction": (DAY, "float32"),
    "coarse_gap": (PIXELS, "uint8"), "base_before": (PIXELS, "uint16"),
    "base_after": (PIXELS, "uint16"), "before": (DAY, "int64"), "after": (DAY, "int64"),
    "ingest/record": (DAY, "string"), "ingest/screening": (DAY, "string"),
    "ingest/clear_pixels": (TILES, "uint32"), "copy/digest": (DAY, "string"),
    "fusion/record": ((*TILES, "field"), "uint64"),
}  # fmt: skip

# Units of time that xarray decodes; ours are `TIME_UNITS`, and only those are written to.
UNITS = re.compile(r"(day|hour|minute|second|millisecond|microsecond|nanosecond)s? since \d.{3,40}")

# Attributes that are read, by type; those that hold a JSON object.
TEXTS = ("source", "history", "biastf_product", "biastf_grid", "biastf_copy_of", "title")
OBJECTS = ("biastf_method", "biastf_setting")


def faults_of(group: zarr.Group) -> Iterator[Fault]:
    """Yield what is wrong with the structure of a cube, the worst first."""
    arrays: dict[str, Any] = {n: a for n, a in group.members(max_depth=None) if hasattr(a, "shape")}
    kind = group.attrs.get("biastf_kind")
    if kind not in KINDS:
        yield "biastf_kind", f"is {kind!r}; expected one of {[*KINDS]}"
        return
    wanted = AXES | KINDS[str(kind)]
    missing = [name for name in wanted if name not in arrays]
    yield from ((name, "is missing") for name in missing)
    for name, (dims, dtype) in (wanted | MAY_HAVE).items():
        if name in arrays:
            yield from _wrong_type(name, arrays[name], dims, dtype)
    bands = [n for n, a in arrays.items() if _dims(a) == PIXELS and a.dtype.kind == "f"]
    if not bands:
        yield "", "it has no band: no float variable with dims (time, y, x)"
    if not missing and bands:
        yield from _wrong_sizes(arrays, arrays[bands[0]])
    yield from _wrong_attributes(group.attrs, {b: arrays[b].attrs for b in bands})
    for name in ("time", "before", "after"):
        found = arrays[name].attrs.get("units") if name in arrays else TIME_UNITS
        if not (isinstance(found, str) and UNITS.fullmatch(found)):
            yield name, f"has the units {found!r}; expected {TIME_UNITS!r}"


def _dims(array: Any) -> tuple[str, ...]:
    return tuple(array.metadata.dimension_names or ())


def _wrong_type(name: str, array: Any, dims: tuple[str, ...], dtype: str) -> Iterator[Fault]:
    found = "string" if array.dtype.kind in "TO" else array.dtype.name
    if _dims(array) != dims or found != dtype:
        yield name, f"is {found} with dims {_dims(array)}; expected {dtype} with {dims}"


def _wrong_sizes(arrays: dict[str, Any], band: Any) -> Iterator[Fault]:
    """Yield the arrays that do not fit the axes, or the chunks of the bands."""
    layout = Layout(*band.chunks, *(band.shards or band.chunks)[1:])
    sizes: dict[str, int] = {name: arrays[name].shape[0] for name in AXES}
    sizes |= zip(("tile_y", "tile_x"), layout.tiles((sizes["y"], sizes["x"])), strict=True)
    for name, array in arrays.items():
        if "/" in name and name not in MAY_HAVE:  # a table with days of its own
            continue
        dims = _dims(array)
        expected = tuple(sizes.get(d, n) for d, n in zip(dims, array.shape, strict=False))
        if dims and array.shape != expected:
            yield name, f"has the shape {array.shape}; its axes have {expected}"
        chunks = array.chunks, array.shards
        own = array.dtype.kind == "f" and "valid_min" in array.attrs
        own = own or name in KINDS["fine"] | KINDS["fused"] | MAY_HAVE  # others may add theirs
        if dims == PIXELS and own and chunks != (band.chunks, band.shards):
            yield name, f"has the chunks and shards {chunks}; the bands {band.chunks, band.shards}"


def _wrong_attributes(attrs: Any, bands: dict[str, Any]) -> Iterator[Fault]:
    for name in (*TEXTS, *OBJECTS):
        if not isinstance(attrs.get(name, ""), str):
            yield name, f"is {attrs[name]!r}; expected a text"
    for name in OBJECTS:
        try:
            found = json.loads(attrs.get(name) or "{}")
        except (TypeError, ValueError):
            found = None
        if not isinstance(found, dict):
            yield name, "is no JSON object"
    if "biastf_shift" in attrs and not _are_numbers(attrs["biastf_shift"], 2):
        yield "biastf_shift", f"is {attrs['biastf_shift']!r}; expected two numbers"
    for band, own in bands.items():
        limits = [own[key] for key in ("valid_min", "valid_max") if key in own]
        if not _are_numbers(limits, len(limits)):
            yield band, f"has the valid range {limits}; expected two numbers"


def _are_numbers(found: Any, count: int) -> bool:
    return (
        isinstance(found, list)
        and len(found) == count
        and all(type(n) in (int, float) and np.isfinite(n) for n in found)
    )


def wrong_axes(ds: xr.Dataset) -> Iterator[Fault]:
    """Yield what is wrong with the values of the axes of an opened cube."""
    try:
        steps = np.diff(to_days(ds["time"], "a time")).astype(int)
    except TargetDateError as error:
        yield "time", str(error)
        return
    if (steps == 0).any():
        yield "time", "has a day twice"
    if (steps < 0).any():
        yield "time", "does not ascend"
    for name in ("y", "x"):
        values = ds[name].values
        apart = np.diff(values)
        if not np.isfinite(values).all() or (apart.size and _uneven(apart)):
            yield name, "has no equal steps"


def _uneven(steps: Any) -> bool:
    """Return whether steps differ by more than what is left unseen between grids."""
    step = steps.mean()
    return not step or bool(np.abs(steps - step).max() > abs(step) * ALIGNMENT_TOLERANCE)
