"""Layers of the network in the forms that are fastest on a CPU; the same values to rounding."""

from __future__ import annotations

import itertools
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from biastf_xr.methods._learning.card import BLOCK, FAST_KERNEL

if TYPE_CHECKING:
    from torch import nn

# Four output rows of a convolution with five taps from eight input rows, by eight products in place
# of twenty: F(4, 5) of Lavin & Gray (2016, doi 10.1109/CVPR.2016.435) by the points 0, 1, -1, 2,
# -2, 1/2, -1/2 and infinity, scaled so that the input's numbers keep their size.
FROM_TAPS = (
    (-4, 0, 0, 0, 0),
    (-8 / 9, -8 / 9, -8 / 9, -8 / 9, -8 / 9),
    (-8 / 9, 8 / 9, -8 / 9, 8 / 9, -8 / 9),
    (1 / 45, 2 / 45, 4 / 45, 8 / 45, 16 / 45),
    (1 / 45, -2 / 45, 4 / 45, -8 / 45, 16 / 45),
    (128 / 45, 64 / 45, 32 / 45, 16 / 45, 8 / 45),
    (128 / 45, -64 / 45, 32 / 45, -16 / 45, 8 / 45),
    (0, 0, 0, 0, 4),
)
FROM_ROWS = (
    (-1 / 4, 0, 21 / 16, 0, -21 / 16, 0, 1 / 4, 0),
    (0, 1 / 4, 1 / 4, -17 / 16, -17 / 16, 1 / 4, 1 / 4, 0),
    (0, -1 / 4, 1 / 4, 17 / 16, -17 / 16, -1 / 4, 1 / 4, 0),
    (0, 1 / 4, 1 / 8, -5 / 4, -5 / 8, 1, 1 / 2, 0),
    (0, -1 / 4, 1 / 8, 5 / 4, -5 / 8, -1, 1 / 2, 0),
    (0, 1 / 2, 1, -5 / 8, -5 / 4, 1 / 8, 1 / 4, 0),
    (0, -1 / 2, 1, 5 / 8, -5 / 4, -1 / 8, 1 / 4, 0),
    (0, -1 / 4, 0, 21 / 16, 0, -21 / 16, 0, 1 / 4),
)
TO_ROWS = (
    (1, 1, 1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 1 / 2, -1 / 2, 0),
    (0, 1, 1, 4, 4, 1 / 4, 1 / 4, 0),
    (0, 1, -1, 8, -8, 1 / 8, -1 / 8, 1),
)
# Pixels of one product: stripes of so many stay in the processor's cache.
STRIPE = 3380


@cache
def has_onednn(dtype: torch.dtype) -> bool:
    """Return whether oneDNN convolves numbers of this type on this processor."""
    one = torch.ones(1, 1, 1, 1, dtype=dtype)
    try:
        torch.mkldnn_convolution(one, one, None, (0, 0), (1, 1), (1, 1), 1)
    except RuntimeError:
        return False
    return True


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Convolve on a CPU, by oneDNN wherever it works.

    Torch on its own takes other libraries for small images, which order their sums differently,
    so that the last bits of a pixel would depend on the window.

    `x`: Shape ``(1, C, H, W)``.
    """
    if has_onednn(x.dtype):
        return torch.mkldnn_convolution(x, weight, bias, (0, 0), (1, 1), (1, 1), 1)
    return functional.conv2d(x, weight, bias)


class Taps:
    """The last layer: every pixel times all taps, as a convolution of one pixel, then shifted sums.

    The taps are filled up to whole multiples of 16 channels, which the library handles best.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        taps = layer.weight.detach()[0].permute(1, 2, 0).flatten(0, 1)
        self.side = layer.kernel_size[0]
        self.weight = taps.new_zeros(-(-len(taps) // 16) * 16, taps.shape[1], 1, 1)
        self.weight[: len(taps), :, 0, 0] = taps
        self.bias = 0.0 if layer.bias is None else float(layer.bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Run the layer.

        `x`: Shape ``(1, C, H, W)``, channels last.
        """
        maps = convolve(x, self.weight, None)[0].float()
        rows, cols = (n - self.side + 1 for n in maps.shape[1:])
        out = torch.full((rows, cols), self.bias)
        for i, (y, x0) in enumerate(itertools.product(range(self.side), repeat=2)):
            out += maps[i, y : y + rows, x0 : x0 + cols]
        return out[None, None]


class FastRows:
    """The first two layers, the second with 5 x 5 taps by four rows at once.

    Rows come in blocks of four from the top of the window.  A pixel's rounding depends on all rows
    of its block, so a window must start at a multiple of four on the whole grid.
    """

    def __init__(self, first: nn.Conv2d, second: nn.Conv2d) -> None:
        self.first = first
        # The point 1 goes into all four rows alike, and so the additive term goes with it.
        self.biases = [second.bias if p == 1 else None for p in range(len(FROM_TAPS))]
        self.channels = second.out_channels
        taps = torch.tensor(FROM_TAPS, dtype=torch.float64)
        mixed = torch.einsum("pk,ockx->pocx", taps, second.weight.detach().double())
        mixed = mixed.to(second.weight.dtype)
        self.weights = [w[:, :, None].contiguous(memory_format=torch.channels_last) for w in mixed]
        self.from_rows = mixed.new_tensor(FROM_ROWS)
        self.to_rows = mixed.new_tensor(TO_ROWS)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Run the two layers, stripe by stripe.

        `x`: Shape ``(1, 1, H, W)``; the rows of the result are a multiple of four.
        Returned: Shape ``(1, C, H', W')``, channels last, after the second ReLU.
        """
        lost = self.first.kernel_size[0] - 1 + FAST_KERNEL - 1
        rows, cols = (n - lost for n in x.shape[2:])
        blocks = rows // BLOCK
        stripe = BLOCK * -(-blocks // max(blocks * cols // STRIPE, 1))
        out = x.new_empty(rows, cols, self.channels)
        for y in range(0, rows, stripe):
            part = out[y : y + stripe]
            rows_in = x[:, :, y : y + len(part) + lost]
            self._stripe(convolve(rows_in, self.first.weight, self.first.bias).relu_(), part)
        return out.permute(2, 0, 1)[None]

    def _stripe(self, x: torch.Tensor, out: torch.Tensor) -> None:
        """Write the second layer's result for the rows of a stripe."""
        _, channels, _, width = x.shape
        blocks, cols, _ = out.shape[0] // BLOCK, *out.shape[1:]
        points = len(FROM_ROWS)
        lines = x.permute(0, 2, 3, 1).reshape(-1, width * channels)
        mixed = x.new_empty(points, blocks, width * channels)
        for t in range(blocks):
            rows = lines[BLOCK * t : BLOCK * t + points]
            torch.mm(self.from_rows, rows, out=mixed[:, t])
        made = x.new_empty(points, blocks, cols * self.channels)
        for p, target in enumerate(made):
            image = mixed[p].view(1, -1, width, channels).permute(0, 3, 1, 2)
            product = convolve(image, self.weights[p], self.biases[p])[0]
            target.view(blocks, cols, -1).copy_(product.permute(1, 2, 0))
        for t, target in enumerate(out.view(blocks, BLOCK, -1)):
            torch.mm(self.to_rows, made[:, t], out=target)
        out.relu_()
