"""The pictures of what is inside: what is drawn is what the model computed."""

from __future__ import annotations

import numpy as np
import pytest

import lstmkit as lk
from lstmkit import plots, textbook
from lstmkit.basic_rnn import BasicRNN
from lstmkit.flow import Flow, measure
from lstmkit.shapes import InputError

T, H = 9, 5
NAMES = "ifgoch"


@pytest.fixture
def params():
    return textbook.LSTM(3, H, seed=0).params


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(T, 3))


def panels(figure):
    """The axes that are not colour bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def lines(axes):
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines}


def test_the_heat_maps_are_the_gates_and_states_of_a_learners_own_weights(params, X):
    figure = plots.gates_over_time(params, X, labels=list("abcdefgh\n"), title="Mine")
    maps = [np.asarray(axes.images[0].get_array()) for axes in panels(figure)]
    states = textbook.lstm_forward(X, np.zeros(H), np.zeros(H), params)
    np.testing.assert_allclose(maps[4].T, [c for _, c in states], rtol=1e-12)
    np.testing.assert_allclose(maps[5].T, [h for h, _ in states], rtol=1e-12)
    hx = np.concatenate([np.zeros(H), X[0]])
    for k, gate in ((0, "i"), (1, "f"), (3, "o")):
        want = textbook.sigmoid(params[f"W{gate}"] @ hx + params[f"b{gate}"][:, 0])
        np.testing.assert_allclose(maps[k][:, 0], want, rtol=1e-12)
    want = np.tanh(params["WC"] @ hx + params["bC"][:, 0])
    np.testing.assert_allclose(maps[2][:, 0], want, rtol=1e-12)
    assert [axes.get_ylabel().split()[-2] for axes in panels(figure)] == list(NAMES)
    ticks = [text.get_text() for text in panels(figure)[-1].get_xticklabels()]
    assert ticks == [*"abcdefgh", "\\n"]
    assert figure._suptitle.get_text() == "Mine"  # get_suptitle came with 3.8


def test_a_trace_or_a_model_and_any_cell_and_sequence(X):
    lstm = lk.LSTM(3, H, num_layers=2, bidirectional=True, seed=0)
    x = np.stack([X, 2 * X])
    trace = lstm.trace(x)
    one = plots.gates_over_time(lstm, x, cell=3, sequence=1)
    other = plots.gates_over_time(trace, cell=3, sequence=1)
    for figure in (one, other):
        for name, axes in zip(NAMES, panels(figure), strict=True):
            drawn = np.asarray(axes.images[0].get_array())
            np.testing.assert_array_equal(drawn.T, getattr(trace, name)[3, 1])


def test_the_histograms_of_the_gates_count_every_step_and_what_is_saturated(params, X):
    params["bf"] = params["bf"] + 20  # wide open
    params["bi"] = params["bi"] - 20  # shut
    figure = plots.gate_histograms(params, X)
    notes = [axes.get_xlabel() for axes in figure.axes]
    assert notes[0] == "below 0.1: 100%, above 0.9: 0%"
    assert notes[1] == "below 0.1: 0%, above 0.9: 100%"
    trace = lk.LSTM.from_textbook(params).trace(X[None])
    for name, axes in zip("ifgo", figure.axes, strict=True):
        heights = [patch.get_height() for patch in axes.patches]
        low = -1 if name == "g" else 0
        want, _ = np.histogram(getattr(trace, name), bins=40, range=(low, 1))
        np.testing.assert_allclose(heights, want / (T * H))
    g, o = trace.g, trace.o
    assert notes[2] == f"below -0.9: {np.mean(g < -0.9):.0%}, above 0.9: {np.mean(g > 0.9):.0%}"
    assert notes[3] == f"below 0.1: {np.mean(o < 0.1):.0%}, above 0.9: {np.mean(o > 0.9):.0%}"


def test_the_histograms_of_the_weights_are_told_apart_by_gate_and_input(params):
    params["WC"][:, :H] = 0.25  # of h
    params["WC"][:, H:] = -0.5  # of x
    figure = plots.weight_histograms(params)
    assert [axes.get_title()[-1] for axes in figure.axes] == list("ifgo")
    words = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    assert words == ["on x, sd 0.00", "on h, sd 0.00", "bias, mean 0.00"]
    words = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert words[0] == f"on x, sd {params['Wf'][:, H:].std():.2f}"
    assert words[1] == f"on h, sd {params['Wf'][:, :H].std():.2f}"
    assert words[2] == "bias, mean 1.00"
    coupled = plots.weight_histograms(lk.LSTM(3, H, coupled_gates=True, bias=False, seed=0))
    assert [axes.get_title()[-1] for axes in coupled.axes] == ["i", "g", "o"]


def test_the_flow_is_drawn_as_shares(params, X):
    flow = measure(params, X)
    rnn = measure(BasicRNN(3, H, seed=0), X)
    figure = plots.gradient_flow({"LSTM": flow, "RNN": rnn})
    left, right = (lines(axes) for axes in figure.axes)
    np.testing.assert_allclose(left["LSTM"], flow.dh / flow.dh[0])
    np.testing.assert_allclose(left["_LSTM: c"], flow.dc / flow.dc[0])
    np.testing.assert_allclose(left["RNN"], rnn.dh / rnn.dh[0])
    np.testing.assert_allclose(right["LSTM"], flow.kept)
    np.testing.assert_allclose(right["_LSTM: most"], flow.kept_most)
    mine = lines(plots.gradient_flow(params, X).axes[0])
    np.testing.assert_allclose(mine["this model"], flow.dh / flow.dh[0])
    assert len(plots.gradient_flow({"RNN": rnn}).axes) == 1  # no gates, no second panel


def test_every_run_is_a_curve():
    runs = {"A": [[(0, 1.0), (10, 0.5)], [(0, 2.0), (10, 0.25)]], "B": [[(0, 1.0), (10, 0.9)]]}
    figure = plots.error_curves(runs, guess=0.75)
    drawn = [line.get_ydata().tolist() if hasattr(line.get_ydata(), "tolist") else line.get_ydata()
             for line in figure.axes[0].lines]  # fmt: skip
    assert drawn[:3] == [[1.0, 0.5], [2.0, 0.25], [1.0, 0.9]]
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert words == ["A (2 seeds)", "B (1 seed)", "always the mean: 0.750"]


def test_what_cannot_be_drawn_is_told_in_one_line(params, X):
    trace = lk.LSTM.from_textbook(params).trace(X[None])
    flow = Flow(np.ones(3))
    for call, words in [
        (lambda: plots.gates_over_time(params), "X is missing"),
        (lambda: plots.gates_over_time(trace, X), "X is given with a trace"),
        (lambda: plots.gates_over_time(trace, cell=1), "cell is 1; expected 0 to 0"),
        (lambda: plots.gates_over_time(trace, sequence=-1), "sequence is -1"),
        (lambda: plots.gates_over_time(trace, labels=["a"]), "labels has length 1; expected 9"),
        (lambda: plots.gates_over_time({"Wf": X}, X), "params lacks Wi"),
        (lambda: plots.gate_histograms(params, X[:0]), "expected a step at least"),
        (lambda: plots.weight_histograms({"Wf": X}), "params lacks Wi"),
        (lambda: plots.weight_histograms(params, cell=2), "cell is 2; expected 0 to 0"),
        (lambda: plots.gradient_flow({}), "holds no flow"),
        (lambda: plots.gradient_flow(params), "X is missing"),
        (lambda: plots.gradient_flow({"a": flow}, X), "X is given with flows"),
        (lambda: plots.error_curves({}), "runs hold no pairs"),
        (lambda: plots.error_curves({"a": [[(0, -1.0)]]}), "runs hold no pairs"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)
