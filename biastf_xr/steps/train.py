"""Fit the configured method."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from biastf_xr.errors import ConfigError
from biastf_xr.steps.terminal import console, progress_bar

if TYPE_CHECKING:
    from biastf_xr.config import Config
    from biastf_xr.methods.base import Method


def train_step(config: Config) -> Method | None:
    """Fit the configured method, without the withheld dates, and save it."""
    from biastf_xr.cluster import connect
    from biastf_xr.cube._cube import drop_days, open_cube
    from biastf_xr.methods import fit

    if not config.method.learned:
        console.print(f"method {config.method.name} needs no training")
        return None
    method = config.method
    fine = drop_days(open_cube(config.fine.cube), map(str, config.fuse.withhold))
    started = time.perf_counter()
    with ExitStack() as stack:
        advance = stack.enter_context(progress_bar("train", ""))
        client = None
        if method.train_on == "cluster":
            client = stack.enter_context(connect(config.cluster.spec()))
        model: Any = fit(
            fine,
            open_cube(config.coarse.cube),
            method.name,
            client=client,
            path=method.checkpoint,
            progress=lambda note, done, total: advance(done, total, note),
            **fit_options(config),
        )
    took, days = time.perf_counter() - started, model.card.days
    told = [f"fitted on {len(days)} dates ({days[0]} to {days[-1]}) in {took:.0f} s"]
    if hasattr(model, "plot_history"):
        name = f"{method.checkpoint.name}.png"
        told.append(f"losses in {model.plot_history(method.checkpoint.with_name(name))}")
    console.print(f"model [bold]{method.checkpoint}[/]: {'; '.join(told)}")
    for remark in model.remarks():
        console.print(remark, markup=False)
    fitted: Method = model
    return fitted


def fit_options(config: Config) -> dict[str, Any]:
    """Return the options of the fit."""
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
        "start": method.start,
        "resume": method.resume,
        **method.told(),
    }


def built_method(config: Config) -> Any:
    """Return the configured method, loading a learned one from its checkpoint."""
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
