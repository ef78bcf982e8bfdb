"""The nightly job: ``python main.py config.toml [--dry-run]``.

``biastf-xr update config.toml`` is the same; the exit codes are those of
`biastf_xr.nightly.ExitCode`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from biastf_xr.config import read_config
from biastf_xr.errors import BiastfError
from biastf_xr.nightly import ExitCode, update
from biastf_xr.nightly.show import show_night


def main() -> int:
    """Read the configuration named on the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).with_name("config.toml")
    parser.add_argument("config", nargs="?", type=Path, default=here)
    parser.add_argument("--dry-run", action="store_true", help="say what each step would do")
    given = parser.parse_args()
    try:
        config = read_config(given.config)
    except BiastfError as error:
        print(f"error ({type(error).__name__}): {error}", file=sys.stderr)
        return ExitCode.NEEDS_A_PERSON
    report = update(config, dry_run=given.dry_run)
    show_night(report)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
