"""How good forecasts, values and labels are: beside numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lstmkit.shapes import InputError
from lstmkit.tasks import metrics

ACTUAL = np.array([[[10.0, 1.0], [12.0, 2.0]], [[8.0, 0.0], [7.0, 5.0]]])  # 2 origins, 2 steps
FORECAST = np.array([[[11.0, 1.0], [10.0, 4.0]], [[8.0, 3.0], [3.0, 5.0]]])  # 2 targets
# the absolute errors: 1 0 2 2 0 3 4 0


def test_errors_by_hand():
    assert metrics.mae(ACTUAL, FORECAST) == 12 / 8
    assert metrics.rmse(ACTUAL, FORECAST) == pytest.approx((34 / 8) ** 0.5, rel=1e-15)


def test_mase_divides_each_target_by_its_own_scale():
    training = np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 8.0], [6.0, 4.0]])
    # season 1: mean(2, 1, 4), mean(0, 3, 4); season 2: mean(1, 3), mean(3, 1)
    np.testing.assert_allclose(metrics.mase_scale(training), [7 / 3, 7 / 3], rtol=1e-15)
    np.testing.assert_array_equal(metrics.mase_scale(training, 2), [2.0, 2.0])
    np.testing.assert_array_equal(metrics.mase_scale(training[:, 0], 3), 5.0)
    scale = np.array([2.0, 4.0])  # (1 + 2 + 0 + 4) / 2 and (0 + 2 + 3 + 0) / 4, over 8
    assert metrics.mase(ACTUAL, FORECAST, scale) == pytest.approx((3.5 + 1.25) / 8, rel=1e-15)
    assert metrics.mase(ACTUAL, FORECAST, 2.0) == pytest.approx(12 / 8 / 2, rel=1e-15)


def test_seasonal_naive_in_the_training_part_has_a_mase_of_1():
    series = np.random.default_rng(0).normal(size=50)
    scale = metrics.mase_scale(series, 7)
    assert metrics.mase(series[7:], series[:-7], scale) == pytest.approx(1.0, rel=1e-12)


def test_pinball_by_hand():
    # too low by 2 costs q * 2; too high by 3 costs (1 - q) * 3
    assert metrics.pinball([10.0], [[8.0]], [0.9]) == pytest.approx(1.8, rel=1e-15)
    assert metrics.pinball([10.0], [[13.0]], [0.9]) == pytest.approx(0.3, rel=1e-15)
    both = metrics.pinball([10.0], [[8.0, 13.0]], [0.1, 0.9])
    assert both == pytest.approx((0.2 + 0.3) / 2, rel=1e-14)
    half = metrics.pinball(ACTUAL, FORECAST[..., None], [0.5])
    assert half == pytest.approx(metrics.mae(ACTUAL, FORECAST) / 2, rel=1e-15)


def test_coverage_counts_the_ends_as_inside():
    assert metrics.coverage([1.0, 2.0, 3.0, 4.0], [1.0] * 4, [3.0] * 4) == 0.75


def test_r2_is_the_mean_over_columns():
    actual = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    predicted = np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 1.0]])
    assert metrics.r2(actual, predicted) == (0.5 + 0.0) / 2
    assert metrics.r2([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == 0.0
    assert metrics.r2([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == -3.0


def test_confusion_has_the_actual_labels_in_its_rows():
    actual, predicted = ["b", "b", "b", "a", "c"], ["b", "a", "a", "a", "a"]
    expected = [[1, 0, 0], [2, 1, 0], [1, 0, 0]]
    np.testing.assert_array_equal(metrics.confusion(actual, predicted), expected)
    turned = metrics.confusion(actual, predicted, classes=["c", "b", "a", "z"])
    expected = [[0, 0, 1, 0], [0, 1, 2, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(turned, expected)
    assert metrics.confusion(actual, predicted).trace() / 5 == metrics.accuracy(actual, predicted)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.mae([1.0], [[1.0]]), "mae: actual has shape (1,) and the forecast (1, 1)"),
        (lambda: metrics.mae([], []), "at least one value"),
        (lambda: metrics.rmse([1.0, np.nan], [1.0, 2.0]), "rmse: actual[1] is nan"),
        (lambda: metrics.rmse(["a"], [1.0]), "expected real numbers"),
        (lambda: metrics.mase([1.0], [2.0], 0.0), "repeats itself exactly has no MASE"),
        (lambda: metrics.mase([[1.0, 2.0]], [[1.0, 2.0]], [1.0, 1.0, 1.0]), "scale has shape (3,)"),
        (lambda: metrics.mase_scale([1.0, 2.0], 2), "more than a season of 2 rows"),
        (lambda: metrics.pinball([1.0], [1.0], [0.5]), "expected (1, 1)"),
        (lambda: metrics.pinball([1.0], [[1.0]], [1.0]), "quantiles is [1.0]"),
        (lambda: metrics.coverage([1.0], [np.inf], [1.0]), "forecast[0] is inf"),
        (lambda: metrics.accuracy([1, 2], [1]), "predicted (1,)"),
        (lambda: metrics.confusion([1], [2], classes=[1]), "the label 2 is not among the classes"),
    ],
)
def test_an_error_is_one_line(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
