"""One or many series of a user's table: targets, covariates and times; and forecasts back.

A table is wide (a column each for time, targets, covariates) or long (a column more that names the
series of each row). Its rows stand in the order of time; the rows of several series may alternate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array, InputError, one_of, shown
from lstmkit.tasks import timeline as timelines
from lstmkit.tasks import zones
from lstmkit.tasks.rows import Columns, One, Rows, listing
from lstmkit.tasks.tables import Table
from lstmkit.tasks.timeline import Timeline

__all__ = ["Columns", "Panel", "Rows", "enough", "frame", "panel", "upcoming"]


class Panel(NamedTuple):
    """What `panel` made of a table.

    Attributes
    ----------
    names : list
        The series' names, in the order in which they first occur; [None] for one without a name.
    times : list of (T_k + ahead_k,) arrays, optional
        The times of each series, those of future rows too; None where rows are counted. Times with
        a zone are instants (UTC) if the timeline has a zone, else what the clock there shows.
    series : list of Rows
    timeline : Timeline, optional
        The one step of all series; None where rows are counted.
    columns : Columns
    table : Table, or list of Table
        Where it all came from; a list where each series came by itself.
    """

    names: list[Any]
    times: list[Array] | None
    series: list[Rows]
    timeline: Timeline | None
    columns: Columns
    table: Table | list[Table]


def panel(
    owner: str,
    data: Any,
    *,
    time: Any = None,
    series: Any = None,
    target: Any = None,
    past: Any = (),
    future: Any = (),
    horizon: int = 0,
    missing: str = "error",
    timeline: Timeline | None = None,
) -> Panel:
    """Take series out of a table.

    Parameters
    ----------
    owner
        Who speaks, for messages.
    data
        What `Table.of` takes; or a list of NumPy arrays, of frames or of pandas series: a series
        each.
    time : name, or False, optional
        The column of times. By default the index of a pandas frame if it holds times, else the
        only column that does, else none. False counts the rows.
    series : name, optional
        The column that says of which series a row is.
    target : name or list of names, optional
        What is to be forecast; by default the only column that is left.
    past, future : name or list of names
        Covariates known up to the present, and those known for the time to come as well.
    horizon : int
        How many rows with known ``future`` columns there must be after the last target.
    missing : {"error", "fill"}
        What to do about missing values (and times). "fill" repeats the last value before; at the
        beginning of a series, and only there, it takes the first value after. A gap in time
        becomes rows that are filled so, at most as many as there are rows.
    timeline : Timeline, optional
        The step, where it is known already; by default it is detected.

    Returns
    -------
    Panel

    Raises
    ------
    InputError
        One line that names the column, the row and a remedy.

    Notes
    -----
    Rows without any target at the end of a series are the future: they need ``future`` columns,
    and only these are read there.

    Examples
    --------
    >>> data = {"month": ["1949-01", "1949-02", "1949-03"], "passengers": [112, 118, 132]}
    >>> airline = panel("example", data)
    >>> airline.timeline.name, airline.columns.target
    ('monthly', ('passengers',))
    >>> airline.series[0].target[:, 0]
    array([112., 118., 132.])
    """
    one_of(owner, "missing", missing, ("error", "fill"))
    options = {"time": time, "target": target, "past": past, "future": future}
    if isinstance(data, list | tuple) and data and all(map(_is_table, data)):
        if series is not None:
            raise InputError(
                f"{owner}: data is a list of {len(data)} series and series is {series!r}; expected "
                "series=None (each entry is one)"
            )
        return _listed(owner, data, options, horizon, missing, timeline)
    table = Table.of(owner, data)
    columns = _columns(owner, table, series=series, **options)
    numbers = {
        name: table.numbers(owner, name)
        for name in (*columns.target, *columns.past, *columns.future)
    }
    groups = _groups(owner, table, columns)
    times = zone = None
    if columns.time is not None:
        times = timelines.seconds_or_finer(table.times(owner, columns.time))
        zone = table.zone(owner, columns.time)
        if zone is not None:
            known = timeline is not None and timeline.zone is not None  # a few rows may mislead
            local = None if known else zones.whole_days(times, zone)
            times, zone = (times, zone) if local is None else (local, None)
        _same_clock(owner, columns.time, zone, timeline)
    every, rows_of = [], []
    for name, rows in groups.items():
        said = f"{owner}: series {shown(repr(name))}" if columns.series is not None else owner
        one = One(said, table.place, columns, rows, missing)
        if times is not None:
            timeline = one.place_in_time(times[rows], timeline, zone)
            every.append(one.times)
        rows_of.append(one.read(numbers, horizon))
    return Panel(
        list(groups), every if times is not None else None, rows_of, timeline, columns, table
    )


def _same_clock(owner: str, column: Any, zone: str | None, timeline: Timeline | None) -> None:
    """Raise `InputError` where times of hours have a zone and those seen before have none."""
    if timeline is None or (zone is None) == (timeline.zone is None):
        return
    have = "no zone" if zone is None else f"the zone {zone}"
    had = "none" if timeline.zone is None else f"the zone {timeline.zone}"
    raise InputError(
        f"{owner}: column {shown(repr(column))} has times with {have}; the times of the series "
        f"before have {had}, and are {timeline.name}; expected a zone in both or in neither "
        "(convert the times)"
    )


def enough(owner: str, panel: Panel, rows: int, why: str) -> None:
    """Raise `InputError` where a series has fewer rows with targets than that.

    ``why`` says what they are needed for: ``"context + horizon"``.
    """
    for name, one in zip(panel.names, panel.series, strict=True):
        if len(one.target) < rows:
            which = "data" if name is None else f"series {shown(repr(name))}"
            raise InputError(
                f"{owner}: {which} has {len(one.target)} rows with a target; expected at least "
                f"{rows} = {why} (give more rows, or make these smaller)"
            )


# ------------------------------ which column is what


def _columns(
    owner: str, table: Table, *, time: Any, series: Any, target: Any, past: Any, future: Any
) -> Columns:
    used: dict[Any, str] = {}

    def take(role: str, given: Any) -> tuple[Any, ...]:
        names = tuple(given) if isinstance(given, list | tuple) else (given,)
        for name in names:
            table.column(owner, name)
            if name in used:
                roles = f"twice as {role}" if used[name] == role else f"as {used[name]} and {role}"
                raise InputError(
                    f"{owner}: column {shown(repr(name))} is used {roles}; expected one use "
                    "(name it once)"
                )
            used[name] = role
        return names

    if time is not None and time is not False:
        take("time", time)
    if series is not None:
        take("series", series)
    future = () if future is None else take("future", future)
    past = () if past is None else take("past", past)
    targets = () if target is None else take("target", target)
    if target is not None and not targets:
        raise InputError(f"{owner}: target is empty; expected the name of a column at least")
    if time is None:
        time = _time(owner, table, used)
        if time is not None:
            used[time] = "time"
    if time is False:
        time = None
    if not targets:
        left = [name for name in table.names if name not in used]
        if time is None and target is None and table.index and len(left) == 0:
            left = [name for name in table.index if name not in used]
        if len(left) != 1:
            what = f"leaves {listing(left)}" if left else "leaves no column"
            example = f"target={left[0]!r}" if left else "give a column of numbers"
            raise InputError(
                f"{owner}: target is not given and data {what}; expected one column "
                f"({example if not left else f'say which, for example {example}'})"
            )
        targets = (left[0],)
    return Columns(time, series, targets, past, future)


def _time(owner: str, table: Table, used: Mapping[Any, str]) -> Any:
    candidates = [name for name in table.time_columns() if name not in used]
    if len(candidates) > 1:
        raise InputError(
            f"{owner}: time is not given and {listing(candidates)} all hold times; expected one "
            f"(say which, for example time={candidates[0]!r})"
        )
    return candidates[0] if candidates else None


def _groups(owner: str, table: Table, columns: Columns) -> dict[Any, NDArray[np.int64]]:
    if columns.series is None:
        return {None: np.arange(table.rows)}
    groups: dict[Any, list[int]] = {}
    for row, label in enumerate(table.labels(owner, columns.series)):
        groups.setdefault(label, []).append(row)
    return {label: np.array(rows) for label, rows in groups.items()}


def _is_table(entry: Any) -> bool:
    return not isinstance(entry, list | tuple | str | Mapping) and (
        getattr(entry, "ndim", 0) > 0 or hasattr(entry, "columns") or hasattr(entry, "to_numpy")
    )


def _listed(
    owner: str,
    data: Sequence[Any],
    options: Mapping[str, Any],
    horizon: int,
    missing: str,
    timeline: Timeline | None,
) -> Panel:
    """Read a list of arrays or frames, a series each."""
    parts: list[Panel] = []
    for k, entry in enumerate(data):
        said = f"{owner}: series {k}"
        part = panel(said, entry, **options, horizon=horizon, missing=missing, timeline=timeline)
        if parts and part.columns != parts[0].columns:
            raise InputError(
                f"{said} has other columns than series 0: {listing(part.columns.target)} and "
                f"{listing(parts[0].columns.target)}; expected the same in all"
            )
        timeline = part.timeline
        parts.append(part)
    first = parts[0]
    return first._replace(
        names=list(range(len(parts))),
        times=None if first.times is None else [part.times[0] for part in parts if part.times],
        series=[part.series[0] for part in parts],
        table=[part.table for part in parts if isinstance(part.table, Table)],
    )


# ------------------------------ answers


def upcoming(panel: Panel, horizon: int) -> list[Array | None]:
    """Return the (horizon,) times after the last target of each series; None without times."""
    if panel.times is None or panel.timeline is None:
        return [None] * len(panel.series)
    return [
        timelines.following(times[len(rows.target) - 1], panel.timeline, horizon)
        for times, rows in zip(panel.times, panel.series, strict=True)
    ]


def frame(panel: Panel, values: Sequence[Array], quantiles: Sequence[float] | None = None) -> Any:
    """Return forecasts as the kind of data that the panel was made of.

    Parameters
    ----------
    panel : Panel
        Of the data that the forecasts follow on.
    values : list of (horizon, n, Q) arrays
        For each series; Q is 1 without quantiles.
    quantiles : sequence of Q floats, optional
        The levels.

    Returns
    -------
    data
        Columns [series,] time and the targets, or a column for each target and level:
        ``"passengers_q0.1"``. Long where the data was long. Of arrays (horizon, n) or, with
        quantiles, (horizon, n, Q); without the axis n where the series had one axis. A list of
        these where the data was a list of series.
    """
    ahead = upcoming(panel, len(values[0]))
    if isinstance(panel.table, list):
        return [
            _frame(table, panel, [name], [value], [times], quantiles)
            for table, name, value, times in zip(
                panel.table, panel.names, values, ahead, strict=True
            )
        ]
    return _frame(panel.table, panel, panel.names, values, ahead, quantiles)


def _frame(
    table: Table,
    panel: Panel,
    names: Sequence[Any],
    values: Sequence[Array],
    ahead: Sequence[Array | None],
    quantiles: Sequence[float] | None,
) -> Any:
    whole = np.concatenate(list(values)).astype(np.float64)
    if table.kind in ("array", "list") and quantiles is not None:
        answer = whole[:, 0] if table.one_axis else whole
        return answer if table.kind == "array" else answer.tolist()
    columns: dict[Any, Any] = {}
    if panel.columns.series is not None:
        columns[panel.columns.series] = [
            name for name, value in zip(names, values, strict=True) for _ in range(len(value))
        ]
    if panel.columns.time is not None and table.kind not in ("array", "list"):
        times = np.concatenate([times for times in ahead if times is not None])
        zone = table.zone("", panel.columns.time)
        if zone is not None and panel.timeline is not None and panel.timeline.zone is None:
            times = zones.instants(times, zone)
        columns[panel.columns.time] = times
    elif panel.columns.series is None and (index := table.counted_index()) is not None:
        columns[index[0]] = index[1][len(panel.series[0].target) - 1] + index[2] * np.arange(
            1, len(whole) + 1
        )
    for k, name in enumerate(panel.columns.target):
        if quantiles is None:
            columns[name] = whole[:, k, 0]
            continue
        for m, level in enumerate(quantiles):
            columns[f"{name}_q{level:g}"] = whole[:, k, m]
    return table.frame(columns)
