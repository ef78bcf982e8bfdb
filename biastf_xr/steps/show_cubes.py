"""What the terminal shows of cubes: what went in, what is there, what is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from biastf_xr.steps.terminal import console, facts, shown, tell_rest

if TYPE_CHECKING:
    from biastf_xr.cube._ingest import IngestReport
    from biastf_xr.cube._verify import Verification


def show_report(report: IngestReport, kind: str) -> None:
    """Print what an ingest took, masked and rejected, and why."""
    clear = np.array(list(report.added.values()))
    parts = [f"{clear.size} scenes added"]
    if clear.size:
        parts.append(f"mean clear fraction {clear.mean():.0%}")
        parts.append(f"{int((clear == 0).sum())} without a clear pixel")
    parts += [
        f"{len(items)} {what}"
        for items, what in (
            (report.replaced, "replaced by a newer processing"),
            (report.unchanged, "unchanged"),
            (report.kept, "kept though gone from the folder"),
            (report.excluded, "excluded"),
            (report.removed, "days taken out"),
            (report.rejected, "rejected"),
        )
        if items
    ]
    console.print(f"{kind} cube [bold]{report.path}[/]: {', '.join(parts)}")
    if report.rejected:
        table = Table(title=f"rejected {kind} scenes", title_justify="left", box=SIMPLE_HEAD)
        table.add_column("scene", overflow="fold")
        table.add_column("why", overflow="fold")
        told = list(report.rejected.items())
        for name, why in shown(told):
            table.add_row(name, why)
        console.print(table)
        tell_rest(told)


def show_findings(result: Verification) -> None:
    """Print what a verification found."""
    read = f"{result.days} days, {result.pixels:,} values read"
    if result.sound:
        console.print(f"[bold]{result.path}[/] is sound: {read}")
        return
    console.print(f"[bold red]{result.path} is damaged[/]: {read}")
    table = Table(box=SIMPLE_HEAD)
    for title in ("day", "variable", "where", "what"):
        table.add_column(title, overflow="fold")
    for finding in shown(result.findings):
        table.add_row(finding.day, finding.variable, finding.where, finding.what)
    console.print(table)
    tell_rest(result.findings)


def show_cube(path: str | Path) -> dict[str, Any]:
    """Print what a cube holds."""
    from biastf_xr.cube._cube import bands_of, layout_of, open_cube
    from biastf_xr.grid import describe, geobox_of

    ds = open_cube(path, chunks=None)
    layout = layout_of(ds)
    days = ds["time"].values.astype("datetime64[D]")
    rows: dict[str, Any] = {
        "kind": ds.attrs["biastf_kind"],
        "bands": ", ".join(bands_of(ds)),
        "grid": describe(geobox_of(ds, str(path))),
        "dates": f"{days.size}, {days[0]} to {days[-1]}" if days.size else "none",
        "chunks, shards": f"{layout.chunks}, {layout.shards}",
    }
    folder = Path(str(path))
    if folder.is_dir():
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        pixels = max(days.size * ds.sizes["y"] * ds.sizes["x"] * len(bands_of(ds)), 1)
        rows["on disk"] = f"{size / 2**20:.1f} MiB, {size / pixels:.2f} bytes per pixel and band"
    if "clear_fraction" in ds.coords and days.size:
        clear = ds["clear_fraction"].values
        rows["clear"] = f"mean {clear.mean():.0%}; {int((clear == 0).sum())} dates with none"
        gap, start = _longest_gap(days[clear > 0])
        rows["longest gap"] = f"{gap} days after {start}" if gap else "none"
    if "pair_flag" in ds.coords:
        from biastf_xr.cube._spec import PAIR_FLAG

        flags = ds["pair_flag"].values
        rows["pairs"] = ", ".join(
            f"{int((flags == v).sum())} {k.replace('_', ' ')}"
            for k, v in PAIR_FLAG.items()
            if (flags == v).any()
        )
    if "biastf_method" in ds.attrs:
        rows["method"] = _method(json.loads(ds.attrs["biastf_method"]))
    if "status_flag" in ds:
        rows["pixels"] = _status_shares(ds)
    rows["history"] = ds.attrs.get("history", "")
    facts(str(path), rows)
    if "clear_fraction" in ds.coords and days.size:
        for line in calendar_lines(days, ds["clear_fraction"].values):
            console.print(line, markup=False, highlight=False)
    return rows | {"days": [str(day) for day in days]}


def _method(told: dict[str, Any]) -> str:
    """Write what made a cube, as far as it fits a few lines."""
    parts = [str(told.pop("method", ""))]
    for key, value in told.items():
        if isinstance(value, list):
            parts.append(f"{key.replace('_', ' ')} {len(value)} dates")
        elif isinstance(value, dict):
            parts.append(f"{key} {', '.join(f'{k} {v}' for k, v in value.items())}")
        elif value is not None:
            parts.append(f"{key.replace('_', ' ')} {str(value)[:12]}")
    return "; ".join(parts)


def _longest_gap(days: Any) -> tuple[int, Any]:
    """Return the longest run of days without a clear pixel, and the day before it."""
    if days.size < 2:
        return 0, None
    steps = np.diff(days).astype(int) - 1
    return int(steps.max()), days[int(steps.argmax())]


def _mark(share: float) -> str:
    return " -+#"[0 if share == 0 else 1 + min(int(share * 3), 2)]


def calendar_lines(days: Any, clear: Any) -> list[str]:
    """Draw a calendar in text: a line per month, a character per day."""
    lines = []
    months = days.astype("datetime64[M]")
    for month in np.arange(months[0], months[-1] + 1):
        first = month.astype("datetime64[D]")
        length = int(((month + 1).astype("datetime64[D]") - first).astype(int))
        marks = ["."] * length
        for day, share in zip(days[months == month], clear[months == month], strict=True):
            marks[int((day - first).astype(int))] = _mark(share)
        lines.append(f"{month}  {''.join(marks)}")
    return [
        *lines,
        "clear fraction: # two thirds or more, + one third, - less; blank: none; . no scene",
    ]


def _status_shares(ds: Any) -> str:
    from biastf_xr.cube._spec import STATUS

    counts = np.zeros(256, np.int64)
    for t in range(ds.sizes["time"]):
        counts += np.bincount(ds["status_flag"][t].values.ravel(), minlength=256)
    names = {v: k for k, v in STATUS.items()}
    total = max(int(counts.sum()), 1)
    return ", ".join(f"{names[v]} {counts[v] / total:.1%}" for v in names if counts[v])


def show_datasets() -> list[str]:
    """Print the benchmark sets."""
    from biastf_xr.paper.benchmark_sets import SETS

    table = Table(box=SIMPLE_HEAD)
    for title in ("set", "pairs", "rows x columns", "what"):
        table.add_column(title, overflow="fold")
    for name, about in SETS.items():
        shape = f"{about.shape[0]} x {about.shape[1]}"
        table.add_row(name, str(len(about.dates)), shape, about.title)
    console.print(table)
    return list(SETS)


def show_dataset(name: str, folder: Path | None) -> list[str]:
    """Print what a benchmark set is, and what a download lacks."""
    from biastf_xr.paper.benchmark_sets import check_folder, known_set

    about = known_set(name)
    facts(
        name,
        {
            "what": about.title,
            "get it from": about.source,
            "cite": about.reference,
            "images": f"{about.shape[0]} x {about.shape[1]}, {about.resolution:g} m, 6 bands",
            "pairs": f"{len(about.dates)}, {about.dates[0]} to {about.dates[-1]}",
            "Landsat files": about.example["landsat"],
            "MODIS files": about.example["modis"],
            "options": f'product = "benchmark", options = {{which = "{name}", sensor = "landsat"}} '
            f'and "modis", this one with native_resolution = {about.native_resolution:g}',
        },
    )
    if folder is None:
        return []
    wrong = check_folder(name, folder)
    for line in shown(wrong):
        console.print(line, highlight=False)
    console.print(f"{len(wrong)} things missing or wrong" if wrong else f"{folder} is complete")
    return wrong
