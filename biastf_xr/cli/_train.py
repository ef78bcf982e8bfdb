"""The command that fits a method."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from biastf_xr.config import Config

from biastf_xr.cli._app import RUN, app
from biastf_xr.cli._command import DryRun, command
from biastf_xr.cli._parameters import (
    DAY,
    Address,
    CoarseCube,
    ConfigFile,
    FineCube,
    MethodOption,
    Precision,
    Withhold,
)
from biastf_xr.cli._settings import (
    days,
    options_of,
    read_settings,
    refuse_network_flags,
    settings_of_flags,
)


@command(app, panel=RUN, interrupted="Finished epochs are kept; the same command goes on.")
def train(
    context: typer.Context,
    config: ConfigFile = None,
    fine: FineCube = None,
    coarse: CoarseCube = None,
    output: Annotated[Path, typer.Option(help="Checkpoint to write.")] = Path("model.safetensors"),
    withhold: Withhold = None,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the samples.")] = 30,
    samples: Annotated[int, typer.Option(min=8, help="Patches to learn from.")] = 1024,
    method: Annotated[
        str, typer.Option(help="biastf-plus, biastf (the networks of the paper), or stfdcnn.")
    ] = "biastf-plus",
    inputs: Annotated[
        str,
        typer.Option(
            help="biastf: what a network sees: change, change+fine, change+fine+coarse, or "
            "all-changes."
        ),
    ] = "change",
    weights: Annotated[
        str, typer.Option(help="biastf: of the two sides: change, time, equal, or learned.")
    ] = "change",
    denoise: Annotated[
        float, typer.Option(help="biastf: Gaussian on the coarse change, in coarse pixels.")
    ] = 0.0,
    dates: Annotated[
        str,
        typer.Option(help="Dates to learn from: all, flanking (around --target), or earlier."),
    ] = "all",
    target: Annotated[
        datetime | None, typer.Option(formats=DAY, help="Day to be predicted; never learned from.")
    ] = None,
    balance: Annotated[
        str, typer.Option(help="Draw patches alike over pairs of dates (none), or over change.")
    ] = "none",
    option: MethodOption = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="Torch device, cpu or cuda.")] = "cpu",
    precision: Precision = "fp32",
    start: Annotated[
        Path | None, typer.Option(help="Checkpoint of a model to refine, of another region, say.")
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on from the last epoch if the same fit was interrupted.")
    ] = True,
    workers: Annotated[
        int | None, typer.Option(help="Fit on so many worker processes; by default in this one.")
    ] = None,
    address: Address = None,
    dry_run: DryRun = False,
) -> Any:
    """Fit a method on the clear dates of two cubes.

    `biastf-plus`, the default, takes seconds. Networks (`biastf`, `stfdcnn`) take minutes; their
    losses are drawn beside the model, and most flags are theirs.

    Examples: `biastf-xr train config.toml`, or

    `biastf-xr train --fine fine.zarr --coarse coarse.zarr --withhold 2001-07-11`, or

    `biastf-xr train --fine fine.zarr --coarse coarse.zarr --method biastf --inputs change+fine`
    """
    from biastf_xr.steps.preview import preview_train_step

    step = preview_train_step if dry_run else _train
    if config is not None:
        return step(read_settings(config, context))
    section: dict[str, Any] = {
        "name": method,
        "checkpoint": output,
        "seed": seed,
        "resume": resume,
        "options": options_of(option),
    }
    if method == "biastf-plus":
        refuse_network_flags(context)
    else:
        section |= {
            "samples": {
                "count": samples,
                "dates": dates,
                "target": target and target.date(),
                "balance": balance,
            },
            "train": {"epochs": epochs, "device": device, "precision": precision},
            "start": start,
            "train_on": "here" if workers is None and address is None else "cluster",
        }
    if method == "biastf":
        section |= {"network": {"inputs": inputs}, "weights": weights, "denoise": denoise}
    settings = settings_of_flags(
        fine,
        coarse,
        method=section,
        fuse={"withhold": days(withhold)},
        cluster={"workers": workers, "address": address},
    )
    return step(settings)


def _train(settings: Config) -> dict[str, Any]:
    """Fit, and give what the model says of itself."""
    from biastf_xr.steps.train import train_step

    model = train_step(settings)
    described = {} if model is None else model.describe()
    return {"checkpoint": str(settings.method.checkpoint) if model else None} | described
