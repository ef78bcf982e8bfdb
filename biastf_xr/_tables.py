"""Tables: the one form in which reports, the status page and notebooks have them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from biastf_xr._files import replacing
from biastf_xr._html import escape
from biastf_xr._outside import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

# Longer texts may be folded.
LONG = 24

# Cells that are coloured by what they say.
VERDICTS = ("better", "worse")


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


@dataclass(frozen=True)
class Table:
    """Rows below headings.

    `rows`: Numbers are set to the right, texts to the left; `Html` is taken as it is.
    `named`: Whether the first column names the rows.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    named: bool = True

    @classmethod
    def of(cls, frame: pd.DataFrame, caption: str, *, named: bool = True) -> Table:
        """Make a table of a frame, whose index names the rows."""
        columns = [str(name) for name in frame.columns]
        rows = [list(row) for row in frame.to_numpy(object)]
        if named:
            columns.insert(0, str(frame.index.name or ""))
            rows = [[index, *row] for index, row in zip(frame.index, rows, strict=True)]
        return cls(caption, columns, rows, named)

    def html(self, *, sortable: bool = False, best: Mapping[str, str] | None = None) -> str:
        """Return the table as HTML.

        `sortable`: Whether the script of the page can sort it by every column.
        `best`: What is best below a heading and is marked: "low", "high" or "zero".
        """
        marked = [
            _best((best or {}).get(name, ""), [row[i] for row in self.rows])
            for i, name in enumerate(self.columns)
        ]
        texts = [bool(self.rows) and isinstance(value, str) for value in self._first]
        head = "".join(map(_sorting_head if sortable else _head, self.columns, texts))
        body = "".join(
            "<tr>"
            + "".join(
                _cell(value, names=self.named and i == 0, best=value is not None
                      and value == marked[i], raw=sortable)
                for i, value in enumerate(row)
            )
            + "</tr>\n"
            for row in self.rows
        )  # fmt: skip
        kind = ' class="sortable"' if sortable else ""
        return (
            f'<div class="scroll" role="region" aria-label="{escape(self.caption)}" tabindex="0">'
            f"<table{kind}><caption>{escape(self.caption)}</caption>"
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
        )

    @property
    def _first(self) -> Sequence[Any]:
        return self.rows[0] if self.rows else self.columns


def shown(value: Any) -> str:
    """Write a value as a reader sees it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.5f}".replace("-", "−")
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)


def _head(name: str, text: bool) -> str:  # noqa: FBT001  (an argument of map)
    kind = ' class="text"' if text else ""
    return f'<th scope="col"{kind}>{escape(name)}</th>'


def _sorting_head(name: str, _: bool) -> str:  # noqa: FBT001  (an argument of map)
    return f'<th scope="col" aria-sort="none"><button type="button">{escape(name)}</button></th>'


def _cell(value: Any, *, names: bool, best: bool, raw: bool) -> str:
    """Write a cell; `raw` adds the value that the table is sorted by."""
    text = isinstance(value, str)
    kinds = [name for name, holds in (
        ("text", text), ("wide", text and not isinstance(value, Html) and len(value) > LONG),
        ("best", best), (str(value), text and value in VERDICTS),
    ) if holds]  # fmt: skip
    tag, kind = ("th", ' scope="row"') if names else ("td", "")
    if kinds and not names:
        kind = f' class="{" ".join(kinds)}"'
    data = f' data-value="{escape(_raw(value))}"' if raw else ""
    content = value if isinstance(value, Html) else escape(shown(value))
    return f"<{tag}{kind}{data}>{content}</{tag}>"


def _raw(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _best(what: str, values: Sequence[Any]) -> float | None:
    numbers = [v for v in values if isinstance(v, float)]
    if not what or len(numbers) < 2:
        return None
    if what == "zero":
        return min(numbers, key=abs)
    return max(numbers) if what == "high" else min(numbers)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, every text on one line."""
    plain_text = frame.map(lambda value: visible(value) if isinstance(value, str) else value)
    with replacing(path) as partial:
        plain_text.to_csv(partial, index=False)


def plain(value: Any) -> Any:
    """Bring a value to what JSON knows: records of a table, null for NaN, else its text."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    elif hasattr(value, "columns"):
        value = value.to_dict("records")
    elif getattr(getattr(value, "dtype", None), "kind", "") in ("b", "i", "u", "f"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
