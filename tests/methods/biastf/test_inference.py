"""Running fitted networks: exact in every window, in every precision, on every device."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from checks import facts
from hypothesis import given, settings
from hypothesis import strategies as st

import biastf_xr
from biastf_xr.errors import MethodError
from biastf_xr.methods._learning import inference
from biastf_xr.methods._learning.inference import (
    CpuPlace,
    GpuPlace,
    ReadyNetwork,
    Size,
    apply_network,
    place_on,
    run_in_batches,
    start_size,
)
from biastf_xr.methods.biastf import NetworkShape, SampleRule, TrainRule

CPU = torch.device("cpu")
# By name: the default; one too small for blocks of rows; one whose last block is cut; none at all.
SHAPES = {
    "paper": NetworkShape(),
    "small": NetworkShape(filters=(4, 3, 2)),
    "wide": NetworkShape(filters=(32, 16, 8), kernels=(3, 5, 3, 1), bias=False),
    "flat": NetworkShape(filters=(32, 16, 16), kernels=(5, 3, 3, 5)),
}


def random_network(name):
    network = SHAPES[name].layers().build(1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        network[-1].weight.normal_(0, 0.3, generator=generator)
        for layer in network[::2]:
            if layer.bias is not None:
                layer.bias.normal_(0, 0.1, generator=generator)
    return network


def images(rows, cols, count=1, seed=0):
    return np.random.default_rng(seed).normal(size=(count, rows, cols)).astype("f4")


def layers_of(network, source):
    """Run the layers as torch has them, in double precision."""
    with torch.inference_mode():
        double = copy.deepcopy(network).double()
        return double(torch.from_numpy(source).double()[:, None])[:, 0].numpy()


WHOLE = (300, 330)  # of the output; more than one micro-tile, and no multiple of anything


@pytest.fixture(scope="module")
def wholes():
    """Return every network with its output over a whole image, made once."""
    made = {}

    def give(name, precision):
        if (name, precision) not in made:
            network = ReadyNetwork(random_network(name), CpuPlace(precision))
            m = network.reach
            source = images(WHOLE[0] + 2 * m, WHOLE[1] + 2 * m, seed=5)
            whole = apply_network(network, source, origin=(0, 0), margin=m)
            made[name, precision] = network, source, whole
        return made[name, precision]

    return give


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", list(SHAPES))
@settings(max_examples=12, deadline=None)
@given(
    corner=st.tuples(st.integers(0, WHOLE[0] - 1), st.integers(0, WHOLE[1] - 1)),
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    threads=st.integers(1, 2),
    count=st.integers(1, 2),
)
def test_any_window_gives_the_same_bytes(wholes, name, precision, corner, size, threads, count):
    network, source, whole = wholes(name, precision)
    (y, x), m = corner, network.reach
    part = source[:, y : y + size[0] + 2 * m, x : x + size[1] + 2 * m]
    others = np.random.default_rng(1).normal(size=(count, *part.shape[1:])).astype("f4")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        both = apply_network(network, np.concatenate([others, part]), origin=corner, margin=m)
    finally:
        torch.set_num_threads(before)
    found = both[-1:]
    assert np.array_equal(found, whole[:, y : y + size[0], x : x + size[1]])


@pytest.mark.parametrize("name", list(SHAPES))
def test_the_fast_forms_are_the_layers(name):
    network = random_network(name)
    ready = ReadyNetwork(network, CpuPlace("fp32"))
    source = images(150 + 2 * ready.reach, 90 + 2 * ready.reach)
    found = apply_network(ready, source, origin=(17, 40), margin=ready.reach)
    trim = ready.reach - ready.radius
    expected = layers_of(network, source)[:, trim : 150 + trim, trim : 90 + trim]
    np.testing.assert_allclose(found, expected, atol=4e-6 * np.abs(expected).max())


def test_the_paper_s_network_takes_blocks_of_rows_and_a_small_one_does_not():
    reaches = {n: ReadyNetwork(random_network(n), CpuPlace("fp32")).reach for n in SHAPES}
    assert reaches == {"paper": 10, "small": 7, "wide": 7, "flat": 6}
    assert ReadyNetwork(random_network("paper"), CpuPlace("bf16")).reach == 10


def test_a_margin_of_the_radius_is_right_to_rounding():
    network = random_network("paper")
    ready = ReadyNetwork(network, CpuPlace("fp32"))
    source = images(41, 57)
    found = apply_network(ready, source, origin=(3, 5), margin=7)
    np.testing.assert_allclose(found, layers_of(network, source), atol=5e-5)
    with pytest.raises(MethodError, match=facts("6 pixels", "7")):
        apply_network(ready, source, origin=(0, 0), margin=6)


def test_an_untrained_network_predicts_no_bias():
    ready = ReadyNetwork(SHAPES["paper"].layers().build(), CpuPlace("fp32"))
    out = apply_network(ready, images(40, 40, count=2), origin=(0, 0), margin=7)
    assert out.shape == (2, 26, 26)
    assert not out.any()


def test_a_pixel_sees_exactly_its_receptive_radius():
    network = ReadyNetwork(random_network("small"), CpuPlace("fp32"))
    base = images(31, 31)
    centre = apply_network(network, base, origin=(0, 0), margin=7)[0, 8, 8]
    for offset, sees in ((7, True), (8, False)):
        for dy, dx in ((offset, 0), (-offset, 0), (0, offset), (0, -offset), (offset, offset)):
            moved = base.copy()
            moved[0, 15 + dy, 15 + dx] += 5
            changed = apply_network(network, moved, origin=(0, 0), margin=7)[0, 8, 8] != centre
            # A single corner may meet a closed ReLU; the four sides may not.
            if not (sees and dy and dx):
                assert changed == sees, (dy, dx)


# Precision.


@pytest.fixture(scope="module")
def region_model(small_cubes, tmp_path_factory):
    fine, coarse = (biastf_xr.open_cube(p) for p in small_cubes)
    return biastf_xr.fit(
        fine,
        coarse,
        "biastf",
        path=tmp_path_factory.mktemp("fit") / "model.safetensors",
        samples=SampleRule(patch=16, count=40),
        train=TrainRule(epochs=4, learning_rate=2e-3),
    )


def test_half_precision_changes_reflectance_little(small_cubes, region_model):
    fine, coarse = (biastf_xr.open_cube(p) for p in small_cubes)
    half = biastf_xr.load_method(region_model.checkpoint, precision="bf16")
    day = str(fine.time.values[0] + np.timedelta64(6, "D"))[:10]
    a, b, plain = (
        biastf_xr.fuse(fine, coarse, m, dates=[day]).load() for m in (region_model, half, "direct")
    )
    differences = [float(np.nanmax(np.abs(a[band] - b[band]))) for band in region_model.card.bands]
    learned = [float(np.nanmax(np.abs(a[band] - plain[band]))) for band in region_model.card.bands]
    assert 0 < max(differences) <= 5e-4
    assert max(learned) > 10 * max(differences)
    for band in region_model.card.bands:
        assert b[band].dtype == np.float32
        np.testing.assert_array_equal(np.isnan(a[band]), np.isnan(b[band]))


def test_precision_is_stated_and_checked(random_model):
    assert random_model().describe()["precision"] == "fp32"
    assert random_model(precision="bf16").describe()["precision"] == "bf16"
    assert random_model(precision="fp16", device="cuda").precision == "fp16"
    with pytest.raises(MethodError, match=facts("'fp16'", "'cpu'", "'cuda'")):
        random_model(precision="fp16")
    with pytest.raises(MethodError, match=facts("'int8'", "['fp32', 'bf16', 'fp16']")):
        random_model(precision="int8")


# Devices.

CLIENT = """
import dataclasses, pickle, sys
import torch

def refuse(*args, **kwargs):
    raise AssertionError("the client touched CUDA")

for name, value in list(vars(torch.cuda).items()):
    if callable(value) and not isinstance(value, type) and not name.startswith("__"):
        setattr(torch.cuda, name, refuse)
torch._C._cuda_init = torch._C._cuda_getDeviceCount = refuse
import biastf_xr
from biastf_xr.methods._learning import inference
method = biastf_xr.load_method(sys.argv[1], device="cuda", precision="fp16")
assert method.describe()["precision"] == "fp16"
again = pickle.loads(pickle.dumps(dataclasses.replace(method, device="cuda:1")))
assert again.device == "cuda:1" and again.halo == method.halo
print("fine")
"""


def test_the_client_never_touches_cuda(random_model):
    path = str(random_model().checkpoint)
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "fine\n"


@pytest.mark.parametrize(("seen", "device"), [(0, "cuda"), (0, "cuda:1"), (1, "cuda:1")])
def test_a_device_that_the_worker_lacks_is_named(
    monkeypatch, make_pair, random_model, seen, device
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    method = random_model(device=device)
    lazy = biastf_xr.fuse(*make_pair(), method, dates=["2021-04-05"])
    with pytest.raises(MethodError, match=facts(f"'{device}'", f"{seen} CUDA", "device='cpu'")):
        lazy.load(scheduler="synchronous")


def test_devices_have_names(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert place_on("cuda:1", "fp16").device == torch.device("cuda", 1)
    assert place_on("cpu", "fp32").size == Size(256, 1)
    for name in ("gpu", "cuda:", "cuda:x", "cpu:0"):
        with pytest.raises(MethodError, match=facts(f"'{name}'", "'cpu'", "'cuda'", "'cuda:N'")):
            place_on(name, "fp32")


# Batches.


class Tight(GpuPlace):
    """A device with room for so many pixels at once, which may think it has more."""

    def __init__(self, room, claimed, precision="fp32"):
        super().__init__(CPU, precision)
        self.room, self.claimed, self.ran, self.refused = room, claimed, [], 0

    def free_bytes(self):
        return self.claimed

    def run(self, network, batch):
        if batch[:, 0].numel() > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError("out of memory")
        self.ran.append(tuple(batch.shape))
        return super().run(network, batch)


SOURCE = images(530, 600, count=5, seed=3)
ORIGIN = (200, 130)


@pytest.fixture(scope="module")
def small_network():
    return random_network("small")


@pytest.mark.parametrize(
    ("room", "size"),
    [
        (10**9, Size(1024, 500)),
        (2 * 600 * 660, Size(1024, 2)),
        (600 * 660, Size(1024, 1)),
        (526 * 526, Size(512, 1)),
        (270 * 270, Size(256, 1)),
    ],
)
def test_less_memory_than_thought_gives_the_same_result(monkeypatch, small_network, room, size):
    monkeypatch.setattr(inference, "start_size", lambda _: Size(1024, 500))
    place = Tight(room, 0)
    network = ReadyNetwork(small_network, place)
    made = run_in_batches(network, torch.from_numpy(SOURCE), ORIGIN, 7).numpy()
    np.testing.assert_allclose(made, layers_of(small_network, SOURCE), atol=2e-5)
    assert place.size == size
    assert all(n * h * w <= room for n, _, h, w in place.ran)
    refused = place.refused
    run_in_batches(network, torch.from_numpy(SOURCE), ORIGIN, 7)
    assert place.refused == refused


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_s_batches_agree_with_the_cpu_s_windows(small_network, precision):
    place = Tight(3 * 300 * 300, 0, precision)
    place.size = Size(512, 4)
    made = apply_network(ReadyNetwork(small_network, place), SOURCE, origin=ORIGIN, margin=7)
    expected = apply_network(
        ReadyNetwork(small_network, CpuPlace(precision)), SOURCE, origin=ORIGIN, margin=7
    )
    assert made.dtype == np.float32
    atol = 2e-5 if precision == "fp32" else 0.03 * np.abs(expected).max()
    np.testing.assert_allclose(made, expected, atol=atol)


def test_no_memory_for_the_smallest_window_is_an_error(small_network):
    network = ReadyNetwork(small_network, Tight(100, 0))
    with pytest.raises(MethodError, match=facts("256 pixels", "'cpu'")):
        run_in_batches(network, torch.from_numpy(SOURCE), ORIGIN, 7)


def test_another_error_of_the_device_is_not_hidden(monkeypatch, small_network):
    place = Tight(10**9, 0)
    monkeypatch.setattr(place, "run", lambda *_: (_ for _ in ()).throw(RuntimeError("broken")))
    with pytest.raises(RuntimeError, match="broken"):
        run_in_batches(ReadyNetwork(small_network, place), torch.from_numpy(SOURCE), ORIGIN, 7)


def test_the_first_batch_follows_from_the_free_memory():
    network = random_network("paper")
    sizes = [
        start_size(ReadyNetwork(network, Tight(0, free, precision)))
        for free, precision in (
            (80 * 2**30, "bf16"),
            (80 * 2**30, "fp32"),
            (2**28, "fp32"),
            (1, "fp32"),
        )
    ]
    assert ReadyNetwork(network, CpuPlace("fp32")).pixel_bytes == 2 * 96 * 4
    assert [s.window for s in sizes] == [1024, 1024, 512, 256]
    assert sizes[0].batch == sizes[1].batch * 2
    assert [s.batch for s in sizes[2:]] == [1, 1]


def test_a_gpu_runs_deterministically_without_tf32(monkeypatch, small_network):
    place = GpuPlace(CPU, "fp32")
    network = ReadyNetwork(small_network, place)
    seen = {}

    def forward(x):
        flags = torch.backends.cudnn
        seen.update(deterministic=flags.deterministic, benchmark=flags.benchmark)
        seen.update(tf32=flags.allow_tf32)
        return x

    monkeypatch.setattr(network, "forward", forward)
    place.run(network, torch.zeros(1, 1, 8, 8))
    assert seen == {"deterministic": True, "benchmark": False, "tf32": False}


def test_a_model_fuses_through_the_gpu_s_code(monkeypatch, make_pair, random_model):
    """The same code as on a GPU, on the processor."""
    from biastf_xr.methods._learning.inference import load_networks

    pair = make_pair()
    method = random_model()
    expected = biastf_xr.fuse(*pair, method, dates=["2021-04-05"]).load()
    monkeypatch.setattr(inference, "place_on", lambda *_: Tight(10**9, 2**20))
    moved = dataclasses.replace(method, device="cuda")
    load_networks.cache_clear()
    found = biastf_xr.fuse(*pair, moved, dates=["2021-04-05"]).load(scheduler="synchronous")
    np.testing.assert_allclose(found["nir"], expected["nir"], atol=1e-6)
    load_networks.cache_clear()
