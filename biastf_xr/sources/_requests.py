"""Requests to catalogues and files that stay within the schemes that are allowed."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from biastf_xr._urls import split_url
from biastf_xr.errors import SceneError
from biastf_xr.sources._login import need

if TYPE_CHECKING:
    from collections.abc import Collection

# Seconds until a server must begin to answer.
PATIENCE = 60


def keep_to(session: Any, schemes: Collection[str]) -> Any:
    """Take the adapters of other schemes out of a session: no redirect leads to one of them."""
    for prefix in [*session.adapters]:
        if split_url(prefix)[0] not in schemes:
            del session.adapters[prefix]
    return session


def check_redirects(url: str, schemes: tuple[str, ...]) -> None:
    """Refuse a URL that redirects to another scheme: GDAL, which reads it, would follow."""
    from rasterio.env import getenv, hasenv

    told = getenv().get("GDAL_HTTP_HEADERS", "") if hasenv() else ""
    _follow(url, schemes, told)


@functools.lru_cache(maxsize=4096)
def _follow(url: str, schemes: tuple[str, ...], told: str) -> None:
    requests = need("requests", "stac")
    headers = dict(re.findall(r"([\w-]+): *(.+)", told)) | {"Range": "bytes=0-0"}
    try:
        with keep_to(requests.Session(), schemes) as session:
            session.get(url, headers=headers, stream=True, timeout=PATIENCE).close()
    except requests.RequestException as error:
        raise SceneError(f"{url} {why_refused(error, schemes)}.") from error


def why_refused(error: Exception, schemes: Collection[str]) -> str:
    """Return why a request failed."""
    if led := re.search(r"No connection adapters were found for '([\w+.-]+):", str(error)):
        return f"leads to {led[1]}://; expected {' or '.join(schemes)}"
    return f"cannot be read ({error!r})"
