"""Which days cubes have, and how clear they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr.brackets import clear_fractions
from biastf_xr.cube._cube import bands_of, open_cube
from biastf_xr.cube._spec import PAIR_FLAG
from biastf_xr.pictures._canvas import Drawing, drawing, finished
from biastf_xr.pictures._colour import ORANGE, RED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

# Suspected share of a day's clear pixels from which the day is marked.
MUCH = 0.1


def draw_calendar(
    cubes: Mapping[str, Any] | Sequence[Any], *, path: str | Path | None = None
) -> Drawing:
    """Draw which days each cube has, and how clear they are.

    Eager only for cubes that do not carry their clear fraction, of which one band is read.

    `cubes`: Opened cubes or stores; the keys of a mapping are their titles.
    Returned: The figure: a panel per cube, a row per month, a column per day of the month; grey
    where there is no scene, crossed where the two sensors disagree and the day is left out of
    pairs, dotted where more than a tenth of the clear pixels is suspected of cloud or shadow.
    """
    opened = _opened(cubes)
    days = [to_days(ds["time"]) for _, ds in opened]
    months = np.arange(
        min(d[0] for d in days).astype("datetime64[M]"),
        max(d[-1] for d in days).astype("datetime64[M]") + 1,
    )
    figure = drawing(5 * len(opened) + 1, 1.2 + 0.25 * len(months))
    panels = figure.subplots(1, len(opened), squeeze=False)[0]
    shown: Any = None
    for axis, (title, ds), have in zip(panels, opened, days, strict=True):
        month = have.astype("datetime64[M]")
        rows = (month - months[0]).astype(int)
        cols = (have - month.astype("datetime64[D]")).astype(int)
        image = np.full((len(months), 31), np.nan)
        image[rows, cols] = clear_fractions(ds, bands_of(ds))
        axis.set_facecolor("0.92")
        shown = axis.imshow(image, vmin=0, vmax=1, cmap="YlGnBu", aspect="auto")
        marks = {}
        if "pair_flag" in ds.coords:
            doubt = ds["pair_flag"].values == PAIR_FLAG["low_correlation"]
            marks["left out of pairs"] = "x", RED, doubt
        if "suspect_fraction" in ds.coords:
            much = ds["suspect_fraction"].values > MUCH
            marks[f"over {MUCH:.0%} suspected"] = ".", ORANGE, much
        for label, (mark, colour, where) in marks.items():
            if where.any():
                axis.plot(cols[where], rows[where], mark, color=colour, label=label)
                axis.legend(loc="upper right", fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.set_yticks(range(len(months)), [str(m) for m in months], fontsize=7)
        axis.set_xticks(range(0, 31, 5), [str(d) for d in range(1, 32, 5)])
        axis.set_xlabel("day of the month")
    figure.colorbar(shown, ax=list(panels), label="clear fraction")
    return finished(figure, path)


def _opened(cubes: Any) -> list[tuple[str, xr.Dataset]]:
    """Open what is not open, and name everything."""
    if hasattr(cubes, "items"):
        return [(str(name), _open(cube)) for name, cube in cubes.items()]
    made = []
    for number, cube in enumerate(cubes, 1):
        ds = _open(cube)
        name = str(cube).rstrip("/").rpartition("/")[2] if isinstance(cube, str | Path) else ""
        kind = str(ds.attrs.get("biastf_kind", f"cube {number}"))
        made.append((f"{kind}: {name}" if name else kind, ds))
    return made


def _open(cube: Any) -> xr.Dataset:
    return open_cube(cube, chunks=None) if isinstance(cube, str | Path) else cube
