"""The scheduled job: ``python main.py [config.toml] [--dry-run]``.

``biastf-xr update config.toml`` is the same; the exit codes are those of
`biastf_xr.errors.ExitCode`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from biastf_xr import Region
from biastf_xr.errors import BiastfError, ExitCode


def main() -> int:
    """Read the configuration named on the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).with_name("config.toml")
    parser.add_argument("config", nargs="?", type=Path, default=here)
    parser.add_argument("--dry-run", action="store_true", help="say what each step would do")
    given = parser.parse_args()
    try:
        report = Region.from_file(given.config).update(dry_run=given.dry_run)
    except BiastfError as error:
        print(f"error ({type(error).__name__}): {error}", file=sys.stderr)
        return ExitCode.of(error)
    print(report)
    if report.error:
        print(report.error, file=sys.stderr)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
