"""What a picture of a forecast is made of: history and forecast of each series, as arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstmkit.shapes import Array, InputError, real_array, shown
from lstmkit.tasks.tables import Table

_LEVEL = re.compile(r"(?P<target>.+)_q(?P<level>0?\.\d+(?:e-\d+)?)", re.DOTALL)


class Part(NamedTuple):
    """One target of one series.

    Attributes
    ----------
    name : str
        Of the series; empty for a single one.
    target : str
    times, history : (T,)
        Dates and times, or whole numbers; and the values.
    ahead : (h,)
        The times of the forecast.
    forecast : (h, Q)
        Q is 1 without levels.
    levels : tuple of Q float, or None
    actual : (h,), or None
        What came; nan where it is not known.
    """

    name: str
    target: str
    times: Array
    history: Array
    ahead: Array
    forecast: Array
    levels: tuple[float, ...] | None
    actual: Array | None


def parts_of(
    owner: str,
    history: Any,
    forecast: Any,
    actual: Any = None,
    quantiles: Sequence[float] | None = None,
    *,
    time: Any = None,
    series: Any = None,
    target: Any = None,
) -> list[Part]:
    """Take data and forecast apart; for the arguments see `lstmkit.plots.forecast`."""
    if isinstance(history, list | tuple) and history and not np.isscalar(history[0]):
        columns = {"time": time, "series": series, "target": target}
        if any(hasattr(one, "shape") for one in history):  # a list of arrays or frames
            return _several(owner, history, forecast, actual, quantiles, columns)
    past = Table.of(owner, history)
    if past.kind in ("array", "list"):
        came = None if actual is None else Table.of(owner, actual)
        return _array(owner, past, forecast, came, quantiles)
    ahead = Table.of(owner, forecast)
    came = None if actual is None else Table.of(owner, actual)
    time = _time(past, ahead) if time is None else None if time is False else time
    if series is None:
        series = _label_column(ahead, past, time)
    values = [name for name in ahead.names if name not in (time, series)]
    wanted = None if target is None else [target] if isinstance(target, str) else list(target)
    columns = _by_target(values, past, wanted)
    if not columns:
        found = ", ".join(repr(name) for name in values)
        raise InputError(
            f"{owner}: the forecast has the columns {shown(found) or 'none'}; expected a target of "
            "the history, as predict() gives them (name it with target=)"
        )
    result = []
    for label in _labels(owner, ahead, series):
        rows, later = _rows(owner, past, series, label), _rows(owner, ahead, series, label)
        times, when = _times(owner, past, ahead, time, rows, later)
        for name, by_level in columns.items():
            before = past.numbers(owner, name)[rows]
            known = np.flatnonzero(np.isfinite(before))
            end = int(known[-1]) + 1 if len(known) else 0  # rows beyond it hold what is known ahead
            levels = tuple(level for level in by_level if level is not None) or None
            guess = [ahead.numbers(owner, column)[later] for column in by_level.values()]
            told = _came(owner, came, name, time, series, label, when)
            words = "" if series is None else str(label)
            part = (times[:end], before[:end], when, np.stack(guess, axis=1), levels, told)
            result.append(Part(words, str(name), *part))
    return result


def point_of(values: Array, levels: Sequence[float] | None) -> Array:
    """Return the point forecast of (h, Q): the level nearest to the median."""
    place = 0 if levels is None else int(np.abs(np.asarray(levels) - 0.5).argmin())
    found: Array = values[:, place]
    return found


def _by_target(
    values: Sequence[Any], past: Table, wanted: Sequence[Any] | None
) -> dict[Any, dict[float | None, Any]]:
    """Return for each target its columns by their level, None for a point forecast."""
    known = list(past.names) if wanted is None else list(wanted)
    found: dict[Any, dict[float | None, Any]] = {}
    for column in values:
        match = _LEVEL.fullmatch(str(column))
        names = {str(name): name for name in known}
        if column in known:
            found.setdefault(column, {})[None] = column
        elif match and match["target"] in names:
            found.setdefault(names[match["target"]], {})[float(match["level"])] = column
    return found


def _time(past: Table, ahead: Table) -> Any:
    """Return the column of times that both have, or None."""
    return next((name for name in past.time_columns() if name in ahead.time_columns()), None)


def _label_column(ahead: Table, past: Table, time: Any) -> Any:
    """Return the column of text in the forecast that the history has too: the series' names."""
    for name in [*ahead.index, *ahead.names]:
        if name == time or name not in [*past.names, *past.index]:
            continue
        items = ahead.column("", name).values
        if items.dtype.kind in "UOT" and any(isinstance(item, str) for item in items.tolist()):
            return name
    return None


def _labels(owner: str, table: Table, series: Any) -> list[Any]:
    return [None] if series is None else list(dict.fromkeys(table.labels(owner, series)))


def _rows(owner: str, table: Table, series: Any, label: Any) -> Array:
    if series is None:
        return np.arange(table.rows)
    here = [k for k, name in enumerate(table.labels(owner, series)) if name == label]
    return np.array(here, np.int64)


def _times(
    owner: str, past: Table, ahead: Table, time: Any, rows: Array, later: Array
) -> tuple[Array, Array]:
    if time is None:
        return np.arange(len(rows)), np.arange(len(rows), len(rows) + len(later))
    return past.times(owner, time)[rows], ahead.times(owner, time)[later]


def _came(
    owner: str, came: Table | None, target: Any, time: Any, series: Any, label: Any, when: Array
) -> Array | None:
    """Return what came at the times of the forecast; nan where that is not known."""
    if came is None:
        return None
    if came.kind in ("array", "list", "series") and time not in came.index:
        return _padded(came.numbers(owner, came.names[0]), len(when))
    rows = _rows(owner, came, series, label)
    values = came.numbers(owner, target)[rows]
    if time is None:
        return _padded(values, len(when))
    known: Mapping[Any, float] = dict(
        zip(_keys(came.times(owner, time)[rows]), values, strict=True)
    )
    return np.array([known.get(key, np.nan) for key in _keys(when)])


def _keys(times: Array) -> list[Any]:
    """Return times as what can be compared whatever their unit."""
    whole: list[Any] = (
        times.astype("datetime64[us]") if times.dtype.kind == "M" else times
    ).tolist()
    return whole


def _padded(values: Array, count: int) -> Array:
    padded: Array = np.concatenate([values, np.full(max(0, count - len(values)), np.nan)])
    return padded[:count]


def _several(
    owner: str,
    history: Sequence[Any],
    forecast: Any,
    actual: Any,
    quantiles: Sequence[float] | None,
    columns: Mapping[str, Any],
) -> list[Part]:
    """Take a list of arrays or frames, one a series."""
    if not isinstance(forecast, list | tuple) or len(forecast) != len(history):
        raise InputError(
            f"{owner}: history is a list of {len(history)} series; expected a list of as many "
            "forecasts, as predict() gives them"
        )
    came = [None] * len(history) if actual is None else list(actual)
    found = []
    for k, (before, ahead, told) in enumerate(zip(history, forecast, came, strict=True)):
        parts = parts_of(owner, before, ahead, told, quantiles, **columns)
        found += [part._replace(name=part.name or f"series {k}") for part in parts]
    return found


def _array(
    owner: str, past: Table, forecast: Any, came: Table | None, quantiles: Any
) -> list[Part]:
    """Take an array (T,) or (T, n) and its forecast: (h,), (h, n), (h, Q) or (h, n, Q)."""
    levels = None if quantiles is None else tuple(float(level) for level in quantiles)
    each = 1 if levels is None else len(levels)
    guess = real_array(owner, "forecast", forecast, np.shape(forecast), np.float64)
    shape = guess.shape
    targets = len(past.names) if len(past.names) * each == math.prod(shape[1:]) else 1
    if not 1 <= guess.ndim <= 3 or math.prod(shape[1:]) != targets * each:
        hint = " (a forecast of quantiles needs quantiles=)" if levels is None else ""
        raise InputError(
            f"{owner}: the forecast has shape {shape}; expected {each} for each of the "
            f"{len(past.names)} columns of the history, as predict() gives them{hint}"
        )
    guess = guess.reshape(len(guess), targets, each)
    steps = np.arange(past.rows, past.rows + len(guess))
    result = []
    for n in range(targets):
        told = None if came is None else _padded(came.numbers(owner, came.names[n]), len(guess))
        word = "value" if len(past.names) == 1 else f"column {n}"
        before = past.numbers(owner, past.names[n])
        result.append(
            Part("", word, np.arange(past.rows), before, steps, guess[:, n], levels, told)
        )
    return result
