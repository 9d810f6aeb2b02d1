"""Checks a learner's program, part by part, and names what is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lstmkit.lesson.calls import Assumed
from lstmkit.lesson.gradients import check_backward
from lstmkit.lesson.mutants import Mistake
from lstmkit.lesson.output import check_output
from lstmkit.lesson.program import Program, from_namespace, read
from lstmkit.lesson.report import Report
from lstmkit.lesson.roles import LESSON, Part, Stated, conventions, find, names_used, stated
from lstmkit.lesson.runner import MEGABYTES, SECONDS, Inventory, Learner, Overtime, Stopped, inside
from lstmkit.lesson.sequences import check_sequence
from lstmkit.lesson.source import unpacked, used_by
from lstmkit.lesson.steps import check_step
from lstmkit.naming import SCHEMES, Convention, by_names, names_of
from lstmkit.shapes import InputError

_TITLES = {
    "step": "lstm_cell_step",
    "sequence": "lstm_forward",
    "output": "lstm_output_layer",
    "step backward": "lstm_cell_step_backward",
    "sequence backward": "lstm_backward",
}
_SIGNATURES = {
    "step": "(x_t, h_prev, c_prev, params)",
    "sequence": "(X_seq, h0, c0, params)",
    "output": "(h_states, W_hy, b_y)",
    "step backward": "(x_t, h_prev, c_prev, params, dh_t, dc_t)",
    "sequence backward": "(X_seq, h0, c0, params, dh, dc_last)",
}
SEEN_ALONE = {"overflow", "in place", "aliased", "alike"}
"""Mistakes that leave the values right."""
_ASKED = ("step", "sequence", "output")


def check(
    what: str | os.PathLike[str] | Mapping[str, Any] | Program,
    *,
    seconds: float = SECONDS,
    megabytes: int = MEGABYTES,
) -> Report:
    '''Check somebody's LSTM and name its mistakes.

    Parameters
    ----------
    what : path, dict or Program
        A ``.py`` file, a ``.ipynb`` notebook, or the names of a running session: ``globals()``.
    seconds : float
        How long the code may take for one request.
    megabytes : int
        How much memory it may take (not on Windows).

    Returns
    -------
    Report
        Shows itself in a notebook; ``.text()`` is plain, ``.passed`` and ``.mistakes`` are for
        programs.

    Raises
    ------
    InputError
        If there is no Python to check, or nothing in it that is known by name.

    Notes
    -----
    The code runs in a process of its own. The limits stop accidents, not malice.

    Examples
    --------
    >>> from lstmkit.lesson.program import Cell
    >>> source = """
    ... import numpy as np
    ... def lstm_output_layer(h_states, W_hy, b_y):
    ...     return h_states @ W_hy.T
    ... """
    >>> report = check(Program("mine", (Cell("mine", source),)))
    >>> print(report.mistakes[0].text.split(" (")[0])
    the logits equal the reference with the bias left out
    '''
    if inside():  # a file that checks itself
        return Report("this file")
    if isinstance(what, Program):
        program = what
    elif isinstance(what, str | os.PathLike):
        program = read(what)
    else:
        program = from_namespace(what)
    report = Report(program.name)
    for note in program.notes:
        report.add("note", program.name, note)
    with Learner(program, seconds, megabytes) as learner:
        try:
            inventory = learner.load()
            parts = find(inventory.things)
            if not parts:
                for cell, failure in inventory.failures:
                    report.add("mistake", cell, f"stops with {failure}", "crash")
                if report.mistakes:
                    return report
                raise InputError(
                    f"check: {program.name} defines none of {', '.join(_TITLES.values())} or a "
                    "class LSTM; expected at least one of them"
                )
            _say_loading(program, inventory, report)
            known: dict[str, Part] = {}
            unread: list[str] = []
            stubs = program.unwritten()
            waiting = program.waiting(stubs)
            for part, item in parts.items():
                if item.shown in stubs:
                    continue
                if item.shown in waiting:
                    report.add("open", item.shown, f"needs {waiting[item.shown]}, not written yet")
                    continue
                odd = [name for name, role, _ in item.arguments if role == "unknown"]
                if odd:
                    said = f"what the arguments {', '.join(odd)} are for is not known; expected "
                    said += _SIGNATURES[part.split()[-1] if "class" in part else part]
                    report.add("mistake", item.shown, said, "arguments")
                    unread.append(item.method or item.name)
                elif (ordered := _in_order(program, item)) is None:
                    said = 'params: pass a dict, so that names tell what is what: params["Wf"]'
                    report.add("mistake", item.shown, said, "arguments")
                else:
                    known[part] = ordered
            _Check(learner, program, report, wrong=unread).run(known)
            report.complete = set(_ASKED) <= set(known)
            for name in stubs:
                report.add("open", name, "not written yet")
            if not any(part.startswith("class") for part in parts):
                for part in _ASKED:
                    if part not in parts:
                        report.add("open", LESSON[part], "not written yet")
        except Stopped as stopped:
            kind = "open" if isinstance(stopped, Overtime) else "mistake"
            report.add(kind, program.name, str(stopped), "stopped")
        report.printed = learner.printed
    return report


def _in_order(program: Program, item: Part) -> Part | None:
    """Find out in which order params is unpacked, if it is; None if that tells no weights."""
    given = [name for name, role, _ in item.arguments if role == "params"]
    order = unpacked(program, item.method or item.name, given[0]) if given else None
    if order is None:
        return item
    schemes = by_names(set(order))
    whole = any(set(names_of(scheme)) <= set(order) for scheme in schemes)
    return replace(item, order=order) if whole else None


def _say_loading(program: Program, inventory: Inventory, report: Report) -> None:
    for cell, failure in inventory.failures:
        broken = failure.kind in ("SyntaxError", "IndentationError", "TabError")
        if broken or len(program.cells) == 1:
            kind = "mistake" if broken else "note"
            report.add(kind, cell, f"stops with {failure}", *(["crash"] if broken else []))
        else:
            report.add("note", cell, f"left out: it stops with {failure}")


_ORDER = (
    "step",
    "sequence",
    "class step",
    "class sequence",
    "output",
    "step backward",
    "sequence backward",
)


@dataclass
class _Check:
    """The parts of one program, one after the other; a later one knows what an earlier showed."""

    learner: Learner
    program: Program
    report: Report
    assumed: Assumed | None = None
    base: Mistake | None = None
    own: Assumed | None = None  # of a class
    own_base: Mistake | None = None
    says: Stated = field(default_factory=Stated)
    fixed: list[Convention] = field(default_factory=list)
    free: list[Convention] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # functions that give wrong values,
    shapeless: list[str] = field(default_factory=list)  # that do not give states at all,
    changing: list[str] = field(default_factory=list)  # that change or return their arguments

    def run(self, parts: Mapping[str, Part]) -> None:
        names, self.says = names_used(self.program), stated(self.program)
        self.fixed = conventions(self.program, names, self.says, free=False)
        self.free = conventions(self.program, names, self.says, free=True)
        for part in _ORDER:
            if part not in parts:
                continue
            before = len(self.report.findings)
            try:
                self._one(part, parts)
                self._settle(part, parts[part], before)
            except Overtime as overtime:
                self.report.add("open", parts[part].shown, f"not checked to the end: {overtime}")
            except Stopped as stopped:  # the process is gone: the next part gets a new one
                self.report.add("mistake", parts[part].shown, str(stopped), "stopped")
                self.learner.load()
        for part in _ASKED:
            if part in parts:
                _check_docstring(part, parts[part], self.report)

    def _settle(self, part: str, item: Part, before: int) -> None:
        """Take back what a part is blamed for, where it uses another one that is wrong."""
        findings, name = self.report.findings, item.method or item.name
        mistakes = [finding for finding in findings[before:] if finding.kind == "mistake"]
        values = [one for one in mistakes if not (one.names and set(one.names) <= SEEN_ALONE)]
        used = used_by(self.program, name) - {name}
        if any(one.names in (("in place",), ("aliased",)) for one in mistakes):
            self.changing.append(name)
        if not values:
            return
        base = {"sequence": self.base, "class sequence": self.own_base}.get(part)
        # A mistake of a step that has a name is reckoned with: what is left is the sequence's own.
        guilty = [other for other in self.wrong if other in used and base is None]
        if any("wrong result" in one.names for one in values):
            self.shapeless.append(name)
        elif not set(self.shapeless) & used:  # how many states there are is its own doing
            values = [one for one in values if not one.text.startswith("it returns")]
        self.wrong.append(name)
        if not guilty:  # one that changes its arguments explains what has no name
            guilty = [other for other in self.changing if other in used]
            values = [one for one in values if not one.names]
        if values and guilty:
            findings[:] = [finding for finding in findings if finding not in values]
            said = f"not judged: it uses {guilty[-1]}, which is wrong"
            self.report.add("note", item.shown, said, "not judged")

    def _one(self, part: str, parts: Mapping[str, Part]) -> None:
        learner, item, says, report = self.learner, parts[part], self.says, self.report
        if part == "step":
            self.assumed, self.base = check_step(learner, item, self.fixed, says, report)
            self._assume(self.assumed, item)
        elif part == "sequence":
            before = (self.assumed, self.base)
            found, _ = check_sequence(learner, item, self.fixed, says, report, *before)
            self.assumed = self.assumed or found
            self._assume(found, item)
        elif part == "class step":
            trial = Report(report.program)
            self.own, self.own_base = check_step(learner, item, self.free, says, trial)
            if self.own is None and "class sequence" not in parts:
                trial = Report(report.program)  # forward(x, h, c) may be a sequence
                self.own, self.own_base = check_sequence(learner, item, self.free, says, trial)
            report.findings += trial.findings
            report.tried += trial.tried
            self._assume(self.own, item)
            if self.own is not None:
                _check_start(learner, item, self.own, report)
        elif part == "class sequence":
            before = (self.own, self.own_base)
            check_sequence(learner, item, self.free, says, report, *before)
        elif part == "output":
            convention = self.assumed.convention if self.assumed else None
            turned = convention is not None and convention.orientation == "xW"
            check_output(learner, item, turned, report)
        else:
            whole = part == "sequence backward"
            passed = {f.part for f in report.findings if f.kind == "passed"}
            right = whole and "step backward" in parts and parts["step backward"].shown in passed
            check_backward(learner, item, whole, self.fixed, says, report, self.assumed, right)

    def _assume(self, assumed: Assumed | None, item: Part) -> None:
        """Say which convention was taken, and what cannot be seen because it was not told."""
        if assumed is None or assumed.describe() in self.report.assumed:
            return
        self.report.assumed.append(assumed.describe())
        convention = assumed.convention
        if convention.order is None or self.says.order is not None:
            return
        order, name = ", ".join(convention.order), convention.matrices[0][0]
        if all(scheme.order is None for scheme in SCHEMES if scheme.matrices[0] == (name,)):
            said = f"the order of the gates, {order}, was inferred, so a swap of gates that makes "
            said += "another usual order cannot show; state the order in the docstring"
            self.report.add("note", item.shown, said, "order inferred")
        elif self.report.mistakes:
            said = f"{name} is PyTorch's name, so the gates are taken in the order {order}; if you "
            said += "mean another, state it in the docstring"
            self.report.add("note", item.shown, said)


def _check_start(learner: Learner, part: Part, assumed: Assumed, report: Report) -> None:
    """Look whether the gates of a new object start alike, as they do when drawn from one seed."""
    sizes = {"I": 3, "H": 5, "O": 2}
    new = {"name": part.name, **part.made(sizes, {}), "set": {}}
    call = {**new, "method": "__getattribute__", "args": ["__dict__"], "named": {}}
    (outcome,) = learner.call([call])
    held = outcome.value if isinstance(outcome.value, dict) else {}
    for group in assumed.convention.matrices:
        drawn = [held.get(name) for name in group]
        arrays = [array for array in drawn if isinstance(array, np.ndarray) and array.size > 1]
        if len(arrays) < 4 or any(array.shape != arrays[0].shape for array in arrays):
            continue
        if np.ptp(arrays[0]) > 0 and all(np.array_equal(arrays[0], other) for other in arrays):
            said = f"{', '.join(group)} start identical: draw them one after the other from one "
            report.add(
                "mistake", part.name, f"{said}generator, not each from the same seed", "alike"
            )


_ROLES = {
    "the forget gate": r"forget",
    "the input gate": r"input gate|update gate|input,",
    "the candidate": r"candidate|cell gate|new value|c~|c̃|cell input|proposed",
    "the output gate": r"output gate|output\)|and output",
    "the cell state": r"cell state|memory|long-term",
    "the hidden state": r"hidden state|short-term|hidden",
}
_SHAPE = r"\(\s*\w+\s*,(\s*\w+\s*,?)*\s*\)|shape"


def _check_docstring(part: str, item: Part, report: Report) -> None:
    """Look for what the lesson asks a docstring to say: the gates, the states, the shapes."""
    if not item.doc.strip():
        asked = (
            "the role of each gate and state, and the shapes" if part == "step" else "the shapes"
        )
        report.add("note", item.shown, f"no docstring; the lesson asks for {asked}", "docstring")
        return
    missing = []
    if part == "step":
        missing = [name for name, words in _ROLES.items() if not re.search(words, item.doc, re.I)]
    if not re.search(_SHAPE, item.doc, re.I):
        missing.append("the shapes")
    if missing:
        said = f"the docstring says nothing of {', '.join(missing)}"
        report.add("note", item.shown, said, "docstring")
