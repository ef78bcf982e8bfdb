"""Days: the one reading of dates, from people, files and time coordinates; always days in UTC."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.errors import TargetDateError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A calendar date of ISO 8601, extended or basic, and a clock time if there is one.
_ISO = re.compile(r"(\d{4}-\d\d-\d\d|\d{8})([T ].+)?", re.ASCII)

# CF calendars in which a day has the name that it has here.
_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")

# What is no day of a satellite image was read wrongly.
_FIRST, _END = np.datetime64("1900-01-01"), np.datetime64("2200-01-01")

_EXPECTED = 'a day such as "2021-06-15" or "20210615", a datetime.date, or a NumPy or pandas time'


def to_days(times: Any, what: str = "date") -> NDArray[np.datetime64]:
    """Return UTC days without a clock time; refuse what is not a day for certain.

    `times`: One or many: ISO 8601 texts, `datetime.date` and `datetime`, times of NumPy, pandas
    and xarray, of cftime in the standard calendar.  Times with a zone are converted to UTC; those
    without are UTC.
    `what`: What they are, for messages.
    """
    if getattr(times, "dims", ()):
        times = times.to_index()  # keeps a time zone
    if hasattr(times, "dtype"):
        array = np.atleast_1d(np.asarray(times))
        days = _of_array(array, what) if array.dtype.kind == "M" else _of_each(array.tolist(), what)
    else:
        one = isinstance(times, str | bytes) or not isinstance(times, Iterable)
        days = _of_each([times] if one else times, what)
    unlikely = days[(days < _FIRST) | (days >= _END)]
    if unlikely.size:
        raise TargetDateError(
            f"{what} is {unlikely[0]}; expected a day from {_FIRST} on and before {_END}. Correct "
            "it; numbers are no days."
        )
    return days


def middle_of(span: tuple[int, int]) -> np.timedelta64:
    """Return how far the middle of a composite lies from the day that its span counts from.

    Of an even number of days it is the first after the middle, as MCD43A4 has it.
    """
    first, last = span
    return np.timedelta64((first + last + 1) // 2, "D")


def _of_each(values: Iterable[Any], what: str) -> NDArray[np.datetime64]:
    return np.array([_day(value, what) for value in values], "datetime64[D]")


def _of_array(times: NDArray[np.datetime64], what: str) -> NDArray[np.datetime64]:
    unit = np.datetime_data(times.dtype)[0]
    if unit in ("Y", "M", "W", "generic"):
        raise TargetDateError(_refusal(times.ravel()[0], what, "which is not a day"))
    if np.isnat(times).any():
        raise TargetDateError(_refusal("NaT", what, "which is no time"))
    return times.astype("datetime64[D]")


def _day(value: Any, what: str) -> Any:
    """Return one day, as NumPy takes it."""
    if isinstance(value, np.datetime64):
        return _of_array(np.atleast_1d(value), what)[0]
    found = value
    if isinstance(value, str) and _ISO.fullmatch(value):
        try:
            found = dt.datetime.fromisoformat(value)
        except ValueError as error:
            raise TargetDateError(_refusal(value, what, str(error))) from error
    elif calendar := getattr(value, "calendar", ""):
        if calendar not in _CALENDARS:
            why = f"of the calendar {calendar}, whose days have no place in the standard one"
            raise TargetDateError(_refusal(value, what, why))
        found = dt.datetime.fromisoformat(value.isoformat())
    if isinstance(found, dt.datetime) and found == found:  # noqa: PLR0124  (NaT is not)
        return (found.astimezone(dt.UTC) if found.tzinfo else found).date()
    if type(found) is dt.date:
        return found
    raise TargetDateError(_refusal(value, what))


def _refusal(value: Any, what: str, why: str = "") -> str:
    """Return why a value is refused, and what to write instead."""
    digits = "".join(re.findall(r"\d+", str(value)))
    form = {7: "%Y%j", 8: "%Y%m%d"}.get(len(digits), "")
    try:
        day = f'"{dt.datetime.strptime(digits, form).date()}"' if form else ""  # noqa: DTZ007
    except ValueError:
        day = ""
    meant = f" If it is that day, write {day}." if day else ""
    return f"{what} is {value!r}{f', {why}' if why else ''}; expected {_EXPECTED}.{meant}"
