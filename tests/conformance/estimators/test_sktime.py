"""sktime's own checks of our adapters, whole, and what the checks do not look at."""

from __future__ import annotations

import doctest

import numpy as np
import pandas as pd
import pytest
from sktime.utils.estimator_checks import check_estimator

import lstmkit as lk
from lstmkit.shapes import InputError
from lstmkit.tasks import sktime

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.filterwarnings("default"),  # the checks warn on purpose, and so does sktime itself
]

SMALL = {"hidden_size": 4, "epochs": 3, "batch_size": 4, "random_state": 0}
# Less than this would mean that checks were left out; a later sktime may have more.
CHECKS = {sktime.LSTMClassifier: 258, sktime.LSTMRegressor: 146, sktime.LSTMForecaster: 722}


@pytest.mark.parametrize("adapter", CHECKS, ids=lambda adapter: adapter.__name__)
def test_every_check_of_sktime_passes(adapter):
    results = check_estimator(adapter, verbose=False)
    failed = {check: result for check, result in results.items() if result != "PASSED"}
    assert not failed, "\n".join(f"{check}: {result!r}" for check, result in failed.items())
    assert len(results) >= CHECKS[adapter]
    print(f"sktime's checks of {adapter.__name__}: {len(results)} of {len(results)} passed")


def test_a_defect_would_be_found():
    class Defect(sktime.LSTMForecaster):
        def _predict(self, fh, X):
            return super()._predict(fh, X)[::-1]

    results = check_estimator(Defect(context=3, **SMALL), verbose=False)
    assert any("predict_time_index" in c for c, r in results.items() if r != "PASSED")


def test_the_examples():
    assert doctest.testmod(sktime).failed == 0


def panel(lengths=(5, 9, 7, 6, 8, 10)) -> list[pd.DataFrame]:
    rng = np.random.default_rng(0)
    return [pd.DataFrame(rng.normal(size=(length, 2)), columns=["a", "b"]) for length in lengths]


def test_channels_and_lengths_arrive_as_they_are():
    X, y = panel(), np.array(["a", "b"] * 3)
    arrays = [frame.to_numpy() for frame in X]
    adapted = sktime.LSTMClassifier(**SMALL).fit(X, y)
    own = lk.SequenceClassifier(**SMALL).fit(arrays, y)
    np.testing.assert_array_equal(adapted.predict_proba(X), own.predict_proba(arrays))
    # The layout of sktime's arrays: channels before time.
    cube = np.random.default_rng(0).normal(size=(6, 2, 8))
    adapted = sktime.LSTMRegressor(**SMALL).fit(cube, np.arange(6.0))
    own = lk.SequenceRegressor(**SMALL).fit(cube.transpose(0, 2, 1), np.arange(6.0))
    np.testing.assert_array_equal(adapted.predict(cube), own.predict(cube.transpose(0, 2, 1)))


def test_missing_values_by_choice():
    X, y = panel(), np.array([0, 1] * 3)
    X[0].iloc[2, 1] = np.nan
    with pytest.raises(ValueError, match="missing values"):
        sktime.LSTMClassifier(**SMALL).fit(X, y)
    for missing in ("mask", "fill"):
        model = sktime.LSTMClassifier(**SMALL, missing=missing)
        assert model.get_tag("capability:missing_values")
        assert model.fit(X, y).predict(X).shape == (6,)


def months(count: int = 72) -> pd.Series:
    index = pd.period_range("2015-01", periods=count, freq="M", name="month")
    steps = np.arange(count)
    return pd.Series(10 + steps / 6 + 3 * np.sin(steps * np.pi / 6), index=index, name="sales")


def forecaster(**given):
    return sktime.LSTMForecaster(**{"context": 12, "members": 1, **SMALL, **given})


def test_a_relative_and_an_absolute_horizon_agree():
    y = months()
    relative = forecaster().fit(y, fh=[1, 3]).predict()
    absolute = forecaster().fit(y, fh=pd.PeriodIndex(["2021-01", "2021-03"], freq="M")).predict()
    pd.testing.assert_series_equal(relative, absolute)
    assert relative.index.astype(str).tolist() == ["2021-01", "2021-03"]
    assert relative.name == "sales"


def test_the_forecast_is_the_estimators_own():
    y = months()
    times = y.index.to_timestamp()
    own = lk.Forecaster(12, 3, quantiles=(0.1, 0.5, 0.9), members=1, **SMALL)
    own.fit(pd.DataFrame({"sales": y.to_numpy()}, index=times))
    shown = own.predict()
    adapted = forecaster(quantiles=(0.1, 0.5, 0.9)).fit(y, fh=[1, 2, 3])
    found = adapted.predict_quantiles(alpha=[0.1, 0.5, 0.9])
    np.testing.assert_allclose(found.to_numpy(), shown.filter(like="sales").to_numpy(), rtol=1e-6)
    np.testing.assert_array_equal(found["sales", 0.5], adapted.predict())


def test_the_past_is_refused():
    for fh in ([0], [-2, 1]):
        with pytest.raises(NotImplementedError, match="can not perform in-sample prediction"):
            forecaster().fit(months(), fh=fh)


def test_levels_that_were_not_learned():
    """Between and beyond them the line is that of a normal distribution, and never crosses."""
    from statistics import NormalDist

    normal = NormalDist(2.0, 3.0)
    learned, wanted = (0.1, 0.5, 0.9), [0.01, 0.1, 0.3, 0.5, 0.8, 0.999]
    values = np.array([[normal.inv_cdf(level) for level in learned]])
    expected = [[normal.inv_cdf(level) for level in wanted]]
    np.testing.assert_allclose(sktime._at_levels(values, learned, wanted), expected, rtol=1e-12)

    model = forecaster().fit(months(), fh=[1, 2])
    wide = model.predict_interval(coverage=[0.5, 0.95])["sales"]
    assert (wide[0.95, "lower"] <= wide[0.5, "lower"]).all()
    assert (wide[0.5, "upper"] <= wide[0.95, "upper"]).all()


def test_without_quantiles_there_are_points_alone():
    model = forecaster(quantiles=None).fit(months(), fh=1)
    assert not model.get_tag("capability:pred_int")
    assert np.isfinite(model.predict()).all()
    with pytest.raises(NotImplementedError, match="does not have the capability"):
        model.predict_interval()


def test_update_moves_the_end_and_learns_anew_on_demand():
    y = months()
    model = forecaster().fit(y[:60], fh=[1, 2])
    before = model.model_
    model.update(y[60:], update_params=False)
    assert model.model_ is before
    assert model.predict().index.astype(str).tolist() == ["2021-01", "2021-02"]
    model.update(y[60:], update_params=True)
    whole = forecaster().fit(y, fh=[1, 2])
    pd.testing.assert_series_equal(model.predict(), whole.predict())


def test_what_is_known_ahead_is_used():
    y = months(120)
    X = pd.DataFrame({"price": np.random.default_rng(0).normal(size=120)}, index=y.index)
    y = y + 8 * X["price"]
    model = sktime.LSTMForecaster(context=4, hidden_size=16, epochs=100, random_state=0)
    model.fit(y[:100], X=X[:100], fh=[1, 2])
    cheap, dear = X[100:102].copy(), X[100:102].copy()
    cheap["price"], dear["price"] = -1.0, 1.0
    assert ((model.predict(X=dear) - model.predict(X=cheap)) > 8).all()
    with pytest.raises(InputError, match=r"X has no row at 2023-06; expected one for each step"):
        model.predict(X=X[100:101])


def test_several_targets():
    y = pd.DataFrame({"a": months(), "b": -months()})
    model = forecaster().fit(y, fh=[1, 2])
    assert model.predict().columns.tolist() == ["a", "b"]
    assert (model.predict()["a"] > 0).all()
    assert (model.predict()["b"] < 0).all()
    found = model.predict_quantiles(alpha=[0.5, 0.9])
    assert found.columns.tolist() == [("a", 0.5), ("a", 0.9), ("b", 0.5), ("b", 0.9)]


def test_business_days_have_weeks_of_five():
    index = pd.bdate_range("2024-01-01", periods=72, name="day")
    y = pd.Series(months().to_numpy(), index=index)
    for calendar in (True, False):
        found = forecaster(calendar=calendar).fit(y, fh=[1, 2]).predict()
        assert found.index.tolist() == pd.bdate_range(index[-1], periods=3)[1:].tolist()


def test_a_missing_day_is_named():
    index = pd.date_range("2024-01-01", periods=73, name="day").delete(30)
    y = pd.Series(months().to_numpy(), index=index)
    with pytest.raises(InputError, match="2024-01-3"):
        forecaster().fit(y, fh=1)
