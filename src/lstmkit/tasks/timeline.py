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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array, InputError, shown
from lstmkit.tasks.zones import wall

_MINUTE, _HOUR, _DAY, _WEEK = 60, 3600, 86400, 7 * 86400
_MONTHS = {1: "monthly", 2: "every 2 months", 3: "quarterly", 6: "half-yearly", 12: "yearly"}
_MONDAY = np.datetime64("0001-01-01", "D")

Place = Callable[[int], str]


def place(row: int) -> str:
    """Say which row is meant, where rows have no other name."""
    return f"row {row} (the first is row 0)"


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
        wrong = times != _ends(times)
    elif timeline.unit == "business day":
        wrong = _weekdays(times) > 4
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
        years = _integers(times.astype("datetime64[Y]")) + 1970
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
    if times.dtype == np.dtype("datetime64[s]"):
        step = _usual(np.diff(_integers(times)))
        name = _duration(step)
        season = 1
        if step == _WEEK:
            name, season = "weekly", 52
        elif step == _DAY:
            name, season = "daily", 7
        elif _MINUTE <= step < _DAY and _DAY % step == 0:
            season = _DAY // step
            name = "hourly" if step == _HOUR else name
        return Timeline("second", step, name, season)
    step = _usual(np.diff(_integers(times)))
    if step % 10**9 == 0:
        return Timeline("second", step // 10**9, _duration(step // 10**9), 1)
    return Timeline("nanosecond", step, f"every {step / 1e9:g} seconds", 1)


def _monthly(times: Array) -> Timeline | None:
    days, months = times.astype("datetime64[D]"), times.astype("datetime64[M]")
    if len(np.unique(times - days)) > 1 or (np.diff(_integers(months)) < 1).any():
        return None
    end = bool((days == _ends(days)).all())
    if not end and len(np.unique(days - months.astype("datetime64[D]"))) > 1:
        return None
    step = _usual(np.diff(_integers(months)))
    words = f"every {step // 12} years" if step % 12 == 0 else f"every {step} months"
    season = 12 // step if 12 % step == 0 else 1
    return Timeline("month", step, _MONTHS.get(step, words), season, end)


def _working(times: Array) -> Timeline | None:
    days = times.astype("datetime64[D]")
    if len(np.unique(times - days)) > 1 or (_weekdays(days) > 4).any():
        return None
    apart = np.diff(_integers(days))
    friday_to_monday = (apart == 3) & (_weekdays(days)[:-1] == 4)
    if not friday_to_monday.any() or _usual(apart) != 1:
        return None
    return Timeline("business day", 1, "business days, Monday to Friday", 5)


def _usual(differences: Array) -> int:
    """Return the most frequent difference, of several the smallest."""
    values, counts = np.unique(differences, return_counts=True)
    return int(values[np.argmax(counts)])


# ------------------------------ steps and gaps


def positions(times: Array, timeline: Timeline) -> NDArray[np.int64]:
    """Count the steps from the first time to each: 0, 1, 2 ... where none is missing.

    Examples
    --------
    >>> times = np.array(["2020-01-01", "2020-02-01", "2020-04-01"], "datetime64[s]")
    >>> positions(times, detect("example", "time", times, gaps=True))
    array([0, 1, 3])
    """
    counts = _ordinals(times, timeline)
    return (counts - counts[:1]) // timeline.step


def _regular(
    owner: str, column: object, times: Array, timeline: Timeline, place: Place, gaps: bool
) -> None:
    counts = _ordinals(times, timeline)
    name = f"{owner}: column {shown(repr(column))}"
    odd = np.diff(counts) % timeline.step != 0
    if timeline.unit in ("month", "business day") and not timeline.end_of_month:
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
        ends = _ends(months)
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


def _ordinals(times: Array, timeline: Timeline) -> NDArray[np.int64]:
    """Count the units from some beginning to each time."""
    if timeline.unit == "number":
        return times.astype(np.int64)
    if timeline.unit == "month":
        return _integers(times.astype("datetime64[M]"))
    if timeline.unit == "business day":
        return np.asarray(np.busday_count(_MONDAY, times.astype("datetime64[D]")), np.int64)
    if timeline.unit == "second" and times.dtype != np.dtype("datetime64[s]"):
        return _integers(times) // 10**9
    return _integers(times)


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
        of_day = (times - days) / np.timedelta64(_DAY, "s")
        seconds = {"month": _WEEK, "business day": _DAY, "nanosecond": 0}.get(
            timeline.unit, timeline.step
        )
        if seconds < _DAY:
            turns["day"] = of_day
        if seconds < _WEEK:
            turns["week"] = (_weekdays(days) + of_day) / 7
        if timeline.unit == "month":
            if timeline.step % 12:
                turns["year"] = _integers(months) % 12 / 12
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


def _rule_in_words(timeline: Timeline) -> str:
    if timeline.unit == "month" and timeline.end_of_month:
        return f"{timeline.name} (the last day of a month)"
    return timeline.name


def _duration(seconds: int) -> str:
    for name, size in (("week", _WEEK), ("day", _DAY), ("hour", _HOUR), ("minute", _MINUTE)):
        if seconds % size == 0:
            count = seconds // size
            return f"every {name}" if count == 1 else f"every {count} {name}s"
    return "every second" if seconds == 1 else f"every {seconds} seconds"


def _summer(moment: Any) -> str:
    """Say what to do where a time is one that the change of the clock doubles or leaves out."""
    if not isinstance(moment, np.datetime64):
        return ""
    day = moment.astype("datetime64[D]")
    hour = (moment - day) / np.timedelta64(_HOUR, "s")
    month = int(_integers(moment.astype("datetime64[M]"))) % 12 + 1
    if int(_weekdays(day)) == 6 and month in (3, 10, 11) and 0 < hour < 4:
        return "does the summer time begin or end here? give the times a zone, or take UTC"
    return ""


def _kind(times: Array) -> str:
    return "times" if times.dtype.kind == "M" else "whole numbers"


def _weekdays(times: Array) -> NDArray[np.int64]:
    """Return the days of the week, 0 for Monday."""
    return (_integers(np.asarray(times).astype("datetime64[D]")) + 3) % 7


def _ends(times: Array) -> Array:
    """Return the last days of the months of times, at the same time of day."""
    months = times.astype("datetime64[M]")
    last = (months + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")
    if times.dtype == months.dtype:
        return np.asarray(last)
    return np.asarray(last + (times - times.astype("datetime64[D]")))


def _integers(times: Any) -> NDArray[np.int64]:
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
    return times.astype("datetime64[ns]")
