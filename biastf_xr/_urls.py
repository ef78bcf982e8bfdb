"""What is a URL and what a path: the one place that looks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

# Schemes whose "user" is the name of a container, which is no secret.
CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")

# Parameters of a query that grant access for a while: of AWS, Google, CloudFront, others; and
# those of Azure, beside its signature.
GRANTS = re.compile(
    r"x-(amz|goog)-.*|expires|policy|key-pair-id|googleaccessid|.*(api|access)[-_]?key.*|sig"
    r"|.*(signature|token|secret|passw|auth(?!or)|credential).*",
    re.IGNORECASE,
)
AZURE = re.compile(r"s(v|s|rt|p|t|e|r|i|ip|pr|koid|ktid|kt|ke|ks|kv|dd|aoid|uoid|cid|es)")

# Those of URLs that this process has met: libraries say them without the URL.
PASSWORDS: set[str] = set()

# Where the next URL of a chain of fsspec begins, as in zip://inner::https://host/outer.zip.
_NEXT = re.compile(r"::(?=[A-Za-z][\w+.-]{0,30}://)")


def split_url(path: Any) -> tuple[str, str]:
    """Split a URL into its scheme and the rest; the scheme of a path is empty."""
    scheme, mark, rest = str(path).partition("://")
    password = rest.partition("@")[0].partition(":")[2] if "@" in rest.partition("/")[0] else ""
    PASSWORDS.update({password, unquote(password)} - {""})
    return (scheme, rest) if mark else ("", scheme)


def is_url(path: Any) -> bool:
    """Return whether something is a URL."""
    return bool(split_url(path)[0])


def public(url: Any) -> str:
    """Return a URL without what may be a secret: user and password, query and fragment."""
    return "::".join(_parts(part)[0] for part in _NEXT.split(str(url)))


def lasting(url: Any) -> str:
    """Return what a URL names, whoever reads it and when: without user and signature.

    The rest of the query stays, for it may say what is meant.
    """
    named = []
    for where, query in map(_parts, _NEXT.split(str(url))):
        named.append("?".join(filter(None, [where, _lasting(query)])))
    return "::".join(named)


def _lasting(query: str) -> str:
    pairs = [(unquote(pair.partition("=")[0]), pair) for pair in query.split("&") if pair]
    azure = "sig" in dict(pairs)
    return "&".join(
        pair
        for name, pair in pairs
        if not (GRANTS.fullmatch(name) or (azure and AZURE.fullmatch(name)))
    )


def _parts(url: str) -> tuple[str, str]:
    """Split a URL into what may be shown and its query; a path is shown as it is."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url, ""
    rest, _, query = rest.partition("#")[0].partition("?")
    shown = [scheme]
    for part in rest.split("://"):  # more than one as through a proxy
        host, slash, path = part.partition("/")
        user, at, host = host.rpartition("@")
        port = host.rpartition("]")[2].partition(":")[2]
        if port and not port.isdigit():
            host, path = "***", ""  # a password that holds a slash, which ends the host
        elif at and ":" not in user and shown[-1].rpartition("+")[2].lower() in CONTAINERS:
            host = f"{user}@{host}"
        shown.append(f"{host}{slash}{path}")
    return "://".join(shown), query


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
