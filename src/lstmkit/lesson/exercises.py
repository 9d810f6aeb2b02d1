"""The exercises, read from the files in ``content``: one Markdown file each.

A file has a title, a text, and then sections in this order: ``Predict n`` with its ``Answer n`` (a
letter, code that measures, why), ``Stub``, ``Hint 1`` to ``Hint 3``, ``Solution``, ``Explanation``
and, where there is something to see, ``Look``. The order of the exercises is that of the file
names.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from lstmkit.shapes import InputError

HINTS = 3


class Question(NamedTuple):
    """A question to answer before its answer is measured.

    Attributes
    ----------
    text : str
        With its choices, ``(a)`` and so on.
    letter : str
        The right one.
    code : str
        What measures it; it prints.
    why : str
        One or two sentences.
    """

    text: str
    letter: str
    code: str
    why: str


class Exercise(NamedTuple):
    """One exercise; texts are Markdown, with formulas between dollar signs.

    Attributes
    ----------
    name, title, text : str
        The name is that of the command line: ``cell_step``.
    function : str
        What the learner writes.
    questions : tuple of Question
    stub, solution : str
        Python.
    hints : tuple of str
        From a nudge to nearly the code.
    explanation : str
    look : str
        Python to run after a pass, or nothing.
    """

    name: str
    title: str
    text: str
    function: str
    questions: tuple[Question, ...]
    stub: str
    hints: tuple[str, ...]
    solution: str
    explanation: str
    look: str


@cache
def exercises() -> tuple[Exercise, ...]:
    """Every exercise, in order.

    >>> [exercise.name for exercise in exercises()][:3]
    ['cell_step', 'sequence', 'output_layer']
    """
    folder = files("lstmkit.lesson") / "content"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".md"))
    return tuple(_parse(name, (folder / name).read_text(encoding="utf-8")) for name in names)


def find(name: str) -> Exercise:
    """Return the exercise of that name or number.

    Raises
    ------
    InputError
        If there is none; the message lists them.
    """
    for number, exercise in enumerate(exercises(), 1):
        if str(name).replace("-", "_") in (exercise.name, str(number)):
            return exercise
    names = ", ".join(exercise.name for exercise in exercises())
    raise InputError(f"lesson: exercise is {name!r}; expected one of {names}")


def _parse(file: str, page: str) -> Exercise:
    head, *parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    sections = {
        title.strip(): body.strip() for title, body in zip(parts[::2], parts[1::2], strict=True)
    }
    title, text = head.removeprefix("# ").split("\n", 1)
    questions: list[Question] = []
    while (predict := f"Predict {len(questions) + 1}") in sections:
        letter, rest = sections[f"Answer {len(questions) + 1}"].split("\n", 1)
        code = _code(rest)
        why = rest[rest.rindex("```") + 3 :].strip()
        questions.append(Question(sections[predict], letter, code, why))
    stub = _code(sections["Stub"])
    functions: list[str] = re.findall(r"^def (\w+)", stub, flags=re.MULTILINE)
    return Exercise(
        name=re.sub(r"^\d+_", "", file.removesuffix(".md")),
        title=title.strip(),
        text=text.strip(),
        function=functions[0],
        questions=tuple(questions),
        stub=stub,
        hints=tuple(sections[f"Hint {number}"] for number in range(1, HINTS + 1)),
        solution=_code(sections["Solution"]),
        explanation=sections["Explanation"],
        look=_code(sections["Look"]) if "Look" in sections else "",
    )


def _code(section: str) -> str:
    """Return what stands in the section's Python fence."""
    (code,) = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    return str(code).rstrip()
