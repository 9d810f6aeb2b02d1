"""lstmkit's estimators as sktime's: for its pipelines, its splitters and its forecasting horizon.

What sktime hands over is turned into lstmkit's layout (n, T, channels) and given to lstmkit's own
estimator, which stands in ``model_`` after ``fit``. Parameters are those of that estimator.

Needs sktime: ``pip install "lstmkit[sktime]"``.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

from lstmkit.shapes import Array, InputError
from lstmkit.tasks.adapting import constructor, made
from lstmkit.tasks.classifier import SequenceClassifier
from lstmkit.tasks.forecaster import Forecaster
from lstmkit.tasks.regressor import SequenceRegressor

try:
    import pandas as pd
    from sktime.classification.base import BaseClassifier
    from sktime.datatypes import update_data
    from sktime.forecasting.base import BaseForecaster, ForecastingHorizon
    from sktime.regression.base import BaseRegressor
except ImportError as error:
    raise ImportError(
        f'lstmkit.tasks.sktime: sktime cannot be imported ({error}); pip install "lstmkit[sktime]"'
    ) from None

_PANELS = {
    "authors": "the lstmkit authors",
    "maintainers": "the lstmkit authors",
    "X_inner_mtype": "df-list",
    "y_inner_mtype": "numpy1D",
    "capability:multivariate": True,
    "capability:unequal_length": True,
    "capability:missing_values": False,  # by the parameter `missing`
    "capability:random_state": True,
    "property:randomness": "derandomized",
}
_SMALL: dict[str, Any] = {"hidden_size": 4, "epochs": 3, "batch_size": 4, "random_state": 0}
_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


def _sequences(X: Any) -> list[Array]:
    return [frame.to_numpy() for frame in X]


class LSTMClassifier(BaseClassifier):
    """`lstmkit.tasks.SequenceClassifier` for sktime's panels, of equal lengths or not.

    Parameters
    ----------
    hidden_size, num_layers, ...
        Those of `lstmkit.tasks.SequenceClassifier`. With ``missing="mask"`` or ``"fill"`` the
        tag ``capability:missing_values`` is true.

    Attributes
    ----------
    model_ : SequenceClassifier
        What was fitted; ``model_.save(path)`` writes it, `lstmkit.load` opens it.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmkit.tasks.sktime import LSTMClassifier
    >>> X = np.random.default_rng(0).normal(size=(8, 2, 10))  # 8 sequences, 2 channels, 10 steps
    >>> y = np.tile(["a", "b"], 4)
    >>> model = LSTMClassifier(hidden_size=4, epochs=2, random_state=0).fit(X, y)
    >>> model.predict_proba(X).shape
    (8, 2)
    """

    _tags = {**_PANELS, "capability:predict_proba": True}  # noqa: RUF012

    __init__ = constructor(SequenceClassifier)

    def _begin(self) -> None:
        super().__init__()
        self.set_tags(**{"capability:missing_values": self.missing != "error"})

    def _fit(self, X: Any, y: Array) -> LSTMClassifier:
        self.model_ = made(SequenceClassifier, self).fit(_sequences(X), y)
        return self

    def _predict(self, X: Any) -> Any:
        return self.model_.predict(_sequences(X))

    def _predict_proba(self, X: Any) -> Any:
        return self.model_.predict_proba(_sequences(X))

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> Any:
        """Return the parameters of the instances that sktime's checks use."""
        return [_SMALL, {**_SMALL, "missing": "mask", "bidirectional": True}]


class LSTMRegressor(BaseRegressor):
    """`lstmkit.tasks.SequenceRegressor` for sktime's panels, of equal lengths or not.

    Parameters
    ----------
    hidden_size, num_layers, ...
        Those of `lstmkit.tasks.SequenceRegressor`. With ``missing="mask"`` or ``"fill"`` the
        tag ``capability:missing_values`` is true.

    Attributes
    ----------
    model_ : SequenceRegressor
        What was fitted; ``model_.save(path)`` writes it, `lstmkit.load` opens it.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmkit.tasks.sktime import LSTMRegressor
    >>> X = np.random.default_rng(0).normal(size=(8, 2, 10))  # 8 sequences, 2 channels, 10 steps
    >>> model = LSTMRegressor(hidden_size=4, epochs=2, random_state=0).fit(X, X.mean(axis=(1, 2)))
    >>> model.predict(X).shape
    (8,)
    """

    _tags = _PANELS

    __init__ = constructor(SequenceRegressor)

    def _begin(self) -> None:
        super().__init__()
        self.set_tags(**{"capability:missing_values": self.missing != "error"})

    def _fit(self, X: Any, y: Array) -> LSTMRegressor:
        self.model_ = made(SequenceRegressor, self).fit(_sequences(X), y)
        return self

    def _predict(self, X: Any) -> Any:
        return self.model_.predict(_sequences(X))

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> Any:
        """Return the parameters of the instances that sktime's checks use."""
        return [_SMALL, {**_SMALL, "missing": "mask", "bidirectional": True}]


class LSTMForecaster(BaseForecaster):
    """`lstmkit.tasks.Forecaster` for sktime: several targets, X known ahead, intervals.

    One network for all steps of the horizon, which ``fit`` must be given; it may be relative or
    absolute, with holes or not, but not in the sample: an LSTM needs the steps before those that it
    forecasts, so that is refused. Of several series (a panel or a hierarchy) each has a network of
    its own, as sktime does it; for one network over all series use `lstmkit.tasks.Forecaster`.

    Parameters
    ----------
    context, hidden_size, ...
        Those of `lstmkit.tasks.Forecaster`, but for the horizon.
    quantiles : tuple of float, optional
        The levels that the network learns. ``predict`` gives the median; ``predict_quantiles`` and
        ``predict_interval`` take any level: between those learned, and beyond the outermost two,
        the value is linear in the normal distribution's quantile. None: points alone, and the tag
        ``capability:pred_int`` is false.
    target_transform : {"auto", "none", "sqrt", "log"}
        The ``transform`` of `lstmkit.tasks.Forecaster`: in sktime that is the name of a method.

    Attributes
    ----------
    model_ : Forecaster
        What was fitted; ``model_.save(path)`` writes it, `lstmkit.load` opens it.

    Notes
    -----
    ``update(y, X)`` moves the end of what is known, and with ``update_params=True`` (sktime's
    default) learns anew from all of it. X must hold every step from the end of y to the farthest
    one of the horizon.

    Examples
    --------
    >>> import pandas as pd
    >>> from lstmkit.tasks.sktime import LSTMForecaster
    >>> index = pd.period_range("2020-01", periods=60, freq="M", name="month")
    >>> y = pd.Series(range(60), index=index, dtype=float)
    >>> model = LSTMForecaster(context=12, hidden_size=4, members=1, epochs=2)
    >>> model.fit(y, fh=[1, 3]).predict_interval(coverage=0.8).index.astype(str).tolist()
    ['2025-01', '2025-03']
    """

    _tags = {  # noqa: RUF012
        "authors": "the lstmkit authors",
        "maintainers": "the lstmkit authors",
        "y_inner_mtype": "pd.DataFrame",
        "X_inner_mtype": "pd.DataFrame",
        "capability:multivariate": True,
        "capability:exogenous": True,
        "capability:categorical_in_X": False,
        "capability:insample": False,
        "capability:pred_int": True,
        "capability:pred_int:insample": False,
        "capability:missing_values": False,  # by the parameter `missing`
        "capability:non_contiguous_X": False,
        "capability:update": True,
        "capability:random_state": True,
        "property:randomness": "derandomized",
        "requires-fh-in-fit": True,
    }
    _config = {"remember_data": False}  # noqa: RUF012  # the series is kept here, once

    __init__ = constructor(Forecaster, leave_out=("horizon",), quantiles=_LEVELS)

    def _begin(self) -> None:
        self._y = self._X = None
        super().__init__()
        self.set_tags(
            **{
                "capability:missing_values": self.missing != "error",
                "capability:pred_int": self.quantiles is not None,
            }
        )

    def _fit(self, y: Any, X: Any, fh: Any) -> LSTMForecaster:
        self._cur_y, self._cur_X = y, X
        self._learn(fh)
        return self

    def _update(self, y: Any, X: Any = None, update_params: bool = True) -> LSTMForecaster:
        self._cur_y = update_data(self._cur_y, y)
        if X is not None and self._cur_X is not None:
            self._cur_X = update_data(self._cur_X, X)
        if update_params:
            self._learn(self.fh)
        return self

    def _learn(self, fh: Any) -> None:
        model = made(Forecaster, self, horizon=int(max(self._steps(fh))))
        data, targets, known = self._data()
        self.model_ = model.fit(
            data, time="time" if "time" in data else None, target=targets, future=known
        )

    def _predict(self, fh: Any, X: Any) -> Any:
        values = self._forecast(fh, X, [0.5])[..., 0]
        return pd.DataFrame(values, index=self._index(fh), columns=self._cur_y.columns)

    def _predict_quantiles(self, fh: Any, X: Any, alpha: list[float]) -> Any:
        values = self._forecast(fh, X, alpha)
        columns = pd.MultiIndex.from_product([self._get_varnames(), alpha])
        return pd.DataFrame(values.reshape(len(values), -1), index=self._index(fh), columns=columns)

    def _forecast(self, fh: Any, X: Any, levels: list[float]) -> Array:
        """Forecast the steps of fh at the levels: (steps, targets, levels)."""
        steps = self._steps(fh)
        data, targets, known = self._data()
        ahead = self._ahead(X, int(max(steps))) if known else None
        found = self.model_.predict(data, ahead)
        learned = self.quantiles
        if learned is None:
            values = np.stack([found[name] for name in targets], 1)[..., None]
        else:
            named = [[found[f"{name}_q{level:g}"] for level in learned] for name in targets]
            values = _at_levels(np.moveaxis(np.array(named), 2, 0), learned, levels)
        asked: Array = values[steps - 1]
        return asked

    def _data(self) -> tuple[dict[str, Array], list[str], list[str]]:
        """Return the columns of what is known, and the names of targets and of known ones."""
        y, X = self._cur_y, self._cur_X
        columns = self._times(y.index)
        targets = {f"y{number}": y.iloc[:, number].to_numpy() for number in range(y.shape[1])}
        known: dict[str, Array] = {}
        if X is not None:
            known = self._known(X, y.index)
        return {**columns, **targets, **known}, list(targets), list(known)

    def _ahead(self, X: Any, count: int) -> dict[str, Array]:
        """Return the columns known ahead, for the steps up to the farthest of the horizon."""
        index = self._index(ForecastingHorizon(range(1, count + 1), is_relative=True))
        X = self._cur_X if X is None else update_data(self._cur_X, X)
        return {**self._times(index), **self._known(X, index)}

    def _known(self, X: Any, index: Any) -> dict[str, Array]:
        rows = X.index.get_indexer(index)
        if (rows < 0).any():
            raise InputError(
                f"LSTMForecaster: X has no row at {index[rows < 0][0]}; expected one for each step "
                f"from {index[0]} to {index[-1]}"
            )
        return {f"x{number}": X.iloc[rows, number].to_numpy() for number in range(X.shape[1])}

    def _times(self, index: Any) -> dict[str, Array]:
        """Return the column of dates, if there are dates and the network is to see them."""
        if isinstance(index, pd.PeriodIndex):
            index = index.to_timestamp()
        if not (self.calendar and isinstance(index, pd.DatetimeIndex)):
            return {}
        return {"time": index.tz_localize(None).to_numpy().astype("datetime64[s]")}

    def _index(self, fh: Any) -> Any:
        return fh.to_absolute_index(self.cutoff)

    def _steps(self, fh: Any) -> Array:
        """Return how many steps ahead each of the horizon is: sktime has refused those before 1."""
        return np.asarray(fh.to_relative(self.cutoff).to_numpy(), np.int64)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> Any:
        """Return the parameters of the instances that sktime's checks use."""
        small = {**_SMALL, "context": 3, "members": 1}
        return [small, {**small, "quantiles": None, "missing": "fill"}]


def _at_levels(values: Array, learned: tuple[float, ...], wanted: list[float]) -> Array:
    """Read quantiles off between, and beyond, those learned: (..., Q) to (..., len(wanted)).

    Linear in the quantile z of the normal distribution: exact where errors are normal.
    """
    normal = NormalDist()
    known = np.array([normal.inv_cdf(level) for level in learned])
    asked = np.array([normal.inv_cdf(level) for level in wanted])
    if len(known) == 1:
        return np.repeat(values, len(asked), -1)
    left = np.clip(np.searchsorted(known, asked, "right") - 1, 0, len(known) - 2)
    part = (asked - known[left]) / (known[left + 1] - known[left])
    low, high = values[..., left], values[..., left + 1]
    exact: Array = low + part * (high - low)
    return exact
