"""A value for every sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmkit import losses
from lstmkit.shapes import Array, InputError
from lstmkit.tasks import sequences, targets
from lstmkit.tasks.estimator import Estimator
from lstmkit.tasks.scaling import Scaling
from lstmkit.tasks.sequences import Sequences


class SequenceRegressor(Estimator):
    """Learn a value, or several, of a sequence.

    X is as for `SequenceClassifier`; y is (n,), or (n, K) for several values. They are scaled to
    mean 0 and deviation 1 inside, and the squared error is what is made small.

    Parameters
    ----------
    hidden_size, num_layers : int
        H and L of the LSTM.
    bidirectional : bool
        Whether it also reads each sequence from its end.
    pooling : {"last", "mean", "max"}
        What is made of the steps: where each direction ends reading, the mean or the maximum.
    dropout : float
        In training, of each layer's output and of what is pooled.
    recurrent_dropout, zoneout, layer_norm, peepholes, coupled_gates
        As in `LSTM`.
    scaling : {"standard", "minmax"} or None
        How each feature is scaled, over all steps of the training sequences: to mean 0 and
        deviation 1, or to 0 to 1. It is saved with the model.
    missing : {"error", "mask", "fill"}
        What a nan in X is. An error; or ("mask") the mean of its feature, and for every feature
        there is a second one that says 1 where the first is missing, else 0; or ("fill") the last
        number of that feature in the same sequence, before the first one its mean.
    epochs, batch_size : int
        How often all sequences are learned from, and how many at a time, of similar lengths.
    learning_rate, weight_decay, clip_norm
        Of AdamW: the peak of a cosine that falls to 0 after a warm-up of 2 % of the run; the
        decoupled decay; the bound of the gradient's norm.
    validation_fraction : float or None
        The share of sequences to hold out. Fewer than 30 would say nothing: where it would
        be fewer, none are held out and the run has all its epochs.
    patience : int or None
        Stop after so many epochs without a gain in the loss of what is held out; the weights of
        the best epoch are kept. None: never, and the last weights are kept.
    dtype : {"float32", "float64"}
        Of weights and arithmetic; scaling is always in float64.
    random_state : int, numpy RandomState or Generator, or None
        Of the weights, the split, the order and dropout. The same int gives the same bits.

    Attributes
    ----------
    n_features_in_, feature_names_in_
        As in scikit-learn: of rows (n, T) and of a frame its columns, else F; the names where X
        came in frames whose columns have names.
    network_ : Network
        LSTM and head. `network` gives them as a chain.
    result_ : TrainingResult
        The last run: its log, and why it ended. A loaded model has none.

    Notes
    -----
    `predict` gives an array, (n,) or (n, K) as y was; for a frame and one value a column of the
    same library, with the same index.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmkit as lk
    >>> X = np.random.default_rng(0).normal(size=(80, 6))
    >>> model = lk.SequenceRegressor(16, epochs=60, random_state=0).fit(X, X.sum(axis=1))
    >>> model.score(X, X.sum(axis=1)) > 0.9
    True
    """

    pooling: str
    target_scaling_: Scaling
    _type = "regressor"

    def __init__(
        self,
        hidden_size: int = 64,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        pooling: str = "last",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        layer_norm: bool = False,
        peepholes: bool = False,
        coupled_gates: bool = False,
        scaling: str | None = "standard",
        missing: str = "error",
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 5e-3,
        weight_decay: float = 0.0,
        clip_norm: float | None = 1.0,
        validation_fraction: float | None = 0.1,
        patience: int | None = 20,
        dtype: str = "float32",
        random_state: Any = None,
    ) -> None:
        self._store(locals())

    def _learn(self, y: Any, data: Sequences, classes: Any = None) -> Array:
        owner = self._owner
        values = targets.values(owner, targets.one_each(owner, y, data.size, columns=True))
        self._one_column = values.ndim == 1
        values = values.reshape(data.size, -1)
        self.target_scaling_ = Scaling.learn(owner, values, "standard", "y")
        return self.target_scaling_.apply(values, np.float64)

    def _targets(self, y: Any, data: Sequences) -> Array:
        return self.target_scaling_.apply(self._values(y, data.size), np.float64)

    def _values(self, y: Any, count: int) -> Array:
        """Return values (n, K), as many columns as were learned."""
        owner = self._owner
        values = targets.values(owner, targets.one_each(owner, y, count, columns=True))
        values = values.reshape(count, -1)
        if values.shape[1] != self._outputs():
            raise InputError(
                f"{owner}: y has {values.shape[1]} columns; expected {self._outputs()}, as in fit"
            )
        return values

    def _outputs(self) -> int:
        return len(self.target_scaling_.center)

    def _loss(self, encoded: Array) -> Callable[..., tuple[float, Array]]:
        return losses.mean_squared_error

    def _learned(self) -> dict[str, Any]:
        return {
            "one_column": self._one_column,
            **self._target_config(),
        }

    def _restore(self, learned: dict[str, Any]) -> None:
        self._restore_target(learned)
        self._one_column = bool(learned["one_column"]) and self._outputs() == 1

    def _last_layers(self) -> dict[str, Any]:
        return self._target_layer()

    def _decide(self, found: Array) -> Array:
        values = self.target_scaling_.undo(found)
        return values[:, 0] if self._one_column else values

    def partial_fit(self, X: Any, y: Any) -> SequenceRegressor:
        """Learn from these sequences once, going on from what is known.

        The first call also learns the scaling of X and y.
        """
        found: SequenceRegressor = self._partial_fit(X, y)
        return found

    def predict(self, X: Any) -> Any:
        """Return the value of each sequence: (n,), or (n, K) where y was."""
        found, data = self._run(X)
        values = self._decide(found)
        return sequences.in_kind(data, values) if self._one_column else values

    def score(self, X: Any, y: Any) -> float:
        """Return R², the share of the variance that is explained; of several values the mean."""
        found, data = self._run(X)
        return targets.r_squared(self._values(y, data.size), self._decide(found))

    def loss(self, X: Any, y: Any) -> float:
        """Return the mean squared error of new data, in units of the variance of y in `fit`."""
        found, data = self._run(X)
        return losses.mean_squared_error(found.astype(np.float64), self._targets(y, data))[0]
