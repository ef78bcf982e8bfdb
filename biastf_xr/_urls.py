"""What is a URL and what a path: the one place that looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def split_url(path: Any) -> tuple[str, str]:
    """Split a URL into its scheme and the rest; the scheme of a path is empty."""
    scheme, mark, rest = str(path).partition("://")
    return (scheme, rest) if mark else ("", scheme)


def is_url(path: Any) -> bool:
    """Return whether something is a URL."""
    return bool(split_url(path)[0])


def member(archive: Path, name: str) -> str:
    """Return the path by which GDAL reads a member of a tar archive, in place."""
    return f"/vsitar/{{{archive}}}/{name}"


def archive_of(path: Any) -> Path | None:
    """Return the tar archive that a path is a member of; None for any other."""
    text = str(path)
    if not text.startswith("/vsitar/{"):
        return None
    return Path(text.removeprefix("/vsitar/{").rpartition("}")[0])
