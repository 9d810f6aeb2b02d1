"""One ONNX LSTM node in our engine, against the page of the operator followed step by step."""

from __future__ import annotations

import numpy as np
import onnx_spec
import pytest

from lstmkit.formats.onnx.node import directions, run_lstm
from lstmkit.shapes import InputError

NODE = "LSTM node 'n'"


def compare(attributes, inputs, tolerance, dtype):
    arrays = [
        a.astype(dtype) if a is not None and a.dtype.kind == "f" else a for a in inputs.values()
    ]
    ours = run_lstm(NODE, attributes, arrays)
    theirs = onnx_spec.lstm(attributes, *arrays)
    for name, a, b in zip(("Y", "Y_h", "Y_c"), ours, theirs, strict=True):
        assert a.dtype == dtype
        assert a.shape == b.shape, name
        bound = tolerance * max(1.0, float(np.abs(b).max(initial=0)))
        assert np.abs(a - b).max(initial=0) <= bound, (name, attributes)


def case(seed=0, **attributes):
    """A small bidirectional node with every input."""
    rng = np.random.default_rng(seed)
    T, N, H, D = 4, 3, 3, 2
    shapes = {"X": (T, N, 2), "W": (D, 4 * H, 2), "R": (D, 4 * H, H), "B": (D, 8 * H)}
    shapes |= {"sequence_lens": (N,), "initial_h": (D, N, H), "initial_c": (D, N, H)}
    shapes |= {"P": (D, 3 * H)}
    inputs = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    inputs["sequence_lens"] = np.array([4, 0, 2], np.int32)
    return {"direction": "bidirectional", **attributes}, inputs


def test_random_nodes_with_every_attribute_follow_the_operators_page(twin):
    for seed in range(120):
        attributes, inputs = onnx_spec.random_case(np.random.default_rng([5, seed]))
        compare(attributes, inputs, 1e-12, np.float64)
        compare(attributes, inputs, 1e-5, np.float32)


def test_a_length_of_zero_gives_zeros_even_with_an_initial_state():
    attributes, inputs = case()
    Y, Y_h, Y_c = run_lstm(NODE, attributes, [*inputs.values()])
    assert not Y[:, :, 1].any()
    assert not Y_h[:, 1].any()
    assert not Y_c[:, 1].any()
    assert not Y[2:, :, 2].any()
    assert (Y_h[0, 2] == Y[1, 0, 2]).all()  # the true end of the forward direction
    assert (Y_h[1, 2] == Y[0, 1, 2]).all()


@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (3, 0), (0, 0)])
def test_no_steps_and_no_rows(steps, batch):
    attributes, inputs = case()
    arrays = [np.zeros((steps, batch, 2), np.float32), inputs["W"], inputs["R"]]
    Y, Y_h, Y_c = run_lstm(NODE, attributes, arrays)
    assert Y.shape == (steps, 2, batch, 3)
    assert Y_h.shape == Y_c.shape == (2, batch, 3)
    assert not Y_h.any()


def test_half_precision_is_computed_in_single_and_rounded_at_the_end():
    attributes, inputs = case()
    half = {k: a.astype(np.float16) if a.dtype.kind == "f" else a for k, a in inputs.items()}
    wide = {k: a.astype(np.float32) if a.dtype.kind == "f" else a for k, a in half.items()}
    ours = run_lstm(NODE, attributes, [*half.values()])
    theirs = run_lstm(NODE, attributes, [*wide.values()])
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == np.float16
        assert (a == b.astype(np.float16)).all()


def test_alpha_and_beta_go_in_order_to_the_functions_that_take_one():
    names = ["HardSigmoid", "TANH", "leakyrelu", "Sigmoid", "ScaledTanh", "Elu"]
    from lstmkit.formats.onnx.node import _activations

    attributes = {"activations": names, "activation_alpha": [0.3, 0.02], "activation_beta": [0.4]}
    assert _activations(NODE, attributes, 2) == [
        (("hard_sigmoid", 0.3, 0.4), "tanh", ("leaky_relu", 0.02)),
        ("sigmoid", "scaled_tanh", "elu"),  # the lists are at their end: the defaults
    ]


def test_a_coupled_cell_keeps_no_block_for_the_forget_gate():
    attributes, inputs = case(input_forget=1)
    ways = directions(NODE, attributes, *(inputs[name] for name in "WRBP"))
    assert [way.backwards for way in ways] == [False, True]
    for way in ways:
        assert way.cell.coupled_gates
        assert {name: array.shape for name, array in way.weights.items()} == way.cell.shapes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"direction": "sideways"},
            "direction is 'sideways'; expected one of 'forward', 'reverse'",
        ),
        ({"direction": "forward"}, "R has shape (2, 12, 3); expected (num_directions=1, "),
        (
            {"hidden_size": 4},
            "R has shape (2, 12, 3); expected (num_directions=2, 4*hidden_size=16",
        ),
        ({"hidden_size": 0}, "hidden_size is 0; expected a whole number above 0"),
        ({"layout": 2}, "layout is 2; expected one of 0, 1"),
        ({"clip": 0.0}, "clip is 0.0; expected a number above 0"),
        ({"clip": float("nan")}, "clip is nan; expected a number above 0"),
        ({"input_forget": 3}, "input_forget is 3; expected one of 0, 1"),
        ({"activations": ["Tanh"] * 3}, "expected 6 names, f, g and h of each direction"),
        ({"activations": ["Tanh"] * 5 + ["Swish"]}, "activation 'Swish' is unknown; expected one"),
        ({"activation_alpha": 0.5}, "activation_alpha is 0.5; expected a list of numbers"),
        ({"projection": 3}, "attribute 'projection' is unknown; expected activation_alpha, "),
    ],
)
def test_an_attribute_that_cannot_be_is_named(change, message):
    attributes, inputs = case(**change)
    with pytest.raises(InputError, match=NODE) as caught:
        run_lstm(NODE, attributes, [*inputs.values()])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("X", np.zeros((4, 3, 7)), "X has shape (4, 3, 7); expected (time, batch, input_size=2)"),
        ("X", np.zeros((4, 3, 2), int), "X has dtype int64; expected floating-point numbers"),
        ("X", None, "input X is missing"),
        ("W", np.zeros((2, 11, 2)), "W has shape (2, 11, 2); expected (num_directions=2, "),
        ("R", np.zeros((12, 3)), "R has shape (12, 3); expected (num_directions, 4*hidden_size"),
        ("B", np.zeros((2, 12)), "B has shape (2, 12); expected (num_directions=2, 8*hidden_size"),
        ("P", np.zeros((2, 12)), "P has shape (2, 12); expected (num_directions=2, 3*hidden_size"),
        ("sequence_lens", np.array([4, 5, 2]), "sequence_lens[1] is 5; expected 0 to 4"),
        ("initial_h", np.zeros((2, 4, 3)), "initial_h has shape (2, 4, 3); expected (num_direct"),
        ("initial_c", np.zeros((3, 2, 3)), "initial_c has shape (3, 2, 3); expected (num_direct"),
    ],
)
def test_an_input_that_does_not_fit_is_named(name, array, message):
    attributes, inputs = case()
    with pytest.raises(InputError, match=NODE) as caught:
        run_lstm(NODE, attributes, [*(inputs | {name: array}).values()])
    assert message in str(caught.value)
