"""BiaSTF as a fusion method: fit it, save it, load it, fuse with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.brackets import BracketRule
from biastf_xr.errors import MethodError
from biastf_xr.methods.base import Base, Block, Float, SceneFree, TwoSided, check_weights
from biastf_xr.methods.biastf._channels import (
    check_denoise,
    fill_for_network,
    smooth_coarse,
    smooth_radius,
    stack_channels,
    standardise,
)
from biastf_xr.methods.biastf._checkpoint import (
    Card,
    Precision,
    library_versions,
    load_networks,
    read_card,
)
from biastf_xr.methods.biastf._fitting import (
    KeptModel,
    WarmStart,
    check_kind,
    check_precision,
    describe_data,
    drawn_data,
    note_constant,
    plain,
    read_start,
    workplace,
)
from biastf_xr.methods.biastf._samples import draw_samples
from biastf_xr.methods.biastf._sides import learned_weight
from biastf_xr.methods.biastf.settings import NetworkShape, SampleRule, SideWeights, TrainRule
from biastf_xr.methods.interpolation import two_sided_weight

if TYPE_CHECKING:
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Upsampling
    from biastf_xr.methods.biastf._train import Start
    from biastf_xr.methods.training._crew import Mapper
    from biastf_xr.methods.training._loop import TrainProgress


@dataclass(frozen=True, repr=False)
class BiaSTF(KeptModel, TwoSided, SceneFree):
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
    window : int
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
    weights: SideWeights = "change"
    window: int = 3
    upsampling: Upsampling = "bilinear"
    denoise: float = 0.0
    device: str = "cpu"
    precision: Precision = "fp32"
    name: str = "biastf"

    def __post_init__(self) -> None:
        check_sides(self.weights, self.window)
        check_denoise(self.denoise)
        if self.weights == "learned" and not self.card.laws:
            raise MethodError(
                f"{self.checkpoint} has learned no weights of its sides. Fit the model again, or "
                "choose weights='change'."
            )
        check_precision(self.precision, self.device)

    @cached_property
    def halo(self) -> int:
        """Return the halo: the network's receptive radius, and the rest of a block of rows."""
        return self.card.halo

    @cached_property
    def fine_halo(self) -> int:  # type: ignore[override]
        """Return the halo of the base images: as `halo` where they go into the networks."""
        return self.halo if self._sees_images else 0

    @property
    def coarse_halo(self) -> int:
        """Return the coarse halo: the window of the weights, or denoising and filling of gaps."""
        return max(self.window // 2, 1 + smooth_radius(self.denoise))

    @property
    def _sees_images(self) -> bool:
        return self.card.inputs in {"change+fine", "change+fine+coarse"}

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> BiaSTF:
        """Load a fitted method."""
        path = Path(path).resolve()
        card, sha256 = read_card(path)
        check_kind(path, card, "biastf")
        names = ("weights", "window", "upsampling", "denoise")
        stored = {k: card.settings[k] for k in names if k in card.settings}
        return cls(path, sha256, card, **(stored | options))

    def weight(self, block: Block) -> Float:
        """Weight the two sides; see `TwoSided.weight`."""
        if self.weights != "learned":
            return two_sided_weight(block, self.weights, self.window, self.upsampling)
        weight = learned_weight(block, self.card.laws, self.window)
        return block.upsample(weight, self.upsampling)[..., *block.core]

    def side(self, block: Block, base: Base) -> Float:
        """Add the coarse change and its learned bias to the base image; see `TwoSided.side`.

        `block`: The inputs, with at least the network's receptive radius of halo.
        """
        from biastf_xr.methods.biastf._inference import apply_network

        networks = load_networks(str(self.checkpoint), self.sha256, self.device, self.precision)
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
        return {
            "method": self.name,
            "weights": self.weights,
            "window": self.window,
            "upsampling": self.upsampling,
            "denoise": self.denoise,
            "inputs": self.card.inputs,
            "precision": self.precision,
            "checkpoint_sha256": self.sha256,
            "trained_on": list(self.card.days),
        }


class _Inputs:
    """What goes into the networks of a block, band by band."""

    def __init__(self, method: BiaSTF, block: Block, base: Base, step: Float) -> None:
        self.method, self.block, self.base, self.step = method, block, base, step
        self.trim = block.halo - method.halo
        self.all_changes: Float | None = None

    def of(self, place: int, band: str) -> tuple[Float, Float]:
        """Return the change with gaps, and the standardised input of the band's network."""
        card = self.method.card
        seen, change = self._change(place)
        if card.inputs == "change":
            return seen, change / np.float32(card.scales[band][0])
        if card.inputs == "all-changes":
            if self.all_changes is None:
                order = [self.block.bands.index(b) for b in card.bands]
                self.all_changes = np.stack([self._change(i)[1] for i in order], axis=1)
            images = self.all_changes
        else:
            fine, coarse = self._images(place)
            images = stack_channels(
                card.inputs, 0, change[:, None], fine[None, None], coarse[None, None]
            )
        return seen, standardise(images, card.channels[band])

    def _change(self, place: int) -> tuple[Float, Float]:
        upsample, how = self.block.upsample, self.method.upsampling
        seen = upsample(self.step[:, place], how)
        change = fill_for_network(seen, self.step[:, place], upsample, how)
        return seen, _trimmed(change, self.trim)

    def _images(self, place: int) -> tuple[Float, Float]:
        """Return base images of a band; where the fine one is masked, the coarse one stands in."""
        upsample, how = self.block.upsample, self.method.upsampling
        image = smooth_coarse(self.base.coarse[place], self.method.denoise)
        seen = fill_for_network(upsample(image, how), image, upsample, how)
        coarse = _trimmed(seen, self.trim)
        fine = _trimmed(self.base.fine[place], self.block.fine_halo - self.method.halo)
        return np.where(np.isfinite(fine), fine, coarse), coarse


def _trimmed(images: Float, margin: int) -> Float:
    rows, cols = images.shape[-2:]
    return images[..., margin : rows - margin, margin : cols - margin]


def check_sides(weights: str, window: int) -> None:
    """Check the choice of the sides' weights.

    `window`: Side of its window in coarse pixels.
    """
    check_weights("change" if weights == "learned" else weights, window)


def fit_biastf(
    pair: CubePair,
    *,
    network: NetworkShape | None = None,
    samples: SampleRule | None = None,
    train: TrainRule | None = None,
    base_rule: BracketRule | None = None,
    weights: SideWeights = "change",
    window: int = 3,
    upsampling: Upsampling = "bilinear",
    denoise: float = 0.0,
    seed: int = 0,
    path: str | Path | None = None,
    start: str | Path | None = None,
    resume: bool = True,
    mapper: Mapper | None = None,
    progress: TrainProgress | None = None,
) -> BiaSTF:
    """Fit one network per band on pairs of clear dates of the cubes.

    Eager.  Reads the windows it samples, trains, and writes a checkpoint; the same fit gives the
    same bytes, whoever trains and however often it was interrupted.

    `pair`: The cubes; dates to be predicted later must not be in the fine one.
    `network`: The network and its inputs; Table 1 with 64, 32 and 32 filters by default.
    `samples`: Which dates are learned from, and how patches are drawn.
    `window`: Side in coarse pixels of the window of "change" and "learned".
    `upsampling`: How the coarse change is brought to the fine grid.
    `denoise`: Standard deviation, in coarse pixels, of the Gaussian that the coarse change is
    denoised by; see `smooth_coarse`.
    `path`: Where to write the checkpoint; by default a temporary folder of this process, so
    save it to keep it.
    `start`: Checkpoint of a model, of another region or year for instance, whose networks are
    refined.
    `resume`: Whether the state of the fit is kept beside `path` after every epoch, and the fit
    goes on from there if it was interrupted.
    """
    from biastf_xr.methods.biastf._train import train_bands

    network, samples = network or NetworkShape(), samples or SampleRule()
    train, base_rule = train or TrainRule(), base_rule or BracketRule()
    check_sides(weights, window)
    check_denoise(denoise)
    data = describe_data(pair)
    shape = {k: getattr(network, k) for k in ("filters", "kernels", "bias", "inputs")}
    begun = (
        read_start(start, pair, method="biastf", data=data, wanted=shape)
        if start is not None
        else None
    )
    with workplace(path, "biastf", resume=resume) as place:
        drawn = draw_samples(
            pair,
            samples,
            halo=network.radius,
            upsampling=upsampling,
            base_rule=base_rule,
            seed=seed,
            inputs=network.inputs,
            denoise=denoise,
        )
        models = train_bands(
            drawn,
            pair.bands,
            network,
            train,
            seed=seed,
            start=_starts(begun) if begun else None,
            states=place.states,
            mapper=mapper,
            progress=progress,
        )
        card = Card(
            bands=pair.bands,
            ratio=pair.alignment.ratio,
            resolution=float(pair.geobox.affine.a),
            **shape,
            scales={b: (m.change_scale, m.bias_scale) for b, m in models.items()},
            channels={b: m.channels for b, m in models.items() if m.channels},
            laws={b: m.law for b, m in models.items()},
            pairs=drawn.pairs,
            settings={
                "weights": weights,
                "window": window,
                "upsampling": upsampling,
                "denoise": denoise,
                "samples": plain(samples),
                "train": plain(train),
                "base_rule": plain(base_rule),
            },
            history={b: m.history for b, m in models.items()},
            seed=seed,
            versions=library_versions(),
            data=data | drawn_data(drawn.held_out, drawn.held_days, drawn.sha256()),
            start=begun.told if begun else {},
            notes={b: note_constant(f"band {b}") for b, m in models.items() if m.constant},
        )
        place.write(card, models)
    return BiaSTF.load(place.checkpoint, device=train.device)


def _starts(begun: WarmStart) -> dict[str, Start]:
    from biastf_xr.methods.biastf._train import Start

    card = begun.card
    return {
        band: Start(
            begun.weights[band],
            *card.scales[band],
            [(float(o), float(s)) for o, s in card.channels.get(band, [])],
        )
        for band in card.bands
    }
