"""Data of any kind as columns, and what is said of columns that are not what they should be."""

from __future__ import annotations

import datetime
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmkit.shapes import InputError
from lstmkit.tasks.tables import Table

UTC = datetime.timezone.utc


def csv(folder, text):
    path = folder / "sales.csv"
    path.write_text(text, encoding="utf-8")
    return path


def said(call, *args):
    with pytest.raises(InputError) as error:
        call(*args)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("Forecaster: ")
    return message


def numbers(values):
    return Table.of("Forecaster", {"load": values}).numbers("Forecaster", "load")


# ------------------------------ kinds


def test_every_kind_gives_the_same_columns(tmp_path):
    load, price = [1.0, 2.0, 3.0], [5, 6, 7]
    records = np.array(list(zip(load, price, strict=True)), [("load", "f8"), ("price", "i4")])
    parquet = tmp_path / "sales.parquet"
    pl.DataFrame({"load": load, "price": price}).write_parquet(parquet)
    kinds = [
        {"load": load, "price": price},
        {"load": np.array(load), "price": tuple(price)},
        pd.DataFrame({"load": load, "price": price}),
        pl.DataFrame({"load": load, "price": price}),
        records,
        csv(tmp_path, "load,price\n1.0,5\n2.0,6\n3.0,7\n"),
        str(csv(tmp_path, "load;price\n1.0;5\n2.0;6\n3.0;7\n\n\n")),
        parquet,
    ]
    for data in kinds:
        table = Table.of("Forecaster", data)
        assert (table.names, table.rows) == (["load", "price"], 3)
        assert table.numbers("Forecaster", "load").tolist() == load
        assert table.numbers("Forecaster", "price").tolist() == price
    for data in (np.column_stack([load, price]), list(zip(load, price, strict=True))):
        table = Table.of("Forecaster", data)
        assert (table.names, table.rows) == ([0, 1], 3)
        assert table.numbers("Forecaster", 1).tolist() == price
    for data in (np.array(load), load, pd.Series(load), pl.Series(load)):
        table = Table.of("Forecaster", data)
        assert (table.names, table.rows) == ([0], 3)
        assert table.numbers("Forecaster", 0).tolist() == load


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "data is None; expected an array"),
        (3, "data is 3; expected an array"),
        (np.float64(3), "expected an array"),
        (np.zeros((2, 3, 4)), "shape (2, 3, 4); expected (time,) or (time, columns)"),
        ([[1, 2], [3]], "rows differ in length (1, 2)"),
        ([[1, 2], 3], "rows differ in length"),
        ([], "data has no"),
        ({}, "data has no columns"),
        ({"a": []}, "data has no rows"),
        (pd.DataFrame(), "data has no columns"),
        (pd.DataFrame({"a": []}), "data has no rows"),
        (pl.DataFrame({"a": []}), "data has no rows"),
        ({"a": [1], "b": [1, 2]}, "column 'a' has 1 rows and column 'b' has 2"),
        ({"a": "text"}, "column 'a' is 'text'; expected a column"),
        ({"a": np.zeros((2, 2))}, "column 'a' has shape (2, 2)"),
        (pl.LazyFrame({"a": [1]}), "collect() first"),
        (pd.DataFrame([[1, 2, 3]], columns=["b", "a", "a"]), "column 'a' occurs 2 times"),
        (iter([1, 2]), "expected an array"),
    ],
)
def test_what_is_no_table(data, words):
    assert words in said(Table.of, "Forecaster", data)


def test_a_column_that_is_not_there_is_named_with_those_that_are():
    table = Table.of("Forecaster", {"month": [1], "passengers": [2]})
    message = said(table.numbers, "Forecaster", "pasengers")
    assert "no column 'pasengers'; the columns are 'month', 'passengers'" in message
    assert "did you mean 'passengers'?" in message
    assert "no column 'xyz'" in said(table.numbers, "Forecaster", "xyz")
    assert "no column" in said(table.numbers, "Forecaster", ["month"])
    many = Table.of("Forecaster", np.zeros((1, 50)))
    assert "and 30 more" in said(many.numbers, "Forecaster", 50)


# ------------------------------ numbers


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None, 2.5], [1, np.nan, 2.5]),
        ([True, False], [1, 0]),
        (["1", " 2.5e3 ", "-.5", "+4."], [1, 2500, -0.5, 4]),
        (["1", "NA", "", "nan", "n/a", "NULL", "?"], [1, *[np.nan] * 6]),
        ([Decimal("0.1"), Fraction(1, 2), np.int8(3)], [0.1, 0.5, 3]),
        ([Decimal("NaN"), pd.NA, pd.NaT], [np.nan] * 3),
        ([2**63, 2**70], [2.0**63, 2.0**70]),
        (np.array([1, 2], np.uint8), [1, 2]),
        (np.ma.masked_array([1, 2], [False, True]), [1, np.nan]),
        (pd.array([1, None], dtype="Int64"), [1, np.nan]),
        (pd.array([1.5, None], dtype="Float32"), [1.5, np.nan]),
        (pd.array([True, None], dtype="boolean"), [1, np.nan]),
        (pl.Series([1, None]), [1, np.nan]),
        (pl.Series([True, None]), [1, np.nan]),
        (pl.Series([Decimal("1.25"), None]), [1.25, np.nan]),
        *(
            [(pl.Series([2**70, 1], dtype=pl.Int128), [2.0**70, 1])]
            if hasattr(pl, "Int128")
            else []
        ),
        (pl.Series(["1", None]), [1, np.nan]),
        (["1", "", "-.5e1"], [1, np.nan, -5]),
        (pl.Series([None, None]), [np.nan] * 2),
        (pd.arrays.SparseArray([0.0, 2.0]), [0, 2]),
    ],
)
def test_numbers(values, expected):
    if isinstance(values, np.ndarray):
        data = values
        name = 0
    elif isinstance(values, list):
        data, name = {"load": values}, "load"
    else:
        name = "load"
        data = pl.DataFrame({name: values}) if isinstance(values, pl.Series) else None
        data = pd.DataFrame({name: values}) if data is None else data
    found = Table.of("Forecaster", data).numbers("Forecaster", name)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0, np.inf], "row 1 (the first is row 0): is inf; expected a finite number"),
        (["1", "-inf"], "row 1 (the first is row 0): is -inf; expected a finite number"),
        ([1, "many"], "row 1 (the first is row 0): is the text 'many'; expected a number"),
        (["1", "2,5"], "is the text '2,5'; expected a number, with a point for the decimals"),
        (["1_000"], "is the text '1_000'"),
        (["0x10"], "is the text '0x10'"),
        (["1", "e5"], "row 1 (the first is row 0): is the text 'e5'"),
        (["1", "1e999"], "row 1 (the first is row 0): is inf"),
        (["1", "a\nb" * 100], "is the text 'a\\nba"),
        ([1, 2 + 1j], "row 1 (the first is row 0): is (2+1j); expected a number"),
        (np.array([1j]), "holds complex numbers; expected numbers"),
        ([1, 10**400], "is a number of 401 digits; expected one that fits"),
        ([1, [2]], "row 1 (the first is row 0): is [2]; expected a number"),
        ([datetime.date(2024, 1, 1)], "is datetime.date(2024, 1, 1); expected a number"),
        (np.array(["2024"], "M8[D]"), "holds times; expected numbers"),
        (np.array([b"x"]), "holds bytes; expected numbers"),
        (pd.Categorical(["a"]), "is a column of categories; expected numbers (encode"),
        (pd.array([1 + 2j]), "complex"),
        (pd.period_range("2024", periods=1, freq="D"), "holds times; expected numbers"),
        (pd.to_timedelta([1]), "is a column of type timedelta64[ns]"),
        (pl.Series([[1]]), "is a column of type List(Int64)"),
        (pl.Series(["a"], dtype=pl.Categorical), "is a column of categories"),
        (pl.Series([datetime.timedelta(1)]), "is a column of type Duration"),
    ],
)
def test_what_is_no_number(values, words):
    if isinstance(values, list | np.ndarray):
        data = {"load": values}
    else:
        frame = pl.DataFrame if isinstance(values, pl.Series) else pd.DataFrame
        data = frame({"load": values})
    table = Table.of("Forecaster", data)
    message = said(table.numbers, "Forecaster", "load")
    assert message.startswith("Forecaster: column 'load'")
    assert words in message


# ------------------------------ times


@pytest.mark.parametrize(
    ("texts", "expected", "later"),
    [
        (["1949", "1950"], "1949-01-01", "2031"),
        (["1949-01", "1949-02"], "1949-01-01", "2031-07"),
        (["1949-01-31", None], "1949-01-31", "2031-07-04"),
        (["1949-01-31 13", "1949-01-31 14"], "1949-01-31T13", "2031-07-04 05"),
        (["1949-01-31T13:30", ""], "1949-01-31T13:30", "2031-07-04T05:06"),
        (["1949-01-31 13:30:05"], "1949-01-31T13:30:05", "2031-07-04 05:06:07"),
        (["1949-01-31T13:30:05.25"], "1949-01-31T13:30:05.25", "2031-07-04T05:06:07.00"),
        (["1949-01-31T13:30:05Z"], "1949-01-31T13:30:05", "2031-07-04T05:06:07Z"),
        (["1949-01-31 13:30+05:30"], "1949-01-31T08:00", "2031-07-04 10:36+05:30"),
        (["1949-01-31 13:30-02:00", "1949-01-31 13:30+01:00"], "1949-01-31T15:30", None),
        (["1949Q2", "1949Q3"], "1949-04-01", "2031Q3"),
        (["1949-Q2"], "1949-04-01", "2031-Q3"),
        (["19490131"], "1949-01-31", "20310704"),
    ],
)
def test_text_is_read_as_a_time_and_later_times_are_written_like_it(texts, expected, later):
    table = Table.of("Forecaster", {"when": texts})
    times = table.times("Forecaster", "when")
    assert times[0] == np.datetime64(expected)
    assert np.isnat(times[1:]).all() or texts[1]
    answer = table.frame({"when": np.array(["2031-07-04T05:06:07"], "M8[s]")})["when"]
    assert answer[0] == (later or "2031-07-04 05:06+00:00")


def test_other_times_and_what_they_come_back_as():
    later = np.array(["2031-07-04T05:06:07"], "M8[s]")
    moment = datetime.datetime(2031, 7, 4, 5, 6, 7)
    for given_, back in [
        (np.array(["2024-01"], "M8[M]"), np.array(["2031-07"], "M8[M]")),
        ([datetime.date(2024, 1, 1)], np.array([moment.date()], object)),
        ([datetime.datetime(2024, 1, 1)], np.array([moment], object)),
        (
            [datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc), None],
            np.array([moment.replace(tzinfo=datetime.timezone.utc)], object),
        ),
    ]:
        table = Table.of("Forecaster", {"when": given_})
        assert table.times("Forecaster", "when")[0].astype("M8[D]") == np.datetime64("2024-01-01")
        answer = table.frame({"when": later})["when"]
        assert answer.dtype == back.dtype
        assert answer.tolist() == back.tolist()
    table = Table.of("Forecaster", {"when": ["12", "13"], "n": [7, 8]})
    assert table.times("Forecaster", "when").tolist() == [12, 13]
    assert table.times("Forecaster", "n").tolist() == [7, 8]
    assert table.frame({"when": np.array([14])})["when"].tolist() == ["14"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["2024-01", "Jan 2024"], "row 1 (the first is row 0): the text 'Jan 2024' is no time"),
        (["2024-01-31", "2024-02-30"], "'2024-02-30' is no day or hour that exists"),
        (["2024-01-31 24:00"], "is no day or hour that exists"),
        (["2024-01-31T10:00Z", "2024-01-31T11:00"], "row 1 (the first is row 0): '2024-01-31T11"),
        (
            [datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 2, tzinfo=UTC)],
            "some times have a zone and some have none; expected all or none",
        ),
        ([1.5, 2.5], "holds numbers with decimals; expected times"),
        ([True, False], "holds booleans; expected times"),
        ([1, "2024"], "holds values of several types"),
        ([1, 2**70], "row 1 (the first is row 0): is 1180591620717411303424; expected a time, or"),
        (
            np.array([2**63], np.uint64),
            "is 9223372036854775808; expected a time, or a whole number",
        ),
        ([None, None], "holds values of several types, or none; expected times"),
    ],
)
def test_what_is_no_time(values, words):
    table = Table.of("Forecaster", {"when": values})
    message = said(table.times, "Forecaster", "when")
    assert message.startswith("Forecaster: column 'when'")
    assert words in message


def test_which_columns_hold_times():
    frame = pd.DataFrame(
        {
            "day": pd.date_range("2024", periods=2),
            "text": ["2024-01", None],
            "month": pd.period_range("2024", periods=2, freq="M"),
            "date": [datetime.date(2024, 1, 1)] * 2,
            "year": [2024, 2025],
            "year as text": ["2024", "2025"],
            "name": ["a", "b"],
            "load": [1.0, 2.0],
        }
    )
    table = Table.of("Forecaster", frame)
    assert table.time_columns() == ["day", "text", "month", "date"]
    assert Table.of("Forecaster", frame.set_index("day")).time_columns() == ["day"]


# ------------------------------ labels


def test_labels_are_what_they_were_and_none_may_be_missing():
    for values in (["a", "b"], [1, 2], [datetime.date(2024, 1, 1)] * 2):
        assert Table.of("Forecaster", {"s": values}).labels("Forecaster", "s") == values
    frame = pd.DataFrame({"s": pd.Categorical(["a", "b"])})
    assert Table.of("Forecaster", frame).labels("Forecaster", "s") == ["a", "b"]
    for values in (["a", None], ["a", " "], [1.0, np.nan]):
        table = Table.of("Forecaster", {"s": values})
        assert "column 's', row 1 (the first is row 0): is missing" in said(
            table.labels, "Forecaster", "s"
        )
    table = Table.of("Forecaster", {"s": [["a"], ["b"]]})
    assert "is ['a']; expected a name" in said(table.labels, "Forecaster", "s")


# ------------------------------ files


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "sales.csv has no names in line 1"),
        ("\n1\n", "sales.csv has no names in line 1"),
        ("a,,c\n1,2,3\n", "no name for column 2 in line 1"),
        ("a,b,a\n1,2,3\n", "line 1: the column 'a' occurs 2 times"),
        ("a,b\n1,2\n1,2,3\n", "line 3 of sales.csv has 3 fields; expected 2"),
        ("a,b\n", "data has no rows"),
        ("a,b\n\n\n", "data has no rows"),
        ("a,b\n1,2\n" + "x" * 200_000 + ",1\n", "line 3 of sales.csv cannot be read as CSV"),
        ('a,b\n1,"2\n3,4\n', "ends within a field in quotation marks, begun after line 1 (corr"),
        ('a,b\n1,2\n1,"2" 3\n', "line 3 of sales.csv cannot be read as CSV"),
        ("2024-01-01,112\n2024-02-01,118\n", "has '2024-01-01' as the name of a column in line 1"),
        ("112;1e5\n118;2\n", "has '112' as the name of a column in line 1, and no words; expected"),
        ("7\n8\n", "sales.csv has '7' as the name of a column in line 1"),
        ("1|1\n2|2\n", "sales.csv has '1' as the name of a column in line 1"),
    ],
)
def test_what_is_no_csv(tmp_path, text, words):
    assert words in said(Table.of, "Forecaster", csv(tmp_path, text))


def test_lines_are_those_of_the_file(tmp_path):
    path = csv(tmp_path, 'note,load\n"two\nlines",1\n\nx,text\n')
    table = Table.of("Forecaster", path)
    assert table.rows == 3
    message = said(table.numbers, "Forecaster", "load")
    assert "column 'load', line 5 of sales.csv: is the text 'text'" in message


def test_how_a_csv_may_be_written(tmp_path):
    for text, names in [
        ('\ufeff"a,b|c";price\n"1";2\n', ["a,b|c", "price"]),
        ('"two\nlines",price\n1,2\n', ["two\nlines", "price"]),
        ("a|price\r\n1|2\r\n", ["a", "price"]),
        ("a\tprice\r1\t2\r", ["a", "price"]),
        ("0,1\n1,2\n", ["0", "1"]),
        ("1,2\n1,2\n", ["1", "2"]),
        ("a,2\n1,2\n", ["a", "2"]),
    ]:
        table = Table.of("Forecaster", csv(tmp_path, text))
        assert (table.names, table.rows) == (names, 1)
        assert table.numbers("Forecaster", names[1]).tolist() == [2]
    table = Table.of("Forecaster", csv(tmp_path, '"two\nlines",price\n1,2\n1,x\n'))
    assert "line 4 of sales.csv: is the text 'x'" in said(table.numbers, "Forecaster", "price")
    table = Table.of("Forecaster", csv(tmp_path, "a;price\n1;1,5\n"))
    assert "read_csv(file, decimal=',')" in said(table.numbers, "Forecaster", "price")


def test_files_that_are_damaged_or_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Table.of("Forecaster", tmp_path / "none.csv")
    with pytest.raises(IsADirectoryError):
        Table.of("Forecaster", tmp_path)
    (tmp_path / "a.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    assert "a.csv is not UTF-8 text" in said(Table.of, "Forecaster", tmp_path / "a.csv")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing more")
    assert "cannot be read as Parquet" in said(Table.of, "Forecaster", tmp_path / "a.parquet")
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8b rest")
    assert "a.gz is packed (gzip); expected" in said(Table.of, "Forecaster", tmp_path / "a.gz")
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04 rest")
    assert "(zip, or a workbook)" in said(Table.of, "Forecaster", tmp_path / "a.xlsx")
    assert "data is 'a\\x00b'; expected a path" in said(Table.of, "Forecaster", "a\0b")


def read_all(data):
    """Read everything in every way, where it can be; InputErrors have one line each."""
    try:
        table = Table.of("Forecaster", data)
    except InputError as error:
        return [str(error)]
    messages = []
    for name in table.names:
        for read in (table.numbers, table.times, table.labels):
            try:
                read("Forecaster", name)
            except InputError as error:
                messages.append(str(error))
    return messages


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"PAR1", b"a,b\n"]))
def test_any_bytes_give_a_table_or_a_line(tmp_path_factory, data, start):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(start + data)
    assert not [message for message in read_all(path) if "\n" in message]


ANYTHING = st.text("0123456789-:TQZ+. ab\n", max_size=25) | st.none() | st.integers() | st.floats()


@settings(max_examples=30, deadline=None)
@given(st.lists(ANYTHING, min_size=1, max_size=4))
def test_any_values_give_numbers_times_or_a_line(values):
    assert not [message for message in read_all({"x": values}) if "\n" in message]


# ------------------------------ without what reads frames


def test_arrays_and_dicts_need_no_extra_and_the_others_name_it(tmp_path, monkeypatch):
    for package in ("narwhals", "polars", "pandas"):
        monkeypatch.setitem(sys.modules, package, None)
    assert Table.of("Forecaster", {"a": [1]}).numbers("Forecaster", "a").tolist() == [1]
    assert Table.of("Forecaster", [1]).numbers("Forecaster", 0).tolist() == [1]
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    for data in (csv(tmp_path, "a\n1\n"), tmp_path / "a.parquet", pl.DataFrame({"a": [1]})):
        assert 'pip install "lstmkit[tasks]"' in said(Table.of, "Forecaster", data)
