"""Cost of one forward pass of the network on one thread, in several ways, from one run.

All ways take the same weights (filters 64/32/32, kernels 7/5/3/3) over 1024 x 1024 pixels and take
turns; the table gives the median CPU time.  ONNX Runtime and OpenVINO run windows of 256 pixels,
where `onnx` with `onnxruntime` or `openvino` is installed; this package needs none of them.

    python benchmarks/bench_network.py
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402  (after the threads are set)
import torch  # noqa: E402
from torch import nn  # noqa: E402

from biastf_xr.methods._learning.inference import CpuPlace, ReadyNetwork, apply_network  # noqa: E402
from biastf_xr.methods.biastf import NetworkShape  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from biastf_xr.methods.base import Float

WINDOW, MARGIN = 256, 10
RADIUS = NetworkShape().radius
PLAIN = "torch, plain layers, whole image"


def trained() -> nn.Sequential:
    """Build a network whose every weight counts."""
    network = NetworkShape().layers().build().eval()
    last = network[-1]
    if isinstance(last, nn.Conv2d):
        with torch.no_grad():
            last.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    return network


def as_onnx(network: nn.Sequential) -> bytes:
    """Write the network as an ONNX model for windows of one size."""
    onnx: Any = importlib.import_module("onnx")
    importlib.import_module("onnx.helper")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT

    nodes, weights, name = [], [], "x"
    for i, layer in enumerate(network):
        inputs = [name]
        for key, value in layer.named_parameters():
            inputs.append(f"{key}{i}")
            weights.append(
                onnx.numpy_helper.from_array(value.detach().contiguous().numpy(), inputs[-1])
            )
        name = "y" if i == len(network) - 1 else f"h{i}"
        nodes.append(helper.make_node("Conv" if len(inputs) > 1 else "Relu", inputs, [name]))
    ends = [
        helper.make_tensor_value_info(n, kind, [1, 1, side, side])
        for n, side in (("x", WINDOW + 2 * RADIUS), ("y", WINDOW))
    ]
    graph = helper.make_graph(nodes, "biastf", ends[:1], ends[1:], weights)
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


def in_windows(run: Callable[[Float], Any], image: Float) -> Float:
    """Run one window after the other."""
    size = image.shape[0] - 2 * MARGIN
    out = np.empty((size, size), np.float32)
    inner = image[MARGIN - RADIUS :, MARGIN - RADIUS :]
    side = WINDOW + 2 * RADIUS
    for y in range(0, size, WINDOW):
        for x in range(0, size, WINDOW):
            window = np.ascontiguousarray(inner[y : y + side, x : x + side])[None, None]
            out[y : y + WINDOW, x : x + WINDOW] = run(window)
    return out


def onnx_runtime(model: bytes, image: Float) -> Callable[[], Float]:
    """Set ONNX Runtime up on one thread."""
    onnxruntime: Any = importlib.import_module("onnxruntime")

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: in_windows(lambda x: session.run(None, {"x": x})[0], image)


def openvino(model: bytes, image: Float, kind: str) -> Callable[[], Float]:
    """Set OpenVINO up on one thread."""
    ov: Any = importlib.import_module("openvino")

    core = ov.Core()
    hints = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": kind}
    request = core.compile_model(core.read_model(model), "CPU", hints).create_infer_request()
    return lambda: in_windows(lambda x: request.infer({"x": x})[0], image)


def ours(network: nn.Sequential, image: Float, precision: Any) -> Callable[[], Float]:
    """Set up what the fusion runs."""
    ready = ReadyNetwork(network, CpuPlace(precision))
    return lambda: apply_network(ready, image[None], origin=(0, 0), margin=MARGIN)[0]


def plain(network: nn.Sequential, image: Float) -> Callable[[], Float]:
    """Set up the layers over the whole image at once, in torch's own order of dimensions."""
    layers = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    trim = slice(MARGIN - RADIUS, RADIUS - MARGIN)
    window = torch.from_numpy(image[trim, trim].copy())[None, None]

    def run() -> Float:
        with torch.inference_mode():
            made: Float = layers(window)[0, 0].numpy()
        return made

    return run


def has_bf16() -> bool:
    """Return whether the processor multiplies bfloat16."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    return "avx512_bf16" in text or "amx_bf16" in text


def ways(image: Float) -> tuple[dict[str, Callable[[], Float]], list[str]]:
    """Set up every way that can run here, and say why others cannot."""
    found, absent = {PLAIN: plain(trained(), image)}, []
    found["biastf_xr, fp32"] = ours(trained(), image, "fp32")
    kinds = {"f32": "fp32"}
    if has_bf16():
        found["biastf_xr, bf16"] = ours(trained(), image, "bf16")
        kinds["bf16"] = "bf16"
    else:
        absent.append("bf16: this processor has neither avx512_bf16 nor amx_bf16")
    there = {
        n: importlib.util.find_spec(n) is not None for n in ("onnx", "onnxruntime", "openvino")
    }
    absent += [f"{n} is not installed" for n, here in there.items() if not here]
    model = as_onnx(trained()) if there["onnx"] else b""
    if model and there["onnxruntime"]:
        found["ONNX Runtime, fp32"] = onnx_runtime(model, image)
    if model and there["openvino"]:
        found |= {f"OpenVINO, {v}": openvino(model, image, k) for k, v in kinds.items()}
    return found, absent


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=1024, help=f"a multiple of {WINDOW}")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    size = options.size
    side = size + 2 * MARGIN
    image: Float = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    runs, absent = ways(image)
    truth = runs[PLAIN]()
    errors = {n: float(np.abs(run() - truth).max() / truth.std()) for n, run in runs.items()}
    times: dict[str, list[float]] = {n: [] for n in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            times[name].append((time.process_time() - start) / (size**2 / 1e6))
    medians = {n: statistics.median(t) for n, t in times.items()}
    print(f"torch {torch.__version__}, one thread, {options.rounds} rounds of {size} x {size} px")
    print(f"{'':34}{'CPU s/Mpx':>11}{'lowest':>9}{'ratio':>8}{'largest difference':>20}")
    for name, median in medians.items():
        ratio = medians[PLAIN] / median
        print(f"{name:34}{median:11.3f}{min(times[name]):9.3f}{ratio:8.2f}{errors[name]:20.1e}")
    print("ratio: plain layers over this; difference: over the standard deviation of the result")
    for line in absent:
        print(line)


if __name__ == "__main__":
    main()
