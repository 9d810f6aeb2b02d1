"""How strong the checker is: which of the mistakes it catches, and how many it names rightly.

Two corpora are written as source text: every known mistake in three conventions, and 64 correct
programs in all families. Each program is checked as a learner's would be, in its own process, as
many at a time as there are processors.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from lstmkit.lesson import cases
from lstmkit.lesson.backward import BACKWARD, SEQUENCE_BACK, STEP_BACK
from lstmkit.lesson.checker import check
from lstmkit.lesson.mutants import (
    REFERENCE,
    SEQUENCE,
    STEP,
    Mistake,
    one_of_two_biases,
    pairs,
    step,
)
from lstmkit.lesson.program import Cell, Program
from lstmkit.lesson.programs import OUTPUTS, write_program
from lstmkit.lesson.styles import Style

STYLES = (
    Style("A"),
    Style("E", orientation="xW", order="ifog"),
    Style("D", orientation="xW", access="unpack"),
    Style("C", candidate="g", returns="arrays"),
    Style("B", concat="xh", states="column"),
    Style("F", orientation="xW"),
    Style("E", order="ifgo", states="column"),
    Style("D", states="row", orientation="xW", access="args"),
    Style("C", roles="W=h", orientation="xW", access="unpack"),
    Style("A", states="column", candidate="C", access="class"),
    Style("B", access="args", returns="h and last"),
)
"""The styles in which mistakes are written, taken in turn."""

TOGETHER = tuple(
    style for style in STYLES if style.together and style.access != "class" and style.concat == "hx"
)
BACK = (STYLES[4], Style("B", concat="xh"), Style("A", concat="xh", access="unpack"))
APART = tuple(style for style in STYLES if style.family in "CD")
FLAT = tuple(
    replace(s, returns="pairs")
    for s in STYLES
    if s.states == "flat" and s.access in ("dict", "unpack")
)

TWO_BIASES = (
    Style("E", biases=2, stated=False),
    Style("D", biases=2, candidate="g"),
    Style("E", biases=2, states="column", access="unpack"),
    Style("D", biases=2, candidate="g", states="row", orientation="xW"),
)
"""PyTorch's names: a bias for x and a bias for h."""

_IN_PLACE: tuple[tuple[str, dict[str, str]], ...] = (
    ("in place", {"c": "c_prev *= f\nc_prev += i * g\nc_t = c_prev"}),
    ("in place", {"after h": "h_prev[:] = h_t"}),
    ("in place", {"after h": "x_t *= 0.5"}),
    ("aliased", {"c": "c_t = f * c_prev + i * g", "return": "h_t, c_prev"}),
)


@dataclass(frozen=True)
class Written:
    """A program with what is to be found in it: the name of a mistake, or nothing."""

    name: str
    source: str
    expected: str = ""


@dataclass
class Strength:
    """The figures, and what went wrong."""

    mistakes: int = 0
    caught: int = 0
    named: int = 0
    correct: int = 0
    rejected: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether all mistakes are caught, 95 of 100 named, and nothing right is rejected."""
        named = self.named >= 0.95 * self.mistakes
        return self.caught == self.mistakes and named and self.rejected == 0

    def __str__(self) -> str:
        return (
            f"{self.mistakes} programs with a mistake: "
            f"{_share(self.caught, self.mistakes)} caught, "
            f"{_share(self.named, self.mistakes)} named rightly; "
            f"{self.correct} correct programs: {self.rejected} rejected"
        )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.1f}% ({part})"


def _turn(styles: tuple[Style, ...], number: int, many: int = 3) -> Iterator[Style]:
    """Take different styles in turn, so that neighbours get different ones."""
    for k in range(min(many, len(styles))):
        yield styles[
            (number + k * 3) % len(styles) if len(styles) % 3 else (number + k) % len(styles)
        ]


def mistakes() -> Iterator[Written]:
    """Write every mistake that shows in outputs, in three conventions each."""
    number = 0
    for mistake in (*STEP, *SEQUENCE):
        number += 1
        styles: tuple[Style, ...] = STYLES
        if "concat" in mistake.switches:
            back = mistake.switches["concat"] == "swapped back"
            styles = BACK if back else TOGETHER
        elif mistake.switches.get("recorded") == "c last":  # seen where every c is returned
            styles = tuple(style for style in STYLES if style.returns != "h and last")
        elif "transposed" in mistake.switches:
            styles = APART
        for style in _turn(styles, number):
            yield _written(mistake.name, style, switches=mistake.switches)
    for both in pairs("step")[::8]:
        number += 1
        if not _told_apart(both):
            continue
        styles = TOGETHER if "concat" in both.switches else STYLES  # all of [h; x]
        yield _written(both.name, styles[number % len(styles)], switches=both.switches)
    for mistake in one_of_two_biases():
        if "+" in mistake.name:
            continue
        number += 1
        for style in _turn(TWO_BIASES, number):
            yield _written(mistake.name, style, switches=mistake.switches)
    for output in OUTPUTS:
        if output == "right":
            continue
        for style in STYLES[:1] + STYLES[3:4] + STYLES[6:7]:
            expected = "softmax" if output == "softmax" else output
            yield _written(expected, style, output=output)
    for sigmoid in ("naive", "naive two"):
        for style in _turn(STYLES, number):
            yield _written("overflow", replace(style, sigmoid=sigmoid))
    for expected, extra in _IN_PLACE:
        for style in _turn(tuple(s for s in STYLES if s.returns == "pairs"), number, 4):
            if expected == "aliased":
                yield _written("c_prev returned", style, extra=extra)
            else:
                yield _written(expected, style, extra=extra)
    for style in TOGETHER[:1] + FLAT[1:3]:
        yield _written("wrong shape", style, extra={"return": "h_t[:, None], c_t[:, None]"})
        yield _written("broadcast", style, extra={"c": "c_t = f[:, None] * c_prev + i * g"})
    for style in (Style("A"), Style("B"), Style("F", orientation="xW")):
        source = write_program(style)
        yield Written(f"stacked in {style.name}", _stacked(source), "stacked")
    for mistake in (*STEP_BACK, *SEQUENCE_BACK):
        number += 1
        for style in _turn(FLAT, number):
            yield _written(mistake.name, style, back=mistake.switches)


def _told_apart(both: Mistake) -> bool:
    """Whether a pair gives other numbers than any mistake alone: one may hide the other."""
    case = cases.steps()[0]

    def result(mistake: Mistake) -> bytes:
        switches = {**REFERENCE, **mistake.switches}
        found = step(case.weights, case.X[0], case.h, case.c, switches)
        return np.concatenate(found).round(9).tobytes()

    return result(both) not in map(result, STEP)


def _stacked(source: str) -> str:
    return source.replace("np.concatenate([h_prev, x_t])", "np.stack([h_prev, x_t])")


def _written(expected: str, style: Style, **settings: object) -> Written:
    source = write_program(style, **settings)  # type: ignore[arg-type]
    return Written(f"{expected} in {style.name}", source, expected)


def correct() -> list[Written]:
    """Write 64 correct programs, no two the same, in all families."""
    styles: list[Style] = []
    turns = {"Wx": "xW", "xW": "Wx"}
    for style in STYLES:
        styles += [style, replace(style, orientation=turns[style.orientation], stated=False)]
        styles.append(replace(style, sigmoid="tanh", access="dict", returns="arrays"))
        if style.access == "dict":
            styles.append(replace(style, access="class", states="flat", sigmoid="clip"))
    for order in ("ifgo", "iofg", "figo", "ifog"):
        styles.append(replace(STYLES[1], order=order, stated=False, states="row"))
        styles.append(replace(STYLES[1], order=order, stated=False, sigmoid="tanh"))
    for family in "ABCDEF":
        orientation = "xW" if family in "DF" else "Wx"
        for states in ("flat", "column", "row"):
            style = Style(family, orientation, states=states, sigmoid="tanh", candidate="C")
            styles.append(replace(style, access="unpack", stated=False))
    found: dict[str, Written] = {}
    for style in (*TWO_BIASES, *styles):
        plain = style.states == "flat" and style.returns == "pairs"
        both = plain and style.access in ("dict", "unpack")
        source = write_program(style, back=BACKWARD if both else None)
        found.setdefault(source, Written(f"correct in {style.name}", source))
    return list(found.values())[:64]


class Seen(NamedTuple):
    """What the checker made of a program."""

    passed: bool
    mistaken: bool
    names: frozenset[str]
    first: str  # the first mistake's text


def measure(
    every: int = 1,
    say: Callable[[int, int, str], None] | None = None,
    start: int = 0,
    processes: int | None = None,
) -> Strength:
    """Check the programs of both corpora and count.

    Parameters
    ----------
    every : int
        Take each n-th program only, from ``start`` on: a sample.
    say : function, optional
        Called with (done, all, name) before each program is counted.
    processes : int, optional
        How many check at a time; 1 stays in this process. As many as there are processors if not
        given. The result is the same, in the same order.

    Returns
    -------
    Strength
    """
    programs = [*mistakes(), *correct()][start::every]
    count = min(_processors() if processes is None else processes, max(len(programs), 1))
    result = Strength()
    with contextlib.closing(_all_seen(programs, count)) as found:
        for number, written in enumerate(programs):
            if say is not None:
                say(number, len(programs), written.name)
            _add(result, written, next(found))
    return result


def _processors() -> int:
    """How many processors this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def _all_seen(programs: list[Written], processes: int) -> Generator[Seen, None, None]:
    """Check programs, several at a time, and yield what was seen in their order."""
    if processes == 1:
        yield from map(_seen, programs)
        return
    # Fresh processes: those that are forked from one with threads may come to a standstill.
    fresh = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, fresh, _begin)
    try:
        yield from pool.map(_seen, programs)
    finally:  # after Ctrl-C too: what has not begun is not begun any more
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Leave Ctrl-C to the process that asked, and end when it ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked = multiprocessing.parent_process()

    def end() -> None:
        if asked is not None:
            asked.join()
            os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _seen(written: Written) -> Seen:
    report = check(Program(written.name, (Cell("my_lstm.py", written.source),)))
    mistakes = report.mistakes
    names = frozenset(name for finding in mistakes for name in finding.names)
    first = mistakes[0].text if mistakes else "nothing passed"
    return Seen(bool(report.passed), bool(mistakes), names, first)


def _add(result: Strength, written: Written, seen: Seen) -> None:
    """Count a program."""
    if not written.expected:
        result.correct += 1
        if seen.mistaken or not seen.passed:
            result.rejected += 1
            result.failures.append(f"{written.name}: rejected: {seen.first}")
        return
    result.mistakes += 1
    result.caught += seen.mistaken
    named = set(written.expected.split(" + ")) <= seen.names
    result.named += named
    if not seen.mistaken:
        result.failures.append(f"{written.name}: not caught")
    elif not named:
        result.failures.append(f"{written.name}: named otherwise: {seen.first}")
