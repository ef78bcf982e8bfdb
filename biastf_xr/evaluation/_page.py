"""Pages that need no other file, and tables that can be sorted; nothing is fetched."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from biastf_xr._html import shown
from biastf_xr.evaluation._image_sums import BEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Cells that are coloured by what they say.
VERDICTS = ("better", "worse")
# Longer texts may be folded.
LONG = 24


def page(
    title: str,
    sections: Sequence[tuple[str, str, str]],
    lead: str = "",
    *,
    style: str = "",
    sortable: bool = True,
) -> str:
    """Make a page that needs no other file.

    `sortable`: Whether the page has the script that sorts tables.
    """
    links = "".join(f'<li><a href="#{name}">{escape(head)}</a></li>' for name, head, _ in sections)
    body = "".join(
        f'<section id="{name}" aria-labelledby="{name}-head">'
        f'<h2 id="{name}-head">{escape(head)}</h2>{html}</section>\n'
        for name, head, html in sections
    )
    script = f"<script>\n{_file('report.js')}</script>\n" if sortable else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_file('report.css')}{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>{lead}</header>\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n{body}</main>\n'
        f"{script}</body>\n</html>\n"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str) -> str:
    """Make a table that can be sorted by every column, the first of which names the rows.

    `columns`: Headings; below the name of a measure, the best value is marked.
    """
    listed = [list(row) for row in rows]
    best = [_best(name, [row[i] for row in listed]) for i, name in enumerate(columns)]
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{escape(name)}</button></th>'
        for name in columns
    )
    body = "".join(
        f"<tr>{_row_head(row[0])}"
        + "".join(_cell(value, best=value is not None and value == best[i])
                  for i, value in enumerate(row) if i)
        + "</tr>\n"
        for row in listed
    )  # fmt: skip
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0">'
        f'<table class="sortable"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def _file(name: str) -> str:
    return (files("biastf_xr.evaluation") / "templates" / name).read_text("utf-8")


def _row_head(value: Any) -> str:
    return f'<th scope="row" data-value="{escape(_raw(value))}">{escape(shown(value))}</th>'


def _cell(value: Any, *, best: bool) -> str:
    text = isinstance(value, str)
    kinds = [name for name, holds in (
        ("text", text), ("wide", text and len(value) > LONG), ("best", best),
        (str(value), text and value in VERDICTS),
    ) if holds]  # fmt: skip
    marked = f' class="{" ".join(kinds)}"' if kinds else ""
    return f'<td{marked} data-value="{escape(_raw(value))}">{escape(shown(value))}</td>'


def _raw(value: Any) -> str:
    """Return the value that a table is sorted by."""
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _best(name: str, values: Sequence[Any]) -> float | None:
    """Return the best value below the name of a measure."""
    numbers = [v for v in values if isinstance(v, float)]
    if name not in BEST or len(numbers) < 2:
        return None
    if BEST[name] == "zero":
        return min(numbers, key=abs)
    return max(numbers) if BEST[name] == "high" else min(numbers)
