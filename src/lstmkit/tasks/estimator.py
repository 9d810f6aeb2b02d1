"""What the estimators of sequences have in common: parameters, training, files, looking inside.

They follow scikit-learn's conventions without inheriting from it: ``__init__`` only stores,
``fit`` checks, what is learned ends in ``_``.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from lstmkit import optimizers, training
from lstmkit.layers import LSTM, Linear
from lstmkit.progress import Progress
from lstmkit.shapes import (
    Array,
    InputError,
    floating_dtype,
    one_of,
    positive_integer,
    real_number,
    shown,
)
from lstmkit.tasks import sequences
from lstmkit.tasks.network import POOLINGS, Network, SequenceBatches
from lstmkit.tasks.scaling import MISSING, SCALINGS, Scaling
from lstmkit.tasks.sequences import Sequences
from lstmkit.tasks.stored import Stored

FEWEST = 30
"""Fewer sequences than these are not held out: they would say nothing."""

_WARMUP = 0.02  # of the run
_OWN = ("model", "batches", "loss", "steps", "seconds", "seed", "validation", "about", "patience")


class Estimator(Stored):
    """The base of `SequenceClassifier`, `SequenceRegressor` and `SequenceTagger`."""

    result_: training.TrainingResult
    _rng: np.random.Generator | None  # of `partial_fit`: it goes on from call to call,
    _memory: Any  # as does the optimizer

    # ------------------------------ what a kind of estimator says of itself

    def _learn(self, y: Any, data: Sequences, classes: Any = None) -> Array:
        """Learn what targets there are; return them as the loss takes them."""
        raise NotImplementedError

    def _targets(self, y: Any, data: Sequences) -> Array:
        """Return targets of the kinds that were learned."""
        raise NotImplementedError

    def _loss(self, encoded: Array) -> Callable[..., tuple[float, Array]]:
        """Return the loss to train by."""
        raise NotImplementedError

    def _strata(self, encoded: Array) -> Array | None:
        """Return what the parts of a split should have in equal shares; None for nothing."""
        return None

    # ------------------------------ learning

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        validation: tuple[Any, Any] | None = None,
        resume: bool = False,
        **options: Any,
    ) -> Any:
        """Learn from sequences and what they are to give, from new weights.

        Parameters
        ----------
        X : array (n, T, F), rows (n, T), a frame, or a list of sequences
            An array (n, T) or a frame holds n sequences of one feature. In a list each sequence is
            (T_k, F), or (T_k,) of one feature, or a frame whose columns are the features.
        y
            One target for each sequence, or for each step: see the class.
        validation : pair (X, y), optional
            What to measure on after every epoch; without it ``validation_fraction`` of the
            sequences is held out.
        resume : bool
            Whether to go on from the file ``checkpoint``; needs a ``random_state`` of int.
        **options
            Other arguments of `training.train`: ``progress``, ``metrics``, ``checkpoint``,
            ``optimizer``, ``plateau``, ...

        Returns
        -------
        estimator
            Itself. After Ctrl-C too: then ``result_.reason`` is ``"interrupted"``.

        Raises
        ------
        InputError
            If an argument, a parameter or an entry of X or y cannot be used; one line names it.
        TrainingDiverged
            If the loss or a gradient becomes nan or infinite.
        """
        self._check(options)
        if resume and not isinstance(self.random_state, int | np.integer):
            raise InputError(
                f"{self._owner}: resume is True and random_state is "
                f"{shown(repr(self.random_state), 40)}; expected an int, that the run can be "
                "the same"
            )
        data = self._read(X)
        encoded = self._learn(y, data)
        self._remember(data)
        rng = np.random.default_rng(self._seed())
        held_out: tuple[Sequences, Array] | None = None
        if validation is not None:
            held_out = self._validation(validation)
        elif self.validation_fraction:
            data, encoded, held_out = self._split(data, encoded, rng)
        self.scaling_ = Scaling.learn(self._owner, data.values, self.scaling)
        self.network_ = self._network(rng)
        self._note()
        seeds = rng.integers(2**32, size=2)
        batches = self._batches(data, encoded, int(seeds[0]))
        every = batches.steps_per_epoch
        steps = self.epochs * every
        given: dict[str, Any] = {"optimizer": optimizers.adamw(weight_decay=self.weight_decay)}
        if held_out is not None:
            given |= {
                "validation": self._batches(*held_out),
                "validate_every": every,
                "patience": self.patience,
            }
        given |= {"report_every": every, "clip_norm": self.clip_norm} | options
        if options.get("checkpoint") is not None:
            given["about"] = {
                "kind": self._owner,
                "config": self.config,
                "run": {
                    "data": hashlib.sha256(data.values.tobytes() + encoded.tobytes()).hexdigest()
                },
            }
        self.result_ = training.train(
            self.network_,
            batches,
            self._loss(encoded),
            learning_rate=optimizers.cosine(self.learning_rate, steps, warmup=_WARMUP * steps),
            steps=steps,
            seed=int(seeds[1]),
            resume=resume,
            nats=self._type == "classifier",
            **given,
        )
        self._rng = self._memory = None  # of `partial_fit`, which begins anew
        return self

    def _partial_fit(self, X: Any, y: Any, classes: Any = None) -> Any:
        """Learn from these sequences once, one epoch, from the weights as they are."""
        self._check({})
        first = not self.__sklearn_is_fitted__()
        data = self._read(X)
        if first:
            encoded = self._learn(y, data, classes)
            self._remember(data)
            self._rng = np.random.default_rng(self._seed())
            self.scaling_ = Scaling.learn(self._owner, data.values, self.scaling)
            self.network_ = self._network(self._rng)
            self._note()
            self._memory = None
        else:
            self._fitted()
            self._same_features(data)
            encoded = self._targets(y, data)
        rng = getattr(self, "_rng", None) or np.random.default_rng(self._seed())
        self._rng = rng
        seeds = rng.integers(2**32, size=2)
        batches = self._batches(data, encoded, int(seeds[0]))
        kept: dict[str, Any] = {"state": getattr(self, "_memory", None)}
        self.result_ = training.train(
            self.network_,
            batches,
            self._loss(encoded),
            optimizer=_remembering(optimizers.adamw(weight_decay=self.weight_decay), kept),
            learning_rate=self.learning_rate,
            steps=batches.steps_per_epoch,
            seed=int(seeds[1]),
            clip_norm=self.clip_norm,
            nats=self._type == "classifier",
        )
        self._memory = kept["state"]
        return self

    def _check(self, options: dict[str, Any]) -> None:
        """Look at the parameters, and at the names of the options."""
        owner = self._owner
        choices: dict[str, tuple[Any, ...]] = {"scaling": SCALINGS, "missing": MISSING}
        if not self._steps:
            choices["pooling"] = POOLINGS
        for name, known in choices.items():
            value = getattr(self, name)
            one_of(owner, name, value if isinstance(value, str | None) else repr(value), known)
        for name in ("hidden_size", "num_layers", "epochs", "batch_size"):
            positive_integer(owner, name, getattr(self, name))
        real_number(owner, "learning_rate", self.learning_rate, 0.0, open_ends="low")
        real_number(owner, "weight_decay", self.weight_decay, 0.0)
        real_number(owner, "dropout", self.dropout, 0.0, 1.0, open_ends="high")
        if self.validation_fraction is not None:
            real_number(
                owner, "validation_fraction", self.validation_fraction, 0.0, 1.0, open_ends="high"
            )
        if self.patience is not None:
            positive_integer(owner, "patience", self.patience)
        floating_dtype(owner, self.dtype)
        if not isinstance(self.random_state, np.random.RandomState | np.random.Generator):
            self._seed()
        options_of = set(inspect.signature(training.train).parameters) - set(_OWN)
        for name in options:
            if name not in options_of:
                raise TypeError(f"{owner}.fit() got an unexpected keyword argument {name!r}")
        progress = options.get("progress")
        if progress is not None and not isinstance(progress, Progress):
            raise InputError(
                f"{owner}: progress is {shown(repr(progress), 60)}; expected "
                "lstmkit.progress.Progress(), or None for silence"
            )

    def _validation(self, given: Any) -> tuple[Sequences, Array]:
        if not isinstance(given, tuple | list) or len(given) != 2:
            many = f" of {len(given)}" if isinstance(given, tuple | list) else ""
            raise InputError(
                f"{self._owner}: validation is a {type(given).__name__}{many}; expected a pair "
                "(X, y)"
            )
        try:
            data = self._read(given[0])
            self._same_features(data)
            return data, self._targets(given[1], data)
        except InputError as error:  # which of the two X and y it speaks of
            said = str(error).removeprefix(f"{self._owner}: ")
            raise type(error)(f"{self._owner}: validation: {said}") from None

    def _split(
        self, data: Sequences, encoded: Array, rng: np.random.Generator
    ) -> tuple[Sequences, Array, tuple[Sequences, Array] | None]:
        """Hold out a share of the sequences, or nothing where it would be fewer than `FEWEST`."""
        fraction = float(self.validation_fraction or 0)
        strata = self._strata(encoded)
        if round(fraction * data.size) < FEWEST:
            return data, encoded, None
        order = rng.permutation(data.size)
        if strata is None:
            strata = np.zeros(data.size, np.int64)
        held = np.zeros(data.size, bool)
        # Of every class its share: those of a class stand together, and every 1/fraction-th of
        # the row is held out; the first of a class never is.
        order = order[np.argsort(strata[order], kind="stable")]
        share = np.floor(np.arange(1, data.size + 1) * fraction)
        marked = np.diff(share, prepend=0.0) > 0
        firsts = np.diff(strata[order], prepend=-1) != 0
        held[order] = marked & ~firsts
        parts = []
        for chosen in (np.flatnonzero(~held), np.flatnonzero(held)):
            part = encoded[chosen]
            if self._steps:
                part = encoded[sequences.tokens_of(data.starts[chosen], data.lengths[chosen])]
            parts.append((data.take(chosen), part))
        return *parts[0], parts[1]

    def _network(self, rng: np.random.Generator) -> Network:
        lstm = LSTM(**self._lstm_arguments(), seed=rng)
        head = Linear(lstm.output_size, self._outputs(), dtype=self.dtype, seed=rng)
        return Network(lstm, head, self._pooling, self.dropout)

    def _batches(self, data: Sequences, encoded: Array, seed: int | None = None) -> SequenceBatches:
        if encoded.dtype.kind == "f":
            encoded = encoded.astype(floating_dtype(self._owner, self.dtype))
        return SequenceBatches(
            self._prepared(data),
            data.lengths,
            encoded,
            steps=self._steps,
            batch_size=self.batch_size,
            seed=seed,
        )


def _remembering(inner: optimizers.Optimizer, kept: dict[str, Any]) -> optimizers.Optimizer:
    """Return the optimizer, starting from ``kept["state"]`` and leaving its last state there."""

    def init(parameters: Any) -> Any:
        return inner.init(parameters) if kept["state"] is None else kept["state"]

    def update(grads: Any, state: Any, parameters: Any, rate: float) -> Any:
        updates, kept["state"] = inner.update(grads, state, parameters, rate)
        return updates, kept["state"]

    return optimizers.Optimizer(init, update)
