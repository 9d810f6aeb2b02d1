"""A picture of an LSTM at work on a series: the values above, the gates beneath."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lstmkit.layers.lstm import Trace
from lstmkit.plots.base import colours_of, dates, figure_class, tidy
from lstmkit.plots.parts import parts_of, point_of
from lstmkit.shapes import Array, InputError, positive_integer, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OWNER = "gates_over_series"
_WORDS = {"i": "input gate i", "f": "forget gate f", "o": "output gate o", "c": "cell state c"}


class _Read(NamedTuple):
    """What one sequence is: its T values (T, F), their times, their names, from where forecast."""

    values: Array
    times: Array
    names: list[str] | None
    origin: int | None


def gates_over_series(
    model: Any,
    X: Any = None,
    *,
    values: ArrayLike | None = None,
    times: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    sequence: int = 0,
    cell: int = 0,
    title: str = "What the gates do over the series",
) -> Figure:
    """Draw a series above the gates and the cell state of an LSTM that reads it, on one time axis.

    The units are in the order of their mean forget gate: those at the top remember longest.

    Parameters
    ----------
    model
        Anything with ``trace(X)``: a `lstmkit.Forecaster`, a fitted estimator, an `lstmkit.LSTM`;
        or a trace.
    X
        With a model: what it reads. Of a forecaster's data the last context and the forecast are
        drawn, with their times.
    values : (T,) or (T, F), optional
        What is drawn above; by default the sequence of X. With a trace it must be given.
    times : (T,), optional
        Of the steps: dates and times, or numbers; by default they are counted.
    names : sequence of F str, optional
        Of what is drawn above.
    sequence : int
        Which sequence of X; of a forecaster's data which series.
    cell : int
        Which layer and direction: ``layer·D + direction``.
    title : str
        Stands above the picture.

    Raises
    ------
    InputError
        If an index or a length does not fit, there is nothing to draw above, or matplotlib is
        missing.
    """
    new_figure = figure_class()
    gates, cells = _gates(model, X, sequence, cell)
    steps = len(gates["c"])
    if values is None and hasattr(model, "horizon") and callable(getattr(model, "predict", None)):
        read = _of_forecaster(model, X, sequence)
    else:
        above = _above(_one(X, sequence) if values is None else values, steps)
        read = _Read(above, np.arange(steps), None, None)
    if times is not None:
        across = np.asarray(times)
        if across.shape != (steps,):
            raise InputError(f"{_OWNER}: times has shape {across.shape}; expected ({steps},)")
        read = read._replace(times=across)
    if names is not None:
        read = read._replace(names=list(names))
    if read.names is not None and len(read.names) != read.values.shape[1]:
        raise InputError(
            f"{_OWNER}: names has length {len(read.names)}; expected {read.values.shape[1]}"
        )

    figure = new_figure(figsize=(10, 9), layout="constrained", dpi=150)
    ratios = [1.6] + [1.0] * len(_WORDS)
    top, *panels = figure.subplots(1 + len(_WORDS), 1, sharex=True, height_ratios=ratios)
    _draw_values(top, read)
    order = np.argsort(-gates["f"].mean(axis=0), kind="stable")
    edges, rows = _edges(read.times), np.arange(len(order) + 1) + 0.5
    for axes, (name, words) in zip(panels, _WORDS.items(), strict=True):
        shade = gates[name][:, order].T
        low, high, colours = 0.0, 1.0, "viridis"
        if name == "c":
            high = max(1e-9, float(np.abs(shade).max()))
            low, colours = -high, "RdBu_r"
        mesh = axes.pcolormesh(edges, rows, shade, vmin=low, vmax=high, cmap=colours)
        figure.colorbar(mesh, ax=axes, pad=0.01)
        axes.set_ylabel(f"{words}\nunits")
        axes.set_yticks([1, len(order)] if len(order) > 1 else [1])
        axes.invert_yaxis()
        if read.origin is not None:
            axes.axvline(edges[read.origin], color="white", linestyle="--", linewidth=1.2)
    if read.times.dtype.kind != "M":
        panels[-1].set_xlabel("time step")
    dates(panels[-1], read.times)
    figure.suptitle(title if cells == 1 else f"{title} (layer and direction {cell} of {cells})")
    return figure


def _draw_values(axes: Axes, read: _Read) -> None:
    count = read.values.shape[1]
    names = read.names or (["value"] if count == 1 else [f"feature {k}" for k in range(count)])
    few: dict[str, Any] = {"marker": "."} if len(read.times) <= 80 else {}
    for k, colour in enumerate(colours_of(count)):
        line = {"color": colour, "linewidth": 1.2, "linestyle": "-" if k < 8 else "--", **few}
        axes.plot(read.times, read.values[:, k], label=shown(names[k], 30), **line)
    if read.origin is not None:
        border = _edges(read.times)[read.origin]
        axes.axvline(border, color="#444444", linestyle="--", linewidth=1.0, label="forecast from")
    if 1 < count + (read.origin is not None) <= 16:
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0)}
        axes.legend(frameon=False, fontsize="x-small", ncols=6, borderaxespad=0.2, **place)
    axes.set_ylabel(shown(names[0], 30) if count == 1 else "read")
    tidy(axes)


def _gates(model: Any, X: Any, sequence: int, cell: int) -> tuple[dict[str, Array], int]:
    """Return one sequence's gates (T, H) by letter, and how many cells there are."""
    if isinstance(model, Trace):
        if X is not None:
            raise InputError(f"{_OWNER}: X is given with a trace; expected it with a model only")
        trace: Any = model
    elif not callable(getattr(model, "trace", None)):
        raise InputError(
            f"{_OWNER}: model is {type(model).__name__}; expected a trace, or a model with trace(X)"
        )
    elif X is None:
        raise InputError(f"{_OWNER}: X is missing; expected what the model is to read")
    else:
        trace = model.trace(X)
    chosen = sequence
    if isinstance(trace, list):  # sequences of different lengths: a trace each
        _index("sequence", sequence, len(trace))
        trace, chosen = trace[sequence], 0
    cells, count, steps = trace.c.shape[:3]
    _index("cell", cell, cells)
    _index("sequence", chosen, count)
    if not steps:
        raise InputError(f"{_OWNER}: the trace has no step; expected one at least")
    return {name: getattr(trace, name)[cell, chosen] for name in _WORDS}, cells


def _of_forecaster(model: Any, X: Any, sequence: int) -> _Read:
    """Return the last context of a series and its forecast, which is what the network reads."""
    columns = model.columns_
    time = False if columns.time is None else columns.time
    which = {"time": time, "series": columns.series, "target": list(columns.target)}
    parts = parts_of(_OWNER, X, model.predict(X), quantiles=model.quantiles, **which)
    each = len(columns.target)
    context = model.context_
    own = parts[sequence * each : (sequence + 1) * each]
    values = [
        np.concatenate([one.history[-context:], point_of(one.forecast, one.levels)]) for one in own
    ]
    times = np.concatenate([own[0].times[-context:], own[0].ahead])
    return _Read(np.stack(values, axis=1), times, [one.target for one in own], context)


def _one(X: Any, sequence: int) -> Any:
    """Return one sequence of what a model reads; see `lstmkit.SequenceClassifier`."""
    if isinstance(X, list | tuple) or np.ndim(X) == 3:
        return X[sequence]
    return np.asarray(X)[sequence]  # (n, T): one feature


def _above(values: Any, steps: int) -> Array:
    """Return (T, F) numbers to draw above."""
    if values is None:
        raise InputError(f"{_OWNER}: values is missing; expected the series to draw, with a trace")
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"{_OWNER}: X cannot be drawn as it is; expected values= of one number a step"
        ) from None
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != steps:
        raise InputError(
            f"{_OWNER}: the values to draw have shape {array.shape}; expected ({steps}, features), "
            "a row a step (give values=)"
        )
    return array


def _index(name: str, value: int, count: int) -> None:
    if positive_integer(_OWNER, name, value, least=0) >= count:
        raise InputError(f"{_OWNER}: {name} is {value}; expected 0 to {count - 1}")


def _edges(times: Array) -> Array:
    """Return the T + 1 borders between T steps: halfway, and as far beyond the ends.

    Examples
    --------
    >>> _edges(np.array([0, 1, 3]))
    array([-0.5,  0.5,  2. ,  4. ])
    """
    if times.dtype.kind == "M":
        numbers = times.astype("datetime64[us]").astype(np.int64)
        return _edges(numbers).astype(np.int64).astype("datetime64[us]")
    numbers = times.astype(np.float64)
    if len(numbers) == 1:
        return np.array([numbers[0] - 0.5, numbers[0] + 0.5])
    halfway = (numbers[1:] + numbers[:-1]) / 2
    first, last = 2 * numbers[0] - halfway[0], 2 * numbers[-1] - halfway[-1]
    return np.concatenate([[first], halfway, [last]])
