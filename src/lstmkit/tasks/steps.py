"""A step in time, and what follows by it: a number of months, working days, seconds, or numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array
from lstmkit.tasks.moments import integers, month_ends

_MONDAY = np.datetime64("0001-01-01", "D")


class Timeline(NamedTuple):
    """The step from one time to the next.

    Attributes
    ----------
    unit : {"month", "business day", "second", "nanosecond", "number"}
        What a step is counted in. A business day is a day from Monday to Friday; holidays are not
        known. A number is a whole number that means no time.
    step : int
        How many of them.
    name : str
        In words: ``"monthly"``, ``"hourly"``, ``"every 15 minutes"``.
    season : int
        The steps after which the calendar repeats: 12 monthly, 4 quarterly, 52 weekly, 7 daily, 5
        of business days, a day's steps where the step is a minute or more and divides the day (24
        hourly); else 1.
    end_of_month : bool
        Whether every time is the last day of its month.
    zone : str, optional
        The zone of times that are instants; None where times are those of a clock on the wall.
    """

    unit: str
    step: int
    name: str
    season: int
    end_of_month: bool = False
    zone: str | None = None


def positions(times: Array, timeline: Timeline) -> NDArray[np.int64]:
    """Count the steps from the first time to each: 0, 1, 2 ... where none is missing.

    Examples
    --------
    >>> times = np.array(["2020-01-01", "2020-02-01", "2020-04-01"], "datetime64[s]")
    >>> positions(times, Timeline("month", 1, "monthly", 12))
    array([0, 1, 3])
    """
    counts = ordinals(times, timeline)
    return (counts - counts[:1]) // timeline.step


def following(last: Any, timeline: Timeline, count: int) -> Array:
    """Return the ``count`` times after the last one (with ``count`` 0 that one itself).

    Of months the day stays the same; where a month is too short it is the month's last day.

    Examples
    --------
    >>> monthly = Timeline("month", 1, "monthly", 12, end_of_month=True)
    >>> following(np.datetime64("1952-01-31", "s"), monthly, 2).astype("datetime64[D]")
    array(['1952-02-29', '1952-03-31'], dtype='datetime64[D]')
    """
    ahead = np.arange(1, count + 1) if count else np.zeros(1, np.int64)
    return following_counts(last, timeline, ahead * timeline.step)


def following_counts(last: Any, timeline: Timeline, counts: Array) -> Array:
    """Return the times that many units (not steps) after the last one."""
    if timeline.unit == "number":
        return np.int64(last) + counts
    last = np.datetime64(last)
    if timeline.unit == "month":
        day = last.astype("datetime64[D]")
        month = day.astype("datetime64[M]")
        months = month + counts.astype("timedelta64[M]")
        ends = month_ends(months)
        days = months.astype("datetime64[D]") + (day - month.astype("datetime64[D]"))
        days = ends if timeline.end_of_month else np.minimum(days, ends)
        result: Array = days.astype(last.dtype) + (last - day)
        return result
    if timeline.unit == "business day":
        day = last.astype("datetime64[D]")
        days = np.busday_offset(day, counts, roll="backward")
        result = np.asarray(days).astype(last.dtype) + (last - day)
        return result
    unit = "s" if timeline.unit == "second" else "ns"
    result = np.asarray(last + counts.astype(f"timedelta64[{unit}]"))
    return result


def ordinals(times: Array, timeline: Timeline) -> NDArray[np.int64]:
    """Count the units (not steps) from some beginning to each time."""
    if timeline.unit == "number":
        return times.astype(np.int64)
    if timeline.unit == "month":
        return integers(times.astype("datetime64[M]"))
    if timeline.unit == "business day":
        return np.asarray(np.busday_count(_MONDAY, times.astype("datetime64[D]")), np.int64)
    if timeline.unit == "second" and times.dtype != np.dtype("datetime64[s]"):
        return integers(times) // 10**9
    return integers(times)
