"""Times in equal steps: which step it is, what follows, what the clock and the calendar say of it.

Times are ``datetime64[s]``, or ``datetime64[ns]`` where there are fractions of a second, or whole
numbers (a year, a count). Between two of them a step may be a fixed time, a number of months, or
the next working day. A `Timeline` is that step; all else here follows from it.

Where times have a zone they are instants (UTC) while a step is shorter than a day, and what the
clock on the wall shows where it is a day or more: an hour is always an hour, and a day goes from
midnight to midnight, also when the summer time begins or ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array, InputError, shown
from lstmkit.tasks.moments import (
    DAY,
    HOUR,
    MINUTE,
    WEEK,
    duration,
    integers,
    month_ends,
    seconds_or_finer,
    weekdays,
    written,
)
from lstmkit.tasks.steps import Timeline, following, following_counts, ordinals, positions
from lstmkit.tasks.zones import wall

__all__ = [
    "Place",
    "Timeline",
    "calendar",
    "check",
    "detect",
    "following",
    "following_counts",
    "ordered",
    "place",
    "positions",
    "seconds_or_finer",
    "written",
]

_MONTHS = {1: "monthly", 2: "every 2 months", 3: "quarterly", 6: "half-yearly", 12: "yearly"}
_NAMES = {HOUR: "hourly", DAY: "daily", WEEK: "weekly"}

Place = Callable[[int], str]


def place(row: int) -> str:
    """Say which row is meant, where rows have no other name."""
    return f"row {row} (the first is row 0)"


# ------------------------------ which step


def detect(
    owner: str,
    column: object,
    times: Array,
    *,
    place: Place = place,
    zone: str | None = None,
    gaps: bool = False,
) -> Timeline:
    """Find the step that leads from each time to the next.

    The step is the most frequent one. All others are gaps if they are a multiple of it, else the
    times are irregular.

    Parameters
    ----------
    owner, column
        Who speaks and which column it is, for messages.
    times : (T,) datetime64 or integers
        At least two, in rising order. Wall-clock times, or instants where ``zone`` is given.
    place
        Says of an index of ``times`` where the user finds it.
    zone
        Becomes that of the timeline.
    gaps
        Whether times may be missing; `positions` then says where.

    Raises
    ------
    InputError
        If a time is missing (NaT), occurs twice, stands before an earlier one, or the steps are
        not equal. The message names the column and the row.

    Examples
    --------
    >>> times = np.array(["1949-01-31", "1949-02-28", "1949-03-31"], "datetime64[s]")
    >>> detect("Forecaster", "month", times)[:5]
    ('month', 1, 'monthly', 12, True)
    """
    ordered(owner, column, times, place)
    if len(times) < 2:
        raise InputError(
            f"{owner}: column {shown(repr(column))} holds {len(times)} of the 2 times that it "
            "takes to see the step between them (give more rows, or time=False to count rows)"
        )
    timeline = _rule(times)._replace(zone=zone)
    _regular(owner, column, times, timeline, place, gaps)
    return timeline


def check(
    owner: str,
    column: object,
    times: Array,
    timeline: Timeline,
    *,
    place: Place = place,
    gaps: bool = False,
) -> None:
    """Raise `InputError` unless the times have the step of a timeline that is known already."""
    ordered(owner, column, times, place)
    if len(times) == 0:
        return
    if (times.dtype.kind == "M") == (timeline.unit == "number"):
        raise InputError(
            f"{owner}: column {shown(repr(column))} holds {_kind(times)}; expected times that are "
            f"{timeline.name}, as in the series before"
        )
    wrong = np.zeros(len(times), bool)
    if timeline.unit == "month" and timeline.end_of_month:
        wrong = times != month_ends(times)
    elif timeline.unit == "business day":
        wrong = weekdays(times) > 4
    if wrong.any():
        k = int(np.argmax(wrong))
        raise InputError(
            f"{owner}: column {shown(repr(column))}, {place(k)}: {written(times[k])} is not on the "
            f"steps of the series before, which are {_rule_in_words(timeline)}"
        )
    _regular(owner, column, times, timeline, place, gaps)


def ordered(owner: str, column: object, times: Array, place: Place = place) -> None:
    """Raise `InputError` unless times are given and each is later than the one before."""
    name = f"{owner}: column {shown(repr(column))}"
    if times.dtype.kind == "M" and np.isnat(times).any():
        k = int(np.argmax(np.isnat(times)))
        raise InputError(f"{name}, {place(k)}: the time is missing (drop the row or give its time)")
    if times.dtype.kind == "M":
        years = integers(times.astype("datetime64[Y]")) + 1970
        outside = (years < 1) | (years > 9999)
        if outside.any():
            k = int(np.argmax(outside))
            raise InputError(
                f"{name}, {place(k)}: the year is {years[k]}; expected 1 to 9999 (correct the time)"
            )
    late = times[1:] <= times[:-1]
    if not late.any():
        return
    k = int(np.argmax(late)) + 1
    before, now = times[k - 1], times[k]
    if now == before:
        advice = _summer(now) or "drop one of the rows, or name the column that tells series apart"
        raise InputError(f"{name}, {place(k)}: {written(now)} occurs a second time ({advice})")
    advice = "sort the rows by time, or name the column that tells series apart"
    raise InputError(
        f"{name}, {place(k)}: {written(now)} stands after {written(before)} "
        f"({_summer(now) or advice})"
    )


def _rule(times: Array) -> Timeline:
    """Find the step of rising times, by what most of them do."""
    if times.dtype.kind != "M":
        step = _usual(np.diff(times.astype(np.int64)))
        return Timeline("number", step, "numbered" if step == 1 else f"numbered by {step}", 1)
    if (months := _monthly(times)) is not None:
        return months
    if (days := _working(times)) is not None:
        return days
    step = _usual(np.diff(integers(times)))
    if times.dtype != np.dtype("datetime64[s]"):
        if step % 10**9:
            return Timeline("nanosecond", step, f"every {step / 1e9:g} seconds", 1)
        step //= 10**9
    name = _NAMES.get(step, duration(step))
    season = {WEEK: 52, DAY: 7}.get(step, 1)
    if MINUTE <= step < DAY and DAY % step == 0:
        season = DAY // step
    return Timeline("second", step, name, season)


def _monthly(times: Array) -> Timeline | None:
    days, months = times.astype("datetime64[D]"), times.astype("datetime64[M]")
    if len(np.unique(times - days)) > 1 or (np.diff(integers(months)) < 1).any():
        return None
    end = bool((days == month_ends(days)).all())
    if not end and len(np.unique(days - months.astype("datetime64[D]"))) > 1:
        return None
    step = _usual(np.diff(integers(months)))
    words = f"every {step // 12} years" if step % 12 == 0 else f"every {step} months"
    season = 12 // step if 12 % step == 0 else 1
    return Timeline("month", step, _MONTHS.get(step, words), season, end)


def _working(times: Array) -> Timeline | None:
    days = times.astype("datetime64[D]")
    if len(np.unique(times - days)) > 1 or (weekdays(days) > 4).any():
        return None
    apart = np.diff(integers(days))
    friday_to_monday = (apart == 3) & (weekdays(days)[:-1] == 4)
    if not friday_to_monday.any() or _usual(apart) != 1:
        return None
    return Timeline("business day", 1, "business days, Monday to Friday", 5)


def _usual(differences: Array) -> int:
    """Return the most frequent difference, of several the smallest."""
    values, counts = np.unique(differences, return_counts=True)
    return int(values[np.argmax(counts)])


def _regular(
    owner: str, column: object, times: Array, timeline: Timeline, place: Place, gaps: bool
) -> None:
    counts = ordinals(times, timeline)
    name = f"{owner}: column {shown(repr(column))}"
    odd = np.diff(counts) % timeline.step != 0
    if timeline.unit in ("month", "business day"):
        days = times.astype("datetime64[D]")
        odd |= (times - days)[1:] != (times - days)[0]
    if timeline.unit == "month" and not timeline.end_of_month:
        # The same day of each month; its last day where the month is shorter than that.
        same = following_counts(times[0], timeline, (counts - counts[0])[1:])
        odd |= same != times[1:]
    if odd.any():
        k = int(np.argmax(odd)) + 1
        raise InputError(
            f"{name}, {place(k)}: {written(times[k])} follows on {written(times[k - 1])}, but the "
            f"usual step is {_rule_in_words(timeline)}; expected equal steps (resample the data to "
            "equal steps, or time=False to count rows instead)"
        )
    missing = np.diff(counts) // timeline.step - 1
    if gaps or not missing.any():
        return
    k = int(np.argmax(missing > 0)) + 1
    first = following(times[k - 1], timeline, 1)[0]
    many = int(missing[k - 1])
    what = written(first) + (f" and {many - 1} more after it" if many > 1 else "")
    total = int(missing.sum())
    all_gaps = int((missing > 0).sum())
    rest = f"; {total} are missing in {all_gaps} gaps" if all_gaps > 1 else ""
    advice = _summer(first) if many == 1 else ""
    advice = advice or "add the rows, or missing='fill' repeats the values before"
    raise InputError(
        f"{name}, {place(k)}: the step is {_rule_in_words(timeline)}, but before "
        f"{written(times[k])} there is no {what}{rest} "
        f"({advice})"
    )


# ------------------------------ clock and calendar


def calendar(times: Array, timeline: Timeline) -> tuple[list[str], NDArray[np.float64]]:
    """Return the time of day, of the week and of the year as points on circles.

    Only what a step resolves is there: no time of day where a step is a day or more, no day of the
    week where it is a week or more, nothing where it is a whole number of years.

    Parameters
    ----------
    times : (T,)
        Instants, where the timeline has a zone: the features are those of the clock there.

    Returns
    -------
    names : list of K str
        K is 0, 2, 4 or 6.
    features : (T, K) float64
        Sine and cosine; midnight, Monday 0:00 and the begin of January are at angle 0.

    Examples
    --------
    >>> times = np.array(["1949-01-01", "1949-04-01"], "datetime64[s]")
    >>> names, features = calendar(times, detect("example", "time", times))
    >>> names
    ['sin(year)', 'cos(year)']
    >>> features.round(3) + 0
    array([[0., 1.],
           [1., 0.]])
    """
    turns: dict[str, Array] = {}
    times = times if timeline.zone is None else wall(times, timeline.zone)
    if timeline.unit != "number":
        days, months = times.astype("datetime64[D]"), times.astype("datetime64[M]")
        of_day = (times - days) / np.timedelta64(DAY, "s")
        seconds = {"month": WEEK, "business day": DAY, "nanosecond": 0}.get(
            timeline.unit, timeline.step
        )
        if seconds < DAY:
            turns["day"] = of_day
        if seconds < WEEK:
            turns["week"] = (weekdays(days) + of_day) / 7
        if timeline.unit == "month":
            if timeline.step % 12:
                turns["year"] = integers(months) % 12 / 12
        else:
            years = times.astype("datetime64[Y]")
            first = years.astype("datetime64[D]")
            length = (years + np.timedelta64(1, "Y")).astype("datetime64[D]") - first
            turns["year"] = ((days - first) / np.timedelta64(1, "D") + of_day) / (
                length / np.timedelta64(1, "D")
            )
    names = [f"{wave}({name})" for name in turns for wave in ("sin", "cos")]
    features = np.empty((len(times), len(names)))
    for k, turn in enumerate(turns.values()):
        features[:, 2 * k] = np.sin(2 * np.pi * turn)
        features[:, 2 * k + 1] = np.cos(2 * np.pi * turn)
    return names, features


# ------------------------------ words


def _rule_in_words(timeline: Timeline) -> str:
    if timeline.unit == "month" and timeline.end_of_month:
        return f"{timeline.name} (the last day of a month)"
    return timeline.name


def _summer(moment: Any) -> str:
    """Say what to do where a time is one that the change of the clock doubles or leaves out."""
    if not isinstance(moment, np.datetime64):
        return ""
    day = moment.astype("datetime64[D]")
    hour = (moment - day) / np.timedelta64(HOUR, "s")
    month = int(integers(moment.astype("datetime64[M]"))) % 12 + 1
    if int(weekdays(day)) == 6 and month in (3, 10, 11) and 0 < hour < 4:
        return "does the summer time begin or end here? give the times a zone, or take UTC"
    return ""


def _kind(times: Array) -> str:
    return "times" if times.dtype.kind == "M" else "whole numbers"
