"""What `biastf-xr paper` does: run the protocol, show the tables, draw the figures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from biastf_xr._summary import Summary
from biastf_xr.cli._terminal import progress_of, say, show, stages
from biastf_xr.errors import ConfigError, FusionRunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

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
    plan: dict[str, Any] = {
        "folder": str(output),
        "to make": [f"pair {c.pair} {c.method}" for c in cells if c not in kept],
        "there": [f"pair {c.pair} {c.method}" for c in kept],
    }
    shown = {name: what if name == "folder" else ", ".join(what) for name, what in plan.items()}
    show(Summary("The protocol", shown), dry_run=True)
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
    tables = {block.title: _frame(block) for block in measure_tables(run)}
    show(Summary("The project beside the paper", tables=tables, notes=tuple(_notes(run))))
    for path in write_results(run).values():
        say(f"tables in {path}")
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
    say(f"figures in {run.folder / 'figures'}")


def _frame(block: MeasureTable) -> pd.DataFrame:
    """Lay out one measure: for every row the project's values, and the paper's below."""
    import pandas as pd

    rows = {
        f"{row}, {what}": [f"{t}{'*' if b else ' '}" for t, b in zip(texts, best, strict=True)]
        for row, what, texts, best in block.lines()
    }
    names = [str(method) for method in block.ours.columns]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names).rename_axis(block.measure)


def _notes(run: PaperRun) -> Iterator[str]:
    """Return what a reader of the tables should know."""
    from biastf_xr.paper._protocol import READINGS

    yield "`*` marks the best of a line. What the paper did is known in part; readings:"
    yield from (f"- {text}" for text in READINGS)
    protocol = run.protocol
    yield (
        f"{len(run.made)} results computed, {len(run.kept)} kept, {len(run.failed)} failed; "
        f"training: {protocol.training}, coarse: {protocol.coarse}, "
        f"{'cropped' if protocol.crop else 'whole frame'}, ERGAS h/l = {protocol.ratio:g}"
    )
    part = run.scores[run.scores["share"] < 1].drop_duplicates(["pair", "method"])
    for row in part.itertuples():
        yield (
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
