"""A column writes later times as its own are written, and a copy from a pickle does so too."""

from __future__ import annotations

import datetime
import importlib
import pickle

import numpy as np
import pytest

from lstmkit.tasks.columns import Column
from lstmkit.tasks.tables import Table

DAYS = np.array(["2024-01-30", "2024-01-31"], "datetime64[s]")
NEXT = np.array(["2024-02-01", "2024-04-02"], "datetime64[s]")
AHEAD = datetime.timezone(datetime.timedelta(hours=1))

CASES = {
    "datetime64": (DAYS.astype("datetime64[D]"), NEXT.astype("datetime64[D]").tolist()),
    "ISO": (["2024-01-30", "2024-01-31"], ["2024-02-01", "2024-04-02"]),
    "an offset": (
        ["2024-01-30T01:00+01:00", "2024-01-31T01:00+01:00"],
        ["2024-02-01T01:00+01:00", "2024-04-02T01:00+01:00"],
    ),
    "compact": (["20240130", "20240131"], ["20240201", "20240402"]),
    "quarters": (["2023Q4", "2024Q1"], ["2024Q1", "2024Q2"]),
    "dates": (
        [datetime.date(2024, 1, 30), datetime.date(2024, 1, 31)],
        [datetime.date(2024, 2, 1), datetime.date(2024, 4, 2)],
    ),
    "datetimes": (
        [datetime.datetime(2024, 1, 30), datetime.datetime(2024, 1, 31)],
        [datetime.datetime(2024, 2, 1), datetime.datetime(2024, 4, 2)],
    ),
    "datetimes of a zone": (
        [datetime.datetime(2024, 1, day, 1, tzinfo=AHEAD) for day in (30, 31)],
        [
            datetime.datetime(2024, 2, 1, 1, tzinfo=AHEAD),
            datetime.datetime(2024, 4, 2, 1, tzinfo=AHEAD),
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_later_times_are_written_alike(case):
    given, expected = CASES[case]
    column = Column("t", np.array(given, None if case == "datetime64" else object))
    column.times("test", str)
    for one in (column, pickle.loads(pickle.dumps(column))):
        written = one.restored(NEXT)
        assert (written.tolist() if isinstance(written, np.ndarray) else written) == expected


def test_a_counted_column_is_written_as_text():
    column = Column("t", np.array(["7", "8"], object))
    assert column.times("test", str).tolist() == [7, 8]
    copy = pickle.loads(pickle.dumps(column))
    assert copy.restored(np.array([9, 10])) == ["9", "10"]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_is_pickled(library):
    frames = importlib.import_module(library)
    data = frames.DataFrame({"t": DAYS.astype("datetime64[ms]"), "v": [1.0, 2.0]})
    table = Table.of("test", data)
    table.times("test", "t")
    copy = pickle.loads(pickle.dumps(table))
    columns = {"t": NEXT, "v": np.array([3.0, 4.0])}
    assert type(copy.frame(columns)) is type(data)
    assert copy.frame(columns).equals(table.frame(columns))
