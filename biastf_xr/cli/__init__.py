"""The command line.  Heavy libraries load inside the commands, so that help answers at once."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; errors raised on purpose become one message and exit code 2.

    Exit code 3 says that a run did all it could, but some of its units failed.
    """
    from biastf_xr.cli.app import app
    from biastf_xr.errors import BiastfError, FusionRunError

    try:
        app()
    except BiastfError as error:
        if "--debug" in sys.argv:
            raise
        from rich.console import Console

        console = Console(stderr=True)
        console.print(f"[bold red]error[/] ({type(error).__name__}): ", end="")
        console.print(str(error), markup=False, highlight=False)
        sys.exit(3 if isinstance(error, FusionRunError) else 2)
