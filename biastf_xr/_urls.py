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


def image_in(archive: Path, variable: str, band: int) -> str:
    """Return the path of one band of a variable of a NetCDF file, as `split_image` takes it."""
    return f"netcdf:{archive}:{variable}#{band}"


def split_image(path: Any) -> tuple[str, int]:
    """Split the path of an image in a NetCDF file into what GDAL opens and the band, from 1."""
    text, _, band = str(path).rpartition("#")
    return text, int(band)


def archive_of(path: Any) -> Path | None:
    """Return the tar archive or NetCDF file that a path is part of; None for any other."""
    text = str(path)
    if text.startswith("/vsitar/{"):
        return Path(text.removeprefix("/vsitar/{").rpartition("}")[0])
    if text.startswith("netcdf:"):
        return Path(text.removeprefix("netcdf:").rpartition(":")[0])
    return None
