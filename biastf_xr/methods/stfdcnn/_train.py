"""Train the two networks of STFDCNN."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from biastf_xr.methods.biastf._channels import standardise
from biastf_xr.methods.training._crew import run_jobs
from biastf_xr.methods.training._loop import FitJob, Layers, TrainProgress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from biastf_xr.methods.base import Float
    from biastf_xr.methods.stfdcnn._samples import TwoSamples
    from biastf_xr.methods.stfdcnn.settings import TwoNetworks
    from biastf_xr.methods.training._crew import Mapper
    from biastf_xr.methods.training.settings import TrainRule

Channels = list[tuple[float, float]]


@dataclass(frozen=True)
class StageModel:
    """A trained network with its scales.

    `network`: The network: what it gives is added to its input.
    `channels`: Offset and scale of every image that goes in.
    `scale`: Of what comes out, reflectance.
    `history`: Training and hold-out loss after every epoch, as a fraction of that of the input
    itself.
    `constant`: Whether there was nothing to learn.
    """

    network: nn.Sequential
    channels: Channels
    scale: float
    history: list[tuple[float, float]]
    constant: bool = False


@dataclass(frozen=True)
class StageStart:
    """What a warm start takes from another model, of one network.

    `weights`: By name of the parameter.
    `channels`: Offset and scale of every image that goes in.
    `scale`: Of what comes out.
    """

    weights: dict[str, Any] = field(default_factory=dict)
    channels: Channels = field(default_factory=list)
    scale: float = 1.0


def network_names(bands: Sequence[str], networks: TwoNetworks) -> dict[str, list[int]]:
    """Name the networks of a stage, without the stage."""
    if networks.bands == "together":
        return {"all": list(range(len(bands)))}
    return {band: [i] for i, band in enumerate(bands)}


def train_stages(
    samples: TwoSamples,
    bands: Sequence[str],
    networks: TwoNetworks,
    rule: TrainRule,
    *,
    seed: int,
    start: dict[str, StageStart] | None = None,
    states: Path | None = None,
    mapper: Mapper | None = None,
    progress: TrainProgress | None = None,
) -> dict[str, StageModel]:
    """Train all networks of both stages; none of them waits for another."""
    margin = networks.radius
    begun: dict[str, StageStart] = {}
    jobs: list[FitJob] = []
    stages = {"nlm": (samples.coarse, samples.middle), "sr": (samples.blurred, samples.fine)}
    for stage, (given, wanted) in stages.items():
        for name, places in network_names(bands, networks).items():
            images, targets = given[:, places], wanted[:, places]
            residual = targets - images[..., margin:-margin, margin:-margin]
            key = f"{name}.{stage}"
            begun[key] = (start or {}).get(key) or _fresh(images, residual, ~samples.held_out)
            jobs.append(
                FitJob(
                    name=key,
                    layers=Layers((len(places), *networks.filters, len(places)), networks.kernels),
                    inputs=standardise(images, begun[key].channels)[:, None],
                    targets=(residual / np.float32(begun[key].scale))[:, None],
                    held_out=samples.held_out,
                    rule=rule,
                    seed=seed + 1000 * len(jobs),
                    start=begun[key].weights or None,
                    state=states / f"{key}.pt" if states else None,
                )
            )
    fitted = run_jobs(jobs, mapper=mapper, progress=progress)
    models = {}
    for job in jobs:
        network, made = job.layers.build(), fitted[job.name]
        network.load_state_dict({n: torch.from_numpy(np.array(v)) for n, v in made.weights.items()})
        own = begun[job.name]
        models[job.name] = StageModel(
            network.eval(), own.channels, own.scale, made.history, made.constant
        )
    return models


def _fresh(images: Float, residual: Float, fit: Any) -> StageStart:
    channels = []
    for place in range(images.shape[1]):
        values = images[fit, place].astype(np.float64)
        channels.append((float(values.mean()), float(values.std()) or 1.0))
    valid = residual[fit].astype(np.float64)
    valid = valid[np.isfinite(valid)]
    scale = float(np.sqrt(np.mean(valid**2))) if valid.size else 0.0
    return StageStart({}, channels, scale if scale > 1e-8 else 1.0)
