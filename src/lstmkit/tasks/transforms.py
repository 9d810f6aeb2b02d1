"""What is done to a series before a network forecasts it, and undone after: a power and a start.

A *power* makes the swings of a series as large at its high values as at its low ones. A *start* is
the naive forecast that the network corrects. Both are chosen on the part that is trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lstmkit.shapes import Array

POWERS = {"none": 1.0, "sqrt": 0.5, "log": 0.0}


def forward(values: Array, power: str) -> Array:
    """Apply the power: values as they are, their square roots or their logarithms."""
    if power == "log":
        return np.log(values)
    return np.sqrt(values) if power == "sqrt" else values


def inverse(values: Array, power: str) -> Array:
    """Undo the power. Below 0 there is no square root: such a value gives 0."""
    if power == "log":
        return np.exp(values)
    return np.square(np.maximum(values, 0)) if power == "sqrt" else values


def allowed(targets: Sequence[Array], power: str) -> bool:
    """Whether every value can be transformed: roots need 0 or more, logarithms more than 0."""
    least = min(float(target.min()) for target in targets)
    return power == "none" or least > 0 or (power == "sqrt" and least == 0)


def choose_power(targets: Sequence[Array], length: int) -> str:
    """Return the power under which the spread of a stretch depends least on its level.

    Guerrero 1993, "Time-series analysis supported by power transformations": a series is cut
    into stretches; with mean m and deviation s each, the power λ is the one at which s / m^(1-λ)
    has the smallest coefficient of variation. Here λ is 1, 1/2 or 0, and one for all series.

    Parameters
    ----------
    targets : sequence of (T, n)
        The series to train on.
    length : int
        Of a stretch: the season where there is one.

    Returns
    -------
    {"none", "sqrt", "log"}
        ``"none"`` where a value is negative or there are fewer than four stretches.
    """
    powers = [power for power in POWERS if allowed(targets, power)]
    variation = dict.fromkeys(powers, 0.0)
    for target in targets:
        count = len(target) // length
        if count < 4 or len(powers) == 1:
            return "none"
        stretches = target[len(target) - count * length :].reshape(count, length, -1)
        mean, deviation = stretches.mean(axis=1), stretches.std(axis=1)
        for power in powers:
            ratio = deviation / np.maximum(mean, 1e-12) ** (1 - POWERS[power])
            average = np.maximum(ratio.mean(axis=0), 1e-300)
            variation[power] += float((ratio.std(axis=0) / average).mean())
    return min(powers, key=variation.__getitem__)  # the first of equals: the plainest


def naive_rows(origins: Array, horizon: int, season: int) -> Array:
    """Return the rows (O, horizon) whose values the naive forecast repeats.

    Row ``k + j`` of an origin k is forecast by the last known row of the same place in the season;
    with a season of 1 by the last row, ``k - 1``.
    """
    return np.asarray(origins)[:, None] - season + np.arange(horizon) % season


def choose_season(values: Sequence[Array], origins: Sequence[Array], horizon: int, s: int) -> int:
    """Return s where repeating the last season errs less than repeating the last value, else 1.

    The mean absolute errors are compared at the origins to train on.
    """
    errors = {1: 0.0, s: 0.0}
    for series, where in zip(values, origins, strict=True):
        actual = series[where[:, None] + np.arange(horizon)]
        for season in errors:
            wrong = np.abs(actual - series[naive_rows(where, horizon, season)])
            errors[season] += float(wrong.sum())
    return min(errors, key=errors.__getitem__)
