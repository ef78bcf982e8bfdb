"""The command line.  Heavy libraries load inside the commands, so that help answers at once."""

from __future__ import annotations


def main() -> None:
    """Run the command line; errors raised on purpose become one message and an exit code."""
    import sys

    from biastf_xr._system import number_of, remedy
    from biastf_xr.cli._app import app
    from biastf_xr.cli._command import COMMON, fail
    from biastf_xr.errors import BiastfError, ExitCode

    for stream in (sys.stdout, sys.stderr):  # of a locale that has not all letters
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except BiastfError as error:
        if COMMON.debug:
            raise
        fail(error, ExitCode.of(error))
    except OSError as error:
        if COMMON.debug or number_of(error) is None:
            raise
        fail(OSError(f"{error}. {remedy(error)}."), ExitCode.NEEDS_A_PERSON)
