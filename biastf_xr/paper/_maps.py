"""Maps of change, bias and error of predictions, as the paper shows them.

References
----------
Li Y., Li J., He L., Chen J., Plaza A., Sci. China Inf. Sci. 63, 140302, 2020,
doi 10.1007/s11432-019-2805-y: Figures 2, 4, 9 and 10.  The definitions are readings of their
captions: the paper's equations could not be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._cube import bands_of
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.errors import CubeStructureError
from biastf_xr.grid import Tile, Upsampler
from biastf_xr.pictures._canvas import at_day

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from biastf_xr.grid import Alignment, Upsampling
    from biastf_xr.methods.base import Float


@dataclass(frozen=True)
class Case:
    """One date, predicted by several methods, and what the predictions are judged by.

    `label`: What to call it, for instance its date.
    `bands`: Names of the band axis of every image.
    `images`: Predictions by name, shape ``(band, y, x)``, reflectance, NaN where there is none.
    `truth`: The fine image that was withheld, same shape.
    `base`: Fine image F_ref of the date that changes are counted from, same shape.
    `coarse`, `coarse_base`: Coarse images of the two dates on the fine grid, same shape; see
    `on_fine_grid`.
    `notes`: The line below the name of a prediction; by default RMSE and CC, mean over
    bands.
    """

    label: str
    bands: tuple[str, ...]
    images: Mapping[str, Float]
    truth: Float
    base: Float
    coarse: Float
    coarse_base: Float
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.images:
            raise CubeStructureError(f"{self.label}: no prediction to draw; expected at least one.")
        expected = (len(self.bands), *self.truth.shape[-2:])
        shapes = {name: image.shape for name, image in self.images.items()}
        shapes |= {n: getattr(self, n).shape for n in ("truth", "base", "coarse", "coarse_base")}
        wrong = {name: shape for name, shape in shapes.items() if shape != expected}
        if wrong:
            raise CubeStructureError(
                f"{self.label}: images have the shapes {wrong}; expected {expected}, "
                "(band, y, x) on the fine grid."
            )


def on_fine_grid(coarse: Float, alignment: Alignment, upsampling: Upsampling = "bilinear") -> Float:
    """Bring a whole coarse image to the fine grid.

    `coarse`: Shape ``(..., h, w)``, the whole coarse grid; NaN is missing.
    """
    fine = Tile(0, alignment.shape[0], 0, alignment.shape[1])
    whole = Tile(0, alignment.coarse_shape[0], 0, alignment.coarse_shape[1])
    return Upsampler(alignment, fine, whole)(coarse, upsampling)


def image_of(cube: xr.Dataset, day: Any) -> Float:
    """Load one date of a cube."""
    image = at_day(cube, day).load()
    return np.stack([image[band].values for band in bands_of(cube)])


def case_of(
    images: Mapping[str, Float],
    fine: xr.Dataset,
    coarse: xr.Dataset,
    day: Any,
    base: Any,
    *,
    label: str = "",
    notes: Mapping[str, str] | None = None,
    every: int = 1,
    upsampling: Upsampling = "bilinear",
) -> Case:
    """Load from the cubes what predictions of one date are judged by.

    Eager: two dates of both cubes.

    `images`: Predictions by name, shape ``(band, y, x)``: of the pixels that `every` takes.
    `fine`, `coarse`: The cubes, with the same bands as the predictions; the fine one holds the
    withheld image.
    `day`, `base`: The predicted date, and the one that changes are counted from.
    `every`: Take every n-th row and column of the cubes only.
    `upsampling`: How the coarse images are brought to the fine grid.
    """
    alignment = pair_cubes(fine, coarse).alignment
    thin = ..., slice(None, None, every), slice(None, None, every)
    low = [on_fine_grid(image_of(coarse, d), alignment, upsampling)[thin] for d in (day, base)]
    high = [image_of(fine, d)[thin] for d in (day, base)]
    return Case(
        label or str(day),
        bands_of(fine),
        images,
        truth=high[0],
        base=high[1],
        coarse=low[0],
        coarse_base=low[1],
        notes=notes or {},
    )


def bias_map(image: Float, base: Float, coarse: Float, coarse_base: Float) -> Float:
    """Return the bias, ``(F - F_ref) - (C - C_ref)``: the fine change less the coarse one.

    `image`, `base`: Fine image, true or predicted, and true fine base image; any equal shape.
    `coarse`, `coarse_base`: Coarse images of the same dates on the fine grid, same shape.
    Returned: Reflectance; NaN where any is missing. Zero for a prediction that takes the coarse
    change over as it is.
    """
    return (image - base) - (coarse - coarse_base)


def bias_error_map(
    image: Float, truth: Float, base: Float, coarse: Float, coarse_base: Float
) -> Float:
    """Return the squared error of the bias that a prediction amounts to.

    The base image and the coarse change are common to both biases, so this is the squared error of
    the prediction itself.

    `image`, `truth`, `base`: Prediction, withheld fine image and true fine base image; any
    equal shape.
    `coarse`, `coarse_base`: Coarse images of the two dates on the fine grid, same shape.
    """
    known = base, coarse, coarse_base
    return (bias_map(image, *known) - bias_map(truth, *known)) ** 2
