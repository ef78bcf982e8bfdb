"""Pages that need no other file, and their pieces; everything is inline and escaped."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape as _escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from biastf_xr._outside import visible
from biastf_xr._urls import lasting
from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def escape(text: Any) -> str:
    """Write a text into HTML or SVG, as it is: the one escape of both."""
    return _escape(visible(text))


def link(address: str, name: str) -> str:
    """Return an address that every reader may see and follow; refuse any other.

    `name`: What it is the address of, or the key that has it.
    """
    scheme = urlsplit(address).scheme
    bare = address.partition("#")[0]
    if not address.isprintable() or " " in address:
        problem = "holds what does not print"
    elif scheme not in ("", "http", "https"):
        problem = f"has the scheme {scheme}"
    elif lasting(bare) != bare:
        problem = "holds a user, a password or a signature, which every reader would see"
    else:
        return address
    raise ConfigError(f"{name} {problem}: {address}. Give an address as https://host/page.")


def anchor(address: str, text: str) -> str:
    """Link to an address that `link` has let through."""
    return f'<a href="{_escape(address)}">{escape(text)}</a>'


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
    rows = (f"<dt>{escape(k)}</dt><dd>{_lines(v)}</dd>" for k, v in pairs.items())
    return f"<dl>{''.join(rows)}</dl>\n"


def _lines(value: Any) -> str:
    """Write a value; each part of a tuple on a line of its own."""
    return "<br>".join(map(escape, value)) if isinstance(value, tuple) else escape(value)


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
