"""How good forecasts, values and labels are: pure functions, arrays in, one number out.

Shapes must be equal, they are not broadcast: (N,) against (N, 1) would silently be (N, N). What is
not a finite number is refused, so no result is nan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lstmkit.shapes import Array, InputError, any_array, positive_integer, real_array, shown


def mae(actual: ArrayLike, forecast: ArrayLike) -> float:
    """Mean absolute error: the mean of ``|actual - forecast|``.

    Parameters
    ----------
    actual, forecast : arrays of the same shape
        At least one finite number.

    Returns
    -------
    float
        In the unit of the data.

    Raises
    ------
    InputError
        If the shapes differ, nothing is there, or a value is nan or infinite.

    Examples
    --------
    >>> mae([1.0, 2.0, 6.0], [2.0, 2.0, 2.0])
    1.6666666666666667
    """
    return float(np.abs(_errors("mae", actual, forecast)).mean())


def rmse(actual: ArrayLike, forecast: ArrayLike) -> float:
    """Root of the mean squared error; arguments and errors as in `mae`.

    Examples
    --------
    >>> rmse([1.0, 5.0], [2.0, -2.0])
    5.0
    """
    return math.sqrt(float(np.square(_errors("rmse", actual, forecast)).mean()))


def mase_scale(training: ArrayLike, season: int = 1) -> Array:
    """Mean of ``|y_t - y_{t - season}|``: what `mase` divides errors by.

    It is the error that seasonal-naive makes over one season, in the training part alone, so that
    no forecast can change it (Hyndman and Koehler 2006, "Another look at measures of forecast
    accuracy", section 2.4; with a season of 1 their original).

    Parameters
    ----------
    training : (T,) or (T, n)
        What the model learned from: more rows than a season has.
    season : int
        Steps after which the series repeats itself; 1 where it does not.

    Returns
    -------
    array, () or (n,), float64
        0 where a series repeats itself exactly: then there is no MASE.

    Raises
    ------
    InputError
        If there are too few rows, or a value is nan or infinite.

    Examples
    --------
    >>> float(mase_scale([1.0, 2.0, 4.0, 7.0]))
    2.0
    >>> float(mase_scale([1.0, 2.0, 4.0, 7.0], season=2))
    4.0
    """
    season = positive_integer("mase_scale", "season", season)
    rows = _finite("mase_scale", "training", training)
    if rows.ndim == 0 or len(rows) <= season:
        raise InputError(
            f"mase_scale: training has shape {rows.shape}; expected (time,) or (time, targets), "
            f"more than a season of {season} rows"
        )
    return np.asarray(np.abs(rows[season:] - rows[:-season]).mean(axis=0))


def mase(actual: ArrayLike, forecast: ArrayLike, scale: ArrayLike) -> float:
    """Mean absolute scaled error: the mean of ``|actual - forecast| / scale``.

    Below 1 the errors are smaller than those that seasonal-naive made over one season of the
    training part. Without a unit, so it can be averaged over series (Hyndman and Koehler 2006).

    Parameters
    ----------
    actual, forecast : arrays of the same shape
        (..., n) with n scales.
    scale : () or (n,)
        From `mase_scale`, above 0.

    Raises
    ------
    InputError
        As in `mae`; or if a scale is 0.

    Examples
    --------
    >>> mase([10.0, 12.0], [11.0, 15.0], mase_scale([1.0, 2.0, 4.0, 7.0]))
    1.0
    """
    errors = np.abs(_errors("mase", actual, forecast))
    scales = _finite("mase", "scale", scale)
    if scales.ndim and scales.shape != errors.shape[-1:]:
        raise InputError(
            f"mase: scale has shape {scales.shape}; expected one for each of the last axis of "
            f"{errors.shape}"
        )
    if not (scales > 0).all():
        raise InputError(
            f"mase: scale is {float(scales.min()):g}; expected above 0 (a series that repeats "
            "itself exactly has no MASE)"
        )
    return float((errors / scales).mean())


def pinball(actual: ArrayLike, forecast: ArrayLike, quantiles: Sequence[float]) -> float:
    """Mean pinball loss of quantile forecasts (Koenker and Bassett 1978).

    For a level q and an error e = actual - forecast, ``max(q e, (q - 1) e)``, averaged over all
    values and levels. For the level 0.5 alone it is half of the `mae`.

    Parameters
    ----------
    actual : array (...)
    forecast : array (..., Q)
        A forecast for each level.
    quantiles
        The Q levels, each above 0 and below 1.

    Raises
    ------
    InputError
        If shapes or levels do not fit, or a value is nan or infinite.

    Examples
    --------
    >>> pinball([10.0, 8.0], [[8.0, 11.0], [9.0, 8.0]], [0.25, 0.75])  # .5 + .25 + .75 + 0, over 4
    0.375
    """
    truth, levels = _finite("pinball", "actual", actual), _levels("pinball", quantiles)
    guess = _finite("pinball", "forecast", forecast)
    if guess.shape != (*truth.shape, len(levels)) or not guess.size:
        raise InputError(
            f"pinball: forecast has shape {guess.shape}; expected {(*truth.shape, len(levels))}, "
            "the shape of actual and one for each quantile, and not empty"
        )
    errors = truth[..., None] - guess
    return float(np.maximum(levels * errors, (levels - 1) * errors).mean())


def coverage(actual: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Share of the values that lie in their interval, ``low <= actual <= high``.

    An honest interval of 80 % covers about 0.8.

    Parameters
    ----------
    actual, low, high : arrays of the same shape

    Raises
    ------
    InputError
        As in `mae`.

    Examples
    --------
    >>> coverage([1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 4.0, 0.0], [2.0, 2.0, 5.0, 9.0])
    0.75
    """
    below, above = _errors("coverage", actual, low), _errors("coverage", actual, high)
    return float(np.mean((below >= 0) & (above <= 0)))


def r2(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Share of the variance that is explained: 1 - squared errors / squared deviations.

    1 is perfect, 0 is as good as the mean of what came, below 0 is worse. Where all actual values
    are equal it is 1 if every prediction is right and else 0, as in scikit-learn. Of several
    columns (N, K) it is the mean over them, each of the same weight.

    Raises
    ------
    InputError
        As in `mae`.

    Examples
    --------
    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    0.5
    >>> r2([2.0, 2.0], [2.0, 2.0]), r2([2.0, 2.0], [2.0, 3.0])
    (1.0, 0.0)
    """
    errors = _errors("r2", actual, predicted)
    truth = np.asarray(actual, dtype=np.float64)
    left = np.square(errors).sum(axis=0)
    whole = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    share = 1 - left / np.where(whole > 0, whole, 1)
    return float(np.where(whole > 0, share, np.where(left > 0, 0.0, 1.0)).mean())


def accuracy(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Share of the labels that are right.

    Parameters
    ----------
    actual, predicted : arrays of the same shape
        Labels: numbers, text, booleans.

    Examples
    --------
    >>> accuracy(["a", "b", "b", "c"], ["a", "b", "c", "c"])
    0.75
    """
    truth, guess = _labels("accuracy", actual, predicted)
    return float(np.mean(truth == guess))


def confusion(actual: ArrayLike, predicted: ArrayLike, classes: ArrayLike | None = None) -> Array:
    """How often which label was taken for which.

    Parameters
    ----------
    actual, predicted : arrays of the same shape
    classes : (K,), optional
        The labels in the order of rows and columns; by default all that occur, sorted.

    Returns
    -------
    array (K, K), int64
        Rows are the actual labels, columns the predicted ones, as in scikit-learn.

    Raises
    ------
    InputError
        If shapes differ or a label is not among the classes.

    Examples
    --------
    >>> confusion(["a", "a", "b"], ["a", "b", "b"])
    array([[1, 1],
           [0, 1]])
    """
    truth, guess = _labels("confusion", actual, predicted)
    both = np.concatenate([truth.ravel(), guess.ravel()])
    known, numbers = np.unique(both, return_inverse=True)
    if classes is None:
        order = np.arange(len(known))
        count = len(known)
    else:
        wanted = np.asarray(classes)
        places = {label: k for k, label in enumerate(wanted.tolist())}
        missing = [label for label in known.tolist() if label not in places]
        if missing:
            raise InputError(
                f"confusion: the label {shown(repr(missing[0]), 60)} is not among the classes; "
                "expected every label in classes"
            )
        order = np.array([places[label] for label in known.tolist()])
        count = len(wanted)
    rows, columns = np.split(order[numbers.reshape(-1)], 2)
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (rows, columns), 1)
    return table


# --------------------------------------------------------------------------- what came


def _finite(owner: str, name: str, value: ArrayLike) -> Array:
    given = any_array(owner, name, value, ("...",))
    array = real_array(owner, name, given, given.shape, np.float64)
    wrong = ~np.isfinite(array)
    if wrong.any():
        where = tuple(int(k) for k in np.argwhere(wrong)[0])
        place = f"{name}[{', '.join(map(str, where))}]" if where else name
        raise InputError(f"{owner}: {place} is {array[where]}; expected finite numbers")
    return array


def _errors(owner: str, actual: ArrayLike, forecast: ArrayLike) -> Array:
    """Return actual - forecast, after checking both."""
    truth, guess = _finite(owner, "actual", actual), _finite(owner, "forecast", forecast)
    if truth.shape != guess.shape or not truth.size:
        raise InputError(
            f"{owner}: actual has shape {truth.shape} and the forecast {guess.shape}; expected "
            "the same shape, and at least one value"
        )
    return truth - guess


def _levels(owner: str, quantiles: Sequence[float]) -> Array:
    levels = _finite(owner, "quantiles", quantiles)
    if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
        raise InputError(
            f"{owner}: quantiles is {shown(quantiles)}; expected levels above 0 and below 1"
        )
    return levels


def _labels(owner: str, actual: ArrayLike, predicted: ArrayLike) -> tuple[Array, Array]:
    truth, guess = np.asarray(actual), np.asarray(predicted)
    if truth.shape != guess.shape or not truth.size:
        raise InputError(
            f"{owner}: actual has shape {truth.shape} and predicted {guess.shape}; expected the "
            "same shape, and at least one label"
        )
    return truth, guess
