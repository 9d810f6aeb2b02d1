"""Every mistake in the way back, as a switch of one reference, and the truth by complex step.

The truth does not come from the formulas here: `complex_step` differentiates the forward reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lstmkit.lesson.mutants import GATES, NAMES, REFERENCE, Mistake, Weights, sequence
from lstmkit.shapes import Array
from lstmkit.textbook import sigmoid

Gradients = dict[str, Array]
"""``x`` (T, I), ``h0`` and ``c0`` (H,), and ``Wx.i (H, I)``, ``Wh.i (H, H)``, ``b.i (H,)`` ..."""

BACKWARD: Mapping[str, str] = {
    **{f"slope.{gate}": "right" for gate in GATES},
    **{f"bias.{gate}": gate for gate in GATES},
    **{f"dh from {gate}": "yes" for gate in GATES},
    "branch": "dh * o * (1 - tanh(c)**2)",
    "dc_t": "added",
    "do": "tanh(c)",
    "df": "c_prev",
    "di": "g",
    "dg": "i",
    "dc_prev": "dc * f",
    "inputs": "h_prev",
    "transposed": "yes",
    "dh next": "added",
    "dc next": "passed",
    "dc_last": "used",
    "dh given": "each",
    "states": "before",
    "sum": "all",
    "dX": "in order",
}

_SLOPES: dict[str, Callable[[Array, bool], Array]] = {
    "right": lambda a, tanh: 1 - a**2 if tanh else a * (1 - a),
    "value": lambda a, tanh: a,
    "one": lambda a, tanh: np.ones_like(a),
    "twice": lambda a, tanh: 1 - np.tanh(a) ** 2 if tanh else sigmoid(a) * (1 - sigmoid(a)),
    "other": lambda a, tanh: a * (1 - a) if tanh else 1 - a**2,
    "1 - a": lambda a, tanh: 1 - a,
}


def _step_back(
    w: Weights, x: Array, h: Array, c: Array, dh: Array, dc_t: Array, s: Mapping[str, str]
) -> tuple[Array, Array, Array, Gradients]:
    z = {gate: w.x[gate] @ x + w.h[gate] @ h + w.b[gate] for gate in GATES}
    a = {gate: np.tanh(z[gate]) if gate == "g" else sigmoid(z[gate]) for gate in GATES}
    c_new = a["f"] * c + a["i"] * a["g"]
    tanh_c = np.tanh(c_new)
    branch = {
        "dh * o * (1 - tanh(c)**2)": dh * a["o"] * (1 - tanh_c**2),
        "missing": np.zeros_like(dh),
        "dh * o": dh * a["o"],
        "dh * o * (1 - c**2)": dh * a["o"] * (1 - c_new**2),
        "dh * (1 - tanh(c)**2)": dh * (1 - tanh_c**2),
    }[s["branch"]]
    dc = branch + (dc_t if s["dc_t"] == "added" else 0)
    inner = {"tanh(c)": tanh_c, "c": c_new, "c_prev": c, "i": a["i"], "g": a["g"]}
    upstream = {"o": dh * inner[s["do"]], "f": dc * inner[s["df"]]}
    upstream |= {"i": dc * inner[s["di"]], "g": dc * inner[s["dg"]]}
    dz = {g: upstream[g] * _SLOPES[s[f"slope.{g}"]](a[g], g == "g") for g in GATES}
    h_in = {"h_prev": h, "h_t": a["o"] * tanh_c}[s["inputs"]]
    grads = {f"Wx.{g}": np.outer(dz[g], x) for g in GATES}
    grads |= {f"Wh.{g}": np.outer(dz[g], h_in) for g in GATES}
    for g in GATES:
        source = s[f"bias.{g}"]
        grads[f"b.{g}"] = np.zeros_like(dh) if source == "-" else dz[source].copy()
    dx = sum((w.x[g].T @ dz[g] for g in GATES if s[f"dh from {g}"] == "yes"), np.zeros_like(x))
    turn = s["transposed"] == "yes"
    parts = [(w.h[g].T if turn else w.h[g]) @ dz[g] for g in GATES if s[f"dh from {g}"] == "yes"]
    dh_prev = sum(parts, np.zeros_like(h))
    dc_prev = {
        "dc * f": dc * a["f"],
        "zero": np.zeros_like(dc),
        "dc": dc,
        "dc_t * f": dc_t * a["f"],
        "dc * i": dc * a["i"],
    }[s["dc_prev"]]
    return dx, dh_prev, dc_prev, grads


def backward(
    w: Weights, X: Array, h0: Array, c0: Array, dh: Array, dc_last: Array, s: Mapping[str, str]
) -> Gradients:
    """Backpropagate through time with the switches s; a single step is T = 1."""
    states = [(h0, c0), *sequence(w, X, h0, c0, REFERENCE)]
    zeros = np.zeros_like(h0)
    dh_t, dc_t = zeros, dc_last if s["dc_last"] == "used" else zeros
    start = dc_t
    given = {  # the state that each step gets for the one before it
        "before": states[:-1],
        "after": states[1:],
        "last for the start": [states[-1], *states[1:-1]],
        "two before": [states[-1], *states[:-2]] if len(X) > 1 else states[-1:],
    }[s["states"]]
    steps, rows = [], []
    for t in reversed(range(len(X))):
        all_own = s["dh given"] == "each"
        own = dh[t] if all_own or (t == len(X) - 1 and s["dh given"] == "last") else zeros
        incoming = own + dh_t if s["dh next"] == "added" else own
        h_prev, c_prev = given[t]
        dx, dh_t, dc_t, grads = _step_back(w, X[t], h_prev, c_prev, incoming, dc_t, s)
        if s["dc next"] == "lost":
            dc_t_out, dc_t = dc_t, zeros
        elif s["dc next"] in ("kept", "kept inside"):
            dc_t_out, dc_t = dc_t if s["dc next"] == "kept inside" else start, start
        else:
            dc_t_out = dc_t
        steps.append(grads)
        rows.append(dx)
    chosen = {"all": steps, "last step": steps[:1], "first step": steps[-1:]}[s["sum"]]
    total = {name: sum((g[name] for g in chosen), 0 * steps[0][name]) for name in steps[0]}
    if s["sum"] == "all" and len(steps) > 1 and s.get("mean") == "yes":
        total = {name: value / len(steps) for name, value in total.items()}
    ordered = rows[::-1] if s["dX"] == "in order" else rows
    return {"x": np.array(ordered), "h0": dh_t, "c0": dc_t_out, **total}


def complex_step(
    w: Weights, X: Array, h0: Array, c0: Array, dh: Array, dc_last: Array
) -> Gradients:
    """Differentiate Σ dh·h + dc_last·c_T of the forward reference: Im L(θ + iε) / ε, ε = 1e-30."""
    arrays: dict[str, Array] = {"x": X, "h0": h0, "c0": c0}
    for gate in GATES:
        arrays |= {f"Wx.{gate}": w.x[gate], f"Wh.{gate}": w.h[gate], f"b.{gate}": w.b[gate]}

    def loss(values: Mapping[str, Array]) -> complex:
        nudged = Weights(
            {gate: values[f"Wx.{gate}"] for gate in GATES},
            {gate: values[f"Wh.{gate}"] for gate in GATES},
            {gate: values[f"b.{gate}"] for gate in GATES},
        )
        states = sequence(nudged, values["x"], values["h0"], values["c0"], REFERENCE)
        total = sum(d @ h for d, (h, _) in zip(dh, states, strict=True)) + dc_last @ states[-1][1]
        return complex(total)

    found = {}
    for name, array in arrays.items():
        gradient = np.empty(array.shape)
        for at in np.ndindex(array.shape):
            nudged = array.astype(complex)
            nudged[at] += 1e-30j
            gradient[at] = loss({**arrays, name: nudged}).imag / 1e-30
        found[name] = gradient
    return found


# ------------------------------------------------------------------------- the mistakes, named


def _mistakes() -> tuple[list[Mistake], list[Mistake]]:
    step: list[Mistake] = []
    for gate in GATES:
        own = NAMES[gate]
        right = "1 − tanh²" if gate == "g" else "σ(1 − σ)"
        for kind, said in {
            "value": "the activation in the place of its derivative",
            "one": f"the derivative of the activation left out ({right})",
            "twice": "the activation applied twice in its derivative",
            "other": "the derivative of the other activation",
            "1 - a": "1 − a in the place of the derivative",
        }.items():
            sentence = f"{said}, for the {own}"
            step.append(Mistake(f"slope {kind} {gate}", sentence, {f"slope.{gate}": kind}))
        for other in GATES:
            if other != gate:
                said = f"the bias gradient of the {own} taken from the {NAMES[other]}"
                step.append(Mistake(f"db{gate} from {other}", said, {f"bias.{gate}": other}))
        said = f"the bias gradient of the {own} left at zero"
        step.append(Mistake(f"db{gate} zero", said, {f"bias.{gate}": "-"}))
        said = f"the {own} left out of what goes back to h_prev and x_t"
        step.append(Mistake(f"dhx without {gate}", said, {f"dh from {gate}": "no"}))
    for kind, said in {
        "value": "the activation in the place of its derivative",
        "one": "the derivative of the sigmoid left out",
        "twice": "the sigmoid applied twice in its derivative",
        "other": "the derivative of tanh in the place of that of the sigmoid",
        "1 - a": "1 − σ in the place of σ(1 − σ)",
    }.items():
        sentence = f"{said}, for all three gates"
        step.append(Mistake(f"slope {kind} ifo", sentence, {f"slope.{g}": kind for g in "ifo"}))
        sentence = f"{said}, for the gates and the candidate"
        step.append(Mistake(f"slope {kind}", sentence, {f"slope.{g}": kind for g in GATES}))
    said = "the bias gradients of the input and the output gate taken from the forget gate"
    step.append(Mistake("dbi, dbo from f", said, {"bias.i": "f", "bias.o": "f"}))
    said = "all bias gradients taken from the forget gate"
    step.append(Mistake("db from f", said, {f"bias.{g}": "f" for g in GATES}))
    said = "all bias gradients left at zero"
    step.append(Mistake("db zero", said, {f"bias.{g}": "-" for g in GATES}))
    rows: list[tuple[str, str, dict[str, str]]] = [
        (
            "branch missing",
            "the tanh(c) branch forgotten: dc misses dh ∘ o ∘ (1 − tanh²(c))",
            {"branch": "missing"},
        ),
        ("branch no slope", "the slope of tanh(c) left out: dc gets dh ∘ o", {"branch": "dh * o"}),
        (
            "branch 1-c²",
            "1 − c² in the place of 1 − tanh²(c)",
            {"branch": "dh * o * (1 - c**2)"},
        ),
        (
            "branch no o",
            "the output gate left out of dc's part from h",
            {"branch": "dh * (1 - tanh(c)**2)"},
        ),
        ("dc_t lost", "dc_next not added: what comes back in c_t is lost", {"dc_t": "ignored"}),
        ("do from c", "do = dh ∘ c, without the tanh", {"do": "c"}),
        ("df from c_t", "c_t in the place of c_prev in df (off by one)", {"df": "c"}),
        ("di, dg swapped", "di and dg exchanged: di = dc ∘ i, dg = dc ∘ g", {"di": "i", "dg": "g"}),
        ("di from i", "di = dc ∘ i in the place of dc ∘ g", {"di": "i"}),
        ("dg from g", "dg = dc ∘ g in the place of dc ∘ i", {"dg": "g"}),
        (
            "dc_prev zero",
            "dc_prev left at zero: the carousel dc ∘ f is missing",
            {"dc_prev": "zero"},
        ),
        ("dc_prev without f", "dc_prev = dc, without the forget gate", {"dc_prev": "dc"}),
        ("dc_prev from dc_t", "dc_prev made from dc_next alone", {"dc_prev": "dc_t * f"}),
        ("dc_prev with i", "dc_prev = dc ∘ i in the place of dc ∘ f", {"dc_prev": "dc * i"}),
        ("dW from h_t", "h_t in the place of h_prev in dW (off by one)", {"inputs": "h_t"}),
        ("Wh not transposed", "W in the place of Wᵀ on the way to h_prev", {"transposed": "no"}),
    ]
    step += [Mistake(name, said, switches) for name, said, switches in rows]
    rows = [
        ("dh_next lost", "dh_next not added: each step sees its own dh alone", {"dh next": "no"}),
        (
            "dc_next lost",
            "dc_next not passed back: dc starts at zero in each step",
            {"dc next": "lost"},
        ),
        ("dc_last lost", "the gradient in the last c lost", {"dc_last": "lost"}),
        (
            "dh, dc next lost",
            "neither dh_next nor dc_next passed back",
            {"dh next": "no", "dc next": "lost"},
        ),
        (
            "dc_next kept",
            "dc_next never updated: each step, and dc0, gets the gradient in the last c",
            {"dc next": "kept"},
        ),
        (
            "dc_next kept inside",
            "dc_next never updated: each step gets the gradient in the last c",
            {"dc next": "kept inside"},
        ),
        ("dh unused", "dh[t] never added: the steps see dh_next alone", {"dh given": "none"}),
        (
            "states after",
            "each step given the state after it for the one before it (off by one: S[t+1] for "
            "S[t], or the list of states without the start)",
            {"states": "after"},
        ),
        (
            "start missing",
            "the first step given the last state for the start: S[t−1] is S[−1] at t = 0",
            {"states": "last for the start"},
        ),
        (
            "states two before",
            "each step given the state before the one before it (off by one: S[t−1] for S[t])",
            {"states": "two before"},
        ),
        ("dh last only", "dh of the last step alone used", {"dh given": "last"}),
        (
            "last step only",
            "the gradients of the last step alone, not the sum over time",
            {"sum": "last step"},
        ),
        (
            "first step only",
            "the gradients overwritten in each step, so that those of the first step are left",
            {"sum": "first step"},
        ),
        ("dX backwards", "dX in the order of the walk back", {"dX": "backwards"}),
        ("mean over time", "the mean over time in the place of the sum", {"mean": "yes"}),
    ]
    return step, [Mistake(name, said, switches) for name, said, switches in rows]


STEP_BACK, SEQUENCE_BACK = map(tuple, _mistakes())
