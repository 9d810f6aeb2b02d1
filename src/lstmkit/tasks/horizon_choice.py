"""Where a forecasting network starts from: chosen by what the linear part alone would forecast.

Each choice (power, naive start, level, penalty) is scored on blocks of windows held out in turn.
Windows whose forecast overlaps a held-out block are not learned from: neighbouring windows share
most of their rows, so that leaving out one at a time would choose far too small a penalty (Racine
2000, "Consistent cross-validatory model selection for dependent data: hv-block cross-validation").
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from lstmkit.shapes import Array
from lstmkit.tasks import ridge, transforms
from lstmkit.tasks.horizon_windows import Series, Sight, chunks, lay_out

_PENALTIES = 10.0 ** np.arange(-5, 4.25, 0.5)


class Fold(NamedTuple):
    """A block of origins held out, those to learn from meanwhile, and those near the block."""

    held: Array
    learned: Array
    near: Array


class Choice(NamedTuple):
    """What the linear part does best with, and how it then sees the rows."""

    power: str
    penalty: float
    sight: Sight
    rows: Series


def transformed(series: Sequence[Series], power: str) -> list[Series]:
    """Return the series with their targets transformed."""
    return [one._replace(target=transforms.forward(one.target, power)) for one in series]


def origins_of(lengths: Sequence[int], starts: Sequence[int], context: int, horizon: int) -> Array:
    """Return every row from which a known window can be forecast from a known history."""
    places = [
        start + np.arange(context, length - horizon + 1)
        for start, length in zip(starts, lengths, strict=True)
    ]
    return np.concatenate(places)


def folds_of(origins: Array, horizon: int, count: int) -> list[Fold]:
    """Hold out each of so many blocks of every series, the last ones first.

    Where a series ends its origins do, and the next one's are more than 1 further on. Folds that
    would leave nothing to learn from are left out: of a very short series there may be none.
    """
    breaks = np.flatnonzero(np.diff(origins) > 1) + 1
    series = np.split(origins, breaks)
    folds = []
    for k in reversed(range(count)):
        held, learned, near = list[Array](), list[Array](), list[Array]()
        for own in series:
            block = np.array_split(own, count)[k]
            apart = np.ones(len(own), bool)
            if len(block):
                apart = (own <= block[0] - horizon) | (own >= block[-1] + horizon)
            held.append(block)
            learned.append(own[apart])
            near.append(own[~apart])
        fold = Fold(np.concatenate(held), np.concatenate(learned), np.concatenate(near))
        if len(fold.held) and len(fold.learned) > 1:
            folds.append(fold)
    return folds


def choose(
    series: Sequence[Series],
    context: int,
    horizon: int,
    season: int,
    power: str,
    squared: bool,
    blocks: int,
) -> tuple[Choice, list[Fold]]:
    """Choose by the error of the linear part on blocks held out.

    Errors are in the unit of the series, over the mean absolute error of repeating the last row
    (so that large series do not outvote small ones); ``squared`` ones for a forecast of the mean.
    """
    powers = [
        p
        for p in (transforms.POWERS if power == "auto" else (power,))
        if transforms.allowed([one.target for one in series], p)
    ]
    naive = [1, season] if 1 < season <= context else [1]
    levels = [False, True] if context > 1 else [True]
    best: Choice | None = None
    least = np.inf
    folds = list[Fold]()
    for candidate in powers:
        rows, starts = lay_out(transformed(series, candidate), horizon)
        origins = origins_of([len(s.target) for s in series], starts, context, horizon)
        folds = folds or folds_of(origins, horizon, blocks)
        size = _sizes(series, starts, len(rows.target))
        local = len(series) > 1 and candidate != "log"
        for start, level in product(naive, levels):
            sight = Sight.of(context, horizon, start, level, local, rows, origins)
            errors = _errors(rows, sight, origins, folds, candidate, size, squared)
            k = int(np.argmin(errors))
            if best is None or errors[k] < least:
                least = errors[k]
                best = Choice(candidate, float(_PENALTIES[k]) if folds else 1.0, sight, rows)
    assert best is not None
    return best, folds


def solve(choice: Choice, origins: Array) -> tuple[Array, Array, Array]:
    """Return the linear part that these origins give: its weights, its bias and what it leaves."""
    pairs = (_pair(choice.rows, choice.sight, chosen) for chosen in chunks(origins))
    weight, bias = ridge.Ridge(ridge.add_up(pairs)).solve(choice.penalty)
    left = []
    for chosen in chunks(origins):
        x, y = _pair(choice.rows, choice.sight, chosen)
        left.append(y - x @ weight - bias)
    return weight, bias, np.concatenate(left)


def _sizes(series: Sequence[Series], starts: Sequence[int], rows: int) -> Array:
    """Return, for every row, the mean step of its series' targets: (rows, n)."""
    size = np.ones((rows, series[0].target.shape[1]))
    for one, start in zip(series, starts, strict=True):
        step = np.abs(np.diff(one.target, axis=0)).mean(axis=0)
        size[start : start + len(one.target)] = np.where(step > 0, step, 1.0)
    return size


def _pair(rows: Series, sight: Sight, origins: Array) -> tuple[Array, Array]:
    """Return what the skip sees and the corrections that are right, a row an origin."""
    view = sight.windows(rows, origins, np.float64)
    return view.window.flat, view.answer.reshape(len(origins), -1)


def _errors(
    rows: Series,
    sight: Sight,
    origins: Array,
    folds: Sequence[Fold],
    power: str,
    size: Array,
    squared: bool,
) -> Array:
    """Return the mean error on the held-out blocks for each of the penalties."""
    errors = np.zeros(len(_PENALTIES))
    if not folds:
        return errors
    everything = ridge.add_up(_pair(rows, sight, chosen) for chosen in chunks(origins))
    for fold in folds:
        excluded = ridge.add_up(_pair(rows, sight, chosen) for chosen in chunks(fold.near))
        solutions = ridge.Ridge(everything.without(excluded))
        weights = [solutions.solve(penalty) for penalty in _PENALTIES]
        for chosen in chunks(fold.held):
            view = sight.windows(rows, chosen, np.float64)
            actual = transforms.inverse(view.actual, power)
            unit = size[chosen][:, None]
            for k, (weight, bias) in enumerate(weights):
                answer = (view.window.flat @ weight + bias).reshape(actual.shape)
                forecast = transforms.inverse(view.naive + answer * view.scale, power)
                wrong = np.abs(forecast - actual) / unit
                errors[k] += (np.square(wrong) if squared else wrong).sum()
    return errors
