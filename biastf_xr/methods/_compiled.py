"""How loops over pixels are compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop: one thread, no lock of the interpreter, IEEE arithmetic.

    Fused multiply-add is the one liberty taken, and zero divisions give infinities as in NumPy.
    The machine code is kept for the next process beside the module, in the user's cache, or, where
    neither can be written, not at all.
    """
    how: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        made: Callable[..., Any] = njit(**how, cache=True)(function)
    except RuntimeError:  # no place for a cache
        made = njit(**how)(function)
    return made
