"""Tables of pyarrow: series out of them, forecasts back as them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lstmkit.shapes import InputError
from lstmkit.tasks.panel import frame, panel
from lstmkit.tasks.tables import Table

pytestmark = pytest.mark.conformance

TIMES = [
    pa.timestamp("s"),
    pa.timestamp("ns"),
    pa.timestamp("us", "Europe/Berlin"),
    pa.timestamp("ms", "America/New_York"),
    pa.date32(),
    pa.date64(),
]


@pytest.mark.parametrize("dtype", TIMES, ids=str)
def test_a_long_table_keeps_its_types(dtype):
    days = np.arange("2024-03-01", "2024-03-11", dtype="M8[D]")
    times = pa.array(np.repeat(days, 2).astype("M8[s]"), pa.timestamp("s")).cast(
        pa.timestamp("us") if pa.types.is_timestamp(dtype) else dtype
    )
    data = pa.table(
        {
            "shop": pa.array(["b", "a"] * 10).dictionary_encode(),
            "day": times.cast(dtype),
            "sold": pa.array(np.arange(20), pa.int32()),
        }
    )
    one = panel("Forecaster", data.slice(0, 16), series="shop")
    assert [rows.target[:, 0].tolist() for rows in one.series] == [
        list(range(0, 16, 2)),
        list(range(1, 16, 2)),
    ]
    values = [np.array([[[16.0]], [[18.0]]]), np.array([[[17.0]], [[19.0]]])]
    answer = frame(one, values)
    assert answer.schema.field("day").type == dtype
    assert answer.sort_by("sold").column("day").to_pylist() == data.column("day")[16:].to_pylist()
    assert answer.sort_by("sold").column("shop").to_pylist() == ["b", "a", "b", "a"]
    assert answer.sort_by("sold").column("sold").to_pylist() == [16, 17, 18, 19]


def test_arrays_and_nulls():
    column = pa.chunked_array([[1, 2], [None, 4]])
    with pytest.raises(InputError, match=r"row 2 .* is missing"):
        panel("Forecaster", column)
    one = panel("Forecaster", column, missing="fill")
    assert one.series[0].target[:, 0].tolist() == [1, 2, 2, 4]
    assert isinstance(frame(one, [np.ones((2, 1, 1))]), pa.ChunkedArray)
    table = Table.of("Forecaster", pa.table({"x": pa.array([{"a": 1}])}))
    with pytest.raises(InputError, match="column 'x' is a column of type struct"):
        table.numbers("Forecaster", "x")


@pytest.mark.parametrize("dtype", TIMES, ids=str)
@pytest.mark.parametrize("where", ["index", "column"])
def test_pandas_with_types_of_pyarrow(dtype, where):
    """What pandas holds in pyarrow's types goes on in them: the same instants, the same clock."""
    zone = getattr(dtype, "tz", None)
    times = pd.Series(pd.date_range("2024-03-29", periods=6, tz=zone)).astype(pd.ArrowDtype(dtype))
    data = pd.DataFrame({"day": times, "load": np.arange(6.0)})
    data = data.set_index("day") if where == "index" else data
    answer = frame(panel("Forecaster", data.head(4)), [np.array([4.0, 5.0])[:, None, None]])
    expected = data.tail(2) if where == "index" else data.tail(2).reset_index(drop=True)
    pd.testing.assert_frame_equal(answer, expected)


def test_numbers_of_pandas_in_types_of_pyarrow():
    for values, dtype in [([1, None], "int64[pyarrow]"), (["1", None], "string[pyarrow]")]:
        table = Table.of("Forecaster", pd.DataFrame({"x": pd.array(values, dtype=dtype)}))
        np.testing.assert_array_equal(table.numbers("Forecaster", "x"), [1, np.nan])
