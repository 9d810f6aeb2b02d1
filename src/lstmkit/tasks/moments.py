"""Single moments: in words, on which day of the week, at which end of a month, in which unit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array, InputError

MINUTE, HOUR, DAY, WEEK = 60, 3600, 86400, 7 * 86400
_NANOSECONDS = (1678, 2261)  # the whole years that 64 bits of nanoseconds around 1970 hold


def written(moment: Any) -> str:
    """Write a time as short as it can be: a date, where it is midnight.

    Examples
    --------
    >>> written(np.datetime64("1949-01-01", "s")), written(np.datetime64("1949-01-01T13:30", "s"))
    ('1949-01-01', '1949-01-01 13:30')
    """
    text = str(moment)
    if "T" not in text:
        return text
    date, _, clock = text.partition("T")
    if "." in clock:
        clock = clock.rstrip("0").rstrip(".")
    clock = clock[:5] if clock[5:] == ":00" else clock
    return date if clock == "00:00" else f"{date} {clock}"


def duration(seconds: int) -> str:
    """Write a step in words.

    Examples
    --------
    >>> duration(900), duration(7 * 86400)
    ('every 15 minutes', 'every week')
    """
    for name, size in (("week", WEEK), ("day", DAY), ("hour", HOUR), ("minute", MINUTE)):
        if seconds % size == 0:
            count = seconds // size
            return f"every {name}" if count == 1 else f"every {count} {name}s"
    return "every second" if seconds == 1 else f"every {seconds} seconds"


def weekdays(times: Array) -> NDArray[np.int64]:
    """Return the days of the week, 0 for Monday."""
    return (integers(np.asarray(times).astype("datetime64[D]")) + 3) % 7


def month_ends(times: Array) -> Array:
    """Return the last days of the months of times, at the same time of day."""
    months = times.astype("datetime64[M]")
    last = (months + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")
    if times.dtype == months.dtype:
        return np.asarray(last)
    return np.asarray(last + (times - times.astype("datetime64[D]")))


def integers(times: Any) -> NDArray[np.int64]:
    """Return times as whole numbers of their unit."""
    return np.asarray(times).astype(np.int64)


def seconds_or_finer(times: Array) -> Array:
    """Return times as ``datetime64[s]``, or ``[ns]`` where there are fractions of a second.

    Whole numbers stay what they are.

    Examples
    --------
    >>> seconds_or_finer(np.array(["2024-01-01T00:00:00.000"], "datetime64[ms]")).dtype
    dtype('<M8[s]')
    """
    if times.dtype.kind != "M":
        return times
    whole = times.astype("datetime64[s]")
    known = ~np.isnat(times)
    if (whole[known] == times[known]).all():
        return whole
    years = integers(times[known].astype("datetime64[Y]")) + 1970
    if years.min() < _NANOSECONDS[0] or years.max() > _NANOSECONDS[1]:
        k = int(np.argmax(known & (times != whole)))
        raise InputError(
            f"times: {written(times[k])} has a fraction of a second; expected that only from "
            f"{_NANOSECONDS[0]} to {_NANOSECONDS[1]} (the years are {years.min()} to "
            f"{years.max()}: round the times to seconds)"
        )
    return times.astype("datetime64[ns]")
