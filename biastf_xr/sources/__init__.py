"""Satellite products: one file each, found in folders and opened lazily in native units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from biastf_xr.sources.base import Product


def build_product(name: str, **options: Any) -> Product:
    """Build a product by name.

    `name`: "landsat-c2-l2", "hls", "mod09ga", "mcd43a4", "vnp09ga", "vnp43", "geotiff",
    "benchmark" or "stac".
    """
    from biastf_xr.sources.benchmark_sets import Benchmark
    from biastf_xr.sources.geotiff import GeotiffFolder
    from biastf_xr.sources.hls import Hls
    from biastf_xr.sources.landsat_c2 import LandsatC2
    from biastf_xr.sources.mcd43a4 import Mcd43a4
    from biastf_xr.sources.mod09ga import Mod09ga
    from biastf_xr.sources.stac import Stac
    from biastf_xr.sources.vnp09ga import Vnp09ga
    from biastf_xr.sources.vnp43 import Vnp43

    known: tuple[type[Product], ...] = (
        LandsatC2,
        Hls,
        Mod09ga,
        Mcd43a4,
        Vnp09ga,
        Vnp43,
        GeotiffFolder,
        Benchmark,
        Stac,
    )
    products = {c.name: c for c in known}
    if name not in products:
        raise ConfigError(f"unknown product {name!r}; expected one of {sorted(products)}.")
    try:
        return products[name](**options)
    except TypeError as error:
        raise ConfigError(f"product {name!r}: {error}.") from error
