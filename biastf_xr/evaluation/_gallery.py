"""The pictures of a report: what was predicted, what it should have been, and the error."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._html import Picture
from biastf_xr.evaluation.metrics import rmse
from biastf_xr.pictures._canvas import FILE, drawing, thin
from biastf_xr.pictures._colour import MISSING, choose_colours, composite, stretch

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from biastf_xr.evaluation._judged import Judged
    from biastf_xr.pictures._canvas import Drawing

    Float = NDArray[np.float32]

# Longest side of a picture in pixels; larger images are thinned out.
SIDE = 200
# Steps of every colour: few enough for small files, too many to be seen.
STEPS = 31
ERROR_MAP = "magma"
TRUTH = "withheld scene"


@dataclass(frozen=True)
class Panel:
    """One image of a date, small.

    `name`: "coarse, on its own grid", "withheld scene", or a method.
    `image`: Shape ``(band, y, x)``, thinned out.
    `error`: Shape ``(y, x)``: root mean square error over the bands.
    `rmse`: Mean over the bands, of the whole image.
    """

    name: str
    image: Float
    error: Float | None = None
    rmse: float = np.nan


class Gallery:
    """Keeps small copies of what is judged, and draws them once the scale is known.

    Called with every `Judged`; for `evaluate` as ``on_prediction``.
    """

    def __init__(self) -> None:
        self.bands: tuple[str, ...] = ()
        self._days: dict[str, list[Panel]] = {}

    def __call__(self, judged: Judged) -> None:
        """Keep one date."""
        self.bands = judged.bands
        panels = []
        if judged.coarse is not None:
            panels.append(Panel("coarse, on its own grid", _small(judged.coarse)))
        panels.append(Panel(TRUTH, _small(judged.truth)))
        truth = np.where(judged.common, judged.truth, np.nan)
        for name, image in judged.images.items():
            size = np.sqrt(np.mean(_small(image - truth) ** 2, axis=0))
            mean = float(np.mean([rmse(p, r) for p, r in zip(image, truth, strict=True)]))
            panels.append(Panel(name, _small(image), size, mean))
        self._days[str(judged.day)] = panels

    @property
    def colours(self) -> tuple[str, ...]:
        """Return the bands that are shown as red, green and blue."""
        return tuple(dict.fromkeys(choose_colours(self.bands)))

    @property
    def scale(self) -> float:
        """Return the error that is shown brightest: the 98th percentile of all error maps."""
        errors = [p.error for panels in self._days.values() for p in panels if p.error is not None]
        values = np.concatenate([e[np.isfinite(e)] for e in errors]) if errors else np.array([])
        return max(float(np.percentile(values, 98)), 1e-4) if values.size else 1e-4

    def days(self) -> list[str]:
        """List the dates that there are pictures of."""
        return list(self._days)

    def images(self, day: str) -> list[Picture]:
        """Draw the images of a date with one stretch, that of the withheld scene."""
        panels = self._days[day]
        colours = choose_colours(self.bands)
        truth = next(p for p in panels if p.name == TRUTH)
        limits = stretch(self._by_band(truth.image), colours)
        made = []
        for panel in panels:
            shown = composite(self._by_band(panel.image), colours, limits)
            caption = panel.name if np.isnan(panel.rmse) else f"{panel.name}, RMSE {panel.rmse:.5f}"
            what = f"{panel.name} of {day} in {', '.join(self.colours)}"
            made.append(Picture(_png(shown), what, caption))
        return made

    def _by_band(self, image: Float) -> dict[str, Float]:
        return dict(zip(self.bands, image, strict=True))

    def errors(self, day: str) -> list[Picture]:
        """Draw the error maps of a date, on the scale of all dates."""
        return [
            Picture(
                _png(_coloured(panel.error / self.scale, np.isfinite(panel.error))),
                f"error map of {panel.name} on {day}; mean over the pixels shown "
                f"{np.nanmean(panel.error):.4f}",
                panel.name,
            )
            for panel in self._days[day]
            if panel.error is not None
        ]

    def scale_bar(self) -> Picture:
        """Draw the colours of the error maps."""
        ramp = np.linspace(0, 1, 256)[None].repeat(8, axis=0)
        what = f"colours of the error maps, from black at 0 to light yellow at {self.scale:.4f}"
        return Picture(_png(_coloured(ramp, np.ones(ramp.shape, bool))), what)


def chart_by_date(by_date: pd.DataFrame) -> Picture:
    """Draw the RMSE of every method over the dates."""
    figure, axes = _chart(len(by_date))
    index = np.arange(len(by_date))
    for i, (name, column) in enumerate(by_date.items()):
        axes.plot(index, column, marker="osD^vPX*"[i % 8], ms=5, lw=1.3, label=str(name))
    axes.set_xticks(index, [str(d) for d in by_date.index], rotation=40, ha="right")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("RMSE, mean over bands")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    lines = "; ".join(f"{n} from {c.min():.4f} to {c.max():.4f}" for n, c in by_date.items())
    return Picture(figure.png(FILE), f"RMSE of every method by date: {lines}")


def chart_calibration(shares: pd.DataFrame) -> Picture:
    """Draw the observed against the nominal coverage."""
    figure, axes = _chart(0)
    axes.plot([0, 1], [0, 1], color="0.4", lw=1, label="a true uncertainty")
    axes.fill_between([0, 1], [-0.05, 0.95], [0.05, 1.05], color="0.9", label="within 5 points")
    for i, (name, column) in enumerate(shares.items()):
        axes.plot(shares.index, column, marker="osD^vPX*"[i % 8], ms=5, label=str(name))
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="nominal coverage", ylabel="observed coverage")
    axes.set_aspect("equal")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    top = f"at a nominal {shares.index[-1]:.0%}"
    lines = "; ".join(f"{n} covers {c.iloc[-1]:.0%} {top}" for n, c in shares.items())
    return Picture(figure.png(FILE), f"observed against nominal coverage: {lines}")


def _chart(dates: int) -> tuple[Drawing, Any]:
    figure = drawing(min(7 + 0.25 * dates, 12), 4)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", lw=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _png(image: NDArray[np.float64]) -> bytes:
    from matplotlib.image import imsave

    file = BytesIO()
    steps = np.round(np.clip(image, 0, 1) * STEPS) / STEPS
    imsave(file, steps, format="png")
    return file.getvalue()


def _coloured(values: Any, seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    from matplotlib import colormaps

    shown: NDArray[np.float64] = np.asarray(
        colormaps[ERROR_MAP](np.clip(np.nan_to_num(values), 0, 1))
    )[..., :3]
    shown[~seen] = MISSING
    return shown


def _small(image: Float) -> Float:
    return np.array(thin(image, SIDE), np.float32)
