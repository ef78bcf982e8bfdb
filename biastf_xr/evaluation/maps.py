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

from biastf_xr.cube.guards import pair_cubes
from biastf_xr.cube.spec import to_days
from biastf_xr.cube.store import bands_of
from biastf_xr.errors import CubeStructureError, TargetDateError
from biastf_xr.grid import Tile, Upsampler

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from biastf_xr.grid import Alignment, Upsampling
    from biastf_xr.methods.base import Float


@dataclass(frozen=True)
class Case:
    """One date, predicted by several methods, and what the predictions are judged by.

    Attributes
    ----------
    label : str
        What to call it, for instance its date.
    bands : tuple of str
        Names of the band axis of every image.
    images : mapping of str to ndarray of float32
        Predictions by name, shape ``(band, y, x)``, reflectance, NaN where there is none.
    truth : ndarray of float32
        The fine image that was withheld, same shape.
    base : ndarray of float32
        Fine image F_ref of the date that changes are counted from, same shape.
    coarse, coarse_base : ndarray of float32
        Coarse images of the two dates on the fine grid, same shape; see `on_fine_grid`.
    notes : mapping of str
        What to say of a prediction under its name; by default RMSE and CC, mean over bands.

    Raises
    ------
    CubeStructureError
        If shapes differ, or there is no prediction.
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

    Parameters
    ----------
    coarse : ndarray of float32
        Shape ``(..., h, w)``, the whole coarse grid; NaN is missing.
    alignment : Alignment
        How the grids lie.
    upsampling : {"bilinear", "nearest"}
        How; by default as most methods do.

    Returns
    -------
    ndarray of float32
        Shape ``(..., y, x)``, the whole fine grid.
    """
    fine = Tile(0, alignment.shape[0], 0, alignment.shape[1])
    whole = Tile(0, alignment.coarse_shape[0], 0, alignment.coarse_shape[1])
    return Upsampler(alignment, fine, whole)(coarse, upsampling)


def image_of(cube: xr.Dataset, day: Any) -> Float:
    """Load one date of a cube.

    Parameters
    ----------
    cube : xarray.Dataset
        The cube.
    day : date
        The date.

    Returns
    -------
    ndarray of float32
        Shape ``(band, y, x)``, NaN where missing.

    Raises
    ------
    TargetDateError
        If the cube has no such date.
    """
    found = np.flatnonzero(to_days(cube["time"].values) == to_days([day])[0])
    if not found.size:
        have = ", ".join(map(str, to_days(cube["time"].values)))
        raise TargetDateError(f"the cube has no image of {day}; it has {have}.")
    image = cube.isel(time=int(found[0])).load()
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

    Parameters
    ----------
    images : mapping of str to ndarray of float32
        Predictions by name, shape ``(band, y, x)``: of the pixels that `every` takes.
    fine, coarse : xarray.Dataset
        The cubes, with the same bands as the predictions; the fine one holds the withheld image.
    day, base : date
        The predicted date, and the one that changes are counted from.
    label : str
        What to call it; the date by default.
    notes : mapping of str, optional
        See `Case`.
    every : int
        Take every n-th row and column of the cubes only.
    upsampling : {"bilinear", "nearest"}
        How the coarse images are brought to the fine grid.

    Returns
    -------
    Case
        The date.

    Raises
    ------
    TargetDateError
        If a cube has not both dates.
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


def change_map(image: Float, base: Float) -> Float:
    """Give the change since the base date, ``F - F_ref``.

    Parameters
    ----------
    image, base : ndarray of float32
        Images of one sensor on two dates, any equal shape; of a prediction the base is the true
        fine image.

    Returns
    -------
    ndarray of float32
        Reflectance; NaN where either is missing.
    """
    return image - base


def bias_map(image: Float, base: Float, coarse: Float, coarse_base: Float) -> Float:
    """Give the bias, ``(F - F_ref) - (C - C_ref)``: the fine change less the coarse one.

    Parameters
    ----------
    image, base : ndarray of float32
        Fine image, true or predicted, and true fine base image; any equal shape.
    coarse, coarse_base : ndarray of float32
        Coarse images of the same dates on the fine grid, same shape.

    Returns
    -------
    ndarray of float32
        Reflectance; NaN where any is missing.  Zero for a prediction that takes the coarse change
        over as it is.
    """
    return change_map(image, base) - change_map(coarse, coarse_base)


def bias_error_map(
    image: Float, truth: Float, base: Float, coarse: Float, coarse_base: Float
) -> Float:
    """Give the squared error of the bias that a prediction amounts to.

    The base image and the coarse change are common to both biases, so this is the squared error of
    the prediction itself.

    Parameters
    ----------
    image, truth, base : ndarray of float32
        Prediction, withheld fine image and true fine base image; any equal shape.
    coarse, coarse_base : ndarray of float32
        Coarse images of the two dates on the fine grid, same shape.

    Returns
    -------
    ndarray of float32
        Squared reflectance; NaN where any is missing.
    """
    known = base, coarse, coarse_base
    return (bias_map(image, *known) - bias_map(truth, *known)) ** 2


def residual_map(image: Float, truth: Float) -> Float:
    """Give the reconstruction residual, prediction less truth.

    Not published as a formula; this reading follows the caption of Figure 4.

    Parameters
    ----------
    image, truth : ndarray of float32
        Prediction and withheld fine image, any equal shape.

    Returns
    -------
    ndarray of float32
        Reflectance, positive where the prediction is too bright; NaN where either is missing.
    """
    return image - truth
