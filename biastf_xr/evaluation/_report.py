"""The report of an evaluation: one HTML file that opens offline, and its numbers as JSON.

Everything is first put into plain numbers and texts; the page is made of these alone, so the two
files cannot differ.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from biastf_xr import _html as html
from biastf_xr._files import write_text
from biastf_xr._outside import json_text
from biastf_xr._tables import Table, plain
from biastf_xr.evaluation._gallery import Gallery, chart_by_date, chart_calibration
from biastf_xr.evaluation._image_sums import BEST, MEASURES
from biastf_xr.evaluation._statistics import LEVEL, RIVAL
from biastf_xr.evaluation._tally import UNCHANGED
from biastf_xr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from biastf_xr.evaluation._scores import Scores
    from biastf_xr.evaluation._statistics import Comparison

CAPTIONS = {
    "summary": "Mean over bands and dates; the best is marked. RMSE, MAE and bias in reflectance, "
    "SAM in radians; SSIM over the whole image, SSIM11 in Gaussian windows of 11 x 11; EDGE and "
    "LBP are best at 0, EDGE is below 0 where edges are too smooth.",
    "ratios": "RMSE of a date over that of the better of linear and direct.",
    "dates": "RMSE by date, mean over bands; nearest reachable base dates, days to the nearer, "
    "scored pixels and their share of the area.",
    "ratio by date": "RMSE over that of the better of linear and direct, by date.",
    "bands": "RMSE by band, mean over dates.",
    "bias": "Mean error by band, prediction less scene.",
}
CLASSED_BY = {
    "change": f"the size of the true change since the nearest clear scene ({UNCHANGED}), root mean "
    "square over bands in reflectance",
    "distance": "the days to the nearer base date used at a pixel",
}


def write_report(
    path: Path,
    scores: Scores,
    *,
    title: str = "Evaluation on withheld scenes",
    run: Mapping[str, Any] | None = None,
    gallery: Gallery | None = None,
) -> Path:
    """Write the report and its JSON twin.

    `path`: HTML file to write; the twin has the same name and ends in ``.json``.
    """
    gallery = gallery or Gallery()
    data = report_data(scores, title=title, run=run)
    data["error_scale"] = gallery.scale if gallery.days() else None
    text = json_text(data, indent=1, allow_nan=False)
    for file, content in (path.with_suffix(".json"), text), (path, _page(data, scores, gallery)):
        write_text(file, content)
    return path


def report_data(
    scores: Scores,
    *,
    title: str = "Evaluation on withheld scenes",
    run: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return everything that the report has, in plain numbers and texts."""
    made = scores.comparisons(MEASURES)
    tables = _tables(scores, made)
    about = {
        "design": scores.design,
        "dates": ", ".join(scores.dates["date"]),
        "scored pixels": int(scores.dates["pixels"].sum()),
        "fine over coarse pixel size (h/l of ERGAS)": f"{scores.ratio:.6g}",
        "biastf_xr": __version__,
    }
    data: dict[str, Any] = plain(
        {
            "title": title,
            "version": __version__,
            "run": {k: str(v) for k, v in (run or {}).items()} | about,
            "methods": scores.methods,
            "verdicts": [str(c) for c in made if c.measure == "RMSE"],
            "tables": {name: _table(table) for name, table in tables.items()},
            "comparisons": [asdict(c) for c in made],
            "calibration": scores.calibration_gaps(),
            "notes": [asdict(note) for note in scores.notes],
            "not_computed": _not_computed(scores, tables),
            "figures": scores.table.to_dict("records"),
        }
    )
    return data


def _tables(scores: Scores, made: list[Comparison]) -> dict[str, Table]:
    """Make every table of the report, by name."""
    by_date = scores.dates.set_index("date")[["before", "after", "distance", "pixels", "share"]]
    by_date = by_date.join(scores.by_date())
    tables = {
        name: Table.of(frame, CAPTIONS[name])
        for name, frame in (
            ("summary", scores.summary()),
            ("ratios", scores.ratio_table()),
            ("dates", by_date),
            ("ratio by date", scores.ratios()),
            ("bands", scores.by_band()),
            ("bias", scores.by_band("bias")),
        )
    }
    for kind, what in CLASSED_BY.items():
        by_class = scores.by_class(kind).T
        if by_class.size:
            by_class.insert(0, "pixels", scores.class_pixels(kind))
            tables[kind] = Table.of(by_class, f"RMSE by {what}; all dates together.")
    shares = scores.calibration()
    if shares.size:
        tables["calibration"] = Table.of(
            shares, "Share of pixels whose error is within the stated uncertainty."
        )
    for name, chosen in (
        ("verdicts", [c for c in made if c.measure == "RMSE"]),
        ("other verdicts", [c for c in made if c.measure != "RMSE"]),
    ):
        tables[name] = _verdict_table(chosen)
    return tables


def _verdict_table(made: list[Comparison]) -> Table:
    columns = ["method", "against", "measure", "verdict", "difference"]
    columns += ["low", "high", "dates", "why"]
    rows = [
        [c.method, f"{c.reference} ({c.role})" if c.role == RIVAL else c.reference, c.measure,
         c.verdict, c.difference, c.low, c.high, c.dates, c.reason]
        for c in made
    ]  # fmt: skip
    caption = (
        f"Mean difference over dates and its {LEVEL:.0%} interval, the wider of the bootstrap over "
        "dates (percentile, seeded) and Student's; a verdict where it leaves zero out. Of bias, "
        "EDGE and LBP magnitudes are compared."
    )
    return Table(caption, columns, rows)


def _table(table: Table) -> dict[str, Any]:
    return {"caption": table.caption, "columns": table.columns, "rows": table.rows}


def _not_computed(scores: Scores, tables: dict[str, Table]) -> list[str]:
    """Return what the report lacks, and why."""
    lines = [str(note) for note in scores.notes]
    dates = scores.by_date().shape[0]
    if dates < 3:
        lines.append(f"Verdicts: {dates} scored date(s); at least 3 are needed.")
    if "calibration" not in tables:
        lines.append("Calibration: no method states an uncertainty (variables such as red_sigma).")
    lines += [
        f"{what}: no pixel has a known class."
        for kind, what in (("change", "RMSE by change"), ("distance", "RMSE by distance"))
        if kind not in tables
    ]
    undefined = scores.table[scores.table["value"].isna()]
    for measure, part in undefined.groupby("measure", sort=False):
        who = ", ".join(dict.fromkeys(part["method"]))
        lines.append(f"{measure}: not defined for {who} on {part['date'].nunique()} date(s), where "
                     "an image is constant or smaller than the window.")  # fmt: skip
    return lines


def _page(data: dict[str, Any], scores: Scores, gallery: Gallery) -> str:
    """Lay the report out."""
    tables = data["tables"]

    def show(*names: str) -> str:
        made = (Table(**tables[name]) for name in names if name in tables)
        return "".join(table.html(sortable=True, best=BEST) for table in made)

    chart = f'<div class="chart">{html.image(chart_by_date(scores.by_date()))}</div>'
    sections = [
        ("summary", "Summary", show("summary", "ratios")),
        ("verdicts", "Verdicts", html.bullets(data["verdicts"]) + show("verdicts")
         + html.folded("Verdicts in the other measures", show("other verdicts"))),
        ("dates", "By date", chart + show("dates", "ratio by date")),
        ("bands", "By band", show("bands", "bias")),
        ("change", "By size of change", show("change")),
        ("distance", "By distance to the nearest base date", show("distance")),
        ("calibration", "Stated uncertainty", _calibration(data, scores) + show("calibration")),
        ("pictures", "Pictures", _pictures(gallery)),
        ("missing", "What could not be computed",
         html.bullets(data["not_computed"]) if data["not_computed"] else "<p>Nothing.</p>"),
        ("run", "What was run", html.facts(data["run"]) + "<h3>Methods</h3>"
         + html.facts({name: _options(about) for name, about in data["methods"].items()})),
    ]  # fmt: skip
    kept = [(name, head, body) for name, head, body in sections if body]
    return html.page(data["title"], kept, f"<p>{html.escape(data['run']['design'])}</p>")


def _options(described: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in described.items() if k != "method") or "no options"


def _calibration(data: dict[str, Any], scores: Scores) -> str:
    """Draw the coverage, and state how far it is off."""
    if not data["calibration"]:
        return ""
    off = data["calibration"].items()
    gaps = (f"{name}: largest deviation {gap:.1f} points" for name, gap in off)
    chart = html.image(chart_calibration(scores.calibration()))
    return html.bullets(gaps) + f'<div class="chart">{chart}</div>'


def _pictures(gallery: Gallery) -> str:
    """Show every date: images with one stretch, error maps with one scale for all."""
    if not gallery.days():
        return ""
    rgb = " as red, green and blue" if len(gallery.colours) == 3 else ""
    about = (
        f"{', '.join(gallery.colours)}{rgb}, in the stretch of the withheld scene; missing pixels "
        "are grey. Error maps show the root mean square error over the bands, on one scale for all "
        "dates and methods."
    )
    bar = _bare(gallery.scale_bar())
    scale = f"<span>error 0</span>{bar}<span>{gallery.scale:.4f} and more</span>"
    parts = [f"<p>{about}</p>", f'<div class="scale">{scale}</div>']
    for day in gallery.days():
        images = "".join(html.image(p) for p in gallery.images(day))
        errors = "".join(html.image(p) for p in gallery.errors(day))
        parts.append(
            f'<h3>{html.escape(day)}</h3><div class="pictures">{images}</div>'
            f'<h4>Error, {html.escape(day)}</h4><div class="pictures">{errors}</div>'
        )
    return "".join(parts)


def _bare(picture: html.Picture) -> str:
    return html.image(picture).removeprefix("<figure>").removesuffix("</figure>\n")
