"""Show the fields of a dataclass as what they are: the parameters of its constructor."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

BEFORE_NAPOLEON = 400


def rename_section(
    _: Sphinx, what: str, _name: str, obj: Any, _options: Any, lines: list[str]
) -> None:
    """Call the Attributes section of a dataclass Parameters."""
    if what == "class" and dataclasses.is_dataclass(obj) and "Attributes" in lines:
        lines[lines.index("Attributes")] = "Parameters"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", rename_section, priority=BEFORE_NAPOLEON)
    return {"parallel_read_safe": True}
