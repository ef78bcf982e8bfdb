"""Fuse the configured days, and say beforehand what that takes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.errors import ConfigError
from biastf_xr.steps.show_runs import run_note, show_plan, show_run
from biastf_xr.steps.terminal import console, progress_bar
from biastf_xr.steps.train import built_method

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.config import Config
    from biastf_xr.fusion._preview import Preview
    from biastf_xr.fusion._report import RunReport


def plan_step(config: Config, *, trial: bool = True) -> Preview:
    """Show what `fuse_step` would do."""
    from biastf_xr.fusion._preview import plan

    paths = config.fine.cube, config.coarse.cube, config.fuse.output
    method = built_method(config)
    shown = plan(*paths, method, trial=trial, **fusion_options(config))
    show_plan(shown)
    return shown


def fuse_step(config: Config, *, overwrite: bool = False, revise: bool = False) -> RunReport:
    """Fuse the configured days on a cluster: what the fused cube has not, or has from other inputs.

    `overwrite`: Replace a fused cube that is there by a new one.
    `revise`: Whether a cube made with another method or rule may be made anew in place.
    """
    from biastf_xr.cluster import connect, dashboard
    from biastf_xr.fusion._run import write_fused

    section, spec = config.fuse, config.cluster.spec()
    with ExitStack() as stack:

        def connected() -> Any:
            """Return the cluster, once there is something to do."""
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


def fusion_options(config: Config) -> dict[str, Any]:
    """Return what says which days are fused, and from what."""
    section = config.fuse
    return {
        "dates": target_dates(config),
        "withhold": list(map(str, section.withhold)),
        "rule": section.rule(),
        "tile": section.tile,
    }


def target_dates(config: Config) -> Any:
    """Return the days to predict."""
    from biastf_xr.cube._cube import open_cube
    from biastf_xr.cube._spec import to_days

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


def log_path(output: str) -> Path:
    """Return the path of the log: beside the cube, or here for a cube behind a URL."""
    from biastf_xr.cube.stores import store_at

    place = store_at(output).beside
    return place.with_name(f"{place.name}.log.jsonl")
