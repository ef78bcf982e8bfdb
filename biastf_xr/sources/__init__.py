"""Satellite products: one module each, found in folders and opened lazily in native units."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from biastf_xr._registry import with_installed
from biastf_xr.errors import ConfigError
from biastf_xr.sources._rasters import Readable

if TYPE_CHECKING:
    from biastf_xr.sources.base import Product

# Class of every product; it is imported when it is first asked for.  Packages add theirs by entry
# points.
PRODUCTS = with_installed(
    "products",
    {
        "landsat-c2-l2": "biastf_xr.sources.landsat_c2:LandsatC2",
        "dea-ard": "biastf_xr.sources.dea_ard:DeaArd",
        "hls": "biastf_xr.sources.hls:Hls",
        "mod09ga": "biastf_xr.sources.mod09ga:Mod09ga",
        "mod09a1": "biastf_xr.sources.mod09a1:Mod09a1",
        "mod09gq": "biastf_xr.sources.mod09gq:Mod09gq",
        "mcd43a4": "biastf_xr.sources.mcd43a4:Mcd43a4",
        "vnp09ga": "biastf_xr.sources.vnp09ga:Vnp09ga",
        "vnp43": "biastf_xr.sources.vnp43:Vnp43",
        "geotiff": "biastf_xr.sources.geotiff:GeotiffFolder",
        "stac": "biastf_xr.sources.stac:Stac",
        "benchmark": "biastf_xr.paper.benchmark_sets:Benchmark",
    },
)


def product_class(name: str) -> type[Product]:
    """Return the class of a product, which declares what its files are.

    Parameters
    ----------
    name : str
        One of `PRODUCTS`.

    Returns
    -------
    type of Product
        The class.

    Raises
    ------
    ConfigError
        If there is no such product.
    """
    if name not in PRODUCTS:
        raise ConfigError(f"unknown product {name!r}; expected one of {sorted(PRODUCTS)}.")
    found: type[Product] = resolve_name(PRODUCTS[name])
    return found


def build_product(name: str, **options: Any) -> Product:
    """Build a product by name.

    Parameters
    ----------
    name : str
        One of `PRODUCTS`.
    **options
        Options of the product; the configuration reference describes them.

    Returns
    -------
    Product
        The product.

    Raises
    ------
    ConfigError
        If there is no such product, or an option is unusable.
    """
    product = product_class(name)
    try:
        found = product(**options)
    except TypeError as error:
        raise ConfigError(f"product {name!r}: {error}.") from error
    Readable().with_more(found.allow)  # which refuses what is no format and no scheme
    return found
