"""The network of Table 1: four convolutions that turn a coarse change into its sensor bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biastf_xr.methods.training._loop import Layers, channels_last

if TYPE_CHECKING:
    from torch import nn

    from biastf_xr.methods.biastf.settings import NetworkShape

__all__ = ["build_network", "channels_last", "layers_of"]


def layers_of(shape: NetworkShape, channels: int = 1) -> Layers:
    """Return the layers of a shape."""
    return Layers((channels, *shape.filters, 1), tuple(shape.kernels), shape.bias)


def build_network(shape: NetworkShape, seed: int = 0, channels: int = 1) -> nn.Sequential:
    """Build the network with fresh weights.

    Convolutions are not padded, so the output loses ``radius`` pixels on every side and never
    sees anything but data.  He initialisation, last layer zero: an untrained network predicts
    no bias, which is the direct transfer of the change.

    Returned: Takes ``(N, C, H, W)``, gives ``(N, 1, H - 2 * radius, W - 2 * radius)``.
    """
    return layers_of(shape, channels).build(seed)
