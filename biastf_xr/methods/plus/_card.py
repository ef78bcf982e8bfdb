"""Options of "biastf-plus" and what a fit leaves: a few numbers and all that made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field

from biastf_xr._series import Smoothing
from biastf_xr.methods._options import check_fields, option
from biastf_xr.methods.base import ByBand, ModelCard, NotNegative, Positive, Share
from biastf_xr.methods.plus._change import PARTS
from biastf_xr.methods.plus._uncertainty import ASSUMED

NAME = "biastf-plus"


Kept = TypeVar("Kept")


def _of_both(value: dict[str, Any]) -> dict[str, Any]:
    if {*value} != {"one", "two"}:
        raise ValueError("expected numbers for one base date and for two")
    return value


# Types of what is kept by number of base dates, and of the numbers in it.
BySides = Annotated[dict[str, Kept], AfterValidator(_of_both)]
SharesOfParts = Annotated[
    tuple[NotNegative, ...], Field(min_length=len(PARTS), max_length=len(PARTS))
]
Terms = Annotated[tuple[NotNegative, ...], Field(min_length=len(ASSUMED), max_length=len(ASSUMED))]


@dataclass(frozen=True, kw_only=True)
class PlusOptions:
    """Options of the fit of "biastf-plus"; all else is estimated on the base dates.

    Attributes
    ----------
    smoothing : float
        Days over which the coarse series is smoothed; 0 takes it as observed.
    tolerance : float
        How fast a coarse image loses weight that differs from that of the day by more than noise.
    """

    smoothing: float = option(4.0, least=0)
    tolerance: float = option(0.2, least=0, rare=True)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class PlusCard(ModelCard):
    """What was learned of two sensors, and from what.

    `rule`: The options; see `PlusOptions`.
    `footprint`: Standard deviation of the coarse sensor's blur beyond its pixel, in coarse pixels.
    `response`: What the coarse sensor makes of a fine change of 1, by band.
    `scatter`: Noise of a coarse image beside the fine one, by band, reflectance.
    `noise`, `jitter`: Noise of one coarse observation beside the next, by band; see
    `biastf_xr._series.Smoothing`.
    `doubt`: By number of base dates ("one", "two"), what the variance of `scatter` is multiplied
    by: what predicted the known dates best at the coarse scale.
    `shares`: By number of base dates, the shares of the parts of a prediction, in the order of
    `biastf_xr.methods.plus._change.PARTS`; all 0 is interpolation in time.
    `error`: By number of base dates, for every band the terms of the variance of the error; see
    `biastf_xr.methods.plus._uncertainty`.
    `calibrated`: By number of base dates, how many dates shares and terms were fitted on; 0 where
    they are assumed.
    `days`: Fine dates the fit has seen, ascending.
    `coverage`: By number of base dates, share of errors within the nominal 68 % interval on
    those dates.
    """

    rule: dict[str, Any]
    footprint: Share
    response: ByBand[Positive]
    scatter: ByBand[NotNegative]
    noise: ByBand[NotNegative]
    jitter: ByBand[NotNegative]
    doubt: BySides[NotNegative]
    shares: BySides[SharesOfParts]
    error: BySides[ByBand[Terms]]
    calibrated: BySides[int]
    days: tuple[str, ...]
    coverage: dict[str, Share] = field(default_factory=dict)
    method: str = NAME

    def __post_init__(self) -> None:
        PlusOptions(**self.rule)  # a card with other options is of another version

    @property
    def smoothing(self) -> Smoothing | None:
        """Return how the coarse series is smoothed."""
        rule = PlusOptions(**self.rule)
        if not rule.smoothing:
            return None
        noise = tuple(self.noise), tuple(self.jitter)
        return Smoothing(rule.smoothing, rule.tolerance, *noise)
