"""Let a method look at whole scenes, once per pair of base dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.brackets import Bracket
from biastf_xr.methods.base import SceneFree

if TYPE_CHECKING:
    from biastf_xr.cube.guards import CubePair
    from biastf_xr.fusion.plan import FusionPlan
    from biastf_xr.methods.base import Method


def prepare_states(method: Method, pair: CubePair, plan: FusionPlan) -> dict[Any, Any]:
    """Let a method look at the whole scene, once per pair of base dates.

    Parameters
    ----------
    method : Method
        The method.
    pair : CubePair
        The cubes.
    plan : FusionPlan
        The base dates.

    Returns
    -------
    dict
        State by layer; layers that need none are left out.
    """
    if getattr(type(method), "prepare", None) is SceneFree.prepare:
        return {}
    reach, base = plan.reach, plan.base
    brackets = {
        Bracket(
            (),
            tuple(base[reach.first[t] : reach.split[t]][::-1]),
            tuple(base[reach.resume[t] : reach.last[t]]),
        )
        for t in range(np.size(plan.targets))
    }
    layers = {layer for bracket in brackets for layer in bracket.layers}
    states = {layer: method.prepare(pair, layer) for layer in layers}
    return {layer: state for layer, state in states.items() if state is not None}
