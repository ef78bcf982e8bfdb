"""The nightly job in its simplest form: ingest what is new, refit, fuse, publish.

Run it as ``python main.py config.toml``.  With nothing new it does nothing.  A fused cube that is
there stays readable until the new one takes its place in one step; a run that fails leaves it.

Exit codes: 0 done or nothing to do; 2 an error that needs a person, said in one message.
"""

from __future__ import annotations

import sys
from pathlib import Path

from biastf_xr.cli import steps
from biastf_xr.cli.cubes import ingest_step
from biastf_xr.cli.show import console
from biastf_xr.config import Config, read_config
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import BiastfError


def run(config: Config) -> bool:
    """Bring the fused cube up to date.

    Parameters
    ----------
    config : Config
        The region.

    Returns
    -------
    bool
        Whether anything was made.
    """
    fine, coarse = ingest_step(config)
    news = bool(fine.added or coarse.added or fine.removed or coarse.removed)
    method = config.method
    fitted = method.checkpoint.exists()
    if method.learned and (not fitted or (fine.added and method.refit == "new-scenes")):
        steps.train_step(config)
        news = True
    if not news and store_at(config.fuse.output).exists():
        console.print("nothing new: the fused cube is up to date")
        return False
    steps.fuse_step(config, overwrite=True)
    if config.fuse.withhold:
        steps.evaluate_step(config)
    return True


def main() -> int:
    """Read the configuration named on the command line and run.

    Returns
    -------
    int
        Exit code.
    """
    here = Path(__file__).with_name("config.toml")
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else here
    try:
        run(read_config(path))
    except BiastfError as error:
        print(f"error ({type(error).__name__}): {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
