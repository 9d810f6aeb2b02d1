"""Times in equal steps, beside pandas' own date ranges, and what is said of those that are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmkit.shapes import InputError
from lstmkit.tasks import timeline, zones

STEPS = {  # pandas' name of a step: what we call it, its season
    "MS": ("monthly", 12),
    "ME": ("monthly", 12),
    "QS": ("quarterly", 4),
    "QE": ("quarterly", 4),
    "QS-FEB": ("quarterly", 4),
    "6MS": ("half-yearly", 2),
    "2MS": ("every 2 months", 6),
    "5MS": ("every 5 months", 1),
    "YS": ("yearly", 1),
    "YE": ("yearly", 1),
    "YE-JUN": ("yearly", 1),
    "24MS": ("every 2 years", 1),
    "W-SUN": ("weekly", 52),
    "W-WED": ("weekly", 52),
    "2W": ("every 2 weeks", 1),
    "D": ("daily", 7),
    "3D": ("every 3 days", 1),
    "B": ("business days, Monday to Friday", 5),
    "h": ("hourly", 24),
    "6h": ("every 6 hours", 4),
    "5h": ("every 5 hours", 1),
    "15min": ("every 15 minutes", 96),
    "min": ("every minute", 1440),
    "s": ("every second", 1),
    "7s": ("every 7 seconds", 1),
    "20ms": ("every 0.02 seconds", 1),
}


def times(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[s]")


def seconds(index: pd.DatetimeIndex) -> np.ndarray:
    return timeline.seconds_or_finer(index.to_numpy())


@pytest.mark.parametrize("freq", STEPS)
@pytest.mark.parametrize("start", ["1949-01-01", "2023-12-28 13:30"])
def test_a_step_is_found_and_followed_as_pandas_does(freq, start):
    whole = pd.date_range(start, periods=60, freq=freq)
    ours = seconds(whole)
    found = timeline.detect("test", "time", ours[:30])
    assert (found.name, found.season) == STEPS[freq]
    assert np.array_equal(timeline.following(ours[29], found, 30), ours[30:])
    assert np.array_equal(timeline.following(ours[29], found, 0), ours[29:30])
    assert np.array_equal(timeline.positions(ours, found), np.arange(60))
    timeline.check("test", "time", ours, found)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(sorted(STEPS)),
    st.datetimes(pd.Timestamp("1700-01-01"), pd.Timestamp("2090-01-01")),
    st.sets(st.integers(1, 38)),
)
def test_missing_times_are_found_where_they_are(freq, start, gone):
    """The first and the last two of 60 stay, and more of the rest than a gap hides."""
    whole = pd.date_range(pd.Timestamp(start).floor("s"), periods=80, freq=freq)
    kept = np.setdiff1d(np.arange(80), sorted(gone)[:8])
    ours = seconds(whole)[kept]
    found = timeline.detect("test", "time", ours, gaps=True)
    assert np.array_equal(timeline.positions(ours, found), kept)
    if len(kept) < 80:
        first = int(np.setdiff1d(np.arange(80), kept)[0])
        with pytest.raises(InputError) as error:
            timeline.detect("test", "time", ours)
        assert f"row {first} " in str(error.value)
        assert f"no {timeline.written(seconds(whole)[first])}" in str(error.value)


@pytest.mark.parametrize(
    ("given", "expected", "after"),
    [
        ("2024-01-15 2024-02-15", "monthly", "2024-03-15 2024-04-15"),
        ("2023-11-30 2023-12-31", "monthly", "2024-01-31 2024-02-29"),
        ("2023-11-30 2023-12-30", "monthly", "2024-01-30 2024-02-29"),
        ("2022-02-28 2023-02-28", "yearly", "2024-02-29 2025-02-28"),
        ("2023-02-28 2024-02-28", "yearly", "2025-02-28 2026-02-28"),
        ("2020-02-29 2024-02-29", "every 4 years", "2028-02-29 2032-02-29"),
        ("2024-02-28 2024-02-29", "daily", "2024-03-01 2024-03-02"),
        ("2024-02-23 2024-03-01", "weekly", "2024-03-08 2024-03-15"),
        ("2024-02-29T23:30 2024-03-01T00:00", "every 30 minutes", "2024-03-01T00:30"),
        ("2024-01-01T23:59:59.999 2024-01-02T23:59:59.999", "daily", "2024-01-03T23:59:59.999"),
        ("2024-01-01T23:00:00.5 2024-01-02T00:00:00.5", "hourly", "2024-01-02T01:00:00.5"),
        ("2024-01-01T00:00:00.5 2024-01-01T00:00:01.5", "every second", "2024-01-01T00:00:02.5"),
        ("2024-01-01T00:00:00.5 2024-01-01T00:00:00.505", "every 0.005 seconds",
         "2024-01-01T00:00:00.51"),
    ],
)  # fmt: skip
def test_two_times_go_on(given, expected, after):
    whole = timeline.seconds_or_finer(np.array(given.split() + after.split(), "datetime64[ms]"))
    found = timeline.detect("test", "time", whole[:2])
    assert found.name == expected
    coarse = timeline.detect("test", "time", whole.astype("datetime64[s]")[:2]) if (
        expected[-7:] != "seconds") else found  # fmt: skip
    assert found == coarse
    assert np.array_equal(timeline.following(whole[1], found, len(whole) - 2), whole[2:])
    timeline.check("test", "time", whole, found)


def test_fractions_of_a_second_far_away():
    far = np.array(["1600-01-01T00:00:00", "3000-01-01T00:00:00.5"], "datetime64[ms]")
    with pytest.raises(InputError, match=r"times: 3000-01-01 00:00:00\.5 has a fraction .* 1678"):
        timeline.seconds_or_finer(far)
    assert timeline.seconds_or_finer(far[:1]).dtype == "datetime64[s]"


def test_numbers_are_steps_too():
    found = timeline.detect("test", "year", np.arange(1700, 1990, 10))
    assert found == ("number", 10, "numbered by 10", 1, False, None)
    assert timeline.following(np.int64(1980), found, 2).tolist() == [1990, 2000]
    assert timeline.calendar(np.arange(3), found)[1].shape == (3, 0)


def test_five_days_from_monday_are_days_and_ten_are_business_days():
    week = seconds(pd.date_range("2024-01-01", periods=10, freq="B"))
    assert timeline.detect("test", "time", week[:5]).name == "daily"
    assert timeline.detect("test", "time", week[:6]).unit == "business day"
    gap = times("2024-01-01", "2024-01-02", "2024-01-05")  # Tuesday to Friday is no weekend
    assert timeline.detect("test", "time", gap, gaps=True).name == "daily"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (times("2024-01-01"), ["holds 1 of the 2 times", "give more rows"]),
        (times("2024-01-01", "NaT", "2024-01-02"), ["row 1 ", "missing", "drop the row"]),
        (times("2024-01-01", "2024-01-02", "2024-01-02"), ["row 2 ", "2024-01-02", "second time"]),
        (times("2024-01-01", "2024-01-03", "2024-01-02"), ["row 2 ", "after 2024-01-03", "sort"]),
        (
            times("2024-01-01", "2024-02-01", "2024-05-01", "2024-06-01", "2024-07-01"),
            [
                "row 2 ",
                "monthly",
                "before 2024-05-01",
                "no 2024-03-01 and 1 more",
                "missing='fill'",
            ],
        ),
        (
            times("2024-01-31", "2024-02-29", "2024-04-30", "2024-05-31", "2024-07-31"),
            ["row 2 ", "the last day of a month", "no 2024-03-31", "2 are missing in 2 gaps"],
        ),
        (
            times("2024-01-01T00", "2024-01-01T01", "2024-01-01T02", "2024-01-01T02:20"),
            ["row 3 ", "2024-01-01 02:20 follows on 2024-01-01 02:00", "hourly", "equal steps"],
        ),
        (
            times("2024-01-01", "2024-02-01", "2024-03-02", "2024-04-01"),
            ["row 1 ", "equal steps", "time=False"],
        ),
        (np.array([1, 2, 5, 6]), ["row 2 ", "numbered", "no 3 and 1 more"]),
        (
            np.array([0, 10**15, 2 * 10**15], "M8[s]"),
            ["row 1 ", "the year is 31690708; expected 1 to 9999"],
        ),
        (np.array([2, 1]), ["row 1 ", "1 stands after 2"]),
        (  # Mondays, Wednesdays and Fridays are no business days
            times("2024-01-01", "2024-01-03", "2024-01-05", "2024-01-08", "2024-01-10"),
            ["row 3 ", "2024-01-08 follows on 2024-01-05", "every 2 days"],
        ),
        (
            times("2024-01-31T00", "2024-02-29T06", "2024-03-31T00"),
            ["row 2 ", "equal steps"],
        ),
        (
            times("2024-10-27T01", "2024-10-27T02", "2024-10-27T02", "2024-10-27T03"),
            ["row 2 ", "second time", "summer time", "zone"],
        ),
        (
            times("2024-03-31T00", "2024-03-31T01", "2024-03-31T03", "2024-03-31T04"),
            ["row 2 ", "no 2024-03-31 02:00", "summer time", "zone"],
        ),
    ],
)
def test_what_is_wrong_is_one_line_with_column_row_and_remedy(given, words):
    with pytest.raises(InputError) as error:
        timeline.detect("Forecaster", "month", given)
    message = str(error.value)
    assert message.startswith("Forecaster: column 'month'")
    assert "\n" not in message
    for word in words:
        assert word in message, message
    assert ("are missing in" in message) == any("are missing in" in word for word in words)
    assert ("summer time" in message) == ("summer time" in words)


def test_a_clock_is_moved_on_a_sunday_of_spring_or_autumn_alone():
    for texts in [
        ("2024-06-30T01", "2024-06-30T02", "2024-06-30T02"),  # a Sunday
        ("2024-10-28T01", "2024-10-28T02", "2024-10-28T02"),  # a Monday
        ("2024-10-27T03", "2024-10-27T04", "2024-10-27T04"),
    ]:
        with pytest.raises(InputError, match=r"second time \(drop one of the rows"):
            timeline.detect("test", "time", times(*texts))


def test_times_off_a_step_that_is_known():
    monthly = timeline.detect("test", "t", times("2024-01-31", "2024-02-29"))
    with pytest.raises(InputError, match=r"row 1 .*2024-04-29 is not on the steps.*last day"):
        timeline.check("test", "t", times("2024-03-31", "2024-04-29"), monthly)
    working = timeline.detect("t", "t", seconds(pd.date_range("2024-01-01", periods=9, freq="B")))
    with pytest.raises(InputError, match=r"row 1 .*2024-01-13 is not on the steps"):
        timeline.check("test", "t", times("2024-01-12", "2024-01-13"), working)
    with pytest.raises(InputError, match="holds whole numbers; expected times that are monthly"):
        timeline.check("test", "t", np.arange(3), monthly)
    daily = timeline.detect("t", "t", times("2024-01-01", "2024-01-02"))
    with pytest.raises(InputError, match=r"row 1 .*the step is daily.*no 2024-01-02"):
        timeline.check("test", "t", times("2024-01-01", "2024-01-03"), daily)
    timeline.check("test", "t", times("2024-01-01"), daily)


# ------------------------------ the calendar


@pytest.mark.parametrize(
    ("freq", "names"),
    [
        ("15min", ["day", "week", "year"]),
        ("D", ["week", "year"]),
        ("B", ["week", "year"]),
        ("W", ["year"]),
        ("MS", ["year"]),
        ("QE", ["year"]),
        ("YS", []),
    ],
)
def test_the_calendar_has_what_the_step_resolves_and_repeats_after_a_season(freq, names):
    index = pd.date_range("2023-01-01", periods=200, freq=freq)
    found = timeline.detect("test", "time", seconds(index))
    columns, features = timeline.calendar(seconds(index), found)
    assert columns == [f"{wave}({name})" for name in names for wave in ("sin", "cos")]
    assert features.shape == (200, len(columns))
    assert np.isfinite(features).all()
    for k in range(0, len(columns), 2):  # points on a circle
        assert np.allclose((features[:, k : k + 2] ** 2).sum(1), 1, atol=1e-12)
    if found.unit == "month" and names:
        assert np.allclose(features[: -found.season], features[found.season :], atol=1e-12)
    if freq == "D":
        assert np.allclose(features[:-7, :2], features[7:, :2], atol=1e-12)


def test_the_calendar_by_hand():
    """Monday 1 January 2024, 6:00: a quarter of the day, a 28th of the week, the year's begin."""
    hourly = timeline.Timeline("second", 3600, "hourly", 24)
    names, features = timeline.calendar(times("2024-01-01T06"), hourly)
    assert names[0] == "sin(day)"
    turns = 2 * np.pi * np.array([0.25, 0.25 / 7, 0.25 / 366])
    assert np.allclose(features[0, 0::2], np.sin(turns), atol=1e-14)
    assert np.allclose(features[0, 1::2], np.cos(turns), atol=1e-14)
    there = hourly._replace(zone="Asia/Tokyo")  # nine hours ahead of UTC, no summer time
    assert np.array_equal(timeline.calendar(times("2023-12-31T21"), there)[1], features)


# ------------------------------ zones


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.datetimes(pd.Timestamp("1975-01-01"), pd.Timestamp("2035-01-01")), min_size=1),
    st.sampled_from(
        [
            "Europe/Berlin",
            "America/New_York",
            "Asia/Kolkata",
            "Australia/Lord_Howe",
            "UTC",
            "-03:30",
        ]
    ),
)
def test_the_clock_on_the_wall_is_that_of_pandas(moments, zone):
    index = pd.DatetimeIndex(moments).floor("s")
    theirs = index.tz_localize("UTC").tz_convert(zone).tz_localize(None)
    local = zones.wall(index.to_numpy().astype("datetime64[s]"), zone)
    assert np.array_equal(local, theirs.to_numpy())
    back = theirs.tz_localize(
        zone, ambiguous=np.ones(len(theirs), bool), nonexistent="shift_forward"
    )
    assert np.array_equal(zones.instants(local, zone), back.tz_convert(None).to_numpy())


def test_a_clock_that_stands_still_or_jumps():
    """Berlin, 27 October 2024 2:30 is shown twice, 31 March 2:30 never."""
    twice, never = zones.instants(times("2024-10-27T02:30", "2024-03-31T02:30"), "Europe/Berlin")
    assert str(twice) == "2024-10-27T00:30:00"  # the first, still in summer time
    assert str(never) == "2024-03-31T01:30:00"  # 3:30, an hour later
    assert str(zones.wall(np.array([never]), "Europe/Berlin")[0]) == "2024-03-31T03:30:00"


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "tzfile('/x')", "+x", ""])
def test_a_zone_that_is_not_known(name):
    with pytest.raises(InputError, match=r"the zone .* is not known; expected a name such as"):
        zones.wall(times("2024-10-27T02:30"), name)


def test_days_with_a_zone_go_from_midnight_to_midnight():
    days = pd.date_range("2024-03-28", periods=8, freq="D", tz="Europe/Berlin")
    utc = days.tz_convert(None).to_numpy().astype("datetime64[s]")
    local = zones.whole_days(utc, "Europe/Berlin")
    assert timeline.detect("test", "time", local).name == "daily"
    assert zones.whole_days(utc + np.arange(8) * np.timedelta64(1, "h"), "Europe/Berlin") is None


def test_a_day_that_begins_at_one_is_a_day():
    """In São Paulo the summer time of 2018 began at midnight of 4 November."""
    zone = "America/Sao_Paulo"
    days = pd.date_range("2018-11-02", periods=6).tz_localize(zone, nonexistent="shift_forward")
    assert days[2].hour == 1
    utc = days.tz_convert(None).to_numpy().astype("datetime64[s]")
    local = zones.whole_days(utc, zone)
    assert np.array_equal(local, np.arange("2018-11-02", "2018-11-08", dtype="M8[D]"))
    assert np.array_equal(zones.instants(local, zone), utc)
    assert zones.whole_days(utc + (np.arange(6) == 4) * np.timedelta64(1, "h"), zone) is None
