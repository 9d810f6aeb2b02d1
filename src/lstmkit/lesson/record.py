"""What a learner has done so far, kept in the workspace in ``progress.json``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from lstmkit.lesson.exercises import HINTS, exercises
from lstmkit.shapes import InputError
from lstmkit.store import atomic_write

FILE = "progress.json"


class Entry(NamedTuple):
    """One exercise.

    Attributes
    ----------
    passed : bool
        Whether the last check passed.
    solved : bool
        Whether any did; then the solution is open, also where the code was broken again.
    tries, hints : int
        Checks so far, and hints shown.
    predictions : dict
        The first answer to each question, by its number: a letter.
    """

    passed: bool = False
    solved: bool = False
    tries: int = 0
    hints: int = 0
    predictions: dict[str, str] = {}  # noqa: RUF012  never changed in place


Record = dict[str, Entry]


def new() -> Record:
    """Nothing done yet."""
    return {exercise.name: Entry() for exercise in exercises()}


def read(folder: str | os.PathLike[str]) -> Record:
    """Read the workspace's record.

    Raises
    ------
    InputError
        If the folder is no workspace, or its record is damaged.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise InputError(
            f"folder {Path(folder)} is no workspace of the lesson (it has no {FILE}); expected one "
            "that `lstmkit lesson DIR` wrote"
        )
    record = new()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))["exercises"]
        for name in record:
            record[name] = _entry(content.get(name, {}))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path} is damaged; expected what the lesson wrote: `lstmkit lesson reset` begins anew"
        ) from None
    return record


def write(folder: str | os.PathLike[str], record: Record) -> None:
    """Write the record, whole or not at all."""
    content = {"exercises": {name: entry._asdict() for name, entry in record.items()}}
    with atomic_write(Path(folder) / FILE) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def change(folder: str | os.PathLike[str], name: str, **changes: Any) -> Entry:
    """Change one exercise's entry in the file; return the new one."""
    record = read(folder)
    record[name] = record[name]._replace(**changes)
    write(folder, record)
    return record[name]


def summary(record: Record) -> list[str]:
    """Say a line an exercise, and last how many are passed; "all" only when nothing is open."""
    lines = []
    for number, exercise in enumerate(exercises(), 1):
        entry = record[exercise.name]
        state = "passed" if entry.passed else "open again" if entry.solved else "open"
        right = sum(
            entry.predictions.get(str(k)) == question.letter
            for k, question in enumerate(exercise.questions, 1)
        )
        told = f"predicted {len(entry.predictions)} of {len(exercise.questions)}, {right} right"
        tries = f"{entry.tries} {'check' if entry.tries == 1 else 'checks'}"
        hints = f"{entry.hints} of {HINTS} hints"
        lines.append(f"{number:2}  {exercise.name:<14} {state:<11} {tries}, {hints}, {told}")
    open_ones = [name for name, entry in record.items() if not entry.passed]
    if open_ones:
        done = len(record) - len(open_ones)
        lines.append(f"{done} of {len(record)} exercises passed; next: {open_ones[0]}")
    else:
        lines.append(f"all {len(record)} exercises passed")
    return lines


def _entry(values: Any) -> Entry:
    entry = Entry(**{name: values[name] for name in Entry._fields if name in values})
    numbers = isinstance(entry.tries, int) and isinstance(entry.hints, int)
    flags = isinstance(entry.passed, bool) and isinstance(entry.solved, bool)
    letters = isinstance(entry.predictions, dict) and all(
        isinstance(k, str) and isinstance(v, str) for k, v in entry.predictions.items()
    )
    if not (numbers and flags and letters and entry.tries >= 0 and 0 <= entry.hints <= HINTS):
        raise ValueError
    return entry
