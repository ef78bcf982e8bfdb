"""Run fitted networks over images: window by window on a CPU, in large batches on a GPU.

On a CPU the result of a pixel has the same bytes in whatever window it is asked for.  A GPU gives
the same bytes for the same windows and batches.
"""

from __future__ import annotations

import copy
import itertools
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from biastf_xr.errors import MethodError
from biastf_xr.methods._learning.card import BLOCK, channels_last, read_weights, takes_blocks
from biastf_xr.methods._learning.layers import FastRows, Taps, convolve
from biastf_xr.methods._learning.loop import DTYPES

if TYPE_CHECKING:
    from biastf_xr.methods._learning.card import Precision
    from biastf_xr.methods.base import Float

# Windows start at whole multiples of their size on the whole grid and are widened to whole
# multiples of STEP: blocks of rows start at the same places, and convolution libraries order their
# sums alike only in windows that are not too small.
MICRO_TILE = 256
STEP = 32

# A GPU starts with windows of this size if its memory allows, and takes this share of what is free.
LARGEST_WINDOW = 1024
SHARE_OF_FREE = 0.8


class Size(NamedTuple):
    """How much runs at once: windows of so many pixels a side, of so many images."""

    window: int
    batch: int


@dataclass
class CpuPlace:
    """The processor: one window of one image at a time, which stays in its cache.

    `size`: What runs at once.
    """

    precision: Precision
    device: torch.device = torch.device("cpu")
    size: Size | None = Size(MICRO_TILE, 1)

    def free_bytes(self) -> int:
        """Return nothing, which is never asked for: the size is known."""
        return 0

    def run(self, network: ReadyNetwork, batch: torch.Tensor) -> torch.Tensor:
        """Run the layers in their fastest forms on a batch ``(N, C, H, W)``, float32."""
        window = batch.to(DTYPES[self.precision]).contiguous(memory_format=torch.channels_last)
        return network.on_cpu(window)


@dataclass
class GpuPlace:
    """A GPU: large windows of many images at a time, by deterministic algorithms, without TF32.

    `size`: What ran at once in this process; None before the first run.
    """

    device: torch.device
    precision: Precision
    size: Size | None = None

    def free_bytes(self) -> int:
        """Return the free memory of the GPU, whoever holds the rest."""
        return int(torch.cuda.mem_get_info(self.device)[0])

    def run(self, network: ReadyNetwork, batch: torch.Tensor) -> torch.Tensor:
        """Run the layers as they are on a batch ``(N, C, H, W)``, float32, on the device."""
        flags = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        windows = batch.to(DTYPES[self.precision]).contiguous(memory_format=torch.channels_last)
        with flags:
            out: torch.Tensor = network(windows).float()
        return out


Place: TypeAlias = CpuPlace | GpuPlace


def place_on(device: str, precision: Precision) -> Place:
    """Find a device on this worker.

    `device`: "cpu", "cuda", or "cuda:1" and so on.
    """
    if device == "cpu":
        return CpuPlace(precision)
    named = re.fullmatch(r"cuda(?::(\d+))?", device)
    if not named:
        raise MethodError(f"device is {device!r}; expected 'cpu', 'cuda' or 'cuda:N'.")
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(named[1] or 0) >= seen:
        raise MethodError(
            f"device {device!r} is not on this worker: torch {torch.__version__} sees {seen} CUDA "
            "devices here. Run on workers that have it (a CUDA build of torch, a driver, "
            "CUDA_VISIBLE_DEVICES), or load the method with device='cpu'."
        )
    return GpuPlace(torch.device(device), precision)


class ReadyNetwork(nn.Module):
    """A fitted network laid out for prediction in one place.

    `radius`: Receptive radius: how far an output pixel's input reaches.
    `reach`: Margin of input with which the result of a pixel does not depend on the window, to
    the last bit.
    `outputs`: Images that it gives.
    `extra`: Rows of input that a window needs below, beyond the radius, to fill its last block.
    """

    def __init__(self, network: nn.Sequential, place: Place) -> None:
        super().__init__()
        self.place = place
        fitted = channels_last(copy.deepcopy(network)).to(place.device, DTYPES[place.precision])
        self.convolutions = nn.ModuleList(m for m in fitted if isinstance(m, nn.Conv2d))
        self.requires_grad_(requires_grad=False)
        first, second, *_, last = self._layers()
        filters = [layer.out_channels for layer in self._layers()]
        kernels = [layer.kernel_size[0] for layer in self._layers()]
        self.radius = sum(k // 2 for k in kernels)
        self.outputs = last.out_channels
        self.tail = Taps(last) if last.out_channels == 1 else None
        blocks = place.device.type == "cpu" and takes_blocks(filters, kernels)
        self.rows = FastRows(first, second) if blocks else None
        self.extra = -sum(k - 1 for k in kernels[2:]) % BLOCK if self.rows else 0
        self.reach = self.radius + (BLOCK - 1 if self.rows else 0)

    def _layers(self) -> list[nn.Conv2d]:
        return [layer for layer in self.convolutions if isinstance(layer, nn.Conv2d)]

    @property
    def pixel_bytes(self) -> int:
        """Return an estimate of the memory that a pixel takes on a GPU.

        The images of two neighbouring layers exist at once, and the convolution works on a copy
        of the same size.
        """
        channels = max(layer.in_channels + layer.out_channels for layer in self._layers())
        return 2 * channels * DTYPES[self.place.precision].itemsize

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the layers as they are.

        `x`: Shape ``(N, C, H, W)``, in the network's precision.
        """
        *inner, last = self._layers()
        for layer in inner:
            x = layer(x).relu_()
        out: torch.Tensor = last(x)
        return out

    def on_cpu(self, x: torch.Tensor) -> torch.Tensor:
        """Run the layers in the forms that are fastest on a CPU.

        `x`: Shape ``(1, C, H, W)``, in the network's precision.
        Returned: Float32, shape ``(1, D, H - 2 * radius, W - 2 * radius)``.
        """
        *inner, last = self._layers()
        if self.rows:
            x, inner = self.rows(x), inner[2:]
        for layer in inner:
            x = convolve(x, layer.weight, layer.bias).relu_()
        return self.tail(x) if self.tail else convolve(x, last.weight, last.bias).float()


def apply_network(
    network: ReadyNetwork, images: Float, *, origin: tuple[int, int], margin: int
) -> Float:
    """Run a network over images.

    `images`: Shape ``(N, Y, X)`` or ``(N, C, Y, X)`` with `margin`, no NaN.
    `origin`: Row and column, on the whole grid, of the first output pixel.
    `margin`: Pixels of margin on every side, at least the network's radius. From
    ``network.reach`` on, the result of a pixel on a CPU has the same bytes whatever window it
    is asked for in; below, it agrees to rounding.
    """
    if margin < network.radius:
        raise MethodError(
            f"images have {margin} pixels of margin; the network reaches {network.radius}. "
            "Cut them with a larger margin."
        )
    device = network.place.device
    pinned = device.type == "cuda"
    with torch.inference_mode():
        source = torch.from_numpy(np.ascontiguousarray(images))
        if pinned:
            staged = torch.empty(source.shape, pin_memory=True).copy_(source)
            source = staged.to(device, non_blocking=True)
        out = run_in_batches(network, source, origin, margin)
        if pinned:
            out = torch.empty(out.shape, pin_memory=True).copy_(out)
    made: Float = out.numpy()
    return made


def run_in_batches(
    network: ReadyNetwork, images: torch.Tensor, origin: tuple[int, int], margin: int
) -> torch.Tensor:
    """Run a network over images on its device, in windows and batches that fit its memory.

    Where memory runs out, the batch and then the window is halved; what ran is remembered in
    ``network.place.size`` and so serves the process.

    `images`: Shape ``(N, Y, X)`` or ``(N, C, Y, X)``, float32, on the network's device.
    `origin`: Row and column, on the whole grid, of the first output pixel.
    """
    if images.ndim == 3:
        images = images[:, None]
    count, _, *sides = images.shape
    out = images.new_empty(count, network.outputs, *(n - 2 * margin for n in sides))
    size = network.place.size or start_size(network)
    while not _fits(network, images, out, origin, size):
        size = smaller(Size(size.window, min(size.batch, count)), network.place)
    network.place.size = size
    return out[:, 0] if network.outputs == 1 else out


def start_size(network: ReadyNetwork) -> Size:
    """Choose what to run at once from the free memory and the estimate of what a pixel takes."""
    pixels = SHARE_OF_FREE * network.place.free_bytes() / network.pixel_bytes
    window = LARGEST_WINDOW
    while window > MICRO_TILE and pixels < (window + 2 * network.radius) ** 2:
        window //= 2
    return Size(window, max(1, int(pixels // (window + 2 * network.radius) ** 2)))


def smaller(size: Size, place: Place) -> Size:
    """Halve the batch, or the window where the batch is one."""
    if size.batch > 1:
        return Size(size.window, size.batch // 2)
    if size.window > MICRO_TILE:
        return Size(max(size.window // 2, MICRO_TILE), 1)
    raise MethodError(
        f"device {str(place.device)!r} has no memory for one window of {MICRO_TILE} pixels. Start "
        "fewer workers on it, free it of other programs, or load the method with device='cpu'."
    )


def _fits(
    network: ReadyNetwork,
    images: torch.Tensor,
    out: torch.Tensor,
    origin: tuple[int, int],
    size: Size,
) -> bool:
    """Fill `out`; tell whether the memory was enough."""
    margin = (images.shape[-1] - out.shape[-1]) // 2
    try:
        sides = zip(out.shape[2:], origin, strict=True)
        cuts = (_cuts(count, first, size.window) for count, first in sides)
        for (y0, y1), (x0, x1) in itertools.product(*cuts):
            # The window, widened to whole multiples of STEP on the whole grid.
            top, left = y0 - (origin[0] + y0) % STEP, x0 - (origin[1] + x0) % STEP
            bottom, right = y1 + -(origin[0] + y1) % STEP, x1 + -(origin[1] + x1) % STEP
            near, far = margin - network.radius, margin + network.radius
            window = _cut(
                images, (top + near, bottom + far + network.extra), (left + near, right + far)
            )
            for n in range(0, len(images), size.batch):
                made = network.place.run(network, window[n : n + size.batch])
                kept = made[..., y0 - top : y1 - top, x0 - left : x1 - left]
                out[n : n + size.batch, :, y0:y1, x0:x1] = kept
    except torch.OutOfMemoryError:
        return False
    return True


def _cut(images: torch.Tensor, rows: tuple[int, int], cols: tuple[int, int]) -> torch.Tensor:
    """Cut a window of the images, zero beyond them."""
    height, width = images.shape[-2:]
    inside = images[..., max(rows[0], 0) : rows[1], max(cols[0], 0) : cols[1]]
    beyond = (-cols[0], cols[1] - width, -rows[0], rows[1] - height)
    return functional.pad(inside, [max(n, 0) for n in beyond])


def _cuts(size: int, origin: int, step: int) -> list[tuple[int, int]]:
    """Cut ``0:size`` where ``origin + i`` is a multiple of step."""
    edges = [0, *range(step - origin % step, size, step), size]
    return list(itertools.pairwise(edges))


@lru_cache(maxsize=4)
def load_networks(
    path: str, sha256: str, device: str, precision: Precision = "fp32"
) -> dict[str, ReadyNetwork]:
    """Load the networks of a checkpoint and lay them out for a device, once per process.

    `device`: "cpu", "cuda", or "cuda:1" and so on.
    """
    card, states = read_weights(path, sha256)
    place = place_on(device, precision)
    networks = {}
    for name, state in states.items():
        network = card.layers(name).build()
        network.load_state_dict(state)
        networks[name] = ReadyNetwork(network.eval(), place)
    return networks
