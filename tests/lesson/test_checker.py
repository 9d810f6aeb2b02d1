"""The checker on programs as people write them, by hand: what it says, word for word."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import textwrap
import time

import numpy as np
import pytest

from lstmkit import lesson
from lstmkit.lesson import runner
from lstmkit.lesson.checker import check
from lstmkit.lesson.program import Cell, Program, read, without_magic
from lstmkit.lesson.report import Report
from lstmkit.shapes import InputError

HEAD = """\
import numpy as np


def sigmoid(z):
    return 0.5 * (1 + np.tanh(0.5 * z))


"""
STEP = (
    HEAD
    + '''\
def lstm_cell_step(x_t, h_prev, c_prev, params):
    """One step. The forget gate scales the cell state, the input gate the candidate.

    The output gate shows the memory as the hidden state. h_prev, c_prev: (H,); W acts on [h; x].
    """
    hx = np.concatenate([h_prev, x_t])
    f = sigmoid(params["Wf"] @ hx + params["bf"])
    i = sigmoid(params["Wi"] @ hx + params["bi"])
    g = np.tanh(params["Wc"] @ hx + params["bc"])
    o = sigmoid(params["Wo"] @ hx + params["bo"])
    c_t = f * c_prev + i * g
    return o * np.tanh(c_t), c_t
'''
)
SEQUENCE = (
    STEP
    + '''

def lstm_forward(X_seq, h0, c0, params):
    """X_seq (T, I) to T pairs (h_t, c_t), each (H,)."""
    h, c, states = h0, c0, []
    for x in X_seq:
        h, c = lstm_cell_step(x, h, c, params)
        states.append((h, c))
    return states


def lstm_output_layer(h_states, W_hy, b_y):
    """Logits (T, O)."""
    return np.array(h_states) @ W_hy.T + b_y
'''
)


def run(source, **limits):
    return check(Program("mine", (Cell("my_lstm.py", source),)), **limits)


def only(report):
    (finding,) = report.mistakes
    return finding.text


def test_the_lessons_own_solution_passes():
    report = run(SEQUENCE)
    assert report.passed
    assert report.verdict() == "all parts checked here passed"
    later = run(SEQUENCE + "\n\ndef sample(params):\n    ...\n")
    assert later.verdict() == "no mistake found; still open: sample"
    assert [finding.kind for finding in report.findings] == ["passed"] * 3
    assert report.assumed == [
        "family A (Wi Wf Wc Wo, bi bf bc bo): (H, H+I), W·x on [h; x], flat biases; states (H,)"
    ]
    assert "gates driven to ±1000" in report.text()


def test_the_message_of_the_issue():
    wrong = STEP.replace('"Wf"', '"W?"').replace('"Wi"', '"Wf"').replace('"W?"', '"Wi"')
    wrong = wrong.replace('"bf"', '"b?"').replace('"bi"', '"bf"').replace('"b?"', '"bi"')
    assert re.fullmatch(
        r"h_t equals the reference with the input gate and the forget gate swapped \(i ↔ f\) "
        r"\(step 0, unit \d: yours −?\d\.\d{3}, expected −?\d\.\d{3}\)",
        only(run(wrong)),
    )


def test_two_mistakes_at_once_are_named_both():
    wrong = STEP.replace('"Wi"] @ hx + params["bi"]', '"Wi"] @ hx + params["bf"]')
    wrong = wrong.replace("o * np.tanh(c_t)", "o * c_t")
    report = run(wrong)
    assert only(report).startswith(
        "h_t equals the reference with the bias of the forget gate used for the input gate, and "
        "h = o∘c, without the tanh (step 0, unit "
    )
    assert set(report.mistakes[0].names) == {"bf for i", "h = o*c"}


@pytest.mark.lesson
def test_three_at_once_too():
    wrong = STEP.replace("[h_prev, x_t]", "[x_t, h_prev]").replace("o * np.tanh(c_t)", "o * c_t")
    wrong = wrong.replace('np.tanh(params["Wc"]', 'sigmoid(params["Wc"]')
    report = run(wrong)
    assert set(report.mistakes[0].names) == {"concat swapped", "h = o*c", "g sigmoid"}
    assert ", and " in only(report)


@pytest.mark.samples
@pytest.mark.parametrize(
    ("change", "quantity"),
    [
        (('params["bi"]', '2 * params["bi"]'), "z_t of the input gate"),
        (('params["bf"]', '2 * params["bf"]'), "z_t of the forget gate"),
        (('params["bc"]', '2 * params["bc"]'), "z_t of the candidate"),
        (('params["bo"]', '2 * params["bo"]'), "z_t of the output gate"),
        (("f * c_prev", "f**1.1 * c_prev"), "f_t (the forget gate)"),
        (("i * g\n", "i**1.1 * g\n"), "i_t (the input gate)"),
        (("i * g\n", "i * g**3\n"), "g_t (the candidate)"),
        (("o * np.tanh", "o**1.1 * np.tanh"), "o_t (the output gate), or the tanh after it"),
        (("i * g\n", "i * g + 0.25 * f * i * f * g\n"), ""),
    ],
)
def test_where_no_mistake_fits_the_first_quantity_that_differs_is_told(change, quantity):
    report = run(STEP.replace(*change))
    text = only(report)
    assert text.startswith(f"the first quantity that differs is {quantity}")
    assert text.endswith("it is none of the known mistakes")
    assert report.mistakes[0].names == ()


@pytest.mark.lesson
def test_gates_that_are_returned_too_are_compared():
    odd = STEP.replace('params["bf"]', '3 * params["bf"] ** 2')
    odd = odd.replace("return o * np.tanh(c_t), c_t", "return o * np.tanh(c_t), c_t, {'f': f}")
    said = only(run(odd))
    assert said.startswith(
        "the first quantity that differs is f_t (the forget gate) (step 0, unit "
    )
    odd = odd.replace('3 * params["bf"] ** 2', '1.5 * params["bf"]')
    assert only(run(odd)).startswith("the first quantity that differs is z_t of the forget gate (")


def test_a_step_that_is_wrong_leaves_the_sequence_right():
    report = run(SEQUENCE.replace("o * np.tanh(c_t)", "o * c_t"))
    assert len(report.mistakes) == 1
    assert "lstm_forward: equals the reference with the mistake of the step" in report.text()


@pytest.mark.samples
@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            "h, c = lstm_cell_step(x, h, c",
            "_, c = h, c = lstm_cell_step(x, h0, c",
            "h_t not passed",
        ),
        ("h, c, states = h0, c0, []", "h, c, states = 0 * h0, 0 * c0, []", "the initial state ig"),
        ("in X_seq:", "in X_seq[::-1]:", "the sequence run backwards"),
        ("in X_seq:", "in X_seq[1:]:", "it returns 5 states for 6 steps"),
        ("return states\n", "return states[-1:]\n", "it returns 1 states for 6 steps"),
        ("c_t = f * c_prev + i * g", "c_prev *= f\n    c_t = c_prev + i * g", "c_prev changed in"),
        (
            "    return states",
            "    for k in range(len(states)):\n        states[k] = states[-1]\n    return states",
            "every entry the last state",
        ),
    ],
)
def test_a_sequence_that_is_wrong(old, new, text):
    report = run(SEQUENCE.replace(old, new))
    assert any(text in finding.text for finding in report.mistakes), report.text()


@pytest.mark.lesson
def test_weights_for_hx_given_xh_is_a_mistake_where_the_layout_is_said_and_a_convention_elsewhere():
    crossed = STEP.replace("[h_prev, x_t]", "[x_t, h_prev]")
    assert "h and x concatenated in the other order" in only(run(crossed))
    other = re.sub(r'params\["([Wb])(.)"\]', r'params["\1_\2"]', crossed).replace("[h; x]", "both")
    report = run(other)
    assert report.passed
    assert "W·x on [x; h]" in report.assumed[0]


@pytest.mark.samples
@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("    pass", "it returns nothing (is a return missing?); expected (h_t, c_t)"),
        ("    return x_t", "it returns an array of shape (3,); expected (h_t, c_t)"),
        (
            "    return params['forget'], 1",
            "it stops with KeyError: forget (my_lstm.py, line 9:",
        ),
        ("    return 1 / 0", "it stops with ZeroDivisionError: division by zero (my_lstm.py, line"),
        ("    return np.stack([h_prev, x_t])", "h and x are stacked where they should be concat"),
    ],
)
def test_what_is_no_step_at_all(body, text):
    report = run(HEAD + f"def lstm_cell_step(x_t, h_prev, c_prev, params):\n{body}\n")
    assert only(report).startswith(text)


def test_the_naive_sigmoid_is_told_with_its_line():
    report = run(STEP.replace("0.5 * (1 + np.tanh(0.5 * z))", "1 / (1 + np.exp(-z))"))
    assert only(report) == (
        "the sigmoid overflows, with a warning, at z = ±1000 (line 5: return 1 / (1 + np.exp(-z)));"
        " keep every exponent at or below 0"
    )


def test_an_unwritten_part_is_open_and_not_a_mistake():
    stub = "def lstm_cell_step(x_t, h_prev, c_prev, params):\n    raise NotImplementedError\n"
    report = run(HEAD + stub)
    assert not report.mistakes
    assert not report.passed
    assert report.verdict() == (
        "nothing passed yet; still open: lstm_cell_step, lstm_forward, lstm_output_layer"
    )
    assert run(STEP).verdict() == ("no mistake found; still open: lstm_forward, lstm_output_layer")


def test_a_docstring_is_asked_for():
    bare = re.sub(r'    """.*?"""\n', "", STEP, flags=re.DOTALL)
    assert "no docstring; the lesson asks for the role of each gate and state" in run(bare).text()
    thin = STEP.replace("The output gate shows", "It shows")
    assert "the docstring says nothing of the output gate" in run(thin).text()


def test_what_hangs_or_ends_the_process_is_a_finding():
    loop = (
        HEAD + "def lstm_cell_step(x_t, h_prev, c_prev, params):\n    while True:\n        pass\n"
    )
    text = only(run(loop, seconds=0.5))
    assert text.startswith("your code did not finish within 0.5 s in lstm_cell_step; is there")


@pytest.mark.lesson
def test_the_other_parts_are_checked_after_one_that_hangs():
    loop = SEQUENCE.replace("for x in X_seq:", "while True:\n        pass\n    for x in X_seq:")
    report = run(loop, seconds=1)
    assert only(report).startswith("your code did not finish within 1 s in lstm_forward")
    assert {f.part for f in report.findings if f.kind == "passed"} == {
        "lstm_cell_step",
        "lstm_output_layer",
    }


@pytest.mark.lesson
def test_all_together_has_a_limit_too_and_is_told_while_it_lasts(monkeypatch):
    monkeypatch.setattr(runner, "ALL", 1.5)
    monkeypatch.setattr(runner, "TIMES", 0)
    monkeypatch.setattr(runner, "SLOW", 0.5)
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    slow = SEQUENCE.replace("    hx = np", "    time.sleep(0.2)\n    hx = np")
    began = time.monotonic()
    report = run("import time\n" + slow)
    assert time.monotonic() - began < 10
    assert not report.mistakes
    assert not report.passed
    assert report.findings[0].text == (
        "not checked to the end: the whole check took longer than 1.5 s; is your code slow? "
        "--seconds 0.75 gives it more time"
    )
    assert report.verdict() == (
        "nothing passed yet; still open: lstm_cell_step, lstm_forward, lstm_output_layer"
    )
    lines = screen.getvalue().split("\r")
    where = "(in lstm_cell_step|while it was loaded)"  # on a busy machine it takes a while
    assert re.fullmatch(f"still checking mine, {where}: [0-9] s *", lines[1])
    assert lines[-2:] == [" " * 78, ""]
    screen.isatty = lambda: False
    run("import time\n" + slow)
    assert screen.getvalue().split("\r") == lines


# Programs of other people's kind.

CS231N = (
    HEAD
    + """\
def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    H = prev_h.shape[1]
    a = x.dot(Wx) + prev_h.dot(Wh) + b
    i, f, o = (sigmoid(a[:, k * H:(k + 1) * H]) for k in range(3))
    g = np.tanh(a[:, 3 * H:])
    next_c = f * prev_c + i * g
    next_h = o * np.tanh(next_c)
    return next_h, next_c, (x, prev_h, prev_c, i, f, o, g)


def lstm_forward(x, h0, Wx, Wh, b):
    h_t, c_t, hs, caches = h0, np.zeros_like(h0), [], []
    for t in range(x.shape[1]):
        h_t, c_t, cache = lstm_step_forward(x[:, t], h_t, c_t, Wx, Wh, b)
        hs.append(h_t)
        caches.append(cache)
    return np.stack(hs, axis=1), caches
"""
)
COLUMNS = (
    HEAD
    + """\
def lstm_cell_forward(xt, a_prev, c_prev, parameters):
    concat = np.concatenate([a_prev, xt], axis=0)
    ft, it, ot = (sigmoid(parameters["W" + k] @ concat + parameters["b" + k]) for k in "fio")
    cct = np.tanh(parameters["Wc"] @ concat + parameters["bc"])
    c_next = ft * c_prev + it * cct
    a_next = ot * np.tanh(c_next)
    return a_next, c_next, (a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, parameters)


def lstm_forward(x, a0, parameters):
    n_x, m, T_x = x.shape
    a, c = np.zeros((*a0.shape, T_x)), np.zeros((*a0.shape, T_x))
    a_next, c_next = a0, np.zeros(a0.shape)
    for t in range(T_x):
        a_next, c_next, cache = lstm_cell_forward(x[:, :, t], a_next, c_next, parameters)
        a[:, :, t], c[:, :, t] = a_next, c_next
    return a, c
"""
)
OBJECT = (
    HEAD
    + """\
class LSTM:
    def __init__(self, input_size, hidden_size):
        shape = (hidden_size, input_size + hidden_size)
        self.Wf, self.Wi, self.Wc, self.Wo = (np.random.randn(*shape) for _ in range(4))
        self.bf, self.bi, self.bc, self.bo = (np.zeros((hidden_size, 1)) for _ in range(4))

    def forward(self, x, initial_hidden_state, initial_cell_state):
        h, c, outputs = initial_hidden_state, initial_cell_state, []
        for row in x:
            concat = np.vstack((h, row.reshape(-1, 1)))
            f = sigmoid(self.Wf @ concat + self.bf)
            i = sigmoid(self.Wi @ concat + self.bi)
            c = f * c + i * np.tanh(self.Wc @ concat + self.bc)
            h = sigmoid(self.Wo @ concat + self.bo) * np.tanh(c)
            outputs.append(h)
        return np.array(outputs), h, c
"""
)


@pytest.mark.samples
@pytest.mark.parametrize(
    ("source", "assumed"),
    [
        (CS231N, "order i, f, o, g, row biases; states (1, H)"),
        (COLUMNS, "W·x on [h; x], column biases; states (H, 1)"),
        (OBJECT, "W·x on [h; x], column biases; states (H, 1)"),
    ],
)
def test_programs_in_the_style_of_courses_pass(source, assumed):
    report = run(source)
    assert report.passed, report.text()
    assert assumed in report.assumed[-1]


INSIDE = (
    HEAD
    + """\
class LSTMCell:
    def __init__(self, input_size, hidden_size):
        shape = (hidden_size, input_size + hidden_size)
        self.params = {"W" + k: np.random.randn(*shape) for k in "fico"}
        self.params |= {"b" + k: np.zeros(hidden_size) for k in ("f", "i", "c", "o")}

    def forward(self, x, h, c):
        p, hx = self.params, np.concatenate([h, x])
        f, i = sigmoid(p["Wf"] @ hx + p["bf"]), sigmoid(p["Wi"] @ hx + p["bi"])
        c = f * c + i * np.tanh(p["Wc"] @ hx + p["bc"])
        return sigmoid(p["Wo"] @ hx + p["bo"]) * np.tanh(c), c


class LSTM:
    def __init__(self, input_size, hidden_size):
        self.hidden_size = hidden_size
        self.cell = LSTMCell(input_size, hidden_size)

    def forward(self, inputs):
        h = c = np.zeros(self.hidden_size)
        outputs = []
        for x in inputs:
            h, c = self.cell.forward(x, h, c)
            outputs.append(h)
        return np.array(outputs), (h, c)
"""
)


def test_a_cell_inside_an_object_with_its_weights_in_a_dict():
    report = run(INSIDE)
    passed = [finding.part for finding in report.findings if finding.kind == "passed"]
    assert passed == ["LSTMCell.forward", "LSTM.forward"], report.text()
    assert report.verdict() == "no mistake found"
    late = INSIDE.replace("in inputs:", "in inputs[1:]:")
    assert "the first step left out" in only(run(late))


@pytest.mark.lesson
@pytest.mark.parametrize(
    "init",
    [
        "input_size, lr=0.1, hidden_size=8",
        "n_in, n_hidden=9, dropout=0.1, dtype=float, init_scale=0.1, stateful=True",
        "d, *, units=4, seed=None",
        "input_dim=3, hidden_dim=4, output_dim=2",
        "vocab_size, embedding_dim=7, hidden_units=9",
    ],
)
def test_the_sizes_of_an_object_go_by_name_where_they_need_not_be_given(init):
    names = [part.split("=")[0].strip() for part in init.split(",")]
    size = next(name for name in names if re.search("in$|in|^d$", name))
    hidden = next(name for name in names if re.search("hid|units", name))
    rest = {"lr": 0.1, "dropout": 0.1, "init_scale": 0.1, "stateful": True, "seed": None}
    same = "".join(
        f"        assert {k} is None or {k} == {v}\n" for k, v in rest.items() if k in names
    )
    source = OBJECT.replace("self, input_size, hidden_size):\n", f"self, {init}):\n{same}")
    source = source.replace("hidden_size,", f"{hidden},").replace("input_size +", f"{size} +")
    source = source.replace("+ hidden_size", f"+ {hidden}").replace("(hidden_size", f"({hidden}")
    report = run(source)
    assert report.passed, report.text()


@pytest.mark.lesson
def test_an_object_that_is_made_of_its_weights():
    start = OBJECT.index("    def __init__")
    source = OBJECT[:start] + "    def __init__(self, params):\n        self.p = params\n"
    source += re.sub(
        r"self\.([Wb]\w)", r'self.p["\1"]', OBJECT[OBJECT.index("\n    def forward") :]
    )
    report = run(source)
    assert report.passed, report.text()


def test_methods_of_a_base_class_count():
    start, end = OBJECT.index("    def __init__"), OBJECT.index("\n    def forward")
    source = OBJECT[: OBJECT.index("class LSTM")] + "class Base:" + OBJECT[end:] + "\n\n"
    source += "class LSTM(Base):\n" + OBJECT[start:end]
    report = run(source)
    assert report.passed, report.text()
    assert [f.part for f in report.findings if f.kind == "passed"] == ["LSTM.forward"]


@pytest.mark.lesson
def test_lists_of_plain_numbers_are_as_good_as_arrays():
    source = SEQUENCE.replace(
        "    return o * np.tanh(c_t), c_t", "    return list(o * np.tanh(c_t)), c_t.tolist()"
    ).replace("W_hy.T + b_y", "(W_hy.T) + b_y")
    report = run(source)
    assert report.passed, report.text()
    wrong = run(source.replace("list(o * np.tanh(c_t))", "list(o * c_t)"))
    assert "h = o∘c, without the tanh" in wrong.mistakes[0].text
    text = run(source.replace("return np.array(h_states) @ (W_hy.T) + b_y", LISTED)).text()
    assert "✓ lstm_output_layer" in text, text


LISTED = "return (np.array(h_states) @ W_hy.T + b_y).tolist()"


@pytest.mark.parametrize("fields", ["h c", "c_t hidden"])
def test_the_state_may_be_a_named_tuple(fields):
    c, h = sorted(fields.split())
    source = "from collections import namedtuple\n" + STEP.replace(
        "def lstm_cell_step(x_t, h_prev, c_prev, params):",
        f"State = namedtuple('State', '{fields}')\n\n\ndef lstm_step(params, state, x_t):",
    )
    source = source.replace("    hx =", f"    h_prev, c_prev = state.{h}, state.{c}\n    hx =")
    source = source.replace("return o * np.tanh(c_t), c_t", "return State(B)")
    source = source.replace("State(B)", f"State({h}=o * np.tanh(c_t), {c}=c_t)")
    report = run(source)
    assert report.passed, report.text()


@pytest.mark.lesson
def test_gates_that_start_alike():
    """They learn the same thing for ever; nothing in the outputs of given weights shows it."""
    drawn = "np.random.default_rng(0).normal(size=shape)"
    report = run(OBJECT.replace("np.random.randn(*shape)", drawn))
    assert only(report).startswith("Wi, Wf, Wc, Wo start identical: draw them one after the other")


def test_their_mistakes_are_named_too():
    swapped = OBJECT.replace("f * c + i *", "i * c + f *")
    assert "the input gate and the forget gate swapped" in only(run(swapped))


# Notebooks, sessions, files.


def test_a_notebook_with_magic_and_a_cell_that_fails(tmp_path):
    sources = ["%matplotlib inline\nimport numpy as np\n!ls", "1 / 0", STEP, "lstm_cell_step?"]
    cells = [{"cell_type": "code", "source": s.splitlines(True)} for s in sources]
    cells.insert(0, {"cell_type": "markdown", "source": ["# mine"]})
    path = tmp_path / "mine.ipynb"
    path.write_text(json.dumps({"cells": cells, "nbformat": 4}))
    report = check(path)
    assert report.passed, report.text()
    text = report.text()
    assert "mine.ipynb: cell 1: 2 lines of IPython left out" in text
    assert "cell 2: left out: it stops with ZeroDivisionError: division by zero (cell 2" in text


def test_without_magic_keeps_the_lines():
    plain, left = without_magic("x = 5 % 3\n  %time y\n!ls\n")
    assert plain == "x = 5 % 3\n  pass  # %time y\npass  # !ls\n"
    assert left == "2 lines"
    assert without_magic("%%bash\nls")[0] == "# %%bash\n# ls"


def my_sigmoid(z):
    return SCALE * (1 + np.tanh(0.5 * z))


SCALE = 0.5


def lstm_cell_step(x_t, h_prev, c_prev, params):
    hx = np.concatenate([h_prev, x_t])
    f, i, o = (my_sigmoid(params["W" + k] @ hx + params["b" + k]) for k in "fio")
    c_t = f * c_prev + i * np.tanh(params["Wc"] @ hx + params["bc"])
    return o * c_t, c_t


def test_the_names_of_a_session_are_checked_with_what_they_use():
    names = {"np": np, "SCALE": SCALE, "my_sigmoid": my_sigmoid, "lstm_cell_step": lstm_cell_step}
    report = lesson.check({**names, "__name__": __name__, "x": object()})
    assert "h = o∘c, without the tanh" in only(report)
    page = report._repr_html_()
    assert page.startswith("<div")
    assert "without the tanh" in page


def in_a_session(**cells):
    """Names as cells of IPython define them, one after the other."""
    space = {"__name__": "__main__", "In": [""]}
    for source in cells.values():
        space["In"].append(source)
        exec(compile(source, f"<ipython-input-{len(space['In'])}>", "exec"), space)
    return check(space)


CONSTANTS = """\
import numpy as np
GATES, SCALES = ["f", "i", "o"], {"one": (1.0, float("inf")), 2: np.ones((1, 1)), "e": {None}}
HALF, EMPTY, RNG = np.float64(0.5), np.zeros((0, 2)), np.random.default_rng(3)
"""
LOOPED = """\
def _squash(z):
    return HALF * (SCALES["one"][0] + np.tanh(HALF * z))
def lstm_cell_step(x_t, h_prev, c_prev, params):
    assert EMPTY.shape == (0, 2) and SCALES["one"][1] > 1e300 and RNG.random() < 1
    hx = np.concatenate([h_prev, x_t]) * SCALES[2][0]
    f, i, o = (SHAPES["s"](params["W" + k] @ hx + params["b" + k]) for k in GATES)
    c_t = f * c_prev + i * SHAPES["t"](params["Wc"] @ hx + params["bc"])
    return o * np.tanh(c_t), c_t
"""


def test_the_constants_of_other_cells_come_along():
    table = 'SHAPES = {"s": _squash, "t": np.tanh}'
    report = in_a_session(one=CONSTANTS, two=LOOPED, three=table)
    assert report.passed, report.text()


def test_a_module_beside_the_notebook_is_found(tmp_path, monkeypatch):
    (tmp_path / "my_helpers_of_gates.py").write_text(HEAD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    step = STEP.removeprefix(HEAD)
    report = in_a_session(
        one="import numpy as np", two="from my_helpers_of_gates import sigmoid", three=step
    )
    assert report.passed, report.text()


def test_a_session_in_ipython_is_read_from_its_cells():
    space = {"__name__": "__main__", "In": ["", "import numpy as np", STEP]}
    exec(compile(STEP, "<ipython-input-2>", "exec"), space)
    assert check(space).passed


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.py", b"", "a.py is empty; expected a file of Python"),
        ("a.py", b"\0\1", "a.py is binary; expected a .py file or a .ipynb notebook"),
        ("a.py", b"\xff\xfe\xff", "a.py is not text in UTF-8; expected a file of Python"),
        ("a.txt", b"x = 1", "a.txt is no .py file; expected one, or a .ipynb notebook"),
        ("a.ipynb", b"{}", "a.ipynb is no notebook of format 4; expected JSON with cells"),
        ("a.ipynb", b'{"cells": []}', "a.ipynb has no code cells; expected a notebook with"),
    ],
)
def test_bad_files_are_one_line(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(path)
    assert message in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(InputError, match=r"pipe\.py is no file; expected a \.py file or a"):
        read(tmp_path / "pipe.py")


def test_a_backslash_in_a_docstring_warns_nobody():
    source = SEQUENCE.replace("One step.", "One step, with \\sigma.")
    report = run(source)  # warnings are errors here
    assert (report.passed, report.printed) == (True, "")
    space = {"__name__": "__main__", "In": ["import numpy as np", source]}
    with pytest.warns((DeprecationWarning, SyntaxWarning)):
        exec(compile(source, "<ipython-input-2>", "exec"), space)
    assert check(space).passed


def test_nothing_to_check_and_syntax_errors():
    with pytest.raises(InputError, match="mine defines none of lstm_cell_step, lstm_forward"):
        run("x = 1")
    with pytest.raises(InputError, match="namespace is a int; expected a dict such as globals"):
        check(3)
    with pytest.raises(InputError, match="namespace holds no function or class whose source"):
        check({"x": 1})
    assert only(run("def f(x)\n    pass")) == (
        "stops with SyntaxError: expected ':' (my_lstm.py, line 1: def f(x))"
    )
    assert only(run("import no_such_module\n" + STEP)).startswith("stops with ModuleNotFoundError")


def test_what_stops_the_loading_is_told_once():
    report = run("while True:\n    print('hello')\n")
    assert report.text().count("1,000,000 characters printed; is there a print in a loop?") == 1
    assert "stops with SystemExit: your code called exit() (my_lstm.py" in only(run("exit(1)"))


def test_a_file_knows_where_it_stands(tmp_path):
    (tmp_path / "half.txt").write_text("0.5")
    begin = "from pathlib import Path\nHERE = Path(__file__)\nassert HERE.name == 'mine.py'\n"
    begin += "HALF = float((HERE.parent / 'half.txt').read_text())\n"
    (tmp_path / "mine.py").write_text(begin + STEP.replace("0.5 * (1 +", "HALF * (1 +"))
    assert check(tmp_path / "mine.py").passed


def test_a_report_cannot_steer_a_terminal():
    report = Report("x")
    report.add("mistake", "f", "a\x1b[31mb\nc")
    assert "\x1b" not in report.text()
    assert "a\ufffd[31mb c" in report.text()


# The way back.

BACK = SEQUENCE + textwrap.dedent('''

    def lstm_cell_step_backward(x_t, h_prev, c_prev, params, dh_t, dc_t):
        """dx, dh_prev, dc_prev, dparams."""
        H = len(h_prev)
        hx = np.concatenate([h_prev, x_t])
        f, i, o = (sigmoid(params["W" + k] @ hx + params["b" + k]) for k in "fio")
        g = np.tanh(params["Wc"] @ hx + params["bc"])
        c_t = f * c_prev + i * g
        dc = dc_t + dh_t * o * (1 - np.tanh(c_t) ** 2)
        dz = {"f": dc * c_prev * f * (1 - f), "i": dc * g * i * (1 - i)}
        dz |= {"c": dc * i * (1 - g**2), "o": dh_t * np.tanh(c_t) * o * (1 - o)}
        dhx = sum(params["W" + k].T @ dz[k] for k in "fico")
        grads = {"dW" + k: np.outer(dz[k], hx) for k in "fico"}
        grads |= {"db" + k: dz[k] for k in "fico"}
        return dhx[H:], dhx[:H], dc * f, grads
''')


def test_a_backward_step_is_proved_by_the_complex_step():
    report = run(BACK)
    assert report.passed, report.text()
    assert "✓ lstm_cell_step_backward: every gradient equals the complex step's" in report.text()


@pytest.mark.samples
@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("dc = dc_t + dh_t * o * (1 - np.tanh(c_t) ** 2)", "dc = dc_t", "the tanh(c) branch forg"),
        ("dc = dc_t + ", "dc = ", "dc_next not added: what comes back in c_t is lost"),
        ("g * i * (1 - i)", "g * i", "the activation in the place of its derivative, for the inp"),
        ("dc * f, grads", "dc * 0, grads", "dc_prev left at zero: the carousel dc ∘ f is missing"),
        ("dc * g * i", "2 * dc * g * i", "the first gradient that is wrong is the gradient of the"),
        ('"db" + k: dz[k]', '"db" + k: dz["f"]', "all bias gradients taken from the forget gate"),
    ],
)
def test_mistakes_of_the_way_back(old, new, text):
    assert text in only(run(BACK.replace(old, new)))


@pytest.mark.lesson
@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("dhx[H:], dhx[:H]", "dhx[:H], dhx[H:]", "dx is an array of shape (5,); expected the sha"),
        ("dc * f, grads", "dc * f", "it returns a tuple of 3"),
        (
            '"dW" + k: np.outer(dz[k], hx)',
            '"dW" + k: np.outer(hx, dz[k])',
            "shape (8, 5); expected",
        ),
    ],
)
def test_results_of_the_way_back_that_do_not_fit(old, new, text):
    assert text in only(run(BACK.replace(old, new)))


BACK_SEQUENCE = BACK + textwrap.dedent('''
    def lstm_backward(X_seq, h0, c0, params, dh_states, dc_last):
        """dX, dh0, dc0, dparams."""
        h, c, states = h0, c0, []
        for x_t in X_seq:
            states.append((x_t, h, c))
            hx = np.concatenate([h, x_t])
            f, i, o = (sigmoid(params["W" + k] @ hx + params["b" + k]) for k in "fio")
            c = f * c + i * np.tanh(params["Wc"] @ hx + params["bc"])
            h = o * np.tanh(c)
        dX, dh, dc, total = [], np.zeros_like(h0), dc_last, {}
        for t in reversed(range(len(X_seq))):
            dx, dh, dc, grads = lstm_cell_step_backward(*states[t], params, dh_states[t] + dh, dc)
            dX.insert(0, dx)
            total = {k: total.get(k, 0) + grads[k] for k in grads}
        return np.array(dX), dh, dc, total
''')


def test_a_way_back_through_time_is_proved_by_the_complex_step():
    report = run(BACK_SEQUENCE)
    assert report.passed, report.text()
    assert "✓ lstm_backward: every gradient equals the complex step's" in report.text()


@pytest.mark.samples
@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            "dX.insert(0, dx)\n",
            "dX.insert(0, dx)\n        dh = dh * (t != 2)\n",
            "; walking back, dX is right down to step 2 and wrong at step 1; it is",
        ),
        ("dh_states[t] + dh,", "1.5 * dh_states[t] + dh,", "; dX is wrong from the first step of"),
        ("+ grads[k]", "+ t * grads[k]", "; dX is right in all steps, 5 to 0: look at how the"),
    ],
)
def test_where_the_way_back_through_time_goes_wrong(old, new, text):
    found = [m.text for m in run(BACK_SEQUENCE.replace(old, new)).mistakes]
    assert any(text in said for said in found), found


# Two biases, under PyTorch's names.

TWO = (
    HEAD
    + '''\
def lstm_cell_step(x_t, h_prev, c_prev, params):
    """h_prev, c_prev: (H,)."""
    z = params["weight_ih"] @ x_t + params["bias_ih"]
    z = z + params["weight_hh"] @ h_prev + params["bias_hh"]
    i, f, g, o = np.split(z, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c_t = f * c_prev + i * g
    return o * np.tanh(c_t), c_t


def lstm_cell_step_backward(x_t, h_prev, c_prev, params, dh_t, dc_t):
    z = params["weight_ih"] @ x_t + params["bias_ih"]
    z = z + params["weight_hh"] @ h_prev + params["bias_hh"]
    i, f, g, o = np.split(z, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    tanh_c = np.tanh(f * c_prev + i * g)
    dc = dc_t + dh_t * o * (1 - tanh_c**2)
    dz = [dc * g * i * (1 - i), dc * c_prev * f * (1 - f)]
    dz = np.concatenate([*dz, dc * i * (1 - g**2), dh_t * tanh_c * o * (1 - o)])
    grads = {"weight_ih": np.outer(dz, x_t), "weight_hh": np.outer(dz, h_prev)}
    grads |= {"bias_ih": dz, "bias_hh": dz.copy()}
    return params["weight_ih"].T @ dz, params["weight_hh"].T @ dz, dc * f, grads
'''
)


@pytest.mark.lesson
@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (' + params["bias_hh"]\n    i, f', "\n    i, f", "with the second bias left out (step 0"),
        (' + params["bias_ih"]\n    z', "\n    z", "with the first bias left out (step 0"),
        (
            'params["bias_hh"]\n    i',
            'params["bias_hh"][::-1]\n    i',
            "the first quantity that di",
        ),
        (
            'params["bias_hh"]\n    i',
            'np.concatenate([params["bias_hh"][5:10] if len(h_prev) == 5 else '
            'params["bias_hh"][len(h_prev):2 * len(h_prev)], params["bias_hh"][len(h_prev):]])\n'
            "    i",
            "with the second bias of the forget gate used for the input gate (step 0",
        ),
    ],
)
def test_neither_of_two_biases_can_be_forgotten(old, new, text):
    assert run(TWO).passed, run(TWO).text()
    step = TWO.split("def lstm_cell_step_backward")[0]
    assert text in only(run(step.replace(old, new)))


@pytest.mark.lesson
def test_each_of_two_biases_has_the_whole_gradient():
    report = run(TWO)
    assert "✓ lstm_cell_step_backward: every gradient equals the complex step's" in report.text()
    half = run(TWO.replace('"bias_hh": dz.copy()', '"bias_hh": 0.5 * dz'))
    assert "the first gradient that is wrong is the gradient of the output gate's second bias" in (
        only(half)
    )
    none = run(
        TWO.replace('"bias_ih": dz, "bias_hh": dz.copy()', '"bias_ih": 0 * dz, "bias_hh": dz')
    )
    assert "gradient of the output gate's bias, unit" in only(none)


# A batch: code that keeps states as rows.

ROWS = (
    HEAD
    + '''\
def lstm_cell_step(x, h, c, params):
    """x (N, I), h and c (N, H)."""
    hx = np.hstack([h, x])
    i, f, o = (sigmoid(hx @ params["W_" + k] + params["b_" + k]) for k in "ifo")
    c = f * c + i * np.tanh(hx @ params["W_g"] + params["b_g"])
    return o * np.tanh(c), c


def lstm_forward(x, h0, c0, params):
    """x (N, T, I)."""
    hs, h, c = np.zeros((*x.shape[:2], h0.shape[1])), h0, c0
    for t in range(x.shape[1]):
        h, c = lstm_cell_step(x[:, t], h, c, params)
        hs[:, t] = h
    return hs, (h, c)
'''
)


@pytest.mark.lesson
def test_the_rows_of_a_batch_must_not_mix():
    assert run(ROWS).passed, run(ROWS).text()
    mixed = ROWS.replace("f * c +", "f * c.mean(axis=0) +")
    found = {finding.part: finding.text for finding in run(mixed).mistakes}
    assert found["lstm_cell_step"].startswith(
        "right for one row, wrong for a batch of 3 different rows: h_t of row 0, step 0, unit "
    )
    assert "tried: lstm_forward: a batch of 3 rows" in run(ROWS).text()
    late = ROWS.replace("hs[:, t] = h\n", "hs[:, t] = h\n        h = h[:1] + 0 * h\n")
    assert "lstm_forward: right for one row, wrong for a batch of 3" in run(late).text()
    assert run(ROWS.replace("return hs, (h, c)", "return hs, h")).passed
    alone = mixed.replace("(N, H)", "(1, H)").replace("(N, I)", "(1, I)")
    assert run(alone).passed
    unsaid = re.sub(r'""".*?"""', "pass", mixed)
    report = run(unsaid)
    assert report.passed
    assert "lstm_cell_step: right for one row, wrong for a batch" in notes(report)[0]


@pytest.mark.lesson
def test_a_layer_that_could_be_taken_for_a_step_is_not_given_rows_for_steps():
    layer = """\
class LSTM:
    def __init__(self, input_size, hidden_size):
        self.W_ih, self.W_hh = np.zeros((2, 2)), np.zeros((2, 2))
        self.b_ih, self.b_hh = np.zeros(2), np.zeros(2)

    def forward(self, x, state=None):
        \'\'\'x (T, N, I)\'\'\'
        (h, c), out = state, []
        for t in range(len(x)):
            z = x[t] @ self.W_ih.T + h @ self.W_hh.T + self.b_ih + self.b_hh
            i, f, g, o = np.split(z, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            out.append(h)
        return np.stack(out), (h, c)
"""
    report = run(HEAD + layer)
    assert report.passed, report.text()


# The order of fused gates.

FUSED = (
    HEAD
    + '''\
def lstm_step(x, h, c, p):
    """One step; h and c (H,)."""
    z = p["W_ih"] @ x + p["W_hh"] @ h + p["b_ih"] + p["b_hh"]
    i, f, g, o = np.split(z, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c
'''
)


@pytest.mark.lesson
def test_pytorchs_names_mean_pytorchs_order():
    assert run(FUSED).passed
    swapped = FUSED.replace("i, f, g, o =", "f, i, g, o =")
    report = run(swapped)
    assert "the input gate and the forget gate swapped (i ↔ f)" in only(report)
    assert "W_ih is PyTorch's name, so the gates are taken in the order i, f, g, o; if" in (
        report.text()
    )
    assert run(swapped.replace("One step;", "Gates in the order f, i, g, o;")).passed


@pytest.mark.lesson
def test_an_order_that_was_inferred_is_said_to_be():
    other = FUSED.replace("_ih", "x").replace("_hh", "h").replace('p["bx"] + p["bh"]', 'p["b"]')
    note = "the order of the gates, f, i, g, o, was inferred, so a swap of gates"
    report = run(other.replace("i, f, g, o =", "f, i, g, o ="))
    assert report.passed
    assert f"· lstm_step: {note}" in report.text()
    told = run(other.replace("One step;", "Gates in the order i, f, g, o;"))
    assert told.passed
    assert "was inferred" not in told.text()


# Where the convention is open, too.


@pytest.mark.lesson
def test_what_differs_is_told_under_the_convention_that_fits_best():
    figo = FUSED.replace("_ih", "x").replace("_hh", "h").replace('p["bx"] + p["bh"]', 'p["b"]')
    figo = figo.replace("i, f, g, o =", "f, i, g, o =")
    only_c = run(figo.replace("np.tanh(c), c\n", "np.tanh(c), c * 1.01\n"))
    assert only(only_c).startswith("the first quantity that differs is c_t (step 0, unit ")
    assert "gates in the order f, i, g, o" in only_c.assumed[0]
    gate = run(figo.replace("sigmoid(i) *", "sigmoid(i)**1.1 *"))
    assert only(gate).startswith("the first quantity that differs is i_t (the input gate) (")
    crossed = re.sub(r'params\["([Wb])(.)"\]', r'params["\1_\2"]', STEP).replace("[h; x]", "both")
    crossed = crossed.replace("[h_prev, x_t]", "[x_t, h_prev]")
    report = run(crossed.replace("np.tanh(c_t), c_t", "np.tanh(c_t) * 1.01, c_t"))
    assert only(report).startswith("the first quantity that differs is ")
    assert "z_t" not in only(report)
    assert "W·x on [x; h]" in report.assumed[0]


@pytest.mark.lesson
def test_a_sequence_alone_is_told_under_the_convention_that_fits_best():
    loop = SEQUENCE.split("def lstm_output_layer")[0].replace("lstm_cell_step", "one_of_mine")
    loop = re.sub(r'params\["([Wb])(.)"\]', r'params["\1_\2"]', loop).replace("[h; x]", "both")
    loop = loop.replace("[h_prev, x_t]", "[x_t, h_prev]")
    report = run(loop.replace("states.append((h, c))", "states.append((h, c * 1.01))"))
    assert only(report).startswith("the first state that differs is c of step 0 (unit")
    assert "W·x on [x; h]" in report.assumed[0]


@pytest.mark.lesson
def test_a_state_in_the_order_of_tensorflow():
    other = STEP.replace("x_t, h_prev, c_prev, params", "x_t, state, params")
    other = other.replace("    hx =", "    c_prev, h_prev = state\n    hx =")
    other = other.replace("o * np.tanh(c_t), c_t", "c_t, o * np.tanh(c_t)")
    assert "with the state taken and returned as (c, h), as TensorFlow has it" in only(run(other))


# What follows from a mistake is no mistake of its own.


def notes(report):
    return [
        f"{finding.part}: {finding.text}" for finding in report.findings if finding.kind == "note"
    ]


@pytest.mark.lesson
def test_a_sequence_is_not_blamed_for_its_step():
    odd = SEQUENCE.replace('params["bi"]', '2 * params["bi"]')
    report = run(odd)
    assert only(report).startswith("the first quantity that differs is z_t of the input gate")
    assert "lstm_forward: not judged: it uses lstm_cell_step, which is wrong" in notes(report)
    assert [f.part for f in report.findings if f.kind == "passed"] == ["lstm_output_layer"]
    own = odd.replace("h, c = lstm_cell_step(x, h, c, params)", "h, c = 0.5 * h, 0.5 * c")
    assert [finding.part for finding in run(own).mistakes] == ["lstm_cell_step", "lstm_forward"]
    through = odd.replace("h, c = lstm_cell_step(x", "h, c = once(x")
    through += "\n\ndef once(*values):\n    return lstm_cell_step(*values)\n"
    assert len(run(through).mistakes) == 1
    few = odd.replace("return states\n", "return states[1:]\n")
    assert "it returns 5 states; expected 6, one a step" in run(few).text()


@pytest.mark.lesson
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    c_t = f", "    c_prev[:] = 0\n    c_t = f", "c_prev changed in place"),
        ("return o * np.tanh(c_t), c_t", "return np.append(c_t, o)", "it returns an array of shap"),
        ("c_prev, params):", "c_prev, params, debug):", "what the arguments debug are for is not"),
    ],
)
def test_a_sequence_is_not_blamed_for_what_its_step_does_otherwise(old, new, said):
    report = run(SEQUENCE.replace(old, new))
    texts = [f"{f.part}: {f.text}" for f in report.mistakes if "changed" not in f.text]
    assert not any(text.startswith("lstm_forward") for text in texts), report.text()
    assert said in report.text()
    assert "lstm_forward: not judged: it uses lstm_cell_step, which is wrong" in notes(report)


@pytest.mark.lesson
def test_a_way_back_through_time_is_not_blamed_for_its_step():
    for old, new in (("dc * g * i", "2 * dc * g * i"), ("dc = dc_t + ", "dc = ")):
        report = run(BACK_SEQUENCE.replace(old, new))
        assert [finding.part for finding in report.mistakes] == ["lstm_cell_step_backward"]
        said = "lstm_backward: not judged: it uses lstm_cell_step_backward, which is wrong"
        assert said in notes(report)


ALL = "[(h0, c0), *after]"
AFTER = (
    "    dX, dh, dc, total",
    "    after = lstm_forward(X_seq, h0, c0, params)\n    dX, dh, dc, total",
)


@pytest.mark.lesson
@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ([("(*states[t], params", "(X_seq[t], *after[t], params"), AFTER], "states after"),
        ([("(*states[t], params", "(X_seq[t], *after[t - 1], params"), AFTER], "start missing"),
        (
            [("(*states[t], params", f"(X_seq[t], *{ALL}[t - 1], params"), AFTER],
            "states two before",
        ),
        ([("dx, dh, dc, grads =", "dx, dh, _, grads =")], "dc_next kept"),
        ([("dh_states[t] + dh,", "dh,")], "dh unused"),
    ],
)
def test_what_a_way_back_through_time_gives_its_step(changes, name):
    source = BACK_SEQUENCE
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    report = run(source)
    assert only(report)
    assert report.mistakes[0].names == (name,)


@pytest.mark.lesson
def test_a_backward_step_that_passed_is_not_to_be_looked_at_first():
    source = BACK_SEQUENCE.replace("dh_states[t] + dh,", "1.5 * dh_states[t] + dh,")
    said = "wrong for a single step already, though the backward step is right: look at which"
    assert f"lstm_backward: {said} states and gradients it gets" in notes(run(source))


# Weights that are arguments, and weights in a list.


@pytest.mark.lesson
@pytest.mark.parametrize("head", ["x, h, c, W, b", "x, h, c, *, W, b", "x, state, W, b"])
def test_w_beside_a_bias_is_a_weight(head):
    body = f'''\
def lstm_step({head}):
    """Gates in the order i, f, g, o; h and c (H,); W acts on [h; x]."""
{"    h, c = state" if "state" in head else ""}
    i, f, g, o = np.split(W @ np.concatenate([h, x]) + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c
'''
    report = run(HEAD + body)
    assert report.passed, report.text()
    apart = body.replace("W, b)", "W, U, b)").replace("W @ np.concatenate([h, x])", "W @ x + U @ h")
    report = run(HEAD + apart.replace("; W acts on [h; x]", ""))
    assert report.passed, report.text()
    swapped = run(HEAD + body.replace("i, f, g, o =", "f, i, g, o ="))
    assert "the input gate and the forget gate swapped" in only(swapped)


LIST = (
    HEAD
    + """\
def lstm(inputs, state, params):
    [W_xi, W_hi, b_i, W_xf, W_hf, b_f, W_xo, W_ho, b_o, W_xc, W_hc, b_c, W_hq, b_q] = params
    (H, C) = state
    outputs = []
    for X in inputs:
        I = sigmoid(X @ W_xi + H @ W_hi + b_i)
        F = sigmoid(X @ W_xf + H @ W_hf + b_f)
        O = sigmoid(X @ W_xo + H @ W_ho + b_o)
        C = F * C + I * np.tanh(X @ W_xc + H @ W_hc + b_c)
        H = O * np.tanh(C)
        outputs.append(H)
    return outputs, (H, C)
"""
)


@pytest.mark.lesson
def test_params_that_are_unpacked_in_an_order():
    assert run(LIST).passed, run(LIST).text()
    assert "the bias of the forget gate used for the input gate" in only(
        run(LIST.replace("H @ W_hi + b_i", "H @ W_hi + b_f"))
    )
    names = "Wf, bf, Wi, bi, Wc, bc, Wo, bo"
    several = SEQUENCE.replace("    hx =", f"    {names} = params\n    hx =")
    several = re.sub(r'params\["(..)"\]', r"\1", several)
    assert run(several).passed, run(several).text()
    again = run(several.replace("sigmoid(Wi @ hx + bi)", "sigmoid(Wf @ hx + bf)"))
    assert "the input gate computed as the forget gate is" in again.mistakes[0].text


@pytest.mark.lesson
@pytest.mark.parametrize("new", ["a, b, d, e, k, l, m, n = params", "Wf = params[0]"])
def test_params_whose_order_is_not_told(new):
    report = run(STEP.replace("    hx =", f"    {new}\n    hx ="))
    assert only(report) == 'params: pass a dict, so that names tell what is what: params["Wf"]'
