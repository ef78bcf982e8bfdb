"""Names that a package offers and that load on first use."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def lazy_exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package, and list its names in `dir`.

    `homes`: Module that defines each name.
    """

    def load(name: str) -> Any:
        """Return a name, loading its module."""
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    vars(sys.modules[package]).setdefault("__dir__", lambda: sorted(homes))
    return load
