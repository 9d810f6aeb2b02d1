"""Zones of time: what the clock on the wall shows at an instant (UTC), and back again."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array, InputError, shown


def whole_days(times: Array, zone: str) -> Array | None:
    """Return instants as the clock in their zone shows them, if all are at the same time of day.

    Then a step is a day or more, and is regular there even if the summer time begins or ends.
    """
    local = wall(times, zone)
    there = ~np.isnat(local)
    known = local[there]
    days = known.astype("datetime64[D]")
    hours, which, counts = np.unique(known - days, return_inverse=True, return_counts=True)
    if len(hours) <= 1:
        return local
    # Where the summer time begins at midnight, that day begins at one.
    odd = which != np.argmax(counts)
    if odd.mean() > 0.4:
        return None
    meant = days + hours[np.argmax(counts)]
    if (instants(meant[odd], zone) != times[there][odd]).any():
        return None
    local[there] = meant
    return local


def wall(times: Array, zone: str) -> Array:
    """Turn instants into what the clock on the wall shows in a zone.

    Examples
    --------
    >>> wall(np.array(["2024-07-01T00:00:00"], "datetime64[s]"), "Europe/Berlin")
    array(['2024-07-01T02:00:00'], dtype='datetime64[s]')
    """
    info = _zone(zone)
    known = ~np.isnat(times)
    # The offset changes a few times a year at most, never within a quarter of an hour.
    quarters, where = np.unique(_integers(times[known].astype("datetime64[s]")) // 900, False, True)
    offsets = np.zeros(len(quarters), np.int64)
    days, parts = np.unique(quarters // 96, False, True)
    edges = {day: _offset(day * 96, info) for day in {*days.tolist(), *(days + 1).tolist()}}
    for k, (quarter, part) in enumerate(zip(quarters.tolist(), parts, strict=True)):
        begin, end = edges[int(days[part])], edges[int(days[part]) + 1]
        offsets[k] = begin if begin == end else _offset(quarter, info)
    shown_there = times.copy()
    shown_there[known] += offsets[where].astype("timedelta64[s]")
    return shown_there


def instants(times: Array, zone: str) -> Array:
    """Turn what a clock on the wall shows into instants (UTC).

    What it shows twice, as the summer time ends, is the first of the two; what it never shows, as
    the summer time begins, is an hour later.
    """
    info = _zone(zone)
    result = times.copy()
    for k, seconds in enumerate(_integers(times.astype("datetime64[s]")).tolist()):
        local = (datetime(1970, 1, 1) + timedelta(seconds=seconds)).replace(tzinfo=info)
        offset = local.utcoffset() or timedelta()
        result[k] -= np.timedelta64(round(offset.total_seconds()), "s")
    return result


def _offset(quarter: int, info: tzinfo) -> int:
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=900 * quarter)
    return round((moment.astimezone(info).utcoffset() or timedelta()).total_seconds())


def _zone(name: str) -> tzinfo:
    if name.upper() in ("UTC", "Z", "ETC/UTC"):
        return timezone.utc
    sign, _, rest = name.upper().removeprefix("UTC").partition(":")
    if sign[:1] in ("+", "-") and sign[1:].isdigit() and (not rest or rest.isdigit()):
        ahead = timedelta(hours=int(sign[1:3]), minutes=int(rest or sign[3:] or 0))
        return timezone(ahead if sign[0] == "+" else -ahead)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InputError(
            f"times: the zone {shown(repr(name), 60)} is not known; expected a name such as "
            "Europe/Berlin or an offset such as +01:00 (give the times in UTC)"
        ) from None


def _integers(times: Any) -> NDArray[np.int64]:
    return np.asarray(times).astype(np.int64)
