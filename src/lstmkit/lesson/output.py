"""Checks a learner's output layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmkit.lesson import cases
from lstmkit.lesson.calls import say_crash, say_facts
from lstmkit.lesson.compare import close, far, what, worst
from lstmkit.lesson.mutants import REFERENCE, sequence
from lstmkit.lesson.report import Report
from lstmkit.lesson.roles import Part
from lstmkit.lesson.runner import Learner, Outcome
from lstmkit.shapes import Array

CLASSES = 4


def _softmax(z: Array, axis: int = -1) -> Array:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    weights: Array = e / e.sum(axis=axis, keepdims=True)
    return weights


# (h (T, H), c (T, H), W (O, H), b (O,)) to what is returned.
MISTAKES: dict[str, tuple[str, Callable[[Array, Array, Array, Array], Array]]] = {
    "no output bias": ("the bias left out", lambda h, c, W, b: h @ W.T),
    "softmax": ("a softmax already applied", lambda h, c, W, b: _softmax(h @ W.T + b)),
    "softmax, no output bias": (
        "the bias left out and a softmax already applied",
        lambda h, c, W, b: _softmax(h @ W.T),
    ),
    "softmax over time": (
        "a softmax applied, and over time in the place of the classes",
        lambda h, c, W, b: _softmax(h @ W.T + b, 0),
    ),
    "softmax over all": (
        "a softmax applied over all steps and classes at once",
        lambda h, c, W, b: _softmax((h @ W.T + b).reshape(-1)).reshape(len(h), -1),
    ),
    "log softmax": (
        "a log-softmax already applied",
        lambda h, c, W, b: np.log(_softmax(h @ W.T + b)),
    ),
    "sigmoid output": (
        "a sigmoid already applied",
        lambda h, c, W, b: 1 / (1 + np.exp(-(h @ W.T + b))),
    ),
    "tanh output": ("a tanh applied", lambda h, c, W, b: np.tanh(h @ W.T + b)),
    "from c": ("c in the place of h", lambda h, c, W, b: c @ W.T + b),
    "from tanh(c)": ("tanh(c) in the place of h", lambda h, c, W, b: np.tanh(c) @ W.T + b),
    "from c, no output bias": (
        "c in the place of h and the bias left out",
        lambda h, c, W, b: c @ W.T,
    ),
    "last step": ("the last step alone", lambda h, c, W, b: (h @ W.T + b)[-1:]),
    "bias subtracted": ("the bias subtracted", lambda h, c, W, b: h @ W.T - b),
    "tanh of h": ("a tanh on h first", lambda h, c, W, b: np.tanh(h) @ W.T + b),
    "output reversed": ("the steps in the other order", lambda h, c, W, b: (h @ W.T + b)[::-1]),
}


def check_output(learner: Learner, part: Part, turned: bool, report: Report) -> None:
    """Check an output layer; ``turned`` says that this learner's matrices stand right of h."""
    case = cases.sequences()[0]
    states = sequence(case.weights, case.X, case.h, case.c, REFERENCE)
    rng = np.random.default_rng(11)
    hs, cs = (np.stack([entry[k] for entry in states]) for k in range(2))
    W, b = rng.normal(size=(CLASSES, len(case.h))), rng.normal(size=CLASSES)
    want = hs @ W.T + b
    forms: list[tuple[str, Any]] = [
        ("array", hs),
        ("list", list(hs)),
        ("pairs", [(h, c) for h, c in states]),
        ("columns", [h[:, None] for h in hs]),
        ("column array", hs[:, :, None]),
    ]
    tried, calls = [], []
    for transposed in (False, True):
        for bias in (b, b[:, None]):
            for form, given in forms:
                tried.append((transposed, form))
                calls.append(_call(part, given, W.T.copy() if transposed else W, bias))
    outcomes = learner.call(calls)
    good: list[tuple[bool, Array, Outcome]] = []
    odd: list[Any] = []
    for (transposed, _), outcome in zip(tried, outcomes, strict=True):
        if outcome.failure is not None:
            continue
        rows = _logits(outcome.value)
        if rows is None:
            odd.append(outcome.value)
            continue
        good.append((transposed, rows, outcome))
        if close(rows, want) and rows.shape == want.shape:
            if transposed and not turned:
                said = "works only with the weights transposed: W_hy is (O, H), one row a class"
                report.add("mistake", part.shown, said, "output transposed")
                return
            say_facts(part, [outcome], report)
            if not any(finding.part == part.shown for finding in report.mistakes):
                report.add("passed", part.shown, "equals the reference")
            return
    for name, (sentence, function) in MISTAKES.items():
        wrong = function(hs, cs, W, b)
        for transposed, rows, _ in good:
            if rows.shape == wrong.shape and close(rows, wrong):
                names = [name]
                if transposed and not turned:
                    sentence += ", and the weights transposed"
                    names.append("output transposed")
                at = worst(rows, want) if rows.shape == want.shape else None
                numbers = ""
                if at:
                    numbers = f" (step {at[0]}, class {at[1]}: "
                    numbers += far(float(rows[at]), float(want[at])) + ")"
                said = f"the logits equal the reference with {sentence}{numbers}"
                report.add("mistake", part.shown, said, *names)
                return
    fitting = [rows for _, rows, _ in good if rows.shape == want.shape]
    if fitting:
        at = worst(fitting[0], want)
        assert at is not None
        numbers = far(float(fitting[0][at]), float(want[at]))
        said = f"the first logits that differ: step {at[0]}, class {at[1]}: {numbers}"
        report.add("mistake", part.shown, f"{said}; it is none of the known mistakes")
    elif good or odd:
        came = what(odd[0]) if odd else f"an array of shape {good[0][1].shape}"
        said = f"it returns {came}; expected logits of shape (T, O) = {want.shape}"
        report.add("mistake", part.shown, said, "wrong result")
    else:
        say_crash(part, [outcome.failure for outcome in outcomes], report)


def _call(part: Part, states: Any, W: Array, b: Array) -> dict[str, Any]:
    weights = {name: W for name in ("W_hy", "Why", "Wy", "W_y", "W_out", "V")}
    weights |= {name: b for name in ("b_y", "by", "b_out", "bias")}
    values = {"states": states, "W": W, "b": b, "params": weights}
    args, named = [], {}
    for name, role, by_name in part.arguments:
        if role not in values:
            continue
        if by_name:
            named[name] = values[role]
        else:
            args.append(values[role])
    return {"name": part.name, "args": args, "named": named}


def _logits(value: Any) -> Array | None:
    """Read logits as (T, O) from an array or a list of vectors."""
    if isinstance(value, tuple) and value and isinstance(value[0], np.ndarray | list):
        if len(value) <= 2:
            value = value[0]
    if isinstance(value, list | tuple):
        if not value or not all(
            isinstance(row, np.ndarray) and row.size == CLASSES for row in value
        ):
            return None
        return np.stack([row.reshape(-1) for row in value])
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "buif":
        return None
    axes = [axis for axis in value.shape if axis != 1] or [1]
    flat = value.reshape(axes)
    if axes == [CLASSES]:
        return flat[None]
    if len(axes) == 2 and axes[1] == CLASSES:
        return flat
    return None
