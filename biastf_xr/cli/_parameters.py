"""Arguments and flags that several commands share."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

DAY = ["%Y-%m-%d"]
PRODUCTS = ("landsat-c2-l2", "hls", "mod09ga", "mcd43a4", "vnp09ga", "vnp43", "geotiff",
            "benchmark", "stac")  # fmt: skip


def complete_method(typed: str) -> list[str]:
    """Complete the name of a method."""
    from biastf_xr.methods import METHODS

    return [name for name in METHODS if name.startswith(typed)]


def complete_product(typed: str) -> list[str]:
    """Complete the name of a product."""
    return [name for name in PRODUCTS if name.startswith(typed)]


ConfigFile = Annotated[
    Path | None, typer.Argument(help="TOML file of the run.", metavar="CONFIG.toml")
]
NeededConfig = Annotated[Path, typer.Argument(help="TOML file of the run.", metavar="CONFIG.toml")]
Cube = Annotated[
    str, typer.Argument(help="A cube: a folder, a URL, or icechunk://folder.", metavar="CUBE")
]
FineCube = Annotated[str | None, typer.Option(help="Fine cube (Zarr).")]
CoarseCube = Annotated[str | None, typer.Option(help="Coarse cube (Zarr).")]
Withhold = Annotated[
    list[datetime] | None,
    typer.Option(formats=DAY, help="Fine scene not to use; may be repeated."),
]
Workers = Annotated[int | None, typer.Option(help="Worker processes; one per core by default.")]
Address = Annotated[
    str | None, typer.Option(help="Scheduler of a running Dask cluster, tcp://host:8786.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Method = Annotated[
    str,
    typer.Option(
        help="nearest, linear, direct, efast, fitfc, starfm, estarfm, fsdaf, or the checkpoint of "
        "a fitted method.",
        autocompletion=complete_method,
    ),
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="Option of the method, as window=31; may be repeated. The methods page "
        "of the documentation lists them.",
    ),
]
Output = Annotated[str, typer.Option(help="Zarr store: a folder, a URL, or icechunk://folder.")]
Start = Annotated[datetime | None, typer.Option(formats=DAY, help="First day.")]
End = Annotated[datetime | None, typer.Option(formats=DAY, help="Last day.")]
Tile = Annotated[int, typer.Option(min=16, help="Largest tile and shard, in pixels.")]
Revise = Annotated[
    bool, typer.Option("--revise", help="Make a cube of another method or rule anew, in place.")
]
Precision = Annotated[str, typer.Option(help="fp32, bf16, or fp16 on CUDA.")]
