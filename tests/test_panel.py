"""Series out of tables of every kind, forecasts back in kind, and what is said of bad data."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmkit.shapes import InputError
from lstmkit.tasks.panel import enough, frame, panel, upcoming

LEVELS = (0.1, 0.5, 0.9)


def said(call, *args, **options):
    with pytest.raises(InputError) as error:
        call("Forecaster", *args, **options)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("Forecaster: ")
    return message


def forecasts(one, horizon=3, levels=1):
    """Numbers that tell series, step, target and level apart."""
    shape = (horizon, len(one.columns.target), levels)
    return [100.0 * k + np.arange(np.prod(shape)).reshape(shape) for k in range(len(one.series))]


def day(count):
    return [f"2024-01-{k + 1:02d}" for k in range(count)]


# ------------------------------ back in kind


def test_arrays_and_lists():
    for data, columns in [(np.arange(9.0), 0), (np.zeros((9, 2)), [0, 1]), (np.zeros((9, 2)), 1)]:
        one = panel("Forecaster", data, target=columns)
        point, levels = forecasts(one), forecasts(one, levels=3)
        answer, many = frame(one, point), frame(one, levels, LEVELS)
        assert isinstance(answer, np.ndarray)
        if data.ndim == 1:
            assert np.array_equal(answer, point[0][:, 0, 0])
            assert np.array_equal(many, levels[0][:, 0])
        else:
            assert np.array_equal(answer, point[0][:, :, 0])
            assert np.array_equal(many, levels[0])
        assert frame(panel("Forecaster", data.tolist(), target=columns), point) == answer.tolist()
    assert one.times is None
    assert upcoming(one, 2) == [None]


def test_a_list_of_series_gives_a_list():
    arrays = [np.arange(9.0), np.arange(5.0)]
    one = panel("Forecaster", arrays)
    assert [len(rows.target) for rows in one.series] == [9, 5]
    assert one.names == [0, 1]
    assert [answer[0] for answer in frame(one, forecasts(one))] == [0, 100]
    frames = [pd.Series(a, pd.date_range("2024", periods=len(a)), name="y") for a in arrays]
    one = panel("Forecaster", frames)
    first, second = frame(one, forecasts(one))
    assert first.index[0] == pd.Timestamp("2024-01-10")
    assert second.index[0] == pd.Timestamp("2024-01-06")
    assert second.tolist() == [100, 101, 102]


@pytest.mark.parametrize(
    "index",
    [
        pd.date_range("1949-01", periods=24, freq="MS", name="month"),
        pd.date_range("1949-01", periods=24, freq="ME"),
        pd.date_range("2024-01", periods=24, freq="B", name="day"),
        pd.date_range("2024-01", periods=24, freq="15min", unit="ns"),
        pd.date_range("2024-03-28", periods=24, freq="D", tz="Europe/Berlin"),
        pd.date_range("2024-03-30 12:00", periods=24, freq="h", tz="Europe/Berlin"),
        pd.date_range("2024-10-26 12:00", periods=24, freq="30min", tz="America/New_York"),
        pd.date_range("2024-01", periods=24, freq="h", tz="UTC", unit="ms"),
        pd.period_range("2020Q1", periods=24, freq="Q", name="quarter"),
        pd.period_range("2020-01", periods=24, freq="h"),
        pd.RangeIndex(24),
        pd.RangeIndex(5, 53, 2, name="step"),
        pd.Index(np.arange(1900, 1924), name="year"),
        pd.Index([f"{1900 + k}-07" for k in range(24)], name="text"),
    ],
    ids=lambda index: f"{type(index).__name__}-{index.dtype}-{getattr(index, 'freqstr', '')}",
)
def test_a_pandas_index_goes_on_as_it_is(index):
    values = np.arange(24.0)
    for data in (pd.Series(values, index, name="load"), pd.DataFrame({"load": values}, index)):
        expected = data.iloc[20:]
        head = data.iloc[:20]
        one = panel("Forecaster", head)
        answer = frame(one, [values[20:, None, None]])
        if isinstance(data, pd.Series):
            pd.testing.assert_series_equal(answer, expected)
        else:
            pd.testing.assert_frame_equal(answer, expected)
        many = frame(one, forecasts(one, 4, 3), LEVELS)
        assert list(many.columns) == ["load_q0.1", "load_q0.5", "load_q0.9"]
        pd.testing.assert_index_equal(many.index, expected.index, exact="equiv")


def test_five_days_with_the_frequency_of_business_days():
    """Seen as days: they go on to Saturday, which pandas' frequency of the index is not."""
    data = pd.Series(np.arange(5.0), pd.date_range("2024-01-01", periods=5, freq="B"))
    one = panel("Forecaster", data)
    assert frame(one, forecasts(one)).index[0] == pd.Timestamp("2024-01-06")


def test_an_index_whose_name_is_a_columns():
    days = pd.date_range("2024-01-01", periods=4, name="load")
    answer = frame(one := panel("Forecaster", pd.Series(np.arange(4.0), days, name="load")),
                   forecasts(one))  # fmt: skip
    assert (answer.name, answer.index.name) == ("load", "load")
    assert answer.index[0] == pd.Timestamp("2024-01-05")
    data = pd.DataFrame({"day": days, "load": 1.0}).set_index("day", drop=False)
    one = panel("Forecaster", data)
    assert frame(one, forecasts(one))["day"].tolist()[0] == pd.Timestamp("2024-01-05")


def test_a_kind_of_pandas_frame_keeps_its_index():
    class Kind(pd.DataFrame):
        pass

    data = Kind({"load": np.arange(4.0)}, index=pd.date_range("2024-01-01", periods=4))
    answer = frame(one := panel("Forecaster", data), forecasts(one))
    assert answer.index[0] == pd.Timestamp("2024-01-05")


def test_several_levels_of_an_index():
    index = pd.MultiIndex.from_product(
        [["b", "a"], pd.date_range("2024-01-01", periods=9)], names=["shop", None]
    )
    one = panel("Forecaster", pd.DataFrame({"sold": np.arange(18.0)}, index), series="shop")
    assert one.names == ["b", "a"]
    answer = frame(one, forecasts(one))
    assert answer.index.names == ["shop", None]
    assert answer.loc["a", "sold"].tolist() == [100, 101, 102]
    assert answer.loc["b"].index[0] == pd.Timestamp("2024-01-10")


@pytest.mark.parametrize(
    "dtype",
    [
        pl.Date,
        pl.Datetime("ms"),
        pl.Datetime("ns"),
        pl.Datetime("us", "Europe/Berlin"),
        pl.String,
    ],
    ids=str,
)
@pytest.mark.parametrize("keys", [pl.String, pl.Categorical, pl.Int16])
def test_a_long_polars_frame_keeps_its_dtypes(dtype, keys):
    days = pl.date_range(datetime.date(2024, 3, 25), datetime.date(2024, 4, 3), eager=True)
    zone = getattr(dtype, "time_zone", None)
    if zone:
        days = days.cast(pl.Datetime("us")).dt.replace_time_zone(zone)
    days = days.cast(dtype)
    shops = pl.Series(["7", "5"])
    shops = shops.cast(pl.Int16) if keys == pl.Int16 else shops.cast(keys)
    data = pl.DataFrame({"day": days}).join(pl.DataFrame({"shop": shops}), how="cross")
    data = data.with_columns(sold=pl.int_range(pl.len()).cast(pl.Float64))
    seen = data.head(16)  # 8 days of two shops, their rows by turns
    one = panel("Forecaster", seen, series="shop")
    assert [rows.target[:, 0].tolist() for rows in one.series] == [
        list(range(0, 16, 2)),
        list(range(1, 16, 2)),
    ]
    answer = frame(
        one, [np.array([16.0, 18.0])[:, None, None], np.array([17.0, 19.0])[:, None, None]]
    )
    expected = data.tail(4).select("shop", "day", "sold")
    assert answer.schema == expected.schema
    assert answer.sort("sold").equals(expected)


def test_names_and_times_that_are_numbers():
    for names in [[1, 2], [("a", 1), ("a", 2)]]:
        data = pd.DataFrame(np.arange(18.0).reshape(9, 2), columns=pd.Index(names))
        answer = frame(one := panel("Forecaster", data, target=[names[1]]), forecasts(one))
        assert list(answer.columns) == [names[1]]
        assert one.series[0].target[:2, 0].tolist() == [1, 3]
    data = pd.DataFrame({"n": [1, 2, 3]})  # whole numbers have forecasts with decimals
    for whole in (data, data["n"]):
        answer = frame(panel("Forecaster", whole), [np.array([[[1.5]], [[2.5]]])])
        assert answer.to_numpy().ravel().tolist() == [1.5, 2.5]
    data = {"year": np.arange(1900, 1990, 10), "n": np.arange(9)}
    for table in (data, pd.DataFrame(data), pl.DataFrame(data)):
        one = panel("Forecaster", table, time="year", past=None)
        assert one.timeline.unit == "number"
        assert list(frame(one, forecasts(one))["year"]) == [1990, 2000, 2010]
    assert frame(one, forecasts(one)).schema["year"] == pl.Int64


def test_dicts_files_and_series(tmp_path):
    data = {"month": [f"1949-{k:02d}" for k in range(1, 10)], "n": list(range(9)), "x": [0] * 9}
    one = panel("Forecaster", data, target=["n", "x"])
    answer = frame(one, forecasts(one))
    assert list(answer) == ["month", "n", "x"]
    assert answer["month"].tolist() == ["1949-10", "1949-11", "1949-12"]
    assert answer["x"].tolist() == [1, 3, 5]
    pl.DataFrame(data).write_csv(tmp_path / "a.csv")
    pl.DataFrame(data).with_columns(pl.col("month").str.to_date("%Y-%m")).write_parquet(
        tmp_path / "a.parquet"
    )
    text = frame(panel("Forecaster", tmp_path / "a.csv", target="n"), forecasts(one))
    assert text["month"].to_list() == ["1949-10", "1949-11", "1949-12"]
    assert text.columns == ["month", "n"]
    dates = frame(panel("Forecaster", tmp_path / "a.parquet", target="n"), forecasts(one))
    assert dates["month"][0] == datetime.date(1949, 10, 1)
    one = panel("Forecaster", pl.Series("n", range(9)))
    assert frame(one, forecasts(one)).equals(pl.Series("n", [0.0, 1.0, 2.0]))
    assert frame(one, forecasts(one, levels=3), LEVELS).columns == ["n_q0.1", "n_q0.5", "n_q0.9"]


@settings(max_examples=10, deadline=None)
@given(
    freq=st.sampled_from(["MS", "ME", "QE", "YS", "W-TUE", "D", "B", "h", "10min", "s"]),
    zone=st.sampled_from([None, "Europe/Berlin", "Asia/Tokyo"]),
    lengths=st.lists(st.integers(10, 20), min_size=1, max_size=4),
    polars=st.booleans(),
    seed=st.integers(0, 99),
)
def test_whatever_goes_in_comes_out_going_on(freq, zone, lengths, polars, seed):
    """Series of many lengths, their rows mixed; their last three rows are the answer."""
    rng = np.random.default_rng(seed)
    parts, heads, order = [], [], []
    for k, length in enumerate(lengths):
        index = pd.date_range("2023-01-01", periods=length, freq=freq, tz=zone)
        part = pd.DataFrame({"name": f"s{k}", "time": index, "load": rng.normal(size=length)})
        parts.append(part)
        heads.append(part.iloc[:-3])
        order += [k] * (length - 3)
    taken = [0] * len(lengths)
    rows = []
    for k in rng.permutation(order):  # mixed, but in order within a series
        rows.append(heads[k].iloc[[taken[k]]])
        taken[k] += 1
    data = pd.concat(rows, ignore_index=True)
    names = list(dict.fromkeys(data["name"]))
    expected = pd.concat([parts[int(name[1:])].iloc[-3:] for name in names], ignore_index=True)
    if polars:
        data, expected = (pl.DataFrame(one.to_dict("list")) for one in (data, expected))
    one = panel("Forecaster", data, series="name")
    assert one.names == names
    values = [parts[int(name[1:])]["load"].to_numpy()[-3:, None, None] for name in names]
    answer = frame(one, values)
    if polars:
        assert answer.equals(expected)
        assert answer.schema == expected.schema
    else:
        pd.testing.assert_frame_equal(answer, expected)


# ------------------------------ which column is what


def test_columns_are_found_or_asked_for():
    data = {"when": day(3), "y": [1, 2, 3], "z": [4, 5, 6], "until": day(3)}
    assert "'when', 'until' all hold times; expected one (say which" in said(panel, data)
    assert "leaves 'y', 'z', 'until'; expected one column (say which, for example target='y')" in (
        said(panel, data, time="when")
    )
    assert "leaves 'y', 'z'" in said(panel, data, time="when", past="until")
    one = panel("Forecaster", data, time="when", past="z", target="y")
    assert one.columns == ("when", None, ("y",), ("z",), ())
    assert one.series[0].past[:, 0].tolist() == [4, 5, 6]
    assert one.series[0].known.shape == (3, 0)
    one = panel("Forecaster", data, time=False, target=["z", "y"], future="y" and ())
    assert (one.times, one.timeline, one.series[0].target.shape) == (None, None, (3, 2))
    for options, words in [
        ({"target": "y", "past": "y"}, "'y' is used as past and target"),
        ({"target": ["y", "y"]}, "'y' is used twice as target"),
        ({"target": "y", "series": "y"}, "'y' is used as series and target"),
        ({"target": "y", "past": "z", "future": ["z"]}, "'z' is used as future and past"),
        ({"target": []}, "target is empty"),
        ({"target": "w"}, "no column 'w'"),
        ({"target": "y", "series": "shop"}, "no column 'shop'"),
        ({"target": "y", "missing": "ignore"}, "missing is 'ignore'"),
        ({"target": "until"}, "is the text '2024-01-01'; expected a number"),
    ]:
        assert words in said(panel, data, time="when", **options)
    assert "expected series=None" in said(panel, [np.zeros(3)], series="shop")
    listed = [{"y": [1.0]}, pd.DataFrame({"z": [1.0]})]
    assert "series 1 has other columns than series 0" in said(
        panel, [pd.DataFrame(listed[0]), listed[1]]
    )


# ------------------------------ bad data


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"y": [1, np.nan, 3, 4]}, {}, "column 'y', row 1 (the first is row 0): is missing (nan)"),
        ({"y": [1, 2, np.inf, 4]}, {}, "column 'y', row 2 (the first is row 0): is inf"),
        ({"y": [1, "two", 3, 4]}, {}, "column 'y', row 1 (the first is row 0): is the text 'two'"),
        ({"y": [None] * 4}, {}, "column 'y' has no value in 4 rows"),
        ({"y": [1, 2, None, None]}, {}, "row 2 (the first is row 0): is missing from here to the"),
        ({"t": [*day(3), None]}, {}, "column 't', row 3 (the first is row 0): the time is missing"),
        ({"t": ["2024-01-01", *day(3)]}, {}, "column 't', row 1 (the first is row 0): 2024-01-01 "),
        ({"t": day(4)[::-1]}, {}, "row 1 (the first is row 0): 2024-01-03 stands after 2024-01-04"),
        ({"t": [*day(3), "2024-01-06"]}, {}, "before 2024-01-06 there is no 2024-01-04 and 1 more"),
        ({"t": ["2024"] * 4}, {"time": "t"}, "2024-01-01 occurs a second time"),
        ({"t": [1.0, 2, 3, 4]}, {"time": "t"}, "holds numbers with decimals; expected times"),
        (
            {"s": list("aaba")},
            {"series": "s"},
            "series 'a': column 't', row 3 (the first is row 0)",
        ),
        ({"s": list("abbb")}, {"series": "s"}, "series 'a': column 't' holds 1 of the 2 times"),
        (
            {"s": ["a", "a", None, "a"]},
            {"series": "s"},
            "column 's', row 2 (the first is row 0): is",
        ),
        (
            {"x": [1, np.nan, 1, 1]},
            {"past": "x"},
            "column 'x', row 1 (the first is row 0): is miss",
        ),
        (
            {"x": [1, 1, 1, np.nan]},
            {"future": "x"},
            "column 'x', row 3 (the first is row 0): is mi",
        ),
        ({"x": [1, 1, 1, 1]}, {"future": "x", "horizon": 2}, "0 rows after the last target; expec"),
        ({"x": [None] * 4}, {"past": "x", "missing": "fill"}, "column 'x' has no value in 4 rows"),
        (
            {"t": [*day(3), "2024-12-30"]},
            {"missing": "fill"},
            "column 't' lacks 361 of 365 times; missing='fill' adds at most as many",
        ),
    ],
)
def test_what_is_wrong_is_one_line_with_column_row_and_remedy(changes, options, words):
    data = {"t": day(4), "y": [1.0, 2.0, 3.0, 4.0], **changes}
    assert words in said(panel, data, target="y", **options)


def test_series_of_different_steps_or_kinds():
    data = {"t": [*day(2), "2024-01", "2024-02", "2024-03"], "s": list("aabbb"), "y": range(5)}
    data["t"][2:] = ["2024-01-01", "2024-02-01", "2024-03-01"]
    assert "series 'b': column 't', row 3 (the first is row 0): the step is daily, but before" in (
        said(panel, data, series="s", target="y")
    )
    frames = [pd.Series(np.arange(3.0), pd.date_range("2024", periods=3, freq=f)) for f in "DW"]
    assert "series 1: column 'index', row 1 (the first is row 0): the step is daily" in (
        said(panel, frames)
    )
    known = panel("Forecaster", frames[0]).timeline
    assert panel("Forecaster", frames[0][:1], timeline=known).timeline == known
    assert "the step is daily" in said(panel, frames[1], timeline=known)


def test_hours_with_a_zone_and_without_are_not_the_same():
    plain = pd.Series(np.arange(30.0), pd.date_range("2024-03-30", periods=30, freq="h"))
    berlin, utc = plain.tz_localize("UTC").tz_convert("Europe/Berlin"), plain.tz_localize("UTC")
    steps = {zone: panel("Forecaster", data).timeline for zone, data in [(0, plain), (1, berlin)]}
    assert "has times with no zone; the times of the series before have the zone Europe/Berlin" in (
        said(panel, plain, timeline=steps[1])
    )
    assert (
        "has times with the zone UTC; the times of the series before have none, and are hourly"
        in (said(panel, utc, timeline=steps[0]))
    )
    one = panel("Forecaster", utc, timeline=steps[1])
    assert frame(one, forecasts(one)).index[0] == pd.Timestamp("2024-03-31 06:00", tz="UTC")
    days = plain[::24]
    known = panel("Forecaster", days).timeline
    local = days.tz_localize("Europe/Berlin")
    one = panel("Forecaster", local, timeline=known)  # midnight is midnight
    assert frame(one, forecasts(one)).index[0] == pd.Timestamp("2024-04-01", tz="Europe/Berlin")


def test_too_short():
    one = panel("Forecaster", {"s": list("aab"), "y": [1, 2, 3]}, series="s")
    enough("Forecaster", one, 1, "context + horizon")
    message = said(enough, one, 2, "context + horizon")
    assert "series 'b' has 1 rows with a target; expected at least 2 = context + horizon" in message
    assert "data has 3 rows" in said(enough, panel("Forecaster", [1, 2, 3]), 4, "context + horizon")


# ------------------------------ missing values


def test_missing_values_are_filled_from_before_and_never_from_later():
    data = {"t": day(6), "y": [None, 1, None, None, 2, 3], "x": [5, None, 6, None, None, None]}
    rows = panel("Forecaster", data, target="y", past="x", missing="fill").series[0]
    assert rows.target[:, 0].tolist() == [1, 1, 1, 1, 2, 3]  # the beginning alone from after it
    assert rows.past[:, 0].tolist() == [5, 5, 6, 6, 6, 6]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.none() | st.integers(-9, 9), min_size=2, max_size=12), st.integers(1, 11))
def test_what_is_filled_knows_nothing_of_later_values(values, cut):
    cut = min(cut, len(values) - 1)
    if all(value is None for value in values[:cut]):
        return
    values = [*values, 0]
    whole = panel("Forecaster", values, missing="fill").series[0].target
    part = panel("Forecaster", [*values[:cut], 0], missing="fill").series[0].target
    assert np.array_equal(whole[:cut], part[:cut])


def test_gaps_in_time_are_filled_with_rows():
    data = {"t": ["2024-01-01", "2024-01-02", "2024-01-05"], "y": [1, 2, 3], "x": [4, 5, 6]}
    one = panel("Forecaster", data, target="y", future="x", missing="fill")
    assert one.times[0].astype("M8[D]").astype(str).tolist() == day(5)
    assert one.series[0].target[:, 0].tolist() == [1, 2, 2, 2, 3]
    assert one.series[0].known[:, 0].tolist() == [4, 5, 5, 5, 6]
    holiday = pd.date_range("2024-03-25", "2024-04-12", freq="B").delete(5)  # Easter Monday
    rows = panel("Forecaster", pd.Series(np.arange(14.0), holiday), missing="fill").series[0]
    assert rows.target[:7, 0].tolist() == [0, 1, 2, 3, 4, 4, 5]


# ------------------------------ the time to come


def test_rows_after_the_last_target_are_the_future():
    data = {
        "t": day(5),
        "y": [1, 2, 3, None, None],
        "x": [1, 0, 1, 0, 7],
        "p": [1, 1, 1, None, None],
    }
    one = panel("Forecaster", data, target="y", past="p", future="x", horizon=2)
    rows = one.series[0]
    assert rows.target[:, 0].tolist() == [1, 2, 3]
    assert rows.past.shape == (3, 1)
    assert rows.known[:, 0].tolist() == [1, 0, 1, 0, 7]
    assert len(one.times[0]) == 5
    assert frame(one, forecasts(one, 2))["t"].tolist() == day(5)[3:]
    assert upcoming(one, 1)[0].astype(str).tolist() == ["2024-01-04T00:00:00"]
    assert "data has 2 rows after the last target; expected 3, the horizon, with 'x'" in said(
        panel, data, target="y", past="p", future="x", horizon=3
    )
    two = panel("Forecaster", {**data, "z": [1, None, None, None, None]}, target=["y", "z"],
                past="p", future="x", missing="fill")  # fmt: skip
    assert two.series[0].target.tolist() == [[1, 1], [2, 1], [3, 1]]
