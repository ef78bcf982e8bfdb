"""The network of Table 1: four convolutions that turn a coarse change into its sensor bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
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
