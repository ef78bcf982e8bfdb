"""Daily fine-resolution reflectance cubes by spatio-temporal fusion of Landsat and MODIS.

The public names load on first use.  Importing the package registers ``ds.biastf``
(`biastf_xr.accessor`), for which xarray is all that loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import biastf_xr.accessor  # noqa: F401  (registers ds.biastf)
from biastf_xr.version import __version__

if TYPE_CHECKING:
    from biastf_xr.cube.ingest import ingest
    from biastf_xr.cube.store import open_cube
    from biastf_xr.evaluation.holdout import evaluate
    from biastf_xr.fusion.lazy import fuse
    from biastf_xr.fusion.preview import plan
    from biastf_xr.fusion.run import write_fused
    from biastf_xr.methods import fit, load_method

__all__ = [
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

_HOMES = {
    "evaluate": "biastf_xr.evaluation.holdout",
    "fit": "biastf_xr.methods",
    "fuse": "biastf_xr.fusion.lazy",
    "ingest": "biastf_xr.cube.ingest",
    "load_method": "biastf_xr.methods",
    "open_cube": "biastf_xr.cube.store",
    "plan": "biastf_xr.fusion.preview",
    "write_fused": "biastf_xr.fusion.run",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'biastf_xr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
