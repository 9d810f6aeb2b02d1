"""Persistence, seasonal-naive and ridge on lags: values by hand, and nothing seen of the future."""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
import pytest

from lstmkit.shapes import InputError
from lstmkit.tasks.baselines import Persistence, RidgeOnLags, SeasonalNaive


class Series(NamedTuple):  # as that of tasks/horizon.py
    target: np.ndarray
    past: np.ndarray
    known: np.ndarray


def series(target, past=None, known=None, ahead=0):
    target = np.asarray(target, float).reshape(len(target), -1)
    rows = len(target)
    past = np.zeros((rows, 0)) if past is None else np.asarray(past, float).reshape(rows, -1)
    known = np.zeros((rows + ahead, 0)) if known is None else np.asarray(known, float)
    return Series(target, past, known.reshape(rows + ahead, -1))


def noise(rows, seed=0):
    return np.random.default_rng(seed).normal(size=rows)


BASELINES = [
    Persistence(3, (0.1, 0.5, 0.9)),
    SeasonalNaive(3, 4, (0.1, 0.5, 0.9)),
    RidgeOnLags(4, 3, (0.1, 0.5, 0.9)),
]


def test_naive_forecasts_by_hand():
    data = series(np.arange(10.0) ** 2)  # 0 1 4 9 16 25 36 49 64 81
    persistence = Persistence(3).fit([data])
    np.testing.assert_array_equal(persistence.point(data, [4, 10])[..., 0], [[9] * 3, [81] * 3])
    seasonal = SeasonalNaive(5, 3).fit([data])
    forecast = seasonal.predict(data, [5, 10])
    assert forecast.shape == (2, 5, 1, 1)
    np.testing.assert_array_equal(forecast[..., 0, 0], [[4, 9, 16, 4, 9], [49, 64, 81, 49, 64]])


def test_naive_intervals_are_the_quantiles_of_the_errors_in_the_training_part():
    steps = [3.0, 1.0, -2.0, 4.0, 0.0, 5.0, -1.0]  # sorted: -2 -1 0 1 3 4 5
    data = series(np.cumsum([10.0, *steps]))
    forecast = Persistence(1, (0.25, 0.5, 0.75)).fit([data]).predict(data, [8])
    # seven errors: the quantile q stands at place 8 q, so 2, 4 and 6
    np.testing.assert_allclose(forecast[0, 0, 0], 20 + np.array([-1.0, 1.0, 4.0]), rtol=1e-14)


def test_of_several_series_the_errors_count_in_units_of_each_one_s_deviation():
    one = noise(30)
    pair = [series(one), series(1000 * one + 5000)]
    model = Persistence(2, (0.1, 0.9)).fit(pair)
    small, large = (model.predict(data, [20], index) for index, data in enumerate(pair))
    np.testing.assert_allclose(large, 1000 * small + 5000, rtol=1e-10)
    ridge = RidgeOnLags(3, 2, (0.1, 0.9)).fit(pair)
    small, large = (ridge.predict(data, [20], index) for index, data in enumerate(pair))
    np.testing.assert_allclose(large, 1000 * small + 5000, rtol=1e-10)


def test_ridge_finds_a_linear_rule():
    pytest.importorskip("sklearn")
    rows = 300
    known, past = noise(rows, 1), noise(rows, 2)
    target = np.zeros((rows, 2))
    for t in range(2, rows):  # of its lags, of a covariate of the past, of one known ahead
        target[t, 0] = 0.5 * target[t - 2, 0] + 2 * past[t - 1] + 3 * known[t]
        target[t, 1] = 7 + known[t] - known[t - 1]
    data = series(target, past, known)
    ridge = RidgeOnLags(2, 1).fit([data])
    assert ridge.penalty_ == 0.01
    forecast = ridge.point(data, np.arange(2, rows))
    np.testing.assert_allclose(forecast[:, 0], target[2:], atol=2e-3)


def test_ridge_is_scikit_learns_on_standardized_lags():
    linear_model = pytest.importorskip("sklearn.linear_model")
    y = np.cumsum(noise(60, 3))
    context, horizon = 5, 2
    model = RidgeOnLags(context, horizon).fit([series(y)])
    z = (y - y.mean()) / y.std()
    windows = np.lib.stride_tricks.sliding_window_view(z, context + horizon)
    x, future = windows[:, :context], windows[:, context:]
    center, scale = x.mean(axis=0), x.std(axis=0)
    own = linear_model.RidgeCV(alphas=np.logspace(-2, 5, 15)).fit((x - center) / scale, future)
    assert model.penalty_ == own.alpha_
    last = (z[-context:] - center) / scale
    expected = own.predict(last[None])[0] * y.std() + y.mean()
    np.testing.assert_allclose(model.point(series(y), [60])[0, :, 0], expected, rtol=1e-10)


def test_ridge_is_measured_on_what_it_was_not_fitted_to():
    """Pure noise, nearly as many inputs as windows: errors of its own training would be tiny."""
    pytest.importorskip("sklearn")
    data = series(noise(400, 4))
    model = RidgeOnLags(30, 1, (0.1, 0.9))
    model.fit([data._replace(target=data.target[:80], past=data.past[:80], known=data.known[:80])])
    low, high = model.predict(data, np.arange(80, 400))[:, 0, 0].T
    future = data.target[80:, 0]
    assert 0.7 <= np.mean((low <= future) & (future <= high)) <= 0.9


def test_what_ridge_is_measured_on_shares_no_step_with_what_it_was_fitted_to():
    linear_model = pytest.importorskip("sklearn.linear_model")
    data, context, horizon = series(np.cumsum(noise(40, 6))), 3, 4
    model = RidgeOnLags(context, horizon, (0.1, 0.9)).fit([data])
    windows = np.arange(context, 40 - horizon + 1)  # 34 origins, in 5 blocks: 7 7 7 7 6
    errors = model._learn([data], [windows])
    y = (data.target[:, 0] - data.target.mean()) / data.target.std()
    lags = y[windows[:, None] + np.arange(-context, 0)]
    lags = (lags - lags.mean(axis=0)) / lags.std(axis=0)
    future = y[windows[:, None] + np.arange(horizon)]
    for held, near in ((slice(0, 7), slice(0, 10)), (slice(14, 21), slice(11, 24))):
        others = np.ones(34, bool)
        others[near] = False
        own = linear_model.Ridge(alpha=model.penalty_).fit(lags[others], future[others])
        expected = future[held] - own.predict(lags[held])
        np.testing.assert_allclose(errors[held, :, 0], expected, atol=1e-10)


@pytest.mark.parametrize("model", BASELINES, ids=lambda model: model.name)
def test_nothing_after_an_origin_is_seen(model):
    rows, k = 40, 20
    one = series(noise((rows, 2)), noise((rows, 1), 1), noise((rows + 3, 2), 2), ahead=3)
    model.fit([one])
    before = model.predict(one, [k])
    other = [np.array(part) for part in one]
    other[0][k:], other[1][k:], other[2][k + 3 :] = 1e6, -1e6, 1e6
    np.testing.assert_array_equal(model.predict(Series(*other), [k]), before)
    # ... and what stands before it is
    other[0][k - 4 : k] += 1
    assert (model.predict(Series(*other), [k]) != before).any()


@pytest.mark.parametrize("model", BASELINES, ids=lambda model: model.name)
def test_intervals_cover_what_they_say(model):
    data = series(noise(2000, 5) + 3 * np.sin(np.arange(2000) * np.pi / 2))
    model.fit([data._replace(target=data.target[:1000], past=data.past[:1000])])
    origins = np.arange(1000, 1990)
    low, middle, high = np.moveaxis(model.predict(data, origins), -1, 0)
    future = data.target[origins[:, None] + np.arange(3)]
    assert np.mean((low <= future) & (future <= high)) == pytest.approx(0.8, abs=0.03)
    assert np.mean(future <= middle) == pytest.approx(0.5, abs=0.05)


def test_too_many_windows_are_thinned_out_evenly(monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr("lstmkit.tasks.baselines._MOST_WINDOWS", 30)
    model, seen = RidgeOnLags(2, 1), []
    real = model._inputs
    model._inputs = lambda one, rows, index: seen.append(rows) or real(one, rows, index)
    model.fit([series(noise(100))])
    np.testing.assert_array_equal(seen[0], np.arange(3, 100, 4))  # 98 windows, the last is kept


def test_few_windows_are_enough():
    pytest.importorskip("sklearn")
    for rows in (5, 6, 7):
        model = RidgeOnLags(3, 2, (0.1, 0.9)).fit([series(noise(rows))])
        assert np.isfinite(model.predict(series(noise(rows)), [rows])).all()


def test_errors_are_one_line(monkeypatch):
    with pytest.raises(InputError, match=r"^seasonal-naive: the longest series has 6 rows .* 7 \("):
        SeasonalNaive(3, 4).fit([series(noise(6))])
    model = Persistence(2).fit([series(noise(6))])
    with pytest.raises(InputError, match=r"persistence: origins\[1\] is 7; expected 1 to 6"):
        model.point(series(noise(6)), [1, 7])
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(InputError, match=r'pip install "lstmkit\[tasks\]"$'):
        RidgeOnLags(2, 1).fit([series(noise(9))])
