"""The ``.ts`` text format of the time series archives (timeseriesclassification.com, aeon, sktime).

A header of lines ``@key value``, then ``@data`` and a line for each case: its channels, separated
by colons, each a list of numbers separated by commas, and its label or value at the end::

    @problemName Tiny
    @univariate false
    @classLabel true 1 2
    @data
    0.1,0.2,0.3:5,?,7:1
    0.4,0.5,0.6:8,9,10:2

The first case has two channels of three steps and the label 1; the question mark is a missing
value. The format is described at https://www.aeon-toolkit.org/en/stable/api_reference/file_specifications/ts.html.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array, InputError, shown

_OWNER = "tsfile.read"
_ADVICE = "expected a .ts file: lines @key value, then @data, then a line for each case"


def read(path: str | os.PathLike[str]) -> tuple[list[NDArray[np.float64]], Array | None, list[str]]:
    r"""Read cases and their labels from a ``.ts`` file.

    Parameters
    ----------
    path
        The file. Cases may differ in length; a case's channels may not.

    Returns
    -------
    X : list of (T_k, F) float64 arrays
        The cases, steps first; a missing value is nan.
    y : (n,) array or None
        Labels as text (``@classLabel true``), values as float64 (``@targetLabel true``), or None
        where the file has neither.
    names : list of str
        The classes, in the file's order, empty without.

    Raises
    ------
    InputError
        If the file is damaged, or has timestamps (``@timeStamps true``), which we do not read. The
        message names the line.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "tiny.ts")
    ...     _ = path.write_text("@classLabel true a b\n@data\n1,2,?:a\n4,5:b\n")
    ...     X, y, names = read(path)
    >>> X[0][:, 0], X[1].shape, y, names
    (array([ 1.,  2., nan]), (2, 1), array(['a', 'b'], dtype='<U1'), ['a', 'b'])
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{_OWNER}: {path.name} is not UTF-8 text; {_ADVICE}") from None
    return _File(path.name).read(text)


class _File:
    """One file, while it is read; ``line`` is where."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.line = 0
        self.header: dict[str, list[str]] = {}

    def wrong(self, what: str) -> InputError:
        return InputError(f"{_OWNER}: line {self.line} of {self.name} {what}")

    def read(self, text: str) -> tuple[list[NDArray[np.float64]], Array | None, list[str]]:
        cases: list[NDArray[np.float64]] = []
        answers: list[str] = []
        data = False
        for self.line, line in enumerate(text.splitlines(), 1):
            line = line.strip()
            if not line or line[0] in "#%":
                continue
            if data:
                cases.append(self._case(line, answers, cases[0].shape[1] if cases else None))
            elif line.lower().startswith("@data"):
                data = True
                self._check_header()
            elif line[0] == "@":
                key, *values = line[1:].split()
                self.header[key.lower() if key else ""] = values
            else:
                raise self.wrong(f"is {shown(repr(line), 40)} before @data; {_ADVICE}")
        if not data or not cases:
            missing = "cases" if data else "@data"
            raise InputError(f"{_OWNER}: {self.name} has no {missing}; {_ADVICE}")
        return cases, self._answers(answers), self.header.get("classlabel", [])[1:]

    def _check_header(self) -> None:
        if self._says("timeStamps"):
            raise self.wrong(
                "ends a header with @timeStamps true; expected cases without times (write the "
                "values alone, and @timeStamps false)"
            )
        if self._says("classLabel") and self._says("targetLabel"):
            raise self.wrong("ends a header with classes and target values; expected one of them")

    def _says(self, key: str) -> bool:
        values = self.header.get(key.lower(), [])
        word = values[0].lower() if values else "false"
        if word not in ("true", "false"):
            raise self.wrong(f"ends a header with @{key} {shown(word, 40)}; expected true or false")
        return word == "true"

    def _labelled(self) -> bool:
        return self._says("classLabel") or self._says("targetLabel")

    def _case(self, line: str, answers: list[str], channels: int | None) -> NDArray[np.float64]:
        if "(" in line:
            raise self.wrong("has times in parentheses; expected the values alone")
        parts = line.split(":")
        if self._labelled():
            answers.append(self._answer(parts.pop().strip()))
        if self._says("univariate") and len(parts) != 1:
            raise self.wrong(f"has {len(parts)} channels; expected 1, as @univariate is true")
        if channels is not None and len(parts) != channels:
            raise self.wrong(
                f"has {len(parts)} channels; expected {channels}, as the case before has"
            )
        rows = [self._numbers(part) for part in parts]
        if not rows:
            raise self.wrong("has no channel; expected numbers, then a colon and the label")
        lengths = {len(row) for row in rows}
        if len(lengths) > 1:
            raise self.wrong(
                f"has channels of {min(lengths)} to {max(lengths)} steps; expected as many in all"
            )
        return np.stack(rows, axis=1)

    def _numbers(self, part: str) -> NDArray[np.float64]:
        fields = part.replace("_", "x").split(",")  # Python's 1_000 is no number here
        if len(fields) > 1 and not fields[-1].strip():
            fields.pop()  # a comma at the end
        try:
            values = np.array([np.nan if f.strip() == "?" else float(f) for f in fields])
        except ValueError:
            raise self._no_number(fields) from None
        if np.isinf(values).any():
            raise self.wrong(
                "has an infinite value; expected finite numbers, or ? for a missing one"
            )
        return values

    def _no_number(self, fields: list[str]) -> InputError:
        for k, field in enumerate(fields):
            try:
                float(field.replace("?", "nan", 1))
            except ValueError:
                return self.wrong(
                    f"has {shown(repr(field), 40)} as value {k + 1} of a channel; expected a "
                    "number, or ? for a missing one"
                )
        return self.wrong("has a value that is no number")

    def _answer(self, answer: str) -> str:
        known = self.header.get("classlabel", [])[1:]
        if self._says("targetLabel"):
            try:
                if not np.isfinite(float(answer)):
                    raise ValueError
            except ValueError:
                raise self.wrong(
                    f"ends in {shown(repr(answer), 40)}; expected a finite number, as @targetLabel "
                    "is true"
                ) from None
        elif not answer or (known and answer not in known):
            listed = shown(" ".join(known) or "a label", 80)
            raise self.wrong(f"ends in the label {shown(repr(answer), 40)}; expected {listed}")
        return answer

    def _answers(self, answers: list[str]) -> Any:
        if self._says("targetLabel"):
            return np.array(answers, np.float64)
        return np.array(answers) if self._says("classLabel") else None
