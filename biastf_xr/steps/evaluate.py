"""Score on withheld scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biastf_xr.errors import ConfigError
from biastf_xr.steps.show_runs import show_scores
from biastf_xr.steps.terminal import console, progress_bar
from biastf_xr.steps.train import built_method, fit_options

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.config import Config
    from biastf_xr.evaluation import Design, Scores


def evaluate_step(
    config: Config,
    *,
    dates: tuple[str, ...] = (),
    cube: str | None = None,
    also: tuple[str, ...] = (),
    design: Design | None = None,
    csv: Path | None = None,
    report: Path | None = None,
) -> Scores:
    """Score on withheld scenes and print the tables.

    A fused cube made with withheld dates is scored as it is.  Otherwise scenes are withheld as the
    design says, and a learned method is fitted anew without them.

    `dates`: Dates to withhold; by default the configured ones, else every clear inner date.
    `cube`: Fused cube to score; by default the configured one where dates are withheld.
    `also`: More methods to predict with, each with its defaults.
    `report`: HTML file for the report; its numbers go beside it as JSON.
    """
    from biastf_xr.cube._cube import open_cube
    from biastf_xr.evaluation import Gallery, LeaveOneOut, evaluate, score_cube, write_report

    if cube is not None and design is not None:
        raise ConfigError(
            f"the cube {cube} is scored as it was made; a design withholds scenes and predicts "
            "anew. Give one of the two."
        )
    if report is not None and report.suffix not in {".html", ".htm"}:
        raise ConfigError(f"the report is {report}; expected a name that ends in .html.")
    gallery = None if report is None else Gallery()
    fine, coarse = open_cube(config.fine.cube), open_cube(config.coarse.cube)
    withheld = tuple(map(str, config.fuse.withhold))
    if cube is None and design is None and not dates and withheld:
        cube = config.fuse.output
    if cube is not None:
        scores = score_cube(
            open_cube(cube),
            fine,
            coarse,
            list(dates or withheld),
            name=config.method.name,
            rule=config.fuse.rule(),
            on_prediction=gallery,
        )
    else:
        method = config.method
        refit = method.learned and method.refit != "never"
        chosen = [method.name if refit else built_method(config), *also]
        with progress_bar("evaluate", "predictions") as advance:
            count = [0]

            def count_one(day: str, name: str) -> None:
                count[0] += 1
                advance(count[0], None, f"{day} {name}")

            scores = evaluate(
                fine,
                coarse,
                chosen,
                design=design or LeaveOneOut(),
                dates=list(dates) or None,
                rule=config.fuse.rule(),
                fit_options=fit_options(config) if method.learned else None,
                progress=count_one,
                on_prediction=gallery,
            )
    show_scores(scores)
    if csv is not None:
        scores.table.to_csv(csv, index=False)
        console.print(f"every figure in {csv}")
    if report is not None:
        run = {"fine cube": config.fine.cube, "coarse cube": config.coarse.cube}
        run |= {} if cube is None else {"fused cube": cube}
        write_report(report, scores, run=run, gallery=gallery)
        console.print(f"report in {report}, its numbers in {report.with_suffix('.json')}")
    return scores
