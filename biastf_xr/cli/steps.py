"""The steps of a run, each from a configuration, with progress on the terminal.

The commands, the demo and the scheduled pipelines call these.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cli.show import console, progress_bar, show_scores
from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.config import Config
    from biastf_xr.evaluation.holdout import Scores
    from biastf_xr.methods.base import Method


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
    from biastf_xr.cube.store import open_cube
    from biastf_xr.fusion.run import drop_days
    from biastf_xr.methods import fit

    if not config.method.learned:
        console.print(f"method {config.method.name} needs no training")
        return None
    fine = drop_days(open_cube(config.fine.cube), map(str, config.fuse.withhold))
    epochs = config.method.train.epochs
    started = time.perf_counter()
    with progress_bar("train", "epochs") as advance:
        done: dict[str, int] = {}

        def report(band: str, epoch: int, fitted: float, held: float) -> None:
            if band not in done:
                done.update(dict.fromkeys(done, epochs))  # earlier bands have stopped
            done[band] = epoch
            advance(
                sum(done.values()),
                epochs * len(bands),
                f"{band}: loss {fitted:.2f}, held out {held:.2f} (1 is no bias)",
            )

        from biastf_xr.cube.store import bands_of

        bands = bands_of(fine)
        model = fit(
            fine,
            open_cube(config.coarse.cube),
            "biastf",
            path=config.method.checkpoint,
            progress=report,
            **fit_options(config),
        )
    pairs = model.describe()["trained_on"]
    console.print(
        f"model [bold]{config.method.checkpoint}[/]: fitted on {len(pairs)} dates "
        f"({pairs[0]} to {pairs[-1]}) in {time.perf_counter() - started:.0f} s"
    )
    return model


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
    return {
        "network": method.network,
        "samples": method.samples,
        "train": method.train,
        "base_rule": config.fuse.rule().bracket,
        "seed": method.seed,
        **method.options(),
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
        return load_method(config.method.checkpoint, device=config.method.device)
    return get_method(config.method.name, **config.method.options())


def fuse_step(config: Config, *, overwrite: bool = False) -> str:
    """Fuse the configured days on a cluster and write the cube.

    Parameters
    ----------
    config : Config
        The run.
    overwrite : bool
        Replace a fused cube that is there.

    Returns
    -------
    str
        The fused cube.
    """
    from biastf_xr.cluster import connect, dashboard
    from biastf_xr.cube.stores import store_at
    from biastf_xr.errors import CubeExistsError
    from biastf_xr.fusion.run import plan_run, write_fused

    section, cluster = config.fuse, config.cluster
    if store_at(section.output).exists() and not overwrite:
        raise CubeExistsError(
            f"{section.output} already exists and is left as it is. Choose another output, or "
            "replace it with --overwrite."
        )
    method = built_method(config)
    options = {
        "dates": target_dates(config),
        "withhold": list(map(str, section.withhold)),
        "rule": section.rule(),
    }
    _, plan = plan_run(config.fine.cube, config.coarse.cube, method, **options)
    alone = sum(len(b.targets) for b in plan.brackets if not (b.layers or b.observed))
    console.print(
        f"{plan.targets.size} days from {plan.targets[0]} to {plan.targets[-1]}, "
        f"{len(plan.brackets)} brackets; {alone} days without a base date in reach"
    )
    started = time.perf_counter()
    with connect(cluster.address, workers=cluster.workers, memory=cluster.memory) as client:
        link = dashboard(client)
        where = f"dashboard {link}" if link else "dashboard: install the extra `dashboard`"
        console.print(f"cluster with {len(client.nthreads())} workers, {where}")
        with progress_bar("fuse", "units") as advance:
            path = write_fused(
                config.fine.cube,
                config.coarse.cube,
                section.output,
                method,
                tile=section.tile,
                client=client,
                overwrite=overwrite,
                progress=lambda done, total: advance(done, total, ""),
                **options,
            )
    console.print(f"fused cube [bold]{path}[/] in {time.perf_counter() - started:.0f} s")
    return path


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
    min_clear: float = 0.9,
    csv: Path | None = None,
) -> Scores:
    """Score on withheld scenes and print the tables.

    A fused cube made with withheld dates is scored as it is.  Otherwise dates are withheld in
    turn, and a learned method is fitted anew without each.

    Parameters
    ----------
    config : Config
        The run.
    dates : tuple of str
        Dates to withhold; by default the configured ones, else every clear inner date.
    cube : str, optional
        Fused cube to score; by default the configured one where dates are withheld.
    min_clear : float
        Clear fraction a date needs to be chosen by default.
    csv : pathlib.Path, optional
        File for every figure.

    Returns
    -------
    Scores
        The measures.
    """
    from biastf_xr.cube.store import open_cube
    from biastf_xr.evaluation.holdout import evaluate, score_cube

    fine, coarse = open_cube(config.fine.cube), open_cube(config.coarse.cube)
    withheld = tuple(map(str, config.fuse.withhold))
    if cube is None and not dates and withheld:
        cube = config.fuse.output
    if cube is not None:
        scores = score_cube(
            open_cube(cube),
            fine,
            coarse,
            list(dates or withheld),
            name=config.method.name,
            rule=config.fuse.rule(),
        )
    else:
        method = config.method
        chosen = method.name if method.refit != "never" else built_method(config)
        if method.name == "direct":
            chosen = built_method(config)
        with progress_bar("evaluate", "predictions") as advance:
            count = [0]

            def report(day: str, name: str) -> None:
                count[0] += 1
                advance(count[0], None, f"{day} {name}")

            scores = evaluate(
                fine,
                coarse,
                [chosen],
                dates=list(dates) or None,
                min_clear=min_clear,
                rule=config.fuse.rule(),
                fit_options=fit_options(config) if method.learned else None,
                progress=report,
            )
    show_scores(scores)
    if csv is not None:
        scores.table.to_csv(csv, index=False)
        console.print(f"every figure in {csv}")
    return scores
