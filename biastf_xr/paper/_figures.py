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

from biastf_xr.cube._cube import bands_of
from biastf_xr.errors import CubeStructureError
from biastf_xr.evaluation.metrics import cc, rmse
from biastf_xr.paper._maps import bias_error_map, bias_map, case_of
from biastf_xr.paper._tables import columns_of
from biastf_xr.pictures._canvas import (
    DRAWN,
    PANEL,
    drawing,
    extent,
    finished,
    panel_height,
    panels,
    show_image,
    show_numbers,
    thin,
)
from biastf_xr.pictures._colour import choose_colours, describe_colours, stretch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from biastf_xr.methods.base import Float
    from biastf_xr.paper._maps import Case
    from biastf_xr.paper._paper import PaperRun

SIGNED, POSITIVE = "RdBu_r", "magma"

# Panels in a row.
ACROSS = 6


def draw_predictions(case: Case, path: Path, colours: Sequence[str] | None = None) -> Path:
    """Draw the predictions side by side, after the coarse image and the truth (Figures 7 and 8).

    `colours`: Bands for red, green and blue; false colour by default, where there is near
    infrared.
    """
    colours = tuple(colours or choose_colours(case.bands))
    limits = stretch(_by_band(case.truth, case.bands), colours)
    known = {
        "fine, base date": case.base,
        "coarse, target date": case.coarse,
        "withheld fine image": case.truth,
    }
    notes = {n: case.notes.get(n) or _measures(i, case.truth) for n, i in case.images.items()}
    images = {**known, **{f"{name}\n{notes[name]}": image for name, image in case.images.items()}}
    figure, axes = panels(len(images), case.truth.shape[-2:], ACROSS)
    for axis, (title, image) in zip(axes, images.items(), strict=True):
        show_image(axis, _by_band(thin(image), case.bands), colours, limits, title)
    figure.suptitle(f"{case.label}: predictions; {describe_colours(colours, limits)}", fontsize=11)
    finished(figure, path)
    return path


def draw_bias(case: Case, path: Path, band: str | None = None) -> Path:
    """Draw change, bias, and squared error of the bias of every method (Figures 9 and 10).

    `band`: The band; near infrared by default, where there is one.
    """
    band, (truth, base, coarse, coarse_base), images = _of_band(case, band)
    known = base, coarse, coarse_base
    everyone = {"truth": truth} | images
    rows: list[tuple[str, str, dict[str, Float]]] = [
        ("change", "reflectance", {n: i - base for n, i in everyone.items()}),
        ("bias", "reflectance", {n: bias_map(i, *known) for n, i in everyone.items()}),
        (
            "squared error of the bias",
            "reflectance²",
            {n: bias_error_map(i, truth, *known) for n, i in images.items()},
        ),
    ]
    count, height = len(everyone), panel_height(truth.shape)
    figure = drawing(PANEL * count + 1.6, (height + 0.45) * len(rows) + 0.5)
    grid = figure.subplots(len(rows), count, squeeze=False)
    for axes, (what, unit, maps) in zip(grid, rows, strict=True):
        _draw_row(figure, axes, list(everyone), maps, f"{what}, {unit}")
        axes[0].text(
            -0.04, 0.5, what, transform=axes[0].transAxes, rotation=90, ha="right", va="center"
        )
    figure.suptitle(
        f"{case.label}: change since the base date and its bias, {band}. "
        "Bias: fine change less coarse change",
        fontsize=11,
    )
    finished(figure, path)
    return path


def draw_residuals(case: Case, path: Path, band: str | None = None) -> Path:
    """Draw the reconstruction residual of every method (Figure 4).

    `band`: The band; near infrared by default, where there is one.
    """
    band, (truth, *_), images = _of_band(case, band)
    maps = {name: image - truth for name, image in images.items()}
    figure, axes = panels(len(maps), truth.shape, ACROSS)
    _draw_row(figure, axes, list(maps), maps, "residual, reflectance")
    figure.suptitle(
        f"{case.label}: reconstruction residual, {band}. Prediction less truth", fontsize=11
    )
    finished(figure, path)
    return path


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
    figure: Any, axes: Any, names: Sequence[str], maps: Mapping[str, Float], label: str
) -> None:
    """Draw maps on one colour scale; a name without a map leaves its panel empty."""
    rows = len({axis.get_subplotspec().rowspan.start for axis in axes})
    signed = not label.startswith("squared")
    top = extent([thin(image) for image in maps.values()])
    how = {"vmin": -top if signed else 0.0, "vmax": top, "cmap": SIGNED if signed else POSITIVE}
    shown: Any = None
    for axis, name in zip(axes, names, strict=False):
        axis.set_axis_off()
        if name in maps:
            shown = show_numbers(
                axis, thin(maps[name]), f"{name}\n{_note(label, maps[name])}", **how
            )
    bar = figure.colorbar(
        shown, ax=list(axes), extend="both" if signed else "max",
        aspect=20 * rows, fraction=0.05, pad=0.01,
    )  # fmt: skip
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.formatter.set_powerlimits((-3, 3))


def _by_band(image: Float, bands: Sequence[str]) -> dict[str, Float]:
    return dict(zip(bands, image, strict=True))


def draw_target(run: PaperRun, pair: int, band: str = "nir") -> dict[str, Path]:
    """Draw the paper's figures of one target with all its predictions."""
    scores = run.scores[run.scores["pair"] == pair]
    methods = [m for m in columns_of(run) if m in set(scores["method"])]
    if not methods:
        return {}
    joint = scores[scores["band"] == "mean"].pivot_table(
        index="method", columns="measure", values="value"
    )
    notes = {m: f"RMSE {joint.loc[m, 'RMSE']:.4f}  CC {joint.loc[m, 'CC']:.3f}" for m in methods}
    step = max(-(-max(run.fine.sizes["y"], run.fine.sizes["x"]) // DRAWN), 1)
    # All bands of every n-th pixel, or every pixel of one band: never the whole of all methods.
    whole = _case(run, pair, methods, every=step, upsampling="nearest", notes=notes)
    single = _case(run, pair, methods, band)
    folder = run.folder / "figures"
    return {
        "predictions": draw_predictions(whole, folder / f"{pair:02d}_predictions.png"),
        "bias": draw_bias(single, folder / f"{pair:02d}_bias_{band}.png", band),
        "residuals": draw_residuals(single, folder / f"{pair:02d}_residuals_{band}.png", band),
    }


def _case(
    run: PaperRun, pair: int, methods: list[str], *bands: str, every: int = 1, **options: Any
) -> Case:
    """Load the predictions, and what they are judged by."""
    protocol = run.protocol
    names = list(bands or bands_of(run.fine))
    thin = {"y": slice(None, None, every), "x": slice(None, None, every)}
    images = {}
    for method in methods:
        image = run.prediction(pair, method).isel(thin)
        images[method] = np.stack([image[b].values for b in names])
    return case_of(
        images,
        run.fine[names],
        run.coarse[names],
        protocol.day(pair),
        protocol.day(pair - 1),
        label=f"{protocol.dataset.upper()} pair {pair}, {protocol.day(pair)}",
        every=every,
        **options,
    )
