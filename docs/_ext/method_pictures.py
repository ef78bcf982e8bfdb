"""Draw what every method makes of a withheld day of the generated region, and a season of it.

The pictures are made when the documentation is built, in ``generated``, and only where a
method or the region has changed since.  None of them is kept with the sources.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sphinx.util import logging

import biastf_xr
from biastf_xr.methods import UNTRAINED
from biastf_xr.pictures._colour import composite, stretch
from biastf_xr.testing import SyntheticRegion
from biastf_xr.testing._views import stack_scenes

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from sphinx.application import Sphinx

PACKAGE = Path(biastf_xr.__file__).parent
SOURCES = (PACKAGE / "methods", PACKAGE / "testing", PACKAGE / "fusion")
BANDS = ["nir", "red", "green"]

# A region of 10 x 10 coarse pixels.  The flood crests a week before the first day.
REGION = SyntheticRegion(shape=(160, 160), days=113)
FIRST, WITHHELD, LAST = "2021-06-04", "2021-06-20", "2021-07-22"

# Days of the landing page, of whose fine images only the first and the last are used.
SEASON = ["2021-06-04", "2021-06-12", "2021-06-20", "2021-06-28", "2021-07-06", "2021-07-14",
          "2021-07-22"]  # fmt: skip

# Error in near infrared, shown from blue to red.
MOST_ERROR = 0.1

LOG = logging.getLogger(__name__)


def draw_pictures(app: Sphinx) -> None:
    """Write a picture of the inputs and one of every method, where they are out of date."""
    folder = Path(app.srcdir) / "generated" / "methods"
    stamp, state = folder / "stamp.txt", _state()
    if stamp.exists() and stamp.read_text() == state:
        return
    LOG.info("drawing what the methods make of the generated region...")
    folder.mkdir(parents=True, exist_ok=True)
    fine, coarse = _cubes()
    truth = _day(REGION.truth_cube([WITHHELD]))
    known = fine.sel(time=fine["time"] != np.datetime64(WITHHELD))
    chosen: dict[str, Any] = {name: name for name in UNTRAINED}
    chosen["biastf-plus"] = biastf_xr.fit(known, coarse)
    made = {n: _day(biastf_xr.fuse(known, coarse, m, dates=[WITHHELD])) for n, m in chosen.items()}
    there = np.logical_and.reduce(
        [np.isfinite(_stack(image)).all(axis=0) for image in made.values()]
    )
    limits = stretch(truth, BANDS)
    _draw_season(folder.parent / "season.png", fine, coarse, limits)
    _draw_inputs(folder / "inputs.png", fine, coarse, truth, limits)
    for name, image in made.items():
        _draw_method(folder / f"{name}.png", name, image, truth, there, limits)
    stamp.write_text(state)


def _state() -> str:
    """Digest everything that the pictures depend on."""
    total = hashlib.sha256()
    for path in [Path(__file__), *(f for s in SOURCES for f in sorted(s.rglob("*.py")))]:
        total.update(path.read_bytes())
    return total.hexdigest()


def _cubes() -> tuple[xr.Dataset, xr.Dataset]:
    """Return the scenes of both sensors between the base dates, clouds removed."""
    first, last = np.datetime64(FIRST), np.datetime64(LAST)
    cubes = []
    sensors: tuple[tuple[Any, Any, Any], ...] = (
        (REGION.fine_dates, REGION.fine_scene, REGION.fine_geobox),
        (REGION.coarse_dates, REGION.coarse_scene, REGION.coarse_geobox),
    )
    for dates, scene, grid in sensors:
        days = dates[(dates >= first) & (dates <= last)]
        scenes = ((s.reflectance, s.clear) for s in map(scene, days))
        cubes.append(stack_scenes(scenes, days, grid)[BANDS])
    return cubes[0], cubes[1]


def _day(cube: xr.Dataset) -> xr.Dataset:
    return cube.isel(time=0).load()


def _stack(image: xr.Dataset) -> NDArray[np.float32]:
    return np.stack([image[band].values for band in BANDS])


def _figure(panels: int, rows: int = 1) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.0 * panels, 3.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, panels)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def _draw_inputs(
    path: Path, fine: xr.Dataset, coarse: xr.Dataset, truth: xr.Dataset, limits: Any
) -> None:
    """Draw the base images, the coarse images of all three days, and the true image."""
    margin = REGION.coarse_margin
    inner = slice(margin, -margin or None)
    coarse = coarse.isel(y=inner, x=inner)
    panels = [
        (f"fine, {FIRST}", fine.sel(time=FIRST)),
        (f"coarse, {FIRST}", coarse.sel(time=FIRST)),
        (f"coarse, {WITHHELD}", coarse.sel(time=WITHHELD)),
        (f"coarse, {LAST}", coarse.sel(time=LAST)),
        (f"fine, {LAST}", fine.sel(time=LAST)),
        (f"true image, {WITHHELD}", truth),
    ]
    figure, axes = _figure(len(panels))
    figure.set_size_inches(2.2 * len(panels), 2.5)
    for axis, (title, image) in zip(axes, panels, strict=True):
        axis.imshow(composite(image, BANDS, limits), interpolation="nearest")
        axis.set_title(title, fontsize=9)
    figure.savefig(path, dpi=100)


def _draw_season(path: Path, fine: xr.Dataset, coarse: xr.Dataset, limits: Any) -> None:
    """Draw what the coarse sensor saw, what the fine one saw, and the fused cube, day by day."""
    known = fine.sel(time=[SEASON[0], SEASON[-1]])
    fused = biastf_xr.fuse(known, coarse, biastf_xr.fit(known, coarse), dates=SEASON).load()
    inner = slice(REGION.coarse_margin, -REGION.coarse_margin or None)
    rows = (
        ("coarse,\nevery day", coarse.isel(y=inner, x=inner)),
        ("fine,\ntwo scenes", known),
        ("fused,\nevery day", fused),
    )
    figure, grid = _figure(len(SEASON), rows=3)
    figure.set_size_inches(1.35 * len(SEASON) + 0.8, 4.6)
    for axes, (name, cube) in zip(grid, rows, strict=True):
        for axis, day in zip(axes, SEASON, strict=True):
            axis.set_axis_on()
            axis.set_box_aspect(1)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_color("0.8")
            if np.datetime64(day) in cube["time"].values:
                image = composite(cube.sel(time=day), BANDS, limits)
                axis.imshow(image, interpolation="nearest")
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
    for axis, day in zip(figure.axes, SEASON, strict=False):
        axis.set_title(day[5:], fontsize=11)
    figure.savefig(path, dpi=110)


def _draw_method(
    path: Path, name: str, image: xr.Dataset, truth: xr.Dataset, there: NDArray[np.bool_],
    limits: Any,
) -> None:  # fmt: skip
    """Draw the true image, the prediction, and its error in near infrared."""
    error = _stack(image) - _stack(truth)
    rmse = np.sqrt((error[:, there].astype(float) ** 2).mean(axis=1)).mean()
    figure, axes = _figure(3)
    for axis, title, shown in (
        (axes[0], "true image", truth),
        (axes[1], f"{name}\nRMSE {rmse:.4f}", image),
    ):
        axis.imshow(composite(shown, BANDS, limits), interpolation="nearest")
        axis.set_title(title, fontsize=9)
    axes[2].set_facecolor("0.85")
    axes[2].set_axis_on()
    axes[2].set_xticks([])
    axes[2].set_yticks([])
    shown = axes[2].imshow(
        error[0], cmap="RdBu_r", vmin=-MOST_ERROR, vmax=MOST_ERROR, interpolation="nearest"
    )
    axes[2].set_title("error in near infrared\n(prediction - true)", fontsize=9)
    figure.colorbar(shown, ax=axes[2], shrink=0.8)
    figure.savefig(path, dpi=100)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", draw_pictures)
    return {"parallel_read_safe": True}
