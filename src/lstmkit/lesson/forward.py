"""Checks a learner's step, sequence and output layer against the reference and its mutants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstmkit.conventions import write
from lstmkit.lesson import cases
from lstmkit.lesson.cases import Case
from lstmkit.lesson.compare import (
    KINDS,
    close,
    far,
    gates,
    pair,
    same_states,
    states,
    vector,
    what,
    worst,
)
from lstmkit.lesson.mutants import (
    ACTIVATIONS,
    GATES,
    NAMES,
    REFERENCE,
    SEQUENCE,
    STEP,
    Mistake,
    pairs,
    sequence,
    step,
)
from lstmkit.lesson.report import Report
from lstmkit.lesson.roles import Part, Stated
from lstmkit.lesson.runner import Failure, Learner, Outcome
from lstmkit.naming import Convention
from lstmkit.shapes import Array


@dataclass(frozen=True)
class Assumed:
    """A convention with how states are written, and for a sequence how X is."""

    convention: Convention
    states: str
    layout: str = "T, I"

    def describe(self) -> str:
        """Say it in one line."""
        kind = {"flat": "(H,)", "column": "(H, 1)", "row": "(1, H)"}[self.states]
        return f"{self.convention.describe()}; states {kind}"


LAYOUTS = {
    "flat": ("T, I", "I, T"),
    "column": ("T, I, 1", "I, T", "T, I", "I, 1, T"),
    "row": ("T, 1, I", "1, T, I", "T, I"),
}


def laid_out(X: Array, layout: str) -> Array:
    """Write X (T, I) as a sequence function wants it."""
    return {
        "T, I": X,
        "I, T": X.T.copy(),
        "T, I, 1": X[:, :, None],
        "I, 1, T": X.T[:, None].copy(),
        "T, 1, I": X[:, None],
        "1, T, I": X[None],
    }[layout]


def request(part: Part, assumed: Assumed, case: Case, values: Mapping[str, Any]) -> dict[str, Any]:
    """Build a call: every argument by its role, the weights by the learner's names."""
    weights = write(case.ours, assumed.convention)
    sizes = {"H": len(case.h), "I": case.X.shape[1], "O": 2}
    args: list[Any] = []
    named: dict[str, Any] = {}
    for name, role, by_name in part.arguments:
        if role == "params":
            value: Any = weights
        elif role == "weight":
            value = weights.get(name, np.zeros(sizes["H"]))
        elif role in values:
            value = values[role]
        else:
            continue
        if by_name:
            named[name] = value
        else:
            args.append(value)
    call: dict[str, Any] = {"name": part.name, "args": args, "named": named}
    if part.method:
        held: dict[str, Any] = dict(weights)
        call |= {"method": part.method, "init": [sizes[role] for _, role in part.init]}
        call["set"] = held
    return call


def step_request(part: Part, assumed: Assumed, case: Case) -> dict[str, Any]:
    """Build the call of a step."""
    kind = assumed.states
    x, h, c = (vector(array, kind) for array in (case.X[0], case.h, case.c))
    return request(part, assumed, case, {"x": x, "h": h, "c": c})


def sequence_request(part: Part, assumed: Assumed, case: Case) -> dict[str, Any]:
    """Build the call of a sequence."""
    kind = assumed.states
    X = laid_out(case.X, assumed.layout)
    return request(
        part, assumed, case, {"x": X, "h": vector(case.h, kind), "c": vector(case.c, kind)}
    )


def kinds(says: Stated) -> list[tuple[str, str]]:
    """List how states and biases may be written, after what the code says of it."""
    return [both for both in KINDS if says.vectors is None or both[0] == says.vectors]


# ------------------------------------------------------------------------------------ a step


def check_step(
    learner: Learner, part: Part, candidates: Sequence[Convention], says: Stated, report: Report
) -> tuple[Assumed | None, Mistake | None]:
    """Check a step: report what is wrong; return what was assumed and the mistake, if named."""
    first, second, third = cases.steps()
    tried = [
        Assumed(replace(convention, vectors=bias), kind)
        for convention in candidates
        for kind, bias in kinds(says)
    ]
    outcomes = learner.call([step_request(part, assumed, first) for assumed in tried])
    h, c = step(first.weights, first.X[0], first.h, first.c, REFERENCE)
    good: list[tuple[Assumed, Array, Array, Outcome]] = []
    odd: list[tuple[Assumed, Any]] = []
    for assumed, outcome in zip(tried, outcomes, strict=True):
        if outcome.failure is not None:
            continue
        found = pair(outcome.value)
        shape = vector(h, assumed.states).shape
        if found is not None and found[0].shape == shape == found[1].shape:
            if close(found[0], h) and close(found[1], c):
                return assumed, _confirm_step(learner, part, assumed, None, report)
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

    for mutants in (STEP, pairs("step")):
        for mistake in mutants:
            switches = {**REFERENCE, **mistake.switches}
            h_wrong, c_wrong = step(first.weights, first.X[0], first.h, first.c, switches)
            for assumed, h_got, c_got, _ in good:
                if not (close(h_got, h_wrong) and close(c_got, c_wrong)):
                    continue
                calls = [step_request(part, assumed, case) for case in (second, third)]
                if _agree(learner.call(calls), (second, third), switches):
                    quantity = "c_t" if close(h_got, h) else "h_t"
                    both = (c_got, c) if quantity == "c_t" else (h_got, h)
                    _say_named(part.shown, quantity, mistake, *both, report)
                    _confirm_step(learner, part, assumed, mistake, report)
                    return assumed, mistake
    assumed, h_got, c_got, outcome = good[0]
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


def _say_named(
    shown: str, quantity: str, mistake: Mistake, got: Array, want: Array, report: Report, t: int = 0
) -> None:
    at = worst(got, want)
    place = f"step {t}, unit {at[-1] if at else 0}"
    numbers = far(float(got.reshape(want.shape)[at]), float(want[at])) if at else ""
    said = f"{quantity} equals the reference with {mistake.sentence} ({place}: {numbers})"
    report.add("mistake", shown, said, *mistake.name.split(" + "))


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


def say_crash(part: Part, failures: Sequence[Failure | None], report: Report) -> None:
    """Say with which error every attempt stopped."""
    real = [failure for failure in failures if failure is not None]
    chosen = next((f for f in real if f.kind not in ("KeyError", "AttributeError")), real[0])
    if all(f.kind in ("KeyError", "AttributeError") for f in real):
        said = f"it stops with {real[0]}; the names of the weights fit no convention that is known"
        report.add("mistake", part.shown, said, "crash")
        return
    lines = " ".join(f.frames[-1][3] for f in real if f.frames)
    if any(word in lines for word in ("stack(", "np.array([", "vstack", "hstack")):
        said = f"h and x are stacked where they should be concatenated: {chosen}"
        report.add("mistake", part.shown, said, "stacked")
        return
    report.add("mistake", part.shown, f"it stops with {chosen}", "crash")


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
    right = _gates(case)
    shown = gates(got[2].value)
    for gate in "ifgo":
        if gate in shown and not close(shown[gate], right[gate]):
            _say_wrong(part, f"{gate}_t", shown[gate].reshape(-1), right[gate], report)
            return
    for quantity, value, truth in _probes(learner, part, assumed):
        if not close(value, truth):
            _say_wrong(part, quantity, value, truth, report)
            return
    if not close(got[1], want[1]):
        _say_wrong(part, "c_t", got[1], want[1], report)
    else:
        _say_wrong(part, "h_t", got[0], want[0], report)


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


def _probes(learner: Learner, part: Part, assumed: Assumed) -> list[tuple[str, Array, Array]]:
    """Make each gate visible from outside, by saturating the others and choosing c_prev.

    f = c(c_prev = 1) − c(c_prev = 0); with i open, g = c(c_prev = 0); with g at 1, i = c(c_prev =
    0); o = h / tanh(c).
    """
    case = cases.steps()[0]
    ones, zeros = np.ones_like(case.c), np.zeros_like(case.c)

    def driven(c: Array, **bias: float) -> Case:
        b = {g: np.full_like(v, bias[g]) if g in bias else v for g, v in case.weights.b.items()}
        return replace(case, weights=replace(case.weights, b=b), c=c)

    probes = [driven(ones), driven(zeros), driven(zeros, g=1000.0), driven(zeros, i=1000.0)]
    outcomes = learner.call([step_request(part, assumed, probe) for probe in probes])
    results = [pair(outcome.value) for outcome in outcomes]
    if any(result is None for result in results):
        return []
    hc = [(r[0].reshape(-1), r[1].reshape(-1)) for r in results if r is not None]
    if any(h.size != len(case.h) or c.size != len(case.h) for h, c in hc):
        return []
    right = _gates(case)
    with np.errstate(all="ignore"):
        o = hc[0][0] / np.tanh(hc[0][1])
    return [
        (f"i_t (the {NAMES['i']})", hc[2][1], right["i"]),
        (f"f_t (the {NAMES['f']})", hc[0][1] - hc[1][1], right["f"]),
        (f"g_t (the {NAMES['g']})", hc[3][1], right["g"]),
        (f"o_t (the {NAMES['o']}), or the tanh after it", o, right["o"]),
    ]


def _confirm_step(
    learner: Learner,
    part: Part,
    assumed: Assumed,
    mistake: Mistake | None,
    report: Report,
    quiet: bool = False,
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
    if len(report.mistakes) == before and mistake is None and not quiet:
        report.add("passed", part.shown, "equals the reference on every case")
    report.tried.append(f"{part.shown}: {'; '.join(case.name for case in all_cases)}")
    return None


def say_facts(part: Part, outcomes: Sequence[Outcome], report: Report) -> None:
    """Report what shows without any comparison: errors, warnings, changed and shared arrays."""
    positional = [name for name, _, by_name in part.arguments if not by_name]

    def argument(path: str) -> str:
        """Turn .0.2 or .0.3.Wf into the argument's name."""
        pieces = path.strip(".").split(".")
        if pieces[0] == "0" and len(pieces) > 1 and int(pieces[1]) < len(positional):
            rest = "".join(f"[{piece!r}]" for piece in pieces[2:] if not piece.isdigit())
            return positional[int(pieces[1])] + rest
        return pieces[1] if len(pieces) > 1 else path

    for outcome in outcomes:
        if outcome.failure is not None:
            report.add("mistake", part.shown, f"it stops with {outcome.failure}", "crash")
            break
    changed = sorted({argument(path) for outcome in outcomes for path in outcome.changed})
    if changed:
        said = f"the caller's {', '.join(changed)} changed in place; write x = x + y, not x += y"
        report.add("mistake", part.shown, said, "in place")
    else:
        shared = sorted(
            {
                argument(there[len("argument") :])
                for outcome in outcomes
                for here, there in outcome.shared
                if there.startswith("argument.") and here in (".0", ".1")
            }
            & {name for name, role, _ in part.arguments if role in ("h", "c", "x")}
        )
        if shared:
            said = f"a result is the caller's own {', '.join(shared)} (the same memory); copy it"
            report.add("mistake", part.shown, said, "aliased")
    loud = [warning for outcome in outcomes for warning in outcome.warnings]
    overflow = [w for w in loud if "overflow" in w[0] or "invalid value" in w[0]]
    bad = any(_not_finite(outcome.value) for outcome in outcomes)
    if overflow or bad:
        where = f" (line {overflow[0][1]}: {overflow[0][2]})" if overflow and overflow[0][1] else ""
        came = "gives nan or inf" if bad else "overflows, with a warning,"
        said = f"the sigmoid {came} at z = ±1000{where}; keep every exponent at or below 0"
        report.add("mistake", part.shown, said, "overflow")
    elif loud:
        report.add("note", part.shown, f"warning: {loud[0][0]} (line {loud[0][1]}: {loud[0][2]})")


def _not_finite(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fc" and not bool(np.isfinite(value).all())
    if isinstance(value, dict):
        return any(map(_not_finite, value.values()))
    return isinstance(value, list | tuple) and any(map(_not_finite, value))


# -------------------------------------------------------------------------------- a sequence


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
    choices = [(known.convention, known.states)] if known else []
    if not choices:
        for convention in candidates:
            choices += [(replace(convention, vectors=bias), kind) for kind, bias in kinds(says)]
    for convention, kind in choices:
        tried += [Assumed(convention, kind, layout) for layout in LAYOUTS[kind]]
    outcomes = learner.call([sequence_request(part, assumed, first) for assumed in tried])
    size, steps = len(first.h), len(first.X)
    want = sequence(first.weights, first.X, first.h, first.c, REFERENCE)
    wrong = {**REFERENCE, **(base.switches if base else {})}
    good = []
    for assumed, outcome in zip(tried, outcomes, strict=True):
        found = None if outcome.failure else states(outcome.value, size, steps)
        if found is not None:
            if same_states(found, want):
                return assumed, _confirm_sequence(learner, part, assumed, wrong, report)
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
    assumed, found = good[0]
    _say_first_state(part, found, want, report)
    _confirm_sequence(learner, part, assumed, wrong, report, quiet=True)
    return assumed, None


def _started(part: Part, case: Case) -> Case:
    """Return the case as this function can know it: without a state to begin with, zeros."""
    h = case.h if "h" in part.roles else np.zeros_like(case.h)
    c = case.c if "c" in part.roles else np.zeros_like(case.c)
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
            _say_named(part.shown, "h_t", mistake, found.h[t], h, report, t)
            return
        if found.c is not None and not close(found.c[t], c):
            _say_named(part.shown, "c_t", mistake, found.c[t], c, report, t)
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
) -> Mistake | None:
    tried = [_started(part, case) for case in cases.sequences()]
    outcomes = learner.call([sequence_request(part, assumed, case) for case in tried])
    before = len(report.mistakes)
    say_facts(part, outcomes, report)
    if not quiet:
        for case, outcome in zip(tried, outcomes, strict=True):
            found = states(outcome.value, len(case.h), len(case.X))
            if outcome.failure is None and (
                found is None or not same_states(found, _run(case, REFERENCE))
            ):
                said = f"right on the first numbers, wrong on others ({case.name})"
                report.add("mistake", part.shown, said)
                break
        if len(report.mistakes) == before:
            report.add("passed", part.shown, "equals the reference on every case")
    report.tried.append(f"{part.shown}: {'; '.join(case.name for case in tried)}")
    return None
