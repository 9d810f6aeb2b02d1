"""Two published series to try forecasts on: they come with the package and need nothing else.

Each is a dict of columns, which `lstmkit.Forecaster` takes as it is, and so do ``pandas.DataFrame``
and ``polars.DataFrame``. `path` gives the CSV file itself, for the command line.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lstmkit.shapes import Array, one_of

__all__ = ["load_airline", "load_sunspots", "path"]

NAMES = ("airline", "sunspots")


def load_airline() -> dict[str, Array]:
    """Return the monthly totals of international airline passengers, 1949 to 1960.

    A trend, and a season that grows with it.

    Returns
    -------
    dict
        ``"month"``, the first day of each month (144,) datetime64[D]; ``"passengers"``, in
        thousands (144,) float64. New arrays at each call.

    Notes
    -----
    Series G of Box and Jenkins (1976), *Time Series Analysis: Forecasting and Control*, revised
    edition, Holden-Day; R's ``AirPassengers``.

    Examples
    --------
    >>> data = load_airline()
    >>> print(data["month"][-1], data["passengers"][-1])
    1960-12-01 432.0
    """
    return _load("airline")


def load_sunspots() -> dict[str, Array]:
    """Return the monthly means of the relative sunspot number, 1749 to 1983.

    A cycle of about eleven years, whose length and height change; a season of twelve months it
    has not.

    Returns
    -------
    dict
        ``"month"``, the first day of each month (2820,) datetime64[D]; ``"sunspots"`` (2820,)
        float64. New arrays at each call.

    Notes
    -----
    Collected in Zurich until 1960, then in Tokyo. Andrews and Herzberg (1985), *Data: A Collection
    of Problems from Many Fields for the Student and Research Worker*, Springer; R's ``sunspots``.
    Later revisions of the record differ in some months.

    Examples
    --------
    >>> data = load_sunspots()
    >>> len(data["month"]), float(data["sunspots"].max())
    (2820, 253.8)
    """
    return _load("sunspots")


def path(name: str) -> Path:
    """Return where the CSV file of a series is: ``"airline"`` or ``"sunspots"``.

    Raises
    ------
    InputError
        If there is no such series.

    Examples
    --------
    >>> path("airline").name
    'airline.csv'
    """
    return Path(__file__).parent / f"{one_of('datasets', 'name', name, NAMES)}.csv"


def _load(name: str) -> dict[str, Array]:
    header, *rows = path(name).read_text(encoding="utf-8").split()
    months, values = zip(*(row.split(",") for row in rows), strict=True)
    time, column = header.split(",")
    # Days: of the units that hold a month without loss the one that pandas and polars both take.
    return {time: np.array(months, "datetime64[D]"), column: np.array(values, np.float64)}
