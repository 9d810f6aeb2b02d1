"""The lesson's functions: against formulas written a second time, and gradients by complex step."""

from __future__ import annotations

import decimal
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmkit.textbook import (
    LSTM,
    lstm_backward,
    lstm_cell_step,
    lstm_cell_step_backward,
    lstm_forward,
    lstm_output_layer,
    lstm_output_layer_backward,
    rnn_backward,
    rnn_cell_step,
    rnn_forward,
    sigmoid,
)

WEIGHTS = ("Wf", "Wi", "WC", "Wo")
BIASES = ("bf", "bi", "bC", "bo")
sizes = st.integers(1, 5)
seeds = st.integers(0, 2**32 - 1)


# Cases: every gate has its own weights, states and biases are not zero.


def lstm_case(rng, inputs, hidden, steps, column=False, scale=0.5):
    params = {name: rng.normal(0, scale, (hidden, hidden + inputs)) for name in WEIGHTS}
    params |= {name: rng.normal(0, scale, (hidden, 1) if column else hidden) for name in BIASES}
    return (
        rng.normal(size=(steps, inputs)),
        rng.normal(size=hidden),
        rng.normal(size=hidden),
        params,
    )


def rnn_case(rng, inputs, hidden, steps, column=False):
    params = {
        "W_xh": rng.normal(0, 0.5, (hidden, inputs)),
        "W_hh": rng.normal(0, 0.5, (hidden, hidden)),
        "b_h": rng.normal(0, 0.5, (hidden, 1) if column else hidden),
    }
    return rng.normal(size=(steps, inputs)), rng.normal(size=hidden), params


# The same formulas a second time: one number at a time, with Python's own floats ...


def scalar_sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z >= 0 else 1 - 1 / (1 + math.exp(z))


def scalar_step(x, h, c, params):
    """One step, unit by unit; weights after the first H columns belong to x."""
    hidden = len(h)
    h_new, c_new = [], []
    for unit in range(hidden):
        z = {}
        for gate in "fiCo":
            row = params["W" + gate][unit]
            z[gate] = float(np.ravel(params["b" + gate])[unit])
            z[gate] += sum(float(row[k]) * float(h[k]) for k in range(hidden))
            z[gate] += sum(float(row[hidden + k]) * float(x[k]) for k in range(len(x)))
        kept = scalar_sigmoid(z["f"]) * float(c[unit])
        written = scalar_sigmoid(z["i"]) * math.tanh(z["C"])
        c_new.append(kept + written)
        h_new.append(scalar_sigmoid(z["o"]) * math.tanh(kept + written))
    return h_new, c_new


# ... and with all gates in one product, h and x apart, as frameworks do it.


def fused_forward(X, h, c, params):
    hidden = len(h)
    stacked = np.concatenate([params["W" + gate] for gate in "ifCo"])
    bias = np.concatenate([np.ravel(params["b" + gate]) for gate in "ifCo"])
    states = []
    for z in X @ stacked[:, hidden:].T + bias:
        i, f, g, o = np.split(z + h @ stacked[:, :hidden].T, 4)
        i, f, o = (0.5 + 0.5 * np.tanh(gate / 2) for gate in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        states.append((h, c))
    return states


# Gradients.


def complex_step(loss, arrays):
    """∂ loss / ∂ each number of each array: Im loss(x + ih) / h, exact to rounding."""
    gradients = {}
    for name, array in arrays.items():
        gradient = np.empty(array.shape)
        for at in np.ndindex(array.shape):
            nudged = array.astype(complex)
            nudged[at] += 1e-30j
            gradient[at] = loss({**arrays, name: nudged}).imag / 1e-30
        gradients[name] = gradient
    return gradients


def assert_same_gradients(got, want):
    """Relative to each tensor's own size; where the true gradient is zero, zero is asked."""
    assert got.keys() == want.keys()
    for name in want:
        assert got[name].shape == want[name].shape, name
        error = np.linalg.norm(got[name] - want[name])
        assert error <= 1e-9 * np.linalg.norm(want[name]), (name, got[name], want[name])


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


# sigmoid


def test_sigmoid_is_exactly_0_and_1_far_out_without_any_warning():
    with np.errstate(all="raise"):
        assert sigmoid(np.array([-1000.0, 1000.0, -np.inf, np.inf])).tolist() == [0, 1, 0, 1]
        assert sigmoid(np.array([-1000, 1000], np.float32)).tolist() == [0, 1]
        assert sigmoid(np.array([-1000 + 1e-30j, 1000 + 1e-30j])).tolist() == [0, 1]
        assert sigmoid(-1000.0) == 0
        assert sigmoid(np.array([0.0, -0.0])).tolist() == [0.5, 0.5]
    assert np.isnan(sigmoid(np.array(np.nan)))


@pytest.mark.parametrize("z", [-700.0, -300.5, -40.0, -37.0, -5.25, -1e-9, 1e-9, 0.3, 20.0, 36.5])
def test_sigmoid_keeps_its_digits_in_the_tails(z):
    with decimal.localcontext() as context:
        context.prec = 60
        exact = 1 / (1 + decimal.Decimal(-z).exp())
        error = abs(decimal.Decimal(float(sigmoid(np.array(z)))) / exact - 1)
    assert error < 4e-16


@pytest.mark.parametrize("z", [-600.0, -30.0, -1.5, 0.0, 1.5, 30.0])
def test_sigmoid_of_a_complex_number_carries_the_derivative(z):
    derivative = sigmoid(np.array(z + 1e-30j)).imag / 1e-30
    both_sides = sigmoid(np.array(z)) * sigmoid(np.array(-z))
    close(derivative / both_sides, 1.0)
    close(sigmoid(np.array(z - 1e-30j)).imag / -1e-30 / both_sides, 1.0)


# One step and a sequence: values


@given(sizes, sizes, st.booleans(), seeds)
def test_a_step_equals_the_scalar_formula(inputs, hidden, column, seed):
    X, h, c, params = lstm_case(np.random.default_rng(seed), inputs, hidden, 1, column, scale=2.0)
    h_t, c_t = lstm_cell_step(X[0], h, c, params)
    h_want, c_want = scalar_step(X[0], h, c, params)
    assert h_t.shape == c_t.shape == (hidden,)
    close(h_t, h_want)
    close(c_t, c_want)


@given(sizes, sizes, st.integers(0, 12), st.booleans(), seeds)
def test_a_sequence_equals_the_fused_formula(inputs, hidden, steps, column, seed):
    case = lstm_case(np.random.default_rng(seed), inputs, hidden, steps, column)
    states, want = lstm_forward(*case), fused_forward(*case)
    assert isinstance(states, list)
    assert len(states) == len(want) == steps
    for (h_t, c_t), (h_want, c_want) in zip(states, want, strict=True):
        close(h_t, h_want)
        close(c_t, c_want)


def test_a_step_worked_by_hand():
    """z is the bias alone, a logarithm, so that σ and tanh come out as fractions."""
    params = {name: np.zeros((1, 2)) for name in WEIGHTS}
    params |= {"bf": np.log([3.0]), "bi": np.log([4.0]), "bC": np.log([2.0]), "bo": np.log([1.5])}
    h_t, c_t = lstm_cell_step(np.ones(1), np.ones(1), np.array([2.0]), params)
    close(c_t, [3 / 4 * 2 + 4 / 5 * 3 / 5])
    close(h_t, [3 / 5 * math.tanh(1.98)])


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("f", [0, 1])
@pytest.mark.parametrize("i", [0, 1])
@pytest.mark.parametrize("g", [-1, 1])
@pytest.mark.parametrize("o", [0, 1])
def test_gates_driven_to_plus_and_minus_1000(column, f, i, g, o):
    rng = np.random.default_rng(0)
    X, h, c, params = lstm_case(rng, 3, 2, 1, column)
    for name, value in {"bf": 2 * f - 1, "bi": 2 * i - 1, "bC": g, "bo": 2 * o - 1}.items():
        params[name] = np.full_like(params[name], 1000.0 * value)
    with np.errstate(all="raise"):
        h_t, c_t = lstm_cell_step(X[0], h, c, params)
        gradients = lstm_cell_step_backward(X[0], h, c, params, np.ones(2), np.ones(2))
    assert c_t.tolist() == (f * c + i * g).tolist()
    assert h_t.tolist() == (o * np.tanh(c_t)).tolist()
    assert all(np.isfinite(gradient).all() for gradient in gradients[:3])
    assert all((gradient == 0).all() for gradient in gradients[3].values())


def test_no_step_and_one_step():
    X, h0, c0, params = lstm_case(np.random.default_rng(1), 3, 4, 1)
    assert lstm_forward(X[:0], h0, c0, params) == []
    assert lstm_forward([], h0, c0, params) == []
    ((h_t, c_t),) = lstm_forward(X, h0, c0, params)
    h_want, c_want = lstm_cell_step(X[0], h0, c0, params)
    assert np.array_equal(h_t, h_want)
    assert np.array_equal(c_t, c_want)


def test_a_sequence_in_two_parts_is_the_whole():
    X, h0, c0, params = lstm_case(np.random.default_rng(2), 3, 4, 7)
    whole = lstm_forward(X, h0, c0, params)
    first = lstm_forward(X[:3], h0, c0, params)
    assert np.array_equal(whole, first + lstm_forward(X[3:], *first[-1], params))


def test_lists_and_whole_numbers_are_taken_and_float32_stays():
    X, h0, c0, params = lstm_case(np.random.default_rng(3), 2, 3, 4)
    listed = lstm_forward(X.tolist(), h0.tolist(), c0.tolist(), params)
    assert np.array_equal(listed, lstm_forward(X, h0, c0, params))
    h_t, _ = lstm_cell_step(np.array([1, 2]), np.zeros(3, int), np.zeros(3, int), params)
    assert np.array_equal(h_t, lstm_cell_step(np.array([1.0, 2.0]), 0 * h0, 0 * c0, params)[0])
    bytes_ = {name: np.full(array.shape, 2, np.uint8) for name, array in params.items()}
    floats = {name: array.astype(float) for name, array in bytes_.items()}
    got = lstm_cell_step(bytes_["bf"][:2], bytes_["bf"], bytes_["bf"], bytes_)
    close(got, lstm_cell_step(floats["bf"][:2], floats["bf"], floats["bf"], floats))
    small = {name: array.astype(np.float32) for name, array in params.items()}
    X, h0, c0 = (array.astype(np.float32) for array in (X, h0, c0))
    dX, dh0, dc0, dparams = lstm_backward(X, h0, c0, small, np.ones((4, 3), np.float32))
    results = [*lstm_forward(X, h0, c0, small), (dX, dh0, dc0), dparams.values()]
    assert {array.dtype for group in results for array in group} == {np.dtype(np.float32)}


# Nobody's arrays are changed, and no result shares memory with another


def frozen(*arrays):
    for array in arrays:
        array.flags.writeable = False  # writing into it raises
    return arrays


def test_callers_arrays_are_only_read_and_every_result_is_its_own():
    X, h0, c0, params = lstm_case(np.random.default_rng(4), 3, 4, 5, column=True)
    dh, dc = np.ones((5, 4)), np.ones(4)
    given = frozen(X, h0, c0, dh, dc, *params.values())
    *state_gradients, dparams = lstm_backward(X, h0, c0, params, dh, dc)
    *step_gradients, step_dparams = lstm_cell_step_backward(X[0], h0, c0, params, dh[0], dc)
    results = [array for pair in lstm_forward(X, h0, c0, params) for array in pair]
    results += [*lstm_cell_step(X[0], h0, c0, params), *state_gradients, *dparams.values()]
    results += [*step_gradients, *step_dparams.values()]
    results += lstm_backward(X[:0], h0, c0, params, dh[:0], dc)[:3]

    X, h0, params = rnn_case(np.random.default_rng(4), 3, 4, 5, column=True)
    given += frozen(X, h0, *params.values())
    *state_gradients, dparams = rnn_backward(X, h0, params, dh)
    results += [*rnn_forward(X, h0, params), rnn_cell_step(X[0], h0, params)]
    results += [*state_gradients, *dparams.values()]

    h_states, W_hy, b_y = frozen(np.ones((5, 4)), np.ones((2, 4)), np.ones(2))
    given += (h_states, W_hy, b_y)
    results += [lstm_output_layer(h_states, W_hy, b_y)]
    results += lstm_output_layer_backward(h_states, W_hy, b_y, frozen(np.ones((5, 2)))[0])
    for k, result in enumerate(results):
        assert not any(np.shares_memory(result, other) for other in given)
        assert not any(np.shares_memory(result, other) for other in results[:k])


# The output layer


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("as_list", [False, True])
def test_output_layer_equals_the_scalar_formula(steps, as_list):
    rng = np.random.default_rng(5)
    h_states, W_hy, b_y = rng.normal(size=(steps, 3)), rng.normal(size=(5, 3)), rng.normal(size=5)
    logits = lstm_output_layer(list(h_states) if as_list else h_states, W_hy, b_y)
    assert logits.shape == (steps, 5)
    for t in range(steps):
        for k in range(5):
            close(logits[t, k], b_y[k] + sum(W_hy[k, j] * h_states[t, j] for j in range(3)))


# The basic RNN


@given(sizes, sizes, st.integers(0, 8), st.booleans(), seeds)
def test_rnn_equals_the_scalar_formula(inputs, hidden, steps, column, seed):
    X, h0, params = rnn_case(np.random.default_rng(seed), inputs, hidden, steps, column)
    states = rnn_forward(X, h0, params)
    assert len(states) == steps
    h = h0
    for x, h_t in zip(X, states, strict=True):
        z = [float(np.ravel(params["b_h"])[unit]) for unit in range(hidden)]
        for unit in range(hidden):
            z[unit] += sum(params["W_xh"][unit, k] * x[k] for k in range(inputs))
            z[unit] += sum(params["W_hh"][unit, k] * h[k] for k in range(hidden))
        close(rnn_cell_step(x, h, params), [math.tanh(value) for value in z])
        close(h_t, [math.tanh(value) for value in z])
        h = h_t


# Every gradient, by complex step


@given(sizes, sizes, st.booleans(), seeds)
def test_gradients_of_a_step(inputs, hidden, column, seed):
    rng = np.random.default_rng(seed)
    X, h, c, params = lstm_case(rng, inputs, hidden, 1, column)
    dh, dc = rng.normal(size=hidden), rng.normal(size=hidden)

    def loss(a):
        h_t, c_t = lstm_cell_step(a["x"], a["h"], a["c"], a)
        return dh @ h_t + dc @ c_t

    dx, dh_prev, dc_prev, dparams = lstm_cell_step_backward(X[0], h, c, params, dh, dc)
    want = complex_step(loss, {"x": X[0], "h": h, "c": c, **params})
    assert_same_gradients({"x": dx, "h": dh_prev, "c": dc_prev, **dparams}, want)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 4), st.booleans(), st.booleans(), seeds)
def test_gradients_of_a_sequence(inputs, hidden, steps, column, with_last_c, seed):
    """The loss takes from every h_t and, if asked, from the last c."""
    rng = np.random.default_rng(seed)
    X, h0, c0, params = lstm_case(rng, inputs, hidden, steps, column)
    dh = rng.normal(size=(steps, hidden))
    dc_last = rng.normal(size=hidden) if with_last_c else None

    def loss(a):
        states = [(a["h0"], a["c0"]), *lstm_forward(a["X"], a["h0"], a["c0"], a)]
        value = sum((dh[t] @ states[t + 1][0] for t in range(steps)), 0j)
        return value + dc_last @ states[-1][1] if with_last_c else value

    dX, dh0, dc0, dparams = lstm_backward(X, h0, c0, params, dh, dc_last)
    want = complex_step(loss, {"X": X, "h0": h0, "c0": c0, **params})
    assert_same_gradients({"X": dX, "h0": dh0, "c0": dc0, **dparams}, want)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 6), st.booleans(), seeds)
def test_gradients_of_the_rnn(inputs, hidden, steps, column, seed):
    rng = np.random.default_rng(seed)
    X, h0, params = rnn_case(rng, inputs, hidden, steps, column)
    dh = rng.normal(size=(steps, hidden))

    def loss(a):
        states = rnn_forward(a["X"], a["h0"], a)
        return sum((dh[t] @ states[t] for t in range(steps)), 0j)

    dX, dh0, dparams = rnn_backward(X, h0, params, dh)
    want = complex_step(loss, {"X": X, "h0": h0, **params})
    assert_same_gradients({"X": dX, "h0": dh0, **dparams}, want)


def test_gradients_from_the_logits_to_the_first_state():
    """Cross-entropy of the next token: output layer and LSTM, one after the other."""
    rng = np.random.default_rng(6)
    X, h0, c0, params = lstm_case(rng, 3, 4, 6)
    W_hy, b_y, targets = rng.normal(size=(5, 4)), rng.normal(size=5), rng.integers(0, 5, 6)

    def logits_of(a):
        h_states = [h for h, _ in lstm_forward(a["X"], a["h0"], a["c0"], a)]
        return h_states, lstm_output_layer(h_states, a["W_hy"], a["b_y"])

    def loss(a):
        logits = logits_of(a)[1]
        return sum(np.log(np.exp(logits[t]).sum()) - logits[t, targets[t]] for t in range(6))

    arrays = {"X": X, "h0": h0, "c0": c0, "W_hy": W_hy, "b_y": b_y, **params}
    h_states, logits = logits_of(arrays)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    dlogits = probabilities - np.eye(5)[targets]
    dh, dW_hy, db_y = lstm_output_layer_backward(h_states, W_hy, b_y, dlogits)
    dX, dh0, dc0, dparams = lstm_backward(X, h0, c0, params, list(dh))
    got = {"X": dX, "h0": dh0, "c0": dc0, "W_hy": dW_hy, "b_y": db_y, **dparams}
    assert_same_gradients(got, complex_step(loss, arrays))


def test_backward_in_two_parts_is_the_whole():
    rng = np.random.default_rng(7)
    X, h0, c0, params = lstm_case(rng, 3, 4, 7)
    dh, dc_last = rng.normal(size=(7, 4)), rng.normal(size=4)
    middle = lstm_forward(X[:3], h0, c0, params)[-1]
    dX_late, dh_middle, dc_middle, late = lstm_backward(X[3:], *middle, params, dh[3:], dc_last)
    dh_early = dh[:3] + np.array([[0.0], [0.0], [1.0]]) * dh_middle
    dX_early, dh0, dc0, early = lstm_backward(X[:3], h0, c0, params, dh_early, dc_middle)
    got = {"X": np.concatenate([dX_early, dX_late]), "h0": dh0, "c0": dc0}
    got |= {name: early[name] + late[name] for name in params}
    dX, dh0, dc0, dparams = lstm_backward(X, h0, c0, params, dh, dc_last)
    assert_same_gradients(got, {"X": dX, "h0": dh0, "c0": dc0, **dparams})


def test_no_step_passes_the_gradient_through():
    X, h0, c0, params = lstm_case(np.random.default_rng(8), 3, 4, 0, column=True)
    dX, dh0, dc0, dparams = lstm_backward(X, h0, c0, params, [], np.arange(4.0))
    assert dX.shape == (0, 3)
    assert dh0.tolist() == [0, 0, 0, 0]
    assert dc0.tolist() == [0, 1, 2, 3]
    assert {name: array.shape for name, array in dparams.items()} == {
        name: array.shape for name, array in params.items()
    }


def test_an_open_forget_gate_hands_the_gradient_back_as_it_came():
    """The carousel: f = 1 and o = 0, so c is the only way, 200 steps long."""
    X, h0, c0, params = lstm_case(np.random.default_rng(9), 3, 4, 200)
    params |= {"bf": np.full(4, 1000.0), "bo": np.full(4, -1000.0)}
    dc_last = np.array([1.0, -2.0, 0.5, 3.0])
    _, _, dc0, _ = lstm_backward(X, h0, c0, params, np.zeros((200, 4)), dc_last)
    assert dc0.tolist() == dc_last.tolist()


# The class


def test_class_starts_glorot_with_open_forget_gates():
    lstm = LSTM(input_size=30, hidden_size=50, seed=0)
    bound = math.sqrt(6 / (50 + 80))
    for name in WEIGHTS:
        weights = getattr(lstm, name)
        assert weights.shape == (50, 80)
        assert 0.99 * bound < np.abs(weights).max() <= bound
        assert abs(weights.std() / (bound / math.sqrt(3)) - 1) < 0.03  # uniform on ±bound
    for k, name in enumerate(WEIGHTS):
        for other in WEIGHTS[:k]:
            assert not np.any(getattr(lstm, name) == getattr(lstm, other))
    for name in BIASES:
        assert getattr(lstm, name).tolist() == [[float(name == "bf")]] * 50


def test_class_seed():
    first, again, other = LSTM(2, 3, seed=7), LSTM(2, 3, seed=7), LSTM(2, 3, seed=8)
    assert all(np.array_equal(first.params[name], again.params[name]) for name in first.params)
    assert not any(np.array_equal(first.params[name], other.params[name]) for name in WEIGHTS)
    assert not np.array_equal(LSTM(2, 3).Wf, LSTM(2, 3).Wf)
    rng = np.random.default_rng(7)
    assert np.array_equal(LSTM(2, 3, rng).Wo, first.Wo)


def test_class_works_on_columns():
    rng = np.random.default_rng(10)
    lstm = LSTM(input_size=3, hidden_size=4, seed=rng)
    x, h, C = frozen(*(rng.normal(size=(n, 1)) for n in (3, 4, 4)))
    h_t, C_t = lstm.forward(x, h, C)
    h_want, c_want = scalar_step(x[:, 0], h[:, 0], C[:, 0], lstm.params)
    assert h_t.shape == C_t.shape == (4, 1)
    close(h_t[:, 0], h_want)
    close(C_t[:, 0], c_want)


@pytest.mark.parametrize("steps", [0, 1, 6])
def test_class_runs_a_sequence_from_zero_states(steps):
    rng = np.random.default_rng(11)
    lstm = LSTM(input_size=3, hidden_size=4, seed=rng)
    X = rng.normal(size=(steps, 3))
    H = lstm.forward_sequence(X)
    assert H.shape == (steps, 4)
    close(
        H,
        np.reshape(
            [h for h, _ in fused_forward(X, np.zeros(4), np.zeros(4), lstm.params)], (steps, 4)
        ),
    )


@pytest.mark.parametrize("name", [*WEIGHTS, *BIASES])
def test_assigning_to_an_attribute_takes_effect(name):
    rng = np.random.default_rng(12)
    lstm, X = LSTM(3, 4, seed=0), rng.normal(size=(5, 3))
    before = lstm.forward_sequence(X)
    new = rng.normal(size=getattr(lstm, name).shape)
    setattr(lstm, name, new)
    assert lstm.params[name] is new
    after = lstm.forward_sequence(X)
    assert not np.any(np.isclose(after[1:], before[1:]))
    want = fused_forward(X, np.zeros(4), np.zeros(4), {**LSTM(3, 4, seed=0).params, name: new})
    close(after, [h for h, _ in want])
    getattr(lstm, name)[:] = 0  # and so does writing into it
    assert not np.any(np.isclose(lstm.forward_sequence(X)[1:], after[1:]))


# Errors: one line that names the function, the argument, what came and what was expected

P = LSTM(3, 4, seed=0).params
R = {"W_xh": np.zeros((4, 3)), "W_hh": np.zeros((4, 4)), "b_h": np.zeros(4)}
x, h = np.zeros(3), np.zeros(4)
X, dh = np.zeros((5, 3)), np.zeros((5, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lstm_cell_step(np.zeros((5, 7)), h, h, P),
         "lstm_cell_step: x_t has shape (5, 7); expected (I=3,)"),
        (lambda: lstm_cell_step(x, h[:, None], h, P),
         "lstm_cell_step: h_prev has shape (4, 1); expected (H=4,)"),
        (lambda: lstm_cell_step(x, h, x, P),
         "lstm_cell_step: c_prev has shape (3,); expected (H=4,)"),
        (lambda: lstm_cell_step(["a", "b", "c"], h, h, P),
         "lstm_cell_step: x_t has dtype <U1; expected numbers (I=3,)"),
        (lambda: lstm_cell_step(x, h, h, {k: P[k] for k in P if k not in ("WC", "bC")}),
         "lstm_cell_step: params has no WC bC; expected Wf Wi WC Wo bf bi bC bo"),
        (lambda: lstm_cell_step(x, h, h, P | {"Wf": P["Wf"].T}),
         "lstm_cell_step: Wf has shape (7, 4); expected (H, H+I)"),
        (lambda: lstm_cell_step(x, h, h, P | {"Wf": h}),
         "lstm_cell_step: Wf has shape (4,); expected (H, H+I)"),
        (lambda: lstm_cell_step(x, h, h, P | {"Wo": P["Wo"].T}),
         "lstm_cell_step: Wo has shape (7, 4); expected (H=4, H+I=7)"),
        (lambda: lstm_cell_step(x, h, h, P | {"bi": np.zeros((1, 4))}),
         "lstm_cell_step: bi has shape (1, 4); expected (H=4,) or (H=4, 1)"),
        (lambda: lstm_cell_step_backward(x, h, h, P, dh, h),
         "lstm_cell_step_backward: dh_t has shape (5, 4); expected (H=4,)"),
        (lambda: lstm_forward(x, h, h, P),
         "lstm_forward: X_seq has shape (3,); expected (T, I=3)"),
        (lambda: lstm_forward([[1.0, 2.0, 3.0], [1.0]], h, h, P),
         "lstm_forward: X_seq is ragged; expected (T, I=3)"),
        (lambda: lstm_forward(X[:0, :2], h, h, P),
         "lstm_forward: X_seq has shape (0, 2); expected (T, I=3)"),
        (lambda: lstm_forward(X, h, None, P),
         "lstm_forward: c0 has shape (); expected (H=4,)"),
        (lambda: lstm_backward(X, h, h, P, dh[1:]),
         "lstm_backward: dh has shape (4, 4); expected (T=5, H=4)"),
        (lambda: lstm_backward(X, h, h, P, dh, x),
         "lstm_backward: dc_last has shape (3,); expected (H=4,)"),
        (lambda: lstm_output_layer([(h, h)] * 5, np.zeros((2, 4)), np.zeros(2)),
         "lstm_output_layer: h_states has shape (5, 2, 4); expected (T, H)"),
        (lambda: lstm_output_layer(dh, np.zeros((4, 2)), np.zeros(2)),
         "lstm_output_layer: W_hy has shape (4, 2); expected (O, H=4)"),
        (lambda: lstm_output_layer(dh, np.zeros((2, 4)), np.zeros((2, 1))),
         "lstm_output_layer: b_y has shape (2, 1); expected (O=2,)"),
        (lambda: lstm_output_layer_backward(dh, np.zeros((2, 4)), np.zeros(2), dh),
         "lstm_output_layer_backward: dlogits has shape (5, 4); expected (T=5, O=2)"),
        (lambda: rnn_cell_step(h, h, R),
         "rnn_cell_step: x_t has shape (4,); expected (I=3,)"),
        (lambda: rnn_cell_step(x, h, R | {"W_hh": R["W_xh"]}),
         "rnn_cell_step: W_hh has shape (4, 3); expected (H=4, H=4)"),
        (lambda: rnn_forward(X, h, {"W_xh": R["W_xh"]}),
         "rnn_forward: params has no W_hh b_h; expected W_xh W_hh b_h"),
        (lambda: rnn_backward(X, h, R, x),
         "rnn_backward: dh has shape (3,); expected (T=5, H=4)"),
        (lambda: LSTM(3, 4).forward(x, h[:, None], h[:, None]),
         "LSTM.forward: x has shape (3,); expected (I=3, 1)"),
        (lambda: LSTM(3, 4).forward_sequence(x),
         "LSTM.forward_sequence: X has shape (3,); expected (T, I=3)"),
        (lambda: LSTM(0, 4), "LSTM: input_size is 0; expected a whole number of at least 1"),
        (lambda: LSTM(3, 4.0), "LSTM: hidden_size is 4.0; expected a whole number of at least 1"),
    ],
)  # fmt: skip
def test_errors_say_what_came_and_what_was_expected(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
