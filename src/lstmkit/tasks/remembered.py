"""The ends of series, from which a forecaster goes on: cut, extended, written and read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstmkit.shapes import Array, InputError, one_of, positive_integer, shown
from lstmkit.tasks import timeline as timelines
from lstmkit.tasks.panel import Columns, Panel, Rows
from lstmkit.tasks.tables import Table
from lstmkit.tasks.timeline import Timeline

_UNITS = {"s": "datetime64[s]", "ns": "datetime64[ns]", "number": "int64"}  # of times


def tail(panel: Panel, rows: int) -> Panel:
    """Return the last rows of each series with all that is known after them."""
    starts = [max(len(one.target) - rows, 0) for one in panel.series]
    series = [
        Rows(*(array[start:].copy() for array in one))
        for one, start in zip(panel.series, starts, strict=True)
    ]
    times = panel.times
    if times is not None:
        times = [own[start:].copy() for own, start in zip(times, starts, strict=True)]
    return panel._replace(series=series, times=times)


def ends(panel: Panel) -> list[int]:
    """Return how many steps before the latest end of all each series ends; 0 without times."""
    if panel.times is None or panel.timeline is None:
        return [0] * len(panel.series)
    last = [own[len(one.target) - 1] for own, one in zip(panel.times, panel.series, strict=True)]
    latest = max(last)
    return [int(timelines.positions(np.array([end, latest]), panel.timeline)[1]) for end in last]


def width(panel: Panel) -> int | None:
    """Return how many columns the arrays had that a panel was made of; None if it was no array."""
    table = panel.table[0] if isinstance(panel.table, list) else panel.table
    return len(table.names) if table.kind in ("array", "list") else None


def learned(end: Panel, read: Panel, origins: Sequence[Array]) -> int:
    """Return how many origins are not later than the rows of fit; 0 where there are no times.

    ``end`` is what `tail` left of these rows, ``origins`` are rows of each series of ``read``.
    """
    if end.times is None or read.times is None:
        return 0
    last = {
        name: own[len(one.target) - 1]
        for name, own, one in zip(end.names, end.times, end.series, strict=True)
    }
    return sum(
        int((own[rows] <= last[name]).sum())
        for name, own, rows in zip(read.names, read.times, origins, strict=True)
        if name in last
    )


# ------------------------------ what is known ahead


def array_width(future: Any) -> int | None:
    """Return how many columns an array has, or each of a list of arrays; None if it is no array."""
    if isinstance(future, list | tuple) and future and isinstance(future[0], np.ndarray):
        future = future[0]
    if isinstance(future, np.ndarray) and future.dtype.names:
        return None
    if not isinstance(future, np.ndarray | list | tuple) or len(future) == 0:
        return None
    rows = future if isinstance(future, np.ndarray) else np.array(future[:1], object)
    return {1: 1, 2: rows.shape[-1]}.get(rows.ndim)


def extended(owner: str, panel: Panel, future: Panel) -> Panel:
    """Put the rows of a table of what is known ahead after those of each series.

    ``future`` holds them as targets. Its rows must begin right after the last target, or among or
    right after the rows that are known ahead already, which they replace. Without times they begin
    right after the last target.
    """
    found, clocks = [], []
    unnamed = None in (panel.names[0], future.names[0])
    if unnamed and len(panel.names) != len(future.names):
        raise InputError(
            f"{owner}: future has the rows of {len(future.names)} series; expected those of "
            f"{len(panel.names)} (a table with the column that names the series, or for a list of "
            "series a list)"
        )
    for s, (name, one) in enumerate(zip(panel.names, panel.series, strict=True)):
        who = "" if name is None else f" series {shown(repr(name), 60)}"
        if not unnamed and name not in future.names:
            raise InputError(f"{owner}: future has no rows of{who}; expected some of every series")
        k = s if unnamed else future.names.index(name)
        rows, begin = future.series[k].target, len(one.target)
        if panel.times is not None and future.times is not None and panel.timeline is not None:
            own, after = panel.times[s], future.times[k]
            coming = timelines.following(own[begin - 1], panel.timeline, len(own) - begin + 1)
            places = np.flatnonzero(coming == after[0])
            if not len(places):
                raise InputError(
                    f"{owner}: future begins{' in' + who if who else ''} at "
                    f"{timelines.written(after[0])}; expected {timelines.written(coming[0])}, the "
                    "step after the last target"
                )
            begin += int(places[0])
            clocks.append(np.concatenate([own[:begin], after]))
        elif panel.times is not None and panel.timeline is not None:
            own = panel.times[s][:begin]
            after = timelines.following(own[-1], panel.timeline, len(rows))
            clocks.append(np.concatenate([own, after]))
        found.append(one._replace(known=np.concatenate([one.known[:begin], rows])))
    return panel._replace(series=found, times=clocks or panel.times)


def check_ahead(owner: str, panel: Panel, horizon: int) -> None:
    """Raise `InputError` unless the covariates of each series are known a horizon ahead."""
    for name, one in zip(panel.names, panel.series, strict=True):
        ahead = len(one.known) - len(one.target)
        if ahead < horizon:
            which = "" if name is None else f" in series {shown(repr(name), 60)}"
            columns = ", ".join(repr(column) for column in panel.columns.future)
            word = "column" if len(panel.columns.future) == 1 else "columns"
            raise InputError(
                f"{owner}: {word} {shown(columns)} must be known for the {horizon} steps to "
                f"forecast, and {ahead} are given{which}; expected them in future=, or as rows at "
                "the end of data with an empty target"
            )


# ------------------------------ what a file says of it


def plain(panel: Panel) -> Panel:
    """Return the panel without the user's table: answers are then a dict of columns, or arrays."""
    table = _table(config(panel), panel.columns)
    several = isinstance(panel.table, list)
    return panel._replace(table=[table] * len(panel.names) if several else table)


def config(panel: Panel) -> dict[str, Any]:
    """Return all but the numbers, in JSON values."""
    table = panel.table[0] if isinstance(panel.table, list) else panel.table
    columns = panel.columns
    unit = None
    if panel.times is not None:
        kind = panel.times[0].dtype
        unit = next(name for name, dtype in _UNITS.items() if kind == np.dtype(dtype))
    return {
        "names": [_plain(name) for name in panel.names],
        "listed": isinstance(panel.table, list),
        "table": table.kind if table.kind in ("array", "list") else "dict",
        "one_axis": bool(table.one_axis),
        "width": width(panel),
        "times": unit,
        "timeline": None if panel.timeline is None else list(panel.timeline),
        "columns": {
            "time": _plain(columns.time),
            "series": _plain(columns.series),
            "target": [_plain(name) for name in columns.target],
            "past": [_plain(name) for name in columns.past],
            "future": [_plain(name) for name in columns.future],
        },
    }


def arrays(panel: Panel) -> dict[str, Array]:
    """Return the numbers, the series below each other; ``rows`` says how many are of which."""
    parts = zip(*panel.series, strict=True)
    named = {
        name: np.concatenate(list(part))
        for name, part in zip(("target", "past", "known"), parts, strict=True)
    }
    named["rows"] = np.array([[len(one.target), len(one.known)] for one in panel.series], np.int64)
    if panel.times is not None:
        # Rows known ahead have times as well, so there are as many as the longer of the two.
        named["times"] = np.concatenate(panel.times).astype(np.int64)
        named["clocks"] = np.array([len(own) for own in panel.times], np.int64)
    return named


def restored(owner: str, found: Mapping[str, Any], numbers: Mapping[str, Array]) -> Panel:
    """Undo `config` and `arrays`, with nothing believed.

    Raises
    ------
    InputError, KeyError, TypeError, ValueError
        If something is missing or does not fit the rest.
    """
    wanted = {"names", "listed", "table", "one_axis", "width", "times", "timeline", "columns"}
    if set(found) != wanted:
        raise InputError(f"{owner}: end lacks, or should not have, something")
    one_of(owner, "table", found["table"], ("array", "list", "dict"))
    for name in ("listed", "one_axis"):
        if not isinstance(found[name], bool):
            raise InputError(f"{owner}: {name} is no boolean")
    if found["table"] == "dict":
        one_of(owner, "width", found["width"], (None,))
    else:
        positive_integer(owner, "width", found["width"])
    names = list(found["names"])
    columns = _columns(owner, found["columns"])
    for name in (*names, columns.time, columns.series, *columns[2], *columns[3], *columns[4]):
        if name is not None and not isinstance(name, str | int | float):
            raise InputError(f"{owner}: {shown(repr(name), 60)} is no name")
    timeline = _timeline(owner, found["timeline"])
    if (found["times"] is None) != (timeline is None):
        raise InputError(f"{owner}: there are times without a step, or a step without times")
    expected = {"target", "past", "known", "rows"}
    expected |= set() if timeline is None else {"times", "clocks"}
    if set(numbers) != expected:
        raise InputError(f"{owner}: the ends of the series are not whole")
    counts = _counts(owner, numbers["rows"], (len(names), 2))
    widths = {
        "target": len(columns.target),
        "past": len(columns.past),
        "known": len(columns.future),
    }
    totals = {"target": counts[:, 0], "past": counts[:, 0], "known": counts[:, 1]}
    parts: dict[str, list[Array]] = {}
    for name, width in widths.items():
        array = numbers[name]
        rows = int(totals[name].sum())
        if array.dtype != np.float64 or array.shape != (rows, width):
            raise InputError(
                f"{owner}: {name} is {array.dtype} {array.shape}; expected float64 {(rows, width)}"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{owner}: {name} holds what is no finite number")
        parts[name] = np.split(array.copy(), np.cumsum(totals[name])[:-1])
    if not len(names) or (counts[:, 0] < 1).any() or (counts[:, 1] < counts[:, 0]).any():
        raise InputError(f"{owner}: a series has no end, or less is known than was")
    times = None
    if timeline is not None:
        times = _times(owner, found["times"], timeline, numbers, counts)
    series = [Rows(*arrays) for arrays in zip(*parts.values(), strict=True)]
    tables = _table(found, columns)
    table: Table | list[Table] = [tables] * len(names) if found["listed"] else tables
    return Panel(names, times, series, timeline, columns, table)


def _columns(owner: str, found: Mapping[str, Any]) -> Columns:
    if set(found) != set(Columns._fields):
        raise InputError(f"{owner}: columns lacks, or should not have, something")
    lists = [tuple(found[name]) for name in ("target", "past", "future")]
    if not all(isinstance(found[name], list) for name in ("target", "past", "future")):
        raise InputError(f"{owner}: columns are no lists")
    return Columns(found["time"], found["series"], *lists)


def _timeline(owner: str, found: Sequence[Any] | None) -> Timeline | None:
    if found is None:
        return None
    one = Timeline(*found)
    units = ("month", "business day", "second", "nanosecond", "number")
    one_of(owner, "unit", one.unit, units)
    positive_integer(owner, "step", one.step)
    positive_integer(owner, "season", one.season)
    if not isinstance(one.name, str) or not isinstance(one.end_of_month, bool):
        raise InputError(f"{owner}: the timeline is damaged")
    if one.zone is not None and not isinstance(one.zone, str):
        raise InputError(f"{owner}: the timeline's zone is no text")
    return one


def _counts(owner: str, array: Array, shape: tuple[int, ...]) -> Array:
    if array.dtype != np.int64 or array.shape != shape:
        raise InputError(f"{owner}: a count of rows is {array.dtype} {array.shape}")
    if array.size and (array.min() < 0 or array.max() > 2**40):
        raise InputError(f"{owner}: a count of rows is out of bounds")
    return array


def _times(
    owner: str, unit: Any, timeline: Timeline, numbers: Mapping[str, Array], counts: Array
) -> list[Array]:
    one_of(owner, "times", unit, tuple(_UNITS))
    clocks = _counts(owner, numbers["clocks"], (len(counts),))
    every = numbers["times"]
    if every.dtype != np.int64 or every.shape != (int(clocks.sum()),):
        raise InputError(f"{owner}: times is {every.dtype} {every.shape}")
    if every.size and np.abs(every.astype(np.float64)).max() > 2**62:
        raise InputError(f"{owner}: times are out of bounds")
    split = np.split(every.astype(_UNITS[unit]), np.cumsum(clocks)[:-1])
    for own, (rows, known) in zip(split, counts.tolist(), strict=True):
        if len(own) < max(rows, known):
            raise InputError(f"{owner}: a series has fewer times than rows")
        timelines.check(owner, "time", own, timeline)
    return split


def _table(found: Mapping[str, Any], columns: Columns) -> Table:
    """Return a table without rows of the kind that answers shall have."""
    if found["table"] == "dict":
        times = np.empty(
            0, "int64" if found["times"] == "number" else _UNITS[found["times"] or "s"]
        )
        return Table("dict", {name: times for name in (columns.time, columns.series)}, 0)
    empty = dict.fromkeys(range(found["width"]), np.empty(0))
    return Table(found["table"], empty, 0, ndim=1 if found["one_axis"] else 2)


def _plain(name: Any) -> Any:
    """Return a name as a JSON value; what is no text or number becomes text."""
    name = name.item() if isinstance(name, np.generic) else name
    return name if name is None or isinstance(name, str | int | float) else str(name)
