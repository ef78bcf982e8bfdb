"""Figures that show themselves in a notebook, and what most pictures do with a cube."""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from biastf_xr._days import to_days
from biastf_xr._files import replacing
from biastf_xr._outside import visible
from biastf_xr.cube._cube import bands_of
from biastf_xr.cube._spec import STATUS
from biastf_xr.errors import BiastfError, CubeStructureError, TargetDateError
from biastf_xr.grid import geobox_of
from biastf_xr.pictures._colour import MISSING, composite

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr.pictures._colour import Image

    Float = NDArray[np.floating]

# Longest side of a drawn image in pixels; larger ones are drawn from every n-th pixel.
DRAWN = 600

# Dots per inch: of notebooks, and of files.
SCREEN, FILE = 72, 110

# Width of a panel in inches.
PANEL = 2.6

# A colour scale that is not given ends at this percentile of what it shows.
PERCENTILE = 98.0


class Drawing(Figure):
    """A figure that a notebook shows as a picture, with or without pyplot."""

    def draw(self, renderer: Any) -> None:
        """Draw every text as it is: a dollar sign in a name starts no formula."""
        for text in self.findobj(Text):
            text.set_parse_math(False)
            text.set_text(visible(text.get_text(), keep="\n"))
        super().draw(renderer)

    def png(self, dpi: int | str = "figure") -> bytes:
        """Return the picture as a file."""
        file = BytesIO()
        self.savefig(file, format="png", dpi=dpi)
        return file.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()


def drawing(width: float, height: float) -> Drawing:
    """Make an empty figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = Drawing(figsize=(width, height), dpi=SCREEN, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(count: int, shape: Sequence[int], across: int = 4) -> tuple[Drawing, list[Any]]:
    """Make a figure of image panels without ticks."""
    across = min(count, across)
    rows = -(-count // across)
    figure = drawing(PANEL * across + 0.4, (panel_height(shape) + 0.35) * rows + 0.4)
    axes = list(figure.subplots(rows, across, squeeze=False).ravel())
    for axis in axes:
        axis.set_axis_off()
    return figure, axes[:count]


def panel_height(shape: Sequence[int]) -> float:
    """Return the height of a panel in inches that shows an image of some rows and columns."""
    return PANEL * min(max(shape[-2] / shape[-1], 0.4), 2)


def finished(figure: Drawing, path: str | Path | None) -> Drawing:
    """Save a figure where a path is given."""
    if path is not None:
        with replacing(Path(path)) as partial:
            figure.savefig(partial, dpi=FILE)
    return figure


def thin(image: Float, most: int = DRAWN) -> Float:
    """Take every n-th pixel of an array ``(..., y, x)`` that is larger than what is drawn."""
    step = max(-(-max(image.shape[-2:]) // most), 1)
    return image[..., ::step, ::step]


def extent(images: Sequence[Float]) -> float:
    """Return where a colour scale ends: a high percentile of the size of what is known."""
    sizes = np.abs(np.concatenate([image[np.isfinite(image)] for image in images]))
    return max(float(np.percentile(sizes, PERCENTILE)), 1e-6) if sizes.size else 1.0


def thinned(ds: xr.Dataset, most: int = DRAWN) -> xr.Dataset:
    """Take every n-th row and column of a cube that is larger than what is drawn; lazy."""
    step = max(-(-max(ds.sizes["y"], ds.sizes["x"]) // most), 1)
    return ds.isel(y=slice(None, None, step), x=slice(None, None, step))


def at_day(ds: xr.Dataset, day: Any, what: str = "the cube") -> xr.Dataset:
    """Take one date of a cube; lazy."""
    wanted, have = to_days(day)[0], to_days(ds["time"])
    found = np.flatnonzero(have == wanted)
    if not found.size:
        span = f"{have.size} dates, {have[0]} to {have[-1]}" if have.size else "none"
        raise TargetDateError(f"{what} has no image of {wanted}; it has {span}.")
    return ds.isel(time=int(found[0])) if "time" in ds.dims else ds


def band_to_show(ds: xr.Dataset, band: str | None) -> str:
    """Choose a band: near infrared by default, where there is one."""
    bands = bands_of(ds)
    chosen = band or ("nir" if "nir" in bands else bands[0] if bands else "")
    if chosen not in ds:
        raise CubeStructureError(f"no band {chosen!r} to draw; expected one of {list(bands)}.")
    return chosen


def flags_of(ds: xr.Dataset) -> dict[int, str]:
    """Read the names of the values of `status_flag`."""
    if "status_flag" not in ds:
        raise CubeStructureError(
            f"no variable 'status_flag' to draw; got {[str(n) for n in ds.data_vars]}. "
            "Expected a fused cube."
        )
    attrs = ds["status_flag"].attrs
    if "flag_meanings" in attrs:
        values = np.atleast_1d(attrs["flag_values"]).astype(int).tolist()
        return dict(zip(values, str(attrs["flag_meanings"]).split(), strict=True))
    return {value: name for name, value in STATUS.items()}


def show_image(
    axis: Any, image: Image, colours: Sequence[str], limits: tuple[float, float], title: str
) -> None:
    """Show one date in colours."""
    axis.imshow(composite(image, colours, limits), interpolation="nearest")
    axis.set_title(title, fontsize=9)


def show_numbers(axis: Any, values: Any, title: str, **how: Any) -> Any:
    """Show numbers in colours, missing ones grey; return what a colour bar is made of."""
    axis.set_axis_on()
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_facecolor(str(MISSING))
    axis.set_title(title, fontsize=9)
    return axis.imshow(values, interpolation="nearest", **how)


def show_map(figure: Drawing, axis: Any, values: Any, title: str, label: str, **how: Any) -> None:
    """Show numbers in colours, with a scale; missing ones are grey."""
    shown = show_numbers(axis, values, title, **how)
    bar = figure.colorbar(shown, ax=axis, shrink=0.8, pad=0.02)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def scale_bar(axis: Any, ds: xr.Dataset) -> None:
    """Draw a scale bar of a kilometre, or a round part or multiple of it, in metres."""
    try:
        geobox = geobox_of(ds, "the cube")
    except BiastfError:
        return
    if geobox.crs is None or not str(geobox.crs.units[0]).startswith("met"):
        return
    step, columns = abs(geobox.affine.a), ds.sizes["x"]
    length = 10 ** math.floor(math.log10(step * columns / 2.5))
    length *= max(f for f in (1, 2, 5) if f * length <= step * columns / 2.5)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    y, x = ds.sizes["y"] * 0.94, columns * 0.05
    for colour, width in (("black", 4.5), ("white", 2)):
        axis.plot([x, x + length / step], [y, y], color=colour, lw=width, solid_capstyle="butt")
    axis.text(x, y * 0.975, label, fontsize=8, color="white", va="bottom",
              bbox={"facecolor": "black", "alpha": 0.55, "pad": 1.5, "lw": 0})  # fmt: skip
