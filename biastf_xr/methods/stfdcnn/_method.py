"""STFDCNN as a fusion method: fit it, fuse with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np

from biastf_xr.methods._learning.card import PRECISIONS, Card, Precision
from biastf_xr.methods._learning.networks import NetworkFit, NetworkMethod
from biastf_xr.methods._options import option
from biastf_xr.methods._shared import shared
from biastf_xr.methods._sides import from_both
from biastf_xr.methods.stfdcnn._networks import STAGES, BandChoice, HighPass, STFDCNNOptions
from biastf_xr.methods.stfdcnn._samples import draw_two_samples
from biastf_xr.methods.stfdcnn._stages import Stages

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Upsampling
    from biastf_xr.methods.base import Block, FitRun, Prediction


@dataclass(frozen=True, repr=False)
class STFDCNN(NetworkMethod):
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
    weight_window : int
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
    highpass: HighPass = option("multiplicative", choices=get_args(HighPass))
    weight_window: int = shared("weight_window", default=1, was="window")
    upsampling: Upsampling = shared("upsampling")
    device: str = "cpu"
    precision: Precision = option("fp32", choices=PRECISIONS)
    name: str = "stfdcnn"

    options: ClassVar[type] = STFDCNNOptions
    stored: ClassVar[tuple[str, ...]] = ("highpass", "weight_window", "upsampling")
    needs_two_sides = True

    @classmethod
    def fit(cls, pair: CubePair, options: STFDCNNOptions, run: FitRun) -> STFDCNN:
        """Fit the two networks on clear dates of the cubes.

        Eager.  Reads the windows it samples, trains, and writes a checkpoint.  Training by Adam on
        mean squared error; the paper's own optimisation is not verified.
        """
        from biastf_xr.methods.stfdcnn._train import train_stages

        factor = options.factor_for(pair.alignment.ratio)
        shape: dict[str, Any] = {
            "filters": options.filters,
            "kernels": options.kernels,
            "outputs": len(pair.bands) if options.bands == "together" else 1,
        }
        fit = NetworkFit(cls, pair, options, run, shape)
        with fit.kept():
            drawn = draw_two_samples(
                pair,
                options.samples,
                factor=factor,
                radius=options.radius,
                upsampling=options.upsampling,
                base_rule=run.base_rule,
                seed=options.seed,
            )
            models = train_stages(fit, drawn, options)
            made: STFDCNN = fit.write(models, drawn, bands=options.bands, factor=factor)
        return made

    def wiring(self) -> dict[str, tuple[int, int]]:
        """Return what goes into every network and comes out; see `NetworkMethod.wiring`."""
        groups = self._made_with.groups(self.card.bands)
        sides = {name: (len(places), len(places)) for name, places in groups.items()}
        return {f"{name}.{stage}": ends for stage in STAGES for name, ends in sides.items()}

    @property
    def _made_with(self) -> STFDCNNOptions:
        """Return the options of the fit that predictions follow."""
        bands: BandChoice = "together" if self.card.all_bands else "each"
        return STFDCNNOptions(factor=self.card.settings["factor"], bands=bands)

    @property
    def factor(self) -> int:
        """Return the fine pixels, a side, in a pixel of the middle resolution."""
        return self._made_with.factor_for(self.card.ratio)

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
        return self.weight_window // 2 + self.card.halo

    def fuse(self, block: Block) -> Prediction:
        """Predict; see `Method.fuse`."""
        stages = Stages(
            block, self.networks(), self.card, factor=self.factor, window=self.weight_window,
            highpass=self.highpass, upsampling=self.upsampling,
        )  # fmt: skip
        bases = [stages.base(base) for base in block.sides]
        seen = block.seen(self.upsampling)[..., *block.core]
        there = seen & bases[0].clear & bases[1].clear
        made = np.empty((len(block.days), len(block.bands), *block.tile.shape), np.float32)
        for n, image in enumerate(block.coarse):
            made[n] = stages.predict(image, bases[0], bases[1])
        return from_both(np.where(there[:, None], made, np.float32(np.nan)))

    def describe(self) -> dict[str, Any]:
        """Describe; see `Method.describe`."""
        return super().describe() | {"factor": self.factor}
