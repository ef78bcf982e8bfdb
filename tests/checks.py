"""What many tests check in the same way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection

C = TypeVar("C", bound="Collection")


def facts(*parts: object) -> str:
    """Return a pattern for `match` that asks for all parts, as they are, in any order.

    For messages: their facts are tested (values, files, keys, options), not their sentences.
    """
    return "(?s)" + "".join(f"(?=.*{re.escape(str(part))})" for part in parts)


def some(found: C) -> C:
    """Return a collection that is not empty: a loop over nothing tests nothing."""
    assert len(found), "nothing to check was found"
    return found
