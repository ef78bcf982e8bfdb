"""What `info`, `datasets` and `doctor` show."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr._summary import Summary
from biastf_xr._system import reading
from biastf_xr.cli._terminal import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biastf_xr._doctor import Check


def show_cube(path: str | Path) -> dict[str, Any]:
    """Print what a cube holds."""
    from biastf_xr.cube._cube import bands_of, layout_of, open_cube
    from biastf_xr.cube._quality import count_flags
    from biastf_xr.cube._spec import STATUS
    from biastf_xr.grid import describe, geobox_of, split_tiles

    ds = open_cube(path, chunks=None)
    layout = layout_of(ds)
    days = to_days(ds["time"])
    facts: dict[str, Any] = {
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
        facts["on disk"] = f"{size / 2**20:.1f} MiB, {size / pixels:.2f} bytes per pixel and band"
    calendar: list[str] = []
    if "clear_fraction" in ds.coords and days.size:
        clear = ds["clear_fraction"].values
        facts["clear"] = f"mean {clear.mean():.0%}; {int((clear == 0).sum())} dates with none"
        gap, start = _longest_gap(days[clear > 0])
        facts["longest gap"] = f"{gap} days after {start}" if gap else "none"
        calendar = calendar_lines(days, clear)
    if "pair_flag" in ds.coords:
        facts["pairs"] = count_flags(ds["pair_flag"].values)
    if "suspect_fraction" in ds.coords:
        share = ds["suspect_fraction"].values
        facts["screened"] = (
            f"{int(np.isfinite(share).sum())} days; something is suspected on "
            f"{int((share > 0).sum())}, more than half of the clear pixels on "
            f"{int((share > 0.5).sum())}"
        )
    if "biastf_method" in ds.attrs:
        facts["method"] = _method(json.loads(ds.attrs["biastf_method"]))
    if "status_flag" in ds:
        counts = np.zeros(256, np.int64)
        tiles = split_tiles((ds.sizes["y"], ds.sizes["x"]), layout.shards[1:])
        for tile, t in itertools.product(tiles, range(ds.sizes["time"])):
            with reading(f"status_flag of {path}"):
                flags = ds["status_flag"].variable[(t, *tile.slices)].values
            counts += np.bincount(flags.ravel(), minlength=256)
        total = max(int(counts.sum()), 1)
        facts["pixels"] = ", ".join(
            f"{name} {counts[v] / total:.1%}" for name, v in STATUS.items() if counts[v]
        )
    facts["history"] = ds.attrs.get("history", "")
    history = tuple(str(facts["history"]).splitlines())
    show(Summary(str(path), facts | {"history": history}, notes=tuple(calendar)))
    return facts | {"days": [str(day) for day in days]}


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


def show_datasets() -> list[str]:
    """Print the benchmark sets."""
    import pandas as pd

    from biastf_xr.paper.benchmark_sets import SETS

    columns = ("set", "pairs", "rows x columns", "what")
    rows = [(name, len(one.dates), _size(one), one.title) for name, one in SETS.items()]
    show(Summary("Benchmark sets", tables={"": pd.DataFrame(rows, columns=columns)}))
    return list(SETS)


def _size(about: Any) -> str:
    return f"{about.shape[0]} x {about.shape[1]}"


def show_dataset(name: str, folder: Path | None) -> list[str]:
    """Print what a benchmark set is, and what a download lacks."""
    from biastf_xr.paper.benchmark_sets import check_folder, known_set

    about = known_set(name)
    facts = {
        "what": about.title,
        "get it from": about.source,
        "cite": about.reference,
        "images": f"{_size(about)}, {about.resolution:g} m, 6 bands",
        "pairs": f"{len(about.dates)}, {about.dates[0]} to {about.dates[-1]}",
        "Landsat files": about.example["landsat"],
        "MODIS files": about.example["modis"],
        "options": f'product = "benchmark", options = {{which = "{name}", sensor = "landsat"}} '
        f'and "modis", this one with native_resolution = {about.native_resolution:g}',
    }
    wrong = [] if folder is None else check_folder(name, folder)
    if folder is not None:
        facts[str(folder)] = f"{len(wrong)} things missing or wrong" if wrong else "complete"
    show(Summary(name, facts, notes=tuple(wrong)))
    return wrong


def show_model(path: Path) -> dict[str, Any]:
    """Print what made a model, and what it has learned."""
    from biastf_xr.methods import load_method

    model: Any = load_method(path)
    card, summary = model.card, model.summarise()
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    facts = {"method": card.method, **summary.facts, "versions": versions, "sha256": model.sha256}
    show(replace(summary, title=str(path), facts=facts))
    return {"sha256": model.sha256, **asdict(card)}


def show_checks(checks: Sequence[Check]) -> None:
    """Print what was checked, topic by topic."""
    import pandas as pd

    tables = {
        topic: pd.DataFrame(
            {"": c.verdict, "what": c.name, "found": "; ".join(filter(None, (c.found, c.advice)))}
            for c in checks
            if c.topic == topic
        )
        for topic in dict.fromkeys(c.topic for c in checks)
    }
    wrong = sum(c.verdict == "wrong" for c in checks)
    verdict = f"{wrong} things are wrong" if wrong else "nothing is wrong"
    show(Summary("Checks", tables=tables, notes=(f"{verdict} ({len(checks)} looked at)",)))
