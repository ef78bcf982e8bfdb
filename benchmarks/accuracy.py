"""The five measures of every method on real images, beside the simple baselines.

FOLDER holds the sets as they circulate: `boreas/` and `shenzhen/` (L_YYYYMMDD.tif, M_YYYYMMDD.tif,
reflectance x 10000) and `salton_sea/fine`, `salton_sea/coarse` (YYYY-MM-DD_fine.tif).  Every set is
ingested with its coarse images on their true grid; each clear fine date is withheld in turn and
predicted from the others.  All methods of a set are scored on the same pixels.  Figures are means
over bands and dates; SAM in radians.

    python benchmarks/accuracy.py FOLDER [--set boreas] [--learned] [--only NAME] [--csv FOLDER]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import biastf_xr
from biastf_xr.brackets import BracketRule
from biastf_xr.cube import ingest
from biastf_xr.evaluation import evaluate
from biastf_xr.fusion import FusionRule
from biastf_xr.methods import fit, get_method
from biastf_xr.sources import build_product

if TYPE_CHECKING:
    from collections.abc import Sequence

MEASURES = ("RMSE", "CC", "SSIM", "ERGAS", "SAM")

# Every method with its defaults, and where another parameterisation is worth a look.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "efast": ("efast", {}),
    "fitfc": ("fitfc", {}),
    "fitfc, 3 coarse px": ("fitfc", {"window": 3, "window_unit": "coarse"}),
    "starfm": ("starfm", {}),
    "starfm, two pairs": ("starfm", {"pairs": 2}),
    "starfm, 31 px, 4 classes": ("starfm", {"window": 31, "classes": 4.0}),
    "starfm, 3 coarse px": ("starfm", {"window": 3, "window_unit": "coarse"}),
    "estarfm": ("estarfm", {}),
    "estarfm, all similar": ("estarfm", {"similar": 0}),
    "estarfm, V = 1": ("estarfm", {"conversion": "none"}),
    "estarfm, 3 coarse px": ("estarfm", {"window": 3, "window_unit": "coarse"}),
    "fsdaf": ("fsdaf", {}),
    "fsdaf, 6 classes": ("fsdaf", {"classes": 6}),
    "fsdaf, 3 coarse px": ("fsdaf", {"window": 3, "window_unit": "coarse"}),
}


@dataclass(frozen=True)
class Set:
    """A set of images: products of both sensors, dates to withhold, what cannot be run."""

    layers: tuple[str, ...]
    native: float | None
    dates: tuple[str, ...]
    without: tuple[str, ...] = ()
    min_clear: float = 0.5
    grid: dict[str, Any] | None = None


SETS = {
    "boreas": Set(
        ("green", "red", "nir"), 500.0, ("2001-07-11",),
        grid={"crs": "EPSG:32613", "resolution": 30.0},
    ),
    "shenzhen": Set(("nir", "red", "green"), 250.0, ("2002-11-07",), without=("estarfm",)),
    "salton_sea": Set(
        ("nir",), None,
        ("2020-10-07", "2020-10-09", "2020-10-17", "2020-10-22", "2020-10-25", "2020-11-10"),
        min_clear=0.99,
    ),
}  # fmt: skip


def cubes(name: str, folder: Path, work: Path) -> list[Any]:
    """Ingest both sensors of a set."""
    chosen, made = SETS[name], []
    kinds: tuple[tuple[Literal["fine", "coarse"], str], ...] = (("fine", "L"), ("coarse", "M"))
    for kind, letter in kinds:
        source, pattern = folder / name, f"{letter}_%Y%m%d.tif"
        if (folder / name / kind).is_dir():
            source, pattern = folder / name / kind, f"%Y-%m-%d_{kind}.tif"
        options: dict[str, Any] = {"layers": chosen.layers, "pattern": pattern}
        if letter in pattern:
            options |= {"factor": 1e-4, "nodata": 32767.0 if name == "shenzhen" else None}
        if chosen.grid:
            options["grid"] = chosen.grid
        product = build_product("geotiff", **{k: v for k, v in options.items() if v is not None})
        native = chosen.native if kind == "coarse" else None
        path = work / f"{name}_{kind}.zarr"
        ingest(product, source, path, kind=kind, native_resolution=native)
        made.append(biastf_xr.open_cube(work / f"{name}_{kind}.zarr"))
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table per set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=SETS, help="one set only")
    parser.add_argument("--learned", action="store_true", help="fit networks too: biastf, stfdcnn")
    parser.add_argument("--only", action="append", help="rows to make; may be repeated")
    parser.add_argument("--csv", type=Path, help="folder for every figure, one file per set")
    given = parser.parse_args(arguments)
    for name in [given.set] if given.set else SETS:
        chosen = SETS[name]
        methods: dict[str, Any] = {
            label: get_method(method, **options)
            for label, (method, options) in METHODS.items()
            if method not in chosen.without
        }
        rule = FusionRule(bracket=BracketRule(min_clear=chosen.min_clear))
        methods["biastf-plus"] = partial(fit, method="biastf-plus", base_rule=rule.bracket)
        if given.learned and name != "shenzhen":
            for network in ("biastf", "stfdcnn"):
                methods[network] = partial(fit, method=network, base_rule=rule.bracket)
        methods = {k: m for k, m in methods.items() if not given.only or k in given.only}
        with tempfile.TemporaryDirectory() as work:
            fine, coarse = cubes(name, given.folder, Path(work))
            scores = evaluate(fine, coarse, methods, dates=list(chosen.dates), rule=rule)
        table = scores.table[scores.table["band"].isin(["mean", "all"])]
        wide = table.pivot_table(index="method", columns="measure", values="value", sort=False)
        print(f"\n{name}: {len(chosen.dates)} date(s), ratio {1 / scores.ratio:.0f}, "
              f"{int(table['pixels'].mean())} pixels\n")  # fmt: skip
        print(wide[[m for m in MEASURES if m in wide]].round(4).to_string(), flush=True)
        if given.csv:
            given.csv.mkdir(parents=True, exist_ok=True)
            scores.table.to_csv(given.csv / f"{name}.csv", index=False)


if __name__ == "__main__":
    main()
