"""The forecaster: tables in, tables out; nothing seen of the future; the same bits from a file."""

from __future__ import annotations

import copy
import datetime
import pickle

import numpy as np
import pytest

import lstmkit as lk
from lstmkit import store
from lstmkit.progress import Progress
from lstmkit.shapes import InputError
from lstmkit.tasks import metrics
from lstmkit.tasks.forecaster import Forecaster

SMALL = {"hidden_size": 3, "members": 1, "epochs": 2, "transform": "none", "random_state": 0}
MONTHS = np.datetime64("2000-01") + np.arange(60)
Y = 100 + np.arange(60.0) + 10 * np.sin(np.arange(60) * np.pi / 6)
Y += np.random.default_rng(0).normal(size=60)
X = np.random.default_rng(1).normal(size=63)
LEVELS = (0.1, 0.5, 0.9)


def small(**arguments) -> Forecaster:
    return Forecaster(**(SMALL | arguments))


def table(rows=60, **more):
    return {"month": MONTHS[:rows], "y": Y[:rows], **{k: v[:rows] for k, v in more.items()}}


def with_future(rows=60, ahead=3):
    """A table whose last rows have no target: there x alone is known."""
    months = np.datetime64("2000-01") + np.arange(rows + ahead)
    y = np.concatenate([Y[:rows], np.full(ahead, np.nan)])
    return {"month": months, "y": y, "x": X[: rows + ahead]}


# ------------------------------------------------------------------------------- arguments


def test_context_and_season_have_a_rule():
    model = small(horizon=3).fit(table())
    assert (model.season_, model.context_) == (12, 20)  # at most a third of the rows
    model = small(horizon=3).fit(Y)
    assert (model.season_, model.context_) == (1, 8)
    model = small(horizon=10, season=4).fit(Y)
    assert (model.season_, model.context_) == (4, 10)
    model = small(horizon=3).fit(table(26))  # no two seasons and a horizon
    assert (model.season_, model.context_) == (1, 8)
    model = small(horizon=3, context=5, season=6).fit(table())
    assert (model.season_, model.context_) == (6, 5)
    assert model.timeline_.name == "monthly"


def test_scikit_learns_conventions():
    base = pytest.importorskip("sklearn.base")
    exceptions = pytest.importorskip("sklearn.exceptions")
    model = small(horizon=2, quantiles=LEVELS)
    twin = base.clone(model)
    assert twin.get_params() == model.get_params()
    assert twin.set_params(horizon=4) is twin
    assert (twin.horizon, model.horizon) == (4, 2)
    assert repr(Forecaster(7, 3, members=2)) == "Forecaster(context=7, horizon=3, members=2)"
    with pytest.raises(exceptions.NotFittedError, match="knows nothing yet; call fit"):
        model.predict()
    with pytest.raises(InputError, match="Invalid parameter 'size'; expected one of context,"):
        model.set_params(size=1)


def test_it_can_be_searched():
    selection = pytest.importorskip("sklearn.model_selection")
    splits = selection.TimeSeriesSplit(2, test_size=20)
    search = selection.GridSearchCV(small(horizon=2, context=6), {"hidden_size": [2, 4]}, cv=splits)
    search.fit(Y.reshape(-1, 1))
    assert search.best_params_["hidden_size"] in (2, 4)
    expected = small(horizon=2, context=6, hidden_size=2).fit(Y[:20]).score(Y[20:40])
    assert search.cv_results_["split0_test_score"][0] == expected


# ------------------------------------------------------------------------------ forecasting


def test_it_learns_what_a_series_follows():
    """A season, a trend and a covariate that is known ahead: noise alone is left."""
    t = np.arange(203)
    y = 0.2 * t + 5 * (t % 4 == 1) + 3 * np.sin(t)  # sin(t) is no season of 4
    data = {"y": np.append(y[:200], [np.nan] * 3), "x": np.sin(t)}
    model = Forecaster(8, 3, season=4, members=2, epochs=40, random_state=0)
    forecast = model.fit(data, target="y", future="x").predict(data)
    np.testing.assert_allclose(forecast["y"], y[200:], atol=0.25)


def test_the_answer_is_of_the_kind_that_came():
    for quantiles, levels in ((None, ()), (LEVELS, (3,))):
        model = small(horizon=2, context=6, quantiles=quantiles)
        assert model.fit(Y).predict().shape == (2, *levels)
        two = np.column_stack([Y, Y[::-1]])
        assert model.fit(two, target=[0, 1]).predict().shape == (2, 2, *levels)
        many = model.fit([Y, Y[:40]]).predict()
        assert [one.shape for one in many] == [(2, *levels)] * 2
    answer = model.fit(table()).predict()
    assert list(answer) == ["month", "y_q0.1", "y_q0.5", "y_q0.9"]
    np.testing.assert_array_equal(answer["month"], np.datetime64("2005-01") + np.arange(2))


def test_pandas_keeps_its_index_and_polars_its_types():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    days = pd.date_range("2024-02-01", periods=60, freq="D", name="day")
    frame = pd.DataFrame({"sold": Y}, index=days)
    model = small(horizon=3, context=6).fit(frame)
    answer = model.predict()
    assert isinstance(answer, pd.DataFrame)
    expected = pd.date_range("2024-04-01", periods=3, freq="D", name="day")
    pd.testing.assert_index_equal(answer.index, expected, exact=True)
    assert list(answer.columns) == ["sold"]
    assert model.timeline_.name == "daily"
    long = pl.DataFrame(
        {
            "shop": ["a", "b"] * 60,
            "day": [datetime.date(2024, 2, 1) + datetime.timedelta(k // 2) for k in range(120)],
            "sold": np.repeat(Y, 2) * np.tile([1.0, 3.0], 60),
        }
    )
    other = small(horizon=3, context=6).fit(long, series="shop", target="sold").predict()
    assert isinstance(other, pl.DataFrame)
    assert other["shop"].to_list() == ["a"] * 3 + ["b"] * 3
    assert other["day"].to_list() == 2 * [datetime.date(2024, 4, k) for k in (1, 2, 3)]
    one, three = other["sold"].to_numpy().reshape(2, 3)
    np.testing.assert_allclose(three / one, 3, rtol=0.1)


def test_new_data_go_on_where_they_end():
    model = small(horizon=2, context=6).fit(table())
    np.testing.assert_array_equal(model.predict()["y"], model.predict(table())["y"])
    # ... of which the last rows alone are seen
    end = {name: values[-6:] for name, values in table().items()}
    np.testing.assert_array_equal(model.predict(end)["y"], model.predict()["y"])
    older = table()
    older["y"] = np.where(np.arange(60) < 54, 7.0, Y)
    np.testing.assert_array_equal(model.predict(older)["y"], model.predict()["y"])
    older["y"][54] += 1
    assert (model.predict(older)["y"] != model.predict()["y"]).any()
    before = model.predict(table(50))
    np.testing.assert_array_equal(before["month"], np.datetime64("2004-03") + np.arange(2))


def test_the_calendar_is_seen():
    shifted = table()
    shifted["month"] = MONTHS + np.timedelta64(5, "M")
    model = small(horizon=2, context=6).fit(table())
    assert (model.predict(shifted)["y"] != model.predict()["y"]).any()
    model = small(horizon=2, context=6, calendar=False).fit(table())
    np.testing.assert_array_equal(model.predict(shifted)["y"], model.predict()["y"])


def test_past_covariates_are_seen_up_to_the_end():
    data = table(x=X)
    model = small(horizon=2, context=6).fit(data, target="y", past="x")
    other = {**data, "x": data["x"].copy()}
    other["x"][-1] += 1
    assert (model.predict(other)["y"] != model.predict()["y"]).any()


def test_what_is_known_ahead_comes_in_a_table_or_at_the_end_of_the_data():
    model = small(horizon=3, context=6).fit(with_future(), target="y", future="x")
    expected = model.predict()["y"]
    np.testing.assert_array_equal(model.predict(with_future())["y"], expected)
    future = {"month": np.datetime64("2005-01") + np.arange(3), "x": X[60:]}
    np.testing.assert_array_equal(model.predict(table(x=X), future)["y"], expected)
    np.testing.assert_array_equal(model.predict(None, future)["y"], expected)
    # what lies beyond the horizon has no influence, what lies within has
    longer = with_future(ahead=3)
    longer = {
        "month": np.append(longer["month"], longer["month"][-1] + np.timedelta64(1, "M")),
        "y": np.append(longer["y"], np.nan),
        "x": np.append(longer["x"], 1e6),
    }
    np.testing.assert_array_equal(model.predict(longer)["y"], expected)
    # rows of a table follow on those that are known already, or replace them
    rest = {name: values[1:] for name, values in future.items()}
    np.testing.assert_array_equal(model.predict(with_future(ahead=1), rest)["y"], expected)
    np.testing.assert_array_equal(model.predict(with_future(ahead=2), rest)["y"], expected)
    changed = {**future, "x": X[60:] + np.array([0, 0, 1])}
    assert (model.predict(None, changed)["y"] != expected).any()


def test_what_is_known_ahead_comes_as_an_array(tmp_path):
    data = np.column_stack([Y, X[:60], X[1:61], X[2:62]])
    model = small(horizon=2, context=6).fit(data, target=0, past=1, future=[3, 2])
    ahead = np.array([[5.0, 6.0], [7.0, 8.0]])  # of the columns 3 and 2
    whole = np.column_stack([np.full((2, 2), np.nan), ahead[:, ::-1]])
    expected = model.predict(np.concatenate([data, whole]))
    model.save(tmp_path / "m")
    for one in (model, lk.load(tmp_path / "m")):
        for future in (ahead, ahead.tolist(), whole, [ahead]):
            np.testing.assert_array_equal(one.predict(future=future), expected)
        with pytest.raises(
            InputError, match="future: an array has 3 columns; expected 2, those of"
        ):
            one.predict(future=whole[:, 1:])
        with pytest.raises(InputError, match=r"future: column 1, row 0 .*: is missing"):
            one.predict(future=np.array([[1.0, np.nan], [1.0, 1.0]]))
        with pytest.raises(InputError, match="data has 5 columns; expected 4, as in fit"):
            one.predict(data[:, [0, 1, 2, 3, 3]], ahead)
    many = small(horizon=2, context=6).fit([data[:, :2], data[:50, :2]], target=0, future=1)
    one, other = many.predict(future=[X[:2], X[2:4]])
    np.testing.assert_array_equal(many.predict(future=[X[:2], X[4:6]])[0], one)
    assert (many.predict(future=[X[:2], X[4:6]])[1] != other).any()
    with pytest.raises(InputError, match="future has the rows of 1 series; expected those of 2"):
        many.predict(future=X[:2])
    named = small(horizon=3, context=6).fit(table(x=X), target="y", future="x")  # and of a table
    coming = {"month": np.datetime64("2005-01") + np.arange(3), "x": X[60:]}
    answer, other = named.predict(future=X[60:]), named.predict(future=coming)
    for name in answer:
        np.testing.assert_array_equal(answer[name], other[name])


def test_arguments_that_change_wait_for_the_next_fit(tmp_path):
    model = small(horizon=2, context=np.int32(6)).fit(table())
    expected, score = model.predict(), model.score(table())
    model.set_params(horizon=3, quantiles=LEVELS, calendar=False, context=9, hidden_size=8)
    model.save(tmp_path / "m")
    for one in (model, lk.load(tmp_path / "m")):
        answer = one.predict()
        for name in expected:
            np.testing.assert_array_equal(answer[name], expected[name])
        assert one.score(table()) == score
    assert lk.load(tmp_path / "m").get_params()["horizon"] == 2
    assert list(model.fit(table()).predict()) == ["month", "y_q0.1", "y_q0.5", "y_q0.9"]


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ({"transform": "log"}, {}, "column 'y', row 7: is 0; expected numbers above 0 with"),
        ({}, {"epoch": 3}, "an argument of fit is 'epoch'; expected one of 'clip_norm'"),
    ],
)
def test_what_fit_cannot_use_is_named(arguments, options, words):
    with pytest.raises(InputError, match=words):
        small(horizon=2, context=6, **arguments).fit(broken("y", 7, 0.0), **options)


def test_one_row_ahead_is_enough_where_times_have_a_zone():
    hours = [f"2024-03-{29 + k // 24}T{k % 24:02d}:00+01:00" for k in range(60)]
    model = small(horizon=1, context=6).fit({"at": hours, "y": Y, "x": X[:60]}, future="x",
                                            target="y")  # fmt: skip
    assert model.timeline_.zone == "+01:00"
    answer = model.predict(None, {"at": ["2024-03-31T12:00+01:00"], "x": X[60:61]})
    assert list(answer["at"]) == ["2024-03-31T12:00+01:00"]


def test_what_must_be_known_ahead_is_asked_for():
    model = small(horizon=3, context=6).fit(table(x=X), target="y", future="x")
    with pytest.raises(
        InputError, match="column 'x' must be known for the 3 steps to forecast, and 0 ar"
    ):
        model.predict()
    late = {"month": np.datetime64("2005-02") + np.arange(3), "x": X[60:]}
    with pytest.raises(InputError, match="future begins at 2005-02-01; expected 2005-01-01"):
        model.predict(None, late)
    short = {"month": np.datetime64("2005-01") + np.arange(2), "x": X[60:62]}
    with pytest.raises(InputError, match="to forecast, and 2 are given"):
        model.predict(None, short)
    with pytest.raises(InputError, match="there is no column 'x'"):
        model.predict(None, {"month": short["month"], "z": X[:2]})
    plain = small(horizon=3, context=6).fit(table())
    with pytest.raises(InputError, match="future is given, but fit was told of no columns"):
        plain.predict(None, short)


def test_of_many_series_each_needs_its_future():
    data = with_future()
    long = {name: np.concatenate([values, values]) for name, values in data.items()}
    long["shop"] = np.repeat(["a", "b"], 63)
    model = small(horizon=3, context=6).fit(long, series="shop", target="y", future="x")
    ahead = {"shop": ["b"] * 3 + ["a"] * 3, "month": np.tile(long["month"][60:63], 2)}
    ahead["x"] = np.concatenate([X[60:] + 1, X[60:]])
    answer = model.predict(None, ahead)
    assert list(answer["shop"]) == ["a"] * 3 + ["b"] * 3
    first, second = answer["y"].reshape(2, 3)
    np.testing.assert_array_equal(first, model.predict()["y"][:3])
    assert (first != second).any()
    only = {name: values[:3] for name, values in ahead.items()}
    with pytest.raises(InputError, match="future has no rows of series 'a'"):
        model.predict(None, only)


# --------------------------------------------------------------------------------- the bits


def test_the_same_seed_gives_the_same_bits():
    model = small(horizon=2, quantiles=LEVELS, dropout=0.2, members=2)
    one = model.fit(table()).predict()
    other = copy.deepcopy(model).fit(table()).predict()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    third = model.set_params(random_state=1).fit(table()).predict()
    assert (third["y_q0.5"] != one["y_q0.5"]).any()
    drawn = np.random.default_rng(5).integers(2**31 - 1)
    by_number = model.set_params(random_state=int(drawn)).fit(table()).predict()
    by_generator = model.set_params(random_state=np.random.default_rng(5)).fit(table()).predict()
    np.testing.assert_array_equal(by_number["y_q0.1"], by_generator["y_q0.1"])


def test_it_is_the_same_from_a_file(tmp_path):
    path = tmp_path / "model.safetensors"
    model = small(horizon=3, context=6, quantiles=LEVELS).fit(with_future(), target="y", future="x")
    model.save(path)
    again = lk.load(path)
    assert isinstance(again, Forecaster)
    assert again.get_params() == model.get_params()
    assert again.columns_ == model.columns_
    assert again.timeline_ == model.timeline_
    for data in (None, with_future(55)):
        for name, values in model.predict(data).items():
            np.testing.assert_array_equal(again.predict(data)[name], values)
    again.save(tmp_path / "twin")
    assert (tmp_path / "twin").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "data", [Y, [Y, Y[:50]], np.column_stack([Y, Y])], ids=["one", "list", "two"]
)
def test_without_times_it_is_the_same_from_a_file_too(tmp_path, data):
    columns = {} if not isinstance(data, np.ndarray) or data.ndim == 1 else {"target": [0, 1]}
    model = small(horizon=2, context=6).fit(data, **columns)
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(lk.load(tmp_path / "m").predict(), model.predict())


@pytest.mark.parametrize("kind", ["dict", "array", "list", "pandas"])
def test_it_can_be_pickled(kind):
    data = {"dict": table(), "array": Y, "list": [Y, Y[:50]]}.get(kind)
    if data is None:
        data = pytest.importorskip("pandas").DataFrame(table())
    model = small(horizon=2, context=6).fit(data)
    again = pickle.loads(pickle.dumps(model))
    one, other = model.predict(), again.predict()
    if kind in ("dict", "pandas"):
        one, other = one["y"], other["y"]
    np.testing.assert_array_equal(other, one)
    assert type(again.predict(data)) is type(model.predict(data))


def both(config, **arguments):
    config["arguments"].update(arguments)
    config["model"].update(arguments)


HOSTILE = {
    "an argument less": lambda c, a: c["arguments"].pop("horizon"),
    "an argument more": lambda c, a: c["arguments"].update(trap=1),
    "another horizon": lambda c, a: c["arguments"].update(horizon=3),
    "another context": lambda c, a: c["arguments"].update(context=5),
    "levels of text": lambda c, a: c["arguments"].update(quantiles="abc"),
    "enormous layers": lambda c, a: both(c, hidden_size=40_000),
    "a thousand million layers": lambda c, a: both(c, num_layers=10**9),
    "enormous inputs": lambda c, a: c["model"]["sizes"].__setitem__(2, 10**9),
    "a long context": lambda c, a: both(c, context=10**9),
    "no seed": lambda c, a: c["arguments"].update(random_state=-1),
    "no end": lambda c, a: c.pop("end"),
    "another step": lambda c, a: c["end"]["timeline"].__setitem__(1, 2),
    "no step": lambda c, a: c["end"].update(timeline=None),
    "a name that is a list": lambda c, a: c["end"].update(names=[[1]]),
    "names without series": lambda c, a: c["end"].update(names=["a", "b"]),
    "a target more": lambda c, a: c["end"]["columns"]["target"].append("z"),
    "a covariate more": lambda c, a: (
        c["end"]["columns"]["future"].append("x"),
        a.update({"end.known": np.zeros((len(a["end.known"]), 1))}),
    ),
    "nan": lambda c, a: a["end.target"].__setitem__(0, np.nan),
    "rows without end": lambda c, a: a["end.rows"].__setitem__(0, 2**50),
    "fewer rows": lambda c, a: a["end.rows"].__setitem__(0, 3),
    "times in disorder": lambda c, a: a["end.times"].__setitem__(0, 2**40),
    "an array more": lambda c, a: a.update(weight=np.zeros(1)),
    "an array less": lambda c, a: a.pop("end.past"),
    "another dtype": lambda c, a: a.update({"end.target": a["end.target"].astype(np.float32)}),
    "a network less": lambda c, a: a.pop("model.members.0.bias"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_was_tampered_with_is_refused(tmp_path, change, saved):
    config, arrays = copy.deepcopy(saved)
    change(config, arrays)
    store.save(tmp_path / "m", "Forecaster", config, arrays)
    with pytest.raises(InputError, match="does not hold a whole Forecaster") as caught:
        lk.load(tmp_path / "m")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def saved():
    model = small(horizon=2, context=6, quantiles=LEVELS).fit(table())
    return model.config, model.parameters


# ---------------------------------------------------------------------------- measurements


def test_score_is_minus_the_mase():
    model = small(horizon=2, context=6, season=12, quantiles=LEVELS).fit(table())
    errors = [np.abs(model.predict(table(k))["y_q0.5"] - Y[k : k + 2]) for k in range(6, 29)]
    expected = -np.mean(errors) / metrics.mase_scale(Y[:30], 12)
    assert model.score(table(30)) == pytest.approx(expected, rel=1e-5)  # float32, row by row
    with pytest.raises(InputError, match="data has 12 rows with a target; expected at least 13 ="):
        model.score(table(12))
    with pytest.raises(InputError, match="so there is no MASE"):
        model.score({"month": MONTHS[:20], "y": np.full(20, 3.0)})


def test_new_data_are_measured_as_they_come():
    pytest.importorskip("sklearn")
    model = small(horizon=2, context=6, season=6, quantiles=LEVELS).fit(table(40))
    result = model.evaluate(table(), origins=3)
    errors = [np.abs(model.predict(table(k))["y_q0.5"] - Y[k : k + 2]) for k in (56, 57, 58)]
    np.testing.assert_allclose(result.per_origin()["LSTM"][0], np.mean(errors, 1), rtol=1e-5)
    beside = small(horizon=2, context=6, season=6, quantiles=LEVELS).backtest(table(), origins=3)
    for method in ("persistence", "seasonal-naive", "ridge on lags"):
        assert result.table[method] == beside.table[method]
    assert result.caution == beside.caution == ""


def test_rows_that_were_learned_are_named_where_they_are_measured(tmp_path):
    pytest.importorskip("sklearn")
    model = small(horizon=2, context=6, season=6, quantiles=LEVELS).fit(table(57))
    model.save(tmp_path / "model.safetensors")
    for one in (model, lk.load(tmp_path / "model.safetensors")):
        result = one.evaluate(table(), origins=3)  # at rows 56, 57, 58; learned up to row 56
        assert result.caution.startswith("But 1 of 3 origins are among the rows that the model has")
        assert str(result).endswith(f"{result.verdict} {result.caution}")
    model.fit(table(57)["y"])  # without times nobody knows
    assert model.evaluate(table()["y"], origins=3).caution == ""


def test_the_backtest_learns_from_what_stands_before():
    pytest.importorskip("sklearn")
    model = small(horizon=2, context=6, season=12, quantiles=LEVELS)
    data = table(x=X)
    result = model.backtest(data, origins=3, stride=2, target="y", future="x")
    np.testing.assert_array_equal(result.origins[0], [54, 56, 58])
    assert result.targets == ["y"]
    learned = model.fit(table(54, x=X), target="y", future="x")
    for k, row in enumerate(result.origins[0]):
        future = {"month": MONTHS[row : row + 2], "x": X[row : row + 2]}
        answer = learned.predict(table(row, x=X), future)
        for q, level in enumerate(LEVELS):
            own = result.forecasts["LSTM"][0][k, :, 0, q]
            np.testing.assert_allclose(answer[f"y_q{level}"], own, rtol=1e-5)
    np.testing.assert_array_equal(result.times[0][result.origins[0]], MONTHS[[54, 56, 58]])
    np.testing.assert_array_equal(result.scales[0], metrics.mase_scale(Y[:54], 12))
    naive = result.forecasts["seasonal-naive"]
    np.testing.assert_array_equal(result.points["seasonal-naive"][0][0, :, 0], Y[42:44])
    assert naive[0].shape == (3, 2, 1, 3)
    assert set(result.frame()) == {"method", "MAE", "RMSE", "MASE", "pinball", "coverage"}


def test_no_future_leaks_into_a_backtest():
    pytest.importorskip("sklearn")
    model = small(horizon=2, context=6, season=3, quantiles=LEVELS)
    columns = {"target": "y", "past": "p", "future": "x", "origins": 4}
    data = table(x=X, p=X[3:])
    before = model.backtest(data, **columns)
    first = before.origins[0][0]
    changed = {name: np.array(values) for name, values in data.items()}
    changed["y"][first:] *= 9
    changed["p"][first:] -= 50
    changed["x"][first + 2 :] += 50
    after = model.backtest(changed, **columns)
    for method in before.forecasts:
        one, other = before.forecasts[method][0], after.forecasts[method][0]
        np.testing.assert_array_equal(one[0], other[0])
        assert (one[1:] != other[1:]).any()


def test_series_of_a_backtest_end_at_their_own_times():
    pytest.importorskip("sklearn")
    shop = ["a"] * 60 + ["b"] * 57
    data = {"shop": shop, "month": np.concatenate([MONTHS, MONTHS[:57]])}
    data["y"] = np.concatenate([Y, Y[:57]])
    model = small(horizon=2, context=6)
    result = model.backtest(data, series="shop", target="y", origins=5)
    np.testing.assert_array_equal(result.origins[0], [54, 55, 56, 57, 58])
    np.testing.assert_array_equal(result.origins[1], [54, 55])
    np.testing.assert_array_equal(result.per_origin()["LSTM"][1].shape, (2,))
    assert result.names == ["a", "b"]


def test_trace_shows_the_gates_of_the_forecast():
    model = small(horizon=2, context=6, season=1).fit(table())
    trace = model.trace()
    assert trace.i.shape == (1, 1, 8, 3)
    # the forecast is made of these states: head(h) + skip, by hand
    network = model.model_.networks_[0]
    np.testing.assert_array_equal(trace.h, model.trace(table()).h)
    assert (trace.h != model.trace(table(59)).h).any()
    correction = trace.h[0, 0, -2:] @ network.parameters["head.weight"].T
    assert correction.shape == (2, 1)
    many = small(horizon=2, context=6).fit([Y, Y[:50]])
    assert many.trace().c.shape == (1, 2, 8, 3)


def test_progress_and_the_log(tmp_path, capsys):
    model = small(horizon=2, context=6)
    model.fit(Y, progress=Progress("plain"), metrics=tmp_path / "log.jsonl")
    assert "validation" in capsys.readouterr().err
    assert "validation_loss" in (tmp_path / "log.jsonl").read_text()
    assert model.result_.best_loss is not None


# ------------------------------------------------------------------------------- bad input


def broken(column, row, value):
    data = table()
    data[column] = data[column].astype(object) if isinstance(value, str) else data[column].copy()
    data[column][row] = value
    return data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (broken("y", 7, np.nan), ["column 'y', row 7", "is missing (nan)", "missing='fill'"]),
        (broken("y", 7, np.inf), ["column 'y', row 7", "is inf", "finite"]),
        (broken("y", 7, "much"), ["column 'y', row 7", "'much'", "a number"]),
        (broken("month", 7, np.datetime64("2000-07")), ["column 'month', row 7", "2000-07"]),
        (broken("month", 7, np.datetime64("1999-01")), ["column 'month', row 7", "1999-01"]),
        ({k: np.delete(v, 7) for k, v in table().items()}, ["'month', row 7", "2000-08"]),
        (table(7), ["data has 7 rows with a target", "8 = context + horizon"]),
        (table(z=X), ["target is not given", "'y', 'z'"]),
        ([Y, Y[:6]], ["series 1 has 6 rows", "8 = context + horizon"]),
        ({"month": MONTHS, "y": Y, "shop": ["a"] * 54 + ["b"] * 6}, ["'y', 'shop'"]),
    ],
)
def test_bad_data_is_named(data, words):
    with pytest.raises(InputError) as caught:
        small(horizon=2, context=6).fit(data)
    message = str(caught.value)
    assert message.startswith("Forecaster: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_short_series_among_many_is_named():
    data = {"y": Y, "shop": ["a"] * 54 + ["b"] * 6}
    with pytest.raises(
        InputError, match="series 'b' has 6 rows with a target; expected at least 8"
    ):
        small(horizon=2, context=6).fit(data, series="shop")
    model = small(horizon=2, context=6).fit(Y)
    with pytest.raises(InputError, match="data has 5 rows with a target; expected at least 6 = co"):
        model.predict(Y[:5])
    with pytest.raises(InputError, match="the series has 20 rows, of which 7 stand before the fir"):
        small(horizon=2, context=6).backtest(Y[:20], origins=12)


def test_missing_values_can_be_filled():
    data = broken("y", 7, np.nan)
    model = small(horizon=2, context=6, missing="fill").fit(data)
    whole = small(horizon=2, context=6).fit(broken("y", 7, Y[6]))
    np.testing.assert_array_equal(model.predict()["y"], whole.predict()["y"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"horizon": 0}, "horizon is 0; expected at least 1"),
        ({"context": 2.5}, "context is 2.5; expected a whole number"),
        ({"season": 0}, "season is 0"),
        ({"quantiles": (0.1, 0.9)}, "expected 0.5 among them"),
        ({"quantiles": (0.5, 0.1)}, "expected rising levels"),
        ({"quantiles": 0.5}, "expected levels such as (0.1, 0.5, 0.9)"),
        ({"calendar": "yes"}, "calendar is 'yes'; expected True or False"),
        ({"missing": "drop"}, "missing is 'drop'; expected one of 'error', 'fill'"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"transform": "cube"}, "transform is 'cube'"),
        ({"random_state": "x"}, "random_state is 'x'"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
    ],
)
def test_a_bad_argument_is_named(arguments, words):
    with pytest.raises(InputError) as caught:
        small(**arguments).fit(Y)
    assert str(caught.value).startswith("Forecaster: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
