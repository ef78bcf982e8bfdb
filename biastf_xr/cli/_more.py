"""Commands about the paper and the published data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biastf_xr.cli._command import MORE, Answer, command
from biastf_xr.cli._flags import complete_method

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS: list[Callable[[typer.Typer], None]] = []


@command(COMMANDS, panel=MORE, interrupted="What is finished is kept; the same command goes on.")
def paper(
    dataset: Annotated[str, typer.Option(help="cia or lgc.")],
    root: Annotated[Path, typer.Option(help="Folder into which the download was unpacked.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Method to run; may be repeated. Default: all.", autocompletion=complete_method
        ),
    ] = None,
    target: Annotated[
        list[int] | None,
        typer.Option(help="Pair to predict, as 10; may be repeated. Default: those of the paper."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of everything. Default: paper_cia or paper_lgc.")
    ] = None,
    revise: Annotated[
        bool, typer.Option("--revise", help="Replace results of other settings.")
    ] = False,
    *,
    changes: dict[str, Any],
    dry_run: bool,
) -> Any:
    """Run the protocol of Li et al. (2020) on its data, and print both results cell by cell.

    Predicts pairs 8 to 14 of CIA, or 7 to 13 of LGC, with every method, and puts the scores beside
    Tables 2 to 4 of the paper. Finished results are kept: after an interruption the same command
    goes on. Exit code 3: some results are missing.

    The paper's dates, the order of its first three columns, base dates and training data are
    inferred, not published; the tables say so.

    The protocol's own choices are keys too: `--set paper.training=flanking` (pairs that a learned
    method is fitted on: beside the target; "earlier", all before it; "others", all but it),
    `--set paper.coarse=native` (MODIS at 500 m; "delivered", on the 25 m grid),
    `--set paper.crop=true` (other authors' crop), `--set paper.figures=false`; and the options of
    every method, as `--set estarfm.window=31` or `--set biastf.train.epochs=10`.

    Example: `biastf-xr paper --dataset cia --root downloads --method estarfm --method biastf
    --target 10`
    """
    from biastf_xr.cli._paper import paper_step, preview_paper, protocol_of
    from biastf_xr.methods import METHODS

    names = tuple(dict.fromkeys(method or METHODS))
    targets = tuple(sorted(set(target or ())))
    protocol, figures = protocol_of(dataset, names, targets, changes)
    folder = output or Path(f"paper_{dataset}")
    if dry_run:
        return preview_paper(root, folder, protocol, revise=revise)
    run = paper_step(root, folder, protocol, revise=revise, figures=figures)
    return {"folder": run.folder, "scores": run.scores}


@command(COMMANDS, panel=MORE)
def datasets(
    name: Annotated[
        str | None, typer.Argument(help="cia, lgc, ahb, tianjin or daxing. Default: list them.")
    ] = None,
    folder: Annotated[Path | None, typer.Argument(help="A download to compare.")] = None,
) -> Any:
    """List the published sets that can be ingested as downloaded, or show where one is to be had.

    With a folder, also what a download lacks; exit code 1 if anything.

    Examples: `biastf-xr datasets`, or `biastf-xr datasets cia downloads/CIA`
    """
    from biastf_xr.cli._info import show_dataset, show_datasets

    if name is None:
        return show_datasets()
    lacking = show_dataset(name, folder)
    return Answer({"set": name, "lacking": lacking}, 1 if lacking else 0)
