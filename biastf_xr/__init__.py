"""Daily fine-resolution reflectance cubes by spatio-temporal fusion of Landsat and MODIS.

The public names load on first use.  Importing the package registers ``ds.biastf``
(`biastf_xr.accessor`), for which xarray is all that loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import biastf_xr.accessor  # noqa: F401  (registers ds.biastf)
from biastf_xr._exports import lazy_exports
from biastf_xr.version import __version__

if TYPE_CHECKING:
    from biastf_xr.cube._cube import open_cube
    from biastf_xr.cube._ingest import ingest
    from biastf_xr.evaluation._holdout import evaluate
    from biastf_xr.fusion._lazy import fuse
    from biastf_xr.fusion._preview import plan
    from biastf_xr.fusion._run import write_fused
    from biastf_xr.methods import fit, load_method
    from biastf_xr.region import Region

__all__ = [
    "Region",
    "__version__",
    "evaluate",
    "fit",
    "fuse",
    "ingest",
    "load_method",
    "open_cube",
    "plan",
    "write_fused",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "Region": "biastf_xr.region",
        "evaluate": "biastf_xr.evaluation._holdout",
        "fit": "biastf_xr.methods",
        "fuse": "biastf_xr.fusion._lazy",
        "ingest": "biastf_xr.cube._ingest",
        "load_method": "biastf_xr.methods",
        "open_cube": "biastf_xr.cube._cube",
        "plan": "biastf_xr.fusion._preview",
        "write_fused": "biastf_xr.fusion._run",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
