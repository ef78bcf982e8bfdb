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


# Below this trust of a fit in the coarse images the user is told.
HALF_TRUST = 0.5


def train_step(config: Config) -> Method | None:
    """Fit the configured method, without the withheld dates, and save it."""
    from biastf_xr.cluster import connect
    from biastf_xr.cube._cube import bands_of, drop_days, open_cube
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
    from biastf_xr.cube._cube import open_cube
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
