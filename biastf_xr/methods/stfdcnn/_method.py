"""STFDCNN as a fusion method: fit it, save it, load it, fuse with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.brackets import BracketRule
from biastf_xr.methods.base import (
    Block,
    Plain,
    Prediction,
    SceneFree,
    check_choices,
    check_weights,
    from_both,
)
from biastf_xr.methods.biastf._checkpoint import Card, Precision, library_versions, read_card
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
from biastf_xr.methods.stfdcnn._samples import draw_two_samples
from biastf_xr.methods.stfdcnn.settings import BandChoice, HighPass, TwoNetworks
from biastf_xr.methods.training.settings import SampleRule, TrainRule

if TYPE_CHECKING:
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Upsampling
    from biastf_xr.methods.stfdcnn._train import StageStart
    from biastf_xr.methods.training._crew import Mapper
    from biastf_xr.methods.training._loop import TrainProgress


@dataclass(frozen=True, repr=False)
class STFDCNN(KeptModel, Plain, SceneFree):
    """Map coarse images to a middle resolution and then to the fine one, by two networks.

    Two stages.  First a network maps coarse images to what the fine sensor would have seen at a
    middle resolution ("LSR"), and the fine base images at that resolution are fused to the target
    date with them.  Then a second network brings images of the middle resolution to the fine one,
    and the fine base images are fused with those::

        T_k = first(C_k at the middle resolution)            k = 1, 2, 3
        L_2 = fuse(L_1, L_3; T_1, T_2, T_3)                  L: fine images, middle resolution
        U_k = second(L_k, interpolated to the fine grid)
        F_2 = fuse(F_1, F_3; U_1, U_2, U_3)

        fuse(X_1, X_3; Y_1, Y_2, Y_3) = v_1 P_1 + v_3 P_3,   v_k inverse to |Y_2 - Y_k|,
            P_k = (Y_2 / Y_k) X_k  or  X_k + (Y_2 - Y_k)

    Both base images and all three coarse images are needed.  Where a base image is masked near a
    pixel, its coarse image stands in for it.

    Attributes
    ----------
    checkpoint : pathlib.Path
        The model; every worker must be able to read it.
    sha256 : str
        Its hash.
    card : Card
        What made it.
    highpass : {"multiplicative", "additive"}
        How details are brought to the target date; see `modulate`.
    window : int
        Side of the window that averages the change of transitional images for the weights, odd, in
        pixels of the stage; 1 for single pixels.
    upsampling : {"bilinear", "nearest"}
        How coarse images are brought to the fine grid; as in training.
    device : str
        Where the networks run: "cpu", "cuda", or "cuda:1" and so on.
    precision : {"fp32", "bf16", "fp16"}
        Numbers of the convolutions; "fp16" on CUDA devices only.

    References
    ----------
    Song H., Liu Q., Wang G., Hang R., Huang B., IEEE J. Sel. Top. Appl. Earth Obs. Remote Sens.
    11(3), 821-829, 2018, doi 10.1109/JSTARS.2018.2797894.  Verified are the two networks, the two
    stages and the high-pass modulation; layers, factor, guards and weights are readings.
    """

    checkpoint: Path
    sha256: str
    card: Card = field(repr=False, hash=False)
    highpass: HighPass = "multiplicative"
    window: int = 1
    upsampling: Upsampling = "bilinear"
    device: str = "cpu"
    precision: Precision = "fp32"
    name: str = "stfdcnn"

    needs_two_sides = True

    def __post_init__(self) -> None:
        check_choices(
            self,
            {
                "highpass": ("multiplicative", "additive"),
                "upsampling": ("bilinear", "nearest"),
            },
        )
        check_weights("change", self.window)
        check_precision(self.precision, self.device)

    @property
    def factor(self) -> int:
        """Return the fine pixels, a side, in a pixel of the middle resolution."""
        return int(self.card.settings["factor"])

    @cached_property
    def fine_halo(self) -> int:
        """Return the halo of the base images: weights, second network, interpolation."""
        return self._reach + 2 * self.factor

    @cached_property
    def halo(self) -> int:
        """Return the coarse halo: that, the weights and the network of the first stage."""
        return self.fine_halo + self.factor * self._reach

    @property
    def coarse_halo(self) -> int:
        """Return the coarse halo: the filling of gaps."""
        return 1

    @property
    def _reach(self) -> int:
        """Pixels of a stage's grid that its weights and its network reach."""
        return self.window // 2 + self.card.halo

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> STFDCNN:
        """Load a fitted method."""
        path = Path(path).resolve()
        card, sha256 = read_card(path)
        check_kind(path, card, "stfdcnn")
        stored = {k: card.settings[k] for k in ("highpass", "window", "upsampling")}
        return cls(path, sha256, card, **(stored | options))

    def fuse(self, block: Block) -> Prediction:
        """Predict; see `Method.fuse`."""
        from biastf_xr.methods.stfdcnn._stages import Stages

        stages = Stages(self, block)
        bases = [stages.base(base) for base in block.sides]
        seen = block.seen(self.upsampling)[..., *block.core]
        there = seen & bases[0].clear & bases[1].clear
        made = np.empty((len(block.days), len(block.bands), *block.tile.shape), np.float32)
        for n, image in enumerate(block.coarse):
            made[n] = stages.predict(image, bases[0], bases[1])
        made = np.where(there[:, None], made, np.float32(np.nan))
        return from_both(made, np.zeros_like(there))

    def describe(self) -> dict[str, Any]:
        """Describe; see `Method.describe`."""
        return {
            "method": self.name,
            "highpass": self.highpass,
            "window": self.window,
            "upsampling": self.upsampling,
            "factor": self.factor,
            "precision": self.precision,
            "checkpoint_sha256": self.sha256,
            "trained_on": list(self.card.days),
        }


def fit_stfdcnn(
    pair: CubePair,
    *,
    factor: int | None = None,
    filters: tuple[int, ...] = (64, 32),
    kernels: tuple[int, ...] = (9, 5, 5),
    bands: BandChoice = "each",
    samples: SampleRule | None = None,
    train: TrainRule | None = None,
    base_rule: BracketRule | None = None,
    highpass: HighPass = "multiplicative",
    window: int = 1,
    upsampling: Upsampling = "bilinear",
    seed: int = 0,
    path: str | Path | None = None,
    start: str | Path | None = None,
    resume: bool = True,
    mapper: Mapper | None = None,
    progress: TrainProgress | None = None,
) -> STFDCNN:
    """Fit the two networks on clear dates of the cubes.

    Eager.  Reads the windows it samples, trains, and writes a checkpoint.  Training by Adam on
    mean squared error; the paper's own optimisation is not verified.

    `pair`: The cubes; dates to be predicted later must not be in the fine one.
    `factor`: Fine pixels, a side, in a pixel of the middle resolution; see `TwoNetworks`.
    `bands`: A network for each band, or one for all.
    `samples`: Which dates are learned from, and how patches are drawn.
    `highpass`: How details are brought to the target date; see `modulate`.
    `window`: Side of the window of the weights; see `STFDCNN`.
    `upsampling`: How coarse images are brought to the fine grid.
    `path`: Where to write the checkpoint; by default a temporary folder of this process.
    `resume`: Whether an interrupted fit goes on from its last epoch.
    """
    from biastf_xr.methods.stfdcnn._train import train_stages

    networks = TwoNetworks(
        factor=factor, filters=tuple(filters), kernels=tuple(kernels), bands=bands
    )
    samples, train = samples or SampleRule(), train or TrainRule()
    base_rule = base_rule or BracketRule()
    check_weights("change", window)
    middle, data = networks.factor_for(pair.alignment.ratio), describe_data(pair)
    shape: dict[str, Any] = {
        "filters": networks.filters,
        "kernels": networks.kernels,
        "outputs": len(pair.bands) if bands == "together" else 1,
    }
    begun = (
        read_start(start, pair, method="stfdcnn", data=data, wanted=shape)
        if start is not None
        else None
    )
    with workplace(path, "stfdcnn", resume=resume) as place:
        drawn = draw_two_samples(
            pair,
            samples,
            factor=middle,
            radius=networks.radius,
            upsampling=upsampling,
            base_rule=base_rule,
            seed=seed,
        )
        models = train_stages(
            drawn,
            pair.bands,
            networks,
            train,
            seed=seed,
            start=_starts(begun) if begun else None,
            states=place.states,
            mapper=mapper,
            progress=progress,
        )
        card = Card(
            method="stfdcnn",
            bands=pair.bands,
            ratio=pair.alignment.ratio,
            resolution=float(pair.geobox.affine.a),
            bias=True,
            **shape,
            scales={name: (1.0, m.scale) for name, m in models.items()},
            channels={name: m.channels for name, m in models.items()},
            pairs=tuple((day, day) for day in drawn.days),
            settings={
                "factor": middle,
                "bands": bands,
                "highpass": highpass,
                "window": window,
                "upsampling": upsampling,
                "samples": plain(samples),
                "train": plain(train),
                "base_rule": plain(base_rule),
            },
            history={name: m.history for name, m in models.items()},
            seed=seed,
            versions=library_versions(),
            data=data | drawn_data(drawn.held_out, drawn.held_days, drawn.sha256()),
            start=begun.told if begun else {},
            notes={n: note_constant(f"network {n}") for n, m in models.items() if m.constant},
        )
        place.write(card, models)
    return STFDCNN.load(place.checkpoint, highpass=highpass, window=window, device=train.device)


def _starts(begun: WarmStart) -> dict[str, StageStart]:
    from biastf_xr.methods.stfdcnn._train import StageStart

    card = begun.card
    return {
        name: StageStart(
            weights, [(float(o), float(s)) for o, s in card.channels[name]], card.scales[name][1]
        )
        for name, weights in begun.weights.items()
    }
