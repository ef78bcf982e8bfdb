"""Train one network per band on samples of change and bias."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from biastf_xr.errors import MethodError
from biastf_xr.methods.biastf.network import build_network

if TYPE_CHECKING:
    from torch import nn

    from biastf_xr.methods.base import Float
    from biastf_xr.methods.biastf.samples import Samples
    from biastf_xr.methods.biastf.settings import NetworkShape, TrainRule

# Called after every epoch with the band, the epoch, and the two losses relative to no bias at all.
TrainProgress = Callable[[str, int, float, float], None]


@dataclass(frozen=True)
class BandModel:
    """A trained network with its scales.

    Attributes
    ----------
    network : torch.nn.Sequential
        The network, in standardised units.
    change_scale, bias_scale : float
        ``bias = bias_scale * network(change / change_scale)``, reflectance.
    history : list of tuple of float
        Training and hold-out loss after every epoch, as a fraction of the loss of no bias there.
    """

    network: nn.Sequential
    change_scale: float
    bias_scale: float
    history: list[tuple[float, float]]


def train_band(
    samples: Samples,
    band: int,
    shape: NetworkShape,
    rule: TrainRule,
    *,
    seed: int,
    name: str = "",
    progress: TrainProgress | None = None,
) -> BandModel:
    """Train the network of one band.

    Mean squared error of the bias over clear pixels, Adam, random flips, transposes and time
    reversal (``-dC`` has bias ``-B``).  The weights kept are those of the lowest hold-out loss,
    the untrained network (no bias at all) included.

    Parameters
    ----------
    samples : Samples
        The patches.
    band : int
        Index of the band in them.
    shape : NetworkShape
        The network.
    rule : TrainRule
        The optimisation.
    seed : int
        Seed of weights, order and augmentation.
    name : str
        Name of the band for `progress`.
    progress : callable, optional
        Called after every epoch.

    Returns
    -------
    BandModel
        The trained network.

    Raises
    ------
    MethodError
        If the loss is not finite.
    """
    network = build_network(shape, seed).to(rule.device)
    fit, held = ~samples.held_out, samples.held_out
    change_scale = _scale(samples.change[fit, band])
    bias_scale = _scale(samples.bias[fit, band])
    x = torch.from_numpy(samples.change[:, band : band + 1] / np.float32(change_scale))
    y = torch.from_numpy(samples.bias[:, band : band + 1] / np.float32(bias_scale))
    x_fit, y_fit = x[torch.from_numpy(fit)], y[torch.from_numpy(fit)]
    x_held, y_held = (v[torch.from_numpy(held)].to(rule.device) for v in (x, y))
    floors = [max(_mean_square(y), 1e-12) for y in (y_fit, y_held)]
    optimiser = torch.optim.Adam(network.parameters(), lr=rule.learning_rate)
    generator = torch.Generator().manual_seed(seed + 1)
    best_loss, best, waited = 1.0, copy.deepcopy(network.state_dict()), 0
    history: list[tuple[float, float]] = []
    for epoch in range(rule.epochs):
        fitted = _epoch(network, optimiser, x_fit, y_fit, rule, generator)
        loss = _hold_out_loss(network, x_held, y_held, rule.batch) / floors[1]
        history.append((fitted / floors[0], loss))
        if not np.isfinite(fitted):
            raise MethodError(
                f"band {name}: the training loss became {fitted} in epoch {epoch + 1}. "
                f"Lower the learning rate (now {rule.learning_rate:g})."
            )
        if progress:
            progress(name, epoch + 1, *history[-1])
        if loss < best_loss:
            best_loss, best, waited = loss, copy.deepcopy(network.state_dict()), 0
        else:
            waited += 1
            if waited == rule.patience:
                break
    network.load_state_dict(best)
    return BandModel(network.cpu().eval(), change_scale, bias_scale, history)


def _scale(values: Float) -> float:
    """Give the root mean square of the valid values; 1 where there is no variation at all."""
    value = float(np.sqrt(np.nanmean(np.square(values, dtype=np.float64))))
    return value if value > 1e-8 else 1.0


def _mean_square(y: torch.Tensor) -> float:
    return float(y[~y.isnan()].square().mean())


def _loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    clear = ~target.isnan()
    error = torch.where(clear, output - target, torch.zeros_like(output))
    return error.square().sum() / clear.sum().clamp(min=1)


def _epoch(
    network: nn.Sequential,
    optimiser: torch.optim.Optimizer,
    x: torch.Tensor,
    y: torch.Tensor,
    rule: TrainRule,
    generator: torch.Generator,
) -> float:
    network.train()
    order = torch.randperm(len(x), generator=generator)
    total = 0.0
    for start in range(0, len(x), rule.batch):
        index = order[start : start + rule.batch]
        change, bias = _augment(x[index], y[index], generator)
        change = change.to(rule.device).contiguous(memory_format=torch.channels_last)
        optimiser.zero_grad(set_to_none=True)
        loss = _loss(network(change), bias.to(rule.device))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total += float(loss.detach()) * len(index)
    return total / len(x)


def _augment(
    change: torch.Tensor, bias: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Flip, transpose and reverse in time at random; one draw a batch, signs per patch."""
    flips = torch.randint(0, 2, (3,), generator=generator).tolist()
    dims = [d for d, flip in zip((-2, -1), flips, strict=False) if flip]
    if dims:
        change, bias = change.flip(dims), bias.flip(dims)
    if flips[2] and change.shape[-2] == change.shape[-1]:
        change, bias = change.transpose(-1, -2), bias.transpose(-1, -2)
    sign = torch.randint(0, 2, (len(change), 1, 1, 1), generator=generator) * 2.0 - 1.0
    return change * sign, bias * sign


def _hold_out_loss(network: nn.Sequential, x: torch.Tensor, y: torch.Tensor, batch: int) -> float:
    """Give the mean squared error over both time directions."""
    network.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(x), batch):
            part, target = x[start : start + batch], y[start : start + batch]
            clear = int((~target.isnan()).sum())
            for sign in (1.0, -1.0):
                total += float(_loss(network(part * sign), target * sign)) * clear
                count += clear
    return total / max(count, 1)
