"""The lesson's notebook in a real Jupyter kernel: `python tests/lesson/notebook_in_jupyter.py`.

With the reference solutions and the right predictions filled in it runs from top to bottom, shows
its pictures and ends with everything passed; as it is written for a learner it runs too, and says
what is open. Needs nbclient and ipykernel; `nox -s notebook` installs them.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import nbclient
import nbformat

from lstmkit.lesson import notebook
from lstmkit.lesson.exercises import exercises, find


def run(text: str, folder: Path) -> tuple[str, int]:
    """What the cells showed, as text, and how many pictures."""
    book = nbformat.reads(text, as_version=4)
    nbformat.validate(book)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(book, timeout=300, resources=resources).execute()
    shown, pictures = [], 0
    for cell in book.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            shown.append(output.get("text") or data.get("text/markdown") or "")
            pictures += "image/png" in data
    return "\n".join(shown), pictures


def answered(cell: notebook.Cell) -> notebook.Cell:
    asked = re.fullmatch(r'lesson\.predict\("(\w+)", (\d), \.\.\.\)', cell.text)
    if asked is None:
        return cell
    letter = find(asked[1]).questions[int(asked[2]) - 1].letter
    return cell._replace(text=cell.text.replace("...", f'"{letter}"'))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "lesson")
        notebook.write(folder)
        shown, pictures = run((folder / notebook.NOTEBOOK).read_text(encoding="utf-8"), folder)
        assert shown.count("is not written yet") == len(exercises()), shown
        assert shown.rstrip().endswith("0 of 11 exercises passed; next: cell_step"), shown
        assert pictures == 0

        made = notebook.cells({exercise.name: exercise.solution for exercise in exercises()})
        shown, pictures = run(notebook.notebook([answered(cell) for cell in made]), folder)
        assert shown.count("✓ ") == len(exercises()), shown
        assert shown.count("That is right.") == sum(len(e.questions) for e in exercises()), shown
        assert shown.rstrip().endswith("all 11 exercises passed"), shown
        assert pictures == 2
    print("the lesson's notebook runs from top to bottom, empty and with the reference solutions")


if __name__ == "__main__":
    main()
