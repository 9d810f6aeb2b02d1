"""Training: a stopped run goes on as if it never stopped, and nothing half-done is left behind."""

from __future__ import annotations

import errno
import functools
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmkit import losses, optimizers, run, store, training
from lstmkit.data import Batch, PaddedSequences, TextStreams
from lstmkit.progress import Progress
from lstmkit.shapes import InputError

V, H = 5, 4


class Toy:
    """A tiny recurrent net with everything that must survive a stop: a state, and random masks.

    h = tanh(E[token] + h' U),  logits = (h ∘ mask) W + b.  The carried state is ((h,), None).
    """

    def __init__(self, seed: int = 0, dtype: str = "float32", dropout: float = 0.3) -> None:
        rng = np.random.default_rng(seed)
        self.dropout = dropout
        self.parameters = {
            "E": rng.normal(size=(V, H)).astype(dtype),
            "U": 0.3 * rng.normal(size=(H, H)).astype(dtype),
            "W": rng.normal(size=(H, V)).astype(dtype),
            "b": np.zeros(V, dtype),
        }

    def __call__(
        self, inputs: Any, state: Any = None, lengths: Any = None, reset: Any = None
    ) -> Any:
        return self.forward(inputs, state, lengths, reset)[:2]

    def forward(
        self,
        inputs: Any,
        state: Any = None,
        lengths: Any = None,
        reset: Any = None,
        rng: Any = None,
    ) -> Any:
        E, U, W, b = self.parameters.values()
        n, steps = inputs.shape
        h = np.zeros((n, H), E.dtype) if state is None else state[0][0]
        keep = np.ones((n, steps, 1), bool) if reset is None else ~reset[:, :, None]
        hs = [h]
        for t in range(steps):
            hs.append(np.tanh(E[inputs[:, t]] + (hs[-1] * keep[:, t]) @ U))
        hidden = np.stack(hs[1:], 1)
        mask = np.ones_like(hidden)
        if rng is not None and self.dropout:
            mask = (rng.random(hidden.shape) > self.dropout).astype(E.dtype) / (1 - self.dropout)
        return (hidden * mask) @ W + b, ((hs[-1],), None), (inputs, hs, keep, mask)

    def backward(self, tape: Any, dlogits: Any) -> dict[str, Any]:
        _, U, W, _ = self.parameters.values()
        inputs, hs, keep, mask = tape
        hidden = np.stack(hs[1:], 1)
        dhidden = dlogits @ W.T * mask
        grads = {k: np.zeros_like(p) for k, p in self.parameters.items()}
        grads["W"] += np.einsum("nth,ntv->hv", hidden * mask, dlogits)
        grads["b"] += dlogits.sum((0, 1))
        dh = np.zeros_like(hs[0])
        for t in reversed(range(inputs.shape[1])):
            dz = (dh + dhidden[:, t]) * (1 - hs[t + 1] ** 2)
            np.add.at(grads["E"], inputs[:, t], dz)
            grads["U"] += (hs[t] * keep[:, t]).T @ dz
            dh = (dz @ U.T) * keep[:, t]
        return grads


def text(length: int = 200, seed: int = 1) -> np.ndarray:
    """Give tokens with something to learn: mostly the next letter, sometimes any."""
    rng = np.random.default_rng(seed)
    jump = np.where(rng.random(length) < 0.8, 1, rng.integers(0, V, length))
    return np.cumsum(jump) % V


def streams(length: int = 200, seed: int = 1) -> TextStreams:
    return TextStreams(text(length, seed), 3, 7, starts=[0, 40, 41])


SETTINGS: dict[str, Any] = {
    "optimizer": optimizers.adam(),
    "learning_rate": optimizers.cosine(0.05, 40, warmup=5),
    "clip_norm": 0.5,
    "report_every": 4,
    "checkpoint_every": 1000,
}


def train(model: Toy, batches: Any = None, **changes: Any) -> training.TrainingResult:
    return training.train(
        model,
        streams() if batches is None else batches,
        changes.pop("loss", losses.cross_entropy),
        **{**SETTINGS, **changes},
    )


def stopped(batches: Any, after: int, where: str = "batch") -> Any:
    """Give the same batches, with a Ctrl-C while the one after ``after`` others is made."""

    class Stopped(type(batches)):  # type: ignore[misc]
        def __next__(self) -> Batch:
            batch = super().__next__()
            if self.position == after + 1:
                raise KeyboardInterrupt
            return batch

    batches.__class__ = Stopped
    return batches


def timeless(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    times = {"elapsed", "tokens_per_second"}
    return [{k: v for k, v in line.items() if k not in times} for line in history]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def state(path: Path) -> tuple[Any, dict[str, tuple[Any, ...]]]:
    """Everything in a checkpoint but its times, arrays as bytes."""
    stored = store.load(path)
    config = {**stored.config, "numbers": dict(stored.config["numbers"])}
    for name in ("elapsed", "window_seconds"):
        del config["numbers"][name]
    arrays = {k: (a.dtype, a.shape, a.tobytes()) for k, a in stored.arrays.items()}
    return config, arrays


def bits(model: Toy) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.parameters.items()}


# ----------------------------------------------------------------------------- the toy is right


def test_toy_gradient() -> None:
    """Complex step in float64 through the carried state, resets and the masks."""
    model = Toy(dtype="float64")
    batch = next(streams())
    start = ((np.random.default_rng(2).normal(size=(3, H)),), None)

    def logits() -> Any:
        return model.forward(batch.inputs, start, None, batch.reset, np.random.default_rng(3))

    prediction, _, tape = logits()
    weights = np.random.default_rng(4).normal(size=prediction.shape)
    grads = model.backward(tape, weights)
    rng = np.random.default_rng(5)
    for name, array in model.parameters.items():
        direction = rng.normal(size=array.shape)
        model.parameters[name] = array + 1e-30j * direction
        slope = (logits()[0] * weights).sum().imag / 1e-30
        model.parameters[name] = array
        assert slope == pytest.approx((grads[name] * direction).sum(), rel=1e-12)


def test_it_learns() -> None:
    """The loss comes near the entropy of the text, 0.66 nats, from 1.61 for a blind guess."""
    model = Toy(dropout=0.0)
    result = train(model, streams(2000), steps=300, learning_rate=0.02, report_every=100)
    assert 0.6 < result.history[-1]["loss"] < 0.75
    held_out = training.evaluate(model, TextStreams(text(1000, 9), 2, 50), losses.cross_entropy)
    assert 0.6 < held_out < 0.75


# ----------------------------------------------------------------- a step, against a plain loop


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.1}, {"clip_value": 0.01}])
def test_against_a_plain_loop(clip: dict[str, float]) -> None:
    """The same run written out: state carried, masks in order, rate by step, clipping."""
    model, plain = Toy(3), Toy(3)
    schedule = optimizers.cosine(0.1, 30, warmup=3)
    result = train(
        model, steps=30, seed=8, report_every=1, **{"clip_norm": None, **clip},
        optimizer=optimizers.sgd(momentum=0.9), learning_rate=schedule,
    )  # fmt: skip

    batches, rng, carried = streams(), np.random.default_rng(8), None
    velocity = {k: np.zeros_like(p) for k, p in plain.parameters.items()}
    tokens = 0
    for step in range(30):
        batch = next(batches)
        prediction, carried, tape = plain.forward(batch.inputs, carried, None, batch.reset, rng)
        value, gradient = losses.cross_entropy(prediction, batch.targets)
        grads = plain.backward(tape, gradient)
        norm = math.sqrt(sum((g.astype(float) ** 2).sum() for g in grads.values()))
        for name, p in plain.parameters.items():
            g = grads[name]
            if "clip_norm" in clip:
                g = g * min(1.0, clip["clip_norm"] / norm)
            if "clip_value" in clip:
                g = g.clip(-clip["clip_value"], clip["clip_value"])
            velocity[name] = 0.9 * velocity[name] - schedule(step) * g
            p += velocity[name]
        tokens += batch.count
        line = result.history[step]
        assert line["step"] == step + 1
        assert line["tokens"] == tokens
        assert line["loss"] == pytest.approx(value, rel=1e-5)
        assert line["bits"] == line["loss"] / math.log(2)
        assert line["gradient_norm"] == pytest.approx(norm, rel=1e-4)
        assert line["learning_rate"] == schedule(step)
    for name, p in plain.parameters.items():  # float32: 30 steps of rounding
        np.testing.assert_allclose(model.parameters[name], p, rtol=1e-4, atol=1e-6)
    assert (result.reason, result.steps, result.tokens) == ("steps", 30, tokens)


def test_state_is_not_carried_unless_batches_carry() -> None:
    seen = []

    class Spy(Toy):
        def forward(self, inputs: Any, state: Any = None, *rest: Any, **more: Any) -> Any:
            seen.append(state)
            return super().forward(inputs, state, *rest, **more)

    sequences = [text(n) for n in (4, 4, 4)]
    batches = PaddedSequences(sequences, sequences, 2)
    train(Spy(), batches, steps=5)
    assert seen == [None] * 5
    seen.clear()
    train(Spy(), steps=5)
    assert [one is None for one in seen] == [True, False, False, False, False]


def test_a_line_is_the_mean_over_its_targets() -> None:
    """Batches of unequal size: a mean over targets is not the mean of the batches' means."""
    one, each = (
        train(Toy(), steps=12, report_every=every).history for every in (6, 1)
    )  # fmt: skip
    assert [line["step"] for line in one] == [6, 12]
    counts = np.diff([0] + [line["tokens"] for line in each])
    assert len(set(counts)) > 1
    for k, line in enumerate(one):
        part = slice(6 * k, 6 * k + 6)
        want = np.average([line["loss"] for line in each[part]], weights=counts[part])
        assert line["loss"] == pytest.approx(want, rel=1e-12)


def test_evaluate() -> None:
    """Over one epoch, whatever the chunks: state carried, no masks, weighted by targets."""
    model = Toy()
    tokens = text(101)
    whole = TextStreams(tokens, 1, 100)
    want = training.evaluate(model, whole, losses.cross_entropy)
    logits, _ = model(tokens[None, :-1])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert want == pytest.approx(-log_p[0, np.arange(100), tokens[1:]].mean(), rel=1e-6)
    endless = TextStreams(tokens, 1, 7)
    endless.position = 3
    assert training.evaluate(model, endless, losses.cross_entropy) == pytest.approx(want, rel=1e-6)
    assert endless.position == 3


def test_mask_is_given_to_the_loss() -> None:
    class Double:
        parameters = {"w": np.array([2.0])}  # noqa: RUF012

        def __call__(self, x: Any, **_: Any) -> Any:
            return x[..., :1] * self.parameters["w"], None

        def forward(self, x: Any, **_: Any) -> Any:
            return x[..., :1] * self.parameters["w"], None, x

        def backward(self, x: Any, dy: Any) -> Any:
            return {"w": (dy * x[..., :1]).sum((0, 1))}

    sequences = [np.ones((n, 1)) for n in (1, 4, 2)]
    batches = PaddedSequences(sequences, sequences, 3)
    assert training.evaluate(Double(), batches, losses.mean_squared_error) == 1.0
    result = training.train(
        Double(), batches, losses.mean_squared_error, steps=1, report_every=1, nats=False,
        optimizer=optimizers.sgd(), learning_rate=0.0,
    )  # fmt: skip
    assert result.history[0]["loss"] == 1.0
    assert "bits" not in result.history[0]


# ------------------------------------------------------------------ stopped and gone on with

FULL: dict[str, Any] = {"steps": 40, "validate_every": 6, "patience": 100}
RUNS: dict[str, dict[str, Any]] = {
    "plain": {"steps": 40},
    "validated": FULL | {"plateau": optimizers.plateau(0.5, 1, threshold=0.05)},
    "early stop": FULL | {"patience": 2, "learning_rate": 0.5, "seed": 3},
    "sgd": FULL | {"optimizer": optimizers.sgd(0.9, nesterov=True), "clip_value": 0.1},
}


def arguments(kind: str) -> dict[str, Any]:
    changes = dict(RUNS[kind])
    if "validate_every" in changes:
        changes["validation"] = streams(80, 2)
    return changes


@functools.cache
def never_stopped(kind: str, folder: Path) -> tuple[Any, ...]:
    model = Toy()
    result = train(
        model, **arguments(kind), checkpoint=folder / f"{kind}.c", metrics=folder / f"{kind}.m"
    )
    return bits(model), result, state(folder / f"{kind}.c"), timeless(lines(folder / f"{kind}.m"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


# Of 10 batches an epoch; lines after every 4th step, validations after every 6th.
@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("stops", [[0], [1], [6], [9, 10, 11], [12], [13, 13], [5, 18, 24, 39]])
def test_resumed_is_as_never_stopped(
    tmp_path: Path, shared: Path, kind: str, stops: list[int]
) -> None:
    want_bits, want, want_state, want_lines = never_stopped(kind, shared)
    files = {"checkpoint": tmp_path / "c", "metrics": tmp_path / "m"}
    for k, stop in enumerate(stops):
        if stop >= want.steps:
            return
        batches = stopped(streams(), stop)
        model = Toy(seed=k)
        result = train(model, batches, **arguments(kind), **files, resume=k > 0)
        assert (result.reason, result.steps) == ("interrupted", stop)
        assert batches.position == stop  # the batch that was not learned from comes again
    model = Toy(seed=99)  # other weights: all must come from the file
    result = train(model, **arguments(kind), **files, resume=True)
    assert bits(model) == want_bits
    assert (result.reason, result.steps, result.tokens) == (want.reason, want.steps, want.tokens)
    assert (result.best_step, result.best_loss) == (want.best_step, want.best_loss)
    assert state(tmp_path / "c") == want_state
    assert timeless(lines(tmp_path / "m")) == want_lines == timeless(result.history)


def test_the_runs_do_what_they_are_for(shared: Path) -> None:
    """The comparison above would be empty if nothing stopped early or no plateau came."""
    assert never_stopped("early stop", shared)[1].reason == "patience"
    assert never_stopped("early stop", shared)[1].steps < 40
    assert store.load(shared / "early stop.c").arrays["best/E"].any()
    assert store.load(shared / "validated.c").arrays["plateau/scale"] < 1
    assert never_stopped("plain", shared)[1].reason == "steps"
    stored = store.load(shared / "validated.c")
    assert stored.config["carried"] == [["carried/0/0"], None]
    assert stored.config["position"] == 40


@pytest.mark.parametrize("stop", [1, 4, 13, 24])
def test_a_shorter_run_made_longer(tmp_path: Path, shared: Path, stop: int) -> None:
    """Ending at a step and asking for more is a stop as well; lines of the short end are redone."""
    want_bits, _, want_state, want_lines = never_stopped("validated", shared)
    files = {"checkpoint": tmp_path / "c", "metrics": tmp_path / "m"}
    changes = arguments("validated")
    train(Toy(), **changes | {"steps": stop}, **files)
    assert lines(tmp_path / "m")[-1]["step"] == stop
    model = Toy(seed=99)
    train(model, **changes, **files, resume=True)
    assert bits(model) == want_bits
    assert state(tmp_path / "c") == want_state
    assert timeless(lines(tmp_path / "m")) == want_lines


def test_resuming_what_has_ended_changes_nothing(tmp_path: Path) -> None:
    files = {"checkpoint": tmp_path / "c", "metrics": tmp_path / "m"}
    for kind in ("early stop", "plain"):
        model, again = Toy(), Toy(seed=1)
        first = train(model, **arguments(kind) | {"steps": 37}, **files)
        log, kept = timeless(lines(tmp_path / "m")), state(tmp_path / "c")
        second = train(again, **arguments(kind) | {"steps": 37}, **files, resume=True)
        assert bits(again) == bits(model)
        assert first[1:3] == second[1:3]
        assert first.reason == second.reason
        assert timeless(lines(tmp_path / "m")) == log
        assert state(tmp_path / "c") == kept


class Crash(Exception):
    pass


@pytest.mark.parametrize("crash", [7, 11, 17, 29])
def test_a_crash_between_checkpoints(tmp_path: Path, shared: Path, crash: int) -> None:
    """Lines written after the last checkpoint are removed, so that no step is there twice."""
    want_bits, _, want_state, want_lines = never_stopped("validated", shared)
    files = {"checkpoint": tmp_path / "c", "metrics": tmp_path / "m"}
    batches, changes = streams(), arguments("validated")

    def loss(prediction: Any, targets: Any) -> Any:
        if batches.position == crash + 1:
            raise Crash
        return losses.cross_entropy(prediction, targets)

    with pytest.raises(Crash):
        train(Toy(), batches, loss=loss, **changes, **files, checkpoint_every=5)
    assert store.load(tmp_path / "c").config["numbers"]["step"] == crash // 5 * 5
    with open(tmp_path / "m", "a") as file:
        file.write('{"step": 1000, "lo')  # a line that the crash cut off
    model = Toy(seed=99)
    train(model, **changes, **files, resume=True)
    assert bits(model) == want_bits
    assert state(tmp_path / "c") == want_state
    assert timeless(lines(tmp_path / "m")) == want_lines


def test_stopped_during_validation(tmp_path: Path, shared: Path) -> None:
    """Ctrl-C in the middle of a validation: it is undone, and made again when going on."""
    want_bits, _, want_state, want_lines = never_stopped("validated", shared)
    files = {"checkpoint": tmp_path / "c", "metrics": tmp_path / "m"}
    changes = arguments("validated")

    class Cut:
        carries = True

        def __iter__(self) -> Iterator[Batch]:
            yield next(streams(80, 2))
            raise KeyboardInterrupt

    result = train(Toy(), **changes | {"validation": Cut()}, **files)
    assert (result.reason, result.steps, result.best_loss) == ("interrupted", 6, None)
    assert lines(tmp_path / "m")[-1]["step"] == 4
    model = Toy(seed=99)
    train(model, **changes, **files, resume=True)
    assert bits(model) == want_bits
    assert state(tmp_path / "c") == want_state
    assert timeless(lines(tmp_path / "m")) == want_lines


def test_seconds(tmp_path: Path) -> None:
    """A run in seconds: everything counts in seconds, also over a stop."""
    files = {"checkpoint": tmp_path / "c", "metrics": tmp_path / "m"}
    rates: list[float] = []

    def schedule(position: float) -> float:
        rates.append(position)
        return 0.01

    changes: dict[str, Any] = {
        "seconds": 0.3, "learning_rate": schedule, "validation": streams(80, 2), "plateau": None,
        "validate_every": 0.1, "report_every": 0.05, "checkpoint_every": 0.05,
    }  # fmt: skip
    begun = time.perf_counter()
    result = train(Toy(), stopped(streams(), 10), **changes, **files)
    assert (result.reason, result.steps) == ("interrupted", 10)
    before = result.elapsed
    result = train(Toy(), **changes, **files, resume=True)
    assert result.reason == "seconds"
    assert 0.3 <= result.elapsed < time.perf_counter() - begun + 0.1
    assert 0.0 <= rates[0] < 0.05
    assert rates == sorted(rates)
    assert rates[-1] <= 0.3
    assert rates[11] >= before
    validated = [line["elapsed"] for line in result.history if "validation_loss" in line]
    assert 2 <= len(validated) <= 3
    assert 4 <= len(result.history) <= 12


def test_early_stopping_gives_the_best_weights(tmp_path: Path) -> None:
    """Validation losses by hand: the best is the second, patience two, so it ends at the fourth."""
    script = iter([3.0, 1.0, 2.0, 1.5, 0.5])
    kept = []

    class Scripted(Toy):
        def __call__(self, *_: Any, **__: Any) -> Any:
            kept.append(bits(self))
            return next(script), None

    def loss(prediction: Any, targets: Any) -> Any:
        if isinstance(prediction, float):
            return prediction, None
        return losses.cross_entropy(prediction, targets)

    class Once:
        carries = False

        def __iter__(self) -> Iterator[Batch]:
            yield next(streams())

    model = Scripted()
    result = train(
        model, loss=loss, validation=Once(), validate_every=3, patience=2, steps=100,
        checkpoint=tmp_path / "c",
    )  # fmt: skip
    assert (result.reason, result.steps) == ("patience", 12)
    assert (result.best_step, result.best_loss) == (6, 1.0)
    assert bits(model) == kept[1]
    stored = store.load(tmp_path / "c")  # the checkpoint has the last weights, and the best
    assert stored.arrays["parameters/E"].tobytes() == kept[3]["E"]
    about, weights = run.best_weights(stored)
    assert about == {}
    assert {name: array.tobytes() for name, array in weights.items()} == kept[1]


def test_a_plateau_lowers_the_rate() -> None:
    """No gain is ever enough here, so that the scale halves at every second validation."""
    result = train(
        Toy(), steps=12, report_every=1, learning_rate=0.04, validation=streams(80, 2),
        validate_every=2, plateau=optimizers.plateau(0.5, 2, threshold=100.0),
    )  # fmt: skip
    rates = [line["learning_rate"] for line in result.history]
    assert rates == [0.04] * 6 + [0.02] * 4 + [0.01] * 2


def test_best_weights_of_other_files(tmp_path: Path) -> None:
    train(Toy(), steps=3, checkpoint=tmp_path / "c", about={"kind": "Toy", "config": {"n": (1, 2)}})
    about, weights = run.best_weights(store.load(tmp_path / "c"))
    assert about == {"kind": "Toy", "config": {"n": [1, 2]}}
    assert weights.keys() == {"E", "U", "W", "b"}
    store.save(tmp_path / "m", "Toy", {}, Toy().parameters)
    with pytest.raises(InputError, match="of kind 'Toy' is not a whole checkpoint"):
        run.best_weights(store.load(tmp_path / "m"))


# ------------------------------------------------------------------------------------ diverging


@pytest.mark.parametrize("what", ["loss nan", "loss inf", "gradient nan", "gradient inf"])
def test_diverging(tmp_path: Path, what: str) -> None:
    model, batches = Toy(), streams()
    at_checkpoint: dict[str, bytes] = {}
    before: dict[str, bytes] = {}

    def loss(prediction: Any, targets: Any) -> Any:
        value, gradient = losses.cross_entropy(prediction, targets)
        if batches.position == 6:
            at_checkpoint.update(bits(model))
        if batches.position == 9:
            before.update(bits(model))
            bad = float(what.split()[1])
            if "loss" in what:
                value = bad
            else:
                gradient[0, 0, 0] = bad
        return value, gradient

    with pytest.raises(training.TrainingDiverged) as caught:
        train(
            model, batches, loss=loss, steps=20, checkpoint=tmp_path / "c", checkpoint_every=5,
            metrics=tmp_path / "m",
        )  # fmt: skip
    message = str(caught.value)
    assert "\n" not in message
    for part in ("train: after step 8 the loss is", "holds step 5", str(tmp_path / "c"), "clip_n"):
        assert part in message
    assert bits(model) == before
    stored = store.load(tmp_path / "c")
    assert stored.config["numbers"]["step"] == 5
    assert {k: stored.arrays[f"parameters/{k}"].tobytes() for k in before} == at_checkpoint
    assert [line["step"] for line in lines(tmp_path / "m")] == [4, 8]
    assert sorted(os.listdir(tmp_path)) == ["c", "m"]


def test_diverging_for_real(tmp_path: Path) -> None:
    """A learning rate far too high, float32: said without a warning, no bad checkpoint."""
    with pytest.raises(training.TrainingDiverged, match="this run has written no checkpoint"):
        train(
            Toy(), steps=50, optimizer=optimizers.sgd(), learning_rate=1e40, clip_norm=None,
            checkpoint=tmp_path / "c",
        )  # fmt: skip
    assert os.listdir(tmp_path) == []


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    """The loss and the gradient are still finite, the step makes the weights infinite."""
    with pytest.raises(training.TrainingDiverged, match="step 1 parameters 'E' holds nan or inf"):
        train(
            Toy(), steps=1, optimizer=optimizers.sgd(), learning_rate=3e38, clip_norm=None,
            loss=lambda p, t: (1.0, np.full_like(p, 1e3)), checkpoint=tmp_path / "c",
        )  # fmt: skip
    assert os.listdir(tmp_path) == []


def test_a_validation_loss_that_is_not_finite() -> None:
    class Bad(Toy):
        def __call__(self, *a: Any, **k: Any) -> Any:
            prediction, state = super().__call__(*a, **k)
            return prediction * np.nan, state

    with pytest.raises(training.TrainingDiverged, match="after step 2 the validation loss is nan"):
        train(Bad(), steps=9, validation=streams(80, 2), validate_every=2)


# ------------------------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "exactly one of steps and seconds"),
        ({"steps": 1, "seconds": 1.0}, "exactly one of steps and seconds"),
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"steps": 1.5}, "steps is 1.5; expected a whole number"),
        ({"seconds": 0}, "seconds is 0; expected above 0"),
        ({"steps": 1, "seed": -1}, "seed is -1; expected at least 0"),
        ({"steps": 1, "clip_norm": 0}, "clip_norm is 0; expected above 0"),
        ({"steps": 1, "clip_value": "a"}, "clip_value is 'a'; expected a number"),
        ({"steps": 1, "learning_rate": -1}, "rate is -1; expected at least 0"),
        ({"steps": 1, "patience": 2}, "patience is given without validation"),
        ({"steps": 1, "plateau": optimizers.plateau()}, "plateau is given without validation"),
        ({"steps": 1, "patience": 0}, "patience is 0; expected at least 1"),
        ({"steps": 1, "validate_every": 0}, "validate_every is 0; expected at least 1"),
        ({"steps": 1, "report_every": 0.5}, "report_every is 0.5; expected a whole number"),
        ({"steps": 1, "checkpoint_every": 0}, "checkpoint_every is 0; expected at least 1"),
        ({"steps": 1, "resume": True}, "resume is True without a checkpoint"),
        ({"steps": 1, "about": {"x": {1}}}, "about is not JSON"),
    ],
)
def test_bad_arguments(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    model = Toy()
    before = bits(model)
    files = {"metrics": tmp_path / "m"}
    if "resume" not in changes:
        files["checkpoint"] = tmp_path / "c"
    with pytest.raises(InputError, match=message):
        train(model, **changes, **files)
    assert bits(model) == before
    assert os.listdir(tmp_path) == []


def test_batches_that_end() -> None:
    class Short:
        carries, position = False, 0

        def __iter__(self) -> Iterator[Batch]:
            yield from (next(streams()) for _ in range(3))

    with pytest.raises(InputError, match="batches ended at step 3; expected no end"):
        train(Toy(), Short(), steps=4)


def test_nothing_to_evaluate() -> None:
    class Empty:
        carries = False

        def __iter__(self) -> Iterator[Batch]:
            return iter(())

    with pytest.raises(InputError, match="evaluate: batches hold no target that counts"):
        training.evaluate(Toy(), Empty(), losses.cross_entropy)


@pytest.mark.parametrize("name", ["checkpoint", "metrics"])
def test_an_unwritable_place_is_found_before_the_first_step(tmp_path: Path, name: str) -> None:
    def no_step(*_: Any) -> Any:
        raise AssertionError("a step was made")

    good = {"checkpoint": tmp_path / "c", "metrics": tmp_path / "m"}
    for bad, error in ((tmp_path / "gone" / "x", FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(error, match=str(bad)):
            train(Toy(), loss=no_step, steps=5, **good | {name: bad})
        assert os.listdir(tmp_path) == []


def save_other(path: Path, **changes: Any) -> None:
    stored = store.load(path)
    config, arrays = dict(stored.config), dict(stored.arrays)
    kind = changes.pop("kind", stored.kind)
    for key, value in changes.items():
        (config if key in config else arrays)[key] = value
        if value is None:
            config.pop(key, None)
            arrays.pop(key, None)
    store.save(path, kind, config, arrays)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "LSTM"}, "is of the kind 'LSTM'; expected 'checkpoint'"),
        ({"about": {"n": 2}}, "is of another model or text, or of other settings"),
        ({"parameters/E": None}, r"has nothing as parameters 'E'; expected float32 \(5, 4\)"),
        ({"parameters/X": np.zeros(2)}, r"float64 \(2,\) as parameters 'X'; expected nothing"),
        ({"parameters/b": np.zeros(5)}, r"has float64 \(5,\) as parameters 'b'; expected float32"),
        ({"optimizer/mean/b": None}, "has nothing as optimizer 'mean/b'"),
        ({"plateau/scale": np.ones(())}, "as plateau 'scale'; expected nothing"),
        ({"random": None}, r"does not hold a whole run \(KeyError"),
        ({"random": {"bit_generator": "PCG64"}}, r"does not hold a whole run"),
        ({"random": 3}, r"does not hold a whole run"),
        ({"numbers": {}}, r"does not hold a whole run"),
        ({"carried": "carried/9"}, r"does not hold a whole run"),
    ],
)
def test_checkpoints_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "c"
    train(Toy(), steps=3, checkpoint=path, about={"n": 1})
    save_other(path, **changes)
    data, model = path.read_bytes(), Toy()
    before = bits(model)
    with pytest.raises(InputError, match=message) as caught:
        train(model, steps=6, checkpoint=path, about={"n": 1}, resume=True, metrics=tmp_path / "m")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert bits(model) == before
    assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["c"]


def test_diverging_after_a_resume_names_the_checkpoint(tmp_path: Path) -> None:
    train(Toy(), steps=3, checkpoint=tmp_path / "c")
    with pytest.raises(training.TrainingDiverged, match=r"after step 3 .* holds step 3"):
        train(
            Toy(), steps=6, checkpoint=tmp_path / "c", resume=True,
            loss=lambda prediction, targets: (math.nan, prediction),
        )  # fmt: skip


def test_resuming_from_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        train(Toy(), steps=3, checkpoint=tmp_path / "gone", resume=True)


def test_a_log_that_is_none_is_not_touched(tmp_path: Path) -> None:
    train(Toy(), steps=3, checkpoint=tmp_path / "c")
    (tmp_path / "m").write_text("Once upon a time\nthere was a text\n")
    with pytest.raises(InputError, match=r"line 1 of '.*m' is not of a log"):
        train(Toy(), steps=6, checkpoint=tmp_path / "c", metrics=tmp_path / "m", resume=True)
    assert (tmp_path / "m").read_text() == "Once upon a time\nthere was a text\n"


def test_patience_that_comes_or_goes_with_a_resumed_run(tmp_path: Path) -> None:
    changes = arguments("validated") | {"checkpoint": tmp_path / "c"}
    without = {k: v for k, v in changes.items() if k != "patience"}
    train(Toy(), **without | {"steps": 12})
    result = train(Toy(), **changes | {"steps": 24}, resume=True)
    assert result.best_step is not None
    assert result.best_step > 12
    assert any(name.startswith("best/") for name in store.load(tmp_path / "c").arrays)
    train(Toy(), **without | {"steps": 25}, resume=True)
    assert not any(name.startswith("best/") for name in store.load(tmp_path / "c").arrays)


# ------------------------------------------------------------------------------ what it shows


class Recorder(Progress):
    def __init__(self) -> None:
        super().__init__("none")
        self.calls: list[Any] = []

    def start(self, total: float, unit: str, done: float = 0.0) -> None:
        self.calls.append(("start", total, unit, done))

    def update(self, report: Any) -> None:
        self.calls.append((time.perf_counter(), dict(report)))

    def message(self, text: str) -> None:
        self.calls.append(text)

    def close(self) -> None:
        self.calls.append("close")


def test_progress(tmp_path: Path) -> None:
    seen = Recorder()
    train(Toy(), steps=300, report_every=100, checkpoint=tmp_path / "c", progress=seen)
    assert seen.calls[0] == ("start", 300.0, "steps", 0.0)
    assert seen.calls[-1] == "close"
    updates = [call for call in seen.calls[1:-1] if isinstance(call, tuple)]
    took = updates[-1][0] - updates[0][0]
    assert 4 <= len(updates) <= 5 + took / training.SHOW_SECONDS  # 3 lines, and 10 a second
    assert updates[0][1]["step"] == 1
    assert updates[-1][1]["step"] == 300
    again = Recorder()
    train(Toy(), steps=301, checkpoint=tmp_path / "c", progress=again, resume=True)
    assert again.calls[:2] == [("start", 301.0, "steps", 300.0), "resumed at step 300"]


def test_lines_are_there_at_once(tmp_path: Path) -> None:
    """Each line is whole and in the file before the next step begins."""
    counts = []

    def loss(prediction: Any, targets: Any) -> Any:
        data = (tmp_path / "m").read_bytes()
        assert data == b"" or data.endswith(b"}\n")
        counts.append(data.count(b"\n"))
        return losses.cross_entropy(prediction, targets)

    result = train(Toy(), loss=loss, steps=9, report_every=2, metrics=tmp_path / "m")
    assert counts == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert lines(tmp_path / "m") == result.history
    assert [line["step"] for line in result.history] == [2, 4, 6, 8, 9]
    assert list(result.history[0]) == [
        "step", "loss", "bits", "tokens", "tokens_per_second", "learning_rate", "gradient_norm",
        "elapsed",
    ]  # fmt: skip


def test_the_log_is_on_the_disk_before_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        same = os.path.samestat(os.fstat(descriptor), os.stat(tmp_path / "m"))
        synced.append("log" if same else "checkpoint" if not synced[1:] else "its folder")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    train(Toy(), steps=3, checkpoint=tmp_path / "c", metrics=tmp_path / "m")
    assert synced == ["log", "checkpoint", "its folder"]


def test_a_log_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the file, and the file is closed."""

    class FullDisk(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    full = io.TextIOWrapper(io.BufferedWriter(FullDisk()))
    monkeypatch.setattr(run, "open", lambda *_, **__: full, raising=False)
    with pytest.raises(OSError, match=r"No space left on device: '.*m'"):
        train(Toy(), steps=9, metrics=tmp_path / "m")


# ------------------------------------------------------------------------------------- Ctrl-C


@pytest.fixture(autouse=True)
def _ctrl_c_is_not_ignored() -> Iterator[None]:
    """A shell starts background jobs with SIGINT ignored; the tests may be one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


SCRIPT = """
import os, signal, sys, time
import numpy as np
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {tests!r})
from test_training import Toy, streams, train, store
from lstmkit import training

class Slow(Toy):
    def forward(self, *a, **k):
        out = super().forward(*a, **k)
        time.sleep(0.001)
        return out

{before}
result = train(Slow(), steps={steps}, report_every=1, checkpoint="c", metrics="m", resume={resume})
print("reason", result.reason, result.steps, flush=True)
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


def start(folder: Path, before: str = "", steps: int = 10**6, resume: bool = False) -> Any:
    script = SCRIPT.format(
        tests=str(Path(__file__).parent), before=before, steps=steps, resume=resume
    )
    source = str(Path(store.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_real_ctrl_c(tmp_path: Path) -> None:
    """SIGINT at random instants, again and again: each time a checkpoint and no traceback."""
    rng = np.random.default_rng(0)
    log, steps = tmp_path / "m", 0
    for k in range(3):
        process = start(tmp_path, resume=k > 0)
        wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") > steps + 2)  # noqa: B023
        time.sleep(0.02 * rng.random())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert err == ""
        assert process.returncode == 0
        steps = int(out.split()[-1])
        assert out == f"reason interrupted {steps}\n"
        assert store.load(tmp_path / "c").config["numbers"]["step"] == steps
        # Between a step and its line in the log, the line is written when the run goes on.
        logged = [line["step"] for line in lines(log)]
        assert logged in (list(range(1, steps + 1)), list(range(1, steps)))
    process = start(tmp_path, steps=steps + 20, resume=True)
    out, err = process.communicate(timeout=30)
    assert (out, err) == (f"reason steps {steps + 20}\n", "")
    assert [line["step"] for line in lines(log)] == list(range(1, steps + 21))
    model = Toy()
    train(model, steps=steps + 20)
    stored = store.load(tmp_path / "c")
    assert {k: stored.arrays[f"parameters/{k}"].tobytes() for k in bits(model)} == bits(model)
    assert sorted(os.listdir(tmp_path)) == ["c", "m"]


def test_a_second_ctrl_c_lets_the_user_out(tmp_path: Path) -> None:
    """While the last checkpoint is written, here for ever: the old one stays whole."""
    before = """
train(Toy(), steps=3, checkpoint="c")
whole = store.save
def slow(*args):
    print("saving", flush=True)
    time.sleep(60)
store.save = slow
"""
    process = start(tmp_path, before, resume=True)
    wait_for(lambda: (tmp_path / "m").exists() and (tmp_path / "m").stat().st_size > 0)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "saving\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + 5
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert store.load(tmp_path / "c").config["numbers"]["step"] == 3
    assert sorted(os.listdir(tmp_path)) == ["c", "m"]


def test_ctrl_c_while_the_weights_change(tmp_path: Path) -> None:
    """The one moment that must not be cut in two: the signal waits until the step is whole."""

    class Pressing(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            for k, item in enumerate(super().items()):
                if k == 2 and pressing:
                    signal.raise_signal(signal.SIGINT)
                yield item

    pressing: list[int] = []
    adam = optimizers.adam()

    def update(grads: Any, memory: Any, parameters: Any, rate: float) -> Any:
        updates, memory = adam.update(grads, memory, parameters, rate)
        if int(memory["step"]) == 7:
            pressing.append(1)
        return Pressing(updates), memory

    model = Toy()
    result = train(
        model,
        steps=40,
        optimizer=optimizers.Optimizer(adam.init, update),
        checkpoint=tmp_path / "c",
    )
    assert (result.reason, result.steps) == ("interrupted", 7)
    want = Toy()
    train(want, steps=7)
    assert bits(model) == bits(want)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(model, steps=40, checkpoint=tmp_path / "c", resume=True)
    train(want := Toy(), steps=40)
    assert bits(model) == bits(want)


def test_a_handler_that_is_there_stays(tmp_path: Path) -> None:
    """Somebody else's handler is not replaced; theirs cuts a step in two: then no checkpoint."""

    def theirs(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    class Pressing(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            yield from super().items()
            signal.raise_signal(signal.SIGINT)

    adam = optimizers.adam()

    def update(*args: Any) -> Any:
        assert signal.getsignal(signal.SIGINT) is theirs
        updates, memory = adam.update(*args)
        return (Pressing(updates) if int(memory["step"]) == 3 else updates), memory

    before = signal.signal(signal.SIGINT, theirs)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(
                Toy(), steps=40, optimizer=optimizers.Optimizer(adam.init, update),
                checkpoint=tmp_path / "c", checkpoint_every=1,
            )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    assert store.load(tmp_path / "c").config["numbers"]["step"] == 2


def test_diverging_before_any_checkpoint_leaves_one_of_the_last_good_weights(
    tmp_path: Path,
) -> None:
    model, batches, calls = Toy(), streams(), []

    def loss(prediction: Any, targets: Any) -> Any:
        calls.append({name: array.copy() for name, array in model.parameters.items()})
        value, gradient = losses.cross_entropy(prediction, targets)
        return (math.nan if len(calls) == 4 else value), gradient

    with pytest.raises(training.TrainingDiverged, match=r"after step 3 .* holds step 3"):
        train(model, batches, loss=loss, steps=9, checkpoint=tmp_path / "c")
    stored = store.load(tmp_path / "c")
    for name, array in calls[-1].items():
        np.testing.assert_array_equal(stored.arrays[f"parameters/{name}"], array)
    assert batches.position == 3
