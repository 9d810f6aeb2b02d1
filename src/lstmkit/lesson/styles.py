"""How learners write: names, layouts, and the lines of a step's gates in each style."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lstmkit.lesson.mutants import GATES

SIGMOIDS = {
    "where": "    e = np.exp(-np.abs(z))\n    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))",
    "tanh": "    return 0.5 * (1 + np.tanh(0.5 * z))",
    "clip": "    return 1 / (1 + np.exp(-np.clip(z, -500, 500)))",
    "naive": "    return 1 / (1 + np.exp(-z))",
    "naive two": "    return np.exp(z) / (1 + np.exp(z))",
}


@dataclass(frozen=True)
class Style:
    """How a learner writes: names, layout, shapes, and whether functions or a class.

    Attributes
    ----------
    family : str
        ``"A"`` to ``"F"``.
    orientation, concat, order, states
        As in a `Convention`; ``states`` is ``"flat"``, ``"column"`` or ``"row"``.
    access : str
        ``"dict"``, ``"unpack"`` (first into variables), ``"class"`` or ``"args"``.
    returns : str
        What a sequence gives: ``"pairs"``, ``"arrays"``, ``"h and last"``.
    biases : int
        2 for PyTorch's names, in the families D and E: a bias for x and a bias for h.
    """

    family: str
    orientation: str = "Wx"
    concat: str = "hx"
    order: str = "ifgo"
    states: str = "flat"
    access: str = "dict"
    sigmoid: str = "where"
    candidate: str = "c"
    roles: str = "W=x"
    returns: str = "pairs"
    stated: bool = True
    biases: int = 1

    @property
    def name(self) -> str:
        """Say which style it is, in a word or two."""
        parts = [self.family, self.orientation, self.states, self.access, self.returns]
        parts += [self.order] if self.family == "E" else []
        parts += [self.concat] if self.family in "ABF" else []
        parts += ["two biases"] if self.biases == 2 else []
        return " ".join(parts)

    @property
    def together(self) -> bool:
        """Whether h and x are concatenated."""
        return self.family in "ABF"

    def letter(self, gate: str) -> str:
        """Return the letter that the names have for a gate."""
        if gate == "i" and self.family == "F":
            return "u"
        return self.candidate if gate == "g" else gate

    def keys(self, gate: str) -> tuple[str, str, str]:
        """Return the names of a gate's matrix for x, for h (the same where together), its bias."""
        k = self.letter(gate)
        if self.family in "AF":
            return f"W{k}", f"W{k}", f"b{k}"
        if self.family == "B":
            return f"W_{k}", f"W_{k}", f"b_{k}"
        if self.family == "C":
            both = (f"W_{k}", f"U_{k}") if self.roles == "W=x" else (f"U_{k}", f"W_{k}")
            return (*both, f"b_{k}")
        if self.biases == 2:
            return (
                (f"W_i{k}", f"W_h{k}", f"b_i{k}")
                if self.family == "D"
                else ("W_ih", "W_hh", "b_ih")
            )
        if self.family == "D":
            return f"W_x{k}", f"W_h{k}", f"b_{k}"
        return "Wx", "Wh", "b"

    def second(self, gate: str) -> str:
        """Return the name of a gate's second bias."""
        return f"b_h{self.letter(gate)}" if self.family == "D" else "b_hh"

    def names(self) -> list[str]:
        """List all names once."""
        found = [self.keys(gate)[part] for part in range(3) for gate in GATES]
        found += [self.second(gate) for gate in GATES] if self.biases == 2 else []
        return list(dict.fromkeys(found))

    def get(self, name: str) -> str:
        """Write how the code gets at an array."""
        return {"dict": f'params["{name}"]', "class": f"self.{name}"}.get(self.access, name)


def _product(style: Style, matrix: str, vector: str) -> str:
    if style.orientation == "Wx":
        return f"{matrix} @ {vector}" if style.states != "row" else f"{vector} @ {matrix}.T"
    return f"{matrix}.T @ {vector}" if style.states == "column" else f"{vector} @ {matrix}"


def _piece(style: Style, gate: str, text: str) -> str:
    at = style.order.index(gate)
    rows = f"{at} * H:{at + 1} * H"
    return f"{text}[:, {rows}]" if style.states == "row" else f"{text}[{rows}]"


def _z(style: Style, gate: str, s: Mapping[str, str]) -> str:
    x, h, b = s[f"x.{gate}"], s[f"h.{gate}"], s[f"b.{gate}"]
    terms = []
    first, second = (s[f"{one} bias.{gate}"] for one in ("first", "second"))
    biases = [b if first == gate else first]
    biases += [b if second == gate else second] if style.biases == 2 else []
    names = [style.keys(g)[2] if g != "-" else "" for g in biases[:1]]
    names += [style.second(g) if g != "-" else "" for g in biases[1:]]
    if style.family == "E":
        if all(source == x for source in (h, *biases)):
            return _piece(style, x, "z")
        terms = [_piece(style, x, "zx")] if x != "-" else []
        terms += [_piece(style, h, "zh")] if h != "-" else []
        for source, name in zip(biases, names, strict=True):
            terms += [_piece(style, source, style.get(name))] if source != "-" else []
        return " + ".join(terms) or "np.zeros_like(h_prev)"
    if style.together and x == h and x != "-":
        terms = [_product(style, style.get(style.keys(x)[0]), "hx")]
    elif style.together:  # one of the two from elsewhere, or left out: cut the matrix
        start = "[:, :H]" if style.orientation == "Wx" else "[:H]"
        last = "[:, H:]" if style.orientation == "Wx" else "[H:]"
        if style.concat == "xh":
            start = "[:, I:]" if style.orientation == "Wx" else "[I:]"
            last = "[:, :I]" if style.orientation == "Wx" else "[:I]"
        terms = [_product(style, style.get(style.keys(x)[0]) + last, "x_t")] if x != "-" else []
        if h != "-":
            terms.append(_product(style, style.get(style.keys(h)[0]) + start, "h_prev"))
    else:
        turn = ".T" if s["transposed"] == "yes" else ""
        terms = [_product(style, style.get(style.keys(x)[0]), "x_t")] if x != "-" else []
        if h != "-":
            terms.append(_product(style, style.get(style.keys(h)[1]) + turn, "h_prev"))
    terms += [style.get(name) for name in names if name]
    return " + ".join(terms) or "np.zeros_like(h_prev)"


_ACTIVATIONS = {
    "sigmoid": "sigmoid({})",
    "tanh": "np.tanh({})",
    "relu": "np.maximum({}, 0)",
    "nothing": "{}",
    "1 - sigmoid": "sigmoid(-({}))",
    "hard sigmoid": "np.clip(0.2 * ({}) + 0.5, 0, 1)",
    "sigmoid twice": "sigmoid(sigmoid({}))",
    "sigmoid of tanh": "sigmoid(np.tanh({}))",
    "tanh of sigmoid": "np.tanh(sigmoid({}))",
}


def gate_lines(style: Style, s: Mapping[str, str]) -> list[str]:
    """Write the lines from the arguments of a step to f, i, g and o."""
    lines = []
    if style.access == "unpack":
        lines += [f'{name} = params["{name}"]' for name in style.names()]
    axis = ", axis=1" if style.states == "row" else ""
    size = "h_prev.shape[1]" if style.states == "row" else "h_prev.shape[0]"
    text = "\n".join(_z(style, gate, s) for gate in GATES)
    if style.family == "E" or "H]" in text or "H:" in text:
        lines.append(f"H = {size}")
    if "I]" in text or "I:" in text:
        lines.append("I = x_t.shape[1]" if style.states == "row" else "I = x_t.shape[0]")
    if style.together and "hx" in text:
        straight = style.concat if s["concat"] == "straight" else style.concat[::-1]
        order = "h_prev, x_t" if straight == "hx" else "x_t, h_prev"
        lines.append(f"hx = np.concatenate([{order}]{axis})")
    if style.family == "E":
        x_key, h_key, bias = style.keys("i")
        both = [_product(style, style.get(k), v) for k, v in ((x_key, "x_t"), (h_key, "h_prev"))]
        if re.search(r"\bz\[", text):
            second = f" + {style.get(style.second('i'))}" if style.biases == 2 else ""
            lines.append(f"z = {both[0]} + {both[1]} + {style.get(bias)}{second}")
        if "zx[" in text:
            lines.append(f"zx = {both[0]}")
        if "zh[" in text:
            lines.append(f"zh = {both[1]}")
    for gate in "figo":
        lines.append(f"{gate} = " + _ACTIVATIONS[s[f"act.{gate}"]].format(_z(style, gate, s)))
    return lines
