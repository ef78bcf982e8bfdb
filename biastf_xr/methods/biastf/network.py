"""The network of Table 1: four convolutions that turn a coarse change into its sensor bias."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from biastf_xr.methods.base import Float
    from biastf_xr.methods.biastf.settings import NetworkShape


def build_network(shape: NetworkShape, seed: int = 0) -> nn.Sequential:
    """Build the network with fresh weights.

    Convolutions are not padded, so the output loses ``radius`` pixels on every side and never
    sees anything but data.  He initialisation, last layer zero: an untrained network predicts
    no bias, which is the direct transfer of the change.

    Parameters
    ----------
    shape : NetworkShape
        Filters and kernels.
    seed : int
        Seed of the weights.

    Returns
    -------
    torch.nn.Sequential
        Takes ``(N, 1, H, W)``, gives ``(N, 1, H - 2 * radius, W - 2 * radius)``.
    """
    generator = torch.Generator().manual_seed(seed)
    channels = (1, *shape.filters, 1)
    layers: list[nn.Module] = []
    for i, kernel in enumerate(shape.kernels):
        conv = nn.Conv2d(channels[i], channels[i + 1], kernel, bias=shape.bias)
        last = i == len(shape.kernels) - 1
        with torch.no_grad():
            if last:
                conv.weight.zero_()
            else:
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu", generator=generator)
            if conv.bias is not None:
                conv.bias.zero_()
        layers += [conv] if last else [conv, nn.ReLU(inplace=True)]
    return channels_last(nn.Sequential(*layers))


def channels_last(network: nn.Sequential) -> nn.Sequential:
    """Lay the weights out for channels-last convolutions, the faster kind on CPU and GPU.

    Parameters
    ----------
    network : torch.nn.Sequential
        The network, changed in place.

    Returns
    -------
    torch.nn.Sequential
        The same network.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def apply_network(
    network: nn.Module,
    images: Float,
    *,
    radius: int,
    origin: tuple[int, int],
    micro_tile: int = 256,
    batch: int = 4,
    device: str = "cpu",
) -> Float:
    """Run a network over images in small tiles that stay in the processor's cache.

    Tiles start at whole multiples of their size on the whole grid, wherever the window begins, so
    that the same pixels meet the same arithmetic whatever the chunking.

    Parameters
    ----------
    network : torch.nn.Module
        Takes ``(N, 1, H, W)``, loses `radius` pixels on every side.
    images : ndarray of float32
        Shape ``(N, Y, X)`` with `radius` pixels of margin, no NaN.
    radius : int
        Receptive radius.
    origin : tuple of int
        Row and column, on the whole grid, of the first output pixel.
    micro_tile : int
        Side of a tile in output pixels.
    batch : int
        Images in one forward pass.
    device : str
        Torch device.

    Returns
    -------
    ndarray of float32
        Shape ``(N, Y - 2 * radius, X - 2 * radius)``.
    """
    count = images.shape[0]
    rows, cols = (n - 2 * radius for n in images.shape[1:])
    out = np.empty((count, rows, cols), np.float32)
    source = torch.from_numpy(images)
    with torch.inference_mode():
        for y0, y1 in _cuts(rows, origin[0], micro_tile):
            for x0, x1 in _cuts(cols, origin[1], micro_tile):
                window = source[:, None, y0 : y1 + 2 * radius, x0 : x1 + 2 * radius]
                for n in range(0, count, batch):
                    part = (
                        window[n : n + batch]
                        .to(device)
                        .contiguous(memory_format=torch.channels_last)
                    )
                    out[n : n + batch, y0:y1, x0:x1] = network(part)[:, 0].cpu().numpy()
    return out


def _cuts(size: int, origin: int, step: int) -> list[tuple[int, int]]:
    """Cut ``0:size`` where ``origin + i`` is a multiple of step."""
    edges = [0, *range(step - origin % step, size, step), size]
    return list(itertools.pairwise(edges))
