"""Options that all methods of networks share: samples and training.  Loads no torch."""

from __future__ import annotations

import datetime as dt  # noqa: TC003  (pydantic reads it)
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from biastf_xr._days import to_days
from biastf_xr.errors import MethodError
from biastf_xr.methods._learning.card import PRECISIONS, Precision
from biastf_xr.methods._options import check_fields, option

TrainingDates = Literal["all", "flanking", "earlier"]
Balance = Literal["none", "change"]


@dataclass(frozen=True, kw_only=True)
class SampleRule:
    """Which patches are learned from.  The paper publishes none of it.

    Attributes
    ----------
    patch : int
        Side of a patch in fine pixels, without halo.
    count : int
        Patches in all.
    min_clear : float
        Smallest clear fraction of a patch.
    dates : {"all", "flanking", "earlier"}
        Dates to learn from: every pair of clear dates but `target`; the two nearest clear dates
        around `target`; or every two consecutive clear dates before it.
    target : datetime.date, optional
        The day to be predicted, whose fine image is then never read; needed by "flanking" and
        "earlier".
    max_pair_gap : int
        Largest distance in days between the two dates of a training pair.
    balance : {"none", "change"}
        Whether patches are drawn alike from every pair of dates, or alike from classes of how
        much the coarse sensor saw change, so that rare large changes count as much as small ones.
    hold_out : float
        Fraction of the area, and of the patches, kept for early stopping.
    hold_out_block : int
        Side, in patches, of the blocks that are held out whole.
    hold_out_dates : float
        Fraction of the dates that are held out as well where there are six or more: patches for
        early stopping are then of other places and of other dates than those learned from.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    patch: int = option(32, least=1)
    count: int = option(1024, least=1)
    min_clear: float = option(0.5, least=0, most=1)
    dates: TrainingDates = option("all", choices=get_args(TrainingDates))
    target: dt.date | None = None
    max_pair_gap: int = option(366, least=1)
    balance: Balance = option("none", choices=get_args(Balance))
    hold_out: float = option(0.2, above=0, below=1, rare=True)
    hold_out_block: int = option(3, least=1, rare=True)
    hold_out_dates: float = option(0.2, least=0, below=1, rare=True)

    def __post_init__(self) -> None:
        if self.target is not None:
            object.__setattr__(self, "target", to_days(self.target, "target")[0].item())
        check_fields(self)
        if self.dates != "all" and self.target is None:
            raise MethodError(
                f"dates={self.dates!r} asks for training dates around a target; give `target`, "
                "the day to be predicted, or choose dates='all'."
            )


@dataclass(frozen=True, kw_only=True)
class TrainRule:
    """How networks are trained.  The paper publishes none of these but the optimiser, Adam.

    Attributes
    ----------
    epochs : int
        Most passes over the samples.
    patience : int
        Passes without a better hold-out loss before stopping.
    learning_rate : float
        Of Adam; the default follows the usual range 1e-4 to 1e-3 for networks of this size.
    batch : int
        Patches a step.
    device : str
        Torch device.
    precision : {"fp32", "bf16", "fp16"}
        Numbers of the convolutions while training; weights and loss stay float32.  "fp16" on CUDA
        devices only.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    epochs: int = option(30, least=1)
    patience: int = option(4, least=1)
    learning_rate: float = option(5e-4, above=0)
    batch: int = option(8, least=1)
    device: str = "cpu"
    precision: Precision = option("fp32", choices=PRECISIONS)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.precision == "fp16" and self.device == "cpu":
            raise MethodError(
                "precision 'fp16' trains on CUDA devices only, and device is 'cpu'. Choose "
                "precision='bf16', or device='cuda'."
            )
