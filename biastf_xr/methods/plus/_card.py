"""Options of "biastf-plus" and what a fit leaves: a few numbers and all that made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._series import Smoothing
from biastf_xr.errors import MethodError
from biastf_xr.methods._options import check_fields, option
from biastf_xr.methods.base import ModelCard

if TYPE_CHECKING:
    from biastf_xr.grid import Float

NAME = "biastf-plus"


@dataclass(frozen=True)
class Sensors:
    """How the two sensors compare, by band; estimated once, in the fit.

    `response`: What the coarse sensor makes of a fine change of 1.
    `spread`: Standard deviation of coarse change minus response times fine change, reflectance.
    """

    response: Float
    spread: Float


@dataclass(frozen=True, kw_only=True)
class PlusOptions:
    """Options of the fit of "biastf-plus": every step can be switched off for comparison.

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

    smoothing: float = option(4.0, least=0)
    tolerance: float = option(0.2, least=0, rare=True)
    footprint: float = option(0.5, least=0)
    response: bool = True
    position: float = option(10.0, least=0)
    position_window: int = option(3, odd=True, rare=True)
    mixture: bool = True
    ridge: float = option(0.03, least=0, rare=True)
    noise_mean: float = option(0.006, least=0, rare=True)
    noise_mixture: float = option(0.001, least=0, rare=True)
    noise_local: float = option(0.006, least=0, rare=True)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.footprint > 1:
            raise MethodError(
                f"footprint is {self.footprint:g} coarse pixels; expected at most 1. Images that "
                "are blurred further should be ingested with their true pixel size "
                "(`native_resolution`)."
            )


@dataclass(frozen=True, kw_only=True)
class PlusCard(ModelCard):
    """What was learned of two sensors, and from what.

    `rule`: The options; see `PlusOptions`.
    `response`: What the coarse sensor makes of a fine change of 1, by band.
    `spread`: Standard deviation of the coarse change that the fine sensor does not share, by
    band.
    `noise`, `jitter`: Noise of one coarse observation, by band; see
    `biastf_xr._series.Smoothing`.
    `error`: By number of base dates ("one", "two"), for every band the three terms of the
    variance of the error; see `biastf_xr.methods.plus._uncertainty`.
    `trust`: By number of base dates, how far predictions depart from interpolation in time: 1
    where that pays on known dates, less down to 0 where it does not.
    `calibrated`: By number of base dates, how many dates the terms were fitted on; 0 where they
    are assumed.
    `days`: Fine dates the fit has seen, ascending.
    `coverage`: By number of base dates, share of errors within the nominal 68 % interval on
    those dates.
    """

    rule: dict[str, Any]
    response: tuple[float, ...]
    spread: tuple[float, ...]
    noise: tuple[float, ...]
    jitter: tuple[float, ...]
    error: dict[str, tuple[tuple[float, ...], ...]]
    trust: dict[str, float]
    calibrated: dict[str, int]
    days: tuple[str, ...]
    coverage: dict[str, float] = field(default_factory=dict)
    method: str = NAME

    def __post_init__(self) -> None:
        PlusOptions(**self.rule)  # a card with other options is of another version

    @property
    def options(self) -> PlusOptions:
        """Return the options."""
        return PlusOptions(**self.rule)

    @property
    def sensors(self) -> Sensors:
        """Return how the two sensors compare."""
        response = np.array(self.response, np.float32)
        if not self.options.response:
            response = np.ones_like(response)
        return Sensors(response, np.array(self.spread, np.float32))

    @property
    def smoothing(self) -> Smoothing | None:
        """Return how the coarse series is smoothed."""
        rule = self.options
        if not rule.smoothing:
            return None
        noise = tuple(self.noise), tuple(self.jitter)
        return Smoothing(rule.smoothing, rule.tolerance, *noise)
