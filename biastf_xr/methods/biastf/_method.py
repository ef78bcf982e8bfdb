"""BiaSTF as a fusion method: fit it, fuse with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from biastf_xr.errors import MethodError
from biastf_xr.methods._learning.card import PRECISIONS, Card, Precision
from biastf_xr.methods._learning.channels import (
    fill_for_network,
    smooth_coarse,
    smooth_radius,
    standardise,
)
from biastf_xr.methods._learning.networks import NetworkFit, NetworkMethod, NetworkOptions
from biastf_xr.methods._options import option
from biastf_xr.methods._shared import shared
from biastf_xr.methods._sides import two_sided_weight
from biastf_xr.methods.base import Base, Block, Float, TwoSided
from biastf_xr.methods.biastf._network import WITH_IMAGES, NetworkShape, stack_channels
from biastf_xr.methods.biastf._samples import draw_samples
from biastf_xr.methods.biastf._sides import fit_error_law, learned_weight

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Upsampling
    from biastf_xr.methods.base import FitRun

SideWeights = Literal["change", "time", "equal", "learned"]


@dataclass(frozen=True, kw_only=True)
class BiaSTFOptions(NetworkOptions):
    """Options of the fit of "biastf", beside those of every fit of networks.

    Attributes
    ----------
    network : NetworkShape
        The network and its inputs; a table of its own.
    denoise : float
        Standard deviation, in coarse pixels, of the Gaussian that denoises the coarse change
        before it is brought to the fine grid; 0 for none, about 0.5 for a noisy sensor.
    """

    network: NetworkShape = NetworkShape()
    weights: SideWeights = shared("weights", choices=get_args(SideWeights))
    weight_window: int = shared("weight_window", was="window")
    upsampling: Upsampling = shared("upsampling")
    denoise: float = option(0.0, least=0, most=5)


@dataclass(frozen=True, repr=False)
class BiaSTF(NetworkMethod, TwoSided):
    """Add the coarse change, and what a network has learned of the bias between the sensors.

    ``F = F_k + dC_k + G(dC_k)`` from each base date ``k``, with ``dC_k = C - C_k`` brought to the
    fine grid and ``G`` the band's network, then the weighted sum of both sides.

    Where a coarse change is missing in the receptive field, the network reads the mean of its valid
    neighbours, else no change; a pixel whose own coarse change is missing is not predicted.

    Attributes
    ----------
    checkpoint : pathlib.Path
        The model; every worker must be able to read it.
    sha256 : str
        Its hash.
    card : Card
        What made it.
    weights : {"change", "time", "equal", "learned"}
        Weights of the two sides: by inverse coarse change, by distance in time, equal, or by
        inverse expected error.
    weight_window : int
        Side in coarse pixels of the window of "change" and "learned", odd; 1 for single pixels.
    upsampling : {"bilinear", "nearest"}
        How the coarse change is brought to the fine grid; as in training.  "nearest" takes the
        coarse pixels as they were delivered.
    denoise : float
        Standard deviation, in coarse pixels, of the Gaussian that denoises the coarse change; as
        in training.
    device : str
        Where the networks run: "cpu", "cuda", or "cuda:1" and so on, as the worker numbers them.
        Looked for only when the first tile is fused.
    precision : {"fp32", "bf16", "fp16"}
        Numbers of the convolutions; "fp16" on CUDA devices only.  Base image and coarse change
        stay float32.

    References
    ----------
    Li Y., Li J., He L., Chen J., Plaza A., Sci. China Inf. Sci. 63, 140302, 2020,
    doi 10.1007/s11432-019-2805-y.  The paper's equations are not public; this reading follows its
    abstract, its figure captions and Table 1.
    """

    checkpoint: Path
    sha256: str
    card: Card = field(repr=False, hash=False)
    weights: SideWeights = shared("weights", choices=get_args(SideWeights))
    weight_window: int = shared("weight_window", was="window")
    upsampling: Upsampling = shared("upsampling")
    denoise: float = option(0.0, least=0, most=5)
    device: str = "cpu"
    precision: Precision = option("fp32", choices=PRECISIONS)
    name: str = "biastf"

    options: ClassVar[type] = BiaSTFOptions
    stored: ClassVar[tuple[str, ...]] = ("weights", "weight_window", "upsampling", "denoise")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights == "learned" and not self.card.laws.keys() >= {*self.card.bands}:
            raise MethodError(
                f"{self.checkpoint} has learned no weights of its sides. Fit the model again, or "
                "choose weights='change'."
            )

    @classmethod
    def fit(cls, pair: CubePair, options: BiaSTFOptions, run: FitRun) -> BiaSTF:
        """Fit one network per band on pairs of clear dates of the cubes.

        Eager.  Reads the windows it samples, trains, and writes a checkpoint; the same fit gives
        the same bytes, whoever trains and however often it was interrupted.
        """
        from biastf_xr.methods.biastf._train import train_bands

        network = options.network
        shape = {k: getattr(network, k) for k in ("filters", "kernels", "bias", "inputs")}
        fit = NetworkFit(cls, pair, options, run, shape)
        with fit.kept():
            drawn = draw_samples(
                pair,
                options.samples,
                halo=network.radius,
                upsampling=options.upsampling,
                base_rule=run.base_rule,
                seed=options.seed,
                inputs=network.inputs,
                denoise=options.denoise,
            )
            models = train_bands(fit, drawn, network)
            laws = {
                band: fit_error_law(drawn, i, m.errors, fit.begun[band].scales[1])
                for i, (band, m) in enumerate(models.items())
            }
            made: BiaSTF = fit.write(models, drawn, laws=laws)
        return made

    def wiring(self) -> dict[str, tuple[int, int]]:
        """Return what goes into every network and comes out; see `NetworkMethod.wiring`."""
        bands = self.card.bands
        count = NetworkShape(inputs=self.card.inputs).channels(len(bands))
        return dict.fromkeys(bands, (count, 1))

    @cached_property
    def halo(self) -> int:
        """Return the halo: the network's receptive radius, and the rest of a block of rows."""
        return self.card.halo

    @cached_property
    def fine_halo(self) -> int:
        """Return the halo of the base images: as `halo` where they go into the networks."""
        return self.halo if self.card.inputs in WITH_IMAGES else 0

    @property
    def coarse_halo(self) -> int:
        """Return the coarse halo: the window of the weights, or denoising and filling of gaps."""
        return max(self.weight_window // 2, 1 + smooth_radius(self.denoise))

    def weight(self, block: Block) -> Float:
        """Weight the two sides; see `TwoSided.weight`."""
        if self.weights != "learned":
            return two_sided_weight(block, self.weights, self.weight_window, self.upsampling)
        weight = learned_weight(block, self.card.laws, self.weight_window)
        return block.upsample(weight, self.upsampling)[..., *block.core]

    def side(self, block: Block, base: Base) -> Float:
        """Add the coarse change and its learned bias to the base image; see `TwoSided.side`.

        `block`: The inputs, with at least the network's receptive radius of halo.
        """
        from biastf_xr.methods._learning.inference import apply_network

        networks = self.networks()
        step = smooth_coarse(block.coarse - base.coarse, self.denoise)
        rows, cols = block.core
        result = np.empty((*step.shape[:2], *block.tile.shape), np.float32)
        inputs = _Inputs(self, block, base, step)
        for i, band in enumerate(block.bands):  # band by band: memory of one band's change only
            seen, images = inputs.of(i, band)
            np.add(base.fine[i, *block.fine_core], seen[..., rows, cols], out=result[:, i])
            bias = apply_network(
                networks[band],
                images,
                origin=(block.tile.y0, block.tile.x0),
                margin=self.halo,
            )
            bias *= np.float32(self.card.scales[band][1])
            result[:, i] += bias
        return result

    def describe(self) -> dict[str, Any]:
        """Describe; see `Method.describe`."""
        return super().describe() | {"inputs": self.card.inputs}


class _Inputs:
    """What goes into the networks of a block, band by band."""

    def __init__(self, method: BiaSTF, block: Block, base: Base, step: Float) -> None:
        self.method, self.block, self.base, self.step = method, block, base, step
        self.trim = block.halo - method.halo
        self.all_changes: Float | None = None

    def of(self, index: int, band: str) -> tuple[Float, Float]:
        """Return the change with gaps, and the standardised input of the band's network."""
        card = self.method.card
        seen, change = self._change(index)
        if card.inputs == "change":
            return seen, change / np.float32(card.scales[band][0])
        if card.inputs == "all-changes":
            if self.all_changes is None:
                order = [self.block.bands.index(b) for b in card.bands]
                self.all_changes = np.stack([self._change(i)[1] for i in order], axis=1)
            images = self.all_changes
        else:
            fine, coarse = self._images(index)
            images = stack_channels(
                card.inputs, 0, change[:, None], fine[None, None], coarse[None, None]
            )
        return seen, standardise(images, card.standards(band))

    def _change(self, index: int) -> tuple[Float, Float]:
        upsample, how = self.block.upsample, self.method.upsampling
        seen = upsample(self.step[:, index], how)
        change = fill_for_network(seen, self.step[:, index], upsample, how)
        return seen, _trimmed(change, self.trim)

    def _images(self, index: int) -> tuple[Float, Float]:
        """Return base images of a band; where the fine one is masked, the coarse one stands in."""
        upsample, how = self.block.upsample, self.method.upsampling
        image = smooth_coarse(self.base.coarse[index], self.method.denoise)
        seen = fill_for_network(upsample(image, how), image, upsample, how)
        coarse = _trimmed(seen, self.trim)
        fine = _trimmed(self.base.fine[index], self.block.fine_halo - self.method.halo)
        return np.where(np.isfinite(fine), fine, coarse), coarse


def _trimmed(images: Float, margin: int) -> Float:
    rows, cols = images.shape[-2:]
    return images[..., margin : rows - margin, margin : cols - margin]
