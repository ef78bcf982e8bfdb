"""The command line.  Heavy libraries load inside the commands, so that help answers at once."""

from __future__ import annotations


def main() -> None:
    """Run the command line; errors raised on purpose become one message and an exit code."""
    from biastf_xr.cli._app import app
    from biastf_xr.cli._command import COMMON, fail
    from biastf_xr.errors import BiastfError, ExitCode

    try:
        app()
    except BiastfError as error:
        if COMMON.debug:
            raise
        fail(error, ExitCode.of(error))
