"""aeon's own checks of our adapters, whole, and what the checks do not look at."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from aeon.testing.estimator_checking import check_estimator

import lstmkit as lk
from lstmkit.shapes import InputError
from lstmkit.tasks import aeon

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.filterwarnings("default"),  # the checks warn on purpose, and so does aeon itself
]

SMALL = {"hidden_size": 4, "epochs": 3, "batch_size": 4, "random_state": 0}
# Less than this would mean that checks were left out; a later aeon may have more.
CHECKS = {aeon.LSTMClassifier: 42, aeon.LSTMRegressor: 42, aeon.LSTMForecaster: 28}


@pytest.mark.parametrize("adapter", CHECKS, ids=lambda adapter: adapter.__name__)
def test_every_check_of_aeon_passes(adapter):
    results = check_estimator(adapter)
    failed = {check: result for check, result in results.items() if result != "PASSED"}
    assert not failed, "\n".join(f"{check}: {result}" for check, result in failed.items())
    assert len(results) >= CHECKS[adapter]
    print(f"aeon's checks of {adapter.__name__}: {len(results)} of {len(results)} passed")


def test_a_defect_would_be_found():
    """The same checks on a classifier that loses the last answer."""

    class Defect(aeon.LSTMClassifier):
        def _predict(self, X):
            return super()._predict(X)[:-1]

    results = check_estimator(Defect, use_first_parameter_set=True)
    assert any("check_classifier_output" in c for c, r in results.items() if r != "PASSED")


def test_the_examples():
    assert doctest.testmod(aeon).failed == 0


def test_channels_and_lengths_arrive_as_they_are():
    """The adapter's predictions are the estimator's own, on the transposed sequences."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(2, length)) for length in (5, 9, 7, 6, 8, 10)]
    y = np.array(["a", "b"] * 3)
    adapted = aeon.LSTMClassifier(**SMALL).fit(X, y)
    own = lk.SequenceClassifier(**SMALL).fit([x.T for x in X], y)
    np.testing.assert_array_equal(adapted.predict_proba(X), own.predict_proba([x.T for x in X]))
    values = np.arange(6.0)
    adapted = aeon.LSTMRegressor(**SMALL).fit(X, values)
    own = lk.SequenceRegressor(**SMALL).fit([x.T for x in X], values)
    np.testing.assert_array_equal(adapted.predict(X), own.predict([x.T for x in X]))


@pytest.mark.parametrize(
    ("adapter", "estimator"),
    [
        (aeon.LSTMClassifier, lk.SequenceClassifier),
        (aeon.LSTMRegressor, lk.SequenceRegressor),
    ],
)
def test_the_parameters_are_the_estimators(adapter, estimator):
    assert adapter().get_params() == estimator().get_params()


def test_missing_values_by_choice():
    X = np.random.default_rng(0).normal(size=(6, 2, 8))
    X[0, 0, 3] = np.nan
    y = np.array([0, 1] * 3)
    with pytest.raises(ValueError, match="missing values"):
        aeon.LSTMClassifier(**SMALL).fit(X, y)
    assert not aeon.LSTMClassifier().get_tag("capability:missing_values")
    for missing in ("mask", "fill"):
        model = aeon.LSTMClassifier(**SMALL, missing=missing)
        assert model.get_tag("capability:missing_values")
        assert model.fit(X, y).predict(X).shape == (6,)


def test_a_fitted_model_is_saved_and_opened(tmp_path):
    X = np.random.default_rng(0).normal(size=(6, 2, 8))
    model = aeon.LSTMClassifier(**SMALL).fit(X, np.array([0, 1] * 3))
    model.model_.save(tmp_path / "model.safetensors")
    opened = lk.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(
        opened.predict_proba(X.transpose(0, 2, 1)), model.predict_proba(X)
    )


def series() -> tuple[np.ndarray, np.ndarray]:
    """Give y, and what is known ahead: it drives y in the same step."""
    known = np.random.default_rng(0).normal(size=120)
    return np.sin(np.arange(120) / 4) + 3 * known, known


def test_a_forecast_is_the_value_horizon_steps_ahead():
    y, _ = series()
    model = aeon.LSTMForecaster(context=6, horizon=3, **SMALL).fit(y)
    own = lk.Forecaster(context=6, horizon=3, **SMALL).fit(y)
    assert model.predict(y) == pytest.approx(float(np.ravel(own.predict(y))[2]), rel=1e-6)
    ahead = aeon.LSTMForecaster(context=6, **SMALL).series_to_series_forecast(y, 3)
    np.testing.assert_allclose(ahead, np.ravel(own.predict(y)), rtol=1e-6)


def test_what_is_known_ahead_is_used():
    y, known = series()
    model = aeon.LSTMForecaster(context=4, horizon=1, hidden_size=16, epochs=100, random_state=0)
    model.fit(y[:100], exog=known[:100])
    errors = [model.predict(y[:k], exog=known[: k + 1]) - y[k] for k in range(100, 120)]
    assert np.abs(errors).mean() < np.abs(3 * known).mean() / 2
    with pytest.raises(InputError, match=r"exog has 100 rows; expected 101"):
        model.predict(y[:100], exog=known[:100])
    with pytest.raises(InputError, match=r"exog has 90 rows; expected a row for each of the 100"):
        model.fit(y[:100], exog=known[:90])
