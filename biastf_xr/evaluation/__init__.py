"""Score methods on scenes that they have not seen: designs, measures, verdicts, the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biastf_xr._exports import lazy_exports

if TYPE_CHECKING:
    from biastf_xr.evaluation._designs import Design, Forward, LeaveGap, LeaveOneOut, LeaveRegion
    from biastf_xr.evaluation._gallery import Gallery
    from biastf_xr.evaluation._holdout import evaluate, score_cube
    from biastf_xr.evaluation._judged import Judged
    from biastf_xr.evaluation._report import write_report
    from biastf_xr.evaluation._scores import Note, Scores
    from biastf_xr.evaluation._statistics import Comparison

__all__ = [
    "Comparison",
    "Design",
    "Forward",
    "Gallery",
    "Judged",
    "LeaveGap",
    "LeaveOneOut",
    "LeaveRegion",
    "Note",
    "Scores",
    "evaluate",
    "score_cube",
    "write_report",
]

__getattr__ = lazy_exports(
    __name__,
    {name: f"{__name__}._{module}" for module, names in {
        "designs": ("Design", "Forward", "LeaveGap", "LeaveOneOut", "LeaveRegion"),
        "gallery": ("Gallery",),
        "holdout": ("evaluate", "score_cube"),
        "judged": ("Judged",),
        "report": ("write_report",),
        "scores": ("Note", "Scores"),
        "statistics": ("Comparison",),
    }.items() for name in names},
)  # fmt: skip
