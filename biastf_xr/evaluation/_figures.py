"""The figures of the paper, for any method: changes, biases, their errors, residuals, predictions.

Every map of several methods has one scale.

References
----------
Li Y., Li J., He L., Chen J., Plaza A., Sci. China Inf. Sci. 63, 140302, 2020,
doi 10.1007/s11432-019-2805-y: Figures 2, 4 and 7 to 10.  The definitions are readings of their
captions: the paper's equations could not be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.errors import CubeStructureError
from biastf_xr.evaluation._maps import bias_error_map, bias_map, change_map, residual_map
from biastf_xr.evaluation.metrics import cc, rmse
from biastf_xr.pictures._colour import choose_colours, composite, stretch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from biastf_xr.evaluation._maps import Case
    from biastf_xr.methods.base import Float

# Longest side of a drawn map in pixels; larger images are drawn from every n-th pixel.
DRAWN = 600

# A colour scale ends at this percentile of what it shows.
PERCENTILE = 98.0

SIGNED, POSITIVE, MISSING = "RdBu_r", "magma", "0.85"

# Width of a panel in inches, and panels beside each other.
PANEL, ACROSS = 2.3, 6


def draw_predictions(case: Case, path: Path, colours: Sequence[str] | None = None) -> Path:
    """Draw the predictions side by side, after the coarse image and the truth (Figures 7 and 8).

    `colours`: Bands for red, green and blue; false colour by default, where there is near
    infrared.
    """
    colours = tuple(colours or choose_colours(case.bands))
    truth = _dataset(case.truth, case.bands)
    limits = stretch(truth, colours)
    panels = {
        "fine, base date": case.base,
        "coarse, target date": case.coarse,
        "withheld fine image": case.truth,
    }
    titles = {name: name for name in panels}
    for name, image in case.images.items():
        titles[name] = f"{name}\n{case.notes.get(name) or _measures(image, case.truth)}"
    panels |= case.images
    figure, axes = _panels(len(panels), case.truth.shape[-2:])
    for axis, (name, image) in zip(axes, panels.items(), strict=False):
        shown = composite(_dataset(_thin(image), case.bands), colours, limits)
        axis.imshow(shown, interpolation="nearest")
        axis.set_title(titles[name], fontsize=9)
    figure.suptitle(
        f"{case.label}: predictions; {', '.join(dict.fromkeys(colours))} as red, green, blue; "
        f"reflectance {limits[0]:.2f} to {limits[1]:.2f}",
        fontsize=11,
    )
    return _save(figure, path)


def draw_bias(case: Case, path: Path, band: str | None = None) -> Path:
    """Draw change, bias, and squared error of the bias of every method (Figures 9 and 10).

    `band`: The band; near infrared by default, where there is one.
    """
    band, (truth, base, coarse, coarse_base), images = _of_band(case, band)
    known = base, coarse, coarse_base
    everyone = {"truth": truth} | images
    rows: list[tuple[str, str, dict[str, Float]]] = [
        ("change", "reflectance", {n: change_map(i, base) for n, i in everyone.items()}),
        ("bias", "reflectance", {n: bias_map(i, *known) for n, i in everyone.items()}),
        (
            "squared error of the bias",
            "reflectance²",
            {n: bias_error_map(i, truth, *known) for n, i in images.items()},
        ),
    ]
    height, width = _panel_size(truth.shape)
    count = len(everyone)
    figure = _figure(width * count + 1.6, (height + 0.45) * len(rows) + 0.5)
    grid = figure.subplots(len(rows), count, squeeze=False)
    for axes, (what, unit, maps) in zip(grid, rows, strict=True):
        notes = {n: f"{n}\n{_note(what, m)}" for n, m in maps.items()}
        _draw_row(figure, axes, list(everyone), maps, notes, f"{what}, {unit}")
        axes[0].text(
            -0.04, 0.5, what, transform=axes[0].transAxes, rotation=90, ha="right", va="center"
        )
    figure.suptitle(
        f"{case.label}: change since the base date and its bias, {band}. "
        "Bias: fine change less coarse change",
        fontsize=11,
    )
    return _save(figure, path)


def draw_residuals(case: Case, path: Path, band: str | None = None) -> Path:
    """Draw the reconstruction residual of every method (Figure 4).

    `band`: The band; near infrared by default, where there is one.
    """
    band, (truth, *_), images = _of_band(case, band)
    maps = {name: residual_map(image, truth) for name, image in images.items()}
    notes = {name: f"{name}\n{_note('residual', m)}" for name, m in maps.items()}
    figure, axes = _panels(len(maps), truth.shape)
    _draw_row(figure, axes, list(maps), maps, notes, "residual, reflectance")
    figure.suptitle(
        f"{case.label}: reconstruction residual, {band}. Prediction less truth", fontsize=11
    )
    return _save(figure, path)


def draw_all(case: Case, folder: Path, stem: str, band: str | None = None) -> dict[str, Path]:
    """Draw every figure of one date.

    `band`: The band of the maps; near infrared by default.
    """
    draw: dict[str, Callable[[Path], Path]] = {
        "predictions": lambda path: draw_predictions(case, path),
        "bias": lambda path: draw_bias(case, path, band),
        "residuals": lambda path: draw_residuals(case, path, band),
    }
    return {name: make(folder / f"{stem}_{name}.png") for name, make in draw.items()}


def _of_band(case: Case, band: str | None) -> tuple[str, list[Float], dict[str, Float]]:
    """Return one band: its name; truth, base, both coarse images; the predictions."""
    band = band or ("nir" if "nir" in case.bands else case.bands[0])
    if band not in case.bands:
        raise CubeStructureError(
            f"{case.label}: no band {band!r} to draw; expected one of {list(case.bands)}."
        )
    at = case.bands.index(band)
    known = [i[at] for i in (case.truth, case.base, case.coarse, case.coarse_base)]
    return band, known, {name: image[at] for name, image in case.images.items()}


def _measures(image: Float, truth: Float) -> str:
    pairs = list(zip(image, truth, strict=True))
    error, likeness = (float(np.mean([f(p, r) for p, r in pairs])) for f in (rmse, cc))
    return f"RMSE {error:.4f}  CC {likeness:.3f}"


def _note(what: str, values: Float) -> str:
    """Return in figures what a map shows."""
    known = values[np.isfinite(values)]
    if not known.size:
        return "no pixel"
    if what.startswith("squared"):
        return f"root of the mean {np.sqrt(known.mean(dtype=np.float64)):.4f}"
    spread = known.std(dtype=np.float64)
    return f"mean {known.mean(dtype=np.float64):+.4f}  sd {spread:.4f}"


def _draw_row(
    figure: Any,
    axes: Any,
    places: Sequence[str],
    maps: Mapping[str, Float],
    notes: Mapping[str, str],
    label: str,
) -> None:
    """Draw maps on one colour scale; a place without a map stays empty."""
    rows = len({axis.get_subplotspec().rowspan.start for axis in axes})
    signed = not label.startswith("squared")
    top = _extent(list(maps.values()))
    low, colours = (-top, SIGNED) if signed else (0.0, POSITIVE)
    shown: Any = None
    for axis, name in zip(axes, places, strict=False):
        if name in maps:
            shown = axis.imshow(
                _thin(maps[name]), vmin=low, vmax=top, cmap=colours, interpolation="nearest"
            )
            _grey_where_missing(axis, maps[name])
            axis.set_title(notes[name], fontsize=9)
    bar = figure.colorbar(
        shown, ax=list(axes), label=label, extend="both" if signed else "max",
        aspect=20 * rows, fraction=0.05, pad=0.01,
    )  # fmt: skip
    bar.ax.tick_params(labelsize=8)
    bar.formatter.set_powerlimits((-3, 3))


def _extent(maps: Sequence[Float]) -> float:
    """Return where a colour scale ends: a high percentile over all maps."""
    sizes = np.concatenate([np.abs(_thin(m)).ravel() for m in maps])
    sizes = sizes[np.isfinite(sizes)]
    return max(float(np.percentile(sizes, PERCENTILE)), 1e-6) if sizes.size else 1.0


def _grey_where_missing(axis: Any, values: Float) -> None:
    missing = ~np.isfinite(_thin(values))
    if missing.any():
        cover = np.zeros((*missing.shape, 4))
        cover[missing] = (*(float(MISSING),) * 3, 1)
        axis.imshow(cover, interpolation="nearest")


def _thin(image: Float) -> Float:
    """Take every n-th pixel of an image that is larger than what is drawn."""
    step = max(-(-max(image.shape[-2:]) // DRAWN), 1)
    return image[..., ::step, ::step]


def _dataset(image: Float, bands: Sequence[str]) -> Any:
    import xarray as xr

    return xr.Dataset({b: (("y", "x"), i) for b, i in zip(bands, image, strict=True)})


def _panel_size(shape: Sequence[int]) -> tuple[float, float]:
    """Return height and width of a panel in inches."""
    return PANEL * min(max(shape[-2] / shape[-1], 0.5), 2), PANEL


def _panels(count: int, shape: Sequence[int]) -> tuple[Any, list[Any]]:
    """Make a figure of panels in rows, without ticks; those too many are blank."""
    height, width = _panel_size(shape)
    across = min(count, ACROSS)
    rows = -(-count // across)
    figure = _figure(width * across + 1.0, (height + 0.45) * rows + 0.5)
    axes = list(figure.subplots(rows, across, squeeze=False).ravel())
    return figure, axes


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(width, 5.0), height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> Path:
    for axis in figure.axes:
        if axis.get_label() != "<colorbar>":
            axis.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
