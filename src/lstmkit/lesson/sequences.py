"""Checks a learner's sequence against the reference and its mutants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lstmkit.lesson import cases
from lstmkit.lesson.batches import check_batch
from lstmkit.lesson.calls import (
    LAYOUTS,
    Assumed,
    attempt,
    choices_of,
    say_crash,
    say_facts,
    say_named,
    sequence_request,
)
from lstmkit.lesson.cases import Case
from lstmkit.lesson.compare import (
    States,
    close,
    far,
    right_in,
    same_states,
    states,
    what,
    worst,
)
from lstmkit.lesson.mutants import (
    REFERENCE,
    SEQUENCE,
    STEP,
    Mistake,
    one_of_two_biases,
    pairs,
    sequence,
)
from lstmkit.lesson.report import Report
from lstmkit.lesson.roles import Part, Stated
from lstmkit.lesson.runner import Learner
from lstmkit.naming import Convention
from lstmkit.shapes import Array


def check_sequence(
    learner: Learner,
    part: Part,
    candidates: Sequence[Convention],
    says: Stated,
    report: Report,
    known: Assumed | None = None,
    base: Mistake | None = None,
) -> tuple[Assumed | None, Mistake | None]:
    """Check a sequence; ``known`` and ``base`` are the step's convention and its mistake."""
    first = _started(part, cases.sequences()[0])
    tried = []
    choices = choices_of(candidates, says, known)
    for convention, kind in choices:
        tried += [Assumed(convention, kind, layout) for layout in LAYOUTS[kind]]
    outcomes = attempt(learner, [sequence_request(part, assumed, first) for assumed in tried])
    size, steps = len(first.h), len(first.X)
    want = sequence(first.weights, first.X, first.h, first.c, REFERENCE)
    wrong = {**REFERENCE, **(base.switches if base else {})}
    good = []
    for assumed, outcome in zip(tried, outcomes, strict=False):
        found = None if outcome.failure else states(outcome.value, size, steps)
        if found is not None:
            if same_states(found, want):
                return assumed, _confirm_sequence(learner, part, assumed, wrong, report, says=says)
            good.append((assumed, found))
    if not good:
        ran = [outcome for outcome in outcomes if outcome.failure is None]
        if ran:
            _say_odd_sequence(part, ran[0].value, size, report)
        elif base is not None or _step_crashed(report):
            report.add("note", part.shown, "not checked: it stops where the step stops")
        else:
            say_crash(part, [outcome.failure for outcome in outcomes], report)
        return None, None
    if base is not None:
        for assumed, found in good:
            if same_states(found, _run(first, wrong)):
                said = "equals the reference with the mistake of the step, and adds none"
                report.add("note", part.shown, said)
                return assumed, None
    singles = SEQUENCE if known else (*SEQUENCE, *STEP)
    if not known and any(len(assumed.convention.biases) == 2 for assumed, _ in good):
        alone = [mistake for mistake in one_of_two_biases() if "+" not in mistake.name]
        singles = (*singles, *alone)
    doubles = pairs("sequence")
    for mutants in (singles, STEP if known else (), doubles):
        for mistake in mutants:
            if set(mistake.switches) & set(base.switches if base else ()):
                continue
            expected = _run(first, {**wrong, **mistake.switches})
            for assumed, found in good:
                if same_states(found, expected) and _holds(
                    learner, part, assumed, {**wrong, **mistake.switches}
                ):
                    _say_sequence(part, mistake, found, want, report)
                    _confirm_sequence(learner, part, assumed, wrong, report, quiet=True)
                    return assumed, mistake
    h_right, c_right = (np.stack(rows) for rows in zip(*want, strict=True))

    def right(entry: tuple[Assumed, States]) -> int:
        of_c = 0 if entry[1].c is None else right_in(entry[1].c, c_right)
        return right_in(entry[1].h, h_right) + of_c

    assumed, found = max(good, key=right)
    _say_first_state(part, found, want, report)
    _confirm_sequence(learner, part, assumed, wrong, report, quiet=True)
    return assumed, None


def _started(part: Part, case: Case) -> Case:
    """Return the case as this function can know it: without a state to begin with, zeros."""
    both = "state" in part.roles
    h = case.h if both or "h" in part.roles else np.zeros_like(case.h)
    c = case.c if both or "c" in part.roles else np.zeros_like(case.c)
    return replace(case, h=h, c=c)


def _run(case: Case, switches: Mapping[str, str]) -> list[tuple[Array, Array]]:
    return sequence(case.weights, case.X, case.h, case.c, switches)


def _step_crashed(report: Report) -> bool:
    return any(
        "crash" in finding.names or "stacked" in finding.names for finding in report.mistakes
    )


def _holds(learner: Learner, part: Part, assumed: Assumed, switches: Mapping[str, str]) -> bool:
    case = _started(part, cases.sequences()[2])
    (outcome,) = learner.call([sequence_request(part, assumed, case)])
    found = states(outcome.value, len(case.h), len(case.X))
    return found is not None and same_states(found, _run(case, switches))


def _say_sequence(
    part: Part, mistake: Mistake, found: Any, want: Sequence[tuple[Array, Array]], report: Report
) -> None:
    if len(found.h) != len(want):
        said = f"it returns {len(found.h)} states for {len(want)} steps, and equals the reference "
        report.add("mistake", part.shown, f"{said}with {mistake.sentence}", mistake.name)
        return
    for t, (h, c) in enumerate(want):
        if not close(found.h[t], h):
            say_named(part.shown, "h_t", mistake, found.h[t], h, report, t)
            return
        if found.c is not None and not close(found.c[t], c):
            say_named(part.shown, "c_t", mistake, found.c[t], c, report, t)
            return
    said = f"the last c equals the reference with {mistake.sentence}"
    report.add("mistake", part.shown, said, mistake.name)


def _say_first_state(
    part: Part, found: Any, want: Sequence[tuple[Array, Array]], report: Report
) -> None:
    if len(found.h) != len(want):
        said = f"it returns {len(found.h)} states; expected {len(want)}, one a step"
        report.add("mistake", part.shown, said)
        return
    for t, (h, c) in enumerate(want):
        for name, got, right in (
            ("c", None if found.c is None else found.c[t], c),
            ("h", found.h[t], h),
        ):
            if got is not None and not close(got, right):
                at = worst(got, right)
                assert at is not None
                numbers = far(float(got[at]), float(right[at]))
                said = (
                    f"the first state that differs is {name} of step {t} (unit {at[0]}: {numbers})"
                )
                report.add("mistake", part.shown, f"{said}; it is none of the known mistakes")
                return


def _say_odd_sequence(part: Part, value: Any, size: int, report: Report) -> None:
    said = f"it returns {what(value)}; expected a list of the T pairs (h_t, c_t), each ({size},)"
    report.add("mistake", part.shown, said, "wrong result")


def _confirm_sequence(
    learner: Learner,
    part: Part,
    assumed: Assumed,
    switches: Mapping[str, str],
    report: Report,
    quiet: bool = False,
    says: Stated | None = None,
) -> Mistake | None:
    tried = [_started(part, case) for case in cases.sequences()]
    outcomes = learner.call([sequence_request(part, assumed, case) for case in tried])
    before = len(report.mistakes)
    say_facts(part, outcomes, report)
    if not quiet:
        for case, outcome in zip(tried, outcomes, strict=True):
            found = states(outcome.value, len(case.h), len(case.X))
            if found is not None and len(case.X) == 1:  # (hs, h_T) looks like (hs, cs) here
                found = States(found.h)
            if outcome.failure is None and (
                found is None or not same_states(found, _run(case, REFERENCE))
            ):
                said = f"right on the first numbers, wrong on others ({case.name})"
                report.add("mistake", part.shown, said)
                break
        if says is not None and len(report.mistakes) == before:
            started = [_started(part, case) for case in cases.batch()]
            check_batch(learner, part, assumed, started, True, says, report)
        if len(report.mistakes) == before:
            report.add("passed", part.shown, "equals the reference on every case")
    report.tried.append(f"{part.shown}: {'; '.join(case.name for case in tried)}")
    return None
