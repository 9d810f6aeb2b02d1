"""Which of a learner's functions is which, what their arguments mean, and how weights are called.

People name the same thing in many ways; this file knows the usual ones.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lstmkit.lesson.program import Program
from lstmkit.naming import SCHEMES, Convention, by_names, known_names, layouts

PARTS: dict[str, list[str]] = {
    "step": (
        "lstm_cell_step lstm_step lstm_cell lstm_cell_forward lstm_step_forward lstm_forward_step "
        "cell_step lstm_unit lstm_cell_step_forward forward_step step lstm_cell_forward_step"
    ).split(),
    "sequence": (
        "lstm_forward lstm_sequence lstm_forward_sequence lstm_forward_pass run_lstm lstm "
        "lstm_layer forward_sequence sequence_forward forward"
    ).split(),
    "output": "lstm_output_layer output_layer lstm_output".split(),
    "step backward": (
        "lstm_cell_step_backward lstm_step_backward lstm_cell_backward cell_step_backward"
    ).split(),
    "sequence backward": "lstm_backward lstm_sequence_backward lstm_bptt bptt backward".split(),
}
LESSON = {part: names[0] for part, names in PARTS.items()}

_STEP_METHODS = ("forward", "step", "cell_step", "forward_step", "lstm_cell_step", "__call__")
_SEQUENCE_METHODS = ("forward_sequence", "sequence", "run", "forward_pass", "forward", "__call__")

_X = re.compile(
    r"(x|xt|xs|inputs?|inp|data|seq|sequence|xseq|inputseq\w*|sequence\w*|xin|xprev)", re.I
)
_H = re.compile(
    r"(prev)?(h|hidden|a|short)(t|prev|0|init|state|previous|tm1|in|initial|old|last)*", re.I
)
_C = re.compile(
    r"(prev)?(c|cell|memory|long)(t|prev|0|init|state|previous|tm1|in|initial|old|last)*", re.I
)
_PARAMS = re.compile(r"(params?|parameters?|p|weights?|w|theta|model|wts)", re.I)
_DH = re.compile(r"d(next)?(h|a|hs|hidden|y|out)(t|next|s|seq|states?|all)*", re.I)
_DC = re.compile(r"d(next)?c(t|next|last|state|final|end)*", re.I)
_STATE = re.compile(r"(prev)?(state|states|hc|hx|carry)(prev|t|0|init|tuple|tm1|previous)*", re.I)
_STATES = re.compile(r"(h\w*|a|states?|hidden\w*|outputs?|lstmout\w*)", re.I)
_W_OUT = re.compile(r"(w|why|wy|wo|wout|v|weights?|woutput|whq|u)", re.I)
_B_OUT = re.compile(r"(b|by|bo|bout|bias|boutput|bq|c)", re.I)
_ALONE = {"W", "U", "R", "b", "B", "bias"}


@dataclass(frozen=True)
class Part:
    """A function or a method of the learner's, with what each argument means.

    ``arguments`` has (name, role, by name) for each; roles are ``x h c params dh dc W b states``,
    ``state`` for the pair (h, c), or ``weight`` for one that is named like a single weight.
    ``init`` has the same for the arguments of a class: ``I H O`` for a size, or ``params``.
    """

    name: str
    arguments: tuple[tuple[str, str, bool], ...]
    method: str | None = None
    init: tuple[tuple[str, str, bool], ...] = ()
    doc: str = ""
    order: tuple[str, ...] = ()  # of params, where it is a sequence

    @property
    def shown(self) -> str:
        """The name as it is written."""
        return f"{self.name}.{self.method}" if self.method else self.name

    @property
    def roles(self) -> set[str]:
        """What it is given."""
        return {role for _, role, _ in self.arguments}

    def made(self, sizes: Mapping[str, int], weights: Mapping[str, Any]) -> dict[str, Any]:
        """Give what makes an object of the class: arguments by place, and by name."""
        values = {**sizes, "params": dict(weights)}
        placed = [values[role] for _, role, by_name in self.init if not by_name]
        named = {name: values[role] for name, role, by_name in self.init if by_name}
        return {"init": placed, "init_named": named}


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _roles(parameters: Sequence[Sequence[Any]], part: str) -> tuple[tuple[str, str, bool], ...]:
    """Find what each parameter means: by its name, else by its place."""
    if part == "output":
        tests = [("states", _STATES), ("W", _W_OUT), ("b", _B_OUT), ("params", _PARAMS)]
        order = ["states", "W", "b"]
    else:
        tests = [("x", _X), ("h", _H), ("c", _C), ("state", _STATE), ("params", _PARAMS)]
        order = ["x", "h", "c", "params"]
        if "backward" in part:
            tests = [("dh", _DH), ("dc", _DC), *tests]
            order += ["dh", "dc"]
    known = known_names()
    found: list[tuple[str, str | None, bool, bool]] = []
    taken: set[str] = set()
    # W is all parameters where it is alone, and a weight beside U, R or a bias.
    apart = "W" in (names := {str(name) for name, _, _ in parameters}) and names & (_ALONE - {"W"})
    for name, kind, optional in parameters:
        if kind in ("VAR_POSITIONAL", "VAR_KEYWORD"):
            continue
        role = None
        several = len(parameters) > 4 and name.lower() != "w"
        if part != "output" and name in known and (several or (apart and name in _ALONE)):
            role = "weight"
        else:
            for candidate, pattern in tests:
                if candidate not in taken and pattern.fullmatch(_plain(name)):
                    role = candidate
                    taken.add(candidate)
                    break
        found.append((name, role, kind == "KEYWORD_ONLY", bool(optional)))
    result = []
    for name, role, by_name, optional in found:
        if role is None:
            if optional:
                continue
            gone = taken | ({"h", "c"} if "state" in taken else set())
            left = [candidate for candidate in order if candidate not in gone]
            role = left[0] if left else "unknown"
            taken.add(role)
        result.append((name, role, by_name or optional))
    return tuple(result)


def find(inventory: Sequence[Mapping[str, Any]]) -> dict[str, Part]:
    """Find the parts of the lesson among what the learner defined."""
    functions = {_plain(item["name"]): item for item in inventory if item["kind"] == "function"}
    found: dict[str, Part] = {}
    for part, names in PARTS.items():
        for name in names:
            item = functions.get(_plain(name))
            if item is not None:
                roles = _roles(item["parameters"], part)
                if part == "sequence" and name == "forward" and "x" not in {r for _, r, _ in roles}:
                    continue
                found[part] = Part(item["name"], roles, doc=item["doc"])
                break
    classes = [item for item in inventory if item["kind"] == "class"]
    for item in sorted(classes, key=lambda item: "lstm" not in item["name"].lower()):
        if "lstm" not in item["name"].lower() and len(classes) > 1:
            continue
        methods: Mapping[str, Any] = item["methods"]
        init = _init(item["parameters"])
        for method in _STEP_METHODS:
            if "class step" not in found and method in methods:
                roles = _roles(methods[method], "step")
                has = {role for _, role, _ in roles}
                if {"x", "h", "c"} <= has or {"x", "state"} <= has:
                    if any("seq" in _plain(name) for name, _, _ in roles):
                        continue
                    found["class step"] = Part(item["name"], roles, method, init, item["doc"])
        for method in _SEQUENCE_METHODS:
            taken = found.get("class step")
            if "class sequence" in found or method not in methods:
                continue
            if taken is not None and (taken.name, taken.method) == (item["name"], method):
                continue
            roles = _roles(methods[method], "sequence")
            if "x" in {role for _, role, _ in roles}:
                found["class sequence"] = Part(item["name"], roles, method, init, item["doc"])
    return found


_SIZE_NAMES = {
    "I": ("input|in|nx|ni|nin|d|inp|inputs|features|embed", "inputs?|in|inp|x|d|features|embed|i"),
    "H": ("hidden|h|nh|na|units|nhidden|state|cell", "hidden|h|a|units|state|cell"),
    "O": ("output|out|ny|no|classes|vocab", "outputs?|out|y|o|classes|vocab"),
}
"""How the sizes begin where an argument must be given, and what is left of them elsewhere."""


def _init(parameters: Sequence[Sequence[Any]]) -> tuple[tuple[str, str, bool], ...]:
    """Find which arguments of a class are the sizes, and which the weights."""
    found: list[tuple[str, str, bool]] = []
    left = list(_SIZE_NAMES)
    for name, kind, optional in parameters:
        plain = _plain(name)
        if kind in ("VAR_POSITIONAL", "VAR_KEYWORD"):
            continue
        bare = re.sub(r"^(n|num)(?=..)|(size|dims?|units|features|ding)+$", "", plain) or plain
        role = None
        for size in left:
            begins, whole = _SIZE_NAMES[size]
            fits = re.fullmatch(whole, bare) or re.fullmatch(begins, plain)
            if fits or (not optional and re.match(begins, plain)):
                role = size
                break
        if role is None and optional:
            continue
        if role is None and _PARAMS.fullmatch(plain) and "params" not in {r for _, r, _ in found}:
            role = "params"
        if role is None:
            role = left[0] if left else "O"
        if role in left:
            left.remove(role)
        found.append((name, role, bool(optional) or kind == "KEYWORD_ONLY"))
    return tuple(found)


# ----------------------------------------------------------------------- names of the weights


def names_used(program: Program) -> set[str]:
    """Collect the names of weights that the code uses: keys, attributes, arguments, variables."""
    known = known_names()
    found: set[str] = set()
    for tree in program.trees():
        put_together = _put_together(tree)
        for node in ast.walk(tree):
            name: object = None
            if node in put_together:
                continue
            if isinstance(node, ast.Constant):
                name = node.value
            elif isinstance(node, ast.Attribute):
                name = node.attr
            elif isinstance(node, ast.arg):
                name = node.arg
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                several = [t for t in node.targets if isinstance(t, ast.Tuple | ast.List)]
                names = {n.id for t in several for n in t.elts if isinstance(n, ast.Name)}
                found |= names & known  # W, b = params
            if isinstance(name, str) and name in known:
                found.add(name)
    return found


def _put_together(tree: ast.AST) -> set[ast.AST]:
    """Find texts that are only a part of a name, as in ``f"W{gate}"`` or ``"W" + gate``."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            found |= set(node.values)
        elif isinstance(node, ast.BinOp):
            found |= {side for side in (node.left, node.right) if isinstance(side, ast.Constant)}
    return found


@dataclass(frozen=True)
class Stated:
    """What the learner's docstrings and comments say about the layout."""

    concat: str | None = None
    order: str | None = None
    vectors: str | None = None
    one_row: bool = False  # states are said to be (1, H): no batch is meant
    batch: bool = False  # it speaks of a batch


_H_NAME = r"(?:h|a|hidden)(?:_?(?:prev|t|\{?t-1\}?|state|t_prev))*(?:\[t-1\])?"
_X_NAME = r"(?:x|input)(?:_?t)?"
_BATCH = (
    r"\bbatch|\(\s*(?:N|B|m|batch\w*)\s*,"
    r"|\b(?:N|B|batch\w*)\s*(?:,[^=\n]*)?=[^=\n]*(?:shape\b|len\()"
)
_SIZE = r"(?:H|h|n_h|n_a|hidden|hidden_size|hidden_dim|units)"


def stated(program: Program) -> Stated:
    """Read it; what is said in two ways counts as not said."""
    said = program.said()
    concats = set()
    if re.search(rf"\[\s*{_H_NAME}\s*[;,]\s*{_X_NAME}\s*\]", said):
        concats.add("hx")
    if re.search(rf"\[\s*{_X_NAME}\s*[;,]\s*{_H_NAME}\s*\]", said):
        concats.add("xh")
    orders = set()
    for line in said.splitlines():
        if not re.search(r"order|gates|stack|split", line, re.I):
            continue
        pattern = r"\s*(?:[,|;/]|and)+\s*".join([r"\b([ifgoc])\b"] * 4)
        for match in re.finditer(pattern, line):
            order = "".join(match.groups()).replace("c", "g")
            if sorted(order) == sorted("ifgo"):
                orders.add(order)
    vectors = set()
    one_row = False
    for line in said.splitlines():
        if not re.search(r"\b[hHcC](?:_?prev|_?t|0)?\b|state", line):
            continue
        if re.search(rf"\(\s*{_SIZE}\s*,\s*\)", line):
            vectors.add("flat")
        if re.search(rf"\(\s*{_SIZE}\s*,\s*1\s*\)", line):
            vectors.add("column")
        one_row = one_row or bool(re.search(rf"\(\s*1\s*,\s*{_SIZE}\s*\)", line))
    one = [found.pop() if len(found) == 1 else None for found in (concats, orders, vectors)]
    batch = re.search(_BATCH, f"{said}\n{program.source}") is not None
    return Stated(one[0], one[1], one[2], one_row, batch)


def conventions(program: Program, names: set[str], says: Stated, free: bool) -> list[Convention]:
    """List the conventions that the code may follow, the likeliest first.

    ``free`` says that the weights are the code's own (a class), so that either order of h and x is
    as good. Names that say it is [h; x] (families A and F) hold a function to that.
    """
    ranked = by_names(names)
    if ranked:
        best = len(set(_all(ranked[0])) & names)
        kept = [s for s in ranked if len(set(_all(s)) & names) >= max(1, best - 1)][:6]
    else:
        kept = list(SCHEMES)
    found = []
    for scheme in kept:
        for layout in layouts(scheme):
            if layout.concat is not None:
                if says.concat is not None:
                    if layout.concat != says.concat:
                        continue
                elif layout.concat == "xh" and not free and layout.family in "AF":
                    continue
            own = scheme.order is None or scheme.matrices[0] == ("W_ih",)  # written by hand
            if layout.order is not None and says.order is not None and own:
                layout = replace(layout, order=says.order)
            if layout not in found:
                found.append(layout)
    return found


def _all(scheme: Convention) -> list[str]:
    return [name for group in (*scheme.matrices, *scheme.biases) for name in group]
