"""The keys of a configuration: what each is, its default, and what its docstring says of it."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of the file; its `default` is `dataclasses.MISSING` where it has none."""

    kind: Any
    default: Any
    meaning: str


def leaf_keys(cls: type, prefix: str = "") -> dict[str, Key]:
    """Return every key that holds a value, as "fuse.tile", in the order of the sections."""
    hints = _hints(cls)
    meanings = attributes_of(cls)
    found: dict[str, Key] = {}
    for name, default in defaults_of(cls).items():
        section = next(filter(_is_section, (hints[name], *typing.get_args(hints[name]))), None)
        if section is None:
            found[f"{prefix}{name}"] = Key(hints[name], default, meanings.get(name, ("", ""))[1])
        else:
            found |= leaf_keys(section, f"{prefix}{name}.")
    return found


def _hints(cls: type) -> dict[str, Any]:
    """Return the types of a section's fields, without those that pydantic keeps for itself."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base is not object and not base.__module__.startswith("pydantic"):
            own = {"__annotations__": inspect.get_annotations(base), "__module__": base.__module__}
            found |= typing.get_type_hints(type(base.__name__, (), own))
    return found


def known_keys(cls: type) -> list[str]:
    """Return every key, with the options of every method and of every product."""
    from biastf_xr.methods import METHODS, option_names
    from biastf_xr.sources import PRODUCTS, product_class

    found = dict.fromkeys(leaf_keys(cls))
    for name in METHODS:
        found |= {f"method.options.{key}": None for key in option_names(name)}
    for product in map(product_class, PRODUCTS):
        for sensor in ("fine", "coarse"):
            found |= {f"{sensor}.options.{name}": None for name in defaults_of(product)}
    return list(found)


def defaults_of(cls: type) -> dict[str, Any]:
    """Return the fields of a section with their defaults."""
    if not issubclass(cls, BaseModel):
        return {f.name: f.default for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return {
        name: dataclasses.MISSING if field.is_required() else field.get_default(
            call_default_factory=True
        )
        for name, field in cls.model_fields.items()
    }  # fmt: skip


def attributes_of(cls: type) -> dict[str, tuple[str, str]]:
    """Return type and meaning of each attribute, from the docstrings of a class and its bases."""
    text = inspect.cleandoc(cls.__doc__ or "")
    found: dict[str, tuple[str, str]] = {}
    for base in cls.__bases__:
        found |= attributes_of(base) if base.__module__.startswith("biastf_xr") else {}
    _, _, section = text.partition("Attributes\n----------\n")
    section = re.split(r"\n\n[A-Z][^\n]*\n-{3,}\n", section)[0]
    for entry in re.split(r"\n(?=\S)", section.strip()):
        head, _, body = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        for name in names.split(","):
            found[name.strip()] = kind.strip(), inspect.cleandoc(body)
    return found


def merged(data: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested tables with the values of `more` in place of their own."""
    found = dict(data)
    for name, value in more.items():
        both = isinstance(value, Mapping) and isinstance(found.get(name), Mapping)
        found[name] = merged(found[name], value) if both else value
    return found


def taken(data: Mapping[str, Any], name: str, *rest: str) -> tuple[dict[str, Any], Any]:
    """Return nested tables without one key, and its value; None where it is not there."""
    found = dict(data)
    if not rest:
        return found, found.pop(name, None)
    if not isinstance(found.get(name), Mapping):
        return found, None
    found[name], value = taken(found[name], *rest)
    return found, value


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and (
        issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)
    )
