"""Every mistake in the way forward, as a switch of one reference.

The reference is written gate by gate, so that each part can be exchanged: whose weights a gate
takes, its activation, how the memory is made, what is passed to the next step. A `Mistake` names
the switches that it turns; two mistakes that turn different switches make a pair. What is here was
found in public repositories, issue threads and forums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations, permutations, product

import numpy as np

from lstmkit.shapes import Array
from lstmkit.textbook import sigmoid

GATES = "ifgo"
NAMES = {"i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate"}


@dataclass(frozen=True)
class Weights:
    """One cell's weights by gate: ``x[gate] (H, I)``, ``h[gate] (H, H)``, ``b[gate] (H,)``.

    Where people have two biases, ``b`` is their sum and ``second[gate] (H,)`` the second.
    """

    x: Mapping[str, Array]
    h: Mapping[str, Array]
    b: Mapping[str, Array]
    second: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Mistake:
    """Something that people get wrong, and the switches that make the reference do the same."""

    name: str
    sentence: str
    switches: Mapping[str, str]
    common: bool = False

    def __add__(self, other: Mistake) -> Mistake:
        link = ", " if " + " in other.name else ", and "
        return Mistake(
            f"{self.name} + {other.name}",
            f"{self.sentence}{link}{other.sentence}",
            {**self.switches, **other.switches},
        )


REFERENCE: Mapping[str, str] = {
    **{f"{part}.{gate}": gate for part in "xhb" for gate in GATES},  # whose matrices and bias
    **{f"{one} bias.{gate}": gate for one in ("first", "second") for gate in GATES},  # of two
    **{f"act.{gate}": "tanh" if gate == "g" else "sigmoid" for gate in GATES},
    **{f"use.{gate}": gate for gate in GATES},  # which value is used as i, f, g, o
    "concat": "straight",
    "transposed": "no",
    "memory": "f*c + i*g",
    "hidden": "o*tanh(c)",
    "given": "h, c",
    "returned": "h, c",
    "h next": "h",
    "c next": "c",
    "h0": "given",
    "c0": "given",
    "steps": "all",
    "recorded": "each",
}

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda z: np.where(z.real > 0, z, 0),
    "nothing": lambda z: z,
    "1 - sigmoid": lambda z: sigmoid(-z),
    "hard sigmoid": lambda z: np.clip(0.2 * z + 0.5, 0, 1),
    "sigmoid twice": lambda z: sigmoid(sigmoid(z)),
    "sigmoid of tanh": lambda z: sigmoid(np.tanh(z)),
    "tanh of sigmoid": lambda z: np.tanh(sigmoid(z)),
}

# (i, f, g, o, the previous c, the previous h) to the new memory.
MEMORIES: dict[str, Callable[..., Array]] = {
    "f*c + i*g": lambda i, f, g, o, c, h: f * c + i * g,
    "i*g": lambda i, f, g, o, c, h: i * g,
    "f*g + i*g": lambda i, f, g, o, c, h: f * g + i * g,
    "f*h + i*g": lambda i, f, g, o, c, h: f * h + i * g,
    "c + i*g": lambda i, f, g, o, c, h: c + i * g,
    "f*c": lambda i, f, g, o, c, h: f * c,
    "f*c + g": lambda i, f, g, o, c, h: f * c + g,
    "f*c + i": lambda i, f, g, o, c, h: f * c + i,
    "f*c * i*g": lambda i, f, g, o, c, h: f * c * i * g,
    "f*c + (1-f)*g": lambda i, f, g, o, c, h: f * c + (1 - f) * g,
    "(1-i)*c + i*g": lambda i, f, g, o, c, h: (1 - i) * c + i * g,
    "f*c - i*g": lambda i, f, g, o, c, h: f * c - i * g,
    "f*c + i + g": lambda i, f, g, o, c, h: f * c + i + g,
    "f + c + i*g": lambda i, f, g, o, c, h: f + c + i * g,
    "(f+c) * (i+g)": lambda i, f, g, o, c, h: (f + c) * (i + g),
    "f*(c + i*g)": lambda i, f, g, o, c, h: f * (c + i * g),
    "f*c + i*tanh(g)": lambda i, f, g, o, c, h: f * c + i * np.tanh(g),
    "tanh(f*c + i*g)": lambda i, f, g, o, c, h: np.tanh(f * c + i * g),
}

# (i, f, g, o, the new c, the previous c) to the hidden state.
HIDDENS: dict[str, Callable[..., Array]] = {
    "o*tanh(c)": lambda i, f, g, o, c, p: o * np.tanh(c),
    "o*c": lambda i, f, g, o, c, p: o * c,
    "tanh(c)": lambda i, f, g, o, c, p: np.tanh(c),
    "o*tanh(c_prev)": lambda i, f, g, o, c, p: o * np.tanh(p),
    "tanh(o*c)": lambda i, f, g, o, c, p: np.tanh(o * c),
    "o*sigmoid(c)": lambda i, f, g, o, c, p: o * sigmoid(c),
    "o*relu(c)": lambda i, f, g, o, c, p: o * np.where(c.real > 0, c, 0),
    "o": lambda i, f, g, o, c, p: o,
    "o*g": lambda i, f, g, o, c, p: o * g,
    "o + tanh(c)": lambda i, f, g, o, c, p: o + np.tanh(c),
    "o*tanh(tanh(c))": lambda i, f, g, o, c, p: o * np.tanh(np.tanh(c)),
}


def step(weights: Weights, x: Array, h: Array, c: Array, s: Mapping[str, str]) -> tuple[Array, ...]:
    """Take one step with the switches s: return what is returned, then h and c for the next."""
    if s["given"] == "c, h":
        h, c = c, h
    size = len(h)
    values = {}
    for gate in GATES:
        z = np.zeros(size)
        if s["concat"] == "swapped":  # a matrix made for [h; x] meets [x; h]
            pair = [weights.h[s[f"h.{gate}"]], weights.x[s[f"x.{gate}"]]]
            z = z + np.concatenate(pair, axis=1) @ np.concatenate([x, h])
        elif s["concat"] == "swapped back":  # a matrix made for [x; h] meets [h; x]
            pair = [weights.x[s[f"x.{gate}"]], weights.h[s[f"h.{gate}"]]]
            z = z + np.concatenate(pair, axis=1) @ np.concatenate([h, x])
        else:
            if s[f"x.{gate}"] != "-":
                z = z + weights.x[s[f"x.{gate}"]] @ x
            if s[f"h.{gate}"] != "-":
                matrix = weights.h[s[f"h.{gate}"]]
                z = z + (matrix.T if s["transposed"] == "yes" else matrix) @ h
        if s[f"b.{gate}"] != "-":
            z = z + weights.b[s[f"b.{gate}"]]
        for one in ("first", "second"):
            if s[f"{one} bias.{gate}"] != gate:
                z = (
                    z
                    - _one_bias(weights, one, gate)
                    + _one_bias(weights, one, s[f"{one} bias.{gate}"])
                )
        values[gate] = ACTIVATIONS[s[f"act.{gate}"]](z)
    i, f, g, o = (values[s[f"use.{gate}"]] for gate in GATES)
    c_new = MEMORIES[s["memory"]](i, f, g, o, c, h)
    h_new = HIDDENS[s["hidden"]](i, f, g, o, c_new, c)
    results = {"h": h_new, "c": c_new, "c_prev": c}
    first, second = s["returned"].split(", ")
    return results[first], results[second]


def _one_bias(weights: Weights, one: str, gate: str) -> Array | float:
    """Give the first or the second of two biases; nothing for the gate ``"-"``."""
    if gate == "-":
        return 0.0
    return weights.second[gate] if one == "second" else weights.b[gate] - weights.second[gate]


def sequence(
    weights: Weights, X: Array, h0: Array, c0: Array, s: Mapping[str, str]
) -> list[tuple[Array, Array]]:
    """Run over X (T, I) with the switches s; return the pairs (h_t, c_t) that are recorded."""
    start_h = h0 if s["h0"] == "given" else np.zeros_like(h0)
    start_c = c0 if s["c0"] == "given" else np.zeros_like(c0)
    rows = list(X)
    if s["steps"] in ("reversed", "reversed and turned back"):
        rows = rows[::-1]
    elif s["steps"] == "first missing":
        rows = rows[1:]
    elif s["steps"] == "last missing":
        rows = rows[:-1]
    elif s["steps"] == "first repeated":
        rows = [rows[0]] * len(rows)
    elif s["steps"] == "one late":
        rows = [rows[-1], *rows[:-1]]
    h, c = start_h, start_c
    states = []
    for x in rows:
        h_t, c_t = step(weights, x, h, c, s)
        states.append((h_t, c_t))
        h = {"h": h_t, "h0": start_h, "c": c_t}[s["h next"]]
        c = {"c": c_t, "c0": start_c, "h": h_t, "zero": np.zeros_like(c_t)}[s["c next"]]
    if s["steps"] == "reversed and turned back":
        states = states[::-1]
    if s["recorded"] == "last":
        states = [states[-1]] * len(states)
    elif s["recorded"] == "first":
        states = [states[0]] * len(states)
    elif s["recorded"] == "before":
        states = [(start_h, start_c), *states[:-1]]
    elif s["recorded"] == "with the start":
        states = [(start_h, start_c), *states]
    elif s["recorded"] == "h last":
        states = [(states[-1][0], c_t) for _, c_t in states]
    elif s["recorded"] == "c last":
        states = [(h_t, states[-1][1]) for h_t, _ in states]
    elif s["recorded"] == "end only":
        states = states[-1:]
    return states


# ------------------------------------------------------------------------- the mistakes, named


def _step_mistakes() -> list[Mistake]:
    found: list[Mistake] = []

    def add(name: str, sentence: str, common: bool = False, **switches: str) -> None:
        turned = {key.replace("_", "."): value for key, value in switches.items()}
        found.append(Mistake(name, sentence, turned, common))

    for order in permutations(GATES):
        moved = {a: b for a, b in zip(GATES, order, strict=True) if a != b}
        if not moved:
            continue
        whole = {f"{part}.{a}": b for part in "xhb" for a, b in moved.items()}
        if len(moved) == 2:
            a, b = moved
            said = f"the {NAMES[a]} and the {NAMES[b]} swapped ({a} ↔ {b})"
            found.append(Mistake(f"{a}↔{b} swapped", said, whole, True))
            biases = {f"b.{a}": b, f"b.{b}": a}
            said = f"the biases of the {NAMES[a]} and the {NAMES[b]} swapped"
            found.append(Mistake(f"b{a}↔b{b} swapped", said, biases))
        else:
            said = "the gates mixed up: " + ", ".join(
                f"{a} takes {b}'s weights" for a, b in moved.items()
            )
            found.append(Mistake(f"gates {''.join(GATES)}→{''.join(order)}", said, whole))
    for a, b in permutations(GATES, 2):
        whole = {f"{part}.{a}": b for part in "xhb"}
        own, other = NAMES[a], NAMES[b]
        said = f"the {own} computed as the {other} is: with its weights and its bias"
        found.append(Mistake(f"{a} is {b} again", said, whole))
        said = f"the bias of the {other} used for the {own}"
        found.append(Mistake(f"b{b} for {a}", said, {f"b.{a}": b}, True))
        said = f"the weights of the {other} used for the {own} (with its own bias)"
        found.append(Mistake(f"W{b} for {a}", said, {f"x.{a}": b, f"h.{a}": b}))
        said = f"the input weights of the {other} used for the {own}"
        found.append(Mistake(f"Wx{b} for {a}", said, {f"x.{a}": b}))
        said = f"the recurrent weights of the {other} used for the {own}"
        found.append(Mistake(f"Wh{b} for {a}", said, {f"h.{a}": b}))
    for b in GATES:
        others = {f"b.{a}": b for a in GATES if a != b}
        found.append(Mistake(f"b{b} for all", f"the bias of the {NAMES[b]} used for all", others))
        said = f"the bias of the {NAMES[b]} left out"
        found.append(Mistake(f"b{b} missing", said, {f"b.{b}": "-"}, True))
        said = f"h_prev left out of the {NAMES[b]}"
        found.append(Mistake(f"h missing in {b}", said, {f"h.{b}": "-"}))
        said = f"x_t left out of the {NAMES[b]}"
        found.append(Mistake(f"x missing in {b}", said, {f"x.{b}": "-"}))
    none = {f"b.{gate}": "-" for gate in GATES}
    found.append(Mistake("biases missing", "all biases left out", none, True))
    none = {f"h.{gate}": "-" for gate in GATES}
    found.append(Mistake("h unused", "h_prev never used", none))
    none = {f"x.{gate}": "-" for gate in GATES}
    found.append(Mistake("x unused", "x_t never used", none))
    add(
        "concat swapped",
        "h and x concatenated in the other order: the weights are for [h; x], the code has [x; h]",
        True,
        concat="swapped",
    )
    add(
        "concat swapped back",
        "h and x concatenated in the other order: the weights are for [x; h], the code has [h; x]",
        concat="swapped back",
    )
    add("Wh transposed", "the recurrent weights transposed", transposed="yes")

    memories = {
        "i*g": ("c_prev unused", "c_prev never used (c = i∘g)"),
        "f*g + i*g": ("c_prev unused, f*g", "c_prev never used (c = f∘g + i∘g)"),
        "f*h + i*g": ("h for c", "h_prev in the place of c_prev (c = f∘h_prev + i∘g)"),
        "c + i*g": ("f unused", "the forget gate never used (c = c_prev + i∘g)"),
        "f*c": ("nothing written", "nothing written to the memory (c = f∘c_prev)"),
        "f*c + g": ("i unused", "the input gate never used (c = f∘c_prev + g)"),
        "f*c + i": ("g unused", "the candidate never used (c = f∘c_prev + i)"),
        "f*c * i*g": ("multiplied", "the two parts of c multiplied instead of added"),
        "f*c + (1-f)*g": ("coupled", "a coupled cell: c = f∘c_prev + (1−f)∘g, without i"),
        "(1-i)*c + i*g": ("coupled i", "a coupled cell: c = (1−i)∘c_prev + i∘g, without f"),
        "f*c - i*g": ("subtracted", "i∘g subtracted instead of added"),
        "f*c + i + g": ("i plus g", "i and g added instead of multiplied"),
        "f + c + i*g": ("f plus c", "f and c_prev added instead of multiplied"),
        "(f+c) * (i+g)": ("sums for products", "sums and products exchanged in c"),
        "f*(c + i*g)": ("f times all", "the forget gate put on the new value too"),
        "f*c + i*tanh(g)": ("tanh twice", "the tanh of the candidate taken twice"),
    }
    for memory, (name, said) in memories.items():
        add(name, said, name in ("c_prev unused", "multiplied", "coupled"), memory=memory)
    hiddens = {
        "o*c": ("h = o*c", "h = o∘c, without the tanh"),
        "tanh(c)": ("o unused", "the output gate never used (h = tanh(c))"),
        "o*tanh(c_prev)": ("h from c_prev", "h made from c_prev in the place of the new c"),
        "tanh(o*c)": ("tanh(o*c)", "h = tanh(o∘c): the tanh around the product"),
        "o*sigmoid(c)": ("h = o*σ(c)", "h = o∘σ(c): the sigmoid in the place of the tanh"),
        "o*relu(c)": ("h = o*relu(c)", "h = o∘relu(c): relu in the place of the tanh"),
        "o": ("h = o", "h = o, without the memory"),
        "o*g": ("h = o*g", "h = o∘g: the candidate in the place of tanh(c)"),
        "o + tanh(c)": ("h = o plus tanh(c)", "o and tanh(c) added instead of multiplied"),
        "o*tanh(tanh(c))": ("tanh(tanh(c))", "the tanh of c taken twice in h"),
    }
    for hidden, (name, said) in hiddens.items():
        add(name, said, name == "h = o*c", hidden=hidden)
    said = "the tanh written back into the memory (c = tanh(c)), and taken again in h"
    add("c = tanh(c)", said, True, memory="tanh(f*c + i*g)")
    said = "the tanh written back into the memory: tanh(c) is returned for c"
    add("c = tanh(c), h = o*c", said, memory="tanh(f*c + i*g)", hidden="o*c")
    add("returned c, h", "c and h returned in the other order", returned="c, h")
    add("returned h, h", "h returned twice, in the place of c too", returned="h, h")
    add("returned c, c", "c returned twice, in the place of h too", returned="c, c")
    add("given c, h", "h_prev and c_prev taken for each other", given="c, h")
    said = "the state taken and returned as (c, h), as TensorFlow has it; expected (h, c)"
    add("(c, h) for (h, c)", said, given="c, h", returned="c, h")
    add("c_prev returned", "c_prev returned in the place of the new c", returned="h, c_prev")
    for a, b in (("f", "g"), ("g", "o")):
        said = f"the values of the {NAMES[a]} and the {NAMES[b]} exchanged after the activations"
        found.append(Mistake(f"{a}↔{b} used", said, {f"use.{a}": b, f"use.{b}": a}))

    for gate in GATES:
        for other in ACTIVATIONS:
            usual = REFERENCE[f"act.{gate}"]
            if other == usual or (gate == "g" and other == "sigmoid twice"):
                continue
            said = f"{_article(other)} in the place of the {usual} for the {NAMES[gate]}"
            is_common = {gate, other} in ({"g", "sigmoid"}, {"o", "tanh"}, {"i", "tanh"})
            is_common = is_common or {gate, other} == {"f", "tanh"}
            found.append(Mistake(f"{gate} {other}", said, {f"act.{gate}": other}, is_common))
    for other in ("tanh", "relu", "nothing", "1 - sigmoid", "hard sigmoid", "sigmoid twice"):
        said = f"{_article(other)} in the place of the sigmoid for all three gates"
        if other == "1 - sigmoid":
            said = "the sigmoid with the wrong sign, 1/(1 + exp(z)), for all three gates"
        found.append(Mistake(f"gates {other}", said, {f"act.{gate}": other for gate in "ifo"}))
    said = "the activations exchanged: tanh for the gates, sigmoid for the candidate"
    every = {"act.g": "sigmoid"} | {f"act.{gate}": "tanh" for gate in "ifo"}
    found.append(Mistake("activations exchanged", said, every))
    return found


def _article(activation: str) -> str:
    return {
        "nothing": "no activation",
        "hard sigmoid": "a hard sigmoid",
        "1 - sigmoid": "a sigmoid with the wrong sign",
        "sigmoid twice": "the sigmoid taken twice",
    }.get(activation, activation)


def _sequence_mistakes() -> list[Mistake]:
    rows: list[tuple[str, str, dict[str, str]]] = [
        ("h not passed", "h_t not passed on: every step starts from h0", {"h next": "h0"}),
        ("c not passed", "c_t not passed on: every step starts from c0", {"c next": "c0"}),
        (
            "state not passed",
            "neither h_t nor c_t passed on: every step starts from h0 and c0",
            {"h next": "h0", "c next": "c0"},
        ),
        ("h0 ignored", "h0 ignored (zeros in its place)", {"h0": "zero"}),
        ("c0 ignored", "c0 ignored (zeros in its place)", {"c0": "zero"}),
        (
            "initial state ignored",
            "the initial state ignored (zeros in the place of h0 and c0)",
            {"h0": "zero", "c0": "zero"},
        ),
        ("c zero each step", "c set to zero before every step", {"c next": "zero", "c0": "zero"}),
        ("c is h", "h_t passed on in the place of c_t", {"c next": "h"}),
        ("h is c", "c_t passed on in the place of h_t", {"h next": "c"}),
        ("h, c crossed", "h_t and c_t passed on crosswise", {"h next": "c", "c next": "h"}),
        ("reversed", "the sequence run backwards", {"steps": "reversed"}),
        (
            "reversed, turned back",
            "the sequence run backwards (and its states put in order again)",
            {"steps": "reversed and turned back"},
        ),
        ("first step missing", "the first step left out", {"steps": "first missing"}),
        ("last step missing", "the last step left out", {"steps": "last missing"}),
        ("first x repeated", "x of the first step used in every step", {"steps": "first repeated"}),
        ("x one late", "x one step late: step t reads X[t−1]", {"steps": "one late"}),
        (
            "by reference",
            "every entry the last state: one array recorded again and again, by reference",
            {"recorded": "last"},
        ),
        (
            "h by reference",
            "every h the last one: one array recorded again and again, by reference",
            {"recorded": "h last"},
        ),
        (
            "c by reference",
            "every c the last one: one array recorded again and again, by reference",
            {"recorded": "c last"},
        ),
        ("always the first", "every entry the first state", {"recorded": "first"}),
        (
            "recorded before",
            "the state recorded before the step instead of after it (one off)",
            {"recorded": "before"},
        ),
        (
            "start recorded",
            "the initial state recorded as a first entry (T + 1 entries)",
            {"recorded": "with the start"},
        ),
        ("end only", "only the last state returned", {"recorded": "end only"}),
    ]
    common = {"h not passed", "initial state ignored", "by reference"}
    return [Mistake(name, said, switches, name in common) for name, said, switches in rows]


STEP = tuple(_step_mistakes())
SEQUENCE = tuple(_sequence_mistakes())


@lru_cache
def one_of_two_biases() -> tuple[Mistake, ...]:
    """List what people get wrong with one bias where there are two, the fewest gates first."""
    found = []
    for one in ("first", "second"):
        said = f"the {one} bias left out"
        none = {f"{one} bias.{gate}": "-" for gate in GATES}
        found.append(Mistake(f"{one} bias missing", said, none))
        wrong: dict[str, list[Mistake]] = {gate: [] for gate in GATES}
        for a in GATES:
            for b in (*GATES, "-"):
                if b == a:
                    continue
                said = f"the {one} bias of the {NAMES.get(b)} used for the {NAMES[a]}"
                name = f"{one} b{b} for {a}"
                if b == "-":
                    name, said = f"{one} b{a} missing", f"the {one} bias of the {NAMES[a]} left out"
                wrong[a].append(Mistake(name, said, {f"{one} bias.{a}": b}))
        for many in range(1, 5):
            for gates in combinations(GATES, many):
                for several in product(*(wrong[gate] for gate in gates)):
                    *before, mistake = several
                    for other in reversed(before):
                        mistake = other + mistake
                    if mistake.switches != none:
                        found.append(mistake)
    return tuple(found)


@lru_cache
def pairs(of: str) -> tuple[Mistake, ...]:
    """List the pairs of common mistakes, of a ``"step"`` or of a ``"sequence"`` with its step."""
    step_mistakes = [mistake for mistake in STEP if mistake.common]
    if of == "step":
        both = list(combinations(step_mistakes, 2))
    else:
        both = [(a, b) for a in STEP for b in SEQUENCE if b.common]
        both += list(combinations(SEQUENCE, 2))
        both += list(combinations(step_mistakes, 2))
    alone = [mistake.switches for mistake in STEP]  # two swaps are also one mix-up of all gates
    made = (a + b for a, b in both if not set(a.switches) & set(b.switches))
    return tuple(mistake for mistake in made if mistake.switches not in alone)


@lru_cache
def triples() -> tuple[Mistake, ...]:
    """List three common mistakes of a step at once."""
    return tuple(
        one + two
        for one, two in product([m for m in STEP if m.common], pairs("step"))
        if one.name > max(two.name.split(" + ")) and not set(one.switches) & set(two.switches)
    )
