"""The tables of the paper with the project's numbers beside the published ones, cell by cell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr._files import write_text
from biastf_xr._outside import json_text, markdown_text
from biastf_xr._tables import write_csv
from biastf_xr.paper._protocol import READINGS
from biastf_xr.paper._published import (
    BAND_BY_BAND,
    MEASURES,
    PUBLISHED_METHODS,
    best_of,
    published,
)
from biastf_xr.paper.benchmark_sets import COLOURS

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from biastf_xr.paper._paper import PaperRun

KEYS = ["pair", "date", "measure", "band", "method"]

# Numbers of the tables of the paper in its layout.
NUMBERS = {"cia": ("2a", "3"), "lgc": ("2b", "4")}


def beside_published(run: PaperRun) -> pd.DataFrame:
    """Put the published value beside every score.

    Returned: Columns dataset, pair, date, measure, band, method, value, published, difference
    (value less published), ratio (value over published), pixels, share. NaN where there is no
    value or no published one; published results of methods that were not run are there too.
    """
    dataset = run.protocol.dataset
    known = published(dataset).drop_duplicates(KEYS).rename(columns={"value": "published"})
    known = known[known["pair"].isin(run.protocol.targets)]
    both = run.scores.merge(known[[*KEYS, "published"]], on=KEYS, how="outer")
    both["difference"] = both["value"] - both["published"]
    both["ratio"] = both["value"] / both["published"]
    both.insert(0, "dataset", dataset)
    columns = ["dataset", *KEYS, "value", "published", "difference", "ratio", "pixels", "share"]
    order = {name: i for i, name in enumerate((*MEASURES, *columns_of(run), *COLOURS, "mean"))}
    table: pd.DataFrame = both[columns].sort_values(
        ["pair", "measure", "band", "method"],
        key=lambda c: c.map(order) if c.name != "pair" else c,
        ignore_index=True,
    )
    return table


def columns_of(run: PaperRun) -> tuple[str, ...]:
    """Return the methods of a table: those of the paper in its order, then the others."""
    others = (m for m in run.protocol.methods if m not in PUBLISHED_METHODS)
    return (*PUBLISHED_METHODS, *others)


@dataclass(frozen=True)
class MeasureTable:
    """One measure of a table: dates or bands as rows, methods as columns.

    `ours`, `paper`: Values, the same rows and columns; NaN where there is none.
    """

    title: str
    measure: str
    ours: pd.DataFrame
    paper: pd.DataFrame

    def lines(self) -> list[tuple[str, str, list[str], list[bool]]]:
        """Return the lines of the block as text."""
        found = []
        for name in self.ours.index:
            ours, paper = self.ours.loc[name], self.paper.loc[name]
            found.append(self._line(str(name), "project", ours, "{:.4f}"))
            if paper.notna().any():
                found.append(self._line(str(name), "paper", paper, "{:.4f}"))
            if (ours.notna() & paper.notna()).any():
                found.append(self._line(str(name), "difference", ours - paper, "{:+.4f}"))
                found.append(self._line(str(name), "ratio", ours / paper, "{:.2f}"))
        return found

    def _line(
        self, name: str, what: str, values: pd.Series, form: str
    ) -> tuple[str, str, list[str], list[bool]]:
        best = best_of(values, self.measure) if what in ("project", "paper") else None
        texts = ["" if np.isnan(v) else form.format(v) for v in values]
        return name, what, texts, [m == best for m in values.index]


def measure_tables(run: PaperRun) -> list[MeasureTable]:
    """Lay out Table 2, and Table 3 or 4, with both results in every cell."""
    table = beside_published(run)
    dataset, name = run.protocol.dataset, run.protocol.dataset.upper()
    whole, single = NUMBERS[dataset]
    joint = table[table["band"] == "mean"]
    joint = joint.assign(
        row=[f"{p} {d}" for p, d in zip(joint["pair"], joint["date"], strict=True)]
    )
    found = [
        _block(f"Table {whole}, {name}, {m}", m, joint[joint["measure"] == m], columns_of(run))
        for m in MEASURES
    ]
    shown = table[table["pair"] == BAND_BY_BAND[dataset]]
    shown = shown.assign(row=[b if b != "mean" else "all bands" for b in shown["band"]])
    for m in MEASURES if len(shown) else ():
        part = shown[shown["measure"] == m]
        bands = part[part["band"] != "mean"]
        title = f"Table {single}, {name}, pair {BAND_BY_BAND[dataset]}, {m}"
        found.append(_block(title, m, bands if len(bands) else part, columns_of(run)))
    return found


def _block(title: str, measure: str, part: pd.DataFrame, methods: tuple[str, ...]) -> MeasureTable:
    """Make rows of "row" and columns of methods, and their mean below."""
    import pandas as pd

    rows = list(dict.fromkeys(part["row"]))
    wide = [
        part.pivot_table(index="row", columns="method", values=v, sort=False, dropna=False)
        .reindex(index=rows, columns=list(methods)).astype(float)
        for v in ("value", "published")
    ]  # fmt: skip
    if len(rows) > 1:
        # A mean of fewer rows than there are would compare unequal things.
        wide = [
            pd.concat([w, w.mean(skipna=False).to_frame(f"mean of {len(rows)}").T]) for w in wide
        ]
    return MeasureTable(title, measure, *wide)


def write_results(run: PaperRun) -> dict[str, Path]:
    """Write the tables as CSV, JSON and Markdown into the folder of the run."""
    table = beside_published(run)
    paths = {
        kind: run.folder / f"paper_{run.protocol.dataset}.{end}"
        for kind, end in (("csv", "csv"), ("json", "json"), ("markdown", "md"))
    }
    write_csv(table, paths["csv"])
    protocol = run.protocol
    settings = {
        "dataset": protocol.dataset,
        "methods": list(protocol.methods),
        "targets": {str(t): protocol.day(t) for t in protocol.targets},
        "training": protocol.training,
        "one_pair": list(protocol.one_pair),
        "coarse": protocol.coarse,
        "crop": protocol.crop,
        "ratio": protocol.ratio,
    }
    rows = json.loads(table.to_json(orient="records", double_precision=15))
    result = {
        "protocol": settings,
        "readings": list(READINGS),
        "failed": {str(cell): why for cell, why in run.failed.items()},
        "table": rows,
    }
    write_text(paths["json"], json_text(result, indent=1))
    write_text(paths["markdown"], _markdown(run))
    return paths


def _markdown(run: PaperRun) -> str:
    lines = [f"# {run.protocol.dataset.upper()}: the project beside the paper", ""]
    lines += [*(f"- {reading}" for reading in READINGS), ""]
    lines += [f"- No result: {markdown_text(f'{c}: {why}')}" for c, why in run.failed.items()]
    for block in measure_tables(run):
        names = [markdown_text(c) for c in block.ours.columns]
        lines += ["", f"## {markdown_text(block.title)}", "", f"| | | {' | '.join(names)} |"]
        lines.append("|---|---|" + "---:|" * len(names))
        for row, what, texts, best in block.lines():
            cells = [f"**{t}**" if b else t for t, b in zip(texts, best, strict=True)]
            head = markdown_text(row) if what == "project" else ""
            lines.append(f"| {head} | {what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
