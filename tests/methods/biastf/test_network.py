"""The network of Table 1 and its receptive field."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biastf_xr.errors import MethodError
from biastf_xr.methods.biastf.network import apply_network, build_network
from biastf_xr.methods.biastf.settings import NetworkShape, TrainRule

SMALL = NetworkShape(filters=(4, 3, 2))


@pytest.fixture(scope="module")
def network():
    net = build_network(SMALL, 1).eval()
    with torch.no_grad():
        net[-1].weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(2))
    return net


def images(rows, cols, count=2, seed=0):
    return np.random.default_rng(seed).normal(size=(count, rows, cols)).astype("f4")


def test_the_network_of_the_paper_has_its_parameters_and_reach():
    shape = NetworkShape()
    count = sum(p.numel() for p in build_network(shape).parameters())
    assert count == 63_969
    assert shape.radius == 7


def test_an_untrained_network_predicts_no_bias():
    out = apply_network(build_network(SMALL), images(40, 40), radius=7, origin=(0, 0))
    assert out.shape == (2, 26, 26)
    assert not out.any()


def test_a_pixel_sees_exactly_its_receptive_radius(network):
    base = images(31, 31, count=1)
    centre = apply_network(network, base, radius=7, origin=(0, 0))[0, 8, 8]
    for offset, sees in ((7, True), (8, False)):
        for dy, dx in ((offset, 0), (-offset, 0), (0, offset), (0, -offset), (offset, offset)):
            moved = base.copy()
            moved[0, 15 + dy, 15 + dx] += 5
            changed = apply_network(network, moved, radius=7, origin=(0, 0))[0, 8, 8] != centre
            # A single corner may meet a closed ReLU; the four sides may not.
            if not (sees and dy and dx):
                assert changed == sees, (dy, dx)


@settings(max_examples=25, deadline=None)
@given(
    tile=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    corner=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    micro=st.integers(5, 64),
    batch=st.integers(1, 3),
)
def test_any_tiling_gives_the_whole_image(network, tile, corner, micro, batch):
    whole = images(84, 84, count=3)
    expected = apply_network(network, whole, radius=7, origin=(0, 0), micro_tile=70)
    (y, x), (h, w) = corner, (min(tile[0], 70 - corner[0]), min(tile[1], 70 - corner[1]))
    part = whole[:, y : y + h + 14, x : x + w + 14]
    found = apply_network(network, part, radius=7, origin=(y, x), micro_tile=micro, batch=batch)
    np.testing.assert_allclose(found, expected[:, y : y + h, x : x + w], atol=2e-6)


def test_one_pixel_less_of_halo_changes_the_edge(network):
    whole = images(50, 50, count=1)
    expected = apply_network(network, whole, radius=7, origin=(0, 0))
    short = np.pad(whole[:, 1:-1, 1:-1], [(0, 0), (1, 1), (1, 1)], mode="edge")
    found = apply_network(network, short, radius=7, origin=(0, 0))
    assert np.abs(found - expected)[:, 0].max() > 1e-4
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=2e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NetworkShape(filters=(4, 4)), "three positive"),
        (lambda: NetworkShape(kernels=(7, 5, 3, 2)), "four odd"),
        (lambda: TrainRule(learning_rate=0), "positive"),
    ],
)
def test_unusable_settings_are_refused(build, message):
    with pytest.raises(MethodError, match=message):
        build()
