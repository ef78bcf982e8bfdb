"""Bring everything up to date: the scheduled job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biastf_xr.steps.evaluate import evaluate_step
from biastf_xr.steps.fuse import fuse_step
from biastf_xr.steps.ingest import ingest_step
from biastf_xr.steps.terminal import console
from biastf_xr.steps.train import train_step

if TYPE_CHECKING:
    from biastf_xr.config import Config


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
