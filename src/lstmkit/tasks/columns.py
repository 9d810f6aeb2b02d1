"""One column of data, whoever holds it: as numbers, as times, as labels, and times back again.

What a column holds comes as a NumPy array: numbers, booleans, ``datetime64``, or objects (text,
None, ``datetime``, ``Decimal``). Missing is None, nan, NaT, pandas' NA, or a text of `MISSING`.
"""

from __future__ import annotations

import datetime
import math
import numbers
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array, InputError, shown
from lstmkit.tasks import forms

MISSING = frozenset(
    ("", "na", "n/a", "nan", "<na>", "nat", "null", "none", "?"),
)
"""Texts that stand for a missing value, in small letters and without spaces around them."""

Place = Callable[[int], str]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
_MARKS = re.compile(r"[^0-9.eE+\-\n]")  # what Python's float also reads and we do not: 1_000


class Column:
    """The values of one column.

    Parameters
    ----------
    name
        As the user knows it.
    values : (rows,)
        See the module's docstring.
    zone : str, optional
        The zone of ``datetime64`` values, which then are instants (UTC).
    kind : str, optional
        What the column's own library calls it, for messages, where it is neither numbers nor times
        nor text ("category").
    """

    def __init__(
        self, name: Any, values: Array, zone: str | None = None, kind: str | None = None
    ) -> None:
        self.name = name
        self.values = values
        self.zone = zone
        self.kind = kind
        self._write: Callable[[Array], Any] = (
            forms.same
        )  # named functions: a model is pickled with it

    # ------------------------------ numbers

    def numbers(self, owner: str, place: Place) -> NDArray[np.float64]:
        """Return the values as float64, missing ones as nan; True is 1, False 0.

        Text that is a number counts as one. All else is refused, an infinite number too.
        """
        values = self.values
        if self.kind is not None:
            raise InputError(
                f"{self._who(owner)} is a column of {self.kind}; expected numbers (encode it as "
                "numbers, or leave it out)"
            )
        if values.dtype.kind in "buif":
            result = values.astype(np.float64)
        elif values.dtype.kind in "OUT" and (quick := _plain_numbers(values)) is not None:
            result = quick
        elif values.dtype.kind in "OUT":
            result = np.empty(len(values))
            for k, value in enumerate(values.tolist()):
                result[k] = self._number(owner, place, k, value)
        else:
            raise InputError(
                f"{self._who(owner)} holds {_word(values.dtype)}; expected numbers "
                "(name another column)"
            )
        wrong = np.isinf(result)
        if wrong.any():
            k = int(np.argmax(wrong))
            raise InputError(
                f"{self._who(owner)}, {place(k)}: is {result[k]:g}; expected a finite number "
                "(correct it, or leave it empty and choose missing='fill')"
            )
        return result

    def _number(self, owner: str, place: Place, row: int, value: Any) -> float:
        if missing(value):
            return math.nan
        if isinstance(value, str):
            text = value.strip()
            if _NUMBER.fullmatch(text):
                return float(text)
            rule, advice = "a number", "correct it; missing is written as an empty field or NA"
            if "," in text:
                rule += ", with a point for the decimals and no other marks"
                advice = "write it so; pandas.read_csv(file, decimal=',') reads decimal commas"
            raise InputError(
                f"{self._who(owner)}, {place(row)}: is the text {shown(repr(value), 60)}; expected "
                f"{rule} ({advice})"
            )
        if isinstance(value, numbers.Real | Decimal | np.bool_):
            try:
                return float(value)
            except OverflowError:
                text = f"a number of {len(str(value))} digits"
                advice = "one that fits into 64 bits, below 1.8e308 (scale it)"
        else:
            text, advice = shown(repr(value), 60), "a number (correct it)"
        raise InputError(f"{self._who(owner)}, {place(row)}: is {text}; expected {advice}")

    # ------------------------------ times

    def looks_like_times(self) -> bool:
        """Whether the column holds dates or times, or text that begins with a date in ISO form."""
        if self.values.dtype.kind == "M":
            return True
        first = next((v for v in self.values.tolist() if not missing(v)), None)
        if self.values.dtype.kind not in "OUT" or self.kind is not None:
            return False
        if isinstance(first, str):
            return forms.looks_like_a_time(first.strip())
        return isinstance(first, datetime.date)

    def times(self, owner: str, place: Place) -> Array:
        """Return the values as times: ``datetime64`` of their own unit, or int64 of whole numbers.

        A missing one is NaT. Text is read in ISO form: 1949, 1949-01, 1949-01-31, with hours,
        minutes, seconds and a fraction after a T or a space, and Z or an offset such as +01:00
        after them; also 1949Q1 and 19490131. Text that is whole numbers otherwise counts as those.
        With a zone or offset the times are instants (UTC), and `zone` says which.
        """
        values = self.values
        if values.dtype.kind == "M":
            unit = values.dtype
            self._write = partial(np.ndarray.astype, dtype=unit)
            return values
        if values.dtype.kind in "iu" and self.kind is None:
            return self._counts(owner, place, values.tolist())
        if values.dtype.kind in "OUT" and self.kind is None:
            items = values.tolist()
            known = [item for item in items if not missing(item)]
            if known and all(isinstance(item, str) for item in known):
                texts = ["" if missing(item) else item.strip() for item in items]
                return self._texts(owner, place, texts)
            if known and all(isinstance(item, datetime.date | np.datetime64) for item in known):
                return self._dates(owner, items)
            if known and all(
                isinstance(item, numbers.Integral) and not isinstance(item, bool) for item in items
            ):
                return self._counts(owner, place, items)
        what = self.kind or _word(values.dtype)
        raise InputError(
            f"{self._who(owner)} holds {what}; expected times: dates, text in ISO form such as "
            "1949-01 or 1949-01-31 13:00, or whole numbers (name another column, or time=False to "
            "count rows)"
        )

    def restored(self, times: Array) -> Any:
        """Return later times in the form of this column's own: after `times` has been called."""
        return self._write(times)

    def _texts(self, owner: str, place: Place, items: list[str]) -> Array:
        """Read text, stripped, "" where it is missing."""
        known = [text for text in items if text]
        if all(map(forms.QUARTER.fullmatch, known)):
            self._write = partial(forms.quarters, dash="-" if "-" in known[0] else "")
            items = [forms.from_quarter(text) for text in items]
        elif all(map(forms.COMPACT.fullmatch, known)):
            self._write = forms.compact
            items = [forms.from_compact(text) for text in items]
        elif all(map(forms.WHOLE.fullmatch, known)) and not all(len(text) == 4 for text in known):
            if len(known) < len(items):
                return np.array(["1970" if text else "NaT" for text in items], "datetime64[s]")
            self._write = forms.counted
            return self._counts(owner, place, [int(text) for text in known])
        else:
            self._iso(owner, place, items)
            if self.zone is not None:
                items = [forms.utc(text) for text in items]
        unit = "ns" if any(len(text) > 26 for text in items) else "us"
        try:
            return np.array([text or "NaT" for text in items], f"datetime64[{unit}]")
        except ValueError:
            return self._no_date(owner, place, items)

    def _counts(self, owner: str, place: Place, counts: list[int]) -> Array:
        large = next((k for k, count in enumerate(counts) if abs(count) > 1 << 53), None)
        if large is not None:
            raise InputError(
                f"{self._who(owner)}, {place(large)}: is {shown(str(counts[large]), 40)}; expected "
                "a time, or a whole number of at most 2**53 (time stamps in nanoseconds: make them "
                "datetime64)"
            )
        return np.array(counts, np.int64)

    def _iso(self, owner: str, place: Place, items: list[str]) -> None:
        """Refuse text that is no time, and see how to write later ones."""
        zones = set()
        for k, text in enumerate(items):
            match = forms.ISO.fullmatch(text)
            if match is not None:
                zones.add(match["zone"])
            elif text:
                raise InputError(
                    f"{self._who(owner)}, {place(k)}: the text {self._item(k)} is no time "
                    "in ISO form, such as 1949-01 or 1949-01-31 13:00 (write it so; "
                    "pandas.to_datetime reads most other forms)"
                )
        if None in zones and len(zones) > 1:
            matches = map(forms.ISO.fullmatch, items)
            k = next(k for k, match in enumerate(matches) if match and not match["zone"])
            raise InputError(
                f"{self._who(owner)}, {place(k)}: {self._item(k)} has no zone, others "
                "have one; expected all or none"
            )
        ahead = zones.pop() if len(zones) == 1 else "+00:00"
        if ahead is not None:
            self.zone = "UTC" if ahead in ("Z", "+00:00", "+0000") else ahead
        self._write = partial(forms.like, example=max(items, key=len), ahead=ahead or "")

    def _item(self, row: int) -> str:
        return shown(repr(self.values[row]), 60)

    def _no_date(self, owner: str, place: Place, items: list[str]) -> Array:
        for k, text in enumerate(items):
            try:
                np.datetime64(text or "NaT")
            except ValueError:
                raise InputError(
                    f"{self._who(owner)}, {place(k)}: {self._item(k)} is no day "
                    "or hour that exists (correct it)"
                ) from None
        raise AssertionError("a time that NumPy reads alone and not among others")

    def _dates(self, owner: str, items: list[Any]) -> Array:
        """Read Python's dates and times, as instants where they have a zone."""
        first = next(item for item in items if not missing(item))
        zone = getattr(first, "tzinfo", None)
        if zone is not None:
            self.zone = getattr(zone, "key", None) or "UTC"
        elif not isinstance(first, datetime.datetime | np.datetime64):
            self._write = partial(forms.python, unit="D")
        result = np.empty(len(items), "datetime64[us]")
        for k, item in enumerate(items):
            if missing(item):
                result[k] = np.datetime64("NaT", "us")
                continue
            if (getattr(item, "tzinfo", None) is None) != (zone is None):
                raise InputError(
                    f"{self._who(owner)}: some times have a zone and some have none; expected all "
                    "or none"
                )
            if zone is not None:
                item = item.astimezone(datetime.timezone.utc).replace(tzinfo=None)
            result[k] = np.datetime64(item)
        if zone is not None:
            self._write = partial(forms.python, unit="us", zone=zone)
        elif isinstance(first, datetime.datetime):
            self._write = partial(forms.python, unit="us")
        return result

    # ------------------------------ labels

    def labels(self, owner: str, place: Place) -> list[Any]:
        """Return the values as they are, each a Python object; a missing one is refused."""
        items: list[Any] = self.values.tolist()
        for k, item in enumerate(items):
            if missing(item):
                raise InputError(
                    f"{self._who(owner)}, {place(k)}: is missing; expected the name of a series "
                    "(drop the row, or give the name)"
                )
            try:
                hash(item)
            except TypeError:
                raise InputError(
                    f"{self._who(owner)}, {place(k)}: is {shown(repr(item), 60)}; expected a name"
                ) from None
        return items

    def _who(self, owner: str) -> str:
        return f"{owner}: column {shown(repr(self.name))}"


def missing(value: Any) -> bool:
    """Whether one value stands for a missing one.

    Examples
    --------
    >>> [missing(value) for value in (None, float("nan"), " NA ", 0, "0")]
    [True, True, True, False, False]
    """
    if value is None:
        return True
    if isinstance(value, str):
        return value.strip().lower() in MISSING
    if isinstance(value, numbers.Number | np.generic):  # Decimal is a Number
        try:
            return bool(value != value)
        except ArithmeticError:  # Decimal("sNaN")
            return True
    return type(value).__name__ in ("NAType", "NaTType")


def from_objects(values: Sequence[Any] | Array) -> Array:
    """Return a column's values as an array; what NumPy has no dtype for becomes objects."""
    if isinstance(values, np.ndarray):
        return values
    items = list(values)
    if all(type(item) is str for item in items):
        return np.array(items, object)
    if all(type(item) in (int, float, bool) for item in items):
        try:
            array = np.asarray(items)
        except OverflowError:
            array = np.empty(0, object)
        if array.dtype.kind in "iuf" or all(type(item) is bool for item in items):
            return array
    objects = np.empty(len(items), object)
    for k, item in enumerate(items):  # one by one: an item may itself be a list
        objects[k] = item
    return objects


def _plain_numbers(values: Array) -> NDArray[np.float64] | None:
    """Return text as numbers, empty text as nan, where all of it is just that; else None."""
    items = values.tolist()
    try:
        if _MARKS.search("\n".join(items)) is None:
            return np.array([float(item) if item else math.nan for item in items])
    except (TypeError, ValueError):  # None, or several words
        pass
    return None


def _word(dtype: np.dtype[Any]) -> str:
    return {
        "M": "times",
        "m": "time differences",
        "c": "complex numbers",
        "S": "bytes",
        "V": "records",
        "O": "values of several types, or none",
        "f": "numbers with decimals",
        "b": "booleans",
        "U": "text",
        "T": "text",
    }.get(dtype.kind, str(dtype))
