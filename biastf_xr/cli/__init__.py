"""The command line.  Heavy libraries load inside the commands, so that help answers at once."""

from __future__ import annotations


def main() -> None:
    """Run the command line; errors raised on purpose become one message and an exit code."""
    import sys

    from biastf_xr._outside import guard_logs, traceback_text
    from biastf_xr._system import number_of, remedy
    from biastf_xr.cli._app import app
    from biastf_xr.cli._command import COMMON, fail
    from biastf_xr.errors import BiastfError, ExitCode

    for stream in (sys.stdout, sys.stderr):  # of a locale that has not all letters
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    guard_logs()
    try:
        app()
    except Exception as error:  # noqa: BLE001  (what nobody foresaw has its traceback printed)
        if isinstance(error, BiastfError) and not COMMON.debug:
            fail(error, ExitCode.of(error))
        if isinstance(error, OSError) and number_of(error) is not None and not COMMON.debug:
            fail(OSError(f"{error}. {remedy(error)}."), ExitCode.NEEDS_A_PERSON)
        sys.stderr.write(traceback_text(error))
        sys.exit(1)
