"""What can be chosen about samples and training of any learned method.  Loads no torch."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import ClassVar, Literal

from biastf_xr.errors import MethodError

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

    patch: int = 32
    count: int = 1024
    min_clear: float = 0.5
    dates: TrainingDates = "all"
    target: dt.date | None = None
    max_pair_gap: int = 366
    balance: Balance = "none"
    hold_out: float = 0.2
    hold_out_block: int = 3
    hold_out_dates: float = 0.2

    def __post_init__(self) -> None:
        if isinstance(self.target, str):
            object.__setattr__(self, "target", dt.date.fromisoformat(self.target))
        if min(self.patch, self.count, self.hold_out_block, self.max_pair_gap) < 1:
            raise MethodError(
                f"patch, count, hold_out_block and max_pair_gap must be positive: {self}"
            )
        if not (0 < self.hold_out < 1 and 0 <= self.hold_out_dates < 1):
            raise MethodError(
                f"hold_out is {self.hold_out} and hold_out_dates {self.hold_out_dates}; expected "
                "fractions below 1, hold_out above 0."
            )
        if self.dates not in {"all", "flanking", "earlier"} or self.balance not in {
            "none",
            "change",
        }:
            raise MethodError(
                f"dates is {self.dates!r}, balance {self.balance!r}; expected one of 'all', "
                "'flanking', 'earlier', and one of 'none', 'change'."
            )
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

    epochs: int = 30
    patience: int = 4
    learning_rate: float = 5e-4
    batch: int = 8
    device: str = "cpu"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"

    def __post_init__(self) -> None:
        if min(self.epochs, self.patience, self.batch) < 1 or self.learning_rate <= 0:
            raise MethodError(f"epochs, patience, batch and learning_rate must be positive: {self}")
        if self.precision not in {"fp32", "bf16", "fp16"}:
            raise MethodError(f"precision is {self.precision!r}; expected fp32, bf16 or fp16.")
        if self.precision == "fp16" and self.device == "cpu":
            raise MethodError(
                "precision 'fp16' trains on CUDA devices only, and device is 'cpu'. Choose "
                "precision='bf16', or device='cuda'."
            )
