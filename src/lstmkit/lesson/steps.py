"""Checks a learner's step against the reference and its mutants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lstmkit.lesson import cases
from lstmkit.lesson.batches import check_batch
from lstmkit.lesson.calls import (
    Assumed,
    attempt,
    choices_of,
    say_crash,
    say_facts,
    say_named,
    step_request,
)
from lstmkit.lesson.cases import Case
from lstmkit.lesson.compare import (
    close,
    far,
    gates,
    pair,
    right_in,
    vector,
    what,
    worst,
)
from lstmkit.lesson.mutants import (
    ACTIVATIONS,
    GATES,
    NAMES,
    REFERENCE,
    STEP,
    Mistake,
    one_of_two_biases,
    pairs,
    step,
    triples,
)
from lstmkit.lesson.report import Report
from lstmkit.lesson.roles import Part, Stated
from lstmkit.lesson.runner import Learner, Outcome
from lstmkit.naming import Convention
from lstmkit.shapes import Array


def check_step(
    learner: Learner, part: Part, candidates: Sequence[Convention], says: Stated, report: Report
) -> tuple[Assumed | None, Mistake | None]:
    """Check a step: report what is wrong; return what was assumed and the mistake, if named."""
    first, second, third = cases.steps()
    tried = [Assumed(*choice) for choice in choices_of(candidates, says)]
    outcomes = attempt(learner, [step_request(part, assumed, first) for assumed in tried])
    h, c = step(first.weights, first.X[0], first.h, first.c, REFERENCE)
    good: list[Ran] = []
    odd: list[tuple[Assumed, Any]] = []
    for assumed, outcome in zip(tried, outcomes, strict=False):
        if outcome.failure is not None:
            continue
        found = pair(outcome.value)
        shape = vector(h, assumed.states).shape
        if found is not None and found[0].shape == shape == found[1].shape:
            if close(found[0], h) and close(found[1], c):
                return assumed, _confirm_step(learner, part, assumed, None, report, says=says)
            good.append((assumed, found[0].reshape(-1), found[1].reshape(-1), outcome))
        else:
            odd.append((assumed, outcome.value))

    # The same values in another shape, or none of the right shape at all.
    for assumed, value in odd:
        found = pair(value)
        if found is not None and close(found[0], h) and close(found[1], c):
            said = f"the values are right, but h_t has shape {found[0].shape}"
            want = vector(h, assumed.states).shape
            report.add("mistake", part.shown, f"{said}; expected {want}", "wrong shape")
            return assumed, None
    if not good:
        if odd:
            _say_odd(part, odd, h, report)
            return odd[0][0], None
        say_crash(part, [outcome.failure for outcome in outcomes], report)
        return None, None

    two = [entry for entry in good if len(entry[0].convention.biases) == 2]
    for mutants, ran in (
        (STEP, good),
        (one_of_two_biases() if two else (), two),
        (pairs("step"), good),
        (triples(), good),
    ):
        for mistake in mutants:
            switches = {**REFERENCE, **mistake.switches}
            h_wrong, c_wrong = step(first.weights, first.X[0], first.h, first.c, switches)
            for assumed, h_got, c_got, _ in ran:
                if not (close(h_got, h_wrong) and close(c_got, c_wrong)):
                    continue
                calls = [step_request(part, assumed, case) for case in (second, third)]
                if _agree(learner.call(calls), (second, third), switches):
                    quantity = "c_t" if close(h_got, h) else "h_t"
                    both = (c_got, c) if quantity == "c_t" else (h_got, h)
                    say_named(part.shown, quantity, mistake, *both, report)
                    _confirm_step(learner, part, assumed, mistake, report)
                    return assumed, mistake
    assumed, h_got, c_got, outcome = _likeliest(learner, part, good, (h, c))
    plain = [entry for entry in odd if entry[0].states == entry[0].convention.vectors]
    if plain and assumed.states != assumed.convention.vectors:  # it ran on a mixture by luck
        _say_odd(part, plain, h, report)
        return plain[0][0], None
    _say_first_divergence(learner, part, assumed, (h_got, c_got, outcome), (h, c), report)
    _confirm_step(learner, part, assumed, None, report, quiet=True)
    return assumed, None


def _agree(outcomes: Sequence[Outcome], tried: Sequence[Case], switches: Mapping[str, str]) -> bool:
    for outcome, case in zip(outcomes, tried, strict=True):
        found = pair(outcome.value)
        h, c = step(case.weights, case.X[0], case.h, case.c, switches)
        if found is None or not (close(found[0], h) and close(found[1], c)):
            return False
    return True


Ran = tuple[Assumed, Array, Array, Outcome]


def _likeliest(learner: Learner, part: Part, good: Sequence[Ran], want: tuple[Array, Array]) -> Ran:
    """Choose the convention under which most is right: numbers of h and c, else gates.

    Under another one everything is wrong, and what is told of it leads nowhere.
    """
    numbers = [right_in(h, want[0]) + right_in(c, want[1]) for _, h, c, _ in good]
    best = [entry for entry, count in zip(good, numbers, strict=True) if count == max(numbers)]
    if len(best) == 1 or max(numbers):
        return best[0]
    case = cases.steps()[0]
    right = _gates(case)

    def gates_right(entry: Ran) -> int:
        seen = _seen(learner, part, entry[0], case, entry[3])
        return sum(right_in(seen[gate], right[gate]) for gate in seen)

    return max(best[:PROBED], key=gates_right)


def _say_odd(part: Part, odd: Sequence[tuple[Assumed, Any]], h: Array, report: Report) -> None:
    for assumed, value in odd:
        found = pair(value)
        if found is None:
            continue
        got, size = found[0].shape, len(h)
        want = vector(h, assumed.states).shape
        if (size, size) in (got, found[1].shape):
            said = f"h_t or c_t has shape {(size, size)}; expected {want}: a column (H, 1) meets a "
            said += "flat (H,), and NumPy broadcasts the two to (H, H)"
            report.add("mistake", part.shown, said, "broadcast")
            return
        if got == want:
            got = found[1].shape
        said = f"h_t or c_t has shape {got}; expected {want}"
        report.add("mistake", part.shown, said, "wrong shape")
        return
    said = f"it returns {what(odd[0][1])}; expected (h_t, c_t)"
    report.add("mistake", part.shown, said, "wrong result")


def _say_first_divergence(
    learner: Learner,
    part: Part,
    assumed: Assumed,
    got: tuple[Array, Array, Outcome],
    want: tuple[Array, Array],
    report: Report,
) -> None:
    """Say which quantity is the first that is wrong: z, i, f, g, o, c, h."""
    case = cases.steps()[0]
    right, seen = _gates(case), {}
    if not close(got[0], want[0]):  # a right h has right gates: c alone changed after them
        seen = _seen(learner, part, assumed, case, got[2])
    for gate in "ifgo":
        if gate not in seen or close(seen[gate], right[gate]):
            continue
        shifted = _seen(learner, part, assumed, _shifted(case, gate))
        if gate in shifted and _is_activated(gate, seen[gate], shifted[gate]):
            z, z_right = (_undone(gate, a[gate]) for a in (seen, right))
            _say_wrong(part, f"z_t of the {NAMES[gate]}", z, z_right, report)
        else:
            after = ", or the tanh after it" if gate == "o" else ""
            _say_wrong(
                part, f"{gate}_t (the {NAMES[gate]}){after}", seen[gate], right[gate], report
            )
        return
    if not close(got[1], want[1]):
        _say_wrong(part, "c_t", got[1], want[1], report)
    else:
        _say_wrong(part, "h_t", got[0], want[0], report)


_SHIFT = 0.5
PROBED = 24  # conventions whose gates are looked at


def _undone(gate: str, a: Array) -> Array:
    """Give z of a = tanh(z), for the candidate, or of a = σ(z); nan where no z gives a."""
    with np.errstate(all="ignore"):
        return np.asarray(np.arctanh(a) if gate == "g" else np.log(a) - np.log1p(-a))


def _shifted(case: Case, gate: str) -> Case:
    b = {**case.weights.b, gate: case.weights.b[gate] + _SHIFT}
    return replace(case, weights=replace(case.weights, b=b))


def _is_activated(gate: str, value: Array, shifted: Array) -> bool:
    """Whether a gate is the right function of some z, so that what is wrong is z itself.

    With the function undone, more bias must move all units alike, whatever their z.
    """
    moved = _undone(gate, shifted) - _undone(gate, value)
    return bool(moved[0] > 0 and np.allclose(moved, moved[0], rtol=1e-6, atol=0))


def _say_wrong(part: Part, quantity: str, got: Array, want: Array, report: Report) -> None:
    at = worst(got, want)
    numbers = far(float(got.reshape(want.shape)[at]), float(want[at])) if at else ""
    said = f"the first quantity that differs is {quantity} (step 0, unit {at[0] if at else 0}: "
    report.add("mistake", part.shown, f"{said}{numbers}); it is none of the known mistakes")


def _gates(case: Case) -> dict[str, Array]:
    w, found = case.weights, {}
    for gate in GATES:
        z = w.x[gate] @ case.X[0] + w.h[gate] @ case.h + w.b[gate]
        found[gate] = ACTIVATIONS[REFERENCE[f"act.{gate}"]](z)
    return found


def _seen(
    learner: Learner, part: Part, assumed: Assumed, case: Case, outcome: Outcome | None = None
) -> dict[str, Array]:
    """Find the gates: as the step returns them beside h and c, else by probes from outside."""
    if outcome is None:
        (outcome,) = learner.call([step_request(part, assumed, case)])
    shown = {gate: value.reshape(-1) for gate, value in gates(outcome.value).items()}
    return {**_probes(learner, part, assumed, case), **shown}


def _probes(learner: Learner, part: Part, assumed: Assumed, case: Case) -> dict[str, Array]:
    """Make each gate visible from outside, by saturating the others and choosing c_prev.

    f = c(c_prev = 1) − c(c_prev = 0); with i open, g = c(c_prev = 0); with g at 1, i = c(c_prev =
    0); o = h / tanh(c).
    """
    ones, zeros = np.ones_like(case.c), np.zeros_like(case.c)

    def driven(c: Array, **bias: float) -> Case:
        b = {g: np.full_like(v, bias[g]) if g in bias else v for g, v in case.weights.b.items()}
        return replace(case, weights=replace(case.weights, b=b), c=c)

    probes = [driven(ones), driven(zeros), driven(zeros, g=1000.0), driven(zeros, i=1000.0)]
    outcomes = learner.call([step_request(part, assumed, probe) for probe in probes])
    results = [pair(outcome.value) for outcome in outcomes]
    hc = [(r[0].reshape(-1), r[1].reshape(-1)) for r in results if r is not None]
    if len(hc) < len(probes) or any(h.size != len(case.h) or c.size != len(case.h) for h, c in hc):
        return {}
    with np.errstate(all="ignore"):
        o = hc[0][0] / np.tanh(hc[0][1])
    return {"i": hc[2][1], "f": hc[0][1] - hc[1][1], "g": hc[3][1], "o": o}


def _confirm_step(
    learner: Learner,
    part: Part,
    assumed: Assumed,
    mistake: Mistake | None,
    report: Report,
    quiet: bool = False,
    says: Stated | None = None,
) -> Mistake | None:
    """Try the other cases: further numbers, gates at ±1000, arguments that must stay."""
    all_cases = [*cases.steps(), cases.far_out()]
    outcomes = learner.call([step_request(part, assumed, case) for case in all_cases])
    before = len(report.mistakes)
    say_facts(part, outcomes, report)
    if mistake is None and not quiet and len(report.mistakes) == before:
        for case, outcome in zip(all_cases, outcomes, strict=True):
            h, c = step(case.weights, case.X[0], case.h, case.c, REFERENCE)
            found = pair(outcome.value)
            if found is None or not (close(found[0], h) and close(found[1], c)):
                said = f"right on the first numbers, wrong on others ({case.name})"
                if found is not None and found[0].size == h.size:
                    at = worst(found[0].reshape(-1), h)
                    if at is not None:
                        said += f": h_t, unit {at[0]}, "
                        said += far(float(found[0].reshape(-1)[at]), float(h[at]))
                report.add("mistake", part.shown, said, "overflow" if case is all_cases[-1] else "")
                break
    if says is not None and len(report.mistakes) == before:
        check_batch(learner, part, assumed, cases.batch(), False, says, report)
    if len(report.mistakes) == before and mistake is None and not quiet:
        report.add("passed", part.shown, "equals the reference on every case")
    report.tried.append(f"{part.shown}: {'; '.join(case.name for case in all_cases)}")
    return None
