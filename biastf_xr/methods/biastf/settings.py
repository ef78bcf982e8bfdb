"""What can be chosen about BiaSTF, with the reading behind every default.  Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from biastf_xr.errors import MethodError


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """Shape of the network.

    Attributes
    ----------
    filters : tuple of int
        n1, n2, n3 of Table 1.  The paper does not publish them; 64, 32, 32 follow SRCNN, whose
        symbols it uses, and DiCNN of the same authors.
    kernels : tuple of int
        Sides of the four filters, odd (Table 1: 7, 5, 3, 3).
    bias : bool
        Whether the convolutions have an additive term.  Without it no change gives no bias.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    filters: tuple[int, int, int] = (64, 32, 32)
    kernels: tuple[int, int, int, int] = (7, 5, 3, 3)
    bias: bool = True

    def __post_init__(self) -> None:
        if len(self.filters) != 3 or min(self.filters) < 1:
            raise MethodError(f"filters are {self.filters}; expected three positive numbers.")
        if len(self.kernels) != 4 or any(k < 1 or k % 2 == 0 for k in self.kernels):
            raise MethodError(f"kernels are {self.kernels}; expected four odd numbers.")

    @property
    def radius(self) -> int:
        """Give the receptive radius in fine pixels: how far a pixel's input reaches."""
        return sum(k // 2 for k in self.kernels)


@dataclass(frozen=True, kw_only=True)
class SampleRule:
    """How training patches are drawn.

    Attributes
    ----------
    patch : int
        Side of a patch in fine pixels, without halo.
    count : int
        Patches in all.
    min_clear : float
        Smallest clear fraction of a patch.
    hold_out : float
        Fraction of the area kept for early stopping.
    hold_out_block : int
        Side, in patches, of the blocks that are held out whole.
    max_pair_gap : int
        Largest distance in days between the two dates of a training pair.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    patch: int = 32
    count: int = 1024
    min_clear: float = 0.5
    hold_out: float = 0.2
    hold_out_block: int = 3
    max_pair_gap: int = 366


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
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    epochs: int = 30
    patience: int = 4
    learning_rate: float = 5e-4
    batch: int = 8
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.epochs, self.patience, self.batch) < 1 or self.learning_rate <= 0:
            raise MethodError(f"epochs, patience, batch and learning_rate must be positive: {self}")
