"""What the terminal shows of cubes, models and benchmark sets."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape

from biastf_xr.cli._terminal import (
    console,
    facts,
    frame_table,
    list_table,
    new_table,
    shown,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biastf_xr._doctor import Check
    from biastf_xr.cube._rechunk import RechunkReport
    from biastf_xr.cube._verify import Verification
    from biastf_xr.publish.catalogue import PublishReport


def show_findings(result: Verification) -> None:
    """Print what a verification found."""
    read = f"{result.days} days, {result.pixels:,} values read"
    if result.sound:
        console.print(f"[bold]{result.path}[/] is sound: {read}")
        return
    console.print(f"[bold red]{result.path} is damaged[/]: {read}")
    rows = [(f.day, f.variable, f.where, f.what) for f in result.findings]
    list_table("", ("day", "variable", "where", "what"), rows)


def show_catalogue(report: PublishReport, folder: Path, *, dry_run: bool) -> None:
    """Print what was published, or would be."""
    from biastf_xr.fusion._preview import size

    facts(
        f"STAC catalogue {folder}{' (nothing was written)' if dry_run else ''}",
        {
            "dates": f"{len(report.added)} new, {len(report.updated)} updated, "
            f"{len(report.kept)} kept, {len(report.removed)} taken out",
            "files": f"{report.files}, {size(report.size)}",
        },
    )


def show_copy(report: RechunkReport, *, dry_run: bool) -> None:
    """Print what a copy took, or would take."""
    from biastf_xr.fusion._preview import size

    facts(
        f"copy {report.path} for {report.purpose}{' (nothing was written)' if dry_run else ''}",
        {
            "days": f"{report.days}, {report.changed} new or changed",
            "chunks, shards": f"{report.layout.chunks}, {report.layout.shards}",
            "shards": f"{report.written} written, {report.kept} taken over",
            "size": f"{size(report.size)} not compressed; about {size(report.memory)} in memory",
        },
    )


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


def _method(about: dict[str, Any]) -> str:
    """Write what made a cube, as far as it fits a few lines."""
    parts = [str(about.pop("method", ""))]
    for key, value in about.items():
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

    rows = [
        (name, str(len(about.dates)), f"{about.shape[0]} x {about.shape[1]}", about.title)
        for name, about in SETS.items()
    ]
    table("", ("set", "pairs", "rows x columns", "what"), rows)
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


def show_model(path: Path) -> dict[str, Any]:
    """Print what made a model, and what it has learned."""
    from biastf_xr.methods import load_method

    model: Any = load_method(path)
    card, summary = model.card, model.summarise()
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    rows = {"method": card.method, **summary.facts, "versions": versions, "sha256": model.sha256}
    facts(str(path), rows)
    for caption, frame in summary.tables.items():
        frame_table(caption, frame)
    for note in summary.notes:
        console.print(note, markup=False, highlight=False)
    return {"sha256": model.sha256, **asdict(card)}


def show_checks(checks: Sequence[Check]) -> None:
    """Print what was checked, topic by topic."""
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "wrong": "[red]wrong[/]"}
    for topic in dict.fromkeys(c.topic for c in checks):
        grid = new_table(topic)
        grid.show_header = False
        for check in (c for c in checks if c.topic == topic):
            text = f"{check.found}{'; ' if check.advice else ''}{check.advice}"
            grid.add_row(marks[check.verdict], check.name, escape(text))
        console.print(grid, highlight=False)
    wrong = [c for c in checks if c.verdict == "wrong"]
    verdict = f"{len(wrong)} things are wrong" if wrong else "nothing is wrong"
    console.print(f"[bold]{verdict}[/] ({len(checks)} looked at)", highlight=False)
