"""Pages that need no other file, and their pieces; everything is inline and escaped."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True)
class Picture:
    """A picture and what it shows.

    `alt`: What it shows, for those who do not see it.
    """

    png: bytes
    alt: str
    caption: str = ""


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
    script = f"<script>\n{_file('page.js')}</script>\n" if sortable else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_file('page.css')}{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>{lead}</header>\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n{body}</main>\n'
        f"{script}</body>\n</html>\n"
    )


def _file(name: str) -> str:
    return (files("biastf_xr") / "templates" / name).read_text("utf-8")
