"""What a fused cube looks like, lazy or stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from biastf_xr.cube._spec import CubeSpec, Layout
from biastf_xr.cube._template import build_template, history_line

if TYPE_CHECKING:
    import xarray as xr

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.fusion._plan import FusionPlan
    from biastf_xr.methods.base import Method


def fused_spec(pair: CubePair, method: Method, shard: int) -> CubeSpec:
    """Describe the cube that a fusion makes."""
    shape = pair.alignment.shape
    described = method.describe()
    before = str(pair.fine.attrs.get("history", "")).splitlines()
    attrs = {
        "source": f"{pair.fine.attrs.get('source', 'fine cube')}, "
        f"{pair.coarse.attrs.get('source', 'coarse cube')}",
        "history": "\n".join([*before, history_line(f"planned with {described['method']}")]),
        "biastf_method": json.dumps(described, sort_keys=True),
    }
    layout = Layout.build("fused", shape, shard=shard)
    uncertain = method.uncertain
    return CubeSpec("fused", pair.bands, pair.geobox, layout, attrs, uncertain=uncertain)


def fused_template(spec: CubeSpec, plan: FusionPlan) -> xr.Dataset:
    """Build the lazy, empty Dataset of a fused cube."""
    import xarray as xr

    before, after = plan.base_dates()
    coords = {
        "before": xr.Variable("time", before, {"long_name": "nearest base date before"}),
        "after": xr.Variable("time", after, {"long_name": "nearest base date after"}),
    }
    return build_template(spec, plan.targets, coords)
