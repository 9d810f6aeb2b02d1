"""`lstmkit lesson`, as a user runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import lstmkit as lk
from lstmkit import lesson_cli
from lstmkit.cli import app
from lstmkit.lesson import laboratory, record
from lstmkit.lesson.exercises import exercises, find

COMMANDS = ("start", "hint", "solution", "status", "reset", "gradients")
TINY = "--steps 20 --seeds 2 --hidden-size 6 --length 8".split()


def run(*arguments):
    return CliRunner().invoke(app, ["lesson", *map(str, arguments)])


def assert_one_line(result, *words):
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert len(lines) == 1, result.output
    assert lines[0].startswith("lstmkit: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_an_example_that_is_right(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    text = " ".join(re.sub(r"[│╭╰─╮╯]", " ", result.output).split())
    (example,) = re.findall(rf"Example: lstmkit lesson ({command}.*)$", text)
    assert run(*example.split(), "--help").exit_code == 0


def test_the_lesson_itself_helps():
    result = run("--help")
    for command in COMMANDS:
        assert command in result.output
    assert "Example: lstmkit lesson my-lesson" in result.output
    assert run("my-lesson", "--help").exit_code == 0


@pytest.mark.parametrize("words", [["ws"], ["start", "ws"], ["--force", "ws"], ["ws", "--force"]])
def test_a_folder_alone_starts_a_lesson_in_it(words, tmp_path):
    result = run(*words)
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "ws").iterdir()}
    assert names == {"lesson.ipynb", "lesson.py", "progress.json"}
    assert "ws: lesson.ipynb, lesson.py, progress.json" in result.output


@pytest.mark.parametrize(
    ("word", "command"), [("statsu", "status"), ("hnit", "hint"), ("Reset", "reset")]
)
def test_a_slip_in_a_command_makes_no_folder(word, command, tmp_path):
    assert_one_line(run(word), f"did you mean {command}?", f"lstmkit lesson start {word}")
    assert list(tmp_path.iterdir()) == []
    assert run("start", word).exit_code == 0
    assert (tmp_path / word / "lesson.py").is_file()


def test_a_walk_through_a_workspace(tmp_path, monkeypatch):
    run("ws")
    assert_one_line(run("ws"), "already holds lesson.ipynb", "--force")
    assert_one_line(run("status"), "is no workspace of the lesson", "lstmkit lesson DIR")
    monkeypatch.chdir(tmp_path / "ws")
    assert run("status").output.rstrip().endswith("0 of 11 exercises passed; next: cell_step")
    assert find("cell_step").hints[0] in run("hint").output
    assert find("bptt").hints[0] in run("hint", "bptt").output
    assert "opens when its check has passed" in run("solution", "bptt").output
    record.change(".", "bptt", passed=True, solved=True)
    assert find("bptt").explanation in run("solution", "6").output
    assert "1 of 11 exercises passed" in run("status").output
    assert "forgotten: bptt" in run("reset", "bptt").output
    assert "0 of 11 exercises passed" in run("status").output
    assert record.read(".")["cell_step"].hints == 1
    (tmp_path / "ws" / "lesson.py").write_text("my work")
    (tmp_path / "ws" / "progress.json").write_text("{")
    assert_one_line(run("status"), "progress.json is damaged", "lesson reset")
    assert "forgotten: all progress" in run("reset").output
    assert record.read(".") == record.new()
    assert (tmp_path / "ws" / "lesson.py").read_text() == "my work"


@pytest.mark.parametrize(
    "words",
    [
        ["hint", "nope", "-d", "ws"],
        ["solution", "nope", "-d", "ws"],
        ["reset", "nope", "-d", "ws"],
        ["hint"],
        ["reset"],
        ["solution", "1"],
    ],
)
def test_what_cannot_be_is_told_in_one_line(words):
    run("ws")
    assert_one_line(run(*words), "expected one")


@pytest.mark.parametrize(
    "words", [["hint", "--nope"], ["gradients", "--seeds", "0"], ["solution"], ["start"]]
)
def test_wrong_usage_exits_with_2(words):
    result = run(*words)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "taken").write_text("mine")
    assert_one_line(run("taken"), "taken")
    assert_one_line(run("gradients", "-o", "taken", *TINY), "taken")
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.lesson
def test_the_laboratory_leaves_numbers_and_pictures(tmp_path):
    command = [sys.executable, "-m", "lstmkit", "lesson", "gradients", "-o", "lab", *TINY]
    from test_lesson import ENVIRONMENT

    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    lab = tmp_path / "lab"
    names = {lesson_cli.NUMBERS, lesson_cli.LAYER, *lesson_cli.PICTURES}
    assert {path.name for path in lab.iterdir()} == names
    numbers = json.loads((lab / lesson_cli.NUMBERS).read_text())
    assert len(numbers["adding"]) == 6
    for network, runs in laboratory.best_runs(numbers).items():
        errors = sorted(entry["error"] for entry in runs)
        words = f"error {np.median(errors):.4f} ({errors[0]:.4f} to {errors[-1]:.4f}), solved by 0"
        assert re.search(f"{network} +{re.escape(words)} of 2", done.stdout)
    assert "basic RNN, seed 1, rate 0.001: error" in done.stderr  # progress
    assert lk.load(lab / lesson_cli.LAYER).hidden_size == 6
    for name in lesson_cli.PICTURES:
        assert (lab / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert_one_line(run("gradients", "-o", lab, *TINY), "already holds gradients.json", "--force")


def test_without_matplotlib_the_numbers_are_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("gradients", "-o", "lab", *TINY)
    assert result.exit_code == 0
    assert "no pictures: plots: matplotlib is missing" in result.output
    assert {path.name for path in (tmp_path / "lab").iterdir()} == {
        lesson_cli.NUMBERS,
        lesson_cli.LAYER,
    }


def test_the_names_of_the_exercises_are_no_commands():
    assert not {exercise.name for exercise in exercises()} & set(COMMANDS)
