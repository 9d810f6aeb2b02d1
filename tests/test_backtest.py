"""The rolling-origin backtest: beside numbers by hand, and nothing seen of the future."""

from __future__ import annotations

import numpy as np
import pytest

from lstmkit.shapes import InputError
from lstmkit.tasks import metrics
from lstmkit.tasks.backtest import About, Backtest, backtest, choose_origins
from lstmkit.tasks.horizon import HorizonModel, Series

pytest.importorskip("sklearn")
NO = np.zeros((0, 0))


def series(target, known=None):
    target = np.asarray(target, float).reshape(len(target), -1)
    rows = len(target)
    known = np.zeros((rows, 0)) if known is None else known
    return Series(target, np.zeros((rows, 0)), known)


class Fixed:
    """A model that forecasts a constant, and notes what it was shown."""

    def __init__(self, value=0.0, levels=1, horizon=2):
        self.value, self.levels, self.horizon = value, levels, horizon
        self.trained, self.asked = [], []

    def __call__(self, training):
        self.trained.append(training)
        return self

    def predict(self, one, rows):
        self.asked.append(rows)
        shape = (len(rows), self.horizon, one.target.shape[1], self.levels)
        return np.broadcast_to(self.value, shape).astype(float)


def run(model, all_series, **options):
    count = len(all_series)
    common = {
        "owner": "Forecaster",
        "names": [None] if count == 1 else list("abcdef"[:count]),
        "targets": ["y"],
        "times": None,
        "ends": [0] * count,
        "context": 2,
        "horizon": 2,
        "quantiles": None,
        "season": 1,
    }
    about = About(**(common | {k: v for k, v in options.items() if k in About._fields}))
    rest = {k: v for k, v in options.items() if k not in About._fields}
    return backtest(model, all_series, about, **rest)


# ------------------------------------------------------------------------------ the origins


def test_origins_roll_over_the_end():
    plan = choose_origins("F", [20], [0], 3, 5, [None], origins=4, stride=2)
    np.testing.assert_array_equal(plan.rows(0, plan.clock), [11, 13, 15, 17])
    assert plan.known(0, int(plan.clock[0])) == 11


@pytest.mark.parametrize(
    ("rows", "horizon", "least", "expected"),
    [
        (144, 12, 36, np.arange(108, 133)),  # the last quarter, 36 rows
        (40, 12, 24, [28]),  # a quarter is less than a horizon
        (30, 2, 26, [26, 27, 28]),  # the training part keeps its least
        (4000, 10, 36, 3000 + 5 * np.arange(199)),  # 991 places: every 5th
    ],
)
def test_the_default_origins(rows, horizon, least, expected):
    plan = choose_origins("F", [rows], [0], horizon, least, [None])
    found = plan.rows(0, plan.clock)
    assert found[-1] == rows - horizon
    assert len(found) == len(expected)
    if rows < 4000:
        np.testing.assert_array_equal(found, expected)


def test_series_share_a_clock():
    """The second ends 3 steps before the first: it has not all origins, and they are aligned."""
    plan = choose_origins("F", [20, 30], [0, 3], 2, 5, ["a", "b"], origins=3, stride=2)
    np.testing.assert_array_equal(plan.rows(0, plan.clock), [14, 16, 18])
    np.testing.assert_array_equal(plan.rows(1, plan.clock), [27])
    assert [plan.known(s, int(plan.clock[0])) for s in (0, 1)] == [14, 27]


def test_a_series_may_end_before_the_first_origin():
    plan = choose_origins("F", [20, 12], [0, 8], 2, 5, ["a", "b"], origins=3)
    assert len(plan.rows(1, plan.clock)) == 0
    assert plan.known(1, int(plan.clock[0])) == 12
    y = np.arange(20.0) ** 2
    result = run(Fixed(5.0), [series(y), series(y[:12])], origins=3, ends=[0, 8])
    assert [len(actual) for actual in result.actual] == [3, 0]
    assert [len(errors) for errors in result.per_origin()["LSTM"]] == [3, 0]
    alone = run(Fixed(5.0), [series(y)], origins=3)
    assert result.table["LSTM"]["MAE"] == alone.table["LSTM"]["MAE"]


def test_a_season_must_fit_before_the_first_origin():
    with pytest.raises(InputError, match=r"8 stand before .* at least 11 to learn from"):
        run(Fixed(), [series(np.arange(12.0))], season=9, origins=3)


def test_a_training_part_that_is_too_short_is_named():
    with pytest.raises(InputError) as caught:
        choose_origins("F", [20, 9], [0, 0], 2, 6, ["long", "short"], origins=4)
    assert str(caught.value).startswith(
        "F: series 'short' has 9 rows, of which 4 stand before the first origin; expected at least"
        " 6 to learn from ("
    )


# ------------------------------------------------------------------------------- the values


def test_errors_by_hand():
    y = [0.0, 2.0, 1.0, 5.0, 3.0, 7.0, 6.0, 10.0]
    result = run(Fixed(5.0), [series(y)], origins=3)
    np.testing.assert_array_equal(result.origins[0], [4, 5, 6])
    np.testing.assert_array_equal(result.actual[0][..., 0], [[3, 7], [7, 6], [6, 10]])
    # errors of the constant 5: 2 2, 2 1, 1 5; of persistence (5, 3, 7): 2 2, 4 3, 1 3
    own, naive = result.table["LSTM"], result.table["persistence"]
    assert own["MAE"] == 13 / 6
    assert own["RMSE"] == pytest.approx((39 / 6) ** 0.5)
    assert naive["MAE"] == 15 / 6
    # the training part is 0 2 1 5: its steps are 2 1 4
    np.testing.assert_array_equal(result.scales[0], [7 / 3])
    assert own["MASE"] == pytest.approx(13 / 6 / (7 / 3))
    assert set(own) == {"MAE", "RMSE", "MASE"}
    np.testing.assert_array_equal(result.per_origin()["LSTM"][0], [2, 1.5, 3])
    np.testing.assert_array_equal(result.per_origin("RMSE")["persistence"][0][0], 2)
    expected = np.array([2, 3.5, 2]) / (7 / 3)
    np.testing.assert_allclose(result.per_origin("MASE")["persistence"][0], expected)


def test_intervals_are_measured_too():
    y = np.array([0.0, 2.0, 1.0, 5.0, 3.0, 7.0, 6.0, 10.0])
    result = run(
        Fixed(np.array([4.0, 5.0, 6.5]), 3), [series(y)], origins=2, quantiles=(0.1, 0.5, 0.9)
    )
    assert result.level == 0.8
    own = result.table["LSTM"]
    assert own["MAE"] == (2 + 1 + 1 + 5) / 4  # the median is the point forecast
    assert own["coverage"] == 2 / 4  # of 7 6 6 10 the two 6 lie in 4 to 6.5
    actual = np.array([7.0, 6.0, 6.0, 10.0])
    forecast = np.tile([4.0, 5.0, 6.5], (4, 1))
    assert own["pinball"] == pytest.approx(metrics.pinball(actual, forecast, (0.1, 0.5, 0.9)))
    np.testing.assert_array_equal(result.per_origin("coverage")["LSTM"][0], [0.5, 0.5])
    by_origin = result.per_origin("pinball")["LSTM"][0]
    assert by_origin.mean() == pytest.approx(own["pinball"])
    # the naive forecast itself is its point, its median may lie elsewhere
    assert (result.points["persistence"][0] != result.forecasts["persistence"][0][..., 1]).any()
    np.testing.assert_array_equal(result.points["persistence"][0][:, 0, 0], y[[4, 5]])


def test_several_series_and_a_target_that_never_changes():
    still = np.column_stack([np.arange(12.0) ** 2, np.full(12, 3.0)])
    other = np.column_stack([np.arange(20.0) % 5, np.arange(20.0)])
    result = run(Fixed(1.0), [series(still), series(other)], origins=2, targets=["u", "v"])
    assert [len(rows) for rows in result.origins] == [2, 2]
    assert result.scales[0][1] == 0  # has no part in the MASE
    errors = [np.abs(actual - 1.0) for actual in result.actual]
    scaled = np.concatenate(
        [(errors[0][..., 0] / result.scales[0][0]).ravel(), (errors[1] / result.scales[1]).ravel()]
    )
    assert result.table["LSTM"]["MASE"] == pytest.approx(scaled.mean())
    assert result.table["LSTM"]["MAE"] == pytest.approx(np.concatenate(errors).mean())
    quiet = run(Fixed(1.0), [series(np.full(12, 3.0))], origins=2)
    assert np.isnan(quiet.table["LSTM"]["MASE"])
    assert "its MAE is 2.000," in quiet.verdict
    assert "–" in str(quiet)


def test_refit_moves_the_training_part_along():
    model = Fixed()
    y = np.arange(20.0)
    result = run(model, [series(y)], origins=5, refit=2)
    assert [len(training[0].target) for training in model.trained] == [14, 16, 18]
    assert [rows.tolist() for rows in model.asked] == [[14, 15], [16, 17], [18]]
    np.testing.assert_array_equal(result.origins[0], [14, 15, 16, 17, 18])
    assert len(result.forecasts["ridge on lags"][0]) == 5
    run(model, [series(y)], origins=5)
    assert len(model.trained) == 4  # once
    assert len(model.asked[-1]) == 5  # all of them in one batch
    with pytest.raises(InputError, match="refit is 0; expected at least 1"):
        run(model, [series(y)], refit=0)


# ------------------------------------------------------------------------- nothing leaks


def test_nothing_after_an_origin_is_seen():
    rng = np.random.default_rng(0)
    y, known = rng.normal(size=(60, 1)), rng.normal(size=(60, 2))

    def learn(training):
        model = HorizonModel(context=4, horizon=2, quantiles=(0.1, 0.5, 0.9), hidden_size=3,
                             members=1, epochs=2, seed=0)  # fmt: skip
        return model.fit(training)

    def forecasts(y, known):
        options = {"quantiles": (0.1, 0.5, 0.9), "context": 4, "origins": 6, "season": 3}
        return run(learn, [Series(y, np.zeros((60, 0)), known)], **options)

    before = forecasts(y, known)
    first = before.origins[0][0]
    assert first == 53
    future, beyond = y.copy(), known.copy()
    future[first:] += 1000
    beyond[first + 2 :] -= 1000  # known ahead, but for the horizon alone
    after = forecasts(future, beyond)
    for method in before.forecasts:
        one, other = before.forecasts[method][0], after.forecasts[method][0]
        np.testing.assert_array_equal(one[0], other[0])
        assert (one[1:] != other[1:]).any(), method  # what a later origin knows does change it
    beyond = known.copy()
    beyond[first + 1] += 1000  # within the horizon: seen
    after = forecasts(y, beyond)
    for method in ("LSTM", "ridge on lags"):
        assert (before.forecasts[method][0][0] != after.forecasts[method][0][0]).any()


# ------------------------------------------------------------------------------- in words


def test_the_verdict_says_when_the_lstm_loses():
    y = [0.0, 2.0, 1.0, 5.0, 3.0, 7.0, 6.0, 10.0] * 4
    lost = run(Fixed(100.0), [series(y)], origins=4)
    scores = {name: row["MASE"] for name, row in lost.table.items()}
    best = min(scores, key=scores.get)
    assert lost.verdict.startswith(f"The LSTM loses by {scores['LSTM'] / scores[best] - 1:.1%} to ")
    assert f"to {best}, and to " in lost.verdict
    assert "better at 0 of 4 origins" in lost.verdict
    assert lost.verdict.endswith(f"use {best} here.")

    def knows(training):
        class Perfect(Fixed):
            def predict(self, one, rows):
                return one.target[rows[:, None] + np.arange(2)][..., None] + 0.01

        return Perfect()

    won = run(knows, [series(y)], origins=4)
    assert won.verdict.startswith("The LSTM wins by 99.")
    assert "better at 4 of 4 origins" in won.verdict


def test_the_verdict_says_where_large_errors_tell_another_story():
    def judged(own, other):
        points = {"LSTM": np.array(own), "persistence": np.array(other)}
        points = {name: [errors.reshape(-1, 1, 1)] for name, errors in points.items()}
        return Backtest(
            names=[None],
            targets=["y"],
            origins=[np.arange(3)],
            times=None,
            actual=[np.zeros((3, 1, 1))],
            forecasts={name: [one[0][..., None]] for name, one in points.items()},
            points=points,
            quantiles=None,
            scales=[np.ones(1)],
            season=1,
        ).verdict

    assert judged([2.0, 2.0, 2.0], [0.0, 0.0, 5.0]).endswith(
        "better at 1 of 3 origins): use persistence here, unless large errors count most: the "
        "LSTM's RMSE is the least."
    )
    assert judged([0.0, 0.0, 5.0], [2.0, 2.0, 2.0]).endswith(
        ", but persistence has a smaller RMSE."
    )
    assert "RMSE" not in judged([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])


def test_it_prints_as_a_table():
    result = Backtest(
        names=[None],
        targets=["y"],
        origins=[np.array([5, 6])],
        times=None,
        actual=[np.array([[[10.0]], [[20.0]]])],
        forecasts={
            "LSTM": [np.array([[[[8.0, 11.0, 12.0]]], [[[15.0, 17.0, 18.0]]]])],
            "ridge on lags": [np.array([[[[8.0, 12.0, 13.0]]], [[[19.0, 24.0, 30.0]]]])],
        },
        points={
            "LSTM": [np.array([[[11.0]], [[17.0]]])],
            "ridge on lags": [np.array([[[12.0]], [[24.0]]])],
        },
        quantiles=(0.1, 0.5, 0.9),
        scales=[np.array([4.0])],
        season=12,
    )
    assert str(result) == (
        "                 MAE   RMSE    MASE  pinball  80% covers\n"
        "LSTM           2.000  2.236  0.5000   0.7833       50.0%\n"
        "ridge on lags  3.000  3.162  0.7500   0.7667      100.0%\n"
        "\n"
        "The LSTM wins by 33.3% over ridge on lags, the best of the baselines (its MASE is 0.5000, "
        "that of ridge on lags 0.7500; better at 2 of 2 origins); its intervals of 80% cover 50.0%."
    )
    frame = result.frame()
    assert frame["method"] == ["LSTM", "ridge on lags"]
    assert frame["MAE"] == [2.0, 3.0]
    assert list(frame) == ["method", "MAE", "RMSE", "MASE", "pinball", "coverage"]
