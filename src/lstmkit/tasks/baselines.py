"""What a forecast must beat: persistence, seasonal-naive and ridge regression on lags.

All three have the same three methods. Series are `lstmkit.tasks.horizon_windows.Series`: ``target
(T, n)``, ``past (T, p)``, ``known (T + ahead, k)``. An origin k is the row of the first step to
forecast: what stands in row k of the target and after it is never read.

Their intervals are those of their own errors in the training part: the forecast of a step is moved
by the quantiles that the errors at that step had. The naive methods learn nothing, so their errors
are honest as they are; ridge is measured on blocks of the training part that it was not fitted to.
Of M errors the quantile q is the value at place q (M + 1), so that a new error of the same kind
lies below it with probability q, for few errors too (Weibull's plotting position).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lstmkit.shapes import Array, InputError, integer_array, positive_integer

if TYPE_CHECKING:
    from lstmkit.tasks.horizon import Series

_MOST_WINDOWS = 20_000  # that ridge is fitted to: beyond it gains little and takes much memory
_BLOCKS = 5  # of the training part, each forecast by a ridge fitted to the others
_AT_ONCE = 4096  # windows, when many origins are forecast
_PENALTIES = tuple(float(x) for x in np.logspace(-2, 5, 15))  # that RidgeCV chooses from


class Baseline:
    """The shared part: checks, scales and intervals; `_point` is each one's own.

    Parameters
    ----------
    horizon : int
        Steps to forecast.
    reach : int
        Rows that must stand before an origin.
    quantiles : sequence of float, optional
        Levels of what `predict` gives; None for the point forecast alone.
    """

    name = ""

    def __init__(self, horizon: int, reach: int, quantiles: Sequence[float] | None = None) -> None:
        owner = type(self).__name__
        self.horizon = positive_integer(owner, "horizon", horizon)
        self.reach = positive_integer(owner, "reach", reach)
        self.quantiles = None if quantiles is None else tuple(quantiles)

    def fit(self, series: Sequence[Series]) -> Baseline:
        """Learn from all rows of the series; all of their targets are the training part.

        Raises
        ------
        InputError
            If no series has a whole window of ``reach + horizon`` rows.
        """
        self._scales = [_center_and_scale(one.target) for one in series]
        origins = [np.arange(self.reach, len(one.target) - self.horizon + 1) for one in series]
        if not any(map(len, origins)):
            longest = max((len(one.target) for one in series), default=0)
            raise InputError(
                f"{self.name}: the longest series has {longest} rows to learn from; expected at "
                f"least {self.reach + self.horizon} (shorten context or horizon)"
            )
        errors = self._learn(series, origins)
        if self.quantiles is not None:
            levels = np.asarray(self.quantiles)
            self._shift = np.moveaxis(np.quantile(errors, levels, axis=0, method="weibull"), 0, -1)
        return self

    def point(self, series: Series, origins: ArrayLike, index: int = 0) -> Array:
        """Forecast without an interval.

        Parameters
        ----------
        series
            One of those of `fit`, grown perhaps.
        origins : (O,) whole numbers
            From ``reach`` to the length of the target.
        index : int
            Which of the series of `fit` it is.

        Returns
        -------
        array (O, horizon, n), float64
        """
        rows = integer_array(
            self.name, "origins", origins, ("origins",), self.reach, len(series.target)
        )
        return self._point(series, rows, index)

    def predict(self, series: Series, origins: ArrayLike, index: int = 0) -> Array:
        """Forecast with quantiles: (O, horizon, n, Q); without levels Q is 1, the point forecast.

        Arguments as in `point`.
        """
        point = self.point(series, origins, index)[..., None]
        if self.quantiles is None:
            return point
        shifted: Array = point + self._shift * self._scales[index][1][:, None]
        return shifted

    def _learn(self, series: Sequence[Series], origins: list[Array]) -> Array:
        """Learn, and return the errors (M, horizon, n), each divided by its series' scale."""
        return self._scaled_errors(
            series, origins, [self._point(*args) for args in _numbered(series, origins)]
        )

    def _scaled_errors(
        self, series: Sequence[Series], origins: list[Array], points: list[Array]
    ) -> Array:
        found = [
            (_futures(one.target, rows, self.horizon) - point) / scale[1]
            for one, rows, point, scale in zip(series, origins, points, self._scales, strict=True)
        ]
        return np.concatenate(found)

    def _point(self, series: Series, origins: Array, index: int) -> Array:
        raise NotImplementedError


class SeasonalNaive(Baseline):
    """What was one season ago comes again: step h is ``y[k - season + h mod season]``."""

    name = "seasonal-naive"

    def __init__(
        self, horizon: int, season: int = 1, quantiles: Sequence[float] | None = None
    ) -> None:
        super().__init__(
            horizon, positive_integer(type(self).__name__, "season", season), quantiles
        )

    def _point(self, series: Series, origins: Array, index: int) -> Array:
        season = self.reach
        steps = np.arange(self.horizon) % season - season
        forecast: Array = np.asarray(series.target, np.float64)[origins[:, None] + steps]
        return forecast


class Persistence(SeasonalNaive):
    """The last value stays: seasonal-naive with a season of one step."""

    name = "persistence"

    def __init__(self, horizon: int, quantiles: Sequence[float] | None = None) -> None:
        super().__init__(horizon, 1, quantiles)


class RidgeOnLags(Baseline):
    """Linear regression with a squared penalty, one equation for each step ahead ("direct").

    It reads what an LSTM with this context reads: the last ``context`` rows of target and past
    covariates, and the known covariates of these rows and of the steps ahead. Each target is
    standardized by the mean and deviation that its series had in the training part, each input
    over all windows; several series share the equations. The penalty is the best of 15 between
    0.01 and 100,000 by leave-one-out cross-validation (scikit-learn's ``RidgeCV``). More than
    20,000 windows are thinned out evenly.

    Raises
    ------
    InputError
        If scikit-learn is missing.
    """

    name = "ridge on lags"

    def __init__(
        self, context: int, horizon: int, quantiles: Sequence[float] | None = None
    ) -> None:
        super().__init__(
            horizon, positive_integer(type(self).__name__, "context", context), quantiles
        )

    def _learn(self, series: Sequence[Series], origins: list[Array]) -> Array:
        ridge, ridge_cv = _scikit_learn()
        total = sum(map(len, origins))
        every = -(-total // _MOST_WINDOWS)
        origins = [rows[::-1][::every][::-1] for rows in origins]  # the newest one is kept
        x = np.concatenate([self._inputs(*args) for args in _numbered(series, origins)])
        y = np.concatenate(
            [
                (_futures(one.target, rows, self.horizon) - center) / scale
                for one, rows, (center, scale) in zip(series, origins, self._scales, strict=True)
            ]
        )
        steps = y.shape
        y = y.reshape(len(y), -1)
        self._x_center, self._x_scale = _center_and_scale(x)
        x = (x - self._x_center) / self._x_scale
        # one window cannot be left out
        fitted = (ridge_cv(alphas=_PENALTIES) if len(x) > 1 else ridge()).fit(x, y)
        self.penalty_ = float(getattr(fitted, "alpha_", 1.0))
        self._weight = fitted.coef_.reshape(y.shape[1], -1).T
        self._bias = np.asarray(fitted.intercept_).reshape(-1)
        if self.quantiles is None:
            return np.zeros(steps)
        errors = y - x @ self._weight - self._bias  # where a block has no other to learn from
        block = np.concatenate([np.arange(len(k)) * _BLOCKS // max(len(k), 1) for k in origins])
        place, whose = (
            np.concatenate(origins),
            np.repeat(np.arange(len(series)), [*map(len, origins)]),
        )
        for number in range(_BLOCKS):
            held_out = block == number
            others = ~held_out
            for one in range(len(series)):  # windows that share a target with the block
                mine = place[held_out & (whose == one)]
                if len(mine):
                    near = (place > mine[0] - self.horizon) & (place < mine[-1] + self.horizon)
                    others &= ~(near & (whose == one))
            if held_out.any() and others.any():
                model = ridge(alpha=self.penalty_).fit(x[others], y[others])
                errors[held_out] = y[held_out] - model.predict(x[held_out]).reshape(-1, y.shape[1])
        shaped: Array = errors.reshape(steps)
        return shaped

    def _inputs(self, series: Series, origins: Array, index: int) -> Array:
        """Each window as one row of numbers."""
        center, scale = self._scales[index]
        back = origins[:, None] + np.arange(-self.reach, 0)
        ahead = origins[:, None] + np.arange(-self.reach, self.horizon)
        target = (np.asarray(series.target, np.float64)[back] - center) / scale
        parts = [target, np.asarray(series.past)[back]]
        if series.known.shape[1]:
            parts.append(np.asarray(series.known)[ahead])
        return np.concatenate([part.reshape(len(origins), -1) for part in parts], axis=1)

    def _point(self, series: Series, origins: Array, index: int) -> Array:
        center, scale = self._scales[index]
        count = series.target.shape[1]
        forecast = np.empty((len(origins), self.horizon, count))
        for begin in range(0, len(origins), _AT_ONCE):
            some = origins[begin : begin + _AT_ONCE]
            x = (self._inputs(series, some, index) - self._x_center) / self._x_scale
            y = x @ self._weight + self._bias
            forecast[begin : begin + _AT_ONCE] = y.reshape(len(some), self.horizon, count)
        forecast *= scale
        forecast += center
        return forecast


def _numbered(series: Sequence[Any], origins: list[Array]) -> list[tuple[Any, Array, int]]:
    return [(one, rows, k) for k, (one, rows) in enumerate(zip(series, origins, strict=True))]


def _futures(target: Array, origins: Array, horizon: int) -> Array:
    """Return what came after each origin: (O, horizon, n)."""
    future: Array = np.asarray(target, np.float64)[origins[:, None] + np.arange(horizon)]
    return future


def _center_and_scale(rows: Array) -> tuple[Array, Array]:
    """Return each column's mean and standard deviation; 1 where it never changes."""
    rows = np.asarray(rows, np.float64)
    if not len(rows):
        return np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    center, scale = rows.mean(axis=0), rows.std(axis=0)
    constant = scale <= 1e-12 * np.abs(center)  # but for rounding
    return center, np.where(constant, 1.0, scale)


def _scikit_learn() -> tuple[Any, Any]:
    try:
        linear_model = import_module("sklearn.linear_model")
    except ImportError:
        raise InputError(
            'ridge on lags: scikit-learn is missing; install it: pip install "lstmkit[tasks]"'
        ) from None
    return linear_model.Ridge, linear_model.RidgeCV
