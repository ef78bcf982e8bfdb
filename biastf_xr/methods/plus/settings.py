"""What can be chosen about the variant "plus"; every default is ours, none is published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from biastf_xr.errors import MethodError


@dataclass(frozen=True, kw_only=True)
class PlusRule:
    """The steps of the prediction, each of which can be switched off for comparison.

    Defaults were chosen on the generated region, on BOREAS and on the Salton Sea until 2020-10-17,
    and judged on other dates and sets.

    Attributes
    ----------
    smoothing : float
        Days over which the coarse series is smoothed; 0 takes it as observed.
    tolerance : float
        How fast a coarse image loses weight that differs from that of the day by more than noise.
    footprint : float
        Standard deviation of the coarse sensor's blur beyond its pixel, in coarse pixels.
    response : bool
        Whether coarse changes are divided by the sensor's response to what the fine one sees.
    position : float
        Weight of time against the coarse images in the position between two base dates; 0 for time
        alone.
    position_window : int
        Side in coarse pixels of the window in which that position is one, odd.
    mixture : bool
        Whether the coarse change is explained by the base images before the rest is spread.
    ridge : float
        Shrinkage of the mixture, as a share of the variance of the (standardised) base bands.
    noise_mean, noise_mixture, noise_local : float
        Noise of one coarse observation, reflectance: of its mean over the scene, of what the
        mixture explains, and of the rest in a coarse pixel.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    smoothing: float = 4.0
    tolerance: float = 0.2
    footprint: float = 0.5
    response: bool = True
    position: float = 10.0
    position_window: int = 3
    mixture: bool = True
    ridge: float = 0.03
    noise_mean: float = 0.006
    noise_mixture: float = 0.001
    noise_local: float = 0.006

    def __post_init__(self) -> None:
        numbers = ("smoothing", "tolerance", "footprint", "position", "ridge",
                   "noise_mean", "noise_mixture", "noise_local")  # fmt: skip
        for name in numbers:
            if not getattr(self, name) >= 0:
                raise MethodError(f"{name} is {getattr(self, name)!r}; expected 0 or more.")
        if self.position_window < 1 or self.position_window % 2 == 0:
            raise MethodError(
                f"position_window is {self.position_window}; expected an odd number of coarse "
                "pixels."
            )
        if self.footprint > 1:
            raise MethodError(
                f"footprint is {self.footprint:g} coarse pixels; expected at most 1. Images that "
                "are blurred further should be ingested with their true pixel size "
                "(`native_resolution`)."
            )
