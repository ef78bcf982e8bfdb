"""The nightly job as a Prefect flow: one task is one run, tried again where units failed.

``python flow.py config.toml`` runs it once; ``python flow.py config.toml --serve`` registers the
schedule and waits for it.  Needs the extra: ``pip install "biastf-xr[prefect]"``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.states import Completed, Failed

from biastf_xr.errors import ExitCode

CRON = "30 3 * * *"
RETRIES, DELAY = 2, 1800.0


def worth_another_try(_: Any, __: Any, state: Any) -> bool:
    """Return whether the next run would do what this one could not."""
    return bool(state.message == message_of(ExitCode.TRY_AGAIN))


def message_of(code: int) -> str:
    """Return how a run ended."""
    return f"biastf-xr update ended with exit code {int(code)}"


@task(
    name="update", retries=RETRIES, retry_delay_seconds=DELAY, retry_condition_fn=worth_another_try
)
def update(config: str) -> Any:
    """Run the job in a process of its own, which owns its memory and its signals."""
    command = [sys.executable, "-c", "from biastf_xr.cli import main; main()", "update", config]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  (ours)
    logger = get_run_logger()
    logger.info(done.stdout)
    if done.stderr:
        logger.warning(done.stderr)
    code = done.returncode
    if code == 0:
        return Completed(message=message_of(code))
    names: dict[int, str] = {ExitCode.CHECK_FAILED: "CheckFailed", ExitCode.BUSY: "Busy"}
    if code in names:
        return Completed(name=names[code], message=message_of(code))
    return Failed(message=message_of(code))


@flow(name="regional-daily")
def regional_daily(config: str) -> Any:
    """Bring one region up to date."""
    ended = update(config, return_state=True)
    if ended.is_completed():
        return Completed(name=ended.name, message=ended.message)
    return Failed(message=ended.message)


def main() -> None:
    """Run the flow once, or serve its schedule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--serve", action="store_true", help="wait for the schedule")
    given = parser.parse_args()
    config = str(given.config.resolve())
    if given.serve:
        regional_daily.serve(name=given.config.stem, cron=CRON, parameters={"config": config})
    else:
        regional_daily(config)


if __name__ == "__main__":
    main()
