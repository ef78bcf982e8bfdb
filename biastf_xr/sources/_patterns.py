"""File names as people describe them: a date by its codes, `*` and `?` for anything else."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from biastf_xr.errors import ConfigError
from biastf_xr.sources._files import read_day

if TYPE_CHECKING:
    from collections.abc import Mapping

_STAR, _ONE = "*", "?"
_DIGITS = "0123456789"
_MONTHS = "january february march april may june july august september october november december"
_LONG = tuple(_MONTHS.split())
_SHORT = tuple(month[:3] for month in _LONG)

# Widths of numbers; `%m` and `%d` may have one digit where nothing beside them can be part of them.
_WIDTHS = {"Y": (4,), "m": (2, 1), "d": (2, 1), "j": (3,), "H": (2,), "M": (2,),
           "S": (2,)}  # fmt: skip
_WORDS = {"b": _SHORT, "B": _LONG}

# Codes of a clock time, which is no part of the day; and those that say a day, sorted.
_CLOCK = ("H", "M", "S")
_DATES = (["Y", "j"], ["Y", "d", "m"], ["Y", "b", "d"], ["B", "Y", "d"])

# Years that the date of an image may have.
_YEARS = range(1950, 2100)

# Ways to read one name beyond which nobody can say which is meant.
_MOST = 4096

_EXPECTED = (
    "expected a year of four digits (%Y) with a month (%m, %b for jun, %B for june) and a day "
    "(%d), or with a day of the year (%j), for instance L_%Y%m%d.tif; * stands for anything, ? for "
    "one character"
)


@dataclass(frozen=True)
class Named:
    """What a pattern makes of a file name.

    `day`: The day, as Y-M-D; empty where it cannot be told.
    `stars`: What the stars may stand for, one tuple for each way to read the name.
    `problem`: Why the day cannot be told, and what to write instead.
    """

    day: str
    stars: frozenset[tuple[str, ...]] = frozenset()
    problem: str = ""


@dataclass(frozen=True)
class _Way:
    """One way to read a name, as far as it has been read: what the codes and the stars are."""

    at: int = 0
    codes: tuple[tuple[str, str], ...] = ()
    stars: tuple[str, ...] = ()


def check_pattern(pattern: str, option: str) -> None:
    """Refuse a pattern that does not say where the date is."""
    codes = [token[1:] for token in _tokens(pattern) if token[0] == "%"]
    day = sorted(code for code in codes if code not in _CLOCK)
    why = ""
    if unknown := sorted({f"%{code}" for code in codes if code not in (*_WIDTHS, *_WORDS)}):
        why = f"has the unknown codes {unknown}"
    elif day not in _DATES or len(set(codes)) < len(codes):
        why = "does not say where one date is"
    elif "/" in pattern:
        why = "has a folder: it is matched with the names of files, in any subfolder"
    if why:
        raise ConfigError(f"{option} is {pattern!r}, which {why}; {_EXPECTED}.")


def read_name(pattern: str, name: str) -> Named | None:
    """Read the day in a file name; None if the pattern does not match.

    A name that has two days under the pattern has none.  Numbers that stand side by side, or beside
    a wildcard, have their full width: otherwise it would be a guess where they begin.
    """
    tokens = _tokens(pattern)
    found = _ways(tokens, name)
    certain = bool(found)
    if not certain:
        found = _ways(tokens, name, narrow=True)
    if len(found) > _MOST:
        why = f"matches {pattern} in too many ways. Write ? for single characters in place of *."
        return Named("", problem=why)
    days: dict[str, list[_Way]] = defaultdict(list)
    for way in found:
        days[_day_of(way)].append(way)
    none = days.pop("", [])
    if certain and len(days) == 1:
        ((day, ways),) = days.items()
        return Named(day, frozenset(way.stars for way in ways))
    if days:
        why = "has more than one date" if len(days) > 1 else "has no date of full width"
        why = f"{why} under the pattern {pattern}: {_shown(tokens, days)}. Write ? for single "
        return Named("", problem=f"{why}characters, or rename the file.")
    if none:
        why = (
            f"the date in its name, {_text_of(none[0])!r}, is not a day. Correct the file name or "
        )
        return Named("", problem=f"{why}the pattern.")
    return None


def _shown(tokens: tuple[str, ...], days: Mapping[str, list[_Way]]) -> str:
    """Show readings of a name, each with the pattern that has only that one."""
    shown = [f"{day}, as of {_fixed(tokens, ways[0])}" for day, ways in sorted(days.items())]
    return "; ".join(shown[:4])


@cache
def _tokens(pattern: str) -> tuple[str, ...]:
    """Split a pattern into codes, wildcards and what stands between them."""
    parts = re.split(r"(%.?|\*+|\?)", pattern)
    return tuple("*" if part.startswith("*") else part for part in parts if part)


def _ways(tokens: tuple[str, ...], name: str, *, narrow: bool = False) -> list[_Way]:
    """List the ways to read a name; if there are more than `_MOST`, as far as that was found.

    `narrow`: Whether any number may have fewer digits.
    """
    ways = [_Way()]
    for place, token in enumerate(tokens):
        before = tokens[place - 1] if place else ""
        after = tokens[place + 1] if place + 1 < len(tokens) else ""
        ways = [
            more for way in ways for more in _step(way, name, token, before, after, narrow=narrow)
        ]
        if len(ways) > _MOST:
            return ways
    return [way for way in ways if way.at == len(name)]


def _step(way: _Way, name: str, token: str, before: str, after: str, *, narrow: bool) -> list[_Way]:
    """Read one token, in every way."""
    at = way.at
    if token == _STAR:
        ends = [end for end in range(at, len(name) + 1) if _may_follow(after, name, end)]
        return [_Way(end, way.codes, (*way.stars, name[at:end])) for end in ends]
    if token == _ONE:
        return [_Way(at + 1, way.codes, way.stars)] if at < len(name) else []
    if token[0] != "%":
        return [_Way(at + len(token), way.codes, way.stars)] if name.startswith(token, at) else []
    code = token[1]
    if code in _WORDS:
        ends = [at + len(word) for word in _WORDS[code] if name[at:].lower().startswith(word)]
    else:
        widths = _WIDTHS[code] if narrow or _apart(before, after) else _WIDTHS[code][:1]
        ends = [at + n for n in widths if len(name) >= at + n and _number(name[at : at + n])]
    return [_Way(end, (*way.codes, (code, name[at:end])), way.stars) for end in ends]


def _may_follow(token: str, name: str, at: int) -> bool:
    """Return whether a token may stand somewhere: quickly, for the many places of a star."""
    if not token:
        return at == len(name)
    if token[0] == "%":
        return token[1] in _WORDS or _number(name[at : at + 1])
    return token in (_STAR, _ONE) or name.startswith(token, at)


def _apart(before: str, after: str) -> bool:
    """Return whether what stands around a number in the pattern cannot be part of it."""
    beside = {"%" if before[:1] == "%" else before[-1:], after[:1]}
    return not beside & {_STAR, _ONE, "%", *_DIGITS}


def _number(text: str) -> bool:
    return bool(text) and all(character in _DIGITS for character in text)


def _day_of(way: _Way) -> str:
    """Return the day of a way; empty if it is none."""
    day, problem = read_day(_text_of(way))
    return "" if problem or int(dict(way.codes)["Y"]) not in _YEARS else str(day)


def _text_of(way: _Way) -> str:
    """Return what a way takes for the day, as YYYYDDD or Y-M-D."""
    codes = dict(way.codes)
    if "j" in codes:
        return f"{codes['Y']}{codes['j']}"
    word = next((word for word in "bB" if word in codes), "")
    month = _WORDS[word].index(codes[word].lower()) + 1 if word else int(codes["m"])
    return f"{codes['Y']}-{month:02}-{int(codes['d']):02}"


def _fixed(tokens: tuple[str, ...], way: _Way) -> str:
    """Write the pattern that reads a name in one way: with `?` for stars before the date's end."""
    stars = iter(way.stars)
    last = max(place for place, token in enumerate(tokens) if token[0] == "%")
    parts = []
    for place, token in enumerate(tokens):
        star = next(stars) if token == _STAR else None
        parts.append(token if star is None or place > last else re.sub("[A-Za-z0-9]", "?", star))
    return "".join(parts)
