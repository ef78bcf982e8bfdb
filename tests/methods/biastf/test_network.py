"""The network of Table 1 and what may be chosen about it."""

from __future__ import annotations

import pytest

from biastf_xr.errors import MethodError
from biastf_xr.methods.biastf import NetworkShape, TrainRule


def test_the_network_of_the_paper_has_its_parameters_and_reach():
    shape = NetworkShape()
    count = sum(p.numel() for p in shape.layers().build().parameters())
    assert count == 63_969
    assert shape.radius == 7


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NetworkShape(inputs="fine"), "inputs is 'fine'"),
        (lambda: NetworkShape(filters=(4, 4)), "three positive"),
        (lambda: NetworkShape(kernels=(7, 5, 3, 2)), "four odd"),
        (lambda: TrainRule(learning_rate=0), "learning_rate is 0; expected a finite number"),
    ],
)
def test_unusable_settings_are_refused(build, message):
    with pytest.raises(MethodError, match=message):
        build()
