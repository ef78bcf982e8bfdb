"""The small pieces of HTML that pages and notebooks share; everything is inline and escaped."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Picture:
    """A picture and what it shows.

    `alt`: What it shows, for those who do not see it.
    """

    png: bytes
    alt: str
    caption: str = ""


def shown(value: Any) -> str:
    """Write a value as a reader sees it."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.5f}".replace("-", "−")
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)


def image(picture: Picture) -> str:
    """Put a picture into the page."""
    source = f"data:image/png;base64,{b64encode(picture.png).decode()}"
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return f'<figure><img src="{source}" alt="{escape(picture.alt)}">{caption}</figure>\n'


def facts(pairs: dict[str, Any]) -> str:
    """List names and values."""
    rows = (f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in pairs.items())
    return f"<dl>{''.join(rows)}</dl>\n"


def bullets(texts: Iterable[str]) -> str:
    """List texts."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>\n"


def folded(summary: str, html: str) -> str:
    """Hide a part until it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>{html}</details>\n"
