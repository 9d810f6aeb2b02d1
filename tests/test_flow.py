from __future__ import annotations

import numpy as np
import pytest

import lstmkit as lk
from lstmkit import textbook
from lstmkit.basic_rnn import BasicRNN
from lstmkit.flow import measure
from lstmkit.shapes import InputError

T, H = 7, 4


def lstm_rest(params, x, t, h, c, dy):
    """The loss of one sequence, from the states after step t on; complex numbers too."""
    for x_t in x[t:]:
        h, c = textbook.lstm_cell_step(x_t, h, c, params)
    return (dy * h).sum()


def complex_step(loss, array):
    gradient = np.empty(array.shape)
    for at in np.ndindex(array.shape):
        nudged = array.astype(complex)
        nudged[at] += 1e-30j
        gradient[at] = loss(nudged).imag / 1e-30
    return gradient


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, T, 3)), rng.normal(size=(2, H))


def test_the_lstms_flow_is_that_of_the_complex_step(case, twin):
    x, dy = case
    lstm = lk.LSTM(3, H, dtype="float64", seed=1)
    flow = measure(lstm, x, dy)
    params = lstm.to_textbook()
    dh, dc, kept = np.zeros((3, T, 2))
    most = np.zeros((T, 2, H))
    for row in range(2):
        states = textbook.lstm_forward(x[row], np.zeros(H), np.zeros(H), params)
        f = lstm.trace(x[row : row + 1]).f[0, 0]
        for t, (h, c) in enumerate(states, 1):
            rest = x[row], t
            of_h = complex_step(lambda h, r=rest, c=c, d=dy[row]: lstm_rest(params, *r, h, c, d), h)
            # Every way from c counts: h is made from it anew, with the output gate that it had.
            x_t = x[row][t - 1]
            h_old = states[t - 2][0] if t > 1 else np.zeros(H)
            o = textbook.sigmoid(params["Wo"] @ np.concatenate([h_old, x_t]) + params["bo"])
            of_c = complex_step(
                lambda c, r=rest, o=o, d=dy[row]: lstm_rest(params, *r, o * np.tanh(c), c, d), c
            )
            dh[T - t, row], dc[T - t, row] = np.linalg.norm(of_h), np.linalg.norm(of_c)
            most[T - t, row] = np.prod(f[t:], axis=0)
            kept[T - t, row] = most[T - t, row].mean()
    np.testing.assert_allclose(flow.dh, dh.mean(axis=1), rtol=1e-11)
    np.testing.assert_allclose(flow.dc, dc.mean(axis=1), rtol=1e-11)
    np.testing.assert_allclose(flow.kept, kept.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(flow.kept_most, most.mean(axis=1).max(axis=1), rtol=1e-12)


def test_the_basic_rnns_flow_is_that_of_the_complex_step(case):
    x, dy = case
    rnn = BasicRNN(3, H, dtype="float64", seed=1)
    ours = rnn.parameters
    params = {"W_xh": ours["weight_ih"], "W_hh": ours["weight_hh"], "b_h": ours["bias"]}
    flow = measure(rnn, x, dy)
    want = np.zeros((T, 2))
    for row in range(2):
        for t, h in enumerate(textbook.rnn_forward(x[row], np.zeros(H), params), 1):

            def loss(h, row=row, t=t):
                for x_t in x[row][t:]:
                    h = textbook.rnn_cell_step(x_t, h, params)
                return (dy[row] * h).sum()

            want[T - t, row] = np.linalg.norm(complex_step(loss, h))
    np.testing.assert_allclose(flow.dh, want.mean(axis=1), rtol=1e-12)
    assert flow.dc is None
    assert flow.kept is None
    np.testing.assert_array_equal(measure(params, x, dy).dh, flow.dh)  # the learner's own


def test_a_learners_own_parameters_and_one_sequence(case):
    x, _ = case
    params = textbook.LSTM(3, H, seed=0).params
    flow = measure(params, x[0])
    np.testing.assert_array_equal(flow.dh, measure(lk.LSTM.from_textbook(params), x[:1]).dh)
    assert flow.dh[0] == np.sqrt(H)  # the loss is the sum of the last output


def test_coupled_gates_flow_too_and_gradients_far_below_float32_are_measured(case):
    x, _ = case
    assert measure(lk.LSTM(3, H, coupled_gates=True, seed=0), x).kept[0] == 1
    rnn = BasicRNN(3, H, seed=0)
    rnn.parameters["weight_hh"] *= 1e-35
    assert 0 < measure(rnn, x).dh[-1] < 1e-200


@pytest.mark.parametrize(
    ("options", "x", "words"),
    [
        ({}, np.zeros((2, 0, 3)), "x has shape .*a step at least"),
        ({}, np.zeros((2, 5, 4)), "input_size=3"),
        ({"peepholes": True}, np.zeros((2, 5, 3)), "expected one plain layer"),
        ({"num_layers": 2}, np.zeros((2, 5, 3)), "expected one plain layer"),
        ({"bidirectional": True}, np.zeros((2, 5, 3)), "expected one plain layer"),
        ({"zoneout": 0.1}, np.zeros((2, 5, 3)), "expected one plain layer"),
    ],
)
def test_what_has_no_flow_is_told(options, x, words):
    with pytest.raises(InputError, match=words):
        measure(lk.LSTM(3, H, seed=0, **options), x)


def test_a_missing_parameter_is_named(case):
    with pytest.raises(InputError, match="params lacks W_hh, b_h"):
        measure({"W_xh": np.zeros((4, 3))}, case[0])
