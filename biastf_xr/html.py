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

    Attributes
    ----------
    png : bytes
        The file.
    alt : str
        What it shows, for those who do not see it.
    caption : str
        Text below.
    """

    png: bytes
    alt: str
    caption: str = ""


def shown(value: Any) -> str:
    """Write a value as a reader sees it.

    Parameters
    ----------
    value : float, int, str or None
        The value.

    Returns
    -------
    str
        Five decimals, a whole number, the text, or a dash.
    """
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.5f}".replace("-", "−")
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)


def image(picture: Picture) -> str:
    """Put a picture into the page.

    Parameters
    ----------
    picture : Picture
        The picture.

    Returns
    -------
    str
        HTML.
    """
    source = f"data:image/png;base64,{b64encode(picture.png).decode()}"
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return f'<figure><img src="{source}" alt="{escape(picture.alt)}">{caption}</figure>\n'


def facts(pairs: dict[str, Any]) -> str:
    """List names and values.

    Parameters
    ----------
    pairs : dict
        Texts by name.

    Returns
    -------
    str
        HTML.
    """
    rows = (f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in pairs.items())
    return f"<dl>{''.join(rows)}</dl>\n"


def bullets(texts: Iterable[str]) -> str:
    """List texts.

    Parameters
    ----------
    texts : iterable of str
        The texts.

    Returns
    -------
    str
        HTML.
    """
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>\n"


def folded(summary: str, html: str) -> str:
    """Hide a part until it is asked for.

    Parameters
    ----------
    summary : str
        What is hidden.
    html : str
        The part.

    Returns
    -------
    str
        HTML.
    """
    return f"<details><summary>{escape(summary)}</summary>{html}</details>\n"
