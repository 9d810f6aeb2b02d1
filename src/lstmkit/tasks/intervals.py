"""Intervals that cover their share: quantiles are moved until they do on forecasts held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lstmkit.shapes import Array

_CLOSE = 1e-6  # a quantile this near to the middle has no distance to change
_NARROWEST, _WIDEST = 0.5, 4.0  # what a distance may be multiplied with


def calibrate(answers: Array, right: Array, quantiles: Sequence[float]) -> Array:
    """Say by how much intervals have to widen to cover their share of what was held out.

    Conformal calibration of quantiles (Romano, Patterson and Candès 2019) over held-out blocks
    (Barber et al. 2021, "CV+"), here by a factor on the distances from the middle, so that calm
    and wild windows keep their order. Quantiles q and 1 - q are the ends of an interval and share
    its factor; one that stands alone has its own.

    Parameters
    ----------
    answers : (N, horizon, n, Q)
        Forecasts by models that did not learn from these windows.
    right : (N, horizon, n)
        What came.
    quantiles : (Q,)
        The levels.

    Returns
    -------
    widths : (n, Q)
        The factors, for each target its own; 1 for the median.
    """
    levels = np.asarray(quantiles)
    sides = np.where(levels < 0.5, -1.0, 1.0)
    center = middle(answers, quantiles)
    widths = np.ones((right.shape[2], len(levels)))
    for level in levels:
        if abs(level - 0.5) < 1e-9:
            continue
        ends = [k for k, q in enumerate(levels) if abs(abs(q - 0.5) - abs(level - 0.5)) < 1e-9]
        inside = 1 - min(level, 1 - level) * len(ends)
        for j in range(len(widths)):
            distance = (answers[:, :, j, ends] - center[:, :, j, None]) * sides[ends]
            away = (right - center)[:, :, j, None] * sides[ends]
            factors = (away / np.maximum(distance, _CLOSE)).max(axis=-1)
            widths[j, ends] = np.clip(np.quantile(factors, inside), _NARROWEST, _WIDEST)
    return widths


def widen(answers: Array, widths: Array, quantiles: Sequence[float]) -> Array:
    """Apply the factors, and put each forecast's quantiles in order, so that they never cross.

    Sorted quantiles are never worse (Chernozhukov, Fernández-Val and Galichon 2010).
    """
    center = middle(answers, quantiles)[..., None]
    return np.sort(center + (answers - center) * widths, axis=-1)


def middle(answers: Array, quantiles: Sequence[float]) -> Array:
    """Return the median among the quantiles, or what lies nearest to it: (..., Q) → (...).

    Examples
    --------
    >>> middle(np.array([[1.0, 2.0, 5.0]]), (0.1, 0.5, 0.9))
    array([2.])
    >>> middle(np.array([[1.0, 5.0]]), (0.1, 0.9))
    array([3.])
    """
    distance = np.abs(np.asarray(quantiles) - 0.5)
    found: Array = answers[..., distance <= distance.min() + 1e-9].mean(axis=-1)
    return found
