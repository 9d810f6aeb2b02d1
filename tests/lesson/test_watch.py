"""The command line of the checker, and running again on every save."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lstmkit import cli, lesson
from lstmkit.lesson import strength, watch

RIGHT = '''\
import numpy as np


def lstm_output_layer(h_states, W_hy, b_y):
    """Logits (T, O)."""
    return np.array(h_states) @ W_hy.T + b_y
'''


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return CliRunner().invoke(cli.app, ["check", *map(str, arguments)])


def test_exit_codes_and_answers():
    Path("right.py").write_text(RIGHT)
    Path("wrong.py").write_text(RIGHT.replace(" + b_y", ""))
    result = run("right.py")
    assert (result.exit_code, "✓ lstm_output_layer" in result.output) == (0, True)
    result = run("wrong.py")
    assert result.exit_code == cli.MISTAKES
    assert "the logits equal the reference with the bias left out" in result.output
    assert result.output.endswith("1 mistake found\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "lstmkit: check: no PATH is given; expected a .py file or a .ipynb notebook\n"),
        (["missing.py"], "lstmkit: missing.py: No such file or directory\n"),
        (["."], "lstmkit: check: . is a folder; expected a .py file or a .ipynb notebook\n"),
        (["missing.py", "--watch"], "lstmkit: missing.py: No such file or directory\n"),
        (["a.py", "--seconds", "1e12"], "lstmkit: check: seconds is 1000000000000.0; expected at"),
        (["a.py", "--seconds", "inf"], "lstmkit: check: seconds is inf; expected at least 0.1"),
        (["a.py", "--megabytes", "9" * 14], "lstmkit: check: megabytes is 99999999999999; expect"),
        (["a.py", "--strength"], "lstmkit: check: --strength measures the checker; expected no"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message):
    Path("a.py").write_text(RIGHT)
    result = run(*arguments)
    assert result.exit_code == cli.BAD_INPUT
    assert result.output.startswith(message)
    assert result.output.count("\n") == 1


def test_help_has_an_example():
    assert "Example: lstmkit check my_lstm.py" in " ".join(run("--help").output.split())


def test_saves_come_once_each_also_when_the_file_is_replaced():
    path = Path("my.py")
    path.write_text("1")
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            path.write_text("12")
        elif len(pauses) == 4:
            path.unlink()
        elif len(pauses) == 6:
            Path("new").write_text("13")
            os.replace("new", path)
        elif len(pauses) == 9:
            raise KeyboardInterrupt

    seen = []
    with suppress(KeyboardInterrupt):
        for count in watch.saves(path, sleep):
            seen.append((count, path.read_text(), len(pauses)))
    assert len(pauses) == 9
    assert seen == [(1, "1", 0), (2, "12", 2), (3, "13", 6)]


def test_watching_checks_again_and_lives_on_with_bad_input(monkeypatch):
    Path("my.py").write_text(RIGHT)

    def saves(path):
        yield 1
        Path(path).write_text("")
        yield 2
        Path(path).write_text(RIGHT.replace(" + b_y", ""))
        yield 3

    monkeypatch.setattr(watch, "saves", saves)
    result = run("my.py", "--watch")
    assert result.exit_code == 0
    assert "no mistake" in result.output
    assert "check: my.py is empty" in result.output
    assert "the bias left out" in result.output


def test_the_strength_is_printed_and_decides_the_exit_code(monkeypatch):
    found = strength.Strength(100, 100, 96, 60, 0)
    monkeypatch.setattr(strength, "measure", lambda say: found)
    result = run("--strength")
    assert result.exit_code == 0
    assert result.output == (
        "100 programs with a mistake: 100.0% (100) caught, 96.0% (96) named rightly; "
        "60 correct programs: 0 rejected\n"
    )
    found = strength.Strength(100, 99, 96, 60, 0, ["x: not caught"])
    assert run("--strength").exit_code == cli.MISTAKES


def test_the_public_names():
    assert set(lesson.__all__) <= set(dir(lesson))
