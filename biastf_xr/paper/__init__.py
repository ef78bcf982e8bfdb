"""The reproduction of the paper: its protocol on its own data sets, its tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biastf_xr._exports import lazy_exports

if TYPE_CHECKING:
    from biastf_xr.paper._figures import draw_all
    from biastf_xr.paper._maps import Case, case_of
    from biastf_xr.paper._paper import PaperRun, run_paper
    from biastf_xr.paper._protocol import PaperProtocol
    from biastf_xr.paper._tables import beside_published

__all__ = [
    "Case",
    "PaperProtocol",
    "PaperRun",
    "beside_published",
    "case_of",
    "draw_all",
    "run_paper",
]

__getattr__ = lazy_exports(
    __name__,
    {name: f"{__name__}._{module}" for module, names in {
        "figures": ("draw_all",),
        "maps": ("Case", "case_of"),
        "paper": ("PaperRun", "run_paper"),
        "protocol": ("PaperProtocol",),
        "tables": ("beside_published",),
    }.items() for name in names},
)  # fmt: skip
