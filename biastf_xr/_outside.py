"""Texts from outside, as they may be shown or stored: secrets left out, control characters visible.

Every medium has its one escape, made of `visible`: `_html.escape`, `cli._terminal`, `json_text`,
`toml_text` and `markdown_text`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import traceback
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any
from unicodedata import category
from urllib.parse import quote, unquote

from biastf_xr._urls import PASSWORDS, public

if TYPE_CHECKING:
    from collections.abc import Callable

# Stands where a secret stood.
HIDDEN = "***"

# Up to what no URL holds; all repetitions are bounded, so that the time grows with the text only.
_OF_URL = r"[^\s\x00-\x1f\x7f-\x9f\"'<>\\`{}|]"
_URL = re.compile(rf"(?:abfss?|wasbs?)?://{_OF_URL}+")
# As a path has them, with one slash; the query is that of any path.
_USER_IN_PATH = re.compile(
    r"\b((?:https?|s?ftp|s3|gc?s|az|memory):/)[^\s/@\"'<>]{1,4000}@", re.IGNORECASE
)
_QUOTED_URL = re.compile(rf"%3A%2F%2F(?:(?!&){_OF_URL})+", re.IGNORECASE)
_PATH_WITH_QUERY = re.compile(rf"(?<=[\w.~%/])\?[\w.~%-]{{1,60}}=(?:(?!\)){_OF_URL})*")
_AFTER = ".,;:!)]"  # of a sentence, not of a URL

# Names that are followed by a secret, in headers, queries, options and representations.
_NAMED = re.compile(
    r"((?:token|secret|passwo?r?d|signature|credential|api[-_]?key|access[-_]?key|account[-_]?key"
    r"|authorization|x-(?:amz|goog)|\bsig(?![\w-]))[\w-]{0,30}[\\\"']{0,4}\s{0,2}[=:]\s{0,2}[\\\"']{0,4})"
    r"((?:bearer|basic|token)\s+)?[^\s\"'&,;)}\]\\]{1,4000}",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s{1,3})[\w.~+/=-]{8,}", re.IGNORECASE)

# Variables of the environment that hold a secret, and those that only say where one lies.
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|ACCESS_?KEY|ACCOUNT_?KEY|SIGNATURE|SAS")
_PLACE = re.compile(r"(FILE|PATH|DIR|CREDENTIALS)$")
_SHORTEST = 6  # shorter values are words


def without_secrets(text: str) -> str:
    """Return a text without the secrets in it.

    Those are the user and query of URLs, what follows names such as "token" or "password", the
    values of variables of the environment with such names, and the passwords of URLs in use.
    """
    if "://" in text:
        text = _URL.sub(_public, text)
    if ":/" in text:
        text = _USER_IN_PATH.sub(r"\1", text)
    if "%2" in text:
        text = _QUOTED_URL.sub(lambda m: quote(_public(unquote(m[0])), safe="%"), text)
    if "?" in text:
        text = _PATH_WITH_QUERY.sub("", text)
    text = _NAMED.sub(rf"\1\2{HIDDEN}", _BEARER.sub(rf"\1{HIDDEN}", text))
    if len(text) >= _SHORTEST:
        known = {os.environ.get(name, "") for name in os.environ if _holds_secret(name)}
        for value in known | PASSWORDS:
            if len(value) >= _SHORTEST:
                text = text.replace(value, HIDDEN)
    return text


def _public(found: re.Match[str] | str) -> str:
    """Return a URL in a text, and the punctuation after it, without secrets."""
    url = found if isinstance(found, str) else found[0]
    bare = url.rstrip(_AFTER)
    return public(bare) + url[len(bare) :]


@cache
def _holds_secret(name: str) -> bool:
    """Return whether a variable of the environment holds a secret, by its name."""
    return bool(_SECRET.search(name.upper()) and not _PLACE.search(name.upper()))


def visible(text: Any, *, keep: str = "") -> str:
    """Return a text without secrets and on one line, control characters as escapes.

    Those are the characters that print nothing, or other than they are: the escape sequences of
    terminals, line breaks, overrides of the direction, bytes of names that are no text.

    `keep`: Characters that stay as they are.
    """
    return _with_escapes(without_secrets(str(text)), _escaped, keep)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _with_escapes(text: str, escape: Callable[[str], str], keep: str = "") -> str:
    """Return a text whose characters that do not print are escaped in the way of a medium."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep or category(c) == "Zs" else escape(c) for c in text
    )


def clean(value: Any) -> Any:
    """Return nested dictionaries and lists without the secrets in their texts."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {clean(k): clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    return value


def json_text(value: Any, **options: Any) -> str:
    """Write JSON without secrets; what does not print is escaped, all other letters stay."""
    text = json.dumps(clean(value), ensure_ascii=False, default=_described, **options)
    return _with_escapes(text, lambda c: json.dumps(c)[1:-1], keep="\n")


def _described(value: Any) -> str:
    """Return the text of what JSON does not know."""
    return without_secrets(str(value))


def toml_text(text: str) -> str:
    """Write a text as a string of TOML."""
    basic = json.dumps(text, ensure_ascii=False)
    return _with_escapes(
        basic, lambda c: f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
    )


def markdown_text(text: Any) -> str:
    """Write a text as it is into Markdown, also into a cell of a table."""
    return re.sub(r"([\\`*\[\]<>|#]|(?<!\w)_|_(?!\w))", r"\\\1", visible(text))


def traceback_text(error: BaseException) -> str:
    """Write the traceback of an error as it may be printed or stored."""
    return visible("".join(traceback.format_exception(error)), keep="\n")


def guard_logs() -> None:
    """Let this process print logs and warnings of all libraries as they may be shown."""
    before, formatted = logging.getLogRecordFactory(), warnings.formatwarning
    if getattr(before, "guards", False):
        return

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        """Return a record whose message is complete and clean."""
        record = before(*args, **kwargs)
        try:
            record.msg, record.args = visible(record.getMessage(), keep="\n\t"), ()
        except Exception:  # noqa: BLE001  (as logging itself takes a message that cannot be made)
            return record
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = traceback_text(record.exc_info[1]).rstrip("\n")
        return record

    def form(*args: Any, **kwargs: Any) -> str:
        """Return the text of a warning, clean."""
        return visible(formatted(*args, **kwargs), keep="\n")

    make.guards = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make)
    warnings.formatwarning = form
