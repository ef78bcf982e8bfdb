"""The steps of a run, each from a configuration, with progress on the terminal.

The commands, the demo and the scheduled pipelines call these.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cli.show import (
    console,
    progress_bar,
    run_note,
    show_plan,
    show_run,
    show_scores,
)
from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from biastf_xr.config import Config
    from biastf_xr.engine.preview import Preview
    from biastf_xr.engine.report import RunReport
    from biastf_xr.evaluation.designs import Design
    from biastf_xr.evaluation.scores import Scores
    from biastf_xr.methods.base import Method


# Below this trust of a fit in the coarse images the user is told.
HALF_TRUST = 0.5


def train_step(config: Config) -> Method | None:
    """Fit the configured method, without the withheld dates, and save it.

    Parameters
    ----------
    config : Config
        The run.

    Returns
    -------
    Method or None
        The fitted method; None for one that needs no fitting.
    """
    from biastf_xr.cluster import connect
    from biastf_xr.cube.store import bands_of, drop_days, open_cube
    from biastf_xr.methods import fit

    if not config.method.learned:
        console.print(f"method {config.method.name} needs no training")
        return None
    method = config.method
    fine = drop_days(open_cube(config.fine.cube), map(str, config.fuse.withhold))
    if method.name == "biastf-plus":
        return _fit_plus(config, fine)
    most = method.train.epochs * len(bands_of(fine)) * (2 if method.name == "stfdcnn" else 1)
    started = time.perf_counter()
    with ExitStack() as stack:
        advance = stack.enter_context(progress_bar("train", "epochs"))
        done: dict[str, int] = {}

        def report(name: str, epoch: int, fitted: float, held: float) -> None:
            done[name] = epoch
            note = f"{name}: loss {fitted:.2f}, held out {held:.2f} (1 is nothing learned)"
            advance(sum(done.values()), most, note)

        client = None
        if method.train_on == "cluster":
            client = stack.enter_context(connect(config.cluster.spec()))
        model: Any = fit(
            fine,
            open_cube(config.coarse.cube),
            method.name,
            client=client,
            path=method.checkpoint,
            progress=report,
            start=method.start,
            resume=method.resume,
            **fit_options(config),
        )
    picture = model.plot_history(method.checkpoint.with_name(f"{method.checkpoint.name}.png"))
    days = model.describe()["trained_on"]
    console.print(
        f"model [bold]{method.checkpoint}[/]: fitted on {len(days)} dates "
        f"({days[0]} to {days[-1]}) in {time.perf_counter() - started:.0f} s; losses in {picture}"
    )
    fitted_method: Method = model
    return fitted_method


def _fit_plus(config: Config, fine: Any) -> Method:
    """Fit the variant without networks."""
    from biastf_xr.cube.store import open_cube
    from biastf_xr.methods import fit

    started = time.perf_counter()
    with progress_bar("train", "dates") as advance:
        model: Any = fit(
            fine,
            open_cube(config.coarse.cube),
            config.method.name,
            path=config.method.checkpoint,
            progress=lambda step, done, total: advance(done, total, step),
            **fit_options(config),
        )
    card = model.card
    known = ", ".join(
        f"{n} dates from {k} base date{'s' if k == 'two' else ''}"
        for k, n in card.calibrated.items()
    )
    console.print(
        f"model [bold]{config.method.checkpoint}[/]: fitted on {len(card.days)} dates "
        f"({card.days[0]} to {card.days[-1]}) in {time.perf_counter() - started:.0f} s; "
        f"uncertainty from {known}{'' if all(card.calibrated.values()) else ' (0: assumed)'}"
    )
    if min(card.trust.values()) < HALF_TRUST:
        console.print(
            "[yellow]the coarse images did not help on the dates that are known[/]: predictions "
            f"stay near interpolation in time (trust {card.trust}). Check the coarse series: "
            "`biastf-xr info`, registration, cloud masks."
        )
    fitted: Method = model
    return fitted


def fit_options(config: Config) -> dict[str, Any]:
    """Give the options of the fit.

    Parameters
    ----------
    config : Config
        The run.

    Returns
    -------
    dict
        For `biastf_xr.fit`.
    """
    method = config.method
    if method.name == "biastf-plus":
        return {"base_rule": config.fuse.rule().bracket, **method.told()}
    own = {"network": method.network} if method.name == "biastf" else {}
    return {
        **own,
        "samples": method.samples,
        "train": method.train,
        "base_rule": config.fuse.rule().bracket,
        "seed": method.seed,
        **method.told(),
    }


def built_method(config: Config) -> Any:
    """Give the configured method, loading a learned one from its checkpoint.

    Parameters
    ----------
    config : Config
        The run.

    Returns
    -------
    Method
        The method.
    """
    from biastf_xr.methods import get_method, load_method

    if config.method.learned:
        method = load_method(
            config.method.checkpoint,
            device=config.method.device,
            precision=config.method.precision,
        )
        if method.name != config.method.name:
            raise ConfigError(
                f"`method.name` is {config.method.name!r} and {config.method.checkpoint} is a "
                f"model of {method.name!r}. Name that method, or fit the one that is named."
            )
        return method
    return get_method(config.method.name, **config.method.told())


def fusion_options(config: Config) -> dict[str, Any]:
    """Give what says which days are fused, and from what.

    Parameters
    ----------
    config : Config
        The run.

    Returns
    -------
    dict
        For `biastf_xr.write_fused` and `biastf_xr.plan`.
    """
    section = config.fuse
    return {
        "dates": target_dates(config),
        "withhold": list(map(str, section.withhold)),
        "rule": section.rule(),
        "tile": section.tile,
    }


def plan_step(config: Config, *, trial: bool = True) -> Preview:
    """Show what `fuse_step` would do.

    Parameters
    ----------
    config : Config
        The run.
    trial : bool
        Whether to try the method's speed.

    Returns
    -------
    Preview
        The plan.
    """
    from biastf_xr.engine.preview import plan

    paths = config.fine.cube, config.coarse.cube, config.fuse.output
    method = built_method(config)
    shown = plan(*paths, method, trial=trial, **fusion_options(config))
    show_plan(shown)
    return shown


def fuse_step(config: Config, *, overwrite: bool = False, revise: bool = False) -> RunReport:
    """Fuse the configured days on a cluster: what the fused cube has not, or has from other inputs.

    Parameters
    ----------
    config : Config
        The run.
    overwrite : bool
        Replace a fused cube that is there by a new one.
    revise : bool
        Whether a cube made with another method or rule may be made anew in place.

    Returns
    -------
    RunReport
        What was done.
    """
    from biastf_xr.cluster import connect, dashboard
    from biastf_xr.engine.run import write_fused

    section, spec = config.fuse, config.cluster.spec()
    with ExitStack() as stack:

        def connected() -> Any:
            """Give the cluster, once there is something to do."""
            client = stack.enter_context(connect(spec))
            if client is None:
                console.print("units run in threads of this process")
                return None
            link = dashboard(client)
            where = f"dashboard {link}" if link else "dashboard: install the extra `dashboard`"
            console.print(f"cluster with {len(client.nthreads())} workers, {where}")
            return client

        advance = stack.enter_context(progress_bar("fuse", "units"))
        report = write_fused(
            config.fine.cube,
            config.coarse.cube,
            section.output,
            built_method(config),
            client=connected,
            gpu=spec.gpu,
            overwrite=overwrite,
            revise=revise,
            progress=lambda state: advance(state.done, state.total, run_note(state)),
            log=log_path(section.output),
            **fusion_options(config),
        )
    show_run(report)
    return report


def log_path(output: str) -> Path:
    """Give where the log of a run is written: beside the cube, or here for a cube behind a URL.

    Parameters
    ----------
    output : str
        The fused cube.

    Returns
    -------
    pathlib.Path
        A file of JSON lines.
    """
    scheme, mark, rest = output.partition("://")
    place = Path(rest if mark else output)
    if mark and scheme != "icechunk":
        place = Path(place.name)
    return place.with_name(f"{place.name}.log.jsonl")


def update_step(config: Config) -> bool:
    """Bring everything up to date: ingest, refit if the policy says so, fuse what that changes.

    Parameters
    ----------
    config : Config
        The run.

    Returns
    -------
    bool
        Whether anything was made.
    """
    from biastf_xr.cli.cubes import ingest_step

    fine, coarse = ingest_step(config)
    method = config.method
    fitted = method.checkpoint.exists()
    news = bool(fine.added or fine.replaced or fine.removed)
    refit = method.refit == "new-scenes" and news
    if method.learned and method.refit != "never" and (not fitted or refit):
        train_step(config)
    report = fuse_step(config, revise=True)
    if config.fuse.withhold:
        evaluate_step(config)
    made = report.pixels > 0
    if not made and not (news or coarse.added or coarse.replaced or coarse.removed):
        console.print("nothing new: the fused cube is up to date")
    return made


def target_dates(config: Config) -> Any:
    """Give the days to predict.

    Parameters
    ----------
    config : Config
        The run.

    Returns
    -------
    "daily" or list of str
        For `biastf_xr.write_fused`.
    """
    from biastf_xr.cube.spec import to_days
    from biastf_xr.cube.store import open_cube

    start, end = config.fuse.start, config.fuse.end
    if start is None and end is None:
        return "daily"
    season = to_days(open_cube(config.coarse.cube, chunks=None)["time"].values)
    first = np.datetime64(start) if start else season[0]
    last = np.datetime64(end) if end else season[-1]
    if last < first:
        raise ConfigError(
            f"no day to fuse: start {first}, end {last}; the coarse cube spans {season[0]} to "
            f"{season[-1]}."
        )
    return [str(d) for d in np.arange(first, last + np.timedelta64(1, "D"))]


def evaluate_step(
    config: Config,
    *,
    dates: tuple[str, ...] = (),
    cube: str | None = None,
    also: tuple[str, ...] = (),
    design: Design | None = None,
    min_clear: float = 0.9,
    csv: Path | None = None,
    report: Path | None = None,
) -> Scores:
    """Score on withheld scenes and print the tables.

    A fused cube made with withheld dates is scored as it is.  Otherwise scenes are withheld as the
    design says, and a learned method is fitted anew without them.

    Parameters
    ----------
    config : Config
        The run.
    dates : tuple of str
        Dates to withhold; by default the configured ones, else every clear inner date.
    cube : str, optional
        Fused cube to score; by default the configured one where dates are withheld.
    also : tuple of str
        More methods to predict with, each with its defaults.
    design : Design, optional
        What is withheld; leave-one-out by default.
    min_clear : float
        Clear fraction a date needs to be chosen by default.
    csv : pathlib.Path, optional
        File for every figure.
    report : pathlib.Path, optional
        HTML file for the report; its numbers go beside it as JSON.

    Returns
    -------
    Scores
        The measures.

    Raises
    ------
    ConfigError
        If a design is given with a cube that is there, or the report is no HTML file.
    """
    from biastf_xr.cube.store import open_cube
    from biastf_xr.evaluation.gallery import Gallery
    from biastf_xr.evaluation.holdout import evaluate, score_cube
    from biastf_xr.evaluation.report import write_report

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
                design=design,
                dates=list(dates) or None,
                min_clear=min_clear,
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
