"""Registries of classes: ours, and those that installed packages add by entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def with_installed(group: str, own: Mapping[str, str]) -> dict[str, str]:
    """Return a registry with what packages add to it; a name of ours stays ours.

    `group`: Entry points `biastf_xr.<group>`. `own`: Module and class, as `module:Class`, by name;
    each is imported when it is first asked for, by `pkgutil.resolve_name`.
    """
    added = {point.name: point.value for point in entry_points(group=f"biastf_xr.{group}")}
    return {**own, **{name: value for name, value in added.items() if name not in own}}
