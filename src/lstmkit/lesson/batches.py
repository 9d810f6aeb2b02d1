"""Tries code that is right for one row on a batch: rows must not mix.

Only code that keeps states as rows, and takes several without an error, can be asked this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lstmkit.lesson.calls import Assumed, request
from lstmkit.lesson.cases import Case
from lstmkit.lesson.compare import far, pair, states, worst
from lstmkit.lesson.mutants import REFERENCE, sequence
from lstmkit.lesson.report import Report
from lstmkit.lesson.roles import Part, Stated
from lstmkit.lesson.runner import Learner
from lstmkit.shapes import Array


def check_batch(
    learner: Learner,
    part: Part,
    assumed: Assumed,
    started: Sequence[Case],
    whole: bool,
    says: Stated,
    report: Report,
) -> None:
    """Report how the rows of a batch come out wrong, if they do.

    It is a mistake where the code speaks of a batch, and a note elsewhere: nobody asked for one.

    Parameters
    ----------
    learner, part, assumed
        What to call, and how.
    started : sequence of Case
        One a row, with the same weights; see `cases.batch`.
    whole : bool
        Whether it is a sequence.
    says : Stated
        What the code says of rows.
    report : Report
    """
    layouts = ("T, 1, I", "1, T, I") if whole else ("T, I",)
    if says.one_row or assumed.states != "row" or assumed.layout not in layouts:
        return
    axis = 0 if assumed.layout == "1, T, I" else 1
    X = np.stack([case.X for case in started], axis)
    h, c = (np.stack([getattr(case, name) for case in started]) for name in "hc")
    values = {"x": X if whole else np.stack([case.X[0] for case in started]), "h": h, "c": c}
    (outcome,) = learner.call([request(part, assumed, started[0], values)])
    if outcome.failure is not None or (not whole and _is_sequence(learner, part, assumed, started)):
        return
    for n, case in enumerate(started):
        found = _read(_row(outcome.value, n, len(started)), case, whole)
        if not found:
            return
        rows = case.X if whole else case.X[:1]
        want = sequence(case.weights, rows, case.h, case.c, REFERENCE)
        for (name, got), right in zip(found, zip(*want, strict=True), strict=True):
            if got is None:
                continue
            expected = np.stack(right)
            if got.shape != expected.shape:
                return  # no batch: one of these axes has another meaning
            at = worst(got, expected)
            if at is not None and not np.allclose(got, expected, rtol=1e-4, atol=1e-4):
                numbers = far(float(got[at]), float(expected[at]))
                said = f"right for one row, wrong for a batch of {len(started)} different rows: "
                said += f"{name}_t of row {n}, step {at[0]}, unit {at[1]}, {numbers}"
                kind = "mistake" if says.batch else "note"
                report.add(kind, part.shown, f"{said}; rows must not mix", "batch")
                return
    report.tried.append(f"{part.shown}: {started[0].name}")


def _is_sequence(learner: Learner, part: Part, assumed: Assumed, started: Sequence[Case]) -> bool:
    """Whether what was taken for a step takes several x to one state: rows are then steps."""
    first = started[0]
    values = {
        "x": np.stack([case.X[0] for case in started]),
        "h": first.h[None],
        "c": first.c[None],
    }
    (outcome,) = learner.call([request(part, assumed, first, values)])
    found = None if outcome.failure else pair(outcome.value)
    return found is not None and found[0].size == len(first.h)


def _read(value: Any, case: Case, whole: bool) -> list[tuple[str, Array | None]]:
    """Read the states of one row, each (T, H)."""
    if not whole:
        found = pair(value)
        return [] if found is None else [("h", found[0][None]), ("c", found[1][None])]
    both = states(value, len(case.h), len(case.X))
    return [] if both is None else [("h", both.h), ("c", both.c)]


def _row(value: Any, n: int, many: int) -> Any:
    """Take one row out of all arrays that have an axis for the batch."""
    if isinstance(value, np.ndarray):
        axes = [axis for axis, size in enumerate(value.shape) if size == many]
        return value.take(n, axes[0]) if len(axes) == 1 else None
    if isinstance(value, tuple):
        return tuple(_row(entry, n, many) for entry in value)
    if isinstance(value, list):
        return [_row(entry, n, many) for entry in value]
    if isinstance(value, dict):
        return {key: _row(entry, n, many) for key, entry in value.items()}
    return value
