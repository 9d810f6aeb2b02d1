"""lstmkit's estimators as aeon's: for its pipelines, its archives and its benchmarks.

aeon has channels before time: a collection is an array (n, channels, T) or a list of arrays
(channels, T_k). Here it is turned into (n, T, channels) for lstmkit's own estimator, which
stands in ``model_`` after ``fit``. Parameters are those of that estimator.

Needs aeon: ``pip install "lstmkit[aeon]"``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmkit.shapes import Array, InputError
from lstmkit.tasks.adapting import constructor, made
from lstmkit.tasks.classifier import SequenceClassifier
from lstmkit.tasks.forecaster import Forecaster
from lstmkit.tasks.regressor import SequenceRegressor

try:
    from aeon.classification import BaseClassifier
    from aeon.forecasting import BaseForecaster
    from aeon.forecasting.base import (
        DirectForecastingMixin,
        IterativeForecastingMixin,
        SeriesToSeriesForecastingMixin,
    )
    from aeon.regression import BaseRegressor
except ImportError as error:
    raise ImportError(
        f'lstmkit.tasks.aeon: aeon cannot be imported ({error}); pip install "lstmkit[aeon]"'
    ) from None

_COLLECTIONS = {
    "X_inner_type": ["np-list", "numpy3D"],
    "capability:multivariate": True,
    "capability:unequal_length": True,
    "capability:missing_values": False,  # by the parameter `missing`
    "algorithm_type": "deeplearning",
}
_FORECASTS = {"capability:exogenous": True, "capability:horizon": True}
_SMALL: dict[str, Any] = {"hidden_size": 4, "epochs": 3, "batch_size": 4}


def _time_first(X: Any) -> Any:
    """Channels before time to time before channels."""
    if isinstance(X, list):
        return [np.ascontiguousarray(sequence.T) for sequence in X]
    return np.ascontiguousarray(X.transpose(0, 2, 1))


class LSTMClassifier(BaseClassifier):
    """`lstmkit.tasks.SequenceClassifier` for aeon's collections.

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
    >>> X = np.random.default_rng(0).normal(size=(8, 2, 10))  # 8 sequences, 2 channels, 10 steps
    >>> y = np.tile(["a", "b"], 4)
    >>> model = LSTMClassifier(hidden_size=4, epochs=2, random_state=0).fit(X, y)
    >>> model.predict_proba(X).shape
    (8, 2)
    """

    _tags = _COLLECTIONS

    __init__ = constructor(SequenceClassifier)

    def _begin(self) -> None:
        super().__init__()
        self.set_tags(**{"capability:missing_values": self.missing != "error"})

    def _fit(self, X: Any, y: Array) -> LSTMClassifier:
        self.model_ = made(SequenceClassifier, self).fit(_time_first(X), y)
        return self

    def _predict(self, X: Any) -> Any:
        return self.model_.predict(_time_first(X))

    def _predict_proba(self, X: Any) -> Any:
        return self.model_.predict_proba(_time_first(X))

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> Any:
        small = {**_SMALL, "random_state": 0}
        return [small, {**small, "missing": "mask", "bidirectional": True}]


class LSTMRegressor(BaseRegressor):
    """`lstmkit.tasks.SequenceRegressor` for aeon's collections.

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
    >>> X = np.random.default_rng(0).normal(size=(8, 2, 10))  # 8 sequences, 2 channels, 10 steps
    >>> model = LSTMRegressor(hidden_size=4, epochs=2, random_state=0).fit(X, X.mean(axis=(1, 2)))
    >>> model.predict(X).shape
    (8,)
    """

    _tags = _COLLECTIONS

    __init__ = constructor(SequenceRegressor)

    def _begin(self) -> None:
        super().__init__()
        self.set_tags(**{"capability:missing_values": self.missing != "error"})

    def _fit(self, X: Any, y: Array) -> LSTMRegressor:
        self.model_ = made(SequenceRegressor, self).fit(_time_first(X), y)
        return self

    def _predict(self, X: Any) -> Any:
        return self.model_.predict(_time_first(X))

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> Any:
        small = {**_SMALL, "random_state": 0}
        return [small, {**small, "missing": "mask", "bidirectional": True}]


class LSTMForecaster(
    DirectForecastingMixin,
    IterativeForecastingMixin,
    SeriesToSeriesForecastingMixin,
    BaseForecaster,
):
    """`lstmkit.tasks.Forecaster` for aeon: one series, and the value ``horizon`` steps after it.

    ``predict`` and ``forecast`` return that one value, as aeon has it;
    ``series_to_series_forecast(y, steps)`` trains one network and returns the values of all steps.

    Parameters
    ----------
    context, horizon, hidden_size, ...
        Those of `lstmkit.tasks.Forecaster`, but for quantiles, calendar and missing: aeon's series
        have no timestamps and no gaps, and its forecasts are points. ``transform``, which is the
        name of a method there, is called ``target_transform``.

    Attributes
    ----------
    model_ : Forecaster
        What was fitted; ``model_.save(path)`` writes it, `lstmkit.load` opens it.

    Notes
    -----
    ``exog`` holds what is known ahead: a row a time point, as many rows as ``y`` has to fit, and
    ``horizon`` rows more, those of the steps to come, to predict or forecast.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.sin(np.arange(60) / 3)
    >>> model = LSTMForecaster(context=8, horizon=2, hidden_size=4, members=1, epochs=2)
    >>> type(model.fit(y).predict(y))
    <class 'float'>
    >>> model.series_to_series_forecast(y, 2).shape
    (2,)
    """

    _tags = _FORECASTS

    __init__ = constructor(Forecaster, leave_out=("quantiles", "calendar", "missing"))

    def _begin(self) -> None:
        super().__init__(horizon=self.horizon, axis=0)

    def _fit(self, y: Array, exog: Array | None) -> LSTMForecaster:
        self.model_ = self._learned(y, exog, self.horizon)
        return self

    def _predict(self, y: Array, exog: Array | None) -> float:
        return float(self._ahead(self.model_, y, exog, self.horizon)[-1])

    def _series_to_series_forecast(
        self, y: Any, prediction_horizon: int, exog: Any = None
    ) -> Array:
        y, exog = self._preprocess_forecasting_input(y, exog, 1, True)
        model = self._learned(y, exog, prediction_horizon)
        return self._ahead(model, y, exog, prediction_horizon)

    def _learned(self, y: Array, exog: Array | None, horizon: int) -> Any:
        columns = {"y": y[:, 0]}
        if exog is not None:
            if len(exog) < len(y):
                raise InputError(
                    f"LSTMForecaster: exog has {len(exog)} rows; expected a row for each of the "
                    f"{len(y)} time points of y"
                )
            columns |= _known(exog[: len(y)])
        model = made(Forecaster, self, horizon=horizon)
        return model.fit(columns, target="y", future=tuple(columns)[1:])

    @staticmethod
    def _ahead(model: Any, y: Array, exog: Array | None, horizon: int) -> Array:
        """Forecast the steps after y: (horizon,)."""
        columns = {"y": y[:, 0]}
        future = None
        if exog is not None:
            if len(exog) != len(y) + horizon:
                raise InputError(
                    f"LSTMForecaster: exog has {len(exog)} rows; expected {len(y) + horizon}: one "
                    f"for each of the {len(y)} time points of y and of the {horizon} to forecast"
                )
            columns |= _known(exog[: len(y)])
            future = _known(exog[len(y) :])
        return np.asarray(model.predict(columns, future)["y"], np.float64)

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> Any:
        small = {**_SMALL, "context": 4, "members": 1, "random_state": 0}
        return [small, {**small, "horizon": 2}]


def _known(exog: Array) -> dict[str, Array]:
    return {f"exog {number}": column for number, column in enumerate(exog.T)}
