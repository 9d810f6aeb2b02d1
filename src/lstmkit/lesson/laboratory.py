"""The gradient laboratory: why the LSTM learns what the basic RNN does not, in measured numbers.

Both networks at the same hidden size learn the adding problem, several seeds each. Before and
after, the gradient of the loss is measured in the state of every step (`lstmkit.flow`), and at the
start for several biases of the forget gate. What comes out are numbers; `lstmkit.plots` draws them.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

import lstmkit
from lstmkit.basic_rnn import BasicRNN
from lstmkit.flow import Flow, measure
from lstmkit.layers import LSTM
from lstmkit.lesson.adding import BASELINE, SOLVED, Adder, Learned, Training, sequences, train
from lstmkit.progress import Progress
from lstmkit.shapes import InputError, positive_integer, real_number

NETWORKS = ("basic RNN", "LSTM")
START, END = "at initialization", "after training"


class Plan(NamedTuple):
    """What is measured.

    Attributes
    ----------
    hidden_size, length : int
        H of both networks, and the T of the adding problem.
    seeds : int
        Seeds 0, 1 … of the weights and of the training sequences.
    forget_bias : float
        Of the LSTM that learns.
    forget_biases : tuple of float
        Those of the sweep at initialization.
    probes : int
        Sequences that a flow is the mean of.
    training : Training
        How both learn. The basic RNN learns at each of ``rnn_rates`` and its best run of a seed
        counts, so that it does not fail for a rate that suits the LSTM alone.
    rnn_rates : tuple of float
        Learning rates of the basic RNN.
    """

    hidden_size: int = 32
    length: int = 100
    seeds: int = 3
    forget_bias: float = 1.0
    forget_biases: tuple[float, ...] = (-1.0, 0.0, 1.0, 2.0, 3.0, 5.0)
    probes: int = 64
    training: Training = Training()
    rnn_rates: tuple[float, ...] = (1e-2, 1e-3)


class Findings(NamedTuple):
    """What came out.

    Attributes
    ----------
    numbers : dict
        Everything measured, as JSON values: ``about`` (the plan, version, engine, seconds on
        the clock and of the processor),
        ``adding`` (a dict for every run: network, seed, learning rate, curve, error), ``flows`` and
        ``sweep`` (a dict for every `Flow`).
    lstm : LSTM
        The trained layer of the first seed.
    """

    numbers: dict[str, Any]
    lstm: LSTM


def investigate(plan: Plan | None = None, progress: Progress | None = None) -> Findings:
    """Train and measure everything in the plan.

    Raises
    ------
    InputError
        If a number of the plan is out of range.
    """
    plan = plan or Plan()
    _check(plan)
    began, began_work = time.monotonic(), time.process_time()
    show = progress or Progress("none")
    runs_of_a_seed = 1 + len(plan.rnn_rates)
    show.start(plan.seeds * runs_of_a_seed * plan.training.steps, "steps")
    x, y = sequences(np.random.default_rng(30), plan.probes, plan.length)
    adding: list[dict[str, Any]] = []
    flows: list[dict[str, Any]] = []
    kept: list[LSTM] = []
    done = 0

    def learn(model: Adder, network: str, seed: int, rate: float) -> Learned:
        nonlocal done
        latest = BASELINE
        before = done

        def report(step: int, error: float | None) -> None:
            nonlocal latest, done
            latest, done = latest if error is None else error, before + step
            elapsed = time.monotonic() - began
            show.update({"step": done, "elapsed": elapsed, "loss": latest})

        clock = time.monotonic()
        training = plan.training._replace(learning_rate=rate)
        learned = train(model, plan.length, training, seed, report)
        word = "solved" if learned.error <= SOLVED else "not solved"
        show.message(
            f"{network}, seed {seed}, rate {rate:g}: error {learned.error:.4f}, {word} "
            f"(a guess: {BASELINE:.3f})"
        )
        entry = {"network": network, "seed": seed, "learning_rate": rate, "error": learned.error}
        adding.append({**entry, "curve": learned.curve, "seconds": time.monotonic() - clock})
        return learned

    try:
        for seed in range(plan.seeds):
            models: dict[str, Adder] = {}
            for network in NETWORKS:
                rates = plan.rnn_rates if network == "basic RNN" else (plan.training.learning_rate,)
                tried: list[tuple[float, Adder]] = []
                for rate in rates:
                    model = new(network, plan, seed)
                    if not tried:
                        flows.append(_entry(network, START, seed, _flow(model, x, y)))
                    tried.append((learn(model, network, seed, rate).error, model))
                models[network] = min(tried, key=lambda pair: pair[0])[1]
                flows.append(_entry(network, END, seed, _flow(models[network], x, y)))
            kept.append(models["LSTM"].layer)
        sweep = [
            {"forget_bias": bias, **_entry("LSTM", START, seed, _flow(model, x, y))}
            for bias in plan.forget_biases
            for seed in range(plan.seeds)
            for model in [new("LSTM", plan._replace(forget_bias=bias), seed)]
        ]
    finally:
        show.close()
    about = {
        **plan._asdict(),
        "training": plan.training._asdict(),
        "baseline": BASELINE,
        "solved": SOLVED,
        "lstmkit": lstmkit.__version__,
        "engine": lstmkit.backend(),
        "numpy": np.__version__,
        "seconds": time.monotonic() - began,
        "processor_seconds": time.process_time() - began_work,
    }
    return Findings({"about": about, "adding": adding, "flows": flows, "sweep": sweep}, kept[0])


def new(network: str, plan: Plan, seed: int) -> Adder:
    """Make an untrained network of the plan's size."""
    layer = (
        LSTM(2, plan.hidden_size, forget_bias=plan.forget_bias, seed=seed)
        if network == "LSTM"
        else BasicRNN(2, plan.hidden_size, seed=seed)
    )
    return Adder(layer, seed=np.random.default_rng([seed, 2]))


def best_runs(numbers: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Each network's run of every seed; of several learning rates, the one with the least error."""
    best: dict[str, list[dict[str, Any]]] = {}
    for network in NETWORKS:
        runs = [run for run in numbers["adding"] if run["network"] == network]
        seeds = sorted({run["seed"] for run in runs})
        best[network] = [
            min((run for run in runs if run["seed"] == seed), key=lambda run: float(run["error"]))
            for seed in seeds
        ]
    return best


def mean_flows(entries: list[dict[str, Any]]) -> Flow:
    """Average the flows of several seeds, each first divided by its value at distance 0."""

    def mean(name: str) -> Any:
        if any(entry[name] is None for entry in entries):
            return None
        rows = [np.array(entry[name]) for entry in entries]
        return np.mean([row / row[0] for row in rows], axis=0)

    return Flow(*(mean(name) for name in Flow._fields))


def _flow(model: Adder, x: Any, y: Any) -> Flow:
    return measure(model.layer, x, model.last_gradient(x, y))


def _entry(network: str, when: str, seed: int, flow: Flow) -> dict[str, Any]:
    arrays = {k: None if v is None else v.tolist() for k, v in flow._asdict().items()}
    return {"network": network, "when": when, "seed": seed, **arrays}


def _check(plan: Plan) -> None:
    for name in ("hidden_size", "seeds", "probes"):
        positive_integer("laboratory", name, getattr(plan, name))
    positive_integer("laboratory", "length", plan.length, least=2)
    for name in ("steps", "batch_size"):
        positive_integer("laboratory", name, getattr(plan.training, name))
    if not plan.rnn_rates:
        raise InputError("laboratory: rnn_rates is empty; expected at least one learning rate")
    for rate in (plan.training.learning_rate, *plan.rnn_rates):
        real_number("laboratory", "learning_rate", rate, low=0, open_ends="low")
    for bias in (plan.forget_bias, *plan.forget_biases):
        real_number("laboratory", "forget_bias", bias)
