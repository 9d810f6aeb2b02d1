"""The lesson as its notebook talks to it: predict, check, hint, solution, status."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from lstmkit.lesson import record
from lstmkit.lesson.exercises import HINTS, Exercise, exercises, find
from lstmkit.lesson.grading import grade, name_mistake
from lstmkit.lesson.runner import inside
from lstmkit.shapes import InputError
from lstmkit.store import atomic_write

FIGURES = "figures"
Words = ParamSpec("Words")


def _spoken(
    method: Callable[Concatenate[Lesson, Words], None],
) -> Callable[Concatenate[Lesson, Words], None]:
    """Say what is wrong with an argument; do nothing where the checker loads the file."""

    @functools.wraps(method)
    def call(self: Lesson, /, *args: Words.args, **options: Words.kwargs) -> None:
        if inside():  # that run is not the learner's
            return
        try:
            method(self, *args, **options)
        except InputError as error:
            self._say(str(error))

    return call


class Lesson:
    """What the cells of the lesson call. Everything is printed, in a notebook set as Markdown.

    Parameters
    ----------
    namespace : dict
        The learner's names, ``globals()``: functions are taken from it, by name.
    folder : path, optional
        The workspace; by default that of the running file, else the current folder.

    Raises
    ------
    InputError
        If the folder is no workspace; in a script that is run, this line ends it.
    """

    def __init__(self, namespace: Mapping[str, Any], folder: str | Path | None = None) -> None:
        file = namespace.get("__file__")
        self.folder = Path(folder or (Path(file).parent if file else "."))
        self.namespace = namespace
        if inside():
            return
        try:
            record.read(self.folder)
        except InputError as error:
            if namespace.get("__name__") != "__main__" or _notebook() is not None:
                raise
            print(f"lstmkit: {error}", file=sys.stderr)  # a script ends in one line
            raise SystemExit(2) from None

    @_spoken
    def predict(self, name: str, number: int, answer: Any = ...) -> None:
        """Keep the first answer to a question, a letter; then measure and show the right one."""
        exercise = find(name)
        count = len(exercise.questions)
        if number not in range(1, count + 1):
            raise InputError(
                f"lesson: number is {number!r}; expected a question of {exercise.name}, "
                f"1 to {count}"
            )
        question = exercise.questions[number - 1]
        choices = [letter for letter in "abcdef" if f"({letter})" in question.text]
        if answer not in choices:
            quoted = " or ".join(f'"{letter}"' for letter in choices)
            self._say(
                f"{exercise.name}, question {number}: predict first, with {quoted} in the place of "
                "the dots; then run this again."
            )
            return
        entry = record.read(self.folder)[exercise.name]
        told = {str(number): answer, **entry.predictions}  # the first one stays
        record.change(self.folder, exercise.name, predictions=told)
        self._say(f"You said ({answer}). Measured:")
        print(measure(question.code))
        word = "That is right." if answer == question.letter else f"It is ({question.letter})."
        self._say(f"{word} {question.why}")

    @_spoken
    def check(self, name: str) -> None:
        """Try the exercise's function; after a pass, show the solution and why it is so."""
        exercise = find(name)
        verdict = grade(exercise, self.namespace)
        entry = record.read(self.folder)[exercise.name]
        record.change(
            self.folder,
            exercise.name,
            passed=verdict.passed,
            solved=entry.solved or verdict.passed,
            tries=entry.tries + 1,
        )
        if verdict.passed:
            self._say(f"✓ {exercise.name} passed: {verdict.message}.")
            self.solution(name)
            return
        named = name_mistake(exercise, self.namespace) if verdict.tried else ""
        self._say(f"✗ {exercise.name}: {verdict.message}.")
        if named:
            self._say(f"It looks like this: {named}.")
        self._say(f'Stuck? lesson.hint("{exercise.name}") ({entry.hints} of {HINTS} shown)')

    def passed(self, name: str) -> bool:
        """Whether the exercise's last check passed."""
        return not inside() and record.read(self.folder)[find(name).name].passed

    @_spoken
    def hint(self, name: str | None = None) -> None:
        """Show the next of three hints, after those before it; by default of the next exercise."""
        self._say(hint(self.folder, name))

    @_spoken
    def solution(self, name: str) -> None:
        """Show the solution and its explanation, once a check has passed."""
        self._say(solution(self.folder, name))

    @_spoken
    def status(self) -> None:
        """Show what is passed and what is open."""
        print("\n".join(record.summary(record.read(self.folder))))

    @_spoken
    def show(self, name: str, draw: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Draw a figure, keep it in the workspace as a PNG, and show it in a notebook."""
        try:
            figure = draw(*arguments, **options)
        except InputError as error:
            self._say(f"No picture: {error}")
            return
        path = self.folder / FIGURES / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        with atomic_write(path) as file:
            file.write(picture.getvalue())
        display = _notebook()
        if display is None:
            print(f"picture: {path}")
        else:
            display.display(display.Image(data=picture.getvalue()))

    def _say(self, text: str) -> None:
        display = _notebook()
        if display is None:  # a terminal that cannot show a character gets a "?"
            encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
            print(text.encode(encoding, "replace").decode(encoding))
        else:
            display.display(display.Markdown(text))


def hint(folder: str | Path, name: str | None = None) -> str:
    """Open one more hint of an exercise, the next open one if none is named; return those so far.

    Raises
    ------
    InputError
        If the folder is no workspace, or there is no such exercise.
    """
    done = record.read(folder)
    waiting = [exercise for exercise in exercises() if not done[exercise.name].passed]
    if name is None and not waiting:
        return "Every exercise is passed; there is nothing to hint at."
    exercise = find(name) if name is not None else waiting[0]
    shown = min(done[exercise.name].hints + 1, HINTS)
    record.change(folder, exercise.name, hints=shown)
    lines = [
        f"Hint {k} of {HINTS}, {exercise.title}: {exercise.hints[k - 1]}"
        for k in range(1, shown + 1)
    ]
    return "\n\n".join(lines)


def solution(folder: str | Path, name: str) -> str:
    """Return an exercise's solution and explanation as Markdown, if it was passed once.

    Raises
    ------
    InputError
        If the folder is no workspace, or there is no such exercise.
    """
    exercise = find(name)
    if not record.read(folder)[exercise.name].solved:
        return (
            f"The solution of {exercise.name} opens when its check has passed; "
            f"`lstmkit lesson hint {exercise.name}` helps."
        )
    return solved(exercise)


def solved(exercise: Exercise) -> str:
    """Solution and explanation as Markdown."""
    return f"One way to write it:\n\n```python\n{exercise.solution}\n```\n\n{exercise.explanation}"


def measure(code: str) -> str:
    """Run a question's code; return what it printed."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "the measurement", "exec"), {})
    return printed.getvalue().rstrip()


def _notebook() -> Any:
    """IPython's display module if this runs in a notebook's kernel, else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return sys.modules["IPython"].display
