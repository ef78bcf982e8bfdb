"""Who did what in a run, drawn from its log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr._files import read_bytes
from biastf_xr.errors import CubeStructureError
from biastf_xr.pictures._canvas import Drawing, drawing, finished
from biastf_xr.pictures._colour import BLUE, GREEN, ORANGE, PINK

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

# Colours of the stages of a unit.
STAGES = {"read": ORANGE, "wait": "0.75", "infer": BLUE, "write": GREEN}


def count_units(log: str | Path) -> pd.DataFrame:
    """Count what every worker has done, over all runs in a log.

    `log`: File of JSON lines, as `write_fused` writes with ``log=``.
    Returned: Workers as rows; columns units, Mpx (pixels and dates), and the seconds of every
    stage.
    """
    import pandas as pd

    lines = [json.loads(line) for line in read_bytes(log).splitlines()]
    units = [line for line in lines if line.get("event") == "unit"]
    if not units:
        raise CubeStructureError(
            f"{log} has no unit of work; expected the JSON lines of a run that did something. "
            "Run write_fused with log=."
        )
    rows = [{"worker": u["worker"], "units": 1, "Mpx": u["pixels"] / 1e6, **u["seconds"]}
            for u in units]  # fmt: skip
    return pd.DataFrame(rows).groupby("worker").sum()


def draw_work(log: str | Path, *, path: str | Path | None = None) -> Drawing:
    """Show how many units every worker has done, and what it spent its time on."""
    counted = count_units(log)
    index = np.arange(len(counted))
    figure = drawing(9.5, 1.3 + 0.32 * len(counted))
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(index, counted["units"], color=BLUE)
    left.bar_label(left.containers[0], padding=2, fontsize=8)
    left.set(xlabel="units", title="units done")
    left.set_yticks(index, [name.rpartition("//")[2] for name in counted.index], fontsize=8)
    start = np.zeros(len(counted))
    for stage in counted.columns.drop(["units", "Mpx"]):
        seconds = counted[stage].to_numpy()
        right.barh(index, seconds, left=start, color=STAGES.get(stage, PINK), label=stage)
        start = start + seconds
    right.set(xlabel="seconds, over its threads", title="time by stage")
    right.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize(10)
    return finished(figure, path)
