"""What the two big archives ask for before they hand out files, by their own clients."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from biastf_xr._urls import is_url
from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Login = Literal["none", "planetary-computer", "earthdata"]

# Where the API of each is.
HOSTS: Mapping[Login, str] = {
    "planetary-computer": "planetarycomputer.microsoft.com",
    "earthdata": "cmr.earthdata.nasa.gov",
}

# Ends of the hosts that hand out files to who has a token of NASA Earthdata: no other sees it.
TOKEN_HOSTS = (".nasa.gov", "e4ftl01.cr.usgs.gov")


def need(name: str, extra: str) -> Any:
    """Import a package that an extra brings."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f'{name.replace("_", "-")} is not installed: pip install "biastf-xr[{extra}]".'
        ) from error


def sign(files: Mapping[str, Path | str]) -> dict[str, Path | str]:
    """Sign the URLs of Planetary Computer; a signature lasts for less than an hour."""
    signed = need("planetary_computer", "planetary-computer").sign
    return {layer: signed(f) if is_url(f) else f for layer, f in files.items()}


@cache
def earthdata() -> dict[str, str]:
    """Return the options of GDAL that read NASA's files, with the token of this machine's login."""
    client = need("earthaccess", "earthdata")
    tried = []
    for strategy in ("environment", "netrc"):
        try:
            client.login(strategy=strategy)
            token = client.get_edl_token()["access_token"]
        except Exception as error:  # noqa: BLE001  (those of the client, and of its HTTP library)
            tried.append(f"{strategy}: {error}")
        else:
            return {"GDAL_HTTP_HEADERS": f"Authorization: Bearer {token}"}
    raise ConfigError(
        f'login = "earthdata" finds no login for NASA Earthdata ({"; ".join(tried)}). Run '
        "earthaccess.login(persist=True) once in Python, which writes .netrc, or set the variable "
        "EARTHDATA_TOKEN."
    )
