"""Train the two networks of STFDCNN."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.methods._learning.card import Layers
from biastf_xr.methods._learning.channels import standardise
from biastf_xr.methods._learning.loop import FitJob, FittedNetwork
from biastf_xr.methods._learning.networks import Begin
from biastf_xr.methods.stfdcnn._networks import STAGES

if TYPE_CHECKING:
    from biastf_xr.methods._learning.networks import NetworkFit
    from biastf_xr.methods.base import Float
    from biastf_xr.methods.stfdcnn._networks import STFDCNNOptions
    from biastf_xr.methods.stfdcnn._samples import TwoSamples


def train_stages(
    fit: NetworkFit, samples: TwoSamples, options: STFDCNNOptions
) -> dict[str, FittedNetwork]:
    """Train all networks of both stages; none of them waits for another."""
    margin = options.radius
    jobs: list[FitJob] = []
    steps = (samples.coarse, samples.middle), (samples.blurred, samples.fine)
    for stage, (given, wanted) in zip(STAGES, steps, strict=True):
        for name, places in options.groups(fit.pair.bands).items():
            images, targets = given[:, places], wanted[:, places]
            residual = targets - images[..., margin:-margin, margin:-margin]
            key = f"{name}.{stage}"
            begin = fit.begin(key, partial(_fresh, images, residual, ~samples.held_out))
            jobs.append(
                FitJob(
                    layers=Layers((len(places), *options.filters, len(places)), options.kernels),
                    inputs=standardise(images, begin.standards)[:, None],
                    targets=(residual / np.float32(begin.scales[1]))[:, None],
                    held_out=samples.held_out,
                    **fit.job_options(key),
                )
            )
    return fit.train(jobs)


def _fresh(images: Float, residual: Float, fit: Any) -> Begin:
    """Scale what goes in by mean and deviation, what comes out by root mean square."""
    channels = []
    for band in range(images.shape[1]):
        values = images[fit, band].astype(np.float64)
        channels.append((float(values.mean()), float(values.std()) or 1.0))
    valid = residual[fit].astype(np.float64)
    valid = valid[np.isfinite(valid)]
    scale = float(np.sqrt(np.mean(valid**2))) if valid.size else 0.0
    return Begin((1.0, scale if scale > 1e-8 else 1.0), channels)
