"""A training run: everything that changes while it goes on, and the two files that tell of it.

The checkpoint (safetensors, see `lstmkit.store`) holds the whole of it, so that it can go on as if
it had never stopped; the log (JSON lines) holds its history, for people and plots.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from lstmkit import store
from lstmkit.shapes import Array, InputError

KIND = "checkpoint"
State = Any  # what a model carries from batch to batch: None, an array, or a tuple of states


class TrainingDiverged(RuntimeError):
    """The loss, a gradient or a weight became nan or infinite."""

    what = ""  # what was seen, in words


@dataclass
class Run:
    """Everything that changes in a run but the weights; what has a default is a plain number."""

    position: int  # in the batches
    random: Mapping[str, Any]  # state of the generator that the masks are drawn from
    optimizer: dict[str, Array]
    plateau: dict[str, Array]
    carried: State
    best: dict[str, Array]  # weights, if they are kept

    step: int = 0
    tokens: int = 0
    elapsed: float = 0.0
    window_loss: float = 0.0  # since the last line of the log: the sum over all targets,
    window_tokens: int = 0  # how many they were,
    window_seconds: float = 0.0  # and how long their steps took
    learning_rate: float = 0.0  # of the last step
    gradient_norm: float = 0.0  # of the last step, before clipping
    logged_step: int = 0
    logged_at: float = 0.0  # in the run's unit, steps or seconds
    validated_at: float = 0.0  # in the run's unit
    best_loss: float | None = None
    best_step: int | None = None
    waited: int = 0  # validations since the best one

    def count(self, value: float, tokens: int, took: float, rate: float, norm: float) -> None:
        """Add a step."""
        self.step += 1
        self.tokens += tokens
        self.window_loss += value * tokens
        self.window_tokens += tokens
        self.window_seconds += took
        self.learning_rate, self.gradient_norm = rate, norm

    def judge(self, value: float, keep: Mapping[str, Array]) -> None:
        """Compare a validation loss with the best one; if it is better, copy the arrays."""
        if self.best_loss is None or value < self.best_loss:
            self.best_loss, self.best_step, self.waited = value, self.step, 0
            self.best = {name: array.copy() for name, array in keep.items()}
        else:
            self.waited += 1

    def report(self, nats: bool, validated: float | None = None) -> dict[str, Any]:
        """Return a line of the log: where the run is, and what happened since the line before."""
        loss = self.window_loss / max(self.window_tokens, 1)
        report: dict[str, Any] = {"step": self.step, "loss": loss}
        if nats:
            report["bits"] = loss / math.log(2)
        report |= {
            "tokens": self.tokens,
            "tokens_per_second": round(self.window_tokens / max(self.window_seconds, 1e-9), 1),
            "learning_rate": self.learning_rate,
            "gradient_norm": self.gradient_norm,
            "elapsed": round(self.elapsed, 3),
        }
        if validated is not None:
            report["validation_loss"] = validated
        return report

    def start_window(self, at: float) -> None:
        """Begin what the next line of the log will tell."""
        self.window_loss, self.window_tokens, self.window_seconds = 0.0, 0, 0.0
        self.logged_step, self.logged_at = self.step, at


NUMBERS = [one.name for one in fields(Run)][6:]


class Checkpoint:
    """The file that holds a run, or no file at all if there is no path.

    The arrays come in groups: ``parameters/``, ``best/`` (weights, if they are kept),
    ``optimizer/``, ``plateau/`` and ``carried/``. ``about`` says what the model is.
    """

    def __init__(self, path: store.PathLike | None, about: Mapping[str, Any]) -> None:
        self.path = path
        try:
            self.about = json.loads(json.dumps(about))
        except (TypeError, ValueError) as error:
            raise InputError(f"train: about is not JSON: {error}; expected JSON values") from None
        self.step: int | None = None  # what the file holds
        self.clock = time.perf_counter()  # when it was written

    def write(self, run: Run, parameters: Mapping[str, Array], log: Log) -> None:
        """Write the run, if its weights are finite.

        The log goes to the disk first: so it never lacks a line that the checkpoint knows of.
        """
        groups = {"parameters": parameters, "optimizer": run.optimizer}
        for group, members in groups.items():
            for name, array in members.items():
                if not np.isfinite(array).all():
                    raise self.diverged(run, f"{group} {name!r} holds nan or inf")
        self.clock = time.perf_counter()
        if self.path is None:
            return
        groups |= {"plateau": run.plateau, "best": run.best}
        arrays = {
            f"{group}/{name}": array
            for group, members in groups.items()
            for name, array in members.items()
        }
        config = {
            "about": self.about,
            "position": run.position,
            "random": run.random,
            "carried": _take_apart(run.carried, "carried", arrays),
            "numbers": {name: getattr(run, name) for name in NUMBERS},
        }
        log.sync()
        store.save(self.path, KIND, config, arrays)
        self.step, self.clock = run.step, time.perf_counter()

    def restore(self, fresh: Run, parameters: Mapping[str, Array]) -> Run:
        """Read the run and put its weights in place; the fresh one shows what is expected."""
        assert self.path is not None
        owner = f"train: checkpoint {os.fspath(self.path)!r}"
        kind, config, arrays = store.load(self.path)
        if kind != KIND:
            raise InputError(f"{owner} is of the kind {kind!r}; expected {KIND!r}")
        if config.get("about") != self.about:
            raise InputError(
                f"{owner} is of another model or text, or of other settings; expected the same "
                "(resume with what the first start was given)"
            )
        groups = _groups(arrays)
        _match(owner, "parameters", groups.get("parameters", {}), parameters)
        _match(owner, "optimizer", groups.get("optimizer", {}), fresh.optimizer)
        _match(owner, "plateau", groups.get("plateau", {}), fresh.plateau)
        try:
            run = Run(
                config["position"],
                config["random"],
                groups.get("optimizer", {}),
                groups.get("plateau", {}),
                _put_together(config["carried"], arrays),
                groups.get("best", {}),
                **{name: config["numbers"][name] for name in NUMBERS},
            )
            np.random.default_rng().bit_generator.state = run.random
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{owner} does not hold a whole run ({error!r})") from None
        for name, array in parameters.items():
            array[...] = groups["parameters"][name]
        self.step = run.step
        return run

    def diverged(self, run: Run, what: str) -> TrainingDiverged:
        """Say what happened, what there still is, and what to try."""
        if self.step is None:
            kept = "this run has written no checkpoint"
        else:
            kept = f"checkpoint {os.fspath(self.path or '')!r} holds step {self.step}"
        before = ""
        if run.window_tokens:
            before = f" (the mean loss just before is {run.window_loss / run.window_tokens:.4g})"
        error = TrainingDiverged(
            f"train: after step {run.step} {what}{before}; the weights are those of step "
            f"{run.step}, {kept} (try a lower learning rate, or clip_norm=1.0)"
        )
        error.what = what
        return error


def best_weights(stored: store.Stored) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the ``about`` of a loaded checkpoint, and its best weights or else its last ones.

    Raises
    ------
    InputError
        If the file is not a checkpoint.
    """
    about = stored.config.get("about")
    groups = _groups(stored.arrays)
    if stored.kind != KIND or not isinstance(about, dict) or "parameters" not in groups:
        raise InputError(f"load: the file of kind {stored.kind!r} is not a whole {KIND}")
    return about, groups.get("best", groups["parameters"])


class Log:
    """The lines of a run, kept, and written to a file each as soon as it is there.

    A resumed run keeps the lines up to ``resumed_step`` and removes those after it.
    """

    def __init__(self, path: store.PathLike | None, resumed_step: int | None) -> None:
        self.history: list[dict[str, Any]] = []
        self._name = "" if path is None else os.fspath(path)
        self._file: TextIO | None = None
        if path is None:
            return
        if resumed_step is not None and os.path.exists(path):
            self.history = [line for line in read_log(path) if line["step"] <= resumed_step]
            with store.atomic_write(path) as file:
                file.write("".join(map(_line, self.history)).encode())
        self._file = open(path, "w" if resumed_step is None else "a", encoding="utf-8")

    def write(self, report: dict[str, Any]) -> None:
        """Add a line."""
        self.history.append(report)
        if self._file is None:
            return
        try:
            self._file.write(_line(report))
            self._file.flush()
        except OSError as error:
            error.filename = self._name
            raise

    def sync(self) -> None:
        """Force what was written to the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            with suppress(OSError) if error is not None else nullcontext():
                self._file.close()


def read_log(path: store.PathLike) -> list[dict[str, Any]]:
    """Read the lines of a log; a last line that was cut off is left out.

    Raises
    ------
    InputError
        If another line is not a JSON object with a whole number as its ``step``.
    """
    history: list[dict[str, Any]] = []
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):  # what is whole ends in a newline
        try:
            report = json.loads(line)
            whole = isinstance(report, dict) and type(report.get("step")) is int
        except ValueError:
            whole = False
        if not whole:
            raise InputError(
                f"train: line {number} of {os.fspath(path)!r} is not of a log; expected JSON "
                "objects with a step (give metrics another path)"
            )
        history.append(report)
    return history


def _line(report: dict[str, Any]) -> str:
    return json.dumps(report, allow_nan=False) + "\n"


def _groups(arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Sort arrays by what stands before the first slash of their names."""
    groups: dict[str, dict[str, Array]] = {}
    for full, array in arrays.items():
        group, _, name = full.partition("/")
        groups.setdefault(group, {})[name] = array
    return groups


def _match(owner: str, group: str, got: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    """Raise unless the arrays have the names, shapes and dtypes of the wanted ones."""
    for name in sorted({*got, *wanted}):
        has, needs = (
            f"{arrays[name].dtype} {arrays[name].shape}" if name in arrays else "nothing"
            for arrays in (got, wanted)
        )
        if has != needs:
            raise InputError(f"{owner} has {has} as {group} {name!r}; expected {needs}")


def _take_apart(state: State, name: str, arrays: dict[str, Array]) -> Any:
    """Add a state's arrays to ``arrays``; return its form, with their names in their places."""
    if state is None:
        return None
    if isinstance(state, tuple):
        return [_take_apart(part, f"{name}/{k}", arrays) for k, part in enumerate(state)]
    arrays[name] = state
    return name


def _put_together(form: Any, arrays: Mapping[str, Array]) -> State:
    """Undo `_take_apart`."""
    if form is None:
        return None
    if isinstance(form, list):
        return tuple(_put_together(part, arrays) for part in form)
    return arrays[form]
