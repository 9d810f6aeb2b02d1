"""The checker's strength on a sample; the `strength` session of nox measures the whole."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from lstmkit.lesson import strength
from lstmkit.lesson.backward import SEQUENCE_BACK, STEP_BACK
from lstmkit.lesson.mutants import SEQUENCE, STEP
from lstmkit.lesson.report import STRENGTH, Report


@pytest.mark.lesson
def test_every_mistake_is_written_in_three_conventions_and_differs_from_what_is_right():
    programs = list(strength.mistakes())
    right = {written.source for written in strength.correct()}
    sources = {}
    for written in programs:
        ast.parse(written.source)
        assert written.source not in right, written.name
        sources.setdefault(written.expected, set()).add(written.source)
    for name in (mistake.name for mistake in (*STEP, *SEQUENCE, *STEP_BACK, *SEQUENCE_BACK)):
        assert len(sources[name]) >= 3, name
    for name in ("overflow", "in place", "broadcast", "wrong shape", "stacked", "softmax"):
        assert len(sources[name]) >= 3, name


def test_the_figures_of_the_report_and_of_the_page_are_one():
    page = (Path(__file__).parents[2] / "docs" / "checker.md").read_text(encoding="utf-8")
    count, caught, named = re.findall(r"\d+(?:\.\d+)?", STRENGTH)
    assert int(count) == len(list(strength.mistakes()))
    assert f"| {count} with a mistake | {caught}% caught, {named}% named rightly |" in page
    assert f"| {len(strength.correct())} correct | none rejected |" in page


def test_the_correct_programs_are_in_all_families():
    programs = strength.correct()
    assert len({written.source for written in programs}) == 64
    families = {written.name.removeprefix("correct in ")[0] for written in programs}
    assert families == set("ABCDEF")


def test_a_few_are_caught_and_named_and_nothing_right_is_rejected():
    result = strength.measure(every=565, start=11, processes=1)
    assert (result.mistakes, result.caught, result.named) == (2, 2, 2)
    assert (result.correct, result.rejected) == (1, 0)


@pytest.mark.lesson
def test_a_sample_is_caught_and_named_and_nothing_right_is_rejected():
    said = []
    result = strength.measure(every=67, say=lambda done, total, name: said.append(name), start=11)
    assert result.good, "\n".join([str(result), *result.failures])
    assert result.mistakes > 10
    assert result.correct >= 1
    assert len(said) == result.mistakes + result.correct


@pytest.mark.lesson
def test_the_result_is_the_same_whatever_the_number_of_processes(monkeypatch):
    wrong = [replace(written, expected="another") for written in strength.mistakes()]
    monkeypatch.setattr(strength, "mistakes", lambda: wrong[:6])  # each is named otherwise
    monkeypatch.setattr(strength, "correct", lambda: [])
    alone, two = [], []
    one = strength.measure(processes=1, say=lambda *said: alone.append(said))
    assert strength.measure(processes=2, say=lambda *said: two.append(said)) == one
    assert two == alone == [(k, 6, wrong[k].name) for k in range(6)]
    assert len(one.failures) == 6


@pytest.mark.lesson
def test_what_goes_wrong_in_a_process_is_told_here(monkeypatch):
    broken = [replace(written, source=None) for written in strength.mistakes()]
    monkeypatch.setattr(strength, "mistakes", lambda: broken[:1] * 50)
    with pytest.raises(AttributeError):
        strength.measure(processes=2)


@pytest.mark.lesson
def test_a_checker_that_says_nothing_would_be_seen(monkeypatch):
    silent = Report("x")
    silent.add("passed", "f", "fine")
    monkeypatch.setattr(strength, "check", lambda program: silent)
    result = strength.measure(processes=1)
    assert not result.good
    assert result.caught == result.named == result.rejected == 0
    assert len(result.failures) == result.mistakes > 800
    loud = Report("x")
    loud.add("mistake", "f", "wrong", "i↔f swapped")
    monkeypatch.setattr(strength, "check", lambda program: loud)
    result = strength.measure(processes=1)
    assert not result.good
    assert result.rejected == result.correct == 64
    assert result.named < 10
