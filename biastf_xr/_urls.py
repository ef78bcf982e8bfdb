"""What is a URL and what a path: the one place that looks."""

from __future__ import annotations

from typing import Any


def split_url(path: Any) -> tuple[str, str]:
    """Split a URL into its scheme and the rest; the scheme of a path is empty."""
    scheme, mark, rest = str(path).partition("://")
    return (scheme, rest) if mark else ("", scheme)


def is_url(path: Any) -> bool:
    """Return whether something is a URL."""
    return bool(split_url(path)[0])
