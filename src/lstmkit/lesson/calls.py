"""How a learner's functions are called, and what shows without any comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstmkit.conventions import write
from lstmkit.lesson.cases import Case
from lstmkit.lesson.compare import (
    KINDS,
    far,
    vector,
    worst,
)
from lstmkit.lesson.mutants import (
    Mistake,
)
from lstmkit.lesson.report import Report
from lstmkit.lesson.roles import Part, Stated
from lstmkit.lesson.runner import Failure, Learner, Outcome
from lstmkit.naming import Convention, known_names
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


TOGETHER = 96  # attempts in a group: all layouts of a scheme
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


def named(case: Case, convention: Convention) -> dict[str, Array]:
    """Write a case's weights by the learner's names; two biases are different, and none is zero.

    Were one of them zero, code that leaves it out would pass.
    """
    if len(convention.biases) < 2:
        return write(case.ours, convention)
    ours = case.ours
    weights = write({**ours, "bias": ours["bias"] - case.second["bias"]}, convention)
    second = write({**ours, **case.second}, convention)
    for first_name, second_name in zip(*convention.biases, strict=True):
        weights[second_name] = second[first_name]
    return weights


def request(part: Part, assumed: Assumed, case: Case, values: Mapping[str, Any]) -> dict[str, Any]:
    """Build a call: every argument by its role, the weights by the learner's names."""
    weights = named(case, assumed.convention)
    sizes = {"H": (H := len(case.h)), "I": case.X.shape[1], "O": 2}
    args: list[Any] = []
    by_names: dict[str, Any] = {}
    for name, role, by_name in part.arguments:
        if role == "params":
            value: Any = weights
            if part.order:  # with what is no weight of the cell, such as W_hq and b_q
                rest = {n: np.zeros(2) if n[0] in "bB" else np.zeros((H, 2)) for n in part.order}
                value = [{**rest, **weights}[n] for n in part.order]
        elif role == "weight":
            value = weights.get(name, np.zeros(sizes["H"]))
        elif role == "state":
            value = (values["h"], values["c"])
        elif role in values:
            value = values[role]
        else:
            continue
        if by_name:
            by_names[name] = value
        else:
            args.append(value)
    call: dict[str, Any] = {"name": part.name, "args": args, "named": by_names}
    if part.method:
        held: dict[str, Any] = dict(weights)
        call |= {"method": part.method, **part.made(sizes, weights)}
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


def choices_of(
    candidates: Sequence[Convention], says: Stated, known: Assumed | None = None
) -> list[tuple[Convention, str]]:
    """List conventions with how states are written; first what the step was found to follow.

    A step may work on flat and on column vectors alike, where a sequence takes only one of them.
    """
    ways = kinds(says)
    if known is not None:
        others = [(replace(known.convention, vectors=bias), kind) for kind, bias in ways]
        first = (known.convention, known.states)
        return [first, *(choice for choice in others if choice != first)]
    if len(candidates) > 60:  # the names told nothing: every scheme, in the usual ways
        ways = ways[:2]
    return [(replace(each, vectors=bias), kind) for each in candidates for kind, bias in ways]


def attempt(learner: Learner, requests: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """Make calls group by group, until a group has one that did not stop with an error."""
    outcomes: list[Outcome] = []
    for start in range(0, len(requests), TOGETHER):
        outcomes += learner.call(requests[start : start + TOGETHER])
        unwritten = {outcome.failure.kind for outcome in outcomes if outcome.failure}
        if unwritten == {"NotImplementedError"}:
            break
        if any(outcome.failure is None for outcome in outcomes):
            break
    return outcomes


def kinds(says: Stated) -> list[tuple[str, str]]:
    """List how states and biases may be written, after what the code says of it."""
    return [both for both in KINDS if says.vectors is None or both[0] == says.vectors]


def say_named(
    shown: str, quantity: str, mistake: Mistake, got: Array, want: Array, report: Report, t: int = 0
) -> None:
    """Say which mistake makes the reference give the same, and show the numbers."""
    at = worst(got, want)
    place = f"step {t}, unit {at[-1] if at else 0}"
    numbers = far(float(got.reshape(want.shape)[at]), float(want[at])) if at else ""
    said = f"{quantity} equals the reference with {mistake.sentence} ({place}: {numbers})"
    report.add("mistake", shown, said, *mistake.name.split(" + "))


def say_crash(part: Part, failures: Sequence[Failure | None], report: Report) -> None:
    """Say with which error every attempt stopped."""
    real = [failure for failure in failures if failure is not None]
    if all(failure.kind == "NotImplementedError" for failure in real):
        report.add("open", part.shown, "not written yet")
        return
    unknown = [f for f in real if f.kind == "KeyError" and f.message not in known_names()]
    if unknown:
        said = f"it stops with {unknown[0]}: no name of a weight that is known; such as Wf, W_f, Wx"
        report.add("mistake", part.shown, said, "crash")
        return
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
