"""The pictures of forecasts, labels and trainings: what is drawn is what was found."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest

import lstmkit as lk
from lstmkit import datasets, plots
from lstmkit.plots.parts import parts_of
from lstmkit.plots.series import _edges
from lstmkit.shapes import InputError
from lstmkit.tasks.backtest import Backtest

AIR = datasets.load_airline()
KNOWN = {name: values[:-12] for name, values in AIR.items()}
CAME = AIR["passengers"][-12:]
LEVELS = (0.1, 0.5, 0.9)
QUANTILES = {"month": AIR["month"][-12:]} | {f"passengers_q{q}": CAME + 100 * q for q in LEVELS}
METHODS = ("LSTM", "persistence", "seasonal-naive", "ridge on lags")


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def y_of(line):
    return np.asarray(line.get_ydata(), float)


# ------------------------------ forecasts


def test_a_forecast_follows_on_its_history_with_its_intervals():
    figure = plots.forecast(KNOWN, QUANTILES, actual=AIR, title="Passengers")
    (axes,) = figure.axes
    found = lines(axes)
    assert list(found) == ["history", "forecast (median)", "what came"]
    np.testing.assert_array_equal(y_of(found["history"]), KNOWN["passengers"][-60:])
    # The line begins at the last value that is known.
    want = [KNOWN["passengers"][-1], *QUANTILES["passengers_q0.5"]]
    np.testing.assert_array_equal(y_of(found["forecast (median)"]), want)
    when = np.asarray(found["forecast (median)"].get_xdata()).astype("datetime64[D]")
    np.testing.assert_array_equal(when, AIR["month"][-13:])
    np.testing.assert_array_equal(y_of(found["what came"]), CAME)
    (band,) = axes.collections
    assert band.get_label() == "80 % interval"
    corners = band.get_paths()[0].vertices[:, 1]
    assert corners.min() == QUANTILES["passengers_q0.1"].min()
    assert corners.max() == QUANTILES["passengers_q0.9"].max()
    assert axes.get_ylabel() == "passengers"
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {*found, "80 % interval"}


def long(frame, months, **columns):
    return frame(
        {"month": np.tile(months, 2), "country": np.repeat(["FR", "IT"], len(months)), **columns}
    )


@pytest.mark.parametrize("frame", [dict, pd.DataFrame, pl.DataFrame])
def test_frames_of_several_series_are_taken_apart(frame):
    history = long(frame, KNOWN["month"], visits=np.arange(264.0), nights=-np.arange(264.0))
    ahead = np.concatenate([CAME, 2 * CAME])
    guess = long(frame, AIR["month"][-12:], visits=ahead, nights=-ahead)
    came = long(frame, AIR["month"], visits=np.arange(288.0), nights=-np.arange(288.0))
    if frame is pd.DataFrame:
        history, guess, came = (one.set_index("month") for one in (history, guess, came))
    parts = parts_of("test", history, guess, came)
    assert [(part.name, part.target) for part in parts] == [
        ("FR", "visits"),
        ("FR", "nights"),
        ("IT", "visits"),
        ("IT", "nights"),
    ]
    last = parts[-1]
    np.testing.assert_array_equal(last.history, -np.arange(132.0, 264))
    np.testing.assert_array_equal(last.forecast[:, 0], -2 * CAME)
    np.testing.assert_array_equal(last.actual, -np.arange(276.0, 288))
    assert (last.times.astype("datetime64[D]") == KNOWN["month"]).all()
    assert (last.ahead.astype("datetime64[D]") == AIR["month"][-12:]).all()
    assert last.levels is None
    figure = plots.forecast(history, guess)
    assert [axes.get_title() for axes in figure.axes] == ["FR", "FR", "IT", "IT"]


def test_arrays_need_the_levels_of_their_quantiles():
    history = np.arange(40.0).reshape(20, 2)
    values = np.arange(24.0).reshape(4, 2, 3)
    one, other = parts_of("test", history, values, quantiles=LEVELS)
    np.testing.assert_array_equal(one.forecast, values[:, 0])
    np.testing.assert_array_equal(other.forecast, values[:, 1])
    np.testing.assert_array_equal(other.history, history[:, 1])
    assert other.ahead.tolist() == [20, 21, 22, 23]
    (single,) = parts_of("test", history[:, 0], values[:, 0], quantiles=LEVELS)
    assert single.forecast.shape == (4, 3)
    several = parts_of("test", [history, history], [values[:, :, 0]] * 2, [history[:2]] * 2)
    assert [part.name for part in several] == ["series 0"] * 2 + ["series 1"] * 2
    np.testing.assert_array_equal(several[1].actual, [1.0, 3.0, np.nan, np.nan])
    with pytest.raises(InputError, match=r"has shape \(4, 2, 3\); expected 1 for each of the 2 "):
        plots.forecast(history, values)
    with pytest.raises(InputError, match="a list of 2 series; expected a list of as many"):
        plots.forecast([history, history], [values])


def test_columns_that_do_not_fit():
    with pytest.raises(InputError, match=r"the forecast has the columns 'sold'; expected a target"):
        plots.forecast(KNOWN, {"month": AIR["month"][-12:], "sold": CAME})
    with pytest.raises(InputError, match=r"plots\.forecast: last is -1; expected at least 0"):
        plots.forecast(KNOWN, QUANTILES, last=-1)


def test_of_many_series_the_first_are_drawn_and_one_step_is_seen():
    count = 14
    history = {"t": np.arange(30), "s": np.array([f"series {k % count}" for k in range(30)])}
    history["y"] = np.arange(30.0)
    ahead = {"s": [f"series {k}" for k in range(count)], "t": np.full(count, 30)}
    ahead |= {f"y_q{q}": np.full(count, q) for q in LEVELS}
    figure = plots.forecast(history, ahead, series="s", time="t", last=0)
    drawn = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in drawn] == [f"series {k}" for k in range(12)]
    assert figure._suptitle.get_text() == "Forecast: the first 12 of 14"
    ((low, high),) = drawn[0].collections[0].get_segments()
    assert (low[1], high[1]) == (0.1, 0.9)
    assert "history" not in lines(drawn[0])


# ------------------------------ backtests


def result(quantiles=LEVELS, names=(None,), count=25, times=True):
    """A backtest whose errors are known: method m errs by m + 1 at every step."""
    origins = np.arange(144 - 12 - count + 1, 144 - 12 + 1)
    rows = origins[:, None] + np.arange(12)
    actual = AIR["passengers"][rows][..., None]
    spread = np.array([-20.0, 0.0, 20.0]) if quantiles else np.zeros(1)
    points = {name: [actual + k + 1 for _ in names] for k, name in enumerate(METHODS)}
    return Backtest(
        names=list(names),
        targets=["passengers"],
        origins=[origins for _ in names],
        times=[AIR["month"] for _ in names] if times else None,
        actual=[actual for _ in names],
        forecasts={name: [p[..., None] + spread for p in each] for name, each in points.items()},
        points=points,
        quantiles=quantiles,
        scales=[np.ones(1) for _ in names],
        season=12,
    )


def test_a_backtest_shows_forecasts_over_what_came_and_every_methods_errors():
    figure = plots.backtest(result())
    above, below = figure.axes
    found = lines(above)
    np.testing.assert_array_equal(y_of(found["what came"]), AIR["passengers"][-36:])
    drawn = y_of(found["LSTM"])  # three forecasts of twelve steps that do not overlap
    assert np.isnan(drawn[[12, 25, 38]]).all()
    np.testing.assert_array_equal(drawn[np.isfinite(drawn)], AIR["passengers"][-36:] + 1)
    assert above.get_title() == "forecasts of 12 steps from 3 of the origins"
    assert above.collections[0].get_label() == "80 % interval"
    errors = lines(below)
    assert list(errors) == [f"{name}: {k + 1}" for k, name in enumerate(METHODS)]
    for k, line in enumerate(errors.values()):
        np.testing.assert_allclose(y_of(line), np.full(25, k + 1.0), rtol=1e-12)
    looks = {(line.get_color(), line.get_linestyle()) for line in errors.values()}
    assert len({colour for colour, _ in looks}) == len({style for _, style in looks}) == 4


def test_a_backtest_of_one_series_of_several_by_another_measure():
    figure = plots.backtest(result(names=("FR", "IT")), series="IT", metric="coverage")
    assert figure._suptitle.get_text() == "Backtest: IT"
    below = figure.axes[1]
    assert below.get_ylabel() == "coverage"
    assert (y_of(below.lines[0]) == 1).all()
    for unknown in ({"series": "ES"}, {"target": "nights"}, {"metric": "MAPE"}):
        with pytest.raises(InputError, match="expected one of"):
            plots.backtest(result(names=("FR", "IT")), **unknown)


def test_of_very_many_origins_means_are_drawn(monkeypatch):
    monkeypatch.setattr("lstmkit.plots.forecasts._MOST_ORIGINS", 10)
    figure = plots.backtest(result(quantiles=None, times=False))
    below = figure.axes[1]
    assert "means of 3 in a row" in below.get_title()
    np.testing.assert_allclose(y_of(below.lines[2]), np.full(9, 3.0))
    assert below.lines[2].get_xdata()[1] - below.lines[2].get_xdata()[0] == 3


# ------------------------------ labels


def cells(figure):
    axes = figure.axes[0]
    return {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text()
        for text in axes.texts
    }


def test_the_confusion_matrix_counts_and_shades_by_row():
    actual = ["b", "a", "a", "a", "b", "a"]
    figure = plots.confusion_matrix(actual, ["a", "a", "b", "a", "a", "a"], classes=["a", "b", "c"])
    axes = figure.axes[0]
    assert cells(figure) == {(0, 0): "3", (0, 1): "1", (1, 0): "2"}
    shades = np.ma.filled(np.ma.masked_invalid(axes.images[0].get_array()), -1)
    np.testing.assert_array_equal(shades, [[0.75, 0.25, 0], [1, 0, 0], [-1, -1, -1]])
    assert axes.get_title() == "right: 50.0% of 6"
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a (4)", "b (2)", "c (0)"]
    figure = plots.confusion_matrix(actual, ["a"] * 6)
    assert figure.axes[0].get_title().splitlines()[1] == "never predicted: b"


def test_the_confusion_matrix_of_a_model_and_of_ragged_tags():
    class Tagger:
        classes_ = np.array(["n", "v"])

        def predict(self, X):
            return [np.array(["n", "v"]), np.array(["v"])]

    tags = [np.array(["n", "n"]), np.array(["v"])]
    figure = plots.confusion_matrix(Tagger(), [np.zeros((2, 1)), np.zeros((1, 1))], tags)
    assert cells(figure) == {(0, 0): "1", (0, 1): "1", (1, 1): "1"}
    with pytest.raises(InputError, match="y is missing"):
        plots.confusion_matrix(Tagger(), [np.zeros((1, 1))])
    with pytest.raises(InputError, match="y is given with labels"):
        plots.confusion_matrix(["n"], ["n"], ["n"])
    with pytest.raises(InputError, match="the label 'x' is not among the classes"):
        plots.confusion_matrix(["n"], ["x"], classes=["n"])
    with pytest.raises(InputError, match="dtype object"):
        plots.confusion_matrix(np.array([1, None], object), [1, 1])


def test_the_names_of_many_classes_have_room():
    """Many classes with long names: no text lies over another, figures fit cells."""
    names = [f"gesture number {k}, slowly done" for k in range(18)]
    actual = np.repeat(np.arange(18), [100_000] + [1] * 17)
    guess = np.where(actual == 7, 12, actual)  # few cells: each takes time to draw
    figure = plots.confusion_matrix(np.array(names)[actual], np.array(names)[guess])
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for labels, side in ((axes.get_xticklabels(), "x"), (axes.get_yticklabels(), "y")):
        boxes = [label.get_window_extent() for label in labels]
        low, high = sorted((getattr(b, f"{side}0"), getattr(b, f"{side}1")) for b in boxes)[:2]
        assert low[1] <= high[0] + 1
    width = axes.get_window_extent().width / 18
    assert max(text.get_window_extent().width for text in axes.texts) <= width
    assert all(len(label.get_text()) <= 24 for label in axes.get_xticklabels())


# ------------------------------ trainings


def test_the_training_curve_is_the_loss_in_its_own_unit():
    history = [{"step": k, "loss": 1.0 / k} for k in range(1, 101)]
    for k in range(20, 101, 20):
        history[k - 1]["validation_loss"] = 0.1 + abs(k - 60) / 100
    model = SimpleNamespace(result_=SimpleNamespace(history=history))
    (axes,) = plots.training_curve(model, loss="pinball loss, scaled", title="Airline").axes
    found = lines(axes)
    best = "best validation: 0.1 at step 60"
    assert list(found) == ["training, each report", "training, smoothed", "validation", best]
    np.testing.assert_array_equal(y_of(found["training, each report"]), 1 / np.arange(1, 101))
    np.testing.assert_allclose(y_of(found["validation"]), [0.5, 0.3, 0.1, 0.3, 0.5])
    np.testing.assert_allclose(found[best].get_xydata(), [(60, 0.1)])
    assert axes.get_ylabel() == "pinball loss, scaled"
    assert axes.get_yscale() == "log"
    (axes,) = plots.training_curve([model.result_] * 3).axes
    assert axes.get_title() == "Training: 3 members"
    assert len(axes.lines) == 3 * 3
    for nothing in ([], [{"step": 1}], SimpleNamespace(result_=None)):
        with pytest.raises(InputError, match="training_curve: source holds no loss"):
            plots.training_curve(nothing)


# ------------------------------ gates


def test_the_gates_stand_under_the_series_in_the_order_of_their_memory():
    lstm = lk.LSTM(2, 5, num_layers=2, seed=0)
    X = np.random.default_rng(0).normal(size=(3, 7, 2)).astype(np.float32)
    figure = plots.gates_over_series(lstm, X, sequence=2, cell=1, times=AIR["month"][:7])
    top, *panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    np.testing.assert_allclose([y_of(line) for line in top.lines], X[2].T)
    trace = lstm.trace(X)
    order = np.argsort(-trace.f[1, 2].mean(axis=0))
    for axes, name in zip(panels, "ifoc", strict=True):
        (mesh,) = axes.collections
        np.testing.assert_array_equal(
            np.asarray(mesh.get_array()).reshape(5, 7), getattr(trace, name)[1, 2][:, order].T
        )
    assert figure._suptitle.get_text().endswith("(layer and direction 1 of 2)")
    same = plots.gates_over_series(trace, sequence=2, cell=1, values=X[2], names=["x", "y"])
    assert [t.get_text() for t in same.axes[0].get_legend().get_texts()] == ["x", "y"]


def test_the_gates_of_a_forecaster_stand_under_its_context_and_its_forecast():
    model = lk.Forecaster(context=18, horizon=12, members=1, epochs=1, random_state=0).fit(KNOWN)
    figure = plots.gates_over_series(model, KNOWN)
    line, border = figure.axes[0].lines
    want = [*KNOWN["passengers"][-18:], *model.predict()["passengers"]]
    np.testing.assert_array_equal(y_of(line), want)
    assert (np.asarray(line.get_xdata()).astype("datetime64[D]") == AIR["month"][-30:]).all()
    assert border.get_label() == "forecast from"
    assert np.datetime64("1959-12-01") < border.get_xdata()[0] < np.datetime64("1960-01-01")


def test_the_borders_of_months_are_halfway():
    months = np.array(["2023-01", "2023-02", "2023-03"], "datetime64[D]")
    want = ["2022-12-16T12", "2023-01-16T12", "2023-02-15T00", "2023-03-15T00"]
    assert _edges(months).astype("datetime64[h]").astype(str).tolist() == want


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"X": None}, "X is missing"),
        ({"sequence": 3}, "sequence is 3; expected 0 to 2"),
        ({"cell": 1}, "cell is 1; expected 0 to 0"),
        ({"times": np.arange(6)}, r"times has shape \(6,\); expected \(7,\)"),
        ({"values": np.zeros((6, 2))}, r"shape \(6, 2\); expected \(7, features\)"),
        ({"names": ["x"]}, "names has length 1; expected 2"),
        ({"model": 7}, "model is int; expected a trace"),
    ],
)
def test_what_the_gates_cannot_be_drawn_of(change, words):
    given = {"model": lk.LSTM(2, 5, seed=0), "X": np.zeros((3, 7, 2), np.float32)} | change
    with pytest.raises(InputError, match=words):
        plots.gates_over_series(**given)
