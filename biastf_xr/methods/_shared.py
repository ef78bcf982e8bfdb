"""The options that several methods share: each declared and documented once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from biastf_xr.methods._options import option

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class SharedOptions:
    """Options that several methods share; a method has those that it declares with `shared`.

    Attributes
    ----------
    window : int
        Side of the window in which similar pixels are sought, odd.
    window_unit : {"fine", "coarse"}
        Whether `window` counts fine or coarse pixels.
    similar : int
        How many similar pixels count; 0, for "estarfm" only, for all that pass the threshold, as in
        its paper.
    distance : float or None
        Fine pixels at which a similar pixel weighs half as much as the centre; by default half the
        window.
    threshold : float or None
        A pixel is similar if it differs by less than this reflectance, whatever the standard
        deviation.
    weights : {"change", "time", "equal"}
        How the predictions from the two base dates are weighted: by inverse coarse change, by
        distance in time, or equally; of "biastf" also "learned", by inverse expected error.
    weight_window : int
        Side of the window that averages the change for `weights`, odd, in coarse pixels, of
        "stfdcnn" in pixels of the stage; 1 for single pixels.
    upsampling : {"bilinear", "nearest"}
        How coarse images and their changes are brought to the fine grid; "nearest" takes the coarse
        pixels as they were delivered.
    valid_range : tuple of float
        Smallest and largest reflectance.  A result outside gives way to the method's fallback.
    seed : int
        Seed of everything random.
    start : path, optional
        Checkpoint of a model, of another region or year for instance, whose networks are refined.
    resume : bool
        Whether the state of the fit is kept beside the checkpoint after every epoch, and a fit
        that was interrupted goes on from there.
    """

    window: int = option(51, odd=True, most=999)
    window_unit: str = option("fine", choices=("fine", "coarse"))
    similar: int = option(20, least=1, most=255)
    distance: float | None = option(None, above=0)
    threshold: float | None = option(None, above=0)
    weights: str = option("change", choices=("change", "time", "equal"))
    weight_window: int = option(3, odd=True, most=999)
    upsampling: str = option("bilinear", choices=("bilinear", "nearest"))
    valid_range: tuple[float, float] = option((0.0, 1.0))
    seed: int = option(0)
    start: str | Path | None = option(None)
    resume: bool = option(True)


def shared(name: str, **other: Any) -> Any:
    """Declare a shared option; `other` has what differs from it, as for `option`."""
    declared = SharedOptions.__dataclass_fields__[name]
    return option(**{"default": declared.default, **declared.metadata, "shared": True, **other})
