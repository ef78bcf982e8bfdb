"""The summary of an object, as text and as HTML for notebooks."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from biastf_xr._html import bullets, escape, facts
from biastf_xr._outside import visible
from biastf_xr._tables import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

# Rows of a table that are shown.
ROWS = 60

# Takes its colours from the page, so that it is readable on light and on dark ones.
STYLE = """
.biastf { font-size: .92em; line-height: 1.4; max-width: 72em; }
.biastf > strong { display: block; margin-bottom: .3em; }
.biastf dl { display: grid; grid-template-columns: max-content minmax(0, 1fr);
  gap: .1em 1.2em; margin: .3em 0; }
.biastf dt { opacity: .75; font-weight: normal; }
.biastf dd { margin: 0; overflow-wrap: anywhere; }
.biastf .scroll { max-height: 22em; overflow: auto; margin: .5em 0; }
.biastf table { border-collapse: collapse; margin: 0; font-variant-numeric: tabular-nums; }
.biastf caption { text-align: left; opacity: .75; caption-side: top; padding: 0 0 .2em; }
.biastf th, .biastf td { text-align: right; padding: .15em .7em; white-space: nowrap !important;
  color: inherit; background: none; border: 0 solid; border-bottom-width: 1px;
  border-color: color-mix(in srgb, currentColor 22%, transparent); }
.biastf th[scope=row], .biastf td.text { text-align: left; }
.biastf td.wide { white-space: normal !important; min-width: 14em; }
.biastf ul { margin: .3em 0; padding-left: 1.4em; }
"""


@dataclass(frozen=True)
class Summary:
    """A heading, facts, tables and remarks.

    `facts`: By name; of a tuple, each part has a line of its own.
    `tables`: By caption; an index without a name is left out.
    `notes`: What a reader should know.
    """

    title: str
    facts: dict[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, what: Summary | Told) -> Summary:
        """Return a summary as it is, of another object its own."""
        return what if isinstance(what, Summary) else what._summary()  # noqa: SLF001

    def text(self) -> str:
        """Write it for a terminal."""
        shown = {visible(k): v for k, v in self.facts.items()}
        width = max(map(len, shown), default=0) + 2
        lines = [visible(self.title)]
        for name, value in shown.items():
            first, *more = lines_of(value)
            lines += [f"  {name:{width}}{first}", *(f"  {'':{width}}{line}" for line in more)]
        for caption, frame in self.tables.items():
            texts = frame.rename(_shown, axis=0).rename(_shown, axis=1).map(_shown)
            texts = texts.rename_axis(_shown(frame.index.name))
            text = texts.to_string(index=frame.index.name is not None, max_rows=ROWS)
            lines += ["", visible(caption), text]
        return "\n".join([*lines, *(f"- {visible(note)}" for note in self.notes)])

    def html(self) -> str:
        """Write it for a notebook."""
        parts = [f"<style>{STYLE}</style><strong>{escape(self.title)}</strong>"]
        parts += [facts(self.facts)] if self.facts else []
        parts += [_table(caption, frame) for caption, frame in self.tables.items()]
        parts += [bullets(self.notes)] if self.notes else []
        return f'<div class="biastf">{"".join(parts)}</div>'


class Told:
    """Gives an object its text and its HTML from one summary."""

    @abstractmethod
    def _summary(self) -> Summary:
        """Return what there is to know."""

    def __repr__(self) -> str:
        return self._summary().text()

    def _repr_html_(self) -> str:
        return self._summary().html()


def lines_of(value: Any) -> list[str]:
    """Return the lines of a fact: one for each part of a tuple, of anything else one."""
    parts = value or ("",) if isinstance(value, tuple) else (value,)
    return [visible(part) for part in parts]


def _shown(value: Any) -> Any:
    """Return a cell with its text as it may be shown."""
    return visible(value) if isinstance(value, str) else value


def size(count: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            break
        count /= 1024
    return f"{count:,.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """Write a time for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _table(caption: str, frame: pd.DataFrame) -> str:
    """Write a table; its index names the rows if it has a name itself."""
    more = f"; {len(frame) - ROWS} more rows" if len(frame) > ROWS else ""
    named = frame.index.name is not None
    return Table.of(frame.head(ROWS), caption + more, named=named).html()
