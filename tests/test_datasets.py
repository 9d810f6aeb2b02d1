"""The series that come with the package are the published ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from lstmkit import datasets
from lstmkit.shapes import InputError

LOADERS = {"airline": datasets.load_airline, "sunspots": datasets.load_sunspots}


def test_the_airline_passengers_are_series_g():
    """The first and last years as Box and Jenkins (1976) print them; the sum over all years."""
    data = datasets.load_airline()
    assert list(data) == ["month", "passengers"]
    first = [112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118]
    last = [417, 391, 419, 461, 472, 535, 622, 606, 508, 461, 390, 432]
    assert data["passengers"][:12].tolist() == first
    assert data["passengers"][-12:].tolist() == last
    assert data["passengers"].sum() == 40363


def test_the_sunspots_are_those_of_r():
    """The sum is that of R's ``sunspots`` (pydataset 0.2.0); the greatest is October 1957."""
    data = datasets.load_sunspots()
    assert list(data) == ["month", "sunspots"]
    assert data["sunspots"][:4].tolist() == [58, 62.6, 70, 55.7]
    assert data["sunspots"][-4:].tolist() == [50.3, 55.8, 33.3, 33.4]
    assert data["sunspots"].sum() == pytest.approx(144570, abs=0.01)
    assert data["month"][data["sunspots"].argmax()] == np.datetime64("1957-10-01")


@pytest.mark.parametrize(
    ("name", "first", "count"), [("airline", 1949, 144), ("sunspots", 1749, 2820)]
)
def test_no_month_is_missing(name, first, count):
    data = LOADERS[name]()
    months = data["month"].astype("datetime64[M]")
    assert months[0] == np.datetime64(f"{first}-01")
    assert len(months) == count
    assert (np.diff(months) == np.timedelta64(1, "M")).all()
    assert (months.astype("datetime64[D]") == data["month"]).all()
    values = next(values for column, values in data.items() if column != "month")
    assert values.dtype == np.float64
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", LOADERS)
def test_the_columns_make_a_frame(name):
    data = LOADERS[name]()
    assert pd.DataFrame(data)["month"].dt.month.tolist()[:3] == [1, 2, 3]
    assert pl.DataFrame(data).schema["month"] == pl.Date


def test_who_changes_the_columns_changes_a_copy():
    datasets.load_airline()["passengers"][:] = 0
    assert datasets.load_airline()["passengers"][0] == 112


def test_a_series_that_is_not_there():
    with pytest.raises(InputError, match="datasets: name is 'lynx'; expected one of 'airline', "):
        datasets.path("lynx")
