"""The nightly job: ingest what is new, refit if the policy says so, fuse what that changes.

Run it as ``python main.py config.toml``; ``biastf-xr update config.toml`` is the same.  With
nothing new it does nothing; after a late scene it makes only the dates and tiles anew that the
scene changes; after an interruption it goes on.

Exit codes: 0 done or nothing to do; 2 an error that needs a person, said in one message; 3 all was
done but some units, which the next run tries again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from biastf_xr.config import read_config
from biastf_xr.errors import BiastfError, FusionRunError
from biastf_xr.steps.update import update_step


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
        update_step(read_config(path))
    except BiastfError as error:
        print(f"error ({type(error).__name__}): {error}", file=sys.stderr)
        return 3 if isinstance(error, FusionRunError) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
