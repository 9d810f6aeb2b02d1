"""The LSTM layer: its values, against PyTorch and against itself in other forms; its manners."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lstmkit import LSTM, load
from lstmkit.shapes import InputError
from lstmkit.textbook import lstm_forward

pytestmark = pytest.mark.usefixtures("twin")

# Made by fixtures/make_pytorch_lstm.py with torch 2.13.0 (the file names the version).
PYTORCH = dict(np.load(Path(__file__).parent / "fixtures" / "pytorch_lstm.npz"))
CASES = {
    "plain": {},
    "stacked": {"num_layers": 3},
    "bidirectional": {"bidirectional": True},
    "projected": {"proj_size": 2},
    "everything": {"num_layers": 2, "bidirectional": True, "proj_size": 3},
}
LENGTHS = {"bidirectional": [4, 6, 2], "everything": [1, 6, 3]}

EVERY_VARIANT = {
    "plain": {},
    "projected stack": {"num_layers": 3, "proj_size": 2},
    "peepholes": {"peepholes": True, "cell_clip": 0.7, "gate_clip": 1.5},
    "coupled": {"coupled_gates": True, "peepholes": True, "num_layers": 2},
    "layer norm": {"layer_norm": True, "zoneout": (0.2, 0.1), "learn_initial_state": True},
    "other activations": {"activations": ("hard_sigmoid", "softsign", "identity")},
    "activations with numbers": {
        "activations": (("hard_sigmoid", 1 / 6, 0.5), "elu", ("scaled_tanh", 1.7, 0.6)),
    },
}


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def make(options, dtype="float64", sizes=(3, 4), seed=0):
    lstm = LSTM(*sizes, dtype=dtype, seed=seed, **options)
    rng = np.random.default_rng(seed + 1)
    for array in lstm.parameters.values():
        array += (0.5 * rng.standard_normal(array.shape)).astype(dtype)
    return lstm, rng


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_pytorch(name):
    case = {k.split(".", 1)[1]: v for k, v in PYTORCH.items() if k.startswith(name + ".")}
    lstm = LSTM(3, 5, dtype="float64", **CASES[name])
    for key, array in lstm.parameters.items():
        array[:] = case["weight." + key] if "bias" not in key else (
            case["weight." + key.replace("bias", "bias_ih")]
            + case["weight." + key.replace("bias", "bias_hh")]
        )  # fmt: skip
    y, (h, c), tape = lstm.forward(case["x"], (case["h0"], case["c0"]), LENGTHS.get(name))
    dx, (dh0, dc0), grads = lstm.backward(tape, case["dy"], (case["dh"], case["dc"]))
    found = {"y": y, "h": h, "c": c, "dx": dx, "dh0": dh0, "dc0": dc0}
    for key, gradient in grads.items():  # each of PyTorch's two biases has our one's gradient
        found["grad." + key.replace("bias", "bias_ih")] = gradient
    errors = {key: relative(array, case[key]) for key, array in found.items()}
    assert max(errors.values()) <= 1e-10, errors


def test_the_pytorch_numbers_name_their_origin():
    assert str(PYTORCH["torch_version"]).startswith("2.13.0")


def test_agrees_with_the_textbook():
    lstm, rng = make({})
    x, h0, c0 = rng.standard_normal((6, 3)), rng.standard_normal(4), rng.standard_normal(4)
    y, (h, c) = lstm(x[None], (h0[None, None], c0[None, None]))
    steps = lstm_forward(x, h0, c0, lstm.to_textbook())
    np.testing.assert_allclose(y[0], [h_t for h_t, _ in steps], rtol=1e-12)
    np.testing.assert_allclose(h[0, 0], steps[-1][0], rtol=1e-12)
    np.testing.assert_allclose(c[0, 0], steps[-1][1], rtol=1e-12)
    again = LSTM.from_textbook(lstm.to_textbook())
    np.testing.assert_array_equal(again(x[None])[0], lstm(x[None])[0])
    columns = {k: v.reshape(-1, 1) if k[0] == "b" else v for k, v in lstm.to_textbook().items()}
    np.testing.assert_array_equal(LSTM.from_textbook(columns)(x[None])[0], lstm(x[None])[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EVERY_VARIANT)
def test_steps_chunks_and_whole_sequences_are_the_same(name, dtype):
    lstm, rng = make(EVERY_VARIANT[name], dtype)
    x = rng.standard_normal((3, 9, 3)).astype(dtype)
    tolerance = 1e-12 if dtype == "float64" else 2e-5  # products of other shapes round otherwise
    y, (h, c) = lstm(x)
    assert y.dtype == h.dtype == c.dtype == dtype

    state, parts = None, []
    for chunk in (x[:, :2], x[:, 2:3], x[:, 3:3], x[:, 3:]):
        part, state = lstm(chunk, state)
        parts.append(part)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), y, tolerance, tolerance)
    np.testing.assert_allclose(state[0], h, tolerance, tolerance)
    np.testing.assert_allclose(state[1], c, tolerance, tolerance)

    stream = lstm.stream(batch_size=3)
    steps = np.stack([stream.step(x[:, t]) for t in range(9)], axis=1)
    np.testing.assert_allclose(steps, y, tolerance, tolerance)
    np.testing.assert_allclose(stream.state[1], c, tolerance, tolerance)

    y_train, (h_train, _), _ = lstm.forward(x)
    np.testing.assert_array_equal(y_train, y)
    np.testing.assert_array_equal(h_train, h)


def test_inference_in_blocks_is_the_same(monkeypatch):
    """Without a tape x is projected in blocks; their borders must not show."""
    lstm, rng = make({"layer_norm": True})
    x = rng.standard_normal((5, 40, 3))
    lengths = rng.integers(0, 41, 5)
    y, _ = lstm(x, lengths=lengths)
    for block in (1, 7, 64):
        monkeypatch.setattr("lstmkit.engine.numpy_twin.BLOCK", block)
        np.testing.assert_allclose(lstm(x, lengths=lengths)[0], y, 1e-12, 1e-12)


@pytest.mark.parametrize("directions", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("name", EVERY_VARIANT)
def test_a_ragged_batch_is_each_sequence_alone(name, directions):
    lstm, rng = make({**EVERY_VARIANT[name], "bidirectional": directions})
    lengths = np.array([3, 0, 7, 7, 1])
    x = rng.standard_normal((5, 7, 3))
    h0 = rng.standard_normal((len(lstm.cells), 5, lstm.cells[0].output_size))
    c0 = rng.standard_normal((len(lstm.cells), 5, 4))
    dy, dh, dc = rng.standard_normal((5, 7, lstm.output_size)), 0 * h0 + 1, 0 * c0 - 1
    y, (h, c), tape = lstm.forward(x, (h0, c0), lengths)
    dx, (dh0, dc0), grads = lstm.backward(tape, dy, (dh, dc))
    total = {key: np.zeros_like(gradient) for key, gradient in grads.items()}
    for n, length in enumerate(lengths):
        one, part = slice(n, n + 1), slice(0, length)
        y1, (h1, c1), tape = lstm.forward(x[one, part], (h0[:, one], c0[:, one]))
        dx1, (dh1, dc1), grads1 = lstm.backward(tape, dy[one, part], (dh[:, one], dc[:, one]))
        np.testing.assert_allclose(y[one, part], y1, 1e-11, 1e-12)
        assert not y[n, length:].any()
        assert not dx[n, length:].any()
        np.testing.assert_allclose(dx[one, part], dx1, 1e-11, 1e-12)
        for many, alone in ((h, h1), (c, c1), (dh0, dh1), (dc0, dc1)):
            np.testing.assert_allclose(many[:, one], alone, 1e-11, 1e-12)
        for key in total:
            total[key] += grads1[key]
    for key in total:
        np.testing.assert_allclose(grads[key], total[key], 1e-10, 1e-11)
    np.testing.assert_array_equal(h[:, 1], h0[:, 1])  # length 0 keeps its state


@pytest.mark.parametrize("directions", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("name", EVERY_VARIANT)
def test_the_parts_between_resets_are_alone(name, directions):
    lstm, rng = make({**EVERY_VARIANT[name], "bidirectional": directions})
    x = rng.standard_normal((2, 9, 3))
    reset = np.zeros((2, 9), bool)
    reset[0, [0, 4]] = reset[1, [2, 6]] = True
    y, _ = lstm(x, lengths=[9, 8], reset=reset)
    for n, start, stop in ((0, 0, 4), (0, 4, 9), (1, 0, 2), (1, 2, 6), (1, 6, 8)):
        alone, _ = lstm(x[n : n + 1, start:stop])
        np.testing.assert_allclose(y[n : n + 1, start:stop], alone, 1e-11, 1e-12)


def test_a_reset_at_the_first_step_drops_the_given_state():
    lstm, rng = make({})
    x, state = rng.standard_normal((1, 5, 3)), (np.ones((1, 1, 4)), np.ones((1, 1, 4)))
    reset = np.array([[True] + [False] * 4])
    np.testing.assert_array_equal(lstm(x, state, reset=reset)[0], lstm(x)[0])


@pytest.mark.parametrize("name", EVERY_VARIANT)
def test_trace_shows_the_gates_and_states(name):
    lstm, rng = make({**EVERY_VARIANT[name], "bidirectional": True})
    x, lengths = rng.standard_normal((3, 6, 3)), [6, 2, 0]
    trace = lstm.trace(x, lengths=lengths)
    y, (_, c) = lstm(x, lengths=lengths)
    cells = len(lstm.cells)
    assert all(part.shape == (cells, 3, 6, 4) for part in trace[:5])
    last = np.concatenate([trace.h[-2], trace.h[-1]], axis=-1)
    np.testing.assert_array_equal(last, y)
    np.testing.assert_array_equal(trace.c[0, 0, 5], c[0, 0])
    np.testing.assert_array_equal(trace.c[1, 1, 0], c[1, 1])
    assert not any(part[:, 1, 2:].any() or part[:, 2].any() for part in trace)
    if name == "plain":
        f, i, g = trace.f[:, :, 1:], trace.i[:, :, 1:], trace.g[:, :, 1:]
        inside = np.arange(1, 6) < np.array(lengths)[:, None]
        expected = f[0] * trace.c[0, :, :-1] + i[0] * g[0]
        np.testing.assert_allclose(trace.c[0, :, 1:][inside], expected[inside], rtol=1e-12)
        np.testing.assert_allclose(trace.h, trace.o * np.tanh(trace.c), rtol=1e-12)


def test_gates_saturate_exactly_and_silently():
    for dtype in ("float32", "float64"):
        lstm = LSTM(1, 2, dtype=dtype, seed=0)
        for array in lstm.parameters.values():
            array[:] = 0
        lstm.parameters["weight_ih_l0"][:] = [[1000], [-1000]] * 4
        trace = lstm.trace(np.ones((1, 2, 1), dtype))
        np.testing.assert_array_equal(trace.i[0, 0], [[1, 0]] * 2)
        np.testing.assert_array_equal(trace.g[0, 0], [[1, -1]] * 2)
        assert np.isfinite(lstm.stream().step(np.ones((1, 1), dtype))).all()


# What ONNX's LSTM operator says that each function is (onnx.ai/onnx/operators/onnx__LSTM.html), a
# number at a time.
FORMULAS = [
    ("relu", lambda x: max(0.0, x)),
    ("tanh", math.tanh),
    ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
    ("affine", lambda x: x),
    (("affine", -0.5, 2.0), lambda x: -0.5 * x + 2),
    ("leaky_relu", lambda x: x if x >= 0 else 0.01 * x),
    (("leaky_relu", -0.3), lambda x: x if x >= 0 else -0.3 * x),
    ("thresholded_relu", lambda x: x if x >= 1 else 0.0),
    (("thresholded_relu", -0.75), lambda x: x if x >= -0.75 else 0.0),
    ("scaled_tanh", math.tanh),
    (("scaled_tanh", 1.7159, 2 / 3), lambda x: 1.7159 * math.tanh(2 / 3 * x)),
    ("hard_sigmoid", lambda x: min(max(0.2 * x + 0.5, 0.0), 1.0)),
    (("hard_sigmoid", -0.5, 0.25), lambda x: min(max(-0.5 * x + 0.25, 0.0), 1.0)),
    ("elu", lambda x: x if x >= 0 else math.expm1(x)),
    (("elu", -1.5), lambda x: x if x >= 0 else -1.5 * math.expm1(x)),
    ("softsign", lambda x: x / (1 + abs(x))),
    ("softplus", lambda x: math.log1p(math.exp(x)) if x < 30 else x + math.exp(-x)),
    ("identity", lambda x: x),
]


def through(function, x, dtype):
    """What an activation makes of each number, by way of a layer whose gates are always 1."""
    lstm = LSTM(1, 1, dtype=dtype, activations=(("affine", 0, 1), function, "identity"))
    for array in lstm.parameters.values():
        array[:] = 0
    lstm.parameters["weight_ih_l0"][:] = [[0], [0], [1], [0]]
    return lstm(np.asarray(x, dtype).reshape(-1, 1, 1))[0].ravel()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("function", "formula"), FORMULAS, ids=[str(f) for f, _ in FORMULAS])
def test_activations_are_those_of_onnx(function, formula, dtype):
    edges = [0.0, 1.0, -1.0, -0.75, 0.5, 2.5, -2.5, 1e-4, -1e-4, 60.0, -60.0]
    x = np.concatenate([np.linspace(-9, 9, 301), edges]).astype(dtype)
    found = through(function, x, dtype)
    expected = np.array([formula(float(number)) for number in x])
    limit = 2e-6 if dtype == "float32" else 4e-15
    np.testing.assert_allclose(found, expected, rtol=limit, atol=limit / 100)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_far_out(dtype):
    """Softplus and elu have an e^x in them that overflows; nothing is said about it."""
    far = [1000, -1000]
    np.testing.assert_array_equal(through("softplus", far, dtype), [1000, 0])
    np.testing.assert_array_equal(through("elu", far, dtype), [1000, -1])
    np.testing.assert_array_equal(through(("elu", 0), far, dtype), [1000, 0])
    tiny = np.array([-50, -20, -80], dtype)
    np.testing.assert_allclose(through("softplus", tiny, dtype), np.exp(tiny), rtol=1e-5)
    for function, _ in FORMULAS:
        assert np.isnan(through(function, [np.nan], dtype)).all(), function


def test_activations_have_one_form():
    """A name alone where the numbers are its own, so that a config says one thing in one way."""
    given = (["leaky_relu", 0.01], ("elu", 2), ("tanh",))
    lstm = LSTM(2, 3, activations=given, seed=0)
    assert lstm.config["activations"] == ["leaky_relu", ["elu", 2.0], "tanh"]
    assert lstm.cells[0].activations == ("leaky_relu", ("elu", 2.0), "tanh")
    assert json.loads(json.dumps(lstm.config)) == lstm.config
    again = LSTM.from_parameters(json.loads(json.dumps(lstm.config)), lstm.parameters)
    assert again.cells == lstm.cells
    assert LSTM(2, 3).config["activations"] == ["sigmoid", "tanh", "tanh"]


@pytest.mark.parametrize("function", [("leaky_relu", -1), ("elu", -0.1), ("thresholded_relu", -2)])
def test_a_slope_that_the_value_does_not_tell_is_for_inference(function):
    for place in range(3):
        activations = ["sigmoid", "tanh", "tanh"]
        activations[place] = function
        lstm, rng = make({"activations": activations})
        x = rng.standard_normal((2, 5, 3))
        y, _ = lstm(x)
        np.testing.assert_allclose(lstm.trace(x).h[0], y, rtol=1e-12)
        with pytest.raises(InputError, match="is for inference, as its alpha is negative; call"):
            lstm.forward(x)


def test_dropout_of_layers_is_in_training_only_and_scaled():
    lstm, rng = make({"num_layers": 2, "dropout": 0.5})
    x = rng.standard_normal((2, 4, 3))
    np.testing.assert_array_equal(lstm(x)[0], lstm(x)[0])
    first, second = (lstm.forward(x, rng=np.random.default_rng(7))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first != lstm.forward(x, rng=np.random.default_rng(8))[0]).any()
    _, _, tape = lstm.forward(np.zeros((50, 50, 3)), rng=np.random.default_rng(1))
    values, counts = np.unique(tape.dropped[0], return_counts=True)
    np.testing.assert_array_equal(values, [0, 2])
    assert abs(counts[0] / counts.sum() - 0.5) < 0.02


def test_recurrent_dropout_has_one_mask_a_sequence_and_zoneout_one_a_step():
    lstm, _ = make({"recurrent_dropout": 0.25, "zoneout": (0.5, 0.1)}, sizes=(3, 40))
    _, _, tape = lstm.forward(np.zeros((30, 20, 3)), rng=np.random.default_rng(1))
    masks = tape.cells[0].masks
    assert masks.recurrent.shape == (30, 40)
    assert set(np.unique(masks.recurrent)) == {0, 1 / 0.75}
    assert abs((masks.recurrent == 0).mean() - 0.25) < 0.05
    assert masks.zoneout_c.shape == (600, 40)
    assert abs(masks.zoneout_c.mean() - 0.5) < 0.02
    assert abs(masks.zoneout_h.mean() - 0.1) < 0.02
    kept = masks.zoneout_c[30:60] == 1
    c = tape.cells[0].c
    np.testing.assert_array_equal(c[60:90][kept], c[30:60][kept])


def test_initial_weights():
    lstm = LSTM(8, 16, num_layers=2, peepholes=True, layer_norm=True, seed=3)
    p = lstm.parameters
    assert {a.dtype.name for a in p.values()} == {"float32"}
    np.testing.assert_array_equal(p["bias_l1"], np.repeat([0, 1, 0, 0], 16))
    bound = np.sqrt(6 / (8 + 16))
    assert 0.9 * bound < np.abs(p["weight_ih_l0"]).max() <= bound
    for k in range(4):
        block = p["weight_hh_l0"][16 * k : 16 * (k + 1)]
        np.testing.assert_allclose(block @ block.T, np.eye(16), atol=1e-6)
    blocks = p["weight_hh_l0"].reshape(4, 16, 16)
    assert all((blocks[a] != blocks[b]).any() for a in range(4) for b in range(a))
    assert not p["peephole_l0"].any()
    np.testing.assert_array_equal(p["norm_c_gain_l0"], 1)
    np.testing.assert_array_equal(
        LSTM(8, 16, seed=3).parameters["weight_hh_l0"],
        LSTM(8, 16, seed=3).parameters["weight_hh_l0"],
    )


def test_coupled_cells_have_no_weights_that_do_nothing():
    shapes = {
        k: v.shape for k, v in LSTM(3, 4, coupled_gates=True, peepholes=True).parameters.items()
    }
    assert shapes == {
        "weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_l0": (12,), "peephole_l0": (2, 4),
    }  # fmt: skip


def test_nothing_of_the_callers_is_shared_or_changed():
    lstm, rng = make({"num_layers": 2}, "float64")
    for batch, steps in ((1, 4), (3, 1), (3, 4)):
        x = rng.standard_normal((batch, steps, 3))
        state = tuple(rng.standard_normal((2, batch, 4)) for _ in range(2))
        before = [a.copy() for a in (x, *state, *lstm.parameters.values())]
        y, (h, c), tape = lstm.forward(x, state)
        dy = np.ones_like(y)
        expected = lstm.backward(tape, dy)[2]
        for now, old in zip((x, *state, *lstm.parameters.values()), before, strict=True):
            np.testing.assert_array_equal(now, old)
        for array in (x, y, h, c):
            array[:] = 99
        found = lstm.backward(tape, dy)[2]
        for key in expected:
            np.testing.assert_array_equal(found[key], expected[key])


def test_backward_of_the_final_state_alone():
    lstm, rng = make({})
    x, dh = rng.standard_normal((2, 5, 3)), rng.standard_normal((1, 2, 4))
    y, _, tape = lstm.forward(x)
    dy = np.zeros_like(y)
    dy[:, -1] = dh[0]
    expected = lstm.backward(tape, dy)
    found = lstm.backward(tape, None, (dh, np.zeros((1, 2, 4))))
    np.testing.assert_allclose(found[0], expected[0], 1e-12, 1e-15)


def test_empty_batches_and_sequences():
    lstm = LSTM(3, 4, num_layers=2, bidirectional=True)
    for shape in ((0, 5, 3), (2, 0, 3)):
        y, (h, c), tape = lstm.forward(np.zeros(shape, np.float32))
        assert y.shape == (*shape[:2], 8)
        assert h.shape == c.shape == (4, shape[0], 4)
        dx, _, grads = lstm.backward(tape, y)
        assert dx.shape == shape
        assert not any(gradient.any() for gradient in grads.values())


def test_config_and_parameters_rebuild_the_layer():
    options = {"num_layers": 2, "bidirectional": True, "zoneout": 0.1, "gate_clip": 3}
    lstm, rng = make(options, "float32")
    again = LSTM.from_parameters(lstm.config, lstm.parameters)
    x = rng.standard_normal((2, 5, 3))
    np.testing.assert_array_equal(again(x)[0], lstm(x)[0])
    assert again.config == lstm.config
    assert repr(again) == repr(lstm)
    with pytest.raises(InputError, match="missing \\['bias_l0'\\], unknown \\['bias'\\]"):
        LSTM.from_parameters(
            LSTM(3, 4).config,
            {("bias" if k == "bias_l0" else k): v for k, v in LSTM(3, 4).parameters.items()},
        )
    with pytest.raises(InputError, match="num_layers is 1000000000; expected at most 1024"):
        LSTM.from_parameters({**LSTM(3, 4).config, "num_layers": 10**9}, LSTM(3, 4).parameters)
    with pytest.raises(InputError, match="config cannot be used"):
        LSTM.from_parameters({"hidden": 3}, {"w": 0})


X = np.zeros((5, 7, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lstm: lstm(X[0]), "lstm: x has shape (7, 3); expected (batch, time, input_size=3)"),
        (
            lambda lstm: lstm(X[..., :2]),
            "lstm: x has shape (5, 7, 2); expected (batch, time, input_size=3)",
        ),
        (lambda lstm: lstm(X.astype(str)), "lstm: x has dtype <U32; expected real numbers"),
        (lambda lstm: lstm(X + 1j), "lstm: x has dtype complex128; expected real numbers"),
        (lambda lstm: lstm([[[1, 2, 3]], [[1, 2]]]), "lstm: x is a ragged nested list"),
        (lambda lstm: lstm(X, lengths=[1, 2]), "lstm: lengths has shape (2,); expected (batch=5,)"),
        (lambda lstm: lstm(X, lengths=[1, 2, 3, 8, 0]), "lstm: lengths[3] is 8; expected 0 to 7"),
        (lambda lstm: lstm(X, lengths=[1, 2, -1, 7, 0]), "lstm: lengths[2] is -1; expected 0 to 7"),
        (
            lambda lstm: lstm(X, lengths=[1.0] * 5),
            "lstm: lengths has dtype float64; expected integers",
        ),
        (
            lambda lstm: lstm(X, reset=np.zeros((5, 7))),
            "lstm: reset has dtype float64; expected booleans",
        ),
        (
            lambda lstm: lstm(X, reset=np.zeros((5, 6), bool)),
            "lstm: reset has shape (5, 6); expected (batch=5, time=7)",
        ),
        (lambda lstm: lstm(X, np.zeros((1, 5, 4))), "lstm: state is not a pair of arrays (h, c)"),
        (
            lambda lstm: lstm(X, (np.zeros((1, 4, 4)), np.zeros((1, 5, 4)))),
            "lstm: h has shape (1, 4, 4); expected (layers * directions=1, batch=5, output=4)",
        ),
        (
            lambda lstm: lstm(X, (np.zeros((1, 5, 4)), np.zeros((5, 4)))),
            "lstm: c has shape (5, 4); expected (layers * directions=1, batch=5, hidden_size=4)",
        ),
        (
            lambda lstm: lstm.backward(lstm.forward(X)[2], X),
            "lstm.backward: dy has shape (5, 7, 3); expected (batch=5, time=7, output=4)",
        ),
        (
            lambda lstm: lstm(X, reset=[[True], [True, False]]),
            "lstm: reset is a ragged nested list",
        ),
        (lambda _: LSTM(3, 4, seed=-1), "lstm: seed is -1; expected at least 0"),
        (lambda _: LSTM(3, 2**25), "lstm: hidden_size is 33554432; expected at most 16777216"),
        (lambda _: LSTM(3, 4, 10**9), "lstm: num_layers is 1000000000; expected at most 1024"),
        (lambda _: LSTM.from_parameters({"input_size": 3}, {}), "lstm: the config cannot be used"),
        (lambda _: LSTM(3, 0), "lstm: hidden_size is 0; expected at least 1"),
        (lambda _: LSTM(2.5, 4), "lstm: input_size is 2.5; expected a whole number"),
        (
            lambda _: LSTM(3, 4, proj_size=4),
            "lstm: proj_size is 4; expected less than hidden_size=4",
        ),
        (lambda _: LSTM(3, 4, dropout=1), "lstm: dropout is 1; expected at least 0 and below 1"),
        (
            lambda _: LSTM(3, 4, zoneout=(0.1,)),
            "lstm: zoneout is (0.1,); expected one number or two (c, h)",
        ),
        (lambda _: LSTM(3, 4, cell_clip=0), "lstm: cell_clip is 0; expected above 0"),
        (
            lambda _: LSTM(3, 4, dtype="float16"),
            "lstm: dtype is 'float16'; expected one of 'float32'",
        ),
        (
            lambda _: LSTM(3, 4, activations=("sigmoid", "tanh", "swish")),
            "lstm: activations is 'swish'; expected one of 'sigmoid'",
        ),
        (
            lambda _: LSTM(3, 4, activations="tanh"),
            "lstm: activations is 'tanh'; expected three names",
        ),
        (
            lambda _: LSTM(3, 4, activations=("sigmoid", ("relu", 1), "tanh")),
            "lstm: activations is ('relu', 1); expected 'relu'",
        ),
        (
            lambda _: LSTM(3, 4, activations=("sigmoid", ["scaled_tanh", 1], "tanh")),
            "lstm: activations is ['scaled_tanh', 1]; expected 'scaled_tanh' or ('scaled_tanh', a",
        ),
        (
            lambda _: LSTM(3, 4, activations=("sigmoid", ("elu", float("nan")), "tanh")),
            "lstm: alpha of elu is nan; expected at least -3.40282e+38",
        ),
        (
            lambda _: LSTM(3, 4, activations=("sigmoid", ("elu", 10**400), "tanh")),
            "lstm: alpha of elu is 1000",
        ),
        (
            lambda _: LSTM(3, 4, activations=("sigmoid", ("affine", 1, "2"), "tanh")),
            "lstm: beta of affine is '2'; expected a number",
        ),
        (
            lambda _: LSTM(3, 4, activations=("sigmoid", {"elu": 1}, "tanh")),
            "lstm: activations is {'elu': 1}; expected a name, or a tuple of a name and numbers",
        ),
        (lambda _: LSTM(3, 4, bidirectional=True).stream(), "lstm.stream: a bidirectional layer"),
        (
            lambda _: LSTM(3, 4, num_layers=2).to_textbook(),
            "lstm.to_textbook: the textbook has one layer",
        ),
        (
            lambda _: LSTM.from_textbook({"Wi": 0}),
            "lstm.from_textbook: params lacks Wf, WC, Wo, bi",
        ),
    ],
)
def test_errors_say_who_what_and_why(call, message):
    with pytest.raises(InputError) as caught:
        call(LSTM(3, 4))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_quantize_rounds_the_matrices_to_bfloat16(tmp_path):
    lstm, rng = make({"num_layers": 2, "proj_size": 2}, "float32")
    half = lstm.quantize("bfloat16")
    for name, array in lstm.parameters.items():
        found = half.parameters[name]
        if not name.startswith("weight"):
            np.testing.assert_array_equal(found, array)
            continue
        assert not (found.view(np.uint32) & 0xFFFF).any()
        assert 0 < (np.abs(found - array) / np.abs(array)).max() <= 2**-8
    # 1 + 2^-8 is halfway between two: to even, down; 1 + 3 · 2^-8 as well: up.
    from lstmkit.layers.lstm import round_to_bfloat16

    halfway = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, np.inf, 0], np.float32)
    np.testing.assert_array_equal(
        round_to_bfloat16(halfway), np.float32([1, 1 + 2**-6, -1, np.inf, 0])
    )
    x = rng.standard_normal((2, 6, 3)).astype(np.float32)
    error = np.abs(half(x)[0] - lstm(x)[0]).max()
    assert 0 < error < 0.02
    half.save(tmp_path / "half")
    again = load(tmp_path / "half")
    np.testing.assert_array_equal(again(x)[0], half(x)[0])
    with pytest.raises(InputError, match="a quantized layer is for inference"):
        half.forward(x)
    with pytest.raises(ValueError, match="read-only"):
        half.parameters["weight_ih_l0"][0] = 1
    with pytest.raises(InputError, match="the layer is float64"):
        LSTM(3, 4, dtype="float64").quantize()
    with pytest.raises(InputError, match="weights is 'int8'; expected one of 'bfloat16'"):
        lstm.quantize("int8")
