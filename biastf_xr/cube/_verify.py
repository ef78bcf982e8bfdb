"""Read a whole cube back and list what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._cube import Cube, bands_of
from biastf_xr.cube._spec import STATUS
from biastf_xr.errors import CubeStructureError
from biastf_xr.grid import split_tiles

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from biastf_xr.cube._spec import Progress
    from biastf_xr.grid import Tile


# `clear_fraction` is kept as float32 and counted scene by scene.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    day : str
        The day, or empty for the whole cube.
    variable : str
        The variable.
    where : str
        Rows and columns, or empty.
    what : str
        What is wrong.
    """

    day: str
    variable: str
    where: str
    what: str


@dataclass
class Verification:
    """What a check found.

    Attributes
    ----------
    path : str
        The cube.
    days : int
        Days with pixels that were read.
    pixels : int
        Pixels read, over all variables.
    findings : list of Finding
        What is wrong; empty for a sound cube.
    """

    path: str
    days: int = 0
    pixels: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Return whether nothing is wrong."""
        return not self.findings


def verify(path: str | Path, *, progress: Progress | None = None) -> Verification:
    """Read every pixel of a cube, shard by shard, and check it.

    Checked are: that every chunk can be decoded and its checksum holds; that masks, `source`,
    `clear_fraction` and status flags agree with the bands; that values lie in their valid range;
    that the time axis is daily; and that no day was left unfinished.

    Parameters
    ----------
    path : str or pathlib.Path
        The store.
    progress : callable, optional
        Called after every window.

    Returns
    -------
    Verification
        What was found.  Damage never raises.

    Raises
    ------
    CubeStructureError
        If there is no cube at `path`.
    """
    cube = Cube(path)
    ds = cube.to_xarray(chunks=None, days="all")
    result = Verification(str(path))
    fused = ds.attrs["biastf_kind"] == "fused"
    _check_axis(ds, result)
    if not fused and "biastf_copy_of" not in ds.attrs:
        _check_ledger(cube, result)
    layout = cube.layout
    tiles = list(split_tiles((ds.sizes["y"], ds.sizes["x"]), (layout.shard_y, layout.shard_x)))
    starts = range(0, ds.sizes["time"], layout.time)
    clear = np.zeros(ds.sizes["time"])
    for done, start in enumerate(starts, 1):
        times = slice(start, min(start + layout.time, ds.sizes["time"]))
        for tile in tiles:
            data = _read(ds, times, tile, result)
            if not data:
                continue
            check = _check_fused if fused else _check_observed
            clear[times] += check(ds, data, times, tile, result)
        if progress:
            progress(_day(ds, start), done, len(starts))
    if not fused:
        _check_fractions(ds, clear, result)
    return result


def _day(ds: xr.Dataset, index: int) -> str:
    return str(ds["time"].values[index])[:10]


def _check_axis(ds: xr.Dataset, result: Verification) -> None:
    steps = np.diff(ds["time"].values.astype("datetime64[D]")).astype(int)
    if ds.attrs["biastf_kind"] != "fused" and (steps != 1).any():
        result.findings.append(Finding("", "time", "", "the axis has not every day once"))
    if (steps <= 0).any():
        result.findings.append(Finding("", "time", "", "the axis does not ascend"))
    if "spatial_ref" not in ds.coords:
        result.findings.append(Finding("", "spatial_ref", "", "missing: the cube has no CRS"))


def _check_ledger(cube: Cube, result: Verification) -> None:
    try:
        ledger = cube.ledger
    except (CubeStructureError, ValueError, OSError) as error:
        result.findings.append(Finding("", "ingest/record", "", f"cannot be read: {error}"))
        return
    days = set(cube.days)
    for day, record in ledger.items():
        if not record.finished:
            what = "was not finished: an ingest was interrupted. Run it again"
            result.findings.append(Finding(str(day), "ingest/record", "", what))
        if day not in days:
            result.findings.append(Finding(str(day), "ingest/record", "", "is not on the axis"))


def _read(ds: xr.Dataset, times: slice, tile: Tile, result: Verification) -> dict[str, Any]:
    """Read a window of every variable; what cannot be read is a finding."""
    rows, cols = tile.slices
    data = {}
    for name, variable in ds.data_vars.items():
        if variable.dims != ("time", "y", "x"):
            continue
        try:
            data[str(name)] = variable.isel(time=times, y=rows, x=cols).values
        except Exception as error:  # noqa: BLE001  (codecs raise whatever they like)
            what = f"cannot be decoded ({type(error).__name__}: {error})"
            day = f"{_day(ds, times.start)} .. {_day(ds, times.stop - 1)}"
            result.findings.append(Finding(day, str(name), _where(tile), what))
    result.pixels += sum(v.size for v in data.values())
    return data


def _where(tile: Tile) -> str:
    return f"rows {tile.y0}:{tile.y1}, columns {tile.x0}:{tile.x1}"


def _report(
    ds: xr.Dataset, times: slice, tile: Tile, name: str, bad: Any, what: str, result: Verification
) -> None:
    """Add a finding for every day of a window that has bad pixels."""
    for t in np.flatnonzero(bad.any(axis=(1, 2))):
        text = f"{int(bad[t].sum())} pixels: {what}"
        day = _day(ds, times.start + int(t))
        result.findings.append(Finding(day, name, _where(tile), text))


def _check_bands(
    ds: xr.Dataset, data: dict[str, Any], times: slice, tile: Tile, result: Verification
) -> None:
    for band in bands_of(ds):
        if band not in data:
            continue
        low, high = (float(ds[band].attrs[k]) for k in ("valid_min", "valid_max"))
        with np.errstate(invalid="ignore"):
            bad = (data[band] < low) | (data[band] > high)
        _report(ds, times, tile, band, bad, f"outside {low:g} to {high:g}", result)


def _check_observed(
    ds: xr.Dataset, data: dict[str, Any], times: slice, tile: Tile, result: Verification
) -> Any:
    """Check a window of a fine or coarse cube; return its clear pixels per day."""
    _check_bands(ds, data, times, tile, result)
    bands = bands_of(ds)
    if not {*bands, "clear", "source"} <= set(data):
        return np.nan  # what could not be read was reported; the day's fraction is not judged
    finite = np.stack([np.isfinite(data[b]) for b in bands])
    clear = data["clear"] == 1
    _report(ds, times, tile, "clear", finite.all(0) != clear, "clear, but not in every band, or "
            "the reverse", result)  # fmt: skip
    _report(ds, times, tile, "clear", finite.any(0) & ~clear, "a value where not clear", result)
    _report(ds, times, tile, "source", (data["source"] > 0) != clear, "clear without a source, or "
            "the reverse", result)  # fmt: skip
    count = np.array([str(s).count('", "') + 1 if s else 0 for s in ds["scenes"].values[times]])
    beyond = data["source"] > count[:, None, None]
    _report(ds, times, tile, "source", beyond, "from a scene that is not in `scenes`", result)
    result.days += int(clear.any(axis=(1, 2)).sum()) if tile.y0 == tile.x0 == 0 else 0
    return clear.sum(axis=(1, 2))


def _check_fused(
    ds: xr.Dataset, data: dict[str, Any], times: slice, tile: Tile, result: Verification
) -> Any:
    """Check a window of a fused cube."""
    _check_bands(ds, data, times, tile, result)
    bands = bands_of(ds)
    if not {*bands, "status_flag"} <= set(data):
        return 0
    finite = np.stack([np.isfinite(data[b]) for b in bands])
    status = data["status_flag"]
    made = np.isin(status, [v for k, v in STATUS.items() if k.startswith(("fused", "observed"))])
    _report(ds, times, tile, "status_flag", made != finite.all(0), "made, but missing in a band, "
            "or the reverse", result)  # fmt: skip
    unknown = ~np.isin(status, list(STATUS.values()))
    _report(ds, times, tile, "status_flag", unknown, "no known flag", result)
    unwritten = status == STATUS["unwritten"]
    _report(ds, times, tile, "status_flag", unwritten, "never written", result)
    failed = status == STATUS["failed"]
    _report(ds, times, tile, "status_flag", failed, "could not be made; fuse again", result)
    result.days += status.shape[0] if tile.y0 == tile.x0 == 0 else 0
    return 0


def _check_fractions(ds: xr.Dataset, clear: Any, result: Verification) -> None:
    """Compare the stored clear fractions with the pixels."""
    stored = ds["clear_fraction"].values
    found = clear / (ds.sizes["y"] * ds.sizes["x"])
    for index, (want, got, scenes) in enumerate(zip(stored, found, ds["scenes"].values,
                                                    strict=True)):  # fmt: skip
        if np.isnan(got):
            continue
        if not scenes and got > 0:
            what = "pixels on a day without a scene"
        elif scenes and not np.isclose(want, got, atol=TOLERANCE):
            what = f"says {want:.4f}; the pixels {got:.4f}"
        else:
            continue
        result.findings.append(Finding(_day(ds, index), "clear_fraction", "", what))
