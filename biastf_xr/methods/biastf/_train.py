"""Train one network per band on samples of change and bias."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from biastf_xr.errors import CheckpointError
from biastf_xr.methods.biastf._channels import stack_channels, standardise
from biastf_xr.methods.biastf._network import build_network, layers_of
from biastf_xr.methods.biastf._sides import ErrorLaw, fit_error_law
from biastf_xr.methods.training._crew import run_jobs
from biastf_xr.methods.training._loop import FitJob, FittedNetwork, TrainProgress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from biastf_xr.methods.base import Float
    from biastf_xr.methods.biastf._samples import Samples
    from biastf_xr.methods.biastf.settings import NetworkShape, TrainRule
    from biastf_xr.methods.training._crew import Mapper

__all__ = ["BandModel", "Start", "TrainProgress", "train_bands"]


@dataclass(frozen=True)
class BandModel:
    """A trained network with its scales.

    `network`: The network, in standardised units.
    `change_scale`, `bias_scale`: ``bias = bias_scale * network(change / change_scale)``,
    reflectance.
    `history`: Training and hold-out loss after every epoch, as a fraction of the loss of no
    bias there.
    `channels`: Offset and scale of every image that goes in where there are more than the
    change; the first is then not `change_scale`.
    `constant`: Whether there was nothing to learn.
    """

    network: nn.Sequential
    change_scale: float
    bias_scale: float
    history: list[tuple[float, float]]
    channels: list[tuple[float, float]] = field(default_factory=list)
    law: ErrorLaw = (0.0, 0.0, 0.0)
    constant: bool = False


@dataclass(frozen=True)
class Start:
    """What a warm start takes from another model, of one band.

    `weights`: By name of the parameter.
    `change_scale`, `bias_scale`: Its scales, in whose units the weights are.
    `channels`: Offset and scale of every image that goes in.
    """

    weights: dict[str, Any]
    change_scale: float
    bias_scale: float
    channels: list[tuple[float, float]]


def train_bands(
    samples: Samples,
    bands: Sequence[str],
    shape: NetworkShape,
    rule: TrainRule,
    *,
    seed: int,
    start: dict[str, Start] | None = None,
    states: Path | None = None,
    mapper: Mapper | None = None,
    progress: TrainProgress | None = None,
) -> dict[str, BandModel]:
    """Train the networks of all bands.

    Mean squared error of the bias over clear pixels.  Every patch is shown in both directions of
    time: ``-dC`` has bias ``-B``.

    `states`: Folder that keeps what is done, for a fit that is interrupted.
    """
    begun = [start[band] if start else _fresh(samples, i, shape) for i, band in enumerate(bands)]
    jobs = [
        FitJob(
            name=band,
            layers=layers_of(shape, shape.channels(len(bands))),
            inputs=_inputs(samples, i, shape, scales),
            targets=_targets(samples, i, scales.bias_scale),
            held_out=samples.held_out,
            rule=rule,
            seed=seed + 1000 * i,
            start=scales.weights or None,
            state=states / f"{band}.pt" if states else None,
        )
        for i, (band, scales) in enumerate(zip(bands, begun, strict=True))
    ]
    fitted = run_jobs(jobs, mapper=mapper, progress=progress)
    return {
        band: _band_model(samples, i, shape, scales, fitted[band], len(bands))
        for i, (band, scales) in enumerate(zip(bands, begun, strict=True))
    }


def _fresh(samples: Samples, place: int, shape: NetworkShape) -> Start:
    """Scale by root mean square what may be of either sign, by mean and deviation what may not."""
    fit = ~samples.held_out
    change_scale = _scale(samples.change[fit, place])
    channels: list[tuple[float, float]] = []
    if shape.inputs == "all-changes":
        count = samples.change.shape[1]
        channels = [(0.0, _scale(samples.change[fit, i])) for i in range(count)]
    elif shape.inputs != "change":
        images = [samples.fine, samples.coarse]
        channels = [(0.0, change_scale)] + [
            _offset_and_scale(image[fit, :, place]) for image in images if image is not None
        ]
    return Start({}, change_scale, _scale(samples.bias[fit, place]), channels)


def _offset_and_scale(values: Float) -> tuple[float, float]:
    offset = float(values.mean(dtype=np.float64))
    return offset, _scale(values - np.float32(offset))


def _scale(values: Float) -> float:
    """Return the root mean square of the valid values; 1 where there is no variation at all."""
    valid = np.isfinite(values)
    if not valid.any():
        return 1.0
    value = float(np.sqrt(np.mean(np.square(values[valid], dtype=np.float64))))
    return value if value > 1e-8 else 1.0


def _inputs(samples: Samples, place: int, shape: NetworkShape, scales: Start) -> Float:
    """Return the inputs in both directions of time, (N, 2, C, Y, X)."""
    views = []
    for view, change in enumerate((samples.change, -samples.change)):
        fine, coarse = (
            None if image is None else image[:, view] for image in (samples.fine, samples.coarse)
        )
        stacked = stack_channels(shape.inputs, place, change, fine, coarse)
        views.append(standardise(stacked, scales.channels or [(0.0, scales.change_scale)]))
    return np.stack(views, axis=1)


def _targets(samples: Samples, place: int, scale: float) -> Float:
    bias = samples.bias[:, None, place : place + 1] / np.float32(scale)
    return np.concatenate([bias, -bias], axis=1)


def _band_model(
    samples: Samples,
    place: int,
    shape: NetworkShape,
    scales: Start,
    fitted: FittedNetwork,
    bands: int,
) -> BandModel:
    network = build_network(shape, channels=shape.channels(bands))
    weights = {name: torch.from_numpy(np.array(v)) for name, v in fitted.weights.items()}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"the model to start from has other layers: {error}") from error
    law = fit_error_law(samples, place, fitted.errors, scales.bias_scale)
    return BandModel(
        network.eval(),
        scales.change_scale,
        scales.bias_scale,
        fitted.history,
        scales.channels,
        law,
        fitted.constant,
    )
