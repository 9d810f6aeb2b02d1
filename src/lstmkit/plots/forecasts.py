"""Pictures of forecasts: what comes, and how good it would have been."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmkit.plots.base import COLOURS, colours_of, dates, figure_class, tidy
from lstmkit.plots.parts import Part, parts_of, point_of
from lstmkit.shapes import Array, InputError, positive_integer, shown
from lstmkit.tasks.backtest import LSTM, Backtest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HISTORY, _AHEAD, _CAME = "#444444", COLOURS[0], COLOURS[1]
_MOST_PANELS = 12
_MOST_ORIGINS = 300  # drawn one by one
_MOST_LINES = 40  # that say where a forecast begins
# By method: colours that also differ in lightness, and lines that differ in form.
_METHODS: dict[str, dict[str, Any]] = {
    LSTM: {"color": COLOURS[0], "linestyle": "-", "linewidth": 2.2, "zorder": 4},
    "persistence": {"color": "#8a8a8a", "linestyle": ":", "linewidth": 1.6, "zorder": 2},
    "seasonal-naive": {"color": "#b8860b", "linestyle": "--", "linewidth": 1.4, "zorder": 2},
    "ridge on lags": {"color": COLOURS[1], "linestyle": "-.", "linewidth": 1.4, "zorder": 3},
}


def forecast(
    history: Any,
    forecast: Any,
    *,
    actual: Any = None,
    time: Any = None,
    series: Any = None,
    target: Any = None,
    quantiles: Sequence[float] | None = None,
    last: int | None = None,
    title: str = "Forecast",
) -> Figure:
    """Draw a forecast after the end of its history, with its intervals, a panel a series.

    Parameters
    ----------
    history
        The data that `lstmkit.Forecaster` has learned from or was given to predict.
    forecast
        What ``predict`` returned for it.
    actual : optional
        What came, where it is known by now: in the form of the history or of the forecast.
    time, series, target
        The columns, as in ``Forecaster.fit``; by default those that history and forecast share.
    quantiles : sequence of float, optional
        The levels of a forecast that is an array; of a frame its columns say them.
    last : int, optional
        How many steps of the history are drawn; by default five horizons, at least 60.
    title : str
        Stands above the picture.

    Returns
    -------
    matplotlib.figure.Figure
        At most 12 panels; of more series the first ones, and the title says so.

    Raises
    ------
    InputError
        If the columns of the two do not fit each other, or matplotlib is missing.
    """
    new_figure = figure_class()
    if last is not None:
        last = positive_integer("plots.forecast", "last", last, least=0)
    columns = {"time": time, "series": series, "target": target}
    parts = parts_of("plots.forecast", history, forecast, actual, quantiles, **columns)
    if len(parts) > _MOST_PANELS:
        title = f"{title}: the first {_MOST_PANELS} of {len(parts)}"
    parts = parts[:_MOST_PANELS]
    across = 1 if len(parts) <= 3 else 2 if len(parts) <= 8 else 3
    down = -(-len(parts) // across)
    size = (9.0 if across == 1 else 5.6 * across, 4.8 if down == 1 else 2.9 * down + 0.6)
    figure = new_figure(figsize=size, layout="constrained", dpi=150)
    panels = figure.subplots(down, across, squeeze=False)
    for axes, part in zip(panels.flat, parts, strict=False):
        _ahead(axes, part, last)
    for axes in list(panels.flat)[len(parts) :]:
        axes.set_visible(False)
    found = dict(zip(*panels[0, 0].get_legend_handles_labels()[::-1], strict=True))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(title)
    return figure


def _ahead(axes: Axes, part: Part, last: int | None) -> None:
    """Draw one series and its forecast."""
    steps = len(part.forecast)
    keep = min(len(part.history), max(60, 5 * steps) if last is None else last)
    begin = len(part.history) - keep
    before, values = part.times[begin:], part.history[begin:]
    ahead, middle = part.ahead, point_of(part.forecast, part.levels)
    few: dict[str, Any] = {"marker": ".", "markersize": 4} if keep + steps <= 80 else {}
    if keep:
        axes.plot(before, values, color=_HISTORY, linewidth=1.3, label="history", **few)
    _bands(axes, ahead, part.forecast, part.levels)
    if keep:  # the line begins where the history ends
        ahead = np.concatenate([before[-1:], ahead])
        middle = np.concatenate([values[-1:], middle])
    word = "forecast" if part.levels is None else "forecast (median)"
    mark: dict[str, Any] = {"marker": "o", "markersize": 3.5} if steps <= 40 else {}
    look: dict[str, Any] = {"color": _AHEAD, "linewidth": 1.8, "zorder": 3, **mark}
    axes.plot(ahead, middle, label=word, markevery=slice(1 if keep else 0, None), **look)
    if part.actual is not None and np.isfinite(part.actual).any():
        look = {"color": _CAME, "linestyle": "--", "linewidth": 1.4, "zorder": 4}
        mark = {"marker": "x", "markersize": 4.5} if steps <= 40 else {}
        axes.plot(part.ahead, part.actual, label="what came", **look, **mark)
    if part.name:
        axes.set_title(shown(part.name, 60), fontsize=10)
    axes.set_ylabel(shown(part.target, 40))
    axes.margins(x=0.02)
    dates(axes, part.times if len(part.times) else part.ahead)
    tidy(axes)


def backtest(
    result: Backtest,
    *,
    series: Any = None,
    target: str | None = None,
    metric: str = "MAE",
    title: str = "Backtest",
) -> Figure:
    """Draw forecasts from past origins over what came, and the error of every method by origin.

    Above, the LSTM's forecasts with their interval, from origins so far apart that they do not
    overlap. Below, a point an origin: the error over the steps that were forecast from it.

    Parameters
    ----------
    result : lstmkit.tasks.backtest.Backtest
        What ``Forecaster.backtest`` returned.
    series
        The name of the series to draw; the first by default.
    target : str, optional
        The target to draw above; the first by default.
    metric : {"MAE", "RMSE", "MASE", "pinball", "coverage"}
        The error below, as in ``result.per_origin``: over all targets.
    title : str
        Stands above the picture.

    Raises
    ------
    InputError
        If there is no such series, target or metric, or matplotlib is missing.
    """
    new_figure = figure_class()
    s = _place("series", series, result.names)
    n = _place("target", target, result.targets)
    errors = result.per_origin(metric)
    origins, came = np.asarray(result.origins[s]), result.actual[s][:, :, n]
    if not len(origins):
        raise InputError(
            f"plots.backtest: the series {result.names[s]!r} has no origin; expected one at least "
            "(name another with series=)"
        )
    steps = came.shape[1]
    times = np.arange(origins[-1] + steps) if result.times is None else result.times[s]
    figure = new_figure(figsize=(10, 7), layout="constrained", dpi=150)
    above, below = figure.subplots(2, 1, height_ratios=[3, 2], sharex=True)

    first = int(origins[0])
    rows = np.full(int(origins[-1]) + steps - first, np.nan)
    for origin, values in zip(origins, came, strict=True):
        rows[origin - first : origin - first + steps] = values
    came_look: dict[str, Any] = {"color": _HISTORY, "linewidth": 1.1, "zorder": 4}
    above.plot(times[first : first + len(rows)], rows, label="what came", **came_look)
    chosen = _apart(origins, steps)
    # One line and one area for all, with a gap after each forecast; of single steps without.
    when = np.concatenate([_gap(times[origins[k] : origins[k] + steps], steps) for k in chosen])
    guess = result.forecasts[LSTM][s][:, :, n]
    _bands(above, when, np.concatenate([_gap(guess[k], steps) for k in chosen]), result.quantiles)
    middle = np.concatenate([_gap(result.points[LSTM][s][k, :, n], steps) for k in chosen])
    few = {"marker": "o", "markersize": 3} if len(middle) <= 100 else {}
    above.plot(when, middle, color=_AHEAD, linewidth=1.5, zorder=3, label="LSTM", **few)
    if len(chosen) <= _MOST_LINES:
        for k in chosen:
            above.axvline(times[origins[k]], color=_AHEAD, linewidth=0.5, alpha=0.35)
    above.set_ylabel(shown(result.targets[n], 40))
    apart = "each origin" if len(chosen) == len(origins) else f"{len(chosen)} of the origins"
    above.set_title(f"forecasts of {steps} step{'s' * (steps != 1)} from {apart}", fontsize=10)
    above.legend(fontsize="small", loc="upper left", edgecolor="none")
    tidy(above)

    _by_origin(below, times[origins], {name: found[s] for name, found in errors.items()}, metric)
    if metric == "coverage":
        below.axhline(result.level or 0.0, color="black", linewidth=0.8)
    dates(below, times)
    words = below.get_legend_handles_labels()
    figure.legend(*words, loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    name = result.names[s]
    figure.suptitle(title if name is None else f"{title}: {shown(name, 60)}")
    return figure


# --------------------------------------------------------------------------- small things


def _by_origin(axes: Axes, times: Array, errors: dict[str, Array], metric: str) -> None:
    """Draw the error of each method; of very many origins the means of neighbours."""
    group = -(-len(times) // _MOST_ORIGINS)
    few: dict[str, Any] = {"marker": ".", "markersize": 6} if len(times) <= 60 else {}
    means = {}
    for colour, (method, found) in zip(colours_of(len(errors)), errors.items(), strict=True):
        look = {"linewidth": 1.2, "color": colour, **_METHODS.get(method, {}), **few}
        means[method] = float(np.mean(found))
        axes.plot(
            times[::group], _means(found, group), label=f"{method}: {means[method]:.4g}", **look
        )
    what = "share inside the interval" if metric == "coverage" else "error"
    each = "by origin" if group == 1 else f"by origin, means of {group} in a row"
    axes.set_title(f"{what} {each}; the figures are means of all", fontsize=10)
    axes.set_ylabel(metric)
    if metric == "coverage":
        axes.set_ylim(-0.03, 1.03)
    elif min(means.values()) > 0 and max(means.values()) > 20 * min(means.values()):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    tidy(axes)


def _means(values: Array, group: int) -> Array:
    """Return the mean of each ``group`` in a row; the last may be of fewer."""
    starts = np.arange(0, len(values), group)
    sums: Array = np.add.reduceat(values, starts) / np.diff([*starts, len(values)])
    return sums


def _bands(axes: Axes, times: Array, values: Array, levels: Sequence[float] | None) -> None:
    """Shade between each pair of levels, the outermost first; (h, Q) values."""
    if levels is None:
        return
    order = np.argsort(np.asarray(levels))
    pairs = [(order[k], order[-1 - k]) for k in range(len(order) // 2)]
    for number, (low, high) in enumerate(pairs):
        words = f"{100 * (levels[high] - levels[low]):.3g} % interval"
        between = (times, values[:, low], values[:, high])
        shade = 0.2 + 0.15 * number
        if len(times) == 1:  # an area of no width would not be seen
            axes.vlines(*between, color=_AHEAD, alpha=shade, linewidth=5, label=words)
        else:
            look: dict[str, Any] = {"color": _AHEAD, "alpha": shade, "linewidth": 0, "zorder": 1}
            axes.fill_between(*between, label=words, **look)


def _gap(values: Array, steps: int) -> Array:
    """Append nan, or no time, after several steps: there the pen is lifted."""
    if steps == 1:
        return values
    nothing = np.full(values[:1].shape, "NaT" if values.dtype.kind == "M" else "nan")
    dtype = values.dtype if values.dtype.kind == "M" else np.dtype(np.float64)
    return np.concatenate([values.astype(dtype), nothing.astype(dtype)])


def _apart(origins: Array, steps: int) -> list[int]:
    """Return origins so far apart that forecasts do not overlap; of very many every so manieth."""
    chosen: list[int] = []
    for k in range(len(origins)):
        if not chosen or origins[k] - origins[chosen[-1]] >= steps:
            chosen.append(k)
    return chosen


def _place(name: str, value: Any, known: Sequence[Any]) -> int:
    if value is None:
        return 0
    if value not in known:
        some = ", ".join(shown(repr(one), 40) for one in list(known)[:8])
        raise InputError(f"plots.backtest: {name} is {value!r}; expected one of {some}")
    return list(known).index(value)
