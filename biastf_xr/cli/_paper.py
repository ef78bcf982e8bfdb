"""What `biastf-xr paper` does: run the protocol, show the tables, draw the figures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from biastf_xr.cli._terminal import console, facts, new_table, progress_of, say, stages
from biastf_xr.errors import ConfigError, FusionRunError
from biastf_xr.paper._published import PUBLISHED_METHODS

# Characters that the names of a line take; the narrowest column, and what is between two.
LABELS, COLUMN, BETWEEN = 30, 8, 2


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.table import Table

    from biastf_xr.paper._paper import PaperRun
    from biastf_xr.paper._protocol import PaperProtocol
    from biastf_xr.paper._tables import MeasureTable


def preview_paper(
    root: Path, output: Path, protocol: PaperProtocol, *, revise: bool = False
) -> dict[str, Any]:
    """Return which results a run of the protocol would make.

    `revise`: Whether results of other inputs or settings may be replaced.
    """
    from biastf_xr.paper._paper import cells_of

    cells, kept, _ = cells_of(root, output, protocol, revise=revise)
    plan = {
        "folder": str(output),
        "to make": [f"pair {c.pair} {c.method}" for c in cells if c not in kept],
        "there": [f"pair {c.pair} {c.method}" for c in kept],
    }
    facts("the protocol", plan)
    return plan


def paper_step(
    root: Path, output: Path, protocol: PaperProtocol, *, revise: bool = False, figures: bool = True
) -> PaperRun:
    """Run the paper's protocol on a download, and print its tables beside the published ones.

    `revise`: Whether results of other inputs or settings may be replaced.
    """
    from biastf_xr.paper._paper import run_paper
    from biastf_xr.paper._tables import measure_tables, write_results

    with stages() as advance:
        run = run_paper(root, output, protocol, revise=revise, progress=advance)
    for block in measure_tables(run):
        _show(block)
    _tell(run)
    for path in write_results(run).values():
        console.print(f"tables in [bold]{path}[/]")
    if figures:
        _draw(run)
    if run.failed:
        raise FusionRunError(
            f"{len(run.failed)} results are missing: "
            + "; ".join(f"{cell}: {why}" for cell, why in run.failed.items())
        )
    return run


def _draw(run: PaperRun) -> None:
    from biastf_xr.paper._figures import draw_target

    targets = run.protocol.targets
    with progress_of("draw") as advance:
        for i, pair in enumerate(targets):
            draw_target(run, pair)
            advance(run.protocol.day(pair), i + 1, len(targets))
    console.print(f"figures in [bold]{run.folder / 'figures'}[/]")


def _show(block: MeasureTable) -> None:
    """Print one measure, in as many tables beneath each other as the terminal needs."""
    methods = [str(m) for m in block.ours.columns]
    widest = max(COLUMN, *(len(m) + 1 for m in methods)) + BETWEEN
    across = max((console.width - LABELS) // widest, len(PUBLISHED_METHODS))
    for first in range(0, len(methods), across):
        console.print(_table(block, methods, slice(first, first + across)))


def _table(block: MeasureTable, methods: list[str], part: slice) -> Table:
    """Lay out some methods: for every row the project's values, the paper's, how they differ."""
    title = f"{block.title}{', further methods' if part.start else ''}"
    table = new_table(title)
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    for method in methods[part]:
        table.add_column(f"{method} ", justify="right", no_wrap=True, min_width=COLUMN)
    for row, what, texts, best in block.lines():
        cells = [f"[bold]{t}*[/]" if b else f"{t} " for t, b in zip(texts, best, strict=True)]
        ours = what == "project"
        if ours or any(texts[part]):
            table.add_row(row if ours else "", what, *cells[part], style="" if ours else "dim")
    return table


def _tell(run: PaperRun) -> None:
    from biastf_xr.paper._protocol import READINGS

    console.print("`*` marks the best of a line. What the paper did is known in part; readings:")
    for text in READINGS:
        say(f"- {text}")
    protocol = run.protocol
    console.print(
        f"{len(run.made)} results computed, {len(run.kept)} kept, {len(run.failed)} failed; "
        f"training: {protocol.training}, coarse: {protocol.coarse}, "
        f"{'cropped' if protocol.crop else 'whole frame'}, ERGAS h/l = {protocol.ratio:g}"
    )
    part = run.scores[run.scores["share"] < 1].drop_duplicates(["pair", "method"])
    for row in part.itertuples():
        console.print(
            f"{row.date} {row.method}: scored on {row.share:.1%} of the clear pixels; it "
            "predicted no more"
        )


def protocol_of(
    dataset: str, methods: tuple[str, ...], targets: tuple[int, ...], changes: Mapping[str, Any]
) -> tuple[PaperProtocol, bool]:
    """Return the protocol, and whether figures are drawn, with what ``--set`` says of both.

    `changes`: By section: "paper" of the protocol, those of methods by their names.
    """
    from biastf_xr.paper._protocol import PaperProtocol

    own = dict(changes.get("paper", {}))
    unknown = sorted(set(own) - {"training", "coarse", "crop", "figures"})
    if unknown:
        raise ConfigError(
            f"--set paper.{unknown[0]}: expected paper.training, paper.coarse, paper.crop or "
            "paper.figures."
        )
    figures = bool(own.pop("figures", True))
    options = {name: value for name, value in changes.items() if name != "paper"}
    protocol = PaperProtocol(dataset=dataset, methods=methods, targets=targets, **own)
    return replace(protocol, options=method_options(methods, options)), figures


def method_options(
    methods: Sequence[str], given: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the options of every method with those that are given by its name; checked."""
    from biastf_xr.methods import check_options

    for method in set(given) - set(methods):
        raise ConfigError(f"--set {method}: {method!r} is not run; run are {list(methods)}.")
    for method in methods:
        check_options(method, given.get(method, {}))
    return {method: dict(given.get(method, {})) for method in methods}
