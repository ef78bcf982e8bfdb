"""Options of methods: fields of dataclasses that say which values they take."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass
from numbers import Integral, Real
from operator import ge, gt, le, lt
from typing import Any, TypeVar

from biastf_xr.errors import MethodError

T = TypeVar("T")


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
) -> Any:
    """Declare an option, and which values it takes, as the field of a dataclass.

    The default states the type; a default of None admits None.

    `choices`: The values it takes.
    `above`, `below`, `least`, `most`: Limits of a number.
    `odd`: Whether it is an odd number, of at least `least`.
    `preset`: The preset to name instead, of an option that only matches another program.
    """
    limits = {"above": above, "below": below, "from": least, "to": most}
    limits = {word: limit for word, limit in limits.items() if limit is not None}
    about = {"choices": choices, "limits": limits, "odd": odd, "preset": preset}
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
    choices, limits = f.metadata.get("choices"), f.metadata.get("limits", {})
    if choices:
        return "" if value in choices else f"one of {list(choices)}"
    if isinstance(f.default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(f.default, str | tuple):
        kind = "a text" if isinstance(f.default, str) else "a list"
        return "" if isinstance(value, type(f.default)) else kind
    if not (limits or isinstance(f.default, Real)):
        return ""
    whole = _whole_number(f.default)
    good = _whole_number(value) if whole else isinstance(value, Real) and value is not True
    good = good and all(_TESTS[word](value, limit) for word, limit in limits.items())
    if f.metadata.get("odd"):
        good, kind = good and value > 0 and value % 2 == 1, "an odd number of pixels"
    else:
        kind = "a whole number" if whole else "a number"
    described = " and ".join(f"{word} {limit:g}" for word, limit in limits.items())
    return "" if good else " ".join(filter(None, [kind, described.replace(" and to", " to")]))


_TESTS = {"above": gt, "below": lt, "from": ge, "to": le}


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
        if name in own and (preset := own[name].metadata.get("preset")):
            warnings.warn(
                f"{who}: the option {name} only matches another program; write "
                f'preset = "{preset}" instead.',
                FutureWarning,
                stacklevel=2,
            )
    return schema(**options)


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
    """Return the name of a method as "method", and its options."""
    return {
        "method": method.name,
        **{f.name: getattr(method, f.name) for f in _options(type(method))},
    }
