"""The forms in which columns write their times: which one it is, and later times in the same form.

ISO text (1949, 1949-01, 1949-01-31 13:30:05.25+01:00), quarters (1949Q1), compact days (19490131),
whole numbers as text, Python's dates and times. All writers are named functions of a module,
because a model is pickled with the one that it needs.
"""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np

from lstmkit.shapes import Array

ISO = re.compile(
    r"(?P<date>\d{4}(?:-\d\d(?:-\d\d)?)?)"
    r"(?:[T ](?P<clock>\d\d(?::\d\d(?::\d\d(?:\.\d{1,9})?)?)?)(?P<zone>Z|[+-]\d\d:?\d\d)?)?"
)
QUARTER = re.compile(r"(\d{4})-?Q([1-4])")
COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)")
WHOLE = re.compile(r"[+-]?\d{1,18}")


def looks_like_a_time(text: str) -> bool:
    """Whether text begins with a date in ISO form, or is a quarter; a year alone may be a number.

    Examples
    --------
    >>> [looks_like_a_time(text) for text in ("1949-01", "1949Q1", "1949", "19490131", "a-b")]
    [True, True, False, False, False]
    """
    return (ISO if "-" in text else QUARTER).fullmatch(text) is not None


# ------------------------------ into ISO text


def from_quarter(text: str) -> str:
    """Return the first month of a quarter as ISO text, for example of 1949Q2; "" of ""."""
    return QUARTER.sub(lambda match: f"{match[1]}-{3 * int(match[2]) - 2:02d}", text)


def from_compact(text: str) -> str:
    """Return the day that 19490131 names as ISO text; "" of ""."""
    return COMPACT.sub(r"\1-\2-\3", text)


def utc(text: str) -> str:
    """Return ISO text without its offset, in UTC."""
    match = ISO.fullmatch(text)
    if match is None or match["zone"] is None:
        return text
    base = np.datetime64(text[: match.start("zone")], "ns" if len(text) > 32 else "us")
    return str(base - np.timedelta64(_minutes(match["zone"]), "m"))


def _minutes(zone: str) -> int:
    if zone == "Z":
        return 0
    sign = -1 if zone[0] == "-" else 1
    return sign * (60 * int(zone[1:3]) + int(zone[-2:]))


# ------------------------------ and out again


def same(times: Array) -> Any:
    """Write times as they are."""
    return times


def counted(times: Array) -> Any:
    """Write whole numbers as text."""
    return [str(time) for time in times]


def compact(times: Array) -> Any:
    """Write days as 19490131."""
    return [text.replace("-", "") for text in _strings(times, "D")]


def quarters(times: Array, dash: str) -> Any:
    """Write months as 1949Q1, or 1949-Q1 with a dash."""
    months = [text.split("-") for text in _strings(times, "M")]
    return [f"{year}{dash}Q{(int(month) + 2) // 3}" for year, month in months]


def python(times: Array, unit: str, zone: datetime.tzinfo | None = None) -> Any:
    """Write times as Python's dates or times, in their zone if they have one."""
    items = times.astype(f"datetime64[{unit}]").tolist()
    if zone is None:
        return items
    return [item.replace(tzinfo=datetime.timezone.utc).astimezone(zone) for item in items]


def like(times: Array, example: str, ahead: str) -> list[str]:
    """Write times as the example of ISO text is written, at an offset ("" for none)."""
    match = ISO.fullmatch(example)
    assert match is not None
    if match["clock"] is None:
        return _strings(times, {4: "Y", 7: "M"}.get(len(match["date"]), "D"))
    fraction = match["clock"].partition(".")[2]
    unit = "ns" if fraction else {2: "h", 5: "m"}.get(len(match["clock"]), "s")
    times = times + np.timedelta64(_minutes(ahead) if ahead else 0, "m")
    texts = [text.replace("T", example[10]) for text in _strings(times, unit)]
    if fraction:
        texts = [text[: 20 + len(fraction)] for text in texts]
    return [text + ahead for text in texts]


def _strings(times: Array, unit: str) -> list[str]:
    text: list[str] = np.datetime_as_string(times.astype(f"datetime64[{unit}]")).tolist()
    return text
