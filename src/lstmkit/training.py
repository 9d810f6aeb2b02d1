"""Training: batches → step → log → checkpoint, for any model with a forward and a backward.

`train` reads from top to bottom. Everything that changes in a run but the weights is in one `Run`,
which a checkpoint holds together with the weights: so a run that was interrupted and resumed ends
with the same bits as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from lstmkit import store
from lstmkit.interrupts import Hold, handle_ctrl_c
from lstmkit.optimizers import (
    Optimizer,
    Plateau,
    Schedule,
    clip_by_global_norm,
    clip_by_value,
    constant,
    global_norm,
)
from lstmkit.progress import Progress
from lstmkit.run import Checkpoint, Log, Run, State, TrainingDiverged
from lstmkit.shapes import Array, InputError, positive_integer, real_number
from lstmkit.tensorboard import EventFile

__all__ = ["Batches", "Model", "Passes", "TrainingDiverged", "TrainingResult", "evaluate", "train"]

CHECKPOINT_SECONDS = 30.0  # between two checkpoints, unless the caller says otherwise
SHOW_SECONDS = 0.1  # between two updates of what the user sees

Loss = Callable[..., tuple[float, Array]]  # (prediction, targets) or (prediction, targets, mask=)
Reason = Literal["steps", "seconds", "patience", "interrupted"]


class Passes(Protocol):
    """Batches that can be gone through again and again; each is like a `lstmkit.data.Batch`."""

    @property
    def carries(self) -> bool:
        """Whether a batch goes on where the one before ended, and the model's state with it."""

    def __iter__(self) -> Iterator[Any]:
        """Give the batches."""


class Batches(Passes, Protocol):
    """Batches without end, in an order fixed by ``position``, the number given so far."""

    position: int


class Model(Protocol):
    """What can be trained."""

    @property
    def parameters(self) -> Mapping[str, Array]:
        """The weights by name; the arrays are changed in place."""

    def __call__(
        self, inputs: Any, state: State = None, lengths: Any = None, reset: Any = None
    ) -> tuple[Array, State]:
        """Return the prediction and the state after it, with nothing random."""

    def forward(
        self,
        inputs: Any,
        state: State = None,
        lengths: Any = None,
        reset: Any = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, State, Any]:
        """Return the prediction, the state after it and what `backward` needs."""

    def backward(self, tape: Any, dprediction: Array, /) -> Mapping[str, Array]:
        """Return the gradients by the names of the weights."""


class TrainingResult(NamedTuple):
    """How a run went.

    Attributes
    ----------
    history : list of dict
        The lines of the log. In a resumed run, those of earlier sittings too if they were written
        to a file.
    steps, tokens, elapsed
        Steps, targets and seconds since the run's first start.
    reason : {"steps", "seconds", "patience", "interrupted"}
        Why it ended.
    best_step, best_loss
        Where the validation loss was least; None if nothing was validated.
    """

    history: list[dict[str, Any]]
    steps: int
    tokens: int
    elapsed: float
    reason: Reason
    best_step: int | None
    best_loss: float | None


def train(
    model: Model,
    batches: Batches,
    loss: Loss,
    *,
    optimizer: Optimizer,
    learning_rate: float | Schedule,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    validation: Passes | None = None,
    validate_every: float | None = None,
    patience: int | None = None,
    plateau: Plateau | None = None,
    checkpoint: store.PathLike | None = None,
    checkpoint_every: float | None = None,
    resume: bool = False,
    about: Mapping[str, Any] | None = None,
    metrics: store.PathLike | None = None,
    tensorboard: store.PathLike | None = None,
    progress: Progress | None = None,
    report_every: float | None = None,
    nats: bool = True,
) -> TrainingResult:
    """Train a model in place, step by step, by the exact gradient of each batch.

    A run is budgeted in steps or in seconds; schedules and everything called ``…_every`` count in
    the same unit, from the run's first start. With ``steps``, a run that is interrupted at any
    instant and resumed with the same arguments ends with the same bits, in the weights and in the
    log (but for its times), as a run never stopped.

    Parameters
    ----------
    model, batches
        See `Model` and `Batches`; the batches never end.
    loss
        ``loss(prediction, targets) -> (mean over the targets that count, gradient)``; ``mask=`` is
        given too where a batch has one.
    optimizer, learning_rate
        From `lstmkit.optimizers`; the rate is a number or a schedule.
    steps, seconds
        How long, by exactly one of the two. Seconds include validation.
    seed
        Of the generator that ``model.forward`` draws its random masks from.
    clip_norm, clip_value
        Bounds of the gradient's global norm (Pascanu et al. 2013) and then of its elements.
    validation
        What to measure on and not to learn; see `evaluate`.
    validate_every
        By default a tenth of the run, in whole steps.
    patience
        Stop when so many validations in a row brought no gain. With patience the model ends with
        the weights of its best validation, unless the run diverges.
    plateau
        Lowers the learning rate when validation brings no gain.
    checkpoint, checkpoint_every
        The file to write, and how often: by default every 30 seconds, and in any case at the end.
    resume
        Go on from ``checkpoint``, which must exist.
    about
        What the model is, as JSON values: stored in the checkpoint, and compared when resuming.
    metrics
        A file of JSON lines, one every ``report_every`` and every validation, with ``step``,
        ``loss`` (mean over the targets since the line before), ``bits`` (loss / ln 2), ``tokens``
        (targets so far), ``tokens_per_second`` (since the line before), ``learning_rate``,
        ``gradient_norm`` (before clipping), ``elapsed`` (seconds), and ``validation_loss`` where
        there was one. Resuming removes the lines that came after the checkpoint.
    tensorboard
        A folder for TensorBoard (``tensorboard --logdir FOLDER``): of the same lines ``loss``,
        ``validation_loss``, ``learning_rate`` and ``gradient_norm`` against the step. A resumed
        run goes on in the same folder. Needs tensorboardX (``pip install "lstmkit[tensorboard]"``).
    progress
        Where to show the run; nowhere by default.
    report_every
        By default every 10 steps or every second.
    nats
        Whether the loss is in nats, so that there are ``bits``.

    Returns
    -------
    TrainingResult
        After Ctrl-C too: the step is undone, a checkpoint written, and the reason is
        ``"interrupted"``. A second Ctrl-C raises KeyboardInterrupt.

    Raises
    ------
    InputError
        If an argument cannot be used, or the checkpoint is damaged or of another model.
    OSError
        If the checkpoint, the log or the curves cannot be written; before the first step, if it
        can be known.
    TrainingDiverged
        If a loss or a gradient is nan or infinite. The weights are then those of the step before,
        and the checkpoint is as it was.
    """
    # ------------------------------------------------------------------------------- config
    plan = _plan(steps, seconds, validate_every, report_every, checkpoint_every, patience)
    schedule = learning_rate if callable(learning_rate) else constant(learning_rate)
    for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if limit is not None:
            real_number("train", name, limit, 0.0, open_ends="low")
    for name, given in (("patience", patience), ("plateau", plateau)):
        if given is not None and validation is None:
            raise InputError(f"train: {name} is given without validation; expected both")
    if resume and checkpoint is None:
        raise InputError("train: resume is True without a checkpoint; expected the path of one")
    progress = Progress("none") if progress is None else progress

    # ----------------------------------------------------------------------- weights and data
    parameters = dict(model.parameters)
    rng = np.random.default_rng(positive_integer("train", "seed", seed, least=0))
    run = Run(
        position=batches.position,
        random=rng.bit_generator.state,
        optimizer=optimizer.init(parameters),
        plateau={} if plateau is None else plateau.init(),
        carried=None,
        best={},
    )
    file = Checkpoint(checkpoint, about or {})
    if resume:
        run = file.restore(run, parameters)
        rng.bit_generator.state = run.random
        if (patience is None) == bool(run.best):  # patience came or went: judge anew
            run.best, run.best_loss, run.best_step, run.waited = {}, None, None, 0
    if checkpoint is not None:
        store.check_writable(checkpoint)
    batches.position = run.position
    saved_at, shown = plan.at(run), -math.inf
    reason: Reason | None = None
    hold = Hold()

    # What overflows is found below, and said once and clearly: no warnings beside it.
    with (
        np.errstate(all="ignore"),
        _event_file(tensorboard, run.logged_step if resume else None) as events,
        Log(metrics, run.logged_step if resume else None) as log,
        handle_ctrl_c(hold),
        progress,
    ):
        started = time.perf_counter() - run.elapsed
        progress.start(plan.total, plan.unit, plan.at(run))
        if resume:
            progress.message(f"resumed at step {run.step:,}")
        source = iter(batches)
        try:
            while True:
                # --------------------------------------------------------------- validation
                validated: float | None = None
                if validation is not None and plan.due(plan.validate_every, run.validated_at, run):
                    validated = evaluate(model, validation, loss)
                    if not math.isfinite(validated):
                        raise file.diverged(run, f"the validation loss is {validated}")

                # ---------------------------------------------------------------------- log
                report = None
                with hold:
                    if validated is not None:
                        run.elapsed = time.perf_counter() - started
                        run.validated_at = plan.at(run)
                        run.judge(validated, {} if patience is None else parameters)
                        if plateau is not None:
                            run.plateau = plateau.update(run.plateau, validated)
                    reason = plan.finished(run)
                    due = plan.due(plan.report_every, run.logged_at, run) or validated is not None
                    if due or (reason is not None and run.window_tokens):
                        report = run.report(nats, validated)
                        log.write(report)
                        if events is not None:
                            events.write(report)
                        if due:
                            run.start_window(plan.at(run))
                if report is not None:
                    progress.update(report)
                if reason is not None:
                    break

                # --------------------------------------------------------------- checkpoint
                if plan.checkpoint_every is None:
                    due = time.perf_counter() - file.clock >= CHECKPOINT_SECONDS
                else:
                    due = plan.due(plan.checkpoint_every, saved_at, run)
                if due:
                    file.write(run, parameters, log)
                    saved_at = plan.at(run)

                # --------------------------------------------------------------------- step
                begun = time.perf_counter()
                batch = next(source, None)
                if batch is None:
                    raise InputError(f"train: batches ended at step {run.step}; expected no end")
                rate = float(schedule(plan.at(run))) * float(run.plateau.get("scale", 1.0))
                value, norm, grads, carried = _gradients(model, batch, run, loss, rng, clip_norm)
                if not (math.isfinite(value) and math.isfinite(norm)):
                    what = f"the loss is {value:g} and the norm of its gradient {norm:g}"
                    raise file.diverged(run, what)
                if clip_value is not None:
                    grads = clip_by_value(grads, clip_value)
                updates, memory = optimizer.update(grads, run.optimizer, parameters, rate)
                with hold:  # the one place where weights change
                    for name, update in updates.items():
                        parameters[name] += update
                    run.optimizer, run.random = memory, rng.bit_generator.state
                    run.carried = carried if batches.carries else None
                    run.position = batches.position
                    now = time.perf_counter()
                    run.elapsed = now - started
                    run.count(value, batch.count, now - begun, rate, norm)
                if now - shown >= SHOW_SECONDS:
                    progress.update(run.report(nats))
                    shown = now
        except TrainingDiverged as error:
            batches.position = run.position
            if checkpoint is None or file.step is not None:
                raise
            with hold:  # no checkpoint yet: the weights of the step before are the last good ones
                file.write(run, parameters, log)
            raise file.diverged(run, error.what) from None
        except KeyboardInterrupt:
            if hold.inside:  # cut in two after all, by a second Ctrl-C: nothing here is sure
                raise
            reason = "interrupted"
            batches.position = run.position

        # ------------------------------------------------------------------------------- end
        run.elapsed = time.perf_counter() - started
        if reason == "patience":
            progress.message(f"no gain in {run.waited} validations since step {run.best_step:,}")
        try:
            with hold:
                file.write(run, parameters, log)
                if patience is not None:
                    for name, array in run.best.items():
                        parameters[name][...] = array
        except KeyboardInterrupt:
            if hold.inside:
                raise
            reason = "interrupted"  # all is written; whoever called is told to stop
    return TrainingResult(
        log.history, run.step, run.tokens, run.elapsed, reason, run.best_step, run.best_loss
    )


def _event_file(
    folder: store.PathLike | None, resumed_step: int | None
) -> AbstractContextManager[EventFile | None]:
    return nullcontext() if folder is None else EventFile(folder, resumed_step)


def _gradients(
    model: Model,
    batch: Any,
    run: Run,
    loss: Loss,
    rng: np.random.Generator,
    clip_norm: float | None,
) -> tuple[float, float, Mapping[str, Array], State]:
    """Return the loss of a batch, its gradient's norm, the (clipped) gradient, the state after."""
    prediction, carried, tape = model.forward(
        batch.inputs, state=run.carried, lengths=batch.lengths, reset=batch.reset, rng=rng
    )
    value, dprediction = _loss(loss, prediction, batch)
    grads = model.backward(tape, dprediction)
    if clip_norm is None:
        return value, global_norm(grads), grads, carried
    grads, norm = clip_by_global_norm(grads, clip_norm)
    return value, norm, grads, carried


def _loss(loss: Loss, prediction: Array, batch: Any) -> tuple[float, Array]:
    if batch.mask is None:
        value, gradient = loss(prediction, batch.targets)
    else:
        value, gradient = loss(prediction, batch.targets, mask=batch.mask)
    return float(value), gradient


def evaluate(model: Model, batches: Passes, loss: Loss) -> float:
    """Return the mean loss over all targets that count, in one pass over the batches.

    Of batches without end, the pass is the first ``steps_per_epoch``, and ``position`` is put back.
    The state begins at zero and is carried from batch to batch if the batches carry. Nothing random
    is switched on.

    Raises
    ------
    InputError
        If no target counts.
    """
    total, count, state = 0.0, 0, None
    for batch in _one_pass(batches):
        prediction, after = model(
            batch.inputs, state=state, lengths=batch.lengths, reset=batch.reset
        )
        state = after if batches.carries else None
        total += _loss(loss, prediction, batch)[0] * batch.count
        count += batch.count
    if count == 0:
        raise InputError("evaluate: batches hold no target that counts; expected at least one")
    return total / count


def _one_pass(batches: Any) -> Iterator[Any]:
    steps = getattr(batches, "steps_per_epoch", None)
    if steps is None:
        yield from batches
        return
    position, batches.position = batches.position, 0
    try:
        yield from islice(batches, steps)
    finally:
        batches.position = position


class _Plan(NamedTuple):
    """How long and how often, in the run's unit; and the patience."""

    unit: Literal["steps", "seconds"]
    total: float
    validate_every: float
    report_every: float
    checkpoint_every: float | None
    patience: int | None

    def at(self, run: Run) -> float:
        """Where the run is."""
        return float(run.step) if self.unit == "steps" else run.elapsed

    def due(self, every: float, last: float, run: Run) -> bool:
        """Whether the run has come to a multiple of ``every`` since it was at ``last``."""
        return self.at(run) // every > last // every

    def finished(self, run: Run) -> Reason | None:
        """Why the run ends here, if it does."""
        if self.patience is not None and run.waited >= self.patience:
            return "patience"
        return self.unit if self.at(run) >= self.total else None


def _plan(
    steps: int | None,
    seconds: float | None,
    validate_every: float | None,
    report_every: float | None,
    checkpoint_every: float | None,
    patience: int | None,
) -> _Plan:
    """Check the numbers and fill in the defaults."""
    if (steps is None) == (seconds is None):
        raise InputError("train: expected exactly one of steps and seconds")
    unit: Literal["steps", "seconds"] = "seconds" if steps is None else "steps"

    def amount(name: str, value: float | None) -> float:
        if unit == "steps":
            return float(positive_integer("train", name, value))
        return real_number("train", name, value, 0.0, open_ends="low")

    total = amount(unit, seconds if steps is None else steps)
    if validate_every is None:
        validate_every = total / 10 if unit == "seconds" else max(1, int(total) // 10)
    if report_every is None:
        report_every = 1 if unit == "seconds" else 10
    return _Plan(
        unit,
        total,
        amount("validate_every", validate_every),
        amount("report_every", report_every),
        None if checkpoint_every is None else amount("checkpoint_every", checkpoint_every),
        None if patience is None else positive_integer("train", "patience", patience),
    )
