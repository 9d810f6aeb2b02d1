"""The workspace: the lesson as a notebook and as plain Python, made from the exercises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lstmkit.lesson import record
from lstmkit.lesson.exercises import Exercise, exercises
from lstmkit.shapes import InputError
from lstmkit.store import atomic_write, check_writable

NOTEBOOK, SCRIPT = "lesson.ipynb", "lesson.py"
FILES = (NOTEBOOK, SCRIPT, record.FILE)

WELCOME = """# Write your own LSTM

Eleven exercises. Each has questions to answer **before** the answer is measured, a function to
write, and a check that says where it first differs from what it should do. Work from top to bottom,
in the notebook `lesson.ipynb` or in `lesson.py` (run it with `python lesson.py`); both hold the
same.

- Stuck? `lesson.hint("cell_step")` or, in a terminal in this folder, `lstmkit lesson hint` gives
  one hint after the other, three in all. After a pass the solution opens, with an explanation.
- Where do I stand? `lesson.status()` or `lstmkit lesson status`.

Shapes go by letter: $T$ time steps, $I$ inputs, $H$ hidden units, $O$ outputs."""

SETUP = """import numpy as np

from lstmkit import plots
from lstmkit.lesson.session import Lesson
from lstmkit.textbook import LSTM, sigmoid

lesson = Lesson(globals())"""

END = """## Where you stand

`lstmkit lesson gradients` measures on your machine what the last exercises tell."""


class Cell(NamedTuple):
    """A cell: ``"markdown"`` or ``"code"``, its text, and whose stub or check it is."""

    kind: str
    text: str
    exercise: str = ""


def cells(solutions: Mapping[str, str] | None = None) -> list[Cell]:
    """Return the lesson's cells, in order.

    Parameters
    ----------
    solutions : dict of str, optional
        Code by the exercises' names, in the place of their stubs.
    """
    made = [Cell("markdown", WELCOME), Cell("code", SETUP)]
    for number, exercise in enumerate(exercises(), 1):
        made += _of(number, exercise, (solutions or {}).get(exercise.name, exercise.stub))
    return [*made, Cell("markdown", END), Cell("code", "lesson.status()")]


def _of(number: int, exercise: Exercise, code: str) -> list[Cell]:
    name = exercise.name
    made = [Cell("markdown", f"## {number}. {exercise.title}\n\n{exercise.text}")]
    for k, question in enumerate(exercise.questions, 1):
        made.append(Cell("markdown", f"**Predict.** {question.text}"))
        made.append(Cell("code", f'lesson.predict("{name}", {k}, ...)'))
    made.append(Cell("markdown", f"**Write it:** `{exercise.function}`."))
    made.append(Cell("code", code, name))
    made.append(Cell("code", f'lesson.check("{name}")', name))
    if exercise.look:
        inner = "\n".join(f"    {line}" if line else "" for line in exercise.look.splitlines())
        made.append(Cell("code", f'if lesson.passed("{name}"):  # something to see\n{inner}'))
    return made


def notebook(made: list[Cell]) -> str:
    """Write cells as a Jupyter notebook, nbformat 4.5."""
    entries: list[dict[str, Any]] = []
    for number, cell in enumerate(made):
        entry: dict[str, Any] = {"cell_type": cell.kind, "id": f"cell-{number:03}", "metadata": {}}
        if cell.kind == "code":
            entry |= {"execution_count": None, "outputs": []}
        entries.append({**entry, "source": cell.text.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    content = {"cells": entries, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def script(made: list[Cell]) -> str:
    """Write cells as Python, text as comments; editors show ``# %%`` as cells."""
    parts = []
    for cell in made:
        if cell.kind == "markdown":
            lines = [f"# {line}".rstrip() for line in cell.text.splitlines()]
            parts.append("\n".join(["# %% [markdown]", *lines]))
        else:
            parts.append(f"# %%\n{cell.text}")
    return "\n\n".join(parts) + "\n"


def write(folder: str | Path, force: bool = False) -> list[Path]:
    """Write a workspace: the notebook, the same as Python, and an empty record.

    Parameters
    ----------
    folder : path
        Made where it is missing.
    force : bool
        Overwrite what an earlier lesson wrote there, the learner's work included.

    Raises
    ------
    InputError
        If one of the files is there already and ``force`` is False.
    OSError
        If the folder or a file cannot be written.
    """
    folder = Path(folder)
    there = [name for name in FILES if (folder / name).exists()]
    if there and not force:
        raise InputError(
            f"folder {folder} already holds {there[0]}; expected another folder, or --force to "
            "overwrite it and the work in it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        check_writable(folder / name)
    made = cells()
    for name, text in ((NOTEBOOK, notebook(made)), (SCRIPT, script(made))):
        with atomic_write(folder / name) as file:
            file.write(text.encode())
    record.write(folder, record.new())  # last: a folder with a record is a whole workspace
    return [folder / name for name in FILES]
