from __future__ import annotations

import json

import numpy as np
import pytest

import lstmkit as lk
from lstmkit.basic_rnn import BasicRNN
from lstmkit.lesson import adding, laboratory
from lstmkit.lesson.adding import Adder, Training, sequences
from lstmkit.lesson.laboratory import Plan, investigate
from lstmkit.shapes import InputError

SMALL = Plan(
    hidden_size=8,
    length=12,
    seeds=2,
    forget_biases=(0.0, 3.0),
    probes=5,
    training=Training(steps=30, batch_size=8),
)


@pytest.fixture(scope="module")
def findings():
    return investigate(SMALL)


def test_two_steps_are_marked_one_in_each_half_and_summed():
    x, y = sequences(np.random.default_rng(0), 2000, 9)
    assert set(np.unique(x[:, :, 1])) == {0.0, 1.0}
    np.testing.assert_array_equal(x[:, :4, 1].sum(axis=1), 1)
    np.testing.assert_array_equal(x[:, 4:, 1].sum(axis=1), 1)
    assert (x[:, :, 1].sum(axis=0) > 0).all()  # every place is marked in some sequence
    np.testing.assert_allclose((x[:, :, 0] * x[:, :, 1]).sum(axis=1), y)
    assert np.mean((y - 1) ** 2) == pytest.approx(adding.BASELINE, rel=0.1)


@pytest.mark.parametrize("kind", [lk.LSTM, BasicRNN])
def test_the_gradient_of_a_whole_network(kind):
    """Central differences in one random direction; the layers' own gradients are proved apart."""
    rng = np.random.default_rng(1)
    model = Adder(kind(2, 5, dtype="float64", seed=0), seed=1)
    x, y = sequences(rng, 6, 10)
    _, grads = model.loss(x, y)
    assert grads.keys() == model.parameters.keys()
    step = {name: rng.normal(size=p.shape) for name, p in model.parameters.items()}
    values = []
    for side in (1e-6, -2e-6):
        for name, array in model.parameters.items():
            array += side * step[name]
        values.append(model.loss(x, y)[0])
    slope = (values[0] - values[1]) / 2e-6
    assert sum((grads[name] * step[name]).sum() for name in grads) == pytest.approx(slope, rel=1e-6)


def test_the_last_gradient_is_that_of_each_sequences_own_error():
    model = Adder(lk.LSTM(2, 5, dtype="float64", seed=0), seed=1)
    x, y = sequences(np.random.default_rng(1), 3, 10)
    h = model.layer(x)[0][:, -1].astype(complex)
    found, want = model.last_gradient(x, y), np.empty((3, 5))
    weight, bias = model.readout.parameters.values()
    for at in np.ndindex(3, 5):
        nudged = h.copy()
        nudged[at] += 1e-30j
        want[at] = ((((nudged @ weight.T + bias)[:, 0] - y) ** 2).sum()).imag / 1e-30
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_a_short_task_is_learned_and_the_same_seed_gives_the_same_bits():
    runs = []
    for _ in range(2):
        model = Adder(lk.LSTM(2, 8, seed=0), seed=0)
        runs.append(adding.train(model, 6, Training(steps=400), seed=0))
    assert runs[0] == runs[1]
    assert runs[0].curve[0][1] > adding.BASELINE / 2
    assert runs[0].error <= adding.SOLVED
    other = Adder(lk.LSTM(2, 8, seed=0), seed=0)
    assert adding.train(other, 6, Training(steps=400), seed=1) != runs[0]


def test_everything_in_the_plan_is_measured_and_can_be_written(findings):
    numbers = json.loads(json.dumps(findings.numbers))
    runs = [(run["network"], run["seed"], run["learning_rate"]) for run in numbers["adding"]]
    of_a_seed = [("basic RNN", 0.01), ("basic RNN", 0.001), ("LSTM", 0.01)]
    assert runs == [(network, seed, rate) for seed in (0, 1) for network, rate in of_a_seed]
    assert all(run["curve"][-1] == [30, run["error"]] for run in numbers["adding"])
    flows = {(flow["network"], flow["when"], flow["seed"]) for flow in numbers["flows"]}
    both = (laboratory.START, laboratory.END)
    assert flows == {(n, w, s) for n in laboratory.NETWORKS for w in both for s in (0, 1)}
    assert [(flow["forget_bias"], flow["seed"]) for flow in numbers["sweep"]] == [
        (bias, seed) for bias in (0.0, 3.0) for seed in (0, 1)
    ]
    for flow in [*numbers["flows"], *numbers["sweep"]]:
        assert len(flow["dh"]) == 12
        assert (flow["dc"] is None) == (flow["network"] == "basic RNN")
    assert findings.lstm.hidden_size == 8
    assert numbers["about"]["training"]["steps"] == 30


def test_the_flows_are_of_the_networks_named(findings):
    """Made again from the seeds alone."""
    x, y = sequences(np.random.default_rng(30), SMALL.probes, SMALL.length)
    for network in laboratory.NETWORKS:
        model = laboratory.new(network, SMALL, 1)
        want = laboratory.measure(model.layer, x, model.last_gradient(x, y))
        (found,) = [
            flow
            for flow in findings.numbers["flows"]
            if (flow["network"], flow["when"], flow["seed"]) == (network, laboratory.START, 1)
        ]
        assert found["dh"] == want.dh.tolist()
    kept = [flow["kept"][-1] for flow in findings.numbers["sweep"]]
    assert min(kept[2:]) > 10 * max(kept[:2])  # bias 3 keeps more than bias 0, in both seeds


def test_the_best_of_several_rates_counts():
    runs = [
        {"network": "basic RNN", "seed": 0, "error": 0.2},
        {"network": "basic RNN", "seed": 0, "error": 0.1},
        {"network": "LSTM", "seed": 0, "error": 0.01},
    ]
    best = laboratory.best_runs({"adding": runs})
    assert best == {"basic RNN": [runs[1]], "LSTM": [runs[2]]}


def test_flows_are_averaged_relative_to_their_start():
    rows = [
        {"dh": [2.0, 1.0], "dc": None, "kept": None, "kept_most": None},
        {"dh": [10.0, 1.0], "dc": None, "kept": None, "kept_most": None},
    ]
    flow = laboratory.mean_flows(rows)
    np.testing.assert_allclose(flow.dh, [1.0, 0.3])
    assert flow.dc is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": 0}, "seeds is 0; expected at least 1"),
        ({"length": 1}, "length is 1; expected at least 2"),
        ({"hidden_size": 2.5}, "hidden_size is 2.5; expected a whole number"),
        ({"rnn_rates": ()}, "rnn_rates is empty"),
        ({"rnn_rates": (-1.0,)}, "learning_rate is -1.0; expected above 0"),
        ({"forget_biases": (float("nan"),)}, "forget_bias is nan"),
        ({"training": Training(steps=0)}, "steps is 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        investigate(SMALL._replace(**change))
