"""How good forecasts would have been: from many origins in the past, beside simple methods.

The origins roll over the end of the series. What stands before the first one is the training part:
the LSTM and the baselines learn from it alone (or, with ``refit``, learn anew as the origins move
on), and forecast from the same origins with what was known there (Tashman 2000, "Out-of-sample
tests of forecasting accuracy"). Every error is measured on the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstmkit.shapes import Array, InputError, positive_integer, shown
from lstmkit.tasks import metrics
from lstmkit.tasks.baselines import Baseline, Persistence, RidgeOnLags, SeasonalNaive
from lstmkit.tasks.horizon import Series
from lstmkit.tasks.scores import LSTM, METRICS, Backtest, joined

__all__ = ["LSTM", "METRICS", "About", "Backtest", "backtest", "choose_origins", "middle"]

_MOST_ORIGINS = 200  # unless the caller says how many
_SHARE = 4  # the last 1/4 of the rows is what is forecast, unless the caller says otherwise

Learn = Callable[[list[Series]], Any]  # → something with predict(series, origins)


class About(NamedTuple):
    """What is measured.

    Attributes
    ----------
    owner : str
        Who speaks in errors.
    names, targets : list
        Of the S series and the n targets.
    times : list of S arrays, or None
    ends : list of S int
        How many steps before the latest end of all each series ends.
    context, horizon, season : int
    quantiles : tuple of float, or None
        Of the model; the baselines get the same.
    frame_of
        Makes the result's frame of columns.
    """

    owner: str
    names: Sequence[Any]
    targets: Sequence[str]
    times: Sequence[Array] | None
    ends: Sequence[int]
    context: int
    horizon: int
    season: int
    quantiles: tuple[float, ...] | None
    frame_of: Callable[[dict[str, Any]], Any] = dict


# --------------------------------------------------------------------------- the origins


class Origins(NamedTuple):
    """Where forecasts begin, on a clock that all series share.

    Attributes
    ----------
    clock : (O,) int64
        Steps from the latest end of all series, rising; 0 is the step after it.
    zeros : list of int
        The row of each series that stands at 0 of the clock, or would.
    lengths : list of int
        The rows T of each.
    horizon : int
    """

    clock: Array
    zeros: list[int]
    lengths: list[int]
    horizon: int

    def rows(self, s: int, clock: Array) -> Array:
        """Return the rows of series s at which a forecast begins that ends within the series."""
        rows = clock + self.zeros[s]
        return rows[rows + self.horizon <= self.lengths[s]]

    def known(self, s: int, at: int) -> int:
        """Return how many rows of series s stand before an origin."""
        return min(max(at + self.zeros[s], 0), self.lengths[s])


def choose_origins(
    owner: str,
    lengths: Sequence[int],
    ends: Sequence[int],
    horizon: int,
    least: int,
    names: Sequence[Any],
    origins: int | None = None,
    stride: int | None = None,
) -> Origins:
    """Choose the origins, the last one ``horizon`` steps before the latest end of all series.

    Parameters
    ----------
    owner
        Who speaks in errors.
    lengths
        The rows T of each series.
    ends
        How many steps before the latest end of all each series ends.
    horizon, least
        Steps to forecast; rows that a training part needs.
    names
        Of the series.
    origins, stride
        How many, and the steps between two. By default the forecasts lie in the last quarter of
        the shortest series and the stride is 1, or what makes it at most 200 origins.

    Raises
    ------
    InputError
        If a training part is shorter than ``least``.
    """
    zeros = [length + end for length, end in zip(lengths, ends, strict=True)]
    rows = min(zeros)
    room = max(min(max(rows // _SHARE, horizon), rows - least) - horizon, 0)
    if stride is None:
        stride = 1 if origins is not None else room // _MOST_ORIGINS + 1
    stride = positive_integer(owner, "stride", stride)
    count = room // stride + 1 if origins is None else positive_integer(owner, "origins", origins)
    clock = -horizon - stride * np.arange(count - 1, -1, -1)
    chosen = Origins(clock, zeros, list(lengths), horizon)
    for s, name in enumerate(names):
        training = chosen.known(s, int(clock[0]))
        if training < least:
            who = "the series" if name is None else f"series {shown(repr(name), 60)}"
            raise InputError(
                f"{owner}: {who} has {lengths[s]} rows, of which {training} stand before the first "
                f"origin; expected at least {least} to learn from (fewer origins, a smaller "
                "context, horizon or season, or more rows)"
            )
    return chosen


def before(series: Series, row: int) -> Series:
    """Return the rows of a series before one: all that was known when that row was to come."""
    return Series(series.target[:row], series.past[:row], series.known[:row])


# --------------------------------------------------------------------------- the measurement


def backtest(
    learn: Learn,
    series: Sequence[Series],
    about: About,
    *,
    origins: int | None = None,
    stride: int | None = None,
    refit: bool | int = False,
) -> Backtest:
    """Measure a model and the baselines at the same origins.

    Parameters
    ----------
    learn
        Fits the model to some series and returns it; its ``predict`` is that of `HorizonModel`.
    series
        All rows: what may be seen is cut here.
    about
        See `About`.
    origins, stride
        See `choose_origins`.
    refit
        After so many origins model and baselines learn anew from all that stands before the next
        one; False: they learn once, True: at every origin.
    """
    owner, horizon, season = about.owner, about.horizon, about.season
    group = 0 if refit is False else 1 if refit is True else positive_integer(owner, "refit", refit)
    lengths = [len(one.target) for one in series]
    least = max(about.context, season) + horizon
    plan = choose_origins(owner, lengths, about.ends, horizon, least, about.names, origins, stride)
    answers = _Answers(
        series,
        about,
        (
            Persistence(horizon, about.quantiles),
            SeasonalNaive(horizon, season, about.quantiles),
            RidgeOnLags(about.context, horizon, about.quantiles),
        ),
    )
    size = group or len(plan.clock)
    for begin in range(0, len(plan.clock), size):
        clock = plan.clock[begin : begin + size]
        training = [before(one, plan.known(s, int(clock[0]))) for s, one in enumerate(series)]
        for method in answers.methods:  # first: they are quick, and may lack scikit-learn
            method.fit(training)
        model = learn(training)
        answers.add(model, [plan.rows(s, clock) for s in range(len(series))])
    first = [plan.known(s, int(plan.clock[0])) for s in range(len(series))]
    return answers.result([one.target[:row] for one, row in zip(series, first, strict=True)])


def middle(quantiles: Sequence[float] | None) -> int:
    """Return which of the levels is the point forecast: the one nearest to 0.5."""
    return 0 if quantiles is None else int(np.argmin(np.abs(np.asarray(quantiles) - 0.5)))


class _Answers:
    """The forecasts of a model and of the methods beside it, as they are made."""

    def __init__(self, series: Sequence[Series], about: About, methods: Sequence[Baseline]) -> None:
        self.series, self.about, self.methods = series, about, methods
        kinds = [LSTM, *(method.name for method in methods)]
        self._rows = [list[Array]() for _ in series]
        self._forecasts = {kind: [list[Array]() for _ in series] for kind in kinds}
        self._points = {kind: [list[Array]() for _ in series] for kind in kinds}

    def add(self, model: Any, rows: Sequence[Array]) -> None:
        """Forecast from some rows of each series."""
        point = middle(self.about.quantiles)
        for s, (one, own) in enumerate(zip(self.series, rows, strict=True)):
            self._rows[s].append(own)
            answer = model.predict(one, own)
            self._forecasts[LSTM][s].append(answer)
            self._points[LSTM][s].append(answer[..., point])
            for method in self.methods:
                self._forecasts[method.name][s].append(method.predict(one, own, s))
                self._points[method.name][s].append(method.point(one, own, s))

    def result(self, training: Sequence[Array]) -> Backtest:
        """Return what was found; ``training`` are the targets that the scales come from."""
        about = self.about
        origins = [joined(parts) for parts in self._rows]
        return Backtest(
            names=list(about.names),
            targets=list(about.targets),
            origins=origins,
            times=None if about.times is None else list(about.times),
            actual=[
                one.target[rows[:, None] + np.arange(about.horizon)]
                for one, rows in zip(self.series, origins, strict=True)
            ],
            forecasts={k: [joined(parts) for parts in v] for k, v in self._forecasts.items()},
            points={k: [joined(parts) for parts in v] for k, v in self._points.items()},
            quantiles=about.quantiles,
            scales=[metrics.mase_scale(target, about.season) for target in training],
            season=about.season,
            frame_of=about.frame_of,
        )
