"""Writes programs as learners write them, right or with a chosen mistake, in every convention.

The checker is measured on them. The source is written from the same switches that the mutants have,
but as text: names, slices and products in the style of a family, none of the reference's code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lstmkit.lesson.backward import BACKWARD
from lstmkit.lesson.mutants import GATES, REFERENCE
from lstmkit.lesson.styles import SIGMOIDS, Style, gate_lines


def _formula(text: str, c: str) -> str:
    text = re.sub(r"\bc\b", c, text)
    text = re.sub(r"\bh\b", "h_prev", text)
    text = re.sub(r"\btanh\b", "np.tanh", text)
    return re.sub(r"relu\((\w+)\)", r"np.maximum(\1, 0)", text)


def _step_lines(style: Style, s: Mapping[str, str], extra: Mapping[str, str]) -> list[str]:
    lines = ["h_prev, c_prev = c_prev, h_prev"] if s["given"] == "c, h" else []
    lines += gate_lines(style, s)
    if any(s[f"use.{gate}"] != gate for gate in GATES):
        lines.append("i, f, g, o = " + ", ".join(s[f"use.{gate}"] for gate in GATES))
    lines += extra.get("before c", "").splitlines()
    lines += extra.get("c", "c_t = " + _formula(s["memory"], "c_prev")).splitlines()
    lines.append("h_t = " + _formula(s["hidden"], "c_t"))
    lines += extra.get("after h", "").splitlines()
    results = {"h": "h_t", "c": "c_t", "c_prev": "c_prev"}
    returned = ", ".join(results[name] for name in s["returned"].split(", "))
    return [*lines, "return " + extra.get("return", returned)]


def _doc(style: Style) -> str:
    shape = {"flat": "(H,)", "column": "(H, 1)", "row": "(1, H)"}[style.states]
    lines = [
        '"""One step: the forget gate f, the input gate i, the candidate g, the output gate o.',
        "",
        f"The cell state c is the memory, the hidden state h is shown; h_prev and c_prev {shape}.",
    ]
    if style.stated and style.together:
        acts = "[h; x]" if style.concat == "hx" else "[x; h]"
        lines.append(f"The weights act on {acts}.")
    if style.stated and style.family == "E":
        lines.append(f"The gates are stacked in the order {', '.join(style.order)}.")
    return "\n".join([*lines, '"""'])


def _function(head: str, lines: list[str], doc: str, depth: int = 0) -> str:
    pad = "    " * (depth + 1)
    body = [*doc.splitlines(), *lines]
    text = "\n".join(pad + line if line else "" for line in body)
    return "    " * depth + head + "\n" + text + "\n"


def _sequence_lines(style: Style, s: Mapping[str, str], extra: Mapping[str, str]) -> list[str]:
    start = [
        f"h_t = {'h0' if s['h0'] == 'given' else 'np.zeros_like(h0)'}",
        f"c_t = {'c0' if s['c0'] == 'given' else 'np.zeros_like(c0)'}",
    ]
    rows = {
        "all": "X_seq",
        "reversed": "X_seq[::-1]",
        "reversed and turned back": "X_seq[::-1]",
        "first missing": "X_seq[1:]",
        "last missing": "X_seq[:-1]",
        "first repeated": "[X_seq[0]] * len(X_seq)",
        "one late": "[X_seq[t - 1] for t in range(len(X_seq))]",
    }[s["steps"]]
    given_h = {"h": "h_t", "h0": "h0" if s["h0"] == "given" else "np.zeros_like(h0)"}
    given_c = {"c": "c_t", "c0": "c0" if s["c0"] == "given" else "np.zeros_like(c0)"}
    rest = ", ".join(style.names()) if style.access == "args" else "params"
    step = "self.step" if style.access == "class" else "lstm_cell_step"
    arguments = [given_h.get(s["h next"], "h_t"), given_c.get(s["c next"], "c_t")]
    if s["c next"] == "zero":
        arguments[1] = "np.zeros_like(c0)"
    tail = "" if style.access == "class" else f", {rest}"
    call = f"{step}(x_t, {', '.join(arguments)}{tail})"
    lines = [*start, "states = []"]
    by_reference = {"last": "hc", "h last": "h", "c last": "c"}.get(s["recorded"], "")
    if by_reference:
        lines[:2] = ["h_t = np.array(h0)", "c_t = np.array(c0)"]
    if s["recorded"] == "with the start":
        lines.append("states.append((h_t, c_t))")
    lines.append(f"for x_t in {rows}:")
    inner = []
    if s["recorded"] == "before":
        inner.append("states.append((h_t, c_t))")
    if by_reference:
        inner.append(f"h_new, c_new = {call}")
        inner.append("h_t[:] = h_new" if "h" in by_reference else "h_t = h_new")
        inner.append("c_t[:] = c_new" if "c" in by_reference else "c_t = c_new")
    else:
        inner.append(f"h_t, c_t = {call}")
    crossed = s["h next"] == "c" or s["c next"] == "h"
    if crossed:
        inner[-1] = inner[-1].replace("h_t, c_t = ", "h_new, c_new = ")
        inner.append("states.append((h_new, c_new))")
        inner.append(f"h_t = {'c_new' if s['h next'] == 'c' else 'h_new'}")
        inner.append(f"c_t = {'h_new' if s['c next'] == 'h' else 'c_new'}")
    elif s["recorded"] != "before":
        inner.append("states.append((h_t, c_t))")
    inner = extra["inner"].splitlines() if "inner" in extra else inner
    lines += ["    " + line for line in inner]
    if s["steps"] == "reversed and turned back":
        lines.append("states = states[::-1]")
    if s["recorded"] == "first":
        lines.append("states = [states[0]] * len(states)")
    if s["recorded"] == "end only":
        lines.append("states = states[-1:]")
    if style.returns == "pairs":
        return [*lines, "return states"]
    lines.append("hs = np.array([h for h, _ in states])")
    if style.returns == "h and last":
        return [*lines, "return hs, states[-1]"]
    return [*lines, "return hs, np.array([c for _, c in states])"]


OUTPUTS = {
    "right": "return np.array([W_hy @ h for h in h_states]) + b_y",
    "no output bias": "return np.array([W_hy @ h for h in h_states])",
    "softmax": (
        "z = np.array([W_hy @ h + b_y for h in h_states])\n"
        "e = np.exp(z - z.max(axis=1, keepdims=True))\nreturn e / e.sum(axis=1, keepdims=True)"
    ),
    "output transposed": "return np.array([W_hy.T @ h + b_y for h in h_states])",
    "from c": "return np.array([W_hy @ c + b_y for h, c in h_states])",
    "from tanh(c)": "return np.array([W_hy @ np.tanh(c) + b_y for h, c in h_states])",
    "log softmax": (
        "z = np.array([W_hy @ h + b_y for h in h_states])\n"
        "return z - np.log(np.exp(z).sum(axis=1, keepdims=True))"
    ),
    "last step": "return W_hy @ h_states[-1] + b_y",
    "sigmoid output": "return sigmoid(np.array([W_hy @ h + b_y for h in h_states]))",
}


def write_program(
    style: Style,
    switches: Mapping[str, str] | None = None,
    *,
    output: str = "right",
    back: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> str:
    """Write a program.

    Parameters
    ----------
    style : Style
    switches : dict, optional
        Of the way forward, as a `Mistake` has them.
    output : str
        A key of ``OUTPUTS``.
    back : dict, optional
        Of the way back; without it, there is none in the program. Flat states only.
    extra : dict, optional
        Lines in the place of others: ``"before c"``, ``"c"``, ``"after h"``, ``"return"``,
        ``"inner"`` (the body of the loop).
    """
    s = {**REFERENCE, **(switches or {})}
    extra = extra or {}
    parts = ["import numpy as np\n", f"def sigmoid(z):\n{SIGMOIDS[style.sigmoid]}\n"]
    step = _step_lines(style, s, extra)
    loop = _sequence_lines(style, s, extra)
    doc = '"""Run over X_seq (T, I): the same step, T times."""'
    if style.access == "class":
        made = [f"self.{name} = np.zeros(1)" for name in style.names()]
        init = _function("def __init__(self, input_size, hidden_size):", made, "", 1)
        head = "def step(self, x_t, h_prev, c_prev):"
        methods = [init, _function(head, step, _doc(style), 1)]
        methods.append(_function("def run(self, X_seq, h0, c0):", loop, doc, 1))
        parts.append("class LSTM:\n" + "\n".join(methods))
    else:
        rest = ", ".join(style.names()) if style.access == "args" else "params"
        head = f"def lstm_cell_step(x_t, h_prev, c_prev, {rest}):"
        parts.append(_function(head, step, _doc(style)))
        parts.append(_function(f"def lstm_forward(X_seq, h0, c0, {rest}):", loop, doc))
    head = "def lstm_output_layer(h_states, W_hy, b_y):"
    doc = '"""Logits (T, O)."""'
    parts.append(_function(head, OUTPUTS[output].splitlines(), doc))
    if back is not None:
        b = {**BACKWARD, **back}
        head = "def lstm_cell_step_backward(x_t, h_prev, c_prev, params, dh_t, dc_t):"
        parts.append(_function(head, _back_lines(style, b), ""))
        head = "def lstm_backward(X_seq, h0, c0, params, dh, dc_last=None):"
        parts.append(_function(head, _through_time_lines(b), ""))
    return "\n\n".join(parts)


_SLOPES = {
    "right": ("{0} * (1 - {0})", "(1 - {0} ** 2)"),
    "value": ("{0}", "{0}"),
    "one": ("1", "1"),
    "twice": ("sigmoid({0}) * (1 - sigmoid({0}))", "(1 - np.tanh({0}) ** 2)"),
    "other": ("(1 - {0} ** 2)", "{0} * (1 - {0})"),
    "1 - a": ("(1 - {0})", "(1 - {0})"),
}


def _back_lines(style: Style, b: Mapping[str, str]) -> list[str]:
    lines = gate_lines(style, REFERENCE)
    if "H = h_prev.shape[0]" not in lines:
        lines.append("H = h_prev.shape[0]")
    lines += ["c_t = f * c_prev + i * g", "tanh_c = np.tanh(c_t)", "h_t = o * tanh_c"]
    inner = {"tanh(c)": "tanh_c", "c": "c_t"}
    lines.append(f"do = dh_t * {inner.get(b['do'], b['do'])}")
    branch = (
        b["branch"].replace("dh ", "dh_t ").replace("tanh(c)", "tanh_c").replace("c**2", "c_t**2")
    )
    branch = branch.replace("tanh_c_t", "tanh_c")
    terms = [] if branch == "missing" else [branch]
    terms += ["dc_t"] if b["dc_t"] == "added" else []
    lines.append(f"dc = {' + '.join(terms) or 'np.zeros_like(dc_t)'}")
    for gate in "fig":
        source = {"c": "c_t"}.get(b[f"d{gate}"], b[f"d{gate}"])
        lines.append(f"d{gate} = dc * {source}")
    c_prev = b["dc_prev"].replace("zero", "np.zeros_like(dc)")
    lines.append(f"dc_prev = {c_prev}")
    for gate in GATES:
        slope = _SLOPES[b[f"slope.{gate}"]][gate == "g"].format(gate)
        lines.append(f"dz_{gate} = d{gate} * {slope}")
    h_in = {"h_prev": "h_prev", "h_t": "h_t"}[b["inputs"]]
    lines.append("grads = {}")
    outer = "np.outer(dz_{0}, {1})" if style.orientation == "Wx" else "np.outer({1}, dz_{0})"
    wide = style.orientation == "Wx"
    if style.together:
        pair = f"{h_in}, x_t" if style.concat == "hx" else f"x_t, {h_in}"
        lines.append(f"hx = np.concatenate([{pair}])")
    sources = {g: b[f"bias.{g}"] for g in GATES}
    bias = {g: f"dz_{k}" if k != "-" else "np.zeros(H)" for g, k in sources.items()}
    if style.family == "E":
        x_key, h_key, b_key = style.keys("i")
        for name, given in ((x_key, "x_t"), (h_key, h_in)):
            pieces = ", ".join(outer.format(gate, given) for gate in style.order)
            lines.append(f'grads["{name}"] = np.concatenate([{pieces}], axis={0 if wide else 1})')
        stacked = f"np.concatenate([{', '.join(bias[g] for g in style.order)}])"
        lines.append(f'grads["{b_key}"] = {stacked}')
        if style.biases == 2:
            lines.append(f'grads["{style.second("i")}"] = {stacked}')
    else:
        for gate in GATES:
            x_key, h_key, b_key = style.keys(gate)
            if style.together:
                lines.append(f'grads["{x_key}"] = {outer.format(gate, "hx")}')
            else:
                lines.append(f'grads["{x_key}"] = {outer.format(gate, "x_t")}')
                lines.append(f'grads["{h_key}"] = {outer.format(gate, h_in)}')
            lines.append(f'grads["{b_key}"] = {bias[gate]}.copy()')
            if style.biases == 2:
                lines.append(f'grads["{style.second(gate)}"] = {bias[gate]}.copy()')
    dx, dh = ["np.zeros_like(x_t)"], ["np.zeros_like(h_prev)"]
    for gate in GATES:
        if b[f"dh from {gate}"] == "no":
            continue
        x_key, h_key, _ = (style.get(name) for name in style.keys(gate))
        if style.family == "E":
            at = style.order.index(gate)
            rows = f"[{at} * H:{at + 1} * H]" if wide else f"[:, {at} * H:{at + 1} * H]"
            x_key, h_key = x_key + rows, h_key + rows
        elif style.together:
            cuts = ("H:", ":H") if style.concat == "hx" else (":len(x_t)", "len(x_t):")
            x_key, h_key = (f"{x_key}[:, {k}]" if wide else f"{x_key}[{k}]" for k in cuts)
        right = wide == (b["transposed"] == "yes")
        dx.append(f"({x_key}{'.T' if wide else ''} @ dz_{gate})")
        dh.append(f"({h_key}{'.T' if right else ''} @ dz_{gate})")
    lines.append("dx = " + " + ".join(dx))
    lines.append("dh_prev = " + " + ".join(dh))
    return [*lines, "return dx, dh_prev, dc_prev, grads"]


def _through_time_lines(b: Mapping[str, str]) -> list[str]:
    lines = [
        "states = [(h0, c0)] + lstm_forward(X_seq, h0, c0, params)",
        "total = {name: np.zeros_like(array) for name, array in params.items()}",
        "dX = np.zeros_like(X_seq)",
        "dh_next, dc_next = np.zeros_like(h0), np.zeros_like(c0)",
    ]
    if b["dc_last"] == "used":
        lines += ["if dc_last is not None:", "    dc_next = dc_next + dc_last"]
    lines.append("for t in reversed(range(len(X_seq))):")
    own = {
        "each": "dh[t]",
        "last": "(dh[t] if t == len(X_seq) - 1 else 0 * dh[t])",
        "none": "0 * dh[t]",
    }[b["dh given"]]
    dh = f"{own} + dh_next" if b["dh next"] == "added" else own
    given = {
        "before": "states[t]",
        "after": "states[t + 1]",
        "last for the start": "states[1:][t - 1]",
        "two before": "states[t - 1]",
    }[b["states"]]
    following = {
        "passed": "dc_next = dc_prev",
        "lost": "dc_next = np.zeros_like(c0)",
        "kept inside": "pass",
        "kept": "dc_prev = dc_next",
    }[b["dc next"]]
    inner = [
        f"dh_t = {dh}",
        "h_prev, c_prev = " + given,
        "dx, dh_next, dc_prev, grads = lstm_cell_step_backward(",
        "    X_seq[t], h_prev, c_prev, params, dh_t, dc_next)",
        following,
        "dX[t] = dx" if b["dX"] == "in order" else "dX[len(X_seq) - 1 - t] = dx",
    ]
    add = {
        "all": ["for name in total:", "    total[name] += grads[name]"],
        "last step": ["if t == len(X_seq) - 1:", "    total = grads"],
        "first step": ["total = grads"],
    }[b["sum"]]
    lines += ["    " + line for line in (*inner, *add)]
    if b.get("mean") == "yes":
        lines.append("total = {name: array / len(X_seq) for name, array in total.items()}")
    return [*lines, "return dX, dh_next, dc_prev, total"]
