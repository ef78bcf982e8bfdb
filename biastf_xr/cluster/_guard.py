"""Scripts that start processes of their own: each of them runs the script again from its top."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from biastf_xr.errors import ConfigError


def check_guard() -> None:
    """Refuse a call that every worker would make again, before it starts the first one."""
    import dask
    import distributed  # noqa: F401  (whose settings are read)

    if dask.config.get("distributed.worker.multiprocessing-method") == "fork":
        return
    frame = sys._getframe()  # noqa: SLF001
    while frame.f_back is not None and not _is_script(frame.f_code.co_name, frame.f_globals):
        frame = frame.f_back
    about = frame.f_globals
    file = Path(str(about.get("__file__")))
    if not _is_script(frame.f_code.co_name, about) or frame.f_code.co_filename != str(file):
        return
    if str(getattr(about.get("__spec__"), "name", "")).endswith("__main__") or not file.is_file():
        return  # of a package: it is not run again
    if not _is_guarded(file, frame.f_lineno):
        raise ConfigError(
            f"{file}, line {frame.f_lineno}: `connect` starts processes, and each of them runs "
            'this script again from its top. Put the call under `if __name__ == "__main__":`.'
        )


def _is_script(name: str, about: dict[str, object]) -> bool:
    """Return whether a frame is the top of the script that runs, here or in a new process."""
    return name == "<module>" and about.get("__name__") in {"__main__", "__mp_main__"}


def _is_guarded(file: Path, line: int) -> bool:
    """Return whether a line stands under an `if` that asks for the name of the module."""
    return any(
        isinstance(node, ast.If)
        and node.lineno <= line <= (node.end_lineno or line)
        and any(getattr(part, "id", "") == "__name__" for part in ast.walk(node.test))
        for node in ast.walk(ast.parse(file.read_bytes()))
    )
