"""The command line.  Heavy libraries load inside the commands, so that help answers at once."""

from __future__ import annotations

# Exit codes of every command.
CODES = {
    0: "done, or nothing to do",
    1: "the command found what it looks for to be wrong: a damaged cube, a failed check",
    2: "an error that needs a person, said in one message",
    3: "all was done but some units or results, which the same command tries again",
    4: "another run is at work on the same region",
    130: "interrupted with Ctrl-C; what is finished is kept",
}


def main() -> None:
    """Run the command line; errors raised on purpose become one message and exit code 2.

    Exit code 3 says that a run did all it could, but some of its units failed.
    """
    from biastf_xr.cli._app import app
    from biastf_xr.cli._command import COMMON, fail
    from biastf_xr.errors import BiastfError, FusionRunError

    try:
        app()
    except BiastfError as error:
        if COMMON.debug:
            raise
        fail(error, 3 if isinstance(error, FusionRunError) else 2)
