"""Files of products that are not read at all, for messages and the documentation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from biastf_xr.sources import PRODUCTS, product_class
from biastf_xr.sources.base import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

_GEOTIFF = 'Export GeoTIFFs of surface reflectance, and read them with product = "geotiff".'

OTHERS = (
    Refused(
        pattern=re.compile(r"S2[ABC]_MSIL(1C|2A)_\w+(\.SAFE)?(\.zip)?$"),
        example="S2A_MSIL2A_20210401T001111_N0300_R030_T55HCV_20210401T012345.SAFE",
        why=f"is Sentinel-2 as ESA delivers it. Order HLS S30. {_GEOTIFF}",
    ),
    Refused(
        pattern=re.compile(r"M[OY]D(09|02\w+|09CMG)\.A\d{7}\..*\.hdf$", re.IGNORECASE),
        example="MOD09CMG.A2020001.061.2020003040506.hdf",
        why="does not lie on the land grid of tiles such as h29v12. Order MOD09GA.",
    ),
    Refused(
        pattern=re.compile(r".*\.(zip|tar\.gz|tgz|tar\.bz2|7z|gz)$", re.IGNORECASE),
        example="scenes.zip",
        why="is packed in a form that cannot be read in place. Unpack it.",
    ),
    Refused(
        pattern=re.compile(r".*\.(nc4?|grib2?|jp2|img|dat|bsq|bil)$", re.IGNORECASE),
        example="reflectance.nc",
        why=(
            f"is of a format that is read for AppEEARS and benchmark sets only. {_GEOTIFF}"
        ),
    ),
)  # fmt: skip


def what_is(names: Iterable[str], product: str) -> str:
    """Say what the first file is that another product or none reads; empty if none is known."""
    forms = [form for name in PRODUCTS for form in product_class(name).refused]
    for name in names:
        for other in PRODUCTS:
            if other != product and any(p.match(name) for p in product_class(other).patterns):
                return f'{name} is of product = "{other}".'
        for form in (*forms, *OTHERS):
            if match := form.pattern.match(name):
                return f"{name} {form.why.format(**{'id': name, **match.groupdict()})}"
    return ""
