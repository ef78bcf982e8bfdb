"""Options of methods: fields of dataclasses that say which values they take."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass
from numbers import Integral, Real
from operator import ge, gt, le, lt
from typing import Any, TypeVar

import numpy as np

from biastf_xr.errors import MethodError

T = TypeVar("T")

# Numbers are written in double precision, and used in single.
LARGEST = float(np.finfo(np.float32).max)


def option(
    default: Any,
    *,
    choices: tuple[Any, ...] = (),
    above: float | None = None,
    below: float | None = None,
    least: float | None = None,
    most: float | None = None,
    odd: bool = False,
    preset: str = "",
    rare: bool = False,
    shared: bool = False,
    was: str = "",
) -> Any:
    """Declare an option, and which values it takes, as the field of a dataclass.

    The default states the type; a default of None admits None.

    `choices`: The values it takes.
    `above`, `below`, `least`, `most`: Limits of a number.
    `odd`: Whether it is an odd number, of at least `least`.
    `preset`: The preset to name instead, of an option that only matches another program.
    `rare`: Whether it is a constant of the published method that is hardly ever set.
    `shared`: Whether several methods have it; `biastf_xr.methods._shared` documents it.
    `was`: Its earlier name, which is still read, and which the record of a cube keeps.
    """
    about = {"choices": choices, "above": above, "below": below, "least": least, "most": most,
             "odd": odd, "preset": preset, "rare": rare, "shared": shared, "was": was}  # fmt: skip
    return field(default=default, metadata=about)


def bound(default: Any) -> Any:
    """Declare a field that `Method.bind` sets, which is no option; it has the default before."""
    return field(default=default, repr=False, metadata={"bound": True})


def check_fields(options: Any) -> None:
    """Check the options of a dataclass; lists become tuples, tables the dataclass they are of."""
    who = _name_of(options)
    for f in fields(options):
        value = getattr(options, f.name)
        if is_dataclass(f.default) and isinstance(value, Mapping):
            value = build(type(f.default), value, f"{who}, {f.name}")
            object.__setattr__(options, f.name, value)
        elif isinstance(f.default, tuple) and isinstance(value, list):
            value = tuple(value)
            object.__setattr__(options, f.name, value)
        if not (value is None and f.default is None) and (wanted := _expected(f, value)):
            raise MethodError(f"{who}: {f.name} is {value!r}; expected {wanted}.")


def _expected(f: dataclasses.Field[Any], value: Any) -> str:
    """Return what a value should have been; nothing where it is good."""
    choices = f.metadata.get("choices")
    limits = {word: limit for word in _TESTS if (limit := f.metadata.get(word)) is not None}
    if choices:
        good = value in choices and not isinstance(value, bool)
        return "" if good else f"one of {list(choices)}"
    if isinstance(f.default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(f.default, str | tuple):
        kind = "a text" if isinstance(f.default, str) else "a list"
        return "" if isinstance(value, type(f.default)) else kind
    if not (limits or isinstance(f.default, Real)):
        return ""
    whole = _whole_number(f.default)
    good = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    good = good and abs(value) <= LARGEST  # and so no NaN
    good = good and all(_TESTS[word][0](value, limit) for word, limit in limits.items())
    if f.metadata.get("odd"):
        good, kind = good and value > 0 and value % 2 == 1, "an odd number of pixels"
    else:
        kind = "a whole number" if whole else "a finite number"
    described = " and ".join(f"{_TESTS[word][1]} {limit:g}" for word, limit in limits.items())
    return "" if good else " ".join(filter(None, [kind, described.replace(" and to", " to")]))


# How a limit is tested, and what a message calls it.
_TESTS = {"above": (gt, "above"), "below": (lt, "below"), "least": (ge, "from"), "most": (le, "to")}


def _whole_number(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _name_of(options: Any) -> str:
    return str(getattr(options, "name", type(options).__name__))


def option_names(schema: type) -> list[str]:
    """List the options of a dataclass that are documented."""
    return [f.name for f in _options(schema) if not f.metadata.get("preset")]


def option_keys(schema: type) -> list[str]:
    """List the documented options, those in tables as "train.epochs"."""
    tables = {f.name: type(f.default) for f in _options(schema) if is_dataclass(f.default)}
    return [
        f"{name}.{key}" if key else name
        for name in option_names(schema)
        for key in (option_keys(tables[name]) if name in tables else [""])
    ]


def _options(schema: type) -> list[dataclasses.Field[Any]]:
    return [f for f in fields(schema) if f.name != "name" and not f.metadata.get("bound")]


def build(schema: type[T], given: Mapping[str, Any], who: str) -> T:
    """Build a dataclass from options by name, a preset among them.

    `who`: Whose options they are, for messages.
    """
    presets: Mapping[str, Mapping[str, Any]] = getattr(schema, "presets", {})
    known = [*option_names(schema), *(["preset"] if presets else [])]
    given = with_new_names(schema, given, who)
    own = {f.name: f for f in _options(schema)}
    unknown = sorted(_unknown(schema, given, {*known}))
    if unknown:
        described = f"it knows {sorted(known)}" if known else "it has none"
        raise MethodError(f"{who} has no option {', '.join(unknown)}; {described}.")
    options = dict(given)
    if presets and (name := options.pop("preset", None)) is not None:
        if name not in presets:
            raise MethodError(f"{who}: preset is {name!r}; expected one of {list(presets)}.")
        options = {**presets[name], **options}
    for name in given:
        if name in own and "preset" not in given and (preset := own[name].metadata.get("preset")):
            warnings.warn(
                f"{who}: the option {name} only matches another program; write "
                f'preset = "{preset}" instead.',
                FutureWarning,
                stacklevel=2,
            )
    return schema(**options)


def with_new_names(schema: type, given: Mapping[str, Any], who: str) -> dict[str, Any]:
    """Return options by name, those of an earlier name under their new one; warn of each."""
    found = dict(given)
    for f in fields(schema):
        if (old := f.metadata.get("was")) in found:
            new = f"{who}: the option {old} is {f.name} now; write that in its place."
            warnings.warn(new, DeprecationWarning, stacklevel=3)
            found = {f.name: found.pop(old), **found}  # of both names, the new one counts
    return found


def _unknown(schema: type, given: Mapping[str, Any], known: set[str]) -> list[str]:
    """List what is given and no option, in tables too."""
    own = {f.name: f for f in _options(schema)}
    found = [name for name in given if name not in {*own, *known}]
    for name, f in own.items():
        if is_dataclass(f.default) and isinstance(given.get(name), Mapping):
            inner = _unknown(type(f.default), given[name], set())
            found += [f"{name}.{key}" for key in inner]
    return found


def options_of(method: Any) -> dict[str, Any]:
    """Return the name of a method as "method", and its options, for the record of a cube."""
    own = {f.metadata.get("was") or f.name: getattr(method, f.name) for f in _options(type(method))}
    return {"method": method.name, **own}
