"""BiaSTF as a fusion method: fit it, save it, load it, fuse with it."""

from __future__ import annotations

import atexit
import dataclasses
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from biastf_xr.brackets import BracketRule
from biastf_xr.errors import CheckpointError, MethodError
from biastf_xr.methods.base import Base, Block, Float, SceneFree, TwoSided, Weights, check_weights
from biastf_xr.methods.biastf.checkpoint import (
    PRECISIONS,
    Card,
    Precision,
    library_versions,
    load_networks,
    read_card,
    write_checkpoint,
)
from biastf_xr.methods.biastf.samples import draw_samples, fill_for_network
from biastf_xr.methods.biastf.settings import NetworkShape, SampleRule, TrainRule
from biastf_xr.methods.interpolation import two_sided_weight

if TYPE_CHECKING:
    from biastf_xr.cube.guards import CubePair
    from biastf_xr.grid import Upsampling
    from biastf_xr.methods.biastf.train import TrainProgress

# A model may serve another grid if its ratio of pixel sizes differs by no more than this.
RATIO_TOLERANCE = 0.05


@dataclass(frozen=True)
class BiaSTF(TwoSided, SceneFree):
    """A fitted BiaSTF: a reference to a checkpoint, small enough to travel to any worker.

    ``F = F_k + dC_k + G(dC_k)`` from each base date ``k``, with ``dC_k = C - C_k`` brought to the
    fine grid and ``G`` the band's network, then the weighted sum of both sides.

    Attributes
    ----------
    checkpoint : pathlib.Path
        The model; every worker must be able to read it.
    sha256 : str
        Its hash.
    card : Card
        What made it.
    weights : {"change", "time", "equal"}
        Weights of the two sides; see `change_weight`.
    window : int
        Side in coarse pixels of the window of "change", odd.
    upsampling : {"bilinear", "nearest"}
        How the coarse change is brought to the fine grid; as in training.
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
    weights: Weights = "change"
    window: int = 3
    upsampling: Upsampling = "bilinear"
    device: str = "cpu"
    precision: Precision = "fp32"
    name: str = "biastf"

    def __post_init__(self) -> None:
        check_weights(self.weights, self.window)
        if self.precision not in PRECISIONS:
            raise MethodError(
                f"unknown precision {self.precision!r}; expected one of {list(PRECISIONS)}."
            )
        if self.precision == "fp16" and self.device == "cpu":
            raise MethodError(
                "precision 'fp16' runs on CUDA devices only, and device is 'cpu'. Choose "
                "precision='bf16', or device='cuda'."
            )

    @cached_property
    def halo(self) -> int:
        """Give the halo: the network's receptive radius, and the rest of a block of rows."""
        return self.card.halo

    @property
    def coarse_halo(self) -> int:
        """Give the coarse halo: the window of the weights, or the filling of gaps."""
        return max(self.window // 2, 1)

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> BiaSTF:
        """Load a fitted method.

        Parameters
        ----------
        path : str or pathlib.Path
            The checkpoint.
        **options
            Settings to change: weights, window, device, precision.

        Returns
        -------
        BiaSTF
            The method.

        Raises
        ------
        CheckpointError
            If the file is not a readable checkpoint.
        """
        path = Path(path).resolve()
        card, sha256 = read_card(path)
        stored = {k: card.settings[k] for k in ("weights", "window", "upsampling")}
        return cls(path, sha256, card, **(stored | options))

    def save(self, path: str | Path) -> BiaSTF:
        """Copy the checkpoint to a place of your own.

        Parameters
        ----------
        path : str or pathlib.Path
            File to write.

        Returns
        -------
        BiaSTF
            The same method, referring to that file.
        """
        path = Path(path).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.checkpoint, path)
        return dataclasses.replace(self, checkpoint=path)

    def bind(self, pair: CubePair) -> Self:
        """Refuse cubes the model was not made for; see `Method.bind`.

        Parameters
        ----------
        pair : CubePair
            The cubes.

        Returns
        -------
        BiaSTF
            The method itself.

        Raises
        ------
        CheckpointError
            If a band has no network or the ratio of pixel sizes differs.
        """
        missing = [b for b in pair.bands if b not in self.card.bands]
        if missing:
            raise CheckpointError(
                f"the model has no network for {missing}; it was fitted on "
                f"{list(self.card.bands)}. Select those bands or fit again."
            )
        ratio = pair.alignment.ratio
        if abs(ratio / self.card.ratio - 1) > RATIO_TOLERANCE:
            raise CheckpointError(
                f"the model was fitted at a ratio of coarse to fine pixel of "
                f"{self.card.ratio:.2f}, these cubes have {ratio:.2f}. Fit it on them."
            )
        return self

    def weight(self, block: Block) -> Float:
        """Weight the two sides; see `TwoSided.weight`.

        Parameters
        ----------
        block : Block
            The inputs.

        Returns
        -------
        ndarray of float32
            As the option `weights` asks.
        """
        return two_sided_weight(block, self.weights, self.window, self.upsampling)

    def side(self, block: Block, base: Base) -> Float:
        """Add the coarse change and its learned bias to the base image; see `TwoSided.side`.

        Parameters
        ----------
        block : Block
            The inputs, with at least the network's receptive radius of halo.
        base : Base
            The base date.

        Returns
        -------
        ndarray of float32
            ``F_k + dC_k + G(dC_k)``.
        """
        from biastf_xr.methods.biastf.inference import apply_network

        networks = load_networks(str(self.checkpoint), self.sha256, self.device, self.precision)
        step = block.coarse - base.coarse
        rows, cols = block.core
        result = np.empty((*step.shape[:2], *block.tile.shape), np.float32)
        trim = block.halo - self.halo
        for i, band in enumerate(block.bands):  # band by band: memory of one band's change only
            seen = block.upsample(step[:, i], self.upsampling)
            change = fill_for_network(seen, step[:, i], block.upsample, self.upsampling)
            np.add(base.fine[i, *block.fine_core], seen[..., rows, cols], out=result[:, i])
            inner = slice(trim, change.shape[-2] - trim), slice(trim, change.shape[-1] - trim)
            change_scale, bias_scale = self.card.scales[band]
            images = change[:, *inner] / np.float32(change_scale)
            bias = apply_network(
                networks[band],
                images,
                origin=(block.tile.y0, block.tile.x0),
                margin=self.halo,
            )
            bias *= np.float32(bias_scale)
            result[:, i] += bias
        return result

    def describe(self) -> dict[str, Any]:
        """Describe; see `Method.describe`.

        Returns
        -------
        dict
            The settings, the checkpoint's hash and the dates the model has seen.
        """
        return {
            "method": self.name,
            "weights": self.weights,
            "window": self.window,
            "upsampling": self.upsampling,
            "precision": self.precision,
            "checkpoint_sha256": self.sha256,
            "trained_on": list(self.card.days),
        }


def fit_biastf(
    pair: CubePair,
    *,
    network: NetworkShape | None = None,
    samples: SampleRule | None = None,
    train: TrainRule | None = None,
    base_rule: BracketRule | None = None,
    weights: Weights = "change",
    window: int = 3,
    upsampling: Upsampling = "bilinear",
    seed: int = 0,
    path: str | Path | None = None,
    progress: TrainProgress | None = None,
) -> BiaSTF:
    """Fit one network per band on every pair of clear dates of the cubes.

    Eager.  Reads the windows it samples, trains, and writes a checkpoint.

    Parameters
    ----------
    pair : CubePair
        The cubes; dates to be predicted later must not be in the fine one.
    network : NetworkShape, optional
        The network; Table 1 with 64, 32 and 32 filters by default.
    samples : SampleRule, optional
        How patches are drawn.
    train : TrainRule, optional
        How networks are trained.
    base_rule : BracketRule, optional
        Which fine dates are clear enough.
    weights : {"change", "time", "equal"}
        Weights of the two sides; see `BiaSTF`.
    window : int
        Side in coarse pixels of the window of "change".
    upsampling : {"bilinear", "nearest"}
        How the coarse change is brought to the fine grid.
    seed : int
        Seed of everything random.
    path : str or pathlib.Path, optional
        Where to write the checkpoint; by default a temporary folder of this process, so save it
        to keep it.
    progress : callable, optional
        Called after every epoch of every band.

    Returns
    -------
    BiaSTF
        The fitted method.

    Raises
    ------
    MissingPairError
        If there are too few clear dates.
    """
    from biastf_xr.methods.biastf.train import train_band

    network, samples = network or NetworkShape(), samples or SampleRule()
    train = train or TrainRule()
    base_rule = base_rule or BracketRule()
    drawn = draw_samples(
        pair, samples, halo=network.radius, upsampling=upsampling, base_rule=base_rule, seed=seed
    )
    models = {
        band: train_band(
            drawn, i, network, train, seed=seed + 1000 * i, name=band, progress=progress
        )
        for i, band in enumerate(pair.bands)
    }
    card = Card(
        bands=pair.bands,
        ratio=pair.alignment.ratio,
        resolution=float(pair.geobox.affine.a),
        filters=network.filters,
        kernels=network.kernels,
        bias=network.bias,
        scales={b: (m.change_scale, m.bias_scale) for b, m in models.items()},
        pairs=drawn.pairs,
        settings={
            "weights": weights,
            "window": window,
            "upsampling": upsampling,
            "samples": dataclasses.asdict(samples) | {"drawn": len(drawn.bias)},
            "train": dataclasses.asdict(train),
            "base_rule": dataclasses.asdict(base_rule),
        },
        history={b: m.history for b, m in models.items()},
        seed=seed,
        versions=library_versions(),
    )
    target = Path(path) if path else _temporary_folder() / "biastf.safetensors"
    write_checkpoint(target, card, models)
    return BiaSTF.load(target, device=train.device)


def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="biastf-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
