"""How fresh and how complete the cubes are, and which checks that fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr._days import to_days
from biastf_xr.cube._cube import layout_of, open_cube
from biastf_xr.cube._spec import MADE, STATUS
from biastf_xr.cube.stores import store_at
from biastf_xr.grid import split_tiles

if TYPE_CHECKING:
    import datetime as dt

    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr._update.records import Accuracy
    from biastf_xr.config import Config, UpdateSection

KINDS = ("fine", "coarse", "fused")


@dataclass(frozen=True)
class Coverage:
    """What the pixels of some days are.

    `days`: The days, ISO format.
    `shares`: Share of the pixels, 0 to 1, by name in `status_flag`, one number a day.
    """

    days: tuple[str, ...]
    shares: dict[str, tuple[float, ...]]

    def made(self) -> tuple[float, ...]:
        """Return the share of the pixels that have a value, day by day."""
        return tuple(sum(self.shares[name][n] for name in MADE) for n in range(len(self.days)))


def newest_days(config: Config) -> dict[str, str]:
    """Return the newest day of every cube; reads metadata and, of the fused cube, flags."""
    found = {}
    for kind, path in zip(KINDS, paths_of(config), strict=True):
        ds = open_cube(path, chunks=None) if store_at(path).exists() else None
        if ds is None:
            found[kind] = ""
        elif kind == "fused":
            found[kind] = _newest_made(ds)
        else:
            found[kind] = str(to_days(ds["time"])[-1]) if ds.sizes["time"] else ""
    return found


def paths_of(config: Config) -> tuple[str, str, str]:
    """Return the three cubes."""
    return config.fine.cube, config.coarse.cube, config.fuse.output


def _newest_made(ds: xr.Dataset) -> str:
    """Return the last day with a value, looking from the end."""
    days = to_days(ds["time"])
    made = [STATUS[name] for name in MADE]
    for n in range(days.size - 1, -1, -1):
        if sum(int(counts[made].sum()) for counts in _day_counts(ds, n)):
            return str(days[n])
    return ""


def coverage(path: str, days: int) -> Coverage | None:
    """Count the pixels of the last days by what they are; window by window, one byte a pixel."""
    if not store_at(path).exists():
        return None
    ds = open_cube(path, chunks=None)
    axis = to_days(ds["time"])
    places = range(max(0, axis.size - days), axis.size)
    counts = np.array([sum(_day_counts(ds, n)) for n in places]).reshape(-1, len(STATUS))
    shares = counts / max(ds.sizes["y"] * ds.sizes["x"], 1)
    return Coverage(
        tuple(str(axis[n]) for n in places),
        {name: tuple(map(float, shares[:, value])) for name, value in STATUS.items()},
    )


def _day_counts(ds: xr.Dataset, place: int) -> list[NDArray[np.intp]]:
    """Count the flags of a day in each row of shards."""
    layout = layout_of(ds)
    shape = ds.sizes["y"], ds.sizes["x"]
    flags = ds["status_flag"].isel(time=place)
    return [
        np.bincount(
            flags.isel(y=tile.slices[0], x=tile.slices[1]).values.ravel(), minlength=len(STATUS)
        )
        for tile in split_tiles(shape, (layout.shard_y, layout.shard_x))
    ]


def age(day: str, today: dt.date) -> int | None:
    """Return how old a day is."""
    return int((to_days(today, "today")[0] - np.datetime64(day)).astype(int)) if day else None


def failed_checks(
    section: UpdateSection,
    newest: dict[str, str],
    accuracy: Accuracy | None,
    today: dt.date,
    *,
    rejected: int = 0,
) -> tuple[str, ...]:
    """Return what is older or worse than the configuration allows."""
    described = []
    for kind, what in zip(KINDS, ("fine scene", "coarse scene", "fused day"), strict=True):
        limit, old = getattr(section.max_age, kind), age(newest.get(kind, ""), today)
        if limit is not None and (old is None or old > limit):
            found = "there is none" if old is None else f"{newest[kind]} is {old} days old"
            described.append(f"Newest {what}: {found}, allowed are {limit} (max_age.{kind}).")
    limit = section.max_error_ratio
    ratio = accuracy.ratio if accuracy else None
    if limit is not None and accuracy and ratio is not None and ratio > limit:
        described.append(
            f"Accuracy on {accuracy.date}: {accuracy.method} has {ratio:.3f} of the error of the "
            f"better of linear and direct, allowed are {limit:g} (max_error_ratio)."
        )
    if section.max_rejected is not None and rejected > section.max_rejected:
        described.append(
            f"{rejected} scenes cannot be used, allowed are {section.max_rejected} (max_rejected); "
            "the step ingest says why."
        )
    return tuple(described)
