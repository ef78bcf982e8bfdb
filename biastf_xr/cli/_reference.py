"""Commands about benchmark sets and clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from biastf_xr.cli._app import cluster, datasets
from biastf_xr.cli._command import Answer, command
from biastf_xr.cli._parameters import NeededConfig


@command(cluster, "render")
def render_cluster(
    config: NeededConfig,
) -> Any:
    """Print the job script, manifest or commands of the `[cluster]` section; starts nothing.

    Example: `biastf-xr cluster render pipelines/clusters/slurm.toml`
    """
    from biastf_xr.cluster import render
    from biastf_xr.config import read_config
    from biastf_xr.steps.terminal import console

    text = render(read_config(config).cluster.spec())
    console.print(text, markup=False, highlight=False, soft_wrap=True, end="")
    return {"rendered": text}


@command(datasets, "list")
def list_datasets() -> Any:
    """List the benchmark sets that can be ingested as they are downloaded.

    Example: `biastf-xr datasets list`
    """
    from biastf_xr.steps.show_cubes import show_datasets

    return show_datasets()


@command(datasets, "info")
def dataset_info(
    name: Annotated[str, typer.Argument(help="cia, lgc, ahb, tianjin or daxing.")],
    folder: Annotated[Path | None, typer.Argument(help="A download to compare.")] = None,
) -> Any:
    """Return where to get a set, what it should look like, and what a download lacks.

    Example: `biastf-xr datasets info cia downloads/CIA`
    """
    from biastf_xr.steps.show_cubes import show_dataset

    lacking = show_dataset(name, folder)
    return Answer({"set": name, "lacking": lacking}, 1 if lacking else 0)
