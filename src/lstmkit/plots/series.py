"""A picture of an LSTM at work on a series: the values above, the gates beneath."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lstmkit.layers.lstm import Trace
from lstmkit.plots.base import colours_of, dates, figure_class, tidy
from lstmkit.shapes import Array, InputError, positive_integer, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    """Draw a series above the gates and states of an LSTM that reads it, on one axis of time.

    The units are in the order of their mean forget gate: those at the top remember longest.

    Parameters
    ----------
    model
        Anything with ``trace(X)``: a fitted estimator, a forecaster, an `lstmkit.LSTM`; or a
        trace.
    X
        With a model: what it reads. Of arrays ``(N, T, F)`` or a list of sequences the one to draw
        is chosen by ``sequence``.
    values : (T,) or (T, F), optional
        What is drawn above; by default the sequence of X itself.
    times : (T,), optional
        Of the steps: dates and times, or numbers; by default they are counted. Of a trace that is
        shorter than the series, the last ones count.
    names : sequence of F str, optional
        Of the features, for the legend.
    sequence : int
        Which sequence of X.
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
    owner = "gates_over_series"
    one = _Traced.of(owner, model, X, sequence, cell)
    steps = len(one.gates["c"])
    above = _above(owner, one.read if values is None else values, steps)
    if times is None:
        across: Array = np.arange(len(above))[-steps:]
    else:
        across = np.asarray(times)
        if across.ndim != 1 or len(across) < steps:
            raise InputError(
                f"{owner}: times has shape {across.shape}; expected ({steps},) or more, one a step"
            )
        across = across[-steps:]
    above = above[-steps:]
    order = np.argsort(-one.gates["f"].mean(axis=0), kind="stable")
    words = {
        "i": "input gate i",
        "f": "forget gate f",
        "o": "output gate o",
        "c": "cell state c",
    }
    figure = new_figure(figsize=(10, 9), layout="constrained", dpi=150)
    ratios = [1.6] + [1.0] * len(words)
    top, *panels = figure.subplots(1 + len(words), 1, sharex=True, height_ratios=ratios)
    labels = list(names) if names is not None else [f"feature {k}" for k in range(above.shape[1])]
    if len(labels) != above.shape[1]:
        raise InputError(f"{owner}: names has length {len(labels)}; expected {above.shape[1]}")
    for k, colour in enumerate(colours_of(above.shape[1])):
        look: dict[str, Any] = {
            "color": colour,
            "linewidth": 1.2,
            "linestyle": "-" if k < 8 else "--",
        }
        few = {"marker": "."} if steps <= 40 else {}
        top.plot(across, above[:, k], **few, label=shown(labels[k], 30), **look)
    if above.shape[1] > 1 and above.shape[1] <= 16:
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2}
        top.legend(frameon=False, fontsize="x-small", ncols=6, **place)
    top.set_ylabel(shown(labels[0], 30) if above.shape[1] == 1 and names else "read")
    tidy(top)
    edges = _edges(across)
    rows = np.arange(len(order) + 1) + 0.5
    for axes, (name, text) in zip(panels, words.items(), strict=True):
        shade = one.gates[name][:, order].T
        low, high, colours = (0.0, 1.0, "viridis")
        if name == "c":
            high = max(1e-9, float(np.abs(shade).max(initial=0.0)))
            low, colours = -high, "RdBu_r"
        mesh = axes.pcolormesh(edges, rows, shade, vmin=low, vmax=high, cmap=colours)
        figure.colorbar(mesh, ax=axes, pad=0.01)
        axes.set_ylabel(f"{text}\nunits")
        axes.set_yticks([1, len(order)] if len(order) > 1 else [1])
        axes.invert_yaxis()
    panels[-1].set_xlabel("" if across.dtype.kind == "M" else "time step")
    dates(panels[-1], across)
    figure.suptitle(title + one.note)
    return figure


class _Traced(NamedTuple):
    """One sequence's gates (T, H) by letter, what was read, and which layer it is."""

    gates: dict[str, Array]
    read: Any
    note: str

    @classmethod
    def of(cls, owner: str, model: Any, X: Any, sequence: int, cell: int) -> _Traced:
        read = None
        if isinstance(model, Trace):
            if X is not None:
                raise InputError(f"{owner}: X is given with a trace; expected it with a model only")
            trace: Any = model
        elif not callable(getattr(model, "trace", None)):
            raise InputError(
                f"{owner}: model is {type(model).__name__}; expected a trace, or a model with "
                "trace(X)"
            )
        else:
            if X is None:
                raise InputError(f"{owner}: X is missing; expected what the model is to read")
            trace, read = model.trace(X), X
        if isinstance(trace, list | tuple) and not isinstance(trace, Trace):
            _index(owner, "sequence", sequence, len(trace))  # ragged: a trace each
            trace, chosen = trace[sequence], 0
        else:
            chosen = sequence
        gates = {}
        for name in "ifoc":
            array = np.asarray(getattr(trace, name))
            _index(owner, "cell", cell, len(array))
            _index(owner, "sequence", chosen, array.shape[1])
            gates[name] = array[cell, chosen]
        if not gates["c"].size:
            raise InputError(f"{owner}: the trace has no step; expected one at least")
        if isinstance(read, list | tuple) and len(read) and np.ndim(read[0]):
            read = read[sequence]
        elif isinstance(read, np.ndarray) and read.ndim == 3:
            read = read[sequence]
        elif isinstance(read, np.ndarray) and read.ndim == 2 and len(read) == array.shape[1] > 1:
            read = read[sequence]
        cells = len(array)
        note = "" if cells == 1 else f" (layer and direction {cell} of {cells})"
        return cls(gates, read, note)


def _above(owner: str, values: Any, steps: int) -> Array:
    """Return (T, F) numbers to draw above."""
    if values is None:
        raise InputError(f"{owner}: values is missing; expected the series to draw, with a trace")
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"{owner}: X cannot be drawn as it is; expected values= of one number a step"
        ) from None
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) < steps:
        raise InputError(
            f"{owner}: the values to draw have shape {array.shape}; expected ({steps},) or more "
            "(time, features): give values="
        )
    return array


def _index(owner: str, name: str, value: int, count: int) -> None:
    if positive_integer(owner, name, value, least=0) >= count:
        raise InputError(f"{owner}: {name} is {value}; expected 0 to {count - 1}")


def _edges(times: Array) -> Array:
    """Return the T + 1 borders between T steps: halfway, and as far beyond the ends."""
    if times.dtype.kind == "M":
        times = times.astype("datetime64[us]")
        numbers = times.astype(np.int64)
        return _borders(numbers).astype(np.int64).astype("datetime64[us]")
    return _borders(times)


def _borders(numbers: Array) -> Array:
    numbers = numbers.astype(np.float64)
    if len(numbers) == 1:
        return np.array([numbers[0] - 0.5, numbers[0] + 0.5])
    middle = (numbers[1:] + numbers[:-1]) / 2
    first, last = 2 * numbers[0] - middle[0], 2 * numbers[-1] - middle[-1]
    return np.concatenate([[first], middle, [last]])
