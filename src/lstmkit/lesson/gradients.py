"""Checks a learner's way back, per parameter, gate and step, against the complex step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from lstmkit.conventions import read, write
from lstmkit.lesson import backward, cases
from lstmkit.lesson.backward import BACKWARD, SEQUENCE_BACK, STEP_BACK, Gradients
from lstmkit.lesson.calls import (
    LAYOUTS,
    Assumed,
    choices_of,
    laid_out,
    request,
    say_crash,
    say_facts,
)
from lstmkit.lesson.cases import Case
from lstmkit.lesson.compare import close, far, vector, what, worst
from lstmkit.lesson.mutants import GATES, NAMES, Mistake
from lstmkit.lesson.report import Report
from lstmkit.lesson.roles import Part, Stated
from lstmkit.lesson.runner import Learner
from lstmkit.naming import Convention
from lstmkit.shapes import Array


@lru_cache
def _truth(name: str) -> Gradients:
    case = next(c for c in (*cases.steps(), *cases.sequences()) if c.name == name)
    return backward.complex_step(case.weights, case.X, case.h, case.c, case.dh, case.dc)


def _mutant(case: Case, switches: Mapping[str, str]) -> Gradients:
    changed = {**BACKWARD, **switches}
    return backward.backward(case.weights, case.X, case.h, case.c, case.dh, case.dc, changed)


def _call(part: Part, assumed: Assumed, case: Case, whole: bool) -> dict[str, Any]:
    kind = assumed.states
    X = laid_out(case.X, assumed.layout) if whole else vector(case.X[0], kind)
    rows = [vector(row, kind) for row in case.dh]
    dh = np.stack(rows) if whole else rows[0]
    values = {"x": X, "h": vector(case.h, kind), "c": vector(case.c, kind), "dh": dh}
    return request(part, assumed, case, {**values, "dc": vector(case.dc, kind)})


def _read(value: Any, assumed: Assumed, case: Case) -> Gradients | str:
    """Read (dx, dh_prev, dc_prev, dparams), or say why that cannot be."""
    if isinstance(value, dict) and not {"dx", "dX", "dX_seq", "dx_t"} & set(value):
        return f"it returns {what(value)}; expected (dx, dh_prev, dc_prev, dparams)"
    if isinstance(value, dict):
        dx = next(value[k] for k in ("dx", "dX", "dX_seq", "dx_t") if k in value)
        dh = next((value[k] for k in ("dh_prev", "dh0", "dh") if k in value), None)
        dc = next((value[k] for k in ("dc_prev", "dc0", "dc") if k in value), None)
        value = (dx, dh, dc, value.get("dparams", value.get("grads", value)))
    if not isinstance(value, tuple | list) or len(value) < 4:
        return f"it returns {what(value)}; expected (dx, dh_prev, dc_prev, dparams)"
    dx, dh, dc, found = value[:4]
    if not isinstance(found, dict):
        return f"dparams is {what(found)}; expected a dict, one gradient a parameter"
    if isinstance(dx, list) and dx and all(isinstance(row, np.ndarray) for row in dx):
        dx = np.stack([row.reshape(-1) for row in dx])
    for name, array, like in (("dx", dx, case.X), ("dh_prev", dh, case.h), ("dc_prev", dc, case.c)):
        if not isinstance(array, np.ndarray) or array.size != like.size:
            return f"{name} is {what(array)}; expected the shape of its argument"
    names = {str(key): array for key, array in found.items()}
    plain = {key[1:] if key.startswith("d") else key: array for key, array in names.items()}
    for name, like in write(case.ours, assumed.convention).items():
        array = plain.get(name)
        if array is None:
            return f"dparams has no gradient of {name}"
        vector_like = name in {n for group in assumed.convention.biases for n in group}
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
            return f"the gradient of {name} is {what(array)}; expected an array {like.shape}"
        if array.shape != like.shape and not (vector_like and array.size == like.size):
            return f"the gradient of {name} has shape {array.shape}; expected {like.shape}"
        plain[name] = array.reshape(like.shape)
    ours, _ = read(plain, _with_bias(assumed.convention, 0), owner="dparams")
    weights = cases.by_gate(ours)
    if assumed.layout == "I, T":
        dx = dx.T
    result: Gradients = {"x": dx.reshape(case.X.shape)}
    result |= {"h0": dh.reshape(-1), "c0": dc.reshape(-1)}
    for gate in GATES:
        result |= {f"Wx.{gate}": weights.x[gate], f"Wh.{gate}": weights.h[gate]}
        result[f"b.{gate}"] = weights.b[gate]
    if len(assumed.convention.biases) == 2:  # each of them has the whole gradient, dz
        ours, _ = read(plain, _with_bias(assumed.convention, 1), owner="dparams")
        second = cases.by_gate(ours)
        result |= {f"second b.{gate}": second.b[gate] for gate in GATES}
    return result


def _with_bias(convention: Convention, which: int) -> Convention:
    return replace(convention, biases=convention.biases[which : which + 1])


def _both(truth: Gradients, found: Gradients) -> Gradients:
    """Give the truth for all that was found: a second bias has the gradient of the first."""
    return {**truth, **{name: truth[f"b.{name[-1]}"] for name in found if name not in truth}}


def _same(got: Gradients, want: Gradients) -> bool:
    want = _both(want, got)
    return all(close(got[name], want[name]) for name in want)


def check_backward(
    learner: Learner,
    part: Part,
    whole: bool,
    candidates: Sequence[Convention],
    says: Stated,
    report: Report,
    known: Assumed | None = None,
    step_right: bool = False,
) -> None:
    """Check a backward step, or with ``whole`` backpropagation through time.

    ``step_right`` says that the backward step has passed.
    """
    tried_cases = list(cases.sequences() if whole else cases.steps())
    if "dc" not in part.roles:
        tried_cases = [replace(case, dc=0 * case.dc) for case in tried_cases]
    first = tried_cases[0]
    choices = choices_of(candidates, says, known)
    tried = [
        Assumed(convention, kind, layout)
        for convention, kind in choices
        for layout in (LAYOUTS[kind] if whole else ("T, I",))
    ]
    outcomes = learner.call([_call(part, assumed, first, whole) for assumed in tried])
    ran = [(a, o) for a, o in zip(tried, outcomes, strict=True) if o.failure is None]
    if not ran:
        say_crash(part, [outcome.failure for outcome in outcomes], report)
        return
    read_all = [(assumed, _read(outcome.value, assumed, first)) for assumed, outcome in ran]
    good = [(assumed, found) for assumed, found in read_all if isinstance(found, dict)]
    if not good:
        report.add("mistake", part.shown, str(read_all[0][1]), "wrong result")
        return
    truth = _true(first, part)
    for assumed, found in good:
        if _same(found, truth):
            _confirm(learner, part, assumed, tried_cases, whole, report)
            return
    mutants = (*STEP_BACK, *SEQUENCE_BACK) if whole else STEP_BACK
    for mistake in mutants:
        expected = _mutant(first, mistake.switches)
        for assumed, found in good:
            if _same(found, expected) and _holds(
                learner, part, assumed, tried_cases[-1], whole, mistake
            ):
                _say(part, found, truth, report, mistake)
                _facts(learner, part, assumed, tried_cases, whole, report)
                return
    best = max(good, key=lambda entry: sum(close(entry[1][k], truth[k]) for k in truth))
    _say(part, best[1], truth, report, None)
    if whole:
        _say_shortest(learner, part, best[0], tried_cases, step_right, report)


def _true(case: Case, part: Part) -> Gradients:
    if "dc" in part.roles:
        return _truth(case.name)
    return backward.complex_step(case.weights, case.X, case.h, case.c, case.dh, case.dc)


def _holds(
    learner: Learner, part: Part, assumed: Assumed, case: Case, whole: bool, mistake: Mistake
) -> bool:
    (outcome,) = learner.call([_call(part, assumed, case, whole)])
    found = _read(outcome.value, assumed, case)
    return isinstance(found, dict) and _same(found, _mutant(case, mistake.switches))


def _say(
    part: Part, found: Gradients, truth: Gradients, report: Report, mistake: Mistake | None
) -> None:
    """Say which gradient is the first that is wrong; biases come first: they are dz itself."""
    truth = _both(truth, found)
    order = (
        [f"{which}b.{g}" for which in ("", "second ") for g in "ogif"]
        + [f"Wx.{g}" for g in GATES]
        + [f"Wh.{g}" for g in GATES]
    )
    for name in [name for name in [*order, "x", "h0", "c0"] if name in truth]:
        if close(found[name], truth[name]):
            continue
        at = worst(found[name], truth[name])
        assert at is not None
        numbers = far(float(found[name].reshape(truth[name].shape)[at]), float(truth[name][at]))
        place = f"{_words(name, at)}: {numbers}"
        if mistake is None:
            right = [key for key in truth if close(found[key], truth[key])]
            said = f"the first gradient that is wrong is {place}"
            said += f"; {len(right)} of {len(truth)} gradients are right"
            said += _first_step(found["x"], truth["x"])
            report.add("mistake", part.shown, f"{said}; it is none of the known mistakes")
        else:
            said = f"the gradients equal those with {mistake.sentence} ({place})"
            report.add("mistake", part.shown, said, mistake.name)
        return


def _first_step(got: Array, want: Array) -> str:
    """Say where the walk back goes wrong: dx_t = Σ W_xᵀ dz_t shows every step's dz."""
    last = len(want) - 1
    if last == 0:
        return ""
    wrong = [t for t in range(last + 1) if not close(got.reshape(want.shape)[t], want[t])]
    if not wrong:
        return f"; dX is right in all steps, {last} to 0: look at how the weights' parts are summed"
    if wrong[-1] == last:
        return f"; dX is wrong from the first step of the walk back on, step {last}"
    return f"; walking back, dX is right down to step {wrong[-1] + 1} and wrong at step {wrong[-1]}"


def _words(name: str, at: tuple[int, ...]) -> str:
    if name == "x":
        return f"dx of step {at[0]}, input {at[1]}"
    if name in ("h0", "c0"):
        return f"d{name[0]}_prev, unit {at[0]}"
    kind, gate = name.split(".")
    what_of = {
        "b": "bias",
        "second b": "second bias",
        "Wx": "weights for x",
        "Wh": "weights for h",
    }[kind]
    return f"the gradient of the {NAMES[gate]}'s {what_of}, unit {at[0]}"


def _say_shortest(
    learner: Learner,
    part: Part,
    assumed: Assumed,
    tried: Sequence[Case],
    step_right: bool,
    report: Report,
) -> None:
    one = tried[1]
    (outcome,) = learner.call([_call(part, assumed, one, True)])
    found = _read(outcome.value, assumed, one)
    if isinstance(found, dict):
        right = _same(found, _true(one, part))
        if right:
            said = "right for one step: look at what goes from step to step"
        elif step_right:
            said = "wrong for a single step already, though the backward step is right: look at "
            said += "which states and gradients it gets"
        else:
            said = "wrong for a single step already: look at the backward step first"
        report.add("note", part.shown, said)


def _facts(
    learner: Learner,
    part: Part,
    assumed: Assumed,
    tried: Sequence[Case],
    whole: bool,
    report: Report,
) -> list[Any]:
    outcomes = learner.call([_call(part, assumed, case, whole) for case in tried])
    say_facts(part, outcomes, report)
    report.tried.append(f"{part.shown}: complex step, {'; '.join(case.name for case in tried)}")
    return outcomes


def _confirm(
    learner: Learner,
    part: Part,
    assumed: Assumed,
    tried: Sequence[Case],
    whole: bool,
    report: Report,
) -> None:
    before = len(report.mistakes)
    outcomes = _facts(learner, part, assumed, tried, whole, report)
    if len(report.mistakes) > before:
        return
    for case, outcome in zip(tried, outcomes, strict=True):
        found = _read(outcome.value, assumed, case)
        truth = _true(case, part)
        if not isinstance(found, dict):
            report.add("mistake", part.shown, f"{found} ({case.name})", "wrong result")
            return
        if not _same(found, truth):
            _say(part, found, truth, report, None)
            return
    report.add("passed", part.shown, "every gradient equals the complex step's")
