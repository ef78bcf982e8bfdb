"""Train one network per band on samples of change and bias."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.methods._learning.channels import standardise
from biastf_xr.methods._learning.loop import FitJob, FittedNetwork
from biastf_xr.methods._learning.networks import Begin
from biastf_xr.methods.biastf._network import stack_channels

if TYPE_CHECKING:
    from biastf_xr.methods._learning.networks import Channels, NetworkFit
    from biastf_xr.methods.base import Float
    from biastf_xr.methods.biastf._network import NetworkShape
    from biastf_xr.methods.biastf._samples import Samples


def train_bands(fit: NetworkFit, samples: Samples, shape: NetworkShape) -> dict[str, FittedNetwork]:
    """Train the networks of all bands.

    Mean squared error of the bias over clear pixels.  Every patch is shown in both directions of
    time: ``-dC`` has bias ``-B``.
    """
    bands = fit.pair.bands
    begun = [fit.begin(b, partial(_fresh, samples, i, shape)) for i, b in enumerate(bands)]
    jobs = [
        FitJob(
            layers=shape.layers(shape.channels(len(bands))),
            inputs=_inputs(samples, i, shape, begin),
            targets=_targets(samples, i, begin.scales[1]),
            held_out=samples.held_out,
            **fit.job_options(band),
        )
        for i, (band, begin) in enumerate(zip(bands, begun, strict=True))
    ]
    return fit.train(jobs)


def _fresh(samples: Samples, index: int, shape: NetworkShape) -> Begin:
    """Scale by root mean square what may be of either sign, by mean and deviation what may not."""
    fit = ~samples.held_out
    change_scale = _scale(samples.change[fit, index])
    channels: Channels = []
    if shape.inputs == "all-changes":
        count = samples.change.shape[1]
        channels = [(0.0, _scale(samples.change[fit, i])) for i in range(count)]
    elif shape.inputs != "change":
        images = [samples.fine, samples.coarse]
        channels = [(0.0, change_scale)] + [
            _offset_and_scale(image[fit, :, index]) for image in images if image is not None
        ]
    return Begin((change_scale, _scale(samples.bias[fit, index])), channels)


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


def _inputs(samples: Samples, index: int, shape: NetworkShape, begin: Begin) -> Float:
    """Return the inputs in both directions of time, (N, 2, C, Y, X)."""
    views = []
    for view, change in enumerate((samples.change, -samples.change)):
        fine, coarse = (
            None if image is None else image[:, view] for image in (samples.fine, samples.coarse)
        )
        stacked = stack_channels(shape.inputs, index, change, fine, coarse)
        views.append(standardise(stacked, begin.standards))
    return np.stack(views, axis=1)


def _targets(samples: Samples, index: int, scale: float) -> Float:
    bias = samples.bias[:, None, index : index + 1] / np.float32(scale)
    return np.concatenate([bias, -bias], axis=1)
